"""What the function of a worker gets."""
import pytest

from atasker_like import (TASK_HIGH, BackgroundWorker, InvalidTypeError, background_worker,
                          current_task)
from tests.support import PATIENCE


def test_function_gets_the_arguments_of_start(supervisor):
    got = []

    @background_worker(supervisor=supervisor)
    def work(a, b, *more, c, **rest):
        got.append((a, b, more, c, rest))
        return False

    work.start(1, 2, 3, c=4, d=5)
    work.wait_until_stop(PATIENCE)
    ((a, b, more, c, rest),) = got
    assert (a, b, more, c) == (1, 2, (3,), 4)
    assert rest.pop("_task_id")
    assert rest == {"d": 5, "_worker": work, "_name": work.name, "o": None}


@pytest.mark.parametrize("overrides, name, thing", [
    ({}, "_background_worker_work", "its own"),
    ({"_name": "other", "o": "another"}, "other", "another"),
])
def test_function_gets_what_its_signature_takes(supervisor, overrides, name, thing):
    got = []

    @background_worker(supervisor=supervisor, o="its own")
    def work(_name, o):
        got.append((_name, o))
        return False

    work.start(**overrides)
    work.wait_until_stop(PATIENCE)
    assert got == [(name, thing)]


def test_parameter_filled_by_position_is_not_given_again(supervisor):
    got = []

    @background_worker(q=True, supervisor=supervisor, o="not this")
    def work(o, **kwargs):
        got.append((o, "o" in kwargs))
        return False

    work.start()
    work.put_threadsafe("item")
    work.wait_until_stop(PATIENCE)
    assert got == [("item", False)]


def test_function_without_parameters_gets_no_arguments(supervisor):
    worker = background_worker(lambda: False, supervisor=supervisor)
    worker.start()
    assert worker.wait_until_stop(PATIENCE)


def test_coroutine_function_gets_what_its_signature_takes(supervisor):
    got = []

    @background_worker(supervisor=supervisor)
    async def work(a, _worker, _task_id, **kwargs):
        got.append((a, _worker, _task_id == current_task().id, sorted(kwargs)))
        return False

    work.start(1)
    work.wait_until_stop(PATIENCE)
    assert got == [(1, work, True, ["_name", "o"])]


def test_coroutine_function_with_keywords_gets_no_task_id(supervisor):
    got = []

    @background_worker(supervisor=supervisor)
    async def work(**kwargs):
        got.append(sorted(kwargs))
        return False

    work.start()
    work.wait_until_stop(PATIENCE)
    assert got == [["_name", "_worker", "o"]]


def test_wrong_signature_is_a_clear_error_at_the_start(any_kind):
    def one(item=None, *, needed):
        raise AssertionError

    worker = any_kind(one)
    with pytest.raises(InvalidTypeError, match="cannot call its function .*one.*needed"):
        worker.start()
    assert not worker.is_active() and worker.stop() is False
    with pytest.raises(InvalidTypeError, match="cannot call its function"):
        worker.start(1, 2, 3, needed=1)
    assert worker.supervisor.get_schedulers() == {}


def test_worker_without_run_is_refused_at_the_start(supervisor):
    with pytest.raises(InvalidTypeError, match="BackgroundWorker has nothing to run: define run"):
        BackgroundWorker(supervisor=supervisor).start()


def test_tasks_have_the_name_and_priority_of_their_worker(supervisor):
    got = []

    @background_worker(supervisor=supervisor, priority=TASK_HIGH)
    def work(_worker):
        task = current_task()
        got.append((task.priority, task.name, task.worker is _worker))
        return False

    work.start()
    work.wait_until_stop(PATIENCE)
    work.start(_priority=7)
    work.wait_until_stop(PATIENCE)
    assert got == [(TASK_HIGH, work.name, True), (7, work.name, True)]
