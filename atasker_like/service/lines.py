"""Lines: what both ends of a connection read, a message each."""
from __future__ import annotations

import asyncio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List

__all__ = ["LineProtocol"]

#: Bytes of the buffer into which a connection reads. asyncio's other way makes one of 256 KiB each time that it reads, which
#: the C library has the system map, shrink and unmap, for each small request in a loop's thread.
_BUFFER = 1 << 15


class LineProtocol(asyncio.BufferedProtocol):
    """One end of a connection, as far as it reads."""

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(_BUFFER))
        self._rest = bytearray()        # the beginning of a line

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def _read(self, nbytes: int) -> "List[bytes]":
        """Return the lines that have become whole, and keep the beginning of another one."""
        data = bytes(self._buffer[:nbytes])
        if not self._rest and data.find(b"\n") == nbytes - 1:
            return [data[:-1]]          # one, which is what there mostly is
        lines = data.split(b"\n")
        rest = lines.pop()
        if lines and self._rest:
            self._rest += lines[0]
            lines[0] = bytes(self._rest)
            self._rest.clear()
        self._rest += rest
        return lines
