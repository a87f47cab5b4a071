"""What the tasks of the fault suite run. Pool processes import it by name, so it is quick to
import."""
import ctypes
import os
import signal
import sys
import time

# -- the proof on disk ---------------------------------------------------------------------------


def note(journal, token):
    """Append a line to the journal, in one write: a kill leaves all of it or nothing."""
    fd = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(fd, ("%s %d\n" % (token, os.getpid())).encode())
    finally:
        os.close(fd)


def noted(journal, token, function, *args):
    """What every task of the suite is: a line in the journal, then the call."""
    note(journal, token)
    return function(*args)


async def co_noted(journal, token, function, *args):
    """The same in a loop; awaits what the call gives if that can be awaited."""
    note(journal, token)
    value = function(*args)
    return await value if hasattr(value, "__await__") else value


class Gate:
    """Holds tasks, in whatever thread or process they run, until the scenario opens it. Made of two
    named pipes, so that both sides can wait with a deadline and a killed process leaves nothing
    locked."""

    def __init__(self, path):
        self.path = path
        self._fds = []

    def make(self):
        """In the scenario: make the pipes and keep them open."""
        for name in (".entered", ".open"):
            os.mkfifo(self.path + name)
            self._fds.append(os.open(self.path + name, os.O_RDWR | os.O_NONBLOCK))
        return self

    def __reduce__(self):
        return Gate, (self.path,)

    def arrive(self):
        """In a task: say that it has begun, and in which process."""
        fd = os.open(self.path + ".entered", os.O_WRONLY)
        try:
            os.write(fd, b"%10d" % os.getpid())
        finally:
            os.close(fd)

    def enter(self):
        """In a task: say that it has begun, and stay until the gate is opened."""
        self.arrive()
        fd = os.open(self.path + ".open", os.O_RDONLY)
        try:
            os.read(fd, 1)
        finally:
            os.close(fd)

    def wait(self, count=1, timeout=20.0):
        """In the scenario: wait until so many tasks have come; return the pids of those that have.
        """
        import select

        pids = []
        deadline = time.monotonic() + timeout
        while (
            len(pids) < count
            and select.select([self._fds[0]], [], [], max(0.0, deadline - time.monotonic()))[0]
        ):
            pids.append(int(os.read(self._fds[0], 10)))
        return pids

    def open(self, count=1000):
        """In the scenario: let tasks go on, those that come later too."""
        if self._fds:
            os.write(self._fds[1], b"." * count)

    def close(self):
        """In the scenario: let all go on, and forget the pipes."""
        if self._fds:
            self.open()
            for name, fd in zip((".entered", ".open"), self._fds):
                # a later caller fails instead of waiting without end
                os.unlink(self.path + name)
                os.close(fd)
            self._fds = []


# -- tasks that do no harm -----------------------------------------------------------------------


def echo(value=None):
    return value


def pid():
    return os.getpid()


def enter(gate, value=None):
    gate.enter()
    return value


def enter_and_give_pid(gate):
    gate.enter()
    return os.getpid()


def fail(message="no"):
    raise ValueError(message)


def size_of(data):
    return len(data)


# -- deaths --------------------------------------------------------------------------------------


def end_by_signal(number=signal.SIGKILL):
    os.kill(os.getpid(), number)
    while True:
        signal.pause()


def leave(status=0):
    os._exit(status)


def segfault():
    ctypes.string_at(0)


def system_exit(status=None):
    sys.exit(status)


def c_exit(status):
    ctypes.PyDLL(None).exit(status)     # with the interpreter held, as a C extension would


def c_abort():
    ctypes.PyDLL(None).abort()


def arrive_and_end_by_signal(gate, number=signal.SIGKILL):
    gate.arrive()
    end_by_signal(number)


# -- at the worst moments ------------------------------------------------------------------------


def die_before_the_next_task():
    """Have this process die when it has read its next task, and not yet begun it."""
    from atasker_like.pools.process import child
    from tests.support.internals.process_pool import TAKE_TICKET

    TAKE_TICKET.put(child.server, end_by_signal)


def give_and_die_midway(size, after):
    """Return so many bytes, and have this process killed when it has written some of them to its
    pipe."""
    from multiprocessing.connection import Connection

    left = [after]

    def torn(fd, data):
        view = memoryview(data)[:left[0]]
        left[0] -= len(view)
        while view:
            view = view[os.write(fd, view):]
        if not left[0]:
            end_by_signal()

    # that is how the peers write
    Connection._send = lambda self, data: torn(self._handle, data)
    child = sys.modules.get("atasker_like.pools.process.child")
    if child is not None and child.server is not None:
        from tests.support.internals.process_pool import WRITE_RESULT, result_fd_of

        WRITE_RESULT.put(child.server, lambda data: torn(result_fd_of(child.server), data))
    return bytes(size)


def give_bytes(size):
    return bytes(size)


def arrive_and_freeze(gate):
    """Stop this process, as a debugger or a shell does."""
    gate.arrive()
    os.kill(os.getpid(), signal.SIGSTOP)


def _stay(gate):
    gate.arrive()
    while True:
        signal.pause()


def ignore_termination(gate):
    """Have the system ignore SIGTERM, then stay without end."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _stay(gate)


def survive_termination(gate):
    """Catch SIGTERM and go on without end."""
    signal.signal(signal.SIGTERM, lambda *arguments: None)
    _stay(gate)


def hold_the_interpreter(gate, seconds):
    """Stay in C code that does not let go of the interpreter."""
    gate.arrive()
    ctypes.PyDLL(None).sleep(seconds)


def hold_the_interpreter_and_catch(gate, seconds):
    """The same, with a handler of SIGTERM that the interpreter never gets round to calling."""
    signal.signal(signal.SIGTERM, lambda *arguments: None)
    gate.arrive()
    while True:     # a signal ends the sleep early
        ctypes.PyDLL(None).sleep(seconds)


# -- the crossing --------------------------------------------------------------------------------


def spring(how):
    """What a trap does."""
    if how == "raise":
        raise RuntimeError("the trap has sprung")
    if how == "sys.exit":
        sys.exit("the trap has sprung")
    if how == "os._exit":
        os._exit(3)
    segfault()


class Trap:
    """Does harm when it is pickled (``out``), or when it is rebuilt (``in``)."""

    def __init__(self, where, how):
        self.where = where
        self.how = how

    def __reduce__(self):
        if self.where == "out":
            spring(self.how)
        return spring, (self.how,)


def take(*arguments):
    """Take anything, and give nothing."""


def give_trap(where, how, size=0):
    return Trap(where, how), bytes(size)


class Unsendable(Exception):
    """Cannot be pickled."""

    def __reduce__(self):
        raise TypeError("not this one")


class Unbuildable(Exception):
    """Can be pickled, but not be built again: its arguments are not those of its constructor."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


class Trapped(Exception):
    """Does harm when it is pickled, or when it is rebuilt."""

    def __init__(self, where, how):
        super().__init__("an error with a trap in it")
        self.trap = Trap(where, how)

    def __reduce__(self):
        return self.trap.__reduce__()


def raise_unsendable():
    raise Unsendable("stays there")


def raise_unbuildable():
    raise Unbuildable(7, "half of it")


def raise_local():
    class Local(Exception):
        pass

    raise Local("nobody can import me")


def raise_trapped(where, how):
    raise Trapped(where, how)


# -- memory --------------------------------------------------------------------------------------


def _limit_memory(more):
    """Allow this process so many bytes more than it has."""
    import resource

    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + more, resource.getrlimit(resource.RLIMIT_AS)[1]))


def ask_for_too_much():
    """Ask for a gigabyte where there are 64 MB."""
    _limit_memory(64 << 20)
    return bytearray(1 << 30)


def use_all_memory():
    """Use all there is, to the last kilobyte; what describes the error has to do without."""
    _limit_memory(16 << 20)
    hold = []
    size = 1 << 20
    while True:
        try:
            hold.append(bytearray(size))
        except MemoryError:
            if size <= 256:
                raise
            size //= 4


# -- initializers --------------------------------------------------------------------------------


def begin(journal, flag, how):
    """An initializer that works when a file is there, and else fails in one of several ways."""
    note(journal, "tried")
    if os.path.exists(flag):
        return
    if how == "raises":
        raise RuntimeError("the initializer does not like it here")
    if how == "dies":
        os._exit(3)
    while True:
        signal.pause()
