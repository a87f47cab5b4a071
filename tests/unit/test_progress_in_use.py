"""progress= of waits, maps and queues: what a function gets, and what moves the bar."""
import asyncio
import io
import logging
import threading

import pytest

from atasker_like import (AsyncQueue, InvalidTypeError, ProcessQueue, ThreadQueue, WaitTimeoutError,
                          _progress as progress_module, amap, background_task, co_wait_completed,
                          current_task, pmap, report_progress, tmap, wait_completed)
from atasker_like.engine.reports import observers
from tests.support import PATIENCE
from tests.support.internals.progress import progress_calls, set_called_at
from tests.unit import functions
from tests.unit.test_progress import Terminal


@pytest.fixture(autouse=True)
def every_change(monkeypatch):
    """Show each change at once, and leave nothing behind."""
    monkeypatch.setattr(progress_module, "BAR_EVERY", 0.0)
    monkeypatch.setenv("NO_COLOR", "1")
    yield
    assert not observers


class Seen:
    """A progress function that keeps its calls, and lets a test wait for one."""

    def __init__(self):
        self.calls = []
        self.changed = threading.Condition()

    def __call__(self, done, total, failed):
        with self.changed:
            self.calls.append((done, total, failed))
            self.changed.notify_all()

    def wait_for(self, *call):
        with self.changed:
            return self.changed.wait_for(lambda: call in self.calls, PATIENCE)

    def check(self, total, failed=0):
        numbers = [done for done, _, _ in self.calls]
        assert numbers == sorted(numbers) and len(set(self.calls)) == len(self.calls)
        assert self.calls[-1] == (total, total, failed)
        assert type(self.calls[-1][0]) is int


def half(number):
    if number == 3:
        raise ValueError("three")
    return number / 2


async def co_half(number):
    return half(number)


# -- what takes it ---------------------------------------------------------------------------------


def test_wait_completed_calls_the_function():
    seen = Seen()
    tasks = [background_task(half)(number) for number in range(5)]
    assert wait_completed(tasks, progress=seen) == [0, 0.5, 1, None, 2]
    seen.check(5, failed=1)
    tasks[3].exception()


def test_wait_completed_of_one_task_calls_the_function():
    seen = Seen()
    assert wait_completed(background_task(half)(4), progress=seen) == 2
    seen.check(1)


def test_co_wait_completed_calls_the_function():
    seen = Seen()

    async def main():
        return await co_wait_completed([background_task(half)(n) for n in (1, 2)], progress=seen)

    assert asyncio.run(main()) == [0.5, 1]
    seen.check(2)


@pytest.mark.parametrize("options", [{}, {"size": 2, "workers": 1}])
def test_tmap_calls_the_function(options):
    seen = Seen()
    assert tmap(half, range(3), progress=seen, **options) == (0, 0.5, 1)
    seen.check(3)


@pytest.mark.parametrize("options", [{}, {"size": 2, "workers": 1}])
def test_amap_calls_the_function(options):
    seen = Seen()
    assert asyncio.run(amap(co_half, range(3), progress=seen, **options)) == (0, 0.5, 1)
    seen.check(3)


def test_amap_of_an_async_iterable_calls_the_function():
    seen = Seen()

    async def items():
        for number in range(3):
            yield number

    assert asyncio.run(amap(co_half, items(), progress=seen)) == (0, 0.5, 1)
    seen.check(3)


@pytest.mark.slow
def test_pmap_and_process_queues_call_the_function():
    seen = Seen()
    assert pmap(abs, [-1, 2], progress=seen) == (1, 2)
    seen.check(2)
    seen, queue = Seen(), ProcessQueue()
    queue.map(abs, [-1, 2, -3])
    assert queue.run(progress=seen).values == (1, 2, 3)
    seen.check(3)


def test_run_and_join_of_a_queue_call_the_function():
    seen, queue = Seen(), ThreadQueue()
    queue.map(half, range(4))
    assert queue.run(progress=seen).failed == 1
    seen.check(4, failed=1)
    seen = Seen()
    queue.map(half, [1, 2])
    queue.join(progress=seen)
    seen.check(2)
    queue.shutdown()


def test_run_and_join_of_an_async_queue_call_the_function():
    first, second = Seen(), Seen()

    async def main():
        queue = AsyncQueue()
        queue.map(co_half, range(3))
        await queue.run(progress=first)
        queue.map(co_half, [1, 2])
        await queue.join(progress=second)
        await queue.shutdown()

    asyncio.run(main())
    first.check(3)
    second.check(2)


@pytest.mark.parametrize("buffersize", [None, 1, 2, 100])
def test_map_of_a_decorated_function_calls_the_function(buffersize):
    seen = Seen()
    results = background_task(half).map(iter(range(3)), buffersize=buffersize, progress=seen)
    assert list(results) == [0, 0.5, 1]
    seen.check(3)
    seen = Seen()
    assert list(background_task(pow).starmap([(2, 3), (2, 4)], buffersize, seen)) == [8, 16]
    seen.check(2)
    assert {total for _, total, _ in seen.calls} == {2}


def test_map_that_is_not_exhausted_shows_its_last_state_and_cancels_the_rest():
    seen, gate = Seen(), threading.Event()

    def first(number):
        return number if number == 0 else gate.wait(PATIENCE)

    results = background_task(first).map(range(3), progress=seen)
    assert next(results) == 0
    results.close()
    gate.set()
    assert seen.calls[-1][:2] == (1, 3)


def test_map_raises_what_a_call_raised():
    seen = Seen()
    results = background_task(half).map([1, 3], progress=seen)
    assert next(results) == 0.5
    with pytest.raises(ValueError, match="three"):
        next(results)
    seen.check(2, failed=1)


def test_bounded_map_shows_progress_while_it_submits():
    seen, taken = Seen(), []

    def items():
        while not any(done for done, _, _ in seen.calls) and len(taken) < 10_000:
            taken.append(len(taken))
            yield taken[-1]

    assert tmap(abs, items(), size=1, workers=1, progress=seen) == tuple(taken)
    assert len(taken) < 10_000
    seen.check(len(taken))


def test_bounded_map_of_a_list_knows_the_total_from_the_beginning():
    seen = Seen()
    tmap(abs, [1, 2, 3, 4], size=1, progress=seen)
    assert {total for _, total, _ in seen.calls} == {4}


def test_bounded_map_takes_no_more_items_than_have_room():
    taken, ended = [], []

    def items():
        for number in range(50):
            taken.append(number)
            yield number

    def check(number):
        # One that runs, two that wait, two that wait for room, and those that have ended.
        assert len(taken) <= len(ended) + 5, (taken, ended)
        ended.append(number)

    with ThreadQueue(workers=1, size=2) as queue:
        queue.map(check, items())
    assert len(ended) == len(taken) == 50


def test_tasks_that_come_during_a_run_are_counted():
    seen, queue = Seen(), ThreadQueue(workers=1)

    def first():
        queue.map(abs, [1, 2, 3])

    queue.submit(first)
    queue.run(progress=seen)
    seen.check(4)


def test_a_task_that_joins_its_own_queue_with_progress_does_not_wait_for_itself():
    seen, queue = Seen(), ThreadQueue(workers=2)

    def own():
        queue.join(progress=seen)

    queue.submit(own)
    queue.submit(abs, -1)
    assert queue.run().ok
    assert seen.calls[-1] == (1, 1, 0)


def test_a_timeout_is_kept_and_the_last_state_is_shown():
    seen, gate = Seen(), threading.Event()
    tasks = [background_task(abs)(-1), background_task(gate.wait)(PATIENCE)]
    tasks[0].value(PATIENCE)
    with pytest.raises(WaitTimeoutError, match="1 of 2 tasks unfinished"):
        wait_completed(tasks, timeout=0.01, progress=seen)
    gate.set()
    assert seen.calls[-1] == (1, 2, 0)
    wait_completed(tasks)


# -- what it may be --------------------------------------------------------------------------------


def test_true_and_a_description_draw_a_bar(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    for progress, label in ((True, "half"), ("pages", "pages"), ("", "half")):
        stream = Terminal()
        monkeypatch.setattr("sys.stderr", stream)
        wait_completed([background_task(half)(1), background_task(half)(2)], progress=progress)
        assert stream.shown()[0].startswith(f"{label} |####")
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    wait_completed([background_task(half)(1), background_task(abs)(2)], progress=True)
    assert stream.shown()[0].startswith("tasks |####")


@pytest.mark.parametrize("nothing", [False, None])
def test_nothing_is_shown_unless_asked(nothing, monkeypatch):
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    wait_completed([background_task(half)(1)], progress=nothing)
    assert stream.getvalue() == ""


@pytest.mark.parametrize("wrong", [3, 0.5, [True], b"text", co_half])
def test_another_type_is_refused_before_anything_is_submitted(wrong):
    items = iter([1])
    calls = [lambda: wait_completed([], progress=wrong),
             lambda: tmap(half, items, progress=wrong), lambda: pmap(half, items, progress=wrong),
             lambda: asyncio.run(amap(co_half, items, progress=wrong)),
             lambda: background_task(half).map(items, progress=wrong),
             lambda: ThreadQueue().run(progress=wrong), lambda: ThreadQueue().join(progress=wrong),
             lambda: asyncio.run(co_wait_completed([], progress=wrong))]
    for call in calls:
        with pytest.raises(InvalidTypeError, match="^progress takes"):
            call()
    assert next(items) == 1


@pytest.mark.parametrize("kind", ["wait", "map", "queue", "async"])
def test_a_function_that_raises_is_logged_once_and_the_work_goes_on(kind, caplog):
    calls = []

    def broken(done, total, failed):
        calls.append(done)
        raise OSError("the bar is closed")

    with caplog.at_level(logging.ERROR, "atasker_like"):
        if kind == "wait":
            assert wait_completed([background_task(half)(2)], progress=broken) == [1]
        elif kind == "map":
            assert list(background_task(half).map([2], progress=broken)) == [1]
        elif kind == "queue":
            assert tmap(half, [2], progress=broken, size=1) == (1,)
        else:
            assert asyncio.run(amap(co_half, [2], progress=broken)) == (1,)
    assert len(calls) == 1
    [record] = caplog.records
    assert "the progress function" in record.getMessage() and "broken" in record.getMessage()
    assert record.exc_info[0] is OSError


def test_an_interrupt_in_the_function_ends_the_wait():
    def interrupt(done, total, failed):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        wait_completed([background_task(half)(2)], progress=interrupt)


def test_a_function_that_waits_for_a_task_can_do_so():
    def inner(done, total, failed):
        assert background_task(abs)(-1).value(PATIENCE) == 1

    assert wait_completed([background_task(half)(2)], progress=inner) == [1]


# -- what moves it ---------------------------------------------------------------------------------


def test_reported_progress_moves_it():
    seen = Seen()

    def steps():
        report_progress(1, 4)
        assert seen.wait_for(0.25, 2, 0)
        report_progress(3, 4)
        assert seen.wait_for(0.75, 2, 0)
        done.set()

    done = threading.Event()
    tasks = [background_task(steps)(), background_task(done.wait)(PATIENCE)]
    assert wait_completed(tasks, strict=True, progress=seen) == [None, True]
    seen.check(2)


def test_reported_progress_of_a_coroutine_moves_it():
    seen = Seen()

    async def steps(number):
        report_progress(number, 4)
        while (number / 4, 1, 0) not in seen.calls:
            await asyncio.sleep(0)

    asyncio.run(amap(steps, [1], progress=seen))
    seen.check(1)


@pytest.mark.slow
def test_reported_progress_of_a_process_moves_it(tmp_path):
    seen = Seen()
    path = tmp_path / "go"

    class Go(Seen):
        def __call__(self, done, total, failed):
            super().__call__(done, total, failed)
            if done == 0.5:
                path.touch()

    seen = Go()
    assert pmap(functions.report_half_and_wait, [str(path)], progress=seen) == (None,)
    assert (0.5, 1, 0) in seen.calls
    seen.check(1)


@pytest.mark.parametrize("done, total", [
    (1, None), (1, 0), (-1, 4), ("a", "b"), (float("nan"), 4)])
def test_reports_without_a_share_do_no_harm(done, total):
    seen = Seen()

    def odd():
        current_task().report_progress(done, total)

    wait_completed([background_task(odd)()], strict=True, progress=seen)
    seen.check(1)


def test_reports_of_other_tasks_do_not_move_it():
    seen, reported = Seen(), threading.Event()

    def other():
        report_progress(1, 2)
        reported.set()

    mine = background_task(reported.wait)(PATIENCE)
    others = background_task(other)
    assert wait_completed(mine, progress=lambda *call: (seen(*call), others()))
    assert {done for done, _, _ in seen.calls} == {0, 1}


def test_retries_are_shown_while_they_go_on(monkeypatch):
    shown, stream = threading.Event(), Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    write = stream.write

    def watched(text):
        if "1 retried" in text:
            shown.set()
        return write(text)

    stream.write = watched

    def twice():
        if current_task().attempts == 1:
            raise ConnectionError("no route")
        return shown.wait(PATIENCE)

    assert wait_completed(background_task(twice, retries=1)(), progress=True) is True
    assert stream.shown()[0].endswith(", 1 retried")


def test_without_news_a_function_has_no_time_at_which_it_is_due():
    calls = progress_calls(print, 1)
    assert calls.due(False) is not None         # the first call
    set_called_at(calls, 1.0)
    assert calls.due(False) is None


def test_a_bar_without_a_stream_is_never_due(monkeypatch):
    monkeypatch.setattr("sys.stderr", None)
    bar = progress_module.ProgressBar(1)
    assert bar.due(True) is None and bar.due(False) is None
    assert wait_completed([background_task(half)(2)], progress=True) == [1]


def test_lines_are_written_to_a_stream_that_is_no_terminal(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    assert wait_completed([background_task(half)(2)], progress="halves") == [1]
    assert stream.getvalue().startswith("halves: 1/1 100%")
