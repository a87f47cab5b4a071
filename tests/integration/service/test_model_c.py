"""Typed tasks for services, as MODELS describes them in part C: a test for each fact."""
import asyncio
import dataclasses
import json
import socket
import threading

import pytest

from atasker_like import service
from tests.support import PATIENCE


class MyTask(service.Task):
    param1: int
    param2: str = "foo"


class Hold(service.Task):
    """Runs until it is let go."""

    number: int = 0


class HoldAtOnce(Hold):
    parallel = True


class Fail(service.Task):
    text: str


@pytest.fixture
def go():
    made = threading.Event()
    yield made
    made.set()


@pytest.fixture
def begun():
    return threading.Semaphore(0)


@pytest.fixture
def lab(supervisor, go, begun):
    made = service.Service("lab", supervisor)

    @made.handler(MyTask)
    def sync_handler(task):
        return [task.param1, task.param2]

    @made.handler(Hold)
    @made.handler(HoldAtOnce)
    async def async_handler(task):
        begun.release()
        while not go.is_set():
            await asyncio.sleep(0.001)
        return task.number

    @made.handler(Fail)
    def fail(task):
        raise ValueError(task.text)

    return made


@pytest.fixture
def in_client(lab):
    """Runs a coroutine function with a client of the service."""
    def run(body):
        async def main():
            async with service.Client(lab) as client:
                return await asyncio.wait_for(body(client), PATIENCE)

        return asyncio.run(main())

    return run


# -- Task: a base class for declared, validated, serialisable tasks (here on dataclasses) ----------


def test_task_subclass_is_a_declared_dataclass():
    assert dataclasses.is_dataclass(MyTask)
    assert [field.name for field in dataclasses.fields(MyTask)] == ["param1", "param2"]
    assert MyTask(42) == MyTask(param1=42, param2="foo")


def test_task_fields_are_validated():
    with pytest.raises(ValueError, match="param1"):
        MyTask("no number").payload()
    with pytest.raises(ValueError, match="param1"):
        MyTask.from_payload({"param1": "no number"})


def test_task_is_serialisable():
    task = MyTask(42, "bar")
    assert MyTask.from_payload(json.loads(json.dumps(task.payload()))) == task


def test_type_is_a_classmethod_and_the_name_of_the_class():
    assert MyTask.type() == MyTask(1).type() == "MyTask"


def test_type_can_be_overridden():
    class Renamed(service.Task):
        @classmethod
        def type(cls):
            return "lab.Renamed"

    assert Renamed.type() == "lab.Renamed" and Renamed().display_name == "lab.Renamed"


def test_display_name_is_as_the_model_shows_it():
    assert MyTask(param1=42).display_name == "MyTask: param1=42, param2='foo'"


def test_hidden_fields_is_a_set_of_names_with_parallel_in_it():
    assert type(MyTask(1).hidden_fields) is set
    assert MyTask(1).hidden_fields == {"parallel"}


def test_hidden_fields_as_a_property_extends_that_of_the_base():
    class Login(service.Task):
        user: str
        password: str

        @property
        def hidden_fields(self):
            return super().hidden_fields | {"password"}

    assert Login("me", "secret").hidden_fields == {"parallel", "password"}
    assert Login("me", "secret").display_name == "Login: user='me'"


def test_parallel_is_a_class_variable_and_false():
    assert (service.Task.parallel, MyTask.parallel, HoldAtOnce.parallel) == (False, False, True)
    assert "parallel" not in {field.name for field in dataclasses.fields(HoldAtOnce)}


def test_tasks_run_one_at_a_time(in_client, go, begun):
    async def body(client):
        futures = [await client.request("lab", Hold(number)) for number in range(3)]
        assert begun.acquire(timeout=PATIENCE)
        assert not begun.acquire(timeout=0.05)
        go.set()
        return [(await future).result for future in futures]

    assert in_client(body) == [0, 1, 2]


def test_parallel_tasks_start_as_soon_as_they_are_received(in_client, go, begun):
    async def body(client):
        futures = [await client.request("lab", kind(number))
                   for number, kind in enumerate((Hold, HoldAtOnce, HoldAtOnce))]
        for _ in futures:
            assert begun.acquire(timeout=PATIENCE)
        go.set()
        return [(await future).result for future in futures]

    assert in_client(body) == [0, 1, 2]


# -- TaskFuture, TaskResult ------------------------------------------------------------------------


def test_task_future_is_an_asyncio_future_with_a_task_id():
    async def main():
        future = service.TaskFuture("id-1")
        assert isinstance(future, asyncio.Future) and future.task_id == "id-1"
        future.set_result("value")
        return await future

    assert asyncio.run(main()) == "value"


def test_task_future_takes_a_type_in_brackets():
    async def main():
        return service.TaskFuture[int]("id-1").task_id

    assert asyncio.run(main()) == "id-1"


def test_task_result_ok_has_id_and_result_and_is_ok_by_default():
    result = service.TaskResultOk(id="1", result=5)
    assert (result.id, result.result, result.status) == ("1", 5, "ok")


def test_task_result_error_has_the_error_and_is_error_by_default():
    result = service.TaskResultError(id="1", ename="E", evalue="v", traceback="t")
    assert (result.id, result.ename, result.evalue) == ("1", "E", "v")
    assert (result.traceback, result.status) == ("t", "error")


def test_task_result_is_one_of_the_two():
    for result in (service.TaskResultOk(id="1", result=5),
                   service.TaskResultError(id="1", ename="E", evalue="v", traceback="t")):
        assert isinstance(result, service.TaskResult)


# -- TaskExecutionError ----------------------------------------------------------------------------


def test_task_execution_error_has_the_error_and_its_traceback():
    error = service.TaskResultError(id="1", ename="E", evalue="v", traceback="t")
    raised = service.TaskExecutionError(error)
    assert (raised.error, raised.traceback) == (error, "t")


@pytest.mark.parametrize("options", [{}, {"check": True}])
def test_execute_with_check_raises_when_the_task_fails(in_client, options):
    async def body(client):
        with pytest.raises(service.TaskExecutionError) as raised:
            await client.execute("lab", Fail("bad"), **options)
        return raised.value

    error = in_client(body)
    assert (error.error.ename, error.error.evalue, error.error.status) == ("ValueError", "bad",
                                                                           "error")
    assert "ValueError: bad" in error.traceback


@pytest.mark.parametrize("options", [{}, {"check": True}])
def test_request_with_check_raises_when_the_task_fails(in_client, options):
    async def body(client):
        future = await client.request("lab", Fail("bad"), **options)
        with pytest.raises(service.TaskExecutionError) as raised:
            await future
        return raised.value.error.evalue

    assert in_client(body) == "bad"


def test_failure_without_check_is_a_result(in_client):
    async def body(client):
        future = await client.request("lab", Fail("bad"), check=False)
        return await future, await client.execute("lab", Fail("worse"), check=False)

    results = in_client(body)
    assert [type(result) for result in results] == [service.TaskResultError] * 2
    assert [result.evalue for result in results] == ["bad", "worse"]


# -- a service, and its client ---------------------------------------------------------------------


def test_sync_handler_gets_the_tasks_of_its_type(in_client):
    async def body(client):
        return await client.execute("lab", MyTask(42))

    assert in_client(body).result == [42, "foo"]


def test_async_handler_gets_the_tasks_of_its_type(in_client, go):
    go.set()

    async def body(client):
        return await client.execute("lab", Hold(7))

    assert in_client(body).result == 7


def test_another_class_of_the_same_type_name_is_refused(lab):
    other = type("MyTask", (service.Task,), {"__module__": __name__})
    with pytest.raises(ValueError, match="MyTask"):
        lab.handler(other)(lambda task: None)


def test_unknown_type_is_an_error_to_the_caller(in_client):
    class Unknown(service.Task):
        pass

    async def body(client):
        with pytest.raises(service.TaskRefusedError, match="Unknown"):
            await client.request("lab", Unknown())
        with pytest.raises(service.TaskRefusedError, match="Unknown"):
            await client.execute("lab", Unknown())

    in_client(body)


def test_request_returns_a_task_future_once_the_task_is_accepted(in_client, go):
    async def body(client):
        future = await client.request("lab", Hold(5))
        assert type(future) is service.TaskFuture and future.task_id and not future.done()
        go.set()
        result = await future
        assert result.id == future.task_id
        return result

    assert in_client(body).result == 5


def test_execute_waits_for_the_result(in_client, go, begun):
    async def body(client):
        waiting = asyncio.ensure_future(client.execute("lab", Hold(5)))
        assert await asyncio.get_running_loop().run_in_executor(None, begun.acquire, True, PATIENCE)
        assert not waiting.done()
        go.set()
        return await waiting

    result = in_client(body)
    assert type(result) is service.TaskResultOk and result.result == 5


def test_task_on_the_wire_is_json_with_id_target_type_payload_and_metadata(tmp_path):
    """Seen by a server that is none of this package."""
    path, seen = str(tmp_path / "lab.sock"), []
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(1)

        def answer():
            end, _ = listening.accept()
            with end, end.makefile("rb") as lines:
                seen.append(json.loads(lines.readline()))
                end.sendall(json.dumps({"status": "ok", "id": seen[0]["id"], "result": 1}).encode()
                            + b"\n")

        thread = threading.Thread(target=answer)
        thread.start()

        async def main():
            async with service.Client(path) as client:
                return await asyncio.wait_for(client.execute("lab", HoldAtOnce(3)), PATIENCE)

        result = asyncio.run(main())
        thread.join(PATIENCE)
    message = seen[0]
    assert (message["target"], message["type"], message["payload"]) == ("lab", "HoldAtOnce",
                                                                        {"number": 3})
    assert message["metadata"]["parallel"] is True
    assert message["metadata"]["display_name"] == "HoldAtOnce: number=3"
    assert isinstance(message["id"], str) and (result.id, result.result) == (message["id"], 1)
