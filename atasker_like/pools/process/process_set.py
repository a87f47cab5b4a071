"""The process pool, parent's side: initializer timeouts, recycling, stacks, ended processes.

* A process that is not ready in time, for example because its initializer hangs, is killed. That
  counts as a failed start.
* A process that is too old, uses too much memory or had a MemoryError is recycled: it gets no more
  tasks, and a new process replaces it.
"""
from __future__ import annotations

import os
from contextlib import suppress
from itertools import filterfalse
from operator import attrgetter
from time import monotonic

from ...engine.deferred import run_deferred
from ...errors import TaskTimeoutError
from .child import STACKS_SIGNAL, wait_readable
from .dispatcher import Dispatcher
from .log_forwarder import LogForwarder
from .pool_process import PoolProcess, kill
from .task_packer import TaskPacker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from ...engine.deferred import Deferred
    from ...engine.task import Task
    from .io_thread import IOThread


#: The default of ``initializer_timeout``: seconds until a process must be ready.
INITIALIZER_TIMEOUT = 120.0
#: The minimal number of seconds between two measurements of the memory of one process.
WEIGH_EVERY = 0.05
#: Seconds between SIGTERM and SIGKILL.
TERM_GRACE = 1.0
#: Seconds within which a process must write its stacks; seconds without data that end its answer.
PATIENCE, SILENCE = 1.0, 0.1


class ProcessSet(Dispatcher):
    """The part of the process pool that checks, recycles and ends its processes."""

    start_method: str | None
    on_readable: Callable[..., None]    # reads the results of a process, or handles its end
    io_thread_failed: Callable[[IOThread, BaseException], None]

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.min_size = 0
        self.forks_from_template = False    # the start method fork uses a template process
        self.packer: TaskPacker = TaskPacker(self)
        self.initializer: Callable[..., Any] | None = None
        self.initargs: tuple[Any, ...] = ()
        self.maxtasksperchild: int | None = None
        self.initializer_timeout: float | None = INITIALIZER_TIMEOUT
        self.max_age: float | None = None          # seconds
        self.max_memory: int | None = None         # bytes resident
        self.log_forwarder: LogForwarder = LogForwarder(self)
        self._closing = False
        self._generation = 0                # the number of calls of configure()
        self._exit_waiters: Deferred = []   # called when the last process has ended

    # -- initializer timeout -----------------------------------------------------------------------

    def _arm_ready_timeout(self, process: PoolProcess) -> None:
        """Arm the timer that kills a started process if it is not ready in time."""
        timeout = self.initializer_timeout
        if timeout is not None:
            self.timer.start()
            process.ready_timer = self.timer.call_later(timeout, self._ready_timed_out, process,
                                                        timeout)
            if process.ready or process.closed:     # since the call began
                self.timer.cancel(process.ready_timer)

    def _ready_timed_out(self, process: PoolProcess, timeout: float) -> None:
        # The timer calls it.
        with self.lock:
            if process.ready or process.closed or process not in self._processes:
                return
            if process.error is None:
                process.error = TaskTimeoutError(
                    f"process {process.pid} was not ready after {timeout:g} s; its initializer, or "
                    "the import of the main module, takes that long: raise initializer_timeout, or "
                    "make it faster")
            self.killed += 1
        kill(process.process)

    # -- recycling ---------------------------------------------------------------------------------

    def _should_recycle(self, process: PoolProcess) -> bool:
        """Return True if a process is too old or uses too much memory. (lock held)"""
        now = monotonic()
        if self.max_age is not None and now - process.started_at > self.max_age:
            return True
        if self.max_memory is not None and now - process.memory_checked_at >= WEIGH_EVERY:
            process.memory_checked_at = now
            memory = resident_memory(process.pid)
            return memory is not None and memory > self.max_memory
        return False

    def _recycle(self, process: PoolProcess) -> None:
        """Give a process no more tasks; let it exit after its last task. (lock held)"""
        if not process.retiring:
            process.retiring = True
            self.run_queue.requeue(self._revoke(process))
            if process in self._idle:
                self._close_when_idle(process)

    # -- stacks and ends ---------------------------------------------------------------------------

    def stacks(self) -> dict[int, tuple[str | None, str]]:
        """Return the stacks of the threads of all processes, which write them on request.

        :return: by pid, the id of the running task or None, and the stacks as text.
        """
        with self.lock:
            asked = [(process, process.inflight[0].id if process.inflight else None)
                     for process in filterfalse(attrgetter("closed"), self._processes)]
            files = {process.pid: os.dup(process.stacks_fd) for process, _ in asked}
        answers: dict[int, tuple[str | None, str]] = {}
        try:
            for process, _ in asked:
                _read_now(files[process.pid])       # discard a late answer to an earlier call
            willing = [process.pid if process.ready and _ask(process.pid) else None
                       for process, _ in asked]
            deadline = monotonic() + PATIENCE
            for process, task_id in asked:
                text = _answer(files[process.pid], deadline) if process.pid in willing else ""
                answers[process.pid] = task_id, text or "  (no answer)\n"
        finally:
            for file in files.values():
                os.close(file)
        return answers

    def _end_attempt(self, task: Task[Any], outcome: Any, pause: float | None = None) -> None:
        """End an attempt whose process has ended, or has sent its result. (no lock)"""
        with self.lock:
            deferred = self._attempt_ended(task, outcome, pause)
        run_deferred(deferred)

    def _end_process(self, process: PoolProcess) -> Deferred:
        """End a process with SIGTERM, then SIGKILL, after its tasks were revoked. (lock held)"""
        self._leave_idle(process)
        self.killed += 1
        self._departing = True

        def terminate() -> None:
            try:
                self.timer.start()
                self.timer.call_later(TERM_GRACE, kill, process.process)
                with suppress(OSError, ValueError):     # it ended meanwhile
                    process.process.terminate()
            except RuntimeError:            # no thread for the timer: kill it at once
                kill(process.process)

        return [terminate]


def resident_memory(pid: int) -> int | None:
    """Return the resident memory of a process in bytes, or None if it is unknown."""
    with suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return None


def _ask(pid: int) -> bool:
    """Send the signal that asks for the stacks. Return True if it was sent."""
    # Without a handler, which a task may have removed, the signal would kill the process.
    if STACKS_SIGNAL is None:
        return False
    text = ""
    with suppress(OSError), open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        text = file.read()
    for line in text.splitlines():
        if line.startswith("SigCgt:") and not int(line.split()[1], 16) >> (STACKS_SIGNAL - 1) & 1:
            return False
    with suppress(OSError):
        os.kill(pid, STACKS_SIGNAL)
        return True
    return False


def _read_now(file: int) -> bytes:
    read = b""
    with suppress(BlockingIOError):
        while True:
            data = os.read(file, 1 << 16)
            if not data:
                break
            read += data
    return read


def _answer(file: int, deadline: float) -> str:
    text = b""
    pause = deadline - monotonic()
    while wait_readable(file, pause):
        data = _read_now(file)
        if not data:
            break
        text += data
        pause = SILENCE
    return text.decode("utf-8", "replace")
