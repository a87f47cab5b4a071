"""One tree of exceptions, rooted in :class:`SupervisorError`.

Each also derives from the builtin, or from the :mod:`concurrent.futures` error, that a caller would
catch anyway. A message says what happened, to which task, why, and what to do about it.
"""
from __future__ import annotations

from concurrent.futures._base import BrokenExecutor

from ._core_errors import (ExecutionError, InvalidArgumentError, InvalidTypeError, QueueFullError,
                           RemoteError, SupervisorBusyError, SupervisorError,
                           SupervisorStoppedError, TaskCancelledError, TaskRetryError,
                           TaskTimeoutError, WaitDeadlockError, WaitTimeoutError)

try:
    # The same class, without loading the pickler that is written in Python.
    from _pickle import PicklingError
except ImportError:
    from pickle import PicklingError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "SupervisorError", "SupervisorStoppedError", "SupervisorBusyError", "InvalidArgumentError",
    "InvalidTypeError", "TaskNotFoundError", "TaskTimeoutError", "WaitTimeoutError",
    "WaitDeadlockError", "TaskCancelledError", "ProcessDiedError", "PoolBrokenError",
    "RemoteError", "RemoteTraceback", "TaskPicklingError", "ExecutionError", "QueueFullError",
    "InvalidFieldError", "TaskRefusedError", "TaskExecutionError", "ServiceConnectionError",
    "ClosedError", "QueueStateError", "TaskPendingError", "CheckpointError",
    "BackendNotConfiguredError", "ResultBackendError", "ResultNotStoredError", "TaskRetryError",
]


class TaskNotFoundError(SupervisorError, LookupError):
    """No live task has the given id."""


class ProcessDiedError(SupervisorError, BrokenExecutor):
    """The pool process that was running the task died.

    ``pid`` is its process id, ``exitcode`` the value of :attr:`multiprocessing.Process.exitcode`,
    and ``signal`` the number of the signal that ended it, or None.
    """

    def __init__(self, message: str, pid: int | None = None,
                 exitcode: int | None = None) -> None:
        super().__init__(message, pid, exitcode)
        self.message = message
        self.pid = pid
        self.exitcode = exitcode
        self.signal: int | None = -exitcode if exitcode is not None and exitcode < 0 else None

    def __str__(self) -> str:
        return self.message


class PoolBrokenError(SupervisorError, BrokenExecutor):
    """A pool could not start a thread or a process for the task. The cause is chained."""


class RemoteTraceback(SupervisorError):
    """The traceback of a pool process, as text: the ``__cause__`` of the error raised here."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return "\n" + self.text


class TaskPicklingError(SupervisorError, PicklingError):
    """The arguments or the result of a task cannot be pickled. Other tasks are not affected."""


class InvalidFieldError(SupervisorError, ValueError):
    """A field of a service's task is missing, unknown or of a wrong type.

    ``field`` is the path to it, such as ``span.low`` or ``points[3]``.
    """

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message, field)
        self.message = message
        self.field = field

    def __str__(self) -> str:
        return self.message


class TaskRefusedError(SupervisorError, ValueError):
    """A service did not accept a task: its handler will not run.

    ``reason`` is a word:

    - ``invalid``: a field is wrong.
    - ``unknown``: its type, or the name of the service, is unknown.
    - ``busy``: too many tasks wait; try again later.
    - ``stopped``: the service accepts no more tasks.
    - ``message``: the data is not a request.
    """

    def __init__(self, message: str, reason: str = "message") -> None:
        super().__init__(message, reason)
        self.message = message
        self.reason = reason

    def __str__(self) -> str:
        return self.message


class TaskExecutionError(SupervisorError, RuntimeError):
    """A task that a service has accepted failed there. ``error`` is its TaskResultError."""

    def __init__(self, error: Any) -> None:
        super().__init__(error)
        self.error = error

    @property
    def traceback(self) -> str:
        """The traceback of the handler, as text."""
        return str(self.error.traceback)

    def __str__(self) -> str:
        return f"{self.error.ename}: {self.error.evalue}"


class ServiceConnectionError(SupervisorError, ConnectionError):
    """A service cannot be reached, or cannot listen; or the connection ended before the answer."""


class ClosedError(SupervisorError, RuntimeError):
    """A task was submitted to a closed queue or executor. The function will not run."""


class QueueStateError(SupervisorError, RuntimeError):
    """A queue cannot do this in its present state: start a run inside a run, for example."""


class TaskPendingError(SupervisorError, RuntimeError):
    """The result of a task was read from a handle before the task has ended."""


class CheckpointError(SupervisorError, OSError):
    """A file is not a checkpoint, or cannot be used as one. ``filename`` is the file."""

    def __init__(self, message: str, filename: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.filename = filename

    def __str__(self) -> str:
        return self.message         # an OSError with the name of a file would show an errno

    def __reduce__(self) -> Any:
        return type(self), (self.message, self.filename)


class BackendNotConfiguredError(SupervisorError, RuntimeError):
    """A result was requested by the id of its task, and no backend is set that could keep it."""


class ResultBackendError(SupervisorError, OSError):
    """The store of a backend cannot be read or written. Tasks are not affected.

    The cause is chained.
    """


class ResultNotStoredError(SupervisorError, ValueError):
    """The task has ended, but its value could not be kept, or must not be read here."""
