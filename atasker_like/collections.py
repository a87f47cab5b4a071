"""Collections of functions that are run together, in order of priority: one after the other, or as tasks in threads."""
from __future__ import annotations

import sys
from math import ceil
from sys import float_info
from threading import Event, Lock

from ._checks import number
from ._inspect import attribute_of, is_coroutine_function, names_keyword, traceback_text
from ._log import log
from .constants import TASK_NORMAL, TT_THREAD
from .errors import InvalidArgumentError, InvalidTypeError
from .options import TaskOptions, check_unknown
from .pools.base import cancel_many
from .supervisor.supervisor import TaskSupervisor
from .tasks import task_supervisor
from .waiting import as_completed, wait_completed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Mapping, Union

    from .engine.task import Task

    Function = Callable[[], Any]
    Number = Union[int, float]

__all__ = ["FunctionCollection", "TaskCollection"]


class FunctionCollection:
    """Functions that are run together, most urgent first, in the thread that calls.

    Without ``on_error`` a function that raises ends the run: :meth:`run` raises its exception, and the rest is not run. With
    ``on_error`` the others run as well. All methods may be called from any thread.

    :param on_error: called for each function that raises, in the same thread, inside the ``except`` block. It gets the
        exception as ``e=`` if it has a parameter named ``e``; ``**kwargs`` alone does not count. What it raises is logged.
    :param on_error_kwargs: further keyword arguments for it.
    :param include_exceptions: give ``(exception, traceback as text)`` as the result of a function that raises
        (default: None).
    :param options: ignored if a subclass passes them on; the log has a line at DEBUG.
    :raises InvalidTypeError: (a TypeError) on_error cannot be called, on_error_kwargs is no mapping, or an option that
        does not exist.

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
            check_unknown(type(self), options, ("on_error", "on_error_kwargs", "include_exceptions", *self._options))
        if on_error is not None and not callable(on_error):
            raise InvalidTypeError(f"on_error takes a callable, not {type(on_error).__name__}")
        try:
            self.on_error_kwargs: dict[str, Any] = dict(on_error_kwargs or {})
        except (TypeError, ValueError):
            raise InvalidTypeError(f"on_error_kwargs takes a mapping, not {type(on_error_kwargs).__name__}") from None
        self.on_error = on_error
        self.include_exceptions = bool(include_exceptions)
        self.default_priority: Number = TASK_NORMAL
        self._lock = Lock()     # guards _entries, which is replaced and never changed
        self._entries: tuple[tuple[Number, Function], ...] = ()       # in the order of their arrival

    def __call__(self, f: Function | None = None, priority: Number | None = None) -> Any:
        """Add a function and return it: ``@collection``, ``@collection(priority=50)``. ``collection()`` runs it."""
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
        """Add a function; one that is there already stays as it is.

        :param f: a function that can be called without arguments.
        :param priority: any number, lower runs first; NORMAL unless told. Ties run in the order of their arrival.
        :raises InvalidTypeError: (a TypeError) not callable, or a coroutine function, or the priority is no number.
        """
        if not callable(f):
            raise InvalidTypeError(f"a collection takes functions, not {type(f).__name__}")
        if is_coroutine_function(f):
            raise InvalidTypeError(f"{_key_of(f)} is a coroutine function, which a collection would never await; add a plain "
                                   "function that calls it with asyncio.run(), or with run() of a loop")
        rank = self.default_priority if priority is None else _check_priority(priority)
        with self._lock:
            entries = self._entries
            # By identity first: comparing runs code of others.
            if not any(other is f for _, other in entries):
                self._entries = (*entries, (rank, f))

    def remove(self, f: Function) -> None:
        """Take a function out.

        :raises InvalidArgumentError: (a ValueError) it is not there; ``on_error`` is called instead if there is one.
        """
        entries = self._entries
        gone = next((entry for entry in entries if entry[1] is f or entry[1] == f), None)   # a method is made anew each time
        with self._lock:
            was = self._entries
            self._entries = tuple(entry for entry in was if entry is not gone)
        if gone is None:
            try:
                raise InvalidArgumentError(f"{_key_of(f)} is not in this collection")
            except InvalidArgumentError:
                if self.on_error is None:
                    raise
                self.error()

    def run(self) -> dict[str, Any]:
        """Run all functions; return their results by ``'module.name'``, in the order of their priority.

        :raises BaseException: the exception of a function, if there is no ``on_error``.
        """
        return self.execute()[0]

    def execute(self) -> tuple[dict[str, Any], bool]:
        """Run all functions; return what :meth:`run` returns, and True if none raised. Errors as :meth:`run`."""
        results: dict[str, Any] = {}
        all_ok = True
        for _, function in self._in_order():
            result, ok = self._call(function)
            results[_key_of(function)] = result
            all_ok = all_ok and ok
        return results, all_ok

    def error(self) -> None:
        """Called inside the ``except`` block for the exception of a function: call ``on_error``, or raise it again.

        May be overridden. What it raises ends the run.
        """
        if self.on_error is None:
            raise
        keywords = dict(self.on_error_kwargs)
        if "e" not in keywords and names_keyword(self.on_error, "e"):
            keywords["e"] = sys.exc_info()[1]
        try:
            self.on_error(**keywords)
        except Exception:
            log.exception("on_error of a collection raised")

    def _in_order(self) -> list[tuple[Number, Function]]:
        return sorted(self._entries, key=lambda entry: entry[0])        # stable: ties as they came

    def _call(self, function: Function) -> tuple[Any, bool]:
        try:
            return function(), True
        except Exception as error:
            return self._failed(function, error), False

    def _failed(self, function: Function, error: BaseException) -> Any:
        """Call :meth:`error` for an exception that is being handled; return the result that stands for it."""
        result = None
        if self.include_exceptions:
            result = error, traceback_text(error, error.__traceback__)
        self.error()
        return result


class TaskCollection(FunctionCollection):
    """The same as :class:`FunctionCollection`, with the functions run as tasks in pool threads, at the same time.

    :param supervisor: the supervisor to use; ``task_supervisor`` unless told.
    :param poll_delay: accepted for old applications: nothing here polls.
    :raises InvalidTypeError: (a TypeError) supervisor is none; and as :class:`FunctionCollection`.

    The functions start in the order of their priority, which is that of their tasks, too; a fraction counts as the next
    whole number there. ``on_error`` is called in the thread of the function. A run ends when all of them have ended. If it
    ends with an exception, those that have not started are cancelled, and those that run are asked to end.

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
        if supervisor is not None and not isinstance(supervisor, TaskSupervisor):
            raise InvalidTypeError(f"supervisor takes a TaskSupervisor, not {type(supervisor).__name__}")
        self.supervisor = task_supervisor if supervisor is None else supervisor
        self.poll_delay = poll_delay

    def execute(self) -> tuple[dict[str, Any], bool]:
        """Run all functions in pool threads and wait for them; return what :meth:`run` returns, and True if none raised.

        A pool thread that calls this lends its slot meanwhile.

        :raises SupervisorStoppedError: (a RuntimeError) the supervisor has been stopped; none of them runs any more.
        :raises BaseException: as :meth:`run`.
        """
        tasks: dict[Task[Any], Function] = {}
        outcomes: dict[Task[Any], tuple[Any, bool]] = {}
        raised = None
        over = Event()          # a function has raised: those that have not begun do not run
        try:
            for priority, function in self._in_order():
                options = TaskOptions(name=_key_of(function), priority=ceil(priority))
                spec = self.supervisor.make_spec(self._call_in_task, TT_THREAD, options)
                tasks[self.supervisor._supervisor_parts.specs.starter(spec)(spec, (function, over), None)] = function
            for task in as_completed(tasks):
                *outcome, raised = self._outcome(task, tasks[task])
                outcomes[task] = outcome[0], outcome[1]
                if raised is not None:
                    break
        except BaseException:
            cancel_many(list(tasks))
            raise
        if raised is not None:
            cancel_many(list(tasks))
            wait_completed(list(tasks))
            raise raised
        ordered = [(tasks[task], *outcomes[task]) for task in tasks]
        return {_key_of(function): result for function, result, _ in ordered}, all(ok for _, _, ok in ordered)

    def _call_in_task(self, function: Function, over: Event) -> tuple[Any, bool, BaseException | None]:
        """Return the result, True if it is good, and an exception that ends the run, or None."""
        if over.is_set():
            return None, False, None
        try:
            return (*self._call(function), None)
        except Exception as error:
            over.set()          # before this thread takes the next task
            return None, False, error
        except BaseException:   # the task fails with it, and _outcome() looks at it
            if self.on_error is None:
                over.set()
            raise

    def _outcome(self, task: Task[Any], function: Function) -> tuple[Any, bool, BaseException | None]:
        """Return what :meth:`_call_in_task` has returned, or the same for a task that exited or was cancelled."""
        try:
            outcome: tuple[Any, bool, BaseException | None] = task.value(0)
            return outcome
        except BaseException as error:
            try:
                return self._failed(function, error), False, None
            except BaseException as raised:
                return None, False, raised


def _key_of(function: Any) -> str:
    """Return ``'module.name'``; of an object without a name, that of its class."""
    module, name = attribute_of(function, "__module__", str), attribute_of(function, "__name__", str)
    kind = type(function)
    return f"{module}.{name}" if module and name else f"{kind.__module__}.{kind.__name__}"


def _check_priority(priority: Any) -> Number:
    return number("priority", priority, -float_info.max)
