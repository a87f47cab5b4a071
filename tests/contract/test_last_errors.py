"""Errors that no result holds are in the log."""
import pytest

from atasker_like import TaskCancelledError, background_task
from tests.support import PATIENCE
from tests.support.gates import Hold
from tests.support.threads import wait_for


def failing():
    raise ValueError("of the test")


async def co_failing():
    raise ValueError("of the test")


@pytest.fixture(params=["threads", "coroutines"])
def delayed(request, supervisor):
    """A task that waits for its second attempt."""
    target = failing if request.param == "threads" else co_failing
    task = background_task(target, supervisor=supervisor, retries=3, retry_delay=1000)()
    wait_for(lambda: task.state == "retrying", "the task waits for its second attempt")
    return task


def lines(caplog, task):
    return [message for message in caplog.messages if message ==
            f"task {task.name} ({task.short_id}) was cancelled, and is not tried again after an "
            "attempt that raised ValueError: of the test"]


def test_cancel_before_the_next_attempt_logs_the_last_error(delayed, caplog):
    assert delayed.cancel()
    assert len(lines(caplog, delayed)) == 1
    with pytest.raises(TaskCancelledError):
        delayed.value(PATIENCE)


def test_stop_before_the_next_attempt_logs_the_last_error_and_names_the_task(supervisor, delayed,
                                                                             caplog):
    assert supervisor.stop(wait=PATIENCE).cancelled == 1
    assert len(lines(caplog, delayed)) == 1
    assert (f"supervisor {supervisor.id} stopped: 1 delayed or paused task(s) cancelled; the first "
            f"is {delayed.name} ({delayed.short_id})") in caplog.messages


def test_cancel_of_a_task_that_never_failed_logs_nothing(supervisor, caplog):
    task = background_task(failing, supervisor=supervisor, delay=1000, retries=3)()
    assert task.cancel()
    assert caplog.messages == []


def test_error_after_mark_task_completed_is_logged(supervisor, caplog):
    hold = Hold()

    def completed_early():
        hold()
        raise ValueError("of the test")

    task = supervisor.put_task(completed_early)
    hold.reached()
    supervisor.mark_task_completed(task=task)
    hold.go()
    # The function goes on after the end of its task, and a stop waits for tasks only.
    wait_for(lambda: caplog.messages, "the log of the error")
    assert caplog.messages == [f"task {task.name} ({task.short_id}) raised ValueError: of the test "
                               "after it had ended"]
