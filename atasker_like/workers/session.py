"""A session: one start of a worker, up to its stop.

::

    event, put() ──> note ──> timer ──┐
    interval, delay ────────> timer ──┴─> step() ── due? ──> a run in a pool ──> step()
                                            └──── not due? ──> no thread, no slot; nothing polls

A session has one *ownership*, a token. Its holder decides whether a run is due, when the timer
calls next, and whether the session is over. A run takes the ownership with it, so there is one run
at a time. A thread that does not get the token returns at once: the holder looks for notes after it
has put the token back. So nothing blocks here, and no lock is taken: a request of a signal handler
or a finalizer is a note in a deque.

This relies on a deque's methods being one step each, on a free-threaded build too; see
:meth:`Session.step`.
"""
from __future__ import annotations

import sys
import threading
from collections import deque

from .. import _modes
from .._atomics import FREE_THREADED, RLock, Token
from .._log import log
from .._threads import start_thread
from ..engine.blocking import Latch
from ..engine.current import current, current_task
from ..engine.wait_graph import block_on
from ..supervisor.run_state import call_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from typing import Any, Callable

    from ..engine.task import Task
    from ..supervisor.supervisor import TaskSupervisor
    from .runners import Runner, RunWorker
    from .triggers import Trigger


#: A deadline before all others.
_NOW = float("-inf")


class _CurrentRun:
    """The task of the current run, in a sequence, for a wait that goes on from run to run."""

    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        self._session = session

    def __getitem__(self, part: int | slice) -> Any:
        task = self._session.task
        return ([] if task is None else [task])[part]


class Session:
    """One start of a worker.

    Any thread may call the methods that are not marked otherwise.
    """

    def __init__(self, runner: Runner) -> None:
        self._worker: RunWorker = runner.worker
        self._supervisor: TaskSupervisor = runner.worker.supervisor
        self._threads: Any = runner.threads
        self.timer: Any = self._threads.timer
        self.trigger: Trigger = runner.trigger
        #: Where a coroutine function runs.
        self.loop: asyncio.AbstractEventLoop | None = runner.spec.loop
        self._ownership = Token()
        self._step_requested = False        # the timer will call step()
        self._stop_token = Token()          # taken by the caller that stops the session
        #: The claim of the one session that follows: a handler may start the worker in the middle
        #: of another start.
        self.next_start: dict[str, object] = {}
        self.predecessor: Session | None = None     # until it is done
        self.active: bool = True            # not stopped
        self.announced: bool = False        # before_start() has returned
        self.begun: bool = False            # the predecessor is done
        self.ended: bool = False            # no run follows; after_stop() may still be called
        self.done: bool = False
        #: The thread in stop() calls after_stop(); else a pool thread does, after the last run.
        self._caller_closes: bool = False
        self._closing_thread: int | None = None
        self._close_token = Token()         # taken by the thread that calls after_stop()
        self._closed = False                # after_stop() has returned
        self._done_token = Token()          # taken by the thread that ends the session
        self._end_callbacks: deque[Callable[[], Any]] = deque()
        self.closer: int | None = None      # the thread that is in after_stop()
        self.busy: bool = False             # the function runs or is about to
        self.run_is_last: bool = False      # the current run has returned, and stops the worker
        self.task: Task[Any] | None = None
        # Guards _cancel_requested, and the task if it may run before it is recorded. An RLock: a
        # signal handler or a finalizer may stop the worker between two lines of its holder.
        self._cancel_lock = RLock()
        self._timer_ended = False           # end() was called: the timer makes no more calls
        self._cancel_requested = False      # the run has been asked to end, and no run follows
        self.caller: int | None = None      # the thread that is in code of the worker
        self.starter: int | None = threading.get_ident()    # the thread that is in start()
        self._done_callbacks: deque[Callable[[], Any]] = deque()
        self._idle_callbacks: deque[Callable[[], Any]] = deque()
        #: Taken by the caller that logs the items that are left in the queue.
        self.report_token: Token = Token()
        self.runner: Runner = runner
        runner.session = self

    # -- ownership ---------------------------------------------------------------------------------

    def request_step(self) -> None:
        """Have the timer call :meth:`step` soon.

        Signal handlers and finalizers may call this at any line.
        """
        # A caller leaves its note first and then looks at the token; the holder puts the token back
        # first and then looks for notes. Hence one of them sees the other. Without the
        # interpreter's lock, other threads may see a write and a read of two variables in either
        # order: there, every caller requests a step.
        if not FREE_THREADED and (self._step_requested or not self._ownership.is_there()):
            return
        self._step_requested = True
        try:
            self.timer.call_at(_NOW, self.step)
        except BaseException:
            self._step_requested = False
            raise

    def step(self) -> None:
        """Start what is due, unless another thread has the ownership.

        The timer's thread and the threads that end runs call this. Nothing interrupts them, and
        they are in no critical section.
        """
        while True:
            self._step_requested = False
            if not self.begun or not self._ownership.take():
                return
            if self._step() or (self.active and not self.trigger.may_be_due()):
                return

    def _step(self) -> bool:
        """Start a run, end the session, or put the ownership back. (ownership held)

        Return False if the ownership is back.
        """
        if self.active:
            if not self.trigger.is_due(self.timer.clock()):
                self.trigger.schedule(self)
                self._ownership.put_back()
                if self._idle_callbacks:
                    call_all(self._idle_callbacks)
                return False
            self.busy = True
            if self.runner.submit():
                return True
            self.fail("its supervisor takes no tasks any more")
        self._finish()
        return True

    def begin(self) -> None:
        """Begin, as the predecessor is done."""
        self.predecessor = None
        self.trigger.begin(self)
        self.begun = True
        self.timer.call_at(_NOW, self.step)
        if self._timer_ended:               # end() has come before, and could do nothing
            self.step()

    def run_ended(self) -> None:
        """Go on after a run. (ownership held)"""
        self.task = None
        self.busy = False
        self.trigger.run_ended(self.timer.clock())
        if not self._step() and (not self.active or self.trigger.may_be_due()):
            self.step()

    # -- stop --------------------------------------------------------------------------------------

    def stop_worker(self) -> None:
        """Stop the worker from within a run, by its ``stop()``."""
        self.run_is_last = True
        try:
            self._worker.stop(wait=False)
        except BaseException:
            log.exception("worker %s: its stop() raised", self._worker.name)
        self.stop_at_once()

    def stop_at_once(self) -> None:
        """Stop without the ``stop()`` and the hooks of the worker.

        Do nothing if the session is stopped.
        """
        if self.claim_stop():
            self.request_stop()

    def claim_stop(self) -> bool:
        """Return True for the first caller, which must call :meth:`request_stop` next."""
        return self._stop_token.take()

    def request_stop(self) -> None:
        """Have the session end: at once, or after the current run."""
        self.active = False
        # Not request_step(): the caller may be a signal handler that has interrupted that function
        # between two lines.
        self.timer.call_at(_NOW, self._stop_step)

    def _stop_step(self) -> None:
        """End the session, or have its run end. The timer calls this."""
        self.runner.withdraw()
        self.step()

    def fail(self, why: str) -> None:
        """Stop with an error in the log. (ownership held)"""
        if self.active and self._supervisor._supervisor_parts.state.is_running():
            log.error("worker %s is stopped: %s", self._worker.name, why)
        self.claim_stop()
        self.active = False

    def _finish(self) -> None:
        """End the session and keep the ownership. (ownership held)"""
        self.busy = False
        self.trigger.close(self)
        self.ended = True
        if self._caller_closes:
            call_all(self._end_callbacks)
        elif self._worker._worker_close_runs_code():
            self._threads.spawn(self._close)
        else:
            self._close()

    def _close(self) -> None:
        """Call the hook, unless that has been done, and end the session."""
        if self._close_token.take():
            self.closer = threading.get_ident()
            try:
                self._worker._worker_call_hook("after_stop", caught=BaseException)
            finally:
                self.closer = None
                self._closed = True
        self._end_if_closed()

    def caller_comes(self) -> None:
        """Leave the hook to this thread."""
        self._closing_thread = threading.get_ident()
        self._caller_closes = True

    def close_here(self, may_wait: bool, deadline: float | None) -> None:
        """Call ``after_stop()`` in this thread, as atasker does.

        The caller calls :meth:`caller_comes` before it requests the stop, and
        :meth:`caller_left` at last.

        :param may_wait: wait for the last run before that.
        :param deadline: of the wait. Past it, the run is asked to end.
        """
        if may_wait and not self._wait_ended(deadline):
            self.cancel()
        if self._close_token.take():
            self.closer = threading.get_ident()
            self._worker._worker_call_hook("after_stop")

    def caller_left(self) -> None:
        """End the session if its runs have ended; else the last run ends it.

        If the caller was interrupted before it called the hook, another thread calls it. An
        interrupted call may be repeated; it does nothing in a thread that did not come.
        """
        if self._closing_thread != threading.get_ident():
            return
        self.closer = None
        if not self._close_token.is_there():
            self._closed = True
        self._caller_closes = False
        if self.ended and not self.done:
            # The caller may be interrupted, or a signal handler in a critical section. The timer
            # may have been stopped.
            try:
                start_thread(self._close, ())
            except (RuntimeError, MemoryError):     # there is no thread to be had
                self._close()
        self._closing_thread = None

    def _wait_ended(self, deadline: float | None) -> bool:
        latch = Latch()
        self._end_callbacks.append(latch)
        return self.ended or latch.wait(deadline) or self.ended

    def _end_if_closed(self) -> None:
        """End the session, once, after the last run and the hook."""
        if not (self.ended and self._closed and self._done_token.take()):
            return
        worker = self._worker
        worker._worker_report_items_left()
        with worker._worker_start_lock:
            if worker._worker_session is self:     # else the next session is registered
                self._supervisor.unregister_sync_scheduler(worker)
        # A stopped worker keeps its last session. The session does not keep the arguments of the
        # function.
        self.runner.clear()
        self.ended = self.done = True
        call_all(self._end_callbacks)
        call_all(self._done_callbacks)
        call_all(self._idle_callbacks)

    def start_failed(self) -> None:
        """End a session whose start has raised."""
        if self.begun:
            self.stop_at_once()
            return
        self.claim_stop()
        self._close_token.take()            # no hook is called
        self.active = False
        self._closed = True
        if self.predecessor is None:
            self._end_aborted()
        else:
            self.predecessor.add_done_callback(self._end_aborted)

    def _end_aborted(self) -> None:
        self.ended = True
        self._end_if_closed()

    def end(self) -> None:
        """End when the timer calls no more.

        Only a thread that nothing interrupts may call this.
        """
        self.claim_stop()
        self.active = False
        self._timer_ended = True
        predecessor = self.predecessor
        if predecessor is not None:
            predecessor.end()
        self.step()

    def cancel(self) -> None:
        """Ask the current run to end, also while its task is being submitted."""
        predecessor = self.predecessor
        if predecessor is not None:
            predecessor.cancel()
        with self._cancel_lock:
            self._cancel_requested = True
            task = self.task
        # A task that its pool has not accepted yet is cancelled by the submitter afterwards.
        if task is not None and hasattr(task, "_number"):
            task.cancel()

    def run_submitted(self, task: Task[Any]) -> None:
        """Record the task of a run that may have begun already."""
        with self._cancel_lock:
            self.task = task
        self.cancel_if_requested(task)

    def cancel_if_requested(self, task: Task[Any]) -> None:
        """Cancel a task that has just been submitted, if :meth:`cancel` came before it."""
        with self._cancel_lock:
            cancels = self._cancel_requested
        if cancels:
            task.cancel()

    # -- waiting -----------------------------------------------------------------------------------

    def is_over(self) -> bool:
        """Return True after the last run and the hook.

        In the position of atasker, return True as soon as no run follows, also in the hook.
        """
        return self.done or _modes.legacy and (self.ended or self.run_is_last)

    def add_done_callback(self, callback: Callable[[], None]) -> None:
        """Have a short call made when the session is done; now, if it is."""
        self._done_callbacks.append(callback)
        if self.done:
            call_all(self._done_callbacks)

    def wait(self, deadline: float | None) -> bool:
        """Block until the session is done or the deadline passes.

        :return: True if it is done.
        :raises WaitDeadlockError: the current run waits for the calling task.
        """
        latch = Latch()
        self.add_done_callback(latch)
        return self._block(latch, deadline) or self.done

    def _block(self, latch: Latch, deadline: float | None) -> bool:
        """Block for a latch that cannot open before the current run has ended."""
        if current.pool_thread is None and current.calls is None:
            return latch.wait(deadline)
        runs: Any = _CurrentRun(self)
        return block_on(runs, latch.acquire, deadline, deadline is None)

    def wait_idle(self, is_settled: Callable[[], bool], deadline: float | None) -> bool:
        """Block until the session is idle and ``is_settled()`` holds, or is done.

        Idle means that nothing runs or is due.

        :return: False if the deadline passes first.
        :raises WaitDeadlockError: the current run waits for the calling task.
        """
        while True:
            latch = Latch()
            if self.is_idle(is_settled, latch):
                return True
            if not self._block(latch, deadline):
                return False

    def is_idle(self, is_settled: Callable[[], bool], callback: Callable[[], Any]) -> bool:
        """Return True if the session is idle, as in :meth:`wait_idle`, or is done.

        Else the callback, a short call, is made when that may be so.
        """
        self._idle_callbacks.append(callback)
        # In this order: an item leaves a note before it settles anything. The holder of the
        # ownership serves all notes, puts the ownership back, and then makes the call.
        return self.done or (self.begun and is_settled() and not self.trigger.may_be_due()
                             and not self.trigger.is_overdue(self.timer.clock())
                             and self._ownership.is_there())

    def is_inside(self) -> bool:
        """Return True in code of the worker, and in its loop."""
        if threading.get_ident() in (self.caller, self.closer, self.starter):
            return True
        if self.loop is not None:
            events = sys.modules.get("asyncio.events")
            return events is not None and events._get_running_loop() is self.loop
        task = current_task()
        return getattr(getattr(task, "_spec", None), "worker", None) is self._worker
