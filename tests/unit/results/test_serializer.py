"""What becomes of values and errors on their way to text and back."""
import enum
import json
import re
import sys
import types

import pytest

from atasker_like import (InvalidArgumentError, MemoryBackend, RemoteError, ResultNotStoredError,
                          StoredResult, TaskState, wait_completed)
from atasker_like.results.serializer import Serializer
from tests.unit import odd_errors

plain = Serializer("json")
pickling = Serializer("pickle")


def there_and_back(value, codec=plain):
    return codec.decode("id", codec.encode(StoredResult("id", TaskState.SUCCESS, value)))


def error_and_back(error, codec=plain):
    return codec.decode("id", codec.encode(StoredResult("id", TaskState.FAILURE, None,
                                                        error))).error


class Colour(enum.IntEnum):
    RED = 1


@pytest.mark.parametrize("value, back",
                         [((1, (2,)), [1, [2]]), ({1: 2}, {"1": 2}), (Colour.RED, 1), (True, True),
                          ("a\nb", "a\nb")])
def test_what_json_makes_of_values(value, back):
    found = there_and_back(value).value()
    assert (found, type(found)) == (back, type(back))


class Shy:
    def __repr__(self):
        raise SystemExit


def looped():
    value = []
    value.append(value)
    return value


@pytest.mark.parametrize("value, shown", [
    (b"abc", "b'abc'"), (b"x" * 10000, "10000 bytes"), (float("nan"), "nan"),
    ([1, float("inf")], "inf"), ({1, 2}, "{1, 2}"),
    (Shy(), "Shy without a repr"), (looped(), "..."), ({(1, 2): 3}, "(1, 2)"),
    (object(), "<object object at"),
])
def test_values_that_are_not_kept(value, shown):
    found = there_and_back(value)
    assert found.state is TaskState.SUCCESS and found.result is None
    with pytest.raises(ResultNotStoredError) as caught:
        found.value()
    assert shown in str(caught.value) and "serializer='pickle'" in str(caught.value)


@pytest.mark.parametrize("value",
                         [b"abc", {1, 2}, (1, (2,)), {1: 2}, Colour.RED, float("inf"), 1 << 80,
                          "text", None])
def test_pickled_values_come_back_as_they_were(value):
    found = there_and_back(value, pickling).value()
    assert (found, type(found)) == (value, type(value))


def test_what_cannot_be_pickled_either():
    with pytest.raises(ResultNotStoredError, match="<locals>.<lambda>"):
        there_and_back(lambda: None, pickling).value()


def test_pickle_is_not_loaded_by_a_backend_of_json(monkeypatch):
    text = pickling.encode(StoredResult("id", TaskState.SUCCESS, (1,)))
    import pickle

    monkeypatch.setattr(pickle, "loads", lambda *_: pytest.fail("it was loaded"))
    with pytest.raises(ResultNotStoredError, match="trust"):
        plain.decode("id", text).value()
    text = pickling.encode(StoredResult("id", TaskState.FAILURE, None, ValueError(object())))
    assert isinstance(plain.decode("id", text).error, RemoteError)


@pytest.mark.parametrize("error", [
    ValueError(), ValueError("a", 1), KeyError("k"), FileNotFoundError(2, "gone", "f"),
    StopIteration(3),
    InvalidArgumentError("no")])
def test_errors_that_are_rebuilt(error):
    found = error_and_back(error)
    assert (type(found), found.args, str(found)) == (type(error), error.args, str(error))


def test_attributes_of_errors():
    error = ValueError("a")
    error.code = 5
    assert error_and_back(error).code == 5
    error.code = object()
    found = error_and_back(error)
    assert (type(found), found.type_name) == (RemoteError, "builtins.ValueError")


@pytest.mark.parametrize("error",
                         [ValueError(object()), SystemExit(3), KeyboardInterrupt(),
                          GeneratorExit()])
def test_error_that_cannot_be_rebuilt_becomes_a_remote_error(error):
    found = error_and_back(error)
    assert type(found) is RemoteError and found.type_name == "builtins." + type(error).__name__
    assert type(error).__name__ in found.traceback


@pytest.mark.parametrize("module, name, args", [
    ("os", "system", ["exit 1"]), ("builtins", "eval", ["1/0"]), ("builtins", "BaseException", []),
    ("builtins", "print", ["hi"]),
    ("this", "anything", []), ("builtins", "ValueError.__init__", []), ("builtins", "no.such", []),
    (None, "x", [])])
def test_a_text_that_lies_makes_nothing_but_exceptions(module, name, args):
    """And imports nothing: `this` would print its poem."""
    text = json.dumps({"state": "FAILURE", "traceback": "", "error": {
        "module": module, "name": name, "message": "m", "args": args, "more": {}}})
    assert type(plain.decode("id", text).error) is RemoteError
    assert "this" not in sys.modules


def test_a_message_that_would_change():
    text = json.dumps({"state": "FAILURE", "traceback": "", "error": {
        "module": "builtins", "name": "ValueError", "message": "what it said", "args": ["another"],
        "more": {}}})
    found = plain.decode("id", text).error
    assert (type(found), found.message) == (RemoteError, "what it said")


def without_times(text):
    """A text without what changes with the wall clock."""
    return re.sub(r'"times":\[[^]]*\]', '"times"', text)


def test_many_at_once_are_what_they_are_one_by_one(supervisor):
    """The short way of plain values, with those in between that cannot take it."""
    values = [None, 1, -5, "a\nb", "", True, 0.5, [1, 2], float("nan"), object(), "é", 1 << 70,
              (1,), "last\r\n"]
    tasks = [supervisor.put_task(lambda value=value: value) for value in values]
    tasks.append(supervisor.put_task(int, ("x",)))
    cancelled = supervisor.put_task(abs, delay=1000)
    cancelled.cancel()
    tasks.append(cancelled)
    wait_completed(tasks)
    for some in (tasks, [tasks[0], tasks[3]], tasks[-2:], []):
        texts = plain.encode_tasks({task.id: task for task in some})
        assert ({task_id: without_times(text) for task_id, text in texts.items()}
                == {task.id: without_times(plain.encode_task(task)) for task in some})
    tasks[-2].exception()
    found = [plain.decode(task.id, plain.encode_task(task)).result for task in tasks[:8]]
    assert found == values[:8]


def test_value_that_is_too_long_is_not_stored(monkeypatch):
    from atasker_like.results import serializer as coding

    monkeypatch.setattr(coding, "MAX_TEXT", 100)
    with pytest.raises(ResultNotStoredError, match="the most is 100"):
        there_and_back("x" * 200).value()


def test_what_is_refused():
    with pytest.raises(InvalidArgumentError, match="'json' or 'pickle', not 'yaml'"):
        Serializer("yaml")
    with pytest.raises(InvalidArgumentError, match="its error is an exception, not None"):
        plain.encode(StoredResult("id", TaskState.FAILURE))


def test_states_as_words():
    assert str(TaskState.SUCCESS) == "SUCCESS" == TaskState.SUCCESS
    assert f"{TaskState.RETRY}" == "RETRY"
    assert [state for state in TaskState if state.is_final] == [TaskState.SUCCESS,
                                                                TaskState.FAILURE]


asked = []


class LazyModule(types.ModuleType):
    """As modules are whose code runs when something of them is asked for."""

    def __getattribute__(self, name):
        asked.append(name)
        return super().__getattribute__(name)


class LazyType(type):
    def __getattr__(cls, name):
        asked.append(name)
        raise AttributeError


class Outer(metaclass=LazyType):
    class Inner(Exception):
        pass


@pytest.mark.parametrize("name",
                         ["Missing", "Missing.Inner", "Outer.Missing", "there", "there.Inner", ""])
@pytest.mark.parametrize("kind", [types.ModuleType, LazyModule])
def test_no_module_runs_because_a_text_says_so(monkeypatch, kind, name):
    module = kind("lazy")
    module.Outer, module.there, module.__getattr__ = Outer, 5, asked.append
    monkeypatch.setitem(sys.modules, "lazy", module)
    text = json.dumps({"state": "FAILURE", "traceback": "", "error": {
        "module": "lazy", "name": name, "message": "x", "args": ["x"], "more": {}}})
    asked.clear()
    error = plain.decode("id", text).error
    assert asked == []
    assert type(error) is RemoteError and error.type_name == f"lazy.{name}"


def test_an_error_whose_class_is_inside_another():
    found = error_and_back(Outer.Inner("inside"))
    assert type(found) is Outer.Inner and found.args == ("inside",)


class Unspoken(type):
    """Nothing of its classes can be had, not even the names."""

    @property
    def _refuse(cls):
        raise RuntimeError("refused")

    __module__ = __name__ = _refuse


class Unnamed(Exception, metaclass=Unspoken):
    pass


class Numbered(Exception):
    __module__ = 5


@pytest.mark.parametrize("name", [*odd_errors.KINDS, "Numbered"])
@pytest.mark.parametrize("codec", [plain, pickling], ids=["json", "pickle"])
def test_error_that_cannot_be_shown_is_stored_and_read(codec, name):
    kind = odd_errors.KINDS.get(name, Numbered)
    text = codec.encode(StoredResult("id", TaskState.FAILURE, None, kind("one")))
    found = codec.decode("id", text)
    assert found.state is TaskState.FAILURE and isinstance(found.error, Exception)
    assert name in found.traceback and repr(found)
    if type(found.error) is RemoteError:
        assert name in str(found.error)


@pytest.mark.parametrize("codec", [plain, pickling], ids=["json", "pickle"])
def test_value_that_cannot_be_shown_is_said_to_be_one(codec):
    with pytest.raises(ResultNotStoredError, match="could not be stored.*Value"):
        there_and_back(odd_errors.Value(), codec).value()


def test_error_of_which_nothing_can_be_had_stops_no_other_result(supervisor):
    """Not even the log can show it: it is looked at here."""
    def fail():
        raise Unnamed("one")

    with MemoryBackend() as backend:
        supervisor.set_result_backend(backend)
        tasks = [supervisor.put_task(abs, (-1,)), supervisor.put_task(fail),
                 supervisor.put_task(abs, (-2,))]
        assert isinstance(tasks[1].exception(10), Exception)
        wait_completed(tasks)
        backend.flush(10)
        found = [backend.find(task.id) for task in tasks]
        assert [stored.state for stored in found] == [TaskState.SUCCESS, TaskState.FAILURE,
                                                      TaskState.SUCCESS]
        error = found[1].error
        assert type(error) is Unnamed and error.args == ("one",)
        supervisor.set_result_backend(None)
