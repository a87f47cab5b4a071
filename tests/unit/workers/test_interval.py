"""Interval workers: deadlines, and policies for late runs."""
import queue
import threading
import time

import pytest

from atasker_like import (BackgroundEventWorker, BackgroundIntervalWorker, InvalidArgumentError,
                          InvalidTypeError, _modes, background_worker)
from tests.support import PATIENCE
from tests.support.internals.worker import next_run_at
from tests.support.threads import wait_for

from .tools import function, settled


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


def test_delay_before_delays_each_run(supervisor, clock, runs):
    worker = background_worker(runs, delay_before=10, supervisor=supervisor)
    worker.start()
    for pause in (10, 11, 11):              # the default delay comes on top
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


def test_interval_worker_without_times_has_a_delay_of_one_second(supervisor):
    worker = BackgroundIntervalWorker(executor_func=function, supervisor=supervisor)
    assert (worker.interval, worker.delay, worker.delay_before) == (None, 1.0, None)


@pytest.mark.parametrize("first, override, times", [
    ({"interval": 1}, {"_interval": 2}, (2, 2, None)),
    ({"interval": 1}, {"_delay": 2}, (None, 2, None)),
    ({"interval": 1}, {"_delay_after": 2}, (None, 2, None)),
    ({"delay": 1}, {"_interval": 2, "_delay_before": 3}, (2, 2, 3)),
])
def test_start_replaces_the_values_of_the_worker(supervisor, clock, runs, first, override, times):
    worker = background_worker(runs, supervisor=supervisor, **first)
    worker.start(**override)
    assert (worker.interval, worker.delay, worker.delay_before) == times
    if not worker.delay_before:
        runs.next()


def test_restart_replaces_the_interval(supervisor, clock, runs):
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
    worker = background_worker(lambda: starts.append(clock.now), interval=0.1,
                               supervisor=supervisor)
    worker.start()
    wait_for(lambda: len(starts) == 1 and not worker.stats().running, "the first run")
    deadlines = []
    for count in range(50):
        clock.settle()
        deadlines.append(next_run_at(worker))
        clock.forward(deadlines[-1] - clock.now + 0.03)     # the timer is always late
        wait_for(lambda: len(starts) == count + 2 and not worker.stats().running, "the next run")
    assert deadlines == pytest.approx([1000 + 0.1 * (count + 1) for count in range(50)], abs=1e-9)
    assert worker.stats().missed == 0


@pytest.mark.parametrize("overlap, runs_at_once, missed, following", [
    ("skip", 0, 3, 4.5), ("coalesce", 1, 2, 4.5), ("queue", 3, 0, 4.5)])
def test_ticks_during_a_run_follow_the_overlap_policy(supervisor, clock, held, overlap,
                                                      runs_at_once, missed, following):
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


def test_interval_worker_can_be_triggered_in_between(supervisor, clock, runs):
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


def test_tick_during_a_triggered_run_is_skipped_and_counted(supervisor, clock, held):
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


def test_async_interval_worker_runs_in_a_loop(supervisor, clock):
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


# -- late runs -------------------------------------------------------------------------------------


class Timed:
    """A function that notes its starts, and lasts as long as the moved clock says."""

    def __init__(self, clock):
        self._clock = clock
        self.starts = queue.Queue()
        self.lasts = queue.Queue()

    def __call__(self, *item):
        self.starts.put(self._clock.now)
        self._clock.forward(self.lasts.get(timeout=PATIENCE))


@pytest.fixture
def timed(clock):
    return Timed(clock)


def starts_of(worker, clock, timed, lengths):
    """Run a worker with runs of these lengths; return the times of their starts."""
    begun = clock.now
    for seconds in lengths:
        timed.lasts.put(seconds)
    worker.start()
    starts = []
    while len(starts) <= len(lengths):
        wait_for(lambda: not timed.starts.empty() or not worker.stats().running,
                 "a run begins, or none runs")
        clock.settle()
        if not timed.starts.empty():
            starts.append(timed.starts.get() - begun)
        elif not worker.stats().running:
            clock.forward(max(0.0, next_run_at(worker) - clock.now))
    timed.lasts.put(0)
    worker.stop()
    return starts


@pytest.mark.parametrize("options, lengths, starts", [
    ({"interval": 10}, [4, 4, 4], [0, 10, 20, 30]),
    # the period counts from there
    ({"interval": 10}, [12, 12, 4, 4], [0, 12, 24, 34, 44]),
    ({"interval": 10}, [35, 1, 1], [0, 35, 45, 55]),
    ({"interval": 10}, [10, 10], [0, 10, 20]),
    ({"interval": 10, "overlap": "shift"}, [12, 4], [0, 12, 22]),
    ({"interval": 10, "overlap": "skip"}, [12, 4], [0, 20, 30]),
    ({"interval": 10, "overlap": "coalesce"}, [32, 1, 1], [0, 32, 40, 50]),
    ({"interval": 10, "overlap": "queue"}, [32, 1, 1, 1, 1], [0, 32, 33, 34, 40, 50]),
    ({"interval": 10, "delay_before": 3}, [1, 1], [3, 13, 23]),
    # never less than that before a run
    ({"interval": 10, "delay_before": 3}, [8, 12, 1], [3, 14, 29, 39]),
    ({"delay": 10}, [4, 4], [0, 14, 28]),
    ({"delay_after": 10}, [4, 4], [0, 14, 28]),
    ({"delay": 10, "delay_before": 3}, [4, 4], [3, 20, 37]),
    ({"delay_before": 3}, [4, 4], [3, 11, 19]),             # a delay of one second is added
    ({"i": True}, [4, 4], [0, 5, 10]),
])
def test_overlap_policies_decide_the_starts_after_long_runs(supervisor, clock, timed, form, options,
                                                            lengths, starts):
    worker = background_worker(form(timed), supervisor=supervisor, **options)
    assert starts_of(worker, clock, timed, lengths) == pytest.approx(starts)


def test_tick_in_a_triggered_run_is_followed_at_once(supervisor, clock, held):
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
    assert worker.stats().missed == 0 and next_run_at(worker) == 1021


def test_start_that_is_late_by_a_period_counts_from_there(supervisor, clock, timed):
    worker = background_worker(timed, interval=10, supervisor=supervisor)
    worker.start()
    for late in (0, 25, 9):
        timed.starts.get(timeout=PATIENCE)
        timed.lasts.put(0)
        settled(worker)
        clock.settle()
        clock.forward(next_run_at(worker) - clock.now + late)
    assert timed.starts.get(timeout=PATIENCE) == 1000 + 10 + (10 + 25) + (10 + 9)
    timed.lasts.put(0)
    settled(worker)
    # less than a period does not count
    assert next_run_at(worker) == 1000 + 10 + (10 + 25) + 20


@pytest.mark.parametrize("options", [{"interval": 0}, {"delay": 0}, {"delay_after": 0},
                                     {"interval": 0, "overlap": "skip"}])
def test_interval_of_zero_runs_without_a_pause(supervisor, clock, form, options):
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


def test_interval_of_zero_pauses_after_a_failure(supervisor, clock, runs):
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


def test_times_that_are_assigned_hold_from_the_next_run_on(supervisor, clock, timed):
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


# -- options of the decorator ----------------------------------------------------------------------


@pytest.mark.parametrize("options, message", [
    ({"intervall": 1}, "background_worker has no option 'intervall'; did you mean 'interval'"),
    ({"q": True, "interval": 1}, "interval= and q= exclude each other, since q= makes a "
                                 "BackgroundQueueWorker"),
    ({"e": True, "q": True}, "e= and q= exclude each other"),
    ({"overlap": "skip"}, "overlap= is for interval workers; give interval= or delay=, too"),
    ({"i": 0.5}, "i takes True, not 0.5; give the seconds as interval= or delay="),
])
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(InvalidTypeError, match=message):
        background_worker(function, **options)


def test_options_of_two_kinds_that_ask_for_nothing_are_no_conflict():
    assert type(background_worker(function, e=True, q=None, interval=None,
                                  i=False)) is BackgroundEventWorker


@pytest.mark.parametrize("options, delay, keeps", [
    ({"i": 0.5}, 1, False), ({"interval": 2, "delay": 3}, 2, True),
    ({"interval": 2, "i": True}, 2, True)])
def test_under_install_options_count_as_in_atasker(monkeypatch, options, delay, keeps):
    monkeypatch.setattr(_modes, "legacy", True)
    worker = background_worker(function, **options)
    assert (worker.delay, worker.keep_interval) == (delay, keeps)


def test_under_install_options_of_another_kind_are_ignored(monkeypatch):
    monkeypatch.setattr(_modes, "legacy", True)
    assert type(background_worker(function, e=True, interval=3)) is BackgroundEventWorker
