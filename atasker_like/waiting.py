"""Waiting for tasks: wait_completed, as_completed and their coroutine twins."""
from __future__ import annotations

from collections import deque
from functools import partial
from itertools import islice
from threading import Lock

from ._checks import in_seconds
from ._inspect import has_method
from .engine.blocking import deadline_of
from .engine.loop_mailbox import FutureWatcher
from .engine.result import Failure
from .engine.task import CANCELED, COMPLETED, FINAL, Task
from .engine.wait_graph import LOOKED_AT, await_begins, await_ends, block_on
from .errors import ExecutionError, InvalidTypeError, WaitTimeoutError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, AsyncIterator, Callable, Iterable, Iterator, TypeVar, overload

    from ._checks import Seconds

    T = TypeVar("T")
    R = TypeVar("R")
else:
    def overload(function):
        return function

__all__ = ["TaskView", "TaskViews", "as_completed", "co_as_completed", "co_wait_completed", "wait_completed"]


class TaskView:
    """Stands for a task, such as the handle of a queue. What is waited for is recognised by its class."""

    __slots__ = ("task",)

    if TYPE_CHECKING:
        #: The task that this is a view of.
        task: Task[Any]


class TaskViews:
    """Stands for several tasks, such as a group of a queue."""

    if TYPE_CHECKING:
        handles: tuple[Any, ...]


def _as_task(thing: Any, function: str, position: int | None = None) -> Task[Any]:
    kind = type(thing)
    if issubclass(kind, Task):
        return thing        # type: ignore[no-any-return]
    if issubclass(kind, TaskView):
        return thing.task   # type: ignore[no-any-return]
    place = "" if position is None else f"item {position} is "
    raise InvalidTypeError(f"{function} takes a task or an iterable of tasks; {place}{type(thing).__name__}"
                           + ("; call the function first, then wait for what it returns"
                              if callable(thing) else ""))


def _as_tasks(tasks: Any, function: str) -> list[Task[Any]]:
    if isinstance(tasks, (str, bytes)) or not has_method(tasks, "__iter__"):
        raise _refusal(tasks, function)
    return [thing if type(thing) is Task else _as_task(thing, function, position)
            for position, thing in enumerate(tasks)]


def _refusal(thing: Any, function: str) -> InvalidTypeError:
    try:
        _as_task(thing, function)
    except InvalidTypeError as error:
        return error
    return InvalidTypeError(f"{function} takes an iterable of tasks; put the single one into a list")


def _is_single(tasks: Any) -> bool:
    return issubclass(type(tasks), (Task, TaskView))


def _collect(tasks: list[Task[Any]], strict: bool) -> list[Any]:
    """Return the values of tasks that have ended: None in the place of a failed or cancelled one."""
    values = [task._outcome if task._status == COMPLETED and type(task._outcome) is not Failure else None
              for task in tasks]
    if strict:
        bad = [task for task in tasks if task._status == CANCELED or type(task._outcome) is Failure]
        if bad:
            first = bad[0]._summary()
            raise ExecutionError(f"{len(bad)} of {len(tasks)} tasks did not succeed; the first, {first.called}"
                                 f": {first.message or first.status}. All results are in "
                                 "the error's .results", [task._summary() for task in tasks]) from first.exception
    return values


def _unfinished(tasks: list[Task[Any]], timeout: Seconds | None, total: int | None = None) -> WaitTimeoutError:
    late = [task for task in tasks if not task.done()]
    total = len(tasks) if total is None else total
    return WaitTimeoutError(f"{len(late)} of {total} tasks unfinished after {in_seconds(timeout)} of waiting; they go on. "
                            "The first: " + ", ".join(f"{task.name} ({task.state})" for task in late[:3]))


def wait_completed(tasks: Any, timeout: Seconds | None = None, strict: bool = False,
                   progress: bool = False) -> Any:
    """Wait until tasks have ended and return their results.

    :param tasks: a task, which gives a single result; or any iterable of tasks, which gives a list in its order.
    :param timeout: seconds to wait at most; None waits for ever, 0 not at all.
    :param strict: raise if a task failed or was cancelled; otherwise its result is None.
    :param progress: show how far it is: a bar on a terminal, lines elsewhere.
    :raises WaitTimeoutError: (a TimeoutError) some are unfinished; they go on.
    :raises ExecutionError: with ``strict``, after all have ended; ``.results`` holds every TaskResult.
    :raises InvalidTypeError: (a TypeError) something is no task.

    A pool thread that waits lends its place to other tasks, so that tasks may wait for tasks.

    >>> wait_completed(background_task(max)(3, 4))
    4
    """
    deadline = deadline_of(timeout)
    single = _is_single(tasks)
    pending = [_as_task(tasks, "wait_completed")] if single else _as_tasks(tasks, "wait_completed")
    if progress:
        _watch_progress(pending, deadline)
    # From the last to the first: tasks end about in the order in which they came, so when the last one has
    # ended there is little left to wait for, and nothing had to be registered with the others.
    for task in reversed(pending):
        status = task._status
        if status != COMPLETED and status != CANCELED and not task._end(deadline):
            raise _unfinished(pending, timeout)
    values = _collect(pending, strict)
    return values[0] if single else values


class _Awaited:
    """What a caller waits for, by position, until it is taken.

    Whoever takes something holds the only reference to it: no list, watcher or variable here refers to it any
    longer. A watcher knows the position only.
    """

    def __init__(self, things: list[Any], ended: Callable[[int], Any]) -> None:
        self.total = len(things)
        self.done: deque[Any] = deque()         # what had ended before
        self.left = 0               # the others, that are still to be taken
        self._entries: list[tuple[Any, Task[Any], Callable[[], None]] | None] = []
        self._passed = 0            # so many at the beginning are taken, or have ended
        for thing in things:
            task = thing if type(thing) is Task else thing.task
            if task._status not in FINAL:
                watcher = partial(ended, self.left)
                if task._watch(watcher):
                    self._entries.append((thing, task, watcher))
                    self.left += 1
                    continue
            self.done.append(thing)

    def take(self, position: int) -> Any:
        """Return what has ended, and forget it."""
        entry = self._entries[position]
        self._entries[position] = None
        self.left -= 1
        return entry[0]             # type: ignore[index]

    def pending(self, most: int = LOOKED_AT) -> list[Task[Any]]:
        """Return some of the tasks that have not ended."""
        entries = self._entries
        while self._passed < len(entries):
            entry = entries[self._passed]
            if entry is not None and not entry[1].done():
                break
            self._passed += 1
        some = islice(entries, self._passed, self._passed + most)
        return [entry[1] for entry in some if entry is not None and not entry[1].done()]

    def warn_if_held_up(self) -> None:
        """Warn of tasks that nothing runs."""
        for task in self.pending():
            task._warn_if_held_up()

    def unfinished(self, timeout: Seconds | None) -> WaitTimeoutError:
        """Return the error for a wait that was too short."""
        return _unfinished(self.pending(self.total), timeout, self.total)

    def close(self) -> None:
        """Forget all, and be told of no end any more."""
        for entry in self._entries:
            if entry is not None and not entry[1].done():
                entry[1]._unwatch(entry[2])
        self._entries.clear()


class _Arrivals:
    """Tasks in the order in which they end, for one thread that takes them.

    :param things: tasks, and views of tasks.
    :param all_needed: True if the thread goes on when all of them have ended, False if it may do so earlier.
    """

    def __init__(self, things: list[Any], all_needed: bool = False) -> None:
        # Shared without a lock, since a signal handler may end a task at any line: appending and taking are each one
        # step, and a gate that was opened for nothing only has the taker look once more.
        self._ended: deque[int] = deque()       # positions
        self._gate = Lock()         # held; released when something has ended
        self._gate.acquire()
        self._all_needed = all_needed
        self._looked = False        # for tasks that nothing runs
        self.awaited = _Awaited(things, self._arrive)

    def _arrive(self, position: int) -> None:
        self._ended.append(position)
        if self._gate.locked():
            try:
                self._gate.release()
            except RuntimeError:        # another one did, in between
                pass

    def wait(self, deadline: float | None, until: float | None = None) -> bool:
        """Block until there is something to take; return False if the deadline has come before.

        :param until: an earlier time at which this call returns; the wait itself goes on.
        """
        awaited = self.awaited
        if not self._ended and not self._looked:
            self._looked = True
            awaited.warn_if_held_up()
        while not self._ended:
            certain = deadline is None and (self._all_needed or awaited.left == 1)
            if not block_on(awaited.pending(), self._gate.acquire, deadline if until is None else until, certain):
                break
        return bool(self._ended)

    def take(self) -> Any:
        """Return what has ended next, after :meth:`wait`."""
        return self.awaited.take(self._ended.popleft())

    def close(self) -> None:
        """Forget the tasks that have not ended."""
        self.awaited.close()


def _watch_progress(tasks: list[Task[Any]], deadline: float | None) -> None:
    """Draw until all tasks have ended, or the deadline has come."""
    from time import monotonic

    from ._progress import ProgressBar

    bar = ProgressBar(len(tasks))
    arrivals = _Arrivals(tasks, all_needed=True)
    awaited = arrivals.awaited
    done = len(awaited.done)
    failed = sum(map(_has_failed, awaited.done))
    try:
        while awaited.left:
            look = monotonic() + bar.interval
            while awaited.left and arrivals.wait(deadline, look if deadline is None else min(look, deadline)):
                done += 1
                failed += _has_failed(arrivals.take())
                if monotonic() >= look:
                    break
            bar.update(done, failed)
            if deadline is not None and monotonic() >= deadline:
                break
    finally:
        arrivals.close()
        bar.finish(done, failed)


def _has_failed(task: Task[Any]) -> bool:
    return task._status == CANCELED or type(task._outcome) is Failure


def as_completed(tasks: Iterable[Any], timeout: Seconds | None = None) -> Any:
    """Iterate over tasks as they end, the first to end first; with ``for`` in a thread, with ``async for`` in a coroutine.

    What is yielded is what was given: tasks for tasks, handles for the handles of a queue.

    :param tasks: any iterable of tasks, handles, and groups of handles.
    :param timeout: seconds for all of them together; None waits for ever, 0 yields what has ended.
    :raises WaitTimeoutError: (a TimeoutError) some are unfinished; they go on.

    >>> [task.value() for task in as_completed([background_task(abs)(-5)])]
    [5]
    """
    deadline = deadline_of(timeout)
    things = _ungrouped(tasks, "as_completed")
    _as_tasks(things, "as_completed")
    return _Completed(things, deadline, timeout)


def _ungrouped(tasks: Any, function: str) -> list[Any]:
    """Return tasks and handles, with the handles of a group in its place."""
    if isinstance(tasks, (str, bytes)) or not has_method(tasks, "__iter__"):
        raise _refusal(tasks, function)
    things: list[Any] = []
    for thing in tasks:
        if issubclass(type(thing), TaskViews):
            things += thing.handles
        else:
            things.append(thing)
    return things


class _Completed:
    """What as_completed() returns: an iterator of both kinds, of which one is used."""

    def __init__(self, *arguments: Any) -> None:
        self._arguments = arguments         # until the first step
        self._ended: Iterator[Any] | None = None
        self._co_ended: AsyncIterator[Any] | None = None

    def _begin(self) -> tuple[Any, ...]:
        arguments, self._arguments = self._arguments, ([], None, None)
        return arguments

    def __iter__(self) -> _Completed:
        return self

    def __next__(self) -> Any:
        if self._ended is None:
            self._ended = _as_completed(*self._begin())
        return next(self._ended)

    def __aiter__(self) -> _Completed:
        return self

    async def __anext__(self) -> Any:
        if self._co_ended is None:
            self._co_ended = _co_as_completed(*self._begin())
        return await self._co_ended.__anext__()

    def close(self) -> None:
        """Forget the tasks that have not ended; as a generator's close()."""
        if self._ended is not None:
            self._ended.close()         # type: ignore[attr-defined]


def _as_completed(things: list[Any], deadline: float | None, timeout: Seconds | None) -> Iterator[Any]:
    arrivals = _Arrivals(things)
    awaited = arrivals.awaited
    del things
    try:
        while awaited.done:
            yield awaited.done.popleft()            # in no variable, see _Awaited
        while awaited.left:
            if not arrivals.wait(deadline):
                raise awaited.unfinished(timeout)
            yield arrivals.take()
    finally:
        arrivals.close()


async def co_wait_completed(tasks: Any, timeout: Seconds | None = None, strict: bool = False) -> Any:
    """The same as :func:`wait_completed`, for a coroutine: the loop is not blocked."""
    deadline = deadline_of(timeout)
    single = _is_single(tasks)
    pending = [_as_task(tasks, "co_wait_completed")] if single else _as_tasks(tasks, "co_wait_completed")
    for task in reversed(pending):
        if not task.done() and not await task._co_end(deadline):
            raise _unfinished(pending, timeout)
    values = _collect(pending, strict)
    return values[0] if single else values


def co_as_completed(tasks: Iterable[Any], timeout: Seconds | None = None) -> AsyncIterator[Task[Any]]:
    """The same as :func:`as_completed`, for ``async for`` only, and of tasks: a handle's task for a handle."""
    return _co_as_completed(_as_tasks(_ungrouped(tasks, "co_as_completed"), "co_as_completed"), deadline_of(timeout), timeout)


async def _co_as_completed(things: list[Any], deadline: float | None, timeout: Seconds | None) -> AsyncIterator[Any]:
    from asyncio import get_running_loop

    from .engine.loop_mailbox import mailbox_of

    come: deque[int] = deque()          # positions
    coming = FutureWatcher()
    mailbox = mailbox_of(get_running_loop())

    def arrive(position: int) -> None:
        come.append(position)
        if not coming.future.done():
            coming.future.set_result(None)

    awaited = _Awaited(things, partial(mailbox.post, arrive))
    del things
    try:
        while awaited.done:
            yield awaited.done.popleft()            # in no variable, see _Awaited
        mailbox.post(lambda _: awaited.warn_if_held_up(), None)
        while awaited.left:
            while not come:
                coming = FutureWatcher()
                if not await _co_any(awaited.pending(), coming, deadline, awaited.left == 1) and not come:
                    raise awaited.unfinished(timeout) from None
            yield awaited.take(come.popleft())
    finally:
        awaited.close()


async def _co_any(tasks: list[Task[Any]], coming: FutureWatcher, deadline: float | None, last: bool) -> bool:
    wait = None
    try:
        wait = await_begins(tasks, coming, deadline is None and last)
        return await coming.wait(deadline)
    finally:
        if wait is not None:
            await_ends(wait)
