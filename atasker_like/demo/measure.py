"""What the demo counts and measures: the files, and the times of the tasks.

Each task records when it was submitted, started and finished. So the use of the pools over time is
computed from the tasks, exactly, and the pools are not observed while they run.
"""
from __future__ import annotations

from array import array

from ..supervisor.stats import percentile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable

    from ..engine.result import TaskResult

__all__ = ["PROCESSES", "THREADS", "PoolUse", "Tally", "describe", "spread", "waited"]

THREADS, PROCESSES = "threads", "processes"

#: Seconds of one entry of the pool use at first, and the largest number of entries: above it, each
#: two become one.
_INTERVAL = 0.05
_ENTRIES = 240


class PoolUse:
    """The number of occupied slots of each pool, over time. For one thread."""

    def __init__(self, began: float) -> None:
        self.interval: float = _INTERVAL
        self._began = began         # a perf_counter reading, as the tasks' times are
        #: The start of a task, its end, the start of another one, and so on.
        self._times = {THREADS: array("d"), PROCESSES: array("d")}

    def add(self, pool: str, result: TaskResult) -> None:
        """Count the time that a task occupied a slot."""
        if result.started_at is None:
            return
        start = max(0.0, result.started_at - self._began)
        end = max(start, result.finished_at - self._began)
        while end >= self.interval * _ENTRIES:
            self.interval *= 2
        self._times[pool].extend((start, end))

    def slots(self, pool: str, until: float) -> list[float]:
        """Return how many slots were occupied in each interval on average.

        :param until: the perf_counter reading at which the last interval ends.
        """
        seconds = max(until - self._began, 1e-9)
        starts = [entry * self.interval for entry in range(int(seconds / self.interval) + 1)]
        busy = [0.0] * len(starts)
        ends = iter(self._times[pool])
        for start, end in zip(ends, ends):
            for entry in range(int(start / self.interval), int(end / self.interval) + 1):
                busy[entry] += min(end, starts[entry] + self.interval) - max(start, starts[entry])
        # The last interval may not be over yet.
        return [used / max(min(self.interval, seconds - start), 1e-9)
                for start, used in zip(starts, busy)]

    def mean(self, pool: str, until: float) -> float:
        """Return how many slots were occupied on average."""
        times = self._times[pool]
        return (sum(times[1::2]) - sum(times[::2])) / max(until - self._began, 1e-9)


def spread(seconds: Iterable[float]) -> dict[str, float | None]:
    """Return the median and the 99th percentile of times."""
    ordered = sorted(seconds)
    return {"p50": percentile(ordered, 0.5), "p99": percentile(ordered, 0.99)}


def waited(result: TaskResult) -> float | None:
    """Return the seconds from a task's submission to its start; None if it never started."""
    return None if result.started_at is None else result.started_at - result.created_at


class Tally:
    """The numbers of the files so far. One thread writes them; others may read the counts."""

    def __init__(self) -> None:
        self.done: int = 0
        self.lines: int = 0
        self.functions: int = 0
        self.classes: int = 0
        self.largest: tuple[str, int] | None = None        # a path, and its lines
        self.richest: tuple[str, int] | None = None        # a path, and its definitions
        self.unparsable: list[tuple[str, str]] = []           # paths, and why

    def add_lines(self, path: str, lines: int) -> None:
        """Count a file that was read."""
        self.lines += lines
        self.largest = _greater(self.largest, (path, lines))

    def add_definitions(self, path: str, functions: int, classes: int) -> None:
        """Count a file that was parsed."""
        self.done += 1
        self.functions += functions
        self.classes += classes
        self.richest = _greater(self.richest, (path, functions + classes))

    def add_failure(self, path: str, error: BaseException | None) -> None:
        """Count and name a file that cannot be read or does not parse."""
        self.done += 1
        self.unparsable.append((path, describe(error)))


def _greater(one: tuple[str, int] | None, other: tuple[str, int]) -> tuple[str, int]:
    """Return the pair with the larger number; of equals the one whose path sorts first."""
    return min(one or other, other, key=lambda pair: (-pair[1], pair[0]))


def describe(error: Any) -> str:
    """Return an error in one line."""
    text = str(error)
    if isinstance(error, SyntaxError):
        text = f"{error.msg} (line {error.lineno})" if error.lineno else str(error.msg)
    elif isinstance(error, OSError) and error.strerror:
        text = error.strerror
    return " ".join(f"{type(error).__name__}: {text}".split())
