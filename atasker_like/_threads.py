"""The threads of this package.

They are daemon threads: what they do for the application is finished by ``interpreter_exit.py``
before the interpreter ends. A sub-interpreter with a GIL of its own allows no daemon threads. There
they are plain threads, which have ended when that module has done its work.
"""
from __future__ import annotations

import _thread
import threading
from sys import is_finalizing

from ._core_errors import SupervisorError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable


#: Whether this interpreter allows daemon threads. Before Python 3.12 each one does.
DAEMON: bool = getattr(_thread, "daemon_threads_allowed", lambda: True)()


class PackageThread(threading.Thread):
    """A thread of this package, which the exit of the interpreter does not wait for by itself."""

    #: It is a pool thread: it runs functions of the application.
    runs_tasks = False

    def __init__(self, target: Callable[..., None], args: tuple[Any, ...] = (),
                 name: str | None = None) -> None:
        super().__init__(target=target, args=args, name=name, daemon=DAEMON)

    def start(self) -> None:
        """Start the thread.

        :raises RuntimeError, MemoryError: the system has no thread to give; it may have one later.
        :raises SupervisorError: this interpreter allows none.
        """
        if is_finalizing():     # the thread would never run, and Python before 3.12 waits for it
            raise RuntimeError("can't start a thread at the end of the interpreter")
        try:
            super().start()
        except RuntimeError as error:
            if "subinterpreter" not in str(error):
                raise
            raise SupervisorError("this sub-interpreter allows no threads, and tasks run in "
                                  "threads; create it with a configuration that allows them"
                                  ) from error


def follow_thread_class() -> None:
    """Derive from the present class of threads, which gevent replaces on Python 3.8."""
    if threading.Thread not in PackageThread.__bases__:
        PackageThread.__bases__ = (threading.Thread,)


def start_thread(target: Callable[..., None], args: tuple[Any, ...]) -> None:
    """Start a thread without waiting for it to run, from whatever line of code.

    :raises RuntimeError, MemoryError: the system has no thread to give.
    """
    if DAEMON:
        _thread.start_new_thread(target, args)
    else:
        PackageThread(target, args).start()
