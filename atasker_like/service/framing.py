"""Lines: what both ends of a connection read, a message each; and what becomes of it in a forked process."""
from __future__ import annotations

import asyncio
import os
import weakref

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["LineProtocol", "keep_inherited"]

#: What is a parent process's, after a fork. A loop shares with its copy in the child what it watches: were the copy of a
#: transport, or of a coroutine that closes one, to be collected here, the parent would hear no more of its connection.
_inherited: list[Any] = []


def keep_inherited(*things: Any) -> None:
    """In a forked process: these are the parent's, and stay as they are."""
    _inherited.extend(things)

#: Bytes of the buffer into which a connection reads. asyncio's other way makes one of 256 KiB each time that it reads, which
#: the C library has the system map, shrink and unmap, for each small request in a loop's thread.
_BUFFER = 1 << 15


class LineProtocol(asyncio.BufferedProtocol):
    """One end of a connection, as far as it reads."""

    _transport: Any = None

    def __init__(self) -> None:
        _protocols.add(self)
        self._buffer = memoryview(bytearray(_BUFFER))
        self._partial = bytearray()        # the beginning of a line

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def _split_lines(self, nbytes: int) -> list[bytes]:
        """Return the lines that have become whole, and keep the beginning of another one."""
        data = bytes(self._buffer[:nbytes])
        if not self._partial and data.find(b"\n") == nbytes - 1:
            return [data[:-1]]          # one, which is what there mostly is
        lines = data.split(b"\n")
        rest = lines.pop()
        if lines and self._partial:
            self._partial += lines[0]
            lines[0] = bytes(self._partial)
            self._partial.clear()
        self._partial += rest
        return lines

    # -- without the loop ----------------------------------------------------------------------------

    def detach(self) -> None:
        """Close the socket without the loop, which does not run any more, or runs in the parent process only."""
        transport, self._transport = self._transport, None
        end = getattr(transport, "_sock", None)         # asyncio's own have no other way
        if end is not None:
            transport._sock = None                      # or the transport's finalizer warns of it
            end.close()

    def reset_after_fork(self) -> None:
        """In a forked process: the connection is the parent's. Were it open here, too, the other end would not be told when
        the parent closes it."""
        keep_inherited(self, self._transport)
        self.detach()


#: The ends of connections, for a fork. In the child no other thread adds to them.
_protocols: weakref.WeakSet[LineProtocol] = weakref.WeakSet()


def _after_fork() -> None:
    for end in list(_protocols):
        end.reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
