"""AsyncResult and SyncResult: the result of a task by its id.

In the process that runs the task they wait for the task itself. In any other process they look into
the store at an interval. Both return the same values: those that the backend restores, not the
object that the function returned.
"""
from __future__ import annotations

from .._checks import ends_traceback, in_seconds, instance, seconds
from .._generics import Generic, T_co
from .._ids import short_id
from .._log import log
from ..engine.blocking import Latch, deadline_of, remaining
from ..engine.loop_mailbox import FutureWaiter
from ..engine.result import Failure
from ..engine.task import Task
from ..errors import (BackendNotConfiguredError, InvalidTypeError, ResultNotStoredError,
                      WaitTimeoutError)
from ..tasks import task_supervisor
from .backend import Backend, in_thread
from .serializer import state_of
from .stored import StoredResult, TaskState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, TypeVar

    from .._checks import Seconds
    from ..engine.task import Progress

    R = TypeVar("R")


class _Result(Generic[T_co]):
    """The common part of both classes.

    Methods with a ``task`` argument take the task if it is in this process, or None. Then they ask
    the store, which blocks.
    """

    @ends_traceback
    def __init__(self, task_id: str, backend: Backend | None = None) -> None:
        if not isinstance(task_id, str):
            hint = "; pass task.id" if isinstance(task_id, Task) else ""
            raise InvalidTypeError(f"{type(self).__name__} takes the id of a task, "
                                   f"not {type(task_id).__name__}{hint}")
        if backend is not None:
            instance("backend", backend, Backend, "a Backend")
        self.task_id = task_id
        self._backend = backend
        self._warned = False

    @property
    def backend(self) -> Backend:
        """The given backend, or that of ``task_supervisor``.

        :raises BackendNotConfiguredError: (a RuntimeError) there is none.
        """
        backend: Backend | None = self._backend
        if backend is None:
            backend = task_supervisor.result_backend
        if backend is None:
            raise BackendNotConfiguredError("no backend keeps the result of task "
                                            f"{short_id(self.task_id)}; call "
                                            "task_supervisor.set_result_backend(), or give this "
                                            "one a backend")
        return backend

    def _local_task(self) -> Task[Any] | None:
        return self.backend._find_task(self.task_id)

    def _cancel(self, task: Task[Any] | None) -> bool:
        return self.backend._cancel_remote(self.task_id) if task is None else task.cancel()

    def _info(self, task: Task[Any] | None) -> StoredResult:
        return self.backend.find(self.task_id) if task is None else self.backend._describe(task)

    def _state(self, task: Task[Any] | None) -> TaskState:
        return self.backend.find(self.task_id).state if task is None else state_of(task)

    def _awaited_task(self) -> Task[Any] | None:
        """Return the task to wait for if it is in this process, or None.

        :raises ResultNotStoredError: its value is not stored.
        """
        task = self._local_task()
        if task is not None and task._spec.options.ignore_result:
            raise ResultNotStoredError(f"the result of task {task.name} ({short_id(self.task_id)}) "
                                       "is not kept: it was submitted with ignore_result")
        return task

    def _value_of(self, task: Task[Any]) -> T_co:
        """Return the restored value of an ended task, or raise its error."""
        codec = self.backend.codec
        try:
            value: T_co = codec.decode(self.task_id, codec.encode_task(task)).value()
            return value
        finally:
            if type(task._outcome) is Failure:
                task._outcome.seen = True
            del task        # the traceback of a raised error holds this frame

    def _next_look(self, found: StoredResult, deadline: float | None, timeout: Seconds | None,
                   poll_interval: float) -> float | None:
        """Return the time of the next look into the store, by the monotonic clock.

        :raises WaitTimeoutError: the deadline has passed.
        """
        left = remaining(deadline)
        if left == 0:
            raise self._timeout_error(timeout)
        if left is None and found.state is TaskState.PENDING and not self._warned:
            self._warned = True
            log.warning("%s waits for task %s, which this process does not have, and of which the "
                        "store has nothing: the wait ends only if another process runs the task; "
                        "if the id may be wrong, give get() a timeout", type(self).__name__,
                        self.task_id)
        return deadline_of(poll_interval if left is None else min(poll_interval, left))

    def _timeout_error(self, timeout: Seconds | None) -> WaitTimeoutError:
        return WaitTimeoutError(f"task {short_id(self.task_id)} had not ended after "
                                f"{in_seconds(timeout)} of waiting; it goes on if it has begun, "
                                "and the wait is in vain if no process knows its id")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.task_id}>"


class AsyncResult(_Result[T_co]):
    """The result of a task by its id, for coroutines.

    :param task_id: the id of the task, as ``task.id`` returns it.
    :param backend: the backend that keeps the result (default: that of ``task_supervisor``).
    :raises InvalidTypeError: (a TypeError) an argument has a wrong type.

    From any thread and process. The loop is not blocked.

    >>> import asyncio
    >>> task_supervisor.set_result_backend(MemoryBackend())
    >>> task = task_supervisor.put_task(pow, (2, 5))
    >>> asyncio.run(AsyncResult(task.id).get())
    32
    >>> task_supervisor.set_result_backend(None)
    """

    @ends_traceback
    async def get(self, timeout: Seconds | None = None, poll_interval: Seconds = 0.1) -> T_co:
        """Wait for the end of the task and return its value.

        :param timeout: seconds to wait at most (default: None, no limit, also for an unknown id). 0
            does not wait.
        :param poll_interval: seconds between two looks into the store, for a task of another
            process (default: 0.1 s).
        :raises Exception: the task's own error, or :class:`RemoteError` if it cannot be rebuilt. A
            StopIteration, which no coroutine can raise, is the cause of a RuntimeError.
        :raises WaitTimeoutError: (a TimeoutError) the task did not end in time.
        :raises ResultNotStoredError: (a ValueError) the task succeeded; its value is not stored.
        :raises ResultBackendError: (an OSError) the store cannot be read.
        :raises BackendNotConfiguredError: (a RuntimeError) there is no backend.
        """
        deadline = deadline_of(timeout)
        poll_interval = seconds("poll_interval", poll_interval, above=True)
        while True:
            task = self._awaited_task()
            if task is not None:
                if not await task._co_end(deadline):
                    raise self._timeout_error(timeout)
                return self._value_of(task)
            found = await in_thread(self.backend.find, self.task_id)
            if found.state.is_final:
                value: T_co = found.value()
                return value
            await FutureWaiter().wait(self._next_look(found, deadline, timeout, poll_interval))

    @ends_traceback
    async def cancel(self) -> bool:
        """Ask for the end of the task, as :meth:`Task.cancel` does.

        A task of another process is cancelled there, if that process serves requests: see
        :meth:`Backend.serve`.

        :return: False if the task has ended already.
        :raises TaskNotFoundError: (a LookupError) the store has no address for the task, or the
            process there does not have it.
        :raises ServiceConnectionError: (a ConnectionError) its process cannot be reached; it may
            have ended.
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
        return await self._ask(self._cancel)

    @ends_traceback
    async def progress(self) -> Progress | None:
        """Return the last progress that the task reported, or None.

        Errors as :meth:`state`.

        The progress of a task of another process is in the store a quarter of a second later.
        """
        return (await self.info()).progress

    @ends_traceback
    async def info(self) -> StoredResult:
        """Return the record of the task, as a :class:`StoredResult`.

        Errors as :meth:`state`.
        """
        return await self._ask(self._info)

    @ends_traceback
    async def state(self) -> TaskState:
        """Return the state of the task. It is PENDING also for an unknown id.

        It raises the errors of :meth:`get`, but not the error of the task.
        """
        return await self._ask(self._state)

    @ends_traceback
    async def ready(self) -> bool:
        """Return True if the task has ended."""
        return (await self.state()).is_final

    @ends_traceback
    async def failed(self) -> bool:
        """Return True if the task has failed, or was cancelled."""
        return await self.state() is TaskState.FAILURE

    async def _ask(self, method: Callable[[Task[Any] | None], R]) -> R:
        task = self._local_task()
        return await in_thread(method, None) if task is None else method(task)


class SyncResult(_Result[T_co]):
    """The result of a task by its id, for scripts and threads.

    Arguments and errors as :class:`AsyncResult`. A pool thread that waits lends its slot, so a task
    may wait for another one here, too.

    >>> task_supervisor.set_result_backend(MemoryBackend())
    >>> task = task_supervisor.put_task(pow, (2, 5))
    >>> SyncResult(task.id).get(), SyncResult(task.id).state()
    (32, <TaskState.SUCCESS: 'SUCCESS'>)
    >>> task_supervisor.set_result_backend(None)
    """

    @ends_traceback
    def get(self, timeout: Seconds | None = None, poll_interval: Seconds = 0.1) -> T_co:
        """Wait for the end of the task and return its value.

        Arguments and errors as :meth:`AsyncResult.get`, but a StopIteration is raised unchanged.

        :param timeout: as for :meth:`AsyncResult.get`, in seconds (default: None, no limit).
        :param poll_interval: as for :meth:`AsyncResult.get`, in seconds (default: 0.1).
        """
        deadline = deadline_of(timeout)
        poll_interval = seconds("poll_interval", poll_interval, above=True)
        while True:
            task = self._awaited_task()
            if task is not None:
                if not task._end(deadline):
                    raise self._timeout_error(timeout)
                return self._value_of(task)
            found = self.backend.find(self.task_id)
            if found.state.is_final:
                value: T_co = found.value()
                return value
            Latch().wait(self._next_look(found, deadline, timeout, poll_interval))

    @ends_traceback
    def cancel(self) -> bool:
        """Ask for the end of the task.

        Returns and errors as :meth:`AsyncResult.cancel`.

        >>> task_supervisor.set_result_backend(MemoryBackend())
        >>> task = task_supervisor.put_task(pow, (2, 5), delay=60)
        >>> SyncResult(task.id).cancel(), SyncResult(task.id).state()
        (True, <TaskState.FAILURE: 'FAILURE'>)
        >>> task_supervisor.set_result_backend(None)
        """
        return self._cancel(self._local_task())

    @ends_traceback
    def progress(self) -> Progress | None:
        """Return the last progress that the task reported, or None."""
        return self.info().progress

    @ends_traceback
    def info(self) -> StoredResult:
        """Return the record of the task, as a :class:`StoredResult`."""
        return self._info(self._local_task())

    @ends_traceback
    def state(self) -> TaskState:
        """Return the state of the task.

        It is PENDING also for an unknown id.
        """
        return self._state(self._local_task())

    @ends_traceback
    def ready(self) -> bool:
        """Return True if the task has ended."""
        return self.state().is_final

    @ends_traceback
    def failed(self) -> bool:
        """Return True if the task has failed, or was cancelled."""
        return self.state() is TaskState.FAILURE
