"""Rows 17 to 20: the system has no thread, no process, no file descriptor and no disk space to
give."""
import faulthandler
import logging
import os
import resource
import threading
from contextlib import contextmanager, suppress

from . import work
from .fixtures import Log, Refusing, conclude, no_processes, no_threads

#: How often a second something that fails may be tried again, at most. More
#: tries waste a core.
TRIES_A_SECOND = 50
#: Bytes of address space that are left when no thread may have its stack.
ROOM = 64 << 20


def _tried_calmly(scene, refusing, submissions, what, first=0):
    """Every submission may try once, and beside that the tries, from the first that counts, must be
    spaced out."""
    times = refusing.times[first:]
    seconds = times[-1] - times[0] if times else 0.0
    scene.check(
        len(times) <= 2 * submissions + TRIES_A_SECOND * (seconds + 0.1),
        "%s was tried %d times in %.2f s, for %d submissions"
        % (what, len(times), seconds, submissions),
    )


# -- 17: threads ---------------------------------------------------------------------------------


def no_second_thread(scene):
    """One thread of the pool is there, and busy. What comes waits for it, and need not wait for
    anything else."""
    scene.open(threads=3)
    gate, _ = scene.occupy(1, kind="thread")
    with no_threads() as refusing:
        waiting = []
        for number in range(scene.count(20, 1000)):
            waiting.append(scene.submit(work.echo, number, kind="thread", expected=(number,)))
            scene.injected()
        scene.check(refusing.tries, "no thread was tried to be started: nothing was injected")
        _tried_calmly(scene, refusing, len(waiting), "starting a thread")
        gate.open()
        scene.succeeded(*waiting)


def no_first_thread(scene):
    """The pool has no thread yet, and only the timer runs. What was accepted goes on as soon as
    there is one."""
    scene.open(threads=2)
    scene.native.start()
    # so there is the timer
    later = scene.submit(work.echo, "later", kind="thread", expected=("later",), delay=0.05)
    with no_threads() as refusing:
        waiting = [scene.submit(work.echo, number, kind="thread") for number in range(10)]
        scene.injected(len(waiting))
        before = refusing.tries
        # it is tried again and again
        refusing.wait(before + scene.count(12, 100), scene.patience)
        scene.check(refusing.tries > before, "starting a thread is not tried again")
        _tried_calmly(scene, refusing, 0, "starting a thread", before)
        for handle in waiting:
            scene.never_ran(handle)
            if handle.refused is None and scene.strict:
                scene.check(
                    not handle.native.done(), "%r did not wait: %s" % (handle, handle.native)
                )
    scene.succeeded(later, *waiting)


def no_thread_at_all(scene):
    """Not even the timer can be started, in which case nobody would look again. Either submitting
    raises, or the task says why it cannot be run, or it is run when there are threads again."""
    from atasker_like import PoolBrokenError, SupervisorError

    scene.open(threads=2)
    with no_threads() as refusing:
        handles = [
            scene.submit(work.echo, number, kind=kind, **options)
            for number in range(scene.count(3, 30))
            for kind, options in (
                ("thread", {}),
                ("thread", {"retries": 1}),
                ("thread", {"delay": 0.001}),
                ("thread", {"timeout": 100}),
                ("process", {}),
                ("coroutine", {}),
            )
        ]
        scene.injected(len(handles))
        _tried_calmly(scene, refusing, 2 * len(handles), "starting a thread")
    scene.good(10, "thread")
    scene.good(10)
    for handle in handles:
        if handle.refused is not None:
            scene.check(isinstance(handle.refused, (SupervisorError, RuntimeError, MemoryError)),
                        "%r was refused with %r" % (handle, handle.refused))
            continue
        scene.wait(handle)
        if handle.outcome is not None and handle.outcome[0] == "failed":
            error = handle.outcome[1]
            if scene.check(type(error) is PoolBrokenError, "%r failed with %r" % (handle, error)):
                scene.check(
                    "thread" in str(error),
                    "the message does not say that threads are missing: %s" % error,
                )
            scene.never_ran(handle)


def threads_now_and_then(scene):
    """Every other thread that is to be started is not."""
    scene.open(threads=8)
    tries = []

    def refuses(thread):
        tries.append(thread)
        return len(tries) % 2 == 1

    with Refusing(
        threading.Thread, "start", lambda: RuntimeError("can't start new thread"), refuses
    ) as refusing:
        for number in range(scene.count(4, 40)):
            handles = [
                scene.submit(work.echo, number, kind=kind, **options)
                for kind in ("thread", "process", "coroutine")
                for options in ({}, {"retries": 1})
            ]
            gate = scene.gate()
            handles += [scene.submit(work.enter, gate, kind="thread") for _ in range(8)]
            gate.open()
            scene.wait(*handles)
            for handle in handles:
                if handle.refused is None and handle.outcome is not None:
                    scene.check(
                        handle.outcome[0] == "succeeded" or "thread" in str(handle.outcome[1]),
                        "%r: %s" % (handle, handle.outcome),
                    )
        scene.injected(refusing.tries)
        scene.check(refusing.tries, "no thread was tried to be started: nothing was injected")


@contextmanager
def _no_room_for_stacks():
    """No address space for the stack of another thread, and enough for all else."""
    before = threading.stack_size(4 * ROOM)
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        threading.stack_size(before)


def no_memory_for_threads(scene):
    """The same without any patch: the address space is limited."""
    scene.open(threads=3)
    gate, _ = scene.occupy(1, kind="thread")
    with Log() as log:
        with _no_room_for_stacks():
            waiting = scene.good(scene.count(20, 200), "thread")
            scene.injected(len(waiting))
            gate.open()
            scene.succeeded(*waiting)
        scene.check(
            log.said("could not start a thread"),
            "all threads could be started: nothing was injected",
        )


def no_thread_for_processes(scene):
    """The pool of processes cannot have the thread that it needs. Nothing that was refused may run.
    """
    scene.open(size=2)
    with no_threads() as refusing:
        handles = []
        for number in range(10):
            handles.append(scene.submit(work.echo, number))
            scene.injected()
        _tried_calmly(scene, refusing, 2 * len(handles), "starting a thread")
    scene.good(10)
    scene.wait(*handles)


# -- 18: processes -------------------------------------------------------------------------------


def no_process(scene):
    """Processes cannot be started for a while. What waits stays, is tried less and less often, and
    runs at last."""
    scene.open(size=2)
    with no_processes() as refusing:
        waiting = [scene.submit(work.echo, number, expected=(number,) if scene.strict else None)
                   for number in range(10)]
        scene.injected()
        if scene.strict:
            tries = scene.count(4, 8)
            scene.check(
                refusing.wait(tries, scene.patience),
                "starting was tried only %d times: %s" % (refusing.tries, waiting[0].task),
            )
            # Submissions must not make up for the pauses.
            waiting += [
                scene.submit(work.echo, number, expected=(number,))
                for number in range(scene.count(100, 1000))
            ]
            _tried_calmly(scene, refusing, 0, "starting a process")
            pauses = refusing.pauses()
            scene.check(
                pauses == sorted(pauses) or pauses[-1] > 1.5 * pauses[0],
                "the tries do not back off: pauses of %s s"
                % ", ".join("%.3f" % pause for pause in pauses),
            )
            for handle in waiting:
                scene.check(
                    not handle.task.done(),
                    "a task did not wait for a process, but %s: %r"
                    % (
                        handle.task.state,
                        handle.task.done() and handle.task.wait().exception,
                    ),
                )
    if not scene.strict:
        waiting += scene.good(10)
    scene.wait(*waiting)
    scene.replaced()


def processes_now_and_then(scene):
    """Every other process that is to be started is not, while processes are recycled."""
    tries = []

    def refuses(process):
        tries.append(process)
        return len(tries) % 2 == 1

    scene.open(size=2, maxtasksperchild=5)
    with no_processes(refuses) as refusing:
        scene.wait(*scene.good(scene.count(20, 400)))
        scene.injected(refusing.tries)
    scene.replaced()


def no_replacement(scene):
    """One of two processes is killed while none can be started. The other one serves all, and later
    there are two."""
    scene.open(size=2)
    pids = scene.census()
    gate = scene.gate()
    with no_processes() as refusing:
        scene.kill(pids[0])
        scene.succeeded(*scene.good(20))
        if scene.strict:
            _want_another(scene, gate)
            refusing.wait(2, scene.patience)
            gate.open()
            scene.succeeded(*scene.good(scene.count(20, 1000)))
            _tried_calmly(scene, refusing, 0, "starting a process")
    scene.replaced(pids[0])


def _want_another(scene, gate):
    """Occupy the process that is left, and have tasks wait behind: another process could run them.
    """
    scene.submit(work.enter, gate, expected=(None,))
    scene.arrived(gate)
    scene.good(5)


# -- 19: file descriptors ------------------------------------------------------------------------


@contextmanager
def _no_files():
    """No file can be opened in the block, and no pipe."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(lowest, soft), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def no_pipe(scene):
    """No pipe can be made for a process. The tasks say so, or wait until there are files again."""
    scene.open(size=2)
    with Log() as log:
        with _no_files():
            handles = [scene.submit(work.echo, number) for number in range(10)]
            scene.injected()
            if scene.strict:
                scene.until(
                    lambda: len(log.said("could not start a process")) >= 2
                    or any(handle.native is None or handle.task.done() for handle in handles),
                    "a process that could not be started",
                )
        scene.good(10)
        scene.wait(*handles)
    if scene.strict:
        from atasker_like import PoolBrokenError

        for handle in handles:
            error = handle.refused or (
                handle.outcome and handle.outcome[0] == "failed" and handle.outcome[1]
            )
            if error:
                scene.check(type(error) is PoolBrokenError, "%r: %r" % (handle, error))
                scene.check(
                    "Too many open files" in "%s %s" % (error, error.__cause__),
                    "%r does not say that there are too many open files: %s" % (handle, error),
                )
                scene.never_ran(handle)
    scene.replaced()


def no_pipe_for_another(scene):
    """No file can be opened while the processes are there and one is killed: the other one serves
    all."""
    scene.open(size=2)
    pids = scene.census()
    gate = scene.gate()
    with Log() as log, _no_files():
        scene.succeeded(*scene.good(20))
        scene.kill(pids[0])
        scene.succeeded(*scene.good(20))
        if scene.strict:
            _want_another(scene, gate)
            scene.until(
                lambda: log.said("could not start a process"), "a process that could not be started"
            )
            gate.open()
            scene.succeeded(*scene.good(20))
    scene.replaced(pids[0])


def no_loop(scene):
    """An event loop needs files, too: a coroutine is refused, and leaves nothing behind."""
    scene.open()
    with _no_files():
        handles = [scene.submit(work.echo, number, kind="coroutine") for number in range(10)]
        scene.injected(len(handles))
    for handle in handles:
        if handle.refused is not None:
            scene.check(
                isinstance(handle.refused, OSError),
                "%r was refused with %r" % (handle, handle.refused),
            )
    scene.check(
        any(handle.refused is not None for handle in handles),
        "a loop could be made: nothing was injected",
    )
    scene.succeeded(*scene.good(10, "coroutine"))


# -- 20: the disk under the log ------------------------------------------------------------------


class _Strict(logging.FileHandler):
    """As people write them who want to know when their log is lost."""

    def handleError(self, record):
        raise


def _log_lost(scene, handler):
    logger = logging.getLogger("atasker_like")
    logger.addHandler(handler)
    scene.open(size=2, threads=2)
    with _stderr_full():            # where the logging module complains
        for kind in scene.side.kinds:
            for _ in range(scene.count(2, 50)):
                scene.good(5, kind)
                if len(scene.side.kinds) > 1:       # not an executor
                    scene.submit(work.echo, 1, kind=kind, expected=(1,), callback=_refuse)
                scene.submit(work.echo, 2, kind=kind, expected=(2,)).native.add_done_callback(
                    _refuse
                )
                failed = scene.inject(work.fail, kind=kind)
                failed.native.add_done_callback(_refuse)
                scene.good(5, kind)
                forgotten = _forgotten(scene, kind)
                scene.wait(failed)
                scene.until(
                    lambda forgotten=forgotten: scene.oracle.ran()[forgotten],
                    "a failure that nobody looks at",
                )
        scene.died(scene.inject(work.end_by_signal), number=9)
        scene.census()
        gate, pids = scene.occupy(1)
        with no_processes() as refusing:
            scene.kill(next(pid for pid in scene.native.mp_pool.pids() if pid not in pids))
            scene.good(5)
            refusing.wait(1, scene.patience)
        gate.open()
        scene.wait(*scene.oracle.handles)
    logger.removeHandler(handler)
    with suppress(OSError):         # what it has kept cannot be written now either
        handler.close()


@contextmanager
def _stderr_full():
    """The disk is full under stderr, too; a case that hangs can still say where."""
    stderr = os.fdopen(os.dup(2), "w")
    faulthandler.dump_traceback_later(50, exit=True, file=stderr)
    lost = os.open("/dev/full", os.O_WRONLY)
    os.dup2(lost, 2)
    os.close(lost)
    try:
        yield
    finally:
        os.dup2(stderr.fileno(), 2)
        faulthandler.dump_traceback_later(50, exit=True, file=2)
        stderr.close()


def _refuse(*arguments):
    raise ValueError("this callback does not like it here")


def _forgotten(scene, kind):
    """Submit a task that fails, and that nobody looks at: it is logged when it is forgotten. Return
    its token."""
    handle = scene.submit(work.fail, kind=kind)
    conclude(handle, "failed")
    return handle.token


def log_disk_full(scene):
    """The disk is full under the log of the application, and under stderr."""
    _log_lost(scene, logging.FileHandler("/dev/full"))


def log_handler_raises(scene):
    """The same with a handler that lets its errors through, into the code that has logged."""
    _log_lost(scene, _Strict("/dev/full"))
