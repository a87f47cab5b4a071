"""``python3 -m tests.benchmarks.service``: a service over a Unix domain socket, beside bare asyncio echoes over the same.

Its peers are an echo server that is an ``asyncio.Protocol``, and one of asyncio's streams that reads and writes lines. Each
server is a process of its own, and so is the client, one for all; rounds alternate, and only one pair works at a time.

The streams are what the documentation of asyncio calls an echo, and read a line, as a service has to. The protocol is the
least that asyncio can do, and looks at nothing: a request costs some 70 to 130 us of Python on both sides together beyond it,
so its ratio grows as the machine's own hand-over between two processes gets cheaper. Both are printed.
"""
import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any, Awaitable, Callable, Dict, List

from atasker_like import service, task_supervisor

ROOT = Path(__file__).resolve().parents[2]
BUDGET_RATE, BUDGET_RATIO = 5_000, 3.0

#: As long as a request.
LINE = b"x" * 180 + b"\n"


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


async def median(ask: Callable[[], Awaitable[Any]], count: int) -> float:
    """The p50 of a round trip, in microseconds."""
    times = []
    for _ in range(count):
        began = perf_counter()
        await ask()
        times.append(perf_counter() - began)
    return statistics.median(times) * 1e6


async def echo_time(path: str, count: int) -> float:
    loop = asyncio.get_running_loop()
    transport, asking = await loop.create_unix_connection(Asking, path)

    async def ask() -> None:
        asking.answered = loop.create_future()
        transport.write(LINE)
        await asking.answered

    found = await median(ask, count)
    transport.close()
    return found


async def echo_lines_time(path: str, count: int) -> float:
    reader, writer = await asyncio.open_unix_connection(path)

    async def ask() -> None:
        writer.write(LINE)
        await reader.readline()

    found = await median(ask, count)
    writer.close()
    return found


async def task_time(path: str, kind: Any, count: int) -> float:
    async with service.Client(path) as client:
        return await median(lambda: client.execute(kind(1)), count)


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
            measure(folder, arguments.rounds, arguments.count)
        finally:
            for server in servers.values():
                server.communicate()


def measure(folder: str, rounds: int, count: int) -> None:
    def at(kind: str) -> str:
        return os.path.join(folder, kind)

    found: Dict[str, List[float]] = {}
    for _ in range(rounds):
        protocol = asyncio.run(echo_time(at("protocol"), count))
        streams = asyncio.run(echo_lines_time(at("streams"), count))
        found.setdefault("echo of a protocol, us", []).append(protocol)
        found.setdefault("echo of streams, us", []).append(streams)
        for name, kind in TASKS.items():
            ours = asyncio.run(task_time(at("tasks"), kind, count))
            found.setdefault(f"{name}: p50, us", []).append(ours)
            found.setdefault(f"{name}: against the protocol (budget: {BUDGET_RATIO:g} at most)", []).append(ours / protocol)
            found.setdefault(f"{name}: against streams", []).append(ours / streams)
            found.setdefault(f"{name}: requests a second (budget: {BUDGET_RATE})", []).append(
                asyncio.run(task_rate(at("tasks"), kind, 5 * count)))
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; medians of {rounds} rounds")
    for name, values in found.items():
        print(f"{statistics.median(values):10.1f}   {min(values):8.1f} to {max(values):8.1f}   {name}")


if __name__ == "__main__":
    main()
