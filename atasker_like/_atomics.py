"""What signal handlers and finalizers cannot break: a test-and-set without a lock, and locks."""
from __future__ import annotations

import _thread
import sys
import threading
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["FREE_THREADED", "RLock", "Token", "release"]

#: True if this build of Python has no global interpreter lock.
FREE_THREADED: bool = not getattr(sys, "_is_gil_enabled", lambda: True)()


def release(lock: Any) -> None:
    """Release a lock if it is held. Another thread may release it at the same time."""
    try:
        lock.release()
    except RecursionError:      # a RuntimeError, too: it is still held
        raise
    except RuntimeError:
        pass


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


if TYPE_CHECKING or sys.version_info < (3, 14) or _thread.RLock.__module__ != "_thread":
    from threading import RLock
else:
    # Python 3.14 handles signals between taking a lock by `with` and entering the block (CPython
    # gh-148874). If a handler raises there, the lock stays held. Python handles none at the return
    # of one of its own functions, so __enter__() is one here.
    class _InterruptibleRLock(_thread.RLock):
        def __enter__(self) -> bool:
            before = self._recursion_count()
            try:
                return self.acquire()
            except BaseException:
                if self._recursion_count() > before:
                    self.release()
                raise

    def RLock() -> Any:
        """Return a lock that an interrupt of a ``with`` statement does not leave held."""
        lock = threading.RLock()        # of another type if an application has replaced it
        return _InterruptibleRLock() if type(lock) is _thread.RLock else lock
