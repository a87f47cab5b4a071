"""Fixtures of the tests of the guarantees."""
import pytest

from atasker_like import TaskSupervisor
from atasker_like.engine import blocking, wait_graph
from tests.support import PATIENCE
from tests.support.internals import inject
from tests.support.internals.engine import WARNED
from tests.support.internals.wait_graph import is_empty
from tests.support.threads import wait_for


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


@pytest.fixture
def told(caplog, monkeypatch):
    """Returns the warnings of this test that have a word in them. Nothing has been warned of
    before, and no wait is left."""
    WARNED.patch(monkeypatch, wait_graph, set())
    WARNED.patch(monkeypatch, blocking, set())
    yield lambda word: [record.getMessage() for record in caplog.records
                        if record.levelname == "WARNING" and word in record.getMessage()]
    wait_for(is_empty, "no wait is left")
