"""What a task sees of itself."""
import asyncio
import contextvars
import threading

import pytest

from atasker_like import Lane, Progress, background_task, current_task

from . import functions as f


def test_current_task_is_the_task_itself(kind):
    task = kind.bind(f.who)()
    assert task.value(10) == (task.id, "who", 1)


def test_current_task_with_a_name_of_its_own(kind):
    task = kind.bind(f.who, name="somebody")()
    assert task.name == "somebody"
    assert task.value(10)[1] == "somebody"


def test_current_task_in_a_later_attempt(kind):
    task = kind.bind(f.succeed_at, retries=4)(3)
    assert task.value(10) == 3


def test_ids_of_tasks_differ(kind):
    ids = {kind.bind(f.nothing)().id for _ in range(50)}
    assert len(ids) == 50


def test_current_task_is_the_handle_itself(inside, gate):
    found = []
    task = inside.bind(lambda: found.append(current_task()))()
    task.wait(10)
    assert found == [task]


def test_nested_coroutines_of_one_loop_have_a_task_each(supervisor):
    async def body():
        await asyncio.sleep(0)
        return current_task().id

    tasks = [background_task(body, supervisor=supervisor)() for _ in range(5)]
    assert [task.value(10) for task in tasks] == [task.id for task in tasks]


def test_a_coroutine_of_a_loop_in_a_pool_thread(supervisor):
    """It is in two tasks, and the inner one is its own; what it starts in a thread is in that
    alone, whatever its context."""
    @background_task(supervisor=supervisor)
    def within():
        return current_task().id

    async def body():
        await asyncio.sleep(0)
        task = within()
        return current_task().id, (await task) == task.id

    async def main():
        outside = current_task().id
        tasks = [background_task(body, loop=asyncio.get_running_loop(), supervisor=supervisor)()
                 for _ in range(3)]
        return outside, [(await task) == (task.id, True) for task in tasks], current_task().id

    @background_task(supervisor=supervisor)
    def outer():
        found = asyncio.run(main())
        # In a copy of a coroutine's context that has come from this very loop, as
        # asyncio.to_thread() makes one.
        contexts = []

        async def copy():
            contexts.append(contextvars.copy_context())

        async def copied():
            await background_task(copy, loop=asyncio.get_running_loop(), supervisor=supervisor)()

        asyncio.run(copied())
        return (*found,
                background_task(contexts[0].run,
                                supervisor=supervisor)(lambda: current_task().name).value(10),
                current_task().id)

    task = outer()
    assert task.value(10) == (task.id, [True] * 3, task.id, "Context.run", task.id)


def test_progress_of_a_running_task_is_seen_outside(kind, gate):
    task = kind.bind(f.report)(gate)
    gate.wait_entered()
    # a report and the gate are two ways: the report may take the longer one
    for _ in range(1000):
        if task.progress is not None:
            break
        assert not task.completed.wait(0.01)
    assert task.progress == Progress(3, 10, "reading") == (3, 10, "reading")
    gate.open()
    task.wait(10)
    assert task.progress == (10, 10, None)


def test_contextvars_are_those_of_the_submitter(inside):
    token = f.variable.set("mine")
    try:
        assert inside.bind(f.swap)("theirs").value(10) == "mine"
        assert f.variable.get() == "mine"
        assert inside.bind(f.swap)("theirs").value(10) == "mine"
    finally:
        f.variable.reset(token)


@pytest.mark.parametrize("options", [{}, {"lane": None}, {"retries": 1}, {"delay": 0.001}],
                         ids=lambda options: "".join(options))
def test_contextvars_of_each_call_of_a_map(inside, options):
    """Each call has a context of its own, whichever way it takes into the pool."""
    if "lane" in options:       # a lane stands in front of one pool
        options = {"lane": Lane("narrow", limit=1)}
    context = contextvars.copy_context()
    context.run(f.variable.set, "mine")
    assert list(context.run(inside.bind(f.swap, **options).map, "abc")) == ["mine"] * 3


def test_contextvars_of_each_attempt(inside):
    seen = []

    def body():
        seen.append(f.variable.get())
        f.variable.set("changed")
        raise ValueError

    inside.bind(body, retries=1)().wait(10)
    assert seen == ["unset"] * 2


def test_a_task_may_wait_for_tasks_in_a_pool_of_one(supervisor):
    supervisor.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0)

    def parent(depth):
        if depth == 0:
            return 1
        return sum(task.value(20)
                   for task in [supervisor.put_task(parent, (depth - 1,)) for _ in range(2)])

    assert supervisor.put_task(parent, (4,)).value(20) == 16


def test_a_task_may_submit_to_every_pool(supervisor):
    def body():
        return supervisor.put_task(f.pid, tt=2).value(20)

    assert supervisor.put_task(body).value(20) != f.pid()


def test_task_types_have_their_own_threads(supervisor):
    name = supervisor.put_task(lambda: threading.current_thread().name).value(10)
    assert name.startswith(f"supervisor_{supervisor.id}_thread")
