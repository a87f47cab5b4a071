"""The thread that watches the result pipes of a pool.

It waits in poll(), which keeps open the files that it waits for. If the application closes all
descriptors, only the other ends of the pipes are closed, and poll() returns. epoll would drop the
files and wait without end.
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
        """The methods of the pool that the I/O thread calls."""

        name: str

        def on_readable(self, process: PoolProcess) -> None: ...
        def on_writable(self, process: PoolProcess) -> bool: ...
        def on_transfer(self, process: PoolProcess) -> None: ...
        def io_thread_failed(self, io_thread: IOThread, error: BaseException) -> None: ...


#: The text of the errors after a call such as ``os.closerange()``.
CLOSED = ("the application has closed the descriptors of the process pool; a daemon closes them "
          "before it uses the pool, not after")

_GONE = select.POLLHUP | select.POLLERR | select.POLLNVAL


class IOThread:
    """The thread that watches the result pipes of a pool."""

    def __init__(self, pool: Watched) -> None:
        self._pool = pool
        # Shared without a lock: append() and popleft() are atomic, and the wake-up follows the
        # append().
        self._requests: deque[tuple[int, int, PoolProcess]] = deque()
        self._stopping = False
        # Only the I/O thread uses these two. With gevent, a poll object serves only the thread that
        # registers files.
        self._poll: Any = None
        self._watched: dict[int, PoolProcess] = {}
        self._files: list[int] = []
        self._own: list[tuple[int, Identity | None]] = []       # _files, each with its file
        self._thread = PackageThread(self._run, name=f"{pool.name}_io")
        try:
            # One line, so that no interrupt comes between opening and storing the descriptors.
            self._files += os.pipe()
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
        """Watch the result pipe of a process. Any thread may call it."""
        self._ask(process.result_fd, select.POLLIN, process)

    def flush(self, process: PoolProcess) -> None:
        """Call ``on_writable`` of the pool while the task pipe has room. Any thread may call it."""
        self._ask(process.task_fd, select.POLLOUT, process)

    def transfer(self, process: PoolProcess) -> None:
        """Call ``on_transfer`` of the pool. Any thread may call it."""
        self._ask(-1, 0, process)

    def _ask(self, fd: int, event: int, process: PoolProcess) -> None:
        self._requests.append((fd, event, process))
        self._wake()

    def pause(self, process: PoolProcess) -> None:
        """Stop watching for results until :meth:`add`. Only the I/O thread may call it."""
        self._unregister(process.result_fd, process)

    def forget(self, process: PoolProcess) -> None:
        """Stop watching a process. Only the I/O thread may call it."""
        for fd in (process.result_fd, process.task_fd):
            self._unregister(fd, process)

    def _unregister(self, fd: int, process: PoolProcess) -> None:
        if self._watched.get(fd) is process:
            del self._watched[fd]
            self._poll.unregister(fd)

    def stop(self) -> None:
        """End the thread and wait for its end. Any other thread may call it."""
        self._stopping = True
        self._wake()
        self._thread.join()
        self._close()

    def _close(self) -> None:
        for fd in self._files[len(self._own):]:     # an interrupt came before identity()
            os.close(fd)
        self._files.clear()
        while self._own:
            close_own(*self._own.pop())

    def _wake(self) -> None:
        # BlockingIOError: the pipe is full, so the thread is awake. Other errors: the application
        # closed the pipe, and poll() reports that to the thread.
        with suppress(OSError):
            os.write(self._writer, b"\0")

    def _run(self) -> None:
        try:
            self._serve()
        except BaseException as error:
            self._pool.io_thread_failed(self, error)
            self._close()

    def _serve(self) -> None:
        self._poll = select.poll()
        poll, watched = self._poll.poll, self._watched
        readable, writable = self._pool.on_readable, self._pool.on_writable
        reader, own = self._own[0]
        self._poll.register(reader, select.POLLIN)
        while True:
            ready = poll()
            # Checked before any read: never read files of the application. If the application
            # closes all descriptors, the event of the reader comes too, so a single result of a
            # process needs no check. That saves a system call in each round trip.
            if ready[1:] or ready[0][1] != select.POLLIN or ready[0][0] == reader:
                if identity(reader) != own:
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
                        # The data are lost. The end of the process finishes all tasks in flight.
                        log.exception("%s: the results of process %d cannot be read; "
                                      "it is replaced", self._pool.name, process.pid)
                        kill(process.process)
                elif fd == reader:
                    if events & _GONE:      # the application closed only the other end
                        raise OSError(CLOSED)
                    if self._answer():
                        return
            process = None      # an idle thread keeps no process alive

    def _answer(self) -> bool:
        """Register the requested files. Return True if the thread must end."""
        with suppress(BlockingIOError):
            os.read(self._reader, 4096)
        stopping = self._stopping
        while self._requests:
            fd, event, process = self._requests.popleft()
            if fd < 0:
                self._pool.on_transfer(process)
                continue
            # A task pipe may have been closed since the request.
            if fd == process.result_fd or not process.closed:
                self._watched[fd] = process
                self._poll.register(fd, event)
        return stopping
