"""ClientConnection: a client's connection, and the futures of its requests."""
from __future__ import annotations

import asyncio

from .._checks import instance
from .._generics import Generic
from ..errors import ServiceConnectionError, TaskExecutionError, TaskRefusedError
from .framing import LineProtocol
from .task import TaskResult
from .wire import decode, result_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing_extensions import Any, Callable, TypeVar

    T = TypeVar("T", default=Any)

    class _Future(asyncio.Future[T], Generic[T]):
        pass
else:
    T = None

    class _Future(Generic, asyncio.Future):
        """Allows ``TaskFuture[T]`` on Python 3.8, where asyncio refuses it."""


class TaskFuture(_Future[T]):
    """An asyncio future of a task's result, with the id as ``task_id``.

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

    #: True if the future raises a failure of the task.
    _check = True

    def __init__(self, task_id: str, *, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.task_id: str = instance("TaskFuture", task_id, str, "the id of a task")
        super().__init__(loop=loop)


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
    """A connection with a service.

    Its methods are called in the thread of its loop only.
    """

    def __init__(self, address: str, max_message: int) -> None:
        super().__init__()
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.is_open: bool = False
        self.is_full: bool = False              # the client writes faster than the service reads
        self._address = address
        self._max_message = max_message
        self._results: dict[str, TaskFuture[TaskResult]] = {}
        self._accepted: dict[str, asyncio.Future[None]] = {}
        self._requests: list[bytes] = []        # to be written together
        self._writable: asyncio.Future[None] | None = None  # done when it is not full any more
        self._close_reason = "it closed the connection"
        self._closing = False                   # as soon as no request waits for an answer
        self._closed: asyncio.Future[None] = self.loop.create_future()

    # -- for the client ----------------------------------------------------------------------------

    def send(self, line: bytes, task_id: str, check: bool, confirm: bool) -> TaskFuture[TaskResult]:
        """Send a request, and return the future of its result."""
        if not self.is_open:
            raise self._lost_error()
        results = self._results
        # TaskFuture() without its constructor, which doubles the time for each request.
        future: TaskFuture[TaskResult] = _new_future(TaskFuture)
        _init_future(future, loop=self.loop)
        future.task_id, future._check = task_id, check
        results[task_id] = future
        if confirm:
            self._accepted[task_id] = self.loop.create_future()
        if len(results) == 1 and not self._requests:
            self._transport.write(line)     # the only request: there is none to write it with
        else:
            self.write(line)
        return future

    async def accepted(self, future: TaskFuture[TaskResult]) -> None:
        """Wait until the service has accepted the task of a future."""
        await self._accepted[future.task_id]

    def drop(self, future: TaskFuture[TaskResult]) -> None:
        """Remove a future that no request waits for any more."""
        self._results.pop(future.task_id, None)
        self._accepted.pop(future.task_id, None)
        if future.done() and not future.cancelled():
            future.exception()          # raised already, or the same error as of other requests

    def write(self, line: bytes) -> None:
        """Write a line together with the others of this loop iteration."""
        if not self._requests:
            self.loop.call_soon(self._flush)
        self._requests.append(line)

    async def wait_writable(self) -> None:
        """Wait until the service has read enough of what was sent."""
        while self.is_full and self.is_open:
            if self._writable is None:
                self._writable = self.loop.create_future()
            # wait() does not cancel it if this request is cancelled: other requests wait for it.
            await asyncio.wait([self._writable])

    def close_when_idle(self) -> None:
        """Close the connection as soon as no request waits for an answer."""
        self._closing = True
        if not self._results and self.is_open:
            self._close_transport()

    def is_usable_here(self) -> bool:
        """Return True if the running loop may use the connection."""
        if self.loop is asyncio.get_running_loop():
            return True
        if self.loop.is_closed():
            self.detach()
        return self._transport is None

    def add_close_callback(self, call: Callable[[], object]) -> None:
        """Call a function in the loop when the connection is closed."""
        self._closed.add_done_callback(lambda _: call())

    async def close(self) -> None:
        """Close the connection, and wait until it is closed."""
        if self._transport is not None:
            self._close_reason = "the client was closed"
            self._close_transport()
            await asyncio.shield(self._closed)

    def _close_transport(self) -> None:
        self.is_open = False
        self._flush()
        if self._transport.get_write_buffer_size():
            # The service may not read the rest for long. It has not accepted any of it.
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

    # -- from the transport ------------------------------------------------------------------------

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
                    future.exception()      # raised already, by the wait for the acceptance
        if not self._closed.done():
            self._closed.set_result(None)

    # -- answers -----------------------------------------------------------------------------------

    def _handle(self, line: bytes) -> None:
        try:
            if len(line) > self._max_message:
                raise ValueError(f"an answer is longer than {self._max_message} bytes; "
                                 "raise max_message")
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
            self._refused(task_id, TaskRefusedError(str(message.get("message")),
                                                    str(message.get("reason"))))
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

    def _fail(self, reason: str) -> None:
        self._close_reason = reason
        self.abort()

    def _resume_senders(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None:
            writable.set_result(None)

    def _lost_error(self) -> ServiceConnectionError:
        return ServiceConnectionError(f"the connection with the service at {self._address} is "
                                      f"lost: {self._close_reason}. A task without an answer may "
                                      "have run, or may still; the next request connects again")
