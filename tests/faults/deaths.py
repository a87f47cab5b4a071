"""Rows 1 to 9: a pool process dies, at the worst moments."""
import fcntl
import signal
import struct
import termios
import threading

from ..support.internals import manager
from ..support.internals.process_pool import processes_of
from . import work

MEGABYTES_64 = 64 << 20


def _among_others(scene, function, *args):
    """Submit a fault and wait for its end. Beside it one sibling runs all the time, and others come
    before it and behind it; none of them may notice. Return the handle of the fault."""
    gate, _ = scene.occupy(1)
    scene.good(5)
    victim = scene.inject(function, *args)
    scene.good(10)
    scene.wait(victim)
    gate.open()
    return victim


def killed_in_a_task(scene):
    """The system kills a process while it runs a task: out of memory, most often."""
    for _ in range(scene.count(2, 20)):
        scene.died(_among_others(scene, work.end_by_signal, signal.SIGKILL), number=signal.SIGKILL)


def killed_while_idle(scene):
    """The system kills processes that run nothing. One, and then all at once."""
    for _ in range(scene.count(1, 10)):
        pids = scene.census()
        scene.kill(pids[0])
        scene.good(10)              # the parent has not noticed yet, most likely
        scene.replaced(pids[0])
        pids = scene.census()
        for pid in pids:
            scene.kill(pid)
        scene.good(10)
        scene.replaced(*pids)


def killed_before_it_starts(scene):
    """A process is killed when its tasks have been sent, and it has not read them. Then one that
    has read them, and has not begun."""
    scene.open(size=1)
    for _ in range(scene.count(1, 10)):
        pid = scene.census()[0]
        scene.freeze(pid)
        handles = scene.good(5)
        if scene.strict:
            scene.until(lambda: handles[0].task.state == "running", "the first one to be sent")
        scene.kill(pid)
        _run_elsewhere(scene, handles, pid)
        if scene.strict:
            pid = scene.census()[0]
            scene.succeeded(scene.inject(work.die_before_the_next_task))
            _run_elsewhere(scene, scene.good(5), pid)


def _run_elsewhere(scene, handles, pid):
    scene.succeeded(*handles)
    if scene.strict:
        attempts = {handle.task.attempts for handle in handles}
        scene.check(
            attempts == {1}, "what had not started was counted as an attempt: %s" % attempts
        )
    scene.replaced(pid)


class HeldReader:
    """Stands between a pool and its results, and holds the thread that reads them until it is told
    to go on."""

    def __init__(self, pool):
        self._read = pool.on_readable
        self._free = threading.Event()
        self._free.set()
        self.hold, self.go_on = self._free.clear, self._free.set
        pool.on_readable = self

    def __call__(self, process):
        self._free.wait()
        self._read(process)


def killed_after_the_result(scene):
    """A process is killed when it has written the result of a task, and the parent has not read it.
    """
    from atasker_like.pools.process import child

    scene.open(size=1)
    pool = manager(scene.native).processes
    reader = HeldReader(pool)
    for size in (10, 30_000, 300_000):
        (pid,) = scene.census()
        fd = processes_of(pool)[0].result_fd
        value = bytes(min(size, fcntl.fcntl(fd, getattr(fcntl, "F_GETPIPE_SZ", 1032)) // 2))
        length = child.RESULT.size + sum(
            len(part) for part in child.pickle_parts(value, (value,))[0]
        )
        reader.hold()
        try:
            task = scene.inject(work.give_bytes, len(value), expected=(value,))
            scene.until(lambda: _unread(fd) >= length, "the result to be written")
            scene.kill(pid)
            scene.gone(pid)
            waiting = scene.good(5)
        finally:
            reader.go_on()
        scene.succeeded(task, *waiting)
        scene.replaced(pid)


def _unread(fd):
    """How many bytes stand in a pipe."""
    return struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, b"\0\0\0\0"))[0]


def segmentation_fault(scene):
    """A C extension reads where nothing is."""
    scene.died(_among_others(scene, work.segfault), number=signal.SIGSEGV)


def left_in_a_task(scene):
    """A task ends its process, with an exit code that says all is well; and with another one."""
    for status in (0, 7):
        scene.died(_among_others(scene, work.leave, status), exitcode=status)


def system_exit_in_a_task(scene):
    """A task calls sys.exit(), as a program would that was made a function. That ends the task, and
    no more."""
    pids = scene.census()
    for status in (None, 0, 3, "a message"):
        scene.failed(_among_others(scene, work.system_exit, status), SystemExit)
    for pid in pids:
        scene.survived(pid)
    if "thread" in scene.side.kinds:
        scene.failed(scene.inject(work.system_exit, 3, kind="thread"), SystemExit)


def ended_by_c(scene):
    """A C library that gives up: exit() runs no Python code, abort() not even the C library's."""
    scene.died(_among_others(scene, work.c_exit, 3), exitcode=3)
    scene.died(_among_others(scene, work.c_abort), number=signal.SIGABRT)


def killed_in_the_middle_of_a_result(scene):
    """A process is killed in the middle of writing a result: early in it, late in it, in the head
    of it, and when it is so small that nothing but bad luck can tear it."""
    moments = [(MEGABYTES_64, MEGABYTES_64 // 2)]
    if scene.strict:
        moments += [(MEGABYTES_64, 3), (MEGABYTES_64, 100), (100, 30)]
    for size, after in moments:
        scene.died(
            _among_others(scene, work.give_and_die_midway, size, after), number=signal.SIGKILL
        )
