"""``python3 -m tests.benchmarks.service``: a service over a Unix domain socket, beside bare asyncio echoes over the same.

Its peers are the echo server of asyncio's documentation, of streams, which reads and writes lines as a service has to, and
one that is an ``asyncio.Protocol``, the least that asyncio can do. Each server is a process of its own, and so is the client,
one for all; they take turns, and only one pair works at a time. The budget is of the first; the other is shown because it is
the floor: on one core, the echo of streams alone costs two to three times as much as that.

Most of an echo is the hand-over between two processes, and that costs up to six times as much when each has a core of its
own, which sleeps meanwhile, as when they share one. Where the system places a pair is its own affair, and differs from one
pair to the next. So it is measured thrice: as the system places them, all on one core, and the client on another core than
the servers. A ratio means something in the last two.
"""
import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Any, AsyncIterator, Awaitable, Callable, Dict, List, Set, Tuple

from atasker_like import service, task_supervisor

ROOT = Path(__file__).resolve().parents[2]
BUDGET_RATE, BUDGET_RATIO = 5_000, 3.0

ECHOES = "echo of a protocol", "echo of streams"

#: Requests that one asks before it is another one's turn.
TURN = 50

#: As long as a request.
LINE = b"x" * 180 + b"\n"


Ask = Callable[[], Awaitable[Any]]


class Add(service.Task):
    a: int
    b: int = 1


class AddAtOnce(Add):
    parallel = True


class AddInThread(Add):
    pass


class AddInThreadAtOnce(Add):
    parallel = True


TASKS = {"lane, coroutine": Add, "parallel, coroutine": AddAtOnce, "lane, thread": AddInThread,
         "parallel, thread": AddInThreadAtOnce}


# -- servers ---------------------------------------------------------------------------------------------------------


class Echo(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def echo_lines(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        line = await reader.readline()
        if not line:
            break
        writer.write(line)
        await writer.drain()
    writer.close()


async def serve_echo(kind: str, path: str) -> None:
    loop = asyncio.get_running_loop()
    if kind == "protocol":
        server: Any = await loop.create_unix_server(Echo, path)
    else:
        server = await asyncio.start_unix_server(echo_lines, path)
    print("ready", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


def serve_tasks(path: str) -> None:
    made = service.Service("adding")

    async def co_add(task: Any) -> int:
        total: int = task.a + task.b
        return total

    def add(task: Any) -> int:
        total: int = task.a + task.b
        return total

    for kind, function in ((Add, co_add), (AddAtOnce, co_add), (AddInThread, add), (AddInThreadAtOnce, add)):
        made.handler(kind)(function)
    made.serve(path)
    print("ready", flush=True)
    sys.stdin.read()
    task_supervisor.stop()


# -- the client ------------------------------------------------------------------------------------------------------


class Asking(asyncio.Protocol):
    answered: "asyncio.Future[None]"

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.answered.set_result(None)


@asynccontextmanager
async def asking_protocol(path: str) -> "AsyncIterator[Ask]":
    loop = asyncio.get_running_loop()
    transport, asking = await loop.create_unix_connection(Asking, path)

    async def ask() -> None:
        asking.answered = loop.create_future()
        transport.write(LINE)
        await asking.answered

    yield ask
    transport.close()


@asynccontextmanager
async def asking_streams(path: str) -> "AsyncIterator[Ask]":
    reader, writer = await asyncio.open_unix_connection(path)

    async def ask() -> None:
        writer.write(LINE)
        await reader.readline()

    yield ask
    writer.close()


@asynccontextmanager
async def asking_service(path: str, kind: Any) -> "AsyncIterator[Ask]":
    async with service.Client(path) as client:
        yield lambda: client.execute(kind(1))


async def round_trips(folder: str, count: int) -> "Dict[str, float]":
    """The p50 of a round trip of each, in microseconds. They take turns, a few requests each: this machine's speed may be
    another one a moment later."""
    async with AsyncExitStack() as stack:
        askers = {}
        for echo, asking in zip(ECHOES, (asking_protocol, asking_streams)):
            askers[echo] = await stack.enter_async_context(asking(os.path.join(folder, echo.split()[-1])))
        for name, kind in TASKS.items():
            askers[name] = await stack.enter_async_context(asking_service(os.path.join(folder, "tasks"), kind))
        times: "Dict[str, List[float]]" = {name: [] for name in askers}
        for _ in range(count // TURN):
            for name, ask in askers.items():
                for _ in range(3):
                    await ask()         # the processes that take turns have to warm up
                for _ in range(TURN):
                    began = perf_counter()
                    await ask()
                    times[name].append(perf_counter() - began)
        return {name: statistics.median(found) * 1e6 for name, found in times.items()}


async def task_rate(path: str, kind: Any, count: int) -> float:
    """Requests a second of one client that always has 100 in flight."""
    async with service.Client(path) as client:
        left = iter(range(count))

        async def ask() -> None:
            for number in left:
                await client.execute(kind(number))

        began = perf_counter()
        await asyncio.gather(*[ask() for _ in range(100)])
        return count / (perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python3 -m tests.benchmarks.service", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=1000, help="round trips of a round; five times as many for a rate")
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        kind, path = arguments.serve
        if kind == "tasks":
            serve_tasks(path)
        else:
            asyncio.run(serve_echo(kind, path))
        return
    with tempfile.TemporaryDirectory() as folder:
        servers = {}
        for kind in ("protocol", "streams", "tasks"):
            path = os.path.join(folder, kind)
            servers[kind] = subprocess.Popen([sys.executable, "-m", "tests.benchmarks.service", "--serve", kind, path], cwd=str(ROOT),
                                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            servers[kind].stdout.readline()         # type: ignore[union-attr]
        try:
            measure(folder, [server.pid for server in servers.values()], arguments.rounds, arguments.count)
        finally:
            for server in servers.values():
                server.communicate()


def placements() -> "Dict[str, Tuple[Set[int], Set[int]]]":
    """The cores of the client, and of the servers."""
    if not hasattr(os, "sched_setaffinity"):
        return {"as placed": (set(), set())}
    cores = sorted(os.sched_getaffinity(0))
    found = {"as placed": (set(cores), set(cores)), "one core": (set(cores[:1]), set(cores[:1]))}
    if len(cores) > 1:
        found["two cores"] = set(cores[:1]), set(cores[1:2])
    return found


def place(client: "Set[int]", servers: "Set[int]", pids: "List[int]") -> None:
    if client:
        os.sched_setaffinity(0, client)
        for pid in pids:
            for thread in os.listdir(f"/proc/{pid}/task"):
                os.sched_setaffinity(int(thread), servers)


def measure(folder: str, pids: "List[int]", rounds: int, count: int) -> None:
    path = os.path.join(folder, "tasks")
    trips: "Dict[str, List[Dict[str, float]]]" = {}
    rates: "Dict[str, List[float]]" = {}
    for _ in range(rounds):
        for name, (client, servers) in reversed(list(placements().items())):        # the last one is that of the system
            place(client, servers, pids)
            trips.setdefault(name, []).append(asyncio.run(round_trips(folder, count)))
        for name, kind in TASKS.items():
            rates.setdefault(name, []).append(asyncio.run(task_rate(path, kind, 5 * count)))
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; medians of {rounds} rounds, with "
          "the least and the most")
    for placement, found in trips.items():
        print(f"\np50 of a round trip, {placement:<12}{'us':>22}{'x protocol':>22}{'x streams':>22}")
        for name in found[0]:
            columns = [[trip[name] for trip in found]]
            if name in TASKS:
                columns += [[trip[name] / trip[echo] for trip in found] for echo in ECHOES]
            print(f"    {name:<30}" + "".join(map(spread, columns)))
    print(f"\nrequests a second, 100 in flight (budget: {BUDGET_RATE}; against streams: {BUDGET_RATIO:g} at most)")
    for name, values in rates.items():
        print(f"    {name:<30}{spread(values)}")


def spread(values: "List[float]") -> str:
    figures = [f"{value:.0f}" if value >= 20 else f"{value:.1f}"
               for value in (statistics.median(values), min(values), max(values))]
    return "{:>10} ({} to {})".format(*figures).rjust(22)


if __name__ == "__main__":
    main()
