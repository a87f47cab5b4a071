"""Rows 26 and 27, and ``python3 -m tests.benchmarks.service``, which tells more of them: a service
over a Unix domain socket, beside bare asyncio echoes over the same.

Its peers are an echo that is an ``asyncio.Protocol`` at both ends, the least that asyncio can do,
and the echo server of asyncio's documentation, of streams, which reads and writes lines as a
service has to. Every pair of a server and a client is two fresh processes; they take turns, and
only one pair is there at a time.

Most of an echo is the hand-over between its two processes, and that costs up to four times as much
when each of them has a core of its own, which sleeps meanwhile, as when they share one. Where the
system places a pair is its own affair. So it is measured thrice: as the system places them, which
is what the budget is of, on two cores, and all on one, where what is left beside the cost of the
languages is smallest.
"""
import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Any, AsyncIterator, Awaitable, Callable, Dict, Iterable, List, Set, Tuple

from atasker_like import service, task_supervisor
from tests.benchmarks.harness import Settings
from tests.benchmarks.report import Budget, Line, at_most

ROOT = Path(__file__).resolve().parents[2]
BUDGET_RATE, BUDGET_RATIO = 5_000, 3.0

ECHOES = "echo of a protocol", "echo of streams"

#: Requests that a client asks before it is measured.
WARM_UP = 100

#: Seconds in which a client must have found what it looks for, and a server have ended.
PATIENCE = 60

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

#: Those of the table: what a service does by default.
LANES = "lane, coroutine", "lane, thread"


# -- servers -------------------------------------------------------------------------------------


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
    if kind == ECHOES[0]:
        server: Any = await loop.create_unix_server(Echo, path)
    else:
        server = await asyncio.start_unix_server(echo_lines, path)
    print("ready", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


def serve_tasks(name: str, path: str) -> None:
    """A service with one handler: where they are of several kinds, those in threads wait for their
    turns in a coroutine."""
    made = service.Service("adding")

    async def co_add(task: Any) -> int:
        total: int = task.a + task.b
        return total

    def add(task: Any) -> int:
        total: int = task.a + task.b
        return total

    made.handler(TASKS[name])(co_add if name.endswith("coroutine") else add)
    made.serve(path)
    print("ready", flush=True)
    sys.stdin.read()
    task_supervisor.stop()


# -- the client ----------------------------------------------------------------------------------


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


async def ask(name: str, folder: str, count: int) -> float:
    """The p50 of a round trip, in microseconds."""
    path = os.path.join(folder, "socket")
    asking = (
        asking_protocol(path)
        if name == ECHOES[0]
        else asking_streams(path) if name == ECHOES[1] else asking_service(path, TASKS[name])
    )
    times: "List[float]" = []
    async with asking as ask_once:
        for _ in range(WARM_UP):
            await ask_once()
        for _ in range(count):
            began = perf_counter()
            await ask_once()
            times.append(perf_counter() - began)
    return statistics.median(times) * 1e6


async def ask_many(name: str, folder: str, count: int) -> float:
    """Requests a second of one client that always has 100 in flight."""
    async with service.Client(os.path.join(folder, "socket")) as client:
        left = iter(range(count))

        async def ask() -> None:
            for number in left:
                await client.execute(TASKS[name](number))

        began = perf_counter()
        await asyncio.gather(*[ask() for _ in range(100)])
        return count / (perf_counter() - began)


# -- both ----------------------------------------------------------------------------------------


def measured(name: str, count: int, client: "Set[int]", server: "Set[int]", *options: str) -> float:
    """What a new client finds that asks a new server."""
    with tempfile.TemporaryDirectory() as folder:
        serving = started(server, "--serve", name, folder)
        try:
            assert serving.stdout is not None and serving.stdout.readline() == b"ready\n"
            asking = started(client, "--ask", name, folder, "--count", str(count), *options)
            try:
                return float(asking.communicate(timeout=PATIENCE)[0])
            except subprocess.TimeoutExpired:
                asking.kill()
                asking.communicate()
                raise
        finally:
            try:
                serving.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                serving.kill()
                serving.communicate()
                raise


def started(cores: "Set[int]", *words: str) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.service", *words],
        cwd=str(ROOT),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    if cores:
        os.sched_setaffinity(process.pid, cores)    # before it has threads, which inherit them
    return process


def placements() -> "Dict[str, Tuple[Set[int], Set[int]]]":
    """The cores of the client, and of the server; none where the system places them."""
    found: "Dict[str, Tuple[Set[int], Set[int]]]" = {"as placed": (set(), set())}
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) > 1:
            found["two cores"] = set(cores[:1]), set(cores[1:2])
        found["one core"] = set(cores[:1]), set(cores[:1])
    return found


# -- the rows of the table -----------------------------------------------------------------------


def _rows(
    settings: Settings, names: "Iterable[str]", count: int, *options: str
) -> "Tuple[Dict[str, List[float]], str]":
    """What was found of each in all rounds; and of what there is none, why."""
    found: "Dict[str, List[float]]" = {name: [] for name in names}
    try:
        for _ in range(settings.rounds):
            for name in found:
                found[name].append(measured(name, count, set(), set(), *options))
    except (OSError, ValueError, AssertionError, subprocess.SubprocessError) as error:
        return {name: [] for name in found}, f"{type(error).__name__}: {error}"
    return found, ""


def row_26(settings: Settings) -> "List[Line]":
    found, failed = _rows(settings, (*ECHOES, *LANES), settings.pick(1000, 300))
    return [
        Line(
            26,
            f"a request: {name}",
            "us, p50",
            found[name],
            echo,
            found[echo],
            at_most(BUDGET_RATIO) if echo == ECHOES[0] else None,
            blocked=failed,
            broken=failed,
        )
        for name in LANES
        for echo in ECHOES
    ]


def row_27(settings: Settings) -> "List[Line]":
    found, failed = _rows(settings, LANES, settings.pick(5000, 2000), "--many")
    return [
        Line(
            27,
            f"100 requests at a time: {name}",
            "requests/s",
            rates,
            budget=Budget(BUDGET_RATE, True, False, "/s"),
            blocked=failed,
            broken=failed,
        )
        for name, rates in found.items()
    ]


# -- all of it -----------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python3 -m tests.benchmarks.service", description=__doc__
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--count",
        type=int,
        default=1000,
        help="round trips of a round; five times as many for a rate",
    )
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--ask", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--many", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.ask:
        print(asyncio.run((ask_many if arguments.many else ask)(*arguments.ask, arguments.count)))
    elif arguments.serve:
        name, folder = arguments.serve
        if name in TASKS:
            serve_tasks(name, os.path.join(folder, "socket"))
        else:
            asyncio.run(serve_echo(name, os.path.join(folder, "socket")))
    else:
        measure(arguments.rounds, arguments.count)


def measure(rounds: int, count: int) -> None:
    trips: "Dict[str, List[Dict[str, float]]]" = {}
    rates: "Dict[str, List[float]]" = {}
    for _ in range(rounds):
        for placement, cores in placements().items():
            trips.setdefault(placement, []).append(
                {name: measured(name, count, *cores) for name in (*ECHOES, *TASKS)}
            )
        for name in TASKS:
            rates.setdefault(name, []).append(measured(name, 5 * count, set(), set(), "--many"))
    print(
        f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; "
        f"medians of {rounds} rounds, with "
        "the least and the most"
    )
    for placement, found in trips.items():
        print(
            f"\np50 of a round trip, {placement:<12}{'us':>22}{'x protocol':>22}{'x streams':>22}"
        )
        for name in found[0]:
            columns = [[trip[name] for trip in found]]
            if name in TASKS:
                columns += [[trip[name] / trip[echo] for trip in found] for echo in ECHOES]
            print(f"    {name:<30}" + "".join(map(spread, columns)))
    print(
        f"\nrequests a second, 100 in flight (budget: {BUDGET_RATE}; of a round trip as placed: "
        f"{BUDGET_RATIO:g} x an echo at most)"
    )
    for name, values in rates.items():
        print(f"    {name:<30}{spread(values)}")


def spread(values: "List[float]") -> str:
    figures = [f"{value:.0f}" if value >= 20 else f"{value:.1f}"
               for value in (statistics.median(values), min(values), max(values))]
    return "{:>10} ({} to {})".format(*figures).rjust(22)


if __name__ == "__main__":
    main()
