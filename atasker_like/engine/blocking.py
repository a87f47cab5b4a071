"""How a thread waits: deadlines, and a pool thread that lends its place while it blocks."""
from __future__ import annotations

import threading
from collections import deque
from sys import _getframe, modules
from threading import TIMEOUT_MAX
from time import monotonic

from .._checks import wait_seconds
from .._log import log
from ..errors import QueueFullError
from .current import current, current_coroutine_task, running_loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, TypeVar

    from .._checks import Seconds

    T = TypeVar("T")

__all__ = ["Latch", "without_blocking", "block", "deadline_of", "deadline_of_stop", "remaining"]


def deadline_of(timeout: Seconds | None) -> float | None:
    """Turn the time of a wait into a point of the monotonic clock. None waits without limit, 0 does not wait.

    Called once, where the timeout enters the library: what is passed on is the deadline.
    """
    if timeout is None:
        return None
    waited = wait_seconds("timeout", timeout)
    return None if waited is None else monotonic() + waited


def deadline_of_stop(wait: bool | Seconds | None) -> float | None:
    """Turn the ``wait`` of a stop, a time or whether to wait at all, into a point of the monotonic clock."""
    waited = None if isinstance(wait, bool) else wait_seconds("wait", wait)
    return None if waited is None else monotonic() + waited


def remaining(deadline: float | None) -> float | None:
    """Return the seconds left until the deadline, from 0 to the longest wait there is; None for no deadline."""
    if deadline is None:
        return None
    return min(max(0.0, deadline - monotonic()), TIMEOUT_MAX)


def block(acquire: Callable[..., bool], deadline: float | None) -> bool:
    """Call a lock's ``acquire`` and return what it says; a pool thread lends its place meanwhile."""
    timeout = -1.0 if deadline is None else min(max(0.0, deadline - monotonic()), TIMEOUT_MAX)
    if timeout == 0:
        return acquire(False)
    member = current.member
    if member is None:
        if running_loop() is not None:
            _warn_of_blocked_loop()
        return acquire(True, timeout)
    member.lend()
    try:
        if running_loop() is not None:
            _warn_of_blocked_loop()
        return acquire(True, timeout)
    finally:
        member.reclaim()


_PACKAGE = __name__.partition(".")[0]
#: Lines of code that have been warned of, by file and number; adding one is a single step, so no lock is needed.
_warned: set[tuple[str, int]] = set()
_WARNED_MOST = 1000


def _warn_of_blocked_loop() -> None:
    """This thread is about to block, and an event loop runs in it. Say so, once for each line of code that does that."""
    if "ipykernel" in modules and current_coroutine_task.get() is None:
        return      # the cells of a notebook run in a loop, and are expected to wait
    frame: Any = _getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE:
        frame = frame.f_back
    place = ("unknown", 0) if frame is None else (frame.f_code.co_filename, frame.f_lineno)
    if place in _warned or len(_warned) >= _WARNED_MOST:
        return
    _warned.add(place)
    log.warning("%s:%d blocks the event loop that runs in its thread until the wait ends; use 'await task' "
                "or another coroutine, such as co_wait_completed(), or make the call in a thread", *place)


class _NonBlocking:
    """Stands for the pool thread that a thread is not, which :func:`block` asks to lend its place before it waits."""

    task = None

    def lend(self) -> None:
        raise QueueFullError("its queue is full; try again later")

    def reclaim(self) -> None:
        pass


_hurried = _NonBlocking()


def without_blocking(call: Callable[..., T], *arguments: Any) -> T:
    """Return ``call(*arguments)``, made in a thread that must not wait, such as a loop's.

    :raises QueueFullError: it was about to wait for room in a pool or a lane.
    """
    before, current.member = current.member, _hurried
    try:
        return call(*arguments)
    finally:
        current.member = before


class Latch:
    """Opens when it has been called ``count`` times; made for one waiting thread.

    The gate is a bare lock, taken at birth and released when the count reaches zero: half the cost of a
    condition, and it can be waited for with a timeout and interrupted by a signal.
    """

    __slots__ = ("_left", "_gate")

    def __init__(self, count: int = 1) -> None:
        # One fewer than the calls, each of which takes one; the call that finds none is the last. Taking is one step,
        # so no lock is needed, nor would one do: a signal handler may call it in the middle of a call.
        self._left: deque[None] = deque([None] * (count - 1))
        self._gate = threading.Lock()
        self._gate.acquire()

    def __call__(self) -> None:
        try:
            self._left.pop()
        except IndexError:
            self._gate.release()

    def wait(self, deadline: float | None) -> bool:
        """Block until it opens or the deadline passes. Return True if it opened."""
        return block(self._gate.acquire, deadline)
