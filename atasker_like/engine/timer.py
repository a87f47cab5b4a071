"""One heap, one thread: delays, retries and timeouts.

The thread starts with the first call that is asked for and sleeps until the next deadline, or for ever when
there is none; it is woken only by a call that is due earlier than all others. Deadlines are of the monotonic
clock. Each operation is O(log n); a cancelled entry stays in the heap until it is met, or until such entries
are the larger part.
"""
from __future__ import annotations

import threading
from heapq import heapify, heappop, heappush
from threading import TIMEOUT_MAX
from time import monotonic

from .result import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, List, Optional, Tuple

__all__ = ["Timer", "TimerEntry"]


class TimerEntry:
    """A call to be made; ``cancel`` through the timer. Ordered by deadline, then by arrival."""

    __slots__ = ("deadline", "number", "call", "arguments")

    def __init__(self, deadline: float, number: int, call: "Callable[..., None]",
                 arguments: "Tuple[Any, ...]") -> None:
        self.deadline = deadline
        self.number = number
        self.call: "Optional[Callable[..., None]]" = call
        self.arguments = arguments

    def __lt__(self, other: "TimerEntry") -> bool:
        if self.deadline != other.deadline:
            return self.deadline < other.deadline
        return self.number < other.number


class Timer:
    """Makes calls at their time, in a thread of its own. Safe to use from any thread.

    The calls are the engine's own and short; they run with no lock of the timer held.
    """

    def __init__(self, name: str = "timer", clock: "Callable[[], float]" = monotonic) -> None:
        self._name = name
        self._clock = clock
        self._lock = threading.Lock()       # guards all that follows
        self._heap: "List[TimerEntry]" = []
        self._number = 0
        self._cancelled = 0
        self._wake = threading.Lock()       # held while the thread has no reason to look up; released under _lock
        self._wake.acquire()
        self._thread: "Optional[threading.Thread]" = None
        self._stopping = False

    def reset_after_fork(self) -> None:
        """In a forked process: the thread is the parent's; begin anew."""
        self.__init__(self._name, self._clock)      # type: ignore[misc]

    def start(self) -> None:
        """Make sure that the thread runs.

        :raises RuntimeError: no thread can be started.
        """
        with self._lock:
            # Without ident: a start that was interrupted before there was a thread.
            if self._thread is None or self._thread.ident is None:
                self._stopping = False
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                try:
                    self._thread.start()
                except RuntimeError:
                    self._thread = None
                    raise

    def call_at(self, deadline: float, call: "Callable[..., None]", *arguments: "Any") -> TimerEntry:
        """Have ``call(*arguments)`` made at a time of the clock; :meth:`start` comes first."""
        with self._lock:
            self._number += 1
            entry = TimerEntry(deadline, self._number, call, arguments)
            heappush(self._heap, entry)
            if self._heap[0] is entry and self._wake.locked():
                self._wake.release()
        return entry

    def call_later(self, seconds: float, call: "Callable[..., None]", *arguments: "Any") -> TimerEntry:
        """Have ``call(*arguments)`` made so many seconds from now."""
        return self.call_at(self._clock() + seconds, call, *arguments)

    def cancel(self, entry: "Optional[TimerEntry]") -> None:
        """Make sure that a call is not made any more; it may be under way. None is allowed."""
        if entry is None:
            return
        with self._lock:
            if entry.call is None:
                return
            entry.call = None
            entry.arguments = ()
            self._cancelled += 1
            if self._cancelled > 64 and self._cancelled * 2 > len(self._heap):
                self._heap = [kept for kept in self._heap if kept.call is not None]
                heapify(self._heap)
                self._cancelled = 0

    def stop(self) -> None:
        """End the thread after the call that it is making; calls that are not due yet are dropped."""
        with self._lock:
            thread = self._thread
            self._heap.clear()
            self._cancelled = 0
            if thread is None or thread.ident is None:
                self._thread = None
                return
            self._stopping = True
            if self._wake.locked():
                self._wake.release()
        if thread is not threading.current_thread():
            thread.join()
        with self._lock:
            self._thread = None

    def _run(self) -> None:
        while True:
            due = []
            with self._lock:
                if self._stopping:
                    return
                now = self._clock()
                heap = self._heap
                while heap and (heap[0].call is None or heap[0].deadline <= now):
                    entry = heappop(heap)
                    if entry.call is None:
                        self._cancelled -= 1
                    else:
                        due.append((entry.call, entry.arguments))
                        entry.call = None
                        entry.arguments = ()
                pause = min(heap[0].deadline - now, TIMEOUT_MAX) if heap else -1.0
            for call, arguments in due:
                try:
                    call(*arguments)
                except BaseException:
                    log.exception("a call of the timer raised; the timer goes on")
            if due:
                del due, call, arguments    # an idle timer holds nothing alive
                continue                    # that took time: look again before sleeping
            self._wake.acquire(True, pause)
