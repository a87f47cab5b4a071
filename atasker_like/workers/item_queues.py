"""The queues of queue workers: their own queue, and classes of the application.

Each way to put an item, by the worker or by the queue's own methods, notifies the worker. Nothing
blocks at the other end: the worker takes an item only when it knows that there is one.
"""
from __future__ import annotations

import sys
from collections import deque
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from queue import Empty

from .._atomics import RLock
from .._inspect import is_coroutine_function, shown, signature_error, signature_of
from ..errors import InvalidTypeError
from ..loops import call_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import Future
    from typing import Any, Callable, Generator

    Notify = Callable[[], None]
    #: Returns True if the worker has nothing to do; else calls its argument when that may be so.
    IsIdle = Callable[[Callable[[], object]], bool]


#: Set in a coroutine that puts an item for a worker: the queue, and the call to make when the item
#: is in it. The call is made with the queue's lock held.
putting: ContextVar[tuple[Any, Callable[..., object]] | None]
putting = ContextVar("putting", default=None)

#: Set in a coroutine that gets an item for a worker: the queue, and the call to make with True when
#: it has taken an item, and with False before it takes the next one. The calls are made with the
#: queue's lock held.
getting: ContextVar[tuple[Any, Callable[..., object]] | None]
getting = ContextVar("getting", default=None)


class _Put:
    """The result of :meth:`WorkerQueue.put`, which can be awaited and need not be."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield


_PUT = _Put()


class WorkerQueue:
    """The unbounded queue of a worker without a queue class.

    Any thread and any signal handler may use it; :meth:`get` and :meth:`join` are for coroutines.
    """

    __slots__ = ("_items", "_notify", "_is_idle", "_getters")

    #: As in ``asyncio.Queue``: the number of items has no limit.
    maxsize = 0

    def __init__(self, notify: Notify, is_idle: IsIdle) -> None:
        # Shared without a lock: appending to a deque and taking from it are each one step, on every
        # build.
        self._items: deque[Any] = deque()
        self._notify = notify
        self._is_idle = is_idle
        self._getters: deque[_Waiter] = deque()

    def put_nowait(self, item: Any) -> None:
        """Add an item. Never blocks."""
        self._items.append(item)
        self._notify()
        if self._getters:
            self._wake_getter()

    def put(self, item: Any) -> _Put:
        """Add an item. Never blocks. The result can be awaited, and need not be."""
        self.put_nowait(item)
        return _PUT

    def get_nowait(self) -> Any:
        """Take the first item.

        :raises queue.Empty: there is none.
        """
        try:
            return self._items.popleft()
        except IndexError:
            raise Empty from None

    async def get(self) -> Any:
        """Take the first item that the worker has not taken; wait until there is one."""
        while True:
            try:
                return self._items.popleft()
            except IndexError:
                pass
            waiter = _Waiter()
            self._getters.append(waiter)
            try:
                if not self._items:         # else an item came before the waiter was there
                    await waiter
            except BaseException:
                if self._items:             # this waiter may have been woken for it
                    self._wake_getter()
                raise
            finally:
                with suppress(ValueError):
                    self._getters.remove(waiter)

    def _wake_getter(self) -> None:
        """Wake the first coroutine that waits for an item and can be woken."""
        while self._getters:
            try:
                waiter = self._getters.popleft()
            except IndexError:
                return
            if waiter.wake():
                return

    def task_done(self) -> None:
        """Do nothing: the worker counts its items itself."""

    async def join(self) -> None:
        """Wait until the worker has handled all items, or is stopped."""
        while True:
            waiter = _Waiter()
            if self._is_idle(waiter.wake):
                return
            await waiter

    def qsize(self) -> int:
        """Return the number of items that wait."""
        return len(self._items)

    def empty(self) -> bool:
        """Return True if no item waits."""
        return not self._items

    def full(self) -> bool:
        """Return False: the queue is unbounded."""
        return False


# -- queue classes ---------------------------------------------------------------------------------


def is_asyncio_queue(kind: Any) -> bool:
    """Return True for a queue class of asyncio, or one derived from it.

    This does not import asyncio.
    """
    asyncio_queues = sys.modules.get("asyncio.queues")
    return (asyncio_queues is not None and isinstance(kind, type)
            and issubclass(kind, asyncio_queues.Queue))


def check_queue_class(kind: Any) -> None:
    """Refuse a class that has no methods to put items and to get them.

    :raises InvalidTypeError: (a TypeError) neither True nor a queue class.
    """
    if kind is True:
        return
    if not isinstance(kind, type):
        raise InvalidTypeError("q takes True or a queue class, such as queue.PriorityQueue, not "
                               f"{shown(kind)}")
    lacking = [names[0] for names in (("put",), ("get", "get_nowait"))
               if not any(callable(getattr(kind, name, None)) for name in names)]
    if lacking:
        raise InvalidTypeError(f"q takes True or a queue class, and {kind.__name__} has no "
                               f"{', '.join(lacking)}")


def make_queue(kind: type[Any], notify: Notify, lock: Any = None) -> Any:
    """Return an object of a queue class that calls ``notify()`` after each put.

    :param lock: an RLock that guards a queue of asyncio (default: its own).
    """
    bases: tuple[Any, ...]
    if is_asyncio_queue(kind):
        from asyncio import Queue

        waiting = type("_WaitingQueue", (_WaitingMethods, Queue), {})
        bases = (_ThreadSafeAsyncioQueue, *(() if kind is Queue else (kind,)), waiting)
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
    """Return True if a queue class has a method that is not the standard library's."""
    for base in kind.__mro__:
        if name in vars(base):
            return base.__module__ not in ("queue", "_queue", "asyncio.queues",
                                           "multiprocessing.queues")
    return False


def getter_of(kind: Any, queue: Any) -> Callable[[], Any] | None:
    """Return a function that takes an item at once, or raises.

    Return None if ``get()`` is a coroutine function of the class.
    """
    if kind is True or not has_own(kind, "get"):
        getter: Callable[[], Any] = queue.get_nowait
        return getter
    if is_coroutine_function(kind.get):
        return None
    if signature_error(signature_of(queue.get), (), {"block": False}) is None:
        return partial(queue.get, block=False)
    return partial(_get_if_there, queue)


def _get_if_there(queue: Any) -> Any:
    if not size_of(queue):
        raise Empty
    return queue.get()


def size_of(queue: Any) -> int:
    """Return the number of items in a queue.

    For one without ``qsize()``, the items put and not taken are counted.
    """
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
    """A base in front of a queue class.

    Its own ``put`` comes first, then the notification, with no lock held.
    """

    _worker_notify: Notify
    # one entry for each item put and not taken; each change is one step
    _worker_count: deque[None] | None

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
    """The same for a class that also has ``put_nowait``."""

    def put_nowait(self, *args: Any, **kwargs: Any) -> Any:
        result = super().put_nowait(*args, **kwargs)        # type: ignore[misc]
        self._worker_notify()
        return result


# -- queues of asyncio, for any thread -------------------------------------------------------------


class _Waiter:
    """A coroutine that waits, in its own loop, for room or for an item."""

    __slots__ = ("_future",)

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Wait once more. For the waiter's loop."""
        from asyncio import get_running_loop

        self._future: Future[None] = get_running_loop().create_future()

    def __await__(self) -> Generator[Any, None, None]:
        return self._future.__await__()

    def wake(self) -> bool:
        """Wake the coroutine. Return False if the call does not reach it soon."""
        loop = self._future.get_loop()
        if self._future.done():                 # it has been woken or cancelled
            return not self._future.cancelled()
        # A loop that does not run may run again later.
        return call_in(loop, _resolve, self._future) and loop.is_running()


def _resolve(future: Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class _ThreadSafeAsyncioQueue:
    """A base in front of a queue class of asyncio: any thread may use the queue.

    A lock guards the queue. Each coroutine that waits for room, for an item or for the end of all
    items is woken in its own loop. So the queue belongs to no loop.
    """

    _worker_notify: Notify
    # guards the queue and the waiters; no other code than the queue's own runs with it
    _worker_lock: Any
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

    def get_nowait(self) -> Any:
        with self._worker_lock:
            item = self._worker_take()
        self._worker_wake_first(self._worker_putters)
        return item

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
        """Put an item and return True, if there is room and nothing waits for it."""
        with self._worker_lock:
            if self._worker_putters or self.full():     # type: ignore[attr-defined]
                return False
            self._worker_add(item)
        self._worker_item_added()
        return True

    def _worker_add(self, item: Any) -> None:
        """Put an item or raise. (lock held)"""
        super().put_nowait(item)            # type: ignore[misc]
        self._worker_note(putting)

    def _worker_take(self) -> Any:
        """Take an item or raise. (lock held)"""
        self._worker_note(getting, False)
        item = super().get_nowait()         # type: ignore[misc]
        self._worker_note(getting, True)
        return item

    def _worker_note(self, variable: ContextVar[Any], *arguments: bool) -> None:
        """Make the call for what a worker does here, if it calls. (lock held)"""
        under_way = variable.get()
        if under_way is not None and under_way[0] is self:
            under_way[1](*arguments)

    def _worker_item_added(self) -> None:
        self._worker_wake_first(self._worker_getters)
        self._worker_notify()

    def _worker_wake_first(self, waiters: deque[_Waiter]) -> None:
        """Wake the first waiter that can be woken.

        It stays the first until it has got what it waits for.
        """
        while waiters:                      # a waiter that comes later has seen the change
            with self._worker_lock:
                if not waiters or waiters[0].wake():
                    return
                waiters.popleft()

    def _worker_wake_all(self, waiters: deque[_Waiter]) -> None:
        with self._worker_lock:
            for waiter in waiters:
                waiter.wake()


class _WaitingMethods:
    """A base in front of ``asyncio.Queue``: its coroutine functions.

    Waiters of one kind are served in the order in which they came.
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
            self._worker_note(getting, False)

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

    async def _worker_wait_for(self: Any, waiters: deque[_Waiter],
                               attempt: Callable[[], bool]) -> None:
        """Wait until an attempt succeeds, which is made with the lock held.

        Then wake the next waiter.
        """
        waiter = None
        try:
            while True:
                with self._worker_lock:
                    is_first = not waiters or waiters[0] is waiter
                    if (is_first or waiters is self._worker_joiners) and attempt():
                        return
                    if waiter is None:
                        waiter = _Waiter()
                        waiters.append(waiter)
                    else:
                        waiter.renew()
                        if waiter not in waiters:
                            # its loop did not run when it was woken: it comes first again
                            waiters.appendleft(waiter)
                await waiter
        finally:
            with self._worker_lock:
                if waiter is not None and waiter in waiters:
                    waiters.remove(waiter)
            self._worker_wake_first(waiters)
