"""Queues of asyncio that threads and coroutines of several loops use."""
import asyncio
import gc
import sys
import threading

import pytest

from atasker_like.workers.item_queues import make_queue
from tests.support import PATIENCE
from tests.support.internals.worker import QUEUE_LOCK, joiners_of, putters_of


class Narrow(asyncio.Queue):
    def __init__(self):
        super().__init__(1)


@pytest.fixture
def made():
    """Makes queues in a loop that is closed, to which they belong before Python 3.10."""
    def make(kind=Narrow, notify=lambda: None):
        async def born():
            return make_queue(kind, notify)

        return asyncio.run(born())

    return make


@pytest.fixture
def in_loops():
    """Runs coroutines, each in its own thread and loop; waits for all at the end."""
    threads, errors = [], []

    def run(coroutine):
        def target():
            try:
                asyncio.run(asyncio.wait_for(coroutine, PATIENCE))
            except BaseException as error:
                errors.append(error)

        threads.append(threading.Thread(target=target))
        threads[-1].start()

    def end():
        for thread in threads:
            thread.join(2 * PATIENCE)
        assert errors == []

    run.end = end
    yield run
    end()


class Telling:
    """In front of the queue's lock: notes that a second thread is about to take it."""

    def __init__(self, lock):
        self._lock = lock
        self._thread = threading.get_ident()
        self.wanted = threading.Event()
        self.is_owned = lock._is_owned

    def __enter__(self):
        if threading.get_ident() != self._thread:
            self.wanted.set()
        return self._lock.__enter__()

    def __exit__(self, *error):
        return self._lock.__exit__(*error)


def test_queue_emptied_while_a_coroutine_checks_for_room_wakes_it(made):
    """The room that is made then is not missed."""
    looked, emptied = threading.Event(), threading.Event()

    class Watched(Narrow):
        def full(self):
            is_full = super().full()
            if is_full and not looked.is_set():
                looked.set()
                lock = QUEUE_LOCK.of(self)
                assert (lock.wanted if lock.is_owned() else emptied).wait(PATIENCE)
            return is_full

    watched = made(Watched)
    got = []

    def take():
        assert looked.wait(PATIENCE)
        got.append(watched.get_nowait())
        emptied.set()

    async def main():
        QUEUE_LOCK.put(watched, Telling(QUEUE_LOCK.of(watched)))
        await watched.put(1)
        taker = threading.Thread(target=take)
        taker.start()
        await asyncio.wait_for(watched.put(2), PATIENCE)
        taker.join(PATIENCE)

    asyncio.run(main())
    assert got == [1] and watched.get_nowait() == 2


@pytest.mark.parametrize("kind", [Narrow, type("NarrowByPriority",
                                               (Narrow, asyncio.PriorityQueue), {})])
def test_coroutines_of_several_loops_put_and_a_thread_takes(made, in_loops, kind):
    notified = threading.Semaphore(0)
    narrow = made(kind, notified.release)

    async def produce(name):
        for number in range(200):
            await narrow.put((name, number))

    for name in "abc":
        in_loops(produce(name))
    got = []
    for _ in range(600):
        assert notified.acquire(timeout=PATIENCE)
        got.append(narrow.get_nowait())
    in_loops.end()
    assert [[number for name, number in got if name == wanted]
            for wanted in "abc"] == [list(range(200))] * 3
    assert narrow.empty() and not putters_of(narrow)


async def waiting(narrow, *items):
    """Return asyncio tasks that wait for room, for one item each."""
    tasks = [asyncio.ensure_future(narrow.put(item)) for item in items]
    await asyncio.sleep(0)
    assert len(putters_of(narrow)) == len(items)
    return tasks


def test_putter_cancelled_after_its_wake_up_wakes_the_next_one(made):
    narrow = made()

    async def main():
        narrow.put_nowait(0)
        first, second = await waiting(narrow, 1, 2)
        assert narrow.get_nowait() == 0
        first.cancel()
        await asyncio.wait_for(second, PATIENCE)
        assert first.cancelled() and narrow.get_nowait() == 2

    asyncio.run(main())


def test_putter_cancelled_before_its_wake_up_is_dropped(made):
    narrow = made()

    async def main():
        narrow.put_nowait(0)
        first, second = await waiting(narrow, 1, 2)
        first.cancel()
        await asyncio.wait([first])
        assert len(putters_of(narrow)) == 1
        assert narrow.get_nowait() == 0
        await asyncio.wait_for(second, PATIENCE)

    asyncio.run(main())


def test_putter_that_finds_the_room_taken_stays_first(made):
    narrow = made()

    async def main():
        narrow.put_nowait(0)
        tasks = await waiting(narrow, 1, 2)
        assert narrow.get_nowait() == 0
        narrow.put_nowait("quick")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        got = []
        for _ in range(3):
            while narrow.empty():
                await asyncio.sleep(0)
            got.append(narrow.get_nowait())
        await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE)
        return got

    assert asyncio.run(asyncio.wait_for(main(), PATIENCE)) == ["quick", 1, 2]


@pytest.mark.parametrize("closed", [True, False])
def test_putter_in_a_dead_loop_does_not_block_other_putters(made, in_loops, closed):
    narrow = made()
    narrow.put_nowait(0)
    gone = asyncio.new_event_loop()
    # it is destroyed in the end, though it is pending
    gone.set_exception_handler(lambda loop, context: None)
    abandoned = gone.run_until_complete(waiting(narrow, 1))
    if closed:
        gone.close()
    put = threading.Event()

    async def main():
        task = asyncio.ensure_future(narrow.put(2))
        await asyncio.sleep(0)
        assert len(putters_of(narrow)) == 2
        put.set()
        await task

    in_loops(main())
    assert put.wait(PATIENCE)
    assert narrow.get_nowait() == 0
    in_loops.end()
    assert narrow.get_nowait() == 2
    gone.close()
    del abandoned
    gc.collect()


def test_asyncio_queue_is_joined_from_another_loop(made, in_loops):
    narrow = made(asyncio.Queue)
    for item in range(3):
        narrow.put_nowait(item)
    joining = threading.Event()

    async def join():
        task = asyncio.ensure_future(narrow.join())
        await asyncio.sleep(0)
        joining.set()
        await task

    in_loops(join())
    assert joining.wait(PATIENCE)
    for _ in range(3):
        assert joiners_of(narrow)
        narrow.get_nowait()
        narrow.task_done()
    in_loops.end()
    asyncio.run(narrow.join())          # there is nothing to wait for
    with pytest.raises(ValueError):
        narrow.task_done()


def test_cancelled_join_leaves_no_waiter(made):
    narrow = made()
    narrow.put_nowait(0)

    async def main():
        task = asyncio.ensure_future(narrow.join())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert not joiners_of(narrow)

    asyncio.run(main())
    narrow.get_nowait()
    narrow.task_done()


def test_queue_class_with_own_put_notifies_once(made):
    """The own put() comes first; each item that it puts notifies once."""
    class Doubling(Narrow):
        async def put(self, item):
            await super().put(2 * item)

        def put_nowait(self, item):
            super().put_nowait((item,))

    told = []
    doubling = made(Doubling, lambda: told.append(True))

    async def main():
        await doubling.put(1)
        task = asyncio.ensure_future(doubling.put(2))
        await asyncio.sleep(0)
        assert doubling.get_nowait() == (2,)
        await asyncio.wait_for(task, PATIENCE)
        assert doubling.get_nowait() == (4,)

    asyncio.run(main())
    assert told == [True] * 2


@pytest.mark.skipif(sys.version_info < (3, 13), reason="new in Python 3.13")
@pytest.mark.parametrize("immediate", [False, True])
def test_queue_shutdown_ends_its_waiters(made, immediate):
    narrow = made()

    async def main():
        narrow.put_nowait(0)
        task, = await waiting(narrow, 1)
        joining = asyncio.ensure_future(narrow.join())
        await asyncio.sleep(0)
        narrow.shutdown(immediate)
        with pytest.raises(asyncio.QueueShutDown):
            await asyncio.wait_for(task, PATIENCE)
        with pytest.raises(asyncio.QueueShutDown):
            await narrow.put(2)
        if not immediate:
            assert narrow.get_nowait() == 0
            narrow.task_done()
        await asyncio.wait_for(joining, PATIENCE)

    asyncio.run(main())
