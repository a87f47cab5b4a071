"""The process pool, parent's side: copying the large buffers of tasks, and sending them.

The memory is kept for a while, and written anew once no process uses it.

The system clears the pages of new memory. That takes longer than the copy of the buffers. So the
parent keeps the memory that it has sent for KEPT_FOR seconds after the last transfer.

The system tells when no process uses a memory, however a process ends: each message carries a
descriptor with an open file of its own, which has a shared ``flock``. The lock ends with the last
descriptor and the last mapping of that open file. Until then, an exclusive lock is refused.

::

    dispatcher ──> transfers of a process ──> pool thread: copies buffers, sends descriptors

The frame of a task goes to the process at once. If its arguments have large buffers, the process
waits for their descriptors when it begins the task. A pool thread copies the buffers meanwhile, so
that neither a lock nor the I/O thread is held up. There is one such thread a process at a time, so
that descriptors arrive in the order of the frames.
"""
from __future__ import annotations

import os
from contextlib import suppress
from errno import EIO
from mmap import MAP_SHARED
from threading import Lock

from ..._fork import register
from ..._log import log
from .buffers import Memory, TransferError, copied, mapped, rounded, send
from .pool_process import PoolProcess, kill

with suppress(ImportError):
    from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN, flock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mmap import mmap
    from typing import Callable, Sequence

    from ...engine.timer import Timer, TimerEntry
    from ..base import Pool


#: Seconds after the last transfer until the memories are dropped.
KEPT_FOR = 1.0
#: The most memories that are kept.
MOST_KEPT = 8
#: Has the system enter all pages in the mapping at once, which is ten times as fast. (Linux)
_POPULATE = 0x8000
#: Bytes of one copy. Other threads run between two of them.
_STEP = 1 << 20


class _Kept:
    """A memory with its size, and its mapping in this process once it is written anew."""

    __slots__ = ("memory", "size", "mapping")

    def __init__(self, memory: Memory, size: int) -> None:
        self.memory = memory
        self.size = size
        self.mapping: mmap | None = None

    def suits(self, size: int) -> bool:
        """Return True if no process uses the memory, and its size is right for so many bytes."""
        if not size <= self.size <= 2 * size or not self.memory.is_open():
            return False
        try:
            flock(self.memory.fd, LOCK_EX | LOCK_NB)
        except OSError:
            return False
        flock(self.memory.fd, LOCK_UN)
        return True

    def write(self, raws: Sequence[memoryview]) -> None:
        """Copy buffers into the memory, each from a page on."""
        if self.mapping is None:
            self.mapping = mapped(self.memory.fd, self.size, 0, flags=MAP_SHARED | _POPULATE)
        start = 0
        for raw in raws:
            for offset in range(0, raw.nbytes, _STEP):
                part = raw[offset:offset + _STEP]
                self.mapping[start + offset:start + offset + part.nbytes] = part
            start += rounded(raw.nbytes)

    def close(self) -> None:
        """Let go of the memory now. Without the interpreter's lock, references may last longer."""
        if self.mapping is not None:
            self.mapping.close()
        self.memory.close()

    def lent(self) -> Memory:
        """Return a descriptor to send, which marks the memory as used until it is free again.

        :raises OSError: the system has no such descriptors.
        """
        memory = Memory(os.open(f"/proc/self/fd/{self.memory.fd}", os.O_RDWR | os.O_CLOEXEC))
        flock(memory.fd, LOCK_SH)
        return memory


class KeptMemories:
    """The memories that a pool has sent its processes lately. Any thread may use it."""

    def __init__(self, timer: Timer, spawn: Callable[[Callable[[], None]], None]) -> None:
        self._timer = timer
        self._spawn = spawn             # makes a call in a pool thread
        self._lock = Lock()             # guards the fields
        self._kept: list[_Kept] = []    # the one that was sent last is the last
        self._entry: TimerEntry | None = None
        register(self)

    def send_all(self, pool: Pool, process: PoolProcess) -> None:
        """Copy and send the buffers of all tasks that were sent to a process. (no lock)

        The caller has set ``process.transferring``.
        """
        try:
            while True:
                with pool.lock:
                    if not process.transfers:
                        process.transferring = False
                        return
                    frame, task, outgoing = process.transfers.popleft()
                    if task not in process.inflight:        # it was revoked
                        continue
                error, memories = 0, []
                try:
                    memories = outgoing.memories(self.copied)
                except TransferError as failed:
                    error = failed.number
                with pool.lock:
                    if task in process.inflight:
                        _send(process, frame, memories, error)
                del task, outgoing, memories
        except BaseException:
            log.exception("%s: large arguments cannot be sent to process %d; it is replaced",
                          pool.name, process.pid)
            kill(process.process)

    def copied(self, raws: Sequence[memoryview]) -> Memory:
        """Copy buffers as :func:`buffers.copied` does, into a memory that is free if there is one.

        :raises TransferError: there is no room for them.
        """
        size = sum(rounded(raw.nbytes) for raw in raws)
        kept = self._take(size)
        try:
            if kept is not None:
                kept.write(raws)
        except OSError:                 # the process has too many mappings
            kept = None
        if kept is None:
            try:
                kept = _Kept(copied(raws), size)
            except TransferError:
                self.clear()            # the memories may take the room
                kept = _Kept(copied(raws), size)
        try:
            lent = kept.lent()
        except (OSError, NameError):    # the system cannot tell when it is free
            return kept.memory
        self._keep(kept)
        return lent

    def _take(self, size: int) -> _Kept | None:
        """Remove and return a memory for so many bytes that no process uses, or None."""
        with self._lock:
            found = next(filter(lambda kept: kept.suits(size), self._kept), None)
            if found is not None:
                self._kept.remove(found)
            return found

    def _keep(self, kept: _Kept) -> None:
        """Keep a memory, and have all of them dropped when none has been sent for a while."""
        try:
            self._timer.start()
        except (RuntimeError, MemoryError):
            self.clear()                # no thread would drop them
            return
        with self._lock:
            self._kept.append(kept)
            dropped = self._kept[:-MOST_KEPT]
            del self._kept[:-MOST_KEPT]
            self._timer.cancel(self._entry)
            self._entry = self._timer.call_later(KEPT_FOR, self._spawn, self.clear)
        for old in dropped:
            old.close()

    def clear(self) -> None:
        """Drop the memories. The processes keep those that they use."""
        with self._lock:
            dropped, self._kept = self._kept, []
            self._timer.cancel(self._entry)
            self._entry = None
        for kept in dropped:
            kept.close()

    def _reset_after_fork(self) -> None:
        self._lock = Lock()
        self._kept, self._entry = [], None


def _send(process: PoolProcess, frame: int, memories: list[Memory], error: int) -> None:
    if process.socket_fd < 0:           # it has ended
        return
    with suppress(ConnectionError):     # it is dead: the result pipe reports its end
        try:
            send(process.socket_fd, frame, memories, error, wait=False)
        except (BlockingIOError, BrokenPipeError):
            raise
        except OSError as failed:
            # Too many descriptors are under way, for example. The task fails with the reason.
            send(process.socket_fd, frame, [], failed.errno or EIO, wait=False)
