"""The transient and the permanent errors of process starts.

The system refuses a process, a pipe or a thread while it is short of them. Then the waiting tasks
keep waiting, and the start is tried again with growing pauses. Other errors come back at every try,
for example if a file system cannot be written or the interpreter was removed. These fail the
waiting tasks at once.
"""
from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from importlib import import_module

from ..._inspect import described

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


#: The number of starts in a row that may fail if the cause may be transient or permanent.
START_TRIES = 3


def _listed(reasons: dict[str, str]) -> dict[int, str]:
    """Return the reasons by errno, without the errors that this system does not know.

    :param reasons: by the names of the errors, with spaces in between.
    """
    return {getattr(errno, name): reason for names, reason in reasons.items()
            for name in names.split() if hasattr(errno, name)}


#: Transient errors: the system has free resources later, or a helper process is replaced.
TRANSIENT = _listed({
    "EAGAIN": "the limit on processes and threads is reached",
    "ENOMEM": "the system is short of memory",
    "EMFILE": "this process has as many files open as it may",
    "ENFILE": "the system has as many files open as it may",
    "ENOBUFS": "the system is short of memory for sockets",
    "ETOOMANYREFS": "too many files are on their way between processes",
    "EINTR": "a signal arrived in between",
    "EBUSY": "something that the start needs is in use",
    "ETXTBSY": "the interpreter is being written, for example by an update",
    "EADDRINUSE": "another process took the name of the socket first",
    "EBADF": "the application closed a file of multiprocessing's; it is opened again",
    "ECHILD": ("the application waited for a helper process of multiprocessing's; "
               "it is started again"),
    # The fork server has ended. It is started again, START_TRIES times: it may end at every start.
    "ECONNREFUSED ECONNRESET ECONNABORTED ENOTCONN EPIPE": "the fork server has ended",
})

#: Errors that come back at the next try.
PERMANENT = _listed({
    "ENOENT": "a file or folder that the start needs is missing",
    "ENOTDIR": "the path of a folder that the start needs leads to a file",
    "ENAMETOOLONG": "the name of the temporary folder is too long",
    "ELOOP": "the path of a folder that the start needs is a circle of links",
    "EACCES": "this user may not use a file or folder that the start needs",
    "EPERM": "this user may not do what the start needs, or a security policy forbids it",
    "EROFS": "the temporary folder cannot be written",
    "ENOSPC": "the disk under the temporary folder is full",
    "EDQUOT": "the disk quota of this user is used up",
    "EIO": "the disk under the temporary folder reports errors",
    "ENODEV ENXIO ESTALE": "the file system of the temporary folder is gone",
    "EADDRNOTAVAIL EOPNOTSUPP": "the file system of the temporary folder has no sockets",
    "EAFNOSUPPORT EPROTONOSUPPORT EPROTOTYPE": "local sockets are not allowed here",
    "ENOSYS": "a security policy forbids what the start needs",
    "EINVAL": "the system does not take what the start asks for",
    "ENOEXEC": "the interpreter is not a program of this system",
    "E2BIG": "the arguments and the environment of the new process are too long",
})


def tries(error: BaseException) -> int | None:
    """Return how many starts in a row may fail with such an error; None for any number."""
    if isinstance(error, MemoryError):
        return None
    if isinstance(error, (ConnectionError, EOFError)):
        return START_TRIES          # of the fork server: see TRANSIENT
    if isinstance(error, OSError):
        if error.errno in TRANSIENT:
            return None
        # Python raises some errors without an errno, such as "AF_UNIX path too long".
        return 1 if error.errno is None or error.errno in PERMANENT else START_TRIES
    # Other errors do not depend on the system and come back, as for an unpicklable initializer.
    return 1 if isinstance(error, Exception) else START_TRIES


def is_permanent(error: BaseException) -> bool:
    """Return True if an error comes back at the next try."""
    return tries(error) == 1


def describe(error: BaseException) -> str:
    """Return the type and the text of an error for a message, and the reason of a system error."""
    text = described(error)
    if not isinstance(error, OSError) or error.errno is None:
        return text
    if error.strerror != os.strerror(error.errno):
        return text
    reason = TRANSIENT.get(error.errno) or PERMANENT.get(error.errno)
    if error.errno == errno.ENOENT and error.filename is None:
        reason = _lost_folder() or reason       # new processes get the path of the working folder
    return f"{text} ({reason})" if reason else text


def _lost_folder() -> str | None:
    """Return what to do about a working folder that has been deleted; None if it exists."""
    try:
        os.getcwd()
    except FileNotFoundError:
        folder = "the working folder"
        with suppress(OSError):                 # the name is known on Linux only
            name = os.readlink("/proc/self/cwd")
            folder += " " + (name[:-len(" (deleted)")] if name.endswith(" (deleted)") else name)
        return f"{folder} has been deleted; call os.chdir() with one that exists"
    return None


def check_interpreter() -> None:
    """Raise an error if the interpreter for new processes is missing.

    multiprocessing does not notice that: the process ends with exit code 255.

    :raises OSError: the file is missing or no file, or this user may not run it.
    """
    from multiprocessing import spawn

    path: Any = spawn.get_executable()
    advice = "name one with multiprocessing.set_executable()"
    if not path:
        raise FileNotFoundError(
            errno.ENOENT, f"this program does not know its Python interpreter; {advice}")
    path = os.fsdecode(path)
    if not os.path.exists(path):
        raise FileNotFoundError(errno.ENOENT, f"the Python interpreter is missing; {advice}", path)
    if not (os.path.isfile(path) and os.access(path, os.X_OK)):
        raise PermissionError(errno.EACCES, f"the Python interpreter cannot be run; {advice}", path)


def check_fork() -> None:
    """Raise an error in a sub-interpreter: Python ends a process that is forked there.

    :raises RuntimeError: this is not the main interpreter.
    """
    if sys.version_info < (3, 12):
        return                      # the package is for the main interpreter
    try:
        interpreters = import_module("_interpreters" if sys.version_info >= (3, 13)
                                     else "_xxsubinterpreters")
    except ImportError:             # this Python has one interpreter
        return
    if interpreters.get_current() != interpreters.get_main():
        raise RuntimeError("fork not supported in a sub-interpreter; use start_method='forkserver' "
                           "or 'spawn'")
