"""Waiting for tasks: wait_completed, as_completed, and the same for coroutines."""
from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from functools import partial
from itertools import islice
from threading import Lock

from ._atomics import release
from ._checks import cut_frames, ends_traceback, flag, in_seconds
from ._core_errors import ExecutionError, SupervisorError, WaitTimeoutError
from ._generics import Generic, T_co
from ._inspect import has_method
from ._wait_arguments import TaskViews, as_tasks, find_tasks, refusal
from .engine.blocking import deadline_of
from .engine.loop_mailbox import FutureWaiter
from .engine.result import Failure
from .engine.task import CANCELED, COMPLETED, FINAL, Task
from .engine.wait_graph import LOOKED_AT, await_begins, await_ends, block_on

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, AsyncIterator, Callable, Iterable, Iterator, overload

    from typing_extensions import Literal, TypeVar

    from ._checks import Seconds
    from ._habits import Handle
    from ._progress import ShowProgress
    from ._watching import Watch

    K = TypeVar("K")
    R = TypeVar("R")
    #: A task, or a view of one.
    One = TypeVar("One", bound="Handle[Any]")

__all__ = ["as_completed", "co_as_completed", "co_show_progress", "co_wait_completed",
           "show_progress", "shows_progress", "wait_completed", "watch_tasks"]


def _collect(tasks: list[Task[Any]], strict: bool) -> list[Any]:
    """Return the values of tasks that have ended; None for one that failed or was cancelled."""
    values = [task._outcome if task._status == COMPLETED and type(task._outcome) is not Failure
              else None for task in tasks]
    if strict:
        bad = [task for task in tasks if task._status == CANCELED or type(task._outcome) is Failure]
        if bad:
            first = bad[0]._summary()
            raise ExecutionError(
                f"{len(bad)} of {len(tasks)} tasks did not succeed; the first, {first.called}: "
                f"{first.message or first.status}. All results are in the error's .results",
                [task._summary() for task in tasks]) from first.exception
    return values


def _timeout_error(tasks: list[Task[Any]], timeout: Seconds | None,
                   total: int | None = None) -> WaitTimeoutError:
    late = [task for task in tasks if not task.done()]
    total = len(tasks) if total is None else total
    text = f"{len(late)} of {total} tasks unfinished after {in_seconds(timeout)} of waiting; "
    if not late:                # they have ended meanwhile
        return WaitTimeoutError(text + "they go on")
    return WaitTimeoutError(
        text + late[0]._spec.way_out(late[0]._status, "they go on: wait again, or cancel() them")
        + ". The first: "
        + ", ".join(f"{task.name} ({task.short_id}, {task.state})" for task in late[:3]))


if TYPE_CHECKING:
    @overload
    def wait_completed(tasks: Handle[R], timeout: Seconds | None = None,
                       *, strict: Literal[True], progress: ShowProgress = False) -> R: ...

    @overload
    def wait_completed(tasks: Handle[R], timeout: Seconds | None = None,
                       strict: bool = False, progress: ShowProgress = False) -> R | None: ...

    @overload
    def wait_completed(     # type: ignore[overload-overlap]
            tasks: Mapping[K, Handle[R]], timeout: Seconds | None = None,
            *, strict: Literal[True], progress: ShowProgress = False) -> dict[K, R]: ...

    @overload
    def wait_completed(     # type: ignore[overload-overlap]
            tasks: Mapping[K, Handle[R]], timeout: Seconds | None = None,
            strict: bool = False, progress: ShowProgress = False) -> dict[K, R | None]: ...

    @overload
    def wait_completed(tasks: Iterable[Handle[R]], timeout: Seconds | None = None,
                       *, strict: Literal[True], progress: ShowProgress = False) -> list[R]: ...

    @overload
    def wait_completed(tasks: Iterable[Handle[R]], timeout: Seconds | None = None,
                       strict: bool = False, progress: ShowProgress = False) -> list[R | None]: ...


def wait_completed(tasks: Any, timeout: Seconds | None = None, strict: bool = False,
                   progress: ShowProgress = False) -> Any:
    """Wait until tasks have ended and return their results.

    :param tasks: a task, an iterable of tasks, or a mapping whose values are tasks. They give a
        single result, a list in the same order, or a dict of the results. A mapping whose keys are
        tasks counts as an iterable.
    :param timeout: seconds to wait at most (default: None, no limit); 0 does not wait.
    :param strict: raise if a task failed or was cancelled (default: False, its result is None).
    :param progress: show the progress: True, a description, or a function that is called with
        ``(done, total, failed)`` (default: False).
    :raises WaitTimeoutError: (a TimeoutError) some tasks are unfinished; they go on.
    :raises ExecutionError: (a RuntimeError) with ``strict``, after all have ended; ``.results``
        holds every TaskResult.
    :raises InvalidTypeError: (a TypeError) an object is not a task.

    Any thread may call it. A pool thread that waits lends its slot to other tasks, so that tasks
    may wait for tasks.

    >>> wait_completed(background_task(max)(3, 4))
    4
    """
    try:
        strict = strict and flag("strict", strict)
        deadline = deadline_of(timeout)
        shown = progress is not False and shows_progress(progress)
        pending, arrange = find_tasks(tasks, "wait_completed")
        if shown:
            show_progress(progress, pending, deadline)
        # From the last to the first: tasks end about in the order in which they came. When the last
        # one has ended, nearly all others have ended too, and no waiter has to be added to them.
        for task in reversed(pending):
            status = task._status
            if status != COMPLETED and status != CANCELED and not task._end(deadline):
                raise _timeout_error(pending, timeout)
        return arrange(_collect(pending, strict))
    except SupervisorError as error:
        cut_frames(error)
        raise


class _WaitSet:
    """Tasks and views of tasks, by position, until the caller takes them.

    The caller then holds the only reference: no list, waiter or variable of this module refers to a
    taken object. So a waiter has the position only.

    :param ended: called with the position of each task that ends, by the thread that ends it.
    """

    def __init__(self, things: list[Any], ended: Callable[[int], Any]) -> None:
        self.total = 0
        self.done: deque[Any] = deque()     # those that had ended before
        self.left = 0                       # the number of the others that are not taken
        self._ended = ended
        self._entries: list[tuple[Any, Task[Any], Callable[[], None]] | None] = []
        self._passed = 0        # that many at the beginning are taken, or have ended
        for thing in things:
            self.add(thing)

    def add(self, thing: Any) -> None:
        """Add a task, or a view of one, after the others."""
        self.total += 1
        task = thing if type(thing) is Task else thing.task
        if task._status not in FINAL:
            waiter = partial(self._ended, len(self._entries))
            if task._add_waiter(waiter):
                self._entries.append((thing, task, waiter))
                self.left += 1
                return
        self.done.append(thing)

    def take(self, position: int) -> Any:
        """Return the object at a position, and forget it."""
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

    def all_pending(self) -> list[Task[Any]]:
        """Return the tasks that are not taken, and had not ended when they were added."""
        return [entry[1] for entry in self._entries if entry is not None]

    def warn_if_held_up(self) -> None:
        """Warn of tasks that nothing is going to run."""
        for task in self.pending():
            task._warn_if_held_up()

    def timeout_error(self, timeout: Seconds | None) -> WaitTimeoutError:
        """Return the error for a wait that was too short."""
        return _timeout_error(self.pending(self.total), timeout, self.total)

    def close(self) -> None:
        """Forget all tasks, and remove the waiters."""
        for entry in self._entries:
            if entry is not None and not entry[1].done():
                entry[1]._remove_waiter(entry[2])
        self._entries.clear()


class _EndedTasks:
    """Tasks in the order in which they end, for one caller that takes them.

    :param things: tasks, and views of tasks.
    :param all_needed: True if the caller goes on only when all of them have ended.
    :param put: called with the position of each task that ends, or with None for a poke.
    """

    def __init__(self, things: list[Any], all_needed: bool,
                 put: Callable[[int | None], Any]) -> None:
        # Shared without a lock, since a signal handler may end a task at any line: append() and
        # popleft() are atomic. A wake-up too many only has the caller check once more.
        self._ended: deque[int | None] = deque()        # positions; None is a poke
        self._all_needed = all_needed
        self._checked = False           # for tasks that nothing is going to run
        self._post = put
        self.awaited = _WaitSet(things, put)

    def poke(self) -> None:
        """End the wait, or the next one, although no task has ended: :meth:`take` gives None.

        Any thread may call it.
        """
        self._post(None)

    def has_more(self) -> bool:
        """Return True if :meth:`take` has something to give."""
        return bool(self._ended)

    def take(self) -> Any:
        """Return the object that has ended next, after a wait."""
        position = self._ended.popleft()
        return None if position is None else self.awaited.take(position)

    def close(self) -> None:
        """Forget the tasks that have not ended."""
        self.awaited.close()


class _CompletionQueue(_EndedTasks):
    """Tasks in the order in which they end, for one thread."""

    def __init__(self, things: list[Any], all_needed: bool = False) -> None:
        self._wakeup = Lock()           # held; released when a task has ended
        self._wakeup.acquire()
        super().__init__(things, all_needed, self._put)

    def _put(self, position: int | None) -> None:
        self._ended.append(position)
        if self._wakeup.locked():
            release(self._wakeup)

    def wait(self, deadline: float | None, until: float | None = None) -> bool:
        """Block until a task can be taken; return False if the deadline comes first.

        :param until: an earlier time at which this call returns; the wait of the caller goes on.
        """
        awaited = self.awaited
        if not self._ended and not self._checked:
            self._checked = True
            awaited.warn_if_held_up()
        while not self._ended:
            certain = deadline is None and (self._all_needed or awaited.left == 1)
            if not block_on(awaited.pending(), self._wakeup.acquire,
                            deadline if until is None else until, certain):
                break
        return bool(self._ended)


class _CoCompletionQueue(_EndedTasks):
    """Tasks in the order in which they end, for one coroutine."""

    def __init__(self, things: list[Any], all_needed: bool = False) -> None:
        from asyncio import get_running_loop

        from .engine.loop_mailbox import mailbox_of

        self._next_end = FutureWaiter()
        self._mailbox = mailbox_of(get_running_loop())
        super().__init__(things, all_needed, partial(self._mailbox.post, self._put))

    def _put(self, position: int | None) -> None:
        self._ended.append(position)
        if not self._next_end.future.done():
            self._next_end.future.set_result(None)

    async def wait(self, deadline: float | None, until: float | None = None) -> bool:
        """Wait until a task can be taken; return False if the deadline comes first.

        :param until: an earlier time at which this call returns; the wait of the caller goes on.
        """
        awaited = self.awaited
        if not self._checked:
            self._checked = True
            self._mailbox.post(lambda _: awaited.warn_if_held_up(), None)
        while not self._ended:
            self._next_end = FutureWaiter()
            certain = deadline is None and (self._all_needed or awaited.left == 1)
            if not await _co_wait(awaited.pending(), self._next_end,
                                  deadline if until is None else until, certain):
                break
        return bool(self._ended)


def shows_progress(progress: Any) -> bool:
    """Return True if a ``progress`` argument asks for a display.

    :raises InvalidTypeError: (a TypeError) it is nothing that can show progress.
    """
    if progress is False or progress is None:
        return False
    from ._progress import check_progress
    from ._watching import Watch

    if not isinstance(progress, Watch):
        check_progress(progress)
    return True


def show_progress(progress: ShowProgress | Watch, tasks: list[Task[Any]], deadline: float | None,
                  further: Callable[[], list[Task[Any]]] | None = None) -> None:
    """Show the progress of tasks until all have ended, or until the deadline.

    :param progress: the argument of the application, or a watch that has begun with the tasks.
    :param further: returns the tasks that have come since the last call.
    """
    with watch_tasks(progress, tasks, further) as watch:
        completed: Any = watch.completed
        for until in watch.steps(deadline):
            completed.wait(deadline, until)


async def co_show_progress(progress: ShowProgress | Watch, tasks: list[Task[Any]],
                           deadline: float | None,
                           further: Callable[[], list[Task[Any]]] | None = None) -> None:
    """Do as :func:`show_progress`, without blocking the loop."""
    with watch_tasks(progress, tasks, further, _CoCompletionQueue) as watch:
        completed: Any = watch.completed
        for until in watch.steps(deadline):
            await completed.wait(deadline, until)


def watch_tasks(progress: ShowProgress | Watch, tasks: list[Task[Any]],
                further: Callable[[], list[Task[Any]]] | None = None, kind: Any = None,
                total: int = 0, name: str | None = None, all_needed: bool = True) -> Watch:
    """Return a watch over tasks, to be entered; a watch that is given is returned itself.

    :param name: the name of the tasks, if there are none yet.
    """
    from ._watching import Watch

    if isinstance(progress, Watch):
        return progress
    return Watch(progress, tasks, (kind or _CompletionQueue)([], all_needed), further, total, name)


if TYPE_CHECKING:
    @overload
    def as_completed(tasks: Iterable[One], timeout: Seconds | None = None) -> _Completed[One]: ...

    @overload
    def as_completed(tasks: Iterable[TaskViews[One]],
                     timeout: Seconds | None = None) -> _Completed[One]: ...

    @overload
    def as_completed(tasks: Iterable[Handle[Any] | TaskViews[Any]],
                     timeout: Seconds | None = None) -> _Completed[Any]: ...


@ends_traceback
def as_completed(tasks: Iterable[Any], timeout: Seconds | None = None) -> _Completed[Any]:
    """Iterate over tasks in the order in which they end.

    Use ``for`` in a thread and ``async for`` in a coroutine. The iterator yields tasks for tasks,
    and handles for the handles of a queue. Any thread may call it.

    :param tasks: any iterable of tasks, handles, and groups of handles.
    :param timeout: seconds for all of them together (default: None, no limit); 0 yields the tasks
        that have ended.
    :raises WaitTimeoutError: (a TimeoutError) some tasks are unfinished; they go on.

    >>> [task.value() for task in as_completed([background_task(abs)(-5)])]
    [5]
    """
    deadline = deadline_of(timeout)
    return _Completed(_ungrouped(tasks, "as_completed")[0], deadline, timeout)


def _ungrouped(tasks: Any, function: str) -> tuple[list[Any], list[Task[Any]]]:
    """Return tasks and handles, with the handles of a group in its place; and their tasks."""
    if isinstance(tasks, (str, bytes)) or not has_method(tasks, "__iter__"):
        raise refusal(tasks, function)
    things: list[Any] = []
    for thing in tasks:
        if issubclass(type(thing), TaskViews):
            things += thing.handles
        else:
            things.append(thing)
    return things, as_tasks(things, function, isinstance(tasks, Mapping))


class _Completed(Generic[T_co]):
    """The iterator of as_completed(), of both kinds, of which one is used."""

    def __init__(self, *arguments: Any) -> None:
        self._arguments = arguments         # until the first step
        self._ended: Iterator[T_co] | None = None
        self._co_ended: AsyncIterator[T_co] | None = None

    def _begin(self) -> tuple[Any, ...]:
        arguments, self._arguments = self._arguments, ([], None, None)
        return arguments

    def __iter__(self) -> _Completed[T_co]:
        return self

    def __next__(self) -> T_co:
        if self._ended is None:
            self._ended = _as_completed(*self._begin())
        try:
            return next(self._ended)
        except SupervisorError as error:
            cut_frames(error)
            raise

    def __aiter__(self) -> _Completed[T_co]:
        return self

    async def __anext__(self) -> T_co:
        if self._co_ended is None:
            self._co_ended = _co_as_completed(*self._begin())
        try:
            return await self._co_ended.__anext__()
        except SupervisorError as error:
            cut_frames(error)
            raise

    def close(self) -> None:
        """Forget the tasks that have not ended, as a generator's close() does."""
        if self._ended is not None:
            self._ended.close()         # type: ignore[attr-defined]


def _as_completed(things: list[Any], deadline: float | None,
                  timeout: Seconds | None) -> Iterator[Any]:
    completed = _CompletionQueue(things)
    awaited = completed.awaited
    del things
    try:
        while True:
            if not awaited.done:
                break
            yield awaited.done.popleft()            # in no variable, see _WaitSet
        while True:
            if not awaited.left:
                return
            if not completed.wait(deadline):
                raise awaited.timeout_error(timeout)
            yield completed.take()
    finally:
        completed.close()


if TYPE_CHECKING:
    @overload
    async def co_wait_completed(tasks: Handle[R], timeout: Seconds | None = None,
                                *, strict: Literal[True], progress: ShowProgress = False) -> R: ...

    @overload
    async def co_wait_completed(tasks: Handle[R], timeout: Seconds | None = None,
                                strict: bool = False,
                                progress: ShowProgress = False) -> R | None: ...

    @overload
    async def co_wait_completed(     # type: ignore[overload-overlap]
            tasks: Mapping[K, Handle[R]], timeout: Seconds | None = None,
            *, strict: Literal[True], progress: ShowProgress = False) -> dict[K, R]: ...

    @overload
    async def co_wait_completed(     # type: ignore[overload-overlap]
            tasks: Mapping[K, Handle[R]], timeout: Seconds | None = None,
            strict: bool = False, progress: ShowProgress = False) -> dict[K, R | None]: ...

    @overload
    async def co_wait_completed(tasks: Iterable[Handle[R]], timeout: Seconds | None = None,
                                *, strict: Literal[True],
                                progress: ShowProgress = False) -> list[R]: ...

    @overload
    async def co_wait_completed(tasks: Iterable[Handle[R]], timeout: Seconds | None = None,
                                strict: bool = False,
                                progress: ShowProgress = False) -> list[R | None]: ...


@ends_traceback
async def co_wait_completed(tasks: Any, timeout: Seconds | None = None,
                            strict: bool = False, progress: ShowProgress = False) -> Any:
    """Wait until tasks have ended, as :func:`wait_completed`, without blocking the loop.

    Call it in a loop of any thread.

    :param tasks: as for :func:`wait_completed`.
    :param timeout: as for :func:`wait_completed`, in seconds (default: None, no limit).
    :param strict: as for :func:`wait_completed` (default: False).
    :param progress: as for :func:`wait_completed` (default: False).
    :return: the results, as :func:`wait_completed`.

    >>> import asyncio
    >>> async def main():
    ...     double = background_task(lambda number: 2 * number)
    ...     return await co_wait_completed([double(1), double(2)])
    >>> asyncio.run(main())
    [2, 4]
    """
    strict = strict and flag("strict", strict)
    deadline = deadline_of(timeout)
    shown = shows_progress(progress)
    pending, arrange = find_tasks(tasks, "co_wait_completed")
    if shown:
        await co_show_progress(progress, pending, deadline)
    for task in reversed(pending):
        if not task.done() and not await task._co_end(deadline):
            raise _timeout_error(pending, timeout)
    return arrange(_collect(pending, strict))


if TYPE_CHECKING:
    @overload
    def co_as_completed(tasks: Iterable[One],
                        timeout: Seconds | None = None) -> AsyncIterator[One]: ...

    @overload
    def co_as_completed(tasks: Iterable[TaskViews[One]],
                        timeout: Seconds | None = None) -> AsyncIterator[One]: ...

    @overload
    def co_as_completed(tasks: Iterable[Handle[Any] | TaskViews[Any]],
                        timeout: Seconds | None = None) -> AsyncIterator[Any]: ...


@ends_traceback
def co_as_completed(tasks: Iterable[Any], timeout: Seconds | None = None) -> AsyncIterator[Any]:
    """Iterate over tasks as :func:`as_completed`, with ``async for`` only.

    For a handle it yields the task of the handle. Use it in a loop of any thread.

    :param tasks: as for :func:`as_completed`.
    :param timeout: as for :func:`as_completed`, in seconds (default: None, no limit).

    >>> import asyncio
    >>> async def main():
    ...     double = background_task(lambda number: 2 * number)
    ...     return [task.value() async for task in co_as_completed([double(1), double(2)])]
    >>> sorted(asyncio.run(main()))
    [2, 4]
    """
    deadline = deadline_of(timeout)
    return _co_as_completed(_ungrouped(tasks, "co_as_completed")[1], deadline, timeout)


async def _co_as_completed(things: list[Any], deadline: float | None,
                           timeout: Seconds | None) -> AsyncIterator[Any]:
    completed = _CoCompletionQueue(things)
    awaited = completed.awaited
    del things
    try:
        while True:
            if not awaited.done:
                break
            yield awaited.done.popleft()            # in no variable, see _WaitSet
        while True:
            if not awaited.left:
                return
            if not await completed.wait(deadline):
                raise awaited.timeout_error(timeout) from None
            yield completed.take()
    except SupervisorError as error:
        cut_frames(error)
        raise
    finally:
        completed.close()


async def _co_wait(tasks: list[Task[Any]], next_end: FutureWaiter, deadline: float | None,
                   last: bool) -> bool:
    wait = None
    try:
        wait = await_begins(tasks, next_end, deadline is None and last)
        return await next_end.wait(deadline)
    finally:
        if wait is not None:
            await_ends(wait)
