"""Where the items of a queue worker wait: the worker's own queue, or an object of a class that the application chose.

Whatever puts an item there, the worker's methods or the application by the queue's own, the worker is told. Nobody
waits at the other end: the worker takes items only when it knows that there are some.
"""
from __future__ import annotations

import sys
from collections import deque
from contextvars import ContextVar
from functools import partial
from queue import Empty
from threading import RLock

from .._inspect import is_coroutine_function, misfit, shown
from ..errors import InvalidTypeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import Future
    from typing import Any, Callable, Generator

    Notify = Callable[[], None]

__all__ = ["WorkerQueue", "check_queue_class", "getter_of", "has_own", "is_asyncio_queue", "item_taken", "make_queue",
           "size_of", "task_done"]


class _Put:
    """What :meth:`WorkerQueue.put` returns: it is done, and may be awaited all the same."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield


_PUT = _Put()


class WorkerQueue:
    """The queue of a worker that did not choose a class: without bounds, for any thread, signal handlers included.

    ``put`` can be called and can be awaited.
    """

    __slots__ = ("_items", "_notify")

    def __init__(self, notify: Notify) -> None:
        # Shared without a lock: appending to a deque and taking from it are each one step, on every build.
        self._items: deque[Any] = deque()
        self._notify = notify

    def put_nowait(self, item: Any) -> None:
        """Add an item; never blocks."""
        self._items.append(item)
        self._notify()

    def put(self, item: Any) -> _Put:
        """Add an item; never blocks. The result may be awaited, and need not be."""
        self._items.append(item)
        self._notify()
        return _PUT

    def get_nowait(self) -> Any:
        """Take the first item.

        :raises queue.Empty: there is none.
        """
        try:
            return self._items.popleft()
        except IndexError:
            raise Empty from None

    def qsize(self) -> int:
        """How many items wait."""
        return len(self._items)

    def empty(self) -> bool:
        """Say whether no item waits."""
        return not self._items

    def full(self) -> bool:
        """Always False: it has no bounds."""
        return False


def is_asyncio_queue(kind: Any) -> bool:
    """Return True for a queue class of asyncio, or one derived from it; does not import asyncio."""
    asyncio_queues = sys.modules.get("asyncio.queues")
    return asyncio_queues is not None and isinstance(kind, type) and issubclass(kind, asyncio_queues.Queue)


def check_queue_class(kind: Any) -> None:
    """Refuse what a queue worker cannot take items from.

    :raises InvalidTypeError: (a TypeError) neither True nor a queue class.
    """
    if kind is True:
        return
    if not isinstance(kind, type):
        raise InvalidTypeError(f"q takes True or a queue class, such as queue.PriorityQueue, not {shown(kind)}")
    lacking = [name for name in ("put",) if not callable(getattr(kind, name, None))]
    if not (callable(getattr(kind, "get", None)) or callable(getattr(kind, "get_nowait", None))):
        lacking.append("get")
    if lacking:
        raise InvalidTypeError(f"q takes True or a queue class, and {kind.__name__} has no {', '.join(lacking)}")


#: In the context of a coroutine that moves an item of a worker: the queue, and what to call, with the queue's lock held, when
#: the item is in the queue; or when the queue was asked for an item, with True if it gave one.
putting: ContextVar[tuple[Any, Callable[[], object]] | None] = ContextVar("putting", default=None)
getting: ContextVar[tuple[Any, Callable[[bool], object]] | None] = ContextVar("getting", default=None)


def make_queue(kind: type[Any], notify: Notify, lock: Any = None) -> Any:
    """Make an object of a queue class that calls ``notify()`` whenever an item has been put into it.

    :param lock: an RLock that guards a queue of asyncio (default: one of its own).
    """
    bases: tuple[Any, ...]
    if is_asyncio_queue(kind):
        from asyncio import Queue

        waiting = type("_WaitingQueue", (_WaitingMethods, Queue), {})
        bases = (_ThreadSafeAsyncioQueue, waiting) if kind is Queue else (_ThreadSafeAsyncioQueue, kind, waiting)
    elif hasattr(kind, "put_nowait"):
        bases = (_NotifyingQueue, kind)
    else:
        bases = (_NotifyingPut, kind)
    made: Any = type(kind.__name__, bases, {"__module__": kind.__module__})
    queue = made.__new__(made)
    queue._worker_notify = notify
    queue._worker_lock = lock or RLock()
    queue._worker_count = None if hasattr(kind, "qsize") else deque()
    queue.__init__()
    return queue


def has_own(kind: Any, name: str) -> bool:
    """Return True if a queue class has a method that the standard library has not."""
    for base in kind.__mro__:
        if name in vars(base):
            return base.__module__ not in ("queue", "_queue", "asyncio.queues", "multiprocessing.queues")
    return False


def getter_of(kind: Any, queue: Any) -> Callable[[], Any] | None:
    """Return the function that takes an item at once, or raises; None if ``get()`` is a coroutine function to be awaited."""
    if kind is True or not has_own(kind, "get"):
        getter: Callable[[], Any] = queue.get_nowait
        return getter
    if is_coroutine_function(kind.get):
        return None
    if misfit(queue.get, (), {"block": False}) is None:
        return partial(queue.get, block=False)
    return partial(_get_if_there, queue)


def _get_if_there(queue: Any) -> Any:
    if not size_of(queue):
        raise Empty
    return queue.get()


def size_of(queue: Any) -> int:
    """Return how many items a queue has. For one without ``qsize()``, what has been put and not taken is counted."""
    qsize = getattr(queue, "qsize", None)
    return len(queue._worker_count) if qsize is None else int(qsize())


def item_taken(queue: Any) -> None:
    """Count an item that has been taken from a queue."""
    count = getattr(queue, "_worker_count", None)
    if count:
        try:
            count.pop()
        except IndexError:
            pass


class _NotifyingPut:
    """In front of a queue class: its own ``put`` comes first, then the notification, with no lock held."""

    _worker_notify: Notify
    _worker_count: deque[None] | None       # as many as items were put and not taken; each change is one step

    def put(self, *args: Any, **kwargs: Any) -> Any:
        put = super().put           # type: ignore[misc]
        if is_coroutine_function(put):
            return self._put_later(put, args, kwargs)
        result = put(*args, **kwargs)
        self._worker_put()
        return result

    async def _put_later(self, put: Callable[..., Any], args: tuple[Any, ...], kwargs: Any) -> Any:
        result = await put(*args, **kwargs)
        self._worker_put()
        return result

    def _worker_put(self) -> None:
        if self._worker_count is not None:
            self._worker_count.append(None)
        self._worker_notify()


class _NotifyingQueue(_NotifyingPut):
    """The same, of a class that has ``put_nowait`` as well."""

    def put_nowait(self, *args: Any, **kwargs: Any) -> Any:
        result = super().put_nowait(*args, **kwargs)        # type: ignore[misc]
        self._worker_notify()
        return result


class _Waiter:
    """A coroutine that waits in a loop of its own, for room or for an item."""

    __slots__ = ("_future",)

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Wait once more; in the waiter's loop."""
        from asyncio import get_running_loop

        self._future: Future[None] = get_running_loop().create_future()

    def __await__(self) -> Generator[Any, None, None]:
        return self._future.__await__()

    def wake(self) -> bool:
        """Wake it; return False if that does not reach it soon."""
        loop = self._future.get_loop()
        if self._future.done():                 # it has been woken, or cancelled
            return not self._future.cancelled()
        try:
            loop.call_soon_threadsafe(_resolve, self._future)
        except RuntimeError:                    # the loop has been closed
            return False
        return loop.is_running()                # else it may run again, some time


def _resolve(future: Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class _ThreadSafeAsyncioQueue:
    """In front of asyncio's queues, which any thread may use here. A lock guards them, and whatever waits for room, for an
    item or for the end of all items is woken in a loop of its own. So the queue belongs to no loop."""

    _worker_notify: Notify
    _worker_lock: Any               # guards the queue and what follows; only the queue's own code runs with it
    _unfinished_tasks: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._worker_putters: deque[_Waiter] = deque()
        self._worker_getters: deque[_Waiter] = deque()
        self._worker_joiners: deque[_Waiter] = deque()
        super().__init__(*args, **kwargs)

    def put_nowait(self, item: Any) -> None:
        with self._worker_lock:
            self._worker_add(item)
        self._worker_item_added()

    def _worker_add(self, item: Any) -> None:
        """Put an item, or raise. (lock held)"""
        super().put_nowait(item)            # type: ignore[misc]
        under_way = putting.get()
        if under_way is not None and under_way[0] is self:
            under_way[1]()

    def get_nowait(self) -> Any:
        with self._worker_lock:
            item = self._worker_take()
        self._worker_wake_first(self._worker_putters)
        return item

    def _worker_take(self) -> Any:
        """Take an item, or raise. (lock held)"""
        self._worker_note_get(False)
        item = super().get_nowait()         # type: ignore[misc]
        self._worker_note_get(True)
        return item

    def _worker_note_get(self, has_item: bool) -> None:
        """If the calling coroutine is a worker's get(): note that it has an item, or asks for the next one. (lock held)"""
        under_way = getting.get()
        if under_way is not None and under_way[0] is self:
            under_way[1](has_item)

    def task_done(self) -> None:
        with self._worker_lock:
            super().task_done()             # type: ignore[misc]
            is_last = not self._unfinished_tasks
        if is_last:
            self._worker_wake_all(self._worker_joiners)

    if sys.version_info >= (3, 13):
        def shutdown(self, immediate: bool = False) -> None:
            with self._worker_lock:
                super().shutdown(immediate)     # type: ignore[misc]
                is_last = not self._unfinished_tasks
            self._worker_wake_all(self._worker_putters)
            self._worker_wake_all(self._worker_getters)
            if is_last:
                self._worker_wake_all(self._worker_joiners)

    def worker_put_if_room(self, item: Any) -> bool:
        """Put an item if there is room and nothing waits for room; return False if not."""
        with self._worker_lock:
            if self._worker_putters or self.full():     # type: ignore[attr-defined]
                return False
            self._worker_add(item)
        self._worker_item_added()
        return True

    def _worker_item_added(self) -> None:
        self._worker_wake_first(self._worker_getters)
        self._worker_notify()

    def _worker_wake_first(self, waiters: deque[_Waiter]) -> None:
        """Wake the first that can be woken. It stays the first until it has got what it waits for."""
        while waiters:                      # what comes later has seen the change
            with self._worker_lock:
                if not waiters or waiters[0].wake():
                    return
                waiters.popleft()

    def _worker_wake_all(self, waiters: deque[_Waiter]) -> None:
        with self._worker_lock:
            for waiter in waiters:
                waiter.wake()


class _WaitingMethods:
    """Behind the queue class that the application chose, and in front of asyncio's: what coroutines wait for.

    Waiters of one kind have their turn in the order in which they came.
    """

    async def put(self: Any, item: Any) -> None:
        def try_put() -> bool:
            if self.full() and not getattr(self, "_is_shutdown", False):
                return False
            self._worker_add(item)
            return True

        await self._worker_wait_for(self._worker_putters, try_put)
        self._worker_item_added()

    async def get(self: Any) -> Any:
        taken: list[Any] = []
        with self._worker_lock:
            self._worker_note_get(False)

        def try_get() -> bool:
            if self.empty() and not getattr(self, "_is_shutdown", False):
                return False
            taken.append(self._worker_take())
            return True

        await self._worker_wait_for(self._worker_getters, try_get)
        self._worker_wake_first(self._worker_putters)
        return taken.pop()

    async def join(self: Any) -> None:
        await self._worker_wait_for(self._worker_joiners, lambda: not self._unfinished_tasks)

    async def _worker_wait_for(self: Any, waiters: deque[_Waiter], attempt: Callable[[], bool]) -> None:
        """Wait until an attempt, made with the lock held, succeeds. The next one is woken then, since there may be more."""
        waiter = None
        try:
            while True:
                with self._worker_lock:
                    if (not waiters or waiters[0] is waiter or waiters is self._worker_joiners) and attempt():
                        return
                    if waiter is None:
                        waiter = _Waiter()
                        waiters.append(waiter)
                    elif waiter in waiters:
                        waiter.renew()
                    else:                   # its loop did not run when it was to be woken: it comes first again
                        waiter.renew()
                        waiters.appendleft(waiter)
                await waiter
        finally:
            with self._worker_lock:
                if waiter is not None and waiter in waiters:
                    waiters.remove(waiter)
            self._worker_wake_first(waiters)


def task_done(queue: Any) -> None:
    """Tell a queue that counts that one of its items has been dealt with."""
    done = getattr(queue, "task_done", None)
    if done is not None:
        try:
            done()
        except ValueError:          # the application has said so itself
            pass
