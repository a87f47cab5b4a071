"""Tasks that are cancelled together: all are final before the first done callback is called."""
import threading

import pytest

from atasker_like import TT_MP, Lane, background_task
from atasker_like.pools.cancelling import cancel_many
from tests.support import PATIENCE
from tests.support.internals.engine import add_waiter
from tests.support.interruptions import at_line, interrupt

from ..support.internals import manager
from . import functions as f


def test_all_are_final_before_the_first_callback_from_the_last_to_the_first(kind, gate):
    running = kind.occupy(gate)
    tasks = [kind.bind(f.nothing)(), kind.bind(f.nothing, delay=60)(), kind.bind(f.nothing)()]
    seen = []
    for number, task in enumerate(tasks):
        task.add_done_callback(lambda task,
                               number=number: seen.append((number, [one.state for one in tasks])))
    assert cancel_many(tasks) == 3
    assert seen == [(number, ["cancelled"] * 3) for number in (2, 1, 0)]
    gate.open()
    running.wait(PATIENCE)
    assert cancel_many(tasks + [running]) == 0


def test_what_runs_is_asked_to_stop(kind, gate):
    running = kind.bind(f.enter_and_check)(gate)
    gate.wait_entered()
    waiting = kind.bind(f.nothing, delay=60)()
    order = []
    assert cancel_many([running, waiting], then=lambda: order.append(waiting.state)) == 2
    gate.open()
    assert running.wait(PATIENCE).status == "cancelled" and order == ["cancelled"]


def test_none_of_them_starts_instead_of_another(kind, gate, trace):
    running = kind.occupy(gate)
    tasks = [kind.bind(f.record)(trace.path, "x") for _ in range(50)]
    assert cancel_many([running, *tasks]) == 51
    gate.open()
    running.wait(PATIENCE)
    assert {task.state for task in tasks} == {"cancelled"}
    assert kind.bind(f.add)(1).value(PATIENCE) == 1
    assert trace.lines == []


@pytest.mark.slow
def test_tasks_of_several_pools_are_all_final_before_the_first_callback(supervisor, gate):
    tasks = [background_task(f.nothing, supervisor=supervisor, delay=60)(),
             background_task(f.co_nothing, supervisor=supervisor, delay=60)(),
             background_task(f.nothing, supervisor=supervisor, tt=TT_MP, delay=60)()]
    seen = []
    for task in tasks:
        task.add_done_callback(lambda task: seen.append([one.done() for one in tasks]))
    assert supervisor.cancel_waiting() == 3
    assert seen == [[True] * 3] * 3


def test_a_stop_ends_all_tasks_before_it_calls_the_first_callback(make_supervisor):
    supervisor = make_supervisor()
    tasks = [background_task(f.nothing, supervisor=supervisor, delay=60)() for _ in range(3)]
    seen = []
    for task in tasks:
        task.add_done_callback(lambda task: seen.append([one.done() for one in tasks]))
    supervisor.stop(wait=PATIENCE)
    assert seen == [[True] * 3] * 3


@pytest.mark.parametrize("cancel", [lambda task: task.cancel(), lambda task: cancel_many([task])],
                         ids=["one", "many"])
@pytest.mark.parametrize("by", ["pool", "lane"])
def test_the_room_of_a_cancelled_task_is_that_of_a_blocked_submitter(supervisor, gate, cancel, by):
    supervisor.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0,
                               **({"max_queued": 1} if by == "pool" else {}))
    lane = Lane("narrow", limit=1, size=1) if by == "lane" else None
    bind = background_task(f.nothing, supervisor=supervisor, lane=lane)
    running = background_task(f.enter, supervisor=supervisor, lane=lane)(gate)
    gate.wait_entered()
    waiting = bind()
    submitted = []
    submitter = threading.Thread(target=lambda: submitted.append(bind()), daemon=True)
    submitter.start()
    outside = ((lambda: lane.blocked_submitters) if lane is not None
               else (lambda: manager(supervisor).threads.backpressure.blocked_submitters))
    while not outside():
        pass
    assert cancel(waiting)
    submitter.join(PATIENCE)
    assert submitted
    gate.open()
    running.wait(PATIENCE)


@pytest.mark.slow
@pytest.mark.parametrize("in_lane", [False, True])
def test_interrupt_at_any_line_leaves_all_final_and_reported_once(supervisor, make_gate, in_lane):
    supervisor.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0)
    lane = Lane("narrow", limit=1) if in_lane else None
    line, reached = 0, True
    while reached:
        line += 1
        gate = make_gate()
        running = background_task(f.enter, supervisor=supervisor, lane=lane)(gate)
        gate.wait_entered()
        tasks = [background_task(f.nothing, supervisor=supervisor, lane=lane, **options)()
                 for options in ({}, {"delay": 60}, {})]
        called, waited = [], []
        for number, task in enumerate(tasks):
            task.add_done_callback(lambda task, number=number: called.append(number))
            add_waiter(task, lambda number=number: waited.append(number))
        try:
            reached = at_line(line, interrupt, lambda: cancel_many(tasks),
                              "atasker_like/pools/base")
        except KeyboardInterrupt:
            pass
        begun = any(task.done() for task in tasks)
        assert cancel_many(tasks) == (0 if begun else 3), line
        assert sorted(called) == sorted(waited) == [0, 1, 2], line
        gate.open()
        assert running.wait(PATIENCE).status == "succeeded"
        assert background_task(f.add, supervisor=supervisor,
                               lane=lane)(1).value(PATIENCE) == 1, line
    assert line > 20
