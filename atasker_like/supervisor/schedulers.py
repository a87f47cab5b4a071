"""SchedulerRegistry: what produces tasks by itself, and how the supervisor stops it.

Workers, schedulers of the application and async job schedulers are registered here. Servers and
clients of services are registered as workers are.
"""
from __future__ import annotations

from weakref import ref

from .._inspect import accepts_keyword, attribute_of, described
from .._log import log
from ..engine.blocking import remaining
from ..errors import InvalidTypeError
from .snapshots import SchedulersByName

TYPE_CHECKING = False
if TYPE_CHECKING:
    from concurrent.futures import Future
    from typing import Any, Callable, Sequence

    from .._checks import Seconds
    from .job_schedulers import JobSchedulerRegistry
    from .run_state import RunState


#: Seconds that the loops of a scheduler get to end after its stop(), before they are cancelled.
GRACE = 2.5


class ManagedWorker:
    """An object that the supervisor stops before it waits for tasks: a worker, a server, a client.

    Its names begin with ``_worker``, since applications derive from workers.
    """

    #: It may put items into the queues of workers, and stops before they finish their items.
    _worker_stops_first = False
    #: It keeps the program alive after its main thread.
    _worker_holds_exit = True
    #: It has a queue, and finishes the items in it before a stop.
    _worker_has_queue = False

    def stop(self, wait: bool | Seconds = True) -> Any:
        """Stop it; applications may override this."""
        raise NotImplementedError

    def _worker_stop_at_once(self) -> None:
        """Stop it without :meth:`stop`, in case that an override of :meth:`stop` has failed."""

    def _worker_begin_drain(self) -> bool:
        """Handle the items that are in the queue now, and no others.

        Return True if there are items to wait for.
        """
        return False

    def _worker_wait_drained(self, deadline: float | None) -> None:
        """Block until these items have been handled, or until the deadline."""

    def _worker_report_items_left(self) -> int:
        """Return the number of items in the queue; log it if that has not been done."""
        return 0

    def _worker_loop_ended(self) -> None:
        """End the waits for a loop of the supervisor that is closed."""

    def _worker_end(self) -> None:
        """End: the supervisor has ended everything that ran."""
        raise NotImplementedError

    def _worker_reset_after_fork(self) -> None:
        """Forget all runs, in a forked process: they are the parent's."""
        raise NotImplementedError


class SchedulerRegistry:
    """The workers and schedulers of one supervisor. Any thread may call it."""

    def __init__(self, state: RunState) -> None:
        self._state = state
        # Shared without a lock: setting an entry of a dict and taking it are atomic, on a
        # free-threaded build too. Workers remove themselves, in the thread in which they end.
        self._schedulers: dict[Any, Sequence[Future[Any]]] = {}
        # Each worker with a queue, by its id(), started or not: items may wait in it.
        self._queue_workers: dict[int, ref[ManagedWorker]] = {}
        #: The async job schedulers; None before the first one is made.
        self.jobs: JobSchedulerRegistry | None = None

    def active(self) -> list[str]:
        """Return the names of what holds the exit of the interpreter."""
        names = [getattr(scheduler, "name", None) or repr(scheduler)
                 for scheduler in list(self._schedulers)
                 if not isinstance(scheduler, ManagedWorker) or scheduler._worker_holds_exit]
        return names if self.jobs is None else names + self.jobs.busy()

    def by_scheduler(self) -> dict[Any, Any]:
        """Return what ``TaskSupervisor.get_schedulers()`` returns."""
        return SchedulersByName((scheduler, (scheduler, *loops) if loops else None)
                                for scheduler, loops in list(self._schedulers.items()))

    # -- registration --------------------------------------------------------------------------

    def add(self, scheduler: Any) -> bool:
        """Register a scheduler that has a ``stop()``; return True."""
        _check(scheduler, "stop")
        self._schedulers[scheduler] = ()
        return True

    def add_queue_worker(self, worker: ManagedWorker) -> None:
        """Have a stop count the items of a worker, also if the worker is not started then."""
        key, forget = id(worker), self._queue_workers.pop
        self._queue_workers[key] = ref(worker, lambda _: forget(key, None))

    def remove(self, scheduler: Any, cancel_loops: bool = True) -> bool:
        """Forget a scheduler; return False if it is not registered."""
        loops = self._schedulers.pop(scheduler, None)
        for future in loops or ():
            if cancel_loops:
                future.cancel()
        self._state.release_exit()
        return loops is not None

    def add_with_loops(self, scheduler: Any, supervisor: Any,
                       resolve: Callable[[Any], Any]) -> bool:
        """Register a scheduler and run its loops; they keep the supervisor alive.

        :param resolve: returns the asyncio loop for ``scheduler.worker_loop``.
        :return: False if the supervisor is not running, or the scheduler is registered already.
        """
        import asyncio

        extra: Any = attribute_of(scheduler, "extra_loops", (list, tuple)) or ()
        _check(scheduler, "stop", "loop", *extra)
        if not self._state.is_running():
            return False
        claim: list[Future[Any]] = []
        # One step, as another thread may register it at the same time.
        if self._schedulers.setdefault(scheduler, claim) is not claim:
            log.error("supervisor %s knows the scheduler %r already; it was not registered again",
                      self._state.supervisor_id, scheduler)
            return False
        try:
            loop = resolve(getattr(scheduler, "worker_loop", None))
            claim += [asyncio.run_coroutine_threadsafe(
                          _logged(getattr(scheduler, name), name, supervisor), loop)
                      for name in ("loop", *extra)]
        except BaseException:
            self._schedulers.pop(scheduler, None)
            raise
        return True

    # -- the stages of a stop, see shutdown.py -------------------------------------------------

    def workers(self) -> list[ManagedWorker]:
        """Return the registered workers, servers and clients."""
        return [scheduler for scheduler in list(self._schedulers)
                if issubclass(type(scheduler), ManagedWorker)]

    def has_queue_workers(self) -> bool:
        """Return True if a registered worker has a queue."""
        return any(worker._worker_has_queue for worker in self.workers())

    def drain_workers(self, workers: list[ManagedWorker], deadline: float | None) -> None:
        """Have queue workers handle the items that are in their queues, until the deadline."""
        queue_workers = [worker for worker in workers if worker._worker_has_queue]
        for worker in workers:
            if worker._worker_stops_first:      # it may put items
                self._stop_worker(worker)
        # A worker may put items into the queue of another one, so a chain of all workers takes as
        # many rounds. A worker that puts items into its own queue would need rounds without end.
        for _ in queue_workers:
            draining = [worker for worker in queue_workers if worker._worker_begin_drain()]
            if not draining:
                return
            for worker in draining:
                worker._worker_wait_drained(deadline)

    def stop_workers(self, workers: list[ManagedWorker], called: list[Any]) -> None:
        """Stop these workers, and those that were registered meanwhile, without a wait.

        :param called: those whose ``stop()`` has been called.
        """
        for worker in [*workers, *self.workers()]:
            if _is_among(worker, called):
                worker._worker_stop_at_once()
            else:
                self._stop_worker(worker)

    def call_stops(self, also_own: bool, called: list[Any], deadline: float | None,
                   wait: bool) -> None:
        """Call the ``stop()`` of each worker in the order of their registration, as atasker does.

        :param also_own: call that of the application's schedulers, too.
        :param called: those whose ``stop()`` has been called; each is appended before its call.
        """
        for scheduler in list(self._schedulers):
            is_own = not issubclass(type(scheduler), ManagedWorker)
            if _is_among(scheduler, called) or not (
                    also_own if is_own
                    else scheduler._worker_stops_first or scheduler._worker_has_queue):
                continue
            called.append(scheduler)
            if is_own:
                self._stop_own(scheduler, wait)
            else:
                left = remaining(deadline) if wait else False
                self._stop(scheduler, {"wait": True if left is None else left})
                scheduler._worker_stop_at_once()

    def _stop_worker(self, worker: ManagedWorker) -> None:
        self._stop(worker, {"wait": False})
        worker._worker_stop_at_once()

    def count_items_left(self) -> int:
        """Return the number of items in the queues of workers, started or not."""
        workers = [reference() for reference in list(self._queue_workers.values())]
        return sum(worker._worker_report_items_left() for worker in workers if worker is not None)

    def stop_schedulers(self, deadline: float | None, wait: bool, called: list[Any]) -> None:
        """Stop the schedulers of the application, and async jobs.

        :param called: those whose ``stop()`` has been called.
        """
        own = [(scheduler, tuple(loops)) for scheduler, loops in list(self._schedulers.items())
               if not issubclass(type(scheduler), ManagedWorker)]
        for scheduler, loops in own:
            if not _is_among(scheduler, called):
                self._stop_own(scheduler, wait)
        for scheduler, loops in own:
            if loops:
                from concurrent.futures import wait as wait_for

                left = remaining(deadline)
                wait_for(loops, GRACE if left is None else min(left, GRACE))
            self.remove(scheduler)
        if self.jobs is not None:
            self.jobs.stop_all()

    def _stop_own(self, scheduler: Any, wait: bool) -> None:
        self._stop(scheduler, {"wait": wait} if accepts_keyword(scheduler.stop, "wait") else {})

    def _stop(self, scheduler: Any, keywords: dict[str, Any]) -> None:
        try:
            scheduler.stop(**keywords)
        except Exception:
            log.exception("supervisor %s: the stop() of scheduler %r raised",
                          self._state.supervisor_id, scheduler)

    def end(self) -> None:
        """End workers and async jobs for good: nothing runs any more, and the timer has ended."""
        for worker in self.workers():
            worker._worker_end()
        if self.jobs is not None:
            self.jobs.stop_all()

    def loop_ended(self) -> None:
        """End the waits for a loop of the supervisor that is closed. For its thread."""
        for worker in self.workers():
            worker._worker_loop_ended()
        if self.jobs is not None:
            self.jobs.loop_ended()

    def renew_locks(self) -> None:
        """See :meth:`Parts.renew_locks`."""
        if self.jobs is not None:
            self.jobs.renew_locks()

    def reset_after_fork(self) -> None:
        """Forget all schedulers in a forked process: they are the parent's."""
        for worker in self.workers():
            worker._worker_reset_after_fork()
        self._schedulers.clear()
        if self.jobs is not None:
            self.jobs.reset_after_fork()


def _is_among(scheduler: Any, schedulers: list[Any]) -> bool:
    return any(scheduler is other for other in schedulers)


def _check(scheduler: Any, *methods: str) -> None:
    for method in methods:
        if not callable(getattr(scheduler, method, None)):
            raise InvalidTypeError(f"a scheduler needs a method {method}(), which "
                                   f"{type(scheduler).__name__} has not")


async def _logged(loop: Callable[[], Any], name: str, supervisor: Any) -> None:
    """Run the loop of a scheduler. The argument keeps the supervisor alive meanwhile."""
    from asyncio import CancelledError

    try:
        await loop()
    except (CancelledError, GeneratorExit):
        raise
    except BaseException as error:      # SystemExit would end the event loop
        log.exception("%s() of a registered scheduler raised %s", name, described(error))
