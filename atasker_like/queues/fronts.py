"""What a queue asks of the supervisor, in one place: a lane, specs for it, and the end of what runs in a thread."""
from __future__ import annotations

from time import perf_counter

from ..constants import TT_MP, TT_THREAD
from ..engine.lanes import Lane
from ..engine.task import CANCELED, STARTED
from .calls import Prepared

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, List, Optional

    from ..constants import TaskType
    from ..engine.task import Task, TaskSpec
    from ..options import TaskOptions
    from ..supervisor import TaskSupervisor
    from .calls import Call

__all__ = ["drop_lane", "give_up", "make_lane", "make_spec", "start_each"]


def make_lane(limit: "Optional[int]", rate: "Optional[float]", burst: int, size: "Optional[int]", on_full: str) -> Lane:
    """Make a lane that lets nothing through yet."""
    lane = Lane("of a queue", limit=limit, rate=rate, burst=burst, size=size, on_full=on_full)
    lane.pause()
    return lane


def make_spec(supervisor: "TaskSupervisor", lane: Lane, target: "Callable[..., Any]", tt: "TaskType",
              options: "TaskOptions", rank: int, hooks: "Any", loop: "Any") -> "TaskSpec":
    """Make what the calls of a function through a lane have in common."""
    spec = supervisor.make_spec(target, tt, options, loop=loop, lane=lane, rank=rank, hooks=hooks)
    if tt == TT_MP and isinstance(target, Prepared):
        # Pickled once and kept by the processes, as plain functions are: it does not change.
        from ..pools.child import pickle_target

        try:
            spec.blob = pickle_target(target)
        except Exception:
            pass                # each of its tasks fails with the reason
    return spec


def start_each(spec: "TaskSpec", calls: "List[Call]") -> "List[Task[Any]]":
    """Submit calls one by one, since some have keywords."""
    return [spec.pool.start(spec, (), call) if type(call) is dict else spec.pool.start(spec, call, None)
            for call in calls]


def drop_lane(lane: Lane) -> None:
    """Have the pool forget a lane that no task will come through any more."""
    pool: "Any" = lane._pool
    if pool is not None:
        with pool.lock:
            if not lane.waiting and not lane.running:
                pool.admission.lanes.discard(lane)
                lane._pool = None


def give_up(task: "Task[Any]") -> None:
    """Make a task that runs in a thread final, as cancelled, without waiting for its function.

    The thread goes on, and its place is another one's: it counts as abandoned, as after a timeout. Tasks of other pools
    are left alone: cancelling them is enough.
    """
    if task.tt != TT_THREAD:
        return
    pool: "Any" = task._spec.pool
    watchers = None
    chores: "Any" = []
    with pool.lock:
        runner = pool._runner(task) if task._status == STARTED else None
        if runner is not None:
            pool._give_up(runner)
            watchers = pool._conclude(task, CANCELED, perf_counter())
            chores = pool._dispatch_chores()
    pool._announce(task, watchers, inline=False)
    for chore in chores:
        chore()
