"""What a queue asks of the supervisor, in one place: a lane, specs for it, and the end of what runs in a thread."""
from __future__ import annotations

from time import perf_counter

from ..constants import TT_THREAD
from ..engine.task import CANCELED, STARTED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Optional

    from ..constants import TaskType
    from ..engine.task import Task, TaskSpec
    from ..options import TaskOptions
    from ..supervisor import TaskSupervisor

__all__ = ["give_up", "make_lane", "make_spec"]


class _Lane:            # STAND-IN: deleted when engine/lanes.py is there
    def __init__(self, limit, rate, burst, size, on_full):
        self.limit, self.size, self.on_full, self.paused, self.pools = limit, size, on_full, False, []

    def adopt(self, pool):
        if pool not in self.pools:
            self.pools.append(pool)
            pool.limit(self.size, self.on_full, None)
            self._apply()

    def _apply(self):
        for pool in self.pools:
            if self.paused:
                pool.admission._low = pool.admission._normal = pool.admission._high = 0
            elif pool.tt == 1:
                pool.resize(self.limit or 8, 0, 0, 0, None)
            elif pool.tt == 2:
                pool.resize(self.limit or 2, 0, 0, 0)
            else:
                pool.admission.resize(0, 0, 0)

    def pause(self):
        self.paused = True
        self._apply()

    def resume(self):
        self.paused = False
        self._apply()

    @property
    def running(self):
        return sum(pool.admission.active for pool in self.pools)


def make_lane(limit: "Optional[int]", rate: "Optional[float]", burst: int, size: "Optional[int]", on_full: str) -> "Any":
    """Make a lane that lets nothing through yet."""
    lane = _Lane(limit, rate, burst, size, on_full)
    lane.pause()
    return lane


def make_spec(supervisor: "TaskSupervisor", lane: "Any", target: "Callable[..., Any]", tt: "TaskType",
              options: "TaskOptions", rank: int, hooks: "Any", loop: "Any") -> "TaskSpec":
    """Make what the calls of a function through a lane have in common."""
    from ..engine.task import TaskSpec

    class Spec(TaskSpec):
        __slots__ = ("rank",)

    made = supervisor.make_spec(target, tt, options.replace(priority=1000 + rank), loop=loop)
    spec = Spec(made.pool, made.target, made.options, made.tt, None, loop, None, made.takes_id)
    spec.rank = rank
    lane.adopt(spec.pool)
    return spec


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
