"""Queue workers at a stop: the items that were accepted before it."""
import asyncio
import gc
import queue
import threading
import weakref

import pytest

from atasker_like import (TT_MP, BackgroundQueueWorker, BackgroundWorker, SupervisorBusyError,
                          _modes, background_task, background_worker)
from tests.support import PATIENCE
from tests.support.scripts import run_script
from tests.support.threads import join, started, wait_for

from .tools import QUEUES


def name_of(kind):
    return getattr(kind, "__name__", "own")


class Held:
    """Handles items; the first one is held until ``go`` is set."""

    def __init__(self):
        self.got = []
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self, item):
        if not self.begun.is_set():
            self.begun.set()
            assert self.go.wait(2 * PATIENCE)
        self.got.append(item)


@pytest.fixture
def handler():
    made = Held()
    yield made
    made.go.set()


def stopping(supervisor, **options):
    """Stop a supervisor in another thread; return it when the stop has begun."""
    stopper = started(lambda: supervisor.stop(**options))
    wait_for(lambda: not supervisor.is_active, "the stop begins")
    return stopper


def loaded(worker, handler, items=range(20)):
    """Start a queue worker and put items, the first of which it handles."""
    worker.start()
    items = list(items)
    worker.put_threadsafe(items[0])
    assert handler.begun.wait(PATIENCE)
    for item in items[1:]:
        worker.put_threadsafe(item)
    return worker


# -- items are handled -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", QUEUES, ids=name_of)
def test_stop_handles_the_items_of_every_kind_of_queue(supervisor, form, kind, handler, caplog):
    worker = loaded(background_worker(form(handler), q=kind, supervisor=supervisor), handler)
    stopper = stopping(supervisor)
    handler.go.set()
    report = join(stopper)
    assert sorted(handler.got) == list(range(20))
    assert (report.items_left, report.complete) == (0, True)
    assert worker.is_stopped() and worker.stats().waiting == 0 and "left" not in caplog.text


class InProcess(BackgroundQueueWorker):
    handler = None

    @staticmethod
    def run(item):
        InProcess.handler(item)


def test_stop_handles_the_items_of_a_worker_in_the_process_pool(outside, handler):
    InProcess.handler = handler
    worker = loaded(InProcess(supervisor=outside), handler)
    stopper = stopping(outside)
    handler.go.set()
    assert join(stopper).items_left == 0
    assert handler.got == list(range(20)) and worker.is_stopped()


def test_stop_without_wait_handles_the_items_later(supervisor, handler):
    loaded(background_worker(handler, q=True, supervisor=supervisor), handler)
    report = supervisor.stop(wait=False)
    assert not report.complete
    handler.go.set()
    supervisor.block()
    assert handler.got == list(range(20))
    assert supervisor.stop().items_left == 0


def test_items_may_submit_tasks_while_the_supervisor_stops(supervisor):
    got, begun, go = [], threading.Event(), threading.Event()
    double = background_task(lambda number: 2 * number, supervisor=supervisor)

    @background_worker(q=True, supervisor=supervisor)
    def work(item):
        begun.set()
        assert go.wait(PATIENCE)
        got.append(double(item).value(PATIENCE))

    work.start()
    for item in range(5):
        work.put_threadsafe(item)
    assert begun.wait(PATIENCE)
    stopper = stopping(supervisor)
    go.set()
    assert join(stopper).complete
    assert got == [0, 2, 4, 6, 8]


def test_items_may_submit_the_first_process_task_while_the_supervisor_stops(supervisor):
    got, begun, go = [], threading.Event(), threading.Event()

    @background_worker(q=True, supervisor=supervisor)
    def work(item):
        begun.set()
        assert go.wait(PATIENCE)
        got.append(supervisor.put_task(abs, (item,), tt=TT_MP).value(2 * PATIENCE))

    work.start()
    work.put_threadsafe(-1)
    assert begun.wait(PATIENCE)
    stopper = stopping(supervisor)
    go.set()
    assert join(stopper).complete
    assert got == [1]


def test_chain_of_workers_is_drained_from_end_to_end(supervisor, handler):
    last = []
    third = background_worker(last.append, q=True, supervisor=supervisor)
    second = background_worker(third.put_threadsafe, q=True, supervisor=supervisor)

    def first(item):
        handler(item)
        second.put_threadsafe(item)

    for worker in (third, second):
        worker.start()
    loaded(background_worker(first, q=True, supervisor=supervisor), handler)
    stopper = stopping(supervisor)
    handler.go.set()
    assert join(stopper).complete
    assert last == list(range(20))


def test_worker_that_feeds_itself_comes_to_an_end(supervisor, handler, caplog):
    def work(item):
        handler(item)
        worker.put_threadsafe(item + 100)

    worker = background_worker(work, q=True, supervisor=supervisor, name="crawler")
    loaded(worker, handler, range(5))
    stopper = stopping(supervisor)
    handler.go.set()
    report = join(stopper)
    assert handler.got[:5] == list(range(5))        # and those that were put since are left
    assert (report.items_left, report.complete) == (5, False) == (worker.stats().waiting, False)
    assert "_background_worker_crawler is stopped: 5 item(s) are left in its queue" in caplog.text


def test_workers_without_a_queue_stop_before_the_items_are_handled(supervisor, handler):
    worker = background_worker(lambda: None, e=True, supervisor=supervisor)
    worker.start()
    loaded(background_worker(handler, q=True, supervisor=supervisor), handler)
    stopper = stopping(supervisor)
    assert worker.wait_until_stop(PATIENCE)
    assert not handler.got
    handler.go.set()
    assert join(stopper).complete


def test_supervisor_that_drains_its_workers_starts_none(supervisor, handler, runs):
    loaded(background_worker(handler, q=True, supervisor=supervisor), handler)
    stopper = stopping(supervisor)
    with pytest.raises(RuntimeError, match="stopped"):
        background_worker(runs, supervisor=supervisor).start()
    handler.go.set()
    assert join(stopper).complete and runs.none()


# -- items are left --------------------------------------------------------------------------------


def test_items_past_the_deadline_are_counted_and_logged(supervisor, form, handler, caplog):
    worker = background_worker(handler, q=True, supervisor=supervisor, name="store")
    loaded(worker, handler)
    report = supervisor.stop(wait=0)
    assert (report.items_left, report.complete, report.abandoned) == (19, False, 1)
    assert "_background_worker_store is stopped: 19 item(s) are left in its queue" in caplog.text
    handler.go.set()
    assert worker.wait_until_stop(PATIENCE)
    assert caplog.text.count("are left in its queue") == 1
    supervisor.start()
    worker.start()
    assert worker.join(PATIENCE) and handler.got == list(range(20))


def test_drain_false_leaves_the_items_for_the_next_start(supervisor, handler, caplog):
    worker = loaded(background_worker(handler, q=True, supervisor=supervisor), handler)
    stopper = stopping(supervisor, drain=False)
    wait_for(lambda: not worker.is_active(), "it is told")
    handler.go.set()
    report = join(stopper)
    assert (report.items_left, report.complete) == (19, True)
    assert handler.got == [0] and "19 item(s) are left" in caplog.text


@pytest.mark.parametrize("options, in_legacy", [({"cancel_tasks": True}, False), ({}, True)])
def test_stop_that_cancels_and_stop_under_install_do_not_drain(supervisor, handler, caplog,
                                                               monkeypatch, options, in_legacy):
    monkeypatch.setattr(_modes, "legacy", in_legacy)
    worker = loaded(background_worker(handler, q=True, supervisor=supervisor), handler)
    stopper = stopping(supervisor, **options)
    wait_for(lambda: not worker.is_active(), "it is told")
    handler.go.set()
    report = join(stopper)
    assert (report.items_left, report.complete) == (19, True)
    assert "19 item(s) are left" in caplog.text


def test_under_install_a_stop_drains_if_it_is_asked_to(supervisor, handler, monkeypatch):
    monkeypatch.setattr(_modes, "legacy", True)
    loaded(background_worker(handler, q=True, supervisor=supervisor), handler)
    stopper = stopping(supervisor, drain=True)
    handler.go.set()
    assert join(stopper).complete and handler.got == list(range(20))


@pytest.mark.parametrize("kind", [True, queue.Queue, asyncio.Queue], ids=name_of)
def test_stop_of_a_worker_logs_what_it_leaves(supervisor, handler, kind, caplog):
    worker = background_worker(handler, q=kind, supervisor=supervisor, name="store")
    loaded(worker, handler)
    stopper = started(worker.stop)
    wait_for(lambda: not worker.is_active(), "it is told")
    handler.go.set()
    assert join(stopper) is True
    assert caplog.text.count("worker _background_worker_store is stopped: 19 item(s) are left") == 1
    report = supervisor.stop()
    assert (report.items_left, report.complete) == (19, False)
    assert caplog.text.count("item(s) are left") == 1


@pytest.mark.parametrize("kind", [True, queue.Queue, asyncio.Queue], ids=name_of)
def test_stop_counts_and_logs_the_items_of_a_worker_that_was_never_started(supervisor, handler,
                                                                           kind, caplog):
    worker = background_worker(handler, q=kind, supervisor=supervisor, name="store")
    other = background_worker(handler, q=kind, supervisor=supervisor)   # it has no items
    for item in range(3):
        worker.put_threadsafe(item)
    report = supervisor.stop()
    assert (report.items_left, report.complete) == (3, False)
    assert caplog.text.count("worker _background_worker_store has not been started: 3 item(s) are "
                             "left in its queue and wait for its first start") == 1
    handler.go.set()
    supervisor.start()
    for started_late in worker, other:
        started_late.start()
    assert worker.join(PATIENCE) and handler.got == [0, 1, 2]
    assert supervisor.stop().items_left == 0


def test_supervisor_keeps_no_worker_that_was_never_started(supervisor, handler):
    worker = background_worker(handler, q=True, supervisor=supervisor)
    worker.put_threadsafe(1)
    reference = weakref.ref(worker)
    del worker
    gc.collect()
    assert reference() is None
    assert supervisor.stop().items_left == 0


def test_worker_that_stops_itself_while_it_is_drained_leaves_the_rest(supervisor, handler, caplog):
    def work(item):
        handler(item)
        return len(handler.got) < 5

    loaded(background_worker(work, q=True, supervisor=supervisor), handler)
    stopper = stopping(supervisor)
    handler.go.set()
    report = join(stopper)
    assert (report.items_left, report.complete) == (15, False)
    assert "15 item(s) are left" in caplog.text


class Mute(queue.Queue):
    broken = False

    def qsize(self):
        if self.broken:
            raise NotImplementedError("not on this system")
        return super().qsize()


def test_queue_that_does_not_tell_its_size_holds_no_stop(supervisor, handler, caplog):
    worker = loaded(background_worker(handler, q=Mute, supervisor=supervisor), handler)
    worker.get_queue_obj().broken = True
    stopper = stopping(supervisor)
    handler.go.set()
    assert join(stopper).items_left == 0
    assert "its queue does not tell how many items it has" in caplog.text
    assert "not on this system" in caplog.text


def test_worker_whose_loop_is_gone_holds_no_stop(supervisor, caplog):
    aloop = supervisor.create_aloop("short")

    async def work(item):
        raise AssertionError

    worker = background_worker(work, q=True, supervisor=supervisor, loop="short")
    worker.start()
    aloop.stop()
    worker.put_threadsafe(1)
    wait_for(lambda: not worker.is_active() or worker.stats().waiting, "it is told")
    report = join(started(supervisor.stop))
    assert worker.is_stopped() and worker.stats().waiting == 1
    assert "1 item(s) are left" in caplog.text and report.items_left in (0, 1)


# -- overridden methods that raise -----------------------------------------------------------------


@pytest.mark.parametrize("base", [BackgroundWorker, BackgroundQueueWorker])
def test_stop_method_that_raises_holds_no_stop_of_the_supervisor(supervisor, base, caplog):
    class Worker(base):
        def run(self, *item):
            pass

        def stop(self, wait=True):
            raise ValueError("no stop")

    worker = Worker(supervisor=supervisor)
    worker.start()
    assert join(started(supervisor.stop)).complete
    assert worker.is_stopped() and "no stop" in caplog.text


def test_stop_method_that_raises_does_not_keep_false_from_stopping(supervisor, caplog):
    class Worker(BackgroundWorker):
        def run(self):
            return False

        def stop(self, wait=True):
            raise ValueError("no stop")

    worker = Worker(supervisor=supervisor)
    worker.start()
    assert worker.wait_until_stop(PATIENCE)
    assert "its stop() raised" in caplog.text and "no stop" in caplog.text


# -- join ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", QUEUES, ids=name_of)
def test_join_waits_until_all_items_are_handled(supervisor, form, kind, handler):
    worker = loaded(background_worker(form(handler), q=kind, supervisor=supervisor), handler)
    assert worker.join(0) is False
    joiner = started(worker.join)
    assert joiner.is_alive()
    handler.go.set()
    assert join(joiner) is True and sorted(handler.got) == list(range(20))
    assert worker.is_active() and worker.join() is True


@pytest.mark.parametrize("kind", QUEUES, ids=name_of)
def test_join_with_timeout_0_tells_if_the_worker_is_idle(supervisor, form, kind, handler):
    worker = background_worker(form(handler), q=kind, supervisor=supervisor)
    assert worker.start()
    wait_for(lambda: worker.join(0), "it is idle after its start")
    worker.put_threadsafe(1)
    assert worker.join(0) is False          # the item waits, or its run is held
    handler.go.set()
    wait_for(lambda: worker.join(0), "it is idle after its item")
    assert handler.got == [1] and worker.is_active()


def test_join_has_the_queue_asked_once_more_for_an_item_of_which_it_was_not_told(
        supervisor, handler):
    worker = background_worker(handler, q=queue.Queue, supervisor=supervisor)
    handler.go.set()
    assert worker.start()
    worker.get_queue_obj().queue.append(1)      # no put() of the queue
    assert worker.join(PATIENCE) and handler.got == [1]


def test_join_of_a_worker_that_is_not_active_does_not_wait(supervisor, runs):
    worker = background_worker(runs, q=True, supervisor=supervisor)
    assert worker.join() is True
    worker.put_threadsafe(1)
    assert worker.join() is False
    worker.start()
    assert worker.join(PATIENCE) is True and worker.stop()
    worker.put_threadsafe(2)
    assert worker.join() is False


def test_join_returns_when_the_worker_is_stopped(supervisor, handler):
    worker = loaded(background_worker(handler, q=True, supervisor=supervisor), handler)
    joiner = started(worker.join)
    worker.stop(wait=False)
    handler.go.set()
    assert join(joiner) is False and handler.got == [0]


def test_join_of_an_event_worker_waits_for_what_was_triggered(supervisor, held):
    worker = background_worker(held, e=True, supervisor=supervisor)
    worker.start()
    assert worker.join() is True
    worker.trigger_threadsafe()
    held.next()
    worker.trigger_threadsafe(force=True)
    joiner = started(worker.join)
    held.go(2)
    assert join(joiner) is True and worker.stats().runs == 2


def test_join_waits_for_the_run_of_the_former_start(supervisor, held):
    worker = background_worker(held, e=True, supervisor=supervisor)
    worker.start()
    worker.trigger_threadsafe()
    held.next()
    worker.stop(wait=False)
    assert worker.start()
    assert worker.join(0) is False
    held.go()
    assert worker.join(PATIENCE) is True


def test_join_of_a_plain_worker_waits_for_its_end(supervisor, held):
    worker = background_worker(held, supervisor=supervisor)
    worker.start()
    held.next()
    assert worker.join(0) is False
    worker.stop(wait=False)
    held.go()
    assert worker.join(PATIENCE) is True


def test_join_from_inside_itself_is_refused(supervisor):
    errors = []

    @background_worker(q=True, supervisor=supervisor)
    def work(item):
        try:
            work.join()
        except SupervisorBusyError as error:
            errors.append(str(error))

    work.start()
    work.put_threadsafe(1)
    assert work.join(PATIENCE)
    assert "would wait for itself" in errors[0]


# -- the exit of the interpreter -------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.gate
def test_exit_of_the_interpreter_handles_the_items():
    out = run_script("""
import threading, time
from atasker_like import background_worker, task_supervisor

begun, got = threading.Event(), []

@background_worker(q=True)
def work(item):
    begun.set()
    while task_supervisor.is_active:
        time.sleep(0.01)
    got.append(item)
    if item == 19:
        print(got)

work.start()
for item in range(20):
    work.put_threadsafe(item)
begun.wait()
""")
    assert out == f"{list(range(20))}\n"


@pytest.mark.parametrize("interval", [60, 0.01])
def test_join_waits_for_the_first_run_of_an_interval_worker(supervisor, interval):
    runs = []
    worker = background_worker(lambda: runs.append(1), interval=interval, supervisor=supervisor)
    worker.start()
    assert worker.join(PATIENCE)
    assert runs
    worker.stop()
