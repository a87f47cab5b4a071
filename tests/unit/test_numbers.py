"""Numbers that stand for time: in waits, and in options."""
import asyncio
import threading
from datetime import timedelta
from math import inf, nan

import pytest

from atasker_like import (AsyncQueue, BackgroundWorker, InvalidArgumentError, InvalidTypeError,
                          Lane, Locker, MemoryBackend, SyncResult, TaskOptions, ThreadQueue,
                          WaitTimeoutError, as_completed, background_task, background_worker,
                          co_as_completed, co_mp_apply, co_wait_completed, current_task,
                          iter_completed, tmap, wait_completed)
from atasker_like._checks import in_seconds, seconds, seconds_or_none, wait_seconds
from atasker_like.engine.blocking import deadline_of, remaining

#: No float can hold it.
TOO_LARGE = 10 ** 400


async def collect(tasks, timeout):
    return [task async for task in co_as_completed(tasks, timeout)]


async def in_an_async_queue(call):
    queue = AsyncQueue()
    queue.submit(asyncio.sleep, 60)
    try:
        return await call(queue)
    finally:
        queue.cancel()


def of_a_queue(call):
    def with_queue(supervisor, task, timeout):
        queue = ThreadQueue(supervisor=supervisor)
        group = queue.group(len, ["1", "2"])
        try:
            return call(queue, group, timeout)
        finally:
            queue.cancel()

    return with_queue


async def forever():
    await asyncio.sleep(60)


def stop_a_loop(supervisor, task, wait):
    supervisor.create_aloop("mine")
    supervisor.get_aloop("mine").background_task(forever())
    return supervisor.stop_aloop("mine", wait)


def worker_of(supervisor):
    worker = background_worker(lambda _worker: None, interval=60, supervisor=supervisor)
    worker.start()
    return worker


def stop_a_job_scheduler(supervisor, task, wait):
    scheduler = supervisor.create_async_job_scheduler("mine")
    try:
        return scheduler.stop(wait)
    finally:
        scheduler.stop(False)


def flush(supervisor, task, timeout):
    supervisor.set_result_backend(MemoryBackend())
    return supervisor.result_backend.flush(timeout)


def result_of(supervisor, task, timeout):
    return SyncResult(task.id, MemoryBackend()).get(timeout)


WAITS = {
    "value": lambda supervisor, task, timeout: task.value(timeout),
    "exception": lambda supervisor, task, timeout: task.exception(timeout),
    "wait": lambda supervisor, task, timeout: task.wait(timeout),
    "completed.wait": lambda supervisor, task, timeout: task.completed.wait(timeout),
    "started.wait": lambda supervisor, task, timeout: task.started.wait(timeout),
    "wait_completed": lambda supervisor, task, timeout: wait_completed(task, timeout),
    "as_completed": lambda supervisor, task, timeout: list(as_completed([task], timeout)),
    "iter_completed": lambda supervisor, task, timeout: list(iter_completed([task], timeout)),
    "co_wait_completed": lambda supervisor, task,
    timeout: asyncio.run(co_wait_completed([task], timeout)),
    "co_as_completed": lambda supervisor, task, timeout: asyncio.run(collect([task], timeout)),
    "thread_pool.map": lambda supervisor, task,
    timeout: list(supervisor.thread_pool.map(len, ["1"], timeout=timeout)),
    "stop": lambda supervisor, task, wait: supervisor.stop(wait),
    "a loop's stop": stop_a_loop,
    "a worker's stop": lambda supervisor, task, wait: worker_of(supervisor).stop(wait),
    "a worker's restart": lambda supervisor, task, wait: worker_of(supervisor).restart(wait=wait),
    "wait_until_stop": lambda supervisor, task,
    timeout: worker_of(supervisor).wait_until_stop(timeout),
    "a worker's join": lambda supervisor, task, timeout: worker_of(supervisor).join(timeout),
    "a job scheduler's stop": stop_a_job_scheduler,
    "a queue's run": of_a_queue(lambda queue, group, timeout: queue.run(timeout)),
    "a queue's join": of_a_queue(lambda queue, group, timeout: queue.join(timeout)),
    "a handle's wait": of_a_queue(lambda queue, group, timeout: group.handles[0].wait(timeout)),
    "a group's wait": of_a_queue(lambda queue, group, timeout: group.wait(timeout)),
    "a group's values": of_a_queue(lambda queue, group, timeout: group.values(timeout)),
    "a group's as_completed":
        of_a_queue(lambda queue, group, timeout: list(group.as_completed(timeout))),
    "an AsyncQueue's run": lambda supervisor, task, timeout: asyncio.run(
        in_an_async_queue(lambda queue: queue.run(timeout))),
    "an AsyncQueue's join": lambda supervisor, task, timeout: asyncio.run(
        in_an_async_queue(lambda queue: queue.join(timeout))),
    "a backend's flush": flush,
    "a result's get": result_of,
}

#: Returns as soon as the time is up, and says so by its value, or by an error.
BOUNDED = [way for way in WAITS
           if way not in ("thread_pool.map", "a worker's restart", "a backend's flush")]


@pytest.fixture
def task(supervisor):
    """A task that waits for its time."""
    return background_task(len, supervisor=supervisor, delay=3600)("four")


@pytest.mark.parametrize("wrong, error",
                         [(nan, InvalidArgumentError), (TOO_LARGE, InvalidArgumentError),
                          ("5", InvalidTypeError), ([], InvalidTypeError)],
                         ids=["nan", "too large", "text", "a list"])
@pytest.mark.parametrize("way", WAITS)
def test_wait_for_no_number_of_seconds_is_refused(supervisor, task, way, wrong, error):
    with pytest.raises(error, match="^(timeout|wait) takes seconds"):
        WAITS[way](supervisor, task, wrong)
    assert supervisor.is_active, "it was refused before anything happened"


@pytest.mark.parametrize("none", [-1, timedelta(0), timedelta(days=-1), -1e300], ids=str)
@pytest.mark.parametrize("way", BOUNDED)
def test_wait_for_less_than_no_time_is_no_wait(supervisor, task, way, none):
    try:
        WAITS[way](supervisor, task, none)
    except WaitTimeoutError as error:
        assert " -" not in str(error) and "timedelta" not in str(error)


@pytest.mark.parametrize("way", ["value", "exception", "wait", "completed.wait", "started.wait"])
def test_nan_is_refused_when_the_task_has_ended(supervisor, way):
    task = supervisor.put_task(len, ("four",))
    task.wait(10)
    with pytest.raises(InvalidArgumentError, match="timeout takes seconds"):
        WAITS[way](supervisor, task, nan)


@pytest.mark.parametrize("long", [inf, timedelta.max, 1e300, timedelta(seconds=10)], ids=str)
@pytest.mark.parametrize("way",
                         ["value", "wait_completed", "as_completed", "co_wait_completed",
                          "co_as_completed"])
def test_wait_without_limit_or_for_a_long_time_waits(supervisor, way, long):
    task = background_task(len, supervisor=supervisor, delay=0.01)("four")
    assert WAITS[way](supervisor, task, long) in (4, [4], [task])


@pytest.mark.parametrize("long", [inf, timedelta.max, 1e300], ids=str)
def test_stop_without_limit_waits(make_supervisor, long):
    supervisor = make_supervisor()
    supervisor.create_aloop("mine")
    task = supervisor.put_task(len, ("four",))
    assert supervisor.stop_aloop("mine", long)
    assert supervisor.stop(long).complete
    assert task.result == 4


# -- options ---------------------------------------------------------------------------------------


def restarted(**times):
    def start(supervisor, value):
        worker = background_worker(len, interval=60, supervisor=supervisor)
        worker.start("x", **{name: value for name in times})

    return start


def retry(supervisor, value):
    def again():
        task = current_task()
        return task.is_last_retry or task.retry(countdown=value)

    error = background_task(again, supervisor=supervisor, retries=1,
                            retry_on=EOFError)().exception(10)
    if error is not None:
        raise error


def limit_of_lateness(name):
    return lambda supervisor, value: setattr(supervisor, name, value)


def change_a_locker(supervisor, value):
    locker = Locker("tests")
    locker.timeout = value


#: Durations, and whether None and infinity set no limit there.
DURATIONS = {
    "delay": (lambda supervisor, value: TaskOptions(delay=value), False),
    "timeout": (lambda supervisor, value: TaskOptions(timeout=value), True),
    "retry_delay": (lambda supervisor, value: TaskOptions(retry_delay=value), False),
    "max_retry_delay": (lambda supervisor, value: TaskOptions(max_retry_delay=value), True),
    "a task's timeout": (lambda supervisor, value: background_task(len, timeout=value), True),
    "options()": (lambda supervisor, value: background_task(len).options(timeout=value), True),
    "put_task":
        (lambda supervisor, value: supervisor.put_task(len, ("x",), delay=value).cancel(), False),
    "co_mp_apply": (lambda supervisor,
                    value: asyncio.run(co_mp_apply(len, ("x",), delay=value,
                                                   supervisor=supervisor)),
                    False),
    "countdown": (retry, False),
    "aging of threads": (lambda supervisor, value: supervisor.set_thread_pool(aging=value), True),
    "aging of processes": (lambda supervisor, value: supervisor.set_mp_pool(aging=value), True),
    "initializer_timeout":
        (lambda supervisor, value: supervisor.set_mp_pool(initializer_timeout=value), True),
    "max_age": (lambda supervisor, value: supervisor.set_mp_pool(max_age=value), True),
    "timeout_warning": (limit_of_lateness("timeout_warning"), True),
    "timeout_critical": (limit_of_lateness("timeout_critical"), True),
    "a queue's timeout":
        (lambda supervisor, value: ThreadQueue(supervisor=supervisor, timeout=value), True),
    "tmap":
        (lambda supervisor, value: tmap(len, ["x"], supervisor=supervisor, timeout=value), True),
    "interval": (lambda supervisor, value: background_worker(len, interval=value), False),
    "a worker's delay": (lambda supervisor, value: background_worker(len, delay=value), False),
    "delay_before": (lambda supervisor, value: background_worker(len, delay_before=value), False),
    "within": (lambda supervisor, value: BackgroundWorker(within=value), False),
    "_interval": (restarted(_interval=1), False),
    "_delay": (restarted(_delay=1), False),
    "a job's interval": (lambda supervisor,
                         value: supervisor.create_async_job(target=forever,
                                                            interval=value).cancel(),
                         False),
    "a job's timer": (lambda supervisor,
                      value: supervisor.create_async_job(target=forever, timer=value).cancel(),
                      False),
    "a Locker": (lambda supervisor, value: Locker("tests", value), True),
    "a Locker's attribute": (change_a_locker, True),
    "ttl": (lambda supervisor, value: MemoryBackend(ttl=value), True),
    "poll_interval":
        (lambda supervisor, value: SyncResult("x", MemoryBackend()).get(0, value), False),
}

#: Other numbers.
NUMBERS = {
    "run_at": lambda supervisor, value: TaskOptions(run_at=value),
    "backoff": lambda supervisor, value: TaskOptions(backoff=value),
    "jitter": lambda supervisor, value: TaskOptions(jitter=value),
    "a lane's rate": lambda supervisor, value: Lane("x", rate=value),
    "a queue's rate": lambda supervisor, value: ThreadQueue(rate=value),
}


@pytest.mark.parametrize("wrong", [nan, -1, -0.001, TOO_LARGE, -inf, timedelta(seconds=-1)],
                         ids=["nan", "-1", "-0.001", "too large", "-inf", "a negative timedelta"])
@pytest.mark.parametrize("option", DURATIONS)
def test_impossible_duration_of_an_option_is_refused(supervisor, option, wrong):
    with pytest.raises(InvalidArgumentError, match=" takes seconds (from 0 on|above 0)"):
        DURATIONS[option][0](supervisor, wrong)


@pytest.mark.parametrize("wrong", ["5", True, [1]], ids=repr)
@pytest.mark.parametrize("option", DURATIONS)
def test_option_of_another_type_than_a_duration_is_refused(supervisor, option, wrong):
    with pytest.raises(InvalidTypeError, match=" takes seconds"):
        DURATIONS[option][0](supervisor, wrong)


@pytest.mark.parametrize("option", [option for option in DURATIONS if option not in (
    "co_mp_apply", "poll_interval", "tmap")])
def test_timedelta_is_a_duration(supervisor, option):
    DURATIONS[option][0](supervisor, timedelta(milliseconds=1))


@pytest.mark.parametrize("option", DURATIONS)
def test_infinity_is_none_where_none_sets_no_limit(supervisor, option):
    make, unlimited = DURATIONS[option]
    if unlimited:
        make(supervisor, inf)
    else:
        with pytest.raises(InvalidArgumentError, match=" takes seconds"):
            make(supervisor, inf)


@pytest.mark.parametrize("wrong", [nan, -1, TOO_LARGE, inf], ids=["nan", "-1", "too large", "inf"])
@pytest.mark.parametrize("option", NUMBERS)
def test_impossible_number_of_an_option_is_refused(supervisor, option, wrong):
    with pytest.raises(InvalidArgumentError, match=" takes a number"):
        NUMBERS[option](supervisor, wrong)


def test_options_keep_durations_in_seconds():
    options = TaskOptions(delay=timedelta(minutes=1), timeout=timedelta(seconds=2), retry_delay=3,
                          max_retry_delay=inf)
    assert ((options.delay, options.timeout, options.retry_delay, options.max_retry_delay)
            == (60.0, 2.0, 3, None))
    assert repr(TaskOptions(timeout=5)) == "TaskOptions(timeout=5)"


def test_timeout_as_a_timedelta_ends_a_task(supervisor):
    gate = threading.Event()
    task = background_task(gate.wait, supervisor=supervisor, timeout=timedelta(milliseconds=5))(30)
    assert "timeout of 0.005 s" in str(task.exception(10))
    gate.set()


def test_retry_pause_has_an_end():
    options = TaskOptions(retries=5, retry_delay=1e308, backoff="exponential")
    assert options.retry_pause(2) == options.retry_pause(5000) == 1e9


def test_interval_that_no_clock_can_tell_is_kept_as_well_as_can_be(supervisor):
    runs = []
    worker = background_worker(lambda: runs.append(1) or len(runs) < 3, interval=5e-324,
                               overlap="skip",
                               supervisor=supervisor)
    worker.start()
    assert worker.wait_until_stop(10) and worker.stats().runs == 3


# -- the checks themselves -------------------------------------------------------------------------


def test_checks_return_plain_numbers():
    class Number(float):
        pass

    assert (seconds("x", 5), seconds("x", 0.5), seconds_or_none("x", None)) == (5, 0.5, None)
    assert type(seconds("x", Number(2))) is float
    assert (wait_seconds("x", None), wait_seconds("x", inf), wait_seconds("x", -5),
            wait_seconds("x", -inf)) == (
        None, None, 0, 0)
    assert ((in_seconds(timedelta(milliseconds=100)), in_seconds(-3), in_seconds(2))
            == ("0.1 s", "0 s", "2 s"))


def test_number_with_more_digits_than_python_writes_is_refused():
    with pytest.raises(InvalidArgumentError, match="not a number that large"):
        deadline_of(10 ** 5000)


def test_remaining_time_is_never_longer_than_a_lock_can_wait():
    assert remaining(deadline_of(1e300)) == threading.TIMEOUT_MAX
