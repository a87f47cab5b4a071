"""The iterators of imap() that several threads share."""
import pytest

from atasker_like.pools.views import _Results
from tests.support.threads import join, started


class Call:
    """A task, as far as the iterator must know it. It has ended when somebody waited for it."""

    def __init__(self, number):
        self._number = number
        self._has_ended = False
        self.while_waiting = None

    def done(self):
        return self._has_ended

    def _end(self, deadline):
        meanwhile, self.while_waiting = self.while_waiting, None
        if meanwhile is not None:
            meanwhile()
        self._has_ended = True
        return True

    def value(self, timeout):
        assert self._has_ended, "nobody has waited for it"
        return self._number


def test_threads_that_share_an_imap_wait_for_a_result_each():
    calls = [Call(number) for number in range(2)]
    results = _Results(lambda arguments: calls[:len(arguments)], range(2), in_order=True)
    others = []
    calls[0].while_waiting = lambda: others.append(join(started(results.next)))
    assert results.next() == 0 and others == [1]
    with pytest.raises(StopIteration):
        results.next()


def test_result_that_is_late_comes_before_those_that_follow_it():
    calls = [Call(number) for number in range(2)]
    late = calls[0]._end
    calls[0]._end = lambda deadline: False
    results = _Results(lambda arguments: calls[:len(arguments)], range(2), in_order=True)
    with pytest.raises(TimeoutError, match="next result of mp_pool"):
        results.next(0)
    calls[0]._end = late
    assert list(results) == [0, 1]
