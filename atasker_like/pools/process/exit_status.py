"""How a pool process ended, learnt from whatever still knows it.

A process that this one has started leaves its status to waitpid(). The application may have taken
it before: it ignores SIGCHLD, or a handler calls ``os.waitpid(-1, ...)``. The fork server tells over
a pipe how its processes have ended, and may have died with them.
"""
from __future__ import annotations

import os
import signal
from contextlib import suppress

from ..._inspect import described
from ..._log import log
from .descriptors import close_own, identity
from .fork_server import has_ended, server_status
from .pool_process import kill

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .descriptors import Identity

__all__ = ["ExitStatus", "disown", "files_of", "wait_for_end"]

#: Seconds that a process whose pipes are closed gets to end by itself, and then to be gone.
END_PATIENCE = 0.5
KILL_PATIENCE = 2.0

#: What :mod:`multiprocessing` says of a process whose fork server has died.
_UNKNOWN = 255


class ExitStatus:
    """The exit code of a process, negative if a signal ended it; or None.

    :param reason: why the code is unknown.
    :param cause: why the process was ended, if this is known and matters more than the code.
    """

    __slots__ = ("code", "reason", "cause")

    def __init__(self, code: int | None, reason: str = "", cause: str = "") -> None:
        self.code = code
        self.reason = reason
        self.cause = cause

    def __str__(self) -> str:
        if self.cause:
            return f"since {self.cause}"
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

    An error of multiprocessing is logged: the end of the process must be told in any case.

    :param server: the pid of the fork server that has started it, if one has.
    """
    try:
        return _wait_for_end(process, server)
    except Exception as error:      # of multiprocessing, where the application has patched it
        log.exception("the exit code of process %d cannot be read", process.pid)
        kill(process)
        _conclude(process)
        return ExitStatus(None, f"multiprocessing cannot read it ({described(error)})")


def _wait_for_end(process: Any, server: int | None) -> ExitStatus:
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
    return method in ("fork", "spawn") and has_ended(process.pid) == (True, None)


def files_of(process: Any) -> list[tuple[int, Identity | None]]:
    """Return the descriptors that multiprocessing keeps for a process, each with its file."""
    finalizer: Any = getattr(getattr(process, "_popen", None), "finalizer", None)
    return [(fd, identity(fd)) for fd in getattr(finalizer, "_args", ())]


def disown(process: Any, server: int | None, files: list[tuple[int, Identity | None]]) -> None:
    """End a process and forget it; the application has closed descriptors that lead to it.

    Their numbers may lead to other files by now, which are left alone.

    :param files: what :func:`files_of` has returned for it.
    """
    with suppress(OSError):
        os.kill(process.pid, signal.SIGKILL)
    popen: Any = getattr(process, "_popen", None)
    if popen is not None:
        if popen.finalizer is not None:
            popen.finalizer.cancel()
        for fd, known in files:
            close_own(fd, known)
        _conclude(process)
        if server is None:
            with suppress(OSError):
                os.waitpid(process.pid, 0)


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
    code = server_status(server)
    if code is None:
        return ExitStatus(None, f"the fork server {server} has ended as well")
    if code < 0 and signal.getsignal(-code) not in (signal.SIG_DFL, None):
        # A signal that this process handles, and so survives, ended both: it was sent to the whole group.
        return ExitStatus(code)
    return ExitStatus(None, f"the fork server {server} had ended before, {ExitStatus(code)}")
