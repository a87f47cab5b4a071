"""Clients of a service: :class:`Client` for coroutines, :class:`SyncClient` for everything else.

A client connects with its first request, and again with the first one after the connection was lost. It never sends a
request twice: whether a task whose answer did not come has run is not known here, and running it again is for the caller
to decide.
"""
from __future__ import annotations

import asyncio
import os
import socket
import threading
import weakref
from concurrent.futures import CancelledError
from itertools import count

from ..engine.waiting import block, deadline_of, remaining
from ..errors import (InvalidArgumentError, InvalidTypeError, ServiceConnectionError, SupervisorStoppedError,
                      TaskCancelledError, TaskExecutionError, TaskRefusedError, WaitTimeoutError)
from ..supervisor import TaskSupervisor
from ..tasks import task_supervisor
from .addresses import Address
from .handling import Service, check_number, own_loop
from .messages import MAX_MESSAGE, decode, encode, result_of, shortened
from .typed import Task, TaskResult

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Coroutine, Dict, List, Optional, Tuple, TypeVar, Union

    R = TypeVar("R")
    _Future = asyncio.Future[Any]
else:
    _Future = asyncio.Future

__all__ = ["Client", "SyncClient", "SyncTaskFuture", "TaskFuture"]

#: Seconds that connecting may take.
CONNECT_TIMEOUT = 10.0


class TaskFuture(_Future):
    """An asyncio future of a :class:`TaskResult`, with the id of its task as ``task_id``.

    Cancelling it ends the waiting only: the task has been accepted, and runs.
    """

    def __init__(self, task_id: str, check: bool, loop: "asyncio.AbstractEventLoop") -> None:
        super().__init__(loop=loop)
        self.task_id = task_id
        self._check = check

    def _settle(self, result: TaskResult) -> None:
        if self.done():
            return
        if self._check and not result.ok:
            self.set_exception(TaskExecutionError(result))
        else:
            self.set_result(result)


class Client:
    """Sends tasks to a service, from coroutines of one loop. Not for other threads: see :class:`SyncClient`.

    :param place: the address of a service, see :class:`Address`; or a :class:`Service` of this process.
    :param token: what the service asks for, over TCP.
    :param max_message: bytes of an answer, and of a request, at most; 1 MiB unless told.
    :raises InvalidTypeError: (a TypeError) an argument of a wrong type.
    :raises InvalidArgumentError: (a ValueError) no address.

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

    def __init__(self, place: "Any", token: "Optional[str]" = None, max_message: int = MAX_MESSAGE) -> None:
        self.place: "Union[Service, Address]" = place if isinstance(place, Service) else Address(place)
        if token is not None and not isinstance(token, str):
            raise InvalidTypeError(f"token takes a string, not {type(token).__name__}")
        self._token = token
        self._max_message = check_number("max_message", max_message, 256)
        self._link: "Optional[_Link]" = None
        self._connecting: "Optional[asyncio.Future[_Link]]" = None
        self._prefix = os.urandom(6).hex()
        self._numbers = count(1)

    async def request(self, target: "Union[str, Task, None]", task: "Optional[Task]" = None, *, check: bool = True,
                      priority: "Optional[int]" = None) -> TaskFuture:
        """Send a task; return a :class:`TaskFuture` once the service has accepted it.

        :param target: the name of the service; it may be left out: ``request(task)``.
        :param check: have the future raise when the task fails; with False its result says so.
        :param priority: in place of that of the task's class; lower runs first.
        :raises TaskRefusedError: (a ValueError) the service does not accept it; ``.reason`` says why.
        :raises InvalidFieldError: (a ValueError) a field holds what its annotation does not allow.
        :raises ServiceConnectionError: (a ConnectionError) the service is not there, or went away.
        """
        name, declared = _target(target, task)
        return await self._request(name, declared.type(), declared.payload(), _metadata(declared, priority), check)

    async def execute(self, target: "Union[str, Task, None]", task: "Optional[Task]" = None, *, check: bool = True,
                      priority: "Optional[int]" = None) -> TaskResult:
        """Send a task and wait for its end; return its :class:`TaskResult`. Arguments and errors as :meth:`request`.

        :raises TaskExecutionError: (a RuntimeError) with ``check``: the task failed.
        """
        name, declared = _target(target, task)
        return await self._execute(name, declared.type(), declared.payload(), _metadata(declared, priority), check)

    async def close(self) -> None:
        """Close the connection. Tasks that were accepted run; who waits for their results is told that none will come."""
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *_: "Any") -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.place}>"

    # -- sending -------------------------------------------------------------------------------------

    async def _request(self, target: "Optional[str]", name: str, payload: "Any", metadata: "Dict[str, Any]",
                       check: bool) -> TaskFuture:
        link, future = await self._send(target, name, payload, metadata, check, tell=True)
        try:
            await link.accepted(future)
        except BaseException:
            link.forget(future)
            raise
        return future

    async def _execute(self, target: "Optional[str]", name: str, payload: "Any", metadata: "Dict[str, Any]",
                       check: bool) -> TaskResult:
        link, future = await self._send(target, name, payload, metadata, check, tell=False)
        try:
            result: TaskResult = await future
            return result
        finally:
            link.forget(future)

    async def _send(self, target: "Optional[str]", name: str, payload: "Any", metadata: "Dict[str, Any]", check: bool,
                    tell: bool) -> "Tuple[_Link, TaskFuture]":
        task_id = f"{self._prefix}-{next(self._numbers)}"
        message = {"id": task_id, "target": target, "type": name, "payload": payload,
                   "metadata": metadata}
        if tell:
            message["tell"] = True
        try:
            line = encode(message)
        except (TypeError, ValueError) as error:
            raise InvalidArgumentError(f"task {name} cannot be sent: {error}") from error
        if len(line) > self._max_message:
            raise InvalidArgumentError(f"task {name} has {len(line)} bytes as JSON, and a message has {self._max_message} at most; "
                                       "raise max_message on both sides, or send less")
        link = self._link
        if link is None or not link.is_open:
            link = await self._connect()
        elif link.loop is not asyncio.get_running_loop():
            raise InvalidArgumentError(f"{self!r} is connected in another loop; have a client for each loop, or close() it there")
        if link.is_full:
            await link.room()
        return link, link.send(line, task_id, check, tell)

    async def _connect(self) -> "_Link":
        """Connect; whoever comes meanwhile waits for the same connection."""
        loop = asyncio.get_running_loop()
        connecting = self._connecting
        if connecting is None or connecting.done() or connecting.get_loop() is not loop:
            connecting = self._connecting = loop.create_task(self._connect_now())
        try:
            return await asyncio.shield(connecting)
        except asyncio.TimeoutError:
            raise ServiceConnectionError(f"the service at {self.place} did not take the connection within "
                                         f"{CONNECT_TIMEOUT:g} s") from None
        except OSError as error:
            if isinstance(error, ServiceConnectionError):
                raise
            raise ServiceConnectionError(f"the service at {self.place} cannot be reached: {error.strerror or error}; see whether "
                                         "it runs") from error

    async def _connect_now(self) -> "_Link":
        loop = asyncio.get_running_loop()

        def make() -> "_Link":
            return _Link(str(self.place), self._max_message)

        place = self.place
        if isinstance(place, Service):
            ours = await _socket_pair(place)
            connecting = loop.create_connection(make, sock=ours)
        elif place.path is not None:
            connecting = loop.create_unix_connection(make, place.path)
        else:
            connecting = loop.create_connection(make, place.host, place.port)
        _, link = await asyncio.wait_for(connecting, CONNECT_TIMEOUT)
        assert isinstance(link, _Link)
        if self._token is not None:
            link.write(encode({"token": self._token}))
        self._link = link
        return link


async def _socket_pair(service: Service) -> socket.socket:
    """Connect with a service of this process, by a pair of sockets: what works here works between processes."""
    ours, theirs = socket.socketpair()
    try:
        for end in (ours, theirs):
            end.setblocking(False)
        home = own_loop(service.supervisor).get_loop()
        taking = service.local_server().take(theirs)
        if home is asyncio.get_running_loop():
            await taking
        else:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(taking, home))
    except BaseException:
        ours.close()
        theirs.close()
        raise
    return ours


def _target(target: "Any", task: "Any") -> "Tuple[Optional[str], Task]":
    """Tell ``(target, task)`` from ``(task)`` alone."""
    if task is None and isinstance(target, Task):
        return None, target
    if not isinstance(task, Task):
        thing = task if task is not None else target
        raise InvalidTypeError(f"a client sends instances of service.Task, not {type(thing).__name__}")
    if target is not None and not isinstance(target, str):
        raise InvalidTypeError(f"the target is the name of a service, not {type(target).__name__}")
    return target, task


def _metadata(task: Task, priority: "Optional[int]") -> "Dict[str, Any]":
    if priority is None:
        priority = task.priority
    elif isinstance(priority, bool) or not isinstance(priority, int):
        raise InvalidTypeError(f"priority takes an integer, not {type(priority).__name__}")
    return {"parallel": task.parallel, "display_name": shortened(task.display_name, 500), "priority": int(priority)}


class _Link(asyncio.Protocol):
    """A connection, in its loop's thread."""

    def __init__(self, place: str, max_message: int) -> None:
        self.loop = asyncio.get_running_loop()
        self.is_open = False
        self.is_full = False                        # the service does not read as fast as we write
        self._place = place
        self._max_message = max_message
        self._transport: "Any" = None
        self._rest = bytearray()
        self._results: "Dict[str, TaskFuture]" = {}
        self._accepted: "Dict[str, asyncio.Future[None]]" = {}
        self._requests: "List[bytes]" = []          # to be written together
        self._room: "List[asyncio.Future[None]]" = []       # who waits until it is not full
        self._why = "it closed the connection"
        self._closing = False                       # as soon as nobody waits for an answer
        self._gone: "asyncio.Future[None]" = self.loop.create_future()

    # -- for the client ------------------------------------------------------------------------------

    def send(self, line: bytes, task_id: str, check: bool, tell: bool) -> TaskFuture:
        """Send a request; return the future of its result."""
        if not self.is_open:
            raise self._lost()
        future = self._results[task_id] = TaskFuture(task_id, check, self.loop)
        if tell:
            self._accepted[task_id] = self.loop.create_future()
        self.write(line)
        if len(self._results) == 1:
            self._flush()           # nothing else is on its way: no other request is near that could go with it
        return future

    async def accepted(self, future: TaskFuture) -> None:
        """Wait until the service has accepted the task of a future."""
        await self._accepted[future.task_id]

    def forget(self, future: TaskFuture) -> None:
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

    async def room(self) -> None:
        """Wait until the service has read what was sent."""
        while self.is_full and self.is_open:
            future = self.loop.create_future()
            self._room.append(future)
            await future

    def close_when_idle(self) -> None:
        """Close the connection as soon as nobody waits for an answer."""
        self._closing = True
        if not self._results and self.is_open:
            self.is_open = False
            self._flush()
            self._transport.close()

    async def close(self) -> None:
        """Close the connection, and wait until it is."""
        if self._transport is not None and not self._gone.done():
            self._why = "the client was closed"
            self.is_open = False
            self._flush()
            self._transport.close() if not self.is_full else self._transport.abort()
            await asyncio.shield(self._gone)

    def _flush(self) -> None:
        if self._requests and not self._transport.is_closing():
            self._transport.write(b"".join(self._requests))
        self._requests.clear()

    # -- from the transport --------------------------------------------------------------------------

    def connection_made(self, transport: "Any") -> None:
        self._transport = transport
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        head, newline, tail = data.rpartition(b"\n")
        if newline:
            lines = head.split(b"\n")
            if self._rest:
                self._rest += lines[0]
                lines[0] = bytes(self._rest)
                self._rest.clear()
            for line in lines:
                self._take(line)
            if self._closing:
                self.close_when_idle()
        self._rest += tail
        if len(self._rest) > self._max_message:
            self._give_up(f"an answer is longer than {self._max_message} bytes; raise max_message")

    def pause_writing(self) -> None:
        self.is_full = True

    def resume_writing(self) -> None:
        self.is_full = False
        self._let_in()

    def connection_lost(self, error: "Optional[BaseException]") -> None:
        self.is_open = False
        if error is not None:
            self._why = str(error) or type(error).__name__
        self._let_in()
        accepted, self._accepted = self._accepted, {}
        results, self._results = self._results, {}
        for waiting in accepted.values():
            if not waiting.done():
                waiting.set_exception(self._lost())
        for task_id, future in results.items():
            if not future.done():
                future.set_exception(self._lost())
                if task_id in accepted:
                    future.exception()      # told already, to who waits for its being accepted
        if not self._gone.done():
            self._gone.set_result(None)

    # -- answers -------------------------------------------------------------------------------------

    def _take(self, line: bytes) -> None:
        try:
            if len(line) > self._max_message:
                raise ValueError(f"an answer is longer than {self._max_message} bytes; raise max_message")
            message = decode(line)
        except ValueError as error:
            self._give_up(f"what came is no answer of a service: {error}")
            return
        status, task_id = message.get("status"), message.get("id")
        result = result_of(message)
        if result is not None:
            future = self._results.pop(task_id, None)       # type: ignore[arg-type]
            if future is not None:
                future._settle(result)
        elif status == "accepted":
            waiting = self._accepted.pop(task_id, None)     # type: ignore[arg-type]
            if waiting is not None and not waiting.done():
                waiting.set_result(None)
        elif status == "refused":
            self._refused(task_id, TaskRefusedError(str(message.get("message")), str(message.get("reason"))))
        elif status == "closed":
            self._why = f"it said: {message.get('message')}"
            self.is_open = False

    def _refused(self, task_id: "Any", error: TaskRefusedError) -> None:
        future = self._results.pop(task_id, None)
        waiting = self._accepted.pop(task_id, None)
        if waiting is not None:
            if not waiting.done():
                waiting.set_exception(error)
        elif future is not None and not future.done():
            future.set_exception(error)

    def _give_up(self, why: str) -> None:
        self._why = why
        self.is_open = False
        self._transport.abort()

    def _let_in(self) -> None:
        waiting, self._room = self._room, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def _lost(self) -> ServiceConnectionError:
        return ServiceConnectionError(f"the connection with the service at {self._place} is lost: {self._why}. A task without "
                                      "an answer may have run, or may still; the next request connects again")


# -- for everything else -----------------------------------------------------------------------------------


class SyncTaskFuture:
    """What :meth:`SyncClient.request` returns: the result of a task to come. From any thread."""

    def __init__(self, future: TaskFuture) -> None:
        self._future = future
        self._settled = threading.Event()
        self._gone = False                  # its loop ended before it was done
        future.add_done_callback(lambda _: self._settled.set())     # in the loop's thread, as this is

    @property
    def task_id(self) -> str:
        """The id of the task."""
        return self._future.task_id

    def done(self) -> bool:
        """Say whether the result is there."""
        return self._settled.is_set()

    def result(self, timeout: "Optional[float]" = None) -> TaskResult:
        """Return the :class:`TaskResult`; block until it is there.

        :param timeout: seconds to wait at most; None waits for ever, 0 not at all.
        :raises WaitTimeoutError: (a TimeoutError) it is not there in time; the task goes on.
        :raises TaskExecutionError: (a RuntimeError) the task failed, and ``check`` was not False.
        :raises ServiceConnectionError: (a ConnectionError) the service went away.
        :raises SupervisorStoppedError: (a RuntimeError) the client's supervisor has been stopped before it came.
        """
        def acquire(wait: bool, seconds: float = -1.0) -> bool:
            return self._settled.wait(0 if not wait else None if seconds < 0 else seconds)

        if not self._settled.is_set() and not block(acquire, deadline_of(timeout)):
            raise WaitTimeoutError(f"no result of task {self.task_id} after {timeout:g} s of waiting; it goes on")
        if self._gone:
            raise SupervisorStoppedError(f"the supervisor was stopped before the result of task {self.task_id} came")
        result: TaskResult = self._future.result()
        return result

    def _lose(self) -> None:
        if not self._future.done():
            self._gone = True
        self._settled.set()

    def __repr__(self) -> str:
        return f"<SyncTaskFuture {self.task_id} {'done' if self.done() else 'pending'}>"


class SyncClient:
    """Sends tasks to a service and blocks. May be used from any thread, but for loops of its supervisor.

    It is a :class:`Client` in the supervisor's own loop: a context manager, or to be closed with :meth:`close`. The stop of
    the supervisor closes it, too.

    :param place: the address of a service, see :class:`Address`; or a :class:`Service` of this process.
    :param token: what the service asks for, over TCP.
    :param max_message: bytes of an answer, and of a request, at most; 1 MiB unless told.
    :param supervisor: the supervisor whose loop is used; ``task_supervisor`` unless told.
    """

    is_worker = True            # the supervisor stops it before its loops

    def __init__(self, place: "Any", token: "Optional[str]" = None, max_message: int = MAX_MESSAGE,
                 supervisor: "Optional[TaskSupervisor]" = None) -> None:
        self._client = Client(place, token, max_message)
        self._supervisor: TaskSupervisor = task_supervisor if supervisor is None else supervisor
        if not isinstance(self._supervisor, TaskSupervisor):
            raise InvalidTypeError(f"supervisor takes a TaskSupervisor, not {type(supervisor).__name__}")
        self._futures: "weakref.WeakSet[SyncTaskFuture]" = weakref.WeakSet()        # added to in the loop's thread

    def request(self, target: "Union[str, Task, None]", task: "Optional[Task]" = None, *, check: bool = True,
                priority: "Optional[int]" = None, timeout: "Optional[float]" = None) -> SyncTaskFuture:
        """Send a task; return a :class:`SyncTaskFuture` once the service has accepted it.

        :param timeout: seconds to wait at most. Other arguments and errors as :meth:`Client.request`.
        :raises WaitTimeoutError: (a TimeoutError) it is not accepted in time, and may be later.
        """
        return self._run(self._sync(self._client.request(target, task, check=check, priority=priority)), timeout)

    def execute(self, target: "Union[str, Task, None]", task: "Optional[Task]" = None, *, check: bool = True,
                priority: "Optional[int]" = None, timeout: "Optional[float]" = None) -> TaskResult:
        """Send a task and wait for its end; return its :class:`TaskResult`.

        :param timeout: seconds to wait at most. Other arguments and errors as :meth:`Client.execute`.
        :raises WaitTimeoutError: (a TimeoutError) it has not ended in time; it goes on.
        """
        return self._run(self._client.execute(target, task, check=check, priority=priority), timeout)

    def send(self, name: str, payload: "Dict[str, Any]", *, target: "Optional[str]" = None, check: bool = True,
             priority: "Optional[int]" = None, wait: bool = True, timeout: "Optional[float]" = None) -> "Any":
        """Send a task of which only the type's name and the fields as JSON are known here; return its
        :class:`TaskResult`.

        :param wait: False returns a :class:`SyncTaskFuture` once it is accepted. The rest is as in :meth:`execute`.
        """
        metadata = {} if priority is None else {"priority": priority}
        if wait:
            return self._run(self._client._execute(target, name, payload, metadata, check), timeout)
        return self._run(self._sync(self._client._request(target, name, payload, metadata, check)), timeout)

    def close(self) -> None:
        """Close the connection, as :meth:`Client.close` does."""
        self._supervisor.unregister_sync_scheduler(self)
        if self._client._link is not None:
            try:
                self._supervisor._loops.own().run(self._client.close())
            except SupervisorStoppedError:
                pass                    # with the loop, its connections have gone

    def __enter__(self) -> "SyncClient":
        return self

    def __exit__(self, *_: "Any") -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<SyncClient of {self._client.place}>"

    async def _sync(self, request: "Coroutine[Any, Any, TaskFuture]") -> SyncTaskFuture:
        future = SyncTaskFuture(await request)
        self._futures.add(future)
        return future

    def _run(self, call: "Coroutine[Any, Any, R]", timeout: "Optional[float]") -> "R":
        try:
            deadline = deadline_of(timeout)
            own = own_loop(self._supervisor)
            self._supervisor.register_sync_scheduler(self)
        except BaseException:
            call.close()
            raise
        async def in_time() -> "R":
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
            raise WaitTimeoutError(f"no answer of the service at {self._client.place} within {timeout:g} s; what it has accepted "
                                   "goes on") from None

    # -- for the supervisor --------------------------------------------------------------------------

    def stop(self, wait: "Union[bool, float]" = False) -> None:
        """The supervisor is being stopped: the connection is closed when what it has in flight is answered, or cannot be."""
        link = self._client._link
        if link is not None:
            try:
                link.loop.call_soon_threadsafe(link.close_when_idle)
            except RuntimeError:            # the loop is closed
                pass

    def end(self) -> None:
        """Its loop has ended."""
        self._supervisor.unregister_sync_scheduler(self)
        for future in list(self._futures):
            future._lose()

    def reset_after_fork(self) -> None:
        """In a forked process: the connection is the parent's."""
        self._client._link = None
