"""A session: one start of a worker, up to its stop.

::

    trigger, put ──> calls ──> timer ──┐
    interval, delay ─────────> timer ──┴─> step() ── something to do? ──> a task in a pool ──> look again
                                              └────── nothing? ──> rests: no thread, no place, nothing polls

There is one *key* to a session. Whoever holds it decides: whether there is something to do, when the timer is to look
again, whether the session is over. A task that runs the function has it with it, so there is one run at a time. Who does
not get the key goes away, since who has it looks again after he has put it back. So nobody waits here, and no lock is
taken: whatever a signal handler or a finalizer asks of a worker is a note in a deque, and the timer's to see to.

All of this relies on a deque's methods being one step each, on a free-threaded build too; see :meth:`Session.step`.
"""
from __future__ import annotations

import sys
import threading
from collections import deque
from contextvars import Context, copy_context
from time import perf_counter

from .._atomics import Token
from .._inspect import shown, text_of
from .._log import log
from ..constants import TT_COROUTINE, TT_MP, TT_THREAD
from ..engine.blocking import Latch, block
from ..engine.current import current_task
from ..engine.spec import TaskSpec
from ..engine.task import CANCELED, Task
from ..errors import SupervisorStoppedError, TaskCancelledError
from ..options import TaskOptions
from .triggers import ContinuousTrigger, QueueTrigger

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from typing import Any, Callable, Generator

    from ..constants import TaskType
    from .base import BackgroundWorker
    from .triggers import Trigger

__all__ = ["RESTARTS", "Session"]

#: When a worker goes on after a run that failed, or returned False.
RESTARTS = ("always", "on_failure", "never")

#: Seconds that a worker keeps a place for when other tasks wait for one.
SLICE = 0.001

#: Before all else that the timer has to do.
_NOW = float("-inf")

#: Without the interpreter's lock, a write of one variable and a read of another may be seen in either order by
#: others: who wants a look asks for it then, whatever it looks like.
_ORDERED: bool = getattr(sys, "_is_gil_enabled", lambda: True)()


class _Run:
    """Who takes a run further when both its task has ended and its function has returned; in either order, since a
    task may be cancelled, given up, or declared completed."""

    __slots__ = ("_beginning", "_end", "task", "accepted", "item")

    def __init__(self) -> None:
        self.task: Task[Any] | None = None
        self.item: tuple[Any, ...] | None = None    # what it is for, where that is taken before the task begins
        self._beginning = Token()
        self._end = Token()
        self.accepted = False       # by the pool: its task can be cancelled

    def begin(self) -> bool:
        """The first to call it: the function, which then runs, or whoever sees to it that it never does."""
        return self._beginning.take()

    def is_last(self) -> bool:
        """False for the first of the two that end, True for the second."""
        return not self._end.take()


class _Yield:
    """Awaited, it lets others in the loop have their turn."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class Session:
    """One start of a worker. Methods may be called from any thread, unless they say who may."""

    def __init__(self, worker: BackgroundWorker, trigger: Trigger, tt: TaskType, function: Callable[..., Any],
                 args: tuple[Any, ...], kwargs: dict[str, Any], wants_id: bool,
                 to_result: Callable[[Any], Any] | None, loop: asyncio.AbstractEventLoop | None) -> None:
        supervisor = worker.supervisor
        self._worker = worker
        self.trigger = trigger
        self._supervisor = supervisor
        self._threads: Any = supervisor.pool_for(TT_THREAD)
        self._pool: Any = supervisor.pool_for(tt)
        self.timer = self._pool.timer
        self._function = function
        self._args = args
        self._kwargs = kwargs
        self._to_result = to_result         # process_result of a static function, which may run in a process
        self.loop = loop                    # where a coroutine function runs
        self._context = copy_context()
        self._in_process = tt == TT_MP
        self._wants_id = wants_id and not self._in_process      # a process gives it by itself
        target = function if self._in_process else self._in_loop if tt == TT_COROUTINE else self._in_thread
        self._spec = TaskSpec(self._pool, target, TaskOptions(name=worker.name, priority=worker.priority), tt,
                              loop=loop, worker=worker, takes_id=wants_id and self._in_process)
        supervisor._supervisor_parts.specs.watch(self._spec)
        self._start = supervisor._supervisor_parts.specs.starter(self._spec)
        #: A subclass of the supervisor has a put_task() of its own, which submits each run.
        self._puts = tt == TT_THREAD and self._start != self._pool.start
        self._ownership = Token()
        self._step_requested = False                # the timer has been asked to look
        self._end_token = Token()            # taken by who ends the session: there is one who does
        #: Taken by the one session that follows: a handler may start the worker in the middle of a start of it.
        self.successor_token = Token()
        self.predecessor: Session | None = None     # while that is not over
        self.active = True                  # it is to go on
        self.begun = False                  # the session before it is over
        self.done = False
        self.busy = False                   # the function runs, or is about to
        self.task: Task[Any] | None = None
        self._run: _Run | None = None      # where the function runs in this process
        self._caller: int | None = None    # the thread that is in code of the worker's own
        self.starter: int | None = threading.get_ident()   # the thread that is in start(), until it has begun
        self._done_callbacks: deque[Callable[[], None]] = deque()
        self._idle_callbacks: deque[Callable[[], None]] = deque()
        #: Taken by the one that logs which items are left in the queue.
        self.report_token = Token()
        self._restarts: deque[float] = deque()    # when the last ones were, where they are bounded

    # -- the key -------------------------------------------------------------------------------------

    def clock(self) -> float:
        """Return the time as deadlines are given."""
        now: float = self.timer.clock()
        return now

    def request_step(self) -> None:
        """Have the timer look soon. Signal handlers and finalizers may call it at any line."""
        # Who has noted something looks at the key; who has put the key back looks for notes. One of them sees it.
        if _ORDERED and (self._step_requested or not self._ownership.is_there()):
            return
        self._step_requested = True
        try:
            self.timer.call_at(_NOW, self.step)
        except BaseException:
            self._step_requested = False
            raise

    def step(self) -> None:
        """See what is to be done, unless somebody does already. Called by the timer's thread and by those that end
        runs: nothing interrupts them, and they are in no critical section."""
        while True:
            self._step_requested = False
            if not self.begun or not self._ownership.take():
                return
            if self._step() or (self.active and not self.trigger.may_be_due()):
                return

    def _step(self) -> bool:
        """(ownership held). False when it has been put back; True when a run has it, or the session is over."""
        if self.active:
            if not self.trigger.is_due(self.clock()):
                self.trigger.schedule(self)
                self._ownership.put_back()
                _call_all(self._idle_callbacks)
                return False
            self.busy = True
            if self._submit():
                return True
            self._fail("its supervisor takes no tasks any more")
        self._finish()
        return True

    def begin(self) -> None:
        """The session before this one is over."""
        self.predecessor = None
        self.trigger.begin(self)
        self.begun = True
        self.timer.call_at(_NOW, self.step)

    # -- a run ---------------------------------------------------------------------------------------

    def _submit(self) -> bool:
        """Have the function run, and the key with it; False when that cannot be."""
        if self._in_process:
            # What crosses to a process is pickled by who sends it: that is the application's code, and may take long.
            self._threads.beside(self._send)
            return True
        run = _Run()
        if self._puts:
            self._run = run
            self._threads.beside(lambda: self._put(run))
            return True
        task: Task[Any] = Task(self._spec, (run,), None, self._context.copy())
        task._watchers = [lambda: self._task_ended(run, task)]
        self.task = run.task = task
        self._run = run
        try:
            if not self._pool.admit(task):
                return False
        except Exception as error:          # the loop is gone
            log.error("worker %s: %s", self._worker.name, error)
            return False
        run.accepted = True
        if not self.active:
            self._withdraw_run(run)            # request_stop() may have come too early for that
        return True

    def _put(self, run: _Run) -> None:
        """In a pool thread, beside the places: have the function run by a put_task() of the application."""
        began = perf_counter()
        if self.active:
            self._caller = threading.get_ident()
            run.item = self._worker._next_item(self.trigger)
            self._caller = None
        if run.item is None:
            run.begin()
            self._run_ended()
            return
        try:
            task: Any = self._context.copy().run(self._start, self._spec, (run,), None)
            if not isinstance(task, Task):
                self._fail(f"put_task() of its supervisor returned {shown(task)} instead of a task")
        except SupervisorStoppedError:
            task = None
            if run.begin():
                self._keep_item(run)
                self._fail("its supervisor takes no tasks any more")
                self._run_ended()
                return
        except BaseException as error:
            task = None
            log.exception("worker %s: put_task() of its supervisor raised %s; the run is left out", self._worker.name,
                          type(error).__name__)
            if self.active and not self._may_restart("could not be submitted", began):
                self.stop_worker()
        if isinstance(task, Task):
            self.task = run.task = task
            run.accepted = True
            task.add_done_callback(lambda task: self._task_ended(run, task))
            if not self.active:
                self._withdraw_run(run)
        elif run.begin():
            self._worker._item_done(self.trigger)
            self._note_queue()
            self._run_ended()
        elif run.is_last():                 # it was submitted all the same
            self._run_ended()

    def _withdraw_run(self, run: _Run) -> None:
        """A run that has not begun never does: the session need not wait until there is a place for it."""
        task = run.task
        if task is not None and run.accepted and run.begin():
            task.cancel()
            self._keep_item(run)
            self._function_ended(run)

    def _keep_item(self, run: _Run) -> None:
        """What a run was for that never began is for a later one."""
        item, run.item = run.item, None
        if item is not None:
            self._worker._return_item(item, self.trigger)

    def _task_ended(self, run: _Run, task: Task[Any]) -> None:
        """The task is final. Called with no lock held, by whoever made it so."""
        never_ran = run.begin()
        if task._status == CANCELED:
            if isinstance(self.trigger, ContinuousTrigger):
                self._fail("its task was cancelled")
        elif never_ran:
            error = task.exception(0)
            if error is not None:
                self._fail(text_of(error))
        if never_ran:
            self._keep_item(run)
            self._note_queue()
        if never_ran or run.is_last():
            self._run_ended()

    def _function_ended(self, run: _Run) -> None:
        if run.is_last():
            self._run_ended()

    def _run_ended(self) -> None:
        """(ownership held): the run is over."""
        self.task = self._run = None
        self.busy = False
        self.trigger.run_ended(self.clock())
        if not self._step() and (not self.active or self.trigger.may_be_due()):
            self.step()

    def _in_thread(self, run: _Run) -> None:
        """In a pool thread, as the target of a task."""
        if not run.begin():
            return
        if self.task is None:
            self.task = current_task()      # put_task() has not returned yet
        item, run.item = run.item, None
        try:
            if isinstance(self.trigger, ContinuousTrigger) and self._to_result is None:
                self._repeat()
                return
            began = perf_counter()
            while self._run_once(item) and self.active:
                item = None
                if self._puts and not isinstance(self.trigger, ContinuousTrigger):
                    self._note_queue()
                    return          # a task for each run
                if self._pool.admission.waiting and perf_counter() - began > SLICE:
                    self._note_queue()
                    return          # others wait for the place: behind them
                if not self.trigger.may_repeat():
                    return
        finally:
            self._function_ended(run)

    def _repeat(self) -> None:
        """Run the function of a plain worker again and again, in one slot, until another task may have that.

        Everything that stays the same is looked up once: a run that does nothing costs a few operations beside its call.
        """
        worker, function, args, keywords = self._worker, self._function, self._args, self._keywords()
        admission, clock = self._pool.admission, perf_counter
        self._caller = threading.get_ident()
        try:
            began = worker.last_executed = clock()
            until = began
            while True:
                try:
                    result = function(*args, **keywords)
                except BaseException as error:
                    self._failed(error, began)
                    result = None
                    if not self.active or not self.trigger.may_repeat():
                        return
                    now = clock()
                else:
                    if result is False:
                        self._returned(result, began)
                        if not self.active or not self.trigger.may_repeat():
                            return
                        now = clock()
                    else:
                        now = clock()
                        worker._runs += 1
                        if not self.active:
                            worker._last_duration = now - began
                            return
                if now > until:             # once a millisecond, or after each run if it takes longer
                    worker._last_duration = now - began
                    if admission.waiting and self._pool.wants_slot():
                        return              # behind what waits for the slot
                    until = now + SLICE
                began = worker.last_executed = now
        finally:
            self._caller = None

    def _note_queue(self) -> None:
        """A run ends that has not looked whether there is more to do."""
        if isinstance(self.trigger, QueueTrigger):
            self.trigger.note()

    def _run_once(self, item: tuple[Any, ...] | None) -> bool:
        """Run the function for an item that has been taken, or the next one; False when there is none."""
        worker = self._worker
        self._caller = threading.get_ident()
        try:
            if item is None:
                item = worker._next_item(self.trigger)
            if item is None:
                return False
            began = worker.last_executed = perf_counter()
            try:
                result = self._function(*item, *self._args, **self._keywords())
                if self._to_result is not None and result is not False:
                    result = self._to_result(result)
            except BaseException as error:
                self._failed(error, began)
            else:
                self._returned(result, began)
            finally:
                worker._item_done(self.trigger)
        finally:
            self._caller = None
        return True

    async def _in_loop(self, run: _Run) -> None:
        """In a loop, as the target of a task."""
        from asyncio import CancelledError

        if not run.begin():
            return
        worker = self._worker
        try:
            while True:
                item = worker._next_item(self.trigger)
                if item is None:
                    return
                began = worker.last_executed = perf_counter()
                try:
                    result = await self._function(*item, *self._args, **self._keywords())
                except CancelledError:
                    worker._count(perf_counter() - began)
                    self._note_queue()
                    if self.active and not self._was_asked_to_end():
                        log.exception("worker %s: a run of it was cancelled, by what it awaited or by its loop",
                                      worker.name)
                    raise
                except BaseException as error:
                    self._failed(error, began)
                else:
                    self._returned(result, began)
                finally:
                    worker._item_done(self.trigger)
                if not self.active or not self.trigger.may_repeat():
                    return
                await _Yield()
        finally:
            self._function_ended(run)

    def _was_asked_to_end(self) -> bool:
        return bool(getattr(getattr(self.task, "_extra", None), "cancel_requested", False))

    def _keywords(self) -> dict[str, Any]:
        task = self.task
        return dict(self._kwargs, _task_id=task.id) if self._wants_id and task is not None else self._kwargs

    # -- a run in a process --------------------------------------------------------------------------

    def _send(self) -> None:
        """In a pool thread, beside the places: have a pool process run the function."""
        worker = self._worker
        item = None
        if self.active:
            self._caller = threading.get_ident()
            item = worker._next_item(self.trigger)
            self._caller = None
        if item is None:
            self._run_ended()
            return
        began = worker.last_executed = perf_counter()
        try:
            self._note_queue()
            task: Any = self._start(self._spec, (*item, *self._args), dict(self._kwargs) or None)
            if not isinstance(task, Task):
                raise TypeError(f"put_task() of its supervisor returned {shown(task)} instead of a task")
        except SupervisorStoppedError:
            worker._return_item(item, self.trigger)
            self._fail("its supervisor takes no tasks any more")
            self._run_ended()
            return
        except BaseException as error:
            self._failed(error, began)
            worker._item_done(self.trigger)
            self._run_ended()
            return
        self.task = task
        task.add_done_callback(lambda task: self._process_ended(task, began))

    def _process_ended(self, task: Task[Any], began: float) -> None:
        self._caller = threading.get_ident()
        try:
            result = task.value(0)
            if self._to_result is not None and result is not False:
                result = self._to_result(result)
        except TaskCancelledError:
            self._worker._count(perf_counter() - began)
            if isinstance(self.trigger, ContinuousTrigger):
                self._fail("its task was cancelled")
        except BaseException as error:
            self._failed(error, began)
        else:
            self._returned(result, began)
        finally:
            self._worker._item_done(self.trigger)
            self._caller = None
        self._run_ended()

    # -- what came of it -----------------------------------------------------------------------------

    def stop_worker(self) -> None:
        """Stop the worker from within: it has returned False, or has failed too often."""
        try:
            self._worker.stop(wait=False)
        except BaseException:
            log.exception("worker %s: its stop() raised", self._worker.name)
        self.stop_at_once()

    def stop_at_once(self) -> None:
        """Stop without the worker's ``stop()`` and hooks, unless that has been done."""
        if self.claim_stop():
            self.request_stop()

    def _returned(self, result: Any, began: float) -> None:
        self._worker._count(perf_counter() - began)
        if result is False and (self._worker.restart_policy != "always"
                                or not self._may_restart("returned False", began)):
            self.stop_worker()

    def _failed(self, error: BaseException, began: float) -> None:
        """Called while the error is being handled."""
        worker = self._worker
        worker._count(perf_counter() - began, failed=True)
        if isinstance(error, TaskCancelledError) and (not self.active or isinstance(self.trigger, ContinuousTrigger)):
            self.stop_worker()              # it was asked to end, and did
            return
        try:
            worker.error()
        except BaseException:
            log.exception("worker %s: its error handler raised", worker.name)
        if not self.active:
            return
        if worker.restart_policy == "never":
            log.error("worker %s is stopped: its function raised %s, and it is not to be restarted", worker.name,
                      type(error).__name__)
            self.stop_worker()
        elif not self._may_restart(f"raised {type(error).__name__}", began):
            self.stop_worker()

    def _may_restart(self, why: str, began: float) -> bool:
        """Count a restart; False, and an error in the log, when there were too many."""
        worker = self._worker
        most = worker.max_restarts
        if most is not None:
            now = self.clock()
            restarts = self._restarts
            while restarts and restarts[0] <= now - worker.within:
                restarts.popleft()
            if len(restarts) >= most:
                log.error("worker %s is stopped: its function %s, after %d restart(s) within %g s; mend it and start it "
                          "again, or raise max_restarts", worker.name, why, most, worker.within)
                return False
            restarts.append(now)
        worker._restarted += 1
        self.trigger.restarted(self.clock(), worker._runs, perf_counter() - began)
        return True

    # -- the end -------------------------------------------------------------------------------------

    def claim_stop(self) -> bool:
        """Be the one who ends the session; False when another one is. :meth:`request_stop` must follow."""
        return self._end_token.take()

    def request_stop(self) -> None:
        """Let the session end: at once, or with the run that is under way."""
        self.active = False
        # Not request_step(): a signal handler that waits for the end may have come in between two lines of that.
        self.timer.call_at(_NOW, self._stop_step)

    def _stop_step(self) -> None:
        """The timer's call, when the session is to end."""
        run = self._run
        if run is not None:
            self._withdraw_run(run)
        self.step()

    def _fail(self, why: str) -> None:
        """(ownership held): the session cannot go on."""
        if self.active and self._supervisor._supervisor_parts.state.is_running():
            log.error("worker %s is stopped: %s", self._worker.name, why)
        self.claim_stop()
        self.active = False

    def _finish(self) -> None:
        """(ownership held), which nobody gets any more."""
        self.busy = False
        self.trigger.close(self)
        if self._worker._close_runs_code():
            self._threads.beside(self._close)
        else:
            self._close()

    def _close(self) -> None:
        self._caller = threading.get_ident()
        try:
            self._worker._call_hook("after_stop", caught=BaseException)
        finally:
            self._caller = None
            self._set_done()

    def _set_done(self) -> None:
        worker = self._worker
        worker._worker_report_items_left()
        with worker._starting:
            if worker._session is self:       # else the next one has begun
                self._supervisor.unregister_sync_scheduler(worker)
        # A stopped worker keeps its last session, for those who ask; not what the function was given.
        self._args, self._kwargs, self._context = (), {}, Context()
        self.done = True
        _call_all(self._done_callbacks)
        _call_all(self._idle_callbacks)

    def abort(self) -> None:
        """The session does not take place: it has not begun."""
        self.claim_stop()
        self.active = False
        if self.predecessor is None:
            self._set_done()
        else:
            self.predecessor.add_done_callback(self._set_done)

    def end(self) -> None:
        """Called by a thread that nothing interrupts, when the timer may not look any more."""
        self.claim_stop()
        self.active = False
        predecessor = self.predecessor
        if predecessor is not None:
            predecessor.end()
        self.step()

    def add_done_callback(self, callback: Callable[[], None]) -> None:
        """Have a short call made when the session is over, or now."""
        self._done_callbacks.append(callback)
        if self.done:
            _call_all(self._done_callbacks)

    def wait_idle(self, is_settled: Callable[[], bool], deadline: float | None) -> bool:
        """Block until nothing runs nor is due and ``is_settled()`` holds, or the session is over.

        :return: False if that is not so at the deadline.
        """
        while True:
            latch = Latch()
            self._idle_callbacks.append(latch)
            # In this order: an item that arrives leaves a note before it settles anything. What has been noted is served by
            # the holder of the ownership, which gives it up when it has, and then calls what waits here.
            if self.done or (is_settled() and not self.trigger.may_be_due() and self._ownership.is_there()):
                return True
            if not latch.wait(deadline):
                return False

    def wait(self, deadline: float | None) -> bool:
        """Block until the session is over, at the latest until the deadline; say whether it is."""
        gate = threading.Lock()
        gate.acquire()
        self.add_done_callback(gate.release)
        return block(gate.acquire, deadline) or self.done

    def is_inside(self) -> bool:
        """Say whether the calling code is what the session would wait for: the worker's own, or in its loop."""
        if threading.get_ident() in (self._caller, self.starter):
            return True
        if self.loop is not None:
            events = sys.modules.get("asyncio.events")
            return events is not None and events._get_running_loop() is self.loop
        task = current_task()
        return getattr(getattr(task, "_spec", None), "worker", None) is self._worker

    def cancel(self) -> None:
        """Ask the run that is under way to end."""
        task = self.task
        if task is not None:
            task.cancel()


def _call_all(callbacks: deque[Callable[[], None]]) -> None:
    """Make calls, each of which is made once, however many threads come here."""
    while callbacks:
        try:
            callback = callbacks.popleft()
        except IndexError:
            return
        callback()
