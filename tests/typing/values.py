"""What a type checker knows of tasks, waits and queues. Read by type checkers; not run."""
from __future__ import annotations

import asyncio
import pickle
from typing import Any, Iterator

from typing_extensions import assert_type

from atasker_like import (TT_MP, AsyncQueue, AsyncResult, ProcessQueue, SyncResult, SyncTaskGroup,
                          SyncTaskHandle, Task, TaskGroup, TaskHandle, TaskResult, ThreadQueue,
                          amap, as_completed, background_task, co_as_completed, co_mp_apply,
                          co_wait_completed, iter_completed, pmap, run, task_supervisor, tmap,
                          wait_completed)


@background_task
def scale(number: int, unit: str = "m") -> float:
    return float(number)


@background_task(retries=2, backoff="exponential", timeout=5)
async def lines(number: int) -> list[str]:
    return [""] * number


def power(base: int, exponent: int = 2) -> int:
    return base * exponent


async def text_of(number: int) -> str:
    return str(number)


class Account:
    @background_task
    def add(self, amount: int) -> str:
        return str(amount)

    @background_task(tt=TT_MP)
    async def wait(self, amount: int) -> bytes:
        return b""

    @background_task
    @classmethod
    def make(cls, amount: int) -> bytes:
        return b""

    @background_task(priority=50)
    @staticmethod
    def check(amount: int) -> bool:
        return True


def tasks(account: Account) -> None:
    assert_type(scale(1), Task[float])
    assert_type(scale(1).value(), float)
    assert_type(scale(1, unit="km").value(5), float)
    assert_type(scale(1).result, "float | None")
    assert_type(scale(1).wait(), TaskResult[float])
    assert_type(scale(1).wait().value, "float | None")
    assert_type(scale(1).wait().unwrap(), float)
    assert_type(scale(1).exception(), "BaseException | None")
    assert_type(scale.map([1]), Iterator[float])
    assert_type(scale.starmap([(1, "km")]), Iterator[float])
    assert_type(scale.starmap([(1,)]), Iterator[float])
    assert_type(scale.starmap([[1, "km"]]), Iterator[float])
    assert_type(scale.options(priority=1)(1), Task[float])
    assert_type(scale.__wrapped__(1), float)
    assert_type(lines(1), Task["list[str]"])
    assert_type(lines(1).value(), "list[str]")
    assert_type(lines.map([1]), Iterator["list[str]"])
    assert_type(account.add(1).value(), str)
    assert_type(account.add.map([1]), Iterator[str])
    assert_type(account.add.options(retries=1)(1), Task[str])
    assert_type(Account.add(account, 1), Task[str])
    assert_type(account.wait(1), Task[bytes])
    assert_type(Account.make(1), Task[bytes])
    assert_type(account.make(1), Task[bytes])
    assert_type(Account.make.map([1]), Iterator[bytes])
    assert_type(Account.check(1), Task[bool])
    assert_type(account.check(1), Task[bool])
    assert_type(background_task(power)(2, 3).value(), int)
    assert_type(background_task(len).map(["a"]), Iterator[int])
    assert_type(background_task(power, priority=1)(2), Task[int])
    assert_type(task_supervisor.put_task(power, (2,)), Task[int])
    assert_type(task_supervisor.put_task(text_of, (2,)), Task[str])


def waits(group: SyncTaskGroup[int]) -> None:
    assert_type(wait_completed(scale(1)), "float | None")
    assert_type(wait_completed(scale(1), strict=True), float)
    assert_type(wait_completed([scale(1)]), "list[float | None]")
    assert_type(wait_completed([scale(1)], strict=True), "list[float]")
    assert_type(wait_completed({"a": scale(1)}), "dict[str, float | None]")
    assert_type(wait_completed({"a": scale(1)}, strict=True), "dict[str, float]")
    assert_type(wait_completed(scale(n) for n in range(2)), "list[float | None]")
    assert_type(wait_completed(group, strict=True), "list[int]")
    for task in as_completed([scale(1)]):
        assert_type(task, Task[float])
    for handle in as_completed([group]):
        assert_type(handle, SyncTaskHandle[int])
    for handle in iter_completed(group):
        assert_type(handle, SyncTaskHandle[int])


async def co_waits() -> None:
    assert_type(await scale(1), float)
    assert_type(await co_wait_completed(scale(1)), "float | None")
    assert_type(await co_wait_completed([scale(1)], strict=True), "list[float]")
    async for task in as_completed([scale(1)]):
        assert_type(task, Task[float])
    async for task in co_as_completed([scale(1)]):
        assert_type(task, Task[float])
    assert_type(await co_mp_apply(power, args=(2,)), int)
    assert_type(await co_mp_apply(power, (2, 3), priority=1), int)
    assert_type(await co_mp_apply(power, [2, 3]), int)
    assert_type(await co_mp_apply(power, kwargs={"base": 2}), int)
    assert_type(await AsyncResult[int]("id").get(), int)


queue = ThreadQueue(workers=2, fail_policy="fail_first", mode="infinite")


@queue.task
def bound(number: int, unit: str = "m") -> float:
    return float(number)


def queues(processes: ProcessQueue) -> None:
    assert_type(queue.submit(power, 2), SyncTaskHandle[int])
    assert_type(queue.submit(power, 2, 3, priority=1).value(), int)
    assert_type(queue.submit(scale, 2), SyncTaskHandle[float])
    assert_type(processes.submit(divmod, 17, 5).value(), "tuple[int, int]")
    assert_type(queue.submit(power, 2).wait(), TaskResult[int])
    assert_type(queue.submit(power, 2).result(), TaskResult[int])
    assert_type(queue.map(power, [2]), "list[SyncTaskHandle[int]]")
    assert_type(queue.map(power, [(2, 3)], retries=1), "list[SyncTaskHandle[int]]")
    assert_type(queue.map(power, [{"base": 2}]), "list[SyncTaskHandle[int]]")
    assert_type(queue.group(power, [2]), SyncTaskGroup[int])
    assert_type(queue.group(power, [2]).values(), "tuple[int, ...]")
    assert_type(queue.group([(power, 2)]), SyncTaskGroup[Any])
    assert_type(bound(1), SyncTaskHandle[float])
    assert_type(bound(1, "km", priority=1), SyncTaskHandle[float])
    assert_type(bound.options(priority=1)(number=1), SyncTaskHandle[float])
    assert_type(bound.map([(1, "km")]), "list[SyncTaskHandle[float]]")
    assert_type(bound.group([(1, "km")]), SyncTaskGroup[float])
    assert_type(tmap(power, [2], workers=2), "tuple[int, ...]")
    assert_type(pmap(power, [(2, 3)]), "tuple[int, ...]")
    assert_type(SyncResult[int]("id").get(), int)
    assert_type(run(text_of(1)), str)


async def async_queues(coroutines: AsyncQueue) -> None:
    assert_type(coroutines.submit(text_of, 1), TaskHandle[str])
    assert_type(await coroutines.submit(text_of, 1), TaskResult[str])
    assert_type(coroutines.submit(asyncio.sleep, 0, "a").value(), str)
    assert_type(await coroutines.asubmit(text_of, 1), TaskHandle[str])
    assert_type(coroutines.map(text_of, [1]), "list[TaskHandle[str]]")
    assert_type(await coroutines.amap(text_of, [1]), "list[TaskHandle[str]]")
    assert_type(coroutines.group(text_of, [1]), TaskGroup[str])
    assert_type(await coroutines.group(text_of, [1]).values(), "tuple[str, ...]")
    assert_type(await amap(text_of, [1], workers=3), "tuple[str, ...]")


def serializers() -> None:
    task_supervisor.set_mp_pool(serializer=pickle)
