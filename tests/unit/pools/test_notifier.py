"""The hook calls of a pool: who makes them when a stop has dropped the timer's call."""
import threading

import pytest

from atasker_like.pools.notifier import Notifier


class Timer:
    """A timer that a test fires, and stops."""

    def __init__(self):
        self.calls = []
        self.can_start = True

    def start(self):
        if not self.can_start:
            raise RuntimeError("no thread")

    def call_at(self, deadline, call, *arguments):
        self.calls.append((call, arguments))

    def fire(self):
        calls, self.calls = self.calls, []
        for call, arguments in calls:
            call(*arguments)


class Pool:
    """A pool, as its notifier sees it."""

    name = "pool"

    def __init__(self):
        self.lock = threading.RLock()
        self.timer = Timer()

    def _spawn(self, call):
        call()


@pytest.fixture
def pool():
    return Pool()


@pytest.fixture
def stopped(pool):
    """A notifier with a hook call that a stop of the timer has left behind, and what it notes."""
    noted = []
    notifier = Notifier(pool)
    with pool.lock:
        notifier.add(noted.append, "hook")
        pool.timer.calls.clear()
        notifier.timer_stopped()
    return notifier, noted


def test_call_after_hooks_that_a_stop_has_left_is_made_after_them(pool, stopped):
    notifier, noted = stopped
    assert notifier.call_after_pending(lambda: noted.append("after"))
    pool.timer.fire()
    assert noted == ["hook", "after"] and not notifier.is_calling


def test_call_after_hooks_that_no_thread_can_make_is_refused(pool, stopped):
    notifier, noted = stopped
    pool.timer.can_start = False
    assert not notifier.call_after_pending(lambda: noted.append("after"))
    pool.timer.can_start = True
    notifier.call_after_pending(lambda: noted.append("later"))
    pool.timer.fire()
    assert noted == ["hook", "later"]
