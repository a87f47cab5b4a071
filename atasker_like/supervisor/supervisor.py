"""TaskSupervisor: composes pools, timer and loops. It holds policy, not mechanism.

The order of the end, of :meth:`TaskSupervisor.stop` and of the interpreter's exit alike::

    let queue workers finish ─> refuse new tasks ─> stop schedulers ─> cancel what is delayed
        ─> wait for the rest, until the deadline
        ─> past it: cancel what is queued, end processes, give up threads
        ─> close processes ─> stop loops ─> stop the timer ─> end workers ─> close threads
"""
from __future__ import annotations

import os
import sys
import threading
from _thread import start_new_thread
from collections import deque
from functools import partial
from itertools import count
from time import monotonic, time

from .. import _checks, _modes
from .._checks import runs_when_called, seconds_or_none
from .._ids import new_id, short_id
from .._inspect import has_method, is_coroutine_function, name_of, shown, wants_task_id
from .._inspect import has_method, is_coroutine_function, name_of, wants_task_id
from .._log import log
from ..constants import TASK_NORMAL, TT_COROUTINE, TT_MP, TT_THREAD, TaskType
from ..engine.blocking import deadline_of_stop, remaining
from ..engine.current import current, current_coroutine_task
from ..engine.lanes import Lane
from ..engine.spec import TaskSpec, undecorated
from ..engine.task import Task
from ..engine.timer import Timer
from ..errors import (InvalidArgumentError, InvalidTypeError, SupervisorBusyError,
                      SupervisorStoppedError, TaskNotFoundError)
from ..loops import ALoop, LoopRegistry
from ..options import ON_FULL, TaskOptions
from ..pools.base import cancel_many
from ..pools.coroutines import CoroutinePool
from ..pools.threads import ThreadPool
from .overrides import Overrides, replaceable
from .ownership import BackReference, hand_over
from .schedulers import ManagedWorker, Schedulers
from .shutdown import arm, check_exit, supervisors
from .snapshots import AloopsByName, JobSchedulersByName, TasksById
from .stats import Info, Stats, StopReport, ended, running_ids, take_stats

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio

    from .._checks import Seconds
    from concurrent.futures import Future
    from types import TracebackType
    from typing import Any, Callable, Mapping, Protocol, Sequence

    from ..pools.base import Pool, Recorder as Told
    from ..pools.executor.pool import ExternalPool
    from ..pools.process.pool import ProcessPool
    from ..pools.views import ProcessPoolView, ThreadPoolView
    from .overrides import Start

    class Recorder(Told, Protocol):
        """What brings results to a backend; see ``results/``."""

        backend: Any

        def open(self) -> None: ...
        def close(self, deadline: float | None) -> None: ...

__all__ = ["TaskSupervisor"]

_NEW, _RUNNING, _STOPPING, _STOPPED = "new", "running", "stopping", "stopped"

#: Seconds that ended processes and cancelled coroutines get when a stop's deadline has passed.
LAST_GRACE = 2.5

_numbers = count(1)

#: The sizes of a pool: slots for tasks of any priority, and those in reserve.
_SIZES = "pool_size", "reserve_normal", "reserve_high"


#: Threads for tasks of any priority, for each CPU, and further ones for NORMAL and for HIGH tasks: as in atasker.
THREADS_PER_CPU, RESERVE = 5, 5


def _places(pool: str, **sizes: Any) -> dict[str, int]:
    """Check numbers of places; those that are None are left out."""
    checked = {}
    for name, size in sizes.items():
        if size is None:
            continue
        if _modes.legacy:
            size = int(size)        # atasker takes what a configuration file has, too
        checked[name] = _checks.count(f"{name} of the {pool} pool", size, 0)
    return checked


def _refuse_for(pool: ExternalPool, **options: Any) -> None:
    """Refuse what can only be asked of processes of the supervisor's own."""
    for name, value in options.items():
        if value is not None:
            raise InvalidArgumentError(f"{name} cannot be set: {pool.outlet.name} is in the place of the process pool, and "
                                       "starts its processes itself; set it there")


def _check_callable(name: str, function: Any) -> None:
    if function is not None and not callable(function):
        raise InvalidTypeError(f"{name} takes a callable, not {type(function).__name__}")


def _size(pool: str, name: str) -> Any:
    """Return a property that reads and sets one of the sizes of a pool."""
    sizes = "_thread_sizes" if pool == "thread" else "_mp_sizes"
    slots = {"pool_size": "tasks of any priority", "reserve_normal": "tasks of priority NORMAL and higher",
             "reserve_high": "tasks of priority HIGH and higher"}[name]

    def get(self: TaskSupervisor) -> Any:
        return getattr(self, sizes)[name]

    def set_size(self: TaskSupervisor, size: int) -> None:
        getattr(self, f"set_{pool}_pool")(**{name: size})

    which = "Slots" if name == "pool_size" else "More slots"
    kind = "thread" if pool == "thread" else "process"
    return property(get, set_size, doc=f"{which} of the {kind} pool for {slots}. It may be assigned; see "
                                       f":meth:`set_{pool}_pool`.")


class TaskSupervisor(Schedulers):
    """Admits, orders, starts, watches and finishes tasks.

    Applications use the process-wide ``task_supervisor``; others may be made beside it and subclassed. All
    methods may be called from any thread. A supervisor starts with its first task, or with :meth:`start`; as a
    context manager it stops at the end of the block and waits for its tasks.

    :param supervisor_id: a name for threads and logs.
    :param pool_size: places of the thread pool for LOW tasks; 0 is unlimited. See :meth:`set_thread_pool`.
    :param reserve_normal: more places, for NORMAL and more urgent tasks.
    :param reserve_high: more again, for HIGH ones.

    >>> with TaskSupervisor(pool_size=2) as supervisor:
    ...     supervisor.put_task(pow, (2, 10)).value()
    1024
    """

    _is_whole = False       # __init__() has come to its end

    def __init__(self, supervisor_id: str | None = None, pool_size: int | None = None,
                 reserve_normal: int | None = None, reserve_high: int | None = None) -> None:
        super().__init__()
        self._back = BackReference(self)
        self.id = supervisor_id or f"supervisor-{next(_numbers)}"
        self.daemon = False
        self.poll_delay = 0.1       # accepted for old applications: nothing here polls
        self._started_at: float | None = None
        self._lifecycle = threading.RLock()     # guards _state, and the making of the process pool
        self._state = _NEW
        self._stopped = threading.Event()
        self._thread_sizes: dict[str, Any] = {"pool_size": THREADS_PER_CPU * (os.cpu_count() or 1), "reserve_normal": RESERVE,
                                               "reserve_high": RESERVE}
        self._thread_sizes.update(_places("thread", pool_size=pool_size, reserve_normal=reserve_normal,
                                          reserve_high=reserve_high))
        self._mp_sizes: dict[str, Any] = {"pool_size": os.cpu_count() or 1, "reserve_normal": 0,
                                            "reserve_high": 0}
        self._timer = Timer(f"supervisor_{self.id}_timer")
        self._wake_up_behind = self._back.method("_wake_up")        # what pools call
        self._threads = ThreadPool(f"supervisor_{self.id}_thread", self._timer, self._wake_up_behind,
                                   **self._thread_sizes)
        self._loops = LoopRegistry(self.id, self._back.method("_loop_ended"))
        self._coroutines = CoroutinePool(f"supervisor_{self.id}_loops", self._timer, self._wake_up_behind,
                                         self._threads.beside, self._loops)
        self._loops.serve(self._coroutines)
        self._coroutines.neighbours.append(self._threads)
        self._processes: ProcessPool | ExternalPool | None = None
        self._pool_view: ProcessPoolView | None = None      # of the own process pool
        self._retired: list[Pool] = []        # what has been in its place: functions decorated then come by there
        self._mp_size_asked = False             # the application has said how many places it wants
        self._specs: dict[Any, TaskSpec] = {}
        self._lanes: dict[str, Lane] = {}
        self._before_stop = 0, 0, 0     # what had ended when the stop began
        self._finishing = False         # a thread is about to bring everything to an end
        self._finish_until: float | None = None    # the deadline that it keeps
        self._drains = False            # queue workers finish their items before that
        self._items_left = 0            # in their queues, at the end of the stop
        self._thread_pool: ThreadPoolView | None = None
        self._recorder: Recorder | None = None     # brings results to where they outlive their tasks
        self._overrides = Overrides.of(self, TaskSupervisor)
        self._explicit = False          # start() was called by the application
        self._exit_gates: deque[Callable[[], None]] = deque()     # of the main thread, when it is held at the exit
        self._watch_for_late()
        supervisors.add(self)
        self._is_whole = True

    def __del__(self) -> None:
        if self._is_whole:
            hand_over(self)

    # -- lifecycle -----------------------------------------------------------------------------------

    def start(self, daemon: bool | None = None) -> None:
        """Accept and run tasks. If the supervisor runs already, nothing changes; after :meth:`stop` it starts again.

        A supervisor that is started this way accepts tasks after the main thread has ended. It keeps the program alive
        while workers or schedulers are active, or other non-daemon threads live; the first Ctrl-C stops the workers.
        Any thread may call it.

        :param daemon: True for a supervisor that ends with the main thread; kept in ``self.daemon`` (default: False).
        :raises SupervisorStoppedError: (a RuntimeError) the supervisor is being stopped, or the main thread has ended.
        """
        with self._lifecycle:
            if daemon is not None:
                self.daemon = daemon
            self._start()
            self._explicit = True
        self._warm_up()

    def _start(self) -> None:
        with self._lifecycle:
            if self._state == _RUNNING:
                return
            if self._state == _STOPPING:
                raise SupervisorStoppedError(f"supervisor {self.id} is being stopped; start it when stop() is done")
            arm()
            self._state = _RUNNING
            self._started_at = time()
            self._stopped.clear()
            self._loops.closed = False
            if self._recorder is not None:
                self._recorder.open()
            for pool in self._pools().values():
                pool.open()
        log.debug("supervisor %s started", self.id)

    def _warm_up(self) -> None:
        self._threads.warm_up()
        self._start_processes_ahead()

    def _is_running(self) -> bool:
        return self._state == _RUNNING

    def _wake_up(self) -> None:
        """A task came to a pool that does not accept: the first one starts the supervisor."""
        with self._lifecycle:
            if self._state == _NEW:
                self._start()
            elif self._state == _RUNNING:
                # It is being started right now, by this very thread, and a signal handler or a finalizer came in
                # between; or it has just been started by another.
                for pool in self._pools().values():
                    pool.open()
                return
            else:
                check_exit()
                raise SupervisorStoppedError(
                    f"supervisor {self.id} has been stopped and takes no tasks; call start() to go on")
        self._warm_up()

    @replaceable
    def is_active(self) -> bool:
        """True between start and stop."""
        return self._state == _RUNNING

    @replaceable
    def started(self) -> float | None:
        """When it was started, in seconds of the epoch; None before."""
        return self._started_at

    def stop(self, wait: bool | Seconds = True, stop_schedulers: bool = True,
             cancel_tasks: bool = False, drain: bool | None = None) -> StopReport:
        """Take no more tasks, finish those that were accepted, and end all threads, processes and loops.

        The stages: stop all workers but queue workers, which finish the items that are in their queues by now; refuse new
        tasks; cancel those that are delayed, or wait for a retry; wait for the others, until the deadline. Tasks are
        accepted as long as queue workers finish items, since their functions may need some.
        Past it, cancel what is queued, end the processes of what runs (TERM, and KILL a second later),
        give up the threads that still run: their tasks count as cancelled; 2.5 s more at most, and everything is
        closed. Without a deadline a task that never ends holds the stop for ever.

        :param wait: True waits for ever, a number so many seconds, False returns at once and goes on behind.
            A task that stops its own supervisor does not wait for itself: it is as if it had said False.
        :param stop_schedulers: False leaves registered schedulers and async jobs to themselves; workers end in any case,
            since their tasks are not taken any more.
        :param cancel_tasks: cancel what is queued and what runs instead of finishing it. Queue workers do not finish their
            items either.
        :param drain: False stops queue workers at once (default: True; under ``legacy.install()`` False, as in atasker).
        :return: how many tasks finished and were cancelled, threads were abandoned, processes killed, and items left in
            the queues of workers. Each worker that leaves items is logged, too.
        """
        deadline = deadline_of_stop(wait)
        drain = (not _modes.legacy if drain is None else bool(drain)) and not cancel_tasks
        if self._is_busy_here():
            # A signal handler or a finalizer came in between two lines of this thread's that must come to an end.
            def stop_behind() -> None:
                self.stop(False, stop_schedulers, cancel_tasks, drain)

            start_new_thread(self._threads.beside, (stop_behind,))
            return self._report()
        own = (getattr(current.member, "pool", None) is self._threads
               or current_coroutine_task.get() is not None)
        with self._lifecycle:
            # A new one may have loops that were started by hand. A stop that was interrupted before it got going is
            # begun again.
            begin = self._state != _STOPPED and not self._finishing
            if begin:
                if self._state != _STOPPING:
                    self._before_stop = ended(self._pools().values())
                self._state = _STOPPING
                self._finish_until = deadline
                self._drains, self._items_left = drain, 0
                workers = self._workers()
                if not (drain and self._has_queue_workers()):
                    self._refuse_tasks()
        if begin:
            self._begin_to_finish(workers, deadline, cancel_tasks, stop_schedulers, wait is not False)
        if wait is not False and not own:
            # The thread that finishes keeps the deadline that it was given; a later caller has one of its own.
            self._stopped.wait(None if self._finish_until == deadline else remaining(deadline))
        return self._report()

    def _begin_to_finish(self, *how: Any) -> None:
        """Have a thread of its own finish: the main thread may be interrupted at any line, and that one may not."""
        finisher = threading.Thread(target=self._finish, args=how, daemon=True,
                                    name=f"supervisor_{self.id}_stop")
        try:
            finisher.start()
        except RuntimeError:                # the system has no thread to give
            self._finish(*how)

    def _refuse_tasks(self) -> None:
        for pool in self._pools().values():
            pool.refuse()

    def _report(self) -> StopReport:
        finished, cancelled, killed = (now - before for now, before in zip(ended(self._pools().values()),
                                                                           self._before_stop))
        abandoned = self._threads.abandoned + getattr(self._processes, "abandoned", 0)
        return StopReport(finished=finished, cancelled=cancelled, abandoned=abandoned, killed=killed,
                          items_left=self._items_left,
                          complete=self._state == _STOPPED and not (self._drains and self._items_left))

    def _is_busy_here(self) -> bool:
        """Say whether the calling thread is inside a critical section of the supervisor."""
        return (self._lifecycle._is_owned()         # type: ignore[attr-defined]
                or any(pool.lock._is_owned() for pool in self._pools().values()))

    def _loop_ended(self) -> None:
        self._coroutines.abandon_closed()

    def _finish(self, workers: list[ManagedWorker], deadline: float | None, cancel_tasks: bool, stop_schedulers: bool,
                wait: bool) -> None:
        with self._lifecycle:
            if self._finishing or self._state != _STOPPING:
                return                      # two were begun, of which the first was thought not to be
            self._finishing = True
        try:
            if self._drains and self._has_queue_workers():
                self._drain_workers(workers, deadline)
                self._refuse_tasks()
            self._stop_workers(workers)
            if stop_schedulers:
                self._stop_schedulers(deadline, wait)
            self._end_all(deadline, cancel_tasks)
            self._items_left = self._count_items_left(workers)
        except Exception:
            log.exception("supervisor %s could not be stopped in order", self.id)
        finally:
            with self._lifecycle:
                self._state = _STOPPED
                self._finishing = False
            log.debug("supervisor %s stopped", self.id)
            self._stopped.set()
            self._release_exit()

    # -- the end of one that nothing refers to, see ownership.py --------------------------------------

    def _has_stopped(self) -> bool:
        return self._state == _STOPPED

    def _end_dropped(self) -> None:
        """In a thread of its own, which has the last reference."""
        try:
            while any(pool.registry.live for pool in self._pools().values()):
                self._drain()
            self.stop()
            if self._recorder is not None:
                self._recorder.backend.detach(self._recorder)
        except BaseException:
            log.exception("supervisor %s, to which nothing refers any more, could not be ended", self.id)

    # -- the exit of the interpreter, see shutdown.py -------------------------------------------------

    def _is_in_use(self) -> bool:
        """Return True if there may be something to end."""
        return (self._state != _NEW or self._threads.thread_count() > 0 or self._loops.in_use()
                or any(pool.in_use() for pool in self._pools().values()))

    def _outlives_main(self) -> bool:
        return self._explicit and not self.daemon and self._state == _RUNNING

    def _holds_exit(self) -> list[str]:
        """Return what keeps the program alive on behalf of this supervisor."""
        if not self._outlives_main():
            return []
        reasons = self._active_schedulers()
        return reasons or (["it was started and has not been stopped"] if _modes.legacy else [])

    def _wait_for_release(self) -> None:
        """Block until what keeps the program alive may have changed."""
        gate = threading.Lock()
        gate.acquire()
        self._exit_gates.append(gate.release)
        if self._holds_exit():
            gate.acquire()

    def _release_exit(self) -> None:
        gates = self._exit_gates
        while gates:
            try:
                gates.popleft()()
            except IndexError:
                return

    def _drain(self) -> None:
        """Block until no task is alive; more may come meanwhile."""
        for pool in self._pools().values():
            pool.drain(None)

    def _end_all(self, deadline: float | None, cancel_tasks: bool) -> None:
        pools = self._pools().values()
        delayed = cancel_many([task for pool in pools for task in pool.held_back()])
        for pool in pools:
            pool.start_draining()
        if delayed:
            log.warning("supervisor %s stopped: %d delayed or paused task(s) cancelled", self.id, delayed)
        if cancel_tasks:
            cancel_many([task for pool in pools for task in pool.all_tasks()])
        self._coroutines.abandon_closed()       # loops of the application's own may be gone
        # All pools to the end before any is closed: a task of one may wait for one of another.
        drained = [pool.drain(deadline) for pool in pools]
        if not all(drained):
            cancel_many([task for pool in pools for task in pool.all_tasks()])
            given_up = self._threads.give_up()
            if given_up:
                log.warning("supervisor %s stopped: %d thread(s) still run and were given up (tasks %s)", self.id,
                            len(given_up), ", ".join(short_id(task_id) for task_id in given_up))
            deadline = monotonic() + LAST_GRACE
        processes = self._processes
        if processes is not None:
            processes.close(deadline)
        self._loops.stop_all(deadline, cancel=not all(drained))
        for pool in pools:
            if not pool.drain(deadline):
                pool.give_up()
        # The timer before the threads: it has jobs run beside the places, and may not when they are being closed.
        self._timer.stop()
        self._end_workers()
        self._threads.close(deadline)
        self._timer.stop()
        for pool in pools:
            with pool.lock:
                pool.timeouts.reset()       # nothing runs, and the timer has forgotten all
        if self._recorder is not None:      # last: all that has ended is stored, if a second is enough for it
            self._recorder.close(None if deadline is None else max(deadline, monotonic() + 1))

    def reset_after_fork(self) -> None:
        """Called in a forked process: what runs is the parent's; this one is new and starts with its first task."""
        self._lifecycle = threading.RLock()
        self._state = _NEW
        self._stopped = threading.Event()
        self._finishing = self._explicit = False
        self._exit_gates.clear()
        self._started_at = None
        self._timer.reset_after_fork()
        self._loops.reset_after_fork()
        self._forget_schedulers()
        for pool in [*self._pools().values(), *self._retired]:
            pool.reset_after_fork()

    def cancel_waiting(self) -> int:
        """Cancel every task that has not started; return how many."""
        return cancel_many([task for pool in self._pools().values() for task in pool.waiting_tasks()])

    def block(self) -> None:
        """Wait until the supervisor has been stopped."""
        self._stopped.wait()

    def __enter__(self) -> TaskSupervisor:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.stop(cancel_tasks=error is not None)

    # -- pools ---------------------------------------------------------------------------------------

    def set_thread_pool(self, pool_size: int | None = None, reserve_normal: int | None = None,
                        reserve_high: int | None = None, min_size: int | str | None = None,
                        max_size: int | None = None, max_queued: int | None = None,
                        on_full: str | None = None, aging: Seconds | None = None,
                        max_abandoned: int | None = None) -> None:
        """Set the places of the thread pool. What is left out keeps its value; running tasks are not touched.

        :param pool_size: places for tasks of any priority; 0 is unlimited.
        :param reserve_normal: further places, for NORMAL and more urgent tasks.
        :param reserve_high: further ones, for HIGH and CRITICAL tasks. (CRITICAL tasks start in any case.)
        :param min_size: threads made ahead; ``'max'`` for as many as there are places.
        :param max_size: idle threads kept at most; as many as there are places unless told.
        :param max_queued: tasks that may wait for a place; 0 is any number, as it is at first. Tasks that need not
            wait, and those that are delayed, do not count.
        :param on_full: what a submission meets when so many wait: ``'block'`` (the submitter waits, as it does at
            first; a coroutine holds up its loop by that), ``'raise'`` (:class:`QueueFullError`) or ``'drop'`` (the
            task is cancelled at once).
        :param aging: seconds after which a waiting task rises one class, from LOW to NORMAL to HIGH; 0 is never, as
            it is at first.
        :param max_abandoned: threads that may still run functions whose timeout is over; as long as there are so
            many, submitting raises :class:`TaskTimeoutError`. 0 is any number; at first it is 1000.
        :raises InvalidArgumentError: (a ValueError) a size below zero, or min_size above max_size.
        """
        self._limit(self._threads, "thread", max_queued, on_full, aging)
        if max_abandoned is not None:
            self._threads.limit_abandoned(_places("thread", max_abandoned=max_abandoned)["max_abandoned"] or None)
        sizes = dict(self._thread_sizes, **_places("thread", pool_size=pool_size, reserve_normal=reserve_normal,
                                                   reserve_high=reserve_high, max_size=max_size))
        if min_size == "max":
            sizes["min_size"] = sizes.get("max_size") or (
                sizes["pool_size"] + sizes["reserve_normal"] + sizes["reserve_high"])
        elif min_size is not None:
            sizes.update(_places("thread", min_size=min_size))
        if sizes.get("max_size") is not None and sizes.get("min_size", 0) > sizes["max_size"]:
            raise InvalidArgumentError(f"min_size ({sizes['min_size']}) of the thread pool is above max_size "
                                       f"({sizes['max_size']})")
        self._thread_sizes = sizes
        self._thread_pool = None        # one that was shut down is replaced
        self._threads.resize(sizes["pool_size"], sizes["reserve_normal"], sizes["reserve_high"],
                             sizes.get("min_size", 0), sizes.get("max_size"))

    def set_mp_pool(self, pool_size: int | None = None, reserve_normal: int | None = None,
                    reserve_high: int | None = None, min_size: int | str | None = None,
                    start_method: str | None = None, max_queued: int | None = None,
                    on_full: str | None = None, aging: Seconds | None = None,
                    initializer: Callable[..., Any] | None = None, initargs: Sequence[Any] = (),
                    initializer_timeout: Seconds | None = None, maxtasksperchild: int | None = None,
                    max_age: Seconds | None = None, max_memory: int | None = None) -> None:
        """Set the places of the process pool, as :meth:`set_thread_pool` does; made if there is none.

        Processes start on first use, or ahead of it, when this returns, with ``min_size``. In a program that runs as
        atasker's, all are forked before this returns.

        :param start_method: ``'forkserver'``, ``'spawn'`` or ``'fork'``; ``'forkserver'`` where there is one.
            ``'fork'`` copies a process with threads, which can deadlock: ask for it only if you know why. Processes that
            were started by another method are replaced when they have ended their tasks.
        :param max_queued: tasks that may wait, as for threads; those sent ahead to a process do not count.
        :param on_full: ``'block'``, ``'raise'`` or ``'drop'``, as for threads.
        :param aging: seconds after which a waiting task rises one class, as for threads.
        :param initializer: called in every new process, with ``*initargs``, before its first task. When it fails
            three times in a row, what waits fails with its error.
        :param initializer_timeout: seconds until a new process must be ready, its initializer included; 0 is never,
            at first it is 120.
        :param maxtasksperchild: a process is replaced after so many tasks; 0 is never, as it is at first.
        :param max_age: a process is replaced when it is so many seconds old and has ended its task; 0 is never.
        :param max_memory: a process is replaced when it has so many bytes in memory after a task; 0 is never. Where
            the system does not tell (there is no ``/proc``) nothing happens.

        With an executor of the application's in its place (see :attr:`mp_pool`), the places are how many calls the
        executor is given at a time, and what concerns the processes is refused.
        """
        self._set_mp_pool(pool_size, reserve_normal, reserve_high, min_size, start_method, max_queued, on_full, aging,
                          initializer, initargs, initializer_timeout, maxtasksperchild, max_age, max_memory)
        self._start_processes_ahead()

    def _start_processes_ahead(self) -> None:
        """Start the processes that the application has asked for, before there is a task for them."""
        pool: Any = self._processes
        if pool is None or self._external() is not None or not pool.min_size or self._state in (_STOPPING, _STOPPED):
            return
        from multiprocessing.process import parent_process

        if parent_process() is not None and self._state == _NEW:
            return      # a pool process that imports the program would start processes that import it, and so on
        arm()
        pool.start_now()

    @property
    def thread_pool(self) -> ThreadPoolView:
        """The thread pool, used like a :class:`concurrent.futures.ThreadPoolExecutor`: ``submit``, ``map``, ``shutdown``."""
        view = self._thread_pool
        if view is None:
            from ..pools.views import ThreadPoolView

            view = self._thread_pool = ThreadPoolView(self._threads, self)
        return view

    def _set_mp_pool(self, pool_size: int | None, reserve_normal: int | None = None, reserve_high: int | None = None,
                     min_size: int | str | None = None, start_method: str | None = None,
                     max_queued: int | None = None, on_full: str | None = None, aging: Seconds | None = None,
                     initializer: Callable[..., Any] | None = None, initargs: Sequence[Any] = (),
                     initializer_timeout: Seconds | None = None, maxtasksperchild: int | None = None,
                     max_age: Seconds | None = None, max_memory: int | None = None) -> None:
        external = self._external()
        if external is not None:
            _refuse_for(external, min_size=min_size, start_method=start_method, initializer=initializer,
                        initializer_timeout=initializer_timeout, maxtasksperchild=maxtasksperchild, max_age=max_age,
                        max_memory=max_memory)
        sizes = dict(self._mp_sizes, **_places("process", pool_size=pool_size, reserve_normal=reserve_normal,
                                               reserve_high=reserve_high))
        if pool_size == 0:
            sizes["pool_size"] = (os.cpu_count() or 1) if external is None else external.outlet.size()
        if min_size == "max":
            sizes["min_size"] = sizes["pool_size"] + sizes["reserve_normal"] + sizes["reserve_high"]
        elif min_size is not None:
            sizes.update(_places("process", min_size=min_size))
        if external is not None:
            self._limit(external, "process", max_queued, on_full, aging)
            self._mp_sizes = sizes
            external.resize(sizes["pool_size"], sizes["reserve_normal"], sizes["reserve_high"])
            return
        self._mp_size_asked = self._mp_size_asked or bool(pool_size)
        pool = self._own_process_pool()
        self._limit(pool, "process", max_queued, on_full, aging)
        if start_method is not None:
            from ..pools.process.spawn import check_start_method, default_start_method

            check_start_method(start_method)
            changed = start_method != (pool.start_method or default_start_method())
            pool.start_method = start_method
            pool.forks_from_template = pool.forks_from_template and start_method == "fork"
            if changed:         # the processes that are there were started in the other way
                pool.configure(pool.initializer, pool.initargs, pool.maxtasksperchild)
        if initializer_timeout is not None:
            pool.initializer_timeout = seconds_or_none(
                "initializer_timeout of the process pool", initializer_timeout) or None
        if max_age is not None:
            pool.max_age = seconds_or_none("max_age of the process pool", max_age) or None
        if max_memory is not None:
            pool.max_memory = _places("process", max_memory=max_memory)["max_memory"] or None
        if initializer is not None or maxtasksperchild is not None:
            _check_callable("initializer", initializer)
            quota = pool.maxtasksperchild
            if maxtasksperchild is not None:
                quota = _places("process", maxtasksperchild=maxtasksperchild)["maxtasksperchild"] or None
            started, arguments = pool.initializer, pool.initargs
            if initializer is not None:
                started, arguments = initializer, tuple(initargs)
            pool.configure(started, arguments, quota)
        if pool.forks_from_template:
            sizes["min_size"] = sizes["pool_size"] + sizes["reserve_normal"] + sizes["reserve_high"]
            pool.ensure_template()      # in this thread, before another one needs it
        self._mp_sizes = sizes
        pool.resize(sizes["pool_size"], sizes["reserve_normal"], sizes["reserve_high"], sizes.get("min_size", 0))

    @staticmethod
    def _limit(pool: Pool, kind: str, max_queued: int | None, on_full: str | None,
               aging: Seconds | None) -> None:
        """Check and set what submissions to a pool have to meet; None leaves it as it is."""
        most, seconds = pool.max_queued, pool.aging
        if max_queued is not None:
            most = _places(kind, max_queued=max_queued)["max_queued"] or None
        if on_full is not None and on_full not in ON_FULL:
            raise InvalidArgumentError(f"on_full of the {kind} pool takes one of {', '.join(ON_FULL)}, not {shown(on_full)}")
        if aging is not None:
            seconds = seconds_or_none(f"aging of the {kind} pool", aging) or None
        if (most, on_full or pool.on_full, seconds) != (pool.max_queued, pool.on_full, pool.aging):
            pool.limit(most, on_full or pool.on_full, seconds)

    def create_mp_pool(self, processes: int | None = None,
                       initializer: Callable[..., Any] | None = None, initargs: Sequence[Any] = (),
                       maxtasksperchild: int | None = None, context: Any = None,
                       executor: Any = None) -> None:
        """Make the process pool, with the arguments of :class:`multiprocessing.Pool`; or put an executor in its place.

        :param processes: places for tasks of any priority; one a CPU unless told.
        :param initializer: called in every new process, with ``*initargs``, before its first task.
        :param maxtasksperchild: a process is replaced after so many tasks.
        :param context: a multiprocessing context, or the name of a start method.
        :param executor: see :attr:`mp_pool`; with it, ``processes`` is how many calls it is given at a time, and the
            others of these arguments are refused.
        """
        if executor is not None:
            sizes = _places("process", processes=processes)
            for name, value in (("initializer", initializer), ("maxtasksperchild", maxtasksperchild),
                                ("context", context)):
                if value is not None:
                    raise InvalidArgumentError(f"{name} and executor exclude each other: the executor starts its "
                                               "processes itself")
            self.mp_pool = executor
            if processes:
                self.set_mp_pool(pool_size=sizes["processes"])
            return
        if self._external() is not None:
            self.mp_pool = None
        _check_callable("initializer", initializer)
        if maxtasksperchild is not None:
            maxtasksperchild = _checks.count("maxtasksperchild", maxtasksperchild)
        if context is not None and not isinstance(context, str):
            context = context.get_start_method()
        self._own_process_pool().configure(initializer, tuple(initargs), maxtasksperchild)
        self._set_mp_pool(processes, start_method=context)
        self._start_processes_ahead()

    @property
    def mp_pool(self) -> Any:
        """Where process tasks run: the supervisor's own pool, or the executor in its position; None before one was made.

        The own pool is used like a :class:`multiprocessing.Pool`: ``apply``, ``apply_async``, ``map``, ``map_async``,
        ``starmap``, ``imap``, ``imap_unordered``, ``close``, ``terminate`` and ``join``.

        Assign any :class:`concurrent.futures.Executor` (of Dask, Ray, loky, MPI...) or a :class:`multiprocessing.Pool`
        to have it run the tasks; the supervisor goes on to order, delay, retry and watch them. It gives as many at a
        time as ``set_mp_pool`` was told, else as many as the executor runs at once. The executor stays the
        application's: it is never shut down here. None puts the supervisor's own pool back.

        :raises InvalidTypeError: (a TypeError) it is no such thing.
        :raises SupervisorBusyError: (a RuntimeError) tasks are alive in the own pool, or in an executor that the own
            pool is to follow; an executor may follow another one at any time.
        """
        external = self._external()
        if external is not None:
            return external.executor
        if self._pool_view is None and self._processes is not None:
            from ..pools.views import ProcessPoolView

            self._pool_view = ProcessPoolView(self._processes, self)
        return self._pool_view

    @mp_pool.setter
    def mp_pool(self, executor: Any) -> None:
        if executor is not None and executor is self.mp_pool:
            return
        from ..pools.executor.adapters import outlet_for
        from ..pools.executor.pool import ExternalPool

        with self._lifecycle:
            external = self._external()
            if executor is None:
                if external is not None:
                    self._succeed(external, self._new_process_pool())
                return
            outlet = outlet_for(executor)
            sizes = self._mp_sizes
            if not self._mp_size_asked:
                sizes = dict(sizes, pool_size=outlet.size())
            places = sizes["pool_size"], sizes["reserve_normal"], sizes["reserve_high"]
            if external is None:
                old = self._processes
                self._succeed(old, ExternalPool(f"supervisor_{self.id}_external", self._timer, self._wake_up_behind,
                                                self._threads.beside, outlet, *places))
            self._mp_sizes = sizes
        if external is not None:
            external.use(outlet)        # first: what the new size lets start is not for the old one
            external.resize(*places)
        elif old is not None:
            old.close(None)

    def _external(self) -> ExternalPool | None:
        """The pool over an executor of the application's, if there is one in place."""
        pool: Any = self._processes
        return pool if hasattr(pool, "outlet") else None

    def _succeed(self, old: ProcessPool | ExternalPool | None, new: ProcessPool | ExternalPool) -> None:
        """Put a pool in the place of the process pool; the lifecycle is locked."""
        new.neighbours += [self._threads, self._coroutines]
        self._watch_pool(new)
        new.recorder = self._recorder
        if old is not None:
            new.max_queued, new.on_full, new.aging = old.max_queued, old.on_full, old.aging
            new._set_most()
        if self._state == _RUNNING:
            new.open()
        if old is not None and not old.retire(new):
            raise SupervisorBusyError(f"supervisor {self.id} has process tasks that have not ended: wait for them, or stop "
                                      "the supervisor, before you put something else in the place of mp_pool")
        if old is not None:
            self._retired.append(old)
            self._coroutines.neighbours.remove(old)
        self._coroutines.neighbours.append(new)
        self._specs.clear()
        self._processes = new
        self._pool_view = None

    def _new_process_pool(self) -> ProcessPool:
        from ..pools.process.pool import ProcessPool

        sizes = self._mp_sizes
        forks = _modes.legacy and hasattr(os, "fork")
        pool = ProcessPool(f"supervisor_{self.id}_process", self._timer, self._wake_up_behind, self._threads.beside,
                           sizes["pool_size"], sizes["reserve_normal"], sizes["reserve_high"],
                           start_method="fork" if forks else None)
        pool.forks_from_template = forks
        return pool

    def _process_pool(self) -> ProcessPool | ExternalPool:
        with self._lifecycle:
            if self._processes is None:
                self._succeed(None, self._new_process_pool())
            assert self._processes is not None
            return self._processes

    def _own_process_pool(self) -> ProcessPool:
        pool: Any = self._process_pool()
        return pool     # type: ignore[no-any-return]

    def _pools(self) -> dict[TaskType, Pool]:
        pools: dict[TaskType, Pool] = {TT_THREAD: self._threads, TT_COROUTINE: self._coroutines}
        if self._processes is not None:
            pools[TT_MP] = self._processes
        return pools

    def pool_for(self, tt: TaskType) -> Pool:
        """Return the pool that runs tasks of a kind; the process pool is made on first use."""
        if tt == TT_THREAD:
            return self._threads
        if tt == TT_MP:
            return self._process_pool()
        return self._coroutines

    thread_pool_size: int = _size("thread", "pool_size")
    thread_reserve_normal: int = _size("thread", "reserve_normal")
    thread_reserve_high: int = _size("thread", "reserve_high")
    mp_pool_size: int = _size("mp", "pool_size")
    mp_reserve_normal: int = _size("mp", "reserve_normal")
    mp_reserve_high: int = _size("mp", "reserve_high")

    def spawn_thread(self, target: Callable[..., Any], args: Sequence[Any] = (),
                     kwargs: Mapping[str, Any] | None = None) -> Future[Any]:
        """Run a function in a pool thread at once, beside the places and the queues. It is not a task; what is
        returned is a :class:`concurrent.futures.Future`, and what the function raises is logged as well."""
        from concurrent.futures import Future

        if not callable(target):
            raise InvalidTypeError(f"spawn_thread takes a callable, not {type(target).__name__}")
        keywords = dict(kwargs or {})
        future: Future[Any] = Future()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(target(*args, **keywords))
                except BaseException as error:
                    future.set_exception(error)
                    raise

        self._threads.beside(run)
        return future

    # -- tasks ---------------------------------------------------------------------------------------

    def put_task(self, target: Callable[..., Any], args: Sequence[Any] = (),
                 kwargs: Mapping[str, Any] | None = None,
                 callback: Callable[[Any], Any] | None = None, priority: int = TASK_NORMAL,
                 delay: Seconds | None = None, tt: TaskType = TT_THREAD, task_id: str | None = None,
                 worker: Any = None, _send_task_id: bool = True) -> Task[Any]:
        """Submit a call and return its task.

        A subclass may override this method. Then decorated functions, workers and :func:`co_mp_apply` submit their tasks
        by it, too, with keyword arguments. Coroutines do not: they need no place in a pool.

        :param target: the function; it gets ``_task_id`` when its signature takes it.
        :param callback: called with the result before the completion is announced.
        :param priority: any integer; lower runs first.
        :param delay: seconds until it may start.
        :param tt: ``TT_THREAD``, ``TT_MP``, or ``TT_COROUTINE``.
        :param task_id: an id of the caller's own, not used by a live task.
        :param _send_task_id: False passes no ``_task_id``; accepted for old subclasses.
        :raises SupervisorStoppedError: the supervisor has been stopped; the function will not run.
        """
        keywords = dict(kwargs) if kwargs else None
        overrides = self._overrides
        spec = None if overrides is None or task_id is None else overrides.take(task_id)
        wants_id = False
        if spec is None:
            spec = self.make_spec(target, tt, TaskOptions(priority=priority, delay=delay or None), callback,
                                  worker=worker)
            spec.ends_early = True
            wants_id = _send_task_id and spec.tt == TT_THREAD and wants_task_id(spec.function)
        elif (target is not spec.function or callback is not spec.callback
              or (priority, delay, tt) != (spec.priority, spec.options.delay, spec.tt)):
            # The subclass has changed something on the way; the other options of the function stay.
            spec = self.make_spec(target, tt, spec.options.replace(priority=priority, delay=delay or None), callback,
                                  worker=worker, lane=spec.lane, named_id=not spec.takes_id)
        task: Task[Any] = Task(spec, tuple(args), keywords, _context(spec))
        if task_id is None and wants_id:
            task_id = new_id()
        if task_id is not None:
            if not isinstance(task_id, str) or not task_id:
                raise InvalidTypeError(f"task_id takes a string that is not empty, not {shown(task_id)}")
            task_id = "".join((task_id, ""))        # a plain str, whatever subclass it came as
            if self.get_task(task_id) is not None:
                raise InvalidArgumentError(f"task id {task_id!r} belongs to a live task; choose another one")
            task._more().task_id = task_id
            if wants_id:
                task._kwargs = dict(keywords or {}, _task_id=task_id)
        return spec.pool.submit(task) or task       # type: ignore[func-returns-value]

    def make_spec(self, target: Any, tt: TaskType | None, options: TaskOptions,
                  callback: Callable[[Any], Any] | None = None, loop: Any = None,
                  worker: Any = None, lane: Lane | str | None = None, rank: int | None = None,
                  hooks: Any = None, named_id: bool = False) -> TaskSpec:
        """Check what a function's calls will have in common, and put it in one place.

        :param lane: a lane, or the name of one of this supervisor's.
        :param rank: the order within the lane, lower first; the priority unless told.
        :param hooks: has ``started(task)``, ``retried(task, error)`` and ``ended(task)``, which a pool thread calls, one
            at a time and in order; what they raise is logged.
        :param named_id: pass ``_task_id`` only to a function that names it.
        :raises InvalidTypeError: not callable, or a coroutine function where it cannot run, or the reverse.
        :raises InvalidArgumentError: the lane stands in front of another pool.
        """
        target = undecorated(target)
        if not callable(target):
            raise InvalidTypeError(f"a task needs a callable, not {type(target).__name__}")
        runs_when_called(target)
        if callback is not None and not callable(callback):
            raise InvalidTypeError(f"callback takes a callable, not {type(callback).__name__}")
        coroutine = is_coroutine_function(target)
        if tt is None:
            tt = TT_COROUTINE if coroutine else TT_THREAD
        try:
            tt = TaskType(tt)
        except ValueError:
            raise InvalidArgumentError(f"tt takes TT_THREAD, TT_MP or TT_COROUTINE, not {shown(tt)}") from None
        name = options.name or name_of(target)
        if coroutine and tt != TT_COROUTINE:
            raise InvalidTypeError(f"{name} is a coroutine function: it runs in a loop, not in a "
                                   f"{'process' if tt == TT_MP else 'thread'}; leave tt out, or call it from a "
                                   "plain function with asyncio.run()")
        if tt == TT_COROUTINE and not coroutine:
            raise InvalidTypeError(f"{name} is not a coroutine function and cannot run in a loop; define it with "
                                   "'async def', or leave tt out")
        pool = self.pool_for(tt)
        if lane is not None:
            if isinstance(lane, str):
                lane = self._lane_named(lane)
            elif not isinstance(lane, Lane):
                raise InvalidTypeError(f"lane takes a Lane or the name of one, not {type(lane).__name__}")
            lane.bind(pool)
        spec = TaskSpec(pool, target, options, tt, callback, loop, worker,
                        tt == TT_MP and wants_task_id(target, named_id), lane, rank, hooks)
        self._watch(spec)
        return spec

    def _watch(self, spec: TaskSpec) -> None:
        """Have a subclass that overrides the marks of tasks told of those of a function. None has been made yet."""
        if self._overrides is not None:
            self._overrides.watch(spec)

    def _starter(self, spec: TaskSpec) -> Start:
        """Return what submits calls of a function: it takes the spec, the arguments and the keyword arguments."""
        return spec.pool.start if self._overrides is None else self._overrides.starter(spec)

    def _start_many(self, spec: TaskSpec, calls: list[tuple[Any, ...]]) -> list[Task[Any]]:
        """Submit many calls of a function together."""
        return spec.pool.start_many(spec, calls) if self._overrides is None else self._overrides.put_many(spec, calls)

    def lane(self, name: str, **settings: Any) -> Lane:
        """Return the lane of a name: a limit in front of a pool, for ``@background_task(lane=name)``.

        It is made at the first call. Settings, those of :class:`Lane`, may be given then and later; those left out stay.
        A function may name a lane that is made later, before its first task is submitted; see :class:`BoundTask`.
        Errors as the constructor's of :class:`Lane`. It may be called from any thread.

        >>> task_supervisor.lane('mail', limit=4, rate=10)
        <Lane mail running 0 waiting 0>
        """
        with self._lifecycle:
            lane = self._lanes.get(name)
            if lane is None:
                lane = self._lanes[name] = Lane(name, **settings)
                return lane
            if lane.unknown is not None:
                lane.make(**settings)
                return lane
        if settings:
            lane.configure(**settings)
        return lane

    def _lane_named(self, name: str) -> Lane:
        """Return the lane that a function names, or a stand-in that :meth:`lane` turns into one."""
        with self._lifecycle:
            lane = self._lanes.get(name)
            if lane is None:
                lane = self._lanes[name] = Lane.named(name, partial(self._back.method("_unknown_lane"), name))
            return lane

    def _unknown_lane(self, name: str) -> InvalidArgumentError:
        from difflib import get_close_matches

        known = sorted(self.get_lanes())
        near = get_close_matches(name, known, 1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        return InvalidArgumentError(
            f"no lane of supervisor {self.id} is named {name!r}{hint} Its lanes are: "
            f"{', '.join(map(repr, known)) or 'none'}. Make the lane before the first task is "
            f"submitted: lane({name!r}, limit=...) of the supervisor")

    def get_lanes(self) -> dict[str, Lane]:
        """Return the lanes that :meth:`lane` has made, by name. It may be called from any thread."""
        with self._lifecycle:
            return {name: lane for name, lane in self._lanes.items() if lane.unknown is None}

    def kept_spec(self, target: Any, tt: TaskType, priority: int | None) -> TaskSpec:
        """Return the spec for bare calls of a function, the same one each time, so that what is learnt of the
        function's duration is not lost."""
        key = (target, tt, priority)
        try:
            spec = self._specs.get(key)
        except TypeError:               # not hashable
            return self.make_spec(target, tt, TaskOptions(priority=priority))
        if spec is None:
            spec = self.make_spec(target, tt, TaskOptions(priority=priority))
            if len(self._specs) >= 512:
                self._specs.clear()     # dict operations are atomic; losing an entry costs a little time
            self._specs[key] = spec
        return spec

    def mark_task_completed(self, task: Task[Any] | None = None, task_id: str | None = None) -> bool:
        """Declare a task completed, before its target returns. Its result is None, or what was assigned to ``task.result``.

        A subclass may override this method. Then it is called for each task of a thread or a process that ends by itself,
        before the end is told, with ``task_id=``, or for a worker's run with ``task=``.

        :raises TaskNotFoundError: (a LookupError) no live task has the id.
        """
        return self._known(task, task_id).mark_completed()

    def mark_task_started(self, task: Task[Any] | str) -> bool:
        """Return True if a task is started. The supervisor marks the start by itself.

        A subclass may override this method. Then it is called for each task of a thread or a process that starts.
        """
        return self._known(None if isinstance(task, str) else task,
                           task if isinstance(task, str) else None).mark_started()

    def _known(self, task: Task[Any] | None, task_id: str | None) -> Task[Any]:
        if task is not None:
            if not isinstance(task, Task):
                raise InvalidTypeError(f"a task is wanted, not {type(task).__name__}")
            return task
        found = None if task_id is None else self.get_task(task_id)
        if found is None:
            raise TaskNotFoundError(f"no live task has the id {task_id!r}; the registry forgets a task when it ends")
        return found

    def get_task(self, task_id: str) -> Task[Any] | None:
        """Return the live task with an id; None for one that has ended or never was."""
        for pool in self._pools().values():
            task = pool.find(task_id)
            if task is not None:
                return task
        return None

    def get_tasks(self, tt: TaskType | None = None) -> dict[str, Task[Any]]:
        """Return the live tasks by id, of all kinds or of one.

        A pickle of the answer holds plain copies, see :class:`Info`.
        """
        found: dict[str, Task[Any]] = TasksById()
        for kind, pool in self._pools().items():
            if tt is None or tt == kind:
                found.update(pool.live_tasks())
        return found

    # -- results that outlive their tasks ------------------------------------------------------------

    def set_result_backend(self, backend: Any) -> None:
        """Have a backend keep the results of all tasks that end from now on, those with ``ignore_result`` excepted.

        What the backend that was there before has been told is stored when this returns.

        :param backend: a :class:`Backend`, such as ``SQLiteBackend(path)``; None keeps none any more.
        :raises ResultBackendError: (an OSError) its store cannot be used; nothing has changed.
        :raises InvalidTypeError: (a TypeError) it is no backend.
        """
        if backend is not None and not has_method(backend, "attach"):
            raise InvalidTypeError(f"set_result_backend takes a Backend or None, not {type(backend).__name__}")
        with self._lifecycle:
            old = self._recorder
            if old is not None and old.backend is backend:
                return
            new: Recorder | None = None if backend is None else backend.attach(self)
            if new is not None and self._state == _RUNNING:
                new.open()
            self._recorder = new
            for pool in self._pools().values():
                with pool.lock:
                    pool.recorder = new
        if old is not None:
            old.close(None)
            old.backend.detach(old)

    @replaceable
    def result_backend(self) -> Any:
        """The backend that keeps results, or None."""
        return None if self._recorder is None else self._recorder.backend

    # -- looking at it -------------------------------------------------------------------------------

    def get_info(self, tt: Any = None, aloops: bool = True, schedulers: bool = True,
                 async_job_schedulers: bool = True) -> Info:
        """Return what is going on, as a frozen :class:`Info`.

        :param tt: a kind of task to list; None lists all, False none.
        """
        lists = tt is not False
        threads = running_ids(self._threads)
        processes = running_ids(self._processes)
        ids: Any = list if _modes.legacy else tuple
        sizes = {f"thread_{name}": self._thread_sizes[name] for name in _SIZES}
        if self._processes is not None:
            sizes.update((f"mp_{name}", self._mp_sizes[name]) for name in _SIZES)
        running = {} if not lists else {"thread_tasks": ids(threads if tt in (None, TT_THREAD) else ()),
                                        "mp_tasks": ids(processes if tt in (None, TT_MP) else ())}
        return Info(
            id=self.id, active=self._state == _RUNNING, started=self._state == _RUNNING if _modes.legacy else self._started_at,
            **sizes,
            **running,
            thread_tasks_count=len(threads), mp_tasks_count=len(processes),
            aloops=self.get_aloops() if aloops else {}, schedulers=self.get_schedulers() if schedulers else {},
            async_job_schedulers=JobSchedulersByName(self._job_schedulers) if async_job_schedulers else {},
            tasks=self.get_tasks(tt) if lists else {})

    def stats(self) -> Stats:
        """Return depths, counts and percentiles of waiting and running time, as a frozen :class:`Stats`."""
        return take_stats(self._pools())

    def dump(self, file: Any = None) -> None:
        """Write where every running task is: the stacks of threads and coroutines at once, those of processes by
        asking them, which works in C code that holds the interpreter as well.

        Takes up to a second when a process does not answer. A signal handler may call it.

        :param file: what to write to; :data:`sys.stderr` unless told.
        """
        from .tracebacks import stacks_text

        file = sys.stderr if file is None else file
        if file is not None:
            file.write(stacks_text(self.id, self._threads, self._processes, self._coroutines))
            file.flush()

    def dump_on_signal(self, signum: int | None = None, file: Any = None) -> None:
        """Call :meth:`dump` whenever a signal comes: ``kill -USR1 PID`` shows what an application is doing.

        :param signum: the signal; SIGUSR1 unless told.
        :raises ValueError: it is not the main thread that calls, as :func:`signal.signal` wants.
        """
        import signal

        signal.signal(getattr(signal, "SIGUSR1") if signum is None else signum, lambda *_: self.dump(file))

    # -- loops ---------------------------------------------------------------------------------------

    def create_aloop(self, name: str, daemon: bool = False, start: bool = True,
                     default: bool = False) -> ALoop | bool:
        """Make an event loop in a thread of its own; False when the name is taken.

        :param daemon: accepted for old applications.
        :param default: coroutine tasks that name no loop run in this one.
        :raises InvalidArgumentError: (a ValueError) the name ``__supervisor__``, which is reserved.
        """
        return self._loops.create(name, start, default, daemon)

    def get_aloop(self, name: str | None = None, default: bool = True) -> ALoop | None:
        """Return a loop by name; without a name, the default loop."""
        return self._loops.get(name, default)

    def start_aloop(self, name: str) -> bool:
        """Start a loop by name; False when there is none."""
        aloop = self._loops.get(name, False)
        if aloop is None:
            log.error("supervisor %s has no loop named %r", self.id, name)
            return False
        aloop.start()
        return True

    def stop_aloop(self, name: str, wait: bool | Seconds = True, cancel_tasks: bool = False) -> bool:
        """Stop a loop by name; False when there is none."""
        aloop = self._loops.get(name, False)
        if aloop is None:
            log.error("supervisor %s has no loop named %r", self.id, name)
            return False
        aloop.stop(wait=wait, cancel_tasks=cancel_tasks)
        return True

    def set_default_aloop(self, aloop: ALoop | str | asyncio.AbstractEventLoop | None) -> None:
        """Choose the loop of coroutine tasks that name none.

        :param aloop: an :class:`ALoop`, its name, or an asyncio loop; None stands for the supervisor's own loop.
        :raises InvalidArgumentError: (a ValueError) there is no loop of that name.
        """
        self._loops.set_default(aloop)

    def get_aloops(self) -> dict[str, ALoop]:
        """Return the loops by name. A pickle of the answer holds plain copies, see :class:`Info`."""
        return AloopsByName(self._loops.aloops)

    @property
    def aloops(self) -> dict[str, ALoop]:
        """The loops by name: the supervisor's own dict, so that a stopped loop can be deleted to free its name."""
        return self._loops.aloops

    @property
    def default_aloop(self) -> Any:
        """The loop of coroutine tasks that name none; None stands for the supervisor's own. It may be assigned.

        >>> task_supervisor.default_aloop = task_supervisor.create_aloop('mine')
        >>> task_supervisor.default_aloop.name
        'mine'
        >>> task_supervisor.default_aloop = None
        """
        return self._loops.default

    @default_aloop.setter
    def default_aloop(self, aloop: ALoop | str | asyncio.AbstractEventLoop | None) -> None:
        self._loops.set_default(aloop)

    def own_loop(self) -> ALoop:
        """Return the supervisor's own loop. The first use starts it, and the supervisor.

        While a stop finishes what was accepted, the loop is still there.

        :raises SupervisorStoppedError: (a RuntimeError) the supervisor has been stopped.
        """
        if not self._is_running():
            try:
                self._wake_up()
            except SupervisorStoppedError:
                pass
        return self._loops.own()

    @property
    def event_loop(self) -> asyncio.AbstractEventLoop:
        """The supervisor's own event loop, started on first use."""
        return self._loops.own().active_loop()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self._state}>"


def _context(spec: TaskSpec) -> Any:
    from contextvars import copy_context

    return None if spec.tt == TT_MP else copy_context()
