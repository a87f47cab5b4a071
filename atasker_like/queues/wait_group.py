"""What is still to be done before a run is over, beside its tasks: submissions under way, and callbacks.

No lock guards it: a signal handler or a finalizer may come in at any line, and an interrupt out of any, so that all that is
done here is done in single steps, and may be done twice. Whoever waits hangs up a bell first and looks then; who has made a
call takes it away first and rings then. So one of them sees the other.
"""
from __future__ import annotations

import threading
from functools import partial
from threading import get_ident

from ..engine.blocking import block
from ..engine.loop_mailbox import _ORDERED, FutureWatcher
from .fronts import call_first

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Sequence

    from ..engine.task import Task

__all__ = ["Aftermath"]


class Aftermath:
    """Calls to come. A task's waiters are told before its callbacks are called: who waits for both waits here."""

    def __init__(self) -> None:
        #: What is to come, by anything that is unlike the others, with the thread that is in the midst of it, or 0.
        self.calls: dict[Any, int] = {}
        #: Of these, what tasks expect that are just being submitted, with the thread that does so.
        self.fresh: dict[Any, int] = {}
        self._bells: list[Callable[[], Any]] = []     # rung at the end of each call

    def expect(self, call: Any = 1) -> None:
        """A call will be made."""
        self.calls[call] = 0

    def expect_of_new(self, call: Any) -> None:
        """A call will be made that a task expects which this thread is submitting."""
        self.fresh[call] = get_ident()
        self.calls[call] = 0

    def entered(self, calls: Iterable[Any]) -> None:
        """Their tasks have been submitted, or will not be."""
        for call in calls:
            self.fresh.pop(call, None)

    def expect_ends(self, tasks: Sequence[Task[Any]], ended: Callable[[Aftermath, Task[Any]], None], new: bool) -> None:
        """Have ended(self, task) called when a task is final, before other callbacks, which may wait for what that does.

        :param new: they are about to be submitted, by this thread.
        """
        callback = partial(ended, self)
        try:
            for task in tasks:
                if new:
                    extra = task._more()        # nobody else knows it, so no lock is needed
                    extra.callbacks = [callback, *(extra.callbacks or ())]
                    self.expect_of_new(task)
                else:
                    self.expect(task)
                    call_first(task, callback)
        except BaseException:       # interrupted: the last one may not know what is expected of it
            for task in tasks:
                self.made(task)
            raise

    def begin(self, call: Any) -> None:
        """It is being made now, by this thread."""
        if call in self.calls:
            self.calls[call] = get_ident()

    def made(self, call: Any = 1) -> None:
        """It has been made, or will not be after all. Who is interrupted in here says so again."""
        self.calls.pop(call, None)
        if self._bells or not _ORDERED:
            for bell in self._bells.copy():
                bell()

    def is_mine(self) -> bool:
        """Say whether this thread is in the midst of a call."""
        return get_ident() in self.calls.copy().values()

    def _rest(self, calls: list[Any]) -> list[Any]:
        """Return which of some calls have not been made."""
        left = self.calls.copy()
        return [call for call in calls if call in left]

    def watch(self, watcher: Callable[[], None]) -> bool:
        """Have watcher() called when all that are to come now have been made, perhaps more than once; False, and no call,
        when they have been."""
        calls = list(self.calls.copy())

        def bell() -> None:
            if not self._rest(calls):
                watcher()
                self._take_down(bell)

        self._bells.append(bell)
        if self._rest(calls):
            return True
        self._take_down(bell)
        return False

    def _take_down(self, bell: Callable[[], Any]) -> None:
        try:
            self._bells.remove(bell)
        except ValueError:
            pass                # another thread has

    def wait(self, deadline: float | None = None) -> bool:
        """Block until all have been made that are to come now, at the latest until the deadline; say whether they have.

        Not those that this thread is in the midst of, which asks in a callback, or in a signal handler: they go on when it
        returns. Nor those of tasks that it is submitting.
        """
        own, fresh = get_ident(), self.fresh
        calls = [call for call, thread in self.calls.copy().items() if thread != own and (not fresh or fresh.get(call) != own)]
        if not calls:
            return True
        gate = threading.Lock()
        gate.acquire()

        def bell() -> None:
            try:
                gate.release()
            except RuntimeError:
                pass            # it has been rung, and not been heard yet

        self._bells.append(bell)
        try:
            while True:
                calls = self._rest(calls)
                if not calls:
                    return True
                if not block(gate.acquire, deadline):
                    return not self._rest(calls)
        finally:
            self._take_down(bell)

    async def co_wait(self, deadline: float | None = None) -> bool:
        """The same for a coroutine, which nobody calls in the midst of a call."""
        calls = list(self.calls.copy())
        while calls:
            watcher = FutureWatcher()
            self._bells.append(watcher)
            try:
                calls = self._rest(calls)
                if calls and not await watcher.wait(deadline):
                    return not self._rest(calls)
            finally:
                self._take_down(watcher)
        return True
