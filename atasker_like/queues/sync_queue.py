"""ThreadQueue and ProcessQueue: the queues whose callers are threads, which can wait."""
from __future__ import annotations

from time import perf_counter

from .._checks import ends_traceback, flag
from .._inspect import name_of
from ..constants import TT_MP, TT_THREAD
from ..engine.blocking import Latch, deadline_of
from ..engine.wait_graph import block_on
from ..errors import InvalidTypeError
from ..waiting import show_progress, shows_progress
from .base import TaskQueue
from .groups import SyncTaskGroup
from .handles import SyncTaskHandle
from .hooks import PendingHooks, call_after_hooks, log_hook
from .steps import drive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Any, Callable, Iterable, TypeVar, Unpack, overload

    from .._checks import Seconds
    from .._generics import A, B, Q, R, Ts
    from .._progress import ShowProgress
    from ..engine.spec import TaskSpec
    from ..engine.task import Task
    from ..options import OnFull, Options, TaskOptions
    from ..tasks import BoundTask, TakesMany, TakesOne, TakesTwo
    from .bound import QueueTask
    from .queue_tasks import MakesSyncQueueTask, SyncQueueTask
    from .signatures import (FailPolicy, Keywords, MapOptions, Mixed, SubmitOptions, TakesOneOrTwo,
                             Tuples)
    from .summary import RunSummary

    S = TypeVar("S", bound="_BlockingQueue")


class _BlockingQueue(TaskQueue):
    on_full: OnFull = "block"
    _handle = SyncTaskHandle
    _group = SyncTaskGroup

    if TYPE_CHECKING:
        @overload     # type: ignore[override]
        def submit(self, fn: TakesOne[A, R], /, a: A,
                   **options: Unpack[SubmitOptions]) -> SyncTaskHandle[R]: ...

        @overload
        def submit(self, fn: TakesTwo[A, B, R], /, a: A, b: B,
                   **options: Unpack[SubmitOptions]) -> SyncTaskHandle[R]: ...

        @overload
        def submit(self, fn: TakesMany[Unpack[Ts], R], /, *args: Unpack[Ts],
                   **options: Unpack[SubmitOptions]) -> SyncTaskHandle[R]: ...

        @overload
        def submit(self, fn: QueueTask[..., R], /, *args: Any,
                   **options: Unpack[SubmitOptions]) -> SyncTaskHandle[R]: ...

        @overload
        def submit(self, fn: Callable[[Unpack[Ts]], R], /, *args: Unpack[Ts],
                   **options: Unpack[SubmitOptions]) -> SyncTaskHandle[R]: ...

        def submit(self, *args: Any, **options: Any) -> Any: ...        # type: ignore[misc]

        @overload     # type: ignore[override]
        def map(self, fn: TakesOne[A, R], items: Iterable[A],
                **options: Unpack[MapOptions]) -> list[SyncTaskHandle[R]]: ...

        @overload
        def map(self, fn: Callable[[A], R], items: Iterable[A],
                **options: Unpack[MapOptions]) -> list[SyncTaskHandle[R]]: ...

        @overload
        def map(self, fn: TakesMany[Unpack[Ts], R], items: Tuples[Unpack[Ts]],
                **options: Unpack[MapOptions]) -> list[SyncTaskHandle[R]]: ...

        @overload
        def map(self, fn: Callable[[Unpack[Ts]], R], items: Tuples[Unpack[Ts]],
                **options: Unpack[MapOptions]) -> list[SyncTaskHandle[R]]: ...

        @overload
        def map(self, fn: BoundTask[..., R], items: Keywords,
                **options: Unpack[MapOptions]) -> list[SyncTaskHandle[R]]: ...

        @overload
        def map(self, fn: Callable[..., R], items: Keywords,
                **options: Unpack[MapOptions]) -> list[SyncTaskHandle[R]]: ...

        @overload
        def map(self, fn: TakesOneOrTwo[A, B, R], items: Mixed[A, B],
                **options: Unpack[MapOptions]) -> list[SyncTaskHandle[R]]: ...

        def map(self, *args: Any, **options: Any) -> Any: ...

        @overload     # type: ignore[override]
        def group(self, tasks: TakesOne[A, R], items: Iterable[A],
                  **options: Unpack[MapOptions]) -> SyncTaskGroup[R]: ...

        @overload
        def group(self, tasks: Callable[[A], R], items: Iterable[A],
                  **options: Unpack[MapOptions]) -> SyncTaskGroup[R]: ...

        @overload
        def group(self, tasks: TakesMany[Unpack[Ts], R], items: Tuples[Unpack[Ts]],
                  **options: Unpack[MapOptions]) -> SyncTaskGroup[R]: ...

        @overload
        def group(self, tasks: Callable[[Unpack[Ts]], R], items: Tuples[Unpack[Ts]],
                  **options: Unpack[MapOptions]) -> SyncTaskGroup[R]: ...

        @overload
        def group(self, tasks: BoundTask[..., R], items: Keywords,
                  **options: Unpack[MapOptions]) -> SyncTaskGroup[R]: ...

        @overload
        def group(self, tasks: Callable[..., R], items: Keywords,
                  **options: Unpack[MapOptions]) -> SyncTaskGroup[R]: ...

        @overload
        def group(self, tasks: TakesOneOrTwo[A, B, R], items: Mixed[A, B],
                  **options: Unpack[MapOptions]) -> SyncTaskGroup[R]: ...

        @overload
        def group(self, tasks: Iterable[tuple[Any, ...]], items: None = None,
                  **options: Unpack[MapOptions]) -> SyncTaskGroup[Any]: ...

        def group(self, *args: Any, **options: Any) -> Any: ...

        @overload       # type: ignore[override]
        def task(self, opts: QueueTask[Q, R] | BoundTask[Q, R],
                 **options: Unpack[Options]) -> SyncQueueTask[Q, R]: ...

        @overload
        def task(self, opts: Callable[Q, R],
                 **options: Unpack[Options]) -> SyncQueueTask[Q, R]: ...

        @overload
        def task(self, opts: TaskOptions | None = None,
                 **options: Unpack[Options]) -> MakesSyncQueueTask: ...

        def task(self, *args: Any, **options: Any) -> Any: ...

    @ends_traceback
    def run(self, timeout: Seconds | None = None, strict: bool = False,
            fail_policy: FailPolicy | None = None,
            progress: ShowProgress = False) -> RunSummary:
        """Run all tasks until they have ended, and return the summary.

        That includes tasks that are submitted meanwhile. In infinite mode, a run goes on until the
        queue is shut down. A pool thread that calls it lends its slot. One thread at a time may
        call it.

        :param timeout: seconds, or a ``timedelta`` (default: that of the queue). Then the rest is
            cancelled, by ``on_timeout``, and functions that still run in threads are abandoned:
            their tasks count as cancelled.
        :param strict: raise if a task failed (default: False).
        :param fail_policy: the policy for this run (default: that of the queue).
        :param progress: show the progress: True, a description, or a function that is called with
            ``(done, total, failed)`` (default: False).
        :raises ExecutionError: with ``strict``: a task failed.
        :raises ClosedError: (a RuntimeError) the queue was shut down before.
        :raises QueueStateError: (a RuntimeError) a run is under way, or a task of the queue calls
            this.

        >>> queue = ThreadQueue(workers=2)
        >>> handles = queue.map(len, ['a', 'bc'])
        >>> queue.run().values
        (1, 2)
        """
        strict = strict and flag("strict", strict)
        deadline = deadline_of(self.timeout if timeout is None else timeout)
        began = perf_counter()
        shown = shows_progress(progress)
        run = object()
        try:
            try:
                self._begin_run(run, fail_policy)
                self._update_lane()
                if shown:
                    show_progress(progress, [], deadline, self._further_tasks())
                summary = drive(self._run_steps(deadline, began))
            finally:
                self._end_run(run)
        except BaseException:           # interrupted, perhaps in the line before
            self._end_run(run)
            raise
        if strict:
            summary.raise_for_errors()
        return summary

    def _await_task(self, task: Task[Any], deadline: float | None) -> bool:
        return task._end(deadline)

    def _await_submissions(self, deadline: float | None) -> bool:
        return self._submissions.wait(deadline)

    def _await_callbacks(self, deadline: float | None) -> bool:
        if not self._callbacks.wait(deadline):
            return False
        if self._hooks is None:
            return True
        hooks = PendingHooks()
        return (not call_after_hooks(self._pool, hooks)
                or block_on((hooks,), hooks.latch.acquire, deadline, deadline is None))

    def _await_end(self, deadline: float | None) -> bool:
        latch = Latch()
        if not self._add_end_waiter(latch) or latch.wait(deadline):
            return True
        self._remove_end_waiter(latch)
        return False

    def start(self: S) -> S:
        """Run tasks as they come, until the queue is shut down; return the queue. From any thread.

        :raises ClosedError: (a RuntimeError) the queue was shut down before.

        >>> queue = ThreadQueue().start()
        >>> queue.submit(abs, -1).wait().value
        1
        >>> queue.shutdown()
        """
        with self._lock:
            self._check_open()
            self._started = True
            self._update_lane()
        return self

    @ends_traceback
    def join(self, timeout: Seconds | None = None, progress: ShowProgress = False) -> None:
        """Block until all tasks have ended, those that come meanwhile included. From any thread.

        It starts the queue if needed.

        :param timeout: seconds, or a ``timedelta``; None waits without limit, 0 does not wait
            (default: None).
        :param progress: show the progress: True, a description, or a function that is called with
            ``(done, total, failed)`` (default: False).
        :raises WaitTimeoutError: (a TimeoutError) some tasks, or their hooks, are unfinished; they
            go on.
        :raises WaitDeadlockError: (a RuntimeError) a task or a done callback of the queue waits for
            the calling task.
        """
        deadline = deadline_of(timeout)
        shown = shows_progress(progress)
        with self._lock:
            if self._needs_start():
                self._started = True
                self._update_lane()
        if shown:
            show_progress(progress, [], deadline, self._further_tasks())
        if drive(self._finish(deadline, deadline)) is None:
            raise self._timeout_error(timeout)

    def shutdown(self, force: bool = False) -> None:
        """Accept no more tasks, finish the accepted ones, and return when they have ended.

        May be called from any thread. A task that shuts down its own queue does not wait for
        itself.

        :param force: cancel all tasks instead, also those that must complete; functions that run in
            threads are abandoned (default: False).
        """
        if force:
            lane, rest = self._discard("as its queue was shut down by force")
            self._abandon(rest)
        else:
            with self._lock:
                self._closing = True
                if not self._closed:
                    self._update_lane()
                lane = self._lane
        drive(self._finish(None, None))
        self._finish_closing(lane)

    def _call_hook(self, name: str, call: Callable[[], Any], loop: Any) -> None:
        log_hook(name, call)

    def _check_kind(self, function: Any, coroutine: bool) -> None:
        if coroutine:
            raise InvalidTypeError(f"{name_of(function)} is a coroutine function, which "
                                   f"{self._label()} cannot run; use an AsyncQueue, or submit a "
                                   "plain function that calls asyncio.run()")

    def __enter__(self: S) -> S:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        try:
            self.shutdown(force=kind is not None)
        except BaseException:           # interrupted: nothing waits for the tasks any more
            self.cancel()
            raise


class ThreadQueue(_BlockingQueue):
    """Calls that run in pool threads, some at a time, with a summary at the end.

    :param workers: the most tasks that run at once (default: None, as many as the pool runs).
    :param size: the most tasks that may wait (default: 0, any number). If the queue is full, a
        submission blocks until there is room, so start the queue first, with :meth:`start` or
        ``with``.
    :param timeout: seconds, or a ``timedelta``, that a run may take (default: None, no limit).
    :param mode: ``'finite'``: :meth:`run` ends with the last task. ``'infinite'``: it ends when the
        queue is shut down (default: ``'finite'``).
    :param fail_policy: ``'continue'``, or ``'fail_first'``: the first failure cancels the other
        tasks, except those that must complete (default: ``'continue'``).
    :param on_timeout: ``'complete'``: after the timeout, tasks that must complete still do.
        ``'cancel'``: they do not (default: ``'complete'``).
    :param rate: the most starts a second, retries included (default: None, no limit).
    :param burst: the most starts at once after a pause (default: 1).
    :param initializer: called with ``*initargs`` once in each thread, before the first task of this
        queue there. If it raises, the task fails.
    :param on_start: called with the handle when an attempt begins.
    :param on_complete: called with the TaskResult of every task that has ended, also if cancelled.
    :param on_retry: called with the handle and the error when an attempt has failed and another one
        follows.
    :param supervisor: the supervisor to use (default: ``task_supervisor``).
    :param pool_priority: the priority of the tasks in the pool (default: ``TASK_NORMAL``). The
        priority of a task orders it within the queue.
    :raises InvalidTypeError: (a TypeError) an argument has the wrong type, or does not exist.
    :raises InvalidArgumentError: (a ValueError) an argument has an impossible value.

    Threads of the supervisor call the hooks, one at a time; errors of hooks are logged. Tasks wait
    until :meth:`run` or :meth:`start`. As a context manager, the queue starts at once. At the end
    of the block, it finishes the submitted tasks, or cancels them if the block raised. Methods may
    be called from any thread.

    >>> queue = ThreadQueue(workers=4)
    >>> handles = queue.map(abs, [-1, 2, -3])
    >>> queue.run().values
    (1, 2, 3)
    """

    tt = TT_THREAD


class ProcessQueue(_BlockingQueue):
    """Calls that run in pool processes, some at a time, with a summary at the end.

    The parameters are those of a :class:`ThreadQueue`. ``workers`` is the number of slots of the
    process pool by default, and the initializer is called once in each process. Functions,
    arguments and results are pickled. With ``fail_policy='fail_first'``, a task that was sent to a
    process before the failure may still run.

    Any thread may submit.

    >>> with ProcessQueue() as queue:
    ...     handle = queue.submit(divmod, 17, 5)
    >>> handle.value()
    (3, 2)
    """

    tt = TT_MP

    def _report_failures(self, spec: TaskSpec) -> None:
        """Do nothing: the functions fail in other processes."""
