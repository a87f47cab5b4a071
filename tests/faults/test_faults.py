"""The quick form of the fault suite: each row by each start method is one test."""
import os

import pytest

from . import implementations, runner, table

#: Start methods of the quick form; ``python3 -m tests.faults`` takes all of them.
METHODS = os.environ.get("FAULTS_METHODS", "-,forkserver").split(",")
#: The library, and the sides that have to keep all that it promises.
SIDES = [name for name, side in implementations.SIDES.items() if side.strict]
SEED = int(os.environ.get("FAULTS_SEED", "0"))


def _parameters():
    for fault in table.TABLE:
        for method in fault.methods:
            if method not in METHODS and not (
                method == "fork" and "forkserver" not in fault.methods
            ):
                continue
            slow = fault.slow or method == "spawn"      # each of its processes is a new interpreter
            for side in SIDES:
                if side != "ours" and (side not in fault.peers or method == "fork"):
                    continue
                yield pytest.param(
                    fault,
                    method,
                    side,
                    id="-".join([fault.key, method] + [side] * (side != "ours")),
                    marks=[pytest.mark.timeout(fault.limit + 120)]
                    + [pytest.mark.slow] * slow
                    + [pytest.mark.xfail(reason=fault.open, run=False)] * bool(fault.open)
                    + [pytest.mark.gate] * (fault.number >= 43 or side != "ours"),
                )


def made_ahead(items, folder):
    cases = [tuple(item.callspec.params[name] for name in ("fault", "method", "side"))
             for item in items]
    # pytest's stand-in where METHODS leave none
    cases = [case for case in cases if isinstance(case[0], table.Fault)]
    # The long ones first, so that none of them is left alone at the end.
    for fault, method, side in sorted(cases, key=lambda case: -case[0].limit):
        if not fault.open:
            yield (fault.key, method, side), runner.run_case, fault, method, side, SEED


@pytest.mark.parametrize("fault, method, side", list(_parameters()))
def test_fault(fault, method, side, ahead):
    verdict = ahead((fault.key, method, side))
    if not verdict["ok"]:
        pytest.fail(
            "%s\n\nwhat it wrote:\n%s" % ("\n".join(verdict["violations"]), verdict["said"]),
            pytrace=False,
        )
