"""Client: sends tasks to a service, from coroutines.

A client connects with its first request, and reconnects with the first one after its connection is
lost. It never sends a request twice: it cannot know if a task without an answer has run, so the
caller decides if the task runs again.
"""
from __future__ import annotations

import asyncio
import errno
import os
import socket
from itertools import count

from .. import _checks
from .._checks import a_kind, ends_tracebacks
from ..engine.requests import request_begins, request_ends
from ..errors import (InvalidArgumentError, InvalidTypeError, ServiceConnectionError,
                      SupervisorStoppedError)
from .addresses import Address
from .client_connection import ClientConnection, TaskFuture
from .service import Service
from .task import Task
from .wire import MAX_MESSAGE, encode, encode_request, shortened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing_extensions import Any, Dict, Literal, Optional, Tuple, overload

    from .addresses import AddressLike
    from .task import AnyResult, TaskResultOk

    #: Target, type, payload and metadata.
    Request = Tuple[Optional[str], str, Any, Dict[str, Any]]


#: Seconds that connecting may take.
CONNECT_TIMEOUT = 10.0


@ends_tracebacks()
class Client:
    """Sends tasks to a service, from coroutines.

    All coroutines run in one loop. After that loop has been closed, the client can be used in
    another one. Not for other threads: see :class:`SyncClient`.

    :param place: the address of a service, see :class:`Address`; or a :class:`Service` of this
        process.
    :param token: the token of the service, a string (default: None). TCP needs one.
    :param max_message: the most bytes of a request and of an answer (default: 1 MiB).
    :raises InvalidTypeError: (a TypeError) an argument has a wrong type.
    :raises InvalidArgumentError: (a ValueError) the address is malformed.

    >>> import asyncio
    >>> from atasker_like import service
    >>> class Double(service.Task):
    ...     number: int
    >>> doubling = service.Service('doubling')
    >>> @doubling.handler(Double)
    ... async def double(task):
    ...     return 2 * task.number
    >>> async def main():
    ...     async with service.Client(doubling) as client:
    ...         return await client.execute(Double(21))
    >>> asyncio.run(main()).result
    42
    """

    def __init__(self, place: Service | AddressLike, token: str | None = None,
                 max_message: int = MAX_MESSAGE) -> None:
        self.place: Service | Address = place if isinstance(place, Service) else Address(place)
        if token is not None:
            _checks.instance("token", token, str, "a string")
        self._token = token
        self._max_message = _checks.count("max_message", max_message, 256)
        self._connection: ClientConnection | None = None
        self._connecting: asyncio.Future[ClientConnection] | None = None
        self._prefix = os.urandom(6).hex()
        self._numbers = count(1)

    if TYPE_CHECKING:
        @overload
        async def request(self, target: str | Task | None, task: Task | None = None, *,
                          check: Literal[True] = True,
                          priority: int | None = None) -> TaskFuture[TaskResultOk]: ...

        @overload
        async def request(self, target: str | Task | None, task: Task | None = None, *,
                          check: bool, priority: int | None = None) -> TaskFuture[AnyResult]: ...

    async def request(self, target: str | Task | None, task: Task | None = None, *,
                      check: bool = True, priority: int | None = None) -> TaskFuture[Any]:
        """Send a task, wait until it is accepted, and return a TaskFuture.

        :param target: the name of the service; it may be left out: ``request(task)``.
        :param task: the task, if ``target`` is the name of the service (default: None).
        :param check: True raises the failure of the task from the future (default: True). False
            returns it as the result.
        :param priority: replaces the priority of the task's class (default: None).
        :raises TaskRefusedError: (a ValueError) the service refuses the task; ``.reason`` says why.
        :raises InvalidFieldError: (a ValueError) the value of a field does not fit its annotation.
        :raises ServiceConnectionError: (a ConnectionError) the service cannot be reached, or the
            connection is lost.
        """
        return await self._request(request_of(target, task, priority), check)

    if TYPE_CHECKING:
        @overload
        async def execute(self, target: str | Task | None, task: Task | None = None, *,
                          check: Literal[True] = True,
                          priority: int | None = None) -> TaskResultOk: ...

        @overload
        async def execute(self, target: str | Task | None, task: Task | None = None, *,
                          check: bool, priority: int | None = None) -> AnyResult: ...

    async def execute(self, target: str | Task | None, task: Task | None = None, *,
                      check: bool = True, priority: int | None = None) -> Any:
        """Send a task, wait for its end, and return its :class:`TaskResult`.

        Arguments and errors as :meth:`request`.

        :param target: as for :meth:`request`.
        :param task: as for :meth:`request` (default: None).
        :param check: as for :meth:`request` (default: True).
        :param priority: as for :meth:`request` (default: None, that of the task's class).
        :raises TaskExecutionError: (a RuntimeError) the task failed, and ``check`` is True.
        """
        return await self._execute(request_of(target, task, priority), check)

    async def close(self) -> None:
        """Close the connection.

        Accepted tasks run; waiting for their results raises an error.

        :raises InvalidArgumentError: (a ValueError) the connection belongs to another loop, which
            is not closed.
        """
        connecting, connection = self._connecting, self._connection
        if connection is not None and not connection.is_usable_here():
            raise self._wrong_loop_error()
        self._connecting = self._connection = None
        if connecting is not None and not connecting.done():
            if connecting.get_loop() is asyncio.get_running_loop():
                connecting.cancel()
                await asyncio.wait([connecting])
        if connection is not None:
            await connection.close()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.place}>"

    # -- sending -----------------------------------------------------------------------------------

    async def _request(self, request: Request, check: bool) -> TaskFuture[Any]:
        connection, future = await self._send(request, check)
        try:
            await connection.accepted(future)
        except BaseException:
            connection.drop(future)
            raise
        return future

    async def _execute(self, request: Request, check: bool) -> Any:
        task_id = f"{self._prefix}-{next(self._numbers)}"
        request_begins(task_id)
        try:
            connection, future = await self._send(request, check, task_id)
            try:
                return await future
            finally:
                connection.drop(future)
        finally:
            request_ends(task_id)

    async def _send(self, request: Request, check: bool, task_id: str | None = None
                    ) -> tuple[ClientConnection, TaskFuture[Any]]:
        """Send a task, and return its future.

        :param task_id: an id, if the caller needs no confirmation that the task is accepted.
        """
        target, name, payload, metadata = request
        confirm = task_id is None
        if task_id is None:
            task_id = f"{self._prefix}-{next(self._numbers)}"
        try:
            line = encode_request(task_id, target, name, payload, metadata, confirm)
        except (TypeError, ValueError) as error:
            raise InvalidArgumentError(f"task {name} cannot be sent: {error}") from error
        if len(line) > self._max_message:
            raise InvalidArgumentError(f"task {name} has {len(line)} bytes as JSON, and a message "
                                       f"has {self._max_message} at most; raise max_message on "
                                       "both sides, or send less")
        connection = self._connection
        if connection is not None and connection.is_open and not connection.is_usable_here():
            raise self._wrong_loop_error()
        if connection is None or not connection.is_open:
            connection = await self._connect()
        if connection.is_full:
            await connection.wait_writable()
        return connection, connection.send(line, task_id, check, confirm)

    async def _connect(self) -> ClientConnection:
        """Return a new connection, the same one for all waiting requests."""
        loop = asyncio.get_running_loop()
        connecting = self._connecting
        if connecting is None or connecting.done() or connecting.get_loop() is not loop:
            connecting = self._connecting = loop.create_task(self._open_connection())
            connecting.add_done_callback(_mark_error_retrieved)
        # wait() does not cancel it if this request is cancelled: other requests may wait for it.
        await asyncio.wait([connecting])
        if connecting.cancelled():
            raise ServiceConnectionError(f"the connection with the service at {self.place} was "
                                         "abandoned: the client was closed")
        try:
            return connecting.result()
        except asyncio.TimeoutError:
            raise ServiceConnectionError(f"the service at {self.place} did not take the connection "
                                         f"within {CONNECT_TIMEOUT:g} s") from None
        except SupervisorStoppedError as error:
            raise ServiceConnectionError(f"the service at {self.place} cannot be reached: "
                                         f"{error}") from error
        except OSError as error:
            if isinstance(error, ServiceConnectionError):
                raise
            raise ServiceConnectionError(f"the service at {self.place} cannot be reached: "
                                         f"{error.strerror or error}; check that it "
                                         "runs") from error

    async def _open_connection(self) -> ClientConnection:
        connection = ClientConnection(str(self.place), self._max_message)
        try:
            await asyncio.wait_for(self._open_transport(connection), CONNECT_TIMEOUT)
            # Before Python 3.12, wait_for() may swallow a cancellation.
            if self._connecting is not asyncio.current_task():
                raise asyncio.CancelledError
        except BaseException:
            connection.abort()          # it may be connected despite the error
            raise
        if self._token is not None:
            connection.write(encode({"token": self._token}))
        self._connection = connection
        return connection

    async def _open_transport(self, connection: ClientConnection) -> None:
        loop, place = asyncio.get_running_loop(), self.place
        if isinstance(place, Service):
            await loop.create_connection(lambda: connection, sock=await _socket_pair(place))
        elif place.path is not None:
            transport, _ = await loop.create_unix_connection(lambda: connection, place.path)
            if transport.get_extra_info("peername") is None:
                # asyncio mistakes the error of a full backlog for a connection in progress.
                raise BlockingIOError(errno.EAGAIN, "it has too many connections to take just now")
        else:
            await loop.create_connection(lambda: connection, place.host, place.port)

    def _wrong_loop_error(self) -> InvalidArgumentError:
        return InvalidArgumentError(f"{self!r} is connected in another loop; have a client for "
                                    "each loop, or close() it there")


def _mark_error_retrieved(connecting: asyncio.Future[ClientConnection]) -> None:
    """Prevent asyncio's report of an error that no request waits for."""
    if not connecting.cancelled():
        connecting.exception()


async def _socket_pair(service: Service) -> socket.socket:
    """Connect with a service of this process, by a pair of sockets."""
    loop = service.supervisor.own_loop().get_loop()
    client_end, server_end = socket.socketpair()
    client_end.setblocking(False)
    server_end.setblocking(False)
    adding = service._get_local_server()._add_local_client(server_end)      # closes it on errors
    try:
        if loop is asyncio.get_running_loop():
            await adding
        else:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(adding, loop))
    except BaseException as error:
        client_end.close()
        if loop.is_closed():            # with the supervisor: the coroutine does not run any more
            adding.close()
            server_end.close()
            if isinstance(error, RuntimeError):
                raise SupervisorStoppedError(f"supervisor {service.supervisor.id} has been "
                                             "stopped") from error
        raise
    return client_end


def request_of(target: Any, task: Any, priority: Any) -> Request:
    """Return the request for ``f(target, task)`` or ``f(task)``."""
    if task is None and isinstance(target, Task):
        target, task = None, target
    if not isinstance(task, Task):
        refused = task if task is not None else target
        if isinstance(refused, type) and issubclass(refused, Task):
            raise InvalidTypeError("a client sends instances of service.Task, not the class "
                                   f"{refused.__name__}: call it with the values of its fields")
        raise InvalidTypeError(f"a client sends instances of service.Task, not {a_kind(refused)}")
    if target is not None and not isinstance(target, str):
        raise InvalidTypeError(f"the target is the name of a service, not {type(target).__name__}")
    payload = task.payload()
    if priority is None:
        priority = int(task.priority)
    metadata = {"parallel": task.parallel, "display_name": shortened(task.display_name, 500),
                "priority": _checks.integer("priority", priority)}
    return target, task.type(), payload, metadata
