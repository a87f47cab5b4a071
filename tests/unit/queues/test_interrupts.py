"""Interrupts, signal handlers and forks at any line of a queue: no task is lost, no wait hangs."""
import os
import threading

import pytest

from atasker_like import (Checkpoint, ClosedError, QueueStateError, SupervisorBusyError,
                          SupervisorStoppedError, ThreadQueue)
from atasker_like.engine import wait_group
from atasker_like.engine.wait_group import WaitGroup
from atasker_like.pools import backpressure as intake
from tests.support import PATIENCE
from tests.support.internals.engine import group_waiters_of
from tests.support.internals.queue import (RECORD_ACCEPTED, callbacks_of, lane_of_queue, policy_of,
                                           run_of, submissions_of, tasks_of_queue)
from tests.support.interruptions import at_line, interrupt
from tests.support.scripts import run_script
from tests.support.threads import wait_for

from .conftest import Aside
from .functions import fail_at_one

#: How calls come into a queue, each with how many of them.
WAYS = {"submit": (lambda queue, run: queue.submit(run, 1), 1),
        "keywords": (lambda queue, run: queue.task()(run)(number=1), 1),
        "map": (lambda queue, run: queue.map(run, [1, 2, 3]), 3),
        "map of keywords": (lambda queue, run: queue.map(run, [{"number": 1}, {"number": 2}]), 2),
        "group": (lambda queue, run: queue.group([(run, 1), (run, 2)]), 2)}


# -- interrupts ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.gate
@pytest.mark.parametrize("way, policy, started, size", [
    *[(way, *setting) for way in WAYS
      for setting in [("continue", False, 0), ("fail_first", True, 5)]],
    *[(way, *setting) for way in ("submit", "map")
      for setting in [("continue", True, 0), ("fail_first", False, 5)]],
])
def test_a_submission_that_is_interrupted_at_any_line_is_undone(supervisor, way, policy, started,
                                                                size):
    submit, count = WAYS[way]
    ran = []

    def run(number):
        ran.append(number)

    line, reached = 0, True
    while reached:
        line += 1
        del ran[:]
        queue = ThreadQueue(supervisor=supervisor, fail_policy=policy, size=size)
        if started:
            queue.start()
        try:
            reached = at_line(line, interrupt, lambda: submit(queue, run))
            raised = False
        except KeyboardInterrupt:
            raised = True
        assert not submissions_of(queue).calls, line
        if started:
            assert queue.submit(abs, -7).task.value(PATIENCE) == 7
            queue.join(PATIENCE)
        else:
            queue.run(timeout=PATIENCE)
        assert not callbacks_of(queue).calls, line
        seen = [handle for handle in queue.results if handle.status == "succeeded"
                and handle.name != "abs"]
        if not raised:
            assert len(ran) == len(seen) == count, line
        elif not started:
            assert not ran and not seen, line
        else:
            assert len(ran) <= len(queue.results), line        # those that had begun are counted
        queue.shutdown()
        assert not lane_of_queue(queue).waiting, line
        wait_for(lambda: not lane_of_queue(queue).running,
                 "a function comes back whose task has been given up")
    assert line > 20


@pytest.mark.slow
def test_a_submission_with_a_checkpoint_that_is_interrupted_at_any_line_is_undone(supervisor):
    ran = []
    line, reached = 0, True

    def note(number):
        ran.append(number)

    while reached:
        line += 1
        del ran[:]
        queue = ThreadQueue(supervisor=supervisor)
        with Checkpoint(":memory:") as checkpoint:
            try:
                reached = at_line(line, interrupt,
                                  lambda: queue.map(note, [1, 2], checkpoint=checkpoint))
                expected = 2
            except KeyboardInterrupt:
                expected = 0
            assert not submissions_of(queue).calls, line
            queue.run(timeout=PATIENCE)
            assert len(ran) == expected and not callbacks_of(queue).calls, line
    assert line > 20


@pytest.mark.parametrize("arguments", [{}, {"fail_policy": "fail_first"}])
def test_a_run_that_is_interrupted_at_any_line_can_be_repeated(supervisor, arguments):
    line, reached = 0, True
    while reached:
        line += 1
        queue = ThreadQueue(supervisor=supervisor)
        handles = queue.map(abs, [-1, -2])
        try:
            reached = at_line(line, interrupt, lambda: queue.run(timeout=PATIENCE, **arguments),
                              "atasker_like/queues")
        except KeyboardInterrupt:
            pass
        assert run_of(queue) is None, line
        assert policy_of(queue) == "continue", line
        queue.run(timeout=PATIENCE)
        assert [handle.value() for handle in handles] == [1, 2]
    assert line > 20


def test_submission_interrupted_after_its_task_has_started_is_counted(supervisor, monkeypatch):
    queue = ThreadQueue(supervisor=supervisor)
    queue.start()
    begun, gate = threading.Event(), threading.Event()

    def run():
        begun.set()
        gate.wait(PATIENCE)

    def interrupted(*submissions):
        assert begun.wait(PATIENCE)
        raise KeyboardInterrupt

    RECORD_ACCEPTED.patch(monkeypatch, queue, interrupted)
    with pytest.raises(KeyboardInterrupt):
        queue.submit(run)
    assert queue.active_count == 1      # it is waited for
    gate.set()
    queue.join(PATIENCE)
    assert [handle.status for handle in queue.results] == ["succeeded"]


def test_a_refused_submission_leaves_nothing_in_the_ledger(supervisor):
    with Checkpoint(":memory:") as checkpoint:
        queue = ThreadQueue(supervisor=supervisor, fail_policy="fail_first")
        supervisor.stop(wait=PATIENCE)
        for options in ({}, {"checkpoint": checkpoint}):
            with pytest.raises(SupervisorStoppedError):
                queue.map(fail_at_one, [1, 2], **options)
        with pytest.raises(SupervisorStoppedError):
            queue.submit(fail_at_one, 1)
        supervisor.start()
        queue.submit(fail_at_one, 2)
        assert queue.run(timeout=PATIENCE).values == (2,)
        assert not callbacks_of(queue).calls


# -- signal handlers and finalizers ----------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("deed", ["submit", "map", "cancel", "force", "shutdown", "join", "reset"])
@pytest.mark.parametrize("policy", ["continue", "fail_first"])
def test_a_handler_may_come_at_any_line_of_a_submission(supervisor, deed, policy):
    line, reached = 0, True
    while reached:
        line += 1
        queue = ThreadQueue(supervisor=supervisor, fail_policy=policy)
        if deed != "reset":
            queue.start()
        made = []

        def handler():
            try:
                {"submit": lambda: made.append(queue.submit(abs, -2)),
                 "map": lambda: made.extend(queue.map(abs, [-2, -3])),
                 "cancel": queue.cancel, "force": lambda: queue.shutdown(force=True),
                 "shutdown": queue.shutdown,
                 "join": queue.join, "reset": queue.reset}[deed]()
            except (SupervisorBusyError, QueueStateError):
                pass            # it came in between two steps

        try:
            reached = at_line(line, handler, lambda: made.append(queue.submit(abs, -1)))
        except ClosedError:
            assert queue.closed or deed == "reset", line
        assert not submissions_of(queue).calls, line
        if deed == "reset":
            queue.start()
        queue.shutdown()
        assert not callbacks_of(queue).calls, line
        assert all(handle.task.wait(PATIENCE) for handle in made), line
        assert len(tasks_of_queue(queue)) == len(queue.results), line
    assert line > 20


@pytest.mark.parametrize("force", [True, False])
def test_a_handler_may_shut_down_a_queue_while_its_thread_waits_for_room(supervisor, monkeypatch,
                                                                         force):
    queue = ThreadQueue(workers=1, size=1, supervisor=supervisor)
    queue.start()
    gate = threading.Event()
    waiting, block = [], intake.block

    def handled(acquire, deadline):
        """As a handler does, in the thread that waits for room, which it does afterwards."""
        if not waiting:
            waiting.append(acquire)
            if not force:
                gate.set()
            queue.shutdown(force=force)
            gate.set()
        return block(acquire, deadline)

    monkeypatch.setattr(intake, "block", handled)
    try:
        with pytest.raises(ClosedError):
            queue.map(gate.wait, [PATIENCE] * 5)
    finally:
        gate.set()
    assert waiting and queue.closed and not submissions_of(queue).calls
    assert all(task.wait(PATIENCE) for task in tasks_of_queue(queue))


def test_wait_for_a_submission_is_woken_by_its_end(supervisor, monkeypatch):
    """At each line of the one, all of the other's end comes in between."""
    for first in ("wait", "done"):
        line, reached = 0, True
        while reached:
            line += 1
            calls = WaitGroup()

            def block_on(tasks, acquire, deadline, certain):
                if "call" in calls.calls:
                    calls.done("call")
                assert acquire(False), "it would wait without end"
                return True

            calls.add("call")
            calls.add("another")
            calls.done("another")
            if first == "wait":
                with monkeypatch.context() as patched:
                    patched.setattr(wait_group, "block_on", block_on)
                    reached = at_line(line, lambda: calls.done("call"), lambda: calls.wait(),
                                      "engine/wait_group")
            else:
                waiter = []

                def wait():
                    waiter.append(Aside(calls.wait))
                    wait_for(lambda: group_waiters_of(calls) or not waiter[0].thread.is_alive(),
                             "it waits")

                reached = at_line(line, wait, lambda: calls.done("call"), "engine/wait_group")
                assert not waiter or waiter[0].result()
            assert not group_waiters_of(calls)


# -- callbacks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [lambda queue: queue.join(), lambda queue: queue.shutdown(),
                                 lambda queue: queue.shutdown(force=True)],
                         ids=["join", "shutdown", "force"])
@pytest.mark.parametrize("policy", ["own", "of the run"])
def test_callback_of_a_task_cancelled_by_a_failure_may_wait_for_the_queue(supervisor, how,
                                                                          policy):
    queue = ThreadQueue(workers=1, fail_policy="fail_first" if policy == "own" else "continue",
                        supervisor=supervisor)
    failing = queue.submit(fail_at_one, 1)
    cancelled = queue.submit(abs, -1)
    called = threading.Event()

    def callback(handle):
        how(queue)
        called.set()

    cancelled.add_done_callback(callback)
    summary = Aside(queue.run, fail_policy="fail_first").result()
    assert called.wait(PATIENCE)
    assert summary.failed == 1 and summary.cancelled == 1 and failing.done()


# -- forks -----------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX")
@pytest.mark.slow
def test_forked_process_waits_for_no_other_thread_of_the_parent():
    out = run_script("""
import os, threading
from atasker_like import ThreadQueue
full, running = ThreadQueue(size=1, fail_policy="fail_first"), ThreadQueue()
ended = ThreadQueue(mode="infinite")
gate = threading.Event()
threads = [threading.Thread(target=full.map, args=(abs, range(5))),
           threading.Thread(target=running.run)]
running.submit(gate.wait)
for thread in threads:
    thread.start()
while not full._lane.blocked_submitters or not running.active_count:
    pass
with full._lock:
    started = threading.Event()
    def hold():
        with running._lock:
            started.set()
            gate.wait()
    holder = threading.Thread(target=hold)
    holder.start()
    started.wait()
    pid = os.fork()
if not pid:
    for queue in (full, running):
        queue.submit(abs, -1)
        assert queue.run(timeout=10).succeeded == 1
        queue.shutdown()
        queue.reset()
    os._exit(7)
gate.set()
print(os.waitpid(pid, 0)[1] >> 8)
full.start()
for thread in threads + [holder]:
    thread.join()
full.shutdown()
print(full.stats["succeeded"])
""")
    assert out.split() == ["7", "5"]
