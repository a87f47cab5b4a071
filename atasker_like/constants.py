"""The words that have numbers: priorities, kinds of task and states of a task.

Every name is an :class:`enum.IntEnum` member, so it compares equal to the plain number that
applications have stored or written by hand, and prints as a word.
"""
from __future__ import annotations

from enum import IntEnum

__all__ = [
    "Priority", "TaskType", "TaskStatus",
    "TASK_CRITICAL", "TASK_HIGH", "TASK_NORMAL", "TASK_LOW",
    "TT_COROUTINE", "TT_THREAD", "TT_MP",
    "TASK_STATUS_QUEUED", "TASK_STATUS_DELAYED", "TASK_STATUS_STARTED",
    "TASK_STATUS_COMPLETED", "TASK_STATUS_CANCELED",
]


class Priority(IntEnum):
    """The four named priorities. Lower runs first; any other integer may be used as well."""

    CRITICAL = 0
    HIGH = 50
    NORMAL = 100
    LOW = 200


class TaskType(IntEnum):
    """Where a task runs: in an event loop, in a pool thread or in a pool process."""

    COROUTINE = 0
    THREAD = 1
    MP = 2


class TaskStatus(IntEnum):
    """The states of a task. ``COMPLETED`` and ``CANCELED`` are final."""

    CANCELED = -1
    QUEUED = 0
    DELAYED = 2
    STARTED = 100
    COMPLETED = 200


TASK_CRITICAL = Priority.CRITICAL
TASK_HIGH = Priority.HIGH
TASK_NORMAL = Priority.NORMAL
TASK_LOW = Priority.LOW

TT_COROUTINE = TaskType.COROUTINE
TT_THREAD = TaskType.THREAD
TT_MP = TaskType.MP

TASK_STATUS_QUEUED = TaskStatus.QUEUED
TASK_STATUS_DELAYED = TaskStatus.DELAYED
TASK_STATUS_STARTED = TaskStatus.STARTED
TASK_STATUS_COMPLETED = TaskStatus.COMPLETED
TASK_STATUS_CANCELED = TaskStatus.CANCELED
