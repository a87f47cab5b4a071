"""The stacks of the threads of pool processes, which write them on request."""
from __future__ import annotations

import os
from itertools import filterfalse
from operator import attrgetter
from time import monotonic

from .child import STACKS_SIGNAL, wait_readable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .dispatcher import Dispatcher

__all__ = ["stacks_of"]

#: Seconds within which a process must write its stacks; seconds without data that end its answer.
PATIENCE, SILENCE = 1.0, 0.1


def stacks_of(pool: Dispatcher) -> dict[int, tuple[str | None, str]]:
    """Return the stacks of the threads of all processes of a pool, and wait for their answers.

    :return: by pid, the id of the running task or None, and the stacks as text.
    """
    with pool.lock:
        asked = [(process, process.inflight[0].id if process.inflight else None)
                 for process in filterfalse(attrgetter("closed"), pool._processes)]
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


def _ask(pid: int) -> bool:
    """Send the signal that asks for the stacks. Return True if it was sent."""
    # Without a handler, which a task may have removed, the signal would kill the process.
    if STACKS_SIGNAL is None:
        return False
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("SigCgt:") and not int(line.split()[1], 16) >> (STACKS_SIGNAL - 1) & 1:
            return False
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
    text = b""
    pause = deadline - monotonic()
    while wait_readable(file, pause):
        data = _read_now(file)
        if not data:
            break
        text += data
        pause = SILENCE
    return text.decode("utf-8", "replace")
