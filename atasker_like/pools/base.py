"""The Pool contract: start a task, stop a running task, close by a deadline.

A pool owns its tasks from acceptance to their end: one lock guards its registry, its run_queue and the state
of each of its tasks. What a pool does differently from the others is in five methods, all called with the
lock held: :meth:`Pool._ready`, :meth:`Pool._standing`, :meth:`Pool._interrupt`, :meth:`Pool._overrun` and
:meth:`Pool._done_early`. They return *chores*: calls to be made when the lock is free, since they run code of
others, start threads, or wait. The last of them is what has a new task run: before it, its submission can be undone.

No pool takes another pool's lock, but for finalizers; see ``neighbours``.

A signal handler, or a finalizer that the garbage collector runs, may come in between two lines of a critical
section and call the pool in the same thread. It must neither wait for the section nor enter it. So the lock knows
its owner; the calls that change something look, and have another thread make the call: see :meth:`Pool.elsewhere`.
"""
from __future__ import annotations

import sys
import threading
from _thread import get_ident
from contextvars import copy_context
from sys import maxsize
from time import perf_counter, time

from .._ids import new_id
from .._log import log
from .._threads import start_thread
from ..constants import TaskType
from ..engine.blocking import Latch
from ..engine.callbacks import call_callbacks
from ..engine.parking import ParkingLot
from ..engine.registry import Registry
from ..engine.result import Failure
from ..engine.run_queue import RunQueue
from ..engine.spec import TaskSpec
from ..engine.task import (CANCELED, COMPLETED, DELAYED, QUEUED, STARTED, Progress, Task,
                           number_tasks)
from ..engine.timeouts import Timeouts
from ..errors import (RetryRequest, SupervisorError, TaskCancelledError, TaskRetryError,
                      TaskTimeoutError)
from .backpressure import Intake

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, List, Protocol, Sequence

    from ..engine.lanes import Lane
    from ..engine.timer import Timer

    class Recorder(Protocol):
        """Told with the lock held of tasks that begin (or are to begin again), report progress and end. It appends them, and
        returns."""

        on_started: Callable[[Task[Any]], None]
        on_finished: Callable[[Task[Any]], None]

        def on_progress(self, task: Task[Any]) -> None: ...

    Chores = List[Callable[[], None]]
    Waiters = List[Callable[[], None]]

__all__ = ["Pool", "cancel_many"]


class Pool(Intake):
    """Tasks of one kind, and the places where they run."""

    tt: TaskType
    #: Processes that were ended by force.
    killed = 0

    @property
    def abandoned(self) -> int:
        """The number of functions that still run after the end of their tasks."""
        return 0

    def __init__(self, name: str, timer: Timer, wake_up: Callable[[], None],
                 beside: Callable[[Callable[[], None]], None], run_queue: RunQueue) -> None:
        super().__init__()
        self.name = name
        self.timer = timer
        self.lock = threading.RLock()       # guards the pool, its registry, its run_queue and its tasks
        self.parking = ParkingLot()                # where pool threads wait for the lock
        self.registry = Registry(self.tt)
        self.timeouts = Timeouts(timer, self)
        self.run_queue = run_queue
        self.accepting = False
        self.draining = False               # it is being stopped: no lane is paused any more
        self._wake_up = wake_up             # called when a task comes while the pool does not accept: starts it
        self._beside = beside               # runs a call in a pool thread, for threads that must not wait
        #: The pools whose critical sections a finalizer may be in that comes to this one. None for the thread pool: who
        #: is inside another one may wait for it, since nobody inside it waits for another one.
        self.neighbours: list[Pool] = []
        self._drained: list[Callable[[], None]] = []      # opened when the last live task has ended
        self.recorder: Recorder | None = None          # what is told when tasks begin and end, if anything is
        self._adopted: dict[TaskSpec, TaskSpec] = {}      # of the pools that this one is the successor of

    # -- acceptance ----------------------------------------------------------------------------------

    def submit(self, task: Task[Any]) -> None:
        """Accept a task: when this returns, the task will end; when it raises, its function never runs.

        :raises SupervisorStoppedError: the supervisor has been stopped.
        """
        try:
            return self._submit_elsewhere(task) if self.busy_here() else self._submit(task)
        except BaseException:
            self._undo(task)
            raise

    def busy_here(self) -> bool:
        """Say whether this thread is inside a critical section of the pool, or of one that comes before it in the
        order of locks: then it is a signal handler or a finalizer that asks, and must not wait for this one."""
        if self.lock._is_owned():
            return True
        for pool in self.neighbours:
            if pool.lock._is_owned():
                return True
        return False

    def elsewhere(self, call: Callable[..., Any], *arguments: Any) -> None:
        """Have a pool thread make a call: this one is inside a critical section of the pool, in a signal handler or
        a finalizer. Not even a pool thread can be asked for here, so a bare one waits for that."""
        start_thread(self._beside, (lambda: call(*arguments),))

    def _submit_elsewhere(self, task: Task[Any]) -> None:
        extra = task._extra_fields()
        if extra.task_id is None:
            extra.task_id = new_id()        # it has no number yet, and may be asked for its id
        self.elsewhere(self._submit_late, task)

    def _submit_late(self, task: Task[Any]) -> None:
        try:
            self.submit(task)
        except BaseException as error:      # its submission has returned: the task must end
            log.warning("task %s (%s), submitted by a signal handler or a finalizer, is cancelled: %s", task.name,
                        task.short_id, error)
            with self.lock:
                if not task.done():
                    self.registry.add(task)
                waiters = self._conclude(task, CANCELED, perf_counter())
            self._announce(task, waiters)

    def _submit(self, task: Task[Any]) -> None:
        spec = task._spec
        run_queue = self.run_queue
        while True:
            with self.lock:
                if self.accepting:
                    if not spec.fast_submit:
                        self.timer.start()      # first: when it raises, nothing has been accepted
                    pause = 0.0 if spec.fast_submit else self._pause(spec)
                    if pause > 0 and (spec.lane is None or spec.lane.unknown is None):
                        self.registry.add(task)
                        self._delay(task, pause)
                        return
                    if ((run_queue.waiting < run_queue.fast_limit or self._has_room(spec))
                            and (spec.lane is None or spec.lane.has_room())):       # _has_room_for(), written out
                        self.registry.add(task)
                        chores = self._ready(task)
                        break
            if self._turned_away(task):
                return
        if not chores:
            return
        last = chores.pop()
        for chore in chores:
            chore()
        # One line, so that no interrupt comes between having the task run and returning.
        return last()

    def admit(self, task: Task[Any]) -> bool:
        """Accept a task without asking for room, and without ever waiting; False when the pool takes none.

        For the runs of workers: there is one of each at most, and it is the timer that submits them; and for a server's
        loop, whose own coroutines need no room. The calling thread is in no critical section, and nothing interrupts it.
        """
        with self.lock:
            if not self.accepting:
                return False
            self.registry.add(task)
            chores = self._ready(task)
        for chore in chores:
            chore()
        return True

    def start(self, spec: TaskSpec, args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> Task[Any]:
        """Make a task of one call, accept it and return it. Errors as :meth:`submit`."""
        task: Task[Any] = Task(spec, args, kwargs, copy_context())
        return task if self.submit(task) is None else task     # type: ignore[func-returns-value]

    def _undo(self, *tasks: Task[Any]) -> None:
        """Submitting is about to raise: the tasks must not run. They may have got any distance into the pool, since
        an interrupt can come at any line, also of what was to make a task final or to change the pool."""
        undone: list[tuple[Task[Any], Waiters | None]] = []
        interrupted = not isinstance(sys.exc_info()[1], SupervisorError)        # a refusal leaves nothing to repair
        self._cut_short()
        chores: Chores = []
        with self.lock:
            if interrupted:
                self._interrupted()
            registry = self.registry
            for task in tasks:
                if task._spec.pool is not self:
                    continue                # its successor has undone it
                number = getattr(task, "_number", None)
                if number is None or registry.live.get(number) is not task:
                    if number is not None and number == registry.last and not task.done():
                        registry.last -= 1
                    continue
                interrupted = True
                registry.last = max(registry.last, number)
                if task.done():
                    undone.append((task, self._forget(task, task._status, perf_counter(), task._outcome)))
                    continue
                task._extra_fields().cancel_requested = True
                if task._status == STARTED:
                    if self._begun(task):
                        continue            # too late: it runs, and ends as it will
                    task._advance(QUEUED, perf_counter())   # it was given a place, and nobody was told to run it
                elif task._status == QUEUED and not self._standing(task):
                    continue
                undone.append((task, self._conclude(task, CANCELED, perf_counter())))
            if interrupted:
                chores = self._repair({task for task, _ in undone})
        for chore in chores:
            chore()
        for task, waiters in undone:
            self._announce(task, waiters)

    def start_many(self, spec: TaskSpec, calls: Sequence[tuple[Any, ...]],
                   first: int | None = None) -> list[Task[Any]]:
        """Make a task of each of many calls of one function, accept them all and return them.

        :param first: the index of the first one, if they are of a map whose results have indices.
        """
        context = copy_context()
        # Each task has a context of its own, so that what one sets is not seen by another: the plain ones from the start,
        # others by each attempt.
        tasks: list[Task[Any]] = [Task(spec, args, None, context if spec.shares_context else context.copy())
                                  for args in calls]
        if first is not None:
            number_tasks(tasks, first)
        return tasks if self.submit_many(tasks) is None else tasks     # type: ignore[func-returns-value]

    def submit_many(self, tasks: Sequence[Task[Any]]) -> None:
        """Accept tasks as :meth:`submit` does, all or none of them, with one look at the pool."""
        try:
            if self.busy_here():
                for task in tasks:
                    self._submit_elsewhere(task)
            elif tasks:
                self._submit_many(tasks)
        except BaseException:
            self._undo(*tasks)
            raise

    def _submit_many(self, tasks: Sequence[Task[Any]]) -> None:
        plain = all(task._spec.fast_submit for task in tasks)
        bounded = not plain and any(task._spec.lane is not None and task._spec.lane.size is not None for task in tasks)
        chores: Chores | None = None
        while True:
            with self.lock:
                if self.run_queue.fast_limit != maxsize or bounded:
                    break
                if self.accepting:
                    if not plain:
                        self.timer.start()
                    add = self.registry.add
                    ready = []
                    for task in tasks:
                        add(task)
                        pause = 0.0 if plain else self._pause(task._spec)
                        if pause > 0:
                            self._delay(task, pause)
                        else:
                            ready.append(task)
                    chores = self._ready_many(ready)
                    break
            if self.successor is not None:
                break
            self._wake_up()
        if chores is None:
            self._submit_each(tasks)
            return
        if not chores:
            return
        last = chores.pop()
        for chore in chores:
            chore()
        return last()       # in one line, as in _submit()

    def _submit_each(self, tasks: Sequence[Task[Any]]) -> None:
        """Accept tasks one by one, as each has to be looked at; when one is refused, cancel those before it."""
        accepted = 0
        try:
            for task in tasks:
                self.submit(task)
                accepted += 1
        except BaseException:
            cancel_many(tasks[:accepted])
            raise

    def retire(self, successor: Pool) -> bool:
        """Have another pool take the place of this one, and what comes here; False, and nothing, when a task is alive."""
        with self.lock:
            if self.registry.live:
                return False
            self.accepting = False
            self.successor = successor
            self._let_in()
        return True

    def adopt(self, task: Task[Any]) -> None:
        """Accept a task that was about to be submitted to a pool whose place this one has taken."""
        if self.successor is not None:
            self.successor.adopt(task)
            return
        spec = task._spec
        own = self._adopted.get(spec)
        if own is None:
            if spec.lane is not None:
                spec.lane.bind(self)
            own = TaskSpec(self, spec.target, spec.options, spec.tt, spec.callback, spec.loop, spec.worker, spec.takes_id,
                           spec.lane, spec.lane_order, spec.hooks)
            if len(self._adopted) >= 512:
                self._adopted.clear()       # dict operations are atomic; losing an entry costs a little time
            own.keeps_items = spec.keeps_items
            self._adopted[spec] = own
        task._spec = own
        task._context = None                # packed for the other one
        return self.submit(task)

    def _pause(self, spec: TaskSpec) -> float:
        """Return the seconds until a task that has just come may start; 0 or less is now."""
        options = spec.options
        if options.delay:
            return float(options.delay)
        return 0.0 if options.run_at is None else options.run_at - time()

    def _delay(self, task: Task[Any], pause: float) -> None:
        now = perf_counter()
        task._advance(DELAYED, now)
        extra = task._extra_fields()
        extra.scheduled_at = now + pause
        extra.timer = self.timer.call_later(pause, self._due, task)

    def _due(self, task: Task[Any]) -> None:
        """The timer's call: the time of a delayed task has come."""
        with self.lock:
            if task._status != DELAYED:
                return
            task._extra_fields().timer = None
            task._advance(QUEUED, perf_counter())
            if self.aging is not None:
                self._keep_aging()
            chores = self._ready(task)
        for chore in chores:
            chore()

    # -- lanes ---------------------------------------------------------------------------------------

    def lane_changed(self, lane: Lane) -> None:
        """A lane in front of this pool has other settings: start what may start now, let in whom there is room for."""
        if self.busy_here():
            self.elsewhere(self.lane_changed, lane)
            return
        if lane.waiting or lane.blocked_submitters:
            self._uninterrupted(self._reopen, lane)
        else:
            self._reopen(lane)

    def _uninterrupted(self, call: Callable[..., None], *arguments: Any) -> None:
        """Make a call that starts tasks; if this is the main thread, have the timer's make it. Here, an interrupt may come at
        any line, and whoever has been given a task would not be told to run it."""
        if get_ident() == threading.main_thread().ident:
            try:
                self.timer.start()
            except (RuntimeError, MemoryError):
                pass                        # there is no such thread
            else:
                self.timer.call_at(0.0, call, *arguments)
                return
        call(*arguments)

    def wake_submitters(self, lane: Lane) -> None:
        """See :meth:`Lane.wake_submitters`."""
        if self.busy_here():
            self.elsewhere(self.wake_submitters, lane)
        else:
            self._uninterrupted(self.release_submitters, lane)

    def _start_more(self) -> None:
        """More tasks may start than could before."""
        with self.lock:
            chores = self._risen()
        for chore in chores:
            chore()

    def _reopen(self, lane: Lane) -> None:
        with self.lock:
            self.run_queue.unpark_lane(lane)
            self._let_in()
            chores = self._risen()
        for chore in chores:
            chore()

    def lane_opens(self, lane: Lane) -> None:
        """The timer's call: by its rate, a lane may start another task."""
        with self.lock:
            lane.rate_timer_fired()
            self.run_queue.unpark_lane(lane)
            chores = self._risen()
        for chore in chores:
            chore()

    def lane_ends(self, lane: Lane) -> None:
        """No task will come through a lane any more: forget it, unless there are some yet."""
        if self.busy_here():
            self.elsewhere(self.lane_ends, lane)
            return
        with self.lock:
            if not lane.waiting and not lane.running:
                self.run_queue.lanes.discard(lane)
                lane.pool = None

    # -- the start of a task -------------------------------------------------------------------------

    def _mark_started(self, task: Task[Any], now: float) -> None:
        """A task begins to run; the lock is held."""
        task._advance(STARTED, now)
        if self.recorder is not None:
            self.recorder.on_started(task)
        if now - task._queued > self.late_after:
            self._started_late(task, now)
        self._has_started(task)

    def _has_started(self, task: Task[Any]) -> None:
        """The rest of it, of a task of which more is asked than to run its function."""
        if task._spec.timeout is not None:
            self._start_timeout(task)
        if task._spec.hooks is not None:
            self._tell_started(task)
        extra = task._extra
        if extra is not None and extra.on_start:
            for waiter in extra.on_start:
                waiter()
            extra.on_start = None

    # -- the end of a task ---------------------------------------------------------------------------

    def _conclude(self, task: Task[Any], status: int, now: float, outcome: Any = None
                  ) -> Waiters | None:
        """Make a task final; the lock is held. Return whom to tell, or None when it was final already."""
        if outcome is None and status == COMPLETED:
            outcome = task._returned()
        if not task._advance(status, now, outcome):
            return None
        return self._forget(task, status, now, outcome)

    def _forget(self, task: Task[Any], status: int, now: float, outcome: Any) -> Waiters:
        """The rest of :meth:`_conclude`: a task that is final leaves the registry."""
        extra = task._extra
        registry = self.registry
        registry.drop(task)
        if status == CANCELED:
            registry.cancelled += 1
        elif type(outcome) is Failure:
            registry.failed += 1
        if task._has_started():
            registry.history.append((task._queued, task._started, now))
        if self.recorder is not None:
            self.recorder.on_finished(task)
        waiters = task._waiters or []
        if task._spec.hooks is not None:
            self._tell(task._spec.hooks.ended, task)
        if task._spec.timeout is not None or extra is not None and extra.timer is not None:
            self._disarm(task)
        if extra is not None:
            if extra.on_start:
                waiters = waiters + extra.on_start
                extra.on_start = None
        if self._attentive:
            waiters = waiters + self._attend()
        if waiters:
            task._waiters = waiters       # those that are still to be told, should an interrupt come
        return waiters

    def _announce(self, task: Task[Any], waiters: Waiters | None, inline: bool = True) -> None:
        """Tell everyone that a task has ended; no lock is held.

        :param inline: the calling thread may run callbacks of others itself; else a pool thread does.
        """
        if waiters is None:
            return
        outcome = task._outcome
        if type(outcome) is Failure:
            outcome.describe()
        while waiters:
            waiters.pop(0)()       # taken first: after an interrupt, the rest is told
        task._waiters = None
        extra = task._extra
        if extra is not None and extra.callbacks:
            if inline:
                call_callbacks(task)
            else:
                self._beside(lambda: call_callbacks(task))

    def _failure(self, task: Task[Any], error: BaseException) -> Failure:
        if type(error) is RetryRequest:
            if error.error is not None:
                error = error.error
            else:
                error = TaskRetryError(f"task {task._label()} asked for another attempt, without an error")
        index: int | None = getattr(task, "_index", None)
        if index is None or not task._spec.keeps_items:
            return Failure(error, task.name, task.id, index)
        return Failure(error, task.name, task.id, index, (task._args, task._kwargs))

    def _retry_pause(self, task: Task[Any], error: BaseException) -> float | None:
        """Return the seconds until a failed task's next attempt, or None when it gets none. No lock is held."""
        options = task._spec.options
        if not options.retries:
            return None
        extra = task._extra
        if extra is not None and extra.cancel_requested:
            return None
        attempts = max(1, task.attempts)
        if not options.wants_retry(error, attempts):
            return None
        if type(error) is RetryRequest and error.countdown is not None:
            return error.countdown
        return options.retry_pause(attempts)

    def _may_retry(self, task: Task[Any]) -> bool:
        """Say whether a failed task may have another attempt after all; the lock is held."""
        return (self.accepting and task._status == STARTED
                and not (task._extra is not None and task._extra.cancel_requested))

    def _retry(self, task: Task[Any], pause: float, error: BaseException) -> Chores:
        """Give a failed task its next attempt; the lock is held. The place it occupied is free already."""
        return self._ready(task) if self._begin_retry(task, pause, error) else []

    def _begin_retry(self, task: Task[Any], pause: float, error: BaseException) -> bool:
        """Have a failed task wait for its next attempt; the lock is held. Return True if it may start at once."""
        self.registry.retried += 1
        if task._spec.hooks is not None:
            self._tell(task._spec.hooks.retried, task, error)
        extra = task._extra_fields()
        self._disarm(task)
        if pause > 0:
            self._delay(task, pause)
            if self.recorder is not None:
                self.recorder.on_started(task)
            return False
        attempts = extra.attempts
        task._advance(QUEUED, perf_counter())
        extra.attempts = attempts       # this one was an attempt
        if self.recorder is not None:
            self.recorder.on_started(task)
        return True

    def _is_cancellation(self, task: Task[Any], error: BaseException) -> bool:
        """Say whether a task that raised this did so because it was asked to stop."""
        extra = task._extra
        if extra is None or not extra.cancel_requested:
            return False
        # One that asks for another attempt has not come to its end, and gets none.
        return isinstance(error, TaskCancelledError) or type(error) is RetryRequest and error.error is None

    # -- what callers ask of a task (task.TaskOwner) -----------------------------------------------------

    def task_id(self, task: Task[Any]) -> str:
        """Return the id of a task of this pool."""
        return self.registry.task_id(task._number)

    def cancel(self, task: Task[Any]) -> bool:
        """See :meth:`Task.cancel`."""
        if self.busy_here():
            if not task.done():
                self.elsewhere(self.cancel, task)
                return True
            return False
        held = task._references()     # let go when the lock is free
        chores: Chores = []
        waiters = None
        try:
            with self.lock:
                status = task._status
                if status == COMPLETED or status == CANCELED:
                    return False
                task._extra_fields().cancel_requested = True
                if status == DELAYED:
                    waiters = self._conclude(task, CANCELED, perf_counter())
                elif status == QUEUED and self._standing(task):
                    waiters = self._conclude(task, CANCELED, perf_counter())
                    chores = self._withdrawn([task])
                else:
                    chores = self._interrupt(task)
            del held
            self._announce(task, waiters)
            for chore in chores:
                chore()
        except BaseException:
            self._carry_on(task, waiters)
            raise
        return True

    def cancel_together(self, tasks: Iterable[Task[Any]], ended: list[tuple[Task[Any], Waiters | None]],
                        chores: Chores) -> int:
        """Make tasks final that have not started, and have the others stop, as far as it takes the lock.

        What is to be told and to be done without it is appended. For :func:`cancel_many`. Return how many had not ended.
        """
        held = []                           # let go when the lock is free
        count = 0
        with self.lock:
            now = perf_counter()
            withdrawn = []
            others = []
            for task in tasks:
                status = task._status
                if status == COMPLETED or status == CANCELED:
                    continue
                count += 1
                task._extra_fields().cancel_requested = True
                held.append(task._references())
                if status == DELAYED:
                    ended.append((task, self._conclude(task, CANCELED, now)))
                elif status == QUEUED and self._standing(task):
                    ended.append((task, self._conclude(task, CANCELED, now)))
                    withdrawn.append(task)
                else:
                    others.append(task)
            # Not one by one: a task that was withdrawn would make way for one that is still to be.
            chores += self._withdrawn(withdrawn)
            for task in others:
                chores += self._interrupt(task)
        return count

    def abandon(self, task: Task[Any]) -> None:
        """Make a task final, as cancelled, whose function nobody can end: it is not waited for, and goes on by itself.

        That is so in threads only, see there; elsewhere cancelling is enough, and nothing happens.
        """

    def complete_early(self, task: Task[Any]) -> bool:
        """See :meth:`Task.mark_completed`."""
        if self.busy_here():
            if not task.done():
                self.elsewhere(self.complete_early, task)
                return True
            return False
        held = task._references()
        chores: Chores = []
        waiters = None
        try:
            with self.lock:
                was = task._status
                if was == COMPLETED or was == CANCELED:
                    return False
                task._extra_fields()        # the pools' short ways are for tasks of which nobody wants anything
                standing = was == QUEUED and self._standing(task)
                if not standing and was != DELAYED:
                    chores = self._done_early(task)
                waiters = self._conclude(task, COMPLETED, perf_counter())
                if standing:
                    chores = self._withdrawn([task])
            del held
            self._announce(task, waiters)
            for chore in chores:
                chore()
        except BaseException:
            if task.done():
                self._carry_on(task, waiters)
            else:
                self._undo()                # nothing has become of it, but that it may have been taken back
            raise
        return True

    def _carry_on(self, task: Task[Any], waiters: Waiters | None) -> None:
        """What was to end a task is interrupted: end it all the same, and tell who has not been told."""
        self._undo(task)
        if task.done():
            self._announce(task, waiters or task._waiters or [])

    def report(self, task: Task[Any], progress: Progress) -> None:
        """See :meth:`Task.report_progress`."""
        if self.busy_here():
            return                          # a finalizer came in between: the next report will do
        with self.lock:
            if task._status == STARTED:
                self._enter_progress(task, progress)

    def _enter_progress(self, task: Task[Any], progress: Progress) -> None:
        """A running task has reported; the lock is held."""
        task._extra_fields().progress = progress
        if self.recorder is not None:
            self.recorder.on_progress(task)

    # -- timeouts ------------------------------------------------------------------------------------

    def _start_timeout(self, task: Task[Any]) -> None:
        """An attempt of a task with a timeout begins to run; the lock is held."""
        assert task._spec.timeout is not None
        self.timeouts.arm(task, task._spec.timeout)

    def _disarm(self, task: Task[Any]) -> None:
        """A delay, or the attempt that a timeout was for, is over; the lock is held."""
        if task._spec.timeout is not None:
            self.timeouts.clear(task, task._spec.timeout)
        extra = task._extra
        if extra is not None and extra.timer is not None:
            self.timer.cancel(extra.timer)
            extra.timer = None

    def _expired(self, task: Task[Any], deadline: float) -> None:
        """The timer's call: a task has run for its timeout."""
        assert task._spec.timeout is not None
        error = TaskTimeoutError(f"task {task.name} ({task.short_id}) ran longer than its timeout of "
                                 f"{task._spec.timeout:g} s; raise the timeout, or make the function faster")
        pause = self._retry_pause(task, error)
        with self.lock:
            if not self.timeouts.take(task, task._spec.timeout, deadline) or task._status != STARTED:
                return              # it ended meanwhile, or another attempt has begun
            chores = self._overrun(task, error, pause)
        for chore in chores:
            chore()

    # -- closing -------------------------------------------------------------------------------------

    def open(self) -> None:
        """Accept tasks from now on."""
        with self.lock:
            self.accepting = True
            self.draining = False

    def refuse(self) -> None:
        """Accept no more tasks; those accepted go on."""
        with self.lock:
            self.accepting = False
            self._let_in()                  # to be told

    def held_back(self) -> list[Task[Any]]:
        """Return the tasks that wait for their time, or in a paused lane."""
        with self.lock:
            delayed = [task for task in self.registry.live.values() if task._status == DELAYED]
            return delayed + [task for lane in self.run_queue.lanes if lane.paused for task in lane.tasks()]

    def start_draining(self) -> None:
        """The pool is being stopped: no lane is paused any more."""
        with self.lock:
            self.draining = True
            for lane in self.run_queue.lanes:
                self.run_queue.unpark_lane(lane)     # what has come back meanwhile: a failed attempt
            chores = self._risen()
        for chore in chores:
            chore()

    def waiting_tasks(self) -> list[Task[Any]]:
        """Return the tasks that have not started."""
        with self.lock:
            return [task for task in self.registry.live.values() if task._status in (QUEUED, DELAYED)]

    def all_tasks(self) -> list[Task[Any]]:
        """Return the tasks that have not ended."""
        with self.lock:
            return list(self.registry.live.values())

    def give_up(self) -> list[str]:
        """Make what is still alive final, as cancelled, without waiting for it; return the ids."""
        ended = []
        with self.lock:
            for task in list(self.registry.live.values()):
                standing = task._status == QUEUED and self._standing(task)
                held = task._references()
                waiters = self._conclude(task, CANCELED, perf_counter())
                if standing:
                    self._withdrawn([task])
                ended.append((task, held, waiters))
        for task, held, waiters in ended:
            self._announce(task, waiters, inline=False)
        return [task.id for task, _, _ in ended]

    def drain(self, deadline: float | None) -> bool:
        """Block until no task is alive, at the latest until the deadline; say whether none is."""
        latch = Latch()
        with self.lock:
            empty = not self.registry.live
            if not empty:
                self._drained.append(latch)
                self._attentive = True
        if empty or latch.wait(deadline):
            self._wait_told(deadline)       # when hooks do not come to their end, that is not for the tasks to say
            return True
        with self.lock:
            if latch in self._drained:
                self._drained.remove(latch)
            return not self.registry.live

    def in_use(self) -> bool:
        """Return True if the pool has something to close although it has not been opened."""
        return False

    def renew_locks(self) -> None:
        """Threads have been replaced, and no task is alive."""
        self.lock = threading.RLock()

    def reset_after_fork(self) -> None:
        """In a forked process: the threads, processes and tasks are the parent's; begin anew, in the same object."""
        now = perf_counter()
        for task in self.registry.live.values():
            task._advance(CANCELED, now)        # it is the parent's to finish; who waits here must not hang
        self.lock = threading.RLock()
        self.parking = ParkingLot()
        self.registry = Registry(self.tt)
        self.timeouts.reset()
        self.run_queue = self.run_queue.empty_copy()
        self.accepting = self.draining = False
        self._drained = []
        self._blocked_submitters.clear()
        self._crowded.clear()
        self._attentive = False
        self._aging_entry = None
        self._forget_news()

    def close(self, deadline: float | None) -> None:
        """End the places where tasks ran. No task is alive, or the deadline is near."""
        raise NotImplementedError

    # -- what a pool does in its own way; the lock is held -------------------------------------------

    def _ready(self, task: Task[Any]) -> Chores:
        """A task may run: start it or let it wait."""
        raise NotImplementedError

    def _cut_short(self) -> None:
        """A submission is interrupted; the lock may be held by it still."""

    def _interrupted(self) -> None:
        """A submission has been interrupted, and its tasks are looked at next."""

    def _begun(self, task: Task[Any]) -> bool:
        """Say whether a STARTED task whose submission is interrupted has been handed to whoever runs it."""
        return True

    def _repair(self, tasks: set[Task[Any]]) -> Chores:
        """Bring the pool's accounts in order after an interrupted submission; the tasks are final."""
        return []

    def _ready_many(self, tasks: Iterable[Task[Any]]) -> Chores:
        """Many tasks may run."""
        chores: Chores = []
        for task in tasks:
            chores += self._ready(task)
        return chores

    def _standing(self, task: Task[Any]) -> bool:
        """Say whether a QUEUED task stands in the run_queue queue, after trying to bring it back there."""
        return True

    def _withdrawn(self, tasks: Sequence[Task[Any]]) -> Chores:
        """Standing tasks have just become final."""
        for task in tasks:
            self.run_queue.discard(task)
        self._let_in()                      # there is room where they stood
        return []

    def _interrupt(self, task: Task[Any]) -> Chores:
        """A task that has been handed out is cancelled."""
        raise NotImplementedError

    def _overrun(self, task: Task[Any], error: TaskTimeoutError, pause: float | None) -> Chores:
        """A running task has exceeded its timeout; pause is the seconds until its next attempt, if any."""
        raise NotImplementedError

    def _done_early(self, task: Task[Any]) -> Chores:
        """A task that has been handed out is about to be declared completed."""
        return []

    # -- looking at it -------------------------------------------------------------------------------

    def live_tasks(self) -> dict[str, Task[Any]]:
        """Return the live tasks by id."""
        with self.lock:
            tasks = list(self.registry.live.values())
        return {task.id: task for task in tasks}

    def refuse_during_import(self) -> None:
        """Called before a task is accepted that is to start later on.

        A pool process that imports the main module of the program must not get one: see :mod:`.process.main_module`.
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

    def _before_end(self, task: Task[Any]) -> Callable[[Task[Any], Any], None] | None:
        """Return what is to be called before a task ends by itself, with its outcome, if anything is."""
        hooks = task._spec.hooks
        return None if hooks is None else getattr(hooks, "before_end", None)

    def run_callback(self, task: Task[Any], value: Any) -> None:
        """Call the ``callback`` of a task with its result, before the completion is announced."""
        callback = task._spec.callback
        if callback is not None:
            try:
                callback(value)
            except BaseException:
                log.exception("the callback of task %s (%s) raised; the task itself succeeded", task.name,
                              task.short_id)


def cancel_many(tasks: Sequence[Task[Any]], then: Callable[[], None] | None = None) -> int:
    """Cancel tasks, of one pool or several, from the last to the first; return how many had not ended.

    All that have not started are final before the first callback is called, so that a callback may wait for any of them.

    :param then: called when they are final, before the first callback.
    """
    together: dict[Pool, list[Task[Any]]] = {}
    for task in reversed(tasks):            # a cancelled task must not make way for one that is about to be cancelled
        together.setdefault(task._spec.pool, []).append(task)
    count = 0
    ended: list[tuple[Task[Any], Waiters | None]] = []
    chores: Chores = []
    try:
        for pool, some in together.items():
            if pool.busy_here():
                some = [task for task in some if not task.done()]
                if some:
                    pool.elsewhere(cancel_many, some[::-1])
                count += len(some)
            else:
                count += pool.cancel_together(some, ended, chores)
        if then is not None:
            then()
        for chore in chores:
            chore()
        for task, waiters in ended:
            task._spec.pool._announce(task, waiters)       # type: ignore[attr-defined]
    except BaseException:
        # Interrupted: end them all the same, and tell of all that have ended. What has been told is not told again.
        for pool, some in together.items():
            pool._undo(*some)
        for pool, some in together.items():
            for task in some:
                if task.done():
                    pool._announce(task, task._waiters or [])
        raise
    return count
