"""Locks that stop a thread before they are taken, or after they were let go."""
import threading

from .gates import Hold


class LyingLock:
    """A lock that stops chosen threads just before they take it, or just after they have let it go.

    It knows its owner, and can have something looked at each time that it is about to be free.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._before = {}
        self._after = {}
        self.owner = None
        self.look = None

    def hold_before(self, thread=None):
        """Stop a thread, by default the calling one, once, before it takes the lock."""
        return self._before.setdefault(_ident(thread), Hold())

    def hold_after(self, thread=None):
        """Stop a thread once after it has let the lock go."""
        return self._after.setdefault(_ident(thread), Hold())

    def acquire(self, blocking=True, timeout=-1):
        hold = self._before.pop(threading.get_ident(), None) if self._before else None
        if hold is not None:
            hold()
        taken = self._lock.acquire(blocking, timeout)
        if taken:
            self.owner = threading.get_ident()
        return taken

    def release(self):
        if self.look is not None:
            self.look()
        self.owner = None
        self._lock.release()
        hold = self._after.pop(threading.get_ident(), None) if self._after else None
        if hold is not None:
            hold()

    def locked(self):
        return self._lock.locked()

    def held_here(self):
        """Return True if the calling thread holds it."""
        return self.owner == threading.get_ident()

    _is_owned = held_here       # as an RLock says it

    def __enter__(self):
        self.acquire()
        return self

    def __exit__(self, *error):
        self.release()


def _ident(thread):
    return threading.get_ident() if thread is None else thread.ident
