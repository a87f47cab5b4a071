"""TaskOptions: the options of a task beside its function and arguments.

Options are checked once, when they are made. They are frozen then, and shared by all calls of a
function, so that they cost a call nothing. They are merged here and nowhere else.
"""
from __future__ import annotations

import builtins
import sys
from functools import partial

from ._checks import (count, ends_tracebacks, flag, hashable, instance, integer, nearest, number,
                      one_of, rate, seconds, seconds_or_none)
from ._core_errors import InvalidArgumentError, InvalidTypeError, RemoteError, RetryRequest
from ._inspect import class_name, is_a, qualified_names, shown
from ._log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Collection, Iterable, Type, Union

    from typing_extensions import Literal, TypedDict, Unpack

    from ._checks import Seconds

    Backoff = Union[float, Literal["fixed", "linear", "exponential"]]
    Errors = Union[Type[BaseException], str, Collection[Union[Type[BaseException], str]]]
    OnFull = Literal["block", "raise", "drop"]

    class RunOptions(TypedDict, total=False):
        """The keyword arguments of :class:`TaskOptions` that a handler of a service takes, too."""

        priority: int | None
        timeout: Seconds | None
        retries: int
        retry_delay: Seconds
        backoff: Backoff
        max_retry_delay: Seconds | None
        jitter: float
        retry_on: Errors
        ignore_on: Errors
        name: str | None
        metadata: Any
        ignore_result: bool

    class Options(RunOptions, total=False):
        """The keyword arguments of :class:`TaskOptions`."""

        delay: Seconds | None
        run_at: float | None
        group_id: Any
        must_complete: bool
        detached: bool

    class LaneSettings(TypedDict, total=False):
        """The settings of a :class:`Lane`."""

        limit: int | None
        rate: float | None
        burst: int
        size: int | None
        on_full: OnFull

__all__ = ["ON_FULL", "TaskOptions", "check_lane", "check_unknown", "unknown_option"]

#: The longest pause in seconds, some thirty years.
_LONGEST = 1e9

#: Options that take any object, which need not be comparable.
_ANYTHING = ("group_id", "metadata")

_BACKOFFS = ("fixed", "linear", "exponential")


def unknown_option(name: str, known: Iterable[str], where: str) -> InvalidTypeError:
    """Return the error for an option that does not exist; it names the nearest one that does."""
    names = sorted(known)
    hint = nearest(name, names, f"known options are {', '.join(names)}")
    return InvalidTypeError(f"{where} has no option {name!r}; {hint}")


def check_unknown(owner: type, unknown: Iterable[str], known: Iterable[str]) -> None:
    """Refuse options that a class of this package does not know.

    A class of the application may pass on options that it has read itself. They are ignored, with a
    line at DEBUG.

    :raises InvalidTypeError: (a TypeError) names the nearest option that exists.
    """
    own = owner.__module__.partition(".")[0] == __name__.partition(".")[0]
    for option in unknown:
        if own:
            raise unknown_option(option, known, owner.__name__)
        log.debug("%s: option %r is not known, and ignored", owner.__name__, option)


def _errors(name: str, value: Any) -> tuple[type[BaseException] | str, ...]:
    members = value if isinstance(value, (tuple, list, set, frozenset)) else (value,)
    for member in members:
        if issubclass(type(member), str):
            _check_name(name, member)
        elif not _is_error(member):
            raise InvalidTypeError(f"{name} takes an exception class, its name, or several of "
                                   f"them, not {shown(member)}")
    return tuple(members)


def _is_error(thing: Any) -> bool:
    return isinstance(thing, type) and issubclass(thing, BaseException)


def _check_name(option: str, name: str) -> None:
    """Refuse a text that cannot be the name of an exception, as far as that is known now."""
    if not all(part.isidentifier() for part in name.split(".")):
        raise InvalidArgumentError(f"{option} takes the name of an exception, such as 'ValueError' "
                                   f"or 'package.module.Error', not {name!r}")
    known, found = _find(name)
    if not known and "." not in name:
        meant = _misspelt(name)
        if meant is not None:
            raise InvalidArgumentError(f"{option} names {name!r}, and no exception of that name is "
                                       f"loaded; did you mean {meant!r}? If not, give the module, "
                                       f"too, as in 'package.module.{name}'")
    if known and not _is_error(found):
        raise InvalidArgumentError(
            f"{option} names {name!r}, which is no exception" if found is not None
            else f"{option} names {name!r}, and that module has no such exception")


def _misspelt(name: str) -> str | None:
    """Return the builtin exception that a name without a module differs from by one letter.

    Return None if there is none, or a class that is loaded has the name.
    """
    meant = next((known for known in vars(builtins)
                  if _is_error(getattr(builtins, known)) and _is_near(name.lower(), known.lower())),
                 None)
    if meant is not None:
        classes: list[type[BaseException]] = [BaseException]
        for kind in classes:
            if class_name(kind) == name:
                return None
            classes += type.__subclasses__(kind)
    return meant


def _is_near(one: str, other: str) -> bool:
    """Return True if two texts differ by one letter: lacking, added, another, or two swapped."""
    if len(one) > len(other):
        one, other = other, one
    first = next((index for index, pair in enumerate(zip(one, other)) if pair[0] != pair[1]),
                 len(one))
    rest, other_rest = one[first:], other[first:]
    if len(one) < len(other):
        return rest == other_rest[1:]
    return rest[1:] == other_rest[1:] or (rest[2:] == other_rest[2:]
                                          and rest[:2] == other_rest[1::-1])


def _find(name: str) -> tuple[bool, Any]:
    """Return True and the object of a name, if its module is loaded; else False and None.

    A name without a module is a builtin, or that of a class of any module.
    """
    module, _, attribute = name.rpartition(".")
    if not module:
        found = getattr(builtins, attribute, None)
        return found is not None, found
    there = sys.modules.get(module)
    return there is not None, getattr(there, attribute, None)


def _is_one_of(error: BaseException, members: Iterable[Any]) -> bool:
    return any(_is_named(error, member) if issubclass(type(member), str) else is_a(error, member)
               for member in members)


def _is_named(error: Any, name: str) -> bool:
    """Return True if a class of the error has this name, with or without its module."""
    _, found = _find(name)
    if _is_error(found):
        if is_a(error, found):          # the name may be another one than in the definition
            return True
        if "." in name:
            return False
    names = qualified_names(type(error))
    if issubclass(type(error), RemoteError):    # its class is not known here
        names.append(str(error.type_name))
    return name in names if "." in name else any(full.rpartition(".")[2] == name for full in names)


def _backoff(name: str, value: Any) -> float | str:
    if not isinstance(value, str):
        return number(name, value, above=True)
    if value not in _BACKOFFS:
        raise InvalidArgumentError(f"{name} takes one of {', '.join(map(repr, _BACKOFFS))} or a "
                                   f"number above 0, not {value!r}")
    return value


def _jitter(name: str, value: Any) -> float:
    checked = number(name, value)
    if checked > 1:
        raise InvalidArgumentError(f"{name} takes a share between 0 and 1, not {checked!r}")
    return checked


#: Each option: its default, and the check of other values; None if it takes everything.
_OPTIONS: dict[str, tuple[Any, Callable[[str, Any], Any] | None]] = {
    "priority": (None, integer),
    "delay": (None, seconds),
    "run_at": (None, number),
    "timeout": (None, partial(seconds_or_none, above=True)),
    "retries": (0, partial(count, least=0)),
    "retry_delay": (0.0, seconds),
    "backoff": (1.0, _backoff),
    "max_retry_delay": (None, seconds_or_none),
    "jitter": (0.0, _jitter),
    "retry_on": ((Exception,), _errors),
    "ignore_on": ((), _errors),
    "name": (None, partial(instance, kind=str, what="a string")),
    "group_id": (None, hashable),
    "must_complete": (False, flag),
    "detached": (False, flag),
    "ignore_result": (False, flag),
    "metadata": (None, None),
}

_DEFAULTS = {name: default for name, (default, _) in _OPTIONS.items()}


@ends_tracebacks("wants_retry", "retry_pause")
class TaskOptions:
    """Options of a task, frozen.

    :param priority: any integer, lower runs first (default: None, that of the pool or queue).
    :param delay: seconds from submission until the task may start.
    :param run_at: the same as a point in time, in epoch seconds; not together with ``delay``.
    :param timeout: seconds that one run may take, counted from its start.
    :param retries: the number of further runs after a failure (default: 0).
    :param retry_delay: seconds before the first of them (default: 0).
    :param backoff: how the delay grows: ``'fixed'``, ``'linear'``, ``'exponential'`` (doubles), or
        a number above 0 by which it is multiplied after each run (default: 1).
    :param max_retry_delay: seconds that no delay exceeds.
    :param jitter: a share between 0 and 1: each delay is changed at random by up to this share.
    :param retry_on: exceptions after which the task is retried: classes, or names such as
        ``'ValueError'`` and ``'package.module.Error'`` (default: ``Exception``). A name without a
        module is that of any class; a misspelt builtin is refused.
    :param ignore_on: exceptions after which it is not, even if ``retry_on`` has them.
    :param name: shown in logs and screens (default: the function's qualified name).
    :param group_id: any hashable value by which results can be grouped.
    :param must_complete: a queue that aborts still finishes this task.
    :param detached: a queue's summary leaves this task out.
    :param ignore_result: no result backend keeps the result.
    :param metadata: any object of the caller's own; handles and results have it.
    :raises InvalidTypeError: (a TypeError) for an unknown option or a value of a wrong type.
    :raises InvalidArgumentError: (a ValueError) for an impossible value or a conflict.

    Instances do not change, so they may be shared between threads.

    >>> TaskOptions(retries=2, retry_delay=0.5, backoff='exponential').retry_pause(2)
    1.0
    """

    __slots__ = tuple(_DEFAULTS)

    if TYPE_CHECKING:
        priority: int | None
        delay: float | None
        run_at: float | None
        timeout: float | None
        retries: int
        retry_delay: float
        backoff: Backoff
        max_retry_delay: float | None
        jitter: float
        retry_on: tuple[type[BaseException] | str, ...]
        ignore_on: tuple[type[BaseException] | str, ...]
        name: str | None
        group_id: Any
        must_complete: bool
        detached: bool
        ignore_result: bool
        metadata: Any

    def __init__(self, **options: Unpack[Options]) -> None:
        keep = object.__setattr__
        for name, default in _DEFAULTS.items():
            keep(self, name, default)
        for name, value in options.items():
            if name not in _DEFAULTS:
                raise unknown_option(name, _DEFAULTS, "TaskOptions")
            if value is not _DEFAULTS[name]:
                check = _OPTIONS[name][1]
                keep(self, name, value if check is None else check(name, value))
        if self.delay is not None and self.run_at is not None:
            raise InvalidArgumentError("delay and run_at exclude each other; give one of them")

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"TaskOptions do not change; use replace({name}=...) for a changed "
                             "copy")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("TaskOptions do not change; use replace() for a changed copy")

    def replace(self, **changes: Unpack[Options]) -> TaskOptions:
        """Return a copy with some options changed. Errors as the constructor's."""
        if not changes:
            return self
        return type(self)(**{**self.as_dict(), **changes})

    def as_dict(self) -> dict[str, Any]:
        """Return all options by name, in a new dict."""
        return {name: getattr(self, name) for name in _DEFAULTS}

    def wants_retry(self, error: BaseException, attempts: int) -> bool:
        """Return True if a task that failed with an error after some runs is retried."""
        if attempts > self.retries:
            return False
        return (type(error) is RetryRequest
                or _is_one_of(error, self.retry_on) and not _is_one_of(error, self.ignore_on))

    def retry_pause(self, attempts: int) -> float:
        """Return the seconds to wait after a number of failed runs (1 after the first)."""
        pause = float(self.retry_delay)
        if pause:
            try:
                if self.backoff == "linear":
                    pause *= attempts
                elif self.backoff == "exponential":
                    pause *= 2.0 ** (attempts - 1)
                elif not isinstance(self.backoff, str):
                    pause *= float(self.backoff) ** (attempts - 1)
            except OverflowError:
                pause = _LONGEST
            if self.jitter:
                from random import uniform
                pause *= uniform(1 - self.jitter, 1 + self.jitter)
            if self.max_retry_delay is not None:
                pause = min(pause, self.max_retry_delay)
            pause = min(pause, _LONGEST)        # a product can also be infinite
        return pause

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TaskOptions):
            return NotImplemented
        return self.as_dict() == other.as_dict()

    def __repr__(self) -> str:
        shown = []
        for name, default in _DEFAULTS.items():
            value = getattr(self, name)
            if value is not default and (name in _ANYTHING or value != default):
                shown.append(f"{name}={value!r}")
        return f"TaskOptions({', '.join(shown)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (self.as_dict(),))


def _rebuild(options: dict[str, Any]) -> TaskOptions:
    made = object.__new__(TaskOptions)      # not checked again: classes may not be loaded here
    for name, default in _DEFAULTS.items():
        object.__setattr__(made, name, options.get(name, default))
    return made


#: What a submission to a full pool or lane meets.
ON_FULL = ("block", "raise", "drop")


def check_lane(lane: str, **settings: Any) -> dict[str, Any]:
    """Check the settings of a :class:`Lane`, and return them.

    :raises InvalidTypeError: (a TypeError) a setting has the wrong type, or does not exist.
    :raises InvalidArgumentError: (a ValueError) a setting has an impossible value.
    """
    for name, value in settings.items():
        if name in ("limit", "size", "burst"):
            if value is None and name != "burst":
                continue
            count(f"{name} of lane {lane!r}", value)
            number(f"{name} of lane {lane!r}", value, 1)       # it is compared with floats
        elif name == "rate":
            if value is not None:
                rate(f"rate of lane {lane!r}", value)
        elif name == "on_full":
            one_of(f"on_full of lane {lane!r}", value, ON_FULL)
        else:
            raise unknown_option(name, ("limit", "rate", "burst", "size", "on_full"),
                                 f"lane {lane!r}")
    return settings
