"""Workers at the start, the stop and the exit of their supervisor."""
import os
import signal
from threading import get_ident

import pytest

from atasker_like import (TASK_HIGH, TASK_NORMAL, BackgroundIntervalWorker, BackgroundWorker,
                          SupervisorStoppedError, background_worker, current_task)
from tests.support import PATIENCE
from tests.support.gates import Hold
from tests.support.internals.engine import timer_thread_of
from tests.support.internals.worker import MAKE_TRIGGER, next_loop_of, session_of
from tests.support.scripts import run_script
from tests.support.threads import join, later, started, wait_for

from ...support.internals import manager
from .tools import ask, function, settled


def test_start_of_a_worker_starts_its_supervisor(make_supervisor, runs):
    supervisor = make_supervisor()
    background_worker(runs, e=True, supervisor=supervisor).start()
    assert supervisor.is_active


def test_new_priority_of_a_worker_holds_from_the_next_run_on(supervisor):
    priorities = []

    def note():
        priorities.append(current_task().priority)
        worker.priority = TASK_HIGH

    worker = BackgroundIntervalWorker(executor_func=note, interval=0.01, supervisor=supervisor)
    worker.start()
    wait_for(lambda: len(priorities) > 2, "three runs")
    worker.stop()
    assert priorities[:3] == [TASK_NORMAL, TASK_HIGH, TASK_HIGH]


def test_stop_of_the_supervisor_stops_its_workers(any_kind, runs):
    worker = any_kind(runs)
    supervisor = worker.supervisor
    worker.start()
    assert worker in supervisor.get_schedulers() and worker in supervisor.get_info().schedulers
    assert supervisor.get_info(schedulers=False).schedulers == {}
    report = supervisor.stop()
    assert report.complete
    assert worker.is_stopped() and not worker.is_active()
    assert supervisor.get_schedulers() == {}
    with pytest.raises(SupervisorStoppedError, match="has been stopped"):
        worker.start()
    supervisor.start()
    assert worker.start()


def test_stop_without_schedulers_ends_workers_too(any_kind, runs):
    worker = any_kind(runs)
    worker.start()
    ask(worker)
    runs.next()
    worker.supervisor.stop(stop_schedulers=False)
    assert worker.wait_until_stop(PATIENCE)
    assert not worker.is_active()


def test_supervisors_stop_calls_the_hooks(supervisor):
    told = []
    worker = background_worker(function, e=True, supervisor=supervisor)
    worker.before_stop = lambda: told.append("before_stop")
    worker.after_stop = lambda: told.append("after_stop")
    worker.start()
    supervisor.stop()
    assert told == ["before_stop", "after_stop"] and worker.is_stopped()


def test_supervisors_stop_waits_for_the_run(supervisor, held):
    worker = background_worker(held, supervisor=supervisor)
    worker.start()
    held.next()
    stopper = started(supervisor.stop)
    wait_for(lambda: not worker.is_active(), "it is told")
    held.go()
    assert join(stopper).complete and worker.is_stopped()


def test_run_that_does_not_end_is_abandoned_by_the_stop(supervisor, held):
    worker = background_worker(held, supervisor=supervisor)
    worker.start()
    held.next()
    report = supervisor.stop(wait=0)
    assert report.complete and report.abandoned == 1
    held.go()
    assert worker.wait_until_stop(PATIENCE)


def test_worker_that_stops_its_supervisor_ends(supervisor):
    worker = background_worker(lambda: supervisor.stop(), supervisor=supervisor)
    worker.start()
    assert worker.wait_until_stop(PATIENCE)
    supervisor.block()
    assert not supervisor.is_active


def test_exit_of_the_interpreter_ends_a_worker():
    out = run_script("""
from atasker_like import background_worker
import queue

runs = queue.Queue()
workers = [background_worker(lambda *item: runs.put("ran"), name="w%d" % number, **options)
           for number, options in enumerate([{}, {"q": True}, {"e": True}, {"interval": 0.001},
                                             {"delay": 1}])]
async def co():
    runs.put("ran")
workers.append(background_worker(co))
for worker in workers:
    worker.start()
runs.get(timeout=10)
print("left")
""")
    assert out == "left\n"


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="POSIX")
@pytest.mark.parametrize("deed",
                         ["worker.stop(wait=False)", "worker.trigger_threadsafe(force=True)",
                          "items.put_threadsafe(1)", "supervisor.stop(wait=False)",
                          "worker.stop()",
                          "worker.restart(wait=False)"])
def test_workers_are_used_from_a_signal_handler_at_any_line(deed):
    """The handler interrupts submits, triggers, puts and starts of the main thread."""
    out = run_script("""
import signal, sys
from atasker_like import TaskSupervisor, background_worker, background_task
from atasker_like import SupervisorStoppedError
supervisor = TaskSupervisor()
count = 0
worker = background_worker(lambda: None, e=True, supervisor=supervisor)
items = background_worker(lambda item: None, q=True, supervisor=supervisor)
task = background_task(len, supervisor=supervisor)

def handler(*_):
    global count
    count += 1
    try:
        """ + deed + """
    except SupervisorStoppedError:
        pass
    finally:
        if count < 60:
            signal.setitimer(signal.ITIMER_REAL, 0.0005)

supervisor.start()
worker.start()
items.start()
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.0005)
while count < 60:
    try:
        worker.start()
        worker.trigger_threadsafe()
        items.put_threadsafe(2)
        task("abc")
    except SupervisorStoppedError:
        pass
supervisor.stop()
worker.wait_until_stop()
items.wait_until_stop()
print(worker.is_active(), items.is_active(), supervisor.get_schedulers())
""")
    assert out == "False False {}\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX")
def test_after_a_fork_the_workers_are_the_parents():
    out = run_script("""
import os, threading
from atasker_like import background_worker
done = threading.Event()
worker = background_worker(lambda: done.set(), e=True)
worker.start()
worker.trigger_threadsafe()
done.wait(10)
done.clear()
pid = os.fork()
if not pid:
    assert not worker.is_active() and worker.stop() is False
    assert worker.start() and worker.trigger_threadsafe() and done.wait(10)
    worker.stop()
    os._exit(7)
assert os.waitpid(pid, 0)[1] >> 8 == 7
assert worker.is_active() and worker.trigger_threadsafe() and done.wait(10)
print("both")
""")
    assert out == "both\n"


def test_stats_show_the_counts(supervisor, runs):
    worker = background_worker(runs, e=True, supervisor=supervisor, name="counted")
    stats = worker.stats()
    assert stats.as_dict() == {
        "name": "_background_worker_counted", "active": False, "running": False, "runs": 0,
        "failures": 0, "missed": 0,
        "restarts": 0, "waiting": 0, "last_executed": None, "last_duration": None}
    with pytest.raises(AttributeError, match="snapshot"):
        stats.runs = 5
    worker.start()
    worker.trigger_threadsafe()
    runs.next()
    settled(worker)
    stats = worker.stats()
    assert (stats.active, stats.runs, stats.last_executed) == (True, 1, worker.last_executed)
    assert stats.last_duration >= 0
    assert "active" in repr(worker)


def test_stop_in_the_middle_of_a_trigger_ends_the_worker(supervisor, monkeypatch):
    """A stop that interrupts a trigger, as in a signal handler, waits for the end."""
    worker = background_worker(function, e=True, supervisor=supervisor)
    worker.start()
    timer = manager(supervisor).timer
    call_at = timer.call_at

    def interrupted(*args):
        monkeypatch.setattr(timer, "call_at", call_at)
        stopped.append(worker.stop(wait=PATIENCE) and worker.is_stopped())
        return call_at(*args)

    stopped = []
    monkeypatch.setattr(timer, "call_at", interrupted)
    worker.trigger_threadsafe()
    assert stopped == [True]


def test_start_that_interrupts_a_start_is_refused(supervisor, runs):
    """A stop that interrupts a trigger, as in a signal handler, waits for the end."""
    worker = background_worker(runs, e=True, supervisor=supervisor)
    register = supervisor.register_sync_scheduler

    def interrupted(scheduler):
        supervisor.register_sync_scheduler = register
        answers.append(worker.start())
        answers.append(worker.restart(wait=False))
        return register(scheduler)

    answers = []
    supervisor.register_sync_scheduler = interrupted
    assert worker.start() is True
    assert answers == [False, True] and worker.is_active()
    wait_for(worker.is_started, "the restart has begun")
    assert worker.trigger_threadsafe()
    runs.next()
    assert worker.stop() and supervisor.get_schedulers() == {}


def test_stop_of_the_supervisor_ends_the_predecessor_session_too(supervisor, clock):
    worker = background_worker(function, e=True, supervisor=supervisor)
    worker.start()
    clock.settle()                      # the timer has called the session, which had nothing to do
    first = session_of(worker)
    step, first.step = first.step, lambda: None        # the timer does not come to it any more
    worker.restart(wait=False)
    assert worker.is_active() and not worker.is_started()
    first.step = step
    supervisor.stop()
    assert first.done and worker.is_stopped()


def test_start_that_ends_after_the_stop_of_the_supervisor_ends_its_worker(supervisor):
    hold = Hold()

    class Late(BackgroundWorker):
        def before_start(self):
            hold()

        def run(self):
            pass

    worker = Late(supervisor=supervisor)
    starter = started(worker.start)
    hold.reached()
    assert supervisor.stop(wait=PATIENCE).complete
    hold.go()
    join(starter)
    assert worker.wait_until_stop(PATIENCE)
    assert worker not in supervisor.get_schedulers()


def test_worker_whose_former_run_outlives_the_supervisor_ends_with_it(supervisor):
    hold = Hold()
    worker = background_worker(hold, supervisor=supervisor)
    worker.start()
    hold.reached()
    worker.stop(wait=False)
    assert worker.start()                   # after the run
    supervisor.stop(wait=0)
    hold.go()
    assert worker.wait_until_stop(PATIENCE)
    assert worker not in supervisor.get_schedulers()


def test_start_that_comes_too_late_changes_nothing(supervisor):
    hold = Hold()

    class Late(BackgroundIntervalWorker):
        def __hash__(self):
            if get_ident() == starter.ident:
                hold()
            return id(self)

        def run(self):
            pass

    worker = Late(interval=1000, supervisor=supervisor)
    starter = later(lambda: worker.start(_interval=500, _priority=TASK_HIGH, _loop="other"))
    starter.begin()
    hold.reached()
    assert worker.start(_interval=2000)
    hold.go()
    assert join(starter) is False
    assert (worker.interval, worker.priority, next_loop_of(worker)) == (2000, TASK_NORMAL, None)


def test_start_that_comes_while_the_supervisor_stops_starts_no_timer(supervisor):
    hold = Hold()
    worker = background_worker(function, e=True, supervisor=supervisor)
    make_trigger = MAKE_TRIGGER.of(worker)
    MAKE_TRIGGER.put(worker, lambda loop: (hold(), make_trigger(loop))[1])
    supervisor.start()
    starter = started(worker.start)
    hold.reached()
    assert supervisor.stop(wait=PATIENCE).complete
    hold.go()
    assert isinstance(join(starter), SupervisorStoppedError)
    assert timer_thread_of(manager(supervisor).timer) is None and worker.is_stopped()
    supervisor.start()
    assert worker.start() and worker.stop()
