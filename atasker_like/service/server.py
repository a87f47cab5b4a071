"""Server: takes requests over a Unix domain socket or TCP.

All of it runs in one loop of the supervisor, except the application's functions. The loop's thread
reads, checks and answers requests. A task may end in another thread, which posts that to the loop.
The limits for clients are in :mod:`.connection`.

An accepted task belongs to the service: it runs to its end even if its client is gone.
"""
from __future__ import annotations

import asyncio
import hmac
import os
from contextvars import Context, copy_context

from .. import _checks
from .._checks import ends_tracebacks
from ..engine.blocking import Latch, deadline_of_stop
from ..errors import InvalidArgumentError, SupervisorStoppedError
from ..loops import call_in
from ..options import unknown_option
from ..supervisor.schedulers import ManagedWorker
from .addresses import BACKLOG, Address, bind, cannot_listen
from .connection import Connection
from .framing import keep_inherited
from .wire import MAX_MESSAGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

    from typing_extensions import Any, TypedDict, Unpack

    from .._checks import Seconds
    from .addresses import AddressLike
    from .connection import RequestService

    class ServerOptions(TypedDict, total=False):
        """The keyword arguments of :meth:`Service.serve`."""

        beyond_loopback: bool
        max_message: int
        max_in_flight: int
        max_clients: int
        message_timeout: Seconds


_DEFAULTS: dict[str, Any] = {"beyond_loopback": False, "max_message": MAX_MESSAGE,
                             "max_in_flight": 256, "max_clients": 256, "message_timeout": 30.0}


@ends_tracebacks()
class Server(ManagedWorker):
    """Takes the requests of a service, as :meth:`Service.serve` returns it.

    Any thread may call its methods.

    As a context manager it closes at the end of the block. A stop of the supervisor closes it, too.

    >>> from atasker_like.service import Service, SyncClient, Task
    >>> class Double(Task):
    ...     number: int
    >>> service = Service('calculator')
    >>> @service.handler(Double)
    ... def double(task):
    ...     return 2 * task.number
    >>> import os, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> server = service.serve(os.path.join(folder.name, 'calculator.sock'))
    >>> with server, SyncClient(server.address) as client:
    ...     client.execute(Double(4)).result
    8
    >>> folder.cleanup()
    """

    def __init__(self, service: RequestService, address: AddressLike | None, token: str | None,
                 **options: Unpack[ServerOptions]) -> None:
        for option in options:
            if option not in _DEFAULTS:
                raise unknown_option(option, (*_DEFAULTS, "token"), "serve")
        chosen = {**_DEFAULTS, **options}
        self.service = service
        # Without an address it is for clients of this process only.
        self._worker_holds_exit = address is not None
        self._address = None if address is None else Address(address)
        self.max_message: int = _checks.count("max_message", chosen["max_message"], 256)
        self.max_in_flight: int = _checks.count("max_in_flight", chosen["max_in_flight"], 1)
        self.max_clients: int = _checks.count("max_clients", chosen["max_clients"], 1)
        self.message_timeout: float = _checks.seconds(
            "message_timeout", chosen["message_timeout"], above=True)
        self._token: bytes | None = _token(token)
        #: The context of the caller of serve(). Each request is handled in a copy. It is empty for
        #: the server of local clients, which the first client makes.
        self.context: Context = Context() if address is None else copy_context()
        if self._address is not None:
            self._check_exposure(self._address, chosen["beyond_loopback"])
        self._loop: asyncio.AbstractEventLoop | None = None
        self._socket: socket.socket | None = None
        self._inode: int | None = None
        self._listening: asyncio.AbstractServer | None = None
        self._lifetime_task: asyncio.Task[None] | None = None
        self._closed: Any = None            # a concurrent future, done with the lifetime task
        self._close_requested: asyncio.Event | None = None
        self._no_clients: asyncio.Event | None = None
        self._is_closing = True                # not started, or about to end
        # Both belong to the loop's thread: the clients that may send requests, and those that only
        # wait for answers, in the order in which they stopped sending.
        self._connections: set[Connection] = set()
        self._half_closed: dict[Connection, None] = {}

    def _check_exposure(self, address: Address, beyond_loopback: Any) -> None:
        if address.path is None and self._token is None:
            raise InvalidArgumentError(f"{address} can be reached by every program of this "
                                       "machine: give a token, such as secrets.token_urlsafe(), "
                                       "or use a Unix domain socket")
        if not address.is_loopback and beyond_loopback is not True:
            raise InvalidArgumentError(f"{address} can be reached from other machines, and the "
                                       "token crosses as it is; use 127.0.0.1, or say "
                                       "beyond_loopback=True")

    # -- for applications --------------------------------------------------------------------------

    @property
    def address(self) -> str:
        """The address on which the server listens, as Client takes it."""
        return str(self._address)

    @property
    def clients(self) -> int:
        """The number of connections."""
        return len(self._connections) + len(self._half_closed)

    def close(self, wait: bool | Seconds = True) -> bool:
        """Take no more requests, answer the accepted ones, and disconnect.

        Tasks of clients that are gone may end later.

        :param wait: True waits without limit, False does not wait, a number waits that many seconds
            (default: True). A handler of the service does not wait for itself, nor does the
            server's own loop: both imply False.
        :return: True if the server is closed.
        """
        loop, lifetime_task, closed = self._loop, self._lifetime_task, self._closed
        deadline = deadline_of_stop(wait)
        if loop is None or lifetime_task is None or not call_in(loop, self._request_close):
            return True
        if wait is False or asyncio._get_running_loop() is loop or self.service._is_running_here():
            return bool(closed.done())
        latch = Latch()
        closed.add_done_callback(lambda _: latch())
        return latch.wait(deadline)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __repr__(self) -> str:
        return (f"<Server of {self.service.name} at {self._address or 'this process'}, "
                f"{self.clients} client(s)>")

    # -- for the supervisor ------------------------------------------------------------------------

    def stop(self, wait: bool | Seconds = False) -> None:
        """Close the server. The supervisor calls this when it stops."""
        self.close(wait)

    def _worker_end(self) -> None:
        self.service.supervisor.unregister_sync_scheduler(self)

    def _worker_reset_after_fork(self) -> None:
        # The clients and the listening socket belong to the parent process.
        keep_inherited(self._loop, self._lifetime_task, self._listening)
        if self._socket is not None:
            self._socket.close()
        self._loop = self._lifetime_task = self._listening = None
        self._close_requested = self._no_clients = None
        self._is_closing = True
        self._connections, self._half_closed = set(), {}

    # -- lifecycle ---------------------------------------------------------------------------------

    def start(self) -> Server:
        """Listen, and return the server itself.

        Errors as :meth:`Service.serve`.
        """
        self.service.supervisor.own_loop().run(self._open())
        return self

    async def _add_local_client(self, end: socket.socket) -> None:
        """Serve a client at the other end of a socket pair.

        On errors, close this end.

        :raises SupervisorStoppedError: (a RuntimeError) the supervisor has been stopped.
        """
        try:
            task, loop = self._lifetime_task, asyncio.get_running_loop()
            if task is None or task.done() or self._loop is not loop:
                await self._open()
            elif self._is_closing:
                raise self._stopped_error()
            await loop.connect_accepted_socket(lambda: Connection(self), end)
        except BaseException:
            end.close()
            raise

    async def _open(self) -> None:
        """Start in the running loop.

        The loop lasts until the supervisor has finished its tasks.
        :raises SupervisorStoppedError: (a RuntimeError) the supervisor has been stopped.
        """
        from concurrent.futures import Future

        if not self.service.supervisor._supervisor_parts.state.is_running():
            raise self._stopped_error()
        loop = self._loop = asyncio.get_running_loop()
        requested, no_clients = asyncio.Event(), asyncio.Event()
        self._close_requested, self._no_clients = requested, no_clients
        self._is_closing = False
        if self._address is not None:
            try:
                await self._listen(self._address, loop)
            except OSError as error:
                raise cannot_listen(self.service.name, self._address, error) from error
        closed = self._closed = Future()
        self._lifetime_task = loop.create_task(self._serve_until_closed(requested, no_clients))
        self._lifetime_task.add_done_callback(lambda _: closed.set_result(None))
        self.service.supervisor.register_sync_scheduler(self)
        # A stop that began before the registration does not call stop().
        if not self.service.supervisor._supervisor_parts.state.is_running():
            self._request_close()
            await asyncio.wait([self._lifetime_task])
            raise self._stopped_error()

    async def _listen(self, address: Address, loop: asyncio.AbstractEventLoop) -> None:
        self._socket = bind(address)
        try:
            if address.path is not None:
                self._inode = os.stat(address.path).st_ino
            else:
                address.port = self._socket.getsockname()[1]
            self._listening = await loop.create_server(lambda: Connection(self), sock=self._socket,
                                                       backlog=BACKLOG)
        except BaseException:
            self._is_closing = True
            self._socket.close()
            self._unlink()
            raise

    def _stopped_error(self) -> SupervisorStoppedError:
        return SupervisorStoppedError(f"service {self.service.name!r} takes no requests: "
                                      f"supervisor {self.service.supervisor.id} has been stopped; "
                                      "call start() to go on")

    def _request_close(self) -> None:
        self._is_closing = True
        if self._close_requested is not None:
            self._close_requested.set()

    async def _serve_until_closed(self, requested: asyncio.Event,
                                  no_clients: asyncio.Event) -> None:
        """Wait for the request to close, then until all answers are sent."""
        try:
            await requested.wait()
            self._stop_listening()
            for connection in list(self._connections):
                connection.finish()
            if self.clients:
                await no_clients.wait()
        finally:            # also if it is cancelled, at the end of the loop
            # In a forked process, where this coroutine is only collected, they differ.
            if self._close_requested is requested:
                self._is_closing = True
                self._stop_listening()
                for connection in [*self._connections, *self._half_closed]:
                    connection.abort()
                self.service.supervisor.unregister_sync_scheduler(self)

    def _stop_listening(self) -> None:
        if self._listening is not None:
            self._listening.close()
            self._listening = None
            self._unlink()

    def _unlink(self) -> None:
        """Remove the socket's file, unless another service has replaced it."""
        if self._address is None or self._address.path is None or self._inode is None:
            return
        try:
            if os.stat(self._address.path).st_ino == self._inode:
                os.unlink(self._address.path)
        except OSError:
            pass

    # -- for connections ---------------------------------------------------------------------------

    def _accepts_token(self, message: dict[str, Any]) -> bool:
        """Return True if the first message of a connection holds the token."""
        given = message.get("token")
        return (self._token is not None and type(given) is str
                and hmac.compare_digest(given.encode("utf-8", "surrogatepass"), self._token))

    def _connection_opened(self, connection: Connection) -> str | None:
        """Register a connection.

        Return a reason to close it at once, or None.
        """
        self._connections.add(connection)
        if self._is_closing:
            return "the service is being stopped"
        if len(self._connections) > self.max_clients:
            return f"the service has {self.max_clients} connections already; try again later"
        return None

    def _connection_half_closed(self, connection: Connection) -> None:
        """Move a client that sends no more requests to those that only wait.

        Most of these clients are gone, which only a write can reveal. Hence they do not count
        against ``max_clients``, but have the same limit of their own: the oldest one is closed.
        """
        if connection in self._connections:
            self._connections.discard(connection)
            self._half_closed[connection] = None
            if len(self._half_closed) > self.max_clients:
                next(iter(self._half_closed)).abort()

    def _connection_closed(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._half_closed.pop(connection, None)
        if not self.clients and self._is_closing and self._no_clients is not None:
            self._no_clients.set()


def _token(token: str | None) -> bytes | None:
    if token is None:
        return None
    _checks.instance("token", token, str, "a string")
    if not 8 <= len(token) <= 1000:
        raise InvalidArgumentError("token takes a string of 8 to 1000 characters, "
                                   f"not {len(token)}; secrets.token_urlsafe() makes one")
    return token.encode("utf-8", "surrogatepass")
