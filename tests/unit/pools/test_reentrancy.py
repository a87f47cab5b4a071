"""A signal handler or a finalizer that comes in between two lines of a critical section, in the
same thread.

The tests take the pool's lock themselves: that is where such code finds itself.
"""
import gc
import signal
import threading

import pytest

from atasker_like import TT_COROUTINE, TT_MP, TT_THREAD, SupervisorBusyError, background_task
from tests.support.internals import parts

KINDS = [TT_THREAD, TT_MP, TT_COROUTINE]


async def coroutine(value):
    return value


def bound(supervisor, tt, **options):
    if tt == TT_COROUTINE:
        return background_task(coroutine, supervisor=supervisor, **options)
    return background_task(str.upper, tt=tt, supervisor=supervisor, **options)


def ended(task):
    return task.wait(20).status


@pytest.mark.parametrize("tt", KINDS)
@pytest.mark.parametrize("options", [{}, {"retries": 1}, {"delay": 0.001}],
                         ids=["plain", "retries", "delay"])
def test_submitting_is_left_to_another_thread(supervisor, tt, options):
    call = bound(supervisor, tt, **options)
    assert ended(call("before")) == "succeeded"
    pool = supervisor.pool_for(tt)
    with pool.lock:
        task = call("a")
        task_id = task.id
        assert not task.done()
    assert task.value(20) in ("A", "a")
    assert task.id == task_id


@pytest.mark.parametrize("tt", KINDS)
def test_map_inside_a_critical_section_is_carried_out(supervisor, tt):
    call = bound(supervisor, tt)
    assert ended(call("before")) == "succeeded"
    with supervisor.pool_for(tt).lock:
        results = call.map(["a", "b", "c"])
    assert [str(value).upper() for value in results] == ["A", "B", "C"]


def test_what_cannot_be_pickled(supervisor):
    call = bound(supervisor, TT_MP)
    assert ended(call("before")) == "succeeded"
    with supervisor.pool_for(TT_MP).lock:
        task = call(lambda: None)
    assert task.wait(20).status == "failed"
    assert task.exception() is not None


@pytest.mark.parametrize("tt", KINDS)
@pytest.mark.parametrize("way", ["cancel", "mark_completed"])
def test_ending_a_delayed_task(supervisor, tt, way):
    task = bound(supervisor, tt, delay=1000)("a")
    with supervisor.pool_for(tt).lock:
        assert getattr(task, way)()
        assert not task.done()
    assert ended(task) == {"cancel": "cancelled", "mark_completed": "succeeded"}[way]
    with supervisor.pool_for(tt).lock:
        assert not getattr(task, way)()


@pytest.mark.parametrize("wait", [lambda task: task.value(), lambda task: task.wait(5),
                                  lambda task: task.started.wait(5),
                                  lambda task: task.completed.wait(5)])
def test_waiting_is_refused(supervisor, wait):
    task = bound(supervisor, TT_THREAD, delay=1000)("a")
    with supervisor.pool_for(TT_THREAD).lock:
        with pytest.raises(SupervisorBusyError, match="add_done_callback"):
            wait(task)
    task.cancel()


def test_a_done_callback(supervisor):
    told = threading.Event()
    task = bound(supervisor, TT_THREAD, delay=1000)("a")
    with supervisor.pool_for(TT_THREAD).lock:
        task.add_done_callback(lambda task: told.set())
    task.cancel()
    assert told.wait(20)


def test_reads_inside_a_critical_section_do_not_block(supervisor):
    task = bound(supervisor, TT_THREAD, delay=1000)("a")
    with supervisor.pool_for(TT_THREAD).lock:
        assert supervisor.get_task(task.id) is task
        assert supervisor.stats()
        assert supervisor.get_info()
        assert task.state == "pending"
    task.cancel()


def test_stop_inside_a_critical_section_is_carried_out(supervisor):
    task = bound(supervisor, TT_THREAD)("a")
    assert task.value(20) == "A"
    with supervisor.pool_for(TT_THREAD).lock:
        supervisor.stop()
    supervisor.block()
    assert not supervisor.is_active


def test_submitting_to_what_was_stopped_meanwhile_ends_the_task(supervisor):
    call = bound(supervisor, TT_THREAD)
    assert ended(call("before")) == "succeeded"
    pool = supervisor.pool_for(TT_THREAD)
    with pool.lock:
        task = call("a")
        pool.accepting = False              # as refuse() does, and the stop goes on
        parts(supervisor).state.phase = "stopping"
    assert ended(task) == "cancelled"
    assert pool.registry.last == 2 and pool.registry.cancelled == 1
    pool.accepting = True
    parts(supervisor).state.phase = "running"


def test_submitting_in_between_the_lines_of_a_start(supervisor):
    with parts(supervisor).state.lock:
        # start() has come this far, and has opened no pool.
        parts(supervisor).state.phase = "running"
        task = bound(supervisor, TT_THREAD)("a")
    assert task.value(20) == "A"


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs interval timers")
def test_a_handler_that_submits_a_thousand_times_a_second(supervisor):
    call = bound(supervisor, TT_THREAD)
    tasks = []

    def handler(number, frame):
        tasks.append(call("handler"))
        supervisor.get_info()

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        while len(tasks) < 100:
            mine = [call("mine") for _ in range(50)]
            assert all(task.value(20) == "MINE" for task in mine)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert all(task.value(20) == "HANDLER" for task in tasks)


class Cycle:
    """Submits a task when the garbage collector finds it, wherever that is."""

    def __init__(self, call, tasks):
        self.me, self.call, self.tasks = self, call, tasks

    def __del__(self):
        self.tasks.append(self.call("finalizer"))


def test_finalizers_that_submit_at_any_allocation(supervisor):
    call = bound(supervisor, TT_THREAD)
    tasks = []
    threshold = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    try:
        for _ in range(100):
            Cycle(call, tasks)
            mine = [call("mine") for _ in range(3)]
            assert all(task.value(20) == "MINE" for task in mine)
    finally:
        gc.set_threshold(*threshold)
    gc.collect()
    assert len(tasks) == 100
    assert all(task.value(20) == "FINALIZER" for task in tasks)
