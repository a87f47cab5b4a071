"""The pools used directly: thread_pool like a ThreadPoolExecutor, mp_pool like a
multiprocessing.Pool."""
import concurrent.futures
import multiprocessing
import operator
import threading
from concurrent.futures import CancelledError

import pytest

from atasker_like import WaitDeadlockError, WaitTimeoutError
from tests.support import PATIENCE
from tests.support.internals.pool import KEEP

from . import functions as f


@pytest.fixture
def pool(processes):
    """Runs over every start method that was chosen."""
    processes.set_places(2)
    return processes.supervisor.mp_pool


def test_mp_pool_is_none_before_it_is_made(supervisor):
    assert supervisor.mp_pool is None
    supervisor.create_mp_pool(1)
    assert supervisor.mp_pool is supervisor.mp_pool
    supervisor.mp_pool = supervisor.mp_pool     # nothing happens
    assert supervisor.mp_pool.apply(abs, (-1,)) == 1


def test_mp_pool_runs_calls_as_multiprocessing_does(pool):
    assert pool.apply(pow, (2, 3)) == 8
    assert pool.apply(f.add, (1,), {"b": 2}) == 3
    assert pool.apply_async(abs, (-1,)).get(PATIENCE) == 1
    assert pool.map(abs, range(-3, 1), 2) == [3, 2, 1, 0]
    assert pool.map(abs, []) == []
    assert pool.map_async(abs, [-1, -2]).get(PATIENCE) == [1, 2]
    assert pool.starmap(pow, [(2, 3), (3, 2)]) == [8, 9]
    assert pool.starmap_async(pow, [(2, 3)]).get(PATIENCE) == [8]


def test_imap_keeps_the_order_and_takes_endless_iterables(pool):
    def numbers():
        number = 0
        while True:
            number += 1
            yield -number

    results = pool.imap(abs, numbers(), chunksize=7)
    assert [next(results) for _ in range(1000)] == list(range(1, 1001))
    pool.terminate()


def test_imap_unordered_yields_every_result_once(pool):
    assert sorted(pool.imap_unordered(abs, range(-1000, 0))) == list(range(1, 1001))


def test_imap_that_is_not_there_in_time_can_be_asked_again(pool, gate):
    for imap in (pool.imap, pool.imap_unordered):
        results = imap(f.enter, [gate])
        gate.wait_entered()
        with pytest.raises(multiprocessing.TimeoutError):
            results.next(timeout=0)
    gate.open()
    results.next(PATIENCE)
    with pytest.raises(StopIteration):
        results.next()


def test_error_of_a_call_is_raised_where_its_result_is_asked_for(pool):
    got, errors = [], []
    result = pool.apply_async(operator.truediv, (1, 0), callback=got.append,
                              error_callback=errors.append)
    with pytest.raises(ZeroDivisionError):
        result.get(PATIENCE)
    assert not result.successful() and got == []
    with pytest.raises(ZeroDivisionError):
        pool.map(f.fail_at_two, [1, 2, 3])
    results = pool.imap(f.fail_at_two, [1, 2, 3])
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert next(results) == 3


def test_callbacks_of_mp_pool_get_the_result_or_the_error(pool):
    for submit, expected in ((lambda done: pool.apply_async(abs, (-1,), callback=done), 1),
                             (lambda done: pool.map_async(abs, [-1, -2], callback=done), [1, 2]),
                             (lambda done: pool.map_async(abs, [], callback=done), []),
                             (lambda done: pool.apply_async(f.fail, ("no",),
                                                            error_callback=lambda e: done(str(e))),
                              "no")):
        called, got = threading.Event(), []
        submit(lambda value: (got.append(value), called.set()))
        assert called.wait(PATIENCE) and got == [expected]


#: The seconds that a callback waits for what must not come before it has returned.
TOO_EARLY = 0.05


@pytest.mark.parametrize("wait", [lambda pool, result: result.get(PATIENCE),
                                  lambda pool, result: result.wait(PATIENCE),
                                  lambda pool, result: (pool.close(), pool.join())],
                         ids=["get", "wait", "join"])
@pytest.mark.parametrize("option", ["callback", "error_callback"])
def test_waits_of_mp_pool_end_after_the_callback(pool, wait, option):
    over, early = threading.Event(), []
    result = pool.map_async(operator.truediv if option == "error_callback" else abs, [1, 2],
                            **{option: lambda value: early.append(over.wait(TOO_EARLY))})
    try:
        wait(pool, result)
    except TypeError:                       # of truediv() with one argument
        pass
    over.set()
    assert early == [False]


def test_call_of_mp_pool_is_not_ready_before_its_callback_has_returned(pool):
    entered, gate, got = threading.Event(), threading.Event(), []
    result = pool.apply_async(abs, (-1,), callback=lambda value: (
        entered.set(), gate.wait(PATIENCE), got.append(value)))
    assert entered.wait(PATIENCE)
    assert not result.ready()
    result.wait(0)
    with pytest.raises(ValueError, match="has not ended"):
        result.successful()
    with pytest.raises(multiprocessing.TimeoutError):
        result.get(0.001)
    gate.set()
    assert (result.get(PATIENCE), got) == (1, [1])
    assert result.ready() and result.successful()


def test_callback_of_mp_pool_that_raises_ends_the_wait(pool, caplog):
    def fails(value):
        raise KeyError("in the callback")

    assert pool.apply_async(abs, (-1,), callback=fails).get(PATIENCE) == 1
    pool.close()
    pool.join()
    assert "in the callback" in caplog.text


def test_callback_of_mp_pool_can_wait_for_its_own_result_and_for_the_pool(pool):
    results, got, ended = [], [], threading.Event()
    made = threading.Event()

    def callback(value):
        made.wait(PATIENCE)
        got.extend([results[0].ready(), results[0].get(PATIENCE)])
        pool.close()
        pool.join()
        ended.set()

    results.append(pool.apply_async(abs, (-1,), callback=callback))
    made.set()
    assert ended.wait(PATIENCE) and got == [True, 1]
    pool.join()


def test_callbacks_of_mp_pool_can_wait_for_the_results_of_each_other(pool):
    results, got, both = [], [], threading.Barrier(2)

    def callback(value):
        both.wait(PATIENCE)
        got.extend(result.get(PATIENCE) for result in results)

    results += [pool.apply_async(abs, (-number,), callback=callback) for number in (1, 2)]
    for result in results:
        result.wait(PATIENCE)
    assert sorted(got) == [1, 1, 2, 2]


@pytest.mark.parametrize("items", [[-1], []], ids=["ended before", "no calls"])
def test_callback_of_mp_pool_is_never_called_in_the_thread_that_submits(pool, monkeypatch, items):
    keep = KEEP.of(pool)

    def keep_ended(tasks):
        for task in tasks:
            assert task.completed.wait(PATIENCE)
        return keep(tasks)

    KEEP.patch(monkeypatch, pool, keep_ended)
    threads, submitted, ended = [], threading.Event(), threading.Event()

    def callback(value):
        threads.append(threading.get_ident())
        if submitted.wait(PATIENCE):
            pool.close()
            pool.join()
            ended.set()

    result = pool.map_async(abs, items, callback=callback)
    submitted.set()
    assert ended.wait(PATIENCE) and result.get(PATIENCE) == [abs(item) for item in items]
    assert threads != [threading.get_ident()]


def test_errors_beside_the_first_one_of_a_map_are_seen(pool, unseen):
    with pytest.raises(ValueError, match="no"):
        pool.map(f.fail, ["no", "no", "no"])
    assert unseen() == []


def test_result_of_mp_pool_says_whether_it_is_ready(pool, gate):
    result = pool.apply_async(f.enter, (gate,))
    gate.wait_entered()
    assert not result.ready()
    result.wait(0)
    with pytest.raises(ValueError, match="has not ended"):
        result.successful()
    for error in (multiprocessing.TimeoutError, TimeoutError, WaitTimeoutError):
        with pytest.raises(error, match="goes on"):
            result.get(0)
    gate.open()
    result.wait(PATIENCE)
    assert result.ready() and result.successful()


def test_mp_pool_that_is_closed_finishes_its_calls_and_takes_no_more(pool, gate):
    result = pool.apply_async(f.enter, (gate,))
    gate.wait_entered()
    with pytest.raises(ValueError, match="after close"):
        pool.join()
    pool.close()
    for call in (lambda: pool.apply(abs, (1,)), lambda: pool.map_async(abs, [1]),
                 lambda: pool.imap(abs, [1])):
        with pytest.raises(ValueError, match="create_mp_pool"):
            call()
    gate.open()
    pool.join()
    assert result.ready()


def test_mp_pool_that_is_terminated_cancels_its_calls_and_no_tasks_of_the_supervisor(processes,
                                                                                     make_gate):
    processes.set_places(2)
    pool = processes.supervisor.mp_pool
    mine, theirs = make_gate(), make_gate()
    task = processes.put(f.enter, (theirs,))
    theirs.wait_entered()
    with pool:
        result = pool.apply_async(f.enter, (mine,))
        mine.wait_entered()
    with pytest.raises(CancelledError):
        result.get(PATIENCE)
    pool.join()
    theirs.open()
    task.value(PATIENCE)


def test_mp_pool_refuses_what_is_not_callable(supervisor):
    supervisor.create_mp_pool(1)
    with pytest.raises(TypeError, match="mp_pool takes a function, not an int"):
        supervisor.mp_pool.apply(5)


def test_function_of_mp_pool_gets_no_task_id(pool):
    assert pool.apply(f.keyword_names, (), {"a": 1}) == ["a"]


def test_thread_pool_maps_in_order(supervisor):
    assert list(supervisor.thread_pool.map(pow, [1, 2, 3], [2, 2, 2])) == [1, 4, 9]


def test_thread_pool_map_that_is_late_cancels_what_is_left(supervisor):
    supervisor.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0)
    gate, ran = threading.Event(), []
    results = supervisor.thread_pool.map(lambda number: gate.wait() and ran.append(number), [1, 2],
                                         timeout=0)
    with pytest.raises(TimeoutError):
        next(results)
    gate.set()
    supervisor.stop(wait=PATIENCE)
    assert ran == [1]


def test_thread_pool_that_is_shut_down_waits_for_its_calls_and_takes_no_more(supervisor):
    pool = supervisor.thread_pool
    gate = threading.Event()
    futures = [pool.submit(gate.wait, PATIENCE) for _ in range(3)]
    threading.Timer(0.01, gate.set).start()
    pool.shutdown()
    assert all(future.done() for future in futures)
    with pytest.raises(RuntimeError, match="after thread_pool.shutdown"):
        pool.submit(abs, -1)
    assert supervisor.put_task(abs, (-1,)).value(PATIENCE) == 1
    supervisor.set_thread_pool(pool_size=3)
    assert supervisor.thread_pool.submit(abs, -2).result(PATIENCE) == 2


def test_thread_pool_that_is_shut_down_cancels_futures_on_request(supervisor):
    supervisor.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0)
    pool, gate, began = supervisor.thread_pool, threading.Event(), threading.Event()
    first = pool.submit(lambda: began.set() or gate.wait(PATIENCE))
    assert began.wait(PATIENCE)
    second = pool.submit(abs, -1)
    pool.shutdown(wait=False, cancel_futures=True)
    gate.set()
    assert first.result(PATIENCE) and second.cancelled()


def test_future_of_thread_pool_that_is_cancelled_wakes_those_that_wait_for_it(supervisor):
    supervisor.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0)
    gate, began, ran = threading.Event(), threading.Event(), []
    first = supervisor.thread_pool.submit(lambda: began.set() or gate.wait(PATIENCE))
    assert began.wait(PATIENCE) and first.running() and not first.cancel()
    second = supervisor.thread_pool.submit(ran.append, 1)
    assert not second.running() and second.cancel()
    assert concurrent.futures.wait([second], PATIENCE).done == {second}
    gate.set()
    assert first.result(PATIENCE) and ran == []


def test_future_of_thread_pool_lends_the_slot_of_a_waiting_call(supervisor):
    supervisor.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0)
    pool = supervisor.thread_pool

    def count_down(number):
        return number and pool.submit(count_down, number - 1).result()

    assert pool.submit(count_down, 3).result(PATIENCE) == 0


def test_failed_call_of_thread_pool_counts_as_failed(supervisor):
    future = supervisor.thread_pool.submit(lambda: 1 / 0)
    assert isinstance(future.exception(PATIENCE), ZeroDivisionError)
    assert supervisor.stats().thread.failed == 1


def test_call_of_thread_pool_that_waits_for_itself_is_refused(supervisor):
    futures, made = [], threading.Event()

    def own():
        assert made.wait(PATIENCE)
        return futures[0].result()

    futures.append(supervisor.thread_pool.submit(own))
    made.set()
    assert isinstance(futures[0].exception(PATIENCE), WaitDeadlockError)


def test_future_of_thread_pool_ends_with_its_supervisor(make_supervisor):
    supervisor = make_supervisor(pool_size=1, reserve_normal=0, reserve_high=0)
    gate, began = threading.Event(), threading.Event()
    running = supervisor.thread_pool.submit(lambda: began.set() or gate.wait(PATIENCE))
    waiting = supervisor.thread_pool.submit(abs, -1)
    assert began.wait(PATIENCE)
    supervisor.stop(wait=0)
    gate.set()
    with pytest.raises(CancelledError):
        running.result(PATIENCE)
    assert waiting.cancelled()
