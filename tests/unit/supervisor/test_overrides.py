"""What a subclass of TaskSupervisor overrides is called for tasks that the package submits by
itself."""
import logging
import threading

import pytest

from atasker_like import (TASK_HIGH, TASK_LOW, TT_MP, TT_THREAD, TaskCollection, TaskSupervisor,
                          TaskTimeoutError, background_task, background_worker, co_mp_apply,
                          current_task, run as run_coroutine, wait_completed)
from tests.support import PATIENCE
from tests.support.internals import manager
from tests.support.internals.engine import spec_of, start_of
from tests.unit import functions


class Recording(TaskSupervisor):
    """Writes down each call of what it overrides, and what it sees of the task by then."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.calls = []

    def put_task(self, *args, **kwargs):
        self.calls.append(("put", args, kwargs))
        return super().put_task(*args, **kwargs)

    def mark_task_started(self, task):
        self.calls.append(("started", task))
        return super().mark_task_started(task)

    def mark_task_completed(self, task=None, task_id=None):
        live = task or self.get_task(task_id)
        self.calls.append(("completed", live, live.result, live.is_completed()))
        return super().mark_task_completed(task, task_id)

    def names(self):
        return [call[0] for call in self.calls]


@pytest.fixture
def gate():
    """An event that is set at the end, whatever became of the test."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def recording(make_supervisor):
    return make_supervisor(kind=Recording)


@pytest.fixture(params=[TT_THREAD, TT_MP], ids=["thread", "process"])
def tt(request, recording):
    if request.param == TT_MP:
        recording.set_mp_pool(pool_size=1)
    return request.param


def test_call_of_a_decorated_function_passes_through_all_three(recording, tt):
    task = background_task(functions.plain, tt=tt, supervisor=recording)(4)
    assert task.value(PATIENCE) == 5
    assert recording.names() == ["put", "started", "completed"]
    assert recording.calls[1] == ("started", task)
    assert recording.calls[2] == ("completed", task, 5, False)


def test_put_task_gets_the_arguments_that_atasker_passes(recording, tt):
    called = []
    callback = called.append
    function = functions.times
    task = background_task(function, priority=TASK_HIGH, delay=0.001, tt=tt, callback=callback,
                           supervisor=recording)(3, by=4)
    assert task.value(PATIENCE) == 12 and called == [12]
    args, kwargs = recording.calls[0][1:]
    assert args == ()
    assert kwargs == dict(target=function, args=(3,), kwargs={"by": 4}, callback=callback,
                          priority=TASK_HIGH,
                          delay=0.001, tt=tt, task_id=task.id)


def test_other_options_survive_the_way_through_put_task(recording):
    failures = []

    @background_task(retries=2, name="third time", supervisor=recording)
    def third_time():
        if current_task().attempts < 3:
            failures.append(current_task().attempts)
            raise ValueError
        return current_task().name

    assert third_time().value(PATIENCE) == "third time"
    assert failures == [1, 2]
    assert recording.names() == ["put", "started", "started", "started", "completed"]


@pytest.mark.parametrize("way", ["map", "starmap", "map with a buffersize"])
def test_map_passes_through_put_task(recording, way):
    bound = background_task(functions.plain, supervisor=recording)
    if way == "starmap":
        results = bound.starmap([(1,), (2,)])
    else:
        results = bound.map([1, 2], buffersize=1 if "buffersize" in way else None)
    assert list(results) == [2, 3]
    assert recording.names().count("put") == 2


def test_co_mp_apply_passes_through_all_three(recording):
    recording.set_mp_pool(pool_size=1)
    assert run_coroutine(co_mp_apply(functions.times, args=(2,), kwargs={"by": 8},
                                     priority=TASK_LOW,
                                     supervisor=recording)) == 16
    assert recording.names() == ["put", "started", "completed"]
    kwargs = recording.calls[0][2]
    assert (kwargs["args"], kwargs["kwargs"], kwargs["priority"]) == ((2,), {"by": 8}, TASK_LOW)


def test_task_collection_passes_through_put_task(recording):
    collection = TaskCollection(supervisor=recording)
    collection.append(functions.nothing)
    assert collection.execute() == ({"tests.unit.functions.nothing": None}, True)
    assert recording.names() == ["put", "started", "completed"]


def test_own_task_is_marked_once_by_any_completer(recording):
    def own(_task_id):
        recording.mark_task_completed(task_id=_task_id)
        return 1

    task = recording.put_task(own)
    assert task.wait(PATIENCE).value is None
    recording.stop(wait=PATIENCE)
    assert recording.names() == ["put", "started", "completed"]


def test_coroutine_passes_through_none_of_them(recording):
    assert background_task(functions.co_plain, supervisor=recording)(1).value(PATIENCE) == 2
    assert recording.calls == []


@pytest.mark.parametrize("how", ["raises", "is cancelled", "times out"])
def test_started_task_is_marked_completed_however_it_ends(recording, gate, how):
    running = threading.Event()

    @background_task(timeout=0.01 if how == "times out" else None, supervisor=recording)
    def ends():
        running.set()
        if how == "raises":
            raise ValueError("on purpose")
        gate.wait(PATIENCE)
        current_task().check_cancelled()

    task = ends()
    if how == "is cancelled":
        assert running.wait(PATIENCE)
        task.cancel()
        gate.set()
    assert task.completed.wait(PATIENCE)
    if how == "times out":
        assert isinstance(task.exception(), TaskTimeoutError)
    elif how == "raises":
        assert str(task.exception()) == "on purpose"
    gate.set()
    recording.stop(wait=PATIENCE)
    assert recording.names() == ["put", "started", "completed"]


def test_failed_task_is_marked_before_it_is_announced(recording):
    task = background_task(functions.fail, supervisor=recording)()
    assert isinstance(task.exception(PATIENCE), ValueError)
    assert recording.names() == ["put", "started", "completed"]
    assert recording.calls[2] == ("completed", task, None, False)


def test_failed_process_task_is_marked_before_it_is_announced(recording):
    recording.set_mp_pool(pool_size=1)
    task = background_task(functions.fail, tt=TT_MP, supervisor=recording)()
    assert isinstance(task.exception(PATIENCE), ValueError)
    assert recording.names() == ["put", "started", "completed"]


def test_task_without_references_is_reported_all_the_same(recording, unseen):
    wait_completed(background_task(functions.fail, supervisor=recording)())
    recording.stop(wait=PATIENCE)
    recording.calls.clear()
    assert len(unseen()) == 1


def test_task_cancelled_before_its_start_is_not_marked(recording, gate):
    recording.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0)
    background_task(gate.wait, supervisor=recording)(PATIENCE)
    waiting = background_task(functions.plain, supervisor=recording)(1)
    assert waiting.cancel()
    gate.set()
    recording.stop(wait=PATIENCE)
    assert sorted(recording.names()) == ["completed", "put", "put", "started"]


def test_task_is_final_when_mark_task_completed_of_the_base_has_returned(make_supervisor, tt):
    seen = []

    class After(TaskSupervisor):
        def mark_task_completed(self, task=None, task_id=None):
            task = self.get_task(task_id)
            super().mark_task_completed(task_id=task_id)
            seen.append((task.is_completed(), task.result, self.get_task(task_id)))

    supervisor = make_supervisor(kind=After)
    if tt == TT_MP:
        supervisor.set_mp_pool(pool_size=1)
    assert background_task(functions.plain, tt=tt, supervisor=supervisor)(1).value(PATIENCE) == 2
    supervisor.stop(wait=PATIENCE)
    assert seen == [(True, 2, None)]


def test_put_task_may_change_what_it_passes_on(make_supervisor):
    class Changing(TaskSupervisor):
        def put_task(self, target, args=(), **kwargs):
            def shouted(*args):
                return target(*args).upper()

            return super().put_task(shouted, (args[0] + "!",), **dict(kwargs, priority=TASK_HIGH))

    @background_task(retries=3, supervisor=make_supervisor(kind=Changing))
    def say(word):
        return word

    task = say("hello")
    assert task.value(PATIENCE) == "HELLO!"
    assert (task.priority, task.options.retries) == (TASK_HIGH, 3)


def test_put_task_may_refuse(make_supervisor):
    class Refusing(TaskSupervisor):
        def put_task(self, *args, **kwargs):
            return None

    assert background_task(functions.plain, supervisor=make_supervisor(kind=Refusing))(1) is None


def test_what_put_task_raises_reaches_the_caller(make_supervisor):
    class Raising(TaskSupervisor):
        def put_task(self, *args, **kwargs):
            raise LookupError("no room")

    with pytest.raises(LookupError, match="no room"):
        background_task(functions.plain, supervisor=make_supervisor(kind=Raising))(1)


def test_put_task_with_the_signature_of_atasker_is_called(make_supervisor):
    """It names _send_task_id, and passes all of its arguments on."""
    class Old(TaskSupervisor):
        def put_task(self, target, args=(), kwargs={}, callback=None, priority=100, delay=None,
                     tt=TT_THREAD,
                     task_id=None, worker=None, _send_task_id=True):
            return super().put_task(target, args, kwargs, callback, priority, delay, tt, task_id,
                                    worker, _send_task_id)

    supervisor = make_supervisor(kind=Old)
    task = background_task(functions.takes_all, supervisor=supervisor)(1, x=2)
    assert task.value(PATIENCE) == ((1,), {"x": 2})
    task = supervisor.put_task(functions.takes_all, _send_task_id=False)
    assert task.value(PATIENCE) == ((), {})


@pytest.mark.parametrize("method", ["mark_task_started", "mark_task_completed"])
def test_mark_that_raises_is_logged_and_the_task_goes_on(make_supervisor, tt, method, caplog):
    def fail(self, *args, **kwargs):
        raise ZeroDivisionError("in the subclass")

    supervisor = make_supervisor(kind=type("Failing", (TaskSupervisor,), {method: fail}))
    if tt == TT_MP:
        supervisor.set_mp_pool(pool_size=1)
    task = background_task(functions.plain, tt=tt, supervisor=supervisor)(1)
    assert task.value(PATIENCE) == 2
    supervisor.stop(wait=PATIENCE)
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert (f"{method} of its class Failing raised for task plain "
            f"({task.short_id})" in record.getMessage())
    assert record.exc_info[0] is ZeroDivisionError


def test_task_shows_the_function_of_the_application(recording, gate):
    def waits():
        gate.wait(PATIENCE)

    task = background_task(waits, supervisor=recording)()
    assert (task.target, task.name) == (waits, spec_of(task).name)
    again = background_task(waits, supervisor=recording).options(retries=1)
    assert spec_of(again).function is waits
    gate.set()


def test_supervisor_that_overrides_nothing_pays_nothing(make_supervisor):
    class Other(TaskSupervisor):
        def get_task(self, task_id):
            return super().get_task(task_id)

    for supervisor in (make_supervisor(), make_supervisor(kind=Other)):
        bound = background_task(functions.plain, supervisor=supervisor)
        assert start_of(bound) == manager(supervisor).threads.start
        assert spec_of(bound).fast_submit and spec_of(bound).target is functions.plain


# -- task.result, assigned -------------------------------------------------------------------------


@pytest.mark.parametrize("completes", [True, False])
def test_result_that_was_assigned_is_the_result(supervisor, completes):
    def own(_task_id):
        supervisor.get_task(_task_id).result = 5
        if completes:
            supervisor.mark_task_completed(task_id=_task_id)

    task = supervisor.put_task(own)
    assert wait_completed(task, timeout=PATIENCE) == 5
    assert (task.value(), task.result) == (5, 5)


def test_callback_of_an_own_process_task_may_assign_the_result(supervisor):
    def callback(result):
        supervisor.get_task("mine").result = result * 10
        supervisor.mark_task_completed(task_id="mine")

    supervisor.set_mp_pool(pool_size=1)
    task = supervisor.put_task(functions.plain, (1,), tt=TT_MP, task_id="mine", callback=callback)
    assert wait_completed(task, timeout=PATIENCE) == 20


def test_result_of_a_task_that_has_ended_cannot_be_assigned(supervisor):
    task = supervisor.put_task(functions.plain, (1,))
    task.value(PATIENCE)
    with pytest.raises(ValueError, match="has ended, and its result cannot change"):
        task.result = 3


# -- workers ---------------------------------------------------------------------------------------


def queue_worker(supervisor, results, **options):
    @background_worker(q=True, supervisor=supervisor, name="collector", **options)
    def collect(item, _worker):
        results.append(item)
        return len(results) < 3

    return collect


def test_each_run_of_a_queue_worker_passes_through_all_three(recording):
    results = []
    worker = queue_worker(recording, results, priority=TASK_HIGH)
    worker.start()
    for item in "abc":
        worker.put_threadsafe(item)
    assert worker.wait_until_stop(PATIENCE)
    recording.stop(wait=PATIENCE)
    assert results == ["a", "b", "c"]
    assert recording.names() == ["put", "started", "completed"] * 3
    for call in recording.calls[::3]:
        kwargs = call[2]
        assert ((kwargs["worker"], kwargs["priority"], kwargs["tt"])
                == (worker, TASK_HIGH, TT_THREAD))
    assert {call[1].worker for call in recording.calls[1::3]} == {worker}


def test_interval_worker_passes_through_put_task(recording):
    ticks = []

    @background_worker(interval=0.001, supervisor=recording)
    def tick():
        ticks.append(None)
        return len(ticks) < 4

    tick.start()
    assert tick.wait_until_stop(PATIENCE)
    assert recording.names().count("put") == 4


def test_plain_worker_passes_through_put_task_once_a_start(recording):
    runs = []

    @background_worker(supervisor=recording)
    def plain():
        runs.append(None)
        return len(runs) < 50

    plain.start()
    assert plain.wait_until_stop(PATIENCE)
    assert len(runs) == 50
    assert recording.names().count("put") == 1


def test_worker_function_gets_its_task_id_by_put_task(recording):
    seen = []

    @background_worker(supervisor=recording)
    def plain(_task_id):
        seen.append(_task_id)
        return False

    plain.start()
    assert plain.wait_until_stop(PATIENCE)
    assert seen == [recording.calls[0][2]["task_id"]]


def test_run_of_a_process_worker_passes_through_put_task(recording):
    recording.set_mp_pool(pool_size=1)
    worker = functions.ProcessCounter(supervisor=recording, delay=0)
    worker.start()
    assert worker.wait_until_stop(PATIENCE)
    recording.stop(wait=PATIENCE)
    assert worker.results == [1, 1]
    assert recording.names() == ["put", "started", "completed"] * 2
    assert recording.calls[0][2]["worker"] is worker


def test_worker_whose_put_task_raises_goes_on_with_the_next_item(make_supervisor, caplog):
    class Failing(TaskSupervisor):
        count = 0

        def put_task(self, *args, **kwargs):
            self.count += 1
            if self.count == 2:
                raise ZeroDivisionError("in the subclass")
            return super().put_task(*args, **kwargs)

    results = []
    worker = queue_worker(make_supervisor(kind=Failing), results)
    worker.start()
    for item in "abcd":
        worker.put_threadsafe(item)
    assert worker.wait_until_stop(PATIENCE)
    assert results == ["a", "c", "d"]
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert ("put_task() of its supervisor raised ZeroDivisionError; the run is left "
            "out" in record.getMessage())
    assert record.exc_info[0] is ZeroDivisionError


@pytest.mark.parametrize("submits", [False, True])
def test_worker_whose_put_task_returns_no_task_stops_and_says_so(make_supervisor, caplog, submits):
    class Refusing(TaskSupervisor):
        def put_task(self, *args, **kwargs):
            if submits:
                super().put_task(*args, **kwargs)

    worker = queue_worker(make_supervisor(kind=Refusing), [])
    worker.start()
    worker.put_threadsafe("a")
    assert worker.wait_until_stop(PATIENCE)
    assert ("collector is stopped: put_task() of its supervisor returned None instead of a "
            "task" in caplog.text)


def test_worker_that_is_stopped_before_its_run_begins_gives_the_item_to_the_next_start(
        recording, gate):
    recording.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0)
    background_task(gate.wait, supervisor=recording)(PATIENCE)
    results = []
    worker = queue_worker(recording, results)
    worker.put_threadsafe("a")
    worker.start()
    worker.stop(wait=False)
    assert worker.wait_until_stop(PATIENCE)
    gate.set()
    assert results == [] and worker.stats().waiting == 1
    worker.start()
    worker.put_threadsafe("b")
    worker.put_threadsafe("c")
    assert worker.wait_until_stop(PATIENCE)
    assert results == ["a", "b", "c"]


# -- names that the library has and atasker has not ------------------------------------------------


def test_subclass_may_have_attributes_of_these_names(make_supervisor):
    class Mine(TaskSupervisor):
        started = 0

        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.is_active = "mine"
            self.result_backend = "mine"

    supervisor = make_supervisor(kind=Mine)
    assert supervisor.put_task(functions.plain, (1,)).value(PATIENCE) == 2
    assert ((supervisor.started, supervisor.is_active, supervisor.result_backend)
            == (0, "mine", "mine"))
    assert supervisor.get_info().active is True
    supervisor.stop(wait=PATIENCE)
    assert supervisor.get_info().active is False
