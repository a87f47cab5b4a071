"""The demo's tasks, from the first file to the report.

::

    paths ──> read_source, in threads ──> count_definitions, in processes ──> Tally
    all files again, LOW, in processes <── overtaken by one HIGH task, and by co_mp_apply
    a delayed task, in a thread, which starts while the others run
"""
from __future__ import annotations

import logging
import os
import signal
import stat
import sysconfig
from array import array
from platform import python_version
from queue import SimpleQueue
from time import perf_counter

from .._progress import ProgressBar
from ..constants import TASK_HIGH, TASK_LOW, TT_MP
from ..errors import PoolBrokenError, ProcessDiedError
from ..supervisor.attributes import SIZES
from ..tasks import background_task, co_mp_apply, task_supervisor
from ..waiting import as_completed
from . import report, source
from .measure import PROCESSES, THREADS, PoolUse, Tally, describe, spread, waited

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable, Iterator

    from ..engine.task import Task
    from ..tasks import BoundTask


#: Files that are read, and parsed, at once: enough to use all slots, and few texts in memory.
AHEAD = 32
#: LOW tasks that the HIGH one overtakes; the files of a small folder are used several times.
BACKLOG_LEAST, BACKLOG_MOST = 200, 1000
#: The delay of the delayed task in seconds.
DELAY = 0.5
#: A file may crash the parser and its process. After that many crashes before the first success,
#: the cause is no file.
DEATHS = 8
#: Seconds that running tasks get after Ctrl-C.
GRACE = 1.0

_ADVICE = ("name a folder with .py files or a single file, or leave PATH out to index Python's "
           "standard library")

read_source: BoundTask[[str], tuple[bytes, int]] = background_task(source.read_source)
count_definitions: BoundTask[[bytes], tuple[int, int]] = background_task(
    source.count_definitions, tt=TT_MP)
count_names: BoundTask[[str], int] = background_task(
    source.count_names, tt=TT_MP, priority=TASK_LOW)


class DemoError(Exception):
    """There is nothing to index. The message says why and what to do."""


def run(path: str | None = None, as_json: bool = False) -> int:
    """Index source files, show how on stderr and the outcome on stdout; return the exit status.

    :param path: a folder or a file; None for the standard library of the running Python.
    :param as_json: print the outcome as one JSON object instead of text.
    :raises DemoError: there is nothing to index; nothing has been printed.
    """
    root, title, paths, unlisted = _sources(path)
    try:
        data = _Demo(paths).run()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            signal.signal(signal.SIGINT, signal.SIG_DFL)    # a second Ctrl-C ends the process
        # One line will say what happened; the cancelled tasks need not be explained beside it.
        logging.getLogger("atasker_like").addHandler(logging.NullHandler())
        task_supervisor.stop(wait=GRACE, cancel_tasks=True)
        raise
    task_supervisor.stop()
    data["path"] = root
    data["unlisted"] = [{"path": error.filename, "error": describe(error)} for error in unlisted]
    if as_json:
        report.print_json(data)
    else:
        report.print_text(data, title)
    return 0


# -- the files ---------------------------------------------------------------------------------


def _sources(path: str | None) -> tuple[str, str, list[str], list[OSError]]:
    """Return the root, the title of the report, the paths, and the errors of unlisted folders."""
    unlisted: list[OSError] = []
    skipped: tuple[str, ...] = ()
    if path is None:
        root, skipped = sysconfig.get_path("stdlib"), ("site-packages", "dist-packages")
        title = f"The standard library of Python {python_version()}"
        shown = f"the standard library's folder {root!r}"
    else:
        root, title, shown = path, path, repr(path)
    try:
        mode = os.stat(root).st_mode
    except (OSError, ValueError) as error:      # ValueError: null bytes
        why = "is a symbolic link that leads nowhere" if os.path.islink(root) else "does not exist"
        if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
            why = f"cannot be reached ({getattr(error, 'strerror', None) or error})"
        raise DemoError(f"{shown} {why}; {_ADVICE}") from None
    if stat.S_ISREG(mode):
        paths = [root]
    elif stat.S_ISDIR(mode):
        paths = source.find_sources(root, skipped, unlisted.append)
        if unlisted and unlisted[0].filename == root:
            raise DemoError(f"{shown} cannot be listed ({unlisted[0].strerror}); {_ADVICE}")
    else:
        raise DemoError(f"{shown} is neither a folder nor a regular file; {_ADVICE}")
    if not paths:
        raise DemoError(f"there are no .py files in {shown} or below; {_ADVICE}")
    why_not = _why_unreadable(paths)
    if why_not is not None:
        if paths == [root]:
            raise DemoError(f"{shown} cannot be read ({why_not}); {_ADVICE}")
        raise DemoError(f"none of the .py files in {shown} can be read (the first of "
                        f"{len(paths):,}: {why_not}); {_ADVICE}")
    return root, title, paths, unlisted


def _why_unreadable(paths: list[str]) -> str | None:
    """Return why the first file cannot be read, if no file can; else None."""
    first = None
    for path in paths:
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):
                raise OSError("it is not a regular file")
            with open(path, "rb"):
                return None
        except OSError as error:
            first = first or error.strerror or str(error)
    return first


# -- the tasks ---------------------------------------------------------------------------------


class _Demo:
    """One run. All of it happens in the thread that calls :meth:`run`, but for the tasks."""

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths
        self.readable: list[str] = []     # those that threads have read, in any order
        self.tally = Tally()
        self.began = perf_counter()
        self.use = PoolUse(self.began)
        self.waiting = {THREADS: array("d"), PROCESSES: array("d")}     # for a slot, in seconds

    def run(self) -> dict[str, Any]:
        """Do it all, and return what the report says."""
        delayed = background_task(self._glance, delay=DELAY)()
        self._index()
        overtaking, coroutine = self._overtake()
        result = delayed.wait()
        self.use.add(THREADS, result)
        delay = {"asked": DELAY, "actual": waited(result), "files": result.value}
        return {**self._data(), "overtaking": overtaking, "delay": delay, "coroutine": coroutine}

    def _glance(self) -> int:
        """The delayed task: how many files are done by now."""
        return self.tally.done

    def _index(self) -> None:
        """Have all files read by threads and parsed by processes."""
        tally = self.tally
        bar = ProgressBar(len(self.paths), "files")
        bar.update(0)
        texts = self._read()
        deaths = 0
        try:
            for path, task in _as_they_end(count_definitions, texts, AHEAD):
                result = task.wait()
                self._measure(PROCESSES, result)
                if result.ok:
                    tally.add_definitions(path, *result.unwrap())
                else:
                    deaths += isinstance(result.exception, ProcessDiedError)
                    if (isinstance(result.exception, PoolBrokenError)
                            or (deaths == DEATHS and tally.richest is None)):
                        result.unwrap()     # raises: the cause is the system, and no file
                    tally.add_failure(path, result.exception)
                bar.update(tally.done, len(tally.unparsable))
        finally:
            bar.finish(tally.done, len(tally.unparsable))
        tally.unparsable.sort()

    def _read(self) -> Iterator[tuple[str, bytes]]:
        """Yield paths with their texts, as threads read them."""
        for path, task in _as_they_end(read_source, ((path, path) for path in self.paths), AHEAD):
            result = task.wait()
            self._measure(THREADS, result)
            if result.ok:
                data, lines = result.unwrap()
                self.readable.append(path)
                self.tally.add_lines(path, lines)
                yield path, data
            else:
                self.tally.add_failure(path, result.exception)

    def _measure(self, pool: str, result: Any) -> None:
        seconds = waited(result)
        if seconds is not None:
            self.waiting[pool].append(seconds)
        self.use.add(pool, result)

    def _overtake(self) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """Submit a backlog of LOW tasks, and two tasks of higher priority after it."""
        paths = sorted(self.readable) or self.paths
        size = min(BACKLOG_MOST, max(BACKLOG_LEAST, len(paths)))
        bar = ProgressBar(size, "backlog")
        backlog = [count_names(paths[number * len(paths) // size]) for number in range(size)]
        high = count_names.options(priority=TASK_HIGH)(paths[0])
        coroutine = self._ask()
        failed = 0
        results = []
        try:
            for task in as_completed(backlog):
                results.append(task.wait())
                self.use.add(PROCESSES, results[-1])
                failed += not results[-1].ok
                bar.update(len(results), failed)
        finally:
            bar.finish(len(results), failed)
        urgent = high.wait()
        self.use.add(PROCESSES, urgent)
        waits = sorted(wait for wait in map(waited, results) if wait is not None)
        started = urgent.started_at or urgent.finished_at
        return {
            "backlog": size,
            "overtaken": sum((result.started_at or started) > started for result in results),
            "high_wait": waited(urgent),
            "low_median_wait": waits[len(waits) // 2] if waits else None,
            "low_last_wait": waits[-1] if waits else None,
        }, coroutine

    def _ask(self) -> dict[str, Any] | None:
        """Have a coroutine ask for the longest function of the file with the most definitions."""
        if self.tally.richest is None:
            return None                 # nothing parsed
        import asyncio

        path, definitions = self.tally.richest
        began = perf_counter()

        async def ask() -> Any:
            return await co_mp_apply(source.longest_function, args=(path,))

        longest = asyncio.run(ask())
        return {"path": path, "definitions": definitions, "seconds": perf_counter() - began,
                "longest": longest and dict(zip(("name", "line", "lines"), longest))}

    def _data(self) -> dict[str, Any]:
        tally, now = self.tally, perf_counter()
        info, stats = task_supervisor.get_info(tt=False), task_supervisor.stats()
        slots = {pool: sum(getattr(info, f"{name}_{size}") or 0 for size in SIZES)
                 for pool, name in ((THREADS, "thread"), (PROCESSES, "mp"))}
        return {
            "python": python_version(), "seconds": now - self.began, "files": len(self.paths),
            "lines": tally.lines,
            "definitions": {"functions": tally.functions, "classes": tally.classes},
            "largest": tally.largest and dict(zip(("path", "lines"), tally.largest)),
            "unparsable": [{"path": path, "error": error} for path, error in tally.unparsable],
            "tasks": {"succeeded": stats.succeeded, "failed": stats.failed,
                      "cancelled": stats.cancelled},
            "pool_use": {"interval": self.use.interval, **{
                pool: {"slots": slots[pool], "mean": self.use.mean(pool, now),
                       "used": self.use.slots(pool, now)}
                for pool in (THREADS, PROCESSES)}},
            "waiting": {**spread(self.waiting[THREADS] + self.waiting[PROCESSES]),
                        **{pool: spread(seconds) for pool, seconds in self.waiting.items()}},
        }


def _as_they_end(function: BoundTask, calls: Iterable[tuple[str, Any]],
                 most: int) -> Iterator[tuple[str, Task[Any]]]:
    """Submit calls of a function, and yield the tasks in the order in which they end.

    ``map`` with a buffersize is the shorter way if no call fails, and if the order matters.

    :param calls: a key, which is yielded with the task, and the one argument of each call.
    :param most: the number of unfinished tasks, at most.
    """
    ended: SimpleQueue[tuple[str, Task[Any]]] = SimpleQueue()
    unfinished = 0
    for key, argument in calls:
        function(argument).add_done_callback(
            lambda task, key=key: ended.put((key, task)))       # type: ignore[misc]
        unfinished += 1
        if unfinished == most:
            yield ended.get()
            unfinished -= 1
    for _ in range(unfinished):
        yield ended.get()
