"""The oracle finds what does not hold: an oracle that cannot say no says nothing."""
import pytest

from .lies import LIES

#: What is counted in each, where it is not 0.
COUNTED = {"lost": {"lost": 1, "hung": 1}, "not_done": {"lost": 1}, "thread_left": {"leaked": 1},
           "file_left": {"leaked": 1}, "ran_twice": {"duplicated": 1}, "hangs": {"lost": 1, "hung": 1},
           "crashes": {"lost": 1, "hung": 1}}


@pytest.mark.slow
@pytest.mark.parametrize("fault, method", [(lie, lie.methods[0]) for lie in LIES], ids=[lie.name for lie in LIES])
def test_a_lie_is_found(fault, method, verdicts):
    verdict = verdicts[fault, method].result()
    letters = {violation[0] for violation in verdict["violations"]}
    assert letters == {fault.name[0]}, (verdict["violations"], verdict["said"])
    for name, count in COUNTED.get(fault.scenario.__name__, {}).items():
        assert verdict[name] == count, verdict
