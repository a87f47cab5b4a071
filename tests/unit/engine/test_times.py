"""The times of a task as epoch seconds."""
import time

import pytest

from atasker_like import wait_completed
from atasker_like.engine import task as task_module
from tests.support.internals.engine import WALL_OFFSET


class _Clock:
    """A wall clock of which each reading is earlier against the true time than the last one."""

    def __init__(self, ahead):
        self.ahead = ahead

    def __call__(self):
        self.ahead -= 0.0005
        return time.time() + self.ahead


@pytest.fixture
def wall_offset(monkeypatch):
    """Restore the stored offset of the wall clock after a test that moves it."""
    WALL_OFFSET.patch(monkeypatch, task_module, WALL_OFFSET.of(task_module))


def test_times_keep_their_order_if_the_readings_of_the_clock_vary(supervisor, wall_offset,
                                                                  monkeypatch):
    task = supervisor.put_task(lambda: None)
    wait_completed([task])
    for ahead in (0, 3600):
        monkeypatch.setattr(task_module, "time", _Clock(ahead))
        times = task.time_queued, task.time_started, task.time_completed
        assert times == tuple(sorted(times))


@pytest.mark.parametrize("moved", (3600, -3600))
def test_times_follow_a_clock_that_is_set(supervisor, wall_offset, monkeypatch, moved):
    task = supervisor.put_task(lambda: None)
    wait_completed([task])
    before = task.time_queued
    monkeypatch.setattr(task_module, "time", lambda: time.time() + moved)
    # A reading that is interrupted for more than a millisecond does not count.
    after = next(at for at in iter(lambda: task.time_queued, None) if at != before)
    assert abs(after - before - moved) < 1
