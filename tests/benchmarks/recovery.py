"""Row 17: a pool process is killed while it runs a task. When does the task's caller know, and when
does the pool work again? In a pool of one, so that the next task needs a new process."""

import os
import signal
import tempfile
from time import perf_counter
from typing import Any, Dict, List, Optional

from tests.benchmarks import work
from tests.benchmarks.harness import Contest, Settings, run_contest
from tests.benchmarks.peers import OURS, Side
from tests.benchmarks.report import Line, absolute, alone, compare, not_measured
from tests.benchmarks.threads import Rounds


def killed(side: Side, params: Dict[str, Any]) -> Rounds:
    """Milliseconds from SIGKILL to the error of the running task, and to the result of the one
    behind it."""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, 'pid')
        os.mkfifo(path)
        side.warm_up()
        yield {}
        while True:
            victim = side.bind(work.announce)(path)
            behind = side.bind(work.noop)()
            with open(path) as pipe:
                pid = int(pipe.read())
            began = perf_counter()
            os.kill(pid, signal.SIGKILL)
            error = _error(side, victim)
            error_ms = 1000 * (perf_counter() - began)
            if error is None:
                raise RuntimeError('a killed task gave a result')
            lost = _error(side, behind)
            next_ms: Optional[float] = 1000 * (perf_counter() - began)
            if lost is not None:
                next_ms = None  # the pool is broken; a new one has to be made by hand
                side.renew()
                side.warm_up()
            yield {'error_ms': error_ms, 'next_ms': next_ms}


def _error(side: Side, handle: Any) -> Optional[BaseException]:
    try:
        side.value(handle)
    except Exception as error:
        return error
    return None


def row_17(settings: Settings) -> List[Line]:
    what = 'recovery, to the task\'s error', 'recovery, to the next task done'
    budgets = absolute(50, 'ms'), absolute(250, 'ms')
    if not hasattr(os, 'mkfifo'):
        return [Line(17, title, '', (), budget=budget, blocked='no SIGKILL, no named pipes')
                for title, budget in zip(what, budgets)]
    contest = Contest('recovery:killed', {'kind': 'process', 'size': 1})
    # Pool is left out: it never reports a killed task, its caller would wait without end.
    outcomes = run_contest(settings, contest, (OURS, 'PPE', 'pebble'), shown=('loky',))
    lines: List[Line] = []
    for title, budget, key in zip(what, budgets, ('error_ms', 'next_ms')):
        lines.append(alone(17, title, 'ms', outcomes[OURS], key, budget))
        for line in compare(17, title, 'ms', outcomes, key, {}):
            if not line.blocked and not line.peer_rounds:
                line.note = (
                    'never: the pool is broken, and the tasks that were queued are lost with it'
                )
            lines.append(line)
    lines.append(not_measured(17, 'recovery, Pool', 'Pool never reports a killed task'))
    return lines
