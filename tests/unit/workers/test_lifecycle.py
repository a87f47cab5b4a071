"""Start, stop and restart of a worker."""
import asyncio
import threading

import pytest

from atasker_like import (BackgroundEventWorker, BackgroundWorker, SupervisorBusyError,
                          background_worker, current_task)
from tests.support import PATIENCE
from tests.support.interruptions import ROOMS, at_line, interrupt, with_room
from tests.support.threads import join, started, wait_for

from .tools import KINDS, Runs, ask, function


def test_worker_starts_and_stops(any_kind, runs):
    worker = any_kind(runs)
    assert worker.start() is True
    assert worker.is_active() and worker.is_started() in (True, False)
    ask(worker)
    assert runs.next() == any_kind.item
    assert worker.is_active() and worker.is_started() and not worker.is_stopped()
    assert worker.stop() is True
    assert not worker.is_active() and not worker.is_started() and worker.is_stopped()
    assert worker.wait_until_stop() is True


def test_start_twice_is_refused_and_does_nothing(any_kind, runs):
    worker = any_kind(runs)
    assert worker.start() is True
    assert worker.start() is False
    ask(worker)
    assert runs.next() == any_kind.item


def test_second_stop_of_a_worker_returns_false(any_kind, runs):
    worker = any_kind(runs)
    assert worker.stop() is False           # never started
    worker.start()
    assert worker.stop() is True
    assert worker.stop() is False
    assert worker.is_stopped()


def test_stop_waits_for_the_run(any_kind, held):
    worker = any_kind(held)
    worker.start()
    ask(worker)
    held.next()
    stopper = started(worker.stop)
    wait_for(lambda: not worker.is_active(), "the worker is told to stop")
    assert not worker.is_stopped() and stopper.is_alive()
    held.go()
    assert join(stopper) is True
    assert worker.is_stopped() and held.none()


def test_stop_without_wait_returns_before_the_run_ends(any_kind, held):
    worker = any_kind(held)
    worker.start()
    ask(worker)
    held.next()
    assert worker.stop(wait=False) is True
    assert not worker.is_active() and not worker.is_stopped()
    assert worker.wait_until_stop(0) is False
    held.go()
    assert worker.wait_until_stop(PATIENCE) and worker.is_stopped()


def test_stop_in_the_workers_own_run_does_not_wait(any_kind):
    answers = []

    def work(*item):
        answers.append(worker.stop())
        with pytest.raises(SupervisorBusyError, match="would wait for itself"):
            worker.wait_until_stop()

    worker = any_kind(work)
    worker.start()
    ask(worker)
    assert worker.wait_until_stop(PATIENCE)
    assert answers == [True]
    assert worker.stats().failures == 0


def test_stop_in_the_workers_own_loop_does_not_wait(supervisor):
    aloop = supervisor.create_aloop("a")

    async def work():
        await asyncio.Event().wait()

    worker = background_worker(work, supervisor=supervisor, loop="a")
    worker.start()
    wait_for(lambda: worker.last_executed, "it runs")

    async def stop():
        return worker.stop()

    assert aloop.run(stop()) is True         # it did not wait for its own loop
    worker.stop(wait=0)
    assert worker.wait_until_stop(PATIENCE)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_false_stops_the_worker(supervisor, form, kind):
    runs = Runs()
    runs.result = False
    worker = background_worker(form(runs), supervisor=supervisor, **KINDS[kind][1])
    worker.start()
    ask(worker)
    assert worker.wait_until_stop(PATIENCE)
    runs.next()
    assert not worker.is_active() and worker.stats().runs == 1


def test_only_false_itself_stops_the_worker(supervisor):
    results = [0, None, "", [], False]

    @background_worker(supervisor=supervisor)
    def work():
        return results.pop(0)

    work.start()
    assert work.wait_until_stop(PATIENCE)
    assert work.stats().runs == 5


def test_stopped_worker_can_be_started_again(any_kind, runs):
    worker = any_kind(runs)
    for _ in range(3):
        assert worker.start()
        ask(worker)
        runs.next()
        assert worker.stop()


def test_restart_stops_and_starts_the_worker(any_kind, runs):
    worker = any_kind(lambda *args: runs(*args))
    worker.start()
    ask(worker)
    runs.next()
    assert worker.restart() is True
    assert worker.is_active()
    ask(worker)
    runs.next()


def test_start_while_the_last_run_runs_waits_for_it(any_kind, held):
    worker = any_kind(lambda *args: held(args))
    worker.start()
    ask(worker)
    held.next()
    assert worker.restart(wait=False) is True
    assert worker.is_active() and not worker.is_started()
    ask(worker)
    assert held.none()                      # never two at a time
    held.go()
    ask(worker)
    held.next()
    assert worker.is_started()
    held.go(10)


def test_worker_restarts_itself(any_kind):
    runs = []
    restarted = threading.Event()

    def work(*args):
        runs.append(args)
        if len(runs) == 1:
            assert worker.restart("again") is True
            restarted.set()
        elif len(runs) == 2:
            return False

    worker = any_kind(work)
    worker.start()
    ask(worker)
    # else the wait below may be for the end of the first start
    assert restarted.wait(PATIENCE)
    wait_for(lambda: worker.is_started() or worker.is_stopped(), "the second start")
    ask(worker)
    assert worker.wait_until_stop(PATIENCE)
    assert runs == [any_kind.item, any_kind.item + ("again",)]


def test_start_that_waits_for_the_last_run_can_be_stopped(supervisor, held):
    worker = background_worker(held, supervisor=supervisor)
    worker.start()
    held.next()
    worker.restart(wait=False)
    assert worker.stop(wait=False) is True
    assert worker.restart(wait=False) is True
    assert worker.stop(wait=False) is True
    held.go()
    assert worker.wait_until_stop(PATIENCE)
    assert held.none() and supervisor.get_schedulers() == {}


def test_start_and_stop_hooks_are_called_in_order(any_kind):
    told = []
    worker = any_kind(lambda *item: told.append("run"))
    for hook in ("before_start", "after_start", "before_stop", "send_stop_events", "after_stop"):
        setattr(worker, hook,
                lambda hook=hook: told.append((hook, worker.is_active(), worker.is_stopped())))
    worker.start()
    worker.stop()
    steps = [step for step in told if step != "run"]
    assert steps[:3] == [("before_start", False, False), ("after_start", True, False),
                         ("before_stop", True, False)]
    # A run that ends by itself may be over, and after_stop() with it, while send_stop_events() is
    # called.
    assert sorted(step[:2] for step in steps[3:]) == [("after_stop", False),
                                                      ("send_stop_events", False)]
    assert ("after_stop", False, False) in steps and worker.is_stopped()


def test_hooks_of_a_worker_that_stops_itself_are_called(supervisor):
    told = []

    class Worker(BackgroundWorker):
        def run(self):
            return False

        def before_stop(self):
            told.append("before_stop")

        def after_stop(self):
            told.append("after_stop")
            self.stop()                     # no deadlock

    worker = Worker(supervisor=supervisor)
    worker.start()
    assert worker.wait_until_stop(PATIENCE)
    assert told == ["before_stop", "after_stop"]


def test_hook_that_raises_does_not_prevent_a_stop(any_kind, caplog):
    worker = any_kind(function)
    for hook in ("before_stop", "send_stop_events", "after_stop"):
        setattr(worker, hook, lambda: 1 / 0)
    worker.start()
    assert worker.stop() is True and worker.is_stopped()
    for hook in ("before_stop", "send_stop_events", "after_stop"):
        assert hook + " raised" in caplog.text


@pytest.mark.slow
def test_interrupt_at_any_line_of_stop_does_not_keep_the_worker_running(supervisor):
    number, was_so_long = 0, True
    while was_so_long:
        number += 1
        closed = []
        worker = BackgroundEventWorker(executor_func=function, supervisor=supervisor)
        worker.after_stop = lambda: closed.append(1)
        worker.start()
        try:
            was_so_long = at_line(number, interrupt, worker.stop)
        except KeyboardInterrupt:
            pass
        worker.stop(wait=False)     # the interrupt may have come before the first line of stop()
        assert worker.wait_until_stop(PATIENCE), number
        assert closed == [1], number


@pytest.mark.slow
def test_start_that_is_interrupted_at_any_line_can_be_stopped_and_repeated(any_kind):
    number, was_so_long = 0, True
    worker = any_kind(function)
    while was_so_long:
        number += 1
        try:
            was_so_long = at_line(number, interrupt, worker.start)
        except KeyboardInterrupt:
            pass
        worker.stop(wait=PATIENCE)
        assert worker.wait_until_stop(PATIENCE), number
        assert worker.supervisor.get_schedulers() == {}, number
        assert worker.start() is True and worker.stop(wait=PATIENCE) is True, number
        assert worker.wait_until_stop(PATIENCE), number


def test_start_that_hits_the_recursion_limit_can_be_stopped_and_repeated(any_kind):
    worker = any_kind(function)
    outcomes = set()
    for room in ROOMS:
        outcomes.add(with_room(room, worker.start))
        worker.stop(wait=PATIENCE)
        assert worker.wait_until_stop(PATIENCE), room
        assert worker.start() is True and worker.stop(wait=PATIENCE) is True, room
    assert outcomes == {False, True}


def test_before_start_can_refuse(any_kind):
    worker = any_kind(function)
    worker.before_start = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        worker.start()
    assert not worker.is_active() and worker.supervisor.get_schedulers() == {}
    assert worker.stop() is False
    del worker.before_start
    assert worker.start() is True


def test_stop_during_a_start_ends_the_worker(any_kind, runs):
    worker = any_kind(runs)
    worker.before_start = lambda: worker.stop()     # it does not wait for the start that it is in
    worker.start()
    assert worker.wait_until_stop(PATIENCE) and runs.none()


def test_start_by_two_threads_at_once_succeeds_once(any_kind, runs):
    worker = any_kind(runs)
    barrier = threading.Barrier(2)

    def start():
        barrier.wait(PATIENCE)
        return worker.start()

    assert sorted(join(thread) for thread in [started(start), started(start)]) == [False, True]


def test_run_past_the_deadline_of_a_stop_is_asked_to_end(supervisor):
    begun = threading.Event()

    async def work():
        begun.set()
        await asyncio.Event().wait()

    worker = background_worker(work, supervisor=supervisor, e=True)
    worker.start()
    worker.trigger_threadsafe()
    assert begun.wait(PATIENCE)
    worker.stop(wait=0)
    assert worker.wait_until_stop(PATIENCE)


def test_thread_that_checks_for_cancellation_ends_at_the_stop(supervisor, held):
    @background_worker(supervisor=supervisor)
    def work():
        held()
        current_task().check_cancelled()

    work.start()
    held.next()
    work.stop(wait=0)
    held.go()
    assert work.wait_until_stop(PATIENCE)
