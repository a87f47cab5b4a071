"""Handles: what submitting to a queue returns. Thin views of a task, so that a hundred thousand of them cost little."""
from __future__ import annotations

from collections import deque
from itertools import repeat

from ..engine.callbacks import add_callback, call_back
from ..engine.loop_mailbox import mailbox_of
from ..engine.task import CANCELED, COMPLETED
from ..errors import InvalidTypeError, TaskCancelledError, TaskPendingError
from ..waiting import TaskView

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Generator, Sequence, Type, TypeVar

    from .._checks import Seconds
    from ..engine.result import TaskResult
    from ..engine.task import Task
    from .wait_group import WaitGroup

    H = TypeVar("H", bound="_Handle")

__all__ = ["LoopCall", "SyncTaskHandle", "TaskHandle", "result_of", "make_handles"]


def result_of(task: Task[Any]) -> TaskResult:
    """Return how a task of a queue ended; whoever has it has seen its error."""
    result = task._summary()
    # The queue's own priority, and not the one that the pool sees. The result is new: nobody else has it yet.
    object.__setattr__(result, "priority", task._spec.rank)
    return result


class _Handle(TaskView):
    """What both kinds of handles have in common. All methods may be called from any thread.

    Handles of one task are equal: hooks and queues make them when they are needed.
    """

    __slots__ = ()

    def __init__(self, task: Task[Any]) -> None:
        self.task = task

    # -- what it is ----------------------------------------------------------------------------------

    @property
    def task_id(self) -> str:
        """The task's id."""
        return self.task.id

    @property
    def name(self) -> str:
        """The name given in the options, else the function's qualified name."""
        return self.task.name

    @property
    def priority(self) -> int:
        """Its priority within the queue; lower runs first."""
        return self.task._spec.rank

    @property
    def must_complete(self) -> bool:
        """Whether a queue that gives up still finishes it."""
        return self.task.options.must_complete

    @property
    def group_id(self) -> Any:
        """What it is grouped by, or None."""
        return self.task.options.group_id

    @property
    def detached(self) -> bool:
        """Whether summaries leave it out."""
        return self.task.options.detached

    @property
    def metadata(self) -> Any:
        """The object given in the options; None by default."""
        return self.task.metadata

    @property
    def created_at(self) -> float:
        """When it was submitted, as a :func:`time.perf_counter` reading."""
        return self.task._queued

    @property
    def scheduled_for(self) -> float | None:
        """When it may start, or may start again, as a :func:`time.perf_counter` reading; None for at once."""
        extra = self.task._extra
        return None if extra is None else extra.due

    @property
    def attempts(self) -> int:
        """How often the function was started; 0 also for what a checkpoint has handed back."""
        return self.task.attempts

    @property
    def status(self) -> str:
        """pending, running, retrying, succeeded, failed or cancelled."""
        return self.task.state

    def done(self) -> bool:
        """Say whether the task has ended."""
        return self.task.done()

    def cancelled(self) -> bool:
        """Say whether the task was cancelled."""
        return self.task.cancelled()

    def cancel(self) -> bool:
        """Ask for the end of the task, see :meth:`Task.cancel`; False only when it has ended already."""
        return self.task.cancel()

    # -- what came of it -----------------------------------------------------------------------------

    def result(self) -> TaskResult:
        """Return how the task ended, at once; an error is not raised.

        :raises RuntimeError: it has not ended. A :class:`TaskHandle` raises :class:`asyncio.InvalidStateError`.
        """
        if not self.task.done():
            raise self._pending()
        return result_of(self.task)

    def exception(self) -> BaseException | None:
        """Return the error that the function raised; None when it did not, and for a cancelled task.

        :raises RuntimeError: it has not ended. A :class:`TaskHandle` raises :class:`asyncio.InvalidStateError`.
        """
        if not self.task.done():
            raise self._pending()
        return None if self.task.cancelled() else self.task.exception()

    def value(self) -> Any:
        """Return what the function returned, or raise what it raised, at once.

        :raises RuntimeError: it has not ended. A :class:`TaskHandle` raises :class:`asyncio.InvalidStateError`.
        :raises CancelledError: the task was cancelled: that of :mod:`concurrent.futures`, and of :mod:`asyncio` for a
            :class:`TaskHandle`.
        """
        status = self.task._status
        if status == COMPLETED:
            return self.task.value()
        raise self._without_result() if status == CANCELED else self._pending()

    def add_done_callback(self, function: Callable[[Any], Any]) -> None:
        """Have ``function(handle)`` called when the task has ended; before this returns if it has ended already.

        It is called by a thread of the supervisor, or by the one that cancelled the task; for a :class:`TaskHandle` in
        the queue's loop. If the task has ended already, this thread calls it. What it raises is logged.
        """
        raise NotImplementedError

    def _pending(self) -> Exception:
        raise NotImplementedError

    def _without_result(self) -> BaseException:
        raise NotImplementedError

    def _is(self, what: str) -> str:
        return f"task {self.name} ({self.task.short_id}) {what}"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Handle):
            return NotImplemented
        return self.task is other.task

    def __hash__(self) -> int:
        return hash(self.task)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {self.task.short_id} {self.status}>"


def make_handles(tasks: Sequence[Task[Any]], kind: type[H]) -> list[H]:
    """Return a handle of each of many tasks: ``[kind(task) for task in tasks]``, at half the price."""
    handles: list[H] = list(map(kind.__new__, repeat(kind, len(tasks))))
    deque(map(_set_task, handles, tasks), 0)
    return handles


_set_task: Callable[[_Handle, Task[Any]], None] = vars(TaskView)["task"].__set__


class SyncTaskHandle(_Handle):
    """A task of a :class:`ThreadQueue` or a :class:`ProcessQueue`. From any thread.

    >>> with ThreadQueue() as queue:
    ...     handle = queue.submit(pow, 2, 10)
    >>> handle.status, handle.value()
    ('succeeded', 1024)
    """

    __slots__ = ()

    def wait(self, timeout: Seconds | None = None) -> TaskResult:
        """Block until the task has ended and return how; an error is not raised.

        :param timeout: seconds to wait at most; None waits for ever, 0 not at all.
        :raises WaitTimeoutError: (a TimeoutError) it has not ended in time; it goes on.
        """
        task = self.task
        task._wait_for_end(timeout, cancelled_raises=False)
        return result_of(task)

    def add_done_callback(self, function: Callable[[SyncTaskHandle], Any]) -> None:
        _check_callback(function)
        self.task.add_done_callback(lambda task: function(self))

    def _pending(self) -> Exception:
        return TaskPendingError(self._is(f"is {self.status}, so it has no result yet; use wait()"))

    def _without_result(self) -> BaseException:
        return TaskCancelledError(self._is("was cancelled, so it has no result"))


class TaskHandle(_Handle):
    """A task of an :class:`AsyncQueue`; it can be awaited by any number of coroutines, in any loop.

    >>> async def main():
    ...     async with AsyncQueue() as queue:
    ...         result = await queue.submit(asyncio.sleep, 0, 'slept')
    ...         return result.status, result.value
    >>> import asyncio
    >>> asyncio.run(main())
    ('succeeded', 'slept')
    """

    __slots__ = ()

    async def wait(self) -> TaskResult:
        """Wait until the task has ended and return how; an error is not raised.

        Cancelling the coroutine that waits does not cancel the task: others may be waiting for it.
        """
        task = self.task
        if not task.done():
            await task._co_end(None)
        return result_of(task)

    def __await__(self) -> Generator[Any, None, TaskResult]:
        return self.wait().__await__()

    def add_done_callback(self, function: Callable[[TaskHandle], Any]) -> None:
        _check_callback(function)
        task = self.task
        call = LoopCall(task, lambda task: function(self))
        if task._spec.pool.busy_here():
            task._spec.pool.elsewhere(self.add_done_callback, function)
            return
        try:
            call.group.add(call)
            if not add_callback(task, call):
                call.make()
        except BaseException:           # interrupted
            call.group.done(call)
            raise

    def _pending(self) -> Exception:
        from asyncio import InvalidStateError

        return InvalidStateError(self._is(f"is {self.status}, so it has no result yet; await the handle"))

    def _without_result(self) -> BaseException:
        from asyncio import CancelledError

        return CancelledError(self._is("was cancelled, so it has no result"))


class LoopCall:
    """A done callback of a :class:`TaskHandle`: it is called in the loop of its task."""

    __slots__ = ("task", "callback", "mailbox", "group")

    def __init__(self, task: Task[Any], callback: Callable[[Task[Any]], Any]) -> None:
        self.task = task
        self.callback = callback
        self.mailbox = mailbox_of(task._spec.loop)
        self.group: WaitGroup = task._spec.lane.callbacks

    def __call__(self, task: Task[Any]) -> None:
        """The task has ended: call it in the loop, or here if the loop is closed."""
        if not self.mailbox.post(LoopCall.make, self):
            self.make()

    def make(self) -> None:
        self.group.make(self, call_back, self.task, self.callback)

    def is_lost(self) -> bool:
        """Return True if the loop was closed before it made the call."""
        loop = self.mailbox.loop
        return loop is None or loop.is_closed()


def _check_callback(function: Any) -> None:
    if not callable(function):
        raise InvalidTypeError(f"add_done_callback takes a callable, not {type(function).__name__}")


if TYPE_CHECKING:
    HandleType = Type[_Handle]
