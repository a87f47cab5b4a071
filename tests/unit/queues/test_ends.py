"""Queues that are ended, reset or waited for in the middle of other steps still end."""
import asyncio
import threading
import time
from contextlib import suppress

import pytest

from atasker_like import (AsyncQueue, Checkpoint, ClosedError, ThreadQueue, WaitTimeoutError,
                          background_task, current_task)
from atasker_like.queues import async_queue as coroutines
from tests.support import PATIENCE
from tests.support.internals.engine import END, spec_of
from tests.support.internals.queue import (BEGIN_ABORT, DISCARD, FINISH_CLOSING, MAKE_SPEC,
                                           MARK_SETTLED, RESUME_LANE, SPECS, TASK_DONE, WAIT_ALL,
                                           is_closed, pool_of_queue, submissions_of, tasks_of_queue)

from .conftest import ENDS, Aside
from .functions import co_one, fail_at_one

# -- blocks that are left in the midst of it -------------------------------------------------------


def test_an_interrupted_block_cancels_its_tasks(supervisor, monkeypatch):
    gate = threading.Event()
    queue = ThreadQueue(workers=1, supervisor=supervisor)

    def interrupted(tasks, deadline):
        monkeypatch.undo()
        raise KeyboardInterrupt

    try:
        with pytest.raises(KeyboardInterrupt), queue:
            handles = queue.map(gate.wait, [PATIENCE] * 3)
            WAIT_ALL.patch(monkeypatch, queue, interrupted)
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


# -- reset, clear_results --------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["continue", "fail_first"])
def test_hooks_pending_before_a_reset_do_not_belong_to_the_next_run(inside, policy):
    seen = []
    queue = inside.make(on_complete=lambda result: seen.append(result.status), fail_policy=policy)
    for _ in range(20):
        for _ in range(5):
            inside.do(queue.submit, inside.function("same"), 0)
        inside.do(queue.reset)
        inside.do(queue.submit, inside.function("same"), 1)
        assert inside.run(queue, timeout=PATIENCE).values == (1,)
        inside.do(queue.reset)


def test_reset_calls_the_hooks_of_tasks_that_it_cancels(supervisor):
    async def main():
        told, all_told = [], asyncio.Event()

        def tell(result):
            told.append((result.status, asyncio.get_running_loop()))
            if len(told) == 3:
                all_told.set()

        queue = AsyncQueue(supervisor=supervisor, on_complete=tell)
        queue.map(asyncio.sleep, [0] * 3)
        queue.reset()
        await asyncio.wait_for(all_told.wait(), PATIENCE)
        assert told == [("cancelled", asyncio.get_running_loop())] * 3

    asyncio.run(main())


def test_reset_does_not_block_a_wait_for_hooks(supervisor, monkeypatch):
    async def main():
        queue = AsyncQueue(supervisor=supervisor, on_complete=lambda result: None)
        queue.submit(co_one)
        await queue.run()
        behind = []
        monkeypatch.setattr(coroutines, "call_after_hooks", lambda pool,
                            call: (behind.append(call), True)[1])
        joined = asyncio.ensure_future(queue.join())
        await asyncio.sleep(0)
        queue.reset()
        behind[0]()             # those that were on their way have been called
        await asyncio.wait_for(joined, PATIENCE)

    asyncio.run(main())


def test_failure_reported_after_a_reset_ends_no_later_run(supervisor):
    queue = ThreadQueue(fail_policy="fail_first", supervisor=supervisor)
    failed = queue.submit(fail_at_one, 1)
    assert queue.run(timeout=PATIENCE).failed
    queue.reset()
    TASK_DONE.of(queue)(failed.task)
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


def test_results_may_be_cleared_while_threads_wait_for_the_end(supervisor):
    queue = ThreadQueue(mode="infinite", supervisor=supervisor)
    queue.start()
    first, second = threading.Event(), threading.Event()
    queue.submit(abs, 1).wait(PATIENCE)
    waited = queue.submit(first.wait, PATIENCE)
    settling = threading.Event()
    end = END.of(waited.task)

    class Slow:
        """A task that notes when a thread begins to wait for it."""

        _status = property(lambda self: waited.task.status)
        done = staticmethod(waited.task.done)
        _spec = spec_of(waited.task)

        def _end(self, deadline):
            settling.set()
            return end(deadline)

    tasks_of_queue(queue)[-1] = Slow()
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


# -- a reset between two steps of another thread ---------------------------------------------------


def once_before(queue, replaced, call):
    """Make a call just before the next call of a method of a queue."""
    method = replaced.of(queue)

    def late(*arguments, **options):
        replaced.drop(queue)
        call()
        return method(*arguments, **options)

    replaced.put(queue, late)


def once_after(queue, replaced, call):
    """Make a call just after the next call of a method of a queue."""
    method = replaced.of(queue)

    def early(*arguments, **options):
        replaced.drop(queue)
        made = method(*arguments, **options)
        call()
        return made

    replaced.put(queue, early)


def test_a_wait_that_a_reset_ends_leaves_the_new_tasks_alone(inside):
    queue = inside.make()
    inside.do(queue.start)
    inside.do(queue.submit, inside.function("double"), 1)
    once_before(queue, MARK_SETTLED, queue.reset)
    inside.do(queue.join)
    late = inside.do(queue.submit, inside.function("double"), 2, delay=PATIENCE)
    assert queue.pending_count == 1
    assert inside.do(queue.cancel) == 1 and late.cancelled()


def test_a_shutdown_that_a_reset_ends_does_not_close_the_queue_again(inside):
    queue = inside.make()
    inside.do(queue.start)
    once_before(queue, FINISH_CLOSING, queue.reset)
    inside.do(queue.shutdown)
    assert not queue.closed and not is_closed(queue)
    inside.do(queue.submit, inside.function("double"), 2)
    assert inside.run(queue, timeout=PATIENCE).values == (4,)


def test_submission_that_a_reset_overtakes_spoils_no_later_one(inside):
    queue = inside.make()
    once_after(queue, MAKE_SPEC, lambda: Aside(queue.reset).result())
    with suppress(ClosedError):
        inside.do(queue.submit, inside.function("double"), 1)
    inside.do(queue.submit, inside.function("double"), 2)
    assert inside.run(queue, timeout=PATIENCE).values == (4,)


def test_failure_from_before_a_reset_cancels_no_task_from_after_it(supervisor):
    queue = ThreadQueue(fail_policy="fail_first", supervisor=supervisor).start()
    told = threading.Event()

    def reset():
        Aside(queue.reset).result()
        queue.submit(abs, -1, delay=PATIENCE)

    once_before(queue, BEGIN_ABORT, reset)
    once_after(queue, RESUME_LANE, told.set)
    failed = queue.submit(fail_at_one, 1)
    assert told.wait(PATIENCE)
    assert failed.exception() is not None and queue.pending_count == 1


def test_run_that_comes_in_the_midst_of_a_reset_is_refused(supervisor):
    queue = ThreadQueue(supervisor=supervisor)
    queue.submit(abs, -1)
    errors = []

    def run():
        with pytest.raises(ClosedError) as raised:
            Aside(queue.run, timeout=PATIENCE).result()
        errors.append(raised.value)

    once_before(queue, DISCARD, run)
    queue.reset()
    assert len(errors) == 1
    queue.submit(abs, -2)
    assert queue.run(timeout=PATIENCE).values == (2,)


def test_initializer_from_before_a_reset_is_not_taken_for_the_one_after_it(supervisor):
    async def main():
        gates = []

        async def prepare():
            gates.append(asyncio.Event())
            await gates[-1].wait()

        async def begun(number):
            while len(gates) < number:
                await asyncio.sleep(0)

        queue = AsyncQueue(supervisor=supervisor, initializer=prepare)
        early = asyncio.ensure_future(queue.start())
        await asyncio.wait_for(begun(1), PATIENCE)
        queue.reset()
        late = [asyncio.ensure_future(queue.start())]
        await asyncio.wait_for(begun(2), PATIENCE)
        gates[0].set()
        await asyncio.wait({early}, timeout=0.02)       # it may wait for the other one
        late.append(asyncio.ensure_future(queue.start()))
        done, _ = await asyncio.wait(late, timeout=0.02)
        assert not done and len(gates) == 2
        gates[1].set()
        await asyncio.wait_for(asyncio.gather(early, *late), PATIENCE)
        assert len(gates) == 2
        await queue.shutdown()

    asyncio.run(main())


def test_tasks_do_not_disappear_while_results_are_cleared(supervisor):
    queue = ThreadQueue(supervisor=supervisor).start()
    queue.map(abs, range(3))
    queue.join(PATIENCE)
    rest = [queue.submit(abs, -1, delay=PATIENCE) for _ in range(2)]
    seen = []

    class Specs(dict):
        """What the queue empties when it has shortened its list of tasks."""

        def clear(self):
            seen.append(queue.pending_count)
            super().clear()

    SPECS.put(queue, Specs(SPECS.of(queue)))
    queue.clear_results()
    assert seen == [2]
    assert queue.cancel() == 2 and all(handle.cancelled() for handle in rest)


# -- failures that come late -----------------------------------------------------------------------


@pytest.mark.parametrize("how", ["task", "run", "completed"])
def test_function_that_raises_after_its_task_has_ended_blocks_no_other_task(supervisor, how):
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
def test_coroutine_that_raises_when_it_is_cancelled_blocks_no_other_task(supervisor, how):
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


def test_task_that_exits_counts_as_the_first_failure(supervisor):
    started = []

    def body(number):
        started.append(number)
        if number == 0:
            raise SystemExit

    queue = ThreadQueue(workers=1, fail_policy="fail_first", supervisor=supervisor)
    queue.map(body, range(200))
    assert isinstance(queue.run(timeout=PATIENCE).results[0].exception, SystemExit)
    assert started == [0]


# -- hooks, and tasks that end their queue ---------------------------------------------------------


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


@pytest.mark.parametrize("settings",
                         [{}, {"fail_policy": "fail_first"}, {"on_complete": lambda result: None}],
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
            with ThreadQueue(supervisor=supervisor,
                             on_complete=lambda result: (time.sleep(0.05),
                                                         told.append(result))) as queue:
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


def test_join_with_unfinished_hooks_names_them(supervisor):
    gate = threading.Event()
    queue = ThreadQueue(supervisor=supervisor, on_complete=lambda result: gate.wait(PATIENCE))
    queue.start()
    queue.submit(abs, -1).wait(PATIENCE)
    with pytest.raises(WaitTimeoutError, match="hooks"):
        queue.join(timeout=0.05)
    gate.set()
    queue.join(PATIENCE)
    queue.shutdown()


def test_hooks_posted_to_the_loop_are_waited_for(supervisor):
    async def main():
        told = []
        queue = AsyncQueue(supervisor=supervisor, on_complete=told.append)
        await queue.start()
        for number in range(1, 21):
            await queue.submit(co_one)
            deadline = time.monotonic() + PATIENCE
            # the loop stands still meanwhile
            while pool_of_queue(queue).notifier.is_calling and time.monotonic() < deadline:
                time.sleep(0.001)
            await queue.join()
            assert len(told) == number
        await queue.shutdown()

    asyncio.run(main())


def test_join_of_an_async_queue_keeps_its_timeout(supervisor):
    async def main():
        gate = threading.Event()
        queue = AsyncQueue(supervisor=supervisor, on_complete=lambda result: None)

        async def hold():           # as a submission in another thread would that waits for room
            submissions_of(queue).add(1)

        await queue.start()
        await hold()
        with pytest.raises(WaitTimeoutError):
            await queue.join(timeout=0.05)
        submissions_of(queue).done(1)
        await queue.shutdown()
        gate.set()

    asyncio.run(main())


def test_current_task_of_another_queue_is_waited_for(supervisor):
    """A task of one queue that shuts down another one waits for all of that."""
    told = []
    inner = ThreadQueue(supervisor=supervisor,
                        on_complete=lambda result: (time.sleep(0.05), told.append(current_task())))

    def body():
        with inner:
            inner.map(abs, [-1, -2])
        return len(told)

    with ThreadQueue(supervisor=supervisor) as outer:
        handle = outer.submit(body)
    assert handle.value() == 2
