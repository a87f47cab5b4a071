"""Requests about the tasks of another process: one service, that takes the id of a task and cancels it.

::

    AsyncResult.cancel() ── the store says where ──> socket ──> RequestServer ──> Task.cancel()

The other end is a plain socket, so that a process that only asks needs no loop and no supervisor.
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
    from typing import Any

    from .._checks import Seconds
    from ..supervisor.supervisor import TaskSupervisor
    from .backend import Backend

__all__ = ["RequestServer", "ask_to_cancel"]

#: Seconds that the answer of another process may take.
TIMEOUT = 10.0


class Cancel(Task):
    """Cancel a task, by its id."""

    parallel = True

    task_id: str


class RequestServer(Server):
    """Takes requests of other processes about the tasks of this one: made by :meth:`Backend.serve`.

    It does not keep the program alive.
    """

    def __init__(self, backend: Backend, supervisor: TaskSupervisor, address: Any) -> None:
        if Address(address).path is None:
            raise InvalidArgumentError(f"{Address(address)} is an address of TCP; requests about results come over a Unix domain "
                                       "socket only, such as './results.sock'")
        service = Service("results", supervisor)
        # At once, in a thread: what waits for the end of a task may be code of the application's.
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
        self._forget()
        return super().close(wait)

    def _worker_reset_after_fork(self) -> None:
        self._forget()
        super()._worker_reset_after_fork()

    def _forget(self) -> None:
        if self._backend.address == self.address:
            self._backend._publish_address(None)

    def _cancel(self, request: Cancel) -> bool | None:
        """Cancel a task; return None if this process does not know it."""
        task = self._backend._find_task(request.task_id)
        if task is not None:
            return task.cancel()
        # One that has just ended may be on its way to the store, and is not seen there by the asker.
        return False if self._backend.find(request.task_id).state.is_final else None


def ask_to_cancel(address: str, task_id: str) -> bool | None:
    """Ask the process at an address to cancel a task; return its answer, None if it does not have the task.

    :raises ServiceConnectionError: (a ConnectionError) there is no such process, or it does not answer.
    :raises ResultBackendError: (an OSError) The address is not a Unix domain socket of this machine.
    """
    if not address.startswith("unix:"):     # the store says so, and any program may have written that
        raise ResultBackendError(f"the store names {address!r} as the address of task {short_id(task_id)}, which is no Unix domain "
                                 "socket; something else has written to it")
    task = Cancel(task_id)
    line = encode_request(os.urandom(8).hex(), None, task.type(), task.payload(), {}, False)
    try:
        message = decode(_exchange(Address(address).path, line))
    except (OSError, ValueError) as error:
        raise ServiceConnectionError(f"the process of task {short_id(task_id)} cannot be asked at {address}: {error}; it may have "
                                     "ended") from error
    result = result_of(message)
    if result is None:
        raise ServiceConnectionError(f"the process at {address} takes no request to cancel task {short_id(task_id)}: "
                                     f"{message.get('message')}")
    answer: bool | None = result.unwrap()
    return answer


def _exchange(path: str | None, line: bytes) -> bytes:
    """Send a line, and return the one that comes back."""
    assert path is not None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(TIMEOUT)
        connection.connect(path)
        connection.sendall(line)
        answer = b""
        while not answer.endswith(b"\n"):
            part = connection.recv(MAX_MESSAGE)
            if not part or len(answer) > MAX_MESSAGE:
                raise ConnectionError("it closed the connection without an answer")
            answer += part
        return answer[:-1]
