"""Runners: run the function of a worker in a pool thread, a loop or a process.

::

    Session ── submit() ──> Runner ── a task ──> pool: the function, once or several times
       ^                                            │
       └── run_ended() ── when task and function <──┘

A runner belongs to one session. It runs the function for one item at a time, counts what happens,
and applies the restart policy. The session owns everything else: when to run, and when to stop.
"""
from __future__ import annotations

import threading
from collections import deque
from contextvars import Context, copy_context
from copy import copy
from itertools import count
from time import perf_counter

from .. import _modes
from .._atomics import Token
from .._inspect import class_name, shown, text_of
from .._log import log
from ..constants import TT_COROUTINE, TT_MP, TT_THREAD
from ..engine.current import current_task
from ..engine.spec import TaskSpec
from ..engine.task import CANCELED, Task
from ..errors import SupervisorStoppedError, TaskCancelledError
from ..options import TaskOptions
from ..supervisor.schedulers import ManagedWorker

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from typing import Any, Callable, Generator

    from ..constants import TaskType
    from ..supervisor.supervisor import TaskSupervisor
    from .triggers import Trigger, WorkerSession


#: When a worker goes on after a run that failed or returned False.
RESTARTS = ("always", "on_failure", "never")

#: Seconds that a worker keeps a slot while other tasks wait for one.
SLICE = 0.001

_STOPPED = "its supervisor takes no tasks any more"


class RunWorker(ManagedWorker):
    """A worker as its session and its runner see it."""

    if TYPE_CHECKING:
        name: str
        priority: Any
        supervisor: TaskSupervisor
        last_executed: float
        _worker_settings: dict[str, Any]
        _worker_runs: int
        _worker_failures: int
        _worker_restarts: int
        _worker_last_duration: float | None
        _worker_start_lock: Any
        _worker_session: Any

        def error(self) -> None: ...
        def _worker_close_runs_code(self) -> bool: ...

    def _worker_next_item(self, trigger: Trigger) -> tuple[Any, ...] | None:
        """Return the item for the next run as a tuple, or None to skip the run."""
        return ()

    def _worker_return_item(self, taken: tuple[Any, ...], trigger: Trigger) -> None:
        """Keep an item that was taken and not handled for a later run."""

    def _worker_item_done(self, trigger: Trigger) -> None:
        """The item that was taken has been handled."""

    def _worker_count(self, seconds: float, failed: bool = False) -> None:
        self._worker_runs += 1
        self._worker_last_duration = seconds
        if failed:
            self._worker_failures += 1

    def _worker_call_hook(self, name: str, *args: Any,
                          caught: type[BaseException] = Exception) -> None:
        """Call a hook.

        If it raises, log that; the supervisor's own threads catch every exception.
        """
        try:
            getattr(self, name)(*args)
        except caught:
            log.exception("worker %s: its %s raised", self.name, name)


class _Run:
    """One submission of the function.

    The run is over when its task and the function have both ended.

    They end in either order: a task may be cancelled, abandoned or completed early while its
    function still runs.
    """

    __slots__ = ("_beginning", "_end", "task", "accepted", "item")

    def __init__(self) -> None:
        self.task: Task[Any] | None = None
        self.item: tuple[Any, ...] | None = None    # if it is taken before the task begins
        self.accepted = False                       # the pool has the task, which can be cancelled
        self._beginning = Token()
        self._end = Token()

    def begin(self) -> bool:
        """Return True for the first caller: the function, or a caller that prevents it."""
        return self._beginning.take()

    def is_last(self) -> bool:
        """Return False for the first of the two that end, and True for the second."""
        return not self._end.take()


class _Yield:
    """Suspends the awaiting coroutine for one iteration of the loop."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class Runner:
    """Runs the function of one session. Subclasses choose where.

    :param wants_id: the function takes ``_task_id``.
    :param to_result: ``process_result()`` of a worker whose ``run()`` is static.
    :param loop: where a coroutine function runs.
    """

    session: WorkerSession     # it sets this
    #: The function of the tasks.
    _run_task: Any

    def __init__(self, worker: RunWorker, trigger: Trigger, function: Callable[..., Any],
                 args: tuple[Any, ...], kwargs: dict[str, Any], tt: TaskType, wants_id: bool,
                 to_result: Callable[[Any], Any] | None,
                 loop: asyncio.AbstractEventLoop | None) -> None:
        supervisor = worker.supervisor
        self.worker = worker
        self.trigger = trigger
        self.pool: Any = supervisor.pool_for(tt)
        self.threads: Any = supervisor.pool_for(TT_THREAD)
        self.function = function
        self.args: tuple[Any, ...] = args
        self.kwargs: dict[str, Any] = kwargs
        self.to_result = to_result
        self.wants_id: bool = wants_id and tt != TT_MP  # else the process passes it
        self.context: Context = copy_context()
        self._restarts: deque[float] = deque()  # times of the last ones, if max_restarts is set
        self.spec: TaskSpec = TaskSpec(
            self.pool, self._run_task, TaskOptions(name=worker.name, priority=worker.priority),
            tt, loop=loop, worker=worker, takes_id=wants_id and tt == TT_MP)
        specs = supervisor._supervisor_parts.specs
        specs.watch(self.spec)
        self.start: Any = specs.starter(self.spec)

    def set_priority(self, priority: int) -> None:
        """Give the following runs another priority."""
        spec = copy(self.spec)
        spec.priority, spec.options = priority, spec.options.replace(priority=priority)
        self.spec = spec

    def submit(self) -> bool:
        """Have the function run. Return False if that is not possible. (ownership held)"""
        raise NotImplementedError

    def withdraw(self) -> None:
        """If the run has not begun, end it without running the function."""

    def clear(self) -> None:
        """Drop the arguments of the function."""
        self.args, self.kwargs, self.context = (), {}, Context()

    def _take_item(self) -> tuple[Any, ...] | None:
        """Return the next item if the session is active and there is one.

        For a thread outside the slots.
        """
        if not self.session.active:
            return None
        self.session.caller = threading.get_ident()
        item = self.worker._worker_next_item(self.trigger)
        self.session.caller = None
        return item

    def _keywords(self) -> dict[str, Any]:
        task = self.session.task
        return dict(self.kwargs,
                    _task_id=task.id) if self.wants_id and task is not None else self.kwargs

    # -- how a run ended ---------------------------------------------------------------------------

    def _returned(self, result: Any, began: float) -> None:
        self.worker._worker_count(perf_counter() - began)
        if result is False and (self.worker._worker_settings["restart_policy"] != "always"
                                or not self._may_restart("returned False", began)):
            self.session.stop_worker()

    def _failed(self, error: BaseException, began: float) -> None:
        """Count a failure, call the error handler and apply the restart policy.

        For an ``except`` block.
        """
        worker, session = self.worker, self.session
        worker._worker_count(perf_counter() - began, failed=True)
        if (issubclass(type(error), TaskCancelledError)
                and (not session.active or self.trigger.is_continuous)):
            self._warn_of_lost_item()
            session.stop_worker()               # it was asked to end, and did
            return
        try:
            worker.error()
        except BaseException:
            log.exception("worker %s: its error handler raised", worker.name)
        if not session.active:
            return
        if worker._worker_settings["restart_policy"] == "never":
            log.error("worker %s is stopped: its function raised %s, and it is not to be restarted",
                      worker.name, class_name(type(error)))
            session.stop_worker()
        elif not self._may_restart(f"raised {class_name(type(error))}", began):
            session.stop_worker()

    def _warn_of_lost_item(self) -> None:
        """Log that a stop has cancelled the run that handles an item. atasker does not."""
        if self.trigger.has_items and not self.session.active and not _modes.legacy:
            log.warning("worker %s: an item that it handled when it was stopped is lost, as the "
                        "run was cancelled; give the stop more time", self.worker.name)

    def _may_restart(self, why: str, began: float) -> bool:
        """Count a restart. Return False and log an error if there were too many."""
        worker, settings = self.worker, self.worker._worker_settings
        most = settings["max_restarts"]
        if most is not None:
            now = self.session.timer.clock()
            restarts = self._restarts
            while restarts and restarts[0] <= now - settings["within"]:
                restarts.popleft()
            if len(restarts) >= most:
                log.error("worker %s is stopped: its function %s, after %d restart(s) within %g s; "
                          "mend it and start it again, or raise max_restarts",
                          worker.name, why, most, settings["within"])
                return False
            restarts.append(now)
        worker._worker_restarts += 1
        self.trigger.restarted(self.session.timer.clock(), worker._worker_runs,
                               perf_counter() - began)
        return True


class _PoolRunner(Runner):
    """Runs the function in this process, as a task of a pool."""

    _run: _Run | None = None

    def submit(self) -> bool:
        run = self._run = _Run()
        task: Task[Any] = Task(self.spec, (run,), None, self.context.copy())
        task._waiters = [lambda: self._task_ended(run, task)]
        self.session.task = run.task = task
        try:
            if not self.pool.submit_unchecked(task):
                return False
        except Exception as error:          # the loop is closed
            log.error("worker %s: %s", self.worker.name, error)
            return False
        run.accepted = True
        if not self.session.active:
            self._stopped_meanwhile(run, task)
        return True

    def _stopped_meanwhile(self, run: _Run, task: Task[Any]) -> None:
        """Withdraw a run after a stop that came during the submission."""
        self._withdraw(run)
        self.session.cancel_if_requested(task)

    def withdraw(self) -> None:
        run = self._run
        if run is not None:
            self._withdraw(run)

    def _withdraw(self, run: _Run) -> None:
        task = run.task
        if task is not None and run.accepted and run.begin():
            task.cancel()
            self._return_item(run)
            self._function_ended(run)

    def _return_item(self, run: _Run) -> None:
        """Keep the item of a run that never began for a later run."""
        item, run.item = run.item, None
        if item is not None:
            self.worker._worker_return_item(item, self.trigger)

    def _task_ended(self, run: _Run, task: Task[Any]) -> None:
        """Called in the thread that made the task final. (no lock)"""
        never_ran = run.begin()
        if task._status == CANCELED:
            if self.trigger.is_continuous:
                self.session.fail("its task was cancelled")
        elif never_ran:
            error = task.exception(0)
            if error is not None:
                self.session.fail(text_of(error))
        if never_ran:
            self._return_item(run)
            self.trigger.note()
        if never_ran or run.is_last():
            self._run_ended()

    def _function_ended(self, run: _Run) -> None:
        if run.is_last():
            self._run_ended()

    def _run_ended(self) -> None:
        self._run = None
        self.session.run_ended()


class _ThreadRunner(_PoolRunner):
    """Runs the function in a pool thread, several times in one task."""

    def _run_task(self, run: _Run) -> None:
        if not run.begin():
            return
        session = self.session
        if session.task is None:            # put_task() has not returned yet
            session.task = current_task()
        item, run.item = run.item, None
        try:
            if self.trigger.is_continuous and self.to_result is None:
                self._repeat()
                return
            began, keywords = perf_counter(), self._keywords()      # the same in all runs of a task
            while (self._run_once(item, keywords) and session.active
                   and self._may_repeat(began)):
                item = None
        finally:
            self._function_ended(run)

    def _may_repeat(self, began: float) -> bool:
        """Return True if the next run may follow in the same task."""
        if self.pool.run_queue.waiting and perf_counter() - began > SLICE:
            self.trigger.note()             # the next run comes behind what waits for the slot
            return False
        return self.trigger.may_repeat()

    def _repeat(self) -> None:
        """Run the function of a plain worker in one slot until another task may have it.

        Everything that stays the same is looked up once. A run that does nothing thus costs a few
        operations beside its call.
        """
        worker, session, trigger = self.worker, self.session, self.trigger
        function, args, keywords = self.function, self.args, self._keywords()
        run_queue, wants_slot = self.pool.run_queue, self.pool.wants_slot
        clock = perf_counter
        session.caller = threading.get_ident()
        try:
            began = until = worker.last_executed = clock()
            while True:
                try:
                    # Each turn of the loop counts the run before it. += would cost more.
                    for worker._worker_runs in count(worker._worker_runs):
                        result = function(*args, **keywords)
                        if result is False:
                            break
                        now = clock()
                        if not session.active:
                            worker._worker_runs += 1
                            worker._worker_last_duration = now - began
                            return
                        # once a millisecond, or after each run that takes longer
                        if now > until:
                            worker._worker_last_duration = now - began
                            if run_queue.waiting and wants_slot():
                                worker._worker_runs += 1
                                return      # behind what waits for the slot
                            until = now + SLICE
                        began = worker.last_executed = now
                except BaseException as error:
                    self._failed(error, began)
                else:
                    self._returned(False, began)
                if not session.active or not trigger.may_repeat():
                    return
                if run_queue.waiting and wants_slot():
                    return
                began = worker.last_executed = clock()
        finally:
            session.caller = None

    def _run_once(self, item: tuple[Any, ...] | None, keywords: dict[str, Any]) -> bool:
        """Run the function for an item, or for the next one. Return False without one."""
        worker = self.worker
        self.session.caller = threading.get_ident()
        try:
            if item is None:
                item = worker._worker_next_item(self.trigger)
            if item is None:
                return False
            began = worker.last_executed = perf_counter()
            try:
                result = self.function(*item, *self.args, **keywords)
                if self.to_result is not None and result is not False:
                    result = self.to_result(result)
            except BaseException as error:
                self._failed(error, began)
            else:
                self._returned(result, began)
            finally:
                worker._worker_item_done(self.trigger)
        finally:
            self.session.caller = None
        return True


class _PutTaskRunner(_ThreadRunner):
    """Submits each run by the ``put_task()`` of a derived supervisor."""

    def submit(self) -> bool:
        run = self._run = _Run()
        self.threads.spawn(lambda: self._put(run))     # put_task() is code of the application
        return True

    def _may_repeat(self, began: float) -> bool:
        if self.trigger.is_continuous:
            return super()._may_repeat(began)
        self.trigger.note()
        return False                        # each run is a task

    def _put(self, run: _Run) -> None:
        began = perf_counter()
        session = self.session
        run.item = self._take_item()
        if run.item is None:
            run.begin()
            self._run_ended()
            return
        task: Any = None
        try:
            task = self.context.copy().run(self.start, self.spec, (run,), None)
            if not isinstance(task, Task):
                session.fail(f"put_task() of its supervisor returned {shown(task)} instead of a "
                             "task")
        except SupervisorStoppedError:
            if run.begin():
                self._return_item(run)
                session.fail(_STOPPED)
                self._run_ended()
                return
        except BaseException as error:
            log.exception("worker %s: put_task() of its supervisor raised %s; the run is left out",
                          self.worker.name, class_name(type(error)))
            if session.active and not self._may_restart("could not be submitted", began):
                session.stop_worker()
        if isinstance(task, Task):
            session.task = run.task = task
            task.add_done_callback(lambda task: self._task_ended(run, task))
            run.accepted = True
            if not session.active:
                self._stopped_meanwhile(run, task)
        elif run.begin():
            self.worker._worker_item_done(self.trigger)
            self.trigger.note()
            self._run_ended()
        else:                               # it was submitted all the same
            self._function_ended(run)


class _LoopRunner(_PoolRunner):
    """Runs a coroutine function in a loop.

    Between two runs, other coroutines of the loop run.
    """

    async def _run_task(self, run: _Run) -> None:
        from asyncio import CancelledError

        if not run.begin():
            return
        worker, session = self.worker, self.session
        try:
            while True:
                item = worker._worker_next_item(self.trigger)
                if item is None:
                    return
                began = worker.last_executed = perf_counter()
                try:
                    result = await self.function(*item, *self.args, **self._keywords())
                except CancelledError:
                    worker._worker_count(perf_counter() - began)
                    self.trigger.note()
                    self._warn_of_lost_item()
                    if session.active and not self._cancel_requested():
                        log.exception("worker %s: a run of it was cancelled, by what it awaited or "
                                      "by its loop", worker.name)
                    raise
                except BaseException as error:
                    self._failed(error, began)
                else:
                    self._returned(result, began)
                finally:
                    worker._worker_item_done(self.trigger)
                if not session.active or not self.trigger.may_repeat():
                    return
                await _Yield()
        finally:
            self._function_ended(run)

    def _cancel_requested(self) -> bool:
        return bool(getattr(getattr(self.session.task, "_extra", None), "cancel_requested", False))


class _ProcessRunner(Runner):
    """Runs a static ``run()`` in a pool process, one task for each run."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._withdrawing: set[Task[Any]] = set()       # the tasks that withdraw() cancels

    @property
    def _run_task(self) -> Callable[..., Any]:
        return self.function

    def submit(self) -> bool:
        self.threads.spawn(self._send)     # pickling is code of the application, and may take long
        return True

    def _send(self) -> None:
        worker, session = self.worker, self.session
        item = self._take_item()
        if item is None:
            session.run_ended()
            return
        began = worker.last_executed = perf_counter()
        try:
            self.trigger.note()
            task: Any = self.start(self.spec, (*item, *self.args), dict(self.kwargs) or None)
            if not isinstance(task, Task):
                raise TypeError(f"put_task() of its supervisor returned {shown(task)} instead of a "
                                "task")
        except SupervisorStoppedError:
            worker._worker_return_item(item, self.trigger)
            session.fail(_STOPPED)
            session.run_ended()
        except BaseException as error:
            self._failed(error, began)
            worker._worker_item_done(self.trigger)
            session.run_ended()
        else:
            session.run_submitted(task)
            task.add_done_callback(lambda task: self._process_ended(task, item, began))
            if not session.active:
                self.withdraw()

    def withdraw(self) -> None:
        task = self.session.task
        if task is not None:
            self._withdrawing.add(task)
            pool: Any = task._spec.pool
            if not pool.cancel(task, False):    # else it calls _process_ended(), now or soon
                self._withdrawing.discard(task)

    def _process_ended(self, task: Task[Any], item: tuple[Any, ...], began: float) -> None:
        session = self.session
        if task in self._withdrawing and task._status == CANCELED:
            self._withdrawing.discard(task)
            self.worker._worker_return_item(item, self.trigger)
            return session.run_ended()
        session.caller = threading.get_ident()
        try:
            result = task.value(0)
            if self.to_result is not None and result is not False:
                result = self.to_result(result)
        except TaskCancelledError:
            self.worker._worker_count(perf_counter() - began)
            self._warn_of_lost_item()
            if self.trigger.is_continuous:
                session.fail("its task was cancelled")
        except BaseException as error:
            self._failed(error, began)
        else:
            self._returned(result, began)
        finally:
            self.worker._worker_item_done(self.trigger)
            session.caller = None
        session.run_ended()


def runner_class(tt: TaskType, supervisor: TaskSupervisor) -> type[Runner]:
    """Return the runner for a type of task and the ``put_task()`` of a supervisor."""
    if tt == TT_MP:
        return _ProcessRunner
    if tt == TT_COROUTINE:
        return _LoopRunner
    overrides = supervisor._supervisor_parts.specs.overrides
    if overrides is not None and overrides.puts:
        return _PutTaskRunner
    return _ThreadRunner
