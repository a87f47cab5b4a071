"""Law 8. Waiting lends its place: a pool thread that waits for another task gives its place back
while it waits, so a task that waits for its own children finishes in a pool of one."""
import threading

import pytest

from atasker_like import TT_MP, WaitTimeoutError, as_completed, background_task, wait_completed
from tests.support import PATIENCE
from tests.support.gates import Hold
from tests.support.internals import check_accounts, settle

from ..support.internals import manager
from . import functions

DEPTH = 50


def _first(tasks):
    (task,) = as_completed(tasks, timeout=PATIENCE)
    return task.value(0)


def _after(milestone, task):
    assert milestone.wait(PATIENCE)
    return task.value(PATIENCE)


class Recursion:
    """A function that submits itself, one level deeper, and waits for that in one way."""

    def __init__(self, supervisor, wait):
        self.bound = background_task(self, supervisor=supervisor)
        self.wait = wait

    def __call__(self, depth):
        return depth if depth == DEPTH else self.wait(self, depth + 1)


def _in_a_loop(supervisor):
    aloop = supervisor.create_aloop("own")

    def wait(recursion, depth):
        async def child():
            return await recursion.bound(depth)

        return aloop.run(child())
    return wait


WAYS = {
    "value": lambda supervisor: lambda own, depth: own.bound(depth).value(PATIENCE),
    "value without a timeout": lambda supervisor: lambda own, depth: own.bound(depth).value(),
    "exception": lambda supervisor: lambda own,
    depth: (lambda task: (task.exception(PATIENCE), task.result)[1])(
        own.bound(depth)),
    "wait": lambda supervisor: lambda own, depth: own.bound(depth).wait(PATIENCE).unwrap(),
    "completed.wait": lambda supervisor: lambda own,
    depth: (lambda task: _after(task.completed, task))(
        own.bound(depth)),
    "started.wait": lambda supervisor: lambda own,
    depth: (lambda task: _after(task.started, task))(own.bound(depth)),
    "wait_completed": lambda supervisor: lambda own,
    depth: wait_completed(own.bound(depth), timeout=PATIENCE),
    "wait_completed of many": lambda supervisor: lambda own,
    depth: wait_completed([own.bound(depth)])[0],
    "as_completed": lambda supervisor: lambda own, depth: _first([own.bound(depth)]),
    "map": lambda supervisor: lambda own, depth: next(own.bound.map([depth])),
    "map ahead": lambda supervisor: lambda own, depth: next(own.bound.map([depth], buffersize=1)),
    "ALoop.run": _in_a_loop,
}


@pytest.mark.parametrize("way", WAYS)
def test_a_pool_of_one_finishes_tasks_that_wait_for_tasks(make, way):
    supervisor = make()
    recursion = Recursion(supervisor, WAYS[way](supervisor))
    assert recursion.bound(0).value(PATIENCE) == DEPTH
    settle(supervisor)
    pool = manager(supervisor).threads
    assert ((pool.registry.last, pool.registry.succeeded, len(pool.registry.live))
            == (DEPTH + 1, DEPTH + 1, 0))


def test_a_thread_that_waits_for_a_process_lends_its_slot_too(make):
    supervisor = make(processes=1)
    gate = Hold()

    def parent():
        task = background_task(functions.echo, tt=TT_MP, supervisor=supervisor, delay=1000)(1)
        gate()
        return task.value(PATIENCE)

    waiting = supervisor.put_task(parent)
    gate.reached()
    other = supervisor.put_task(len, ("four",))
    assert not other.done()                     # the place is not lent yet
    gate.go()
    assert other.value(PATIENCE) == 4           # it is now
    assert not waiting.done()
    supervisor.clock.forward(manager(supervisor).timer)
    assert waiting.value(PATIENCE) == 1
    settle(supervisor)


def test_the_accounts_hold_while_slots_are_lent_and_taken_back(make):
    """Looked at whenever the lock is about to be free; no more run at once than there are places
    and returned waits."""
    supervisor = make(pool_size=2)
    pool, wrong = manager(supervisor).threads, []

    def look():
        try:
            check_accounts(pool)
        except AssertionError as error:
            wrong.append(error)

    pool.lock.look = look

    def tree(depth):
        if not depth:
            return 1
        children = [bound(depth - 1) for _ in range(3)]
        return sum(wait_completed(children, timeout=PATIENCE))

    bound = background_task(tree, supervisor=supervisor)
    root = bound(4)
    assert root.value(PATIENCE) == 81
    settle(supervisor)
    assert not wrong, wrong[0]
    assert pool.registry.last == 1 + 3 + 9 + 27 + 81


def test_a_wait_that_ends_by_its_timeout_takes_the_slot_back(make):
    supervisor = make()
    gate = Hold()

    def parent():
        blocked = background_task(gate, supervisor=supervisor)()
        assert blocked.started.wait(PATIENCE)       # on the place of the one that waits for it
        with pytest.raises(WaitTimeoutError):
            blocked.value(0.001)
        with pytest.raises(WaitTimeoutError):
            blocked.value(0)
        with manager(supervisor).threads.lock:
            active = manager(supervisor).threads.run_queue.active
        gate.go()
        return active, blocked.value(PATIENCE)

    # both run: it cannot wait for a place
    assert supervisor.put_task(parent).value(PATIENCE) == (2, None)
    settle(supervisor)


def test_a_task_abandoned_while_it_waits_releases_its_slot_once(make):
    supervisor = make()
    gate, begun = Hold(), threading.Event()

    def parent():
        child = supervisor.put_task(gate)
        begun.set()
        child.wait(PATIENCE)

    given_up = background_task(parent, supervisor=supervisor, timeout=1000)()
    assert begun.wait(PATIENCE)
    gate.reached()
    supervisor.clock.forward(manager(supervisor).timer)
    assert given_up.exception(PATIENCE) is not None
    gate.go()
    assert manager(supervisor).threads.drain(None)
    settle(supervisor)
    after = [supervisor.put_task(len, ("four",)) for _ in range(3)]
    assert [task.value(PATIENCE) for task in after] == [4, 4, 4]
    settle(supervisor)
