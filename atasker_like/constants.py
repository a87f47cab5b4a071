"""Named numbers: priorities, kinds of task and states of a task.

Every name is an :class:`enum.IntEnum` member. It equals the plain number that applications have
stored or written by hand, prints as this number on every Python, and pickles as a plain ``int``.
"""
from __future__ import annotations

from enum import IntEnum

from . import _modes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    N = TypeVar("N", bound=IntEnum)

__all__ = [
    "Priority", "TaskType", "TaskStatus",
    "TASK_CRITICAL", "TASK_HIGH", "TASK_NORMAL", "TASK_LOW",
    "TT_COROUTINE", "TT_THREAD", "TT_MP",
    "TASK_STATUS_QUEUED", "TASK_STATUS_DELAYED", "TASK_STATUS_STARTED",
    "TASK_STATUS_COMPLETED", "TASK_STATUS_CANCELED",
]


def _repr(number: Any) -> str:
    # Programs that were written for plain numbers print lists and dicts of them.
    return int.__repr__(number) if _modes.legacy else IntEnum.__repr__(number)


def _reduce_ex(number: Any, protocol: Any) -> tuple[type[int], tuple[int]]:
    # A program that loads the number need not have this package.
    return int, (int(number),)


def _plain_numbers(kind: type[N]) -> type[N]:
    """Have the members of an IntEnum show and pickle as numbers; only the repr shows the name."""
    kind.__repr__ = _repr           # type: ignore[method-assign]
    kind.__reduce_ex__ = _reduce_ex     # type: ignore[assignment, method-assign]
    # Before Python 3.11 the str() of an IntEnum is its name, and format() goes by str().
    kind.__str__ = int.__repr__     # type: ignore[method-assign]
    kind.__format__ = int.__format__    # type: ignore[method-assign]
    return kind


@_plain_numbers
class Priority(IntEnum):
    """The four named priorities. Lower runs first; any other integer may be used as well.

    It is a constant for all threads.

    >>> Priority.HIGH, Priority.HIGH == 50, f'{Priority.HIGH}'
    (<Priority.HIGH: 50>, True, '50')
    """

    CRITICAL = 0
    HIGH = 50
    NORMAL = 100
    LOW = 200


@_plain_numbers
class TaskType(IntEnum):
    """The kinds of task: run in an event loop, in a pool thread or in a pool process.

    >>> background_task(pow)(2, 3).tt == TaskType.THREAD
    True
    """

    COROUTINE = 0
    THREAD = 1
    MP = 2


@_plain_numbers
class TaskStatus(IntEnum):
    """The states of a task. ``COMPLETED`` and ``CANCELED`` are final.

    It is a constant for all threads.

    >>> task = background_task(pow)(2, 3)
    >>> task.value(), task.status == TaskStatus.COMPLETED
    (8, True)
    """

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
