"""Workers: each row of what applications know, for every kind; and bad input.

No test waits for time to pass: intervals are those of a clock that is moved, runs are held at gates.
"""
import asyncio
import os
import queue
import signal
import threading
import time

import pytest

from atasker_like import (TASK_HIGH, BackgroundAsyncWorker, BackgroundEventWorker,
                          BackgroundIntervalWorker, BackgroundQueueWorker, BackgroundWorker,
                          InvalidArgumentError, InvalidTypeError, SupervisorBusyError,
                          SupervisorStoppedError, background_task, background_worker, current_task)

from ..laws.tools import PATIENCE, join, merged, run_script, started, wait_for, without_late
from . import worker_functions as w

KINDS = {
    "plain": (BackgroundWorker, {}),
    "queue": (BackgroundQueueWorker, {"q": True}),
    "event": (BackgroundEventWorker, {"e": True}),
    "interval": (BackgroundIntervalWorker, {"interval": 1000}),
    "delay": (BackgroundIntervalWorker, {"delay": 1000}),
}


class Runs:
    """A function that says when it runs, and with what, and is held until it is let go."""

    def __init__(self, held=False):
        self.calls = queue.Queue()
        self._go = threading.Semaphore(0)
        self._held = held
        self.result = None

    def __call__(self, *args):
        self.calls.put(args)
        if self._held:
            assert self._go.acquire(timeout=2 * PATIENCE)
        return self.result

    def go(self, number=1):
        for _ in range(number):
            self._go.release()

    def next(self):
        """Wait for the next run and return its arguments."""
        return self.calls.get(timeout=PATIENCE)

    def none(self):
        return self.calls.empty()

    def release(self):
        self._held = False
        self.go(100)


@pytest.fixture
def runs():
    made = Runs()
    yield made
    made.release()


@pytest.fixture
def held():
    made = Runs(held=True)
    yield made
    made.release()


def settled(worker):
    """Wait until the worker's function does not run."""
    wait_for(lambda: not worker.stats().running, "the run ends")


@pytest.fixture(params=["thread", "loop"])
def form(request):
    """A function as it is, or as a coroutine function."""
    if request.param == "thread":
        return lambda function: function

    def wrap(function):
        async def run(*args):
            return function(*args)
        return run
    return wrap


def ask(worker):
    """Have a worker of any kind run its function once more, as far as it needs that."""
    if isinstance(worker, BackgroundQueueWorker):
        worker.put_threadsafe("item")
    elif isinstance(worker, BackgroundEventWorker):
        worker.trigger_threadsafe()


@pytest.fixture(params=sorted(KINDS))
def any_kind(request, supervisor):
    """Makes a worker of every kind, whose function gets no more than its item."""
    def make(function, **options):
        return background_worker(function, supervisor=supervisor, **{**KINDS[request.param][1], **options})

    make.item = ("item",) if request.param == "queue" else ()
    make.name = request.param
    return make


# -- making one ----------------------------------------------------------------------------------------------------


def function(*args):
    return None


async def coroutine_function(*args):
    return None


@pytest.mark.parametrize("options, kind", [
    ({}, BackgroundWorker),
    ({"q": True}, BackgroundQueueWorker), ({"queue": True}, BackgroundQueueWorker),
    ({"q": queue.Queue}, BackgroundQueueWorker), ({"q": asyncio.Queue}, BackgroundQueueWorker),
    ({"e": True}, BackgroundEventWorker), ({"event": True}, BackgroundEventWorker),
    ({"interval": 1}, BackgroundIntervalWorker), ({"delay": 1}, BackgroundIntervalWorker),
    ({"delay_before": 1}, BackgroundIntervalWorker), ({"delay": 0}, BackgroundIntervalWorker),
    ({"q": False, "e": None}, BackgroundWorker),
])
@pytest.mark.parametrize("target", [function, coroutine_function])
def test_the_decorator_chooses_the_class(options, kind, target):
    if kind is BackgroundWorker and target is coroutine_function:
        kind = BackgroundAsyncWorker
    assert type(background_worker(**options)(target)) is kind
    assert type(background_worker(target, **options)) is kind


def test_without_parentheses():
    @background_worker
    def work():
        pass

    assert type(work) is BackgroundWorker
    assert work.name == "_background_worker_work"
    assert not work.is_active() and not work.is_started() and not work.is_stopped()


def test_a_function_that_is_a_task_already(supervisor, runs):
    worker = background_worker(background_task(runs.__call__, supervisor=supervisor), e=True, supervisor=supervisor)
    worker.start()
    worker.trigger_threadsafe()
    assert runs.next() == ()


def test_the_classes_are_one_family():
    assert issubclass(BackgroundIntervalWorker, BackgroundEventWorker)
    assert issubclass(BackgroundEventWorker, BackgroundAsyncWorker)
    assert issubclass(BackgroundQueueWorker, BackgroundAsyncWorker)
    assert issubclass(BackgroundAsyncWorker, BackgroundWorker)


def test_names(supervisor):
    assert background_worker(function, name="x").name == "_background_worker_x"
    made_up = BackgroundWorker().name
    assert made_up.startswith("_background_worker_") and made_up != BackgroundWorker().name
    worker = BackgroundWorker()
    worker.set_name("later")
    assert worker.name == "_background_worker_later"


def test_daemon_is_ignored_with_a_warning(caplog):
    background_worker(function, daemon=True)
    assert "daemon" in caplog.text


def test_poll_delay_is_accepted():
    assert background_worker(function, poll_delay=7).poll_delay == 7


@pytest.mark.parametrize("make, error", [
    (lambda: background_worker(5), "background_worker takes a function, not int"),
    (lambda: background_worker(function, intervall=1), "did you mean 'interval'|has no option 'intervall'"),
    (lambda: BackgroundIntervalWorker(intervall=1), "did you mean 'interval'"),
    (lambda: background_worker(function, q=5), "q takes True or a queue class.*not 5"),
    (lambda: background_worker(function, q=queue.Queue()), "q takes True or a queue class"),
    (lambda: background_worker(function, q=dict), "dict has no put"),
    (lambda: background_worker(function, q=threading.Event), "Event has no put"),
    (lambda: background_worker(function, interval="1"), "interval takes seconds or a timedelta, not str"),
    (lambda: background_worker(function, interval=True), "interval takes seconds or a timedelta, not bool"),
    (lambda: background_worker(function, on_error=5), "on_error takes a callable, not int"),
    (lambda: background_worker(function, on_error=coroutine_function), "on_error takes a plain function"),
    (lambda: background_worker(function, supervisor=5), "supervisor takes a TaskSupervisor, not int"),
    (lambda: background_worker(function, priority="high"), "priority takes an integer, not str"),
    (lambda: background_worker(function, max_restarts="1"), "max_restarts takes an integer, not str"),
    (lambda: background_worker(function, name=5), "name takes a string, not int"),
    (lambda: BackgroundWorker(executor_func=5), "a worker takes a function, not int"),
])
def test_a_wrong_type_is_refused_where_it_is_passed(make, error):
    with pytest.raises(InvalidTypeError, match=error):
        make()


class Demanding(queue.Queue):
    def __init__(self, size):
        super().__init__(size)


@pytest.mark.parametrize("make, error", [
    (lambda: background_worker(function, interval=-1), "interval takes seconds from 0 on, not -1"),
    (lambda: background_worker(function, interval=float("nan")), "interval takes seconds from 0 on"),
    (lambda: background_worker(function, interval=float("inf")), "interval takes seconds from 0 on"),
    (lambda: background_worker(function, delay=-1), "delay takes seconds from 0 on, not -1"),
    (lambda: background_worker(function, delay_before=-1), "delay_before takes seconds from 0 on"),
    (lambda: background_worker(function, interval=1, delay=1), "interval and delay exclude each other"),
    (lambda: background_worker(function, interval=1, overlap="pile"), "overlap takes one of shift, skip, coalesce, queue"),
    (lambda: background_worker(function, restart="sometimes"), "restart takes one of always, on_failure, never"),
    (lambda: background_worker(function, max_restarts=-1), "max_restarts takes an integer 0 or more"),
    (lambda: background_worker(function, within=0), "within takes seconds above 0"),
])
def test_an_impossible_value_is_refused_where_it_is_passed(make, error):
    with pytest.raises(InvalidArgumentError, match=error):
        make()


def test_a_queue_class_that_needs_arguments():
    with pytest.raises(InvalidTypeError, match="needs no arguments; Demanding"):
        background_worker(function, q=Demanding)


# -- what the function gets ----------------------------------------------------------------------------------------


def test_the_function_gets_the_arguments_of_start(supervisor):
    got = []

    @background_worker(supervisor=supervisor)
    def work(a, b, *more, c, **rest):
        got.append((a, b, more, c, rest))
        return False

    work.start(1, 2, 3, c=4, d=5)
    work.wait_until_stop(PATIENCE)
    ((a, b, more, c, rest),) = got
    assert (a, b, more, c) == (1, 2, (3,), 4)
    assert rest.pop("_task_id")
    assert rest == {"d": 5, "_worker": work, "_name": work.name, "o": None}


@pytest.mark.parametrize("overrides, name, thing", [
    ({}, "_background_worker_work", "its own"),
    ({"_name": "other", "o": "another"}, "other", "another"),
])
def test_it_gets_what_its_signature_takes(supervisor, overrides, name, thing):
    got = []

    @background_worker(supervisor=supervisor, o="its own")
    def work(_name, o):
        got.append((_name, o))
        return False

    work.start(**overrides)
    work.wait_until_stop(PATIENCE)
    assert got == [(name, thing)]


def test_a_name_that_is_filled_by_position_is_not_given_again(supervisor):
    got = []

    @background_worker(q=True, supervisor=supervisor, o="not this")
    def work(o, **kwargs):
        got.append((o, "o" in kwargs))
        return False

    work.start()
    work.put_threadsafe("item")
    work.wait_until_stop(PATIENCE)
    assert got == [("item", False)]


def test_a_function_that_takes_nothing(supervisor):
    worker = background_worker(lambda: False, supervisor=supervisor)
    worker.start()
    assert worker.wait_until_stop(PATIENCE)


def test_a_coroutine_function_gets_the_same(supervisor):
    got = []

    @background_worker(supervisor=supervisor)
    async def work(a, _worker, _task_id, **kwargs):
        got.append((a, _worker, _task_id == current_task().id, sorted(kwargs)))
        return False

    work.start(1)
    work.wait_until_stop(PATIENCE)
    assert got == [(1, work, True, ["_name", "o"])]


def test_a_wrong_signature_is_a_clear_error_at_the_start(any_kind):
    def one(item=None, *, needed):
        raise AssertionError

    worker = any_kind(one)
    with pytest.raises(InvalidTypeError, match="cannot call its function .*one.*needed"):
        worker.start()
    assert not worker.is_active() and worker.stop() is False
    with pytest.raises(InvalidTypeError, match="cannot call its function"):
        worker.start(1, 2, 3, needed=1)
    assert worker.supervisor.get_schedulers() == {}


def test_nothing_to_run(supervisor):
    with pytest.raises(InvalidTypeError, match="BackgroundWorker has nothing to run: define run"):
        BackgroundWorker(supervisor=supervisor).start()


def test_its_priority_and_its_name_are_those_of_its_tasks(supervisor):
    got = []

    @background_worker(supervisor=supervisor, priority=TASK_HIGH)
    def work(_worker):
        task = current_task()
        got.append((task.priority, task.name, task.worker is _worker))
        return False

    work.start()
    work.wait_until_stop(PATIENCE)
    work.start(_priority=7)
    work.wait_until_stop(PATIENCE)
    assert got == [(TASK_HIGH, work.name, True), (7, work.name, True)]


# -- lifecycle -----------------------------------------------------------------------------------------------------


def test_start_and_stop(any_kind, runs):
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


def test_stop_twice(any_kind, runs):
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


def test_stop_without_waiting(any_kind, held):
    worker = any_kind(held)
    worker.start()
    ask(worker)
    held.next()
    assert worker.stop(wait=False) is True
    assert not worker.is_active() and not worker.is_stopped()
    assert worker.wait_until_stop(0) is False
    held.go()
    assert worker.wait_until_stop(PATIENCE) and worker.is_stopped()


def test_stop_from_inside_itself(any_kind):
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


def test_stop_from_inside_a_coroutine_of_its_own_loop(supervisor):
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
def test_false_stops_it(supervisor, form, kind):
    runs = Runs()
    runs.result = False
    worker = background_worker(form(runs), supervisor=supervisor, **KINDS[kind][1])
    worker.start()
    ask(worker)
    assert worker.wait_until_stop(PATIENCE)
    runs.next()
    assert not worker.is_active() and worker.stats().runs == 1


def test_only_false_itself_stops_it(supervisor):
    results = [0, None, "", [], False]

    @background_worker(supervisor=supervisor)
    def work():
        return results.pop(0)

    work.start()
    assert work.wait_until_stop(PATIENCE)
    assert work.stats().runs == 5


def test_it_can_be_started_again(any_kind, runs):
    worker = any_kind(runs)
    for _ in range(3):
        assert worker.start()
        ask(worker)
        runs.next()
        assert worker.stop()


def test_restart(any_kind, runs):
    worker = any_kind(lambda *args: runs(*args))
    worker.start()
    ask(worker)
    runs.next()
    assert worker.restart() is True
    assert worker.is_active()
    ask(worker)
    runs.next()


def test_restarted_while_it_runs_the_next_start_waits_for_the_run(any_kind, held):
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


def test_restart_from_inside_itself(any_kind):
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
    assert restarted.wait(PATIENCE)     # else what is waited for below may be the end of the first start
    wait_for(lambda: worker.is_started() or worker.is_stopped(), "the second start")
    ask(worker)
    assert worker.wait_until_stop(PATIENCE)
    assert runs == [any_kind.item, any_kind.item + ("again",)]


def test_a_start_that_waits_for_the_last_run_can_be_stopped(supervisor, held):
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


def test_the_hooks_come_in_their_order(any_kind):
    told = []
    worker = any_kind(lambda *item: told.append("run"))
    for hook in ("before_start", "after_start", "before_stop", "send_stop_events", "after_stop"):
        setattr(worker, hook, lambda hook=hook: told.append((hook, worker.is_active(), worker.is_stopped())))
    worker.start()
    worker.stop()
    steps = [step for step in told if step != "run"]
    assert steps[:3] == [("before_start", True, False), ("after_start", True, False), ("before_stop", True, False)]
    # A run that ends by itself may be over, and after_stop() with it, while send_stop_events() is called.
    assert sorted(step[:2] for step in steps[3:]) == [("after_stop", False), ("send_stop_events", False)]
    assert ("after_stop", False, False) in steps and worker.is_stopped()


def test_the_hooks_of_a_worker_that_stops_itself(supervisor):
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


def test_a_hook_that_raises_keeps_nothing_from_stopping(any_kind, caplog):
    worker = any_kind(function)
    for hook in ("before_stop", "send_stop_events", "after_stop"):
        setattr(worker, hook, lambda: 1 / 0)
    worker.start()
    assert worker.stop() is True and worker.is_stopped()
    for hook in ("before_stop", "send_stop_events", "after_stop"):
        assert hook + " raised" in caplog.text


def test_before_start_can_refuse(any_kind):
    worker = any_kind(function)
    worker.before_start = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        worker.start()
    assert not worker.is_active() and worker.supervisor.get_schedulers() == {}
    assert worker.stop() is False
    del worker.before_start
    assert worker.start() is True


def test_stopped_while_it_is_being_started(any_kind, runs):
    worker = any_kind(runs)
    worker.before_start = lambda: worker.stop()     # it does not wait for the start that it is in
    worker.start()
    assert worker.wait_until_stop(PATIENCE) and runs.none()


def test_two_threads_start_it_at_once(any_kind, runs):
    worker = any_kind(runs)
    barrier = threading.Barrier(2)

    def start():
        barrier.wait(PATIENCE)
        return worker.start()

    assert sorted(join(thread) for thread in [started(start), started(start)]) == [False, True]


def test_a_run_past_the_deadline_of_a_stop_is_asked_to_end(supervisor):
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


def test_a_thread_that_looks_learns_of_the_stop(supervisor, held):
    @background_worker(supervisor=supervisor)
    def work():
        held()
        current_task().check_cancelled()

    work.start()
    held.next()
    work.stop(wait=0)
    held.go()
    assert work.wait_until_stop(PATIENCE)


# -- errors, and restarts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_an_error_is_logged_with_its_traceback_and_the_worker_goes_on(supervisor, form, kind, caplog):
    calls, go = queue.Queue(), threading.Event()

    def breaks(*item):
        calls.put(item)
        if calls.qsize() > 1:
            return not go.wait(PATIENCE)
        raise ZeroDivisionError("no luck")

    worker = background_worker(form(breaks), supervisor=supervisor, name="unlucky", **KINDS[kind][1])
    worker.start()
    if kind in ("event", "queue"):
        ask(worker)
    wait_for(lambda: worker.stats().failures == 1, "it fails")
    if kind != "plain":
        settled(worker)
    assert worker.is_active()
    ask(worker)
    go.set()
    assert worker.wait_until_stop(PATIENCE)
    assert "worker _background_worker_unlucky: its function raised ZeroDivisionError" in caplog.text
    assert "in breaks" in caplog.text and "no luck" in caplog.text
    assert (worker.stats().runs, worker.stats().failures, worker.stats().restarts) == (2, 1, 1)


@pytest.mark.parametrize("handler, kwargs, expected", [
    (lambda told: lambda a, e: told.append((a, type(e))), {"a": 1}, (1, ZeroDivisionError)),
    (lambda told: lambda **kwargs: told.append(kwargs), {"a": 1}, {"a": 1}),
    (lambda told: lambda e, **kwargs: told.append((kwargs, type(e))), {"a": 1}, ({"a": 1}, ZeroDivisionError)),
    (lambda told: lambda *, e: told.append(type(e)), None, ZeroDivisionError),
    (lambda told: lambda e: told.append(e), {"e": "own"}, "own"),
    (lambda told: lambda a: told.append((a, None)), {"a": 1}, (1, None)),
    (lambda told: lambda: told.append(()), None, ()),
])
def test_on_error(supervisor, form, handler, kwargs, expected, caplog):
    told = []
    worker = background_worker(form(lambda: 1 / 0), e=True, supervisor=supervisor, on_error=handler(told),
                               on_error_kwargs=kwargs)
    worker.start()
    worker.trigger_threadsafe()
    wait_for(lambda: told, "on_error is called")
    assert told == [expected]
    settled(worker)
    assert worker.is_active() and without_late(caplog.text) == ""


def test_on_error_can_look_at_the_error_that_is_being_handled(supervisor):
    import sys

    told = []
    worker = background_worker(lambda: 1 / 0, e=True, supervisor=supervisor,
                               on_error=lambda: told.append(sys.exc_info()[0]))
    worker.start()
    worker.trigger_threadsafe()
    wait_for(lambda: told, "on_error is called")
    assert told == [ZeroDivisionError]


def test_on_error_that_raises_is_logged(supervisor, caplog):
    def on_error():
        raise KeyError("worse")

    worker = background_worker(lambda: 1 / 0, e=True, supervisor=supervisor, on_error=on_error)
    worker.start()
    worker.trigger_threadsafe()
    wait_for(lambda: worker.stats().restarts, "it fails")
    assert "its error handler raised" in caplog.text and "worse" in caplog.text and worker.is_active()


def test_even_system_exit_is_an_error(supervisor, caplog):
    def leave():
        raise SystemExit(3)

    worker = background_worker(leave, e=True, supervisor=supervisor)
    worker.start()
    worker.trigger_threadsafe()
    wait_for(lambda: worker.stats().restarts, "it fails")
    assert "SystemExit" in caplog.text and worker.is_active()


def test_restart_never(any_kind, caplog):
    worker = any_kind(lambda *item: 1 / 0, restart="never")
    worker.start()
    ask(worker)
    assert worker.wait_until_stop(PATIENCE)
    assert worker.stats().failures == 1
    assert "is stopped: its function raised ZeroDivisionError, and it is not to be restarted" in caplog.text


def test_restart_always_goes_on_after_false(supervisor, caplog):
    worker = background_worker(lambda: False, supervisor=supervisor, restart="always", max_restarts=5)
    worker.start()
    assert worker.wait_until_stop(PATIENCE)
    assert (worker.stats().runs, worker.stats().restarts) == (6, 5)
    assert "is stopped: its function returned False, after 5 restart(s) within 60 s" in caplog.text


def test_max_restarts(any_kind, caplog):
    worker = any_kind(lambda *item: 1 / 0, max_restarts=2, on_error=lambda: None)
    worker.start()
    for failures in (1, 2, 3):
        ask(worker)
        wait_for(lambda: worker.stats().failures >= failures and not worker.stats().running or worker.is_stopped(),
                 "it fails")
    assert worker.wait_until_stop(PATIENCE)
    assert (worker.stats().failures, worker.stats().restarts) == (3, 2)
    assert "raised ZeroDivisionError, after 2 restart(s) within 60 s" in caplog.text


def test_restarts_are_forgotten_with_time(supervisor, clock):
    worker = background_worker(lambda: 1 / 0, e=True, supervisor=supervisor, max_restarts=1, within=10,
                               on_error=lambda: None)
    worker.start()
    for failures in (1, 2, 3):
        worker.trigger_threadsafe(force=True)
        wait_for(lambda: worker.stats().failures == failures and not worker.stats().running, "it fails")
        assert worker.is_active()
        clock.forward(10)
    for _ in range(2):
        worker.trigger_threadsafe(force=True)
        settled(worker)
        wait_for(lambda: worker.stats().failures > failures, "it fails")
        failures = worker.stats().failures
    assert worker.wait_until_stop(PATIENCE)


# -- async workers -------------------------------------------------------------------------------------------------


def test_an_async_worker_runs_in_the_loop_it_is_given(supervisor):
    aloop = supervisor.create_aloop("mine")
    got = []

    async def work():
        got.append(asyncio.get_running_loop())
        return False

    for loop in ("mine", aloop, aloop.get_loop()):
        worker = background_worker(work, supervisor=supervisor, loop=loop)
        worker.start()
        assert worker.wait_until_stop(PATIENCE)
    other = supervisor.create_aloop("other")
    worker.start(_loop="other")
    assert worker.wait_until_stop(PATIENCE)
    assert got == [aloop.get_loop()] * 3 + [other.get_loop()]


def test_without_one_it_runs_in_the_default_loop(supervisor):
    got = []

    async def work():
        got.append(asyncio.get_running_loop())
        return False

    worker = background_worker(work, supervisor=supervisor)
    worker.start()
    assert worker.wait_until_stop(PATIENCE)
    default = supervisor.create_aloop("default", default=True)
    worker.start()
    assert worker.wait_until_stop(PATIENCE)
    assert got == [supervisor.event_loop, default.get_loop()]


@pytest.mark.parametrize("loop, error, message", [
    ("nowhere", InvalidArgumentError, "no loop is named 'nowhere'"),
    (5, InvalidTypeError, "loop takes the name of a loop, an ALoop or an asyncio loop, not int"),
])
def test_an_unknown_loop_is_an_error_at_the_start(supervisor, loop, error, message):
    worker = background_worker(coroutine_function, supervisor=supervisor, loop=loop)
    with pytest.raises(error, match=message):
        worker.start()
    assert not worker.is_active() and worker.stop() is False


def test_a_loop_that_is_not_active_is_an_error_at_the_start(supervisor):
    supervisor.create_aloop("idle", start=False)
    worker = background_worker(coroutine_function, supervisor=supervisor, loop="idle")
    with pytest.raises(SupervisorStoppedError, match="'idle' is not active"):
        worker.start()
    assert not worker.is_active()


def test_a_worker_whose_loop_has_been_closed_stops_and_says_so(supervisor, caplog):
    aloop = supervisor.create_aloop("short")
    worker = background_worker(coroutine_function, e=True, supervisor=supervisor, loop="short")
    worker.start()
    aloop.stop()
    worker.trigger_threadsafe()
    assert worker.wait_until_stop(PATIENCE)
    assert "is stopped" in caplog.text


def test_others_in_the_loop_have_their_turn(supervisor):
    aloop = supervisor.create_aloop("a")
    worker = background_worker(coroutine_function, supervisor=supervisor, loop="a")
    worker.start()

    async def other():
        return worker.stats().runs

    assert aloop.run(other()) >= 0           # although the function never waits
    worker.stop()


def test_async_def_run_in_a_class(supervisor):
    class Worker(BackgroundAsyncWorker):
        async def run(self, word):
            self.word = word
            return False

    worker = Worker(supervisor=supervisor)
    worker.start("hello")
    assert worker.wait_until_stop(PATIENCE) and worker.word == "hello"


def test_a_plain_function_in_an_async_worker_runs_in_a_thread(supervisor, runs):
    runs.result = False
    worker = BackgroundAsyncWorker(executor_func=runs, supervisor=supervisor)
    worker.start(1)
    assert worker.wait_until_stop(PATIENCE) and runs.next() == (1,)


# -- places and threads --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["queue", "event", "interval", "delay"])
def test_one_that_waits_occupies_no_place_and_no_thread(make_supervisor, kind):
    supervisor = make_supervisor(pool_size=1, reserve_normal=0, reserve_high=0)
    options = dict(KINDS[kind][1])
    if "interval" in options or "delay" in options:
        options["delay_before"] = 1000
    workers = [background_worker(function, supervisor=supervisor, **options) for _ in range(100)]
    for worker in workers:
        assert worker.start()
    assert supervisor.put_task(len, ("ab",)).value(PATIENCE) == 2
    assert supervisor._supervisor_parts.pools.threads.thread_count() == 1
    assert supervisor.stats().active == 0 and supervisor.get_tasks() == {}


def test_a_plain_worker_leaves_its_place_to_others_that_wait(make_supervisor):
    supervisor = make_supervisor(pool_size=1, reserve_normal=0, reserve_high=0)
    worker = background_worker(lambda: None, supervisor=supervisor)
    worker.start()
    assert supervisor.put_task(len, ("ab",)).value(PATIENCE) == 2
    assert worker.stop()


def test_a_run_needs_no_room_in_a_full_queue(make_supervisor, held, runs):
    supervisor = make_supervisor(pool_size=1, reserve_normal=0, reserve_high=0)
    supervisor.set_thread_pool(max_queued=1, on_full="raise")
    supervisor.put_task(held)
    held.next()
    supervisor.put_task(len, ("ab",))
    worker = background_worker(runs, e=True, supervisor=supervisor)
    worker.start()
    assert worker.trigger_threadsafe()
    held.go()
    assert runs.next() == ()


def test_its_context_is_that_of_the_start(supervisor):
    from contextvars import ContextVar

    variable = ContextVar("variable", default="unset")
    got = []

    @background_worker(supervisor=supervisor)
    def work():
        got.append(variable.get())
        return False

    variable.set("set")
    work.start()
    work.wait_until_stop(PATIENCE)
    assert got == ["set"]


def test_a_cancelled_run_is_no_end(make_supervisor, held, runs):
    supervisor = make_supervisor(pool_size=1, reserve_normal=0, reserve_high=0)
    blocker = supervisor.put_task(held)
    held.next()
    worker = background_worker(runs, e=True, supervisor=supervisor)
    worker.start()
    worker.trigger_threadsafe()
    wait_for(lambda: supervisor.stats().waiting == 1, "its task waits")
    (task,) = [task for task in supervisor.get_tasks().values() if task.worker is worker]
    assert task.cancel()
    wait_for(lambda: not worker.stats().running, "it notices")
    held.go()
    blocker.wait(PATIENCE)
    assert worker.is_active() and runs.none()
    assert worker.trigger_threadsafe() and runs.next() == ()


def test_a_plain_worker_whose_task_is_cancelled_before_it_began_stops(make_supervisor, held, runs):
    supervisor = make_supervisor(pool_size=1, reserve_normal=0, reserve_high=0)
    supervisor.put_task(held)
    held.next()
    worker = background_worker(runs, supervisor=supervisor)
    worker.start()
    wait_for(lambda: supervisor.stats().waiting == 1, "its task waits")
    assert supervisor.cancel_waiting() == 1
    assert worker.wait_until_stop(PATIENCE) and runs.none()


def test_a_task_declared_completed_early_is_not_followed_by_a_second_run(supervisor, held):
    worker = background_worker(held, e=True, supervisor=supervisor)
    worker.start()
    worker.trigger_threadsafe()
    held.next()
    (task,) = supervisor.get_tasks().values()
    assert task.mark_completed()
    assert worker.trigger_threadsafe(force=True)
    assert held.none()
    held.go()
    held.next()
    held.go()


def test_a_worker_that_is_over_holds_nothing(supervisor):
    import weakref

    class Thing:
        pass

    thing = Thing()
    gone = weakref.ref(thing)
    worker = background_worker(lambda item: None, q=True, supervisor=supervisor)
    worker.start()
    worker.put_threadsafe(thing)
    del thing
    wait_for(lambda: worker.stats().runs == 1, "it runs")
    settled(worker)
    merged(lambda: gone() is None)
    wait_for(lambda: gone() is None, "the item is let go")


# -- queue workers -------------------------------------------------------------------------------------------------

QUEUES = [True, queue.Queue, queue.LifoQueue, queue.PriorityQueue, queue.SimpleQueue, asyncio.Queue,
          asyncio.LifoQueue, asyncio.PriorityQueue]


@pytest.mark.parametrize("kind", QUEUES, ids=lambda kind: getattr(kind, "__name__", "own"))
def test_items_of_each_kind_of_queue(supervisor, form, kind):
    got = []
    gate = threading.Event()

    def work(item):
        if item == 0:
            assert gate.wait(PATIENCE)
        got.append(item)
        return len(got) < 5

    worker = background_worker(form(work), q=kind, supervisor=supervisor)
    worker.start()
    worker.put_threadsafe(0)
    wait_for(lambda: worker.stats().running and not worker.get_queue_obj().qsize(), "the first is taken")
    for item in (2, 1, 4, 3):
        worker.put_threadsafe(item)
    assert worker.get_queue_obj().qsize() == worker.stats().waiting == 4
    gate.set()
    assert worker.wait_until_stop(PATIENCE)
    name = getattr(kind, "__name__", "own")
    assert got == [0] + ([3, 4, 1, 2] if "Lifo" in name else [1, 2, 3, 4] if "Priority" in name else [2, 1, 4, 3])
    if kind is not True:
        assert isinstance(worker.get_queue_obj(), kind)


@pytest.mark.parametrize("kind", QUEUES, ids=lambda kind: getattr(kind, "__name__", "own"))
def test_each_way_to_put(supervisor, kind):
    got = queue.Queue()
    worker = background_worker(lambda item: got.put(item), q=kind, supervisor=supervisor)
    worker.start()
    worker.put_threadsafe(1)
    assert got.get(timeout=PATIENCE) == 1
    worker.get_queue_obj().put_nowait(2)
    assert got.get(timeout=PATIENCE) == 2

    async def put():
        await worker.put(3)

    asyncio.run(put())
    assert got.get(timeout=PATIENCE) == 3

    async def put_itself():
        pending = worker.get_queue_obj().put(4)
        if hasattr(pending, "__await__"):
            await pending

    supervisor.create_aloop("a").run(put_itself())
    assert got.get(timeout=PATIENCE) == 4
    if getattr(worker.get_queue_obj(), "join", None) and kind in (queue.Queue, queue.PriorityQueue):
        assert join(started(worker.get_queue_obj().join)) is None


def test_the_own_queue_is_one():
    worker = background_worker(function, q=True)
    inbox = worker.get_queue_obj()
    assert inbox.empty() and not inbox.full() and inbox.qsize() == 0
    inbox.put(1)
    inbox.put_nowait(2)
    assert not inbox.empty() and inbox.qsize() == 2
    assert (inbox.get_nowait(), inbox.get_nowait()) == (1, 2)
    with pytest.raises(queue.Empty):
        inbox.get_nowait()


def test_join_of_an_asyncio_queue(supervisor):
    got = []
    aloop = supervisor.create_aloop("a")
    worker = background_worker(got.append, q=asyncio.Queue, supervisor=supervisor, loop="a")
    worker.start()
    for item in range(100):
        worker.put_threadsafe(item)
    aloop.run(worker.get_queue_obj().join())
    assert got == list(range(100))


class Narrow(asyncio.Queue):
    def __init__(self):
        super().__init__(1)


class NarrowThreads(queue.Queue):
    def __init__(self):
        super().__init__(1)


def test_a_bounded_queue_of_asyncio(supervisor, held):
    aloop = supervisor.create_aloop("a")
    worker = background_worker(held, q=Narrow, supervisor=supervisor, loop="a")
    worker.start()
    worker.put_threadsafe(0)
    held.next()
    worker.put_threadsafe(1)
    worker.put_threadsafe(2)                # accepted, and put when there is room
    assert worker.stats().waiting == 2
    wait_for(lambda: worker.get_queue_obj()._worker_putters, "it waits for room")
    waiting = aloop.background_task(worker.put(3))
    assert not waiting.done()
    held.go(4)
    waiting.value(PATIENCE)
    assert [held.next() for _ in range(3)] == [(1,), (2,), (3,)]


def test_a_bounded_queue_of_asyncio_is_filled_from_several_loops(supervisor):
    got = []
    worker = background_worker(got.append, q=Narrow, supervisor=supervisor)
    worker.start()

    async def produce(name):
        for number in range(50):
            await worker.put((name, number))

    producers = [started(asyncio.run, asyncio.wait_for(produce(name), PATIENCE)) for name in "ab"]
    for producer in producers:
        join(producer)
    wait_for(lambda: len(got) == 100, "all have been dealt with")
    assert [[number for name, number in got if name == wanted] for wanted in "ab"] == [list(range(50))] * 2


def test_a_bounded_queue_of_threads(supervisor, held):
    worker = background_worker(held, q=NarrowThreads, supervisor=supervisor)
    worker.start()
    worker.put_threadsafe(0)
    held.next()
    worker.put_threadsafe(1)
    putter = started(worker.put_threadsafe, 2)
    with pytest.raises(queue.Full):
        asyncio.run(worker.put(3))
    held.go(3)
    join(putter)
    assert (held.next(), held.next()) == ((1,), (2,))


def test_none_is_an_item_like_any_other(supervisor, runs):
    worker = background_worker(runs, q=True, supervisor=supervisor)
    worker.start()
    worker.put_threadsafe(None)
    assert runs.next() == (None,) and worker.is_active()


def test_what_is_put_before_the_start_waits_for_it(supervisor, runs):
    worker = background_worker(runs, q=True, supervisor=supervisor)
    worker.put_threadsafe(1)
    assert runs.none() and worker.stats().waiting == 1
    worker.start()
    assert runs.next() == (1,)


def test_what_is_left_at_the_stop_waits_for_the_next_start(supervisor, held):
    worker = background_worker(held, q=True, supervisor=supervisor)
    worker.start()
    for item in range(3):
        worker.put_threadsafe(item)
    held.next()
    stopper = started(worker.stop)
    wait_for(lambda: not worker.is_active(), "it is told to stop")
    held.go()
    join(stopper)
    assert held.none() and worker.stats().waiting == 2
    worker.start()
    held.go(2)
    assert (held.next(), held.next()) == ((1,), (2,))


def test_the_hooks_around_an_item(supervisor):
    told = []

    class Worker(BackgroundQueueWorker):
        def run(self, item):
            told.append(("run", item))
            return False

        def before_queue_get(self):
            told.append("before")

        def after_queue_get(self, task):
            told.append(("after", task))

    worker = Worker(supervisor=supervisor)
    worker.start()
    worker.put_threadsafe(1)
    assert worker.wait_until_stop(PATIENCE)
    assert told == ["before", ("after", 1), ("run", 1)]


def test_items_of_many_threads_keep_the_order_of_each(supervisor):
    got = []
    done = threading.Event()

    def work(item):
        got.append(item)
        if len(got) == 4000:
            done.set()

    worker = background_worker(work, q=True, supervisor=supervisor)
    worker.start()

    def put(number):
        for count in range(1000):
            worker.put_threadsafe((number, count))

    for thread in [started(put, number) for number in range(4)]:
        join(thread)
    assert done.wait(PATIENCE)
    for number in range(4):
        assert [count for who, count in got if who == number] == list(range(1000))


def test_the_queue_is_there_from_the_start_on(supervisor):
    class Unborn(BackgroundQueueWorker):
        pass

    worker = Unborn(executor_func=function, q=asyncio.Queue, supervisor=supervisor)
    worker._queue = None
    with pytest.raises(InvalidArgumentError, match="from its first start on"):
        worker.get_queue_obj()
    worker.put_threadsafe(1)                # it waits for the start
    assert worker.stats().waiting == 1
    worker.start()
    assert isinstance(worker.get_queue_obj(), asyncio.Queue)
    assert worker.join(PATIENCE) and worker.stats().runs == 1


# -- event workers -------------------------------------------------------------------------------------------------


def test_a_trigger_runs_it(supervisor, runs):
    worker = background_worker(runs, e=True, supervisor=supervisor)
    assert worker.trigger_threadsafe() is False         # not started
    worker.start(1)
    assert worker.trigger_threadsafe() is True
    assert runs.next() == (1,)
    settled(worker)
    assert asyncio.run(worker.trigger()) is True
    assert runs.next() == (1,)


def test_triggers_while_it_runs_are_nothing_unless_forced(supervisor, held):
    worker = background_worker(held, e=True, supervisor=supervisor)
    worker.start()
    worker.trigger_threadsafe()
    held.next()
    assert worker.trigger_threadsafe() is False
    assert worker.trigger_threadsafe(force=True) is True
    assert asyncio.run(worker.trigger(force=True)) is True      # the two are one
    held.go(2)
    held.next()
    settled(worker)
    assert held.none() and worker.stats().runs == 2


def test_triggered_from_inside_itself(supervisor):
    answers = []

    @background_worker(e=True, supervisor=supervisor)
    def work(_worker):
        answers.append(_worker.trigger_threadsafe())
        if len(answers) < 4:
            answers.append(_worker.trigger_threadsafe(force=True))

    work.start()
    work.trigger_threadsafe()
    wait_for(lambda: len(answers) == 5, "three runs")
    settled(work)
    assert answers == [False, True, False, True, False] and work.stats().runs == 3


def test_the_event_object(supervisor, held):
    worker = background_worker(held, e=True, supervisor=supervisor)
    event = worker.get_event_obj()
    event.set()
    event.clear()
    assert event.is_set() is False          # not started
    worker.start()
    event.set()
    held.next()
    assert not event.is_set()
    event.set()
    assert event.is_set()
    event.clear()
    held.go()
    settled(worker)
    assert held.none() and worker.stats().runs == 1


# -- interval workers ----------------------------------------------------------------------------------------------


def test_interval_is_from_start_to_start(supervisor, clock, held):
    worker = background_worker(held, interval=10, supervisor=supervisor)
    worker.start()
    held.next()                             # the first at once
    clock.forward(4)                        # the run takes so long
    held.go()
    settled(worker)
    clock.forward(5.9)
    assert held.none()
    clock.forward(0.1)
    held.next()
    held.go()


def test_delay_is_from_end_to_start(supervisor, clock, held):
    worker = background_worker(held, delay=10, supervisor=supervisor)
    worker.start()
    held.next()
    clock.forward(4)
    held.go()
    settled(worker)
    clock.forward(9.9)
    assert held.none()
    clock.forward(0.1)
    held.next()
    held.go()


def test_delay_before(supervisor, clock, runs):
    worker = background_worker(runs, delay_before=10, supervisor=supervisor)
    worker.start()
    for pause in (10, 11, 11):              # beside it there is the default delay
        clock.settle()
        settled(worker)
        clock.settle()
        clock.forward(pause - 0.1)
        assert runs.none()
        clock.forward(0.1)
        runs.next()


def test_delay_before_is_a_part_of_the_interval(supervisor, clock, runs):
    worker = background_worker(runs, delay_before=3, interval=10, supervisor=supervisor)
    worker.start()
    clock.settle()
    clock.forward(2.9)
    assert runs.none()
    clock.forward(0.1)
    runs.next()
    settled(worker)
    clock.settle()
    clock.forward(9.9)
    assert runs.none()
    clock.forward(0.1)
    runs.next()


def test_without_any_time_it_is_one_second_from_end_to_start(supervisor):
    worker = BackgroundIntervalWorker(executor_func=function, supervisor=supervisor)
    assert (worker.interval, worker.delay, worker.delay_before) == (None, 1.0, None)


@pytest.mark.parametrize("first, override, times", [
    ({"interval": 1}, {"_interval": 2}, (2, 2, None)),
    ({"interval": 1}, {"_delay": 2}, (None, 2, None)),
    ({"interval": 1}, {"_delay_after": 2}, (None, 2, None)),
    ({"delay": 1}, {"_interval": 2, "_delay_before": 3}, (2, 2, 3)),
])
def test_start_overrides(supervisor, clock, runs, first, override, times):
    worker = background_worker(runs, supervisor=supervisor, **first)
    worker.start(**override)
    assert (worker.interval, worker.delay, worker.delay_before) == times
    if not worker.delay_before:
        runs.next()


def test_restart_with_another_interval(supervisor, clock, runs):
    worker = background_worker(runs, interval=10, supervisor=supervisor)
    worker.start()
    runs.next()
    assert worker.restart(_interval=3)
    runs.next()
    settled(worker)
    clock.settle()
    clock.forward(3)
    runs.next()
    with pytest.raises(InvalidArgumentError, match="interval takes seconds from 0 on"):
        worker.restart(_interval=-1)
    assert not worker.is_active() and worker.is_stopped()
    assert worker.interval == 3


@pytest.mark.parametrize("override", ["_interval", "_delay", "_delay_before"])
def test_times_are_for_interval_workers(supervisor, override):
    with pytest.raises(InvalidTypeError, match=override + "= is for interval workers"):
        background_worker(function, supervisor=supervisor).start(**{override: 1})


def test_intervals_do_not_drift(supervisor, clock):
    starts = []
    worker = background_worker(lambda: starts.append(clock.now), interval=0.1, supervisor=supervisor)
    worker.start()
    wait_for(lambda: len(starts) == 1 and not worker.stats().running, "the first run")
    deadlines = []
    for count in range(50):
        clock.settle()
        deadlines.append(worker._session.trigger._deadline)
        clock.forward(deadlines[-1] - clock.now + 0.03)     # the timer is always late
        wait_for(lambda: len(starts) == count + 2 and not worker.stats().running, "the next run")
    assert deadlines == pytest.approx([1000 + 0.1 * (count + 1) for count in range(50)], abs=1e-9)
    assert worker.stats().missed == 0


@pytest.mark.parametrize("overlap, runs_at_once, missed, following", [
    ("skip", 0, 3, 4.5), ("coalesce", 1, 2, 4.5), ("queue", 3, 0, 4.5)])
def test_ticks_that_come_while_it_runs(supervisor, clock, held, overlap, runs_at_once, missed, following):
    worker = background_worker(held, interval=10, overlap=overlap, supervisor=supervisor)
    worker.start()
    held.next()
    clock.forward(35.5)                     # ticks at 10, 20 and 30
    assert held.none()
    held.go(1 + runs_at_once)
    for _ in range(runs_at_once):
        held.next()
    settled(worker)
    assert held.none()
    assert worker.stats().missed == missed
    clock.settle()
    clock.forward(following - 0.1)
    assert held.none()
    clock.forward(0.1)
    held.next()
    held.go()


def test_an_interval_worker_can_be_triggered_in_between(supervisor, clock, runs):
    worker = background_worker(runs, interval=10, supervisor=supervisor)
    worker.start()
    runs.next()
    settled(worker)
    clock.forward(4)
    assert worker.trigger_threadsafe()
    runs.next()
    settled(worker)
    clock.settle()
    clock.forward(5.9)
    assert runs.none()
    clock.forward(0.1)                      # the tick is where it was
    runs.next()


def test_a_tick_that_comes_while_a_triggered_run_is_on(supervisor, clock, held):
    worker = background_worker(held, interval=10, overlap="skip", supervisor=supervisor)
    worker.start()
    held.next()
    held.go()
    settled(worker)
    clock.forward(9)
    worker.trigger_threadsafe()
    held.next()
    clock.forward(2)
    held.go()
    settled(worker)
    assert worker.stats().missed == 1
    clock.settle()
    clock.forward(8.9)
    assert held.none()
    clock.forward(0.1)
    held.next()
    held.go()


def test_async_interval_workers(supervisor, clock):
    runs = queue.Queue()

    async def work():
        runs.put(clock.now)

    worker = background_worker(work, interval=10, supervisor=supervisor)
    worker.start()
    assert runs.get(timeout=PATIENCE) == 1000
    for due in (1010, 1020):
        settled(worker)
        clock.settle()
        clock.forward(10)
        assert runs.get(timeout=PATIENCE) == due


def test_last_executed_is_a_perf_counter_reading(supervisor, runs):
    worker = background_worker(runs, e=True, supervisor=supervisor)
    assert worker.last_executed == 0
    before = time.perf_counter()
    worker.start()
    worker.trigger_threadsafe()
    runs.next()
    assert before <= worker.last_executed <= time.perf_counter()


# -- processes -----------------------------------------------------------------------------------------------------


def test_a_static_run_goes_to_a_process_when_there_are_any(supervisor):
    supervisor.create_mp_pool(processes=1)
    worker = w.InProcess(supervisor=supervisor, o="thing")
    worker.start(7)
    assert worker.wait_until_stop(2 * PATIENCE)
    assert len(worker.results) == 3 == worker.stats().runs
    pid, number, names, name, o = worker.results[0]
    assert pid != os.getpid() and number == 7 and name == worker.name and o == "thing"
    assert names == ["_name", "_task_id", "o"]


def test_without_a_process_pool_it_runs_in_a_thread(supervisor):
    worker = w.InProcess(supervisor=supervisor)
    worker.start(7)
    assert worker.wait_until_stop(PATIENCE)
    pid, number, names, _, _ = worker.results[0]
    assert pid == os.getpid() and names == ["_name", "_task_id", "_worker", "o"]


def test_a_decorated_function_stays_in_its_thread(supervisor):
    supervisor.create_mp_pool(processes=1)
    got = []

    @background_worker(supervisor=supervisor)
    def work():
        got.append(os.getpid())
        return False

    work.start()
    work.wait_until_stop(PATIENCE)
    assert got == [os.getpid()]


def test_false_from_a_process_stops_it(supervisor):
    supervisor.create_mp_pool(processes=1)
    worker = w.FalseInProcess(supervisor=supervisor)
    worker.start()
    assert worker.wait_until_stop(2 * PATIENCE) and worker.stats().runs == 1


def test_queue_worker_in_a_process(supervisor, caplog):
    supervisor.create_mp_pool(processes=1)
    worker = w.QueueInProcess(supervisor=supervisor, o=10)
    worker.start()
    for item in (1, 2, -1, 3, 4):
        worker.put_threadsafe(item)
    assert worker.wait_until_stop(2 * PATIENCE)
    assert worker.results == [10, 20, 30, 40]
    assert worker.stats().failures == 1 and "raised ValueError" in caplog.text and "Traceback" in caplog.text


def test_event_worker_in_a_process(supervisor):
    supervisor.create_mp_pool(processes=1)
    worker = w.EventInProcess(supervisor=supervisor)
    worker.start()
    worker.trigger_threadsafe()
    wait_for(lambda: getattr(worker, "results", None) and not worker.stats().running, "it ran", 2 * PATIENCE)
    worker.trigger_threadsafe()
    assert worker.wait_until_stop(2 * PATIENCE)
    assert len(set(worker.results)) == 2 and all(worker.results)


def test_interval_worker_in_a_process(supervisor):
    supervisor.create_mp_pool(processes=1)
    worker = w.IntervalInProcess(supervisor=supervisor, interval=0.001)
    worker.start()
    assert worker.wait_until_stop(2 * PATIENCE)
    assert worker.results == ["ran", "ran"]


@pytest.mark.skipif(not hasattr(signal, "pause"), reason="POSIX")
def test_a_process_past_the_deadline_of_a_stop_is_ended(supervisor, tmp_path):
    supervisor.create_mp_pool(processes=1)
    path = str(tmp_path / "trace")
    worker = w.HeldInProcess(supervisor=supervisor)
    worker.start(path)
    worker.trigger_threadsafe()
    wait_for(lambda: os.path.exists(path), "it runs", 2 * PATIENCE)
    worker.stop(wait=0)
    assert worker.wait_until_stop(2 * PATIENCE)


def test_what_cannot_cross_is_an_error_of_the_run(supervisor, caplog):
    supervisor.create_mp_pool(processes=1)
    worker = w.QueueInProcess(supervisor=supervisor, o=1, max_restarts=0)
    worker.start()
    worker.put_threadsafe(threading.Lock())
    assert worker.wait_until_stop(2 * PATIENCE)
    assert "TaskPicklingError" in caplog.text


# -- the supervisor ------------------------------------------------------------------------------------------------


def test_starting_one_starts_its_supervisor(make_supervisor, runs):
    supervisor = make_supervisor()
    background_worker(runs, e=True, supervisor=supervisor).start()
    assert supervisor.is_active


def test_stopping_the_supervisor_stops_its_workers(any_kind, runs):
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


def test_stopping_it_without_its_schedulers_ends_them_too(any_kind, runs):
    worker = any_kind(runs)
    worker.start()
    ask(worker)
    runs.next()
    worker.supervisor.stop(stop_schedulers=False)
    assert worker.wait_until_stop(PATIENCE)
    assert not worker.is_active()


def test_the_supervisors_stop_calls_the_hooks(supervisor):
    told = []
    worker = background_worker(function, e=True, supervisor=supervisor)
    worker.before_stop = lambda: told.append("before_stop")
    worker.after_stop = lambda: told.append("after_stop")
    worker.start()
    supervisor.stop()
    assert told == ["before_stop", "after_stop"] and worker.is_stopped()


def test_the_supervisors_stop_waits_for_the_run(supervisor, held):
    worker = background_worker(held, supervisor=supervisor)
    worker.start()
    held.next()
    stopper = started(supervisor.stop)
    wait_for(lambda: not worker.is_active(), "it is told")
    held.go()
    assert join(stopper).complete and worker.is_stopped()


def test_a_run_that_does_not_end_is_given_up_with_the_others(supervisor, held):
    worker = background_worker(held, supervisor=supervisor)
    worker.start()
    held.next()
    report = supervisor.stop(wait=0)
    assert report.complete and report.abandoned == 1
    held.go()
    assert worker.wait_until_stop(PATIENCE)


def test_a_worker_that_stops_its_supervisor(supervisor):
    worker = background_worker(lambda: supervisor.stop(), supervisor=supervisor)
    worker.start()
    assert worker.wait_until_stop(PATIENCE)
    supervisor.block()
    assert not supervisor.is_active


def test_leaving_it_to_the_exit_of_the_interpreter():
    out = run_script("""
from atasker_like import background_worker
import queue

runs = queue.Queue()
workers = [background_worker(lambda *item: runs.put("ran"), name="w%d" % number, **options)
           for number, options in enumerate([{}, {"q": True}, {"e": True}, {"interval": 0.001}, {"delay": 1}])]
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
@pytest.mark.parametrize("deed", ["worker.stop(wait=False)", "worker.trigger_threadsafe(force=True)",
                                  "items.put_threadsafe(1)", "supervisor.stop(wait=False)", "worker.stop()",
                                  "worker.restart(wait=False)"])
def test_from_a_signal_handler_at_any_line(deed):
    """The handler comes again and again while the main thread submits, triggers, puts and starts."""
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


def test_stats(supervisor, runs):
    worker = background_worker(runs, e=True, supervisor=supervisor, name="counted")
    stats = worker.stats()
    assert stats.as_dict() == {
        "name": "_background_worker_counted", "active": False, "running": False, "runs": 0, "failures": 0, "missed": 0,
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


def test_a_stop_that_comes_into_the_middle_of_a_trigger(supervisor, monkeypatch):
    """As from a signal handler: it waits, and what it has interrupted does not go on before it returns."""
    worker = background_worker(function, e=True, supervisor=supervisor)
    worker.start()
    timer = supervisor._supervisor_parts.pools.timer
    call_at = timer.call_at

    def interrupted(*args):
        monkeypatch.setattr(timer, "call_at", call_at)
        stopped.append(worker.stop(wait=PATIENCE) and worker.is_stopped())
        return call_at(*args)

    stopped = []
    monkeypatch.setattr(timer, "call_at", interrupted)
    worker.trigger_threadsafe()
    assert stopped == [True]


def test_a_start_in_the_middle_of_a_start(supervisor, runs):
    """As from a signal handler: there is one shift in the end, whoever comes last."""
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


def test_the_supervisor_ends_the_shift_before_the_last_one_too(supervisor, clock):
    worker = background_worker(function, e=True, supervisor=supervisor)
    worker.start()
    clock.settle()                      # the timer has come to the shift, and found nothing to do
    first = worker._session
    step, first.step = first.step, lambda: None        # the timer does not come to it any more
    worker.restart(wait=False)
    assert worker.is_active() and not worker.is_started()
    first.step = step
    supervisor.stop()
    assert first.done and worker.is_stopped()
