"""What the three queues have in common: submitting, the ledger of accepted tasks, and the policies of giving up.

How a queue gives up, by the first failure with ``fail_policy='fail_first'``, by the run's timeout, or by force::

    pause the lane ──> cancel, from the last to the first, what has not ended ──> open the lane ──> the run ends
                       (all of it; or all but must_complete)                      for what is spared

The lane is paused first, since the place of a cancelled task would be taken by one that is about to be cancelled.
"""
from __future__ import annotations

import os
import threading
from itertools import count, islice
from time import perf_counter

from ..constants import TASK_NORMAL
from ..engine.calling import is_coroutine_function
from ..engine.result import Failure, log
from ..engine.task import COMPLETED, STARTED, Task, current_task
from ..errors import ClosedError, InvalidArgumentError, InvalidTypeError, QueueStateError
from ..options import TaskOptions, unknown_option
from ..supervisor import TaskSupervisor
from ..tasks import task_supervisor
from .aftermath import Aftermath
from .bound import QueueTask
from .calls import DEFAULT_PRIORITY, PLAIN, Prepared, calls_of, merge, unwrap, watch_errors
from .fronts import drop_lane, give_up, make_lane, make_spec
from .handles import result_of
from .summary import RunSummary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple

    from ..constants import TaskType
    from ..engine.result import TaskResult
    from ..engine.task import TaskSpec
    from .checkpoint import Checkpoint, Page

__all__ = ["TaskQueue"]

#: Tasks that are submitted at a time.
_CHUNK = 512

#: The specs of functions that were submitted without options are kept up to this number.
_KEPT = 256

MODES = ("finite", "infinite")
FAIL_POLICIES = ("continue", "fail_first")
ON_TIMEOUT = ("complete", "cancel")

_ARGUMENTS = ("workers", "size", "timeout", "mode", "fail_policy", "on_timeout", "rate", "burst", "initializer",
              "initargs", "on_start", "on_complete", "on_retry", "supervisor", "pool_priority")


class TaskQueue:
    """The part of a queue that does not depend on where its tasks run."""

    tt: "TaskType"
    on_full: str
    _handle: "Any"
    _group: "Any"

    def __init__(self, workers: "Optional[int]" = None, size: int = 0, timeout: "Optional[float]" = None,
                 mode: str = "finite", fail_policy: str = "continue", on_timeout: str = "complete",
                 rate: "Optional[float]" = None, burst: int = 1,
                 initializer: "Optional[Callable[..., Any]]" = None, initargs: "Sequence[Any]" = (),
                 on_start: "Optional[Callable[[Any], Any]]" = None,
                 on_complete: "Optional[Callable[[TaskResult], Any]]" = None,
                 on_retry: "Optional[Callable[[Any, BaseException], Any]]" = None,
                 supervisor: "Optional[TaskSupervisor]" = None, pool_priority: int = TASK_NORMAL,
                 **unknown: "Any") -> None:
        for name in unknown:
            raise unknown_option(name, _ARGUMENTS, type(self).__name__)
        self.workers = None if workers is None else int(_above("workers", workers, 0, whole=True))
        self.size = int(_at_least("size", size, 0))
        self.timeout = None if timeout is None else _above("timeout", timeout, 0)
        self.mode = _one_of("mode", mode, MODES)
        self.fail_policy = _one_of("fail_policy", fail_policy, FAIL_POLICIES)
        self.on_timeout = _one_of("on_timeout", on_timeout, ON_TIMEOUT)
        self.rate = None if rate is None else _above("rate", rate, 0)
        self.burst = int(_at_least("burst", burst, 1))
        for name, function in (("initializer", initializer), ("on_start", on_start), ("on_complete", on_complete),
                               ("on_retry", on_retry)):
            if function is not None and not callable(function):
                raise InvalidTypeError(f"{name} takes a callable, not {type(function).__name__}")
        if supervisor is not None and not isinstance(supervisor, TaskSupervisor):
            raise InvalidTypeError(f"supervisor takes a TaskSupervisor, not {type(supervisor).__name__}")
        self.initializer = initializer
        self.initargs = tuple(initargs)
        self.supervisor = task_supervisor if supervisor is None else supervisor
        self.pool_priority = TaskOptions(priority=pool_priority).priority
        self._hooks = _Hooks(self, on_start, on_complete, on_retry) if on_start or on_complete or on_retry else None
        self._groups = count(1)
        self._key = os.urandom(12).hex()        # of the initializer, in threads and processes that many queues use
        self._lock = threading.RLock()          # guards the state below, but for the ledger; no user code runs under it
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._lane: "Any" = make_lane(self.workers, self.rate, self.burst, self.size or None, self.on_full)
        self._specs: "Dict[Any, Tuple[TaskSpec, Any, TaskOptions]]" = {}        # see _spec()
        # Appended to without a lock, by any thread: that is one step, on a free-threaded build too.
        self._tasks: "List[Task[Any]]" = []
        self._settled = 0               # so many tasks at the beginning of the ledger are known to have ended
        self._reported = 0              # so many are in the summaries of earlier runs
        self._entering = Aftermath()    # of submissions under way, which may be waiting for room
        self._aftermath = Aftermath()   # of hooks and callbacks, which come after the end of their tasks
        self._policy = self.fail_policy
        self._started = False           # by start(): it goes on beyond the end of a run
        self._running = False           # a run is under way
        self._halting = False           # it is giving up: no more tasks in this run
        self._closing = False           # no more tasks, ever
        self._closed = False            # and none is left
        self._holder: "Optional[Task[Any]]" = None      # has failed, which the pool does not know yet; the lane is paused
        self._ends: "List[Callable[[], None]]" = []     # called when the queue has been shut down

    # -- submitting ----------------------------------------------------------------------------------

    def submit(self, fn: "Callable[..., Any]", /, *args: "Any", opts: "Optional[TaskOptions]" = None,
               **options: "Any") -> "Any":
        """Submit one call and return its handle.

        :param args: positional arguments of the call. Keywords are options; use :func:`functools.partial` for the
            function's own.
        :param opts: :class:`TaskOptions`; options that are given as keywords win.
        :raises ClosedError: (a RuntimeError) the queue takes no more tasks; the function will not run.
        :raises InvalidTypeError: (a TypeError) an unknown option, or a function that cannot run here.

        May be called from any thread.
        """
        self._check_open()
        spec = self._spec(fn, opts, options)
        self._entering.expect(1)
        try:
            task = spec.pool.start(spec, args, None)
            self._enter((task,), 1)
        finally:
            self._entering.made()
        return self._handle(task)

    def map(self, fn: "Callable[..., Any]", items: "Iterable[Any]", *, opts: "Optional[TaskOptions]" = None,
            checkpoint: "Optional[Checkpoint]" = None, **options: "Any") -> "List[Any]":
        """Submit a call for each item and return the handles, in order.

        :param items: a tuple is unpacked as positional arguments, a mapping as keywords, anything else is the one
            argument.
        :param checkpoint: a :class:`Checkpoint`: what already succeeded is not submitted again, its value is handed back.

        The rest as :meth:`submit`.
        """
        self._check_open()
        return self._submit_all(self._spec(fn, opts, options), calls_of(items, "map"), checkpoint)

    def group(self, tasks: "Any", items: "Optional[Iterable[Any]]" = None, *, group_id: "Any" = None,
              opts: "Optional[TaskOptions]" = None, checkpoint: "Optional[Checkpoint]" = None,
              **options: "Any") -> "Any":
        """Submit calls that belong together and return them as a group.

        :param tasks: a function, with ``items`` as for :meth:`map`; or an iterable of ``(function, *args)``.
        :param group_id: what results are grouped by; ``group-1``, ``group-2``... unless told.
        :param checkpoint: as for :meth:`map`.

        The rest as :meth:`submit`.
        """
        self._check_open()
        merged = merge(opts, options, self._where())
        if group_id is None:
            group_id = merged.group_id
        if group_id is None:
            group_id = f"group-{next(self._groups)}"
        merged = merged.replace(group_id=group_id)
        if items is not None:
            return self._group(group_id, self._submit_all(self._spec(tasks, merged, {}), calls_of(items, "group"),
                                                          checkpoint))
        calls = []
        for position, call in enumerate(_several(tasks)):
            if not isinstance(call, tuple) or not call or not callable(call[0]):
                raise InvalidTypeError(f"group takes a function and items, or an iterable of (function, *args); item "
                                       f"{position} is {call!r}")
            calls.append((self._spec(call[0], merged, {}), call[1:]))
        handles: "List[Any]" = []
        for spec, args in calls:
            handles += self._submit_all(spec, iter([(args, None)]), checkpoint)
        return self._group(group_id, handles)

    def task(self, opts: "Optional[TaskOptions]" = None, **options: "Any") -> "Callable[[Callable[..., Any]], QueueTask]":
        """Decorate a function, so that calling it submits and returns a handle.

        Option names among the keywords of a call override for that call. See :class:`QueueTask`.

        >>> queue = ThreadQueue()
        >>> @queue.task(priority=1)
        ... def double(x):
        ...     return 2 * x
        >>> handle = double(21)
        >>> queue.run().values, handle.priority
        ((42,), 1)
        """
        if callable(opts):
            raise InvalidTypeError("task() of a queue takes options only; write @queue.task() with parentheses")
        merged = merge(opts, options, self._where())
        return lambda function: self._bind(function, merged)

    def _bind(self, function: "Any", options: TaskOptions) -> QueueTask:
        return QueueTask(self, self._check(function), options)

    def _call_hook(self, name: str, call: "Callable[[], Any]") -> None:
        raise NotImplementedError

    def _where(self) -> str:
        return f"a task of a {type(self).__name__}"

    def _check_open(self) -> None:
        if self._closing:
            raise ClosedError(f"this {type(self).__name__} is closed and takes no more tasks; reset() opens it again")
        if self._halting:
            raise ClosedError(f"this {type(self).__name__} is giving up, after a failure with fail_policy='fail_first' or at the end "
                              "of its time, and takes no more tasks until its run has ended")

    def _check(self, function: "Any") -> "Any":
        """Return the function, if tasks of it can run here.

        :raises InvalidTypeError: (a TypeError) they cannot.
        """
        function = unwrap(function)
        if not callable(function):
            close = getattr(function, "close", None)
            if hasattr(function, "__await__") and close is not None:
                close()         # a coroutine that will never run, which Python would warn of
                raise InvalidTypeError(f"a {type(self).__name__} takes a function and its arguments, not a coroutine: submit "
                                       "the function without calling it")
            raise InvalidTypeError(f"a {type(self).__name__} takes a function, not {type(function).__name__}")
        self._check_kind(function, is_coroutine_function(function))
        return function

    def _check_kind(self, function: "Any", coroutine: bool) -> None:
        raise NotImplementedError

    def _spec(self, function: "Any", options: "Optional[TaskOptions]", changes: "Mapping[str, Any]") -> "TaskSpec":
        """Return what the calls of a function with some options have in common: the same each time, as long as both
        are the same objects."""
        if changes:
            return self._make_spec(self._check(function), merge(options, changes, self._where()))
        chosen = PLAIN if options is None else options
        # By their ids, as functions need not be hashable; the entry keeps both alive, so that the ids stay theirs.
        key = id(function), id(chosen)
        kept = self._specs.get(key)
        if kept is None or not self._usable(kept[0]):
            if len(self._specs) >= _KEPT:
                self._specs.clear()
            spec = self._make_spec(self._check(function), merge(chosen, {}, self._where()))
            kept = self._specs[key] = spec, function, chosen
        return kept[0]

    def _usable(self, spec: "TaskSpec") -> bool:
        return True

    def _make_spec(self, function: "Callable[..., Any]", options: TaskOptions, loop: "Any" = None) -> "TaskSpec":
        rank = DEFAULT_PRIORITY if options.priority is None else options.priority
        target = self._prepare(function)
        if self._policy == "fail_first":
            target = self._guard(target)
        return make_spec(self.supervisor, self._lane, target, self.tt, options.replace(priority=self.pool_priority), rank,
                         self._hooks, loop)

    def _prepare(self, function: "Callable[..., Any]") -> "Callable[..., Any]":
        """Put the initializer in front of a function, if there is one."""
        if self.initializer is None:
            return function
        return Prepared(function, self.initializer, self.initargs, self._key)

    def _guard(self, function: "Callable[..., Any]") -> "Callable[..., Any]":
        """Have a function tell of its failure at once."""
        return watch_errors(function, self._is_failing)

    def _submit_all(self, spec: "TaskSpec", calls: "Iterator[Any]", checkpoint: "Optional[Checkpoint]") -> "List[Any]":
        handles: "List[Any]" = []
        page = None if checkpoint is None else checkpoint.page(spec.target)
        try:
            while True:
                chunk = list(islice(calls, _CHUNK))
                if not chunk:
                    return handles
                self._entering.expect(1)
                try:
                    if page is None:
                        tasks = self._start(spec, chunk)
                        self._enter(tasks, len(tasks))
                    else:
                        tasks = self._resume(spec, chunk, page)
                finally:
                    self._entering.made()
                handles += map(self._handle, tasks)
        except BaseException:
            # All or none: nobody has the handles of those that were accepted.
            for handle in reversed(handles):
                handle.cancel()
            raise

    def _submit_calls(self, function: "Callable[..., Any]", options: TaskOptions, calls: "Sequence[Any]") -> "List[Any]":
        self._check_open()
        return self._submit_all(self._spec(function, options, {}), iter(calls), None)

    def _start(self, spec: "TaskSpec", calls: "Sequence[Any]") -> "List[Task[Any]]":
        """Submit calls of one function together."""
        if any(kwargs is not None for _, kwargs in calls):
            return [spec.pool.start(spec, args, kwargs) for args, kwargs in calls]
        return spec.pool.start_many(spec, [args for args, _ in calls])

    def _resume(self, spec: "TaskSpec", calls: "Sequence[Any]", page: "Page") -> "List[Task[Any]]":
        """Submit those calls that a checkpoint does not know; return the tasks of all of them, in order."""
        keys = [page.key(*call) for call in calls]
        missing = [call for call, key in zip(calls, keys) if not page.has(key)]
        started = iter(self._start(spec, missing) if missing else ())
        tasks: "List[Task[Any]]" = []
        for key in keys:
            if page.has(key):
                tasks.append(_ended(spec, page.value(key)))
            else:
                task = next(started)
                self._aftermath.expect(1)
                task.add_done_callback(_Noting(page, key, self._aftermath))
                tasks.append(task)
        self._enter(tasks, len(missing))
        return tasks

    def _enter(self, tasks: "Sequence[Task[Any]]", started: int) -> None:
        """Note tasks that have just been accepted: so many, the others come from a checkpoint."""
        self._tasks += tasks
        if self._hooks is not None:
            self._aftermath.expect(started)
        if self._policy == "fail_first":
            self._watch_failures(tasks)
        if self._halting or self._closed:
            # They came in while the queue gave up. They are accepted, so they end: as the others do.
            self._cancel([task for task in tasks if self._closed or not task.options.must_complete])

    # -- giving up -----------------------------------------------------------------------------------

    def _watch_failures(self, tasks: "Iterable[Task[Any]]") -> None:
        for task in tasks:
            self._aftermath.expect(1)
            task.add_done_callback(self._has_ended)

    def _has_ended(self, task: "Task[Any]") -> None:
        """With fail_first: a task is final. Called by whoever ended it, with no lock held."""
        try:
            if task._status == COMPLETED and type(task._outcome) is Failure and self._policy == "fail_first":
                with self._lock:
                    first = not self._halting
                    self._halting = True
                if first:
                    self._stop_rest(spare=True)
            with self._lock:
                if self._holder is task:
                    self._holder = None
                    if self._flows():
                        self._lane.resume()
        finally:
            self._aftermath.made()

    def _is_failing(self, error: BaseException) -> None:
        """With fail_first: a function has raised, in its task's thread or loop, and the pool does not know it yet."""
        task = current_task()
        if (not isinstance(task, Task) or self._policy != "fail_first" or not isinstance(error, Exception)
                or task.options.wants_retry(error, task.attempts)):
            return
        with self._lock:
            if not self._halting and self._holder is None:
                self._holder = task
                self._lane.pause()

    def _flows(self) -> bool:
        """Say whether tasks are to be let through; the lock is held."""
        return self._started or self._running or self._closing

    def _stop_rest(self, spare: bool) -> "List[Task[Any]]":
        """Cancel what has not ended; return those that were.

        :param spare: not the tasks that must complete.
        """
        with self._lock:
            self._lane.pause()
        rest = [task for task in self._tasks[self._settled:]
                if not task.done() and not (spare and task.options.must_complete)]
        try:
            self._cancel(rest)
        finally:
            with self._lock:
                if self._flows():
                    self._lane.resume()
        return rest

    def _cancel(self, tasks: "Sequence[Task[Any]]") -> None:
        for task in reversed(tasks):
            task.cancel()

    def _abandon(self, tasks: "Sequence[Task[Any]]") -> None:
        """The time is over: do not wait for functions in threads, which a cancellation only asks to stop."""
        own = current_task()
        for task in tasks:
            if task._status == STARTED and task is not own:
                give_up(task)

    # -- the steps of a run --------------------------------------------------------------------------

    def _begin_run(self, fail_policy: "Optional[str]") -> None:
        """Open the lane for a run.

        :raises ClosedError: the queue is closed.
        :raises QueueStateError: a run is under way.
        """
        policy = self.fail_policy if fail_policy is None else _one_of("fail_policy", fail_policy, FAIL_POLICIES)
        if self._closing:
            raise ClosedError(f"this {type(self).__name__} is closed; reset() opens it again")
        with self._lock:
            if self._running:
                raise QueueStateError(f"this {type(self).__name__} is running already: wait for that run, or make another "
                                      "queue for what runs inside its tasks")
            self._running = True
            self._halting = False
        if policy != self._policy:
            self._specs.clear()
            self._policy = policy
            if policy == "fail_first":
                waiting = self._tasks[self._settled:]
                for spec in {task._spec for task in waiting}:
                    spec.target = self._guard(spec.target)
                self._watch_failures(waiting)

    def _end_run(self) -> None:
        with self._lock:
            self._running = False
            self._halting = False
            if not self._flows():
                self._lane.pause()
        if self._policy != self.fail_policy:
            self._policy = self.fail_policy
            self._specs.clear()

    def _summarise(self, began: float, timed_out: bool) -> RunSummary:
        tasks = self._tasks[self._reported:]
        self._reported += len(tasks)
        return RunSummary([task for task in tasks if not task._spec.options.detached], perf_counter() - began, timed_out)

    def _own(self) -> "Optional[Task[Any]]":
        """The task that asks, which does not wait for itself."""
        task = current_task()
        return task if isinstance(task, Task) else None

    # -- ending --------------------------------------------------------------------------------------

    def cancel(self) -> int:
        """Cancel all tasks, also those that must complete, and take no more; return how many had not ended.

        It does not wait; what runs in a thread is asked to stop. May be called from any thread.
        """
        with self._lock:
            self._closing = True
        rest = self._stop_rest(spare=False)
        self._has_closed()
        return len(rest)

    def _has_closed(self) -> None:
        with self._lock:
            self._closed = True
            ends, self._ends = self._ends, []
        drop_lane(self._lane)
        for end in ends:
            end()

    def _watch_end(self, watcher: "Callable[[], None]") -> bool:
        """Have watcher() called when the queue has been shut down; False, and no call, when it is already."""
        with self._lock:
            if not self._closed:
                self._ends.append(watcher)
            return not self._closed

    def _unwatch_end(self, watcher: "Callable[[], None]") -> None:
        with self._lock:
            if watcher in self._ends:
                self._ends.remove(watcher)

    def reset(self) -> None:
        """Cancel what waits, forget all tasks and results, and open the queue again.

        :raises QueueStateError: (a RuntimeError) it is running, was started and not shut down, or has tasks that run.
        """
        with self._lock:
            busy = self._running or self._started and not self._closed
        if busy or any(task._status == STARTED for task in self._tasks[self._settled:]):
            raise QueueStateError(f"this {type(self).__name__} is at work and cannot be reset; call shutdown(), and wait for the "
                                  "tasks that still run")
        self._stop_rest(spare=False)
        self._begin_anew()

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
    def results(self) -> "Tuple[TaskResult, ...]":
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
            self._settled = 0

    @property
    def stats(self) -> "Dict[str, int]":
        """Numbers of tasks: submitted, pending, scheduled (those of the pending that wait for their time), active,
        succeeded, failed, cancelled; and workers, 0 for as many as the pool takes."""
        counts = dict.fromkeys(("submitted", "pending", "scheduled", "active", "succeeded", "failed", "cancelled"), 0)
        for task in list(self._tasks):
            counts["submitted"] += 1
            state = task.state
            if state == "retrying" or state == "pending":
                counts["pending"] += 1
                counts["scheduled"] += int(task._status) == 2
            else:
                counts["active" if state == "running" else state] += 1
        counts["workers"] = self.workers or 0
        return counts

    def __len__(self) -> int:
        return self.pending_count + self.active_count

    def __bool__(self) -> bool:
        return True         # an empty queue is a queue

    def __repr__(self) -> str:
        state = "closed" if self._closed else "running" if self._running else "started" if self._started else "waiting"
        return f"<{type(self).__name__} {state} {self.pending_count} pending, {self.active_count} active>"


class _Hooks:
    """What a lane calls about the tasks of a queue: one at a time, by a pool thread, with no lock held."""

    __slots__ = ("_queue", "on_start", "on_complete", "on_retry")

    def __init__(self, queue: TaskQueue, on_start: "Any", on_complete: "Any", on_retry: "Any") -> None:
        self._queue = queue
        self.on_start = on_start
        self.on_complete = on_complete
        self.on_retry = on_retry

    def started(self, task: "Task[Any]") -> None:
        """An attempt begins."""
        if self.on_start is not None:
            self._queue._call_hook("on_start", lambda: self.on_start(self._queue._handle(task)))

    def retried(self, task: "Task[Any]", error: BaseException) -> None:
        """An attempt has failed, and another one follows."""
        if self.on_retry is not None:
            self._queue._call_hook("on_retry", lambda: self.on_retry(self._queue._handle(task), error))

    def ended(self, task: "Task[Any]") -> None:
        """The task is final."""
        aftermath = self._queue._aftermath

        def call() -> None:
            try:
                if self.on_complete is not None:
                    self.on_complete(result_of(task))
            finally:
                aftermath.made()

        self._queue._call_hook("on_complete", call)


class _Noting:
    """A done callback that keeps a success in a checkpoint."""

    __slots__ = ("_page", "_key", "_aftermath")

    def __init__(self, page: "Page", key: bytes, aftermath: Aftermath) -> None:
        self._page = page
        self._key = key
        self._aftermath = aftermath

    def __call__(self, task: "Task[Any]") -> None:
        try:
            if task._status == COMPLETED and type(task._outcome) is not Failure:
                self._page.keep(self._key, task._outcome)
        finally:
            self._aftermath.made()


def _ended(spec: "TaskSpec", value: "Any") -> "Task[Any]":
    """Make a task that has succeeded without ever having been submitted."""
    task: "Task[Any]" = Task(spec, (), None, None)
    task._more().task_id = os.urandom(12).hex()
    # Nobody else knows it, so no lock is needed.
    task._advance(COMPLETED, perf_counter(), value)
    return task


def log_hook(name: str, call: "Callable[[], Any]") -> None:
    """Call a hook; what it raises is logged."""
    try:
        call()
    except BaseException:
        log.exception("%s of a queue raised; the task itself is not touched", name)


def _several(tasks: "Any") -> "Iterable[Any]":
    if callable(tasks) or isinstance(tasks, (str, bytes)) or not hasattr(tasks, "__iter__"):
        raise InvalidTypeError("group takes a function and items, or an iterable of (function, *args)"
                               + ("; the items are missing" if callable(tasks) else f", not {type(tasks).__name__}"))
    several: "Iterable[Any]" = tasks
    return several


def _number(name: str, value: "Any", whole: bool) -> float:
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise InvalidTypeError(f"{name} takes {'an integer' if whole else 'a number'}, not {type(value).__name__}")
    return float(value)


def _above(name: str, value: "Any", least: float, whole: bool = False) -> float:
    if not _number(name, value, whole) > least:
        raise InvalidArgumentError(f"{name} takes {'an integer' if whole else 'a number'} above {least:g}, or None; "
                                   f"not {value!r}")
    return float(value)


def _at_least(name: str, value: "Any", least: float) -> float:
    if _number(name, value, True) < least:
        raise InvalidArgumentError(f"{name} takes an integer from {least:g} on, not {value!r}")
    return float(value)


def _one_of(name: str, value: "Any", values: "Tuple[str, ...]") -> str:
    if value not in values:
        raise InvalidArgumentError(f"{name} takes one of {', '.join(map(repr, values))}, not {value!r}")
    return str(value)
