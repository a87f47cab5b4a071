"""The timeouts of a pool's running attempts: one timer entry for all attempts that have the same timeout.

Attempts with the same timeout expire in the order in which they start. So a dict in that order, and a timer entry for
its first attempt, take the place of a timer entry for each: a task that ends in time costs two operations on a dict.

Everything is called with the pool's lock held, but for :meth:`Timeouts._due`, the timer's call, which takes it.
"""
from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from .task import Task
    from .timer import Timer

    class TimeoutOwner(Protocol):
        """The pool."""

        lock: Any

        def _expired(self, task: Task[Any], deadline: float) -> None: ...

__all__ = ["Timeouts"]


class _Group:
    """The attempts with one timeout."""

    __slots__ = ("deadlines", "is_scheduled")

    def __init__(self) -> None:
        self.deadlines: dict[Task[Any], float] = {}     # in their order
        self.is_scheduled = False           # a timer entry will call _due()


class Timeouts:
    """Which running attempts have a timeout, and when it is over."""

    __slots__ = ("_timer", "_owner", "_groups")

    def __init__(self, timer: Timer, owner: TimeoutOwner) -> None:
        self._timer = timer
        self._owner = owner
        self._groups: dict[float, _Group] = {}

    def arm(self, task: Task[Any], seconds: float) -> None:
        """An attempt of a task begins."""
        group = self._groups.get(seconds)
        if group is None:
            group = self._groups[seconds] = _Group()
        deadline = group.deadlines[task] = self._timer.clock() + seconds
        if not group.is_scheduled:
            group.is_scheduled = True
            self._timer.call_at(deadline, self._due, seconds, group)

    def clear(self, task: Task[Any], seconds: float) -> None:
        """The attempt is over. It need not have been armed."""
        group = self._groups.get(seconds)
        if group is not None:
            group.deadlines.pop(task, None)

    def take(self, task: Task[Any], seconds: float, deadline: float) -> bool:
        """Clear an attempt whose timeout is over. Return False if another attempt has begun since, or none runs."""
        group = self._groups.get(seconds)
        if group is None or group.deadlines.get(task) != deadline:
            return False
        del group.deadlines[task]
        return True

    def deadline_of(self, task: Task[Any]) -> float | None:
        """Return when the running attempt of a task times out, by the timer's clock; None if it does not."""
        seconds = task._spec.timeout
        group = None if seconds is None else self._groups.get(seconds)
        return None if group is None else group.deadlines.get(task)

    def reset(self) -> None:
        """Nothing runs, and the timer has forgotten its entries."""
        self._groups = {}

    def _due(self, seconds: float, group: _Group) -> None:
        """The timer's call: the first attempt of a group may have lasted too long."""
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
