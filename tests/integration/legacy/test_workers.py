"""Workers, job schedulers, collections and the rest, by atasker's names and in its manner."""
import asyncio
import logging
import threading

import pytest
from atasker import (TASK_HIGH, BackgroundEventWorker, BackgroundIntervalWorker,
                     BackgroundQueueWorker, BackgroundWorker, FunctionCollection, LocalProxy,
                     Locker, TaskCollection, background_worker, g, set_debug)
from atasker.workers import BackgroundAsyncWorker

from atasker_like import legacy
from tests.support import PATIENCE
from tests.support.internals.worker import WAIT_ENDED, session_of
from tests.support.interruptions import at_line, interrupt

from . import functions


class Squares(BackgroundIntervalWorker):
    """Its run goes to the process pool."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.results = []

    @staticmethod
    def run(number, **kwargs):
        return number * number, sorted(kwargs)

    def process_result(self, result):
        self.results.append(result)
        return False


def test_a_plain_worker_gets_what_it_is_started_with(task_supervisor):
    got = []

    @background_worker(name="plain", o="object", priority=TASK_HIGH)
    def work(*args, **kwargs):
        got.append((args, kwargs))
        return False

    assert type(work) is BackgroundWorker
    assert not work.is_active()
    work.start(1, 2, a=3)
    work.wait_until_stop()
    (args, kwargs), = got
    assert args == (1, 2)
    assert kwargs["a"] == 3 and kwargs["o"] == "object" and kwargs["_worker"] is work
    assert kwargs["_name"] == work.name == "_background_worker_plain"
    assert work.is_stopped() and not work.is_started()


def test_options_that_start_overrides(task_supervisor):
    got = []

    @background_worker(interval=1000)
    def work(_name, **kwargs):
        got.append(_name)
        return len(got) < 3

    assert type(work) is BackgroundIntervalWorker
    work.start(_name="other", _interval=0.001)
    work.wait_until_stop()
    assert got == ["other"] * 3


@pytest.mark.parametrize("options",
                         [{"q": True}, {"queue": asyncio.Queue}, {"q": asyncio.PriorityQueue}])
def test_a_queue_worker(task_supervisor, options):
    got, enough = [], threading.Event()

    @background_worker(**options)
    def work(item, **kwargs):
        got.append(item)
        if len(got) == 3:
            enough.set()

    assert isinstance(work, BackgroundQueueWorker)
    work.start()
    assert work in task_supervisor.get_schedulers()
    work.put_threadsafe(1)
    work.put_threadsafe(2)
    asyncio.run(work.put(3)) if options == {"q": True} else work.put_threadsafe(3)
    assert enough.wait(PATIENCE)
    assert work.get_queue_obj() is not None
    work.stop()
    assert sorted(got) == [1, 2, 3]
    assert work not in task_supervisor.get_schedulers()


@pytest.mark.parametrize("queue", [1, "yes", asyncio.LifoQueue])
def test_queue_option_may_have_any_value(task_supervisor, queue):
    items, handled = [], threading.Event()

    @background_worker(q=queue)
    def work(item, **kwargs):
        items.append(item)
        handled.set()

    work.start()
    work.put_threadsafe(5)
    assert handled.wait(PATIENCE) and items == [5]
    work.stop()


def test_a_queue_class_that_makes_an_asyncio_queue_is_made_in_its_loop(task_supervisor, caplog):
    class Wrapped:
        def __init__(self):
            self.loop = asyncio.get_event_loop()
            self.items = asyncio.Queue()

        async def put(self, item):
            await self.items.put(item)

        async def get(self):
            return await self.items.get()

        def task_done(self):
            self.items.task_done()

    got = []

    @background_worker(q=Wrapped)
    def work(item, **kwargs):
        got.append(item)
        return item != 3

    with pytest.raises(ValueError, match="start"):
        work.get_queue_obj()
    work.put_threadsafe(1)
    work.start()
    assert work.get_queue_obj().loop is work.worker_loop is task_supervisor.event_loop
    work.put_threadsafe(2)
    work.put_threadsafe(3)
    work.wait_until_stop()
    assert got == [1, 2, 3]
    assert "could not give" not in caplog.text


def test_an_event_worker(task_supervisor):
    runs = threading.Semaphore(0)

    class Mine(BackgroundEventWorker):
        hooks = []

        def run(self, **kwargs):
            runs.release()

        def before_start(self):
            self.hooks.append("before_start")

        def after_start(self):
            self.hooks.append("after_start")

        def before_stop(self):
            self.hooks.append("before_stop")

        def after_stop(self):
            self.hooks.append("after_stop")

    worker = Mine(name="mine", daemon=True)
    worker.start()
    worker.trigger_threadsafe(force=True)
    assert runs.acquire(timeout=PATIENCE)
    asyncio.run(worker.trigger(force=True))
    assert runs.acquire(timeout=PATIENCE)
    worker.stop()
    assert worker.hooks == ["before_start", "after_start", "before_stop", "after_stop"]


class Closing(BackgroundEventWorker):
    """Notes the threads of its hooks, which take a lock."""

    def __init__(self, lock=None, **options):
        super().__init__(**options)
        self.lock = threading.RLock() if lock is None else lock
        self.threads = {}
        self.closed = []

    def run(self, **kwargs):
        pass

    def before_stop(self):
        with self.lock:
            self.threads["before_stop"] = threading.get_ident()

    def send_stop_events(self):
        with self.lock:
            self.threads["send_stop_events"] = threading.get_ident()

    def after_stop(self):
        with self.lock:
            self.threads["after_stop"] = threading.get_ident()
            self.closed.append((self.is_active(), self.is_stopped(), self.is_started()))


def in_a_thread(call):
    """Make a call that may halt, in a thread; return whether it came to its end, and the thread's
    identity."""
    ended = threading.Event()
    thread = threading.Thread(target=lambda: (call(), ended.set()), daemon=True)
    thread.start()
    return ended.wait(PATIENCE), thread.ident


@pytest.mark.parametrize("wait", [True, PATIENCE, False])
def test_hooks_of_a_stop_are_called_by_its_thread(task_supervisor, wait):
    worker = Closing()
    worker.start()

    def stop():
        with worker.lock:           # another thread could not take it
            worker.stop(wait=wait)
            assert len(worker.closed) == 1

    ended, here = in_a_thread(stop)
    assert ended and set(worker.threads.values()) == {here}
    if wait:
        assert worker.closed == [(False, True, False)]
    assert worker.wait_until_stop(PATIENCE) and worker.is_stopped()
    assert worker not in task_supervisor.get_schedulers()
    assert worker.start() and worker.stop() and len(worker.closed) == 2


@pytest.mark.parametrize("options", [{"wait": True}, {"wait": PATIENCE}, {"wait": False},
                                     {"cancel_tasks": True}])
def test_hooks_are_called_by_the_thread_that_stops_the_supervisor(supervisor, options):
    lock = threading.RLock()
    workers = [Closing(lock, supervisor=supervisor) for _ in range(3)]

    class Scheduler:
        stopped = None

        def stop(self, wait=True):
            with lock:
                self.stopped = threading.get_ident(), wait

    scheduler = Scheduler()
    supervisor.start()
    supervisor.register_sync_scheduler(scheduler)
    for worker in workers:
        worker.start()

    def stop():
        with lock:
            supervisor.stop(**options)
            assert all(len(worker.closed) == 1 for worker in workers)

    ended, here = in_a_thread(stop)
    assert ended
    supervisor.stop(wait=PATIENCE)
    for worker in workers:
        assert set(worker.threads.values()) == {here} and len(worker.closed) == 1
        assert worker.is_stopped()
    assert scheduler.stopped == (here, options == {"wait": True} or options == {"wait": PATIENCE})
    assert supervisor.get_schedulers() == {}


def test_a_handler_of_a_signal_may_stop_the_supervisor_while_it_is_stopped(supervisor):
    class Worker(Closing):
        def before_stop(self):
            super().before_stop()
            supervisor.stop(wait=PATIENCE)      # as the handler would, in this thread

    first, second = Worker(supervisor=supervisor), Closing(supervisor=supervisor)
    supervisor.start()
    first.start()
    second.start()
    ended, here = in_a_thread(supervisor.stop)
    assert ended and set(second.threads.values()) == {here}
    assert len(first.closed) == len(second.closed) == 1


def test_worker_that_stops_itself_calls_its_hooks_in_the_thread_of_the_run(task_supervisor):
    class Once(Closing):
        def run(self, **kwargs):
            self.threads["run"] = threading.get_ident()
            return False

    worker = Once()
    worker.start()
    worker.trigger_threadsafe()
    assert worker.wait_until_stop(PATIENCE)
    assert len(set(worker.threads.values())) == 1 and len(worker.threads) == 4
    assert worker.closed == [(False, True, False)]


def test_stop_that_does_not_wait_calls_after_stop_before_the_last_run_ends(task_supervisor, gate):
    begun = threading.Event()

    class Long(Closing):
        def run(self, **kwargs):
            begun.set()
            gate.wait(PATIENCE)

    worker = Long()
    worker.start()
    worker.trigger_threadsafe()
    assert begun.wait(PATIENCE)
    worker.stop(wait=False)
    assert worker.closed == [(False, False, True)]
    assert not worker.is_stopped()
    gate.set()
    assert worker.wait_until_stop(PATIENCE) and len(worker.closed) == 1


def test_wait_of_a_stop_that_is_interrupted_has_another_thread_call_after_stop(
        task_supervisor, gate, monkeypatch):
    class Long(Closing):
        def run(self, **kwargs):
            gate.wait(PATIENCE)

    worker = Long()
    worker.start()
    worker.trigger_threadsafe()
    WAIT_ENDED.patch(monkeypatch, type(session_of(worker)),
                     lambda session, deadline: interrupt())
    with pytest.raises(KeyboardInterrupt):
        worker.stop()
    gate.set()
    assert worker.wait_until_stop(PATIENCE) and len(worker.closed) == 1
    assert worker.threads["after_stop"] != threading.get_ident()


@pytest.mark.slow
@pytest.mark.parametrize("of", ["worker", "supervisor"])
def test_interrupt_at_any_line_of_a_stop(make_supervisor, of):
    number = 1
    while True:
        supervisor = make_supervisor()
        worker = Closing(supervisor=supervisor)
        supervisor.start()
        worker.start()
        stop = worker.stop if of == "worker" else supervisor.stop
        try:
            was_so_long = at_line(number, interrupt, stop)
        except KeyboardInterrupt:
            was_so_long = True
        ended, _ = in_a_thread(lambda: supervisor.stop(wait=PATIENCE))
        assert ended, number
        assert worker.wait_until_stop(PATIENCE), number
        assert len(worker.closed) <= 1 and worker.is_stopped(), number
        if not was_so_long:
            assert len(worker.closed) == 1
            return
        number += 1


def test_a_worker_in_an_aloop(supervisor):
    supervisor.start()
    supervisor.create_aloop("mine")
    names = []

    @background_worker(loop="mine", supervisor=supervisor)
    async def work(**kwargs):
        names.append(threading.current_thread().name)
        return False

    assert type(work) is BackgroundAsyncWorker
    work.start()
    work.wait_until_stop()
    assert names == [f"supervisor_{supervisor.id}_aloop_mine"]


def test_a_static_run_goes_to_the_process_pool(task_supervisor):
    task_supervisor.set_mp_pool(pool_size=1)
    worker = Squares(name="squares", interval=0.001, o="object")
    worker.start(5)
    worker.wait_until_stop()
    assert worker.results == [(25, ["_name", "_task_id", "o"])]


def test_errors_go_to_on_error(task_supervisor):
    told = []

    @background_worker(on_error=lambda mark: told.append(mark), on_error_kwargs={"mark": 1},
                       interval=0.001)
    def work(**kwargs):
        if len(told) == 2:
            return False
        raise ValueError("broken")

    work.start()
    work.wait_until_stop()
    assert told == [1, 1]


def test_async_jobs_run_in_their_loop(supervisor):
    supervisor.start()
    supervisor.create_aloop("mine", default=True)
    scheduler = supervisor.create_async_job_scheduler("jobs", default=True)
    ran = threading.Semaphore(0)

    async def job(word):
        ran.release()

    endless = supervisor.create_async_job(target=job, args=("a",), interval=0.001)
    once = supervisor.create_async_job(scheduler, target=job, kwargs={"word": "b"}, number=1,
                                       interval=0.001)
    for _ in range(3):
        assert ran.acquire(timeout=PATIENCE)
    assert endless.active and endless.id != once.id
    supervisor.cancel_async_job(job=endless)
    assert not endless.active
    assert supervisor.get_info().async_job_schedulers == {"jobs": scheduler}


def test_async_job_of_a_function_that_returns_a_coroutine(supervisor):
    supervisor.create_aloop("loop", default=True)
    supervisor.create_async_job_scheduler("jobs", default=True)
    ran = threading.Event()

    async def job(event):
        event.set()

    created = supervisor.create_async_job(target=lambda: job(ran), interval=0.01)
    assert ran.wait(PATIENCE)
    created.cancel()


def test_a_scheduler_of_ones_own(supervisor):
    class Mine:
        stopped = threading.Event()
        looped = threading.Event()

        def __init__(self, loop):
            self.worker_loop = loop

        async def loop(self):
            self.looped.set()

        def stop(self, wait=True):
            self.stopped.set()

    supervisor.start()
    scheduler = Mine(supervisor.create_aloop("mine").get_loop())
    assert supervisor.register_scheduler(scheduler)
    assert scheduler.looped.wait(PATIENCE)
    assert scheduler in supervisor.get_schedulers()
    supervisor.stop()
    assert scheduler.stopped.is_set()


def first():
    return 1


def second():
    raise ValueError("broken")


@pytest.mark.parametrize("kind", [FunctionCollection, TaskCollection])
def test_collections_run_by_priority_and_report_errors(task_supervisor, kind):
    errors = []
    collection = kind(on_error=lambda mark: errors.append(mark), on_error_kwargs={"mark": 1})
    collection(first)
    collection.append(second, priority=TASK_HIGH)
    assert collection.run() == {f"{__name__}.first": 1, f"{__name__}.second": None}
    assert collection.execute() == ({f"{__name__}.first": 1, f"{__name__}.second": None}, False)
    assert errors == [1, 1]
    collection.remove(second)
    assert collection() == {f"{__name__}.first": 1}


def test_a_collection_may_keep_the_errors():
    collection = FunctionCollection(on_error=lambda: None, include_exceptions=True)
    collection(second)
    (error, text), = collection.run().values()
    assert isinstance(error, ValueError) and "broken" in text


def test_the_namespace_of_a_thread(task_supervisor):
    assert isinstance(g, LocalProxy)
    assert not g.has("connection")
    g.set("connection", "mine")
    assert (g.get("connection"), g.connection, g.has("connection")) == ("mine", "mine", True)
    assert task_supervisor.put_task(g.get, ("connection", "none")).value(PATIENCE) == "none"
    g.clear("connection")
    assert g.get("connection", 5) == 5


def test_locker_that_cannot_be_acquired_is_critical(task_supervisor, caplog, gate):
    lock = Locker(mod="database", timeout=0.001)
    broken = []
    lock.critical = lambda: broken.append(True)

    @lock
    def guarded():
        return "done"

    def hold(held):
        with lock:
            held.set()
            gate.wait(PATIENCE)

    assert guarded() == "done"
    held = threading.Event()
    task = task_supervisor.put_task(hold, (held,))
    assert held.wait(PATIENCE)
    with caplog.at_level(logging.CRITICAL):
        assert guarded() is None
        with pytest.raises(TimeoutError):
            with lock:
                pass
    assert broken == [True, True]
    assert {record.levelno for record in caplog.records} == {logging.CRITICAL}
    gate.set()
    assert task.completed.wait(PATIENCE)


def test_locker_accepts_a_coroutine_function_with_one_warning(caplog):
    lock = Locker()
    for _ in range(2):
        assert asyncio.run(lock(functions.later)(5)) == 5
    warning, = caplog.messages
    assert "later is a coroutine function" in warning and "asyncio.Lock" in warning


def test_locker_with_a_timeout_of_minus_one_has_no_limit():
    assert Locker(timeout=-1).timeout is None
    with pytest.raises(ValueError, match="timeout of a Locker"):
        Locker(timeout=-2)


def test_set_debug_takes_true_and_false():
    set_debug()
    set_debug(False)


def test_what_on_error_of_a_function_collection_raises_ends_the_run():
    ran = []

    def again():
        raise

    def converted():
        raise RuntimeError("converted")

    collection = FunctionCollection(on_error=again)

    @collection(priority=1)
    def fails():
        raise OSError("on purpose")

    collection.append(lambda: ran.append(1), priority=2)
    with pytest.raises(OSError, match="on purpose"):
        collection.run()
    collection.on_error = converted
    with pytest.raises(RuntimeError, match="converted"):
        collection.execute()
    assert ran == []


@pytest.mark.parametrize("kind", [FunctionCollection, TaskCollection])
def test_collection_accepts_a_coroutine_function_with_a_warning(task_supervisor, kind, caplog):
    async def unawaited():
        return 5

    unawaited.__name__ = kind.__name__       # each warning is logged once
    collection = kind()
    collection.append(unawaited)
    coroutine, = collection.run().values()
    assert asyncio.run(coroutine) == 5
    warning, = [message for message in caplog.messages if "is a coroutine function" in message]
    assert "never await" in warning


def test_runs_of_one_task_collection_follow_each_other(task_supervisor):
    collection, together = TaskCollection(), threading.Barrier(2)

    @collection
    def meet():
        try:
            together.wait(0.05)     # long enough for another run that does not wait for this one
        except threading.BrokenBarrierError:
            return collection.lock.locked()
        return "at the same time"

    results = []
    threads = [threading.Thread(target=lambda: results.extend(collection.run().values()))
               for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert results == [True] * 3
    assert not collection.lock.locked()


def test_task_collection_older_than_install_has_a_lock_too(task_supervisor):
    legacy.uninstall()
    collection = TaskCollection()
    assert not hasattr(collection, "lock")
    collection.append(lambda: 5)
    legacy.install()
    assert list(collection.run().values()) == [5]
    assert not collection.lock.locked()
