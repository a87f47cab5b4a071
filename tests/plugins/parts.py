"""A long run of tests is divided between several processes, and the first one reports for all of
them.

::

    pytest ─> collects ─> starts `python -m tests.plugins.parts` ─> starts `pytest --part` once a
    core
      each process takes the next module from one pipe, until it is empty
      the first process replays the reports of the others ─> one summary, one exit status

The pipe holds the numbers of the modules, the longest first, and the kernel gives each number to
one process. So all processes end at about the same time. Modules that use the fixture ``ahead``
stay in the first process.

The process between them ends the others when the first one is gone: its stdin ends then, whatever
ended the first one. A run of few tests is not divided, and neither is a run with ``--one-process``.
"""

import glob
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from contextlib import suppress
from time import monotonic

import pytest

#: A run of fewer tests is not divided.
LEAST = 2000

#: The weights of a test, of one marked ``slow`` and of one marked ``gate``: only the order of
#: modules depends on them.
PLAIN, SLOW, GATE = 1, 20, 100

#: Seconds that the other processes may go on for after the first one has ended its tests.
LAST_WAIT = 600

#: Seconds that an interrupted process has for the ends of its fixtures.
GRACE = 10

#: Options of the first process that all others get, and their names for pytest.
HANDED_ON = (("-m", "markexpr"), ("-k", "keyword"), ("--timeout", "timeout"), ("--tardy", "tardy"),
             ("--tardy-library", "tardy_library"))

#: The bytes of a number in the pipe.
DIGITS = 4

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class FirstPart:
    """The plugin of the process that collects all tests and reports."""

    def __init__(self):
        self._modules = {}          # by number: path, items
        self._own = []              # items that stay in this process
        self._launcher = None
        self._source = None
        # with the names of the modules, and what the other processes write
        self._folder = None

    @property
    def pid(self):
        return self._launcher and self._launcher.pid

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config, items):
        if config.option.collectonly or len(items) < LEAST:
            return
        modules, weights, own = {}, Counter(), set()
        for item in items:
            path = str(item.path)
            modules.setdefault(path, []).append(item)
            slow, gate = item.get_closest_marker("slow"), item.get_closest_marker("gate")
            weights[path] += GATE if gate else SLOW if slow else PLAIN
            if "ahead" in getattr(item, "fixturenames", ()):
                own.add(path)
        self._own = [item for item in items if str(item.path) in own]
        order = [path for path, _ in weights.most_common() if path not in own]
        self._modules = {number: (path, modules[path]) for number, path in enumerate(order)}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session):
        if not self._modules:
            return None
        if session.testsfailed and not session.config.option.continue_on_collection_errors:
            return None             # pytest says why it runs nothing
        self._start(session.config)
        done = set()
        run(self._items(done))
        self._report(session, done)
        return True

    def _items(self, done):
        for number in numbers(self._source):
            done.add(number)
            yield from self._modules[number][1]
        yield from self._own

    def _start(self, config):
        self._folder = tempfile.mkdtemp(prefix="parts-")
        with open(os.path.join(self._folder, "modules"), "w") as file:
            json.dump([path for path, _ in self._modules.values()], file)
        self._source, target = os.pipe()
        with open(target, "wb") as pipe:
            pipe.write(b"".join(number.to_bytes(DIGITS, "big") for number in self._modules))
        options = ["--gate"] if config.getoption("--gate") else []
        for option, name in HANDED_ON:
            value = config.getoption(name, None)
            options += [option, str(value)] if value else []
        self._launcher = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.plugins.parts",
                str(self._source),
                self._folder,
                *options,
            ],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            pass_fds=[self._source],
            start_new_session=True,
        )

    def _report(self, session, done):
        try:
            status = self._launcher.wait(LAST_WAIT)
        except subprocess.TimeoutExpired:
            status = f"none within {LAST_WAIT} s"
        expected = sum(
            len(items) for number, (_, items) in self._modules.items() if number not in done
        )
        seen = set()
        for path in glob.glob(os.path.join(self._folder, "*.reports")):
            with open(path) as lines:
                for line in lines:
                    report = session.config.hook.pytest_report_from_serializable(
                        config=session.config, data=json.loads(line)
                    )
                    seen.add(report.nodeid)
                    session.ihook.pytest_runtest_logreport(report=report)
        # By number: an id may have the address of an object in it.
        missing = expected - len(seen)
        if missing or status:
            print(self._log(), file=sys.__stderr__)
            session.shouldfail = (
                f"the other processes ended with exit status {status}, and have not run {missing} "
                "of "
                "their tests; the end of what they wrote is on stderr"
            )
            raise session.Failed(session.shouldfail)

    def _log(self):
        found = []
        for path in sorted(glob.glob(os.path.join(self._folder, "*.log"))):
            with open(path, errors="replace") as log:
                found.append(log.read()[-4000:])
        return "\n".join(found)

    def pytest_unconfigure(self):
        if self._launcher is not None:
            self._launcher.stdin.close()
            self._launcher.wait(LAST_WAIT)
            os.close(self._source)
            shutil.rmtree(self._folder, ignore_errors=True)     # both may do so at once


class LaterPart:
    """The plugin of a process that runs the modules which it takes from the pipe."""

    def __init__(self, config, source, path):
        self._config = config
        self._source = source
        self._file = open(path, "w", buffering=1)
        with open(os.path.join(os.path.dirname(path), "modules")) as file:
            self._paths = json.load(file)
        # by path: the modules, of which each is imported when its number is taken
        self._modules = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self, session):
        session.perform_collect(self._paths, genitems=False)
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items):
        """Take the modules out of the first call, before other plugins take them for tests."""
        if self._modules is None:
            self._modules = {str(module.path): module for module in items}
            items[:] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session):
        run(self._items(session))
        return True

    def _items(self, session):
        for number in numbers(self._source):
            items = list(session.genitems(self._modules[self._paths[number]]))
            self._config.hook.pytest_collection_modifyitems(
                session=session, config=self._config, items=items
            )
            self._config.hook.pytest_collection_finish(session=session)
            session.testscollected += len(items)
            yield from items

    def pytest_runtest_logreport(self, report):
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._file.write(json.dumps(data) + "\n")

    def pytest_unconfigure(self):
        self._file.close()


def numbers(source):
    """Yield numbers of modules that no other process has taken."""
    while True:
        number = os.read(source, DIGITS)
        if not number:
            return
        yield int.from_bytes(number, "big")


def run(items):
    """Run tests, as pytest's own loop does; the next one is known before one is run, for the ends
    of its fixtures."""
    items = iter(items)
    item = next(items, None)
    while item is not None:
        following = next(items, None)
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if item.session.shouldfail:
            raise item.session.Failed(item.session.shouldfail)
        if item.session.shouldstop:
            raise item.session.Interrupted(item.session.shouldstop)
        item = following


# -- the process between them --------------------------------------------------------------------


def main():
    """Start the other processes and wait for them; end them when stdin ends. Return the exit
    status."""
    source, folder, options = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    processes = [_start(source, os.path.join(folder, str(number)), options)
                 for number in range(max(2, os.cpu_count() or 1))]
    os.close(source)
    first_is_gone = threading.Event()
    threading.Thread(
        target=_end_with_the_first, args=[processes, first_is_gone], daemon=True
    ).start()
    statuses = [process.wait() for process in processes]
    if first_is_gone.is_set():
        shutil.rmtree(folder, ignore_errors=True)
    # 1: a test failed, which its report tells; 5: no module was left to take.
    return next((status for status in statuses if status not in (0, 1, 5)), 0)


def _start(source, path, options):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, "--part",
               f"{source}:{path}.reports"]
    with open(path + ".log", "wb") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=[source],
            start_new_session=True,
            env=dict(os.environ, PYTEST_ADDOPTS=""),
        )


def _end_with_the_first(processes, first_is_gone):
    # without a buffer, whose lock this thread would hold when the interpreter ends
    os.read(0, 1)
    first_is_gone.set()
    for number, seconds in ((signal.SIGINT, GRACE), (signal.SIGKILL, GRACE)):
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, number)
        deadline = monotonic() + seconds
        for process in processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0, deadline - monotonic()))


def pytest_addoption(parser):
    parser.addoption(
        "--one-process",
        action="store_true",
        help="run all tests in this process, however many they are",
    )
    parser.addoption(
        "--part",
        metavar="PIPE:FILE",
        help="take modules from PIPE, report to FILE; for later processes",
    )


def pytest_configure(config):
    part = config.getoption("--part")
    if part:
        source, _, path = part.partition(":")
        config.pluginmanager.register(LaterPart(config, int(source), path), "parts")
    elif (
        not config.getoption("--one-process")
        and os.name == "posix"
        and not hasattr(config, "workerinput")
    ):
        config.pluginmanager.register(FirstPart(), "parts")


if __name__ == "__main__":
    sys.exit(main())
