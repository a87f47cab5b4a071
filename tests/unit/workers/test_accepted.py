"""Runs that are cancelled or refused lose no item."""
import asyncio
import queue
import threading
from time import sleep

import pytest

from atasker_like import (BackgroundQueueWorker, SupervisorStoppedError, background_worker,
                          check_cancelled)
from tests.support import PATIENCE
from tests.support.threads import join, started, wait_for

from .tools import settled, task_of


def test_item_of_a_cancelled_task_is_taken_by_the_next_run(small, held):
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


def test_items_behind_a_cancelled_run_are_handled(supervisor):
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
def test_run_cancelled_by_the_application_is_logged(supervisor, caplog, asked):
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


def test_item_refused_by_a_stopped_supervisor_waits_for_the_next_start(outside):
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
def test_hook_that_raises_any_exception_loses_no_item(outside, caplog, hook, error):
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
def test_broken_queue_does_not_prevent_a_stop(outside, caplog, kind):
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


def test_queue_whose_size_raises_is_an_error_at_the_start(supervisor):
    class Mute(queue.Queue):
        def qsize(self):
            raise NotImplementedError("not on this system")

    worker = background_worker(lambda item: None, q=Mute, supervisor=supervisor)
    with pytest.raises(NotImplementedError):
        worker.start()
    assert not worker.is_active() and worker.stop() is False
    assert supervisor.get_schedulers() == {}


def test_worker_that_cannot_be_registered_is_not_started(supervisor):
    class Unhashable(BackgroundQueueWorker):
        __hash__ = None

        def run(self, item):
            pass

    worker = Unhashable(supervisor=supervisor)
    for _ in range(2):
        with pytest.raises(TypeError, match="unhashable"):
            worker.start()
        assert not worker.is_active() and worker.stop() is False


def test_supervisor_that_stops_in_the_middle_of_a_start(supervisor, runs, monkeypatch):
    """The stopped supervisor has ended all workers that it knew, and its timer."""
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


def checks_until_cancelled(begun):
    def run(item=None):
        begun.set()
        while True:
            check_cancelled()
            sleep(0.001)

    return run


def waits_until_cancelled(begun):
    async def run(item):
        begun.set()
        await asyncio.sleep(PATIENCE)

    return run


@pytest.mark.parametrize("make", [checks_until_cancelled, waits_until_cancelled])
def test_item_whose_run_is_cancelled_by_a_stop_is_logged(supervisor, caplog, make):
    begun = threading.Event()
    worker = background_worker(make(begun), q=True, supervisor=supervisor)
    worker.start()
    worker.put_threadsafe(1)
    assert begun.wait(PATIENCE)
    supervisor.stop(wait=0.01)
    lost = f"worker {worker.name}: an item that it handled when it was stopped is lost"
    wait_for(lambda: caplog.text.count(lost) == 1, "the log names the worker")


def test_run_without_an_item_that_is_cancelled_by_a_stop_is_not_logged(supervisor, caplog):
    begun = threading.Event()
    worker = background_worker(checks_until_cancelled(begun), interval=0.001,
                               supervisor=supervisor)
    worker.start()
    assert begun.wait(PATIENCE)
    supervisor.stop(wait=0.01)
    settled(worker)
    assert "is lost" not in caplog.text
