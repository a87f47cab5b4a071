"""Differences that the documentation names: of workers and collections."""
import threading
import time

from atasker import FunctionCollection, TaskCollection, background_worker, task_supervisor
from facts import fact, leave, until

task_supervisor.start()
runs = []


@background_worker
def bare():
    runs.append(1)
    return False


bare.start()
fact("the parameters of a worker's function", until(lambda: runs, 1))


@background_worker
def failing(**kwargs):
    failures.append(1)
    raise ValueError('on purpose')


failures = []
failing.start()
fact("an error in a worker's function", until(lambda: len(failures) > 1, 2))


@background_worker(interval=5)
def interval(**kwargs):
    pass


interval.start(_delay=3)
fact('worker.start(_delay=...) of a worker that was made with interval=', interval.keep_interval)


@background_worker(q=True)
def queue(item, **kwargs):
    handled.append(item)
    time.sleep(0.3)


handled = []
queue.start()
for item in range(3):
    queue.put_threadsafe(item)
until(lambda: handled)
queue.stop()
queue.start()
fact('items that are left when a queue worker is stopped', until(lambda: len(handled) == 3, 2))

collection = TaskCollection()


@collection
def broken():
    raise ValueError('on purpose')


returned = []


def run():
    try:
        collection.run()
    except Exception as error:
        returned.append(type(error).__name__)


thread = threading.Thread(target=run, daemon=True)
thread.start()
thread.join(2)
fact('an error in a function of a TaskCollection without on_error', returned)
order = []
ordered = FunctionCollection()
ordered.append(lambda: order.append(50), priority=50)
ordered.append(lambda: order.append(0), priority=0)
ordered.run()
fact('priority 0 (TASK_CRITICAL) in a collection', order)


@background_worker(q=True)
def fast(item, **kwargs):
    items.append(item)


items = []
fast.start()
begun = time.perf_counter()
for number in range(12):
    fast.put_threadsafe(number)
until(lambda: len(items) == 12)
fact('poll_delay between two runs of a worker', time.perf_counter() - begun < 0.9)
fast.stop()
leave()
