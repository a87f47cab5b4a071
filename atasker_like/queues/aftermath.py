"""What is still to be done before a run is over, beside its tasks: submissions under way, and callbacks."""
from __future__ import annotations

import threading

from ..engine.waiting import FutureWatcher, block

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, List, Optional

__all__ = ["Aftermath"]


class Aftermath:
    """Counts calls to come. A task's waiters are told before its callbacks are called: who waits for both waits here."""

    def __init__(self) -> None:
        self._lock = threading.Lock()       # guards what follows; nothing is called while it is held
        self._expected = 0
        self._watchers: "List[Callable[[], None]]" = []

    def expect(self, calls: int) -> None:
        """So many calls more will be made; negative when they will not after all."""
        with self._lock:
            self._expected += calls
            if self._expected:
                return
            told, self._watchers = self._watchers, []
        for watcher in told:
            watcher()

    def made(self) -> None:
        """One of them has been made."""
        self.expect(-1)

    def watch(self, watcher: "Callable[[], None]") -> bool:
        """Have watcher() called when all have been made; False, and no call, when they have been."""
        with self._lock:
            if self._expected:
                self._watchers.append(watcher)
            return bool(self._expected)

    def wait(self, deadline: "Optional[float]" = None) -> bool:
        """Block until all have been made, at the latest until the deadline; say whether they have."""
        gate = threading.Lock()
        gate.acquire()
        return not self.watch(gate.release) or block(gate.acquire, deadline)

    async def co_wait(self, deadline: "Optional[float]" = None) -> bool:
        """The same for a coroutine."""
        watcher = FutureWatcher()
        return not self.watch(watcher) or await watcher.wait(deadline)
