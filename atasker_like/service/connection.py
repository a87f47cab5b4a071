"""Connection: a client of a server.

All of it runs in the thread of the server's loop.

What a client can hold of this process is limited: the length of a message, the requests in flight
and their bytes, and the answers that it does not read. At a limit that a correct client may reach,
the server stops reading from it for a while. At any other limit the server sends the reason and
closes the connection.

::

    data ──> lines ──> request ──> task of the service ──> answers, written together ──> data
               │ with too much in flight, or unread, lines wait and no more data is read
"""
from __future__ import annotations

import asyncio
import select
from collections import deque

from .._inspect import class_name, described, text_of, traceback_of, traceback_text
from .._log import log
from ..engine.loop_mailbox import mailbox_of
from ..engine.result import Failure
from ..engine.task import CANCELED
from ..engine.task_fields import cancelled_text
from ..errors import TaskRefusedError
from .framing import LineProtocol
from .wire import (check_request, decode, encode, encode_error, encode_refusal, encode_result,
                   encode_within, shortened)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextvars import Context
    from typing import Any, Callable, Protocol

    from ..constants import TaskType
    from ..engine.lanes import Lane
    from ..engine.loop_mailbox import LoopMailbox
    from ..engine.task import Task
    from ..supervisor.supervisor import TaskSupervisor

    class RequestService(Protocol):
        """The service, as its connections, its server and its handlers use it."""

        name: str
        supervisor: TaskSupervisor

        @property
        def lane(self) -> Lane: ...

        def _lane_tt(self) -> TaskType: ...
        def _is_running_here(self) -> bool: ...
        def _accept(self, message: dict[str, Any], request: PendingRequest) -> None: ...
        def _task_done(self) -> None: ...

    class ConnectionServer(Protocol):
        """The server of a connection, and its limits."""

        max_message: int
        max_in_flight: int
        message_timeout: float
        context: Context
        _is_closing: bool
        _token: bytes | None
        service: RequestService

        def _accepts_token(self, message: dict[str, Any]) -> bool: ...
        def _connection_opened(self, connection: Connection) -> str | None: ...
        def _connection_half_closed(self, connection: Connection) -> None: ...
        def _connection_closed(self, connection: Connection) -> None: ...


#: Bytes of a message before the token has arrived. The longest token has 12 000 as JSON.
_MAX_GREETING = 1 << 14

#: Answers that a client has not read, in multiples of ``max_message``.
_MAX_UNREAD = 8

#: Bytes of an answer that is written at once, and not together with others.
_FLUSH_AT = 4096

#: Seconds in which a client can read the last answers while its connection closes.
_CLOSE_TIMEOUT = 2.0


class Connection(LineProtocol):
    """A client of a server."""

    def __init__(self, server: ConnectionServer) -> None:
        super().__init__()
        self._server = server
        self._service = server.service
        self._loop = asyncio.get_running_loop()
        self.mailbox: LoopMailbox = mailbox_of(self._loop)
        self._transport: Any = None
        self._authenticated = server._token is None
        self._lines: deque[bytes] = deque()         # received, but too much is in flight
        self._timer: asyncio.TimerHandle | None = None  # for a partial line, or the token
        self._in_flight: set[str] = set()           # ids of requests
        self._bytes_in_flight = 0
        self._reading = True
        self._processing = False                    # _process_lines() runs
        self._peer_not_reading = False
        self._answers: list[bytes] = []             # to be written together
        self._flushing = False                      # in the next iteration of the loop
        self._finishing = False                     # no more requests: close after the last answer
        self._closed = False

    # -- from the transport ------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        reason = self._server._connection_opened(self)
        if reason is not None:
            self._reject_and_close("busy", reason)
        elif not self._authenticated:
            self._start_timer(self._server.message_timeout, self._timed_out)

    def buffer_updated(self, nbytes: int) -> None:
        if self._closed:
            return
        lines = self._split_lines(nbytes)
        if lines:
            self._lines.extend(lines)
            self._process_lines()
            if self._closed:
                return
        if self._partial:
            if len(self._partial) > self._max_line:
                self._reject_long_line()
            elif self._authenticated:
                if lines:
                    self._stop_timer()
                if self._timer is None:
                    self._start_timer(self._server.message_timeout, self._timed_out)
        elif self._timer is not None and self._authenticated:
            self._stop_timer()

    def _start_timer(self, seconds: float, call: Callable[[], None]) -> None:
        self._timer = self._loop.call_later(seconds, call)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def eof_received(self) -> bool:
        """Handle the end of the requests.

        The client may still wait for answers, or be gone.

        Only a write reveals that it is gone.
        """
        if self._closed or not self._authenticated:
            return False
        if _peer_has_closed(self._transport.get_extra_info("socket")):
            return False
        self._stop_timer()
        if self._partial:
            self._partial.clear()
            self._answers.append(encode({"status": "closed", "reason": "message",
                                         "message": "the last message is not complete: "
                                                    "there is no newline at its end"}))
        self.finish()
        if not self._closed:
            self._server._connection_half_closed(self)
        return True

    def pause_writing(self) -> None:
        self._peer_not_reading = True

    def resume_writing(self) -> None:
        self._peer_not_reading = False
        self._process_lines()

    def connection_lost(self, error: BaseException | None) -> None:
        self._closed = True
        self._lines.clear()
        self._partial.clear()
        self._answers.clear()
        self._stop_timer()
        self._server._connection_closed(self)

    # -- requests ----------------------------------------------------------------------------------

    @property
    def _max_line(self) -> int:
        return self._server.max_message if self._authenticated else _MAX_GREETING

    @property
    def _is_full(self) -> bool:
        server = self._server
        return (len(self._in_flight) >= server.max_in_flight
                or self._bytes_in_flight > server.max_message or self._peer_not_reading)

    def _process_line(self, line: bytes) -> None:
        if len(line) > self._max_line:
            self._reject_long_line()
        elif line:                  # an empty line is allowed
            self._handle(line)

    def _process_lines(self) -> None:
        """Handle the lines that have arrived, until too much is in flight."""
        if self._processing:
            return                      # called by the end of a request that was just accepted
        lines = self._lines
        closing = self._server._is_closing      # then all requests are refused, and none waits
        full = False
        self._processing = True
        try:
            while True:
                if not lines or self._closed:
                    break
                full = self._is_full and not closing
                if full:
                    break
                self._process_line(lines.popleft())
        finally:
            self._processing = False
        if not self._flushing:
            self._flush()               # last, since a client that reads it may go on at once
        if self._closed:
            return
        if full:
            if self._reading and not self._finishing:
                self._reading = False
                self._transport.pause_reading()
            return
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()
        if self._finishing:
            self._close_when_answered()

    def _handle(self, line: bytes) -> None:
        try:
            message = decode(line)
            if not self._authenticated:
                self._authenticate(message)
            if self._closed or ("token" in message and len(message) == 1):
                return                  # a token alone is no request, even if none was required
            request_id = check_request(message)
        except (ValueError, RecursionError) as error:       # the peer does not speak the protocol
            self._reject_and_close("message", f"{error}")
            return
        request = PendingRequest(self, request_id, len(line), message.get("tell") is True)
        try:
            if request_id in self._in_flight:
                raise TaskRefusedError(f"a request with the id {shortened(request_id, 40)!r} is in "
                                       "flight already")
            if self._server._is_closing:
                raise TaskRefusedError(f"service {self._service.name!r} is being stopped",
                                       "stopped")
            # In its own context: the end of another task may have led here, in the context of that.
            self._server.context.copy().run(self._service._accept, message, request)
        except TaskRefusedError as error:
            log.debug("service %s refused a request: %s", self._service.name, error)
            self._refuse(request_id, error.reason, str(error))
        except BaseException as error:      # the class's own check must not end the loop
            log.exception("service %s could not accept a request", self._service.name)
            self._refuse(request_id, "message", described(error))
        else:
            if not request.done:
                self._in_flight.add(request_id)
                self._bytes_in_flight += request.size
                if request.confirm:
                    self._answers.append(_accepted_line(request_id))

    def _refuse(self, request_id: str, reason: str, text: str) -> None:
        self._answers.append(encode_refusal(request_id, reason, text, self._server.max_message))

    def _authenticate(self, message: dict[str, Any]) -> None:
        if not self._server._accepts_token(message):
            self._reject_and_close("token", "the token is wrong, or was not the first message")
            return
        self._authenticated = True
        self._stop_timer()

    # -- answers -----------------------------------------------------------------------------------

    def task_done(self, request: PendingRequest) -> None:
        """Answer a request after the end of its task."""
        self._service._task_done()
        request.done = True
        if request.request_id in self._in_flight:
            self._in_flight.discard(request.request_id)
            self._bytes_in_flight -= request.size
        elif request.confirm:               # the task ended while it was accepted
            self._answers.append(_accepted_line(request.request_id))
        if self._closed:
            return          # an error of the task stays unseen, so it is logged
        line = self._answer_to(request)
        self._answers.append(line)
        if len(line) > _FLUSH_AT:
            self._flush()           # at once, to see if the client reads
        if self._processing:
            return                  # a small one is written with those of the other requests
        if self._in_flight or self._lines:
            # More answers may follow that can be written together. Lines wait for that, too: their
            # requests may end tasks of other connections, which would recurse to here.
            if not self._flushing and not self._closed:
                self._flushing = True
                self._loop.call_soon(self._flush_later)
            return
        self._flush()
        if self._finishing:
            self._close_when_answered()

    def _answer_to(self, request: PendingRequest) -> bytes:
        task, request_id, limit = request.task, request.request_id, self._server.max_message
        outcome = task._outcome
        try:
            if task._status == CANCELED:
                return encode_error(request_id, "TaskCancelledError",
                                    f"task {task.name} {cancelled_text(task)}", "", limit)
            if type(outcome) is Failure:
                error = outcome.see()
                return encode_error(request_id, class_name(type(error)), text_of(error),
                                    traceback_text(error, traceback_of(error)), limit)
            return encode_result(request_id, outcome, limit)
        except BaseException:       # such as a MemoryError: each accepted request is answered
            log.exception("service %s could not encode the end of task %s", self._service.name,
                          task.id)
            return encode_error(request_id, "RuntimeError", "the end of the task cannot be "
                                "encoded; the service's log has the reason", "", limit)

    def _flush_later(self) -> None:
        self._flushing = False
        if self._lines:
            self._process_lines()
        else:
            self._flush()

    def _flush(self) -> None:
        """Write the answers since the last flush."""
        if self._closed or not self._answers:
            return
        self._transport.write(b"".join(self._answers))
        self._answers.clear()
        unread = self._transport.get_write_buffer_size() if self._peer_not_reading else 0
        if unread > _MAX_UNREAD * self._server.max_message:
            log.warning("service %s closes a connection: its answers are not read",
                        self._service.name)
            self.abort()

    # -- the end -----------------------------------------------------------------------------------

    def finish(self) -> None:
        """Take no more requests. Close when all accepted ones are answered."""
        if self._closed:
            return
        self._finishing = True
        self._process_lines()
        if not self._lines:
            self._close_when_answered()

    def _close_when_answered(self) -> None:
        if self._closed or self._in_flight or self._lines:
            return
        self._flush()
        if not self._closed:
            self._close()

    def _timed_out(self) -> None:
        self._timer = None
        if self._lines or not self._reading:        # the rest may wait on this side
            self._start_timer(self._server.message_timeout, self._timed_out)
            return
        self._reject_and_close("message", "the rest of a message did not come within "
                                          f"{self._server.message_timeout:g} s")

    def _reject_and_close(self, reason: str, text: str) -> None:
        """Send the reason, and close the connection. Tasks in flight go on."""
        log.warning("service %s closes a connection: %s", self._service.name, shortened(text, 300))
        self._flush()
        self._lines.clear()
        self._partial.clear()
        self._transport.write(encode_within({"status": "closed", "reason": reason,
                                             "message": shortened(text, 2000)},
                                            self._server.max_message, "message"))
        self._close()

    def _reject_long_line(self) -> None:
        self._reject_and_close("message", f"a message is longer than {self._max_line} bytes")

    def _close(self) -> None:
        """Close the connection when all data is sent, or after a timeout."""
        self._closed = True
        self._stop_timer()
        self._start_timer(_CLOSE_TIMEOUT, self.abort)
        self._transport.close()

    def abort(self) -> None:
        """Close the connection now, and drop the data that is not sent."""
        self._closed = True
        if self._transport is not None:
            self._transport.abort()


class PendingRequest:
    """A request in flight. Call it at the end of its task, from any thread."""

    __slots__ = ("_connection", "mailbox", "request_id", "task", "size", "confirm", "done")

    task: Task[Any]               # set before the call

    def __init__(self, connection: Connection, request_id: str, size: int, confirm: bool) -> None:
        self._connection = connection
        self.mailbox: LoopMailbox = connection.mailbox      # of the connection's loop
        self.request_id: str = request_id
        self.size: int = size
        self.confirm: bool = confirm  # True if the client waits for the acceptance
        self.done: bool = False

    def __call__(self) -> None:
        connection = self._connection
        if asyncio._get_running_loop() is connection._loop:
            connection.task_done(self)
        else:
            self.post()

    def post(self) -> None:
        """Have the loop answer the request later."""
        connection = self._connection
        if not self.mailbox.post(connection.task_done, self):
            connection._service._task_done()        # the loop is closed, with all connections


def _accepted_line(request_id: str) -> bytes:
    return encode({"status": "accepted", "id": request_id})


def _peer_has_closed(connection: Any) -> bool:
    """Return True if the other end of a connection is known to read no more.

    For a Unix domain socket that is known at once, over TCP only after data was sent there.
    """
    if not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(connection.fileno(), 0)
    return any(events & (select.POLLHUP | select.POLLERR) for _, events in poll.poll(0))
