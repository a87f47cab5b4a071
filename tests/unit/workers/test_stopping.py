"""Stops that come in the middle of something."""
import asyncio
import threading

from atasker_like import TaskCancelledError, background_worker, current_task
from tests.support import PATIENCE
from tests.support.internals.worker import runner_of
from tests.support.threads import join, started, wait_for

from ...support.internals import manager
from .tools import function, task_of


def test_stop_withdraws_a_run_that_waits_for_a_slot(small, held, runs):
    blocker = small.put_task(held)
    held.next()
    worker = background_worker(runs, e=True, supervisor=small)
    worker.start()
    worker.trigger_threadsafe()
    task = task_of(worker)
    assert join(started(worker.stop)) is True       # the slot is not free
    assert task.state == "cancelled" and not blocker.done()
    held.go()
    blocker.wait(PATIENCE)
    assert runs.none()


def test_stop_while_the_next_run_is_submitted_ends_the_worker(supervisor, held, monkeypatch):
    worker = background_worker(held, e=True, supervisor=supervisor)
    pools = manager(supervisor)
    admit, timer = pools.threads.submit_unchecked, pools.timer

    def admit_late(task):
        stopper = threading.Thread(target=worker.stop, args=(False,))
        stopper.start()
        stopper.join()
        looked = threading.Event()
        timer.call_at(float("-inf"), looked.set)        # behind that for which the stop has asked
        assert looked.wait(PATIENCE)
        return admit(task)

    worker.start()
    worker.trigger_threadsafe()
    held.next()
    assert worker.trigger_threadsafe(force=True)
    # called by the thread in which the run ends
    monkeypatch.setattr(manager(supervisor).threads, "submit_unchecked", admit_late)
    held.go()
    assert worker.wait_until_stop(PATIENCE)
    assert held.none() and worker.stats().runs == 1
    counts = supervisor.stats().thread
    ended = counts.succeeded + counts.cancelled     # either, as there was a slot or not
    assert (counts.submitted, ended, counts.active, counts.waiting) == (2, 2, 0, 0)


def test_stop_past_its_deadline_before_a_run_is_submitted_ends_that_run(supervisor, monkeypatch):
    begun = threading.Event()

    async def run():
        begun.set()
        await asyncio.Event().wait()

    worker = background_worker(run, e=True, supervisor=supervisor)
    worker.start()
    runner, pool = runner_of(worker), manager(supervisor).coroutines
    submit, admit = runner.submit, pool.submit_unchecked

    def submit_late():
        join(started(lambda: worker.stop(wait=0)))
        return submit()

    def admit_and_begin(task):
        accepted = admit(task)
        assert begun.wait(PATIENCE)
        return accepted

    monkeypatch.setattr(pool, "submit_unchecked", admit_and_begin)
    monkeypatch.setattr(runner, "submit", submit_late)
    worker.trigger_threadsafe()
    assert worker.wait_until_stop(PATIENCE)


def test_stop_past_its_deadline_while_a_task_is_submitted_ends_the_worker(supervisor, form,
                                                                          monkeypatch):
    worker = background_worker(form(function), e=True, supervisor=supervisor)
    worker.start()
    pool = runner_of(worker).pool
    submit = pool.submit_unchecked

    def submit_late(task):
        monkeypatch.undo()
        stops.append(join(started(lambda: worker.stop(wait=0))))
        return submit(task)

    stops = []
    monkeypatch.setattr(pool, "submit_unchecked", submit_late)
    worker.trigger_threadsafe()
    assert worker.wait_until_stop(PATIENCE) and stops == [True]
    assert supervisor.stop(wait=PATIENCE).complete


def test_stop_past_its_deadline_asks_the_run_of_the_former_start_to_end(supervisor):
    begun, over, asked = threading.Event(), threading.Event(), threading.Event()

    def run():
        begun.set()
        while not over.wait(0.002):
            try:
                current_task().check_cancelled()
            except TaskCancelledError:
                asked.set()
                raise

    worker = background_worker(run, supervisor=supervisor)
    worker.start()
    assert begun.wait(PATIENCE)
    worker.stop(wait=False)
    assert worker.start()
    worker.stop(wait=0)
    was_asked = asked.wait(PATIENCE)
    over.set()
    assert was_asked and worker.wait_until_stop(PATIENCE)


def test_cancel_does_not_end_a_run_that_has_begun(supervisor, held):
    worker = background_worker(lambda: (held(), current_task().check_cancelled()), e=True,
                               supervisor=supervisor)
    worker.start()
    worker.trigger_threadsafe()
    held.next()
    stopper = started(worker.stop)
    wait_for(lambda: not worker.is_active(), "it is told to stop")
    held.go()
    assert join(stopper) is True
    assert worker.stats().failures == 0      # it was not asked to end


def test_repr_of_a_worker_names_its_state(supervisor, held):
    worker = background_worker(held, e=True, supervisor=supervisor)
    assert " new>" in repr(worker)
    worker.start()
    worker.trigger_threadsafe()
    held.next()
    assert " active>" in repr(worker)
    worker.stop(wait=False)
    assert " stopping>" in repr(worker)
    held.go()
    assert worker.wait_until_stop(PATIENCE)
    assert " stopped>" in repr(worker)
