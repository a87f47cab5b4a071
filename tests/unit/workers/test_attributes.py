"""What programs and monitors read of a worker."""
from atasker_like import (BackgroundAsyncWorker, BackgroundEventWorker, BackgroundWorker,
                          background_worker)
from tests.support import PATIENCE

from .. import functions


def test_worker_shows_monitors_that_it_is_a_worker(supervisor):
    worker = BackgroundWorker(supervisor=supervisor)
    assert worker._is_worker is True
    with worker.start_stop_lock:
        pass


def test_worker_shows_monitors_if_it_runs_in_the_process_pool(supervisor):
    supervisor.set_mp_pool(pool_size=1)
    worker = functions.ProcessCounter(supervisor=supervisor, interval=60)
    thread = background_worker(functions.nothing, supervisor=supervisor, interval=60)
    assert worker._run_in_mp is thread._run_in_mp is False
    worker.start()
    thread.start()
    assert (worker._run_in_mp, thread._run_in_mp) == (True, False)
    for one in (worker, thread):
        one.stop(wait=PATIENCE)


def test_worker_of_a_coroutine_function_shows_its_loop(supervisor):
    async def run(**kwargs):
        pass

    supervisor.start()
    first, second = supervisor.create_aloop("first"), supervisor.create_aloop("second")
    worker = background_worker(run, event=True, loop="first", supervisor=supervisor)
    assert (worker.executor_loop, worker.aloop) == ("first", None)
    for loop, aloop, asyncio_loop in ((None, first, first.get_loop()),
                                      (second, second, second.get_loop()),
                                      (first.get_loop(), None, first.get_loop())):
        worker.start(**({} if loop is None else {"_loop": loop}))
        assert (worker.aloop, worker.executor_loop) == (aloop, asyncio_loop)
        worker.stop()
    own = BackgroundEventWorker(executor_func=run, supervisor=supervisor)
    own.start()
    assert (own.aloop, own.executor_loop) == (None, supervisor.event_loop)
    own.stop()


def test_worker_of_a_plain_function_shows_the_default_loop(supervisor):
    supervisor.start()
    worker = background_worker(functions.nothing, event=True, supervisor=supervisor)
    worker.start()
    assert (worker.aloop, worker.executor_loop) == (None, None)
    worker.stop()
    supervisor.default_aloop = aloop = supervisor.create_aloop("mine")
    worker.start()
    assert (worker.aloop, worker.executor_loop) == (aloop, aloop.get_loop())
    worker.stop()
    assert isinstance(worker, BackgroundAsyncWorker)
