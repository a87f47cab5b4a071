"""The lanes whose running tasks all wait for tasks of such lanes."""
from types import SimpleNamespace

import pytest

from atasker_like.constants import TaskStatus
from atasker_like.engine.stuck_lanes import stuck_lanes

RUNNING, QUEUED = int(TaskStatus.STARTED), int(TaskStatus.QUEUED)


class Lane:
    """A full lane."""

    def __init__(self, running, lends_slot=True):
        self.running, self.lends_slot = running, lends_slot

    def is_full(self):
        return True


class Task:
    """A task, as far as the search must know it."""

    def __init__(self, lane, status=RUNNING):
        self._spec, self._status = SimpleNamespace(lane=lane), status

    def done(self):
        return False


class EndingTask(Task):
    """A task whose wait takes another one out of a table while it is looked up."""

    table, other = None, None

    def __hash__(self):
        if self.table is not None:
            self.table.pop(self.other, None)
        return id(self)


def waits(*pairs):
    return {waiter: [SimpleNamespace(tasks=tasks)] for waiter, tasks in pairs}


def test_lane_is_stuck_if_its_only_slot_waits_for_a_task_of_it():
    lane = Lane(1)
    holder, queued = Task(lane), Task(lane, QUEUED)
    assert stuck_lanes({}, waits((holder, [queued])), 64) == {lane}


def test_lane_with_a_running_task_that_does_not_wait_is_not_stuck():
    lane = Lane(2)
    holder, queued = Task(lane), Task(lane, QUEUED)
    assert stuck_lanes({}, waits((holder, [queued])), 64) == set()


def test_thread_holds_its_slot_only_if_the_lane_does_not_lend_it():
    for lends, found in ((True, 0), (False, 1)):
        lane = Lane(1, lends)
        wait = SimpleNamespace(tasks=[Task(lane, QUEUED)])
        assert len(stuck_lanes({Task(lane): wait}, {}, 64)) == found


def test_lanes_in_a_circle_are_stuck_through_running_tasks():
    left, right = Lane(1), Lane(1)
    first, second, queued = Task(left), Task(right), Task(left, QUEUED)
    assert stuck_lanes({}, waits((first, [second]), (second, [queued])), 64) == {left}


def test_task_of_a_circle_that_also_waits_for_a_running_task_ends_the_search():
    lane = Lane(1)
    holder, inner, queued, running = Task(lane), Task(None), Task(lane, QUEUED), Task(None)
    circle = waits((holder, [queued, inner]), (inner, [holder, running]))
    assert stuck_lanes({}, circle, 64) == set()
    assert stuck_lanes({}, waits((holder, [queued, inner]), (inner, [holder])), 64) == {lane}


@pytest.mark.parametrize("kind", ["threads", "coroutines"])
def test_wait_that_ends_during_the_search_does_not_disturb_it(kind):
    lane = Lane(2, lends_slot=False)
    first, second, queued = EndingTask(lane), Task(lane), Task(lane, QUEUED)
    found = waits((first, [queued]), (second, [queued]))
    if kind == "threads":
        found = {task: wait for task, (wait,) in found.items()}
    first.table, first.other = found, second
    assert stuck_lanes(*((found, {}) if kind == "threads" else ({}, found)), 64) == {lane}
    assert second not in found
