"""Calls in threads of their own, and waiting for what no event tells."""
import gc
import sys
import threading
from time import monotonic

from . import PATIENCE

#: Whether this interpreter has no lock of its own. It frees what another thread has let go when the
#: thread that made it next runs, or when the collector does: the last reference is gone before, and
#: nothing shows it.
FREE_THREADED = not getattr(sys, "_is_gil_enabled", lambda: True)()


def merged(condition, seconds=PATIENCE):
    """On a free-threaded build: let the collector free what has no reference, until a condition
    holds."""
    deadline = monotonic() + seconds
    while not condition() and monotonic() < deadline:
        gc.collect()


def later(function, *args):
    """Run a call in a thread of its own; return the thread, whose ``outcome`` is the value or the
    error."""
    def run():
        begun.wait()
        try:
            thread.outcome = function(*args)
        except BaseException as error:
            thread.outcome = error

    begun = threading.Event()
    thread = threading.Thread(target=run, daemon=True)
    thread.begin = begun.set
    thread.start()
    return thread


def started(function, *args):
    """The same, begun at once."""
    thread = later(function, *args)
    thread.begin()
    return thread


def join(thread):
    """Wait for a thread and return its outcome."""
    thread.join(PATIENCE)
    assert not thread.is_alive(), "the thread did not end"
    return thread.outcome


class Tally:
    """Counts how often each task was told to have ended."""

    def __init__(self):
        self._lock = threading.Lock()   # guards told
        self.told = {}

    def watch(self, task):
        """Count the ends of a task; return the task."""
        task.add_done_callback(self._count)
        return task

    def _count(self, task):
        with self._lock:
            self.told[id(task)] = self.told.get(id(task), 0) + 1

    def settle(self, tasks):
        """Wait until every task was told of; fail when one was told of twice, or never."""
        deadline = monotonic() + PATIENCE
        never = threading.Event()
        while len(self.told) < len(tasks) and monotonic() < deadline:
            never.wait(0.001)
        counts = [self.told.get(id(task), 0) for task in tasks]
        assert set(counts) <= {1}, "told %r times" % sorted(set(counts))


def wait_for(condition, what, patience=PATIENCE):
    """Wait until something is so that nobody tells of: the state of another process, a file."""
    deadline = monotonic() + patience
    never = threading.Event()
    while not condition():
        assert monotonic() < deadline, "not in %s s: %s" % (patience, what)
        never.wait(0.002)
