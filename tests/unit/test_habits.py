"""Names and operators of other packages: each error says what to use here."""
import asyncio
import concurrent.futures
import operator
import sys

import pytest

from atasker_like import (BackgroundEventWorker, BackgroundQueueWorker, InvalidTypeError,
                          SupervisorBusyError, ThreadQueue, background_task, background_worker,
                          co_mp_apply, run, wait_completed)


@pytest.fixture
def task(supervisor):
    made = supervisor.put_task(abs, (-1,))
    made.wait(10)
    return made


@pytest.fixture
def handle(supervisor):
    with ThreadQueue(supervisor=supervisor) as queue:
        made = queue.submit(abs, -1)
    return made


@background_worker
def work():
    pass


@background_worker(q=True)
def handle_item(item):
    pass


OPERATORS = [operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv,
             operator.mod, operator.pow, operator.matmul, operator.and_, operator.or_, operator.xor]


@pytest.mark.parametrize("operate", OPERATORS, ids=lambda operate: operate.__name__)
def test_operator_on_a_task_names_the_task_and_value(task, handle, operate):
    message = r" takes the value of task abs \(t-\d+\), and this (SyncTaskHandle|Task) is not the"
    for one in (task, handle):
        with pytest.raises(InvalidTypeError, match=message):
            operate(one, 1)
        with pytest.raises(InvalidTypeError, match=message + r" value; read it with value\(\)$"):
            operate(1, one)


@pytest.mark.parametrize("read", [lambda task: task[0], list, lambda task: 1 in task])
def test_iteration_over_a_task_names_the_task_and_value(task, handle, read):
    for one in (task, handle):
        with pytest.raises(InvalidTypeError, match=r"takes the value of task abs \(t-\d+\)"):
            read(one)


def test_task_is_true_and_equal_to_itself_only(task):
    assert task and task == task and task != 1
    assert "%s" % task == f"{task}" == repr(task)


ABSENT = [
    ("task", "get", "Task has no 'get': use value(), which returns the value of the function or "
                    "raises its error"),
    ("task", "join", "Task has no 'join': use wait()"),
    ("task", "is_alive", "Task has no 'is_alive': use not done()"),
    ("task", "ready", "Task has no 'ready': use done()"),
    ("task", "running", "Task has no 'running': compare the word of its state with 'running'"),
    ("task", "successful", "Task has no 'successful': compare the word of its state with "
                           "'succeeded'"),
    ("task", "set_result", "Task has no 'set_result': the function of the task gives the result, "
                           "by 'return'"),
    ("task", "set_exception", "Task has no 'set_exception': the function of the task gives the "
                              "error, by 'raise'"),
    ("handle", "running", "SyncTaskHandle has no 'running': compare the word of its state with "
                          "'running'"),
    ("handle", "get", "SyncTaskHandle has no 'get': use value(), which returns the value of the "
                      "function or raises its error"),
    ("result", "result", "TaskResult has no 'result': read value, or use unwrap(), which raises "
                         "the error of a failed task"),
    ("result", "done", "TaskResult has no 'done': a TaskResult is the outcome of a task that has "
                       "ended"),
    ("supervisor", "submit", "TaskSupervisor has no 'submit': use put_task() or @background_task, "
                             "which make tasks, or thread_pool.submit(), which returns a Future"),
    ("supervisor", "map", "TaskSupervisor has no 'map': use background_task(f).map(items), or "
                          "tmap(), pmap() or amap()"),
    ("supervisor", "shutdown", "TaskSupervisor has no 'shutdown': use stop()"),
    ("queue", "put", "ThreadQueue has no 'put': use submit(function, *arguments), or map()"),
    ("queue", "get", "ThreadQueue has no 'get': submit() returns a handle, whose value() is the "
                     "value, and run() returns a summary of all of them"),
    ("worker", "put_threadsafe", "BackgroundWorker has no 'put_threadsafe': this worker has no "
                                 "queue: make it with @background_worker(q=True), or derive it "
                                 "from BackgroundQueueWorker"),
    ("worker", "trigger_threadsafe", "BackgroundWorker has no 'trigger_threadsafe': no event "
                                     "triggers this worker: make it with @background_worker"
                                     "(e=True), or derive it from BackgroundEventWorker"),
    ("queue worker", "trigger", "BackgroundQueueWorker has no 'trigger': no event triggers this "
                                "worker: make it with @background_worker(e=True), or derive it "
                                "from BackgroundEventWorker"),
]


@pytest.mark.parametrize("kind, name, message", ABSENT, ids=[" ".join(row[:2]) for row in ABSENT])
def test_absent_name_is_answered_with_what_to_use(supervisor, task, handle, kind, name, message):
    thing = {"task": task, "handle": handle, "result": task.wait(), "supervisor": supervisor,
             "queue": ThreadQueue(supervisor=supervisor), "worker": work,
             "queue worker": handle_item}[kind]
    with pytest.raises(AttributeError) as raised:
        getattr(thing, name)
    assert str(raised.value) == message
    assert not hasattr(thing, name)
    assert not hasattr(type(thing), name)
    assert name not in dir(thing)


def test_dir_lists_the_names_that_there_are(supervisor, task):
    assert {"value", "wait", "_spec"} <= set(dir(task))
    assert {"put_task", "id"} <= set(dir(supervisor))
    assert "put" in dir(BackgroundQueueWorker(executor_func=print))
    assert "trigger" in dir(BackgroundEventWorker(executor_func=print))


def test_subclass_of_a_worker_may_have_an_absent_name():
    class Own(BackgroundEventWorker):
        def __init__(self):
            super().__init__()
            self.put = "own"

    assert Own().put == "own"


@pytest.mark.parametrize("wait", [
    lambda tasks: concurrent.futures.wait(tasks),
    lambda tasks: list(concurrent.futures.as_completed(tasks)),
])
def test_wait_of_concurrent_futures_for_a_task_names_our_functions(task, wait):
    with pytest.raises(AttributeError, match=(
            r"concurrent.futures waits for its own futures only; use wait_completed\(\) or "
            r"as_completed\(\) of this package")):
        wait([task])


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.wait() wraps any awaitable")
def test_wait_of_asyncio_for_a_task_raises_instead_of_waiting_without_end(supervisor):
    task = supervisor.put_task(abs, (-1,), delay=60)

    async def main():
        await asyncio.wait([task])

    with pytest.raises(InvalidTypeError, match=r"asyncio.wait\(\) takes futures of its own loop, "
                                               r"not tasks: use co_wait_completed\(\)"):
        asyncio.run(main())


# -- calls that are made too early, or of the wrong kind of function -------------------------------


async def coroutine():
    pass


def test_run_in_a_loop_names_await():
    async def main():
        run(coroutine())

    with pytest.raises(SupervisorBusyError) as raised:
        asyncio.run(main())
    assert str(raised.value) == (
        "run() cannot run coroutine in a thread whose event loop runs; write 'await "
        "coroutine(...)' instead of 'run(coroutine(...))'")


def test_run_of_what_is_no_coroutine_says_what_it_takes(task):
    with pytest.raises(InvalidTypeError) as raised:
        run(task)
    assert str(raised.value) == ("run takes a coroutine, not a Task; wait_completed() waits for "
                                 "tasks")
    with pytest.raises(InvalidTypeError) as raised:
        run(coroutine)
    assert str(raised.value) == ("run takes a coroutine, not a function; call the coroutine "
                                 "function, and pass what it returns")


def of_queue(supervisor, thing):
    ThreadQueue(supervisor=supervisor).submit(thing)


def of_co_mp_apply(supervisor, thing):
    asyncio.run(co_mp_apply(thing, supervisor=supervisor))


@pytest.mark.parametrize("submit, what", [
    (lambda supervisor, thing: background_task(thing), "background_task"),
    (lambda supervisor, thing: supervisor.put_task(thing), "a task"),
    (lambda supervisor, thing: supervisor.thread_pool.submit(thing), "thread_pool.submit"),
    (lambda supervisor, thing: background_worker(thing), "background_worker"),
    (of_queue, "a ThreadQueue"),
    (of_co_mp_apply, "a task"),
])
def test_call_instead_of_a_function_is_refused_with_the_way_out(supervisor, submit, what):
    with pytest.raises(InvalidTypeError) as raised:
        submit(supervisor, coroutine())
    assert str(raised.value) == (f"{what} takes a function and its arguments, not the coroutine of "
                                 "coroutine: pass coroutine without calling it")
    with pytest.raises(InvalidTypeError) as raised:
        submit(supervisor, 3)
    assert str(raised.value) == (f"{what} takes a function, not an int: if it is the result of a "
                                 "call, pass the function without calling it")


def test_class_instead_of_the_function_of_a_worker_is_refused_with_both_ways_out():
    class Poll:
        pass

    with pytest.raises(InvalidTypeError) as raised:
        background_worker(Poll, interval=1)
    assert str(raised.value) == (
        "background_worker takes a function, not the class Poll: derive the class from "
        "BackgroundWorker, and define run() in it; or pass a method of an object")


def test_arguments_that_are_no_tuple_are_refused_with_the_tuple(supervisor):
    with pytest.raises(InvalidTypeError) as raised:
        asyncio.run(co_mp_apply(pow, 2, 3, supervisor=supervisor))
    assert str(raised.value) == ("co_mp_apply takes the positional arguments of pow as a tuple, "
                                 "not an int: args=(2,)")
    with pytest.raises(InvalidTypeError) as raised:
        supervisor.put_task(len, "text")
    assert str(raised.value) == ("put_task takes the positional arguments of len as a tuple, not a "
                                 "str: args=('text',)")
    with pytest.raises(InvalidTypeError) as raised:
        supervisor.put_task(pow, (2,), 3)
    assert str(raised.value) == ("put_task takes the keyword arguments of pow as a mapping, not an "
                                 "int")


def test_arguments_that_raise_while_they_are_iterated_raise_their_own_error(supervisor):
    def arguments():
        yield 1
        raise LookupError("none")

    with pytest.raises(LookupError):
        supervisor.put_task(abs, arguments())
    assert wait_completed(supervisor.put_task(pow, [2, 3])) == 8
