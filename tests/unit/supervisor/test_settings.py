"""Settings of pools that two threads change at the same time."""
from concurrent.futures import ThreadPoolExecutor
from threading import RLock

import pytest

from atasker_like.pools import views
from tests.support.gates import Hold
from tests.support.internals import parts
from tests.support.threads import join, started, wait_for

from ...support.internals import manager


class Contested:
    """A lock that knows whether a thread has had to wait for it."""

    def __init__(self):
        self._lock = RLock()
        self.is_awaited = False

    def __enter__(self):
        if not self._lock.acquire(False):
            self.is_awaited = True
            self._lock.acquire()

    def __exit__(self, *error):
        self._lock.release()


@pytest.mark.parametrize("kind", ["thread", "mp", "executor"])
def test_settings_that_two_threads_change_are_all_kept(supervisor, kind):
    supervisor.set_mp_pool(pool_size=1)
    if kind == "executor":
        supervisor.mp_pool = ThreadPoolExecutor(1)
    part = manager(supervisor)
    pool = part.threads if kind == "thread" else part.processes
    part.settings_lock = lock = Contested()
    plain, hold = pool.backpressure.limit, Hold()

    def limit(*limits):
        pool.backpressure.limit = plain
        hold()
        plain(*limits)

    pool.backpressure.limit = limit
    change = supervisor.set_thread_pool if kind == "thread" else supervisor.set_mp_pool
    first = started(lambda: change(pool_size=3, reserve_high=0, max_queued=7))
    hold.reached()
    second = started(lambda: change(reserve_normal=2, on_full="raise"))
    wait_for(lambda: lock.is_awaited or not second.is_alive(), "the second change has come")
    hold.go()
    join(first), join(second)
    sizes = (part.thread_sizes if kind == "thread"
             else parts(supervisor).processes.sizes)
    assert (sizes["pool_size"], sizes["reserve_normal"], sizes["reserve_high"]) == (3, 2, 0)
    assert pool.run_queue.slots == 5
    assert (pool.backpressure.max_queued, pool.backpressure.on_full) == (7, "raise")


@pytest.mark.parametrize("name", ["thread_pool", "mp_pool"])
def test_threads_that_ask_for_a_pool_first_get_the_same_one(supervisor, monkeypatch, name):
    supervisor.set_mp_pool(pool_size=1)
    view = views.ThreadPoolView if name == "thread_pool" else views.ProcessPoolView
    make, hold = view.__init__, Hold()
    manager(supervisor).settings_lock = lock = Contested()

    def make_late(self, *arguments):
        monkeypatch.undo()
        hold()
        make(self, *arguments)

    monkeypatch.setattr(view, "__init__", make_late)
    first = started(getattr, supervisor, name)
    hold.reached()
    second = started(getattr, supervisor, name)
    wait_for(lambda: lock.is_awaited or not second.is_alive(), "the second thread has asked")
    hold.go()
    assert join(first) is join(second)
