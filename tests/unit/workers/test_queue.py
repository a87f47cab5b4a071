"""Queue workers: puts, items and bounds."""
import asyncio
import queue
import threading

import pytest

from atasker_like import BackgroundQueueWorker, InvalidArgumentError, background_worker
from tests.support import PATIENCE
from tests.support.internals.worker import QUEUE, putters_of
from tests.support.threads import join, started, wait_for

from .tools import QUEUES, function


@pytest.mark.parametrize("kind", QUEUES, ids=lambda kind: getattr(kind, "__name__", "own"))
def test_items_of_each_kind_of_queue_are_handled(supervisor, form, kind):
    got = []
    gate = threading.Event()

    def work(item):
        if item == 0:
            assert gate.wait(PATIENCE)
        got.append(item)
        return len(got) < 5

    worker = background_worker(form(work), q=kind, supervisor=supervisor)
    worker.start()
    worker.put_threadsafe(0)
    wait_for(lambda: worker.stats().running and not worker.get_queue_obj().qsize(),
             "the first is taken")
    for item in (2, 1, 4, 3):
        worker.put_threadsafe(item)
    assert worker.get_queue_obj().qsize() == worker.stats().waiting == 4
    gate.set()
    assert worker.wait_until_stop(PATIENCE)
    name = getattr(kind, "__name__", "own")
    assert got == [0] + ([3, 4, 1, 2] if "Lifo" in name else [1, 2, 3, 4] if "Priority" in name
                         else [2, 1, 4, 3])
    if kind is not True:
        assert isinstance(worker.get_queue_obj(), kind)


@pytest.mark.parametrize("kind", QUEUES, ids=lambda kind: getattr(kind, "__name__", "own"))
def test_item_put_in_any_way_is_handled(supervisor, kind):
    got = queue.Queue()
    worker = background_worker(lambda item: got.put(item), q=kind, supervisor=supervisor)
    worker.start()
    worker.put_threadsafe(1)
    assert got.get(timeout=PATIENCE) == 1
    worker.get_queue_obj().put_nowait(2)
    assert got.get(timeout=PATIENCE) == 2

    async def put():
        await worker.put(3)

    asyncio.run(put())
    assert got.get(timeout=PATIENCE) == 3

    async def put_itself():
        pending = worker.get_queue_obj().put(4)
        if hasattr(pending, "__await__"):
            await pending

    supervisor.create_aloop("a").run(put_itself())
    assert got.get(timeout=PATIENCE) == 4
    if getattr(worker.get_queue_obj(), "join", None) and kind in (queue.Queue, queue.PriorityQueue):
        assert join(started(worker.get_queue_obj().join)) is None


def test_worker_queue_has_the_methods_of_a_queue():
    worker = background_worker(function, q=True)
    inbox = worker.get_queue_obj()
    assert inbox.empty() and not inbox.full() and inbox.qsize() == 0
    inbox.put(1)
    inbox.put_nowait(2)
    assert not inbox.empty() and inbox.qsize() == 2
    assert (inbox.get_nowait(), inbox.get_nowait()) == (1, 2)
    with pytest.raises(queue.Empty):
        inbox.get_nowait()


def test_join_of_an_asyncio_queue_waits_for_all_items(supervisor):
    got = []
    aloop = supervisor.create_aloop("a")
    worker = background_worker(got.append, q=asyncio.Queue, supervisor=supervisor, loop="a")
    worker.start()
    for item in range(100):
        worker.put_threadsafe(item)
    aloop.run(worker.get_queue_obj().join())
    assert got == list(range(100))


class Narrow(asyncio.Queue):
    def __init__(self):
        super().__init__(1)


class NarrowThreads(queue.Queue):
    def __init__(self):
        super().__init__(1)


def test_bounded_queue_of_asyncio_makes_put_wait_for_room(supervisor, held):
    aloop = supervisor.create_aloop("a")
    worker = background_worker(held, q=Narrow, supervisor=supervisor, loop="a")
    worker.start()
    worker.put_threadsafe(0)
    held.next()
    worker.put_threadsafe(1)
    worker.put_threadsafe(2)                # accepted, and put when there is room
    assert worker.stats().waiting == 2
    wait_for(lambda: putters_of(worker.get_queue_obj()), "it waits for room")
    waiting = aloop.background_task(worker.put(3))
    assert not waiting.done()
    held.go(4)
    waiting.value(PATIENCE)
    assert [held.next() for _ in range(3)] == [(1,), (2,), (3,)]


def test_bounded_queue_of_asyncio_is_filled_from_several_loops(supervisor):
    got = []
    worker = background_worker(got.append, q=Narrow, supervisor=supervisor)
    worker.start()

    async def produce(name):
        for number in range(50):
            await worker.put((name, number))

    producers = [started(asyncio.run, asyncio.wait_for(produce(name), PATIENCE)) for name in "ab"]
    for producer in producers:
        join(producer)
    wait_for(lambda: len(got) == 100, "all have been dealt with")
    assert [[number for name, number in got if name == wanted]
            for wanted in "ab"] == [list(range(50))] * 2


def test_bounded_queue_for_threads_makes_put_threadsafe_block(supervisor, held):
    worker = background_worker(held, q=NarrowThreads, supervisor=supervisor)
    worker.start()
    worker.put_threadsafe(0)
    held.next()
    worker.put_threadsafe(1)
    putter = started(worker.put_threadsafe, 2)
    with pytest.raises(queue.Full):
        asyncio.run(worker.put(3))
    held.go(3)
    join(putter)
    assert (held.next(), held.next()) == ((1,), (2,))


def test_none_is_an_item_like_any_other(supervisor, runs):
    worker = background_worker(runs, q=True, supervisor=supervisor)
    worker.start()
    worker.put_threadsafe(None)
    assert runs.next() == (None,) and worker.is_active()


def test_items_put_before_the_start_wait_for_it(supervisor, runs):
    worker = background_worker(runs, q=True, supervisor=supervisor)
    worker.put_threadsafe(1)
    assert runs.none() and worker.stats().waiting == 1
    worker.start()
    assert runs.next() == (1,)


def test_items_left_by_a_stop_wait_for_the_next_start(supervisor, held):
    worker = background_worker(held, q=True, supervisor=supervisor)
    worker.start()
    for item in range(3):
        worker.put_threadsafe(item)
    held.next()
    stopper = started(worker.stop)
    wait_for(lambda: not worker.is_active(), "it is told to stop")
    held.go()
    join(stopper)
    assert held.none() and worker.stats().waiting == 2
    worker.start()
    held.go(2)
    assert (held.next(), held.next()) == ((1,), (2,))


def test_queue_hooks_are_called_around_each_item(supervisor):
    told = []

    class Worker(BackgroundQueueWorker):
        def run(self, item):
            told.append(("run", item))
            return False

        def before_queue_get(self):
            told.append("before")

        def after_queue_get(self, task):
            told.append(("after", task))

    worker = Worker(supervisor=supervisor)
    worker.start()
    worker.put_threadsafe(1)
    assert worker.wait_until_stop(PATIENCE)
    assert told == ["before", ("after", 1), ("run", 1)]


def test_items_of_many_threads_keep_the_order_of_each(supervisor):
    got = []
    done = threading.Event()

    def work(item):
        got.append(item)
        if len(got) == 4000:
            done.set()

    worker = background_worker(work, q=True, supervisor=supervisor)
    worker.start()

    def put(number):
        for count in range(1000):
            worker.put_threadsafe((number, count))

    for thread in [started(put, number) for number in range(4)]:
        join(thread)
    assert done.wait(PATIENCE)
    for number in range(4):
        assert [count for who, count in got if who == number] == list(range(1000))


def test_asyncio_queue_before_python_3_10_exists_from_the_start_on(supervisor):
    class Unborn(BackgroundQueueWorker):
        pass

    worker = Unborn(executor_func=function, q=asyncio.Queue, supervisor=supervisor)
    QUEUE.put(worker, None)
    with pytest.raises(InvalidArgumentError, match="from its first start on"):
        worker.get_queue_obj()
    worker.put_threadsafe(1)                # it waits for the start
    assert worker.stats().waiting == 1
    worker.start()
    assert isinstance(worker.get_queue_obj(), asyncio.Queue)
    assert worker.join(PATIENCE) and worker.stats().runs == 1


# -- the worker's own queue, as a queue of asyncio -------------------------------------------------


def test_join_of_own_queue_waits_until_all_items_are_handled(supervisor):
    got, early = [], []
    over = threading.Event()

    def work(item):
        early.append(over.wait(0.02))       # join() must not end before the last one returns
        got.append(item)

    worker = background_worker(work, q=True, supervisor=supervisor)
    worker.start()

    async def main():
        own = worker.get_queue_obj()
        assert own.maxsize == 0
        for item in range(3):
            await own.put(item)
        await asyncio.wait_for(own.join(), PATIENCE)
        over.set()
        await asyncio.wait_for(own.join(), PATIENCE)
        own.task_done()

    asyncio.run(main())
    assert (got, early) == ([0, 1, 2], [False] * 3)


def test_join_of_own_queue_ends_when_the_worker_is_stopped(supervisor):
    entered, gate = threading.Event(), threading.Event()

    def work(item):
        entered.set()
        assert gate.wait(PATIENCE)

    worker = background_worker(work, q=True, supervisor=supervisor)
    worker.put_threadsafe(1)
    worker.put_threadsafe(2)

    async def main():
        own = worker.get_queue_obj()
        await own.join()                    # it has not been started
        worker.start()
        assert entered.wait(PATIENCE)
        joining = asyncio.ensure_future(own.join())
        await asyncio.sleep(0)
        worker.stop(wait=False)
        gate.set()
        await asyncio.wait_for(joining, PATIENCE)

    asyncio.run(main())
    assert worker.wait_until_stop(PATIENCE)


def test_get_of_own_queue_waits_for_an_item(supervisor):
    own = background_worker(lambda item: None, q=True, supervisor=supervisor).get_queue_obj()

    async def main():
        own.put_nowait(1)
        assert await own.get() == 1
        first, second, third = [asyncio.ensure_future(own.get()) for _ in range(3)]
        await asyncio.sleep(0)
        own.put_nowait(2)
        first.cancel()                      # it was woken for the item, which is for the next
        thread = started(lambda: own.put_nowait(3))
        assert await asyncio.wait_for(second, PATIENCE) == 2
        assert await asyncio.wait_for(third, PATIENCE) == 3
        await asyncio.get_running_loop().run_in_executor(None, join, thread)
        with pytest.raises(asyncio.CancelledError):
            await first

    asyncio.run(main())
    assert own.empty()


def test_queue_is_used_in_the_loop_of_the_worker(supervisor):
    async def work(item):
        pass

    loop = supervisor.create_aloop("mine")
    for run, expected in ((work, loop.get_loop()), (lambda item: None, supervisor.event_loop)):
        worker = background_worker(run, q=asyncio.Queue, supervisor=supervisor,
                                   loop="mine" if run is work else None)
        worker.start()
        assert worker.worker_loop is expected
        worker.put_threadsafe(1)
        asyncio.run_coroutine_threadsafe(worker.get_queue_obj().join(),
                                         worker.worker_loop).result(PATIENCE)
    worker.worker_loop = 5
    assert worker.worker_loop == 5
