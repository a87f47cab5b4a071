"""What a type checker knows of tasks, waits and queues. Read by type checkers; not run."""
from __future__ import annotations

import asyncio
import pickle
from typing import Any, Generator, Sequence, TypeVar

from typing_extensions import assert_type

from atasker_like import (TT_MP, AsyncJob, AsyncQueue, AsyncResult, BackgroundAsyncWorker,
                          BackgroundEventWorker, BackgroundIntervalWorker, BackgroundQueueWorker,
                          BackgroundWorker, FunctionCollection, Lane, ProcessQueue, SyncResult,
                          SyncTaskGroup, SyncTaskHandle, Task, TaskCollection, TaskGroup,
                          TaskHandle, TaskOptions, TaskResult, ThreadQueue, amap, as_completed,
                          background_task, background_worker, co_as_completed, co_mp_apply,
                          co_wait_completed, iter_completed, pmap, run, service, shared,
                          task_supervisor, tmap, wait_completed)

T = TypeVar("T")


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
    assert_type(scale.map([1]), Generator[float, None, None])
    assert_type(scale.starmap([(1, "km")]), Generator[float, None, None])
    assert_type(scale.starmap([(1,)]), Generator[float, None, None])
    assert_type(scale.starmap([(1,)], progress=True), Generator[float, None, None])
    assert_type(scale.starmap([(1, "km")], progress="a"), Generator[float, None, None])
    assert_type(scale.starmap([[1, "km"]]), Generator[float, None, None])
    assert_type(scale.options(priority=1)(1), Task[float])
    assert_type(scale.__wrapped__(1), float)
    assert_type(lines(1), Task["list[str]"])
    assert_type(lines(1).value(), "list[str]")
    assert_type(lines.map([1]), Generator[list[str], None, None])
    assert_type(account.add(1).value(), str)
    assert_type(account.add.map([1]), Generator[str, None, None])
    assert_type(account.add.options(retries=1)(1), Task[str])
    assert_type(Account.add(account, 1), Task[str])
    assert_type(account.wait(1), Task[bytes])
    assert_type(Account.make(1), Task[bytes])
    assert_type(account.make(1), Task[bytes])
    assert_type(Account.make.map([1]), Generator[bytes, None, None])
    assert_type(Account.check(1), Task[bool])
    assert_type(account.check(1), Task[bool])
    assert_type(background_task(power)(2, 3).value(), int)
    assert_type(background_task(len).map(["a"]), Generator[int, None, None])
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
    assert_type(wait_completed([scale(1), queue.submit(scale, 1)]), "list[float | None]")
    assert_type(wait_completed((scale(1), queue.submit(scale, 1)), strict=True), "list[float]")
    assert_type(wait_completed({"a": scale(1), "b": queue.submit(scale, 1)}, strict=True),
                "dict[str, float]")
    for either in as_completed([scale(1), queue.submit(scale, 1)]):
        assert_type(either.value(), float)
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


def processes() -> None:
    assert_type(shared([1]), "list[int]")
    task_supervisor.set_mp_pool(serializer=pickle)


class Calibrate(service.Task):
    qubit: int
    span: float = 1.0


lab = service.Service("lab")


@lab.handler(Calibrate, timeout=5)
def calibrate(task: Calibrate) -> dict[str, float]:
    assert_type(task.qubit, int)
    return {"centre": task.span / 2}


async def services(client: service.Client, blocking: service.SyncClient) -> None:
    assert_type(calibrate(Calibrate(3)), "dict[str, float]")
    assert_type(Calibrate(qubit=3, span=2.0).span, float)
    assert_type(Calibrate.from_payload({"qubit": 3}), Calibrate)
    assert_type(await client.execute(Calibrate(3)), service.TaskResultOk)
    assert_type(await client.execute("lab", Calibrate(3), check=True), service.TaskResultOk)
    assert_type(await (await client.request(Calibrate(3))), service.TaskResultOk)
    assert_type(blocking.execute(Calibrate(3), timeout=5), service.TaskResultOk)
    assert_type(blocking.request(Calibrate(3)).result(), service.TaskResultOk)
    assert_type(blocking.send("Calibrate", {"qubit": 3}), service.TaskResultOk)
    result = blocking.execute(Calibrate(3), check=False)
    if result.status == "error":
        assert_type(result, service.TaskResultError)
        assert_type(result.ename, str)
    else:
        assert_type(result, service.TaskResultOk)
    assert_type(lab.serve(("127.0.0.1", 0), "secrecy!", max_clients=3), service.Server)


@background_worker
def plain(items: list[int]) -> bool:
    return bool(items.pop())


@background_worker(restart="never", max_restarts=3)
async def periodic(number: int) -> str:
    return str(number)


@background_worker(q=True)
def eat(item: str, o: object) -> None:
    pass


@background_worker(event=True)
def ring(o: object) -> None:
    pass


@background_worker(interval=0.1, overlap="skip")
def tick(ticks: list[str]) -> bool:
    return True


class Countdown(BackgroundWorker):
    def run(self, numbers: list[int]) -> bool:
        return bool(numbers.pop())


def workers() -> None:
    assert_type(plain([1]), bool)
    assert_type(plain.__wrapped__([1]), bool)
    assert_type(plain.start([1]), bool)
    assert_type(run(periodic(1)), str)
    assert_type(eat.put_threadsafe("a"), None)
    assert_type(ring.trigger_threadsafe(), bool)
    assert_type(tick(["tick"]), bool)
    assert_type(tick.delay, "float | None")
    assert_type(tick.interval, "float | None")
    assert_type(Countdown("down", priority=50).start([1]), bool)
    asynchronous: BackgroundAsyncWorker = periodic
    queued: BackgroundQueueWorker = eat
    rung: BackgroundEventWorker = ring
    ticking: BackgroundIntervalWorker = tick
    del asynchronous, queued, rung, ticking
    assert_type(background_worker(power, interval=5)(2), int)


startup = FunctionCollection(include_exceptions=True)


@startup
def first() -> int:
    return 1


@startup(priority=50)
def second() -> str:
    return ""


def collections(checks: TaskCollection) -> None:
    assert_type(first(), int)
    assert_type(second(), str)
    assert_type(startup(), "dict[str, Any]")
    assert_type(startup.run(), "dict[str, Any]")
    assert_type(checks.execute(), "tuple[dict[str, Any], bool]")


def supervisors() -> None:
    lane = task_supervisor.lane("mail", limit=4, rate=10, on_full="drop")
    assert_type(lane, Lane)
    job = task_supervisor.create_async_job(target=text_of, args=(1,), interval=5)
    assert_type(job, AsyncJob)
    assert_type(job.cancel(), bool)
    assert_type(job.missed, int)


# A generic function stays generic: its call, but not its map() under mypy.
@background_task
def item(items: Sequence[T], default: T) -> T:
    return items[0]


@background_task(retries=1)
async def echo(value: T) -> T:
    return value


@queue.task
def connect(host: str, timeout: float = 5, name: tuple[str, ...] = ()) -> str:
    return host


def with_id(number: int, _task_id: str) -> str:
    return _task_id


def with_id_keyword(number: int, unit: str, *, _task_id: str) -> str:
    return _task_id


async def exceptions(coroutines: AsyncQueue, mixed: list[int | tuple[int, int]]) -> None:
    assert_type(item([1], 2), Task[int])
    assert_type(item(["a"], "b").value(), str)
    assert_type(echo(1).value(), int)
    assert_type(await echo("a"), str)
    assert_type(await lines.__wrapped__(1), "list[str]")
    assert_type(queue.submit(scale, 1, "km", retries=1), SyncTaskHandle[float])
    assert_type(queue.submit(bound, 1), SyncTaskHandle[float])
    assert_type(coroutines.submit(lines, 1), TaskHandle["list[str]"])
    assert_type(coroutines.submit(echo, "a"), TaskHandle[str])
    assert_type(coroutines.task(lines)(1), TaskHandle["list[str]"])
    assert_type(coroutines.task(priority=1)(lines)(1), TaskHandle["list[str]"])
    assert_type(connect("a", timeout=5), SyncTaskHandle[str])
    assert_type(connect.options(timeout=30)("a", timeout=5), SyncTaskHandle[str])
    assert_type(connect("a", name=("b",), opts=TaskOptions(timeout=3)), SyncTaskHandle[str])
    assert_type(await co_mp_apply(with_id, (1,)), str)
    assert_type(await co_mp_apply(with_id_keyword, (1, "km")), str)
    assert_type(queue.map(power, mixed), "list[SyncTaskHandle[int]]")
    assert_type(tmap(power, mixed), "tuple[int, ...]")
    assert_type(await amap(text_of, [1]), "tuple[str, ...]")
