"""The two helper processes of multiprocessing: the fork server and the resource tracker.

multiprocessing relies on their pids and on the descriptors that lead to them. The application may
wait for all its children, or close all descriptors. In a forked process, both belong to the parent.
In these cases this module resets the state of multiprocessing, which then starts new ones.
"""
from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import contextmanager, suppress

from ..._threads import PackageThread
from .descriptors import identity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator

    from .descriptors import Identity


def _fork_server() -> Any:
    return getattr(sys.modules.get("multiprocessing.forkserver"), "_forkserver", None)


def _tracker() -> Any:
    return getattr(sys.modules.get("multiprocessing.resource_tracker"), "_resource_tracker", None)


def fork_server() -> int | None:
    """Return the pid of the fork server, or None."""
    pid: int | None = getattr(_fork_server(), "_forkserver_pid", None)
    return pid


#: The exit codes of ended fork servers by pid: a code, a negative signal, or None if unknown.
_ended: dict[int, int | None] = {}
#: Fork server and tracker at the last start: the pid, the descriptor that led to it, and its file.
_known: dict[str, tuple[int | None, int, Identity | None]] = {}


def has_ended(pid: int, options: int = getattr(os, "WNOHANG", 0)) -> tuple[bool, int | None]:
    """Find out if a child has ended, without reaping it.

    :return: True if it has ended; and its exit code, or None if that is unknown.
    """
    if not hasattr(os, "waitid"):       # macOS with an older Python
        return False, None
    try:
        info = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | options)
    except OSError:                     # not a child of this process, or reaped already
        return True, None
    if info is None:
        return False, None
    return True, info.si_status if info.si_code == os.CLD_EXITED else -info.si_status


def server_status(pid: int) -> int | None:
    """Wait for the end of a fork server; return its exit code, or None if that is unknown.

    The server must have closed its pipes.
    """
    if pid not in _ended:
        _, code = has_ended(pid, 0)
        _ended.setdefault(pid, code)
    return _ended[pid]


def before_start() -> None:
    """Reset the helper processes that multiprocessing cannot use. Call it before each start."""
    server, tracker = _fork_server(), _tracker()
    pid = fork_server()
    if pid is None:
        _preload()
    if _is_cut_off("server", pid, getattr(server, "_forkserver_alive_fd", None)):
        _forget_server(server)
        reap(pid)
    elif pid is not None:
        ended, code = has_ended(pid)
        if ended:
            _ended[pid] = code
            if code is None:            # the application waited for it
                _forget_server(server)
    pid = getattr(tracker, "_pid", None)
    if _is_cut_off("tracker", pid, getattr(tracker, "_fd", None)):
        tracker._fd = tracker._pid = None
        reap(pid)


def _preload() -> None:
    """Let a fork server that starts later import the loop of pool processes once for all of them.

    A list of modules that the application has set stays as it is.
    """
    from multiprocessing import forkserver

    if getattr(forkserver._forkserver, "_preload_modules", None) == ["__main__"]:
        forkserver.set_forkserver_preload(["__main__", f"{__package__}.child"])


def after_start() -> None:
    """Remember the files that lead to the helper processes. Call it after each start."""
    server, tracker = _fork_server(), _tracker()
    for name, pid, fd in (
            ("server", fork_server(), getattr(server, "_forkserver_alive_fd", None)),
            ("tracker", getattr(tracker, "_pid", None), getattr(tracker, "_fd", None))):
        if fd is not None:
            _known[name] = pid, fd, identity(fd)


@contextmanager
def sigchld_unblocked() -> Iterator[None]:
    """Unblock SIGCHLD in this thread, so that a process that is started here has it unblocked."""
    # The signal tells the fork server that a child has ended. A new process inherits the mask of
    # the thread that starts it, and threads inherit the mask that the application has set.
    if (not hasattr(signal, "pthread_sigmask")
            or signal.SIGCHLD not in signal.pthread_sigmask(signal.SIG_BLOCK, ())):
        yield
        return
    try:
        # The call runs the handler of a pending signal, which may raise an error.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGCHLD,))
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD,))


def _is_cut_off(name: str, pid: int | None, fd: int | None) -> bool:
    """Return True if the application closed the descriptor that leads to a helper process."""
    if fd is None:
        return False
    file = identity(fd)
    known_pid, known_fd, known_file = _known.get(name, (None, None, None))
    # multiprocessing may have replaced the process, or its descriptor, since the last start.
    same = (known_pid, known_fd) == (pid, fd)
    return file != known_file if same and known_file is not None else file is None


def reap(pid: int | None) -> None:
    """Wait in a thread for a process that is about to end, so that it does not stay a zombie."""
    def wait() -> None:
        with suppress(OSError):
            os.waitpid(pid or 0, 0)

    if pid is not None:
        with suppress(RuntimeError):    # if no thread can start, the system reaps it at the exit
            PackageThread(wait, name="supervisor_reaper").start()


def _forget_server(server: Any) -> None:
    if not _is_cut_off("server", server._forkserver_pid, server._forkserver_alive_fd):
        with suppress(OSError, TypeError):
            # While it is open in a forked process, the parent's server would outlive the parent.
            os.close(server._forkserver_alive_fd)
    server._forkserver_pid = server._forkserver_alive_fd = server._forkserver_address = None


def forget_after_fork() -> None:
    """Reset both helper processes in a forked process: they are not its children."""
    server, tracker = _fork_server(), _tracker()
    if fork_server() is not None:
        _forget_server(server)
        server._lock = threading.RLock()        # another thread may have held it
    if tracker is not None:
        # The tracker is shared with the parent and works here. Only its lock must be replaced: if a
        # thread of the parent held it during the fork, nothing would release it here.
        tracker._lock = threading.RLock()
