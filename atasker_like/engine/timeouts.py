"""The timeouts of a pool's running attempts: one timer entry for equal timeouts.

Attempts with the same timeout expire in the order in which they start. So a dict in that order, and
a timer entry for its first attempt, replace a timer entry for each attempt: a task that ends in
time costs two operations on a dict.

The pool's lock must be held for all calls but :meth:`Timeouts._due`, the timer's call, which
acquires it.
"""
from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from .task import Task
    from .timer import Timer

    class TimeoutOwner(Protocol):
        """The part of the pool's interface that Timeouts uses."""

        lock: Any

        def _expired(self, task: Task[Any], deadline: float) -> None: ...


class _Group:
    """The running attempts with the same timeout."""

    __slots__ = ("deadlines", "is_scheduled")

    def __init__(self) -> None:
        self.deadlines: dict[Task[Any], float] = {}     # ordered by deadline
        self.is_scheduled = False           # a timer entry will call _due()


class Timeouts:
    """The deadlines of the running attempts that have a timeout."""

    __slots__ = ("_timer", "_owner", "_groups")

    def __init__(self, timer: Timer, owner: TimeoutOwner) -> None:
        self._timer = timer
        self._owner = owner
        self._groups: dict[float, _Group] = {}

    def arm(self, task: Task[Any], seconds: float) -> None:
        """Set the deadline of an attempt that begins now."""
        group = self._groups.get(seconds)
        if group is None:
            group = self._groups[seconds] = _Group()
        deadline = group.deadlines[task] = self._timer.clock() + seconds
        if not group.is_scheduled:
            group.is_scheduled = True
            self._timer.call_at(deadline, self._due, seconds, group)

    def clear(self, task: Task[Any], seconds: float) -> None:
        """Remove the deadline of an attempt that has ended, if it has one."""
        group = self._groups.get(seconds)
        if group is not None:
            group.deadlines.pop(task, None)

    def take(self, task: Task[Any], seconds: float, deadline: float) -> bool:
        """Remove an expired deadline.

        Return False if it is not the deadline of a running attempt.
        """
        group = self._groups.get(seconds)
        if group is None or group.deadlines.get(task) != deadline:
            return False
        del group.deadlines[task]
        return True

    def deadline_of(self, task: Task[Any]) -> float | None:
        """Return the deadline of a task's running attempt, by the timer's clock, or None."""
        seconds = task._spec.timeout
        group = None if seconds is None else self._groups.get(seconds)
        return None if group is None else group.deadlines.get(task)

    def reset(self) -> None:
        """Remove all deadlines. No attempt runs, and the timer has dropped its entries."""
        self._groups = {}

    def _due(self, seconds: float, group: _Group) -> None:
        """Expire the attempts of a group whose deadline has passed. The timer calls this."""
        owner = self._owner
        expired: list[tuple[Task[Any], float]] = []
        with owner.lock:
            now = self._timer.clock()
            for task, deadline in group.deadlines.items():
                if deadline > now:
                    self._timer.call_at(deadline, self._due, seconds, group)
                    break
                expired.append((task, deadline))
            else:
                group.is_scheduled = False
                if not expired and self._groups.get(seconds) is group:
                    del self._groups[seconds]
        for task, deadline in expired:
            owner._expired(task, deadline)
