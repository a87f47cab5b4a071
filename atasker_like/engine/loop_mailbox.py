"""How a thread or a coroutine waits for tasks, and how the end of a task wakes it.

A *waiter* is a callable without arguments. A wait makes its waiters. The thread that
finishes the task calls them after all locks are free. They never raise.

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
from time import monotonic

from .._patched import made_anew
from .current import current

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from typing import Any, Callable, MutableMapping


__all__ = ["FutureWaiter", "LoopMailbox", "mailbox_of"]


def _after_fork() -> None:
    """The only thread of a forked process is no pool thread, whatever it was in the parent."""
    global _mailboxes_lock
    current.member = current.mailbox = None
    _mailboxes_lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


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


class FutureWaiter:
    """A waiter that resolves a future of a loop, from whatever thread the task ends in."""

    __slots__ = ("mailbox", "future")

    def __init__(self) -> None:
        loop = _running_loop()
        self.mailbox = mailbox_of(loop)
        self.future: asyncio.Future[Any] = loop.create_future()

    def __call__(self) -> None:
        self.mailbox.post(_wake, self.future)

    async def wait(self, deadline: float | None) -> bool:
        """Wait until it has been called or the deadline passes. Return True if it has been called.

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
#: Guards _mailboxes; a handler that comes in between makes one too many.
_mailboxes_lock = made_anew(lambda: threading.RLock())


def mailbox_of(loop: asyncio.AbstractEventLoop) -> LoopMailbox:
    """Return the one mailbox of a loop."""
    mailbox: LoopMailbox | None = current.mailbox
    if mailbox is not None and mailbox._loop() is loop:
        return mailbox
    with _mailboxes_lock:
        found = _mailboxes.get(loop)
        if found is None:
            found = _mailboxes[loop] = LoopMailbox(loop)
    current.mailbox = found
    return found
