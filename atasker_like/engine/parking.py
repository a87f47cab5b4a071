"""ParkingLot: pool threads wait for their pool's lock without forming a convoy."""
from __future__ import annotations

import threading
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable


#: Seconds that a parked pool thread sleeps before it tries again without having been woken.
PARK_TIMEOUT = 0.005


class ParkingLot:
    """Makes pool threads wait for their pool's lock without owning it too early.

    A thread that blocks on a lock owns it as soon as it is free, and only then asks for the
    interpreter's own lock. While it waits for that, the running thread finds the lock taken, blocks
    too, and so releases the interpreter: a convoy, in which each critical section costs two context
    switches. A convoy forms by itself when a thread loses the interpreter inside a critical
    section, and does not dissolve.

    So a pool thread that finds the lock taken sleeps on a lock of its own, and tries again when it
    runs. The busy paths wake the first sleeping thread when they have released the pool's lock.
    After a rare path, or an interrupt, a sleeping thread tries by itself, a few milliseconds later.
    Other threads simply use ``with``: it is the only way to acquire a lock that a signal cannot
    interrupt halfway, and signals come to the main thread only.
    """

    __slots__ = ("waiters",)

    def __init__(self) -> None:
        #: The locks that threads sleep on, first in, first out. Shared without a lock: appending,
        #: removing and taking from a deque are each one step, on a free-threaded build too.
        self.waiters: deque[threading.Lock] = deque()

    def wait(self, acquire: Callable[..., bool]) -> None:
        """Acquire a lock by its method ``acquire``, after a first try has failed."""
        while True:
            parked = threading.Lock()       # guards no data: the thread sleeps on it
            parked.acquire()
            self.waiters.append(parked)
            # Try again: the lock may have been released before `parked` was in `waiters`.
            if acquire(False):
                self._withdraw(parked)
                return
            parked.acquire(True, PARK_TIMEOUT)
            self._withdraw(parked)
            if acquire(False):
                return

    def _withdraw(self, parked: threading.Lock) -> None:
        try:
            self.waiters.remove(parked)
        except ValueError:                  # unpark_one() has taken it
            pass

    def unpark_one(self) -> None:
        """Wake the first sleeping thread, after the caller has released the pool's lock."""
        try:
            parked = self.waiters.popleft()
        except IndexError:
            return
        parked.release()
