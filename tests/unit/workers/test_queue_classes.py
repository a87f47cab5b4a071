"""Queue classes of the application: own put() and get(), bounds, and errors."""
import asyncio
import queue
import threading

import pytest

from atasker_like import BackgroundQueueWorker, InvalidTypeError, _modes, background_worker
from atasker_like.workers.loop_queues import FetchTrigger
from tests.support import PATIENCE
from tests.support.gates import Hold
from tests.support.internals.worker import returned_items_of, scheduled_of
from tests.support.threads import join, started, wait_for

from .tools import coroutine_function


class Calls:
    """Notes which methods of a queue are called."""

    def __init__(self):
        self.names = []


def noting(calls, base=asyncio.Queue):
    """A queue class with nothing but put() and get(), both coroutine functions."""
    class Noting(base):
        async def put(self, item):
            calls.append("put")
            await super().put(item)

        def put_nowait(self, item):
            calls.append("put_nowait")
            super().put_nowait(item)

        def _put(self, item):
            calls.append("_put")
            super()._put(item)

        async def get(self):
            calls.append("get")
            return await super().get()

        def get_nowait(self):
            calls.append("get_nowait")
            return super().get_nowait()

        def _get(self):
            calls.append("_get")
            return super()._get()

    return Noting


class Pair(asyncio.Queue):
    """Has room for two items."""

    def __init__(self):
        super().__init__(2)


class PairWithOwnPut(Pair):
    async def put(self, item):
        await super().put(item)


class PairWithOwnGet(Pair):
    async def get(self):
        return await super().get()


class PairWithBoth(PairWithOwnPut, PairWithOwnGet):
    pass


class Bare:
    """A queue class with nothing but put() and get(), both coroutine functions."""

    def __init__(self):
        self._items = []
        self._there = None

    async def put(self, item):
        await asyncio.sleep(0)
        self._items.append(item)
        if self._there is not None:
            self._there.set()

    async def get(self):
        while not self._items:
            self._there = asyncio.Event()
            await self._there.wait()
        return self._items.pop(0)


PAIRS = [Pair, PairWithOwnPut, PairWithOwnGet, PairWithBoth]


@pytest.mark.parametrize("base", [asyncio.Queue, asyncio.PriorityQueue, Pair])
def test_put_and_get_of_a_queue_class_are_called(supervisor, form, base):
    calls, got = [], []
    worker = background_worker(form(got.append), q=noting(calls, base), supervisor=supervisor)
    worker.start()
    worker.put_threadsafe(1)
    assert worker.join(PATIENCE)
    assert got == [1]
    assert {"put", "put_nowait", "_put", "get", "get_nowait", "_get"} <= set(calls)
    assert calls.index("put") < calls.index("_put") < calls.index("_get")
    del calls[:]
    asyncio.run(worker.put(2))
    assert worker.join(PATIENCE) and got == [1, 2] and "put" in calls
    del calls[:]
    worker.get_queue_obj().put_nowait(3)
    assert worker.join(PATIENCE) and got == [1, 2, 3] and "put" not in calls


@pytest.mark.parametrize("kind", PAIRS)
def test_put_threadsafe_on_a_full_queue_keeps_the_order(supervisor, form, kind, held):
    got = []

    def work(item):
        held()
        got.append(item)

    worker = background_worker(form(work), q=kind, supervisor=supervisor)
    worker.start()
    for item in range(10):
        worker.put_threadsafe(item)
    held.next()
    # one on its way may count twice
    wait_for(lambda: worker.stats().waiting == 9, "the others are counted")
    assert worker.get_queue_obj().qsize() <= 2
    held.release()
    assert worker.join(PATIENCE) and got == list(range(10))


class OneItem(queue.Queue):
    """Has room for one item, for threads."""

    def __init__(self):
        super().__init__(1)


def test_put_threadsafe_that_blocks_until_the_start_warns_once(supervisor, caplog):
    got = []
    worker = background_worker(got.append, q=OneItem, supervisor=supervisor, name="late")
    worker.put_threadsafe(1)
    assert not caplog.messages
    putting = started(worker.put_threadsafe, 2)
    wait_for(lambda: caplog.messages, "the warning")
    assert caplog.messages == [
        f"put_threadsafe() of worker {worker.name} blocks: its queue is full, and the worker does "
        "not run; call start() first"]
    worker.start()
    join(putting)
    assert worker.join(PATIENCE) and got == [1, 2] and len(caplog.messages) == 1


@pytest.mark.parametrize("kind", PAIRS)
def test_put_threadsafe_on_a_full_queue_returns_in_any_thread(supervisor, kind):
    """In the worker's own function, in its loop, and in a callback of another one."""
    got = []

    async def work(item):
        got.append(item)
        if item == 0:
            for number in range(1, 6):
                worker.put_threadsafe(number)

    worker = background_worker(work, q=kind, supervisor=supervisor)
    worker.start()
    worker.put_threadsafe(0)
    wait_for(lambda: len(got) == 6, "all are handled")

    async def put_more():
        for number in range(6, 12):
            worker.put_threadsafe(number)

    supervisor.create_aloop("other").run(put_more())
    asyncio.run(put_more())
    assert worker.join(PATIENCE)
    assert got[:12] == list(range(12)) and got[12:] == list(range(6, 12))


@pytest.mark.parametrize("kind", PAIRS)
def test_items_that_wait_for_room_are_handled_before_a_stop(supervisor, form, kind, held):
    worker = background_worker(form(held), q=kind, supervisor=supervisor)
    worker.start()
    for item in range(10):
        worker.put_threadsafe(item)
    held.next()
    stopper = started(supervisor.stop)
    wait_for(lambda: not supervisor.is_active, "the stop begins")
    held.go(10)
    report = join(stopper)
    assert (report.items_left, report.complete) == (0, True)
    assert worker.stats().runs == 10 and worker.stats().waiting == 0


@pytest.mark.parametrize("kind", PAIRS)
def test_items_that_wait_for_room_are_kept_for_the_next_start(supervisor, kind, held):
    worker = background_worker(held, q=kind, supervisor=supervisor)
    worker.start()
    for item in range(10):
        worker.put_threadsafe(item)
    held.next()
    report = supervisor.stop(wait=0)
    assert (report.items_left, report.complete) == (9, False)
    held.go()
    assert worker.wait_until_stop(PATIENCE)
    supervisor.start()
    worker.put_threadsafe(10)
    assert worker.stats().waiting == 10
    held.release()
    worker.start()
    assert worker.join(PATIENCE)
    assert [held.next()[0] for _ in range(10)] == list(range(1, 11))


@pytest.mark.parametrize("kind", [asyncio.Queue, *PAIRS, Bare])
def test_items_that_are_put_before_the_first_start_wait_for_it(supervisor, kind):
    got = []
    worker = background_worker(got.append, q=kind, supervisor=supervisor)
    for item in range(5):
        worker.put_threadsafe(item)
    assert worker.stats().waiting == 5
    worker.start()
    assert worker.join(PATIENCE) and got == list(range(5))


@pytest.mark.parametrize("kind", PAIRS)
def test_stopped_worker_takes_no_item_before_the_next_start(supervisor, kind):
    got = []
    worker = background_worker(got.append, q=kind, supervisor=supervisor)
    worker.start()
    worker.put_threadsafe(0)
    assert worker.join(PATIENCE) and worker.stop()
    for item in range(1, 6):
        worker.put_threadsafe(item)
    asyncio.run(asyncio.sleep(0))
    assert got == [0] and worker.stats().waiting == 5
    worker.start()
    assert worker.join(PATIENCE) and got == list(range(6))


# -- classes that have less ------------------------------------------------------------------------


def test_class_with_put_and_get_as_coroutine_functions_is_enough(supervisor, form):
    got = []
    worker = background_worker(form(got.append), q=Bare, supervisor=supervisor)
    worker.start()
    for item in range(10):
        worker.put_threadsafe(item)
    assert worker.join(PATIENCE) and got == list(range(10))


def test_items_of_a_class_without_qsize_are_handled_before_a_stop(supervisor, held):
    worker = background_worker(held, q=Bare, supervisor=supervisor)
    worker.start()
    for item in range(10):
        worker.put_threadsafe(item)
    held.next()
    wait_for(lambda: worker.stats().waiting == 9, "it has taken one")
    stopper = started(supervisor.stop)
    wait_for(lambda: not supervisor.is_active, "the stop begins")
    held.go(10)
    assert join(stopper).complete and worker.stats().runs == 10


class OwnGet(queue.SimpleQueue):
    called = 0

    def get(self, block=True, timeout=None):
        self.called += 1
        return super().get(block, timeout)


class OwnGetOfAQueue(queue.Queue):
    called = 0

    def get(self, block=True, timeout=None):
        self.called += 1
        return super().get(block, timeout)


class OnlyGet:
    """A queue class with nothing but put() and get(), both coroutine functions."""
    called = 0

    def __init__(self):
        self._items = []

    def put(self, item):
        self._items.append(item)

    def get(self):
        self.called += 1
        return self._items.pop(0)


@pytest.mark.parametrize("kind", [OwnGet, OwnGetOfAQueue, OnlyGet])
def test_get_of_a_queue_class_for_threads_is_called(supervisor, kind):
    got = []
    worker = background_worker(got.append, q=kind, supervisor=supervisor)
    worker.start()
    for item in range(5):
        worker.put_threadsafe(item)
    asyncio.run(worker.put(5))
    assert worker.join(PATIENCE) and got == list(range(6))
    assert worker.get_queue_obj().called >= 6 and worker.stats().waiting == 0
    assert supervisor.stop().complete


@pytest.mark.parametrize("kind, lacks", [(type("NoGet", (), {"put": print}), "get"),
                                         (type("NoPut", (), {"get": print}), "put"),
                                         (type("Neither", (), {}), "put, get")])
def test_class_that_is_no_queue_is_refused(kind, lacks):
    with pytest.raises(InvalidTypeError, match=f"{kind.__name__} has no {lacks}$"):
        background_worker(print, q=kind)


# -- errors ----------------------------------------------------------------------------------------


def test_get_that_raises_is_logged_and_tried_again_later(supervisor, caplog):
    class Flaky(asyncio.Queue):
        failures = 3

        async def get(self):
            if self.failures:
                self.failures -= 1
                raise OSError("not now")
            return await super().get()

    got = []
    worker = background_worker(got.append, q=Flaky, supervisor=supervisor)
    worker.start()
    worker.put_threadsafe(1)
    wait_for(lambda: got == [1], "it is tried again")
    assert caplog.text.count("its queue could not give an item") == 3 and "not now" in caplog.text
    assert worker.is_active() and worker.stop()


@pytest.mark.parametrize("base", [asyncio.Queue, asyncio.PriorityQueue, queue.Queue,
                                  queue.SimpleQueue])
def test_get_nowait_that_raises_is_called_again(supervisor, form, base, caplog):
    class Flaky(base):
        failures = 3

        def get_nowait(self):
            if self.failures:
                self.failures -= 1
                raise OSError("not now")
            return super().get_nowait()

    got = []
    worker = background_worker(form(got.append), q=Flaky, supervisor=supervisor)
    worker.start()
    worker.put_threadsafe(1)
    assert worker.join(PATIENCE) and got == [1]
    assert caplog.text.count("its queue could not give an item") == 3 and "not now" in caplog.text
    assert worker.is_active() and worker.stop()


@pytest.mark.parametrize("how", ["get", "get_nowait", "plain get"])
def test_get_that_always_raises_holds_no_stop(supervisor, how, caplog):
    class Broken(queue.Queue if how == "plain get" else asyncio.Queue):
        if how == "get":
            async def get(self):
                raise OSError("broken for good")
        elif how == "plain get":
            def get(self, block=True, timeout=None):
                raise OSError("broken for good")
        else:
            def get_nowait(self):
                raise OSError("broken for good")

    worker = background_worker(lambda item: None, q=Broken, supervisor=supervisor)
    worker.start()
    worker.put_threadsafe(1)
    wait_for(lambda: "broken for good" in caplog.text, "it is logged")
    assert worker.is_active()
    report = join(started(supervisor.stop))
    assert (report.items_left, report.complete) == (1, False) and worker.is_stopped()


@pytest.mark.parametrize("base", [asyncio.Queue, queue.Queue])
def test_task_done_that_raises_is_logged_and_the_worker_goes_on(supervisor, form, base, caplog):
    class Broken(base):
        def task_done(self):
            raise OSError("no end of it")

    got = []
    worker = background_worker(form(got.append), q=Broken, supervisor=supervisor)
    worker.start()
    for item in range(3):
        worker.put_threadsafe(item)
    assert worker.join(PATIENCE) and got == [0, 1, 2]
    assert caplog.text.count("the task_done() of its queue raised") == 3
    assert "no end of it" in caplog.text and supervisor.stop().complete


@pytest.mark.parametrize("kind", PAIRS)
def test_items_that_were_fetched_together_are_all_handled(supervisor, form, kind):
    """The loop may fetch a second item before the run for the first one begins."""
    got = []
    worker = background_worker(form(got.append), q=kind, supervisor=supervisor)
    returned_items_of(worker).extend(range(3))
    worker.start()
    assert worker.join(PATIENCE) and got == [0, 1, 2]


def test_put_that_raises_is_logged_and_the_worker_goes_on(supervisor, caplog):
    class Picky(asyncio.Queue):
        async def put(self, item):
            if item == "bad":
                raise ValueError("no such item")
            await super().put(item)

    got = []
    worker = background_worker(got.append, q=Picky, supervisor=supervisor)
    worker.start()
    for item in ("good", "bad", "better"):
        worker.put_threadsafe(item)
    assert worker.join(PATIENCE) and got == ["good", "better"]
    assert "its queue did not take an item, which is lost" in caplog.text
    assert "no such item" in caplog.text
    assert supervisor.stop().complete


@pytest.mark.parametrize("hook", ["before_queue_get", "after_queue_get"])
def test_hooks_of_a_queue_that_is_fetched_from_are_called_and_may_raise(supervisor, hook, caplog):
    told = []

    class Worker(BackgroundQueueWorker):
        def run(self, item):
            told.append(item)

        def before_queue_get(self):
            told.append("before")
            if hook == "before_queue_get":
                raise ValueError("in a hook")

        def after_queue_get(self, task):
            told.append(("after", task))
            if hook == "after_queue_get":
                raise ValueError("in a hook")

    worker = Worker(q=PairWithBoth, supervisor=supervisor)
    worker.start()
    worker.put_threadsafe(1)
    assert worker.join(PATIENCE)
    worker.stop()
    assert told[:3] == ["before", ("after", 1), 1] and f"its {hook} raised" in caplog.text


# -- loops -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [PairWithBoth, Bare])
def test_loop_is_stopped_while_its_worker_waits_for_an_item(supervisor, kind, caplog):
    aloop = supervisor.create_aloop("short")

    async def work(item):
        pass

    worker = background_worker(work, q=kind, supervisor=supervisor, loop="short")
    worker.start()
    worker.put_threadsafe(1)
    assert worker.join(PATIENCE)
    join(started(aloop.stop))
    worker.put_threadsafe(2)
    wait_for(lambda: "the loop of its queue is closed" in caplog.text, "it is told")
    join(started(worker.stop))
    assert worker.is_stopped() and worker.stats().waiting == 1


@pytest.mark.parametrize("kind", PAIRS)
def test_loop_of_a_worker_may_change_with_each_start(supervisor, kind):
    got = []

    async def work(item):
        got.append((item, asyncio.get_running_loop()))

    loops = [supervisor.create_aloop(name) for name in "ab"]
    worker = background_worker(work, q=kind, supervisor=supervisor)
    for number, loop in enumerate("ab"):
        worker.start(_loop=loop)
        for item in range(5):
            worker.put_threadsafe(item)
        assert worker.join(PATIENCE)
        worker.stop()
        assert got == [(item, loops[number].get_loop()) for item in range(5)]
        del got[:]


def test_under_install_none_stops_a_worker(supervisor, monkeypatch, runs):
    monkeypatch.setattr(_modes, "legacy", True)
    worker = background_worker(runs, q=True, supervisor=supervisor)
    worker.start()
    worker.put_threadsafe(1)
    worker.put_threadsafe(None)
    assert worker.wait_until_stop(PATIENCE)
    assert runs.next() == (1,) and runs.none()


class Awaited(asyncio.Queue):
    """A queue whose put() and get() have to be awaited in a loop."""

    async def put(self, item):
        await super().put(item)

    async def get(self):
        return await super().get()


def test_worker_whose_loop_ends_before_the_first_get_stops(supervisor, monkeypatch):
    posted = threading.Event()
    worker = background_worker(coroutine_function, q=Awaited, supervisor=supervisor)
    schedule = FetchTrigger.schedule

    def schedule_and_tell(self, session):
        schedule(self, session)
        posted.set()

    async def main():
        worker.start(_loop=asyncio.get_running_loop())
        # The loop ends in its next iteration, which only makes the task that calls get().
        assert posted.wait(PATIENCE)

    monkeypatch.setattr(FetchTrigger, "schedule", schedule_and_tell)
    asyncio.run(main())
    assert worker.wait_until_stop(PATIENCE)
    assert supervisor.stop(wait=PATIENCE).complete


def test_worker_whose_loop_is_closed_during_a_get_stops_at_the_next_item(supervisor):
    asked, over = threading.Event(), threading.Event()

    class Telling(Awaited):
        async def get(self):
            asked.set()
            return await super().get()

    def run(loop):
        while not asked.is_set():
            loop.run_until_complete(asyncio.sleep(0))
        loop.close()                # and nobody has cancelled the get()
        over.set()

    worker = background_worker(coroutine_function, q=Telling, supervisor=supervisor)
    loop = asyncio.new_event_loop()
    worker.start(_loop=loop)
    thread = threading.Thread(target=run, args=(loop,))
    thread.start()
    assert over.wait(PATIENCE)
    thread.join(PATIENCE)
    worker.put_threadsafe(1)
    assert worker.wait_until_stop(PATIENCE)
    assert supervisor.stop(wait=PATIENCE).items_left == 1


def test_item_put_while_a_worker_waits_for_its_closed_loop_stops_the_worker(supervisor,
                                                                            monkeypatch):
    hold, schedule = Hold(), FetchTrigger.schedule

    def schedule_and_hold(trigger, session):
        schedule(trigger, session)
        hold()

    monkeypatch.setattr(FetchTrigger, "schedule", schedule_and_hold)
    worker = background_worker(coroutine_function, q=Awaited, supervisor=supervisor)
    loop = asyncio.new_event_loop()
    worker.start(_loop=loop)
    hold.reached()
    loop.close()
    worker.put_threadsafe(1)        # the timer's thread has not given the session back
    hold.go()
    assert worker.wait_until_stop(PATIENCE)
    assert supervisor.stop(wait=PATIENCE).items_left == 1


def test_item_whose_put_the_end_of_the_loop_prevents_is_for_the_next_start(supervisor):
    got, asked = queue.Queue(), threading.Event()

    class Telling(Awaited):
        async def get(self):
            asked.set()
            return await super().get()

    async def take(item):
        got.put(item)

    async def until_asked():
        while not asked.is_set():
            await asyncio.sleep(0)

    async def main():
        worker.start(_loop=asyncio.get_running_loop())
        await asyncio.wait_for(until_asked(), PATIENCE)
        worker.put_threadsafe("first")      # the loop ends before it comes to this

    worker = background_worker(take, q=Telling, supervisor=supervisor)
    asyncio.run(main())
    worker.stop(wait=PATIENCE)
    assert worker.stats().waiting == 1
    supervisor.create_aloop("next")
    worker.start(_loop="next")
    worker.put_threadsafe("second")
    assert [got.get(timeout=PATIENCE) for _ in range(2)] == ["first", "second"]
    assert worker.join(PATIENCE)


def test_item_that_is_put_while_another_thread_starts_the_worker_is_handled(supervisor):
    got = queue.Queue()
    worker = background_worker(got.put, q=Awaited, supervisor=supervisor)
    scheduled = scheduled_of(worker)
    add = scheduled.add

    def add_late(item):
        scheduled.add = add
        assert join(started(worker.start)) is True
        add(item)

    scheduled.add = add_late
    worker.put_threadsafe("item")
    assert got.get(timeout=PATIENCE) == "item"
    assert worker.join(PATIENCE) and worker.stats().waiting == 0


def test_two_threads_that_start_a_worker_first_share_one_queue(supervisor):
    """Up to Python 3.9 a queue of asyncio is made at the first start."""
    rivals, made, workers, got = [], [], [], queue.Queue()

    def start_and_put():
        answer = workers[0].start()
        for item in range(3):
            workers[0].put_threadsafe(item)
        return answer

    class Contested(asyncio.Queue):
        def __init__(self):
            super().__init__()
            made.append(self)
            if workers and len(made) == 1:
                rivals.append(started(start_and_put))
                rivals[0].join(0.05)        # it may wait for this thread

    workers.append(background_worker(got.put, q=Contested, supervisor=supervisor))
    answers = [workers[0].start()]
    answers.append(join(rivals[0]) if rivals else start_and_put())
    assert sorted(answers) == [False, True] and len(made) == 1
    assert [got.get(timeout=PATIENCE) for _ in range(3)] == [0, 1, 2]
