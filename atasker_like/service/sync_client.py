"""SyncClient: sends tasks to a service, and blocks.

It wraps a client in the own loop of a supervisor, and sends its requests from other threads.
"""
from __future__ import annotations

import asyncio
import threading
import weakref
from concurrent.futures import CancelledError

from .._checks import ends_tracebacks, in_seconds
from .._generics import Generic, T_co
from ..engine.blocking import block, deadline_of, remaining
from ..errors import (SupervisorBusyError, SupervisorStoppedError, TaskCancelledError,
                      WaitTimeoutError)
from ..loops import call_in
from ..supervisor.schedulers import ManagedWorker
from ..tasks import supervisor_or_default
from .client import Client, request_of
from .client_connection import TaskFuture
from .framing import keep_inherited
from .task import Task
from .wire import MAX_MESSAGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing_extensions import Any, Coroutine, Literal, TypeVar, overload

    from .._checks import Seconds
    from ..supervisor.supervisor import TaskSupervisor
    from .addresses import AddressLike
    from .client import Request
    from .service import Service
    from .task import AnyResult, TaskResultOk

    R = TypeVar("R")


@ends_tracebacks()
class SyncTaskFuture(Generic[T_co]):
    """The future result of a task, as :meth:`SyncClient.request` returns it.

    Any thread may use it.

    >>> from atasker_like.service import Service, SyncClient, Task
    >>> class Double(Task):
    ...     number: int
    >>> service = Service('calculator')
    >>> @service.handler(Double)
    ... def double(task):
    ...     return 2 * task.number
    >>> with SyncClient(service) as client:
    ...     future = client.request(Double(4))
    ...     future.result(timeout=10).result
    8
    """

    def __init__(self, future: TaskFuture[Any]) -> None:
        self._future = future
        self._done = threading.Event()
        self._failure = ""              # why the result cannot come any more
        # The constructor runs in the loop's thread, too.
        future.add_done_callback(lambda _: self._done.set())

    @property
    def task_id(self) -> str:
        """The id of the task."""
        return self._future.task_id

    def done(self) -> bool:
        """Return True if the task has ended."""
        return self._done.is_set()

    def result(self, timeout: Seconds | None = None) -> T_co:
        """Block until the task has ended, and return its :class:`TaskResult`.

        :param timeout: seconds to wait at most (default: None, no limit). 0 does not wait.
        :raises WaitTimeoutError: (a TimeoutError) the task did not end in time; it goes on.
        :raises TaskExecutionError: (a RuntimeError) the task failed, and ``check`` was not False.
        :raises ServiceConnectionError: (a ConnectionError) the connection is lost.
        :raises SupervisorStoppedError: (a RuntimeError) the client's supervisor was stopped before
            the end of the task; or this is a forked process, and its parent sent the task.
        """
        def acquire(wait: bool, seconds: float = -1.0) -> bool:
            return self._done.wait(None if wait and seconds < 0 else max(0.0, seconds))

        if not self._done.is_set() and not block(acquire, deadline_of(timeout)):
            raise WaitTimeoutError(f"no result of task {self.task_id} after {in_seconds(timeout)} "
                                   "of waiting; it goes on")
        if self._failure:
            raise SupervisorStoppedError(f"{self._failure} before the result of task "
                                         f"{self.task_id} came")
        result: T_co = self._future.result()
        return result

    def _fail(self, reason: str) -> None:
        if not self._future.done():
            self._failure = reason
        self._done.set()

    def __repr__(self) -> str:
        return f"<SyncTaskFuture {self.task_id} {'done' if self.done() else 'pending'}>"


class _SupervisorHook(ManagedWorker):
    """Represents a SyncClient in its supervisor, without a reference to it.

    So a client that is dropped without ``close()`` is collected, and leaves nothing behind.
    """

    _worker_holds_exit = False          # an idle client does not keep the program alive

    def __init__(self, client: Client, supervisor: TaskSupervisor) -> None:
        self.client = client
        self.supervisor = supervisor
        # The loop's thread adds to it.
        self.futures: weakref.WeakSet[SyncTaskFuture[Any]] = weakref.WeakSet()

    def stop(self, wait: bool | Seconds = False) -> None:
        """Close the connection once all requests in flight have ended.

        The supervisor stops.
        """
        connection = self.client._connection
        if connection is not None:
            call_in(connection.loop, connection.close_when_idle)

    def _worker_end(self) -> None:
        """Fail the requests that are left after the end of the loop."""
        self.supervisor.unregister_sync_scheduler(self)
        # A connection that still waits for answers is closed with its last reference.
        self.client._connection = self.client._connecting = None
        for future in list(self.futures):
            future._fail("the supervisor was stopped")

    def _worker_loop_ended(self) -> None:
        """Fail the requests in a loop that ended before the supervisor."""
        for future in list(self.futures):
            if future._future.get_loop().is_closed():
                future._fail("the event loop of the client ended")

    def _worker_reset_after_fork(self) -> None:
        # The connection and the requests belong to the parent process.
        keep_inherited(self.client._connection, self.client._connecting)
        self.client._connection = self.client._connecting = None
        for future in list(self.futures):
            future._done = threading.Event()        # a thread of the parent may hold the old lock
            future._fail("the process was forked")

    def client_collected(self) -> None:
        """Close the connection of a client that was collected.

        A finalizer calls this, between any two lines of any thread.
        """
        connection, connecting = self.client._connection, self.client._connecting
        loop = None
        if connection is not None:
            loop = connection.loop
        elif connecting is not None:
            loop = connecting.get_loop()
        if loop is not None and call_in(loop, self._close_when_idle):
            return
        self.supervisor.unregister_sync_scheduler(self)

    def _close_when_idle(self) -> None:
        """Close the connection once all requests in flight have ended."""
        connection, connecting = self.client._connection, self.client._connecting
        if connecting is not None:
            connecting.cancel()             # no request waits for it any more
        if connection is None:
            self.supervisor.unregister_sync_scheduler(self)
        else:
            connection.close_when_idle()
            # Registered until then, so that _worker_end() can fail the futures.
            connection.add_close_callback(lambda: self.supervisor.unregister_sync_scheduler(self))

    def __repr__(self) -> str:
        return f"<SyncClient of {self.client.place}>"


@ends_tracebacks()
class SyncClient:
    """Sends tasks to a service and blocks.

    Any thread may use it, except those of its supervisor's loops.

    It is a :class:`Client` in the supervisor's own loop. Use it as a context manager, or close it
    with :meth:`close`. A stop of the supervisor closes it, too. So does the loss of the last
    reference to it, once all requests have ended.

    :param place: the address of a service, see :class:`Address`; or a :class:`Service` of this
        process.
    :param token: the token of the service, a string (default: None). TCP needs one.
    :param max_message: the most bytes of a request and of an answer (default: 1 MiB).
    :param supervisor: the supervisor with the loop (default: ``task_supervisor``).
    :raises InvalidTypeError: (a TypeError) an argument has a wrong type.
    :raises InvalidArgumentError: (a ValueError) the address is malformed.

    >>> from atasker_like.service import Service, SyncClient, Task
    >>> class Double(Task):
    ...     number: int
    >>> service = Service('calculator')
    >>> @service.handler(Double)
    ... def double(task):
    ...     return 2 * task.number
    >>> with SyncClient(service) as client:
    ...     client.execute(Double(4)).result
    8
    """

    def __init__(self, place: Service | AddressLike, token: str | None = None,
                 max_message: int = MAX_MESSAGE, supervisor: TaskSupervisor | None = None) -> None:
        self._client = Client(place, token, max_message)
        self._supervisor: TaskSupervisor = supervisor_or_default(supervisor)
        self._hook = _SupervisorHook(self._client, self._supervisor)
        weakref.finalize(self, self._hook.client_collected).atexit = False

    if TYPE_CHECKING:
        @overload
        def request(self, target: str | Task | None, task: Task | None = None, *,
                    check: Literal[True] = True, priority: int | None = None,
                    timeout: Seconds | None = None) -> SyncTaskFuture[TaskResultOk]: ...

        @overload
        def request(self, target: str | Task | None, task: Task | None = None, *,
                    check: bool, priority: int | None = None,
                    timeout: Seconds | None = None) -> SyncTaskFuture[AnyResult]: ...

    def request(self, target: str | Task | None, task: Task | None = None, *, check: bool = True,
                priority: int | None = None, timeout: Seconds | None = None) -> SyncTaskFuture[Any]:
        """Send a task, wait until it is accepted, and return a SyncTaskFuture.

        Other arguments and errors as :meth:`Client.request`.

        :param target: as for :meth:`Client.request`.
        :param task: as for :meth:`Client.request` (default: None).
        :param check: as for :meth:`Client.request` (default: True).
        :param priority: as for :meth:`Client.request` (default: None, that of the task's class).
        :param timeout: seconds to wait at most (default: None, no limit).
        :raises WaitTimeoutError: (a TimeoutError) the service did not accept the task in time; it
            may accept it later.
        """
        return self._run(self._request(request_of(target, task, priority), check), timeout)

    if TYPE_CHECKING:
        @overload
        def execute(self, target: str | Task | None, task: Task | None = None, *,
                    check: Literal[True] = True, priority: int | None = None,
                    timeout: Seconds | None = None) -> TaskResultOk: ...

        @overload
        def execute(self, target: str | Task | None, task: Task | None = None, *,
                    check: bool, priority: int | None = None,
                    timeout: Seconds | None = None) -> AnyResult: ...

    def execute(self, target: str | Task | None, task: Task | None = None, *, check: bool = True,
                priority: int | None = None, timeout: Seconds | None = None) -> Any:
        """Send a task, wait for its end, and return its :class:`TaskResult`.

        Other arguments and errors as :meth:`Client.execute`.

        :param target: as for :meth:`Client.request`.
        :param task: as for :meth:`Client.request` (default: None).
        :param check: as for :meth:`Client.request` (default: True).
        :param priority: as for :meth:`Client.request` (default: None, that of the task's class).
        :param timeout: seconds to wait at most (default: None, no limit).
        :raises WaitTimeoutError: (a TimeoutError) the task did not end in time; it goes on.
        """
        return self._run(self._client._execute(request_of(target, task, priority), check), timeout)

    if TYPE_CHECKING:
        @overload
        def send(self, name: str, payload: dict[str, Any], *, target: str | None = None,
                 check: Literal[True] = True, priority: int | None = None,
                 wait: Literal[True] = True, timeout: Seconds | None = None) -> TaskResultOk: ...

        @overload
        def send(self, name: str, payload: dict[str, Any], *, target: str | None = None,
                 check: bool, priority: int | None = None, wait: Literal[True] = True,
                 timeout: Seconds | None = None) -> AnyResult: ...

        @overload
        def send(self, name: str, payload: dict[str, Any], *, target: str | None = None,
                 check: bool = True, priority: int | None = None, wait: Literal[False],
                 timeout: Seconds | None = None) -> SyncTaskFuture[AnyResult]: ...

        @overload
        def send(self, name: str, payload: dict[str, Any], *, target: str | None = None,
                 check: bool = True, priority: int | None = None, wait: bool,
                 timeout: Seconds | None = None) -> AnyResult | SyncTaskFuture[AnyResult]: ...

    def send(self, name: str, payload: dict[str, Any], *, target: str | None = None,
             check: bool = True, priority: int | None = None, wait: bool = True,
             timeout: Seconds | None = None) -> Any:
        """Send a task by the name of its type, and return its TaskResult.

        Other arguments and errors as :meth:`execute`.

        :param name: the name of the type, as :meth:`Task.type` returns it.
        :param payload: the fields as JSON data.
        :param target: as for :meth:`execute` (default: None).
        :param check: as for :meth:`execute` (default: True).
        :param priority: as for :meth:`execute` (default: None, that of the task's class).
        :param wait: False returns a :class:`SyncTaskFuture` once the service has accepted the task
            (default: True).
        :param timeout: as for :meth:`execute`, in seconds (default: None, no limit).
        """
        request = target, name, payload, {} if priority is None else {"priority": priority}
        send = self._client._execute if wait else self._request
        return self._run(send(request, check), timeout)

    def close(self) -> None:
        """Close the connection, as :meth:`Client.close` does."""
        self._supervisor.unregister_sync_scheduler(self._hook)
        if self._client._connection is not None or self._client._connecting is not None:
            try:
                loops = self._supervisor._supervisor_parts.pools.loops
                loops.own().run(self._client.close())
            except SupervisorStoppedError:
                pass                    # the loop has closed its connections

    def __enter__(self) -> SyncClient:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<SyncClient of {self._client.place}>"

    async def _request(self, request: Request, check: bool) -> SyncTaskFuture[Any]:
        future = SyncTaskFuture(await self._client._request(request, check))
        self._hook.futures.add(future)
        # Again, as close() of another thread may have come meanwhile: a stop ends the request.
        self._supervisor.register_sync_scheduler(self._hook)
        return future

    def _run(self, call: Coroutine[Any, Any, R], timeout: Seconds | None) -> R:
        try:
            deadline = deadline_of(timeout)
            own = self._supervisor.own_loop()
            if own.thread is not None and threading.get_ident() == own.thread.ident:
                raise SupervisorBusyError("a SyncClient would block the loop of its supervisor, "
                                          "which this coroutine runs in; use service.Client there, "
                                          "whose methods are awaited")
            self._supervisor.register_sync_scheduler(self._hook)
        except BaseException:
            call.close()
            raise

        async def in_time() -> R:
            return await asyncio.wait_for(call, remaining(deadline))

        try:
            return own.run(call if deadline is None else in_time())
        except (TaskCancelledError, WaitTimeoutError):
            raise               # such as that of the calling task, cancelled while it waits here
        except CancelledError:
            raise SupervisorStoppedError(f"supervisor {self._supervisor.id} was stopped before the "
                                         f"service at {self._client.place} answered") from None
        except asyncio.TimeoutError:
            raise WaitTimeoutError(f"no answer of the service at {self._client.place} within "
                                   f"{in_seconds(timeout)}; what it has accepted goes on") from None
