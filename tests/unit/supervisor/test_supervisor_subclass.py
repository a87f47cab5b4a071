"""Subclasses of the supervisor: names of their own, and overridden methods."""
import ast
import threading
from pathlib import Path

import pytest

import atasker_like
from atasker_like import (TT_COROUTINE, SupervisorError, TaskSupervisor, background_task,
                          background_worker, wait_completed)
from atasker_like.supervisor import interpreter_exit
from atasker_like.supervisor.attributes import FormerName
from tests.support import PATIENCE
from tests.support.internals.supervisor import FINISHING, former_pools_of, parts
from tests.support.threads import started, wait_for

PACKAGE = Path(atasker_like.__file__).parent


def private_names():
    """Every private attribute that the supervisor's modules name, and those of atasker's
    supervisor."""
    names = {"_active_threads", "_active_mps", "_active", "_main_loop_active", "_started", "_lock",
             "_max_threads",
             "_max_mps", "_schedulers", "_tasks", "_processors_stopped", "_prespawn_threads"}
    for path in (PACKAGE / "supervisor").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = getattr(node, "attr", "")
            if name.startswith("_") and not name.startswith("__"):
                names.add(name)
    return names - {"_supervisor_parts"}


class Collector(TaskSupervisor):
    """Has attributes of its own, of every private name, from before the constructor on."""

    def __init__(self, *args, **kwargs):
        self._occupy()
        super().__init__(*args, **kwargs)
        self._occupy()

    def _occupy(self):
        for name in private_names():
            setattr(self, name, "mine")


async def co_double(number):
    return 2 * number


def use(supervisor):
    supervisor.set_thread_pool(pool_size=2, min_size=1, max_queued=100)
    supervisor.timeout_warning = 60
    supervisor.lane("narrow", limit=1)
    supervisor.start()
    tasks = [supervisor.put_task(abs, (-1,)),
             supervisor.put_task(abs, (-2,), delay=0.001, task_id="own"),
             supervisor.put_task(co_double, (2,), tt=TT_COROUTINE),
             background_task(abs, supervisor=supervisor, lane="narrow")(-3)]
    assert wait_completed(tasks, timeout=PATIENCE) == [1, 2, 4, 3]
    assert list(background_task(abs, supervisor=supervisor).map([-1, -2])) == [1, 2]
    runs = []
    worker = background_worker(lambda: len(runs) < 2 and not runs.append(1), supervisor=supervisor)
    assert worker.start()
    worker.wait_until_stop()
    assert runs == [1, 1]
    assert supervisor.create_async_job_scheduler("jobs") is not False
    assert supervisor.create_aloop("mine") is not False
    info = supervisor.get_info()
    assert (info.thread_pool_size, info.active) == (2, True) and supervisor.stats().failed == 0
    assert repr(supervisor).endswith(" running>")
    return supervisor.stop(wait=PATIENCE)


def test_subclass_with_attributes_of_every_private_name_works():
    supervisor = Collector()
    report = use(supervisor)
    assert report.complete and report.cancelled == 0
    assert {getattr(supervisor, name) for name in private_names()} == {"mine"}


def test_supervisor_has_one_private_attribute():
    supervisor = TaskSupervisor()
    assert [name for name in vars(supervisor) if name.startswith("_")] == ["_supervisor_parts"]
    names = [name for name, value in vars(TaskSupervisor).items() if name.startswith("_")
             and not name.startswith("__") and not isinstance(value, FormerName)]
    assert names == ["_supervisor_parts"]


def test_use_before_the_constructor_is_refused_with_the_way_out():
    class Early(TaskSupervisor):
        def __init__(self):
            self.put_task(abs, (-1,))
            super().__init__()

    with pytest.raises(SupervisorError, match=r"must call super\(\).__init__\(\) before"):
        Early()


class StopsAsAtasker(TaskSupervisor):
    """Overrides stop() with the signature that atasker has."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def stop(self, wait=True, stop_schedulers=True, cancel_tasks=False):
        self.calls.append((wait, stop_schedulers, cancel_tasks))
        return super().stop(wait, stop_schedulers, cancel_tasks)


@pytest.mark.parametrize("interrupted", [False, True])
def test_overridden_stop_is_called_at_the_exit_of_the_interpreter(monkeypatch, interrupted):
    supervisor = StopsAsAtasker()
    task = supervisor.put_task(abs, (-1,))
    assert task.value(PATIENCE) == 1
    worker = background_worker(lambda task: None, q=True, supervisor=supervisor)
    monkeypatch.setattr(interpreter_exit, "supervisors", {supervisor})
    FINISHING.patch(monkeypatch, interpreter_exit, False)       # put back at the end
    assert worker.start()
    interpreter_exit.finish_all(interrupted)
    assert supervisor.calls == [(True, True, False)] and not supervisor.is_active
    assert not worker.is_active()


@pytest.mark.parametrize("drain, left", [(None, 1), (True, 0)])
def test_stop_of_an_interrupted_program_drains_only_if_it_is_asked_to(drain, left):
    supervisor, begun, go, items = TaskSupervisor(), threading.Event(), threading.Event(), []

    def handle(task):
        begun.set()
        go.wait(PATIENCE)
        items.append(task)

    worker = background_worker(handle, q=True, supervisor=supervisor)
    supervisor.start()
    parts(supervisor).shutdown.drains_by_default = False     # as finish_all() sets it
    worker.start()
    for item in "ab":
        worker.put_threadsafe(item)
    assert begun.wait(PATIENCE)
    stop = started(supervisor.stop, PATIENCE, True, False, drain)
    if left:
        wait_for(lambda: not worker.is_active(), "the worker is told to stop")
    go.set()
    stop.join(PATIENCE)
    assert (stop.outcome.items_left, len(items)) == (left, 2 - left)


def test_former_names_of_pools_can_be_read(supervisor):
    supervisor.start()
    threads, processes = former_pools_of(supervisor)
    assert threads.thread_count() >= 0 and processes is None


def test_former_name_of_a_pool_is_free_for_the_field_of_a_subclass():
    class Own(TaskSupervisor):
        def __init__(self):
            super().__init__()
            self._threads = ["mine"]

        def threads_of_mine(self):
            return self._threads

    own = Own()
    own.start()
    try:
        assert own.threads_of_mine() == ["mine"]
        assert background_task(abs, supervisor=own)(-1).value(10) == 1
    finally:
        own.stop()
