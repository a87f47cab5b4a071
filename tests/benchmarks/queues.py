"""Rows 22 to 25: what a queue costs above the tasks that it is made of, coroutines above bare
asyncio, and a rate."""

import asyncio
import gc
import tracemalloc
from time import perf_counter
from typing import Any, Dict, List

from tests.benchmarks import work
from tests.benchmarks.harness import Contest, Settings, run_contest
from tests.benchmarks.peers import OURS, QUEUED, Queued, Side
from tests.benchmarks.report import Line, absolute, alone, at_most, compare, faster
from tests.benchmarks.threads import Rounds


def _row(
    settings: Settings, row: int, what: str, pool: Dict[str, Any], budget: float
) -> List[Line]:
    contest = Contest('threads:mapped', dict(pool, count=settings.pick(100000, 10000)), limit=120)
    found = run_contest(settings, contest, (OURS, QUEUED), settings.rounds)
    return compare(
        row,
        what,
        'tasks/s',
        {OURS: found[QUEUED], 'background_task.map': found[OURS]},
        'rate',
        {'background_task.map': faster(1 / budget)},
    )


def row_22(settings: Settings) -> List[Line]:
    return _row(settings, 22, 'ThreadQueue.map', {'kind': 'thread', 'size': 4}, 1.3)


def row_23(settings: Settings) -> List[Line]:
    return _row(settings, 23, 'ProcessQueue.map', {'kind': 'process', 'size': 2}, 1.2)


async def _nothing(item: int) -> int:
    await asyncio.sleep(0)
    return item


async def _with_a_semaphore(count: int) -> int:
    places = asyncio.Semaphore(100)

    async def one(item: int) -> int:
        async with places:
            return await _nothing(item)

    return len(await asyncio.gather(*(one(item) for item in range(count))))


async def _with_a_queue(queue: Any) -> int:
    return int((await queue.run()).succeeded)


def coroutines(side: Side, params: Dict[str, Any]) -> Rounds:
    """Coroutines a second, a hundred at a time: through a queue, or with a semaphore and
    ``gather``."""
    count = params['count']

    async def with_a_queue() -> int:
        from atasker_like import AsyncQueue
        queue = AsyncQueue(workers=100, supervisor=side.supervisor)
        queue.map(_nothing, range(count))
        return await _with_a_queue(queue)

    yield {}
    while True:
        gc.collect()
        began = perf_counter()
        ended = asyncio.run(
            with_a_queue() if isinstance(side, Queued) else _with_a_semaphore(count)
        )
        seconds = perf_counter() - began
        if ended != count:
            raise RuntimeError('{} of {} coroutines succeeded'.format(ended, count))
        yield {'rate': count / seconds}


def growth(side: Side, params: Dict[str, Any]) -> Rounds:
    """Bytes for each coroutine that a run has allocated at its peak, beyond what was submitted
    before it began."""
    count = params['count']

    async def traced() -> int:
        from atasker_like import AsyncQueue
        ending = _with_a_semaphore(count)
        if isinstance(side, Queued):
            ending.close()
            queue = AsyncQueue(workers=100, supervisor=side.supervisor)
            queue.map(_nothing, range(count))
            ending = _with_a_queue(queue)
        tracemalloc.start()
        try:
            await ending
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    yield {}
    while True:
        yield {'bytes': asyncio.run(traced()) / count}


def row_24(settings: Settings) -> List[Line]:
    contest = Contest(
        'queues:coroutines',
        {'kind': 'thread', 'size': 4, 'count': settings.pick(100000, 10000)},
        limit=240,
    )
    found = run_contest(settings, contest, (OURS, QUEUED), min(settings.rounds, 3))
    lines = compare(
        24,
        'AsyncQueue, 100 at a time',
        'tasks/s',
        {OURS: found[QUEUED], 'asyncio': found[OURS]},
        'rate',
        {'asyncio': faster(0.5)},
    )
    contest = Contest(
        'queues:growth',
        {'kind': 'thread', 'size': 4, 'count': settings.pick(50000, 10000)},
        limit=240,
    )
    # bytes do not depend on what else the machine does
    found = run_contest(settings, contest, (OURS, QUEUED), 1)
    return lines + compare(
        24,
        'the same: memory of running',
        'bytes each',
        {OURS: found[QUEUED], 'asyncio': found[OURS]},
        'bytes',
        {'asyncio': at_most(0.05)},
    )


def rated(side: Side, params: Dict[str, Any]) -> Rounds:
    """By how much a rate of 50 a second, five at once after a pause, is off."""
    rate, burst, seconds = 50, 5, params['seconds']
    from atasker_like import ThreadQueue
    yield {}
    while True:
        queue = ThreadQueue(rate=rate, burst=burst, supervisor=side.supervisor)
        queue.map(work.now, [()] * (rate * seconds + burst))
        started = sorted(queue.run().values)
        yield {'percent': 100 * abs((started[-1] - started[0]) / seconds - 1)}


def row_25(settings: Settings) -> List[Line]:
    contest = Contest(
        'queues:rated', {'kind': 'thread', 'size': 4, 'seconds': settings.pick(10, 2)}, limit=60
    )
    found = run_contest(settings, contest, (QUEUED,), 1)
    return [
        alone(
            25, 'a queue with rate=50, burst=5', '% off', found[QUEUED], 'percent', absolute(2, '%')
        )
    ]
