"""How a thread or a coroutine waits for tasks, and how whoever finishes a task wakes it.

A *watcher* is a callable without arguments. Watchers are made only when someone waits, are called by whoever
finished the task, after all locks are free, and never raise.

    task finishes ──> Latch        ──> a thread blocked in wait_completed, task.wait, task.value
                 └──> LoopMailbox  ──> one call_soon_threadsafe for all that finished since the last one

A pool thread that blocks lends its place to another task meanwhile: see :func:`block`.
"""
from __future__ import annotations

import os
import sys
import threading
import weakref
from collections import deque
from threading import TIMEOUT_MAX
from time import monotonic

from ..errors import InvalidTypeError, QueueFullError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from typing import Any, Callable, MutableMapping, Protocol, TypeVar

    T = TypeVar("T")

    class Lender(Protocol):
        """A pool thread, as seen from here."""

        task: Any

        def lend(self) -> None: ...
        def reclaim(self) -> None: ...

__all__ = ["FutureWatcher", "Gates", "Latch", "LoopMailbox", "at_once", "block", "current", "deadline_of", "mailbox_of",
           "remaining"]


class _Current(threading.local):
    """What this thread is: a pool thread or not, and the mailbox of the loop that it ran last."""

    member: Lender | None = None
    mailbox: LoopMailbox | None = None


current = _Current()


def _after_fork() -> None:
    """The only thread of a forked process is no pool thread, whatever it was in the parent."""
    global _mailboxes_lock
    current.member = current.mailbox = None
    _mailboxes_lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def deadline_of(timeout: float | None) -> float | None:
    """Turn a timeout in seconds into a point of the monotonic clock. None is for ever, 0 is now.

    Called once, where the timeout enters the library: what is passed on is the deadline.
    """
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise InvalidTypeError(f"timeout takes seconds or None, not {type(timeout).__name__}")
    return monotonic() + timeout


def remaining(deadline: float | None) -> float | None:
    """Return the seconds left until the deadline, never below 0; None for no deadline."""
    if deadline is None:
        return None
    return max(0.0, deadline - monotonic())


def block(acquire: Callable[..., bool], deadline: float | None) -> bool:
    """Call a lock's ``acquire`` and return what it says; a pool thread lends its place meanwhile."""
    timeout = -1.0 if deadline is None else min(max(0.0, deadline - monotonic()), TIMEOUT_MAX)
    if timeout == 0:
        return acquire(False)
    member = current.member
    if member is None:
        return acquire(True, timeout)
    member.lend()
    try:
        return acquire(True, timeout)
    finally:
        member.reclaim()


class _Hurried:
    """Stands for the pool thread that a thread is not, which :func:`block` asks to lend its place before it waits."""

    task = None

    def lend(self) -> None:
        raise QueueFullError("its queue is full; try again later")

    def reclaim(self) -> None:
        pass


_hurried = _Hurried()


def at_once(call: Callable[..., T], *arguments: Any) -> T:
    """Return ``call(*arguments)``, made in a thread that must not wait, such as a loop's.

    :raises QueueFullError: it was about to wait for room in a pool or a lane.
    """
    before, current.member = current.member, _hurried
    try:
        return call(*arguments)
    finally:
        current.member = before


#: Seconds that a pool thread waits at its gate before it tries again without having been called.
GATE_PATIENCE = 0.005


class Gates:
    """Where pool threads wait for their pool's lock, without owning it before they run.

    A thread that blocks on a lock owns it as soon as it is free, and only then asks for the interpreter's own lock.
    While it waits for that, the thread that runs finds the lock taken, blocks too, and so hands the interpreter on: a
    convoy, in which each critical section costs two context switches. It forms by itself when a thread loses the
    interpreter inside a critical section, and does not dissolve.

    So a pool thread that finds the lock taken waits at a gate of its own, and tries again when it runs. The busy
    paths open the first gate when they have released the lock; after a rare one, or an interrupt, a thread at a gate
    tries by itself, a few milliseconds later. Other threads simply use ``with``: it is the one way to take a lock that
    a signal cannot cut in two, and signals come to the main thread only.
    """

    __slots__ = ("waiters",)

    def __init__(self) -> None:
        #: The closed gates, first come, first served. Shared without a lock: appending, removing and taking from a
        #: deque are each one step, on a free-threaded build too.
        self.waiters: deque[threading.Lock] = deque()

    def wait(self, acquire: Callable[..., bool]) -> None:
        """Take the lock that this is its acquire of, after trying has failed."""
        while True:
            gate = threading.Lock()         # guards nothing: it is what the thread sleeps on
            gate.acquire()
            self.waiters.append(gate)
            # Again, since it may have been released before the gate was there to be seen.
            if acquire(False):
                self._withdraw(gate)
                return
            gate.acquire(True, GATE_PATIENCE)
            self._withdraw(gate)
            if acquire(False):
                return

    def _withdraw(self, gate: threading.Lock) -> None:
        try:
            self.waiters.remove(gate)
        except ValueError:                  # it was opened
            pass

    def wake(self) -> None:
        """Open the first gate, after the lock has been released."""
        try:
            gate = self.waiters.popleft()
        except IndexError:
            return
        gate.release()


class Latch:
    """Opens when it has been called ``count`` times; made for one waiting thread.

    The gate is a bare lock, taken at birth and released when the count reaches zero: half the cost of a
    condition, and it can be waited for with a timeout and interrupted by a signal.
    """

    __slots__ = ("_left", "_gate")

    def __init__(self, count: int = 1) -> None:
        # One fewer than the calls, each of which takes one; the call that finds none is the last. Taking is one step,
        # so no lock is needed, nor would one do: a signal handler may call it in the middle of a call.
        self._left: deque[None] = deque([None] * (count - 1))
        self._gate = threading.Lock()
        self._gate.acquire()

    def __call__(self) -> None:
        try:
            self._left.pop()
        except IndexError:
            self._gate.release()

    def wait(self, deadline: float | None) -> bool:
        """Block until it opens, at the latest until the deadline; say whether it opened."""
        return block(self._gate.acquire, deadline)


#: Without the interpreter's lock, a write of one variable and a read of another may be seen in either order by
#: others: what relies on their order is done the longer way then.
_ORDERED: bool = getattr(sys, "_is_gil_enabled", lambda: True)()


class LoopMailbox:
    """Brings calls from any thread into one event loop, many with one wake-up."""

    __slots__ = ("_loop", "_posts", "_draining", "__weakref__")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)      # the mailbox must not keep a loop alive that nobody runs
        # Shared without a lock, since a finalizer may post while its thread does: a post is appended first, then
        # the flag is read; a drain clears the flag first, then takes all posts. A drain too many does no harm.
        self._posts: deque[tuple[Callable[[Any], None], Any]] = deque()
        self._draining = False

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        return self._loop()

    def post(self, call: Callable[[Any], None], argument: Any) -> bool:
        """Have ``call(argument)`` run in the loop soon. False when the loop is closed: nobody is left to tell."""
        loop = self._loop()
        self._posts.append((call, argument))
        if self._draining and _ORDERED and loop is not None and not loop.is_closed():
            return True                 # a drain is under way
        self._draining = True
        try:
            if loop is not None:
                return loop.call_soon_threadsafe(self.drain) is not None      # one line: see Pool.submit
        except RuntimeError:    # closed
            pass
        self._draining = False
        self._posts.clear()
        return False

    def hold(self) -> None:
        """In the loop's thread: wake nobody for what is posted from now on, as :meth:`drain` is called here soon."""
        self._draining = True

    def drain(self) -> None:
        """In the loop's thread: make the calls that have been posted."""
        self._draining = False
        posts = self._posts
        for _ in range(len(posts)):     # no more than there are: the loop has other work, too
            try:
                call, argument = posts.popleft()
            except IndexError:
                return                  # a drain before this one took them
            try:
                call(argument)
            except BaseException:       # the loop tells of it; it is no reason not to make the others
                self._draining = True
                self.loop.call_soon(self.drain)     # type: ignore[union-attr]  # it runs this
                raise


def _running_loop() -> asyncio.AbstractEventLoop:
    """asyncio.get_running_loop(), which takes this one's place at the first call: a loop runs, so asyncio is there."""
    global _running_loop
    from asyncio import get_running_loop

    _running_loop = get_running_loop
    return get_running_loop()


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class FutureWatcher:
    """A watcher that resolves a future of a loop, from whatever thread the task ends in."""

    __slots__ = ("_mailbox", "future")

    def __init__(self) -> None:
        loop = _running_loop()
        self._mailbox = mailbox_of(loop)
        self.future: asyncio.Future[Any] = loop.create_future()

    def __call__(self) -> None:
        self._mailbox.post(_wake, self.future)

    async def wait(self, deadline: float | None) -> bool:
        """Wait until it has been called, at the latest until the deadline; say whether it has.

        Not with :func:`asyncio.wait_for`: before Python 3.12 that swallows a cancellation which comes as the future is
        resolved.
        """
        future = self.future
        if deadline is None:
            await future
            return True
        left = deadline - monotonic()
        if left <= 0:
            return future.done()
        timer = future.get_loop().call_later(left, _give_up, future)
        try:
            return await future is not _LATE
        finally:
            timer.cancel()


_LATE = object()


def _give_up(future: asyncio.Future[Any]) -> None:
    if not future.done():
        future.set_result(_LATE)


_mailboxes: MutableMapping[asyncio.AbstractEventLoop, LoopMailbox] = weakref.WeakKeyDictionary()
_mailboxes_lock = threading.RLock()         # guards _mailboxes; a handler that comes in between makes one too many


def mailbox_of(loop: asyncio.AbstractEventLoop) -> LoopMailbox:
    """Return the one mailbox of a loop."""
    mailbox = current.mailbox
    if mailbox is not None and mailbox._loop() is loop:
        return mailbox
    with _mailboxes_lock:
        mailbox = _mailboxes.get(loop)
        if mailbox is None:
            mailbox = _mailboxes[loop] = LoopMailbox(loop)
    current.mailbox = mailbox
    return mailbox
