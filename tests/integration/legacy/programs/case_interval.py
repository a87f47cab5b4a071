"""The period of an interval worker: the interval, or what a longer run takes."""
import time

from atasker import background_worker, task_supervisor
from facts import fact, leave

task_supervisor.start()
for interval, run in ((0.4, 0.1), (0.2, 0.5)):
    begun = []

    @background_worker(interval=interval)
    def worker(**kwargs):
        begun.append(time.perf_counter())
        time.sleep(run)

    worker.start()
    time.sleep(4)
    worker.stop()
    periods = sorted(after - before for before, after in zip(begun, begun[1:]))
    middle = periods[len(periods) // 2]
    fact('interval %s, run of %s s' % (interval, run),
         'period is about %s s' % (round(middle * 10) / 10))
leave(task_supervisor)
