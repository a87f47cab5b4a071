"""Errors of a worker's function, and when the worker goes on."""
import queue
import threading

import pytest

from atasker_like import background_worker
from tests.support import PATIENCE
from tests.support.scripts import without_late
from tests.support.threads import wait_for

from .tools import KINDS, ask, settled


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_error_is_logged_with_its_traceback_and_the_worker_goes_on(supervisor, form, kind, caplog):
    calls, go = queue.Queue(), threading.Event()

    def breaks(*item):
        calls.put(item)
        if calls.qsize() > 1:
            return not go.wait(PATIENCE)
        raise ZeroDivisionError("no luck")

    worker = background_worker(form(breaks), supervisor=supervisor,
                               name="unlucky", **KINDS[kind][1])
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
    (lambda told: lambda e, **kwargs: told.append((kwargs, type(e))), {"a": 1},
     ({"a": 1}, ZeroDivisionError)),
    (lambda told: lambda *, e: told.append(type(e)), None, ZeroDivisionError),
    (lambda told: lambda e: told.append(e), {"e": "own"}, "own"),
    (lambda told: lambda a: told.append((a, None)), {"a": 1}, (1, None)),
    (lambda told: lambda: told.append(()), None, ()),
])
def test_on_error_is_called_with_its_arguments(supervisor, form, handler, kwargs, expected, caplog):
    told = []
    worker = background_worker(form(lambda: 1 / 0), e=True, supervisor=supervisor,
                               on_error=handler(told), on_error_kwargs=kwargs)
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
    assert "its error handler raised" in caplog.text
    assert "worse" in caplog.text and worker.is_active()


def test_system_exit_of_the_function_is_an_error(supervisor, caplog):
    def leave():
        raise SystemExit(3)

    worker = background_worker(leave, e=True, supervisor=supervisor)
    worker.start()
    worker.trigger_threadsafe()
    wait_for(lambda: worker.stats().restarts, "it fails")
    assert "SystemExit" in caplog.text and worker.is_active()


def test_restart_never_stops_after_a_failure(any_kind, caplog):
    worker = any_kind(lambda *item: 1 / 0, restart="never")
    worker.start()
    ask(worker)
    assert worker.wait_until_stop(PATIENCE)
    assert worker.stats().failures == 1
    text = "is stopped: its function raised ZeroDivisionError, and it is not to be restarted"
    assert text in caplog.text


def test_restart_always_goes_on_after_false(supervisor, caplog):
    worker = background_worker(lambda: False, supervisor=supervisor, restart="always",
                               max_restarts=5)
    worker.start()
    assert worker.wait_until_stop(PATIENCE)
    assert (worker.stats().runs, worker.stats().restarts) == (6, 5)
    assert "is stopped: its function returned False, after 5 restart(s) within 60 s" in caplog.text


def test_max_restarts_stops_the_worker_within_the_period(any_kind, caplog):
    worker = any_kind(lambda *item: 1 / 0, max_restarts=2, on_error=lambda: None)
    worker.start()
    for failures in (1, 2, 3):
        ask(worker)
        wait_for(lambda: worker.stats().failures >= failures and not worker.stats().running
                 or worker.is_stopped(), "it fails")
    assert worker.wait_until_stop(PATIENCE)
    assert (worker.stats().failures, worker.stats().restarts) == (3, 2)
    assert "raised ZeroDivisionError, after 2 restart(s) within 60 s" in caplog.text


def test_restarts_outside_the_period_do_not_count(supervisor, clock):
    worker = background_worker(lambda: 1 / 0, e=True, supervisor=supervisor, max_restarts=1,
                               within=10, on_error=lambda: None)
    worker.start()
    for failures in (1, 2, 3):
        worker.trigger_threadsafe(force=True)
        wait_for(lambda: worker.stats().failures == failures and not worker.stats().running,
                 "it fails")
        assert worker.is_active()
        clock.forward(10)
    for _ in range(2):
        worker.trigger_threadsafe(force=True)
        settled(worker)
        wait_for(lambda: worker.stats().failures > failures, "it fails")
        failures = worker.stats().failures
    assert worker.wait_until_stop(PATIENCE)


# -- series of failures ----------------------------------------------------------------------------


def fails_then(runs, outcomes):
    """A function that does what the outcomes say, one after the other."""
    def run():
        runs()
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome
    return run


def test_plain_worker_that_fails_pauses_longer_each_time(supervisor, clock, runs, form):
    def outcomes():
        for _ in range(11):
            yield ValueError("at once")
        yield None
        while True:
            yield ValueError("again")

    worker = background_worker(form(fails_then(runs, outcomes())), supervisor=supervisor,
                               on_error=lambda: None)
    worker.start()
    runs.next()
    for pause in [0.01 * 2 ** n for n in range(9)] + [5.0, 5.0]:
        settled(worker)
        clock.forward(0.99 * pause)
        assert runs.none()
        clock.forward(0.02 * pause)
        runs.next()
    runs.next()                     # after the one that went well, at once
    settled(worker)
    assert worker.stats().failures == 12
    clock.forward(0.011)            # a series that begins begins with the shortest
    runs.next()
    settled(worker)
    assert worker.stop() is True and worker.is_stopped()       # in its pause


def test_false_and_restart_always_pauses_too(supervisor, clock, runs):
    runs.result = False
    worker = background_worker(runs, supervisor=supervisor, restart="always")
    worker.start()
    runs.next()
    settled(worker)
    clock.settle()
    assert runs.none()
    clock.forward(0.011)
    runs.next()


def test_failure_after_a_long_run_begins_a_new_series(supervisor, clock, runs, monkeypatch):
    from atasker_like.workers import runners

    worker = background_worker(fails_then(runs, iter(ValueError(n) for n in range(100))),
                               supervisor=supervisor, on_error=lambda: None)
    now = [0.0]

    def perf_counter():
        now[0] += 6.0               # each look at it is that much later
        return now[0]

    monkeypatch.setattr(runners, "perf_counter", perf_counter)
    worker.start()
    for _ in range(4):
        runs.next()
        settled(worker)
        clock.forward(0.011)
    runs.next()


@pytest.mark.parametrize("options", [{"q": True}, {"e": True}, {"interval": 1}, {"delay": 1}])
def test_workers_with_a_trigger_keep_it_after_a_failure(supervisor, clock, runs, options):
    def fails(*item):
        runs()
        raise ValueError("no matter")

    worker = background_worker(fails, supervisor=supervisor, on_error=lambda: None, **options)
    worker.start()
    for _ in range(3):
        if "q" in options:
            worker.put_threadsafe("item")
        elif "e" in options:
            worker.trigger_threadsafe()
        runs.next()
        settled(worker)
        clock.forward(1)
