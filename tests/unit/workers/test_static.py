"""Workers whose function is static and runs in the process pool."""
import os
import signal
import threading

import pytest

from atasker_like import TT_MP, background_task, background_worker
from tests.support import PATIENCE
from tests.support.internals.worker import runner_of, session_of
from tests.support.threads import wait_for

from . import functions as w


def test_static_run_goes_to_a_process_when_there_are_any(supervisor):
    supervisor.create_mp_pool(processes=1)
    worker = w.InProcess(supervisor=supervisor, o="thing")
    worker.start(7)
    assert worker.wait_until_stop(2 * PATIENCE)
    assert len(worker.results) == 3 == worker.stats().runs
    pid, number, names, name, o = worker.results[0]
    assert pid != os.getpid() and number == 7 and name == worker.name and o == "thing"
    assert names == ["_name", "_task_id", "o"]


def test_static_run_without_a_process_pool_runs_in_a_thread(supervisor):
    worker = w.InProcess(supervisor=supervisor)
    worker.start(7)
    assert worker.wait_until_stop(PATIENCE)
    pid, number, names, _, _ = worker.results[0]
    assert pid == os.getpid() and names == ["_name", "_task_id", "_worker", "o"]


def test_decorated_function_stays_in_its_thread(supervisor):
    supervisor.create_mp_pool(processes=1)
    got = []

    @background_worker(supervisor=supervisor)
    def work():
        got.append(os.getpid())
        return False

    work.start()
    work.wait_until_stop(PATIENCE)
    assert got == [os.getpid()]


def test_false_from_a_process_stops_the_worker(supervisor):
    supervisor.create_mp_pool(processes=1)
    worker = w.FalseInProcess(supervisor=supervisor)
    worker.start()
    assert worker.wait_until_stop(2 * PATIENCE) and worker.stats().runs == 1


def test_queue_worker_with_static_run_uses_the_process_pool(supervisor, caplog):
    supervisor.create_mp_pool(processes=1)
    worker = w.QueueInProcess(supervisor=supervisor, o=10)
    worker.start()
    for item in (1, 2, -1, 3, 4):
        worker.put_threadsafe(item)
    assert worker.wait_until_stop(2 * PATIENCE)
    assert worker.results == [10, 20, 30, 40]
    assert worker.stats().failures == 1 and "raised ValueError" in caplog.text
    assert "Traceback" in caplog.text


def test_event_worker_with_static_run_uses_the_process_pool(supervisor):
    supervisor.create_mp_pool(processes=1)
    worker = w.EventInProcess(supervisor=supervisor)
    worker.start()
    worker.trigger_threadsafe()
    wait_for(lambda: getattr(worker, "results", None) and not worker.stats().running, "it ran",
             2 * PATIENCE)
    worker.trigger_threadsafe()
    assert worker.wait_until_stop(2 * PATIENCE)
    assert len(set(worker.results)) == 2 and all(worker.results)


def test_interval_worker_with_static_run_uses_the_process_pool(supervisor):
    supervisor.create_mp_pool(processes=1)
    worker = w.IntervalInProcess(supervisor=supervisor, interval=0.001)
    worker.start()
    assert worker.wait_until_stop(2 * PATIENCE)
    assert worker.results == ["ran", "ran"]


@pytest.mark.skipif(not hasattr(signal, "pause"), reason="POSIX")
def test_process_past_the_deadline_of_a_stop_is_ended(supervisor, tmp_path):
    supervisor.create_mp_pool(processes=1)
    path = str(tmp_path / "trace")
    worker = w.HeldInProcess(supervisor=supervisor)
    worker.start(path)
    worker.trigger_threadsafe()
    wait_for(lambda: os.path.exists(path), "it runs", 2 * PATIENCE)
    worker.stop(wait=0)
    assert worker.wait_until_stop(2 * PATIENCE)


@pytest.mark.skipif(not hasattr(signal, "pause"), reason="POSIX")
def test_process_of_a_run_whose_submission_has_not_returned_is_ended(supervisor, tmp_path):
    supervisor.create_mp_pool(processes=1)
    path = str(tmp_path / "trace")
    worker = w.HeldInProcess(supervisor=supervisor)
    worker.start(path)
    runner, stopped = runner_of(worker), threading.Event()
    start = runner.start

    def start_late(*args):
        task = start(*args)
        assert stopped.wait(2 * PATIENCE)
        return task

    runner.start = start_late
    worker.trigger_threadsafe()
    wait_for(lambda: os.path.exists(path), "it runs", 2 * PATIENCE)
    worker.stop(wait=0)
    stopped.set()
    assert worker.wait_until_stop(2 * PATIENCE)


@pytest.mark.parametrize("late", [False, True], ids=["submitted", "under submission"])
def test_stop_withdraws_a_run_that_waits_for_a_process_and_keeps_its_item(outside, late):
    outside.set_mp_pool(pool_size=1)
    gate = threading.Event()
    blocker = background_task(gate.wait, tt=TT_MP, supervisor=outside)(PATIENCE)
    worker = w.QueueInProcess(supervisor=outside, o=10)
    worker.start()
    runner = runner_of(worker)
    start, submitted = runner.start, threading.Event()

    def start_late(*args):
        task = start(*args)
        submitted.set()
        wait_for(lambda: not (late and worker.is_active()), "the stop has come")
        return task

    runner.start = start_late
    worker.put_threadsafe(1)
    assert submitted.wait(PATIENCE)
    wait_for(lambda: late or session_of(worker).task is not None, "its task is known")
    assert worker.stop(wait=PATIENCE) and worker.is_stopped()       # the slot is not free
    stats = worker.stats()
    assert (stats.runs, stats.waiting, blocker.done()) == (0, 1, False)
    gate.set()
    worker.start()
    worker.put_threadsafe(2)
    wait_for(lambda: worker.stats().runs == 2, "both items are handled")
    assert worker.results == [10, 20]
    worker.stop()


def test_run_withdrawn_before_its_end_is_watched_keeps_its_item(outside):
    outside.set_mp_pool(pool_size=1)
    gate = threading.Event()
    background_task(gate.wait, tt=TT_MP, supervisor=outside)(PATIENCE)
    worker = w.QueueInProcess(supervisor=outside, o=10)
    worker.start()
    session = session_of(worker)
    submitted = session.run_submitted

    def submitted_late(task):
        submitted(task)
        worker.stop(wait=False)
        states.append(task.wait(PATIENCE).status)

    states = []
    session.run_submitted = submitted_late
    worker.put_threadsafe(1)
    assert worker.wait_until_stop(PATIENCE)
    assert states == ["cancelled"] and (worker.stats().runs, worker.stats().waiting) == (0, 1)
    gate.set()
    worker.start()
    assert worker.join(PATIENCE) and worker.results == [10]


def test_argument_that_cannot_be_pickled_fails_the_run(supervisor, caplog):
    supervisor.create_mp_pool(processes=1)
    worker = w.QueueInProcess(supervisor=supervisor, o=1, max_restarts=0)
    worker.start()
    worker.put_threadsafe(threading.Lock())
    assert worker.wait_until_stop(2 * PATIENCE)
    assert "TaskPicklingError" in caplog.text
