"""Newline framing: both ends of a connection read one message a line."""
from __future__ import annotations

import asyncio

from .. import _fork

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


#: Objects of the parent process, in a forked child. The child shares the selector of a copied event
#: loop with the parent. If a copied transport were finalized here, or a coroutine that closes one,
#: the parent would get no more events for that connection. A reference keeps them alive.
_inherited: list[Any] = []


def keep_inherited(*objects: Any) -> None:
    """Keep objects that a forked process inherited from being finalized."""
    _inherited.extend(objects)


#: Bytes of the buffer into which a connection reads. A plain asyncio.Protocol allocates 256 KiB
#: for each read, which the C library maps, shrinks and unmaps for each small request.
_BUFFER = 1 << 15


class LineProtocol(asyncio.BufferedProtocol):
    """The reading half of one end of a connection."""

    _transport: Any = None

    def __init__(self) -> None:
        _fork.register(self)
        self._buffer = memoryview(bytearray(_BUFFER))
        self._partial = bytearray()         # the beginning of a line

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def _split_lines(self, nbytes: int) -> list[bytes]:
        """Return the complete lines, and keep the beginning of the next."""
        data = bytes(self._buffer[:nbytes])
        if not self._partial and data.find(b"\n") == nbytes - 1:
            return [data[:-1]]              # exactly one line, the usual case
        lines = data.split(b"\n")
        rest = lines.pop()
        if lines and self._partial:
            self._partial += lines[0]
            lines[0] = bytes(self._partial)
            self._partial.clear()
        self._partial += rest
        return lines

    # -- without the loop --------------------------------------------------------------------------

    def detach(self) -> None:
        """Close the socket without the loop, which does not run here."""
        transport, self._transport = self._transport, None
        end = getattr(transport, "_sock", None)         # asyncio's transports have no public way
        if end is not None:
            transport._sock = None                      # or the transport's finalizer warns
            end.close()

    def _reset_after_fork(self) -> None:
        """Close the connection in a forked process. It belongs to the parent.

        As long as the child has a copy, the other end does not notice when the parent closes it.
        """
        keep_inherited(self, self._transport)
        self.detach()
