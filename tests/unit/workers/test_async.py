"""Workers whose function is a coroutine function."""
import asyncio

import pytest

from atasker_like import (BackgroundAsyncWorker, InvalidArgumentError, InvalidTypeError,
                          SupervisorStoppedError, background_worker)
from tests.support import PATIENCE

from .tools import coroutine_function


def test_async_worker_runs_in_its_named_loop(supervisor):
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


def test_async_worker_without_a_loop_runs_in_the_default_loop(supervisor):
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
def test_unknown_loop_is_an_error_at_the_start(supervisor, loop, error, message):
    worker = background_worker(coroutine_function, supervisor=supervisor, loop=loop)
    with pytest.raises(error, match=message):
        worker.start()
    assert not worker.is_active() and worker.stop() is False


def test_loop_that_is_not_active_is_an_error_at_the_start(supervisor):
    supervisor.create_aloop("idle", start=False)
    worker = background_worker(coroutine_function, supervisor=supervisor, loop="idle")
    with pytest.raises(SupervisorStoppedError, match="'idle' is not active"):
        worker.start()
    assert not worker.is_active()


def test_worker_whose_loop_has_been_closed_stops_and_says_so(supervisor, caplog):
    aloop = supervisor.create_aloop("short")
    worker = background_worker(coroutine_function, e=True, supervisor=supervisor, loop="short")
    worker.start()
    aloop.stop()
    worker.trigger_threadsafe()
    assert worker.wait_until_stop(PATIENCE)
    assert "is stopped" in caplog.text


def test_other_coroutines_run_between_two_runs(supervisor):
    aloop = supervisor.create_aloop("a")
    worker = background_worker(coroutine_function, supervisor=supervisor, loop="a")
    worker.start()

    async def other():
        return worker.stats().runs

    assert aloop.run(other()) >= 0           # although the function never waits
    worker.stop()


def test_async_run_of_a_subclass_runs_in_a_loop(supervisor):
    class Worker(BackgroundAsyncWorker):
        async def run(self, word):
            self.word = word
            return False

    worker = Worker(supervisor=supervisor)
    worker.start("hello")
    assert worker.wait_until_stop(PATIENCE) and worker.word == "hello"


def test_plain_function_in_an_async_worker_runs_in_a_thread(supervisor, runs):
    runs.result = False
    worker = BackgroundAsyncWorker(executor_func=runs, supervisor=supervisor)
    worker.start(1)
    assert worker.wait_until_stop(PATIENCE) and runs.next() == (1,)
