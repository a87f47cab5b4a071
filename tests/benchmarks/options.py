"""Row 28: thread tasks with options, against plain ones, side by side in one process. Row 29: the
first process task."""

import gc
import os
import subprocess
import sys
import tempfile
from time import perf_counter
from typing import Any, Callable, Dict, List

from tests.benchmarks import work
from tests.benchmarks.harness import ROOT, Contest, Settings, run_contest
from tests.benchmarks.peers import OURS, Side
from tests.benchmarks.report import Budget, Line, absolute, alone
from tests.benchmarks.threads import POOL, Rounds

#: What a task may have beside its function, and the share of a plain task's rate that it keeps.
OPTIONS: Dict[str, Any] = {
    'retries': (dict(retries=2), 0.6),
    'a timeout': (dict(timeout=60), 0.6),
    'a callback': (dict(callback=work.echo), 0.6),
    'a lane': (dict(lane='benchmark'), 0.6),
}


def options(side: Side, params: Dict[str, Any]) -> Rounds:
    """The rate of tasks with options, as a share of that of plain ones in the same round."""
    count = params['count']
    side.supervisor.lane('benchmark', limit=side.size)
    bound = {what: side.bind(work.noop, **chosen) for what, (chosen, _) in OPTIONS.items()}
    plain = side.bind(work.noop)
    side.warm_up()
    yield {}
    while True:
        base = _rate(side, plain, count)
        yield {what: _rate(side, submit, count) / base for what, submit in bound.items()}


def _rate(side: Side, submit: Callable[[], Any], count: int) -> float:
    gc.collect()
    began = perf_counter()
    side.wait_all([submit() for _ in range(count)])
    return count / (perf_counter() - began)


def row_28(settings: Settings) -> List[Line]:
    contest = Contest('options:options', dict(POOL, count=settings.pick(20000, 8000)))
    outcome = run_contest(settings, contest, (OURS,), settings.rounds + 2)[OURS]
    return [alone(28, 'threads, tasks with ' + what, 'x plain', outcome, what,
                  Budget(share, at_least=True, ratio=False, unit='x plain'))
            for what, (_, share) in OPTIONS.items()]


#: As a user writes it: a file with the function in it, which the pool processes import when they
#: start.
_FIRST = '''
import sys, time
from atasker_like import TT_MP, background_task, task_supervisor

@background_task(tt=TT_MP)
def noop():
    pass

if __name__ == '__main__':
    task_supervisor.set_mp_pool(pool_size=2, min_size=2, start_method=sys.argv[1])
    time.sleep(0.3)
    began = time.perf_counter()
    noop().value()
    print(1000 * (time.perf_counter() - began))
'''


def row_29(settings: Settings) -> List[Line]:
    # The modules are compiled, as those of an installed package are.
    environ = {
        name: value for name, value in os.environ.items() if name != 'PYTHONDONTWRITEBYTECODE'
    }
    environ['PYTHONPATH'] = str(ROOT)
    figures: List[float] = []
    with tempfile.TemporaryDirectory() as folder:
        program = os.path.join(folder, 'first_task.py')
        with open(program, 'w') as file:
            file.write(_FIRST)
        for _ in range(1 + settings.rounds):
            done = subprocess.run([sys.executable, program, settings.start_method], env=environ,
                                  stdout=subprocess.PIPE, universal_newlines=True, timeout=60,
                                  check=True)
            figures.append(float(done.stdout))
    del figures[0]      # it compiled what was not compiled yet
    return [Line(29, 'first process task, 0.3 s after set_mp_pool(min_size=2)', 'ms', figures,
                 budget=absolute(5, 'ms'))]
