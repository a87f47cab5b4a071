"""The timeouts of a pool: one timer entry for all attempts that have the same timeout."""
import threading

from atasker_like.engine.timeouts import Timeouts
from tests.support.internals.engine import EXPIRED


class Clock:
    """A timer whose calls are made by the test."""

    def __init__(self):
        self.now = 100.0
        self.calls = []

    def clock(self):
        return self.now

    def call_at(self, deadline, call, *arguments):
        self.calls.append((deadline, call, arguments))

    def forward(self, seconds):
        self.now += seconds
        due = [entry for entry in self.calls if entry[0] <= self.now]
        self.calls = [entry for entry in self.calls if entry[0] > self.now]
        for _, call, arguments in due:
            call(*arguments)


class TaskOwner:
    """A pool that notes which attempts have expired, if they have."""

    def __init__(self):
        self.lock = threading.RLock()
        self.timer = Clock()
        self.timeouts = Timeouts(self.timer, self)
        self.expired = []

    def _expired(self, task, deadline):
        with self.lock:
            if self.timeouts.take(task, task.seconds, deadline):
                self.expired.append(task.name)


class Attempt:
    def __init__(self, name, seconds):
        self.name = name
        self.seconds = self.timeout = seconds

    @property
    def _spec(self):
        return self


def armed(owner, *attempts):
    for attempt in attempts:
        owner.timeouts.arm(attempt, attempt.seconds)
    return attempts


def test_attempts_expire_in_the_order_in_which_they_start():
    owner = TaskOwner()
    armed(owner, Attempt("a", 5))
    owner.timer.forward(1)
    armed(owner, Attempt("b", 5), Attempt("short", 2))
    owner.timer.forward(2)
    assert owner.expired == ["short"]
    owner.timer.forward(2)
    assert owner.expired == ["short", "a"]
    owner.timer.forward(1)
    assert owner.expired == ["short", "a", "b"]


def test_attempts_with_one_timeout_share_a_timer_entry():
    owner = TaskOwner()
    armed(owner, *[Attempt(str(number), 5) for number in range(100)])
    assert len(owner.timer.calls) == 1


def test_attempt_that_is_cleared_does_not_expire_and_is_not_kept():
    owner = TaskOwner()
    first, second = armed(owner, Attempt("a", 5), Attempt("b", 5))
    owner.timeouts.clear(first, 5)
    assert owner.timeouts.deadline_of(first) is None and owner.timeouts.deadline_of(second) == 105.0
    owner.timer.forward(5)
    assert owner.expired == ["b"]


def test_timer_entry_is_made_again_after_all_attempts_have_ended():
    owner = TaskOwner()
    first, = armed(owner, Attempt("a", 5))
    owner.timeouts.clear(first, 5)
    owner.timer.forward(10)
    assert owner.timer.calls == [] and owner.expired == []
    armed(owner, Attempt("b", 5))
    owner.timer.forward(5)
    assert owner.expired == ["b"]


def test_timer_entry_is_made_again_after_the_last_attempt_has_expired():
    owner = TaskOwner()
    armed(owner, Attempt("a", 5))
    owner.timer.forward(5)
    armed(owner, Attempt("b", 5))
    owner.timer.forward(5)
    assert owner.expired == ["a", "b"]


def test_timeout_of_an_attempt_does_not_end_the_next_attempt_of_the_task():
    owner = TaskOwner()
    task, = armed(owner, Attempt("a", 5))
    deadline = owner.timeouts.deadline_of(task)
    owner.timeouts.clear(task, 5)
    owner.timer.now += 1
    armed(owner, task)
    assert not owner.timeouts.take(task, 5, deadline)
    owner.timer.forward(4)
    assert owner.expired == []
    owner.timer.forward(1)
    assert owner.expired == ["a"]


def test_attempts_that_start_while_timeouts_expire_are_not_forgotten():
    owner = TaskOwner()
    take = EXPIRED.of(owner)

    def expired(task, deadline):
        take(task, deadline)
        if task.name == "a":
            armed(owner, Attempt("b", 5))

    EXPIRED.put(owner, expired)
    armed(owner, Attempt("a", 5))
    owner.timer.forward(5)
    owner.timer.forward(5)
    assert owner.expired == ["a", "b"]


def test_reset_forgets_all_attempts():
    owner = TaskOwner()
    task, = armed(owner, Attempt("a", 5))
    owner.timeouts.reset()
    assert owner.timeouts.deadline_of(task) is None
    owner.timer.calls.clear()
    armed(owner, Attempt("b", 5))
    owner.timer.forward(5)
    assert owner.expired == ["b"]
