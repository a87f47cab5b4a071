"""What keeps a supervisor alive, and how one ends that nothing refers to any more.

::

    application ──> supervisor ──> pools, timer, loops <── their threads
                        ^                  │
                        └─ BackReference <─┘    keeps nothing alive

The threads of a supervisor refer to its parts for as long as they run, idle ones too. So no part refers to the
supervisor itself, but for what is active: a worker, a scheduler, the function of a live task. When the last
reference is gone, ``__del__`` hands the supervisor to a thread, which waits for the tasks that are alive and then
stops it. Nothing can reach it meanwhile: what still runs for it either refers to it, or only ends.
"""
from __future__ import annotations

import sys
import weakref
from _thread import start_new_thread
from functools import partial

from ..errors import SupervisorStoppedError
from .shutdown import check_exit, supervisors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from .supervisor import TaskSupervisor

__all__ = ["BackReference", "hand_over"]


class BackReference:
    """The way from the parts of a supervisor back to it."""

    __slots__ = ("_get",)

    def __init__(self, supervisor: TaskSupervisor) -> None:
        self.point_to(supervisor)

    def point_to(self, supervisor: TaskSupervisor) -> None:
        """Refer to the supervisor anew: the collector clears weak references before it calls ``__del__``."""
        self._get: Callable[[], TaskSupervisor | None] = weakref.ref(supervisor)

    def __call__(self) -> TaskSupervisor | None:
        """Return the supervisor; None if it is gone."""
        return self._get()

    def method(self, name: str) -> Callable[..., Any]:
        """Return a callable that calls a method of the supervisor, and does not keep the supervisor alive.

        :raises SupervisorStoppedError: (by the callable) the supervisor is gone.
        """
        return partial(_call, self, name)


def _call(back: BackReference, name: str, *arguments: Any) -> Any:
    supervisor = back()
    if supervisor is None:
        check_exit()        # at the end of the interpreter, this is the cause
        raise SupervisorStoppedError("nothing referred to the supervisor any more, so it has ended and takes no tasks; keep a "
                                     "reference to it")
    return getattr(supervisor, name)(*arguments)


def hand_over(supervisor: TaskSupervisor) -> None:
    """Have a thread end a supervisor to which the last reference is gone. Called by ``__del__``, at any line."""
    if sys.is_finalizing() or not supervisor._is_in_use() or supervisor._has_stopped():
        return
    supervisor._back.point_to(supervisor)
    if supervisor not in supervisors:
        supervisors.add(supervisor)     # an exit of the interpreter waits for it, as for others
    try:
        start_new_thread(supervisor._end_dropped, ())
    except (RuntimeError, MemoryError):     # the system has no thread to give; those of the supervisor stay
        pass
