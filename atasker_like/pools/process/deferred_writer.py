"""The process pool, parent's side: what the main thread submits to idle processes is written last.

An interrupt can come at any line of the main thread, and a submission that raises must not have its function run. So
the frames for idle processes are *held* until nothing is left to be done but to return, and then written by one call
of C code. Who has to do with a process in the meantime writes what is held first.

Everything here but :meth:`Composer._commit` and :meth:`Composer._cut_short` is called with the pool's lock held.
"""
from __future__ import annotations

import os
from collections import deque
from functools import partial
from operator import length_hint, methodcaller
from threading import get_ident, main_thread
from time import perf_counter

from ...engine.task import QUEUED, STARTED
from ..base import Pool
from .child import TICKET
from .pool_process import kill

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .pool_process import PoolProcess

__all__ = ["HELD_MOST", "Composer"]

#: Bytes of a frame at most that is held: POSIX has them written in one piece.
HELD_MOST = 2048


class Composer(Pool):
    """The part of the process pool that holds frames back."""

    _composer: int                      # the main thread's ident while it dispatches what it submits, else 0
    _held: list[PoolProcess]          # processes that have been given tasks of which nothing is written yet
    _held_fds: list[int]              # what is to be written for them, tickets and frame of each: where
    _held_parts: list[bytes]          # and what
    _committing: list[None]           # not empty while that is written

    def _commit(self) -> Any:
        """Write what is held. The last line of a submission that can be interrupted: it is one call of C code."""
        fds = iter(self._held_fds)
        try:
            return deque(map(_call, [
                self.lock.acquire, partial(self._committing.append, None),
                partial(deque, map(os.write, fds, self._held_parts), 0), self._held.clear, self._held_fds.clear,
                self._held_parts.clear, self._committing.clear, self.lock.release]), 0)
        except OSError:
            # A process is dead, or does not read, being frozen. The one that was refused is done in the usual way, as
            # are those behind it.
            self._write_held(len(self._held_fds) - length_hint(fds) - 1)
            self._committing.clear()
            self.lock.release()
            return None

    def _flush_held(self) -> None:
        """Write what is held: someone else has to do with one of the processes."""
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
        """Note that nothing of some tasks could be written; they come back with the end of the process.

        This process keeps both ends of the pipe, so the application has closed it.
        """
        process.unsent += count
        process.retiring = True
        kill(process.process)

    def _drop_held(self) -> None:
        self._held.clear()
        self._held_fds.clear()
        self._held_parts.clear()

    def _cut_short(self) -> None:
        """A submission of the main thread is interrupted."""
        if self._committing and self.lock._is_owned():
            for process in self._held:
                process.touched = True          # some of it may have been written
            self._drop_held()
            self._committing.clear()
            self.lock.release()

    def _interrupted(self) -> None:
        if get_ident() != main_thread().ident:
            return
        self._composer = 0
        for process in self._held:              # nothing of it has been written
            process.touched = True
        for process in self._held:
            self._unsend(process)
        self._drop_held()

    def _unsend(self, process: PoolProcess) -> None:
        """Nothing of what a process was given has been written: it is idle."""
        back = list(process.inflight)
        process.inflight.clear()
        process.lanes.clear()               # the accounts of the lanes are set right by _repair()
        now = perf_counter()
        for task in back:
            if task._status == STARTED:
                task._advance(QUEUED, now)
                self._disarm(task)
        self.run_queue.requeue([task for task in back if task._status == QUEUED])
        if process.quota is not None:
            process.quota += len(back)
        process.touched = False
        self._becomes_idle(process)

    def _becomes_idle(self, process: PoolProcess) -> None:
        """A process has nothing in flight any more."""
        raise NotImplementedError

    def _write(self, process: PoolProcess, parts: list[Any]) -> None:
        """Write to a process without waiting; what the pipe has no room for goes out later."""
        raise NotImplementedError


_call = methodcaller("__call__")
