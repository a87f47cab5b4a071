"""The process pool, parent's side: what keeps processes in good order beside giving them tasks.

* A process that does not get ready in time, its initializer hangs say, is ended and counts as a failed start.
* A process that is too old, or has grown too large, or has met a MemoryError, gets no more tasks and is replaced.
* What it logs is given to the loggers of this process.
* It can be asked where its threads are.
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

    from ..base import Chores

__all__ = ["Upkeep"]

#: Seconds until a process must be ready, its initializer included, unless told.
INITIALIZER_TIMEOUT = 120.0
#: Seconds between two looks at the memory of one process.
WEIGH_EVERY = 0.05
#: Log records that wait for the application's handlers, at most.
LOGS_MOST = 10000
#: Seconds that a process gets to say where its threads are, and seconds of silence after which it has said all.
STACKS_PATIENCE, STACKS_SILENCE = 1.0, 0.1


class Upkeep(Dispatcher):
    """The part of the process pool that looks after its processes."""

    _beside: Callable[[Callable[[], None]], None]

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.initializer_timeout: float | None = INITIALIZER_TIMEOUT
        self.max_age: float | None = None          # seconds
        self.max_memory: int | None = None         # bytes resident
        self.killed = 0                     # processes that were ended by force
        self._logs: deque[tuple[dict[str, Any], str | None, str | None]] = deque()
        self._relaying = False              # a thread gives them to the handlers
        self._lost_logs = 0

    # -- getting ready -------------------------------------------------------------------------------

    def _expect(self, process: PoolProcess) -> None:
        """A process has been started: end it if it is not ready in time."""
        timeout = self.initializer_timeout
        if timeout is not None:
            self.timer.start()
            process.expiry = self.timer.call_later(timeout, self._late, process, timeout)
            if process.ready or process.closed:     # meanwhile
                self.timer.cancel(process.expiry)

    def _late(self, process: PoolProcess, timeout: float) -> None:
        """The timer's call."""
        with self.lock:
            if process.ready or process.closed or process not in self._processes:
                return
            if process.error is None:
                process.error = TaskTimeoutError(
                    f"process {process.pid} was not ready after {timeout:g} s; its initializer, or the import of the "
                    "main module, takes that long: raise initializer_timeout, or make it faster")
            self.killed += 1
        kill(process.process)

    # -- recycling -----------------------------------------------------------------------------------

    def _outworn(self, process: PoolProcess) -> bool:
        """Say whether a process that is about to get tasks is too old or too large; the lock is held."""
        now = monotonic()
        if self.max_age is not None and now - process.born > self.max_age:
            return True
        if self.max_memory is not None and now - process.weighed >= WEIGH_EVERY:
            process.weighed = now
            memory = resident_memory(process.pid)
            return memory is not None and memory > self.max_memory
        return False

    def _retire(self, process: PoolProcess) -> None:
        """Give a process no more tasks, and end it when it has none; the lock is held."""
        if not process.retiring:
            process.retiring = True
            self.run_queue.requeue(self._recall(process))
            if process in self._idle:
                self._dismiss(process)

    # -- log records ---------------------------------------------------------------------------------

    def _enter_log(self, number: int, fields: dict[str, Any]) -> None:
        """A process has logged something; the lock is held."""
        task = self.registry.live.get(number)
        if len(self._logs) >= LOGS_MOST:
            self._lost_logs += 1
        elif task is None:
            self._logs.append((fields, None, None))
        else:
            self._logs.append((fields, task.id, task.name))

    def _relay_chores(self) -> Chores:
        if not self._logs or self._relaying:
            return []
        self._relaying = True
        return [lambda: self._beside(self._relay)]

    def _relay(self) -> None:
        """In a pool thread: give records to the application's handlers, in their order."""
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
                    log.exception("a handler raised at a log record of process %s", fields.get("process"))
            if lost:
                log.warning("%s: %d log records of processes were dropped: the handlers are too slow", self.name, lost)

    # -- stacks --------------------------------------------------------------------------------------

    def stacks(self) -> dict[int, tuple[str | None, str]]:
        """Ask all processes where their threads are.

        :return: by pid, the id of the task that the process runs or None, and its answer as text.
        """
        with self.lock:
            asked = [(process, process.inflight[0].id if process.inflight else None)
                     for process in self._processes if not process.closed]
            files = {process.pid: os.dup(process.stacks_fd) for process, _ in asked}
        answers: dict[int, tuple[str | None, str]] = {}
        try:
            for process, _ in asked:
                _read_now(files[process.pid])       # an answer that nobody waited for any more
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
    """Return the bytes of a process that are in memory; None where nobody can tell."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def _ask(pid: int) -> bool:
    """Send the signal that asks for the stacks, unless the process would die of it: its task may have set it free."""
    if STACKS_SIGNAL is None:
        return False
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("SigCgt:") and not int(line.split()[1], 16) >> (STACKS_SIGNAL - 1) & 1:
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
