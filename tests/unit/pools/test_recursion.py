"""Calls near the recursion limit: they succeed, or raise and leave the pools as they were."""
import queue
import threading
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import pytest

from atasker_like import (TT_MP, ProcessExecutor, TaskPicklingError, TaskSupervisor, ThreadExecutor,
                          ThreadQueue, background_task, wait_completed)
from tests.support import PATIENCE
from tests.support.internals.supervisor import pools, settle
from tests.support.interruptions import ROOMS, at_line, interrupt, with_room
from tests.support.threads import join, started
from tests.unit.functions import plain


def no_lock_is_held(supervisor):
    """Return True if another thread can take the locks of all pools."""
    free = []

    def take_each():
        for pool in pools(supervisor):
            if pool.lock.acquire(timeout=PATIENCE):
                pool.lock.release()
                free.append(pool)

    join(started(take_each))
    return len(free) == len(pools(supervisor))


def check_pools(supervisor):
    """Check that no lock is held, no task is left, and as many tasks run at once as before."""
    assert no_lock_is_held(supervisor)
    for pool in pools(supervisor):
        assert pool.drain(monotonic() + PATIENCE), list(pool.registry.live.values())
    settle(supervisor)
    together = background_task(threading.Barrier(2).wait, supervisor=supervisor)
    wait_completed([together(PATIENCE), together(PATIENCE)], timeout=PATIENCE)
    for pool in pools(supervisor):
        assert pool.run_queue.waiting == 0 and not pool.registry.live


class Programs:
    """What a test calls near the limit."""

    def __init__(self, supervisor):
        self.supervisor = supervisor
        self.ran = []
        self.open = threading.Event()

    def task(self, f=None, **options):
        return background_task(f or self.ran.append, supervisor=self.supervisor, **options)

    def blocked(self):
        """Occupy the slots of the thread pool."""
        return [self.task(self.open.wait)(PATIENCE) for _ in range(2)]


#: Submissions: how to make one of a number, from a program.
SUBMISSIONS = {
    "plain": lambda program: program.task(),
    "options": lambda program: program.task(retries=1, timeout=PATIENCE),
    "delay": lambda program: program.task(delay=0.001),
    "lane": lambda program: program.task(lane=program.supervisor.lane("one", size=1)),
    "keywords": lambda program: program.task(lambda number: program.ran.append(number),
                                             priority=1),
    "map": lambda program: lambda number: program.task().map([number, number]),
    "map of options": lambda program: lambda number: program.task(retries=1).map([number, number]),
    "executor": lambda program: lambda number: ThreadExecutor(
        2, supervisor=program.supervisor).submit(program.ran.append, number),
    "queue": lambda program: program.queue.task(program.ran.append),
    "coroutine": lambda program: program.task(program.coroutine, loop=program.loop),
}


@pytest.fixture
def program():
    with TaskSupervisor(pool_size=2) as supervisor:
        supervisor.set_thread_pool(2, 0, 0)
        made = Programs(supervisor)
        made.queue = ThreadQueue(supervisor=supervisor)
        made.queue.start()
        made.loop = supervisor.create_aloop("loop")

        async def coroutine(number):
            made.ran.append(number)

        made.coroutine = coroutine
        yield made
        made.open.set()
        made.queue.shutdown()


@pytest.mark.parametrize("full", [False, True], ids=["free", "full"])
@pytest.mark.parametrize("way", SUBMISSIONS)
def test_submission_that_hits_the_recursion_limit_runs_nothing(program, way, full):
    submit = SUBMISSIONS[way](program)
    submit(0)
    outcomes = set()
    for room in ROOMS:
        check_pools(program.supervisor)
        del program.ran[:]
        program.open.clear()
        blocked = program.blocked() if full else []
        succeeded = with_room(room, lambda: submit(room))
        program.open.set()
        wait_completed(blocked, timeout=PATIENCE)
        check_pools(program.supervisor)
        assert bool(program.ran) == succeeded, room
        outcomes.add(succeeded)
    assert outcomes == {False, True}


@pytest.mark.parametrize("end", ["cancel", "mark_completed"])
def test_end_of_a_waiting_task_that_hits_the_recursion_limit_wakes_its_waiters(program, end):
    outcomes = set()
    for room in ROOMS:
        program.open.clear()
        blocked, task = program.blocked(), program.task()(room)
        called = queue.SimpleQueue()
        task.add_done_callback(called.put)      # a call of C: it needs no more room than the call
        outcomes.add(with_room(room, getattr(task, end)))
        program.open.set()
        assert called.get(timeout=PATIENCE) is task, room
        wait_completed(blocked, timeout=PATIENCE)
        check_pools(program.supervisor)
    assert outcomes == {False, True}


def test_cancel_of_a_future_that_is_interrupted_at_any_line_leaves_no_task_behind(program):
    number, was_so_long = 0, True
    while was_so_long:
        number += 1
        program.open.clear()
        blocked, task = program.blocked(), program.task()(number)
        try:
            was_so_long = at_line(number, interrupt, task.future().cancel)
        except KeyboardInterrupt:
            pass
        program.open.set()
        wait_completed(blocked, timeout=PATIENCE)
        assert task.future().done() or task.exception(PATIENCE) is None
        check_pools(program.supervisor)


def test_wait_in_a_task_that_hits_the_recursion_limit_leaves_the_slots_right(program):
    outcomes = set()

    def outer(room):
        inner = program.task()(room)
        outcomes.add(with_room(room, lambda: inner.value(PATIENCE)))

    for room in ROOMS:
        program.task(outer)(room).value(PATIENCE)
        check_pools(program.supervisor)
    assert outcomes == {False, True}


def test_callback_that_submits_without_end_leaves_the_pool_usable(program):
    again = program.task(abs)
    ended = threading.Event()

    def callback(task):
        program.ran.append(0)
        try:
            if len(program.ran) == 5000:
                ended.set()
            else:
                again(1).add_done_callback(callback)
        except RecursionError:
            ended.set()
            raise

    again(1).add_done_callback(callback)
    assert ended.wait(PATIENCE)
    check_pools(program.supervisor)


@pytest.mark.parametrize("kind", ["plain", "options", "map", "large", "executor", "pool executor"])
def test_submission_to_a_process_that_hits_the_recursion_limit_leaves_the_pool_usable(kind):
    with TaskSupervisor(pool_size=2) as supervisor, ThreadPoolExecutor(2) as executor:
        supervisor.set_thread_pool(2, 0, 0)
        if kind == "pool executor":
            supervisor.mp_pool = executor
        else:
            supervisor.set_mp_pool(2, 0, 0)
        options = {"retries": 1, "timeout": PATIENCE} if kind == "options" else {}
        task = background_task(plain, tt=TT_MP, supervisor=supervisor, **options)
        results = []
        submit = {
            "map": lambda: results.extend(task.map([1, 2])),
            "large": lambda: results.append(task(10 ** 100000)),
            "executor": lambda: results.append(ProcessExecutor(
                supervisor=supervisor).submit(plain, 1)),
        }.get(kind, lambda: results.append(task(1)))
        outcomes = set()
        for room in ROOMS:
            try:
                outcomes.add(with_room(room, submit))
                for result in results:
                    if not isinstance(result, int):
                        getattr(result, "value", getattr(result, "result", None))(PATIENCE)
            except TaskPicklingError as error:      # pickle has hit the limit
                assert "recursion" in str(error)
            del results[:]
            assert [one.value(PATIENCE) for one in (task(1), task(2))] == [2, 3]
            check_pools(supervisor)
        assert outcomes == {False, True}
