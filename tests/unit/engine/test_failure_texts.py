"""What is said about the error of a task: advice, and the exit that it asks for."""
import re
import sys
import threading

import pytest

from atasker_like import TT_MP, ExecutionError, TaskPicklingError, background_task, wait_completed


def one(x=1):
    return x


def leave():
    sys.exit(3)


async def leave_from_a_loop():
    sys.exit(3)


def items():
    return (item for item in "abc")


def test_call_with_wrong_arguments_names_the_task_and_the_way_out(supervisor):
    task = supervisor.put_task(one, (1, 2))
    with pytest.raises(ExecutionError, match=(
            r"the first, one \(t-\d+\): TypeError: one\(\) takes from 0 to 1 positional arguments "
            r"but 2 were given; submit it with the arguments that its function takes\.")):
        wait_completed([task], strict=True)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="errors have no notes")
def test_error_of_a_call_with_wrong_arguments_has_a_note_about_the_task(supervisor):
    task = supervisor.put_task(one, (1, 2))
    assert task.exception().__notes__ == [
        f"task one ({task.short_id}) did not begin; submit it with the arguments that its function "
        "takes"]
    assert not hasattr(supervisor.put_task(abs, ("x",)).exception(), "__notes__")


def reciprocal(x):
    return 1 / x


async def co_reciprocal(x):
    return 1 / x


@pytest.mark.skipif(sys.version_info < (3, 11), reason="errors have no notes")
@pytest.mark.parametrize("calls, index", [
    pytest.param(lambda task: task.map([1, 2, 0, 3]), 2, id="map"),
    pytest.param(lambda task: task.map([1, 2, 0, 3], buffersize=1), 2, id="one ahead"),
    pytest.param(lambda task: task.map([1, 2, 0, 3], buffersize=3), 2, id="three ahead"),
    pytest.param(lambda task: task.map([1, 2, 0, 3], progress=note), 2, id="progress"),
    pytest.param(lambda task: task.map([1, 2, 0], buffersize=1, progress=note), 2, id="both"),
    pytest.param(lambda task: task.map([1] * 1100 + [0]), 1100, id="many"),
    pytest.param(lambda task: task.map([1] * 1100 + [0], buffersize=700), 1100, id="many ahead"),
    pytest.param(lambda task: task.map([1] * 1100 + [0], progress=note), 1100, id="many shown"),
    pytest.param(lambda task: task.starmap([(1,), (0,)]), 1, id="starmap")])
@pytest.mark.parametrize("function", [reciprocal, co_reciprocal])
def test_error_of_a_map_has_a_note_about_the_item(supervisor, function, calls, index):
    task = background_task(function, supervisor=supervisor)
    with pytest.raises(ZeroDivisionError) as raised:
        list(calls(task))
    [note] = raised.value.__notes__
    assert re.match(rf"item {index}: 0 of {function.__name__} \([ct]-\d+\)$", note)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="errors have no notes")
def test_error_has_its_note_for_a_waiter_that_comes_before_the_thread_has_added_it(supervisor):
    begun, go_on = threading.Event(), threading.Event()

    class Item:
        def __repr__(self):
            if not begun.is_set():      # in the thread that ends the task
                begun.set()
                go_on.wait(10)
            return "the item"

    def fail(item):
        raise ValueError

    results = background_task(fail, supervisor=supervisor).map([Item()])
    assert begun.wait(10)
    with pytest.raises(ValueError) as raised:
        list(results)
    go_on.set()
    [note] = raised.value.__notes__
    assert note.startswith("item 0: the item of ")


def note(done, total, failed):
    pass


def test_error_of_a_starmap_with_wrong_arguments_does_not_name_tuples(supervisor):
    supervisor.put_task(one, (1,)).value()
    with pytest.raises(TypeError) as raised:
        list(background_task(one, supervisor=supervisor).starmap([(1,), (1, 2)]))
    notes = getattr(raised.value, "__notes__", ())
    assert not any("tuple" in note for note in notes)
    if sys.version_info >= (3, 11):
        assert notes[0].startswith("item 1: (1, 2) of one (")
        assert notes[1].endswith("submit it with the arguments that its function takes")


EXIT = ("called sys.exit(3), and the code that reads its result gets that SystemExit. It ends the "
        "program unless it is caught; a task reports a failure with any other error")


@pytest.mark.parametrize("function", [leave, leave_from_a_loop])
def test_exit_of_a_task_is_logged_before_its_reader_gets_it(supervisor, caplog, function):
    task = background_task(function, supervisor=supervisor)()
    for _ in range(2):
        with pytest.raises(SystemExit):
            task.value()
    assert caplog.messages == [f"task {function.__name__} ({task.short_id}) {EXIT}"]


def test_exit_of_a_task_is_not_logged_if_the_reader_asks_for_the_error(supervisor, caplog):
    assert isinstance(supervisor.put_task(leave).exception(), SystemExit)
    assert not caplog.messages


@pytest.mark.slow
def test_result_that_cannot_be_pickled_names_the_task_and_the_way_out(supervisor):
    task = background_task(items, tt=TT_MP, supervisor=supervisor)()
    with pytest.raises(TaskPicklingError) as raised:
        task.value()
    message = str(raised.value)
    assert message.startswith(f"task items ({task.short_id}) ran, but its result cannot be "
                              "pickled: cannot pickle ")
    assert message.endswith("; return plain data, such as a list of what a generator yields or a "
                            "file contains")
