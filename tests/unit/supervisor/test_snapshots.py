"""What a program that watches another one gets: plain values, which it can load without this
package."""
import asyncio
import copy
import io
import pickle
import threading
from types import SimpleNamespace

import pytest

from atasker_like import (TASK_HIGH, TASK_LOW, TT_COROUTINE, TT_MP, TT_THREAD,
                          BackgroundIntervalWorker, background_task, background_worker)
from tests.support import PATIENCE
from tests.unit import functions


@pytest.fixture
def gate():
    """An event that is set at the end, whatever became of the test."""
    event = threading.Event()
    yield event
    event.set()


def crossed(answer, protocol=pickle.HIGHEST_PROTOCOL):
    """Return what another program makes of an answer, after a look at what it needs for that."""
    needed = set()

    class Unpickler(pickle.Unpickler):
        def find_class(self, module, name):
            needed.add(module)
            return super().find_class(module, name)

    loaded = Unpickler(io.BytesIO(pickle.dumps(answer, protocol))).load()
    assert needed <= {"builtins", "__builtin__", "types"}
    return loaded


class Poller(BackgroundIntervalWorker):
    """A worker of the application's own."""

    def run(self, **kwargs):
        pass


@pytest.mark.parametrize("protocol", [0, 2, pickle.HIGHEST_PROTOCOL])
def test_info_pickles_as_plain_values(supervisor, gate, protocol):
    supervisor.create_aloop("mine", default=True)
    supervisor.create_async_job_scheduler("jobs", aloop="mine")
    task = supervisor.put_task(gate.wait, (PATIENCE,), priority=TASK_HIGH)
    assert task.started.wait(PATIENCE)
    info = crossed(supervisor.get_info(), protocol)
    assert type(info) is SimpleNamespace
    assert ((info.id, info.active, info.thread_tasks, info.thread_tasks_count)
            == (supervisor.id, True, (task.id,), 1))
    assert not hasattr(info, "mp_pool_size")
    assert info.tasks[task.id].priority == 50 and type(info.tasks[task.id].priority) is int
    assert info.aloops["mine"].active is True
    assert info.async_job_schedulers == {"jobs": SimpleNamespace(name="jobs", active=True, jobs=0)}


def test_info_lists_the_process_pool_if_there_is_one(supervisor):
    assert "mp_pool_size" not in vars(supervisor.get_info(tt=False))
    assert supervisor.get_info(tt=False).mp_pool_size is None
    supervisor.set_mp_pool(pool_size=3)
    assert vars(supervisor.get_info(tt=False))["mp_pool_size"] == 3


def test_tasks_pickle_as_plain_values(supervisor, gate):
    running = threading.Event()

    @background_worker(name="waits", supervisor=supervisor, priority=TASK_LOW)
    def worker():
        running.set()
        gate.wait(PATIENCE)

    worker.start()
    assert running.wait(PATIENCE)
    own = supervisor.put_task(functions.plain, (1,), delay=60, tt=TT_MP)
    live = supervisor.get_tasks()
    assert live[own.id] is own
    tasks = crossed(live)
    assert type(tasks) is dict
    mine = tasks.pop(own.id)
    assert (mine.id, mine.name, mine.tt, mine.status, mine.state, mine.delay, mine.worker,
            mine.worker_class) == (
        own.id, "plain", 2, 2, "pending", 60, None, None)
    assert mine.target == str(functions.plain)
    assert (mine.time_queued, mine.time_started) == (pytest.approx(own.time_queued), None)
    (run,) = tasks.values()
    assert ((run.worker, run.worker_class, run.priority)
            == ("_background_worker_waits", "BackgroundWorker", 200))
    worker.stop(wait=False)
    gate.set()
    assert worker.wait_until_stop(PATIENCE)


def test_schedulers_pickle_as_plain_values(supervisor, gate):
    async def co_wait(**kwargs):
        await asyncio.sleep(PATIENCE)

    supervisor.create_aloop("mine")
    poller = Poller("poller", interval=0.5, delay_before=60, supervisor=supervisor)
    twin = background_worker(functions.nothing, name="poller", delay=7, supervisor=supervisor)
    co_worker = background_worker(co_wait, name="co", loop="mine", supervisor=supervisor,
                                  priority=TASK_HIGH)
    for worker in (poller, twin, co_worker):
        worker.start()
    live = supervisor.get_schedulers()
    assert set(live) == {poller, twin, co_worker} and set(live.values()) == {None}
    found = crossed(live)
    assert sorted(found) == ["_background_worker_co", "_background_worker_poller",
                             "_background_worker_poller (2)"]
    first = found["_background_worker_poller"]
    assert first.class_name == f"{__name__}.Poller"
    assert (first.active, first.priority, first.executor) == (True, 100, int(TT_THREAD))
    assert (first.delay, first.keep_interval, first.delay_before) == (0.5, True, 60)
    second = found["_background_worker_poller (2)"]
    assert ((second.class_name, second.delay, second.keep_interval)
            == ("BackgroundIntervalWorker", 7, False))
    third = found["_background_worker_co"]
    assert ((third.class_name, third.priority, third.executor)
            == ("BackgroundAsyncWorker", 50, int(TT_COROUTINE)))
    for worker in (poller, twin, co_worker):
        worker.stop(wait=0)


def test_scheduler_of_any_class_pickles_as_plain_values(supervisor):
    class Hostile:
        def stop(self):
            pass

        @property
        def name(self):
            raise ValueError("no name")

        def __getattr__(self, name):
            raise RuntimeError("no attributes")

    supervisor.start()
    supervisor.register_sync_scheduler(Hostile())
    (plain,) = crossed(supervisor.get_schedulers()).values()
    assert plain.name == plain.class_name and plain.class_name.endswith("Hostile")
    assert (plain.active, plain.priority, plain.delay, plain.executor, plain.loop) == (None,) * 5


def test_own_async_scheduler_stands_for_itself_and_the_future_of_its_loop(supervisor):
    class Own:
        ended = None

        def stop(self):
            own.worker_loop.call_soon_threadsafe(own.ended.set)

        async def loop(self):
            self.ended = asyncio.Event()
            await self.ended.wait()

    own = Own()
    own.worker_loop = supervisor.create_aloop("mine").get_loop()
    supervisor.start()
    assert supervisor.register_scheduler(own)
    scheduler, future = supervisor.get_schedulers()[own]
    assert scheduler is own and not future.done()


def test_answers_are_dicts_of_their_own(supervisor, gate):
    task = supervisor.put_task(gate.wait, (PATIENCE,))
    for answer in (supervisor.get_tasks(), supervisor.get_aloops(), supervisor.get_schedulers()):
        assert isinstance(answer, dict)
        answer.clear()
    tasks = supervisor.get_tasks()
    assert tasks == {task.id: task} and repr(tasks) == repr({task.id: task})
    assert copy.copy(tasks) == tasks


def test_background_task_cannot_be_sent_as_a_plain_value(supervisor, gate):
    """One task is a handle, not an answer: sent to another process it would look like a task, and
    be none."""
    task = background_task(gate.wait, supervisor=supervisor)(PATIENCE)
    with pytest.raises(TypeError):
        pickle.dumps(task)
