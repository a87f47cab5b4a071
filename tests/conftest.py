"""Fixtures for all tests: supervisors that are stopped at the end, and a check that nothing is left behind."""
import gc
import multiprocessing
import os
import signal
import threading
from time import monotonic

import pytest

import atasker_like
from atasker_like import TaskSupervisor

from .support.internals import manager, parts

#: Seconds that a test waits for anything at most; none of these waits ends by time in a run that passes.
PATIENCE = 10

#: Ids of processes that run beside all tests and belong to none: what they start is not counted.
apart = set()

pytest_plugins = ["tests.plugins.prelaunch", "tests.plugins.parts", "tests.plugins.schedule_jitter"]


def pytest_addoption(parser):
    parser.addoption("--gate", action="store_true", help="run the tests marked gate, too")


def pytest_collection_modifyitems(config, items):
    """Leave out the tests marked ``gate``: they start programs, and only the project's gate runs them."""
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
    """After a module, have the collector leave out the reports of its tests, and the syntax trees that modules keep."""
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
    """A function that tells which failures of this test's tasks were logged because nobody looked at them."""
    gc.collect()        # what earlier tests left to the collector speaks now, and not during this one
    caplog.clear()

    def tell():
        gc.collect()
        return [message for message in caplog.messages if "nobody looked" in message]

    return tell


@pytest.fixture(scope="session")
def lasting_helpers():
    """The processes that the standard library starts once and keeps, there before anything is counted."""
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()
    if "forkserver" in multiprocessing.get_all_start_methods():
        from multiprocessing import forkserver

        forkserver.ensure_running()


@pytest.fixture(autouse=True)
def leaves_nothing(lasting_helpers, request):
    """Every test ends with the threads, the child processes and the open files that it began with."""
    for name in ("ahead", "parts"):
        apart.add(getattr(request.config.pluginmanager.get_plugin(name), "pid", None))
    threads, children, files = _threads(), _children(), _open_files()
    yield
    if not atasker_like.task_supervisor.is_active or _left_behind(threads, children, files):
        _empty_the_singleton()
    deadline = monotonic() + PATIENCE
    for thread in _threads() - threads:
        if not isinstance(thread, threading._DummyThread):
            thread.join(max(0, deadline - monotonic()))
    left = _left_behind(threads, children, files)
    if left:
        gc.collect()
    never = threading.Event()
    while left and monotonic() < deadline:
        never.wait(0.005)       # the kernel tells nobody when a grandchild is gone: look again
        left = _left_behind(threads, children, files)
    if left:
        for pid in _children() - children:
            os.kill(pid, signal.SIGKILL)        # it would be waited for at the end of the run
    assert not left, "the test left behind: " + "; ".join(left)


def _empty_the_singleton():
    """End the threads and processes of ``task_supervisor``, and leave it running for the next test."""
    singleton = atasker_like.task_supervisor
    if singleton.started is not None:
        singleton.stop(wait=PATIENCE, cancel_tasks=True)
        pool = manager(singleton).processes
        if hasattr(pool, "min_size"):       # the test has asked for processes ahead of tasks
            pool.min_size = parts(singleton).processes.sizes["min_size"] = 0
            pool.start_method, pool.forks_from_template = None, False
        singleton.start()


def _left_behind(threads, children, files):
    left = [f"thread {thread.name}" for thread in _threads() - threads]
    left += [f"process {pid} ({_command(pid)})" for pid in _children() - children]
    left += [f"file {fd} ({target})" for fd, target in _open_files() - files]
    return left


def _threads():
    return set(threading.enumerate())


def _children():
    """The process ids of all that descend from this process."""
    if not os.path.exists("/proc/self/task/%d/children" % os.getpid()):
        return {child.pid for child in multiprocessing.active_children()}
    found = set()
    waiting = [os.getpid()]
    while waiting:
        folder = "/proc/%d/task" % waiting.pop()
        try:
            threads = os.listdir(folder)
        except OSError:             # the process has just ended
            continue
        for thread in threads:
            try:
                with open("%s/%s/children" % (folder, thread)) as file:
                    pids = [int(word) for word in file.read().split()]
            except OSError:         # so has the thread
                continue
            waiting += [pid for pid in pids if pid not in apart]
            found.update(pids)
    return found


def _command(pid):
    try:
        with open("/proc/%d/cmdline" % pid) as file:
            return file.read().replace("\0", " ").strip()[:120] or "ended, but not waited for"
    except OSError:
        return "just ended"


def _open_files():
    found = set()
    if os.path.isdir("/proc/self/fd"):
        for name in os.listdir("/proc/self/fd"):
            try:
                found.add((int(name), os.readlink("/proc/self/fd/" + name)))
            except OSError:         # the one that listed the directory
                pass
    return found
