"""The coroutine pool.

A loop interleaves coroutines, so they need no slots: the run queue of this pool has no limit. A
task is STARTED when its loop has begun with it. Only a task of a lane waits in the run queue.
"""
from __future__ import annotations

import sys
from contextvars import copy_context
from functools import partial
from time import perf_counter

from .._inspect import name_of, traceback_of
from ..constants import TaskType
from ..engine.current import current, current_coroutine_task, task_of_inner_loop
from ..engine.deferred import run_deferred
from ..engine.lifecycle import (drop_outcome, failure_of, is_cancellation, report_late_error,
                                retry_pause, run_callback)
from ..engine.loop_mailbox import mailbox_of
from ..engine.result import with_traceback, without_first
from ..engine.run_queue import RunQueue
from ..engine.spec import TaskSpec
from ..engine.task import CANCELED, COMPLETED, DELAYED, QUEUED, STARTED, Task
from ..errors import SupervisorStoppedError
from ..loops import ALoop, LoopRegistry
from ..options import TaskOptions
from .base import Pool

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from typing import Any, Callable, Coroutine, Iterable, Sequence

    from ..engine.deferred import Deferred
    from ..engine.loop_mailbox import LoopMailbox
    from ..engine.timer import Timer
    from ..errors import TaskTimeoutError


#: An asyncio task can make its first step when it is made.
_EAGER_STEPS = sys.version_info >= (3, 12)


class _MadeCoroutine:
    """The target of a task that is made of a coroutine."""

    def __init__(self, coro: Coroutine[Any, Any, Any]) -> None:
        self.__qualname__: str = name_of(coro)
        self._coro: Coroutine[Any, Any, Any] | None = coro

    def __call__(self) -> Coroutine[Any, Any, Any]:
        coro, self._coro = self._coro, None
        assert coro is not None
        return coro

    def close(self, _: Task[Any]) -> None:
        """Close a coroutine that never ran, so that Python does not warn."""
        if self._coro is not None:
            self._coro.close()


class CoroutinePool(Pool):
    """Runs the coroutines of tasks, each in the loop of its task."""

    tt = TaskType.COROUTINE

    def __init__(self, name: str, timer: Timer, wake_up: Callable[[], None],
                 spawn: Callable[[Callable[[], None]], None], loops: LoopRegistry) -> None:
        super().__init__(name, timer, wake_up, spawn, RunQueue(0))
        self._loops = loops
        #: The tasks whose coroutine runs, and those that have left the run queue, with the mailbox
        #: of their loop.
        self._running: dict[Task[Any], LoopMailbox] = {}

    def is_reentrant(self) -> bool:
        return Pool.is_reentrant(self) or self._loops.is_starting_here()

    def start_coroutine(self, coro: Coroutine[Any, Any, Any], loop: ALoop) -> Task[Any]:
        """Make a task of a coroutine, submit it and return it."""
        made = _MadeCoroutine(coro)
        task: Task[Any] = Task(TaskSpec(self, made, TaskOptions(), self.tt, loop=loop), (), None,
                               copy_context())
        task._extra_fields().callbacks = [made.close]
        return task if self.submit(task) is None else task  # type: ignore[func-returns-value]

    def submit(self, task: Task[Any]) -> None:
        if not self.is_reentrant():        # else the thread that submits it chooses
            self._choose_loop(task)
        return Pool.submit(self, task)

    def submit_many(self, tasks: Sequence[Task[Any]]) -> None:
        if not self.is_reentrant():
            for task in tasks:
                self._choose_loop(task)
        Pool.submit_many(self, tasks)

    def submit_unchecked(self, task: Task[Any]) -> bool:
        """See :meth:`Pool.submit_unchecked`. The loop of the task runs."""
        task._extra_fields().placement = [mailbox_of(self._loops.resolve(task._spec.loop)), None]
        return Pool.submit_unchecked(self, task)

    def start_inline(self, task: Task[Any], mailbox: LoopMailbox) -> bool:
        """Accept a task without options in its loop, and begin with it before returning.

        If other tasks of its lane come first, the task is accepted and waits.

        :param task: a task whose function is :attr:`TaskSpec.fast_finish`.
        :param mailbox: of the running loop, which calls this.
        :return: False, without accepting the task, if it belongs to another loop or the pool
            accepts no tasks.
        """
        loop = mailbox.loop
        if loop is None or not self._loops.is_same_loop(task._spec.loop, loop):
            return False
        extra = task._extra_fields()
        payload = extra.placement = [mailbox, None]
        with self.lock:
            if not self.accepting:
                return False
            self.registry.add(task)
            if not self.run_queue.try_acquire(task):
                self.run_queue.push(task)
                deferred = self._dispatch_more(loop)
            else:
                deferred = None
                self._running[task] = mailbox
                self.lifecycle.start(task, perf_counter())
                extra.running = extra.attempts
        if deferred is None:
            self._start_coroutine(task, task._references(), payload, extra.attempts, True)
        else:
            run_deferred(deferred)
        return True

    def _choose_loop(self, task: Task[Any]) -> None:
        if not self.accepting:
            self._ensure_started()         # first: no loop is started for a task that is refused
        # The mailbox of its loop, and its asyncio task.
        task._extra_fields().placement = [mailbox_of(self._loops.resolve(task._spec.loop)), None]

    def _enqueue(self, task: Task[Any]) -> Deferred:
        if task._spec.lane is None:
            return [lambda: self._post(task)]
        self.run_queue.push(task)
        return self._dispatch_more()

    def _enqueue_many(self, tasks: Iterable[Task[Any]]) -> Deferred:
        deferred: Deferred = []
        for task in tasks:
            if task._spec.lane is None:
                deferred.append(partial(self._post, task))
            else:
                self.run_queue.push(task)
        return deferred + self._dispatch_more()

    def _dispatch_more(self, here: asyncio.AbstractEventLoop | None = None) -> Deferred:
        """Take the tasks that may start from the run queue. (lock held)

        :param here: the loop that makes this call. It begins with its own tasks without a message.
        """
        deferred: Deferred = []
        while self.run_queue.waiting:
            task = self.run_queue.pop()
            if task is None:
                break
            # an earlier attempt, which has timed out, has not ended yet
            if task in self._running:
                self.run_queue.release(task)
                task._extra_fields().running = 0
            self._running[task] = mailbox = task._extra_fields().placement[0]
            if here is not None and mailbox.loop is here:
                deferred.append(partial(self._begin, task, False))
            else:
                deferred.append(partial(self._post, task))
        self.backpressure.wake_submitters()
        return deferred

    def _post(self, task: Task[Any]) -> None:
        payload = _payload_of(task)
        if payload is not None and not payload[0].post(self._begin, task):
            self.abandon_closed()

    def abandon_closed(self) -> None:
        """End the tasks whose loop has been closed."""
        self._end_tasks(all_loops=False)

    def abandon_all(self) -> list[str]:
        """See :meth:`Pool.abandon_all`."""
        return self._end_tasks(all_loops=True)

    def _without_loop(self, all_loops: bool) -> list[Task[Any]]:
        """Return the ended tasks whose coroutine has a closed loop, or any. (lock held)"""
        return [task for task, mailbox in self._running.items() if task.done()
                and (all_loops or mailbox.loop is None or mailbox.loop.is_closed())]

    def _end_tasks(self, all_loops: bool) -> list[str]:
        ended = []
        with self.lock:
            for task in list(self.registry.live.values()):
                extra = task._extra
                if extra is None or extra.placement is None or task._status == DELAYED:
                    continue
                loop = extra.placement[0].loop
                if loop is not None and not loop.is_closed() and not all_loops:
                    continue
                held = task._references()
                if task._status == STARTED:
                    self._leave(task)
                    extra.running = 0           # its coroutine has no effect any more
                    waiters = self.lifecycle.finish(task, CANCELED, perf_counter())
                else:
                    error = SupervisorStoppedError(f"the loop of task {task.name} "
                                                   f"({task.short_id}) was closed; the coroutine "
                                                   "never ran")
                    waiters = self.lifecycle.finish(task, COMPLETED, perf_counter(),
                                              failure_of(task, error))
                    self._leave_line(task)
                ended.append((task, held, waiters))
            for task in self._without_loop(all_loops):
                task._extra_fields().running = 0    # its cancelled coroutine has not ended
                self._leave(task)
            deferred = self._dispatch_more()
        for task, held, waiters in ended:
            self.lifecycle.notify(task, waiters, inline=False)
        run_deferred(deferred)
        return [task.id for task, _, _ in ended]

    def _begin(self, task: Task[Any], eagerly: bool = True) -> None:
        """Mark a task as started and start its coroutine. For the loop's thread.

        :param eagerly: False if another coroutine is ending, so that coroutines do not run inside
            one another.
        """
        with self.lock:
            if task._status != QUEUED:
                return
            extra = task._extra_fields()
            if task not in self._running:       # else it came through the run queue
                self.run_queue.acquire(task)
                self._running[task] = extra.placement[0]
            self.lifecycle.start(task, perf_counter())
            extra.running = extra.attempts
            call, payload, attempt = task._references(), extra.placement, extra.attempts
        self._start_coroutine(task, call, payload, attempt, eagerly)

    def _start_coroutine(self, task: Task[Any], call: Any, payload: Any, attempt: int,
                         eagerly: bool) -> None:
        """Run the coroutine of a task that is marked as started. For the loop's thread.

        From Python 3.12 on, this makes the first step if it can. That saves one iteration of the
        loop, and a coroutine that awaits nothing has ended when this returns.
        """
        import asyncio  # cheaper than names from it, as it is a package

        loop = payload[0].loop
        context = copy_context() if call[2] is None else call[2].copy()
        drive: Coroutine[Any, Any, None] | None = None
        try:
            if eagerly and _EAGER_STEPS and _makes_plain_tasks(loop):
                drive = self._run_coroutine(task, call, attempt, None)
                make: Any = asyncio.Task      # whose arguments are not the same in every version
                running = make(drive, loop=loop, context=context, eager_start=True)
                if running.done():
                    return
            else:
                unstarted = partial(self._ended_early, task, attempt)
                drive = self._run_coroutine(task, call, attempt, unstarted)
                running = context.run(loop.create_task, drive)
                running.add_done_callback(unstarted)
        except BaseException as error:
            # there is no memory, or the task factory of the loop raised
            if drive is not None:
                drive.close()
            self._end_run(task, attempt, None, error, False)
            return
        with self.lock:
            payload[1] = running
            too_late = task._status != STARTED or task._extra_fields().cancel_requested
        if too_late:
            running.cancel()

    def _ended_early(self, task: Task[Any], attempt: int, running: Any) -> None:
        """End a task whose asyncio task was cancelled before its first step."""
        if task._extra_fields().running == attempt:
            self._end_run(task, attempt, None, None, True)

    async def _run_coroutine(self, task: Task[Any], call: Any, attempt: int,
                     unstarted: Callable[[Any], None] | None) -> None:
        import asyncio

        if unstarted is not None:
            running = asyncio.current_task()
            if running is not None:         # None in a loop whose tasks are not asyncio's own
                running.remove_done_callback(unstarted)     # saves an iteration of the loop
            del running, unstarted          # the first would be a cycle
        current_coroutine_task.set(task)
        pool_thread = current.pool_thread
        if pool_thread is not None and pool_thread.task is not None:   # a loop in a task's thread
            task_of_inner_loop.set((pool_thread.task, task))
        del pool_thread
        value: Any = None
        error: BaseException | None = None
        cancelled = False
        try:
            value = await task._spec.target(*call[0], **(call[1] or {}))
        except asyncio.CancelledError:
            cancelled = True
        except BaseException as raised:
            error = raised
            with_traceback(error, without_first(traceback_of(raised)))
        try:
            self._end_run(task, attempt, value, error, cancelled)
        finally:
            del call, value, error

    def _end_run(self, task: Task[Any], attempt: int, value: Any, error: BaseException | None,
                 cancelled: bool) -> None:
        pause = None
        outcome = value
        if error is not None:
            cancelled = cancelled or is_cancellation(task, error)
            pause = retry_pause(task, error)
            outcome = failure_of(task, error)
        elif not cancelled and task._spec.callback is not None and not task.done():
            run_callback(task, value)
        deferred: Deferred = []
        with self.lock:
            extra = task._extra_fields()
            first = extra.running == attempt
            here = None
            if first:
                here = self._running.pop(task).loop     # which makes this call
                extra.running = 0
                self.run_queue.release(task)
            is_late = not first or task._status != STARTED
            if not is_late:
                deferred = self._attempt_ended(task, outcome, pause, cancelled)
            else:
                drop_outcome(outcome)       # the task ended before
            if task._spec.lane is not None:
                deferred = self._dispatch_more(here) + deferred
        if error is not None and is_late and not cancelled:
            report_late_error(task, error)
        run_deferred(deferred)

    def loop_of(self, task: Task[Any]) -> Any:
        payload = _payload_of(task)
        return None if payload is None else payload[0].loop

    def asyncio_task_of(self, task: Task[Any]) -> Any:
        payload = _payload_of(task)
        return None if payload is None else payload[1]

    def _removed_from_queue(self, tasks: Sequence[Task[Any]]) -> Deferred:
        for task in tasks:
            self._leave_line(task)
        return self._dispatch_more()

    def _leave_line(self, task: Task[Any]) -> None:
        """Remove a QUEUED task that has become final.

        Without a lane it is in no queue: the loop skips it.
        """
        if task._spec.lane is not None:
            if self._was_posted(task):
                self._leave(task)
            else:
                self.run_queue.discard(task)

    def _was_posted(self, task: Task[Any]) -> bool:
        """Return True if a QUEUED task has its slot. (lock held)

        An earlier attempt that has timed out, and still runs, may have a slot as well.
        """
        return task in self._running and not task._extra_fields().running

    def _leave(self, task: Task[Any]) -> None:
        if self._running.pop(task, None) is not None:
            self.run_queue.release(task)

    def _resync(self, tasks: set[Task[Any]]) -> Deferred:
        for task in tasks:
            if not task._extra_fields().running:
                self._running.pop(task, None)
        standing = self.run_queue.waiting_tasks()
        self.run_queue.requeue([task for task in self.registry.live.values()
                                  if task._spec.lane is not None
                                  and task._status == QUEUED and task not in standing
                                  and task not in self._running])
        self.run_queue.resync(len(self._running), [task._spec.lane for task in self._running
                                                   if task._spec.lane is not None])
        # These may have been posted; a second post does no harm.
        again: Deferred = [partial(self._post, task) for task in self._running
                           if task._status == QUEUED and self._was_posted(task)]
        return again + self._dispatch_more()

    def _stop(self, task: Task[Any]) -> Deferred:
        payload = _payload_of(task)
        if payload is None or payload[1] is None:
            return []
        mailbox, running = payload
        return [lambda: mailbox.post(lambda _: running.cancel(), None)]

    _cancel_running = _complete_running = _stop

    def _timeout_running(self, task: Task[Any], error: TaskTimeoutError,
                         pause: float | None) -> Deferred:
        return self._stop(task) + self._attempt_ended(task, failure_of(task, error), pause)

    def reset_after_fork(self) -> None:
        """See :meth:`Pool.reset_after_fork`."""
        super().reset_after_fork()
        self._running = {}


def _payload_of(task: Task[Any]) -> Any:
    """Return a list of the mailbox of a task's loop and its asyncio task, or None."""
    extra = task._extra
    return None if extra is None else extra.placement


def _makes_plain_tasks(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return loop.get_task_factory() is None
    except (AttributeError, NotImplementedError):
        # a loop that is not asyncio's need not have it
        return False
