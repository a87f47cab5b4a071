"""Row 18: against atasker itself, where it is installed: 100 times as fast on bursts, never slower."""

from typing import List

from tests.benchmarks.harness import Contest, Settings, run_contest
from tests.benchmarks.peers import OURS, missing
from tests.benchmarks.report import Line, at_most, compare, faster, not_measured

SIDES = (OURS, 'atasker')


def row_18(settings: Settings) -> List[Line]:
    reason = missing('atasker')
    if reason is not None:
        return [not_measured(18, 'legacy', reason)]
    lines: List[Line] = []
    # atasker is abandoned, not closed: its stop() may take seconds or fail
    for kind, size in (('thread', 4), ('process', 2)):
        pool = {'kind': kind, 'size': size}
        # A full pool of atasker's starts its next tasks at its next poll, a tenth of a second later.
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
    return lines
