"""Law 1. One final state: all transitions happen in one method of Task; the first finisher wins,
later ones return False. A task is in exactly one place: timer, lane, run_queue queue or pool."""
import ast
import os
import random
import threading

import pytest

from atasker_like import (TT_COROUTINE, TT_MP, TT_THREAD, TaskCancelledError, TaskTimeoutError,
                          background_task, current_task)
from tests.support import PATIENCE
from tests.support.gates import Hold
from tests.support.internals import check_accounts, check_oracle, pool_thread, pools, warm
from tests.support.internals.engine import timer_thread_of
from tests.support.internals.process_pool import io_thread_of, thread_of_io
from tests.support.scripts import lines
from tests.support.sources import sources
from tests.support.threads import Tally, join, later, started, wait_for

from ..support.internals import manager
from . import functions


class Boom(Exception):
    """What the tasks of this file fail with."""


def finishers(supervisor, task):
    """The ways in which a running thread task can be ended from outside, each with what it leaves
    behind."""
    return {
        "mark_completed": (task.mark_completed, ("succeeded", None, None)),
        "timeout": (lambda: supervisor.clock.forward(manager(supervisor).timer),
                    ("failed", None, TaskTimeoutError)),
        "give up": (manager(supervisor).threads.abandon_all, ("cancelled", None, None)),
    }


def state_of(task):
    try:
        error = task.exception(PATIENCE)
    except TaskCancelledError:
        error = None
    return task.state, task.result, None if error is None else type(error)


@pytest.mark.parametrize("ending", ["returns", "raises"])
@pytest.mark.parametrize("finisher", ["mark_completed", "timeout", "give up"])
def test_finisher_that_comes_before_the_function_returns_wins(make, finisher, ending):
    supervisor = make()
    lock = manager(supervisor).threads.lock
    thread = pool_thread(supervisor)

    def run():
        if ending == "raises":
            raise Boom
        return "late"

    gate = Hold()
    task = background_task(lambda: (gate(), run())[1], supervisor=supervisor, timeout=1000)()
    tally = Tally()
    tally.watch(task)
    gate.reached()
    end, expected = finishers(supervisor, task)[finisher]
    held = lock.hold_before(thread)
    gate.go()
    held.reached()  # the function has come back, and its thread does not have the lock yet
    end()
    assert state_of(task) == expected
    held.go()
    again = supervisor.put_task(len, ("four",))
    assert again.value(PATIENCE) == 4
    manager(supervisor).threads.lock.acquire()  # whatever the late thread had to do, it has done
    manager(supervisor).threads.lock.release()
    assert state_of(task) == expected
    assert task.mark_completed() is False and task.cancel() is False
    tally.settle([task])
    settled = [task, again] + [_Counted(supervisor)]
    check_oracle(supervisor, settled)


class _Counted:
    """Stands for the first task of pool_thread() in the oracle."""

    def __init__(self, supervisor):
        self._spec = type("Spec", (), {"pool": manager(supervisor).threads})
        self.state = "succeeded"

    def done(self):
        return True


def test_result_of_a_process_that_comes_after_the_end_is_dropped(make, tmp_path):
    supervisor = make(processes=1)
    path, fifo = str(tmp_path / "noted"), str(tmp_path / "fifo")
    os.mkfifo(fifo)
    task = background_task(functions.note_and_wait, tt=TT_MP, supervisor=supervisor)(
        path, "begun\n", fifo)
    wait_for(lambda: lines(path), "the task has begun")
    assert manager(supervisor).processes.abandon_all() == [task.id]
    assert state_of(task) == ("cancelled", None, None)
    with open(fifo, "w"):       # it returns now
        pass
    # The same process runs this one, after the result of the first.
    assert background_task(functions.echo, tt=TT_MP, supervisor=supervisor)(4).value(PATIENCE) == 4
    assert state_of(task) == ("cancelled", None, None)


@pytest.mark.parametrize("finisher", ["mark_completed", "timeout"])
def test_finisher_that_comes_after_the_function_returns_loses(make, finisher):
    supervisor = make()
    lock = manager(supervisor).threads.lock
    gate = Hold()
    task = background_task(lambda: (gate(), "first")[1], supervisor=supervisor, timeout=1000)()
    tally = Tally()
    tally.watch(task)
    gate.reached()
    if finisher == "timeout":
        late = timer_thread_of(manager(supervisor).timer)
        held = lock.hold_before(late)
        supervisor.clock.forward(manager(supervisor).timer)
        held.reached()
        gate.go()
        assert task.value(PATIENCE) == "first"
        held.go()
        manager(supervisor).timer.stop()            # the call of the timer has been made
    else:
        late = later(task.mark_completed)
        held = lock.hold_before(late)
        late.begin()
        held.reached()
        gate.go()
        assert task.value(PATIENCE) == "first"
        held.go()
        assert join(late) is False
    assert state_of(task) == ("succeeded", "first", None)
    tally.settle([task])
    check_oracle(supervisor, [task])


def test_one_of_many_finishers_at_once_gets_true(make):
    supervisor = make()
    gate = Hold()
    task = supervisor.put_task(gate)
    gate.reached()
    barrier = threading.Barrier(8)

    def finish():
        barrier.wait(PATIENCE)
        return task.mark_completed()

    threads = [started(finish) for _ in range(8)]
    assert sorted(join(thread) for thread in threads) == [False] * 7 + [True]
    gate.go()
    check_oracle(supervisor, [task])


def test_a_task_withdrawn_from_the_queue_never_runs(make):
    supervisor = make()
    gate, ran = Hold(), []
    first = supervisor.put_task(gate)
    gate.reached()
    waiting = [supervisor.put_task(ran.append, (number,)) for number in range(5)]
    assert waiting[1].cancel() and waiting[3].mark_completed()
    assert not waiting[1].cancel() and not waiting[3].cancel()
    gate.go()
    for task in waiting:
        task.wait(PATIENCE)
    assert ran == [0, 2, 4]
    check_oracle(supervisor, [first, *waiting])


def test_a_result_that_has_arrived_is_not_undone_by_a_cancel(make, tmp_path):
    """The task's result stands in the pipe when it is cancelled. There is one end, whichever comes
    first."""
    supervisor = make(processes=1)
    pool = manager(supervisor).processes
    path = str(tmp_path / "notes")
    noted = background_task(functions.note, tt=TT_MP, supervisor=supervisor)
    first = noted(path, "first")
    first.wait(PATIENCE)
    held = pool.lock.hold_before(thread_of_io(io_thread_of(pool)))
    second = noted(path, "second")
    tally = Tally()
    held.reached()              # the result has been read, and is not entered yet
    tally.watch(second)
    assert lines(path) == ["first", "second"]
    assert second.cancel() is True
    held.go()
    second.wait(PATIENCE)
    assert second.state in ("succeeded", "cancelled")
    third = noted(path, "third")
    assert third.value(PATIENCE) == "third"
    assert lines(path) == ["first", "second", "third"]
    tally.settle([second])
    check_oracle(supervisor, [first, second, third])


@pytest.mark.parametrize("tt", [TT_THREAD, TT_MP, TT_COROUTINE])
def test_an_early_end_is_final_in_every_pool(make, tt, tmp_path):
    supervisor = make(processes=1)
    fifo = str(tmp_path / "fifo")
    path = str(tmp_path / "notes")
    gate = Hold()
    os.mkfifo(fifo)
    if tt == TT_MP:
        task = supervisor.put_task(functions.note_and_wait, (path, "begun", fifo), tt=tt)
        wait_for(lambda: lines(path), "the task runs")
    elif tt == TT_THREAD:
        task = supervisor.put_task(gate)
        gate.reached()
    else:
        begun = threading.Event()

        async def stay():
            from asyncio import sleep
            begun.set()
            await sleep(PATIENCE)

        task = supervisor.put_task(stay, tt=tt)
        assert begun.wait(PATIENCE)
    tally = Tally()
    tally.watch(task)
    assert task.mark_completed() is True
    assert task.mark_completed() is False and task.cancel() is False
    gate.go()
    if tt == TT_MP:
        open(fifo, "w").close()
    tally.settle([task])
    check_oracle(supervisor, [task])
    assert state_of(task) == ("succeeded", None, None)


@pytest.mark.slow
def test_only_one_method_changes_the_state():
    """Outside ``Task._advance`` a state is only ever written into a task that is being made."""
    wrong = []
    for path, _, tree in sources():
        functions_ = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        allowed = {id(node) for function in functions_ if function.name == "_advance"
                   for node in ast.walk(function)}
        making = {id(node) for function in functions_
                  if function.name in ("__init__", "start", "start_many")
                  for node in ast.walk(function)}
        for node in ast.walk(tree):
            targets = (node.targets if isinstance(node, ast.Assign)
                       else [getattr(node, "target", None)])
            for target in targets:
                if (isinstance(target, ast.Attribute) and target.attr == "_status"
                        and id(node) not in allowed):
                    value = getattr(node, "value", None)
                    if not (isinstance(value, ast.Name) and value.id == "QUEUED"
                            and id(node) in making):
                        wrong.append("%s:%d" % (path, node.lineno))
    assert not wrong, "the state is changed at " + ", ".join(wrong)


@pytest.mark.slow
def test_a_task_is_in_one_container_whenever_the_lock_is_free(make):
    """Threads: the accounts are looked at each time that the pool's lock is about to be let go."""
    supervisor = make(pool_size=2, reserve_normal=1)
    pool = manager(supervisor).threads
    wrong = []

    def look():
        try:
            check_accounts(pool)
        except AssertionError as error:
            wrong.append(error)

    pool.lock.look = look
    chance = random.Random(7)

    def work(number):
        if number % 5 == 0:
            raise Boom
        if number % 7 == 0:
            background_task(len, supervisor=supervisor)("abc").value(PATIENCE)
        if number % 11 == 0:
            current_task().mark_completed()
        return number

    plain = background_task(work, supervisor=supervisor)
    kinds = [plain, plain.options(retries=2), plain.options(retries=1, retry_delay=0.001),
             plain.options(priority=50),
             plain.options(priority=200), plain.options(delay=0.001), plain.options(timeout=100),
             plain.options(priority=0)]
    tasks = []
    for number in range(1, 400):
        task = chance.choice(kinds)(number)
        tasks.append(task)
        if chance.random() < 0.2:
            chance.choice(tasks).cancel()
        if chance.random() < 0.1:
            chance.choice(tasks).mark_completed()
    for task in tasks:
        task.wait(PATIENCE)
    assert not wrong, wrong[0]
    assert pool.drain(None)
    supervisor.stop()
    assert not wrong, wrong[0]
    assert pool.run_queue.active == 0 and not pool.registry.live


@pytest.mark.slow
def test_a_process_task_is_in_one_container_whenever_the_lock_is_free(make):
    supervisor = make(processes=2)
    pool = manager(supervisor).processes
    wrong = []

    def look():
        try:
            check_accounts(pool)
        except AssertionError as error:
            wrong.append(error)

    echo = background_task(functions.echo, tt=TT_MP, supervisor=supervisor)
    warm(echo, 0)
    pool.lock.look = look
    chance = random.Random(11)
    tasks = []
    kinds = [echo, echo, echo, echo.options(priority=50), echo.options(priority=200),
             echo.options(delay=0.001),
             echo.options(timeout=100)]
    for number in range(600):
        tasks.append(chance.choice(kinds)(number))
        if chance.random() < 0.02:
            chance.choice(tasks).cancel()
        if chance.random() < 0.05:
            chance.choice(tasks).mark_completed()
    for number, task in enumerate(tasks):
        task.wait(PATIENCE)
        assert task.state == "cancelled" or task.result in (number, None)
        assert task.state != "failed", task.exception()
    assert not wrong, wrong[0]
    assert [pool_.drain(None) for pool_ in pools(supervisor)] == [True] * 3
