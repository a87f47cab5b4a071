"""Row 11: how long an urgent task waits when a long queue of tasks that nobody hurries for is ahead
of it."""

from statistics import median
from time import perf_counter
from typing import Any, Dict, List

from tests.benchmarks import work
from tests.benchmarks.harness import Contest, Settings, run_contest
from tests.benchmarks.peers import OURS, Side
from tests.benchmarks.report import Budget, Line, absolute, alone
from tests.benchmarks.threads import Rounds

LENGTH = 0.001  # seconds that one of the queued tasks takes


def urgent(side: Side, params: Dict[str, Any]) -> Rounds:
    """From submission to start, the median over HIGH tasks submitted one after the other."""
    from atasker_like import TASK_HIGH, TASK_LOW
    slow = side.bind(work.sleep_for, priority=TASK_LOW)
    submit, value = side.bind(work.now, priority=TASK_HIGH), side.value
    side.warm_up()
    for _ in range(params['queued']):
        last: Any = slow(LENGTH)
    yield {}
    while True:
        waits = []
        for _ in range(params['count']):
            began = perf_counter()
            waits.append(value(submit()) - began)
        if last.is_completed():
            raise RuntimeError(
                'the queue of LOW tasks ran dry: HIGH ones waited for it, or were too many'
            )
        yield {'ms': 1000 * median(waits), 'worst_ms': 1000 * max(waits)}


def last_in_line(side: Side, params: Dict[str, Any]) -> Rounds:
    """What the same costs where there are no priorities: the whole queue."""
    slow, submit, value = side.bind(work.sleep_for), side.bind(work.now), side.value
    side.warm_up()
    yield {}
    while True:
        for _ in range(params['queued']):
            slow(LENGTH)
        began = perf_counter()
        yield {'ms': 1000 * (value(submit()) - began)}


def row_11(settings: Settings) -> List[Line]:
    many, few = settings.pick(100000, 30000), 1000
    budget: Budget = absolute(1000 * LENGTH + 1, 'ms')
    lines = []
    for kind, size in (('thread', 4), ('process', 2)):
        pool = {'kind': kind, 'size': size}
        contest = Contest('urgency:urgent',
                          dict(pool, queued=many, count=settings.pick(200, 100), abandon=True))
        ours = run_contest(settings, contest, (OURS,))[OURS]
        line = alone(11, 'urgency, {} pool'.format(kind), 'ms p50', ours, 'ms', budget,
                     'HIGH among {} LOW'.format(many))
        lines.append(line)
    contrast = Contest('urgency:last_in_line', {'kind': 'thread', 'size': 4, 'queued': few})
    peer = run_contest(settings, contrast, ('TPE',), rounds=3)['TPE']
    scale = many / few
    note = (
        'HIGH among {} LOW; TPE has no priorities: its wait for {} queued tasks, times {:g}'.format(
            many, few, scale
        )
    )
    threads = lines[0]
    lines[0] = Line(11, threads.what, threads.unit, threads.ours_rounds, 'TPE',
                    [scale * found for found in peer.series('ms')], budget, note,
                    threads.blocked, threads.broken)
    return lines
