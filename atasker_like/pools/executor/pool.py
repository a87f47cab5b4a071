"""A pool over an executor of the application: the pool admits and orders, the executor runs.

::

    submit ──> run queue ──> slot free? ──> the giver, one pool thread ──> executor.submit
                   ^                                                            │
                   └─ retry, next task <── slot free <── done callback, in a thread of the executor

The executor has at most as many calls at a time as there are slots. So waiting tasks wait here, in
order of priority, and can be cancelled.

Only the giver calls ``submit``. Some executors run done callbacks with a lock held that ``submit``
takes, and some block in ``submit``. Besides, an interrupt may come in the main thread at any line,
but not in a pool thread.

This pool cannot end a call that runs, as the executor cannot. After a timeout, or a stop of the
supervisor, the call is *abandoned*: its task is final and its result will be dropped. It keeps its
slot until the executor reports its end, since it occupies the executor as long.
"""
from __future__ import annotations

import pickle
from collections import deque
from time import perf_counter

from ..._ids import short_id
from ..._inspect import described
from ..._log import log
from ...constants import TaskType
from ...engine.deferred import run_deferred
from ...engine.lifecycle import (before_end_of, drop_outcome, failure_of, is_cancellation,
                                 retry_pause, run_callback)
from ...engine.run_queue import RunQueue
from ...engine.spec import TaskSpec
from ...engine.task import STARTED, Task, number_tasks
from ...errors import PoolBrokenError, TaskPicklingError, TaskTimeoutError
from ..base import Pool
from ..process import child
from ..process.child import ERROR
from ..process.protocol import decode
from .adapters import ExecutorAdapter
from .remote_call import run_local, run_remote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Sequence

    from ...engine.deferred import Deferred
    from ...engine.timer import Timer

__all__ = ["ExternalPool"]


class _Call:
    """One attempt of a task, until the executor reports its end. The pool's lock guards it."""

    __slots__ = ("task", "adapter", "handle", "submitted", "done", "abandoned", "cancel_requested")

    def __init__(self, task: Task[Any], adapter: ExecutorAdapter) -> None:
        self.task = task
        self.adapter = adapter
        self.handle: Any = None         # the argument of the adapter's cancel()
        self.submitted = False              # the giver has taken it
        self.done = False               # the executor has reported its end
        self.abandoned = False          # its task is final
        self.cancel_requested = False           # the executor is to cancel it if possible


class ExternalPool(Pool):
    """Give tasks to an executor, most urgent first, and a limited number at a time."""

    tt = TaskType.MP

    def __init__(self, name: str, timer: Timer, wake_up: Callable[[], None],
                 spawn: Callable[[Callable[[], None]], None], adapter: ExecutorAdapter,
                 pool_size: int, reserve_normal: int = 0, reserve_high: int = 0) -> None:
        super().__init__(name, timer, wake_up, spawn,
                         RunQueue(pool_size, reserve_normal, reserve_high))
        self.adapter: ExecutorAdapter = adapter
        self._calls: set[_Call] = set()             # the calls that occupy a slot
        self._to_submit: deque[_Call] = deque()       # those of them that wait for the giver
        self._submitter_running = False                        # a giver runs or is asked for
        self._giver_runs = False

    @property
    def executor(self) -> Any:
        """The executor of the application."""
        return self.adapter.executor

    def use(self, adapter: ExecutorAdapter) -> None:
        """Give new and waiting calls to another executor. The old one keeps those that it has."""
        with self.lock:
            self.adapter = adapter
            for waiting in self._to_submit:
                waiting.adapter = adapter
        self._fail_lost()

    def redirect(self, successor: Pool) -> bool:
        """See :meth:`Pool.redirect`. The pool drops its reference to the executor."""
        retired = super().redirect(successor)
        if retired:
            self.adapter = ExecutorAdapter(None)
        return retired

    # -- acceptance --------------------------------------------------------------------------------

    def start(self, spec: TaskSpec, args: tuple[Any, ...],
              kwargs: dict[str, Any] | None) -> Task[Any]:
        """See :meth:`Pool.start`. If the call cannot be pickled, the task fails at once."""
        task: Task[Any] = Task(spec, args, kwargs, None)
        return task if self.submit(task) is None else task  # type: ignore[func-returns-value]

    def start_many(self, spec: TaskSpec, calls: Sequence[tuple[Any, ...]],
                   first: int | None = None) -> list[Task[Any]]:
        """See :meth:`Pool.start_many`."""
        tasks: list[Task[Any]] = [Task(spec, args, None, None) for args in calls]
        if first is not None:
            number_tasks(tasks, first)
        self.submit_many(tasks)
        return tasks

    def submit(self, task: Task[Any]) -> None:
        self._pack(task)
        return Pool.submit(self, task)

    def submit_many(self, tasks: Sequence[Task[Any]]) -> None:
        for task in tasks:
            self._pack(task)
        Pool.submit_many(self, tasks)

    def _pack(self, task: Task[Any]) -> None:
        """Pickle a call in the submitter's thread and keep the result or the error in the task.

        (no lock)
        """
        if self.adapter.in_process:
            task._context = None
            return
        spec = task._spec
        what = "function"
        try:
            blob = spec.pickled_target
            if blob is None:
                blob = child.pickle_target(spec.target)
                if child.is_stateless(spec.target):
                    spec.pickled_target = blob
            what = "arguments"
            args, kwargs = task._args, task._kwargs
            task._context = blob, pickle.dumps((args, kwargs), 5) if args or kwargs else None
        except (Exception, SystemExit) as raised:
            advice = ("define it at the top level of a module, where the process can import it"
                      if what == "function"
                      else "pass plain data, and open files or connections in the function")
            error = TaskPicklingError(f"the {what} of task {spec.name} cannot be sent to "
                                      f"{self.adapter.name} ({described(raised)}); {advice}")
            error.__cause__ = raised
            task._context = error

    # -- dispatch: all with the lock held ----------------------------------------------------------

    def _enqueue(self, task: Task[Any]) -> Deferred:
        if isinstance(task._context, TaskPicklingError):
            return self._attempt_ended(task, failure_of(task, task._context), None)
        self.run_queue.push(task)
        return self._dispatch_deferred()

    def _dispatch_deferred(self) -> Deferred:
        """Start the tasks that may start, and ask for a giver if there is none."""
        while True:
            task = self.run_queue.pop()
            if task is None:
                break
            call = _Call(task, self.adapter)
            self._calls.add(call)
            self._to_submit.append(call)
            task._extra_fields().placement = call
            self.lifecycle.start(task, perf_counter())
        self.backpressure.wake_submitters()
        deferred: Deferred = []
        if self.adapter.is_shut_down():
            deferred.append(self._fail_lost)
        if self._to_submit and not self._submitter_running:
            self._submitter_running = True
            deferred.append(self._start_submitter)
        return deferred

    def arm_timeout(self, task: Task[Any]) -> None:
        """Do nothing: :meth:`_submit_all` arms the timeout when the executor gets the call."""

    def _start_submitter(self) -> None:
        self._spawn(self._submit_all)

    def _freed(self, call: _Call) -> None:
        """Release the slot of a call."""
        if call in self._calls:
            self._calls.discard(call)
            self.run_queue.release(call.task)

    def _withdraw(self, call: _Call) -> bool:
        """Take a call back. Return False if the giver has taken it already."""
        if call.submitted or call.done:
            return False
        call.done = True
        self._to_submit.remove(call)
        self._freed(call)
        return True

    def _call_of(self, task: Task[Any]) -> _Call | None:
        extra = task._extra
        payload = None if extra is None else extra.placement
        return payload if isinstance(payload, _Call) else None

    # -- giving: one pool thread -------------------------------------------------------------------

    def _submit_all(self) -> None:
        while True:
            with self.lock:
                self._giver_runs = True
                if not self._to_submit:
                    self._submitter_running = self._giver_runs = False
                    return
                call = self._to_submit.popleft()
                call.submitted = True
                task = call.task
                args, kwargs, packed = task._references()
                spec = task._spec
                attempt, live = max(1, task.attempts), not task.done()
                if live and spec.timeout is not None:
                    super().arm_timeout(task)
            if live:
                self._give(call, spec, args, kwargs, packed, attempt)
            else:
                self._returned(call, None, None, True)
            del call, task, args, kwargs, packed

    def _give(self, call: _Call, spec: TaskSpec, args: tuple[Any, ...],
              kwargs: dict[str, Any] | None, packed: Any, attempt: int) -> None:
        task, adapter = call.task, call.adapter

        def on_done(error: BaseException | None, value: Any, thrown_out: bool) -> None:
            self._returned(call, error, value, thrown_out)

        try:
            if adapter.in_process:
                if spec.takes_id:
                    kwargs = dict(kwargs or (), _task_id=task.id)
                handle = adapter.submit(
                    run_local, (task, child.undecorated(spec.target), args, kwargs), on_done)
            else:
                if packed is None:      # it was made for an executor with threads of this process
                    self._pack(task)
                    packed = task._context
                if isinstance(packed, TaskPicklingError):
                    self._returned(call, packed, None, False)
                    return
                blob, payload = packed
                handle = adapter.submit(
                    run_remote, (blob, payload, spec.takes_id, task.id, spec.name, attempt,
                                 spec.options.retries), on_done)
        except BaseException as error:
            self._returned(call, self._broken(task, adapter, error, "did not take"), None, False)
            return
        with self.lock:
            if not call.done:
                call.handle = handle
            unwanted = call.cancel_requested
        if unwanted:
            self._try_cancel(call)

    def _broken(self, task: Task[Any], adapter: ExecutorAdapter, cause: BaseException | None,
                what: str) -> PoolBrokenError:
        said = "" if cause is None else f" ({described(cause)})"
        error = PoolBrokenError(f"the executor {adapter.name} {what} task {task.name} "
                                f"({task.short_id}){said}; it is broken, or has been shut down: "
                                "put another one in place with task_supervisor.mp_pool = ..., and "
                                "submit the task again, or give it retries")
        error.__cause__ = cause
        return error

    # -- the end of a call: the executor's threads -------------------------------------------------

    def _returned(self, call: _Call, error: BaseException | None, value: Any,
                  thrown_out: bool) -> None:
        """Handle the end of a call in the executor, or its refusal by the executor."""
        if self.is_reentrant():
            self.defer_to_thread(self._returned, call, error, value, thrown_out)
            return
        task = call.task
        if thrown_out:
            if call.cancel_requested or task.done():
                self._end(call, None, None, True)
                return
            error = self._broken(task, call.adapter, None, "has thrown out")
        elif error is None:
            try:
                kind, payload = value
            except (TypeError, ValueError):
                error = self._broken(task, call.adapter, None,
                                     f"returned {type(value).__name__} of its own for")
            else:
                if not call.adapter.in_process:
                    _, kind, _, payload = decode(0, kind, 0.0, payload)
                if kind == ERROR:
                    error = payload
                value = payload
        elif not isinstance(error, (PoolBrokenError, TaskPicklingError)):
            error = self._broken(task, call.adapter, error, "lost")
        if error is not None:
            self._end(call, error, None, is_cancellation(task, error))
        elif task._spec.callback is None or call.abandoned:
            self._end(call, None, value, False)
        else:
            self._spawn(lambda: self._end_with_callback(call, value))

    def _end_with_callback(self, call: _Call, value: Any) -> None:
        """Call the ``callback`` in a pool thread, since it may block, and then end the task."""
        if not call.task.done():
            run_callback(call.task, value)
        self._end(call, None, value, False)

    def _end(self, call: _Call, error: BaseException | None, value: Any, cancelled: bool) -> None:
        task = call.task
        pause = None
        outcome = value
        if error is not None and not cancelled:
            pause = retry_pause(task, error)
            outcome = failure_of(task, error)
        before_end = before_end_of(task)
        if before_end is None or pause is not None or cancelled or call.abandoned:
            self._enter(call, outcome, pause, cancelled)
            return
        tell = before_end

        def end() -> None:
            tell(task, outcome)
            self._enter(call, outcome, None, False)

        with self.lock:
            self.notifier.add(end)         # after the hook call for its start

    def _enter(self, call: _Call, outcome: Any, pause: float | None, cancelled: bool) -> None:
        """Enter the outcome of a call into its task and release its slot."""
        task = call.task
        deferred: Deferred = []
        with self.lock:
            first = not call.done
            call.done = True
            call.handle = None
            self._freed(call)
            if (first and not call.abandoned and task._status == STARTED
                    and self._call_of(task) is call):
                deferred = self._attempt_ended(task, outcome, pause, cancelled)
            else:
                drop_outcome(outcome)       # the task ended before
            deferred = self._dispatch_deferred() + deferred
        del outcome
        run_deferred(deferred)

    def _fail_lost(self) -> None:
        """End the calls of an executor that was terminated and reports no more ends."""
        with self.lock:
            lost = [call for call in self._calls
                    if call.adapter.is_shut_down() and call.submitted]
        for call in lost:
            error = self._broken(call.task, call.adapter, None, "was terminated with")
            self._end(call, error, None, False)

    # -- cancel and timeout of a running task ------------------------------------------------------

    def _cancel_running(self, task: Task[Any]) -> Deferred:
        call = self._call_of(task)
        if call is None or call.done:
            return []
        if self._withdraw(call):
            return [*self._attempt_ended(task, None, None, cancelled=True),
                    *self._dispatch_deferred()]
        asked, call.cancel_requested = call.cancel_requested, True
        if asked or call.handle is None:
            return []                   # the giver cancels it as soon as it has the handle
        return [lambda: self._try_cancel(call)]

    def _try_cancel(self, call: _Call) -> None:
        handle, task = call.handle, call.task
        if call.done:
            return
        try:
            honoured = call.adapter.cancel(handle)
        except Exception as error:
            log.warning("the executor %s could not be asked to cancel task %s (%s): %s: %s",
                        call.adapter.name, task.name, task.short_id, type(error).__name__, error)
            return
        if not honoured and not call.done and not call.adapter.in_process:
            log.warning("task %s (%s) runs in the executor %s, which cannot end it: it goes on, "
                        "and its result counts", task.name, task.short_id, call.adapter.name)

    def _timeout_running(self, task: Task[Any], error: TaskTimeoutError,
                         pause: float | None) -> Deferred:
        call = self._call_of(task)
        deferred: Deferred = []
        if call is not None and not call.done:
            call.abandoned = call.cancel_requested = True
            abandoned = call
            if call.handle is not None:
                deferred.append(lambda: self._stop_late(abandoned))
        name = self.adapter.name if call is None else call.adapter.name
        plain = TaskTimeoutError(f"task {task.name} ({task.short_id}) ran longer than its timeout "
                                 f"of {task._spec.timeout:g} s. The executor {name} cannot end a "
                                 "call that runs: it goes on there, keeps its place until it ends, "
                                 "and its result is dropped; have the function watch the time "
                                 "itself, or use the supervisor's own pool, which ends its "
                                 "processes")
        task._extra_fields().placement = None
        deferred += self._attempt_ended(task, failure_of(task, plain), pause)
        return deferred + self._dispatch_deferred()

    def _stop_late(self, call: _Call) -> None:
        """Cancel an abandoned call if the executor has not begun with it."""
        try:
            call.adapter.cancel(call.handle)
        except Exception:               # the task is final in any case
            pass

    def _complete_running(self, task: Task[Any]) -> Deferred:
        call = self._call_of(task)
        if call is not None and self._withdraw(call):
            return self._dispatch_deferred()
        return []                       # its result will be ignored

    def _dispatch_more(self) -> Deferred:
        return self._dispatch_deferred()

    def _was_dispatched(self, task: Task[Any]) -> bool:
        call = self._call_of(task)
        return call is not None and not self._withdraw(call)

    def _resync(self, tasks: set[Task[Any]]) -> Deferred:
        for call in [call for call in self._calls if call.task in tasks and not call.submitted]:
            call.done = True
            self._calls.discard(call)
        self._to_submit = deque(call for call in self._to_submit if not call.done)
        self.run_queue.resync(len(self._calls), [call.task._spec.lane for call in self._calls
                                                 if call.task._spec.lane is not None])
        if not self._giver_runs:
            self._submitter_running = False        # the call that was to ask for it was interrupted
        return self._dispatch_deferred()

    # -- size and end ------------------------------------------------------------------------------

    @property
    def abandoned(self) -> int:
        """The number of abandoned calls that the executor still has."""
        return sum(1 for call in list(self._calls) if call.abandoned)

    def resize(self, pool_size: int, reserve_normal: int, reserve_high: int,
               min_size: int = 0) -> None:
        """Change the number of slots. The calls that the executor has go on."""
        with self.lock:
            self.run_queue.resize(pool_size, reserve_normal, reserve_high)
            more = self.accepting and self.run_queue.waiting > 0
        if more:
            self._run_uninterruptible(self._start_more)

    def drain(self, deadline: float | None) -> bool:
        self._fail_lost()
        return super().drain(deadline)

    def abandon_all(self) -> list[str]:
        """See :meth:`Pool.abandon_all`. The calls that the executor runs go on there."""
        with self.lock:
            for call in list(self._calls):
                if not self._withdraw(call):
                    call.abandoned = call.cancel_requested = True
        return super().abandon_all()

    def close(self, deadline: float | None) -> None:
        """Give up the live tasks. The executor belongs to the application and is not shut down."""
        given_up = self.abandon_all()
        if given_up:
            log.warning("%s: the executor %s still runs %d task(s), which were given up (%s)",
                        self.name, self.adapter.name, len(given_up),
                        ", ".join(short_id(task_id) for task_id in given_up))

    def reset_after_fork(self) -> None:
        """See :meth:`Pool.reset_after_fork`. The executor itself must handle the fork."""
        super().reset_after_fork()
        self._calls, self._to_submit = set(), deque()
        self._submitter_running = self._giver_runs = False

    def warm_up(self) -> None:
        """Do nothing: the executor starts its processes itself."""

    def kill_all(self) -> None:
        """Do nothing: the processes belong to the executor."""
