"""Rounds become lines, lines become verdicts, a table and JSON."""

from statistics import median
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from tests.benchmarks.harness import Outcome
from tests.benchmarks.peers import OURS

MET, MISSED, NOT_MEASURED, SHOWN = 'met', 'missed', 'not measured', '-'


class Budget(NamedTuple):
    limit: float
    at_least: bool = False
    #: False: it limits our own figure, not the ratio to a peer
    ratio: bool = True
    unit: str = 'x'
    #: how far two equal sides may differ by chance; stated in the table
    noise: float = 0.0

    def holds(self, figure: float) -> bool:
        if self.at_least:
            return figure >= self.limit * (1 - self.noise)
        return figure <= self.limit * (1 + self.noise)

    def __str__(self) -> str:
        text = '{} {:g} {}'.format('>=' if self.at_least else '<=', self.limit, self.unit)
        return text + (' ({:.0%} noise)'.format(self.noise) if self.noise else '')


def faster(limit: float, noise: float = 0.0) -> Budget:
    """For rates: so many times the peer's."""
    return Budget(limit, at_least=True, noise=noise)


def at_most(limit: float) -> Budget:
    """For times, bytes and the like: so many times the peer's."""
    return Budget(limit)


def absolute(limit: float, unit: str) -> Budget:
    return Budget(limit, ratio=False, unit=unit)


class Line:
    """One comparison with one peer, or one figure of ours alone."""

    def __init__(self, row: int, what: str, unit: str, ours: Sequence[float], peer: str = '',
                 theirs: Sequence[float] = (), budget: Optional[Budget] = None, note: str = '',
                 blocked: str = '', broken: str = '') -> None:
        self.row = row
        self.what = what
        self.unit = unit
        self.peer = peer
        self.budget = budget
        self.note = note
        self.ours_rounds = list(ours)
        self.peer_rounds = list(theirs)
        self.ours = median(ours) if ours else None
        self.theirs = median(theirs) if theirs else None
        # Pairs from the same round, for the machine may be slower in one round than in another.
        self.ratios = [a / b for a, b in zip(ours, theirs) if b]
        self.ratio = median(self.ratios) if self.ratios else None
        #: why there is nothing to compare, in a line
        self.blocked = blocked
        #: our own side failed, though it was there: its traceback, or its stacks if it hung
        self.broken = broken
        self.seconds = 0.0  # how long the whole row took to measure
        self.verdict = self._judge()

    def _judge(self) -> str:
        if self.budget is None:
            return NOT_MEASURED if self.blocked else SHOWN
        figure = self.ratio if self.budget.ratio else self.ours
        if figure is None:
            return NOT_MEASURED
        return MET if self.budget.holds(figure) else MISSED

    def as_dict(self) -> Dict[str, Any]:
        return {
            'row': self.row, 'what': self.what, 'unit': self.unit, 'ours': self.ours,
            'peer': self.peer or None, 'theirs': self.theirs, 'ratio': self.ratio,
            'ratio_min': min(self.ratios) if self.ratios else None,
            'ratio_max': max(self.ratios) if self.ratios else None,
            'budget': str(self.budget) if self.budget else None, 'verdict': self.verdict,
            'why': self.blocked or None, 'details': self.broken or None, 'note': self.note or None,
            'row_seconds': round(self.seconds, 2),
            'ours_rounds': self.ours_rounds, 'peer_rounds': self.peer_rounds,
        }


def not_measured(row: int, what: str, why: str) -> Line:
    return Line(row, what, '', (), blocked=why)


def compare(row: int, what: str, unit: str, outcomes: Dict[str, Outcome], key: str,
            budgets: Dict[str, Budget], note: str = '') -> List[Line]:
    """A line for every peer in the outcomes, with its budget where it has one."""
    ours = outcomes[OURS]
    lines = []
    for peer, theirs in outcomes.items():
        if peer == OURS:
            continue
        reasons = [
            '{}: {}'.format(side, outcome.failure)
            for side, outcome in ((OURS, ours), (peer, theirs))
            if outcome.failure is not None
        ]
        lines.append(
            Line(
                row,
                what,
                unit,
                ours.series(key),
                peer,
                theirs.series(key),
                budgets.get(peer),
                note,
                '; '.join(reasons),
                _broken(ours),
            )
        )
    return lines


def alone(row: int, what: str, unit: str, outcome: Outcome, key: str,
          budget: Optional[Budget] = None, note: str = '') -> Line:
    """A figure of ours that no peer has."""
    return Line(row, what, unit, outcome.series(key), budget=budget, note=note,
                blocked='ours: ' + outcome.failure if outcome.failure is not None else '',
                broken=_broken(outcome))


def _broken(ours: Outcome) -> str:
    if ours.failure is None or ours.absent:
        return ''
    return ours.details or ours.failure


def number(value: Optional[float]) -> str:
    if value is None:
        return ''
    if value == 0 or abs(value) >= 1000:
        return '{:,.0f}'.format(value).replace(',', ' ')
    if abs(value) >= 100:
        return '{:.0f}'.format(value)
    return '{:.1f}'.format(value) if abs(value) >= 10 else '{:.3g}'.format(value)


HEADINGS = ('row', 'what', 'unit', 'ours', 'peer', "peer's", 'ratio', 'range', 'budget', 'verdict')


def table(lines: Sequence[Line]) -> str:
    rows = [HEADINGS]
    notes: List[str] = []
    before = ('', '')
    for line in lines:
        spread = ''
        if line.ratios:
            spread = '{}..{}'.format(number(min(line.ratios)), number(max(line.ratios)))
        verdict = line.verdict
        for remark in (line.blocked, line.note):
            if remark:
                if remark not in notes:
                    notes.append(remark)
                verdict += ' [{}]'.format(notes.index(remark) + 1)
        head = (str(line.row), line.what)
        rows.append(
            (head if head != before else ('', ''))
            + (
                line.unit,
                number(line.ours),
                line.peer,
                number(line.theirs),
                number(line.ratio),
                spread,
                str(line.budget) if line.budget else '',
                verdict,
            )
        )
        before = head
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    right = {'row', 'ours', "peer's", 'ratio'}
    text = []
    for row in rows:
        cells = [cell.rjust(width) if heading in right else cell.ljust(width)
                 for cell, width, heading in zip(row, widths, HEADINGS)]
        text.append('  '.join(cells).rstrip())
    text.insert(1, '  '.join('-' * width for width in widths))
    text.extend('[{}] {}'.format(index + 1, note) for index, note in enumerate(notes))
    return '\n'.join(text)
