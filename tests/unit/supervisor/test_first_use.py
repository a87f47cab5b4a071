"""The parts of task_supervisor: the first use makes them, the import of the package does not."""
import os
import signal
import threading

import pytest

from atasker_like import SupervisorError
from atasker_like.supervisor.supervisor import made_on_first_use
from atasker_like.supervisor.unmade_parts import PartsOnFirstUse
from tests.support import PATIENCE
from tests.support.internals import parts
from tests.support.scripts import run_script

IMPORT = "from atasker_like import background_task, task_supervisor, wait_completed\n"


def test_import_loads_no_pool_and_no_loop():
    found = run_script("import sys\n" + IMPORT + """
names = ("engine.run_queue", "pools.base", "loops", "supervisor.parts", "supervisor.schedulers")
print([name for name in names if "atasker_like." + name in sys.modules])
print(task_supervisor)
print("atasker_like.supervisor.parts" in sys.modules)
""")
    assert found.splitlines() == ["[]", "<TaskSupervisor default new>", "False"]


def test_exit_of_a_program_that_uses_no_supervisor_makes_no_parts():
    found = run_script("import atexit, sys\n" + IMPORT + """
atexit.register(lambda: print("atasker_like.supervisor.parts" in sys.modules))
""")
    assert found.split() == ["False"]


def test_threads_that_use_the_supervisor_first_get_the_same_parts():
    found = run_script("import threading\n" + IMPORT + """
barrier, pools, values = threading.Barrier(8), set(), []

def use(number):
    barrier.wait()
    task = task_supervisor.put_task(abs, (-number,))
    pools.add(task_supervisor._supervisor_parts.pools)
    values.append(task.value())

threads = [threading.Thread(target=use, args=(number,)) for number in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(pools), sorted(values))
""")
    assert found.strip() == "1 [0, 1, 2, 3, 4, 5, 6, 7]"


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="the system has no interval timer")
def test_signal_handler_may_use_the_supervisor_in_the_middle_of_its_first_use():
    found = run_script("import signal\n" + IMPORT + """
handled = []

def handle(*ignored):
    handled.append(task_supervisor.stats().submitted)

signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
task = task_supervisor.put_task(abs, (-3,))
signal.setitimer(signal.ITIMER_REAL, 0)
print(task.value(), len(handled) > 0)
""")
    assert found.strip() == "3 True"


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="the system blocks no signals")
def test_signal_that_interrupts_the_blocking_of_signals_leaves_none_blocked(monkeypatch):
    plain = signal.pthread_sigmask

    def interrupted(how, mask):
        before = plain(how, mask)
        if how == signal.SIG_BLOCK and mask:
            raise KeyboardInterrupt     # as of a handler that runs when the call returns
        return before

    supervisor = made_on_first_use("early")
    mask = plain(signal.SIG_BLOCK, ())
    monkeypatch.setattr(signal, "pthread_sigmask", interrupted)
    try:
        with pytest.raises(KeyboardInterrupt):
            parts(supervisor).pools
        assert plain(signal.SIG_BLOCK, ()) == mask
    finally:
        plain(signal.SIG_SETMASK, mask)


def test_last_finalizer_learns_that_the_interpreter_ends():
    found = run_script("import sys\n" + IMPORT + """
from atasker_like import SupervisorStoppedError

class Last:
    def __del__(self, supervisor=task_supervisor, expected=SupervisorStoppedError, out=sys.stdout):
        try:
            supervisor.put_task(abs, (-1,))
        except expected as error:
            out.write(str(error).partition(",")[0])
            out.flush()

last = Last()       # deleted when the interpreter is being finalized
""")
    assert found == "the interpreter is being finalized"


class Owner:
    """In the position of a supervisor: it has parts that the first use makes."""

    id = "owner"
    daemon = False

    def __init__(self, make):
        self._supervisor_parts = PartsOnFirstUse(self, make)


class Made:
    name = "made"

    def reset_after_fork(self):
        pass


def test_use_in_the_middle_of_the_first_use_is_an_error_and_the_next_use_works():
    def make(owner):
        if not errors:
            with pytest.raises(SupervisorError, match="owner is not made yet: a signal handler"):
                parts(owner).name
            errors.append("an import failed")
            raise ImportError
        return Made()

    errors = []
    owner = Owner(make)
    with pytest.raises(ImportError):
        parts(owner).name
    assert parts(owner).name == "made"
    assert type(parts(owner)) is Made


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork()")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_process_forked_in_the_middle_of_the_first_use_makes_its_own_parts():
    begun, go_on = threading.Event(), threading.Event()
    parent = os.getpid()

    def make(owner):
        if os.getpid() == parent:
            begun.set()
            go_on.wait(PATIENCE)
        return Made()

    owner = Owner(make)
    thread = threading.Thread(target=lambda: parts(owner).name)
    thread.start()
    assert begun.wait(PATIENCE)
    pid = os.fork()
    if not pid:
        signal.alarm(int(PATIENCE))
        os._exit(0 if parts(owner).name == "made" else 1)
    go_on.set()
    thread.join()
    assert os.waitpid(pid, 0)[1] == 0


def test_attributes_that_inspect_asks_for_do_not_make_the_parts():
    owner = Owner(lambda owner: pytest.fail("made"))
    assert not hasattr(parts(owner), "__wrapped__")
