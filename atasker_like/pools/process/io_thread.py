"""The thread that watches the result pipes of a pool."""
from __future__ import annotations

import os
import selectors
import threading
from collections import deque
from contextlib import suppress

from ..._log import log
from .pool_process import PoolProcess, kill

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol


    class Watched(Protocol):
        """The pool, as far as the watch must know it."""

        name: str

        def readable(self, process: PoolProcess) -> None: ...
        def writable(self, process: PoolProcess) -> bool: ...

__all__ = ["Watch"]


class Watch:
    """The thread that watches the result pipes of a pool."""

    def __init__(self, pool: Watched) -> None:
        self._pool = pool
        # Shared without a lock: appending and taking are each one step, and the wake-up comes after the append.
        self._requests: deque[tuple[int, int, PoolProcess]] = deque()
        self._stopping = False
        self._selector = selectors.DefaultSelector()
        self._files: list[int] = []
        self._thread = threading.Thread(target=self._run, name=f"{pool.name}_io", daemon=True)
        try:
            self._files += os.pipe()        # one step: an interrupt must not come between having and knowing them
            self._reader, self._writer = self._files
            os.set_blocking(self._reader, False)
            os.set_blocking(self._writer, False)
            self._selector.register(self._reader, selectors.EVENT_READ, None)
            self._thread.start()
        except BaseException:
            if self._thread.is_alive():
                self.stop()
            else:
                self._close()
            raise

    def add(self, process: PoolProcess) -> None:
        """Watch one more process."""
        self._ask(process.result_fd, selectors.EVENT_READ, process)

    def flush(self, process: PoolProcess) -> None:
        """Write out the outbox of a process as its pipe makes room."""
        self._ask(process.task_fd, selectors.EVENT_WRITE, process)

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
        with suppress(KeyError, ValueError):
            if self._selector.get_key(fd).data is process:
                self._selector.unregister(fd)

    def stop(self) -> None:
        """End the thread."""
        self._stopping = True
        self._wake()
        self._thread.join()
        self._close()

    def _close(self) -> None:
        self._selector.close()
        while self._files:
            os.close(self._files.pop())

    def _wake(self) -> None:
        with suppress(BlockingIOError):     # full: it is awake
            os.write(self._writer, b"\0")

    def _run(self) -> None:
        select = self._selector.select
        readable, writable = self._pool.readable, self._pool.writable
        while True:
            for key, events in select():
                process = key.data
                if process is not None:
                    try:
                        if events & selectors.EVENT_READ:
                            readable(process)
                        elif not writable(process):
                            self._unregister(key.fd, process)
                    except BaseException:
                        # What was read is lost. The end of the process settles all that it was sent.
                        log.exception("%s: the results of process %d cannot be read; it is replaced",
                                      self._pool.name, process.pid)
                        kill(process.process)
                    continue
                with suppress(BlockingIOError):
                    os.read(self._reader, 4096)
                stopping = self._stopping
                while self._requests:
                    fd, event, process = self._requests.popleft()
                    # KeyError: asked for twice. The others: closed since it was asked for.
                    with suppress(KeyError, ValueError, OSError):
                        if fd == process.result_fd or not process.closed:
                            self._selector.register(fd, event, process)
                if stopping:
                    return
            key = process = None     # type: ignore[assignment]  # an idle thread holds no process
