"""The template: a process that is forked from the program once, and forks the pool processes from itself.

::

    the program ── fork, when the pool is made ──> template ── fork ──> pool process      (and each replacement)
         │  ^                                       │  ^                     │
         │  └──────────── pid, or errno ────────────┘  └──── exit status ────┘
         └─────────── requests, with the ends of pipes, over a socket

Programs that were written for atasker rely on ``fork``: what they set up before they make the pool is there in its
processes. A program has threads later on, at least those of the supervisor, and a process with threads must not fork:
a lock that another thread holds stays locked in the child. The template never has a second thread.

It ignores the signals that a terminal or a service manager sends to the whole process group, since its children need
it until they end. It ends when the program's end of the socket is closed and its last child has ended.
"""
from __future__ import annotations

import os
import pickle
import select
import signal
import socket
import struct
import sys
import threading
import warnings
from contextlib import suppress

from ..._log import log
from . import child
from .descriptors import close_own, identity, is_own
from .fork_server import reap
from .spawn import are_open, close_pipe, remember_pipe, start_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from typing import Any, Callable, Sequence

    from .log_relay import Levels

__all__ = ["ForkTemplate", "TemplateProcess"]

#: Length of a request, which is a pickle; it travels with the child's ends of its pipes.
_LENGTH = struct.Struct("<I")
#: The pid of a new process; or 0 and the number of an error.
_REPLY = struct.Struct("<ii")
_STATUS = struct.Struct("<i")

#: The child's ends of the pipes of a pool process, and the end on which the template tells how it has ended.
_ENDS = 6

#: Seconds that the template gets to answer, or to end; one that is stopped is killed then.
PATIENCE = 10.0
END_PATIENCE = 1.0


class ForkTemplate:
    """The program's side: made by forking, in the thread that calls.

    :param name: of the pool, for messages.
    :raises OSError: the system refuses to fork.
    """

    def __init__(self, name: str, initializer: Callable[..., Any] | None, initargs: tuple[Any, ...]) -> None:
        others = [thread.name for thread in threading.enumerate()
                  if thread is not threading.current_thread() and not thread.name.startswith("supervisor_")]
        if others:
            log.warning("%s forks its processes from a program with threads (%s): locks that these hold stay locked in "
                        "the processes; make the process pool before you start threads", name, ", ".join(others[:5]))
        self._lock = threading.Lock()       # guards the socket: a request and its reply
        self._name = name
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(PATIENCE)
        remember_pipe(self._socket)
        try:
            with start_lock(), warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)     # of threads; said above
                for stream in (sys.stdout, sys.stderr):
                    with suppress(Exception):       # closed, or none
                        stream.flush()              # else each process would write it once more
                self.pid = os.fork()
                if not self.pid:
                    _serve_forked(theirs, initializer, initargs)
        except BaseException:
            close_pipe(self._socket)
            raise
        finally:
            theirs.close()

    def start(self, name: str, pipes: Sequence[Connection], prefix: str, levels: Levels) -> TemplateProcess:
        """Have the template fork a pool process, and return it.

        :param pipes: the child's ends.
        :raises OSError: the system refuses to fork.
        :raises ConnectionError: the template has ended.
        """
        if self.closed:
            raise ConnectionError(f"the template process {self.pid} of {self._name} has been closed")
        reader, writer = os.pipe()
        try:
            request = pickle.dumps((name, prefix, levels))
            with self._lock:
                fds = [*(pipe.fileno() for pipe in pipes), writer]
                try:
                    _send_fds(self._socket, fds)
                    self._socket.sendall(_LENGTH.pack(len(request)) + request)
                    pid, error = _REPLY.unpack(_receive(self._socket, _REPLY.size))
                except (OSError, EOFError) as failed:
                    self.close()
                    raise ConnectionError(f"the template process {self.pid} of {self._name} has ended ({failed})"
                                          ) from failed
            if not pid:
                raise OSError(error, os.strerror(error))
            process = TemplateProcess(pid, name, reader)
            reader = -1
            return process
        finally:
            os.close(writer)
            if reader >= 0:
                os.close(reader)

    @property
    def closed(self) -> bool:
        """True when it starts no more processes."""
        if not are_open([self._socket]):    # the application has closed it
            close_pipe(self._socket)
            reap(self.pid)
        return self._socket.fileno() < 0

    def close(self, wait: bool = False) -> None:
        """Have the template end with its last child.

        :param wait: it has no child any more: block until it has ended, for a second at most.
        """
        if self.closed:
            return
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
            if wait:
                self._socket.settimeout(END_PATIENCE)
                self._socket.recv(1)        # the end of the template
        close_pipe(self._socket)
        with suppress(ChildProcessError):   # reaped by the application, or by the system, which was told to
            if os.waitpid(self.pid, os.WNOHANG)[0] == 0:
                # It serves children that are about to end, or is stopped.
                reap(self.pid)


class TemplateProcess:
    """One pool process that a template has forked, as the program sees it; like :class:`multiprocessing.Process`."""

    def __init__(self, pid: int, name: str, status: int) -> None:
        self.pid = pid
        self.name = name
        self._status_fd: int | None = status           # where the template tells how it has ended
        self._status_file = identity(status)
        self._exitcode: int | None = None
        self._lock = threading.Lock()       # guards both

    def join(self, timeout: float | None = None) -> None:
        """Block until it has ended, for at most so many seconds."""
        with self._lock:
            if self._exitcode is not None or self._status_fd is None:
                return
            if not is_own(self._status_fd, self._status_file):
                self._exitcode = 255        # the application has closed it
                return
            waiter = select.poll()
            waiter.register(self._status_fd, select.POLLIN)
            if waiter.poll(None if timeout is None else max(0, int(timeout * 1000))):
                data = os.read(self._status_fd, _STATUS.size)
                # Without a status the template has died, and nothing else can tell.
                self._exitcode = _STATUS.unpack(data)[0] if len(data) == _STATUS.size else 255

    @property
    def exitcode(self) -> int | None:
        """The exit code, or minus the signal; None while it runs. 255 if its template ended before."""
        self.join(0)
        return self._exitcode

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self.exitcode is None:
            os.kill(self.pid, number)

    def close(self) -> None:
        """Forget its status."""
        with self._lock:
            if self._status_fd is not None:
                close_own(self._status_fd, self._status_file)
                self._status_fd = None


def _send_fds(sock: socket.socket, fds: Sequence[int]) -> None:
    sock.sendmsg([b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))])


def _receive_fds(sock: socket.socket) -> list[int]:
    """Return the descriptors that came along; none at the end of the connection."""
    size = struct.calcsize(f"{_ENDS}i")
    data, ancillary, _, _ = sock.recvmsg(1, socket.CMSG_SPACE(size))
    fds: list[int] = []
    for level, kind, packed in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds += struct.unpack(f"{len(packed) // 4}i", packed)
    return fds if data else []


def _receive(sock: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        more = sock.recv(length - len(data))
        if not more:
            raise EOFError("its socket is closed")
        data += more
    return data


# -- in the template -----------------------------------------------------------------------------------


def _serve_forked(control: socket.socket, initializer: Callable[..., Any] | None, initargs: tuple[Any, ...]) -> None:
    """The life of the template. Never returns: what called it belongs to the program."""
    status = 1
    try:
        _Template(control, initializer, initargs).serve()
        status = 0
    except BaseException:
        with suppress(BaseException):
            import traceback

            traceback.print_exc()
            sys.stderr.flush()
    finally:
        os._exit(status)


class _Template:
    """Forks pool processes, and tells how they ended."""

    def __init__(self, control: socket.socket, initializer: Callable[..., Any] | None,
                 initargs: tuple[Any, ...]) -> None:
        import multiprocessing.process

        for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGPIPE"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)       # the program may ignore it, and no status would be kept
        signal.set_wakeup_fd(-1)
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        setattr(multiprocessing.process, "_children", set())        # those are the program's
        self._control = control
        self._initializer = initializer
        self._initargs = initargs
        self._children: dict[int, tuple[Any, int]] = {}     # by sentinel: the process, and where to tell its status

    def serve(self) -> None:
        control = self._control.fileno()
        poller = select.poll()
        poller.register(control, select.POLLIN)
        listening = True
        while listening or self._children:
            for fd, _ in poller.poll():
                if fd != control:
                    poller.unregister(fd)
                    self._tell_end(fd)
                    continue
                fds = _receive_fds(self._control)
                if fds:
                    sentinel = self._start(fds)
                    if sentinel is not None:
                        poller.register(sentinel, select.POLLIN)
                else:
                    listening = False
                    poller.unregister(control)

    def _start(self, fds: list[int]) -> int | None:
        import multiprocessing
        from multiprocessing.connection import Connection

        length, = _LENGTH.unpack(_receive(self._control, _LENGTH.size))
        name, prefix, levels = pickle.loads(_receive(self._control, length))    # from the program itself
        pipes = [Connection(fd) for fd in fds[:-1]]
        status = fds[-1]
        process: Any = multiprocessing.get_context("fork").Process(
            target=self._run_child, name=name, args=(pipes, prefix, levels, status))
        try:
            process.start()
        except OSError as error:
            os.close(status)
            self._control.sendall(_REPLY.pack(0, error.errno or 1))
            return None
        finally:
            for pipe in pipes:
                pipe.close()
        self._children[process.sentinel] = process, status
        self._control.sendall(_REPLY.pack(process.pid, 0))
        sentinel: int = process.sentinel
        return sentinel

    def _run_child(self, pipes: list[Connection], prefix: str, levels: Levels, status: int) -> None:
        """In a pool process."""
        self._control.close()
        os.close(status)
        for _, other in self._children.values():
            os.close(other)
        for name in ("SIGHUP", "SIGQUIT", "SIGUSR1"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_DFL)
        child.main(pipes, prefix, levels, self._initializer, self._initargs)

    def _tell_end(self, sentinel: int) -> None:
        process, status = self._children.pop(sentinel)
        process.join()
        with suppress(OSError):             # the program does not want to know any more
            os.write(status, _STATUS.pack(process.exitcode))
        os.close(status)
        process.close()
