"""Where pool threads wait for their pool's lock without forming a convoy."""
from __future__ import annotations

import threading
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable


__all__ = ["PARK_TIMEOUT", "ParkingLot"]


#: Seconds that a pool thread waits at its gate before it tries again without having been called.
PARK_TIMEOUT = 0.005


class ParkingLot:
    """Where pool threads wait for their pool's lock, without owning it before they run.

    A thread that blocks on a lock owns it as soon as it is free, and only then asks for the interpreter's own lock.
    While it waits for that, the thread that runs finds the lock taken, blocks too, and so hands the interpreter on: a
    convoy, in which each critical section costs two context switches. It forms by itself when a thread loses the
    interpreter inside a critical section, and does not dissolve.

    So a pool thread that finds the lock taken waits at a gate of its own, and tries again when it runs. The busy
    paths open the first gate when they have released the lock; after a rare one, or an interrupt, a thread at a gate
    tries by itself, a few milliseconds later. Other threads simply use ``with``: it is the one way to take a lock that
    a signal cannot cut in two, and signals come to the main thread only.
    """

    __slots__ = ("waiters",)

    def __init__(self) -> None:
        #: The closed gates, first come, first served. Shared without a lock: appending, removing and taking from a
        #: deque are each one step, on a free-threaded build too.
        self.waiters: deque[threading.Lock] = deque()

    def wait(self, acquire: Callable[..., bool]) -> None:
        """Take the lock that this is its acquire of, after trying has failed."""
        while True:
            gate = threading.Lock()         # guards nothing: it is what the thread sleeps on
            gate.acquire()
            self.waiters.append(gate)
            # Again, since it may have been released before the gate was there to be seen.
            if acquire(False):
                self._withdraw(gate)
                return
            gate.acquire(True, PARK_TIMEOUT)
            self._withdraw(gate)
            if acquire(False):
                return

    def _withdraw(self, gate: threading.Lock) -> None:
        try:
            self.waiters.remove(gate)
        except ValueError:                  # it was opened
            pass

    def unpark_one(self) -> None:
        """Open the first gate, after the lock has been released."""
        try:
            gate = self.waiters.popleft()
        except IndexError:
            return
        gate.release()
