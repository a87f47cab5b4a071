"""Waiting for tasks: wait_completed, as_completed and their coroutine twins."""
from __future__ import annotations

from collections import deque
from itertools import islice
from threading import Lock

from ._checks import in_seconds
from ._inspect import has_method
from .engine.blocking import deadline_of
from .engine.loop_mailbox import FutureWatcher
from .engine.result import Failure
from .engine.task import CANCELED, COMPLETED, Task
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
            raise ExecutionError(f"{len(bad)} of {len(tasks)} tasks did not succeed; the first, {first.name} "
                                 f"({first.short_id}): {first.message or first.status}. All results are in "
                                 "the error's .results", [task._summary() for task in tasks]) from first.exception
    return values


def _unfinished(tasks: list[Task[Any]], timeout: Seconds | None) -> WaitTimeoutError:
    late = [task for task in tasks if not task.done()]
    return WaitTimeoutError(f"{len(late)} of {len(tasks)} tasks unfinished after {in_seconds(timeout)} of waiting; they go on. "
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


class _Pending:
    """Returns some of the tasks that are watched and have not ended. One thread calls it again and again."""

    def __init__(self, watchers: list[tuple[Task[Any], Callable[[], None]]]) -> None:
        self._watchers = watchers
        self._passed = 0            # so many at the beginning have ended

    def __call__(self) -> list[Task[Any]]:
        watchers = self._watchers
        while self._passed < len(watchers) and watchers[self._passed][0].done():
            self._passed += 1
        some = islice(watchers, self._passed, self._passed + LOOKED_AT)
        return [task for task, _ in some if not task.done()]


class _Arrivals:
    """Tasks in the order in which they end, for one thread that takes them.

    :param all_needed: True if the thread goes on when all of them have ended, False if it may do so earlier.
    """

    def __init__(self, tasks: Iterable[Task[Any]], all_needed: bool = False) -> None:
        # Shared without a lock, since a signal handler may end a task at any line: appending and taking are each one
        # step, and a gate that was opened for nothing only has the taker look once more.
        self._ended: deque[Task[Any]] = deque()
        self._gate = Lock()         # held; released when something has ended
        self._gate.acquire()
        self._watchers: list[tuple[Task[Any], Callable[[], None]]] = []
        self._all_needed = all_needed
        self._pending = _Pending(self._watchers)
        self._left = 0              # so many are still to be taken
        self._looked = False        # for tasks that nothing runs
        for task in tasks:
            watcher = self._watcher(task)
            if task._watch(watcher):
                self._watchers.append((task, watcher))
            else:
                self._ended.append(task)
            self._left += 1

    def _watcher(self, task: Task[Any]) -> Callable[[], None]:
        def ended() -> None:
            self._ended.append(task)
            if self._gate.locked():
                try:
                    self._gate.release()
                except RuntimeError:        # another one did, in between
                    pass
        return ended

    def _all(self) -> list[Task[Any]]:
        return [self._ended.popleft() for _ in range(len(self._ended))]

    def take(self, deadline: float | None, until: float | None = None) -> list[Task[Any]]:
        """Block until something has ended and return all that has; nothing when the deadline has come.

        :param until: an earlier time at which this call returns; the wait itself goes on.
        """
        ended = self._all()
        if not ended and not self._looked:
            self._looked = True
            for task in self._pending():
                task._warn_if_held_up()
        while not ended:
            certain = deadline is None and (self._all_needed or self._left == 1)
            opened = block_on(self._pending(), self._gate.acquire, deadline if until is None else until, certain)
            ended = self._all()
            if not opened:
                break
        self._left -= len(ended)
        return ended

    def close(self) -> None:
        """Forget the tasks that have not ended."""
        for task, watcher in self._watchers:
            if not task.done():
                task._unwatch(watcher)
        self._watchers.clear()


def _watch_progress(tasks: list[Task[Any]], deadline: float | None) -> None:
    """Draw until all tasks have ended, or the deadline has come."""
    from time import monotonic

    from ._progress import ProgressBar

    bar = ProgressBar(len(tasks))
    arrivals = _Arrivals(tasks, all_needed=True)
    done = failed = 0
    try:
        while done < len(tasks):
            look = monotonic() + bar.interval
            for task in arrivals.take(deadline, look if deadline is None else min(look, deadline)):
                done += 1
                failed += task._status == CANCELED or type(task._outcome) is Failure
            bar.update(done, failed)
            if deadline is not None and monotonic() >= deadline:
                break
    finally:
        arrivals.close()
        bar.finish(done, failed)


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
    pending = _as_tasks(things, "as_completed")
    return _Completed(pending, things if things != pending else None, deadline, timeout)


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

    def __init__(self, pending: list[Task[Any]], things: list[Any] | None, deadline: float | None,
                 timeout: Seconds | None) -> None:
        self._arguments = pending, deadline, timeout
        # A task may have been given several times, as different handles: each is yielded once.
        self._given: dict[Task[Any], list[Any]] = {}
        if things is not None:
            for thing, task in zip(reversed(things), reversed(pending)):
                self._given.setdefault(task, []).append(thing)
        self._ended: Iterator[Task[Any]] | None = None
        self._co_ended: AsyncIterator[Task[Any]] | None = None

    def _as_given(self, task: Task[Any]) -> Any:
        return self._given[task].pop() if self._given else task

    def __iter__(self) -> _Completed:
        return self

    def __next__(self) -> Any:
        if self._ended is None:
            self._ended = _as_completed(*self._arguments)
        return self._as_given(next(self._ended))

    def __aiter__(self) -> _Completed:
        return self

    async def __anext__(self) -> Any:
        if self._co_ended is None:
            self._co_ended = _co_as_completed(*self._arguments)
        return self._as_given(await self._co_ended.__anext__())

    def close(self) -> None:
        """Forget the tasks that have not ended; as a generator's close()."""
        if self._ended is not None:
            self._ended.close()         # type: ignore[attr-defined]


def _as_completed(pending: list[Task[Any]], deadline: float | None,
                  timeout: Seconds | None) -> Iterator[Task[Any]]:
    arrivals = _Arrivals(pending)
    left = len(pending)
    try:
        while left:
            ended = arrivals.take(deadline)
            if not ended:
                raise _unfinished(pending, timeout)
            left -= len(ended)
            yield from ended
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


async def _co_as_completed(pending: list[Task[Any]], deadline: float | None,
                           timeout: Seconds | None) -> AsyncIterator[Task[Any]]:
    from asyncio import get_running_loop

    from .engine.loop_mailbox import mailbox_of

    come: deque[Task[Any]] = deque()
    coming = FutureWatcher()
    mailbox = mailbox_of(get_running_loop())

    def arrive(task: Task[Any]) -> None:
        come.append(task)
        if not coming.future.done():
            coming.future.set_result(None)

    watchers: list[tuple[Task[Any], Callable[[], None]]] = []
    for task in pending:
        def ended(task: Task[Any] = task) -> None:
            mailbox.post(arrive, task)

        if task._watch(ended):
            watchers.append((task, ended))
        else:
            come.append(task)
    unfinished = _Pending(watchers)
    try:
        for task in [] if come else unfinished():
            mailbox.post(Task._warn_if_held_up, task)
        for left in range(len(pending), 0, -1):
            while not come:
                coming = FutureWatcher()
                if not await _co_any(unfinished(), coming, deadline, left == 1) and not come:
                    raise _unfinished(pending, timeout) from None
            yield come.popleft()
    finally:
        for task, watcher in watchers:
            if not task.done():
                task._unwatch(watcher)


async def _co_any(tasks: list[Task[Any]], coming: FutureWatcher, deadline: float | None, last: bool) -> bool:
    wait = None
    try:
        wait = await_begins(tasks, coming, deadline is None and last)
        return await coming.wait(deadline)
    finally:
        if wait is not None:
            await_ends(wait)
