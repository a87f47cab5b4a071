"""Async jobs that are cancelled at any point of a start: no run begins after that."""
import asyncio
import sys
import threading
from itertools import count

import pytest

from atasker_like import jobs
from tests.support import PATIENCE
from tests.support.internals.supervisor import (MAILBOX, ON_END, SCHEDULER_WAITERS, has_begun,
                                                is_over, last_start_of, loop_of_scheduler,
                                                start_of_job_class)
from tests.support.threads import FREE_THREADED, join, started, wait_for

from ..contract.conftest import Clock
from ..support.internals import manager


@pytest.fixture
def clock(supervisor):
    return Clock(supervisor)


def settle(supervisor, aloop):
    """Have the timer and the loop come to everything that is due."""
    for _ in range(3):
        done = threading.Event()
        timer = manager(supervisor).timer
        timer.call_at(timer.clock(), done.set)
        assert done.wait(PATIENCE)
        for _ in range(3):
            aloop.run(asyncio.sleep(0))


class Stop:
    """Stops a thread at one line of jobs.py, or at the start of the job's function."""

    def __init__(self, number):
        self._left = number
        self.reached, self.go = threading.Event(), threading.Event()

    def trace(self, frame, event, argument):
        if frame.f_code.co_name == "job_of_the_test" and event == "call" and not FREE_THREADED:
            # without the interpreter's lock no other thread comes in between here
            self._count()
        if frame.f_code.co_filename != jobs.__file__:
            return None
        if event == "line":
            self._count()
        return self.trace

    def _count(self):
        self._left -= 1
        if self._left == 0:
            self.reached.set()
            assert self.go.wait(PATIENCE)


def traced(call):
    """Return a coroutine function that makes a call."""
    async def in_loop():
        call()

    return in_loop


@pytest.mark.slow
@pytest.mark.parametrize("where", ["timer", "loop"])
def test_cancel_at_each_line_of_a_start_lets_no_run_begin_after_it(supervisor, clock, where):
    aloop = supervisor.create_aloop("jobs")
    scheduler = supervisor.create_async_job_scheduler("scheduler", aloop="jobs")
    runs = []

    async def job_of_the_test():
        runs.append(1)

    def trace_with(trace):
        if where == "loop":
            aloop.run(traced(lambda: sys.settrace(trace))())
        else:
            done = threading.Event()
            timer = manager(supervisor).timer
            timer.call_at(0, lambda: (sys.settrace(trace), done.set()))
            assert done.wait(PATIENCE)

    settle(supervisor, aloop)
    prevented = 0
    for number in count(1):
        del runs[:]
        stop = Stop(number)
        trace_with(stop.trace)
        job = supervisor.create_async_job(scheduler, target=job_of_the_test, interval=10)
        told = threading.Event()
        # when the timer has dealt with the job
        manager(supervisor).timer.call_at(clock.now, told.set)
        wait_for(lambda: stop.reached.is_set() or (runs and told.is_set()),
                 "the start is held, or the job runs")
        if not stop.reached.is_set():
            stop.go.set()
            break                           # there are no more lines before the run
        began = bool(runs)
        at_return = []
        canceller = started(lambda: (supervisor.cancel_async_job(job=job),
                                     at_return.append(len(runs))))
        canceller.join(0.02)                # it may wait for the thread that is held
        stop.go.set()
        join(canceller)
        trace_with(None)
        settle(supervisor, aloop)
        assert [len(runs)] == at_return, f"a run began after cancel(), held at line {number}"
        prevented += not began and not runs
    trace_with(None)
    job.cancel()
    assert number > 10 and prevented > 5


@pytest.mark.slow
@pytest.mark.gate
def test_cancel_while_jobs_start_all_the_time_lets_no_run_begin_after_it(supervisor):
    aloop = supervisor.create_aloop("jobs")
    scheduler = supervisor.create_async_job_scheduler("scheduler", aloop="jobs")
    busy = True

    def keep_busy():
        while busy:
            pass

    other = started(keep_busy)
    try:
        for number in range(30):
            runs, enough = [], threading.Event()

            async def job():
                runs.append(1)
                if len(runs) > number % 3:
                    enough.set()

            created = supervisor.create_async_job(scheduler, target=job, interval=0.001)
            assert enough.wait(PATIENCE)
            created.cancel()
            # One that has begun by now may not have come to its first line: other threads run in
            # between.
            last = last_start_of(created)
            began = has_begun(last)
            at_return = len(runs)
            settle(supervisor, aloop)
            assert len(runs) <= at_return + began
            assert began or is_over(last)
    finally:
        busy = False
        join(other)


def test_cancel_in_the_loop_prevents_a_scheduled_start(supervisor, clock):
    aloop = supervisor.create_aloop("jobs")
    scheduler = supervisor.create_async_job_scheduler("scheduler", aloop="jobs")
    runs = []

    async def job():
        runs.append(1)

    async def cancel(after_turns):
        created = supervisor.create_async_job(scheduler, target=job, interval=10)
        clock.settle()                      # the timer has posted to the loop, whose thread this is
        for _ in range(after_turns):
            await asyncio.sleep(0)
            if runs:
                return None
        return created.cancel()

    for after_turns in count():
        del runs[:]
        cancelled = aloop.run(cancel(after_turns))
        settle(supervisor, aloop)
        if cancelled is None:
            break
        assert cancelled is True and runs == []
    assert after_turns > 1
    for job_left in scheduler.jobs():
        job_left.cancel()


def test_cancel_inside_the_job_lets_that_run_end_and_no_other_begin(supervisor, clock):
    aloop = supervisor.create_aloop("jobs")
    scheduler = supervisor.create_async_job_scheduler("scheduler", aloop="jobs")
    runs = []

    async def job():
        runs.append(supervisor.cancel_async_job(scheduler, created))
        await asyncio.sleep(0)
        runs.append("end")

    created = None
    created = scheduler.create_threadsafe(job, timer=1, interval=1)
    for _ in range(3):
        clock.forward(1)
        settle(supervisor, aloop)
    assert runs == [True, "end"] and not created.active


def test_cancel_does_not_wait_for_a_run_that_has_begun(supervisor):
    """The job waits for a lock that the canceller has."""
    supervisor.create_aloop("jobs")
    scheduler = supervisor.create_async_job_scheduler("scheduler", aloop="jobs")
    begun, lock = threading.Event(), threading.Lock()

    async def job():
        begun.set()
        with lock:
            pass

    with lock:
        created = supervisor.create_async_job(scheduler, target=job, interval=10)
        assert begun.wait(PATIENCE)
        assert join(started(created.cancel)) is True
    assert created.cancel() is False


def test_cancel_prevents_the_last_of_a_number_of_starts(supervisor, clock):
    aloop = supervisor.create_aloop("jobs")
    scheduler = supervisor.create_async_job_scheduler("scheduler", aloop="jobs")
    runs = []

    async def job():
        runs.append(1)

    async def cancel():
        created = supervisor.create_async_job(scheduler, target=job, number=1)
        clock.settle()
        return created.active, created.cancel()

    assert aloop.run(cancel()) == (False, True)
    settle(supervisor, aloop)
    assert runs == [] and not scheduler.busy


def test_stop_of_the_scheduler_in_a_last_start_lets_no_run_begin_after_it(supervisor, clock,
                                                                          monkeypatch):
    aloop = supervisor.create_aloop("jobs")
    scheduler = supervisor.create_async_job_scheduler("scheduler", aloop="jobs")
    runs, stoppers, at_return = [], [], []
    may_begin = start_of_job_class().may_begin

    def stop_meanwhile(self):
        answer = may_begin(self)
        if not stoppers and asyncio._get_running_loop() is aloop.get_loop():
            stoppers.append(started(lambda: (scheduler.stop(), at_return.append(len(runs)))))
            stoppers[0].join(0.05)          # it may wait for this step of the loop
        return answer

    async def job():
        runs.append(1)

    async def create():
        supervisor.create_async_job(scheduler, target=job, number=1)
        clock.settle()                      # the timer has posted the only start

    monkeypatch.setattr(start_of_job_class(), "may_begin", stop_meanwhile)
    aloop.run(create())
    settle(supervisor, aloop)
    join(stoppers[0])
    assert [len(runs)] == at_return


def test_job_that_cannot_be_called_is_logged_and_goes_on(supervisor, clock, caplog):
    aloop = supervisor.create_aloop("jobs")
    scheduler = supervisor.create_async_job_scheduler("scheduler", aloop="jobs")

    async def job(needed):
        pass

    created = supervisor.create_async_job(scheduler, target=job, interval=1)
    for _ in range(2):
        settle(supervisor, aloop)
        clock.forward(1)
    settle(supervisor, aloop)
    assert caplog.text.count("; it goes on") >= 2 and "needed" in caplog.text
    assert created.cancel() is True


class _SlowMailbox:
    """Returns from post() when the loop has come to the end of what was posted."""

    def __init__(self, mailbox, loop):
        self._mailbox, self._loop = mailbox, loop

    def post(self, call, argument):
        posted = self._mailbox.post(call, argument)
        for _ in range(5):
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self._loop).result(PATIENCE)
        return posted


def test_scheduler_is_idle_if_the_last_run_ends_before_the_timer_counts_it(supervisor):
    async def job():
        pass

    supervisor.start()
    scheduler = supervisor.create_async_job_scheduler("slow", start=False)
    MAILBOX.put(scheduler, _SlowMailbox(MAILBOX.of(scheduler), loop_of_scheduler(scheduler)))
    idle = threading.Event()
    ON_END.put(scheduler, lambda: None if scheduler.busy else idle.set())
    scheduler.create_threadsafe(target=job, number=1)
    scheduler.start()
    assert idle.wait(PATIENCE)


async def _nothing():
    pass


@pytest.fixture
def stopped_loop():
    """A loop of the application, which runs only in run_until_complete()."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.mark.parametrize("runs_on", [False, True], ids=["stopped", "runs on"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_stop_of_the_scheduler_ends_when_its_loop_is_closed(supervisor, stopped_loop, runs_on):
    scheduler = supervisor.create_async_job_scheduler("mine", aloop=stopped_loop)
    begun = stopped_loop.create_future()

    async def endless():
        begun.set_result(None)
        await stopped_loop.create_future()

    scheduler.create_threadsafe(endless, interval=1000)
    stopped_loop.run_until_complete(asyncio.wait_for(begun, PATIENCE))
    assert scheduler.stop(wait=0) is False
    stopper = started(scheduler.stop)
    wait_for(lambda: len(SCHEDULER_WAITERS.of(scheduler)) == 2 and stopped_loop._ready,
             "the stop waits")
    if runs_on:
        stopped_loop.run_until_complete(asyncio.sleep(0))
        assert stopper.is_alive()
    stopped_loop.close()
    assert join(stopper) is True
    assert scheduler.stop(wait=False) is True and not scheduler.busy


def test_scheduler_stops_if_its_loop_is_closed_before_a_start_begins(supervisor, clock, caplog,
                                                                     stopped_loop):
    scheduler = supervisor.create_async_job_scheduler("mine", aloop=stopped_loop)
    job = scheduler.create_threadsafe(_nothing, interval=10)
    clock.settle()                      # the timer has posted the start
    stopped_loop.close()
    clock.forward(10)
    clock.settle()
    assert not job.active and not scheduler.active and not job.missed
    assert caplog.text.count("is stopped: its loop is closed") == 1


def test_last_start_in_a_closed_loop_does_not_keep_the_program_alive(supervisor, clock,
                                                                     stopped_loop):
    scheduler = supervisor.create_async_job_scheduler("mine", aloop=stopped_loop)
    scheduler.create_threadsafe(_nothing, number=1)
    clock.settle()
    assert scheduler.busy
    stopped_loop.close()
    assert not scheduler.busy
