"""Where the items of a queue worker wait: the worker's own queue, or an object of a class that the application chose.

Whatever puts an item there, the worker's methods or the application by the queue's own, the worker is told. Nobody
waits at the other end: the worker takes items only when it knows that there are some.
"""
from __future__ import annotations

import sys
from collections import deque
from queue import Empty
from threading import RLock

from .engine.calling import is_coroutine_function
from .errors import InvalidTypeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Deque, Generator, Tuple, Type

    Notify = Callable[[], None]

__all__ = ["Inbox", "is_asyncio_queue", "make_queue", "task_done"]


class _Put:
    """What :meth:`Inbox.put` returns: it is done, and may be awaited all the same."""

    __slots__ = ()

    def __await__(self) -> "Generator[Any, None, None]":
        return
        yield


_PUT = _Put()


class Inbox:
    """The queue of a worker that did not choose a class: without bounds, for any thread, signal handlers included.

    ``put`` can be called and can be awaited.
    """

    __slots__ = ("_items", "_notify")

    def __init__(self, notify: "Notify") -> None:
        # Shared without a lock: appending to a deque and taking from it are each one step, on every build.
        self._items: "Deque[Any]" = deque()
        self._notify = notify

    def put_nowait(self, item: "Any") -> None:
        """Add an item; never blocks."""
        self._items.append(item)
        self._notify()

    def put(self, item: "Any") -> _Put:
        """Add an item; never blocks. The result may be awaited, and need not be."""
        self._items.append(item)
        self._notify()
        return _PUT

    def get_nowait(self) -> "Any":
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


def is_asyncio_queue(kind: "Any") -> bool:
    """Say whether a class is a queue for coroutines, without importing asyncio."""
    asyncio_queues = sys.modules.get("asyncio.queues")
    return asyncio_queues is not None and isinstance(kind, type) and issubclass(kind, asyncio_queues.Queue)


def check_queue_class(kind: "Any") -> None:
    """Refuse what a queue worker cannot take items from.

    :raises InvalidTypeError: (a TypeError) neither True nor a queue class.
    """
    if kind is True:
        return
    if not isinstance(kind, type):
        raise InvalidTypeError(f"q takes True or a queue class, such as queue.PriorityQueue, not {kind!r}")
    lacking = [name for name in ("put", "put_nowait", "get_nowait", "qsize")
               if not callable(getattr(kind, name, None))]
    if kind.__name__ == "SimpleQueue" and kind.__module__.startswith("multiprocessing"):
        lacking = ["put_nowait"]
    if lacking:
        raise InvalidTypeError(f"q takes True or a queue class, and {kind.__name__} has no {', '.join(lacking)}")


def make_queue(kind: "Type[Any]", notify: "Notify") -> "Any":
    """Make an object of a queue class that calls ``notify()`` whenever an item has been put into it."""
    made: "Any"
    if is_asyncio_queue(kind):
        made = type(kind.__name__, (_AsyncioQueue, kind), {"__module__": kind.__module__})
    else:
        made = type(kind.__name__, (_NotifyingQueue, kind), {"__module__": kind.__module__})
    queue = made.__new__(made)
    queue._worker_notify = notify
    queue.__init__()
    return queue


class _NotifyingQueue:
    """In front of a queue class for threads: its own put comes first, then the notification, with no lock held."""

    _worker_notify: "Notify"

    def put(self, *args: "Any", **kwargs: "Any") -> "Any":
        put = super().put           # type: ignore[misc]
        if is_coroutine_function(put):
            return self._put_later(put, args, kwargs)
        result = put(*args, **kwargs)
        self._worker_notify()
        return result

    async def _put_later(self, put: "Callable[..., Any]", args: "Tuple[Any, ...]", kwargs: "Any") -> "Any":
        result = await put(*args, **kwargs)
        self._worker_notify()
        return result

    def put_nowait(self, *args: "Any", **kwargs: "Any") -> "Any":
        result = super().put_nowait(*args, **kwargs)        # type: ignore[misc]
        self._worker_notify()
        return result


class _AsyncioQueue:
    """In front of asyncio's queues, which any thread may use here: a lock guards them, and who waits for room is woken
    in a loop of his own."""

    _worker_notify: "Notify"

    def __init__(self, *args: "Any", **kwargs: "Any") -> None:
        self._worker_lock = RLock()         # guards the queue; whoever holds it runs no code but the queue's
        super().__init__(*args, **kwargs)

    def put_nowait(self, item: "Any") -> None:
        with self._worker_lock:
            super().put_nowait(item)        # type: ignore[misc]
        self._worker_notify()

    def get_nowait(self) -> "Any":
        with self._worker_lock:
            return super().get_nowait()     # type: ignore[misc]

    def _wakeup_next(self, waiters: "Any") -> None:
        while waiters:
            waiter = waiters.popleft()
            if not waiter.done():
                waiter.get_loop().call_soon_threadsafe(_resolve, waiter)
                return

    def task_done(self) -> None:
        with self._worker_lock:
            waiters = getattr(getattr(self, "_finished", None), "_waiters", None)
            if not waiters:
                super().task_done()         # type: ignore[misc]
                return
        # Somebody waits in join(): that is to be told in his loop.
        waiters[0].get_loop().call_soon_threadsafe(super().task_done)      # type: ignore[misc]


def _resolve(waiter: "Any") -> None:
    if not waiter.done():
        waiter.set_result(None)


def task_done(queue: "Any") -> None:
    """Tell a queue that counts that one of its items has been dealt with."""
    done = getattr(queue, "task_done", None)
    if done is not None:
        try:
            done()
        except ValueError:          # the application has said so itself
            pass
