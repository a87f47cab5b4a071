"""A monitor in another process, without the library: tasks, workers and loops are sent to it as
plain values."""
import asyncio
import pickle
import subprocess
import sys
import threading

from atasker import (TASK_HIGH, TASK_LOW, BackgroundIntervalWorker, BackgroundQueueWorker,
                     background_task,
                     background_worker, task_supervisor)
from facts import fact, leave, until

MONITOR = r'''
import pickle, sys
for name in ("atasker", "atasker_like"):
    sys.modules[name] = None            # it has neither
status, workers, tasks, loops = pickle.load(sys.stdin.buffer)
for name in sorted(status):
    print("status %s: %s" % (name, status[name]))
for row in sorted(workers):
    print("worker: %s" % (row,))
for row in sorted(tasks):
    print("task: %s" % (row,))
for row in loops:
    print("loop: %s" % (row,))
'''


class Poller(BackgroundIntervalWorker):

    def run(self, **kwargs):
        pass


class Mailer(BackgroundQueueWorker):

    async def run(self, item, **kwargs):
        pass


@background_worker(delay=60, delay_before=0.3, priority=TASK_LOW)
def delayed(**kwargs):
    pass


@background_worker(e=True, priority=TASK_HIGH)
def event(**kwargs):
    pass


go_on = threading.Event()


@background_worker
def plain(**kwargs):
    go_on.wait(30)


def of_worker(worker):
    """What a monitor reads of a worker."""
    name = worker.name
    if name.startswith('_background_worker_'):
        name = name[19:]
    module = worker.__module__ + '.' if worker.__module__ != 'atasker.workers' else ''
    try:
        interval, flags = worker.delay, 'I' if worker.keep_interval else 'D'
        if worker.delay_before:
            flags += ',B=' + str(worker.delay_before)
    except AttributeError:
        interval, flags = 0, None
    if asyncio.iscoroutinefunction(worker.run):
        executor = 0
    else:
        executor = 2 if worker._run_in_mp else 1
    try:
        if not worker.executor_loop:
            loop = False
        elif worker.aloop:
            loop = worker.aloop.name
        else:
            loop = type(worker.executor_loop).__name__
    except AttributeError:
        loop = None
    return (name, module + type(worker).__name__, worker.is_active(), interval, flags,
            worker.priority, loop, executor,
            worker._is_worker)


def of_task(task):
    """What a monitor reads of a task."""
    worker = None if task.worker is None else type(task.worker).__name__
    return (task.priority, task.status, task.tt, worker, task.time_queued <= task.time_started,
            isinstance(str(task.target), str))


task_supervisor.set_thread_pool(pool_size=10, reserve_normal=2, reserve_high=1)
task_supervisor.start()
plain.start()                   # before there is a default loop
early = Poller('early', interval=30)
early.start()
task_supervisor.create_aloop('mine', default=True)
task_supervisor.create_aloop('second')
task_supervisor.create_aloop('third', start=False)
poller, mailer = Poller('poller', interval=30), Mailer('mailer', loop='second')
for worker in (poller, mailer, delayed, event):
    worker.start()
held = background_task(go_on.wait, priority=TASK_HIGH)(30)
until(held.is_started)
until(lambda: len(task_supervisor.get_schedulers()) == 6)
until(lambda: task_supervisor.get_info(tt=False).thread_tasks_count == 2)
status = task_supervisor.get_info(tt=False, aloops=False, schedulers=False,
                                  async_job_schedulers=False).__dict__
status = {name: value for name,
          value in status.items() if not name.startswith('mp_tasks') and value not in ((), {})}
workers = [of_worker(worker) for worker in task_supervisor.get_schedulers()]
tasks = [of_task(task) for task in task_supervisor.get_tasks().values() if task.is_started()]
loops = [(name, aloop.get_loop() is not None, aloop.is_active()) for name, aloop in
         sorted(task_supervisor.get_aloops().items())]
data = pickle.dumps((status, workers, tasks, loops))
fact('own loop', task_supervisor.event_loop.is_running())
sys.stdout.flush()
subprocess.run([sys.executable, '-c', MONITOR], input=data)
go_on.set()
leave()
