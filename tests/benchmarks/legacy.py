"""Row 18: against atasker itself, where it is installed: 100 times as fast on bursts, never slower.
"""

import importlib
import threading
from statistics import median
from time import perf_counter
from typing import Any, Dict, List

from tests.benchmarks.harness import Contest, Settings, run_contest
from tests.benchmarks.peers import OURS, Ours, Side, missing
from tests.benchmarks.report import Line, at_most, compare, faster, not_measured
from tests.benchmarks.threads import Rounds

SIDES = (OURS, 'atasker')


def _worker(side: Side, function: Any, **options: Any) -> Any:
    """A worker, made by the side's own decorator, and started."""
    module = importlib.import_module('atasker_like' if isinstance(side, Ours) else 'atasker')
    worker = module.background_worker(supervisor=side.supervisor, **options)(function)
    worker.start()
    return worker


def queue_burst(side: Side, params: Dict[str, Any]) -> Rounds:
    """Items a second through a queue worker: put one by one, until the last has been dealt with."""
    count, ended = params['count'], threading.Event()

    def deal_with(item: int, **kwargs: Any) -> None:
        if item == count - 1:
            ended.set()

    worker = _worker(side, deal_with, q=True)
    yield {}
    while True:
        ended.clear()
        began = perf_counter()
        for item in range(count):
            worker.put_threadsafe(item)
        ended.wait()
        yield {'rate': count / (perf_counter() - began)}


def event_round_trip(side: Side, params: Dict[str, Any]) -> Rounds:
    """The median of many: trigger an event worker, wait until its function has run."""
    served = threading.Semaphore(0)

    def serve(**kwargs: Any) -> None:
        served.release()

    worker = _worker(side, serve, e=True)
    worker.trigger_threadsafe()
    served.acquire()
    yield {}
    while True:
        times = []
        for _ in range(params['count']):
            began = perf_counter()
            # forced: the last run may not have been accounted for yet
            worker.trigger_threadsafe(force=True)
            served.acquire()
            times.append(perf_counter() - began)
        yield {'us': 1e6 * median(times)}


def interval_drift(side: Side, params: Dict[str, Any]) -> Rounds:
    """Milliseconds from one run of an interval worker to the next, as a mean of many: what is above
    the interval adds up."""
    count = params['count']
    starts: List[float] = []
    enough = threading.Event()

    def tick(**kwargs: Any) -> None:
        starts.append(perf_counter())
        if len(starts) == count:
            enough.set()

    _worker(side, tick, interval=params['interval'])
    enough.wait()
    yield {}
    while True:
        enough.clear()
        starts.clear()
        enough.wait()
        period = (starts[count - 1] - starts[0]) / (count - 1)
        yield {'ms': 1000 * period}


def _workers(settings: Settings) -> List[Line]:
    pool = {'kind': 'thread', 'size': 4}
    few = {'atasker': {'count': 10, 'abandon': True}}
    burst = Contest(
        'legacy:queue_burst', dict(pool, count=settings.pick(20000, 10000)), special=few
    )
    lines = compare(
        18,
        'atasker, queue worker, burst',
        'items/s',
        run_contest(settings, burst, SIDES),
        'rate',
        {'atasker': faster(100)},
        'atasker with few tasks, at its default poll delay',
    )
    trip = Contest(
        'legacy:event_round_trip', dict(pool, count=settings.pick(500, 200)), special=few
    )
    lines += compare(
        18,
        'atasker, event worker, round trip',
        'us p50',
        run_contest(settings, trip, SIDES),
        'us',
        {'atasker': at_most(1)},
    )
    drift = Contest(
        'legacy:interval_drift',
        dict(pool, count=settings.pick(100, 50), interval=0.01),
        special={'atasker': {'abandon': True}},
    )
    lines += compare(
        18,
        'atasker, interval worker of 10 ms, period',
        'ms',
        run_contest(settings, drift, SIDES),
        'ms',
        {'atasker': at_most(1)},
    )
    return lines


def row_18(settings: Settings) -> List[Line]:
    reason = missing('atasker')
    if reason is not None:
        return [not_measured(18, 'legacy', reason)]
    lines: List[Line] = []
    # atasker is abandoned, not closed: its stop() may take seconds or fail
    for kind, size in (('thread', 4), ('process', 2)):
        pool = {'kind': kind, 'size': size}
        # A full pool of atasker's starts its next tasks at its next poll, a tenth of a second
        # later.
        few = settings.pick(10, 4) * size
        burst = Contest('threads:burst', dict(pool, count=settings.pick(20000, 10000)),
                        special={'atasker': {'count': few, 'abandon': True}})
        lines += compare(18, 'atasker, burst, ' + kind, 'tasks/s',
                         run_contest(settings, burst, SIDES), 'rate', {'atasker': faster(100)},
                         'atasker with few tasks, at its default poll delay')
        trip = Contest('threads:round_trip', dict(pool, count=settings.pick(500, 200)),
                       special={'atasker': {'abandon': True}})
        lines += compare(18, 'atasker, round trip, ' + kind, 'us p50',
                         run_contest(settings, trip, SIDES), 'us', {'atasker': at_most(1)})
    return lines + _workers(settings)
