"""Link: a client's connection with a service, in its loop's thread; and the futures of what it waits for."""
from __future__ import annotations

import asyncio

from ..errors import (InvalidTypeError, ServiceConnectionError, TaskExecutionError,
                      TaskRefusedError)
from .framing import LineProtocol
from .task import TaskResult
from .wire import decode, result_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Generic

    from typing_extensions import TypeVar

    T = TypeVar("T", default=Any)

    class _Future(asyncio.Future[T], Generic[T]):
        pass
else:
    from ..engine.task import _Subscript

    T = "T"

    class _Future(_Subscript, asyncio.Future):
        """Makes ``TaskFuture[T]`` work at run time, also where asyncio's own futures refuse it (3.8)."""

__all__ = ["ClientConnection", "TaskFuture"]


class TaskFuture(_Future[T]):
    """An asyncio future of how a task of a service ends, with the task's id as ``task_id``.

    Cancelling it ends the wait only: the service has accepted the task, and runs it.

    :param task_id: the id of the task, a string.
    :param loop: the loop that the future belongs to (default: the running one).
    :raises InvalidTypeError: (a TypeError) an id of another type.

    Not thread-safe, as all futures of asyncio.

    >>> import asyncio
    >>> from atasker_like import service
    >>> async def main():
    ...     future = TaskFuture('id-1')
    ...     future.set_result(service.TaskResultOk(id='id-1', result=5))
    ...     return future.task_id, (await future).result
    >>> asyncio.run(main())
    ('id-1', 5)
    """

    #: Whether a failure of the task is raised.
    _check = True

    def __init__(self, task_id: str, *, loop: asyncio.AbstractEventLoop | None = None) -> None:
        if not isinstance(task_id, str):
            raise InvalidTypeError(f"TaskFuture takes the id of a task, not {type(task_id).__name__}")
        super().__init__(loop=loop)
        self.task_id = task_id


def _resolve(future: TaskFuture[TaskResult], result: TaskResult) -> None:
    if future.done():
        return
    if future._check and not result.ok:
        future.set_exception(TaskExecutionError(result))
    else:
        future.set_result(result)


_new_future: Any = asyncio.Future.__new__
_init_future: Any = asyncio.Future.__init__


class ClientConnection(LineProtocol):
    """A connection, in its loop's thread."""

    def __init__(self, place: str, max_message: int) -> None:
        super().__init__()
        self.loop = asyncio.get_running_loop()
        self.is_open = False
        self.is_full = False                        # the service does not read as fast as we write
        self._address = place
        self._max_message = max_message
        self._results: dict[str, TaskFuture[TaskResult]] = {}
        self._accepted: dict[str, asyncio.Future[None]] = {}
        self._requests: list[bytes] = []          # to be written together
        self._writable: asyncio.Future[None] | None = None     # done when it is not full any more
        self._close_reason = "it closed the connection"
        self._closing = False                       # as soon as nobody waits for an answer
        self._closed: asyncio.Future[None] = self.loop.create_future()

    # -- for the client ------------------------------------------------------------------------------

    def send(self, line: bytes, task_id: str, check: bool, confirm: bool) -> TaskFuture[TaskResult]:
        """Send a request; return the future of its result."""
        if not self.is_open:
            raise self._lost_error()
        results = self._results
        # TaskFuture(), written out: a request makes one, and its own constructor takes as long again.
        future: TaskFuture[TaskResult] = _new_future(TaskFuture)
        _init_future(future, loop=self.loop)
        future.task_id, future._check = task_id, check
        results[task_id] = future
        if confirm:
            self._accepted[task_id] = self.loop.create_future()
        if len(results) == 1 and not self._requests:
            self._transport.write(line)     # nothing is on its way: no other request is near that could go with it
        else:
            self.write(line)
        return future

    async def accepted(self, future: TaskFuture[TaskResult]) -> None:
        """Wait until the service has accepted the task of a future."""
        await self._accepted[future.task_id]

    def drop(self, future: TaskFuture[TaskResult]) -> None:
        """Nobody waits for a future any more."""
        self._results.pop(future.task_id, None)
        self._accepted.pop(future.task_id, None)
        if future.done() and not future.cancelled():
            future.exception()          # it has been seen, or is about another request's end

    def write(self, line: bytes) -> None:
        """Have a line written with all others of this turn of the loop."""
        if not self._requests:
            self.loop.call_soon(self._flush)
        self._requests.append(line)

    async def wait_writable(self) -> None:
        """Wait until the service has read what was sent."""
        while self.is_full and self.is_open:
            if self._writable is None:
                self._writable = self.loop.create_future()
            await asyncio.wait([self._writable])        # which goes on for the others when this request is cancelled

    def close_when_idle(self) -> None:
        """Close the connection as soon as nobody waits for an answer."""
        self._closing = True
        if not self._results and self.is_open:
            self._close_transport()

    def is_usable_here(self) -> bool:
        """Say whether it can be dealt with here: in its loop; or since it is lost, as it is with its loop."""
        if self.loop is asyncio.get_running_loop():
            return True
        if self.loop.is_closed():
            self.detach()
        return self._transport is None

    def add_close_callback(self, call: Callable[[], object]) -> None:
        """Have a function called in the loop when the connection is closed."""
        self._closed.add_done_callback(lambda _: call())

    async def close(self) -> None:
        """Close the connection, and wait until it is."""
        if self._transport is not None:
            self._close_reason = "the client was closed"
            self._close_transport()
            await asyncio.shield(self._closed)

    def _close_transport(self) -> None:
        """Close the connection. What the service does not read just now, it may not read for long; and it has accepted none of
        that."""
        self.is_open = False
        self._flush()
        if self._transport.get_write_buffer_size():
            self._transport.abort()
        else:
            self._transport.close()

    def abort(self) -> None:
        """Close the connection now, if there is one."""
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()

    def detach(self) -> None:
        self.is_open = False
        super().detach()

    def _flush(self) -> None:
        if self._requests and self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(self._requests))
        self._requests.clear()

    # -- from the transport --------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self.is_open = True

    def buffer_updated(self, nbytes: int) -> None:
        for line in self._split_lines(nbytes):
            self._handle(line)
        if self._closing:
            self.close_when_idle()
        if len(self._partial) > self._max_message:
            self._fail(f"an answer is longer than {self._max_message} bytes; raise max_message")

    def pause_writing(self) -> None:
        self.is_full = True

    def resume_writing(self) -> None:
        self.is_full = False
        self._resume_senders()

    def connection_lost(self, error: BaseException | None) -> None:
        self.is_open = False
        self._transport = None
        if error is not None:
            self._close_reason = str(error) or type(error).__name__
        self._resume_senders()
        accepted, self._accepted = self._accepted, {}
        results, self._results = self._results, {}
        for waiting in accepted.values():
            if not waiting.done():
                waiting.set_exception(self._lost_error())
        for task_id, future in results.items():
            if not future.done():
                future.set_exception(self._lost_error())
                if task_id in accepted:
                    future.exception()      # told already, to who waits for its being accepted
        if not self._closed.done():
            self._closed.set_result(None)

    # -- answers -------------------------------------------------------------------------------------

    def _handle(self, line: bytes) -> None:
        try:
            if len(line) > self._max_message:
                raise ValueError(f"an answer is longer than {self._max_message} bytes; raise max_message")
            message = decode(line)
        except ValueError as error:
            self._fail(f"what came is no answer of a service: {error}")
            return
        status, task_id = message.get("status"), message.get("id")
        result = result_of(message)
        if result is not None:
            future = self._results.pop(task_id, None)       # type: ignore[arg-type]
            if future is not None:
                _resolve(future, result)
        elif status == "accepted":
            waiting = self._accepted.pop(task_id, None)     # type: ignore[arg-type]
            if waiting is not None and not waiting.done():
                waiting.set_result(None)
        elif status == "refused":
            self._refused(task_id, TaskRefusedError(str(message.get("message")), str(message.get("reason"))))
        elif status == "closed":
            self._close_reason = f"it said: {message.get('message')}"
            self.is_open = False

    def _refused(self, task_id: Any, error: TaskRefusedError) -> None:
        future = self._results.pop(task_id, None)
        waiting = self._accepted.pop(task_id, None)
        if waiting is not None:
            if not waiting.done():
                waiting.set_exception(error)
        elif future is not None and not future.done():
            future.set_exception(error)

    def _fail(self, why: str) -> None:
        self._close_reason = why
        self.abort()

    def _resume_senders(self) -> None:
        room, self._writable = self._writable, None
        if room is not None:
            room.set_result(None)

    def _lost_error(self) -> ServiceConnectionError:
        return ServiceConnectionError(f"the connection with the service at {self._address} is lost: {self._close_reason}. A task without "
                                      "an answer may have run, or may still; the next request connects again")
