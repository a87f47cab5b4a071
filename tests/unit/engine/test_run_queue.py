"""The policy alone: which task may start, in what order. No thread, no pool."""
import random

import pytest

from atasker_like.engine.run_queue import Admission
from atasker_like.engine.spec import TaskSpec
from atasker_like.engine.task import CANCELED, Task
from atasker_like.options import TaskOptions


def make(priority=100, name="task"):
    spec = TaskSpec(None, print, TaskOptions(priority=priority, name=name))
    return Task(spec, (), None, None)


def pop_all(admission):
    popped = []
    while True:
        task = admission.pop()
        if task is None:
            return [task.name for task in popped]
        popped.append(task)


def names(prefix, count):
    return [f"{prefix}{number}" for number in range(count)]


@pytest.mark.parametrize("priority, limit", [
    (10 ** 6, 3), (201, 3), (200, 3), (101, 3), (100, 5), (99, 5), (75, 5), (51, 5), (50, 9), (49, 9), (1, 9),
])
def test_places_by_priority(priority, limit):
    admission = Admission(3, 2, 4)
    for number in range(limit + 5):
        admission.push(make(priority))
    started = pop_all(admission)
    assert len(started) == limit == admission.active
    assert admission.limit(priority) == limit
    assert admission.waiting == 5


@pytest.mark.parametrize("priority", [0, -1, -10 ** 6])
def test_critical_tasks_start_beyond_every_limit(priority):
    admission = Admission(1, 0, 0)
    for _ in range(50):
        admission.push(make(priority))
    assert len(pop_all(admission)) == 50
    assert admission.active == 50


def test_reserves_are_what_is_left_for_the_more_urgent():
    admission = Admission(2, 1, 1)
    for priority in (200, 100, 50, 0):
        for number in range(5):
            admission.push(make(priority, f"{priority}-{number}"))
    assert pop_all(admission) == names("0-", 5)     # they fill all places, and more
    admission.active = 3
    assert pop_all(admission) == ["50-0"]
    admission.active = 2
    assert pop_all(admission) == ["50-1", "50-2"]


def test_the_most_urgent_comes_first_and_ties_by_arrival():
    admission = Admission(0)
    tasks = [make(priority, f"{priority}/{number}") for number in range(4) for priority in (300, 5, 100, -2, 75)]
    for task in tasks:
        admission.push(task)
    assert pop_all(admission) == [f"{priority}/{number}" for priority in (-2, 5, 75, 100, 300) for number in range(4)]


def test_a_size_of_zero_is_unlimited():
    admission = Admission(0)
    for _ in range(1000):
        admission.push(make(200))
    assert len(pop_all(admission)) == 1000


def test_nothing_waits():
    admission = Admission(1)
    assert admission.pop() is None
    assert admission.peek() is None
    assert admission.take_all() == []
    assert admission.depths() == {}


def test_one_that_may_not_start_holds_the_less_urgent_too():
    admission = Admission(1, 0, 0)
    admission.active = 1
    admission.push(make(50))
    admission.push(make(200))
    assert admission.pop() is None
    admission.active = 0
    assert admission.pop().priority == 50


def test_resize_counts_at_once_and_touches_nothing_that_runs():
    admission = Admission(3, 0, 0)
    for _ in range(9):
        admission.push(make())
    assert len(pop_all(admission)) == 3
    admission.resize(5, 0, 0)
    assert len(pop_all(admission)) == 2
    admission.resize(1, 0, 0)
    assert admission.active == 5
    assert admission.pop() is None
    admission.active = 0
    assert len(pop_all(admission)) == 1


def test_peek_and_take_run_occupy_no_place():
    admission = Admission(1)
    spec = TaskSpec(None, print, TaskOptions())
    same = [Task(spec, (), None, None) for _ in range(4)]
    other = make()
    for task in (*same, other):
        admission.push(task)
    assert admission.peek() is admission.peek() is same[0]
    assert admission.take_run(spec, 2, {}) == same[:2]
    assert admission.peek() is same[2]
    assert admission.take_run(spec, 9, {}) == same[2:]      # the next one is of another function
    assert admission.peek() is other
    assert (admission.active, admission.waiting) == (0, 1)


def test_what_was_taken_goes_back_to_where_it_stood():
    admission = Admission(0)
    for task in [make(100, "a"), make(100, "b"), make(100, "c"), make(50, "d")]:
        admission.push(task)
    taken = []
    for _ in range(3):
        taken += admission.take_run(admission.peek()._spec, 1, {})
    admission.push(make(100, "late"))
    admission.push_back(taken)
    assert admission.waiting == 5
    assert pop_all(admission) == ["d", "a", "b", "c", "late"]


def test_many_of_one_priority_are_added_in_their_order():
    admission = Admission(0)
    admission.push(make(100, "first"))
    admission.push_run(100, [make(100, name) for name in "abc"])
    admission.push_run(50, [])
    admission.push(make(100, "last"))
    assert admission.waiting == 5
    assert pop_all(admission) == ["first", "a", "b", "c", "last"]


def test_a_task_is_offered_a_place_or_waits():
    admission = Admission(1, 1, 1)
    offered = [(priority, admission.offer(make(priority, str(priority)))) for priority in (200, 200, 100, 100, 50, 50, 0)]
    assert offered == [(200, True), (200, False), (100, True), (100, False), (50, True), (50, False), (0, True)]
    assert (admission.active, admission.waiting) == (4, 3)


def test_a_place_is_exchanged_for_the_next_task():
    admission = Admission(1, 1, 0)
    admission.active = 2
    for priority in (200, 100):
        admission.push(make(priority))
    assert admission.exchange().priority == 100
    assert admission.active == 2
    assert admission.exchange() is None                 # the place was one that LOW tasks may not use
    assert admission.active == 1
    assert admission.exchange().priority == 200
    assert admission.exchange() is None
    assert admission.active == 0


def withdraw(admission, task):
    task._advance(CANCELED, 0.0)
    admission.withdrawn(task)


def test_a_withdrawn_task_is_passed_over():
    admission = Admission(0)
    tasks = [make(100, name) for name in "abc"]
    for task in tasks:
        admission.push(task)
    withdraw(admission, tasks[0])
    assert admission.waiting == 2
    assert admission.peek() is tasks[1]
    withdraw(admission, tasks[2])
    assert pop_all(admission) == ["b"]
    assert admission.waiting == 0


def test_withdrawn_tasks_do_not_fill_the_memory():
    admission = Admission(1)
    admission.push(make(100, "stays"))
    for number in range(5000):
        task = make(number % 7 * 50)
        admission.push(task)
        withdraw(admission, task)
    held = sum(len(level) for level in admission._levels.values())
    assert held < 500
    assert admission.depths() == {100: 1}
    assert pop_all(admission) == ["stays"]


def test_take_all():
    admission = Admission(1)
    tasks = [make(priority, str(priority)) for priority in (200, 50, 100)]
    for task in tasks:
        admission.push(task)
    withdraw(admission, tasks[2])
    assert [task.name for task in admission.take_all()] == ["50", "200"]
    assert (admission.waiting, admission.active, admission.pop()) == (0, 0, None)
    admission.push(make(100, "next"))
    assert pop_all(admission) == ["next"]


def test_depths():
    admission = Admission(1)
    for priority in (200, 50, 200, 0):
        admission.push(make(priority))
    assert admission.depths() == {0: 1, 50: 1, 200: 2}
    assert list(admission.depths()) == [0, 50, 200]


@pytest.mark.parametrize("seed", range(5))
def test_any_sequence_of_operations_keeps_the_order(seed):
    """Against a model that is plain and slow: a sorted list."""
    chance = random.Random(seed)
    admission, model, number = Admission(5, 3, 2), [], 0
    for _ in range(3000):
        action = chance.random()
        if action < 0.5:
            number += 1
            task = make(chance.choice((-1, 0, 30, 50, 75, 100, 150, 200, *range(300, 360))), str(number))
            admission.push(task)
            model.append((task.priority, number, task))
        elif action < 0.6 and model:
            withdraw(admission, model.pop(chance.randrange(len(model)))[2])
        elif action < 0.65:
            admission.active = chance.randrange(12)
        else:
            model.sort(key=lambda entry: entry[:2])
            expected = None
            if model and admission.active < admission.limit(model[0][0]):
                expected = model.pop(0)[2]
            assert admission.pop() is expected
        assert admission.waiting == len(model)
