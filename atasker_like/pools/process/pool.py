"""The process pool, parent's side.

::

    submit ──> run queue ──> feed: frames and tickets into the pipe of a process   (any thread)
                   ^                                │
                   └── revoke: tickets read back <──┤
                                                    v
    waiters <── results read, next tasks fed <── I/O thread that watches all result pipes

Every process has its own pipes (see :mod:`.child` for the wire format). The parent keeps each task
in ``inflight`` of its process, in the order of sending, until its result arrives. So

* the first task in flight runs, or its result is on the way;
* the last tasks, as many as there are tickets in the pipe, have not begun and can be revoked: to
  run a more urgent task first, to give work to an idle process, to cancel one of them, or when the
  process dies;
* when a process dies, at most one task had begun without a result, and that task fails.

Short tasks are prefetched, about a millisecond of expected work at a time, so that a process need
not wait for the parent between two of them. A slot is a process that has a task in flight.
"""
from __future__ import annotations

from threading import get_ident, main_thread
from time import monotonic, perf_counter

from ..._ids import new_id
from ...constants import TaskType
from ...engine.blocking import Latch
from ...engine.deferred import run_and_launch
from ...engine.lifecycle import failure_of
from ...engine.run_queue import RunQueue
from ...engine.task import CANCELED, COMPLETED, QUEUED, Task, number_tasks
from ..base import Pool
from .exits import ExitHandler
from .main_module import end_if_pool_process, is_being_imported
from .pool_process import PoolProcess, kill
from .process_set import ProcessSet
from .result_reader import ResultReader
from .starter import ProcessStarter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Sequence

    from ...engine.deferred import Deferred
    from ...engine.spec import TaskSpec
    from ...engine.timer import Timer
    from ...errors import TaskTimeoutError
    from .serializer import Serializer


#: The minimal number of submissions to a busy pool between two checks by submitters if a process
#: needs more tasks.
FEED_EVERY = 8
#: Seconds within which a process without a task must exit when the pool is closed.
CLOSE_GRACE = 5.0

_new_task = Task.__new__
_NOTHING: Deferred = []     # shared: never add to it


class ProcessPool(ProcessSet):
    """Runs tasks in processes, most urgent first, and survives the death of any of them."""

    tt = TaskType.MP

    def __init__(self, name: str, timer: Timer, wake_up: Callable[[], None],
                 spawn: Callable[[Callable[[], None]], None], pool_size: int,
                 reserve_normal: int = 0, reserve_high: int = 0,
                 start_method: str | None = None) -> None:
        super().__init__(name, timer, wake_up, spawn,
                         RunQueue(pool_size, reserve_normal, reserve_high))
        self.start_method = start_method
        self._since_refill = 0  # submissions since the last check of _refill_every
        self._refill_every = FEED_EVERY
        self.starter: ProcessStarter = ProcessStarter(self)
        self.exits: ExitHandler = ExitHandler(self, self.starter)
        # What the I/O thread calls.
        self.on_readable = ResultReader(self, self.starter, self.exits.handle).read
        self.io_thread_failed = self.exits.replace_all

    # -- acceptance --------------------------------------------------------------------------------

    def start(self, spec: TaskSpec, args: tuple[Any, ...],
              kwargs: dict[str, Any] | None) -> Task[Any]:
        """See :meth:`Pool.start`. If an argument cannot be pickled, the task fails at once."""
        # Task(), inlined for speed
        task: Task[Any] = _new_task(Task)
        task._spec = spec
        task._args = args
        task._kwargs = kwargs
        task._context = None
        task._status = QUEUED
        task._waiters = None
        task._extra = None
        task._queued = perf_counter()
        # Each path is one line, so that no interrupt comes between submitting and returning.
        if args or kwargs or spec.pickled_target is None or not spec.fast_submit:
            return task if self.submit(task) is None else task    # type: ignore[func-returns-value]
        return task if self._accept(task) is None else task     # type: ignore[func-returns-value]

    def submit(self, task: Task[Any]) -> None:
        error = self.packer.pack(task)
        if error is not None:
            self._refused(task, error)
        elif task._spec.fast_submit:
            self._accept(task)
        else:
            Pool.submit(self, task)

    def _accept(self, task: Task[Any]) -> None:
        """Submit a packed task without options, like :meth:`Pool.submit`."""
        if self.is_reentrant():
            self._submit_from_thread(task)
            return
        try:
            deferred = None
            run_queue = self.run_queue
            while True:
                with self.lock:
                    try:
                        if self.accepting and (run_queue.waiting < run_queue.fast_limit
                                               or self.backpressure.has_room(task._spec)):
                            if task._extra is None:
                                registry = self.registry
                                registry.last = task._number = number = registry.last + 1
                                registry.live[number] = task
                            else:
                                self.registry.add(task)
                            deferred = self._enqueue(task)
                            if not deferred:
                                if self.parking.waiters:
                                    self.parking.unpark_one()
                                return      # any thread may start it from here on
                    except BaseException:
                        self.rollback.kept += self.lock.acquire()
                        raise
                if self.parking.waiters:
                    self.parking.unpark_one()
                if deferred is None and not self.backpressure.reject(task):
                    continue
                break
            if deferred:
                run_and_launch(deferred)    # no line may follow: see DeferredWriter.commit()
        except BaseException:
            self.rollback.undo(task)
            raise

    def start_many(self, spec: TaskSpec, calls: Sequence[tuple[Any, ...]],
                   first: int | None = None) -> list[Task[Any]]:
        """See :meth:`Pool.start_many`. Context variables are not sent to processes."""
        made: list[Task[Any]] = [Task(spec, args, None, None) for args in calls]
        if first is not None:
            number_tasks(made, first)
        return made if self.submit_many(made) is None else made  # type: ignore[func-returns-value]

    def submit_many(self, tasks: Iterable[Task[Any]]) -> None:
        good = []
        for task in tasks:
            error = self.packer.pack(task)
            if error is None:
                good.append(task)
            else:
                self._refused(task, error)
        Pool.submit_many(self, good)

    def _refused(self, task: Task[Any], error: BaseException) -> None:
        """Accept a task that cannot be pickled, and fail it. No other task is affected."""
        if self.is_reentrant():
            task._extra_fields().task_id = new_id()
            self.defer_to_thread(self._refused, task, error)
            return
        held = task._references()
        while True:
            with self.lock:
                if self.accepting:
                    self.registry.add(task)
                    waiters = self.lifecycle.finish(task, COMPLETED, perf_counter(),
                                                    failure_of(task, error))
                    break
            if self.replacement is not None:
                self.replacement.accept_redirected(task)      # that pool may be able to run it
                return
            self._ensure_started()
        del held
        self.lifecycle.notify(task, waiters)

    # -- dispatch (lock held) ----------------------------------------------------------------------

    def _enqueue(self, task: Task[Any]) -> Deferred:
        if get_ident() != main_thread().ident:
            return self._let_run(task)
        writer = self.writer
        writer.thread = get_ident()
        deferred = self._let_run(task)
        writer.thread = 0
        return [*deferred, writer.commit] if writer.processes else deferred

    def _let_run(self, task: Task[Any]) -> Deferred:
        run_queue = self.run_queue
        run_queue.push(task)
        if self._idle:
            self._refill_idle()
            if not run_queue.waiting:
                return _NOTHING
        priority = task._spec.priority
        if priority < self._lowest_priority:
            self._revoke_less_urgent(priority)
        else:
            # While a submitter is busy, the I/O thread may have to wait for the interpreter. So
            # submitters feed the processes, too. They do so rarely, since each write releases the
            # interpreter.
            self._since_refill += 1
            if self._since_refill >= self._refill_every:
                self._since_refill = 0
                self._refill_every = max(FEED_EVERY, self._allowed(task._spec.expected_runtime))
                for process in self._processes:
                    if process.inflight:
                        self._refill(process)
        if (len(self._processes) < run_queue.slots or self._departing) and not self.starter.is_busy:
            return self.starter.grow()
        return _NOTHING

    def _enqueue_many(self, tasks: Iterable[Task[Any]]) -> Deferred:
        writer = self.writer
        if get_ident() == main_thread().ident:
            writer.thread = get_ident()
        urgent = self.run_queue.push_many(tasks)
        if urgent is not None and urgent < self._lowest_priority:
            self._revoke_less_urgent(urgent)
        self._refill_idle()
        writer.thread = 0
        deferred = self.starter.grow()
        return [*deferred, writer.commit] if writer.processes else deferred

    # -- cancel and time out (lock held) -----------------------------------------------------------

    def _holder(self, task: Task[Any]) -> PoolProcess | None:
        return next((process for process in self._processes if task in process.inflight), None)

    def _is_queued(self, task: Task[Any]) -> bool:
        if self._was_dispatched(task):
            self._begin(task, perf_counter())   # the child took its ticket before the revoke
            return False
        return True

    def _was_dispatched(self, task: Task[Any]) -> bool:
        process = self._holder(task)
        if process is None:
            return False
        self.run_queue.requeue(self._revoke(process))
        return task in process.inflight

    def _resync(self, tasks: set[Task[Any]]) -> Deferred:
        flying: set[Task[Any]] = set()
        moving: list[Task[Any]] = []
        for process in self._processes:
            if process.inconsistent:
                self._quarantine(process)
            moving += process.revoking
            process.revoking.clear()
            flying.update(process.inflight)
        standing = self.run_queue.waiting_tasks()
        for task in moving:
            if task not in flying:
                self.lifecycle.revoke(task)
        self.run_queue.requeue([task for task in self.registry.live.values()
                                if (task._status == QUEUED and task not in standing
                                    and task not in flying)])
        for process in self._processes:
            process.lanes = {}
            for task in process.inflight:
                if task._spec.lane is not None:
                    process.lanes[task._spec.lane] = process.lanes.get(task._spec.lane, 0) + 1
        self.run_queue.resync(sum(1 for process in self._processes if process.inflight),
                              [lane for process in self._processes for lane in process.lanes])
        self._idle = [process for process in self._processes
                      if process.ready and not process.inflight and not process.closed
                      and process.termination is None and not process.retiring]
        self._lowest_priority = max([one.lowest_priority for one in self._processes], default=-1)
        self.starter.undo_request()         # the interrupt may have come before the thread began
        self._refill_idle()
        deferred: Deferred = []
        for process in self._processes:
            if process.termination is not None:
                deferred += self._end_process(process)    # the interrupt may have come before that
        return deferred + self.starter.grow()

    def _dispatch_more(self) -> Deferred:
        if self.run_queue.peek() is not None:
            urgency = self.run_queue.head_priority()
            if urgency < self._lowest_priority:
                self._revoke_less_urgent(urgency)
            self._refill_idle()
        return self.starter.grow()

    def _removed_from_queue(self, tasks: Sequence[Task[Any]]) -> Deferred:
        deferred = super()._removed_from_queue(tasks)
        self._refill_idle()                   # other tasks may have been revoked with these
        return deferred

    def _cancel_running(self, task: Task[Any]) -> Deferred:
        return self._timeout_running(task, None, None)

    def _timeout_running(self, task: Task[Any], error: TaskTimeoutError | None,
                         pause: float | None) -> Deferred:
        process = self._holder(task)
        if process is None or process.termination is not None:
            return []                       # its result arrived, or its process is being ended
        self.run_queue.requeue(self._revoke(process))
        if task not in process.inflight:
            if error is None:               # it had not begun: its process can stay
                waiters = self.lifecycle.finish(task, CANCELED, perf_counter())
                self._removed_from_queue([task])
                return [lambda: self.lifecycle.notify(task, waiters)]
            # It did not begin before its timeout: the process hangs, and another one gets the task.
            task = None     # type: ignore[assignment]
        elif process.inflight[-1] is not task:
            self._refill_idle()
            return []                       # a later task has begun: its own result is on the way
        process.termination = (task, error, pause)
        self._refill_idle()
        return self._end_process(process) + self.starter.grow()

    # -- settings ----------------------------------------------------------------------------------

    def refuse_during_import(self) -> None:
        """See :meth:`Pool.refuse_during_import`."""
        if is_being_imported():
            end_if_pool_process()

    def use_serializer(self, serializer: Serializer | None) -> None:
        """Have a serializer carry what crosses from now on; None is pickle. Any thread may call it.

        The present processes finish their tasks in flight and are replaced.
        """
        with self.lock:
            self.packer.use(serializer)
            self._replace_processes()
        self.starter.drop_template(wait=False)

    # -- resize and close --------------------------------------------------------------------------

    def resize(self, pool_size: int, reserve_normal: int, reserve_high: int, min_size: int) -> None:
        """Change the number of processes. Running tasks go on. Any thread may call it."""
        with self.lock:
            self.run_queue.resize(pool_size, reserve_normal, reserve_high)
            self.min_size = min_size
            while True:
                if not self._idle or self._alive() <= self.run_queue.slots:
                    break
                self._close_when_idle(self._idle[0])
            more = self.run_queue.waiting > 0 or (self.accepting and self.starter.needs_process())
        if more:
            self._run_uninterruptible(self._start_more)

    def configure(self, initializer: Callable[..., Any] | None, initargs: tuple[Any, ...],
                  maxtasksperchild: int | None) -> None:
        """Set the initializer and the quota of new processes. Any thread may call it.

        The present processes finish their tasks in flight and are replaced.
        """
        with self.lock:
            self.initializer = initializer
            self.initargs = initargs
            self.maxtasksperchild = maxtasksperchild
            self._replace_processes()
        self.starter.drop_template(wait=False)     # it has the old initializer

    def use_start_method(self, start_method: str, is_changed: bool) -> None:
        """Set the start method. If it has changed, replace the processes. Any thread may call it.

        :param is_changed: the present processes were started by another method.
        """
        with self.lock:
            self.start_method = start_method
            self.forks_from_template = self.forks_from_template and start_method == "fork"
            if is_changed:
                self._replace_processes()
        if is_changed:
            self.starter.drop_template(wait=False)

    def _replace_processes(self) -> None:
        """Have the present processes, and those that start now, run no more tasks. (lock held)"""
        self._generation += 1
        for process in self._processes:
            process.retiring = True
        for process in list(self._idle):
            self._close_when_idle(process)

    def kill_all(self) -> None:
        """Kill all processes at once, and their running tasks with them."""
        with self.lock:
            self._closing = True
            processes = list(self._processes)
            self.killed += len(processes)
        for process in processes:
            kill(process.process)

    def renew_locks(self) -> None:
        """See :meth:`Pool.renew_locks`."""
        super().renew_locks()
        self.starter.renew_locks()

    def reset_after_fork(self) -> None:
        """See :meth:`Pool.reset_after_fork`. The pipes are closed before this call."""
        super().reset_after_fork()
        self._processes, self._idle, self._exit_waiters = [], [], []
        self._departing = False
        self._lowest_priority, self._since_refill = -1, 0
        self._closing = False
        self._io_thread = None
        self.starter.reset_after_fork()
        self.log_forwarder.reset()

    def open(self) -> None:
        with self.lock:
            self._closing = False
            self.starter.reopen()
            self.accepting = True
            self.draining = False

    def close(self, deadline: float | None) -> None:
        """Let all processes exit. After CLOSE_GRACE seconds, kill the remaining ones.

        :param deadline: kill them at this ``monotonic()`` time if that is earlier, or None.
        """
        latch = Latch()
        with self.lock:
            self._closing = True
            self.starter.ahead = False
            for process in list(self._processes):
                self._close_when_idle(process)
            waiting = bool(self._processes or self.starter.is_busy)
            if waiting:
                self._exit_waiters.append(latch)
        if waiting:
            # No process has a task, so a process that does not exit in time is frozen, or its
            # initializer hangs.
            grace = monotonic() + CLOSE_GRACE
            while not latch.wait(grace if deadline is None else min(grace, deadline)):
                self.kill_all()
                deadline = None
                grace = monotonic() + CLOSE_GRACE
        io_thread = self._io_thread
        if io_thread is not None:
            io_thread.stop()
            self._io_thread = None
        if self._kept_memories is not None:
            self._kept_memories.clear()
        self.starter.drop_template(wait=True)

    def in_use(self) -> bool:
        """See :meth:`Pool.in_use`. Processes may exist before the pool is opened."""
        return bool(self._processes or self.starter.is_busy or self.starter.template)

    def process_count(self) -> int:
        """Return the number of processes, including those that start or end."""
        return len(self._processes)

    def pids(self) -> list[int]:
        """Return the process ids of the pool processes."""
        with self.lock:
            return [process.pid for process in self._processes]
