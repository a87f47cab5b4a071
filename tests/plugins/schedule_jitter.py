"""Options of pytest that hold threads up at random, so that a test which passes by luck fails where
somebody looks.

``--tardy SEED``
    The test's own thread stops for a while at a few lines of the test's file, as it would on a
    machine that is busy with something else. A test fails by it that says "this has not happened
    yet" because a delay or a task was longer than its own next line.

``--tardy-library SEED``
    Every thread stops for a moment at lines of the package, and threads that are not the test's own
    at lines of the test's file too; in one test at many of them, in another at few. A test fails by
    it that says "this has happened by now", and so does a race of the package.

Both can be given. The same seed chooses the same lines of a test; what the threads of the package
do between them is not the seed's to say. A failure tells at which lines the test was held up.
Nothing is held up in other processes, nor where a test sets a trace function of its own, or a
debugger or a measure of coverage has set one.
"""

import dis
import gc
import os
import random
import sys
import threading
from time import sleep

import pytest

import atasker_like

#: Of a test's own file: how many of its lines are chosen, about, and at how many it stops at most.
CHOSEN, STOPS = 2, 4
#: Of the package: seconds at the longest, and how often at most, in one test.
MOMENT, MOMENTS = 0.005, 300


def pytest_addoption(parser):
    group = parser.getgroup("tardiness", "threads that are held up at random")
    group.addoption(
        "--tardy", metavar="SEED", help="hold the test's own thread up at a few of the test's lines"
    )
    group.addoption(
        "--tardy-pause", metavar="SECONDS", type=float, default=0.3, help="for how long (0.3)"
    )
    group.addoption(
        "--tardy-library",
        metavar="SEED",
        help="hold every thread up at lines of the package, for moments",
    )


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    """Threads are traced that begin in the fixtures too."""
    option = item.config.getoption
    asked = option("tardy") is not None or option("tardy_library") is not None
    if not asked or not isinstance(item, pytest.Function) or sys.gettrace() is not None:
        yield
        return
    item.tardiness = tardiness = Tardiness(
        item, option("tardy"), option("tardy_pause"), option("tardy_library")
    )
    threading.settrace(tardiness.trace_library)
    try:
        yield
    finally:
        threading.settrace(None)
        tardiness.over()


@pytest.hookimpl(hookwrapper=True)
def pytest_pyfunc_call(pyfuncitem):
    tardiness = getattr(pyfuncitem, "tardiness", None)
    if tardiness is None or (not gc.isenabled() and sys.version_info < (3, 11)):
        # a test that looks at references: there a frame that is traced holds what its names stood
        # for
        yield
        return
    sys.settrace(tardiness.trace)
    try:
        outcome = yield
    finally:
        sys.settrace(None)
    if outcome.excinfo is not None:
        pyfuncitem.add_report_section("call", "tardiness", tardiness.told())


class Tardiness:
    """What holds the threads of one test up."""

    def __init__(self, item, seed, pause, library_seed):
        self._pid = os.getpid()
        self._file = os.fspath(item.fspath)
        self._package = os.path.dirname(atasker_like.__file__) + os.sep
        self._pause = pause
        self._chance = random.Random("%s %s" % (seed, item.nodeid))
        self._share = CHOSEN / max(CHOSEN, _length(item.function.__code__))
        self._seen = set()
        self._left = 0 if seed is None else STOPS
        self._stops = []
        self._library_chance = random.Random("%s %s" % (library_seed, item.nodeid))
        #: From one line in ten to one in three thousand.
        self._library_share = 10 ** -self._library_chance.uniform(1, 3.5)
        self._moments_left = 0 if library_seed is None else MOMENTS
        self._moments = 0

    def told(self):
        """Say what was done to the test."""
        return "held up at lines %s of it, and %d times for a moment" % (
            ", ".join(map(str, self._stops)) or "none", self._moments)

    def over(self):
        """Hold nothing up any more: threads that go on are still traced."""
        self._left = self._moments_left = 0

    def trace(self, frame, event, arg):
        """The trace function of the test's own thread."""
        if frame.f_code.co_filename == self._file:
            return self._test_line if self._left else None
        return self.trace_library(frame, event, arg)

    def trace_library(self, frame, event, arg):
        """That of other threads."""
        file = frame.f_code.co_filename
        if self._moments_left and (file == self._file or file.startswith(self._package)):
            return self._library_line
        return None

    def _test_line(self, frame, event, arg):
        if (
            event == "line"
            and self._left
            and frame.f_lineno not in self._seen
            and os.getpid() == self._pid
        ):
            self._seen.add(frame.f_lineno)
            if self._chance.random() < self._share:
                self._left -= 1
                self._stops.append(frame.f_lineno)
                sleep(self._pause)
        return self._test_line

    def _library_line(self, frame, event, arg):
        if event == "line" and self._moments_left and os.getpid() == self._pid:
            if self._library_chance.random() < self._library_share:
                # no lock: of several threads at once, some more than the most do no harm
                self._moments_left -= 1
                self._moments += 1
                sleep(MOMENT * self._library_chance.random())
        return self._library_line


def _length(code):
    """The number of lines of a function, with those of the functions in it."""
    inner = [constant for constant in code.co_consts if isinstance(constant, type(code))]
    return len(list(dis.findlinestarts(code))) + sum(map(_length, inner))
