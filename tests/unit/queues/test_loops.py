"""A queue and its loop: where its coroutines run, what is called first there, and cancellations,
none of which is lost."""
import asyncio

import pytest

from atasker_like import (AsyncQueue, WaitTimeoutError, background_task, co_as_completed,
                          co_wait_completed)
from tests.support import PATIENCE

from .functions import co_one


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


@pytest.mark.parametrize("how", ["raises", "cancelled"])
def test_a_shutdown_whose_initializer_does_not_come_to_its_end_leaves_no_task(supervisor, how):
    async def main():
        begun, calls = asyncio.Event(), []

        async def initialize():
            calls.append(1)
            begun.set()
            if how == "raises":
                raise OSError("no")
            await asyncio.sleep(PATIENCE)

        queue = AsyncQueue(initializer=initialize, supervisor=supervisor)
        handle = queue.submit(co_one, must_complete=True)
        shut = asyncio.ensure_future(queue.shutdown())
        await begun.wait()
        if how == "cancelled":
            shut.cancel()
        with pytest.raises(OSError if how == "raises" else asyncio.CancelledError):
            await shut
        assert (await asyncio.wait_for(handle.wait(), PATIENCE)).status == "cancelled"
        assert queue.closed
        await queue.shutdown()          # there is nothing left to call the initializer for
        assert calls == [1]

    asyncio.run(main())


def test_start_while_the_initializer_runs_waits_for_it(supervisor):
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
            task = background_task(gate.wait, loop=asyncio.get_running_loop(),
                                   supervisor=supervisor)()
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
        tasks = [background_task(call, loop=loop, supervisor=supervisor)()
                 for call in (co_one, gate.wait, co_one)]
        seen = []
        with pytest.raises(WaitTimeoutError):
            async for task in co_as_completed(tasks, timeout=0.1):
                seen.append(task)
        assert seen == [tasks[0], tasks[2]]
        gate.set()
        assert {task async for task in co_as_completed(tasks, timeout=PATIENCE)} == set(tasks)

    asyncio.run(main())
