"""Functions that run in pool processes: a child imports them by name."""
import ctypes
import os
import signal


def nothing():
    """Return None."""


def echo(value):
    """Return what was given."""
    return value


def pid():
    """Return the id of the process that runs this."""
    return os.getpid()


def note(path, word):
    """Append a line to a file, in one write, and return the word."""
    with open(path, "a") as file:
        file.write(word + "\n")
    return word


def note_and_stay(path, word):
    """Append a line to a file, then stay until a signal ends the process."""
    note(path, word)
    while True:
        signal.pause()


def note_and_wait(path, word, fifo):
    """Append a line to a file, then wait until someone has opened and closed the fifo for
    writing."""
    note(path, word)
    with open(fifo) as file:
        file.read()
    return word


def hold_the_interpreter(seconds):
    """Stay in C code that never lets go of the interpreter."""
    ctypes.PyDLL(None).sleep(seconds)


def leave_a_reader_and_die(fifo):
    """Start a program that lives until the fifo is closed, then end as a crash would."""
    os.system("cat < '%s' > /dev/null 2>&1 &" % fifo)
    os.kill(os.getpid(), signal.SIGKILL)


def die():
    """End as a crash would."""
    os.kill(os.getpid(), signal.SIGKILL)


class Rebuilt:
    """What is called back in the process that rebuilds it: ``on_rebuild``, when there is one."""

    on_rebuild = None
    on_reduce = None

    def __reduce__(self):
        if Rebuilt.on_reduce is not None:
            Rebuilt.on_reduce()
        return _rebuild, ()


def _rebuild():
    if Rebuilt.on_rebuild is not None:
        Rebuilt.on_rebuild()
    return Rebuilt()


def make_rebuilt(*ignored):
    """Return something that calls back when it is rebuilt."""
    return Rebuilt()


def die_with(argument):
    """End as a crash would, whatever is given."""
    die()


class Boom(Exception):
    """Can be weakly referenced."""


def fail():
    """Raise an error."""
    raise Boom


def tear_the_result(size):
    """Write the head of a result of so many bytes, and half of the rest at most, then end as a
    crash would."""
    from atasker_like.pools.process import child
    from tests.support.internals.process_pool import result_fd_of, running_ticket_of

    server = child.server
    head = child.RESULT.pack(running_ticket_of(server), size, 0.0, child.VALUE)
    os.write(result_fd_of(server), head + b"x" * min(50, size))
    die()


def note_and_hold(path, word, seconds):
    """Append a line to a file, then stay in C code that never lets go of the interpreter."""
    note(path, word)
    hold_the_interpreter(seconds)
