"""Supervisors that are dropped without a stop: what runs by itself ends when nothing refers to them
any more."""
import asyncio
import concurrent.futures
import gc
import os
import subprocess
import sys
import threading
import weakref

import pytest

from atasker_like import (TT_MP, InvalidArgumentError, MemoryBackend, SupervisorStoppedError,
                          TaskSupervisor, ThreadQueue, background_task, background_worker)
from tests.plugins.leaks import children
from tests.support import PATIENCE, ROOT
from tests.support.gates import Hold
from tests.support.threads import FREE_THREADED, wait_for

from ..support.internals import parts


class Dropped:
    """A supervisor that was made, used and dropped, and what is left of it."""

    def __init__(self, use, kind=TaskSupervisor):
        self._threads, self._children = set(threading.enumerate()), children()
        supervisor = kind()
        self.ref = weakref.ref(supervisor)
        self.kept = use(supervisor)

    def left(self):
        left = [thread.name for thread in threading.enumerate() if thread not in self._threads]
        return left + sorted(children() - self._children) + ([self.ref()] if self.ref() is not None
                                                             else [])

    def wait(self, collect=False):
        """Wait until nothing is left.

        :param collect: have the collector run, for a supervisor that is part of a cycle.
        """
        def gone():
            if collect or FREE_THREADED:
                gc.collect()
            return not self.left()

        wait_for(gone, "nothing is left")


@pytest.fixture(autouse=True)
def no_collector():
    """What ends here ends with its last reference, unless a test has the collector run."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def co_one():
    await asyncio.sleep(0)
    return 1


def run_in_a_lane(supervisor):
    supervisor.lane("tests", limit=1)
    background_task(abs, supervisor=supervisor, lane="tests")(-1).wait(PATIENCE)
    background_task(abs, supervisor=supervisor, lane="nobody made it")


def use_a_queue(supervisor):
    queue = ThreadQueue(supervisor=supervisor)
    queue.start()
    queue.map(abs, [-1, -2])
    queue.join()


def register_a_late_warning(supervisor):
    supervisor.timeout_warning, supervisor.timeout_warning_func = 0.0, lambda task: None
    background_task(abs, supervisor=supervisor)(-1).wait(PATIENCE)


def use_an_executor(supervisor):
    executor = concurrent.futures.ThreadPoolExecutor(1)
    supervisor.mp_pool = executor
    supervisor.put_task(abs, (-1,), tt=TT_MP).wait(PATIENCE)
    executor.shutdown()


def keep_results(supervisor, backend=None):
    supervisor.set_result_backend(MemoryBackend() if backend is None else backend)
    supervisor.put_task(abs, (-1,)).wait(PATIENCE)


#: Uses after which the last reference is enough.
USES = {
    "never used": lambda supervisor: None,
    "started": lambda supervisor: supervisor.start(),
    "warmed up": lambda supervisor: supervisor.set_thread_pool(min_size=2) or supervisor.start(),
    "a thread": lambda supervisor: supervisor.put_task(abs, (-1,)).wait(PATIENCE) and None,
    "a failure": lambda supervisor: supervisor.put_task(abs, ("x",)).wait(PATIENCE) and None,
    "beside": lambda supervisor: supervisor.spawn_thread(abs, (-1,)).result(PATIENCE) and None,
    "a loop":
        lambda supervisor: background_task(co_one, supervisor=supervisor)().wait(PATIENCE) and None,
    "a named loop": lambda supervisor: supervisor.create_aloop("mine") and None,
    "a timer": lambda supervisor: background_task(abs, supervisor=supervisor,
                                                  timeout=60)(-1).wait(PATIENCE) and None,
    "a lane": run_in_a_lane,
    "a queue": use_a_queue,
    "a late task": register_a_late_warning,
    "an executor": use_an_executor,
    "a backend": keep_results,
    "a decorated function":
        lambda supervisor: background_task(abs, supervisor=supervisor)(-1).wait(PATIENCE) and None,
    "a map": lambda supervisor: next(background_task(abs, supervisor=supervisor).map([1, 2, 3]))
    and None,
}


@pytest.mark.parametrize("use", USES)
def test_dropped_supervisor_ends(use):
    Dropped(USES[use]).wait()


@pytest.mark.slow
@pytest.mark.parametrize("use", [
    lambda supervisor: supervisor.put_task(abs, (-1,), tt=TT_MP).wait(PATIENCE) and None,
    lambda supervisor: supervisor.set_mp_pool(pool_size=1, min_size=1) or supervisor.start(),
    lambda supervisor: supervisor.put_task(abs, (-1,), tt=TT_MP, delay=0.01) and None,
], ids=["used", "started ahead", "delayed"])
def test_dropped_supervisor_ends_its_processes(use):
    Dropped(use).wait()


def test_twenty_dropped_supervisors_leave_nothing():
    dropped = [Dropped(USES["a thread"]) for _ in range(20)]
    for each in dropped:
        each.wait()


def test_backend_in_use_does_not_keep_a_supervisor():
    backend = MemoryBackend()
    dropped = Dropped(lambda supervisor: keep_results(supervisor, backend))
    dropped.wait()
    assert backend.find("unknown").state == "PENDING"
    with pytest.raises(Exception, match="no supervisor keeps its results"):
        backend.serve("/tmp/never")


class Overriding(TaskSupervisor):
    def put_task(self, *args, **kwargs):
        return super().put_task(*args, **kwargs)

    def mark_task_completed(self, *args, **kwargs):
        return super().mark_task_completed(*args, **kwargs)


def start_idle_worker(supervisor):
    background_worker(lambda: None, e=True, supervisor=supervisor).start()


def refer_to_itself(supervisor):
    supervisor.me = supervisor
    supervisor.put_task(abs, (-1,)).wait(PATIENCE)


@pytest.mark.parametrize("use, kind", [
    (start_idle_worker, TaskSupervisor),
    (refer_to_itself, TaskSupervisor),
    (lambda supervisor: supervisor.thread_pool.submit(abs, -1).result(PATIENCE) and None,
     TaskSupervisor),
    (lambda supervisor: background_task(abs, supervisor=supervisor)(-1).wait(PATIENCE) and None,
     Overriding),
    (lambda supervisor: supervisor.create_async_job_scheduler("mine") and None, TaskSupervisor),
], ids=["an idle worker", "a cycle", "thread_pool", "overridden methods", "a job scheduler"])
def test_dropped_supervisor_in_a_cycle_ends_when_it_is_collected(use, kind):
    Dropped(use, kind).wait(collect=True)


# -- what is alive ---------------------------------------------------------------------------------


def test_tasks_of_a_dropped_supervisor_end_first():
    gate, ended = Hold(), []

    def use(supervisor):
        running = supervisor.put_task(gate)
        delayed = background_task(ended.append, supervisor=supervisor, delay=0.01)(1)
        return running, delayed

    dropped = Dropped(use)
    running, delayed = dropped.kept
    assert delayed.wait(PATIENCE).ok and not running.done()
    gate.go()
    assert running.wait(PATIENCE).ok and ended == [1]
    dropped.kept = running = delayed = None
    dropped.wait()


def test_task_that_uses_its_dropped_supervisor_can_go_on():
    gate, values = Hold(), []

    def use(supervisor):
        def body():
            gate()
            values.append(supervisor.put_task(abs, (-5,)).value(PATIENCE))

        supervisor.put_task(body)

    dropped = Dropped(use)
    gate.reached()
    assert dropped.ref() is not None
    gate.go()
    dropped.wait()
    assert values == [5]


def test_retries_of_a_dropped_supervisor_are_made():
    tries = []

    def use(supervisor):
        def body():
            tries.append(1)
            if len(tries) < 3:
                raise OSError

        return background_task(body, supervisor=supervisor, retries=5, retry_delay=0.001)()

    dropped = Dropped(use)
    assert dropped.kept.wait(PATIENCE).attempts == 3
    dropped.kept = None
    dropped.wait()


def test_active_worker_keeps_its_supervisor():
    runs = []

    def body():
        runs.append(1)
        return len(runs) < 4

    dropped = Dropped(lambda supervisor: background_worker(body, interval=0.002,
                                                           supervisor=supervisor).start() and None)
    dropped.wait(collect=True)
    assert len(runs) == 4


def test_own_scheduler_keeps_its_supervisor():
    runs, stops = [], []

    class Scheduler:
        async def loop(self):
            for _ in range(3):
                runs.append(1)
                await asyncio.sleep(0.001)

        def stop(self):
            stops.append(len(runs))

    def use(supervisor):
        supervisor.start()
        supervisor.register_scheduler(Scheduler())

    Dropped(use).wait()
    assert (len(runs), stops) == (3, [3])


def test_job_keeps_its_supervisor():
    runs = []

    async def body():
        runs.append(1)

    Dropped(lambda supervisor: supervisor.create_async_job(target=body, interval=0.001, number=3)
            and None
            ).wait(collect=True)
    assert len(runs) == 3


@pytest.mark.parametrize("part", [
    lambda supervisor: supervisor.thread_pool,
    lambda supervisor: background_task(abs, supervisor=supervisor),
    lambda supervisor: ThreadQueue(supervisor=supervisor),
], ids=["thread_pool", "a decorated function", "a queue"])
def test_what_submits_to_a_supervisor_keeps_it(part):
    dropped = Dropped(part)
    gc.collect()
    assert dropped.ref() is not None and dropped.ref().put_task(abs, (-1,)).value(PATIENCE) == 1
    dropped.kept = None
    dropped.wait(collect=True)


# -- at any time -----------------------------------------------------------------------------------


def test_supervisor_dropped_by_its_own_thread_ends():
    def use(supervisor):
        held = [supervisor]
        gate = Hold()

        def body():
            gate()
            held.clear()

        supervisor.put_task(body)
        return gate

    dropped = Dropped(use)
    dropped.kept.go()
    dropped.wait()


def test_stopped_supervisor_is_dropped_at_once():
    dropped = Dropped(lambda supervisor: supervisor.put_task(abs, (-1,)).wait(PATIENCE)
                      and supervisor.stop() and None)
    if not FREE_THREADED:
        assert dropped.ref() is None
    dropped.wait()


def test_supervisor_that_could_not_be_made_raises_no_other_error(monkeypatch):
    raised = []
    monkeypatch.setattr(sys, "unraisablehook", raised.append)

    class Forgetful(TaskSupervisor):
        def __init__(self):
            pass

    Forgetful()
    with pytest.raises(InvalidArgumentError):
        TaskSupervisor(pool_size=-1)
    gc.collect()
    assert raised == []


def test_part_of_a_supervisor_that_is_gone_refuses_tasks():
    def use(supervisor):
        return parts(supervisor).back.ensure_started

    dropped = Dropped(use)
    dropped.wait()
    with pytest.raises(SupervisorStoppedError, match="keep a reference to it"):
        dropped.kept()


PROGRAM = """
import time
from atasker_like import TaskSupervisor
supervisor = TaskSupervisor()
supervisor.put_task(lambda: (time.sleep(0.2), print("ended")))
del supervisor
"""


@pytest.mark.gate
@pytest.mark.slow
def test_exit_waits_for_the_tasks_of_a_dropped_supervisor():
    root = ROOT
    done = subprocess.run([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=60,
                          env=dict(os.environ, PYTHONPATH=root))
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, [b"ended"], b"")
