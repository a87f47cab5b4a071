"""Server: requests of other processes, over a Unix domain socket or TCP.

Everything but what applications call happens in one loop of the supervisor, whose thread also reads, checks and answers;
only the end of a task may come from elsewhere, and is brought there. What clients can do is in :mod:`.connection`.

A task belongs to the service from its acceptance on: it runs to its end, whether its client is still there or not.
"""
from __future__ import annotations

import asyncio
import hmac
import os
from contextvars import Context, copy_context
from threading import Lock

from .. import _checks
from ..engine.blocking import block, deadline_of_stop
from ..errors import InvalidArgumentError, InvalidTypeError, SupervisorStoppedError
from ..options import unknown_option
from ..supervisor.schedulers import ManagedWorker
from .addresses import BACKLOG, Address, bind
from .connection import Connection
from .framing import keep_inherited
from .wire import MAX_MESSAGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any

    from .._checks import Seconds
    from .service import Service

__all__ = ["Server"]

_DEFAULTS: dict[str, Any] = {"beyond_loopback": False, "max_message": MAX_MESSAGE, "max_in_flight": 256,
                               "max_clients": 256, "message_timeout": 30.0}


class Server(ManagedWorker):
    """Where a service takes requests: made by :meth:`Service.serve`. Its methods may be called from any thread.

    As a context manager it closes at the end of the block. The stop of the supervisor closes it, too.
    """

    def __init__(self, service: Service, address: Any, token: str | None, **options: Any) -> None:
        for option in options:
            if option not in _DEFAULTS:
                raise unknown_option(option, (*_DEFAULTS, "token"), "serve")
        chosen = {**_DEFAULTS, **options}
        self.service = service
        # One without an address is for clients of this process only.
        self._worker_holds_exit = address is not None
        self._address = None if address is None else Address(address)
        self.max_message = _checks.count("max_message", chosen["max_message"], 256)
        self.max_in_flight = _checks.count("max_in_flight", chosen["max_in_flight"], 1)
        self.max_clients = _checks.count("max_clients", chosen["max_clients"], 1)
        self.message_timeout = _checks.seconds("message_timeout", chosen["message_timeout"], above=True)
        self._token = _token(token)
        #: That of who serves, as it is now; an empty one where clients of this process made it necessary. Each request is
        #: handled in a copy.
        self.context = Context() if address is None else copy_context()
        if self._address is not None and self._address.path is None and self._token is None:
            raise InvalidArgumentError(f"{self._address} can be reached by every program of this machine: give a token, such as "
                                       "secrets.token_urlsafe(), or use a Unix domain socket")
        if self._address is not None and not self._address.is_loopback and chosen["beyond_loopback"] is not True:
            raise InvalidArgumentError(f"{self._address} can be reached from other machines, and the token crosses as it is; "
                                       "use 127.0.0.1, or say beyond_loopback=True")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._socket: socket.socket | None = None
        self._inode: int | None = None
        self._listening: asyncio.AbstractServer | None = None
        self._lifetime_task: asyncio.Task[None] | None = None
        self._closed: Any = None            # a concurrent future, done when the guardian is
        self._close_requested: asyncio.Event | None = None
        self._no_clients: asyncio.Event | None = None
        self._closing = True                # not begun, or about to end
        # Of the loop's thread: those who may send requests, and those who only wait for answers, the longest first.
        self._connections: set[Connection] = set()
        self._half_closed: dict[Connection, None] = {}

    # -- for applications ----------------------------------------------------------------------------

    @property
    def address(self) -> str:
        """Where it listens, as :class:`Client` takes it."""
        return str(self._address)

    @property
    def clients(self) -> int:
        """How many connections there are."""
        return len(self._connections) + len(self._half_closed)

    def close(self, wait: bool | Seconds = True) -> bool:
        """Take no more requests, wait for those that were accepted, send their answers and close the connections. Tasks
        whose clients have gone end behind it.

        :param wait: True waits for ever, False not at all, a number so many seconds. A handler of the service does not wait
            for itself, nor does the server's own loop: there it is as if it had said False.
        :return: True when it is closed.
        """
        loop, lifetime_task, closed = self._loop, self._lifetime_task, self._closed
        deadline = deadline_of_stop(wait)
        if loop is None or lifetime_task is None or loop.is_closed():
            return True
        try:
            loop.call_soon_threadsafe(self._request_close)
        except RuntimeError:                # closed meanwhile
            return True
        if wait is not False and asyncio._get_running_loop() is not loop and not self.service._is_running_here():
            released = Lock()                   # what this thread sleeps on
            released.acquire()
            closed.add_done_callback(lambda _: released.release())
            return block(released.acquire, deadline)
        return bool(closed.done())

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Server of {self.service.name} at {self._address or 'this process'}, {self.clients} client(s)>"

    # -- for the supervisor --------------------------------------------------------------------------

    def stop(self, wait: bool | Seconds = False) -> None:
        """The supervisor is being stopped."""
        self.close(wait)

    def _worker_end(self) -> None:
        """Its loop has ended."""
        self.service.supervisor.unregister_sync_scheduler(self)

    def _worker_reset_after_fork(self) -> None:
        """In a forked process: the clients are the parent's, and so is the place where they come in."""
        keep_inherited(self._loop, self._lifetime_task, self._listening)
        if self._socket is not None:
            self._socket.close()
        self._loop = self._lifetime_task = self._listening = self._close_requested = self._no_clients = None
        self._closing = True
        self._connections, self._half_closed = set(), {}

    # -- lifecycle -----------------------------------------------------------------------------------

    def start(self) -> Server:
        """Listen; return the server itself. Errors as :meth:`Service.serve`."""
        self.service.supervisor.own_loop().run(self._open())
        return self

    async def _add_local_client(self, end: socket.socket) -> None:
        """In the loop: one end of a pair of sockets is a client. It is closed when it is not taken.

        :raises SupervisorStoppedError: (a RuntimeError) the supervisor has been stopped.
        """
        try:
            if self._lifetime_task is None or self._lifetime_task.done() or self._loop is not asyncio.get_running_loop():
                await self._open()
            elif self._closing:
                raise self._stopped_error()
            assert self._loop is not None
            await self._loop.connect_accepted_socket(lambda: Connection(self), end)
        except BaseException:
            end.close()
            raise

    async def _open(self) -> None:
        """In the loop, which is there as long as the supervisor finishes what it has accepted: begin.

        :raises SupervisorStoppedError: (a RuntimeError) the supervisor has been stopped.
        """
        from concurrent.futures import Future

        if not self.service.supervisor._supervisor_parts.state.is_running():
            raise self._stopped_error()
        loop = self._loop = asyncio.get_running_loop()
        self._close_requested, self._no_clients = asyncio.Event(), asyncio.Event()
        self._closing = False
        if self._address is not None:
            self._socket = bind(self._address)
            try:
                if self._address.path is not None:
                    self._inode = os.stat(self._address.path).st_ino
                else:
                    self._address.port = self._socket.getsockname()[1]
                self._listening = await loop.create_server(lambda: Connection(self), sock=self._socket, backlog=BACKLOG)
            except BaseException:
                self._closing = True
                self._socket.close()
                self._unlink()
                raise
        closed = self._closed = Future()
        self._lifetime_task = loop.create_task(self._serve_until_closed())
        self._lifetime_task.add_done_callback(lambda _: closed.set_result(None))
        self.service.supervisor.register_sync_scheduler(self)
        if not self.service.supervisor._supervisor_parts.state.is_running():       # it may have told all that were registered
            self._request_close()
            await asyncio.wait([self._lifetime_task])
            raise self._stopped_error()

    def _stopped_error(self) -> SupervisorStoppedError:
        return SupervisorStoppedError(f"service {self.service.name!r} takes no requests: supervisor {self.service.supervisor.id} "
                                      "has been stopped; call start() to go on")

    def _request_close(self) -> None:
        self._closing = True
        if self._close_requested is not None:
            self._close_requested.set()

    async def _serve_until_closed(self) -> None:
        """Until it is asked to close; then until the last answer is out."""
        asked, all_gone = self._close_requested, self._no_clients
        assert asked is not None and all_gone is not None
        try:
            await asked.wait()
            self._stop_listening()
            for connection in list(self._connections):
                connection.finish()
            if self.clients:
                await all_gone.wait()
        finally:            # cancelled: the loop is about to end
            if self._close_requested is asked:          # else this is collected in a forked process
                self._closing = True
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
        """Remove the file of the socket, unless another service has put its own there meanwhile."""
        if self._address is None or self._address.path is None or self._inode is None:
            return
        try:
            if os.stat(self._address.path).st_ino == self._inode:
                os.unlink(self._address.path)
        except OSError:
            pass

    @property
    def _is_closing(self) -> bool:
        """True when no more requests are taken."""
        return self._closing

    # -- for connections -----------------------------------------------------------------------------

    def _accepts_token(self, message: dict[str, Any]) -> bool:
        """Say whether the first message of a connection holds the token."""
        given = message.get("token")
        return (self._token is not None and type(given) is str
                and hmac.compare_digest(given.encode("utf-8", "surrogatepass"), self._token))

    @property
    def _requires_token(self) -> bool:
        return self._token is not None

    def _connection_opened(self, connection: Connection) -> str | None:
        """A connection has been made; return why it is closed at once, or None."""
        self._connections.add(connection)
        if self._is_closing:
            return "the service is being stopped"
        if len(self._connections) > self.max_clients:
            return f"the service has {self.max_clients} connections already; try again later"
        return None

    def _connection_half_closed(self, connection: Connection) -> None:
        """A client sends no more. Most of these have gone, which is not known before something is written to them: they are
        in nobody's way, and there are not more of them than there may be clients."""
        if connection in self._connections:
            self._connections.discard(connection)
            self._half_closed[connection] = None
            if len(self._half_closed) > self.max_clients:
                next(iter(self._half_closed)).abort()

    def _connection_closed(self, connection: Connection) -> None:
        """A connection has been closed."""
        self._connections.discard(connection)
        self._half_closed.pop(connection, None)
        if not self.clients and self._closing and self._no_clients is not None:
            self._no_clients.set()


def _token(token: Any) -> bytes | None:
    if token is None:
        return None
    if not isinstance(token, str):
        raise InvalidTypeError(f"token takes a string, not {type(token).__name__}")
    if not 8 <= len(token) <= 1000:
        raise InvalidArgumentError(f"token takes a string of 8 to 1000 characters, not {len(token)}; secrets.token_urlsafe() "
                                   "makes one")
    return token.encode("utf-8", "surrogatepass")
