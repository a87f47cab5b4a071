"""Delays, points in time, timeouts and retries. Lower bounds are asserted, never upper ones."""
import time

import pytest

from atasker_like import TaskTimeoutError, background_task

from . import functions as f


def test_delay_passes_before_the_start(kind):
    result = kind.bind(f.add, delay=0.05)(1).wait(10)
    assert result.value == 1
    assert result.started_at - result.created_at >= 0.05
    assert result.scheduled_for >= result.created_at + 0.05


def test_a_delayed_task_occupies_no_slot(placed, gate):
    delayed = placed.bind(f.nothing, delay=60)()
    assert placed.bind(f.add)(1).value(10) == 1
    assert delayed.status == 2
    assert placed.supervisor.stats().waiting == 0
    delayed.cancel()


def test_task_with_run_at_starts_at_that_time(kind, clock):
    # no process starts while the clock is put forward
    assert kind.bind(f.add)(1).value(10) == 1
    due = time.time() + 1e6
    task = kind.bind(f.add, run_at=due)(1)
    clock.forward(9e5)
    assert task.status == 2
    clock.forward(2e5)
    assert task.value(10) == 1


def test_run_at_in_the_past_is_now(kind):
    assert kind.bind(f.add, run_at=1.0)(1).value(10) == 1


def test_delayed_tasks_come_in_the_order_in_which_they_are_due(supervisor, clock):
    supervisor.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0)
    order = []
    tasks = [background_task(order.append, delay=delay, supervisor=supervisor)(delay)
             for delay in (3, 1, 2)]
    clock.forward(10)
    for task in tasks:
        task.wait(10)
    assert order == [1, 2, 3]


# -- timeouts --------------------------------------------------------------------------------------


def test_task_that_exceeds_its_timeout_fails(kind, gate):
    task = kind.bind(f.enter, timeout=0.05, name="endless")(gate)
    error = task.exception(20)
    assert type(error) is TaskTimeoutError
    assert "endless" in str(error) and task.short_id in str(error) and "0.05" in str(error)
    assert task.state == "failed"
    assert kind.bind(f.add)(1).value(20) == 1     # its place is another one's


def test_a_task_that_is_quick_enough_does_not_time_out(kind):
    assert kind.bind(f.add, timeout=60)(1).value(10) == 1


def test_the_time_in_the_queue_does_not_count(kind, make_gate, clock):
    first, second = make_gate(), make_gate()
    kind.occupy(first)
    task = kind.bind(f.enter, timeout=10)(second, 5)
    second.open()
    clock.forward(20)
    first.open()
    assert task.value(10) == 5


def test_a_timed_out_thread_is_abandoned_and_counted(supervisor, gate, clock):
    supervisor.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0)
    task = background_task(f.enter, timeout=60, supervisor=supervisor)(gate)
    gate.wait_entered()         # a thread whose function has not begun is free at once
    clock.forward(61)
    assert type(task.exception(10)) is TaskTimeoutError
    assert supervisor.stats().thread.abandoned == supervisor.stats().abandoned == 1
    assert supervisor.put_task(f.add, (1,)).value(10) == 1      # its place was filled


def test_an_abandoned_thread_does_not_hold_the_stop(supervisor, gate):
    task = background_task(f.enter, timeout=0.05, supervisor=supervisor)(gate)
    assert type(task.exception(10)) is TaskTimeoutError
    supervisor.stop()
    assert not supervisor.is_active
    gate.open()


def test_the_body_of_a_timed_out_thread_learns_of_it(supervisor, gate, clock):
    told = []

    @background_task(timeout=60, supervisor=supervisor)
    def body():
        gate.enter()
        try:
            f.current_task().check_cancelled()
        except TaskTimeoutError as error:
            told.append(str(error))
        finally:
            gate.arrive()

    task = body()
    gate.wait_entered()
    clock.forward(61)
    assert type(task.exception(10)) is TaskTimeoutError
    gate.open()
    gate.wait_entered()
    assert told == [str(task.exception())]


def test_a_timeout_is_retried_when_asked(kind, gate):
    task = kind.bind(f.enter, timeout=0.05, retries=1)(gate)
    assert type(task.exception(20)) is TaskTimeoutError
    assert task.attempts == 2


# -- retries ---------------------------------------------------------------------------------------


def test_retries_until_it_succeeds(kind):
    task = kind.bind(f.succeed_at, retries=3)(3)
    assert task.value(10) == 3
    assert task.attempts == 3
    assert kind.supervisor.stats().succeeded == 1


def test_task_without_retries_left_fails_with_the_last_error(kind):
    task = kind.bind(f.succeed_at, retries=2)(9)
    with pytest.raises(ValueError, match="attempt 3"):
        task.value(10)
    assert task.attempts == 3
    assert task.wait().attempts == 3


@pytest.mark.parametrize("options, attempts", [
    ({}, 3),
    ({"retry_on": KeyError}, 1),
    ({"retry_on": (KeyError, ValueError)}, 3),
    ({"retry_on": Exception, "ignore_on": ValueError}, 1),
    ({"ignore_on": (KeyError,)}, 3),
])
def test_which_errors_are_retried(inside, options, attempts):
    task = inside.bind(f.succeed_at, retries=2, **options)(9)
    assert type(task.exception(10)) is ValueError
    assert task.attempts == attempts


def test_errors_of_processes_are_retried_by_their_type(process):
    task = process.bind(f.succeed_at, retries=2, retry_on=ValueError)(9, KeyError)
    assert type(task.exception(10)) is KeyError
    assert task.attempts == 1


def test_system_exit_is_not_retried(kind):
    task = kind.bind(f.fail_with, retries=2)(SystemExit(1))
    assert type(task.exception(10)) is SystemExit
    assert task.attempts == 1


def test_backoff_doubles_the_pauses(kind):
    task = kind.bind(f.succeed_at, retries=2, retry_delay=0.02, backoff="exponential")(3)
    result = task.wait(10)
    assert result.value == 3
    assert result.started_at - result.created_at >= 0.02 + 0.04


def test_a_task_that_waits_for_its_next_attempt_is_retrying(kind, gate):
    gate.open()
    task = kind.bind(f.enter_and_fail, retries=1, retry_delay=60)(gate)
    gate.wait_entered()
    kind.bind(f.nothing)().wait(10)     # behind it in the one place
    deadline = time.monotonic() + 10
    while task.status != 2 and time.monotonic() < deadline:
        kind.bind(f.nothing)().wait(10)
    assert (task.status, task.state, task.attempts) == (2, "retrying", 1)
    assert kind.supervisor.get_task(task.id) is task
    assert task.cancel()
    assert task.wait().status == "cancelled"


def test_a_waiting_retry_occupies_no_slot(placed):
    task = placed.bind(f.fail, retries=1, retry_delay=60)()
    assert placed.bind(f.add)(1).value(10) == 1
    task.cancel()


def test_only_the_last_failure_counts(kind, unseen):
    task = kind.bind(f.succeed_at, retries=2)(2)
    assert task.value(10) == 2
    stats = kind.supervisor.stats()
    assert (stats.succeeded, stats.failed) == (1, 0)
    assert unseen() == []
    assert {"thread": stats.thread, "process": stats.process, "coroutine": stats.coroutine}[
        {1: "thread", 2: "process", 0: "coroutine"}[kind.tt]].retried == 1
