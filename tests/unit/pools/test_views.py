"""The iterators of imap() that several threads share, and calls that cross the end of a view."""
import time

import pytest

from tests.support import PATIENCE
from tests.support.gates import Hold
from tests.support.internals.engine import END
from tests.support.internals.pool import (IMAP_RESULTS, VIEWED_POOL, futures_of,
                                          submission_waiters_of)
from tests.support.threads import join, started, wait_for


class Call:
    """A task, as far as the iterator must know it. It has ended when somebody waited for it."""

    def __init__(self, number):
        self._number = number
        self._has_ended = False
        self.while_waiting = None

    def done(self):
        return self._has_ended

    def _end(self, deadline):
        meanwhile, self.while_waiting = self.while_waiting, None
        if meanwhile is not None:
            meanwhile()
        self._has_ended = True
        return True

    def value(self, timeout):
        assert self._has_ended, "nobody has waited for it"
        return self._number


def test_threads_that_share_an_imap_wait_for_a_result_each():
    calls = [Call(number) for number in range(2)]
    results = IMAP_RESULTS(lambda arguments: calls[:len(arguments)], range(2), in_order=True)
    others = []
    calls[0].while_waiting = lambda: others.append(join(started(results.next)))
    assert results.next() == 0 and others == [1]
    with pytest.raises(StopIteration):
        results.next()


def test_result_that_is_late_comes_before_those_that_follow_it():
    calls = [Call(number) for number in range(2)]
    late = END.of(calls[0])
    END.put(calls[0], lambda deadline: False)
    results = IMAP_RESULTS(lambda arguments: calls[:len(arguments)], range(2), in_order=True)
    with pytest.raises(TimeoutError, match="next result of mp_pool"):
        results.next(0)
    END.put(calls[0], late)
    assert list(results) == [0, 1]


class Late:
    """A pool that holds the first submission up, just before it accepts the task."""

    def __init__(self, pool):
        self._pool = pool
        self._first = Hold()
        self.reached, self.go = self._first.reached, self._first.go

    def __getattr__(self, name):
        method = getattr(self._pool, name)
        if name not in ("submit", "start", "start_many"):
            return method

        def late(*arguments):
            self._first()
            return method(*arguments)

        return late


def waits(thread, view):
    """Wait until a thread waits for the submissions of a view, or has ended."""
    wait_for(lambda: not thread.is_alive() or submission_waiters_of(view), "the thread waits")


def test_shutdown_cancels_a_call_that_is_being_submitted(supervisor):
    supervisor.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0)
    view, running = supervisor.thread_pool, Hold()
    supervisor.put_task(running)
    running.reached()
    late = Late(VIEWED_POOL.of(view))
    VIEWED_POOL.put(view, late)
    submitter = started(view.submit, abs, -1)
    late.reached()
    view.shutdown(wait=False, cancel_futures=True)
    late.go()
    assert join(submitter).cancelled() and not futures_of(view)
    running.go()


def test_shutdown_waits_for_a_call_that_is_being_submitted(supervisor):
    view, running, ended = supervisor.thread_pool, Hold(), []
    late = Late(VIEWED_POOL.of(view))
    VIEWED_POOL.put(view, late)
    submitter = started(view.submit, lambda: (running(), ended.append("call")))
    late.reached()
    stopper = started(lambda: (view.shutdown(), ended.append("shutdown")))
    waits(stopper, view)
    late.go()
    join(submitter)
    running.reached()
    running.go()
    join(stopper)
    assert ended == ["call", "shutdown"]


def test_submission_that_fails_ends_the_wait_of_a_shutdown(supervisor):
    view = supervisor.thread_pool
    late = Late(VIEWED_POOL.of(view))
    VIEWED_POOL.put(view, late)
    submitter = started(view.submit, abs, -1)
    late.reached()
    stopper = started(view.shutdown)
    waits(stopper, view)
    supervisor.stop()
    late.go()
    assert isinstance(join(submitter), RuntimeError)
    join(stopper)


@pytest.mark.parametrize("submit", [
    lambda pool: pool.apply_async(time.sleep, (1000,)),
    lambda pool: pool.map_async(time.sleep, [1000, 1000]),
    lambda pool: pool.imap(time.sleep, [1000, 1000])])
def test_terminate_cancels_calls_that_are_being_submitted(supervisor, submit):
    supervisor.create_mp_pool(processes=1)
    pool = supervisor.mp_pool
    late = Late(VIEWED_POOL.of(pool))
    VIEWED_POOL.put(pool, late)
    submitter = started(submit, pool)
    late.reached()
    pool.terminate()
    late.go()
    join(submitter)
    pool.join()
    assert supervisor.get_tasks() == {}
    assert supervisor.stats().process.cancelled > 0


def test_join_waits_for_the_callback_of_a_call_that_is_being_submitted(supervisor):
    supervisor.create_mp_pool(processes=1)
    pool, ended = supervisor.mp_pool, []
    late = Late(VIEWED_POOL.of(pool))
    VIEWED_POOL.put(pool, late)
    submitter = started(lambda: pool.apply_async(abs, (-1,), callback=ended.append))
    late.reached()
    pool.close()
    joiner = started(lambda: (pool.join(), ended.append("join")))
    waits(joiner, pool)
    late.go()
    join(joiner)
    assert ended == [1, "join"] and join(submitter).get(PATIENCE) == 1
