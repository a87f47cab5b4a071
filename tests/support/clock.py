"""A clock that a test puts forward."""
from time import monotonic


class Clock:
    """The monotonic clock, which can be put forward."""

    def __init__(self):
        self._ahead = 0.0

    def __call__(self):
        return monotonic() + self._ahead

    def forward(self, timer, seconds=10000.0):
        """Put the clock forward and have the timer look at it."""
        self._ahead += seconds
        timer.call_at(0.0, lambda: None)
