"""The policy alone: which task may start, in what order. No thread, no pool."""
import random

import pytest

from atasker_like.engine.run_queue import RunQueue
from atasker_like.engine.spec import TaskSpec
from atasker_like.engine.task import CANCELED, Task
from atasker_like.options import TaskOptions
from tests.support.internals.engine import advance, levels_of, spec_of


def make(priority=100, name="task"):
    spec = TaskSpec(None, print, TaskOptions(priority=priority, name=name))
    return Task(spec, (), None, None)


def pop_all(run_queue):
    popped = []
    while True:
        task = run_queue.pop()
        if task is None:
            return [task.name for task in popped]
        popped.append(task)


def names(prefix, count):
    return [f"{prefix}{number}" for number in range(count)]


@pytest.mark.parametrize("priority, limit", [
    (10 ** 6, 3), (201, 3), (200, 3), (101, 3), (100, 5), (99, 5), (75, 5), (51, 5), (50, 9),
    (49, 9), (1, 9),
])
def test_slots_by_priority(priority, limit):
    run_queue = RunQueue(3, 2, 4)
    for number in range(limit + 5):
        run_queue.push(make(priority))
    started = pop_all(run_queue)
    assert len(started) == limit == run_queue.active
    assert run_queue.slot_limit(priority) == limit
    assert run_queue.waiting == 5


@pytest.mark.parametrize("priority", [0, -1, -10 ** 6])
def test_critical_tasks_start_beyond_every_limit(priority):
    run_queue = RunQueue(1, 0, 0)
    for _ in range(50):
        run_queue.push(make(priority))
    assert len(pop_all(run_queue)) == 50
    assert run_queue.active == 50


def test_reserves_are_what_is_left_for_the_more_urgent():
    run_queue = RunQueue(2, 1, 1)
    for priority in (200, 100, 50, 0):
        for number in range(5):
            run_queue.push(make(priority, f"{priority}-{number}"))
    assert pop_all(run_queue) == names("0-", 5)     # they fill all places, and more
    run_queue.active = 3
    assert pop_all(run_queue) == ["50-0"]
    run_queue.active = 2
    assert pop_all(run_queue) == ["50-1", "50-2"]


def test_the_most_urgent_comes_first_and_ties_by_arrival():
    run_queue = RunQueue(0)
    tasks = [make(priority, f"{priority}/{number}") for number in range(4)
             for priority in (300, 5, 100, -2, 75)]
    for task in tasks:
        run_queue.push(task)
    assert pop_all(run_queue) == [f"{priority}/{number}" for priority in (-2, 5, 75, 100, 300)
                                  for number in range(4)]


def test_a_size_of_zero_is_unlimited():
    run_queue = RunQueue(0)
    for _ in range(1000):
        run_queue.push(make(200))
    assert len(pop_all(run_queue)) == 1000


def test_empty_run_queue_gives_nothing():
    run_queue = RunQueue(1)
    assert run_queue.pop() is None
    assert run_queue.peek() is None
    assert run_queue.take_all() == []
    assert run_queue.depths() == {}


def test_one_that_may_not_start_holds_the_less_urgent_too():
    run_queue = RunQueue(1, 0, 0)
    run_queue.active = 1
    run_queue.push(make(50))
    run_queue.push(make(200))
    assert run_queue.pop() is None
    run_queue.active = 0
    assert run_queue.pop().priority == 50


def test_resize_counts_at_once_and_touches_nothing_that_runs():
    run_queue = RunQueue(3, 0, 0)
    for _ in range(9):
        run_queue.push(make())
    assert len(pop_all(run_queue)) == 3
    run_queue.resize(5, 0, 0)
    assert len(pop_all(run_queue)) == 2
    run_queue.resize(1, 0, 0)
    assert run_queue.active == 5
    assert run_queue.pop() is None
    run_queue.active = 0
    assert len(pop_all(run_queue)) == 1


def test_peek_and_take_run_occupy_no_slot():
    run_queue = RunQueue(1)
    spec = TaskSpec(None, print, TaskOptions())
    same = [Task(spec, (), None, None) for _ in range(4)]
    other = make()
    for task in (*same, other):
        run_queue.push(task)
    assert run_queue.peek() is run_queue.peek() is same[0]
    assert run_queue.pop_batch(spec, 2, {}) == same[:2]
    assert run_queue.peek() is same[2]
    assert run_queue.pop_batch(spec, 9, {}) == same[2:]      # the next one is of another function
    assert run_queue.peek() is other
    assert (run_queue.active, run_queue.waiting) == (0, 1)


def test_what_was_taken_goes_back_to_where_it_stood():
    run_queue = RunQueue(0)
    for task in [make(100, "a"), make(100, "b"), make(100, "c"), make(50, "d")]:
        run_queue.push(task)
    taken = []
    for _ in range(3):
        taken += run_queue.pop_batch(spec_of(run_queue.peek()), 1, {})
    run_queue.push(make(100, "late"))
    run_queue.requeue(taken)
    assert run_queue.waiting == 5
    assert pop_all(run_queue) == ["d", "a", "b", "c", "late"]


def test_many_of_one_priority_are_added_in_their_order():
    run_queue = RunQueue(0)
    run_queue.push(make(100, "first"))
    run_queue.push_batch(100, [make(100, name) for name in "abc"])
    run_queue.push_batch(50, [])
    run_queue.push(make(100, "last"))
    assert run_queue.waiting == 5
    assert pop_all(run_queue) == ["first", "a", "b", "c", "last"]


def test_a_task_gets_a_slot_or_waits():
    run_queue = RunQueue(1, 1, 1)
    offered = [(priority, run_queue.acquire_or_enqueue(make(priority, str(priority))))
               for priority in (200, 200, 100, 100, 50, 50, 0)]
    assert offered == [(200, True), (200, False), (100, True), (100, False), (50, True),
                       (50, False), (0, True)]
    assert (run_queue.active, run_queue.waiting) == (4, 3)


def test_a_slot_passes_to_the_next_task():
    run_queue = RunQueue(1, 1, 0)
    run_queue.active = 2
    for priority in (200, 100):
        run_queue.push(make(priority))
    assert run_queue.release_and_pop().priority == 100
    assert run_queue.active == 2
    # the place was one that LOW tasks may not use
    assert run_queue.release_and_pop() is None
    assert run_queue.active == 1
    assert run_queue.release_and_pop().priority == 200
    assert run_queue.release_and_pop() is None
    assert run_queue.active == 0


def withdraw(run_queue, task):
    advance(task, CANCELED, 0.0)
    run_queue.discard(task)


def test_a_withdrawn_task_is_passed_over():
    run_queue = RunQueue(0)
    tasks = [make(100, name) for name in "abc"]
    for task in tasks:
        run_queue.push(task)
    withdraw(run_queue, tasks[0])
    assert run_queue.waiting == 2
    assert run_queue.peek() is tasks[1]
    withdraw(run_queue, tasks[2])
    assert pop_all(run_queue) == ["b"]
    assert run_queue.waiting == 0


def test_withdrawn_tasks_do_not_fill_the_memory():
    run_queue = RunQueue(1)
    run_queue.push(make(100, "stays"))
    for number in range(5000):
        task = make(number % 7 * 50)
        run_queue.push(task)
        withdraw(run_queue, task)
    held = sum(len(level) for level in levels_of(run_queue).values())
    assert held < 500
    assert run_queue.depths() == {100: 1}
    assert pop_all(run_queue) == ["stays"]


def test_take_all_leaves_withdrawn_tasks_out():
    run_queue = RunQueue(1)
    tasks = [make(priority, str(priority)) for priority in (200, 50, 100)]
    for task in tasks:
        run_queue.push(task)
    withdraw(run_queue, tasks[2])
    assert [task.name for task in run_queue.take_all()] == ["50", "200"]
    assert (run_queue.waiting, run_queue.active, run_queue.pop()) == (0, 0, None)
    run_queue.push(make(100, "next"))
    assert pop_all(run_queue) == ["next"]


def test_depths_count_tasks_by_priority():
    run_queue = RunQueue(1)
    for priority in (200, 50, 200, 0):
        run_queue.push(make(priority))
    assert run_queue.depths() == {0: 1, 50: 1, 200: 2}
    assert list(run_queue.depths()) == [0, 50, 200]


@pytest.mark.parametrize("seed", range(5))
def test_any_sequence_of_operations_keeps_the_order(seed):
    """Against a model that is plain and slow: a sorted list."""
    chance = random.Random(seed)
    run_queue, model, number = RunQueue(5, 3, 2), [], 0
    for _ in range(3000):
        action = chance.random()
        if action < 0.5:
            number += 1
            task = make(chance.choice((-1, 0, 30, 50, 75, 100, 150, 200, *range(300, 360))),
                        str(number))
            run_queue.push(task)
            model.append((task.priority, number, task))
        elif action < 0.6 and model:
            withdraw(run_queue, model.pop(chance.randrange(len(model)))[2])
        elif action < 0.65:
            run_queue.active = chance.randrange(12)
        else:
            model.sort(key=lambda entry: entry[:2])
            expected = None
            if model and run_queue.active < run_queue.slot_limit(model[0][0]):
                expected = model.pop(0)[2]
            assert run_queue.pop() is expected
        assert run_queue.waiting == len(model)


def test_a_new_task_gets_no_slot_while_one_before_it_may_start():
    run_queue = RunQueue(1, 0, 1)
    assert run_queue.acquire_or_enqueue(make(200, "first"))
    waiting = make(200, "waiting")
    assert not run_queue.acquire_or_enqueue(waiting)
    assert run_queue.acquire_or_enqueue(make(50, "urgent"))     # it comes before those that wait
    run_queue.resize(4, 0, 0)           # what starts the task that waits has not been called yet
    assert not run_queue.acquire_or_enqueue(make(200, "new"))
    assert run_queue.acquire_or_enqueue(make(50, "urgent, too"))
    assert pop_all(run_queue) == ["waiting"]
    assert (run_queue.active, run_queue.waiting) == (4, 1)
