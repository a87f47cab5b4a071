"""The rows of the model of queues, one test a row, as programs for such queues need them."""
import asyncio
import concurrent.futures
import inspect
import io
import threading
import time
import uuid

import pytest

import atasker_like as a
from tests.support import PATIENCE

from .conftest import Aside
from .functions import co_double, co_fail, co_same, configure, double, fail, get_setting, same

KINDS = [a.ThreadQueue, a.AsyncQueue, pytest.param(a.ProcessQueue, marks=pytest.mark.slow)]


def work(kind, name):
    """Return the function of a name for a kind of queue."""
    plain = {"double": double, "fail": fail, "same": same}
    return {"double": co_double, "fail": co_fail,
            "same": co_same}[name] if kind is a.AsyncQueue else plain[name]


def drive(kind, scenario, supervisor, **arguments):
    """Run a scenario, a coroutine function of a queue and of ``finish``, which awaits results."""
    async def main():
        async def finish(made):
            return await made if inspect.isawaitable(made) else made
        return await scenario(kind(supervisor=supervisor, **arguments), finish)

    return asyncio.run(asyncio.wait_for(main(), PATIENCE))


# -- queues ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_queue_takes_all_arguments_of_the_model(kind, supervisor):
    async def scenario(queue, finish):
        queue.submit(work(kind, "double"), 4)
        return (await finish(queue.run())).values

    assert drive(kind, scenario, supervisor, workers=2, size=9, timeout=PATIENCE, mode="finite",
                 fail_policy="continue",
                 on_timeout="complete", rate=1000, burst=5, initializer=None, initargs=(),
                 on_start=None, on_complete=None,
                 on_retry=None) == (8,)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("argument, value",
                         [("mode", "x"), ("fail_policy", "x"), ("on_timeout", "x")])
def test_queue_refuses_other_words(kind, argument, value):
    with pytest.raises(ValueError, match=argument):
        kind(**{argument: value})


@pytest.mark.parametrize("kind", KINDS)
def test_queue_methods_are_coroutines_of_an_async_queue_only(kind):
    for name in ("run", "start", "join", "shutdown"):
        assert inspect.iscoroutinefunction(getattr(kind, name)) == (kind is a.AsyncQueue), name
    for name in ("submit", "map", "group", "task", "cancel", "reset", "clear_results"):
        assert not inspect.iscoroutinefunction(getattr(kind, name)), name


@pytest.mark.parametrize("clean", [True, False])
def test_queue_block_drains_at_a_clean_exit_and_cancels_at_an_exception(supervisor, clean):
    queue = a.ThreadQueue(workers=1, supervisor=supervisor)
    gate = threading.Event()
    try:
        with queue:
            queue.submit(gate.wait, PATIENCE)
            later = queue.submit(abs, -1)
            if not clean:
                raise KeyError
            gate.set()
    except KeyError:
        pass
    finally:
        gate.set()
    assert later.status == ("succeeded" if clean else "cancelled")


@pytest.mark.parametrize("kind", KINDS)
def test_queue_has_the_attributes_of_the_model(kind, supervisor):
    async def scenario(queue, finish):
        queue.submit(work(kind, "same"), 1)
        before = queue.pending_count, queue.active_count, queue.closed, queue.results
        await finish(queue.run())
        after = (queue.pending_count, queue.active_count, len(queue.results),
                 queue.stats["succeeded"])
        queue.clear_results()
        await finish(queue.shutdown())
        return before, after, queue.results, queue.closed

    assert drive(kind, scenario, supervisor) == ((1, 0, False, ()), (0, 0, 1, 1), (), True)


@pytest.mark.parametrize("kind", KINDS)
def test_map_unpacks_tuples_and_mappings_and_nothing_else(kind, supervisor):
    async def scenario(queue, finish):
        target = _co_show if kind is a.AsyncQueue else _show
        queue.map(target, [(1, 2), {"x": 3}, [4, 5]])
        return (await finish(queue.run())).values

    assert (drive(kind, scenario, supervisor)
            == ((1, 2, None), (None, None, 3), ([4, 5], None, None)))


def _show(first=None, second=None, x=None):
    return first, second, x


async def _co_show(first=None, second=None, x=None):
    return first, second, x


def test_full_queue_blocks_a_thread(supervisor):
    queue = a.ThreadQueue(workers=1, size=1, supervisor=supervisor)
    queue.submit(abs, 1)
    blocked = Aside(queue.submit, abs, -2)
    blocked.thread.join(0.02)
    assert blocked.thread.is_alive()
    queue.start()
    assert blocked.result().wait(PATIENCE).value == 2
    queue.shutdown()


def test_full_async_queue_raises(supervisor):
    async def scenario(queue, finish):
        queue.submit(co_same, 1)
        with pytest.raises(a.QueueFullError):
            queue.submit(co_same, 2)
        return (await queue.run()).values

    assert drive(a.AsyncQueue, scenario, supervisor, size=1) == (1,)


@pytest.mark.parametrize("kind", KINDS)
def test_closed_queue_raises(kind, supervisor):
    async def scenario(queue, finish):
        await finish(queue.start())
        await finish(queue.shutdown())
        with pytest.raises(a.ClosedError):
            queue.submit(work(kind, "same"), 1)

    drive(kind, scenario, supervisor)


@pytest.mark.parametrize("kind", [a.ThreadQueue, a.AsyncQueue])
def test_fail_first_cancels_what_is_left_but_what_must_complete(kind, supervisor):
    async def scenario(queue, finish):
        handles = [queue.submit(work(kind, "fail")), queue.submit(work(kind, "same"), 1),
                   queue.submit(work(kind, "same"), 2, must_complete=True)]
        summary = await finish(queue.run())
        summary.errors
        return [handle.status for handle in handles]

    assert (drive(kind, scenario, supervisor, workers=1, fail_policy="fail_first")
            == ["failed", "cancelled", "succeeded"])


@pytest.mark.parametrize("on_timeout, kept", [("complete", "succeeded"), ("cancel", "cancelled")])
def test_timeout_of_a_run_spares_what_must_complete_or_cancels_all(supervisor, on_timeout, kept):
    async def scenario(queue, finish):
        begun = asyncio.Event()

        async def hold():
            begun.set()
            await asyncio.sleep(PATIENCE)

        held = queue.submit(hold)
        must = queue.submit(co_same, 1, must_complete=True)
        summary = await queue.run(timeout=0.05)
        return summary.timed_out, held.status, must.status

    assert (drive(a.AsyncQueue, scenario, supervisor, workers=1, on_timeout=on_timeout)
            == (True, "cancelled", kept))


@pytest.mark.parametrize("kind", [a.ThreadQueue, a.AsyncQueue])
def test_hooks_get_handles_and_results_and_may_raise(kind, supervisor, caplog):
    told = []

    def note(name):
        def hook(*arguments):
            told.append((name, *map(type, arguments)))
            raise KeyError(name)
        return hook

    async def scenario(queue, finish):
        queue.submit(work(kind, "fail"), retries=1)
        (await finish(queue.run())).errors

    drive(kind, scenario, supervisor, on_start=note("start"), on_retry=note("retry"),
          on_complete=note("complete"))
    handle = a.TaskHandle if kind is a.AsyncQueue else a.SyncTaskHandle
    assert (told
            == [("start", handle), ("retry", handle, ValueError), ("start", handle),
                ("complete", a.TaskResult)])
    assert caplog.text.count("KeyError") >= 4


@pytest.mark.parametrize("kind", KINDS)
def test_start_returns_the_queue_and_join_starts_it(kind, supervisor):
    async def scenario(queue, finish):
        handle = queue.submit(work(kind, "double"), 2)
        await finish(queue.join())
        same_queue = await finish(queue.start()) is queue
        await finish(queue.shutdown())
        return handle.value(), same_queue

    assert drive(kind, scenario, supervisor) == (4, True)


# -- options ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong",
                         [{"timeout": 0}, {"timeout": -1}, {"retries": -1}, {"retry_delay": -1},
                          {"backoff": 0},
                          {"delay": -1}, {"delay": 1, "run_at": time.time()}])
def test_options_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError):
        a.TaskOptions(**wrong)
    with pytest.raises(ValueError):
        a.ThreadQueue().submit(abs, 1, **wrong)


def test_options_are_frozen_replaced_and_checked_by_name():
    options = a.TaskOptions(retries=1)
    with pytest.raises(AttributeError):
        options.retries = 2
    assert options.replace(retries=2).retries == 2 and options.retries == 1
    with pytest.raises(TypeError):
        a.TaskOptions(retrys=1)


def test_keywords_win_over_opts():
    queue = a.ThreadQueue()
    handle = queue.submit(abs, 1, opts=a.TaskOptions(priority=9, name="n"), priority=1)
    assert (handle.priority, handle.name) == (1, "n")
    assert queue.submit(abs, 1).priority == 3
    queue.cancel()


# -- handles ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_handle_has_the_members_of_the_model(kind, supervisor):
    async def scenario(queue, finish):
        before = time.perf_counter()
        handle = queue.submit(work(kind, "double"), 2, group_id="g", metadata={"k": 1},
                              detached=True, must_complete=True, priority=1)
        pending = asyncio.InvalidStateError if kind is a.AsyncQueue else RuntimeError
        with pytest.raises(pending):
            handle.result()
        assert (handle.status, handle.done(), handle.cancelled(), handle.attempts,
                handle.scheduled_for) == ("pending", False, False, 0, None)
        assert before <= handle.created_at <= time.perf_counter()
        assert uuid.UUID(hex=handle.task_id).hex == handle.task_id
        await finish(queue.run())
        result = await finish(handle.wait())
        assert type(result) is a.TaskResult and handle.result() == result
        assert (handle.value(), handle.exception(), handle.cancel(), handle.status,
                handle.attempts) == (4, None, False, "succeeded", 1)
        return (handle.name, handle.priority, handle.must_complete, handle.group_id,
                handle.detached, handle.metadata)

    name = "co_double" if kind is a.AsyncQueue else "double"
    assert drive(kind, scenario, supervisor) == (name, 1, True, "g", True, {"k": 1})


@pytest.mark.parametrize("kind, error",
                         [(a.ThreadQueue, concurrent.futures.CancelledError),
                          (a.AsyncQueue, asyncio.CancelledError)])
def test_value_of_a_cancelled_handle_raises_the_error_of_its_world(kind, error, supervisor):
    async def scenario(queue, finish):
        handle = queue.submit(work(kind, "same"), 1)
        assert handle.cancel() and handle.cancelled()
        with pytest.raises(error):
            handle.value()

    drive(kind, scenario, supervisor)


def test_handle_of_an_async_queue_alone_is_awaitable(supervisor):
    async def scenario(queue, finish):
        async with queue:
            handle = queue.submit(co_double, 3)
            results = await asyncio.gather(*[_wait(handle) for _ in range(3)])
        return {result.value for result in results}

    async def _wait(handle):
        return await handle

    assert drive(a.AsyncQueue, scenario, supervisor) == {6}
    queue = a.ThreadQueue(supervisor=supervisor)
    handle = queue.submit(abs, 1)
    assert not inspect.isawaitable(handle)
    with pytest.raises(TimeoutError):
        handle.wait(timeout=0)
    queue.cancel()


# -- groups, results, summaries --------------------------------------------------------------------


@pytest.mark.parametrize("kind", [a.ThreadQueue, a.AsyncQueue])
def test_group_waits_gives_values_and_raises(kind, supervisor):
    async def scenario(queue, finish):
        await finish(queue.start())
        good = queue.group(work(kind, "double"), [1, 2], group_id="good")
        bad = queue.group([(work(kind, "fail"),), (work(kind, "same"), 1)])
        await finish(good.wait())
        values = await finish(good.values())
        with pytest.raises(a.ExecutionError) as caught:
            await finish(bad.values())
        await finish(queue.shutdown())
        return values, [handle.value() for handle in good], type(caught.value.results)

    assert drive(kind, scenario, supervisor) == ((2, 4), [2, 4], tuple)


@pytest.mark.parametrize("kind", KINDS)
def test_summary_has_the_members_of_the_model(kind, supervisor):
    async def scenario(queue, finish):
        queue.submit(work(kind, "double"), 1, name="a", group_id="g")
        queue.submit(work(kind, "fail"), name="b")
        queue.submit(work(kind, "same"), 1, name="c").cancel()
        queue.submit(work(kind, "same"), 1, detached=True)
        return await finish(queue.run())

    summary = drive(kind, scenario, supervisor)
    assert ((summary.total_submitted, summary.succeeded, summary.failed, summary.cancelled)
            == (3, 1, 1, 1))
    assert (not summary.ok and not summary.timed_out and summary.duration >= 0
            and summary.values == (2,))
    assert [len(part)
            for part in (summary.results, summary.errors, summary.successes(),
                         summary.cancellations())] == [3, 1, 1, 1]
    assert (sorted(summary.by_name()) == ["a", "b", "c"]
            and sorted(map(str, summary.by_group())) == ["None", "g"])
    assert set(summary.by_task_id()) == {result.task_id for result in summary.results}
    with pytest.raises(a.ExecutionError) as caught:
        summary.raise_for_errors()
    with pytest.raises(a.ExecutionError) as both:
        summary.raise_for_errors(include_cancelled=True)
    assert (len(caught.value.results), len(both.value.results)) == (1, 2)
    summary.display(io.StringIO())
    fields = ("task_id", "name", "status", "value", "exception", "attempts", "priority",
              "must_complete", "group_id", "detached",
              "scheduled_for", "metadata", "created_at", "started_at", "finished_at", "duration",
              "message")
    assert all(hasattr(summary.results[0], field) for field in fields)
    with pytest.raises(AttributeError):
        summary.results[0].status = "x"


def test_strict_run_raises(supervisor):
    queue = a.ThreadQueue(supervisor=supervisor)
    queue.submit(fail)
    with pytest.raises(a.ExecutionError):
        queue.run(strict=True)


# -- bound tasks, and beside these -----------------------------------------------------------------


@pytest.mark.parametrize("kind", [a.ThreadQueue, a.AsyncQueue])
def test_bound_task_submits_and_overrides(kind, supervisor):
    async def scenario(queue, finish):
        task = queue.task(priority=2)(work(kind, "double"))
        handles = [task(1), task(2, priority=0), *task.map([3]), *task.group([4])]
        await finish(queue.run())
        return [(handle.value(), handle.priority) for handle in handles]

    assert drive(kind, scenario, supervisor) == [(2, 2), (4, 0), (6, 2), (8, 2)]


def test_initializer_comes_before_the_first_task(supervisor):
    queue = a.ThreadQueue(workers=1, initializer=configure, initargs=("b",), supervisor=supervisor)
    handle = queue.submit(get_setting)
    queue.run()
    assert handle.value() == "b"


def test_maps_give_values_in_order_or_raise(supervisor):
    assert a.tmap(double, [1, 2], supervisor=supervisor) == (2, 4)
    assert a.run(a.amap(co_double, [1, 2], supervisor=supervisor)) == (2, 4)
    with pytest.raises(a.ExecutionError):
        a.tmap(fail, ["x"], supervisor=supervisor)


def test_as_completed_and_iter_completed(supervisor):
    with a.ThreadQueue(supervisor=supervisor) as queue:
        assert (sorted(handle.value() for handle in a.iter_completed(queue.map(double, [1, 2])))
                == [2, 4])

    async def scenario(queue, finish):
        async with queue:
            return sorted([handle.value()
                           async for handle in a.as_completed(queue.map(co_double, [1, 2]))])

    assert drive(a.AsyncQueue, scenario, supervisor) == [2, 4]


def test_checkpoint_hands_back_what_has_succeeded(supervisor):
    with a.Checkpoint(":memory:") as checkpoint:
        for attempts in (1, 0):
            queue = a.ThreadQueue(supervisor=supervisor)
            handles = [*queue.map(double, [1], checkpoint=checkpoint),
                       *queue.group(same, [5], checkpoint=checkpoint)]
            queue.run()
            assert ([(handle.value(), handle.attempts) for handle in handles]
                    == [(2, attempts), (5, attempts)])
