"""The oracle finds what does not hold: an oracle that cannot say no says nothing."""
import subprocess
import sys

import pytest

from . import oracle, runner
from .lies import LIES

#: What is counted in each, where it is not 0.
COUNTED = {
    "lost": {"lost": 1, "hung": 1},
    "not_done": {"lost": 1},
    "thread_left": {"leaked": 1},
    "file_left": {"leaked": 1},
    "ran_twice": {"duplicated": 1},
    "hangs": {"lost": 1, "hung": 1},
    "crashes": {"lost": 1, "hung": 1},
}


def made_ahead(items, folder):
    for item in items:
        fault, method = item.callspec.params["fault"], item.callspec.params["method"]
        yield fault.key, runner.run_case, fault, method


@pytest.mark.slow
@pytest.mark.parametrize("fault, method", [(lie, lie.methods[0]) for lie in LIES],
                         ids=[lie.name for lie in LIES])
def test_a_lie_is_found(fault, method, ahead):
    verdict = ahead(fault.key)
    letters = {violation[0] for violation in verdict["violations"]}
    assert letters == {fault.name[0]}, (verdict["violations"], verdict["said"])
    for name, count in COUNTED.get(fault.scenario.__name__, {}).items():
        assert verdict[name] == count, verdict


@pytest.fixture
def sleeping():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def _alive(process):
    return lambda: {process.pid} if process.poll() is None else set()


def test_process_that_sleeps_outlives_its_time(sleeping):
    left, busy = oracle.outliving(_alive(sleeping), 0.01, 30.0)
    assert left == {sleeping.pid}


def test_time_in_which_the_cores_are_busy_does_not_count(sleeping, monkeypatch):
    looks = []

    def kept_waiting(pid):
        looks.append(pid)
        if len(looks) == 3:
            sleeping.communicate(b"\n")
        return 100.0 * len(looks)

    monkeypatch.setattr(oracle, "kept_waiting", kept_waiting)
    assert oracle.outliving(_alive(sleeping), 0.0, 30.0)[0] == set()
