"""Which slots and threads a worker occupies."""
import pytest

from atasker_like import background_worker
from tests.support import PATIENCE
from tests.support.threads import merged, wait_for

from ...support.internals import manager
from .tools import KINDS, function, settled


@pytest.mark.parametrize("kind", ["queue", "event", "interval", "delay"])
def test_waiting_worker_occupies_no_slot_and_no_thread(make_supervisor, kind):
    supervisor = make_supervisor(pool_size=1, reserve_normal=0, reserve_high=0)
    options = dict(KINDS[kind][1])
    if "interval" in options or "delay" in options:
        options["delay_before"] = 1000
    workers = [background_worker(function, supervisor=supervisor, **options) for _ in range(100)]
    for worker in workers:
        assert worker.start()
    assert supervisor.put_task(len, ("ab",)).value(PATIENCE) == 2
    assert manager(supervisor).threads.thread_count() == 1
    assert supervisor.stats().active == 0 and supervisor.get_tasks() == {}


def test_plain_worker_gives_its_slot_to_waiting_tasks(make_supervisor):
    supervisor = make_supervisor(pool_size=1, reserve_normal=0, reserve_high=0)
    worker = background_worker(lambda: None, supervisor=supervisor)
    worker.start()
    assert supervisor.put_task(len, ("ab",)).value(PATIENCE) == 2
    assert worker.stop()


def test_run_needs_no_room_in_a_full_queue(make_supervisor, held, runs):
    supervisor = make_supervisor(pool_size=1, reserve_normal=0, reserve_high=0)
    supervisor.set_thread_pool(max_queued=1, on_full="raise")
    supervisor.put_task(held)
    held.next()
    supervisor.put_task(len, ("ab",))
    worker = background_worker(runs, e=True, supervisor=supervisor)
    worker.start()
    assert worker.trigger_threadsafe()
    held.go()
    assert runs.next() == ()


def test_function_runs_in_the_context_of_the_start(supervisor):
    from contextvars import ContextVar

    variable = ContextVar("variable", default="unset")
    got = []

    @background_worker(supervisor=supervisor)
    def work():
        got.append(variable.get())
        return False

    variable.set("set")
    work.start()
    work.wait_until_stop(PATIENCE)
    assert got == ["set"]


def test_event_worker_whose_waiting_run_is_cancelled_goes_on(make_supervisor, held, runs):
    supervisor = make_supervisor(pool_size=1, reserve_normal=0, reserve_high=0)
    blocker = supervisor.put_task(held)
    held.next()
    worker = background_worker(runs, e=True, supervisor=supervisor)
    worker.start()
    worker.trigger_threadsafe()
    wait_for(lambda: supervisor.stats().waiting == 1, "its task waits")
    (task,) = [task for task in supervisor.get_tasks().values() if task.worker is worker]
    assert task.cancel()
    wait_for(lambda: not worker.stats().running, "it notices")
    held.go()
    blocker.wait(PATIENCE)
    assert worker.is_active() and runs.none()
    assert worker.trigger_threadsafe() and runs.next() == ()


def test_plain_worker_stops_if_its_task_is_cancelled_before_it_begins(make_supervisor, held, runs):
    supervisor = make_supervisor(pool_size=1, reserve_normal=0, reserve_high=0)
    supervisor.put_task(held)
    held.next()
    worker = background_worker(runs, supervisor=supervisor)
    worker.start()
    wait_for(lambda: supervisor.stats().waiting == 1, "its task waits")
    assert supervisor.cancel_waiting() == 1
    assert worker.wait_until_stop(PATIENCE) and runs.none()


def test_task_completed_early_is_not_followed_by_a_second_run(supervisor, held):
    worker = background_worker(held, e=True, supervisor=supervisor)
    worker.start()
    worker.trigger_threadsafe()
    held.next()
    (task,) = supervisor.get_tasks().values()
    assert task.mark_completed()
    assert worker.trigger_threadsafe(force=True)
    assert held.none()
    held.go()
    held.next()
    held.go()


def test_stopped_worker_holds_no_references(supervisor):
    import weakref

    class Thing:
        pass

    thing = Thing()
    gone = weakref.ref(thing)
    worker = background_worker(lambda item: None, q=True, supervisor=supervisor)
    worker.start()
    worker.put_threadsafe(thing)
    del thing
    wait_for(lambda: worker.stats().runs == 1, "it runs")
    settled(worker)
    merged(lambda: gone() is None)
    wait_for(lambda: gone() is None, "the item is let go")
