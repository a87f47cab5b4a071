"""What a queue asks of the supervisor, in one place: a lane, and specs for it."""
from __future__ import annotations

from contextvars import copy_context
from sys import maxsize

from ..constants import TT_MP
from ..engine.callbacks import add_callback, call_late
from ..engine.lanes import Lane
from ..engine.task import Task
from ..pools.base import cancel_many
from .calls import InitializedCall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Sequence

    from ..constants import TaskType
    from ..engine.spec import TaskSpec
    from ..options import TaskOptions
    from ..supervisor.supervisor import TaskSupervisor
    from .calls import Call

__all__ = ["add_first_callback", "make_lane", "make_spec", "make_tasks", "may_block", "cancel_accepted", "call_at", "call_after_hooks"]


def make_lane(limit: int | None, rate: float | None, burst: int, size: int | None, on_full: str) -> Lane:
    """Make a lane that lets nothing through yet."""
    lane = Lane("of a queue", limit=limit, rate=rate, burst=burst, size=size, on_full=on_full)
    lane.pause()
    return lane


def make_spec(supervisor: TaskSupervisor, lane: Lane, target: Callable[..., Any], tt: TaskType,
              options: TaskOptions, rank: int, hooks: Any, loop: Any) -> TaskSpec:
    """Make what the calls of a function through a lane have in common."""
    spec = supervisor.make_spec(target, tt, options, loop=loop, lane=lane, rank=rank, hooks=hooks)
    if tt == TT_MP and isinstance(target, InitializedCall):
        # Pickled once and kept by the processes, as plain functions are: it does not change.
        from ..pools.process.child import pickle_target

        try:
            spec.blob = pickle_target(target)
        except Exception:
            pass                # each of its tasks fails with the reason
    return spec


def make_tasks(spec: TaskSpec, calls: list[Call]) -> list[Task[Any]]:
    """Make tasks of calls, which are still to be submitted."""
    context = copy_context()        # each attempt has a copy of its own
    return [Task(spec, (), call, context) if type(call) is dict else Task(spec, call, None, context) for call in calls]


def cancel_accepted(tasks: Sequence[Task[Any]]) -> tuple[list[Task[Any]], list[Task[Any]]]:
    """Their submission is about to raise: cancel those that have been accepted, from the last to the first. Return them,
    and those that have not been, in order."""
    accepted: list[Task[Any]] = []
    others: list[Task[Any]] = []
    for task in tasks:
        live = task._spec.pool.registry.live            # type: ignore[attr-defined]
        (accepted if task.done() or live.get(getattr(task, "_seq", None)) is task else others).append(task)
    cancel_many(accepted)
    return accepted, others


def add_first_callback(task: Task[Any], callback: Callable[[Task[Any]], Any]) -> None:
    """:meth:`Task.add_done_callback`, before the other callbacks: these may wait for what this one does."""
    pool: Any = task._spec.pool
    if pool.busy_here():
        pool.elsewhere(add_first_callback, task, callback)
    elif not add_callback(task, callback, first=True):
        call_late(task, callback)


def may_block(spec: TaskSpec) -> bool:
    """Say whether who submits calls of a function may have to wait for room, in the lane or in the pool."""
    return spec.lane.size is not None or spec.pool.admission.most != maxsize       # type: ignore[attr-defined]


def call_at(supervisor: TaskSupervisor, deadline: float, call: Callable[[], None]) -> Callable[[], None]:
    """Have a pool thread make a call at a point of the monotonic clock; return what takes that back, unless it is under
    way.

    :raises SupervisorStoppedError: the supervisor has been stopped.
    """
    if not supervisor._supervisor_parts.state.is_running():
        supervisor._supervisor_parts.pools.ensure_started()       # as the first task does
    timer = supervisor._supervisor_parts.pools.timer
    timer.start()
    entry = timer.call_at(deadline, supervisor._supervisor_parts.pools.threads.beside, call)
    return lambda: timer.cancel(entry)


def call_after_hooks(pool: Any, call: Callable[[], Any]) -> bool:
    """Have a call made behind the hooks of tasks of a pool that have ended by now, and of those that have taken its place;
    False, and no call, when none are to be called."""
    while pool is not None:
        if pool.tell_behind(call):
            return True
        pool = pool.successor
    return False
