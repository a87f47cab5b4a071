"""Stand-ins for what gevent and eventlet put into the standard library."""
import _thread
import importlib.util
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


class ForeignPoll:
    """A poll object of a foreign class."""

    def __init__(self, poll=select.poll):
        self._poll = poll()
        self.register, self.unregister = self._poll.register, self._poll.unregister

    def poll(self, timeout=None):
        return self._poll.poll(timeout)


def io():
    """What replaces waiting for files."""
    return [(select, "select", _foreign(select.select)), (select, "poll", ForeignPoll)]


def put(replaced):
    """Put things in the place of others; return what was there."""
    before = [(module, name, getattr(module, name, None)) for module, name, _ in replaced]
    for module, name, value in replaced:
        if value is None:
            delattr(module, name)
        else:
            setattr(module, name, value)
    return before


def patch_like(library):
    """Patch the standard library of this process for good, as a library does it, or a stand-in."""
    if library == "gevent":
        from gevent import monkey

        monkey.patch_all()
    elif library == "gevent without threads":
        from gevent import monkey

        monkey.patch_all(thread=False)
    elif library == "eventlet":
        import eventlet

        eventlet.monkey_patch()
    else:
        replaced = locks()
        if library == "threads and no poll":
            replaced += [*threads(), (select, "poll", None)]
        elif library == "threads and files":
            replaced += [*threads(), *io()]
        put(replaced)


#: What stands for a library, and needs none.
STAND_INS = ("locks", "threads and no poll", "threads and files")


def libraries():
    """Return what patch_like() takes here."""
    found = [name for name in ("gevent", "eventlet") if importlib.util.find_spec(name) is not None]
    return [*STAND_INS, *found, *["gevent without threads"] * ("gevent" in found)]


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
