"""Lanes that are stuck: all tasks that hold their slots wait for tasks that get none."""
from __future__ import annotations

from ..constants import TaskStatus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping, Sequence

__all__ = ["LOOKED_AT", "full_lane_of", "stuck_lanes"]

QUEUED = int(TaskStatus.QUEUED)

#: The most tasks of one wait that a search follows.
LOOKED_AT = 64


def _is_full(lane: Any) -> bool:
    return lane is not None and lane.limit is not None and lane.running >= lane.limit


def full_lane_of(tasks: Sequence[Any]) -> Any:
    """Return the full lane in which one of the tasks waits, or None."""
    for task in tasks[:LOOKED_AT]:
        if task._status == QUEUED and _is_full(task._spec.lane):
            return task._spec.lane
    return None


def stuck_lanes(threads: Mapping[Any, Any], coroutines: Mapping[Any, list[Any]]) -> set[Any]:
    """Return the full lanes whose running tasks all wait for tasks of such lanes.

    :param threads: by task, the wait of its thread.
    :param coroutines: by task, the waits of its coroutines.
    """
    waits: dict[Any, list[Any]] = {task: [wait] for task, wait in threads.items()}
    for waiter, found in coroutines.items():
        if waiter is not None:
            waits.setdefault(waiter, []).extend(found)
    # First all that might be, then fewer, until those left need no other one.
    stuck = {task._spec.lane for found in waits.values() for wait in found
             for task in wait.tasks[:LOOKED_AT]
             if _is_full(task._spec.lane if task._status == QUEUED else None)}

    def cannot_end(task: Any, above: tuple[Any, ...] = ()) -> bool:
        if task._status == QUEUED:
            return task._spec.lane in stuck
        own = () if task.done() else waits.get(task, ())
        return bool(own) and (task in above or all(
            cannot_end(other, (*above, task)) for wait in own for other in wait.tasks[:LOOKED_AT]))

    while True:
        for lane in stuck:
            holders = [task for task in waits if task._spec.lane is lane
                       and (task in coroutines or not lane.lends_slot)]
            if sum(map(cannot_end, holders)) < lane.running:
                stuck.discard(lane)
                break
        else:
            return stuck
