"""Lane: a limit in front of a pool.

The tasks of a lane wait in the lane, most urgent first. In the pool's run_queue queue they are stood in for by
*entries*, one for each::

    lane 'db':  rank 0: T7           run_queue:   HIGH    A
                rank 3: T2 T4 T5                  NORMAL  B  entry of 'db' x 3  C  entry of 'db' x 1

Whose entry it is, is settled when a entry comes to the head of the line: the lane gives the most urgent task that it
has by then. When the lane may start none, since as many run as may or since it is too early for the next one, its
entries leave the line and are *parked*; when it may again, they come back to the head. So a lane that is held up holds
up nobody else, what came before it starts before it, and a task without a lane pays nothing for those that have one.

Everything here but the settings is used with the lock of the lane's pool held. Pure policy, as run_queue is; time
comes in by the clock and the timer of the pool, for a rate.
"""
from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from heapq import heappop, heappush
from sys import maxsize

from .._log import log
from ..errors import InvalidArgumentError, InvalidTypeError
from ..options import check_lane
from .task import QUEUED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Container, Iterator, Protocol, Sequence

    from .spec import Callbacks, TaskSpec
    from .task import Task
    from .timer import Timer, TimerEntry

    class LanePool(Protocol):
        """The pool that a lane stands in front of, as far as a lane must know it."""

        name: str
        lock: Any
        timer: Timer
        run_queue: Any
        draining: bool

        @property
        def successor(self) -> LanePool | None: ...

        def lane_changed(self, lane: Lane) -> None: ...
        def lane_opens(self, lane: Lane) -> None: ...
        def lane_ends(self, lane: Lane) -> None: ...
        def wake_submitters(self, lane: Lane) -> None: ...

__all__ = ["LANE_ENTRY", "Lane", "LaneEntry"]

#: The status of a entry: no task's.
LANE_ENTRY = 1

#: Of a token: less than this is missing by the rounding of floats only.
_ROUNDING = 1e-9


class LaneEntry:
    """Stands in line for tasks of a lane that came one after another."""

    __slots__ = ("lane", "count", "since")

    _status = LANE_ENTRY
    _spec = None        # of no function

    def __init__(self, lane: Lane, count: int, since: float) -> None:
        self.lane = lane
        self.count = count          # for so many, at most: see Lane.entries
        self.since = since          # when the first of them came, by perf_counter


class Lane:
    """A limit in front of a pool: how many of its tasks run at once, how many start a second, how many wait.

    :param name: shown in messages and by :meth:`TaskSupervisor.get_lanes`.
    :param limit: at most so many of its tasks run at once; None is as many as the pool takes.
    :param rate: at most so many of them start a second, on average; None is any number.
    :param burst: with a rate: how many may start at once after a pause.
    :param size: at most so many of its tasks wait in it; None is any number.
    :param on_full: what a submission meets then: ``'block'`` has the submitter wait, ``'raise'`` raises
        :class:`QueueFullError`, ``'drop'`` accepts the task and cancels it.
    :raises InvalidTypeError: (a TypeError) a setting has the wrong type.
    :raises InvalidArgumentError: (a ValueError) a setting has an impossible value.

    The first task settles which pool it stands in front of: one supervisor's threads, processes or coroutines. All
    methods may be called from any thread. In the process pool a place is a process that has tasks of the lane, and
    short ones are sent ahead to it.

    >>> database = Lane('db', limit=2)
    >>> task = background_task(abs, lane=database)(-3)
    >>> task.value()
    3
    """

    __slots__ = ("name", "limit", "rate", "burst", "size", "on_full", "paused", "lends_slot", "running", "entries", "parked",
                 "fast_limit", "head_entry", "cached_level", "blocked_submitters", "_parked_entries", "_levels", "_order", "_stale", "pool", "_tokens", "_refilled_at",
                 "_rate_timer", "unknown", "refusal", "advice", "_told", "callbacks", "__weakref__")

    def __init__(self, name: str | None = None, limit: int | None = None, rate: float | None = None,
                 burst: int = 1, size: int | None = None, on_full: str = "block") -> None:
        if name is not None and not isinstance(name, str):
            raise InvalidTypeError(f"a lane's name is a string, not {type(name).__name__}")
        self.name: str = name or "unnamed"
        self.limit: int | None = None
        self.rate: float | None = None
        self.size: int | None = None
        self.burst, self.on_full = 1, "block"
        self.paused = False
        self.lends_slot = True       # the place of a task in a thread, while that waits for others
        #: Places in use: its tasks that run; of the process pool, processes that have any.
        self.running = 0
        #: Each task that waits, those withdrawn not counted, has a entry.
        self.entries = 0          # standing in line; there, more may stand than count, when tasks were withdrawn
        self.parked = 0
        #: So many may run without a further look at the settings; -1 when each has to be looked at.
        self.fast_limit = maxsize
        self.head_entry: LaneEntry | None = None          # that stood at the head of the line when one was last taken from it
        #: The level that the most urgent task was last taken from; None when there may be a more urgent one.
        self.cached_level: deque[Task[Any]] | None = None
        self.blocked_submitters: deque[Any] = deque()       # gates of submitters who wait for room
        self._parked_entries: dict[int, LaneEntry] = {}              # by priority; as one, since they come back together
        self._levels: dict[int, deque[Task[Any]]] = {}        # by rank, each first in, first out
        self._order: list[int] = []                           # a heap of the ranks that have a level
        self._stale = 0                                          # withdrawn tasks that still stand in a level
        self.pool: LanePool | None = None                     # that it stands in front of
        self._tokens, self._refilled_at = 0.0, 0.0                   # how many may start, as of then
        self._rate_timer: TimerEntry | None = None              # the timer's call when the next one may start
        #: Makes the error for submissions to a lane that was only named; None for a lane that was made.
        self.unknown: Callable[[], Exception] | None = None
        #: Of a queue's lane: returns the error for a submission that finds no room, or None if it may
        #: wait for room.
        self.refusal: Callable[[], Exception | None] | None = None
        #: Of a queue's lane: returns what is to be done while it is paused, or None if it goes on by itself.
        self.advice: Callable[[], str | None] | None = None
        self._told = False      # since it was paused
        #: What waits for the done callbacks of its tasks, if anything does: a queue's.
        self.callbacks: Callbacks | None = None
        self.configure(limit=limit, rate=rate, burst=burst, size=size, on_full=on_full)

    @classmethod
    def named(cls, name: str, unknown: Callable[[], Exception]) -> Lane:
        """Make the stand-in for a lane that a function names and nobody has made yet.

        It has no room, so that each submission takes the way on which ``unknown`` is looked at. Other
        lanes pay nothing for that.
        """
        lane = cls(name)
        lane.size, lane.unknown = 0, unknown
        return lane

    def make(self, **settings: Any) -> None:
        """LaneEntry the stand-in into a lane that takes tasks. Errors as the constructor's."""
        self.configure(**{"size": None, **settings})
        self.unknown = None

    # -- settings: any thread ------------------------------------------------------------------------

    def configure(self, **settings: Any) -> None:
        """Change settings, named as those of the constructor; the others stay. What runs is not touched.

        The same errors as the constructor's; then nothing is changed.
        """
        checked = check_lane(self.name, **settings)
        with self._changing():
            for name, value in checked.items():
                setattr(self, name, value)
            self._set_fast_limit()
            if "rate" in checked or "burst" in checked:
                self._tokens = float(self.burst)
                self._cancel_rate_timer()

    def pause(self) -> None:
        """Start none of its tasks until :meth:`resume`. Those that run go on; tasks are accepted, and wait. When the
        supervisor is stopped, those that wait in a paused lane are cancelled, as delayed ones are."""
        with self._changing():
            self.paused = True
            self._set_fast_limit()

    def resume(self) -> None:
        """Start tasks again."""
        with self._changing():
            self.paused = self._told = False
            self._set_fast_limit()

    def warn_of_wait(self, what: str) -> None:
        """Warn, once a pause, of a wait for something that the paused lane holds up. No lock is held."""
        if self._told:
            return
        advice = f"lane {self.name!r} is paused; call its resume()" if self.advice is None else self.advice()
        if advice is not None:
            self._told = True
            log.warning("a wait for %s cannot end by itself: %s before the wait, or from other code", what, advice)

    def wake_submitters(self) -> None:
        """Have the submissions that wait for room try again, so that they meet the refusal."""
        if self.pool is not None:
            self.pool.wake_submitters(self)

    def _set_fast_limit(self) -> None:
        looked_at = self.paused or self.rate is not None
        self.fast_limit = -1 if looked_at else maxsize if self.limit is None else self.limit

    @contextmanager
    def _changing(self) -> Iterator[None]:
        pool = self.pool
        if pool is None:        # nobody has used it
            yield
            return
        with pool.lock:
            yield
        pool.lane_changed(self)

    def bind(self, pool: LanePool) -> None:
        """A function with this lane is about to be called: note the pool that the lane stands in front of.

        :raises InvalidArgumentError: it stands in front of another one.
        """
        before = self.pool
        if before is pool:
            return
        last = before
        while last is not None and last is not pool:
            last = last.successor           # has taken its place, perhaps to lose it to another one
        if before is not None and last is None:
            raise InvalidArgumentError(f"lane {self.name!r} stands in front of {before.name} and cannot have tasks of "
                                       f"{pool.name}; use a lane for each")
        with pool.lock:
            pool.run_queue.lanes.add(self)
            self.pool = pool
            self._refilled_at = pool.timer.clock()
            self._tokens = float(self.burst)

    def end(self) -> None:
        """No task will come through it any more: have the pool forget it, unless it has some yet."""
        if self.pool is not None:
            self.pool.lane_ends(self)

    # -- its tasks: the pool's lock is held ----------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Its tasks that wait, those withdrawn not counted."""
        return self.entries + self.parked

    def has_room(self) -> bool:
        """Say whether another task may wait in it."""
        return self.size is None or self.waiting < self.size

    def push(self, task: Task[Any]) -> None:
        """Add a task behind those of its rank; it needs a entry."""
        self._level(task._spec.lane_order).append(task)

    def push_batch(self, rank: int, tasks: Sequence[Task[Any]]) -> None:
        """Add many tasks of one rank, in their order; each needs a entry."""
        self._level(rank).extend(tasks)

    def requeue(self, task: Task[Any]) -> None:
        """Put a task that was taken back where it stood, it needs a entry; it may start at once, as far as the rate is
        concerned."""
        self._level(task._spec.lane_order).appendleft(task)
        if self.rate is not None:
            self._tokens = min(float(self.burst), self._tokens + 1)

    def _level(self, rank: int) -> deque[Task[Any]]:
        level = self._levels.get(rank)
        if level is None:
            level = self._levels[rank] = deque()
            heappush(self._order, rank)
            self.cached_level = None
        return level

    def is_blocked(self, holder: Container[Lane] | None = None) -> bool:
        """Say whether no task of it may start now.

        :param holder: the lanes of which a pool process has tasks: another one takes no further place.
        """
        pool = self.pool
        assert pool is not None
        if (self.paused and not pool.draining) or (
                self.limit is not None and self.running >= self.limit
                and (holder is None or self not in holder)):
            return True
        return self.rate is not None and not self._has_token(self.rate, pool)

    def _has_token(self, rate: float, pool: LanePool) -> bool:
        now = pool.timer.clock()
        self._tokens = min(float(self.burst), self._tokens + (now - self._refilled_at) * rate)
        self._refilled_at = now
        if self._tokens >= 1 - _ROUNDING:
            return True
        if self._rate_timer is None:
            self._rate_timer = pool.timer.call_at(now + (1 - self._tokens) / rate, pool.lane_opens, self)
        return False

    def rate_timer_fired(self) -> None:
        """The timer's call has come."""
        self._rate_timer = None

    def _cancel_rate_timer(self) -> None:
        if self._rate_timer is not None and self.pool is not None:
            self.pool.timer.cancel(self._rate_timer)
        self._rate_timer = None

    def peek(self) -> Task[Any] | None:
        """Return the most urgent task, or None; it stays where it is."""
        order = self._order
        while order:
            level = self._levels[order[0]]
            while level:
                task = level[0]
                if task._status == QUEUED:
                    return task
                level.popleft()
                self._stale -= 1
            del self._levels[heappop(order)]
        return None

    def take(self) -> Task[Any]:
        """Take the most urgent task, there is one, whose entry has been taken."""
        order = self._order
        while True:
            level = self._levels[order[0]]
            while level:
                task = level.popleft()
                if task._status == QUEUED:
                    if self.rate is not None:
                        self._tokens -= 1
                    self.cached_level = level
                    return task
                self._stale -= 1
            del self._levels[heappop(order)]

    def pop_batch(self, spec: TaskSpec, most: int) -> list[Task[Any]]:
        """Take the task that :meth:`peek` has just returned and those of the same function that follow it at its rank,
        up to a number; none when it is of another function. Their entries are still to be taken."""
        level = self._levels[self._order[0]]
        taken: list[Task[Any]] = []
        while level and level[0]._spec is spec and len(taken) < most:
            task = level.popleft()
            if task._status == QUEUED:
                taken.append(task)
            else:
                self._stale -= 1
        if self.rate is not None:
            self._tokens -= len(taken)
        return taken

    def note_stale(self) -> None:
        """A withdrawn task has been taken from a level, and let go."""
        self._stale -= 1

    def discard(self) -> bool:
        """A task that waits here has just been given another state. Say whether its entry stood in line."""
        self._stale += 1
        stood = self.entries > 0
        if stood:
            self.entries -= 1
        else:
            self.parked -= 1
            if not self.parked:
                self._parked_entries.clear()
        if not self.waiting:
            self._levels.clear()
            self._order.clear()
            self.cached_level = self.head_entry = None
            self._stale = 0
        elif self._stale > 64 and self._stale > self.waiting:
            self._sweep()
        return stood

    def _sweep(self) -> None:
        levels = {rank: deque(task for task in level if task._status == QUEUED)
                  for rank, level in self._levels.items()}
        self._levels = {rank: level for rank, level in levels.items() if level}
        self._order = sorted(self._levels)      # a sorted list is a heap
        self.cached_level = None
        self._stale = 0

    def park(self, priority: int, entry: LaneEntry) -> int:
        """A entry has come up, and the lane is closed: keep it. Return how many entries it stood for."""
        entry.count = count = min(entry.count, self.entries)
        if count:
            kept = self._parked_entries.get(priority)
            if kept is None:
                self._parked_entries[priority] = entry
            else:
                kept.count += count
            self.entries -= count
            self.parked += count
        return count

    def unpark(self) -> dict[int, LaneEntry]:
        """Let all parked entries stand in line again; return them by priority."""
        back, self._parked_entries = self._parked_entries, {}
        self.entries += self.parked
        self.parked = 0
        return back

    def tasks(self) -> list[Task[Any]]:
        """Return the tasks that wait, most urgent first."""
        return [task for rank in sorted(self._levels) for task in self._levels[rank] if task._status == QUEUED]

    def since(self) -> float:
        """Return when the first of the tasks that wait came, by perf_counter."""
        return min((task._queued for level in self._levels.values() for task in level), default=0.0)

    def take_all(self) -> list[Task[Any]]:
        """Forget the tasks that wait, and return them, most urgent first."""
        taken = self.tasks()
        self._levels.clear()
        self._order.clear()
        self._parked_entries.clear()
        self.cached_level = self.head_entry = None
        self.entries = self.parked = self._stale = 0
        return taken

    def clear(self) -> None:
        """In a forked process: what waits, runs and wants to come in is the parent's."""
        self.take_all()
        self.running = 0
        self._rate_timer = None
        self.blocked_submitters.clear()

    def resync(self) -> dict[int, int]:
        """Set its own accounts right after an interrupt that came at any line; return how many tasks wait at each
        of the pool's priorities. All are to stand in line."""
        self._sweep()
        counts: dict[int, int] = {}
        for level in self._levels.values():
            for task in level:
                counts[task._spec.priority] = counts.get(task._spec.priority, 0) + 1
        self._parked_entries.clear()
        self.parked = self.running = 0
        self.entries = sum(counts.values())
        return counts

    def __repr__(self) -> str:
        return f"<Lane {self.name} running {self.running} waiting {self.waiting}{' paused' * self.paused}>"
