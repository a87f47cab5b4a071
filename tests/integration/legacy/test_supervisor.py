"""The members of TaskSupervisor, one row after the other."""
import logging
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from atasker import (TASK_CRITICAL, TASK_HIGH, TASK_LOW, TASK_NORMAL, TT_COROUTINE, TT_MP,
                     TT_THREAD, TaskSupervisor, background_task, wait_completed)
from atasker.supervisor import TASK_STATUS_COMPLETED

import atasker_like
from atasker_like import legacy
from tests.support import PATIENCE
from tests.support.clock import Clock
from tests.support.internals import manager
from tests.support.scripts import without_late

from . import functions

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(atasker_like.__file__)))


@pytest.fixture
def processes(task_supervisor):
    task_supervisor.create_mp_pool(processes=1)
    return task_supervisor


# -- pools -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["set_thread_pool", "constructor"])
def test_slots_and_reserves(make_supervisor, gate, how):
    if how == "constructor":
        supervisor = make_supervisor(pool_size=1, reserve_normal=1, reserve_high=1)
    else:
        supervisor = make_supervisor()
        supervisor.set_thread_pool(pool_size=1, reserve_normal=1, reserve_high=1)
    supervisor.start()

    def put(priority):
        return supervisor.put_task(gate.wait, (PATIENCE,), priority=priority)

    tasks = [put(priority)
             for priority in (TASK_LOW, TASK_LOW, TASK_NORMAL, TASK_NORMAL, TASK_HIGH, TASK_HIGH,
                              TASK_CRITICAL, TASK_CRITICAL)]
    starts = [True, False, True, False, True, False, True, True]
    for task, start in zip(tasks, starts):
        if start:
            assert task.started.wait(PATIENCE)
    assert [task.is_started() for task in tasks] == starts
    gate.set()
    assert wait_completed(tasks, timeout=PATIENCE) == [True] * 8


def test_a_pool_size_of_0_is_unlimited(task_supervisor):
    task_supervisor.set_thread_pool(pool_size=0, reserve_normal=0, reserve_high=0)
    barrier = threading.Barrier(40)
    tasks = [background_task(barrier.wait)(PATIENCE) for _ in range(40)]
    assert sorted(wait_completed(tasks, timeout=PATIENCE)) == list(range(40))


@pytest.mark.parametrize("min_size, made", [(3, 3), ("max", 7), (0, 0)])
def test_threads_that_are_made_ahead(make_supervisor, min_size, made):
    supervisor = make_supervisor("ahead")
    supervisor.set_thread_pool(pool_size=4, reserve_normal=2, reserve_high=1, min_size=min_size)
    supervisor.start()
    names = [thread.name for thread in threading.enumerate()
             if thread.name.startswith("supervisor_ahead_thread")]
    assert len(names) == made


def test_more_threads_ahead_than_at_most(task_supervisor):
    with pytest.raises(ValueError, match="min_size"):
        task_supervisor.set_thread_pool(min_size=5, max_size=4)


def test_keywords_that_are_left_out_keep_their_value(task_supervisor, gate):
    task_supervisor.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0)
    tasks = [task_supervisor.put_task(gate.wait, (PATIENCE,)) for _ in range(2)]
    assert tasks[0].started.wait(PATIENCE)
    assert not tasks[1].is_started()
    task_supervisor.set_thread_pool(reserve_normal=1)       # while it runs
    assert tasks[1].started.wait(PATIENCE)
    info = task_supervisor.get_info()
    assert ((info.thread_pool_size, info.thread_reserve_normal, info.thread_reserve_high)
            == (1, 1, 0))


def test_the_process_pool_is_made_by_setting_its_size(make_supervisor):
    supervisor = make_supervisor()
    assert supervisor.mp_pool is None
    supervisor.set_mp_pool(pool_size=2, reserve_normal=1, reserve_high=1)
    assert supervisor.mp_pool is not None
    supervisor.start()
    assert supervisor.put_task(functions.power, (3,), tt=TT_MP).value(PATIENCE) == 9
    info = supervisor.get_info()
    assert (info.mp_pool_size, info.mp_reserve_normal, info.mp_reserve_high) == (2, 1, 1)


def test_the_arguments_of_a_multiprocessing_pool(make_supervisor):
    supervisor = make_supervisor()
    supervisor.create_mp_pool(1, functions.initialize, ("ready",), 1)
    supervisor.start()
    assert supervisor.put_task(functions.initialized, tt=TT_MP).value(PATIENCE) == "ready"
    pids = [supervisor.put_task(functions.pid, tt=TT_MP).value(PATIENCE) for _ in range(2)]
    assert len(set(pids)) == 2
    with pytest.raises(TypeError):
        supervisor.create_mp_pool(1, nothing=1)


def test_a_child_may_import_atasker(processes):
    assert processes.put_task(functions.low, tt=TT_MP).value(PATIENCE) == 200


def test_thread_pool_is_used_by_hand_before_the_start(make_supervisor):
    supervisor = make_supervisor()
    pool = supervisor.thread_pool           # as modules do at their import
    future = pool.submit(functions.power, 2, exponent=3)
    assert future.result(PATIENCE) == 8
    with pytest.raises(ValueError, match="broken"):
        pool.submit(functions.fail, "broken").result(PATIENCE)
    supervisor.set_thread_pool(pool_size=3)
    assert pool.submit(functions.power, 3).result(PATIENCE) == 9


def test_spawn_thread_needs_no_slot(task_supervisor, gate):
    task_supervisor.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0)
    blocker = background_task(gate.wait)(PATIENCE)
    assert blocker.started.wait(PATIENCE)
    assert task_supervisor.spawn_thread(functions.takes_all, (1,),
                                        {"b": 2}).result(PATIENCE) == ((1,), {"b": 2})
    assert set(task_supervisor.get_tasks()) == {blocker.id}


def test_an_error_outside_the_slots_is_reported(task_supervisor):
    future = task_supervisor.spawn_thread(target=functions.fail, args=("broken",))
    with pytest.raises(ValueError, match="broken"):
        future.result(PATIENCE)


# -- own tasks -------------------------------------------------------------------------------------


def test_put_task_with_all_that_it_takes(task_supervisor, monkeypatch):
    clock, results = Clock(), []
    monkeypatch.setattr(manager(task_supervisor).timer, "clock", clock)
    task = task_supervisor.put_task(functions.knows_its_id, args=(1,), kwargs={},
                                    callback=results.append,
                                    priority=TASK_HIGH, delay=5000, tt=TT_THREAD, task_id="my id",
                                    worker="worker")
    assert (task.id, task.priority, task.delay, task.worker) == ("my id", TASK_HIGH, 5000, "worker")
    assert task_supervisor.get_task("my id") is task
    clock.forward(manager(task_supervisor).timer)
    assert wait_completed(task, timeout=PATIENCE) == (1, "my id")
    assert results == [(1, "my id")]


def test_the_id_is_given_to_functions_that_take_it(processes):
    given = []
    for tt in (TT_THREAD, TT_MP):
        task = processes.put_task(functions.knows_its_id, (2,), tt=tt)
        given.append(task.id)
        assert wait_completed(task, timeout=PATIENCE) == (2, given[-1])
        assert processes.put_task(functions.power, (2,), tt=tt).value(PATIENCE) == 4
    assert len(set(given)) == 2


def test_an_id_belongs_to_one_live_task(task_supervisor, gate):
    first = task_supervisor.put_task(gate.wait, (PATIENCE,), task_id="mine")
    with pytest.raises(ValueError, match="mine"):
        task_supervisor.put_task(functions.power, (2,), task_id="mine")
    gate.set()
    assert wait_completed(first) is True
    assert task_supervisor.put_task(functions.power, (2,), task_id="mine").value(PATIENCE) == 4


def test_a_task_that_is_marked_completed_is_completed(task_supervisor, gate):
    task = task_supervisor.put_task(gate.wait, (PATIENCE,), task_id="mine")
    assert task.started.wait(PATIENCE)
    task_supervisor.mark_task_started(task)
    assert task_supervisor.mark_task_completed(task_id="mine")
    assert task.completed.is_set()
    assert task.status == TASK_STATUS_COMPLETED
    other = task_supervisor.put_task(gate.wait, (PATIENCE,))
    assert task_supervisor.mark_task_completed(other)
    assert other.is_completed()


def test_a_function_may_mark_its_own_task(task_supervisor, gate):
    """As atasker had it: who puts a task marks its completion."""
    def own(_task_id=None):
        task_supervisor.mark_task_completed(task_id=_task_id)
        gate.wait(PATIENCE)

    task = task_supervisor.put_task(own)
    assert task.completed.wait(PATIENCE)


def test_marking_an_unknown_task(task_supervisor):
    with pytest.raises(LookupError):
        task_supervisor.mark_task_completed(task_id="nobody")


def test_registry_has_live_tasks_by_id_and_kind(processes, gate):
    thread = processes.put_task(gate.wait, (PATIENCE,))
    waiting = processes.put_task(functions.power, (2,), tt=TT_MP, delay=1000)
    assert processes.get_tasks() == {thread.id: thread, waiting.id: waiting}
    assert processes.get_tasks(TT_THREAD) == processes.get_tasks(tt=TT_THREAD) == {
        thread.id: thread}
    assert processes.get_tasks(tt=TT_MP) == {waiting.id: waiting}
    assert processes.get_tasks(tt=TT_COROUTINE) == {}
    assert processes.get_task("nobody") is None
    assert waiting.cancel()
    assert processes.get_task(waiting.id) is None


# -- looking at it ---------------------------------------------------------------------------------


def test_get_info_has_the_fields_of_atasker(make_supervisor, gate):
    supervisor = make_supervisor("watched", pool_size=4, reserve_normal=3, reserve_high=2)
    info = supervisor.get_info()
    assert (info.id, info.active, bool(info.started)) == ("watched", False, False)
    supervisor.start()
    task = supervisor.put_task(gate.wait, (PATIENCE,))
    assert task.started.wait(PATIENCE)
    aloop = supervisor.create_aloop("mine")
    info = supervisor.get_info()
    assert info.active and info.started
    assert ((info.thread_pool_size, info.thread_reserve_normal, info.thread_reserve_high)
            == (4, 3, 2))
    assert (list(info.thread_tasks), info.thread_tasks_count) == ([task.id], 1)
    assert (list(info.mp_tasks), info.mp_tasks_count) == ([], 0)
    assert info.aloops == {"mine": aloop}
    assert (info.schedulers, info.async_job_schedulers) == ({}, {})
    assert info.tasks == {task.id: task}


def test_get_info_can_be_changed_and_extended():
    class Mine(TaskSupervisor):
        def get_info(self, **options):
            info = super().get_info(**options)
            info.uptime = 5
            info.id = "mine"
            return info

    supervisor = Mine()
    info = supervisor.get_info(tt=False)
    assert (info.uptime, info.id) == (5, "mine")
    assert vars(info)["uptime"] == 5
    legacy.uninstall()
    with pytest.raises(AttributeError, match="does not change"):
        info.uptime = 6
    assert info.uptime == 5


def test_get_info_of_a_part(make_supervisor, gate):
    supervisor = make_supervisor()
    supervisor.start()
    task = supervisor.put_task(gate.wait, (PATIENCE,))
    assert task.started.wait(PATIENCE)
    supervisor.create_aloop("mine")
    assert list(supervisor.get_info(TT_THREAD).thread_tasks) == [task.id]
    assert supervisor.get_info(tt=TT_MP).tasks == {}
    counts = supervisor.get_info(tt=False, aloops=False, schedulers=False,
                                 async_job_schedulers=False)
    assert counts.thread_tasks_count == 1
    assert not counts.tasks and not counts.thread_tasks and not counts.aloops


def test_a_running_supervisor_is_watched_from_another_thread(make_supervisor):
    """All the while tasks, aloops and workers come and go."""
    from atasker import background_worker

    supervisor = make_supervisor("watched", pool_size=2)
    supervisor.start()
    seen, stop, errors = set(), threading.Event(), []
    looked = threading.Semaphore(0)

    def watch():
        try:
            while not stop.is_set():
                info = supervisor.get_info()
                assert info.id == "watched"
                for task in list(info.tasks.values()) + list(
                        supervisor.get_tasks(TT_THREAD).values()):
                    seen.add(task.id)
                    assert task.status in (0, 2, 100, 200, -1)
                supervisor.get_schedulers()
                assert set(supervisor.get_aloops()) <= {"loop"}
                looked.release()
        except BaseException as error:
            errors.append(error)
            looked.release()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        worker = background_worker(lambda **_: None, name="busy", supervisor=supervisor, event=True)
        ended = []
        supervisor.create_aloop("loop")
        for number in range(30):
            tasks = [supervisor.put_task(functions.power, (n,)) for n in range(20)]
            worker.start()
            assert wait_completed(tasks, timeout=PATIENCE) == [n * n for n in range(20)]
            worker.stop()
            ended += [task.id for task in tasks]
            assert looked.acquire(timeout=PATIENCE)
        last = supervisor.put_task(looked.acquire, (True, PATIENCE))
        ended.append(last.id)
        assert last.completed.wait(PATIENCE)
    finally:
        stop.set()
        watcher.join(PATIENCE)
    assert errors == []
    assert len(set(ended)) == 601


# -- lifecycle -------------------------------------------------------------------------------------


def test_block_returns_after_stop(make_supervisor):
    supervisor = make_supervisor()
    supervisor.start()
    returned = threading.Event()
    thread = threading.Thread(target=lambda: (supervisor.block(), returned.set()))
    thread.start()
    assert not returned.is_set()
    supervisor.stop()
    assert returned.wait(PATIENCE)
    thread.join()


def test_block_before_the_start_returns_at_once(make_supervisor):
    supervisor = make_supervisor()
    returned = threading.Event()
    threading.Thread(target=lambda: (supervisor.block(), returned.set()), daemon=True).start()
    assert returned.wait(PATIENCE)


@pytest.mark.parametrize("daemon", [True, False])
def test_daemon_is_accepted(make_supervisor, daemon):
    supervisor = make_supervisor()
    supervisor.start(daemon=daemon)
    assert supervisor.daemon is daemon
    supervisor.daemon = not daemon


def test_stop_waits_for_the_tasks(make_supervisor, gate):
    supervisor = make_supervisor(pool_size=1, reserve_normal=0, reserve_high=0)
    supervisor.start()
    tasks = [supervisor.put_task(gate.wait, (PATIENCE,)),
             supervisor.put_task(functions.power, (2,))]
    assert tasks[0].started.wait(PATIENCE)
    supervisor.stop(wait=False)
    assert not tasks[0].is_completed()
    gate.set()
    supervisor.stop()
    assert [task.result for task in tasks] == [True, 4]
    assert not supervisor.get_info().active


def test_stop_with_a_bound(make_supervisor, gate):
    supervisor = make_supervisor(pool_size=1, reserve_normal=0, reserve_high=0)
    supervisor.start()
    running, queued = supervisor.put_task(gate.wait,
                                          (PATIENCE,)), supervisor.put_task(functions.power, (2,))
    assert running.started.wait(PATIENCE)
    supervisor.stop(wait=0.01)
    assert (running.status, queued.status) == (-1, -1)
    gate.set()


def test_stop_may_cancel(make_supervisor, gate):
    supervisor = make_supervisor(pool_size=1, reserve_normal=0, reserve_high=0)
    supervisor.start()
    running, queued = supervisor.put_task(gate.wait,
                                          (PATIENCE,)), supervisor.put_task(functions.power, (2,))
    assert running.started.wait(PATIENCE)
    supervisor.stop(wait=False, stop_schedulers=True, cancel_tasks=True)
    assert queued.completed.wait(PATIENCE)
    assert queued.status == -1
    gate.set()
    supervisor.block()


def test_submitting_before_the_start_is_not_swallowed(make_supervisor):
    supervisor = make_supervisor()
    assert supervisor.put_task(functions.power, (2,)).value(PATIENCE) == 4
    assert supervisor.get_info().active


def test_poll_delay_slows_nothing(make_supervisor):
    supervisor = make_supervisor(pool_size=1, reserve_normal=0, reserve_high=0)
    supervisor.poll_delay = 1000
    supervisor.start()
    tasks = [supervisor.put_task(functions.power, (n,)) for n in range(100)]
    assert wait_completed(tasks, timeout=PATIENCE) == [n * n for n in range(100)]


def test_the_event_loop_is_the_supervisors_own(task_supervisor):
    import asyncio

    async def loop():
        return asyncio.get_running_loop()

    future = asyncio.run_coroutine_threadsafe(loop(), task_supervisor.event_loop)
    assert future.result(PATIENCE) is task_supervisor.event_loop


# -- aloops ----------------------------------------------------------------------------------------


def test_the_aloops_of_a_supervisor(make_supervisor, caplog):
    supervisor = make_supervisor("mine")
    supervisor.start()
    assert supervisor.default_aloop is None
    first = supervisor.create_aloop("first", daemon=True)
    assert first.is_active() and first.name == "first"
    assert first.thread.name == "supervisor_mine_aloop_first"
    second = supervisor.create_aloop("second", start=False, default=True)
    assert not second.is_active()
    assert supervisor.default_aloop is second
    assert supervisor.get_aloop() is second
    assert supervisor.get_aloop(default=False) is None
    assert supervisor.get_aloop("first") is first
    assert supervisor.get_aloop("nobody") is None
    assert supervisor.get_aloops() == {"first": first, "second": second}
    assert supervisor.start_aloop("second") and second.is_active()
    supervisor.set_default_aloop(first)
    assert supervisor.default_aloop is first
    assert supervisor.stop_aloop("second", wait=True, cancel_tasks=True)
    assert not second.is_active()
    assert supervisor.create_aloop("first") is False
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert not supervisor.start_aloop("nobody")
    assert not supervisor.stop_aloop("nobody")
    first.stop()
    first.start()
    assert first.get_loop().is_running()


def test_the_reserved_name(task_supervisor):
    with pytest.raises(ValueError, match="__supervisor__"):
        task_supervisor.create_aloop("__supervisor__")


# -- in a program of its own -----------------------------------------------------------------------

STOPPED_BY_A_SIGNAL = """
import signal, sys, os, threading
import atasker_like.legacy; atasker_like.legacy.install()
from atasker import background_task, task_supervisor, wait_completed

done = []

@background_task
def work(number):
    done.append(number)

def handler(signum, frame):
    task_supervisor.stop(wait=False)

signal.signal(signal.SIGTERM, handler)
task_supervisor.set_thread_pool(pool_size=2, reserve_normal=0, reserve_high=0)
task_supervisor.start()
tasks = [work(n) for n in range(100)]
os.kill(os.getpid(), signal.SIGTERM)
task_supervisor.block()
print(len(done), all(task.is_completed() for task in tasks), task_supervisor.get_info().active)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_stop_from_a_signal_handler():
    ended = subprocess.run([sys.executable, "-c", STOPPED_BY_A_SIGNAL], cwd=ROOT, timeout=50,
                           stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, universal_newlines=True)
    assert ((ended.returncode, ended.stdout, without_late(ended.stderr))
            == (0, "100 True False\n", ""))


def test_a_subclass_that_sets_itself_up(gate):
    class Service(TaskSupervisor):
        def __init__(self):
            super().__init__(supervisor_id="service")
            self.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0)
            self.set_mp_pool(pool_size=1)
            self.log = []

        def start(self, daemon=None):
            self.log.append("start")
            super().start(daemon=daemon)

        def stop(self, *args, **kwargs):
            self.log.append("stop")
            super().stop(*args, **kwargs)

    service = Service()
    service.start()
    assert service.put_task(functions.power, (2,), priority=TASK_NORMAL).value(PATIENCE) == 4
    assert wait_completed(background_task(functions.power, supervisor=service, tt=TT_MP)(3)) == 9
    service.stop()
    assert service.log == ["start", "stop"]


# -- what programs read ----------------------------------------------------------------------------


def test_loop_that_is_not_active_has_no_loop(supervisor):
    aloop = supervisor.create_aloop("mine", start=False)
    assert aloop.get_loop() is None
    aloop.start()
    assert aloop.get_loop() is not None
    aloop.stop()
    assert aloop.get_loop() is None
    with pytest.raises(RuntimeError, match="not active"):
        supervisor.create_async_job_scheduler("jobs", aloop="mine")


def test_info_has_the_values_that_atasker_gives(supervisor):
    assert supervisor.get_info().started is False
    supervisor.start()
    info = supervisor.get_info()
    assert (info.active, info.started, info.thread_tasks, info.mp_tasks) == (True, True, [], [])
    supervisor.stop()
    assert supervisor.get_info().started is False


def test_sizes_may_be_texts(supervisor):
    supervisor.set_thread_pool(pool_size="4", reserve_normal="2", reserve_high=1.0)
    assert (supervisor.thread_pool_size, supervisor.thread_reserve_normal,
            supervisor.thread_reserve_high) == (4, 2, 1)
    with pytest.raises(ValueError):
        supervisor.set_thread_pool(pool_size="four")


def test_executor_that_is_assigned_to_thread_pool_limits_the_tasks(make_supervisor, caplog):
    supervisor = make_supervisor("limited")
    with ThreadPoolExecutor(3) as executor:
        supervisor.thread_pool = executor
    sizes = supervisor.get_info(tt=False)
    assert sizes.thread_pool_size + sizes.thread_reserve_normal + sizes.thread_reserve_high == 3
    assert "set_thread_pool() instead" in caplog.text
    together = threading.Barrier(3)
    tasks = [background_task(together.wait, supervisor=supervisor)(PATIENCE) for _ in range(3)]
    assert sorted(wait_completed(tasks, timeout=PATIENCE)) == [0, 1, 2]
    assert supervisor.thread_pool.submit(pow, 2, 3).result(PATIENCE) == 8
    caplog.clear()
    supervisor.thread_pool = supervisor.thread_pool     # nothing happens
    assert caplog.text == ""
    legacy.uninstall()
    with pytest.raises(AttributeError, match="set_thread_pool"):
        supervisor.thread_pool = executor
