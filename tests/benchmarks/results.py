"""Rows 19 to 21: what it costs to keep results in a file, against ourselves without, and when they
are there."""

import sqlite3
from contextlib import closing
from time import perf_counter, sleep
from typing import Any, Dict, List

from tests.benchmarks import work
from tests.benchmarks.harness import Contest, Settings, run_contest
from tests.benchmarks.peers import OURS, STORED, Side
from tests.benchmarks.report import Line, absolute, alone, compare, faster
from tests.benchmarks.threads import Rounds


def _row(settings: Settings, row: int, what: str, pool: Dict[str, Any]) -> List[Line]:
    contest = Contest('threads:burst', dict(pool, count=settings.pick(20000, 10000)))
    found = run_contest(settings, contest, (OURS, STORED), settings.rounds + settings.pick(4, 0))
    return compare(
        row,
        what,
        'tasks/s',
        {OURS: found[STORED], 'without': found[OURS]},
        'rate',
        {'without': faster(0.85)},
    )


def row_19(settings: Settings) -> List[Line]:
    return _row(settings, 19, 'threads, burst, results in a file', {'kind': 'thread', 'size': 4})


def row_20(settings: Settings) -> List[Line]:
    return _row(settings, 20, 'processes, burst, results in a file', {'kind': 'process', 'size': 2})


def until_stored(side: Side, params: Dict[str, Any]) -> Rounds:
    """Seconds from the end of the last task until the last result is in the file, seen from another
    connection."""
    side.warm_up()
    yield {}
    while True:
        submit = side.bind(work.noop)
        tasks = [submit() for _ in range(params['count'])]
        side.wait_all(tasks)
        began = perf_counter()
        ids = {task.id for task in tasks}
        with closing(sqlite3.connect(side.supervisor.result_backend.path)) as database:
            missing = True
            while missing:
                sleep(0.02)
                stored = {
                    task_id
                    for task_id, in database.execute(
                        "SELECT task_id FROM results WHERE task_id BETWEEN ? AND ? AND data LIKE "
                        "'%SUCCESS%'",
                        (min(ids), max(ids)),
                    )
                }
                missing = not ids <= stored
        yield {'seconds': perf_counter() - began}


def row_21(settings: Settings) -> List[Line]:
    count = settings.pick(100000, 20000)
    contest = Contest(
        'results:until_stored', {'kind': 'thread', 'size': 4, 'count': count}, limit=60
    )
    found = run_contest(settings, contest, (STORED,), min(settings.rounds, 3))
    return [
        alone(
            21,
            '{:,} results in the file'.format(count).replace(',', ' '),
            's after the last',
            found[STORED],
            'seconds',
            absolute(3, 's'),
        )
    ]
