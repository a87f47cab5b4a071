"""Functions and helpers of the tests of workers."""
import asyncio
import queue
import threading

from atasker_like import (BackgroundEventWorker, BackgroundIntervalWorker, BackgroundQueueWorker,
                          BackgroundWorker)
from tests.support import PATIENCE
from tests.support.threads import wait_for

KINDS = {
    "plain": (BackgroundWorker, {}),
    "queue": (BackgroundQueueWorker, {"q": True}),
    "event": (BackgroundEventWorker, {"e": True}),
    "interval": (BackgroundIntervalWorker, {"interval": 1000}),
    "delay": (BackgroundIntervalWorker, {"delay": 1000}),
}


QUEUES = [True, queue.Queue, queue.LifoQueue, queue.PriorityQueue, queue.SimpleQueue, asyncio.Queue,
          asyncio.LifoQueue, asyncio.PriorityQueue]


def function(*args):
    return None


async def coroutine_function(*args):
    return None


class Runs:
    """A function that records its calls, and can be held in each of them."""

    def __init__(self, held=False):
        self.calls = queue.Queue()
        self._go = threading.Semaphore(0)
        self._held = held
        self.result = None

    def __call__(self, *args):
        self.calls.put(args)
        if self._held:
            assert self._go.acquire(timeout=2 * PATIENCE)
        return self.result

    def go(self, number=1):
        for _ in range(number):
            self._go.release()

    def next(self):
        """Wait for the next run and return its arguments."""
        return self.calls.get(timeout=PATIENCE)

    def none(self):
        return self.calls.empty()

    def release(self):
        self._held = False
        self.go(100)


def ask(worker):
    """Have a worker of any kind run its function once more, as far as it needs that."""
    if isinstance(worker, BackgroundQueueWorker):
        worker.put_threadsafe("item")
    elif isinstance(worker, BackgroundEventWorker):
        worker.trigger_threadsafe()


def settled(worker):
    """Wait until the worker's function does not run."""
    wait_for(lambda: not worker.stats().running, "the run ends")


def task_of(worker):
    """Wait for the task of a worker's run."""
    def find():
        return [task for task in worker.supervisor.get_tasks().values() if task.worker is worker]

    wait_for(find, "its task is there")
    return find()[0]
