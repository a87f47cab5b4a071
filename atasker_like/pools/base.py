"""The Pool contract: start a task, stop a running task, close by a deadline.

A pool owns its tasks from acceptance to their end. One lock guards its registry, its run queue and
the state of each of its tasks. The pools differ in five methods, all called with the lock held:
:meth:`Pool._enqueue`, :meth:`Pool._is_queued`, :meth:`Pool._cancel_running`,
:meth:`Pool._timeout_running` and :meth:`Pool._complete_running`. All but ``_is_queued`` return
*deferred calls*, which are made after the lock is released, since they run code of the application,
start threads, or wait. The last one makes a new task run: before it, the submission can be undone.

No pool takes the lock of another pool, except in finalizers; see ``outer_pools``.

A signal handler, or a finalizer that the garbage collector runs, may interrupt a critical section
at any line and call the pool in the same thread. It must neither wait for the section nor enter it.
So the lock knows its owner. A call that changes the pool checks it first, and if the thread owns
the lock, another thread makes the call; see :meth:`Pool.defer_to_thread`.
"""
from __future__ import annotations

import threading
from _thread import get_ident
from contextvars import copy_context
from sys import maxsize
from time import perf_counter, time

from .._atomics import RLock
from .._ids import new_id
from .._log import log
from .._threads import start_thread
from ..constants import TaskType
from ..engine.blocking import Latch
from ..engine.deferred import run_and_launch, run_deferred
from ..engine.lifecycle import Lifecycle, retry_pause
from ..engine.parking import ParkingLot
from ..engine.registry import Registry
from ..engine.run_queue import RunQueue
from ..engine.task import (CANCELED, COMPLETED, DELAYED, QUEUED, STARTED, Progress, Task,
                           number_tasks, spec_of)
from ..errors import TaskTimeoutError
from .backpressure import Backpressure
from .cancelling import cancel_many
from .lane_events import LaneEvents
from .notifier import Notifier
from .rollback import Rollback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, List, Sequence

    from ..engine.deferred import Deferred
    from ..engine.lanes import Lane
    from ..engine.spec import TaskSpec
    from ..engine.timer import Timer

    Waiters = List[Callable[[], None]]


class Pool:
    """Tasks of one kind, and the threads, processes or loops that run them.

    The parts of a pool own their fields: ``run_queue`` the waiting tasks and the slots,
    ``lifecycle`` the states of the tasks, ``backpressure`` the limits and the blocked submitters,
    and ``notifier`` the calls of hooks. ``rollback`` undoes interrupted submissions, and
    ``lane_events`` answers the lanes. The pool itself knows what runs where.
    """

    tt: TaskType
    cancel_many: Any = staticmethod(cancel_many)
    #: Processes that were ended by force.
    killed = 0

    @property
    def abandoned(self) -> int:
        """The number of functions that still run after the end of their tasks."""
        return 0

    def __init__(self, name: str, timer: Timer, wake_up: Callable[[], None],
                 spawn: Callable[[Callable[[], None]], None], run_queue: RunQueue) -> None:
        self.name = name
        self.timer = timer
        self.use_lock(RLock())
        self.parking: ParkingLot = ParkingLot()  # where pool threads wait for the lock
        self.run_queue: RunQueue = run_queue
        self.lifecycle: Lifecycle = Lifecycle(self)
        self.registry: Registry = self.lifecycle.registry
        self.notifier: Notifier = Notifier(self)
        self.backpressure: Backpressure = Backpressure(self)
        self.rollback: Rollback = Rollback(self)
        self.lane_events: LaneEvents = LaneEvents(self)
        self.replacement: Pool | None = None    # it takes the tasks that are submitted to this one
        self.accepting: bool = False
        self.draining: bool = False         # it is being stopped: no lane stays paused
        self._ensure_started = wake_up  # starts the pool, or raises, if it does not accept
        self._spawn: Callable[[Callable[[], None]], None] = spawn       # in a pool thread
        #: The pools whose critical sections a finalizer that calls this pool may have interrupted.
        #: Empty for the thread pool: a thread in another pool's section may wait for its lock,
        #: since no thread that holds it waits for the lock of another pool.
        self.outer_pools: list[Pool] = []
        self._respecced: dict[TaskSpec, TaskSpec] = {}  # specs of the pools that this one replaced

    def use_lock(self, lock: Any) -> None:
        """Take a new lock. No task is alive."""
        self.lock: Any = lock  # guards the pool, its registry, run queue and tasks
        #: Tells whether this thread is in a critical section. A rollback may replace it.
        self.is_locked_here: Callable[[], bool] = lock._is_owned

    # -- acceptance --------------------------------------------------------------------------------

    def submit(self, task: Task[Any]) -> None:
        """Accept a task. After a return, the task will end; after an error, it never runs.

        :raises SupervisorStoppedError: the supervisor has been stopped.
        """
        try:
            return self._submit_from_thread(task) if self.is_reentrant() else self._submit(task)
        except BaseException:
            self.rollback.undo(task)
            raise

    def is_reentrant(self) -> bool:
        """Return True if this thread is inside a critical section of this pool or of an outer one.

        Then the caller is a signal handler or a finalizer, and must not wait for the lock.
        """
        if self.is_locked_here():
            return True
        for pool in self.outer_pools:
            if pool.is_locked_here():
                return True
        return False

    def defer_to_thread(self, call: Callable[..., Any], *arguments: Any) -> None:
        """Have a pool thread make a call, as this thread is inside a critical section."""
        # To ask for a pool thread takes a lock, so a new thread does that.
        start_thread(self._spawn, (lambda: call(*arguments),))

    def _submit_from_thread(self, task: Task[Any]) -> None:
        extra = task._extra_fields()
        if extra.task_id is None:
            extra.task_id = new_id()        # it may be read before the task has a number
        self.defer_to_thread(self._submit_late, task)

    def _submit_late(self, task: Task[Any]) -> None:
        try:
            self.submit(task)
        except BaseException as error:      # its submission has returned, so the task must end
            log.warning("task %s (%s), submitted by a signal handler or a finalizer, "
                        "is cancelled: %s", task.name, task.short_id, error)
            with self.lock:
                if not task.done():
                    self.registry.add(task)
                waiters = self.lifecycle.finish(task, CANCELED, perf_counter())
            self.lifecycle.notify(task, waiters)

    def _submit(self, task: Task[Any]) -> None:
        spec = task._spec
        run_queue = self.run_queue
        while True:
            deferred = None
            with self.lock:
                try:
                    if self.accepting:
                        if not spec.fast_submit:
                            self.timer.start()      # first: if it raises, nothing is accepted
                        pause = 0.0 if spec.fast_submit else self._start_delay(spec)
                        if pause > 0 and (spec.lane is None or spec.lane.find is None):
                            self.registry.add(task)
                            return self.lifecycle.delay(task, pause)
                        # Backpressure._has_room_for(), written out
                        if ((run_queue.waiting < run_queue.fast_limit
                             or self.backpressure.has_room(spec))
                                and (spec.lane is None or spec.lane.has_room())):
                            self.registry.add(task)
                            deferred = self._enqueue(task)
                            if not deferred:
                                return      # any thread may start it from here on
                except BaseException:
                    self.rollback.kept += self.lock.acquire()
                    raise
            if deferred is not None:
                return run_and_launch(deferred)
            if self.backpressure.reject(task):
                return

    def submit_unchecked(self, task: Task[Any]) -> bool:
        """Accept a task without asking for room or waiting. Return False if the pool accepts none.

        Used for the runs of workers, which the timer submits, at most one of each at a time, and
        for the loop of a server, whose coroutines need no room. The calling thread must be outside
        all critical sections, and no signal handler may interrupt it.
        """
        with self.lock:
            if not self.accepting:
                return False
            self.registry.add(task)
            deferred = self._enqueue(task)
        run_deferred(deferred)
        return True

    def start(self, spec: TaskSpec, args: tuple[Any, ...],
              kwargs: dict[str, Any] | None) -> Task[Any]:
        """Make a task of one call, accept it and return it. Errors as :meth:`submit`."""
        task: Task[Any] = Task(spec, args, kwargs, copy_context())
        return task if self.submit(task) is None else task  # type: ignore[func-returns-value]

    def start_many(self, spec: TaskSpec, calls: Sequence[tuple[Any, ...]],
                   first: int | None = None) -> list[Task[Any]]:
        """Make a task of each of many calls of one function, accept them all and return them.

        :param first: the index of the first task, if the tasks belong to a map with indices.
        """
        context = copy_context()
        # Each task runs in its own copy of the context. A plain task gets it here, another one at
        # each attempt.
        made: list[Task[Any]] = [Task(spec, args, None,
                                      context if spec.shares_context else context.copy())
                                 for args in calls]
        if first is not None:
            number_tasks(made, first)
        return made if self.submit_many(made) is None else made  # type: ignore[func-returns-value]

    def submit_many(self, tasks: Sequence[Task[Any]]) -> None:
        """Accept all tasks or none, as :meth:`submit` does, and take the lock once if possible."""
        try:
            if self.is_reentrant():
                for task in tasks:
                    self._submit_from_thread(task)
            elif tasks:
                self._submit_many(tasks)
        except BaseException:
            self.rollback.undo(*tasks)
            raise

    def _submit_many(self, tasks: Sequence[Task[Any]]) -> None:
        specs: set[TaskSpec] = set(map(spec_of, tasks))
        plain = all(spec.fast_submit for spec in specs)
        bounded = any(spec.lane is not None and spec.lane.size is not None for spec in specs)
        while True:
            deferred: Deferred | None = None
            with self.lock:
                try:
                    unlimited = self.run_queue.fast_limit == maxsize and not bounded
                    if unlimited and self.accepting:
                        if not plain:
                            self.timer.start()
                        add = self.registry.add
                        pauses = dict(zip(specs, map(self._start_delay, specs)))
                        ready = []
                        for task in tasks:
                            add(task)
                            pause = pauses[task._spec]
                            if pause > 0:
                                self.lifecycle.delay(task, pause)
                            else:
                                ready.append(task)
                        deferred = self._enqueue_many(ready)
                except BaseException:
                    self.rollback.kept += self.lock.acquire()
                    raise
            if deferred is not None or not unlimited or self.replacement is not None:
                break
            self._ensure_started()
        if deferred is None:
            self._submit_each(tasks)
            return
        return run_and_launch(deferred)

    def _submit_each(self, tasks: Sequence[Task[Any]]) -> None:
        """Accept tasks one by one. If one is refused, cancel those before it."""
        accepted = 0
        try:
            for task in tasks:
                self.submit(task)
                accepted += 1
        except BaseException:
            cancel_many(tasks[:accepted])
            raise

    def redirect(self, successor: Pool) -> bool:
        """Pass all further tasks to another pool. If a task is alive, return False instead."""
        with self.lock:
            if self.registry.live:
                return False
            self.accepting = False
            self.replacement = successor
            self.backpressure.wake_submitters()
        return True

    def accept_redirected(self, task: Task[Any]) -> None:
        """Accept a task that was submitted to a pool that this one has replaced."""
        if self.replacement is not None:
            self.replacement.accept_redirected(task)
            return
        spec = task._spec
        own = self._respecced.get(spec)
        if own is None:
            if spec.lane is not None and spec.lane.find is None:
                spec.lane.bind(self)
            own = spec.for_pool(self)
            if len(self._respecced) >= 512:
                self._respecced.clear()  # dict operations are atomic; a lost entry is made again
            self._respecced[spec] = own
        task._spec = own
        task._context = None                # packed for the other pool
        return self.submit(task)

    def _start_delay(self, spec: TaskSpec) -> float:
        """Return the seconds until a new task may start; 0 or less is now."""
        options = spec.options
        if options.delay:
            return float(options.delay)
        return 0.0 if options.run_at is None else options.run_at - time()

    def _delay_elapsed(self, task: Task[Any]) -> None:
        """Make a delayed task ready at its time. The timer calls it."""
        with self.lock:
            if not self.lifecycle.due(task):
                return
            self.backpressure.schedule_aging()
            deferred = self._enqueue(task)
        run_deferred(deferred)

    def _run_uninterruptible(self, call: Callable[..., None], *arguments: Any) -> None:
        """Make a call that starts tasks; in the main thread, have the timer's thread make it."""
        # In the main thread an interrupt may come at any line, so a thread that has got a task
        # might not be woken.
        if get_ident() == threading.main_thread().ident:
            try:
                self.timer.start()
            except (RuntimeError, MemoryError):
                pass                        # the system has no thread for it
            else:
                self.timer.call_at(0.0, call, *arguments)
                return
        call(*arguments)

    def _start_more(self) -> None:
        """Start tasks after the number of slots has grown. (no lock)"""
        with self.lock:
            deferred = self._dispatch_more()
        run_deferred(deferred)

    # -- the end of an attempt ---------------------------------------------------------------------

    def _attempt_ended(self, task: Task[Any], outcome: Any, pause: float | None,
                cancelled: bool = False) -> Deferred:
        """Settle an attempt whose slot has been released. (lock held)

        Arguments as :meth:`Lifecycle.settle_attempt`. The last call wakes the waiters.
        """
        held: Any = task._references()
        waiters, ready = self.lifecycle.settle_attempt(task, outcome, pause, cancelled)
        if waiters is None:
            return self._enqueue(task) if ready else []

        def announce() -> None:
            nonlocal held
            held = None                     # dropped without the lock
            self.lifecycle.notify(task, waiters, inline=False)

        return [announce]

    # -- the owner of tasks (see task.TaskOwner) ---------------------------------------------------

    def task_id(self, task: Task[Any]) -> str:
        """Return the id of a task of this pool."""
        return self.registry.task_id(task._number)

    def complete_early(self, task: Task[Any]) -> bool:
        """See :meth:`Task.mark_completed`."""
        return self.cancel(task, True, COMPLETED)

    def cancel(self, task: Task[Any], begun: bool = True, end: int = CANCELED) -> bool:
        """See :meth:`Task.cancel`.

        :param begun: False leaves a task alone whose function has begun. Return True then only if
            this call has cancelled the task.
        :param end: COMPLETED declares the task completed instead.
        """
        if self.is_reentrant():
            if begun and not task.done():
                self.defer_to_thread(self.cancel, task, begun, end)
                return True
            return False
        held = task._references()     # dropped after the lock is released
        deferred: Deferred = []
        waiters = None
        ended = True
        try:
            with self.lock:
                was = task._status
                if was == COMPLETED or was == CANCELED:
                    return False
                if begun:
                    extra = task._extra_fields()    # the fast paths leave such a task alone
                    extra.cancel_requested |= end == CANCELED
                if was == DELAYED:
                    waiters = self.lifecycle.finish(task, end, perf_counter())
                elif was == QUEUED and self._is_queued(task):
                    waiters = self.lifecycle.finish(task, end, perf_counter())
                    deferred = self._removed_from_queue([task])
                elif end == COMPLETED:
                    deferred = self._complete_running(task)
                    waiters = self.lifecycle.finish(task, end, perf_counter())
                elif begun:
                    deferred = self._cancel_running(task)
                else:
                    ended = False
                    if was == QUEUED:
                        deferred = self._dispatch_more()      # _is_queued() has taken others back
            del held
            self.lifecycle.notify(task, waiters)
            run_deferred(deferred)
        except BaseException:
            # A task that goes on is left alone, but the accounts may need repair.
            undone = task.done() or begun and end == CANCELED
            self.rollback.undo(*[task] if undone else (), ended=(task,))
            raise
        return ended

    def cancel_together(self, tasks: Iterable[Task[Any]], cause: str,
                        ended: list[tuple[Task[Any], Waiters | None]], deferred: Deferred) -> int:
        """Cancel tasks for :func:`cancel_many`, as far as it takes the lock.

        :param ended: gets the tasks that are final now, with their waiters.
        :param deferred: gets the calls to be made after the lock is released.
        :return: the number of tasks that had not ended.
        """
        held = []                           # dropped after the lock is released
        with self.lock:
            now = perf_counter()
            withdrawn = []
            others = []
            for task in tasks:
                status = task._status
                if status == COMPLETED or status == CANCELED:
                    continue
                extra = task._extra_fields()
                if not extra.cancel_requested:
                    extra.cancel_requested, extra.cancel_cause = True, cause
                held.append(task._references())
                if status == DELAYED or status == QUEUED and self._is_queued(task):
                    ended.append((task, self.lifecycle.finish(task, CANCELED, now)))
                    if status == QUEUED:
                        withdrawn.append(task)
                else:
                    others.append(task)
            # All at once: the withdrawal of one task could start another one of them.
            deferred += self._removed_from_queue(withdrawn)
            for task in others:
                deferred += self._cancel_running(task)
        return len(held)

    def abandon(self, task: Task[Any]) -> None:
        """Make a task final, as cancelled, although its function goes on.

        Only the thread pool needs this. In the other pools a cancel is enough: this does nothing.
        """

    def report(self, task: Task[Any], progress: Progress) -> None:
        """See :meth:`Task.report_progress`."""
        if self.is_reentrant():
            return                          # called by a finalizer: the next report will do
        with self.lock:
            if task._status == STARTED:
                self.lifecycle.progress(task, progress)

    # -- timeouts ----------------------------------------------------------------------------------

    def arm_timeout(self, task: Task[Any]) -> None:
        """Start the timeout of an attempt that begins to run. (lock held)"""
        assert task._spec.timeout is not None
        self.lifecycle.timeouts.arm(task, task._spec.timeout)

    def _expired(self, task: Task[Any], deadline: float) -> None:
        """Fail or retry a task that has run for its timeout. The timer calls it."""
        assert task._spec.timeout is not None
        error = TaskTimeoutError(f"task {task.name} ({task.short_id}) ran longer than its timeout "
                                 f"of {task._spec.timeout:g} s; raise the timeout, or make the "
                                 "function faster")
        pause = retry_pause(task, error)
        with self.lock:
            if (not self.lifecycle.timeouts.take(task, task._spec.timeout, deadline)
                    or task._status != STARTED):
                return              # it has ended meanwhile, or another attempt has begun
            deferred = self._timeout_running(task, error, pause)
        run_deferred(deferred)

    # -- closing -----------------------------------------------------------------------------------

    def open(self) -> None:
        """Accept tasks from now on."""
        with self.lock:
            self.accepting = True
            self.draining = False

    def refuse(self) -> None:
        """Accept no more tasks; those accepted go on."""
        with self.lock:
            self.accepting = False
            self.backpressure.wake_submitters()      # they try again and raise

    def held_back(self) -> list[Task[Any]]:
        """Return the delayed tasks and those that wait in a paused lane."""
        with self.lock:
            held = self.registry.in_state(DELAYED)
            for lane in self.run_queue.lanes:
                held += lane.tasks() if lane.paused else []
            return held

    def start_draining(self) -> None:
        """Let all lanes start tasks, as the pool is being stopped."""
        with self.lock:
            self.draining = True
            for lane in self.run_queue.lanes:
                self.run_queue.unpark_lane(lane)     # a failed attempt may have entered it again
            deferred = self._dispatch_more()
        run_deferred(deferred)

    def tasks_of(self, lane: Lane) -> list[Task[Any]]:
        """Return the tasks of a lane that have not ended, in the order of their submission."""
        with self.lock:
            return list(filter(lambda task: task._spec.lane is lane, self.registry.live.values()))

    def waiting_tasks(self) -> list[Task[Any]]:
        """Return the tasks that have not started."""
        with self.lock:
            return self.registry.in_state(QUEUED, DELAYED)

    def all_tasks(self) -> list[Task[Any]]:
        """Return the tasks that have not ended."""
        with self.lock:
            return list(self.registry.live.values())

    def abandon_all(self) -> list[str]:
        """Make all live tasks final, as cancelled, without waiting for them; return their ids."""
        ended = []
        with self.lock:
            for task in list(self.registry.live.values()):
                task._extra_fields()    # the thread that ends it looks at its status then
                standing = task._status == QUEUED and self._is_queued(task)
                held = task._references()
                waiters = self.lifecycle.finish(task, CANCELED, perf_counter())
                if standing:
                    self._removed_from_queue([task])
                ended.append((task, held, waiters))
        for task, held, waiters in ended:
            self.lifecycle.notify(task, waiters, inline=False)
        return [task.id for task, _, _ in ended]

    def drain(self, deadline: float | None) -> bool:
        """Block until no task is alive or the deadline. Return True if none is alive."""
        latch = Latch()
        with self.lock:
            empty = not self.registry.live
            if not empty:
                self.backpressure.drain_waiters.append(latch)
                self.backpressure.has_observers = True
        if empty or latch.wait(deadline):
            self.notifier.flush(deadline)   # the result tells of the tasks only
            return True
        with self.lock:
            if latch in self.backpressure.drain_waiters:
                self.backpressure.drain_waiters.remove(latch)
            return not self.registry.live

    def in_use(self) -> bool:
        """Return True if the pool has something to close although it has not been opened."""
        return False

    def renew_locks(self) -> None:
        """Make new locks after threads have been replaced. No task is alive."""
        self.use_lock(RLock())

    def reset_after_fork(self) -> None:
        """Begin anew in a forked process; threads, processes and tasks belong to the parent."""
        self.lifecycle.reset_after_fork()
        self.registry = self.lifecycle.registry
        self.use_lock(RLock())
        self.rollback = Rollback(self)
        self.parking = ParkingLot()
        self.run_queue = self.run_queue.empty_copy()
        self.accepting = self.draining = False
        self.backpressure.clear()
        self.notifier.clear()

    def close(self, deadline: float | None) -> None:
        """End the threads or processes. No task is alive, or the deadline is near.

        The loops of coroutines belong to the supervisor or to the application, and go on.
        """

    # -- overridden by the kinds of pools; all with the lock held ----------------------------------

    def _enqueue(self, task: Task[Any]) -> Deferred:
        """Start a task that may run, or let it wait."""
        raise NotImplementedError

    def _dispatch_more(self) -> Deferred:
        """Start tasks after some have become more urgent or slots have become free."""
        raise NotImplementedError

    def _refusal_reason(self) -> str | None:
        """Return the reason why the pool takes no task at all, or None."""
        return None

    def _interrupted(self, thread: int) -> int:
        """Repair the pool's state before the tasks of a thread's submission are undone.

        :return: how often the interrupted call has left the lock taken.
        """
        return 0

    def _was_dispatched(self, task: Task[Any]) -> bool:
        """Return True if a STARTED task of an interrupted submission can no longer be undone."""
        return True

    def _resync(self, tasks: set[Task[Any]]) -> Deferred:
        """Recount the slots after an interrupted submission, whose tasks are final."""
        return []

    def _enqueue_many(self, tasks: Iterable[Task[Any]]) -> Deferred:
        """Do the same as :meth:`_enqueue` for many tasks."""
        deferred: Deferred = []
        for task in tasks:
            deferred += self._enqueue(task)
        return deferred

    def _is_queued(self, task: Task[Any]) -> bool:
        """Return True if a QUEUED task is in the run queue, after trying to bring it back there."""
        return True

    def _removed_from_queue(self, tasks: Sequence[Task[Any]]) -> Deferred:
        """Remove tasks that have just become final from the run queue."""
        for task in tasks:
            self.run_queue.discard(task)
        self.backpressure.wake_submitters()
        return []

    def _cancel_running(self, task: Task[Any]) -> Deferred:
        """Cancel a task that is no longer in the run queue."""
        raise NotImplementedError

    def _timeout_running(self, task: Task[Any], error: TaskTimeoutError,
                         pause: float | None) -> Deferred:
        """Stop a task after its timeout; pause is the seconds until its next attempt, if any."""
        raise NotImplementedError

    def _complete_running(self, task: Task[Any]) -> Deferred:
        """Let go of a task outside the run queue that is about to be declared completed."""
        return []

    # -- inspection --------------------------------------------------------------------------------

    def live_tasks(self) -> dict[str, Task[Any]]:
        """Return the live tasks by id."""
        return {task.id: task for task in self.all_tasks()}

    def refuse_during_import(self) -> None:
        """Refuse a task that is to start later while a pool process imports the main module.

        See :mod:`.process.main_module`.
        """

    def loop_of(self, task: Task[Any]) -> Any:
        """Return the event loop that a task needs, or None. Any thread may call it."""
        return None

    def asyncio_task_of(self, task: Task[Any]) -> Any:
        """Return the asyncio task that runs a task's coroutine, or None. Any thread may call it."""
        return None

    def find(self, task_id: str) -> Task[Any] | None:
        """Return a live task, or None."""
        with self.lock:
            return self.registry.find(task_id)
