"""The slot of a plain worker, which keeps it until a task waits that may have it."""
import threading

import pytest

from atasker_like import TASK_HIGH, TASK_LOW, background_task, background_worker
from tests.support import PATIENCE


class Counted:
    """A function that counts its runs, for a test to wait for."""

    def __init__(self):
        self.runs = 0
        self._told = threading.Condition()

    def __call__(self):
        with self._told:
            self.runs += 1
            self._told.notify_all()

    def wait_for_more(self, count):
        with self._told:
            goal = self.runs + count
            assert self._told.wait_for(lambda: self.runs >= goal, PATIENCE)


@pytest.fixture
def start(make_supervisor):
    started = []

    def start(supervisor, **options):
        function = Counted()
        worker = background_worker(lambda: function(), supervisor=supervisor, **options)
        worker.start()
        started.append(worker)
        return worker, function

    yield start
    for worker in started:
        worker.stop()


def test_plain_worker_is_admitted_once_while_nothing_waits(make_supervisor, start):
    supervisor = make_supervisor(pool_size=1, reserve_normal=0, reserve_high=0)
    worker, function = start(supervisor)
    function.wait_for_more(1000)
    assert supervisor.stats().thread.submitted == 1
    assert worker.stats().runs >= 1000 and worker.stats().last_duration is not None


def test_plain_worker_gives_its_slot_to_a_task_that_waits_and_goes_on(make_supervisor, start):
    supervisor = make_supervisor(pool_size=1, reserve_normal=0, reserve_high=0)
    worker, function = start(supervisor)
    function.wait_for_more(1)
    for number in range(5):
        assert background_task(abs, supervisor=supervisor)(-number).value(PATIENCE) == number
        function.wait_for_more(10)


def test_plain_worker_keeps_its_slot_if_no_waiting_task_may_have_it(make_supervisor, start):
    supervisor = make_supervisor(pool_size=1, reserve_normal=0, reserve_high=1)
    gate, began = threading.Event(), threading.Event()
    low = background_task(lambda: began.set() or gate.wait(PATIENCE), priority=TASK_LOW,
                          supervisor=supervisor)
    occupying = low()
    assert began.wait(PATIENCE)
    worker, function = start(supervisor, priority=TASK_HIGH)
    waiting = low()
    function.wait_for_more(2000)
    assert waiting.state == "pending" and supervisor.stats().thread.submitted == 3
    gate.set()
    assert occupying.value(PATIENCE) and waiting.value(PATIENCE)
