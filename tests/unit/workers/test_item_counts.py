"""Queue workers count each item once while it moves."""
import asyncio
import queue
import threading

import pytest

from atasker_like import background_worker
from tests.support import PATIENCE
from tests.support.internals.worker import QUEUE_LOCK, items_lock_of, last_item_of, session_of
from tests.support.threads import join, started, wait_for


class Observed:
    """In front of an RLock: calls ``contended()`` when a thread has to wait for it."""

    def __init__(self, lock, contended):
        self._lock, self._contended = lock, contended

    def __enter__(self):
        if not self._lock.acquire(False):
            self._contended()
            self._lock.acquire()

    def __exit__(self, *error):
        self._lock.release()


class Meeting:
    """Lets an item into a queue at the very moment when its size has been read."""

    def __init__(self):
        self.reader = None              # the thread that reads
        self.loop = self.gate = None
        self.at_gate, self.moved = threading.Event(), threading.Event()

    def queue_class(self):
        meeting = self

        class Met(asyncio.Queue):
            def __init__(self):
                super().__init__(2)

            async def put(self, item):
                if item == 2:
                    meeting.loop, meeting.gate = asyncio.get_running_loop(), asyncio.Event()
                    meeting.at_gate.set()
                if item >= 2:
                    await meeting.gate.wait()
                await super().put(item)
                if item == 2:
                    # after all that follows at once
                    asyncio.get_running_loop().call_soon(meeting.moved.set)

            def qsize(self):
                size = super().qsize()
                if threading.current_thread() is meeting.reader or meeting.reader == "any":
                    meeting.reader = None
                    meeting.loop.call_soon_threadsafe(meeting.gate.set)
                    # it is in the queue, or waits for the lock of this count
                    assert meeting.moved.wait(PATIENCE)
                return size

        return Met


@pytest.fixture
def meeting():
    return Meeting()


@pytest.fixture
def crowded(supervisor, held, meeting):
    """A worker that handles item 0: 1 is in the queue, 2 enters it, seven more wait."""
    worker = background_worker(held, q=meeting.queue_class(), supervisor=supervisor)
    worker.start()
    QUEUE_LOCK.put(worker.get_queue_obj(), Observed(items_lock_of(worker), meeting.moved.set))
    for item in range(10):
        worker.put_threadsafe(item)
        if item == 0:
            held.next()
    assert meeting.at_gate.wait(PATIENCE)
    wait_for(lambda: worker.stats().waiting == 9, "the others are counted")
    return worker


def test_count_while_an_item_enters_the_queue_has_it_once(crowded, meeting):
    counted = []

    def count():
        meeting.reader = threading.current_thread()
        counted.append(crowded.stats().waiting)

    join(started(count))
    assert counted == [9]


def test_stop_while_an_item_enters_the_queue_handles_all_items(supervisor, crowded, meeting, held):
    meeting.reader = "any"
    stopper = started(supervisor.stop)
    wait_for(lambda: meeting.reader is None, "the items are counted")
    held.go(10)
    report = join(stopper)
    assert (report.items_left, report.complete) == (0, True)
    assert crowded.stats().runs == 10


class Slow(asyncio.Queue):
    """Its get() takes an item and then awaits something else."""

    def __init__(self):
        super().__init__()
        self.taken = threading.Event()

    async def get(self):
        self.go = asyncio.Event()
        item = await super().get()
        self.loop = asyncio.get_running_loop()
        self.taken.set()
        await self.go.wait()
        return item

    def release(self):
        self.loop.call_soon_threadsafe(self.go.set)


@pytest.fixture
def slow(supervisor):
    """A worker whose queue has taken its one item and not given it yet."""
    got = []
    worker = background_worker(got.append, q=Slow, supervisor=supervisor)
    worker.got = got
    worker.start()
    worker.put_threadsafe("item")
    assert worker.get_queue_obj().taken.wait(PATIENCE)
    return worker


def test_stop_waits_for_an_item_that_get_has_taken_and_not_returned(supervisor, slow):
    assert slow.stats().waiting == 1
    stopper = started(supervisor.stop)
    wait_for(lambda: not supervisor.is_active, "the stop begins")
    slow.get_queue_obj().release()
    report = join(stopper)
    assert slow.got == ["item"]
    assert (report.items_left, report.complete) == (0, True)


def test_stopped_worker_keeps_an_item_that_get_has_taken(slow):
    assert slow.stop()
    slow.get_queue_obj().release()
    slow.start()
    assert slow.join(PATIENCE) and slow.got == ["item"]


def test_loop_that_ends_while_get_has_an_item_logs_the_loss(supervisor, slow, caplog):
    supervisor.stop(wait=0)
    assert slow.wait_until_stop(PATIENCE)
    wait_for(lambda: "its queue was cancelled after it took an item, which is lost" in caplog.text,
             "the loss is logged")
    assert slow.got == [] and slow.stats().waiting == 0
    assert "is stopped: the get()" not in caplog.text


def test_get_that_is_cancelled_stops_the_worker_with_an_error(slow, caplog):
    def cancel_all():
        for task in asyncio.all_tasks(loop):
            task.cancel()

    loop = slow.get_queue_obj().loop
    loop.call_soon_threadsafe(cancel_all)
    assert slow.wait_until_stop(PATIENCE)
    assert "is stopped: the get() of its queue was cancelled" in caplog.text


def test_get_that_drops_an_item_does_not_block_a_stop(supervisor):
    dropped = threading.Event()

    class Filter(asyncio.Queue):
        async def get(self):
            while True:
                item = await super().get()
                if item != "stale":
                    return item
                asyncio.get_running_loop().call_soon(dropped.set)

    worker = background_worker(print, q=Filter, supervisor=supervisor)
    worker.start()
    worker.put_threadsafe("stale")
    assert dropped.wait(PATIENCE)
    assert worker.stats().waiting == 0
    assert join(started(supervisor.stop)).complete


def test_put_that_raises_after_it_put_the_item_does_not_call_it_lost(supervisor, caplog):
    class Loud(asyncio.Queue):
        async def put(self, item):
            await super().put(item)
            raise ValueError("too loud")

    got = []
    worker = background_worker(got.append, q=Loud, supervisor=supervisor)
    worker.start()
    worker.put_threadsafe("item")
    assert worker.join(PATIENCE) and got == ["item"]
    wait_for(lambda: "too loud" in caplog.text, "the error is logged")
    assert "raised after it took an item" in caplog.text and "lost" not in caplog.text


def test_stop_while_an_item_is_taken_handles_the_items_behind_it(supervisor, held):
    taken, go = threading.Event(), threading.Event()

    class Slowly(queue.Queue):
        def get(self, block=True, timeout=None):
            item = super().get(block, timeout)
            if item == 0:
                taken.set()
                assert go.wait(PATIENCE)
            return item

    got, counted = [], threading.Event()

    class Counting(Slowly):
        def qsize(self):
            if not supervisor.is_active:
                counted.set()
            return super().qsize()

    worker = background_worker(got.append, q=Counting, supervisor=supervisor)
    for item in range(5):
        worker.put_threadsafe(item)
    worker.start()
    assert taken.wait(PATIENCE)
    stopper = started(supervisor.stop)
    assert counted.wait(PATIENCE)
    wait_for(lambda: last_item_of(worker) is not None, "the limit is set")
    go.set()
    report = join(stopper)
    assert (report.items_left, report.complete, got) == (0, True, list(range(5)))


def test_wait_for_idle_sees_an_item_that_arrives_while_it_looks(supervisor, held):
    worker = background_worker(held, q=True, supervisor=supervisor)
    worker.start()
    assert worker.join(PATIENCE)
    looks = []

    def is_settled():
        if not looks:
            worker.put_threadsafe("item")
        looks.append(None)
        return True

    waiter = started(lambda: session_of(worker).wait_idle(is_settled, None))
    assert held.next() == ("item",)
    assert waiter.is_alive()
    held.go()
    assert join(waiter) is True and worker.stats().runs == 1


def test_join_of_a_worker_whose_queue_gives_nothing_does_not_poll(supervisor, caplog):
    looks = []

    class Broken(queue.Queue):
        def get(self, block=True, timeout=None):
            raise OSError("broken for good")

        def qsize(self):
            looks.append(None)
            assert len(looks) < 50, "it polls"
            return super().qsize()

    worker = background_worker(print, q=Broken, supervisor=supervisor)
    worker.start()
    worker.put_threadsafe("item")
    wait_for(lambda: "broken for good" in caplog.text, "it has failed")
    assert worker.join(0.1) is False


def test_join_ends_with_a_put_that_puts_nothing(supervisor):
    asked, go = threading.Event(), threading.Event()

    class Picky(asyncio.Queue):
        async def put(self, item):
            asked.set()
            await asyncio.get_running_loop().run_in_executor(None, go.wait, PATIENCE)

    worker = background_worker(print, q=Picky, supervisor=supervisor)
    worker.start()
    worker.put_threadsafe("item")
    assert asked.wait(PATIENCE)
    joiner = started(worker.join)
    assert worker.join(0) is False
    go.set()
    assert join(joiner) is True
