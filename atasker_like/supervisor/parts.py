"""Parts: what a supervisor is composed of, and how the parts are put together.

::

    TaskSupervisor ──> Parts ──> RunState           the phase, from start to stop
                            ├──> PoolManager        threads, coroutines, loops, timer
                            │       ├─> LateStartMonitor
                            │       └─> ProcessPools        made on first use
                            ├──> SpecFactory        functions, submissions, lanes
                            ├──> SchedulerRegistry  workers, schedulers
                            │       └─> JobSchedulerRegistry    made on first use
                            └──> Shutdown           the order of the end

A part refers to the parts above it. Parts reach the supervisor by a :class:`BackReference` only.
The threads of pools and loops refer to the pools, and to no part from which a strong reference
leads to the supervisor: see ``ownership.py``.
"""
from __future__ import annotations

from .._checks import a_kind
from ..engine.task import Task
from ..errors import InvalidTypeError, SupervisorError, TaskNotFoundError
from .ownership import BackReference
from .pool_manager import PoolManager
from .run_state import NEW, RunState
from .schedulers import SchedulerRegistry
from .shutdown import Shutdown
from .spec_factory import SpecFactory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .interpreter_exit import Supervisor
    from .job_schedulers import JobSchedulerRegistry
    from .overrides import Overrides
    from .process_pools import ProcessPools

__all__ = ["NOT_MADE", "Parts", "live_task"]


class _NotMade:
    """In the position of the parts of a supervisor whose constructor has not run."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):       # asked for by inspect and its like
            raise AttributeError(name)
        raise SupervisorError("the supervisor is not made yet: its class has an __init__() of its "
                              "own, which must call super().__init__() before it uses the "
                              "supervisor")


NOT_MADE: Any = _NotMade()


class Parts:
    """The parts of one supervisor.

    :param overrides: the methods that its class overrides, or None.
    :param sizes: the first sizes of the thread pool; None for the default.
    """

    def __init__(self, supervisor: Supervisor, overrides: Overrides | None,
                 **sizes: int | None) -> None:
        self.back: BackReference = BackReference(supervisor)
        self.state: RunState = RunState(supervisor.id)
        self.pools: PoolManager = PoolManager(self.state, self.back, **sizes)
        self.specs: SpecFactory = SpecFactory(self.state, self.back, self.pools, overrides)
        self.schedulers: SchedulerRegistry = SchedulerRegistry(self.state)
        self.shutdown: Shutdown = Shutdown(self.state, self.pools, self.schedulers)
        self._processes: ProcessPools | None = None

    @property
    def processes(self) -> ProcessPools:
        """What makes the process pool."""
        if self._processes is None:
            from .process_pools import ProcessPools

            with self.state.lock:
                if self._processes is None:
                    self._processes = ProcessPools(self.state, self.back, self.pools)
        return self._processes

    def process_view(self, supervisor: Any) -> Any:
        """Return the process pool as applications use it, or None before there is one."""
        return None if self.pools.processes is None else self.processes.view(supervisor)

    @property
    def jobs(self) -> JobSchedulerRegistry:
        """The schedulers of async jobs."""
        jobs = self.schedulers.jobs
        if jobs is None:
            from .job_schedulers import JobSchedulerRegistry

            with self.state.lock:
                jobs = self.schedulers.jobs
                if jobs is None:
                    jobs = self.schedulers.jobs = JobSchedulerRegistry(self.state, self.pools)
        return jobs

    def in_use(self) -> bool:
        """Return True if there may be something to end."""
        return self.state.phase != NEW or self.pools.in_use()

    def renew_locks(self) -> None:
        """Take locks that suit the threads of the application, which has replaced them."""
        self.state.renew_locks()
        self.pools.renew_locks()
        self.schedulers.renew_locks()

    def reset_after_fork(self) -> None:
        """Become new in a forked process: what runs is the parent's."""
        self.state.reset_after_fork()
        self.shutdown.reset_after_fork()
        self.pools.reset_after_fork()
        self.schedulers.reset_after_fork()


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
        raise TaskNotFoundError(f"no live task has the id {task_id!r}; the registry forgets a task "
                                "when it ends")
    return found
