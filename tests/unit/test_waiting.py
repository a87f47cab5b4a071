import asyncio
import threading
from concurrent.futures import Future

import pytest

from atasker_like import (ExecutionError, InvalidTypeError, TaskCancelledError, WaitTimeoutError,
                          as_completed, background_task, co_as_completed, co_mp_apply,
                          co_wait_completed, wait_completed)
from atasker_like._wait_arguments import TaskView

from ..contract.functions import add, fail, pid, with_keywords, with_task_id


@pytest.fixture
def put(supervisor):
    """Submit to a thread."""
    return lambda function, *args: supervisor.put_task(function, args)


@pytest.fixture
def gate():
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def blocked(supervisor, gate):
    """A task that runs until the gate is set."""
    return supervisor.put_task(gate.wait, (20,))


def co_wait(*args, **kwargs):
    async def main():
        return await co_wait_completed(*args, **kwargs)

    return asyncio.run(main())


both = pytest.mark.parametrize("wait", [wait_completed, co_wait], ids=["sync", "async"])


# -- wait_completed and its twin -------------------------------------------------------------------


@both
def test_a_single_task_gives_a_single_result(put, wait):
    assert wait(put(add, 1, 2)) == 3


@both
@pytest.mark.parametrize("form",
                         [list, tuple, iter, set, dict.fromkeys,
                          lambda tasks: (task for task in tasks)],
                         ids=["list", "tuple", "iterator", "set", "dict", "generator"])
def test_any_iterable_gives_a_list(put, wait, form):
    results = wait(form([put(add, n) for n in range(5)]))
    assert type(results) is list
    assert sorted(results) == [0, 1, 2, 3, 4]


@both
def test_results_come_in_the_order_of_the_tasks(supervisor, wait):
    tasks = [supervisor.put_task(add, (n,), delay=(5 - n) / 200) for n in range(5)]
    assert wait(tasks) == [0, 1, 2, 3, 4]


@both
def test_wait_for_no_tasks_returns_at_once(wait):
    assert wait([]) == []
    assert wait([], timeout=0, strict=True) == []


@both
def test_the_same_task_twice(put, wait):
    task = put(add, 1)
    assert wait([task, task]) == [1, 1]


@both
def test_wait_for_a_view_of_a_task_returns_its_value(put, wait):
    class Handle(TaskView):
        def __init__(self, task):
            self.task = task

    assert wait(Handle(put(add, 1))) == 1
    assert wait([Handle(put(add, 2))]) == [2]


@both
def test_wait_for_an_object_with_an_attribute_task_raises(put, wait):
    class Stranger:
        def __init__(self, task):
            self.task = task

    with pytest.raises(InvalidTypeError, match="Stranger"):
        wait(Stranger(put(add, 1)))
    with pytest.raises(InvalidTypeError, match="item 0 is a Stranger"):
        wait([Stranger(put(add, 1))])


@both
def test_failed_and_cancelled_tasks_give_none(supervisor, put, wait):
    cancelled = supervisor.put_task(add, (1,), delay=60)
    cancelled.cancel()
    failed = put(fail)
    assert wait([put(add, 1), failed, cancelled, put(add, 2)]) == [1, None, None, 2]
    assert wait(failed) is None
    failed.exception()


@both
def test_strict_raises_after_all_have_ended(supervisor, put, wait):
    cancelled = supervisor.put_task(add, (1,), delay=60)
    cancelled.cancel()
    slow = supervisor.put_task(add, (5,), delay=0.02)
    tasks = [put(add, 1), put(fail, "broken"), cancelled, slow]
    with pytest.raises(ExecutionError,
                       match="2 of 4 tasks did not succeed.*fail.*ValueError: broken") as caught:
        wait(tasks, strict=True)
    assert slow.done()
    assert ([result.status for result in caught.value.results]
            == ["succeeded", "failed", "cancelled", "succeeded"])
    assert [result.task_id for result in caught.value.results] == [task.id for task in tasks]
    assert isinstance(caught.value.__cause__, ValueError)


@both
def test_strict_with_a_single_task(put, wait):
    assert wait(put(add, 1), strict=True) == 1
    with pytest.raises(ExecutionError):
        wait(put(fail), strict=True)


@both
@pytest.mark.parametrize("timeout", [0, 0.01, -1])
def test_a_timeout_raises_and_the_tasks_go_on(put, blocked, gate, wait, timeout):
    done = put(add, 1)
    done.wait(10)
    with pytest.raises(WaitTimeoutError, match="1 of 2 tasks unfinished.*go on"):
        wait([done, blocked], timeout=timeout)
    with pytest.raises(TimeoutError):
        wait(blocked, timeout=timeout)
    gate.set()
    assert wait(blocked, timeout=None) is True


@both
def test_timeout_0_gives_results_that_are_there(put, wait):
    tasks = [put(add, n) for n in range(3)]
    for task in tasks:
        task.wait(10)
    assert wait(tasks, timeout=0) == [0, 1, 2]


@both
@pytest.mark.parametrize("bad", [None, 5, "text", b"bytes", object(), add])
def test_what_is_no_task_is_refused(wait, bad):
    with pytest.raises(InvalidTypeError, match="wait_completed takes a task, an iterable of tasks"):
        wait(bad)


@both
@pytest.mark.parametrize("bad", [None, 5, "text"])
def test_an_item_that_is_no_task_is_refused_by_its_position(put, wait, bad):
    kind = "None" if bad is None else r"an? " + type(bad).__name__
    with pytest.raises(InvalidTypeError, match="item 1 is " + kind):
        wait([put(add, 1), bad])


@both
def test_a_function_that_was_not_called_is_refused_with_advice(wait):
    with pytest.raises(InvalidTypeError, match="call the function first"):
        wait(background_task(add))
    with pytest.raises(InvalidTypeError, match="call the function first"):
        wait([add])


@both
def test_mapping_of_tasks_gives_a_dict_of_results(put, wait):
    assert wait({"a": put(add, 1), "b": put(add, 2)}) == {"a": 1, "b": 2}
    assert wait({}) == {}


@both
def test_mapping_whose_keys_are_tasks_gives_a_list(put, wait):
    assert wait({put(add, 1): "a", put(add, 2): "b"}) == [1, 2]


async def coroutine():
    pass


TAKES = "takes a task, an iterable of tasks or a mapping with tasks as its values"
ADVICE = [
    (lambda task: None, ", not None"),
    (lambda task: "text", ", not a str; task_supervisor.get_task() returns the live task of an id"),
    (lambda task: [task.id], ", but item 0 is a str; task_supervisor.get_task() returns the live "
                             "task of an id"),
    (lambda task: 3, ", not an int"),
    (lambda task: [task, [task]], ", but item 1 is a list; flatten it, or wait for each of its "
                                  "tasks"),
    (lambda task: {"a": [task]}, ", but the value of 'a' is a list; flatten it, or wait for each "
                                 "of its tasks"),
    (lambda task: [coroutine()], ", but item 0 is a coroutine; await it, or decorate its function "
                                 "with @background_task"),
    (lambda task: [Future()], ", but item 0 is a Future; make a task with @background_task, or use "
                              "the wait() of its own module"),
]


@both
@pytest.mark.parametrize("make, message", ADVICE)
def test_object_that_is_not_a_task_is_refused_with_advice(put, wait, make, message):
    with pytest.raises(InvalidTypeError) as raised:
        wait(make(put(add, 1)))
    assert str(raised.value).partition("wait_completed ")[2] == TAKES + message


@pytest.mark.parametrize("make, message", [
    (lambda task: None, ", not None"),
    (lambda task: task, ", not a single one; put it into a list"),
    (lambda task: {"a": task}, ", but key 0 is a str; pass values() of the mapping"),
])
@pytest.mark.parametrize("function", [as_completed, co_as_completed])
def test_object_without_tasks_is_refused_by_as_completed(put, function, make, message):
    with pytest.raises(InvalidTypeError) as raised:
        function(make(put(add, 1)))
    assert str(raised.value) == f"{function.__name__} takes an iterable of tasks{message}"


def test_refusal_of_an_iterable_keeps_the_frames_of_its_own_code(put):
    def tasks():
        yield put(add, 1)
        background_task(add, retris=1)

    with pytest.raises(InvalidTypeError) as raised:
        wait_completed(tasks())
    assert "tasks" in [entry.name for entry in raised.traceback]


@both
@pytest.mark.parametrize("bad", ["soon", True, [1]])
def test_a_timeout_that_is_no_number(put, wait, bad):
    with pytest.raises(TypeError, match="timeout"):
        wait([put(add, 1)], timeout=bad)


def test_several_threads_wait_for_the_same_tasks(put, gate):
    tasks = [put(gate.wait, 20) for _ in range(3)]
    results = []
    threads = [threading.Thread(target=lambda: results.append(wait_completed(tasks, 20)))
               for _ in range(4)]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join(20)
    assert results == [[True] * 3] * 4


def test_the_twin_does_not_block_its_loop(supervisor, blocked, gate):
    async def main():
        waiting = asyncio.ensure_future(co_wait_completed([blocked]))
        await asyncio.sleep(0)
        gate.set()              # would never be reached if the loop were blocked
        return await waiting

    assert asyncio.run(main()) == [True]


# -- as_completed and its twin ---------------------------------------------------------------------


def ignore(task):
    pass


def collect_here(*args, each=ignore, **kwargs):
    collected = []
    for task in as_completed(*args, **kwargs):
        collected.append(task)
        each(task)
    return collected


def co_collect(*args, each=ignore, **kwargs):
    async def main():
        collected = []
        async for task in co_as_completed(*args, **kwargs):
            collected.append(task)
            each(task)
        return collected

    return asyncio.run(main())


both_as_completed = pytest.mark.parametrize("collect", [collect_here, co_collect],
                                            ids=["sync", "async"])


@both_as_completed
def test_tasks_come_as_they_end(blocked, gate, put, collect):
    early = put(add, 2)
    assert collect([blocked, early], each=lambda task: gate.set()) == [early, blocked]


@both_as_completed
def test_every_task_comes_once_however_it_ended(supervisor, put, collect):
    cancelled = supervisor.put_task(add, (1,), delay=60)
    cancelled.cancel()
    tasks = [put(add, n) for n in range(100)] + [put(fail), cancelled]
    ended = collect(task for task in tasks)
    assert sorted(task.id for task in ended) == sorted(task.id for task in tasks)
    assert all(task.done() for task in ended)
    tasks[100].exception()


@both_as_completed
def test_as_completed_of_nothing(collect):
    assert collect([]) == []


@both_as_completed
@pytest.mark.parametrize("timeout", [0, 0.01])
def test_as_completed_with_a_timeout(put, blocked, gate, collect, timeout):
    done = put(add, 1)
    done.wait(10)
    assert collect([done], timeout=timeout) == [done]
    with pytest.raises(WaitTimeoutError, match="1 of 2 tasks unfinished"):
        collect([done, blocked], timeout=timeout)
    gate.set()
    assert collect([blocked]) == [blocked]


@both_as_completed
@pytest.mark.parametrize("bad", [None, 5, "text", [5]])
def test_as_completed_refuses_what_is_no_task(collect, bad):
    with pytest.raises(InvalidTypeError, match="as_completed takes"):
        collect(bad)


@both_as_completed
def test_as_completed_refuses_a_single_task(put, collect):
    with pytest.raises(InvalidTypeError, match="not a single one; put it into a list"):
        collect(put(add, 1))


def test_as_completed_refuses_at_the_call_not_at_the_first_step():
    with pytest.raises(InvalidTypeError):
        as_completed([5])


def test_as_completed_may_be_left_early(put, blocked, gate):
    for task in as_completed([put(add, 1), blocked]):
        assert task.value() == 1
        break
    gate.set()


def test_submitting_while_tasks_come(supervisor, put):
    values = [put(add, task.value(), 1).value(10)
              for task in as_completed([put(add, 1) for _ in range(20)])]
    assert values == [2] * 20


# -- co_mp_apply -----------------------------------------------------------------------------------


def apply(supervisor, *args, **kwargs):
    async def main():
        return await co_mp_apply(*args, supervisor=supervisor, **kwargs)

    return asyncio.run(main())


def test_co_mp_apply_passes_arguments_as_a_call_would(supervisor):
    assert apply(supervisor, with_keywords, args=(1,), kwargs={"x": 2}, priority=50)[0] == 1
    assert apply(supervisor, add, (1,), {"b": 2}) == 3
    assert apply(supervisor, add, [1, 2]) == 3


def test_co_mp_apply_runs_in_a_process(supervisor):
    assert apply(supervisor, pid) != pid()


def test_co_mp_apply_passes_the_task_id_where_it_is_taken(supervisor):
    value, task_id = apply(supervisor, with_task_id, (1,))
    assert value == 1
    assert isinstance(task_id, str) and task_id
    assert set(apply(supervisor, with_keywords, (1,))[1]) == {"_task_id"}
    assert apply(supervisor, add, (1,)) == 1


def test_co_mp_apply_raises_what_the_function_raised(supervisor):
    with pytest.raises(ValueError, match="broken"):
        apply(supervisor, fail, ("broken",))


def test_co_mp_apply_with_a_delay(supervisor):
    assert apply(supervisor, add, (1,), delay=0.01) == 1


@pytest.mark.parametrize("delay", [None, 60])
def test_cancelling_a_waiting_coroutine_cancels_the_task(supervisor, tmp_path, delay):
    from ..contract.functions import Gate, enter

    gate = Gate(tmp_path / "gate").make()

    async def main():
        waiting = asyncio.ensure_future(co_mp_apply(enter, (gate,), delay=delay,
                                                    supervisor=supervisor))
        await asyncio.sleep(0)
        [task] = supervisor.get_tasks().values()
        if delay is None:
            await asyncio.get_running_loop().run_in_executor(None, gate.wait_entered)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return task

    task = asyncio.run(main())
    with pytest.raises(TaskCancelledError):
        task.value(10)
    gate.close()


@pytest.mark.parametrize("bad", [None, 5, "abs"])
def test_co_mp_apply_of_what_cannot_be_called(supervisor, bad):
    with pytest.raises(TypeError, match="a task takes a function, not"):
        apply(supervisor, bad)


def test_co_mp_apply_of_a_coroutine_function(supervisor):
    with pytest.raises(TypeError, match="coroutine function"):
        apply(supervisor, co_collect_nothing)


async def co_collect_nothing():
    pass
