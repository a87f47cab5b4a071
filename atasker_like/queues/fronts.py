"""What a queue asks of the supervisor, in one place: a lane, and specs for it."""
from __future__ import annotations

from sys import maxsize

from ..constants import TT_MP
from ..engine.lanes import Lane
from .calls import Prepared

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, List, Optional

    from ..constants import TaskType
    from ..engine.task import Task, TaskSpec
    from ..options import TaskOptions
    from ..supervisor import TaskSupervisor
    from .calls import Call

__all__ = ["make_lane", "make_spec", "may_wait", "start_each", "tell_behind"]


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
    """Submit calls one by one, since some have keywords: all or none."""
    started: "List[Task[Any]]" = []
    try:
        for call in calls:
            started.append(spec.pool.start(spec, (), call) if type(call) is dict else spec.pool.start(spec, call, None))
    except BaseException:
        for task in reversed(started):
            task.cancel()
        raise
    return started


def may_wait(spec: "TaskSpec") -> bool:
    """Say whether who submits calls of a function may have to wait for room, in the lane or in the pool."""
    return spec.lane.size is not None or spec.pool.admission.most != maxsize       # type: ignore[attr-defined]


def tell_behind(pool: "Any", call: "Callable[[], Any]") -> bool:
    """Have a call made behind the hooks of tasks of a pool that have ended by now, and of those that have taken its place;
    False, and no call, when none are to be called."""
    while pool is not None:
        if pool.tell_behind(call):
            return True
        pool = pool.successor
    return False
