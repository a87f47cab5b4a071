"""The description of a task in a backend: name, times, attempts, arguments, progress; ids()."""
import json
import threading
import time

import pytest

from atasker_like import (TT_MP, AsyncResult, Backend, InvalidTypeError, MemoryBackend, Progress,
                          ResultBackendError, SQLiteBackend, StoredResult, SyncResult, TaskState,
                          background_task, current_task, service)
from atasker_like.results import writer as module
from atasker_like.results.serializer import Serializer
from tests.contract import functions as f
from tests.contract.kinds import as_coroutine_function
from tests.support import PATIENCE
from tests.support.internals.result import (arguments_of, kept_arguments_of, releasable_of,
                                            reports_of, writers_of)
from tests.support.threads import wait_for


def stored_of(backend, task_id):
    """What the store itself has of a task, when everything is there."""
    backend.flush(PATIENCE)
    return backend.codec.decode(task_id, backend.read(task_id))


# -- name, times, attempts -------------------------------------------------------------------------


@pytest.mark.parametrize("function, args", [(abs, (-1,)), (int, ("x",)), (f.Gate, ("path",))])
def test_result_has_name_times_and_attempts(stored, backend, function, args):
    """Plain values, errors, and what cannot be stored."""
    before = time.time()
    task = stored.put_task(function, args)
    task.wait(PATIENCE)
    found = stored_of(backend, task.id)
    assert (found.name, found.attempts, found.state.is_final) == (task.name, 1, True)
    queued, started, completed = found.time_queued, found.time_started, found.time_completed
    assert before - 0.01 <= queued <= started <= completed <= time.time() + 0.01
    assert abs(queued - task.time_queued) < 0.01 and abs(completed - task.time_completed) < 0.01
    assert (found.args, found.kwargs, found.progress) == (None, None, None)


def test_many_plain_results_have_names_of_their_own(stored, backend):
    def one():
        return 1

    def other():
        return "%d %s"

    one.__qualname__ = "one %s \u00e9"
    tasks = [background_task(function, supervisor=stored)() for function in (one, one, other, one)]
    for task in tasks:
        task.wait(PATIENCE)
    found = [stored_of(backend, task.id) for task in tasks]
    assert [one.name for one in found] == [task.name for task in tasks]
    assert [one.result for one in found] == [1, 1, "%d %s", 1]


def test_attempts_are_counted_and_the_start_is_that_of_the_last_one(stored, backend):
    task = background_task(f.retry_until, supervisor=stored, retries=2, retry_delay=0.02)(3)
    task.wait(PATIENCE)
    found = stored_of(backend, task.id)
    assert found.attempts == 3 and found.time_started - found.time_queued >= 0.04


def test_cancelled_task_that_never_began_has_no_start(stored, backend):
    task = stored.put_task(abs, (-1,), delay=1000)
    task.cancel()
    found = stored_of(backend, task.id)
    assert (found.state, found.name, found.attempts, found.time_started) == (TaskState.FAILURE,
                                                                             "abs", 0, None)
    assert found.time_queued <= found.time_completed


def test_running_task_has_no_end(stored, backend):
    go = threading.Event()
    task = stored.put_task(go.wait, (PATIENCE,))
    task.started.wait(PATIENCE)
    found = stored_of(backend, task.id)
    assert (found.state, found.attempts, found.time_completed) == (TaskState.STARTED, 1, None)
    assert found.time_queued <= found.time_started
    go.set()
    task.wait(PATIENCE)


def test_info_is_the_same_in_this_and_other_processes(stored, backend):
    task = stored.put_task(divmod, (7, 2))
    here = SyncResult(task.id, backend)
    task.wait(PATIENCE)
    backend.flush(PATIENCE)
    found, asked = backend.find(task.id), here.info()
    assert asked == found and (asked.name, asked.result, asked.attempts) == ("divmod", [3, 1], 1)


def test_info_of_an_unknown_id_is_empty(backend):
    assert SyncResult("unknown", backend).info() == StoredResult("unknown", TaskState.PENDING)


class NamedByObject:
    """A callable whose name is no text, as that of some proxies."""

    def __init__(self):
        self.__qualname__ = object()

    def __call__(self):
        return "fine"


def test_name_that_is_no_text_does_not_matter(supervisor, backend):
    supervisor.set_result_backend(backend)
    good, odd = supervisor.put_task(abs, (-1,)), supervisor.put_task(NamedByObject())
    for task in (good, odd):
        task.wait(PATIENCE)
        assert stored_of(backend, task.id).result in (1, "fine")
    supervisor.set_result_backend(None)


@pytest.mark.parametrize("stored", [
    StoredResult("id", TaskState.STARTED, name="f", time_queued=1.5, time_started=2.25, attempts=2),
    StoredResult("id", TaskState.SUCCESS, 5, name="f", time_queued=1.5, time_started=2.5,
                 time_completed=3.5, attempts=1,
                 progress=Progress(1, 2, "half"), args=(1, "a"), kwargs={"b": [2]}),
    StoredResult("id", TaskState.RETRY, progress=Progress(0.5, None, None)),
    StoredResult("id", TaskState.SUCCESS, None, args=(), kwargs={}),
])
def test_stored_result_comes_back_with_all_its_fields(stored):
    for codec in (Serializer("json"), Serializer("pickle")):
        assert codec.decode("id", codec.encode(stored)) == stored


# -- arguments -------------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "sqlite"])
def with_arguments(request, supervisor, path, make_backend):
    kind, where = (MemoryBackend, ()) if request.param == "memory" else (SQLiteBackend, (path,))
    backend = make_backend(kind, *where, arguments=True)
    supervisor.set_result_backend(backend)
    yield backend
    supervisor.stop(wait=PATIENCE, cancel_tasks=True)
    supervisor.set_result_backend(None)


def test_arguments_are_stored_if_asked(supervisor, with_arguments):
    task = background_task(dict, supervisor=supervisor)([("a", 1)], b="x", c=None)
    task.wait(PATIENCE)
    found = stored_of(with_arguments, task.id)
    assert (found.args, found.kwargs) == (([["a", 1]],), {"b": "x", "c": None})
    assert (found.result, found.name) == ({"a": 1, "b": "x", "c": None}, "dict")
    assert with_arguments.attach and not arguments_of(writers_of(with_arguments)[0])


def test_arguments_of_a_running_task_are_stored(supervisor, with_arguments):
    go = threading.Event()
    task = background_task(lambda number, wait: wait(PATIENCE), supervisor=supervisor)(5,
                                                                                       wait=go.wait)
    task.started.wait(PATIENCE)
    found = stored_of(with_arguments, task.id)
    assert found.args == (5,) and "bound method Event.wait" in found.kwargs["wait"]
    assert SyncResult(task.id, with_arguments).info().args == (5,)
    go.set()
    task.wait(PATIENCE)
    found = stored_of(with_arguments, task.id)
    assert (found.args, found.result, list(found.kwargs)) == ((5,), True, ["wait"])


@pytest.mark.parametrize("tt", [TT_MP])
def test_arguments_of_process_tasks_are_stored(supervisor, with_arguments, tt):
    task = background_task(f.add, supervisor=supervisor, tt=tt)(1, b=2)
    task.wait(PATIENCE)
    found = stored_of(with_arguments, task.id)
    assert (found.args, found.kwargs, found.result) == ((1,), {"b": 2}, 3)


def test_arguments_of_retried_and_failed_tasks_are_stored(supervisor, with_arguments):
    task = background_task(f.retry_until, supervisor=supervisor, retries=1)(2, 0)
    bad = background_task(int, supervisor=supervisor)("x")
    task.wait(PATIENCE)
    bad.wait(PATIENCE)
    assert stored_of(with_arguments, task.id).args == (2, 0)
    assert stored_of(with_arguments, bad.id).args == ("x",)
    assert not arguments_of(writers_of(with_arguments)[0])


class Shy:
    def __repr__(self):
        raise SystemExit


def test_arguments_that_json_cannot_hold_are_stored_as_their_repr(supervisor, with_arguments):
    task = background_task(lambda *args: None, supervisor=supervisor)({1, 2}, float("nan"), Shy(),
                                                                      "x" * 20000, b"abc")
    task.wait(PATIENCE)
    args = stored_of(with_arguments, task.id).args
    assert args[:2] == ("{1, 2}", "nan") and "Shy" in args[2] and args[4] == "b'abc'"
    assert len(args[3]) < 2000 and args[3].startswith("'xxx")


def test_arguments_are_pickled_by_a_backend_of_pickles(supervisor):
    with MemoryBackend(serializer="pickle", arguments=True) as backend:
        supervisor.set_result_backend(backend)
        task = background_task(lambda *args, **kwargs: None, supervisor=supervisor)({1, 2},
                                                                                    key=(3,))
        local = background_task(lambda *args: None, supervisor=supervisor)(lambda: None)
        task.wait(PATIENCE)
        local.wait(PATIENCE)
        found = stored_of(backend, task.id)
        assert (found.args, found.kwargs) == (({1, 2},), {"key": (3,)})
        assert "<lambda>" in stored_of(backend, local.id).args[0]
        assert Serializer("json").decode(task.id, backend.read(task.id)).args is None
        supervisor.set_result_backend(None)


def test_arguments_are_stored_with_an_end_that_is_seen_early(supervisor):
    """The writer looks at a task of which it knows the begin only, and finds that it has ended."""
    with MemoryBackend(arguments=True) as backend:
        recorder = backend.attach(supervisor)       # the pools do not call it: the test does
        go = threading.Event()
        task = background_task(lambda number: go.wait(PATIENCE), supervisor=supervisor)(5)
        task.started.wait(PATIENCE)
        recorder.on_started(task)
        go.set()
        task.wait(PATIENCE)
        found = stored_of(backend, task.id)
        assert (found.state, found.args) == (TaskState.SUCCESS, (5,))
        recorder.on_finished(task)
        # another text, whose times may be a microsecond apart
        again = stored_of(backend, task.id)
        assert (again.state, again.args, again.kwargs) == (found.state, found.args, found.kwargs)
        assert not kept_arguments_of(recorder)
        backend.detach(recorder)


def test_arguments_are_kept_until_the_store_takes_them(supervisor, monkeypatch):
    class Broken(MemoryBackend):
        trouble = True

        def write(self, entries):
            if self.trouble:
                raise OSError("full")
            super().write(entries)

    with Broken(arguments=True) as backend:
        supervisor.set_result_backend(backend)
        recorder = writers_of(backend)[0]
        task = background_task(f.add, supervisor=supervisor)(1)
        task.wait(PATIENCE)
        with pytest.raises(ResultBackendError, match="full"):
            backend.flush(PATIENCE)
        assert arguments_of(recorder) or backend.find(task.id).args == (1,)
        Broken.trouble = False
        assert stored_of(backend, task.id).args == (1,)
        assert not arguments_of(recorder) and not releasable_of(recorder)
        supervisor.set_result_backend(None)


def test_arguments_of_ignored_tasks_are_not_kept(supervisor, with_arguments):
    task = background_task(f.add, supervisor=supervisor, ignore_result=True)(1)
    task.wait(PATIENCE)
    with_arguments.flush(PATIENCE)
    assert not arguments_of(writers_of(with_arguments)[0]) and with_arguments.ids() == []


def test_arguments_are_not_stored_unless_asked(stored, backend):
    task = stored.put_task(divmod, (7, 2))
    task.wait(PATIENCE)
    assert stored_of(backend, task.id).args is None
    assert "args" not in json.loads(backend.read(task.id))
    assert not arguments_of(writers_of(backend)[0])


@pytest.mark.parametrize("value", [1, "yes", None])
def test_arguments_option_of_another_type_is_refused(value):
    with pytest.raises(InvalidTypeError, match="arguments takes True or False"):
        MemoryBackend(arguments=value)


# -- progress --------------------------------------------------------------------------------------


def reports(gate, go_on):
    current_task().report_progress(1, 4, "reading")
    gate.set()
    assert go_on.wait(PATIENCE)
    current_task().report_progress(2, 4)
    gate.set()
    assert go_on.wait(PATIENCE)


@pytest.mark.slow
def test_progress_is_stored_while_the_task_runs(stored, backend):
    """The writer stores them by itself, without a flush."""
    reported, go_on = threading.Event(), threading.Event()
    task = stored.put_task(reports, (reported, go_on))
    wait_for(lambda: backend.codec.decode(task.id, backend.read(task.id)).progress
             == Progress(1, 4, "reading"), "a report in the store")
    assert SyncResult(task.id, backend).progress() == Progress(1, 4, "reading")
    go_on.set()
    task.wait(PATIENCE)
    found = stored_of(backend, task.id)
    assert (found.state, found.progress) == (TaskState.SUCCESS, Progress(2, 4, None))


def test_later_reports_are_stored_after_the_first_one_was(stored, backend, monkeypatch):
    monkeypatch.setattr(module, "PROGRESS_PAUSE", 0.01)
    steps = [threading.Event() for _ in range(4)]

    def count():
        for number, step in enumerate(steps):
            current_task().report_progress(number)
            assert step.wait(PATIENCE)

    task = stored.put_task(count)
    for number, step in enumerate(steps):
        wait_for(lambda: backend.codec.decode(task.id, backend.read(task.id)).progress
                 == Progress(number, None, None),
                 "a report in the store")
        step.set()
    task.wait(PATIENCE)


def test_progress_of_process_tasks_is_stored(stored, backend, tmp_path):
    gate = f.Gate(tmp_path / "gate").make()
    task = background_task(f.report, supervisor=stored, tt=TT_MP)(gate)
    gate.wait_entered()
    wait_for(lambda: task.progress is not None, "a report")
    assert stored_of(backend, task.id).progress == Progress(3, 10, "reading")
    gate.open()
    task.wait(PATIENCE)
    assert stored_of(backend, task.id).progress == Progress(10, 10, None)
    gate.close()


def test_many_reports_are_few_writes(supervisor, monkeypatch):
    monkeypatch.setattr(module, "PROGRESS_PAUSE", 1000.0)
    writes = []

    class Counting(MemoryBackend):
        def write(self, entries):
            writes.append(len(entries))
            super().write(entries)

    backend = Counting()
    supervisor.set_result_backend(backend)
    begun, go_on = threading.Event(), threading.Event()

    def report():
        begun.wait(PATIENCE)
        for number in range(5000):
            current_task().report_progress(number, 5000)
        go_on.set()

    task = supervisor.put_task(report)
    task.started.wait(PATIENCE)
    backend.flush(PATIENCE)
    writes.clear()
    begun.set()
    assert go_on.wait(PATIENCE)
    assert len(reports_of(writers_of(backend)[0])) <= 1 and writes == []
    task.wait(PATIENCE)
    assert stored_of(backend, task.id).progress == Progress(4999, 5000, None)
    supervisor.set_result_backend(None)


def test_progress_that_json_cannot_hold_is_left_out(stored, backend):
    task = stored.put_task(lambda: current_task().report_progress(object()))
    task.wait(PATIENCE)
    found = stored_of(backend, task.id)
    assert (found.state, found.progress) == (TaskState.SUCCESS, None)


def test_progress_of_ignored_tasks_is_not_stored(stored, backend):
    def report():
        current_task().report_progress(1)

    background_task(report, supervisor=stored, ignore_result=True)().wait(PATIENCE)
    backend.flush(PATIENCE)
    assert backend.ids() == []


def test_handler_with_ignore_result_leaves_nothing(supervisor, backend, tmp_path):
    class Quiet(service.Task):
        number: int

    class Loud(service.Task):
        number: int

    supervisor.set_result_backend(backend)
    quiet = service.Service("quiet", supervisor)
    quiet.handler(Quiet, ignore_result=True)(lambda task: task.number)
    # so that the lane waits for the other kind
    quiet.handler(Loud)(as_coroutine_function(lambda task: task.number))
    with service.SyncClient(quiet, supervisor=supervisor) as client:
        assert client.execute(Quiet(5)).result == 5
        backend.flush(PATIENCE)
        assert backend.ids() == []
        assert client.execute(Loud(6)).result == 6
        backend.flush(PATIENCE)
        assert len(backend.ids()) == 1
    supervisor.set_result_backend(None)


def test_progress_in_a_coroutine(backend):
    import asyncio

    backend.write([("id", '{"state":"STARTED","progress":[1,2,"half"]}')])

    async def main():
        result = AsyncResult("id", backend)
        return await result.progress(), (await result.info()).state

    assert asyncio.run(main()) == (Progress(1, 2, "half"), TaskState.STARTED)


# -- ids -------------------------------------------------------------------------------------------


def test_ids_are_those_of_all_that_began_or_ended(stored, backend):
    go = threading.Event()
    tasks = [stored.put_task(abs, (-1,)) for _ in range(20)]
    tasks.append(stored.put_task(go.wait, (PATIENCE,), task_id="mine"))
    tasks[-1].started.wait(PATIENCE)
    for task in tasks[:-1]:
        task.wait(PATIENCE)
    ids = {task.id for task in tasks}
    assert set(backend.ids()) == ids and len(backend.ids()) == len(ids)
    backend.flush(PATIENCE)
    assert set(backend.ids()) == set(backend.keys()) == ids
    go.set()
    tasks[-1].wait(PATIENCE)


def test_id_that_is_stored_meanwhile_is_not_missed(supervisor):
    """It moves from the writer's memory to the store while the ids are listed."""
    hold, writing = threading.Event(), threading.Event()

    class Slow(MemoryBackend):
        def write(self, entries):
            writing.set()
            assert hold.wait(PATIENCE)
            super().write(entries)

        def keys(self):
            found = super().keys()
            hold.set()
            self.flush(PATIENCE)
            return found

    with Slow() as backend:
        supervisor.set_result_backend(backend)
        task = supervisor.put_task(abs, (-1,))
        task.wait(PATIENCE)
        assert writing.wait(PATIENCE)
        assert backend.ids() == [task.id]
        supervisor.set_result_backend(None)


def test_backend_without_keys_says_so():
    class Old(Backend):
        def write(self, entries):
            pass

        def read(self, task_id):
            return None

        def delete(self, task_id):
            return False

    with pytest.raises(ResultBackendError,
                       match=r"Old cannot list what it has: it does not override keys\(\)"):
        Old().ids()
