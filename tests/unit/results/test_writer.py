"""The writer: what it stores and when, and what a store that fails does to it and to the tasks."""
import logging
import os
import threading
import weakref
from time import monotonic

import pytest

from atasker_like import (MemoryBackend, ResultBackendError, SyncResult, TaskState, TaskSupervisor,
                          WaitTimeoutError, background_task, wait_completed)
from atasker_like.results import writer as module
from tests.support import PATIENCE
from tests.support.internals import manager
from tests.support.internals.result import (LINGER, SET_CALLBACKS, WAKEUP, callback_at_rest,
                                            held_by, join_writer, linger, lock_of_writer,
                                            note_write, queue_of_writer, thread_of_writer,
                                            wake_writer)
from tests.support.threads import started, wait_for


class Store(MemoryBackend):
    """Notes each write. Can stop writers, or let them fail."""

    def __init__(self, **options):
        super().__init__(max_results=1000000, **options)
        self.writes = []
        self.trouble = None
        self.hold = None
        self.came = threading.Semaphore(0)
        self.reached = threading.Event()

    def write(self, entries):
        if self.hold is not None:
            self.reached.set()
            assert self.hold.wait(PATIENCE)
        try:
            if self.trouble is not None:
                raise self.trouble
            super().write(entries)
        finally:
            self.writes.append([task_id for task_id, _ in entries])
            self.came.release()             # last: the waiter then looks at the writes

    def states(self):
        return [self.codec.decode(task_id, self.read(task_id)).state for task_id in self.keys()]


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def kept(supervisor, store):
    supervisor.set_result_backend(store)
    yield supervisor
    store.trouble = None
    supervisor.stop(wait=PATIENCE, cancel_tasks=True)
    supervisor.set_result_backend(None)


def ids_of(tasks):
    return [task.id for task in tasks]


def test_results_are_stored_without_being_asked_for(kept, store):
    task = kept.put_task(abs, (-1,))
    while task.id not in store.keys() or store.states() != [TaskState.SUCCESS]:
        assert store.came.acquire(timeout=PATIENCE)


def test_many_are_stored_together(kept, store):
    tasks = [kept.put_task(abs, (number,)) for number in range(500)]
    store.flush(PATIENCE)
    wait_completed(tasks)
    store.flush(PATIENCE)
    assert store.states() == [TaskState.SUCCESS] * 500
    assert len(store.writes) < 100


def test_a_task_is_stored_once(kept, store):
    """Its begin and its end, when both are there, are one entry."""
    store.hold = threading.Event()
    first = kept.put_task(abs, (1,))
    first.wait(PATIENCE)
    assert store.reached.wait(PATIENCE)
    tasks = [kept.put_task(abs, (number,)) for number in range(50)]
    wait_completed(tasks)
    store.hold.set()
    store.flush(PATIENCE)
    written = [task_id for write in store.writes for task_id in write if task_id != first.id]
    assert sorted(written) == sorted(ids_of(tasks))


def test_a_burst_comes_before_the_rest_of_the_results(kept, store, monkeypatch):
    monkeypatch.setattr(module, 'BATCH', 10)
    monkeypatch.setattr(module, 'BUSY_COUNT', 0)        # every moment belongs to a burst
    lingered = []
    LINGER.patch(monkeypatch, module.ResultWriter,
                 lambda writer: lingered.append(len(store.writes)))
    store.hold = threading.Event()
    first = kept.put_task(abs, (-1,))
    assert store.reached.wait(PATIENCE)
    tasks = [kept.put_task(abs, (number,)) for number in range(25)]
    wait_completed([first, *tasks])
    store.hold.set()
    while not {task.id for task in tasks} <= {task_id for ids in store.writes for task_id in ids}:
        assert store.came.acquire(timeout=PATIENCE)
    assert [len(ids) for ids in store.writes[-3:-1]] == [10, 10]
    assert lingered[-2:] == [len(store.writes) - 2, len(store.writes) - 1]


def test_a_flush_does_not_wait_for_the_end_of_a_burst(kept, store, monkeypatch):
    monkeypatch.setattr(module, 'BATCH', 10)
    monkeypatch.setattr(module, 'BUSY_COUNT', 0)
    monkeypatch.setattr(module, 'MAX_LINGER', 10 * PATIENCE)
    tasks = [kept.put_task(abs, (number,)) for number in range(25)]
    wait_completed(tasks)
    store.flush(PATIENCE)
    assert store.states() == [TaskState.SUCCESS] * 25


class Bursts:
    """In the position of the writer's lock: tasks end during the first waits for it."""

    def __init__(self, writer, counts):
        self.writer, self.counts, self.pauses = writer, counts, []

    def acquire(self, blocking=True, timeout=-1):
        self.pauses.append(timeout)
        if self.counts:
            queue_of_writer(self.writer).extend([None] * self.counts.pop(0))


@pytest.mark.parametrize("alive, counts, pauses", [
    (True, [], [module.LINGER]),
    (True, [1000, 1000], [module.LINGER] * 3),
    (False, [], [module.LINGER]),
    (False, [1000], [module.LINGER, module.LAST_LINGER]),
    (False, [1000, 1000], [module.LINGER, module.LAST_LINGER, module.LAST_LINGER])])
def test_writer_waits_less_if_no_task_is_alive_after_a_burst(make_supervisor, store, alive, counts,
                                                             pauses):
    supervisor = make_supervisor()
    writer = store.attach(supervisor)       # it has no thread
    go_on = threading.Event()
    if alive:
        supervisor.put_task(go_on.wait, (PATIENCE,))
    bursts = Bursts(writer, counts)
    WAKEUP.put(writer, bursts)
    linger(writer, PATIENCE)
    go_on.set()
    assert bursts.pauses == pauses


def test_an_idle_writer_does_nothing(kept, store, monkeypatch):
    """When all is stored, the thread sleeps: it takes its lock without a timeout."""
    calls = []

    class ObservedLock:
        def __init__(self, lock):
            self._lock = lock
            self.asleep = threading.Event()

        def acquire(self, *args):
            calls.append(args)
            if not args:
                self.asleep.set()
            return self._lock.acquire(*args)

        def release(self):
            self.asleep.clear()
            self._lock.release()

    recorder = manager(kept).recorder
    kept.put_task(abs, (1,)).wait(PATIENCE)
    store.flush(PATIENCE)
    lock = ObservedLock(WAKEUP.of(recorder))
    WAKEUP.put(recorder, lock)
    kept.put_task(abs, (1,)).wait(PATIENCE)     # it sleeps on the old lock until now
    store.flush(PATIENCE)
    assert lock.asleep.wait(PATIENCE)
    assert calls[-1] == ()


def test_nothing_is_missed_between_looking_and_sleeping(kept, store):
    """The thread is held when it has found nothing, and is about to sleep; then a task ends."""
    recorder = manager(kept).recorder
    pool = manager(kept).threads
    kept.put_task(abs, (1,)).wait(PATIENCE)
    store.flush(PATIENCE)
    lock = pool.lock
    holding, go = threading.Event(), threading.Event()

    class Lock:
        """Stops the writer where it waits for pools that use the old callback."""

        def __enter__(self):
            if threading.current_thread() is thread_of_writer(recorder):
                holding.set()
                assert go.wait(PATIENCE)
            return lock.__enter__()

        def __exit__(self, *error):
            return lock.__exit__(*error)

        def __getattr__(self, name):
            return getattr(lock, name)

    pool.lock = Lock()
    wake_writer(recorder)                   # it goes round once
    late = kept.put_task(abs, (2,))
    assert holding.wait(PATIENCE)
    after = kept.put_task(abs, (3,))
    wait_completed([late, after])
    pool.lock = lock
    go.set()
    while not {late.id, after.id} <= set(store.keys()):
        assert store.came.acquire(timeout=PATIENCE)


def test_an_old_call_is_waited_for(kept, store):
    """A pool calls an old callback after the writer went to sleep."""
    recorder = manager(kept).recorder
    task = kept.put_task(abs, (1,))
    task.wait(PATIENCE)
    store.flush(PATIENCE)
    wait_for(lambda: recorder.on_finished == callback_at_rest(recorder), "the writer rests")
    old = queue_of_writer(recorder).append
    before = list(store.writes)
    # as a pool that is about to make the call
    with manager(kept).threads.lock:
        # wakes the writer, which comes back to rest and waits for this lock
        recorder.on_finished(task)
        while len(store.writes) == len(before):
            assert store.came.acquire(timeout=PATIENCE)
        old(task)
    while len(store.writes) < len(before) + 2:
        assert store.came.acquire(timeout=PATIENCE)


def test_task_that_starts_while_a_flush_has_the_writer_awake_is_stored(kept, store, monkeypatch):
    """The pool's thread is held in its callback until the writer comes to rest again."""
    recorder = manager(kept).recorder
    kept.put_task(abs, (1,)).wait(PATIENCE)
    store.flush(PATIENCE)
    wait_for(lambda: recorder.on_finished == callback_at_rest(recorder), "the writer rests")
    set_callbacks = SET_CALLBACKS.of(recorder)
    late, rests, go = threading.Event(), threading.Event(), threading.Event()

    def set_late(append):
        if append == callback_at_rest(recorder):
            set_callbacks(append)
            rests.set()
            return
        if not late.is_set():
            late.set()
            started(store.flush, PATIENCE)
            assert rests.wait(PATIENCE)
        set_callbacks(append)

    SET_CALLBACKS.patch(monkeypatch, recorder, set_late)
    task = kept.put_task(go.wait, (PATIENCE,))
    assert late.wait(PATIENCE)
    wait_for(lambda: (rests.is_set() and not queue_of_writer(recorder)
                      and WAKEUP.of(recorder).locked()), "the writer sleeps")
    go.set()
    while task.id not in store.keys() or set(store.states()) != {TaskState.SUCCESS}:
        assert store.came.acquire(timeout=PATIENCE), "the end of the task was not stored"


def test_result_that_is_read_early_is_still_stored(kept, store):
    """A reader moves the result out of the queue before the writer has seen it."""
    recorder = manager(kept).recorder
    for _ in range(4):
        store.flush(PATIENCE)
        with lock_of_writer(recorder):      # the writer cannot look before the asker has
            task = kept.put_task(abs, (-1,))
            task.wait(PATIENCE)
            assert SyncResult(task.id, store).get(0) == 1
        while task.id not in store.keys():
            assert store.came.acquire(timeout=PATIENCE), "it was forgotten"


def test_flush_waits_until_results_are_stored(kept, store):
    store.hold = threading.Event()
    task = kept.put_task(abs, (1,))
    task.wait(PATIENCE)
    with pytest.raises(WaitTimeoutError, match="not stored within 0.01 s"):
        store.flush(0.01)
    store.hold.set()
    store.flush(PATIENCE)
    assert store.states() == [TaskState.SUCCESS]


def test_what_is_not_stored_yet_is_known_here(kept, store):
    store.hold = threading.Event()
    task = kept.put_task(abs, (1,))
    task.wait(PATIENCE)
    assert store.reached.wait(PATIENCE)
    second = kept.put_task(abs, (2,))
    second.wait(PATIENCE)
    assert store.read(task.id) is None
    assert [SyncResult(one.id, store).get(0) for one in (task, second)] == [1, 2]
    assert SyncResult(second.id, store).state() is TaskState.SUCCESS
    store.hold.set()


def test_what_is_deleted_does_not_come_back(kept, store):
    import asyncio

    store.hold = threading.Event()
    task = kept.put_task(abs, (1,))
    task.wait(PATIENCE)
    assert store.reached.wait(PATIENCE)
    threading.Timer(0.01, store.hold.set).start()
    assert asyncio.run(store.delete_result(task.id)) is True
    store.flush(PATIENCE)
    assert store.read(task.id) is None


def test_stopping_stores_everything(store):
    supervisor = TaskSupervisor()
    supervisor.set_result_backend(store)
    ids = ids_of([supervisor.put_task(abs, (number,)) for number in range(300)])
    report = supervisor.stop(wait=PATIENCE)
    assert report.complete and set(store.keys()) == set(ids)
    assert store.states() == [TaskState.SUCCESS] * 300
    # and again
    supervisor.start()
    task = supervisor.put_task(abs, (-7,))
    supervisor.stop(wait=PATIENCE)
    assert SyncResult(task.id, store).get(0) == 7
    store.flush(PATIENCE)
    supervisor.set_result_backend(None)


def test_what_ends_after_the_stop_is_stored_when_asked(make_supervisor, store):
    """A thread that was abandoned: its task was cancelled, and that is stored."""
    supervisor = make_supervisor()
    supervisor.set_result_backend(store)
    go = threading.Event()
    task = supervisor.put_task(go.wait, (PATIENCE,))
    task.started.wait(PATIENCE)
    supervisor.stop(wait=0)
    assert store.codec.decode(task.id, store.read(task.id)).state is TaskState.FAILURE
    go.set()
    supervisor.set_result_backend(None)


def test_new_backend_leaves_earlier_results_in_the_first_one(kept, store):
    """The first backend has the results of its own time."""
    first = kept.put_task(abs, (1,))
    first.wait(PATIENCE)
    other = Store()
    kept.set_result_backend(other)
    second = kept.put_task(abs, (2,))
    second.wait(PATIENCE)
    other.flush(PATIENCE)
    assert (store.keys(), other.keys()) == ([first.id], [second.id])
    kept.set_result_backend(None)
    third = kept.put_task(abs, (3,))
    third.wait(PATIENCE)
    other.flush(PATIENCE)
    assert other.read(third.id) is None


def test_two_supervisors_share_one(make_supervisor, store):
    supervisors = [make_supervisor(), make_supervisor()]
    for supervisor in supervisors:
        supervisor.set_result_backend(store)
    tasks = [supervisor.put_task(abs, (-number,)) for number, supervisor in enumerate(supervisors)]
    assert [SyncResult(task.id, store).get(PATIENCE) for task in tasks] == [0, 1]
    store.flush(PATIENCE)
    assert set(store.keys()) == set(ids_of(tasks))
    for supervisor in supervisors:
        supervisor.stop(wait=PATIENCE)
        supervisor.set_result_backend(None)


def test_a_backend_that_cannot_be_used_changes_nothing(kept, store):
    class Bad(Store):
        def open(self):
            raise OSError("no such disk")

    with pytest.raises(ResultBackendError, match="failed to open: OSError: no such disk"):
        kept.set_result_backend(Bad())
    assert kept.result_backend is store


# -- a store that fails ----------------------------------------------------------------------------


def test_tasks_do_not_notice_that_the_store_fails(kept, store, caplog):
    store.trouble = OSError("the disk is full")
    tasks = [kept.put_task(abs, (-number,)) for number in range(50)]
    assert wait_completed(tasks) == list(range(50))
    with pytest.raises(ResultBackendError, match="held in memory.*the disk is full"):
        store.flush(PATIENCE)
    # In this process the answer comes from memory, encoded or not.
    assert [SyncResult(task.id, store).get(0) for task in tasks] == list(range(50))
    assert [message for message in caplog.messages if "cannot be stored" in message]
    store.trouble = None
    store.flush(PATIENCE)
    assert set(store.keys()) == set(ids_of(tasks))
    assert any("are stored again" in message for message in caplog.messages)


def test_a_stop_does_not_wait_without_end_for_a_store(make_supervisor, store, caplog, monkeypatch):
    monkeypatch.setattr(module, "CLOSE_TIMEOUT", 0.0)
    supervisor = make_supervisor()
    supervisor.set_result_backend(store)
    store.trouble = OSError("the disk is full")
    task = supervisor.put_task(abs, (-1,))
    supervisor.stop(wait=PATIENCE)
    assert any(message.startswith("1 result(s)") and "were not stored: the disk is full" in message
               for message in caplog.messages)
    assert SyncResult(task.id, store).get(0) == 1
    store.trouble = None
    store.flush(PATIENCE)                   # what it holds is not lost
    assert store.read(task.id) is not None
    supervisor.set_result_backend(None)


def test_oldest_results_are_dropped_beyond_the_limit(kept, store, caplog, monkeypatch):
    monkeypatch.setattr(module, "MAX_HELD", 10)
    store.trouble = OSError("the disk is full")
    first = kept.put_task(abs, (1,))
    first.wait(PATIENCE)
    with pytest.raises(ResultBackendError):
        store.flush(PATIENCE)
    tasks = [kept.put_task(abs, (number,)) for number in range(30)]
    wait_completed(tasks)
    with pytest.raises(ResultBackendError):
        store.flush(PATIENCE)
    recorder = manager(kept).recorder
    assert held_by(recorder) <= 11 and recorder.dropped >= 20
    assert any("are dropped" in message for message in caplog.messages)
    store.trouble = None
    store.flush(PATIENCE)
    assert 10 <= len(store) <= 11
    assert tasks[-1].id in store.keys()


def test_an_id_that_no_store_can_take(kept, store, caplog):
    bad = kept.put_task(abs, (1,), task_id="\ud800")
    good = kept.put_task(abs, (2,))
    wait_completed([bad, good])
    store.flush(PATIENCE)
    assert store.keys() == [good.id]
    assert any("cannot be written as UTF-8" in message for message in caplog.messages)


def test_no_thread_for_the_writer(make_supervisor, store, caplog, monkeypatch):
    """Results are held until there is one."""
    class Refused(module.PackageThread):
        def start(self):
            if self.name.endswith("_results"):
                raise RuntimeError("can't start new thread")
            super().start()

    monkeypatch.setattr(module, "PackageThread", Refused)
    supervisor = make_supervisor()
    supervisor.set_result_backend(store)
    task = supervisor.put_task(abs, (-1,))
    assert task.value(PATIENCE) == 1
    assert SyncResult(task.id, store).get(0) == 1
    with pytest.raises(ResultBackendError, match="can't start new thread"):
        store.flush(PATIENCE)
    monkeypatch.undo()
    store.flush(PATIENCE)
    assert store.read(task.id) is not None
    supervisor.set_result_backend(None)


def test_flushes_and_stops_at_once(store):
    """A flush ends, whatever happens during its wait."""
    supervisor = TaskSupervisor()
    supervisor.set_result_backend(store)
    over = monotonic() + 0.1
    errors = []

    def flush():
        try:
            while monotonic() < over:
                store.flush(PATIENCE)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=flush) for _ in range(3)]
    for thread in threads:
        thread.start()
    while True:
        supervisor.start()
        supervisor.put_task(abs, (1,))
        supervisor.stop(wait=PATIENCE)
        if monotonic() >= over:
            break
    for thread in threads:
        thread.join(PATIENCE)
    assert errors == [] and set(store.states()) == {TaskState.SUCCESS}
    supervisor.set_result_backend(None)


# -- what it keeps alive ---------------------------------------------------------------------------


class Thing:
    pass


def test_what_is_stored_is_let_go(kept, store):
    only = [Thing()]
    seen = weakref.ref(only[0])
    task = background_task(only.pop, supervisor=kept)()
    task.wait(PATIENCE)
    store.flush(PATIENCE)
    value = task.value()
    assert seen() is value
    task = value = None
    store.flush(PATIENCE)                   # the writer has gone round
    kept.put_task(abs, (1,)).wait(PATIENCE)     # and so has the pool thread
    assert seen() is None


def test_the_finalizer_of_a_value_may_ask_for_results(kept, store):
    """It runs in the writer's thread, with no lock held."""
    answers = []

    class Curious:
        def __del__(self):
            answers.append(SyncResult("anything", store).state())

    kept.put_task(Curious).wait(PATIENCE)
    store.flush(PATIENCE)
    kept.put_task(abs, (1,)).wait(PATIENCE)
    store.flush(PATIENCE)
    assert answers == [TaskState.PENDING]


@pytest.mark.parametrize("ignored", [False, True])
def test_finalizers_run_with_no_lock_held(kept, store, ignored):
    """One that has another thread ask, and waits for it."""
    answers = []

    class Curious:
        def __del__(self):
            asker = threading.Thread(target=lambda: answers.append(SyncResult("anything",
                                                                              store).state()))
            asker.start()
            asker.join(PATIENCE)

    background_task(Curious, ignore_result=ignored, supervisor=kept)().wait(PATIENCE)
    store.flush(PATIENCE)
    kept.put_task(abs, (1,)).wait(PATIENCE)
    store.flush(PATIENCE)
    assert answers == [TaskState.PENDING]


def test_the_repr_of_a_value_may_ask_for_results(kept, store):
    class Curious:
        def __repr__(self):
            result = SyncResult(first.id, store)
            asker = threading.Thread(target=lambda: answers.append(result.get(0)))
            asker.start()
            asker.join(PATIENCE)
            return "curious"

    answers = []
    first = kept.put_task(abs, (1,))
    first.wait(PATIENCE)
    kept.put_task(Curious).wait(PATIENCE)
    store.flush(PATIENCE)
    assert answers == [1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.slow
def test_a_forked_process_stores_its_own_and_not_its_parents(kept, store):
    logging.getLogger("atasker_like")
    store.hold = threading.Event()
    parents = kept.put_task(abs, (1,))
    parents.wait(PATIENCE)
    assert store.reached.wait(PATIENCE)
    pid = os.fork()
    if not pid:
        code = 1
        try:
            store.hold = None
            store.writes.clear()
            own = kept.put_task(abs, (-5,))
            if SyncResult(own.id, store).get(PATIENCE) == 5:
                store.flush(PATIENCE)
                code = 0 if [own.id] == sorted({task_id for write in store.writes
                                                for task_id in write}) else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    store.hold.set()
    assert status == 0


# -- a write that does not end ---------------------------------------------------------------------


@pytest.fixture
def blocked(make_supervisor, store):
    """A supervisor with a result whose write does not end before the test."""
    supervisor = make_supervisor()
    supervisor.set_result_backend(store)
    store.hold = threading.Event()
    supervisor.put_task(abs, (-1,))
    assert store.reached.wait(PATIENCE)
    yield supervisor
    store.hold.set()
    store.flush(PATIENCE)
    supervisor.set_result_backend(None)


@pytest.mark.parametrize("wait", [True, PATIENCE])
def test_a_stop_ends_while_a_write_blocks_and_counts_its_results(blocked, caplog, monkeypatch,
                                                                 wait):
    monkeypatch.setattr(module, "CLOSE_TIMEOUT", 0.01)
    report = blocked.stop(wait=wait)
    assert (report.results_left, report.complete) == (1, False)
    assert [message for message in caplog.messages
            if message.startswith(f"1 result(s) of supervisor {blocked.id} were not stored")]
    assert blocked.stop(wait=wait).complete is False


def test_a_stop_with_a_short_deadline_reports_results_that_were_not_stored(blocked, monkeypatch):
    monkeypatch.setattr("atasker_like.supervisor.shutdown.monotonic", lambda: monotonic() - 1)
    report = blocked.stop(wait=0.01)
    assert (report.results_left, report.complete) == (1, False)


def test_a_backend_that_blocks_can_be_replaced(blocked, monkeypatch):
    monkeypatch.setattr(module, "CLOSE_TIMEOUT", 0.01)
    blocked.set_result_backend(None)
    assert blocked.stop(wait=PATIENCE).complete


def test_each_write_that_ends_prolongs_the_wait_of_a_stop(kept):
    writer = manager(kept).recorder
    waits = []

    class Thread:
        """Ends after four writes, each within the limit."""

        def join(self, seconds):
            waits.append(seconds)
            note_write(writer)

        def is_alive(self):
            return len(waits) < 4

    note_write(writer)
    assert join_writer(writer, Thread(), monotonic() - 2 * module.CLOSE_TIMEOUT, None)
    most = module.CLOSE_TIMEOUT + module.LAST_GRACE
    assert len(waits) == 4 and all(module.LAST_GRACE < seconds <= most for seconds in waits)


def test_a_stop_that_write_calls_does_not_wait_for_it(make_supervisor, store):
    supervisor = make_supervisor()
    reports = []

    class Stopping(Store):
        def write(self, entries):
            if not reports:
                reports.append(supervisor.stop())
            super().write(entries)

    backend = Stopping()
    supervisor.set_result_backend(backend)
    task = supervisor.put_task(abs, (-1,))
    assert backend.came.acquire(timeout=PATIENCE)
    assert reports[0].complete is False
    assert supervisor.stop().complete
    assert backend.read(task.id) is not None
    supervisor.set_result_backend(None)
