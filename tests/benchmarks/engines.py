"""Row 30: executors in the position of the process pool, against the same executors used directly.
Row 31: the package's own executors against those of the standard library."""

import gc
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from importlib.util import find_spec
from time import perf_counter
from typing import Any, Callable, Dict, List

from tests.benchmarks import work
from tests.benchmarks.harness import Contest, Settings, run_contest
from tests.benchmarks.peers import OURS, Side
from tests.benchmarks.report import Budget, Line, alone
from tests.benchmarks.threads import POOL, Rounds


def _rate(count: int, run: Callable[[], Any]) -> float:
    gc.collect()
    began = perf_counter()
    run()
    return count / (perf_counter() - began)


def _directly(executor: Any, count: int) -> float:
    def run() -> None:
        for future in [executor.submit(work.noop) for _ in range(count)]:
            future.result()

    return _rate(count, run)


def _open(name: str, size: int) -> Any:
    if name == 'PPE':
        return ProcessPoolExecutor(size, mp_context=multiprocessing.get_context('spawn'))
    if name == 'loky':
        from loky import ProcessPoolExecutor as LokyExecutor

        return LokyExecutor(size)
    from distributed import Client

    client = Client(n_workers=size, threads_per_worker=1, dashboard_address=None,
                    host='127.0.0.1', silence_logs=50)
    return client.get_executor(pure=False)      # else equal calls are computed once


def in_position(side: Side, params: Dict[str, Any]) -> Rounds:
    from atasker_like import TT_MP, background_task, wait_completed

    executor, count = _open(params['engine'], 2), params['count']
    side.supervisor.mp_pool = executor
    noop = background_task(work.noop, tt=TT_MP, supervisor=side.supervisor)
    _directly(executor, 100)
    wait_completed([noop() for _ in range(100)])
    yield {}
    while True:
        base = _directly(executor, count)
        ours = _rate(count, lambda: wait_completed([noop() for _ in range(count)]))
        yield {'share': ours / base}


def own(side: Side, params: Dict[str, Any]) -> Rounds:
    from atasker_like import ProcessExecutor, ThreadExecutor

    count = params['count']
    pairs = {'threads': (ThreadExecutor(4), ThreadPoolExecutor(4)),
             'processes': (ProcessExecutor(2), _open('PPE', 2))}
    for pair in pairs.values():
        for executor in pair:
            _directly(executor, 100)
    yield {}
    while True:
        found = {}
        for kind, pair in pairs.items():
            ours, theirs = (_directly(executor, count) for executor in pair)
            found[kind + ', submit'] = ours / theirs
            ours, theirs = (
                _rate(count, lambda: list(executor.map(work.echo, range(count))))
                for executor in pair)
            found[kind + ', map'] = ours / theirs
        yield found


def row_30(settings: Settings) -> List[Line]:
    lines = []
    for name, module, count in (('PPE', None, 5000), ('loky', 'loky', 5000),
                                ('Dask', 'distributed', 5000)):
        if module is not None and find_spec(module) is None:
            continue
        contest = Contest('engines:in_position',
                          dict(POOL, count=settings.pick(count, 500), engine=name))
        outcome = run_contest(settings, contest, (OURS,), settings.rounds)[OURS]
        lines.append(alone(30, name + ' in the position of the pool', 'x direct', outcome, 'share',
                           Budget(0.9, at_least=True, ratio=False, unit='x direct')))
    return lines


def row_31(settings: Settings) -> List[Line]:
    contest = Contest('engines:own', dict(POOL, count=settings.pick(5000, 1000)))
    outcome = run_contest(settings, contest, (OURS,), settings.rounds)[OURS]
    return [alone(31, 'own executor, ' + what, 'x standard', outcome, what,
                  Budget(8 if what.startswith('p') else 2, at_least=True, ratio=False,
                         unit='x standard'))
            for what in ('threads, submit', 'threads, map', 'processes, submit', 'processes, map')]
