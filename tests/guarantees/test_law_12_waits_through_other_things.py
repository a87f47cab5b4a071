"""Law 12: waits that cannot end, and that go through lanes, services, workers and stops."""
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from atasker_like import (AsyncQueue, Lane, ServiceConnectionError, TaskCollection, TaskSupervisor,
                          ThreadQueue, WaitDeadlockError, _modes, background_task,
                          background_worker, current_task, service)
from atasker_like.engine import wait_graph
from tests.support import PATIENCE
from tests.support.internals.engine import running_loop_class
from tests.support.internals.queue import lane_of_queue
from tests.support.internals.wait_graph import (waits_of_callers, waits_of_coroutines,
                                                waits_of_threads)
from tests.support.threads import join, started, wait_for

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


@pytest.mark.parametrize("last", ["the request", "the wait of the thread"])
def test_handler_that_calls_its_own_service_is_warned_of(supervisor, told, monkeypatch, last):
    start = running_loop_class().start

    def start_and_let_it_wait(running, coro):
        future = start(running, coro)
        if current_task() is not None:
            wait_for(lambda: future.done() or any(isinstance(waiter, wait_graph.LoopRun)
                                                  for waiter in list(waits_of_coroutines())),
                     "the request")
        return future

    if last == "the wait of the thread":
        monkeypatch.setattr(running_loop_class(), "start", start_and_let_it_wait)
    own = service.Service("own", supervisor=supervisor)

    @own.handler(Count)
    def count(task):
        return task.number and client.execute(Count(task.number - 1)).result

    with service.SyncClient(own) as client, service.SyncClient(own) as caller:
        call = started(caller.execute, Count(1))
        wait_for(lambda: told(STUCK), "the warning")
        assert "own.Count" in told(STUCK)[0] and "parallel = True" in told(STUCK)[0]
    assert isinstance(join(call), ServiceConnectionError)       # the client is closed


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
        call = started(caller.execute, Count(2))
        wait_for(lambda: told(STUCK), "the warning")
    assert isinstance(join(call), ServiceConnectionError)


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


@pytest.mark.parametrize("kind", ["interval", "queue"])
@pytest.mark.parametrize("last", ["the run", "the join"])
def test_task_that_joins_a_worker_that_waits_for_it_gets_an_error(supervisor, kind, last, told):
    tasks, ready, raised = {}, threading.Event(), threading.Event()

    def run(*_, **__):
        assert ready.wait(PATIENCE)
        if raised.is_set():
            return
        wait_for(lambda: last == "the join" or tasks["joins"] in waits_of_threads(), "the join")
        try:
            tasks["joins"].wait()
        except WaitDeadlockError:
            raised.set()

    def joins():
        assert ready.wait(PATIENCE)
        wait_for(lambda: last == "the run" or any(tasks["joins"] in wait.tasks[:1] for wait in
                                                  list(waits_of_threads().values())), "the run")
        return worker.wait_until_stop() if kind == "interval" else worker.join()

    options = {"interval": 60} if kind == "interval" else {"q": True}
    worker = background_worker(supervisor=supervisor, **options)(run)
    if kind == "queue":
        worker.put_threadsafe(1)
    worker.start()
    tasks["joins"] = background_task(joins, supervisor=supervisor)()
    ready.set()
    if last == "the join":
        assert type(tasks["joins"].exception(PATIENCE)) is WaitDeadlockError
    else:
        assert raised.wait(PATIENCE)
    worker.stop()
    tasks["joins"].exception(PATIENCE)
    assert not told("circle")


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


@pytest.mark.parametrize("last", ["the function", "the run"])
def test_function_that_waits_for_the_next_run_of_its_collection_gets_an_error(supervisor, last,
                                                                              monkeypatch, told):
    monkeypatch.setattr(_modes, "legacy", True)
    collection = TaskCollection(supervisor=supervisor)
    tasks, ready, raised = {}, threading.Event(), []

    def function():
        assert ready.wait(PATIENCE)
        if raised:
            return
        wait_for(lambda: last == "the run" or tasks["next"] in waits_of_threads(), "the next run")
        try:
            tasks["next"].wait()
        except WaitDeadlockError as error:
            raised.append(error)

    def run_next():
        assert ready.wait(PATIENCE)
        wait_for(lambda: last == "the function" or any(
            tasks["next"] in wait.tasks[:1] for wait in list(waits_of_threads().values())),
            "the function")
        return collection.run()

    collection.append(function)
    first = background_task(collection.run, supervisor=supervisor)()
    wait_for(lambda: collection.lock.locked(), "the first run")
    tasks["next"] = background_task(run_next, supervisor=supervisor)()
    ready.set()
    assert first.exception(PATIENCE) is None
    error = tasks["next"].exception(PATIENCE)
    if last == "the run":
        assert type(error) is WaitDeadlockError and not raised
    else:
        assert error is None and raised
    assert not told("circle") and not collection.lock.locked()


# -- done callbacks and hooks ----------------------------------------------------------------------


class Calls:
    """A done callback or a hook that waits for a task, and notes its outcome."""

    def __init__(self, supervisor, kind, waits=lambda task: task.value(), last="the task"):
        self.supervisor, self.waits, self.last = supervisor, waits, last
        self.outcomes, self.tasks = [], {}
        self.ready, self.begun, self.gate = (threading.Event() for _ in range(3))
        hooks = {} if kind == "callback" else {kind: self}
        self.queue = ThreadQueue(supervisor=supervisor, **hooks).start()
        handle = self.queue.submit(self.gate.wait, PATIENCE)
        if kind == "callback":
            handle.add_done_callback(self)

    def __call__(self, *_):
        assert self.ready.wait(PATIENCE)
        self.begun.set()
        if self.last == "the call":
            wait_for(lambda: self.tasks["x"] in waits_of_threads(), "the wait of the task")
        try:
            self.outcomes.append(self.waits(self.tasks["x"]))
        except WaitDeadlockError as error:
            self.outcomes.append(error)

    def begin(self, join):
        """Start a task that waits for the queue."""
        def x():
            assert self.begun.wait(PATIENCE)
            if self.last == "the task":
                wait_for(waits_of_callers, "the wait of the call")
            return join(self.queue)

        self.tasks["x"] = background_task(x, supervisor=self.supervisor)()
        self.ready.set()
        self.gate.set()

    def end(self):
        """Return the error of the wait that came last, or None."""
        error = self.tasks["x"].exception(PATIENCE)
        wait_for(lambda: self.outcomes, "the end of the call")
        return error if self.last == "the task" else self.outcomes[0]


KINDS = pytest.mark.parametrize("kind", ["callback", "on_start", "on_complete"])
LAST = pytest.mark.parametrize("last", ["the task", "the call"])


@KINDS
@LAST
@pytest.mark.parametrize("way", ["join", "shutdown"])
def test_call_that_waits_for_a_task_that_waits_for_its_queue_gets_an_error(supervisor, kind, last,
                                                                           way, told):
    calls = Calls(supervisor, kind, last=last)
    calls.begin({"join": ThreadQueue.join, "shutdown": ThreadQueue.shutdown}[way])
    error = calls.end()
    assert type(error) is WaitDeadlockError
    text = str(error)
    assert text.startswith("tasks and callbacks wait for each other in a circle: ")
    assert "task x (" in text
    assert ("a done callback of task " if kind == "callback" else "a hook ") in text
    assert not told("circle")
    calls.queue.shutdown()


@KINDS
def test_call_with_a_timeout_in_a_circle_is_warned_of(supervisor, kind, told):
    calls = Calls(supervisor, kind, waits=lambda task: task.value(PATIENCE))
    calls.begin(ThreadQueue.join)
    wait_for(lambda: told("in a circle"), "the warning")
    calls.tasks["x"].mark_completed()
    assert calls.end() is None and calls.outcomes == [None]
    calls.queue.shutdown()


@KINDS
def test_call_that_waits_for_a_task_of_another_queue_is_no_circle(supervisor, kind, told):
    calls = Calls(supervisor, kind)
    with ThreadQueue(supervisor=supervisor) as other:
        calls.begin(lambda _: other.join())
        assert calls.end() is None
    calls.queue.shutdown()
    assert calls.outcomes == [None] and not told("circle")


def test_call_of_a_hook_that_comes_before_those_of_another_queue_gets_an_error(supervisor):
    """A thread calls the hooks of all queues in order."""
    calls = Calls(supervisor, "on_complete")
    seen = []

    def join_another(_):
        with ThreadQueue(supervisor=supervisor, on_complete=seen.append) as other:
            other.submit(abs, -1).wait(PATIENCE)

    calls.begin(join_another)
    assert type(calls.end()) is WaitDeadlockError
    calls.queue.shutdown()
    wait_for(lambda: seen, "the hook of the other queue")


def test_callback_that_another_task_calls_is_in_the_circle(supervisor):
    """A task cancels another one, and so calls its done callbacks."""
    queue = ThreadQueue(supervisor=supervisor, workers=1)
    handle, ready, tasks = queue.submit(abs, -1), threading.Event(), {}

    def joins():
        assert ready.wait(PATIENCE)
        wait_for(waits_of_callers, "the wait of the callback")
        return queue.join()

    handle.add_done_callback(lambda _: tasks["joins"].value())
    tasks["joins"] = background_task(joins, supervisor=supervisor)()
    tasks["cancels"] = background_task(handle.cancel, supervisor=supervisor)()
    ready.set()
    assert type(tasks["joins"].exception(PATIENCE)) is WaitDeadlockError
    assert type(tasks["cancels"].exception(PATIENCE)) in (type(None), WaitDeadlockError)


def test_callback_outside_of_a_task_is_in_the_circle(supervisor):
    """The thread that cancels a task calls its done callbacks."""
    queue = ThreadQueue(supervisor=supervisor)
    handle, tasks = queue.submit(abs, -1), {}

    def joins():
        wait_for(waits_of_callers, "the wait of the callback")
        return queue.join()

    tasks["joins"] = background_task(joins, supervisor=supervisor)()
    handle.add_done_callback(lambda _: tasks["joins"].value())
    thread = started(handle.cancel)
    assert type(tasks["joins"].exception(PATIENCE)) is WaitDeadlockError
    assert join(thread) is True


def test_coroutine_that_awaits_a_queue_whose_callback_waits_for_it_gets_an_error(supervisor):
    aloop = supervisor.create_aloop("a")
    queue, tasks = aloop.run(make_queue(supervisor)), {}

    async def joins():
        while not waits_of_callers():
            await no_time()
        return await queue.join()

    def wait(_):
        tasks["joins"].value()

    async def submit():
        return queue.submit(no_time)

    lane_of_queue(queue).pause()
    task = aloop.run(submit()).task
    task.add_done_callback(wait)
    tasks["joins"] = background_task(joins, supervisor=supervisor, loop=aloop)()
    thread = started(task.cancel)
    assert type(tasks["joins"].exception(PATIENCE)) is WaitDeadlockError
    join(thread)


async def no_time():
    from asyncio import sleep

    await sleep(0)


async def make_queue(supervisor):
    return await AsyncQueue(supervisor=supervisor).start()


def test_call_that_has_returned_is_no_part_of_a_circle(supervisor, told):
    """A queue waits for its callbacks, one after another, while later ones wait for the waiting
    task's children."""
    queue = ThreadQueue(supervisor=supervisor).start()
    child = background_task(lambda: 1, supervisor=supervisor)
    for _ in range(50):
        queue.submit(abs, -1).add_done_callback(lambda _: child().value(PATIENCE))

    def joins():
        queue.join()
        return current_task().name

    assert background_task(joins, supervisor=supervisor)().value(PATIENCE)
    queue.shutdown()
    assert not told("circle")


@LAST
def test_callback_of_mp_pool_that_waits_for_a_task_that_waits_for_it_gets_an_error(supervisor, last,
                                                                                   told):
    supervisor.set_mp_pool(pool_size=1)
    tasks, ready, begun, outcomes = {}, threading.Event(), threading.Event(), []

    def callback(value):
        assert ready.wait(PATIENCE)
        begun.set()
        wait_for(lambda: last == "the task" or tasks["gets"] in waits_of_threads(), "the get()")
        outcomes.append(tasks["gets"].exception())

    def gets():
        assert ready.wait(PATIENCE) and begun.wait(PATIENCE)
        wait_for(lambda: last == "the call" or waits_of_callers(), "the wait of the callback")
        return result.get()

    result = supervisor.mp_pool.apply_async(abs, (-1,), callback=callback)
    tasks["gets"] = background_task(gets, supervisor=supervisor)()
    ready.set()
    error = tasks["gets"].exception(PATIENCE)
    if last == "the task":
        assert type(error) is WaitDeadlockError and "a callback of mp_pool" in str(error)
        wait_for(lambda: outcomes, "the end of the callback")
    else:
        assert error is None and tasks["gets"].value() == 1 and not outcomes
    assert not told("circle")
