"""What a pool tells the application of beside the ends of tasks: late starts, and what hooks of functions ask for.

What is to be told is noted with the pool's lock held, where it happens. A pool thread makes the calls, one at a time and
in their order, with no lock held; it is asked for by the timer, since who notes may be in the middle of anything.
"""
from __future__ import annotations

from threading import get_ident

from .._log import log
from ..engine.blocking import Latch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from ..engine.task import Task
    from ..engine.timer import Timer

__all__ = ["Telling"]


class Telling:
    """The part of every pool that tells."""

    name: str
    lock: Any
    timer: Timer
    _beside: Callable[[Callable[[], None]], None]

    def __init__(self) -> None:
        self.late_after = float("inf")      # seconds in the queue after which a start is told of
        self.tell_late: Callable[[list[tuple[Task[Any], float]]], None] = _nothing
        self._latecomers: list[tuple[Task[Any], float]] = []      # started late, to be told of
        self._news: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []    # of hooks, to be made
        self._telling = False               # a thread tells, or is about to
        self._calling = False               # it has calls of hooks to make, or makes them
        self._told: list[Callable[[], None]] = []         # opened when it has made them
        self._teller = 0                    # the thread that makes them

    # -- noting: the lock is held --------------------------------------------------------------------

    def _started_late(self, task: Task[Any], now: float) -> None:
        """A task is started, longer than ``late_after`` after it came. To wait in a lane is what a lane is for."""
        if task._spec.lane is not None:
            return
        extra = task._extra
        waited = now - (task._queued if extra is None or extra.scheduled_at is None else extra.scheduled_at)
        if waited > self.late_after:
            self._latecomers.append((task, waited))
            if not self._ask_teller():
                self._latecomers = []       # it is a warning only

    def _tell(self, call: Callable[..., Any], *arguments: Any) -> None:
        """Have a call of a hook made. The timer has been started."""
        self._news.append((call, arguments))
        self._calling = True
        self._ask_teller()

    def _tell_started(self, task: Task[Any]) -> None:
        """A task with hooks has been started; once for each attempt, also when it is moved before it has begun."""
        extra = task._extra_fields()
        if extra.starts_reported < extra.attempts:
            extra.starts_reported = extra.attempts
            self._tell(task._spec.hooks.started, task)

    def _ask_teller(self) -> bool:
        if not self._telling:               # else who tells of the others tells of this, too
            try:
                self.timer.start()
            except (RuntimeError, MemoryError):
                return False
            self._telling = True
            self.timer.call_at(0.0, self._beside, self._tell_all)
        return True

    # -- telling -------------------------------------------------------------------------------------

    def _tell_all(self) -> None:
        """In a pool thread."""
        while True:
            with self.lock:
                late, self._latecomers = self._latecomers, []
                calls, self._news = self._news, []
                self._telling = bool(late or calls)
                self._calling = bool(calls)
                told: list[Callable[[], None]] = []
                if not calls:
                    told, self._told = self._told, []
            for latch in told:
                latch()
            self._teller = get_ident()
            if late:
                try:
                    self.tell_late(late)
                except BaseException:
                    log.exception("%s: what is called with tasks that started late raised", self.name)
            for call, arguments in calls:
                try:
                    call(*arguments)
                except BaseException:
                    log.exception("%s: a hook raised; the task itself is not affected", self.name)
            self._teller = 0
            if not late and not calls:
                return
            del late, calls                 # they hold tasks

    def _wait_told(self, deadline: float | None) -> bool:
        """Block until the calls of hooks have been made, at the latest until the deadline; say whether they have."""
        latch = Latch()
        with self.lock:
            if not self._calling:
                return True
            self._told.append(latch)
        return latch.wait(deadline)

    def tell_behind(self, call: Callable[[], Any]) -> bool:
        """Have a call made behind those of hooks that are to be made by now; False, and no call, when there are none, or
        when this thread is the one that makes them: what follows in it cannot be waited for here."""
        with self.lock:
            if not self._calling or self._teller == get_ident():
                return False
            self._news.append((call, ()))
            return True

    def _forget_news(self) -> None:
        """In a forked process: the thread that tells is the parent's."""
        self._latecomers, self._news, self._told = [], [], []
        self._teller = 0
        self._telling = self._calling = False


def _nothing(late: list[tuple[Task[Any], float]]) -> None:
    pass
