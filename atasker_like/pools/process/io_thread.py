"""The thread that watches the result pipes of a pool.

It waits in poll(), which keeps open the files that it waits for. If the application closes all
descriptors, only the other ends of the pipes are closed, and poll() returns. epoll would forget the
files, and wait without end.
"""
from __future__ import annotations

import os
import select
from collections import deque
from contextlib import suppress

from ..._log import log
from ..._threads import PackageThread
from .descriptors import close_own, identity, out_of_the_way
from .pool_process import PoolProcess, kill

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from .descriptors import Identity

    class Watched(Protocol):
        """The pool, as far as the watch must know it."""

        name: str

        def readable(self, process: PoolProcess) -> None: ...
        def writable(self, process: PoolProcess) -> bool: ...
        def watch_failed(self, watch: Watch, error: BaseException) -> None: ...

__all__ = ["CLOSED", "Watch"]

#: What the errors say after something like ``os.closerange()``.
CLOSED = ("the application has closed the descriptors of the process pool; a daemon closes them "
          "before it uses the pool, not after")

_GONE = select.POLLHUP | select.POLLERR | select.POLLNVAL


class Watch:
    """The thread that watches the result pipes of a pool."""

    def __init__(self, pool: Watched) -> None:
        self._pool = pool
        # Shared without a lock: appending and taking are each one step, and the wake-up comes after the append.
        self._requests: deque[tuple[int, int, PoolProcess]] = deque()
        self._stopping = False
        self._poll: Any = None      # the thread's own: with gevent, a poll object serves the thread that registers files
        self._watched: dict[int, PoolProcess] = {}      # the thread's own
        self._files: list[int] = []
        self._own: list[tuple[int, Identity | None]] = []       # the same, each with its file
        self._thread = PackageThread(self._run, name=f"{pool.name}_io")
        try:
            self._files += os.pipe()        # one step: an interrupt must not come between having and knowing them
            writer = self._files[1]
            self._files[1] = out_of_the_way(writer)
            if writer not in self._files:
                os.close(writer)
            self._own += [(fd, identity(fd)) for fd in self._files]
            self._reader, self._writer = self._files
            os.set_blocking(self._reader, False)
            os.set_blocking(self._writer, False)
            self._thread.start()
        except BaseException:
            if self._thread.is_alive():
                self.stop()
            else:
                self._close()
            raise

    def add(self, process: PoolProcess) -> None:
        """Watch one more process."""
        self._ask(process.result_fd, select.POLLIN, process)

    def flush(self, process: PoolProcess) -> None:
        """Write out the outbox of a process as its pipe makes room."""
        self._ask(process.task_fd, select.POLLOUT, process)

    def _ask(self, fd: int, event: int, process: PoolProcess) -> None:
        self._requests.append((fd, event, process))
        self._wake()

    def pause(self, process: PoolProcess) -> None:
        """Do not watch for results until :meth:`add`; called by the thread itself."""
        self._unregister(process.result_fd, process)

    def forget(self, process: PoolProcess) -> None:
        """Watch a process no more; called by the thread itself."""
        for fd in (process.result_fd, process.task_fd):
            self._unregister(fd, process)

    def _unregister(self, fd: int, process: PoolProcess) -> None:
        if self._watched.get(fd) is process:
            del self._watched[fd]
            self._poll.unregister(fd)

    def stop(self) -> None:
        """End the thread."""
        self._stopping = True
        self._wake()
        self._thread.join()
        self._close()

    def _close(self) -> None:
        for fd in self._files[len(self._own):]:     # interrupted before it knew their files
            os.close(fd)
        self._files.clear()
        while self._own:
            close_own(*self._own.pop())

    def _wake(self) -> None:
        # BlockingIOError: it is full, so the thread is awake. The others: the application has closed
        # it, which the thread sees by itself.
        with suppress(OSError):
            os.write(self._writer, b"\0")

    def _run(self) -> None:
        try:
            self._serve()
        except BaseException as error:
            self._pool.watch_failed(self, error)
            self._close()

    def _serve(self) -> None:
        self._poll = select.poll()
        poll, watched = self._poll.poll, self._watched
        readable, writable = self._pool.readable, self._pool.writable
        reader, own = self._own[0]
        self._poll.register(reader, select.POLLIN)
        while True:
            ready = poll()
            if identity(reader) != own:     # before anything is read from files of the application
                raise OSError(CLOSED)
            for fd, events in ready:
                process = watched.get(fd)
                if process is not None:
                    try:
                        if fd == process.result_fd:
                            readable(process)
                        elif not writable(process):
                            self._unregister(fd, process)
                    except BaseException:
                        # What was read is lost. The end of the process settles all that it was sent.
                        log.exception("%s: the results of process %d cannot be read; it is replaced",
                                      self._pool.name, process.pid)
                        kill(process.process)
                elif fd == reader:
                    if events & _GONE:      # only the other end has been closed
                        raise OSError(CLOSED)
                    if self._answer():
                        return
            process = None      # an idle thread holds no process

    def _answer(self) -> bool:
        """Do what was asked for; return True if the thread is to end."""
        with suppress(BlockingIOError):
            os.read(self._reader, 4096)
        stopping = self._stopping
        while self._requests:
            fd, event, process = self._requests.popleft()
            # A task pipe may have been closed since it was asked for.
            if fd == process.result_fd or not process.closed:
                self._watched[fd] = process
                self._poll.register(fd, event)
        return stopping
