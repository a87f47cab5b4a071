"""Checked arguments: each function returns the value in its final form, or raises with the argument's name."""
from __future__ import annotations

from . import _modes
from ._inspect import generator_kind, name_of
from ._log import log
from .errors import InvalidArgumentError, InvalidTypeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["count", "runs_when_called"]

_warned: set[str] = set()       # functions that a warning has named; adding is one step, so no lock is needed


def count(name: str, value: Any, least: int = 1) -> int:
    """Check an integer that is at least ``least``, and return it."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidTypeError(f"{name} takes an integer, not {type(value).__name__}")
    if value < least:
        raise InvalidArgumentError(f"{name} takes an integer {least} or more, not {value}")
    return value


def runs_when_called(function: Any) -> None:
    """Refuse a generator function: a call returns at once, and the body runs where someone iterates.

    A program written for atasker gets one warning, since there the task succeeds.

    :raises InvalidTypeError: with the way out.
    """
    kind = generator_kind(function)
    if kind is None:
        return
    name = name_of(function)
    way = ("submit a coroutine function that iterates over it with 'async for'" if kind == "an async generator"
           else f"submit a function that iterates over it, such as lambda: list({name}(...))")
    message = (f"{name} is {kind} function: a call only makes {kind}, and a task would end before the first "
               f"line of its body; {way}, or submit one call for each item with map()")
    if not _modes.legacy:
        raise InvalidTypeError(message)
    if name not in _warned and len(_warned) < _WARNED_MOST:
        _warned.add(name)
        log.warning("%s", message)


_WARNED_MOST = 1000
