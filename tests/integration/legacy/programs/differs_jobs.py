"""Differences that the documentation names: of jobs, collections and more of workers."""
import functools
import logging
import time

from atasker import (BackgroundIntervalWorker, BackgroundWorker, FunctionCollection,
                     TaskCollection, TaskSupervisor, background_task, background_worker,
                     task_supervisor, wait_completed)
from facts import fact, leave, until

logging.getLogger('atasker').setLevel(100)


def outcome(call):
    """Return what a call returns, or the name of the builtin exception that it raises."""
    try:
        return call()
    except Exception as error:
        return next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == 'builtins')


async def job():
    runs.append(1)


async def hold_up():
    time.sleep(1)


class Still(BackgroundWorker):

    @staticmethod
    def run(**kwargs):
        time.sleep(0.05)

    def process_result(self, result):
        results.append(result)


class Supervisor(TaskSupervisor):

    def put_task(self, *args, **kwargs):
        puts.append(sorted(name for name, value in kwargs.items() if value is not None))
        return super().put_task(*args, **kwargs)

    def register_scheduler(self, scheduler):
        registered.append(type(scheduler).__name__)
        return super().register_scheduler(scheduler)


runs, results, puts, registered, called = [], [], [], [], []
task_supervisor.set_mp_pool(pool_size=1)
task_supervisor.start()
fact('create_async_job() without a scheduler',
     outcome(lambda: task_supervisor.create_async_job(target=job, interval=60) is not None))
loop = task_supervisor.create_aloop('loop', default=True)
scheduler = task_supervisor.create_async_job_scheduler('jobs', default=True)
held_up = task_supervisor.create_async_job(target=job, interval=0.1)
until(lambda: runs)
loop.run(hold_up())
time.sleep(0.05)
fact('runs that a job has missed', len(runs) > 7)
fact('< and > between jobs', outcome(lambda: isinstance(held_up < held_up, bool)))
held_up.cancel()
later = task_supervisor.create_async_job_scheduler('later', start=False)
fact('start(loop) of a job scheduler', outcome(lambda: later.start(loop.get_loop())))

still = Still()
still.start()
fact('a plain worker whose static run goes to the process pool',
     until(lambda: len(results) > 1, 2))


@background_worker(interval=0.05)
def restarted(**kwargs):
    called.append(1)
    time.sleep(0.5)


restarted.start()
until(lambda: called)
begun = time.perf_counter()
restarted.restart()
fact('restart() of a worker without wait=True', time.perf_counter() - begun > 0.3)


@background_worker(event=True)
def event(**kwargs):
    pass


event.start()
fact('values of get_schedulers()', type(task_supervisor.get_schedulers()[event]).__name__)

fact('None as a size of set_thread_pool',
     outcome(lambda: TaskSupervisor('none').set_thread_pool(pool_size=None)))
supervisor = Supervisor('mine')
supervisor.start()
worker = background_worker(lambda **kwargs: called.append('run'), interval=60,
                           supervisor=supervisor)
worker.start()
until(lambda: 'run' in called)
fact('register_scheduler of a subclass of a supervisor', registered)
wait_completed(background_task(abs, supervisor=supervisor)(-1))
fact('arguments of put_task of a subclass of a supervisor', puts)

event.stop()


@background_worker(interval=0.05)
async def beats(**kwargs):
    called.append('beats')


async def stop_in_loop():
    beats.stop(wait=False)


beats.start()
until(lambda: 'beats' in called)
loop.run(stop_in_loop())
fact('is_stopped() of a worker after stop(wait=False) in its loop', until(beats.is_stopped, 1))
fact('interval=None or delay=None of BackgroundIntervalWorker',
     BackgroundIntervalWorker(interval=None).delay)

order = []
functions = FunctionCollection()
functions(lambda: order.append('last'), priority=500)
functions(lambda: order.append('first'))
functions.run()
fact('collection(f, priority=...)', order)
unnamed = FunctionCollection()
unnamed.append(functools.partial(abs, -1))
fact('functions without a name in a collection', outcome(unnamed.run))


def slow():
    time.sleep(0.3)


def fast():
    pass


tasks = TaskCollection()
tasks.append(slow)
tasks.append(fast)
fact('the order of the results of a TaskCollection', list(tasks.run()))
leave()
