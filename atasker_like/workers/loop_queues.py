"""Queue classes whose ``put()`` or ``get()`` is a coroutine function of their own: these run in a loop.

::

    put_threadsafe ──> accepted ──> loop: await queue.put(item) ──> the queue ──> the worker is notified
                                    loop: await queue.get() ──> fetched ──> the worker is notified
                                      asked for one item at a time, when the worker has nothing else to do

An item is in one of these places at any time, so that it can be counted: accepted, about to be put, in the queue, in the
hand of the ``get()`` that took it, fetched. One lock guards all of them for a queue of asyncio. The places inside of
another class cannot be seen: an item on its way counts twice for a moment, or, in the hand of its ``get()``, not at all.
"""
from __future__ import annotations

from collections import deque
from functools import partial

from .._log import log
from ..engine.loop_mailbox import mailbox_of
from ..loops import unawaited
from .item_queues import getting, item_taken, putting
from .triggers import FIRST_PAUSE, LONGEST_PAUSE, QueueTrigger

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from typing import Any, Callable

    from .session import Session

__all__ = ["FetchTrigger", "ScheduledPuts"]


class ScheduledPuts:
    """The items that ``put_threadsafe()`` has accepted, and that are not in the queue yet. For any thread.

    :param name: of the worker, for the log.
    :param lock: guards the items here, and the queue if it is one of asyncio.
    :param emptied: called in the loop when all items have been put.
    """

    def __init__(self, name: Callable[[], str], lock: Any, emptied: Callable[[], None]) -> None:
        self._name = name
        self._emptied = emptied
        self._queue: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None     # where to put; None as long as there is none
        self._lock = lock                   # guards what follows
        self._number = 0
        self._accepted: deque[tuple[int, Any]] = deque()    # each with its number, in order
        self._putting: dict[int, Any] = {}      # an asyncio task puts each of these

    def __len__(self) -> int:
        with self._lock:
            return len(self._accepted) + len(self._putting)

    def open(self, queue: Any, loop: asyncio.AbstractEventLoop) -> None:
        """Put what has been accepted, and what will be, in a loop."""
        if self._loop is not loop:
            self._queue, self._loop = queue, loop
            self._flush()

    def close(self) -> None:
        """Keep what is accepted from now on."""
        self._loop = None

    def add(self, item: Any) -> None:
        """Accept an item. It is put behind those that were accepted before."""
        with self._lock:
            self._number += 1
            self._accepted.append((self._number, item))
        self._flush()

    def _flush(self) -> None:
        loop = self._loop
        if loop is not None and self._accepted and not mailbox_of(loop).post(self._begin, loop):
            self._loop = None
            log.error("worker %s: %d item(s) cannot be put, since the loop of its queue is closed; they wait for its next start",
                      self._name(), len(self))

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """In the loop: put all that has been accepted, in its order."""
        while True:
            with self._lock:
                if not self._accepted:
                    return
                number, item = self._accepted.popleft()
                self._putting[number] = item
            unawaited.add(loop.create_task(self._put(number, item)))

    async def _put(self, number: int, item: Any) -> None:
        from asyncio import CancelledError

        putting.set((self._queue, partial(self._putting.pop, number, None)))
        try:
            await self._queue.put(item)
        except CancelledError:              # the loop is about to end
            with self._lock:
                if self._putting.pop(number, self) is not self:     # else the queue has it
                    self._accepted = deque(sorted([*self._accepted, (number, item)], key=lambda entry: entry[0]))
            raise
        except BaseException:
            log.exception("worker %s: its queue did not take an item, which is lost" if number in self._putting
                          else "worker %s: the put() of its queue raised after it took an item", self._name())
        with self._lock:
            self._putting.pop(number, None)
            is_last = not self
        if is_last:
            self._emptied()


class FetchTrigger(QueueTrigger):
    """When an item has been fetched from a queue whose ``get()`` is a coroutine function.

    :param queue: the queue.
    :param before: called in the loop before an item is asked for.
    :param fetched: called in the loop with an item that has been got, and takes it out of the hand.
    :param loop: where to fetch.
    :param holding: has the triggers whose ``get()`` has taken an item and has not returned it.
    :param name: of the worker, for the log.
    """

    def __init__(self, queue: Any, before: Callable[[], None], fetched: Callable[[Any, FetchTrigger], None],
                 loop: asyncio.AbstractEventLoop, holding: set[FetchTrigger], name: Callable[[], str]) -> None:
        super().__init__()
        self._queue = queue
        self._before = before
        self._fetched = fetched
        self._loop = loop
        self._holding = holding
        self._mailbox = mailbox_of(loop)
        self._name = name
        self._asked = False                 # an item has been asked for; for the ownership's holder, and the loop
        self._closed = False
        self._task: asyncio.Task[None] | None = None        # the loop's own, as is what follows
        self._pause = 0.0
        self._session: Session | None = None

    def item_put(self) -> None:
        """Nothing follows: the queue tells by its ``get()``."""

    def hold(self, has_item: bool) -> None:
        """The ``get()`` has taken an item, or has none in its hand. (queue's lock held)"""
        if has_item:
            self._holding.add(self)
        else:
            self._holding.discard(self)

    def may_repeat(self) -> bool:
        return bool(self._notes) and super().may_repeat()

    def begin(self, session: Session) -> None:
        self._session = session

    def schedule(self, session: Session) -> None:
        if self._asked or self.is_exhausted():
            return
        self._asked = True
        if not self._mailbox.post(self._begin, None):
            log.error("worker %s is stopped: the loop in which its queue runs is closed", self._name())
            session.stop_at_once()

    def close(self, session: Session) -> None:
        self._closed = True
        self._mailbox.post(self._cancel, None)

    def _begin(self, _: None) -> None:
        """In the loop: ask for an item."""
        if self._closed:
            return
        self._task = self._loop.create_task(self._fetch())
        unawaited.add(self._task)

    def _cancel(self, _: None) -> None:
        if self._task is not None and self not in self._holding:        # else the item is for the next start
            self._task.cancel()

    async def _fetch(self) -> None:
        from asyncio import CancelledError

        assert self._session is not None
        getting.set((self._queue, self.hold))
        try:
            self._before()
            item = await self._queue.get()
        except CancelledError:
            if self in self._holding:
                log.error("worker %s: the get() of its queue was cancelled after it took an item, which is lost unless it was put "
                          "back", self._name())
            self._asked = False
            self.hold(False)
            if self._session.active:
                log.error("worker %s is stopped: the get() of its queue was cancelled, by what it awaited or with its loop",
                          self._name())
                self._session.stop_at_once()
            raise
        except BaseException:
            log.exception("worker %s: its queue could not give an item", self._name())
            self.hold(False)
            self.take_no_more()
            self._session.request_step()
            # Not at once: nothing else keeps a queue that fails at once from filling the log and a core.
            self._pause = min(2 * self._pause, LONGEST_PAUSE) if self._pause else FIRST_PAUSE
            self._loop.call_later(self._pause, self._begin, None)
            return
        self._pause = 0.0
        self._asked = False
        self._fetched(item, self)
        item_taken(self._queue)
