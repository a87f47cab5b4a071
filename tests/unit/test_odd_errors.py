"""Errors and values whose text, repr or pickle cannot be had: every way of looking at their tasks
works."""
import asyncio
import concurrent.futures
import gc
import io
import logging
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading

import pytest

from atasker_like import (TT_MP, AsyncQueue, Checkpoint, ExecutionError, FunctionCollection,
                          MemoryBackend, PoolBrokenError, ProcessQueue, RemoteError, SyncResult,
                          TaskCollection, TaskPicklingError, ThreadQueue, as_completed,
                          background_task, background_worker, co_wait_completed, current_task, tmap,
                          wait_completed)
from atasker_like._inspect import described, shown, text_of, traceback_text
from tests.support import ROOT

from . import odd_errors
from .odd_errors import KINDS

NO_TEXT = "NoText: <its text cannot be shown: str() raised IndexError>"

kinds = pytest.mark.parametrize("name", sorted(KINDS))


def look_at(task):
    """Look at a failed task in every way; return its result."""
    told = threading.Event()
    task.add_done_callback(lambda task: told.set())
    result = task.wait(20)
    assert (result.status, task.state, task.result) == ("failed", "failed", None)
    assert all(map(str, (result, task, result.message)))
    error = task.exception()
    try:
        task.value()
    except BaseException as raised:
        assert raised is error
    else:
        raise AssertionError("it did not raise")
    try:
        wait_completed([task], strict=True)
    except ExecutionError as raised:
        assert result.name in str(raised) and repr(raised.results)
    assert wait_completed([task]) == [None]
    assert list(as_completed([task])) == [task]
    assert asyncio.run(co_wait_completed([task])) == [None]
    assert told.wait(20)
    return result


@kinds
@pytest.mark.parametrize("function, options",
                         [(odd_errors.fail, {}), (odd_errors.fail, {"retries": 1}),
                          (odd_errors.co_fail, {}), (odd_errors.co_fail, {"retries": 1})],
                         ids=["thread", "thread again", "loop", "loop again"])
def test_task_with_an_odd_error_can_be_looked_at(supervisor, function, options, name):
    result = look_at(background_task(function, supervisor=supervisor, **options)(name))
    assert type(result.exception) is KINDS[name]


def test_text_of_an_error_says_what_could_not_be_shown(supervisor):
    result = background_task(odd_errors.fail, supervisor=supervisor)("NoText").wait(10)
    assert result.message == NO_TEXT
    with pytest.raises(ExecutionError, match="NoText: <its text cannot be shown"):
        tmap(odd_errors.fail, ["NoText"], supervisor=supervisor)


@pytest.mark.slow
def test_process_task_with_an_odd_error_can_be_looked_at(supervisor):
    supervisor.set_mp_pool(pool_size=1)
    fail = background_task(odd_errors.fail, tt=TT_MP, supervisor=supervisor)
    errors = {name: look_at(fail(name)).exception for name in KINDS}
    assert {name for name, error in errors.items() if type(error) is RemoteError} == {
        "NoReduce", "ReducedToNumber", "Exits", "Nothing", "Silent", "Nameless"}
    assert str(errors["Silent"]).startswith("tests.unit.odd_errors.Silent: Silent (")
    assert str(errors["Nameless"]).startswith("tests.unit.odd_errors.Nameless: Nameless (")
    assert ("RuntimeError: no reduce; have its __init__ pass all its arguments to "
            "super().__init__(), or define __reduce__" in str(errors["NoReduce"]))
    assert ("its __reduce__ makes int of it instead of an "
            "exception" in str(errors["ReducedToNumber"]))
    two = background_task(odd_errors.fail_with_two, tt=TT_MP, supervisor=supervisor)().exception(20)
    assert (two.type_name, two.message) == ("tests.unit.odd_errors.TwoArguments", "a: b")
    assert "TypeError: " in two.reason and "__init__" in two.reason and "super().__init__()" in str(
        two)
    local = background_task(odd_errors.fail_with_a_local_class, tt=TT_MP,
                            supervisor=supervisor)().exception(20)
    assert "define its class at the top level of a module" in str(local)
    for error in (two, local):
        assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.slow
@pytest.mark.parametrize("executor", [
    lambda: concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")),
    lambda: concurrent.futures.ThreadPoolExecutor(1)], ids=["processes", "threads"])
def test_task_of_an_executor_with_an_odd_error_can_be_looked_at(supervisor, executor):
    with executor() as pool:
        supervisor.mp_pool = pool
        for name in KINDS:
            look_at(background_task(odd_errors.fail, tt=TT_MP, supervisor=supervisor)(name))
        supervisor.stop(wait=10)


@kinds
@pytest.mark.parametrize("policy", ["continue", "fail_first"])
def test_hooks_and_summaries_of_a_queue_with_an_odd_error_work(supervisor, name, policy):
    told, retried = [], []
    queue = ThreadQueue(supervisor=supervisor, fail_policy=policy, on_complete=told.append,
                        on_retry=lambda handle, error: retried.append(type(error)))
    handle = queue.submit(odd_errors.fail, name, retries=1)
    summary = queue.run()
    assert [result.status for result in told] == ["failed"] and retried == [KINDS[name]]
    text = io.StringIO()
    summary.display(text)
    assert name in text.getvalue()
    assert all(map(repr, (summary, summary.results, summary.errors, handle, handle.result())))
    with pytest.raises(ExecutionError) as raised:
        summary.raise_for_errors()
    assert name in str(raised.value)


@kinds
def test_hooks_of_an_async_queue_with_an_odd_error_are_called_once(supervisor, name):
    told = []

    async def main():
        queue = AsyncQueue(supervisor=supervisor, on_complete=told.append)
        queue.submit(odd_errors.co_fail, name)
        return await queue.run()

    assert asyncio.run(main()).failed == 1
    assert [result.status for result in told] == ["failed"]


@kinds
@pytest.mark.parametrize("serializer", ["json", "pickle"])
def test_backend_keeps_an_odd_error(supervisor, name, serializer):
    backend = MemoryBackend(serializer=serializer)
    supervisor.set_result_backend(backend)
    task = supervisor.put_task(odd_errors.fail, (name,))
    task.completed.wait(10)
    task.exception()
    backend.flush(10)
    stored = backend.find(task.id)
    assert repr(stored) and stored.state == "FAILURE"
    with pytest.raises((KINDS[name], RemoteError)):
        SyncResult(task.id, backend).get(10)
    supervisor.set_result_backend(None)


@kinds
@pytest.mark.parametrize("function", [odd_errors.fail, odd_errors.co_fail], ids=["thread", "loop"])
def test_unseen_error_is_logged(supervisor, caplog, function, name):
    background_task(function, supervisor=supervisor)(name).completed.wait(10)
    supervisor.stop(wait=10)
    gc.collect()
    assert "nobody looked at its error" in caplog.text and name in caplog.text
    assert f"in {function.__name__}" in caplog.text and "odd_errors.py" in caplog.text


@kinds
def test_unseen_error_with_an_odd_context_is_logged(supervisor, caplog, name):
    background_task(odd_errors.fail_with_context, supervisor=supervisor)(
        "Empty", name).completed.wait(10)
    supervisor.stop(wait=10)
    gc.collect()
    assert "nobody looked at its error" in caplog.text and "Empty" in caplog.text


def test_log_of_an_unseen_odd_error_reaches_a_handler(supervisor, capsys):
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logging.getLogger("atasker_like").addHandler(handler)
    try:
        background_task(odd_errors.fail, supervisor=supervisor)("Silent").completed.wait(10)
        supervisor.stop(wait=10)
        gc.collect()
    finally:
        logging.getLogger("atasker_like").removeHandler(handler)
    lines = stream.getvalue().splitlines()
    assert "nobody looked at its error" in lines[0] and lines[-1] == "Silent: Silent"
    assert "Logging error" not in capsys.readouterr().err


@kinds
def test_worker_and_collections_survive_odd_errors(supervisor, name):
    worker = background_worker(lambda: odd_errors.fail(name), supervisor=supervisor, max_restarts=0)
    worker.start()
    assert worker.wait_until_stop(10) and worker.stats().failures == 1
    for kind in (FunctionCollection, TaskCollection):
        collection = kind(include_exceptions=True, on_error=lambda: None)
        collection.append(lambda: odd_errors.fail(name))
        (error, text), = collection.run().values()
        assert type(error) is KINDS[name] and name in text


@kinds
def test_odd_errors_of_callbacks_are_logged(supervisor, caplog, name):
    task = background_task(len, callback=lambda value: odd_errors.fail(name),
                           supervisor=supervisor)("x")
    task.add_done_callback(lambda task: odd_errors.fail(name))
    assert task.value(10) == 1
    supervisor.stop(wait=10)
    assert "a done callback of task len" in caplog.text
    assert "the callback of task len" in caplog.text and name in caplog.text


@kinds
@pytest.mark.parametrize("function", [odd_errors.fail, odd_errors.co_fail], ids=["thread", "loop"])
def test_odd_error_is_known_by_its_class_and_by_its_name(supervisor, function, name):
    attempts = []
    for retry_on in (KINDS[name], name, f"tests.unit.odd_errors.{name}", ValueError, "Other"):
        task = background_task(function, supervisor=supervisor, retries=1,
                               retry_on=[retry_on])(name)
        assert type(task.exception(10)) is KINDS[name]
        attempts.append(task.attempts)
    assert attempts == [2, 2, 2, 1, 1]


@kinds
def test_odd_error_is_reported_if_no_attempt_is_left(supervisor, name):
    def ask():
        try:
            odd_errors.fail(name)
        except BaseException:
            current_task().retry()

    for exc in (ask, lambda: current_task().retry(exc=KINDS[name](name))):
        task = background_task(exc, supervisor=supervisor, retries=1)()
        assert type(task.exception(10)) is KINDS[name] and task.attempts == 2


@kinds
def test_odd_error_of_a_collection_is_raised(supervisor, name):
    collection = TaskCollection(supervisor)
    collection.append(lambda: odd_errors.fail(name))
    with pytest.raises(BaseException) as raised:
        collection.run()
    assert raised.type is KINDS[name]


@kinds
def test_odd_error_of_a_cancelled_task_is_looked_at(supervisor, name):
    begun, go_on = threading.Event(), threading.Event()

    def wait():
        begun.set()
        assert go_on.wait(10)
        odd_errors.fail(name)

    task = background_task(wait, supervisor=supervisor)()
    assert begun.wait(10)
    task.cancel()
    go_on.set()
    assert type(task.exception(10)) is KINDS[name]


@kinds
def test_argument_that_cannot_be_pickled_fails_its_task(supervisor, name):
    class Argument:
        def __reduce__(self):
            odd_errors.fail(name)

    error = background_task(len, tt=TT_MP, supervisor=supervisor)(Argument()).exception(10)
    # From Python 3.14 on, pickle adds a note to the error, which Nothing refuses.
    assert type(error) is TaskPicklingError and (name in str(error) or "refused" in str(error))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["NoText", "Empty", "Nothing"])
def test_initializer_with_an_odd_error_fails_what_waits(supervisor, name):
    supervisor.create_mp_pool(1, initializer=odd_errors.fail, initargs=(name,))
    error = background_task(len, tt=TT_MP, supervisor=supervisor)("x").exception(30)
    assert type(error) is PoolBrokenError and error.__cause__ is not None
    assert ("NoText" if name == "NoText" else name) in traceback_text(error, None)


def test_value_that_cannot_be_shown_is_a_result(supervisor):
    result = background_task(odd_errors.give, supervisor=supervisor)(1).wait(10)
    assert (repr(result)
            == "<TaskResult give succeeded value=<Value that cannot be shown: repr() raised "
               "NoText>>")
    with Checkpoint(":memory:") as checkpoint:
        queue = ThreadQueue(supervisor=supervisor)
        queue.map(odd_errors.give, [1], checkpoint=checkpoint)
        assert queue.run().succeeded == 1
    supervisor.set_result_backend(MemoryBackend())
    task = supervisor.put_task(odd_errors.give, (1,))
    task.wait(10)
    supervisor.result_backend.flush(10)
    assert "It was <Value instance at" in repr(supervisor.result_backend.find(task.id))
    supervisor.set_result_backend(None)


def test_value_of_a_process_that_cannot_be_pickled_fails_its_task(supervisor):
    error = background_task(odd_errors.give, tt=TT_MP, supervisor=supervisor)(1).exception(30)
    assert (type(error) is TaskPicklingError
            and "<its text cannot be shown: str() raised IndexError>" in str(error))


def test_queue_of_processes_with_an_odd_error_tells_its_hooks(supervisor):
    told = []
    queue = ProcessQueue(supervisor=supervisor, on_complete=told.append)
    queue.map(odd_errors.fail, ["NoText", "NoReduce"])
    queue.run().display(io.StringIO())
    assert [result.status for result in told] == ["failed", "failed"]


def test_words_for_what_cannot_be_shown():
    assert text_of(ValueError("five")) == "five" and shown([5]) == "[5]"
    assert described(odd_errors.NoText("x")) == NO_TEXT
    assert (described(odd_errors.Exits())
            == "Exits: <its text cannot be shown: str() raised SystemExit>")
    try:
        odd_errors.fail("Nothing")
    except odd_errors.Nothing as error:
        assert "in fail" in traceback_text(error, error.__traceback__)


def test_ctrl_c_while_an_error_is_shown_is_not_lost():
    class Slow(Exception):
        def __str__(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        text_of(Slow())


PROGRAM = """
from atasker_like import TT_MP, background_task, task_supervisor

class TwoArguments(Exception):
    def __init__(self, what, why):
        super().__init__(what)

@background_task(tt=TT_MP)
def fail():
    raise TwoArguments("a", "b")

if __name__ == "__main__":
    task_supervisor.set_mp_pool(pool_size=1, start_method="spawn")
    error = fail().exception(30)
    print(error.type_name)
    print(error)
    print("__mp_main__" in str(error.__cause__))
"""


@pytest.mark.gate
@pytest.mark.slow
def test_error_of_the_main_module_has_the_name_that_the_program_gives_it(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    root = ROOT
    done = subprocess.run([sys.executable, str(program)], stdout=subprocess.PIPE, check=True,
                          timeout=60,
                          env=dict(os.environ, PYTHONPATH=root))
    name, text, hidden = done.stdout.decode().splitlines()
    assert (name, hidden) == ("__main__.TwoArguments", "False")
    assert text.startswith("__main__.TwoArguments: a (this error could not be rebuilt here: "
                           "TypeError: ")
