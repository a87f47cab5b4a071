"""Rows 9 and 10: what a queued task weighs; whether the millionth costs more than the thousandth.

All places are held by tasks that wait for a gate, so that everything submitted stays queued. The
subprocess ends without draining the queue.
"""

import gc
import os
import threading
from statistics import median
from time import perf_counter
from typing import Any, Dict, List, Optional

from tests.benchmarks import work
from tests.benchmarks.harness import Contest, Settings, run_contest
from tests.benchmarks.peers import OURS, Side
from tests.benchmarks.report import Line, absolute, alone, at_most, compare
from tests.benchmarks.threads import Rounds

WINDOW = 1000
STATM = '/proc/self/statm'


def _hold_all_places(side: Side) -> None:
    started, gate = threading.Semaphore(0), threading.Event()
    submit = side.bind(work.hold)
    for _ in range(side.size):
        submit(started, gate)
    for _ in range(side.size):
        started.acquire()


def _resident_bytes() -> int:
    with open(STATM) as file:
        return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')


def queued(side: Side, params: Dict[str, Any]) -> Rounds:
    """Resident bytes for every queued task, its handle held by the caller."""
    side.warm_up()
    _hold_all_places(side)
    submit = side.bind(work.noop)
    handles: List[Optional[Any]] = [None] * params['count']  # the list is not the task's
    yield {}
    gc.collect()
    before = _resident_bytes()
    for index in range(len(handles)):
        handles[index] = submit()
    yield {'bytes': (_resident_bytes() - before) / len(handles)}


def growth(side: Side, params: Dict[str, Any]) -> Rounds:
    """Microseconds for one submission, as the median over ten windows of a thousand, early and
    late."""
    side.warm_up()
    _hold_all_places(side)
    submit = side.bind(work.noop)
    yield {}
    gc.collect()
    handles = []
    windows = []
    for _ in range(params['count'] // WINDOW):
        began = perf_counter()
        for _ in range(WINDOW):
            handles.append(submit())
        windows.append((perf_counter() - began) / WINDOW)
    # The first window fills the queue up to the thousandth; the ten after it stand for "the
    # thousandth".
    early, late = median(windows[1:11]), median(windows[-10:])
    yield {'early_us': 1e6 * early, 'late_us': 1e6 * late, 'growth': late / early}


POOL = {'kind': 'thread', 'size': 4, 'abandon': True}


def row_9(settings: Settings) -> List[Line]:
    what = 'memory of a queued task'
    if not os.path.exists(STATM):
        return [Line(9, what, '', (), budget=at_most(0.35), blocked='there is no ' + STATM)]
    contest = Contest('memory:queued', dict(POOL, count=settings.pick(200000, 50000)), fresh=True)
    # bytes do not depend on what else the machine does
    outcomes = run_contest(settings, contest, (OURS, 'TPE'), 2)
    return compare(9, what, 'bytes', outcomes, 'bytes', {'TPE': at_most(0.35)})


def row_10(settings: Settings) -> List[Line]:
    count = settings.pick(1000000, 200000)
    contest = Contest('memory:growth', dict(POOL, count=count), fresh=True, limit=60)
    ours = run_contest(settings, contest, (OURS,), 3)[OURS]
    note = 'ours alone: a submission late in a queue of {:,} against the thousandth'.format(count)
    return [
        alone(10, 'growth', 'x', ours, 'growth', absolute(1.5, 'x'), note.replace(',', ' ')),
        alone(10, 'growth, the thousandth', 'us', ours, 'early_us'),
        alone(10, 'growth, the last', 'us', ours, 'late_us'),
    ]
