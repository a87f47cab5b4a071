"""The process pool, parent's side: frames that the main thread submits to idle processes.

An interrupt can come at any line of the main thread, and the function of a submission that raises
must not run. So the frames for idle processes are *held* until the submission only has to return.
Then one call of C code writes them. Any other operation on such a process writes them first.

The caller holds the lock of the pool, except for :meth:`DeferredWriter._commit` and
:meth:`DeferredWriter._release_lock`.
"""
from __future__ import annotations

import os
from collections import deque
from functools import partial
from operator import length_hint, methodcaller
from threading import get_ident, main_thread

from ..base import Pool
from .child import TICKET
from .pool_process import kill

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .pool_process import PoolProcess

__all__ = ["HELD_MOST", "DeferredWriter"]

#: The maximal size of a held frame in bytes. A write of so few bytes to a pipe is never partial.
HELD_MOST = 2048


class DeferredWriter(Pool):
    """The part of the process pool that holds frames and writes them last."""

    _deferring_thread: int          # the ident of the main thread while it dispatches, else 0
    _held: list[PoolProcess]        # processes with tasks in flight that are not written yet
    _held_fds: list[int]            # of each held process: its ticket pipe, its task pipe
    _held_parts: list[bytes]        # of each held process: its tickets, its frame
    _committing: list[None]         # not empty during the write

    def _commit(self) -> Any:
        """Write the held frames. (no lock)"""
        # An interrupt can come between two lines, so all steps are one call of C code. It is the
        # last line of a submission.
        fds = iter(self._held_fds)
        try:
            return deque(map(_call, [
                self.lock.acquire, partial(self._committing.append, None),
                partial(deque, map(os.write, fds, self._held_parts), 0),
                self._held.clear, self._held_fds.clear, self._held_parts.clear,
                self._committing.clear, self.lock.release]), 0)
        except OSError:
            # A process is dead, or it is frozen and does not read. Its part and all later ones are
            # written in the usual way.
            self._write_held(len(self._held_fds) - length_hint(fds) - 1)
            self._committing.clear()
            self.lock.release()
            return None

    def _flush_held(self) -> None:
        self._write_held(0)

    def _write_held(self, first: int) -> None:
        for position in range(first, len(self._held_fds)):
            part, process = self._held_parts[position], self._held[position // 2]
            if position % 2:
                if not process.unsent:
                    self._write(process, [part])
                continue
            try:
                os.write(self._held_fds[position], part)    # tickets
            except OSError:
                self._unsent(process, len(part) // TICKET.size)
        self._drop_held()

    def _unsent(self, process: PoolProcess, count: int) -> None:
        """Count tasks whose tickets could not be written, and kill the process.

        The end of the process requeues them.
        """
        # The parent keeps both ends of the ticket pipe open, so the application closed it.
        process.unsent += count
        process.retiring = True
        kill(process.process)

    def _drop_held(self) -> None:
        self._held.clear()
        self._held_fds.clear()
        self._held_parts.clear()

    def _release_lock(self) -> None:
        """Clean up after an interrupt of :meth:`_commit`. (no lock)"""
        if self._committing and self.lock._is_owned():
            for process in self._held:
                process.inconsistent = True          # its frame may have been written in part
            self._drop_held()
            self._committing.clear()
            self.lock.release()

    def _interrupted(self) -> None:
        if get_ident() != main_thread().ident:
            return
        self._deferring_thread = 0
        for process in self._held:              # none of its frames has been written
            process.inconsistent = True
        for process in self._held:
            self._unsend(process)
        self._drop_held()

    def _unsend(self, process: PoolProcess) -> None:
        """Requeue all tasks of a process to which none of them was written: it is idle."""
        back = list(process.inflight)
        process.inflight.clear()
        process.lanes.clear()               # _resync() corrects the counts of the lanes
        self.run_queue.requeue([task for task in back if self.lifecycle.revoke(task)])
        if process.tasks_left is not None:
            process.tasks_left += len(back)
        process.inconsistent = False
        self._becomes_idle(process)

    def _becomes_idle(self, process: PoolProcess) -> None:
        raise NotImplementedError

    def _write(self, process: PoolProcess, parts: list[Any]) -> None:
        raise NotImplementedError


_call = methodcaller("__call__")
