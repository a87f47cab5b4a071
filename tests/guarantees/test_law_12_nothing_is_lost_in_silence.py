"""Law 12. Nothing is lost in silence: an error that nobody looked at is logged before logging is
shut down, a wait that provably cannot end raises, and one that only other code can end warns."""
import asyncio
import gc
import inspect
import os
import subprocess
import sys
import textwrap
import threading
import types

import pytest

from atasker_like import (TT_COROUTINE, AsyncQueue, PoolBrokenError, ProcessQueue,
                          TaskCancelledError, ThreadExecutor, ThreadQueue, WaitDeadlockError,
                          WaitTimeoutError, as_completed, background_task, co_as_completed,
                          co_wait_completed, current_task, loops, wait_completed)
from atasker_like.engine import result, wait_graph
from tests.support import PATIENCE, ROOT
from tests.support.internals.engine import failures, group_waiters_of, outcome_of, task_waiters_of
from tests.support.internals.wait_graph import (forget_warnings, runs_under_way,
                                                waits_of_coroutines, waits_of_loops,
                                                waits_of_threads)
from tests.support.threads import join, started, wait_for

pytestmark = pytest.mark.usefixtures("told")


def first_of(tasks):
    return next(iter(as_completed(tasks)))


async def co_first_of(tasks):
    async for task in co_as_completed(tasks):
        return task


BLOCKING = {
    "value": lambda task: task.value(),
    "exception": lambda task: task.exception(),
    "wait": lambda task: task.wait(),
    "completed.wait": lambda task: task.completed.wait(),
    "wait_completed": wait_completed,
    "wait_completed of many": lambda task: wait_completed([task]),
    "wait_completed with progress": lambda task: wait_completed([task], progress=True),
    "as_completed": lambda task: first_of([task]),
}
AWAITING = {
    "await": lambda task: task,
    "co_wait_completed": co_wait_completed,
    "co_as_completed": lambda task: co_first_of([task]),
    "as_completed": lambda task: as_completed([task]).__anext__(),
}


def error_of(task):
    error = task.exception(PATIENCE)
    assert type(error) is WaitDeadlockError, error
    return str(error)


class Circle:
    """Tasks that each wait for the next one, when all of them have started."""

    def __init__(self, supervisor, *ways, **options):
        self.tasks = []
        self.ready = threading.Event()
        self.supervisor = supervisor
        for place, way in enumerate(ways):
            function = self.in_a_loop if inspect.iscoroutinefunction(way) else self.in_a_thread
            bound = background_task(function, supervisor=supervisor, name="abcdef"[place],
                                    **options)
            self.tasks.append(bound(way, (place + 1) % len(ways)))
        for task in self.tasks:
            assert task.started.wait(PATIENCE)
        self.ready.set()

    def in_a_thread(self, way, following):
        assert self.ready.wait(PATIENCE)
        return way(self.tasks[following])

    async def in_a_loop(self, way, following):
        while not self.ready.is_set():
            await asyncio.sleep(0)
        return await way(self.tasks[following])

    def errors(self):
        """The errors of all tasks, which end, and of which one is the first cause."""
        errors = [task.exception(PATIENCE) for task in self.tasks]
        assert any(type(error) is WaitDeadlockError for error in errors), errors
        return errors

    def end(self):
        for task in self.tasks:
            task.mark_completed()


def in_a_loop(way):
    async def wait(task):
        return await way(task)
    return wait


# -- for itself ------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", BLOCKING)
def test_thread_task_that_waits_for_itself_gets_an_error(make_supervisor, way, capsys):
    own = background_task(lambda: BLOCKING[way](current_task()), supervisor=make_supervisor(),
                          name="own")
    assert "task own (" in error_of(own()) and "waits for itself" in error_of(own())


@pytest.mark.parametrize("way", AWAITING)
def test_coroutine_task_that_waits_for_itself_gets_an_error(make_supervisor, way):
    async def own():
        return await AWAITING[way](current_task())

    assert "own (" in error_of(background_task(own, supervisor=make_supervisor())())


def test_coroutine_task_that_blocks_for_itself_gets_an_error(make_supervisor):
    async def own():
        return current_task().value()

    assert "use 'await'" in error_of(background_task(own, supervisor=make_supervisor())())


# -- in a circle -----------------------------------------------------------------------------------


@pytest.mark.parametrize("way", BLOCKING)
def test_two_thread_tasks_in_a_circle_get_an_error_that_names_it(make_supervisor, way, capsys):
    circle = Circle(make_supervisor(), BLOCKING[way], lambda task: task.value())
    text = str(next(error for error in circle.errors() if error is not None))
    assert "in a circle: task a (" in text or "in a circle: task b (" in text
    assert text.count("task a (") + text.count("task b (") == 3


@pytest.mark.parametrize("way", AWAITING)
def test_two_coroutine_tasks_in_a_circle_get_an_error_that_names_it(make_supervisor, way):
    circle = Circle(make_supervisor(), in_a_loop(AWAITING[way]), in_a_loop(AWAITING["await"]))
    text = str(next(error for error in circle.errors() if error is not None))
    assert "in a circle: task " in text and "task a (" in text and "task b (" in text


@pytest.mark.parametrize("size", [2, 3, 6])
@pytest.mark.parametrize("first_in_loop", [False, True])
def test_circle_across_threads_and_coroutines_gets_an_error(make_supervisor, size, first_in_loop,
                                                            told):
    ways = [in_a_loop(AWAITING["await"]) if place % 2 == first_in_loop else BLOCKING["value"]
            for place in range(size)]
    circle = Circle(make_supervisor(), *ways)
    errors = circle.errors()
    assert all(type(error) is WaitDeadlockError for error in errors)
    assert all(f"task {name} (" in str(errors[0]) for name in "abcdef"[:size])
    assert not told("circle")


def test_circle_across_two_loops_gets_an_error(make_supervisor):
    supervisor = make_supervisor()
    tasks, ready = {}, threading.Event()

    async def one(other):
        while not ready.is_set():
            await asyncio.sleep(0)
        return await tasks[other]

    for name in "ab":
        loop = supervisor.create_aloop(name)
        tasks[name] = background_task(one, supervisor=supervisor, loop=loop,
                                      name=name)("ba"["ab".index(name)])
    ready.set()
    assert "in a circle" in error_of(tasks["a"]) and "in a circle" in error_of(tasks["b"])


def test_circle_through_a_queue_that_a_task_runs_gets_an_error(make_supervisor):
    supervisor = make_supervisor()
    handles = []

    def parent():
        own = current_task()
        queue = ThreadQueue(supervisor=supervisor)
        handles.append(queue.submit(lambda: own.value()))
        queue.run()

    task = background_task(parent, supervisor=supervisor)()
    # The one whose wait comes last gets the error. If that is the parent, the other one gets it
    # from there.
    errors = [task.exception(PATIENCE), handles[0].wait(PATIENCE).exception]
    assert type(errors[1]) is WaitDeadlockError and errors[0] in (None, errors[1])


def test_many_circles_at_once_all_end(make_supervisor):
    supervisor = make_supervisor(pool_size=0)
    circles = [Circle(supervisor, BLOCKING["value"], BLOCKING["wait_completed"]) for _ in range(50)]
    for circle in circles:
        circle.errors()


# -- in the loop that the task needs ---------------------------------------------------------------


@pytest.mark.parametrize("way", BLOCKING)
def test_blocking_wait_in_the_loop_that_the_task_needs_gets_an_error(make_supervisor, way, capsys,
                                                                     told):
    supervisor = make_supervisor()

    async def inner():
        return 1

    async def outer():
        return BLOCKING[way](background_task(inner, supervisor=supervisor)())

    text = error_of(background_task(outer, supervisor=supervisor)())
    assert "outer (" in text and "inner (" in text and text.endswith("use 'await' in code that "
                                                                     "runs in a loop")
    assert not told("blocks the event loop")


def test_wait_for_the_start_of_a_task_in_its_own_loop_gets_an_error(make_supervisor):
    supervisor = make_supervisor()

    async def inner():
        return 1

    async def outer():
        return background_task(inner, supervisor=supervisor)().started.wait()

    error_of(background_task(outer, supervisor=supervisor)())


def test_blocking_wait_in_a_loop_of_the_application_gets_an_error(make_supervisor):
    supervisor = make_supervisor()

    async def inner():
        return 1

    async def main():
        bound = background_task(inner, supervisor=supervisor, loop=asyncio.get_running_loop())
        task = bound()
        with pytest.raises(WaitDeadlockError, match="the code waits for task .*inner .*event loop "
                                                    "that the code blocks"):
            task.value()
        return await task

    assert asyncio.run(main()) == 1


def test_blocking_wait_for_a_thread_that_needs_the_loop_gets_an_error(make_supervisor):
    supervisor = make_supervisor()

    async def inner():
        return 1

    async def outer():
        child = background_task(inner, supervisor=supervisor)()
        thread = background_task(lambda: child.value(), supervisor=supervisor, name="thread")()
        return thread.value()

    assert "thread (" in error_of(background_task(outer, supervisor=supervisor)())


# -- through ALoop.run() and executors' threads ----------------------------------------------------


def value_of(thread):
    outcome = join(thread)
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


async def until(condition):
    while not condition():
        await asyncio.sleep(0)


LAST = pytest.mark.parametrize("last", ["the coroutine", "the other"])


@LAST
def test_circle_through_the_run_of_a_loop_gets_an_error(make_supervisor, last, told):
    """A task in a thread blocks for a coroutine, which awaits a task that waits for the first
    one."""
    supervisor = make_supervisor()
    aloop = supervisor.create_aloop("a")
    tasks, ready = {}, threading.Event()

    async def inner():
        await until(lambda: last == "the other" or tasks["other"] in waits_of_threads())
        return await tasks["other"]

    def caller():
        assert ready.wait(PATIENCE)
        return aloop.run(inner())

    def other():
        assert ready.wait(PATIENCE)
        wait_for(lambda: last == "the coroutine" or waits_of_coroutines(), "the await")
        return tasks["caller"].value()

    for function in caller, other:
        tasks[function.__name__] = background_task(function, supervisor=supervisor)()
    ready.set()
    for task in tasks.values():
        text = error_of(task)
        assert "in a circle" in text and "caller (" in text and "other (" in text
    assert not told("circle") and not runs_under_way()


def test_circle_through_a_loop_that_blocks_for_another_loop_gets_an_error(make_supervisor):
    """A coroutine blocks its loop for one in another loop, which awaits a task of the blocked
    loop."""
    supervisor = make_supervisor()
    one, other = supervisor.create_aloop("one"), supervisor.create_aloop("other")

    async def needs_one():
        return 1

    async def inner():
        return await background_task(needs_one, supervisor=supervisor, loop=one)()

    async def outer():
        return other.run(inner())

    text = error_of(background_task(outer, supervisor=supervisor, loop=one)())
    assert "outer (" in text and "needs_one (" in text and text.endswith("use 'await' in code that "
                                                                         "runs in a loop")


def test_code_that_blocks_a_loop_for_another_loop_that_needs_it_gets_an_error(make_supervisor):
    supervisor = make_supervisor()
    other = supervisor.create_aloop("other")

    async def needs_it():
        return 1

    async def main():
        bound = background_task(needs_it, supervisor=supervisor, loop=asyncio.get_running_loop())

        async def inner():
            return await bound()

        with pytest.raises(WaitDeadlockError, match="coroutine inner,?( which)? waits for task "
                                                    ".*needs_it .*which needs the event loop"):
            other.run(inner())

    asyncio.run(main())


@LAST
def test_wait_that_blocks_the_loop_whose_run_the_task_waits_for_gets_an_error(make_supervisor,
                                                                              last):
    supervisor = make_supervisor()
    aloop = supervisor.create_aloop("a")
    tasks, ready, ended = {}, threading.Event(), threading.Event()

    async def inner():
        await until(ended.is_set)

    def caller():
        assert ready.wait(PATIENCE)
        wait_for(lambda: last == "the coroutine" or waits_of_loops(), "a blocked loop")
        return aloop.run(inner())

    async def blocks():
        await until(lambda: ready.is_set() and (last == "the other"
                                                or tasks["caller"] in waits_of_threads()))
        return tasks["caller"].value()

    tasks["caller"] = background_task(caller, supervisor=supervisor)()
    tasks["blocks"] = background_task(blocks, supervisor=supervisor, loop=aloop)()
    ready.set()
    text = error_of(tasks["blocks"])
    assert "caller (" in text and text.endswith("use 'await' in code that runs in a loop")
    ended.set()
    assert last == "the coroutine" or error_of(tasks["caller"]) == text
    assert tasks["caller"].exception(PATIENCE) is None or last == "the other"


@pytest.mark.parametrize("way", ["tasks", "runs"])
def test_loops_that_block_for_each_other_get_an_error(make_supervisor, way):
    """A coroutine in each of two loops blocks for a coroutine in the other loop."""
    supervisor = make_supervisor()
    loops_of = [supervisor.create_aloop("left"), supervisor.create_aloop("right")]
    both = threading.Barrier(2)

    async def leaf():
        return 1

    async def blocks(other):
        both.wait(PATIENCE)
        return other.run(leaf())

    if way == "tasks":
        tasks = [background_task(blocks, supervisor=supervisor, loop=here)(other)
                 for here, other in (loops_of, loops_of[::-1])]
        ends = [task.exception(PATIENCE) for task in tasks]
    else:
        threads = [started(here.run, blocks(other)) for here, other in (loops_of, loops_of[::-1])]
        ends = [end if isinstance(end, Exception) else None for end in map(join, threads)]
    error = next(error for error in ends if error is not None)
    assert type(error) is WaitDeadlockError and ends.count(None) <= 1
    assert str(error).count("coroutine leaf, which needs the event loop that ") == 2


@LAST
def test_stop_of_a_loop_that_blocks_for_the_stopping_task_gets_an_error(make_supervisor, last):
    supervisor = make_supervisor()
    aloop = supervisor.create_aloop("a")
    tasks, ready = {}, threading.Event()

    def stops():
        assert ready.wait(PATIENCE)
        wait_for(lambda: last == "the coroutine" or waits_of_loops(), "a blocked loop")
        aloop.stop()

    async def blocks():
        await until(lambda: ready.is_set() and (last == "the other"
                                                or tasks["stops"] in waits_of_threads()))
        return tasks["stops"].value()

    tasks["stops"] = background_task(stops, supervisor=supervisor)()
    tasks["blocks"] = background_task(blocks, supervisor=supervisor, loop=aloop)()
    ready.set()
    text = error_of(tasks["blocks"])
    assert "the stop of loop 'a', which needs the event loop that task " in text
    aloop.stop()


@pytest.mark.parametrize("way", ["task", "run"])
def test_loop_that_blocks_for_a_coroutine_that_blocks_for_it_gets_an_error(make_supervisor, way):
    supervisor = make_supervisor()
    left, right = supervisor.create_aloop("left"), supervisor.create_aloop("right")

    async def leaf():
        return 1

    async def back():
        return left.run(leaf())

    async def outer():
        return right.run(back())

    with pytest.raises(WaitDeadlockError, match="coroutine back,?( which)? waits for coroutine "
                                                "leaf, which needs the event loop that"):
        if way == "run":
            value_of(started(left.run, outer()))
        background_task(outer, supervisor=supervisor, loop=left)().value(PATIENCE)
    assert left.run(leaf()) == right.run(leaf()) == 1


def test_loops_that_block_for_each_other_one_after_another_are_no_circle(make_supervisor, told):
    supervisor = make_supervisor()
    left, right = supervisor.create_aloop("left"), supervisor.create_aloop("right")

    async def leaf():
        return 1

    async def blocks(other):
        return other.run(leaf())

    for _ in range(20):
        for here, other in ((left, right), (right, left)):
            assert here.run(blocks(other)) == 1
            task = background_task(blocks, supervisor=supervisor, loop=here)(other)
            assert task.value(PATIENCE) == 1
    assert not told("circle") and not runs_under_way()


def test_loop_that_blocks_when_the_coroutine_has_ended_is_no_circle(make_supervisor, monkeypatch):
    """The thread that waited for the coroutine is still to go on."""
    supervisor = make_supervisor()
    aloop = supervisor.create_aloop("a")
    begun, ended, may_go_on = threading.Event(), threading.Event(), threading.Event()

    class LateLatch(loops.Latch):
        __slots__ = ()

        def wait(self, deadline):
            begun.set()
            woken = super().wait(deadline)
            ended.set()
            assert may_go_on.wait(PATIENCE)
            return woken

    async def inner():
        await until(begun.is_set)
        return 1

    async def blocks(task):
        await until(ended.is_set)
        may_go_on.set()
        return task.value()

    monkeypatch.setattr(loops, "Latch", LateLatch)
    caller = background_task(lambda: aloop.run(inner()), supervisor=supervisor)()
    assert background_task(blocks, supervisor=supervisor, loop=aloop)(caller).value(PATIENCE) == 1


def test_run_of_a_loop_that_awaits_other_tasks_is_no_circle(make_supervisor, told):
    supervisor = make_supervisor()
    aloop = supervisor.create_aloop("a")

    async def inner(number):
        return number if not number else await background_task(inner,
                                                               supervisor=supervisor)(number - 1)

    def caller():
        return aloop.run(inner(3)) + background_task(lambda: aloop.run(inner(2)),
                                                     supervisor=supervisor)().value()

    assert background_task(caller, supervisor=supervisor)().value(PATIENCE) == 0
    assert aloop.run(inner(1)) == 0
    assert not told("circle")


async def in_executor(function):
    return await asyncio.get_running_loop().run_in_executor(None, function)


IN_THREADS = {"run_in_executor": in_executor}
if sys.version_info >= (3, 9):
    IN_THREADS["to_thread"] = lambda function: asyncio.to_thread(function)


def circle_through_a_thread(supervisor, way, last, wait=lambda task: task.value()):
    """A coroutine awaits a call in an executor's thread, which waits for a task that waits for the
    coroutine's task."""
    tasks, ready = {}, threading.Event()

    def in_a_thread():
        wait_for(lambda: last == "the other" or tasks["other"] in waits_of_threads(),
                 "the other wait")
        return wait(tasks["other"])

    async def caller():
        await until(ready.is_set)
        return await way(in_a_thread)

    def other():
        assert ready.wait(PATIENCE)
        wait_for(lambda: last == "the coroutine" or tasks["caller"] in waits_of_coroutines(),
                 "the wait of the thread")
        return tasks["caller"].value()

    for function in caller, other:
        tasks[function.__name__] = background_task(function, supervisor=supervisor)()
    ready.set()
    return tasks


@LAST
@pytest.mark.parametrize("wait", ["value", "wait_completed of many", "as_completed"])
@pytest.mark.parametrize("way", IN_THREADS)
def test_circle_through_a_thread_of_an_executor_gets_an_error(make_supervisor, way, last, wait,
                                                              told):
    tasks = circle_through_a_thread(make_supervisor(), IN_THREADS[way], last, BLOCKING[wait])
    for task in tasks.values():
        text = error_of(task)
        assert "in a circle" in text and "caller (" in text and "other (" in text
    assert not told("circle")


def test_circle_through_a_thread_of_an_executor_that_may_end_is_warned_of(make_supervisor, told):
    async def bounded_by_gather(function):
        return await asyncio.gather(in_executor(function))

    for way, wait in [(bounded_by_gather, BLOCKING["value"]),
                      (in_executor, lambda task: task.value(PATIENCE))]:
        tasks = circle_through_a_thread(make_supervisor(), way, "the other", wait)
        wait_for(lambda: told("in a circle"), "a warning")
        assert not any(task.done() for task in tasks.values())
        tasks["other"].mark_completed()
        assert tasks["caller"].exception(PATIENCE) is None
        forget_warnings()


def test_wait_in_a_thread_of_an_executor_for_other_tasks_is_no_circle(make_supervisor, told):
    supervisor = make_supervisor()

    async def caller(way):
        return await way(lambda: background_task(lambda: 7, supervisor=supervisor)().value())

    for way in IN_THREADS.values():
        assert background_task(caller, supervisor=supervisor)(way).value(PATIENCE) == 7
    assert not told("circle")


# -- finalizers that wait --------------------------------------------------------------------------


class Finalized:
    """Makes a call when it is collected, and notes the outcome."""

    def __init__(self, call, outcomes):
        self.call, self.outcomes = call, outcomes

    def __del__(self):
        try:
            self.outcomes.append(self.call())
        except WaitDeadlockError as error:
            self.outcomes.append(error)


def test_finalizer_that_waits_for_the_task_in_whose_thread_it_runs_gets_an_error(make_supervisor):
    outcomes, ready, tasks = [], threading.Event(), []

    def own():
        assert ready.wait(PATIENCE)
        Finalized(lambda: tasks[0].value(), outcomes)

    tasks.append(background_task(own, supervisor=make_supervisor())())
    ready.set()
    assert tasks[0].exception(PATIENCE) is None
    assert type(outcomes[0]) is WaitDeadlockError and "itself" not in str(outcomes[0])
    assert "a finalizer in the thread of task own (" in str(outcomes[0])
    assert str(outcomes[0]).endswith("do not wait in a finalizer; use add_done_callback()")


def test_finalizer_that_waits_for_another_task_gets_its_value(make_supervisor, told):
    supervisor, outcomes = make_supervisor(), []
    other = background_task(lambda: 7, supervisor=supervisor)

    def own():
        Finalized(lambda: other().value(), outcomes)

    assert background_task(own, supervisor=supervisor)().exception(PATIENCE) is None
    assert outcomes == [7] and not told("itself")


@pytest.mark.parametrize("in_a_loop", [False, True])
def test_wait_of_a_finalizer_leaves_the_wait_that_it_came_in(make_supervisor, monkeypatch,
                                                             in_a_loop):
    """A finalizer that runs as a thread begins to wait: a circle through that wait is found during
    the wait of the finalizer, and after it."""
    supervisor = make_supervisor()
    tasks, seen, gate, entered = {}, [], threading.Event(), threading.Event()
    inner = background_task(lambda: gate.wait(PATIENCE), supervisor=supervisor)()
    block = wait_graph.block

    def finalize_and_block(acquire, deadline):
        if current_task() is tasks.get("own") and not seen:
            seen.append(None)
            entered.set()
            inner.value()
        return block(acquire, deadline)

    monkeypatch.setattr(wait_graph, "block", finalize_and_block)
    ready = threading.Event()

    def own():
        assert ready.wait(PATIENCE)
        return tasks["other"].value()

    async def co_own():
        await until(ready.is_set)
        return tasks["other"].value()

    def other():
        assert ready.wait(PATIENCE) and entered.wait(PATIENCE)
        wait_for(lambda: group_waiters_of(inner), "the wait of the finalizer")
        return tasks["own"].value()

    tasks["own"] = background_task(co_own if in_a_loop else own, supervisor=supervisor)()
    tasks["other"] = background_task(other, supervisor=supervisor)()
    ready.set()
    error_of(tasks["other"])
    gate.set()
    error_of(tasks["own"])


# -- what may end ----------------------------------------------------------------------------------


async def bounded(task):
    return await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(co_wait_completed(task))),
                                  PATIENCE)


async def in_wait_for(task):
    return await asyncio.wait_for(co_wait_completed(task), PATIENCE)


async def in_a_with_block(task):
    with Scope():
        return await task


async def in_gather(task):
    return await asyncio.gather(task)


async def co_bounded(task):
    return await co_wait_completed(task, timeout=PATIENCE)


class Scope:
    def __enter__(self):
        return self

    def __exit__(self, *error):
        return False


UNCERTAIN = {
    "value with a timeout": lambda task: task.value(PATIENCE),
    "as_completed with a timeout": lambda task: list(as_completed([task], timeout=PATIENCE)),
    "any of two": lambda task: first_of([task,
                                         background_task(threading.Event().wait,
                                                         name="other")(PATIENCE)]),
    "co_wait_completed with a timeout": co_bounded,
    "wait_for": in_wait_for,
    "wait_for of a shield": bounded,
    "with block": in_a_with_block,
    "gather": in_gather,
}
if sys.version_info >= (3, 11):
    async def in_timeout(task):
        async with asyncio.timeout(PATIENCE):
            return await task

    UNCERTAIN["asyncio.timeout"] = in_timeout


@pytest.mark.parametrize("way", sorted(set(UNCERTAIN) - {"any of two"}))
def test_circle_with_a_wait_that_may_end_is_warned_of(make_supervisor, told, way):
    circle = Circle(make_supervisor(), UNCERTAIN[way], BLOCKING["value"])
    wait_for(lambda: told("in a circle"), "a warning")
    assert not any(task.done() for task in circle.tasks)
    circle.end()
    assert len(told("in a circle")) == 1
    assert "task a (" in told("in a circle")[0] and "task b (" in told("in a circle")[0]


def test_circle_through_a_wait_for_any_of_several_is_warned_of(make_supervisor, told):
    supervisor = make_supervisor()
    gate = threading.Event()
    other = background_task(gate.wait, supervisor=supervisor)(PATIENCE)
    circle = Circle(supervisor, lambda task: first_of([task, other]), BLOCKING["value"])
    wait_for(lambda: told("in a circle"), "a warning")
    gate.set()
    assert circle.tasks[0].value(PATIENCE) is other and circle.tasks[1].value(PATIENCE) is other


def test_circle_of_tasks_with_a_timeout_is_warned_of(make_supervisor, told):
    circle = Circle(make_supervisor(), BLOCKING["value"], BLOCKING["value"], timeout=1000)
    wait_for(lambda: told("in a circle"), "a warning")
    circle.end()


def test_circle_of_put_task_which_mark_task_completed_may_end_is_warned_of(make_supervisor, told):
    supervisor = make_supervisor()
    own = supervisor.put_task(lambda: current_task().value())
    wait_for(lambda: told("waits for itself"), "a warning")
    assert supervisor.mark_task_completed(own)
    assert own.value(PATIENCE) is None


def test_blocking_wait_for_a_coroutine_of_put_task_is_warned_of(make_supervisor, told):
    supervisor = make_supervisor()

    async def inner():
        return 1

    async def outer():
        with pytest.raises(WaitTimeoutError):
            supervisor.put_task(inner, tt=TT_COROUTINE).value(0.01)
        return True

    assert background_task(outer, supervisor=supervisor)().value(PATIENCE)
    assert len(told("which needs the event loop")) == 1


def test_coroutine_in_a_circle_that_is_cancelled_at_once_leaves_no_wait(make_supervisor):
    supervisor = make_supervisor()

    async def own():
        waiting = asyncio.ensure_future(co_wait_completed(current_task()))
        await asyncio.sleep(0)
        waiting.cancel()
        return 1

    assert background_task(own, supervisor=supervisor)().value(PATIENCE) == 1


def test_tasks_that_wait_for_each_other_one_after_another_are_no_circle(make_supervisor, told):
    supervisor = make_supervisor()
    first = background_task(lambda: 1, supervisor=supervisor)()

    def second():
        return first.value() + 1

    tasks = [background_task(second, supervisor=supervisor)() for _ in range(20)]
    assert wait_completed(tasks, PATIENCE) == [2] * 20
    assert not told("wait")


def test_cancelled_task_of_a_circle_ends_the_rest(make_supervisor, told):
    circle = Circle(make_supervisor(), in_gather, BLOCKING["value"])
    wait_for(lambda: told("in a circle"), "a warning")
    circle.tasks[0].cancel()
    for task in circle.tasks:
        with pytest.raises(TaskCancelledError):
            task.value(PATIENCE)


def test_wait_outside_of_tasks_and_loops_is_not_entered(make_supervisor, monkeypatch):
    gate = threading.Event()
    supervisor = make_supervisor()
    task = background_task(gate.wait, supervisor=supervisor)(PATIENCE)
    monkeypatch.setattr(wait_graph, "Wait", None)
    thread = started(task.value)
    wait_for(lambda: task_waiters_of(task), "the wait")
    gate.set()
    join(thread)
    assert task.value() is True


# -- a loop that is blocked ------------------------------------------------------------------------


def run_blocking(supervisor, times=1):
    async def main():
        for _ in range(times):
            gate = threading.Event()
            task = background_task(gate.wait, supervisor=supervisor)(PATIENCE)
            thread = started(open_when_watched, task, gate)
            task.value()
            join(thread)

    asyncio.run(main())


def open_when_watched(task, gate):
    wait_for(lambda: task_waiters_of(task), "the wait")
    gate.set()


def test_wait_that_blocks_a_loop_is_warned_of_once(make_supervisor, told):
    run_blocking(make_supervisor(), 3)
    warning, = told("blocks the event loop")
    assert f"{__file__}:" in warning and "'await task'" in warning


def test_wait_in_a_cell_of_a_notebook_is_not_warned_of(make_supervisor, told, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    supervisor = make_supervisor()
    run_blocking(supervisor)
    assert not told("blocks the event loop")

    async def in_a_task():
        return background_task(lambda: threading.Event().wait(0.01),
                               supervisor=supervisor)().value()

    background_task(in_a_task, supervisor=supervisor)().value(PATIENCE)
    assert told("blocks the event loop")


def test_stop_in_a_coroutine_is_warned_of(make_supervisor, told):
    async def main():
        supervisor.start()
        return supervisor.stop(wait=PATIENCE)

    supervisor = make_supervisor()
    assert asyncio.run(main()).complete
    assert f"{__file__}:" in told("blocks the event loop")[0]


def test_wait_in_a_loop_for_a_task_that_has_ended_is_not_warned_of(make_supervisor, told):
    supervisor = make_supervisor()
    task = background_task(lambda: 1, supervisor=supervisor)()
    task.value(PATIENCE)

    async def main():
        return task.value(), wait_completed([task]), task.wait(0), list(as_completed([task]))

    asyncio.run(main())
    assert not told("event loop")


# -- what only other code can end ------------------------------------------------------------------

HANDLES = {
    "wait": lambda handle: handle.wait(0.01),
    "wait of the task": lambda handle: handle.task.value(0.01),
    "wait_completed": lambda handle: wait_completed([handle], timeout=0.01),
    "as_completed": lambda handle: list(as_completed([handle], timeout=0.01)),
    "started.wait": lambda handle: handle.task.started.wait(0.01) or handle.wait(0),
}


@pytest.mark.parametrize("kind", [ThreadQueue, ProcessQueue])
@pytest.mark.parametrize("way", HANDLES)
def test_wait_for_a_handle_of_a_queue_that_was_not_started_is_warned_of_once(make_supervisor, told,
                                                                             way, kind):
    queue = kind(supervisor=make_supervisor())
    handle = queue.submit(abs, -1)
    for _ in range(2):
        with pytest.raises(WaitTimeoutError):
            HANDLES[way](handle)
    warning, = told("cannot end by itself")
    assert (f"its {kind.__name__} has not been started; call its run() or start()" in warning
            and "abs" in warning)
    queue.cancel()


def test_wait_for_a_handle_of_a_queue_that_is_gone_is_warned_of(make_supervisor, told):
    handle = ThreadQueue(supervisor=make_supervisor()).submit(abs, -1)
    with pytest.raises(WaitTimeoutError):
        handle.wait(0.01)
    assert told("its ThreadQueue has not been started")


def test_submission_to_a_full_queue_that_was_not_started_is_warned_of(make_supervisor, told):
    queue = ThreadQueue(size=2, supervisor=make_supervisor())
    thread = started(queue.map, abs, range(5))
    wait_for(lambda: told("a wait for room for task abs"), "a warning")
    assert "its ThreadQueue has not been started" in told("a wait for room")[0]
    queue.run()
    join(thread)
    queue.run()
    assert len(told("cannot end")) == 1


def test_queue_that_runs_is_not_warned_of(make_supervisor, told):
    queue = ThreadQueue(workers=1, size=1, supervisor=make_supervisor())
    with queue:
        handles = queue.map(abs, range(-5, 0))
        assert [handle.wait(PATIENCE).value for handle in handles] == [5, 4, 3, 2, 1]
    assert not told("cannot end")


def test_wait_for_a_task_in_a_paused_lane_is_warned_of_once_a_pause(make_supervisor, told):
    supervisor = make_supervisor()
    lane = supervisor.lane("mail")
    for pauses in (1, 2):
        lane.pause()
        task = background_task(abs, lane="mail", supervisor=supervisor)(-1)
        for _ in range(2):
            with pytest.raises(WaitTimeoutError):
                task.value(0.001)
        assert len(told("lane 'mail' is paused; call its resume()")) == pauses
        lane.resume()
        assert task.value(PATIENCE) == 1


def test_wait_for_a_coroutine_whose_loop_does_not_run_is_warned_of_once(make_supervisor, told):
    loop = asyncio.new_event_loop()

    async def inner():
        return 1

    task = background_task(inner, supervisor=make_supervisor(), loop=loop)()
    for _ in range(2):
        with pytest.raises(WaitTimeoutError):
            task.value(0.01)
    warning, = told("cannot end by itself")
    assert "inner (c-" in warning and "its event loop does not run" in warning
    thread = started(task.value)
    loop.run_until_complete(co_wait_completed(task))
    join(thread)
    loop.close()
    assert task.value() == 1


def test_await_of_a_handle_of_a_queue_that_starts_next_is_not_warned_of(make_supervisor, told):
    async def main():
        queue = AsyncQueue(supervisor=make_supervisor())
        handle = queue.submit(asyncio.sleep, 0, 1)
        run = asyncio.ensure_future(queue.run())
        result = await handle
        await run
        return result.value

    assert asyncio.run(main()) == 1
    assert not told("cannot end")


def test_await_of_a_handle_of_a_queue_that_was_not_started_is_warned_of(make_supervisor, told):
    async def main():
        queue = AsyncQueue(supervisor=make_supervisor())
        handle = queue.submit(asyncio.sleep, 0)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(handle.wait(), 0.01)
        with pytest.raises(WaitTimeoutError):
            await co_wait_completed(handle, 0.01)
        queue.cancel()

    asyncio.run(main())
    assert len(told("its AsyncQueue has not been started")) == 1


def test_coroutines_that_hold_all_slots_of_their_queue_are_warned_of(make_supervisor, told):
    async def main():
        queue = AsyncQueue(workers=2, supervisor=make_supervisor())
        both = asyncio.Event()
        parents = []

        async def parent():
            parents.append(1)
            if len(parents) == 2:
                both.set()
            await both.wait()
            return await queue.submit(asyncio.sleep, 0, 1)

        handles = [queue.submit(parent) for _ in range(2)]
        await queue.start()
        while not told("hold all slots"):
            await asyncio.sleep(0)
        handles[0].cancel()             # its place is free
        assert (await handles[1]).value.value == 1
        await queue.shutdown()

    asyncio.run(asyncio.wait_for(main(), PATIENCE))
    assert len(told("hold all slots")) == 1 and "workers=" in told("hold all slots")[0]


def test_coroutines_that_leave_a_slot_of_their_queue_are_not_warned_of(make_supervisor, told):
    async def main():
        async with AsyncQueue(workers=2, supervisor=make_supervisor()) as queue:
            async def parent():
                return (await queue.submit(asyncio.sleep, 0, 1)).value

            return (await queue.submit(parent)).value

    assert asyncio.run(asyncio.wait_for(main(), PATIENCE)) == 1
    assert not told("hold all slots")


# -- errors that nobody looked at ------------------------------------------------------------------


def fail(number=0):
    raise ValueError(number)


def test_unseen_error_is_logged_once_at_the_exit(make_supervisor, unseen):
    tasks = [make_supervisor().put_task(fail, (number,)) for number in range(3)]
    wait_completed(tasks)
    assert type(tasks[1].exception()) is ValueError
    result.log_unseen()
    assert len(unseen()) == 2
    result.log_unseen()
    del tasks
    assert len(unseen()) == 2


def test_failure_that_is_forgotten_is_not_kept_for_the_exit(make_supervisor, unseen):
    known = set(failures())
    task = make_supervisor().put_task(fail)
    task.wait(PATIENCE)
    assert set(failures()) - known
    del task
    gc.collect()
    assert not set(failures()) - known


def test_failure_of_an_attempt_that_is_followed_by_another_is_not_logged(make_supervisor, unseen):
    task = background_task(fail, supervisor=make_supervisor(), retries=2)()
    task.wait(PATIENCE)
    result.log_unseen()
    assert unseen() == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_process_does_not_log_the_errors_of_its_parent(make_supervisor, unseen):
    task = make_supervisor().put_task(fail)
    wait_completed(task)
    pid = os.fork()
    if not pid:
        os._exit(3 if failures() or not outcome_of(task).seen else 0)
    assert os.waitpid(pid, 0)[1] == 0
    assert not outcome_of(task).seen
    assert type(task.exception()) is ValueError


PROGRAM = """
    import atexit, logging, logging.handlers, os, queue, sys, threading
    from atasker_like import *

    def boom(name):
        raise ValueError(name)

    class Node:
        pass

    def closure(task):
        return lambda: task

    @background_task
    async def boom_in_loop(name):
        boom(name)

    if __name__ == "__main__":
        handler = logging.FileHandler(sys.argv[1])
        if len(sys.argv) > 2:
            records = queue.Queue()
            listener = logging.handlers.QueueListener(records, handler)
            listener.start()
            atexit.register(listener.stop)
            handler = logging.handlers.QueueHandler(records)
        logging.getLogger().addHandler(handler)
        thread = background_task(boom)
        kept = thread("global")
        held = closure(thread("closure"))
        node = Node()
        node.node, node.task = node, thread("cycle")
        del node
        in_process = background_task(boom, tt=TT_MP)("process")
        in_loop = boom_in_loop("loop")
        late = background_task(lambda: (threading.Event().wait(0.2), boom("late")))()
        seen = thread("seen")
        seen.exception()
        queued = ThreadQueue()
        handle = queued.submit(boom, "queue")
        queued.start()

        def look():
            threading.main_thread().join()
            looked.exception()

        looked = thread("looked at by a thread that outlives the main one")
        threading.Thread(target=look).start()
"""


@pytest.mark.slow
@pytest.mark.gate
@pytest.mark.parametrize("through_a_listener", [False, True])
def test_errors_that_a_program_did_not_look_at_are_logged_when_it_ends(tmp_path,
                                                                       through_a_listener):
    program, log = tmp_path / "program.py", tmp_path / "log"
    program.write_text(textwrap.dedent(PROGRAM))
    root = ROOT
    ended = subprocess.run([sys.executable, str(program), str(log),
                            *["listener"] * through_a_listener], timeout=60,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           env=dict(os.environ, PYTHONPATH=root))
    assert (ended.returncode, ended.stdout) == (0, b"")
    text = log.read_text()
    for name in ("global", "closure", "cycle", "process", "loop", "late", "queue"):
        assert text.count(f"\nValueError: {name}\n") >= 1, name
    assert text.count("nobody looked at its error") == 7
    assert "seen" not in text and "looked at by" not in text


@pytest.mark.slow
@pytest.mark.gate
def test_error_of_a_task_in_a_pool_process_is_logged_when_the_process_ends(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent("""
        import logging
        from atasker_like import *

        def boom():
            raise ValueError("inner")

        @background_task(tt=TT_MP)
        def outer():
            global kept
            kept = background_task(boom)()
            wait_completed(kept)

        if __name__ == "__main__":
            logging.basicConfig(format="log: %(message)s")
            outer().value()
    """))
    root = ROOT
    ended = subprocess.run([sys.executable, str(program)], timeout=60, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT,
                           env=dict(os.environ, PYTHONPATH=root))
    assert ended.stdout.count(b"log: task boom") == 1 and b"ValueError: inner" in ended.stdout


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="other versions may parse in a parse")
def test_finalizer_that_logs_an_unseen_error_parses_no_source(supervisor, caplog, monkeypatch):
    import ast

    def fail():
        raise ValueError("unseen") from KeyError("its cause")

    parsed = []
    task = background_task(fail, supervisor=supervisor)()
    wait_for(task.done, "the task")
    monkeypatch.setattr(ast, "parse", lambda *arguments, **options: parsed.append(arguments))
    del task
    gc.collect()
    wait_for(lambda: "ValueError: unseen" in caplog.text, "the record")
    assert "KeyError: 'its cause'" in caplog.text and 'in fail\n    raise' in caplog.text
    assert not parsed


# -- initializers that wait for their own queue ----------------------------------------------------


OWN = "an initializer waits for task abs .* of its own queue or executor, and .*; call the function"


@pytest.mark.parametrize("way", BLOCKING)
def test_initializer_that_waits_for_a_task_of_its_own_queue_is_refused(make_supervisor, way):
    """The task would call the initializer in one more thread, which would wait, too, and so on."""
    calls = []

    def initialize():
        calls.append(1)
        BLOCKING[way](queue.submit(abs, -5).task)

    queue = ThreadQueue(workers=1, initializer=initialize, supervisor=make_supervisor())
    handles = [queue.submit(abs, -1), queue.submit(abs, -2)]
    queue.run(PATIENCE)
    for handle in handles:
        with pytest.raises(WaitDeadlockError, match=OWN):
            handle.value()
    assert calls == [1]


def test_initializer_that_waits_in_a_loop_of_its_own_is_refused(make_supervisor):
    def initialize():
        asyncio.run(co_wait_completed([queue.submit(abs, -5).task]))

    queue = ThreadQueue(workers=1, initializer=initialize, supervisor=make_supervisor())
    handle = queue.submit(abs, -1)
    queue.run(PATIENCE)
    with pytest.raises(WaitDeadlockError, match=OWN):
        handle.value()


def test_initializer_of_an_executor_that_waits_for_its_own_call_is_refused(make_supervisor):
    def initialize():
        executor.submit(abs, -5).result(PATIENCE)

    with ThreadExecutor(1, initializer=initialize, supervisor=make_supervisor()) as executor:
        with pytest.raises(PoolBrokenError, match=OWN):
            executor.submit(abs, -1).result(PATIENCE)


def test_initializer_that_submits_to_its_own_queue_and_raises_is_not_called_without_end(
        make_supervisor):
    calls = []

    def initialize():
        calls.append(1)
        queue.submit(abs, -5)
        raise OSError("no connection")

    queue = ThreadQueue(workers=1, initializer=initialize, supervisor=make_supervisor())
    handle = queue.submit(abs, -1)
    summary = queue.run(PATIENCE)
    with pytest.raises(OSError):
        handle.value()
    with pytest.raises(WaitDeadlockError, match=r"submits tasks to its own queue.*another queue. "
                                                r"In task abs \(.*\), it raised OSError: no conn"):
        summary.results[-1].unwrap()
    assert len(calls) == 2 and summary.failed == 3


def test_initializer_that_submits_to_its_own_queue_without_waiting_is_allowed(make_supervisor):
    done = []
    queue = ThreadQueue(workers=1, initializer=lambda: queue.submit(done.append, 1),
                        supervisor=make_supervisor())
    handle = queue.submit(abs, -1)
    assert queue.run(PATIENCE).failed == 0 and handle.value() == 1 and done


def test_initializer_that_waits_for_another_queue_is_allowed(make_supervisor):
    supervisor = make_supervisor()
    with ThreadQueue(supervisor=supervisor) as other:
        queue = ThreadQueue(workers=1, supervisor=supervisor,
                            initializer=lambda: other.submit(abs, -5).wait(PATIENCE))
        handle = queue.submit(abs, -1)
        queue.run(PATIENCE)
        assert handle.value() == 1


@pytest.mark.parametrize("way", ["await", "co_wait_completed", "run", "join", "start"])
def test_initializer_of_an_async_queue_that_waits_for_its_queue_is_refused(make_supervisor, way):
    async def initialize():
        if way == "await":
            await queue.submit(asyncio.sleep, 0)
        elif way == "co_wait_completed":
            await co_wait_completed(queue.submit(asyncio.sleep, 0).task)
        else:
            await getattr(queue, way)()

    async def main():
        nonlocal queue
        queue = AsyncQueue(initializer=initialize, supervisor=make_supervisor())
        queue.submit(asyncio.sleep, 0)
        await asyncio.wait_for(queue.start(), PATIENCE)

    queue = None
    with pytest.raises(WaitDeadlockError, match="initializer .*waits for .* own queue"):
        asyncio.run(main())
