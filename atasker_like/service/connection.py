"""Connection: a client of a server, in the loop's thread.

What a client can hold of this process is bounded: the length of a message, the requests in flight and their bytes, the
answers it does not read. Past a bound that a client may reach honestly it is not read from for a while; past one that it
may not, it is told so and its connection is closed.

::

    data ──> lines ──> request ──> the service's task ──> answers, written together ──> data
               │ too much is in flight, or the client does not read: they wait, and no more is read
"""
from __future__ import annotations

import asyncio
import select
from collections import deque

from .._log import log
from .._inspect import described, text_of, traceback_text
from ..engine.loop_mailbox import mailbox_of
from ..engine.result import Failure
from ..engine.task import CANCELED
from ..errors import TaskRefusedError
from .framing import LineProtocol
from .wire import (check_request, decode, encode, encode_error, encode_within, encode_refusal,
                   encode_result, shortened)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from ..engine.loop_mailbox import LoopMailbox
    from ..engine.task import Task
    from .server import Server

__all__ = ["Connection"]

#: Bytes of a message at most, of a client that has not shown its token: the longest one has 12 000 as JSON.
_MAX_GREETING = 1 << 14

#: Answers of so many times ``max_message`` bytes may wait for a client that does not read them.
_MAX_UNREAD = 8

#: Bytes of an answer beyond which it is not kept to be written with others.
_FLUSH_AT = 4096

#: Seconds in which a client takes the last answers when its connection is closed.
_CLOSE_TIMEOUT = 2.0


class Connection(LineProtocol):
    """A client, in the loop's thread."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self._server = server
        self._service = server.service
        self._loop = asyncio.get_running_loop()
        self.mailbox = mailbox_of(self._loop)
        self._transport: Any = None
        self._authenticated = not server._requires_token
        self._lines: deque[bytes] = deque()       # read, and not looked at: too much is in flight
        self._timer: asyncio.TimerHandle | None = None     # for the rest of it, or for the token
        self._in_flight: set[str] = set()             # the ids in flight
        self._bytes_in_flight = 0                             # of their requests
        self._reading = True
        self._processing = False                       # the lines are being looked at
        self._peer_not_reading = False                        # the client does not read its answers
        self._answers: list[bytes] = []           # to be written together
        self._flushing = False                      # in the next turn of the loop
        self._finishing = False                     # no more requests: closed when all are answered
        self._closed = False

    # -- from the transport --------------------------------------------------------------------------

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
                self._reject_and_close("message", f"a message is longer than {self._max_line} bytes")
            elif self._authenticated:
                self._time_partial_line(bool(lines))
        elif self._timer is not None and self._authenticated:
            self._stop_timer()

    def _time_partial_line(self, progressed: bool) -> None:
        if progressed:
            self._stop_timer()
        if self._timer is None:
            self._start_timer(self._server.message_timeout, self._timed_out)

    def _start_timer(self, seconds: float, call: Callable[[], None]) -> None:
        self._timer = self._loop.call_later(seconds, call)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def eof_received(self) -> bool:
        """The client sends no more; it may wait for its answers all the same, or be gone: that shows when they are written."""
        if self._closed or not self._authenticated or _peer_has_closed(self._transport.get_extra_info("socket")):
            return False
        self._stop_timer()
        if self._partial:
            self._partial.clear()
            self._answers.append(encode({"status": "closed", "reason": "message",
                                         "message": "the last message is not complete: there is no newline at its end"}))
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

    # -- requests ------------------------------------------------------------------------------------

    @property
    def _max_line(self) -> int:
        return self._server.max_message if self._authenticated else _MAX_GREETING

    def _process_lines(self) -> None:
        """Look at the lines that have come, as long as not too much is in flight."""
        if self._processing:
            return                      # a request has ended as it was taken
        lines, server = self._lines, self._server
        ending = server._is_closing      # each of them is refused: nothing is to be waited for
        full = False
        self._processing = True
        try:
            while lines and not self._closed:
                if (len(self._in_flight) >= server.max_in_flight or self._bytes_in_flight > server.max_message or self._peer_not_reading) and not ending:
                    full = True
                    break
                line = lines.popleft()
                if len(line) > self._max_line:
                    self._reject_and_close("message", f"a message is longer than {self._max_line} bytes")
                elif line:                  # an empty line does no harm
                    self._handle(line)
        finally:
            self._processing = False
        if not self._flushing:
            self._flush()               # the last thing that is done here: whoever reads it may go on
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
                return                  # it is nothing but a token, whether anybody asked for it or not
            request_id = check_request(message)
        except (ValueError, RecursionError) as error:       # whoever sends this does not speak the language
            self._reject_and_close("message", f"{error}")
            return
        request = PendingRequest(self, request_id, len(line), message.get("tell") is True)
        try:
            if request_id in self._in_flight:
                raise TaskRefusedError(f"a request with the id {shortened(request_id, 40)!r} is in flight already")
            if self._server._is_closing:
                raise TaskRefusedError(f"service {self._service.name!r} is being stopped", "stopped")
            # In a context of its own: not in that of the task whose end has led here.
            self._server.context.copy().run(self._service._accept, message, request)
        except TaskRefusedError as error:
            log.debug("service %s refused a request: %s", self._service.name, error)
            self._answers.append(encode_refusal(request_id, error.reason, str(error), self._server.max_message))
        except BaseException as error:      # the class's own check ran: no reason for the loop to end
            log.exception("service %s could not accept a request", self._service.name)
            self._answers.append(encode_refusal(request_id, "message", described(error),
                                                self._server.max_message))
        else:
            if not request.done:
                self._in_flight.add(request_id)
                self._bytes_in_flight += request.size
                if request.confirm:
                    self._answers.append(_accepted_line(request_id))

    def _authenticate(self, message: dict[str, Any]) -> None:
        if not self._server._accepts_token(message):
            self._reject_and_close("token", "the token is wrong, or was not the first message")
            return
        self._authenticated = True
        self._stop_timer()

    # -- answers -------------------------------------------------------------------------------------

    def task_done(self, request: PendingRequest) -> None:
        """The task of a request has ended; in the loop's thread."""
        self._service._task_done()
        request.done = True
        if request.request_id in self._in_flight:
            self._in_flight.discard(request.request_id)
            self._bytes_in_flight -= request.size
        elif request.confirm:
            self._answers.append(_accepted_line(request.request_id))        # it has ended as it was accepted
        if self._closed:
            return          # and nobody looks at its error: the log will have it
        task = request.task
        outcome, most = task._outcome, self._server.max_message
        try:
            if task._status == CANCELED:
                line = encode_error(request.request_id, "TaskCancelledError", f"task {task.name} was cancelled", "", most)
            elif type(outcome) is Failure:
                outcome.seen = True
                error = outcome.error
                line = encode_error(request.request_id, type(error).__name__, text_of(error), traceback_text(error, error.__traceback__), most)
            else:
                line = encode_result(request.request_id, outcome, most)
        except BaseException:       # such as a lack of memory: what was accepted is answered
            log.exception("service %s could not tell how task %s ended", self._service.name, task.id)
            line = encode_error(request.request_id, "RuntimeError", "how the task ended cannot be told; the service's log has why",
                                "", most)
        self._answers.append(line)
        if len(line) > _FLUSH_AT:
            self._flush()           # at once, to see whether the client reads
        if self._processing:
            return                  # a small one goes with those of the other requests
        if self._in_flight or self._lines:
            # Others are near that can go with it. The lines wait for that turn, too: what is done for one of them may make
            # calls such as this one of other connections, and so on from each to the next.
            self._flush_soon()
            return
        self._flush()
        if self._finishing:
            self._close_when_answered()

    def _flush_soon(self) -> None:
        if not self._flushing and not self._closed:
            self._flushing = True
            self._loop.call_soon(self._flush_later)

    def _flush_later(self) -> None:
        self._flushing = False
        if self._lines:
            self._process_lines()
        else:
            self._flush()

    def _flush(self) -> None:
        """Write what has come together since the last time."""
        if self._closed or not self._answers:
            return
        self._transport.write(b"".join(self._answers))
        self._answers.clear()
        if self._peer_not_reading and self._transport.get_write_buffer_size() > _MAX_UNREAD * self._server.max_message:
            log.warning("service %s closes a connection: its answers are not read", self._service.name)
            self.abort()

    # -- the end -------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Take no more requests; close when those that were accepted are answered."""
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
        if self._lines or not self._reading:        # it is we who do not read
            self._start_timer(self._server.message_timeout, self._timed_out)
            return
        self._reject_and_close("message", f"the rest of a message did not come within {self._server.message_timeout:g} s")

    def _reject_and_close(self, reason: str, why: str) -> None:
        """Say why, and close the connection; what it has in flight runs on."""
        log.warning("service %s closes a connection: %s", self._service.name, shortened(why, 300))
        self._flush()
        self._lines.clear()
        self._partial.clear()
        self._transport.write(encode_within({"status": "closed", "reason": reason, "message": shortened(why, 2000)},
                                             self._server.max_message, "message"))
        self._close()

    def _close(self) -> None:
        """Close the connection when what has been written is out, and in any case soon."""
        self._closed = True
        self._stop_timer()
        self._start_timer(_CLOSE_TIMEOUT, self.abort)
        self._transport.close()

    def abort(self) -> None:
        """Close the connection now, whatever is left to be sent."""
        self._closed = True
        if self._transport is not None:
            self._transport.abort()


class PendingRequest:
    """A request in flight; called by whoever finishes its task, in whatever thread."""

    __slots__ = ("_connection", "request_id", "task", "size", "confirm", "done")

    task: Task[Any]               # before it is called

    def __init__(self, connection: Connection, request_id: str, size: int, confirm: bool) -> None:
        self._connection = connection
        self.request_id = request_id
        self.size = size
        self.confirm = confirm            # the client waits for its being accepted
        self.done = False

    @property
    def mailbox(self) -> LoopMailbox:
        """That of the loop in whose thread the request came."""
        return self._connection.mailbox

    def __call__(self) -> None:
        connection = self._connection
        if asyncio._get_running_loop() is connection._loop:
            connection.task_done(self)
        else:
            self.post()

    def post(self) -> None:
        """Have the loop come to it later."""
        connection = self._connection
        if not connection.mailbox.post(connection.task_done, self):
            connection._service._task_done()         # the loop is closed, and the client gone with it


def _accepted_line(request_id: str) -> bytes:
    return encode({"status": "accepted", "id": request_id})


def _peer_has_closed(connection: Any) -> bool:
    """Say whether the other end of a connection is known to read no more. Of a Unix domain socket it is, at once; of one
    over TCP, when something has been sent there."""
    if not hasattr(select, "poll"):
        return False
    asked = select.poll()
    asked.register(connection.fileno(), 0)
    return any(events & (select.POLLHUP | select.POLLERR) for _, events in asked.poll(0))
