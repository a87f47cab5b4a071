"""The attributes of a supervisor that its parts hold, and its methods for the package itself.

The attributes are descriptors of the class. So this module loads neither pools nor other parts.
"""
from __future__ import annotations

from .._checks import a_kind, ends_traceback
from .._core_errors import InvalidTypeError
from ..engine.task import Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from concurrent.futures import Future
    from typing import Any, Callable, Mapping, Sequence

    from ..constants import TaskType
    from ..engine.lanes import Lane
    from ..engine.spec import TaskSpec
    from ..loops import ALoop
    from ..options import TaskOptions
    from ..pools.base import Pool
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

__all__ = ["FormerName", "InternalMethods", "SIZES", "TIMEOUT_MESSAGE", "late_limit", "live_task",
           "process_pool", "replaceable", "size_of"]

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


def _mp_pool(self: Any) -> Any:
    """The pool that runs process tasks: the supervisor's own, or an executor that you assign.

    None before one was made: :meth:`create_mp_pool` or the first process task makes the own
    pool. It is used like a :class:`~multiprocessing.pool.Pool`: it has ``apply``, ``map``,
    ``starmap``, ``imap``, their variants, ``close``, ``terminate`` and ``join``.

    Assign any :class:`concurrent.futures.Executor` (of Dask, Ray, loky, MPI...) or a
    :class:`~multiprocessing.pool.Pool` to have it run the tasks. The supervisor still orders,
    delays, retries and watches them. ``set_mp_pool`` sets the number of calls that the executor
    is given at a time (default: as many as it runs at once). The supervisor never shuts it
    down. None puts the own pool back.

    :raises InvalidTypeError: (a TypeError) it is no executor and no pool.
    :raises SupervisorBusyError: (a RuntimeError) tasks are alive in the own pool, or in an
        executor that the own pool is to follow. An executor may follow another one at any time.
    """
    parts = self._supervisor_parts
    return None if parts.pools.processes is None else parts.processes.view(self)


def _set_mp_pool(self: Any, executor: Any) -> None:
    self._supervisor_parts.processes.use(executor)


#: The property ``mp_pool`` of a supervisor.
process_pool: Any = property(_mp_pool, _set_mp_pool)


class FormerName:
    """A private attribute of an earlier version that gives a field of the pool manager.

    Without ``__set__``: a subclass may use the name for a field of its own.
    """

    def __init__(self, field: str) -> None:
        self._field = field

    def __get__(self, supervisor: Any, owner: type | None = None) -> Any:
        return self if supervisor is None else getattr(supervisor._supervisor_parts.pools,
                                                       self._field)


class InternalMethods:
    """The base of supervisors: methods for the layers above, which the reference leaves out."""

    if TYPE_CHECKING:
        _supervisor_parts: Any

    # The names of the pools in version 0.1. Programs that look into the pools go on working.
    _threads: Any = FormerName("threads")
    _processes: Any = FormerName("processes")

    def pool_for(self, tt: TaskType) -> Pool:
        """Return the pool that runs tasks of a kind; the process pool is made on first use."""
        return self._supervisor_parts.pools.pool_for(tt)    # type: ignore[no-any-return]

    @ends_traceback
    def spawn_thread(self, target: Callable[..., Any], args: Sequence[Any] = (),
                     kwargs: Mapping[str, Any] | None = None) -> Future[Any]:
        """Run a function in a pool thread at once, outside of the run queue and its slots.

        It is not a task. Return a :class:`concurrent.futures.Future`. What the function raises is
        logged as well.
        """
        pools = self._supervisor_parts.pools
        return pools.spawn(target, args, dict(kwargs or {}))    # type: ignore[no-any-return]

    def make_spec(self, target: Any, tt: TaskType | None, options: TaskOptions,
                  callback: Callable[[Any], Any] | None = None, loop: Any = None,
                  worker: Any = None, lane: Lane | str | None = None, rank: int | None = None,
                  hooks: Any = None, named_id: bool = False) -> TaskSpec:
        """Check a function and what its calls have in common, and return that as one object.

        :param lane: a lane, or the name of one of this supervisor's.
        :param rank: the order within the lane, lower first (default: the priority).
        :param hooks: has ``started(task)``, ``retried(task, error)`` and ``ended(task)``, which a
            pool thread calls, one at a time and in order. It logs what they raise.
        :param named_id: pass ``_task_id`` only to a function that names it.
        :raises InvalidTypeError: not callable, or a coroutine function where it cannot run, or the
            reverse.
        :raises InvalidArgumentError: the lane limits another pool.
        """
        return self._supervisor_parts.specs.make(               # type: ignore[no-any-return]
            target, tt, options, callback, loop, worker, lane, rank, hooks, named_id)

    def own_loop(self) -> ALoop:
        """Return the supervisor's own loop. The first use starts it, and the supervisor.

        While a stop finishes the accepted tasks, the loop is still there.

        :raises SupervisorStoppedError: (a RuntimeError) the supervisor has been stopped.
        """
        return self._supervisor_parts.pools.own_loop()      # type: ignore[no-any-return]


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
