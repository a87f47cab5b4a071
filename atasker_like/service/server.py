"""Server: requests of other processes, over a Unix domain socket or TCP.

Everything here happens in one loop of the supervisor, whose thread also reads, answers and checks; only the end of a
task may come from elsewhere, and is brought there. What a client can hold of this process is bounded: the length of a
message, the requests in flight and their bytes, the answers it does not read. Past a bound that a client may reach
honestly it is not read from for a while; past one that it may not, it is told so and its connection is closed.

A task belongs to the service from its acceptance on: it runs to its end, whether its client is still there or not.
"""
from __future__ import annotations

import asyncio
import hmac
import os
from collections import deque
from traceback import format_exception

from ..engine.result import Failure, log
from ..engine.task import CANCELED
from ..engine.waiting import deadline_of, mailbox_of, remaining
from ..errors import InvalidArgumentError, InvalidTypeError, TaskRefusedError
from ..options import unknown_option
from .addresses import BACKLOG, Address, bind
from .handling import check_number, own_loop
from .messages import MAX_MESSAGE, check_request, decode, encode, encode_error, encode_result, shortened

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any, Callable, Deque, Dict, List, Optional, Set, Union

    from ..engine.task import Task
    from .handling import Service

__all__ = ["Server"]

_DEFAULTS: "Dict[str, Any]" = {"beyond_loopback": False, "max_message": MAX_MESSAGE, "max_in_flight": 256,
                               "max_clients": 256, "message_timeout": 30.0}

#: Bytes of a message at most, of a client that has not shown its token.
_MAX_GREETING = 4096

#: Answers of so many times ``max_message`` bytes may wait for a client that does not read them.
_UNREAD = 8

#: Seconds in which clients take the last answers when a server ends.
_GRACE = 2.0


class Server:
    """Where a service takes requests: made by :meth:`Service.serve`. Its methods may be called from any thread.

    As a context manager it closes at the end of the block. The stop of the supervisor closes it, too.
    """

    is_worker = True            # the supervisor stops it before it waits for the tasks that it has accepted

    def __init__(self, service: "Service", address: "Any", token: "Optional[str]", **options: "Any") -> None:
        for option in options:
            if option not in _DEFAULTS:
                raise unknown_option(option, (*_DEFAULTS, "token"), "serve")
        chosen = {**_DEFAULTS, **options}
        self.service = service
        self._address = None if address is None else Address(address)
        self.max_message = check_number("max_message", chosen["max_message"], 256)
        self.max_in_flight = check_number("max_in_flight", chosen["max_in_flight"], 1)
        self.max_clients = check_number("max_clients", chosen["max_clients"], 1)
        self.message_timeout = _seconds("message_timeout", chosen["message_timeout"])
        self._token = _token(token)
        if self._address is not None and self._address.path is None and self._token is None:
            raise InvalidArgumentError(f"{self._address} can be reached by every program of this machine: give a token, such as "
                                       "secrets.token_urlsafe(), or use a Unix domain socket")
        if self._address is not None and not self._address.is_loopback and chosen["beyond_loopback"] is not True:
            raise InvalidArgumentError(f"{self._address} can be reached from other machines, and the token crosses as it is; "
                                       "use 127.0.0.1, or say beyond_loopback=True")
        self._loop: "Optional[asyncio.AbstractEventLoop]" = None
        self._socket: "Optional[socket.socket]" = None
        self._inode: "Optional[int]" = None
        self._listening: "Optional[asyncio.AbstractServer]" = None
        self._guardian: "Optional[asyncio.Task[None]]" = None
        self._over: "Any" = None            # a concurrent future, done when the guardian is
        self._close_asked: "Optional[asyncio.Event]" = None
        self._all_gone: "Optional[asyncio.Event]" = None
        self._closing = True                # not begun, or about to end
        self._connections: "Set[Connection]" = set()        # of the loop's thread

    # -- for applications ----------------------------------------------------------------------------

    @property
    def address(self) -> str:
        """Where it listens, as :class:`Client` takes it."""
        return str(self._address)

    @property
    def clients(self) -> int:
        """How many connections there are."""
        return len(self._connections)

    def close(self, wait: "Union[bool, float]" = True) -> bool:
        """Take no more requests, finish those that were accepted, send their answers and close the connections.

        :param wait: True waits for ever, False not at all, a number so many seconds. In the server's own loop it does
            not wait.
        :return: True when it is closed.
        """
        loop, guardian, over = self._loop, self._guardian, self._over
        if loop is None or guardian is None or loop.is_closed():
            return True
        try:
            loop.call_soon_threadsafe(self._ask_to_close)
        except RuntimeError:                # closed meanwhile
            return True
        if wait is False or asyncio._get_running_loop() is loop:
            return bool(over.done())
        try:
            over.result(remaining(deadline_of(None if wait is True else wait)))
        except Exception:                   # a timeout
            return False
        return True

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: "Any") -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Server of {self.service.name} at {self._address or 'this process'}, {self.clients} client(s)>"

    # -- for the supervisor --------------------------------------------------------------------------

    def stop(self, wait: "Union[bool, float]" = False) -> None:
        """The supervisor is being stopped."""
        self.close(wait)

    def end(self) -> None:
        """Its loop has ended."""
        self.service.supervisor.unregister_sync_scheduler(self)

    def reset_after_fork(self) -> None:
        """In a forked process: the clients are the parent's, and so is the place where they come in."""
        if self._socket is not None:
            self._socket.close()
        self._guardian = None

    # -- lifecycle -----------------------------------------------------------------------------------

    def start(self) -> "Server":
        """Listen; return the server itself. Errors as :meth:`Service.serve`."""
        own_loop(self.service.supervisor).run(self.open())
        return self

    async def take(self, end: "socket.socket") -> None:
        """In the loop: one end of a pair of sockets is a client."""
        if self._closing or self._loop is not asyncio.get_running_loop():
            await self.open()
        assert self._loop is not None
        await self._loop.connect_accepted_socket(lambda: Connection(self), end)

    async def open(self) -> None:
        """In the loop: begin."""
        from concurrent.futures import Future

        loop = self._loop = asyncio.get_running_loop()
        self._close_asked, self._all_gone = asyncio.Event(), asyncio.Event()
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
        over = self._over = Future()
        self._guardian = loop.create_task(self._guard())
        self._guardian.add_done_callback(lambda _: over.set_result(None))
        self.service.supervisor.register_sync_scheduler(self)

    def _ask_to_close(self) -> None:
        self._closing = True
        if self._close_asked is not None:
            self._close_asked.set()

    async def _guard(self) -> None:
        """Until it is asked to close; then until the last answer is out."""
        assert self._close_asked is not None and self._all_gone is not None
        try:
            await self._close_asked.wait()
            self._stop_listening()
            for connection in list(self._connections):
                connection.finish()
            if self._connections:
                await self._all_gone.wait()
        finally:            # cancelled: the loop is about to end
            self._closing = True
            self._stop_listening()
            for connection in list(self._connections):
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
    def is_closing(self) -> bool:
        """True when no more requests are taken."""
        return self._closing

    # -- for connections -----------------------------------------------------------------------------

    def is_trusted(self, message: "Dict[str, Any]") -> bool:
        """Say whether the first message of a connection holds the token."""
        given = message.get("token")
        return (self._token is not None and type(given) is str
                and hmac.compare_digest(given.encode("utf-8", "surrogatepass"), self._token))

    @property
    def wants_token(self) -> bool:
        return self._token is not None

    def came(self, connection: "Connection") -> "Optional[str]":
        """A connection has been made; return why it is closed at once, or None."""
        self._connections.add(connection)
        if self.is_closing:
            return "the service is being stopped"
        if len(self._connections) > self.max_clients:
            return f"the service has {self.max_clients} connections already; try again later"
        return None

    def gone(self, connection: "Connection") -> None:
        """A connection has been closed."""
        self._connections.discard(connection)
        if not self._connections and self._closing and self._all_gone is not None:
            self._all_gone.set()


class Connection(asyncio.Protocol):
    """A client, in the loop's thread."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._service = server.service
        self._loop = asyncio.get_running_loop()
        self._mailbox = mailbox_of(self._loop)
        self._transport: "Any" = None
        self._trusted = not server.wants_token
        self._lines: "Deque[bytes]" = deque()       # read, and not looked at: too much is in flight
        self._rest = bytearray()                    # the beginning of a line
        self._timer: "Optional[asyncio.TimerHandle]" = None     # for the rest of it, or for the token
        self._calls: "Set[str]" = set()             # the ids in flight
        self._bytes = 0                             # of their requests
        self._reading = True
        self._unread = False                        # the client does not read its answers
        self._answers: "List[bytes]" = []           # to be written together
        self._finishing = False                     # no more requests: closed when all are answered
        self._closed = False

    # -- from the transport --------------------------------------------------------------------------

    def connection_made(self, transport: "Any") -> None:
        self._transport = transport
        reason = self._server.came(self)
        if reason is not None:
            self._break("busy", reason)
        elif not self._trusted:
            self._start_timer(self._server.message_timeout, self._too_slow)

    def data_received(self, data: bytes) -> None:
        if self._closed:
            return
        head, newline, tail = data.rpartition(b"\n")
        if newline:
            lines = head.split(b"\n")
            if self._rest:
                self._rest += lines[0]
                lines[0] = bytes(self._rest)
                self._rest.clear()
            self._lines.extend(lines)
        self._rest += tail
        if self._lines:
            self._work()
        if self._closed:
            return
        if len(self._rest) > self._most:
            self._break("message", f"a message is longer than {self._most} bytes")
        elif self._trusted:
            self._time_the_rest(bool(newline))

    def _time_the_rest(self, progressed: bool) -> None:
        if progressed or not self._rest:
            self._stop_timer()
        if self._timer is None and self._rest:
            self._start_timer(self._server.message_timeout, self._too_slow)

    def _start_timer(self, seconds: float, call: "Callable[[], None]") -> None:
        self._timer = self._loop.call_later(seconds, call)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def pause_writing(self) -> None:
        self._unread = True

    def resume_writing(self) -> None:
        self._unread = False
        self._work()

    def connection_lost(self, error: "Optional[BaseException]") -> None:
        self._closed = True
        self._lines.clear()
        self._rest.clear()
        self._answers.clear()
        self._stop_timer()
        self._server.gone(self)

    # -- requests ------------------------------------------------------------------------------------

    @property
    def _most(self) -> int:
        return self._server.max_message if self._trusted else _MAX_GREETING

    def _work(self) -> None:
        """Look at the lines that have come, as long as not too much is in flight."""
        lines, server = self._lines, self._server
        while lines and not self._closed:
            if len(self._calls) >= server.max_in_flight or self._bytes > server.max_message or self._unread:
                if self._reading and not self._finishing:
                    self._reading = False
                    self._transport.pause_reading()
                return
            line = lines.popleft()
            if len(line) > self._most:
                self._break("message", f"a message is longer than {self._most} bytes")
            elif line:                  # an empty line does no harm
                self._take(line)
        if not self._closed:
            if not self._reading:
                self._reading = True
                self._transport.resume_reading()
            if self._finishing:
                self._close_when_answered()

    def _take(self, line: bytes) -> None:
        try:
            message = decode(line)
            if not self._trusted:
                self._look_at_token(message)
                return
            if "token" in message:
                return                  # nobody asked for it
            request_id = check_request(message)
        except (ValueError, RecursionError) as error:       # whoever sends this does not speak the language
            self._break("message", f"{error}")
            return
        try:
            if request_id in self._calls:
                raise TaskRefusedError(f"a request with the id {shortened(request_id, 40)!r} is in flight already")
            if self._finishing and self._server.is_closing:
                raise TaskRefusedError(f"service {self._service.name!r} is being stopped", "stopped")
            task = self._service.accept(message)
        except TaskRefusedError as error:
            log.debug("service %s refused a request: %s", self._service.name, error)
            self._answer(encode({"status": "refused", "id": request_id, "reason": error.reason,
                                 "message": shortened(str(error), 2000)}))
            return
        except Exception as error:
            log.exception("service %s could not accept a request", self._service.name)
            self._answer(encode({"status": "refused", "id": request_id, "reason": "message",
                                 "message": f"{type(error).__name__}: {shortened(str(error), 2000)}"}))
            return
        self._calls.add(request_id)
        self._bytes += len(line)
        if message.get("tell") is True:
            self._answer(encode({"status": "accepted", "id": request_id}))
        call = Call(self, request_id, task, len(line))
        if not task._watch(call):
            call()

    def _look_at_token(self, message: "Dict[str, Any]") -> None:
        if not self._server.is_trusted(message):
            self._break("token", "the token is wrong, or was not the first message")
            return
        self._trusted = True
        self._stop_timer()

    # -- answers -------------------------------------------------------------------------------------

    def ended(self, call: "Call") -> None:
        """The task of a request has ended; in the loop's thread."""
        self._service.ended()
        self._calls.discard(call.request_id)
        self._bytes -= call.size
        if self._closed:
            return          # and nobody looks at its error: the log will have it
        task = call.task
        outcome = task._outcome
        if task._status == CANCELED:
            line = encode_error(call.request_id, "TaskCancelledError", f"task {task.name} was cancelled", "")
        elif type(outcome) is Failure:
            outcome.seen = True
            error = outcome.error
            line = encode_error(call.request_id, type(error).__name__, _text_of(error), _traceback_of(error))
        else:
            line = encode_result(call.request_id, outcome, self._server.max_message)
        self._answer(line)
        if self._lines:
            self._work()
        elif self._finishing:
            self._close_when_answered()
        elif not self._calls:
            self._flush()           # no other answer is near that could go with it

    def _answer(self, line: bytes) -> None:
        if not self._answers:
            self._loop.call_soon(self._flush)
        self._answers.append(line)

    def _flush(self) -> None:
        """Write what has come together since the last time."""
        if self._closed or not self._answers:
            return
        self._transport.write(b"".join(self._answers))
        self._answers.clear()
        if self._transport.get_write_buffer_size() > _UNREAD * self._server.max_message:
            log.warning("service %s closes a connection: its answers are not read", self._service.name)
            self.abort()

    # -- the end -------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Take no more requests; close when those that were accepted are answered."""
        if self._closed:
            return
        self._finishing = True
        self._work()
        if not self._lines:
            self._close_when_answered()

    def _close_when_answered(self) -> None:
        if self._closed or self._calls or self._lines:
            return
        self._flush()
        if not self._closed:
            self._close()

    def _too_slow(self) -> None:
        self._timer = None
        if self._lines or not self._reading:        # it is we who do not read
            self._start_timer(self._server.message_timeout, self._too_slow)
            return
        self._break("message", f"the rest of a message did not come within {self._server.message_timeout:g} s")

    def _break(self, reason: str, why: str) -> None:
        """Say why, and close the connection; what it has in flight runs on."""
        log.warning("service %s closes a connection: %s", self._service.name, shortened(why, 300))
        self._flush()
        self._lines.clear()
        self._rest.clear()
        self._transport.write(encode({"status": "closed", "reason": reason, "message": shortened(why, 2000)}))
        self._close()

    def _close(self) -> None:
        """Close the connection when what has been written is out, and in any case soon."""
        self._closed = True
        self._stop_timer()
        self._start_timer(_GRACE, self.abort)
        self._transport.close()

    def abort(self) -> None:
        """Close the connection now, whatever is left to be sent."""
        self._closed = True
        if self._transport is not None:
            self._transport.abort()


class Call:
    """A request in flight; called by whoever finishes its task, in whatever thread."""

    __slots__ = ("_connection", "request_id", "task", "size")

    def __init__(self, connection: Connection, request_id: str, task: "Task[Any]", size: int) -> None:
        self._connection = connection
        self.request_id = request_id
        self.task = task
        self.size = size

    def __call__(self) -> None:
        connection = self._connection
        if asyncio._get_running_loop() is connection._loop:
            connection.ended(self)
        elif not connection._mailbox.post(connection.ended, self):
            connection._service.ended()         # the loop is closed, and the client gone with it


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as raised:             # code of the application's
        return f"(its text cannot be had: {type(raised).__name__})"


def _traceback_of(error: BaseException) -> str:
    try:
        return "".join(format_exception(type(error), error, error.__traceback__))
    except Exception:
        return ""


def _seconds(name: str, value: "Any") -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidTypeError(f"{name} takes seconds, not {type(value).__name__}")
    if not 0 < value < 1e9:
        raise InvalidArgumentError(f"{name} takes seconds above 0, not {value!r}")
    return float(value)


def _token(token: "Any") -> "Optional[bytes]":
    if token is None:
        return None
    if not isinstance(token, str):
        raise InvalidTypeError(f"token takes a string, not {type(token).__name__}")
    if not 8 <= len(token) <= 1000:
        raise InvalidArgumentError(f"token takes a string of 8 to 1000 characters, not {len(token)}; secrets.token_urlsafe() "
                                   "makes one")
    return token.encode("utf-8", "surrogatepass")
