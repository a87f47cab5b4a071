"""Law 5. ``None`` has no end, 0 is now: a timeout becomes a monotonic deadline once, at the
top."""
import asyncio
import time

import pytest

from atasker_like import (WaitTimeoutError, as_completed, background_task, co_as_completed,
                          co_wait_completed, wait_completed)
from atasker_like.engine import blocking as waiting, wait_graph
from tests.support import PATIENCE
from tests.support.gates import Hold
from tests.support.internals.engine import extra_fields_of, task_waiters_of
from tests.support.threads import join, started, wait_for

from ..support.internals import manager


async def _collect(tasks, timeout):
    return [task async for task in co_as_completed(tasks, timeout=timeout)]


WAITS = {
    "value": lambda task, timeout: task.value(timeout),
    "exception": lambda task, timeout: task.exception(timeout),
    "wait": lambda task, timeout: task.wait(timeout),
    "completed.wait": lambda task, timeout: task.completed.wait(timeout),
    "started.wait": lambda task, timeout: task.started.wait(timeout),
    "wait_completed": lambda task, timeout: wait_completed(task, timeout=timeout),
    "wait_completed of many": lambda task, timeout: wait_completed([task, task], timeout=timeout),
    "as_completed": lambda task, timeout: list(as_completed([task], timeout=timeout)),
    "co_wait_completed": lambda task,
    timeout: asyncio.run(co_wait_completed([task], timeout=timeout)),
    "co_as_completed": lambda task, timeout: asyncio.run(_collect([task], timeout)),
}


@pytest.fixture
def blocked(make):
    """A task that waits for its place until the gate opens."""
    supervisor = make()
    gate = Hold()
    supervisor.put_task(gate)
    gate.reached()
    task = background_task(len, supervisor=supervisor)("four")
    yield task, gate
    gate.go()
    task.wait(PATIENCE)


@pytest.mark.parametrize("way", WAITS)
@pytest.mark.parametrize("none", [0, 0.0, -1])
def test_0_is_now(blocked, way, none):
    task, gate = blocked
    waiter = started(WAITS[way], task, none)
    outcome = join(waiter)
    assert outcome is False or isinstance(outcome, WaitTimeoutError), outcome
    assert task.state == "pending"
    if task_waiters_of(task) is not None:
        assert not task_waiters_of(task), "it is still waited for"


@pytest.mark.parametrize("way", WAITS)
def test_none_has_no_end(blocked, way):
    """The wait goes on although the clock has passed every number that could stand for no end."""
    task, gate = blocked
    waiter = started(WAITS[way], task, None)
    wait_for(lambda: (task_waiters_of(task)
                      or getattr(extra_fields_of(task), "on_start", None)),
             "somebody waits")
    assert waiter.is_alive()
    gate.go()
    outcome = join(waiter)
    assert not isinstance(outcome, BaseException), outcome


@pytest.mark.parametrize("way", WAITS)
def test_a_timeout_of_a_task_that_has_ended_is_not_looked_at(make, way):
    task = make().put_task(len, ("four",))
    task.wait(PATIENCE)
    outcome = join(started(WAITS[way], task, 0))
    assert not isinstance(outcome, BaseException), outcome


def test_one_deadline_for_all_that_is_waited_for(make, monkeypatch):
    """The clock moves while each task is waited for: the last wait gets what is left, not the whole
    timeout again."""
    supervisor = make()
    gates = [Hold() for _ in range(3)]
    tasks = [supervisor.put_task(gate) for gate in gates]
    deadlines = []
    block = wait_graph.block

    def note(acquire, deadline):
        gates[len(deadlines)].go()          # each ends when it is waited for, not before
        deadlines.append(deadline)
        return block(acquire, deadline)

    monkeypatch.setattr(wait_graph, "block", note)
    wait_completed(list(reversed(tasks)), timeout=PATIENCE)
    assert len(deadlines) == 3 and len(set(deadlines)) == 1 and deadlines[0] is not None


def test_the_deadline_is_of_the_monotonic_clock(monkeypatch):
    monkeypatch.setattr(waiting, "monotonic", lambda: 1000.0)
    monkeypatch.setattr(time, "time", lambda: 9e9)
    assert waiting.deadline_of(None) is None and waiting.remaining(None) is None
    assert waiting.deadline_of(5) == 1005.0
    assert waiting.remaining(1005.0) == 5.0
    assert waiting.remaining(999.0) == 0.0      # never below: that would be no limit to a lock
    calls = []
    waiting.block(lambda *args: calls.append(args) or True, 999.0)
    waiting.block(lambda *args: calls.append(args) or True, None)
    waiting.block(lambda *args: calls.append(args) or True, 1e300)
    assert calls == [(False,), (True, -1.0), (True, waiting.TIMEOUT_MAX)]


def test_0_of_a_stop_is_now_and_true_has_no_limit(make):
    supervisor = make()
    gate = Hold()
    task = supervisor.put_task(gate)
    gate.reached()
    join(started(supervisor.stop, 0))
    assert task.state == "cancelled"
    gate.go()
    supervisor = make()
    gate = Hold()
    task = supervisor.put_task(gate)
    gate.reached()
    stop = started(supervisor.stop, True)
    wait_for(lambda: manager(supervisor).threads.backpressure.drain_waiters,
             "the stop waits for the task")
    assert task.state == "running"
    gate.go()
    join(stop)
    assert task.state == "succeeded"
