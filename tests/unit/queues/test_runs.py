"""Submissions, runs and summaries of queues."""
import inspect
import io
import pickle
import re
import threading
from functools import partial
from time import monotonic, sleep

import pytest

from atasker_like import (AsyncQueue, ClosedError, ExecutionError, InvalidArgumentError,
                          InvalidTypeError, ProcessQueue, QueueFullError, QueueStateError,
                          TaskOptions, ThreadQueue, WaitTimeoutError, background_task)
from tests.support import PATIENCE
from tests.support.internals.queue import (END_RUN, MAKE_SPEC, TASK_DONE, WATCH_FAILURES,
                                           lane_of_queue)

from . import functions
from .conftest import Aside


def test_finite_run_ends_with_its_tasks(face):
    queue = face.make()
    handles = face.do(queue.map, face.function("double"), [1, 2, 3])
    assert [handle.status for handle in handles] == ["pending"] * 3     # nothing runs before run()
    summary = face.run(queue)
    assert summary.values == (2, 4, 6)
    assert ((summary.total_submitted, summary.succeeded, summary.failed, summary.cancelled)
            == (3, 3, 0, 0))
    assert summary.ok and not summary.timed_out and summary.duration > 0
    assert [handle.value() for handle in handles] == [2, 4, 6]


def test_run_without_tasks_ends_at_once(face):
    summary = face.run(face.make())
    assert (summary.total_submitted, summary.values, summary.ok) == (0, (), True)


def test_summary_of_each_run_has_its_own_tasks(face):
    queue = face.make()
    face.do(queue.submit, face.function("double"), 1)
    assert face.run(queue).values == (2,)
    face.do(queue.submit, face.function("double"), 2)
    assert face.run(queue).values == (4,)
    assert [result.value for result in queue.results] == [2, 4]


def test_items_that_are_tuples_or_mappings_are_unpacked(face):
    queue = face.make()
    face.do(queue.map, face.function("add"), [(1, 2), {"a": 3, "b": 4}, 5, (), ])
    summary = face.run(queue)
    assert summary.values == (3, 7, 5)
    assert "missing" in summary.errors[0].message


def test_many_items_keep_their_order(face):
    queue = face.make()
    face.do(queue.map, face.function("double"), range(1500))
    assert face.run(queue).values == tuple(range(0, 3000, 2))


def test_tasks_that_are_submitted_while_it_runs_belong_to_the_run(threads):
    queue = threads.make(workers=1)

    def parent():
        queue.submit(functions.double, 21)

    queue.submit(parent)
    assert queue.run().values == (None, 42)


def test_results_have_the_options_of_their_tasks(face):
    queue = face.make()
    handle = face.do(partial(queue.submit, face.function("fail"), "bad", priority=7,
                             name="the bad one", group_id="g", metadata={"k": 1}))
    face.run(queue)
    result = handle.result()
    assert (result.name, result.status, result.priority, result.group_id, result.metadata,
            result.attempts) == (
        "the bad one", "failed", 7, "g", {"k": 1}, 1)
    assert result.message == "ValueError: bad" and isinstance(result.exception, ValueError)
    assert result.created_at <= result.started_at <= result.finished_at
    assert (result.task_id == handle.task_id and result.value is None and not result.detached
            and not result.must_complete)


def test_summary_groups_results_by_id_name_and_group(threads):
    queue = threads.make()
    good = queue.submit(functions.double, 1, name="a", group_id="x")
    bad = queue.submit(functions.fail, name="b", group_id="x")
    never = queue.submit(functions.double, 3, name="a")
    never.cancel()
    summary = queue.run()
    assert {name: len(results) for name, results in summary.by_name().items()} == {"a": 2, "b": 1}
    assert ({group: len(results) for group, results in summary.by_group().items()}
            == {"x": 2, None: 1})
    assert summary.by_task_id()[good.task_id] == good.result()
    assert [result.task_id for result in summary.errors] == [bad.task_id]
    assert [result.task_id for result in summary.cancellations()] == [never.task_id]
    assert [result.value for result in summary.successes()] == [2]
    assert not summary.ok
    with pytest.raises(ExecutionError) as caught:
        summary.raise_for_errors()
    assert [result.name for result in caught.value.results] == ["b"]
    with pytest.raises(ExecutionError) as caught:
        summary.raise_for_errors(include_cancelled=True)
    assert [result.status for result in caught.value.results] == ["failed", "cancelled"]


def test_only_cancellations_are_no_errors_unless_asked(threads):
    queue = threads.make()
    queue.submit(functions.double, 1).cancel()
    summary = queue.run()
    summary.raise_for_errors()
    with pytest.raises(ExecutionError, match="1 cancelled"):
        summary.raise_for_errors(include_cancelled=True)


def test_detached_tasks_run_and_are_left_out(face):
    queue = face.make()
    seen = face.do(partial(queue.submit, face.function("double"), 1))
    apart = face.do(partial(queue.submit, face.function("fail"), detached=True))
    summary = face.run(queue)
    assert summary.total_submitted == 1 and summary.ok
    assert apart.detached and apart.status == "failed" and not seen.detached
    assert len(queue.results) == 2


def test_strict_raises_with_the_failures(face):
    queue = face.make()
    face.do(queue.submit, face.function("fail"), "very bad")
    with pytest.raises(ExecutionError, match="very bad") as caught:
        face.run(queue, strict=True)
    assert [result.status for result in caught.value.results] == ["failed"]
    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize("name", ["map", "group"])
def test_options_of_map_apply_to_all_calls(face, name):
    queue = face.make()
    handles = list(face.do(partial(getattr(queue, name), face.function("double"), [1, 2],
                                   priority=1, opts=TaskOptions(name="n", priority=9))))
    assert {(handle.name, handle.priority) for handle in handles} == {("n", 1)}     # keywords win
    queue.cancel()


def test_task_of_the_lowest_priority_number_starts_first(inside, gate):
    """Any integer, lower first; ties in the order of submission."""
    order = []

    def note(word):
        order.append(word)

    async def co_note(word):
        order.append(word)

    queue = inside.make(workers=1)
    function = co_note if inside.is_async else note
    for word, priority in (("c", 3), ("d", 9), ("a", -5), ("default", None), ("b", 0)):
        inside.do(partial(queue.submit, function, word,
                          **({} if priority is None else {"priority": priority})))
    inside.run(queue)
    assert order == ["a", "b", "c", "default", "d"]


def test_no_more_than_workers_run_at_once(face, gate):
    queue = face.make(workers=2)
    face.do(queue.map, face.function("enter"), [gate] * 5)
    run = threading.Thread(target=face.run, args=(queue,))
    run.start()
    gate.wait_entered(2)
    assert (queue.active_count, queue.pending_count) == (2, 3)
    stats = queue.stats
    assert (stats["active"], stats["pending"], stats["submitted"], stats["workers"]) == (2, 3, 5, 2)
    gate.open()
    run.join(PATIENCE)
    assert (queue.active_count, queue.pending_count, queue.stats["succeeded"]) == (0, 0, 5)


def test_delayed_task_occupies_no_slot(inside):
    queue = inside.make(workers=1, on_complete=lambda result: late.cancel())
    late = inside.do(partial(queue.submit, inside.function("double"), 1, delay=1000))
    soon = inside.do(partial(queue.submit, inside.function("double"), 2))
    assert late.scheduled_for is not None and soon.scheduled_for is None
    assert queue.stats["scheduled"] == 1
    inside.run(queue)
    assert (soon.result().status, late.result().status) == ("succeeded", "cancelled")


def test_a_delayed_task_starts_when_it_is_due(inside):
    queue = inside.make(workers=1)
    late = inside.do(partial(queue.submit, inside.function("double"), 1, delay=0.02))
    inside.run(queue)
    assert late.result().started_at >= late.scheduled_for


def test_bound_task_submits_and_overrides_options(face):
    queue = face.make()
    bound = queue.task(priority=5, name="bound")(face.function("add"))
    first = face.do(bound, 1, b=2)
    second = face.do(partial(bound, 1, priority=0))
    mapped = face.do(partial(bound.map, [(1, 1)], name="mapped"))
    group = face.do(partial(bound.group, [(2, 2)], group_id="g"))
    assert [(handle.name, handle.priority) for handle in (first, second, *mapped, *group)] == [
        ("bound", 5), ("bound", 0), ("mapped", 5), ("bound", 5)]
    assert group.group_id == "g"
    assert face.run(queue).values == (3, 1, 2, 4)
    assert bound.__wrapped__ is face.function("add")


def test_bound_task_of_a_function_without_a_name_has_that_of_its_class(threads):
    queue = threads.make()
    assert repr(queue.task()(partial(functions.add, 1))).startswith("<task partial of <ThreadQueue")
    scaled = queue.task(priority=1)(functions.Scale(key=[3], queue=1, options=2))(2)
    assert queue.run().values == (6,) and scaled.priority == 1 and scaled.name == "Scale"


@pytest.mark.parametrize("decorator", [lambda queue: queue.task,
                                       lambda queue: queue.task(priority=1)],
                         ids=["plain", "with_options"])
def test_the_decorator_above_static_and_class_methods(threads, decorator):
    queue = threads.make()

    class Things:
        @decorator(queue)
        @staticmethod
        def static(x):
            return x

        @decorator(queue)
        @classmethod
        def of_class(cls, x):
            return cls.__name__, x

        @decorator(queue)
        @background_task
        @classmethod
        def twice(cls, x):
            return cls.__name__, x

    class MoreThings(Things):
        pass

    handles = [Things.static(1), Things().static(2), Things.of_class(3), MoreThings().of_class(4),
               MoreThings.twice(5), Things.of_class.options(name="named")(6),
               *MoreThings.of_class.map([7])]
    assert queue.run().values == (1, 2, ("Things", 3), ("MoreThings", 4), ("MoreThings", 5),
                                  ("Things", 6), ("MoreThings", 7))
    assert handles[5].name == "named"


def test_the_decorator_refuses_what_is_no_function(threads):
    with pytest.raises(InvalidTypeError, match="opts takes TaskOptions, not str"):
        threads.make().task("no function")


def test_function_that_is_decorated_already_is_submitted(threads):
    queue = threads.make()
    queue.submit(background_task(functions.double), 4)
    assert queue.run().values == (8,)


# -- groups ----------------------------------------------------------------------------------------


def test_group_of_a_function_and_items_has_their_handles(face):
    with_run = face.make()
    group = face.do(partial(with_run.group, face.function("double"), [1, 2]))
    assert [handle.group_id for handle in group] == ["group-1"] * 2
    face.run(with_run)
    assert face.do(group.values) == (2, 4)
    summary = face.do(group.wait)
    assert summary.values == (2, 4) and summary.ok
    assert len(group) == 2 and group[1].value() == 4


def test_group_of_calls_has_their_handles(face):
    queue = face.make()
    group = face.do(partial(queue.group,
                            [(face.function("double"), 4), (face.function("add"), 1, 2)],
                            group_id="mixed"))
    assert face.run(queue).by_group().keys() == {"mixed"}
    assert face.do(group.values) == (8, 3)


@pytest.mark.parametrize("spoil", ["failed", "cancelled"])
def test_values_of_a_group_that_did_not_succeed_raise(face, spoil):
    queue = face.make()
    group = face.do(partial(queue.group, [(face.function("double"), 4), (face.function("fail"),)]))
    if spoil == "cancelled":
        group[1].cancel()
    face.run(queue)
    with pytest.raises(ExecutionError) as caught:
        face.do(group.values)
    assert [result.status for result in caught.value.results] == [spoil]


def test_a_group_is_waited_for_with_a_timeout(blocking):
    group = blocking.make().group(functions.double, [1])        # the queue is not run
    with pytest.raises(WaitTimeoutError, match="has not been started"):
        group.wait(timeout=0)
    assert group.cancel() == 1
    assert group.wait().cancelled == 1


@pytest.mark.parametrize("tasks, items",
                         [(functions.double, None), ([functions.double], None), ([()], None),
                          (5, None), ("ab", None),
                          (functions.double, 5), (functions.double, "ab")])
def test_group_refuses_other_objects(threads, tasks, items):
    with pytest.raises(InvalidTypeError, match="group takes"):
        threads.make().group(tasks, items)


# -- infinite mode, start, join, shutdown ----------------------------------------------------------


def test_an_infinite_queue_runs_tasks_as_they_come(face):
    queue = face.make(mode="infinite")
    face.do(queue.start)
    for n in range(3):
        face.do(queue.submit, face.function("double"), n)
    face.do(queue.join)
    assert [result.value for result in queue.results] == [0, 2, 4]
    assert not queue.closed
    face.do(queue.submit, face.function("double"), 3)
    face.do(queue.shutdown)
    assert queue.closed and len(queue.results) == 4
    with pytest.raises(ClosedError, match="reset"):
        face.do(queue.submit, face.function("double"), 1)


def test_an_infinite_run_ends_with_the_shutdown(face):
    queue = face.make(mode="infinite")
    handle = face.do(queue.submit, face.function("double"), 1)
    summaries = []
    run = threading.Thread(target=lambda: summaries.append(face.run(queue)))
    run.start()
    handle.task.wait(PATIENCE)
    assert run.is_alive()
    face.do(queue.shutdown)
    run.join(PATIENCE)
    assert summaries[0].values == (2,) and not summaries[0].timed_out


def test_a_shutdown_drains_what_was_never_started(face):
    queue = face.make()
    handle = face.do(queue.submit, face.function("double"), 1)
    face.do(queue.shutdown)
    face.do(queue.shutdown)     # nothing happens
    assert handle.value() == 2


def test_a_forced_shutdown_cancels_also_what_must_complete(face, gate):
    queue = face.make(workers=1)
    face.do(queue.start)
    running = face.do(queue.submit, face.function("enter"), gate)
    gate.wait_entered()
    waiting = face.do(partial(queue.submit, face.function("double"), 1, must_complete=True))
    face.do(partial(queue.shutdown, force=True))
    assert (running.status, waiting.status) == ("cancelled", "cancelled")
    gate.open()


def test_join_with_a_timeout_raises_when_it_passes(blocking):
    queue = blocking.make()
    queue.submit(functions.double, 1)
    with pytest.raises(WaitTimeoutError, match="1 tasks"):
        queue.join(timeout=0)
    queue.shutdown()


def test_block_at_its_end_finishes_its_tasks(blocking):
    with blocking.make() as queue:
        handle = queue.submit(functions.double, 1)
    assert handle.value() == 2 and queue.closed


def test_block_that_raises_cancels_its_tasks(blocking, gate):
    with pytest.raises(KeyError):
        with blocking.make(workers=1) as queue:
            running = queue.submit(blocking.function("enter"), gate)
            gate.wait_entered()
            waiting = queue.submit(functions.double, 1)
            raise KeyError("the block")
    assert (running.status, waiting.status) == ("cancelled", "cancelled")
    gate.open()


def test_async_block_finishes_or_cancels_its_tasks(coroutines):
    async def drain():
        async with coroutines.make() as queue:
            handle = queue.submit(functions.co_double, 1)
        return handle.value(), queue.closed

    async def spoil():
        async with coroutines.make(workers=1) as queue:
            handles.append(queue.submit(functions.co_double, 1))
            raise KeyError("the block")

    handles = []
    assert coroutines.do(drain) == (2, True)
    with pytest.raises(KeyError):
        coroutines.do(spoil)
    assert handles[0].cancelled()


def test_cancel_closes_the_queue_without_waiting(face, gate):
    queue = face.make(workers=1)
    face.do(queue.start)
    face.do(queue.submit, face.function("enter"), gate)
    gate.wait_entered()
    waiting = face.do(partial(queue.submit, face.function("double"), 1, must_complete=True))
    assert face.do(queue.cancel) == 2
    assert waiting.status == "cancelled" and queue.closed
    gate.open()


def test_task_that_shuts_down_its_own_queue_does_not_wait_for_itself(threads):
    queue = threads.make(workers=1)
    queue.start()
    first = queue.submit(queue.shutdown)
    assert first.wait(PATIENCE).status == "succeeded"
    assert queue.closed


# -- reset, clear_results --------------------------------------------------------------------------


def test_reset_cancels_forgets_and_opens(face):
    queue = face.make()
    waiting = face.do(queue.submit, face.function("double"), 1)
    queue.reset()
    assert waiting.status == "cancelled" and queue.results == () and queue.stats["submitted"] == 0
    face.do(queue.shutdown)
    queue.reset()
    face.do(queue.submit, face.function("double"), 2)
    assert face.run(queue).values == (4,)


def test_reset_of_a_running_queue_is_refused(face, gate):
    queue = face.make()
    face.do(queue.submit, face.function("enter"), gate)
    run = threading.Thread(target=face.run, args=(queue,))
    run.start()
    gate.wait_entered()
    with pytest.raises(QueueStateError, match="reset"):
        queue.reset()
    with pytest.raises(QueueStateError, match="running"):
        queue.clear_results()
    with pytest.raises(QueueStateError, match="another queue"):
        face.run(queue)
    gate.open()
    run.join(PATIENCE)
    queue.reset()


def test_run_inside_a_run_is_refused(threads):
    queue = threads.make()
    queue.submit(lambda: queue.run())
    assert isinstance(queue.run().errors[0].exception, QueueStateError)


def test_run_inside_a_task_of_a_started_queue_is_refused(inside):
    queue = inside.make()
    inside.do(queue.start)

    async def co_run():
        await queue.run()

    handle = inside.do(queue.submit, co_run if inside.is_async else lambda: queue.run())
    handle.task.wait(PATIENCE)
    assert isinstance(handle.exception(), QueueStateError) and "join" in str(handle.exception())
    assert inside.run(queue).failed == 1        # from elsewhere
    inside.do(queue.shutdown)


def test_clear_results_forgets_ended_tasks(face):
    queue = face.make()
    face.do(queue.submit, face.function("double"), 1)
    face.run(queue)
    waiting = face.do(queue.submit, face.function("double"), 2)
    queue.clear_results()
    assert queue.results == () and queue.stats["pending"] == 1
    assert face.run(queue).values == (4,) and waiting.done()


def test_a_closed_queue_does_not_run(face):
    queue = face.make()
    face.do(queue.shutdown)
    for refused in (queue.run, queue.start, partial(queue.map, face.function("double"), [1]),
                    partial(queue.group, face.function("double"), [1])):
        with pytest.raises(ClosedError):
            face.do(refused)


# -- room ------------------------------------------------------------------------------------------


def wait_until_outside(queue, thread):
    """Poll until a thread waits for room, as no event tells of that."""
    deadline = monotonic() + PATIENCE
    while not lane_of_queue(queue).blocked_submitters:
        assert monotonic() < deadline and thread.is_alive()
        thread.join(0.001)


def test_a_full_queue_blocks_a_thread(blocking, gate):
    queue = blocking.make(workers=1, size=1)
    queue.start()
    queue.submit(blocking.function("enter"), gate)
    gate.wait_entered()
    queue.submit(functions.double, 1)           # waits: the queue is full
    handles = []
    submitting = threading.Thread(target=lambda: handles.append(queue.submit(functions.double, 2)))
    submitting.start()
    wait_until_outside(queue, submitting)
    assert not handles
    gate.open()
    submitting.join(PATIENCE)
    assert handles[0].wait(PATIENCE).value == 4
    queue.shutdown()


def test_run_waits_for_a_map_of_a_collection_under_way(threads):
    queue = threads.make(workers=1, size=2)
    mapping = threading.Thread(target=queue.map, args=(functions.double, range(200)))
    mapping.start()
    wait_until_outside(queue, mapping)      # it is in the middle of its map
    assert queue.run().values == tuple(range(0, 400, 2))
    mapping.join(PATIENCE)


def test_a_full_async_queue_raises(coroutines):
    async def main():
        queue = coroutines.make(size=2)
        handles = queue.map(functions.co_double, [1, 2])
        with pytest.raises(QueueFullError, match="2"):
            queue.submit(functions.co_double, 3)
        with pytest.raises(QueueFullError):
            queue.map(functions.co_double, [3])
        return (await queue.run()).values, len(handles)

    assert coroutines.do(main) == ((2, 4), 2)


def test_a_map_that_finds_no_room_leaves_nothing(coroutines):
    async def main():
        queue = coroutines.make(size=2)
        with pytest.raises(QueueFullError):
            queue.map(functions.co_double, range(3))
        return (await queue.run()).succeeded

    assert coroutines.do(main) == 0


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ThreadQueue, ProcessQueue, AsyncQueue])
@pytest.mark.parametrize("arguments, error, words", [
    ({"workers": 0}, InvalidArgumentError, "workers"),
    ({"workers": 1.5}, InvalidTypeError, "workers"),
    ({"workers": True}, InvalidTypeError, "workers"), ({"size": -1}, InvalidArgumentError, "size"),
    ({"timeout": 0}, InvalidArgumentError, "timeout"),
    ({"timeout": "1"}, InvalidTypeError, "timeout"),
    ({"mode": "endless"}, InvalidArgumentError, "'infinite'"),
    ({"fail_policy": "stop"}, InvalidArgumentError, "'fail_first'"),
    ({"on_timeout": "die"}, InvalidArgumentError, "'complete'"),
    ({"rate": 0}, InvalidArgumentError, "rate"),
    ({"burst": 0}, InvalidArgumentError, "burst"),
    ({"initializer": 5}, InvalidTypeError, "initializer"),
    ({"on_start": 5}, InvalidTypeError, "on_start"),
    ({"on_complete": 5}, InvalidTypeError, "on_complete"),
    ({"on_retry": 5}, InvalidTypeError, "on_retry"),
    ({"supervisor": 5}, InvalidTypeError, "supervisor"),
    ({"pool_priority": "high"}, InvalidTypeError, "^pool_priority takes an integer, not str"),
    ({"worker": 5}, InvalidTypeError, "did you mean 'workers'"),
])
def test_arguments_are_refused_where_they_are_passed(kind, arguments, error, words):
    with pytest.raises(error, match=words):
        kind(**arguments)


@pytest.mark.parametrize("options, error, words", [
    ({"timeout": 0}, ValueError, "timeout"), ({"retries": -1}, ValueError, "retries"),
    ({"retry_delay": -1}, ValueError, "retry_delay"),
    ({"backoff": 0}, ValueError, "backoff"), ({"delay": -1}, ValueError, "delay"),
    ({"delay": 1, "run_at": 1}, ValueError, "exclude"),
    ({"retrys": 1}, TypeError, "did you mean 'retries'"),
    ({"opts": {"retries": 1}}, TypeError, "TaskOptions"),
])
def test_options_are_refused_where_they_are_passed(face, options, error, words):
    queue = face.make()
    for submit in (partial(queue.submit, face.function("double"), 1),
                   partial(queue.map, face.function("double"), [1]),
                   partial(queue.group, face.function("double"), [1]), queue.task):
        with pytest.raises(error, match=words):
            face.do(partial(submit, **options))
    assert queue.stats["submitted"] == 0


def test_coroutine_function_in_a_queue_of_threads_is_refused(blocking):
    queue = blocking.make()
    for refused in (partial(queue.submit, functions.co_double, 1),
                    partial(queue.task(), functions.co_double)):
        with pytest.raises(InvalidTypeError, match="AsyncQueue"):
            refused()


def test_plain_function_in_an_async_queue_is_refused(coroutines):
    queue = coroutines.make()
    with pytest.raises(InvalidTypeError, match="ThreadQueue"):
        coroutines.do(queue.submit, functions.double, 1)


def test_coroutine_instead_of_a_function_is_refused(coroutines, recwarn):
    queue = coroutines.make()
    with pytest.raises(InvalidTypeError, match="without calling it"):
        coroutines.do(queue.submit, functions.co_double(1))
    assert not [warning for warning in recwarn if "never awaited" in str(warning.message)]


def test_object_that_is_no_function_is_refused(face):
    with pytest.raises(InvalidTypeError, match="not an int"):
        face.do(face.make().submit, 5)


def test_the_decorator_works_without_parentheses(face):
    queue = face.make()
    task = queue.task(face.function("double"))
    handle = face.do(task, 21)
    assert face.run(queue).values == (42,) and handle.priority == 3
    with pytest.raises(InvalidTypeError, match="retries"):
        queue.task(face.function("double"), retrys=1)


def test_reset_inside_a_block_leaves_the_queue_started(face):
    queue = face.make()

    def block():
        with queue:
            queue.submit(functions.double, 1).wait(PATIENCE)
            queue.run()
            queue.reset()
            assert queue.results == () and not queue.closed
            return queue.submit(functions.double, 2).wait(PATIENCE).value

    async def co_block():
        async with queue:
            await queue.submit(functions.co_double, 1)
            await queue.run()
            queue.reset()
            assert queue.results == () and not queue.closed
            return (await queue.submit(functions.co_double, 2)).value

    assert face.do(co_block if face.is_async else block) == 4
    assert queue.closed and queue.stats["completed"] == 1


def test_reset_of_a_queue_that_was_shut_down_does_not_start_it(face):
    queue = face.make()
    face.do(queue.start)
    face.do(queue.shutdown)
    queue.reset()
    handle = face.do(queue.submit, face.function("double"), 1)
    assert handle.status == "pending" and not queue.closed
    queue.cancel()


def test_an_initializer_of_a_started_queue_is_called_once_over_a_reset(coroutines):
    called = []

    async def main():
        async with coroutines.make(initializer=lambda: called.append(1)) as queue:
            queue.reset()
            return (await queue.submit(functions.co_double, 2)).value

    assert coroutines.do(main) == 4 and called == [1]


def test_start_returns_the_queue(face):
    queue = face.make()
    assert face.do(queue.start) is queue
    face.do(queue.shutdown)


def test_join_starts_a_queue(face):
    queue = face.make()
    handle = face.do(queue.submit, face.function("double"), 1)
    face.do(queue.join)
    assert handle.value() == 2
    # it goes on
    assert face.do(face.do(queue.submit, face.function("double"), 2).wait).value == 4
    face.do(queue.shutdown)
    face.do(queue.join)


def test_join_that_starts_a_queue_calls_its_initializer(face, supervisor):
    queue = face.make(initializer=functions.configure, initargs=("set",))
    handle = face.do(queue.submit, face.function("get_setting"))
    face.do(queue.join)
    assert handle.value() == "set"
    face.do(queue.shutdown)


def test_stats_count_what_has_completed(face):
    queue = face.make()
    face.do(queue.submit, face.function("double"), 1)
    face.do(queue.submit, face.function("fail"))
    assert queue.stats["completed"] == 0 and queue.stats["closed"] is False
    face.run(queue).errors
    face.do(queue.submit, face.function("double"), 1)
    queue.cancel()
    stats = queue.stats
    assert (stats["completed"], stats["succeeded"], stats["failed"], stats["cancelled"],
            stats["closed"]) == (3, 1, 1, 1, True)


def test_async_queue_without_a_loop_is_refused():
    with pytest.raises(QueueStateError, match="no loop runs here"):
        AsyncQueue().submit(functions.co_double, 1)


def test_an_async_queue_takes_tasks_from_threads_once_it_has_a_loop(coroutines):
    queue = coroutines.make()
    coroutines.do(queue.start)
    handle = queue.submit(functions.co_double, 21)
    assert coroutines.do(handle.wait).value == 42
    coroutines.do(queue.shutdown)


# -- the table for people --------------------------------------------------------------------------


def test_display_prints_counts_and_failures(threads):
    queue = threads.make()
    queue.map(functions.double, range(3), name="twice")
    queue.submit(functions.fail, "the disk is full", name="once", retries=1)
    queue.submit(functions.double, 1, name="never").cancel()
    out = io.StringIO()
    queue.run().display(out)
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("5 tasks: 3 succeeded, 1 failed, 1 cancelled in ")
    rows = {line.split()[0]: line.split() for line in lines if line}
    assert rows["twice"][1:4] == ["3", "0", "0"]
    position = lines.index("1 failed: ValueError: the disk is full")
    assert re.fullmatch(r"  once t-\d+, 2 attempts, \d\.\d{3} s", lines[position + 1])
    position = lines.index("1 cancelled")
    assert re.fullmatch(r"  never t-\d+", lines[position + 1])


def test_display_groups_timeouts_of_several_tasks(threads):
    queue, out, gate = threads.make(workers=2), io.StringIO(), threading.Event()
    queue.map(lambda item: gate.wait(PATIENCE), range(14), timeout=0.01)
    queue.run().display(out)
    gate.set()
    assert "14 failed: TaskTimeoutError: task <lambda> ran longer" in out.getvalue()


def test_display_groups_equal_failures_and_keeps_message_and_item_at_50_columns(threads,
                                                                                monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    queue = threads.make()
    message = "no route to host api.example.org:443 (connect timeout=30)"
    queue.map(functions.fail, [message] * 14, name="fetch")
    queue.map(functions.fail, ["odd"], name="fetch")
    out = io.StringIO()
    queue.run().display(out)
    text = out.getvalue()
    lines = text.splitlines()
    assert max(map(len, lines)) <= 50
    assert f"14 failed: ValueError: {message}" in " ".join(text.split())
    assert text.count("no route to host") + text.count("item 0: 'no route to host") >= 1
    position = lines.index("  and 11 more")
    assert [re.match(r"  fetch t-\d+, item \d: 'no ", line) is not None
            for line in lines[position - 3:position]] == [True] * 3
    assert "1 failed: ValueError: odd" in lines


@pytest.mark.parametrize("columns", [40, 60, 100])
def test_the_table_is_no_wider_than_the_terminal(threads, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    queue = threads.make()
    queue.submit(functions.fail, "x" * 300, name="a function with a name that is longer than most "
                                                 "terminals are wide " * 2)
    queue.map(functions.fail, ["many"] * 30)
    out = io.StringIO()
    queue.run().display(out)
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= columns
    assert "  and 27 more" in lines


def test_summary_yields_its_results_and_has_their_number(threads):
    queue = threads.make()
    queue.map(functions.double, range(3))
    summary = queue.run()
    assert tuple(summary) == summary.results and len(summary) == 3
    assert threads.make().run()


def test_summary_is_not_awaitable(threads):
    assert not inspect.isawaitable(threads.make().run())    # programs await what may be awaited


def test_an_empty_summary_can_be_shown(threads, capsys):
    threads.make().run().display()
    assert re.match(r"0 tasks in \d+\.\d\d s", capsys.readouterr().out)


def test_a_summary_can_be_pickled(threads):
    queue = threads.make()
    queue.map(functions.double, [1, 2])
    summary = queue.run()
    copy = pickle.loads(pickle.dumps(summary))
    assert copy.values == (2, 4) and copy.total_submitted == 2 and repr(copy) == repr(summary)


def test_run_with_progress_shows_a_bar(threads, capsys):
    queue = threads.make()
    queue.map(functions.double, range(5))
    queue.submit(functions.fail)
    queue.run(progress=True)
    assert "tasks: 6/6 100%" in capsys.readouterr().err


def test_progress_of_an_async_queue_and_of_join(coroutines, capsys):
    async def main():
        queue = coroutines.make()
        queue.map(functions.co_double, range(5))
        await queue.run(progress=True)
        queue.submit(functions.co_fail)
        await queue.start()
        await queue.join(progress=True)
        assert [result.status for result in queue.results][5:] == ["failed"]
        await queue.shutdown()

    coroutines.do(main)
    shown = capsys.readouterr().err
    assert "5/5 100%" in shown and "1/1 100%" in shown and "1 failed" in shown


def test_a_task_of_a_queue_may_be_a_method(supervisor):
    queue = ThreadQueue(supervisor=supervisor)

    class Counter:
        start = 40

        @queue.task()
        def add(self, number):
            return self.start + number

    Counter().add(2)
    Counter().add.map([3])
    assert queue.run(timeout=PATIENCE).values == (42, 43)


def test_function_submitted_as_a_run_begins_follows_the_policy_of_the_run(supervisor):
    queue = ThreadQueue(workers=1, supervisor=supervisor)
    gate, begun, started, runs = threading.Event(), threading.Event(), [], []
    watch, make = WATCH_FAILURES.of(queue), MAKE_SPEC.of(queue)

    def note(number):
        started.append(number)
        functions.fail_at_one(number)

    def watch_failures(*arguments, **options):
        watch(*arguments, **options)
        begun.set()

    def begin_run(*arguments, **options):
        MAKE_SPEC.drop(queue)
        spec = make(*arguments, **options)
        runs.append(Aside(queue.run, fail_policy="fail_first"))
        assert begun.wait(PATIENCE)
        return spec

    queue.submit(gate.wait, PATIENCE)
    WATCH_FAILURES.put(queue, watch_failures)
    MAKE_SPEC.put(queue, begin_run)
    try:
        handles = [queue.submit(note, number) for number in range(9)]
    finally:
        gate.set()
    assert runs[0].result().failed == 1
    assert started == [0, 1] and handles[-1].cancelled()
    assert handles[1].exception() is not None


def test_task_that_is_left_out_of_summaries_is_left_out_though_another_comes_meanwhile(supervisor):
    class Queue(ThreadQueue):
        """A queue that another thread uses between two steps of a submission."""

        found, before = False, None

        @property
        def _some_detached(self):
            found, before, self.before = self.found, self.before, None
            if before is not None:
                before()
            return found

        @_some_detached.setter
        def _some_detached(self, value):
            self.found = value

    def submit_detached():
        Aside(queue.submit, len, "ab", detached=True).result()

    queue = Queue(supervisor=supervisor)
    queue.before = submit_detached
    queue.submit(abs, -1)
    if queue.before is not None:        # the submission has not looked at it
        queue.before = None
        submit_detached()
    assert queue.run(timeout=PATIENCE).values == (1,)


def test_first_call_of_a_function_submitted_as_a_run_begins_stops_the_run(supervisor):
    """The spec of the function is made before the run begins, and its tasks come later."""
    queue = ThreadQueue(workers=1, supervisor=supervisor)
    gate, begun, started, runs = threading.Event(), threading.Event(), [], []
    watch, make = WATCH_FAILURES.of(queue), MAKE_SPEC.of(queue)

    def note(number):
        started.append(number)
        functions.fail_at(number, 0)

    def watch_failures(*arguments, **options):
        watch(*arguments, **options)
        begun.set()

    def begin_run(*arguments, **options):
        MAKE_SPEC.drop(queue)
        spec = make(*arguments, **options)
        runs.append(Aside(queue.run, fail_policy="fail_first"))
        assert begun.wait(PATIENCE)
        return spec

    queue.submit(gate.wait, PATIENCE)
    WATCH_FAILURES.put(queue, watch_failures)
    MAKE_SPEC.put(queue, begin_run)
    try:
        handles = queue.map(note, range(9))
    finally:
        gate.set()
    assert runs[0].result().failed == 1
    assert started == [0] and handles[-1].cancelled()
    assert handles[0].exception() is not None


def test_task_that_comes_as_a_run_ends_follows_the_policy_of_the_queue(supervisor):
    queue = ThreadQueue(workers=1, fail_policy="fail_first", supervisor=supervisor).start()
    began, gate, handles = threading.Event(), threading.Event(), []
    end, task_done = END_RUN.of(queue), TASK_DONE.of(queue)

    def fail():
        began.set()
        assert gate.wait(PATIENCE)
        functions.fail()

    def learn_late_of_the_failure(task):
        sleep(0.05)                 # the next task would start meanwhile
        task_done(task)

    def submit_late(run):
        END_RUN.put(queue, end)
        TASK_DONE.put(queue, learn_late_of_the_failure)
        handles.extend([queue.submit(fail), queue.submit(abs, -1)])
        assert began.wait(PATIENCE)
        end(run)

    queue.submit(len, "ab")
    END_RUN.put(queue, submit_late)
    assert queue.run(fail_policy="continue", timeout=PATIENCE).succeeded == 1
    gate.set()
    queue.shutdown()
    assert handles[0].exception() is not None and handles[1].cancelled()
