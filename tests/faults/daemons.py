"""Rows 43 to 45, 47 and 48: what daemons, service managers and read-only systems do to a program.
"""
import os
import signal
import tempfile
import threading
from contextlib import contextmanager, suppress
from time import monotonic, sleep

from ..support.internals import parts
from . import work
from .fixtures import Log, Program, Refusing, attempt, within

#: Seconds that stop(wait=1) may take.
STOP_TIME = 3.0


# -- 43: the temporary folder, and the interpreter -----------------------------------------------


@contextmanager
def _new_fork_server():
    """The next process has multiprocessing start a fork server anew, with a temporary folder of its
    own."""
    from multiprocessing import forkserver, process

    forkserver._forkserver._stop()
    config = process.current_process()._config
    before = config.pop("tempdir", None), tempfile.tempdir
    try:
        yield
    finally:
        config["tempdir"], tempfile.tempdir = before


def _missing(scene):
    return os.path.join(scene.folder, "missing")


def _long(scene):
    path = os.path.join(scene.folder, "x" * 100)
    os.makedirs(path, exist_ok=True)
    return path


def _no_folder(scene):
    path = os.path.join(scene.folder, "file")
    open(path, "w").close()
    return path


#: Folders that cannot be used.
FOLDERS = {"missing": _missing, "long": _long, "a file": _no_folder}
#: What a file system says that takes no socket.
REFUSALS = ("EROFS", "ENOSPC", "EACCES", "EAFNOSUPPORT")


def no_temporary_folder(scene):
    """The temporary folder cannot hold the socket of the fork server: processes are started all the
    same."""
    for title, make in FOLDERS.items():
        with _new_fork_server(), attempt(scene, title, ("process",)) as inner:
            tempfile.tempdir = make(inner)
            _started_all_the_same(inner, title)


def _started_all_the_same(inner, title):
    with Log() as log:
        inner.open(size=2)
        inner.injected()
        inner.good(10)
        pids = inner.census()
        inner.kill(pids[0])
        inner.succeeded(*inner.good(10))
        inner.replaced(pids[0])
        said = log.said("fork server cannot be used")
    # From Python 3.14 on, multiprocessing makes its sockets elsewhere if the name is too long.
    if inner.method == "forkserver" and title != "long":
        inner.check(len(said) == 1, "%d warnings: %s" % (len(said), said))
    elif inner.method != "forkserver":
        inner.check(not said, "it is not used: %s" % said)


def no_socket(scene):
    """The file system takes no socket: it is read-only, full, or there are no local sockets at all.
    """
    import errno
    import socket

    for name in REFUSALS:
        number = getattr(errno, name)
        with _new_fork_server(), attempt(scene, name, ("process",)) as inner:
            with Refusing(
                socket.socket, "bind", lambda number=number: OSError(number, os.strerror(number))
            ):
                _started_all_the_same(inner, name)


def socket_removed(scene):
    """A cleaner of temporary folders removes the socket of the fork server while it runs."""
    from multiprocessing import forkserver

    with _new_fork_server(), attempt(scene, "removed", ("process",)) as inner:
        inner.open(size=2)
        pids = inner.census()
        address = forkserver._forkserver._forkserver_address
        if inner.method == "forkserver" and not address.startswith("\0"):
            os.unlink(address)
        inner.kill(pids[0])
        inner.succeeded(*inner.good(10))
        inner.replaced(pids[0])
    forkserver._forkserver._forkserver_address = None       # it would be unlinked again


def no_interpreter(scene):
    """The interpreter is gone, as after an update: what waits fails at once, or runs in the
    processes that are there."""
    import multiprocessing
    from multiprocessing import spawn

    path = spawn.get_executable()
    starts_one = scene.method in ("forkserver", "spawn")
    with _new_fork_server():
        scene.open(size=2)
        multiprocessing.set_executable(os.path.join(scene.folder, "python"))
        try:
            began = monotonic()
            waiting = [scene.inject(work.echo, number, expected=None if starts_one else (number,))
                       for number in range(10)]
            for handle in waiting if starts_one else ():
                _broken(scene, handle)
            scene.check(monotonic() - began < STOP_TIME, "that took %.1f s" % (monotonic() - began))
        finally:
            multiprocessing.set_executable(path)
    pids = scene.census()
    if starts_one:
        multiprocessing.set_executable(os.path.join(scene.folder, "python"))
    try:
        scene.kill(pids[0])
        scene.succeeded(*scene.good(20))
    finally:
        multiprocessing.set_executable(path)
    if scene.method != "spawn":             # others need none; by spawn, it is tried again later
        scene.replaced(pids[0])


def _broken(scene, handle):
    from atasker_like import PoolBrokenError

    error = scene.failed(
        handle, PoolBrokenError, "interpreter", handle.native.name, handle.native.short_id
    )
    if error is not None:
        scene.check(
            isinstance(error.__cause__, OSError), "the cause is %r" % error.__cause__, handle
        )
    scene.never_ran(handle)


# -- 44: children of the application's -----------------------------------------------------------


@contextmanager
def _ignored():
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)


def _reap(*ignored):
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


@contextmanager
def _reaped():
    before = signal.signal(signal.SIGCHLD, _reap)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)


@contextmanager
def _reaped_by_a_thread():
    """Faster than the pool itself, most often."""
    over = threading.Event()

    def reap():
        while not over.is_set():
            _reap()
            sleep(0)

    thread = threading.Thread(target=reap, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _deaths_are_seen(scene, condition):
    from atasker_like import ProcessDiedError

    scene.open(size=2)
    with condition:
        scene.good(10)
        pids = scene.census()
        victims = [scene.inject(work.end_by_signal), scene.inject(work.leave, 3)]
        scene.good(10)
        for victim in victims:
            error = scene.failed(
                victim, ProcessDiedError, victim.native.name, victim.native.short_id
            )
            if error is not None:
                known = error.exitcode in (-9, 3)
                scene.check(known or error.exitcode is None and "SIGCHLD" in str(error),
                            "the error says: %s" % error, victim)
                scene.check(
                    str(error.pid) in str(error), "the error names no pid: %s" % error, victim
                )
        pids = scene.census()
        scene.kill(pids[0])
        scene.replaced(pids[0])
        _kill_the_fork_server(scene)
        scene.succeeded(*scene.good(10))
        pids = scene.census()
        scene.kill(pids[1])
        scene.replaced(pids[1])
        began = monotonic()
        scene.check(
            within(STOP_TIME, scene.native.stop, 1),
            "stop(wait=1) did not return in %g s" % STOP_TIME,
        )
        scene.check(
            monotonic() - began < STOP_TIME, "stop(wait=1) took %.1f s" % (monotonic() - began)
        )
        scene.native.start()
        scene.succeeded(*scene.good(10))
        scene.native.stop()


def _kill_the_fork_server(scene):
    """It is a child like all others, and is waited for by multiprocessing."""
    from multiprocessing import forkserver

    if scene.method == "forkserver":
        pid = forkserver._forkserver._forkserver_pid
        scene.kill(pid)
        scene.gone(pid)


def children_ignored(scene):
    """SIGCHLD is ignored: the kernel keeps no exit status."""
    _deaths_are_seen(scene, _ignored())


def children_reaped(scene):
    """A handler of SIGCHLD waits for all children."""
    _deaths_are_seen(scene, _reaped())


def children_reaped_by_a_thread(scene):
    """So does a thread, all the time."""
    _deaths_are_seen(scene, _reaped_by_a_thread())


# -- 45: closed descriptors ----------------------------------------------------------------------


def _open_numbers():
    numbers = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            os.fstat(int(name))
        except OSError:             # the one that listed the directory
            continue
        numbers.add(int(name))
    return numbers


def _numbers_of_multiprocessing():
    from multiprocessing import forkserver, resource_tracker

    found = forkserver._forkserver._forkserver_alive_fd, resource_tracker._resource_tracker._fd
    return {fd for fd in found if fd is not None}


def descriptors_closed(scene):
    """All descriptors are closed that the pool has opened, and those of multiprocessing. What ran
    fails with that cause, what waits runs; so twice."""
    from atasker_like import ProcessDiedError

    gates = [scene.gate(), scene.gate()]
    before = _open_numbers() - _numbers_of_multiprocessing()
    scene.open(size=2)
    for gate in gates:
        victims = [scene.submit(work.enter, gate) for _ in range(2)]
        scene.arrived(gate, 2)
        pool = parts(scene.native).processes.pool()
        with pool.lock:             # nothing is opened meanwhile
            for number in sorted(_open_numbers() - before | _numbers_of_multiprocessing()):
                with suppress(OSError):     # its process has ended, and the pool has closed it
                    os.close(number)
            waiting = scene.good(10)
        scene.injected()
        for victim in victims:
            error = scene.failed(
                victim,
                ProcessDiedError,
                "closed the descriptors",
                victim.native.name,
                victim.native.short_id,
            )
            if error is not None:
                scene.check(scene.gone(error.pid), "process %d is still there" % error.pid)
        scene.succeeded(*waiting)
    scene.replaced()


def descriptors_closed_by_a_daemon(scene):
    """os.closerange() by a program, while its pool is idle, works, and is about to be stopped."""
    for when in ("idle", "busy", "stopping", "reopened"):
        with Program(scene, "daemon", when) as program:
            scene.injected()
            lines = [line.split() for line in program.wait()]
            said = program.said()[-1500:]
            scene.check(
                program.status == 0, "%s: ended with status %s: %s" % (when, program.status, said)
            )
            found = {words[0]: words[1:] for words in lines}
            if when == "busy":
                scene.check(
                    found.get("ran") == ["ProcessDiedError"] * 2,
                    "%s: what ran: %s: %s" % (when, found, said),
                )
            scene.check(
                found.get("after") == ["succeeded"] * 20,
                "%s: afterwards: %s: %s" % (when, found, said),
            )
            scene.check(
                float(found.get("stopped", ["99"])[0]) < STOP_TIME,
                "%s: the stop took %s s: %s" % (when, found.get("stopped"), said),
            )
            scene.check(
                found.get("files") == ["untouched"],
                "%s: files of the application's: %s" % (when, found),
            )
            ran = program.ran()
            scene.check(set(ran.values()) <= {1}, "%s: tasks ran more than once: %s" % (when, ran))


# -- 47: the whole process group -----------------------------------------------------------------


def group_terminated(scene):
    """SIGTERM for all processes of the program, which stops its supervisor in the handler: what ran
    in processes fails with this signal, what waits runs."""
    _group_signalled(scene, signal.SIGTERM, lambda *ignored: scene.native.stop())


def group_hung_up(scene):
    """SIGHUP, as from a terminal that is closed, with a program that goes on."""
    _group_signalled(scene, signal.SIGHUP, lambda *ignored: None)


def _group_signalled(scene, number, handler):
    came = threading.Event()

    def handle(*ignored):
        came.set()
        handler()

    scene.open(size=2)
    gate = scene.gate()
    before = signal.signal(number, handle)
    try:
        for _ in range(scene.count(2, 20)):
            scene.native.start()
            victims = [scene.submit(work.enter, gate) for _ in range(2)]
            scene.arrived(gate, 2)
            waiting = scene.good(10)
            came.clear()
            scene.injected()
            os.killpg(os.getpgid(0), number)
            scene.check(came.wait(scene.patience), "the signal did not come")
            for victim in victims:
                scene.died(victim, number=number, replaced=False)
            scene.succeeded(*waiting)
    finally:
        signal.signal(number, before)


# -- 48: the end by a signal ---------------------------------------------------------------------


def signal_raised_again(scene):
    """A server ends in order at SIGTERM and then dies of it, as is the custom. With the line that
    stops the supervisor first, all that was accepted is done; without it, what was accepted is
    lost, and no process is left."""
    for stops in ("stops", "does not stop"):
        with Program(scene, "server", stops) as program:
            accepted = program.read()
            scene.injected()
            program.process.send_signal(signal.SIGTERM)
            program.wait()
            scene.check(program.status == -signal.SIGTERM, "it %s: ended with status %s: %s" % (
                stops, program.status, program.said()[-1500:]))
            ran = program.ran()
            if stops == "stops":
                missing = [token for token in accepted if ran[token] != 1]
                scene.check(not missing, "accepted and not run: %s" % missing)
