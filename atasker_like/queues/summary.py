"""RunSummary: the outcome of the tasks of a run or a group."""
from __future__ import annotations

import sys
from operator import attrgetter, countOf

from ..engine.result import Failure
from ..engine.task import CANCELED
from ..errors import ExecutionError
from .handles import result_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Hashable, Iterable, Sequence, TextIO

    from ..engine.result import TaskResult
    from ..engine.task import Task

__all__ = ["RunSummary"]

_status, _outcome = attrgetter("_status"), attrgetter("_outcome")

#: The most lines of the table of tasks that did not succeed, and the most columns of a name.
_SHOWN = 20
_NAME = 40


class RunSummary:
    """The outcome of the tasks of a run or a group, in the order in which they were submitted.

    ``total_submitted``, ``succeeded``, ``failed`` and ``cancelled`` are numbers of tasks.
    ``duration`` is in seconds. ``timed_out`` is True if the timeout of the run passed before its
    tasks, done callbacks and hooks had ended. The summary of a run leaves out detached tasks. It
    does not change, and may be used from any thread. The results are made when they are first
    needed.

    >>> queue = ThreadQueue()
    >>> _ = queue.map(int, ['7', 'seven'])
    >>> summary = queue.run()
    >>> summary.succeeded, summary.failed, summary.values
    (1, 1, (7,))
    >>> summary.errors[0].message
    "ValueError: invalid literal for int() with base 10: 'seven'"
    """

    def __init__(self, tasks: Iterable[Task[Any]], duration: float,
                 timed_out: bool = False) -> None:
        self._tasks: list[Task[Any]] | None = list(tasks)
        self._results: tuple[TaskResult, ...] | None = None
        self.total_submitted: int = len(self._tasks)
        self.cancelled: int = countOf(map(_status, self._tasks), CANCELED)
        self.failed: int = countOf(map(type, map(_outcome, self._tasks)), Failure)
        self.succeeded: int = self.total_submitted - self.cancelled - self.failed
        self.duration = duration
        self.timed_out = timed_out

    @property
    def ok(self) -> bool:
        """True if every task succeeded, within the timeout."""
        return self.succeeded == self.total_submitted and not self.timed_out

    @property
    def results(self) -> tuple[TaskResult, ...]:
        """The result of each task."""
        tasks = self._tasks
        if self._results is None:
            assert tasks is not None
            self._results = tuple(result_of(task) for task in tasks)
            self._tasks = None      # last, as another thread may be about to read them
        return self._results

    @property
    def values(self) -> tuple[Any, ...]:
        """The values of the tasks that succeeded."""
        tasks = self._tasks
        if tasks is not None and self.succeeded == self.total_submitted:
            return tuple(map(_outcome, tasks))      # no result is needed
        return tuple(result.value for result in self.results if result.status == "succeeded")

    @property
    def errors(self) -> tuple[TaskResult, ...]:
        """The results of the tasks that failed."""
        return tuple(result for result in self.results if result.status == "failed")

    def successes(self) -> tuple[TaskResult, ...]:
        """Return the results of the tasks that succeeded."""
        return tuple(result for result in self.results if result.status == "succeeded")

    def cancellations(self) -> tuple[TaskResult, ...]:
        """Return the results of the tasks that were cancelled."""
        return tuple(result for result in self.results if result.status == "cancelled")

    def by_task_id(self) -> dict[str, TaskResult]:
        """Return the results by the id of their task."""
        return {result.task_id: result for result in self.results}

    def by_name(self) -> dict[str, tuple[TaskResult, ...]]:
        """Return the results by the name of their task."""
        return self._by("name")

    def by_group(self) -> dict[Hashable, tuple[TaskResult, ...]]:
        """Return the results by group; those of no group under None."""
        return self._by("group_id")

    def _by(self, field: str) -> dict[Any, tuple[TaskResult, ...]]:
        groups: dict[Any, list[TaskResult]] = {}
        for result in self.results:
            groups.setdefault(getattr(result, field), []).append(result)
        return {key: tuple(members) for key, members in groups.items()}

    def raise_for_errors(self, include_cancelled: bool = False) -> None:
        """Raise if a task failed.

        :param include_cancelled: raise also if a task was cancelled (default: False).
        :raises ExecutionError: its ``results`` are those of the tasks that did not succeed.
        """
        if not self.failed and not (include_cancelled and self.cancelled):
            return
        bad = [result for result in self.results
               if result.status == "failed" or include_cancelled and result.status == "cancelled"]
        raise ExecutionError(f"{self._counts()}; the first, {bad[0].called}: "
                             f"{bad[0].message or bad[0].status}. Their results are in the error's "
                             ".results",
                             bad) from bad[0].exception

    # -- for people --------------------------------------------------------------------------------

    def display(self, file: TextIO | None = None) -> None:
        """Print the numbers of tasks by name, and the tasks that did not succeed.

        The table is no wider than the terminal.

        :param file: the stream to print to (default: stdout).
        """
        stream = sys.stdout if file is None else file
        width = _columns(stream)
        lines = [f"{self._counts()} in {self.duration:.2f} "
                 f"s{', timed out' if self.timed_out else ''}"]
        if self.results:
            lines += ["",
                      *_table(("task", "succeeded", "failed", "cancelled", "mean s", "longest s"),
                              [_row(name, members) for name, members in self.by_name().items()],
                              width)]
        bad = [result for result in self.results if result.status != "succeeded"]
        if bad:
            rows: list[tuple[str, ...]]
            rows = [(result.name, result.short_id, result.status, str(result.attempts),
                     f"{result.duration:.3f}",
                     _cut(_item(result), _NAME), " ".join((result.message or "").split()))
                    for result in bad[:_SHOWN]]
            head: tuple[str, ...] = ("task", "id", "status", "attempts", "seconds", "item",
                                     "message")
            if not any(row[5] for row in rows):         # no task is of a map
                head, rows = (*head[:5], head[6]), [(*row[:5], row[6]) for row in rows]
            lines += ["", *_table(head, rows, width, left=(0, 1, 2, 5, 6))]
            if len(bad) > _SHOWN:
                lines.append(f"... and {len(bad) - _SHOWN:,} more")
        print("\n".join(lines), file=stream)

    def _counts(self) -> str:
        counts = ", ".join(f"{number:,} {word}" for number, word in
                           ((self.succeeded, "succeeded"), (self.failed, "failed"),
                            (self.cancelled, "cancelled"))
                           if number)
        tasks = f"{self.total_submitted:,} task{'' if self.total_submitted == 1 else 's'}"
        return f"{tasks}: {counts}" if counts else tasks

    def __repr__(self) -> str:
        late = ", timed out" if self.timed_out else ""
        return f"<RunSummary {self._counts()} in {self.duration:.2f} s{late}>"

    def __getstate__(self) -> dict[str, Any]:
        self.results        # the tasks belong to this process
        return dict(self.__dict__)


def _item(result: TaskResult) -> str:
    """Return the position and the item of a task of a map, in one line."""
    if result.index is None:
        return ""
    if result.item is None:
        return str(result.index)
    return f"{result.index}: {' '.join(result.item.split())}"


def _row(name: str, members: Sequence[TaskResult]) -> tuple[str, ...]:
    counts = [sum(result.status == status for result in members)
              for status in ("succeeded", "failed", "cancelled")]
    # Without the tasks that never ran: these would lower the mean.
    ran = [result.duration for result in members if result.started_at is not None]
    return (name, *(f"{number:,}" for number in counts),
            f"{sum(ran) / len(ran):.3f}" if ran else "-", f"{max(ran):.3f}" if ran else "-")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], width: int,
           left: Sequence[int] = (0,)) -> list[str]:
    """Align columns. The first one is cut to a bound, the last one to the width."""
    rows = [head, *([_cut(row[0], _NAME), *row[1:]] for row in rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    # Names are cut to 8 columns at least, so that they can be distinguished.
    widths[0] -= max(0,
                     min(sum(widths[:-1]) + 2 * (len(widths) - 1) + len(head[-1]) - width,
                         widths[0] - 8))
    lines = []
    for row in rows:
        cells = [_cut(cell, widths[column]).ljust(widths[column]) if column in left
                 else cell.rjust(widths[column])
                 for column, cell in enumerate(row)]
        lines.append(_cut("  ".join(cells).rstrip(), width))
    return lines


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[:max(0, width - 3)] + "..."[:width]


def _columns(stream: Any) -> int:
    import os
    import shutil

    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError, AttributeError):       # a file, a pipe, a StringIO
        columns = 0
    return columns or shutil.get_terminal_size((100, 24)).columns
