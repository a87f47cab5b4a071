"""Worlds in which the application has replaced threads, locks and files."""
import os
import select
import threading
from time import monotonic

import pytest

from atasker_like import (TT_MP, PoolBrokenError, SupervisorError, Task, _patched, as_completed,
                          background_task)
from tests.contract import functions as f
from tests.support import PATIENCE, patches
from tests.support.internals.engine import wake_lock_of
from tests.support.internals.wait_graph import graph_lock

from ..support.internals import manager


def bound(supervisor, function, **options):
    return background_task(function, supervisor=supervisor, **options)


def every_option(supervisor):
    """Submit tasks with every option that a thread task has; return their results, by option."""
    tries = []
    told = []

    def flaky():
        tries.append(1)
        if len(tries) < 3:
            raise ValueError(len(tries))
        return len(tries)

    lane = supervisor.lane("narrow", limit=1, rate=1000)
    never = threading.Event()
    overrun = bound(supervisor, never.wait, timeout=0.05)(PATIENCE)
    tasks = {
        "plain": bound(supervisor, f.add)(1, 2),
        "priority": bound(supervisor, f.add, priority=0)(1, 2),
        "delay": bound(supervisor, f.add, delay=0.01)(1, 2),
        "timeout": bound(supervisor, f.add, timeout=PATIENCE)(1, 2),
        "retries": bound(supervisor, flaky, retries=3, retry_delay=0.001)(),
        "callback": bound(supervisor, f.add, callback=told.append)(1, 2),
        "lane": bound(supervisor, f.add, lane=lane)(1, 2),
        "own": supervisor.put_task(f.add, (1, 2)),
    }
    many = bound(supervisor, f.add).map([3, 7])
    assert all(type(task) is Task for task in tasks.values())
    found = {name: task.value(PATIENCE) for name, task in tasks.items()}
    found["map"] = list(many)
    found["error"] = type(overrun.exception(PATIENCE)).__name__
    found["told"] = told
    completed = as_completed(list(tasks.values()), timeout=PATIENCE)
    found["completed"] = sorted(task.value() for task in completed)
    never.set()
    return found


EXPECTED = {"plain": 3, "priority": 3, "delay": 3, "timeout": 3, "retries": 3, "callback": 3,
            "lane": 3, "own": 3, "map": [3, 7], "error": "TaskTimeoutError", "told": [3],
            "completed": [3] * 8}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("what", ["locks", "threads", "all"])
def test_tasks_with_every_option_if_threads_are_replaced_work(make_supervisor, what, when):
    """Before and after the supervisor is made, which has its locks from then on."""
    replaced = {"locks": patches.locks, "threads": patches.threads,
                "all": lambda: patches.locks() + patches.threads()}[what]()
    supervisor = make_supervisor() if when == "after" else None
    with patches.replaced(*replaced):
        supervisor = supervisor or make_supervisor()
        assert every_option(supervisor) == EXPECTED
        begin = monotonic()
        assert supervisor.stop(wait=PATIENCE).complete
        assert monotonic() - begin < PATIENCE / 2


def test_locks_of_a_new_supervisor_after_replacement_are_the_foreign_ones(make_supervisor):
    supervisor = make_supervisor()
    with patches.replaced(*patches.locks()):
        bound(supervisor, f.add)(1, 2).value(PATIENCE)
        assert type(manager(supervisor).threads.lock) is patches.ForeignRLock
        assert type(wake_lock_of(manager(supervisor).timer)) is patches.ForeignLock
        supervisor.stop(wait=PATIENCE)


def test_names_that_modules_took_after_replacement_are_exchanged_and_back():
    from atasker_like.engine import current, task

    taken = task.Lock, graph_lock(), current.current
    with patches.replaced(*patches.locks()):
        _patched.follow()
        assert task.Lock is patches.ForeignLock
        assert type(graph_lock()) is patches.ForeignRLock
        from atasker_like.pools import threads

        assert threads.current is current.current is not taken[2]
    assert task.Lock is taken[0] is threading.Lock
    assert not _patched.has_changed()


def test_replacement_while_a_supervisor_runs_is_warned_of(make_supervisor, caplog):
    running, late = make_supervisor("running"), make_supervisor("late")
    assert bound(running, f.add)(1, 2).value(PATIENCE) == 3
    with patches.replaced(*patches.locks()):
        assert bound(late, f.add)(1, 2).value(PATIENCE) == 3
        assert bound(running, f.add)(1, 2).value(PATIENCE) == 3
        late.stop(wait=PATIENCE)
    assert [message for message in caplog.messages if "while supervisor running runs" in message]


def test_loop_if_only_threads_are_replaced_is_refused_at_once(make_supervisor):
    with patches.replaced(*patches.threads()):
        supervisor = make_supervisor()
        with pytest.raises(SupervisorError, match="replaced threads but not select"):
            bound(supervisor, _nothing)()
        assert bound(supervisor, f.add)(1, 2).value(PATIENCE) == 3
        supervisor.stop(wait=PATIENCE)


async def _nothing():
    pass


@pytest.mark.parametrize("world, words", [
    ("threads", "replaced threads but not select.poll"),
    ("no poll", "removed select.poll"),
    ("files", "replaced os.read and os.write"),
])
def test_process_task_in_a_world_without_means_fails_at_once(make_supervisor, world, words):
    replaced = {"threads": patches.threads, "no poll": lambda: [(select, "poll", None)],
                "files": lambda: [(os, "read", lambda *arguments: b"")]}[world]()
    with patches.replaced(*replaced):
        supervisor = make_supervisor()
        begin = monotonic()
        error = bound(supervisor, f.add, tt=TT_MP)(1, 2).exception(PATIENCE)
        assert type(error) is PoolBrokenError and words in str(error)
        assert monotonic() - begin < PATIENCE / 2
        assert bound(supervisor, f.add)(1, 2).value(PATIENCE) == 3
        supervisor.stop(wait=PATIENCE)


def test_process_pool_that_is_configured_first_follows_the_replacement_before(make_supervisor):
    with patches.replaced(*patches.locks()):
        supervisor = make_supervisor()
        supervisor.set_mp_pool(pool_size=1)
        assert not _patched.has_changed()
        assert type(manager(supervisor).processes.lock) is patches.ForeignRLock


@pytest.mark.slow
def test_stop_if_close_takes_effect_later_takes_no_extra_seconds(make_supervisor):
    """gevent's os.close() waits for its loop, and a pool process ends when its pipe is closed."""
    pending = []
    supervisor = make_supervisor()
    assert bound(supervisor, f.add, tt=TT_MP)(1, 2).value(PATIENCE) == 3
    with patches.replaced(*patches.deferred_close(pending)):
        report = supervisor.stop(wait=PATIENCE)
    for fd in pending:
        os.close(fd)
    assert report.complete and report.killed == 0


def test_names_of_replaced_threads_say_what_replaced_them():
    assert not _patched.threads_are_replaced()
    assert _patched.why_no_loops() is None and _patched.why_no_processes() is None
    with patches.replaced(*patches.threads()):
        assert _patched.threads_are_replaced()
        assert "tests has replaced threads" in _patched.why_no_loops()
    with patches.replaced(*patches.threads(), *patches.io()):
        assert _patched.why_no_loops() is None and _patched.why_no_processes() is None
