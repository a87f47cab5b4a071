"""A pool over an executor of the application: the pool admits and orders, the executor runs.

::

    submit ──> run queue ──> slot free? ──> the giver, one pool thread ──> executor.submit
                   ^                                                            │
                   └─ retry, next task <── slot free <── done callback, in a thread of the executor

The executor has at most as many calls at a time as there are slots, and some short ones that are
*prefetched*. So waiting tasks wait here, in order of priority, and can be cancelled.

A prefetched task has no slot and is still QUEUED: it waits in the executor for one of the calls
that have slots. When such a call ends, the first prefetched task gets its slot. A more urgent task
that comes meanwhile revokes prefetched ones, if the executor gives them back.

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
from functools import partial
from itertools import filterfalse
from operator import attrgetter
from time import perf_counter

from ..._ids import short_id
from ..._inspect import class_name, described
from ..._log import log
from ...constants import TaskType
from ...engine.deferred import run_deferred
from ...engine.lifecycle import (before_end_of, drop_outcome, failure_of, is_cancellation,
                                 retry_pause, run_callback)
from ...engine.run_queue import RunQueue
from ...engine.task import CANCELED, STARTED, Task
from ...errors import PoolBrokenError, TaskPicklingError, TaskTimeoutError
from ..base import Pool
from ..process import child
from ..process.child import ERROR
from .adapters import ExecutorAdapter
from .messages import Messages
from .packing import broken, lost, pack, unpack
from .prefetch import AHEAD_SECONDS, Call, Prefetched
from .remote_call import ORIGIN, RunWhenLoaded, dumps, run_local, run_remote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Sequence

    from ...engine.deferred import Deferred
    from ...engine.timer import Timer
    from .remote_call import Entry


#: The maximal number of calls that the giver takes at a time.
GIVEN_TOGETHER = 32


class ExternalPool(Pool):
    """Give tasks to an executor, most urgent first, and a limited number at a time."""

    tt = TaskType.MP

    def __init__(self, name: str, timer: Timer, wake_up: Callable[[], None],
                 spawn: Callable[[Callable[[], None]], None], adapter: ExecutorAdapter,
                 pool_size: int, reserve_normal: int = 0, reserve_high: int = 0) -> None:
        super().__init__(name, timer, wake_up, spawn,
                         RunQueue(pool_size, reserve_normal, reserve_high))
        self.adapter: ExecutorAdapter = adapter
        self._calls: set[Call] = set()             # the calls that the executor has or gets
        self.prefetched: Prefetched = Prefetched()  # those of them that have no slot yet
        self._to_submit: deque[Call] = deque()       # those of them that wait for the giver
        self._submitter_running = False                        # a giver runs or is asked for
        self._giver_runs = False
        self._messages = Messages(self, spawn)
        adapter.listen(self._messages.on_message)

    @property
    def executor(self) -> Any:
        """The executor of the application."""
        return self.adapter.executor

    def use(self, adapter: ExecutorAdapter) -> None:
        """Give new and waiting calls to another executor. The old one keeps those that it has."""
        with self.lock:
            self.adapter, self.prefetched.each = adapter, None
            for waiting in self._to_submit:
                waiting.adapter = adapter
        adapter.listen(self._messages.on_message)
        self._fail_lost()

    def redirect(self, successor: Pool) -> bool:
        """See :meth:`Pool.redirect`. The pool drops its reference to the executor."""
        retired = super().redirect(successor)
        if retired:
            self.adapter = ExecutorAdapter(None)
        return retired

    # -- acceptance --------------------------------------------------------------------------------

    def submit(self, task: Task[Any]) -> None:
        """See :meth:`Pool.submit`. If the call cannot be pickled, the task fails at once."""
        pack(task, self.adapter)
        return Pool.submit(self, task)

    def submit_many(self, tasks: Sequence[Task[Any]]) -> None:
        for task in tasks:
            pack(task, self.adapter)
        Pool.submit_many(self, tasks)

    # -- dispatch: all with the lock held ----------------------------------------------------------

    def _enqueue(self, task: Task[Any]) -> Deferred:
        if isinstance(task._context, TaskPicklingError):
            return self._attempt_ended(task, failure_of(task, task._context), None)
        self.run_queue.push(task)
        return self._dispatch_more()

    def _is_queued(self, task: Task[Any]) -> bool:
        call = self._call_of(task)
        if call is None or call.done:
            return True
        return self._take_back(call)

    def _take_back(self, call: Call) -> bool:
        """Let a prefetched task wait again. Return False if the giver has taken its call."""
        if not self._withdraw(call):
            return False
        call.task._extra_fields().placement = None
        self.run_queue.requeue([call.task])
        return True

    def _dispatch_more(self) -> Deferred:
        """Start the tasks that may start, and ask for a giver if there is none."""
        deferred: Deferred = []
        run_queue = self.run_queue
        if self.prefetched.calls:
            self._promote()
        if self.prefetched.calls:
            if (run_queue.waiting and run_queue.peek() is not None
                    and run_queue.head_priority() < self.prefetched.least_urgent):
                deferred += self._revoke(run_queue.head_priority())
        while True:
            task = run_queue.pop()
            if task is None:
                break
            self._add_call(task)
            self.lifecycle.start(task, perf_counter())
        if run_queue.waiting:
            self._prefetch()
        self.backpressure.wake_submitters()
        if self.adapter.is_shut_down():
            deferred.append(self._fail_lost)
        if self._to_submit and not self._submitter_running:
            self._submitter_running = True
            deferred.append(lambda: self._spawn(self._submit_all))
        return deferred

    def _add_call(self, task: Task[Any]) -> Call:
        call = Call(task, self.adapter)
        self._calls.add(call)
        self._to_submit.append(call)
        task._extra_fields().placement = call
        return call

    def _promote(self) -> None:
        """Give free slots to the prefetched calls, the first one first."""
        run_queue = self.run_queue
        while self.prefetched.calls:
            task = self.prefetched.calls[0].task
            if run_queue.active >= run_queue.slot_limit(task._spec.priority):
                break
            call = self.prefetched.calls.popleft()
            call.ahead = False
            run_queue.active += 1
            self.lifecycle.start(task, perf_counter())
            if call.submitted and task._spec.timeout is not None:
                super().arm_timeout(task)

    def _prefetch(self) -> None:
        """Send waiting tasks ahead, up to the limit of the function that stands first."""
        task = self.run_queue.peek()
        if task is None or task._spec.lane is not None or self.adapter.in_process:
            return
        count = self.prefetched.room(task._spec, self.run_queue.slots, self.adapter, self._calls)
        if count:
            for task in self.run_queue.pop_batch(task._spec, count, {}):
                self.prefetched.add(self._add_call(task))

    def _revoke(self, priority: int) -> Deferred:
        """Take back the prefetched calls that are less urgent than a priority."""
        asked: Deferred = []
        for call in [one for one in reversed(self.prefetched.calls)
                     if one.task._spec.priority > priority]:
            if not self._take_back(call) and not call.revoked and call.adapter.honest:
                call.revoked = True
                if call.handle is not None:     # else the giver sees the mark
                    asked.append(partial(self._cancel_call, call))
        return asked

    def arm_timeout(self, task: Task[Any]) -> None:
        """Do nothing: :meth:`_submit_all` arms the timeout when the executor gets the call."""

    def _freed(self, call: Call) -> None:
        """Release the slot of a call."""
        if call in self._calls:
            self._calls.discard(call)
            if call.ahead:
                call.ahead = False
                self.prefetched.calls.remove(call)
            else:
                self.run_queue.release(call.task)

    def _withdraw(self, call: Call) -> bool:
        """Take a call back. Return False if the giver has taken it already."""
        if call.submitted or call.done:
            return False
        call.done = True
        self._to_submit.remove(call)
        self._freed(call)
        return True

    def _call_of(self, task: Task[Any]) -> Call | None:
        extra = task._extra
        payload = None if extra is None else extra.placement
        return payload if isinstance(payload, Call) else None

    # -- giving: one pool thread -------------------------------------------------------------------

    def _submit_all(self) -> None:
        while True:
            taken: list[tuple[Any, ...]] = []
            with self.lock:
                self._giver_runs = True
                # Several at a time, as each use of the lock may have to wait for the threads of the
                # executor, which bring results.
                while self._to_submit and len(taken) < GIVEN_TOGETHER:
                    call = self._to_submit.popleft()
                    call.submitted = True
                    task = call.task
                    if not call.ahead and task._spec.timeout is not None and not task.done():
                        super().arm_timeout(task)
                    taken.append((call, *task._references()))
                if not taken:
                    self._submitter_running = self._giver_runs = False
                    return
            taken.reverse()
            while taken:
                self._send_bundle(self.prefetched.next_bundle(taken))
            del call, task

    def _send_bundle(self, bundle: list[tuple[Any, ...]]) -> None:
        calls: list[Call] = []
        entries: list[Entry] = []
        arguments: Any = ()
        for call, args, kwargs, packed in bundle:
            task, adapter = call.task, call.adapter
            if call.cancel_requested or call.revoked or task.done():
                self._returned(call, None, None, True)
                continue
            if not adapter.in_process:
                if packed is None:      # it was made for an executor with threads of this process
                    pack(task, self.adapter)
                    packed = task._context
                if not isinstance(packed, tuple):
                    self._returned(call, packed, None, False)
                    continue
                entries.append((*packed, task.id, max(1, task.attempts + call.ahead)))
            else:
                arguments = args, kwargs
            calls.append(call)
        del bundle
        if not calls:
            return
        adapter = calls[0].adapter

        def on_done(error: BaseException | None, value: Any, thrown_out: bool) -> None:
            self._bundle_returned(calls, error, value, thrown_out)

        if len(calls) > 1:
            for one in calls:
                one.bundle = calls
        try:
            handle = adapter.submit(*_form(calls[0], entries, arguments), on_done)
        except BaseException as error:
            for one in calls:
                self._returned(one, broken(one.task, adapter, error, "did not take"), None,
                               False)
            return
        # No lock: a canceller sets its mark first and reads the handle then. So one of the two sees
        # what the other has set, and if both do, the executor refuses the second cancel.
        for one in calls:
            one.handle = handle
            if one.done:
                one.handle = None
        for one in calls:
            if one.cancel_requested:
                self._cancel_call(one, warns=True)
            elif one.revoked:
                self._cancel_call(one)

    # -- the end of a call: the executor's threads -------------------------------------------------

    def _bundle_returned(self, calls: list[Call], error: BaseException | None, value: Any,
                         thrown_out: bool) -> None:
        if error is None and not thrown_out and not calls[0].adapter.in_process:
            if type(value) is not list or not 0 < len(value) <= len(calls):
                value = [value] * len(calls)        # it is no result of run_remote()
            for call, result in zip(calls, value):
                self._returned(call, None, result, False)
            # The worker gave the rest back, as a call took longer than expected.
            calls, thrown_out = calls[len(value):], True
            for call in calls:
                call.revoked = True
        if error is not None and len(calls) > 1 and calls[0].adapter.repeats:
            self._give_again(calls)
            return
        for call in calls[::-1 if thrown_out else 1]:
            self._returned(call, error, value, thrown_out)

    def _give_again(self, calls: list[Call]) -> None:
        """Give each call of a lost bundle by itself: only one of them has ended the worker."""
        with self.lock:
            for call in filterfalse(attrgetter("done"), calls):
                call.handle, call.bundle, call.alone, call.submitted = None, [], True, False
                self._to_submit.append(call)
            deferred = self._dispatch_more()
        run_deferred(deferred)

    def _returned(self, call: Call, error: BaseException | None, value: Any,
                  thrown_out: bool) -> None:
        """Handle the end of a call in the executor, or its refusal by the executor."""
        if self.is_reentrant():
            self.defer_to_thread(self._returned, call, error, value, thrown_out)
            return
        task = call.task
        if call.ahead and not thrown_out:
            self._overtake(call)
        if thrown_out:
            if call.cancel_requested or task.done():
                self._end(call, None, None, True)
                return
            if call.revoked:
                self._requeue(call)
                return
            self._overtake(call)
            error = broken(task, call.adapter, None, "has thrown out")
        elif error is None:
            try:
                kind, payload = value if call.adapter.in_process else unpack(task, value)
            except (TypeError, ValueError):
                error = broken(task, call.adapter, None,
                                     f"returned {class_name(type(value))} of its own for")
            else:
                if kind == ERROR:
                    error = payload
                value = payload
        elif not issubclass(type(error), (PoolBrokenError, TaskPicklingError)):
            attempts = call.adapter.attempts(error)
            error = lost(task, call.adapter, error)
            if attempts > 1:
                with self.lock:
                    task._extra_fields().attempts += attempts - 1
        if error is not None:
            self._end(call, error, None, is_cancellation(task, error))
        elif task._spec.callback is None or call.abandoned:
            self._end(call, None, value, False)
        else:
            self._spawn(lambda: self._end_with_callback(call, value))

    def _overtake(self, call: Call) -> None:
        """Start a prefetched task that has ended before calls that have slots."""
        with self.lock:
            if call.ahead and not call.done:
                self.prefetched.calls.remove(call)
                call.ahead = False
                self.run_queue.active += 1
                self.lifecycle.start(call.task, perf_counter())

    def _requeue(self, call: Call) -> None:
        """Let a task wait again whose call the executor has given back."""
        task = call.task
        with self.lock:
            is_cancelled = call.cancel_requested        # since the caller has looked
            deferred: Deferred = []
            if not is_cancelled:
                call.done, call.handle = True, None
                ahead = call.ahead
                self._freed(call)
                if not task.done() and self._call_of(task) is call:
                    task._extra_fields().placement = None
                    if not ahead:
                        self.lifecycle.revoke(task)
                    self.run_queue.requeue([task])
                deferred = self._dispatch_more()
        if is_cancelled:
            self._end(call, None, None, True)
        run_deferred(deferred)

    def _end_with_callback(self, call: Call, value: Any) -> None:
        """Call the ``callback`` in a pool thread, since it may block, and then end the task."""
        if not call.task.done():
            run_callback(call.task, value)
        self._end(call, None, value, False)

    def _end(self, call: Call, error: BaseException | None, value: Any, cancelled: bool) -> None:
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

    def _enter(self, call: Call, outcome: Any, pause: float | None, cancelled: bool) -> None:
        """Enter the outcome of a call into its task and release its slot."""
        task = call.task
        deferred: Deferred = []
        with self.lock:
            first = not call.done
            call.done = True
            call.handle = None
            self._freed(call)
            if (first and not call.abandoned and (task._status == STARTED or cancelled)
                    and self._call_of(task) is call):
                deferred = self._attempt_ended(task, outcome, pause, cancelled)
            else:
                drop_outcome(outcome)       # the task ended before
            deferred = self._dispatch_more() + deferred
        del outcome
        run_deferred(deferred)

    def _fail_lost(self) -> None:
        """End the calls of an executor that was terminated and reports no more ends."""
        with self.lock:
            lost = list(filter(Call.is_lost, self._calls))
        for call in lost:
            self._overtake(call)
            error = broken(call.task, call.adapter, None, "was terminated with")
            self._end(call, error, None, False)

    # -- cancel and timeout of a running task ------------------------------------------------------

    def cancel(self, task: Task[Any], begun: bool = True, end: int = CANCELED) -> bool:
        """See :meth:`Pool.cancel`. A prefetched call is cancelled if the executor can."""
        cancelled = super().cancel(task, begun, end)
        if cancelled or begun:
            return cancelled
        with self.lock:
            call = self._call_of(task)
            if call is None or not call.ahead or call.handle is None:
                return False
            call.cancel_requested = True
        self._cancel_call(call)
        call.cancel_requested = task.done()
        return task.status == CANCELED

    def _cancel_running(self, task: Task[Any]) -> Deferred:
        call = self._call_of(task)
        if call is None or call.done:
            return []
        if self._withdraw(call):
            return [*self._attempt_ended(task, None, None, cancelled=True),
                    *self._dispatch_more()]
        asked, call.cancel_requested = call.cancel_requested, True
        if asked or call.handle is None:
            return []                   # the giver cancels it as soon as it has the handle
        return [lambda: self._cancel_call(call, warns=True)]

    @staticmethod
    def _cancel_call(call: Call, warns: bool = False) -> None:
        """Cancel a call if the executor has not begun with it.

        :param warns: False if its task is final in any case, or is given back later.
        """
        handle, task = call.handle, call.task
        if call.done:
            return
        for other in call.bundle:
            other.revoked = True            # they go back to the run queue
        try:
            honoured = call.adapter.cancel(handle)
        except Exception as error:
            if warns:
                log.warning("the executor %s could not be asked to cancel task %s (%s): %s",
                            call.adapter.name, task.name, task.short_id, described(error))
            return
        if warns and not honoured and not call.done and not call.adapter.in_process:
            log.warning("task %s (%s) runs in the executor %s, which cannot end it: it goes on, "
                        "and its result counts", task.name, task.short_id, call.adapter.name)

    def _timeout_running(self, task: Task[Any], error: TaskTimeoutError,
                         pause: float | None) -> Deferred:
        call = self._call_of(task)
        deferred: Deferred = []
        if call is not None and not call.done:
            call.abandoned = call.cancel_requested = True
            if call.handle is not None:
                deferred.append(partial(self._cancel_call, call))
        name = self.adapter.name if call is None else call.adapter.name
        plain = TaskTimeoutError(f"task {task.name} ({task.short_id}) ran longer than its timeout "
                                 f"of {task._spec.timeout:g} s. The executor {name} cannot end a "
                                 "call that runs: it goes on there, keeps its place until it ends, "
                                 "and its result is dropped; have the function watch the time "
                                 "itself, or use the supervisor's own pool, which ends its "
                                 "processes")
        task._extra_fields().placement = None
        deferred += self._attempt_ended(task, failure_of(task, plain), pause)
        return deferred + self._dispatch_more()

    def _complete_running(self, task: Task[Any]) -> Deferred:
        call = self._call_of(task)
        if call is not None and self._withdraw(call):
            return self._dispatch_more()
        return []                       # its result will be ignored

    def _was_dispatched(self, task: Task[Any]) -> bool:
        call = self._call_of(task)
        return call is not None and not self._withdraw(call)

    def _resync(self, tasks: set[Task[Any]]) -> Deferred:
        for call in [call for call in self._calls if call.task in tasks and not call.submitted]:
            call.done = True
            self._calls.discard(call)
        self._to_submit = deque(call for call in self._to_submit if not call.done)
        self.prefetched.calls = deque(call for call in self._calls if call.ahead)
        self.run_queue.resync(len(self._calls) - len(self.prefetched.calls),
                              [call.task._spec.lane for call in self._calls
                               if call.task._spec.lane is not None])
        if not self._giver_runs:
            self._submitter_running = False        # the call that was to ask for it was interrupted
        return self._dispatch_more()

    # -- size and end ------------------------------------------------------------------------------

    @property
    def abandoned(self) -> int:
        """The number of abandoned calls that the executor still has."""
        return sum(1 for call in list(self._calls) if call.abandoned)

    def resize(self, pool_size: int, reserve_normal: int, reserve_high: int) -> None:
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
            for call in filterfalse(self._withdraw, list(self._calls)):
                call.abandoned = call.cancel_requested = True
            left = list(self._calls)
        ended = super().abandon_all()
        for call in left:
            if call.handle is not None:
                self._cancel_call(call)
        return ended

    def close(self, deadline: float | None) -> None:
        """Give up the live tasks. The executor belongs to the application and is not shut down."""
        abandoned = self.abandon_all()
        if abandoned:
            log.warning("%s: the executor %s still runs %d task(s), which were given up (%s)",
                        self.name, self.adapter.name, len(abandoned),
                        ", ".join(short_id(task_id) for task_id in abandoned))

    def reset_after_fork(self) -> None:
        """See :meth:`Pool.reset_after_fork`. The executor itself must handle the fork."""
        super().reset_after_fork()
        self._calls, self._to_submit, self.prefetched.calls = set(), deque(), deque()
        self._submitter_running = self._giver_runs = False
        self._messages.reset()

    def kill_all(self) -> None:
        """Do nothing: the processes belong to the executor."""


def _form(call: Call, entries: list[Entry],
          arguments: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Return the function and the arguments that an executor gets for calls of one function."""
    task, adapter, spec = call.task, call.adapter, call.task._spec
    if adapter.in_process:
        args, kwargs = arguments
        if spec.takes_id:
            kwargs = dict(kwargs or (), _task_id=task.id)
        return run_local, (task, child.undecorated(spec.target), args, kwargs)
    common = (spec.name, spec.options.retries, spec.takes_id, adapter.name, ORIGIN, adapter.python,
              adapter.topic, AHEAD_SECONDS)
    if adapter.as_bytes:
        return pickle.loads, (dumps(RunWhenLoaded((entries, common))),)
    return run_remote, (entries, common)
