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

from .overrides import Overrides
from .ownership import BackReference, hand_over
from .pool_manager import PoolManager
from .run_state import RunState
from .schedulers import SchedulerRegistry
from .shutdown import Shutdown
from .spec_factory import SpecFactory
from .stats import take_info, take_stats

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .job_schedulers import JobSchedulerRegistry
    from .process_pools import ProcessPools
    from .stats import Info, Stats


class Parts:
    """The parts of one supervisor.

    :param base: the class whose methods that of the supervisor may override.
    :param sizes: the first sizes of the thread pool; None for the default.
    """

    def __init__(self, supervisor: Any, base: type,
                 **sizes: int | None) -> None:
        self.back: BackReference = BackReference(supervisor)
        self.state: RunState = RunState(supervisor.id)
        self.pools: PoolManager = PoolManager(self.state, self.back, **sizes)
        self.specs: SpecFactory = SpecFactory(self.state, self.back, self.pools,
                                              Overrides.of(supervisor, base))
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

    def info(self, supervisor: Any, *what: Any) -> Info:
        """See ``TaskSupervisor.get_info``."""
        return take_info(supervisor, *what)

    def stats(self) -> Stats:
        """See ``TaskSupervisor.stats``."""
        return take_stats(self.pools.by_kind)

    def in_use(self) -> bool:
        """Return True if there may be something to end."""
        return not self.state.is_new() or self.pools.in_use()

    def hand_over(self, supervisor: Any) -> None:
        """Have a thread end the supervisor, to which nothing refers any more."""
        # Python clears the names of modules at its end, and may delete objects after that.
        if hand_over is not None:
            hand_over(supervisor)

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
