"""The process pool, child's side: the loop of a pool process, and the wire format of the pipes.

This module imports little of the package, so that a child starts fast: errors, retries, the relay
of log records, and the inspection of functions.

Three pipes carry tasks and results. A fourth pipe reports the death of the parent. The child writes
the stacks of its threads to a fifth pipe when it gets a signal::

    parent ──── frames of tasks ────> child      FRAME header, marshalled entries, raw buffers
    parent ──── tickets ────────────> child      one a task: the number of its frame, 4 bytes
    parent <─── results ───────────── child      RESULT header, payload; one write each
    parent <─── stacks ────────────── child      text that faulthandler writes at any moment
    parent <─── descriptors ────────> child      of memory with large buffers, over a socket

A ticket is the right to run one task. The child takes a ticket, then starts the next task of the
frame that the ticket names. The parent reads tickets back from the same pipe to revoke tasks: the
kernel gives each ticket to exactly one of the two. So a task that was sent is run by this child or
revoked, never both. When a child has died, the tickets left in its pipe tell exactly how many tasks
it had not begun.
"""
from __future__ import annotations

import marshal
import os
import pickle
import signal
import struct
import sys
import threading
from contextlib import suppress
from functools import lru_cache
from io import BytesIO
from time import perf_counter
from types import BuiltinFunctionType, FunctionType, ModuleType, SimpleNamespace

from ..._core_errors import RetryRequest
from ..._fork import forget_imports_of_other_threads
from ..._ids import short_id
from ..._inspect import (address_of, class_name, described, lookup, name_of, text_of, traceback_of,
                         traceback_text, type_name_of, why_not_rebuilt)
from ..._remote_task import RemoteTaskView
from ..._retry import plain_number
from ...errors import TaskPicklingError, TaskRetryError
from . import log_relay as relay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from typing import Any, Callable, Iterable, Optional, Sequence, Tuple

    from .buffers import Incoming, Memory, Position

    #: Number, pickled function, pickled arguments or None. Only tasks that need them have more
    #: fields: the sizes of the buffers if the arguments follow the entries, the id if the caller
    #: chose it, True if the function takes the id, the attempt (negative: do not cache the
    #: function), the name if one was given, the retries.
    Entry = Tuple[Any, ...]

    #: What a process calls before its first task, or None; and the arguments.
    Initializer = Tuple[Optional[Callable[..., Any]], Tuple[Any, ...]]


#: Length of the data after the entries, length of the entries, number of the frame. Only a frame of
#: one task has data after the entries: its buffers and the pickle of its arguments.
FRAME = struct.Struct("<QII")
#: Number of the task, length of the payload, run time in seconds, kind.
RESULT = struct.Struct("<QQdB")
TICKET = struct.Struct("<I")

NONE, VALUE, BUFFERS, ERROR, PROGRESS, READY, NOT_READY, LOG = range(8)

#: From this size in bytes on, a pickle is sent beside the entries, and bytes are not copied into
#: their pickle.
LARGE = 1 << 16

#: The requested size of each pipe. If the kernel refuses it, only speed is lost.
PIPE_SIZE = 1 << 20


def pickle_parts(value: Any, members: Iterable[Any]) -> tuple[list[Any], list[memoryview]]:
    """Pickle a value; return the parts of its pickle and its out-of-band buffers.

    :param members: the parts of the value that may be large bytes or strings.
    """
    buffers: list[pickle.PickleBuffer] = []
    for member in members:
        if type(member) in _BULKY and len(member) >= LARGE:
            # A file that keeps what is written: the pickler writes large bytes without a copy.
            parts: list[Any] = []
            file: Any = SimpleNamespace(write=parts.append)
            pickle.Pickler(file, 5, buffer_callback=buffers.append).dump(value)
            break
    else:
        parts = [pickle.dumps(value, 5, buffer_callback=buffers.append)]
    return parts, [buffer.raw() for buffer in buffers]


_BULKY = (bytes, bytearray, str)


class PipeReader:
    """A file for the unpickler over the next ``length`` bytes of a pipe.

    It reads large bytes directly into their final buffer.

    :param first: the bytes that have been read already.
    :param wait: called when a non-blocking pipe is empty.
    """

    def __init__(self, fd: int, length: int, first: bytes = b"",
                 wait: Callable[[], object] | None = None) -> None:
        self._fd = fd
        self._left = length - len(first)    # bytes that are still in the pipe
        self._first = memoryview(first)
        self._wait = wait
        self.torn: bool = False             # the other end was closed too early

    def readinto(self, target: Any) -> int:
        """Fill a buffer.

        :raises EOFError: the data end before the buffer is full.
        """
        view = memoryview(target).cast("B")
        filled = min(len(self._first), len(view))
        view[:filled] = self._first[:filled]
        self._first = self._first[filled:]
        if len(view) - filled > self._left:
            raise EOFError              # a pickle that asks for more than was sent
        while filled < len(view):
            try:
                count = os.readv(self._fd, [view[filled:filled + PIPE_SIZE]])
            except BlockingIOError:
                assert self._wait is not None
                self._wait()
                continue
            if not count:
                self.torn = True
                raise EOFError
            filled += count
            self._left -= count
        return filled

    def read(self, length: int) -> bytes:
        """Return exactly ``length`` bytes."""
        data = bytearray(length)
        self.readinto(data)
        return bytes(data)

    def readline(self) -> bytes:
        """Return the bytes up to a line feed. Only pickles of old protocols need it."""
        line = b""
        while not line.endswith(b"\n"):
            line += self.read(1)
        return line

    def rest(self) -> bytes:
        """Return all remaining bytes."""
        return self.read(len(self._first) + self._left)

    def skip(self) -> None:
        """Discard all remaining bytes."""
        while self._first or self._left:
            self.read(min(PIPE_SIZE, len(self._first) + self._left))


def load_parts(reader: PipeReader, sizes: Sequence[Position],
               take: Callable[[], list[Memory]]) -> Any:
    """Read buffers and a pickle that refers to them; return its value.

    :param sizes: the size of each buffer, or its position in shared memory.
    :param take: returns the shared memories.
    """
    buffers: list[Any] = []
    memories: list[Memory] | None = None
    for size in sizes:
        if isinstance(size, tuple):
            from .buffers import mapped

            if memories is None:
                memories = take()
            index, offset, length = size
            buffers.append(memoryview(mapped(memories[index].fd, length, offset)))
            continue
        buffer = bytearray(size)
        reader.readinto(buffer)
        buffers.append(buffer)
    return pickle.Unpickler(reader, buffers=buffers).load()


class _NamePickler(pickle.Pickler):
    """Pickles decorated functions. Their names lead to the decorators, which hold the functions."""

    def reducer_override(self, thing: Any) -> Any:
        """Return the lookup that finds a decorated function, or NotImplemented."""
        if type(thing) in _NAMED:
            address = address_of(thing)
            if address is not None and address[2]:
                return lookup, address
        return NotImplemented


#: The type of the functions that :func:`functools.lru_cache` returns. They are pickled by name.
_CACHED: type = type(lru_cache(maxsize=None)(len))
_NAMED = (FunctionType, _CACHED)


def undecorated(function: Any) -> Any:
    """Return the function inside its decorators: a call of the decorated form would submit it."""
    # If this process has not imported the decorators, it has no decorated functions.
    spec: Any = sys.modules.get(_SPEC)
    return function if spec is None else spec.undecorated(function)


_SPEC = __name__.rsplit(".", 3)[0] + ".engine.spec"


def is_stateless(target: Any) -> bool:
    """Return True if a target is a function that is pickled by name, so that it may be cached."""
    kind = type(target)
    if kind is BuiltinFunctionType:
        # __self__ of a method is its object, which may change; of a function, its module or None.
        return target.__self__ is None or type(target.__self__) is ModuleType
    return kind in _NAMED or kind is type


def pickle_target(target: Callable[..., Any]) -> bytes:
    """Pickle a function for a child. A decorated function is found inside its decorators.

    :raises Exception: the error of pickle if the function cannot be pickled.
    """
    try:
        return pickle.dumps(target, pickle.HIGHEST_PROTOCOL)
    except Exception:
        file = BytesIO()
        with suppress(Exception):
            _NamePickler(file, pickle.HIGHEST_PROTOCOL).dump(target)
            return file.getvalue()
        raise               # the error of the plain pickler names the cause


class ChildTaskView(RemoteTaskView):
    """The object that ``current_task()`` returns in a pool process."""

    __slots__ = ("_number", "_server")

    def __init__(self, server: _Server, number: int, task_id: str, name: str, attempts: int,
                 retries: int) -> None:
        super().__init__(task_id, name, attempts, retries)
        self._number = number
        self._server = server

    def check_cancelled(self) -> None:
        """Do nothing: cancelling a running task of a process pool kills its process."""

    def report_progress(self, done: float, total: float | None = None,
                        message: str | None = None) -> None:
        """Report the progress of the task. ``task.progress`` shows it in the parent."""
        if self._server._lock._is_owned():      # type: ignore[attr-defined]
            return                          # called by a finalizer during a write: drop the report
        self._server.send(self._number, PROGRESS, marshal.dumps(
            (plain_number(done),
             None if total is None else plain_number(total),
             None if message is None else "".join(message))), 0.0)

    def _check_inside(self) -> None:
        """See :meth:`Attempt._check_inside`."""
        running = self._server._running
        if running is None or running[0] != self._number:
            raise TaskRetryError(
                f"task {self._label()} has ended already, and gets no other attempt")


#: The server of this process; None if this is not a pool process.
server: _Server | None = None


class _Server:
    """The loop of a pool process."""

    def __init__(self, task_fd: int, ticket_fd: int, result_fd: int, socket_fd: int,
                 prefix: str) -> None:
        self._task_fd = task_fd
        self._ticket_fd = ticket_fd
        self._result_fd = result_fd
        self._socket_fd = socket_fd
        self._frame = 0                     # the number of the last frame with a pickle of its own
        self._incoming: Incoming | None = None
        self._prefix = prefix
        self._functions: dict[bytes, Callable[..., Any]] = {}
        # Any thread may send progress and log records; so may finalizers and signal handlers while
        # this thread writes a result. So the lock must know its owner.
        self._lock = threading.RLock()      # guards the writing of results
        # These two pickle results and errors. A serializer replaces them.
        self.dumps: Callable[..., bytes] = pickle.dumps
        self.pickle_parts = pickle_parts
        self._held: int | None = None       # a ticket of a frame that has not been read yet
        self._running: tuple[int, str | None, Callable[..., Any], int, str | None,
                             int] | None = None

    def serve(self) -> None:
        """Run tasks until the parent closes its end."""
        while True:
            try:
                raw_length, length, frame = FRAME.unpack(self._read(FRAME.size))
                body = self._read(length)
            except EOFError:
                return
            # Outside of the try: marshal raises EOFError for bytes that are no frame.
            entries: list[Entry] = marshal.loads(body)
            del body
            reader = None
            if raw_length:
                reader = PipeReader(self._task_fd, raw_length)
                self._frame = frame
            for entry in entries:
                ticket = self._take_ticket()
                if ticket != frame:
                    # The rest of this frame was revoked. The ticket, if any, is for a later frame.
                    self._held = ticket
                    if reader is not None and any(type(size) is tuple for size in entry[3]):
                        self._receiver().skip(frame)
                    break
                self._run(entry, reader)
            del entries
            if reader is not None:
                try:
                    reader.skip()
                except EOFError:
                    return

    def _receiver(self) -> Incoming:
        if self._incoming is None:
            from .buffers import Incoming

            self._incoming = Incoming(self._socket_fd)
        return self._incoming

    def _take(self) -> list[Memory]:
        return self._receiver().take(self._frame)

    def _take_ticket(self) -> int | None:
        if self._held is not None:
            ticket, self._held = self._held, None
            return ticket
        try:
            return int(TICKET.unpack(os.read(self._ticket_fd, TICKET.size))[0])
        except BlockingIOError:
            return None

    def _read(self, length: int) -> bytes | bytearray:
        data = os.read(self._task_fd, min(length, PIPE_SIZE))
        if len(data) == length:
            return data
        if not data:
            raise EOFError
        whole = bytearray(length)
        PipeReader(self._task_fd, length, data).readinto(whole)
        return whole

    def _run(self, entry: Entry, reader: PipeReader | None) -> None:
        begin = perf_counter()
        number, blob, payload = entry[:3]
        task_id, takes_id, attempt, name, retries = (
            (None, False, 1, None, 0) if len(entry) == 3 else entry[4:])
        stage, function = "function", None
        try:
            function = self._functions.get(blob)
            if function is None:
                function = undecorated(pickle.loads(blob))
                if attempt > 0:
                    if len(self._functions) > 4096:
                        self._functions.clear()
                    self._functions[blob] = function
            stage = "arguments"
            args: tuple[Any, ...] = ()
            kwargs: dict[str, Any] | None = None
            if reader is not None:
                args, kwargs = load_parts(reader, entry[3], self._take)
            elif payload:
                args, kwargs = pickle.loads(payload)
            self._running = (number, task_id, function, abs(attempt), name, retries)
            if takes_id:
                kwargs = dict(kwargs or (), _task_id=self.current_id())
            stage = "run"
            value = function(*args, **kwargs) if kwargs else function(*args)
            if value is None:
                header = RESULT.pack(number, 0, perf_counter() - begin, NONE)
                with self._lock:
                    # Shorter than PIPE_BUF, so the write is never partial.
                    os.write(self._result_fd, header)
                return
            del args, kwargs
            stage = "result"
            parts, raws = self.pickle_parts(
                value, value if type(value) in (tuple, list) else (value,))
            seconds = perf_counter() - begin
            del value
            if raws:
                self._send_buffers(number, parts, raws, seconds)
            elif len(parts) == 1:
                self.send(number, VALUE, parts[0], seconds)
            else:
                self._send_parts(number, VALUE, parts, seconds)
        except BaseException as error:
            try:
                described = _describe(error, stage, (name or name_of(function)) if function else "",
                                      self._id_of(number, task_id))
            except MemoryError:
                described = _describe_in_little_memory(error)
            self.send(number, ERROR, described, perf_counter() - begin)
        finally:
            self._running = None

    def current_id(self) -> str:
        """Return the id of the running task."""
        assert self._running is not None
        return self._id_of(*self._running[:2])

    def _id_of(self, number: int, task_id: str | None) -> str:
        return task_id if task_id is not None else f"{self._prefix}{number:012x}"

    def current(self) -> ChildTaskView | None:
        """Return the running task, or None."""
        running = self._running
        if running is None:
            return None
        number, _, function, attempt, name, retries = running
        name = name or name_of(function)
        return ChildTaskView(self, number, self.current_id(), name, attempt, retries)

    def log(self, packed: bytes) -> None:
        """Send a log record, as one of the running task if there is one."""
        if self is server and not self._lock._is_owned():       # type: ignore[attr-defined]
            running = self._running
            self.send(0 if running is None else running[0], LOG, packed, 0.0)

    def send(self, number: int, kind: int, payload: bytes, seconds: float) -> None:
        """Write one result or report. No other write comes between its parts."""
        header = RESULT.pack(number, len(payload), seconds, kind)
        with self._lock:
            if len(payload) < LARGE:
                self._write(header + payload)
            else:
                self._write(header)
                self._write(payload)

    def _send_parts(self, number: int, kind: int, parts: list[Any], seconds: float) -> None:
        length = sum(memoryview(part).nbytes for part in parts)
        with self._lock:
            self._write(RESULT.pack(number, length, seconds, kind))
            for part in parts:
                self._write(part)

    def _send_buffers(self, number: int, parts: list[Any], raws: list[memoryview],
                      seconds: float) -> None:
        from .buffers import lay_out, send

        positions, inline, outgoing = lay_out(raws)
        sizes = marshal.dumps(positions)
        memories = [] if outgoing is None else outgoing.memories()
        with self._lock:
            if memories:        # first: they are there when the parent reads the result
                send(self._socket_fd, number & 0xFFFFFFFF, memories)
            self._send_parts(number, BUFFERS,
                             [TICKET.pack(len(sizes)) + sizes, *inline, *parts], seconds)

    def _write(self, data: bytes | memoryview) -> None:
        written = os.write(self._result_fd, data)
        if written < len(data):
            view = memoryview(data)
            while written < len(data):
                written += os.write(self._result_fd, view[written:])


def _describe(error: BaseException, stage: str, name: str = "", task_id: str = "",
              engine: str = "") -> bytes:
    """Serialize an error so that the parent can always read it.

    :param name: the name of the task, if it is known.
    :param engine: the name of the executor whose process this is (default: a pool process).
    """
    if type(error) is RetryRequest:
        # The fields of the error that it carries, and one more: the seconds.
        inner = error.error
        words = (("", "", "", None, "") if inner is None
                 else marshal.loads(_describe(inner, "retry")))
        return marshal.dumps((*words, error.countdown))
    trace = traceback_of(error)
    if trace is not None and stage == "run":
        trace = trace.tb_next           # without the frame of this module
    cause = ""
    where = f"a worker of the executor {engine}" if engine else "the pool process"
    way_out = _way_out_there(error, engine) if engine else _way_out(error)
    task = f"task {name} ({short_id(task_id)})" if name else f"task {short_id(task_id)}"
    if stage in ("arguments", "result") and issubclass(type(error), TaskPicklingError):
        cause = (f"{task} ran, but its result cannot be sent: {error}" if stage == "result"
                 else f"the arguments of {task} cannot be sent to the pool process: {error}")
    elif stage == "result":
        cause = (f"{task} ran, but its result cannot be pickled: {_text(error)}; return "
                 "plain data, such as a list of what a generator yields or a file contains")
    elif stage == "arguments":
        cause = (f"the arguments of {task} could not be rebuilt in {where}: "
                 f"{described(error)}{way_out}")
    elif stage == "function":
        cause = (f"the function of {task} could not be found in {where}: "
                 f"{_text(error)}{way_out}")
    pickled, reason = None, ""
    try:
        dumps = pickle.dumps if server is None else server.dumps
        pickled = dumps(TaskPicklingError(cause) if cause else error, pickle.HIGHEST_PROTOCOL)
    except BaseException as raised:     # the parent makes a RemoteError of the text
        reason = why_not_rebuilt(raised)
    return marshal.dumps((type_name_of(error), _text(error), traceback_text(error, trace), pickled,
                          reason))


def _way_out(error: BaseException) -> str:
    """Return advice on a name that the main module of this process lacks; "" for other errors."""
    if not issubclass(type(error), AttributeError) or not ("__main__" in _text(error)
                                                           or "__mp_main__" in _text(error)):
        return ""
    main: Any = sys.modules.get("__main__")
    if getattr(main, "__name__", None) == "__mp_main__":
        return ("; define it above the line if __name__ == '__main__', "
                "which is False in a new process")
    # The command line with which multiprocessing starts an interpreter imports one of these names.
    if (hasattr(main, "spawn_main")
            or (getattr(getattr(main, "main", None), "__module__", "")
                == "multiprocessing.forkserver")):
        return "; a new process cannot import this main module: move it to a module (a .py file)"
    return "; define it before the process pool is made, as this process was forked then"


def _way_out_there(error: BaseException, engine: str) -> str:
    """Return advice on a name that a worker of an executor cannot import."""
    if issubclass(type(error), ModuleNotFoundError):
        return f"; install that module for the workers of {engine}, too, or send it there"
    if issubclass(type(error), AttributeError) and "__main__" in _text(error):
        return ("; the workers have another main module: move it to a module that they can import, "
                "or install cloudpickle, which sends it by value")
    return ""


def _describe_in_little_memory(error: BaseException) -> bytes:
    """Free the locals of the failed function; serialize the error in as few bytes as possible."""
    global _reserve
    _reserve = b""
    trace = traceback_of(error)
    while trace is not None:
        try:
            trace.tb_frame.clear()
        except RuntimeError:            # the frame of this module, which still runs
            pass
        trace = trace.tb_next
    pickled = pickle.dumps(MemoryError(*error.args)) if type(error) is MemoryError else None
    return marshal.dumps((type_name_of(error), _text(error),
                          "(there was no memory for the traceback)", pickled,
                          "there was no memory to pickle it"))


#: Memory that is freed to describe an error when no other is left.
_reserve = bytes(1 << 16)


def _text(error: BaseException) -> str:
    return text_of(error) or class_name(type(error))


def _end_with_parent(fd: int) -> None:
    """Kill this process when the other end of a pipe is closed. Nothing is ever sent on the pipe.

    On Linux the kernel does it, so that even C code that holds the interpreter cannot outlive the
    parent. On other systems a thread waits for it.
    """
    if sys.platform == "linux":
        import fcntl

        fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)
        if wait_readable(fd, 0):
            os._exit(1)                 # the parent died before the signal was armed
        return

    def watch_parent() -> None:
        try:
            os.read(fd, 1)
        finally:
            os._exit(1)

    threading.Thread(target=watch_parent, name="parent watch", daemon=True).start()


def wait_readable(fd: int, timeout: float | None = None) -> bool:
    """Block until a pipe has data, or its other end is closed. Return False after the timeout.

    :param timeout: seconds, or None to wait without limit.
    """
    from select import POLLIN, poll

    waiter = poll()
    waiter.register(fd, POLLIN)
    return bool(waiter.poll(None if timeout is None else max(0, int(timeout * 1000))))


def _show_stacks_to(fd: int) -> None:
    """Write the stacks of all threads to a pipe at each :data:`STACKS_SIGNAL`.

    That works even in C code that holds the interpreter. The pipe does not block, since the parent
    may not read it: text for which it has no room is lost.
    """
    if STACKS_SIGNAL is not None:
        import faulthandler

        os.set_blocking(fd, False)
        faulthandler.register(STACKS_SIGNAL, file=fd, all_threads=True, chain=False)


#: The signal that asks a pool process for its stacks; None on a system without it.
STACKS_SIGNAL: int | None = getattr(signal, "SIGUSR2", None)


def main(pipes: Sequence[Connection], prefix: str, wanted_logs: relay.Levels,
         call_first: Initializer) -> None:
    """Run a pool process.

    :param pipes: the pipes of tasks, tickets, results, the parent's life, and stacks; and the
        socket for large buffers.
    :param prefix: the prefix of the ids of tasks.
    :param wanted_logs: the levels of the records that the parent's loggers accept.
    :param call_first: called before the first task.
    """
    global server
    forget_imports_of_other_threads()
    signal.signal(signal.SIGINT, signal.SIG_IGN)        # the parent handles Ctrl-C
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for pipe in pipes:
        # A program that a task starts must not keep them open: the parent would not see the end of
        # this process.
        os.set_inheritable(pipe.fileno(), False)
    task, ticket, result, alive, stacks, buffers = pipes
    _end_with_parent(alive.fileno())
    _show_stacks_to(stacks.fileno())
    server = _Server(task.fileno(), ticket.fileno(), result.fileno(), buffers.fileno(), prefix)
    relay.install(wanted_logs, server.log)
    # A process that a task forks must neither keep the pipes open nor send for the task.
    os.register_at_fork(after_in_child=lambda: _unregister(*pipes))
    initializer, initargs = call_first
    if initializer is not None:
        try:
            initializer(*initargs)
        except BaseException as error:
            server.send(0, NOT_READY, _describe(error, "run"), 0.0)
            return
    server.send(0, READY, b"", 0.0)
    server.serve()
    # Tasks may have submitted tasks to a supervisor of this process. If not, it is not imported.
    supervisors = sys.modules.get(__name__.rsplit(".", 3)[0] + ".supervisor")
    if supervisors is not None:
        supervisors.finish_all()
        supervisors.log_unseen()        # multiprocessing exits without atexit handlers


def _unregister(*pipes: Connection) -> None:
    global server
    server = None
    for pipe in pipes:
        pipe.close()
