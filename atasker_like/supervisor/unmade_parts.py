"""What is in the position of the parts of a supervisor until they are made.

::

    task_supervisor ──> PartsOnFirstUse ── first attribute ──> import of parts.py ──> Parts

The import of the package loads no pools, loops and schedulers. The first decorated function, or the
first other use of ``task_supervisor``, loads them.
"""
from __future__ import annotations

import sys
import threading

from .. import _fork
from .._atomics import RLock
from .._core_errors import SupervisorError
from .interpreter_exit import check_exit, supervisors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from .interpreter_exit import Supervisor


class UnmadeParts:
    """In the position of the parts of a supervisor whose constructor has not run."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):       # asked for by inspect and its like
            raise AttributeError(name)
        return getattr(self._parts(), name)

    def hand_over(self, supervisor: Supervisor) -> None:
        """See :meth:`.parts.Parts.hand_over`. There is nothing to end."""

    def _parts(self) -> Any:
        raise SupervisorError("the supervisor is not made yet: its class has an __init__() of its "
                              "own, which must call super().__init__() before it uses the "
                              "supervisor")


NOT_MADE: Any = UnmadeParts()


class PartsOnFirstUse(UnmadeParts):
    """Makes the parts of a supervisor when the first attribute is asked for. For any thread.

    :param make: returns the parts of a supervisor.
    """

    def __init__(self, supervisor: Supervisor, make: Callable[[Supervisor], Any]) -> None:
        self._supervisor = supervisor
        self._make = make
        self._lock = RLock()    # guards the making of the parts, and _making
        self._making = False
        _fork.register(self)

    def _reset_after_fork(self) -> None:
        self._lock = RLock()
        self._making = False

    def _parts(self) -> Any:
        supervisor = self._supervisor
        if supervisor._supervisor_parts is not self:
            return supervisor._supervisor_parts
        if sys.is_finalizing():
            check_exit()        # no module can be imported any more
        with self._lock:
            _without_signals(self._make_once)
        return supervisor._supervisor_parts

    def _make_once(self) -> None:
        supervisor = self._supervisor
        if supervisor._supervisor_parts is not self:
            return
        if self._making:
            raise SupervisorError(f"supervisor {supervisor.id} is not made yet: a signal handler "
                                  "or a finalizer used it in the middle of its first use in the "
                                  "same thread; call start() first")
        self._making = True
        try:
            supervisor._supervisor_parts = self._make(supervisor)
            supervisors.add(supervisor)
        finally:
            self._making = False


def _without_signals(call: Callable[[], None]) -> None:
    """Make a call, and keep signals from the main thread meanwhile.

    The handler of a signal may use the supervisor, and Python cannot import a module in the middle
    of its import. With other threads, the system may hand the signal to one of them.
    """
    import signal

    if not hasattr(signal, "pthread_sigmask") or not _is_main_thread():
        call()
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        call()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _is_main_thread() -> bool:
    return threading.main_thread().ident == threading.get_ident()
