"""Places where a test holds a thread up."""
import threading

from . import PATIENCE


class Hold:
    """A place where a thread stops until it is told to go on."""

    def __init__(self):
        self._reached = threading.Event()
        self._go = threading.Event()

    def __call__(self):
        self._reached.set()
        assert self._go.wait(2 * PATIENCE), "nobody let the held thread go on"

    def reached(self):
        """Wait until the thread has come here."""
        assert self._reached.wait(
            PATIENCE
        ), "the thread did not come to the place where it is to be held"

    def go(self):
        """Let it go on."""
        self._go.set()
