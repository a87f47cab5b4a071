import doctest
import importlib
import inspect
import pkgutil
import re
import sys
import types
import typing

import pytest

import atasker_like
import atasker_like.service

from .support import stubs

#: What applications written for atasker import from the package's root.
MODEL = {
    "TaskSupervisor", "task_supervisor", "TASK_LOW", "TASK_NORMAL", "TASK_HIGH", "TASK_CRITICAL",
    "TT_THREAD",
    "TT_MP", "TT_COROUTINE", "background_task", "wait_completed", "co_mp_apply",
    "background_worker",
    "BackgroundWorker", "BackgroundIntervalWorker", "BackgroundQueueWorker",
    "BackgroundEventWorker",
    "FunctionCollection", "TaskCollection", "LocalProxy", "Locker", "g", "set_debug",
    "TASK_STATUS_QUEUED", "TASK_STATUS_DELAYED", "TASK_STATUS_STARTED", "TASK_STATUS_COMPLETED",
    "TASK_STATUS_CANCELED", "ALoop", "Task",
}

#: Of these, what is still to be built. The change that adds one removes it here.
NOT_YET = set()

MODULES = sorted(module.name
                 for module in pkgutil.walk_packages(atasker_like.__path__, "atasker_like.")
                 if not module.name.endswith("__main__")) + ["atasker_like"]


@pytest.mark.parametrize("name", sorted(MODEL - NOT_YET))
def test_the_names_that_applications_know(name):
    assert name in atasker_like.__all__


@pytest.mark.parametrize("name", sorted(NOT_YET))
def test_what_is_not_yet_there(name):
    assert name not in atasker_like.__all__, "it is there: take it out of NOT_YET"
    with pytest.raises(AttributeError, match=name):
        getattr(atasker_like, name)


def test_all_is_sorted_and_without_doubles():
    assert atasker_like.__all__ == sorted(set(atasker_like.__all__))


@pytest.mark.parametrize("name", atasker_like.__all__)
def test_every_name_can_be_imported(name):
    namespace = {}
    exec(f"from atasker_like import {name}", namespace)
    assert namespace[name] is getattr(atasker_like, name)


def test_a_star_brings_exactly_these():
    namespace = {}
    exec("from atasker_like import *", namespace)
    assert set(namespace) - {"__builtins__"} == set(atasker_like.__all__)


def test_nothing_else_is_public():
    modules = {name for name,
               value in vars(atasker_like).items() if isinstance(value, types.ModuleType)}
    public = {name for name in dir(atasker_like) if not name.startswith("_")} - modules
    assert public - set(atasker_like.__all__) <= {"annotations", "TYPE_CHECKING"}


def test_a_name_that_does_not_exist():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        atasker_like.nothing


def test_version_begins_with_a_number():
    assert atasker_like.__version__.split(".")[0].isdigit()


@pytest.mark.parametrize("name", atasker_like.__all__)
def test_every_name_has_a_docstring(name):
    assert inspect.getdoc(getattr(atasker_like, name))


def public_members():
    for name in atasker_like.__all__:
        thing = getattr(atasker_like, name)
        if isinstance(thing, type):
            for member, value in vars(thing).items():
                if not member.startswith("_") and (callable(value) or isinstance(value, property)):
                    yield f"{name}.{member}", value


@pytest.mark.parametrize("value",
                         [pytest.param(value, id=name) for name, value in public_members()])
def test_every_public_method_has_a_docstring(value):
    assert inspect.getdoc(value)


@pytest.mark.parametrize("name", MODULES)
def test_all_of_each_module_exists(name):
    module = importlib.import_module(name)
    for public in getattr(module, "__all__", ()):
        assert hasattr(module, public), public


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_the_docstrings(name):
    module = importlib.import_module(name)
    namespace = dict(vars(module))
    for public in atasker_like.__all__:     # as a reader would have them
        namespace.setdefault(public, getattr(atasker_like, public))
    failed, _ = doctest.testmod(module, extraglobs=namespace, optionflags=doctest.ELLIPSIS)
    assert failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder()
    examples = sum(len(test.examples) for name in MODULES
                   for test in finder.find(importlib.import_module(name)))
    assert examples >= 10


@pytest.mark.parametrize("package", stubs.PACKAGES)
def test_stub_is_current(package):
    assert stubs.path_of(package).read_text(encoding="utf-8") == stubs.stub_of(package), (
        "run python -m tests.support.stubs")


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info < (3, 12), reason="typing has not all forms that are used")
@pytest.mark.parametrize("name", [name for name in atasker_like.__all__
                                  if inspect.isfunction(getattr(atasker_like, name))])
def test_hints_of_a_function_are_found(name):
    function = getattr(atasker_like, name)
    assert set(typing.get_type_hints(function)) == set(function.__annotations__)


def public_methods():
    """Yield each method of the public classes, static and class methods too."""
    for package, prefix in ((atasker_like, ""), (atasker_like.service, "service.")):
        for name in package.__all__:
            kind = getattr(package, name)
            for attribute in dir(kind) if isinstance(kind, type) else ():
                method = inspect.getattr_static(kind, attribute)
                method = getattr(method, "__func__", method)
                if inspect.isfunction(method) and method.__module__.startswith("atasker_like."):
                    if attribute == "__init__" or not attribute.startswith("_"):
                        yield pytest.param(method, id=f"{prefix}{name}.{attribute}")


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info < (3, 12), reason="typing has not all forms that are used")
@pytest.mark.parametrize("method", list(public_methods()))
def test_hints_of_a_method_are_found(method):
    assert set(typing.get_type_hints(method)) == set(method.__annotations__)


@pytest.mark.parametrize("name", [name for name in atasker_like.__all__
                                  if inspect.isfunction(getattr(atasker_like, name))])
def test_signature_of_a_function_has_clean_annotations(name):
    shown = str(inspect.signature(getattr(atasker_like, name)))
    assert not re.search(r"typing\.|ForwardRef|<|\"", shown)


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info < (3, 12), reason="typing has not all forms that are used")
def test_hints_are_the_types():
    hints = typing.get_type_hints(atasker_like.co_mp_apply)
    assert hints["priority"] == typing.Optional[int]
    assert hints["supervisor"] == typing.Optional[atasker_like.TaskSupervisor]
    hints = typing.get_type_hints(atasker_like.Task.wait)
    assert hints["return"] is atasker_like.TaskResult
    assert isinstance(typing.get_type_hints(atasker_like.Task.value)["return"], typing.TypeVar)
