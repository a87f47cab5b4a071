"""AsyncResult and SyncResult: the same answers, in a coroutine and in a thread."""
import asyncio
import subprocess
import sys
import threading

import pytest

from atasker_like import (TT_MP, AsyncResult, BackendNotConfiguredError, MemoryBackend, RemoteError,
                          RemoteTraceback, ResultBackendError, ResultNotStoredError, SQLiteBackend,
                          StoredResult, SyncResult, TaskCancelledError, TaskState, background_task,
                          task_supervisor)
from tests.support import PATIENCE, ROOT
from tests.support.internals.result import FIND_TASK

#: Seconds between two looks into the store. A wait that needs the second look hangs.
NEVER = 10000


class Sync:
    """A SyncResult."""

    def __init__(self, *args):
        self._result = SyncResult(*args)

    def __getattr__(self, name):
        return getattr(self._result, name)


class Async(Sync):
    """An AsyncResult, each of its coroutines run in a loop of its own."""

    def __init__(self, *args):
        self._result = AsyncResult(*args)

    def __getattr__(self, name):
        method = getattr(self._result, name)
        return lambda *args, **kwargs: asyncio.run(method(*args, **kwargs))


@pytest.fixture(params=[Sync, Async])
def result_of(request):
    return request.param


def test_the_value_of_a_task_that_runs(stored, backend, result_of):
    """It wakes when the task ends, without a second look."""
    go, asked = threading.Event(), threading.Event()
    find_task = FIND_TASK.of(backend)

    def find_and_report(task_id):
        asked.set()
        return find_task(task_id)

    FIND_TASK.put(backend, find_and_report)
    task = stored.put_task(lambda: go.wait(PATIENCE) and "value")
    task.started.wait(PATIENCE)
    got = []
    asker = threading.Thread(target=lambda: got.append(result_of(task.id, backend).get(PATIENCE,
                                                                                       NEVER)))
    asker.start()
    assert asked.wait(PATIENCE)
    go.set()
    asker.join(PATIENCE)
    assert got == ["value"]


def test_the_value_of_a_task_that_has_ended(stored, backend, result_of):
    task = stored.put_task(dict, kwargs={"a": [1, None]})
    task.wait(PATIENCE)
    assert result_of(task.id, backend).get(0) == {"a": [1, None]}
    backend.flush(PATIENCE)
    assert result_of(task.id, backend).get(0) == {"a": [1, None]}


def test_the_answer_does_not_depend_on_when_one_asks(stored, backend, result_of):
    """A tuple is a list at once, since it will be one in the store."""
    go = threading.Event()
    task = stored.put_task(lambda: go.wait(PATIENCE) and (1, 2))
    handle = result_of(task.id, backend)
    got = []
    asker = threading.Thread(target=lambda: got.append(handle.get(PATIENCE)))
    asker.start()
    go.set()
    asker.join(PATIENCE)
    got.append(handle.get(PATIENCE))
    backend.flush(PATIENCE)
    got.append(handle.get(PATIENCE))
    assert got == [[1, 2]] * 3


def test_state_follows_the_task(stored, backend, result_of):
    go = threading.Event()
    running = stored.put_task(go.wait, (PATIENCE,))
    running.started.wait(PATIENCE)
    delayed = stored.put_task(abs, (1,), delay=1000)
    assert result_of(running.id, backend).state() is TaskState.STARTED
    assert result_of(delayed.id, backend).state() is TaskState.PENDING
    assert result_of("unknown", backend).state() is TaskState.PENDING
    assert not result_of(running.id, backend).ready()
    go.set()
    running.wait(PATIENCE)
    delayed.cancel()
    for _ in range(2):
        assert result_of(running.id, backend).state() is TaskState.SUCCESS
        assert result_of(running.id, backend).ready() and not result_of(running.id,
                                                                        backend).failed()
        assert result_of(delayed.id, backend).state() is TaskState.FAILURE
        assert result_of(delayed.id, backend).ready() and result_of(delayed.id, backend).failed()
        backend.flush(PATIENCE)
    with pytest.raises(TaskCancelledError):
        result_of(delayed.id, backend).get()


def test_a_task_that_is_about_to_be_tried_again(stored, backend, result_of):
    def fail():
        raise OSError("try again")

    task = background_task(fail, retries=1, retry_delay=1000, supervisor=stored)()
    failed = threading.Event()
    while task.state != "retrying":
        failed.wait(0.001)
    assert result_of(task.id, backend).state() is TaskState.RETRY
    backend.flush(PATIENCE)
    assert backend.codec.decode(task.id, backend.read(task.id)).state is TaskState.RETRY


def test_what_runs_is_seen_by_other_processes(stored, backend):
    """The start of a task is stored, not only its end."""
    go = threading.Event()
    task = stored.put_task(go.wait, (PATIENCE,))
    task.started.wait(PATIENCE)
    backend.flush(PATIENCE)
    assert backend.codec.decode(task.id, backend.read(task.id)).state is TaskState.STARTED
    go.set()
    task.wait(PATIENCE)
    backend.flush(PATIENCE)
    found = backend.codec.decode(task.id, backend.read(task.id))
    assert found[:5] == StoredResult(task.id, TaskState.SUCCESS, True)[:5]


def fail(kind, *args):
    raise kind(*args)


@pytest.mark.parametrize("late", [False, True])
def test_error_of_a_task_is_raised_with_its_traceback(stored, backend, result_of, late, unseen):
    """The task's own type, with the traceback as its cause, from memory and from the store."""
    go = threading.Event()
    find_task = FIND_TASK.of(backend)

    def find_and_go(task_id):
        task = find_task(task_id)
        go.set()                            # it fails when the asker has it, and not before
        return task

    FIND_TASK.put(backend, find_and_go)
    task = stored.put_task(lambda: go.wait(PATIENCE) and fail(ZeroDivisionError, "no", 1))
    task_id = task.id
    if late:
        go.set()
        task.exception()
        backend.flush(PATIENCE)
    del task
    with pytest.raises(ZeroDivisionError) as caught:
        result_of(task_id, backend).get(PATIENCE)
    assert caught.value.args == ("no", 1)
    assert isinstance(caught.value.__cause__, RemoteTraceback)
    assert "in fail" in str(caught.value.__cause__)
    stored.stop(wait=PATIENCE)
    del caught
    assert unseen() == []


class TwoArguments(Exception):
    def __init__(self, one, other):
        super().__init__(one)


def test_errors_that_cannot_be_rebuilt(stored, backend, result_of):
    task = stored.put_task(fail, (TwoArguments, 1, 2))
    with pytest.raises(RemoteError, match="TwoArguments: 1") as caught:
        result_of(task.id, backend).get(PATIENCE)
    assert "in fail" in caught.value.traceback


def test_a_stop_iteration(stored, backend):
    """No coroutine can raise one: there it is the cause of what is raised."""
    task_id = stored.put_task(fail, (StopIteration, 3)).id
    with pytest.raises(StopIteration) as caught:
        SyncResult(task_id, backend).get(PATIENCE)
    assert caught.value.value == 3
    with pytest.raises(RuntimeError, match="StopIteration") as caught:
        asyncio.run(AsyncResult(task_id, backend).get(PATIENCE))
    assert type(caught.value.__cause__) is StopIteration and caught.value.__cause__.value == 3


def test_values_that_json_cannot_hold(stored, backend, result_of):
    task = stored.put_task(object)
    with pytest.raises(ResultNotStoredError, match="serializer='pickle'.*It was <object object at"):
        result_of(task.id, backend).get(PATIENCE)
    assert result_of(task.id, backend).state() is TaskState.SUCCESS


def test_ignored_result_is_not_kept(stored, backend, result_of):
    go = threading.Event()
    task = background_task(go.wait, ignore_result=True, supervisor=stored)(PATIENCE)
    with pytest.raises(ResultNotStoredError, match="ignore_result"):
        result_of(task.id, backend).get(PATIENCE)
    go.set()
    task.wait(PATIENCE)
    assert result_of(task.id, backend).state() is TaskState.PENDING


@pytest.mark.parametrize("timeout", [0, 0.01])
def test_get_raises_after_its_timeout(stored, backend, result_of, timeout):
    go = threading.Event()
    task = stored.put_task(go.wait, (PATIENCE,))
    for task_id in (task.id, "unknown"):
        with pytest.raises(TimeoutError, match=f"after {timeout:g} s"):
            result_of(task_id, backend).get(timeout, NEVER)
    go.set()


def test_pool_thread_that_waits_lends_its_slot(make_supervisor, backend):
    supervisor = make_supervisor(pool_size=1, reserve_normal=0, reserve_high=0)
    supervisor.set_result_backend(backend)

    def outer():
        return SyncResult(supervisor.put_task(abs, (-5,)).id, backend).get(PATIENCE, NEVER)

    assert SyncResult(supervisor.put_task(outer).id, backend).get(PATIENCE) == 5
    supervisor.set_result_backend(None)


@pytest.mark.slow
def test_tasks_in_processes_and_loops(stored, backend, result_of):
    async def co():
        return "coroutine"

    assert result_of(stored.put_task(pow, (2, 5), tt=TT_MP).id, backend).get(PATIENCE, NEVER) == 32
    task = background_task(co, supervisor=stored)()
    assert result_of(task.id, backend).get(PATIENCE, NEVER) == "coroutine"
    with pytest.raises(ValueError, match="invalid literal"):
        result_of(stored.put_task(int, ("x",), tt=TT_MP).id, backend).get(PATIENCE, NEVER)


def test_an_id_of_ones_own(stored, backend, result_of):
    stored.put_task(abs, (-3,), task_id="my own")
    assert result_of("my own", backend).get(PATIENCE, 0.001) == 3


def test_without_a_backend(result_of):
    with pytest.raises(BackendNotConfiguredError, match="set_result_backend"):
        result_of("1").get()
    with pytest.raises(BackendNotConfiguredError):
        result_of("1").state()


def test_the_backend_of_the_supervisor(result_of):
    backend = MemoryBackend()
    task_supervisor.set_result_backend(backend)
    try:
        assert task_supervisor.result_backend is backend
        assert result_of(task_supervisor.put_task(abs, (-1,)).id).get(PATIENCE) == 1
    finally:
        task_supervisor.set_result_backend(None)
    assert task_supervisor.result_backend is None


def test_arguments_of_wrong_types_are_refused(stored, backend, result_of):
    task = stored.put_task(abs, (1,))
    with pytest.raises(TypeError, match="pass task.id"):
        result_of(task, backend)
    with pytest.raises(TypeError, match="takes a Backend, not dict"):
        result_of(task.id, {})
    with pytest.raises(TypeError, match="poll_interval takes seconds"):
        result_of(task.id, backend).get(poll_interval="1")
    with pytest.raises(ValueError, match="above 0"):
        result_of(task.id, backend).get(poll_interval=0)
    with pytest.raises(TypeError, match="takes a Backend"):
        stored.set_result_backend({})


def test_a_store_that_cannot_be_read(backend, result_of):
    def read(task_id):
        raise ValueError("no such thing")

    backend.read = read
    with pytest.raises(ResultBackendError, match="failed to read: ValueError: no such thing"):
        result_of("1", backend).get()


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"state":"GONE"}', '{"state":"SUCCESS"}',
                                  '{"state":"FAILURE"}',
                                  '{"state":"FAILURE","error":{}}',
                                  '{"state":"FAILURE","error":7}'])
def test_text_of_another_program_raises_an_error(backend, result_of, text):
    backend.write([("1", text)])
    with pytest.raises(ResultBackendError, match="no result"):
        result_of("1", backend).get()


def test_the_loop_is_not_blocked(stored, backend):
    """Others run in it while one waits, for a task and for the store."""
    async def main():
        go = threading.Event()
        task = stored.put_task(go.wait, (PATIENCE,))
        waiting = [asyncio.ensure_future(AsyncResult(task.id, backend).get()),
                   asyncio.ensure_future(AsyncResult("later", backend).get(poll_interval=0.001))]
        await asyncio.wait(waiting, timeout=0.02)
        assert not any(one.done() for one in waiting)
        go.set()
        await backend.store_result("later", StoredResult("later", TaskState.SUCCESS, "now"))
        assert await asyncio.wait_for(asyncio.gather(*waiting), PATIENCE) == [True, "now"]

    asyncio.run(main())


def test_waiter_that_is_cancelled_does_not_cancel_the_task(stored, backend):
    async def main():
        go = threading.Event()
        task = stored.put_task(go.wait, (PATIENCE,))
        waiting = asyncio.ensure_future(AsyncResult(task.id, backend).get())
        await asyncio.wait([waiting], timeout=0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        go.set()
        return await AsyncResult(task.id, backend).get(PATIENCE)

    assert asyncio.run(main()) is True


def test_waiter_that_is_cancelled_between_two_looks_leaves_nothing_in_the_loop(backend):
    """Also in the iteration of the loop in which it was about to look again."""
    trouble = []

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: trouble.append(context))
        pausing, call_later = asyncio.Event(), loop.call_later

        def call_at_once(seconds, *call):
            # the pause between two looks; it ends in the next iteration, as does this wait
            if seconds > 999:
                pausing.set()
                seconds = 0
            return call_later(seconds, *call)

        loop.call_later = call_at_once
        waiting = asyncio.ensure_future(AsyncResult("unknown", backend).get(poll_interval=1000))
        await pausing.wait()
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        await asyncio.sleep(0)

    asyncio.run(main())
    assert trouble == []


PROGRAM = """
import sys
from atasker_like import SQLiteBackend, SyncResult
with SQLiteBackend(sys.argv[1]) as backend:
    print("ready", flush=True)
    print(SyncResult(sys.argv[2], backend).get(30, 0.01))
"""


@pytest.mark.slow
def test_another_process_gets_it(supervisor, path, make_backend):
    backend = make_backend(SQLiteBackend, path)
    supervisor.set_result_backend(backend)
    go = threading.Event()
    task = supervisor.put_task(lambda: go.wait(PATIENCE) and {"a": 1})
    with subprocess.Popen([sys.executable, "-c", PROGRAM, path, task.id], stdout=subprocess.PIPE,
                          universal_newlines=True, cwd=ROOT) as program:
        try:
            assert program.stdout.readline() == "ready\n"
            go.set()
            assert program.communicate(timeout=40)[0] == "{'a': 1}\n"
        finally:
            program.kill()
    supervisor.set_result_backend(None)


def test_wait_without_limit_for_an_id_that_nothing_knows_warns_once(result_of, caplog):
    backend = MemoryBackend()
    states = iter([TaskState.PENDING, TaskState.PENDING, TaskState.SUCCESS])

    class Found:
        def __init__(self):
            self.state = next(states)

        def value(self):
            return "value"

    backend.find = lambda task_id: Found()
    assert result_of("0" * 32, backend).get(poll_interval=0.001) == "value"
    [message] = caplog.messages
    assert f"waits for task {'0' * 32}, which this process does not have" in message
    assert message.endswith("if the id may be wrong, give get() a timeout")


# -- errors that nobody looked at ------------------------------------------------------------------


def raise_error(text):
    raise ValueError(text)


def test_an_error_that_get_raises_from_the_store_is_seen(stored, backend, result_of, unseen):
    task = stored.put_task(raise_error, ("seen",))
    task.completed.wait(PATIENCE)
    backend.flush(PATIENCE)
    assert FIND_TASK.of(backend)(task.id) is None      # the answer comes from the store
    with pytest.raises(ValueError, match="seen"):
        result_of(task.id, backend).get(PATIENCE)
    del task
    assert unseen() == []


def test_an_error_of_the_store_is_unseen_until_it_is_raised(stored, backend, result_of, unseen):
    first = stored.put_task(raise_error, ("of one",), task_id="one")
    first.completed.wait(PATIENCE)
    second = stored.put_task(raise_error, ("of one",), task_id="one")
    second.completed.wait(PATIENCE)
    other = stored.put_task(raise_error, ("of another",))
    other.completed.wait(PATIENCE)
    backend.flush(PATIENCE)
    assert result_of(other.id, backend).state() is TaskState.FAILURE
    assert result_of(other.id, backend).failed()
    del other
    assert len(unseen()) == 1
    del first
    assert len(unseen()) == 2
    with pytest.raises(ValueError, match="of one"):
        result_of("one", backend).get(PATIENCE)     # of the last task with this id
    del second
    assert len(unseen()) == 2
