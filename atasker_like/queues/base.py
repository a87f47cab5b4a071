"""TaskQueue: the ledger of a queue, its policies, and the steps of a run.

How a queue aborts, after the first failure with ``fail_policy='fail_first'``, at the timeout of a
run, or by force::

    refuse ──> cancel unfinished tasks, last to first, ──> call done callbacks ──> the run ends
    tasks      in one step: all of them, or all but        of cancelled tasks
               must_complete

With ``fail_first``, the lane is paused from the failure until the other tasks are cancelled. None
of them starts.
"""
from __future__ import annotations

import os
import weakref
from functools import partial
from itertools import filterfalse
from operator import attrgetter, countOf
from threading import get_ident
from time import perf_counter

from .._atomics import RLock
from .._checks import in_seconds, one_of
from .._habits import Absent, dir_without_absent
from .._ids import new_id
from .._log import log
from ..engine.callbacks import add_callback, call_late
from ..engine.current import current_task
from ..engine.lanes import Lane
from ..engine.result import Failure
from ..engine.task import COMPLETED, FINAL, STARTED, Task
from ..engine.wait_group import WaitGroup
from ..errors import ClosedError, QueueStateError, WaitTimeoutError
from ..pools.cancelling import cancel_many
from .calls import InitializerState
from .config import FAIL_POLICIES
from .handles import result_of
from .hooks import Hooks
from .ledger import Ledger
from .submission import Batch, Submitter
from .summary import RunSummary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Iterator, Sequence

    from .._checks import Seconds
    from ..engine.result import TaskResult
    from .steps import Steps, Wait


#: The rounds in which a wait finds new tasks before it warns.
MANY_ROUNDS = 10_000

_status = attrgetter("_status")


class TaskQueue(Submitter):
    """The part of a queue that does not depend on where its tasks run."""

    def _setup(self) -> None:
        wanted = self.on_start or self.on_complete or self.on_retry
        self._hooks = Hooks(self) if wanted else None
        # Names this queue in other processes. With a number of eight digits before it, it is the id
        # of a restored task: a UUID of version 4, whose short form is the number.
        self._key = new_id()[8:]
        self._initializer_state = None if self.initializer is None else InitializerState(self._key)
        # Guards the state below, except the ledger. No user code runs while it is held.
        self._lock = RLock()
        self._reset()
        self._closing = False           # no more tasks are accepted until reset()
        _queues.add(self)

    def _reset(self, started: bool = False) -> None:
        self._lane: Any = Lane("of a queue", limit=self.workers, rate=self.rate, burst=self.burst,
                               size=self.size or None, on_full=self.on_full)
        self._lane.pause()
        self._lane.advice = partial(_how_to_run, weakref.ref(self), type(self).__name__)
        self._lane.refusal = partial(_refusal, weakref.ref(self))
        self._tasks = Ledger()
        super()._reset()
        self._started = started         # start() was called: tasks run without a run(), too
        self._running: object | None = None        # the run that is under way
        self._rounds = 0                # how often the current wait has found new tasks
        # Reasons to start no task: an abort under way, tasks whose failure the pool does not know
        # yet.
        self._pauses: set[object] = set()
        # Called when the queue has been shut down, or a run aborts.
        self._end_waiters: list[Callable[[], None]] = []

    # -- aborting ---------------------------------------------------------------------------------

    def _watch_failures(self, tasks: Iterable[Task[Any]], new: bool = False) -> None:
        """Have :meth:`_task_done` called for tasks, before their other done callbacks.

        The functions report their failures, too.

        :param new: True if this thread is about to submit the tasks.
        """
        for task in tasks:
            self._report_failures(task._spec)
            if new:
                extra = task._extra_fields()
                extra.callbacks = [self._task_done, *(extra.callbacks or ())]
                self._callbacks.add_submitting(task)
            else:
                _add_first_callback(task, self._task_done)

    def _task_done(self, task: Task[Any]) -> None:
        """Abort if a task failed: the done callback of every task with fail_first."""
        if task._spec.lane is not self._lane:
            return                      # the queue has been reset since
        try:
            if (task._status == COMPLETED and type(task._outcome) is Failure
                    and self._policy == "fail_first"):
                tasks = self._begin_abort(lane=task._spec.lane)
                if tasks is not None:
                    self._abort(tasks, f"as {task.name} ({task.short_id}) failed first", True, task)
        finally:
            self._resume_lane(task)

    def _begin_abort(self, halt: bool = False, lane: Lane | None = None) -> Ledger | None:
        """Refuse the submissions that are under way and, in a run, all until the run has ended.

        Return the tasks, or None if the run aborts already. An infinite run ends soon, too.

        :param halt: without a run, refuse all submissions until there is one.
        :param lane: do nothing if a reset has replaced this lane.
        """
        with self._lock:
            if self._aborting or lane is not None and lane is not self._lane:
                return None
            tasks = self._tasks
            self._aborts += 1
            # Without a run, a started queue accepts later tasks.
            self._aborting = halt or self._running is not None
            waiters, self._end_waiters = ((self._end_waiters, []) if self._aborting
                                          else ([], self._end_waiters))
        for waiter in waiters:
            waiter()
        return tasks

    def _abort(self, tasks: Ledger, cause: str, spare: bool,
               failed: Task[Any] | None = None) -> list[Task[Any]]:
        """Cancel the unfinished tasks and those under submission; return the former.

        :param tasks: those of the queue when the abort began.
        :param spare: leave the tasks that must complete.
        :param failed: the task that is the reason; it does not pause the lane itself any more.
        """
        pause = object()
        resume = partial(self._resume_lane, pause)
        try:
            # Until the submissions under way have ended: what they submit is not in the ledger yet,
            # so only they can cancel it. None of them blocks. Those that wait for room try again,
            # and are refused if there is none.
            self._pause_lane(pause)
            self._resume_lane(failed)
            under_way = list(filter(self._is_refused, self._submissions.calls.copy()))
            self._lane.wake_submitters()

            def resume_later() -> None:
                # Before the callbacks of cancelled tasks, as these may wait for the spared ones.
                if not self._submissions.add_waiter(resume, under_way):
                    resume()

            return self._cancel_unfinished(tasks, cause, spare, resume_later)
        except BaseException:
            resume()
            raise

    def _is_refused(self, submission: Any) -> bool:
        """Return True if a submission that has begun may not submit any more."""
        return (self._aborting or self._discarding
                or type(submission) is Batch and submission.aborts != self._aborts)

    def _function_raised(self, error: BaseException) -> None:
        """Pause the lane: with fail_first, a function has raised and its task is about to fail.

        The pool starts the next task in the step in which the failed task ends.
        """
        task = current_task()
        if (not isinstance(task, Task) or self._policy != "fail_first"
                or not issubclass(type(error), (Exception, SystemExit))
                or task._spec.lane is not self._lane
                or task.options.wants_retry(error, task.attempts)):
            return
        if task._spec.timeout is not None and task.options.retries:
            # A timeout may come first, and then another attempt must be able to start.
            return
        with self._lock:
            if not self._aborting:
                self._pause_lane(task)
        if task._status != STARTED:
            # It was abandoned or completed early: no done callback follows.
            self._resume_lane(task)

    def _pause_lane(self, reason: object) -> None:
        """Start no task until :meth:`_resume_lane` has been called for this reason."""
        with self._lock:
            self._pauses.add(reason)
            self._update_lane()

    def _resume_lane(self, reason: object) -> None:
        """Withdraw a reason to start no task. Interrupted callers repeat this call."""
        with self._lock:
            if reason in self._pauses:
                self._pauses.discard(reason)
                self._update_lane()

    def _update_lane(self) -> None:
        """Pause or resume the lane, by the state of the queue."""
        with self._lock:
            if ((self._started or self._running or self._closing)
                    and not self._pauses and not self._discarding):
                self._lane.resume()
            else:
                self._lane.pause()

    def _cancel_unfinished(self, tasks: Ledger, cause: str, spare: bool = False,
                           then: Callable[[], None] | None = None) -> list[Task[Any]]:
        """Cancel the tasks that have not ended, and return them.

        :param spare: leave the tasks that must complete.
        """
        rest = [task for task in tasks.rest()
                if not task.done() and not (spare and task.options.must_complete)]
        cancel_many(rest, cause, then)
        return rest

    def _on_timeout(self) -> None:
        """Abort at the timeout of a run."""
        self._begin_abort(halt=True)
        self._abandon(self._abort(self._tasks, "at the timeout of the run of its queue",
                                  spare=self.on_timeout == "complete"))

    def _abandon(self, tasks: Sequence[Task[Any]]) -> None:
        """Do not wait for functions in threads, which a cancellation only asks to stop."""
        for task in tasks:
            if task._status == STARTED and task is not current_task():
                task._spec.pool.abandon(task)

    # -- the steps of a run ------------------------------------------------------------------------

    def _begin_run(self, run: object, fail_policy: str | None) -> None:
        """Begin a run. The caller ends it, also if this raises.

        :raises ClosedError: the queue is closed.
        :raises QueueStateError: a run is under way, or the caller is a task of this queue.
        """
        policy = self.fail_policy
        if fail_policy is not None:
            policy = one_of("fail_policy", fail_policy, FAIL_POLICIES)
        if not self._running and self._own_task() is not None:
            raise QueueStateError(f"a task cannot run its own {type(self).__name__}, and be in the "
                                  "summary: use join(), which waits for the others, or another "
                                  "queue")
        with self._lock:
            if self._closing:
                raise ClosedError(f"this {type(self).__name__} is closed; reset() opens it again")
            if self._running is not None:
                raise QueueStateError(f"this {type(self).__name__} is running already: wait for "
                                      "that run, or make another queue for what runs inside its "
                                      "tasks")
            self._running = run
            self._aborting = False
        if self._use_policy(policy):
            self._watch_failures(self._tasks.rest())

    def _use_policy(self, policy: str) -> bool:
        """Set the policy. Return True if the tasks in the ledger are to be watched from now on."""
        if policy == self._policy:
            return False
        self._policy = policy       # first: specs that are made from now on follow it
        self._specs.clear()
        return policy == "fail_first"

    def _end_run(self, run: object) -> None:
        """End a run, if it has begun. Interrupted callers repeat this call."""
        if self._running is run and self._use_policy(self.fail_policy):
            # The tasks that have come as the run ended.
            self._watch_failures([task for task in self._tasks.rest() if not task.done()])
        with self._lock:
            if self._running is not run:
                return
            self._aborting = False
            self._pauses = set(filterfalse(
                lambda reason: isinstance(reason, Task) and reason.done(), self._pauses))
            self._running = None
            try:
                self._update_lane()
            except BaseException:
                self._update_lane()
                raise

    @staticmethod
    def _unfinished(ledger: Ledger, seen: int) -> Iterator[Task[Any]]:
        """Yield the tasks among the first ``seen`` of a ledger that may not have ended.

        The last one comes first: when it has ended, few others are left.
        """
        tasks = ledger[ledger.settled:seen]
        if tasks:
            yield tasks[-1]
            # Counted first, as looking at each in a loop costs twice as much.
            if countOf(map(_status, tasks), COMPLETED) < len(tasks):
                yield from reversed(tasks)

    def _summarise(self, seen: int, began: float, timed_out: bool) -> RunSummary:
        """Return the summary of the tasks since the last summary.

        :param seen: the number of tasks in the ledger; all of them have ended.
        """
        with self._lock:
            ledger = self._tasks
            tasks = ledger[ledger.reported:seen]
            ledger.reported += len(tasks)
        if self._some_detached:
            tasks = [task for task in tasks if not task._spec.options.detached]
        return RunSummary(tasks, perf_counter() - began, timed_out)

    def _needs_start(self) -> bool:
        """Return True if no task of this queue would start, now or later."""
        return not (self._started or self._running or self._closing)

    def _is_inside(self) -> bool:
        """Return True in a task, a done callback or a hook of this queue.

        These wait for tasks only, not for each other.
        """
        return self._own_task() is not None or self._callbacks.is_inside()

    def _count_round(self) -> None:
        """Count that a wait has found new tasks, and warn if this happens very often."""
        self._rounds += 1
        if self._rounds == MANY_ROUNDS:
            log.warning("the wait for this %s has found new tasks %d times when all tasks before "
                        "had ended: its tasks, done callbacks or hooks go on submitting. It ends "
                        "when they stop; run(timeout=...), cancel() or shutdown(force=True) ends "
                        "it earlier", type(self).__name__, MANY_ROUNDS)

    def _own_task(self) -> Task[Any] | None:
        """Return the task of this queue that makes this call, or None."""
        task = current_task()
        own = isinstance(task, Task) and task._spec.lane is self._lane and not task.done()
        return task if own else None

    def _timeout_error(self, timeout: Seconds | None) -> WaitTimeoutError:
        """Return the error of a wait whose timeout has passed."""
        left = len(self)
        waited = f"after {in_seconds(timeout)} of waiting"
        if left:
            return WaitTimeoutError(f"{left} tasks of this {type(self).__name__} unfinished "
                                    f"{waited}; they go on: wait again, or cancel()")
        return WaitTimeoutError(f"done callbacks or hooks of this {type(self).__name__} unfinished "
                                f"{waited}, though all its tasks have ended; wait again")

    def _mark_settled(self, tasks: Ledger, seen: int, cleared: int) -> bool:
        """Note that the first ``seen`` tasks of a ledger have ended.

        Return False if the ledger was shortened meanwhile.
        """
        with self._lock:
            if cleared == tasks.cleared:
                tasks.settled = seen
            return cleared == tasks.cleared

    # -- waiting: steps for drive() and co_drive() -------------------------------------------------

    def _await_task(self, task: Task[Any], deadline: float | None) -> Wait:
        raise NotImplementedError

    def _await_submissions(self, deadline: float | None) -> Wait:
        """Wait until the submissions under way have ended."""
        raise NotImplementedError

    def _await_callbacks(self, deadline: float | None) -> Wait:
        """Wait until the done callbacks and hooks of tasks that have ended have returned."""
        raise NotImplementedError

    def _await_end(self, deadline: float | None) -> Wait:
        """Wait until the queue has been shut down, or its run aborts."""
        raise NotImplementedError

    def _run_steps(self, deadline: float | None, began: float) -> Steps[RunSummary]:
        """Wait until a run ends, and return its summary."""
        timed_out = self.mode != "finite" and not (yield self._await_end(deadline))
        seen = None if timed_out else (yield from self._finish(deadline, deadline))
        if seen is None:
            # Perhaps only done callbacks or hooks are late. They are awaited, but may submit no
            # more tasks: each could submit the next one without end.
            timed_out = True
            self._on_timeout()
            seen = (yield from self._finish(None, None)) or 0
        return self._summarise(seen, began, timed_out)

    def _finish(self, deadline: float | None,
                callbacks_deadline: float | None) -> Steps[int | None]:
        """Wait until all tasks have ended, and all done callbacks and hooks have returned.

        That includes those that come meanwhile. Return the number of tasks in the ledger, or None
        if a deadline passed. A reset ends the wait.
        """
        self._rounds = 0
        tasks = self._tasks
        while True:
            seen = yield from self._wait_all(tasks, deadline)
            if seen is None or self._is_inside() or tasks is not self._tasks:
                return seen
            if not (yield self._await_callbacks(callbacks_deadline)):
                return None
            if len(tasks) <= tasks.settled:
                return seen
            self._count_round()

    def _further_tasks(self) -> Callable[[], list[Task[Any]]]:
        """Return a function that returns the tasks which have come since its last call.

        The first call returns those since the last summary.
        """
        ledger, own = self._tasks, self._own_task()
        seen, cleared = ledger.reported, ledger.cleared

        def further() -> list[Task[Any]]:
            nonlocal seen, cleared
            if cleared != ledger.cleared:        # shortened: those that are left were seen
                seen, cleared = len(ledger), ledger.cleared
            tasks = ledger[seen:]
            seen += len(tasks)
            return tasks if own is None else [task for task in tasks if task is not own]

        return further

    def _wait_all(self, tasks: Ledger, deadline: float | None) -> Steps[int | None]:
        """Wait until all tasks of a ledger have ended, those that come meanwhile included.

        Return the number of tasks in the ledger, or None if the deadline passed.
        """
        own = self._own_task()
        while True:
            cleared, seen = tasks.cleared, len(tasks)
            for task in self._unfinished(tasks, seen):
                if (task._status not in FINAL and task is not own
                        and not (yield self._await_task(task, deadline))):
                    return None
            if own is None:
                if not self._mark_settled(tasks, seen, cleared):
                    continue
                if not (yield self._await_submissions(deadline)):
                    return None
            if len(tasks) == seen:
                return seen
            self._count_round()

    # -- ending ------------------------------------------------------------------------------------

    def cancel(self) -> int:
        """Cancel all tasks, also those that must complete, and accept no more.

        Return the number of tasks that had not ended. The call does not wait. A function that runs
        in a thread is asked to stop. May be called from any thread.

        >>> queue = ThreadQueue()
        >>> handle = queue.submit(abs, -1)
        >>> queue.cancel(), handle.status, queue.closed
        (1, 'cancelled', True)
        """
        lane, rest = self._discard("by cancel() of its queue")
        self._finish_closing(lane)
        return len(rest)

    def _discard(self, cause: str) -> tuple[Lane, list[Task[Any]]]:
        """Accept no more tasks, cancel the unfinished ones, and return the lane to close and them.

        :param cause: as of :func:`cancel_many`.
        """
        with self._lock:
            # Before the tasks are looked up: see _record_accepted().
            self._closing = self._discarding = True
            self._update_lane()
            lane, tasks = self._lane, self._tasks
        lane.wake_submitters()
        return lane, self._cancel_unfinished(tasks, cause)

    def _finish_closing(self, lane: Lane) -> None:
        """Note that all tasks have ended, unless a reset has replaced the lane."""
        with self._lock:
            if lane is not self._lane:
                return
            self._closed = True
            ends, self._end_waiters = self._end_waiters, []
        # Not before the submissions that found the queue open have ended.
        end = lane.end
        if not self._submissions.add_waiter(end):
            end()
        for end in ends:
            end()

    def _add_end_waiter(self, waiter: Callable[[], None]) -> bool:
        """Have ``waiter()`` called when the queue has been shut down, or its run aborts.

        Return False, and do not call it, if that has happened already.
        """
        with self._lock:
            goes_on = not self._closed and not self._aborting
            if goes_on:
                self._end_waiters.append(waiter)
            return goes_on

    def _remove_end_waiter(self, waiter: Callable[[], None]) -> None:
        with self._lock:
            if waiter in self._end_waiters:
                self._end_waiters.remove(waiter)

    def reset(self) -> None:
        """Cancel waiting tasks, forget all tasks and results, and open the queue again.

        A queue that was started, and not shut down, stays started: inside ``with``, later tasks run
        at once. May be called from any thread.

        :raises QueueStateError: (a RuntimeError) a run is under way, or tasks run; or the caller is
            a signal handler that interrupts a submission.

        >>> queue = ThreadQueue()
        >>> _ = queue.submit(abs, -1)
        >>> queue.reset()
        >>> queue.stats['submitted']
        0
        """
        with self._lock:
            if (self._running or self._submissions.is_in_current_thread()
                    or self.active_count):
                raise QueueStateError(f"this {type(self).__name__} is at work and cannot be reset: "
                                      "call join(), or wait for its run(), and reset() it then")
            started = self._started and not self._closing
            self._closing = True            # no run begins from here on
        lane, _ = self._discard("by reset() of its queue")
        self._submissions.wait()
        self._finish_closing(lane)
        self._reset(started)
        self._closing = False               # last, as submissions are accepted now
        self._update_lane()

    def _reset_after_fork(self) -> None:
        """Forget what other threads do with this queue: in a forked process, none of them goes on.

        The tasks are the parent's. The pools have cancelled them here.
        """
        self._lock = RLock()
        self._submissions = WaitGroup()
        self._callbacks = self._lane.callbacks = WaitGroup()
        self._running = None
        self._aborting, self._pauses, self._end_waiters = False, set(), []
        self._tasks.settled = 0
        self._update_lane()

    # -- looking at it -----------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """True if the queue accepts no more tasks."""
        return self._closing

    @property
    def active_count(self) -> int:
        """The number of tasks that run."""
        return sum(task._status == STARTED for task in self._tasks.rest())

    @property
    def pending_count(self) -> int:
        """The number of tasks that wait for a slot, for their time or for another attempt."""
        return sum(not task.done() and task._status != STARTED
                   for task in self._tasks.rest())

    @property
    def results(self) -> tuple[TaskResult, ...]:
        """The results of the tasks that have ended, in the order in which they were submitted.

        Detached tasks are included.
        """
        return tuple(result_of(task) for task in self._tasks if task.done())

    def clear_results(self) -> None:
        """Forget the tasks that have ended. A queue that is never reset keeps all of them.

        May be called from any thread.

        :raises QueueStateError: (a RuntimeError) a run in finite mode is under way, whose summary
            needs the results.
        """
        with self._lock:
            if self._running and self.mode == "finite":
                raise QueueStateError(f"this {type(self).__name__} is running, and its summary "
                                      "needs the results; clear them afterwards")
            self._tasks.clear_ended()
            self._specs.clear()         # they keep functions alive

    @property
    def stats(self) -> dict[str, int]:
        """Numbers of tasks by state, and two facts about the queue.

        ``submitted``, ``pending``, ``scheduled`` (those of the pending that wait for their time),
        ``active``, ``completed`` (all that have ended), and of these ``succeeded``, ``failed`` and
        ``cancelled``. ``workers`` is 0 if only the pool limits them. ``closed`` is True if the
        queue accepts no more tasks.
        """
        counts = dict.fromkeys(("submitted", "pending", "scheduled", "active", "completed",
                                "succeeded", "failed", "cancelled"), 0)
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

    if not TYPE_CHECKING:       # the methods of a queue.Queue, and of an executor
        __dir__ = dir_without_absent

        put = Absent("use submit(function, *arguments), or map()")
        get = Absent("submit() returns a handle, whose value() is the value, and run() returns a "
                     "summary of all of them")

    def __len__(self) -> int:
        return self.pending_count + self.active_count

    def __bool__(self) -> bool:
        return True         # an empty queue is a queue

    def __repr__(self) -> str:
        state = ("closed" if self._closed else "running" if self._running
                 else "started" if self._started else "waiting")
        return (f"<{type(self).__name__} {state} {self.pending_count} pending, {self.active_count} "
                "active>")


def _how_to_run(reference: Callable[[], TaskQueue | None], kind: str) -> str | None:
    """Return the call that a queue with a paused lane needs; None if the pause ends by itself."""
    queue = reference()
    if queue is not None and (queue._started or queue._running is not None or queue._closing):
        return None
    return f"its {kind} has not been started; call its run() or start()"


def _refusal(reference: Callable[[], TaskQueue | None]) -> Exception | None:
    """Return the error for a submission of this thread that finds no room.

    Return None if the submission may wait for room.
    """
    queue = reference()
    if queue is not None:
        own = get_ident()
        for submission, thread in queue._submissions.calls.copy().items():
            if thread == own and queue._is_refused(submission):
                return queue._refused()
    return None


def _add_first_callback(task: Task[Any], callback: Callable[[Task[Any]], Any]) -> None:
    """Add a done callback that is called before the others of a task.

    The others may wait for the effect of this one.
    """
    pool: Any = task._spec.pool
    if pool.is_reentrant():
        pool.defer_to_thread(_add_first_callback, task, callback)
    elif not add_callback(task, callback, first=True):
        call_late(task, callback)


_queues: weakref.WeakSet[TaskQueue] = weakref.WeakSet()


def _after_fork() -> None:
    for queue in list(_queues):
        queue._reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
