"""The template: a process that the program forks once, and that forks the pool processes.

::

    the program ── fork, when the pool is made ──> template ── fork ──> pool process
         │  ^                                       │  ^                     │
         │  └──────────── pid, or errno ────────────┘  └──── exit status ────┘
         └─────────── requests, with the ends of pipes, over a socket

It forks the replacements of pool processes, too.

Programs that were written for atasker rely on ``fork``: state that they set up before they make the
pool exists in its processes. Later on, the program has threads, at least those of the supervisor. A
process with threads must not fork: a lock that another thread holds stays locked in the child. The
template never has a second thread.

It ignores the signals that a terminal or a service manager sends to the whole process group, since
its children need it until they end. It ends when the program's end of the socket is closed and its
last child has ended.
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
from .buffers import descriptors_in, rights_of
from .descriptors import close_own, identity, is_own
from .fork_server import reap
from .main_module import flush_output
from .spawn import are_open, close_pipe, remember_pipe, start_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from typing import Any, Sequence

    from .child import Initializer
    from .log_relay import Levels


#: The length of a request, which is a pickle. The child's ends of its pipes are sent before it.
_LENGTH = struct.Struct("<I")
#: The pid of a new process and 0; or 0 and the errno of an error.
_REPLY = struct.Struct("<ii")
_STATUS = struct.Struct("<i")

#: The number of descriptors of a request: the child's ends of its five pipes and its socket, and
#: the end on which the template reports the exit status.
_ENDS = 7

#: Seconds within which the template must answer.
PATIENCE = 10.0
#: Seconds within which the template must end.
END_PATIENCE = 1.0


class ForkTemplate:
    """The program's side of the template. The constructor forks it, in the calling thread.

    :param name: the name of the pool, for messages.
    :raises OSError: the system refuses to fork.
    """

    def __init__(self, name: str, call_first: Initializer) -> None:
        others = [thread.name for thread in threading.enumerate()
                  if (thread is not threading.current_thread()
                      and not thread.name.startswith("supervisor_"))]
        if others:
            log.warning("%s forks its processes from a program with threads (%s): locks that these "
                        "hold stay locked in the processes; make the process pool before you start "
                        "threads", name, ", ".join(others[:5]))
        self._lock = threading.Lock()       # guards the socket: a request and its reply
        #: The number of changes of the pool's settings before it was forked.
        self.generation: int = 0
        self._name = name
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(PATIENCE)
        remember_pipe(self._socket)
        try:
            with start_lock(), warnings.catch_warnings():
                # Python warns of a fork with threads; the warning above tells more.
                warnings.simplefilter("ignore", DeprecationWarning)
                flush_output()      # or each process would write the data again
                self.pid: int = os.fork()
                if not self.pid:
                    _serve_forked(theirs, call_first)
        except BaseException:
            close_pipe(self._socket)
            raise
        finally:
            theirs.close()

    def start(self, name: str, pipes: Sequence[Connection], prefix: str,
              levels: Levels) -> TemplateProcess:
        """Let the template fork a pool process; return the process. Any thread may call it.

        :param pipes: the child's ends.
        :raises OSError: the system refuses to fork.
        :raises ConnectionError: the template has ended.
        """
        if self.closed:
            raise ConnectionError(
                f"the template process {self.pid} of {self._name} has been closed")
        reader, writer = os.pipe()
        try:
            request = pickle.dumps((name, prefix, levels))
            with self._lock:
                fds = [*(pipe.fileno() for pipe in pipes), writer]
                try:
                    self._socket.sendmsg([b"\0"], rights_of(fds))
                    self._socket.sendall(_LENGTH.pack(len(request)) + request)
                    pid, error = _REPLY.unpack(_receive(self._socket, _REPLY.size))
                except (OSError, EOFError) as failed:
                    self.close()
                    raise ConnectionError(
                        f"the template process {self.pid} of {self._name} has ended ({failed})"
                    ) from failed
            if not pid:
                raise OSError(error, os.strerror(error))
            process = TemplateProcess(pid, reader)
            reader = -1
            return process
        finally:
            os.close(writer)
            if reader >= 0:
                os.close(reader)

    @property
    def closed(self) -> bool:
        """True if the template starts no more processes."""
        if not are_open([self._socket]):    # the application closed it
            close_pipe(self._socket)
            reap(self.pid)
        return self._socket.fileno() < 0

    def close(self, wait: bool = False) -> None:
        """Let the template end with its last child.

        :param wait: block until it has ended, for one second at most. It must have no child left.
        """
        if self.closed:
            return
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
            if wait:
                self._socket.settimeout(END_PATIENCE)
                self._socket.recv(1)        # the end of the template
        close_pipe(self._socket)
        # The application may have reaped it; so may the system if SIGCHLD is ignored.
        with suppress(ChildProcessError):
            if os.waitpid(self.pid, os.WNOHANG)[0] == 0:
                # It has children that are about to end, or it is stopped by a signal.
                reap(self.pid)


class TemplateProcess:
    """A pool process that a template forked, with the methods of :class:`multiprocessing.Process`.

    Any thread may call them.
    """

    def __init__(self, pid: int, status: int) -> None:
        self.pid = pid
        self._status_fd: int | None = status    # the template writes the exit code to it
        self._status_file = identity(status)
        self._exitcode: int | None = None
        self._lock = threading.Lock()       # guards _status_fd and _exitcode

    def join(self, timeout: float | None = None) -> None:
        """Block until the process has ended.

        :param timeout: seconds, or None to wait without limit.
        """
        with self._lock:
            if self._exitcode is not None or self._status_fd is None:
                return
            if not is_own(self._status_fd, self._status_file):
                self._exitcode = 255        # the application closed it
                return
            if child.wait_readable(self._status_fd, timeout):
                data = os.read(self._status_fd, _STATUS.size)
                # If there is no status, the template died first: the exit code is unknown.
                self._exitcode = _STATUS.unpack(data)[0] if len(data) == _STATUS.size else 255

    @property
    def exitcode(self) -> int | None:
        """The exit code, or minus the signal; None while it runs; 255 if the template died."""
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
        """Close the descriptor of the exit code."""
        with self._lock:
            if self._status_fd is not None:
                close_own(self._status_fd, self._status_file)
                self._status_fd = None
                if self._exitcode is None:
                    self._exitcode = 255    # it has ended: the pid may be that of another process


def _receive_fds(sock: socket.socket) -> list[int]:
    """Return the descriptors of the next request; none at the end of the connection."""
    size = struct.calcsize(f"{_ENDS}i")
    data, ancillary, _, _ = sock.recvmsg(1, socket.CMSG_SPACE(size))
    return descriptors_in(ancillary) if data else []


def _receive(sock: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        more = sock.recv(length - len(data))
        if not more:
            raise EOFError("its socket is closed")
        data += more
    return data


# -- in the template -------------------------------------------------------------------------------


def _serve_forked(control: socket.socket, call_first: Initializer) -> None:
    """Run the template, then exit. It must not return: the callers belong to the program."""
    status = 1
    try:
        _Template(control, call_first).serve()
        status = 0
    except BaseException:
        with suppress(BaseException):
            import traceback

            traceback.print_exc()
            sys.stderr.flush()
    finally:
        os._exit(status)


class _Template:
    """Forks pool processes and reports their exit codes."""

    def __init__(self, control: socket.socket, call_first: Initializer) -> None:
        import multiprocessing.process

        #: The signals that get their default again in a pool process: not those that the program
        #: ignores, as under ``nohup``.
        self._to_reset = [number for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1)
                          if signal.getsignal(number) != signal.SIG_IGN]
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT,
                       signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        # If the program ignores SIGCHLD, the system would keep no exit codes.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # The pool processes inherit the mask, and may start a fork server of their own.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGCHLD,))
        signal.set_wakeup_fd(-1)
        signal.setitimer(signal.ITIMER_REAL, 0)
        setattr(multiprocessing.process, "_children", set())    # without children of the program
        self._control = control
        self._call_first = call_first
        # By sentinel: the process, and the descriptor for its exit code.
        self._children: dict[int, tuple[Any, int]] = {}

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
        # Safe to load: the program itself made the pickle.
        name, prefix, levels = pickle.loads(_receive(self._control, length))
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

    def _run_child(self, pipes: list[Connection], prefix: str, levels: Levels,
                   status: int) -> None:
        # It runs in the pool process.
        self._control.close()
        os.close(status)
        for _, other in self._children.values():
            os.close(other)
        for number in self._to_reset:
            signal.signal(number, signal.SIG_DFL)
        child.main(pipes, prefix, levels, self._call_first)

    def _tell_end(self, sentinel: int) -> None:
        process, status = self._children.pop(sentinel)
        process.join()
        with suppress(OSError):             # the program has closed its end
            os.write(status, _STATUS.pack(process.exitcode))
        os.close(status)
        process.close()
