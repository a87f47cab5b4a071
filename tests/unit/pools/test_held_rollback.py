"""A submission that raises in its critical section: no other thread starts its tasks."""
import threading
import time
from operator import add

import pytest

from atasker_like import TT_MP, TT_THREAD, TaskSupervisor, background_task
from atasker_like.engine.registry import Registry
from atasker_like.engine.run_queue import RunQueue
from tests.support import PATIENCE
from tests.support.threads import join, started


class Rival:
    """A thread that waits for the lock of a pool at the moment of an interrupt."""

    def __init__(self, pool):
        self.pool, self.tasks, self.thread = pool, [], None

    def interrupt(self):
        """Raise in the critical section, when the rival waits for its end."""
        begun = threading.Event()

        def wait_for_lock():
            begun.set()
            with self.pool.lock:
                self.tasks += self.pool.registry.live.values()

        self.thread = started(wait_for_lock)
        assert begun.wait(PATIENCE)
        time.sleep(0.05)            # so long that it waits; else the test sees less, and passes
        raise KeyboardInterrupt


WAYS = {
    "plain": ({}, lambda f: f(1, 2), (RunQueue, "acquire_or_enqueue")),
    "options": ({"retries": 1}, lambda f: f(1, 2), (RunQueue, "acquire_or_enqueue")),
    "delay": ({"delay": 60}, lambda f: f(1, 2), (Registry, "add")),
    "map": ({}, lambda f: list(f.starmap([(1, 2), (3, 4)])), (RunQueue, "push_batch")),
    "map with options": ({"delay": 60}, lambda f: list(f.starmap([(1, 2), (3, 4)])),
                         (Registry, "add")),
    "process": ({"tt": TT_MP}, lambda f: f(1, 2), (RunQueue, "push")),
    "process with options": ({"tt": TT_MP, "retries": 1}, lambda f: f(1, 2), (RunQueue, "push")),
    "processes": ({"tt": TT_MP}, lambda f: list(f.starmap([(1, 2), (3, 4)])),
                  (RunQueue, "push_batch")),
}


@pytest.mark.parametrize("way", WAYS)
def test_task_of_an_interrupted_submission_is_final_before_a_thread_gets_the_lock(way, monkeypatch):
    options, submit, (kind, method) = WAYS[way]
    with TaskSupervisor(pool_size=1) as supervisor:
        supervisor.set_mp_pool(pool_size=1)
        function = background_task(add, supervisor=supervisor, **options)
        pool = supervisor.pool_for(options.get("tt", TT_THREAD))
        rival = Rival(pool)
        real = getattr(kind, method)

        def interrupted(self, *arguments):
            if rival.thread is not None or self not in (pool.run_queue, pool.registry):
                return real(self, *arguments)
            real(self, *arguments)
            return rival.interrupt()

        monkeypatch.setattr(kind, method, interrupted)
        with pytest.raises(KeyboardInterrupt):
            submit(function)
        monkeypatch.undo()
        join(rival.thread)
        assert rival.tasks == []            # undone before the rival could start one
        assert not pool.lock._is_owned()
        after = background_task(add, supervisor=supervisor, tt=options.get("tt", TT_THREAD))
        assert after(1, 2).value() == 3
