"""PoolManager: makes, sizes, opens and replaces the pools of a supervisor.

The thread pool and the pool of coroutines exist from the beginning. ``process_pools`` makes the
process pool on first use, so that a program without one does not load its modules.
"""
from __future__ import annotations

import os

from .. import _checks, _modes
from .._atomics import RLock
from .._checks import a_kind, seconds_or_none
from .._inspect import has_method, shown
from .._log import log
from ..constants import TT_COROUTINE, TT_MP, TT_THREAD, TaskType
from ..engine.task import STARTED
from ..engine.timer import Timer
from ..errors import InvalidArgumentError, InvalidTypeError, SupervisorStoppedError
from ..loops import LoopRegistry
from ..options import ON_FULL
from ..pools.cancelling import cancel_many
from ..pools.coroutines import CoroutinePool
from ..pools.threads import ThreadPool
from .attributes import SIZES
from .interpreter_exit import follow_threads
from .late_starts import LateStartMonitor
from .run_state import NEW, RUNNING
# Not in a function: a signal handler may call one in the middle of such an import.
from .snapshots import AloopsByName, TasksById

TYPE_CHECKING = False
if TYPE_CHECKING:
    from concurrent.futures import Future
    from typing import Any, Callable, Protocol, Sequence

    from ..engine.lifecycle import Recorder as PoolRecorder
    from ..engine.task import Task
    from ..loops import ALoop
    from ..pools.base import Pool
    from ..pools.executor.pool import ExternalPool
    from ..pools.process.pool import ProcessPool
    from ..pools.views import ThreadPoolView
    from .ownership import BackReference
    from .run_state import RunState

    class Recorder(PoolRecorder, Protocol):
        """Writes results to a backend; see ``results/``."""

        backend: Any

        def open(self) -> None: ...
        def close(self, deadline: float | None) -> int: ...
        def is_here(self) -> bool: ...


#: Slots of the thread pool for each CPU, and those of each reserve: as in atasker.
THREADS_PER_CPU, RESERVE = 5, 5


def checked_sizes(kind: str, **sizes: Any) -> dict[str, int]:
    """Check numbers of slots; leave out those that are None."""
    checked = {}
    for name, size in sizes.items():
        if size is None:
            continue
        if _modes.legacy:
            size = int(size)        # atasker takes strings of a configuration file, too
        checked[name] = _checks.count(f"{name} of the {kind} pool", size, 0)
    return checked


def total_slots(sizes: dict[str, Any]) -> int:
    """Return the slots of a pool, with its reserves."""
    return sum(sizes[name] for name in SIZES)


def with_min_size(kind: str, sizes: dict[str, Any], min_size: int | str | None) -> dict[str, Any]:
    """Return sizes with a checked ``min_size``; ``'max'`` is the largest one that is possible."""
    if min_size == "max":
        return dict(sizes, min_size=sizes.get("max_size") or total_slots(sizes))
    return dict(sizes, **checked_sizes(kind, min_size=min_size))


def checked_limits(pool: Pool, kind: str, max_queued: int | None, on_full: str | None,
                   aging: Any) -> tuple[int | None, str, float | None]:
    """Check what submissions to a pool have to meet; None keeps the limit that the pool has."""
    most, seconds = pool.backpressure.max_queued, pool.backpressure.aging
    if max_queued is not None:
        most = checked_sizes(kind, max_queued=max_queued)["max_queued"] or None
    if on_full is not None and on_full not in ON_FULL:
        raise InvalidArgumentError(f"on_full of the {kind} pool takes one of {', '.join(ON_FULL)}, "
                                   f"not {shown(on_full)}")
    if aging is not None:
        seconds = seconds_or_none(f"aging of the {kind} pool", aging) or None
    return most, on_full or pool.backpressure.on_full, seconds


class PoolManager:
    """The pools, the timer and the loops of one supervisor. Any thread may call it."""

    def __init__(self, state: RunState, back: BackReference, **sizes: Any) -> None:
        self._state = state
        self._back = back
        self.late_starts: LateStartMonitor = LateStartMonitor(back)
        # guards the settings of the pools: they are read, changed and applied in one step
        self.settings_lock: RLock = RLock()
        self.thread_sizes: dict[str, Any] = {
            "pool_size": THREADS_PER_CPU * (os.cpu_count() or 1), "reserve_normal": RESERVE,
            "reserve_high": RESERVE, **checked_sizes("thread", **sizes)}
        self.thread_view: ThreadPoolView | None = None
        name = f"supervisor_{state.supervisor_id}"
        self.timer: Timer = Timer(f"{name}_timer")
        self.threads: ThreadPool = ThreadPool(f"{name}_thread", self.timer, back.ensure_started,
                                              **self.thread_sizes)
        self.loops: LoopRegistry = LoopRegistry(state.supervisor_id, self._loop_ended)
        self.coroutines: CoroutinePool = CoroutinePool(
            f"{name}_loops", self.timer, back.ensure_started, self.threads.spawn, self.loops)
        self.loops.serve(self.coroutines)
        self.coroutines.outer_pools.append(self.threads)
        self.processes: ProcessPool | ExternalPool | None = None
        #: The pools in use. Replaced as a whole, so that any thread may iterate over it.
        self.by_kind: dict[TaskType, Pool] = {TT_THREAD: self.threads,
                                              TT_COROUTINE: self.coroutines}
        self.late_starts.watch(self.threads, self.coroutines)
        #: Former process pools: functions that were decorated before still refer to them.
        self._retired: list[Pool] = []
        #: Called when another process pool takes the position.
        self.on_replaced: Callable[[], None] | None = None
        self.recorder: Recorder | None = None

    # -- start ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Open all pools, unless the supervisor is running."""
        with self._state.lock:
            if not self._state.begin_run():
                return
            self.loops.closed = False
            if self.recorder is not None:
                self.recorder.open()
            for pool in self.by_kind.values():
                pool.open()
        log.debug("supervisor %s started", self._state.supervisor_id)

    def warm_up(self) -> None:
        """Start the threads and processes that the application wants before the first task."""
        self.threads.warm_up()
        if self.processes is not None:
            self._back.parts().processes.start_ahead()

    def ensure_started(self) -> None:
        """Start the supervisor if it is new. For a task that comes to a pool that does not accept.

        :raises SupervisorStoppedError: it has been stopped, or is being stopped.
        """
        follow_threads()
        state = self._state
        with state.lock:
            if state.phase == NEW:
                self.start()
            elif state.phase == RUNNING:
                # Another thread has just started it. Or this thread starts it at this moment, and
                # a signal handler or a finalizer came in between.
                for pool in self.by_kind.values():
                    pool.open()
                return
            else:
                state.refuse_task()
        self.warm_up()

    def start_timer(self) -> None:
        """Start the timer for a caller that schedules calls, and the supervisor if it is new.

        :raises SupervisorStoppedError: as :meth:`ensure_started`. The timer does not run then.
        """
        if not self._state.is_running():
            self.ensure_started()
        with self._state.lock:      # a stop that comes later ends the timer
            if not self._state.is_running():
                self._state.refuse_task()
            self.timer.start()

    def _loop_ended(self) -> None:
        """End the waits for a loop that is closed. For its thread."""
        self.coroutines.abandon_closed()
        supervisor = self._back()
        # Otherwise a stop has ended the loop, and ends these waits.
        if supervisor is not None and self._state.is_running():
            supervisor._supervisor_parts.schedulers.loop_ended()

    def own_loop(self) -> ALoop:
        """Return the own loop of the supervisor; see ``TaskSupervisor.own_loop``."""
        if not self._state.is_running():
            try:
                self.ensure_started()
            except SupervisorStoppedError:
                pass
        return self.loops.own()

    # -- the pools together --------------------------------------------------------------------

    def pool_for(self, tt: TaskType) -> Pool:
        """Return the pool that runs tasks of a kind; the process pool is made on first use."""
        if tt == TT_THREAD:
            return self.threads
        if tt == TT_MP:
            processes: Pool = self.processes or self._back.parts().processes.pool()
            return processes
        return self.coroutines

    def find(self, task_id: str) -> Task[Any] | None:
        """Return the live task with an id, or None."""
        if not isinstance(task_id, str):
            if _modes.legacy:
                return None
            raise InvalidTypeError(f"the id of a task is a string, not {a_kind(task_id)}")
        for pool in self.by_kind.values():
            task = pool.find(task_id)
            if task is not None:
                return task
        return None

    def live_tasks(self, tt: Any) -> dict[str, Task[Any]]:
        """Return the live tasks by id, of all kinds or of one."""
        found: dict[str, Task[Any]] = TasksById()
        for kind, pool in self.by_kind.items():
            if tt is None or tt == kind:
                found.update(pool.live_tasks())
        return found

    def aloops(self) -> dict[str, ALoop]:
        """Return the loops by name; a pickle of the answer holds plain copies."""
        return AloopsByName(self.loops.aloops)

    def has_live_tasks(self) -> bool:
        """Return True if a task has not ended."""
        return any(pool.registry.live for pool in self.by_kind.values())

    def in_use(self) -> bool:
        """Return True if there may be threads, processes or loops to end."""
        return (self.threads.thread_count() > 0 or self.loops.in_use()
                or any(pool.in_use() for pool in self.by_kind.values()))

    def refuse(self) -> None:
        """Accept no more tasks."""
        for pool in self.by_kind.values():
            pool.refuse()

    def drain(self) -> None:
        """Block until no task is alive; more may come meanwhile."""
        for pool in self.by_kind.values():
            pool.drain(None)

    def cancel_waiting(self) -> int:
        """Cancel every task that has not started; return their number."""
        return cancel_many([task for pool in self.by_kind.values()
                            for task in pool.waiting_tasks()])

    def report_running(self, supervisor_id: str) -> None:
        """Log which tasks run, for a user who has pressed Ctrl-C and waits for them."""
        running = [task for pool in self.by_kind.values() for task in pool.all_tasks()
                   if task._status == STARTED]
        if running:
            log.warning("supervisor %s waits for %d running task(s) before the program ends, the "
                        "first is %s (%s); press Ctrl-C again to end at once", supervisor_id,
                        len(running), running[0].name, running[0].short_id)

    def renew_locks(self) -> None:
        """See :meth:`Parts.renew_locks`."""
        self.settings_lock = RLock()
        self.timer.reset_after_fork()
        self.loops.reset_after_fork()
        for pool in [*self.by_kind.values(), *self._retired]:
            pool.renew_locks()

    def reset_after_fork(self) -> None:
        """Become new in a forked process: what runs is the parent's."""
        self.settings_lock = RLock()
        self.timer.reset_after_fork()
        self.loops.reset_after_fork()
        self.loops.closed = False
        for pool in [*self.by_kind.values(), *self._retired]:
            pool.reset_after_fork()

    # -- the thread pool -----------------------------------------------------------------------

    def set_threads(self, min_size: int | str | None, max_queued: int | None, on_full: str | None,
                    aging: Any, max_abandoned: int | None, **sizes: int | None) -> None:
        """Set the sizes and limits of the thread pool; None keeps a value."""
        threads = self.threads
        with self.settings_lock:
            limits = checked_limits(threads, "thread", max_queued, on_full, aging)
            abandoned = checked_sizes("thread", max_abandoned=max_abandoned)
            given = checked_sizes("thread", **sizes)
            checked = with_min_size("thread", dict(self.thread_sizes, **given), min_size)
            least, most = checked.get("min_size", 0), checked.get("max_size")
            if most is not None and least > most:
                raise InvalidArgumentError(f"min_size ({least}) of the thread pool is above "
                                           f"max_size ({most})")
            self.thread_sizes = checked
            threads.backpressure.limit(*limits)
            if abandoned:
                threads.limit_abandoned(abandoned["max_abandoned"] or None)
            self.thread_view = None     # one that was shut down is replaced
            threads.resize(checked["pool_size"], checked["reserve_normal"],
                           checked["reserve_high"], least, most)

    def limit_threads_as(self, executor: Any) -> None:
        """Run at most as many tasks as an executor that is assigned to ``thread_pool`` would."""
        if executor is self.thread_view and executor is not None:
            return
        if not _modes.legacy:
            raise AttributeError("thread_pool cannot be assigned; set_thread_pool() sets its size")
        sizes: dict[str, int] = {}
        left = getattr(executor, "_max_workers", None)
        if isinstance(left, int):
            for name in ("pool_size", "reserve_normal", "reserve_high"):
                size = self.thread_sizes[name]
                sizes[name] = left if name == "pool_size" and not size else min(size, left)
                left -= sizes[name]
            self.set_threads(None, None, None, None, None, **sizes)
        log.warning("supervisor %s: its own threads run its tasks, at most as many at a time as "
                    "%s has workers; the executor itself is not used; call set_thread_pool() "
                    "instead", self._state.supervisor_id, shown(executor))

    def view_of_threads(self, supervisor: Any) -> ThreadPoolView:
        """Return the thread pool as an executor, which keeps the supervisor alive."""
        view = self.thread_view
        if view is None:
            from ..pools.views import ThreadPoolView

            with self.settings_lock:
                view = self.thread_view = (self.thread_view
                                           or ThreadPoolView(self.threads, supervisor))
        return view

    def spawn(self, target: Callable[..., Any], args: Sequence[Any],
              kwargs: dict[str, Any]) -> Future[Any]:
        """Run a function in a pool thread at once; see ``TaskSupervisor.spawn_thread``."""
        from concurrent.futures import Future

        _checks.plain("spawn_thread", target,
                      "call put_task(), which runs a coroutine function in a loop")
        future: Future[Any] = Future()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(target(*args, **kwargs))
                except BaseException as error:
                    future.set_exception(error)
                    raise           # the pool logs it

        self.threads.spawn(run)
        return future

    # -- the process pool, see process_pools.py ------------------------------------------------

    def prepare(self, pool: Pool) -> None:
        """Have a new process pool work with the other pools."""
        pool.outer_pools += [self.threads, self.coroutines]
        self.late_starts.watch(pool)
        pool.lifecycle.record_with(self.recorder)

    def install_process_pool(self, pool: ProcessPool | ExternalPool) -> None:
        """Have a pool run the process tasks from now on. (state lock held)"""
        old = self.processes
        if old is not None:
            self._retired.append(old)
            self.coroutines.outer_pools.remove(old)
        self.coroutines.outer_pools.append(pool)
        self.processes = pool
        self.by_kind = {**self.by_kind, TT_MP: pool}
        if self.on_replaced is not None:
            self.on_replaced()

    # -- results that outlive their tasks ------------------------------------------------------

    @property
    def backend(self) -> Any:
        """The backend that keeps results, or None."""
        return None if self.recorder is None else self.recorder.backend

    def set_backend(self, backend: Any, supervisor: Any) -> None:
        """Have a backend keep the results of tasks; None has none keep them."""
        if backend is not None and not has_method(backend, "attach"):
            raise InvalidTypeError("set_result_backend takes a Backend or None, not "
                                   f"{type(backend).__name__}")
        with self._state.lock:
            old = self.recorder
            if old is not None and old.backend is backend:
                return
            new: Recorder | None = None if backend is None else backend.attach(supervisor)
            if new is not None and self._state.is_running():
                new.open()
            self.recorder = new
            for pool in self.by_kind.values():
                with pool.lock:
                    pool.lifecycle.record_with(new)
        if old is not None:
            old.close(None)
            old.backend.detach(old)

    def detach_recorder(self) -> None:
        """Have the backend forget a supervisor that has ended."""
        if self.recorder is not None:
            self.recorder.backend.detach(self.recorder)
