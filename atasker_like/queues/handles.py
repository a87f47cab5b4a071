"""Handles: thin views of tasks, returned by the submissions of queues.

A hundred thousand handles cost little.
"""
from __future__ import annotations

from collections import deque
from itertools import repeat

from .._checks import cut_frames, ends_traceback
from .._generics import T_co
from .._habits import Handle, check_callback
from .._wait_arguments import TaskView
from ..engine.callbacks import add_callback, call_back
from ..engine.loop_mailbox import mailbox_of
from ..engine.task import CANCELED, COMPLETED
from ..engine.task_fields import cancelled_text
from ..errors import TaskCancelledError, TaskPendingError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Generator, Sequence, TypeVar

    from .._checks import Seconds
    from .._generics import T
    from ..engine.loop_mailbox import LoopMailbox
    from ..engine.result import TaskResult
    from ..engine.task import Task
    from ..engine.wait_group import WaitGroup

    H = TypeVar("H", bound="_Handle[Any]")


def result_of(task: Task[T]) -> TaskResult[T]:
    """Return the result of a task of a queue, and mark its error as seen."""
    result = task._summary()
    # The priority in the queue, not that in the pool. The result is new, so no other code has it.
    object.__setattr__(result, "priority", task._spec.lane_order)
    return result


class _Handle(TaskView[T_co], Handle[T_co]):
    """The base of both kinds of handles. All methods may be called from any thread.

    Handles of one task are equal. Hooks and queues make them when needed.
    """

    __slots__ = ()

    def __init__(self, task: Task[T_co]) -> None:
        self.task: Task[T_co] = task

    # -- what it is --------------------------------------------------------------------------------

    @property
    def task_id(self) -> str:
        """The id of the task."""
        return self.task.id

    @property
    def name(self) -> str:
        """The name given in the options, else the qualified name of the function."""
        return self.task.name

    @property
    def priority(self) -> int:
        """The priority within the queue; lower runs first."""
        return self.task._spec.lane_order

    @property
    def must_complete(self) -> bool:
        """True if the task still runs when the queue aborts."""
        return self.task.options.must_complete

    @property
    def group_id(self) -> Any:
        """The value by which summaries group the result, or None."""
        return self.task.options.group_id

    @property
    def detached(self) -> bool:
        """True if summaries leave the task out."""
        return self.task.options.detached

    @property
    def metadata(self) -> Any:
        """The object given in the options (default: None)."""
        return self.task.metadata

    @property
    def created_at(self) -> float:
        """The time of the submission, as a :func:`time.perf_counter` reading."""
        return self.task._queued

    @property
    def scheduled_for(self) -> float | None:
        """The earliest time of the next attempt, as a :func:`time.perf_counter` reading.

        None if the task need not wait.
        """
        extra = self.task._extra
        return None if extra is None else extra.scheduled_at

    @property
    def attempts(self) -> int:
        """The number of attempts that have begun; 0 also for a result from a checkpoint."""
        return self.task.attempts

    @property
    def status(self) -> str:
        """One of pending, running, retrying, succeeded, failed and cancelled."""
        return self.task.state

    def done(self) -> bool:
        """Return True if the task has ended."""
        return self.task.done()

    def cancelled(self) -> bool:
        """Return True if the task was cancelled."""
        return self.task.cancelled()

    def cancel(self) -> bool:
        """Request the end of the task, as :meth:`Task.cancel` does.

        Return False if the task had ended already.
        """
        return self.task.cancel()

    # -- what came of it ---------------------------------------------------------------------------

    @ends_traceback
    def result(self) -> TaskResult[T_co]:
        """Return the :class:`TaskResult` of the task, without waiting. The error is not raised.

        :raises RuntimeError: the task has not ended. A :class:`TaskHandle` raises
            :class:`asyncio.InvalidStateError`.
        """
        if not self.task.done():
            raise self._without_value(False)
        return result_of(self.task)

    @ends_traceback
    def exception(self) -> BaseException | None:
        """Return the error of the function, without waiting.

        Return None if the task succeeded or was cancelled.

        :raises RuntimeError: the task has not ended. A :class:`TaskHandle` raises
            :class:`asyncio.InvalidStateError`.
        """
        if not self.task.done():
            raise self._without_value(False)
        return None if self.task.cancelled() else self.task.exception()

    def value(self) -> T_co:
        """Return the value of the function, or raise its error, without waiting.

        :raises RuntimeError: the task has not ended. A :class:`TaskHandle` raises
            :class:`asyncio.InvalidStateError`.
        :raises concurrent.futures.CancelledError: the task was cancelled. A
            :class:`TaskHandle` raises :class:`asyncio.CancelledError`.
        """
        try:
            status = self.task._status
            if status == COMPLETED:
                return self.task.value()
            raise self._without_value(status == CANCELED)
        except BaseException as error:
            cut_frames(error)
            raise

    def add_done_callback(self, function: Callable[[Any], Any]) -> None:
        """Have ``function(handle)`` called when the task has ended.

        If the task has ended already, this call makes it. Otherwise a thread of the supervisor, or
        the thread that cancels the task, calls the function; for a :class:`TaskHandle`, the loop of
        the queue does. Errors of the function are logged.

        :param function: it is called with the handle.
        """
        raise NotImplementedError

    def _without_value(self, is_cancelled: bool) -> BaseException:
        """Return the error for a task that was cancelled, or has not ended."""
        task = self.task
        pending, cancelled, advice = self._errors()
        called = f"task {self.name} ({task.short_id})"
        if is_cancelled:
            return cancelled(f"{called} {cancelled_text(task)}, so it has no result")
        return pending(f"{called} is {self.status}, so it has no result yet; "
                       f"{task._spec.way_out(task._status, advice)}")

    def _errors(self) -> tuple[type[BaseException], type[BaseException], str]:
        """Return the errors for tasks without a value, and how to wait for the task."""
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Handle):
            return NotImplemented
        return self.task is other.task

    def __hash__(self) -> int:
        return hash(self.task)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {self.task.short_id} {self.status}>"


def make_handles(tasks: Sequence[Task[Any]], kind: type[H]) -> list[H]:
    """Return a handle for each of many tasks.

    This takes half the time of ``[kind(task) for task in tasks]``.
    """
    handles: list[H] = list(map(kind.__new__, repeat(kind, len(tasks))))
    deque(map(_set_task, handles, tasks), 0)
    return handles


_set_task: Callable[[_Handle[Any], Task[Any]], None] = vars(TaskView)["task"].__set__


class SyncTaskHandle(_Handle[T_co]):
    """A task of a :class:`ThreadQueue` or a :class:`ProcessQueue`. May be used from any thread.

    >>> with ThreadQueue() as queue:
    ...     handle = queue.submit(pow, 2, 10)
    >>> handle.status, handle.value()
    ('succeeded', 1024)
    """

    __slots__ = ()

    @ends_traceback
    def wait(self, timeout: Seconds | None = None) -> TaskResult[T_co]:
        """Block until the task has ended and return its :class:`TaskResult`.

        The error of the function is not raised.

        :param timeout: seconds, or a ``timedelta``; None waits without limit, 0 does not wait
            (default: None).
        :raises WaitTimeoutError: (a TimeoutError) the task has not ended in time; it goes on.
        """
        task = self.task
        task._wait_for_end(timeout, cancelled_raises=False)
        return result_of(task)

    @ends_traceback
    def add_done_callback(self, function: Callable[[SyncTaskHandle[T_co]], Any]) -> None:
        check_callback(function)
        self.task.add_done_callback(lambda task: function(self))

    def _errors(self) -> tuple[type[BaseException], type[BaseException], str]:
        return TaskPendingError, TaskCancelledError, "use wait()"


class TaskHandle(_Handle[T_co]):
    """A task of an :class:`AsyncQueue`.

    Any number of coroutines may await it, in the loops of any threads.

    >>> async def main():
    ...     async with AsyncQueue() as queue:
    ...         result = await queue.submit(asyncio.sleep, 0, 'slept')
    ...         return result.status, result.value
    >>> import asyncio
    >>> asyncio.run(main())
    ('succeeded', 'slept')
    """

    __slots__ = ()

    async def wait(self) -> TaskResult[T_co]:
        """Wait until the task has ended and return its :class:`TaskResult`.

        The error of the function is not raised. Cancelling the waiting coroutine does not cancel
        the task, as others may wait for it.
        """
        task = self.task
        if not task.done():
            await task._co_end(None)
        return result_of(task)

    def __await__(self) -> Generator[Any, None, TaskResult[T_co]]:
        return self.wait().__await__()

    @ends_traceback
    def add_done_callback(self, function: Callable[[TaskHandle[T_co]], Any]) -> None:
        check_callback(function)
        task = self.task
        call = LoopCall(task, lambda task: function(self))
        if task._spec.pool.is_reentrant():
            task._spec.pool.defer_to_thread(self.add_done_callback, function)
            return
        try:
            call.group.add(call)
            if not add_callback(task, call):
                call.make()
        except BaseException:           # interrupted
            call.group.done(call)
            raise

    def _errors(self) -> tuple[type[BaseException], type[BaseException], str]:
        from asyncio import CancelledError, InvalidStateError

        return InvalidStateError, CancelledError, "await the handle"


class LoopCall:
    """A done callback of a :class:`TaskHandle`, called in the loop of its task."""

    __slots__ = ("task", "callback", "mailbox", "group")

    def __init__(self, task: Task[Any], callback: Callable[[Task[Any]], Any]) -> None:
        self.task: Task[Any] = task
        self.callback: Callable[[Task[Any]], Any] = callback
        self.mailbox: LoopMailbox = mailbox_of(task._spec.loop)
        self.group: WaitGroup = task._spec.lane.callbacks

    def __call__(self, task: Task[Any]) -> None:
        """Make the call in the loop, or here if the loop is closed: the task has ended."""
        if not self.mailbox.post(LoopCall.make, self):
            self.make()

    def make(self) -> None:
        self.group.make(self, call_back, self.task, self.callback)

    def is_lost(self) -> bool:
        """Return True if the loop was closed before it made the call."""
        loop = self.mailbox.loop
        return loop is None or loop.is_closed()
