"""Collections of functions that are run together, in order of priority: one after the other, or as tasks in threads."""
from __future__ import annotations

import sys
from math import ceil
from sys import float_info
from threading import Lock

from ._checks import number
from ._inspect import attribute_of, is_coroutine_function, takes_keyword
from ._log import log
from .constants import TASK_NORMAL, TT_THREAD
from .errors import InvalidArgumentError, InvalidTypeError
from .options import TaskOptions
from .pools.base import cancel_many
from .supervisor.supervisor import TaskSupervisor
from .tasks import task_supervisor
from .waiting import wait_completed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Mapping, Union

    from .engine.task import Task

    Function = Callable[[], Any]
    Number = Union[int, float]

__all__ = ["FunctionCollection", "TaskCollection"]


class FunctionCollection:
    """Functions that are run together, most urgent first, in the thread that calls.

    :param on_error: called for each function that raises, in the same thread, while the exception is being handled;
        it gets ``e=``, the exception, when its signature takes that. Without it the error is logged.
    :param on_error_kwargs: further keyword arguments for it.
    :param include_exceptions: give ``(exception, traceback as text)`` as the result of a function that raises;
        otherwise it is None.
    :raises InvalidTypeError: (a TypeError) on_error cannot be called, or on_error_kwargs is no mapping.

    A function that raises does not keep the others from running. All methods may be called from any thread.

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

    def __init__(self, on_error: Callable[..., Any] | None = None,
                 on_error_kwargs: Mapping[str, Any] | None = None, include_exceptions: bool = False) -> None:
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
            raise InvalidTypeError(f"{_key(f)} is a coroutine function, which a collection would never await; add a plain "
                                   "function that calls it with asyncio.run(), or with run() of a loop")
        urgency = self.default_priority if priority is None else _check_priority(priority)
        with self._lock:
            entries = self._entries
            # By identity first: comparing runs code of others.
            if not any(other is f for _, other in entries):
                self._entries = (*entries, (urgency, f))

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
                raise InvalidArgumentError(f"{_key(f)} is not in this collection")
            except InvalidArgumentError:
                if self.on_error is None:
                    raise
                self.error()

    def run(self) -> dict[str, Any]:
        """Run all functions; return their results by ``'module.name'``, in the order of their priority."""
        return self.execute()[0]

    def execute(self) -> tuple[dict[str, Any], bool]:
        """Run all functions; return what :meth:`run` returns, and whether none raised."""
        results: dict[str, Any] = {}
        all_ok = True
        for _, function in self._in_order():
            result, ok = self._call(function)
            results[_key(function)] = result
            all_ok = all_ok and ok
        return results, all_ok

    def error(self) -> None:
        """Called while the exception of a function is being handled: calls ``on_error``, or logs. May be overridden."""
        error = sys.exc_info()[1]
        if self.on_error is None:
            log.error("a function of a collection raised %s: %s; give the collection on_error=, or look at the results "
                      "with include_exceptions=True", type(error).__name__, error, exc_info=True)
        elif takes_keyword(self.on_error, "e") and "e" not in self.on_error_kwargs:
            self.on_error(e=error, **self.on_error_kwargs)
        else:
            self.on_error(**self.on_error_kwargs)

    def _in_order(self) -> list[tuple[Number, Function]]:
        return sorted(self._entries, key=lambda entry: entry[0])        # stable: ties as they came

    def _call(self, function: Function) -> tuple[Any, bool]:
        try:
            return function(), True
        except Exception as error:
            return self._failed(function, error), False

    def _failed(self, function: Function, error: BaseException) -> Any:
        """Tell of an error that is being handled; return what stands for the result. What on_error raises is logged."""
        result = None
        if self.include_exceptions:
            from traceback import format_exc

            result = error, format_exc()
        try:
            self.error()
        except Exception:
            log.exception("on_error of a collection raised, for the error of %s", _key(function))
        return result


class TaskCollection(FunctionCollection):
    """The same as :class:`FunctionCollection`, with the functions run as tasks in pool threads, at the same time.

    :param supervisor: the supervisor to use; ``task_supervisor`` unless told.
    :param poll_delay: accepted for old applications: nothing here polls.
    :raises InvalidTypeError: (a TypeError) supervisor is none; and as :class:`FunctionCollection`.

    The functions start in the order of their priority, which is that of their tasks, too; a fraction counts as the next
    whole number there. ``on_error`` is called in the thread of the function. Running it ends when all of them have ended.

    >>> checks = TaskCollection()
    >>> @checks
    ... def disk():
    ...     return 'ok'
    >>> results, all_ok = checks.execute()
    >>> list(results.values()), all_ok
    (['ok'], True)
    """

    def __init__(self, supervisor: TaskSupervisor | None = None, poll_delay: float | None = None,
                 on_error: Callable[..., Any] | None = None,
                 on_error_kwargs: Mapping[str, Any] | None = None, include_exceptions: bool = False) -> None:
        super().__init__(on_error, on_error_kwargs, include_exceptions)
        if supervisor is not None and not isinstance(supervisor, TaskSupervisor):
            raise InvalidTypeError(f"supervisor takes a TaskSupervisor, not {type(supervisor).__name__}")
        self.supervisor = task_supervisor if supervisor is None else supervisor
        self.poll_delay = poll_delay

    def execute(self) -> tuple[dict[str, Any], bool]:
        """Run all functions in pool threads and wait for them; return what :meth:`run` returns, and whether none raised.

        A pool thread that calls this lends its place meanwhile.

        :raises SupervisorStoppedError: (a RuntimeError) the supervisor has been stopped; none of them runs any more.
        """
        tasks: list[tuple[Function, Task[Any]]] = []
        try:
            for priority, function in self._in_order():
                options = TaskOptions(name=_key(function), priority=ceil(priority))
                spec = self.supervisor.make_spec(self._call, TT_THREAD, options)
                tasks.append((function, self.supervisor.starter(spec)(spec, (function,), None)))
            wait_completed([task for _, task in tasks])
        except BaseException:
            cancel_many([task for _, task in tasks])
            raise
        results: dict[str, Any] = {}
        all_ok = True
        for function, task in tasks:
            try:
                result, ok = task.value()
            except BaseException as error:      # it exited, or was cancelled by a stop: an error like others
                result, ok = self._failed(function, error), False
            results[_key(function)] = result
            all_ok = all_ok and ok
        return results, all_ok


def _key(function: Any) -> str:
    """Return ``'module.name'``; of an object without a name, that of its class."""
    module, name = attribute_of(function, "__module__", str), attribute_of(function, "__name__", str)
    kind = type(function)
    return f"{module}.{name}" if module and name else f"{kind.__module__}.{kind.__name__}"


def _check_priority(priority: Any) -> Number:
    return number("priority", priority, -float_info.max)
