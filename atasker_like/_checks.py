"""Checked arguments: each function returns the value in its final form, or raises with the argument's name."""
from __future__ import annotations

from .errors import InvalidArgumentError, InvalidTypeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["count"]


def count(name: str, value: Any, least: int = 1) -> int:
    """Check an integer that is at least ``least``, and return it."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidTypeError(f"{name} takes an integer, not {type(value).__name__}")
    if value < least:
        raise InvalidArgumentError(f"{name} takes an integer {least} or more, not {value}")
    return value
