"""Checked arguments: each function returns the value in its final form, or raises an error.

Durations follow one rule everywhere. They are seconds, as a number or as a timedelta. NaN, and a
number that no float can hold, are refused. A negative one is refused in an option, and counts as 0
in a wait. Infinity is the same as None where None sets no limit, and is refused elsewhere.
"""
from __future__ import annotations

import sys
from sys import float_info
from types import FunctionType

from . import _modes
from ._core_errors import InvalidArgumentError, InvalidTypeError, SupervisorError
from ._inspect import described, generator_kind, is_coroutine_function, name_of, shown, traceback_of
from ._log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import timedelta
    from types import CodeType, TracebackType
    from typing import Any, Callable, Iterable, TypeVar, Union

    C = TypeVar("C", bound=type)
    F = TypeVar("F", bound=Callable[..., Any])
    T = TypeVar("T")

    #: The type of a duration in an argument.
    Seconds = Union[float, timedelta]


#: Not that of math, which is a shared object to load in many builds.
inf = float("inf")

#: The warnings that have been logged. No lock: adding to a set is atomic.
_warned: set[str] = set()


def integer(name: str, value: Any) -> int:
    """Check an integer, and return it as a plain ``int``."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidTypeError(f"{name} takes an integer, not {type(value).__name__}")
    return int(value)


def count(name: str, value: Any, least: int = 1) -> int:
    """Check an integer that is at least ``least``, and return it."""
    checked = integer(name, value)
    if checked < least:
        raise InvalidArgumentError(f"{name} takes an integer {least} or more, not {checked}")
    return checked


def count_or_none(name: str, value: Any) -> int | None:
    """Check an integer that is at least 1 and may be left out, and return it."""
    return None if value is None else count(name, value)


def instance(name: str, value: Any, kind: type[T], what: str) -> T:
    """Check that a value is of a class, and return it.

    :param what: the class in words, such as "a Backend".
    """
    if not isinstance(value, kind):
        raise InvalidTypeError(f"{name} takes {what}, not {type(value).__name__}")
    return value


def callable_or_none(name: str, value: Any) -> Any:
    """Check a function that may be left out, and return it."""
    if value is not None and not callable(value):
        raise InvalidTypeError(f"{name} takes a callable, not {type(value).__name__}")
    return value


def plain_or_none(name: str, value: Any, way: str) -> Any:
    """Check a function that may be left out and is called without ``await``, and return it.

    A program written for atasker gets one warning, since there a coroutine function is accepted.

    :param way: what to give instead of a coroutine function.
    """
    return None if value is None else plain(name, value, way)


def plain(name: str, value: Any, way: str) -> Any:
    """Check a function that is called without ``await``, as :func:`plain_or_none` does."""
    if not callable(value):
        raise InvalidTypeError(f"{name} takes a callable, not {type(value).__name__}")
    if is_coroutine_function(value):
        refuse(f"{name} takes a plain function; {name_of(value)} is a coroutine function, "
               f"whose call does nothing by itself; {way}")
    return value


def mapping(name: str, value: Any) -> dict[str, Any]:
    """Check keyword arguments, and return them as a dict. None is an empty one."""
    try:
        return dict(value or {})
    except (TypeError, ValueError):
        raise InvalidTypeError(f"{name} takes a mapping, not {type(value).__name__}") from None


def hashable(name: str, value: Any) -> Any:
    """Check a value that is to be a key of dicts, and return it."""
    try:
        hash(value)
    except Exception as error:
        raise InvalidTypeError(f"{name} takes a value that can be hashed, not {shown(value)} "
                               f"({described(error)}); give a string, a number or a tuple of these"
                               ) from None
    return value


def one_of(name: str, value: Any, values: tuple[str, ...]) -> str:
    """Check a string that is to be one of some, and return it."""
    # Not `in` alone: the object may have an __eq__ of its own.
    if not issubclass(type(value), str) or value not in values:
        raise InvalidArgumentError(f"{name} takes one of {', '.join(map(repr, values))}, not "
                                   f"{shown(value)}")
    return str(value)


def flag(name: str, value: Any) -> bool:
    """Check a flag, and return it. A program written for atasker may pass any object."""
    if not isinstance(value, bool) and not _modes.legacy:
        raise InvalidTypeError(f"{name} takes True or False, not {shown(value)}")
    return bool(value)


def initargs(value: Any) -> tuple[Any, ...]:
    """Check the arguments of an initializer, and return them as a tuple."""
    if not isinstance(value, (str, bytes)) or _modes.legacy:
        try:
            return tuple(value)
        except TypeError:
            if hasattr(type(value), "__iter__"):
                raise               # code of the application
    raise InvalidTypeError("initargs takes the arguments of the initializer as a tuple, not "
                           f"{a_kind(value)}")


def number(name: str, value: Any, least: float = 0, above: bool = False) -> float:
    """Check a finite number that is at least ``least``, or above it, and return it."""
    bound = f"above {least:g}" if above else f"{least:g} or more"
    return _checked(name, value, "a number", f"a number {bound}", least, above)


def rate(name: str, value: Any) -> float:
    """Check a number of starts a second, and return it."""
    return _checked(name, value, "a number", "a number of starts a second above 0", 1e-9, False,
                    1e9)


def seconds(name: str, value: Any, above: bool = False) -> float:
    """Check a duration of 0 or more, or above 0, and return it in seconds."""
    return _checked(name, value, "seconds or a timedelta", f"seconds {_FROM[above]}", 0, above)


def seconds_or_none(name: str, value: Any, above: bool = False) -> float | None:
    """Check a duration of 0 or more, or above 0, and return it in seconds.

    None and infinity set no limit.
    """
    if value is None:
        return None
    checked = _checked(name, value, "seconds, a timedelta or None",
                       f"seconds {_FROM[above]}, or None", 0, above, inf)
    return None if checked == inf else checked


def wait_seconds(name: str, value: Any) -> float | None:
    """Check the time of a wait, and return it in seconds, at least 0.

    None and infinity set no limit.
    """
    if value is None:
        return None
    checked = _checked(name, value, "seconds, a timedelta or None", "seconds or None", -inf, False,
                       inf)
    return None if checked == inf else max(0, checked)


_FROM = ("from 0 on", "above 0")


def _checked(name: str, value: Any, kind: str, bounds: str, least: float, above: bool,
             most: float = float_info.max) -> float:
    """Return a number as it is, and a timedelta in seconds."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        datetime = sys.modules.get("datetime")      # loaded, if there is a timedelta
        if datetime is None or not isinstance(value, datetime.timedelta):
            raise InvalidTypeError(f"{name} takes {kind}, not {type(value).__name__}")
        value = value.total_seconds()
    try:
        checked = float(value)
    except OverflowError:
        raise InvalidArgumentError(f"{name} takes {bounds}, not a number that large") from None
    if not least <= checked <= most or (above and checked == least):        # NaN is in no range
        raise InvalidArgumentError(f"{name} takes {bounds}, not {value!r}")
    return value if type(value) is int else checked


def in_seconds(value: Any) -> str:
    """Return the time of a wait, as it was given, for a message: ``0.5 s``."""
    waited = wait_seconds("timeout", value)
    return "unlimited time" if waited is None else f"{waited:g} s"


def runs_when_called(function: Any) -> None:
    """Refuse a generator function: a call returns at once, and an iteration runs its body.

    A program written for atasker gets one warning, since there the task succeeds.

    :raises InvalidTypeError: with the way out.
    """
    kind = generator_kind(function)
    if kind is None:
        return
    name = name_of(function)
    way = ("submit a coroutine function that iterates over it with 'async for'"
           if kind == "an async generator"
           else f"submit a function that iterates over it, such as lambda: list({name}(...))")
    refuse(f"{name} is {kind} function: a call only makes {kind}, and a task would end before "
           f"the first line of its body; {way}, or submit one call for each item with map()")


def refuse(message: str) -> None:
    """Raise an error for a function of the wrong kind.

    A program written for atasker gets one warning, since there the function is accepted.
    """
    if not _modes.legacy:
        raise InvalidTypeError(message)
    if message not in _warned and len(_warned) < _WARNED_MOST:
        _warned.add(message)
        log.warning("%s", message)


_WARNED_MOST = 1000


def not_a_function(what: str, thing: Any) -> InvalidTypeError:
    """Return the error for an object that cannot be called.

    A coroutine is closed, since Python would warn that it was never awaited.

    :param what: what takes a function.
    """
    from collections.abc import Coroutine

    if isinstance(thing, Coroutine):
        name = name_of(thing)
        thing.close()
        return InvalidTypeError(f"{what} takes a function and its arguments, not the coroutine of "
                                f"{name}: pass {name} without calling it")
    return InvalidTypeError(f"{what} takes a function, not {a_kind(thing)}: if it is the result "
                            "of a call, pass the function without calling it")


def positional(what: str, function: Any, args: Any) -> tuple[Any, ...]:
    """Check the positional arguments of a call, and return them as a tuple.

    :param what: what takes them as ``args``.
    """
    if type(args) is tuple:
        return args
    if not isinstance(args, (str, bytes)):
        try:
            return tuple(args)
        except TypeError:
            if hasattr(type(args), "__iter__"):
                raise               # code of the application
    raise InvalidTypeError(f"{what} takes the positional arguments of {name_of(function)} as a "
                           f"tuple, not {a_kind(args)}: args=({shown(args)},)")


def keywords_of(what: str, function: Any, kwargs: Any) -> dict[str, Any] | None:
    """Check the keyword arguments of a call; return them as a dict, or None if there are none.

    :param what: what takes them as ``kwargs``.
    """
    if not kwargs:
        return None
    try:
        return dict(kwargs)
    except (TypeError, ValueError):
        raise InvalidTypeError(f"{what} takes the keyword arguments of {name_of(function)} as a "
                               f"mapping, not {a_kind(kwargs)}") from None


def a_kind(thing: Any) -> str:
    """Return the type of an object with an article, for messages: ``a list``; ``None`` for None."""
    if thing is None:
        return "None"
    name = type(thing).__name__
    return f"an {name}" if name[0] in "AEIOUaeiou" else f"a {name}"


def ends_traceback(function: F) -> F:
    """Decorate a public function: the tracebacks of this package's errors end at its call.

    It is not for functions that submit tasks: an interrupt would lose these in the wrapper. They
    call :func:`cut_frames`.
    """
    wrapper: Any
    if function.__code__.co_flags & _CO_COROUTINE:
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            try:
                return await function(*args, **kwargs)
            except BaseException as error:
                cut_frames(error)
                del args, kwargs        # the traceback may refer to this frame
                raise
    else:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except BaseException as error:
                cut_frames(error)
                del args, kwargs        # the traceback may refer to this frame
                raise
    # As functools.wraps() does, which takes a part of the time that the package needs to load.
    wrapper.__wrapped__ = function
    wrapper.__module__ = function.__module__
    wrapper.__name__ = function.__name__
    wrapper.__qualname__ = function.__qualname__
    wrapper.__doc__ = function.__doc__
    wrapper.__annotations__ = function.__annotations__
    return wrapper      # type: ignore[no-any-return]


_CO_COROUTINE = 0x80        # of inspect


def ends_tracebacks(*but: str) -> Callable[[C], C]:
    """Decorate a class: the tracebacks of this package's errors end at the calls of its methods.

    These are the public methods that take arguments, the constructor and the setters of properties.

    :param but: the methods that are not decorated, such as those that submit tasks.
    """
    def decorate(kind: C) -> C:
        for name, member in list(vars(kind).items()):
            if name in but or name[0] == "_" and name not in ("__init__", "__call__"):
                continue
            if type(member) is property and member.fset is not None:
                setattr(kind, name, member.setter(ends_traceback(member.fset)))
            elif type(member) is FunctionType and _takes_arguments(member.__code__):
                setattr(kind, name, ends_traceback(member))
        return kind

    return decorate


def _takes_arguments(code: CodeType) -> bool:
    return code.co_argcount + code.co_kwonlyargcount > 1 or bool(code.co_flags & 0x0C)


def cut_frames(error: BaseException) -> None:
    """Remove frames from an error that the caller is handling, before it raises the error again.

    If it is an error of this package, its last frame is then that of the application, from Python
    3.11 on; before, it is the caller's. All frames stay after ``set_debug()``, and if code of the
    application is among them. An error of the application loses the frame of the caller, from
    Python 3.11 on. The caller uses a bare ``raise``, which adds no frame. The cause of an error of
    this package is treated alike.
    """
    traceback = traceback_of(error)
    if traceback is None:
        return
    rest = traceback.tb_next
    if issubclass(type(error), SupervisorError) and not log.is_debug():
        if _are_inner(rest):
            # On Python 3.10, a bare raise restores the traceback object that was caught.
            rest = traceback.tb_next = None
        cause = error.__cause__
        if cause is not None and _are_inner(traceback_of(cause)):
            BaseException.with_traceback(cause, None)
    # An error of the application may have a method or an attribute of this name.
    BaseException.with_traceback(error, rest)


def _are_inner(entry: TracebackType | None) -> bool:
    while entry is not None and entry.tb_frame.f_globals.get(
            "__name__", "").partition(".")[0] in _INNER:
        entry = entry.tb_next
    return entry is None


#: Packages with no code of the application.
_INNER = (__name__.partition(".")[0], "asyncio", "concurrent")


def nearest(name: str, known: Iterable[str], otherwise: str) -> str:
    """Return a question with the nearest known name, or ``otherwise`` if none is near."""
    from difflib import get_close_matches

    near = get_close_matches(name, known, 1)
    return f"did you mean {near[0]!r}?" if near else otherwise
