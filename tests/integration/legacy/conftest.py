"""``import atasker`` resolves to this library for as long as one of these tests runs, and not
beyond."""
import os
import threading

import pytest

from atasker_like import legacy
from tests.support import PATIENCE

legacy.uninstall()


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report(collector):
    """Have the name for the imports of a module here, too."""
    legacy.install()
    yield
    legacy.uninstall()


@pytest.fixture(autouse=True)
def installed():
    legacy.install()
    yield
    legacy.uninstall()


@pytest.fixture
def gate():
    """An event that is set at the end, whatever became of the test: what waits for it comes to its
    end."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def task_supervisor(gate):
    """The process-wide one, started; stopped at the end of the test, with pools as they were. Loops
    stay where they are made, so tests make them in a supervisor of their own."""
    from atasker import task_supervisor

    sizes = task_supervisor.get_info(tt=False)
    task_supervisor.start()
    yield task_supervisor
    gate.set()
    task_supervisor.set_thread_pool(pool_size=sizes.thread_pool_size,
                                    reserve_normal=sizes.thread_reserve_normal,
                                    reserve_high=sizes.thread_reserve_high, min_size=0)
    # With another start method no process starts ahead: what is left to the next test is a pool
    # without processes.
    legacy.uninstall()
    task_supervisor.stop(wait=PATIENCE, cancel_tasks=True)
    if task_supervisor.mp_pool is not None:
        task_supervisor.set_mp_pool(pool_size=sizes.mp_pool_size or os.cpu_count(), min_size=0,
                                    start_method="forkserver",
                                    reserve_normal=sizes.mp_reserve_normal or 0,
                                    reserve_high=sizes.mp_reserve_high or 0)
    task_supervisor.start()
