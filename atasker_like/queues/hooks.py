"""The hooks of a queue, as a lane calls them."""
from __future__ import annotations

from .._log import log
from ..engine.blocking import Latch
from ..engine.waits import WaitedCall
from .handles import result_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from ..engine.task import Task
    from .submission import Submitter


class Hooks:
    """The calls that a lane makes for the tasks of a queue.

    A pool thread makes them one at a time, with no lock held.
    """

    __slots__ = ("_queue",)

    def __init__(self, queue: Submitter) -> None:
        self._queue = queue

    def started(self, task: Task[Any]) -> None:
        """Call ``on_start``: an attempt begins."""
        on_start = self._queue.on_start
        if on_start is not None:
            self._call("on_start", task, lambda: on_start(self._queue._handle(task)))

    def retried(self, task: Task[Any], error: BaseException) -> None:
        """Call ``on_retry``: an attempt has failed, and another one follows."""
        on_retry = self._queue.on_retry
        if on_retry is not None:
            self._call("on_retry", task, lambda: on_retry(self._queue._handle(task), error))

    def ended(self, task: Task[Any]) -> None:
        """Call ``on_complete``: the task is final."""
        on_complete = self._queue.on_complete
        if on_complete is not None:
            self._call("on_complete", task, lambda: on_complete(result_of(task)))

    def _call(self, name: str, task: Task[Any], call: Callable[[], Any]) -> None:
        # As a call of the group, so that what it submits belongs to the run; see
        # WaitGroup.is_inside().
        group = task._spec.lane.callbacks
        name = f"{name} of a queue, for task {task.name} ({task.short_id}),"
        self._queue._call_hook(name, lambda: group.make(object(), call), task._spec.loop)


class PendingHooks(WaitedCall):
    """The hook calls of a pool that are pending now. Ends a wait when they have been made."""

    __slots__ = ("latch", "notifier", "_is_over")

    def __init__(self) -> None:
        self.latch: Latch = Latch()
        self.notifier: Any = None       # the one that makes the calls
        self._is_over = False

    def __call__(self) -> None:
        self._is_over = True
        self.latch()

    def done(self) -> bool:
        return self._is_over

    def thread(self) -> int:
        thread_id: int = 0 if self.notifier is None else self.notifier.thread_id
        return thread_id

    def label(self) -> str:
        return "a hook of a queue"


def log_hook(name: str, call: Callable[[], Any]) -> None:
    """Call a hook, and log its error if it raises."""
    try:
        call()
    except BaseException:
        log.exception("%s raised; the task itself is not touched", name)


def call_after_hooks(pool: Any, call: Callable[[], Any]) -> bool:
    """Make a call after the pending hooks of tasks that have ended in a pool or its replacements.

    Return False, and do not make it, if no hook is pending.
    """
    while pool is not None:
        if type(call) is PendingHooks:
            call.notifier = pool.notifier
        if pool.notifier.call_after_pending(call):
            return True
        pool = pool.replacement
    return False
