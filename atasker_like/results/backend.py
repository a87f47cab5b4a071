"""The Backend contract: keeps results longer than their tasks.

A backend implements three methods, ``write``, ``read`` and ``delete``, which take ids and texts and
know nothing of tasks. This class builds all other methods from them.
"""
from __future__ import annotations

from time import time

from .._checks import ends_traceback, instance, seconds_or_none
from .._ids import short_id
from .._inspect import described
from ..engine.registry import prefix_of
from ..errors import (BackendNotConfiguredError, InvalidArgumentError, ResultBackendError,
                      TaskNotFoundError)
from .serializer import Serializer
from .stored import StoredResult, TaskState
from .writer import ADDRESS_PREFIX, ResultWriter, is_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Sequence

    from .._checks import Seconds
    from .._generics import T
    from ..engine.task import Task
    from ..supervisor.supervisor import TaskSupervisor
    from .requests import RequestServer


class Backend:
    """The base of all backends, and their contract.

    Override :meth:`write`, :meth:`read` and :meth:`delete`. Override :meth:`keys` if the store can
    list its ids, and :meth:`open`, :meth:`close` and :meth:`check` if they have something to do.

    All of them may block. Several threads may call them at the same time. They are not called in an
    event loop, nor with a lock held. They may raise any exception. A write that raised is repeated
    later, with the same entries or more. A request for a result then raises
    :class:`ResultBackendError`, with the exception as its cause. The entries of a write that
    returned are **stored**: they survive all that the store promises to survive.

    ``atasker_like.testing.BackendContract`` is the test suite of this contract.

    The coroutines of this class are made of these methods, for use by applications.

    :param ttl: seconds until a result expires and is not found any more (default: None, never).
    :param serializer: ``'json'``, or ``'pickle'`` for values that JSON cannot hold (default:
        ``'json'``). Reading a pickle can run any code: use it only if you trust all programs that
        can write to the store.
    :param arguments: True also stores the arguments of tasks (default: False). JSON stores the
        ``repr`` of an argument that it cannot hold.
    :raises InvalidTypeError: (a TypeError) an argument has a wrong type.
    :raises InvalidArgumentError: (a ValueError) an argument has an impossible value.

    >>> class DictBackend(Backend):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.texts = {}
    ...
    ...     def write(self, entries):
    ...         self.texts.update(entries)
    ...
    ...     def read(self, task_id):
    ...         return self.texts.get(task_id)
    ...
    ...     def delete(self, task_id):
    ...         return self.texts.pop(task_id, None) is not None
    >>> backend = DictBackend()
    >>> backend.write([('a', '1')])
    >>> backend.read('a'), backend.delete('a'), backend.read('a')
    ('1', True, None)
    """

    #: Epoch seconds, for expiry. Tests replace it.
    clock: Callable[[], float] = staticmethod(time)

    @ends_traceback
    def __init__(self, ttl: Seconds | None = None, serializer: str = "json",
                 arguments: bool = False) -> None:
        self.ttl: float | None = seconds_or_none("ttl", ttl, above=True)
        self.serializer = serializer
        self.arguments: bool = instance("arguments", arguments, bool, "True or False")
        self.codec: Serializer = Serializer(serializer)
        #: The address at which this process takes requests about its tasks, see :meth:`serve`; None
        #: if it takes none.
        self.address: str | None = None
        # Read without a lock: the list is replaced, never changed.
        self._writers: list[ResultWriter] = []

    # -- for implementations -----------------------------------------------------------------------

    def open(self) -> None:
        """Open the store, or raise.

        May be called again. The first use opens the backend, too.
        """

    def close(self) -> None:
        """Release files and connections.

        May be called again. The next use opens them again.
        """

    def write(self, entries: Sequence[tuple[str, str]]) -> None:
        """Store pairs of id and text.

        A text replaces the previous one of its id.

        If the store can do that, it stores all entries or none. Ids are any text that UTF-8 can
        encode. Texts are JSON in ASCII, most of them short.

        :param entries: pairs of id and text.
        """
        raise NotImplementedError

    def read(self, task_id: str) -> str | None:
        """Return the text of an id, or None if there is none, or no more.

        :param task_id: the id of a task.
        """
        raise NotImplementedError

    def delete(self, task_id: str) -> bool:
        """Remove the text of an id. Return True if there was one.

        :param task_id: the id of a task.
        """
        raise NotImplementedError

    def keys(self) -> Iterable[str]:
        """Return the ids of all texts that have not expired, in any order.

        :raises NotImplementedError: the store cannot list its ids.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot list what it has: it does not "
                                  "override keys()")

    def check(self) -> None:
        """Raise if the store cannot be used."""
        self.read("")

    # -- blocking methods for applications ---------------------------------------------------------

    @ends_traceback
    def find(self, task_id: str) -> StoredResult:
        """Return the record of a task.

        The state of an unknown task is PENDING.

        Results of this process that are not stored yet count.

        :param task_id: the id of a task.
        :raises ResultBackendError: (an OSError) the store cannot be read.
        """
        text = next(filter(None, (writer.find(task_id) for writer in self._writers)), None)
        if text is None:
            text = self._guarded("read", self.read, task_id)
        return self._decoded(task_id, text)

    @ends_traceback
    def ids(self) -> list[str]:
        """Return the ids of all started and ended tasks, in any order.

        Results of this process that are not stored yet count. Blocks; from any thread.

        :raises ResultBackendError: (an OSError) the store cannot be read, or cannot list its ids.

        >>> backend = MemoryBackend()
        >>> backend.write([('a', '{"state":"STARTED"}')])
        >>> backend.ids()
        ['a']
        """
        known: dict[str, None] = {}
        # The writers first: a result that leaves one of them meanwhile is then in the store.
        for writer in self._writers:
            known.update(dict.fromkeys(writer.ids()))
        stored = self._guarded("list ids", lambda: list(self.keys()))
        known.update(dict.fromkeys(key for key in stored if is_id(key)))
        return list(known)

    def _decoded(self, task_id: str, text: str | None) -> StoredResult:
        try:
            return self.codec.decode(task_id, text)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ResultBackendError(f"{self!r} holds something for task {short_id(task_id)} that "
                                     f"is no result ({described(error)}); something else has "
                                     "written to it") from error

    def _guarded(self, what: str, call: Callable[..., T], *arguments: Any) -> T:
        try:
            return call(*arguments)
        except ResultBackendError:
            raise
        except Exception as error:
            raise ResultBackendError(f"{self!r} failed to {what}: {described(error)}") from error

    @ends_traceback
    def flush(self, timeout: Seconds | None = None) -> None:
        """Block until all results of this process so far are stored.

        :param timeout: seconds to wait at most (default: None, no limit).
        :raises ResultBackendError: (an OSError) the store cannot be written. The results stay in
            memory, and the write is repeated.
        :raises WaitTimeoutError: (a TimeoutError) the results were not stored in time.
        :raises WaitDeadlockError: (a RuntimeError) ``write()`` of the backend calls this.
        """
        for writer in self._writers:
            writer.flush(timeout)

    # -- coroutines --------------------------------------------------------------------------------

    @ends_traceback
    async def connect(self) -> None:
        """Get ready.

        :raises ResultBackendError: (an OSError) the store cannot be used.
        """
        await in_thread(self._guarded, "open", self.open)

    async def disconnect(self) -> None:
        """Release files and connections. The next use opens them again."""
        await in_thread(self._guarded, "close", self.close)

    @ends_traceback
    async def set_state(self, task_id: str, state: TaskState | str) -> None:
        """Store a state that is not final. It replaces the text of the id.

        The state is stored when this returns.

        :param task_id: the id of a task.
        :param state: a :class:`TaskState` or its name.
        :raises InvalidArgumentError: (a ValueError) the state is SUCCESS or FAILURE, which need a
            result.
        :raises ResultBackendError: (an OSError) the store cannot be written.
        """
        try:
            state = TaskState(state)
        except ValueError:
            raise InvalidArgumentError(f"state takes a TaskState, not {state!r}") from None
        if state.is_final:
            raise InvalidArgumentError(f"{state} comes with a result or an error; use "
                                       "store_result()")
        await self.store_result(task_id, StoredResult(task_id, state))

    @ends_traceback
    async def store_result(self, task_id: str, result: StoredResult) -> None:
        """Store a result. It replaces the text of the id.

        The result is stored when this returns.

        :param task_id: the id of a task.
        :param result: the record.
        :raises ResultBackendError: (an OSError) the store cannot be written.
        :raises InvalidTypeError: (a TypeError) the result is not a :class:`StoredResult`.
        """
        text = self.codec.encode(instance("store_result", result, StoredResult, "a StoredResult"))
        await in_thread(self._guarded, "write", self.write, [(task_id, text)])

    @ends_traceback
    async def get_result(self, task_id: str) -> StoredResult | None:
        """Return the record of an id in the store, or None.

        :param task_id: the id of a task.
        :raises ResultBackendError: (an OSError) the store cannot be read.
        """
        text = await in_thread(self._guarded, "read", self.read, task_id)
        return None if text is None else self._decoded(task_id, text)

    @ends_traceback
    async def get_ids(self) -> list[str]:
        """Return the ids in the store: another name of :meth:`ids`."""
        return await in_thread(self.ids)

    @ends_traceback
    async def delete_result(self, task_id: str) -> bool:
        """Remove the text of an id. Return True if there was one.

        :param task_id: the id of a task.
        :raises ResultBackendError: (an OSError) the store cannot be written.
        """
        return await in_thread(self._delete, task_id)

    def _delete(self, task_id: str) -> bool:
        for writer in self._writers:
            if writer.find(task_id) is not None:
                writer.flush()          # or the result would be stored after it was deleted
        return self._guarded("delete", self.delete, task_id)

    async def healthcheck(self) -> bool:
        """Return True if the store can be used."""
        try:
            await in_thread(self.check)
        except Exception:
            return False
        return True

    # -- requests of other processes ---------------------------------------------------------------

    @ends_traceback
    def serve(self, address: Any) -> RequestServer:
        """Let other processes cancel tasks of this one.

        From any thread, except from own loops.

        ``AsyncResult(task_id, backend).cancel()`` there finds the address in the store. Only
        programs of the same user can connect.

        :param address: the path of a Unix domain socket, for this process alone.
        :return: the server, with ``address`` and ``close()``. It is a context manager. A stop of
            the supervisor closes it, too.
        :raises BackendNotConfiguredError: (a RuntimeError) no supervisor keeps its results here.
        :raises InvalidArgumentError: (a ValueError) the address is not the path of a socket.
        :raises ServiceConnectionError: (a ConnectionError) the path is in use, or not available.
        :raises SupervisorStoppedError: (a RuntimeError) the supervisor has been stopped.
        """
        from .requests import RequestServer

        supervisor = self._writers[0].supervisor if self._writers else None
        if supervisor is None:
            raise BackendNotConfiguredError(f"no supervisor keeps its results in {self!r}, so "
                                            "there are no tasks to ask for; call "
                                            "task_supervisor.set_result_backend() first")
        return RequestServer(self, supervisor, address)

    def _publish_address(self, address: str | None) -> None:
        """Store the address for requests, for other processes.

        None withdraws it.

        :raises ResultBackendError: (an OSError) the store cannot be written.
        """
        self.address = address
        for writer in self._writers:
            if address is not None:
                writer.publish_address()

    def _cancel_remote(self, task_id: str) -> bool:
        """Ask the process of a task to cancel it. (blocks)"""
        from .requests import ask_to_cancel

        if self.find(task_id).state.is_final:
            return False
        address = self._address_at(task_id)
        if address is None:     # it waits, or it began before serve()
            address = self._address_at(ADDRESS_PREFIX + prefix_of(task_id))
        answer = None if address is None else ask_to_cancel(address, task_id)
        if answer is not None:
            return answer
        if self.find(task_id).state.is_final:       # it has ended meanwhile
            return False
        if address is None:
            raise TaskNotFoundError(f"no process can be asked to cancel task {short_id(task_id)}: "
                                    f"{self!r} has no address for it; its process must keep "
                                    "results there and call serve() of its backend")
        raise TaskNotFoundError(f"the process at {address} has no task {short_id(task_id)}, and "
                                f"{self!r} does not say how it ended; that process may be another "
                                "one by now")

    def _address_at(self, key: str) -> str | None:
        return self.codec.address_in(self._guarded("read", self.read, key))

    # -- for the supervisor ------------------------------------------------------------------------

    def attach(self, supervisor: TaskSupervisor) -> ResultWriter:
        """Return the writer of a supervisor's results.

        ``set_result_backend`` calls this.

        :raises ResultBackendError: (an OSError) the store cannot be used.
        """
        self._guarded("open", self.open)
        writer = ResultWriter(supervisor, self)
        self._writers = [*self._writers, writer]
        return writer

    def detach(self, writer: ResultWriter) -> None:
        """Remove the writer of a supervisor. It has stored all results."""
        self._writers = [other for other in self._writers if other is not writer]

    def _find_task(self, task_id: str) -> Task[Any] | None:
        """Return the task of an id if it is here and not encoded yet."""
        for writer in self._writers:
            # In this order: a task is in the writer before it leaves the registry.
            supervisor = writer.supervisor
            task = None if supervisor is None else supervisor.get_task(task_id)
            task = task or writer.find_task(task_id)
            if task is not None:
                return task
        return None

    def _describe(self, task: Task[Any]) -> StoredResult:
        """Return the current record of a task of this process."""
        call = next(filter(None, [writer._arguments.get(task) for writer in self._writers]), None)
        if call is None and self.arguments and not task.done():
            call = task._args, task._kwargs
        return self._decoded(task.id, self.codec.encode_task(task, call))

    def __enter__(self) -> Backend:
        self.open()
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()


async def in_thread(call: Callable[..., T], *arguments: Any) -> T:
    """Make a call that blocks, without blocking the running loop."""
    from asyncio import get_running_loop

    return await get_running_loop().run_in_executor(None, call, *arguments)
