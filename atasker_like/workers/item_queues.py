"""Where the items of a queue worker wait: the worker's own queue, or an object of a class that the application chose.

Whatever puts an item there, the worker's methods or the application by the queue's own, the worker is told. Nobody
waits at the other end: the worker takes items only when it knows that there are some.
"""
from __future__ import annotations

import sys
from collections import deque
from queue import Empty
from threading import RLock

from .._inspect import is_coroutine_function, shown
from ..errors import InvalidTypeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import Future
    from typing import Any, Callable, Generator

    Notify = Callable[[], None]

__all__ = ["WorkerQueue", "is_asyncio_queue", "make_queue", "task_done"]


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
    """Say whether a class is a queue for coroutines, without importing asyncio."""
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
    lacking = [name for name in ("put", "put_nowait", "get_nowait", "qsize")
               if not callable(getattr(kind, name, None))]
    if kind.__name__ == "SimpleQueue" and kind.__module__.startswith("multiprocessing"):
        lacking = ["put_nowait"]
    if lacking:
        raise InvalidTypeError(f"q takes True or a queue class, and {kind.__name__} has no {', '.join(lacking)}")


def make_queue(kind: type[Any], notify: Notify) -> Any:
    """Make an object of a queue class that calls ``notify()`` whenever an item has been put into it."""
    made: Any
    if is_asyncio_queue(kind):
        from asyncio import Queue

        patient = type("_BlockingQueue", (_BlockingPut, Queue), {})
        bases = (_ThreadSafeAsyncioQueue, patient) if kind is Queue else (_ThreadSafeAsyncioQueue, kind, patient)
        made = type(kind.__name__, bases, {"__module__": kind.__module__})
    else:
        made = type(kind.__name__, (_NotifyingQueue, kind), {"__module__": kind.__module__})
    queue = made.__new__(made)
    queue._worker_notify = notify
    queue.__init__()
    return queue


class _NotifyingQueue:
    """In front of a queue class for threads: its own put comes first, then the notification, with no lock held."""

    _worker_notify: Notify

    def put(self, *args: Any, **kwargs: Any) -> Any:
        put = super().put           # type: ignore[misc]
        if is_coroutine_function(put):
            return self._put_later(put, args, kwargs)
        result = put(*args, **kwargs)
        self._worker_notify()
        return result

    async def _put_later(self, put: Callable[..., Any], args: tuple[Any, ...], kwargs: Any) -> Any:
        result = await put(*args, **kwargs)
        self._worker_notify()
        return result

    def put_nowait(self, *args: Any, **kwargs: Any) -> Any:
        result = super().put_nowait(*args, **kwargs)        # type: ignore[misc]
        self._worker_notify()
        return result


class _ThreadSafeAsyncioQueue:
    """In front of asyncio's queues, which any thread may use here: a lock guards them, and whoever waits for room, or for
    the end of all items, is woken in a loop of his own. So the queue belongs to no loop."""

    _worker_notify: Notify
    _unfinished_tasks: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._worker_lock = RLock()         # guards the queue and what follows; whoever holds it runs no code but the queue's
        self._worker_putters: deque[Future[None]] = deque()
        self._worker_joiners: deque[Future[None]] = deque()
        super().__init__(*args, **kwargs)

    def put_nowait(self, item: Any) -> None:
        with self._worker_lock:
            super().put_nowait(item)        # type: ignore[misc]
        self._worker_notify()

    def get_nowait(self) -> Any:
        with self._worker_lock:
            item = super().get_nowait()     # type: ignore[misc]
        if self._worker_putters:            # whoever comes later has seen the room
            self._wakeup_next(self._worker_putters)
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
            if is_last:
                self._worker_wake_all(self._worker_joiners)

    def _wakeup_next(self, waiters: deque[Future[None]]) -> None:
        while True:
            with self._worker_lock:
                waiter = waiters.popleft() if waiters else None
            if waiter is None or _wake(waiter):
                return

    def _worker_wake_all(self, waiters: deque[Future[None]]) -> None:
        with self._worker_lock:
            woken = list(waiters)
            waiters.clear()
        for waiter in woken:
            _wake(waiter)


class _BlockingPut:
    """Behind the queue class that the application chose, and in front of asyncio's: what coroutines wait for."""

    async def put(self: Any, item: Any) -> None:
        is_new = True
        while True:
            with self._worker_lock:
                if not self.full() or getattr(self, "_is_shutdown", False):
                    super(_ThreadSafeAsyncioQueue, self).put_nowait(item)     # type: ignore[misc]
                    break
                waiter = self._worker_wait(self._worker_putters, is_new)
            try:
                await waiter
            except BaseException:
                if not self._worker_give_up(self._worker_putters, waiter):      # woken: the room is for the next one
                    self._wakeup_next(self._worker_putters)
                raise
            is_new = False                  # someone else was quicker: he keeps his turn
        self._worker_notify()

    async def join(self: Any) -> None:
        with self._worker_lock:
            if not self._unfinished_tasks:
                return
            waiter = self._worker_wait(self._worker_joiners, True)
        try:
            await waiter
        finally:
            self._worker_give_up(self._worker_joiners, waiter)

    def _worker_wait(self, waiters: deque[Future[None]], at_the_end: bool) -> Future[None]:
        """Be one of those who wait; the lock is held."""
        from asyncio import get_running_loop

        waiter: Future[None] = get_running_loop().create_future()
        (waiters.append if at_the_end else waiters.appendleft)(waiter)
        return waiter

    def _worker_give_up(self: Any, waiters: deque[Future[None]], waiter: Future[None]) -> bool:
        """Wait no longer; say whether nobody has woken the waiter yet."""
        with self._worker_lock:
            waits = waiter in waiters
            if waits:
                waiters.remove(waiter)
        return waits


def _wake(waiter: Future[None]) -> bool:
    """Wake someone who waits in a loop; say whether that reaches him soon."""
    loop = waiter.get_loop()
    if waiter.done():                       # cancelled
        return False
    try:
        loop.call_soon_threadsafe(_resolve, waiter)
    except RuntimeError:                    # the loop has been closed
        return False
    return loop.is_running()                # else it may run again, but who knows when


def _resolve(waiter: Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def task_done(queue: Any) -> None:
    """Tell a queue that counts that one of its items has been dealt with."""
    done = getattr(queue, "task_done", None)
    if done is not None:
        try:
            done()
        except ValueError:          # the application has said so itself
            pass
