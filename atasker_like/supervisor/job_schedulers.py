"""JobSchedulerRegistry: the schedulers of async jobs, by name. Loaded with the first one."""
from __future__ import annotations

from .._atomics import RLock
from .._checks import instance
from .._log import log
from ..errors import InvalidArgumentError, InvalidTypeError
from ..jobs import AsyncJob, AsyncJobScheduler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .pool_manager import PoolManager
    from .run_state import RunState


#: The name of the scheduler that is made for jobs that name none.
RESERVED = "__supervisor__"


class JobSchedulerRegistry:
    """The async job schedulers of one supervisor. Any thread may call it."""

    def __init__(self, state: RunState, pools: PoolManager) -> None:
        self._state = state
        self._pools = pools
        self._lock = RLock()  # guards the making of schedulers
        #: Each operation of a dict is atomic.
        self.by_name: dict[str, AsyncJobScheduler] = {}
        self.default: AsyncJobScheduler | None = None

    def busy(self) -> list[str]:
        """Return the names of the schedulers that have jobs, for a message."""
        return [f"jobs of {scheduler.name}" for scheduler in list(self.by_name.values())
                if scheduler.busy]

    def create(self, name: Any, aloop: Any, start: bool, default: bool,
               supervisor: Any) -> AsyncJobScheduler | bool:
        """Make a scheduler, whose jobs keep the supervisor alive.

        :return: False if the name is taken, which is logged.
        """
        if not isinstance(name, str):
            raise InvalidTypeError(f"a job scheduler's name is a string, not {type(name).__name__}")
        if name == RESERVED:
            raise InvalidArgumentError(f"the job scheduler name {name!r} is reserved; choose "
                                       "another one")
        scheduler = self._create(name, aloop, supervisor)
        if scheduler is None:
            log.error("supervisor %s has a job scheduler named %r already; it was not made again",
                      self._state.supervisor_id, name)
            return False
        if default:
            self.default = scheduler
        if start:
            scheduler.start()
        return scheduler

    def _create(self, name: str, aloop: Any, supervisor: Any) -> AsyncJobScheduler | None:
        """Make a scheduler that is not started. Return None if the name is taken."""
        if not self._state.is_running():
            self._pools.ensure_started()
        loop = self._pools.loops.resolve(aloop)
        with self._lock:
            before = self.by_name.get(name)
            if before is not None and not before._stopped:
                return None
            scheduler = AsyncJobScheduler(
                name, self._pools.timer, loop,
                # The argument keeps the supervisor alive.
                lambda: supervisor._supervisor_parts.state.release_exit(), self._pools.start_timer)
            with self._state.lock:      # a stop that comes later sees the scheduler
                if not self._state.is_running():
                    self._state.refuse_task()
                self.by_name[name] = scheduler
            return scheduler

    def get(self, scheduler: Any, supervisor: Any) -> AsyncJobScheduler:
        """Return a scheduler that is given by itself, by name, or as None for the default one."""
        if scheduler is None:
            with self._lock:
                default = self.default
                if default is None or default._stopped:
                    default = self.by_name.get(RESERVED)
                    if default is None or default._stopped:
                        default = self._create(RESERVED, None, supervisor)
                        assert default is not None
                        default.start()
                    self.default = default
                return default
        if isinstance(scheduler, str):
            found = self.by_name.get(scheduler)
            if found is None:
                raise InvalidArgumentError(f"no job scheduler is named {scheduler!r}; make it with "
                                           "create_async_job_scheduler()")
            return found
        return instance("scheduler", scheduler, AsyncJobScheduler, "a job scheduler or its name")

    def set_default(self, scheduler: Any, supervisor: Any) -> None:
        """Choose the scheduler of jobs that name none; None makes one when it is needed."""
        self.default = None if scheduler is None else self.get(scheduler, supervisor)

    def create_job(self, scheduler: Any, supervisor: Any, **options: Any) -> AsyncJob:
        """Make a job; see ``TaskSupervisor.create_async_job``."""
        if "target" not in options:
            raise InvalidTypeError("create_async_job takes a coroutine function as target=, which "
                                   "is missing")
        return self.get(scheduler, supervisor).create_threadsafe(**options)

    def cancel(self, job: Any) -> bool:
        """Cancel a job; return False if it had ended already, or is None."""
        if job is None:
            log.warning("supervisor %s: cancel_async_job was called without a job",
                        self._state.supervisor_id)
            return False
        return instance("job", job, AsyncJob, "what create_async_job returned").cancel()

    def stop_all(self) -> None:
        """Stop and forget all schedulers."""
        self.default = None
        while self.by_name:
            self.by_name.popitem()[1].stop(wait=False)

    def loop_ended(self) -> None:
        """End the waits for runs in a loop that is closed. For its thread."""
        for scheduler in list(self.by_name.values()):
            scheduler.loop_ended()

    def renew_locks(self) -> None:
        """See :meth:`Parts.renew_locks`."""
        self._lock = RLock()

    def reset_after_fork(self) -> None:
        """Forget all schedulers in a forked process: they are the parent's."""
        self.by_name.clear()
        self.default = None
        self._lock = RLock()
