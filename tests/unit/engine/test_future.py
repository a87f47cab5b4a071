"""The Future of a task: what a task and its future tell is the same at every moment."""
import asyncio
import concurrent.futures as futures
import random
import threading

import pytest

from atasker_like import TT_MP, background_task
from atasker_like.engine.future import FutureView
from atasker_like.engine.task import Task
from tests.support import PATIENCE
from tests.support.gates import Hold
from tests.support.internals.engine import (add_waiter, copy_outcome, future_fields_of,
                                            future_state_of, spec_of)
from tests.support.interruptions import at_line, interrupt
from tests.support.threads import join, later


async def co_double(number):
    return 2 * number


@pytest.mark.parametrize("options, function", [({}, abs), ({"tt": TT_MP}, abs), ({}, co_double)],
                         ids=["thread", "process", "coroutine"])
def test_future_of_a_task_of_each_kind_has_its_value(supervisor, options, function):
    task = background_task(function, supervisor=supervisor, **options)(-4)
    future = task.future()
    assert futures.wait([future], PATIENCE).done == {future}
    assert list(futures.as_completed([future])) == [future]
    assert future.result() == task.value() and future.task is task

    async def main():
        return await asyncio.wrap_future(task.future())

    assert asyncio.run(main()) == task.value()


def test_futures_of_a_task_are_equal(supervisor):
    one, other = (supervisor.put_task(abs, (number,)) for number in (-1, -2))
    assert one.future() == one.future() and len({one.future(), one.future()}) == 1
    assert one.future() != other.future() and one.future() != one
    assert other.future() in futures.wait([one.future(), other.future()], PATIENCE).done


def test_future_of_a_failed_task_counts_its_error_as_seen_by_each_way(supervisor, unseen):
    async def main(future):
        with pytest.raises(ZeroDivisionError):
            await asyncio.wrap_future(future)

    for look in ((lambda future: future.exception(PATIENCE)),
                 (lambda future: asyncio.run(main(future)))):
        look(supervisor.put_task(divmod, (1, 0)).future())
    assert unseen() == []


def test_setting_the_state_of_a_future_is_refused(supervisor):
    future = supervisor.put_task(abs, (-1,)).future()
    for call in (lambda: future.set_result(1), lambda: future.set_exception(ValueError()),
                 future.set_running_or_notify_cancel):
        with pytest.raises(futures.InvalidStateError, match="of the future of task abs"):
            call()
    assert future.result(PATIENCE) == 1


def test_repr_of_a_future_names_task_and_state(supervisor):
    future = supervisor.put_task(abs, (-1,)).future()
    future.result(PATIENCE)
    assert repr(future) == f"<Future of task abs {future.task.short_id} succeeded>"


def test_unknown_attribute_of_a_future_is_an_error(supervisor):
    future = supervisor.put_task(abs, (-1,)).future()
    with pytest.raises(AttributeError, match="no attribute 'progress_bar'"):
        future.progress_bar
    future.result(PATIENCE)


def test_fields_of_a_future_are_those_of_the_standard_one(supervisor):
    future = supervisor.put_task(abs, (-1,)).future()
    future.result(PATIENCE)
    standard = futures.Future()
    standard.set_result(1)
    for name, value in vars(standard).items():
        if name != "_condition":
            assert getattr(future, name) == value


@pytest.mark.parametrize("look", [lambda future: future.done(), lambda future: future.result(),
                                  lambda future: future.exception() is None],
                         ids=["done", "result", "exception"])
def test_wait_does_not_deny_the_end_that_the_future_has_reported(supervisor, look):
    # The pool thread is held up between the end of the task and the step that settles the future.
    begun, go, hold = threading.Event(), threading.Event(), Hold()
    task = supervisor.put_task(lambda: (begun.set(), go.wait(PATIENCE)))
    assert begun.wait(PATIENCE)
    add_waiter(task, hold)
    future = task.future()
    assert futures.wait([future], 0).not_done == {future}       # its fields are there from now on
    go.set()
    hold.reached()
    try:
        assert look(future) and futures.wait([future], 0).done == {future}
    finally:
        hold.go()


def test_wait_that_begins_before_the_future_is_settled_is_reported_once(supervisor):
    begun, go, hold = threading.Event(), threading.Event(), Hold()
    task = supervisor.put_task(lambda: (begun.set(), go.wait(PATIENCE)))
    assert begun.wait(PATIENCE)
    add_waiter(task, hold)
    future = task.future()
    futures.wait([future], 0)
    go.set()
    hold.reached()
    other = futures.Future()
    ended = futures.as_completed([future, other])
    threading.Timer(0.01, hold.go).start()
    assert next(ended) is future
    copy_outcome(future)
    other.set_result(1)
    assert list(ended) == [other]


def test_wait_sees_the_end_while_another_thread_makes_the_fields_of_the_future(supervisor,
                                                                               monkeypatch):
    task = supervisor.put_task(abs, (-1,))
    assert task.value(PATIENCE) == 1
    future, hold, done = task.future(), Hold(), Task.done
    assert future.done()        # which makes no fields

    def held_done(self):
        if threading.current_thread() is other:
            hold()
        return done(self)

    other = later(lambda: future_state_of(future))
    monkeypatch.setattr(Task, "done", held_done)
    other.begin()
    hold.reached()
    letting_go = threading.Timer(0.05, hold.go)     # as the wait may need the other thread
    letting_go.start()
    try:
        assert futures.wait([future], 0).done == {future}
    finally:
        letting_go.join(PATIENCE)
        assert join(other) == "FINISHED"


def test_cancel_and_start_never_both_win(supervisor):
    supervisor.set_thread_pool(pool_size=2, reserve_normal=0, reserve_high=0)
    ran = set()
    calls = [supervisor.put_task(ran.add, (number,)).future() for number in range(300)]
    futures.wait(calls[:3], 0)
    won = {}
    order = list(range(300))
    random.Random(7).shuffle(order)

    def cancel(numbers):
        for number in numbers:
            won.setdefault(number, []).append(calls[number].cancel())

    threads = [threading.Thread(target=cancel, args=(order[part::2],)) for part in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not futures.wait(calls, PATIENCE).not_done
    for number, future in enumerate(calls):
        assert won[number] == [future.cancelled()] and future.cancelled() == (number not in ran)
        assert future_state_of(future) == (
            "CANCELLED_AND_NOTIFIED" if future.cancelled() else "FINISHED")


def test_fields_are_made_once_by_many_threads(supervisor):
    for _ in range(50):
        go = threading.Event()
        future = supervisor.put_task(go.wait, (PATIENCE,)).future()
        found, ready = [], threading.Barrier(3)

        def look():
            ready.wait()
            found.append(future_fields_of(future))

        threads = [threading.Thread(target=look) for _ in range(3)]
        for thread in threads:
            thread.start()
        go.set()
        for thread in threads:
            thread.join()
        assert len({id(pair[0]) for pair in found}) == len({id(pair[1]) for pair in found}) == 1
        assert futures.wait([future], PATIENCE).done == {future}
        assert future_state_of(future) == "FINISHED"


@pytest.mark.slow
def test_cancel_that_is_interrupted_at_any_line_leaves_the_pool_sound(supervisor):
    supervisor.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0)
    line = 1
    more = True
    while more:
        begun, go = threading.Event(), threading.Event()
        running = supervisor.put_task(lambda: (begun.set(), go.wait(PATIENCE)))
        assert begun.wait(PATIENCE)
        for future in running.future(), supervisor.put_task(abs, (-1,)).future():
            more = False
            try:
                more = at_line(line, interrupt, future.cancel, "pools/base")
            except KeyboardInterrupt:
                more = True
        go.set()
        assert running.value(PATIENCE) and not running.cancelled()
        assert supervisor.put_task(abs, (-2,)).value(PATIENCE) == 2
        line += 1
    assert line > 10


def test_signal_handler_in_a_critical_section_cannot_cancel(supervisor):
    begun, go = threading.Event(), threading.Event()
    supervisor.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0)
    running = supervisor.put_task(lambda: (begun.set(), go.wait(PATIENCE)))
    assert begun.wait(PATIENCE)
    waiting = FutureView(supervisor.put_task(abs, (-3,)))
    with spec_of(waiting.task).pool.lock:
        assert not waiting.cancel()
    go.set()
    assert waiting.result(PATIENCE) == 3 and running.value(PATIENCE)
