"""Handles: their attributes, and the exceptions that they raise."""
import asyncio
import concurrent.futures
import inspect
import threading
from functools import partial
from time import perf_counter

import pytest

from atasker_like import (InvalidTypeError, SyncTaskHandle, TaskHandle, WaitTimeoutError,
                          as_completed, background_task, co_as_completed, iter_completed,
                          wait_completed)
from tests.support import PATIENCE
from tests.support.internals.engine import task_waiters_of

from . import functions


def test_handle_has_the_options_of_its_task(face, gate):
    queue = face.make(workers=1)
    before = perf_counter()
    handle = face.do(partial(queue.submit, face.function("enter"), gate, name="n", priority=1,
                             group_id="g", must_complete=True,
                             metadata={"k": 1}))
    other = face.do(queue.submit, face.function("double"), 1)
    assert type(handle) is (TaskHandle if face.is_async else SyncTaskHandle)
    assert (handle.name, handle.priority, handle.group_id, handle.must_complete, handle.metadata,
            handle.detached) == (
        "n", 1, "g", True, {"k": 1}, False)
    assert (other.priority, other.must_complete, other.group_id, other.metadata,
            other.scheduled_for) == (3, False, None, None, None)
    assert before <= handle.created_at <= perf_counter()
    assert (handle.status, handle.attempts, handle.done(), handle.cancelled()) == ("pending", 0,
                                                                                   False, False)
    face.do(queue.start)
    gate.wait_entered()
    assert (handle.status, handle.attempts, other.status) == ("running", 1, "pending")
    gate.open()
    face.do(queue.shutdown)
    assert (handle.status, handle.done(), handle.exception(), handle.cancel()) == ("succeeded",
                                                                                   True, None,
                                                                                   False)
    assert handle.task.id == handle.task_id and handle.task_id in queue.results[0].task_id
    assert "n " in repr(handle) and "succeeded" in repr(handle)


def test_handles_of_one_task_are_equal(threads):
    queue = threads.make()
    handle, other = queue.map(functions.double, [1, 2])
    assert (handle == SyncTaskHandle(handle.task)
            and hash(handle) == hash(SyncTaskHandle(handle.task)))
    assert handle != other and handle != handle.task
    queue.cancel()


def test_pending_handle_has_no_result(face):
    queue = face.make()
    handle = face.do(queue.submit, face.function("double"), 1)
    for ask in (handle.result, handle.value, handle.exception):
        with pytest.raises(asyncio.InvalidStateError if face.is_async else RuntimeError,
                           match="pending"):
            ask()
    assert handle.cancel() and not handle.cancel()


def test_failed_handle_raises_the_error_of_the_function(face):
    queue = face.make()
    handle = face.do(queue.submit, face.function("fail"), "bad")
    face.run(queue)
    with pytest.raises(ValueError, match="bad"):
        handle.value()
    assert handle.status == "failed" and isinstance(handle.exception(), ValueError)
    assert handle.result().status == "failed" and face.do(handle.wait).message == "ValueError: bad"


def test_cancelled_handle_has_a_result_without_value(face):
    queue = face.make()
    handle = face.do(queue.submit, face.function("double"), 1)
    assert handle.cancel()
    expected = asyncio.CancelledError if face.is_async else concurrent.futures.CancelledError
    with pytest.raises(expected, match="cancelled"):
        handle.value()
    assert handle.cancelled() and handle.status == "cancelled" and handle.exception() is None
    assert (handle.result().status == "cancelled" and handle.result().started_at is None
            and handle.result().duration == 0.0)
    assert face.do(handle.wait).status == "cancelled"


def test_a_running_handle_is_cancelled(face, gate):
    queue = face.make(workers=1)
    handle = face.do(queue.submit, face.function("arrive_and_check"), gate)
    face.do(queue.start)
    gate.wait_entered()
    assert handle.cancel()
    assert face.do(handle.wait).status == "cancelled"
    face.do(queue.shutdown)


def test_wait_with_a_timeout_raises_when_it_passes(blocking):
    queue = blocking.make()
    handle = queue.submit(functions.double, 1)
    for timeout in (0, 0.001):
        with pytest.raises(WaitTimeoutError, match="has not been started"):
            handle.wait(timeout)
    with pytest.raises(TimeoutError):
        handle.wait(timeout=0)
    queue.run()
    assert handle.wait(0).value == 2


def test_sync_handle_when_awaited_raises(blocking):
    queue = blocking.make()
    handle = queue.submit(functions.double, 1)

    async def main():
        await handle

    assert not inspect.isawaitable(handle)
    with pytest.raises(TypeError, match="await"):
        asyncio.run(main())

    async def as_it_says():
        return await handle.task

    queue.start()
    assert asyncio.run(as_it_says()) == 2
    queue.shutdown()


def test_handle_is_awaited_in_many_loops(coroutines, gate):
    queue = coroutines.make()
    handle = coroutines.do(queue.submit, coroutines.function("enter"), gate, "done")
    coroutines.do(queue.start)
    results, ready = [], threading.Barrier(4)

    async def waiters():
        async def wait():
            return (await handle).value

        waiting = [asyncio.ensure_future(wait()) for _ in range(5)]
        await asyncio.sleep(0)
        ready.wait(PATIENCE)
        waiting[0].cancel()         # a cancelled wait does not disturb the others
        return (await asyncio.gather(*waiting, return_exceptions=True))[1:]

    threads = [threading.Thread(target=lambda: results.extend(asyncio.run(waiters())))
               for _ in range(3)]
    for thread in threads:
        thread.start()
    ready.wait(PATIENCE)
    gate.open()
    for thread in threads:
        thread.join(PATIENCE)
    assert results == ["done"] * 12
    coroutines.do(queue.shutdown)


def test_handle_is_waited_for_by_many_threads(threads, gate):
    queue = threads.make()
    handle = queue.submit(threads.function("enter"), gate, "done")
    queue.start()
    results = []
    waiting = [threading.Thread(target=lambda: results.append(handle.wait(PATIENCE).value))
               for _ in range(5)]
    for thread in waiting:
        thread.start()
    gate.open()
    for thread in waiting:
        thread.join(PATIENCE)
    assert results == ["done"] * 5
    queue.shutdown()


def test_done_callbacks_get_their_handle(face, caplog):
    queue = face.make()
    handle = face.do(queue.submit, face.function("double"), 1)
    called, again = threading.Event(), threading.Event()
    seen = []

    def note(done):
        seen.append(done)
        if face.is_async:
            asyncio.get_running_loop()
        called.set()

    def refuse(done):
        raise KeyError("the callback")

    face.do(handle.add_done_callback, refuse)
    face.do(handle.add_done_callback, note)
    face.run(queue)
    assert called.wait(PATIENCE) and seen == [handle]
    face.do(handle.add_done_callback, lambda done: again.set())
    assert again.wait(PATIENCE)
    assert "the callback" in caplog.text
    with pytest.raises(InvalidTypeError, match="callable"):
        handle.add_done_callback(5)


# -- in the order of their ends --------------------------------------------------------------------


def test_as_completed_yields_what_was_given(threads, make_gate):
    gates = [make_gate(), make_gate()]
    queue = threads.make()
    queue.start()
    slow, quick = (queue.submit(threads.function("enter"), gate, number) for number,
                   gate in enumerate(gates))
    plain = background_task(functions.double, supervisor=queue.supervisor)(3)
    plain.wait(PATIENCE)
    order = as_completed([slow, quick, plain], timeout=PATIENCE)
    assert next(order) is plain
    gates[1].open()
    assert next(order) is quick
    gates[0].open()
    assert list(order) == [slow]
    queue.shutdown()


@pytest.mark.parametrize("iterate", [as_completed, iter_completed])
def test_as_completed_takes_groups_and_handles_together(threads, iterate):
    queue = threads.make()
    group = queue.group(functions.double, [1, 2])
    handles = queue.map(functions.double, [3])
    queue.run()
    assert (sorted(handle.value() for handle in iterate([group, *handles], timeout=PATIENCE))
            == [2, 4, 6])
    assert sorted(handle.value() for handle in iterate(group, timeout=PATIENCE)) == [2, 4]
    assert sorted(handle.value() for handle in group.as_completed()) == [2, 4]


def test_async_as_completed_takes_handles_and_groups(coroutines):
    async def main():
        async with coroutines.make() as queue:
            group = queue.group(functions.co_double, [1, 2])
            handle = queue.submit(functions.co_double, 3)
            found = [done async for done in as_completed([group, handle], timeout=PATIENCE)]
            again = [done.value() async for done in group.as_completed()]
            tasks = [task.value() async for task in co_as_completed(group)]
        assert handle in found and all(isinstance(done, TaskHandle) for done in found)
        return sorted(done.value() for done in found), sorted(again), sorted(tasks)

    assert coroutines.do(main) == ([2, 4, 6], [2, 4], [2, 4])


def test_as_completed_with_a_timeout_raises_when_it_passes(threads, coroutines):
    queue = threads.make()
    handle = queue.submit(functions.double, 1)
    with pytest.raises(WaitTimeoutError):
        next(iter_completed([handle], timeout=0))

    async def main():
        async for _ in as_completed([handle], timeout=0):
            pass

    with pytest.raises(WaitTimeoutError):
        coroutines.do(main)
    handle.cancel()


def test_a_task_given_twice_is_yielded_twice(threads):
    queue = threads.make()
    handle = queue.submit(functions.double, 1)
    queue.run()
    assert list(as_completed([handle, handle.task, handle])) in ([handle, handle.task, handle],)
    assert wait_completed([handle, handle]) == [2, 2]


def test_as_completed_that_is_closed_forgets_the_tasks(threads):
    queue = threads.make()
    done, waiting = queue.map(functions.double, [1, 2])
    done.cancel()
    order = as_completed([done, waiting])
    assert next(order) is done
    order.close()
    assert not task_waiters_of(waiting.task)
    waiting.cancel()


@pytest.mark.parametrize("wrong", [5, "ab", [5], functions.double, [functions.double]])
def test_as_completed_refuses_other_objects(wrong):
    with pytest.raises(InvalidTypeError):
        as_completed(wrong)


@pytest.mark.parametrize("mine", ["order-17", {"k": [1]}, 0, None, object()])
def test_metadata_of_handle_and_result_is_the_object_that_was_given(face, mine):
    queue = face.make()
    handle = face.do(partial(queue.submit, face.function("double"), 1, metadata=mine))
    result = face.run(queue).results[0]
    assert handle.metadata is mine and result.metadata is mine and handle.result().metadata is mine
    assert result == handle.result()


def test_the_name_of_a_local_function_is_short(face):
    def double(x):
        return 2 * x

    async def co_double(x):
        return 2 * x

    class Account:
        def add(self, x):
            return x

        async def co_add(self, x):
            return x

    queue = face.make()
    if face.is_async:
        functions_and_names = [(co_double, "co_double"), (Account().co_add, "Account.co_add")]
    else:
        functions_and_names = [(double, "double"), (Account().add, "Account.add"),
                               (lambda x: x, "<lambda>")]
    handles = [face.do(queue.submit, function, 1) for function, _ in functions_and_names]
    assert [handle.name for handle in handles] == [name for _, name in functions_and_names]
    assert list(face.run(queue).by_name()) == [name for _, name in functions_and_names]
