"""``python3 -m tests.benchmarks [--quick] [--rows 1,4,5] [--json [FILE]] [--strict]``"""

import argparse
import json
import os
import platform
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, List, Optional, Sequence

from tests.benchmarks.coroutines import row_7, row_8
from tests.benchmarks.engines import row_30, row_31
from tests.benchmarks.harness import Settings
from tests.benchmarks.idle import row_14
from tests.benchmarks.imports import row_15
from tests.benchmarks.legacy import row_18
from tests.benchmarks.memory import row_9, row_10
from tests.benchmarks.options import row_28, row_29
from tests.benchmarks.peers import missing
from tests.benchmarks.processes import row_4, row_5, row_6, row_16, row_32
from tests.benchmarks.queues import row_22, row_23, row_24, row_25
from tests.benchmarks.recovery import row_17
from tests.benchmarks.report import MISSED, Line, not_measured, table
from tests.benchmarks.results import row_19, row_20, row_21
from tests.benchmarks.service import row_26, row_27
from tests.benchmarks.threads import row_1, row_2, row_3
from tests.benchmarks.urgency import row_11
from tests.benchmarks.workers import row_12, row_13

ROWS: Dict[int, Callable[[Settings], List[Line]]] = {
    1: row_1,
    2: row_2,
    3: row_3,
    4: row_4,
    5: row_5,
    6: row_6,
    7: row_7,
    8: row_8,
    9: row_9,
    10: row_10,
    11: row_11,
    14: row_14,
    15: row_15,
    16: row_16,
    32: row_32,
    17: row_17,
    28: row_28,
    29: row_29,
    30: row_30,
    31: row_31,
    18: row_18,
    # Those of what is built upon the pools: they take longest, and are the ones for which the time
    # may be too short.
    12: row_12,
    13: row_13,
    19: row_19,
    20: row_20,
    21: row_21,
    26: row_26,
    27: row_27,
    22: row_22,
    23: row_23,
    25: row_25,
    24: row_24,
}

#: Rows that wait for ten seconds, and do next to nothing: they wait together.
BESIDE = {14, 25}

LAYOUT = '''\
Ratios are ours / peer's, from the same round; the table shows the median of all rounds and their
range. Every side of a row runs in a subprocess of its own, driven alike, with a pool of the same
size, warmed up before the first round; rounds alternate and only one side works at a time. Process
pools (ours, PPE, Pool, pebble, atasker) use the start method "{start_method}"; loky and joblib use
loky's own.'''


def _rows(text: str) -> List[int]:
    try:
        chosen = [int(part) for part in text.split(',') if part]
    except ValueError:
        raise argparse.ArgumentTypeError(
            'row numbers with commas between, not {!r}'.format(text)
        ) from None
    unknown = sorted(set(chosen) - set(ROWS))
    if unknown:
        raise argparse.ArgumentTypeError('no such row: {}'.format(unknown))
    return chosen


def _arguments(argv: Optional[Sequence[str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog='python3 -m tests.benchmarks', description=__doc__)
    parser.add_argument(
        '--quick', action='store_true', help='smaller and fewer rounds, within a minute'
    )
    parser.add_argument('--rows', type=_rows, default=list(ROWS), help='only these, such as 1,4,5')
    parser.add_argument('--rounds', type=int, help='alternating rounds (5, or 3 with --quick)')
    parser.add_argument('--json', nargs='?', const='-', metavar='FILE',
                        help='write JSON to FILE; without one to stdout, and the table to stderr')
    parser.add_argument(
        '--start-method', default='forkserver', choices=('forkserver', 'spawn', 'fork')
    )
    parser.add_argument(
        '--limit', type=float, help='seconds after which no further row starts (270, or 57)'
    )
    parser.add_argument(
        '--strict', action='store_true', help='exit status 1 when a budget is missed'
    )
    return parser.parse_args(argv)


def _surroundings(settings: Settings) -> Dict[str, Any]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    return {
        'python': platform.python_version(),
        'implementation': platform.python_implementation(),
        'gil': getattr(sys, '_is_gil_enabled', lambda: True)(),
        'system': platform.system(),
        'cores': cores,
        'load': [round(load, 2) for load in os.getloadavg()] if hasattr(os, 'getloadavg') else None,
        'quick': settings.quick,
        'rounds': settings.rounds,
        'start_method': settings.start_method,
        'absent': [
            side for side in ('ours', 'pebble', 'loky', 'joblib', 'atasker') if missing(side)
        ],
    }


def _exit_status(lines: Sequence[Line], strict: bool) -> int:
    if any(line.broken for line in lines):
        return 2
    return int(strict and any(line.verdict == MISSED for line in lines))


def main(argv: Optional[Sequence[str]] = None) -> int:
    arguments = _arguments(argv)
    began = time.monotonic()
    settings = Settings(
        quick=arguments.quick, rounds=arguments.rounds or (3 if arguments.quick else 5),
        start_method=arguments.start_method,
        deadline=began + (arguments.limit or (57 if arguments.quick else 270)))
    out = sys.stderr if arguments.json == '-' else sys.stdout

    around = _surroundings(settings)
    print(
        '{implementation} {python}, {cores} cores, load {load}, {rounds} rounds'.format(**around),
        file=out,
    )
    if around['absent']:
        print('not installed: ' + ', '.join(around['absent']), file=out)
    print(LAYOUT.format(**around) + '\n', file=out, flush=True)

    lines: List[Line] = []
    left = list(arguments.rows)
    while left:
        together = BESIDE.intersection(left) if left[0] in BESIDE else {left[0]}
        left = [row for row in left if row not in together]
        if time.monotonic() > settings.deadline:
            lines += [
                not_measured(
                    row, 'row {}'.format(row), 'the time was up; --rows {} measures it'.format(row)
                )
                for row in together
            ]
            continue
        if sys.stderr.isatty():
            print('\rrow {} '.format(min(together)), end='', file=sys.stderr, flush=True)
        since = time.monotonic()
        with ThreadPoolExecutor(len(together)) as executor:
            for found in executor.map(lambda row: ROWS[row](settings), together):
                for line in found:
                    line.seconds = time.monotonic() - since
                lines += found
    lines.sort(key=lambda line: line.row)
    print(table(lines), file=out)
    for details in sorted({line.broken for line in lines if line.broken}):
        print('\nours failed:\n' + details, file=out)
    verdicts = [line.verdict for line in lines if line.budget is not None]
    around['seconds'] = round(time.monotonic() - began, 1)
    print(
        '\n{} of {} budgets met, {} missed, {} not measured; {} s, load {}'.format(
            verdicts.count('met'),
            len(verdicts),
            verdicts.count(MISSED),
            verdicts.count('not measured'),
            around['seconds'],
            _surroundings(settings)['load'],
        ),
        file=out,
    )

    if arguments.json:
        text = json.dumps(
            {'surroundings': around, 'lines': [line.as_dict() for line in lines]}, indent=1
        )
        if arguments.json == '-':
            print(text)
        else:
            with open(arguments.json, 'w') as file:
                file.write(text + '\n')
    return _exit_status(lines, arguments.strict)


if __name__ == '__main__':
    sys.exit(main())
