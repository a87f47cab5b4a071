"""The quick form of the fault suite: each row by each start method is one test."""
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from . import runner, table

SEED = int(os.environ.get("FAULTS_SEED", "0"))

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


@pytest.fixture(scope="module")
def verdicts(request):
    """The verdicts of all cases that were selected, as they come: as many run at a time as there are cores."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as executor:
        futures = {}
        for item in request.session.items:
            if item.module is request.module:
                case = item.callspec.params["fault"], item.callspec.params["method"]
                if case[0].open:
                    continue
                futures[case] = executor.submit(runner.run_case, *case, seed=SEED)
        yield futures
        for future in futures.values():
            future.cancel()
        runner.end_all()        # those that still run, when the tests were interrupted


@pytest.mark.parametrize("fault, method", list(_parameters()))
def test_fault(fault, method, verdicts):
    verdict = verdicts[fault, method].result()
    if not verdict["ok"]:
        pytest.fail("%s\n\nwhat it wrote:\n%s" % ("\n".join(verdict["violations"]), verdict["said"]), pytrace=False)
