"""background_task, the fields of a task, wait_completed and co_mp_apply, as applications of atasker
use them."""
import asyncio
import logging
import os
import queue
import threading
import time

import pytest
from atasker import (TASK_CRITICAL, TASK_HIGH, TASK_LOW, TASK_NORMAL, TT_COROUTINE, TT_MP,
                     TT_THREAD, TaskSupervisor, background_task, co_mp_apply, wait_completed)
from atasker.supervisor import (TASK_STATUS_CANCELED, TASK_STATUS_COMPLETED, TASK_STATUS_DELAYED,
                                TASK_STATUS_QUEUED, TASK_STATUS_STARTED, ALoop, Task)

from tests.support import PATIENCE

from . import functions


@pytest.fixture
def processes(task_supervisor):
    task_supervisor.create_mp_pool(processes=1)
    return task_supervisor


# -- background_task -------------------------------------------------------------------------------


def test_it_wraps_the_function(task_supervisor):
    @background_task
    def documented(x):
        """What it does."""
        return x

    assert (documented.__name__, documented.__doc__) == ("documented", "What it does.")
    task = documented(3)
    assert isinstance(task, Task)
    assert wait_completed(task) == 3


@pytest.mark.parametrize("tt", [TT_THREAD, TT_MP])
def test_all_arguments_of_the_call_reach_the_function(processes, tt):
    given = dict(name=1, priority=2, delay=3, supervisor=4, tt=5, callback=6, loop=7, daemon=8,
                 timeout=9)
    task = background_task(functions.takes_all, tt=tt)(1, 2, **given)
    args, kwargs = wait_completed(task)
    assert args == (1, 2)
    assert given.items() <= kwargs.items()


def test_options_in_front_of_the_function(task_supervisor, make_supervisor):
    other = make_supervisor()
    other.start()
    task = background_task(functions.power, name="squares", priority=TASK_HIGH, supervisor=other)(3)
    assert wait_completed(task) == 9
    assert (task.name, task.priority, task.tt) == ("squares", TASK_HIGH, TT_THREAD)
    assert wait_completed(background_task(threading.get_ident)()) != threading.get_ident()


def test_a_coroutine_function_runs_in_the_loop_that_is_named(supervisor):
    first = supervisor.create_aloop("first")
    supervisor.create_aloop("second", default=True)

    async def where():
        return threading.current_thread().name

    names = {}
    own = asyncio.new_event_loop()
    thread = threading.Thread(target=own.run_forever, name="my own")
    thread.start()
    try:
        for key, loop in [("name", "first"), ("aloop", first), ("asyncio", own), ("none", None)]:
            options = {} if loop is None else {"loop": loop}
            task = background_task(where, supervisor=supervisor, **options)()
            assert task.tt == TT_COROUTINE
            names[key] = wait_completed(task, timeout=PATIENCE)
    finally:
        own.call_soon_threadsafe(own.stop)
        thread.join()
        own.close()
    prefix = f"supervisor_{supervisor.id}_aloop_"
    assert names == {"name": prefix + "first", "aloop": prefix + "first", "asyncio": "my own",
                     "none": prefix + "second"}


def test_without_any_loop_a_default_one_is_made(make_supervisor):
    supervisor = make_supervisor()
    supervisor.start()

    async def double(x):
        return 2 * x

    assert wait_completed(background_task(double, supervisor=supervisor)(4), timeout=PATIENCE) == 8


def test_the_callback_of_a_process_task_comes_before_its_completion(processes):
    seen = []

    def callback(result):
        seen.append((result, [task.is_completed() for task in processes.get_tasks(TT_MP).values()]))

    task = background_task(functions.power, tt=TT_MP, callback=callback)(5)
    assert task.callback is callback
    assert task.completed.wait(PATIENCE)
    assert seen == [(25, [False])]


def test_daemon_is_ignored_with_a_warning(task_supervisor, caplog):
    task = background_task(functions.power, daemon=True)(2)
    assert wait_completed(task) == 4
    record, = caplog.records
    assert record.levelno == logging.WARNING
    assert "daemon=" in record.getMessage()


def test_an_error_is_the_tasks_and_is_not_lost(task_supervisor):
    task = background_task(functions.fail)("broken")
    assert wait_completed(task) is None
    assert task.status == TASK_STATUS_COMPLETED
    with pytest.raises(ValueError, match="broken"):
        task.value()


def test_an_error_in_a_process_ends_the_task(processes):
    task = background_task(functions.fail, tt=TT_MP)("broken")
    assert wait_completed(task, timeout=PATIENCE) is None
    assert str(task.exception()) == "broken"


# -- the fields of a task --------------------------------------------------------------------------


def test_the_fields_of_a_task_that_runs(task_supervisor, gate):
    before = time.time()
    task = task_supervisor.put_task(gate.wait, (PATIENCE,), {}, priority=TASK_LOW, worker="me")
    assert task.started.wait(PATIENCE) is True
    assert task.is_started() and task.started.is_set()
    assert not task.is_completed() and not task.completed.is_set()
    assert task.completed.wait(0) is False
    assert task.task is task
    assert task.target == gate.wait
    assert ((task.args, dict(task.kwargs), task.worker, task.callback, task.delay)
            == ((PATIENCE,), {}, "me", None, None))
    assert ((task.tt, task.priority, task.status, task.result)
            == (TT_THREAD, TASK_LOW, TASK_STATUS_STARTED, None))
    assert isinstance(task.id, str)
    assert task_supervisor.get_task(task.id) is task
    gate.set()
    assert task.completed.wait(PATIENCE) is True
    assert (task.status, task.result) == (TASK_STATUS_COMPLETED, True)
    assert before - 1 <= task.time_queued <= task.time_started <= time.time() + 1
    assert task_supervisor.get_task(task.id) is None


def test_the_states_of_a_task(task_supervisor, gate):
    task_supervisor.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0)
    running = background_task(gate.wait)(PATIENCE)
    assert running.started.wait(PATIENCE)
    queued = background_task(functions.power)(2)
    delayed = background_task(functions.power, delay=1000)(3)
    assert ([task.status for task in (running, queued, delayed)]
            == [TASK_STATUS_STARTED, TASK_STATUS_QUEUED, TASK_STATUS_DELAYED])
    assert (delayed.delay, queued.started.is_set(), delayed.is_started()) == (1000, False, False)
    assert delayed.cancel()
    assert delayed.status == TASK_STATUS_CANCELED
    gate.set()
    assert wait_completed([running, queued]) == [True, 4]


def test_a_delayed_task_occupies_no_slot(task_supervisor):
    task_supervisor.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0)
    delayed = background_task(functions.power, delay=1000)(3)
    assert wait_completed(background_task(functions.power)(2), timeout=PATIENCE) == 4
    assert delayed.cancel()


def test_a_delay_passes(task_supervisor):
    begin = time.perf_counter()
    assert wait_completed(background_task(functions.power, delay=0.02)(2), timeout=PATIENCE) == 4
    assert time.perf_counter() - begin >= 0.02


def test_marking_by_hand(task_supervisor, gate):
    task = task_supervisor.put_task(gate.wait, (PATIENCE,))
    assert task.started.wait(PATIENCE)
    task.mark_started()
    assert task.status == TASK_STATUS_STARTED
    task.mark_completed()
    assert (task.status, task.is_completed(), task.result) == (TASK_STATUS_COMPLETED, True, None)
    assert wait_completed(task, timeout=0) is None


# -- wait_completed --------------------------------------------------------------------------------


def test_what_is_waited_for_and_what_it_gives(task_supervisor):
    power = background_task(functions.power)
    assert wait_completed([power(2), power(3)]) == [4, 9]
    assert wait_completed((power(2), power(3))) == [4, 9]
    assert wait_completed(power(4)) == 16
    assert wait_completed([]) == []


@pytest.mark.parametrize("timeout", [0, 0.001])
def test_a_timeout_while_some_are_unfinished(task_supervisor, gate, timeout):
    done = background_task(functions.power)(2)
    assert wait_completed(done) == 4
    late = background_task(gate.wait)(PATIENCE)
    with pytest.raises(TimeoutError):
        wait_completed([done, late], timeout=timeout)
    with pytest.raises(TimeoutError):
        wait_completed(late, timeout=timeout)
    gate.set()
    assert wait_completed([done, late], timeout=PATIENCE) == [4, True]


# -- co_mp_apply -----------------------------------------------------------------------------------


def test_a_coroutine_asks_a_process(processes):
    async def ask():
        return (await co_mp_apply(functions.power, args=(2,), kwargs={"exponent": 5},
                                  priority=TASK_HIGH),
                await co_mp_apply(functions.power, (3,), delay=0.001),
                await co_mp_apply(functions.pid, supervisor=processes))

    first, second, pid = asyncio.run(ask())
    assert (first, second) == (32, 9)
    assert pid != os.getpid()


def test_the_id_reaches_the_function(processes):
    async def ask():
        return await co_mp_apply(functions.knows_its_id,
                                 args=(7,)), await co_mp_apply(functions.takes_all, args=(1,))

    (number, task_id), (args, kwargs) = asyncio.run(ask())
    assert number == 7 and isinstance(task_id, str)
    assert args == (1,) and set(kwargs) == {"_task_id"}


def test_an_error_is_raised_from_the_await(processes):
    async def ask():
        with pytest.raises(ValueError, match="broken"):
            await co_mp_apply(functions.fail, args=("broken",))

    asyncio.run(ask())


# -- in aloops -------------------------------------------------------------------------------------


async def triple(x):
    return 3 * x


def test_a_coroutine_in_an_aloop_is_a_task(supervisor):
    aloop = supervisor.create_aloop("mine")
    assert isinstance(aloop, ALoop)
    task = aloop.background_task(triple(2))
    assert isinstance(task, Task)
    assert wait_completed(task, timeout=PATIENCE) == 6
    assert (task.result, task.tt, task.status) == (6, TT_COROUTINE, TASK_STATUS_COMPLETED)
    assert aloop.run(triple(3)) == 9


@pytest.mark.filterwarnings("error")
def test_a_coroutine_that_never_runs_is_closed(supervisor):
    aloop = supervisor.create_aloop("mine")
    with pytest.raises(TypeError, match="call the coroutine function first"):
        aloop.background_task(triple)
    supervisor.stop()
    for method in (aloop.background_task, aloop.run):
        with pytest.raises(RuntimeError, match="not active"):
            method(triple(2))


def test_values_of_priorities_order_tasks(task_supervisor, gate):
    task_supervisor.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0)
    order = []
    blocker = background_task(gate.wait)(PATIENCE)
    assert blocker.started.wait(PATIENCE)
    tasks = [background_task(order.append, priority=priority)(int(priority))
             for priority in (TASK_LOW, TASK_NORMAL, TASK_HIGH, TASK_LOW, TASK_NORMAL)]
    urgent = background_task(order.append, priority=TASK_CRITICAL)(0)
    assert urgent.completed.wait(PATIENCE)
    assert order == [0]
    gate.set()
    wait_completed(tasks, timeout=PATIENCE)
    assert order == [0, 50, 100, 100, 200, 200]


def test_a_supervisor_of_another_kind(make_supervisor):
    class Mine(TaskSupervisor):
        def put_task(self, *args, **kwargs):
            self.seen = self.seen + 1 if hasattr(self, "seen") else 1
            return super().put_task(*args, **kwargs)

    mine = make_supervisor("mine", kind=Mine)
    assert mine.id == "mine"
    mine.start()
    assert wait_completed(mine.put_task(functions.power, (2,)), timeout=PATIENCE) == 4
    assert mine.seen == 1


def test_generator_function_is_accepted_with_one_warning(task_supervisor, caplog):
    def count():
        yield 1

    for _ in range(2):
        task = background_task(count)()
        assert list(wait_completed(task)) == [1]
        assert list(wait_completed(task_supervisor.put_task(count))) == [1]
    warnings = [message for message in caplog.messages
                if "count is a generator function" in message]
    assert len(warnings) == 1 and "lambda: list(" in warnings[0]


def test_function_that_returns_a_coroutine_runs_in_a_loop(supervisor):
    task = background_task(lambda x: functions.later(x), tt=TT_COROUTINE, supervisor=supervisor)(5)
    assert wait_completed(task, timeout=PATIENCE) == 5
    assert task.tt == TT_COROUTINE


@pytest.mark.parametrize("tt", [TT_THREAD, TT_MP])
def test_coroutine_function_runs_in_a_loop_whatever_its_kind(supervisor, tt):
    task = background_task(functions.later, tt=tt, supervisor=supervisor)(5)
    assert wait_completed(task, timeout=PATIENCE) == 5
    assert task.tt == TT_COROUTINE


# -- the order of tasks ----------------------------------------------------------------------------


def test_tasks_compare_by_priority(task_supervisor):
    low, high = (background_task(abs, priority=priority)(-1) for priority in (TASK_LOW, TASK_HIGH))
    other = background_task(abs, priority=TASK_HIGH)(-2)
    assert high < low and low > high
    assert not low < high and not high > low
    assert not high < other and not high > other
    assert high == high and high != other and len({low, high, other}) == 3
    assert high < None and high > None      # as in atasker, whose queues end with None
    with pytest.raises(TypeError):
        high < 50


def test_priority_queue_of_tasks_gives_the_most_urgent_first(task_supervisor):
    tasks = queue.PriorityQueue()
    for priority in (TASK_NORMAL, TASK_LOW, TASK_CRITICAL, TASK_HIGH):
        tasks.put(background_task(abs, priority=priority)(-1))
    assert ([tasks.get().priority for _ in range(4)]
            == [TASK_CRITICAL, TASK_HIGH, TASK_NORMAL, TASK_LOW])
