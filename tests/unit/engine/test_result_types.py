"""Results and futures as applications make them: constructors, subscripts and hidden fields."""
import asyncio
import pickle
from typing import ClassVar

import pytest

from atasker_like import (AsyncResult, InvalidArgumentError, InvalidTypeError, SyncResult, Task,
                          TaskResult, service)


@pytest.mark.parametrize("kind", [AsyncResult, SyncResult, Task, service.TaskFuture])
def test_subscript_of_generic_class_works_at_run_time(kind):
    assert issubclass(type("Mine", (kind[int],), {}), kind)
    kind[str][int]


@pytest.mark.parametrize("kind", [AsyncResult, SyncResult])
def test_instance_of_subscripted_result_is_a_result(kind):
    result = kind[int]("id-1")
    assert (type(result), result.task_id) == (kind, "id-1")


def test_task_result_with_three_fields_has_defaults():
    result = TaskResult(task_id="1", name="n", status="succeeded")
    assert result == TaskResult("1", "n", "succeeded", None, None, 0, 0, False, None, False, None,
                                None, 0.0, None, 0.0, 0.0, "")
    assert (result.ok, result.unwrap()) == (True, None)
    assert pickle.loads(pickle.dumps(result)) == result


@pytest.mark.parametrize("fields", [{}, {"task_id": "1", "name": "n"},
                                    {"task_id": "1", "name": "n", "status": "failed",
                                     "nothing": 1}])
def test_task_result_with_wrong_fields_is_refused(fields):
    with pytest.raises(TypeError):
        TaskResult(**fields)


def test_service_results_have_their_status():
    fine = service.TaskResultOk(id="1", result=5)
    bad = service.TaskResultError(id="1", ename="E", evalue="v", traceback="t")
    assert (fine.status, bad.status) == ("ok", "error")
    assert fine == service.TaskResultOk(status="ok", id="1", result=5)
    assert bad == service.TaskResultError(status="error", id="1", ename="E", evalue="v",
                                          traceback="t")
    assert repr(fine) == "TaskResultOk(id='1', result=5, status='ok')"


@pytest.mark.parametrize("make", [lambda: service.TaskResultOk(id="1", result=5, status="error"),
                                  lambda: service.TaskResultError("1", "E", "v", "t", "ok")])
def test_service_result_with_another_status_is_refused(make):
    with pytest.raises(InvalidArgumentError, match="the status of a TaskResult"):
        make()


def test_task_future_can_be_made_with_an_id():
    async def main():
        future = service.TaskFuture("id-1")
        asyncio.get_running_loop().call_soon(future.set_result, 5)
        return future.task_id, await future

    assert asyncio.run(main()) == ("id-1", 5)


def test_task_future_takes_a_loop():
    loop = asyncio.new_event_loop()
    try:
        assert service.TaskFuture("id-1", loop=loop).get_loop() is loop
    finally:
        loop.close()


def test_task_future_with_another_id_is_refused():
    with pytest.raises(InvalidTypeError, match="takes the id of a task, not int"):
        service.TaskFuture(1)


def test_hidden_fields_is_a_set_of_its_own():
    class Move(service.Task):
        to: int

    for owner in (service.Task, Move, Move(1)):
        assert owner.hidden_fields == {"parallel"} and type(owner.hidden_fields) is set
    Move(1).hidden_fields.add("to")
    assert Move(1).display_name == "Move: to=1"


def test_hidden_fields_can_be_extended_through_super():
    class Login(service.Task):
        user: str
        password: str

        @property
        def hidden_fields(self):
            return super().hidden_fields | {"password"}

    class Renewal(Login):
        old: str

        @property
        def hidden_fields(self):
            return super().hidden_fields | {"old"}

    class Plain(service.Task):
        hidden_fields = service.Task.hidden_fields | {"key"}
        key: int

    assert Login("me", "secret").display_name == "Login: user='me'"
    task = Renewal("me", "secret", "older")
    assert task.hidden_fields == {"parallel", "password", "old"}
    assert task.display_name == "Renewal: user='me'"
    assert repr(Plain(1)) == "Plain(key=...)"


def test_hidden_fields_with_an_annotation_is_refused():
    with pytest.raises(InvalidArgumentError, match="field named 'hidden_fields'"):
        class Wrong(service.Task):
            hidden_fields: set = {"key"}
            key: int

    class Right(service.Task):
        hidden_fields: ClassVar[set] = {"key"}
        key: int

    assert Right(1).display_name == "Right"
