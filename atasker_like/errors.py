"""One tree of exceptions, rooted in :class:`SupervisorError`.

Each also derives from the builtin, or from the :mod:`concurrent.futures` error, that a caller would
catch anyway. A message says what happened, to which task, why, and what to do about it.
"""
from __future__ import annotations

import sys
from concurrent.futures._base import (BrokenExecutor, CancelledError,
                                      TimeoutError as FutureTimeoutError)
from queue import Full

try:
    # The same class, without loading the pickler that is written in Python.
    from _pickle import PicklingError
except ImportError:
    from pickle import PicklingError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Sequence

__all__ = [
    "SupervisorError", "SupervisorStoppedError", "SupervisorBusyError", "InvalidArgumentError",
    "InvalidTypeError", "TaskNotFoundError", "TaskTimeoutError", "WaitTimeoutError",
    "WaitDeadlockError", "TaskCancelledError", "ProcessDiedError", "PoolBrokenError",
    "RemoteError", "RemoteTraceback", "TaskPicklingError", "ExecutionError", "QueueFullError",
    "InvalidFieldError", "TaskRefusedError", "TaskExecutionError", "ServiceConnectionError",
    "ClosedError", "QueueStateError", "TaskPendingError", "CheckpointError",
    "BackendNotConfiguredError", "ResultBackendError", "ResultNotStoredError", "TaskRetryError",
]


class SupervisorError(Exception):
    """The base class of all errors of this library."""


class SupervisorStoppedError(SupervisorError, RuntimeError):
    """A task was submitted to a supervisor that has been stopped. The function will not run."""


class SupervisorBusyError(SupervisorError, RuntimeError):
    """A wait cannot end, since the waiting thread would have to do the work.

    A signal handler or a finalizer waits in a thread that is inside a critical section of the
    supervisor, or a worker waits for itself.
    """


class InvalidArgumentError(SupervisorError, ValueError):
    """An argument has an impossible value."""


class InvalidTypeError(SupervisorError, TypeError):
    """An argument has the wrong type, or an unknown name."""


class TaskNotFoundError(SupervisorError, LookupError):
    """No live task has the given id."""


class TaskTimeoutError(SupervisorError, TimeoutError):
    """A task ran longer than its ``timeout``.

    The timeout of a wait raises :class:`WaitTimeoutError`.
    """


if sys.version_info >= (3, 11):
    class WaitTimeoutError(SupervisorError, TimeoutError):
        """The timeout of a wait has passed. The task itself goes on."""
else:
    class WaitTimeoutError(SupervisorError, TimeoutError, FutureTimeoutError):
        """The timeout of a wait has passed. The task itself goes on."""


class WaitDeadlockError(SupervisorError, RuntimeError):
    """A wait that cannot end was about to begin. The message names the tasks.

    A task waits for itself, or tasks wait for each other in a circle. Or blocking code waits for a
    coroutine task in the event loop that this task needs. Or an initializer waits for a task of its
    own queue, with or without a timeout. If a timeout or another thread may still end a circle, a
    warning is logged instead.
    """


class TaskCancelledError(SupervisorError, CancelledError):
    """The task was cancelled, so it has no result."""


class TaskRetryError(SupervisorError, RuntimeError):
    """``retry()`` has no attempt left and no error, or is called outside of the function."""


class RetryRequest(BaseException):
    """Raised by ``retry()`` in the function of a task, for the pool that runs it.

    It is no Exception: a function that catches every error does not catch it.
    """

    def __init__(self, countdown: float | None, error: BaseException | None) -> None:
        super().__init__()
        self.countdown = countdown
        self.error = error

    def __str__(self) -> str:
        return ("the function of a task asks for another attempt; nothing but its pool may catch "
                "this")


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


class RemoteError(SupervisorError, RuntimeError):
    """An exception of a pool process that could not be rebuilt in this process.

    ``type_name``, ``message`` and ``traceback`` describe it, as text. ``reason`` says why it could
    not be rebuilt, and what its class has to define for that.
    """

    def __init__(self, type_name: str, message: str, traceback: str = "",
                 reason: str = "") -> None:
        super().__init__(type_name, message, traceback, reason)
        self.type_name = type_name
        self.message = message
        self.traceback = traceback
        self.reason = reason

    def __str__(self) -> str:
        why = f" (this error could not be rebuilt here: {self.reason})" if self.reason else ""
        return f"{self.type_name}: {self.message}{why}"


class TaskPicklingError(SupervisorError, PicklingError):
    """The arguments or the result of a task cannot be pickled. Other tasks are not affected."""


class ExecutionError(SupervisorError, RuntimeError):
    """Some tasks failed or were cancelled. ``results`` is a tuple of TaskResults, in order.

    After a wait for tasks with ``strict=True``, it has all results. After a strict run of a queue,
    ``tmap``, ``pmap`` or ``amap``, it has those of the tasks that did not succeed.
    """

    def __init__(self, message: str, results: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.results: tuple[Any, ...] = tuple(results)


class QueueFullError(SupervisorError, Full):
    """A bounded queue has no room for the task. The function will not run."""


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
