"""ThreadQueue and ProcessQueue: the queues whose callers are threads, which can wait."""
from __future__ import annotations

from time import perf_counter

from ..constants import TT_MP, TT_THREAD
from ..engine.task import FINAL
from ..engine.waiting import Latch, deadline_of
from ..errors import InvalidTypeError, WaitTimeoutError
from ..tasks import _watch_progress
from .base import TaskQueue
from .groups import SyncTaskGroup
from .handles import SyncTaskHandle
from .hooks import log_hook

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Callable, Iterable, List, Optional, Type, TypeVar

    from ..options import TaskOptions
    from .checkpoint import Checkpoint
    from .summary import RunSummary

    Q = TypeVar("Q", bound="_BlockingQueue")

__all__ = ["ProcessQueue", "ThreadQueue"]


class _BlockingQueue(TaskQueue):
    on_full = "block"
    _handle = SyncTaskHandle
    _group = SyncTaskGroup

    if TYPE_CHECKING:
        def submit(self, fn: "Callable[..., Any]", /, *args: "Any", opts: "Optional[TaskOptions]" = None,
                   **options: "Any") -> SyncTaskHandle: ...

        def map(self, fn: "Callable[..., Any]", items: "Iterable[Any]", *, opts: "Optional[TaskOptions]" = None,
                checkpoint: "Optional[Checkpoint]" = None, **options: "Any") -> "List[SyncTaskHandle]": ...

        def group(self, tasks: "Any", items: "Optional[Iterable[Any]]" = None, *, group_id: "Any" = None,
                  opts: "Optional[TaskOptions]" = None, checkpoint: "Optional[Checkpoint]" = None,
                  **options: "Any") -> SyncTaskGroup: ...

    def run(self, timeout: "Optional[float]" = None, strict: bool = False, fail_policy: "Optional[str]" = None,
            progress: bool = False) -> "RunSummary":
        """Run what was submitted, and what is submitted meanwhile, and return the summary when all of it has ended.

        In infinite mode it goes on until the queue is shut down. A pool thread that calls it lends its place.

        :param timeout: seconds; the queue's own unless told. When they are over the rest is cancelled, by ``on_timeout``,
            and functions that still run in threads are given up: their tasks count as cancelled.
        :param strict: raise if a task failed.
        :param fail_policy: for this run, instead of the queue's.
        :param progress: show how far it is: a bar on a terminal, lines elsewhere.
        :raises ExecutionError: with ``strict``: a task failed.
        :raises ClosedError: the queue was shut down before.
        :raises QueueStateError: a run is under way.

        Called by one thread at a time.
        """
        deadline = deadline_of(self.timeout if timeout is None else timeout)
        began = perf_counter()
        self._begin_run(fail_policy)
        try:
            self._steer()
            if progress:
                _watch_progress(self._tasks[self._reported:], deadline)
            timed_out = not (self._settle(deadline) if self.mode == "finite" else self._wait_end(deadline))
            if timed_out:
                self._halting = True
                self._abandon(self._stop_rest(spare=self.on_timeout == "complete"))
                self._settle(None)
            self._aftermath.wait()
            summary = self._summarise(began, timed_out)
        finally:
            self._end_run()
        if strict:
            summary.raise_for_errors()
        return summary

    def _settle(self, deadline: "Optional[float]") -> bool:
        """Block until all tasks have ended, those too that come meanwhile; say whether they have."""
        own = self._own()
        tasks = self._tasks
        while True:
            seen = len(tasks)
            for task in self._unfinished(seen):
                if task._status not in FINAL and task is not own and not task._end(deadline):
                    return False
            if own is None:
                self._settled = seen
                if not self._entering.wait(deadline):
                    return False
            if len(tasks) == seen:
                return True

    def _wait_end(self, deadline: "Optional[float]") -> bool:
        latch = Latch()
        if not self._watch_end(latch) or latch.wait(deadline):
            return True
        self._unwatch_end(latch)
        return False

    def start(self) -> None:
        """Run tasks as they come, from now on until the queue is shut down. From any thread.

        :raises ClosedError: (a RuntimeError) the queue was shut down before.
        """
        with self._lock:
            self._check_open()
            self._started = True
            self._steer()

    def join(self, timeout: "Optional[float]" = None, progress: bool = False) -> None:
        """Block until all tasks have ended, those too that come meanwhile. From any thread.

        :param timeout: seconds to wait at most; None waits for ever, 0 not at all.
        :param progress: show how far it is: a bar on a terminal, lines elsewhere.
        :raises WaitTimeoutError: (a TimeoutError) some are unfinished; they go on.
        """
        deadline = deadline_of(timeout)
        if progress:
            _watch_progress(self._tasks[self._reported:], deadline)
        if not self._settle(deadline):
            raise WaitTimeoutError(f"{len(self)} tasks of this {type(self).__name__} unfinished after {timeout:g} s of "
                                   "waiting; they go on: wait again, or cancel()")
        self._aftermath.wait(deadline)

    def shutdown(self, force: bool = False) -> None:
        """Take no more tasks, finish those that were accepted, and return when they have ended. From any thread.

        :param force: cancel them instead, also those that must complete; functions that run in threads are given up.

        A task that shuts down its own queue does not wait for itself.
        """
        with self._lock:
            self._closing = True
        if force:
            self._abandon(self._stop_rest(spare=False))
        else:
            with self._lock:
                if not self._closed:
                    self._steer()
        self._settle(None)
        if self._own() is None:
            self._aftermath.wait()
        self._has_closed()

    def _call_hook(self, name: str, call: "Callable[[], Any]") -> None:
        log_hook(name, call)

    def _check_kind(self, function: "Any", coroutine: bool) -> None:
        if coroutine:
            raise InvalidTypeError(f"{getattr(function, '__qualname__', function)} is a coroutine function, which a "
                                   f"{type(self).__name__} cannot run; use an AsyncQueue, or submit a plain function that calls "
                                   "asyncio.run()")

    def __enter__(self: "Q") -> "Q":
        self.start()
        return self

    def __exit__(self, kind: "Optional[Type[BaseException]]", error: "Optional[BaseException]",
                 traceback: "Optional[TracebackType]") -> None:
        self.shutdown(force=kind is not None)


class ThreadQueue(_BlockingQueue):
    """Calls that run in pool threads, so many at a time, with a summary at the end.

    :param workers: how many run at once; as many as the pool takes, unless told.
    :param size: how many may wait; who submits more blocks until there is room, so let it run: with :meth:`start`, or
        ``with``. 0 is any number.
    :param timeout: seconds that a run may take; None is any time.
    :param mode: ``'finite'``: :meth:`run` ends with the last task; ``'infinite'``: when the queue is shut down.
    :param fail_policy: ``'continue'``; or ``'fail_first'``: the first failure cancels the rest, but those that must complete.
    :param on_timeout: ``'complete'``: when the time is over those that must complete do; ``'cancel'``: they do not.
    :param rate: how many may start a second, retries included.
    :param burst: how many of these may start at once after a pause.
    :param initializer: called with ``*initargs`` once in each thread, before the first task of this queue there; if it
        raises, the task fails.
    :param on_start: called with the handle when an attempt begins.
    :param on_complete: called with the TaskResult of every task that has ended, cancelled ones included.
    :param on_retry: called with the handle and the error when an attempt has failed and another one follows.
    :param supervisor: the supervisor to use; ``task_supervisor`` unless told.
    :param pool_priority: the priority of its tasks in the pool; that of a task orders it within the queue.

    Hooks are called one at a time, by threads of the supervisor; what they raise is logged. Tasks wait until
    :meth:`run` or :meth:`start`. As a context manager it starts; at the end of the block it finishes what was
    submitted, or cancels it if the block raised. Methods may be called from any thread.

    >>> queue = ThreadQueue(workers=4)
    >>> handles = queue.map(abs, [-1, 2, -3])
    >>> queue.run().values
    (1, 2, 3)
    """

    tt = TT_THREAD


class ProcessQueue(_BlockingQueue):
    """Calls that run in pool processes, so many at a time, with a summary at the end.

    The parameters are those of a :class:`ThreadQueue`; ``workers`` runs as many at once as the process pool has places,
    unless told, and the initializer is called once in each process. Functions, arguments and results are pickled. With
    ``fail_policy='fail_first'`` a task that was on its way to a process may still run after the failure.

    >>> with ProcessQueue() as queue:
    ...     handle = queue.submit(divmod, 17, 5)
    >>> handle.value()
    (3, 2)
    """

    tt = TT_MP

    def _guard(self, function: "Callable[..., Any]") -> "Callable[..., Any]":
        return function         # the failure happens elsewhere
