"""A queue class of the application's: its own put() and get() are called, and a full queue holds
nobody up."""
import asyncio
import time

from atasker import background_worker, task_supervisor
from facts import fact, leave, until

calls = []
handled = []


class Traced(asyncio.Queue):

    async def put(self, item):
        calls.append('put')
        await super().put(item)

    async def get(self):
        calls.append('get')
        return await super().get()

    def task_done(self):
        calls.append('task_done')
        super().task_done()


class Bounded(asyncio.Queue):

    def __init__(self):
        super().__init__(maxsize=2)


task_supervisor.start()
task_supervisor.create_aloop('default', default=True)


@background_worker(q=Traced)
def traced(item, **kwargs):
    handled.append(item)


traced.start()
traced.put_threadsafe(1)
fact('handled', until(lambda: handled == [1]))
fact('done is told', until(lambda: 'task_done' in calls))
fact('put and get are called', calls.count('put') >= 1 and calls.count('get') >= 1)
fact('class of the queue', type(traced.get_queue_obj()).__name__)
traced.stop()


@background_worker(q=Bounded)
def bounded(item, **kwargs):
    time.sleep(0.05)
    handled.append(item)


handled.clear()
bounded.start()
begun = time.perf_counter()
for item in range(6):
    bounded.put_threadsafe(item)
fact('putting into a full queue takes no time', time.perf_counter() - begun < 1)
fact('all are handled', until(lambda: len(handled) == 6))
fact('in order', handled)
bounded.stop()


@background_worker(queue=asyncio.queues.PriorityQueue)
def sorted_worker(item, **kwargs):
    handled.append(item)


handled.clear()
sorted_worker.start()
sorted_worker.put_threadsafe(5)
fact('a priority queue works', until(lambda: handled == [5]))
leave(task_supervisor)
