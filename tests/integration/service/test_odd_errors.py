"""Errors, results and fields that cannot be shown, in a service and its clients."""
from typing import Any

import pytest

from atasker_like import InvalidFieldError, TaskExecutionError, service
from tests.support import PATIENCE
from tests.unit import odd_errors


class Odd(service.Task):
    kind: str


class Shy(service.Task):
    value: Any = None


@pytest.mark.parametrize("kind", list(odd_errors.KINDS))
def test_error_that_cannot_be_shown_is_an_answer(supervisor, kind):
    made = service.Service("odd", supervisor)
    made.handler(Odd)(lambda task: odd_errors.fail(task.kind))
    with service.SyncClient(made, supervisor=supervisor) as client:
        result = client.execute(Odd(kind), check=False, timeout=PATIENCE)
        assert (result.status, result.ename) == ("error", kind) and kind in result.traceback
        with pytest.raises(TaskExecutionError, match=kind) as raised:
            client.execute(Odd(kind), timeout=PATIENCE)
        assert repr(raised.value)


def test_result_that_cannot_be_shown_is_an_answer(supervisor):
    made = service.Service("odd", supervisor)
    made.handler(Odd)(lambda task: odd_errors.Value())
    with service.SyncClient(made, supervisor=supervisor) as client:
        result = client.execute(Odd("any"), check=False, timeout=PATIENCE)
    assert result.evalue.startswith("the task succeeded, but its result cannot be sent: "
                                    "a Value has no form in JSON")


def test_field_that_cannot_be_shown_is_named():
    task = Shy(odd_errors.Value())
    assert task.display_name == "Shy: value=<Value that cannot be shown: repr() raised NoText>"
    assert repr(task) == "Shy(value=<Value that cannot be shown: repr() raised NoText>)"
    with pytest.raises(InvalidFieldError,
                       match="field value of Shy takes JSON values, which a Value is not"):
        task.payload()
    with pytest.raises(InvalidFieldError, match="field kind of Odd takes a string"):
        Odd(odd_errors.Value()).payload()


def test_refusal_of_a_class_that_cannot_be_shown_is_an_answer(supervisor):
    class Refusing(service.Task):
        def __post_init__(self):
            raise odd_errors.NoText("one")

    made = service.Service("odd", supervisor)
    made.handler(Refusing)(lambda task: None)
    with service.SyncClient(made, supervisor=supervisor) as client:
        with pytest.raises(service.TaskRefusedError, match="NoText: <its text cannot be shown"):
            client.send("Refusing", {}, timeout=PATIENCE)
