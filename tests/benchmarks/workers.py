"""Rows 12 and 13: delays and intervals. How late they are, whether they drift, and what they cost.

Beside the rows that have a budget: a thousand workers at 1 Hz, items a second of a queue worker,
and how long after a trigger the function runs.
"""

import gc
import importlib
import threading
import time
from typing import Any, Callable, Dict, List

from tests.benchmarks.harness import Contest, Settings, run_contest
from tests.benchmarks.peers import OURS, Ours, Side
from tests.benchmarks.report import Line, absolute, alone, at_most, compare
from tests.benchmarks.threads import Rounds

LEAD = 1.0  # seconds from the first submission to the first time that is due


def _percentile(values: List[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def delays(side: Side, params: Dict[str, Any]) -> Rounds:
    """Tasks with a delay each, spread over some seconds: how late they start.

    All are submitted before the first is due: a thread that does nothing but submit keeps the
    interpreter for 5 ms at a time, and makes every other one late by as much, whatever the timer.
    """
    count, seconds = params['count'], params['seconds']
    side.warm_up()
    yield {}
    while True:
        late: List[float] = []

        def due(at: float) -> None:
            late.append(time.perf_counter() - at)

        submitted = [
            side.bind(due, delay=LEAD + seconds * (number + 1) / count) for number in range(count)
        ]
        gc.collect()
        tasks = []
        for number, submit in enumerate(submitted):
            tasks.append(submit(time.perf_counter() + LEAD + seconds * (number + 1) / count))
        side.wait_all(tasks)
        if len(late) != count:
            raise RuntimeError('{} calls of {} delays'.format(len(late), count))
        yield {
            'p50': 1000 * _percentile(late, 0.5),
            'p99': 1000 * _percentile(late, 0.99),
            'max': 1000 * max(late),
        }


def _worker(side: Side, function: Callable[..., Any], **options: Any) -> Any:
    module: Any = importlib.import_module('atasker_like' if isinstance(side, Ours) else 'atasker')
    return module.background_worker(function, supervisor=side.supervisor, **options)


def intervals(side: Side, params: Dict[str, Any]) -> Rounds:
    """Interval workers for some seconds: how often they ran, and the processor time that took."""
    workers, hertz, seconds = params['workers'], params['hertz'], params['seconds']
    if not isinstance(side, Ours):
        side.supervisor.set_thread_pool(
            pool_size=params.get('places', 30), reserve_normal=0, reserve_high=0
        )
    side.warm_up()
    yield {}
    while True:
        # Each run is an append to a list of its own worker: nothing is shared.
        starts: List[List[float]] = [[] for _ in range(workers)]

        def make(mine: List[float]) -> Any:
            def tick(**kwargs: Any) -> None:
                mine.append(time.perf_counter())
            return _worker(side, tick, interval=1 / hertz)

        made = [make(mine) for mine in starts]
        for worker in made:
            worker.start()
        time.sleep(1.5 / hertz)     # between two ticks: what is counted begins and ends there
        before = [len(mine) for mine in starts]
        began, cpu = time.perf_counter(), time.process_time()
        time.sleep(seconds)
        spent = time.process_time() - cpu
        lasted = time.perf_counter() - began
        ran = sum(len(mine) for mine in starts) - sum(before)
        for worker in made:
            worker.stop(wait=isinstance(side, Ours))
        # How far the last start of each is from where the first one puts it.
        drift = max(abs(mine[-1] - mine[0] - (len(mine) - 1) / hertz) for mine in starts)
        yield {'share': 100 * ran / (workers * hertz * lasted), 'cpu': 100 * spent / lasted,
               'cpu_per_run': 1e6 * spent / max(1, ran), 'drift': 1000 * drift}


def items(side: Side, params: Dict[str, Any]) -> Rounds:
    """Items that a queue worker takes in a second, put by another thread one by one."""
    count = params['count']
    last = threading.Event()
    got: List[int] = []

    def take(item: int, **kwargs: Any) -> None:
        got.append(item)
        if item == count - 1:
            last.set()

    worker = _worker(side, take, q=True)
    worker.start()
    side.warm_up()
    yield {}
    while True:
        got.clear()
        last.clear()
        began = time.perf_counter()
        put = worker.put_threadsafe
        for item in range(count):
            put(item)
        last.wait()
        seconds = time.perf_counter() - began
        if got != list(range(count)):
            raise RuntimeError('the items came in another order')
        yield {'rate': count / seconds}


def triggers(side: Side, params: Dict[str, Any]) -> Rounds:
    """From a trigger to the function, on an idle machine."""
    times: List[float] = []
    done = threading.Event()

    def run(**kwargs: Any) -> None:
        times.append(time.perf_counter())
        done.set()

    worker = _worker(side, run, e=True)
    worker.start()
    side.warm_up()
    yield {}
    while True:
        late = []
        for _ in range(params['count']):
            time.sleep(params.get('pause', 0.001))      # until the run before has ended
            done.clear()
            began = time.perf_counter()
            worker.trigger_threadsafe()
            done.wait()
            late.append(times[-1] - began)
        yield {'us': 1e6 * _percentile(late, 0.5), 'p99': 1e6 * _percentile(late, 0.99)}


POOL = {'kind': 'thread', 'size': 4}


def row_12(settings: Settings) -> List[Line]:
    count, seconds = settings.pick(10000, 4000), settings.pick(5, 2)
    contest = Contest('workers:delays', dict(POOL, count=count, seconds=seconds))
    outcomes = run_contest(settings, contest, (OURS,), 3 if not settings.quick else 1)
    what = '{} delays over {} s, late'.format(count, seconds)
    return [alone(12, what, 'ms p99', outcomes[OURS], 'p99', absolute(5, 'ms')),
            alone(12, what, 'ms p50', outcomes[OURS], 'p50')]


def row_13(settings: Settings) -> List[Line]:
    seconds = settings.pick(10, 2)
    what = '100 interval workers at 10 Hz'
    contest = Contest('workers:intervals', dict(POOL, workers=100, hertz=10, seconds=seconds),
                      special={'atasker': {'abandon': True}}, limit=90)
    outcomes = run_contest(settings, contest, (OURS, 'atasker'), 1)
    for outcome in outcomes.values():
        for found in outcome.rounds:
            found['missing'] = abs(100 - found['share'])
    lines = [alone(13, what + ', runs off', '%', outcomes[OURS], 'missing', absolute(1, '%'))]
    lines += compare(13, what + ', runs', '% of due', outcomes, 'share', {})
    lines += compare(13, what + ', processor', '%', outcomes, 'cpu', {})
    lines += compare(
        13,
        what + ', processor',
        'us a run',
        outcomes,
        'cpu_per_run',
        {'atasker': at_most(0.5)},
        'a run, since atasker makes fewer',
    )
    lines.append(alone(13, what + ', drift', 'ms', outcomes[OURS], 'drift'))
    if settings.quick:
        return lines
    many = run_contest(
        settings,
        Contest('workers:intervals', dict(POOL, workers=1000, hertz=1, seconds=5), limit=90),
        (OURS,),
        1,
    )
    lines.append(alone(13, '1000 interval workers at 1 Hz', '% processor', many[OURS], 'cpu'))
    lines.append(alone(13, '1000 interval workers at 1 Hz', '% of due', many[OURS], 'share'))
    queue = run_contest(settings, Contest('workers:items', dict(POOL, count=50000)), (OURS,))
    lines.append(alone(13, 'queue worker', 'items/s', queue[OURS], 'rate'))
    trigger = run_contest(settings, Contest('workers:triggers', dict(POOL, count=500)), (OURS,))
    lines.append(
        alone(
            13, 'event worker, trigger to run', 'us p50', trigger[OURS], 'us', absolute(1000, 'us')
        )
    )
    lines.append(alone(13, 'event worker, trigger to run', 'us p99', trigger[OURS], 'p99'))
    return lines
