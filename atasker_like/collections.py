"""Collections: functions that run together, in order of priority."""
from __future__ import annotations

from math import ceil
from sys import float_info
from threading import Event, Lock

from . import _modes
from ._checks import ends_tracebacks, mapping, number, plain_or_none, refuse
from ._inspect import (attribute_of, call_on_error, context_of, generator_kind,
                       is_coroutine_function, name_of, set_context, traceback_of, traceback_text)
from .constants import TASK_NORMAL, TT_THREAD
from .engine.wait_graph import block_on
from .errors import InvalidArgumentError, InvalidTypeError
from .options import TaskOptions, check_unknown
from .pools.cancelling import cancel_many
from .tasks import supervisor_or_default
from .waiting import as_completed, wait_completed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Mapping, Optional, Tuple, TypeVar, Union, overload

    from .engine.task import Task
    from .supervisor.supervisor import TaskSupervisor

    F = TypeVar("F", bound=Callable[[], Any])
    Function = Callable[[], Any]
    Number = Union[int, float]
    Outcome = Tuple[Any, bool, Optional[BaseException]]

__all__ = ["FunctionCollection", "TaskCollection"]


@ends_tracebacks()
class FunctionCollection:
    """Functions that run together in the calling thread, in order of priority.

    Without ``on_error``, a function that raises ends the run: :meth:`run` raises its exception, and
    the remaining functions do not run. With ``on_error``, they run. Any thread may call the
    methods.

    :param on_error: called for each function that raises, in the same thread, inside the ``except``
        block (default: None, the error is raised). It receives the exception as ``e=`` if it has a
        parameter named ``e``; ``**kwargs`` alone does not count. What it raises ends the run, as an
        error without ``on_error`` does.
    :param on_error_kwargs: further keyword arguments for it (default: None).
    :param include_exceptions: give ``(exception, traceback as text)`` as the result of a function
        that raises (default: None).
    :param options: an unknown option is an error. If a subclass passes it on, it is ignored, with a
        line at DEBUG in the log.
    :raises InvalidTypeError: (a TypeError) on_error cannot be called, on_error_kwargs is no
        mapping, or an unknown option.

    >>> startup = FunctionCollection()
    >>> @startup
    ... def second():
    ...     return 2
    >>> @startup(priority=50)
    ... def first():
    ...     return 1
    >>> list(startup.run().values())
    [1, 2]
    """

    #: Options of a class beyond those of all collections, for messages.
    _options: tuple[str, ...] = ()

    def __init__(self, on_error: Callable[..., Any] | None = None,
                 on_error_kwargs: Mapping[str, Any] | None = None, include_exceptions: bool = False,
                 **options: Any) -> None:
        if options:
            check_unknown(type(self), options,
                          ("on_error", "on_error_kwargs", "include_exceptions", *self._options))
        self.on_error: Callable[..., Any] | None = plain_or_none(
            "on_error", on_error, "have a plain function submit a background_task")
        self.on_error_kwargs: dict[str, Any] = mapping("on_error_kwargs", on_error_kwargs)
        self.include_exceptions: bool = bool(include_exceptions)
        self.default_priority: Number = TASK_NORMAL
        self._lock = Lock()     # guards _entries, which is replaced and never changed
        self._entries: tuple[tuple[Number, Function], ...] = ()     # in the order of their arrival

    if TYPE_CHECKING:
        @overload
        def __call__(self, f: None = None, priority: None = None) -> dict[str, Any]: ...

        @overload
        def __call__(self, f: None = None, *, priority: Number) -> Callable[[F], F]: ...

        @overload
        def __call__(self, f: F, priority: Number | None = None) -> F: ...

    def __call__(self, f: Any = None, priority: Number | None = None) -> Any:
        """Add a function and return it; without arguments, :meth:`run`.

        As a decorator: ``@collection`` or ``@collection(priority=50)``.
        """
        if f is not None:
            self.append(f, priority)
            return f
        if priority is None:
            return self.run()
        _check_priority(priority)

        def add(function: Function) -> Function:
            self.append(function, priority)
            return function

        return add

    def append(self, f: Function, priority: Number | None = None) -> None:
        """Add a function, unless the collection has it.

        :param f: a function that can be called without arguments.
        :param priority: any number, lower runs first (default: ``default_priority``, NORMAL). Ties
            run in the order of their arrival.
        :raises InvalidTypeError: (a TypeError) not callable, or a coroutine function or generator
            function, or the priority is no number. Under ``exec`` and ``install()``, a warning is
            logged for these functions.
        """
        if not callable(f):
            raise InvalidTypeError(f"a collection takes functions, not {type(f).__name__}")
        if is_coroutine_function(f):
            refuse(f"{_key_of(f)} is a coroutine function, which a collection would never await; "
                   "add a plain function that calls it with asyncio.run(), or with run() of a "
                   "loop")
        kind = generator_kind(f)
        if kind is not None:
            name = name_of(f)
            way = ("with 'async for', in a coroutine that it gives to asyncio.run()"
                   if kind == "an async generator" else f"such as lambda: list({name}())")
            refuse(f"{name} is {kind} function: a call only makes {kind}, and a run of the "
                   "collection would not run a line of its body; add a plain function that "
                   f"iterates over it, {way}")
        rank = self.default_priority if priority is None else _check_priority(priority)
        with self._lock:
            entries = self._entries
            if not _has(entries, f):
                self._entries = (*entries, (rank, f))

    def remove(self, f: Function) -> None:
        """Remove a function.

        If the collection does not have it and there is an ``on_error``, call that.

        :param f: the function, as it was added.
        :raises InvalidArgumentError: (a ValueError) the collection does not have it.
        """
        # Equal methods need not be identical.
        gone = next((entry for entry in self._entries if entry[1] is f or entry[1] == f), None)
        with self._lock:
            self._entries = tuple(entry for entry in self._entries if entry is not gone)
        if gone is None:
            try:
                raise InvalidArgumentError(f"{_key_of(f)} is not in this collection")
            except InvalidArgumentError:
                if self.on_error is None:
                    raise
                self.error()

    def run(self) -> dict[str, Any]:
        """Run all functions in order of priority.

        :return: their results by ``'module.name'``, in that order.
        :raises BaseException: the exception of a function, if there is no ``on_error``, or that of
            ``on_error``.
        """
        return self.execute()[0]

    def execute(self) -> tuple[dict[str, Any], bool]:
        """Run all functions as :meth:`run` does.

        :return: their results, and True if no function raised.
        :raises BaseException: as :meth:`run`.
        """
        results: dict[str, Any] = {}
        all_ok = True
        for _, function in self._in_order():
            try:
                result = function()
            except Exception as error:
                result = self._failed(function, error)
                all_ok = False
            results[_key_of(function)] = result
        return results, all_ok

    def error(self) -> None:
        """Call ``on_error`` for an exception of a function, or raise it again.

        This is called inside the ``except`` block. A subclass may override it. If it raises, the
        run ends with that exception.
        """
        if self.on_error is None:
            raise
        call_on_error(self.on_error, self.on_error_kwargs)

    def _in_order(self) -> list[tuple[Number, Function]]:
        # stable: ties in order of arrival
        return sorted(self._entries, key=lambda entry: entry[0])

    def _failed(self, function: Function, error: BaseException) -> Any:
        """Call :meth:`error` for the current exception; return the result."""
        result = None
        if self.include_exceptions:
            result = error, traceback_text(error, traceback_of(error))
        self.error()
        return result


@ends_tracebacks()
class TaskCollection(FunctionCollection):
    """A :class:`FunctionCollection` that runs its functions as tasks.

    The functions run in pool threads, at the same time.

    Each task has the priority of its function; a fraction is rounded up. ``on_error`` is called in
    the thread of the function. A run ends when all functions have ended. If it ends with an
    exception, the tasks that have not started are cancelled, and those that run are asked to end.

    :param supervisor: the supervisor to use (default: ``task_supervisor``).
    :param poll_delay: seconds; accepted for old applications (default: None). Nothing polls.
    :param on_error: as for :class:`FunctionCollection` (default: None, the error is raised).
    :param on_error_kwargs: as for :class:`FunctionCollection` (default: None).
    :param include_exceptions: as for :class:`FunctionCollection` (default: False).
    :raises InvalidTypeError: (a TypeError) supervisor is no TaskSupervisor; and as
        :class:`FunctionCollection`.

    >>> checks = TaskCollection()
    >>> @checks
    ... def disk():
    ...     return 'ok'
    >>> results, all_ok = checks.execute()
    >>> list(results.values()), all_ok
    (['ok'], True)
    """

    _options: tuple[str, ...] = ("supervisor", "poll_delay")

    def __init__(self, supervisor: TaskSupervisor | None = None, poll_delay: float | None = None,
                 on_error: Callable[..., Any] | None = None,
                 on_error_kwargs: Mapping[str, Any] | None = None, include_exceptions: bool = False,
                 **options: Any) -> None:
        super().__init__(on_error, on_error_kwargs, include_exceptions, **options)
        self.supervisor: TaskSupervisor = supervisor_or_default(supervisor)
        self.poll_delay = poll_delay
        if _modes.legacy:
            self.lock = Lock()      # guards a run: the next one waits for its end

    def execute(self) -> tuple[dict[str, Any], bool]:
        """Run all functions in pool threads and wait for them.

        A pool thread that calls this lends its slot meanwhile. Under ``exec`` and ``install()``,
        runs of one collection follow each other, as in atasker: each holds ``lock``.

        :return: the results as :meth:`run` returns them, and True if no function raised.
        :raises SupervisorStoppedError: (a RuntimeError) the supervisor has been stopped. No
            function runs any more.
        :raises WaitDeadlockError: (a RuntimeError) a function of the run waits for the next run,
            under ``exec`` and ``install()``.
        :raises BaseException: as :meth:`run`.
        """
        if not _modes.legacy:
            return self._execute({})
        fields = vars(self)
        lock = fields.setdefault("lock", Lock())        # it may be older than install()
        if not lock.acquire(False):
            # The run that holds the lock releases it when its tasks have ended.
            run: Any = _CurrentRun(fields)
            block_on(run, lock.acquire, None, True)
        tasks: dict[Task[Any], Function] = {}
        outer = fields.get("_run", {})      # not empty if an application's lock lets one thread in
        try:
            fields["_run"] = tasks
            return self._execute(tasks)
        finally:
            fields["_run"] = outer
            lock.release()

    def _execute(self, tasks: dict[Task[Any], Function]) -> tuple[dict[str, Any], bool]:
        outcomes: dict[Task[Any], tuple[Any, bool]] = {}
        raised = None
        over = Event()          # a function has raised: no other function begins
        try:
            for priority, function in self._in_order():
                options = TaskOptions(name=_key_of(function), priority=ceil(priority))
                spec = self.supervisor.make_spec(self._call_in_task, TT_THREAD, options)
                start = self.supervisor._supervisor_parts.specs.starter(spec)
                tasks[start(spec, (function, over), None)] = function
            for task in as_completed(tasks):
                *outcome, raised = self._outcome(task, tasks[task])
                outcomes[task] = outcome[0], outcome[1]
                if raised is None:
                    continue
                break
        except BaseException:
            cancel_many(list(tasks))
            raise
        if raised is not None:
            cancel_many(list(tasks))
            wait_completed(list(tasks))
            context = context_of(raised)         # the exception of the function, in its thread
            try:
                raise raised
            finally:
                set_context(raised, context)
        results = {_key_of(function): outcomes[task][0] for task, function in tasks.items()}
        return results, all(ok for _, ok in outcomes.values())

    def _call_in_task(self, function: Function, over: Event) -> Outcome:
        """Call a function unless the run is over.

        :return: the result, True if it did not raise, and a fatal exception or None.
        """
        if over.is_set():
            return None, False, None
        try:
            return function(), True, None
        except Exception as error:
            try:
                return self._failed(function, error), False, None
            except BaseException as raised:
                over.set()      # before this thread takes the next task
                return None, False, raised
        except BaseException:   # the task fails with it; see _outcome()
            if self.on_error is None:
                over.set()
            raise

    def _outcome(self, task: Task[Any], function: Function) -> Outcome:
        """Return the outcome of a task as :meth:`_call_in_task` does."""
        try:
            outcome: Outcome = task.value(0)
            return outcome
        except BaseException as error:
            try:
                return self._failed(function, error), False, None
            except BaseException as raised:
                return None, False, raised


class _CurrentRun:
    """The tasks that the current run of a collection has started so far, in a sequence."""

    __slots__ = ("_fields",)

    def __init__(self, fields: dict[str, Any]) -> None:
        self._fields = fields

    def __getitem__(self, part: int | slice) -> Any:
        return list(self._fields.get("_run", {}).copy())[part]


def _key_of(function: Any) -> str:
    """Return ``'module.name'`` of a function, or of its class."""
    module = attribute_of(function, "__module__", str)
    name = attribute_of(function, "__name__", str)
    kind = type(function)
    return f"{module}.{name}" if module and name else f"{kind.__module__}.{kind.__name__}"


def _check_priority(priority: Any) -> Number:
    return number("priority", priority, -float_info.max)


def _has(entries: Iterable[tuple[float, Function]], function: Function) -> bool:
    # By identity: a comparison may run code of the application.
    return any(other is function for _, other in entries)
