"""Coroutines that wait for room in a bounded AsyncQueue, and async iterables."""
import asyncio

import pytest

from atasker_like import (AsyncQueue, Checkpoint, ClosedError, ExecutionError, InvalidTypeError,
                          QueueFullError, ThreadQueue, amap)
from tests.support import PATIENCE
from tests.support.internals.queue import submissions_of

from .functions import co_double, co_fail_at, co_same, double


async def numbers(count):
    for number in range(count):
        await asyncio.sleep(0)
        yield number


def within(call):
    """Run a coroutine in a loop of its own, and fail if that takes too long."""
    return asyncio.run(asyncio.wait_for(call, PATIENCE))


@pytest.fixture
def make(supervisor):
    return lambda **arguments: AsyncQueue(supervisor=supervisor, **arguments)


def test_full_queue_names_the_methods_that_wait_for_room(make):
    async def main():
        queue = make(size=2)
        queue.submit(co_same, 1)
        queue.submit(co_same, 2)
        for submit in (lambda: queue.submit(co_same, 3), lambda: queue.map(co_same, [3, 4]),
                       lambda: queue.task(co_same)(3)):
            with pytest.raises(QueueFullError, match=r"this AsyncQueue is full: 2 tasks "
                                                     r".*asubmit\(\) or amap\(\)"):
                submit()
        return (await queue.run()).values

    assert within(main()) == (1, 2)


def test_asubmit_waits_for_room(make):
    async def main():
        gate, submitted = asyncio.Event(), []

        async def hold(number):
            await gate.wait()
            return number

        async def fill():
            for number in range(5):
                submitted.append(await queue.asubmit(hold, number, name=f"n{number}"))

        async with make(workers=1, size=2) as queue:
            filling = asyncio.ensure_future(fill())
            while len(submitted) < 3:
                await asyncio.sleep(0)
            for _ in range(20):
                await asyncio.sleep(0)
            assert len(submitted) == 3 and not filling.done()      # one runs, two wait
            gate.set()
            await filling
        return [(handle.name, handle.value()) for handle in submitted]

    assert within(main()) == [(f"n{number}", number) for number in range(5)]


@pytest.mark.parametrize("size", [0, 1, 3])
@pytest.mark.parametrize("items",
                         [lambda: range(20), lambda: numbers(20),
                          lambda: iter([(n,) for n in range(19)] + [{"x": 19}])])
def test_amap_of_a_queue_takes_both_kinds_of_iterables(make, size, items):
    async def main():
        async with make(workers=2, size=size) as queue:
            handles = await queue.amap(co_double, items())
        return [handle.value() for handle in handles]

    assert within(main()) == [2 * number for number in range(20)]


@pytest.mark.parametrize("size", [0, 2])
@pytest.mark.parametrize("items", [lambda: range(20), lambda: numbers(20)])
def test_amap_takes_a_size_and_both_kinds_of_iterables(supervisor, size, items):
    assert (within(amap(co_double, items(), size=size, workers=2, supervisor=supervisor))
            == tuple(range(0, 40, 2)))


def test_map_of_an_async_iterable_is_awaited(make):
    async def main():
        queue = make()
        handles = await queue.map(co_double, numbers(3))
        more = await queue.task(co_double).map(numbers(2))
        await queue.run()
        return [handle.value() for handle in handles + more]

    assert within(main()) == [0, 2, 4, 0, 2]


def test_a_bound_task_waits_for_room(make):
    async def main():
        async with make(workers=1, size=1) as queue:
            task = queue.task(co_double)
            handles = [await task.asubmit(number, priority=1) for number in range(5)]
            assert {handle.priority for handle in handles} == {1}
        return [handle.value() for handle in handles]

    assert within(main()) == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("kind", [ThreadQueue])
def test_a_blocking_queue_has_no_coroutines_that_wait(supervisor, kind):
    queue = kind(supervisor=supervisor)
    with pytest.raises(InvalidTypeError, match="a ThreadQueue .*blocks until there is room"):
        queue.task(double).asubmit(1)
    with pytest.raises(InvalidTypeError, match=r"map\(\) of an AsyncQueue"):
        queue.map(double, numbers(1))


def test_a_name_with_a_vowel_has_its_article(make):
    async def main():
        with pytest.raises(InvalidTypeError, match="^an AsyncQueue takes a function"):
            make().submit(5)
        with pytest.raises(InvalidTypeError, match="^an AsyncQueue's task has no option"):
            make().submit(co_same, 5, retrys=1)

    within(main())


# -- ends of the wait ------------------------------------------------------------------------------


def test_cancelled_wait_for_room_wakes_the_next(make):
    async def main():
        gate = asyncio.Event()

        async def hold():
            await gate.wait()

        async with make(workers=1, size=1) as queue:
            queue.submit(hold)
            await asyncio.sleep(0.01)
            queue.submit(co_same, 1)
            waiting = [asyncio.ensure_future(queue.asubmit(co_same, number)) for number in (2, 3)]
            for _ in range(5):
                await asyncio.sleep(0)
            waiting[0].cancel()
            gate.set()
            return await (await waiting[1])

    assert within(main()).value == 3


@pytest.mark.parametrize("how", ["cancel", "reset"])
def test_wait_for_room_ends_when_the_queue_is_closed(make, how):
    async def main():
        queue = make(size=1)
        queue.submit(co_same, 1)
        waiting = asyncio.ensure_future(queue.asubmit(co_same, 2))
        for _ in range(5):
            await asyncio.sleep(0)
        getattr(queue, how)()
        with pytest.raises(ClosedError, match="closed" if how == "cancel" else "reset"):
            await waiting
        assert not submissions_of(queue).calls
        return len(queue)

    assert within(main()) == 0


def test_shutdown_refuses_calls_that_wait_for_room(make):
    async def main():
        queue = make(size=1)
        queue.submit(co_same, 1)
        waiting = asyncio.ensure_future(queue.amap(co_same, [2, 3]))
        for _ in range(5):
            await asyncio.sleep(0)
        await queue.shutdown()
        with pytest.raises(ClosedError):
            await waiting
        return queue.stats["succeeded"]

    assert within(main()) == 1


def test_a_wait_for_room_in_a_queue_that_was_not_started_warns_once(make, caplog):
    async def main():
        queue = make(size=1)
        waiting = asyncio.ensure_future(queue.amap(co_same, [1, 2, 3]))
        for _ in range(5):
            await asyncio.sleep(0)
        assert len([message for message in caplog.messages if "run() or start()" in message]) == 1
        await queue.start()
        assert len(await waiting) == 3
        await queue.shutdown()

    within(main())


def test_an_async_iterable_that_raises_cancels_what_was_submitted(make):
    async def broken():
        yield 1
        raise KeyError("the source")

    async def main():
        queue = make()
        with pytest.raises(KeyError, match="the source"):
            await queue.amap(co_same, broken())
        return queue.stats["cancelled"]

    assert within(main()) == 1


def test_a_bounded_amap_tells_which_call_failed(supervisor):
    with pytest.raises(ExecutionError) as caught:
        within(amap(co_fail_at, [(n, 0) for n in range(100)], size=2, workers=1,
                    fail_policy="fail_first", supervisor=supervisor))
    assert any(isinstance(result.exception, ValueError) for result in caught.value.results)


@pytest.mark.slow
@pytest.mark.parametrize("items", [lambda: [PATIENCE] * 9, lambda: endless()])
def test_bounded_amap_keeps_its_timeout(supervisor, items):
    with pytest.raises(ExecutionError):
        within(amap(asyncio.sleep, items(), size=2, workers=1, timeout=0.3, supervisor=supervisor))


async def endless():
    yield 0
    await asyncio.sleep(PATIENCE)


def test_a_bounded_amap_with_a_checkpoint(supervisor):
    with Checkpoint(":memory:") as checkpoint:
        for expected in (0, 10):
            assert len(checkpoint) == expected
            assert within(amap(co_double, numbers(10), size=2, checkpoint=checkpoint,
                               supervisor=supervisor)) == tuple(range(0, 20, 2))
