"""The process pool, parent's side: initializer timeouts, recycling, log records, stacks.

* A process that is not ready in time, for example because its initializer hangs, is killed. That
  counts as a failed start.
* A process that is too old, uses too much memory or had a MemoryError is recycled: it gets no more
  tasks, and a new process replaces it.
* The log records of a process go to the loggers of the parent.
* A process writes the stacks of its threads on request.
"""
from __future__ import annotations

import os
from collections import deque
from time import monotonic

from ..._log import log
from ...errors import TaskTimeoutError
from . import log_relay as relay
from .child import STACKS_SIGNAL
from .dispatcher import Dispatcher
from .pool_process import PoolProcess, kill

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from ...engine.deferred import Deferred

__all__ = ["ProcessSet"]

#: The default of ``initializer_timeout``: seconds until a process must be ready.
INITIALIZER_TIMEOUT = 120.0
#: The minimal number of seconds between two measurements of the memory of one process.
WEIGH_EVERY = 0.05
#: The maximal number of log records that wait for the application's handlers.
LOGS_MOST = 10000
#: Seconds within which a process must write its stacks; seconds without data that end its answer.
STACKS_PATIENCE, STACKS_SILENCE = 1.0, 0.1


class ProcessSet(Dispatcher):
    """The part of the process pool that checks, recycles and inspects its processes."""

    _spawn: Callable[[Callable[[], None]], None]

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.initializer_timeout: float | None = INITIALIZER_TIMEOUT
        self.max_age: float | None = None          # seconds
        self.max_memory: int | None = None         # bytes resident
        self.killed: int = 0                # the number of processes that were killed
        self._logs: deque[tuple[dict[str, Any], str | None, str | None]] = deque()
        self._relaying = False              # a pool thread passes them to the handlers
        self._lost_logs = 0

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

    # -- log records -------------------------------------------------------------------------------

    def _enter_log(self, number: int, fields: dict[str, Any]) -> None:
        """Queue a log record of a process for the application's handlers. (lock held)"""
        task = self.registry.live.get(number)
        if len(self._logs) >= LOGS_MOST:
            self._lost_logs += 1
        elif task is None:
            self._logs.append((fields, None, None))
        else:
            self._logs.append((fields, task.id, task.name))

    def _relay_deferred(self) -> Deferred:
        if not self._logs or self._relaying:
            return []
        self._relaying = True
        return [lambda: self._spawn(self._relay)]

    def _relay(self) -> None:
        """Pass the queued records to the application's handlers, in order."""
        # A pool thread runs it.
        while True:
            with self.lock:
                lost, self._lost_logs = self._lost_logs, 0
                if not self._logs:
                    self._relaying = False
                    break
                records = list(self._logs)
                self._logs.clear()
            for fields, task_id, task_name in records:
                try:
                    relay.handle(fields, task_id, task_name)
                except Exception:
                    log.exception("a handler raised at a log record of process %s",
                                  fields.get("process"))
            if lost:
                log.warning("%s: %d log records of processes were dropped: the handlers are "
                            "too slow", self.name, lost)

    # -- stacks ------------------------------------------------------------------------------------

    def stacks(self) -> dict[int, tuple[str | None, str]]:
        """Return the stacks of the threads of all processes. The call waits for their answers.

        :return: by pid, the id of the running task or None, and the stacks as text.
        """
        with self.lock:
            asked = [(process, process.inflight[0].id if process.inflight else None)
                     for process in self._processes if not process.closed]
            files = {process.pid: os.dup(process.stacks_fd) for process, _ in asked}
        answers: dict[int, tuple[str | None, str]] = {}
        try:
            for process, _ in asked:
                _read_now(files[process.pid])       # discard a late answer to an earlier call
            willing = [process.pid for process, _ in asked if process.ready and _ask(process.pid)]
            deadline = monotonic() + STACKS_PATIENCE
            for process, task_id in asked:
                text = _answer(files[process.pid], deadline) if process.pid in willing else ""
                answers[process.pid] = task_id, text or "  (no answer)\n"
        finally:
            for file in files.values():
                os.close(file)
        return answers


def resident_memory(pid: int) -> int | None:
    """Return the resident memory of a process in bytes, or None if it is unknown."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def _ask(pid: int) -> bool:
    """Send the signal that asks for the stacks. Return True if it was sent."""
    # Without a handler, which a task may have removed, the signal would kill the process.
    if STACKS_SIGNAL is None:
        return False
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if (line.startswith("SigCgt:")
                        and not int(line.split()[1], 16) >> (STACKS_SIGNAL - 1) & 1):
                    return False
    except OSError:
        pass
    try:
        os.kill(pid, STACKS_SIGNAL)
    except OSError:
        return False
    return True


def _read_now(file: int) -> bytes:
    read = b""
    try:
        while True:
            data = os.read(file, 1 << 16)
            if not data:
                return read
            read += data
    except BlockingIOError:
        return read


def _answer(file: int, deadline: float) -> str:
    from select import POLLIN, poll

    waiter = poll()
    waiter.register(file, POLLIN)
    text = b""
    pause = deadline - monotonic()
    while waiter.poll(max(0, int(pause * 1000))):
        data = _read_now(file)
        if not data:
            break
        text += data
        pause = STACKS_SILENCE
    return text.decode("utf-8", "replace")
