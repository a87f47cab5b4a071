"""The errors that a program with thread tasks may meet, loaded with the package.

:mod:`atasker_like.errors` has them and all other ones. It is their home for users: tracebacks and
pickles name it.
"""
from __future__ import annotations

import sys
from concurrent.futures._base import CancelledError, TimeoutError as FutureTimeoutError
from queue import Full

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Sequence

__all__ = [
    "SupervisorError", "SupervisorStoppedError", "SupervisorBusyError", "InvalidArgumentError",
    "InvalidTypeError", "TaskTimeoutError", "WaitTimeoutError", "WaitDeadlockError",
    "TaskCancelledError", "TaskRetryError", "RemoteError", "ExecutionError", "QueueFullError",
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


for _name in __all__:
    globals()[_name].__module__ = f"{__package__}.errors"
