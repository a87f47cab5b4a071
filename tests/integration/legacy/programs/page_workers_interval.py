"""Interval workers: interval, delay, delay_before, overridden by start(), and triggered by hand."""
import time

from atasker import background_worker, task_supervisor
from facts import fact, leave, until

task_supervisor.start()
task_supervisor.create_aloop('default', default=True)
times = []


def periods():
    return [after - before for before, after in zip(times, times[1:])]


@background_worker(interval=0.3)
def by_interval(**kwargs):
    times.append(time.perf_counter())
    time.sleep(0.1)


@background_worker(interval=0.3)
async def by_coroutine(**kwargs):
    times.append(time.perf_counter())


@background_worker(delay=0.3)
def by_delay(**kwargs):
    times.append(time.perf_counter())
    time.sleep(0.2)


for name, worker, least, most in (('interval', by_interval, 0.25, 0.39),
                                  ('coroutine', by_coroutine, 0.25, 0.39),
                                  ('delay', by_delay, 0.47, 0.72)):
    times.clear()
    worker.start()
    until(lambda: len(times) > 6)
    worker.stop()
    middle = sorted(periods())[len(times) // 2]
    fact('period of %s' % name, least < middle < most)
    fact('attributes', (worker.delay, worker.keep_interval, worker.delay_before))
times.clear()
by_interval.start(_interval=0.6)
until(lambda: len(times) > 3)
by_interval.stop()
fact('_interval', 0.52 < sorted(periods())[1] < 0.75)
times.clear()
begun = time.perf_counter()
by_delay.start(_delay=0.1, _delay_before=0.5)
until(lambda: times)
fact('_delay_before', 0.45 < times[0] - begun < 1.2)
by_delay.stop()
fact('attributes', (by_delay.delay, by_delay.delay_before))


@background_worker(interval=60)
def seldom(**kwargs):
    times.append(time.perf_counter())


times.clear()
seldom.start()
until(lambda: len(times) == 1)
time.sleep(0.1)
fact('runs at once', len(times))
begun = time.perf_counter()
seldom.stop()
fact('stop does not wait for the next run', time.perf_counter() - begun < 5)
leave(task_supervisor)
