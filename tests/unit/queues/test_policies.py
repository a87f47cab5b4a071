"""Failures, timeouts, retries, hooks, initializers and rates of queues."""
import asyncio
import gc
import pickle
import threading
import weakref
from functools import partial
from time import perf_counter

import pytest

from atasker_like import (Checkpoint, ClosedError, TaskTimeoutError, ThreadQueue, background_task,
                          current_task, service)
from atasker_like.engine.blocking import deadline_of
from atasker_like.queues.calls import InitializedCall, InitializerState
from tests.support import PATIENCE
from tests.support.internals.queue import (ADD_END_WAITER, RECORD_ACCEPTED, callbacks_of,
                                           initializer_state_of, known_initializers)

from . import functions
from .conftest import Aside

# -- fail_first ------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["queue", "run"])
def test_the_first_failure_cancels_the_rest(inside, where):
    """Nothing that has not started by then runs, and what must complete does, in its turn."""
    queue = inside.make(workers=1, fail_policy="fail_first" if where == "queue" else "continue")
    inside.do(queue.map, inside.function("fail_at"), [(n, 2) for n in range(6)])
    spared = inside.do(partial(queue.submit, inside.function("double"), 1, must_complete=True,
                               priority=9))
    summary = inside.run(queue, **({} if where == "queue" else {"fail_policy": "fail_first"}))
    assert ([result.status for result in summary.results]
            == ["succeeded"] * 2 + ["failed"] + ["cancelled"] * 3 + ["succeeded"])
    assert [result.attempts for result in summary.results] == [1, 1, 1, 0, 0, 0, 1]
    assert spared.value() == 2


def test_the_first_failure_in_a_process_cancels_the_rest(supervisor, blocking, gate):
    queue = blocking.make(workers=1, fail_policy="fail_first")
    queue.submit(functions.fail)
    held = queue.submit(blocking.function("enter"), gate, priority=4)
    rest = queue.map(functions.double, range(5), priority=5)
    gate.open()         # what was on its way to the process may run
    summary = queue.run()
    assert summary.failed == 1
    assert ({handle.status for handle in rest} <= {"cancelled", "succeeded"}
            and rest[-1].status == "cancelled")
    assert held.done()


def test_policy_of_a_run_applies_to_that_run(inside):
    queue = inside.make(workers=1)
    inside.do(queue.map, inside.function("fail_at"), [(0, 0), (1, 0)])
    assert inside.run(queue, fail_policy="fail_first").cancelled == 1
    inside.do(queue.map, inside.function("fail_at"), [(0, 0), (1, 0)])
    summary = inside.run(queue)
    assert (summary.failed, summary.succeeded) == (1, 1)
    inside.do(queue.map, inside.function("fail_at"), [(0, 0), (1, 0)])
    assert inside.run(queue, fail_policy="fail_first").cancelled == 1


def test_a_retry_is_no_failure_yet(inside):
    queue = inside.make(workers=1, fail_policy="fail_first")
    inside.do(partial(queue.submit, inside.function("succeed_at"), 3, retries=2))
    inside.do(queue.submit, inside.function("double"), 1)
    assert inside.run(queue).values == (3, 2)


def test_a_task_that_times_out_has_failed(inside, gate):
    queue = inside.make(workers=1, fail_policy="fail_first")
    late = inside.do(partial(queue.submit, inside.function("enter"), gate, timeout=0.01))
    rest = inside.do(queue.submit, inside.function("double"), 1)
    # The slot of the late task is free at once, so the other one may start before the abort.
    inside.run(queue)
    assert (isinstance(late.exception(), TaskTimeoutError)
            and rest.status in ("cancelled", "succeeded"))
    gate.open()


def test_no_more_tasks_after_the_first_failure(threads):
    queue = threads.make(workers=1, fail_policy="fail_first")
    refused = []

    def late():
        try:
            queue.submit(functions.double, 1)
        except ClosedError as error:
            refused.append(str(error))

    queue.submit(functions.fail)
    queue.submit(late, must_complete=True)
    queue.run()
    assert "fail_first" in refused[0]
    queue.submit(functions.double, 1)       # the next run is a new one
    assert queue.run().values == (2,)


def test_a_cancelled_task_is_no_failure(threads):
    queue = threads.make(workers=1, fail_policy="fail_first")

    def give_up():
        current_task().cancel()
        current_task().check_cancelled()

    queue.submit(give_up)
    queue.submit(functions.double, 1)
    summary = queue.run()
    assert (summary.cancelled, summary.values) == (1, (2,))


def test_many_failures_at_once_cancel_the_rest(inside):
    for _ in range(20):
        queue = inside.make(workers=4, fail_policy="fail_first")
        inside.do(queue.map, inside.function("fail"), ["no"] * 50)
        summary = inside.run(queue)
        assert 1 <= summary.failed <= 8 and summary.failed + summary.cancelled == 50


def test_fail_first_in_a_block_raises_nothing(threads):
    with threads.make(workers=1, fail_policy="fail_first") as queue:
        failed = queue.submit(functions.fail)
        failed.wait(PATIENCE)
    assert failed.status == "failed"


def test_a_started_queue_goes_on_after_a_failure(inside, make_gate):
    """Each failure cancels what is there; what is submitted later runs."""
    queue = inside.make(workers=1, mode="infinite", fail_policy="fail_first")
    inside.do(queue.start)
    for _ in range(2):
        gate = make_gate()
        held = inside.do(queue.submit, inside.function("enter"), gate)
        failed = inside.do(queue.submit, inside.function("fail"))
        left = inside.do(queue.map, inside.function("double"), range(5))
        gate.open()
        failed.task.wait(PATIENCE)
        inside.do(queue.join, PATIENCE)
        assert ([handle.status for handle in [held, failed, *left]]
                == ["succeeded", "failed"] + ["cancelled"] * 5)
        assert inside.do(queue.submit, inside.function("double"), 4).task.wait(PATIENCE).value == 8
        inside.do(queue.start)
    inside.do(queue.shutdown)


@pytest.mark.parametrize("how", ["submitted", "late", "started"])
def test_an_infinite_run_ends_with_the_first_failure(inside, how):
    queue = inside.make(workers=1, mode="infinite", fail_policy="fail_first")
    watch, watching = ADD_END_WAITER.of(queue), threading.Event()
    ADD_END_WAITER.put(queue, lambda watcher: (watch(watcher), watching.set())[0])
    calls = [(n, 1) for n in range(4)]
    if how == "submitted":
        handles = inside.do(queue.map, inside.function("fail_at"), calls)
        spared = inside.do(partial(queue.submit, inside.function("double"), 1, must_complete=True,
                                   priority=9))
        run = Aside(inside.run, queue)
    else:
        if how == "started":
            inside.do(queue.start)
        run = Aside(inside.run, queue)
        assert watching.wait(PATIENCE)
        handles = inside.do(queue.map, inside.function("fail_at"), calls)
        spared = None
    summary = run.result()
    assert ([handle.status for handle in handles]
            == ["succeeded", "failed", "cancelled", "cancelled"])
    assert (not summary.timed_out and len(summary.errors) == 1
            and (spared is None or spared.value() == 2))
    handle = inside.do(queue.submit, inside.function("double"), 2)      # it is not closed
    if how != "started":
        inside.do(queue.start)
    assert handle.task.wait(PATIENCE).value == 4
    inside.do(queue.shutdown)


def test_a_map_that_is_under_way_at_a_failure_in_a_started_queue_is_refused(threads):
    queue = threads.make(workers=1, fail_policy="fail_first")
    queue.start()

    def items():
        yield from range(512)
        queue.submit(functions.fail).wait(PATIENCE)
        queue.join(PATIENCE)        # others may submit again
        yield 1

    with pytest.raises(ClosedError, match="has aborted"):
        queue.map(functions.double, items())
    assert queue.submit(functions.double, 1).wait(PATIENCE).value == 2
    queue.shutdown()


def test_a_group_that_is_under_way_at_a_failure_in_a_started_queue_is_refused(threads):
    queue = threads.make(workers=1, fail_policy="fail_first")
    queue.start()

    class Fails(Checkpoint):
        """Between the first call and the second there is a failure."""

        def page(self, function):
            if function.__name__ == "add":
                queue.submit(functions.fail).wait(PATIENCE)
                queue.join(PATIENCE)
            return super().page(function)

    with Fails(":memory:") as checkpoint, pytest.raises(ClosedError, match="has aborted"):
        queue.group([(functions.double, 1), (functions.add, 1)], checkpoint=checkpoint)
    assert queue.stats["submitted"] == 2
    queue.shutdown()


def test_what_a_map_has_accepted_at_a_failure_is_cancelled(threads, monkeypatch):
    """It is not in the ledger yet when what is left is looked up."""
    queue = threads.make(fail_policy="fail_first")
    queue.start()
    enter = RECORD_ACCEPTED.of(queue)

    def late(*arguments):
        monkeypatch.undo()
        queue.submit(functions.fail).wait(PATIENCE)
        assert callbacks_of(queue).wait(deadline_of(PATIENCE))
        enter(*arguments)

    RECORD_ACCEPTED.patch(monkeypatch, queue, late)
    assert queue.map(functions.double, [1], delay=1000)[0].cancelled()
    queue.shutdown()


# -- the time of a run -----------------------------------------------------------------------------


@pytest.mark.parametrize("on_timeout, status", [("complete", "succeeded"), ("cancel", "cancelled")])
def test_run_whose_timeout_passes_cancels_the_rest(face, gate, on_timeout, status):
    queue = face.make(workers=1, on_timeout=on_timeout, timeout=0.01)
    running = face.do(queue.submit, face.function("enter"), gate)
    waiting = face.do(queue.submit, face.function("double"), 1)
    must = face.do(partial(queue.submit, face.function("double"), 2, must_complete=True))
    summary = face.run(queue)
    assert summary.timed_out and not summary.ok
    assert (running.status, waiting.status, must.status) == ("cancelled", "cancelled", status)
    assert summary.cancelled == (2 if status == "succeeded" else 3)
    gate.open()
    face.do(queue.submit, face.function("double"), 3)       # it can be used again
    assert face.run(queue, timeout=PATIENCE).values == (6,)


def test_timeout_of_a_run_overrides_that_of_the_queue(threads):
    queue = threads.make(timeout=PATIENCE)
    queue.submit(functions.double, 1, delay=PATIENCE)
    assert queue.run(timeout=0).timed_out


def test_infinite_run_ends_at_its_timeout(face):
    queue = face.make(mode="infinite")
    summary = face.run(queue, timeout=0.01)
    assert summary.timed_out
    face.do(queue.shutdown)


def test_abandoned_thread_frees_its_slot(threads, gate, supervisor):
    queue = threads.make(workers=1)
    stuck = queue.submit(threads.function("enter"), gate)
    queue.start()
    gate.wait_entered()
    queue.run(timeout=0.01)
    assert stuck.cancelled() and supervisor.stats().thread.abandoned == 1
    queue.submit(functions.double, 4)
    assert queue.run().values == (8,)
    gate.open()


def test_an_async_run_that_is_cancelled_cancels_its_tasks(coroutines, gate):
    async def main():
        queue = coroutines.make(workers=1)
        handles = queue.map(coroutines.function("enter"), [gate] * 2)
        run = asyncio.ensure_future(queue.run())
        while handles[0].status != "running":
            await asyncio.sleep(0)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        for handle in handles:
            await handle
        return [handle.status for handle in handles], queue.stats["pending"]

    assert coroutines.do(main) == (["cancelled", "cancelled"], 0)


# -- attempts --------------------------------------------------------------------------------------


def test_failed_task_with_retries_runs_again(face):
    queue = face.make()
    handle = face.do(partial(queue.submit, face.function("succeed_at"), 3, retries=2))
    lost = face.do(partial(queue.submit, face.function("fail"), retries=1, retry_delay=0.001,
                           backoff=2))
    face.run(queue)
    assert (handle.value(), handle.attempts) == (3, 3)
    assert (lost.status, lost.attempts) == ("failed", 2)


def test_task_that_waits_for_its_next_attempt_is_retrying(face):
    retried = threading.Event()
    queue = face.make(on_retry=lambda handle, error: retried.set())
    handle = face.do(partial(queue.submit, face.function("fail"), retries=1, retry_delay=1000))
    face.do(queue.start)
    assert retried.wait(PATIENCE)
    assert (handle.status == "retrying" and handle.attempts == 1
            and handle.scheduled_for > perf_counter() + 500)
    assert queue.stats["scheduled"] == 1
    queue.cancel()
    assert handle.status == "cancelled"


# -- hooks -----------------------------------------------------------------------------------------


def test_hooks_are_called_with_handles_and_results(face):
    seen = []
    queue = face.make(workers=1, on_start=lambda handle: seen.append(("start", handle, None)),
                      on_complete=lambda result: seen.append(("complete", result.task_id,
                                                              result.status)),
                      on_retry=lambda handle, error: seen.append(("retry", handle, str(error))))
    good = face.do(partial(queue.submit, face.function("succeed_at"), 2, retries=1))
    bad = face.do(queue.submit, face.function("fail"), "bad")
    never = face.do(queue.submit, face.function("double"), 1)
    never.cancel()
    face.run(queue)
    by_task = {handle.task_id: [entry[0] for entry in seen if entry[1] in (handle, handle.task_id)]
               for handle in (good, bad, never)}
    assert by_task == {good.task_id: ["start", "retry", "start", "complete"],
                       bad.task_id: ["start", "complete"],
                       never.task_id: ["complete"]}
    assert [entry[2] for entry in seen if entry[0] == "retry"] == ["attempt 1"]
    assert (sorted(entry[2] for entry in seen if entry[0] == "complete")
            == ["cancelled", "failed", "succeeded"])


def test_hooks_of_an_async_queue_are_called_in_its_loop(coroutines):
    loops = []

    def note(*_):
        loops.append(asyncio.get_running_loop())

    async def main():
        queue = coroutines.make(on_start=note, on_complete=note, on_retry=note)
        queue.submit(functions.co_succeed_at, 2, retries=1)
        await queue.run()
        return asyncio.get_running_loop()

    own = coroutines.do(main)
    assert loops == [own] * 4       # two starts, a retry, an end


@pytest.mark.parametrize("hook", ["on_start", "on_complete", "on_retry"])
def test_hook_that_raises_is_logged(face, hook, caplog):
    def refuse(*_):
        raise KeyError("the hook")

    queue = face.make(**{hook: refuse})
    face.do(partial(queue.submit, face.function("succeed_at"), 2, retries=1))
    assert face.run(queue).ok
    assert f"{hook} of a queue, for task " in caplog.text and "the hook" in caplog.text


def test_a_run_ends_after_its_last_hook(inside):
    """on_complete of all tasks has returned when run() does."""
    for _ in range(20):
        seen = []
        queue = inside.make(on_complete=lambda result: seen.append(result.value))
        inside.do(queue.map, inside.function("double"), range(20))
        inside.run(queue)
        assert sorted(seen) == list(range(0, 40, 2))


def test_a_hook_may_use_the_queue(threads):
    queue = threads.make(on_complete=lambda result: result.value == 2
                         and queue.submit(functions.double, 21))
    queue.submit(functions.double, 1)
    values = queue.run().values + queue.run().values
    assert sorted(values) == [2, 42]


# -- initializer -----------------------------------------------------------------------------------


@pytest.fixture
def unset():
    functions.setting = None
    functions.calls.clear()
    yield functions.calls
    functions.setting = None
    functions.calls.clear()


def test_initializer_is_called_before_the_first_task(face, unset):
    queue = face.make(initializer=functions.configure, initargs=("red",))
    face.do(queue.map, face.function("get_setting"), [()] * 20)
    assert set(face.run(queue).values) == {"red"}
    assert queue.results[0].name.endswith("get_setting")


def test_initializer_is_called_once_in_each_thread_or_process(inside, unset):
    queue = inside.make(workers=1, initializer=functions.configure, initargs=("red",))
    inside.do(queue.map, inside.function("get_setting"), [()] * 20)
    inside.run(queue)
    assert unset == ["red"]
    other = inside.make(workers=1, initializer=functions.configure, initargs=("blue",))
    inside.do(other.map, inside.function("get_setting"), [()] * 2)
    assert inside.run(other).values == ("blue", "blue")
    assert unset == ["red", "blue"]


def test_state_of_an_initializer_ends_with_its_queue(threads, supervisor, unset):
    queue = threads.make(initializer=functions.configure, initargs=("red",))
    for _ in range(2):
        queue.submit(functions.get_setting)
        assert queue.run().values == ("red",)
        queue.clear_results()
        queue.reset()
    assert len(unset) <= 2      # once in each of the threads that there were
    ready = weakref.ref(initializer_state_of(queue))
    del queue
    supervisor.stop(wait=PATIENCE)      # the thread that ran it has let go of it
    gc.collect()
    assert ready() is None


def test_states_of_initializers_in_a_process_are_bounded():
    first, second = [pickle.loads(pickle.dumps(InitializedCall(function, int, (),
                                                               InitializerState("a queue"))))
                     for function in (abs, len)]
    assert first.ready is second.ready and not first.ready.called
    assert first(-1) == 1 and second.ready.called
    for number in range(2000):
        assert (pickle.loads(pickle.dumps(InitializerState(f"queue {number}"))).key
                == f"queue {number}")
    gc.collect()
    assert len(known_initializers()) <= 300
    assert first.ready is pickle.loads(pickle.dumps(first.ready))


def test_clear_results_forgets_functions_too(threads):
    class Argument:
        pass

    queue = threads.make(mode="infinite")
    queue.start()
    kept = Argument()
    here = weakref.ref(kept)
    queue.submit(partial(isinstance, kept, int)).wait(PATIENCE)
    queue.submit(functions.double, 1).wait(PATIENCE)
    queue.join(PATIENCE)
    del kept
    queue.clear_results()
    queue.shutdown()
    threads.supervisor.stop(wait=PATIENCE)
    gc.collect()
    assert here() is None and not queue.results


def test_initializer_before_an_object_with_attributes_of_the_same_names_is_called(blocking, unset):
    for setting in ("red", "blue"):
        queue = blocking.make(workers=1, initializer=functions.configure, initargs=(setting,))
        scale = functions.Scale(key=[3], initializer=1, initargs=2, ready=4, __wrapped__=5)
        assert queue.submit(scale, 2).name == "Scale"
        queue.submit(functions.get_setting)
        assert blocking.run(queue).values == (6, setting)


@pytest.mark.parametrize("settings", [{}, {"fail_policy": "fail_first"}, {"initializer": int},
                                      {"fail_policy": "fail_first", "initializer": int}],
                         ids=["plain", "fail_first", "initializer", "both"])
def test_objects_without_a_name_have_that_of_their_class(inside, settings):
    """The name does not depend on the wrappers that a queue adds."""
    queue = inside.make(**settings)

    class Twice:
        if inside.is_async:
            async def __call__(self, x):
                return 2 * x
        else:
            def __call__(self, x):
                return 2 * x

    functions_of = partial(inside.function("add"), 1), Twice(), inside.function("double")
    names = [inside.do(queue.submit, function, 2).name for function in functions_of]
    assert [name.split(".")[-1] for name in names] == ["partial", "Twice", functions_of[2].__name__]
    assert inside.run(queue).values == (3, 4, 4)


def test_an_initializer_that_raises_fails_the_tasks(blocking):
    queue = blocking.make(initializer=functions.refuse)
    queue.map(functions.double, [1, 2])
    summary = queue.run()
    assert ([result.message for result in summary.errors]
            == ["RuntimeError: the initializer does not like it here"] * 2)


def test_initializer_of_an_async_queue_that_raises_cancels_the_tasks(coroutines):
    async def refuse():
        raise RuntimeError("no")

    queue = coroutines.make(initializer=refuse)
    handle = coroutines.do(queue.submit, functions.co_double, 1)
    with pytest.raises(RuntimeError, match="no"):
        coroutines.run(queue)
    assert handle.cancelled()


# -- rate, and the supervisor that all share -------------------------------------------------------


@pytest.mark.slow
def test_tasks_with_a_rate_start_at_intervals(inside):
    """After the burst, tasks start one interval apart: never sooner. What is let start may start
    late, so the whole run is looked at; the tests of lanes look at each start, by a clock of their
    own."""
    queue = inside.make(rate=100, burst=5)
    began = perf_counter()
    handles = inside.do(queue.map, inside.function("double"), range(45))
    inside.run(queue)
    assert max(handle.result().started_at for handle in handles) - began >= 40 / 100 * 0.98


class Sample(service.Task):
    """A task of a service, which handles them one at a time."""


def test_limits_and_reserves_hold_together(make_supervisor):
    """Two queues, a service, plain tasks and urgent ones on one supervisor: each keeps its limit,
    the reserve stays for the urgent, and all have been running at once as far as there are
    places."""
    supervisor = make_supervisor(pool_size=3, reserve_normal=1, reserve_high=1)
    lock = threading.Lock()
    names = ("a", "b", "service", "plain", "urgent", "normal", "all")
    running, most = dict.fromkeys(names, 0), dict.fromkeys(names, 0)

    def sample(name):
        counted = [name, "all"] + ["normal"] * (name != "urgent")
        for step in (1, -1):
            with lock:
                for key in counted:
                    running[key] += step
                    most[key] = max(most[key], running[key])
            threading.Event().wait(0.0001)      # so that others come in between

    def handle(task):
        sample("service")

    lab = service.Service("lab", supervisor=supervisor)
    lab.handler(Sample)(handle)
    first = ThreadQueue(workers=2, supervisor=supervisor)
    second = ThreadQueue(workers=1, supervisor=supervisor, pool_priority=200)
    first.map(sample, ["a"] * 300)
    second.map(sample, ["b"] * 300)
    first.start()
    second.start()
    plain = background_task(sample, supervisor=supervisor)
    tasks = [plain("plain") for _ in range(300)]
    urgent = background_task(sample, supervisor=supervisor, priority=50)
    with service.SyncClient(lab, supervisor=supervisor) as client:
        futures = [client.request(Sample()) for _ in range(100)]
        tasks += [urgent("urgent") for _ in range(50)]
        for future in futures:
            future.result()
    first.shutdown()
    second.shutdown()
    for task in tasks:
        task.wait(PATIENCE)
    assert 1 <= most["a"] <= 2 and most["b"] == 1 and most["service"] == 1
    assert most["plain"] <= 4 and most["normal"] <= 4 and most["all"] <= 5


def test_queue_gets_no_slot_of_the_reserve(make_supervisor, make_gate):
    supervisor = make_supervisor(pool_size=1, reserve_normal=1, reserve_high=1)
    from tests.contract.functions import enter
    gate = make_gate()
    queue = ThreadQueue(supervisor=supervisor, pool_priority=200)
    handles = queue.map(enter, [gate] * 3, priority=-100)       # urgent in the queue only
    queue.start()
    gate.wait_entered(1)
    assert queue.active_count == 1
    assert background_task(functions.double, supervisor=supervisor)(4).value(PATIENCE) == 8
    gate.open()
    queue.shutdown()
    assert all(handle.status == "succeeded" for handle in handles)


def test_queue_that_runs_inside_a_task_lends_its_slot(make_supervisor):
    supervisor = make_supervisor(pool_size=1, reserve_normal=0, reserve_high=0)

    def outer():
        queue = ThreadQueue(supervisor=supervisor)
        queue.map(functions.double, [1, 2])
        return queue.run().values

    assert background_task(outer, supervisor=supervisor)().value(PATIENCE) == (2, 4)


def test_a_supervisor_that_is_stopped_cancels_what_waits_in_a_queue(make_supervisor):
    supervisor = make_supervisor()
    queue = ThreadQueue(supervisor=supervisor)
    handle = queue.submit(functions.double, 1)
    supervisor.stop(wait=PATIENCE)
    assert handle.status == "cancelled"


def test_unseen_failure_is_logged(threads, supervisor, unseen):
    queue = threads.make()
    queue.submit(functions.fail)
    queue.run()
    del queue
    supervisor.stop(wait=PATIENCE)      # the thread that ran it has let go of it
    assert len(unseen()) == 1


def test_failure_in_a_seen_summary_is_not_logged(threads, unseen):
    queue = threads.make()
    queue.submit(functions.fail)
    assert queue.run().errors
    del queue
    assert unseen() == []
