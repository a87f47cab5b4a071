"""A service and its clients in one process: handlers, order and results."""
import asyncio
import contextvars
import os
import threading

import pytest

from atasker_like import (TT_COROUTINE, TT_MP, TT_THREAD, InvalidArgumentError, InvalidFieldError,
                          InvalidTypeError, ServiceConnectionError, SupervisorStoppedError,
                          TaskExecutionError, TaskRefusedError, WaitTimeoutError, background_task,
                          service)
from tests.support.internals.service import lane_type_of

from .declared import (Add, AddAtOnce, AddInProcess, AddInThread, Die, Fail, FailInThread, Give,
                       Wait, WaitAtOnce, WaitInThread, add_in_process, die)


@pytest.fixture
def client(lab, supervisor):
    with service.SyncClient(lab, supervisor=supervisor) as made:
        yield made


@pytest.mark.parametrize("kind", [Add, AddAtOnce, AddInThread])
def test_execute_returns_the_result_of_the_handler(client, kind):
    result = client.execute(kind(2, b=3))
    assert isinstance(result, service.TaskResultOk)
    assert (result.status, result.ok, result.result) == ("ok", True, 5)
    assert client.execute("lab", kind(2)).result == 3


@pytest.mark.slow
def test_a_handler_in_a_process(lab, client):
    lab.handler(AddInProcess, tt=TT_MP)(add_in_process)
    total, pid = client.execute(AddInProcess(2)).result
    assert total == 3 and pid != os.getpid()


@pytest.mark.slow
def test_death_of_a_process_is_reported_and_the_next_task_runs(lab, client):
    lab.handler(Die, tt=TT_MP)(die)
    result = client.execute(Die(), check=False)
    assert (result.status, result.ename) == ("error", "ProcessDiedError")
    assert client.execute(Add(1)).result == 2


def test_request_is_accepted_before_it_has_ended(client, crossing):
    future = client.request(Wait(7))
    assert not future.done()
    with pytest.raises(WaitTimeoutError):
        future.result(0)
    crossing.open()
    result = future.result()
    assert (result.id, result.result, future.done()) == (future.task_id, 7, True)


@pytest.mark.parametrize("kind", [Fail, FailInThread])
def test_failure_of_a_handler_is_raised_or_returned(client, kind, unseen):
    with pytest.raises(TaskExecutionError, match="ValueError: too bad") as raised:
        client.execute(kind("too bad"))
    error = raised.value.error
    assert (error.status, error.ename, error.evalue) == ("error", "ValueError", "too bad")
    assert 'raise ValueError(task.text)' in raised.value.traceback
    unchecked = client.execute(kind("again"), check=False)
    assert isinstance(unchecked, service.TaskResultError) and unchecked.evalue == "again"
    future = client.request(kind("later"))
    with pytest.raises(TaskExecutionError, match="later"):
        future.result()
    assert client.request(kind("quietly"), check=False).result().evalue == "quietly"
    assert unseen() == []           # the client has got the error


def test_one_at_a_time_in_order_of_priority_and_arrival(client, crossing):
    first = client.request(Wait(0))
    crossing.wait_begun(1)
    later = [client.request(kind(number), priority=priority) for number, (kind, priority) in
             enumerate([(Wait, None), (WaitInThread, 200), (Wait, -5), (WaitInThread, None),
                        (Wait, 200)], 1)]
    assert crossing.begun == [0]
    crossing.open()
    for future in [first, *later]:
        future.result(10)
    assert crossing.begun == [0, 3, 1, 4, 2, 5]
    assert crossing.ended == crossing.begun


@pytest.mark.slow
def test_a_service_of_threads_alone(supervisor, crossing):
    """Its lane belongs to the thread pool. Later handlers of other kinds run in it, too."""
    made = service.Service("threads", supervisor)
    supervisor.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0)
    made.handler(Wait)(lambda task: crossing.enter(task.number))
    with service.SyncClient(made, supervisor=supervisor) as client:
        futures = [client.request(Wait(0))]
        crossing.wait_begun(1)
        assert lane_type_of(made) == TT_THREAD

        @made.handler(Add)
        async def add(task):
            crossing.begun.append("add")
            crossing.ended.append("add")
            return task.a + task.b

        made.handler(AddInProcess, tt=TT_MP)(add_in_process)
        futures += [client.request(Wait(1)), client.request(Add(1)),
                    client.request(Wait(2), priority=5),
                    client.request(AddInProcess(2), priority=200)]
        assert crossing.begun == [0]
        crossing.open()
        assert futures[2].result(10).result == 2
        assert futures[4].result(20).result[0] == 3
        assert crossing.begun == crossing.ended == [0, 2, 1, "add"]


def test_handler_that_waits_keeps_its_slot_in_the_lane(supervisor, crossing):
    """And lends that in the pool, in which what it waits for runs."""
    made = service.Service("threads", supervisor)
    supervisor.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0)

    @made.handler(Wait)
    def handle(task):
        crossing.begun.append(task.number)
        background_task(crossing.enter, supervisor=supervisor)(f"for {task.number}").value(10)
        crossing.begun.append(f"after {task.number}")

    with service.SyncClient(made, supervisor=supervisor) as client:
        futures = [client.request(Wait(number)) for number in range(2)]
        crossing.wait_begun(2)
        crossing.open()
        for future in futures:
            future.result(10)
    assert crossing.begun == [0, "for 0", "after 0", 1, "for 1", "after 1"]


@pytest.mark.parametrize("kind, handler", [(WaitInThread, "thread"), (Wait, "mixed")])
def test_what_waits_in_the_lane_ends_in_a_stop(make_supervisor, crossing, kind, handler):
    supervisor = make_supervisor()
    made = service.Service("stopping", supervisor)
    made.handler(kind)(lambda task: crossing.enter(task.number))
    if handler == "mixed":
        @made.handler(Add)
        async def add(task):
            return task.a
    client = service.SyncClient(made, supervisor=supervisor)
    futures = [client.request(kind(number)) for number in range(4)]
    crossing.wait_begun(1)
    assert lane_type_of(made) == (TT_COROUTINE if handler == "mixed" else TT_THREAD)
    supervisor.stop(wait=False)
    crossing.open()
    assert all(future.result(10).ok for future in futures)
    assert supervisor.stop(wait=10).complete
    assert crossing.ended == [0, 1, 2, 3]


def test_a_coroutine_that_waits_in_a_lane_of_threads_ends_in_a_stop(make_supervisor, crossing):
    supervisor = make_supervisor()
    made = service.Service("stopping", supervisor)
    made.handler(Wait)(lambda task: crossing.enter(task.number))
    client = service.SyncClient(made, supervisor=supervisor)
    first = client.request(Wait(0))
    crossing.wait_begun(1)
    assert lane_type_of(made) == TT_THREAD

    @made.handler(Add)
    async def add(task):
        return task.a + task.b

    second = client.request(Add(1))
    supervisor.stop(wait=False)
    crossing.open()
    assert first.result(10).ok and second.result(10).result == 2
    assert supervisor.stop(wait=10).complete


def test_each_ends_before_the_next_begins(client, crossing):
    futures = [client.request(Wait(number)) for number in range(3)]
    for count in (1, 2, 3):
        crossing.wait_begun(count)
        assert len(crossing.begun) == count
        crossing.open(1)
    assert [future.result(10).result for future in futures] == [0, 1, 2]


def test_parallel_ones_start_as_they_come(client, crossing):
    waiting = client.request(Wait(0))
    crossing.wait_begun(1)
    futures = [client.request(WaitAtOnce(number)) for number in (1, 2)]
    crossing.wait_begun(3)
    crossing.open()
    assert [future.result(10).result for future in [waiting, *futures]] == [0, 1, 2]


def test_the_priority_of_a_class(lab, client, crossing):
    class Urgent(Wait):
        priority = -1

    lab.handler(Urgent)(lambda task: crossing.enter(task.number))
    futures = [client.request(Wait(0))]
    crossing.wait_begun(1)
    futures += [client.request(Wait(1)), client.request(Urgent(2))]
    crossing.open()
    for future in futures:
        future.result(10)
    assert crossing.begun == [0, 2, 1]


def test_the_lane_can_be_paused(lab, client):
    lab.lane.pause()
    future = client.request(Add(1))
    with pytest.raises(WaitTimeoutError):
        future.result(0)
    assert client.execute(AddAtOnce(1)).result == 2
    lab.lane.resume()
    assert future.result(10).result == 2


def test_options_of_a_handler(lab, client):
    class Flaky(service.Task):
        parallel = True

    class FlakyInLane(service.Task):
        pass

    class Slow(service.Task):
        pass

    tries = []

    def fail_once(task):
        tries.append(task)
        if len(tries) % 2:
            raise OSError("once")
        return len(tries)

    async def co_fail_once(task):
        return fail_once(task)

    lab.handler(Flaky, retries=1)(fail_once)
    assert client.execute(Flaky()).result == 2
    lab.handler(FlakyInLane, retries=1)(co_fail_once)
    assert client.execute(FlakyInLane()).result == 4

    @lab.handler(Slow, timeout=0.01)
    async def slow(task):
        await asyncio.get_running_loop().create_future()

    assert client.execute(Slow(), check=False).ename == "TaskTimeoutError"
    assert client.execute(Add(1)).result == 2       # its slot in the lane is free


def test_what_is_refused(lab, client):
    class Unknown(service.Task):
        pass

    class Other:
        @staticmethod
        def make():
            class Add(service.Task):
                a: str
            return Add

    for task, reason, text in [(Unknown(), "unknown", "handles no tasks of type 'Unknown'"),
                               (Other.make()("x"), "invalid",
                                "field a of Add takes an integer, not 'x'")]:
        for call in (client.request, client.execute):
            with pytest.raises(TaskRefusedError, match=text) as raised:
                call(task)
            assert raised.value.reason == reason
    with pytest.raises(TaskRefusedError, match="this is service 'lab', not 'kitchen'"):
        client.execute("kitchen", Add(1))
    with pytest.raises(InvalidFieldError, match="field a of Add"):
        client.execute(Add("x"))
    with pytest.raises(InvalidTypeError, match="sends instances of service.Task, not an int"):
        client.execute(3)
    with pytest.raises(InvalidTypeError, match=(
            "not the class Add: call it with the values of its fields$")):
        client.execute(Add)
    with pytest.raises(InvalidTypeError, match="priority"):
        client.execute(Add(1), priority="high")
    assert lab.alive == 0


def test_service_with_too_many_waiting_tasks_refuses_more(supervisor, crossing):
    small = service.Service("small", supervisor, max_waiting=2)
    small.handler(Wait)(lambda task: crossing.enter(task.number))
    with service.SyncClient(small, supervisor=supervisor) as client:
        futures = [client.request(Wait(number)) for number in range(2)]
        with pytest.raises(TaskRefusedError, match="2 tasks that have not ended") as raised:
            client.request(Wait(2))
        assert (raised.value.reason, small.alive) == ("busy", 2)
        crossing.open()
        for future in futures:
            future.result(10)
        assert client.execute(Wait(3)).ok
        assert small.alive == 0


@pytest.mark.parametrize("on_full", ["raise", "block"])
def test_a_pool_that_is_full(lab, client, supervisor, crossing, on_full):
    """Its requests are refused, and others are served: the loop of the service does not wait."""
    supervisor.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0, max_queued=1,
                               on_full=on_full)
    futures = [client.request(WaitAtOnce(number)) for number in range(2)]
    with pytest.raises(TaskRefusedError, match="no room for the task") as raised:
        client.request(WaitAtOnce(2))
    assert (raised.value.reason, lab.alive) == ("busy", 2)
    assert client.execute(AddAtOnce(1)).result == 2
    crossing.open()
    assert [future.result(10).result for future in futures] == [0, 1]
    assert client.execute(WaitAtOnce(3)).ok


def test_task_of_the_lane_waits_for_room_in_another_pool(lab, client, supervisor, crossing):
    supervisor.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0, max_queued=1,
                               on_full="block")
    assert client.execute(Add(1)).result == 2           # so that the lane is one of coroutines
    futures = [client.request(WaitAtOnce(number)) for number in range(2)]
    in_lane = [client.request(AddInThread(1)), client.request(Add(3))]
    assert client.execute(AddAtOnce(1)).result == 2
    # the pool is full until the crossing opens
    assert [future.done() for future in in_lane] == [False, False]
    crossing.open()
    assert [future.result(10).result for future in futures + in_lane] == [0, 1, 2, 4]


def test_task_that_waits_for_room_in_another_pool_can_be_cancelled(make_supervisor, crossing):
    from .declared import fill

    supervisor = make_supervisor()
    supervisor.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0, max_queued=1,
                               on_full="block")
    made = fill(service.Service("lab", supervisor), crossing)
    with service.SyncClient(made, supervisor=supervisor) as client:
        assert client.execute(Add(1)).result == 2
        futures = [client.request(WaitAtOnce(number)) for number in range(2)]
        waiting = client.request(WaitInThread(2), check=False)
        assert client.execute(AddAtOnce(1)).result == 2
        for task in supervisor.get_tasks(TT_COROUTINE).values():
            task.cancel()
        assert waiting.result(10).ename == "TaskCancelledError"
        crossing.open()
        assert [future.result(10).result for future in futures] == [0, 1]
        assert supervisor.stop(wait=10).complete


def test_a_lane_that_is_full(lab, client, crossing):
    lab.lane.configure(size=1, on_full="block")
    futures = [client.request(Wait(number)) for number in range(2)]
    with pytest.raises(TaskRefusedError, match="no room for the task"):
        client.request(Wait(2))
    crossing.open()
    assert [future.result(10).result for future in futures] == [0, 1]
    lab.lane.configure(size=None)
    assert client.execute(Wait(3)).ok


def test_what_a_handler_cannot_be(lab, supervisor):
    with pytest.raises(InvalidTypeError, match="subclass of service.Task"):
        lab.handler(lambda task: None)
    with pytest.raises(InvalidTypeError, match="did you mean 'retries'"):
        lab.handler(Give, retrys=1)
    with pytest.raises(InvalidTypeError, match="a task takes a function, not an int"):
        service.Service("x", supervisor).handler(Give)(3)
    with pytest.raises(InvalidArgumentError, match="has a handler for Add already"):
        lab.handler(Add)(lambda task: None)

    class Broken(service.Task):
        bad: complex

    with pytest.raises(InvalidTypeError, match="field 'bad' of .*Broken"):
        lab.handler(Broken)


def test_a_second_class_of_the_same_type_is_refused(lab):
    class Mine(service.Task):
        @classmethod
        def type(cls):
            return "Add"

    with pytest.raises(InvalidArgumentError,
                       match="another class of the type 'Add', .*declared.Add"):
        lab.handler(Mine)(lambda task: None)


@pytest.mark.parametrize("arguments, error", [
    (("",), InvalidArgumentError), ((3,), InvalidTypeError), (("x", 3), InvalidTypeError),
    (("x", None, 0), InvalidArgumentError),
    (("x", None, "many"), InvalidTypeError),
])
def test_what_a_service_cannot_be(arguments, error):
    with pytest.raises(error):
        service.Service(*arguments)


def test_the_function_is_still_a_function(supervisor):
    made = service.Service("plain", supervisor)

    @made.handler(Add)
    def add(task):
        return task.a

    assert add(Add(3)) == 3
    assert repr(made) == "<Service plain: Add>"


def test_client_serves_many_coroutines_at_once(lab):
    async def main():
        async with service.Client(lab) as client:
            future = await client.request("lab", Add(1))
            assert isinstance(future, asyncio.Future) and isinstance(future.task_id, str)
            results = await asyncio.gather(*[client.execute(AddAtOnce(n)) for n in range(300)])
            with pytest.raises(TaskRefusedError):
                await client.request("kitchen", Add(1))
            with pytest.raises(TaskExecutionError):
                await client.execute(Fail())
            failing = await client.request(Fail(), check=False)
            values = [result.result for result in results]
            return (await future).result, values, (await failing).ename

    assert asyncio.run(main()) == (2, list(range(1, 301)), "ValueError")


def test_a_cancelled_waiter_leaves_the_task_alone(lab, crossing):
    async def main():
        async with service.Client(lab) as client:
            waiting = asyncio.ensure_future(client.execute(Wait(1)))
            await asyncio.get_running_loop().run_in_executor(None, crossing.wait_begun, 1)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert crossing.ended == []
            crossing.open()
            assert (await client.execute(Wait(2))).result == 2

    asyncio.run(main())
    assert crossing.ended == [1, 2]


def test_a_handler_asks_another_service(supervisor, lab):
    front = service.Service("front", supervisor)

    class Twice(service.Task):
        number: int

    @front.handler(Twice)
    async def twice(task):
        async with service.Client(lab) as client:
            return (await client.execute(Add(task.number, b=task.number))).result

    with service.SyncClient(front, supervisor=supervisor) as client:
        assert client.execute(Twice(4)).result == 8


def test_tasks_of_the_pool_ask_a_service(supervisor, client):
    supervisor.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0)
    ask = background_task(lambda number: client.execute(AddInThread(number)).result,
                          supervisor=supervisor)
    # the one pool thread lends its slot to the handler
    tasks = [ask(number) for number in range(3)]
    assert [task.value(10) for task in tasks] == [1, 2, 3]


def test_many_threads_share_a_client(client):
    found = []

    def ask(number):
        for n in range(5):
            found.append(client.execute(AddAtOnce(number, b=n)).result - number - n)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert found == [0] * 40


def test_a_closed_client_connects_again(client):
    assert client.execute(Add(1)).result == 2
    client.close()
    assert client.execute(Add(2)).result == 3


def test_close_of_a_client_fails_its_waiting_requests(lab, crossing):
    async def main():
        client = service.Client(lab)
        future = await client.request(Wait(1))
        await client.close()
        with pytest.raises(ServiceConnectionError, match="the client was closed"):
            await future

    asyncio.run(main())


def test_a_client_of_one_loop_is_not_used_in_another(lab):
    client = service.Client(lab)

    async def main():
        return (await client.execute(Add(1))).result

    async def close():
        await client.close()

    first = asyncio.new_event_loop()
    try:
        assert first.run_until_complete(main()) == 2
        with pytest.raises(InvalidArgumentError, match="another loop"):
            asyncio.run(main())
        first.run_until_complete(close())
    finally:
        first.close()


def test_a_result_that_cannot_come_any_more(make_supervisor, path):
    """The client's supervisor ends before the service of another one answers: the wait fails."""
    home, far = make_supervisor(), make_supervisor()
    made = service.Service("far", far)

    @made.handler(Wait)
    async def wait(task):
        await asyncio.get_running_loop().create_future()

    with made.serve(path):
        client = service.SyncClient(path, supervisor=home)
        future = client.request(Wait(1))
        home.stop(wait=0)
        with pytest.raises((SupervisorStoppedError, ServiceConnectionError)):
            future.result(10)
        far.stop(wait=0, cancel_tasks=True)


def test_what_was_accepted_ends_when_the_supervisor_stops(make_supervisor, crossing):
    from .declared import fill

    supervisor = make_supervisor()
    made = fill(service.Service("lab", supervisor), crossing)
    client = service.SyncClient(made, supervisor=supervisor)
    futures = [client.request(kind(number))
               for number, kind in enumerate([Wait, Wait, WaitInThread, WaitAtOnce])]
    crossing.wait_begun(2)
    supervisor.stop(wait=False)
    with pytest.raises((TaskRefusedError, ServiceConnectionError, SupervisorStoppedError)):
        client.request(Add(1), timeout=10)
    crossing.open()
    assert [future.result(10).result for future in futures] == [0, 1, 2, 3]
    assert supervisor.stop(wait=10).complete
    assert sorted(crossing.ended) == [0, 1, 2, 3]
    supervisor.start()
    assert client.execute(Add(1)).result == 2
    client.close()


VISITOR = contextvars.ContextVar("visitor", default="unset")


class Visit(service.Task):
    parallel = True
    number: int

    def __post_init__(self):
        self.checked_by = VISITOR.get()
        VISITOR.set(f"the check of {self.number}")


class VisitInThread(Visit):
    pass


class VisitInLane(Visit):
    parallel = False


class VisitInThreadInLane(Visit):
    parallel = False


@pytest.mark.parametrize("kind", [Visit, VisitInThread, VisitInLane, VisitInThreadInLane])
@pytest.mark.parametrize("in_flight", [1, 2, 100])
@pytest.mark.parametrize("pauses", [False, True])
def test_each_request_has_a_context_of_its_own(serve, connect, lab, kind, in_flight, pauses):
    """A copy of the context of serve(), with the changes of the task's own check only."""
    def handle(task):
        seen = VISITOR.get()
        VISITOR.set(f"task {task.number}")
        return [task.checked_by, seen]

    async def co_handle(task):
        seen = handle(task)
        if pauses:
            await asyncio.sleep(0)
        return seen

    lab.handler(kind)(handle if "Thread" in kind.__name__ else co_handle)
    VISITOR.set("server")
    try:
        wire = connect(serve(max_in_flight=in_flight))
        wire.say(*[{"id": str(number), "type": kind.__name__, "payload": {"number": number}}
                   for number in range(10)])
        seen = {message["id"]: message["result"] for message in (wire.receive() for _ in range(10))}
    finally:
        VISITOR.set("unset")
    assert seen == {str(number): ["server", f"the check of {number}"] for number in range(10)}


#: What only a client sets.
CALLER = contextvars.ContextVar("caller", default="unset")


@pytest.mark.parametrize("kind", [Visit, VisitInThread])
def test_a_handler_sees_nothing_of_the_context_of_a_client_of_its_process(lab, client, kind):
    def handle(task):
        return CALLER.get()

    async def co_handle(task):
        return handle(task)

    lab.handler(kind)(handle if kind is VisitInThread else co_handle)
    before = CALLER.set("a client")
    try:
        assert [client.execute(kind(number)).result for number in range(2)] == ["unset", "unset"]
    finally:
        CALLER.reset(before)
