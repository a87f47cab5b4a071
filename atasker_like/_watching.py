"""Watch: follows tasks up to their ends, and has their progress shown.

::

    a task ends ──────────────────> CompletionQueue ──> Watch ──> Display
    a task reports, or is retried ─> observer, poke ──┘             bar, notebook, lines, calls

The thread, or the coroutine, that waits for the tasks does all of this. It wakes at these events,
and at the times at which the display is due: a bar shows the time each second.
"""
from __future__ import annotations

from time import monotonic

from ._progress import display_of
from .engine.reports import observers
from .engine.result import Failure
from .engine.task import CANCELED, STARTED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Callable, Iterable, Iterator, Protocol

    from ._progress import Display, ShowProgress
    from .engine.task import Task

    class Completed(Protocol):
        """The ends of tasks: see CompletionQueue."""

        awaited: Any

        def poke(self) -> None: ...
        def has_more(self) -> bool: ...
        def take(self) -> Any: ...
        def close(self) -> None: ...


class Watch:
    """Counts the ends, failures, retries and reports of tasks, and has the numbers shown.

    As a context manager, it shows the last state at the end of the block; an inner block of the
    same watch ends it. For one thread at a time.

    :param progress: True, a description, or a function, as the application gives it.
    :param tasks: the tasks to watch.
    :param completed: an empty completion queue.
    :param further: returns the tasks that have come since the last call, to be watched, too.
    :param total: the number of tasks that are expected, if that is known.
    :param name: the name of the tasks, if there are none yet.
    """

    def __init__(self, progress: ShowProgress, tasks: list[Task[Any]], completed: Completed,
                 further: Callable[[], list[Task[Any]]] | None = None, total: int = 0,
                 name: str | None = None) -> None:
        self.completed = completed
        self._further = further
        self._added = 0
        self._done = self._failed = self._retried = 0
        #: By id of a task that has reported and goes on: the share that is done, and its retries.
        self._open: dict[int, tuple[float, int]] = {}
        # Tasks that have reported since the last look, by id. Other threads add to it: adding and
        # popping an item are atomic.
        self._reported: dict[int, Task[Any]] = {}
        self._poked = False
        #: The ids of the tasks that go on, from the first report on.
        self._pending: set[int] | None = None
        self._changed = True
        if further is not None:
            tasks = tasks + further()
        self._display: Display = display_of(progress, total, _label(tasks, name))
        self.add(tasks)

    def add(self, tasks: Iterable[Task[Any]]) -> None:
        """Watch further tasks."""
        for task in tasks:
            self.completed.awaited.add(task)
            self._added += 1
            if self._pending is not None:
                self._pending.add(id(task))
            if task._extra is not None:         # it may have reported, or been retried, before
                self._reported[id(task)] = task
        self._display.total = max(self._display.total, self._added)

    def __enter__(self) -> Watch:
        if self._observe not in observers:
            try:
                observers.append(self._observe)
                self.catch_up()
            except BaseException:       # interrupted, perhaps by the application's function
                self.close()
                raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Show the last state, and watch no more. It may be called twice."""
        if self._observe not in observers:
            return
        observers.remove(self._observe)
        try:
            self._take_events(None)
        finally:
            self.completed.close()
            self._display.finish(self._position(), self._failed, self._retries())

    def steps(self, deadline: float | None,
              is_done: Callable[[], bool] | None = None) -> Iterator[float | None]:
        """Yield the time until which the caller waits for the next event; None for no limit.

        :param deadline: the time at which the steps end.
        :param is_done: returns True if the steps shall end; by default, all tasks have to end.
        """
        self.catch_up()
        while self.completed.awaited.left if is_done is None else not is_done():
            due = self._display.due(self._changed)
            until = deadline if due is None or deadline is not None and deadline < due else due
            yield until
            self.catch_up(until)
            if deadline is not None and monotonic() >= deadline:
                return

    def catch_up(self, until: float | None = None) -> None:
        """Count what has happened, and have it shown if it is time. This does not wait."""
        if self._further is not None:
            tasks = self._further()
            if tasks:
                self.add(tasks)
                self._changed = True
        self._take_events(until)
        if self._display.update(self._position(), self._failed, self._retries()):
            self._changed = False

    def _take_events(self, until: float | None) -> None:
        completed = self.completed
        done = completed.awaited.done       # those that had ended before they were added
        while done:
            self._count(done.popleft())
        while completed.has_more():
            task = completed.take()
            if task is not None:            # None is a poke
                self._count(task)
            if until is not None and monotonic() >= until:
                break
        if self._reported:
            self._take_reports()

    def _count(self, task: Task[Any]) -> None:
        self._done += 1
        self._failed += task._status == CANCELED or type(task._outcome) is Failure
        self._retried += max(0, task.attempts - 1)
        self._open.pop(id(task), None)
        if self._pending is not None:
            self._pending.discard(id(task))
        self._changed = True

    def _observe(self, task: Task[Any]) -> None:
        self._reported[id(task)] = task
        if not self._poked:
            self._poked = True
            self.completed.poke()

    def _take_reports(self) -> None:
        self._poked = False             # first: a report that comes now pokes again
        pending = self._pending
        if pending is None:
            pending = self._pending = set(map(id, self.completed.awaited.all_pending()))
        while self._reported:
            number, task = self._reported.popitem()
            if number not in pending or task.done():
                continue
            progress, running = task.progress, task._status == STARTED
            share = 0.0
            if running and progress is not None and progress.total:
                try:
                    share = min(1.0, max(0.0, progress.done / progress.total))
                except Exception:       # of the application's numbers
                    pass
            self._open[number] = share, max(0, task.attempts - running)
            self._changed = True

    def _position(self) -> float:
        """Return the number of ended tasks, plus the shares of those that report progress."""
        shares = sum(share for share, _ in self._open.values())
        return round(self._done + shares, 4) if shares else self._done

    def _retries(self) -> int:
        return self._retried + sum(retries for _, retries in self._open.values())


def _label(tasks: list[Task[Any]], name: str | None) -> str:
    """Return the name that all tasks have, if it is one and not that of a lambda."""
    names = {task._spec.name for task in tasks} if tasks else {name}
    found = names.pop() if len(names) == 1 else None
    return found if found and not found.startswith("<") else "tasks"
