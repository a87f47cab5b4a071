import threading

import pytest

from atasker_like import TaskCancelledError, background_task, current_task

from . import functions as f


def test_a_queued_task_that_is_cancelled_never_runs(kind, gate, trace):
    kind.occupy(gate)
    tasks = [kind.bind(f.record)(trace.path, word) for word in "abc"]
    assert tasks[1].cancel()
    assert tasks[1].state == "cancelled"
    gate.open()
    assert [task.wait(10).status for task in tasks] == ["succeeded", "cancelled", "succeeded"]
    assert trace.lines == ["a", "c"]
    assert tasks[1].attempts == 0


def test_a_delayed_task_that_is_cancelled_never_runs(kind, trace, clock):
    cancelled = kind.bind(f.record, delay=2)(trace.path, "cancelled")
    cancelled.cancel()
    later = kind.bind(f.record, delay=3)(trace.path, "later")
    clock.forward(3)
    later.wait(10)
    assert trace.lines == ["later"]
    assert kind.supervisor.stats().cancelled == 1


def test_only_a_task_that_has_ended_cannot_be_cancelled(kind):
    task = kind.bind(f.nothing)()
    task.wait(10)
    assert not task.cancel()
    assert task.state == "succeeded"


def test_a_task_is_cancelled_once(kind):
    task = kind.bind(f.nothing, delay=60)()
    assert task.cancel()
    assert not task.cancel()


def test_a_running_task_is_cancelled(kind, gate):
    task = kind.bind(f.enter_and_check)(gate)
    gate.wait_entered()
    assert task.cancel()
    gate.open()
    assert task.wait(20).status == "cancelled"
    assert kind.bind(f.add)(1).value(20) == 1


def test_a_thread_that_does_not_ask_finishes(supervisor, gate):
    task = supervisor.put_task(f.enter, (gate, 5))
    gate.wait_entered()
    assert task.cancel()
    gate.open()
    assert task.value(10) == 5


def test_a_cancelled_coroutine_may_clean_up(supervisor, gate):
    cleaned = threading.Event()

    async def body():
        try:
            await gate.co_enter()
        finally:
            cleaned.set()

    task = background_task(body, supervisor=supervisor)()
    gate.wait_entered()
    task.cancel()
    assert task.wait(10).status == "cancelled"
    assert cleaned.wait(10)


def test_check_cancelled_passes_without_a_cancellation(kind, gate):
    gate.open()
    assert kind.bind(f.enter_and_check)(gate).value(10) == "nobody cancelled"


def test_a_cancelled_error_without_a_cancellation_is_a_failure(supervisor):
    task = supervisor.put_task(f.fail_with, (TaskCancelledError("made up"),))
    assert task.wait(10).status == "failed"


def test_a_task_may_cancel_another_one(supervisor, gate, trace):
    supervisor.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0)

    def body(other):
        gate.enter()
        return other[0].cancel()

    other = []
    task = supervisor.put_task(body, (other,))
    gate.wait_entered()
    other.append(supervisor.put_task(f.record, (trace.path, "other")))
    gate.open()
    assert task.value(10) is True
    assert other[0].state == "cancelled"
    assert trace.lines == []


def test_a_cancelled_task_gets_no_more_attempts(supervisor, gate):
    attempts = []

    @background_task(retries=5, supervisor=supervisor)
    def body():
        attempts.append(1)
        gate.enter()
        raise ValueError

    task = body()
    gate.wait_entered()
    task.cancel()
    gate.open()
    task.wait(10)
    assert len(attempts) == 1


def test_cancel_waiting_cancels_what_has_not_started(kind, gate):
    running = kind.occupy(gate)
    waiting = [kind.bind(f.nothing)(), kind.bind(f.nothing, delay=60)()]
    assert kind.supervisor.cancel_waiting() == 2
    assert [task.state for task in waiting] == ["cancelled"] * 2
    gate.open()
    assert running.wait(10).status == "succeeded"


def test_current_task_is_none_outside():
    assert current_task() is None


@pytest.mark.parametrize("number", [1, 300])
def test_many_queued_tasks_are_cancelled(placed, gate, trace, number):
    placed.occupy(gate)
    tasks = [placed.bind(f.record)(trace.path, "x") for _ in range(number)]
    assert all(task.cancel() for task in tasks)
    gate.open()
    assert placed.bind(f.add)(1).value(10) == 1
    assert trace.lines == []
    assert placed.supervisor.stats().waiting == 0
