"""An executor of the application's own in the place of the process pool: what is said of it beyond
the contract."""
import multiprocessing
import os
import signal
import sys
import threading
import types
from concurrent.futures import (CancelledError, Executor, Future, ProcessPoolExecutor,
                                ThreadPoolExecutor)
from concurrent.futures.process import BrokenProcessPool

import pytest

import atasker_like.pools.executor.pool as pool_module
from atasker_like import (TASK_HIGH, TASK_LOW, TT_MP, BoundTask, PoolBrokenError, RemoteTraceback,
                          SupervisorBusyError, SupervisorStoppedError, TaskPicklingError,
                          TaskTimeoutError, background_task, co_mp_apply, wait_completed)
from atasker_like.engine.spec import TaskSpec
from atasker_like.options import TaskOptions
from tests.support import PATIENCE
from tests.support.gates import Hold
from tests.support.internals.engine import EXPIRED, spec_of
from tests.support.internals.pool import (PREFETCH_LIMIT, REQUEUE, SUBMIT_ALL, delay_elapsed,
                                          is_submitting)
from tests.support.threads import join, started, wait_for

from ..support.internals import manager, parts
from . import functions as f
from .kinds import EXECUTORS, Kind, end_executor


class Manual(Executor):
    """Runs a call when the test says so, in the test's thread: a future of each, in the order of
    submission."""

    _max_workers = 2

    def __init__(self, size=2):
        self._max_workers = size
        self.calls = []
        self.awaited = 0        # so many calls the test has waited for
        self.came = threading.Condition()
        self.refusal = None
        self.locks = []
        self.guilty = 0

    def submit(self, function, *args):
        self.guilty += any(lock._is_owned() for lock in self.locks)
        if self.refusal is not None:
            raise self.refusal
        future = Future()
        with self.came:
            self.calls.append((future, function, args))
            self.came.notify_all()
        return future

    def wait(self, count=1):
        self.awaited += count
        with self.came:
            assert self.came.wait_for(lambda: len(self.calls) >= self.awaited, PATIENCE), (
                "nothing was submitted to the executor")

    def begin(self, number):
        future, function, args = self.calls[number]
        return future.set_running_or_notify_cancel()

    def run(self, number):
        future, function, args = self.calls[number]
        if future.running() or self.begin(number):
            future.set_result(function(*args))

    def finish(self, count):
        """Run so many calls, from the first on, as they come."""
        for number in range(count):
            self.wait(max(0, number + 1 - self.awaited))
            if not self.calls[number][0].done():
                self.run(number)


@pytest.fixture
def manual(supervisor):
    executor = Manual(1)
    supervisor.mp_pool = executor
    yield executor
    executor.refusal = RuntimeError("the test is over")
    supervisor.cancel_waiting()
    for number, (future, _, _) in enumerate(list(executor.calls)):
        if not future.done():
            executor.run(number)


@pytest.fixture
def put(supervisor):
    return lambda function, *args, **options: background_task(function, tt=TT_MP,
                                                              supervisor=supervisor,
                                                              **options)(*args)


@pytest.fixture(params=EXECUTORS)
def outside(request, supervisor):
    made = Kind(request.param, supervisor)
    yield made
    made.close()


# -- putting it in place ---------------------------------------------------------------------------


def test_reading_mp_pool_gives_back_what_was_assigned(outside):
    assert outside.supervisor.mp_pool is outside.executors[-1]
    outside.supervisor.mp_pool = outside.supervisor.mp_pool
    assert outside.bind(f.add)(1, b=2).value(PATIENCE) == 3


def test_create_mp_pool_takes_an_executor(supervisor, manual):
    other = Manual(7)
    supervisor.create_mp_pool(executor=other)
    assert supervisor.mp_pool is other
    assert supervisor.get_info().mp_pool_size == 7
    supervisor.create_mp_pool(3, executor=manual)
    assert supervisor.mp_pool is manual
    assert supervisor.get_info().mp_pool_size == 3


@pytest.mark.parametrize("name", EXECUTORS)
def test_the_size_is_that_of_the_executor(supervisor, name):
    executor = EXECUTORS[name](3)
    try:
        supervisor.mp_pool = executor
        assert supervisor.get_info().mp_pool_size == 3
    finally:
        end_executor(executor)


def test_a_size_that_was_asked_for_stays(supervisor):
    supervisor.set_mp_pool(pool_size=5)
    supervisor.mp_pool = Manual(2)
    assert supervisor.get_info().mp_pool_size == 5
    supervisor.set_mp_pool(pool_size=0)
    assert supervisor.get_info().mp_pool_size == 2


def test_an_executor_that_does_not_say_its_size_gets_one_call_a_cpu(supervisor):
    executor = Manual()
    executor._max_workers = None
    supervisor.mp_pool = executor
    assert supervisor.get_info().mp_pool_size == os.cpu_count()


@pytest.mark.parametrize("bad", [5, "pool", ThreadPoolExecutor, object(), lambda: None])
def test_what_is_no_executor_is_refused(supervisor, bad):
    with pytest.raises(TypeError, match="mp_pool takes a concurrent.futures.Executor"):
        supervisor.mp_pool = bad
    assert supervisor.mp_pool is None


def test_the_own_pool_of_another_supervisor_is_refused(supervisor, make_supervisor):
    other = make_supervisor()
    other.set_mp_pool(pool_size=1)
    with pytest.raises(TypeError, match="the own pool of another supervisor.*create_mp_pool"):
        supervisor.mp_pool = other.mp_pool
    assert supervisor.mp_pool is None
    other.mp_pool = other.mp_pool           # nothing happens


@pytest.mark.parametrize("options", [
    {"start_method": "spawn"}, {"initializer": len}, {"maxtasksperchild": 5}, {"max_age": 1},
    {"max_memory": 1},
    {"initializer_timeout": 5}, {"min_size": 1}])
def test_what_concerns_processes_is_refused(supervisor, manual, options):
    with pytest.raises(ValueError, match=f"{next(iter(options))}.*Manual"):
        supervisor.set_mp_pool(**options)


@pytest.mark.parametrize("options",
                         [{"initializer": len}, {"maxtasksperchild": 5}, {"context": "spawn"}])
def test_create_mp_pool_with_both(supervisor, options):
    with pytest.raises(ValueError, match="executor"):
        supervisor.create_mp_pool(executor=Manual(), **options)
    assert supervisor.mp_pool is None


def test_functions_that_were_decorated_before_go_to_the_executor(supervisor, manual):
    early = background_task(f.add, tt=TT_MP, supervisor=supervisor)
    assert supervisor.mp_pool is manual
    supervisor.mp_pool = None
    own = manager(supervisor).processes
    middle = background_task(f.add, tt=TT_MP, supervisor=supervisor, priority=TASK_HIGH)
    supervisor.mp_pool = manual
    tasks = [early(1), middle(2), *[task for task in [early.options(timeout=60)(3)]]]
    results = early.map([4, 5])
    manual.finish(5)
    assert wait_completed(tasks, PATIENCE) == [1, 2, 3]
    assert list(results) == [4, 5]
    assert own.process_count() == 0
    assert {task.id[:20] for task in tasks} == {manager(supervisor).processes.registry.prefix}


def test_the_own_pool_comes_back(supervisor):
    bound = background_task(f.pid, tt=TT_MP, supervisor=supervisor)
    with ThreadPoolExecutor(1) as executor:
        supervisor.mp_pool = executor
        assert bound().value(PATIENCE) == os.getpid()
        supervisor.mp_pool = None
        assert bound().value(20) != os.getpid()
        assert executor.submit(f.pid).result(PATIENCE) == os.getpid()  # it has not been shut down


@pytest.mark.parametrize("sizes", [{}, {"pool_size": 5}, {"pool_size": 5, "reserve_high": 1}])
@pytest.mark.parametrize("places", [None, 40])
def test_own_pool_that_comes_back_has_its_own_size(supervisor, sizes, places):
    if sizes:
        supervisor.set_mp_pool(**sizes)
    names = "mp_pool_size", "mp_reserve_normal", "mp_reserve_high"
    before = [getattr(supervisor, name) for name in names]
    with ThreadPoolExecutor(12) as executor:
        supervisor.mp_pool = executor
        if places:
            supervisor.set_mp_pool(pool_size=places, reserve_normal=2)
        supervisor.mp_pool = None
    assert [getattr(supervisor, name) for name in names] == before
    queue = manager(supervisor).pool_for(TT_MP).run_queue
    assert queue.slots == before[0] + before[1] + before[2]


def test_the_own_pool_is_not_replaced_while_it_has_tasks(supervisor, put):
    task = put(f.nothing, delay=60)
    with pytest.raises(SupervisorBusyError, match="have not ended"):
        supervisor.mp_pool = Manual()
    task.cancel()
    supervisor.mp_pool = executor = Manual()
    assert supervisor.mp_pool is executor


def test_task_that_is_submitted_to_a_replaced_pool_keeps_what_its_spec_says(supervisor):
    supervisor.set_mp_pool(1)
    replaced = supervisor.pool_for(TT_MP)
    spec = TaskSpec(replaced, f.add, TaskOptions(name="sum"), TT_MP)
    marks = "ends_early", "keeps_items", "unpacks_items", "reports_errors"
    for mark in marks:
        setattr(spec, mark, True)
    with ThreadPoolExecutor(1) as executor:
        supervisor.mp_pool = executor
        task = replaced.start(spec, (3,), None)
        assert task.value(PATIENCE) == 3
    own = spec_of(task)
    assert own.pool is supervisor.pool_for(TT_MP) is not replaced
    assert own.name == "sum" and all(getattr(own, mark) for mark in marks)


def test_an_executor_is_replaced_while_it_has_tasks(supervisor, manual, put):
    first, second = put(f.add, 1), put(f.add, 2)
    manual.wait()
    supervisor.mp_pool = other = Manual(2)
    other.wait()                            # one place is the old one's still
    other.run(0)
    assert second.value(PATIENCE) == 2
    manual.run(0)
    assert first.value(PATIENCE) == 1


# -- run_queue -------------------------------------------------------------------------------------


def test_no_more_calls_than_slots_are_given(supervisor, manual, put):
    supervisor.set_mp_pool(pool_size=2)
    tasks = [put(f.add, number) for number in range(5)]
    manual.wait(2)
    assert (len(manual.calls), [task.status for task in tasks]) == (2, [100, 100, 0, 0, 0])
    manual.run(1)
    manual.wait()
    assert (len(manual.calls), tasks[1].value(PATIENCE)) == (3, 1)
    manual.finish(5)
    assert wait_completed(tasks, PATIENCE) == list(range(5))


def test_a_reserve_is_for_the_more_urgent(supervisor, manual, put):
    supervisor.set_mp_pool(pool_size=1, reserve_high=1)
    first, waits = put(f.add, 1, priority=TASK_LOW), put(f.add, 2, priority=TASK_LOW)
    manual.wait()
    urgent = put(f.add, 3, priority=TASK_HIGH)
    manual.wait()
    assert [task.status for task in (first, waits, urgent)] == [100, 0, 100]


def test_the_executor_is_called_with_no_lock_held(supervisor, manual, put):
    manual.locks = [pool.lock for pool in manager(supervisor).by_kind.values()]
    manual.locks.append(parts(supervisor).state.lock)
    task = put(f.add, 1)
    manual.wait()
    waiting = put(f.add, 2)
    waiting.cancel()
    manual.run(0)
    assert task.value(PATIENCE) == 1
    assert manual.guilty == 0


def test_a_timeout_counts_from_the_giving(supervisor, manual, put):
    pool, hold = manager(supervisor).processes, Hold()
    give_all = SUBMIT_ALL.of(pool)
    SUBMIT_ALL.put(pool, lambda: (hold(), give_all()))
    task = put(f.add, 1, timeout=50)
    hold.reached()
    assert (task.status, spec_of(task).pool.lifecycle.timeouts.deadline_of(task)) == (100, None)
    hold.go()
    manual.wait()
    assert spec_of(task).pool.lifecycle.timeouts.deadline_of(task) is not None
    manual.run(0)
    assert task.value(PATIENCE) == 1


def test_what_the_giver_has_not_taken_up_never_runs(supervisor, manual, put):
    pool, hold = manager(supervisor).processes, Hold()
    give_all = SUBMIT_ALL.of(pool)
    SUBMIT_ALL.put(pool, lambda: (hold(), give_all()))
    supervisor.set_mp_pool(pool_size=3)
    cancelled, marked, goes_on = (put(f.add, number) for number in range(3))
    hold.reached()
    assert cancelled.cancel() and marked.mark_completed()
    assert ((cancelled.state, marked.state, supervisor.stats().process.active)
            == ("cancelled", "succeeded", 1))
    hold.go()
    manual.wait()
    manual.run(0)
    assert goes_on.value(PATIENCE) == 2
    assert len(manual.calls) == 1


# -- prefetching -----------------------------------------------------------------------------------


@pytest.fixture
def learned(supervisor, manual, put):
    """A function that is known to be short; the call with the only slot is one of it."""
    add = background_task(f.add, tt=TT_MP, supervisor=supervisor)
    first = add(0)
    manual.finish(1)
    assert first.value(PATIENCE) == 0
    return add


def states(tasks):
    return [task.state for task in tasks]


def test_short_calls_are_prefetched_and_get_slots_in_order(supervisor, manual, learned):
    tasks = [learned(number) for number in range(3)]
    manual.wait(3)
    assert states(tasks) == ["running", "pending", "pending"]
    assert supervisor.stats().process.active == 1
    manual.run(1)
    assert tasks[0].value(PATIENCE) == 0
    assert states(tasks) == ["succeeded", "running", "pending"]
    manual.finish(4)
    assert wait_completed(tasks, PATIENCE) == [0, 1, 2]
    assert [task.attempts for task in tasks] == [1, 1, 1]


def test_prefetched_call_that_overtakes_ends_its_task(supervisor, manual, learned):
    tasks = [learned(number) for number in range(3)]
    manual.wait(3)
    manual.run(2)
    assert (tasks[1].value(PATIENCE), tasks[1].attempts) == (1, 1)
    assert states(tasks) == ["running", "succeeded", "pending"]
    manual.finish(4)
    assert wait_completed(tasks, PATIENCE) == [0, 1, 2]
    assert supervisor.stats().process.active == 0


def test_urgent_task_revokes_prefetched_calls(supervisor, manual, learned):
    first, second = learned(1), learned(2)
    manual.wait(2)
    urgent = learned.options(priority=TASK_HIGH)(3)
    wait_for(lambda: manual.calls[2][0].cancelled(), "the revocation")
    manual.run(1)
    manual.wait()
    assert first.value(PATIENCE) == 1
    assert urgent.state == "running"
    wait_for(lambda: len(manual.calls) > 3, "the submission of the urgent call")
    manual.run(3)
    manual.finish(5)
    assert (urgent.value(PATIENCE), second.value(PATIENCE), second.attempts) == (3, 2, 1)


def test_cancelled_prefetched_call_never_runs(supervisor, manual, learned):
    tasks = [learned(number) for number in range(3)]
    manual.wait(3)
    pool = manager(supervisor).processes
    wait_for(lambda: not is_submitting(pool), "the giver")
    assert tasks[2].cancel()
    assert tasks[2].wait(PATIENCE).status == "cancelled"
    assert supervisor.cancel_waiting() == 1
    assert states(tasks) == ["running", "cancelled", "cancelled"]
    manual.run(1)
    assert tasks[0].value(PATIENCE) == 0
    assert supervisor.stats().process.active == 0


def test_timeout_of_a_prefetched_call_counts_from_its_slot(supervisor, manual, learned):
    tasks = [learned.options(timeout=50)(number) for number in range(2)]
    manual.wait(1)
    deadline_of = manager(supervisor).processes.lifecycle.timeouts.deadline_of
    assert deadline_of(tasks[1]) is None
    manual.run(1)
    wait_for(lambda: deadline_of(tasks[1]) is not None, "the timeout")
    manual.finish(3)
    assert wait_completed(tasks, PATIENCE) == [0, 1]


def test_nothing_is_prefetched_behind_a_call_of_unknown_length(supervisor, manual, learned, put):
    long, short = put(f.give, 1), learned(2)
    wait_for(lambda: len(manual.calls) == 2, "the call of unknown length")
    assert (long.state, short.state, len(manual.calls)) == ("running", "pending", 2)
    manual.finish(3)
    assert (long.value(PATIENCE), short.value(PATIENCE)) == (1, 2)


@pytest.mark.parametrize("prefetch, given", [(0, 1), (1, 2), (2, 3)])
def test_prefetch_takes_a_number_for_each_slot(supervisor, manual, learned, prefetch, given):
    supervisor.set_mp_pool(prefetch=prefetch)
    tasks = [learned(number) for number in range(4)]
    manual.wait(given)
    pool = manager(supervisor).processes
    wait_for(lambda: not is_submitting(pool), "the giver")
    assert len(manual.calls) == 1 + given
    manual.finish(5)
    assert wait_completed(tasks, PATIENCE) == [0, 1, 2, 3]


@pytest.mark.parametrize("bad", [-1, 1.5, "2"])
def test_prefetch_refuses_what_is_no_count(supervisor, manual, bad):
    with pytest.raises((TypeError, ValueError), match="prefetch takes an integer"):
        supervisor.set_mp_pool(prefetch=bad)


def test_prefetch_of_the_own_pool_is_refused(supervisor):
    with pytest.raises(ValueError, match="prefetch is for an executor"):
        supervisor.set_mp_pool(prefetch=1)


def test_short_calls_go_as_one_and_come_back_each(supervisor, manual, learned, monkeypatch):
    monkeypatch.setattr(pool_module, "AHEAD_SECONDS", 60.0)     # no call is too slow for a bundle
    pool, hold = manager(supervisor).processes, Hold()
    pool.adapter.bundles = True
    give_all = SUBMIT_ALL.of(pool)
    SUBMIT_ALL.put(pool, lambda: (hold(), give_all()))
    tasks = [learned(number) for number in (0, 1)]
    failing = learned("x", b=1)
    tasks.append(learned(3))
    hold.reached()
    hold.go()
    manual.wait(2)                          # the one with a slot, and the rest
    manual.finish(3)
    assert wait_completed(tasks, PATIENCE) == [0, 1, 3]
    assert isinstance(failing.exception(PATIENCE), TypeError)
    assert len(manual.calls) == 3
    assert supervisor.stats().process.active == 0


def test_rest_of_a_bundle_that_takes_too_long_goes_again(supervisor, manual, learned, monkeypatch):
    monkeypatch.setattr(pool_module, "AHEAD_SECONDS", 0.0)
    pool, hold = manager(supervisor).processes, Hold()
    PREFETCH_LIMIT.patch(monkeypatch, pool.prefetched, lambda spec, slots, adapter: 8)
    pool.adapter.bundles = True
    give_all = SUBMIT_ALL.of(pool)
    SUBMIT_ALL.put(pool, lambda: (hold(), give_all()))
    tasks = [learned(number) for number in range(4)]
    hold.reached()
    hold.go()
    manual.wait(2)
    manual.run(1)
    manual.run(2)                           # one of three is run
    manual.finish(len(manual.calls))
    done = 3
    while not all(task.done() for task in tasks):
        if len(manual.calls) > done:
            manual.run(done)
            done += 1
        else:
            manual.wait()
    assert wait_completed(tasks, PATIENCE) == list(range(4))
    assert [task.attempts for task in tasks] == [1] * 4


def test_executor_that_never_marks_calls_as_running_is_not_believed(supervisor, put, caplog):
    class Liar(Manual):
        def run(self, number):
            future, function, args = self.calls[number]
            if not future.done():
                future.set_result(function(*args))

    supervisor.mp_pool = executor = Liar(1)
    for number in range(2):
        task = put(f.add, number)
        executor.wait()
        executor.run(number)
        assert task.value(PATIENCE) == number
    hog = put(f.give, 1)
    executor.wait()
    waits = put(f.give, 2)
    assert hog.cancel()
    assert (hog.state, waits.state, len(executor.calls)) == ("running", "pending", 3)
    assert "cannot end it: it goes on, and its result counts" in caplog.text
    executor.finish(4)
    assert (hog.value(PATIENCE), waits.value(PATIENCE)) == (1, 2)


# -- outcomes --------------------------------------------------------------------------------------


def test_the_remote_traceback_is_the_cause(outside):
    error = outside.bind(f.fail)("far away").exception(PATIENCE)
    if outside.name == "TPE":
        assert "in fail" in "".join(__import__("traceback").format_exception(type(error), error,
                                                                             error.__traceback__))
    else:
        assert isinstance(error.__cause__, RemoteTraceback)
        assert "in fail" in str(error.__cause__)


@pytest.mark.parametrize("function",
                         [f.give_lambda, f.raise_unsendable, f.raise_unbuildable, f.raise_local,
                          f.give_stubborn])
def test_what_cannot_cross_harms_one_task(outside, function):
    task = outside.bind(function)()
    assert outside.bind(f.add)(1).value(PATIENCE) == 1
    if function is f.give_lambda and outside.name == "TPE":
        assert task.value(PATIENCE)() is None
    elif function is not f.give_stubborn or outside.name != "TPE":
        assert task.exception(PATIENCE) is not None


@pytest.mark.parametrize("args", [(threading.Lock(),), (f.Stubborn(),)])
def test_arguments_that_cannot_cross(supervisor, manual, put, args):
    task = put(f.give, *args)
    if not task.done():
        manual.wait()
        manual.run(0)
    assert type(task.exception(PATIENCE)) is TaskPicklingError


def test_a_function_that_cannot_be_sent_says_what_to_do(supervisor, manual, put):
    with pytest.raises(TaskPicklingError, match="top level of a module"):
        put(lambda: None).value(PATIENCE)
    assert manual.calls == []


def test_threads_take_what_cannot_be_pickled(supervisor, put):
    with ThreadPoolExecutor(1) as executor:
        supervisor.mp_pool = executor
        lock = threading.Lock()
        assert put(lambda thing: thing, lock).value(PATIENCE) is lock


def test_task_id_reaches_a_function_in_the_executor(outside):
    for call in (lambda: outside.put(f.with_task_id, (1,)),
                 lambda: outside.bind(f.with_task_id)(1)):
        task = call()
        assert task.value(PATIENCE) == (1, task.id)


def test_a_decorated_function_is_found_by_its_name(outside):
    from tests.unit import functions

    decorated = next(value for value in vars(functions).values() if isinstance(value, BoundTask))
    found = outside.put(f.give, (decorated,)).value(PATIENCE)
    assert found.__wrapped__.__qualname__ == decorated.__wrapped__.__qualname__


def test_co_mp_apply(outside):
    import asyncio

    async def main():
        assert await co_mp_apply(f.add, (1,), {"b": 2}, supervisor=outside.supervisor) == 3
        with pytest.raises(ValueError, match="far away"):
            await co_mp_apply(f.fail, ("far away",), supervisor=outside.supervisor)

    asyncio.run(main())


# -- cancelling and timeouts -----------------------------------------------------------------------


def test_a_call_that_the_executor_has_not_begun_is_cancelled(supervisor, manual, put):
    task = put(f.add, 1)
    manual.wait()
    after = put(f.add, 2)
    assert task.cancel()
    assert task.wait(PATIENCE).status == "cancelled"
    manual.wait()
    manual.run(1)
    assert after.value(PATIENCE) == 2
    assert manual.calls[0][0].cancelled()


def test_a_call_that_runs_is_not_cancelled_and_that_is_said(supervisor, manual, put, caplog):
    task = put(f.add, 1)
    manual.wait()
    manager(supervisor).processes.lock.acquire()     # the giver has noted what the executor gave it
    manager(supervisor).processes.lock.release()
    manual.begin(0)
    for _ in range(2):
        assert task.cancel()
    manual.run(0)
    assert task.value(PATIENCE) == 1
    assert caplog.text.count("cannot end it: it goes on, and its result counts") <= 1


def test_a_function_in_a_thread_of_an_executor_sees_the_request(supervisor, put, make_gate):
    gate = make_gate()
    with ThreadPoolExecutor(1) as executor:
        supervisor.mp_pool = executor
        task = put(f.enter_and_check, gate)
        gate.wait_entered()
        task.cancel()
        gate.open()
        assert task.wait(PATIENCE).status == "cancelled"


def test_a_timeout_says_what_it_cannot_do_and_keeps_the_slot(supervisor, manual, put, unseen):
    task = put(f.add, 1, timeout=50, name="endless")
    manual.wait()
    manual.begin(0)
    pool = manager(supervisor).processes
    EXPIRED.of(pool)(task, pool.lifecycle.timeouts.deadline_of(task))      # as the timer does
    with pytest.raises(TaskTimeoutError,
                       match="endless.*50 s.*Manual cannot end a call that runs.*its result is "
                             "dropped"):
        task.value(PATIENCE)
    waits = put(f.add, 2)
    stats = supervisor.stats()
    assert (waits.status, stats.process.abandoned, stats.process.active) == (0, 1, 1)
    manual.run(0)                           # late
    manual.wait()
    manual.run(1)
    assert waits.value(PATIENCE) == 2
    assert supervisor.stats().process.abandoned == 0
    assert task.state == "failed"
    assert unseen() == []


def test_a_timeout_releases_the_slot_of_a_call_that_had_not_begun(supervisor, manual, put):
    task = put(f.add, 1, timeout=50)
    manual.wait()
    pool = manager(supervisor).processes
    EXPIRED.of(pool)(task, pool.lifecycle.timeouts.deadline_of(task))
    assert type(task.exception(PATIENCE)) is TaskTimeoutError
    after = put(f.add, 2)
    manual.wait()
    manual.run(1)
    assert after.value(PATIENCE) == 2


def test_a_timeout_is_retried_in_another_slot(supervisor, manual, put):
    supervisor.set_mp_pool(pool_size=2)
    task = put(f.succeed_at, 2, timeout=5, retries=1)
    manual.wait()
    manual.begin(0)
    pool = manager(supervisor).processes
    EXPIRED.of(pool)(task, pool.lifecycle.timeouts.deadline_of(task))      # as the timer does
    manual.wait()
    manual.run(0)                               # the first attempt comes back, late
    manual.run(1)
    assert task.value(PATIENCE) == 2
    assert task.attempts == 2


# -- what executors do wrong -----------------------------------------------------------------------


@pytest.mark.parametrize("refusal", [RuntimeError("cannot schedule new futures after shutdown"),
                                     BrokenProcessPool("one died"), ValueError("Pool not running"),
                                     KeyError("what")])
def test_an_executor_that_takes_nothing(supervisor, manual, put, refusal):
    manual.refusal = refusal
    tasks = [put(f.add, number) for number in range(3)]
    for task in tasks:
        with pytest.raises(PoolBrokenError,
                           match="Manual did not take task add.*task_supervisor.mp_pool = "):
            task.value(PATIENCE)
        assert task.exception().__cause__ is refusal
    manual.refusal = None
    after = put(f.add, 5)
    manual.wait()
    manual.run(0)
    assert after.value(PATIENCE) == 5


def test_retries_go_to_the_executor_that_follows(supervisor, manual, put):
    manual.refusal = RuntimeError("cannot schedule new futures after shutdown")
    task = put(f.add, 5, retries=1, retry_delay=60)
    wait_for(lambda: task.status == 2, "the first attempt fails")
    supervisor.mp_pool = other = Manual(1)
    delay_elapsed(manager(supervisor).processes, task)            # as the timer does
    other.wait()
    other.run(0)
    assert task.value(PATIENCE) == 5


def test_an_executor_that_throws_a_call_out(supervisor, manual, put):
    task = put(f.add, 1)
    manual.wait()
    assert manual.calls[0][0].cancel()
    with pytest.raises(PoolBrokenError, match="has thrown out"):
        task.value(PATIENCE)


def test_call_that_is_thrown_out_before_its_turn_fails_its_task(supervisor, manual, put):
    supervisor.set_mp_pool(pool_size=1, prefetch=1)
    tasks = [put(f.add, 1), put(f.add, 2)]
    manual.wait(2)
    assert manual.calls[1][0].cancel()      # as shutdown(cancel_futures=True) does
    with pytest.raises(PoolBrokenError, match="has thrown out"):
        tasks[1].value(PATIENCE)
    manual.run(0)
    assert tasks[0].value(PATIENCE) == 1
    assert supervisor.stop(wait=PATIENCE).complete


def test_task_cancelled_while_its_call_is_given_back_stays_cancelled(supervisor, manual, put,
                                                                     monkeypatch):
    supervisor.set_mp_pool(pool_size=1, prefetch=1)
    tasks = [put(f.add, 1), put(f.add, 2)]
    manual.wait(2)
    pool = manager(supervisor).processes
    requeue = REQUEUE.of(pool)

    def requeue_late(call):
        monkeypatch.undo()
        cancelled.append(join(started(call.task.cancel)))
        requeue(call)

    cancelled = []
    REQUEUE.patch(monkeypatch, pool, requeue_late)
    urgent = put(f.add, 3, priority=TASK_HIGH)          # takes the place of the second
    wait_for(lambda: cancelled, "the executor gives the call back")
    manual.run(0)
    manual.wait()
    manual.run(2)
    assert tasks[1].wait(PATIENCE).status == "cancelled" and cancelled == [True]
    assert (tasks[0].value(PATIENCE), urgent.value(PATIENCE)) == (1, 3)


def test_an_executor_that_loses_a_call(supervisor, manual, put):
    tasks = [put(f.add, 1), put(f.add, 2)]
    manual.wait()
    manual.calls[0][0].set_exception(BrokenProcessPool("one died"))
    with pytest.raises(PoolBrokenError, match="lost.*one died"):
        tasks[0].value(PATIENCE)
    manual.wait()
    manual.run(1)
    assert tasks[1].value(PATIENCE) == 2


def test_a_result_that_is_not_ours(supervisor, manual, put):
    task = put(f.add, 1)
    manual.wait()
    manual.begin(0)
    manual.calls[0][0].set_result(5)
    with pytest.raises(PoolBrokenError, match="returned int"):
        task.value(PATIENCE)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL")
def test_a_broken_process_pool_executor_loses_nothing(supervisor, put, gate):
    executor = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("forkserver"))
    supervisor.mp_pool = executor
    tasks = [put(f.enter_and_die, gate), put(f.add, 1)]
    gate.wait_entered()
    gate.open()
    for task in tasks:
        with pytest.raises(PoolBrokenError):
            task.value(PATIENCE)
    executor.shutdown()
    with ThreadPoolExecutor(1) as other:
        supervisor.mp_pool = other
        assert put(f.add, 1).value(PATIENCE) == 1


def test_a_pool_that_was_terminated(supervisor, put, gate):
    pool = multiprocessing.get_context("fork").Pool(1)
    supervisor.mp_pool = pool
    lost = put(f.enter, gate)
    gate.wait_entered()
    end_executor(pool)
    after = put(f.add, 1)
    for task in (lost, after):
        with pytest.raises(PoolBrokenError):
            task.value(PATIENCE)
    assert supervisor.stop(wait=PATIENCE).complete


# -- stopping --------------------------------------------------------------------------------------


def test_stop_reports_what_the_executor_still_runs(supervisor, manual, put, caplog):
    task = put(f.add, 1)
    manual.wait()
    manual.begin(0)
    waiting = put(f.add, 2)
    report = supervisor.stop(wait=0.01)
    assert (report.abandoned, report.cancelled, report.complete) == (1, 2, True)
    assert (task.state, waiting.state) == ("cancelled", "cancelled")
    assert "Manual still runs 1 task(s)" in caplog.text and task.short_id in caplog.text
    manual.run(0)
    assert supervisor.stats().process.abandoned == 0
    with pytest.raises(SupervisorStoppedError):
        put(f.add, 3)
    supervisor.start()
    after = put(f.add, 4)
    manual.wait()
    manual.run(1)
    assert after.value(PATIENCE) == 4


def test_stop_does_not_shut_the_executor_down(supervisor, put):
    with ThreadPoolExecutor(1) as executor:
        supervisor.mp_pool = executor
        assert put(f.add, 1).value(PATIENCE) == 1
        supervisor.stop()
        assert executor.submit(f.add, 1).result(PATIENCE) == 1


def test_the_cancelled_error_is_a_futures_one(supervisor, manual, put):
    task = put(f.add, 1, delay=60)
    task.cancel()
    with pytest.raises(CancelledError):
        task.value()


def test_dump_shows_what_was_given(supervisor, manual, put):
    import io

    put(f.add, 1)
    manual.wait()
    file = io.StringIO()
    supervisor.dump(file)
    assert "task add" in file.getvalue() and "given to Manual" in file.getvalue()


def test_the_exit_of_the_interpreter_finishes_what_was_accepted(tmp_path):
    from tests.support.scripts import run_script

    out = run_script("""
import concurrent.futures, sys
from atasker_like import TT_MP, background_task, task_supervisor
task_supervisor.start()
executor = concurrent.futures.ThreadPoolExecutor(1)
executor.submit(int).result()           # on Python 3.12 it could not start its thread at the exit
task_supervisor.mp_pool = executor
bound = background_task(print, tt=TT_MP)
for number in range(20):
    bound(number, flush=True)
""")
    assert out.split() == [str(number) for number in range(20)]


def test_nothing_of_it_is_loaded_unless_it_is_used():
    from tests.support.scripts import run_script

    out = run_script("""
import sys
from atasker_like import TT_MP, background_task, task_supervisor, wait_completed
wait_completed(background_task(len)("abc"))
print("atasker_like.pools.executor.pool" in sys.modules, "multiprocessing" in sys.modules)
class Executor:
    def submit(self, function, *args): ...
task_supervisor.mp_pool = Executor()
print("concurrent.futures.process" in sys.modules, "concurrent.futures.thread" in sys.modules,
      "multiprocessing" in sys.modules)
""")
    assert out.split() == ["False"] * 5


def test_task_that_starts_late_in_an_executor_is_reported(supervisor, manual, put):
    late = []
    supervisor.timeout_warning_func = lambda task: late.append(task.name)
    supervisor.timeout_warning = 0.0
    task = put(f.add, 1, name="the late one")
    manual.finish(1)
    assert task.value(PATIENCE) == 1
    wait_for(lambda: late, "the report")
    assert late == ["the late one"]


def test_call_that_dask_says_to_have_cancelled_keeps_its_slot(supervisor, put, monkeypatch):
    """Its executor's futures can be cancelled while their calls run; these go on."""
    class ClientExecutor(Manual):
        pass

    module = types.ModuleType("distributed.cfexecutor")
    module.ClientExecutor = ClientExecutor
    monkeypatch.setitem(sys.modules, module.__name__, module)
    executor = ClientExecutor(1)
    supervisor.mp_pool = executor
    task = put(f.add, 1)
    executor.wait()
    task.cancel()                           # its future is still pending
    waits = put(f.add, 2)
    assert (task.state, waits.state) == ("running", "pending")
    assert not executor.calls[0][0].cancelled()
    executor.run(0)
    executor.wait()
    executor.run(1)
    assert (task.value(PATIENCE), waits.value(PATIENCE)) == (1, 2)


def test_size_of_the_executor_of_dask_is_that_of_its_cluster(supervisor, monkeypatch, caplog):
    class ClientExecutor(Manual):
        _client = types.SimpleNamespace(nthreads=lambda: {"tcp://one": 3, "tcp://other": 4})

    module = types.ModuleType("distributed.cfexecutor")
    module.ClientExecutor = ClientExecutor
    monkeypatch.setitem(sys.modules, module.__name__, module)
    supervisor.mp_pool = ClientExecutor(1)
    assert supervisor.get_info().mp_pool_size == 7
    ClientExecutor._client.nthreads = dict
    supervisor.set_mp_pool(pool_size=0)
    assert supervisor.get_info().mp_pool_size == os.cpu_count()
    assert "the executor ClientExecutor has no workers now: it gets" in caplog.text
