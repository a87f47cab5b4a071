"""Lanes that are stuck: all tasks that hold their slots wait for tasks that get none."""
from __future__ import annotations

from ..constants import TaskStatus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


QUEUED = int(TaskStatus.QUEUED)


def stuck_lanes(threads: dict[Any, Any], coroutines: dict[Any, list[Any]],
                looked_at: int) -> set[Any]:
    """Return the full lanes whose running tasks all wait for tasks of such lanes.

    :param threads: by task, the wait of its thread.
    :param coroutines: by task, the waits of its coroutines.
    :param looked_at: the most tasks of one wait to follow.
    """
    # Copied in one step: waits end without the lock.
    waits: dict[Any, list[Any]] = {task: [wait] for task, wait in threads.copy().items()}
    for waiter, found in coroutines.copy().items():
        if waiter is not None:
            waits.setdefault(waiter, []).extend(found)
    # First all that might be stuck, then fewer, until those left wait only for each other.
    stuck = set(waits)
    lanes = {task._spec.lane for found in waits.values() for wait in found
             for task in wait.tasks[:looked_at]
             if task._status == QUEUED and task._spec.lane is not None
             and task._spec.lane.is_full()}

    def is_stuck(task: Any) -> bool:
        return task._spec.lane in lanes if task._status == QUEUED else task in stuck

    def holders(lane: Any) -> int:
        return sum(1 for task in stuck if task._spec.lane is lane
                   and (task in coroutines or not lane.lends_slot))

    while True:
        free = [task for task in stuck if task.done() or not all(
            is_stuck(other) for wait in waits[task] for other in wait.tasks[:looked_at])]
        stuck.difference_update(free)
        opening = [lane for lane in lanes if holders(lane) < lane.running]
        lanes.difference_update(opening)
        if not free and not opening:
            return lanes
