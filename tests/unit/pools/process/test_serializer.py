"""Another serializer for what crosses to pool processes and back."""
import importlib.util
import json
import pickle
import types

import pytest

import atasker_like
from atasker_like import (TT_MP, InvalidArgumentError, InvalidTypeError, TaskPicklingError,
                          background_task)
from atasker_like.pools.process.serializer import use_cloudpickle
from tests.support import PATIENCE, by_value
from tests.support.internals import manager

START_METHODS = ["forkserver", "spawn", "fork"]


def submit(supervisor, function, *args):
    return background_task(function, tt=TT_MP, supervisor=supervisor)(*args)


@pytest.mark.slow
@pytest.mark.parametrize("start_method", START_METHODS)
def test_serializer_carries_closures_both_ways(supervisor, start_method):
    supervisor.set_mp_pool(1, start_method=start_method, serializer=by_value)
    factor = 3
    made = submit(supervisor, lambda f: lambda x: factor * f(x), lambda x: x + factor)
    assert made.value(PATIENCE)(4) == 21


@pytest.mark.slow
def test_serializer_of_create_mp_pool_carries_closures(supervisor):
    supervisor.create_mp_pool(1, serializer=by_value)
    assert submit(supervisor, lambda: 7).value(PATIENCE) == 7


@pytest.mark.slow
def test_process_executor_with_a_serializer_has_processes_of_its_own():
    with atasker_like.ProcessExecutor(1, serializer=by_value) as executor:
        assert executor.submit(lambda x: x + 1, 2).result(PATIENCE) == 3
    with pytest.raises(InvalidArgumentError, match="serializer and supervisor exclude each other"):
        atasker_like.ProcessExecutor(serializer=by_value, supervisor=atasker_like.task_supervisor)


@pytest.mark.slow
def test_serializer_carries_what_a_closure_holds_at_each_call(supervisor):
    supervisor.set_mp_pool(1, serializer=by_value)
    box = [0]
    read = background_task(lambda: box[0], tt=TT_MP, supervisor=supervisor)
    for number in range(3):
        box[0] = number
        assert read().value(PATIENCE) == number


@pytest.mark.slow
def test_serializer_carries_the_initializer(supervisor):
    value = 5
    supervisor.set_mp_pool(
        1, serializer=by_value, initargs=(lambda: value,),
        initializer=lambda get: setattr(pickle, "for_this_test", get()))
    assert submit(supervisor, lambda: pickle.for_this_test).value(PATIENCE) == 5
    assert not hasattr(pickle, "for_this_test")


def fail(make):
    raise ValueError(make)


@pytest.mark.slow
def test_serializer_carries_errors(supervisor):
    supervisor.set_mp_pool(1, serializer=by_value)
    error = submit(supervisor, fail, lambda: 8).exception(PATIENCE)
    assert type(error) is ValueError and error.args[0]() == 8


@pytest.mark.slow
def test_serializer_that_refuses_arguments_fails_one_task(supervisor):
    supervisor.set_mp_pool(1, serializer=json)
    failed = submit(supervisor, len, object())
    assert submit(supervisor, sum, [1, 2]).value(PATIENCE) == 3
    error = failed.exception(PATIENCE)
    assert type(error) is TaskPicklingError and "not JSON serializable" in str(error)
    error = submit(supervisor, divmod, 7, 0j).exception(PATIENCE)
    assert type(error) is TaskPicklingError


@pytest.mark.slow
def test_pickle_as_serializer_is_the_default_again(supervisor):
    supervisor.set_mp_pool(1, serializer=by_value)
    assert submit(supervisor, lambda: 1).value(PATIENCE) == 1
    supervisor.set_mp_pool(serializer=pickle)
    assert type(submit(supervisor, lambda: 1).exception(PATIENCE)) is TaskPicklingError
    assert submit(supervisor, abs, -1).value(PATIENCE) == 1


def test_functions_of_modules_go_by_name_with_a_serializer(supervisor):
    supervisor.set_mp_pool(1, serializer=by_value)
    serializer = manager(supervisor).processes.packer.serializer
    blob, keeps = serializer.pickle_target(fail)
    assert keeps and blob == pickle.dumps(fail, pickle.HIGHEST_PROTOCOL)
    blob, keeps = serializer.pickle_target(lambda: 9)
    assert not keeps and pickle.loads(blob)() == 9


@pytest.mark.parametrize("refused", [5, "pickle", types.SimpleNamespace(dumps=len)])
def test_serializer_without_dumps_and_loads_is_refused(supervisor, refused):
    with pytest.raises(InvalidTypeError, match="serializer takes a module with dumps and loads"):
        supervisor.set_mp_pool(serializer=refused)
    assert manager(supervisor).processes.packer.serializer is None


def test_error_for_a_lambda_suggests_cloudpickle_if_it_is_installed(supervisor, monkeypatch):
    find = importlib.util.find_spec
    for found in (None, find("json")):
        monkeypatch.setattr(importlib.util, "find_spec",
                            lambda name: found if name == "cloudpickle" else find(name))
        tasks = [submit(supervisor, lambda: 1), submit(supervisor, abs, lambda: 1)]
        for task in tasks:
            text = str(task.exception(PATIENCE))
            assert "cannot be sent to a process" in text
            assert ("set_mp_pool(serializer=cloudpickle)" in text) == (found is not None)
        # cloudpickle does not carry this, either
        assert use_cloudpickle("cannot pickle '_thread.lock' object") == ""
