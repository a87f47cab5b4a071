"""The process pool, parent's side: starting a pool process, and the parent's ends of its pipes.

::

    launch() ──> PoolProcess ──> IOThread.add ──> on_readable(), on_writable() of the pool,
                                                  in the I/O thread

This module knows each end of a pipe that belongs to the parent, so that every forked process closes
it. A pipe that a third process keeps open never reports the death at its other end.
"""
from __future__ import annotations

import os
import threading
from contextlib import suppress
from itertools import filterfalse

from ..._log import log
from ..._patched import close, made_anew
from ...errors import InvalidArgumentError
from . import child, log_relay as relay
from .child import PIPE_SIZE
from .descriptors import identity, is_own, out_of_the_way
from .environment import ProcessName
from .exit_status import files_of
from .fork_server import (after_start, before_start, forget_after_fork, fork_server, server_status,
                          sigchld_unblocked)
from .main_module import NO_GUARD, UnguardedMainError, importable_by_path, main_module
from .pool_process import ALIVE, PoolProcess
from .start_errors import check_fork, check_interpreter, describe, is_permanent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from socket import socket
    from typing import Any, Callable, Sequence

    from .child import Initializer
    from .descriptors import Identity

    #: Forks a process from a template: its name, its pipes, its prefix, and the levels of loggers.
    Fork = Callable[[str, Sequence[Connection], str, relay.Levels], Any]


def launch(name: str, start_method: str | None, prefix: str, call_first: Initializer,
           quota: int | None, fork: Fork | None = None) -> PoolProcess:
    """Start a pool process and return it, before it is ready: it reports that on its result pipe.

    The fork server needs a socket in the temporary folder. If it cannot make one, spawn starts the
    process.

    :param fork: the method of a template that forks the process and runs its own initializer there.
    :param quota: the maximal number of tasks that the process is sent, or None.
    :raises Exception: any error of the system or multiprocessing. All pipes are closed then.
    """
    method = start_method or default_start_method()
    arguments = name, prefix, call_first, quota, fork
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
        _fallbacks.add(cause)       # one warning a cause; a race of threads only logs it twice
        log.warning("%s: the fork server cannot be used: %s; spawn starts the processes instead. "
                    "Set TMPDIR to a folder with a short name that can be written, or choose "
                    "start_method='spawn'", name, describe(failed))
    return process


#: The reasons why spawn started processes instead of the fork server. Each is logged once.
_fallbacks: set[str] = set()


def _launch(method: str, name: str, prefix: str, call_first: Initializer, quota: int | None,
            fork: Fork | None) -> PoolProcess:
    import multiprocessing

    if method == "fork":
        check_fork()
    if method == "spawn" or method == "forkserver" and fork_server() is None:
        check_interpreter()
    context: Any = multiprocessing.get_context(method)
    theirs: list[Connection] = []
    ours: list[Connection] = []
    main_module()           # it restores __file__, which new processes need during the exit
    with _start_lock:       # a process forked now must not inherit the child's ends of another one
        try:
            _make_pipes(context, ours, theirs)
            process: Any = (
                fork(name, theirs, prefix, relay.levels()) if fork is not None
                else _start(context, name, theirs, (prefix, relay.levels(), call_first)))
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
        for pipe in filterfalse(ours.__contains__, theirs):
            close_pipe(pipe)
        server = fork_server() if method == "forkserver" else None
    return PoolProcess(process, ours, quota, server, files_of(process))


def _make_pipes(context: Any, ours: list[Connection], theirs: list[Connection]) -> None:
    """Make the pipes of a process, and add their ends to the lists. (start lock held)"""
    for kind in ("task", "ticket", "result", "alive", "stacks", "buffers"):
        reader, writer = context.Pipe(duplex=kind == "buffers")
        remember_pipe(reader)
        remember_pipe(writer)
        mine, other = (reader, writer) if kind in ("result", "stacks") else (writer, reader)
        ours += (other, mine) if kind == "ticket" else (mine,)      # the parent reads tickets back
        theirs.append(other)
    for position, end in enumerate(ours):
        if position != ALIVE:   # closed together with the files of the application
            ours[position] = _move(end, keep=end in theirs)
    task, ticket, result = theirs[:3]
    for pipe in (ticket, ours[0], ours[3], ours[5]):
        os.set_blocking(pipe.fileno(), False)
    _enlarge(task.fileno())
    _enlarge(result.fileno())


def _start(context: Any, name: str, theirs: list[Connection], args: tuple[Any, ...]) -> Any:
    """Start a process without a template. (start lock held)"""
    import multiprocessing.process

    before_start()
    named = ProcessName(name) if context.get_start_method() == "forkserver" else None
    process = context.Process(target=child.main, name=name if named is None else named,
                              args=(theirs, *args))
    _kept.pipes = theirs
    with importable_by_path(), sigchld_unblocked():
        process.start()
    after_start()
    if named is not None:
        named.note_server()
    # Only this pool may wait for the process: active_children() would take its exit code, and the
    # exit of the interpreter would wait for it.
    getattr(multiprocessing.process, "_children", set()).discard(process)
    return process


# -- pipes, and processes that other code forks ----------------------------------------------------

_start_lock = made_anew(lambda: threading.Lock())       # held while any pool starts a process
#: The parent's ends, which no forked process may keep open, and the files that they lead to.
_pipes: dict[int, tuple[Connection | socket, Identity | None]] = {}
_pipes_lock = made_anew(lambda: threading.Lock())       # guards _pipes
# .pipes: the child's ends of the process that this thread is starting.
_kept = made_anew(lambda: threading.local())


def start_lock() -> threading.Lock:
    """Return the lock that is held while a process is started or forked."""
    return _start_lock


def remember_pipe(pipe: Connection | socket) -> None:
    """Register one of the parent's ends, so that every forked process closes it."""
    with _pipes_lock:
        _pipes[id(pipe)] = pipe, identity(pipe.fileno())


def are_open(pipes: Sequence[Connection | socket]) -> bool:
    """Return False if the application closed an end that this pool has not closed."""
    with _pipes_lock:
        known = [_pipes.get(id(pipe)) for pipe in pipes]
    return not any(entry is not None and _is_lost(*entry) for entry in known)


def _is_lost(pipe: Connection | socket, known: Identity | None) -> bool:
    """Return True if the descriptor of an open end leads to another file, or to no file."""
    try:
        fd = pipe.fileno()
    except OSError:                     # this pool has closed it
        return False
    return fd >= 0 and not is_own(fd, known)


def _after_fork() -> None:
    """Close the parent's ends in a forked process, one of the pool or of the application."""
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
    """Close one of the parent's ends. Do nothing if it is closed already."""
    with _pipes_lock:
        entry = _pipes.pop(id(pipe), None)
    is_lost = entry is not None and _is_lost(*entry)
    end: Any = pipe
    with suppress(OSError):             # this pool has closed it
        fd = end.fileno()
        if hasattr(end, "detach"):
            end.detach()
        else:
            end._handle = None
        if not is_lost:                 # or the number belongs to a file of the application
            close(fd)


def _move(end: Connection, keep: bool) -> Connection:
    """Return one of the parent's ends with a descriptor that no file of the application gets.

    :param keep: the end is one of the child's ends, too: leave it open.
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
    """Request a larger pipe if the system supports that. If it fails, only speed is lost."""
    with suppress(ImportError, OSError):
        import fcntl

        fcntl.fcntl(fd, getattr(fcntl, "F_SETPIPE_SZ", 1031), PIPE_SIZE)


def default_start_method() -> str:
    """Return ``forkserver`` if the system has it, else ``spawn``."""
    # A process with threads must not fork.
    import multiprocessing

    return "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


def check_start_method(method: str | None) -> None:
    """Raise an error if this system does not have a start method.

    :raises InvalidArgumentError: the system does not have it.
    """
    import multiprocessing

    methods = multiprocessing.get_all_start_methods()
    if method is not None and method not in methods:
        raise InvalidArgumentError(
            f"start_method takes one of {', '.join(methods)}, not {method!r}")
