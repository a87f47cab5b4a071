"""What the tasks of rows 25 to 40 run. Pool processes import it by name, so it is quick to import.
"""
import ctypes
import os
import signal
import time

from .work import note


def stay(gate):
    """Run Python code without end."""
    gate.arrive()
    while True:
        time.sleep(0.01)


def fork_and_leave():
    """Fork, and return the status of the child, which ends at once."""
    pid = os.fork()
    if not pid:
        os._exit(0)
    return os.waitpid(pid, 0)[1]


def pause(seconds, value=None):
    """Take some time."""
    time.sleep(seconds)
    return value


def fail_until(path, times, value):
    """Fail so many times, in whatever process, then succeed."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(fd, b".")
        if os.fstat(fd).st_size <= times:
            raise ConnectionError("try again")
    finally:
        os.close(fd)
    return value


def segfault():
    ctypes.string_at(0)


def end_in_a_while(seconds, number=signal.SIGKILL):
    """Die in the middle of some work."""
    time.sleep(seconds)
    os.kill(os.getpid(), number)
    signal.pause()


def kill_every_other(path):
    """Note a run in a file; end the process by SIGKILL in every second one."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, b"run\n")
    runs = os.fstat(fd).st_size // 4
    os.close(fd)
    if runs % 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return runs


def note_and_give(item, path):
    """Note an item in a file, and return it."""
    note(path, str(item))
    return item
