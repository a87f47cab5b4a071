"""SyncClient: sends tasks to a service, and blocks.

It is a client in the own loop of a supervisor, which is asked from other threads.
"""
from __future__ import annotations

import asyncio
import threading
import weakref
from concurrent.futures import CancelledError

from .._checks import in_seconds
from ..engine.blocking import block, deadline_of, remaining
from ..errors import InvalidTypeError, SupervisorStoppedError, TaskCancelledError, WaitTimeoutError
from ..supervisor.schedulers import ManagedWorker
from ..supervisor.supervisor import TaskSupervisor
from ..tasks import task_supervisor
from .client import Client
from .client_connection import TaskFuture
from .framing import keep_inherited
from .task import Task, TaskResult
from .wire import MAX_MESSAGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Coroutine, TypeVar

    from .._checks import Seconds

    R = TypeVar("R")

__all__ = ["SyncClient", "SyncTaskFuture"]


class SyncTaskFuture:
    """What :meth:`SyncClient.request` returns: the result of a task to come. From any thread."""

    def __init__(self, future: TaskFuture[TaskResult]) -> None:
        self._future = future
        self._done = threading.Event()
        self._failure = ""                     # why it cannot come any more
        future.add_done_callback(lambda _: self._done.set())     # in the loop's thread, as this is

    @property
    def task_id(self) -> str:
        """The id of the task."""
        return self._future.task_id

    def done(self) -> bool:
        """Say whether the result is there."""
        return self._done.is_set()

    def result(self, timeout: Seconds | None = None) -> TaskResult:
        """Return the :class:`TaskResult`; block until it is there.

        :param timeout: seconds to wait at most; None waits for ever, 0 not at all.
        :raises WaitTimeoutError: (a TimeoutError) it is not there in time; the task goes on.
        :raises TaskExecutionError: (a RuntimeError) the task failed, and ``check`` was not False.
        :raises ServiceConnectionError: (a ConnectionError) the service went away.
        :raises SupervisorStoppedError: (a RuntimeError) the client's supervisor has been stopped before it came; or this is
            a forked process, and its parent's task.
        """
        def acquire(wait: bool, seconds: float = -1.0) -> bool:
            return self._done.wait(0 if not wait else None if seconds < 0 else seconds)

        if not self._done.is_set() and not block(acquire, deadline_of(timeout)):
            raise WaitTimeoutError(f"no result of task {self.task_id} after {in_seconds(timeout)} of waiting; it goes on")
        if self._failure:
            raise SupervisorStoppedError(f"{self._failure} before the result of task {self.task_id} came")
        result: TaskResult = self._future.result()
        return result

    def _fail(self, why: str) -> None:
        if not self._future.done():
            self._failure = why
        self._done.set()

    def __repr__(self) -> str:
        return f"<SyncTaskFuture {self.task_id} {'done' if self.done() else 'pending'}>"


class _SupervisorHook(ManagedWorker):
    """A :class:`SyncClient` as the supervisor knows it, which must not keep the client itself: one that is dropped without
    a ``close()`` leaves nothing behind."""

    _worker_holds_exit = False          # a program that sends nothing any more has no reason to go on

    def __init__(self, client: Client, supervisor: TaskSupervisor) -> None:
        self.client = client
        self.supervisor = supervisor
        self.futures: weakref.WeakSet[SyncTaskFuture] = weakref.WeakSet()         # added to in the loop's thread

    def stop(self, wait: bool | Seconds = False) -> None:
        """The supervisor is being stopped: the connection is closed when what it has in flight is answered, or cannot be."""
        connection = self.client._connection
        if connection is not None:
            try:
                connection.loop.call_soon_threadsafe(connection.close_when_idle)
            except RuntimeError:            # the loop is closed
                pass

    def _worker_end(self) -> None:
        """Its loop has ended."""
        self.supervisor.unregister_sync_scheduler(self)
        # A connection that still waits for answers is closed with its last reference.
        self.client._connection = self.client._connecting = None
        for future in list(self.futures):
            future._fail("the supervisor was stopped")

    def _worker_reset_after_fork(self) -> None:
        """In a forked process: the connection is the parent's, and so is what it waits for."""
        keep_inherited(self.client._connection, self.client._connecting)
        self.client._connection = self.client._connecting = None
        for future in list(self.futures):
            future._done = threading.Event()         # of the other one, a thread of the parent's may have the lock
            future._fail("the process was forked")

    def client_collected(self) -> None:
        """The client is gone. A finalizer: at any line of any thread."""
        connection, connecting = self.client._connection, self.client._connecting
        if connection is not None or connecting is not None:
            try:
                loop = connection.loop if connection is not None else connecting.get_loop()     # type: ignore[union-attr]
                loop.call_soon_threadsafe(self._close_when_idle)
                return
            except RuntimeError:            # the loop is closed
                pass
        self.supervisor.unregister_sync_scheduler(self)

    def _close_when_idle(self) -> None:
        """In the loop: close the connection when what is in flight is answered. Until then futures rely on :meth:`_worker_end`."""
        connection, connecting = self.client._connection, self.client._connecting
        if connecting is not None:
            connecting.cancel()             # nobody waits for it any more
        if connection is None:
            self.supervisor.unregister_sync_scheduler(self)
        else:
            connection.close_when_idle()
            connection.add_close_callback(lambda: self.supervisor.unregister_sync_scheduler(self))

    def __repr__(self) -> str:
        return f"<SyncClient of {self.client.place}>"


class SyncClient:
    """Sends tasks to a service and blocks. May be used from any thread, but for loops of its supervisor.

    It is a :class:`Client` in the supervisor's own loop: a context manager, or to be closed with :meth:`close`. The stop of
    the supervisor closes it, too; and so does dropping it, once what it has sent is answered.

    :param place: the address of a service, see :class:`Address`; or a :class:`Service` of this process.
    :param token: what the service asks for, over TCP.
    :param max_message: bytes of an answer, and of a request, at most; 1 MiB unless told.
    :param supervisor: the supervisor whose loop is used; ``task_supervisor`` unless told.
    """

    def __init__(self, place: Any, token: str | None = None, max_message: int = MAX_MESSAGE,
                 supervisor: TaskSupervisor | None = None) -> None:
        self._client = Client(place, token, max_message)
        self._supervisor: TaskSupervisor = task_supervisor if supervisor is None else supervisor
        if not isinstance(self._supervisor, TaskSupervisor):
            raise InvalidTypeError(f"supervisor takes a TaskSupervisor, not {type(supervisor).__name__}")
        self._hook = _SupervisorHook(self._client, self._supervisor)
        weakref.finalize(self, self._hook.client_collected).atexit = False

    def request(self, target: str | Task | None, task: Task | None = None, *, check: bool = True,
                priority: int | None = None, timeout: Seconds | None = None) -> SyncTaskFuture:
        """Send a task; return a :class:`SyncTaskFuture` once the service has accepted it.

        :param timeout: seconds to wait at most. Other arguments and errors as :meth:`Client.request`.
        :raises WaitTimeoutError: (a TimeoutError) it is not accepted in time, and may be later.
        """
        return self._run(self._wrap(self._client.request(target, task, check=check, priority=priority)), timeout)

    def execute(self, target: str | Task | None, task: Task | None = None, *, check: bool = True,
                priority: int | None = None, timeout: Seconds | None = None) -> TaskResult:
        """Send a task and wait for its end; return its :class:`TaskResult`.

        :param timeout: seconds to wait at most. Other arguments and errors as :meth:`Client.execute`.
        :raises WaitTimeoutError: (a TimeoutError) it has not ended in time; it goes on.
        """
        return self._run(self._client.execute(target, task, check=check, priority=priority), timeout)

    def send(self, name: str, payload: dict[str, Any], *, target: str | None = None, check: bool = True,
             priority: int | None = None, wait: bool = True, timeout: Seconds | None = None) -> Any:
        """Send a task of which only the type's name and the fields as JSON are known here; return its
        :class:`TaskResult`.

        :param wait: False returns a :class:`SyncTaskFuture` once it is accepted. The rest is as in :meth:`execute`.
        """
        metadata = {} if priority is None else {"priority": priority}
        if wait:
            return self._run(self._client._execute(target, name, payload, metadata, check), timeout)
        return self._run(self._wrap(self._client._request(target, name, payload, metadata, check)), timeout)

    def close(self) -> None:
        """Close the connection, as :meth:`Client.close` does."""
        self._supervisor.unregister_sync_scheduler(self._hook)
        if self._client._connection is not None or self._client._connecting is not None:
            try:
                self._supervisor._supervisor_parts.pools.loops.own().run(self._client.close())
            except SupervisorStoppedError:
                pass                    # with the loop, its connections have gone

    def __enter__(self) -> SyncClient:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<SyncClient of {self._client.place}>"

    async def _wrap(self, request: Coroutine[Any, Any, TaskFuture[TaskResult]]) -> SyncTaskFuture:
        future = SyncTaskFuture(await request)
        self._hook.futures.add(future)
        return future

    def _run(self, call: Coroutine[Any, Any, R], timeout: Seconds | None) -> R:
        try:
            deadline = deadline_of(timeout)
            own = self._supervisor.own_loop()
            self._supervisor.register_sync_scheduler(self._hook)
        except BaseException:
            call.close()
            raise
        async def in_time() -> R:
            return await asyncio.wait_for(call, remaining(deadline))

        try:
            return own.run(call if deadline is None else in_time())
        except CancelledError as error:
            if isinstance(error, TaskCancelledError):
                raise               # its own task's, which was cancelled while it waited here
            raise SupervisorStoppedError(f"supervisor {self._supervisor.id} was stopped before the service at "
                                         f"{self._client.place} answered") from None
        except asyncio.TimeoutError as error:
            if isinstance(error, WaitTimeoutError):
                raise
            raise WaitTimeoutError(f"no answer of the service at {self._client.place} within {in_seconds(timeout)}; what it has accepted "
                                   "goes on") from None
