"""Done callbacks and hooks: a run includes them, and what they submit."""
import asyncio
import threading

import pytest

from atasker_like import AsyncQueue, ClosedError, ThreadQueue, WaitTimeoutError, background_task
from atasker_like.engine.wait_group import WaitGroup
from atasker_like.queues import base
from atasker_like.queues.handles import LoopCall
from tests.support import PATIENCE
from tests.support.internals.engine import add_call_waiter, group_waiters_of, remove_call_waiter
from tests.support.internals.queue import callbacks_of, is_aborting
from tests.support.interruptions import at_line, interrupt
from tests.support.threads import wait_for

from .conftest import Aside
from .functions import co_one, co_same, fail_at_one, same


async def _block(queue, submit):
    async with queue:
        submit()


def _with(queue, submit):
    with queue:
        submit()


#: The ways to the end of what was submitted.
WAYS = ["run", "join", "shutdown", "with"]


def finish(face, queue, way, submit):
    """Submit in the loop of a queue, or in this thread, and wait for the end in one of the ways."""
    if way == "with":
        face.do(_block if face.is_async else _with, queue, submit)
        return
    face.do(submit)
    face.do(getattr(queue, way))


@pytest.mark.parametrize("way", WAYS)
def test_run_when_it_ends_has_called_done_callbacks_and_hooks(face, way):
    entered, gate, returned = threading.Event(), threading.Event(), []
    queue = face.make(on_complete=lambda result: returned.append("hook"))

    def callback(handle):
        entered.set()
        if not face.is_async:
            gate.wait(PATIENCE)
        returned.append("callback")

    def submit():
        if way == "join":
            face.is_async or queue.start()
        queue.submit(face.function("same"), 1).add_done_callback(callback)

    if way == "join" and face.is_async:
        face.do(queue.start)
    ended = Aside(finish, face, queue, way, submit)
    assert entered.wait(PATIENCE)
    if not face.is_async:
        ended.thread.join(0.02)
        assert ended.thread.is_alive()
    gate.set()
    ended.result()
    assert sorted(returned) == ["callback", "hook"]
    face.do(queue.shutdown)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("source", ["callback", "hook"])
def test_tasks_submitted_by_callbacks_and_hooks_belong_to_the_run(face, way, source):
    steps = face.function("same")

    def hook(result):
        if result.value < 3:
            queue.submit(steps, result.value + 1)

    def callback(handle):
        if handle.value() < 3:
            queue.submit(steps, handle.value() + 1).add_done_callback(callback)

    queue = face.make(workers=2, **({"on_complete": hook} if source == "hook" else {}))

    def submit():
        for handle in queue.map(steps, [1, 2, 1]):
            if source == "callback":
                handle.add_done_callback(callback)

    if way == "join":
        face.do(queue.start)
    finish(face, queue, way, submit)
    assert sorted(result.value for result in queue.results) == [1, 1, 2, 2, 2, 3, 3, 3]
    face.do(queue.shutdown)


def test_after_the_end_of_a_shutdown_callbacks_submit_no_more(threads):
    queue = threads.make()
    handle = queue.submit(same, 1)
    queue.shutdown()
    refused = []

    def callback(handle):
        try:
            queue.submit(same, 2)
        except ClosedError as error:
            refused.append(error)

    handle.add_done_callback(callback)
    assert len(refused) == 1


def test_a_task_that_submits_to_its_queue_during_a_shutdown_is_refused(threads):
    queue = threads.make()
    refused = threading.Event()

    def task():
        wait_for(lambda: queue.closed, "the queue is shut down")
        try:
            queue.submit(same, 2)
        except ClosedError:
            refused.set()

    queue.start()
    queue.submit(task)
    queue.shutdown()
    assert refused.is_set()


def test_cancelled_queue_refuses_submissions_of_its_callbacks(inside):
    refused = threading.Event()
    queue = inside.make()
    handle = inside.do(queue.submit, inside.function("same"), 1)

    def callback(handle):
        try:
            queue.submit(inside.function("same"), 2)
        except ClosedError:
            refused.set()

    inside.do(handle.add_done_callback, callback)
    inside.do(queue.cancel)
    inside.do(queue.join)
    assert refused.is_set()


# -- after the end ---------------------------------------------------------------------------------


def test_a_callback_added_to_an_ended_task_has_returned(supervisor):
    task = background_task(same, supervisor=supervisor)(1)
    task.wait(PATIENCE)
    called = []
    task.add_done_callback(called.append)
    assert called == [task]


@pytest.mark.parametrize("where", ["loop", "thread"])
def test_a_callback_added_to_an_ended_handle_has_returned(inside, where):
    queue = inside.make()
    handle = inside.do(queue.submit, inside.function("same"), 1)
    inside.run(queue)
    called = []

    def add():
        handle.add_done_callback(called.append)
        return list(called)

    assert (inside.do(add) if where == "loop" else add()) == [handle]


def test_a_callback_added_to_an_ended_handle_is_waited_for(threads):
    entered, gate = threading.Event(), threading.Event()
    queue = threads.make()
    handle = queue.submit(same, 1)
    queue.start()
    handle.wait(PATIENCE)

    def callback(handle):
        entered.set()
        gate.wait(PATIENCE)

    adding = Aside(handle.add_done_callback, callback)
    assert entered.wait(PATIENCE)
    with pytest.raises(WaitTimeoutError, match="done callbacks"):
        queue.join(timeout=0.02)
    gate.set()
    queue.join(PATIENCE)
    adding.result()
    queue.shutdown()


def test_callback_whose_loop_is_closed_delays_no_later_run(supervisor):
    queue = AsyncQueue(supervisor=supervisor)

    async def first():
        handle = queue.submit(co_one)
        await queue.run()
        # as one that was posted, and never came to be called
        call = LoopCall(handle.task, lambda task: None)
        call.group.add(call)

    async def second():
        queue.submit(co_one)
        return (await queue.run(timeout=PATIENCE)).values

    asyncio.run(first())
    assert asyncio.run(second()) == (1,)
    assert not callbacks_of(queue).calls


def test_a_callback_for_a_closed_loop_is_called_by_the_thread_that_ends_the_task(supervisor):
    queue, called = AsyncQueue(supervisor=supervisor), []

    async def submit():
        handle = queue.submit(co_one)
        handle.add_done_callback(called.append)
        return handle

    handle = asyncio.run(submit())
    handle.cancel()
    assert called == [handle]


# -- callbacks that wait for their queue -----------------------------------------------------------


HOW = {"join": lambda queue: queue.join(), "shutdown": lambda queue: queue.shutdown(),
       "force": lambda queue: queue.shutdown(force=True), "cancel": lambda queue: queue.cancel()}


@pytest.mark.parametrize("how", HOW)
def test_a_callback_of_a_cancelled_queue_may_wait_for_it(threads, how):
    queue = threads.make(workers=1)
    handles = queue.map(same, range(5))
    called = []

    def callback(handle):
        HOW[how](queue)
        called.append(handle)

    for handle in handles:
        handle.add_done_callback(callback)
    Aside(queue.cancel).result()
    assert called == handles[::-1]


@pytest.mark.parametrize("how", HOW)
def test_callback_of_a_task_cancelled_by_a_failure_may_wait_for_spared_tasks(threads, how):
    queue = threads.make(workers=1, fail_policy="fail_first")
    queue.submit(fail_at_one, 1)
    handles = queue.map(same, range(5))
    spared = queue.map(same, [7, 8], must_complete=True)
    called = []

    def callback(handle):
        HOW[how](queue)
        called.append(all(other.done() for other in spared))

    for handle in handles:
        handle.add_done_callback(callback)
    summary = Aside(queue.run).result()
    assert summary.failed == 1 and len(called) == 5
    if how in ("join", "shutdown"):
        assert all(called) and summary.succeeded == 2


def test_callbacks_in_several_threads_may_all_wait_for_their_queue(threads):
    both = threading.Barrier(2)
    queue = threads.make(workers=2)

    def callback(handle):
        both.wait(PATIENCE)
        queue.join()

    for handle in queue.map(same, [1, 2]):
        handle.add_done_callback(callback)
    assert Aside(queue.run).result().succeeded == 2


def test_a_callback_and_a_hook_may_both_wait_for_their_queue(threads):
    both = threading.Barrier(2)

    def join(*_):
        both.wait(PATIENCE)
        queue.join()

    queue = threads.make(on_complete=join)
    queue.submit(same, 1).add_done_callback(join)
    assert Aside(queue.run).result().succeeded == 1


def test_callback_that_runs_its_queue_is_refused(threads, caplog):
    queue = threads.make()
    queue.submit(same, 1).add_done_callback(lambda handle: queue.run())
    queue.run()
    assert "is running already" in caplog.text


def test_a_callback_in_a_loop_may_start_a_coroutine_that_waits_for_its_queue(coroutines):
    async def main():
        queue, joined = coroutines.make(), []

        async def join():
            await queue.join()
            joined.append(True)

        started = []
        handle = queue.submit(co_same, 1)
        handle.add_done_callback(lambda handle: started.append(asyncio.ensure_future(join())))
        await queue.run()
        await asyncio.wait_for(started[0], PATIENCE)
        return joined

    assert coroutines.do(main) == [True]


# -- callbacks that submit without end -------------------------------------------------------------


@pytest.mark.slow
def test_a_callback_that_submits_without_end_is_ended_by_the_time_of_the_run(inside, monkeypatch,
                                                                             caplog):
    monkeypatch.setattr(base, "MANY_ROUNDS", 5)
    queue = inside.make()
    submitted = []

    def callback(handle):
        submitted.append(handle)
        if len(submitted) == 50:
            enough.set()
        queue.submit(inside.function("same"), 1).add_done_callback(callback)

    enough = threading.Event()
    inside.do(lambda: queue.submit(inside.function("same"), 1).add_done_callback(callback))
    summary = inside.run(queue, timeout=0.5)
    assert summary.timed_out and enough.is_set()
    assert "new tasks 5 times" in caplog.text and "has aborted" in caplog.text


def test_a_callback_that_is_late_is_awaited_and_may_not_submit(threads):
    queue = threads.make()
    entered, late = threading.Event(), threading.Event()
    refused = []

    def callback(handle):
        entered.set()
        assert late.wait(PATIENCE)
        try:
            queue.submit(same, 2)
        except ClosedError as error:
            refused.append(error)

    queue.submit(same, 1).add_done_callback(callback)
    running = Aside(lambda: threads.run(queue, timeout=1))
    assert entered.wait(PATIENCE)
    wait_for(lambda: is_aborting(queue), "the run is over its time")
    late.set()
    summary = running.result()
    assert summary.timed_out and summary.values == (1,) and len(refused) == 1


def test_a_callback_that_submits_without_end_is_ended_by_cancel(threads, monkeypatch, caplog):
    monkeypatch.setattr(base, "MANY_ROUNDS", 5)
    told = threading.Event()
    monkeypatch.setattr(base.log, "warning", lambda *message: told.set())
    queue = threads.make()

    def callback(handle):
        queue.submit(same, 1).add_done_callback(callback)

    queue.submit(same, 1).add_done_callback(callback)
    ending = Aside(queue.shutdown)
    assert told.wait(PATIENCE)
    queue.cancel()
    ending.result()


# -- callbacks and interrupts ----------------------------------------------------------------------


def test_callbacks_of_a_task_whose_cancelling_is_interrupted_are_called_once(supervisor):
    line, reached = 0, True
    while reached:
        line += 1
        queue = ThreadQueue(supervisor=supervisor)
        handle = queue.submit(same, 1)
        called = []
        for number in range(3):
            handle.add_done_callback(lambda handle, number=number: called.append(number))
        try:
            reached = at_line(line, interrupt, handle.cancel, "atasker_like/pools")
        except KeyboardInterrupt:
            pass
        handle.cancel()
        assert called == [0, 1, 2], line
        queue.run(timeout=PATIENCE)
        assert not callbacks_of(queue).calls, line
        queue.shutdown()
    assert line > 10


def test_a_waiter_that_registers_while_another_one_leaves_is_woken():
    group, woken = WaitGroup(), []

    def leaves():
        pass

    def comes():
        woken.append("comes")

    group.add("call")
    assert add_call_waiter(group, "call", leaves)
    found = group_waiters_of(group).setdefault("call", [])      # the first half of an addition
    remove_call_waiter(group, "call", leaves)                   # in another thread
    found.append(comes)
    group.done("call")
    assert woken == ["comes"] and not group_waiters_of(group)
    assert not add_call_waiter(group, "call", comes) and not group_waiters_of(group)
