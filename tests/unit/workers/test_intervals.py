"""When interval workers run, by a clock that is moved."""
import queue
import threading

import pytest

from atasker_like import (BackgroundEventWorker, BackgroundIntervalWorker, InvalidArgumentError,
                          InvalidTypeError, _modes, background_worker)

from ...contract.conftest import clock  # noqa: F401
from ...contract.test_workers import Runs, form, function, held, runs, settled  # noqa: F401
from ...laws.tools import PATIENCE, wait_for


class Timed:
    """A function that notes when it is called, and takes as long as it is told by the clock that is moved."""

    def __init__(self, clock):      # noqa: F811
        self._clock = clock
        self.starts = queue.Queue()
        self.lasts = queue.Queue()

    def __call__(self, *item):
        self.starts.put(self._clock.now)
        self._clock.forward(self.lasts.get(timeout=PATIENCE))


@pytest.fixture
def timed(clock):     # noqa: F811
    return Timed(clock)


def starts_of(worker, clock, timed, lengths):     # noqa: F811
    """Run a worker with runs of these lengths; return when they began, counted from the start of the worker."""
    begun = clock.now
    for seconds in lengths:
        timed.lasts.put(seconds)
    worker.start()
    starts = []
    while len(starts) <= len(lengths):
        wait_for(lambda: not timed.starts.empty() or not worker.stats().running, "a run begins, or none runs")
        clock.settle()
        if not timed.starts.empty():
            starts.append(timed.starts.get() - begun)
        elif not worker.stats().running:
            clock.forward(max(0.0, worker._session.trigger._deadline - clock.now))
    timed.lasts.put(0)
    worker.stop()
    return starts


@pytest.mark.parametrize("options, lengths, starts", [
    ({"interval": 10}, [4, 4, 4], [0, 10, 20, 30]),
    ({"interval": 10}, [12, 12, 4, 4], [0, 12, 24, 34, 44]),                   # the period counts from there
    ({"interval": 10}, [35, 1, 1], [0, 35, 45, 55]),
    ({"interval": 10}, [10, 10], [0, 10, 20]),
    ({"interval": 10, "overlap": "shift"}, [12, 4], [0, 12, 22]),
    ({"interval": 10, "overlap": "skip"}, [12, 4], [0, 20, 30]),
    ({"interval": 10, "overlap": "coalesce"}, [32, 1, 1], [0, 32, 40, 50]),
    ({"interval": 10, "overlap": "queue"}, [32, 1, 1, 1, 1], [0, 32, 33, 34, 40, 50]),
    ({"interval": 10, "delay_before": 3}, [1, 1], [3, 13, 23]),
    ({"interval": 10, "delay_before": 3}, [8, 12, 1], [3, 14, 29, 39]),        # never less than that before a run
    ({"delay": 10}, [4, 4], [0, 14, 28]),
    ({"delay_after": 10}, [4, 4], [0, 14, 28]),
    ({"delay": 10, "delay_before": 3}, [4, 4], [3, 20, 37]),
    ({"delay_before": 3}, [4, 4], [3, 11, 19]),             # a delay of one second is added
    ({"i": True}, [4, 4], [0, 5, 10]),
])
def test_starts_of_runs_that_last(supervisor, clock, timed, form, options, lengths, starts):     # noqa: F811
    worker = background_worker(form(timed), supervisor=supervisor, **options)
    assert starts_of(worker, clock, timed, lengths) == pytest.approx(starts)


def test_a_tick_in_a_triggered_run_is_followed_at_once(supervisor, clock, held):     # noqa: F811
    worker = background_worker(held, interval=10, supervisor=supervisor)
    worker.start()
    held.next()
    held.go()
    settled(worker)
    clock.forward(9)
    worker.trigger_threadsafe()
    held.next()
    clock.forward(2)
    held.go(2)
    held.next()
    settled(worker)
    assert worker.stats().missed == 0 and worker._session.trigger._deadline == 1021


def test_a_start_that_is_late_by_a_period_counts_from_there(supervisor, clock, timed):     # noqa: F811
    worker = background_worker(timed, interval=10, supervisor=supervisor)
    worker.start()
    for late in (0, 25, 9):
        timed.starts.get(timeout=PATIENCE)
        timed.lasts.put(0)
        settled(worker)
        clock.settle()
        clock.forward(worker._session.trigger._deadline - clock.now + late)
    assert timed.starts.get(timeout=PATIENCE) == 1000 + 10 + (10 + 25) + (10 + 9)
    timed.lasts.put(0)
    settled(worker)
    assert worker._session.trigger._deadline == 1000 + 10 + (10 + 25) + 20         # less than a period does not count


@pytest.mark.parametrize("options", [{"interval": 0}, {"delay": 0}, {"delay_after": 0}, {"interval": 0, "overlap": "skip"}])
def test_zero_runs_without_a_pause(supervisor, clock, form, options):     # noqa: F811
    done = threading.Event()
    calls = []

    def work():
        calls.append(1)
        if len(calls) == 1000:
            done.set()
            return False

    worker = background_worker(form(work), supervisor=supervisor, **options)
    assert isinstance(worker, BackgroundIntervalWorker)
    worker.start()
    assert done.wait(PATIENCE) and worker.wait_until_stop(PATIENCE)
    assert worker.stats().runs == 1000


def test_zero_pauses_after_a_failure(supervisor, clock, runs):     # noqa: F811
    def fails():
        runs()
        raise ValueError("at once")

    worker = background_worker(fails, interval=0, supervisor=supervisor, on_error=lambda: None)
    worker.start()
    for pause in (0.01, 0.02, 0.04):
        runs.next()
        settled(worker)
        clock.settle()
        clock.forward(0.9 * pause)
        assert runs.none()
        clock.forward(0.11 * pause)
    runs.next()


def test_times_that_are_assigned_hold_from_the_next_run_on(supervisor, clock, timed):     # noqa: F811
    worker = background_worker(timed, interval=10, supervisor=supervisor)

    def turn(advance):
        started = timed.starts.get(timeout=PATIENCE)
        timed.lasts.put(1)
        settled(worker)
        clock.settle()
        clock.forward(advance)
        return started - 1000

    worker.start()
    assert turn(9) == 0
    worker.delay = 20
    assert (turn(19), worker.interval) == (10, 20)
    worker.keep_interval = False
    assert (turn(20), worker.interval) == (30, None)
    worker.delay_before = 5
    assert turn(25) == 51
    worker.interval = 10                    # the same as delay and keep_interval
    assert (turn(0), worker.delay, worker.keep_interval) == (77, 10, True)


@pytest.mark.parametrize("name", ["delay", "delay_before", "interval"])
def test_impossible_times_are_refused_where_they_are_assigned(name):
    worker = background_worker(function, interval=1)
    with pytest.raises(InvalidArgumentError, match=f"{name} takes seconds from 0 on, not -1"):
        setattr(worker, name, -1)
    with pytest.raises(InvalidTypeError, match=f"{name} takes seconds or a timedelta, not str"):
        setattr(worker, name, "1")


def test_under_install_a_subclass_uses_the_name_interval_for_its_own(monkeypatch):
    monkeypatch.setattr(_modes, "legacy", True)

    class Poller(BackgroundIntervalWorker):
        def __init__(self, **options):
            super().__init__(**options)
            self.interval = "5m"

    worker = Poller(interval=2)
    assert (worker.interval, worker.delay, worker.keep_interval) == ("5m", 2, True)


# -- options of the decorator --------------------------------------------------------------------------------------


@pytest.mark.parametrize("options, message", [
    ({"intervall": 1}, "background_worker has no option 'intervall'; did you mean 'interval'"),
    ({"q": True, "interval": 1}, "interval= and q= exclude each other, since q= makes a BackgroundQueueWorker"),
    ({"e": True, "q": True}, "e= and q= exclude each other"),
    ({"overlap": "skip"}, "overlap= is for interval workers; give interval= or delay=, too"),
    ({"i": 0.5}, "i takes True, not 0.5; give the seconds as interval= or delay="),
])
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(InvalidTypeError, match=message):
        background_worker(function, **options)


def test_options_of_two_kinds_that_ask_for_nothing_are_no_conflict():
    assert type(background_worker(function, e=True, q=None, interval=None, i=False)) is BackgroundEventWorker


@pytest.mark.parametrize("options, delay, keeps", [
    ({"i": 0.5}, 1, False), ({"interval": 2, "delay": 3}, 2, True), ({"interval": 2, "i": True}, 2, True)])
def test_under_install_options_count_as_in_atasker(monkeypatch, options, delay, keeps):
    monkeypatch.setattr(_modes, "legacy", True)
    worker = background_worker(function, **options)
    assert (worker.delay, worker.keep_interval) == (delay, keeps)


def test_under_install_options_of_another_kind_are_ignored(monkeypatch):
    monkeypatch.setattr(_modes, "legacy", True)
    assert type(background_worker(function, e=True, interval=3)) is BackgroundEventWorker
