"""Fixtures for all tests, and the option --gate."""
import gc

import pytest

from atasker_like import TaskSupervisor

from .support import PATIENCE

pytest_plugins = ["tests.plugins.leaks", "tests.plugins.prelaunch", "tests.plugins.parts",
                  "tests.plugins.schedule_jitter"]


def pytest_addoption(parser):
    parser.addoption("--gate", action="store_true", help="run the tests marked gate, too")


def pytest_collection_modifyitems(config, items):
    """Leave out the tests marked ``gate``: they start programs, and only the project's gate runs
    them."""
    if config.getoption("--gate"):
        return
    left_out = [item for item in items if item.get_closest_marker("gate")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("gate")]


def pytest_collection_finish():
    """Have the collector leave out what there is by now: it stays."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    """After a module, have the collector leave out the reports of its tests, and the syntax trees
    that modules keep."""
    if nextitem is not None and nextitem.path != item.path:
        gc.collect()
        gc.freeze()


@pytest.fixture
def supervisor():
    """A supervisor of the test's own, stopped at its end."""
    made = TaskSupervisor()
    yield made
    made.stop(wait=PATIENCE, cancel_tasks=True)


@pytest.fixture
def make_supervisor():
    """Makes supervisors, with the arguments of TaskSupervisor, that are stopped at the end."""
    made = []

    def make(*args, **kwargs):
        supervisor = kwargs.pop("kind", TaskSupervisor)(*args, **kwargs)
        made.append(supervisor)
        return supervisor

    yield make
    for supervisor in made:
        supervisor.stop(wait=PATIENCE, cancel_tasks=True)


@pytest.fixture
def unseen(caplog):
    """A function that tells which failures of this test's tasks were logged because nobody looked
    at them."""
    # what earlier tests left to the collector speaks now, and not during this one
    gc.collect()
    caplog.clear()

    def tell():
        gc.collect()
        return [message for message in caplog.messages if "nobody looked" in message]

    return tell
