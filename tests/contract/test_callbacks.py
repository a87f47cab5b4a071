import threading

import pytest

from . import functions as f


def test_the_callback_gets_the_result_before_the_completion_is_announced(kind):
    seen = []

    def callback(result):
        seen.append((result, task_of[0].done()))

    task_of = []
    gate = threading.Event()
    bound = kind.bind(f.give, callback=lambda result: (gate.wait(10), callback(result)))
    task = bound(5)
    task_of.append(task)
    gate.set()
    assert task.value(10) == 5
    assert seen == [(5, False)]


def test_the_callback_is_not_called_for_a_failure(kind):
    seen = []
    task = kind.bind(f.fail, callback=seen.append)()
    assert task.exception(10) is not None
    assert seen == []


def test_the_callback_is_called_once_after_retries(kind):
    seen = []
    assert kind.bind(f.succeed_at, retries=2, callback=seen.append)(3).value(10) == 3
    assert seen == [3]


def test_a_callback_that_raises_is_logged_and_the_task_succeeds(kind, caplog):
    def callback(result):
        raise KeyError("in the callback")

    assert kind.bind(f.give, callback=callback)(5).value(10) == 5
    assert "in the callback" in caplog.text


def test_a_callback_may_use_the_supervisor(kind):
    inner = []

    def callback(result):
        inner.append(kind.supervisor.put_task(f.add, (result, 1)).value(10))

    assert kind.bind(f.give, callback=callback)(5).value(10) == 5
    assert inner == [6]


def test_done_callbacks_are_called_in_order_with_the_task(kind, gate):
    seen, done = [], threading.Event()
    task = kind.bind(f.enter)(gate)
    task.add_done_callback(lambda task: seen.append((1, task)))
    task.add_done_callback(lambda task: seen.append((2, task)))
    task.add_done_callback(lambda task: done.set())
    assert seen == []
    gate.open()
    assert done.wait(10)
    assert seen == [(1, task), (2, task)]


def test_a_done_callback_of_a_task_that_has_ended_is_called_at_once(kind):
    task = kind.bind(f.nothing)()
    task.wait(10)
    seen = []
    task.add_done_callback(seen.append)
    assert seen == [task]


@pytest.mark.parametrize("end", ["fail", "cancel", "mark_completed"])
def test_done_callbacks_are_called_however_the_task_ends(kind, end):
    done = threading.Event()
    if end == "fail":
        task = kind.bind(f.fail, delay=0.02)()
    else:
        task = kind.bind(f.nothing, delay=60)()
    task.add_done_callback(lambda task: (task.wait(), done.set()))
    if end != "fail":
        getattr(task, end)()
    assert done.wait(10)


def test_a_done_callback_that_raises_is_logged_and_the_next_is_called(kind, gate, caplog):
    done = threading.Event()

    def callback(task):
        raise KeyError("in the callback")

    task = kind.bind(f.enter)(gate)
    task.add_done_callback(callback)
    task.add_done_callback(lambda task: done.set())
    gate.open()
    assert done.wait(10)
    assert "in the callback" in caplog.text
    assert task.value(10) is None


def test_done_callbacks_may_submit_and_wait(kind, gate):
    values, done = [], threading.Event()

    def callback(task):
        values.append(kind.supervisor.put_task(f.add, (1, 1)).value(10))
        done.set()

    task = kind.bind(f.enter)(gate)
    task.add_done_callback(callback)
    gate.open()
    assert done.wait(10)
    assert values == [2]


@pytest.mark.parametrize("bad", [None, 5, "f"])
def test_a_done_callback_must_be_callable(supervisor, bad):
    with pytest.raises(TypeError, match="callable"):
        supervisor.put_task(f.nothing).add_done_callback(bad)
