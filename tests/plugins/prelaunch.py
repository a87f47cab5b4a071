"""Programs that tests run and only judge: they run ahead of their tests, beside all others, in a
process of its own.

A fault case, or the command on a tree of files, is a process that mostly waits and that nobody
needs to watch. A test module that has such says what they are in a function ``made_ahead(items,
folder)``, which gets the tests of the module that were selected and a folder to work in, and
returns calls: a key, a function of a module, its arguments. They begin with the first test of the
run. The tests that ask for their results, by the fixture ``ahead``, come last.

The process of its own reads the calls from its stdin, one line, and writes a line for each result.
A second line, or the end of stdin when the run of tests has died, has it end what goes on, and
itself. Both sides are one program and trust each other: lines are pickles.
"""
import base64
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress

import pytest

#: Seconds that it may take to end what goes on.
LAST_WAIT = 60

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

#: Functions that end what a call has started, for calls that may go on for long; called in the
#: process of its own.
ENDERS = []


class Ahead:
    """The process of its own, and its results so far. Not for several threads."""

    def __init__(self, calls, jobs, folder):
        self._results = {}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.plugins.prelaunch", str(jobs), folder],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self._process.stdin.write(_line(calls))
        self._process.stdin.flush()

    @property
    def pid(self):
        return self._process.pid

    def result(self, key):
        """Wait for a result; skip the test, or fail it, when that is what came of it."""
        while key not in self._results:
            line = self._process.stdout.readline()
            if not line:
                raise RuntimeError(
                    "the process that runs programs ahead of their tests has ended before %r, with "
                    "exit "
                    "status %s" % (key, self._process.wait(LAST_WAIT))
                )
            other, *result = _read(line)
            self._results[other] = result
        end, value = self._results[key]
        if end == "skipped":
            pytest.skip(value)
        if end == "failed":
            pytest.fail(value, pytrace=False)
        return value

    def close(self):
        """End it, and what it started."""
        with suppress(OSError):         # it has ended already
            self._process.stdin.write(b"end\n")
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(LAST_WAIT)


def _line(item):
    return base64.b64encode(pickle.dumps(item)) + b"\n"


def _read(line):
    return pickle.loads(base64.b64decode(line))


# -- in the process of its own -------------------------------------------------------------------


def main():
    # no lock that the thread would hold at the end
    source = open(0, "rb", buffering=0, closefd=False)
    calls = _read(source.readline())
    # what it sends to its programs at the end, see below
    signal.signal(signal.SIGTERM, lambda *_: None)
    with ThreadPoolExecutor(int(sys.argv[1])) as executor:
        futures = [executor.submit(_call, *call) for call in calls]
        threading.Thread(target=_end_with_the_other, args=(source, futures), daemon=True).start()
        with suppress(BrokenPipeError):
            for future in as_completed(futures):
                if not future.cancelled():
                    sys.stdout.buffer.write(future.result())
                    sys.stdout.buffer.flush()
    # here, so that it goes also when the run of tests is killed
    shutil.rmtree(sys.argv[2], ignore_errors=True)


def _call(key, function, arguments):
    try:
        return _line((key, "returned", function(*arguments)))
    except pytest.skip.Exception as error:
        return _line((key, "skipped", str(error)))
    except BaseException:                   # also what pytest.fail() raises
        return _line((key, "failed", traceback.format_exc()))


def _end_with_the_other(source, futures):
    source.readline()
    for future in futures:
        future.cancel()
    for end in ENDERS:
        end()
    # this process is the first of its session, and its programs are in it
    os.killpg(0, signal.SIGTERM)


# -- in the run of tests -------------------------------------------------------------------------


class Plugin:
    """Starts the process of its own when the tests are known."""

    def __init__(self):
        self._ahead = None

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items):
        """What begins with the first test comes last."""
        items.sort(key=_asks)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session):
        modules = {}
        for item in filter(_asks, session.items):
            modules.setdefault(item.module, []).append(item)
        if not modules or session.config.option.collectonly:
            return
        calls, top = [], tempfile.mkdtemp(prefix="ahead-")
        for module, items in modules.items():
            folder = os.path.join(top, module.__name__)
            os.mkdir(folder)
            calls += [((module.__name__, key), function, arguments)
                      for key, function, *arguments in module.made_ahead(items, folder)]
        cores = os.cpu_count() or 1
        alone = 2 * sum(map(len, modules.values())) > len(session.items)
        self._ahead = Ahead(calls, 2 * cores if alone else cores, top)

    def pytest_unconfigure(self):
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None

    @pytest.fixture
    def ahead(self, request):
        """A function that waits for a result, by its key."""
        return lambda key: self._ahead.result((request.module.__name__, key))

    @property
    def pid(self):
        return self._ahead and self._ahead.pid


def _asks(item):
    return "ahead" in getattr(item, "fixturenames", ())


def pytest_configure(config):
    config.pluginmanager.register(Plugin(), "ahead")


if __name__ == "__main__":
    from tests.plugins.prelaunch import \
        main as run  # the module that others know, not this copy of it

    run()
