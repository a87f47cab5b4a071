"""Law 6. Ties are first come, first served, by counter, never by clock."""
import random
import threading

import pytest

from atasker_like import TASK_HIGH, TASK_LOW, TT_MP, background_task
from atasker_like.engine import task as task_module
from atasker_like.engine.timer import Timer
from atasker_like.pools import base, threads
from tests.support import PATIENCE
from tests.support.gates import Hold
from tests.support.internals import check_oracle, warm
from tests.support.internals.engine import levels_of, number_of, spec_of, start_many
from tests.support.internals.process_pool import idle_processes_of, processes_of, refill
from tests.support.scripts import lines, stop_process
from tests.support.threads import wait_for

from ..support.internals import manager
from . import functions


@pytest.fixture(params=["stands still", "goes back", "jumps"])
def bad_clock(request, monkeypatch):
    """Every clock that a task could be ordered by is of no use."""
    chance, now = random.Random(3), [1000.0]

    def read():
        if request.param == "goes back":
            now[0] -= 1.0
        elif request.param == "jumps":
            return chance.uniform(0, 1000)
        return now[0]

    for module, name in ((task_module, "perf_counter"), (threads, "perf_counter"),
                         (base, "perf_counter"),
                         (task_module, "time"), (base, "time")):
        if hasattr(module, name):
            monkeypatch.setattr(module, name, read)


@pytest.mark.parametrize("way",
                         ["call", "with options", "many", "many with options", "put_task", "mixed"])
def test_threads_take_tasks_of_one_priority_in_the_order_of_submission(make, bad_clock, way):
    supervisor, ran = make(), []
    gate = Hold()
    blocker = supervisor.put_task(gate)
    gate.reached()
    bound = background_task(ran.append, supervisor=supervisor)
    ways = {
        "call": lambda start: [bound(start), bound(start + 1)],
        "with options":
            lambda start: [bound.options(retries=1)(start), bound.options(name="x")(start + 1)],
        "many": lambda start: start_many(bound, [(start,), (start + 1,)]),
        "many with options":
            lambda start: start_many(bound.options(retries=1), [(start,), (start + 1,)]),
        "put_task": lambda start: [supervisor.put_task(ran.append, (start,)),
                                   supervisor.put_task(ran.append, (start + 1,))],
    }
    order = sorted(ways) if way == "mixed" else [way]
    tasks = [blocker]
    for number in range(30):
        tasks += ways[order[number % len(order)]](2 * number)
    gate.go()
    for task in tasks:
        task.wait(PATIENCE)
    assert ran == list(range(60))
    check_oracle(supervisor, tasks)


def test_priorities_first_then_the_order_of_submission(make, bad_clock):
    supervisor, ran = make(), []
    gate = Hold()
    blocker = supervisor.put_task(gate)
    gate.reached()
    bound = background_task(ran.append, supervisor=supervisor)
    chance = random.Random(5)
    expected = []
    for number in range(100):
        priority = chance.choice([1, 50, 75, 100, 200])
        expected.append((priority, number))
        bound.options(priority=priority)((priority, number))
        if number % 3 == 0:
            dropped = bound.options(priority=priority)("cancelled")
            assert dropped.cancel()
    gate.go()
    blocker.wait(PATIENCE)
    assert manager(supervisor).threads.drain(None)
    assert ran == sorted(expected)


def test_entries_of_the_timer_that_are_due_together_come_in_their_order():
    timer, made = Timer(clock=lambda: 0.0), []
    entries = [timer.call_at(deadline, made.append, (deadline, number))
               for number, deadline in enumerate([5.0, 1.0, 5.0, 1.0, 1.0, 5.0, 3.0] * 20)]
    timer.cancel(entries[7])
    timer.clock = lambda: 10.0
    expected = sorted(entry.arguments[0] for entry in entries if entry.arguments)
    timer.start()
    wait_for(lambda: len(made) == len(expected), "all calls")
    timer.stop()
    assert made == expected


def test_delayed_tasks_that_are_due_together_run_in_their_order(make):
    supervisor, ran = make(), []
    manager(supervisor).timer.clock = lambda: 1000.0
    bound = background_task(ran.append, supervisor=supervisor, delay=50)
    tasks = [bound(number) for number in range(40)]
    gate = Hold()
    supervisor.put_task(gate)
    gate.reached()
    manager(supervisor).timer.clock = lambda: 1050.0
    manager(supervisor).timer.call_at(0.0, lambda: None)
    wait_for(lambda: all(task.state == "pending" and task.status == 0 for task in tasks),
             "all are due")
    gate.go()
    for task in tasks:
        task.wait(PATIENCE)
    assert ran == list(range(40))


def test_tasks_that_come_back_from_several_processes_stand_in_their_order(make, tmp_path):
    supervisor = make(processes=2)
    pool = manager(supervisor).processes
    path = str(tmp_path / "notes")
    note = background_task(functions.note, tt=TT_MP, supervisor=supervisor, priority=TASK_LOW)
    warm(note, path, "first")
    pool.resize(2, 0, 0, 2)             # both processes, ahead of the tasks
    wait_for(lambda: len(idle_processes_of(pool)) == 2, "two idle processes")
    for pid in pool.pids():
        stop_process(supervisor, pid)
    spec_of(note).expected_runtime = 1.0               # so one goes to each, and the others wait
    tasks = [note(path, str(number)) for number in range(14)]
    first, second = processes_of(pool)
    with pool.lock:
        spec_of(note).expected_runtime = 1e-6
        refill(pool, first, 2)
        refill(pool, second)
        assert [len(process.inflight) for process in (first, second)] == [7, 7]
    urgent = note.options(priority=TASK_HIGH)(path, "urgent")
    with pool.lock:                     # all were taken back, and sent again behind the urgent one
        order = [[number_of(task) for task in process.inflight if task is not urgent]
                 for process in (first, second)]
        levels = levels_of(pool.run_queue).values()
        order.append([number_of(task) for level in levels for task in level])
    flat = [number for numbers in sorted(filter(None, order)) for number in numbers]
    assert flat == [number_of(task) for task in tasks]
    for process in (first, second):
        process.process.kill()          # what they had not begun comes back once more
    for task in [*tasks, urgent]:
        task.wait(PATIENCE)
    assert sorted(lines(path)) == sorted(["first", "urgent", *map(str, range(14))])


def test_a_single_process_runs_what_it_was_sent_in_order(make, tmp_path):
    supervisor = make(processes=1)
    path = str(tmp_path / "notes")
    note = background_task(functions.note, tt=TT_MP, supervisor=supervisor)
    warm(note, path, "first")
    (pid,) = supervisor.mp_pool.pids()
    stop_process(supervisor, pid)
    spec_of(note).expected_runtime = 1e-6
    tasks = [note(path, str(number)) for number in range(20)]
    assert tasks[7].cancel()            # the others come back, and are sent again
    for number in range(20, 40):
        tasks.append(note(path, str(number)))
    processes_of(manager(supervisor).processes)[0].process.kill()
    for task in tasks:
        task.wait(PATIENCE)
    assert lines(path) == ["first", *(str(number) for number in range(40) if number != 7)]


@pytest.mark.parametrize("options",
                         [{}, {"retries": 2}, {"timeout": 60}, {"callback": len},
                          {"lane": "narrow"}])
def test_thread_that_ends_a_task_takes_the_next_one_itself(make, options):
    supervisor = make()
    supervisor.lane("narrow", limit=1)
    gate = Hold()
    first = supervisor.put_task(gate)
    gate.reached()
    bound = background_task(lambda word: threading.current_thread().name, supervisor=supervisor,
                            **options)
    tasks = [bound("word") for _ in range(20)]
    gate.go()
    assert len({task.value(PATIENCE) for task in tasks}) == 1 and first.done()
    assert manager(supervisor).threads.thread_count() == 1


def test_thread_takes_the_next_task_itself_after_a_failed_attempt(make):
    supervisor = make()
    names = []

    def fail():
        names.append(threading.current_thread().name)
        raise ValueError

    task = background_task(fail, supervisor=supervisor, retries=5)()
    assert isinstance(task.exception(PATIENCE), ValueError)
    assert len(names) == 6 and len(set(names)) == 1
    assert manager(supervisor).threads.thread_count() == 1
