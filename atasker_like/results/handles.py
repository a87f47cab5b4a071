"""AsyncResult and SyncResult: the result of a task, for whoever has its id.

In the process that runs the task they wait for the task itself; in another one they look into the store at an interval.
What they answer is the same in both: what the backend gives back, and not the object that the function returned.
"""
from __future__ import annotations

from .._checks import in_seconds, seconds
from .._ids import short_id
from ..engine.blocking import block, deadline_of, remaining
from ..engine.result import Failure
from ..engine.task import Task
from ..errors import (BackendNotConfiguredError, InvalidTypeError,
                      ResultNotStoredError, WaitTimeoutError)
from ..tasks import task_supervisor
from ..waiting import co_wait_completed
from .backend import Backend, in_thread
from .serializer import state_of
from .stored import StoredResult, TaskState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Generic

    from .._checks import Seconds

    from typing_extensions import TypeVar

    from ..engine.task import Progress

    T = TypeVar("T", default=Any)

    class _Subscript(Generic[T]):
        pass
else:
    from ..engine.task import _Subscript

    T = "T"

__all__ = ["AsyncResult", "SyncResult"]


class _Result(_Subscript[T]):
    """The common part of the two."""

    def __init__(self, task_id: str, backend: Backend | None = None) -> None:
        if not isinstance(task_id, str):
            raise InvalidTypeError(f"{type(self).__name__} takes the id of a task, not {type(task_id).__name__}"
                                   + ("; pass task.id" if isinstance(task_id, Task) else ""))
        if backend is not None and not isinstance(backend, Backend):
            raise InvalidTypeError(f"backend takes a Backend, not {type(backend).__name__}")
        self.task_id = task_id
        self._backend = backend

    @property
    def backend(self) -> Backend:
        """The backend that is asked: the one given, else that of ``task_supervisor``.

        :raises BackendNotConfiguredError: (a RuntimeError) there is none.
        """
        backend: Backend | None = task_supervisor.result_backend if self._backend is None else self._backend
        if backend is None:
            raise BackendNotConfiguredError(f"nobody keeps the result of task {short_id(self.task_id)}; call "
                                            "task_supervisor.set_result_backend(), or give this one a backend")
        return backend

    def _task(self) -> Task[Any] | None:
        task = self.backend._find_task(self.task_id)
        if task is not None and task._spec.options.ignore_result:
            raise ResultNotStoredError(f"the result of task {task.name} ({short_id(self.task_id)}) is not kept: it was submitted with "
                                       "ignore_result")
        return task

    def _value_of(self, task: Task[Any]) -> T:
        """Return the value of a task that has just ended, or raise its error, as the backend would have it."""
        coder = self.backend.coder
        try:
            value: T = coder.decode(self.task_id, coder.encode_task(task)).value()
            return value
        finally:
            if type(task._outcome) is Failure:
                task._outcome.seen = True
            del task        # the traceback of what is raised holds this frame

    def _timeout_error(self, timeout: Seconds | None) -> WaitTimeoutError:
        return WaitTimeoutError(f"task {short_id(self.task_id)} had not ended after {in_seconds(timeout)} of waiting; it goes on if it has "
                                "begun, and is waited for in vain if nobody knows its id")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.task_id}>"


class AsyncResult(_Result[T]):
    """The result of a task by its id, for coroutines.

    :param task_id: what ``task.id`` was.
    :param backend: where the result is kept; that of ``task_supervisor`` unless told.

    May be made, and used, in any thread and process. The loop is not blocked.

    >>> import asyncio
    >>> task_supervisor.set_result_backend(MemoryBackend())
    >>> task = task_supervisor.put_task(pow, (2, 5))
    >>> asyncio.run(AsyncResult(task.id).get())
    32
    >>> task_supervisor.set_result_backend(None)
    """

    async def get(self, timeout: Seconds | None = None, poll_interval: Seconds = 0.1) -> T:
        """Wait for the end of the task and return its value.

        :param timeout: seconds to wait at most; None waits for ever, also for an id that nobody knows, 0 not at all.
        :param poll_interval: seconds between two looks into the store, for a task of another process.
        :raises Exception: the task's own error, or :class:`RemoteError` where it cannot be rebuilt. A StopIteration, which no
            coroutine can raise, is the cause of a RuntimeError.
        :raises WaitTimeoutError: (a TimeoutError) it has not ended by then.
        :raises ResultNotStoredError: (a ValueError) it succeeded, but its value was not kept.
        :raises ResultBackendError: (an OSError) the store cannot be read.
        :raises BackendNotConfiguredError: (a RuntimeError) there is no backend.
        """
        from asyncio import get_running_loop

        deadline = deadline_of(timeout)
        poll_interval = seconds("poll_interval", poll_interval, above=True)
        while True:
            task = self._task()
            if task is not None:
                try:
                    await co_wait_completed(task, remaining(deadline))
                except WaitTimeoutError:
                    raise self._timeout_error(timeout) from None
                return self._value_of(task)
            found = await in_thread(self.backend.find, self.task_id)
            if found.state.is_final:
                value: T = found.value()
                return value
            left = remaining(deadline)
            if left == 0:
                raise self._timeout_error(timeout)
            loop = get_running_loop()
            elapsed: Any = loop.create_future()
            timer = loop.call_later(poll_interval if left is None else min(poll_interval, left), _wake, elapsed)
            try:
                await elapsed
            finally:
                timer.cancel()

    async def cancel(self) -> bool:
        """Ask for the end of the task, as :meth:`Task.cancel` does; False if it has ended already.

        A task of another process is cancelled there, if that process serves requests: see :meth:`Backend.serve`.

        :raises TaskNotFoundError: (a LookupError) nothing says where the task is, or its process does not have it.
        :raises ServiceConnectionError: (a ConnectionError) its process cannot be reached, as it may have ended.
        :raises ResultBackendError: (an OSError) the store cannot be read.
        :raises BackendNotConfiguredError: (a RuntimeError) there is no backend.

        >>> async def main():
        ...     task = task_supervisor.put_task(pow, (2, 5), delay=60)
        ...     return await AsyncResult(task.id).cancel(), task.state
        >>> task_supervisor.set_result_backend(MemoryBackend())
        >>> import asyncio
        >>> asyncio.run(main())
        (True, 'cancelled')
        >>> task_supervisor.set_result_backend(None)
        """
        task = self.backend._find_task(self.task_id)
        return task.cancel() if task is not None else await in_thread(self.backend._cancel_remote, self.task_id)

    async def progress(self) -> Progress | None:
        """Return what the task last reported, or None. Errors as :meth:`state`.

        What a task of another process has reported is in the store a quarter of a second later.
        """
        return (await self.info()).progress

    async def info(self) -> StoredResult:
        """Return all that is known of the task, as a :class:`StoredResult`. Errors as :meth:`state`."""
        task = self.backend._find_task(self.task_id)
        return self.backend._describe(task) if task is not None else await in_thread(self.backend.find, self.task_id)

    async def state(self) -> TaskState:
        """Return how far the task is; PENDING also for an id that nobody knows. Errors as :meth:`get`, but the task's."""
        task = self.backend._find_task(self.task_id)
        if task is not None:
            return state_of(task)
        return (await in_thread(self.backend.find, self.task_id)).state

    async def ready(self) -> bool:
        """Say whether the task has ended, well or not."""
        return (await self.state()).is_final

    async def failed(self) -> bool:
        """Say whether the task has ended with an error, or was cancelled."""
        return await self.state() is TaskState.FAILURE


class SyncResult(_Result[T]):
    """The result of a task by its id, for scripts and threads: :class:`AsyncResult` without ``await``.

    A pool thread that waits lends its place, so a task may wait for another one here, too.

    >>> task_supervisor.set_result_backend(MemoryBackend())
    >>> task = task_supervisor.put_task(pow, (2, 5))
    >>> SyncResult(task.id).get(), SyncResult(task.id).state()
    (32, <TaskState.SUCCESS: 'SUCCESS'>)
    >>> task_supervisor.set_result_backend(None)
    """

    def get(self, timeout: Seconds | None = None, poll_interval: Seconds = 0.1) -> T:
        """Wait for the end of the task and return its value. Arguments and errors as :meth:`AsyncResult.get`, but
        that a StopIteration is raised as it is."""
        from threading import Lock

        deadline = deadline_of(timeout)
        poll_interval = seconds("poll_interval", poll_interval, above=True)
        while True:
            task = self._task()
            if task is not None:
                if not task._end(deadline):
                    raise self._timeout_error(timeout)
                return self._value_of(task)
            found = self.backend.find(self.task_id)
            if found.state.is_final:
                value: T = found.value()
                return value
            left = remaining(deadline)
            if left == 0:
                raise self._timeout_error(timeout)
            never = Lock()
            never.acquire()
            block(never.acquire, deadline_of(poll_interval if left is None else min(poll_interval, left)))

    def cancel(self) -> bool:
        """Ask for the end of the task. Returns and errors as :meth:`AsyncResult.cancel`.

        >>> task_supervisor.set_result_backend(MemoryBackend())
        >>> task = task_supervisor.put_task(pow, (2, 5), delay=60)
        >>> SyncResult(task.id).cancel(), SyncResult(task.id).state()
        (True, <TaskState.FAILURE: 'FAILURE'>)
        >>> task_supervisor.set_result_backend(None)
        """
        task = self.backend._find_task(self.task_id)
        return task.cancel() if task is not None else self.backend._cancel_remote(self.task_id)

    def progress(self) -> Progress | None:
        """Return what the task last reported, or None, as :meth:`AsyncResult.progress` does."""
        return self.info().progress

    def info(self) -> StoredResult:
        """Return all that is known of the task, as a :class:`StoredResult`."""
        task = self.backend._find_task(self.task_id)
        return self.backend._describe(task) if task is not None else self.backend.find(self.task_id)

    def state(self) -> TaskState:
        """Return how far the task is; PENDING also for an id that nobody knows."""
        task = self.backend._find_task(self.task_id)
        return self.backend.find(self.task_id).state if task is None else state_of(task)

    def ready(self) -> bool:
        """Say whether the task has ended, well or not."""
        return self.state().is_final

    def failed(self) -> bool:
        """Say whether the task has ended with an error, or was cancelled."""
        return self.state() is TaskState.FAILURE


def _wake(pause: Any) -> None:
    if not pause.done():        # who paused may have been cancelled in this very turn of the loop
        pause.set_result(None)
