"""What becomes of a task, and who is told: the same in every pool."""
import asyncio
import gc
import logging
import threading
import time
from pathlib import Path

import pytest

from atasker_like import (TASK_STATUS_CANCELED, TASK_STATUS_COMPLETED, TASK_STATUS_DELAYED,
                          TASK_STATUS_QUEUED, TASK_STATUS_STARTED, TaskCancelledError,
                          WaitTimeoutError, pools, wait_completed)

from . import functions as f
from .conftest import CANNOT


def test_value_of_a_function_is_that_of_its_task(kind):
    task = kind.bind(f.add)(1, b=2)
    assert task.value(10) == 3
    assert task.result == 3
    assert task.exception() is None
    assert task.wait(0).value == 3


def test_task_whose_function_returns_none_has_succeeded(kind):
    task = kind.bind(f.nothing)(1, two=2)
    assert task.value(10) is None
    assert task.state == "succeeded"


def test_exception_of_a_function_is_that_of_its_task(kind):
    task = kind.bind(f.fail)("broken")
    with pytest.raises(ValueError, match="broken") as caught:
        task.value(10)
    assert task.exception() is caught.value
    assert task.result is None
    assert (task.status, task.state) == (200, "failed")


def test_every_look_at_an_exception_raises_it_again_with_the_same_traceback(kind):
    task = kind.bind(f.fail)()
    lengths = set()
    for _ in range(3):
        with pytest.raises(ValueError) as caught:
            task.value(10)
        lengths.add(len(caught.traceback))
    assert len(lengths) == 1


def test_the_traceback_begins_in_the_function_not_in_the_pool(inside):
    task = inside.bind(f.fail)()
    trace = task.exception(10).__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    assert trace.tb_frame.f_code.co_name == "fail"
    outermost = task.exception().__traceback__.tb_frame.f_code.co_filename
    assert not outermost.startswith(pools.__path__[0])


def test_system_exit_ends_the_task_and_nothing_else(kind):
    leaving = kind.bind(f.fail_with)(SystemExit(3))
    assert type(leaving.exception(10)) is SystemExit
    assert leaving.exception().code == 3
    assert kind.bind(f.add)(1).value(10) == 1


def test_keyboard_interrupt_in_a_task_ends_the_task_and_nothing_else(placed):
    task = placed.bind(f.fail_with)(KeyboardInterrupt("pressed"))
    assert type(task.exception(10)) is KeyboardInterrupt
    assert placed.bind(f.add)(1).value(10) == 1


def test_status_walks_from_queued_over_started_to_completed(kind, make_gate):
    first, second = make_gate(), make_gate()
    kind.occupy(first)
    task = kind.bind(f.enter)(second)
    assert task.status == TASK_STATUS_QUEUED == 0
    assert (task.state, task.started.is_set(), task.completed.is_set()) == ("pending", False, False)
    first.open()
    second.wait_entered()
    assert task.started.wait(10)
    assert task.status == TASK_STATUS_STARTED == 100
    assert (task.state, task.is_started(), task.is_completed()) == ("running", True, False)
    second.open()
    assert task.completed.wait(10)
    assert task.status == TASK_STATUS_COMPLETED == 200
    assert (task.state, task.is_started(), task.is_completed()) == ("succeeded", True, True)


def test_status_of_a_delayed_task_is_2_and_of_a_cancelled_one_minus_1(kind):
    task = kind.bind(f.nothing, delay=60)()
    assert task.status == TASK_STATUS_DELAYED == 2
    assert task.state == "pending"
    assert task.cancel()
    assert task.status == TASK_STATUS_CANCELED == -1
    assert (task.state, task.cancelled(), task.done()) == ("cancelled", True, True)


def test_started_can_be_waited_for(kind, make_gate):
    first, second = make_gate(), make_gate()
    kind.occupy(first)
    task = kind.bind(f.enter)(second)
    assert not task.started.wait(0)
    assert not task.started.wait(0.01)
    first.open()
    assert task.started.wait(10)
    assert not task.completed.is_set()


def test_get_task_finds_it_while_it_lives_and_not_after(kind, gate):
    task = kind.bind(f.enter)(gate)
    assert kind.supervisor.get_task(task.id) is task
    assert kind.supervisor.get_tasks(kind.tt) == {task.id: task}
    gate.open()
    task.wait(10)
    assert kind.supervisor.get_task(task.id) is None
    assert kind.supervisor.get_tasks() == {}


def test_a_task_that_has_ended_holds_no_arguments(kind):
    task = kind.bind(f.add)(1, b=2)
    task.wait(10)
    assert (task.args, task.kwargs, task.target) == ((), {}, None)


def test_a_live_task_shows_its_call(kind, gate):
    function = kind.form(f.enter)
    task = kind.supervisor.put_task(function, (gate,), {"value": 5}, tt=kind.tt, priority=50)
    assert (task.target, task.args, task.kwargs) == (function, (gate,), {"value": 5})
    assert ((task.tt, task.priority, task.delay, task.callback, task.worker)
            == (kind.tt, 50, None, None, None))
    assert task.task is task
    gate.wait_entered()     # or the gate may be gone when the task comes to it


def test_times_are_epoch_seconds_in_order(kind, clock):
    before = time.time()
    task = kind.bind(f.nothing, delay=1)()
    assert (task.time_started, task.time_completed) == (None, None)
    clock.forward(1)
    task.wait(10)
    after = time.time()
    # The readings of two clocks are compared: they may differ by a little.
    assert before - 0.1 <= task.time_queued <= task.time_completed + 0.1
    assert task.time_started <= task.time_completed + 0.1 <= after + 0.2


def test_task_result_has_the_options_and_the_outcome(kind):
    task = kind.bind(f.add, name="sum", priority=50, group_id="g", must_complete=True,
                     detached=True,
                     metadata={"a": 1})(1, 2)
    result = task.wait(10)
    assert result.task_id == task.id
    assert ((result.name, result.status, result.value, result.exception)
            == ("sum", "succeeded", 3, None))
    assert ((result.attempts, result.priority, result.group_id, result.metadata)
            == (1, 50, "g", {"a": 1}))
    assert ((result.must_complete, result.detached, result.scheduled_for, result.message)
            == (True, True, None, ""))
    assert result.created_at <= result.started_at <= result.finished_at
    assert result.duration == result.finished_at - result.started_at
    assert result.ok
    assert result.unwrap() == 3


def test_task_result_of_a_failure(kind):
    result = kind.bind(f.fail)("broken").wait(10)
    assert (result.status, result.value, result.ok) == ("failed", None, False)
    assert type(result.exception) is ValueError
    assert result.message == "ValueError: broken"
    with pytest.raises(ValueError, match="broken"):
        result.unwrap()


def test_task_result_of_a_task_that_never_ran(kind):
    task = kind.bind(f.nothing, delay=60)()
    task.cancel()
    result = task.wait(10)
    assert ((result.status, result.attempts, result.started_at, result.duration)
            == ("cancelled", 0, None, 0.0))
    assert result.scheduled_for >= result.created_at + 60
    with pytest.raises(TaskCancelledError):
        result.unwrap()


@pytest.mark.parametrize("timeout", [0, 0.01])
@pytest.mark.parametrize("method", ["value", "exception", "wait"])
def test_waiting_in_vain_raises_and_the_task_goes_on(supervisor, gate, method, timeout):
    task = supervisor.put_task(f.enter, (gate, 5))
    with pytest.raises(WaitTimeoutError, match="it goes on"):
        getattr(task, method)(timeout)
    gate.open()
    assert task.value(10) == 5


@pytest.mark.parametrize("method", ["value", "exception"])
def test_a_cancelled_task_has_no_value(kind, method):
    task = kind.bind(f.nothing, delay=60)()
    task.cancel()
    with pytest.raises(TaskCancelledError, match="nothing"):
        getattr(task, method)()


def test_a_timeout_must_be_a_number(supervisor, gate):
    task = supervisor.put_task(f.enter, (gate,))
    with pytest.raises(TypeError, match="timeout"):
        task.value("soon")


# -- declared completed ----------------------------------------------------------------------------


def test_mark_completed_before_it_starts(kind, gate, trace):
    kind.occupy(gate)
    task = kind.bind(f.record)(trace.path, "ran")
    assert task.mark_completed()
    assert (task.status, task.result, task.state) == (200, None, "succeeded")
    assert not task.mark_completed()
    gate.open()
    kind.bind(f.nothing)().wait(10)
    assert trace.lines == []


def test_mark_completed_of_a_running_task(kind, gate):
    task = kind.bind(f.enter)(gate, 5)
    gate.wait_entered()
    assert task.mark_completed()
    assert task.value(0) is None
    assert kind.supervisor.get_task(task.id) is None
    gate.open()
    assert kind.bind(f.add)(1).value(10) == 1
    assert task.value(0) is None        # what it returned later has no effect


def test_mark_completed_of_a_delayed_task(kind, trace):
    task = kind.bind(f.record, delay=60)(trace.path, "ran")
    assert task.mark_completed()
    assert task.value(0) is None


def test_a_task_may_declare_itself_completed(supervisor, gate):
    def body():
        supervisor.mark_task_completed(task_id=f.current_task().id)
        gate.enter()
        return "late"

    task = supervisor.put_task(body)
    assert task.value(10) is None


def test_an_error_after_mark_completed_is_no_unseen_failure(kind, gate, unseen):
    task = kind.bind(f.enter_and_fail)(gate)
    gate.wait_entered()
    task.mark_completed()
    gate.open()
    kind.bind(f.nothing)().wait(10)
    kind.supervisor.stop(wait=10)
    del task
    assert unseen() == []


# -- failures that nobody looked at ----------------------------------------------------------------


def test_an_unseen_failure_is_logged(kind, caplog):
    task = kind.bind(f.fail, name="careless")("unnoticed")
    assert task.completed.wait(10)
    short_id = task.short_id
    kind.supervisor.stop(wait=10)
    del task
    gc.collect()
    [record] = [record for record in caplog.records if "nobody looked" in record.getMessage()]
    assert record.levelno == logging.ERROR
    assert record.name == "atasker_like"
    assert "careless" in record.getMessage() and short_id in record.getMessage()
    assert "unnoticed" in caplog.text and "Traceback" in caplog.text


def _ask_strictly(task):
    with pytest.raises(Exception):
        wait_completed([task], strict=True)


def _ask_value(task):
    with pytest.raises(ValueError):
        task.value()


def _ask_in_a_loop(task):
    async def ask():
        with pytest.raises(ValueError):
            await task

    asyncio.run(ask())


@pytest.mark.parametrize("look", [
    _ask_value, lambda task: task.exception(), lambda task: task.wait(), _ask_strictly,
    _ask_in_a_loop,
    lambda task: task.add_done_callback(lambda task: task.exception()),
], ids=["value", "exception", "wait", "strict", "await", "callback"])
def test_a_seen_failure_is_not_logged(supervisor, unseen, look):
    task = supervisor.put_task(f.fail)
    task.completed.wait(10)
    look(task)
    supervisor.stop(wait=10)
    del task
    assert unseen() == []


@pytest.mark.parametrize("glance", [
    lambda task: task.result, lambda task: task.state, lambda task: task.done(),
    lambda task: wait_completed([task]),
    lambda task: task.completed.wait(),
], ids=["result", "state", "done", "wait_completed", "completed"])
def test_a_glance_that_shows_no_error_is_no_look(supervisor, caplog, glance):
    task = supervisor.put_task(f.fail)
    task.completed.wait(10)
    glance(task)
    supervisor.stop(wait=10)
    del task
    gc.collect()
    assert "nobody looked" in caplog.text


# -- many who wait ---------------------------------------------------------------------------------


def test_many_threads_wait_for_one_task(kind, gate):
    task = kind.bind(f.enter)(gate, "for all")
    values = []
    threads = [threading.Thread(target=lambda: values.append(task.value(20))) for _ in range(8)]
    for thread in threads:
        thread.start()
    gate.wait_entered()
    gate.open()
    for thread in threads:
        thread.join(20)
    assert values == ["for all"] * 8


def test_many_coroutines_of_several_loops_await_one_task(kind, gate):
    task = kind.bind(f.enter)(gate, "for all")
    waiting = threading.Semaphore(0)
    values = []

    async def wait():
        waiting.release()
        return await task

    async def wait_often():
        return await asyncio.gather(*[wait() for _ in range(20)])

    threads = [threading.Thread(target=lambda: values.extend(asyncio.run(wait_often())))
               for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(60):
        assert waiting.acquire(timeout=10)
    gate.open()
    for thread in threads:
        thread.join(20)
    assert values == ["for all"] * 60


def test_await_raises_what_the_task_raised(kind):
    async def wait():
        await kind.bind(f.fail)("broken")

    with pytest.raises(ValueError, match="broken"):
        asyncio.run(wait())


def test_await_of_a_task_that_has_ended(kind):
    task = kind.bind(f.add)(1, 2)
    task.wait(10)

    async def wait():
        return await task

    assert asyncio.run(wait()) == 3


def test_cancelling_a_waiting_coroutine_does_not_cancel_the_task(kind, gate):
    task = kind.bind(f.enter)(gate, 5)

    async def wait():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(_wait_for(task), 0.01)
        assert not task.cancelled()
        gate.open()
        return await task

    assert asyncio.run(wait()) == 5


async def _wait_for(task):
    return await task


def test_a_loop_that_was_closed_meanwhile_is_no_error(kind, gate, caplog):
    task = kind.bind(f.enter)(gate, 5)
    loop = asyncio.new_event_loop()
    waiting = loop.create_task(_wait_for(task))
    loop.run_until_complete(asyncio.wait([waiting], timeout=0))
    loop.close()
    gate.open()
    assert task.value(10) == 5
    assert [record for record in caplog.records if record.name == "atasker_like"] == []
    waiting._log_destroy_pending = False


def test_what_executors_cannot_keep_names_tests_that_exist():
    folder = Path(__file__).parent
    text = "".join(path.read_text(encoding="utf-8") for path in folder.glob("test_*.py"))
    assert {name for name in CANNOT if f"def {name}(" not in text} == set()
