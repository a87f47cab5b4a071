"""Lane: a limit in front of a pool.

The tasks of a lane wait in the lane, most urgent first. In the pool's run queue, *entries*
represent them, one for each task. One `LaneEntry` object stands for several entries in a row::

    lane 'db':  rank 0: T7           run_queue:   HIGH    A
                rank 3: T2 T4 T5                  NORMAL  B  entry of 'db' x 3  C  entry of 'db' x 1

An entry is not tied to a task. When it reaches the head of the run queue, the lane supplies the
most urgent task that it has by then. If the lane may not start a task, because its limit is reached
or its rate allows none yet, its entries leave the run queue and are *parked*. When the lane may
start tasks again, they return to the head. So a blocked lane blocks no task outside of it, tasks
that came before an entry start before it, and a task without a lane bears no cost of lanes.

The pool's lock must be held for everything in this module but the settings. This is pure policy, as
in `run_queue`. For a rate, the pool supplies the clock and the timer.
"""
from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from sys import maxsize

from .._checks import ends_traceback
from .._log import log
from ..errors import InvalidArgumentError, InvalidTypeError
from ..options import check_lane
from .task import QUEUED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Container, Protocol, Sequence

    from typing_extensions import Unpack

    from ..options import LaneSettings, OnFull
    from .spec import Callbacks, TaskSpec
    from .task import Task
    from .timer import Timer, TimerEntry

    class LaneEvents(Protocol):
        """What the pool does when a lane changes."""

        def changed(self, lane: Lane) -> None: ...
        def opens(self, lane: Lane) -> None: ...
        def ends(self, lane: Lane) -> None: ...
        def wake_submitters(self, lane: Lane) -> None: ...

    class LanePool(Protocol):
        """The part of the pool's interface that its lanes use."""

        name: str
        lock: Any
        timer: Timer
        run_queue: Any
        draining: bool

        @property
        def replacement(self) -> LanePool | None: ...

        @property
        def lane_events(self) -> LaneEvents: ...


#: The status of an entry; no task has it.
LANE_ENTRY = 1

#: The fraction of a token that the rounding of floats may lose.
_ROUNDING = 1e-9


class LaneEntry:
    """Represents successive tasks of a lane in the run queue."""

    __slots__ = ("lane", "count", "since")

    _status = LANE_ENTRY
    _spec = None        # matches the spec of no task

    def __init__(self, lane: Lane, count: int, since: float) -> None:
        self.lane: Lane = lane
        self.count: int = count     # an upper bound of the tasks represented: see Lane.entries
        self.since: float = since   # submission time of the first task, by perf_counter


class Lane:
    """A limit in front of a pool: on running tasks, starts a second, waiting tasks.

    :param name: the name in messages and in :meth:`TaskSupervisor.get_lanes` (default: None).
    :param limit: how many tasks of the lane may run at once (default: None, as many as the pool
        allows).
    :param rate: how many tasks may start a second, on average (default: None, any number).
    :param burst: with a rate, how many tasks may start at once after a pause (default: 1).
    :param size: how many tasks may wait in the lane (default: None, any number).
    :param on_full: the effect of a submission to a full lane (default: ``'block'``): ``'block'``
        makes the submitter wait, ``'raise'`` raises :class:`QueueFullError`, ``'drop'`` accepts the
        task and cancels it.
    :raises InvalidTypeError: (a TypeError) a setting has the wrong type.
    :raises InvalidArgumentError: (a ValueError) a setting has an impossible value.

    The first task binds the lane to one pool: the threads, processes or coroutines of one
    supervisor. Any thread may call the methods. In the process pool, a slot of the lane is a
    process that has tasks of the lane; short tasks are sent ahead to it.

    >>> database = Lane('db', limit=2)
    >>> task = background_task(abs, lane=database)(-3)
    >>> task.value()
    3
    """

    __slots__ = ("name", "limit", "rate", "burst", "size", "on_full", "paused", "lends_slot",
                 "running", "entries", "parked", "fast_limit", "head_entry", "cached_level",
                 "blocked_submitters", "_parked_entries", "_levels", "_order", "_stale", "pool",
                 "_bound", "_tokens", "_refilled_at", "_rate_timer", "find", "refusal", "advice",
                 "_warned", "callbacks", "__weakref__")

    @ends_traceback
    def __init__(self, name: str | None = None, limit: int | None = None, rate: float | None = None,
                 burst: int = 1, size: int | None = None, on_full: OnFull = "block") -> None:
        if name is not None and not isinstance(name, str):
            raise InvalidTypeError(f"a lane's name is a string, not {type(name).__name__}")
        self.name: str = name or "unnamed"
        self.limit: int | None = None
        self.rate: float | None = None
        self.size: int | None = None
        self.burst: int = 1
        self.on_full: str = "block"
        self.paused: bool = False
        self.lends_slot: bool = True  # a task in a thread lends its slot while it waits
        #: Slots in use: running tasks; in the process pool, processes that have tasks of the lane.
        self.running: int = 0
        #: Each waiting task has an entry, either in the run queue or parked. Withdrawn tasks have
        #: none. After withdrawals, the counts of the LaneEntry objects may add up to more.
        self.entries: int = 0   # in the run queue
        self.parked: int = 0
        #: This many tasks may run without a check of the settings; -1 if each start needs it.
        self.fast_limit: int = maxsize
        self.head_entry: LaneEntry | None = None    # the run queue's head, when last taken from
        #: The level of the task that was taken last; None if a more urgent task may be there.
        self.cached_level: deque[Task[Any]] | None = None
        self.blocked_submitters: deque[Any] = deque()       # locks of submitters waiting for room
        self._parked_entries: dict[int, LaneEntry] = {}     # by priority, merged into one each
        self._levels: dict[int, deque[Task[Any]]] = {}      # by rank, each first in, first out
        self._order: list[int] = []                         # a heap of the ranks that have a level
        self._stale = 0                                     # withdrawn tasks still in a level
        self.pool: LanePool | None = None                   # the pool that the lane is bound to
        self._bound: dict[str, LanePool] = {}               # the same, as soon as bind() begins
        self._tokens, self._refilled_at = 0.0, 0.0          # starts allowed, as of that time
        self._rate_timer: TimerEntry | None = None          # fires when the next task may start
        #: For a placeholder: returns the lane that it stands for, or raises. None for a lane.
        self.find: Callable[[], Lane] | None = None
        #: For a queue's lane: returns the error for a submission that finds no room, or None if it
        #: may wait for room.
        self.refusal: Callable[[], Exception | None] | None = None
        #: For a queue's lane: returns the advice for a wait while the lane is paused, or None if
        #: the queue resumes the lane by itself.
        self.advice: Callable[[], str | None] | None = None
        self._warned = False      # a warning was logged since the lane was paused
        #: The done callbacks that a queue waits for; None for other lanes.
        self.callbacks: Callbacks | None = None
        self.configure(limit=limit, rate=rate, burst=burst, size=size, on_full=on_full)

    @classmethod
    def named(cls, name: str, find: Callable[[], Lane]) -> Lane:
        """Make the placeholder for a lane that a function names but that is not made yet.

        It is never bound, since functions of several pools may have the name. It has no room. So
        the first submission reaches the slow path, which calls ``find`` and gives the function the
        lane. The fast path needs no check.
        """
        lane = cls(name)
        lane.size, lane.find = 0, find
        return lane

    def give_way(self, spec: TaskSpec, pool: LanePool) -> None:
        """Give a function the lane that this placeholder stands for. (no lock)

        :raises InvalidArgumentError: the lane was not made, or it is bound to another pool.
        """
        assert self.find is not None
        lane = self.find()
        lane.bind(pool)         # first: another thread may submit a task of the function at once
        spec.lane = lane

    # -- settings: any thread ----------------------------------------------------------------------

    @ends_traceback
    def configure(self, **settings: Unpack[LaneSettings]) -> None:
        """Change settings, named as in the constructor; the rest stay.

        Running tasks are not affected. The errors are those of the constructor;
        if one is raised, no setting changes.
        """
        checked = check_lane(self.name, **settings)
        self._change(self._set, checked)

    def pause(self) -> None:
        """Start no task of the lane until :meth:`resume`.

        Running tasks go on. New tasks are accepted, and wait. When the supervisor is stopped, the
        tasks that wait in a paused lane are cancelled, as delayed tasks are.
        """
        self._change(self._set_paused, True)

    def resume(self) -> None:
        """Start tasks again."""
        self._change(self._set_paused, False)

    def advice_on_pause(self) -> str | None:
        """Return the advice for a wait during a pause; None if the pause ends by itself."""
        if self.advice is not None:
            return self.advice()
        return f"lane {self.name!r} is paused; call its resume()"

    def warn_of_wait(self, what: str) -> None:
        """Warn, once a pause, of a wait that the pause makes endless. (no lock)"""
        if self._warned:
            return
        advice = self.advice_on_pause()
        if advice is not None:
            self._warned = True
            log.warning(
                "a wait for %s cannot end by itself: %s before the wait, or from other code",
                what, advice)

    def wake_submitters(self) -> None:
        """Make waiting submissions try again, so that they see the refusal."""
        if self.pool is not None:
            self.pool.lane_events.wake_submitters(self)

    def _set_fast_limit(self) -> None:
        looked_at = self.paused or self.rate is not None
        self.fast_limit = -1 if looked_at else maxsize if self.limit is None else self.limit

    def _change(self, change: Callable[[Any], None], value: Any) -> None:
        pool = self.pool
        if pool is None:        # not used yet
            change(value)
            pool = self.pool
            if pool is None:
                return          # else another thread has bound it meanwhile, and used it
        with pool.lock:
            change(value)
        pool.lane_events.changed(self)

    def _set(self, settings: dict[str, Any]) -> None:
        for name, value in settings.items():
            setattr(self, name, value)
        self._set_fast_limit()
        if "rate" in settings or "burst" in settings:
            self._tokens = float(self.burst)
            if self.pool is not None:
                self.pool.timer.cancel(self._rate_timer)
            self._rate_timer = None

    def _set_paused(self, paused: bool) -> None:
        self.paused = paused
        if not paused:
            self._warned = False
        self._set_fast_limit()

    def bind(self, pool: LanePool) -> None:
        """Bind the lane to the pool of a function that is about to be called.

        :raises InvalidArgumentError: the lane is bound to another pool.
        """
        if self.pool is pool:
            return
        # The locks of two pools do not exclude each other, so the first bind is one atomic step.
        before = self._bound.setdefault("pool", pool)
        last: LanePool | None = before
        while last is not None and last is not pool:
            last = last.replacement       # the pool that replaced it
        if last is None:
            raise InvalidArgumentError(f"lane {self.name!r} stands in front of {before.name} and "
                                       f"cannot have tasks of {pool.name}; use a lane for each")
        with pool.lock:
            if self.pool is pool:
                return                    # another thread has bound it meanwhile
            pool.run_queue.lanes.add(self)
            self.pool = self._bound["pool"] = pool
            self._refilled_at = pool.timer.clock()
            self._tokens = float(self.burst)

    def unbind(self) -> None:
        """Let the lane be bound to another pool. (lock held)"""
        self.pool = None
        self._bound.clear()

    def close(self, refusal: Callable[[], Exception]) -> None:
        """Accept no more tasks. Those accepted go on.

        :param refusal: returns the error for a submission.
        """
        pool = self.pool
        assert pool is not None
        with pool.lock:
            self.refusal = refusal
            self.size = 0       # no submission finds room, so each asks for the refusal

    def end(self) -> None:
        """Make the pool forget the lane, unless it has tasks.

        No further task may be submitted.
        """
        if self.pool is not None:
            self.pool.lane_events.ends(self)

    # -- tasks: the pool's lock is held ------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """The number of waiting tasks, without withdrawn ones."""
        return self.entries + self.parked

    def is_full(self) -> bool:
        """Return True if its limit allows no further task to run."""
        return self.limit is not None and self.running >= self.limit

    def has_room(self) -> bool:
        """Return True if another task may wait in the lane."""
        return self.size is None or self.waiting < self.size

    def push(self, task: Task[Any]) -> None:
        """Add a task behind those of its rank. The caller adds its entry."""
        self._level(task._spec.lane_order).append(task)

    def push_parked(self, task: Task[Any]) -> bool:
        """Add a task and its entry to the parked ones, since the lane is full or paused.

        Return False, without adding it, if it might start, or if no task of its priority is parked.
        The process pool does not call this: a process that has tasks of the lane may get more.
        """
        entry = self._parked_entries.get(task._spec.priority)
        if entry is None or not (0 <= self.fast_limit <= self.running
                                 or self.paused and not self.pool.draining):   # type: ignore
            return False
        self.push(task)
        entry.count += 1
        self.parked += 1
        return True

    def push_batch(self, rank: int, tasks: Sequence[Task[Any]]) -> None:
        """Add many tasks of one rank, in their order. The caller adds their entries."""
        self._level(rank).extend(tasks)

    def requeue(self, task: Task[Any]) -> None:
        """Put a taken task back at the head of its rank. The caller adds its entry.

        The task gets its token back, so the rate does not delay its next start.
        """
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
        """Return True if no task of the lane may start now.

        :param holder: the lanes whose tasks a pool process has; a further task of these needs no
            slot.
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
            self._rate_timer = pool.timer.call_at(
                now + (1 - self._tokens) / rate, pool.lane_events.opens, self)
        return False

    def rate_timer_fired(self) -> None:
        """Forget the timer entry, whose call has come."""
        self._rate_timer = None

    def peek(self) -> Task[Any] | None:
        """Return the most urgent task, or None, without taking it."""
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
        """Take the most urgent task. The caller has taken its entry, so there is one."""
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
        """Take up to ``most`` tasks, beginning with the result of the last peek().

        Only tasks of the function that ``spec`` describes, at the same rank, are taken. The list is
        empty if the first task is one of another function. The caller takes their entries.
        """
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

    def discard(self) -> bool:
        """Withdraw a waiting task, whose state has just changed.

        Return True if its entry was in the run queue, False if it was parked.
        """
        self._stale += 1
        stood = self.entries > 0
        if stood:
            self.entries -= 1
        else:
            self.parked -= 1
            if not self.parked:
                self._parked_entries.clear()
        if not self.waiting:
            self._clear_levels()
        elif self._stale > 64 and self._stale > self.waiting:
            self._sweep()
        return stood

    def note_stale(self) -> None:
        """Count a withdrawn task that the caller has taken from a level and dropped."""
        self._stale -= 1

    def _clear_levels(self) -> None:
        self._levels.clear()
        self._order.clear()
        self.cached_level = self.head_entry = None
        self._stale = 0

    def _sweep(self) -> None:
        levels = {rank: deque(task for task in level if task._status == QUEUED)
                  for rank, level in self._levels.items()}
        self._levels = {rank: level for rank, level in levels.items() if level}
        self._order = sorted(self._levels)      # a sorted list is a heap
        self.cached_level = None
        self._stale = 0

    def park(self, priority: int, entry: LaneEntry) -> int:
        """Keep an entry that reached the head of the run queue.

        Return its number of tasks.
        """
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
        """Unpark all entries and return them by priority, for the run queue."""
        back, self._parked_entries = self._parked_entries, {}
        self.entries += self.parked
        self.parked = 0
        return back

    def tasks(self) -> list[Task[Any]]:
        """Return the waiting tasks, most urgent first."""
        return [task for rank in sorted(self._levels) for task in self._levels[rank]
                if task._status == QUEUED]

    def since(self) -> float:
        """Return the submission time of the oldest waiting task, by perf_counter."""
        return min((task._queued for level in self._levels.values() for task in level), default=0.0)

    def take_all(self) -> list[Task[Any]]:
        """Remove all waiting tasks, and return them, most urgent first."""
        taken = self.tasks()
        self._clear_levels()
        self._parked_entries.clear()
        self.entries = self.parked = 0
        return taken

    def clear(self) -> None:
        """Forget all tasks and submitters in a forked process: they are the parent's."""
        self.take_all()
        self.running = 0
        self._rate_timer = None
        self.blocked_submitters.clear()

    def resync(self) -> dict[int, int]:
        """Recompute the counts after an interrupt that came at any line.

        Return the number of waiting tasks for each of the pool's priorities. The caller puts an
        entry for each task into the run queue.
        """
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
        return (f"<Lane {self.name} running {self.running} waiting {self.waiting}"
                f"{' paused' * self.paused}>")
