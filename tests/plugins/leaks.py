"""A fixture of all tests: each ends with the threads, the child processes and the open files that
it began with."""
import gc
import multiprocessing
import os
import signal
import sys
import threading
from time import monotonic

import pytest

import atasker_like

from ..support import PATIENCE
from ..support.internals import manager, parts

#: Ids of processes that run beside all tests and belong to none: what they start is not counted.
apart = set()


@pytest.fixture(scope="session")
def lasting_helpers():
    """The processes that the standard library starts once and keeps, there before anything is
    counted."""
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()
    if "forkserver" in multiprocessing.get_all_start_methods():
        from multiprocessing import forkserver

        forkserver.ensure_running()


@pytest.fixture(autouse=True)
def leaves_nothing(lasting_helpers, request):
    """Every test ends with the threads, the child processes and the open files that it began with.
    """
    for name in ("ahead", "parts"):
        apart.add(getattr(request.config.pluginmanager.get_plugin(name), "pid", None))
    threads, processes, files = _threads(), children(), _open_files()
    yield
    if not atasker_like.task_supervisor.is_active or _left_behind(threads, processes, files):
        _empty_the_singleton()
    deadline = monotonic() + PATIENCE
    for thread in _threads() - threads:
        if not isinstance(thread, threading._DummyThread):
            try:
                thread.join(max(0, deadline - monotonic()))
            except RuntimeError:
                pass        # it is starting, so the loop below waits for it
    left = _left_behind(threads, processes, files)
    if left:
        gc.collect()
    never = threading.Event()
    while left and monotonic() < deadline:
        never.wait(0.005)       # the kernel tells nobody when a grandchild is gone: look again
        left = _left_behind(threads, processes, files)
    if left:
        for pid in children() - processes:
            os.kill(pid, signal.SIGKILL)        # it would be waited for at the end of the run
    assert not left, "the test left behind: " + "; ".join(left)


def _empty_the_singleton():
    """End the threads and processes of ``task_supervisor``, and leave it running for the next test.
    """
    singleton = atasker_like.task_supervisor
    if singleton.started is not None:
        singleton.stop(wait=PATIENCE, cancel_tasks=True)
        pool = manager(singleton).processes
        if hasattr(pool, "min_size"):       # the test has asked for processes ahead of tasks
            pool.min_size = parts(singleton).processes.sizes["min_size"] = 0
            pool.start_method, pool.forks_from_template = None, False
        singleton.start()


def _left_behind(threads, processes, files):
    left = [f"thread {thread.name}" for thread in _threads() - threads]
    left += [f"process {pid} ({_command(pid)})" for pid in children() - processes]
    left += [f"file {fd} ({target})" for fd, target in _open_files() - files]
    return left


def _threads():
    # threading lists a thread that it did not start even if that has ended.
    alive = sys._current_frames()
    return {thread for thread in threading.enumerate()
            if not isinstance(thread, threading._DummyThread) or thread.ident in alive}


def children():
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
