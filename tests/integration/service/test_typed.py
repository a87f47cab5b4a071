"""Task classes: declaration, display without hidden fields, and JSON in both directions."""
import dataclasses
import json
import pickle
import sys
import traceback
from dataclasses import field
from datetime import date
from typing import Any, ClassVar, Dict, List, Optional, Union
from uuid import UUID

import pytest

from atasker_like import (InvalidArgumentError, InvalidFieldError, InvalidTypeError,
                          TaskExecutionError, service)

from .declared import Add, AddAtOnce


class Calibrate(service.Task):
    qubit: int
    span: float = 1.0
    tags: List[str] = field(default_factory=list)
    unit: ClassVar[str] = "GHz"


class Login(service.Task):
    user: str
    password: str
    hidden_fields = {"password"}


def test_a_subclass_is_a_dataclass():
    task = Calibrate(3, tags=["a"])
    assert dataclasses.is_dataclass(Calibrate)
    assert (task.qubit, task.span, task.tags, task.unit) == (3, 1.0, ["a"], "GHz")
    assert task == Calibrate(3, 1.0, ["a"]) != Calibrate(4)
    assert Calibrate(1).tags is not Calibrate(1).tags


def test_a_subclass_of_a_subclass_has_the_fields_of_both():
    class Finer(Calibrate):
        steps: int = 10

    assert Finer(1, steps=2).payload() == {"qubit": 1, "span": 1.0, "tags": [], "steps": 2}
    assert Calibrate(1).payload() == {"qubit": 1, "span": 1.0, "tags": []}
    assert Finer.type() == "Finer"


def test_arguments_of_the_dataclass():
    class Move(service.Task, frozen=True):
        to: int

    with pytest.raises(dataclasses.FrozenInstanceError):
        Move(1).to = 2
    assert hash(Move(1)) == hash(Move(1))


@pytest.mark.parametrize("option", ["slots", "weakref_slot"])
@pytest.mark.parametrize("base", [service.Task, Add])
def test_a_task_class_has_no_slots(option, base):
    with pytest.raises(InvalidArgumentError, match=f"Tight.*{option}.*leave it out"):
        class Tight(base, **{option: True}):
            to: int = 0


def test_slots_below_a_frozen_class_are_refused_as_slots():
    class Move(service.Task, frozen=True):
        to: int

    with pytest.raises(InvalidArgumentError, match="leave it out"):
        class Tight(Move, frozen=True, slots=True):
            pass


def test_what_is_given_to_a_task_and_not_kept_is_refused_where_it_is_declared():
    with pytest.raises(InvalidTypeError, match="field 'factor' of .*Scaled is an InitVar"):
        class Scaled(service.Task):
            number: int
            factor: dataclasses.InitVar[int] = 3


def test_type_and_parallel():
    class Renamed(Add):
        @classmethod
        def type(cls):
            return "sum"

    assert (Add.type(), Renamed.type()) == ("Add", "sum")
    assert (Add.parallel, AddAtOnce.parallel) == (False, True)


def test_display_name_and_hidden_fields():
    assert Calibrate(42).display_name == "Calibrate: qubit=42, span=1.0, tags=[]"
    task = Login("me", "secret")
    assert task.display_name == "Login: user='me'"
    assert repr(task) == "Login(user='me', password=...)"
    assert task.payload() == {"user": "me", "password": "secret"}


def test_hidden_fields_may_be_a_property():
    class Careful(service.Task):
        key: str
        public: bool

        @property
        def hidden_fields(self):
            return set() if self.public else {"key"}

    assert Careful("k", False).display_name == "Careful: public=False"
    assert Careful("k", True).display_name == "Careful: key='k', public=True"


@dataclasses.dataclass
class Card:
    number: int
    owners: Dict[str, int] = field(default_factory=dict)

    def __post_init__(self):
        if self.number == 4711:
            raise ValueError(f"the number is {self.number}")


class Pay(service.Task):
    hidden_fields = {"key", "pins", "card", "either", "when", "any"}
    key: UUID = UUID(int=0)
    pins: Dict[str, List[int]] = field(default_factory=dict)
    card: Optional[Card] = None
    either: Union[str, date] = ""
    when: date = date(2024, 1, 1)
    any: Any = None
    note: int = 0


class CarefulPay(Pay):
    public: bool = False

    @property
    def hidden_fields(self):
        return set() if self.public else Pay.hidden_fields


class Both(service.Task):
    pay: Pay
    others: List[Pay] = field(default_factory=list)


def everything_of(error):
    """All the text that a log or a debugger finds at an error."""
    text = "".join(traceback.format_exception(type(error), error, None)) + repr(error.args)
    for other in (error.__cause__, error.__context__):
        if other is not None:
            text += everything_of(other)
    return text


@pytest.mark.parametrize("kind", [Pay, CarefulPay])
@pytest.mark.parametrize("values, where, why", [
    ({"key": "4711"}, "key", "takes a UUID"),
    ({"pins": {"4711": [1, "2"]}}, "pins", "takes an integer"),
    ({"pins": {"a": [4711.5]}}, "pins", "takes an integer"),
    ({"card": {"number": "4711"}}, "card", "takes an integer"),
    ({"card": {"number": 4711}}, "card", "is refused"),
    ({"card": {"number": 1, "owners": {"4711": "b"}}}, "card", "takes an integer"),
    ({"either": 4711}, "either", "takes date or str"),
    ({"when": "4711"}, "when", "takes a date in ISO 8601"),
])
def test_what_is_hidden_is_not_shown_when_it_is_read(kind, values, where, why):
    name = kind.__name__
    with pytest.raises(InvalidFieldError) as raised:
        kind.from_payload(values)
    assert (str(raised.value), raised.value.field) == (f"field {where} of {name} {why}", where)
    assert "4711" not in everything_of(raised.value)
    for both, way in (({"pay": values}, "pay."),
                      ({"pay": {}, "others": [{}, values]}, "others[1].")):
        if kind is Pay:
            with pytest.raises(InvalidFieldError) as raised:
                Both.from_payload(both)
            assert str(raised.value) == f"field {way}{where} of Both {why}"
            assert "4711" not in everything_of(raised.value)


@pytest.mark.parametrize("values, where, why", [
    ({"key": "4711"}, "key", "takes a UUID"),
    ({"pins": {"4711": [1, "2"]}}, "pins", "takes an integer"),
    ({"card": Card("4711")}, "card", "takes an integer"),
    ({"card": "4711"}, "card", "takes a Card"),
    ({"either": "4711-01-01"}, "either",
     "takes date or str, and nothing that would arrive as another of them; use a dataclass "
     "with a Literal field that tells them apart"),
    ({"any": {4711}}, "any", "takes JSON values"),
    ({"any": [{4711: 1}]}, "any", "takes JSON values, whose keys are strings"),
])
def test_what_is_hidden_is_not_shown_when_it_is_written(values, where, why):
    for kind in (Pay, CarefulPay):
        with pytest.raises(InvalidFieldError) as raised:
            kind(**values).payload()
        assert str(raised.value) == f"field {where} of {kind.__name__} {why}"
        assert raised.value.field == where
        assert "4711" not in everything_of(raised.value)
    with pytest.raises(InvalidFieldError) as raised:
        Both(Pay(), [Pay(**values)]).payload()
    assert str(raised.value) == f"field others[0].{where} of Both {why}"


def test_what_is_not_hidden_is_shown():
    with pytest.raises(InvalidFieldError, match="field note of Pay takes an integer, not 'x'"):
        Pay(note="x").payload()
    with pytest.raises(InvalidFieldError, match="field note of Pay takes an integer, not 'x'"):
        Pay.from_payload({"note": "x"})
    with pytest.raises(InvalidFieldError,
                       match="field note of CarefulPay takes an integer, not 'x'"):
        CarefulPay(note="x").payload()
    with pytest.raises(InvalidFieldError, match="field key of CarefulPay takes a UUID, not 'x'"):
        CarefulPay(key="x", public=True).payload()
    with pytest.raises(InvalidFieldError, match="field note of CarefulPay takes an integer$"):
        # there is no task that could be asked
        CarefulPay.from_payload({"note": "x", "public": True})


def test_what_may_be_hidden_is_not_shown_where_that_cannot_be_had():
    class Odd(service.Task):
        key: int

        @property
        def hidden_fields(self):
            return {"key"} if self.key > 3 else set()

    with pytest.raises(InvalidFieldError, match="field key of Odd takes an integer$"):
        Odd("4711").payload()


def test_a_task_without_fields():
    class Ping(service.Task):
        pass

    assert (Ping().display_name, Ping().payload(), Ping.from_payload({})) == ("Ping", {}, Ping())


@pytest.mark.parametrize("name",
                         ["type", "parallel", "priority", "payload", "hidden_fields",
                          "display_name"])
def test_a_field_must_not_hide_what_tasks_have(name):
    with pytest.raises(InvalidArgumentError, match=f"field named '{name}'"):
        type("Bad", (service.Task,), {"__annotations__": {name: int}, "__module__": __name__})


def test_task_is_the_same_after_both_ways():
    task = Calibrate(3, 2.5, ["a"])
    assert Calibrate.from_payload(json.loads(json.dumps(task.payload()))) == task
    assert Calibrate.from_payload({"qubit": 3}) == Calibrate(3)


@pytest.mark.parametrize("payload, where, message", [
    ({}, "qubit", "field qubit of Calibrate is missing: Calibrate has no default for it"),
    ({"qubit": "3"}, "qubit", "field qubit of Calibrate takes an integer, not '3'"),
    ({"qubit": 3, "tags": ["a", 1]}, "tags[1]",
     r"field tags\[1\] of Calibrate takes a string, not 1"),
    ({"qubit": 3, "spam": 1}, "spam",
     "field spam of Calibrate is not a field of Calibrate; did you mean 'span'"),
    ([], "", "Calibrate takes an object with the fields of Calibrate, not a JSON array"),
    (None, "", "Calibrate takes an object"),
])
def test_what_is_refused_with_the_name_of_the_field(payload, where, message):
    with pytest.raises(InvalidFieldError, match=message) as raised:
        Calibrate.from_payload(payload)
    assert raised.value.field == where


def test_what_cannot_be_sent_is_refused_before_it_is_sent():
    with pytest.raises(InvalidFieldError, match="field qubit of Calibrate takes an integer"):
        Calibrate("three").payload()


def test_a_field_that_contains_itself():
    @dataclasses.dataclass
    class Node:
        inner: Optional["Node"] = None

    class Holds(service.Task):
        node: Node

    endless = Node()
    endless.inner = endless
    globals()["Node"] = Node
    try:
        with pytest.raises(InvalidFieldError, match="contain themselves"):
            Holds(endless).payload()
    finally:
        del globals()["Node"]


def test_computed_fields_do_not_cross():
    class Square(service.Task):
        side: float
        area: float = field(init=False)

        def __post_init__(self):
            self.area = self.side ** 2

    assert Square(2.0).payload() == {"side": 2.0}
    assert Square.from_payload({"side": 3}).area == 9


@pytest.mark.skipif(sys.version_info < (3, 10), reason="unions and generics written so")
def test_annotations_of_newer_pythons():
    namespace = {"service": service, "__name__": __name__}
    exec("class Newer(service.Task):\n    items: list[int | None]\n"
         "    names: dict[str, tuple[int, ...]]", namespace)
    newer = namespace["Newer"]
    payload = {"items": [1, None], "names": {"a": [1, 2]}}
    assert newer.from_payload(payload) == newer([1, None], {"a": (1, 2)})
    assert newer.from_payload(payload).payload() == payload


def test_a_task_can_be_pickled():
    assert pickle.loads(pickle.dumps(Calibrate(3))) == Calibrate(3)


def test_results_have_their_fields_and_unwrap():
    fine = service.TaskResultOk("1", [1])
    assert ((fine.ok, fine.status, fine.id, fine.result, fine.unwrap())
            == (True, "ok", "1", [1], [1]))
    bad = service.TaskResultError("2", "ValueError", "no", "Traceback...")
    assert (bad.ok, bad.ename, bad.evalue) == (False, "ValueError", "no")
    assert isinstance(fine, service.TaskResult) and isinstance(bad, service.TaskResult)
    with pytest.raises(TaskExecutionError, match="ValueError: no") as raised:
        bad.unwrap()
    assert (raised.value.error, raised.value.traceback) == (bad, "Traceback...")
