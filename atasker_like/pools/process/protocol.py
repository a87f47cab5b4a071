"""The process pool, parent's side: decoding the results that pool processes write.

Unpickling runs user code, so no function here is called with a lock held.
"""
from __future__ import annotations

import marshal
import pickle

from ..._core_errors import RetryRequest
from ..._inspect import class_name, described, why_not_rebuilt
from ...engine.result import with_cause
from ...engine.task import Progress, Task
from ...errors import ProcessDiedError, RemoteError, RemoteTraceback, TaskPicklingError
from . import child, log_relay as relay
from .child import BUFFERS, ERROR, LOG, NOT_READY, PROGRESS, TICKET, VALUE, PipeReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Tuple

    from .buffers import Memory
    from .exit_status import ExitStatus
    from .pool_process import PoolProcess

    #: The number of the task, the kind, the run time in seconds, and the value, the error, or
    #: another object that belongs to the kind.
    Result = Tuple[int, int, float, Any]


def _loads(number: int, kind: int, reader: PipeReader, process: PoolProcess | None) -> Any:
    def take() -> list[Memory]:
        assert process is not None
        return process.take(number)

    sizes = ()
    if kind == BUFFERS:
        sizes = marshal.loads(reader.read(TICKET.unpack(reader.read(TICKET.size))[0]))
    return child.load_parts(reader, sizes, take)


def _not_rebuilt(raised: BaseException) -> BaseException:
    return with_cause(TaskPicklingError("the task ran, but its result could not be rebuilt here "
                                        f"({described(raised)})"), raised)


def not_sent(what: str, name: str, receiver: str, raised: BaseException,
             more: str = "") -> BaseException:
    """Return the error for the function or the arguments of a task that cannot be pickled."""
    advice = ("define it at the top level of a module, where the process can import it"
              if what == "function"
              else "pass plain data, and open files or connections in the function")
    return with_cause(TaskPicklingError(f"the {what} of task {name} cannot be sent to {receiver} "
                                        f"({described(raised)}); {advice}{more}"), raised)


def decode_large(number: int, kind: int, seconds: float, reader: PipeReader,
                 process: PoolProcess) -> Result:
    """Decode a result that is still in the pipe, like :func:`decode`.

    :raises EOFError: the process died before it had written all of it.
    """
    if kind != VALUE and kind != BUFFERS:
        return decode(number, kind, seconds, reader.rest(), process)
    try:
        return number, kind, seconds, _loads(number, kind, reader, process)
    except BaseException as raised:
        if reader.torn:
            raise EOFError from raised
        return number, ERROR, seconds, _not_rebuilt(raised)


def decode(number: int, kind: int, seconds: float, payload: Any,
           process: PoolProcess | None = None) -> Result:
    """Decode a payload. That may run user code. (no lock)

    :param process: the pool process that sent it, if one did.
    """
    outcome: Any = None
    if kind == VALUE or kind == BUFFERS:
        try:
            outcome = (pickle.loads(payload) if kind == VALUE
                       else _loads(number, kind, PipeReader(-1, len(payload), payload), process))
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
    """Rebuild an exception from its description by a child. The traceback text is its cause."""
    kind, message, text, pickled, reason, *countdown = marshal.loads(payload)
    if countdown:
        inner = _rebuild(marshal.dumps((kind, message, text, pickled, reason))) if kind else None
        return RetryRequest(countdown[0], inner)
    error: BaseException | None = None
    if pickled is not None:
        try:
            error = pickle.loads(pickled)
            if not issubclass(type(error), BaseException):
                reason = (f"its __reduce__ makes {class_name(type(error))} of it instead of an "
                          "exception; mend it")
        except BaseException as raised:
            # Its class cannot be called with its args, or it cannot be imported here.
            reason = why_not_rebuilt(raised)
    if error is None or not issubclass(type(error), BaseException):
        # A child without memory may fail to pickle the MemoryError, too. The pool must see that
        # type, since it replaces the process.
        error = (MemoryError(message) if kind == _NO_MEMORY
                 else RemoteError(kind, message, text, reason))
    return with_cause(error, RemoteTraceback(text))


#: The likely causes of the most frequent signals.
_HINTS = {9: "it was killed by hand, or by the system for lack of memory",
          11: "a segmentation fault: look for a crash in an extension module",
          15: "something asked it to end, or all processes of this program"}


def process_died_error(pid: int, status: ExitStatus, task: Task[Any]) -> ProcessDiedError:
    """Return the error for a task that a process ran when it died."""
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
