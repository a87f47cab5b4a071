"""Triggers: when a worker's function is to run. Where it runs, and that it does so once at a time, is the session's to see to.

What any thread may note at any line is in deques, whose methods are one step each, on a free-threaded build too; all
else is for who has the session's key.
"""
from __future__ import annotations

import sys
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Protocol

    from ..engine.timer import TimerEntry
    from .session import Session

    class Times(Protocol):
        """What an interval worker says about its times."""

        keep_interval: bool
        delay_before: float | None

        @property
        def delay(self) -> float | None: ...

__all__ = ["OVERLAPS", "ContinuousTrigger", "QueueTrigger", "EventTrigger", "IntervalTrigger", "Trigger"]

#: What may become of ticks that come while the function runs. The first is the default.
OVERLAPS = ("shift", "skip", "coalesce", "queue")

_NEVER = float("inf")
#: Ticks that are counted at most. An interval far below what a clock can tell gives an infinite number.
_MOST_TICKS = 2.0 ** 53

#: Seconds that a worker of no other trigger pauses after a run that failed: at first, and at most, when it has doubled with
#: each that followed. One that lasted as long as that is the first of another series.
FIRST_PAUSE, LONGEST_PAUSE = 0.01, 5.0

#: Without the interpreter's lock, a write of one variable and a read of another may be seen in either order by
#: others: a note more is left then, whatever it looks like.
_ORDERED: bool = getattr(sys, "_is_gil_enabled", lambda: True)()


class Trigger:
    """When a worker's function is to run. All methods but ``may_be_due`` and ``call`` are for who has the session's key."""

    def begin(self, session: Session) -> None:
        """The session begins."""

    def may_be_due(self) -> bool:
        """Say whether :meth:`is_due` should be asked."""
        raise NotImplementedError

    def is_due(self, now: float) -> bool:
        """Say whether the function is to run now; what asked for that has been served then."""
        raise NotImplementedError

    def may_repeat(self) -> bool:
        """Say whether the next run may follow in the same task."""
        return False

    def run_ended(self, now: float) -> None:
        """A run has come to its end."""

    def restarted(self, now: float, number: int, seconds: float) -> None:
        """The run of this number failed after so many seconds, and the worker goes on all the same."""

    def schedule(self, session: Session) -> None:
        """There is nothing to do now: say when there will be."""

    def close(self, session: Session) -> None:
        """The session is over."""


class _Backoff:
    """How long a worker pauses after a failed run. Without a pause, one that fails at once fills the log and a core."""

    def __init__(self) -> None:
        self._failed = -1                   # the number of the last run that failed
        self._pause = 0.0

    def pause_after(self, number: int, seconds: float) -> float:
        """Return the seconds to pause after the run of this number, which failed after so many seconds."""
        in_series = number == self._failed + 1 and seconds < LONGEST_PAUSE
        self._failed = number
        self._pause = min(2 * self._pause, LONGEST_PAUSE) if in_series else FIRST_PAUSE
        return self._pause


class ContinuousTrigger(Trigger):
    """One run after the other, with a pause after one that failed."""

    def __init__(self) -> None:
        self._backoff = _Backoff()
        self._until: float | None = None       # it pauses
        self._entry: TimerEntry | None = None

    def may_repeat(self) -> bool:
        return self._until is None

    def may_be_due(self) -> bool:
        return self._until is None

    def is_due(self, now: float) -> bool:
        return self._until is None

    def restarted(self, now: float, number: int, seconds: float) -> None:
        self._until = now + self._backoff.pause_after(number, seconds)

    def schedule(self, session: Session) -> None:
        if self._entry is None and self._until is not None:
            self._entry = session.timer.call_at(self._until, self._pause_ended, session)

    def _pause_ended(self, session: Session) -> None:
        """The timer's call."""
        self._entry = self._until = None
        session.step()

    def close(self, session: Session) -> None:
        session.timer.cancel(self._entry)


class EventTrigger(Trigger):
    """When it is triggered. Several triggers before the run starts are one."""

    def __init__(self) -> None:
        self.calls: deque[bool] = deque()     # True for a trigger, False for the timer

    def call(self) -> None:
        """Any thread, at any line: ask for a run."""
        self.calls.append(True)

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
    """When there is an item. The queue itself is not asked here: its class may be anyone's, and block."""

    def __init__(self) -> None:
        self._notes: deque[None] = deque()    # one at least, when something was put since it was last cleared
        # Shared without a lock, since each has one writer: the one whose run it is, and the stop.
        self._taken = 0                         # items, each counted before it is taken
        self._last: int | None = None           # no item is taken after this number; None is any number

    def item_put(self) -> None:
        """Any thread, at any line: an item has been put into the queue."""
        self.note()

    def note(self) -> None:
        """Any thread, at any line: there may be an item to take."""
        if not (_ORDERED and self._notes):
            self._notes.append(None)

    def may_be_due(self) -> bool:
        return bool(self._notes) and not self.is_exhausted()

    def is_due(self, now: float) -> bool:
        if not self.may_be_due():
            return False
        self._notes.clear()
        return True

    def may_repeat(self) -> bool:
        if self.is_exhausted():
            return False
        self._notes.clear()                     # before the queue is looked at: what is put after that leaves a note
        return True

    def item_taken(self) -> None:
        """An item is about to be taken. An item that is counted at a stop is thus never counted as taken before that."""
        self._taken += 1

    def item_returned(self) -> None:
        """The item was not taken, or waits again."""
        self._taken -= 1

    def limit_to(self, waiting: int) -> None:
        """Take so many more items, which have been counted before this call, and no more.

        Items that are taken between the count and this call make the limit too high, never too low.
        """
        self._last = self._taken + waiting

    def take_no_more(self) -> None:
        """If the items are limited: take none any more, as a stop does not wait for what the queue does not give."""
        if self._last is not None:
            self._last = self._taken

    def is_exhausted(self) -> bool:
        """Return True if no more items may be taken."""
        return self._last is not None and self._taken >= self._last


class IntervalTrigger(EventTrigger):
    """At an interval from start to start, or with a delay from end to start; and when it is triggered.

    A deadline is the one before it and the interval, so nothing drifts. Nobody looks at the clock while the function
    runs: what becomes of ticks that came meanwhile is worked out when it has ended.

    :param times: the worker, whose ``delay``, ``keep_interval`` and ``delay_before`` are read anew for each run.
    :param overlap: one of :data:`OVERLAPS`.
    :param misfires: called with a number of ticks that are skipped.
    """

    def __init__(self, times: Times, overlap: str, misfires: Callable[[int], None]) -> None:
        super().__init__()
        self._times = times
        self._overlap = overlap
        self._misfires = misfires
        self._deadline = _NEVER             # of the next run
        self._entry: TimerEntry | None = None
        self._armed_for = _NEVER
        self._backoff = _Backoff()
        self._pause = 0.0                   # after a failure, where there is no other

    def _interval(self) -> float:
        """Return the seconds from start to start, 0 if there are none to keep."""
        return (self._times.delay or 0.0) if self._times.keep_interval else 0.0

    def begin(self, session: Session) -> None:
        self._deadline = session.clock() + (self._times.delay_before or 0.0)

    def may_repeat(self) -> bool:
        if self._times.delay or self._times.delay_before or self._pause:
            return False
        self._collect()
        return True

    def is_due(self, now: float) -> bool:
        triggered = self._collect()
        if self._deadline > now:
            return triggered
        interval = self._interval()
        if not interval:
            self._deadline = _NEVER
        elif self._overlap == "shift" and self._deadline + interval <= now:
            self._deadline = now + interval             # a whole period late: the period counts from here
        else:
            self._deadline += interval
        return True

    def run_ended(self, now: float) -> None:
        interval = self._interval()
        before = self._times.delay_before or 0.0
        pause, self._pause = self._pause, 0.0
        if not interval or self._deadline == _NEVER:
            self._deadline = now + (self._times.delay or 0.0) + before + pause
        elif self._overlap == "shift":
            self._deadline = max(self._deadline, now + before)
        elif self._deadline <= now and self._overlap != "queue":
            over = int(min((now - self._deadline) / interval, _MOST_TICKS)) + 1
            if self._overlap == "coalesce":
                over -= 1                   # the last of them is run now, for all
            self._misfires(over)
            self._deadline += over * interval

    def restarted(self, now: float, number: int, seconds: float) -> None:
        if not self._times.delay:
            self._pause = self._backoff.pause_after(number, seconds)

    def schedule(self, session: Session) -> None:
        if self._armed_for != self._deadline:
            session.timer.cancel(self._entry)
            self._armed_for = self._deadline
            self._entry = session.timer.call_at(self._deadline, self._tick, session, self._deadline)

    def _tick(self, session: Session, deadline: float) -> None:
        """The timer's call."""
        self.calls.append(False)
        session.step()

    def close(self, session: Session) -> None:
        session.timer.cancel(self._entry)
