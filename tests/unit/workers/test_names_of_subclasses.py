"""Subclasses of workers may use every name that atasker does not use."""
import re
import threading

import pytest

from atasker_like import (BackgroundAsyncWorker, BackgroundEventWorker, BackgroundIntervalWorker,
                          BackgroundQueueWorker, BackgroundWorker, _modes)
from tests.support import PATIENCE

#: The names that atasker has in its workers.
ATASKER = {"_is_worker", "_run_in_mp"}

#: Names that subclasses are likely to use, and public ones that atasker does not have.
NAMES = ["_count", "_event_trigger", "_failures", "_first", "_holding", "_items", "_items_lock",
         "_loop", "_missed", "_next_item", "_notify", "_options", "_prepare", "_queue", "_runs",
         "_scheduled", "_session", "_starting", "_static", "_take_item", "_times", "_waiting",
         "interval", "join", "max_restarts", "overlap", "restart_policy", "stats", "within"]

KINDS = [BackgroundWorker, BackgroundAsyncWorker, BackgroundQueueWorker, BackgroundEventWorker,
         BackgroundIntervalWorker]


@pytest.mark.parametrize("kind", KINDS)
def test_private_names_of_a_worker_begin_with_worker(supervisor, kind):
    worker = kind(executor_func=print, supervisor=supervisor)
    private = {name for name in dir(worker) if re.match("_[a-z]", name)}
    assert {name for name in private if not name.startswith("_worker")} <= ATASKER


def trigger(worker):
    """Have the function run once more."""
    if isinstance(worker, BackgroundQueueWorker):
        worker.put_threadsafe(worker)
    elif isinstance(worker, BackgroundEventWorker):
        worker.trigger_threadsafe(force=True)


def use_names(owner):
    for name in NAMES:
        setattr(owner, name, "mine")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("when", ["in the class", "before __init__()", "after __init__()"])
def test_subclass_with_names_of_its_own_runs(supervisor, monkeypatch, kind, when):
    monkeypatch.setattr(_modes, "legacy", True)
    ran, fails = threading.Semaphore(0), [ValueError()]
    replaced = []

    class Mine(kind):
        def __init__(self):
            if when == "before __init__()":
                use_names(self)
            super().__init__(supervisor=supervisor)
            if when == "after __init__()":
                use_names(self)

        def run(self, *args, **kwargs):
            replaced.extend(name for name in NAMES if getattr(self, name) != "mine")
            ran.release()
            if fails:               # the restart policy is looked at
                raise fails.pop()

        def error(self):
            pass

    if when == "in the class":
        use_names(Mine)
    worker = Mine()
    assert worker.start()
    for _ in range(3):
        trigger(worker)
        assert ran.acquire(timeout=PATIENCE)
    assert worker.stop(wait=PATIENCE) and worker.is_stopped()
    assert not replaced
