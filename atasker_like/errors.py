"""One tree of exceptions, rooted in :class:`SupervisorError`.

Each also derives from the builtin, or from the :mod:`concurrent.futures` error, that a caller would catch
anyway. A message says what happened, to which task, why, and what to do about it.
"""
from __future__ import annotations

from concurrent.futures._base import BrokenExecutor, CancelledError
from queue import Full

try:
    from _pickle import \
        PicklingError  # the same class, without loading the pickler written in Python
except ImportError:
    from pickle import PicklingError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Sequence

__all__ = [
    "SupervisorError", "SupervisorStoppedError", "SupervisorBusyError", "InvalidArgumentError", "InvalidTypeError",
    "TaskNotFoundError", "TaskTimeoutError", "WaitTimeoutError", "WaitDeadlockError", "TaskCancelledError",
    "ProcessDiedError", "PoolBrokenError", "RemoteError", "RemoteTraceback", "TaskPicklingError",
    "ExecutionError", "QueueFullError", "InvalidFieldError", "TaskRefusedError", "TaskExecutionError",
    "ServiceConnectionError", "ClosedError", "QueueStateError", "TaskPendingError", "CheckpointError",
    "BackendNotConfiguredError", "ResultBackendError", "ResultNotStoredError", "TaskRetryError",
]


class SupervisorError(Exception):
    """The root of everything that this library raises."""


class SupervisorStoppedError(SupervisorError, RuntimeError):
    """A task was submitted to a supervisor that has been stopped. The function will not run."""


class SupervisorBusyError(SupervisorError, RuntimeError):
    """A signal handler or a finalizer wants to wait, in a thread that is in the middle of a step of the supervisor; or
    a worker for itself."""


class InvalidArgumentError(SupervisorError, ValueError):
    """An argument has an impossible value."""


class InvalidTypeError(SupervisorError, TypeError):
    """An argument has the wrong type, or is not known at all."""


class TaskNotFoundError(SupervisorError, LookupError):
    """No live task has the id that was asked for."""


class TaskTimeoutError(SupervisorError, TimeoutError):
    """A task ran longer than its ``timeout``. The waiting of a caller ends in :class:`WaitTimeoutError`."""


class WaitTimeoutError(SupervisorError, TimeoutError):
    """The caller's own patience ended. The task itself goes on."""


class WaitDeadlockError(SupervisorError, RuntimeError):
    """A wait that can never end was about to begin: a task waits for itself, tasks wait for each other in a circle, or
    blocking code waits for a coroutine task in the event loop that this task needs. The message names the tasks.

    Waits that something else may still end, such as a timeout, are logged as a warning instead.
    """


class TaskCancelledError(SupervisorError, CancelledError):
    """The task was cancelled, so it has no result."""


class TaskRetryError(SupervisorError, RuntimeError):
    """A task asked for another attempt with ``retry()``, without an error to report, or outside of its function."""


class RetryRequest(BaseException):
    """Raised by ``retry()`` in the function of a task, for the pool that runs it; never seen outside of both.

    No Exception: a function that catches every error does not catch this one.
    """

    def __init__(self, countdown: float | None, error: BaseException | None) -> None:
        super().__init__()
        self.countdown = countdown
        self.error = error

    def __str__(self) -> str:
        return "the function of a task asks for another attempt; nothing but its pool may catch this"


class ProcessDiedError(SupervisorError, BrokenExecutor):
    """The pool process that was running the task died.

    ``pid`` is its process id, ``exitcode`` what :attr:`multiprocessing.Process.exitcode` says, and ``signal``
    the number of the signal that ended it, or None.
    """

    def __init__(self, message: str, pid: int | None = None, exitcode: int | None = None) -> None:
        super().__init__(message, pid, exitcode)
        self.message = message
        self.pid = pid
        self.exitcode = exitcode
        self.signal = -exitcode if exitcode is not None and exitcode < 0 else None

    def __str__(self) -> str:
        return self.message


class PoolBrokenError(SupervisorError, BrokenExecutor):
    """A pool could not start a thread or a process for the task. The cause is chained."""


class RemoteTraceback(SupervisorError):
    """The traceback of a pool process, as text. It is the ``__cause__`` of the error raised here."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return "\n" + self.text


class RemoteError(SupervisorError, RuntimeError):
    """An exception of a pool process that could not be rebuilt in this process.

    ``type_name``, ``message`` and ``traceback`` say what it was, as text. ``reason`` says why it could not be
    rebuilt, and what its class has to define for that.
    """

    def __init__(self, type_name: str, message: str, traceback: str = "", reason: str = "") -> None:
        super().__init__(type_name, message, traceback, reason)
        self.type_name = type_name
        self.message = message
        self.traceback = traceback
        self.reason = reason

    def __str__(self) -> str:
        why = f" (this error could not be rebuilt here: {self.reason})" if self.reason else ""
        return f"{self.type_name}: {self.message}{why}"


class TaskPicklingError(SupervisorError, PicklingError):
    """Arguments or a result could not cross to or from a pool process. Only this task is affected."""


class ExecutionError(SupervisorError, RuntimeError):
    """Some tasks failed or were cancelled. ``results`` is a tuple of TaskResults, in order."""

    def __init__(self, message: str, results: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.results = tuple(results)


class QueueFullError(SupervisorError, Full):
    """A bounded queue has no room for the task. The function will not run."""


class InvalidFieldError(SupervisorError, ValueError):
    """A field of a service's task is missing, unknown or of a wrong type. ``field`` is the way to it, such as
    ``span.low`` or ``points[3]``."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message, field)
        self.message = message
        self.field = field

    def __str__(self) -> str:
        return self.message


class TaskRefusedError(SupervisorError, ValueError):
    """A service did not accept a task: its handler will not run.

    ``reason`` is a word: ``invalid`` (its fields), ``unknown`` (its type, or the name of the service), ``busy`` (too many
    wait; later may do), ``stopped`` (the service takes no more) or ``message`` (what was sent is no request).
    """

    def __init__(self, message: str, reason: str = "message") -> None:
        super().__init__(message, reason)
        self.message = message
        self.reason = reason

    def __str__(self) -> str:
        return self.message


class TaskExecutionError(SupervisorError, RuntimeError):
    """A task that a service accepted has failed there. ``error`` is its TaskResultError."""

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
    """A service cannot be reached, or went away before it answered."""


class ClosedError(SupervisorError, RuntimeError):
    """A queue that takes no more tasks was given one. The function will not run."""


class QueueStateError(SupervisorError, RuntimeError):
    """A queue was asked for something that does not go with what it is doing: a run inside a run, for example."""


class TaskPendingError(SupervisorError, RuntimeError):
    """A handle was asked for the result of a task that has not ended."""


class CheckpointError(SupervisorError, OSError):
    """A file is not a checkpoint, or cannot be used as one. ``filename`` is the file."""

    def __init__(self, message: str, filename: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.filename = filename

    def __str__(self) -> str:
        return self.message         # an OSError with a file's name would speak of an errno

    def __reduce__(self) -> Any:
        return type(self), (self.message, self.filename)


class BackendNotConfiguredError(SupervisorError, RuntimeError):
    """A result was asked for by its id, and there is no backend that could have kept it."""


class ResultBackendError(SupervisorError, OSError):
    """The store of a backend cannot be read or written. Tasks are not affected. The cause is chained."""


class ResultNotStoredError(SupervisorError, ValueError):
    """The task has ended, but its value could not be kept, or must not be read here."""
