"""What needs no lock: one step decides, in whatever thread, signal handler or finalizer it is made."""
from __future__ import annotations

import sys
from collections import deque

__all__ = ["FREE_THREADED", "Token"]

#: This build has no lock of the interpreter.
FREE_THREADED: bool = not getattr(sys, "_is_gil_enabled", lambda: True)()


class Token:
    """There is one, until someone takes it; and one again when it is put back.

    Taking it from a deque is one step, on a free-threaded build too.
    """

    __slots__ = ("_there",)

    def __init__(self) -> None:
        self._there: deque[None] = deque((None,))

    def take(self) -> bool:
        """Return True if the caller has it from now on."""
        try:
            self._there.pop()
        except IndexError:
            return False
        return True

    def put_back(self) -> None:
        """Give it up; for the one that has it."""
        self._there.append(None)

    def is_there(self) -> bool:
        """Return True if nobody has it."""
        return bool(self._there)
