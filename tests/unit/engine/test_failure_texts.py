"""What is said about the error of a task: advice, and the exit that it asks for."""
import sys

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
