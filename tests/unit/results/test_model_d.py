"""Results by id as MODELS describes them in part D: a test for each fact, written from the text."""
import asyncio
import inspect
import threading

import pytest

from atasker_like import (TT_MP, AsyncResult, BackendNotConfiguredError, MemoryBackend,
                          StoredResult, TaskOptions, TaskState, background_task, current_task,
                          task_supervisor)
from tests.contract import functions as f
from tests.support import PATIENCE


@pytest.fixture
def backend():
    return MemoryBackend()


@pytest.fixture
def kept(supervisor, backend):
    """A supervisor whose results are kept."""
    supervisor.set_result_backend(backend)
    yield supervisor
    supervisor.stop(wait=PATIENCE, cancel_tasks=True)
    supervisor.set_result_backend(None)


def ask(call, *args, **kwargs):
    """Make a call of a coroutine function in a loop, and return what it gives."""
    async def main():
        return await asyncio.wait_for(call(*args, **kwargs), PATIENCE)

    return asyncio.run(main())


# -- AsyncResult(task_id, backend=None) ------------------------------------------------------------


def test_async_result_takes_an_id_and_a_backend(kept, backend):
    task = kept.put_task(pow, (2, 5))
    result = AsyncResult(task.id, backend)
    assert result.task_id == task.id
    assert ask(result.get) == 32


def test_async_result_without_a_backend_uses_that_of_the_supervisor(backend):
    task_supervisor.set_result_backend(backend)
    try:
        assert ask(AsyncResult(task_supervisor.put_task(pow, (2, 5)).id).get) == 32
    finally:
        task_supervisor.set_result_backend(None)


def test_async_result_takes_a_type_in_brackets(kept, backend):
    task = kept.put_task(pow, (2, 5))
    assert ask(AsyncResult[int](task.id, backend).get) == 32

    class OfInt(AsyncResult[int]):
        pass

    assert ask(OfInt(task.id, backend).get) == 32


# -- get(timeout=None, poll_interval=0.1) ----------------------------------------------------------


def test_get_has_the_defaults_of_the_model():
    parameters = inspect.signature(AsyncResult.get).parameters
    assert list(parameters) == ["self", "timeout", "poll_interval"]
    assert (parameters["timeout"].default, parameters["poll_interval"].default) == (None, 0.1)


def test_get_waits_for_the_return_value(kept, backend):
    go = threading.Event()
    task = kept.put_task(lambda: go.wait(PATIENCE) and "value")

    async def main():
        waiting = asyncio.ensure_future(AsyncResult(task.id, backend).get())
        done, _ = await asyncio.wait([waiting], timeout=0.05)
        assert not done
        go.set()
        return await asyncio.wait_for(waiting, PATIENCE)

    assert asyncio.run(main()) == "value"


def test_get_looks_again_at_the_interval(backend):
    """A result that another process has stored meanwhile."""
    async def main():
        waiting = asyncio.ensure_future(AsyncResult("id", backend).get(poll_interval=0.01))
        await asyncio.wait([waiting], timeout=0.03)
        assert not waiting.done()
        await backend.store_result("id", StoredResult("id", TaskState.SUCCESS, 5))
        return await asyncio.wait_for(waiting, PATIENCE)

    assert asyncio.run(main()) == 5


def test_get_raises_timeout_error(backend):
    with pytest.raises(TimeoutError):
        ask(AsyncResult("unknown", backend).get, timeout=0.02, poll_interval=0.01)


def test_get_raises_the_error_of_the_task(kept, backend):
    with pytest.raises(ValueError, match="invalid literal"):
        ask(AsyncResult(kept.put_task(int, ("x",)).id, backend).get)


def test_get_without_a_backend_raises_backend_not_configured_error():
    result = AsyncResult("id")
    for call in (result.get, result.state, result.ready, result.failed):
        with pytest.raises(BackendNotConfiguredError):
            ask(call)


# -- state(), ready(), failed() --------------------------------------------------------------------


def test_task_states_are_those_of_the_model():
    assert {state.value for state in TaskState} == {"PENDING", "STARTED", "SUCCESS", "FAILURE",
                                                    "RETRY"}


def test_unknown_id_is_pending(backend):
    result = AsyncResult("unknown", backend)
    assert (ask(result.state), ask(result.ready), ask(result.failed)) == (TaskState.PENDING, False,
                                                                          False)


def test_running_task_is_started(kept, backend):
    go = threading.Event()
    task = kept.put_task(go.wait, (PATIENCE,))
    task.started.wait(PATIENCE)
    result = AsyncResult(task.id, backend)
    assert (ask(result.state), ask(result.ready), ask(result.failed)) == (TaskState.STARTED, False,
                                                                          False)
    go.set()
    task.wait(PATIENCE)


def test_task_that_waits_for_its_next_attempt_is_in_retry(kept, backend):
    task = background_task(f.retry_for_ever, supervisor=kept, retries=1)(1000)
    while task.state != "retrying":
        background_task(f.nothing, supervisor=kept)().wait(PATIENCE)
    result = AsyncResult(task.id, backend)
    assert (ask(result.state), ask(result.ready), ask(result.failed)) == (TaskState.RETRY, False,
                                                                          False)
    task.cancel()


def test_successful_task_is_ready(kept, backend):
    task = kept.put_task(pow, (2, 5))
    task.wait(PATIENCE)
    result = AsyncResult(task.id, backend)
    assert (ask(result.state), ask(result.ready), ask(result.failed)) == (TaskState.SUCCESS, True,
                                                                          False)


def test_failed_task_is_ready_and_failed(kept, backend):
    task = kept.put_task(int, ("x",))
    task.wait(PATIENCE)
    result = AsyncResult(task.id, backend)
    assert (ask(result.state), ask(result.ready), ask(result.failed)) == (TaskState.FAILURE, True,
                                                                          True)


# -- Backend ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["connect", "disconnect", "set_state", "store_result",
                                  "get_result", "delete_result",
                                  "healthcheck"])
def test_backend_methods_are_coroutines(backend, name):
    assert inspect.iscoroutinefunction(getattr(backend, name))


def test_backend_connects_is_healthy_and_disconnects(backend):
    async def main():
        await backend.connect()
        healthy = await backend.healthcheck()
        await backend.disconnect()
        return healthy

    assert asyncio.run(main()) is True


def test_backend_stores_and_deletes_states_and_results(backend):
    async def main():
        assert await backend.get_result("id") is None
        await backend.set_state("id", TaskState.STARTED)
        assert (await backend.get_result("id")).state is TaskState.STARTED
        await backend.store_result("id", StoredResult("id", TaskState.SUCCESS, [1, "a"]))
        found = await backend.get_result("id")
        assert (found.task_id, found.state, found.result) == ("id", TaskState.SUCCESS, [1, "a"])
        await backend.delete_result("id")
        assert await backend.get_result("id") is None

    asyncio.run(main())


def test_stored_result_has_the_fields_of_the_model(kept, backend):
    good, bad = kept.put_task(pow, (2, 5)), kept.put_task(int, ("x",))
    for task in (good, bad):
        task.wait(PATIENCE)
    backend.flush(PATIENCE)
    found = ask(backend.get_result, good.id)
    assert (found.task_id, found.state, found.result, found.error, found.traceback) == (
        good.id, TaskState.SUCCESS, 32, None, None)
    found = ask(backend.get_result, bad.id)
    assert (found.task_id, found.state, found.result) == (bad.id, TaskState.FAILURE, None)
    assert type(found.error) is ValueError and "ValueError: invalid literal" in found.traceback


# -- the context of a task -------------------------------------------------------------------------


@pytest.fixture(params=["thread", "coroutine", pytest.param("process", marks=pytest.mark.slow)])
def run(request, supervisor):
    """Runs a function as a task with options, and returns the task when it has ended."""
    def bound(function, *args, **options):
        if request.param == "coroutine":
            async def inner(*args):
                return function(*args)
        else:
            inner = function
        if request.param == "process":
            options["tt"] = TT_MP
        task = background_task(inner, supervisor=supervisor, **options)(*args)
        task.wait(PATIENCE)
        return task

    return bound


def retry_for(seconds):
    if current_task().attempts < 2:
        current_task().retry(countdown=seconds)
    return "done"


def test_retry_runs_the_task_again_after_the_countdown(run):
    result = run(retry_for, 0.05, retries=1, retry_delay=1000).wait(0)
    assert (result.value, result.attempts) == ("done", 2)
    assert result.started_at - result.created_at >= 0.05


def seen_in_the_attempt(last):
    task = current_task()
    if task.attempts < last:
        task.retry(countdown=0)
    return task.remaining_retries, task.is_last_retry


@pytest.mark.parametrize("attempt, seen", [(1, (2, False)), (2, (1, False)), (3, (0, True))])
def test_context_says_how_many_retries_remain_and_which_is_the_last(run, attempt, seen):
    assert run(seen_in_the_attempt, attempt, retries=2).value(0) == seen


# -- retry policies --------------------------------------------------------------------------------


@pytest.mark.parametrize("backoff, pauses",
                         [("fixed", [2, 2, 2, 2]), ("linear", [2, 4, 6, 8]),
                          ("exponential", [2, 4, 8, 16])])
def test_policy_has_fixed_linear_and_exponential_backoff(backoff, pauses):
    options = TaskOptions(retries=4, retry_delay=2, backoff=backoff)
    assert [options.retry_pause(attempt) for attempt in (1, 2, 3, 4)] == pauses


def test_policy_has_a_cap():
    options = TaskOptions(retries=9, retry_delay=2, backoff="exponential", max_retry_delay=5)
    assert [options.retry_pause(attempt) for attempt in (1, 2, 3, 9)] == [2, 4, 5, 5]


def test_policy_has_jitter():
    options = TaskOptions(retries=1, retry_delay=2, jitter=0.25)
    pauses = {options.retry_pause(1) for _ in range(100)}
    assert len(pauses) > 1 and all(1.5 <= pause <= 2.5 for pause in pauses)


def raise_error(error):
    raise error


@pytest.mark.parametrize("options, attempts", [
    ({}, 2), ({"retry_on": [ValueError]}, 2), ({"retry_on": [KeyError]}, 1),
    ({"ignore_on": [ValueError]}, 1),
    ({"retry_on": ["ValueError"]}, 2), ({"retry_on": ["builtins.ValueError"]}, 2),
    ({"retry_on": ["KeyError"]}, 1),
    ({"ignore_on": ["ValueError"]}, 1),
    ({"retry_on": [Exception], "ignore_on": ["builtins.ValueError"]}, 1),
])
def test_policy_has_lists_of_errors_to_retry_on_or_not(supervisor, options, attempts):
    fail = background_task(raise_error, supervisor=supervisor, retries=1, **options)
    task = fail(ValueError("bad"))
    assert type(task.exception(PATIENCE)) is ValueError and task.attempts == attempts


@pytest.mark.parametrize("options, attempts",
                         [({"retry_on": ["ValueError"]}, 2), ({"ignore_on": ["ValueError"]}, 1)])
def test_policy_has_lists_of_errors_wherever_the_task_runs(run, options, attempts):
    task = run(raise_error, ValueError("bad"), retries=1, **options)
    assert type(task.exception(PATIENCE)) is ValueError and task.attempts == attempts
