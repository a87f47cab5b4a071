"""BackReference: how the parts of a supervisor reach it. And the end of an unreferenced supervisor.

::

    application ──> supervisor ──> pools, timer, loops <── their threads
                        ^                  │
                        └─ BackReference <─┘    keeps nothing alive

The threads of a supervisor refer to its parts for as long as they run, idle threads too. So no part
refers to the supervisor, except for something active: a worker, a scheduler, the function of a live
task. When the last reference is gone, ``__del__`` hands the supervisor to a thread. This thread
waits for the live tasks and then stops the supervisor. Nothing else can reach it meanwhile: what
still runs for it either refers to it, or only ends.
"""
from __future__ import annotations

import sys
import weakref

from .._core_errors import SupervisorError, SupervisorStoppedError
from .._log import log
from .._threads import start_thread
from .interpreter_exit import check_exit, supervisors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from ..engine.lanes import Lane
    from .interpreter_exit import Supervisor


class BackReference:
    """A weak reference from the parts of a supervisor to the supervisor."""

    __slots__ = ("_get",)

    def __init__(self, supervisor: Supervisor) -> None:
        self.point_to(supervisor)

    def point_to(self, supervisor: Supervisor) -> None:
        """Refer to the supervisor anew: the collector clears weak references before ``__del__``."""
        self._get: Callable[[], Supervisor | None] = weakref.ref(supervisor)

    def __call__(self) -> Any:
        """Return the supervisor; None if it is gone."""
        return self._get()

    def ensure_started(self) -> None:
        """Start the supervisor with its first task. Pools that do not accept tasks call this.

        :raises SupervisorStoppedError: the supervisor is gone, or it has been stopped.
        """
        self.parts().pools.ensure_started()

    def find_lane(self, name: str) -> Lane:
        """Return the lane of a name, for a function that named it before it was made.

        :raises InvalidArgumentError: it was not made.
        """
        lane: Lane = self.parts().specs.find_lane(name)
        return lane

    def parts(self) -> Any:
        """Return the parts of the supervisor.

        :raises SupervisorStoppedError: the supervisor is gone.
        """
        supervisor = self._get()
        if supervisor is None:
            check_exit()        # at the end of the interpreter, this is the cause
            raise SupervisorStoppedError("nothing referred to the supervisor any more, so it has "
                                         "ended and takes no tasks; keep a reference to it")
        return supervisor._supervisor_parts


def hand_over(supervisor: Supervisor) -> None:
    """Have a thread end a supervisor without references. ``__del__`` calls this, at any line."""
    parts = supervisor._supervisor_parts
    if sys.is_finalizing() or not parts.in_use() or parts.state.has_stopped():
        return
    parts.back.point_to(supervisor)
    if supervisor not in supervisors:
        supervisors.add(supervisor)     # the exit of the interpreter waits for it, too
    try:
        start_thread(_end, (supervisor,))
    except (RuntimeError, MemoryError, SupervisorError):    # no thread; its own ones stay
        pass


def _end(supervisor: Supervisor) -> None:
    """End a supervisor, in a thread that has the last reference to it."""
    try:
        pools = supervisor._supervisor_parts.pools
        while pools.has_live_tasks():
            pools.drain()
        supervisor.stop()
        pools.detach_recorder()
    except BaseException:
        log.exception("supervisor %s, to which nothing refers any more, could not be ended",
                      supervisor.id)
