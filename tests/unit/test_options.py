import os
import pickle
import subprocess
import sys
from queue import Empty

import pytest

from atasker_like import InvalidArgumentError, InvalidTypeError, RemoteError, TaskOptions
from atasker_like._core_errors import RetryRequest
from tests.support import PATIENCE, ROOT

from .odd_errors import Nameless

INFINITY, NAN = float("inf"), float("nan")


@pytest.mark.parametrize("name, value", [
    ("delay", -1), ("delay", -0.001), ("delay", INFINITY), ("delay", NAN),
    ("run_at", -1), ("run_at", INFINITY), ("run_at", NAN),
    ("timeout", 0), ("timeout", -1), ("timeout", NAN),
    ("retries", -1),
    ("retry_delay", -1), ("retry_delay", INFINITY), ("retry_delay", NAN),
    ("backoff", 0), ("backoff", -2), ("backoff", "quadratic"), ("backoff", INFINITY),
    ("max_retry_delay", -1), ("max_retry_delay", NAN),
    ("jitter", -0.1), ("jitter", 1.1), ("jitter", NAN),
])
def test_impossible_values_are_refused(name, value):
    with pytest.raises(InvalidArgumentError, match=f"^{name} takes"):
        TaskOptions(**{name: value})


@pytest.mark.parametrize("name, value", [
    ("priority", "high"), ("priority", 1.5), ("priority", True),
    ("delay", "1"), ("delay", True), ("run_at", "noon"), ("timeout", "1"), ("timeout", [1]),
    ("timeout", True),
    ("retries", 1.0), ("retries", "2"), ("retries", None), ("retries", True),
    ("retry_delay", None), ("retry_delay", "1"), ("backoff", None), ("backoff", [2]),
    ("backoff", True),
    ("max_retry_delay", "1"), ("jitter", None), ("jitter", "0.5"),
    ("retry_on", ValueError()), ("retry_on", None), ("retry_on", int),
    ("retry_on", (ValueError, 5)), ("ignore_on", 5), ("ignore_on", [int]),
    ("name", 5), ("name", b"x"), ("group_id", [1]), ("group_id", ("a", {})),
])
def test_values_of_a_wrong_type_are_refused(name, value):
    with pytest.raises(InvalidTypeError, match=f"^{name} takes"):
        TaskOptions(**{name: value})


@pytest.mark.parametrize("name, value", [
    ("priority", -5), ("priority", 10 ** 9), ("priority", None), ("delay", 0), ("delay", 0.5),
    ("delay", None),
    ("run_at", 0), ("timeout", 0.001), ("timeout", None), ("retries", 0), ("retry_delay", 0),
    ("backoff", 0.5),
    ("backoff", "fixed"), ("backoff", "linear"), ("backoff", "exponential"),
    ("max_retry_delay", None),
    ("max_retry_delay", 0), ("jitter", 0), ("jitter", 1), ("name", None), ("name", "x"),
    ("group_id", ("any", 1)),
    ("must_complete", True), ("detached", True),
])
def test_values_that_are_taken_as_they_are(name, value):
    assert getattr(TaskOptions(**{name: value}), name) == value


def test_delay_and_run_at_exclude_each_other():
    with pytest.raises(InvalidArgumentError, match="delay and run_at"):
        TaskOptions(delay=1, run_at=1)


@pytest.mark.parametrize("wrong, right", [
    ("priorty", "priority"), ("time_out", "timeout"), ("retrys", "retries"),
    ("retry_dely", "retry_delay"),
    ("meta_data", "metadata"), ("Name", "name"),
])
def test_an_unknown_option_names_the_nearest_known_one(wrong, right):
    with pytest.raises(InvalidTypeError, match=f"'{wrong}'; did you mean '{right}'"):
        TaskOptions(**{wrong: 1})


def test_an_unknown_option_that_is_near_to_none_names_all():
    with pytest.raises(InvalidTypeError, match="'xyzzy'; known options are .*priority.*timeout"):
        TaskOptions(xyzzy=1)


def test_errors_are_the_builtins_too():
    with pytest.raises(ValueError):
        TaskOptions(timeout=0)
    with pytest.raises(TypeError):
        TaskOptions(timeout="1")


def test_group_id_whose_hash_raises_is_refused_with_the_cause():
    class Odd:
        def __hash__(self):
            raise LookupError("no hash")

        def __repr__(self):
            return "Odd()"

    with pytest.raises(InvalidTypeError,
                       match=r"group_id takes a value that can be hashed, not Odd\(\) "
                             r"\(LookupError: no hash\); give a string"):
        TaskOptions(group_id=Odd())


def test_positional_arguments_are_refused():
    with pytest.raises(TypeError):
        TaskOptions(100)


@pytest.mark.parametrize("value",
                         [ValueError, (ValueError,), [ValueError], {ValueError},
                          frozenset([ValueError])])
def test_exception_classes_may_come_alone_or_together(value):
    assert TaskOptions(retry_on=value).retry_on == (ValueError,)
    assert TaskOptions(ignore_on=value).ignore_on == (ValueError,)


def test_options_cannot_be_changed():
    options = TaskOptions(priority=5)
    with pytest.raises(AttributeError, match=r"replace\(priority="):
        options.priority = 6
    with pytest.raises(AttributeError):
        options.unknown = 6
    with pytest.raises(AttributeError):
        del options.priority
    assert options.priority == 5


def test_replace_gives_a_changed_copy():
    options = TaskOptions(priority=5, retries=2)
    changed = options.replace(priority=6, name="x")
    assert (changed.priority, changed.retries, changed.name) == (6, 2, "x")
    assert (options.priority, options.name) == (5, None)
    assert options.replace() == options


@pytest.mark.parametrize("changes, error",
                         [({"timeout": 0}, ValueError), ({"unknown": 1}, TypeError),
                          ({"run_at": 5}, ValueError)])
def test_replace_checks_as_the_constructor_does(changes, error):
    with pytest.raises(error):
        TaskOptions(delay=1).replace(**changes)


def test_delay_may_be_replaced_by_run_at():
    assert TaskOptions(delay=1).replace(delay=None, run_at=5).run_at == 5


class Array:
    """An object that cannot be compared, as an array."""

    def __eq__(self, other):
        raise ValueError("the truth value is ambiguous")

    __hash__ = None

    def __repr__(self):
        return "Array()"


@pytest.mark.parametrize("mine", [{"a": 1}, "order-17", 0, [], Array(), object()])
def test_metadata_is_the_object_that_was_given(mine):
    options = TaskOptions(metadata=mine)
    assert options.metadata is mine and options.replace(priority=1).metadata is mine
    assert f"metadata={mine!r}" in repr(options) and options == options.replace()


def test_metadata_is_none_by_default():
    assert TaskOptions().metadata is None


def test_as_dict_holds_every_option():
    assert TaskOptions(**TaskOptions(priority=5).as_dict()) == TaskOptions(priority=5)
    assert set(TaskOptions().as_dict()) == {
        "priority", "delay", "run_at", "timeout", "retries", "retry_delay", "backoff",
        "max_retry_delay", "jitter",
        "retry_on", "ignore_on", "name", "group_id", "must_complete", "detached", "ignore_result",
        "metadata"}


def test_options_with_equal_values_are_equal():
    assert TaskOptions(priority=5) == TaskOptions(priority=5) != TaskOptions(priority=6)
    assert TaskOptions() != {}


def test_repr_shows_what_differs():
    assert repr(TaskOptions()) == "TaskOptions()"
    assert repr(TaskOptions(priority=5, retries=2)) == "TaskOptions(priority=5, retries=2)"


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_options_are_the_same_after_pickling(protocol):
    options = TaskOptions(priority=5, retry_on=(KeyError,), metadata={"a": 1})
    assert pickle.loads(pickle.dumps(options, protocol)) == options


class Odd(Exception):
    pass


class Odder(Odd):
    pass


class Outer:
    class Inner(Exception):
        pass


# -- retries ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("options, error, attempts, wanted", [
    ({}, ValueError(), 1, False),
    ({"retries": 1}, ValueError(), 1, True),
    ({"retries": 1}, ValueError(), 2, False),
    ({"retries": 1}, KeyboardInterrupt(), 1, False),
    ({"retries": 1, "retry_on": KeyError}, ValueError(), 1, False),
    ({"retries": 1, "retry_on": LookupError}, KeyError(), 1, True),
    ({"retries": 1, "retry_on": LookupError, "ignore_on": KeyError}, KeyError(), 1, False),
    ({"retries": 1, "retry_on": BaseException}, SystemExit(), 1, True),
    ({"retries": 1, "retry_on": "ValueError"}, ValueError(), 1, True),
    ({"retries": 1, "retry_on": "ValueError"}, UnicodeError(), 1, True),
    ({"retries": 1, "retry_on": "ValueError"}, KeyError(), 1, False),
    ({"retries": 1, "retry_on": ["KeyError", OSError, "ValueError"]}, ValueError(), 1, True),
    ({"retries": 1, "ignore_on": "LookupError"}, KeyError(), 1, False),
    ({"retries": 1, "ignore_on": "builtins.LookupError"}, KeyError(), 1, False),
    ({"retries": 1, "retry_on": "Odd"}, Odd(), 1, True),
    ({"retries": 1, "retry_on": f"{__name__}.Odd"}, Odder(), 1, True),
    ({"retries": 1, "retry_on": f"{__name__}.Odder"}, Odd(), 1, False),
    ({"retries": 1, "retry_on": f"{__name__}.Outer.Inner"}, Outer.Inner(), 1, True),
    ({"retries": 1, "retry_on": "Inner"}, Outer.Inner(), 1, True),
    ({"retries": 1, "retry_on": "not_imported.errors.Odd"}, Odd(), 1, False),
    ({"retries": 1, "retry_on": "queue.Empty"}, Empty(), 1, True),
    ({"retries": 1, "retry_on": "not_imported.errors.Odd"},
     RemoteError("not_imported.errors.Odd", "m"), 1, True),
    ({"retries": 1, "retry_on": "Odd"}, RemoteError("not_imported.errors.Odd", "m"), 1, True),
    ({"retries": 1, "retry_on": "Even"}, RemoteError("not_imported.errors.Odd", "m"), 1, False),
    ({"retries": 1, "retry_on": (), "ignore_on": Exception}, RetryRequest(None, None), 1, True),
    ({"retries": 1}, RetryRequest(None, None), 2, False),
])
def test_wants_retry_follows_retry_on_and_ignore_on(options, error, attempts, wanted):
    assert TaskOptions(**options).wants_retry(error, attempts) is wanted


@pytest.mark.parametrize("option", ["retry_on", "ignore_on"])
@pytest.mark.parametrize("name, message", [
    ("", "takes the name of an exception, such as 'ValueError' or 'package.module.Error', not ''"),
    ("no name", "takes the name of an exception"),
    ("package..Error", "takes the name of an exception"),
    ("print", "names 'print', which is no exception"),
    ("int", "names 'int', which is no exception"),
    (f"{__name__}.Even", "and that module has no such exception"),
    (f"{__name__}.Outer", "which is no exception"),
])
def test_wrong_name_of_an_exception_is_refused(option, name, message):
    with pytest.raises(InvalidArgumentError, match=f"^{option} .*{message}"):
        TaskOptions(**{option: name})
    with pytest.raises(InvalidArgumentError):
        TaskOptions(**{option: [ValueError, name]})


@pytest.mark.parametrize("option", ["retry_on", "ignore_on"])
@pytest.mark.parametrize("name, meant", [
    ("ValeuError", "ValueError"), ("ConectionError", "ConnectionError"),
    ("KeyErrror", "KeyError"), ("IndexErrar", "IndexError"), ("timeouterror", "TimeoutError"),
    ("KeyErro", "KeyError"), ("OSErorr", "OSError")])
def test_misspelt_builtin_is_refused(option, name, meant):
    with pytest.raises(InvalidArgumentError, match=(
            f"^{option} names '{name}', and no exception of that name is loaded; did you mean "
            f"'{meant}'\\? If not, give the module, too, as in 'package.module.{name}'$")):
        TaskOptions(**{option: [KeyError, name]})
    assert TaskOptions(**{option: f"package.module.{name}"})


def test_misspelt_builtin_is_found_beside_a_class_that_answers_no_question():
    assert Nameless in type.__subclasses__(Exception)
    with pytest.raises(InvalidArgumentError, match="did you mean 'KeyError'"):
        TaskOptions(retry_on="KeyErro")


@pytest.mark.parametrize("name", ["ConnectError", "HTTPError", "OSErr", "RetryLater", "Odd"])
def test_name_that_differs_more_from_a_builtin_is_taken(name):
    assert TaskOptions(retry_on=name).retry_on == (name,)


NEAR = """
import gc, pickle, weakref
from atasker_like import InvalidArgumentError, TaskOptions

class TimeOutError(Exception):
    pass

options = TaskOptions(retries=1, retry_on="TimeOutError")
assert options.wants_retry(TimeOutError(), 1)
kept, alive = pickle.dumps(options), weakref.ref(TimeOutError)
del TimeOutError, options
gc.collect()
assert alive() is None
try:
    TaskOptions(retry_on="TimeOutError")
except InvalidArgumentError:
    pass
else:
    raise AssertionError
assert pickle.loads(kept).retry_on == ("TimeOutError",)     # in a process without the class
"""


def test_class_whose_name_is_near_to_a_builtin_is_taken_if_it_is_loaded():
    # In a process of its own: the free-threaded build of 3.13 frees no class after a thread was
    # started.
    subprocess.run([sys.executable, "-c", NEAR], check=True, timeout=PATIENCE,
                   env=dict(os.environ, PYTHONPATH=ROOT))


def test_names_of_exceptions_stay_as_they_are():
    options = TaskOptions(retry_on=["ValueError", KeyError], ignore_on="not_imported.Error")
    assert (options.retry_on, options.ignore_on) == (("ValueError", KeyError),
                                                     ("not_imported.Error",))
    assert options.replace(retries=1).retry_on == ("ValueError", KeyError)
    assert pickle.loads(pickle.dumps(options)) == options


@pytest.mark.parametrize("options, pauses", [
    ({}, [0, 0, 0]),
    ({"retry_delay": 2}, [2, 2, 2]),
    ({"retry_delay": 2, "backoff": "fixed"}, [2, 2, 2]),
    ({"retry_delay": 2, "backoff": "linear"}, [2, 4, 6]),
    ({"retry_delay": 2, "backoff": "exponential"}, [2, 4, 8]),
    ({"retry_delay": 2, "backoff": 3}, [2, 6, 18]),
    ({"retry_delay": 2, "backoff": 0.5}, [2, 1, 0.5]),
    ({"retry_delay": 2, "backoff": "exponential", "max_retry_delay": 5}, [2, 4, 5]),
])
def test_retry_pause_follows_the_backoff(options, pauses):
    options = TaskOptions(retries=5, **options)
    assert [options.retry_pause(attempts) for attempts in (1, 2, 3)] == pauses


def test_jitter_stays_within_its_share_and_the_cap():
    options = TaskOptions(retry_delay=10, jitter=0.5)
    pauses = {options.retry_pause(1) for _ in range(200)}
    assert len(pauses) > 1
    assert 5 <= min(pauses) <= max(pauses) <= 15
    capped = TaskOptions(retry_delay=10, jitter=0.5, max_retry_delay=10)
    assert max(capped.retry_pause(1) for _ in range(200)) <= 10


def test_a_growing_pause_never_overflows():
    pause = TaskOptions(retry_delay=1, backoff="exponential").retry_pause(5000)
    assert pause >= 10 ** 9
    assert TaskOptions(retry_delay=1, backoff="exponential",
                       max_retry_delay=60).retry_pause(5000) == 60
