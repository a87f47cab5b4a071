"""What the errors of queues say."""
import io
from threading import Event
from time import sleep

import pytest

from atasker_like import (AsyncQueue, Checkpoint, CheckpointError, ExecutionError, InvalidTypeError,
                          MemoryBackend, ProcessQueue, SyncResult, TaskCancelledError,
                          TaskPendingError, TaskSupervisor, ThreadQueue, WaitTimeoutError, amap,
                          check_cancelled, pmap, run, tmap)
from tests.support import PATIENCE
from tests.unit import functions

WAY = "its ThreadQueue has not been started; call its run() or start()"


def add(x, y=0):
    return x + y


def anything(x, **kwargs):
    return x


@pytest.fixture
def queue(supervisor):
    made = ThreadQueue(supervisor=supervisor)
    yield made
    made.cancel()


@pytest.mark.parametrize("read", ["value", "result", "exception"])
def test_result_before_the_run_names_run_and_start(queue, read):
    handle = queue.submit(abs, -1)
    with pytest.raises(TaskPendingError) as raised:
        getattr(handle, read)()
    assert str(raised.value) == (f"task abs ({handle.task.short_id}) is pending, so it has no "
                                 f"result yet; {WAY}")


def test_result_of_an_async_queue_before_the_run_names_run_and_start(supervisor):
    async def main():
        queue = AsyncQueue(supervisor=supervisor)
        try:
            queue.submit(run_never).value()
        finally:
            queue.cancel()

    async def run_never():
        raise AssertionError

    with pytest.raises(Exception, match=r"no result yet; its AsyncQueue has not been started; "
                                        r"call its run\(\) or start\(\)"):
        run(main())


def test_result_of_a_delayed_task_of_a_started_queue_names_wait(queue):
    queue.start()
    handle = queue.submit(abs, -1, delay=60)
    with pytest.raises(TaskPendingError, match=r"so it has no result yet; use wait\(\)"):
        handle.value()


def test_timeout_of_a_wait_before_the_run_names_run_and_start(queue):
    handle = queue.submit(abs, -1)
    with pytest.raises(WaitTimeoutError) as raised:
        handle.wait(0)
    assert str(raised.value) == (f"task abs ({handle.task.short_id}) is pending after 0 s of "
                                 f"waiting; {WAY}")


def test_stop_of_a_supervisor_names_the_first_task_of_a_queue_that_never_ran(caplog):
    supervisor = TaskSupervisor("of the test")
    handles = ThreadQueue(supervisor=supervisor).map(abs, [1, 2])
    supervisor.stop()
    assert caplog.messages == [
        "supervisor of the test stopped: 2 delayed or paused task(s) cancelled; the first is abs "
        f"({handles[0].task.short_id}), and {WAY}"]


NOT_AN_OPTION = "has no option 'y', but add has a parameter of that name: pass "\
                "functools.partial(add, y=...) instead of add"


@pytest.mark.parametrize("submit, where", [
    (lambda queue: queue.submit(add, 1, y=2), "a ThreadQueue's task"),
    (lambda queue: queue.map(add, [1], y=2), "a ThreadQueue's task"),
    (lambda queue: tmap(add, [1], y=2), "tmap"),
    (lambda queue: pmap(add, [1], y=2), "pmap"),
    (lambda queue: run(amap(add, [1], y=2)), "amap"),
])
def test_keyword_of_the_function_is_refused_with_partial(queue, submit, where):
    with pytest.raises(InvalidTypeError) as raised:
        submit(queue)
    assert str(raised.value) == f"{where} {NOT_AN_OPTION}"


def test_typing_error_in_an_option_is_answered_with_the_nearest_one(queue):
    with pytest.raises(InvalidTypeError) as raised:
        queue.submit(anything, 1, retris=2)
    assert str(raised.value) == ("a ThreadQueue's task has no option 'retris'; did you mean "
                                 "'retries'?")
    with pytest.raises(InvalidTypeError) as raised:
        tmap(abs, [1], worker=2)
    assert str(raised.value) == "tmap has no option 'worker'; did you mean 'workers'?"


def test_mode_of_a_map_is_refused_with_the_way_out():
    with pytest.raises(InvalidTypeError) as raised:
        tmap(abs, [1], mode="infinite")
    assert str(raised.value) == ("tmap ends with the last item, so it takes no mode=; make a "
                                 "queue, and call its run()")


def test_checkpoint_that_is_a_path_is_refused_with_the_way_out(queue):
    with pytest.raises(InvalidTypeError) as raised:
        queue.map(abs, [1], checkpoint="run.db")
    assert str(raised.value) == ("checkpoint takes a Checkpoint, not a str; open the file with "
                                 "Checkpoint(path)")


def test_checkpoint_in_a_missing_folder_asks_for_the_folder(tmp_path):
    path = str(tmp_path / "missing" / "run.db")
    with pytest.raises(CheckpointError) as raised:
        Checkpoint(path)
    assert str(raised.value) == (
        f"checkpoint {path} cannot be made: No such file or directory; is there such a folder, and "
        "may this user write there?")


def test_items_that_are_no_iterable_are_refused(queue):
    with pytest.raises(InvalidTypeError) as raised:
        queue.map(abs, 3)
    assert str(raised.value) == "map takes an iterable of items, not an int"


def total(pair):
    return sum(pair)


@pytest.mark.parametrize("kind", [ThreadQueue, pytest.param(ProcessQueue, marks=pytest.mark.slow)])
def test_tuple_for_a_function_of_one_argument_is_answered_with_the_wrapped_tuple(kind):
    queue = kind()
    queue.map(total, [(1, 2)])
    summary = queue.run()
    assert summary.errors[0].message == (
        "TypeError: total() takes 1 positional argument but 2 were given; map() passes a tuple as "
        "positional arguments: wrap it, as in ((1, 2),)")
    with pytest.raises(ExecutionError, match="map\\(\\) passes a tuple as positional arguments"):
        summary.raise_for_errors()


def calls_total(first, second):
    return total(first, second)


def test_call_error_inside_of_the_function_is_given_no_advice(queue):
    queue.map(calls_total, [(1, 2)])
    assert queue.run().errors[0].message == (
        "TypeError: total() takes 1 positional argument but 2 were given")


# -- runs whose timeout passes, or which a failure ends --------------------------------------------


def test_errors_of_a_run_whose_timeout_passed_name_the_timeout(queue):
    queue.map(functions.double, [1, 2], delay=PATIENCE)
    summary = queue.run(timeout=0)
    with pytest.raises(ExecutionError, match=(
            r"^2 tasks: 2 cancelled; the timeout was over after \d+\.\d\d s: raise it, .*; "
            r"the first, double \(t-\d+\), item 0: cancelled\. ")):
        summary.raise_for_errors(include_cancelled=True)
    text = io.StringIO()
    summary.display(text)
    assert "2 cancelled: the run timed out\n" in text.getvalue()


def test_errors_of_a_run_that_was_in_time_do_not_name_a_timeout(queue):
    queue.submit(functions.double, 1, delay=PATIENCE).cancel()
    summary = queue.run()
    with pytest.raises(ExecutionError) as raised:
        summary.raise_for_errors(include_cancelled=True)
    text = io.StringIO()
    summary.display(text)
    assert "time" not in str(raised.value) and "timed out" not in text.getvalue()


def test_first_error_of_a_run_is_a_failure_before_a_cancelled_task(supervisor):
    queue = ThreadQueue(workers=1, fail_policy="fail_first", supervisor=supervisor)
    queue.submit(functions.double, 1, priority=9)
    queue.submit(total, 3, priority=1)
    with pytest.raises(ExecutionError, match=(
            r"1 failed, 1 cancelled; the first, total \(t-\d+\): TypeError")) as raised:
        queue.run().raise_for_errors(include_cancelled=True)
    assert isinstance(raised.value.__cause__, TypeError)
    assert [result.status for result in raised.value.results] == ["cancelled", "failed"]


def wait_for_cancel():
    while True:
        check_cancelled()
        sleep(0.001)


def time_out(queue):
    queue.submit(wait_for_cancel)
    late = queue.submit(abs, -1)
    queue.run(timeout=0.05)
    return late, "at the timeout of the run of its queue"


def fail_first(queue):
    failing = queue.submit(int, "x")
    late = queue.submit(abs, -1)
    queue.run(fail_policy="fail_first")
    return late, f"as int ({failing.task.short_id}) failed first"


def cancel(queue):
    late = queue.submit(abs, -1)
    queue.cancel()
    return late, "by cancel() of its queue"


def reset(queue):
    late = queue.submit(abs, -1)
    queue.reset()
    return late, "by reset() of its queue"


def shut_down(queue):
    late = queue.submit(abs, -1)
    queue.shutdown(force=True)
    return late, "as its queue was shut down by force"


def stop(queue):
    late = queue.submit(abs, -1)
    queue.supervisor.stop()
    return late, "as its supervisor stopped"


def cancel_before_the_stop(queue):
    """The task runs, and is only asked to end, so that the stop cancels it again."""
    began, gate = Event(), Event()
    late = queue.start().submit(lambda: began.set() or gate.wait(PATIENCE), name="abs")
    assert began.wait(PATIENCE) and late.cancel()
    queue.supervisor.stop(wait=0.01)
    gate.set()
    return late, ""


@pytest.mark.parametrize("end", [time_out, fail_first, cancel, reset, shut_down, stop,
                                 cancel_before_the_stop])
def test_error_of_a_cancelled_task_names_the_cause(supervisor, end):
    queue = ThreadQueue(workers=1, supervisor=supervisor)
    late, cause = end(queue)
    for read in late.value, late.task.value:
        with pytest.raises(TaskCancelledError) as raised:
            read()
        assert str(raised.value) == (f"task abs ({late.task.short_id}) was cancelled"
                                     f"{' ' if cause else ''}{cause}, so it has no result")


def test_stored_error_of_a_cancelled_task_names_the_cause(supervisor):
    supervisor.set_result_backend(MemoryBackend())
    queue = ThreadQueue(workers=1, supervisor=supervisor)
    late = queue.submit(abs, -1)
    queue.cancel()
    with pytest.raises(TaskCancelledError, match=r"was cancelled by cancel\(\) of its queue$"):
        SyncResult(late.task.id, supervisor.result_backend).get(PATIENCE)
