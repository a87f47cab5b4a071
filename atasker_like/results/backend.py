"""The Backend contract: where results outlive their tasks.

Whoever writes a backend writes three methods, ``write``, ``read`` and ``delete``, which take ids and texts and know
nothing of tasks. Everything else is made of these here.
"""
from __future__ import annotations

from time import time

from .._checks import seconds_or_none
from .._ids import short_id
from .._inspect import described
from ..engine.registry import prefix_of
from ..errors import (BackendNotConfiguredError, InvalidArgumentError, InvalidTypeError,
                      ResultBackendError, TaskNotFoundError)
from .serializer import Serializer
from .stored import StoredResult, TaskState
from .writer import ADDRESS_PREFIX, ResultWriter, is_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Sequence, TypeVar

    from .._checks import Seconds
    from ..engine.task import Task
    from ..supervisor.supervisor import TaskSupervisor
    from .requests import RequestServer

    T = TypeVar("T")

__all__ = ["Backend"]


class Backend:
    """The base of all backends, and the contract for people who write one.

    Override :meth:`write`, :meth:`read` and :meth:`delete`; :meth:`keys` if the store can list what it has; :meth:`open`,
    :meth:`close` and :meth:`check` if there is something to open, close or check. All of them block, and are called from any thread, several at a time; none is
    called in an event loop, nor with a lock held. They may raise whatever they like: a write that raised is brought again
    later, the same entries or more, and who asks for a result gets :class:`ResultBackendError` with the cause chained.
    A write that has returned is **stored**: it must survive whatever the store promises to survive.
    ``atasker_like.testing.BackendContract`` is the test suite of this contract.

    The coroutines are for everyone who has a backend, and are made of these methods.

    :param ttl: seconds after which a result may be forgotten, and is not found any more; None keeps it.
    :param serializer: ``'json'``, or ``'pickle'`` for values that JSON cannot hold. Reading a pickle runs what it says,
        so ask for it only where all who can write to the store are trusted.
    :param arguments: True stores the arguments of tasks as well (default: False). What JSON cannot hold is stored as its
        ``repr``, with ``'pickle'`` as it is.
    :raises InvalidTypeError: (a TypeError) a value of a wrong type.
    :raises InvalidArgumentError: (a ValueError) an impossible value.
    """

    #: What expiry goes by: epoch seconds. Tests put another clock in its place.
    clock: Callable[[], float] = staticmethod(time)

    def __init__(self, ttl: Seconds | None = None, serializer: str = "json",
                 arguments: bool = False) -> None:
        if not isinstance(arguments, bool):
            raise InvalidTypeError(f"arguments takes True or False, not {type(arguments).__name__}")
        self.ttl = seconds_or_none("ttl", ttl, above=True)
        self.serializer = serializer
        self.arguments = arguments
        self.coder = Serializer(serializer)
        #: The address where this process takes requests about its tasks, see :meth:`serve`; None if it takes none.
        self.address: str | None = None
        self._recorders: list[ResultWriter] = []      # replaced, never changed, so that reading it needs no lock

    # -- what a backend of your own overrides --------------------------------------------------------

    def open(self) -> None:
        """Get ready, or raise. May be called again, and need not be called: the first use does it then."""

    def close(self) -> None:
        """Let go of files and connections. May be called again; the next use opens it again."""

    def write(self, entries: Sequence[tuple[str, str]]) -> None:
        """Store texts by id, all of them or none if the store can do that; a later text of an id replaces an earlier one.

        Ids are any text that UTF-8 can hold. Texts are JSON in ASCII, most of them short.
        """
        raise NotImplementedError

    def read(self, task_id: str) -> str | None:
        """Return the text stored last for an id; None when there is none, or its time is over."""
        raise NotImplementedError

    def delete(self, task_id: str) -> bool:
        """Forget an id; say whether something was stored for it."""
        raise NotImplementedError

    def keys(self) -> Iterable[str]:
        """Return the ids of all that is stored and not forgotten, in any order."""
        raise NotImplementedError(f"{type(self).__name__} cannot list what it has: it does not override keys()")

    def check(self) -> None:
        """Raise if the store cannot be used."""
        self.read("")

    # -- for who asks, blocking ----------------------------------------------------------------------

    def find(self, task_id: str) -> StoredResult:
        """Return what is known of a task: PENDING when nothing is. What this process has not stored yet counts.

        :raises ResultBackendError: (an OSError) the store cannot be read.
        """
        text = None
        for recorder in self._recorders:
            text = recorder.find(task_id)
            if text is not None:
                break
        else:
            text = self._guarded("read", self.read, task_id)
        return self._decoded(task_id, text)

    def ids(self) -> list[str]:
        """Return the ids of all tasks of which something is known, in any order: those that have begun or ended.

        What this process has not stored yet counts. Blocks; from any thread.

        :raises ResultBackendError: (an OSError) the store cannot be read, or cannot list what it has.

        >>> backend = MemoryBackend()
        >>> backend.write([('a', '{"state":"STARTED"}')])
        >>> backend.ids()
        ['a']
        """
        known: dict[str, None] = {}
        for recorder in self._recorders:        # first: what leaves one meanwhile is in the store by then
            known.update(dict.fromkeys(recorder.ids()))
        stored = self._guarded("list ids", lambda: list(self.keys()))
        known.update(dict.fromkeys(key for key in stored if is_id(key)))
        return list(known)

    def _decoded(self, task_id: str, text: str | None) -> StoredResult:
        try:
            return self.coder.decode(task_id, text)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ResultBackendError(f"{self!r} holds something for task {short_id(task_id)} that is no result "
                                     f"({described(error)}); something else has written to it") from error

    def _guarded(self, what: str, call: Callable[..., T], *arguments: Any) -> T:
        try:
            return call(*arguments)
        except ResultBackendError:
            raise
        except Exception as error:
            raise ResultBackendError(f"{self!r} failed to {what}: {described(error)}") from error

    def flush(self, timeout: Seconds | None = None) -> None:
        """Block until every result of this process that has come by now is stored.

        :param timeout: seconds; None waits as long as it takes.
        :raises ResultBackendError: (an OSError) the store cannot be written; the results are held, and tried again.
        :raises WaitTimeoutError: (a TimeoutError) it took longer.
        """
        for recorder in self._recorders:
            recorder.flush(timeout)

    # -- the coroutines ------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Get ready.

        :raises ResultBackendError: (an OSError) the store cannot be used.
        """
        await in_thread(self._guarded, "open", self.open)

    async def disconnect(self) -> None:
        """Let go of files and connections; the next use opens them again."""
        await in_thread(self._guarded, "close", self.close)

    async def set_state(self, task_id: str, state: TaskState | str) -> None:
        """Store a state that is not final: what was stored for the id is replaced. Stored when this returns.

        :raises InvalidArgumentError: (a ValueError) SUCCESS or FAILURE, which come with a result.
        :raises ResultBackendError: (an OSError) the store cannot be written.
        """
        try:
            state = TaskState(state)
        except ValueError:
            raise InvalidArgumentError(f"state takes a TaskState, not {state!r}") from None
        if state.is_final:
            raise InvalidArgumentError(f"{state} comes with a result or an error; use store_result()")
        await self.store_result(task_id, StoredResult(task_id, state))

    async def store_result(self, task_id: str, result: StoredResult) -> None:
        """Store a result; what was stored for the id is replaced. Stored when this returns.

        :raises ResultBackendError: (an OSError) the store cannot be written.
        """
        if not isinstance(result, StoredResult):
            raise InvalidTypeError(f"store_result takes a StoredResult, not {type(result).__name__}")
        text = self.coder.encode(result)
        await in_thread(self._guarded, "write", self.write, [(task_id, text)])

    async def get_result(self, task_id: str) -> StoredResult | None:
        """Return what is in the store for an id, or None.

        :raises ResultBackendError: (an OSError) the store cannot be read.
        """
        text = await in_thread(self._guarded, "read", self.read, task_id)
        return None if text is None else self._decoded(task_id, text)

    async def get_ids(self) -> list[str]:
        """See :meth:`ids`."""
        return await in_thread(self.ids)

    async def delete_result(self, task_id: str) -> bool:
        """Forget an id; say whether something was stored for it.

        :raises ResultBackendError: (an OSError) the store cannot be written.
        """
        return await in_thread(self._delete, task_id)

    def _delete(self, task_id: str) -> bool:
        for recorder in self._recorders:
            if recorder.find(task_id) is not None:
                recorder.flush()            # or it would be stored after it has been deleted
        return self._guarded("delete", self.delete, task_id)

    async def healthcheck(self) -> bool:
        """Say whether the store can be used."""
        try:
            await in_thread(self.check)
        except Exception:
            return False
        return True

    # -- requests of other processes -----------------------------------------------------------------

    def serve(self, address: Any) -> RequestServer:
        """Let other processes cancel tasks of this one: ``AsyncResult(task_id, backend).cancel()`` there finds its way here.

        The store has the address, beside the states of tasks. Only programs of the same user can connect.

        :param address: the path of a Unix domain socket, for this process alone.
        :return: the server, which has ``address`` and ``close()``. It is a context manager; a stop of the supervisor
            closes it, too.
        :raises BackendNotConfiguredError: (a RuntimeError) no supervisor keeps its results here.
        :raises InvalidArgumentError: (a ValueError) it is no path of a socket.
        :raises OSError: the path is taken, or not to be had.
        :raises SupervisorStoppedError: (a RuntimeError) the supervisor has been stopped.

        From any thread, but for loops of the supervisor.
        """
        from .requests import RequestServer

        supervisor = self._recorders[0].supervisor if self._recorders else None
        if supervisor is None:
            raise BackendNotConfiguredError(f"no supervisor keeps its results in {self!r}, so there are no tasks to ask for; "
                                            "call task_supervisor.set_result_backend() first")
        return RequestServer(self, supervisor, address)

    def _publish_address(self, address: str | None) -> None:
        """Put the address where requests go into the store; None takes none any more. Called by the server.

        :raises ResultBackendError: (an OSError) the store cannot be written.
        """
        self.address = address
        for recorder in self._recorders:
            if address is not None:
                recorder.publish_address()

    def _cancel_remote(self, task_id: str) -> bool:
        """Have the process that has a task cancel it; see :meth:`AsyncResult.cancel`. Blocks."""
        from .requests import ask_to_cancel

        if self.find(task_id).state.is_final:
            return False
        address = self.coder.address_in(self._guarded("read", self.read, task_id))
        if address is None:             # it waits, or its process was not told to serve when it began
            address = self.coder.address_in(self._guarded("read", self.read, ADDRESS_PREFIX + prefix_of(task_id)))
        answer = None if address is None else ask_to_cancel(address, task_id)
        if answer is not None:
            return answer
        if self.find(task_id).state.is_final:       # it has ended meanwhile
            return False
        if address is None:
            raise TaskNotFoundError(f"no process can be asked to cancel task {short_id(task_id)}: nothing in {self!r} says where it "
                                    "is; its process must keep results there and call serve() of its backend")
        raise TaskNotFoundError(f"the process at {address} has no task {short_id(task_id)}, and {self!r} does not say how it "
                                "ended; that process may be another one by now")

    # -- of the supervisor ---------------------------------------------------------------------------

    def attach(self, supervisor: TaskSupervisor) -> ResultWriter:
        """Called by ``set_result_backend``: return what brings a supervisor's results here.

        :raises ResultBackendError: (an OSError) the store cannot be used.
        """
        self._guarded("open", self.open)
        recorder = ResultWriter(supervisor, self)
        self._recorders = [*self._recorders, recorder]
        return recorder

    def detach(self, recorder: ResultWriter) -> None:
        """The supervisor has another backend now, or none; what was on its way has been stored."""
        self._recorders = [other for other in self._recorders if other is not recorder]

    def _find_task(self, task_id: str) -> Task[Any] | None:
        """Return the task of an id if it is in this process: alive, or ended and not on its way to the store yet."""
        for recorder in self._recorders:
            # In this order: a task is entered there before it leaves the registry.
            supervisor = recorder.supervisor
            task = (None if supervisor is None else supervisor.get_task(task_id)) or recorder.find_task(task_id)
            if task is not None:
                return task
        return None

    def _describe(self, task: Task[Any]) -> StoredResult:
        """Return what is to be stored of a task of this process, as it is now."""
        call = next(filter(None, [recorder.arguments_of(task) for recorder in self._recorders]), None)
        if call is None and self.arguments and not task.done():
            call = task._args, task._kwargs
        return self._decoded(task.id, self.coder.encode_task(task, call))

    def __enter__(self) -> Backend:
        self.open()
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()


async def in_thread(call: Callable[..., T], *arguments: Any) -> T:
    """Make a call that blocks, without blocking the running loop."""
    from asyncio import get_running_loop

    return await get_running_loop().run_in_executor(None, call, *arguments)
