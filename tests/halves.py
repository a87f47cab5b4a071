"""A long run of tests in two processes: the second one runs some of the modules, and the first one reports for both.

::

    pytest ─> collects ─> keeps some modules, starts `pytest MODULES --second-half FILE` for the others
                          its own tests end ─> reads FILE, a line a report ─> one summary, one exit status

The process that is started first has all modules whose tests ask for ``ahead``. A run of a few tests is not divided, and
neither is one with ``--one-process``. The modules are divided by the number of their tests, of which a slow one counts
for many: both halves take about the same time, however many cores there are.
"""
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter

import pytest

#: Tests below which a run is not divided, and for how many others a slow one counts.
LEAST, SLOW = 2000, 10

#: Seconds that the second process may go on for when the first one has ended its tests.
PATIENCE = 600

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class FirstHalf:
    """In the process that was started first."""

    def __init__(self):
        self._modules = []
        self._expected = set()
        self._process = None
        self._path = None

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config, items):
        if config.option.collectonly or len(items) < LEAST:
            return
        weights, bound = Counter(), set()
        for item in items:
            weights[item.path] += SLOW if item.get_closest_marker("slow") else 1
            if "ahead" in getattr(item, "fixturenames", ()):
                bound.add(item.path)
        mine = sum(weights[path] for path in bound)
        theirs = 0
        for path, weight in weights.most_common():
            if path not in bound:
                if theirs <= mine:
                    theirs += weight
                    self._modules.append(path)
                else:
                    mine += weight
        others = set(self._modules)
        self._expected = {item.nodeid for item in items if item.path in others}
        items[:] = [item for item in items if item.path not in others]

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtestloop(self, session):
        if self._modules:
            self._start(session.config)
        yield
        if self._process is not None:
            self._report(session.config)

    def _start(self, config):
        descriptor, self._path = tempfile.mkstemp(prefix="second-half-")
        os.close(descriptor)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--second-half", self._path]
        for option, value in (("-m", config.option.markexpr), ("-k", config.option.keyword)):
            command += [option, value] if value else []
        command += ["--gate"] if config.getoption("--gate") else []
        with open(self._path + ".log", "wb") as log:
            self._process = subprocess.Popen([*command, *map(str, self._modules)], cwd=ROOT, stdin=subprocess.DEVNULL,
                                             stdout=log, stderr=subprocess.STDOUT,
                                             env=dict(os.environ, PYTEST_ADDOPTS=""))

    @property
    def pid(self):
        return None if self._process is None else self._process.pid

    def _report(self, config):
        try:
            status = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            status = "none: it goes on"
        seen = set()
        with open(self._path) as lines:
            for line in lines:
                report = config.hook.pytest_report_from_serializable(config=config, data=json.loads(line))
                seen.add(report.nodeid)
                config.hook.pytest_runtest_logreport(report=report)
        # By number: an id may have the address of an object in it.
        missing = len(self._expected) - len(seen)
        if missing or status not in (0, 1):
            with open(self._path + ".log", errors="replace") as log:
                end = log.read()[-4000:]
            raise RuntimeError(f"the second process ended with exit status {status}, and has not run {missing} tests; the "
                               f"end of what it wrote:\n{end}")

    def pytest_unconfigure(self):
        if self._process is not None:
            if self._process.poll() is None:
                self._process.terminate()
                self._process.wait(PATIENCE)
            for path in (self._path, self._path + ".log"):
                os.unlink(path)


class SecondHalf:
    """In the process that runs the other modules."""

    def __init__(self, config, path):
        self._config = config
        self._file = open(path, "w", buffering=1)

    def pytest_runtest_logreport(self, report):
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._file.write(json.dumps(data) + "\n")

    def pytest_unconfigure(self):
        self._file.close()


def pytest_addoption(parser):
    parser.addoption("--one-process", action="store_true", help="run all tests in this process, however many they are")
    parser.addoption("--second-half", metavar="FILE", help="write a line a report to FILE; used by the first process")


def pytest_configure(config):
    path = config.getoption("--second-half")
    if path:
        config.pluginmanager.register(SecondHalf(config, path), "halves")
    elif not config.getoption("--one-process") and os.name == "posix" and not hasattr(config, "workerinput"):
        config.pluginmanager.register(FirstHalf(), "halves")
