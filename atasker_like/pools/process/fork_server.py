"""The two processes that multiprocessing keeps beside the program: the fork server and the resource tracker.

multiprocessing relies on their pids and on the descriptors that lead to them. An application may
wait for all its children, or close all descriptors; a fork makes both processes the parent's. Then
they are forgotten here, and multiprocessing starts them anew.
"""
from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress

from ..._threads import PackageThread
from .descriptors import identity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .descriptors import Identity

__all__ = ["after_start", "before_start", "fork_server", "forget_after_fork", "has_ended", "reap",
           "server_status"]


def _fork_server() -> Any:
    return getattr(sys.modules.get("multiprocessing.forkserver"), "_forkserver", None)


def _tracker() -> Any:
    return getattr(sys.modules.get("multiprocessing.resource_tracker"), "_resource_tracker", None)


def fork_server() -> int | None:
    """Return the pid of the fork server, or None."""
    pid: int | None = getattr(_fork_server(), "_forkserver_pid", None)
    return pid


#: How fork servers have ended, by pid: exit code or negative signal, None if that is unknown.
_ended: dict[int, int | None] = {}
#: Fork server and tracker at the last start: the pid, the descriptor that led there, and its file.
_known: dict[str, tuple[int | None, int, Identity | None]] = {}


def has_ended(pid: int, options: int = getattr(os, "WNOHANG", 0)) -> tuple[bool, int | None]:
    """Look how a child has ended, and leave its status there.

    :return: True if it has ended, and its exit code or None if that is unknown.
    """
    if not hasattr(os, "waitid"):       # older Pythons on macOS
        return False, None
    try:
        info = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | options)
    except OSError:                     # no child of this process, or none any more
        return True, None
    if info is None:
        return False, None
    return True, info.si_status if info.si_code == os.CLD_EXITED else -info.si_status


def server_status(pid: int) -> int | None:
    """Wait for a fork server that has closed its pipes; return its exit code, or None if that is unknown."""
    if pid not in _ended:
        _, code = has_ended(pid, 0)
        _ended.setdefault(pid, code)
    return _ended[pid]


def before_start() -> None:
    """Have multiprocessing forget the processes that it would fail to use. Called before each start."""
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
            if code is None:            # the application has waited for it
                with suppress(OSError, TypeError):
                    os.close(server._forkserver_alive_fd)
                _forget_server(server)
    pid = getattr(tracker, "_pid", None)
    if _is_cut_off("tracker", pid, getattr(tracker, "_fd", None)):
        tracker._fd = tracker._pid = None
        reap(pid)


def _preload() -> None:
    """Have a fork server that starts later import the loop of pool processes once, for all of them.

    A list of modules that the application has chosen stays as it is.
    """
    from multiprocessing import forkserver

    if getattr(forkserver._forkserver, "_preload_modules", None) == ["__main__"]:
        forkserver.set_forkserver_preload(["__main__", f"{__package__}.child"])


def after_start() -> None:
    """Note which files lead to the processes. Called after each start."""
    server, tracker = _fork_server(), _tracker()
    for name, pid, fd in (
            ("server", fork_server(), getattr(server, "_forkserver_alive_fd", None)),
            ("tracker", getattr(tracker, "_pid", None), getattr(tracker, "_fd", None))):
        if fd is not None:
            _known[name] = pid, fd, identity(fd)


def _is_cut_off(name: str, pid: int | None, fd: int | None) -> bool:
    """Return True if the application has closed the descriptor that leads to a process."""
    if fd is None:
        return False
    file = identity(fd)
    known_pid, known_fd, known_file = _known.get(name, (None, None, None))
    # multiprocessing may have replaced the process since, or the descriptor with it.
    same = (known_pid, known_fd) == (pid, fd)
    return file != known_file if same and known_file is not None else file is None


def reap(pid: int | None) -> None:
    """Have a process that is about to end leave the table of the system."""
    def wait() -> None:
        with suppress(OSError):
            os.waitpid(pid or 0, 0)

    if pid is not None:
        with suppress(RuntimeError):    # without a thread, the system does it when the program ends
            PackageThread(wait, name="supervisor_reaper").start()


def _forget_server(server: Any) -> None:
    server._forkserver_pid = server._forkserver_alive_fd = server._forkserver_address = None


def forget_after_fork() -> None:
    """In a forked process, leave both processes to the parent: multiprocessing would fail to wait for them."""
    server, tracker = _fork_server(), _tracker()
    if fork_server() is not None:
        if not _is_cut_off("server", server._forkserver_pid, server._forkserver_alive_fd):
            with suppress(OSError, TypeError):
                os.close(server._forkserver_alive_fd)       # the parent's server would outlive the parent
        _forget_server(server)
        server._lock = threading.RLock()                    # another thread may have held it
    if tracker is not None:
        # Shared with the parent, and fit for use, but for its lock: a thread of the parent's that was
        # starting a process held it, and here nothing would ever let go of it.
        tracker._lock = threading.RLock()
