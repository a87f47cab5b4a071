"""Law 12: waits that cannot end, and that go through lanes, services, workers and stops."""
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from atasker_like import (Lane, TaskSupervisor, WaitDeadlockError, WaitTimeoutError,
                          background_task, background_worker, service)
from tests.support import PATIENCE
from tests.support.threads import wait_for

pytestmark = pytest.mark.usefixtures("told")

STUCK = "hold all slots"


class Count(service.Task):
    number: int


@pytest.fixture
def supervisor(make_supervisor):
    return make_supervisor()


# -- lanes -----------------------------------------------------------------------------------------


def circle_of_lanes(supervisor, limit):
    """A function that counts down through two lanes, the first of which has a limit."""
    first, second = Lane("first", limit=limit), Lane("second", limit=1)

    @background_task(lane=first, supervisor=supervisor)
    async def one(number):
        return number and await two(number - 1)

    @background_task(lane=second, supervisor=supervisor)
    async def two(number):
        return number and await one(number - 1)

    return one


def test_coroutines_in_a_circle_of_two_lanes_are_warned_of(supervisor, told):
    task = circle_of_lanes(supervisor, limit=1)(3)
    wait_for(lambda: told(STUCK), "the warning")
    assert len(told(STUCK)) == 1 and "the first is " in told(STUCK)[0]
    task.cancel()


def test_coroutines_through_two_lanes_with_room_are_not_warned_of(supervisor, told):
    assert circle_of_lanes(supervisor, limit=2)(2).value(PATIENCE) == 0
    assert not told(STUCK)


# -- services --------------------------------------------------------------------------------------


def test_handler_that_calls_its_own_service_is_warned_of(supervisor, told):
    own = service.Service("own", supervisor=supervisor)

    @own.handler(Count)
    def count(task):
        return task.number and client.execute(Count(task.number - 1)).result

    with service.SyncClient(own) as client, service.SyncClient(own) as caller:
        with pytest.raises(WaitTimeoutError):
            caller.execute(Count(1), timeout=0.5)
        wait_for(lambda: told(STUCK), "the warning")
        assert "own.Count" in told(STUCK)[0] and "parallel = True" in told(STUCK)[0]


def test_coroutine_handlers_of_two_services_in_a_circle_are_warned_of(supervisor, told):
    left = service.Service("left", supervisor=supervisor)
    right = service.Service("right", supervisor=supervisor)

    def handle(here, there):
        @here.handler(Count)
        async def count(task):
            async with service.Client(there) as client:
                return task.number and (await client.execute(Count(task.number - 1))).result

    handle(left, right)
    handle(right, left)
    with service.SyncClient(left) as caller:
        assert caller.execute(Count(1), timeout=PATIENCE).result == 0
        assert not told(STUCK)
        with pytest.raises(WaitTimeoutError):
            caller.execute(Count(2), timeout=0.5)
        wait_for(lambda: told(STUCK), "the warning")


def test_request_to_a_service_whose_lane_is_paused_is_warned_of(supervisor, told):
    paused = service.Service("paused", supervisor=supervisor)

    @paused.handler(Count)
    async def count(task):
        return task.number

    paused.lane.pause()
    with service.SyncClient(paused) as client, ThreadPoolExecutor(1) as thread:
        call = thread.submit(client.execute, Count(5))
        wait_for(lambda: told("lane 'service paused' is paused"), "the warning")
        paused.lane.resume()
        assert call.result(PATIENCE).result == 5


# -- workers and stops -----------------------------------------------------------------------------


def test_workers_that_stop_each_other_get_an_error(supervisor, caplog):
    both = threading.Barrier(2)

    def stop_the_other(name):
        both.wait(PATIENCE)
        workers[name].stop()

    make = background_worker(interval=60, supervisor=supervisor)
    workers = {"left": make(lambda **_: stop_the_other("right")),
               "right": make(lambda **_: stop_the_other("left"))}
    for worker in workers.values():
        worker.start()
    for worker in workers.values():
        assert worker.wait_until_stop(PATIENCE)
    assert caplog.text.count("WaitDeadlockError: tasks wait for each other in a circle") == 1


def test_task_that_stops_a_worker_that_waits_for_it_gets_an_error(supervisor):
    ended = []

    @background_worker(interval=60, supervisor=supervisor)
    def worker(**_):
        task = stop()
        try:
            ended.append(task.exception())
        except WaitDeadlockError as error:      # the worker was the last one that began to wait
            ended.append(error)
            worker.stop(wait=False)

    stop = background_task(worker.stop, supervisor=supervisor)
    worker.start()
    assert worker.wait_until_stop(PATIENCE)
    assert isinstance(ended[0], WaitDeadlockError)


def test_stop_of_a_supervisor_whose_task_waits_for_the_caller_is_warned_of(supervisor, told):
    other = TaskSupervisor()
    began = threading.Event()

    def stop():
        assert began.wait(PATIENCE)
        return other.stop()

    stopping = background_task(stop, supervisor=supervisor)()

    def wait():
        began.set()
        return stopping.value()

    waiting = background_task(wait, supervisor=other)()
    wait_for(lambda: told("tasks wait for each other in a circle"), "the warning")
    supervisor.stop(wait=0)         # gives the stopping task up
    assert stopping.cancelled()
    waiting.exception(PATIENCE)
