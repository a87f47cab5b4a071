"""RunState: the phase of a supervisor, from its start to its stop.

::

    NEW ──start()──> RUNNING ──stop()──> STOPPING ──all has ended──> STOPPED
                        ^                                               │
                        └────────────────────start()────────────────────┘
"""
from __future__ import annotations

import threading
from collections import deque
from time import time

from .._atomics import RLock
from ..errors import SupervisorStoppedError
from .interpreter_exit import arm, check_exit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

__all__ = ["NEW", "RUNNING", "STOPPED", "STOPPING", "RunState", "call_all"]

NEW, RUNNING, STOPPING, STOPPED = "new", "running", "stopping", "stopped"


class RunState:
    """The phase of one supervisor. Any thread may read it."""

    def __init__(self, supervisor_id: str) -> None:
        self.supervisor_id = supervisor_id
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Become new, also in a forked process."""
        # guards the phase, and the making of the process pool
        self.lock: RLock = RLock()
        self.phase: str = NEW
        self.started_at: float | None = None        # epoch seconds
        self.explicit: bool = False                 # the application has called start()
        self.stopped: threading.Event = threading.Event()
        #: Called once each when what holds the exit of the interpreter may have changed. Shared
        #: without a lock: append() and popleft() are atomic, on a free-threaded build too.
        self._exit_waiters: deque[Callable[[], Any]] = deque()

    def is_new(self) -> bool:
        """Return True before the first start."""
        return self.phase == NEW

    def is_running(self) -> bool:
        """Return True between start and stop."""
        return self.phase == RUNNING

    def begin_run(self) -> bool:
        """Enter RUNNING; return False if it is the phase already. (lock held)

        :raises SupervisorStoppedError: the supervisor is being stopped, or the interpreter exits.
        """
        if self.phase == RUNNING:
            return False
        if self.phase == STOPPING:
            raise SupervisorStoppedError(f"supervisor {self.supervisor_id} is being stopped; start "
                                         "it when stop() is done")
        arm()
        self.phase = RUNNING
        self.started_at = time()
        self.stopped.clear()
        return True

    def has_stopped(self) -> bool:
        """Return True after a stop has ended, until the next start."""
        return self.phase == STOPPED

    def refuse_task(self) -> None:
        """Raise the error for a task that comes after the stop."""
        check_exit()
        raise SupervisorStoppedError(f"supervisor {self.supervisor_id} has been stopped and takes "
                                     "no tasks; call start() to go on")

    def wait_for_release(self, holds_exit: Callable[[], Any]) -> None:
        """Block until what holds the exit of the interpreter may have changed."""
        changed = threading.Lock()
        changed.acquire()
        # Registered first and checked then: a change in between releases the lock.
        self._exit_waiters.append(changed.release)
        if holds_exit():
            changed.acquire()

    def release_exit(self) -> None:
        """Have the exit of the interpreter check again what holds it."""
        call_all(self._exit_waiters)

    def renew_locks(self) -> None:
        """See :meth:`Parts.renew_locks`."""
        self.lock = RLock()
        self.stopped = threading.Event()
        if self.phase == STOPPED:
            self.stopped.set()


def call_all(callbacks: deque[Callable[[], Any]]) -> None:
    """Make each call once, also if several threads come here."""
    while callbacks:
        try:
            callback = callbacks.popleft()
        except IndexError:      # another thread has taken the last one
            return
        callback()
