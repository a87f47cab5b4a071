"""Mistakes that type checkers find: one in each line that ends with a mark. Not run.

``python -m tests.typing`` compares these lines with the errors that the type checkers report.
"""
from __future__ import annotations

from atasker_like import (AsyncQueue, Task, TaskOptions, ThreadQueue, amap, as_completed,
                          background_task, co_mp_apply, task_supervisor, tmap, wait_completed)


@background_task
def scale(number: int, unit: str = "m") -> float:
    return float(number)


def power(base: int, exponent: int = 2) -> int:
    return base * exponent


async def text_of(number: int) -> str:
    return str(number)


class Account:
    @background_task
    def add(self, amount: int) -> str:
        return str(amount)

    @background_task
    @classmethod
    def make(cls, amount: int) -> str:
        return str(amount)


queue = ThreadQueue()


@queue.task
def bound(number: int, unit: str = "m") -> float:
    return float(number)


def calls() -> None:
    scale("1")                                          # mistake
    scale()                                             # mistake
    scale(1, scale=2)                                   # mistake
    scale.map(["1"])                                    # mistake
    scale.starmap([("1", "km")])                        # mistake
    Account().add("1")                                  # mistake
    Account.make("1")                                   # mistake
    scale(1).result()                                   # mistake
    text: str = scale(1).value()                        # mistake
    task: Task[str] = scale(1)                          # mistake
    scale(1).value(timeout="5")                         # mistake
    del text, task


def options() -> None:
    scale.options(priorty=1)                            # mistake
    scale.options(backoff="twice")                      # mistake
    scale.options(tt="process")                         # mistake
    scale.options(timeout="5")                          # mistake
    background_task(power, retris=3)                    # mistake
    background_task(power, retries="three")             # mistake
    background_task(retries="three")                    # mistake
    TaskOptions(retires=1)                              # mistake


def waits() -> None:
    wait_completed(3)                                   # mistake
    wait_completed([3])                                 # mistake
    wait_completed(scale)                               # mistake
    wait_completed(scale(1), timeuot=3)                 # mistake
    as_completed([3])                                   # mistake
    task_supervisor.put_task(3)                         # mistake


async def queues(coroutines: AsyncQueue) -> None:
    ThreadQueue(worker=3)                               # mistake
    ThreadQueue(fail_policy="failfirst")                # mistake
    ThreadQueue(mode="inf")                             # mistake
    queue.run(fail_policy="failfirst")                  # mistake
    queue.submit(power, "2")                            # mistake
    queue.submit(power, 2, priorty=1)                   # mistake
    queue.map(power, ["2"])                             # mistake
    bound("1")                                          # mistake
    coroutines.submit(power, 2)                         # mistake
    tmap(power, ["2"])                                  # mistake
    tmap(power, [2], workerz=2)                         # mistake
    await amap(power, [2])                              # mistake
    await co_mp_apply(power, args=("2",))               # mistake
