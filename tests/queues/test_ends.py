"""Queues that are ended, refused or waited for in the midst of something: they come to their end, and lose nothing."""
import asyncio
import itertools
import threading
import time

import pytest

from atasker_like import (AsyncQueue, Checkpoint, ClosedError, ExecutionError, InvalidTypeError, QueueFullError, TaskSupervisor,
                          ThreadQueue, WaitTimeoutError, background_task, co_as_completed, co_wait_completed,
                          current_task, tmap)

from .conftest import PATIENCE

ENDS = {"cancel": lambda queue: queue.cancel(), "shutdown": lambda queue: queue.shutdown(),
        "force": lambda queue: queue.shutdown(force=True), "timeout": lambda queue: queue.run(timeout=0.05)}


class Aside:
    """A call in a thread of its own, with what came of it."""

    def __init__(self, call, *args, **kwargs):
        self._call = lambda: call(*args, **kwargs)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        try:
            self.value, self.error = self._call(), None
        except BaseException as error:
            self.value, self.error = None, error

    def result(self):
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "it goes on"
        if self.error is not None:
            raise self.error
        return self.value


def boom(value):
    if value == 1:
        raise ValueError(value)
    return value


async def co_one():
    return 1


def same(face):
    """A function that gives what it is given."""

    async def co_same(value):
        return value

    return co_same if face.is_async else abs


# -- while calls are being submitted -----------------------------------------------------------------


@pytest.mark.parametrize("end", ["cancel", "shutdown"])
def test_a_map_that_is_under_way_when_the_queue_is_closed_is_refused(supervisor, end):
    """Its chunks go into a lane that the pool must not have forgotten meanwhile."""
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
        queue.shutdown(force=True)      # the run is over, and the queue is open again for who did not look meanwhile
    with pytest.raises(ClosedError):
        mapped.result()
    queue.join(PATIENCE)
    assert len(queue) == 0


@pytest.mark.parametrize("hooks", [{}, {"on_complete": lambda result: None}])
def test_a_failure_ends_a_bounded_queue_that_is_being_filled(supervisor, hooks):
    """Who submits waits for room, in a lane that the failure holds."""

    def fill():
        with ThreadQueue(workers=1, size=2, fail_policy="fail_first", supervisor=supervisor, **hooks) as queue:
            queue.map(boom, range(10))

    with pytest.raises(ClosedError, match="giving up"):
        Aside(fill).result()


def test_a_bounded_tmap_tells_which_call_failed():
    with pytest.raises(ExecutionError) as caught:
        Aside(tmap, boom, range(100), workers=1, size=2, fail_policy="fail_first").result()
    assert any(isinstance(result.exception, ValueError) for result in caught.value.results)


def test_what_a_bounded_map_has_submitted_is_in_the_ledger(supervisor):
    queue = ThreadQueue(workers=1, size=2, supervisor=supervisor)
    queue.start()
    running, gate = threading.Event(), threading.Event()

    def body(_):
        running.set()
        gate.wait(PATIENCE)

    mapped = Aside(queue.map, body, range(100))
    assert running.wait(PATIENCE)
    deadline = time.monotonic() + PATIENCE
    while len(queue) < 3 and time.monotonic() < deadline:       # the one that runs, and those for which there was room
        time.sleep(0.001)
    assert queue.active_count == 1 and queue.pending_count == 2
    assert queue.cancel() == 3
    gate.set()
    with pytest.raises(ClosedError):
        mapped.result()
    queue.join(PATIENCE)
    assert queue.stats["succeeded"] <= 1        # the one that ran, which threads cannot be made to end


def test_a_bounded_pool_does_not_hide_tasks_either():
    with TaskSupervisor(pool_size=1, reserve_normal=0, reserve_high=0) as small:
        small.set_thread_pool(max_queued=2, on_full="block")

        def fill():
            with ThreadQueue(workers=1, fail_policy="fail_first", supervisor=small) as queue:
                queue.map(boom, range(10))

        with pytest.raises(ClosedError, match="giving up"):
            Aside(fill).result()


def test_what_is_accepted_as_the_queue_is_cancelled_is_cancelled(supervisor, monkeypatch):
    """Those that are left have been looked up, and it is not closed yet: the moment in which nobody else would see it."""
    queue = ThreadQueue(supervisor=supervisor)
    queue.start()
    accepted, looked_up = threading.Event(), threading.Event()
    enter, has_closed = queue._enter, queue._has_closed

    def late(tasks):
        accepted.set()
        assert looked_up.wait(PATIENCE)
        enter(tasks)

    def close():
        looked_up.set()
        submitted.result()
        has_closed()

    gate = threading.Event()
    busy = [background_task(gate.wait, supervisor=supervisor, priority=0)(PATIENCE) for _ in range(40)]     # it does not start
    monkeypatch.setattr(queue, "_enter", late)
    monkeypatch.setattr(queue, "_has_closed", close)
    submitted = Aside(queue.submit, abs, -1)
    assert accepted.wait(PATIENCE)
    queue.cancel()
    assert submitted.result().cancelled()
    gate.set()
    assert all(task.value(PATIENCE) for task in busy)


# -- refusals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("items", [range(4), [{"number": number} for number in range(4)]], ids=["plain", "keywords"])
@pytest.mark.parametrize("hooks", [False, True])
def test_a_map_that_finds_no_room_leaves_nothing(supervisor, items, hooks):
    async def co_number(number):
        return number

    async def main():
        told = []
        queue = AsyncQueue(size=2, supervisor=supervisor, on_complete=told.append if hooks else None)
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
        inside.do(queue.map, same(inside), items())
    assert inside.run(queue, timeout=PATIENCE).timed_out is False


def test_an_interrupted_block_cancels_its_tasks(supervisor, monkeypatch):
    gate = threading.Event()
    queue = ThreadQueue(workers=1, supervisor=supervisor)

    def interrupted(deadline):
        monkeypatch.undo()
        raise KeyboardInterrupt

    try:
        with pytest.raises(KeyboardInterrupt), queue:
            handles = queue.map(gate.wait, [PATIENCE] * 3)
            monkeypatch.setattr(queue, "_settle", interrupted)
        assert handles[2].cancelled() and queue.closed
    finally:
        gate.set()


def test_a_block_whose_clean_end_is_cancelled_cancels_its_tasks(supervisor):
    async def main():
        queue = AsyncQueue(workers=1, supervisor=supervisor)
        ending = asyncio.Event()

        async def block():
            async with queue:
                queue.map(asyncio.sleep, [PATIENCE, PATIENCE])
                ending.set()

        blocked = asyncio.ensure_future(block())
        await ending.wait()
        await asyncio.sleep(0)
        blocked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await blocked
        await asyncio.wait_for(queue.join(), PATIENCE)
        assert queue.closed and queue.stats["cancelled"] == 2

    asyncio.run(main())


# -- reset, clear_results ----------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["continue", "fail_first"])
def test_hooks_of_before_a_reset_are_not_those_of_the_next_run(inside, policy):
    seen = []
    queue = inside.make(on_complete=lambda result: seen.append(result.status), fail_policy=policy)
    for _ in range(20):
        for _ in range(5):
            inside.do(queue.submit, same(inside), 0)
        inside.do(queue.reset)
        inside.do(queue.submit, same(inside), 1)
        assert inside.run(queue, timeout=PATIENCE).values == (1,)
        inside.do(queue.reset)


def test_a_failure_of_before_a_reset_that_is_told_late_ends_no_later_run(supervisor):
    queue = ThreadQueue(fail_policy="fail_first", supervisor=supervisor)
    failed = queue.submit(boom, 1)
    assert queue.run(timeout=PATIENCE).failed
    told = queue._aftermath
    queue.reset()
    told.expect(1)
    queue._has_ended(told, failed.task)
    queue.submit(abs, -1)       # which a queue that gives up refuses


def test_a_map_that_goes_on_after_a_reset_is_refused(supervisor):
    queue = ThreadQueue(supervisor=supervisor)

    def items():
        yield from range(512)
        queue.reset()
        yield 1

    with pytest.raises(ClosedError, match="reset"):
        queue.map(abs, items())
    queue.submit(abs, -2)
    assert queue.run(timeout=PATIENCE).values == (2,)


def test_results_may_be_cleared_while_others_wait_for_the_end(supervisor):
    queue = ThreadQueue(mode="infinite", supervisor=supervisor)
    queue.start()
    first, second = threading.Event(), threading.Event()
    queue.submit(abs, 1).wait(PATIENCE)
    waited = queue.submit(first.wait, PATIENCE)
    settling = threading.Event()
    end = waited.task._end

    class Slow:
        """The task, which says when it is waited for."""

        _status = property(lambda self: waited.task._status)
        done = staticmethod(waited.task.done)
        _spec = waited.task._spec

        def _end(self, deadline):
            settling.set()
            return end(deadline)

    queue._tasks[-1] = Slow()
    joined = Aside(queue.join, PATIENCE)
    assert settling.wait(PATIENCE)
    queue.clear_results()
    late = queue.submit(second.wait, PATIENCE)
    first.set()
    waited.wait(PATIENCE)
    shut = Aside(queue.shutdown)
    assert not late.done()
    second.set()
    joined.result()
    assert late.done()
    shut.result()


# -- failures that come late -------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["task", "run", "completed"])
def test_a_body_that_raises_after_its_task_has_ended_holds_up_nothing(supervisor, how):
    queue = ThreadQueue(fail_policy="fail_first", supervisor=supervisor)
    running, gate, left = threading.Event(), threading.Event(), threading.Event()

    def body():
        running.set()
        gate.wait(PATIENCE)
        threading.Timer(0, lambda: (thread.join(0.2), left.set())).start()
        raise ValueError("late")

    thread = threading.current_thread()
    handle = queue.submit(body, **({"timeout": 0.05} if how == "task" else {}))
    ran = Aside(queue.run, timeout=0.05 if how == "run" else PATIENCE)
    assert running.wait(PATIENCE)
    if how == "completed":
        handle.task.mark_completed()
    assert len(ran.result().results) == 1
    gate.set()
    assert left.wait(PATIENCE)
    queue.submit(abs, -1)
    assert queue.run(timeout=PATIENCE).values == (1,)


@pytest.mark.parametrize("how", ["task", "run", "completed", "cancel"])
def test_a_coroutine_that_raises_as_it_is_given_up_holds_up_nothing(supervisor, how):
    async def main():
        begun = asyncio.Event()

        async def body():
            begun.set()
            try:
                await asyncio.sleep(PATIENCE)
            except asyncio.CancelledError:
                raise ValueError("in the cleanup") from None

        queue = AsyncQueue(fail_policy="fail_first", supervisor=supervisor)
        handle = queue.submit(body, **({"timeout": 0.05} if how == "task" else {}))
        ran = asyncio.ensure_future(queue.run(timeout=0.05 if how == "run" else PATIENCE))
        await begun.wait()
        if how == "completed":
            handle.task.mark_completed()
        if how == "cancel":
            handle.cancel()
        assert len((await ran).results) == 1
        while len(asyncio.all_tasks()) > 1:     # until it has raised
            await asyncio.sleep(0)
        queue.submit(co_one)
        assert (await queue.run(timeout=PATIENCE)).values == (1,)

    asyncio.run(main())


def test_a_task_that_exits_is_a_first_failure_too(supervisor):
    started = []

    def body(number):
        started.append(number)
        if number == 0:
            raise SystemExit

    queue = ThreadQueue(workers=1, fail_policy="fail_first", supervisor=supervisor)
    queue.map(body, range(200))
    assert isinstance(queue.run(timeout=PATIENCE).results[0].exception, SystemExit)
    assert started == [0]


# -- hooks, and tasks that end their queue -----------------------------------------------------------


@pytest.mark.parametrize("what", ["shutdown", "force", "join", "cancel"])
def test_a_hook_may_end_its_queue(supervisor, what):
    calls = dict(ENDS, join=lambda queue: queue.join(PATIENCE))
    told = []

    def hook(result):
        if result.name == "second":
            calls[what](queue)
        told.append(result.name)

    queue = ThreadQueue(workers=1, supervisor=supervisor, on_complete=hook)
    names = ["first", "second", "third", "fourth"]
    for name in names:
        queue.submit(abs, 1, name=name)
    began = time.monotonic()
    assert len(Aside(queue.run).result().results) == 4
    assert sorted(told) == sorted(names) and time.monotonic() - began < PATIENCE / 2


@pytest.mark.parametrize("settings", [{}, {"fail_policy": "fail_first"}, {"on_complete": lambda result: None}],
                         ids=["plain", "fail_first", "hooks"])
def test_a_task_that_joins_its_own_queue_does_not_wait_for_itself(inside, settings):
    queue = inside.make(**settings)

    def join():
        queue.join(PATIENCE)
        return "joined"

    async def co_join():
        await queue.join(PATIENCE)
        return "joined"

    began = time.monotonic()
    inside.do(queue.submit, co_join if inside.is_async else join)
    assert inside.run(queue).values == ("joined",)
    assert time.monotonic() - began < PATIENCE / 2


def test_a_queue_inside_of_any_task_waits_for_its_hooks_and_its_checkpoint(supervisor):
    class Slow:
        def __reduce__(self):
            time.sleep(0.05)
            return int, (1,)

    def use():
        told = []
        with Checkpoint(":memory:") as checkpoint:
            with ThreadQueue(supervisor=supervisor, on_complete=lambda result: (time.sleep(0.05), told.append(result))) as queue:
                queue.map(lambda_free, [Slow(), Slow()], checkpoint=None)
                queue.map(slow_value, [1, 2], checkpoint=checkpoint)
            return len(told), len(checkpoint)

    def lambda_free(value):
        return None

    def slow_value(number):
        return Slow()

    assert background_task(use, supervisor=supervisor)().value(PATIENCE) == (4, 2)


def test_a_run_waits_for_what_comes_while_it_waits_for_hooks(supervisor):
    gate = threading.Event()
    submitted = []

    def hook(result):
        if not submitted:
            submitted.append(queue.submit(gate.wait, PATIENCE))
            threading.Timer(0.05, gate.set).start()

    queue = ThreadQueue(supervisor=supervisor, on_complete=hook)
    queue.submit(abs, -1)
    assert queue.run(timeout=PATIENCE).values == (1, True)


def test_join_tells_of_hooks_that_are_unfinished(supervisor):
    gate = threading.Event()
    queue = ThreadQueue(supervisor=supervisor, on_complete=lambda result: gate.wait(PATIENCE))
    queue.start()
    queue.submit(abs, -1).wait(PATIENCE)
    with pytest.raises(WaitTimeoutError, match="hooks"):
        queue.join(timeout=0.05)
    gate.set()
    queue.join(PATIENCE)
    queue.shutdown()


def test_hooks_that_are_on_their_way_into_the_loop_are_waited_for(supervisor):
    async def main():
        told = []
        queue = AsyncQueue(supervisor=supervisor, on_complete=told.append)
        await queue.start()
        for number in range(1, 21):
            await queue.submit(co_one)
            deadline = time.monotonic() + PATIENCE
            while queue._pool._calling and time.monotonic() < deadline:     # the loop stands still meanwhile
                time.sleep(0.001)
            await queue.join()
            assert len(told) == number
        await queue.shutdown()

    asyncio.run(main())


def test_join_of_a_queue_of_coroutines_keeps_its_time(supervisor):
    async def main():
        gate = threading.Event()
        queue = AsyncQueue(supervisor=supervisor, on_complete=lambda result: None)

        async def hold():           # as a submission in another thread would that waits for room
            queue._entering.expect(1)

        await queue.start()
        await hold()
        with pytest.raises(WaitTimeoutError):
            await queue.join(timeout=0.05)
        queue._entering.made()
        await queue.shutdown()
        gate.set()

    asyncio.run(main())


# -- a queue and its loop ----------------------------------------------------------------------------


def test_the_initializer_is_called_again_until_it_has_come_to_its_end(supervisor):
    async def main():
        calls = []

        async def initialize():
            calls.append("begun")
            if len(calls) == 1:
                raise OSError("not yet")
            await asyncio.sleep(0)
            calls.append("ended")

        async def state():
            return calls[-1]

        queue = AsyncQueue(initializer=initialize, supervisor=supervisor)
        queue.submit(state)
        with pytest.raises(OSError):
            await queue.run()
        queue.submit(state)
        assert (await queue.run()).values == ("ended",)
        assert calls == ["begun", "begun", "ended"]

    asyncio.run(main())


def test_who_starts_while_the_initializer_runs_waits_for_it(supervisor):
    async def main():
        gate, ready = asyncio.Event(), []

        async def initialize():
            await gate.wait()
            ready.append(1)

        async def is_ready():
            return bool(ready)

        queue = AsyncQueue(initializer=lambda: initialize(), supervisor=supervisor)
        first, second = asyncio.ensure_future(queue.start()), asyncio.ensure_future(queue.start())
        handle = queue.submit(is_ready)
        await asyncio.sleep(0)
        assert not second.done()
        gate.set()
        await second
        assert (await handle).value is True
        await first
        await queue.shutdown()
        assert ready == [1]

    asyncio.run(main())


def test_a_queue_that_is_started_stays_in_its_loop_when_it_is_idle(supervisor):
    async def main():
        home = asyncio.get_running_loop()
        calls = []

        async def where():
            return asyncio.get_running_loop()

        async def elsewhere():
            return queue.submit(where)

        queue = AsyncQueue(initializer=lambda: calls.append(1), supervisor=supervisor)
        await queue.start()
        handle = await home.run_in_executor(None, lambda: asyncio.run(elsewhere()))
        assert (await handle).value is home
        await queue.shutdown()
        assert calls == [1]

    asyncio.run(main())


@pytest.mark.parametrize("timeout", [None, PATIENCE])
def test_a_cancellation_that_comes_with_the_end_of_a_task_is_not_lost(supervisor, timeout):
    async def main():
        queue = AsyncQueue(supervisor=supervisor)
        queue.submit(asyncio.sleep, PATIENCE)
        last = queue.submit(co_one)         # run() waits for this one first
        ran = asyncio.ensure_future(queue.run(timeout=timeout))

        async def cancel():
            await last
            ran.cancel()

        canceller = asyncio.ensure_future(cancel())
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(asyncio.shield(ran), PATIENCE / 2)
        await canceller

    asyncio.run(main())


def test_no_wait_with_a_timeout_swallows_a_cancellation(supervisor):
    async def main():
        async def wait(task):
            await co_wait_completed([task], timeout=PATIENCE)
            await asyncio.sleep(PATIENCE)

        async def each(task):
            async for _ in co_as_completed([task], timeout=PATIENCE):
                await asyncio.sleep(PATIENCE)

        async def cancel(task, waiter):
            await task
            waiter.cancel()

        for kind in (wait, each):
            gate = asyncio.Event()
            task = background_task(gate.wait, loop=asyncio.get_running_loop(), supervisor=supervisor)()
            waiter = asyncio.ensure_future(kind(task))
            await asyncio.sleep(0)
            canceller = asyncio.ensure_future(cancel(task, waiter))
            await asyncio.sleep(0)
            gate.set()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(asyncio.shield(waiter), PATIENCE / 2)
            await canceller

    asyncio.run(main())


def test_co_as_completed_keeps_its_time(supervisor):
    async def main():
        gate = asyncio.Event()
        loop = asyncio.get_running_loop()
        tasks = [background_task(call, loop=loop, supervisor=supervisor)() for call in (co_one, gate.wait, co_one)]
        seen = []
        with pytest.raises(WaitTimeoutError):
            async for task in co_as_completed(tasks, timeout=0.1):
                seen.append(task)
        assert seen == [tasks[0], tasks[2]]
        gate.set()
        assert {task async for task in co_as_completed(tasks, timeout=PATIENCE)} == set(tasks)

    asyncio.run(main())


# -- small things ------------------------------------------------------------------------------------


def test_a_task_of_a_queue_may_be_a_method(supervisor):
    queue = ThreadQueue(supervisor=supervisor)

    class Counter:
        start = 40

        @queue.task()
        def add(self, number):
            return self.start + number

    Counter().add(2)
    Counter().add.map([3])
    assert queue.run(timeout=PATIENCE).values == (42, 43)


def test_one_call_has_no_mode():
    with pytest.raises(InvalidTypeError, match="mode"):
        tmap(abs, [1], mode="infinite")


def test_calls_of_one_function_in_a_group_look_at_the_checkpoint_once(supervisor, monkeypatch):
    queue = ThreadQueue(supervisor=supervisor)
    with Checkpoint(":memory:") as checkpoint:
        pages = []
        make = checkpoint.page
        monkeypatch.setattr(checkpoint, "page", lambda function: pages.append(function) or make(function))
        queue.group([(abs, -1), (abs, -2), (str, 3)], checkpoint=checkpoint)
        assert queue.run(timeout=PATIENCE).values == (1, 2, "3")
    assert len(pages) == 2


def test_current_task_of_another_queue_is_waited_for(supervisor):
    """A task of one queue that shuts down another one waits for all of that."""
    told = []
    inner = ThreadQueue(supervisor=supervisor, on_complete=lambda result: (time.sleep(0.05), told.append(current_task())))

    def body():
        with inner:
            inner.map(abs, [-1, -2])
        return len(told)

    with ThreadQueue(supervisor=supervisor) as outer:
        handle = outer.submit(body)
    assert handle.value() == 2
