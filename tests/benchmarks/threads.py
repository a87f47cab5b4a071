"""Rows 1 to 3: tasks that do nothing, in a pool of four threads.

The measures of a burst and of a round trip know nothing of threads: processes.py uses them too.
"""

import gc
from statistics import median
from time import perf_counter
from typing import Any, Dict, Iterator, List

from tests.benchmarks import work
from tests.benchmarks.harness import Contest, Settings, run_contest
from tests.benchmarks.peers import OURS, Side
from tests.benchmarks.report import Line, at_most, compare, faster

Rounds = Iterator[Dict[str, Any]]


def burst(side: Side, params: Dict[str, Any]) -> Rounds:
    """Tasks a second: submitted one by one, then all awaited."""
    count, function = params['count'], getattr(work, params.get('function', 'noop'))
    args = params.get('args', ())
    side.warm_up()
    yield {}
    while True:
        gc.collect()  # what the round before left behind is not this round's cost
        began = perf_counter()
        results = side.burst(function, count, *args)
        seconds = perf_counter() - began
        if len(results) != count:
            raise RuntimeError('{} results of {} tasks'.format(len(results), count))
        yield {'rate': count / seconds, 'ms': 1000 * seconds}


def mapped(side: Side, params: Dict[str, Any]) -> Rounds:
    """Items a second through ``map``, results taken in order."""
    items = range(params['count'])
    side.warm_up()
    yield {}
    while True:
        gc.collect()
        began = perf_counter()
        results = side.map(work.echo, items)
        seconds = perf_counter() - began
        if results != list(items):
            raise RuntimeError('map gave other results than its items, in order')
        yield {'rate': len(items) / seconds}


def round_trip(side: Side, params: Dict[str, Any]) -> Rounds:
    """The median of many: submit one, wait for its result."""
    submit, value = side.bind(work.noop), side.value
    side.warm_up()
    yield {}
    while True:
        gc.collect()
        times = []
        for _ in range(params['count']):
            began = perf_counter()
            value(submit())
            times.append(perf_counter() - began)
        yield {'us': 1e6 * median(times)}


POOL = {'kind': 'thread', 'size': 4}


def row_1(settings: Settings) -> List[Line]:
    contest = Contest('threads:burst', dict(POOL, count=settings.pick(20000, 10000)),
                      special={'joblib threads': {'count': 5000}})
    outcomes = run_contest(settings, contest, (OURS, 'TPE', 'ThreadPool'), settings.rounds + 2,
                           shown=('pebble threads', 'joblib threads'))
    return compare(1, 'threads, burst', 'tasks/s', outcomes, 'rate',
                   {'TPE': faster(4), 'ThreadPool': faster(2.5)})


def row_2(settings: Settings) -> List[Line]:
    contest = Contest('threads:mapped', dict(POOL, count=settings.pick(20000, 10000)))
    outcomes = run_contest(
        settings,
        contest,
        (OURS, 'TPE'),
        settings.rounds + 2,
        shown=('ThreadPool', 'pebble threads'),
    )
    return compare(2, 'threads, map', 'tasks/s', outcomes, 'rate', {'TPE': faster(6)},
                   'ThreadPool and pebble with chunksize=1')


def row_3(settings: Settings) -> List[Line]:
    # Many rounds, and a new subprocess for each: whether the kernel keeps two threads on one core
    # or on two decides whether a hand-over takes 5 or 40 us, and it sticks to its choice.
    contest = Contest('threads:round_trip', dict(POOL, count=settings.pick(1000, 500)), fresh=True)
    outcomes = run_contest(settings, contest, (OURS, 'TPE'), settings.rounds + settings.pick(10, 2),
                           shown=('ThreadPool', 'pebble threads'))
    return compare(3, 'threads, one round trip', 'us p50', outcomes, 'us', {'TPE': at_most(0.6)})
