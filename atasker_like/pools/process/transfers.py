"""The process pool, parent's side: sending the large buffers of tasks to processes.

::

    dispatcher ──> transfers of a process ──> pool thread: copies buffers, sends descriptors

The frame of a task goes to the process at once. If its arguments have large buffers, the process
waits for their descriptors when it begins the task. A pool thread copies the buffers meanwhile, so
that neither a lock nor the I/O thread is held up. There is one such thread a process at a time, so
that descriptors arrive in the order of the frames.
"""
from __future__ import annotations

from contextlib import suppress
from errno import EIO

from ..._log import log
from .buffers import TransferError, send
from .pool_process import PoolProcess, kill

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Sequence

    from ..base import Pool
    from .buffers import Memory

    Copy = Callable[[Sequence[memoryview]], Memory]

__all__ = ["send_all"]


def send_all(pool: Pool, process: PoolProcess, copy: Copy) -> None:
    """Copy and send the buffers of all tasks that were sent to a process. (no lock)

    The caller has set ``process.transferring``.

    :param copy: copies buffers into memory.
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
                memories = outgoing.memories(copy)
            except TransferError as failed:
                error = failed.number
            with pool.lock:
                if task in process.inflight:
                    _send(process, frame, memories, error)
            del task, outgoing, memories
    except BaseException:
        log.exception("%s: large arguments cannot be sent to process %d; it is replaced", pool.name,
                      process.pid)
        kill(process.process)


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
