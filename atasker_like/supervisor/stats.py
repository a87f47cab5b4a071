"""The frozen objects that ``get_info()``, ``stats()`` and ``stop()`` return."""
from __future__ import annotations

from types import SimpleNamespace

from .. import _modes
from ..constants import TT_MP, TT_THREAD, TaskType
from ..engine.task import DELAYED, STARTED
from .attributes import SIZES
from .snapshots import JobSchedulersByName

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable, Sequence, TextIO

    from ..engine.task import Task
    from ..pools.base import Pool


class _Frozen:
    """An object whose attributes the constructor sets, and the repr shows."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} is a snapshot; it does not change")

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return {name: _as_data(value) for name, value in self.__dict__.items()}

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.__dict__.items())
        return f"{type(self).__name__}({fields})"


def _as_data(value: Any) -> Any:
    if isinstance(value, _Frozen):
        return value.as_dict()
    if isinstance(value, dict):
        return {key: _as_data(item) for key, item in value.items()}
    return value


class Info(_Frozen):
    """The state of a supervisor: the answer of ``get_info()``.

    It has ``id``, ``active``, ``started`` (epoch seconds or None); ``thread_pool_size``,
    ``thread_reserve_normal``, ``thread_reserve_high``, and the same with ``mp_`` (None without a
    process pool); ``thread_tasks`` and ``mp_tasks`` (ids of running tasks),
    ``thread_tasks_count`` and ``mp_tasks_count``; ``aloops``, ``schedulers``,
    ``async_job_schedulers``, and ``tasks``, the live tasks by id.

    ``vars(info)`` has no sizes of a process pool if there is none, and no ids that were not asked
    for. Under ``exec`` and ``install()``, fields can be assigned and added. A pickle is a
    :class:`types.SimpleNamespace` with plain copies of the tasks, loops and schedulers, so that
    another program can load it without this package. Any thread may use it.

    >>> import pickle
    >>> task = task_supervisor.put_task(pow, (2, 3), delay=60)
    >>> info = pickle.loads(pickle.dumps(task_supervisor.get_info()))
    >>> info.tasks[task.id].state, type(info).__name__
    ('pending', 'SimpleNamespace')
    >>> task.cancel()
    True
    """

    thread_tasks: Sequence[str] = ()
    mp_tasks: Sequence[str] = ()
    mp_pool_size: int | None = None
    mp_reserve_normal: int | None = None
    mp_reserve_high: int | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        if not _modes.legacy:
            super().__setattr__(name, value)
        self.__dict__[name] = value         # subclasses of the supervisor add fields

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return SimpleNamespace, (), dict(self.__dict__)

    if TYPE_CHECKING:
        id: str
        active: bool
        started: float | None
        thread_pool_size: int
        thread_reserve_normal: int
        thread_reserve_high: int
        thread_tasks_count: int
        mp_tasks_count: int
        aloops: dict[str, Any]
        schedulers: dict[str, Any]
        async_job_schedulers: dict[str, Any]
        tasks: dict[str, Task[Any]]

    def display(self, file: TextIO | None = None) -> None:
        """Print the state, the sizes of the pools, and the live tasks, the oldest first.

        No line is wider than the terminal. Any thread may call it.

        :param file: the stream to print to (default: stdout).
        """
        from .displays import show_info

        show_info(self, file)


class _Counts(_Frozen):
    """The numbers that each pool has, and all pools together."""

    if TYPE_CHECKING:
        waiting: int
        active: int
        abandoned: int
        submitted: int
        succeeded: int
        failed: int
        cancelled: int


class PoolStats(_Counts):
    """The numbers of one pool.

    ``depth`` maps a priority to the number of waiting tasks. ``waiting``, ``delayed``, ``active``
    and ``abandoned`` are present numbers. ``submitted``, ``succeeded``, ``failed``, ``cancelled``
    and ``retried`` count since the start; ``dropped`` counts the cancelled tasks for which a full
    queue had no room. ``wait`` and ``run`` hold p50, p90, p99 and max of the last tasks, in
    seconds.

    Any thread may use it.

    >>> supervisor = TaskSupervisor()
    >>> supervisor.put_task(pow, (2, 3)).value()
    8
    >>> supervisor.stats().thread.submitted, supervisor.stats().thread.waiting
    (1, 0)
    >>> supervisor.stop().complete
    True
    """

    if TYPE_CHECKING:
        depth: dict[int, int]
        delayed: int
        retried: int
        dropped: int
        wait: dict[str, float | None]
        run: dict[str, float | None]


class Stats(_Counts):
    """The numbers of a supervisor: ``thread``, ``process`` and ``coroutine``, and their sums.

    Any thread may use it.

    >>> supervisor = TaskSupervisor()
    >>> supervisor.put_task(pow, (2, 3)).value()
    8
    >>> supervisor.stats().succeeded, supervisor.stats().process
    (1, None)
    >>> supervisor.stop().complete
    True
    """

    if TYPE_CHECKING:
        thread: PoolStats
        process: PoolStats | None
        coroutine: PoolStats

    def display(self, file: TextIO | None = None) -> None:
        """Print the numbers of the pools as a table, no wider than the terminal.

        Any thread may call it.

        :param file: the stream to print to (default: stdout).
        """
        from .displays import show_stats

        show_stats(self, file)


class StopReport(_Frozen):
    """What became of the tasks that were alive when a supervisor was stopped.

    ``finished`` tasks ended by themselves; the stop cancelled the ``cancelled`` ones.
    ``abandoned`` threads, and calls of an executor of the application, still run a function after
    the end of its task. ``killed`` processes were ended by force. ``items_left`` items are in the
    queues of queue workers, started or not; they wait for the next start of their worker.
    ``results_left`` results were not stored in the result backend.

    ``complete`` is False if the stop has not ended: then the numbers count until now. It is also
    False if queue workers were to finish their items and some are left, or if results are left.

    Any thread may use it.

    >>> supervisor = TaskSupervisor()
    >>> task = supervisor.put_task(pow, (2, 3))
    >>> report = supervisor.stop(wait=10)
    >>> report.complete, report.cancelled, task.value()
    (True, 0, 8)
    """

    if TYPE_CHECKING:
        finished: int
        cancelled: int
        abandoned: int
        killed: int
        items_left: int
        results_left: int
        complete: bool


class WorkerStats(_Frozen):
    """The numbers of a worker since it was made: the answer of ``worker.stats()``.

    ``runs`` of its function, of which ``failures`` raised; ``missed`` ticks of an interval;
    ``restarts`` after a run that failed, or returned False; ``waiting`` items in its queue;
    ``last_executed``, a perf_counter reading, and ``last_duration`` in seconds, or None;
    ``active``, the answer of ``is_active()``; ``running``: its function runs, or is about to.

    Any thread may use it.

    >>> @background_worker(interval=0.001)
    ... def tick():
    ...     return False
    >>> tick.start(), tick.wait_until_stop(10)
    (True, True)
    >>> tick.stats().runs, tick.stats().failures
    (1, 0)
    """

    if TYPE_CHECKING:
        name: str
        active: bool
        running: bool
        runs: int
        failures: int
        missed: int
        restarts: int
        waiting: int
        last_executed: float | None
        last_duration: float | None


def ended(pools: Iterable[Pool]) -> tuple[int, int, int]:
    """Return the numbers of finished tasks, of cancelled ones, and of killed processes."""
    finished = cancelled = killed = 0
    for pool in pools:
        with pool.lock:
            registry = pool.registry
            cancelled += registry.cancelled
            finished += registry.last - len(registry.live) - registry.cancelled
            killed += pool.killed
    return finished, cancelled, killed


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """Return the value at a share of an ascending sequence (0.5: the median); None if empty."""
    if not ordered:
        return None
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _spread(values: Iterable[float]) -> dict[str, float | None]:
    ordered = sorted(values)
    return {"p50": percentile(ordered, 0.5), "p90": percentile(ordered, 0.9),
            "p99": percentile(ordered, 0.99), "max": ordered[-1] if ordered else None}


def pool_stats(pool: Pool) -> PoolStats:
    """Take the snapshot of a pool. Any thread may call it."""
    registry, run_queue = pool.registry, pool.run_queue
    with pool.lock:
        history: tuple[tuple[float, float, float], ...] = tuple(registry.history)
        fields = {
            "depth": run_queue.depths(), "waiting": run_queue.total_waiting(),
            "delayed": sum(1 for task in registry.live.values() if task._status == DELAYED),
            "active": run_queue.active, "abandoned": pool.abandoned,
            "submitted": registry.last, "succeeded": registry.succeeded, "failed": registry.failed,
            "cancelled": registry.cancelled, "retried": registry.retried,
            "dropped": registry.dropped_when_full,
        }
    return PoolStats(**fields, wait=_spread(started - queued for queued, started, _ in history),
                     run=_spread(completed - started for _, started, completed in history))


def running_ids(pool: Pool | None) -> tuple[str, ...]:
    """Return the ids of the tasks that a pool is running; none without a pool."""
    if pool is None:
        return ()
    with pool.lock:
        running = pool.registry.in_state(STARTED)
    return tuple(task.id for task in running)


def take_info(supervisor: Any, tt: Any, aloops: bool, schedulers: bool,
              async_job_schedulers: bool) -> Info:
    """Take the snapshot that ``get_info()`` returns; the arguments are its own.

    Methods of the supervisor that a subclass may override give the tasks, loops and schedulers.
    """
    parts = supervisor._supervisor_parts
    pools, state = parts.pools, parts.state
    is_active = state.is_running()
    threads, processes = running_ids(pools.threads), running_ids(pools.processes)
    fields = {f"thread_{name}": pools.thread_sizes[name] for name in SIZES}
    if pools.processes is not None:
        fields.update((f"mp_{name}", parts.processes.sizes[name]) for name in SIZES)
    if tt is not False:
        as_ids: Any = list if _modes.legacy else tuple
        fields.update(thread_tasks=as_ids(threads if tt in (None, TT_THREAD) else ()),
                      mp_tasks=as_ids(processes if tt in (None, TT_MP) else ()))
    jobs = parts.schedulers.jobs if async_job_schedulers else None
    return Info(id=supervisor.id, active=is_active,
                started=is_active if _modes.legacy else state.started_at,
                **fields, thread_tasks_count=len(threads), mp_tasks_count=len(processes),
                aloops=supervisor.get_aloops() if aloops else {},
                schedulers=supervisor.get_schedulers() if schedulers else {},
                async_job_schedulers=JobSchedulersByName({} if jobs is None else jobs.by_name),
                tasks={} if tt is False else supervisor.get_tasks(tt))


KINDS = {TaskType.THREAD: "thread", TaskType.MP: "process", TaskType.COROUTINE: "coroutine"}


def take_stats(pools: dict[TaskType, Pool]) -> Stats:
    """Take the snapshot of all pools of a supervisor."""
    parts: dict[str, Any] = {KINDS[tt]: pool_stats(pool) for tt, pool in pools.items()}
    parts.setdefault("process", None)
    taken = [part for part in parts.values() if part is not None]
    sums = {name: sum(getattr(part, name) for part in taken)
            for name in ("submitted", "succeeded", "failed", "cancelled", "waiting", "active",
                         "abandoned")}
    return Stats(**parts, **sums)
