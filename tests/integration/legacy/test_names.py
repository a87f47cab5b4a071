"""The names that applications import, and their values."""
import importlib
import logging
import pickle
import subprocess
import sys

import pytest

import atasker_like
from atasker_like import legacy

ROOT = ("TaskSupervisor task_supervisor TASK_LOW TASK_NORMAL TASK_HIGH TASK_CRITICAL TT_THREAD "
        "TT_MP TT_COROUTINE "
        "background_task wait_completed co_mp_apply background_worker BackgroundWorker "
        "BackgroundIntervalWorker "
        "BackgroundQueueWorker BackgroundEventWorker FunctionCollection TaskCollection LocalProxy "
        "Locker g "
        "set_debug").split()
STATUSES = ("TASK_STATUS_QUEUED TASK_STATUS_DELAYED TASK_STATUS_STARTED TASK_STATUS_COMPLETED "
            "TASK_STATUS_CANCELED").split()
SUBMODULES = {
    "atasker.supervisor": ["TaskSupervisor", "ALoop", "Task", "TASK_LOW", "TASK_NORMAL",
                           "TASK_HIGH", "TASK_CRITICAL",
                           "TT_THREAD", "TT_MP", "TT_COROUTINE", *STATUSES],
    "atasker.workers": ["background_worker", "BackgroundWorker", "BackgroundAsyncWorker",
                        "BackgroundIntervalWorker",
                        "BackgroundQueueWorker", "BackgroundEventWorker"],
    "atasker.threads": ["LocalProxy", "Locker", "background_task", "wait_completed"],
    "atasker.f": ["FunctionCollection", "TaskCollection"],
    "atasker.co": ["co_mp_apply"],
}
NAMES = [("atasker", name) for name in ROOT] + [(home, name) for home,
                                                names in SUBMODULES.items() for name in names]


@pytest.mark.parametrize("module, name", [pytest.param(*pair, id=".".join(pair)) for pair in NAMES])
def test_a_name_is_this_librarys(module, name):
    namespace = {}
    exec(f"from {module} import {name}", namespace)
    assert namespace[name] is getattr(atasker_like, name)
    assert name in dir(importlib.import_module(module))


@pytest.mark.parametrize("module", ["atasker", *SUBMODULES])
def test_a_star_brings_the_names(module):
    namespace = {}
    exec(f"from {module} import *", namespace)
    assert {name for home, name in NAMES if home == module} <= set(namespace)
    assert "atasker_like" not in namespace


def test_the_submodules_are_there_without_an_import_of_their_own():
    import atasker

    for module in SUBMODULES:
        assert getattr(atasker, module.partition(".")[2]) is importlib.import_module(module)


@pytest.mark.parametrize("name, number", [
    ("TASK_LOW", 200), ("TASK_NORMAL", 100), ("TASK_HIGH", 50), ("TASK_CRITICAL", 0),
    ("TT_COROUTINE", 0), ("TT_THREAD", 1), ("TT_MP", 2),
    ("TASK_STATUS_QUEUED", 0), ("TASK_STATUS_DELAYED", 2), ("TASK_STATUS_STARTED", 100),
    ("TASK_STATUS_COMPLETED", 200), ("TASK_STATUS_CANCELED", -1),
])
def test_constants_have_the_values_of_atasker(name, number):
    import atasker.supervisor

    value = getattr(atasker.supervisor, name)
    assert value == number
    # as a key of a table that somebody has written by hand
    assert {number: "found"}[value] == "found"
    assert isinstance(value, int)


def test_a_name_that_atasker_never_had():
    import atasker

    with pytest.raises(AttributeError, match="atasker.*atasker_like.*no attribute 'as_completed'"):
        atasker.as_completed
    with pytest.raises(ImportError, match="as_completed"):
        from atasker import as_completed  # noqa: F401
    with pytest.raises(ModuleNotFoundError, match="atasker.nothing"):
        import atasker.nothing  # noqa: F401


def test_version_is_one_of_atasker():
    import atasker

    assert atasker.__version__.startswith("0.7.")


# -- install and uninstall -------------------------------------------------------------------------


def test_installing_twice_is_installing_once():
    from multiprocessing import spawn

    finders, preparation = list(sys.meta_path), spawn.get_preparation_data
    legacy.install()
    assert sys.meta_path == finders
    assert spawn.get_preparation_data is preparation


def test_uninstalling_leaves_nothing():
    from multiprocessing import spawn

    import atasker.supervisor  # noqa: F401

    legacy.uninstall()
    assert not [name for name in sys.modules if name.split(".")[0] == "atasker" and
                sys.modules[name].__spec__.origin == legacy.__file__]
    assert not [finder for finder in sys.meta_path if type(finder).__module__ == legacy.__name__]
    assert spawn.get_preparation_data.__module__ == "multiprocessing.spawn"
    legacy.uninstall()


@pytest.fixture
def another(tmp_path, monkeypatch):
    """A package named atasker is installed."""
    legacy.uninstall()
    home = tmp_path / "atasker"
    home.mkdir()
    (home / "__init__.py").write_text("task_supervisor = 'the other one'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.split(".")[0] == "atasker"]:
        monkeypatch.delitem(sys.modules, name)
    yield home / "__init__.py"
    legacy.uninstall()
    sys.modules.pop("atasker", None)


def test_an_installed_atasker_is_passed_over_and_it_says_so(another, caplog):
    legacy.install()
    with caplog.at_level(logging.INFO, "atasker"):
        from atasker import task_supervisor
    assert task_supervisor is atasker_like.task_supervisor
    record, = caplog.records
    assert record.levelno == logging.INFO
    assert str(another) in record.getMessage()


def test_a_folder_of_that_name_is_no_atasker(another, caplog):
    another.unlink()
    legacy.install()
    with caplog.at_level(logging.INFO, "atasker"):
        import atasker  # noqa: F401
    assert not [record for record in caplog.records if str(another.parent) in record.getMessage()]


def test_what_was_imported_of_another_atasker_is_put_aside(another, caplog):
    import atasker

    other = atasker
    legacy.install()
    record, = caplog.records
    assert record.levelno == logging.WARNING
    assert "call install() first" in record.getMessage()
    from atasker import task_supervisor
    assert task_supervisor is atasker_like.task_supervisor
    assert other.task_supervisor == "the other one"
    legacy.uninstall()
    assert sys.modules["atasker"] is other


def test_importing_it_loads_nothing_that_a_child_could_do_without():
    code = ("import sys; before = set(sys.modules); import atasker_like.legacy; "
            "print(*sorted(set(sys.modules) - before))")
    done = subprocess.run([sys.executable, "-S", "-c", code], stdout=subprocess.PIPE,
                          universal_newlines=True, timeout=30,
                          cwd=atasker_like.__path__[0] + "/..", check=True)
    assert not set(done.stdout.split()) & {"multiprocessing", "asyncio", "logging", "typing",
                                           "runpy", "zipfile",
                                           "atasker_like.supervisor", "atasker_like.tasks"}


def test_classes_say_that_they_are_from_ataskers_modules():
    import atasker

    worker = atasker.background_worker(interval=1)(lambda **kwargs: None)
    homes = {type(worker): "atasker.workers", atasker.TaskSupervisor: "atasker.supervisor",
             atasker.FunctionCollection: "atasker.f", atasker.Locker: "atasker.threads"}
    assert {kind: kind.__module__ for kind in homes} == homes
    assert pickle.loads(pickle.dumps(type(worker))) is type(worker)
    legacy.uninstall()
    assert {kind.__module__.partition(".")[0] for kind in homes} == {"atasker_like"}
    legacy.install()
