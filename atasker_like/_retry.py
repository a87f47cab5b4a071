"""Attempt: how the function of a task requests another attempt.

``retry()`` raises a :class:`RetryRequest`, which leaves the function for the pool that runs it. The
pool gives the task its next attempt, or fails it with the error in the request.
"""
from __future__ import annotations

import sys
from operator import index

from ._checks import ends_traceback, seconds
from ._core_errors import InvalidTypeError, RetryRequest, TaskRetryError
from ._inspect import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from ._checks import Seconds


class Attempt:
    """The part of a task that its function uses: the number of attempts left, and ``retry()``.

    :class:`Task` has it, and so have its views in pool processes and in the processes of an
    executor.
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
        """The number of attempts that may follow the current one."""
        retries = self._retries
        return min(retries, max(0, retries + 1 - self.attempts))

    @property
    def is_last_retry(self) -> bool:
        """True if no attempt may follow the current one."""
        return self.remaining_retries == 0

    @ends_traceback
    def retry(self, countdown: Seconds | None = None, exc: BaseException | None = None) -> NoReturn:
        """End this attempt and request the next one.

        Only the function that the task runs may call it, in a thread, a coroutine or a process.
        ``retry_on`` and ``ignore_on`` do not matter here, but ``retries`` does: in the last
        attempt, the call raises the error, and the task fails with it.

        :param countdown: seconds or a timedelta until the next attempt (default: the pause of the
            retry policy).
        :param exc: the error to report if no attempt follows (default: the error that is being
            handled).
        :raises TaskCancelledError: the task was asked to stop.
        :raises TaskTimeoutError: the task ran longer than its ``timeout``.
        :raises TaskRetryError: (a RuntimeError) there is no attempt left, and no error to raise; or
            the caller is not the function that the task runs.
        :raises InvalidTypeError: (a TypeError) ``exc`` is not an exception.

        >>> @background_task(retries=2)
        ... def connect():
        ...     if current_task().is_last_retry:
        ...         return 'connected'
        ...     current_task().retry(countdown=0.01)
        >>> connect().value()
        'connected'
        """
        if countdown is not None:
            countdown = seconds("countdown", countdown)
        if exc is not None and not issubclass(type(exc), BaseException):
            raise InvalidTypeError(f"exc takes an exception, not {shown(exc)}; retry() raises it "
                                   "if no attempt is left")
        self._check_inside()
        error: Any = sys.exc_info()[1] if exc is None else exc
        if issubclass(type(error), RetryRequest):   # of an earlier call: the function caught it
            error = error.error
        if self.remaining_retries:
            raise RetryRequest(countdown, error)
        if error is None:
            raise TaskRetryError(f"task {self._label()} asked for another attempt and has none "
                                 f"left (retries={self._retries}); give it more retries, or "
                                 "retry() an error as exc")
        try:
            raise error
        finally:
            del self, exc, error    # the traceback refers to this frame, which must not refer to it

    def _check_inside(self) -> None:
        """Raise if the caller is not the function that the task runs, or is to stop."""
        self.check_cancelled()


def plain_number(number: float) -> float:
    """Return a number of any class as an int or a float, which every process can read."""
    try:
        return index(number)        # type: ignore[arg-type]
    except TypeError:
        return float(number)
