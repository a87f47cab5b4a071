"""One pool process as the parent sees it."""
from __future__ import annotations

from collections import deque
from contextlib import suppress
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from typing import Any

    from ...engine.lanes import Lane
    from ...engine.task import Task
    from ...engine.timer import TimerEntry
    from .descriptors import Identity

__all__ = ["ALIVE", "RESULTS", "TICKETS", "PoolProcess", "kill"]

#: Positions in ``PoolProcess.pipes``: the ends for reading tickets and results, and the one whose
#: closing ends the process.
TICKETS, RESULTS, ALIVE = 1, 3, 4


class PoolProcess:
    """One process of the pool. All fields are guarded by the pool's lock unless said otherwise."""

    __slots__ = ("process", "pid", "pipes", "task_fd", "ticket_in", "ticket_out", "result_fd", "inflight", "frame",
                 "worst", "stalled", "ready", "ending", "quota", "retiring", "outbox", "partial", "born", "error",
                 "closed", "stacks_fd", "weighed", "expiry", "touched", "moving", "leaving", "lanes",
                 "server", "files", "unsent")

    def __init__(self, process: Any, pipes: list[Connection], quota: int | None,
                 server: int | None, files: list[tuple[int, Identity | None]]) -> None:
        self.process = process
        self.files = files                  # what multiprocessing keeps for it
        self.server = server                # the pid of the fork server that has started it, if one has
        self.pid: int = process.pid
        self.pipes = pipes                  # the parent's ends, to be closed
        self.task_fd, self.ticket_in, self.ticket_out, self.result_fd, _, self.stacks_fd = [
            pipe.fileno() for pipe in pipes]
        self.inflight: deque[Task[Any]] = deque()
        self.frame = 0
        self.worst = -1                     # the least urgent priority in flight
        self.stalled = False                # tasks were taken back: nothing is sent until it is idle
        self.ready = False
        # Why it is being ended: the task that is the reason, if one is, its error, and its pause before a retry.
        self.ending: tuple[Task[Any] | None, BaseException | None, float | None] | None = None
        self.lanes: dict[Lane, int] = {}  # of which it has tasks in flight, and how many
        self.quota = quota                  # tasks that it may still be sent, or None
        self.retiring = False               # it is replaced when it is idle
        self.outbox: deque[memoryview] = deque()      # what the task pipe has had no room for
        self.partial = b""                  # the I/O thread's: a result of which only a part has arrived
        self.born = monotonic()
        self.expiry: TimerEntry | None = None      # the timer's call, should it not get ready in time
        self.weighed = self.born            # when its memory was looked at last
        self.error: BaseException | None = None    # why it could not get ready
        self.closed = False                 # its pipes are closed, or its task pipe is
        # An interrupt may come at any line. While touched, what was sent and what is in flight may differ.
        self.touched = False
        self.moving: list[Task[Any]] = []         # tasks that are being taken back
        self.unsent = 0                     # of the tasks in flight, the last ones never were sent
        self.leaving = False                # it ends when it has run what it got: what remains had not begun


def kill(process: Any) -> None:
    with suppress(OSError, ValueError):
        process.kill()
