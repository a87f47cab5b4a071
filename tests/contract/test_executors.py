"""ThreadExecutor and ProcessExecutor, held against what the documentation of ``concurrent.futures``
says of executors."""
import asyncio
import concurrent.futures as futures
import functools
import gc
import operator
import os
import subprocess
import sys
import threading
import weakref

import pytest

from atasker_like import (ClosedError, InvalidArgumentError, InvalidTypeError, PoolBrokenError,
                          ProcessDiedError, ProcessExecutor, SupervisorStoppedError,
                          TaskCancelledError, TaskPicklingError, ThreadExecutor, WaitDeadlockError,
                          WaitTimeoutError, executors)
from tests.support import PATIENCE, PROGRAM_PATIENCE, ROOT
from tests.support.internals.pool import PREPARE, lane_of_executor, threads_of_executor
from tests.support.interruptions import at_line, interrupt
from tests.support.threads import FREE_THREADED, join, merged, started, wait_for

from . import functions as f
from .conftest import START_METHODS
from .functions import Gate

METHODS = [method for method in START_METHODS if method != "template"]


OWN = [pytest.param(method, marks=pytest.mark.gate) for method in METHODS]


@pytest.fixture(params=["threads", "shared", *OWN])
def make(request, supervisor):
    """Makes executors of a kind: over shared threads, shared processes, or processes of their own.
    """
    made = []

    def make(max_workers=2, **options):
        if request.param == "threads":
            executor = ThreadExecutor(max_workers, supervisor=supervisor, **options)
        elif request.param == "shared" and "initializer" not in options:
            executor = ProcessExecutor(max_workers, supervisor=supervisor, **options)
        else:
            method = METHODS[0] if request.param == "shared" else request.param
            executor = ProcessExecutor(max_workers, mp_context=method, **options)
        made.append(executor)
        return executor

    supervisor.set_thread_pool(pool_size=4)
    supervisor.set_mp_pool(pool_size=2)
    yield make
    for executor in made:
        executor.shutdown()


@pytest.fixture
def executor(make):
    return make()


@pytest.fixture
def threads(supervisor):
    supervisor.set_thread_pool(pool_size=4)
    with ThreadExecutor(2, supervisor=supervisor) as executor:
        yield executor


@pytest.fixture
def gate(tmp_path):
    made = Gate(tmp_path / "gate").make()
    yield made
    made.close()


# -- submit ----------------------------------------------------------------------------------------


def test_submit_returns_a_future_with_the_value(executor):
    future = executor.submit(f.add, 1, b=2)
    assert isinstance(future, futures.Future)
    assert future.result(PATIENCE) == 3 and future.exception() is None
    assert future.done() and not future.running() and not future.cancelled()
    assert not future.cancel()
    assert future.task.name == "add"


def test_submit_passes_keywords_of_any_name(executor):
    future = executor.submit(f.with_keywords, 1, fn=2, self=3, timeout=4)
    assert future.result(PATIENCE) == (1, {"fn": 2, "self": 3, "timeout": 4})


def test_submit_passes_no_id_of_the_task(executor):
    with pytest.raises(TypeError, match="_task_id"):
        executor.submit(f.with_task_id, 1).result(PATIENCE)


def test_submit_takes_any_callable(executor):
    assert executor.submit(functools.partial(f.add, 1), 2).result(PATIENCE) == 3
    assert executor.submit("a-b".split, "-").result(PATIENCE) == ["a", "b"]
    assert executor.submit(int, "7").result(PATIENCE) == 7


def test_submit_of_a_wrong_function_is_refused(executor):
    with pytest.raises(InvalidTypeError, match="takes a callable, not int"):
        executor.submit(1)
    with pytest.raises(InvalidTypeError, match="co_nothing is a coroutine function"):
        executor.submit(f.co_nothing)


def test_error_of_a_call_is_that_of_its_future(executor):
    future = executor.submit(f.fail, "no luck")
    with pytest.raises(ValueError, match="no luck"):
        future.result(PATIENCE)
    assert isinstance(future.exception(), ValueError)


def test_result_that_is_late_raises_the_timeout_of_futures(executor, gate):
    future = executor.submit(f.enter, gate, 5)
    for wait in future.result, future.exception:
        with pytest.raises(futures.TimeoutError):
            wait(timeout=0)
        with pytest.raises(WaitTimeoutError):
            wait(timeout=0.01)
    gate.open()
    assert future.result(PATIENCE) == 5


def test_futures_of_a_decorated_function_run_it(executor):
    assert executor.submit(f.decorated, 4).result(PATIENCE) == 5


@pytest.mark.gate
def test_submit_that_is_interrupted_at_any_line_never_runs_its_call(supervisor):
    supervisor.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0)
    ran = []
    with ThreadExecutor(1, supervisor=supervisor) as executor:
        line, more = 1, True
        while more:
            try:
                more = at_line(line, interrupt, lambda: executor.submit(ran.append, line))
            except KeyboardInterrupt:
                line += 1
            executor.submit(f.nothing).result(PATIENCE)
    assert ran == [line] and line > 20


# -- cancel ----------------------------------------------------------------------------------------


def test_cancel_of_a_call_that_waits_succeeds_and_it_never_runs(make, gate, tmp_path):
    executor = make(1)
    running = executor.submit(f.enter, gate)
    gate.wait_entered()
    waiting = executor.submit(f.record, tmp_path / "trace", "ran")
    called = []
    waiting.add_done_callback(called.append)
    assert running.running() and not waiting.running() and not waiting.done()
    assert waiting.cancel() and waiting.cancel()
    assert waiting.cancelled() and waiting.done() and called == [waiting]
    for wait in waiting.result, waiting.exception:
        with pytest.raises(futures.CancelledError):
            wait()
    assert futures.wait([waiting]).done == {waiting}
    gate.open()
    running.result(PATIENCE)
    executor.shutdown()
    assert not (tmp_path / "trace").exists()


def test_cancel_of_a_call_that_runs_returns_false_and_it_goes_on(executor, gate):
    future = executor.submit(f.enter, gate, 7)
    gate.wait_entered()
    assert not future.cancel() and future.running() and not future.cancelled()
    gate.open()
    assert future.result(PATIENCE) == 7 and not future.cancel()


def test_cancel_of_a_call_that_was_sent_ahead_leaves_the_running_one_alone(make, gate):
    executor = make(1)
    executor.submit(f.give, 0).result(PATIENCE)
    running = executor.submit(f.enter, gate, 1)
    calls = [executor.submit(f.give, number) for number in range(20)]
    gate.wait_entered()
    assert all(future.cancel() for future in calls[::2]) and not running.cancel()
    gate.open()
    assert [future.result(PATIENCE) for future in calls[1::2]] == list(range(1, 20, 2))
    assert running.result(PATIENCE) == 1


def test_cancel_by_the_task_is_seen_in_its_future(make, gate):
    executor = make(1)
    running = executor.submit(f.enter, gate)
    gate.wait_entered()
    waiting = executor.submit(f.nothing)
    waiting.task.cancel()
    assert waiting.cancelled()
    with pytest.raises(TaskCancelledError):
        waiting.result(0)
    gate.open()
    running.result(PATIENCE)


# -- callbacks -------------------------------------------------------------------------------------


def test_callbacks_get_the_future_once_and_in_order(executor, gate):
    future = executor.submit(f.enter, gate, 1)
    called, told = [], threading.Event()
    future.add_done_callback(lambda done: called.append((1, done.result(0))))
    future.add_done_callback(lambda done: (called.append((2, done)), told.set()))
    gate.open()
    assert told.wait(PATIENCE) and called == [(1, 1), (2, future)]
    future.add_done_callback(lambda done: called.append(3))
    assert called[2:] == [3]


def test_callback_that_raises_is_logged_and_the_next_is_called(executor, gate, caplog):
    future = executor.submit(f.enter, gate)
    told = threading.Event()
    future.add_done_callback(lambda done: 1 / 0)
    future.add_done_callback(lambda done: told.set())
    gate.open()
    assert told.wait(PATIENCE) and "a done callback of task enter" in caplog.text


def test_callback_that_is_not_callable_is_refused(threads):
    with pytest.raises(InvalidTypeError, match="takes a callable"):
        threads.submit(f.nothing).add_done_callback(1)


# -- map -------------------------------------------------------------------------------------------


def test_map_gives_results_in_order(executor):
    assert list(executor.map(pow, range(5), [2] * 5)) == [0, 1, 4, 9, 16]
    assert list(executor.map(f.add, [1, 2, 3], (number for number in (1, 1)))) == [2, 3]
    assert list(executor.map(f.add, [])) == [] and list(executor.map(f.nothing)) == []


def test_map_raises_an_error_in_its_position(executor):
    results = executor.map(operator.truediv, [4, 4, 4], [2, 0, 1])
    assert next(results) == 2
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_map_that_is_late_raises_and_cancels_what_has_not_begun(make, gate):
    executor = make(1)
    results = executor.map(f.enter, [gate] * 3, timeout=0.05)
    gate.wait_entered()
    with pytest.raises(futures.TimeoutError, match="task enter"):
        next(results)
    gate.open()
    executor.shutdown()
    with pytest.raises(AssertionError, match="only 0 of 1"):
        gate.wait_entered(timeout=0)


def test_map_takes_chunks_of_any_size(executor):
    for size in 1, 2, 7:
        assert list(executor.map(abs, range(-4, 0), chunksize=size)) == [4, 3, 2, 1]


@pytest.mark.parametrize("name", ["chunksize", "buffersize"])
def test_map_refuses_wrong_sizes(threads, name):
    for wrong, kind in (0, ValueError), (-1, ValueError), ("2", TypeError), (1.5, TypeError):
        with pytest.raises(kind, match=f"{name} takes an integer"):
            threads.map(abs, [1], **{name: wrong})


@pytest.mark.parametrize("chunksize", [1, 3])
def test_map_with_a_buffer_reads_endless_iterables_as_needed(executor, chunksize):
    taken = []

    def numbers():
        while True:
            taken.append(None)
            yield -len(taken)

    results = executor.map(abs, numbers(), buffersize=2, chunksize=chunksize)
    assert len(taken) == 2 * chunksize
    assert [next(results) for _ in range(10)] == list(range(1, 11))
    assert len(taken) == 2 * chunksize + 10
    results.close()


def test_map_submits_without_being_iterated(executor, gate):
    results = executor.map(f.enter, [gate, gate], [1, 2])
    gate.wait_entered(2)
    gate.open()
    assert list(results) == [1, 2]


def test_map_whose_iterable_raises_cancels_what_has_not_begun(make, gate):
    executor = make(1)

    def items():
        yield gate
        gate.wait_entered()
        yield gate
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        executor.map(f.enter, items())
    gate.open()
    executor.shutdown()
    with pytest.raises(AssertionError, match="only 0 of 1"):
        gate.wait_entered(timeout=0)


# -- wait and as_completed -------------------------------------------------------------------------


def test_wait_for_all_returns_when_all_have_ended(executor, gate):
    held = executor.submit(f.enter, gate)
    calls = [executor.submit(f.give, 1), executor.submit(f.fail), held]
    assert futures.wait(calls, timeout=0).not_done >= {held}
    gate.open()
    done, not_done = futures.wait([*calls, *calls], PATIENCE)
    assert done == set(calls) and not not_done
    assert calls[1].exception() is not None


def test_wait_for_the_first_returns_the_ended_one(executor, gate):
    held, first = executor.submit(f.enter, gate), executor.submit(f.nothing)
    done, not_done = futures.wait([held, first], PATIENCE, futures.FIRST_COMPLETED)
    assert done == {first} and not_done == {held}
    gate.open()
    held.result(PATIENCE)


def test_wait_for_the_first_error_returns_at_it(executor, gate):
    held, failing = executor.submit(f.enter, gate), executor.submit(f.fail)
    done, not_done = futures.wait([held, failing], PATIENCE, futures.FIRST_EXCEPTION)
    assert done == {failing} and not_done == {held}
    gate.open()
    held.result(PATIENCE)


def test_wait_takes_futures_of_other_executors_too(executor, gate):
    with futures.ThreadPoolExecutor(1) as other:
        calls = [executor.submit(f.enter, gate), other.submit(f.enter, gate)]
        assert futures.wait(calls, 0).not_done == set(calls)
        gate.open()
        assert futures.wait(calls, PATIENCE).done == set(calls)


def test_as_completed_yields_each_future_once(executor, gate):
    calls = [executor.submit(f.give, number) for number in range(5)]
    held = executor.submit(f.enter, gate, 5)
    ended = futures.as_completed([*calls, held, held], PATIENCE)
    assert {next(ended).result() for _ in range(5)} == set(range(5))
    gate.open()
    assert list(ended) == [held]


def test_as_completed_that_is_late_raises(executor, gate):
    held = executor.submit(f.enter, gate)
    with pytest.raises(futures.TimeoutError):
        list(futures.as_completed([held], 0))
    gate.open()
    held.result(PATIENCE)


def test_cancelled_future_wakes_wait_and_as_completed(make, gate):
    executor = make(1)
    running, waiting = executor.submit(f.enter, gate), executor.submit(f.nothing)
    gate.wait_entered()
    ended = futures.as_completed([running, waiting], PATIENCE)
    threading.Timer(0.01, waiting.cancel).start()
    assert next(ended) is waiting and waiting.cancelled()
    gate.open()
    assert list(ended) == [running]


# -- shutdown --------------------------------------------------------------------------------------


def test_shutdown_waits_for_all_calls_and_refuses_more(executor):
    calls = [executor.submit(f.give, number) for number in range(20)]
    executor.shutdown()
    assert all(future.done() for future in calls)
    with pytest.raises(ClosedError, match="was shut down"):
        executor.submit(f.give, 1)
    with pytest.raises(RuntimeError):
        executor.map(f.give, [1])
    executor.shutdown()


def test_shutdown_between_the_steps_of_a_submit_refuses_the_call(make, monkeypatch):
    executor = make(1)

    def shut_down_meanwhile(function):
        monkeypatch.undo()
        join(started(executor.shutdown))
        return undecorated(function)

    undecorated = executors.undecorated
    monkeypatch.setattr(executors, "undecorated", shut_down_meanwhile)
    with pytest.raises(ClosedError, match="was shut down"):
        executor.submit(f.give, 1)


def test_shutdown_of_an_executor_with_processes_of_its_own_during_a_submit_refuses_the_call():
    executor = ProcessExecutor(1, max_tasks_per_child=5)
    prepare = PREPARE.of(executor)

    def prepare_late(*arguments):
        join(started(executor.shutdown, False))
        return prepare(*arguments)

    PREPARE.put(executor, prepare_late)
    with pytest.raises(ClosedError, match="was shut down"):
        executor.submit(f.give, 1)


def test_interrupt_in_a_with_block_after_a_shutdown_is_passed_on(make):
    with pytest.raises(KeyboardInterrupt):
        with make(1) as executor:
            executor.shutdown()
            raise KeyboardInterrupt


def test_shutdown_without_wait_lets_the_calls_end(make, gate):
    executor = make(1)
    calls = [executor.submit(f.enter, gate, number) for number in range(3)]
    executor.shutdown(wait=False)
    assert not calls[2].done()
    gate.open()
    assert [future.result(PATIENCE) for future in calls] == [0, 1, 2]


def test_shutdown_can_cancel_what_has_not_begun(make, gate):
    executor = make(1)
    running = executor.submit(f.enter, gate, 1)
    gate.wait_entered()
    waiting = [executor.submit(f.nothing) for _ in range(5)]
    executor.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in waiting) and running.running()
    gate.open()
    executor.shutdown()
    assert running.result(0) == 1


def test_context_manager_shuts_down_at_its_end(make):
    with make() as executor:
        call = executor.submit(f.give, 1)
    assert call.done()
    with pytest.raises(RuntimeError):
        executor.submit(f.give, 1)


def test_shutdown_leaves_the_pool_of_the_supervisor_alone(threads, supervisor):
    lane = lane_of_executor(threads)
    pool = lane.pool
    threads.submit(f.nothing).result(PATIENCE)
    assert lane in pool.run_queue.lanes
    threads.shutdown()
    assert lane not in pool.run_queue.lanes
    assert supervisor.put_task(f.give, (1,)).value(PATIENCE) == 1


def test_lane_goes_with_the_last_call_after_a_shutdown_without_wait(threads, gate):
    lane = lane_of_executor(threads)
    pool = lane.pool
    running = threads.submit(f.enter, gate)
    threads.shutdown(wait=False)
    assert lane in pool.run_queue.lanes
    gate.open()
    running.result(PATIENCE)
    threads.shutdown()
    assert lane not in pool.run_queue.lanes


def test_executor_without_references_finishes_its_calls(make, gate):
    calls = [make().submit(f.enter, gate, number) for number in range(2)]
    gc.collect()
    gate.open()
    assert [future.result(PATIENCE) for future in calls] == [0, 1]


def test_submit_to_a_stopped_supervisor_is_refused(make_supervisor):
    supervisor = make_supervisor()
    executor = ThreadExecutor(supervisor=supervisor)
    assert executor.submit(f.give, 1).result(PATIENCE) == 1
    supervisor.stop()
    with pytest.raises(SupervisorStoppedError):
        executor.submit(f.give, 1)
    executor.shutdown()


# -- initializer and other options -----------------------------------------------------------------


def test_initializer_is_called_before_the_first_call(make):
    executor = make(1, initializer=f.initialize, initargs=("ready",))
    try:
        assert all(executor.submit(f.initialized).result(PATIENCE)[0] == "ready" for _ in range(3))
    finally:
        f.initialized().clear()


@pytest.mark.slow
def test_initializer_that_fails_breaks_the_futures(make):
    executor = make(1, initializer=f.refuse)
    for _ in range(2):
        with pytest.raises(futures.BrokenExecutor, match="not today") as caught:
            executor.submit(f.nothing).result(PATIENCE)
        assert isinstance(caught.value, PoolBrokenError)


def test_initializer_of_threads_runs_once_a_thread(threads, supervisor):
    called = []
    with ThreadExecutor(1, initializer=lambda: called.append(threading.get_ident()),
                        supervisor=supervisor) as executor:
        list(executor.map(f.nothing, range(20)))
    assert called and len(set(called)) == len(called)


def test_initializer_that_is_not_callable_is_refused():
    for kind in ThreadExecutor, ProcessExecutor:
        with pytest.raises(InvalidTypeError, match="initializer takes a callable"):
            kind(initializer=3)


def test_thread_has_the_prefix_only_during_the_call(supervisor):
    supervisor.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0)
    with ThreadExecutor(1, "special", supervisor=supervisor) as executor:
        assert executor.submit(lambda: threading.current_thread().name).result(PATIENCE) \
            == "special_0"
        other = supervisor.put_task(lambda: threading.current_thread().name).value(PATIENCE)
        assert "special" not in other
        future = executor.submit(f.nothing)
        assert future.task.name == "nothing" and future.result(PATIENCE) is None


@pytest.mark.parametrize("kind", [ThreadExecutor, ProcessExecutor])
def test_wrong_options_are_refused(kind, supervisor):
    for workers in 0, -1:
        with pytest.raises(ValueError, match="max_workers"):
            kind(workers, supervisor=supervisor)
    with pytest.raises(TypeError, match="max_workers"):
        kind("2", supervisor=supervisor)
    with pytest.raises(InvalidTypeError, match="supervisor takes a TaskSupervisor"):
        kind(supervisor=3)


def test_max_workers_limits_the_calls_that_run(make, gate):
    executor = make(1)
    calls = [executor.submit(f.enter, gate) for _ in range(3)]
    gate.wait_entered()
    assert [future.running() for future in calls].count(True) == 1
    with pytest.raises(AssertionError, match="only 0 of 1"):
        gate.wait_entered(timeout=0.02)
    gate.open()
    futures.wait(calls, PATIENCE)


def test_more_workers_than_the_pool_has_slots_are_warned_of(supervisor, caplog):
    supervisor.set_thread_pool(pool_size=1, reserve_normal=1)
    for workers in 2, 3:
        with ThreadExecutor(workers, supervisor=supervisor) as executor:
            executor.submit(f.nothing).result(PATIENCE)
            executor.submit(f.give, 1).result(PATIENCE)
    assert caplog.text.count("max_workers is") == 1
    assert "max_workers is 3, but" in caplog.text and "has only 2 slots" in caplog.text


def test_priority_orders_the_calls_of_executors(supervisor, gate, tmp_path):
    supervisor.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0)
    low = ThreadExecutor(priority=200, supervisor=supervisor)
    urgent = ThreadExecutor(priority=60, supervisor=supervisor)
    held = low.submit(f.enter, gate)
    gate.wait_entered()
    ran = []
    calls = [low.submit(ran.append, "low"), urgent.submit(ran.append, "urgent")]
    gate.open()
    futures.wait([held, *calls], PATIENCE)
    assert ran == ["urgent", "low"] and calls[1].task.priority == 60
    low.shutdown()
    urgent.shutdown()


@pytest.mark.gate
def test_max_tasks_per_child_replaces_processes():
    with ProcessExecutor(1, max_tasks_per_child=1) as executor:
        pids = [executor.submit(f.pid).result(PATIENCE) for _ in range(3)]
    assert len(set(pids)) == 3


def test_options_of_processes_exclude_a_supervisor(supervisor):
    for options in {"mp_context": "spawn"}, {"initializer": f.refuse}, {"max_tasks_per_child": 2}:
        with pytest.raises(InvalidArgumentError, match=f"{list(options)[0]} and supervisor excl"):
            ProcessExecutor(supervisor=supervisor, **options)
    for wrong in 0, -1:
        with pytest.raises(InvalidArgumentError, match="max_tasks_per_child"):
            ProcessExecutor(max_tasks_per_child=wrong)


def test_context_of_multiprocessing_gives_the_start_method():
    import multiprocessing

    with ProcessExecutor(1, multiprocessing.get_context(METHODS[0])) as executor:
        assert lane_of_executor(executor).pool.start_method == METHODS[0]


def test_process_executor_does_not_take_the_position_of_a_pool(supervisor):
    with ProcessExecutor(supervisor=supervisor) as executor:
        with pytest.raises(InvalidTypeError, match="mp_pool takes an executor"):
            supervisor.mp_pool = executor


# -- processes: what may break ---------------------------------------------------------------------


@pytest.fixture(params=["shared", *OWN])
def processes_only(request, supervisor):
    if request.param == "shared":
        supervisor.set_mp_pool(pool_size=1)
        executor = ProcessExecutor(supervisor=supervisor)
    else:
        executor = ProcessExecutor(1, request.param)
    with executor:
        yield executor


def test_death_of_a_process_costs_one_future(processes_only, gate):
    calls = [processes_only.submit(f.enter_and_die, gate),
             *(processes_only.submit(f.give, number) for number in range(10))]
    gate.wait_entered()
    gate.open()
    error = calls[0].exception(PATIENCE)
    assert isinstance(error, ProcessDiedError) and isinstance(error, futures.BrokenExecutor)
    assert [future.result(PATIENCE) for future in calls[1:]] == list(range(10))
    assert processes_only.submit(f.give, 1).result(PATIENCE) == 1


@pytest.mark.parametrize("function, arguments, kind", [
    (f.give, (threading.Lock(),), TaskPicklingError),
    (f.give, (f.Stubborn(),), TaskPicklingError),
    (f.give_lambda, (), TaskPicklingError),
    (f.give_stubborn, (), Exception),
    (f.raise_unsendable, (), Exception),
    (f.raise_unbuildable, (), Exception),
    (lambda: None, (), TaskPicklingError),
], ids=["argument", "argument-there", "result", "result-here", "error", "error-here", "function"])
def test_what_cannot_cross_fails_its_future_only(supervisor, function, arguments, kind):
    supervisor.set_mp_pool(pool_size=1)
    with ProcessExecutor(supervisor=supervisor) as executor:
        failing, other = executor.submit(function, *arguments), executor.submit(f.give, 1)
        assert isinstance(failing.exception(PATIENCE), kind)
        assert other.result(PATIENCE) == 1


def test_traceback_of_a_process_is_the_cause_of_the_error(processes_only):
    error = processes_only.submit(f.fail).exception(PATIENCE)
    assert "in fail" in str(error.__cause__)


def test_processes_of_an_executor_end_at_its_shutdown():
    with ProcessExecutor(1, METHODS[0]) as executor:
        pid = executor.submit(f.pid).result(PATIENCE)
        pool = lane_of_executor(executor).pool
        assert pool.pids() == [pid]
    assert pool.pids() == []


# -- waits in a pool thread ------------------------------------------------------------------------


def nested(executor, wait, depth):
    if depth:
        return 1 + wait(executor.submit(nested, executor, wait, depth - 1))
    return 0


def by_wait(future):
    assert futures.wait([future], PATIENCE).done == {future}
    return future.result()


def by_as_completed(future):
    return next(futures.as_completed([future], PATIENCE)).result()


@pytest.mark.parametrize("wait", [lambda future: future.result(),
                                  lambda future: future.exception() or future.result(),
                                  by_wait, by_as_completed],
                         ids=["result", "exception", "wait", "as_completed"])
def test_wait_in_a_pool_thread_lends_its_slot(supervisor, wait):
    supervisor.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0)
    with ThreadExecutor(1, supervisor=supervisor) as executor:
        assert executor.submit(nested, executor, wait, 4).result(PATIENCE) == 4


def test_map_in_a_pool_thread_lends_its_slot(supervisor):
    supervisor.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0)
    with ThreadExecutor(1, supervisor=supervisor) as executor:
        assert executor.submit(lambda: list(executor.map(abs, [-1, -2]))).result(PATIENCE) == [1, 2]


def test_shutdown_by_a_call_of_the_executor_does_not_wait_for_itself(threads):
    with pytest.raises(WaitDeadlockError):
        threads.submit(threads.shutdown).result(PATIENCE)


# -- references ------------------------------------------------------------------------------------


def freed(reference):
    """Wait until nothing refers to it: the thread that ended the call may do so for a moment."""
    if FREE_THREADED:
        merged(lambda: reference() is None)
    wait_for(lambda: reference() is None, "nothing refers to it")
    return True


def test_ended_call_keeps_neither_its_function_nor_its_arguments(threads):
    thing = f.Thing()
    reference = weakref.ref(thing)
    future = threads.submit(thing.method)
    del thing
    future.result(PATIENCE)
    assert freed(reference)
    thing = f.Thing()
    reference = weakref.ref(thing)
    future = threads.submit(f.nothing, thing)
    del thing
    future.result(PATIENCE)
    assert freed(reference)


def test_map_keeps_no_result_that_it_has_yielded(executor):
    results = executor.map(f.make_thing, range(5))
    for thing in results:
        reference = weakref.ref(thing)
        del thing
        assert freed(reference)


def test_as_completed_keeps_no_future_that_it_has_yielded(threads):
    calls = [threads.submit(f.make_thing, number) for number in range(3)]
    futures.wait(calls, PATIENCE)
    ended = futures.as_completed(calls)
    del calls
    for future in ended:
        reference = weakref.ref(future.result())
        del future
        assert freed(reference)


def test_future_of_a_failed_call_is_in_no_reference_cycle(threads):
    for materialised in False, True:
        future = threads.submit(f.fail)
        futures.wait([future], PATIENCE) if materialised else None
        reference = weakref.ref(future)
        gc.collect()
        gc.disable()
        try:
            with pytest.raises(ValueError):
                try:
                    future.result(PATIENCE)
                finally:
                    pass
            error = future.exception()
            error.__traceback__ = None
            del error, future
            assert freed(reference)
        finally:
            gc.enable()


def test_executor_is_collected_and_its_lane_forgotten(supervisor):
    executor = ThreadExecutor(supervisor=supervisor)
    executor.submit(f.nothing).result(PATIENCE)
    reference, lane = weakref.ref(executor), lane_of_executor(executor)
    pool = lane.pool
    del executor
    gc.collect()
    assert reference() is None and lane not in pool.run_queue.lanes


def test_failure_that_no_code_looks_at_is_logged(threads, unseen):
    futures.wait([threads.submit(f.fail)], PATIENCE)
    assert len(unseen()) == 1
    assert isinstance(threads.submit(f.fail).exception(PATIENCE), ValueError)
    assert len(unseen()) == 1


# -- loops -----------------------------------------------------------------------------------------


def test_run_in_executor_awaits_the_value(executor):
    async def main():
        loop = asyncio.get_running_loop()
        first = loop.run_in_executor(executor, f.add, 1, 2)
        second = loop.run_in_executor(executor, f.fail)
        return await asyncio.gather(first, second, return_exceptions=True)

    value, error = asyncio.run(main())
    assert value == 3 and isinstance(error, ValueError)


def test_thread_executor_is_the_default_of_a_loop(supervisor):
    executor = ThreadExecutor(supervisor=supervisor)

    async def main():
        asyncio.get_running_loop().set_default_executor(executor)
        return await asyncio.get_running_loop().run_in_executor(None, f.give, 5)

    assert asyncio.run(main()) == 5
    with pytest.raises(ClosedError):
        executor.submit(f.nothing)      # the end of the loop has shut it down
    assert not threads_of_executor(executor)


def test_cancelled_await_cancels_a_call_that_has_not_begun(make, gate, tmp_path):
    executor = make(1)
    running = executor.submit(f.enter, gate)
    gate.wait_entered()

    async def main():
        waiting = executor.submit(f.record, tmp_path / "trace", "ran")
        wrapped = asyncio.wrap_future(waiting)
        wrapped.cancel()
        await asyncio.wait([wrapped])
        return waiting.cancelled()

    assert asyncio.run(main())
    gate.open()
    running.result(PATIENCE)
    executor.shutdown()
    assert not (tmp_path / "trace").exists()


# -- the exit of the interpreter -------------------------------------------------------------------

EXIT = """
import sys, threading, time
from atasker_like import ThreadExecutor, ProcessExecutor

def work(number):
    time.sleep(0.05)
    return number

def show(future):
    sys.stdout.write("%d " % future.result())

if __name__ == "__main__":
    executor = {make}
    for number in range(6):
        executor.submit(work, number).add_done_callback(show)
    {deed}
"""


@pytest.mark.gate
@pytest.mark.parametrize("deed", ["pass", "del executor", "executor.shutdown(wait=False)",
                                  "sys.exit(0)"])
@pytest.mark.parametrize("made", ["ThreadExecutor(2)", "ProcessExecutor(1)",
                                  *(f"ProcessExecutor(1, {m!r})" for m in METHODS)])
def test_exit_of_the_interpreter_finishes_the_calls(made, deed, tmp_path):
    script = tmp_path / "program.py"
    script.write_text(EXIT.format(make=made, deed=deed))
    ended = subprocess.run([sys.executable, str(script)], cwd=ROOT, timeout=PROGRAM_PATIENCE,
                           env=dict(os.environ, PYTHONPATH=ROOT),
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert ended.returncode == 0 and sorted(ended.stdout.split()) == list("012345"), ended.stderr
