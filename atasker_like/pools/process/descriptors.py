"""Descriptors that the application may close, as daemons do with ``os.closerange()``.

The number of such a descriptor may lead to a file of the application afterwards. So the pool
remembers the file of each descriptor, and does not touch a descriptor that leads to another file.
"""
from __future__ import annotations

import os
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Tuple

    #: The device and the inode number of a file.
    Identity = Tuple[int, int]


#: The lowest number of a descriptor that is moved out of the way of the application.
HIGH = 512


def identity(fd: int) -> Identity | None:
    """Return the identity of the file of a descriptor; None if the descriptor is not open."""
    try:
        status = os.fstat(fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def is_own(fd: int, known: Identity | None) -> bool:
    """Return True if a descriptor still leads to the file of this identity."""
    return known is not None and identity(fd) == known


def close_own(fd: int, known: Identity | None) -> None:
    """Close a descriptor if it still leads to the file of this identity."""
    if is_own(fd, known):
        with suppress(OSError):
            os.close(fd)


def out_of_the_way(fd: int) -> int:
    """Return another descriptor of the same file, with a high number.

    The system gives the lowest free number to a new file. So if the application closes all
    descriptors and opens files, no file gets a number that this pool uses, and no data for a pipe
    are written to a file.

    :return: the same descriptor if the system has no free high number.
    """
    try:
        import fcntl
        import resource

        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        high = HIGH if limit < 0 else min(HIGH, limit // 2)
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, high)
    except (ImportError, OSError):
        return fd
