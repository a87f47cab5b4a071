"""LaneEvents: what a pool does when one of its lanes changes."""
from __future__ import annotations

from ..engine.deferred import run_deferred

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Protocol

    from ..engine.lanes import Lane
    from ..engine.task import Task
    from .backpressure import Backpressure
    from .notifier import WholePool

    class LanesPool(WholePool, Protocol):
        """A pool as its lanes see it."""

        backpressure: Backpressure

        def tasks_of(self, lane: Lane) -> list[Task[Any]]: ...
        def _run_uninterruptible(self, call: Callable[..., None], *arguments: Any) -> None: ...


class LaneEvents:
    """Starts tasks and admits submitters as the lanes of one pool allow.

    No caller holds the lock. Any thread may call the methods but :meth:`opens`.
    """

    def __init__(self, pool: LanesPool) -> None:
        self._pool = pool

    def changed(self, lane: Lane) -> None:
        """Start tasks and admit blocked submitters after the settings of a lane have changed."""
        if self._pool.is_reentrant():
            self._pool.defer_to_thread(self.changed, lane)
            return
        if lane.waiting or lane.blocked_submitters:
            self._pool._run_uninterruptible(self._reopen, lane)
        else:
            self._reopen(lane)

    def wake_submitters(self, lane: Lane) -> None:
        """See :meth:`Lane.wake_submitters`."""
        if self._pool.is_reentrant():
            self._pool.defer_to_thread(self.wake_submitters, lane)
        else:
            self._pool._run_uninterruptible(self._pool.backpressure.release_submitters, lane)

    def _reopen(self, lane: Lane) -> None:
        with self._pool.lock:
            self._pool.run_queue.unpark_lane(lane)
            self._pool.backpressure.wake_submitters()
            deferred = self._pool._dispatch_more()
        run_deferred(deferred)

    def opens(self, lane: Lane) -> None:
        """Start tasks of a lane whose rate allows the next start. The timer calls it."""
        with self._pool.lock:
            lane.rate_timer_fired()
        self._reopen(lane)

    def ends(self, lane: Lane) -> None:
        """Forget a lane that gets no more tasks, if none of its tasks waits or runs."""
        if self._pool.is_reentrant():
            self._pool.defer_to_thread(self.ends, lane)
            return
        with self._pool.lock:
            if not lane.waiting and not lane.running:
                self._pool.run_queue.lanes.discard(lane)
                lane.unbind()

    def end(self, lane: Lane) -> None:
        """Forget a lane that gets no more tasks when its last task has ended."""
        if self._pool.is_reentrant():            # called by a finalizer
            self._pool.defer_to_thread(self.end, lane)
            return
        tasks = self._pool.tasks_of(lane)
        # One item fewer than tasks: the call that finds none is the last. Removing one is atomic.
        left = [None] * (len(tasks) - 1)

        def one_ended() -> None:
            try:
                left.pop()
            except IndexError:
                lane.end()

        for task in tasks:
            if not task._add_waiter(one_ended):
                one_ended()
        if not tasks:
            lane.end()
