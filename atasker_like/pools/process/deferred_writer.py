"""The process pool, parent's side: frames that the main thread submits to idle processes.

An interrupt can come at any line of the main thread, and the function of a submission that raises
must not run. So the frames for idle processes are *held* until the submission only has to return.
Then one call of C code writes them. Any other operation on such a process writes them first. Of a
large frame all up to the last byte of its entries is written before: a process begins no task
before that byte, and skips a frame without tickets.
"""
from __future__ import annotations

import os
from collections import deque
from functools import partial
from operator import length_hint, methodcaller

from .child import TICKET
from .pool_process import kill

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Protocol, Sequence

    from .pool_process import PoolProcess

    class WritingPool(Protocol):
        """The pool, as the writer uses it."""

        lock: Any

        def write(self, process: PoolProcess, parts: list[Any]) -> None: ...
        def flush_later(self, process: PoolProcess) -> None: ...


#: The maximal size of a held frame in bytes. A write of so few bytes to a pipe is never partial.
HELD_MOST = 2048


class DeferredWriter:
    """Holds frames for idle processes, and writes them last.

    The caller holds the lock of the pool, except for :meth:`commit`.
    """

    __slots__ = ("thread", "processes", "_pool", "_calls", "_rests", "_committing", "_begin",
                 "_end")

    def __init__(self, pool: WritingPool) -> None:
        self._pool = pool
        self.thread: int = 0            # the ident of the main thread while it dispatches, else 0
        self.processes: list[PoolProcess] = []      # with tasks in flight that are not written yet
        # Requests, then two writes for each of them: its tickets, and its frame or the end of it.
        self._calls: list[partial[Any]] = []
        self._rests: dict[PoolProcess, list[Any]] = {}      # what is held of large frames
        self._committing: list[None] = []       # not empty during the write
        self._begin = partial(self._committing.append, None)
        self._end = (self.processes.clear, self._calls.clear, self._rests.clear,
                     self._committing.clear)

    def hold(self, process: PoolProcess, tickets: bytes, frame: bytes, raws: Sequence[Any]) -> None:
        """Hold the frame of an idle process, or the end of it if it is large."""
        if raws or len(frame) > HELD_MOST:
            rest = self._rests[process] = [frame[-1:], *raws]
            self._pool.write(process, [frame[:-1]])
            frame = rest[0]
            if raws or process.outbox:
                # The I/O thread writes it, as soon as the lock is free.
                frame = b""
                self.request(process.outbox.extend, [memoryview(part).cast("B") for part in rest])
                self.request(self._pool.flush_later, process)
        self.processes.append(process)
        self._calls += (partial(os.write, process.ticket_out, tickets),
                        partial(os.write, process.task_fd, frame))

    def request(self, call: Callable[[Any], Any], argument: Any) -> None:
        """Have a call made before the held frames are written."""
        self._calls.insert(0, partial(call, argument))

    def commit(self) -> Any:
        """Write the held frames. (no lock)"""
        # An interrupt can come between two lines, so all steps are one call of C code. It is the
        # last line of a submission. The list is read with the lock held, as another thread may
        # flush it before.
        calls = iter(self._calls)
        lock = self._pool.lock
        try:
            return deque(map(_call, [
                lock.acquire, self._begin, partial(deque, map(_call, calls), 0), *self._end,
                lock.release]), 0)
        except OSError:
            # A process is dead, or it is frozen and does not read. Its part and all later ones are
            # written in the usual way.
            self.flush(len(self._calls) - length_hint(calls) - 1)
            self._committing.clear()
            lock.release()
            return None

    def flush(self, first: int = 0) -> None:
        """Write the held frames now.

        :param first: the number of the first call that has not been made yet.
        """
        requests = len(self._calls) - 2 * len(self.processes)
        for position, call in enumerate(self._calls[first:], first - requests):
            if position < 0:
                call()
                continue
            process, part = self.processes[position // 2], call.args[1]
            if position % 2:
                if part and not process.unsent:
                    self._pool.write(process, [part])
                continue
            try:
                call()
            except OSError:
                unsent(process, len(part) // TICKET.size)
        self._discard()

    def _discard(self) -> None:
        for held in (self.processes, self._calls, self._rests):
            held.clear()

    # -- after an interrupt ------------------------------------------------------------------------

    def abort_commit(self) -> int:
        """Clean up after an interrupt of :meth:`commit`. Return how often it holds the lock."""
        if not self._committing:
            return 0
        for process in self.processes:
            process.inconsistent = True             # its frame may have been written in part
        self._discard()
        self._committing.clear()
        return 1

    def take_back(self, unsend: Callable[[PoolProcess], None]) -> None:
        """Drop the held frames, none of which has been written to its end.

        :param unsend: takes the tasks of a process back.
        """
        self.thread = 0
        for process in self.processes:
            process.inconsistent = True
        for process in self.processes:
            rest = self._rests.get(process)
            if rest:
                self._pool.write(process, rest)     # it skips the frame, which has no tickets
            unsend(process)                         # last: it may close the pipe
        self._discard()


def unsent(process: PoolProcess, count: int) -> None:
    """Count tasks whose tickets could not be written, and kill the process.

    The end of the process requeues them.
    """
    # The parent keeps both ends of the ticket pipe open, so the application closed it.
    process.unsent += count
    process.retiring = True
    kill(process.process)


_call = methodcaller("__call__")
