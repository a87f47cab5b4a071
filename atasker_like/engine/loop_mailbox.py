"""LoopMailbox: the end of a task wakes coroutines in the loop that they wait in.

A *waiter* is a callable without arguments, made by a wait for a task. The thread that finishes the
task calls its waiters after all locks are free. They never raise.

    task finishes ──> Latch        ──> a thread blocked in wait_completed, task.wait, task.value
                 └──> LoopMailbox  ──> one call_soon_threadsafe for all that ended since the last

A pool thread that blocks lends its slot to another task meanwhile: see :func:`block`.
"""
from __future__ import annotations

import os
import weakref
from collections import deque
from time import monotonic

from .._atomics import FREE_THREADED, RLock
from .._patched import made_anew
from .current import current

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from typing import Any, Callable, MutableMapping


def _after_fork() -> None:
    # The only thread of a forked process is no pool thread, even if it was one in the parent.
    global _mailboxes_lock
    current.pool_thread = current.mailbox = None
    _mailboxes_lock = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class LoopMailbox:
    """Brings calls from any thread into one event loop, many with one wake-up."""

    __slots__ = ("_loop", "_posts", "_draining", "__weakref__")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)      # the mailbox must not keep an unused loop alive
        # Shared without a lock, since a finalizer may post while its thread does. A post is
        # appended first, then the flag is read. A drain clears the flag first, then takes all
        # posts. A needless drain does no harm.
        self._posts: deque[tuple[Callable[[Any], None], Any]] = deque()
        self._draining = False

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        return self._loop()

    def post(self, call: Callable[[Any], None], argument: Any) -> bool:
        """Run ``call(argument)`` in the loop soon.

        Return False, without a call, if it is closed.
        """
        loop = self._loop()
        self._posts.append((call, argument))
        # Without the interpreter's lock, other threads may see a write of one variable and a read
        # of another in either order. Then each post wakes the loop.
        if (self._draining and not FREE_THREADED
                and loop is not None and not loop.is_closed()):
            return True                 # a drain is under way
        self._draining = True
        try:
            if loop is not None:
                # One line, so that no interrupt comes between the call and its result: see
                # Pool.submit.
                return loop.call_soon_threadsafe(self.drain) is not None
        except RecursionError:  # a RuntimeError, too
            self._draining = False
            raise
        except RuntimeError:    # closed
            pass
        self._draining = False
        self._posts.clear()
        return False

    def hold(self) -> None:
        """Post without a wake-up from now on.

        The caller, in the loop's thread, drains soon.
        """
        self._draining = True

    def drain(self) -> None:
        """Make the posted calls, in the loop's thread."""
        self._draining = False
        posts = self._posts
        # Calls that are posted meanwhile wait: the loop has other work, too.
        for _ in range(len(posts)):
            try:
                call, argument = posts.popleft()
            except IndexError:
                return                  # a drain before this one took them
            try:
                call(argument)
            except BaseException:       # the loop reports it; a later drain makes the other calls
                self._draining = True
                self.loop.call_soon(self.drain)     # type: ignore[union-attr]  # the loop is alive
                raise


def _running_loop() -> asyncio.AbstractEventLoop:
    # The first call replaces this function by asyncio.get_running_loop(). A loop runs, so asyncio
    # is imported.
    global _running_loop
    from asyncio import get_running_loop

    _running_loop = get_running_loop
    return get_running_loop()


def _wake(future: asyncio.Future[Any], result: Any = None) -> None:
    if not future.done():
        future.set_result(result)


class FutureWaiter:
    """A waiter that resolves a future of a loop, called in any thread."""

    __slots__ = ("mailbox", "future")

    def __init__(self) -> None:
        loop = _running_loop()
        self.mailbox: LoopMailbox = mailbox_of(loop)
        self.future: asyncio.Future[Any] = loop.create_future()

    def __call__(self) -> None:
        self.mailbox.post(_wake, self.future)

    async def wait(self, deadline: float | None) -> bool:
        """Wait until the waiter is called or the deadline passes.

        Return True if it was called.

        Not with :func:`asyncio.wait_for`: before Python 3.12 that swallows a cancellation which
        comes as the future is resolved.
        """
        future = self.future
        if deadline is None:
            await future
            return True
        left = deadline - monotonic()
        if left <= 0:
            return future.done()
        timer = future.get_loop().call_later(left, _wake, future, _LATE)
        try:
            return await future is not _LATE
        finally:
            timer.cancel()


#: The result of the future of a waiter whose deadline has passed.
_LATE = object()

_mailboxes: MutableMapping[asyncio.AbstractEventLoop, LoopMailbox] = weakref.WeakKeyDictionary()
#: Guards _mailboxes. A signal handler that comes in between makes one mailbox more than needed.
_mailboxes_lock = made_anew(lambda: RLock())


def mailbox_of(loop: asyncio.AbstractEventLoop) -> LoopMailbox:
    """Return the mailbox of a loop, which has only one."""
    mailbox: LoopMailbox | None = current.mailbox
    if mailbox is not None and mailbox._loop() is loop:
        return mailbox
    with _mailboxes_lock:
        found = _mailboxes.get(loop)
        if found is None:
            found = _mailboxes[loop] = LoopMailbox(loop)
    current.mailbox = found
    return found
