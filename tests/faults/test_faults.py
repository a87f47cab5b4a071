"""The quick form of the fault suite: each row by each start method is one test."""
import os

import pytest

from . import runner, table

#: Start methods of the quick form; ``python3 -m tests.faults`` takes all of them.
METHODS = os.environ.get("FAULTS_METHODS", "-,forkserver").split(",")
SEED = int(os.environ.get("FAULTS_SEED", "0"))


def _parameters():
    for fault in table.TABLE:
        for method in fault.methods:
            if method not in METHODS and not (
                method == "fork" and "forkserver" not in fault.methods
            ):
                continue
            slow = fault.slow or method == "spawn"      # each of its processes is a new interpreter
            yield pytest.param(
                fault,
                method,
                id="%s-%s" % (fault.key, method),
                marks=[pytest.mark.timeout(fault.limit + 120)]
                + [pytest.mark.slow] * slow
                + [pytest.mark.xfail(reason=fault.open, run=False)] * bool(fault.open)
                + [pytest.mark.gate] * (fault.number >= 43),
            )


def made_ahead(items, folder):
    cases = [(item.callspec.params["fault"], item.callspec.params["method"]) for item in items]
    # pytest's stand-in where METHODS leave none
    cases = [case for case in cases if isinstance(case[0], table.Fault)]
    # The long ones first, so that none of them is left alone at the end.
    for fault, method in sorted(cases, key=lambda case: -case[0].limit):
        if not fault.open:
            yield (fault.key, method), runner.run_case, fault, method, "ours", SEED


@pytest.mark.parametrize("fault, method", list(_parameters()))
def test_fault(fault, method, ahead):
    verdict = ahead((fault.key, method))
    if not verdict["ok"]:
        pytest.fail(
            "%s\n\nwhat it wrote:\n%s" % ("\n".join(verdict["violations"]), verdict["said"]),
            pytrace=False,
        )
