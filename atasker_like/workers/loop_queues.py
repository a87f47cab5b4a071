"""Queue classes whose ``put()`` or ``get()`` runs in a loop.

These methods are coroutine functions of the class's own.

::

    put_threadsafe() ──> accepted ──> loop: await queue.put(item) ──> the queue; worker notified
                                      loop: await queue.get() ──> fetched; worker notified
                                      one item at a time, when the worker has nothing else to do

At any time an item is in one place, so that it can be counted: accepted, about to be put, in the
queue, held by the ``get()`` that took it, or fetched. For a queue of asyncio, one lock guards all
these places. The inside of another class cannot be seen. There, an item that moves may count twice,
or not while its ``get()`` holds it.
"""
from __future__ import annotations

from collections import deque
from functools import partial

from .._log import log
from ..engine.loop_mailbox import mailbox_of
from ..loops import unawaited
from .item_queues import getting, item_taken, putting
from .triggers import Backoff, QueueTrigger

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from typing import Any

    from .triggers import WorkerSession


class ScheduledPuts:
    """The items that ``put_threadsafe()`` has accepted and not yet put.

    For any thread.

    :param worker: the queue worker.
    """

    def __init__(self, worker: Any) -> None:
        self._worker = worker
        self.is_closed: bool = False    # an item cannot be put, as the loop is closed
        self._loop: asyncio.AbstractEventLoop | None = None     # where to put (None: nowhere yet)
        # guards what follows, and the queue if it is one of asyncio
        self._lock: Any = worker._worker_items_lock
        self._number = 0
        self._accepted: deque[tuple[int, Any]] = deque()    # each item with its number, in order
        self._putting: dict[int, Any] = {}  # an asyncio task puts each of these

    def __len__(self) -> int:
        with self._lock:
            return len(self._accepted) + len(self._putting)

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Put the accepted items, and later ones, in a loop."""
        if self._loop is not loop:
            self.is_closed = False
            self._loop = loop
            self._flush()

    def close(self) -> None:
        """Keep the items that are accepted from now on."""
        self._loop = None

    def add(self, item: Any) -> None:
        """Accept an item, to be put behind those that were accepted before."""
        with self._lock:
            self._number += 1
            self._accepted.append((self._number, item))
        self._flush()

    def _flush(self) -> None:
        loop = self._loop
        if loop is not None and self._accepted and not mailbox_of(loop).post(self._begin, loop):
            self._loop = None
            self.is_closed = True
            log.error("worker %s: %d item(s) cannot be put, since the loop of its queue is closed; "
                      "they wait for its next start", self._worker.name, len(self))

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Put all accepted items, in order. For the loop's thread."""
        while True:
            with self._lock:
                if not self._accepted:
                    return
                number, item = self._accepted.popleft()
                self._putting[number] = item
            task = loop.create_task(self._put(number, item))
            unawaited.add(task)
            task.add_done_callback(partial(self._put_ended, number, item))

    def _put_ended(self, number: int, item: Any, task: asyncio.Task[None]) -> None:
        # A task that is cancelled before its first step runs no line of its coroutine.
        if task.cancelled():
            self._take_back(number, item)

    def _take_back(self, number: int, item: Any) -> None:
        """Accept an item again whose put was cancelled, unless the queue has it."""
        with self._lock:
            if self._putting.pop(number, self) is not self:
                self._accepted = deque(sorted([*self._accepted, (number, item)],
                                              key=lambda entry: entry[0]))

    async def _put(self, number: int, item: Any) -> None:
        from asyncio import CancelledError

        queue = self._worker._worker_queue
        putting.set((queue, partial(self._putting.pop, number, None)))
        try:
            await queue.put(item)
        except CancelledError:              # the loop is about to end
            self._take_back(number, item)
            raise
        except BaseException:
            log.exception("worker %s: its queue did not take an item, which is lost"
                          if number in self._putting
                          else "worker %s: the put() of its queue raised after it took an item",
                               self._worker.name)
        with self._lock:
            self._putting.pop(number, None)
            is_last = not self
        if is_last:
            self._worker._worker_request_step()


class FetchTrigger(QueueTrigger):
    """One run for each item that a ``get()`` in a loop returns.

    :param worker: the queue worker.
    :param loop: where to fetch.
    """

    _session: WorkerSession     # begin() sets this

    def __init__(self, worker: Any, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._worker = worker
        self._queue: Any = worker._worker_queue
        # The fetched items. As long as there is one, a run is due, since a note could stand for two
        # of them.
        self._items: deque[Any] = worker._worker_returned_items
        self._holding: set[FetchTrigger] = worker._worker_holding
        self._loop = loop
        self._mailbox = mailbox_of(loop)
        self._requested = False             # for the holder of the ownership, and the loop
        self._closed = False
        # For the loop's thread:
        self._task: asyncio.Task[None] | None = None
        self._has_begun = False             # the first step of the task has run
        self._backoff = Backoff()

    def hold(self, has_item: bool) -> None:
        """Note if the ``get()`` holds an item that it has taken. (queue's lock held)"""
        if has_item:
            self._holding.add(self)
        else:
            self._holding.discard(self)

    def may_be_due(self) -> bool:
        # After a note, too: schedule() looks whether the loop is closed.
        return bool(self._notes or self._items) and not self.is_exhausted()

    def is_due(self, now: float) -> bool:
        self._notes.clear()
        return self.may_be_due()

    def may_repeat(self) -> bool:
        return bool(self._items) and not self.is_exhausted()

    def begin(self, session: WorkerSession) -> None:
        self._session = session

    def schedule(self, session: WorkerSession) -> None:
        # A get() that was still pending when its loop was closed will not return.
        if self._requested and not self._loop.is_closed() or self.is_exhausted():
            return
        self._requested = True
        if not self._mailbox.post(self._begin, None):
            log.error("worker %s is stopped: the loop in which its queue runs is closed",
                      self._worker.name)
            session.stop_at_once()

    def close(self, session: WorkerSession) -> None:
        self._closed = True
        self._mailbox.post(self._cancel, None)

    def _begin(self, _: None) -> None:
        if self._closed:
            return
        self._task = self._loop.create_task(self._fetch())
        unawaited.add(self._task)
        self._has_begun = False
        self._task.add_done_callback(self._fetch_ended)

    def _cancel(self, _: None) -> None:
        # else the item is for the next start
        if self._task is not None and self not in self._holding:
            self._task.cancel()

    def _fetch_ended(self, task: asyncio.Task[None]) -> None:
        # A task that is cancelled before its first step runs no line of its coroutine.
        if task.cancelled() and not self._has_begun:
            self._fetch_cancelled()

    def _fetch_cancelled(self) -> None:
        if self in self._holding:
            log.error("worker %s: the get() of its queue was cancelled after it took an item, "
                      "which is lost unless it was put back", self._worker.name)
        self._requested = False
        self.hold(False)
        if self._session.active:
            log.error("worker %s is stopped: the get() of its queue was cancelled, by what it "
                      "awaited or with its loop", self._worker.name)
            self._session.stop_at_once()

    async def _fetch(self) -> None:
        from asyncio import CancelledError

        self._has_begun = True
        getting.set((self._queue, self.hold))
        try:
            self._worker._worker_call_hook("before_queue_get", caught=BaseException)
            item = await self._queue.get()
        except (CancelledError, GeneratorExit):     # the latter if its loop is closed
            self._fetch_cancelled()
            raise
        except BaseException:
            log.exception("worker %s: its queue could not give an item", self._worker.name)
            self.hold(False)
            self.take_no_more()
            self._session.request_step()
            self._loop.call_later(self._backoff.next_pause(), self._begin, None)
            return
        self._backoff.reset()
        self._requested = False
        with self._worker._worker_items_lock:
            self._items.append(item)        # for the next run
            self.hold(False)
        self._worker._worker_request_step()
        item_taken(self._queue)
