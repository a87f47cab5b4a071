"""Waits of threads: deadlines, and pool threads that lend their slot."""
from __future__ import annotations

import threading
from collections import deque
from sys import _getframe, modules
from threading import TIMEOUT_MAX
from time import monotonic

from .._checks import wait_seconds
from .._core_errors import QueueFullError
from .._log import log
from .current import current, current_coroutine_task, running_loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, TypeVar

    from .._checks import Seconds

    T = TypeVar("T")


def deadline_of(timeout: Seconds | None) -> float | None:
    """Return the deadline of a wait, by the monotonic clock.

    None waits without limit, 0 does not wait.

    Each public function calls this once for its timeout, and passes only the deadline on.
    """
    if timeout is None:
        return None
    waited = wait_seconds("timeout", timeout)
    return None if waited is None else monotonic() + waited


def deadline_of_stop(wait: bool | Seconds | None) -> float | None:
    """Return the deadline of a stop with the given ``wait``, by the monotonic clock.

    Return None, for no deadline, if ``wait`` is a bool.
    """
    waited = None if isinstance(wait, bool) else wait_seconds("wait", wait)
    return None if waited is None else monotonic() + waited


def remaining(deadline: float | None) -> float | None:
    """Return the seconds until a deadline, 0 to TIMEOUT_MAX; None without deadline."""
    if deadline is None:
        return None
    return min(max(0.0, deadline - monotonic()), TIMEOUT_MAX)


def block(acquire: Callable[..., bool], deadline: float | None) -> bool:
    """Call a lock's ``acquire`` and return its result.

    A pool thread lends its slot meanwhile.
    """
    timeout = -1.0 if deadline is None else min(max(0.0, deadline - monotonic()), TIMEOUT_MAX)
    if timeout == 0:
        return acquire(False)
    pool_thread = current.pool_thread
    if pool_thread is None:
        if running_loop() is not None:
            _warn_of_blocked_loop()
        return acquire(True, timeout)
    pool_thread.lend()
    try:
        if running_loop() is not None:
            _warn_of_blocked_loop()
        return acquire(True, timeout)
    finally:
        pool_thread.reclaim()


_PACKAGE = __name__.partition(".")[0]
#: The lines of code that a warning was logged for, by file and number. Adding one is a single step,
#: so no lock is needed.
_warned: set[tuple[str, int]] = set()
_WARNED_MOST = 1000


def _warn_of_blocked_loop() -> None:
    # Warn, once for each line of code, that it is about to block a thread in which an event loop
    # runs.
    if "ipykernel" in modules and current_coroutine_task.get() is None:
        return      # the cells of a notebook run in a loop, and may block it
    frame: Any = _getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE:
        frame = frame.f_back
    line = ("unknown", 0) if frame is None else (frame.f_code.co_filename, frame.f_lineno)
    if line in _warned or len(_warned) >= _WARNED_MOST:
        return
    _warned.add(line)
    log.warning("%s:%d blocks the event loop that runs in its thread until the wait ends; "
                "use 'await task' or another coroutine, such as co_wait_completed(), or an "
                "AsyncQueue, or make the call in a thread", *line)


class _NonBlocking:
    """Replaces the pool thread in :func:`block`, which raises instead of waiting."""

    task = None

    def lend(self) -> None:
        raise QueueFullError("its queue is full; try again later")

    def reclaim(self) -> None:
        pass


_non_blocking = _NonBlocking()


def without_blocking(call: Callable[..., T], *arguments: Any) -> T:
    """Return ``call(*arguments)``, for a thread that must not wait, such as a loop's.

    :raises QueueFullError: the call would wait for room in a pool or a lane.
    """
    before, current.pool_thread = current.pool_thread, _non_blocking
    try:
        return call(*arguments)
    finally:
        current.pool_thread = before


class Latch:
    """Ends the wait of one thread when it has been called ``count`` times.

    The thread waits for a bare lock, which is acquired at first and released when the count reaches
    zero. That costs half as much as a condition, and a timeout or a signal can end the wait.
    """

    __slots__ = ("_left", "_open")

    def __init__(self, count: int = 1) -> None:
        # One item fewer than calls. Each call removes one; the call that finds none is the last.
        # Removing an item is one step, so no lock is needed. A lock would not help: a signal
        # handler may call the latch in the middle of a call.
        self._left: deque[None] = deque([None] * (count - 1))
        self._open = threading.Lock()
        self._open.acquire()

    def __call__(self) -> None:
        try:
            self._left.pop()
        except IndexError:
            self._open.release()

    def acquire(self, blocking: bool = True, timeout: float = -1.0) -> bool:
        """Wait as a lock does, without lending a slot. Return True if the latch opened."""
        return self._open.acquire(blocking, timeout)

    def wait(self, deadline: float | None) -> bool:
        """Block until the latch opens or the deadline passes. Return True if it opened."""
        return block(self._open.acquire, deadline)


class EventView:
    """The class of ``task.started`` and ``task.completed``, used as events."""

    __slots__ = ("_reached", "_wait")

    def __init__(self, reached: Callable[[], bool], wait: Callable[[float | None], bool]) -> None:
        self._reached = reached
        self._wait = wait

    def is_set(self) -> bool:
        """Return True if the task has reached the state."""
        return self._reached()

    def wait(self, timeout: Seconds | None = None) -> bool:
        """Block for ``timeout`` seconds at most. Return True if the state is reached."""
        deadline = deadline_of(timeout)
        return self._reached() or self._wait(deadline)
