"""One thread of the thread pool."""
from __future__ import annotations

import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Protocol

    from ..engine.task import Task

    class LendingPool(Protocol):
        """The pool, as its threads use it."""

        def _lend(self, pool_thread: PoolThread) -> None: ...
        def _reclaim(self, pool_thread: PoolThread) -> None: ...


class PoolThread:
    """A thread of the pool. The pool's lock guards its fields; ``task`` may be read without it."""

    __slots__ = ("pool", "task", "job", "wake", "lend_depth", "abandoned", "exit_when_idle",
                 "detached", "awake", "thread")

    def __init__(self, pool: LendingPool, task: Task[Any] | None = None,
                 job: Callable[[], None] | None = None) -> None:
        self.pool: LendingPool = pool
        self.task: Task[Any] | None = task  # the task that it runs and holds a slot for
        self.job: Callable[[], None] | None = job  # or the call that it runs without a slot
        # Held while the thread has nothing to do. Any: a replaced lock class may return a value.
        self.wake: Any = threading.Lock()
        self.wake.acquire()
        self.lend_depth: int = 0            # nested waits: above 0, the slot is lent
        self.abandoned: bool = False        # the pool gave its task up; the slot is released
        self.exit_when_idle: bool = False   # it ends as soon as it has nothing to do
        self.detached: bool = False         # it has left the pool: it is woken only to end
        self.awake: bool = False            # set once it is woken, cleared when it goes idle
        self.thread: threading.Thread | None = None

    def has_task(self) -> bool:
        """Return True if it runs a task that the pool has not given up. (lock held)"""
        return self.task is not None and not self.abandoned

    def is_idle(self) -> bool:
        """Return True if it sleeps with nothing to do. (lock held)

        It is idle, or its submission was interrupted.
        """
        return not self.awake and self.task is None and self.job is None

    def is_forgotten(self) -> bool:
        """Return True if it sleeps although it has a call to run. (lock held)"""
        return not self.awake and self.job is not None

    def lend(self) -> None:
        """Lend the slot of this thread, as its function is about to wait."""
        self.pool._lend(self)

    def reclaim(self) -> None:
        """Take the slot back after the wait."""
        self.pool._reclaim(self)
