"""One pool process as the parent sees it."""
from __future__ import annotations

from collections import deque
from contextlib import suppress
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from typing import Any

    from ...engine.blocking import Latch
    from ...engine.lanes import Lane
    from ...engine.task import Task
    from ...engine.timer import TimerEntry
    from .buffers import Memory, Outgoing
    from .descriptors import Identity

__all__ = ["ALIVE", "RESULTS", "TICKETS", "PoolProcess", "kill"]

#: Positions in ``PoolProcess.pipes``: the ends for reading tickets and results, and the one whose
#: closing ends the process.
TICKETS, RESULTS, ALIVE = 1, 3, 4


class PoolProcess:
    """One process of the pool. The lock of the pool guards all fields except ``partial``."""

    __slots__ = ("process", "pid", "pipes", "task_fd", "ticket_in", "ticket_out", "result_fd",
                 "inflight", "frame", "lowest_priority", "revoked", "ready", "termination",
                 "tasks_left", "retiring", "outbox", "partial", "started_at", "error", "closed",
                 "stacks_fd", "memory_checked_at", "ready_timer", "inconsistent", "revoking",
                 "draining", "lanes", "server", "files", "unsent", "socket_fd",
                 "transfers", "transferring", "generation", "reading")

    def __init__(self, process: Any, pipes: list[Connection], quota: int | None,
                 server: int | None, files: list[tuple[int, Identity | None]]) -> None:
        self.process: Any = process
        # the descriptors of multiprocessing for it
        self.files: list[tuple[int, Identity | None]] = files
        self.server: int | None = server    # the pid of the fork server that started it, or None
        self.pid: int = process.pid
        self.pipes: list[Connection] = pipes    # the parent's ends
        fds: list[int] = [pipe.fileno() for pipe in pipes]
        self.task_fd: int = fds[0]
        self.ticket_in: int = fds[1]
        self.ticket_out: int = fds[2]
        self.result_fd: int = fds[3]
        self.stacks_fd: int = fds[5]
        self.socket_fd: int = fds[6]
        # Large buffers that are not sent yet: the frame, the task, its buffers.
        self.transfers: deque[tuple[int, Task[Any], Outgoing]] = deque()
        self.transferring: bool = False     # a pool thread sends them
        self.inflight: deque[Task[Any]] = deque()
        self.frame: int = 0
        self.lowest_priority: int = -1                # the least urgent priority in flight
        self.revoked: bool = False          # tasks were revoked: send nothing until it is idle
        self.ready: bool = False
        # Why it is being ended: the task that is the reason, its error, and its pause before a
        # retry; each may be None.
        self.termination: tuple[Task[Any] | None, BaseException | None, float | None] | None = None
        self.lanes: dict[Lane, int] = {}    # the number of tasks in flight, by lane
        # the number of tasks that it may still be sent, or None
        self.tasks_left: int | None = quota
        self.retiring: bool = False         # it is replaced when it is idle
        self.outbox: deque[memoryview] = deque()    # data for which the task pipe had no room
        self.generation: int = 0            # of the pool's settings with which it was started
        self.reading: Latch | None = None   # a pool thread reads a large result
        self.partial: bytes = b""           # an incomplete result; only the I/O thread uses it
        self.started_at: float = monotonic()
        self.ready_timer: TimerEntry | None = None       # the timer entry of initializer_timeout
        self.memory_checked_at: float = self.started_at     # when its memory was last measured
        self.error: BaseException | None = None     # why it did not get ready
        self.closed: bool = False           # its task pipe, or all its pipes, are closed
        # An interrupt may come at any line. While touched, the tasks sent and the tasks in flight
        # may differ.
        self.inconsistent: bool = False
        self.revoking: list[Task[Any]] = []   # tasks that are being revoked
        self.unsent: int = 0                # so many of the last tasks in flight were never sent
        self.draining: bool = False          # it runs the tasks it received, then it exits

    def take(self, number: int) -> list[Memory]:
        """Return the memories with the large buffers of a result that has arrived."""
        from .buffers import Incoming

        return Incoming(self.socket_fd).take(number & 0xFFFFFFFF, wait=False)


def kill(process: Any) -> None:
    with suppress(OSError, ValueError):
        process.kill()
