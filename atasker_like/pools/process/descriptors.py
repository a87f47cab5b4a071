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

__all__ = ["close_own", "identity", "is_own"]


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
