"""Rows 4 to 6, 16 and 32: the same in a pool of two processes, then tasks that work, then tasks
that carry."""

import importlib
import importlib.util
from time import perf_counter
from typing import Any, Dict, List

from tests.benchmarks import work
from tests.benchmarks.harness import ROUNDS_SHOWN, Contest, Outcome, Settings, run_contest
from tests.benchmarks.peers import OURS, Side
from tests.benchmarks.report import Budget, Line, at_most, compare, faster, not_measured
from tests.benchmarks.threads import Rounds

POOL = {'kind': 'process', 'size': 2}


def row_4(settings: Settings) -> List[Line]:
    # Peers at some thousands a second get fewer tasks: their rate does not depend on how many there
    # are.
    few = {'count': settings.pick(3000, 1500)}
    judged, shown = (OURS, 'Pool', 'PPE', 'pebble'), ('loky', 'joblib')
    contest = Contest('threads:burst', dict(POOL, count=settings.pick(20000, 10000)),
                      special={peer: few for peer in judged + shown if peer != OURS})
    return compare(
        4,
        'processes, burst',
        'tasks/s',
        run_contest(settings, contest, judged, shown=shown),
        'rate',
        {'Pool': faster(8), 'PPE': faster(15), 'pebble': faster(10)},
        'peers with {count} tasks a round'.format(**few),
    )


def row_5(settings: Settings) -> List[Line]:
    # a new subprocess for each round, for the same reason as with threads
    contest = Contest('threads:round_trip', dict(POOL, count=settings.pick(1000, 300)), fresh=True)
    outcomes = run_contest(
        settings,
        contest,
        (OURS, 'Pool', 'PPE'),
        settings.rounds + settings.pick(4, 0),
        shown=('pebble',),
    )
    return compare(5, 'processes, one round trip', 'us p50', outcomes, 'us',
                   {'Pool': at_most(0.35), 'PPE': at_most(0.35)})


def row_6(settings: Settings) -> List[Line]:
    # Sleeping tasks are the ones judged: two busy children beside a busy parent, on two cores,
    # measure how the kernel shares them out. Busy ones are shown, with a quarter of the tasks.
    lines: List[Line] = []
    variants = [
        ('sleep_for', 0.001, settings.pick(2000, 200)),
        ('sleep_for', 0.01, settings.pick(200, 20)),
    ]
    if not settings.quick:
        variants += [('busy_for', 0.001, 500), ('busy_for', 0.01, 50)]
    for function, seconds, count in variants:
        contest = Contest('threads:burst',
                          dict(POOL, count=count, function=function, args=(seconds,)))
        judged = function == 'sleep_for'
        outcomes = run_contest(
            settings,
            contest,
            (OURS, 'Pool', 'PPE'),
            None if judged else ROUNDS_SHOWN,
            shown=('pebble',),
        )
        fastest = _fastest(outcomes)
        # Against equals, who is first is chance: two per cent are taken for a draw.
        budgets: Dict[str, Budget] = {}
        if judged and fastest:
            budgets[fastest] = faster(1, noise=0.02)
        lines += compare(
            6,
            'processes, {} of {:g} ms'.format(function[:5].rstrip('_'), 1000 * seconds),
            'tasks/s',
            outcomes,
            'rate',
            budgets,
        )
    return lines


def _fastest(outcomes: Dict[str, Outcome]) -> str:
    rates = {
        peer: sorted(outcome.series('rate')) for peer, outcome in outcomes.items() if peer != OURS
    }
    medians = {peer: series[len(series) // 2] for peer, series in rates.items() if series}
    return max(medians, key=lambda peer: medians[peer]) if medians else ''


def carrying(side: Side, params: Dict[str, Any]) -> Rounds:
    """Round trips a second of a large argument that comes back as the result."""
    data = bytes(range(256)) * (params['megabytes'] * 4096)
    submit, value = side.bind(work.echo), side.value
    side.warm_up()
    value(submit(data))
    yield {}
    while True:
        began = perf_counter()
        for _ in range(params['count']):
            result = value(submit(data))
        seconds = perf_counter() - began
        if len(result) != len(data) or result[:256] != data[:256] or result[-256:] != data[-256:]:
            raise RuntimeError('the data came back changed')
        del result  # its memory is free again before the next round, on every side
        yield {'rate': params['count'] / seconds}


def row_16(settings: Settings) -> List[Line]:
    # two for ours, which is expected to be twice as fast: a round of either side takes as long
    contest = Contest(
        'processes:carrying', dict(POOL, megabytes=64, count=1), special={OURS: {'count': 2}}
    )
    return compare(
        16,
        '64 MB bytes there and back',
        'round trips/s',
        run_contest(settings, contest, (OURS, 'PPE'), shown=('Pool',)),
        'rate',
        {'PPE': faster(2)},
    )


def arrays(side: Side, params: Dict[str, Any]) -> Rounds:
    """Calls a second with an array, each time with another content."""
    numpy: Any = importlib.import_module('numpy')
    array = numpy.arange(params['megabytes'] * 131072, dtype='float64')
    function, back = getattr(work, params['function']), params['function'] == 'echo'
    last = float(array[-1])
    side.warm_up()
    side.burst(function, 2, array)
    yield {}
    number = 0.0
    while True:
        seconds = 0.0
        for _ in range(params['count']):
            number += 1
            array = array.copy()    # joblib sends an older content of an array that it knows
            array[0] = number
            began = perf_counter()
            result, = side.burst(function, 1, array)
            seconds += perf_counter() - began
            if (float(result[0]), float(result[-1])) != (number, last):
                raise RuntimeError('the array came back changed, or an older one came back')
            if back and result.flags.writeable:     # that of joblib is not
                result[0] = -1.0    # programs write into their arrays
            del result
        yield {'rate': params['count'] / seconds}


def row_32(settings: Settings) -> List[Line]:
    what = '100 MB NumPy array '
    if importlib.util.find_spec('numpy') is None:
        return [not_measured(32, what.strip(), 'numpy is not installed')]
    lines: List[Line] = []
    for function, way in (('ends', 'there'), ('echo', 'there and back')):
        contest = Contest('processes:arrays', dict(
            POOL, megabytes=100, function=function, count=settings.pick(5, 2)))
        lines += compare(
            32,
            what + way,
            'calls/s',
            run_contest(settings, contest, (OURS, 'PPE', 'joblib')),
            'rate',
            {'PPE': faster(2), 'joblib': faster(2)},
        )
    return lines
