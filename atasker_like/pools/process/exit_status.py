"""How a pool process ended, learnt from whatever still knows it.

A process that this one has started leaves its status to waitpid(). The application may have taken
it before: it ignores SIGCHLD, or a handler calls ``os.waitpid(-1, ...)``. The fork server tells over
a pipe how its processes have ended, and may have died with them.
"""
from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["ExitStatus", "fork_server", "remember_fork_server", "wait_for_end"]

#: Seconds that a process whose pipes are closed gets to end by itself, and then to be gone.
END_PATIENCE = 0.5
KILL_PATIENCE = 2.0

#: What :mod:`multiprocessing` says of a process whose fork server has died.
_UNKNOWN = 255


class ExitStatus:
    """The exit code of a process, negative if a signal ended it; or None, and the reason why it is unknown."""

    __slots__ = ("code", "reason")

    def __init__(self, code: int | None, reason: str = "") -> None:
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        if self.code is None:
            return f"with an unknown exit status, since {self.reason}"
        if self.code < 0:
            return f"by signal {signal_name(-self.code)}"
        return f"with exit code {self.code}"


def signal_name(number: int) -> str:
    """Return the name of a signal, or its number as text."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def wait_for_end(process: Any, server: int | None) -> ExitStatus:
    """Wait for a process that has closed its pipes; end it if it goes on.

    :param server: the pid of the fork server that has started it, if one has.
    """
    if server is not None and _lacks_status(process):
        return _status_without_server(server)
    process.join(END_PATIENCE)
    if process.exitcode is None and not _is_reaped(process):
        process.kill()          # nothing can be sent to it any more
        process.join(KILL_PATIENCE)
    code: int | None = process.exitcode
    if code is not None:
        return ExitStatus(code)
    _conclude(process)
    if server is not None:
        return ExitStatus(None, f"the fork server {server} does not answer")
    return ExitStatus(None, "the application ignores SIGCHLD, or has waited for the process itself "
                            "(os.waitpid(-1, ...))")


def _conclude(process: Any) -> None:
    """Have multiprocessing know that a process has ended; otherwise it refuses to close it."""
    popen: Any = getattr(process, "_popen", None)
    if popen is not None:
        popen.returncode = _UNKNOWN


def _is_reaped(process: Any) -> bool:
    """Return True if a child of this process is gone, and its status with it."""
    method = getattr(getattr(process, "_popen", None), "method", None)
    return method in ("fork", "spawn") and _peek(process.pid) == (True, None)


def _peek(pid: int, options: int = getattr(os, "WNOHANG", 0)) -> tuple[bool, int | None]:
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


# -- the fork server -----------------------------------------------------------------------------------


#: How fork servers have ended, by pid: once another one has been started, only this tells.
_ended_servers: dict[int, int | None] = {}


def fork_server() -> int | None:
    """Return the pid of multiprocessing's fork server, or None."""
    server: Any = getattr(sys.modules.get("multiprocessing.forkserver"), "_forkserver", None)
    pid: int | None = getattr(server, "_forkserver_pid", None)
    return pid


def remember_fork_server() -> bool:
    """Note how the fork server has ended, if it has, before another one is started.

    :return: True if its status is gone. multiprocessing would fail to wait for it.
    """
    pid = fork_server()
    if pid is None:
        return False
    ended, code = _peek(pid)
    if ended:
        _ended_servers[pid] = code
    return ended and code is None


def _lacks_status(process: Any) -> bool:
    """Return True if the fork server has died, and so never tells how a process has ended.

    multiprocessing takes that for an exit code of 255. So the pipe is read here.
    """
    from multiprocessing import connection, forkserver

    popen: Any = process._popen
    if popen.returncode is not None or not connection.wait([popen.sentinel], END_PATIENCE):
        return False
    try:
        popen.returncode = forkserver.read_signed(popen.sentinel)
    except (OSError, EOFError):
        popen.returncode = _UNKNOWN
        return True
    return False


def _status_without_server(server: int) -> ExitStatus:
    """Return what can be said of a process that has ended after its fork server, or with it."""
    if server not in _ended_servers:
        _, code = _peek(server, 0)      # it has closed its pipes, and so is about to be gone
        _ended_servers.setdefault(server, code)
    code = _ended_servers[server]
    if code is None:
        return ExitStatus(None, f"the fork server {server} has ended as well")
    if code < 0 and signal.getsignal(-code) not in (signal.SIG_DFL, None):
        # A signal that this process handles, and so survives, ended both: it was sent to the whole group.
        return ExitStatus(code)
    return ExitStatus(None, f"the fork server {server} had ended before, {ExitStatus(code)}")
