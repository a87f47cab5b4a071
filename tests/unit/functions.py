"""What the unit tests decorate; importable, so that pool processes find it."""
import os
import threading

from atasker_like import (TASK_HIGH, TT_MP, BackgroundIntervalWorker, background_task, current_task,
                          report_progress)
from tests.support import PATIENCE


@background_task
def double(x: int, *, times: int = 1) -> int:
    """Multiply by two, so many times."""
    for _ in range(times):
        x *= 2
    return x


@background_task(tt=TT_MP, priority=TASK_HIGH)
def triple(x):
    """Multiply by three, in a process."""
    return 3 * x


@background_task
async def co_double(x):
    """Multiply by two, in a loop."""
    return 2 * x


@background_task(retries=1)
def name_and_attempt():
    task = current_task()
    return task.name, task.attempts


def plain(x):
    return x + 1


by_hand = background_task(plain, tt=TT_MP)


class Things:
    """One method of every kind."""

    def __init__(self, base=0):
        self.base = base

    @background_task
    def method(self, x):
        """A method."""
        return self.base + x

    @background_task
    async def co_method(self, x):
        return self.base + x

    @background_task(tt=TT_MP)
    def mp_method(self, x):
        return self.base + x

    @background_task
    @staticmethod
    def static_below(x):
        return x

    @staticmethod
    @background_task
    def static_above(x):
        return x

    @background_task(priority=TASK_HIGH)
    @classmethod
    def class_below(cls, x):
        return cls.__name__, x

    @classmethod
    @background_task(priority=TASK_HIGH)
    def class_above(cls, x):
        return cls.__name__, x


class MoreThings(Things):
    pass


def times(x, by):
    return x * by


def fail():
    raise ValueError("on purpose")


def nothing():
    return None


def takes_all(*args, **kwargs):
    return args, kwargs


async def co_plain(x):
    return x + 1


class ProcessCounter(BackgroundIntervalWorker):
    """Runs in a process twice."""

    def __init__(self, **options):
        super().__init__(**options)
        self.results = []

    @staticmethod
    def run(**kwargs):
        return 1

    def process_result(self, result):
        self.results.append(result)
        return len(self.results) < 2


def report_half_and_wait(path):
    """Report half of the work, and wait for a file."""
    report_progress(1, 2)
    never, rounds = threading.Event(), 0
    while not os.path.exists(path):
        never.wait(0.01)
        rounds += 1
        assert rounds < 100 * PATIENCE
