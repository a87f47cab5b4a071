"""Another attempt of a task, asked for by its own function.

``retry()`` raises a :class:`RetryRequest`, which takes the function's stack down to the pool that runs it. The
pool gives the task its next attempt, or fails it with the error that the request carries.
"""
from __future__ import annotations

import sys

from ._ids import short_id
from ._inspect import shown
from .errors import InvalidTypeError, RetryRequest, TaskRetryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from ._checks import Seconds

__all__ = ["Attempt", "StandIn"]


class Attempt:
    """The part of a task that its function sees: how many attempts are left, and a way to ask for one.

    Implemented by :class:`Task`, and by its stand-ins in pool processes and in the processes of an executor.
    """

    __slots__ = ()

    if TYPE_CHECKING:
        @property
        def attempts(self) -> int: ...
        @property
        def _retries(self) -> int: ...

        def check_cancelled(self) -> None: ...
        def _label(self) -> str: ...

    @property
    def remaining_retries(self) -> int:
        """How many attempts may follow the current one."""
        retries = self._retries
        return min(retries, max(0, retries + 1 - self.attempts))

    @property
    def is_last_retry(self) -> bool:
        """True if no attempt may follow the current one."""
        return self.remaining_retries == 0

    def retry(self, countdown: Seconds | None = None, exc: BaseException | None = None) -> NoReturn:
        """End this attempt and ask for the next one; called by the function that the task runs.

        ``retry_on`` and ``ignore_on`` do not matter here. The task has as many attempts as ``retries`` says. In
        the last one, the call raises the error, and the task fails with it.

        :param countdown: seconds or a timedelta until the next attempt (default: the pause of the retry policy).
        :param exc: the error to report if no attempt follows (default: the error that is being handled).
        :raises TaskCancelledError: the task was asked to stop.
        :raises TaskTimeoutError: the task ran longer than its ``timeout``.
        :raises TaskRetryError: (a RuntimeError) there is no attempt left, and no error to raise; or the caller
            is not the function that the task runs.

        In a thread, a coroutine or a process, for the current task only.

        >>> @background_task(retries=2)
        ... def connect():
        ...     if current_task().is_last_retry:
        ...         return 'connected'
        ...     current_task().retry(countdown=0.01)
        >>> connect().value()
        'connected'
        """
        if countdown is not None:
            from ._checks import seconds

            countdown = seconds("countdown", countdown)
        if exc is not None and not isinstance(exc, BaseException):
            raise InvalidTypeError(f"exc takes an exception, not {shown(exc)}; retry() raises it if no attempt is left")
        self._check_inside()
        error = sys.exc_info()[1] if exc is None else exc
        if isinstance(error, RetryRequest):         # of a call before this one, which the function has caught
            error = error.error
        if self.remaining_retries:
            raise RetryRequest(countdown, error)
        if error is None:
            raise TaskRetryError(f"task {self._label()} asked for another attempt and has none left "
                                 f"(retries={self._retries}); give it more retries, or retry() an error as exc")
        try:
            raise error
        finally:
            del self, exc, error    # the traceback holds this frame: no cycle through it

    def _check_inside(self) -> None:
        """Raise unless the caller is the function that the task runs, and the task still wants it to run."""
        self.check_cancelled()


class StandIn(Attempt):
    """The running task in another process than its own, as far as it is known there."""

    __slots__ = ("id", "name", "attempts", "_retries")

    if TYPE_CHECKING:
        attempts: int
        _retries: int

    def __init__(self, task_id: str, name: str, attempts: int, retries: int) -> None:
        self.id = task_id
        self.name = name
        self.attempts = attempts
        self._retries = retries

    @property
    def short_id(self) -> str:
        """The id's form for messages and screens, such as ``p-17``."""
        return short_id(self.id)

    def _label(self) -> str:
        return f"{self.name} ({self.short_id})"

    def __repr__(self) -> str:
        return f"<Task {self._label()} running>"
