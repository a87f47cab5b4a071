"""Expressions over the whole API, whose types are known. Read by type checkers; not run.

``python -m tests.typing`` counts those in whose type ``Any`` is left.
"""
from __future__ import annotations

import asyncio

from typing_extensions import reveal_type

from atasker_like import (TASK_HIGH, ALoop, AsyncQueue, AsyncResult, Checkpoint, FunctionCollection,
                          LocalProxy, Locker, MemoryBackend, ProcessExecutor, ProcessQueue,
                          Progress, SyncResult, TaskOptions, TaskSupervisor, ThreadExecutor,
                          ThreadQueue, amap, as_completed, background_task, background_worker,
                          check_cancelled, co_as_completed, co_mp_apply, co_wait_completed,
                          iter_completed, pmap, report_progress, run, service, set_debug, shared,
                          task_supervisor, tmap, wait_completed)


@background_task
def scale(number: int, unit: str = "m") -> float:
    return float(number)


@background_task(retries=2)
async def text(number: int) -> str:
    return str(number)


class Account:
    @background_task
    def add(self, amount: int) -> str:
        return str(amount)


class Calibrate(service.Task):
    qubit: int
    span: float = 1.0


def power(base: int, exponent: int = 2) -> int:
    return base * exponent


async def text_of(number: int) -> str:
    return str(number)


queue = ThreadQueue(workers=2)


@queue.task
def bound(number: int) -> float:
    return float(number)


@background_worker(interval=1)
def tick(ticks: list[str]) -> bool:
    return True


@background_worker(q=True)
def eat(item: str) -> None:
    pass


def tasks() -> None:
    reveal_type(scale(1))
    reveal_type(scale(1).value())
    reveal_type(scale(1).result)
    reveal_type(scale(1).wait())
    reveal_type(scale(1).wait().value)
    reveal_type(scale(1).exception())
    reveal_type(scale(1).done())
    reveal_type(scale(1).cancel())
    reveal_type(scale(1).id)
    reveal_type(scale(1).status)
    reveal_type(scale(1).options)
    reveal_type(scale.map([1]))
    reveal_type(scale.starmap([(1, "km")]))
    reveal_type(scale.options(priority=1))
    reveal_type(scale.__wrapped__(1))
    reveal_type(text(1))
    reveal_type(text(1).value())
    reveal_type(Account().add(1))
    reveal_type(background_task(len)("a"))
    reveal_type(task_supervisor.put_task(power, (2,)))
    reveal_type(TaskOptions(retries=1).retries)
    reveal_type(check_cancelled())
    reveal_type(report_progress(1, 2))
    reveal_type(Progress)


def waits() -> None:
    reveal_type(wait_completed(scale(1)))
    reveal_type(wait_completed([scale(1)], strict=True))
    reveal_type(wait_completed({"a": scale(1)}))
    reveal_type(list(as_completed([scale(1)])))
    reveal_type(tmap(power, [2]))
    reveal_type(pmap(power, [(2, 3)]))
    reveal_type(run(text_of(1)))


async def coroutines(asynchronous: AsyncQueue) -> None:
    reveal_type(await scale(1))
    reveal_type(await co_wait_completed([scale(1)]))
    reveal_type(await co_mp_apply(power, (2,)))
    reveal_type(await amap(text_of, [1]))
    reveal_type(asynchronous.submit(text_of, 1))
    reveal_type(await asynchronous.submit(text_of, 1))
    reveal_type(await asynchronous.asubmit(text, 1))
    reveal_type(await asynchronous.run())
    reveal_type(asynchronous.group(text_of, [1]))
    reveal_type(await AsyncResult[int]("id").get())
    reveal_type(await AsyncResult[int]("id").info())
    reveal_type(await asyncio.gather(scale(1), text(1)))


def queues(processes: ProcessQueue) -> None:
    reveal_type(queue.submit(power, 2))
    reveal_type(queue.submit(power, 2).value())
    reveal_type(queue.submit(scale, 2).wait())
    reveal_type(processes.map(power, [2]))
    reveal_type(queue.group(power, [2]).values())
    reveal_type(bound(1))
    reveal_type(bound.map([1]))
    reveal_type(queue.run())
    reveal_type(queue.run().failed)
    reveal_type(SyncResult[int]("id").get())
    reveal_type(SyncResult[int]("id").state())
    reveal_type(MemoryBackend().find("id"))


async def services(client: service.SyncClient, remote: service.Client) -> None:
    lab = service.Service("lab")
    reveal_type(Calibrate(3).qubit)
    reveal_type(Calibrate(3).display_name)
    reveal_type(client.execute(Calibrate(3)))
    reveal_type(client.request(Calibrate(3)))
    reveal_type(await remote.execute(Calibrate(3), check=False))
    reveal_type(lab.serve("/run/lab.sock"))


def size(path: str) -> int:
    return len(path)


async def load(path: str) -> list[str]:
    return [path]


@queue.task(priority=1)
def shrink(number: int, steps: int = 2) -> str:
    return str(number)


async def further(asynchronous: AsyncQueue, client: service.SyncClient) -> None:
    reveal_type(scale(1).wait().unwrap())
    reveal_type(text.options(retries=2)(1))
    reveal_type(background_task(priority=TASK_HIGH)(size)("a"))
    reveal_type(wait_completed([scale(1), text(1)], strict=True))
    reveal_type(wait_completed([scale(1), queue.submit(scale, 1)]))
    reveal_type(wait_completed(queue.group(size, ["a"])))
    reveal_type(await co_wait_completed({1: text(1)}, strict=True))
    reveal_type([task async for task in co_as_completed([text(1)])])
    reveal_type([handle.value() for handle in iter_completed(queue.group(size, ["a"]))])
    reveal_type(await co_mp_apply(power, (2,), {"exponent": 3}))
    reveal_type(tmap(size, ["a"], workers=2, progress=True))
    reveal_type(queue.group(size, ["a"]))
    reveal_type(queue.group(size, ["a"]).wait())
    reveal_type(shrink(1).value())
    reveal_type(shrink.options(timeout=1)(1, steps=3))
    reveal_type(shrink.map([1]))
    reveal_type(await asynchronous.group(load, ["a"]).values())
    reveal_type(await asynchronous.map(load, ["a"])[0])
    reveal_type(await asynchronous.join())
    reveal_type(await AsyncResult[int]("id").state())
    reveal_type(MemoryBackend().ids())
    reveal_type(client.execute(Calibrate(3), check=False))
    reveal_type(client.request(Calibrate(3)).result())
    reveal_type(eat.start())
    reveal_type(task_supervisor.put_task(load, ("a",)).value())
    reveal_type(task_supervisor.get_lanes())
    reveal_type(task_supervisor.stats().thread)
    reveal_type(task_supervisor.thread_pool.submit(size, "a"))
    reveal_type(task_supervisor.thread_pool.map(size, ["a"]))
    reveal_type(Checkpoint().count("a"))
    reveal_type(TaskOptions(retries=1).replace(timeout=3).timeout)
    reveal_type(shared(b"a"))


def others(collection: FunctionCollection, local: LocalProxy, locker: Locker) -> None:
    reveal_type(tick(["a"]))
    reveal_type(tick.start(["a"]))
    reveal_type(tick.stats())
    reveal_type(tick.interval)
    reveal_type(eat.put_threadsafe("a"))
    reveal_type(collection.run)
    reveal_type(local.has("a"))
    reveal_type(task_supervisor.lane("mail", limit=4))
    reveal_type(task_supervisor.create_async_job(target=text_of, args=(1,)))
    reveal_type(task_supervisor.stats())
    reveal_type(task_supervisor.get_info())
    reveal_type(task_supervisor.stop())
    reveal_type(TaskSupervisor("other").get_task("id"))
    reveal_type(task_supervisor.default_aloop)
    reveal_type(ALoop("a").run(text_of(1)))
    reveal_type(ThreadExecutor(2).submit(power, 2))
    reveal_type(ProcessExecutor(2).map(power, [2]))
    reveal_type(set_debug())
