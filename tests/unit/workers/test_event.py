"""Event workers and their triggers."""
import asyncio

from atasker_like import background_worker
from tests.support.threads import wait_for

from .tools import settled


def test_trigger_runs_the_function(supervisor, runs):
    worker = background_worker(runs, e=True, supervisor=supervisor)
    assert worker.trigger_threadsafe() is False         # not started
    worker.start(1)
    assert worker.trigger_threadsafe() is True
    assert runs.next() == (1,)
    settled(worker)
    assert asyncio.run(worker.trigger()) is True
    assert runs.next() == (1,)


def test_trigger_during_a_run_does_nothing_unless_forced(supervisor, held):
    worker = background_worker(held, e=True, supervisor=supervisor)
    worker.start()
    worker.trigger_threadsafe()
    held.next()
    assert worker.trigger_threadsafe() is False
    assert worker.trigger_threadsafe(force=True) is True
    assert asyncio.run(worker.trigger(force=True)) is True      # the two are one
    held.go(2)
    held.next()
    settled(worker)
    assert held.none() and worker.stats().runs == 2


def test_worker_triggers_itself_by_force(supervisor):
    answers = []

    @background_worker(e=True, supervisor=supervisor)
    def work(_worker):
        answers.append(_worker.trigger_threadsafe())
        if len(answers) < 4:
            answers.append(_worker.trigger_threadsafe(force=True))

    work.start()
    work.trigger_threadsafe()
    wait_for(lambda: len(answers) == 5, "three runs")
    settled(work)
    assert answers == [False, True, False, True, False] and work.stats().runs == 3


def test_event_object_triggers_the_worker(supervisor, held):
    worker = background_worker(held, e=True, supervisor=supervisor)
    event = worker.get_event_obj()
    event.set()
    event.clear()
    assert event.is_set() is False          # not started
    worker.start()
    event.set()
    held.next()
    assert not event.is_set()
    event.set()
    assert event.is_set()
    event.clear()
    held.go()
    settled(worker)
    assert held.none() and worker.stats().runs == 1
