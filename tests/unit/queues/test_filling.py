"""Queues that end or refuse while calls are being submitted: no task is lost."""
import asyncio
import itertools
import threading
import time

import pytest

from atasker_like import (AsyncQueue, ClosedError, ExecutionError, QueueFullError, TaskSupervisor,
                          ThreadQueue, background_task, tmap)
from atasker_like.engine.blocking import deadline_of
from tests.support import PATIENCE
from tests.support.internals.queue import (FINISH_CLOSING, RECORD_ACCEPTED, callbacks_of,
                                           lane_of_queue, run_of)

from ...support.internals import manager
from .conftest import ENDS, Aside
from .functions import fail_at_one

# -- while calls are being submitted ---------------------------------------------------------------


@pytest.mark.parametrize("end", ["cancel", "shutdown"])
def test_a_map_that_is_under_way_when_the_queue_is_closed_is_refused(supervisor, end):
    """The pool must not have forgotten the lane of its later chunks."""
    queue = ThreadQueue(workers=1, supervisor=supervisor)
    queue.start()
    at_chunk, go_on = threading.Event(), threading.Event()

    def items():
        yield from range(512)
        at_chunk.set()
        go_on.wait(PATIENCE)
        yield from range(600)

    mapped = Aside(queue.map, abs, items())
    assert at_chunk.wait(PATIENCE)
    ENDS[end](queue)
    go_on.set()
    with pytest.raises(ClosedError):
        mapped.result()
    queue.join(PATIENCE)
    assert len(queue) == 0
    assert supervisor.stats().thread.active == supervisor.stats().thread.waiting == 0


def test_a_queue_is_closed_from_the_items_of_its_own_map(supervisor):
    for _ in range(50):
        queue = ThreadQueue(workers=1, supervisor=supervisor)
        queue.start()

        def items(queue=queue):
            yield from range(512)
            queue.cancel()
            yield from range(512)

        with pytest.raises(ClosedError):
            queue.map(abs, items())
    assert background_task(abs, supervisor=supervisor)(-1).value(PATIENCE) == 1


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("size", [0, 10])
def test_endless_items_end_with_the_queue(supervisor, end, size):
    queue = ThreadQueue(workers=2, size=size, supervisor=supervisor)
    queue.start()
    some = threading.Event()

    def items():
        for number in itertools.count():
            if number == 1000:
                some.set()
            yield number

    mapped = Aside(queue.map, abs, items())
    assert some.wait(PATIENCE)
    Aside(ENDS[end], queue).result()
    if end == "timeout":
        # The run has ended, and the queue accepts submissions again.
        queue.shutdown(force=True)
    with pytest.raises(ClosedError):
        mapped.result()
    queue.join(PATIENCE)
    assert len(queue) == 0


@pytest.mark.parametrize("hooks", [{}, {"on_complete": lambda result: None}])
def test_a_failure_ends_a_bounded_queue_that_is_being_filled(supervisor, hooks):
    """The submission waits for room in a lane that the failure pauses."""

    def fill():
        with ThreadQueue(workers=1, size=2, fail_policy="fail_first", supervisor=supervisor,
                         **hooks) as queue:
            queue.map(fail_at_one, range(10))

    with pytest.raises(ClosedError, match="has aborted"):
        Aside(fill).result()


@pytest.fixture(params=["queue", "pool"])
def bounded(request, supervisor):
    """A queue with room for one task that waits: its own room, or that of its pool."""
    arguments = {"workers": 1, "fail_policy": "fail_first"}
    if request.param == "queue":
        yield ThreadQueue(size=1, supervisor=supervisor, **arguments)
    else:
        with TaskSupervisor(pool_size=1, reserve_normal=0, reserve_high=0) as small:
            small.set_thread_pool(max_queued=1, on_full="block")
            yield ThreadQueue(supervisor=small, **arguments)


class Failing:
    """A queue with a running task that fails on demand, and a map that waits for room."""

    def __init__(self, queue, must_complete, running):
        self.go, self.ran = threading.Event(), []
        self.queue = queue
        queue.start()
        self.failing = queue.submit(self.fail)
        assert self.failing.task.started.wait(PATIENCE)
        self.waiting = queue.submit(abs, -1, must_complete=must_complete)
        self.run = Aside(queue.run) if running else None
        wait_until(lambda: run_of(queue) or not running)
        self.mapped = Aside(queue.map, self.ran.append, [1, 2])
        wait_until(lambda: lane_of_queue(queue).blocked_submitters
                   or lane_of_queue(queue).pool.backpressure.blocked_submitters)

    def close(self):
        Aside(self.queue.shutdown).result()
        # it has been looked at
        assert type(self.failing.exception()) in (ValueError, type(None))

    def fail(self):
        assert self.go.wait(PATIENCE)
        raise ValueError


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("running", [False, True], ids=["started", "run"])
def test_map_blocked_for_room_at_the_first_failure_starts_no_task(bounded, running, monkeypatch):
    """Its task is accepted when the failure has made room, and the queue does not know the task
    yet."""
    scene = Failing(bounded, False, running)
    enter, paused = RECORD_ACCEPTED.of(bounded), []

    def late(*arguments):
        assert callbacks_of(bounded).wait(deadline_of(PATIENCE))
        paused.append(lane_of_queue(bounded).paused)
        enter(*arguments)

    RECORD_ACCEPTED.patch(monkeypatch, bounded, late)
    scene.go.set()
    with pytest.raises(ClosedError, match="has aborted"):
        scene.mapped.result()
    monkeypatch.undo()
    assert running == (scene.run is not None and scene.run.result().failed == 1)
    assert paused in ([True], []) and scene.ran == [] and scene.waiting.cancelled()
    scene.close()


@pytest.mark.parametrize("running", [False, True], ids=["started", "run"])
def test_map_blocked_for_room_that_the_failure_does_not_make_is_refused(bounded, running):
    """What fills the room must complete, and starts when the map has been refused."""
    scene = Failing(bounded, True, running)
    scene.go.set()
    with pytest.raises(ClosedError, match="has aborted"):
        scene.mapped.result()
    assert scene.waiting.wait(PATIENCE).value == 1 and scene.ran == []
    assert running == (scene.run is not None and scene.run.result().succeeded == 1)
    scene.close()


def test_map_blocked_for_room_at_the_end_of_a_run_is_refused(bounded):
    bounded.on_timeout = "complete"
    scene = Failing(bounded, True, False)
    run = Aside(bounded.run, timeout=0.01)
    with pytest.raises(ClosedError, match="has aborted"):
        scene.mapped.result()
    assert run.result().timed_out and scene.waiting.value() == 1 and scene.ran == []
    scene.go.set()
    scene.close()


def test_submission_blocked_for_room_at_a_failure_of_a_started_queue_comes_before_or_after(bounded):
    scene = Failing(bounded, True, False)
    blocked = Aside(bounded.submit, abs, -2)
    scene.go.set()
    result = blocked.result().wait(PATIENCE)
    assert result.value == 2 or result.status == "cancelled"
    assert bounded.submit(abs, -3).wait(PATIENCE).value == 3
    with pytest.raises(ClosedError):
        scene.mapped.result()
    scene.close()


@pytest.mark.parametrize("end", ["cancel", "force"])
def test_submission_blocked_for_room_in_a_full_pool_is_refused_when_the_queue_is_cancelled(end):
    gate = threading.Event()
    with TaskSupervisor(pool_size=1, reserve_normal=0, reserve_high=0) as small:
        small.set_thread_pool(max_queued=1, on_full="block")
        busy = [background_task(gate.wait, supervisor=small)(PATIENCE) for _ in range(2)]
        queue = ThreadQueue(supervisor=small)
        queue.start()
        blocked = Aside(queue.submit, abs, -1)
        threads = manager(small).threads
        wait_until(lambda: threads.backpressure.blocked_submitters)
        Aside(ENDS[end], queue).result()
        with pytest.raises(ClosedError, match="closed"):
            blocked.result()
        gate.set()
        assert all(task.value(PATIENCE) for task in busy)


def test_a_bounded_tmap_tells_which_call_failed():
    with pytest.raises(ExecutionError) as caught:
        Aside(tmap, fail_at_one, range(100), workers=1, size=2, fail_policy="fail_first").result()
    assert any(isinstance(result.exception, ValueError) for result in caught.value.results)


def test_tasks_of_an_unfinished_bounded_map_are_in_the_ledger(supervisor):
    queue = ThreadQueue(workers=1, size=2, supervisor=supervisor)
    queue.start()
    running, gate = threading.Event(), threading.Event()

    def body(_):
        running.set()
        gate.wait(PATIENCE)

    mapped = Aside(queue.map, body, range(100))
    assert running.wait(PATIENCE)
    deadline = time.monotonic() + PATIENCE
    # the one that runs, and those for which there was room
    while len(queue) < 3 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert queue.active_count == 1 and queue.pending_count == 2
    assert queue.cancel() == 3
    gate.set()
    with pytest.raises(ClosedError):
        mapped.result()
    queue.join(PATIENCE)
    # the one that ran, which threads cannot be made to end
    assert queue.stats["succeeded"] <= 1


def test_map_in_a_full_pool_is_refused_after_a_failure():
    with TaskSupervisor(pool_size=1, reserve_normal=0, reserve_high=0) as small:
        small.set_thread_pool(max_queued=2, on_full="block")

        def fill():
            with ThreadQueue(workers=1, fail_policy="fail_first", supervisor=small) as queue:
                queue.map(fail_at_one, range(10))

        with pytest.raises(ClosedError, match="has aborted"):
            Aside(fill).result()


def test_task_accepted_during_a_cancel_is_cancelled(supervisor, monkeypatch):
    """The unfinished tasks have been looked up, and the queue is not closed yet."""
    queue = ThreadQueue(supervisor=supervisor)
    queue.start()
    accepted, looked_up = threading.Event(), threading.Event()
    enter, has_closed = RECORD_ACCEPTED.of(queue), FINISH_CLOSING.of(queue)

    def late(*submissions):
        accepted.set()
        assert looked_up.wait(PATIENCE)
        enter(*submissions)

    def close(lane):
        looked_up.set()
        submitted.result()
        has_closed(lane)

    gate = threading.Event()
    # it does not start
    busy = [background_task(gate.wait, supervisor=supervisor, priority=0)(PATIENCE)
            for _ in range(40)]
    RECORD_ACCEPTED.patch(monkeypatch, queue, late)
    FINISH_CLOSING.patch(monkeypatch, queue, close)
    submitted = Aside(queue.submit, abs, -1)
    assert accepted.wait(PATIENCE)
    queue.cancel()
    assert submitted.result().cancelled()
    gate.set()
    assert all(task.value(PATIENCE) for task in busy)


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("items", [range(4), [{"number": number} for number in range(4)]],
                         ids=["plain", "keywords"])
@pytest.mark.parametrize("hooks", [False, True])
def test_a_map_that_finds_no_room_leaves_nothing(supervisor, items, hooks):
    async def co_number(number):
        return number

    async def main():
        told = []
        queue = AsyncQueue(size=2, supervisor=supervisor, on_complete=told.append if hooks
                           else None)
        with pytest.raises(QueueFullError):
            queue.map(co_number, items)
        queue.submit(co_number, 7)
        queue.submit(co_number, 8)
        summary = await asyncio.wait_for(queue.run(), PATIENCE)
        assert summary.values == (7, 8)
        assert not hooks or [result.value for result in told][-2:] == [7, 8]

    asyncio.run(main())


def test_a_group_of_several_functions_that_finds_no_room_leaves_nothing(supervisor):
    ran = []

    async def co_note(number):
        ran.append(number)

    async def main():
        queue = AsyncQueue(size=2, supervisor=supervisor)
        with pytest.raises(QueueFullError):
            queue.group([(co_note, number) for number in range(4)])
        await queue.run()

    asyncio.run(main())
    assert ran == []


def test_a_pool_that_finds_no_room_does_not_confuse_the_hooks():
    with TaskSupervisor(pool_size=1, reserve_normal=0, reserve_high=0) as small:
        small.set_thread_pool(max_queued=3, on_full="raise")
        gate = threading.Event()
        queue = ThreadQueue(supervisor=small, on_complete=lambda result: None)
        queue.start()
        with pytest.raises(QueueFullError):
            queue.map(lambda _: gate.wait(PATIENCE), range(10))
        gate.set()
        Aside(queue.shutdown).result()


def test_items_that_raise_do_not_confuse_the_hooks(inside):
    queue = inside.make(on_complete=lambda result: None)

    def items():
        yield from [(0,)] * 600
        raise LookupError

    with pytest.raises(LookupError):
        inside.do(queue.map, inside.function("same"), items())
    assert inside.run(queue, timeout=PATIENCE).timed_out is False
