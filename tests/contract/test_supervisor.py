"""The members of TaskSupervisor that are neither start nor stop."""
import os
import sys
import threading
from concurrent.futures import Future

import pytest

from atasker_like import (TASK_HIGH, TASK_LOW, TASK_NORMAL, TT_COROUTINE, TT_MP, TT_THREAD,
                          TaskNotFoundError, background_task)
from atasker_like.engine import registry
from tests.support import PATIENCE
from tests.support.internals import manager
from tests.support.internals.engine import spec_of
from tests.support.scripts import without_late
from tests.support.threads import join, started

from . import functions as f


def test_many_tasks_leave_no_room_behind(kind, monkeypatch):
    """A table from which all has been deleted is as large as it ever was."""
    monkeypatch.setattr(registry, "COMPACT_AFTER", 100)
    pool = spec_of(kind.put(f.nothing)).pool
    live = pool.registry.live
    with pool.lock:
        live.update(dict.fromkeys(range(-5000, 0)))
        for number in range(-5000, 0):
            del live[number]
    assert sys.getsizeof(live) > 100_000
    for task in [kind.put(f.nothing) for _ in range(200)]:
        task.wait(10)
    # the last 100 may have been alive at once
    assert not live and sys.getsizeof(live) < 50_000


# -- put_task --------------------------------------------------------------------------------------


def test_put_task_applies_each_argument(kind):
    seen = []
    task = kind.put(f.add, (1,), {"b": 2}, callback=seen.append, priority=TASK_HIGH, delay=0.01,
                    worker="w")
    assert (task.priority, task.delay, task.worker, task.name) == (50, 0.01, "w", "add")
    assert task.value(10) == 3
    assert seen == [3]


def test_put_task_with_an_id_of_ones_own(kind, gate):
    task = kind.put(f.enter, (gate, 5), task_id="mine")
    assert task.id == "mine"
    assert kind.supervisor.get_task("mine") is task
    assert list(kind.supervisor.get_tasks()) == ["mine"]
    with pytest.raises(ValueError, match="mine"):
        kind.put(f.nothing, task_id="mine")
    gate.open()
    assert task.value(10) == 5
    assert kind.supervisor.get_task("mine") is None
    assert kind.put(f.add, (1,), task_id="mine").value(10) == 1


def test_one_of_two_threads_that_choose_the_same_id_is_refused(supervisor, monkeypatch):
    pools, go, first = manager(supervisor), threading.Event(), []
    find = pools.find

    def find_late(task_id):
        found = find(task_id)
        monkeypatch.undo()
        first.append(join(started(
            lambda: supervisor.put_task(go.wait, (PATIENCE,), task_id="mine"))))
        return found

    monkeypatch.setattr(pools, "find", find_late)
    with pytest.raises(ValueError, match="'mine' belongs to a live task"):
        supervisor.put_task(len, ("abc",), task_id="mine")
    assert supervisor.get_task("mine") is first[0]
    go.set()
    assert first[0].value(PATIENCE) is True and supervisor.get_task("mine") is None


def test_an_id_of_ones_own_is_seen_inside(kind):
    assert kind.put(f.who, task_id="mine").value(10)[0] == "mine"


@pytest.mark.parametrize("bad", ["", 5, b"mine"])
def test_a_task_id_must_be_a_string(supervisor, bad):
    with pytest.raises(TypeError, match="task_id"):
        supervisor.put_task(f.nothing, task_id=bad)


def test_put_task_gives_threads_their_task_id(supervisor):
    task = supervisor.put_task(f.with_task_id, (1,))
    assert task.value(10) == (1, task.id)
    task = supervisor.put_task(f.with_keywords, (1,), {"b": 2})
    assert task.value(10) == (1, {"b": 2, "_task_id": task.id})
    task = supervisor.put_task(f.with_task_id, (1,), task_id="mine")
    assert task.value(10) == (1, "mine")


def test_a_callers_arguments_are_not_changed(kind):
    keywords = {"b": 2}
    kind.put(f.with_keywords, (1,), keywords).wait(10)
    assert keywords == {"b": 2}


def test_put_task_takes_a_decorated_function(supervisor):
    assert supervisor.put_task(background_task(f.add), (1, 2)).value(10) == 3


def test_mark_task_completed_by_task_and_by_id(kind, gate):
    kind.occupy(gate)
    by_task, by_id = kind.put(f.nothing), kind.put(f.nothing, task_id="mine")
    assert kind.supervisor.mark_task_completed(by_task)
    assert kind.supervisor.mark_task_completed(task_id="mine")
    assert (by_task.status, by_id.status) == (200, 200)
    gate.open()


def test_mark_task_started_says_whether_it_is(kind, gate):
    task = kind.put(f.enter, (gate,), delay=60)
    assert not kind.supervisor.mark_task_started(task)
    assert not kind.supervisor.mark_task_started(task.id)
    task.cancel()


@pytest.mark.parametrize("call", [
    lambda supervisor, task_id: supervisor.mark_task_completed(task_id=task_id),
    lambda supervisor, task_id: supervisor.mark_task_started(task_id),
])
def test_an_unknown_id_is_a_lookup_error(supervisor, call):
    ended = supervisor.put_task(f.nothing)
    ended.wait(10)
    for task_id in ("unknown", ended.id, "f" * 24):
        with pytest.raises(LookupError, match=task_id) as caught:
            call(supervisor, task_id)
        assert type(caught.value) is TaskNotFoundError


def test_get_task_of_an_unknown_id(supervisor):
    prefix = supervisor.put_task(f.nothing).id[:12]
    for task_id in ("", "unknown", prefix + "z" * 12, prefix + "0" * 12, "x" * 24):
        assert supervisor.get_task(task_id) is None


def test_get_tasks_of_one_kind(supervisor):
    tasks = {tt: supervisor.put_task(function, tt=tt, delay=60)
             for tt,
             function in ((TT_THREAD, f.nothing), (TT_MP, f.nothing), (TT_COROUTINE, f.co_enter))}
    for tt, task in tasks.items():
        assert supervisor.get_tasks(tt) == {task.id: task}
    assert supervisor.get_tasks() == {task.id: task for task in tasks.values()}


# -- beside the tasks ------------------------------------------------------------------------------


def test_spawn_thread_needs_no_slot(supervisor, gate):
    supervisor.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0)
    supervisor.put_task(f.enter, (gate,))
    gate.wait_entered()
    seen, done = [], threading.Event()

    def body(*args, **kwargs):
        seen.append((args, kwargs))
        done.set()

    supervisor.spawn_thread(body, (1,), {"b": 2})
    assert done.wait(10)
    assert seen == [((1,), {"b": 2})]
    assert supervisor.stats().submitted == 1


def test_what_a_spawned_thread_raises_is_logged(supervisor, caplog):
    done = threading.Event()

    def body():
        try:
            raise KeyError("in the spawned thread")
        finally:
            done.set()

    supervisor.spawn_thread(body)
    assert done.wait(10)
    supervisor.put_task(f.nothing).wait(10)
    supervisor.stop()
    assert "in the spawned thread" in caplog.text


def test_thread_pool_submit(supervisor):
    assert not supervisor.is_active
    future = supervisor.thread_pool.submit(f.add, 1, b=2)
    assert isinstance(future, Future)
    assert future.result(10) == 3
    assert supervisor.is_active


def test_thread_pool_submit_of_a_failure(supervisor, caplog):
    future = supervisor.thread_pool.submit(f.fail, "broken")
    with pytest.raises(ValueError, match="broken"):
        future.result(10)
    assert without_late(caplog.text) == ""


def test_thread_pool_submit_cancelled_before_it_ran(supervisor, gate):
    supervisor.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0)
    supervisor.put_task(f.enter, (gate,))
    gate.wait_entered()
    future = supervisor.thread_pool.submit(f.add, 1)
    assert future.cancel()
    gate.open()
    supervisor.put_task(f.nothing).wait(10)
    assert future.cancelled()


# -- looking at it ---------------------------------------------------------------------------------


def test_get_info_has_sizes_tasks_and_loops(supervisor, gate):
    supervisor.set_thread_pool(pool_size=1, reserve_normal=2, reserve_high=3)
    supervisor.create_aloop("mine")
    running = supervisor.put_task(f.enter, (gate,))
    gate.wait_entered()
    delayed = supervisor.put_task(f.nothing, delay=60)
    info = supervisor.get_info()
    assert (info.id, info.active, info.started) == (supervisor.id, True, supervisor.started)
    assert ((info.thread_pool_size, info.thread_reserve_normal, info.thread_reserve_high)
            == (1, 2, 3))
    assert (info.mp_pool_size, info.mp_reserve_normal, info.mp_reserve_high) == (None, None, None)
    assert (info.thread_tasks, info.thread_tasks_count) == ((running.id,), 1)
    assert (info.mp_tasks, info.mp_tasks_count) == ((), 0)
    assert list(info.aloops) == ["mine"]
    assert info.tasks == {running.id: running, delayed.id: delayed}
    assert (info.schedulers, info.async_job_schedulers) == ({}, {})


def test_get_info_of_the_process_pool(processes, gate):
    processes.set_places(1, 2, 3)
    task = processes.bind(f.enter)(gate)
    gate.wait_entered()
    info = processes.supervisor.get_info()
    assert (info.mp_pool_size, info.mp_reserve_normal, info.mp_reserve_high) == (1, 2, 3)
    assert (info.mp_tasks, info.mp_tasks_count) == ((task.id,), 1)


def test_sizes_are_attributes(supervisor):
    supervisor.set_thread_pool(pool_size=1, reserve_normal=2, reserve_high=3)
    assert (supervisor.thread_pool_size, supervisor.thread_reserve_normal,
            supervisor.thread_reserve_high) == (1, 2, 3)
    supervisor.thread_pool_size = 7
    supervisor.thread_reserve_high = 0
    info = supervisor.get_info(tt=False)
    assert ((info.thread_pool_size, info.thread_reserve_normal, info.thread_reserve_high)
            == (7, 2, 0))
    with pytest.raises(ValueError, match="pool_size of the thread pool"):
        supervisor.thread_pool_size = -1


def test_sizes_of_the_process_pool_are_attributes(supervisor):
    assert (supervisor.mp_reserve_normal, supervisor.mp_reserve_high) == (0, 0)
    assert supervisor.mp_pool_size == os.cpu_count()
    supervisor.set_mp_pool(pool_size=1, reserve_normal=2, reserve_high=3)
    assert (supervisor.mp_pool_size, supervisor.mp_reserve_normal,
            supervisor.mp_reserve_high) == (1, 2, 3)
    supervisor.mp_pool_size = 2
    assert supervisor.get_info(tt=False).mp_pool_size == 2


def test_get_info_without_lists(supervisor, gate):
    supervisor.create_aloop("mine")
    supervisor.put_task(f.enter, (gate,))
    gate.wait_entered()
    info = supervisor.get_info(tt=False, aloops=False)
    assert (info.thread_tasks, info.tasks, info.aloops) == ((), {}, {})
    assert info.thread_tasks_count == 1


def test_get_info_of_one_kind(supervisor, gate):
    supervisor.put_task(f.enter, (gate,))
    gate.wait_entered()
    assert supervisor.get_info(tt=TT_MP).tasks == {}
    assert len(supervisor.get_info(tt=TT_THREAD).tasks) == 1


def test_info_is_a_snapshot(supervisor):
    info = supervisor.get_info()
    with pytest.raises(AttributeError):
        info.active = True
    supervisor.start()
    assert info.active is False
    assert info.as_dict()["id"] == supervisor.id


def test_stats_count_tasks_by_state(kind, gate):
    name = {TT_THREAD: "thread", TT_MP: "process", TT_COROUTINE: "coroutine"}[kind.tt]
    kind.bind(f.add)(1).wait(10)
    kind.bind(f.fail)().wait(10)
    running = kind.occupy(gate)
    waiting = [kind.bind(f.nothing, priority=priority)()
               for priority in (TASK_LOW, TASK_NORMAL, TASK_LOW)]
    delayed = kind.bind(f.nothing, delay=60)()
    stats = kind.supervisor.stats()
    pool = getattr(stats, name)
    assert (pool.submitted, pool.succeeded, pool.failed, pool.cancelled) == (7, 1, 1, 0)
    assert (pool.active, pool.delayed, pool.abandoned, pool.retried) == (1, 1, 0, 0)
    if kind.tt != TT_COROUTINE:         # a loop takes all that come: nothing waits before it
        assert pool.depth == {100: 1, 200: 2}
        assert (pool.waiting, stats.waiting) == (3, 3)
    assert (stats.submitted, stats.succeeded, stats.active) == (7, 1, 1)
    for spread in (pool.wait, pool.run):
        assert 0 <= spread["p50"] <= spread["p90"] <= spread["p99"] <= spread["max"]
    delayed.cancel()
    gate.open()
    for task in [running, *waiting]:
        task.wait(10)
    assert kind.supervisor.stats().cancelled == 1
    assert kind.supervisor.stats().succeeded == 5


def test_stats_of_a_pool_that_did_nothing(supervisor):
    stats = supervisor.stats()
    assert stats.process is None
    assert stats.thread.wait == {"p50": None, "p90": None, "p99": None, "max": None}
    assert stats.as_dict()["thread"]["submitted"] == 0
    with pytest.raises(AttributeError):
        stats.submitted = 5


def test_mp_pool_is_none_before_there_is_one(supervisor):
    assert supervisor.mp_pool is None
    supervisor.set_mp_pool(pool_size=1)
    assert supervisor.mp_pool is not None
