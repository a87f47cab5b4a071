"""Stand-ins for what gevent and eventlet put into the standard library."""
import _thread
import os
import select
import threading
from contextlib import contextmanager


class ForeignLock:
    """A lock whose ``release()`` returns something, as a semaphore's does."""

    def __init__(self):
        self._lock = _thread.allocate_lock()

    def acquire(self, blocking=True, timeout=-1):
        return self._lock.acquire(blocking, timeout)

    def release(self):
        self._lock.release()
        return 1

    def locked(self):
        return self._lock.locked()

    def __enter__(self):
        return self.acquire()

    def __exit__(self, *error):
        self.release()

    def _at_fork_reinit(self):
        self._lock = _thread.allocate_lock()


class ForeignRLock(threading._PyRLock):
    """The same of a lock that knows its owner."""

    def release(self):
        super().release()
        return 1

    def __exit__(self, *error):
        self.release()


def _foreign(function):
    def foreign(*arguments, **options):
        return function(*arguments, **options)

    return foreign


def locks():
    """What replaces locks."""
    return [(threading, "Lock", ForeignLock), (threading, "RLock", ForeignRLock)]


def threads():
    """What replaces the start of threads, and their idents."""
    names = [(_thread, "start_new_thread"), (threading, "_start_new_thread"),
             (threading, "_start_joinable_thread"), (threading, "get_ident")]
    return [(module, name, _foreign(getattr(module, name))) for module, name in names
            if hasattr(module, name)]


def io():
    """What replaces waiting for files."""
    return [(select, "select", _foreign(select.select)), (select, "poll", _foreign(select.poll))]


def put(replaced):
    """Put things in the place of others; return what was there."""
    before = [(module, name, getattr(module, name, None)) for module, name, _ in replaced]
    for module, name, value in replaced:
        if value is None:
            delattr(module, name)
        else:
            setattr(module, name, value)
    return before


@contextmanager
def replaced(*wanted):
    """Replace something in the block, and have the package follow back afterwards."""
    from atasker_like import _patched

    before = put(wanted)
    try:
        yield
    finally:
        put(before)
        if _patched.has_changed():
            _patched.follow()


def deferred_close(pending):
    """Return what stands for os.close() and closes later: it appends the descriptors to a list."""
    return [(os, "close", pending.append)]
