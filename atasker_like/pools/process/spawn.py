"""The process pool, parent's side: one pool process and its pipes, how it is started, and the thread that watches.

::

    launch() ──> PoolProcess ──> Watch.add ──> readable(process), writable(process), in the thread of the watch

Every end of a pipe that belongs to the parent is known here, so that a process forked by anyone can close it:
a pipe that someone else holds open never reports the death at its other end.
"""
from __future__ import annotations

import os
import threading
from contextlib import suppress

from ..._log import log
from ..._patched import close, made_anew
from ...errors import InvalidArgumentError
from . import child, log_relay as relay
from .child import PIPE_SIZE
from .descriptors import identity, is_own, out_of_the_way
from .environment import ProcessName
from .exit_status import files_of
from .fork_server import after_start, before_start, forget_after_fork, fork_server, server_status
from .main_module import NO_GUARD, UnguardedMainError, importable_by_path, main_module
from .pool_process import ALIVE, PoolProcess
from .start_errors import check_interpreter, describe, is_permanent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from socket import socket
    from typing import Any, Callable, Protocol, Sequence

    from .descriptors import Identity

    class Template(Protocol):
        """A process that forks pool processes."""

        def start(self, name: str, pipes: Sequence[Connection], prefix: str, levels: relay.Levels) -> Any: ...

__all__ = ["are_open", "check_start_method", "close_pipe", "default_start_method", "launch", "remember_pipe",
           "start_lock"]


def launch(name: str, start_method: str | None, prefix: str, initializer: Callable[..., Any] | None,
           initargs: tuple[Any, ...], quota: int | None,
           template: Template | None = None) -> PoolProcess:
    """Start a pool process and return it; it will say when it is ready.

    A template, if there is one, forks it; the initializer is the template's then. The fork server
    needs a socket in the temporary folder. If there cannot be one, spawn starts the process.

    :raises Exception: whatever the system or multiprocessing raises; nothing is left behind then.
    """
    method = start_method or default_start_method()
    arguments = name, prefix, initializer, initargs, quota, template
    if method != "forkserver":
        return _launch(method, *arguments)
    try:
        return _launch(method, *arguments)
    except OSError as error:
        if not is_permanent(error):
            raise
        failed = error
        process = _launch("spawn", *arguments)
    cause = f"{type(failed).__name__} {failed.errno}"
    if cause not in _fallbacks:
        _fallbacks.add(cause)       # one warning a cause; two threads at once would do no harm
        log.warning("%s: the fork server cannot be used: %s; spawn starts the processes instead. "
                    "Set TMPDIR to a folder with a short name that can be written, or choose "
                    "start_method='spawn'", name, describe(failed))
    return process


#: Why processes were started by spawn instead of the fork server; each is logged once.
_fallbacks: set[str] = set()


def _launch(method: str, name: str, prefix: str, initializer: Callable[..., Any] | None,
            initargs: tuple[Any, ...], quota: int | None,
            template: Template | None) -> PoolProcess:
    """Start a pool process by one start method."""
    import multiprocessing.process

    if method == "spawn" or method == "forkserver" and fork_server() is None:
        check_interpreter()
    context: Any = multiprocessing.get_context(method)
    theirs: list[Connection] = []
    ours: list[Connection] = []
    main_module()           # or new processes would not know its file at the exit
    with _start_lock:       # a process forked now must not inherit the ends that belong to another one's child
        try:
            for kind in ("task", "ticket", "result", "alive", "stacks"):
                reader, writer = context.Pipe(duplex=False)
                remember_pipe(reader)
                remember_pipe(writer)
                if kind in ("result", "stacks"):
                    ours.append(reader)
                    theirs.append(writer)
                elif kind == "ticket":
                    ours += (reader, writer)    # the parent reads tickets back
                    theirs.append(reader)
                else:
                    ours.append(writer)
                    theirs.append(reader)
            for position, end in enumerate(ours):
                if position != ALIVE:   # that one is closed with the files of the application
                    ours[position] = _move(end, keep=end in theirs)
            task, ticket, result, alive, stacks = theirs
            os.set_blocking(ticket.fileno(), False)
            os.set_blocking(ours[0].fileno(), False)
            os.set_blocking(ours[3].fileno(), False)
            os.set_blocking(ours[5].fileno(), False)
            _enlarge(task.fileno())
            _enlarge(result.fileno())
            if template is not None:
                process: Any = template.start(name, theirs, prefix, relay.levels())
            else:
                before_start()
                named = ProcessName(name) if method == "forkserver" else None
                process = context.Process(target=child.main, name=name if named is None else named,
                                          args=(theirs, prefix, relay.levels(), initializer, initargs))
                _kept.pipes = theirs
                with importable_by_path():
                    process.start()
                after_start()
                if named is not None:
                    named.note_server()
                # Its end is this pool's business alone: active_children() and the like would take the
                # exit code away, and the interpreter's exit would wait for it.
                getattr(multiprocessing.process, "_children", set()).discard(process)
            _kept.pipes = ()
        except BaseException as error:
            _kept.pipes = ()
            for pipe in ours + theirs:
                close_pipe(pipe)
            if isinstance(error, (ConnectionError, EOFError)):
                check_interpreter()     # without one, the fork server ends at once
                ended = fork_server() if method == "forkserver" else None
                if ended is not None and server_status(ended) == NO_GUARD:
                    raise UnguardedMainError() from None
            raise
        for pipe in theirs:
            if pipe not in ours:
                close_pipe(pipe)
        server = fork_server() if method == "forkserver" else None
    return PoolProcess(process, ours, quota, server, files_of(process))


# -- pipes, and processes forked by others -------------------------------------------------------------

_start_lock = made_anew(lambda: threading.Lock())       # one process at a time is started, of all pools
#: The parent's ends, which no forked process may keep open, and the files that they lead to.
_pipes: dict[int, tuple[Connection | socket, Identity | None]] = {}
_pipes_lock = made_anew(lambda: threading.Lock())       # guards _pipes
_kept = made_anew(lambda: threading.local())            # .pipes: the ends of the process that this thread is starting


def start_lock() -> threading.Lock:
    """Return the lock that is held while a process is started or forked."""
    return _start_lock


def remember_pipe(pipe: Connection | socket) -> None:
    """Have a forked process close one of the parent's ends."""
    with _pipes_lock:
        _pipes[id(pipe)] = pipe, identity(pipe.fileno())


def are_open(pipes: Sequence[Connection | socket]) -> bool:
    """Return False if the application has closed one of some ends that this pool has not closed."""
    with _pipes_lock:
        known = [_pipes.get(id(pipe)) for pipe in pipes]
    return not any(entry is not None and _is_lost(*entry) for entry in known)


def _is_lost(pipe: Connection | socket, known: Identity | None) -> bool:
    """Return True if the number of an open end leads to another file, or to none."""
    try:
        fd = pipe.fileno()
    except OSError:                     # closed here
        return False
    return fd >= 0 and not is_own(fd, known)


def _after_fork() -> None:
    """In a forked process, be it the pool's or the application's: close the ends that are the parent's."""
    global _pipes_lock, _start_lock
    _pipes_lock = threading.Lock()
    _start_lock = threading.Lock()
    own = getattr(_kept, "pipes", ())
    for pipe, _ in list(_pipes.values()):
        if not any(pipe is kept for kept in own):
            close_pipe(pipe)
    _pipes.clear()
    forget_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def close_pipe(pipe: Connection | socket) -> None:
    """Close one of the parent's ends; nothing happens when it is closed."""
    with _pipes_lock:
        entry = _pipes.pop(id(pipe), None)
    is_lost = entry is not None and _is_lost(*entry)
    end: Any = pipe
    with suppress(OSError):             # closed here
        fd = end.fileno()
        if hasattr(end, "detach"):
            end.detach()
        else:
            end._handle = None
        if not is_lost:                 # otherwise its number is the application's, now and later
            close(fd)


def _move(end: Connection, keep: bool) -> Connection:
    """Return one of the parent's ends under a number that no file of the application gets.

    :param keep: it is one of the child's ends, too.
    """
    from multiprocessing.connection import Connection

    fd = out_of_the_way(end.fileno())
    if fd == end.fileno():
        return end
    moved = Connection(fd, readable=end.readable, writable=end.writable)
    remember_pipe(moved)
    if not keep:
        close_pipe(end)
    return moved


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
