"""Row 15: what an import costs in a fresh interpreter, and what it drags in."""

import json
import subprocess
import sys
from typing import Dict, List

from tests.benchmarks.harness import ROOT, Outcome, Settings
from tests.benchmarks.peers import OURS, missing
from tests.benchmarks.report import Line, absolute, alone, at_most, compare

PACKAGE = 'import atasker_like'
NAMES = 'from atasker_like import background_task, wait_completed, co_mp_apply, task_supervisor'
PEER = 'import concurrent.futures.thread'
ATASKER = 'import atasker'

#: too heavy for everyone who imports this library, since few need them
FORBIDDEN = ('asyncio', 'multiprocessing', 'sqlite3', 'http')

# -I keeps the environment, the user's packages and the current directory out, on every side.
_CODE = '''
import json, sys
sys.path.insert(0, {root!r})
from time import perf_counter
began = perf_counter()
{statement}
seconds = perf_counter() - began
print(json.dumps([seconds, [name for name in {forbidden!r} if name in sys.modules]]))
'''


def _once(statement: str, outcome: Outcome) -> None:
    if outcome.failure is not None:
        return
    code = _CODE.format(root=str(ROOT), statement=statement, forbidden=FORBIDDEN)
    try:
        done = subprocess.run([sys.executable, '-I', '-c', code], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=30)
    except subprocess.TimeoutExpired:
        outcome.fail('no end in 30 s')
        return
    if done.returncode:
        text = done.stderr.decode(errors='replace').strip()
        outcome.fail(text.rpartition('\n')[2], text)
        return
    seconds, dragged = json.loads(done.stdout.decode())
    outcome.rounds.append({'ms': 1000 * seconds, 'dragged': len(dragged), 'names': dragged})


def row_15(settings: Settings) -> List[Line]:
    statements = [PACKAGE, NAMES, PEER, ATASKER]
    outcomes: Dict[str, Outcome] = {statement: Outcome() for statement in statements}
    for side, theirs in ((OURS, (PACKAGE, NAMES)), ('atasker', (ATASKER,))):
        reason = missing(side)
        if reason is not None:
            for statement in theirs:
                outcomes[statement].is_absent(reason)
    for statement in statements:
        _once(statement, outcomes[statement])  # compiles what is not compiled yet
        outcomes[statement].rounds.clear()
    for _ in range(settings.pick(25, 5)):
        for statement in statements:
            _once(statement, outcomes[statement])

    lines = []
    for title, statement in (
        ('import atasker_like', PACKAGE),
        ('import, the names of a script', NAMES),
    ):
        ours = outcomes[statement]
        contest = {OURS: ours, 'c.f.thread': outcomes[PEER], 'atasker': outcomes[ATASKER]}
        lines += compare(15, title, 'ms', contest, 'ms', {'c.f.thread': at_most(1.5)})
        names = ours.rounds[0]['names'] if ours.rounds else []
        lines.append(
            alone(
                15,
                title + ', drags in',
                'modules',
                ours,
                'dragged',
                absolute(0, 'modules'),
                'drags in ' + ', '.join(names) if names else '',
            )
        )
    return lines
