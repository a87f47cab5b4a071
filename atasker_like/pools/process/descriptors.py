"""Descriptors that the application may close without asking, as daemons do with ``os.closerange()``.

The number of such a descriptor may belong to a file of the application's by then. So a descriptor is known by its
file, too, and is not touched if its number leads to another one.
"""
from __future__ import annotations

import os
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Tuple

    #: The device and the number of a file.
    Identity = Tuple[int, int]

__all__ = ["close_own", "identity", "is_own", "out_of_the_way"]

#: From this number on, descriptors are out of the way of the application's.
HIGH = 512


def identity(fd: int) -> Identity | None:
    """Return what tells the file of a descriptor from all others; None if it is not open."""
    try:
        status = os.fstat(fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def is_own(fd: int, known: Identity | None) -> bool:
    """Return True if a descriptor still leads to the file that it led to."""
    return known is not None and identity(fd) == known


def close_own(fd: int, known: Identity | None) -> None:
    """Close a descriptor, unless it has been closed."""
    if is_own(fd, known):
        with suppress(OSError):
            os.close(fd)


def out_of_the_way(fd: int) -> int:
    """Return another descriptor of the same file, with a high number.

    The system gives the lowest free number to a new file. So if the application closes all
    descriptors and opens files, none of these gets a number of this pool's, and nothing that is
    written to a pipe gets into a file.

    :return: the same descriptor if the system has no such number to give.
    """
    try:
        import fcntl
        import resource

        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        high = HIGH if limit < 0 else min(HIGH, limit // 2)
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, high)
    except (ImportError, OSError):
        return fd
