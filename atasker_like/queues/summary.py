"""RunSummary: the outcome of the tasks of a run or a group."""
from __future__ import annotations

from operator import attrgetter, countOf

from .._checks import ends_traceback
from ..engine.result import Failure
from ..engine.task import CANCELED
from ..errors import ExecutionError
from .handles import result_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Hashable, Iterable, Iterator, Sequence, TextIO

    from ..engine.result import TaskResult
    from ..engine.task import Task


_status, _outcome = attrgetter("_status"), attrgetter("_outcome")

#: The most messages that are shown, lines of a message, tasks with it, and columns of a name.
_GROUPS, _MESSAGE, _MEMBERS, _NAME = 10, 6, 3, 24


class RunSummary:
    """The outcome of the tasks of a run or a group, in the order in which they were submitted.

    Iterating over it yields the :class:`TaskResult` of each task; ``len()`` is their number.

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

    def __iter__(self) -> Iterator[TaskResult]:
        return iter(self.results)

    def __len__(self) -> int:
        return self.total_submitted

    def __bool__(self) -> bool:
        return True             # also without tasks: a summary is no container to check

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

    @ends_traceback
    def raise_for_errors(self, include_cancelled: bool = False) -> None:
        """Raise if a task failed.

        :param include_cancelled: raise also if a task was cancelled (default: False).
        :raises ExecutionError: its ``results`` are those of the tasks that did not succeed.
        """
        if not self.failed and not (include_cancelled and self.cancelled):
            return
        bad = [result for result in self.results
               if result.status == "failed" or include_cancelled and result.status == "cancelled"]
        # A failure explains more than a task that was cancelled, perhaps because of it.
        first = next((result for result in bad if result.status == "failed"), bad[0])
        late = (f"; the timeout was over after {self.duration:.2f} s: raise it, or give the tasks "
                "more workers" if self.timed_out else "")
        raise ExecutionError(f"{self._counts()}{late}; the first, {first.called}: "
                             f"{first.message or first.status}. Their results are in the error's "
                             ".results",
                             bad) from first.exception

    # -- for people --------------------------------------------------------------------------------

    def display(self, file: TextIO | None = None) -> None:
        """Print the numbers of tasks by name, and the tasks that did not succeed.

        Tasks with the same error are shown together: the message, and below it the tasks with their
        items. No line is wider than the terminal.

        :param file: the stream to print to (default: stdout).
        """
        from .._display import columns_of, show, table

        width = columns_of(file)
        lines = [f"{self._counts()} in {self.duration:.2f} s"
                 f"{', timed out' if self.timed_out else ''}"]
        if self.results:
            unused = [] if self.failed else [2]
            lines += ["", *table(
                ("task", "succeeded", "failed", "cancelled", "mean s", "longest s"),
                [_row(name, members) for name, members in self.by_name().items()], width,
                drop=(*unused, *([] if self.cancelled else [3]), 5, 4))]
        show([*lines, *self._failures(width)], file)

    def _failures(self, width: int) -> list[str]:
        """Return the messages of the tasks that did not succeed, each with its tasks."""
        from textwrap import wrap

        from .._display import cut
        from .._ids import short_id

        groups: dict[str, list[TaskResult]] = {}
        for result in self.results:
            if result.status != "succeeded":
                # Without its id, since the messages of equal failures differ in nothing else.
                message = " ".join((result.message or "").split()).replace(
                    f" ({short_id(result.task_id)})", "")
                if result.status == "cancelled" and self.timed_out:
                    message = "the run timed out"
                groups.setdefault(f"{result.status}: {message}" if message else result.status,
                                  []).append(result)
        lines: list[str] = []
        ordered = sorted(groups.items(), key=lambda group: -len(group[1]))
        for head, members in ordered[:_GROUPS]:
            lines += ["", *wrap(f"{len(members):,} {head}", width, max_lines=_MESSAGE,
                                placeholder="...")]
            lines += [_member(result, width) for result in members[:_MEMBERS]]
            if len(members) > _MEMBERS:
                lines.append(cut(f"  and {len(members) - _MEMBERS:,} more", width))
        rest = sum(len(members) for _, members in ordered[_GROUPS:])
        return [*lines, "", cut(f"and {rest:,} more with other messages", width)] if rest else lines

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


def _member(result: TaskResult, width: int) -> str:
    """Return a task with its item in one line, and its attempts and time if there is room."""
    from .._display import cut

    line = f"  {cut(result.name, _NAME)} {result.short_id}"
    if result.index is not None:
        line += f", item {result.index}" + (f": {result.item}" if result.item else "")
    if result.started_at is not None:
        attempts = f", {result.attempts} attempts" if result.attempts > 1 else ""
        times = f"{attempts}, {result.duration:.3f} s"
        line += times if len(line) + len(times) <= width else ""
    return cut(line, width)


def _row(name: str, members: Sequence[TaskResult]) -> tuple[str, ...]:
    counts = [sum(result.status == status for result in members)
              for status in ("succeeded", "failed", "cancelled")]
    # Without the tasks that never ran: these would lower the mean.
    ran = [result.duration for result in members if result.started_at is not None]
    return (name, *(f"{number:,}" for number in counts),
            f"{sum(ran) / len(ran):.3f}" if ran else "-", f"{max(ran):.3f}" if ran else "-")
