"""The oracle finds what does not hold: an oracle that cannot say no says nothing."""
import pytest

from . import runner
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
@pytest.mark.parametrize("fault, method", [(lie, lie.methods[0]) for lie in LIES], ids=[lie.name for lie in LIES])
def test_a_lie_is_found(fault, method, ahead):
    verdict = ahead(fault.key)
    letters = {violation[0] for violation in verdict["violations"]}
    assert letters == {fault.name[0]}, (verdict["violations"], verdict["said"])
    for name, count in COUNTED.get(fault.scenario.__name__, {}).items():
        assert verdict[name] == count, verdict
