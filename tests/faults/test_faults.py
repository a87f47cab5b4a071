"""The quick form of the fault suite: each row by each start method is one test."""
import os

import pytest

from . import table

#: Start methods of the quick form; ``python3 -m tests.faults`` takes all of them.
METHODS = os.environ.get("FAULTS_METHODS", "-,forkserver").split(",")


def _parameters():
    for fault in table.TABLE:
        for method in fault.methods:
            if method not in METHODS and not (method == "fork" and "forkserver" not in fault.methods):
                continue
            slow = fault.slow or method == "spawn"      # each of its processes is a new interpreter
            yield pytest.param(fault, method, id="%s-%s" % (fault.key, method),
                               marks=[pytest.mark.timeout(fault.limit + 120)] + [pytest.mark.slow] * slow
                               + [pytest.mark.xfail(reason=fault.open, run=False)] * bool(fault.open))


@pytest.mark.parametrize("fault, method", list(_parameters()))
def test_fault(fault, method, verdicts):
    verdict = verdicts[fault, method].result()
    if not verdict["ok"]:
        pytest.fail("%s\n\nwhat it wrote:\n%s" % ("\n".join(verdict["violations"]), verdict["said"]), pytrace=False)
