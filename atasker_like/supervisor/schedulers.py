"""What produces tasks by itself, as the supervisor knows it: workers, schedulers of the application's own, and async
job schedulers. And the warnings about tasks that start late."""
from __future__ import annotations

import threading

from .._checks import seconds_or_none
from .._inspect import attribute_of, takes
from .._log import log
from ..engine.blocking import remaining
from ..errors import InvalidArgumentError, InvalidTypeError
from ..jobs import AsyncJob, AsyncJobScheduler
from .snapshots import SchedulersByName

TYPE_CHECKING = False
if TYPE_CHECKING:

    from .._checks import Seconds
    from concurrent.futures import Future
    from typing import Any, Callable

    from ..constants import TaskType
    from ..engine.task import Task
    from ..engine.timer import Timer
    from ..loops import LoopRegistry
    from ..pools.base import Pool
    from ..pools.threads import ThreadPool
    from .ownership import BackReference

__all__ = ["ManagedWorker", "Schedulers"]

#: Seconds that the loops of an own scheduler get to end after its stop(), before they are cancelled.
GRACE = 2.5

#: Seconds from a task's submission to its start after which it is warned of, unless told.
TIMEOUT_WARNING, TIMEOUT_CRITICAL = 5, 10

#: Of so many tasks that start late about the same time each is logged; the others are counted.
LATE_MOST = 10


class ManagedWorker:
    """What the supervisor stops before it waits for tasks: workers, servers and their clients.

    Its names begin with ``_worker``, since applications derive from workers.
    """

    #: It may put items into the queues of workers, and stops before these finish their items.
    _worker_stops_first = False
    #: It keeps the program alive after its main thread.
    _worker_holds_exit = True
    #: It has a queue, and finishes the items in it before a stop.
    _worker_has_queue = False

    def stop(self, wait: bool | Seconds = True) -> Any:
        """Stop it; applications may override this."""
        raise NotImplementedError

    def _worker_stop_at_once(self) -> None:
        """Stop it without :meth:`stop`, in case that one has been overridden and has failed."""

    def _worker_begin_drain(self) -> bool:
        """Handle the items that are in the queue by now, and no more; return True if there are some to wait for."""
        return False

    def _worker_wait_drained(self, deadline: float | None) -> None:
        """Block until these items have been handled, at the latest until the deadline."""

    def _worker_report_items_left(self) -> int:
        """Return the number of items in the queue; log it if that has not been done."""
        return 0

    def _worker_end(self) -> None:
        """The supervisor has ended everything that ran."""
        raise NotImplementedError

    def _worker_reset_after_fork(self) -> None:
        """In a forked process: what runs is the parent's."""
        raise NotImplementedError


class Schedulers:
    """The part of the supervisor that knows them."""

    id: str
    _back: BackReference
    _timer: Timer
    _threads: ThreadPool
    _loops: LoopRegistry

    #: What is logged of a task that started late. It may name supervisor_id, task_id, name, target and time_spent.
    timeout_message = ("supervisor {supervisor_id}: task {name} ({task_id}) started {time_spent:.1f} s after it was queued; "
                       "give the pool more places, or the task a more urgent priority")

    #: Called with a task that started later than ``timeout_warning`` after it was queued, or than ``timeout_critical``.
    timeout_warning_func: Callable[[Task[Any]], Any] | None = None
    timeout_critical_func: Callable[[Task[Any]], Any] | None = None

    def __init__(self) -> None:
        # Shared without a lock: setting an entry of a dict and taking it are each one step, on a free-threaded build
        # too; workers take themselves out in whatever thread they end.
        self._schedulers: dict[Any, tuple[Future[Any], ...]] = {}
        self._job_schedulers: dict[str, AsyncJobScheduler] = {}
        self._making = threading.RLock()            # guards the making of job schedulers
        self._default_job_scheduler: AsyncJobScheduler | None = None
        self._timeout_warning: float | None = TIMEOUT_WARNING
        self._timeout_critical: float | None = TIMEOUT_CRITICAL

    def _is_running(self) -> bool:
        raise NotImplementedError

    def _pools(self) -> dict[TaskType, Pool]:
        raise NotImplementedError

    def _wake_up(self) -> None:
        raise NotImplementedError

    def _release_exit(self) -> None:
        raise NotImplementedError

    def _active_schedulers(self) -> list[str]:
        """Return the names of what is active, for a message."""
        names = [getattr(scheduler, "name", None) or repr(scheduler) for scheduler in list(self._schedulers)
                 if not isinstance(scheduler, ManagedWorker) or scheduler._worker_holds_exit]
        return names + [f"jobs of {scheduler.name}" for scheduler in list(self._job_schedulers.values())
                        if scheduler.busy]

    # -- workers, and schedulers of the application's own --------------------------------------------

    def register_sync_scheduler(self, scheduler: Any) -> bool:
        """Have ``scheduler.stop()`` called when the supervisor is stopped. Workers register themselves.

        :raises InvalidTypeError: (a TypeError) it has no ``stop()``.
        """
        _check(scheduler, "stop")
        self._schedulers[scheduler] = ()
        return True

    def unregister_sync_scheduler(self, scheduler: Any) -> bool:
        """Forget a scheduler; False when it is not known."""
        known = self._schedulers.pop(scheduler, None) is not None
        self._release_exit()
        return known

    def register_scheduler(self, scheduler: Any) -> bool:
        """Run the coroutine ``scheduler.loop()``, and those methods that ``scheduler.extra_loops`` names, in
        ``scheduler.worker_loop``, else the supervisor's default loop; its ``stop()`` is called when the supervisor is
        stopped. False when the supervisor is not active, and, with an error in the log, when it is registered already.

        :raises InvalidTypeError: (a TypeError) it has no ``stop()`` or no ``loop()``.
        """
        import asyncio

        extra: Any = attribute_of(scheduler, "extra_loops", (list, tuple)) or ()
        _check(scheduler, "stop", "loop", *extra)
        if not self._is_running():
            return False
        if scheduler in self._schedulers:
            log.error("supervisor %s knows the scheduler %r already; it was not registered again", self.id, scheduler)
            return False
        loop = self._loops.resolve(getattr(scheduler, "worker_loop", None))
        self._schedulers[scheduler] = tuple(
            asyncio.run_coroutine_threadsafe(_watched(getattr(scheduler, name), name, self), loop)
            for name in ("loop", *extra))
        return True

    def unregister_scheduler(self, scheduler: Any) -> bool:
        """Forget a scheduler, and cancel what still runs of its loops; False when it is not known."""
        loops = self._schedulers.pop(scheduler, None)
        for future in loops or ():
            future.cancel()
        self._release_exit()
        return loops is not None

    def get_schedulers(self) -> dict[Any, Any]:
        """Return the active workers and the schedulers that are registered.

        Each stands for None, or, if it has loops, for a tuple of itself and the futures of these. A pickle of the answer
        holds plain copies, see :class:`Info`.
        """
        return SchedulersByName((scheduler, (scheduler, *loops) if loops else None)
                                for scheduler, loops in list(self._schedulers.items()))

    def _workers(self) -> list[ManagedWorker]:
        return [scheduler for scheduler in list(self._schedulers) if issubclass(type(scheduler), ManagedWorker)]

    def _has_queue_workers(self) -> bool:
        return any(worker._worker_has_queue for worker in self._workers())

    def _drain_workers(self, workers: list[ManagedWorker], deadline: float | None) -> None:
        """In the thread that finishes: let queue workers handle the items that are in their queues.

        The other workers stop first, since they may be the ones that put items.
        """
        queue_workers = [worker for worker in workers if worker._worker_has_queue]
        for worker in workers:
            if worker._worker_stops_first:
                self._stop_worker(worker)
        # What one handles may be put into the queue of another one: a chain of all of them takes as many rounds. There are
        # no more rounds, since a worker that puts items into its own queue would never come to an end.
        for _ in queue_workers:
            draining = [worker for worker in queue_workers if worker._worker_begin_drain()]
            if not draining:
                return
            for worker in draining:
                worker._worker_wait_drained(deadline)

    def _stop_workers(self, workers: list[ManagedWorker]) -> None:
        """In the thread that finishes: tell all of them. They are waited for as their tasks are."""
        for worker in [*workers, *self._workers()]:     # some may have been registered meanwhile
            self._stop_worker(worker)

    def _stop_worker(self, worker: ManagedWorker) -> None:
        self._stop_one(worker, {"wait": False})
        worker._worker_stop_at_once()

    def _count_items_left(self, workers: list[ManagedWorker]) -> int:
        return sum(worker._worker_report_items_left() for worker in workers)

    def _stop_schedulers(self, deadline: float | None, wait: bool) -> None:
        """In the thread that finishes: stop those of the application's own, and async jobs."""
        own = [(scheduler, loops) for scheduler, loops in list(self._schedulers.items())
               if not issubclass(type(scheduler), ManagedWorker)]
        for scheduler, loops in own:
            self._stop_one(scheduler, {"wait": wait and not loops} if takes(scheduler.stop, "wait") else {})
        for scheduler, loops in own:
            if loops:
                from concurrent.futures import wait as wait_for

                left = remaining(deadline)
                wait_for(loops, GRACE if left is None else min(left, GRACE))
            self.unregister_scheduler(scheduler)
        self._default_job_scheduler = None
        while self._job_schedulers:
            self._job_schedulers.popitem()[1].stop(wait=False)

    def _stop_one(self, scheduler: Any, keywords: dict[str, Any]) -> None:
        try:
            scheduler.stop(**keywords)
        except Exception:
            log.exception("supervisor %s: the stop() of scheduler %r raised", self.id, scheduler)

    def _end_workers(self) -> None:
        """Nothing runs any more, and the timer is about to end: no worker goes on."""
        for worker in self._workers():
            worker._worker_end()

    def _forget_schedulers(self) -> None:
        """In a forked process: they are the parent's."""
        for worker in self._workers():
            worker._worker_reset_after_fork()
        self._schedulers.clear()
        self._job_schedulers.clear()
        self._default_job_scheduler = None
        self._making = threading.RLock()

    # -- async jobs ----------------------------------------------------------------------------------

    def create_async_job_scheduler(self, name: str, aloop: Any = None, start: bool = True,
                                   default: bool = False) -> AsyncJobScheduler | bool:
        """Make a scheduler of light periodic coroutines; False, and an error in the log, when the name is taken.

        :param aloop: where they run: the name of a loop, an :class:`ALoop` or an asyncio loop; the default loop unless
            told.
        :param start: False has its jobs wait for ``start()``.
        :param default: jobs that name no scheduler are for this one.
        :raises InvalidArgumentError: (a ValueError) the name ``__supervisor__``, which is reserved, or no such loop.
        """
        if not isinstance(name, str):
            raise InvalidTypeError(f"a job scheduler's name is a string, not {type(name).__name__}")
        if name == "__supervisor__":
            raise InvalidArgumentError(f"the job scheduler name {name!r} is reserved; choose another one")
        return self._create_job_scheduler(name, aloop, start, default)

    def _create_job_scheduler(self, name: str, aloop: Any, start: bool,
                              default: bool) -> AsyncJobScheduler | bool:
        if not self._is_running():
            self._wake_up()
        loop = self._loops.resolve(aloop)
        with self._making:
            before = self._job_schedulers.get(name)
            taken = before is not None and not before._stopped
            if not taken:
                scheduler = self._job_schedulers[name] = AsyncJobScheduler(name, self._timer, loop, self._release_exit)
                if default:
                    self._default_job_scheduler = scheduler
        if taken:
            log.error("supervisor %s has a job scheduler named %r already; it was not made again", self.id, name)
            return False
        if start:
            scheduler.start()
        return scheduler

    def set_default_async_job_scheduler(self, scheduler: AsyncJobScheduler | str | None) -> None:
        """Choose the scheduler of jobs that name none. With None, it is made when it is needed."""
        self._default_job_scheduler = None if scheduler is None else self._job_scheduler(scheduler)

    @property
    def default_async_job_scheduler(self) -> AsyncJobScheduler | None:
        """The scheduler of jobs that name none; None before one is needed. It may be assigned."""
        return self._default_job_scheduler

    @default_async_job_scheduler.setter
    def default_async_job_scheduler(self, scheduler: AsyncJobScheduler | str | None) -> None:
        self.set_default_async_job_scheduler(scheduler)

    @property
    def async_job_schedulers(self) -> dict[str, AsyncJobScheduler]:
        """The schedulers of async jobs by name: the supervisor's own dict."""
        return self._job_schedulers

    def create_async_job(self, scheduler: AsyncJobScheduler | str | None = None, **options: Any) -> AsyncJob:
        """Have a coroutine started again and again.

        :param scheduler: a scheduler or its name; the default one unless told, which is made if there is none.
        :param target: a coroutine function.
        :param args: positional arguments for it.
        :param kwargs: keyword arguments for it.
        :param interval: seconds from one start to the next; 0.001 at least.
        :param number: how many times; 0, as it is at first, is for ever.
        :param timer: seconds until the first start; 0 unless told.
        :return: the job, which has ``id``, ``active`` and ``cancel()``.
        :raises InvalidTypeError: (a TypeError) target is no coroutine function, or another argument of a wrong type.
        :raises InvalidArgumentError: (a ValueError) an impossible value, or no scheduler of that name.
        """
        if "target" not in options:
            raise InvalidTypeError("create_async_job takes a coroutine function as target=, which is missing")
        return self._job_scheduler(scheduler).create_threadsafe(**options)

    def cancel_async_job(self, scheduler: AsyncJobScheduler | str | None = None,
                         job: AsyncJob | None = None) -> bool:
        """Start a job no more; the same as ``job.cancel()``. When this returns, no run of it begins any more.

        :return: False if it had ended already, or none is given.
        """
        if job is None:
            log.warning("supervisor %s: cancel_async_job was called without a job", self.id)
            return False
        if not isinstance(job, AsyncJob):
            raise InvalidTypeError(f"job takes what create_async_job returned, not {type(job).__name__}")
        return job.cancel()

    def _job_scheduler(self, scheduler: Any) -> AsyncJobScheduler:
        if scheduler is None:
            with self._making:
                default = self._default_job_scheduler
                if default is None or default._stopped:
                    self._create_job_scheduler("__supervisor__", None, True, True)
                assert self._default_job_scheduler is not None
                return self._default_job_scheduler
        if isinstance(scheduler, str):
            found = self._job_schedulers.get(scheduler)
            if found is None:
                raise InvalidArgumentError(f"no job scheduler is named {scheduler!r}; make it with "
                                           "create_async_job_scheduler()")
            return found
        if not isinstance(scheduler, AsyncJobScheduler):
            raise InvalidTypeError(f"scheduler takes a job scheduler or its name, not {type(scheduler).__name__}")
        return scheduler

    # -- tasks that start late -----------------------------------------------------------------------

    @property
    def timeout_warning(self) -> float | None:
        """Seconds: a task that starts later than this after it was queued is logged; None is never."""
        return self._timeout_warning

    @timeout_warning.setter
    def timeout_warning(self, seconds: float | None) -> None:
        self._timeout_warning = seconds_or_none("timeout_warning", seconds)
        self._watch_for_late()

    @property
    def timeout_critical(self) -> float | None:
        """Seconds, as :attr:`timeout_warning`: then it is logged as an error."""
        return self._timeout_critical

    @timeout_critical.setter
    def timeout_critical(self, seconds: float | None) -> None:
        self._timeout_critical = seconds_or_none("timeout_critical", seconds)
        self._watch_for_late()

    def _watch_for_late(self) -> None:
        for pool in self._pools().values():
            self._watch_pool(pool)

    def _watch_pool(self, pool: Pool) -> None:
        limits = [seconds for seconds in (self._timeout_warning, self._timeout_critical) if seconds is not None]
        pool.tell_late = self._back.method("_tell_late")
        pool.late_after = min(limits) if limits else float("inf")

    def _tell_late(self, late: list[tuple[Task[Any], float]]) -> None:
        """In a pool thread: tasks have been started late."""
        for number, (task, waited) in enumerate(late):
            critical = self._timeout_critical is not None and waited > self._timeout_critical
            if number < LATE_MOST:
                write = log.error if critical else log.warning
                write("%s", self._late_message(task, waited))
            call = self.timeout_critical_func if critical else self.timeout_warning_func
            if call is not None:
                try:
                    call(task)
                except Exception:
                    log.exception("supervisor %s: what is called with tasks that started late raised", self.id)
        if len(late) > LATE_MOST:
            log.warning("supervisor %s: and %d tasks more started late", self.id, len(late) - LATE_MOST)


    def _late_message(self, task: Task[Any], waited: float) -> str:
        fields = {"supervisor_id": self.id, "task_id": task.short_id, "name": task.name, "target": task._spec.function,
                  "time_spent": waited}
        try:
            return self.timeout_message.format(**fields)
        except Exception as error:      # it is the application's
            log.error("supervisor %s: timeout_message %r cannot be filled in (%s: %s); it may name %s", self.id,
                      self.timeout_message, type(error).__name__, error, ", ".join(fields))
            return Schedulers.timeout_message.format(**fields)


def _check(scheduler: Any, *methods: str) -> None:
    for method in methods:
        if not callable(getattr(scheduler, method, None)):
            raise InvalidTypeError(f"a scheduler needs a method {method}(), which {type(scheduler).__name__} has not")


async def _watched(loop: Callable[[], Any], name: str, supervisor: Schedulers) -> None:
    """Run the loop of a scheduler, which keeps its supervisor alive."""
    try:
        await loop()
    except Exception:
        log.exception("%s() of a registered scheduler raised", name)
