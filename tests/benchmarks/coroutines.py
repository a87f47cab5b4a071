"""Rows 7 and 8: thousands of tasks awaited at once from a coroutine."""

import asyncio
import gc
from time import perf_counter
from typing import Any, Awaitable, Callable, Dict, List

from tests.benchmarks import work
from tests.benchmarks.harness import Contest, Settings, run_contest
from tests.benchmarks.peers import OURS, Side
from tests.benchmarks.report import Line, compare, faster
from tests.benchmarks.threads import Rounds


def gathered(side: Side, params: Dict[str, Any]) -> Rounds:
    """Tasks a second: one ``gather`` over all of them.

    With ``together``, our side awaits them with ``co_wait_completed`` instead, which needs no
    asyncio task for each of ours. A ``gather`` over what is no asyncio future makes one, at about 8
    us apiece: that is most of what there is to measure, and no library can take it away.
    """
    count = params['count']
    loop = asyncio.new_event_loop()
    submit: Callable[[], Awaitable[Any]]
    if side.executor is not None:
        def submit() -> Awaitable[Any]:
            return loop.run_in_executor(side.executor, work.noop)
    elif side.kind == 'process':
        from atasker_like import co_mp_apply

        def submit() -> Awaitable[Any]:
            found: Awaitable[Any] = co_mp_apply(work.noop, supervisor=side.supervisor)
            return found
    else:
        submit = side.bind(work.noop)  # our tasks can be awaited

    async def gather(awaitables: List[Any]) -> List[Any]:
        return list(await asyncio.gather(*awaitables))

    collect: Any = gather
    if params.get('together') and side.executor is None:
        from atasker_like import co_wait_completed
        collect = co_wait_completed

    async def main() -> float:
        began = perf_counter()
        results = await collect([submit() for _ in range(count)])
        seconds = perf_counter() - began
        if len(results) != count:
            raise RuntimeError('{} results of {} tasks'.format(len(results), count))
        return seconds

    side.warm_up()
    yield {}
    while True:
        gc.collect()
        yield {'rate': count / loop.run_until_complete(main())}


def row_7(settings: Settings) -> List[Line]:
    count = settings.pick(5000, 2000)
    contest = Contest('coroutines:gathered', {'kind': 'process', 'size': 2, 'count': count})
    outcomes = run_contest(settings, contest, (OURS, 'PPE'), shown=('loky',))
    return compare(7, 'co_mp_apply, {} at once'.format(count), 'tasks/s', outcomes, 'rate',
                   {'PPE': faster(10)}, 'peers: loop.run_in_executor, gathered')


def row_8(settings: Settings) -> List[Line]:
    count = settings.pick(5000, 2000)
    what = 'await thread tasks, {} at once'.format(count)
    lines: List[Line] = []
    for together, budgets in ((False, {'TPE': faster(4)}), (True, {})):
        contest = Contest('coroutines:gathered',
                          {'kind': 'thread', 'size': 4, 'count': count, 'together': together})
        outcomes = run_contest(settings, contest, (OURS, 'TPE'), settings.rounds + 2)
        title = what + (', co_wait_completed' if together else '')
        lines += compare(8, title, 'tasks/s', outcomes, 'rate', budgets,
                         'peers: loop.run_in_executor, gathered')
    return lines
