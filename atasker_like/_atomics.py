"""Token: a test-and-set without a lock, for threads, signal handlers and finalizers."""
from __future__ import annotations

import sys
from collections import deque

__all__ = ["FREE_THREADED", "Token"]

#: True if this build of Python has no global interpreter lock.
FREE_THREADED: bool = not getattr(sys, "_is_gil_enabled", lambda: True)()


class Token:
    """An object that one caller at a time can take.

    Taking it from a deque is atomic, on a free-threaded build too.
    """

    __slots__ = ("_there",)

    def __init__(self) -> None:
        self._there: deque[None] = deque((None,))

    def take(self) -> bool:
        """Take it; return False if another caller has it."""
        try:
            self._there.pop()
        except IndexError:
            return False
        return True

    def put_back(self) -> None:
        """Return it; for the caller that has it."""
        self._there.append(None)

    def is_there(self) -> bool:
        """Return True if no caller has it."""
        return bool(self._there)
