"""What the three queues have in common: submitting, the ledger of accepted tasks, and the policies of giving up.

How a queue gives up, after the first failure with ``fail_policy='fail_first'``, at the end of a run's time, or by force::

    take no more ──> cancel what has not ended, from the last ──> call the done callbacks ──> the run ends
    tasks            to the first, in one step: all of it, or     of what is cancelled
                     all but must_complete

With ``fail_first``, the lane is paused from the failure on, until the others are cancelled: none of them is to start.
"""
from __future__ import annotations

import os
import threading
import weakref
from functools import partial
from operator import attrgetter, countOf
from threading import get_ident
from time import perf_counter

from .._checks import in_seconds
from .._log import log
from ..engine.callbacks import add_callback, call_late
from ..engine.current import current_task
from ..engine.lanes import Lane
from ..engine.result import Failure
from ..engine.task import COMPLETED, FINAL, STARTED, Task
from ..errors import ClosedError, QueueStateError, WaitTimeoutError
from ..pools.base import cancel_many
from .calls import InitializerState
from .config import FAIL_POLICIES, one_of
from .handles import result_of
from .hooks import Hooks
from .submission import Batch, Submitter
from .summary import RunSummary
from .wait_group import WaitGroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Iterator, Sequence

    from .._checks import Seconds
    from ..engine.result import TaskResult
    from .steps import Steps, Wait

__all__ = ["TaskQueue"]

#: How often a wait may find new tasks before a warning tells of them.
MANY_ROUNDS = 10_000

_status = attrgetter("_status")


class TaskQueue(Submitter):
    """The part of a queue that does not depend on where its tasks run."""

    on_full: str

    def _setup(self) -> None:
        wanted = self.on_start or self.on_complete or self.on_retry
        self._hooks = Hooks(self) if wanted else None
        self._key = os.urandom(12).hex()        # in other processes, and of tasks that come from a checkpoint
        self._initializer_state = None if self.initializer is None else InitializerState(self._key)
        self._lock = threading.RLock()          # guards the state below, but for the ledger; no user code runs under it
        self._reset()
        _queues.add(self)

    def _reset(self, started: bool = False) -> None:
        super()._reset(started)
        self._lane: Any = Lane("of a queue", limit=self.workers, rate=self.rate, burst=self.burst,
                               size=self.size or None, on_full=self.on_full)
        self._lane.pause()
        self._lane.advice = partial(_how_to_run, weakref.ref(self), type(self).__name__)
        self._lane.refusal = partial(_refusal, weakref.ref(self))
        # Appended to without a lock, by any thread: that is one step, on a free-threaded build too.
        self._tasks: list[Task[Any]] = []
        self._settled = 0               # so many tasks at the beginning of the ledger are known to have ended
        self._cleared = 0               # so many times it has been shortened
        self._reported = 0              # so many are in the summaries of earlier runs
        self._submissions = WaitGroup()    # of submissions under way, which may be waiting for room
        self._callbacks = self._lane.callbacks = WaitGroup()    # of done callbacks and hooks
        self._policy = self.fail_policy
        self._started = started         # by start(): it goes on beyond the end of a run
        self._running: object | None = None        # the run that is under way
        self._aborting = False           # it is giving up: no more tasks in this run
        self._aborts = 0                 # so many times it has given up; what was being submitted then is refused
        self._closing = False           # no more tasks, ever
        self._discarding = False        # those that are left are cancelled, and none is to start
        self._closed = False            # and none is left
        self._rounds = 0                # how often the last wait has found new tasks
        # Reasons to start no task: an abort under way, tasks whose failure the pool does not know yet.
        self._pauses: set[object] = set()
        self._end_waiters: list[Callable[[], None]] = []     # called when it has been shut down, or a run gives up

    def _call_hook(self, name: str, call: Callable[[], Any], loop: Any) -> None:
        """Call one of the hooks, where hooks of this queue are called: in the loop of its task, if there is one."""
        raise NotImplementedError

    # -- giving up -----------------------------------------------------------------------------------

    def _watch_failures(self, tasks: Iterable[Task[Any]], new: bool = False) -> None:
        """With fail_first: have :meth:`_task_done` called for tasks, before their other done callbacks.

        :param new: this thread is about to submit them.
        """
        for task in tasks:
            if new:
                task._more().callbacks = [self._task_done, *(task._more().callbacks or ())]
                self._callbacks.add_submitting(task)
            else:
                _add_first_callback(task, self._task_done)

    def _task_done(self, task: Task[Any]) -> None:
        """With fail_first: a done callback of every task."""
        if task._spec.lane is not self._lane:
            return                      # the queue has been reset since
        try:
            if (task._status == COMPLETED and type(task._outcome) is Failure
                    and self._policy == "fail_first" and self._begin_abort()):
                self._abort(spare=True, failed=task)
        finally:
            self._resume_lane(task)

    def _begin_abort(self, halt: bool = False) -> bool:
        """Refuse the submissions that are under way and, in a run, all until the run has ended.

        Return False if the run aborts already. An infinite run ends soon, too.

        :param halt: without a run, refuse all submissions until there is one.
        """
        with self._lock:
            if self._aborting:
                return False
            self._aborts += 1
            # Without a run, a queue that was started goes on with what comes later.
            self._aborting = halt or self._running is not None
            waiters, self._end_waiters = ((self._end_waiters, []) if self._aborting
                                          else ([], self._end_waiters))
        for waiter in waiters:
            waiter()
        return True

    def _abort(self, spare: bool, failed: Task[Any] | None = None) -> list[Task[Any]]:
        """Cancel what has not ended, start none of what is being submitted, and return what was cancelled.

        The lane is paused until the submissions that are under way have ended. What they submit is not
        in the ledger yet, so that only they can cancel it. None of them blocks: those that wait for room
        try again, and are refused if there is none.

        :param failed: the task that is the reason; from here on, it does not pause the lane itself.
        """
        pause = object()
        resume = partial(self._resume_lane, pause)
        try:
            self._pause_lane(pause)
            self._resume_lane(failed)
            under_way = [entry for entry in self._submissions.calls.copy() if self._is_refused(entry)]
            self._lane.wake_submitters()

            def resume_later() -> None:
                # Before the callbacks of what was cancelled, as these may wait for what was spared.
                if not self._submissions.add_waiter(resume, under_way):
                    resume()

            return self._cancel_unfinished(spare, resume_later)
        except BaseException:
            resume()
            raise

    def _is_refused(self, submission: Any) -> bool:
        """Return True if a submission that has begun may not submit any more."""
        return (self._aborting or self._discarding
                or type(submission) is Batch and submission.aborts != self._aborts)

    def _function_raised(self, error: BaseException) -> None:
        """With fail_first: a function has raised in its thread or loop, and the pool does not know it yet.

        Pause the lane, as the pool starts the next task in the step in which the failed one ends.
        """
        task = current_task()
        if (not isinstance(task, Task) or self._policy != "fail_first"
                or not isinstance(error, (Exception, SystemExit))
                or task._spec.lane is not self._lane or task.options.wants_retry(error, task.attempts)):
            return
        if task._spec.timeout is not None and task.options.retries:
            return      # its timeout and another attempt may come in between, which must be able to start
        with self._lock:
            if not self._aborting:
                self._pause_lane(task)
        if task._status != STARTED:
            self._resume_lane(task)     # it was abandoned or completed early: no done callback follows

    def _pause_lane(self, reason: object) -> None:
        """Start no task until :meth:`_resume_lane` has been called for this reason, too."""
        with self._lock:
            self._pauses.add(reason)
            self._update_lane()

    def _resume_lane(self, reason: object) -> None:
        """Withdraw a reason to start no task. Interrupted callers repeat this."""
        with self._lock:
            if reason in self._pauses:
                self._pauses.discard(reason)
                self._update_lane()

    def _update_lane(self) -> None:
        """Let tasks through, or none: by what the queue is doing now."""
        with self._lock:
            if ((self._started or self._running or self._closing)
                    and not self._pauses and not self._discarding):
                self._lane.resume()
            else:
                self._lane.pause()

    def _cancel_unfinished(self, spare: bool, then: Callable[[], None] | None = None
                           ) -> list[Task[Any]]:
        """Cancel what has not ended, and return it.

        :param spare: not the tasks that must complete.
        :param then: as of :func:`cancel_many`.
        """
        rest = [task for task in self._tasks[self._settled:]
                if not task.done() and not (spare and task.options.must_complete)]
        cancel_many(rest, then)
        return rest

    def _on_timeout(self) -> None:
        """The time of a run is over."""
        self._begin_abort(halt=True)
        self._abandon(self._abort(spare=self.on_timeout == "complete"))

    def _abandon(self, tasks: Sequence[Task[Any]]) -> None:
        """The time is over: do not wait for functions in threads, which a cancellation only asks to stop."""
        for task in tasks:
            if task._status == STARTED and task is not current_task():
                task._spec.pool.abandon(task)

    # -- the steps of a run --------------------------------------------------------------------------

    def _begin_run(self, run: object, fail_policy: str | None) -> None:
        """Begin a run, which is ended by whoever called this, also when it raises.

        :raises ClosedError: the queue is closed.
        :raises QueueStateError: a run is under way, or a task of this queue asks for one, whose end it would wait for.
        """
        policy = self.fail_policy if fail_policy is None else one_of("fail_policy", fail_policy, FAIL_POLICIES)
        if self._closing:
            raise ClosedError(f"this {type(self).__name__} is closed; reset() opens it again")
        if not self._running and self._own_task() is not None:
            raise QueueStateError(f"a task cannot run its own {type(self).__name__}, and be in the summary: use join(), which "
                                  "waits for the others, or another queue")
        with self._lock:
            if self._running is not None:
                raise QueueStateError(f"this {type(self).__name__} is running already: wait for that run, or make another "
                                      "queue for what runs inside its tasks")
            self._running = run
            self._aborting = False
        if policy != self._policy:
            self._specs.clear()
            self._policy = policy
            if policy == "fail_first":
                waiting = self._tasks[self._settled:]
                for spec in {task._spec for task in waiting}:
                    spec.target = self._add_failure_report(spec.target)
                self._watch_failures(waiting)

    def _end_run(self, run: object) -> None:
        """End a run, if it has begun. Who is interrupted in here does so again."""
        with self._lock:
            if self._running is not run:
                return
            if self._policy != self.fail_policy:
                self._policy = self.fail_policy
                self._specs.clear()
            self._aborting = False
            self._pauses = {reason for reason in self._pauses
                            if not isinstance(reason, Task) or not reason.done()}
            self._running = None
            try:
                self._update_lane()
            except BaseException:
                self._update_lane()
                raise

    def _unfinished(self, seen: int) -> Iterator[Task[Any]]:
        """Yield tasks of the beginning of the ledger which may not have ended: the last one first, since when it has there
        is little left to wait for."""
        tasks = self._tasks[self._settled:seen]
        if tasks:
            yield tasks[-1]
            if countOf(map(_status, tasks), COMPLETED) < len(tasks):        # one by one, a look at each costs twice as much
                yield from reversed(tasks)

    def _summarise(self, seen: int, began: float, timed_out: bool) -> RunSummary:
        """Say what became of the tasks since the last summary, so many of the ledger: those have ended."""
        tasks = self._tasks[self._reported:seen]
        self._reported += len(tasks)
        if self._some_detached:
            tasks = [task for task in tasks if not task._spec.options.detached]
        return RunSummary(tasks, perf_counter() - began, timed_out)

    def _needs_start(self) -> bool:
        """Return True if no task of this queue would start, now or later."""
        return not (self._started or self._running or self._closing)

    def _is_inside(self) -> bool:
        """Return True in a task, a done callback or a hook of this queue: these wait for tasks only, not for each other."""
        return self._own_task() is not None or self._callbacks.is_inside()

    def _count_round(self) -> None:
        """Someone waits for the end, and more tasks have come since those before had ended."""
        self._rounds += 1
        if self._rounds == MANY_ROUNDS:
            log.warning("the wait for this %s has found new tasks %d times when all tasks before had ended: its tasks, done "
                        "callbacks or hooks go on submitting. It ends when they stop; run(timeout=...), cancel() or "
                        "shutdown(force=True) ends it earlier", type(self).__name__, MANY_ROUNDS)

    def _own_task(self) -> Task[Any] | None:
        """The task of this queue that asks, which does not wait for itself."""
        task = current_task()
        return task if isinstance(task, Task) and task._spec.lane is self._lane and not task.done() else None

    def _timeout_error(self, timeout: Seconds | None) -> WaitTimeoutError:
        """Return the error of a wait whose time is over."""
        left = len(self)
        waited = f"after {in_seconds(timeout)} of waiting"
        if left:
            return WaitTimeoutError(f"{left} tasks of this {type(self).__name__} unfinished {waited}; they go on: wait "
                                    "again, or cancel()")
        return WaitTimeoutError(f"done callbacks or hooks of this {type(self).__name__} unfinished {waited}, though all "
                                "its tasks have ended; wait again")

    def _mark_settled(self, seen: int, cleared: int) -> bool:
        """So many tasks of the ledger have been found to have ended; False when these are others now."""
        with self._lock:
            if cleared == self._cleared:
                self._settled = seen
            return cleared == self._cleared

    # -- waiting: steps for drive() and co_drive() ---------------------------------------------------

    def _await_task(self, task: Task[Any], deadline: float | None) -> Wait:
        raise NotImplementedError

    def _await_submissions(self, deadline: float | None) -> Wait:
        """Wait until the submissions under way have ended."""
        raise NotImplementedError

    def _await_callbacks(self, deadline: float | None) -> Wait:
        """Wait until the done callbacks and hooks of tasks that have ended have returned."""
        raise NotImplementedError

    def _await_end(self, deadline: float | None) -> Wait:
        """Wait until the queue has been shut down, or its run gives up."""
        raise NotImplementedError

    def _run_steps(self, deadline: float | None, began: float) -> Steps[RunSummary]:
        """Wait until a run ends, and return its summary."""
        timed_out = self.mode != "finite" and not (yield self._await_end(deadline))
        seen = None if timed_out else (yield from self._finish(deadline, None))
        if seen is None:
            timed_out = True
            self._on_timeout()
            seen = (yield from self._finish(None, None)) or 0
        return self._summarise(seen, began, timed_out)

    def _finish(self, deadline: float | None, callbacks_deadline: float | None) -> Steps[int | None]:
        """Wait until all tasks have ended and all done callbacks and hooks have returned.

        That includes those that come meanwhile. Return how many tasks the ledger has, or None if a
        deadline was too early.
        """
        self._rounds = 0
        while True:
            seen = yield from self._wait_all(deadline)
            if seen is None or self._is_inside():
                return seen
            if not (yield self._await_callbacks(callbacks_deadline)):
                return None
            if len(self._tasks) <= self._settled:
                return seen
            self._count_round()

    def _wait_all(self, deadline: float | None) -> Steps[int | None]:
        """Wait until all tasks have ended, those that come meanwhile included.

        Return how many tasks the ledger has, or None if the deadline was too early.
        """
        own = self._own_task()
        tasks = self._tasks
        while True:
            cleared, seen = self._cleared, len(tasks)
            for task in self._unfinished(seen):
                if (task._status not in FINAL and task is not own
                        and not (yield self._await_task(task, deadline))):
                    return None
            if own is None:
                if not self._mark_settled(seen, cleared):
                    continue
                if not (yield self._await_submissions(deadline)):
                    return None
            if len(tasks) == seen:
                return seen
            self._count_round()

    # -- ending --------------------------------------------------------------------------------------

    def cancel(self) -> int:
        """Cancel all tasks, also those that must complete, and take no more; return how many had not ended.

        It does not wait; what runs in a thread is asked to stop. May be called from any thread.
        """
        rest = self._discard()
        self._finish_closing()
        return len(rest)

    def _discard(self) -> list[Task[Any]]:
        """Take no more tasks and cancel those that have not ended; return them."""
        with self._lock:
            self._closing = self._discarding = True     # for those, too, who are about to submit: see _record_accepted()
            self._update_lane()
        self._lane.wake_submitters()
        return self._cancel_unfinished(spare=False)

    def _finish_closing(self) -> None:
        with self._lock:
            self._closed = True
            ends, self._end_waiters = self._end_waiters, []
        # Not while somebody submits who has found it open.
        end = self._lane.end
        if not self._submissions.add_waiter(end):
            end()
        for end in ends:
            end()

    def _add_end_waiter(self, watcher: Callable[[], None]) -> bool:
        """Have watcher() called when the queue has been shut down, or its run gives up; False, and no call, when that is so
        already."""
        with self._lock:
            goes_on = not self._closed and not self._aborting
            if goes_on:
                self._end_waiters.append(watcher)
            return goes_on

    def _remove_end_waiter(self, watcher: Callable[[], None]) -> None:
        with self._lock:
            if watcher in self._end_waiters:
                self._end_waiters.remove(watcher)

    def reset(self) -> None:
        """Cancel what waits, forget all tasks and results, and open the queue again.

        A queue that was started, and not shut down, goes on: inside ``with``, what comes next runs at once.

        :raises QueueStateError: (a RuntimeError) a run is under way, or tasks run; or a signal handler asks that came in
            between two steps of a submission.
        """
        with self._lock:
            busy = self._running or self._submissions.is_in_current_thread()
            started = self._started and not self._closing
        if busy or any(task._status == STARTED for task in self._tasks[self._settled:]):
            raise QueueStateError(f"this {type(self).__name__} is at work and cannot be reset: call join(), or wait for its "
                                  "run(), and reset() it then")
        self._discard()
        self._submissions.wait()
        self._finish_closing()
        self._reset(started)
        self._update_lane()

    def _reset_after_fork(self) -> None:
        """In a forked process: its tasks are the parent's, and have been cancelled here. So are those who wait for it, run
        it or are submitting: nobody here goes on with that."""
        self._lock = threading.RLock()
        self._submissions = WaitGroup()
        self._callbacks = self._lane.callbacks = WaitGroup()
        self._running = None
        self._aborting, self._pauses, self._settled, self._end_waiters = False, set(), 0, []
        self._update_lane()

    # -- looking at it -------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether the queue takes no more tasks."""
        return self._closing

    @property
    def active_count(self) -> int:
        """How many tasks run now."""
        return sum(task._status == STARTED for task in self._tasks[self._settled:])

    @property
    def pending_count(self) -> int:
        """How many tasks wait for a place, for their time or for another attempt."""
        return sum(not task.done() and task._status != STARTED for task in self._tasks[self._settled:])

    @property
    def results(self) -> tuple[TaskResult, ...]:
        """How the tasks ended that have, in the order in which they were submitted; detached ones included."""
        return tuple(result_of(task) for task in self._tasks if task.done())

    def clear_results(self) -> None:
        """Forget the tasks that have ended: a queue that is never reset keeps them all. Not while a run goes on, whose
        summary they belong to.

        :raises QueueStateError: (a RuntimeError) it is running in finite mode.
        """
        with self._lock:
            if self._running and self.mode == "finite":
                raise QueueStateError(f"this {type(self).__name__} is running, and its summary needs the results; clear them "
                                      "afterwards")
            # In place and from the front: others may be appending.
            tasks = self._tasks
            seen = len(tasks)
            kept = [task for task in tasks[:seen] if not task.done()]
            self._reported -= sum(task.done() for task in tasks[:self._reported])
            tasks[:seen] = kept
            self._specs.clear()         # which hold functions, and what these hold
            self._settled = 0
            self._cleared += 1

    @property
    def stats(self) -> dict[str, int]:
        """Numbers of tasks: submitted, pending, scheduled (those of the pending that wait for their time), active,
        completed (those that have ended), and of these succeeded, failed, cancelled. And workers, 0 for as many as the
        pool takes; and closed, True if the queue takes no more tasks."""
        counts = dict.fromkeys(("submitted", "pending", "scheduled", "active", "completed", "succeeded", "failed", "cancelled"), 0)
        for task in list(self._tasks):
            counts["submitted"] += 1
            state = task.state
            if state == "retrying" or state == "pending":
                counts["pending"] += 1
                counts["scheduled"] += int(task._status) == 2
            else:
                counts["active" if state == "running" else state] += 1
        counts["completed"] = counts["succeeded"] + counts["failed"] + counts["cancelled"]
        counts["workers"] = self.workers or 0
        counts["closed"] = self.closed
        return counts

    def __len__(self) -> int:
        return self.pending_count + self.active_count

    def __bool__(self) -> bool:
        return True         # an empty queue is a queue

    def __repr__(self) -> str:
        state = "closed" if self._closed else "running" if self._running else "started" if self._started else "waiting"
        return f"<{type(self).__name__} {state} {self.pending_count} pending, {self.active_count} active>"


def _how_to_run(reference: Callable[[], TaskQueue | None], kind: str) -> str | None:
    """Return what has to be called on a queue whose lane is paused; None if it was called, and the pause will end."""
    queue = reference()
    if queue is not None and (queue._started or queue._running is not None or queue._closing):
        return None
    return f"its {kind} has not been started; call its run() or start()"


def _refusal(reference: Callable[[], TaskQueue | None]) -> Exception | None:
    """Return the error for a submission of this thread that finds no room; None if it may wait for room."""
    queue = reference()
    if queue is not None:
        own = get_ident()
        for submission, thread in queue._submissions.calls.copy().items():
            if thread == own and queue._is_refused(submission):
                return queue._refused()
    return None


def _add_first_callback(task: Task[Any], callback: Callable[[Task[Any]], Any]) -> None:
    """:meth:`Task.add_done_callback`, before the other callbacks: these may wait for what this one does."""
    pool: Any = task._spec.pool
    if pool.busy_here():
        pool.elsewhere(_add_first_callback, task, callback)
    elif not add_callback(task, callback, first=True):
        call_late(task, callback)


_queues: weakref.WeakSet[TaskQueue] = weakref.WeakSet()


def _after_fork() -> None:
    for queue in list(_queues):
        queue._reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
