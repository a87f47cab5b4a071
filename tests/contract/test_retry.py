"""Another attempt, asked for by the function of a task: in threads, coroutines, processes and
executors."""
import asyncio
import gc
import threading
import weakref

import pytest

from atasker_like import (TASK_LOW, SupervisorStoppedError, TaskCancelledError, TaskRetryError,
                          TaskTimeoutError, background_task, check_cancelled, current_task,
                          report_progress)
from tests.support.threads import wait_for

from . import functions as f


@pytest.mark.parametrize("retries, last, seen", [(0, 1, (1, 0, True)), (2, 1, (1, 2, False)),
                                                 (2, 2, (2, 1, False)), (2, 3, (3, 0, True))])
def test_function_sees_its_attempt_and_those_that_may_follow(kind, retries, last, seen):
    task = kind.bind(f.retry_until, retries=retries)(last, 0)
    assert (task.value(20), task.attempts) == (seen, last)
    assert (task.remaining_retries, task.is_last_retry) == seen[1:]


def test_task_with_named_options_sees_its_attempts(kind):
    task = kind.bind(f.retry_until, retries=1, name="again")(2, 0)
    assert task.value(20) == (2, 0, True)


def test_retry_without_countdown_pauses_as_the_policy_says(kind):
    result = kind.bind(f.retry_until, retries=2, retry_delay=0.02,
                       backoff="exponential")(3).wait(20)
    assert result.value == (3, 0, True)
    assert result.started_at - result.created_at >= 0.06


def test_retry_with_countdown_pauses_for_it(kind):
    task = kind.bind(f.retry_for_ever, retries=2, retry_delay=0)(1000)
    while task.state != "retrying":
        kind.bind(f.nothing)().wait(20)
    assert (task.status, task.attempts, task.remaining_retries) == (2, 1, 2)
    assert task.cancel() and task.wait(20).status == "cancelled"


def test_retry_with_countdown_0_starts_at_once_in_spite_of_the_policy(kind):
    assert kind.bind(f.retry_until, retries=1, retry_delay=1000)(2, 0).value(20) == (2, 0, True)


def test_retry_asks_whatever_the_lists_of_errors_say(kind):
    task = kind.bind(f.retry_with, retries=2, retry_on=OSError, ignore_on=KeyError)(KeyError("k"))
    assert (type(task.exception(20)), task.attempts) == (KeyError, 3)


def test_last_attempt_fails_with_the_error_that_was_given(kind):
    task = kind.bind(f.retry_with, retries=1)(ValueError("given"))
    with pytest.raises(ValueError, match="^given$"):
        task.value(20)
    assert task.attempts == 2


def test_last_attempt_fails_with_the_error_that_is_handled(kind):
    task = kind.bind(f.retry_what_is_handled, retries=1)()
    with pytest.raises(KeyError, match="missing"):
        task.value(20)
    assert task.attempts == 2


def test_last_attempt_without_an_error_fails_with_advice(kind):
    task = kind.bind(f.retry_for_ever, retries=1, name="again")()
    with pytest.raises(TaskRetryError,
                       match=r"task again \(.*\) asked for another attempt and has none left "
                             r"\(retries=1\); give it more retries, or retry\(\) "
                             r"an error"):
        task.value(20)


def test_retry_without_retries_raises_in_the_function(kind):
    task = kind.bind(f.retry_with)(ValueError("given"))
    assert (str(task.exception(20)), task.attempts) == ("given", 1)


def test_retry_is_not_caught_as_an_exception(kind):
    assert kind.bind(f.retry_past_a_broad_handler, retries=1)().value(20) == 2


def test_retry_asked_twice_keeps_the_first_error(kind):
    task = kind.bind(f.retry_twice, retries=1)()
    assert (type(task.exception(20)), task.attempts) == (KeyError, 2)


def test_error_that_cannot_be_pickled_is_retried_and_reported(kind):
    task = kind.bind(f.retry_unsendable, retries=1)()
    assert "unsendable" in str(task.exception(20))
    assert task.attempts == 2


@pytest.mark.parametrize("argument, message", [
    ({"countdown": -1}, "InvalidArgumentError: countdown takes seconds from 0 on, not -1"),
    ({"countdown": float("nan")},
     "InvalidArgumentError: countdown takes seconds from 0 on, not nan"),
    ({"countdown": "1"}, "InvalidTypeError: countdown takes seconds or a timedelta, not str"),
    ({"exc": "broken"},
     "InvalidTypeError: exc takes an exception, not 'broken'; retry() raises it if no attempt is "
     "left"),
    ({"exc": ValueError},
     "InvalidTypeError: exc takes an exception, not <class 'ValueError'>; retry() raises"),
])
def test_retry_with_a_wrong_argument_is_refused(kind, argument, message):
    assert kind.bind(f.retry_after, retries=1)(argument).value(20).startswith(message)


def test_retries_are_counted_and_unseen_errors_are_not_logged(kind, unseen):
    assert kind.bind(f.retry_until, retries=2)(3, 0).value(20) == (3, 0, True)
    stats = kind.supervisor.stats()
    assert (stats.succeeded, stats.failed) == (1, 0)
    assert sum(pool.retried for pool in (stats.thread, stats.process, stats.coroutine)
               if pool is not None) == 2
    assert unseen() == []


# -- where there is no attempt to ask for ----------------------------------------------------------


def test_retry_from_outside_is_refused(kind, gate):
    task = kind.bind(f.enter, retries=1)(gate)
    gate.wait_entered()
    with pytest.raises(TaskRetryError, match=r"outside of task \w+ \("):
        task.retry()
    gate.open()
    task.value(20)
    with pytest.raises(TaskRetryError, match=r"outside of task \w+ \("):
        task.retry()


def test_retry_of_another_task_is_refused(inside):
    f.kept.clear()
    function = inside.bind(f.retry_first, retries=1)
    function().value(20)
    with pytest.raises(TaskRetryError, match="outside of task"):
        function().value(20)
    f.kept.clear()


def test_retry_in_a_pool_process_of_a_task_that_has_ended_is_refused(process):
    function = process.bind(f.retry_first, retries=1)
    function().value(20)
    with pytest.raises(TaskRetryError, match="has ended already"):
        function().value(20)


def test_retry_after_cancel_makes_the_task_cancelled(inside, gate):
    def body():
        gate.enter()
        current_task().retry()

    async def co_body():
        gate.arrive()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            current_task().retry()

    task = background_task(body if inside.name == "threads" else co_body,
                           supervisor=inside.supervisor, retries=1)()
    gate.wait_entered()
    assert task.cancel()
    gate.open()
    with pytest.raises(TaskCancelledError):
        task.value(20)


def test_retry_after_the_timeout_raises_in_the_thread(supervisor, gate, clock):
    seen = []

    @background_task(supervisor=supervisor, timeout=60, retries=5, retry_on=KeyError)
    def body():
        gate.enter()
        try:
            current_task().retry()
        except BaseException as error:
            seen.append(type(error))
            gate.arrive()

    task = body()
    gate.wait_entered()         # else the timeout may come before the function has begun
    clock.forward(61)
    assert type(task.exception(20)) is TaskTimeoutError
    gate.open()
    gate.wait_entered()
    assert seen == [TaskTimeoutError] and task.attempts == 1


def test_retry_in_a_task_that_is_marked_completed_is_refused(supervisor):
    seen = []

    @background_task(supervisor=supervisor, retries=1)
    def body():
        task = current_task()
        task.mark_completed()
        try:
            task.retry()
        except TaskRetryError as error:
            seen.append(str(error))
            ended.set()

    ended = threading.Event()
    body().wait(20)
    assert ended.wait(20)
    assert "is succeeded already" in seen[0]


@pytest.mark.parametrize("error", [None, ValueError("given")])
def test_retry_while_the_supervisor_stops_ends_the_task(make_supervisor, error):
    supervisor = make_supervisor()
    begun, stopping = threading.Event(), threading.Event()

    @background_task(supervisor=supervisor, retries=1)
    def body():
        begun.set()
        assert stopping.wait(20)
        current_task().retry(exc=error)

    task = body()
    assert begun.wait(20)
    thread = threading.Thread(target=supervisor.stop)
    thread.start()
    try:
        while True:
            try:
                background_task(f.nothing, supervisor=supervisor, priority=TASK_LOW)()
            except SupervisorStoppedError:
                break
    finally:
        stopping.set()
        thread.join(20)
    if error is None:
        with pytest.raises(TaskRetryError, match="asked for another attempt, without an error"):
            task.value(0)
    else:
        assert task.exception(0) is error


# -- what is left behind ---------------------------------------------------------------------------


class Argument:
    pass


@pytest.mark.parametrize("retries", [0, 1])
def test_no_reference_cycle_keeps_the_argument_of_a_retried_task(supervisor, retries):
    @background_task(supervisor=supervisor, retries=retries)
    def body(argument):
        try:
            raise LookupError("missing")
        except LookupError:
            current_task().retry(0)

    gc.collect()
    gc.disable()
    try:
        argument = Argument()
        alive = weakref.ref(argument)
        task = body(argument)
        del argument
        assert type(task.exception(20)) is LookupError
        del task
        # The thread that ran it lets go of it after the end of the task. On a free-threaded build
        # it frees what this thread has let go, too, when it runs again.
        wait_for(lambda: background_task(f.nothing, supervisor=supervisor)().wait(20)
                 and alive() is None, "the end of the last reference")
    finally:
        gc.enable()


# -- functions of the module -----------------------------------------------------------------------


def test_functions_of_the_module_do_nothing_outside_of_a_task():
    assert check_cancelled() is None
    assert report_progress(1, 2, "half") is None


def test_report_progress_reports_for_the_current_task(kind, gate):
    gate.open()
    task = kind.bind(f.report_by_module)()
    task.value(20)
    assert task.progress == (1, 2, "half")


@pytest.mark.parametrize("numbers", [(1, 2), (0.5, 2), (2 ** 60, None)], ids=str)
def test_report_progress_keeps_ints_and_floats(kind, numbers):
    task = kind.bind(f.report_numbers)(*numbers)
    task.value(20)
    assert repr(task.progress[:2]) == repr(numbers)


def test_check_cancelled_asks_for_the_current_task(supervisor, gate):
    @background_task(supervisor=supervisor)
    def body():
        gate.enter()
        check_cancelled()

    task = body()
    gate.wait_entered()
    task.cancel()
    gate.open()
    assert task.wait(20).status == "cancelled"
