"""RLock: what an interrupt of a ``with`` statement leaves."""
import sys

import pytest

from atasker_like._atomics import RLock

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 14), reason="this Python handles no signal where the tests raise")


@pytest.mark.parametrize("held", [0, 1])
def test_with_interrupted_behind_its_acquire_leaves_the_lock_as_it_was(held):
    class Interrupted(type(RLock())):
        def acquire(self):
            super().acquire()
            raise KeyboardInterrupt

    lock = Interrupted()
    for _ in range(held):
        super(Interrupted, lock).acquire()
    with pytest.raises(KeyboardInterrupt):
        with lock:
            pass
    assert lock._recursion_count() == held


def test_with_interrupted_before_its_acquire_leaves_the_lock_free():
    class Interrupted(type(RLock())):
        def acquire(self):
            raise KeyboardInterrupt

    lock = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        with lock:
            pass
    assert lock._recursion_count() == 0
