"""Mistakes that type checkers find: one in each line that ends with a mark. Not run.

``python -m tests.typing`` compares these lines with the errors that the type checkers report.
"""
from __future__ import annotations

import asyncio

from atasker_like import (TT_MP, AsyncQueue, AsyncResult, Checkpoint, FunctionCollection, Lane,
                          Locker, ProcessExecutor, SQLiteBackend, SyncResult, Task, TaskOptions,
                          TaskSupervisor, ThreadExecutor, ThreadQueue, amap, as_completed,
                          background_task, background_worker, co_mp_apply, co_wait_completed,
                          current_task, iter_completed, pmap, report_progress, run, service,
                          task_supervisor, tmap, wait_completed)


@background_task
def scale(number: int, unit: str = "m") -> float:
    return float(number)


def power(base: int, exponent: int = 2) -> int:
    return base * exponent


def size(path: str) -> int:
    return len(path)


async def load(path: str) -> "list[str]":
    return [path]


async def text_of(number: int) -> str:
    return str(number)


@background_task
async def text_task(number: int) -> str:
    return str(number)


def with_id(number: int, _task_id: str) -> str:
    return _task_id


@background_task(tt=TT_MP)
def rank(pages: list[str], depth: int = 1) -> dict[str, int]:
    return dict.fromkeys(pages, depth)


@background_task
async def fetch(url: str, *, timeout: float = 5) -> bytes:
    return url.encode()


class Station:
    @background_task
    @staticmethod
    def ping(host: str) -> bool:
        return bool(host)

    @background_task(retries=1)
    async def read(self, channel: int) -> float:
        return float(channel)


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
    queue.submit(scale, "1")                            # mistake
    coroutines.submit(text_task, "1")                   # mistake
    queue.map(power, ["2"])                             # mistake
    queue.map(power, [("2", 3), 2])                     # mistake
    bound("1")                                          # mistake
    coroutines.submit(power, 2)                         # mistake
    tmap(power, ["2"])                                  # mistake
    tmap(power, [2], workerz=2)                         # mistake
    await amap(power, [2])                              # mistake
    await co_mp_apply(power, args=("2",))               # mistake
    await co_mp_apply(with_id, args=("2",))             # mistake


class Calibrate(service.Task):
    qubit: int
    span: float = 1.0


class Move(service.Task):
    place: str


lab = service.Service("lab")


def calibrate(task: Calibrate) -> float:
    return task.span


@background_worker(interval=1)
def tick(ticks: list[str]) -> bool:
    return True


@background_worker(q=True)
def store(item: str) -> None:
    pass


@background_worker(e=True)
def flush() -> None:
    pass


def services(client: service.SyncClient) -> None:
    Calibrate("3")                                      # mistake
    Calibrate(3, spam=2.0)                              # mistake
    lab.handler(calibrate)                              # mistake
    lab.handler(Move)(calibrate)                        # mistake
    lab.handler(Calibrate, priorty=1)                   # mistake
    lab.serve("127.0.0.1:8500", max_cients=3)           # mistake
    lab.serve(8500)                                     # mistake
    client.execute(3)                                   # mistake
    client.execute(Calibrate(3)).ename                  # mistake
    client.execute(Calibrate(3), check=False).result    # mistake


def workers() -> None:
    background_worker(calibrate, intervall=1)           # mistake
    background_worker(restart="sometimes")              # mistake
    background_worker(interval="1")                     # mistake
    background_worker(interval=1, overlap="merge")      # mistake
    background_worker(3)                                # mistake
    tick(["tick"]).upper()                              # mistake
    tick(3)                                             # mistake
    tick.put_threadsafe("a")                            # mistake


def supervisors(collection: FunctionCollection) -> None:
    task_supervisor.lane("mail", limits=4)              # mistake
    task_supervisor.lane("mail", on_full="wait")        # mistake
    Lane("mail", rate="10")                             # mistake
    task_supervisor.create_async_job(target=text_of, intervall=1)   # mistake
    task_supervisor.create_async_job(target=calibrate)  # mistake
    collection(text_of)                                 # mistake
    collection(priority="high")                         # mistake
    text: str = SyncResult[int]("id").get()             # mistake
    AsyncResult[int](3)                                 # mistake
    del text


async def results(coroutines: AsyncQueue) -> None:
    rank("a")                                           # mistake
    rank(["a"]).value()["a"].upper()                    # mistake
    rank(["a"]).wait().unwrap().upper()                 # mistake
    rank(["a"]).priority.upper()                        # mistake
    rank(["a"]).add_done_callback(3)                    # mistake
    fetch("a", 5)                                       # mistake
    fetch("a") + b""                                    # mistake
    (await fetch("a")).upper().encode()                 # mistake
    fetch.starmap([(1,)])                               # mistake
    Station.ping(3)                                     # mistake
    await Station().read("1")                           # mistake
    rank.options(retry_on=3)                            # mistake
    wait_completed(rank(["a"]), strict=True).append(1)  # mistake
    wait_completed({"a": 3})                            # mistake
    await co_wait_completed([fetch("a")], timeout="1")  # mistake
    await co_mp_apply(size, ("a", "b"))                 # mistake
    await co_mp_apply(size, args=("a",), priority="high")  # mistake
    current_task().check_cancelled()                    # mistake
    report_progress("half")                             # mistake
    iter_completed(3)                                   # mistake
    pmap(size, ["a"])[0].upper()                        # mistake
    tmap(size, ["a"], progress=3)                       # mistake
    run(size("a"))                                      # mistake
    await amap(load, [1])                               # mistake
    asyncio.create_task(fetch("a"))                     # mistake
    SyncResult[bytes]("id").get(timeout=1).upper().encode()  # mistake
    coroutines.submit(size, "a").value().upper()        # mistake


def further_queues() -> None:
    queue.submit(size)                                  # mistake
    queue.submit(size, "a", retries="1")                # mistake
    queue.submit(size, "a").result().value.upper()      # mistake
    queue.group(size, ["a"]).values()[0].upper()        # mistake
    queue.run(progressed=True)                           # mistake
    queue.run().failed.append(1)                        # mistake
    queue.task(retries=1)(size)(3)                      # mistake
    Checkpoint(3)                                       # mistake
    SQLiteBackend("a.db", arguments="yes")              # mistake


def pools() -> None:
    TaskSupervisor(pool_sise=3)                         # mistake
    task_supervisor.put_task(size, ("a",), dealy=1)     # mistake
    task_supervisor.create_mp_pool("4")                 # mistake
    task_supervisor.set_thread_pool(on_full="wait")     # mistake
    task_supervisor.set_mp_pool(start_method="thread")  # mistake
    task_supervisor.set_mp_pool(min_size="most")        # mistake
    task_supervisor.thread_pool.submit(size, 3)         # mistake
    task_supervisor.stop(wait="soon")                   # mistake
    task_supervisor.stats().threads                     # mistake
    task_supervisor.get_task(3)                         # mistake
    task_supervisor.create_aloop(3)                     # mistake
    task_supervisor.lane("mail").configure(limit="4")   # mistake
    ThreadExecutor(2).submit(size, 1)                   # mistake
    ProcessExecutor("2")                                # mistake
    Locker("a", timeout="1")                            # mistake
    FunctionCollection(on_error=3)                      # mistake
    store.put_threadsafe()                              # mistake
    flush.trigger_threadsafe("now")                     # mistake
