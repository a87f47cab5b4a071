"""The process pool, parent's side: one pool process and its pipes, how it is started, and the thread that watches.

::

    launch() ──> PoolProcess ──> Watch.add ──> readable(process), writable(process), in the thread of the watch

Every end of a pipe that belongs to the parent is known here, so that a process forked by anyone can close it:
a pipe that someone else holds open never reports the death at its other end.
"""
from __future__ import annotations

import os
import selectors
import sys
import threading
from collections import deque
from contextlib import suppress
from time import monotonic

from ..engine.result import log
from ..errors import InvalidArgumentError
from . import child, relay
from .child import PIPE_SIZE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from typing import Any, Callable, Protocol

    from ..engine.lanes import Lane
    from ..engine.task import Task
    from ..engine.timer import TimerEntry

    class Watched(Protocol):
        """The pool, as far as the watch must know it."""

        name: str

        def readable(self, process: PoolProcess) -> None: ...
        def writable(self, process: PoolProcess) -> bool: ...

__all__ = ["PoolProcess", "Watch", "check_start_method", "close_pipe", "default_start_method", "kill", "launch"]


class PoolProcess:
    """One process of the pool. All fields are guarded by the pool's lock unless said otherwise."""

    __slots__ = ("process", "pid", "pipes", "task_fd", "ticket_in", "ticket_out", "result_fd", "inflight", "frame",
                 "worst", "stalled", "ready", "ending", "quota", "retiring", "outbox", "partial", "born", "error",
                 "closed", "stacks_fd", "weighed", "expiry", "touched", "moving", "leaving", "lanes")

    def __init__(self, process: Any, pipes: list[Connection], quota: int | None) -> None:
        self.process = process
        self.pid: int = process.pid
        self.pipes = pipes                  # the parent's ends, to be closed
        self.task_fd, self.ticket_in, self.ticket_out, self.result_fd, _, self.stacks_fd = [
            pipe.fileno() for pipe in pipes]
        self.inflight: deque[Task[Any]] = deque()
        self.frame = 0
        self.worst = -1                     # the least urgent priority in flight
        self.stalled = False                # tasks were taken back: nothing is sent until it is idle
        self.ready = False
        # Why it is being ended: the task that is the reason, if one is, its error, and its pause before a retry.
        self.ending: tuple[Task[Any] | None, BaseException | None, float | None] | None = None
        self.lanes: dict[Lane, int] = {}  # of which it has tasks in flight, and how many
        self.quota = quota                  # tasks that it may still be sent, or None
        self.retiring = False               # it is replaced when it is idle
        self.outbox: deque[memoryview] = deque()      # what the task pipe has had no room for
        self.partial = b""                  # the I/O thread's: a result of which only a part has arrived
        self.born = monotonic()
        self.expiry: TimerEntry | None = None      # the timer's call, should it not get ready in time
        self.weighed = self.born            # when its memory was looked at last
        self.error: BaseException | None = None    # why it could not get ready
        self.closed = False                 # its pipes are closed, or its task pipe is
        # An interrupt may come at any line. While touched, what was sent and what is in flight may differ.
        self.touched = False
        self.moving: list[Task[Any]] = []         # tasks that are being taken back
        self.leaving = False                # it ends when it has run what it got: what remains had not begun


def launch(name: str, start_method: str | None, prefix: str, initializer: Callable[..., Any] | None,
           initargs: tuple[Any, ...], quota: int | None) -> PoolProcess:
    """Start a pool process and return it; it will say when it is ready.

    :raises Exception: whatever the system or multiprocessing raises; nothing is left behind then.
    """
    import multiprocessing.process

    method = start_method or default_start_method()
    context: Any = multiprocessing.get_context(method)
    theirs: list[Connection] = []
    ours: list[Connection] = []
    _recall_main()
    with _start_lock:       # a process forked now must not inherit the ends that belong to another one's child
        try:
            for kind in ("task", "ticket", "result", "alive", "stacks"):
                reader, writer = context.Pipe(duplex=False)
                _remember_pipe(reader)
                _remember_pipe(writer)
                if kind in ("result", "stacks"):
                    ours.append(reader)
                    theirs.append(writer)
                elif kind == "ticket":
                    ours += (reader, writer)    # the parent reads tickets back
                    theirs.append(reader)
                else:
                    ours.append(writer)
                    theirs.append(reader)
            task, ticket, result, alive, stacks = theirs
            os.set_blocking(ticket.fileno(), False)
            os.set_blocking(ours[0].fileno(), False)
            os.set_blocking(ours[3].fileno(), False)
            os.set_blocking(ours[5].fileno(), False)
            _enlarge(task.fileno())
            _enlarge(result.fileno())
            process = context.Process(
                target=child.main, name=name,
                args=(theirs, prefix, relay.levels(), initializer, initargs))
            _kept.pipes = theirs
            process.start()
            # Its end is this pool's business alone: active_children() and the like would take the exit code
            # away, and the interpreter's exit would wait for it.
            getattr(multiprocessing.process, "_children", set()).discard(process)
            _kept.pipes = ()
        except BaseException:
            _kept.pipes = ()
            for pipe in ours + theirs:
                close_pipe(pipe)
            raise
        for pipe in (task, result, alive, stacks):
            close_pipe(pipe)
    return PoolProcess(process, ours, quota)


#: The file of the program. When its last line has run, Python takes the name away from ``__main__``, and a process that
#: is started at the exit would not know where the functions of the program are.
_main_file: str | None = getattr(sys.modules.get("__main__"), "__file__", None)


def _recall_main() -> None:
    main = sys.modules.get("__main__")
    if _main_file is not None and main is not None and getattr(main, "__spec__", None) is None \
            and not hasattr(main, "__file__"):
        main.__file__ = _main_file


def kill(process: Any) -> None:
    with suppress(OSError, ValueError):
        process.kill()


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


# -- pipes, and processes forked by others -------------------------------------------------------------

_start_lock = threading.Lock()              # one process at a time is started, of all pools
_pipes: dict[int, Connection] = {}        # the parent's ends, which no forked process may keep open
_pipes_lock = threading.Lock()              # guards _pipes
_kept = threading.local()                   # .pipes: the ends of the process that this thread is starting


def _remember_pipe(pipe: Connection) -> None:
    with _pipes_lock:
        _pipes[id(pipe)] = pipe


def _forget_pipe(pipe: Connection) -> None:
    with _pipes_lock:
        _pipes.pop(id(pipe), None)


def _after_fork() -> None:
    """In a forked process, be it the pool's or the application's: close the ends that are the parent's."""
    global _pipes_lock, _start_lock
    _pipes_lock = threading.Lock()
    _start_lock = threading.Lock()
    own = getattr(_kept, "pipes", ())
    for pipe in list(_pipes.values()):
        if not any(pipe is kept for kept in own):
            with suppress(OSError):
                pipe.close()
    _pipes.clear()
    _forget_forkserver()
    tracker: Any = getattr(sys.modules.get("multiprocessing.resource_tracker"), "_resource_tracker", None)
    if tracker is not None:
        # Shared with the parent, and fit for use, but for its lock: a thread of the parent's that was starting a
        # process held it, and here nobody would ever let go of it.
        tracker._lock = threading.RLock()


def _forget_forkserver() -> None:
    """In a forked process: the fork server is the parent's child, and multiprocessing would fail to wait for it
    (ECHILD). Forgotten, it is started anew when it is wanted."""
    server: Any = getattr(sys.modules.get("multiprocessing.forkserver"), "_forkserver", None)
    if server is not None and getattr(server, "_forkserver_pid", None) is not None:
        with suppress(OSError, TypeError):
            os.close(server._forkserver_alive_fd)       # or the parent's server would outlive the parent
        server._forkserver_pid = server._forkserver_alive_fd = server._forkserver_address = None
        server._lock = threading.RLock()                # another thread may have held it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def close_pipe(pipe: Connection) -> None:
    """Close one of the parent's ends; nothing happens when it is closed."""
    _forget_pipe(pipe)
    with suppress(OSError):
        pipe.close()


def _enlarge(fd: int) -> None:
    """Ask for a larger pipe, where the system has such a thing; a refusal only costs speed."""
    try:
        import fcntl

        fcntl.fcntl(fd, getattr(fcntl, "F_SETPIPE_SZ", 1031), PIPE_SIZE)
    except (ImportError, OSError):
        pass


def default_start_method() -> str:
    """``forkserver`` where there is one, else ``spawn``: a process with threads must not fork."""
    import multiprocessing

    return "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


def check_start_method(method: str | None) -> None:
    """Refuse a start method that this system does not have."""
    import multiprocessing

    methods = multiprocessing.get_all_start_methods()
    if method is not None and method not in methods:
        raise InvalidArgumentError(f"start_method takes one of {', '.join(methods)}, not {method!r}")
