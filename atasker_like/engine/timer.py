"""Timer: one heap and one thread for delays, retries and timeouts.

The thread starts with the first call that is scheduled. It sleeps until the next deadline, or
without limit if there is none. If another deadline follows within the slack, it makes both calls at
the end of the slack: a wake-up takes as long as several calls. It wakes earlier only for a call
that is due before all other calls, or to remove cancelled entries. Deadlines are times of the
monotonic clock. Each operation takes O(log n). A cancelled entry stays in the heap until it is met,
or until such entries are the larger part.

::

    call_at ──> incoming ──> heap ──> calls          only the thread uses the heap
      any thread  │         the thread
                  └─ wakes the thread, if the call is due before it would wake up

No lock is taken to schedule a call or to cancel one: the callers hold a pool's lock, and a signal
handler or a finalizer may come in between at any line and schedule another call.
"""
from __future__ import annotations

import threading
from collections import deque
from heapq import heapify, heappop, heappush
from itertools import count
from threading import TIMEOUT_MAX
from time import monotonic

from .._atomics import FREE_THREADED, RLock, release
from .._log import log
from .._threads import PackageThread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable


#: ``Timer._until`` while the thread is awake: it checks the incoming before it sleeps.
AWAKE = float("-inf")

#: Seconds that a call may be late, if another one is due in that time.
SLACK = 0.0005


class TimerEntry:
    """A scheduled call, ordered by deadline and then by arrival.

    Timer.cancel() cancels it.
    """

    __slots__ = ("deadline", "number", "call", "arguments")

    def __init__(self, deadline: float, number: int, call: Callable[..., None],
                 arguments: tuple[Any, ...]) -> None:
        self.deadline: float = deadline
        self.number: int = number
        self.call: Callable[..., None] | None = call
        self.arguments: tuple[Any, ...] = arguments

    def __lt__(self, other: TimerEntry) -> bool:
        if self.deadline != other.deadline:
            return self.deadline < other.deadline
        return self.number < other.number


class Timer:
    """Makes calls at their time, in a thread of its own.

    Any thread may use it, also in a signal handler or finalizer that interrupts the timer's code.
    Only the package schedules calls, and they are short. They run with no lock of the timer held.
    """

    def __init__(self, name: str = "timer", clock: Callable[[], float] = monotonic) -> None:
        self._name = name
        self.clock = clock
        # Shared without a lock: appending to a deque and taking from it are each one step, on a
        # free-threaded build too. The thread sets _until and then checks the incoming once more. A
        # caller puts its entry into the incoming and then reads _until. So one of the two sees the
        # other's write.
        self._incoming: deque[TimerEntry] = deque()
        self._until = AWAKE
        self._numbers = count(1)
        self._cancelled = 0                 # in the heap, roughly: callers count without a lock
        self._heap: list[TimerEntry] = []
        self._heap_lock = threading.Lock()  # guards _heap: for the thread, and for stop() after it
        self._wake = threading.Lock()       # held while the thread has no reason to wake up
        self._wake.acquire()
        self._start_lock = RLock()        # guards _thread and _generation
        self._thread: threading.Thread | None = None
        #: True if start() has nothing to do. The fast paths of the pools read it.
        self.is_running: bool = False
        self._generation = 0                # a thread of an earlier generation exits

    def reset_after_fork(self) -> None:
        """Reset the timer in a forked process, in which its thread does not exist."""
        self.__init__(self._name, self.clock)      # type: ignore[misc]

    def start(self) -> None:
        """Make sure that the thread runs.

        :raises RuntimeError, MemoryError: no thread can be started.
        """
        thread = self._thread
        # A thread without ident: its start was interrupted before it ran.
        if thread is not None and thread.ident is not None:
            return
        with self._start_lock:
            thread = self._thread
            if thread is None or thread.ident is None:
                self._generation += 1
                thread = PackageThread(self._run, (self._generation,), self._name)
                self._thread = thread
                thread.start()      # if it raises, the thread has no ident, as after an interrupt
            self.is_running = True

    def call_at(self, deadline: float, call: Callable[..., None], *arguments: Any) -> TimerEntry:
        """Schedule ``call(*arguments)`` for a time of the clock.

        Call :meth:`start` first.
        """
        entry = TimerEntry(deadline, next(self._numbers), call, arguments)
        self._incoming.append(entry)
        # Without the interpreter's lock, other threads may see a write of one variable and a read
        # of another in either order. Then each call wakes the thread.
        if deadline < self._until or FREE_THREADED:
            release(self._wake)
        return entry

    def call_later(self, seconds: float, call: Callable[..., None], *arguments: Any) -> TimerEntry:
        """Schedule ``call(*arguments)`` for ``seconds`` from now."""
        return self.call_at(self.clock() + seconds, call, *arguments)

    def cancel(self, entry: TimerEntry | None) -> None:
        """Cancel a call; one that has begun goes on. None is allowed."""
        if entry is None or entry.call is None:
            return
        entry.call = None
        entry.arguments = ()
        self._cancelled += 1
        if self._until != AWAKE and self._mostly_cancelled():
            release(self._wake)

    def _mostly_cancelled(self) -> bool:
        return self._cancelled > 64 and self._cancelled * 2 > len(self._heap) + len(self._incoming)

    def stop(self) -> None:
        """End the thread after its current call. Calls that are not due yet are dropped."""
        with self._start_lock:
            self.is_running = False
            thread, self._thread = self._thread, None
            self._generation += 1
        release(self._wake)
        if (thread is not None and thread.ident is not None
                and thread is not threading.current_thread()):
            thread.join()
        with self._heap_lock:
            self._heap.clear()
            self._incoming.clear()
            self._cancelled = 0

    def _run(self, generation: int) -> None:
        while True:
            self._until = AWAKE
            due = []
            with self._heap_lock:
                if generation != self._generation:
                    # An interrupted start may have left another thread asleep.
                    release(self._wake)
                    return
                heap, incoming = self._heap, self._incoming
                while incoming:
                    heappush(heap, incoming.popleft())
                if self._mostly_cancelled():
                    heap = self._heap = [entry for entry in heap if entry.call is not None]
                    heapify(heap)
                    self._cancelled = 0
                now = self.clock()
                while heap and (heap[0].call is None or heap[0].deadline <= now):
                    entry = heappop(heap)
                    call, arguments = entry.call, entry.arguments
                    entry.call = None
                    entry.arguments = ()
                    if call is None:
                        self._cancelled -= 1
                    else:
                        due.append((call, arguments))
                until = heap[0].deadline if heap else float("inf")
                if any(entry.deadline <= until + SLACK for entry in heap[1:3]):
                    until += SLACK
            # No references while the thread sleeps: they would keep objects alive.
            call = arguments = None     # type: ignore[assignment]
            if due:
                for call, arguments in due:
                    try:
                        call(*arguments)
                    except BaseException:
                        log.exception("a call of the timer raised; the timer goes on")
                del due, call, arguments
                continue                # the calls took time: check the heap again before sleeping
            self._until = until
            if incoming or generation != self._generation:
                continue
            self._wake.acquire(True, min(until - now, TIMEOUT_MAX) if heap else -1.0)
