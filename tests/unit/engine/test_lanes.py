"""Lanes: entries in line, parked and taken; against a model, and what a lane says of itself."""
import gc
import random
import weakref

import pytest

from atasker_like import InvalidArgumentError, InvalidTypeError, Lane, TaskOptions
from atasker_like.engine.run_queue import RunQueue
from atasker_like.engine.spec import TaskSpec
from atasker_like.engine.task import CANCELED, Task
from tests.support.internals.engine import (HesitatingLane, advance, levels_of, number_of,
                                            set_number, set_paused, set_queued_at, spec_of,
                                            stale_of)


class Timer:
    """A clock that the test sets, and the calls that were asked for."""

    def __init__(self):
        self.now = 1000.0
        self.calls = []

    def clock(self):
        return self.now

    def call_at(self, deadline, call, *arguments):
        self.calls.append((deadline, call, arguments))
        return self.calls[-1]

    def cancel(self, entry):
        self.calls.remove(entry)


class LanePool:
    """A pool, as far as a lane must know it."""

    replacement = None
    draining = False
    name = "place"

    def __init__(self, *sizes):
        import threading

        self.lock = threading.RLock()
        self.timer = Timer()
        self.run_queue = RunQueue(*sizes)

    @property
    def lane_events(self):
        return self

    def changed(self, lane):
        self.run_queue.unpark_lane(lane)

    opens = changed

    def go_on(self, seconds):
        """Let time pass."""
        timer = self.timer
        timer.now += seconds
        while timer.calls and min(timer.calls, key=lambda entry: entry[0])[0] <= timer.now:
            entry = min(timer.calls, key=lambda entry: entry[0])
            timer.calls.remove(entry)
            entry[2][0].rate_timer_fired()
            entry[1](*entry[2])


class Maker:
    """Makes tasks, of functions with or without a lane."""

    def __init__(self):
        self.specs = {}
        self.number = 0

    def __call__(self, lane=None, priority=100, rank=None):
        key = lane, priority, rank
        if key not in self.specs:
            self.specs[key] = TaskSpec(None, print, TaskOptions(priority=priority), lane=lane,
                                       rank=rank)
        self.number += 1
        task = Task(self.specs[key], (), None, None)
        set_number(task, self.number)
        return task


@pytest.fixture
def place():
    return LanePool(100)


@pytest.fixture
def make():
    return Maker()


def lane_of(place, **settings):
    lane = Lane("tested", **settings)
    lane.bind(place)
    return lane


def pop_all(run_queue):
    taken = []
    while True:
        task = run_queue.pop()
        if task is None:
            return taken
        taken.append(task)


def check(run_queue, plain):
    """The accounts agree."""
    for lane in run_queue.lanes:
        assert lane.entries + lane.parked == len(lane.tasks())
        assert stale_of(lane) == sum(map(len, levels_of(lane).values())) - len(lane.tasks())
        assert lane.entries >= 0 and lane.parked >= 0
    assert run_queue.waiting == plain + sum(lane.entries for lane in run_queue.lanes)


def test_the_most_urgent_of_a_lane_takes_its_first_entry(place, make):
    lane = lane_of(place)
    first, between, urgent = make(lane, rank=5), make(), make(lane, rank=-1)
    for task in (first, between, urgent):
        place.run_queue.push(task)
    assert pop_all(place.run_queue) == [urgent, between, first]


def test_many_of_several_functions_are_added_in_their_order(place, make):
    lane = lane_of(place, limit=1)
    tasks = [make(), make(), make(priority=50), make(lane), make(lane), make()]
    assert place.run_queue.push_many(tasks) == 50
    assert place.run_queue.push_many([]) is None
    check(place.run_queue, 4)
    first, second, urgent, third, fourth, last = tasks
    assert pop_all(place.run_queue) == [urgent, first, second, third, last]
    assert lane.tasks() == [fourth] and lane.parked == 1


def let_time_pass(place, lane):
    place.timer.now += 1


def resume(place, lane):
    set_paused(lane, False)


def enlarge_pool(place, lane):
    place.run_queue.resize(3, 0, 0)


def enlarge_lane(place, lane):
    lane.limit = lane.fast_limit = 2


@pytest.mark.parametrize("size, settings, allow", [
    (3, {"rate": 10}, let_time_pass), (3, {"limit": 2}, resume), (1, {}, enlarge_pool),
    (3, {"limit": 1}, enlarge_lane)])
def test_a_new_task_gets_no_slot_while_one_before_it_may_start(make, size, settings, allow):
    place = LanePool(size)
    lane, run_queue = lane_of(place, **settings), place.run_queue
    assert run_queue.acquire_or_enqueue_in_lane(make(lane), lane)
    if allow is resume:
        set_paused(lane, True)
    waiting, new = make(lane), make(lane)
    assert not run_queue.acquire_or_enqueue_in_lane(waiting, lane)
    allow(place, lane)                  # what starts the task that waits has not been called yet
    assert not run_queue.acquire_or_enqueue_in_lane(new, lane)
    assert lane.tasks() == [waiting, new]
    check(run_queue, 0)
    place.changed(lane)
    assert run_queue.pop() is waiting


def test_the_slot_of_a_lane_passes_to_a_more_urgent_task(make):
    place = LanePool(1)
    lane = lane_of(place)
    mine, urgent = [make(lane) for _ in range(6)], make(priority=50)
    place.run_queue.push_batch(100, mine)
    assert [place.run_queue.pop(),
            *[place.run_queue.release_and_pop_lane(lane) for _ in range(2)]] == mine[:3]
    place.run_queue.push(urgent)
    assert place.run_queue.release_and_pop_lane(lane) is urgent
    assert [place.run_queue.release_and_pop() for _ in range(3)] == mine[3:]


def test_a_lane_whose_tasks_have_started_is_in_no_cycle(make):
    place = LanePool(1)
    lane = lane_of(place)
    seen = weakref.ref(lane)
    gc.disable()
    try:
        place.run_queue.push_batch(100, [make(lane) for _ in range(5)])
        place.run_queue.pop()
        while place.run_queue.release_and_pop_lane(lane) is not None:
            pass
        make.specs.clear()
        lane = None
        assert seen() is None
    finally:
        gc.enable()


def test_a_blocked_lane_holds_up_no_other_lane(place, make):
    lane = lane_of(place, limit=1)
    mine, others = [make(lane) for _ in range(3)], [make() for _ in range(3)]
    for task in (*mine, *others):
        place.run_queue.push(task)
    assert pop_all(place.run_queue) == [mine[0], *others]
    check(place.run_queue, 0)
    assert (place.run_queue.waiting, place.run_queue.total_waiting(), lane.parked) == (0, 2, 2)
    place.run_queue.release(mine[0])
    late = make()
    place.run_queue.push(late)
    assert pop_all(place.run_queue) == [mine[1],
                                        late], "what came to its turn before stands in front"


def test_a_lane_may_be_in_front_of_another_priority(place, make):
    lane = lane_of(place, limit=1)
    low, high = make(lane, 200), make(lane, 50)
    place.run_queue.push(low)
    normal = make()
    place.run_queue.push(normal)
    place.run_queue.push(high)
    assert pop_all(place.run_queue) == [high, normal]
    place.run_queue.release(high)
    assert pop_all(place.run_queue) == [low]


def test_a_withdrawn_task_leaves_no_entry(place, make):
    lane = lane_of(place)
    tasks = [make(lane) for _ in range(3)]
    for task in tasks:
        place.run_queue.push(task)
    advance(tasks[0], CANCELED, 0.0)
    place.run_queue.discard(tasks[0])
    check(place.run_queue, 0)
    assert pop_all(place.run_queue) == tasks[1:]
    place.run_queue.push(make(lane))
    check(place.run_queue, 0)


def test_withdrawn_tasks_do_not_fill_the_memory(place, make):
    lane = lane_of(place, limit=1)
    plain = make()
    place.run_queue.push(plain)
    kept = make(lane, rank=9)
    place.run_queue.push(kept)
    for number in range(2000):
        some = make(lane), make()
        for task in some:
            place.run_queue.push(task)
        for task in some:
            advance(task, CANCELED, 0.0)
            place.run_queue.discard(task)
    assert sum(map(len, levels_of(place.run_queue).values())) < 300
    assert sum(map(len, levels_of(lane).values())) < 150
    assert pop_all(place.run_queue) == [plain, kept]


def test_entries_of_a_lane_that_was_dropped_do_no_harm(place, make):
    lane = lane_of(place)
    place.run_queue.push(make())
    task = make(lane)
    place.run_queue.push(task)
    advance(task, CANCELED, 0.0)
    place.run_queue.discard(task)
    place.run_queue.lanes.discard(lane)
    for _ in range(100):
        task = make()
        place.run_queue.push(task)
        advance(task, CANCELED, 0.0)
        place.run_queue.discard(task)
    assert len(pop_all(place.run_queue)) == 1


def test_lane_with_a_rate_starts_so_many_tasks_a_second(place, make):
    lane = lane_of(place, rate=10, burst=3)
    place.run_queue.push_batch(100, [make(lane) for _ in range(100)])
    assert len(pop_all(place.run_queue)) == 3
    started = 3
    for _ in range(50):
        place.go_on(0.05)
        started += len(pop_all(place.run_queue))
    assert started in (3 + 24, 3 + 25), "the last one is due at the very end"
    place.timer.now += 60.0     # nobody was there to start any: no more than a burst is made up for
    place.go_on(0)
    assert len(pop_all(place.run_queue)) == 3
    check(place.run_queue, 0)


def test_a_rate_loses_nothing_by_rounding(place, make):
    lane = lane_of(place, rate=3)
    place.run_queue.push_batch(100, [make(lane) for _ in range(1001)])
    started = len(pop_all(place.run_queue))
    for _ in range(1000):
        place.go_on(min(entry[0] for entry in place.timer.calls) - place.timer.now)
        taken = pop_all(place.run_queue)
        assert len(taken) == 1
        place.run_queue.release(taken[0])
        started += 1
    assert (started, place.run_queue.waiting, place.timer.calls) == (1001, 0, [])
    assert place.timer.now == pytest.approx(1000 + 1000 / 3, abs=1e-3)


def test_an_idle_lane_asks_for_no_call(place, make):
    lane = lane_of(place, rate=1)
    place.run_queue.push(make(lane))
    assert len(pop_all(place.run_queue)) == 1
    assert place.timer.calls == []


def test_pause_and_resume(place, make):
    lane = lane_of(place)
    lane.pause()
    task = make(lane)
    place.run_queue.push(task)
    assert pop_all(place.run_queue) == []
    lane.resume()
    assert pop_all(place.run_queue) == [task]


def test_a_larger_limit_opens_the_lane(place, make):
    lane = lane_of(place, limit=1)
    place.run_queue.push_batch(100, [make(lane) for _ in range(5)])
    assert len(pop_all(place.run_queue)) == 1
    lane.configure(limit=3)
    assert len(pop_all(place.run_queue)) == 2
    lane.configure(limit=None)
    assert len(pop_all(place.run_queue)) == 2


def test_task_of_a_full_lane_joins_the_parked_ones(make):
    pool = LanePool(0)
    lane = lane_of(pool, limit=1)
    run_queue = pool.run_queue
    assert run_queue.try_acquire(make(lane))
    first, late, urgent = make(lane), make(lane), make(lane, rank=0)
    assert not lane.push_parked(first)          # no task is parked yet
    run_queue.push(first)
    assert run_queue.pop() is None              # parks its entry
    assert lane.push_parked(late) and lane.push_parked(urgent)
    assert not lane.push_parked(make(lane, 50))         # nor is one of this priority
    assert lane.parked == lane.waiting == 3 and not run_queue.waiting
    assert run_queue.release_and_pop_lane(lane) is urgent
    assert run_queue.release_and_pop_lane(lane) is first
    assert run_queue.release_and_pop_lane(lane) is late


def test_task_of_a_paused_lane_is_parked_unless_the_pool_drains(make):
    pool = LanePool(0)
    lane = lane_of(pool)
    lane.pause()
    pool.run_queue.push(make(lane))
    assert pool.run_queue.pop() is None         # parks its entry
    assert lane.push_parked(make(lane))
    pool.draining = True
    assert not lane.push_parked(make(lane))


def test_new_task_comes_behind_those_that_are_parked(make):
    """Between a lane's new setting and its reopening there is a moment when it has room, and others
    wait for that."""
    place = LanePool(0)
    lane = lane_of(place, limit=1)
    first, second = make(lane), make(lane)
    assert place.run_queue.try_acquire(make(lane))
    place.run_queue.push_batch(100, [first, second])
    assert pop_all(place.run_queue) == []       # has parked their entries
    place.changed = lambda lane: None      # comes later
    lane.configure(limit=None)
    late = make(lane)
    assert not place.run_queue.try_acquire(late)
    place.run_queue.push(late)
    place.run_queue.unpark_lane(lane)
    assert pop_all(place.run_queue) == [first, second, late]


def test_a_process_takes_one_slot_of_a_lane(place, make):
    lane = lane_of(place, limit=1)
    tasks = [make(lane) for _ in range(5)]
    for task in tasks:
        place.run_queue.push(task)
    run_queue = place.run_queue
    mine, others = {}, {}
    assert run_queue.peek(mine) is tasks[0]
    assert run_queue.pop_batch(spec_of(tasks[0]), 3, mine) == tasks[:3]
    assert (mine, lane.running) == ({lane: 3}, 1)
    assert run_queue.peek(others) is None, "the place is the other process's"
    check(run_queue, 0)
    run_queue.requeue(tasks[1:3])
    check(run_queue, 0)
    assert run_queue.peek(mine) is tasks[1]
    assert run_queue.peek(others) is None
    run_queue.release_lane(lane)
    assert run_queue.pop_batch(spec_of(run_queue.peek(others)), 9, others) == tasks[1:]
    assert run_queue.waiting == 0


def test_aging_moves_entries(place, make):
    lane = lane_of(place)
    task = make(lane, 200)
    set_queued_at(task, 50.0)
    place.run_queue.push(task)
    assert place.run_queue.promote_aged(55.0, 10.0) == 5.0
    assert place.run_queue.promote_aged(60.0, 10.0) == 0.0, "it may have waited for two intervals"
    assert place.run_queue.promote_aged(60.0, 10.0) == 10.0
    assert list(levels_of(place.run_queue)[100])[0].lane is lane
    assert place.run_queue.promote_aged(70.0, 10.0) is None
    assert pop_all(place.run_queue) == [task]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("sizes", [(4, 2, 1), (0,)])
def test_against_a_model(seed, sizes, make):
    """Whatever is done, the accounts agree, no limit is exceeded, each lane gives its most urgent
    task, the tasks without a lane come in their order, and nothing that may start is left standing.
    Where there are places without end, who comes may walk in, past nobody of its lane."""
    chance = random.Random(seed)
    place = LanePool(*sizes)
    run_queue = place.run_queue
    lanes = [lane_of(place, limit=limit) for limit in (1, 3, None)]
    waiting, running = set(), set()

    def plain():
        return sum(1 for task in waiting if spec_of(task).lane is None)

    for _ in range(4000):
        action = chance.random()
        if action < 0.45:
            lane = chance.choice([None, *lanes])
            # One priority a lane: who of a lane comes first is for the rank to say, whatever turn
            # it takes.
            priority = chance.choice((0, 50, 100, 200)) if lane is None else (0, 100,
                                                                              200)[
                                                                                  lanes.index(lane)]
            task = make(lane, priority, chance.randrange(3))
            if chance.random() < 0.2:
                spec = spec_of(task)
                run = [task] + [make(spec.lane, spec.priority, spec.lane_order)
                                for _ in range(3)]
                run_queue.push_batch(spec.priority, run)
                waiting.update(run)
            elif sizes == (0,) and chance.random() < 0.5 and run_queue.try_acquire(task):
                assert lane is None or not lane.paused and not [one for one in waiting
                                                                if spec_of(one).lane is lane]
                running.add(task)
            else:
                if lane is None or chance.random() < 0.5 or not lane.push_parked(task):
                    run_queue.push(task)
                waiting.add(task)
        elif action < 0.53 and waiting:
            task = chance.choice(sorted(waiting, key=number_of))
            advance(task, CANCELED, 0.0)
            run_queue.discard(task)
            waiting.discard(task)
        elif action < 0.65 and running:
            task = chance.choice(sorted(running, key=number_of))
            running.discard(task)
            lane = spec_of(task).lane
            following = (run_queue.release_and_pop() if lane is None
                         else run_queue.release_and_pop_lane(lane))
            if following is not None:
                assert not [one for one in waiting if spec_of(one).lane is None
                            and spec_of(one).priority < spec_of(following).priority]
                lane = spec_of(following).lane
                if lane is not None:
                    assert not [one for one in waiting if spec_of(one).lane is lane
                                and spec_of(one).lane_order < spec_of(following).lane_order]
                waiting.discard(following)
                running.add(following)
        elif action < 0.75 and running:
            task = chance.choice(sorted(running, key=number_of))
            running.discard(task)
            run_queue.release(task)
        elif action < 0.8 and running:
            task = chance.choice(sorted(running, key=number_of))
            running.discard(task)
            run_queue.release(task)
            run_queue.requeue((task,))
            waiting.add(task)
        elif action < 0.82:
            chance.choice(lanes).pause()
        elif action < 0.86:
            chance.choice(lanes).resume()
        elif action < 0.87:
            run_queue.resync(len(running),
                             [spec_of(task).lane for task in running
                              if spec_of(task).lane is not None])
        else:
            task = run_queue.pop()
            if task is None:
                free = [one for one in waiting
                        if run_queue.active < run_queue.slot_limit(spec_of(one).priority)
                        and (spec_of(one).lane is None or not spec_of(one).lane.is_blocked())]
                assert not free or min(spec_of(one).priority for one in waiting
                                       if spec_of(one).lane is None
                                       or not spec_of(one).lane.is_blocked()) not in {
                                           spec_of(one).priority for one in free}
            else:
                waiting.discard(task)
                running.add(task)
                lane = spec_of(task).lane
                if lane is None:
                    assert not [one for one in waiting if spec_of(one).lane is None
                                and spec_of(one).priority < spec_of(task).priority]
                else:
                    assert not [one for one in waiting if spec_of(one).lane is lane
                                and spec_of(one).lane_order < spec_of(task).lane_order]
        check(run_queue, plain())
        for lane in lanes:
            count = sum(1 for task in running if spec_of(task).lane is lane)
            assert lane.running == count and (lane.limit is None or count <= lane.limit)
        assert run_queue.active == len(running)
    run_queue.resize(10000, 0, 0)
    for lane in lanes:
        lane.configure(limit=None)
        lane.resume()
    assert set(pop_all(run_queue)) == waiting


# -- settings --------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings, error, words", [
    ({"limit": 0}, InvalidArgumentError,
     "limit of lane 'tested' takes an integer 1 or more, not 0"),
    ({"limit": 1.5}, InvalidTypeError, "limit of lane 'tested' takes an integer, not float"),
    ({"limit": True}, InvalidTypeError, "limit of lane 'tested' takes an integer, not bool"),
    ({"rate": 0}, InvalidArgumentError,
     "rate of lane 'tested' takes a number of starts a second above 0, not 0"),
    ({"rate": float("nan")}, InvalidArgumentError, "rate"),
    ({"rate": "9"}, InvalidTypeError, "rate of lane 'tested' takes a number, not str"),
    ({"burst": None}, InvalidTypeError, "burst"),
    ({"burst": 0}, InvalidArgumentError, "burst"),
    ({"size": -1}, InvalidArgumentError, "size"),
    ({"on_full": "wait"}, InvalidArgumentError,
     "on_full of lane 'tested' takes one of 'block', 'raise', 'drop', not 'wait'"),
])
def test_bad_settings_are_refused_and_change_nothing(settings, error, words):
    with pytest.raises(error) as caught:
        Lane("tested", **settings)
    assert words in str(caught.value)
    lane = Lane("tested", limit=7)
    with pytest.raises(error):
        lane.configure(**settings)
    assert lane.limit == 7


def test_an_unknown_setting_names_the_nearest():
    with pytest.raises(TypeError,
                       match="lane 'tested' has no option 'limits'; did you mean 'limit'"):
        Lane("tested").configure(limits=3)


def test_a_name_is_a_string():
    with pytest.raises(InvalidTypeError, match="a lane's name is a string, not int"):
        Lane(3)


def test_a_lane_stands_in_front_of_one_pool(place):
    lane = lane_of(place)
    other = LanePool(1)
    other.name = "other"
    with pytest.raises(InvalidArgumentError,
                       match="lane 'tested' stands in front of place and cannot have tasks of "
                             "other"):
        lane.bind(other)
    third = LanePool(1)
    other.replacement, place.replacement = third, other
    lane.bind(third)        # it has replaced the pool that has replaced the first one


class Lock:
    """The lock of a pool that another thread takes just before."""

    def __init__(self, before):
        self._before = before

    def __enter__(self):
        before, self._before = self._before, None
        if before is not None:
            before()

    def __exit__(self, *error):
        pass


def test_a_lane_that_two_pools_bind_at_once_is_bound_to_one():
    lane, place, other = Lane("shared"), LanePool(1), LanePool(1)
    refused = []

    def bind_to_other():
        with pytest.raises(InvalidArgumentError, match="use a lane for each") as raised:
            lane.bind(other)
        refused.append(raised.value)

    place.lock = Lock(bind_to_other)
    lane.bind(place)
    assert len(refused) == 1
    assert lane.pool is place and not other.run_queue.lanes


def test_a_second_bind_at_the_same_time_gives_no_token_back(make):
    lane, place = Lane("slow", rate=1), LanePool(10)

    def bind_and_start():
        place.lock = Lock(None)
        lane.bind(place)
        assert place.run_queue.acquire_or_enqueue_in_lane(make(lane), lane)

    place.lock = Lock(bind_and_start)
    lane.bind(place)
    assert not place.run_queue.acquire_or_enqueue_in_lane(make(lane), lane)


def test_lane_that_is_bound_while_it_is_resumed_has_its_tasks_started(make):
    place = LanePool(1)

    class Bound(HesitatingLane):
        """A lane that another thread binds and uses while this one changes it."""

        def before_change(self, paused):
            if not paused and self.pool is None:
                self.bind(place)
                place.run_queue.push(task)
                assert place.run_queue.pop() is None        # parks its entry

    lane = Bound("tested")
    task = make(lane)
    lane.pause()
    lane.resume()
    assert pop_all(place.run_queue) == [task]


def test_a_lane_without_tasks_can_be_bound_to_another_pool():
    lane, place, other = Lane("moved"), LanePool(1), LanePool(1)
    lane.bind(place)
    lane.unbind()
    lane.bind(other)
    assert lane.pool is other
