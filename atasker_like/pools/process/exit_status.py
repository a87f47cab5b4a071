"""Find out how a pool process ended.

waitpid() returns the status of a child of this process. It may be lost already, if the application
ignores SIGCHLD, or if a handler calls ``os.waitpid(-1, ...)``. The fork server sends the exit codes
of its processes over a pipe, but it may have died with them.
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


#: Seconds to wait for the end of a process that has closed its pipes, before it is killed.
END_PATIENCE = 0.5
#: Seconds to wait for the end of a killed process.
KILL_PATIENCE = 2.0

#: The exit code that :mod:`multiprocessing` reports if the fork server of a process has died.
_UNKNOWN = 255


class ExitStatus:
    """The exit code of a process, negative if a signal ended it; or None.

    :param reason: why the code is unknown.
    :param cause: why the process was ended, if this is known and matters more than the code.
    """

    __slots__ = ("code", "reason", "cause")

    def __init__(self, code: int | None, reason: str = "", cause: str = "") -> None:
        self.code: int | None = code
        self.reason: str = reason
        self.cause: str = cause

    def __str__(self) -> str:
        if self.cause:
            return f"since {self.cause}"
        if self.code is None:
            return f"with an unknown exit status, since {self.reason}"
        if self.code < 0:
            with suppress(ValueError):
                return f"by signal {signal.Signals(-self.code).name}"
            return f"by signal {-self.code}"
        return f"with exit code {self.code}"


def wait_for_end(process: Any, server: int | None) -> ExitStatus:
    """Wait for the end of a process that has closed its pipes; kill it after END_PATIENCE seconds.

    An error of multiprocessing is logged and not raised, since the caller must handle the end of
    the process in any case.

    :param server: the pid of the fork server that started it, or None.
    """
    try:
        return _wait_for_end(process, server)
    except Exception as error:      # if the application has patched multiprocessing
        log.exception("the exit code of process %d cannot be read", process.pid)
        kill(process)
        _finish(process)
        return ExitStatus(None, f"multiprocessing cannot read it ({described(error)})")


def _wait_for_end(process: Any, server: int | None) -> ExitStatus:
    if server is not None and _lacks_status(process):
        return _status_without_server(server)
    process.join(END_PATIENCE)
    if process.exitcode is None and not _is_reaped(process):
        process.kill()          # no task can be sent to it any more
        process.join(KILL_PATIENCE)
    code: int | None = process.exitcode
    if code is not None:
        return ExitStatus(code)
    _finish(process)
    if server is not None:
        return ExitStatus(None, f"the fork server {server} does not answer")
    return ExitStatus(None, "the application ignores SIGCHLD, or has waited for the process itself "
                            "(os.waitpid(-1, ...))")


def _finish(process: Any) -> None:
    """Mark a process as ended for multiprocessing, which refuses to close a running process."""
    popen: Any = getattr(process, "_popen", None)
    if popen is not None:
        popen.returncode = _UNKNOWN


def _is_reaped(process: Any) -> bool:
    """Return True if a child of this process has ended and its status is lost."""
    method = getattr(getattr(process, "_popen", None), "method", None)
    return method in ("fork", "spawn") and has_ended(process.pid) == (True, None)


def files_of(process: Any) -> list[tuple[int, Identity | None]]:
    """Return the descriptors that multiprocessing keeps for a process, each with its identity."""
    finalizer: Any = getattr(getattr(process, "_popen", None), "finalizer", None)
    return [(fd, identity(fd)) for fd in getattr(finalizer, "_args", ())]


def disown(process: Any, server: int | None, files: list[tuple[int, Identity | None]]) -> None:
    """Kill and close a process of which the application closed descriptors.

    The numbers of these may lead to other files now, which stay open.

    :param files: the result of :func:`files_of` for it.
    """
    with suppress(OSError):
        os.kill(process.pid, signal.SIGKILL)
    popen: Any = getattr(process, "_popen", None)
    if popen is not None:
        if popen.finalizer is not None:
            popen.finalizer.cancel()
        for fd, known in files:
            close_own(fd, known)
        _finish(process)
        if server is None:
            with suppress(OSError):
                os.waitpid(process.pid, 0)


def _lacks_status(process: Any) -> bool:
    """Return True if the fork server died before it sent the exit code of a process."""
    # multiprocessing would report the exit code 255. So the pipe is read here.
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
    """Return the status of a process that ended after its fork server, or together with it."""
    code = server_status(server)
    if code is None:
        return ExitStatus(None, f"the fork server {server} has ended as well")
    if code < 0 and signal.getsignal(-code) not in (signal.SIG_DFL, None):
        # The signal was sent to the whole process group and ended both. This process handles it.
        return ExitStatus(code)
    return ExitStatus(None, f"the fork server {server} had ended before, {ExitStatus(code)}")
