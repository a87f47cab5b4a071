"""Triggers: when the function of a worker runs.

The session decides where, and that there is one run at a time.

Any thread may leave a note at any line. Notes are in deques, whose methods are one step each, on a
free-threaded build too. Everything else is for the holder of the session's ownership.
"""
from __future__ import annotations

from collections import deque

from .._atomics import FREE_THREADED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Protocol

    from ..engine.task import Task
    from ..engine.timer import TimerEntry

    class WorkerSession(Protocol):
        """A session as its trigger and its runner see it."""

        active: bool
        timer: Any
        task: Task[Any] | None
        caller: int | None

        def step(self) -> None: ...
        def request_step(self) -> None: ...
        def run_ended(self) -> None: ...
        def run_submitted(self, task: Task[Any]) -> None: ...
        def cancel_if_requested(self, task: Task[Any]) -> None: ...
        def fail(self, why: str) -> None: ...
        def stop_at_once(self) -> None: ...
        def stop_worker(self) -> None: ...

    class Times(Protocol):
        """The times of an interval worker."""

        keep_interval: bool
        delay_before: float | None

        @property
        def delay(self) -> float | None: ...


#: Policies for ticks that come while the function runs. The first is the default.
OVERLAPS = ("shift", "skip", "coalesce", "queue")

_NEVER = float("inf")
#: The number of ticks that are counted at most. An interval below the clock's resolution gives an
#: infinite number.
_MOST_TICKS = 2.0 ** 53

#: Seconds of the first and of the longest pause after a failure. A pause doubles with each failure
#: in a series.
FIRST_PAUSE, LONGEST_PAUSE = 0.01, 5.0


class Trigger:
    """When the function of a worker runs.

    Only the holder of the session's ownership calls the methods, except :meth:`may_be_due` and
    :meth:`note`.
    """

    #: One run follows the other until the worker is stopped.
    is_continuous = False
    #: Each run handles an item, which is taken before.
    has_items = False
    #: The next call of the timer.
    _entry: TimerEntry | None = None
    #: The end of a pause after a failure.
    _until: float | None = None

    def begin(self, session: WorkerSession) -> None:
        """The session begins."""

    def note(self) -> None:
        """Note that there may be more to do. For any thread, at any line."""

    def may_be_due(self) -> bool:
        """Return True if :meth:`is_due` is to be called."""
        raise NotImplementedError

    def is_due(self, now: float) -> bool:
        """Return True, and forget why, if the function is to run now."""
        return self.may_be_due()

    def is_overdue(self, now: float) -> bool:
        """Return True if the time of a run has come, and the timer has not called yet."""
        return False

    def may_repeat(self) -> bool:
        """Return True if the next run may follow in the same task."""
        return False

    def run_ended(self, now: float) -> None:
        """A run has ended."""

    def restarted(self, now: float, number: int, seconds: float) -> None:
        """A run has failed, and the worker goes on.

        :param number: of the run.
        :param seconds: how long it lasted.
        """

    def schedule(self, session: WorkerSession) -> None:
        """Nothing is due: have the timer call when something is."""
        if self._entry is None and self._until is not None:
            self._entry = session.timer.call_at(self._until, self._pause_ended, session)

    def _pause_ended(self, session: WorkerSession) -> None:
        # If there was one more failure meanwhile, its pause ends here as well.
        self._entry = self._until = None
        self.note()
        session.step()

    def close(self, session: WorkerSession) -> None:
        """The session is over."""
        session.timer.cancel(self._entry)


class Backoff:
    """The pauses after failures that follow one another.

    They keep such a series from filling the log and a core.
    """

    def __init__(self) -> None:
        self._pause = 0.0
        self._failed = -1                   # the number of the last failed run

    def next_pause(self) -> float:
        """Return the seconds to pause after one more failure."""
        self._pause = min(2 * self._pause, LONGEST_PAUSE) if self._pause else FIRST_PAUSE
        return self._pause

    def reset(self) -> None:
        """End the series."""
        self._pause = 0.0

    def pause_after(self, number: int, seconds: float) -> float:
        """Return the seconds to pause after a failed run.

        :param number: of the run.
        :param seconds: how long it lasted.
        """
        if number != self._failed + 1 or seconds >= LONGEST_PAUSE:
            self.reset()
        self._failed = number
        return self.next_pause()


class ContinuousTrigger(Trigger):
    """One run after the other, with a pause after a failed one."""

    is_continuous = True

    def __init__(self) -> None:
        self._backoff = Backoff()

    def may_repeat(self) -> bool:
        return self._until is None

    def may_be_due(self) -> bool:
        return self._until is None

    def restarted(self, now: float, number: int, seconds: float) -> None:
        self._until = now + self._backoff.pause_after(number, seconds)


class EventTrigger(Trigger):
    """One run for all triggers that come before it starts."""

    def __init__(self) -> None:
        #: True requests a run, False is of the timer. For any thread, at any line.
        self.calls: deque[bool] = deque()

    def may_be_due(self) -> bool:
        return bool(self.calls)

    def is_due(self, now: float) -> bool:
        return self._collect()

    def _collect(self) -> bool:
        calls = self.calls
        triggered = False
        while calls:
            triggered = calls.popleft() or triggered
        return triggered


class QueueTrigger(Trigger):
    """One run for each item.

    The trigger does not ask the queue: its class may be the application's, and may block.
    """

    has_items = True

    def __init__(self) -> None:
        self._notes: deque[None] = deque()      # not empty if an item was put since it was cleared
        # Shared without a lock, since each has one writer: the current run, and the stop.
        self._taken = 0                         # items, each counted before it is taken
        # no item is taken after this number (None: no limit)
        self._last: int | None = None
        self._backoff = Backoff()
        self._failed_at = -1                    # how many items were taken before the last failure

    def note(self) -> None:
        # Without the interpreter's lock, other threads may see the write of a note and a read of
        # the queue in either order: there, each call leaves a note.
        if FREE_THREADED or not self._notes:
            self._notes.append(None)

    def may_be_due(self) -> bool:
        return bool(self._notes) and not self.is_exhausted()

    def is_due(self, now: float) -> bool:
        if not self.may_be_due():
            return False
        self._notes.clear()
        return True

    def may_repeat(self) -> bool:
        if self._last is not None and self.is_exhausted():
            return False
        # before the queue is asked: an item that is put later leaves a note
        self._notes.clear()
        return True

    def item_taken(self) -> None:
        """Count an item that is about to be taken.

        A stop counts what waits and then reads this number. So it never counts an item as taken
        that it has not counted as waiting.
        """
        self._taken += 1

    def item_returned(self) -> None:
        """Count an item that was not taken after all, or that waits again."""
        self._taken -= 1

    def limit_to(self, waiting: int) -> None:
        """Take at most so many more items, the number that waited before this call.

        Items that are taken between the count and this call make the limit too high, never too low.
        """
        self._last = self._taken + waiting

    def take_no_more(self) -> None:
        """If there is a limit, take no more items.

        A stop does not wait for items that the queue does not give.
        """
        if self._last is not None:
            self._last = self._taken

    def is_exhausted(self) -> bool:
        """Return True if no more items may be taken."""
        return self._last is not None and self._taken >= self._last

    def get_failed(self, now: float) -> None:
        """Have the queue asked again after a pause, as it has raised instead of giving an item."""
        self.take_no_more()
        if self._failed_at != self._taken:
            self._failed_at = self._taken
            self._backoff.reset()
        self._until = now + self._backoff.next_pause()


class IntervalTrigger(EventTrigger):
    """A run at an interval or with a delay, and one when it is triggered.

    An interval counts from start to start, a delay from end to start.

    Each deadline is the previous deadline and the interval, so nothing drifts. While the function
    runs, nothing reads the clock: the trigger works out at the end of the run which ticks came
    meanwhile.

    :param times: the worker. Its ``delay``, ``keep_interval`` and ``delay_before`` are read for
        each run.
    :param overlap: one of :data:`OVERLAPS`.
    :param misfires: called with a number of ticks that are skipped.
    """

    def __init__(self, times: Times, overlap: str, misfires: Callable[[int], None]) -> None:
        super().__init__()
        self._times = times
        self._overlap = overlap
        self._misfires = misfires
        self._deadline = _NEVER             # of the next run
        self._armed_for = _NEVER
        self._backoff = Backoff()
        self._pause = 0.0                   # after a failure, if there is no delay

    def begin(self, session: WorkerSession) -> None:
        self._deadline = session.timer.clock() + (self._times.delay_before or 0.0)

    def is_overdue(self, now: float) -> bool:
        return self._deadline <= now

    def may_repeat(self) -> bool:
        if self._times.delay or self._times.delay_before or self._pause:
            return False
        self._collect()
        return True

    def is_due(self, now: float) -> bool:
        triggered = self._collect() if self.calls else False
        if self._deadline > now:
            return triggered
        times = self._times
        interval = times.delay if times.keep_interval else None
        if not interval:
            self._deadline = _NEVER
        elif self._overlap == "shift" and self._deadline + interval <= now:
            self._deadline = now + interval     # a whole period late: the period counts from here
        else:
            self._deadline += interval
        return True

    def run_ended(self, now: float) -> None:
        times = self._times
        delay = times.delay or 0.0
        before = times.delay_before or 0.0
        pause, self._pause = self._pause, 0.0
        if not (delay and times.keep_interval) or self._deadline == _NEVER:
            self._deadline = now + delay + before + pause
        elif self._overlap == "shift":
            if self._deadline < now + before:
                self._deadline = now + before
        elif self._deadline <= now and self._overlap != "queue":
            over = int(min((now - self._deadline) / delay, _MOST_TICKS)) + 1
            if self._overlap == "coalesce":
                over -= 1                   # one run follows now, for all of them
            self._misfires(over)
            self._deadline += over * delay

    def restarted(self, now: float, number: int, seconds: float) -> None:
        if not self._times.delay:
            self._pause = self._backoff.pause_after(number, seconds)

    def schedule(self, session: WorkerSession) -> None:
        if self._armed_for != self._deadline:
            session.timer.cancel(self._entry)
            self._armed_for = self._deadline
            self._entry = session.timer.call_at(self._deadline, self._tick, session)

    def _tick(self, session: WorkerSession) -> None:
        self.calls.append(False)
        session.step()
