"""Requests about the tasks of another process: cancel a task by its id.

::

    AsyncResult.cancel() ── address from the store ──> socket ──> RequestServer ──> Task.cancel()

The client end is a plain socket: a process that only asks needs no loop and no supervisor.
"""
from __future__ import annotations

import os
import socket

from .._ids import short_id
from ..constants import TASK_CRITICAL
from ..errors import InvalidArgumentError, ResultBackendError, ServiceConnectionError
from ..service.addresses import Address
from ..service.server import Server
from ..service.service import Service
from ..service.task import Task
from ..service.wire import MAX_MESSAGE, decode, encode_request, result_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from .._checks import Seconds
    from ..engine.task import Task as LiveTask
    from ..supervisor.supervisor import TaskSupervisor
    from .stored import StoredResult

    class TaskStore(Protocol):
        """The backend, as far as requests need it."""

        address: str | None

        def find(self, task_id: str) -> StoredResult: ...
        def _find_task(self, task_id: str) -> LiveTask[Any] | None: ...
        def _publish_address(self, address: str | None) -> None: ...


#: Seconds to wait for the answer of another process.
TIMEOUT = 10.0


class Cancel(Task):
    """Cancel a task by its id."""

    parallel = True

    task_id: str


class RequestServer(Server):
    """Takes requests of other processes about the tasks of this one.

    It does not keep the program alive.
    """

    def __init__(self, backend: TaskStore, supervisor: TaskSupervisor, address: Any) -> None:
        if Address(address).path is None:
            raise InvalidArgumentError(f"{Address(address)} is an address of TCP; requests about "
                                       "results come over a Unix domain socket only, such as "
                                       "'./results.sock'")
        service = Service("results", supervisor)
        # In a thread, since the end of a task may run code of the application. CRITICAL tasks start
        # at once.
        service.handler(Cancel, priority=TASK_CRITICAL, ignore_result=True)(self._cancel)
        super().__init__(service, address, None)
        self._worker_holds_exit = False
        self._backend = backend
        self.start()
        try:
            backend._publish_address(self.address)
        except BaseException:
            self.close(False)
            raise

    def close(self, wait: bool | Seconds = True) -> bool:
        """See :meth:`Server.close`."""
        self._withdraw_address()
        return super().close(wait)

    def _worker_reset_after_fork(self) -> None:
        self._withdraw_address()
        super()._worker_reset_after_fork()

    def _withdraw_address(self) -> None:
        if self._backend.address == self.address:
            self._backend._publish_address(None)

    def _cancel(self, request: Cancel) -> bool | None:
        """Cancel a task, or return None if this process does not have it."""
        task = self._backend._find_task(request.task_id)
        if task is not None:
            return task.cancel()
        # A task that has just ended may not be in the store yet, so the client cannot see its end.
        return False if self._backend.find(request.task_id).state.is_final else None


def ask_to_cancel(address: str, task_id: str) -> bool | None:
    """Ask the process at an address to cancel a task.

    :return: the result of :meth:`Task.cancel`, or None if the process does not have the task.
    :raises ServiceConnectionError: (a ConnectionError) there is no such process, or no answer.
    :raises ResultBackendError: (an OSError) the address is not that of a Unix domain socket.
    """
    if not address.startswith("unix:"):     # untrusted: any program may have written to the store
        raise ResultBackendError(f"the store names {address!r} as the address of task "
                                 f"{short_id(task_id)}, which is no Unix domain socket; something "
                                 "else has written to it")
    task = Cancel(task_id)
    line = encode_request(os.urandom(8).hex(), None, task.type(), task.payload(), {}, False)
    try:
        message = decode(_exchange(Address(address).path, line))
    except (OSError, ValueError) as error:
        raise ServiceConnectionError(f"the process of task {short_id(task_id)} cannot be asked at "
                                     f"{address}: {error}; it may have ended") from error
    result = result_of(message)
    if result is None:
        raise ServiceConnectionError(f"the process at {address} takes no request to cancel task "
                                     f"{short_id(task_id)}: {message.get('message')}")
    answer: bool | None = result.unwrap()
    return answer


def _exchange(path: str | None, line: bytes) -> bytes:
    """Send a line, and return the line of the answer."""
    assert path is not None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(TIMEOUT)
        connection.connect(path)
        connection.sendall(line)
        with connection.makefile("rb") as answers:
            answer = answers.readline(MAX_MESSAGE + 1)
    if not answer.endswith(b"\n"):
        raise ConnectionError("it closed the connection without an answer")
    return answer[:-1]
