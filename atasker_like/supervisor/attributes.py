"""The attributes of a supervisor that its parts hold, and how a task is looked up.

These are descriptors of the class. So this module loads neither pools nor other parts.
"""
from __future__ import annotations

from .._checks import a_kind
from .._core_errors import InvalidTypeError
from ..engine.task import Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .interpreter_exit import Supervisor

    replaceable = property
else:
    class replaceable:
        """A property without a setter, which a subclass or an instance may replace.

        Subclasses that were written for atasker may use a name that atasker does not have.
        """

        def __init__(self, get):
            self.__doc__ = get.__doc__
            self._get = get

        def __get__(self, instance, owner=None):
            return self if instance is None else self._get(instance)

__all__ = ["FormerName", "SIZES", "TIMEOUT_MESSAGE", "late_limit", "live_task", "replaceable",
           "size_of"]

#: The sizes of a pool: slots for tasks of any priority, and those in reserve.
SIZES = "pool_size", "reserve_normal", "reserve_high"

#: The log message about a task that starts late.
TIMEOUT_MESSAGE = ("supervisor {supervisor_id}: task {name} ({task_id}) started {time_spent:.1f} s "
                   "after it was queued; give the pool more slots, or the task a more urgent "
                   "priority")


def size_of(pool: str, name: str) -> Any:
    """Return a property of a supervisor that reads and sets a size of a pool, "thread" or "mp"."""
    slots = {"pool_size": "tasks of any priority",
             "reserve_normal": "tasks of priority NORMAL and higher",
             "reserve_high": "tasks of priority HIGH and higher"}[name]

    def get(self: Any) -> Any:
        parts = self._supervisor_parts
        sizes = parts.pools.thread_sizes if pool == "thread" else parts.processes.sizes
        return sizes[name]

    def set_size(self: Any, size: int) -> None:
        getattr(self, f"set_{pool}_pool")(**{name: size})

    which = "Slots" if name == "pool_size" else "More slots"
    kind = "thread" if pool == "thread" else "process"
    return property(get, set_size, doc=f"{which} of the {kind} pool for {slots}. It may be "
                                       f"assigned; see :meth:`set_{pool}_pool`.")


def late_limit(level: str, doc: str) -> Any:
    """Return a property of a supervisor that reads and sets the limit of a level."""
    def get(self: Any) -> Any:
        return getattr(self._supervisor_parts.pools.late_starts, level)

    def set_limit(self: Any, seconds: Any) -> None:
        pools = self._supervisor_parts.pools
        pools.late_starts.set_limit(level, seconds, pools.by_kind.values())

    return property(get, set_limit, doc=doc)


class FormerName:
    """A private attribute of an earlier version that gives a field of the pool manager.

    Without ``__set__``: a subclass may use the name for a field of its own.
    """

    def __init__(self, field: str) -> None:
        self._field = field

    def __get__(self, supervisor: Any, owner: type | None = None) -> Any:
        return self if supervisor is None else getattr(supervisor._supervisor_parts.pools,
                                                       self._field)


def live_task(supervisor: Supervisor, task: Task[Any] | str | None,
              task_id: str | None = None) -> Task[Any]:
    """Return the task, or the one that has the id.

    :raises InvalidTypeError: the argument is not a task.
    :raises TaskNotFoundError: no live task has the id.
    """
    if isinstance(task, Task):
        return task
    if task is not None and not isinstance(task, str):
        raise InvalidTypeError(f"task takes a Task, not {a_kind(task)}")
    task_id = task or task_id
    found: Task[Any] | None = None if task_id is None else supervisor.get_task(task_id)
    if found is None:
        from ..errors import TaskNotFoundError

        raise TaskNotFoundError(f"no live task has the id {task_id!r}; the registry forgets a task "
                                "when it ends")
    return found
