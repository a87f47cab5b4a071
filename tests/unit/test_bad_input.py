"""What cannot be is refused where it is passed, and the message says what to do."""
import asyncio
import functools
import sys
import types

import pytest

from atasker_like import (TT_COROUTINE, TT_MP, TT_THREAD, AsyncQueue, BackgroundWorker, Checkpoint,
                          FunctionCollection, InvalidArgumentError, InvalidTypeError, Lane,
                          ProcessExecutor, ProcessQueue, SQLiteBackend, TaskCollection, TaskOptions,
                          TaskSupervisor, ThreadExecutor, ThreadQueue, _checks, _modes, amap,
                          background_task, background_worker, co_mp_apply, current_task, run, tmap,
                          wait_completed)
from tests.support import PATIENCE
from tests.support.internals.engine import WARNED

from ..contract.functions import add, co_nothing


@pytest.mark.parametrize("bad", [5, "add", b"add", [], object()])
@pytest.mark.parametrize("submit", [
    lambda supervisor, bad: background_task(bad),
    lambda supervisor, bad: background_task(priority=5)(bad),
    lambda supervisor, bad: supervisor.put_task(bad),
    lambda supervisor, bad: supervisor.spawn_thread(bad),
    lambda supervisor, bad: supervisor.create_mp_pool(initializer=bad),
    lambda supervisor, bad: supervisor.put_task(add, callback=bad),
    lambda supervisor, bad: background_task(add, callback=bad),
], ids=["background_task", "decorator", "put_task", "spawn_thread", "initializer", "callback",
        "bound callback"])
def test_object_that_is_not_callable_is_refused(supervisor, submit, bad):
    kind = type(bad).__name__
    with pytest.raises(InvalidTypeError, match=f"takes a .*not (an? )?{kind}"):
        submit(supervisor, bad)
    assert supervisor.get_tasks() == {}


def test_thread_pool_submit_of_what_cannot_be_called(supervisor):
    with pytest.raises(TypeError, match="takes a function, not an int"):
        supervisor.thread_pool.submit(5)


@pytest.mark.parametrize("apply", [
    lambda **options: background_task(add, **options),
    lambda **options: background_task(**options)(add),
    lambda **options: background_task(add).options(**options),
], ids=["by hand", "decorator", "options"])
def test_unknown_option_is_refused_with_the_nearest_one(apply):
    with pytest.raises(InvalidTypeError, match="'priorty'; did you mean 'priority'"):
        apply(priorty=5)
    with pytest.raises(InvalidTypeError, match="'calback'; did you mean 'callback'"):
        apply(calback=print)


@pytest.mark.parametrize("apply", [
    lambda **options: background_task(add, **options),
    lambda **options: background_task(add).options(**options),
], ids=["by hand", "options"])
@pytest.mark.parametrize("options, name", [
    ({"timeout": 0}, "timeout"), ({"retries": -1}, "retries"), ({"delay": -1}, "delay"),
    ({"backoff": 0}, "backoff"), ({"priority": "high"}, "priority"),
    ({"delay": 1, "run_at": 1}, "run_at"),
])
def test_impossible_option_is_refused_by_name(apply, options, name):
    with pytest.raises((ValueError, TypeError), match=name):
        apply(**options)


class Incomparable:
    def __eq__(self, other):
        raise ZeroDivisionError


@pytest.mark.parametrize("give, error", [
    (lambda supervisor: SQLiteBackend(None), "path takes a path, not None"),
    (lambda supervisor: ThreadQueue(initializer=add, initargs=None), "initargs takes .*, not None"),
    (lambda supervisor: ThreadQueue(initializer=add, initargs="ab"),
     "initargs takes .*, not a str"),
    (lambda supervisor: ThreadExecutor(initializer=add, initargs=5, supervisor=supervisor),
     "initargs takes .*, not an int"),
    (lambda supervisor: supervisor.create_mp_pool(initializer=add, initargs=None),
     "initargs takes .*, not None"),
    (lambda supervisor: supervisor.set_mp_pool(initializer=add, initargs=5),
     "initargs takes .*, not an int"),
    (lambda supervisor: Lane("a", rate=1, burst=10 ** 400),
     "burst of lane 'a' takes .* that large"),
    (lambda supervisor: ThreadQueue(rate=1, burst=10 ** 400), "burst takes .* that large"),
    (lambda supervisor: supervisor.get_aloop([]), "name takes .*, not \\[\\]"),
    (lambda supervisor: supervisor.dump(file="x"), "file takes an open text file, not a str"),
    (lambda supervisor: ThreadQueue(mode=Incomparable()), "mode takes one of 'finite', 'infinite'"),
    (lambda supervisor: TaskOptions(must_complete="x"), "must_complete takes True or False"),
    (lambda supervisor: TaskOptions(detached=float("nan")), "detached takes True or False"),
    (lambda supervisor: TaskOptions(ignore_result=0), "ignore_result takes True or False, not 0"),
    (lambda supervisor: wait_completed([], strict="x"), "strict takes True or False"),
    (lambda supervisor: ThreadQueue(supervisor=supervisor).run(strict="x"),
     "strict takes True or False"),
    (lambda supervisor: supervisor.stop(drain="x"), "drain takes True or False"),
    (lambda supervisor: background_worker(add, e=0), "e takes True or False, not 0"),
    (lambda supervisor: background_worker(add, loop="x"), "loop= is for coroutine functions"),
    (lambda supervisor: background_worker(add, interval=1, loop="x"), "loop= is for coroutine"),
], ids=["path", "initargs", "initargs text", "executor", "create_mp_pool", "set_mp_pool", "lane",
        "burst", "get_aloop", "dump", "mode", "must_complete", "detached", "ignore_result",
        "strict", "run", "drain", "e", "loop", "interval loop"])
def test_wrong_type_or_value_is_refused_with_an_error_of_the_package(supervisor, give, error):
    with pytest.raises((InvalidTypeError, InvalidArgumentError), match=error) as caught:
        give(supervisor)
    if sys.version_info >= (3, 11):
        assert caught.traceback[-1].path == caught.traceback[0].path


def test_a_program_for_atasker_may_give_any_object_as_a_flag(supervisor, monkeypatch):
    monkeypatch.setattr(_modes, "legacy", True)
    background_worker(add, e=1, loop="x", supervisor=supervisor)
    assert TaskOptions(must_complete="x").must_complete is True
    supervisor.stop(drain=0)


def own_value():
    return current_task().value()


def test_current_task_in_a_process_names_what_it_lacks(supervisor):
    task = background_task(own_value, tt=TT_MP, supervisor=supervisor)()
    with pytest.raises(AttributeError, match="another process has no 'value'.*submitted it"):
        task.value(PATIENCE)


# -- coroutine functions that nothing would await --------------------------------------------------


class Calling:
    """A callable object whose call makes a coroutine."""

    async def __call__(self, *args, **kwargs):
        return None


@pytest.mark.parametrize("function", [co_nothing, functools.partial(co_nothing, 1), Calling()],
                         ids=["function", "partial", "object"])
@pytest.mark.parametrize("give", [
    lambda supervisor, bad: ThreadQueue(initializer=bad, supervisor=supervisor),
    lambda supervisor, bad: ProcessQueue(initializer=bad, supervisor=supervisor),
    lambda supervisor, bad: tmap(abs, [-1], initializer=bad, supervisor=supervisor),
    lambda supervisor, bad: ThreadQueue(on_start=bad, supervisor=supervisor),
    lambda supervisor, bad: AsyncQueue(on_start=bad, supervisor=supervisor),
    lambda supervisor, bad: AsyncQueue(on_complete=bad, supervisor=supervisor),
    lambda supervisor, bad: AsyncQueue(on_retry=bad, supervisor=supervisor),
    lambda supervisor, bad: background_task(add, callback=bad),
    lambda supervisor, bad: background_task(add).options(callback=bad),
    lambda supervisor, bad: background_task(co_nothing, callback=bad),
    lambda supervisor, bad: supervisor.put_task(add, callback=bad),
    lambda supervisor, bad: supervisor.spawn_thread(bad),
    lambda supervisor, bad: supervisor.create_mp_pool(initializer=bad),
    lambda supervisor, bad: supervisor.set_mp_pool(initializer=bad),
    lambda supervisor, bad: ThreadExecutor(initializer=bad, supervisor=supervisor),
    lambda supervisor, bad: ProcessExecutor(initializer=bad, supervisor=supervisor),
    lambda supervisor, bad: background_worker(abs, on_error=bad),
    lambda supervisor, bad: FunctionCollection(on_error=bad),
    lambda supervisor, bad: TaskCollection(on_error=bad),
    lambda supervisor, bad: tmap(abs, [1], checkpoint=Checkpoint(), key=bad,
                                 supervisor=supervisor),
    lambda supervisor, bad: ThreadQueue(supervisor=supervisor).group(
        abs, [1], checkpoint=Checkpoint(), key=bad),
], ids=["initializer", "of processes", "tmap", "on_start", "async on_start", "on_complete",
        "on_retry", "callback", "bound callback", "coroutine callback", "put_task", "spawn_thread",
        "create_mp_pool", "set_mp_pool", "executor", "process executor", "worker", "collection",
        "task collection", "key", "group key"])
def test_a_coroutine_function_that_nothing_awaits_is_refused(supervisor, give, function):
    with pytest.raises(InvalidTypeError, match="(?s)takes a plain function; .* is a coroutine "
                                               "function, whose call does nothing by itself; "
                                               "[a-z]"):
        give(supervisor, function)
    assert supervisor.get_tasks() == {}


def test_a_coroutine_function_as_a_done_callback_is_refused(supervisor):
    task = supervisor.put_task(add, (1, 2))
    with ThreadQueue(supervisor=supervisor) as queue:
        for handle in (task, task.future(), queue.submit(add, 1, 2)):
            with pytest.raises(InvalidTypeError, match="add_done_callback takes a plain function; "
                                                       "co_nothing is a coroutine function"):
                handle.add_done_callback(co_nothing)


def test_an_async_queue_awaits_its_initializer(supervisor):
    called = []

    async def connect():
        called.append(1)

    assert run(amap(asyncio.sleep, [(0, 2)], initializer=connect, supervisor=supervisor)) == (2,)
    assert called == [1]


@pytest.mark.parametrize("give", [
    lambda supervisor, bad: supervisor.put_task(add, (1, 2), callback=bad).value(PATIENCE),
    lambda supervisor, bad: background_task(add, callback=bad),
    lambda supervisor, bad: background_worker(abs, on_error=bad),
    lambda supervisor, bad: FunctionCollection(on_error=bad),
    lambda supervisor, bad: supervisor.create_mp_pool(initializer=bad),
], ids=["put_task", "callback", "worker", "collection", "create_mp_pool"])
@pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning")
def test_a_program_for_atasker_is_warned_of_a_coroutine_function_once(supervisor, give, caplog,
                                                                      monkeypatch):
    async def unawaited(*args):
        return None

    monkeypatch.setattr(_modes, "legacy", True)
    WARNED.patch(monkeypatch, _checks, set())
    for _ in range(2):
        give(supervisor, unawaited)
    assert [text for text in caplog.messages if "takes a plain function" in text
            and "unawaited is a coroutine function" in text] == caplog.messages[:1]


@pytest.mark.parametrize("options, name",
                         [({"priority": "high"}, "priority"), ({"priority": 1.5}, "priority"),
                          ({"delay": -1}, "delay"), ({"delay": "1"}, "delay")])
def test_impossible_options_of_put_task(supervisor, options, name):
    with pytest.raises((ValueError, TypeError), match=name):
        supervisor.put_task(add, (1,), **options)
    assert supervisor.get_tasks() == {}


@pytest.mark.parametrize("tt, place", [(TT_MP, "process"), (TT_THREAD, "thread")])
def test_a_coroutine_function_in_a_pool(supervisor, tt, place):
    for submit in (lambda: background_task(co_nothing, tt=tt),
                   lambda: supervisor.put_task(co_nothing, tt=tt),
                   lambda: background_task(co_nothing).options(tt=tt)):
        with pytest.raises(InvalidTypeError,
                           match=f"co_nothing is a coroutine function.*{place}.*asyncio.run"):
            submit()


def test_a_plain_function_in_a_loop(supervisor):
    with pytest.raises(InvalidTypeError, match="add is not a coroutine function.*async def"):
        background_task(add, tt=TT_COROUTINE)


@pytest.mark.parametrize("tt", [3, -1, "thread", 1.5])
def test_a_kind_that_does_not_exist(supervisor, tt):
    with pytest.raises(InvalidArgumentError, match="tt takes TT_THREAD, TT_MP or TT_COROUTINE"):
        supervisor.put_task(add, tt=tt)
    with pytest.raises(InvalidArgumentError, match="tt takes"):
        background_task(add, tt=tt)


def test_a_supervisor_that_is_none(supervisor):
    with pytest.raises(InvalidTypeError, match="supervisor takes a TaskSupervisor, not str"):
        background_task(add, supervisor="default")
    with pytest.raises(InvalidTypeError, match="supervisor takes a TaskSupervisor, not str"):
        background_task(add).options(supervisor="default")


# -- sizes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name",
                         ["pool_size", "reserve_normal", "reserve_high", "min_size", "max_size"])
def test_thread_pool_sizes_below_zero(supervisor, name):
    with pytest.raises(InvalidArgumentError,
                       match=f"{name} of the thread pool takes an integer 0 or more, not -1"):
        supervisor.set_thread_pool(**{name: -1})


@pytest.mark.parametrize("name", ["pool_size", "reserve_normal", "reserve_high", "min_size"])
def test_process_pool_sizes_below_zero(supervisor, name):
    with pytest.raises(InvalidArgumentError,
                       match=f"{name} of the process pool takes an integer 0 or more, not -1"):
        supervisor.set_mp_pool(**{name: -1})
    assert supervisor.mp_pool is None


@pytest.mark.parametrize("name", ["pool_size", "reserve_normal", "reserve_high"])
@pytest.mark.parametrize("bad", ["5", 1.5, True, [1]])
def test_sizes_that_are_no_integers(supervisor, name, bad):
    for method in (supervisor.set_thread_pool, supervisor.set_mp_pool, TaskSupervisor):
        with pytest.raises(InvalidTypeError, match=f"{name} of the .* pool takes an integer"):
            method(**{name: bad})


@pytest.mark.parametrize("name", ["pool_size", "reserve_normal", "reserve_high"])
def test_sizes_of_the_constructor_below_zero(name):
    with pytest.raises(InvalidArgumentError, match=name):
        TaskSupervisor(**{name: -1})


@pytest.mark.parametrize("processes", [-1, "2", 1.5])
def test_processes_of_create_mp_pool(supervisor, processes):
    with pytest.raises((ValueError, TypeError), match="process"):
        supervisor.create_mp_pool(processes=processes)


def test_min_size_above_max_size(supervisor):
    with pytest.raises(ValueError, match=r"min_size \(5\).*above max_size \(3\)"):
        supervisor.set_thread_pool(min_size=5, max_size=3)
    supervisor.set_thread_pool(min_size=3, max_size=5)
    with pytest.raises(ValueError, match="min_size"):
        supervisor.set_thread_pool(max_size=2)


def test_a_refused_size_changes_nothing(supervisor):
    supervisor.set_thread_pool(pool_size=3)
    with pytest.raises(ValueError):
        supervisor.set_thread_pool(pool_size=5, reserve_high=-1)
    assert supervisor.get_info().thread_pool_size == 3


@pytest.mark.parametrize("bad", ["minimum", 1.5, True])
def test_min_size_is_a_number_or_max(supervisor, bad):
    with pytest.raises((ValueError, TypeError), match="min_size"):
        supervisor.set_thread_pool(min_size=bad)


@pytest.mark.parametrize("bad", [0, -1, "5", 1.5])
def test_impossible_maxtasksperchild_is_refused(supervisor, bad):
    with pytest.raises((ValueError, TypeError), match="maxtasksperchild takes an integer"):
        supervisor.create_mp_pool(maxtasksperchild=bad)


@pytest.mark.parametrize("bad, error",
                         [(0, ValueError), (-1, ValueError), ("5", TypeError), (1.5, TypeError),
                          (True, TypeError)])
def test_impossible_buffersize_is_refused(bad, error):
    with pytest.raises(error, match="buffersize"):
        background_task(add).map([1], buffersize=bad)


# -- failed on that task alone ---------------------------------------------------------------------


def test_arguments_that_do_not_fit_fail_the_task(supervisor):
    task = supervisor.put_task(add, (1, 2, 3))
    assert type(task.exception(10)) is TypeError
    assert "positional argument" in str(task.exception())
    assert supervisor.put_task(add, (1,)).value(10) == 1


def test_a_lambda_in_the_process_pool(supervisor):
    supervisor.set_mp_pool(pool_size=1)
    bad = background_task(lambda: 1, tt=TT_MP, supervisor=supervisor)()
    good = background_task(add, tt=TT_MP, supervisor=supervisor)(1)
    with pytest.raises(Exception, match="define it at the top level of a module"):
        bad.value(10)
    assert good.value(20) == 1


def test_map_of_what_cannot_be_iterated():
    with pytest.raises(TypeError, match="map takes an iterable of items, not an int"):
        background_task(add).map(5)


# -- functions whose call runs nothing -------------------------------------------------------------


def count(*_):
    yield 1


async def acount(*_):
    yield 1


class Counting:
    def __call__(self):
        yield 1

    def method(self):
        yield 1


WAYS = {
    "background_task": lambda supervisor,
    function: background_task(function, supervisor=supervisor),
    "decorator": lambda supervisor,
    function: background_task(priority=1, supervisor=supervisor)(function),
    "put_task": lambda supervisor, function: supervisor.put_task(function),
    "a ThreadQueue": lambda supervisor,
    function: ThreadQueue(supervisor=supervisor).submit(function),
    "map of a ThreadQueue": lambda supervisor,
    function: ThreadQueue(supervisor=supervisor).map(function, [1]),
    "task() of a ThreadQueue": lambda supervisor,
    function: ThreadQueue(supervisor=supervisor).task()(function),
    "with an initializer": lambda supervisor,
    function: ThreadQueue(supervisor=supervisor, initializer=len, initargs=("",),
                          fail_policy="fail_first").submit(function),
    "an AsyncQueue": lambda supervisor,
    function: AsyncQueue(supervisor=supervisor).task()(function),
    "background_worker": lambda supervisor,
    function: background_worker(function, supervisor=supervisor),
    "an interval worker": lambda supervisor,
    function: background_worker(interval=1, supervisor=supervisor)(function),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("function",
                         [count, functools.partial(count, 1), Counting(), Counting().method,
                          acount],
                         ids=["function", "partial", "object", "method", "async"])
def test_generator_function_is_refused_with_the_way_out(supervisor, way, function):
    text = "is an async generator function: .* with 'async for'" if function is acount else (
        r"is a generator function: a call only makes a generator.* such as lambda: list\(")
    with pytest.raises(InvalidTypeError, match=text):
        WAYS[way](supervisor, function)
    assert supervisor.get_tasks() == {}


@pytest.mark.parametrize("function", [count, acount])
def test_generator_function_in_a_process_is_refused(supervisor, function):
    with pytest.raises(InvalidTypeError, match="generator function"):
        background_task(function, tt=TT_MP, supervisor=supervisor)
    with pytest.raises(InvalidTypeError, match="generator function"):
        ProcessQueue(supervisor=supervisor).submit(function)
    with pytest.raises(InvalidTypeError, match="generator function"):
        asyncio.run(co_mp_apply(function, supervisor=supervisor))
    assert supervisor.get_tasks() == {}


def test_worker_class_with_a_generator_as_run_is_refused_at_its_start(supervisor):
    class Worker(BackgroundWorker):
        def run(self):
            yield 1

    with pytest.raises(InvalidTypeError, match="Worker.run is a generator function"):
        Worker(supervisor=supervisor).start()


def test_coroutine_in_the_old_style_is_no_generator_function(supervisor):
    @types.coroutine
    def old():
        yield from asyncio.sleep(0).__await__()
        return 3

    assert background_task(old, supervisor=supervisor)().value(10) == 3


@pytest.mark.skipif(sys.version_info >= (3, 11), reason="asyncio.coroutine is gone")
@pytest.mark.filterwarnings("ignore:.*@coroutine:DeprecationWarning")
def test_coroutine_of_asyncio_in_the_old_style_is_no_generator_function(supervisor):
    @asyncio.coroutine
    def old():
        yield from asyncio.sleep(0).__await__()
        return 3

    assert background_task(old, supervisor=supervisor)().value(10) == 3


def test_class_as_a_function_gives_an_instance(supervisor):
    class Report:
        def __init__(self, title):
            self.title = title

        def __iter__(self):
            yield self.title

    report = background_task(Report, supervisor=supervisor)("costs").value(10)
    assert type(report) is Report and list(report) == ["costs"]
