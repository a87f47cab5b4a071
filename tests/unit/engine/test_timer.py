"""The timer with a clock of the test's own: no test waits for time to pass."""
import threading
import time

import pytest

from atasker_like.engine.timer import SLACK, Timer
from tests.support.internals.engine import heap_of, incoming_of, sleeps_until, timer_thread_of
from tests.support.threads import wait_for


class Clock:
    """Stands still until it is moved."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def timer(clock):
    timer = Timer("test timer", clock=clock)
    timer.start()
    yield timer
    timer.stop()


def settle(timer, clock):
    """Return when the timer has made all calls that are due."""
    done = threading.Event()
    # The thread does not see that the clock was moved: something earlier than all else wakes it.
    timer.call_at(float("-inf"), lambda: timer.call_at(clock.now, done.set))
    assert done.wait(10)


def test_a_call_is_made_when_it_is_due_and_not_before(timer, clock):
    made = []
    timer.call_later(5, made.append, "a")
    settle(timer, clock)
    assert made == []
    clock.now += 4.999
    settle(timer, clock)
    assert made == []
    clock.now += 0.001
    settle(timer, clock)
    assert made == ["a"]
    clock.now += 100
    settle(timer, clock)
    assert made == ["a"]


def test_calls_are_made_in_the_order_of_their_deadlines_and_ties_by_arrival(timer, clock):
    made = []
    for seconds, word in ((3, "c"), (1, "a"), (2, "b1"), (2, "b2"), (2, "b3")):
        timer.call_later(seconds, made.append, word)
    clock.now += 10
    settle(timer, clock)
    assert made == ["a", "b1", "b2", "b3", "c"]


def test_a_call_with_several_arguments(timer, clock):
    made = []
    timer.call_at(clock.now, lambda *arguments: made.append(arguments), 1, 2, 3)
    settle(timer, clock)
    assert made == [(1, 2, 3)]


def test_a_cancelled_call_is_not_made(timer, clock):
    made = []
    entry = timer.call_later(1, made.append, "cancelled")
    timer.call_later(1, made.append, "kept")
    timer.cancel(entry)
    timer.cancel(entry)
    timer.cancel(None)
    clock.now += 2
    settle(timer, clock)
    assert made == ["kept"]


def test_cancelling_what_was_made_changes_nothing(timer, clock):
    made = []
    entry = timer.call_later(0, made.append, "a")
    settle(timer, clock)
    timer.cancel(entry)
    timer.call_later(0, made.append, "b")
    settle(timer, clock)
    assert made == ["a", "b"]


def test_cancelled_calls_do_not_fill_the_memory(timer, clock):
    kept = timer.call_later(50, print)
    for _ in range(5000):
        timer.cancel(timer.call_later(100, print))
    deadline = time.monotonic() + 10
    # the thread sweeps: nothing has to be due for that
    while len(heap_of(timer)) + len(incoming_of(timer)) >= 500:
        assert time.monotonic() < deadline
        threading.Event().wait(0.001)
    assert kept.call is print


def test_a_cancelled_call_holds_nothing(timer):
    entry = timer.call_later(100, print, object())
    timer.cancel(entry)
    assert (entry.call, entry.arguments) == (None, ())


def test_a_call_that_raises_is_logged_and_the_next_is_made(timer, clock, caplog):
    def broken():
        raise KeyError("in the timer")

    made = []
    timer.call_at(clock.now, broken)
    timer.call_at(clock.now, made.append, "next")
    settle(timer, clock)
    assert made == ["next"]
    assert "in the timer" in caplog.text


def test_a_call_may_ask_for_another_one(timer, clock):
    made = []

    def again(left):
        made.append(left)
        if left:
            timer.call_at(clock.now, again, left - 1)

    timer.call_at(clock.now, again, 3)
    for _ in range(4):
        settle(timer, clock)
    assert made == [3, 2, 1, 0]


def test_an_earlier_call_wakes_the_sleeping_thread():
    """With the real clock: the thread sleeps towards a deadline that is far away."""
    timer = Timer()
    timer.start()
    timer.call_later(3600, print)
    for _ in range(20):
        done = threading.Event()
        timer.call_later(0, done.set)
        assert done.wait(10)
    timer.stop()


@pytest.mark.parametrize("second, until", [
    (5 + SLACK / 2, 5 + SLACK),
    (5 + 2 * SLACK, 5),
], ids=["within the slack", "later"])
def test_calls_that_are_due_within_the_slack_share_a_wake_up(timer, clock, second, until):
    for seconds in (5, second, 100):
        timer.call_later(seconds, int)
    wait_for(lambda: sleeps_until(timer) == pytest.approx(clock.now + until, abs=SLACK / 8),
             "the sleep")
    clock.now += until
    settle(timer, clock)
    following = 1000 + (100 if second < until else second)
    wait_for(lambda: sleeps_until(timer) == pytest.approx(following, abs=SLACK / 8),
             "the next sleep")


def test_a_deadline_beyond_all_clocks_is_no_error(timer, clock):
    timer.call_later(10.0 ** 12, print)
    settle(timer, clock)


def test_no_thread_before_start_and_one_after(clock):
    before = threading.active_count()
    timer = Timer(clock=clock)
    assert threading.active_count() == before
    timer.start()
    timer.start()
    assert threading.active_count() == before + 1
    timer.stop()
    assert threading.active_count() == before


def test_stop_drops_what_is_not_due(clock):
    made = []
    timer = Timer(clock=clock)
    timer.start()
    timer.call_later(1, made.append, "never")
    timer.stop()
    clock.now += 10
    timer.start()
    settle(timer, clock)
    timer.stop()
    timer.stop()
    assert made == []


def test_stop_from_the_timers_own_thread(clock):
    timer = Timer(clock=clock)
    timer.start()
    thread = timer_thread_of(timer)
    timer.call_later(0, timer.stop)
    thread.join(10)
    assert not thread.is_alive()


def test_many_threads_ask_at_once(timer, clock):
    made = []
    barrier = threading.Barrier(4)

    def ask():
        barrier.wait(10)
        for number in range(100):
            timer.cancel(timer.call_later(5, made.append, "cancelled"))
            timer.call_later(number % 3, made.append, number)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    clock.now += 10
    settle(timer, clock)
    assert len(made) == 4 * 100
    assert "cancelled" not in made
