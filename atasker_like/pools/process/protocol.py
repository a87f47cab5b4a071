"""The process pool, parent's side: making objects of what a pool process has written.

All of it runs code of others (unpickling does), so none of it is called with a lock held.
"""
from __future__ import annotations

import marshal
import pickle

from ..._inspect import described, why_not_rebuilt
from ...engine.result import with_cause
from ...engine.task import Progress, Task
from ...errors import (ProcessDiedError, RemoteError, RemoteTraceback, RetryRequest,
                       TaskPicklingError)
from . import child, log_relay as relay
from .child import BUFFERS, ERROR, LOG, NOT_READY, PROGRESS, TICKET, VALUE, PipeReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Tuple

    from .exit_status import ExitStatus

    #: number of the task, kind, seconds, and the value, the error, or whatever the kind brings
    Result = Tuple[int, int, float, Any]

__all__ = ["death_of", "decode", "decode_large", "wait_readable"]


def _loads(kind: int, reader: PipeReader) -> Any:
    sizes = ()
    if kind == BUFFERS:
        sizes = marshal.loads(reader.read(TICKET.unpack(reader.read(TICKET.size))[0]))
    return child.load_parts(reader, sizes)


def wait_readable(fd: int) -> None:
    """Block until a pipe has something to read, or its other end is closed."""
    from select import POLLIN, poll

    waiter = poll()
    waiter.register(fd, POLLIN)
    waiter.poll()


def _not_rebuilt(raised: BaseException) -> BaseException:
    error = TaskPicklingError("the task ran, but its result could not be rebuilt here "
                              f"({described(raised)})")
    error.__cause__ = raised        # an error of ours takes assignments
    return error


def decode_large(number: int, kind: int, seconds: float, reader: PipeReader) -> Result:
    """:func:`decode`, for what is still on its way."""
    if kind != VALUE and kind != BUFFERS:
        return decode(number, kind, seconds, reader.rest())
    try:
        return number, kind, seconds, _loads(kind, reader)
    except BaseException as raised:
        if reader.torn:
            raise EOFError from raised
        return number, ERROR, seconds, _not_rebuilt(raised)


def decode(number: int, kind: int, seconds: float, payload: Any) -> Result:
    """Make an object of a payload. No lock is held: that may run code of others."""
    outcome: Any = None
    if kind == VALUE or kind == BUFFERS:
        try:
            outcome = pickle.loads(payload) if kind == VALUE else _loads(kind, PipeReader(-1, len(payload), payload))
        except BaseException as raised:
            kind, outcome = ERROR, _not_rebuilt(raised)
    elif kind == ERROR or kind == NOT_READY:
        try:
            outcome = _rebuild(payload)
        except BaseException as raised:
            outcome = _not_rebuilt(raised)
    elif kind == PROGRESS:
        outcome = Progress(*marshal.loads(payload))
    elif kind == LOG:
        outcome = relay.unpack(payload)
    return number, kind, seconds, outcome


_NO_MEMORY = f"{MemoryError.__module__}.{MemoryError.__qualname__}"


def _rebuild(payload: bytes) -> BaseException:
    """Make an exception of what a child says of one; its traceback becomes the cause."""
    kind, message, text, pickled, reason, *countdown = marshal.loads(payload)
    if countdown:
        inner = _rebuild(marshal.dumps((kind, message, text, pickled, reason))) if kind else None
        return RetryRequest(countdown[0], inner)
    error: BaseException | None = None
    if pickled is not None:
        try:
            error = pickle.loads(pickled)
            if not isinstance(error, BaseException):
                reason = f"its __reduce__ makes {type(error).__name__} of it instead of an exception; mend it"
        except BaseException as raised:     # its class cannot be called with its args, or is not importable here
            reason = why_not_rebuilt(raised)
    if not isinstance(error, BaseException):
        # Who has no memory left has none to pickle that, either; and the pool must know of it.
        error = MemoryError(message) if kind == _NO_MEMORY else RemoteError(kind, message, text, reason)
    return with_cause(error, RemoteTraceback(text))


#: What the most frequent ends of processes are due to.
_HINTS = {9: "it was killed by hand, or by the system for lack of memory",
          11: "a segmentation fault: look for a crash in an extension module",
          15: "something asked it to end, or all processes of this program"}


def death_of(pid: int, status: ExitStatus, task: Task[Any]) -> ProcessDiedError:
    """Return the error of a task that a process was running when it died."""
    code = status.code
    how = f" {status}"
    if status.cause:
        how, hint = "", status.cause
    elif code is None:
        how, hint = "", f"its exit status is unknown, since {status.reason}"
    elif code >= 0:
        hint = "something in the function called exit() or os._exit()"
    else:
        hint = _HINTS.get(-code, "a crash in C code, or someone sent the signal")
    return ProcessDiedError(
        f"process {pid} died{how} while it ran task {task.name} ({task.short_id}): {hint}. "
        "Other tasks are not affected; the process is replaced.", pid, code)
