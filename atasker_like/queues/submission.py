"""Submitter: how calls become tasks of a queue, by submit, map, group and the decorator."""
from __future__ import annotations

import sys
from contextvars import copy_context
from functools import partial
from itertools import chain, count, filterfalse
from sys import maxsize
from threading import get_ident
from time import perf_counter

from .._checks import cut_frames, ends_traceback, not_a_function, runs_when_called
from .._inspect import has_method, is_coroutine_function, open_parameters, shown
from ..constants import TT_MP
from ..engine.callbacks import call_callbacks
from ..engine.spec import ClassTask, undecorated
from ..engine.task import COMPLETED, Task, number_tasks
from ..engine.wait_group import WaitGroup
from ..errors import ClosedError, InvalidTypeError, QueueFullError, SupervisorError
from ..options import TaskOptions
from ..pools.cancelling import cancel_many
from .bound import QueueTask
from .calls import (DEFAULT_PRIORITY, OF_A_CALL, PLAIN, InitializedCall, InitializerState, Keyed,
                    check_names, iter_calls, merge, report_errors)
from .checkpoint import records_of
from .config import QueueConfig
from .handles import make_handles
from .item_keys import item_keys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Mapping, Sequence

    from ..constants import TaskType
    from ..engine.spec import TaskSpec
    from ..options import OnFull
    from .calls import Call
    from .checkpoint import Checkpoint, FunctionRecords
    from .ledger import Ledger


#: Specs that are kept for the next submission of the same function.
_KEPT = 256


class Submitter(QueueConfig):
    """The part of a queue that accepts calls. A subclass owns the ledger."""

    tt: TaskType
    _handle: Any
    _group: Any

    if TYPE_CHECKING:
        _lane: Any
        _hooks: Any
        _key: str
        _initializer_state: InitializerState | None
        _closing: bool
        _tasks: Ledger
        on_full: OnFull

        def _watch_failures(self, tasks: Iterable[Task[Any]], new: bool = False) -> None: ...
        def _function_raised(self, error: BaseException) -> None: ...

    def _reset(self) -> None:
        self._specs: dict[Any, tuple[TaskSpec, Any, TaskOptions]] = {}        # see _spec()
        self._some_detached = False     # one of its tasks is, or was
        # The pool of its tasks; the first one, if pools have replaced each other.
        self._pool: Any = None
        self._groups = count(1)
        self._restored = count(1)       # numbers of tasks restored from checkpoints
        self._submissions = WaitGroup()     # the submissions under way; some wait for room
        # The done callbacks and hooks that have not returned.
        self._callbacks = self._lane.callbacks = WaitGroup()
        self._policy = self.fail_policy
        self._aborting = False          # no more tasks are accepted in this run
        # How often the queue has aborted. Submissions that were under way then are refused.
        self._aborts = 0
        self._discarding = False        # unfinished tasks are cancelled, and none starts
        self._closed = False            # closing, and all tasks have ended

    def _call_hook(self, name: str, call: Callable[[], Any], loop: Any) -> None:
        """Call a hook, in the loop of its task if the task has one."""
        raise NotImplementedError

    def submit(self, fn: Callable[..., Any], /, *args: Any, opts: TaskOptions | None = None,
               **options: Any) -> Any:
        """Submit one call and return its handle. May be called from any thread.

        :param fn: a callable; for a :class:`ProcessQueue` one that a process can import.
        :param opts: :class:`TaskOptions` (default: None); options that are given as keywords win.
        :param args: positional arguments of the call. Keywords are options; use
            :func:`functools.partial` for those of the function. A keyword that could be either is
            refused.
        :raises ClosedError: (a RuntimeError) the queue accepts no more tasks; the function does not
            run.
        :raises InvalidTypeError: (a TypeError) an unknown option, or a function that cannot run
            here.

        >>> with ThreadQueue() as queue:
        ...     handle = queue.submit(divmod, 17, 5, name='division')
        >>> handle.name, handle.value()
        ('division', (3, 2))
        """
        try:
            if options:
                opts = merge(opts, options, self._option_owner(), fn)
                check_names(fn, open_parameters(fn, len(args)), options, OF_A_CALL)
            return self._submit_call(fn, opts, args, None)
        except SupervisorError as error:
            cut_frames(error)
            raise

    def map(self, fn: Callable[..., Any], items: Iterable[Any], *, opts: TaskOptions | None = None,
            checkpoint: Checkpoint | None = None, key: Callable[[Any], Any] | None = None,
            namespace: str | None = None, keep_items: bool = True, **options: Any) -> list[Any]:
        """Submit a call for each item and return the handles, in order.

        May be called from any thread.

        The other arguments and errors are those of :meth:`submit`.

        :param fn: a callable; for a :class:`ProcessQueue` one that a process can import.
        :param items: a tuple is unpacked as positional arguments, a mapping as keywords; any other
            item is the one argument.
        :param opts: as for :meth:`submit` (default: None).
        :param checkpoint: a :class:`Checkpoint` (default: None). Calls that have succeeded before
            are not submitted again; their handles have the stored values.
        :param key: called with each item (default: None, the whole input); returns the key that the
            checkpoint uses instead of the whole input.
        :param namespace: the name that the checkpoint uses instead of the function's (default:
            None, the function's name).
        :param keep_items: show the item of a failed call in its result, in a bounded text (default:
            True).
        :raises ClosedError: as :meth:`submit`. Then no call is left in the queue.

        >>> with ThreadQueue() as queue:
        ...     handles = queue.map(pow, [(2, 3), {'base': 2, 'exp': 4}])
        >>> [handle.value() for handle in handles]
        [8, 16]
        """
        try:
            self._check_open()
            spec = self._spec(fn, opts, options, keep_items)
            page = records_of(checkpoint, fn, key, namespace)
            calls = iter_calls(items, "map", item_keys(key, items), most=self.size)
            return self._submit_all(spec, calls, page)
        except SupervisorError as error:
            cut_frames(error)
            raise

    def group(self, tasks: Any, items: Iterable[Any] | None = None, *, group_id: Any = None,
              opts: TaskOptions | None = None, checkpoint: Checkpoint | None = None,
              key: Callable[[Any], Any] | None = None, namespace: str | None = None,
              keep_items: bool = True, **options: Any) -> Any:
        """Submit calls that belong together and return them as a group.

        May be called from any thread.

        The other arguments and errors are those of :meth:`submit`.

        :param tasks: a function, with ``items`` as for :meth:`map`; or an iterable of ``(function,
            *args)``.
        :param items: items of the calls, if ``tasks`` is a function (default: None).
        :param group_id: a hashable value by which summaries group results (default: ``group-1``,
            ``group-2``, ...).
        :param opts: as for :meth:`submit` (default: None).
        :param checkpoint: as for :meth:`map` (default: None).
        :param key: as for :meth:`map` (default: None, the whole input); it needs ``items``.
        :param namespace: as for :meth:`map` (default: None, the function's name).
        :param keep_items: as for :meth:`map` (default: True).
        :raises InvalidTypeError: (a TypeError) ``items`` is missing, or is given without a
            function.

        >>> with ThreadQueue() as queue:
        ...     group = queue.group([(abs, -1), (len, 'ab')])
        >>> group.group_id, group.values()
        ('group-1', (1, 2))
        """
        try:
            return self._submit_group(tasks, items, group_id,
                                      merge(opts, options, self._option_owner()),
                                      (checkpoint, key, namespace), keep_items)
        except SupervisorError as error:
            cut_frames(error)
            raise

    def _submit_group(self, tasks: Any, items: Iterable[Any] | None, group_id: Any,
                      merged: TaskOptions, records: tuple[Any, Any, Any], keep_items: bool) -> Any:
        self._check_open()
        checkpoint, key, namespace = records
        if group_id is None:
            group_id = merged.group_id
        if group_id is None:
            group_id = f"group-{next(self._groups)}"
        merged = merged.replace(group_id=group_id)
        # The functions, with their specs and calls.
        calls: list[Any] = []
        if items is not None:
            calls.append((tasks, self._spec(tasks, merged, {}, keep_items),
                          iter_calls(items, "group", item_keys(key, items),
                                     most=self.size)))
        elif key is not None:
            raise InvalidTypeError("key= is called with each item of a group, and needs items=")
        for position, call in enumerate(() if items is not None else _checked_group(tasks)):
            if not isinstance(call, tuple) or not call or not callable(call[0]):
                raise InvalidTypeError("group takes a function and items, or an iterable of "
                                       f"(function, *args); item {position} is {shown(call)}")
            calls.append((call[0], self._spec(call[0], merged, {}, keep_items), [[call[1:]]]))
        handles: list[Any] = []
        pages: dict[Any, FunctionRecords | None] = {}
        aborts = self._aborts
        try:
            for function, spec, chunks in calls:
                if spec not in pages:
                    pages[spec] = records_of(checkpoint, function, key, namespace)
                handles += self._submit_all(spec, chunks, pages[spec], aborts, len(handles))
            return self._group(group_id, handles)
        except BaseException:
            cancel_many([handle.task for handle in handles])
            raise

    @ends_traceback
    def task(self, opts: Any = None, **options: Any) -> Any:
        """Decorate a function, so that calling it submits and returns a handle.

        The decorator works with or without parentheses. Option names among the keywords of a call
        override for that call. See :class:`QueueTask`. The decorator may stand above
        ``@staticmethod`` and ``@classmethod``.

        :param opts: the function, or :class:`TaskOptions` (default: None).
        :return: the decorated function, or a decorator.

        >>> queue = ThreadQueue()
        >>> @queue.task(priority=1)
        ... def double(x):
        ...     return 2 * x
        >>> handle = double(21)
        >>> queue.run().values, handle.priority
        ((42,), 1)
        """
        if callable(opts) or issubclass(type(opts), (staticmethod, classmethod, ClassTask)):
            return self._bind(opts, merge(None, options, self._option_owner()))
        merged = merge(opts, options, self._option_owner())
        return ends_traceback(lambda function: self._bind(function, merged))

    def _bind(self, function: Any, options: TaskOptions) -> Any:
        if type(function) is ClassTask:
            function = classmethod(function._function)
        if issubclass(type(function), classmethod):
            return ClassTask(self._bind(function.__func__, options))
        if issubclass(type(function), staticmethod):
            return staticmethod(self._bind(function.__func__, options))
        return QueueTask(self, self._check(function), options)

    def _option_owner(self) -> str:
        return f"{self._label()}'s task"

    def _check_open(self) -> None:
        # Done callbacks and hooks may submit while the queue is shut down, as shutdown() waits for
        # them.
        closed = self._closing and (self._discarding or self._closed
                                    or not self._callbacks.is_inside())
        if closed or self._aborting:
            raise self._refused(closed)

    def _refused(self, closed: bool = False) -> ClosedError:
        """Return the error for a submission that the queue refuses."""
        name = type(self).__name__
        if closed or self._discarding:
            return ClosedError(f"this {name} is closed and takes no more tasks; reset() opens it "
                               "again")
        if self._aborting:
            return ClosedError(f"this {name} has aborted, after a failure with "
                               "fail_policy='fail_first' or at the timeout of its run, and accepts "
                               "no more tasks until its run has ended")
        return ClosedError(f"this {name} has aborted during the submission, after a failure with "
                           "fail_policy='fail_first' or at the timeout of its run; submit again")

    def _check(self, function: Any) -> Any:
        """Return the function below its decorators, if tasks of it can run here.

        :raises InvalidTypeError: (a TypeError) they cannot.
        """
        function = undecorated(function)
        if not callable(function):
            raise not_a_function(self._label(), function)
        runs_when_called(function)
        self._check_kind(function, is_coroutine_function(function))
        return function

    def _check_kind(self, function: Any, coroutine: bool) -> None:
        raise NotImplementedError

    def _spec(self, function: Any, options: TaskOptions | None, changes: Mapping[str, Any],
              keeps_items: bool = False) -> TaskSpec:
        """Return the spec of a function with some options.

        It is the same object each time, as long as function and options are the same objects.
        """
        if changes:
            return self._make_spec(self._check(function),
                                   merge(options, changes, self._option_owner(), function),
                                   keeps_items)
        chosen = PLAIN if options is None else options
        # By their ids, as functions need not be hashable. The entry keeps both objects alive, so
        # that no others get these ids.
        key = id(function), id(chosen), keeps_items
        kept = self._specs.get(key)
        if (kept is None or kept[0].loop is not self._bind_loop()
                or kept[0].lane is not self._lane):     # it was made before a reset
            if len(self._specs) >= _KEPT:
                self._specs.clear()
            policy = self._policy
            spec = self._make_spec(self._check(function), merge(chosen, {}, self._option_owner()),
                                   keeps_items)
            kept = spec, function, chosen
            if policy == self._policy:      # else a run has begun or ended meanwhile
                self._specs[key] = kept
        return kept[0]

    def _bind_loop(self) -> Any:
        """Return the loop that tasks run in, or None."""
        return None

    def _make_spec(self, function: Callable[..., Any], options: TaskOptions,
                   keeps_items: bool) -> TaskSpec:
        loop = self._bind_loop()
        rank = DEFAULT_PRIORITY if options.priority is None else options.priority
        if options.detached:
            self._some_detached = True
        target = self._add_initializer(function)
        options = options.replace(priority=self.pool_priority)
        spec = self.supervisor.make_spec(target, self.tt, options, loop=loop, lane=self._lane,
                                         rank=rank, hooks=self._hooks)
        spec.keeps_items = spec.unpacks_items = keeps_items
        # With the queue's own policy, too: a task that runs as a run ends follows it from then on.
        if "fail_first" in (self._policy, self.fail_policy):
            self._report_failures(spec)
        if self.tt == TT_MP and isinstance(target, InitializedCall):
            # Pickled once, and kept by the processes as plain functions are.
            from ..pools.process.child import pickle_target

            try:
                spec.pickled_target = pickle_target(target)
            except Exception:
                pass            # each of its tasks fails with the cause
        return spec

    def _add_initializer(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with the initializer, if there is one, called before it."""
        if self.initializer is None or self._initializer_state is None:
            return function
        return InitializedCall(function, self.initializer, self.initargs, self._initializer_state)

    def _report_failures(self, spec: TaskSpec) -> None:
        """Have tasks report a failure before they end."""
        if not spec.reports_errors:
            spec.reports_errors = True
            spec.target = report_errors(spec.target, self._function_raised)

    def _submit_all(self, spec: TaskSpec, chunks: Iterable[list[Call]],
                    page: FunctionRecords | None,
                    aborts: int | None = None, base: int = 0) -> list[Any]:
        accepted: list[Task[Any]] = []
        if aborts is None:
            aborts = self._aborts
        submissions, entry = self._submissions, Batch(aborts)
        try:
            if type(chunks) is list:        # then a run does not end between two of them
                submissions.calls[entry] = get_ident()
            for chunk in chunks:
                # A submission waits for room for one task at a time, when all tasks before it are
                # in the ledger, where an abort finds them.
                waits = self.on_full == "block" and len(chunk) > 1 and _may_block(spec)
                for calls in ([call] for call in chunk) if waits else (chunk,):
                    self._submit_together(spec, calls, page, accepted, aborts, base)
            submissions.done(entry)
            # Not earlier: the garbage collector would visit the handles again and again meanwhile.
            return make_handles(accepted, self._handle)
        except BaseException:
            submissions.done(entry)
            # All or none: the caller gets no handles of the accepted ones.
            cancel_many(accepted)
            raise

    # Both of the following methods are one try statement, as an interrupt may come at any line.

    def _submit_together(self, spec: TaskSpec, calls: list[Call], page: FunctionRecords | None,
                         accepted: list[Task[Any]], aborts: int, base: int = 0) -> None:
        """Submit calls of one function together, and append their tasks to the accepted ones.

        :param aborts: see :meth:`_check_accepting`.
        """
        submissions, entry = self._submissions, Batch(aborts)
        tasks: list[Task[Any]] = []         # under submission
        try:
            submissions.calls[entry] = get_ident()
            self._check_accepting(spec, aborts)
            entered = tasks
            first = base + len(accepted)        # the index of the first task
            watched = self._policy == "fail_first"
            if page is None and not watched and dict not in map(type, calls):
                # One C call, so that no interrupt comes between starting the tasks and having them.
                tasks.extend(chain.from_iterable(map(spec.pool.start_many, (spec,), (calls,),
                                                     (first,))))
            else:
                tasks += _make_tasks(spec, _without_known_by(calls))
                if page is not None:
                    entered, tasks = self._resume(spec, calls, tasks, page)
                number_tasks(entered, first)
                if watched:
                    self._watch_failures(tasks, new=True)
                spec.pool.submit_many(tasks)        # type: ignore[attr-defined]
            self._record_accepted(entered, watched, aborts)
            accepted += entered
            self._callbacks.submitted(tasks)
            submissions.done(entry)
        except BaseException:
            self._undo_submission(submissions, entry, tasks)
            raise

    def _submit_call(self, function: Callable[..., Any], options: TaskOptions | None,
                     args: tuple[Any, ...],
                     keywords: dict[str, Any] | None) -> Any:
        """Submit one call, with keywords of the function, and return its handle."""
        self._check_open()
        spec = self._spec(function, options, {})
        tasks: tuple[Task[Any]] = (Task(spec, args, keywords, copy_context()),)
        handle = self._handle(tasks[0])
        submissions = self._submissions
        try:
            submissions.calls[tasks] = get_ident()
            self._check_accepting(spec)
            watched = self._policy == "fail_first"
            if watched:
                self._watch_failures(tasks, new=True)
            spec.pool.submit(tasks[0])
            self._record_accepted(tasks, watched)
            self._callbacks.submitted(tasks)
            submissions.done(tasks)
            return handle
        except BaseException:
            self._undo_submission(submissions, tasks, tasks)
            raise

    def _asubmit_call(self, function: Callable[..., Any], options: TaskOptions,
                      args: tuple[Any, ...],
                      keywords: dict[str, Any] | None) -> Any:
        """Submit one call in a coroutine that waits for room. Only an AsyncQueue can."""
        raise InvalidTypeError(f"{self._label()} has no coroutines that wait for room: a thread "
                               "that submits to a full one blocks until there is room")

    def _check_accepting(self, spec: TaskSpec, aborts: int | None = None) -> None:
        """Check that tasks may be submitted, when the submission has been noted as under way.

        A thread that closes the queue waits until the submission has ended, or it finds the queue
        closed here.

        :param aborts: how often the queue had aborted when the first call of the batch was
            submitted.
        :raises ClosedError: the queue is closed, was reset, or has aborted since.
        """
        self._check_open()
        if spec.lane is not self._lane:
            raise ClosedError(f"this {type(self).__name__} was reset meanwhile")
        if aborts is not None and aborts != self._aborts:
            raise self._refused()

    def _resume(self, spec: TaskSpec, calls: list[Call], tasks: list[Task[Any]],
                page: FunctionRecords
                ) -> tuple[list[Task[Any]], list[Task[Any]]]:
        """Return the tasks of some calls, and those of them that are to be submitted.

        Calls that a checkpoint knows get tasks that have ended.
        """
        keys = [page.key(call) for call in calls]
        # Restored first, so that an unreadable value is an error before anything is submitted.
        tasks = [_restored_task(spec, f"{next(self._restored):08x}{self._key}", page.value(key))
                 if key in page.known else task
                 for key, task in zip(keys, tasks)]
        missing = [task for task in tasks if not task.done()]
        _store([task for task in tasks if task.done()], spec)
        for key, task in zip(keys, tasks):
            if not task.done():
                # No other thread has the task yet, so no lock is needed.
                task._extra_fields().callbacks = [partial(page.keep_success, key)]
                self._callbacks.add_submitting(task)
        return tasks, missing

    def _record_accepted(self, tasks: Sequence[Task[Any]], watched: bool,
                         aborts: int | None = None) -> None:
        """Append tasks that were just accepted, or restored from a checkpoint, to the ledger.

        :param aborts: see :meth:`_check_accepting`.
        """
        self._tasks.extend(tasks)
        if self._pool is None and tasks:
            self._pool = tasks[0]._spec.pool
        if self._policy == "fail_first" and not watched:
            # A run with another policy has begun meanwhile, and may not have seen these tasks.
            self._watch_failures(tasks)
        if (self._aborting or self._discarding or self._closed
                or aborts is not None and aborts != self._aborts):
            # They were accepted while the queue aborted, and end as its other tasks do.
            spare = not (self._discarding or self._closed)
            cancel_many([task for task in tasks if not (spare and task.options.must_complete)],
                        "as its queue cancelled all its tasks meanwhile")

    def _undo_submission(self, submissions: WaitGroup, entry: Any,
                         tasks: Sequence[Task[Any]]) -> None:
        """Undo a submission that is about to raise, as it was refused or interrupted.

        :raises QueueFullError: if that is the reason; its message names the queue.
        """
        try:
            accepted, others = _cancel_accepted(tasks)
            # No comprehension: see _without_known_by().
            begun = list(filter(Task._has_started, accepted))
            if begun:
                # They run already, so they are counted and waited for.
                known = set(self._tasks)
                self._tasks.extend(filterfalse(known.__contains__, begun))
            for task in others:
                call_callbacks(task)            # its pool will not, as it never had the task
        finally:
            self._callbacks.submitted(tasks)
            submissions.done(entry)
        if isinstance(sys.exc_info()[1], QueueFullError) and not self._lane.has_room():
            raise QueueFullError(f"this {type(self).__name__} is full: {self.size} tasks wait in "
                                 f"it already (size={self.size}). Let it run while you submit, and "
                                 "use asubmit() or amap() of the queue, which wait for room"
                                 ) from None


class Batch:
    """Stands for a submission under way, of calls that are accepted all or none."""

    __slots__ = ("aborts",)

    def __init__(self, aborts: int) -> None:
        # How often the queue had aborted when the first of the calls was submitted.
        self.aborts: int = aborts


def _restored_task(spec: TaskSpec, task_id: str, value: Any) -> Task[Any]:
    """Make a task that has succeeded without having been submitted."""
    task: Task[Any] = Task(spec, (), None, None)
    task._extra_fields().task_id = task_id
    # No other thread has it yet, so no lock is needed.
    task._advance(COMPLETED, perf_counter(), value)
    return task


def _store(restored: list[Task[Any]], spec: TaskSpec) -> None:
    """Have the result backend, if there is one, store the values under the ids of these tasks."""
    pool: Any = spec.pool
    recorder = pool.lifecycle.recorder
    if recorder is not None:
        with pool.lock:
            for task in restored:
                recorder.on_finished(task)


def _checked_group(tasks: Any) -> Any:
    if callable(tasks) or isinstance(tasks, (str, bytes)) or not has_method(tasks, "__iter__"):
        raise InvalidTypeError("group takes a function and items, or an iterable of (function, "
                               "*args)"
                               + ("; the items are missing" if callable(tasks)
                                  else f", not {type(tasks).__name__}"))
    return tasks


def _without_known_by(calls: list[Call]) -> list[Any]:
    # Not in the try statement of the caller: from 3.12 on a comprehension is inlined, and
    # an interrupt at its end passes by the except clause that surrounds it.
    return [one.call if type(one) is Keyed else one for one in calls]


def _make_tasks(spec: TaskSpec, calls: list[Call]) -> list[Task[Any]]:
    """Make the tasks of calls. They are not submitted yet."""
    context = copy_context()        # each attempt has a copy of its own
    return [Task(spec, (), call, context) if type(call) is dict else Task(spec, call, None, context)
            for call in calls]


def _may_block(spec: TaskSpec) -> bool:
    """Return True if a submission may have to wait for room, in the lane or in the pool."""
    pool: Any = spec.pool
    return spec.lane.size is not None or pool.run_queue.fast_limit != maxsize


def _cancel_accepted(tasks: Sequence[Task[Any]]) -> tuple[list[Task[Any]], list[Task[Any]]]:
    """Cancel those of some tasks that have been accepted, from the last to the first.

    Return them, and the others, both in order.
    """
    accepted: list[Task[Any]] = []
    others: list[Task[Any]] = []
    for task in tasks:
        live = task._spec.pool.registry.live            # type: ignore[attr-defined]
        (accepted if task.done() or live.get(getattr(task, "_number", None)) is task
         else others).append(task)
    cancel_many(accepted)
    return accepted, others
