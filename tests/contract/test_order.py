import pytest

from atasker_like import TASK_CRITICAL, TASK_HIGH, TASK_LOW, TASK_NORMAL

from . import functions as f


def test_more_urgent_tasks_run_first(placed, gate, trace):
    blocker = placed.occupy(gate)
    priorities = [300, TASK_LOW, 150, TASK_NORMAL, 75, TASK_HIGH, 1]
    tasks = [placed.bind(f.record, priority=priority)(trace.path, int(priority))
             for priority in priorities]
    gate.open()
    for task in [blocker, *tasks]:
        task.wait(20)
    assert trace.lines == ["1", "50", "75", "100", "150", "200", "300"]


def test_tasks_of_one_priority_run_in_the_order_of_their_arrival(placed, gate, trace):
    placed.occupy(gate)
    tasks = [placed.bind(f.record)(trace.path, number) for number in range(40)]
    gate.open()
    for task in tasks:
        task.wait(20)
    assert trace.lines == [str(number) for number in range(40)]


def test_a_map_and_single_calls_keep_their_order(placed, gate, trace):
    placed.occupy(gate)
    before = placed.bind(f.record)(trace.path, "before")
    mapped = placed.bind(f.record).starmap([(trace.path, "mapped1"), (trace.path, "mapped2")])
    after = placed.bind(f.record)(trace.path, "after")
    gate.open()
    assert list(mapped) == ["mapped1", "mapped2"]
    before.wait(10)
    after.wait(10)
    assert trace.lines == ["before", "mapped1", "mapped2", "after"]


def test_a_critical_task_does_not_wait_for_a_slot_in_threads(supervisor, gate):
    supervisor.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0)
    supervisor.put_task(f.enter, (gate,))
    gate.wait_entered()
    for priority in (TASK_CRITICAL, -5):
        assert supervisor.put_task(f.add, (1,), priority=priority).value(10) == 1


def test_a_critical_task_is_first_in_line_in_processes(processes, gate, trace):
    processes.occupy(gate)
    tasks = [processes.bind(f.record, priority=priority)(trace.path, int(priority))
             for priority in (TASK_HIGH, TASK_CRITICAL)]
    gate.open()
    for task in tasks:
        task.wait(20)
    assert trace.lines == ["0", "50"]


@pytest.mark.slow
@pytest.mark.parametrize("low, normal, high", [(1, 1, 1), (2, 0, 1)])
def test_priorities_fill_their_own_slots_only(placed, make_gate, low, normal, high):
    """Each priority fills its places, and then waits although others may still start."""
    placed.set_places(low, normal, high)
    running = make_gate()
    waiting = []
    for priority, places in ((TASK_LOW, low), (TASK_NORMAL, normal), (TASK_HIGH, high)):
        bound = placed.bind(f.enter, priority=priority)
        for _ in range(places):
            bound(running)
            running.wait_entered()
        waiting.append(bound(running))
    assert [task.status for task in waiting] == [0, 0, 0]
    assert placed.supervisor.stats().active == low + normal + high
    running.open()
    assert [task.wait(20).status for task in waiting] == ["succeeded"] * 3


def test_a_number_between_two_names_has_the_rights_of_the_less_urgent(supervisor, gate):
    supervisor.set_thread_pool(pool_size=1, reserve_normal=1, reserve_high=1)
    for priority in (TASK_NORMAL, 75):
        supervisor.put_task(f.enter, (gate,), priority=priority)
        gate.wait_entered()
    waits = supervisor.put_task(f.enter, (gate,), priority=51)
    assert waits.status == 0
    supervisor.put_task(f.enter, (gate,), priority=TASK_HIGH)
    gate.wait_entered()
    assert waits.status == 0


def test_an_urgent_task_overtakes_what_was_sent_ahead(processes, gate, trace):
    """Short tasks travel in batches; what has not begun is taken back for something more urgent."""
    for _ in range(3):
        processes.bind(f.nothing)().wait(20)        # so that the pool knows it to be short
    short = processes.bind(f.record, priority=TASK_LOW)
    short(trace.path, "first").wait(20)
    processes.occupy(gate, priority=TASK_LOW)
    low = [short(trace.path, "low") for _ in range(50)]
    high = processes.bind(f.record, priority=TASK_HIGH)(trace.path, "high")
    gate.open()
    high.wait(20)
    for task in low:
        task.wait(20)
    assert trace.lines == ["first", "high"] + ["low"] * 50


def test_an_unlimited_pool_starts_everything_at_once(supervisor, gate):
    supervisor.set_thread_pool(pool_size=0)
    tasks = [supervisor.put_task(f.enter, (gate,), priority=TASK_LOW) for _ in range(70)]
    gate.wait_entered(70)
    gate.open()
    for task in tasks:
        task.wait(10)
