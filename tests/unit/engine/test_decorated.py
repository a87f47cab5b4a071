"""What a decorator makes: how it is recognised, what it looks like, and how it is copied and
sent."""
import asyncio
import copy
import functools
import gc
import pickle
import queue
import weakref
from unittest import mock

import pytest

from atasker_like import (TASK_HIGH, TASK_LOW, TT_COROUTINE, TT_MP, FunctionCollection,
                          InvalidTypeError, Lane, Locker, ProcessQueue, TaskCollection,
                          TaskPicklingError, ThreadQueue, background_task, background_worker, tmap,
                          wait_completed)
from tests.support.internals.engine import function_of, spec_of
from tests.unit import decorated_functions as functions
from tests.unit.decorated_functions import Account, Multiplier, Savings, area, square


class EveryName:
    """A callable that answers to every attribute with another of its kind, as remote proxies do."""

    def __getattr__(self, name):
        return EveryName()

    def __call__(self, *args, **kwargs):
        return 5


class Mute:
    """A callable of which no attribute can be read."""

    def __getattribute__(self, name):
        raise ConnectionError(name)

    def __call__(self, *args, **kwargs):
        return 5


class OurNames:
    """A callable whose attributes have the names of the library's own."""

    is_worker = is_bound_task = func = handles = task = True

    def __init__(self):
        vars(self).update(dict.fromkeys((
            "_function", "_queue", "_spec", "_start", "_supervisor", "_task", "_with", "__doc__",
            "__module__",
            "__name__", "__qualname__", "__wrapped__", "initargs", "initializer", "map", "options",
            "queue", "ready",
            "starmap"), 7))

    def __call__(self, *args, **kwargs):
        return 5


def run_in_a_queue(supervisor, function, **settings):
    tasks = ThreadQueue(supervisor=supervisor, **settings)
    tasks.submit(function, 1)
    tasks.group([(function, 1)])
    return tasks.run().values[0]


def run_in_a_collection(kind, function):
    collection = kind()
    collection.append(function)
    value, = collection.run().values()
    return value


def run_in_a_worker(supervisor, function):
    worker = background_worker(function, q=queue.Queue, supervisor=supervisor, on_error=function)
    worker.start()
    worker.put_threadsafe(1)
    worker.get_queue_obj().join()
    worker.stop()
    stats = worker.stats()
    return 5 if (stats.runs, stats.failures) == (1, 0) else stats


WAYS = {
    "a task": lambda supervisor, f: background_task(f, supervisor=supervisor)(1).value(10),
    "options": lambda supervisor,
    f: background_task(f, supervisor=supervisor).options(priority=1)(1).value(10),
    "map": lambda supervisor, f: list(background_task(f, supervisor=supervisor).map([1]))[0],
    "put_task": lambda supervisor, f: supervisor.put_task(f, (1,)).value(10),
    "thread_pool": lambda supervisor, f: supervisor.thread_pool.submit(f, 1).result(10),
    "spawn_thread": lambda supervisor, f: supervisor.spawn_thread(f, (1,)).result(10),
    "a queue": run_in_a_queue,
    "an initializer": lambda supervisor, f: run_in_a_queue(supervisor, f, initializer=f),
    "fail_first": lambda supervisor, f: run_in_a_queue(supervisor, f, fail_policy="fail_first"),
    "tmap": lambda supervisor, f: tmap(f, [1], supervisor=supervisor)[0],
    "a worker": run_in_a_worker,
    "a collection": lambda supervisor, f: run_in_a_collection(FunctionCollection, f),
    "a collection of tasks": lambda supervisor, f: run_in_a_collection(TaskCollection, f),
    "a Locker": lambda supervisor, f: Locker("tests")(f)(1),
    "a method": lambda supervisor,
    f: type("Holder", (), {"run": background_task(f, supervisor=supervisor)})().run(1).value(10),
}

STRANGERS = {"a mock": lambda: mock.Mock(return_value=5),
             "a magic mock": lambda: mock.MagicMock(return_value=5),
             "a mock of a task": lambda: mock.Mock(spec=area, return_value=5),
             "every name": EveryName, "mute": Mute,
             "our names": OurNames}


@pytest.mark.parametrize("stranger", STRANGERS)
@pytest.mark.parametrize("way", WAYS)
def test_callable_with_foreign_attributes_runs_as_a_function(supervisor, way, stranger):
    assert WAYS[way](supervisor, STRANGERS[stranger]()) == 5


def test_mock_is_called_with_the_arguments_of_the_task(supervisor):
    function = mock.Mock(return_value=5)
    background_task(function, supervisor=supervisor)(1, name=2).value(10)
    function.assert_called_once_with(1, name=2)


def test_mock_as_a_scheduler_is_stopped_as_any_scheduler(make_supervisor):
    supervisor = make_supervisor()
    scheduler = mock.Mock()
    supervisor.start()
    supervisor.register_sync_scheduler(scheduler)
    supervisor.stop(wait=10)
    scheduler.stop.assert_called_once()
    scheduler.end.assert_not_called()


def test_async_mock_runs_in_a_loop(supervisor):
    task = background_task(mock.AsyncMock(return_value=5), supervisor=supervisor)(1)
    assert (task.tt, task.value(10)) == (TT_COROUTINE, 5)


@pytest.mark.parametrize("stranger", ["a magic mock", "a mock of a task", "every name"])
def test_wait_for_a_foreign_object_raises(stranger):
    with pytest.raises(InvalidTypeError, match="wait_completed takes a task"):
        wait_completed([STRANGERS[stranger]()])


# -- looks -----------------------------------------------------------------------------------------


def test_attributes_of_the_function_do_not_hide_those_of_the_task():
    assert area.note == "kept"
    task = area.options(priority=TASK_LOW, tt=None)(3)
    assert (task.value(10), task.priority) == (9, TASK_LOW)


def test_wraps_of_a_task_makes_an_ordinary_wrapper(supervisor):
    @background_task(supervisor=supervisor)
    def inner(n):
        return "inner", n

    @functools.wraps(inner)
    def plain(n):
        return "outer", inner(n).value(10)

    plain.__name__ = plain.__qualname__ = "renamed"
    outer = background_task(plain, supervisor=supervisor)
    assert outer(1).value(10) == ("outer", ("inner", 1))
    assert plain(2) == ("outer", ("inner", 2))
    assert (repr(outer), outer.__name__) == ("<background_task renamed>", "renamed")
    assert plain.__wrapped__ is inner


def test_class_method_decorated_twice_stays_one():
    class Once:
        run = background_task(background_task(classmethod(lambda cls: cls)))

    assert Once.run().value(10) is Once
    assert Once().run().value(10) is Once


# -- copies ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy], ids=["copy", "deepcopy"])
def test_copy_of_a_task_keeps_its_options(copied):
    named = background_task(lambda: 1).options(name="named", timeout=5)
    again = copied({"job": named})["job"]
    task = again()
    assert (task.value(10), task.name, task.options.timeout) == (1, "named", 5)


def test_deep_copy_of_a_method_belongs_to_the_copied_object():
    account = Account([100])
    copied = copy.deepcopy({"method": account.add.options(name="named"), "account": account})
    copied["account"].money.append(1)
    task = copied["method"](2)
    assert (task.value(10), task.name) == (([100, 1], 2), "named")
    assert account.money == [100]


def test_copy_of_a_task_of_a_queue_submits_to_the_same_queue():
    tasks = ThreadQueue()
    double = tasks.task(priority=1)(lambda n: 2 * n)
    copy.deepcopy([double])[0](2)
    assert tasks.run().values == (4,)


# -- pickles ---------------------------------------------------------------------------------------


def by_pickle(thing):
    return pickle.loads(pickle.dumps(thing))


@pytest.mark.parametrize("task",
                         [area, square, functions.below_both, functions.queued, Account.add,
                          Savings.owner],
                         ids=repr)
def test_pickled_task_found_by_its_name_is_that_task(task):
    assert function_of(by_pickle(task)) == function_of(task)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickled_task_keeps_its_options(protocol):
    task = pickle.loads(pickle.dumps(area.options(name="named", priority=TASK_HIGH, tt=None),
                                     protocol))(3)
    assert (task.value(10), task.name, task.priority) == (9, "named", TASK_HIGH)


def test_pickled_task_of_an_undecorated_name_keeps_its_options():
    task = by_pickle(background_task(functions.traced, name="named", priority=1, callback=print))
    assert function_of(task) is functions.traced
    spec = spec_of(task)
    assert (spec.name, spec.priority, spec.callback) == ("named", 1, print)


def test_pickled_task_names_its_lane(supervisor):
    background_task(len).options(lane="tests of pickles")
    task = by_pickle(background_task(functions.call_and_look, lane="tests of pickles"))
    assert spec_of(task).lane.name == "tests of pickles"


def test_pickled_task_with_a_lane_of_no_name_raises():
    with pytest.raises(TaskPicklingError, match="lane"):
        pickle.dumps(background_task(functions.call_and_look, lane=Lane("mine", limit=1)))


def test_pickled_task_of_a_queue_with_a_local_function_raises():
    with pytest.raises(TaskPicklingError, match="top level of a module"):
        pickle.dumps(ThreadQueue().task()(lambda: 1))


METHODS = [
    (Account(100).add, (100, 5)), (Savings(7).add, (7, 5)), (Account.owner, ("Account", 5)),
    (Savings.owner, ("Savings", 5)), (Savings(1).owner, ("Savings", 5)), (Account(1).fixed, 5),
    (background_task(Account(3).plain), (3, 5)),
    (Account(4).add.options(name="named", priority=7), (4, 5)),
]


def test_pickled_method_keeps_its_object_and_its_options():
    for method, value in METHODS:
        made = by_pickle(method)(5)
        assert ((made.value(10), made.name, made.priority)
                == (value, spec_of(method).name, spec_of(method).priority))


@pytest.mark.slow
def test_method_sent_to_a_process_keeps_its_object_and_its_options():
    look = background_task(functions.call_and_look, tt=TT_MP)
    looks = [(look(method, 5), value, spec_of(method)) for method, value in METHODS]
    for task, value, spec in looks:
        assert task.value(30) == (value, spec.name, spec.priority)


def test_task_of_a_queue_sent_to_a_process_submits_to_the_queue_there():
    call = background_task(functions.call_queued, tt=TT_MP)
    assert call(functions.queued, 5).value(30) == 6
    assert call(Account(5).queued, 1).value(30) == (5, 1)


@pytest.mark.slow
def test_functions_below_decorators_run_in_processes():
    stack = functions.in_a_stack.__wrapped__
    for task, value in [
        (square(3), 9),
        (background_task(functions.cube, tt=TT_MP)(3), 27),
        (functions.below_both(3), ("traced", 3)),
        (background_task(functions.below_both.__wrapped__.__wrapped__, tt=TT_MP)(3), 3),
        (background_task(functions.between.__wrapped__.__wrapped__, tt=TT_MP)(3), 3),
        (functions.in_a_stack(3), ("traced", ("traced", 3))),
        (background_task(stack.__wrapped__.__wrapped__, tt=TT_MP)(3), ("traced", 3)),
        (background_task(functools.partial(area.__wrapped__, 3), tt=TT_MP)(), 9),
        (background_task(functools.partial(square.__wrapped__, n=3), tt=TT_MP)(), 9),
        (background_task(Multiplier(3), tt=TT_MP)(3), 9),
        (Account(5).count(), 5),
        (Savings(5).count.options(name="named")(), 5),
    ]:
        assert task.value(30) == value


def test_caller_of_a_task_below_a_wrapper_gets_the_task():
    word, task = functions.between(3)
    assert (word, task.value(30)) == ("traced", 3)


@pytest.mark.slow
@pytest.mark.parametrize("initializer", [None, functions.initialize])
def test_functions_below_decorators_run_in_a_queue_of_processes(initializer):
    tasks = ProcessQueue(initializer=initializer)
    for function in (functions.queued, square, functions.in_a_stack, Multiplier(2)):
        tasks.submit(function, 3)
    assert tasks.run(strict=True).values == (4, 9, ("traced", ("traced", 3)), 6)


def test_method_of_a_changing_object_is_sent_as_it_is_at_each_call():
    for table in ({}, {"a": 0}):
        look_up = background_task(table.get, tt=TT_MP)
        assert look_up("x").value(30) is None
        table["x"] = 1
        assert look_up("x").value(30) == 1


@pytest.mark.parametrize("method", [bytearray().__len__, [].copy, set().copy, Account(0).plain],
                         ids=repr)
def test_method_of_an_empty_object_is_not_kept_by_processes(method):
    from atasker_like.pools.process.child import is_stateless

    assert not is_stateless(method)
    assert is_stateless(len) and is_stateless(functions.initialize) and is_stateless(functions.cube)


def test_method_task_is_forgotten_with_its_object():
    account = Account(1)
    account.add(1).value(10)
    gone = weakref.ref(account)
    del account
    gc.collect()
    assert gone() is None


def test_coroutine_passed_to_a_loop_is_recognised_by_its_type(supervisor):
    supervisor.create_aloop("mine")
    with pytest.raises(InvalidTypeError, match="takes a coroutine"):
        supervisor.get_aloop("mine").background_task(EveryName())
    assert supervisor.get_aloop("mine").background_task(asyncio.sleep(0, 5)).value(10) == 5


def test_loop_is_recognised_by_its_type(supervisor):
    async def body():
        pass

    with pytest.raises(InvalidTypeError, match="loop takes"):
        background_task(body, supervisor=supervisor, loop=mock.Mock())()
