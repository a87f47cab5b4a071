"""Workers in trouble: runs that are cancelled, refused or called off, hooks that exit, functions that fail at once."""
import asyncio
import queue
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from atasker_like import (BackgroundQueueWorker, InvalidArgumentError, InvalidTypeError,
                          SupervisorStoppedError, background_worker, current_task)

from ..laws.tools import PATIENCE, join, started, wait_for
from .test_workers import form, held, runs, settled  # noqa: F401


@pytest.fixture
def small(make_supervisor):
    """A supervisor with one place."""
    return make_supervisor(pool_size=1, reserve_normal=0, reserve_high=0)


@pytest.fixture
def outside(supervisor):
    """A supervisor whose process tasks run in threads: static runs go there, and are quick."""
    with ThreadPoolExecutor(2) as executor:
        supervisor.mp_pool = executor
        yield supervisor


def task_of(worker):
    """Wait for the task of a worker's run."""
    def find():
        return [task for task in worker.supervisor.get_tasks().values() if task.worker is worker]

    wait_for(find, "its task is there")
    return find()[0]


# -- nothing accepted is lost --------------------------------------------------------------------------------------


def test_items_whose_task_is_cancelled_before_it_began_are_taken_by_the_next_one(small, held):     # noqa: F811
    small.put_task(held)
    held.next()
    got = queue.Queue()
    worker = background_worker(got.put, q=True, supervisor=small)
    worker.start()
    worker.put_threadsafe("item")
    wait_for(lambda: small.stats().waiting == 1, "its task waits")
    assert small.cancel_waiting() == 1
    held.go()
    assert got.get(timeout=PATIENCE) == "item"


def test_items_behind_one_whose_run_is_cancelled(supervisor):
    got = queue.Queue()

    async def take(item):
        got.put(item)
        if item == 1:
            await asyncio.Event().wait()

    worker = background_worker(take, q=True, supervisor=supervisor)
    worker.put_threadsafe(1)
    worker.put_threadsafe(2)
    worker.start()
    assert got.get(timeout=PATIENCE) == 1
    assert task_of(worker).cancel()
    assert got.get(timeout=PATIENCE) == 2
    settled(worker)
    assert worker.is_active() and worker.stats().failures == 0


@pytest.mark.parametrize("asked", [True, False])
def test_a_run_that_somebody_else_cancelled_is_told_of(supervisor, caplog, asked):
    got = queue.Queue()

    async def take(item):
        got.put(item)
        if item == 1:
            awaited = asyncio.get_running_loop().create_future()
            if not asked:
                awaited.cancel()
            await awaited

    worker = background_worker(take, q=True, supervisor=supervisor)
    worker.put_threadsafe(1)
    worker.put_threadsafe(2)
    worker.start()
    assert got.get(timeout=PATIENCE) == 1
    if asked:
        task_of(worker).cancel()
    assert got.get(timeout=PATIENCE) == 2
    assert ("was cancelled, by what it awaited" in caplog.text) is not asked


class Doubles(BackgroundQueueWorker):
    """Its run is given to the executor."""

    def __init__(self, **options):
        super().__init__(**options)
        self.results = queue.Queue()
        self.hook = lambda item: None

    @staticmethod
    def run(item):
        return 2 * item

    def process_result(self, result):
        self.results.put(result)

    def after_queue_get(self, task):
        self.hook(task)


def test_an_item_that_the_stopped_supervisor_does_not_take_is_for_the_next_start(outside):
    worker = Doubles(supervisor=outside)
    worker.hook = lambda item: outside.stop(wait=False, drain=False)
    worker.put_threadsafe(5)
    worker.start()
    assert worker.wait_until_stop(PATIENCE)
    outside.block()
    assert worker.results.empty() and worker.stats().waiting == 1
    worker.hook = lambda item: None
    outside.start()
    worker.start()
    assert worker.results.get(timeout=PATIENCE) == 10
    wait_for(lambda: worker.stats().waiting == 0, "it is taken")


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, ValueError])
@pytest.mark.parametrize("hook", ["before_queue_get", "after_queue_get"])
def test_a_hook_that_raises_whatever_it_is_loses_no_item(outside, caplog, hook, error):
    """It runs in the supervisor's own threads, where an exit ends nothing."""
    def leave(*item):
        raise error("from a hook")

    worker = Doubles(supervisor=outside)
    setattr(worker, hook, leave)
    worker.start()
    worker.put_threadsafe(1)
    worker.put_threadsafe(2)
    assert [worker.results.get(timeout=PATIENCE) for _ in range(2)] == [2, 4]
    assert f"its {hook} raised" in caplog.text
    assert worker.stop() is True


@pytest.mark.parametrize("kind", ["thread", "loop", "executor"])
def test_a_queue_that_breaks_keeps_no_worker_from_stopping(outside, caplog, kind):
    class Breaks(queue.Queue):
        def get_nowait(self):
            raise SystemExit("broken queue")

    async def coroutine_function(item):
        pass

    worker = {"thread": lambda: background_worker(lambda item: None, q=Breaks, supervisor=outside),
              "loop": lambda: background_worker(coroutine_function, q=Breaks, supervisor=outside),
              "executor": lambda: Doubles(q=Breaks, supervisor=outside)}[kind]()
    worker.start()
    worker.put_threadsafe(1)
    wait_for(lambda: "could not give an item" in caplog.text, "it is told")
    assert worker.stop() is True and worker.is_stopped()


def test_a_queue_that_does_not_say_how_much_it_holds_is_an_error_at_the_start(supervisor):
    class Mute(queue.Queue):
        def qsize(self):
            raise NotImplementedError("not on this system")

    worker = background_worker(lambda item: None, q=Mute, supervisor=supervisor)
    with pytest.raises(NotImplementedError):
        worker.start()
    assert not worker.is_active() and worker.stop() is False
    assert supervisor.get_schedulers() == {}


def test_a_worker_that_cannot_be_registered_is_not_started(supervisor):
    class Unhashable(BackgroundQueueWorker):
        __hash__ = None

        def run(self, item):
            pass

    worker = Unhashable(supervisor=supervisor)
    for _ in range(2):
        with pytest.raises(TypeError, match="unhashable"):
            worker.start()
        assert not worker.is_active() and worker.stop() is False


def test_a_supervisor_that_stops_in_the_middle_of_a_start(supervisor, runs, monkeypatch):     # noqa: F811
    """It has ended all that it knew of, and its timer with it: nobody would ever look at this one."""
    register = supervisor.register_sync_scheduler

    def register_late(scheduler):
        assert supervisor.stop(wait=PATIENCE).complete
        return register(scheduler)

    supervisor.start()
    worker = background_worker(runs, e=True, supervisor=supervisor)
    monkeypatch.setattr(supervisor, "register_sync_scheduler", register_late)
    with pytest.raises(SupervisorStoppedError):
        worker.start()
    assert not worker.is_active() and supervisor.get_schedulers() == {}
    assert join(started(worker.stop)) is False
    monkeypatch.undo()
    supervisor.start()
    assert worker.start() is True and worker.trigger_threadsafe() and runs.next() == ()


# -- stopping ------------------------------------------------------------------------------------------------------


def test_a_stop_does_not_wait_for_a_place_for_a_run_that_has_not_begun(small, held, runs):      # noqa: F811
    blocker = small.put_task(held)
    held.next()
    worker = background_worker(runs, e=True, supervisor=small)
    worker.start()
    worker.trigger_threadsafe()
    task = task_of(worker)
    assert join(started(worker.stop)) is True       # the place is not free
    assert task.state == "cancelled" and not blocker.done()
    held.go()
    blocker.wait(PATIENCE)
    assert runs.none()


def test_a_stop_while_its_next_run_is_being_submitted(supervisor, held, monkeypatch):       # noqa: F811
    worker = background_worker(held, e=True, supervisor=supervisor)
    admit, timer = supervisor._supervisor_parts.pools.threads.admit, supervisor._supervisor_parts.pools.timer

    def admit_late(task):
        stopper = threading.Thread(target=worker.stop, args=(False,))
        stopper.start()
        stopper.join()
        looked = threading.Event()
        timer.call_at(float("-inf"), looked.set)        # behind that for which the stop has asked
        assert looked.wait(PATIENCE)
        return admit(task)

    worker.start()
    worker.trigger_threadsafe()
    held.next()
    assert worker.trigger_threadsafe(force=True)
    monkeypatch.setattr(supervisor._supervisor_parts.pools.threads, "admit", admit_late)       # called by the thread in which the run ends
    held.go()
    assert worker.wait_until_stop(PATIENCE)
    assert held.none() and worker.stats().runs == 1
    counts = supervisor.stats().thread
    ended = counts.succeeded + counts.cancelled     # either, depending on whether there was a place
    assert (counts.submitted, ended, counts.active, counts.waiting) == (2, 2, 0, 0)


def test_what_runs_is_not_called_off(supervisor, held):      # noqa: F811
    worker = background_worker(lambda: (held(), current_task().check_cancelled()), e=True, supervisor=supervisor)
    worker.start()
    worker.trigger_threadsafe()
    held.next()
    stopper = started(worker.stop)
    wait_for(lambda: not worker.is_active(), "it is told to stop")
    held.go()
    assert join(stopper) is True
    assert worker.stats().failures == 0      # nobody asked it to end


# -- one that fails at once ----------------------------------------------------------------------------------------


def fails_then(runs, outcomes):      # noqa: F811
    """A function that does what the outcomes say, one after the other."""
    def run():
        runs()
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome
    return run


def test_a_plain_worker_that_fails_pauses_longer_each_time(supervisor, clock, runs, form):      # noqa: F811
    def outcomes():
        for _ in range(11):
            yield ValueError("at once")
        yield None
        while True:
            yield ValueError("again")

    worker = background_worker(form(fails_then(runs, outcomes())), supervisor=supervisor, on_error=lambda: None)
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


def test_false_and_restart_always_pauses_too(supervisor, clock, runs):      # noqa: F811
    runs.result = False
    worker = background_worker(runs, supervisor=supervisor, restart="always")
    worker.start()
    runs.next()
    settled(worker)
    clock.settle()
    assert runs.none()
    clock.forward(0.011)
    runs.next()


def test_a_failure_after_a_long_run_is_none_of_a_series(supervisor, clock, runs, monkeypatch):      # noqa: F811
    from atasker_like.workers import runners

    worker = background_worker(fails_then(runs, iter(ValueError(n) for n in range(100))), supervisor=supervisor,
                               on_error=lambda: None)
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
def test_others_have_their_own_rhythm_after_a_failure(supervisor, clock, runs, options):      # noqa: F811
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


# -- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options, error, message", [
    ({"on_error_kwargs": 5}, InvalidTypeError, "on_error_kwargs takes a mapping, not int"),
    ({"on_error_kwargs": "ab"}, InvalidTypeError, "on_error_kwargs takes a mapping, not str"),
    ({"restart": False}, InvalidArgumentError, "restart takes one of always, on_failure, never, not False"),
    ({"restart": ""}, InvalidArgumentError, "restart takes one of"),
    ({"interval": 1, "overlap": False}, InvalidArgumentError, "overlap takes one of shift, skip, coalesce, queue, not False"),
])
def test_what_is_false_is_not_taken_for_nothing(options, error, message):
    with pytest.raises(error, match=message):
        background_worker(lambda: None, **options)


def test_an_asyncio_queue_for_a_loop_that_does_not_run_yet(supervisor):
    loop = asyncio.new_event_loop()
    got = []

    async def take(item):
        got.append(item)
        loop.stop()

    worker = background_worker(take, q=asyncio.Queue, loop=loop, supervisor=supervisor)
    try:
        assert join(started(worker.start)) is True
        worker.put_threadsafe("item")
        watchdog = threading.Timer(PATIENCE, loop.call_soon_threadsafe, (loop.stop,))
        watchdog.start()
        loop.run_forever()
        watchdog.cancel()
        watchdog.join()
        assert got == ["item"]
        worker.stop(wait=False)
        loop.run_until_complete(asyncio.sleep(0))
        assert worker.wait_until_stop(PATIENCE)
    finally:
        loop.close()
