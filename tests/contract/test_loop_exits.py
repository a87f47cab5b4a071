"""Errors that end an asyncio loop: they end one coroutine, and the aloop goes on."""
import asyncio
import gc
import logging
import sys
import threading
from collections import deque

import pytest

from atasker_like import SupervisorStoppedError, loops, service
from tests.support import PATIENCE
from tests.support.gates import Hold
from tests.support.internals.supervisor import SCHEDULER_WAITERS
from tests.support.threads import join, started

EXITS = [SystemExit, KeyboardInterrupt]


async def raising(kind):
    raise kind("of the test")


async def running_thread():
    return threading.current_thread()


async def stay():
    """Ignore each cancellation."""
    while True:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            pass


async def end_loop_and_stay():
    asyncio.get_running_loop().stop()
    await stay()


def ended(thread):
    thread.join(PATIENCE)
    return not thread.is_alive()


@pytest.fixture
def aloop(supervisor):
    return supervisor.create_aloop("mine")


@pytest.fixture
def no_grace(monkeypatch):
    monkeypatch.setattr(loops, "LAST_GRACE", 0.0)


@pytest.mark.parametrize("kind", EXITS)
def test_exit_in_aloop_run_reaches_the_caller_and_the_loop_goes_on(aloop, caplog, kind):
    thread, loop = aloop.run(running_thread()), aloop.get_loop()
    with pytest.raises(kind, match="of the test"):
        aloop.run(raising(kind))
    assert aloop.get_loop() is loop
    assert aloop.run(running_thread()) is thread
    assert caplog.messages == []


@pytest.mark.parametrize("kind", EXITS)
def test_exit_in_an_async_job_is_logged_with_its_name_and_the_jobs_go_on(supervisor, caplog, kind):
    scheduler = supervisor.create_async_job_scheduler("mine")
    failed, beats = threading.Semaphore(0), threading.Semaphore(0)

    async def bad():
        failed.release()
        raise kind("of the test")

    async def beat():
        beats.release()

    job = supervisor.create_async_job(scheduler, target=bad, interval=0.001)
    for _ in range(2):
        assert failed.acquire(timeout=PATIENCE)
    other = supervisor.create_async_job(scheduler, target=beat, interval=0.001)
    for _ in range(2):
        assert beats.acquire(timeout=PATIENCE)
    assert job.active and other.active
    scheduler.stop()
    messages = set(caplog.messages)
    assert messages == {f"async job {job!r} raised {kind.__name__}: of the test; it goes on"}


def test_cancelled_run_of_an_async_job_is_not_logged(supervisor, caplog):
    scheduler = supervisor.create_async_job_scheduler("mine")
    ended = threading.Event()

    async def cancelled():
        try:
            asyncio.current_task().cancel()
            await asyncio.sleep(0)
        finally:
            ended.set()

    supervisor.create_async_job(scheduler, target=cancelled, number=1)
    assert ended.wait(PATIENCE)
    scheduler.stop()
    assert caplog.messages == []


@pytest.mark.parametrize("kind", EXITS)
def test_exit_in_an_asyncio_task_is_logged_and_the_loop_goes_on(aloop, caplog, kind):
    caplog.set_level(logging.ERROR, "atasker_like")

    async def main():
        task = asyncio.ensure_future(raising(kind))
        await asyncio.wait([task])
        return type(task.exception())

    assert aloop.run(main()) is kind
    assert [record.getMessage() for record in caplog.records] == [
        "loop mine goes on after an asyncio task or a callback in it raised "
        f"{kind.__name__}: of the test"]
    assert caplog.records[0].exc_info[0] is kind


def test_exit_in_the_loop_of_a_scheduler_is_logged_and_the_event_loop_goes_on(supervisor, aloop,
                                                                              caplog):
    stopped = threading.Event()

    class Scheduler:
        worker_loop = "mine"
        stop = staticmethod(stopped.set)

        @staticmethod
        async def loop():
            sys.exit(3)

    supervisor.start()
    scheduler = Scheduler()
    assert supervisor.register_scheduler(scheduler)
    for future in supervisor.get_schedulers()[scheduler][1:]:
        future.result(PATIENCE)
    assert aloop.run(running_thread()) is aloop.thread
    assert "loop() of a registered scheduler raised SystemExit: 3" in caplog.messages


def test_request_of_a_client_goes_on_after_an_exit_in_its_loop(supervisor):
    class Wait(service.Task):
        pass

    hold = Hold()
    lab = service.Service("lab", supervisor)
    lab.handler(Wait)(lambda task: hold())
    with service.SyncClient(lab, supervisor=supervisor) as client:
        future = client.request(Wait())
        hold.reached()
        with pytest.raises(SystemExit):
            supervisor.own_loop().run(raising(SystemExit))
        hold.go()
        assert future.result(PATIENCE).ok
        assert client.execute(Wait(), timeout=PATIENCE).ok


def test_stop_ends_a_loop_that_an_exit_interrupts_at_the_same_moment(aloop, monkeypatch):
    """asyncio forgets a stop when code raises SystemExit in the same iteration."""
    thread = aloop.thread
    loop = aloop.get_loop()
    plain_stop = loop.stop

    def stop():
        plain_stop()
        sys.exit(3)

    monkeypatch.setattr(loop, "stop", stop)
    aloop.stop()
    assert ended(thread) and loop.is_closed()


def test_exit_of_a_cancelled_coroutine_does_not_stop_the_cancellation_of_the_next(aloop):
    cancelled, begun = [], threading.Semaphore(0)

    async def exits_on_cancel(number):
        begun.release()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cancelled.append(number)
            sys.exit(number)

    async def begin(number):
        asyncio.ensure_future(exits_on_cancel(number))
        await asyncio.sleep(0)

    for number in range(3):
        aloop.run(begin(number))
        assert begun.acquire(timeout=PATIENCE)
    thread = aloop.thread
    aloop.stop(cancel_tasks=True)
    assert ended(thread)
    gc.collect()            # asyncio logs that nothing looked at these errors
    assert sorted(cancelled) == [0, 1, 2]


@pytest.mark.filterwarnings("ignore:coroutine")
def test_loop_that_ends_fails_a_wait_for_a_coroutine_that_has_not_ended(aloop, no_grace):
    with pytest.raises(SupervisorStoppedError, match="'mine' ended before coroutine "
                                                     "end_loop_and_stay did"):
        aloop.run(end_loop_and_stay())
    gc.collect()


def test_loop_that_ends_by_an_error_fails_its_waits_with_the_cause(aloop, no_grace, caplog):
    loop, thread = aloop.get_loop(), aloop.thread
    plain = loop._run_once

    def run_once():
        loop._run_once = plain
        raise OSError("its files are closed")

    async def break_loop_and_stay():
        loop._run_once = run_once
        await stay()

    def run():
        with pytest.raises(SupervisorStoppedError) as caught:
            aloop.run(break_loop_and_stay())
        raised.append(caught.value)

    raised = []
    join(started(run))
    assert ended(thread)
    assert "since asyncio raised OSError: its files are closed" in str(raised[0])
    assert isinstance(raised[0].__cause__, OSError)
    assert "loop mine has ended, since asyncio raised OSError: its files are closed" \
        in caplog.messages
    gc.collect()


def test_coroutine_that_a_loop_never_began_is_closed_with_an_error(aloop, recwarn):
    """The call comes between the last iteration of the loop and its end."""
    loop = aloop.get_loop()
    hold = Hold()
    plain_close = loop.close

    def close():
        hold()
        plain_close()

    loop.close = close
    thread = aloop.thread
    aloop.stop(wait=False)
    hold.reached()
    aloop.thread = thread           # as before the stop
    raised = []

    def run():
        with pytest.raises(SupervisorStoppedError) as caught:
            aloop.run(running_thread())
        raised.append(str(caught.value))

    posted = threading.Event()
    plain_post = loop.call_soon_threadsafe
    loop.call_soon_threadsafe = lambda *call: (plain_post(*call), posted.set())
    caller = started(run)
    assert posted.wait(PATIENCE)
    hold.go()
    join(caller)
    assert ended(thread)
    gc.collect()
    assert raised == ["loop 'mine' ended before coroutine running_thread did"]
    assert not [warning for warning in recwarn if "never awaited" in str(warning.message)]


def test_loop_that_ends_fails_the_requests_of_its_clients(supervisor):
    class Wait(service.Task):
        pass

    hold = Hold()
    lab = service.Service("lab", supervisor)
    lab.handler(Wait)(lambda task: hold())
    client = service.SyncClient(lab, supervisor=supervisor)
    future = client.request(Wait())
    hold.reached()
    thread = supervisor.own_loop().thread
    loop = supervisor.own_loop().get_loop()
    loop.call_soon_threadsafe(loop.stop)
    assert ended(thread)
    hold.go()
    with pytest.raises((SupervisorStoppedError, ConnectionError)):
        future.result(PATIENCE)
    client.close()


def test_loop_that_ends_ends_the_wait_of_a_job_scheduler(supervisor, aloop, no_grace):
    scheduler = supervisor.create_async_job_scheduler("jobs", aloop="mine")
    begun = threading.Event()

    async def job():
        begun.set()
        await stay()

    supervisor.create_async_job(scheduler, target=job, number=1)
    assert begun.wait(PATIENCE)
    waiting = threading.Event()
    SCHEDULER_WAITERS.put(scheduler, Watched(waiting))
    stopper = started(scheduler.stop)
    assert waiting.wait(PATIENCE)
    aloop.get_loop().call_soon_threadsafe(aloop.get_loop().stop)
    join(stopper)
    assert not scheduler.busy
    gc.collect()


class Watched(deque):
    """The waits of a scheduler, with an event for the first one."""

    def __init__(self, event):
        super().__init__()
        self._event = event

    def append(self, waiter):
        super().append(waiter)
        self._event.set()
