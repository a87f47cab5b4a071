"""Row 14: how often the threads of an idle side, and of its children, give up the processor.

Counted from outside, in /proc, for all sides in the same seconds: a subprocess that counted itself
would wake up for it.
"""

import os
import time
from typing import Any, Dict, List, Set

from tests.benchmarks import work
from tests.benchmarks.harness import Outcome, Session, Settings, SideFailed
from tests.benchmarks.peers import OURS, Ours, Side, missing
from tests.benchmarks.report import Line, absolute, alone, compare
from tests.benchmarks.threads import Rounds

SETTLE = 1.5  # seconds until what a start leaves behind has ended


def idle(side: Side, params: Dict[str, Any]) -> Rounds:
    """Both pools used once, then nothing."""
    side.warm_up()
    if isinstance(side, Ours):
        from atasker_like import TT_THREAD
        side.value(side.bind(work.noop, tt=TT_THREAD)())
    while True:
        yield {}


def _family(pid: int) -> Set[int]:
    """A process and all its descendants."""
    parents: Dict[int, int] = {}
    for name in os.listdir('/proc'):
        if name.isdigit():
            try:
                with open('/proc/{}/stat'.format(name)) as file:
                    # the command's name stands in parentheses and may hold anything
                    parents[int(name)] = int(file.read().rpartition(')')[2].split()[1])
            except OSError:
                continue
    family = {pid}
    while True:
        more = {child for child, parent in parents.items() if parent in family} - family
        if not more:
            return family
        family |= more


def _switches(pid: int) -> Dict[str, int]:
    """Voluntary context switches by thread."""
    found: Dict[str, int] = {}
    try:
        for task in os.listdir('/proc/{}/task'.format(pid)):
            with open('/proc/{}/task/{}/status'.format(pid, task)) as file:
                for line in file:
                    if line.startswith('voluntary_ctxt_switches'):
                        found[task] = int(line.split()[1])
    except OSError:
        pass  # it ended meanwhile
    return found


def _count(pid: int) -> Dict[str, Dict[str, int]]:
    children = _family(pid) - {pid}
    merged: Dict[str, int] = {}
    for child in children:
        merged.update(_switches(child))
    return {'parent': _switches(pid), 'children': merged}


def _difference(before: Dict[str, int], after: Dict[str, int]) -> int:
    # a thread that is new counts from zero; one that has ended is lost to us
    return sum(count - before.get(thread, 0) for thread, count in after.items())


def row_14(settings: Settings) -> List[Line]:
    seconds = settings.pick(10, 2)
    what = 'idleness over {} s'.format(seconds)
    budget = absolute(0, 'switches')
    if not os.path.isdir('/proc/self/task'):
        return [Line(14, what, '', (), budget=budget, blocked='there is no /proc/self/task')]
    kinds = {
        OURS: 'process',
        'TPE': 'thread',
        'ThreadPool': 'thread',
        'Pool': 'process',
        'PPE': 'process',
        'pebble': 'process',
        'loky': 'process',
        'atasker': 'process',
    }
    outcomes = {side: Outcome() for side in kinds}
    sessions: Dict[str, Session] = {}
    try:
        for side, kind in kinds.items():
            reason = missing(side)
            if reason is not None:
                outcomes[side].is_absent(reason)
                continue
            params = {'kind': kind, 'size': 2, 'start_method': settings.start_method}
            sessions[side] = Session('idle:idle', side, params, 30)
        for side, session in sessions.items():  # they have been getting ready side by side
            try:
                session.answer()
            except SideFailed as error:
                outcomes[side].fail(str(error), error.details)
        time.sleep(SETTLE)
        before = {side: _count(session.pid) for side, session in sessions.items()}
        time.sleep(seconds)
        for side, session in sessions.items():
            after = _count(session.pid)
            outcomes[side].rounds.append(
                {
                    whose: _difference(before[side][whose], after[whose])
                    for whose in ('parent', 'children')
                }
            )
    finally:
        for session in sessions.values():
            session.close()
    lines = [
        alone(
            14,
            what + ', ' + whose,
            'switches',
            outcomes[OURS],
            whose,
            budget,
            'thread pool and process pool both used once',
        )
        for whose in ('parent', 'children')
    ]
    for whose in ('parent', 'children'):
        lines += compare(14, what + ', ' + whose, 'switches', outcomes, whose, {})
    return lines
