"""Differences that the documentation names: of intervals, hooks, loops and texts."""
import asyncio
import logging
import threading
import time

from atasker import (BackgroundIntervalWorker, BackgroundQueueWorker, FunctionCollection,
                     TaskCollection, TaskSupervisor, background_task, background_worker,
                     task_supervisor, wait_completed)
from facts import fact, leave, until

logging.getLogger('atasker').setLevel(100)
called = []
tasks = []
runs = []


class Supervisor(TaskSupervisor):

    def put_task(self, target, *args, **kwargs):
        def measured(*args, **kwargs):
            try:
                return target(*args, **kwargs)
            finally:
                called.append('returned')

        return super().put_task(measured, *args, **kwargs)

    def mark_task_started(self, task):
        tasks.append((task, task.status))
        return super().mark_task_started(task)

    def mark_task_completed(self, task=None, task_id=None):
        called.append('completed')
        return super().mark_task_completed(task=task, task_id=task_id)


class Ceaseless(BackgroundIntervalWorker):

    def run(self, **kwargs):
        runs.append(time.perf_counter())


class Queue(asyncio.Queue):

    def _put(self, item):
        called.append(('put', item))
        super()._put(item)


class Consumer(BackgroundQueueWorker):

    def run(self, item, **kwargs):
        items.append(item)

    def after_queue_get(self, item):
        called.append(('got', item))


def error_of(call):
    try:
        return call()
    except Exception as error:
        return error


fact('task_supervisor.event_loop before start()', hasattr(task_supervisor, 'event_loop'))
task_supervisor.start()


@background_worker(interval=3)
def triggered(**kwargs):
    runs.append(time.perf_counter())


triggered.start()
until(lambda: runs)
time.sleep(1)
triggered.trigger_threadsafe()
until(lambda: len(runs) == 3)
fact('a triggered run of an interval worker', runs[2] - runs[0] > 3.5)
triggered.stop()

passed = []


@background_worker(interval=5)
def restarted(**kwargs):
    passed.append('wait' in kwargs)


restarted.start()
until(lambda: passed)
restarted.restart(wait=True)
until(lambda: len(passed) == 2)
fact('wait of worker.restart(..., wait=True)', passed)
restarted.stop()

runs.clear()
ceaseless = Ceaseless(interval=0)
ceaseless.start()
until(lambda: len(runs) > 5)
fact('poll_delay between two runs of a worker', runs[5] - runs[0] < 0.25)
ceaseless.stop()

supervisor = Supervisor('mine')
supervisor.start()
wait_completed(background_task(abs, supervisor=supervisor)(-1))
until(lambda: len(called) == 2)
fact('mark_task_started of a subclass of a supervisor', tasks[0][1])
fact('mark_task_completed of a subclass of a supervisor', called)
tasks.clear()
collection = TaskCollection(supervisor=supervisor)
collection.append(dict)
collection.run()
fact('task.result of a task of a TaskCollection', tasks[0][0].result)

items = []
consumer = Consumer(q=Queue)
consumer.start()
consumer.put_threadsafe(1)
until(lambda: items)
time.sleep(0.2)
called.clear()
consumer.stop()
fact('stop() of a queue worker', called)

names = []


@background_worker(interval=5)
async def in_own_loop(**kwargs):
    names.append(threading.current_thread().name)


in_own_loop.start()
until(lambda: names)
in_own_loop.stop()
fact("the name of the thread of the supervisor's own loop", names)

functions = FunctionCollection()


@functions(priority=1)
def named():
    pass


fact('a function that is decorated with @collection(priority=...)', named is not None)
with triggered.start_stop_lock:
    fact('worker.start_stop_lock', triggered.start_stop_lock.acquire(False))


@background_worker(event=True)
def on_event(**kwargs):
    pass


on_event.start()
fact('get_event_obj() of an event worker', isinstance(on_event.get_event_obj(), asyncio.Event))
on_event.stop()


async def endless():
    await asyncio.sleep(60)


def leave_loop():
    supervisor.stop_aloop('loop', cancel_tasks=True)


supervisor.create_aloop('loop')
cancelled = background_task(endless, loop='loop', supervisor=supervisor)()
cancelled.started.wait(5)
threading.Thread(target=leave_loop, daemon=True).start()
fact('a coroutine that is cancelled', cancelled.completed.wait(2))
fact('texts of exceptions and the default timeout_message',
     [error_of(lambda: task_supervisor.mark_task_completed(task_id='no task')),
      TaskSupervisor.timeout_message])
leave()
