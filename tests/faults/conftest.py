"""Fixtures of the fault suite."""
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from . import runner

SEED = int(os.environ.get("FAULTS_SEED", "0"))


@pytest.fixture(autouse=True)
def leaves_nothing():
    """In place of the check of the same name: each case judges what it leaves itself, in its own process, while others
    run beside it."""


@pytest.fixture(scope="module")
def verdicts(request):
    """The verdicts of all cases that were selected, as they come: two for each core run at a time, as cases mostly wait."""
    with ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as executor:
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
