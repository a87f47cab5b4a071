"""Fixtures of the tests of the guarantees."""
import pytest

from atasker_like import TaskSupervisor
from tests.support import PATIENCE
from tests.support.internals import inject


@pytest.fixture
def make():
    """Makes supervisors with lying locks and a clock that obeys; they are stopped at the end.

    With ``processes``, the process pool is made at once, so that its lock is one that lies too.
    """
    made = []

    def make(processes=None, start_method=None, **sizes):
        sizes = dict({"pool_size": 1, "reserve_normal": 0, "reserve_high": 0}, **sizes)
        supervisor = TaskSupervisor(**sizes)
        made.append(supervisor)
        if processes is not None:
            supervisor.set_mp_pool(pool_size=processes, start_method=start_method)
        return inject(supervisor)

    yield make
    for supervisor in made:
        supervisor.stop(wait=PATIENCE, cancel_tasks=True)
