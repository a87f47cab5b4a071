import multiprocessing
import os
import threading

import pytest

from tests.support import PATIENCE

from ..support.internals import manager
from .functions import Gate
from .kinds import EXECUTORS, Kind

AVAILABLE = multiprocessing.get_all_start_methods() + ["template"] * hasattr(os, "fork")
#: What the contract is held against beside threads and coroutines. The gate names the others: fork,
#: template, spawn, TPE, PPE, Pool, interpreters.
CHOSEN = os.environ.get("CONTRACT", "forkserver").split(",")
START_METHODS = [method for method in AVAILABLE if method in CHOSEN]
CHOSEN_EXECUTORS = [name for name in EXECUTORS if name in CHOSEN]


#: What executors of an application's cannot keep of the contract, and why. docs/howto/scale_out.rst
#: says the same.
PLACE = ("an executor cannot end a call that it runs, so its place is not another one's before the "
         "call has ended")
REQUEST = "no request to stop crosses to the processes of an executor: what runs goes on"
REPORT = "the last report of a process of an executor comes with the result, and none before"
CANNOT = {
    "test_task_that_exceeds_its_timeout_fails": PLACE,
    "test_a_timeout_is_retried_when_asked": PLACE,
    "test_a_timeout_releases_the_slot": PLACE,
    "test_a_running_task_is_cancelled": REQUEST,
    "test_what_runs_is_asked_to_stop": REQUEST,
    "test_stop_that_cancels_tasks": REQUEST,
    "test_progress_of_a_running_task_is_seen_outside": REPORT,
}


def _made(request, supervisor):
    name = request.param
    reason = CANNOT.get(request.node.originalname) if name in EXECUTORS else None
    if reason is not None and (name != "TPE" or reason is PLACE):
        pytest.skip(reason)
    made = Kind(name, supervisor)
    yield made
    made.close()


@pytest.fixture(params=["threads", "coroutines", *START_METHODS, *CHOSEN_EXECUTORS])
def kind(request, supervisor):
    """Every implementation."""
    yield from _made(request, supervisor)


@pytest.fixture(params=["threads", *START_METHODS, *CHOSEN_EXECUTORS])
def placed(request, supervisor):
    """Those in which tasks need a place."""
    yield from _made(request, supervisor)


@pytest.fixture(params=["threads", "coroutines"])
def inside(request, supervisor):
    """Those in this process."""
    return Kind(request.param, supervisor)


@pytest.fixture(params=START_METHODS)
def processes(request, supervisor):
    """Processes by every start method."""
    return Kind(request.param, supervisor)


@pytest.fixture
def process(supervisor):
    """A process by the default start method, for what does not depend on how it was started."""
    return Kind("forkserver" if "forkserver" in AVAILABLE else "spawn", supervisor)


@pytest.fixture
def make_gate(tmp_path, supervisor):
    """Makes gates, which are opened before the supervisor is stopped."""
    gates = []

    def make():
        gates.append(Gate(tmp_path / f"gate{len(gates)}").make())
        return gates[-1]

    yield make
    for gate in gates:
        gate.close()


@pytest.fixture
def gate(make_gate):
    return make_gate()


@pytest.fixture
def trace(tmp_path):
    """A file for functions.record, and what it says."""
    class Trace:
        path = str(tmp_path / "trace")

        @property
        def lines(self):
            try:
                with open(self.path) as file:
                    return file.read().split()
            except FileNotFoundError:
                return []

    return Trace()


class Clock:
    """The timer's, which stands still until it is moved."""

    def __init__(self, supervisor):
        self.now = 1000.0
        self._timer = manager(supervisor).timer
        self._timer.clock = self

    def __call__(self):
        return self.now

    def forward(self, seconds):
        """Move it, and return when the timer has made all calls that are due."""
        self.now += seconds
        self.settle()

    def settle(self):
        self._timer.start()
        for _ in range(2):
            done = threading.Event()
            self._timer.call_at(float("-inf"), lambda: self._timer.call_at(self.now, done.set))
            assert done.wait(PATIENCE)


@pytest.fixture
def clock(supervisor):
    return Clock(supervisor)
