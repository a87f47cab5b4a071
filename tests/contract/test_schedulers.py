"""Async jobs, own schedulers, and the warnings of tasks that start late."""
import asyncio
import functools
import queue
import threading

import pytest

from atasker_like import (AsyncJob, AsyncJobScheduler, InvalidArgumentError, InvalidTypeError,
                          SupervisorStoppedError, TaskSupervisor, background_worker)
from tests.support import PATIENCE
from tests.support.gates import Hold
from tests.support.internals.engine import queued_at, set_queued_at, timer_thread_of
from tests.support.internals.supervisor import JOBS, next_start_at
from tests.support.threads import join, started, wait_for

from ..support.internals import manager
from ..unit.workers.tools import Runs


@pytest.fixture
def runs():
    made = Runs()
    yield made
    made.release()


@pytest.fixture
def job_function(runs):
    async def job(*args, **kwargs):
        runs(*args, **kwargs)
    return job


# -- async jobs ------------------------------------------------------------------------------------


def test_job_is_started_at_its_interval(supervisor, clock, runs, job_function):
    job = supervisor.create_async_job(target=job_function, args=(1, 2), interval=10)
    assert isinstance(job, AsyncJob) and job.active and isinstance(job.id, str)
    clock.settle()
    assert runs.next() == (1, 2)
    clock.forward(9.9)
    assert runs.none()
    clock.forward(0.1)
    assert runs.next() == (1, 2)
    clock.forward(10)
    assert runs.next() == (1, 2)
    assert job.cancel() is True
    assert not job.active and job.cancel() is False
    clock.forward(10)
    supervisor.stop()
    assert runs.none()


def test_job_gets_its_keyword_arguments(supervisor):
    got = queue.Queue()

    async def target(*args, **kwargs):
        got.put((args, kwargs))

    supervisor.create_async_job(target=target, args=[1], kwargs={"a": 2}, number=1)
    assert got.get(timeout=PATIENCE) == ((1,), {"a": 2})


def test_job_timer_is_the_time_until_the_first_start(supervisor, clock, runs, job_function):
    supervisor.create_async_job(target=job_function, timer=5, interval=10)
    clock.settle()
    clock.forward(4.9)
    assert runs.none()
    clock.forward(0.1)
    runs.next()
    clock.forward(9.9)
    assert runs.none()
    clock.forward(0.1)
    runs.next()


def test_job_with_a_number_starts_so_many_times(supervisor, clock, runs, job_function):
    job = supervisor.create_async_job(target=job_function, interval=10, number=2)
    clock.settle()
    runs.next()
    assert job.active and job.number == 1
    clock.forward(10)
    runs.next()
    assert not job.active
    clock.forward(10)
    supervisor.stop()
    assert runs.none()


def test_job_interval_has_a_lower_bound(supervisor, job_function):
    assert AsyncJob(job_function).interval == 0.001


def test_job_longer_than_its_interval_overlaps_with_the_next_run(supervisor, clock):
    begun = queue.Queue()

    async def endless():
        begun.put(1)
        await asyncio.Event().wait()

    supervisor.create_async_job(target=endless, interval=10)
    clock.settle()
    begun.get(timeout=PATIENCE)
    clock.forward(10)
    begun.get(timeout=PATIENCE)
    supervisor.stop(wait=0)


def test_missed_starts_are_counted_and_not_made_up_for(supervisor, clock, runs, job_function):
    aloop = supervisor.create_aloop("busy", default=True)
    gate, inside = threading.Event(), threading.Event()
    job = supervisor.create_async_job(target=job_function, interval=10)
    clock.settle()
    runs.next()

    async def block():
        inside.set()
        gate.wait(PATIENCE)

    aloop.background_task(block())
    assert inside.wait(PATIENCE)
    clock.forward(10)                       # the loop does not come to this one
    clock.forward(10)
    clock.forward(10)
    assert job.missed == 2
    gate.set()
    runs.next()
    clock.forward(35)
    runs.next()
    assert job.missed == 4 and job.active


def test_job_that_raises_is_logged_and_goes_on(supervisor, clock, caplog):
    calls = queue.Queue()

    async def unlucky():
        calls.put(1)
        raise ZeroDivisionError("no luck")

    job = supervisor.create_async_job(target=unlucky, interval=10)
    clock.settle()
    calls.get(timeout=PATIENCE)
    clock.forward(10)
    calls.get(timeout=PATIENCE)
    wait_for(lambda: "no luck" in caplog.text, "it is logged")
    assert "unlucky" in caplog.text and "it goes on" in caplog.text and job.active


def test_scheduler_runs_in_its_loop(supervisor):
    aloop = supervisor.create_aloop("mine")
    got = queue.Queue()

    async def where():
        got.put(asyncio.get_running_loop())

    for name, loop in (("a", "mine"), ("b", aloop), ("c", aloop.get_loop())):
        scheduler = supervisor.create_async_job_scheduler(name, aloop=loop)
        assert isinstance(scheduler,
                          AsyncJobScheduler) and scheduler.active and scheduler.id == name
        supervisor.create_async_job(scheduler=name, target=where, number=1)
        assert got.get(timeout=PATIENCE) is aloop.get_loop()
        supervisor.create_async_job(scheduler=scheduler, target=where, number=1)
        assert got.get(timeout=PATIENCE) is aloop.get_loop()
    assert sorted(supervisor.get_info().async_job_schedulers) == ["a", "b", "c"]
    assert supervisor.get_info(async_job_schedulers=False).async_job_schedulers == {}


def test_second_scheduler_of_a_name_is_refused(supervisor, caplog):
    assert supervisor.create_async_job_scheduler("x")
    assert supervisor.create_async_job_scheduler("x") is False
    assert "named 'x' already" in caplog.text


def test_default_job_scheduler_is_made_when_needed(supervisor, runs, job_function):
    first = supervisor.create_async_job_scheduler("first", default=True)
    second = supervisor.create_async_job_scheduler("second")
    mine = supervisor.create_async_job(target=job_function, interval=1000)
    assert mine in first.jobs() and second.jobs() == []
    supervisor.set_default_async_job_scheduler("second")
    other = supervisor.create_async_job(target=job_function, interval=1000)
    supervisor.set_default_async_job_scheduler(first)
    assert other in second.jobs()
    assert supervisor.cancel_async_job(job=other) is True
    assert supervisor.cancel_async_job("second", other) is False


def test_scheduler_started_later_counts_times_from_its_start(supervisor, clock, runs, job_function):
    scheduler = supervisor.create_async_job_scheduler("later", start=False)
    assert not scheduler.active
    scheduler.create_threadsafe(job_function, timer=5)
    clock.settle()
    clock.forward(100)
    assert runs.none()
    scheduler.start()
    scheduler.start()
    clock.forward(5)
    runs.next()


def test_job_is_created_from_a_coroutine(supervisor, runs, job_function):
    aloop = supervisor.create_aloop("a")
    scheduler = supervisor.create_async_job_scheduler("x", aloop="a")
    job = aloop.run(scheduler.create(job_function, interval=1000))
    runs.next()
    assert scheduler.cancel(job)


def test_stop_of_a_job_scheduler_waits_for_its_runs(supervisor):
    begun = threading.Event()
    go = []

    async def hold():
        event = asyncio.Event()
        go.append((asyncio.get_running_loop(), event))
        begun.set()
        await event.wait()

    scheduler = supervisor.create_async_job_scheduler("x")
    scheduler.create_threadsafe(hold, interval=1000)
    assert begun.wait(PATIENCE)
    assert scheduler.stop(wait=0) is False
    stopper = started(scheduler.stop)
    loop, event = go[0]
    loop.call_soon_threadsafe(event.set)
    assert join(stopper) is True
    assert scheduler.stop() is True
    with pytest.raises(SupervisorStoppedError, match="has been stopped and takes no jobs"):
        scheduler.create_threadsafe(hold)


def test_default_job_scheduler_can_be_assigned(supervisor, runs, job_function):
    assert supervisor.default_async_job_scheduler is None
    first = supervisor.create_async_job_scheduler("first", default=True)
    second = supervisor.create_async_job_scheduler("second")
    assert supervisor.default_async_job_scheduler is first
    assert supervisor.async_job_schedulers == {"first": first, "second": second}
    supervisor.default_async_job_scheduler = second
    job = supervisor.create_async_job(target=job_function, timer=100)
    assert second.jobs() == [job] and first.jobs() == []
    supervisor.default_async_job_scheduler = None
    assert supervisor.default_async_job_scheduler is None
    with pytest.raises(TypeError, match="scheduler takes a job scheduler"):
        supervisor.default_async_job_scheduler = 5


def test_supervisors_stop_stops_job_schedulers(supervisor, job_function, runs):
    scheduler = supervisor.create_async_job_scheduler("x", default=True)
    job = supervisor.create_async_job(target=job_function, interval=1000)
    runs.next()
    supervisor.stop()
    assert not scheduler.active and not job.active
    assert supervisor.get_info().async_job_schedulers == {}
    supervisor.start()
    assert supervisor.create_async_job_scheduler("x")


def test_scheduler_whose_loop_is_closed_stops_with_an_error(supervisor, clock, caplog,
                                                            job_function, runs):
    aloop = supervisor.create_aloop("short")
    scheduler = supervisor.create_async_job_scheduler("x", aloop="short")
    scheduler.create_threadsafe(job_function, interval=10)
    clock.settle()
    runs.next()
    aloop.stop()
    clock.forward(10)
    assert not scheduler.active
    assert "is stopped: its loop is closed" in caplog.text
    assert scheduler.stop() is True


@pytest.mark.parametrize("options, error, message", [
    ({}, InvalidTypeError, "coroutine function as target=, which is missing"),
    ({"target": len}, InvalidTypeError,
     "target of an async job takes a coroutine function, not len"),
    ({"target": 5}, InvalidTypeError, "target of an async job takes a coroutine function, not int"),
    ({"interval": -1}, InvalidArgumentError, "interval of an async job takes seconds from 0 on"),
    ({"interval": "1"}, InvalidTypeError, "interval of an async job takes seconds or a timedelta, "
                                          "not str"),
    ({"timer": -1}, InvalidArgumentError, "timer of an async job takes seconds from 0 on"),
    ({"number": -1}, InvalidArgumentError, "number of an async job takes an integer 0 or more"),
    ({"number": 1.5}, InvalidTypeError, "number of an async job takes an integer, not float"),
    ({"intervall": 1}, InvalidTypeError, "an async job takes target, args, kwargs, interval, "
                                         "number and timer"),
    ({"scheduler": "nowhere"}, InvalidArgumentError, "no job scheduler is named 'nowhere'"),
    ({"scheduler": 5}, InvalidTypeError, "scheduler takes a job scheduler or its name, not int"),
])
def test_bad_arguments_of_jobs_are_refused(supervisor, options, error, message, job_function):
    with pytest.raises(error, match=message):
        supervisor.create_async_job(**({"target": job_function, **options} if options else {}))


def test_bad_arguments_of_job_schedulers_are_refused(supervisor, caplog):
    with pytest.raises(InvalidArgumentError, match="__supervisor__"):
        supervisor.create_async_job_scheduler("__supervisor__")
    with pytest.raises(InvalidTypeError, match="name is a string, not int"):
        supervisor.create_async_job_scheduler(5)
    with pytest.raises(InvalidArgumentError, match="no loop is named 'nowhere'"):
        supervisor.create_async_job_scheduler("x", aloop="nowhere")
    with pytest.raises(InvalidArgumentError, match="no job scheduler is named"):
        supervisor.set_default_async_job_scheduler("nowhere")
    assert supervisor.cancel_async_job() is False
    assert "without a job" in caplog.text
    with pytest.raises(InvalidTypeError, match="job takes what create_async_job returned"):
        supervisor.cancel_async_job(job="x")


def test_job_options_that_are_none_count_as_left_out(supervisor, runs, job_function):
    job = supervisor.create_async_job(target=job_function, args=None, kwargs=None, interval=None,
                                      number=None, timer=None)
    assert runs.next() == () and job.active
    job.cancel()


def test_cancelled_job_drops_its_references(supervisor, clock):
    import gc
    import weakref

    class Thing:
        pass

    async def target(thing):
        pass

    thing = Thing()
    gone = weakref.ref(thing)
    job = supervisor.create_async_job(target=target, args=(thing,), timer=100000)
    clock.settle()
    assert job.cancel() is True
    del thing, job
    gc.collect()
    assert gone() is None


def test_job_created_while_its_scheduler_starts_is_scheduled_once(supervisor, clock, runs,
                                                                  job_function):
    scheduler = supervisor.create_async_job_scheduler("late", start=False)

    class Meanwhile(dict):
        def values(self):
            found = list(super().values())
            if not found:
                scheduler.create_threadsafe(job_function, interval=10)
                found = list(super().values())
            return found

    JOBS.put(scheduler, Meanwhile())
    scheduler.start()
    clock.settle()
    (job,) = scheduler.jobs()
    assert next_start_at(job) == clock.now + 10     # once further, not twice
    assert runs.next() == ()
    clock.forward(10)
    assert runs.next() == ()
    clock.settle()
    supervisor.stop()
    assert runs.none()


def test_job_that_comes_while_its_scheduler_stops_is_refused(supervisor, clock, runs, job_function):
    scheduler = supervisor.create_async_job_scheduler("short")

    class Meanwhile(dict):
        def __setitem__(self, key, value):
            assert scheduler.stop()             # it sees no job yet
            super().__setitem__(key, value)

    JOBS.put(scheduler, Meanwhile())
    with pytest.raises(SupervisorStoppedError, match="has been stopped and takes no jobs"):
        scheduler.create_threadsafe(job_function, interval=10)
    assert not JOBS.of(scheduler)
    clock.forward(100)
    supervisor.stop()
    assert runs.none()


def test_job_scheduler_that_its_supervisor_has_stopped_is_not_started(supervisor, job_function):
    supervisor.start()
    scheduler = supervisor.create_async_job_scheduler("later", start=False)
    supervisor.stop()
    with pytest.raises(SupervisorStoppedError, match="has been stopped and takes no jobs"):
        scheduler.start()
    assert timer_thread_of(manager(supervisor).timer) is None


def test_jobs_end_with_a_stop_that_stops_no_schedulers(supervisor, job_function):
    scheduler = supervisor.create_async_job_scheduler("mine")
    job = scheduler.create_threadsafe(job_function, interval=1000)
    supervisor.stop(stop_schedulers=False)
    assert not job.active and not scheduler.active
    with pytest.raises(SupervisorStoppedError, match="has been stopped and takes no jobs"):
        scheduler.create_threadsafe(job_function)


@pytest.mark.parametrize("step", ["resolve", "start_timer"])
def test_job_scheduler_that_is_made_while_the_supervisor_stops_is_refused(supervisor, monkeypatch,
                                                                          job_function, step):
    """The loop of the application goes on."""
    loop, hold = asyncio.new_event_loop(), Hold()
    part = manager(supervisor).loops if step == "resolve" else manager(supervisor)
    plain = getattr(part, step)

    def held(*arguments):
        monkeypatch.undo()
        hold()
        return plain(*arguments)

    supervisor.start()
    monkeypatch.setattr(part, step, held)
    maker = started(lambda: supervisor.create_async_job_scheduler("x", aloop=loop))
    hold.reached()
    supervisor.stop()
    hold.go()
    assert isinstance(join(maker), SupervisorStoppedError)
    assert supervisor.async_job_schedulers == {}
    assert timer_thread_of(manager(supervisor).timer) is None
    loop.close()


def test_job_that_is_made_while_the_supervisor_stops_is_refused(supervisor, monkeypatch,
                                                                job_function):
    """The default scheduler is new, and the stop forgets it."""
    hold, plain = Hold(), AsyncJobScheduler.start

    def start(scheduler):
        plain(scheduler)
        hold()

    monkeypatch.setattr(AsyncJobScheduler, "start", start)
    maker = started(lambda: supervisor.create_async_job(target=job_function))
    hold.reached()
    supervisor.stop()
    hold.go()
    assert isinstance(join(maker), SupervisorStoppedError)


def test_name_of_a_stopped_scheduler_is_free_again(supervisor, runs, job_function):
    first = supervisor.create_async_job_scheduler("mine", default=True)
    first.stop()
    with pytest.raises(SupervisorStoppedError, match="has been stopped"):
        supervisor.create_async_job("mine", target=job_function)
    # by the supervisor's own
    assert supervisor.create_async_job(target=job_function, number=1).id
    assert runs.next() == ()
    second = supervisor.create_async_job_scheduler("mine")
    assert second is not False and second is not first
    supervisor.create_async_job("mine", target=job_function, args=(2,), number=1)
    assert runs.next() == (2,)


def test_own_scheduler_of_the_supervisor_can_become_the_default_again(supervisor, runs,
                                                                      job_function):
    supervisor.create_async_job(target=job_function, args=(1,), number=1)
    assert runs.next() == (1,)
    supervisor.create_async_job_scheduler("other", default=True).stop()
    supervisor.create_async_job(target=job_function, args=(2,), number=1)
    assert runs.next() == (2,)
    supervisor.set_default_async_job_scheduler(None)
    supervisor.create_async_job(target=job_function, args=(3,), number=1)
    assert runs.next() == (3,)


def test_scheduler_is_registered_once(supervisor, caplog):
    loops = []

    class Own:
        async def loop(self):
            over = asyncio.Event()
            loops.append((asyncio.get_running_loop(), over))
            await over.wait()

        def stop(self):
            for loop, over in loops:        # or the end of the supervisor would wait for them
                loop.call_soon_threadsafe(over.set)

    supervisor.start()
    own = Own()
    assert supervisor.register_scheduler(own) is True
    assert supervisor.register_scheduler(own) is False
    assert "knows the scheduler" in caplog.text
    wait_for(lambda: loops, "its loop runs")
    assert supervisor.unregister_scheduler(own) is True
    assert supervisor.register_scheduler(own) is True
    wait_for(lambda: len(loops) == 2, "its loop runs again")


def test_scheduler_that_two_threads_register_at_once_is_registered_once(supervisor):
    class Contested:
        answers = []
        loops = []

        @property
        def worker_loop(self):
            if not self.answers:
                self.answers.append(None)
                self.answers[0] = join(started(supervisor.register_scheduler, self))
            return None

        async def loop(self):
            over = asyncio.Event()
            self.loops.append((asyncio.get_running_loop(), over))
            await over.wait()

        def stop(self):
            for loop, over in self.loops:
                loop.call_soon_threadsafe(over.set)

    supervisor.start()
    own = Contested()
    answers = [supervisor.register_scheduler(own), *own.answers]
    assert sorted(answers) == [False, True]
    wait_for(lambda: own.loops, "its loop runs")
    assert supervisor.stop(wait=PATIENCE).complete
    assert len(own.loops) == 1


def test_partial_of_a_coroutine_function_runs_in_a_loop(supervisor, runs, job_function):
    supervisor.create_async_job(target=functools.partial(job_function, 1), number=1)
    assert runs.next() == (1,)


# -- schedulers of the application's own -----------------------------------------------------------


class Own:
    """A scheduler with two loops, which end when it is stopped."""

    extra_loops = ["second"]

    def __init__(self, loop=None):
        self.worker_loop = loop
        self.told = queue.Queue()
        self.events = []

    async def _wait(self, name):
        event = asyncio.Event()
        self.events.append((asyncio.get_running_loop(), event))
        self.told.put(name)
        await event.wait()
        self.told.put(name + " ended")

    async def loop(self):
        await self._wait("loop")

    async def second(self):
        await self._wait("second")

    def stop(self, wait=True):
        self.told.put(("stop", wait))
        for loop, event in self.events:
            loop.call_soon_threadsafe(event.set)


def test_own_scheduler_runs_until_the_stop(supervisor):
    supervisor.start()
    aloop = supervisor.create_aloop("a")
    own = Own(aloop.get_loop())
    assert supervisor.register_scheduler(own) is True
    assert {own.told.get(timeout=PATIENCE), own.told.get(timeout=PATIENCE)} == {"loop", "second"}
    assert [loop for loop, _ in own.events] == [aloop.get_loop()] * 2
    assert own in supervisor.get_schedulers() and own in supervisor.get_info().schedulers
    assert supervisor.stop().complete
    assert own.told.get(timeout=PATIENCE) == ("stop", True)
    ended = {own.told.get(timeout=PATIENCE), own.told.get(timeout=PATIENCE)}
    assert ended == {"loop ended", "second ended"}
    assert supervisor.get_schedulers() == {}


def test_scheduler_loop_that_does_not_end_is_cancelled_when_unregistered(supervisor):
    class Endless(Own):
        extra_loops = ()

        async def loop(self):
            try:
                await super().loop()
            except asyncio.CancelledError:
                self.told.put("cancelled")
                raise

    supervisor.start()
    own = Endless()
    supervisor.register_scheduler(own)
    assert own.told.get(timeout=PATIENCE) == "loop"
    assert supervisor.unregister_scheduler(own) is True
    assert own.told.get(timeout=PATIENCE) == "cancelled"
    assert supervisor.unregister_scheduler(own) is False


def test_loop_that_raises_is_logged(supervisor, caplog):
    class Broken:
        async def loop(self):
            raise ZeroDivisionError("no luck")

        def stop(self):
            pass

    supervisor.start()
    supervisor.register_scheduler(Broken())
    wait_for(lambda: "no luck" in caplog.text, "it is logged")


def test_supervisor_that_is_not_active_takes_no_scheduler(supervisor):
    assert supervisor.register_scheduler(Own()) is False
    assert supervisor.get_schedulers() == {}


def test_sync_scheduler_is_stopped_with_the_supervisor(supervisor):
    class Sync:
        told = []

        def stop(self):
            self.told.append("stop")

    sync = Sync()
    assert supervisor.register_sync_scheduler(sync) is True
    assert sync in supervisor.get_schedulers()
    assert supervisor.unregister_sync_scheduler(sync) is True
    assert supervisor.unregister_sync_scheduler(sync) is False
    supervisor.register_sync_scheduler(sync)
    supervisor.start()
    supervisor.stop()
    assert sync.told == ["stop"] and supervisor.get_schedulers() == {}


@pytest.mark.parametrize("wait, told", [(True, True), (5, True), (False, False)])
def test_sync_scheduler_gets_the_wait_argument(supervisor, wait, told):
    got = queue.Queue()

    class Sync:
        def stop(self, wait):
            got.put(wait)

    supervisor.start()
    supervisor.register_sync_scheduler(Sync())
    supervisor.stop(wait=wait)
    assert got.get(timeout=PATIENCE) is told


def test_stop_without_schedulers_leaves_own_schedulers_alone(supervisor, job_function):
    class Sync:
        def stop(self):
            raise AssertionError

    supervisor.start()
    sync = Sync()
    supervisor.register_sync_scheduler(sync)
    supervisor.stop(stop_schedulers=False)
    assert sync in supervisor.get_schedulers()


def test_scheduler_stop_that_raises_is_logged_and_the_next_stop(supervisor, caplog):
    told = []

    class Sync:
        def stop(self):
            told.append(1)
            raise ZeroDivisionError

    supervisor.start()
    for _ in range(2):
        supervisor.register_sync_scheduler(Sync())
    assert supervisor.stop().complete
    assert len(told) == 2 and caplog.text.count("raised") == 2


@pytest.mark.parametrize("scheduler, method",
                         [(object(), "stop"), (background_worker(len), "loop")])
def test_object_that_is_no_scheduler_is_refused(supervisor, scheduler, method):
    with pytest.raises(InvalidTypeError, match=f"a scheduler needs a method {method}\\(\\)"):
        supervisor.register_scheduler(scheduler)
    with pytest.raises(InvalidTypeError, match="needs a method stop"):
        supervisor.register_sync_scheduler(object())


# -- tasks that start late -------------------------------------------------------------------------


def test_late_start_limits_have_defaults():
    supervisor = TaskSupervisor()
    assert (supervisor.timeout_warning, supervisor.timeout_critical) == (5, 10)
    assert supervisor.timeout_warning_func is supervisor.timeout_critical_func is None


class Late:
    """A supervisor in which a task waits behind another one for so many seconds."""

    def __init__(self, supervisor, tt):
        self.supervisor = supervisor
        self.tt = tt
        self.told = queue.Queue()
        supervisor.timeout_warning_func = lambda task: self.told.put(("warning", task))
        supervisor.timeout_critical_func = lambda task: self.told.put(("critical", task))
        supervisor.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0)

    def one_waits(self):
        held = Runs(held=True)
        self.supervisor.put_task(held)
        held.next()
        task = self.supervisor.put_task(len, ("abc",))
        held.go()
        task.value(PATIENCE)
        return task


@pytest.mark.parametrize("warning, critical, told", [
    (0, 1000, "warning"), (1000, 0, "critical"), (0, 0, "critical"), (None, 0, "critical"),
    (0, None, "warning")])
def test_task_that_starts_late_is_logged(supervisor, caplog, warning, critical, told):
    late = Late(supervisor, 1)
    supervisor.timeout_warning, supervisor.timeout_critical = warning, critical
    task = late.one_waits()
    kinds = {}
    while task not in kinds:
        kind, found = late.told.get(timeout=PATIENCE)
        kinds[found] = kind
    assert kinds[task] == told
    wait_for(lambda: f"task len ({task.short_id}) started" in caplog.text, "it is logged")
    level = {"warning": "WARNING", "critical": "ERROR"}[told]
    assert level in {record.levelname for record in caplog.records
                     if task.short_id in record.getMessage()}


def test_message_of_a_late_start_can_be_chosen(supervisor, caplog):
    late = Late(supervisor, 1)
    supervisor.timeout_message = "{supervisor_id}/{task_id}/{name}/{target}/{time_spent:.0f}"
    supervisor.timeout_warning = 0
    task = late.one_waits()
    wanted = f"{supervisor.id}/{task.short_id}/len/{len}/"
    wait_for(lambda: wanted in caplog.text, "it is logged")


def test_late_start_message_that_cannot_be_filled_in_is_logged(supervisor, caplog):
    late = Late(supervisor, 1)
    supervisor.timeout_message = "{task}"
    supervisor.timeout_warning = 0
    task = late.one_waits()
    wait_for(lambda: f"task len ({task.short_id}) started" in caplog.text, "it is logged")
    assert ("timeout_message '{task}' cannot be filled in (KeyError: 'task'); it may name "
            "supervisor_id") in caplog.text


def test_late_start_limits_of_none_log_nothing(supervisor, caplog):
    late = Late(supervisor, 1)
    late.one_waits()
    supervisor.timeout_warning = supervisor.timeout_critical = None
    late.one_waits()
    supervisor.stop()
    assert late.told.empty() and "started" not in caplog.text


def test_delay_of_a_task_does_not_count_as_lateness(supervisor, clock, caplog):
    from atasker_like import background_task

    supervisor.timeout_warning = supervisor.timeout_critical = 500
    task = background_task(len, delay=1000, supervisor=supervisor)("abc")
    clock.settle()
    set_queued_at(task, queued_at(task) - 1000)     # as if it had been submitted then
    clock.now = float("inf")
    clock.settle()
    task.value(PATIENCE)
    supervisor.stop()
    assert "started" not in caplog.text


@pytest.mark.parametrize("tt", [0, 2], ids=["coroutines", "processes"])
def test_late_tasks_of_all_kinds_are_reported(supervisor, tt):
    async def coroutine(word):
        return len(word)

    late = Late(supervisor, tt)
    if tt == 2:
        supervisor.create_mp_pool(processes=1)
    supervisor.timeout_warning = 0
    task = supervisor.put_task(coroutine if tt == 0 else len, ("abc",), tt=tt)
    assert task.value(2 * PATIENCE) == 3
    assert late.told.get(timeout=PATIENCE) == ("warning", task)


def test_many_late_starts_are_summed_up(supervisor, caplog):
    late = Late(supervisor, 1)
    held, first = Runs(held=True), Runs(held=True)
    supervisor.timeout_warning_func = lambda task: (late.told.put(task), first(task))
    supervisor.put_task(held)
    held.next()
    supervisor.timeout_warning = 0
    tasks = [supervisor.put_task(len, ("abc",)) for _ in range(30)]
    held.go()
    # the hook runs for the first task; the rest start late meanwhile
    first.next()
    for task in tasks:
        task.wait(PATIENCE)
    first.release()
    assert {late.told.get(timeout=PATIENCE) for _ in tasks} == set(tasks)
    wait_for(lambda: "tasks more started late" in caplog.text, "they are summed up")
    assert sum("after it was queued" in record.getMessage() for record in caplog.records) < 30


def test_function_that_raises_is_logged(supervisor, caplog):
    late = Late(supervisor, 1)
    supervisor.timeout_warning = 0
    supervisor.timeout_warning_func = lambda task: 1 / 0
    late.one_waits()
    wait_for(lambda: "timeout_warning_func raised for task" in caplog.text, "it is logged")


@pytest.mark.parametrize("name", ["timeout_warning", "timeout_critical"])
def test_late_start_limits_that_are_no_seconds_are_refused(supervisor, name):
    with pytest.raises(InvalidTypeError,
                       match=name + " takes seconds, a timedelta or None, not str"):
        setattr(supervisor, name, "5")
    with pytest.raises(InvalidArgumentError, match=name + " takes seconds from 0 on"):
        setattr(supervisor, name, -1)
