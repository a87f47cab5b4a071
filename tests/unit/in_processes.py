"""Functions that tests run in pool processes."""
import logging
import os
import threading

_kept = []

log = logging.getLogger("in_processes")


def pid_and_value(value):
    return os.getpid(), value


def keep(size):
    _kept.append(b"x" * size)
    return os.getpid()


def out_of_memory():
    raise MemoryError


def hang():
    threading.Event().wait()


def remember(value):
    _kept.append(value)


def remembered():
    return _kept[-1]


class Held:
    """Who loads one calls a function of the test first. A pool process has none."""

    on_load = staticmethod(lambda: None)

    def __reduce__(self):
        return load_held, ()


def load_held():
    Held.on_load()
    return "loaded"


def large_and_held():
    return Held(), bytes(1 << 24)


def log_one():
    log.info("one")


def log_things(where):
    log.debug("not wanted")
    log.info("hello %s %d", where, 5, extra={"colour": "blue", "object": object()})
    try:
        1 / 0
    except ZeroDivisionError:
        log.exception("bad")
    log.warning("x" * (1 << 17))
    return os.getpid()


def log_badly():
    log.info("%d", "no number")


def enter_and_wait(path):
    """Say that it has begun, then wait without end, in C code that holds the interpreter."""
    import ctypes

    with open(path, "w"):
        pass
    while True:                 # each signal ends one of them
        ctypes.PyDLL(None).sleep(1000)
