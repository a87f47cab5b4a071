"""Triggers: when a worker's function is to run. Where it runs, and that it does so once at a time, is the session's to see to.

What any thread may note at any line is in deques, whose methods are one step each, on a free-threaded build too; all
else is for who has the session's key.
"""
from __future__ import annotations

import sys
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from ..engine.timer import TimerEntry
    from .session import Session

__all__ = ["OVERLAPS", "ContinuousTrigger", "QueueTrigger", "EventTrigger", "IntervalTrigger", "Trigger"]

#: What may become of ticks that come while the function runs.
OVERLAPS = ("skip", "queue", "coalesce")

#: Seconds that a worker of no other trigger pauses after a run that failed: at first, and at most, when it has doubled with
#: each that followed. One that lasted as long as that is the first of another series.
FIRST_PAUSE, LONGEST_PAUSE = 0.01, 5.0

#: Without the interpreter's lock, a write of one variable and a read of another may be seen in either order by
#: others: a note more is left then, whatever it looks like.
_ORDERED: bool = getattr(sys, "_is_gil_enabled", lambda: True)()


class Trigger:
    """When a worker's function is to run. All methods but ``has_news`` and ``call`` are for who has the session's key."""

    def begin(self, session: Session) -> None:
        """The session begins."""

    def has_news(self) -> bool:
        """Say whether :meth:`is_due` should be asked."""
        raise NotImplementedError

    def is_due(self, now: float) -> bool:
        """Say whether the function is to run now; what asked for that has been served then."""
        raise NotImplementedError

    def may_repeat(self) -> bool:
        """Say whether the next run may follow in the same task."""
        return False

    def ended(self, now: float) -> None:
        """A run has come to its end."""

    def restarted(self, now: float, number: int, seconds: float) -> None:
        """The run of this number failed after so many seconds, and the worker goes on all the same."""

    def rest(self, session: Session) -> None:
        """There is nothing to do now: say when there will be."""

    def leave(self, session: Session) -> None:
        """The session is over."""


class ContinuousTrigger(Trigger):
    """One run after the other; with a pause after one that failed, since nothing else keeps one that fails at once
    from filling the log and a core."""

    def __init__(self) -> None:
        self._failed = -1                   # the number of the last run that did
        self._pause = 0.0
        self._until: float | None = None       # it pauses
        self._entry: TimerEntry | None = None

    def may_repeat(self) -> bool:
        return self._until is None

    def has_news(self) -> bool:
        return self._until is None

    def is_due(self, now: float) -> bool:
        return self._until is None

    def restarted(self, now: float, number: int, seconds: float) -> None:
        in_series = number == self._failed + 1 and seconds < LONGEST_PAUSE
        self._failed = number
        self._pause = min(2 * self._pause, LONGEST_PAUSE) if in_series else FIRST_PAUSE
        self._until = now + self._pause

    def rest(self, session: Session) -> None:
        if self._entry is None and self._until is not None:
            self._entry = session.timer.call_at(self._until, self._go_on, session)

    def _go_on(self, session: Session) -> None:
        """The timer's call."""
        self._entry = self._until = None
        session.step()

    def leave(self, session: Session) -> None:
        session.timer.cancel(self._entry)


class EventTrigger(Trigger):
    """When it is triggered. Several triggers before the run starts are one."""

    def __init__(self) -> None:
        self.calls: deque[bool] = deque()     # True for a trigger, False for the timer

    def call(self) -> None:
        """Any thread, at any line: ask for a run."""
        self.calls.append(True)

    def has_news(self) -> bool:
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
        #: How many items are still to be taken before a stop; None is any number. Shared without a lock: it is set while
        #: no run counts, or once from None, which a run that counts does not change.
        self.limit: int | None = None

    def note(self) -> None:
        """Any thread, at any line: an item has been put."""
        if not (_ORDERED and self._notes):
            self._notes.append(None)

    def has_news(self) -> bool:
        return self.limit != 0 and bool(self._notes)

    def is_due(self, now: float) -> bool:
        if self.limit == 0 or not self._notes:
            return False
        self._notes.clear()
        return True

    def may_repeat(self) -> bool:
        if self.limit == 0:
            return False
        self._notes.clear()                     # before the queue is looked at: what is put after that leaves a note
        return True

    def count_item(self) -> None:
        """An item has been taken."""
        limit = self.limit
        if limit:
            self.limit = limit - 1


class IntervalTrigger(EventTrigger):
    """At an interval from start to start, or with a delay from end to start; and when it is triggered.

    A deadline is the one before it and the interval, so nothing drifts. Nobody looks at the clock while the function
    runs: what it missed is worked out when it has ended.
    """

    def __init__(self, interval: float | None, pause: float, first: float, overlap: str,
                 missed: Callable[[int], None]) -> None:
        super().__init__()
        self._interval = interval
        self._pause = pause
        self._first = first
        self._overlap = overlap
        self._deadline = float("inf")       # of the next run
        self._entry: TimerEntry | None = None
        self._armed_for = float("inf")
        self._missed = missed               # told how many ticks

    def begin(self, session: Session) -> None:
        self._deadline = session.clock() + self._first

    def is_due(self, now: float) -> bool:
        triggered = self._collect()
        if self._deadline > now:
            return triggered
        self._deadline = float("inf") if self._interval is None else self._deadline + self._interval
        return True

    def ended(self, now: float) -> None:
        if self._interval is None:
            self._deadline = now + self._pause
        elif self._deadline <= now and self._overlap != "queue":
            over = int((now - self._deadline) / self._interval) + 1
            if self._overlap == "coalesce":
                over -= 1                   # the last of them is run now, for all
            self._missed(over)
            self._deadline += over * self._interval

    def rest(self, session: Session) -> None:
        if self._armed_for != self._deadline:
            session.timer.cancel(self._entry)
            self._armed_for = self._deadline
            self._entry = session.timer.call_at(self._deadline, self._tick, session, self._deadline)

    def _tick(self, session: Session, deadline: float) -> None:
        """The timer's call."""
        self.calls.append(False)
        session.step()

    def leave(self, session: Session) -> None:
        session.timer.cancel(self._entry)
