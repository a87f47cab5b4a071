"""WaitGroup: calls that a run waits for beside its tasks, such as submissions and callbacks.

No lock guards it. A signal handler or a finalizer may interrupt any line, and an interrupt may end
the execution at any line. So each step is a single operation, and a repeated step does no harm. A
waiter registers first and then checks; a finisher removes its entry first and then wakes the
waiters. Hence no wake-up is lost.
"""
from __future__ import annotations

import threading
from _thread import get_ident, start_new_thread
from functools import partial

from .._atomics import FREE_THREADED, release
from .current import current
from .loop_mailbox import FutureWaiter
from .wait_graph import await_begins, await_ends, block_on
from .waits import WaitedCall, named

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Sequence


class _GroupCall(WaitedCall):
    """A call of a group, for the graph of waits."""

    __slots__ = ("_group", "_call")

    def __init__(self, group: WaitGroup, call: Any) -> None:
        self._group = group
        self._call = call

    def done(self) -> bool:
        return self._call not in self._group.calls

    def thread(self) -> int:
        return self._group.calls.get(self._call, 0)

    def label(self) -> str:
        task = getattr(self._call, "task", None)
        if task is None:
            return "a hook or a late done callback of a queue"
        return f"a done callback of {named(task)}"


class WaitGroup:
    """Calls that are to return before a wait ends. Any hashable object can stand for a call."""

    def __init__(self) -> None:
        #: The expected calls, each with the id of the thread that makes it, or 0.
        self.calls: dict[Any, int] = {}
        #: The expected calls of tasks under submission, with the id of the submitting thread.
        self.submitting: dict[Any, int] = {}
        #: By call: functions to call when it has returned.
        self._waiters: dict[Any, list[Callable[[], Any]]] = {}

    # -- the calls ---------------------------------------------------------------------------------

    def add(self, call: Any) -> None:
        """Expect a call."""
        self.calls[call] = 0

    def add_submitting(self, call: Any) -> None:
        """Expect a call that belongs to a task which this thread is submitting."""
        self.submitting[call] = get_ident()
        self.calls[call] = 0

    def enter(self, call: Any) -> None:
        """Note that this thread makes the call now."""
        self.calls[call] = get_ident()

    def submitted(self, calls: Iterable[Any]) -> None:
        """Note that tasks are not under submission any more. Their calls are still expected."""
        if self.submitting:
            for call in calls:
                self.submitting.pop(call, None)

    def done(self, call: Any) -> None:
        """Note that a call has returned, or will not be made. Interrupted callers repeat this."""
        self.calls.pop(call, None)
        if self._waiters or FREE_THREADED:
            # Called before they are removed: an interrupt in between would lose them.
            for waiter in tuple(self._waiters.get(call, ())):
                waiter()
            self._waiters.pop(call, None)

    def make(self, call: Any, function: Callable[..., Any], *arguments: Any) -> None:
        """Call a function as a call of this group."""
        outer = current.calls
        try:
            try:
                self.enter(call)
                current.calls = (self, call, outer)
                function(*arguments)
            finally:
                current.calls = outer
                self.done(call)
        except RecursionError:
            # Perhaps done() had no room: only what enter() needed is certain.
            start_new_thread(self.done, (call,))
            raise
        except BaseException:           # interrupted, perhaps in one of the last two lines
            current.calls = outer
            self.done(call)
            raise

    def is_inside(self) -> bool:
        """Return True if a call of this group made this call: the thread is in :meth:`make`."""
        entry = current.calls
        while entry is not None:
            if entry[0] is self:
                return True
            entry = entry[2]
        return False

    def is_in_current_thread(self) -> bool:
        """Return True if this thread makes one of the calls; it may be in a signal handler."""
        return get_ident() in self.calls.copy().values()

    # -- waiting -----------------------------------------------------------------------------------

    def _add_call_waiter(self, call: Any, waiter: Callable[[], Any]) -> bool:
        """Have ``waiter()`` called when a call has returned.

        Return False, and do not call it, if the call has returned already.
        """
        self._waiters.setdefault(call, []).append(waiter)
        if call in self.calls:
            return True
        self._remove_call_waiter(call, waiter)
        return False

    def _remove_call_waiter(self, call: Any, waiter: Callable[[], Any]) -> None:
        wakers = self._waiters.get(call)
        if wakers is not None:
            try:
                wakers.remove(waiter)
            except ValueError:
                pass            # another thread has removed it
            # Before the call has returned, another thread may be adding a waiter to the list.
            if not wakers and call not in self.calls:
                self._waiters.pop(call, None)

    def add_waiter(self, waiter: Callable[[], None], calls: Sequence[Any] | None = None) -> bool:
        """Have ``waiter()`` called, once or more, when calls have returned.

        Return False, and do not call it, if they have returned already.

        :param calls: the calls to wait for (default: all that are expected now).
        """
        if calls is None:
            calls = list(self.calls.copy())

        def wait_for_next() -> bool:
            return any(self._add_call_waiter(call, wake) for call in calls)

        def wake() -> None:
            if not wait_for_next():
                waiter()

        return wait_for_next()

    def wait(self, deadline: float | None = None) -> bool:
        """Block until the calls expected now have returned, or until the deadline.

        Return True if they have returned. Calls that this thread is making are left out: it is in a
        callback or a signal handler, and they go on when it returns. So are calls that belong to
        tasks which this thread is submitting.
        """
        here, submitting = get_ident(), self.submitting
        for call, thread in self.calls.copy().items():
            if (thread == here or submitting and submitting.get(call) == here
                    or call not in self.calls):
                continue
            lock = threading.Lock()         # guards nothing: the thread waits at it
            lock.acquire()
            waiter = partial(release, lock)
            was_set = False
            try:
                if not self._add_call_waiter(call, waiter):
                    continue
                was_set = block_on((_GroupCall(self, call),), lock.acquire, deadline,
                                   deadline is None)
            finally:
                if not was_set:
                    self._remove_call_waiter(call, waiter)
            if not was_set and call in self.calls:
                return False
        return True

    async def co_wait(self, deadline: float | None = None) -> bool:
        """Wait as :meth:`wait` does, in a coroutine, which never makes a call of the group."""
        for call in self.calls.copy():
            waiter = FutureWaiter()
            wait = None
            try:
                if self._add_call_waiter(call, waiter):
                    wait = await_begins((_GroupCall(self, call),), waiter, deadline is None)
                    if not await waiter.wait(deadline) and call in self.calls:
                        return False
            finally:
                if wait is not None:
                    await_ends(wait)
                self._remove_call_waiter(call, waiter)
        return True
