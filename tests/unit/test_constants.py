import copy
import json
import pickle

import pytest

import atasker_like
from atasker_like import TASK_HIGH, TASK_STATUS_CANCELED, TT_MP, TaskStatus, _modes


@pytest.mark.parametrize("name, number", [
    ("TASK_CRITICAL", 0), ("TASK_HIGH", 50), ("TASK_NORMAL", 100), ("TASK_LOW", 200),
    ("TT_COROUTINE", 0), ("TT_THREAD", 1), ("TT_MP", 2),
    ("TASK_STATUS_QUEUED", 0), ("TASK_STATUS_DELAYED", 2), ("TASK_STATUS_STARTED", 100),
    ("TASK_STATUS_COMPLETED", 200), ("TASK_STATUS_CANCELED", -1),
])
def test_the_numbers_that_applications_have_stored(name, number):
    assert getattr(atasker_like, name) == number
    assert isinstance(getattr(atasker_like, name), int)


@pytest.mark.parametrize("number", [TASK_HIGH, TT_MP, TASK_STATUS_CANCELED])
def test_number_prints_as_plain_number(number):
    plain = int(number)
    assert (str(number) == f"{number}" == "%s" % number == "{}".format(number) == "%d" % number
            == str(plain))
    assert f"{number:5d}|{number:>4}" == f"{plain:5d}|{plain:>4}"
    assert json.dumps([number]) == f"[{plain}]"


def test_number_shows_its_name_in_the_repr():
    assert repr(TASK_HIGH) == "<Priority.HIGH: 50>"
    assert TASK_HIGH.name == "HIGH"


def test_number_under_install_shows_a_plain_number_in_the_repr(monkeypatch):
    monkeypatch.setattr(_modes, "legacy", True)
    assert repr([TASK_HIGH, TASK_STATUS_CANCELED]) == "[50, -1]"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_number_pickles_as_plain_int(protocol):
    loaded = pickle.loads(pickle.dumps({"priority": TASK_HIGH, "tt": TT_MP}, protocol))
    assert loaded == {"priority": 50, "tt": 2}
    assert {type(value) for value in loaded.values()} == {int}


def test_number_copies_to_an_equal_number():
    assert copy.copy(TASK_HIGH) == copy.deepcopy([TASK_HIGH])[0] == 50


def test_task_has_numbers_that_print_as_plain_numbers(supervisor):
    task = supervisor.put_task(abs, (-1,), priority=TASK_HIGH)
    task.value()
    assert f"{task.status} {task.priority} {task.tt}" == "200 50 1"
    assert task.status is TaskStatus.COMPLETED
