"""The transitions of a task, without a pool: which are allowed, and what hears of them."""
import threading

import pytest

from atasker_like.constants import TT_THREAD
from atasker_like.engine.lifecycle import Lifecycle, failure_of
from atasker_like.engine.spec import TaskSpec
from atasker_like.engine.task import CANCELED, COMPLETED, DELAYED, QUEUED, STARTED, Task
from atasker_like.errors import TaskCancelledError
from atasker_like.options import TaskOptions
from tests.support.internals.engine import (advance, make_extra_fields, number_of, outcome_of,
                                            queued_at, spec_of)


class Timer:
    def __init__(self):
        self.entries = []

    def clock(self):
        return 1000.0

    def call_later(self, seconds, call, *arguments):
        self.entries.append((call, arguments))
        return self.entries[-1]

    def call_at(self, deadline, call, *arguments):
        return self.call_later(0, call, *arguments)

    def cancel(self, entry):
        self.entries.remove(entry)


class Hooks:
    started, retried, ended = "started", "retried", "ended"


class Pool:
    """A pool that notes the calls of the lifecycle of its tasks."""

    tt = TT_THREAD
    has_observers = False

    def __init__(self):
        self.timer = Timer()
        self.accepting = True
        self.lock = threading.RLock()
        self.notifier = self.backpressure = self
        self.heard = []
        self.lifecycle = Lifecycle(self)
        self.lifecycle.record_with(self)

    def add(self, call, *arguments):
        self.heard.append(call)

    def add_late_start(self, task, seconds):
        self.heard.append(("late", seconds))

    def on_started(self, task):
        self.heard.append("recorded")

    def on_finished(self, task):
        self.heard.append("recorded end")

    def arm_timeout(self, task):
        self.lifecycle.timeouts.arm(task, spec_of(task).timeout)

    def task_id(self, task):
        return self.lifecycle.registry.task_id(number_of(task))

    def refuse_during_import(self):
        pass

    def _delay_elapsed(self, task):
        self.lifecycle.due(task)

    def make(self, state=QUEUED, **options):
        spec = TaskSpec(self, len, TaskOptions(**options), hooks=Hooks())
        task = Task(spec, ((),), None, None)
        self.lifecycle.registry.add(task)
        if state == DELAYED:
            self.lifecycle.delay(task, 60)
        elif state != QUEUED:
            self.lifecycle.start(task, queued_at(task))
        if state in (COMPLETED, CANCELED):
            self.lifecycle.finish(task, state, queued_at(task), None)
        self.heard.clear()
        return task


@pytest.fixture
def pool():
    return Pool()


EVENTS = {
    "delay": lambda lifecycle, task: lifecycle.delay(task, 60),
    "due": lambda lifecycle, task: lifecycle.due(task),
    "start": lambda lifecycle, task: lifecycle.start(task, queued_at(task)),
    "revoke": lambda lifecycle, task: lifecycle.revoke(task),
    "retry": lambda lifecycle, task: lifecycle.retry(task, 0, ValueError()),
    "retry later": lambda lifecycle, task: lifecycle.retry(task, 60, ValueError()),
    "complete": lambda lifecycle, task: lifecycle.finish(task, COMPLETED, queued_at(task), 1),
    "cancel": lambda lifecycle, task: lifecycle.finish(task, CANCELED, queued_at(task)),
}
NEXT = {
    ("delay", QUEUED): DELAYED, ("delay", STARTED): DELAYED, ("due", DELAYED): QUEUED,
    ("start", QUEUED): STARTED, ("revoke", STARTED): QUEUED, ("retry", STARTED): QUEUED,
    ("retry later", STARTED): DELAYED,
    **{("complete", state): COMPLETED for state in (QUEUED, DELAYED, STARTED)},
    **{("cancel", state): CANCELED for state in (QUEUED, DELAYED, STARTED)},
}


@pytest.mark.parametrize("state", [QUEUED, DELAYED, STARTED])
@pytest.mark.parametrize("event", EVENTS)
def test_event_leads_to_the_allowed_state_or_is_refused(pool, event, state):
    task = pool.make(state)
    following = NEXT.get((event, state))
    if following is not None:
        EVENTS[event](pool.lifecycle, task)
        assert task.status == following
    elif event in ("due", "revoke"):            # these ask for the state first
        EVENTS[event](pool.lifecycle, task)
        assert task.status == state
    else:
        with pytest.raises(AssertionError):
            EVENTS[event](pool.lifecycle, task)


@pytest.mark.parametrize("state", [COMPLETED, CANCELED])
@pytest.mark.parametrize("event", ["due", "start", "revoke", "complete", "cancel"])
def test_final_state_stays(pool, event, state):
    task = pool.make(state)
    outcome = outcome_of(task)
    EVENTS[event](pool.lifecycle, task)
    assert (task.status, outcome_of(task)) == (state, outcome)
    assert not pool.lifecycle.registry.live


def test_each_listener_hears_each_event_once(pool):
    task = pool.make()
    lifecycle = pool.lifecycle
    lifecycle.start(task, queued_at(task))
    assert pool.heard == ["recorded", "started"]
    lifecycle.retry(task, 0, ValueError())
    assert pool.heard[2:] == ["retried", "recorded"]
    lifecycle.start(task, queued_at(task))
    lifecycle.finish(task, COMPLETED, queued_at(task), 1)
    assert pool.heard[4:] == ["recorded", "started", "recorded end", "ended"]
    assert lifecycle.finish(task, CANCELED, queued_at(task)) is None
    assert len(pool.heard) == 8
    assert (lifecycle.registry.retried, lifecycle.registry.succeeded) == (1, 1)


def test_attempts_count_the_runs_that_began(pool):
    task, lifecycle = pool.make(), pool.lifecycle
    make_extra_fields(task)
    lifecycle.start(task, queued_at(task))
    assert lifecycle.revoke(task) and task.attempts == 0
    lifecycle.start(task, queued_at(task))
    lifecycle.retry(task, 0, ValueError())
    lifecycle.start(task, queued_at(task))
    assert task.attempts == 2


def test_task_that_never_had_extra_fields_counts_its_attempt_when_it_is_delayed(pool):
    task = pool.make(STARTED)
    pool.lifecycle.retry(task, 60, ValueError())
    assert (task.attempts, task.state) == (1, "retrying")


@pytest.mark.parametrize("event", ["revoke", "retry", "complete", "cancel"])
def test_timeout_belongs_to_one_attempt(pool, event):
    task = pool.make(STARTED, timeout=5)
    assert pool.lifecycle.timeouts.deadline_of(task) == 1005.0
    EVENTS[event](pool.lifecycle, task)
    assert pool.lifecycle.timeouts.deadline_of(task) is None


@pytest.mark.parametrize("event", ["complete", "cancel"])
def test_end_cancels_the_delay(pool, event):
    task = pool.make(DELAYED)
    EVENTS[event](pool.lifecycle, task)
    assert pool.timer.entries == []


def test_start_is_late_after_the_limit(pool):
    pool.lifecycle.late_after = 2.0
    pool.lifecycle.start(pool.make(), 0.0)
    assert "recorded" in pool.heard and not [one for one in pool.heard if "late" in one]
    task = pool.make()
    pool.lifecycle.start(task, queued_at(task) + 3.0)
    assert pool.heard[1][0] == "late" and pool.heard[1][1] == pytest.approx(3.0)


# -- settle_attempt(): how an attempt ends ---------------------------------------------------------


def settle(pool, task, error=None, pause=None, cancelled=False):
    outcome = 7 if error is None else failure_of(task, error)
    with pool.lock:
        waiters, ready = pool.lifecycle.settle_attempt(task, outcome, pause, cancelled)
    return waiters, ready, outcome


def test_value_ends_the_task(pool):
    task = pool.make(STARTED)
    waiters, ready, _ = settle(pool, task)
    assert (waiters, ready, task.state, outcome_of(task)) == ([], False, "succeeded", 7)


def test_error_without_retries_ends_the_task(pool):
    task = pool.make(STARTED)
    waiters, ready, failure = settle(pool, task, ValueError())
    assert (waiters, ready, task.state) == ([], False, "failed")
    assert outcome_of(task) is failure and not failure.seen
    failure.seen = True


@pytest.mark.parametrize("pause, ready, state", [(0, True, QUEUED), (60, False, DELAYED)])
def test_error_with_a_pause_gives_another_attempt(pool, pause, ready, state):
    task = pool.make(STARTED)
    waiters, may_start, failure = settle(pool, task, ValueError(), pause)
    assert (waiters, may_start, task.status, failure.seen) == (None, ready, state, True)


def test_pool_that_accepts_nothing_gives_no_other_attempt(pool):
    task = pool.make(STARTED)
    pool.accepting = False
    waiters, ready, failure = settle(pool, task, ValueError(), 0)
    assert (waiters, ready, task.state) == ([], False, "failed")
    failure.seen = True


def test_request_to_cancel_gives_no_other_attempt(pool):
    task = pool.make(STARTED)
    make_extra_fields(task).cancel_requested = True
    _, ready, failure = settle(pool, task, ValueError(), 0)
    assert (ready, task.state) == (False, "failed")
    failure.seen = True


def test_cancellation_makes_the_task_cancelled_and_its_error_seen(pool):
    task = pool.make(STARTED)
    waiters, ready, failure = settle(pool, task, TaskCancelledError("asked"), None, True)
    assert (waiters, ready, task.state, failure.seen) == ([], False, "cancelled", True)


def test_outcome_of_a_task_that_has_ended_is_dropped(pool):
    task = pool.make(CANCELED)
    waiters, ready, failure = settle(pool, task, ValueError())
    assert (waiters, ready, task.state, failure.seen) == (None, False, "cancelled", True)


def test_a_final_task_loses_its_context_before_its_arguments():
    # A thread without the lock reads them in the other order, and runs nothing without a context.
    seen = []

    class Watched(Task):
        @property
        def _context(self):
            return None

        @_context.setter
        def _context(self, value):
            if getattr(self, "status", QUEUED) == STARTED:
                seen.append((self.args, self.kwargs))

    task = Watched(TaskSpec(None, print, TaskOptions(name="task")), (1,), {"end": ""}, None)
    assert advance(task, STARTED, 1.0) and advance(task, COMPLETED, 2.0)
    assert seen == [((1,), {"end": ""})] and task.args == ()
