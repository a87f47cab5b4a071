"""AsyncQueue: the queue whose callers are coroutines, and whose tasks run in their loop."""
from __future__ import annotations

from collections.abc import Awaitable
from functools import partial
from time import perf_counter

from .._checks import callable_or_none, cut_frames, ends_traceback, flag
from .._inspect import name_of, open_parameters
from ..constants import TT_COROUTINE
from ..engine.blocking import deadline_of
from ..engine.current import running_loop
from ..engine.initializers import initializing
from ..engine.loop_mailbox import FutureWaiter, mailbox_of
from ..engine.wait_group import WaitGroup
from ..errors import (ClosedError, InvalidTypeError, QueueFullError, QueueStateError,
                      SupervisorError, WaitDeadlockError)
from ..pools.cancelling import cancel_many
from ..waiting import co_show_progress, shows_progress
from .base import TaskQueue
from .calls import OF_A_CALL, check_names, is_async_iterable, iter_calls, merge
from .checkpoint import records_of
from .groups import TaskGroup
from .handles import LoopCall, TaskHandle, make_handles
from .hooks import call_after_hooks, log_hook
from .item_keys import item_keys
from .steps import co_drive

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from types import TracebackType

    from typing_extensions import Any, AsyncIterable, Callable, Iterable, TypeVar, Unpack, overload

    from .._checks import Seconds
    from .._generics import A, B, Q, R, T, Ts
    from .._progress import ShowProgress
    from ..engine.spec import TaskSpec
    from ..engine.task import Task
    from ..options import OnFull, Options, TaskOptions
    from ..tasks import TakesOne, TakesTwo
    from .bound import QueueTask
    from .calls import Call
    from .checkpoint import Checkpoint
    from .queue_tasks import AsyncQueueTask, MakesAsyncQueueTask
    from .signatures import (AsyncKeywords, AsyncTuples, FailPolicy, Keywords, MapOptions, Mixed,
                             Pending, SubmitOptions, TakesOneOrTwo, Tuples)
    from .summary import RunSummary

    S = TypeVar("S", bound="AsyncQueue")


class _RoomWaiter(FutureWaiter):
    """Blocks a coroutine that submits, as a lock blocks a thread."""

    __slots__ = ()

    release = FutureWaiter.__call__


class AsyncQueue(TaskQueue):
    """Coroutines that run in the loop of the caller, some at a time, with a summary at the end.

    The parameters are those of a :class:`ThreadQueue`, with these differences. Submitting to a full
    queue raises QueueFullError, and ``asubmit`` and ``amap`` wait for room. The initializer, a
    plain or a coroutine function, is called once, by ``start`` or ``run``. Hooks are called in the
    loop. Submit from coroutines; from other threads after the queue has started.

    ``run``, ``start``, ``join``, ``shutdown``, ``asubmit`` and ``amap`` are coroutines.

    >>> async def main():
    ...     queue = AsyncQueue(workers=100)
    ...     queue.map(asyncio.sleep, [(0, 'a'), (0, 'b')])
    ...     return (await queue.run()).values
    >>> import asyncio
    >>> asyncio.run(main())
    ('a', 'b')
    """

    tt = TT_COROUTINE
    on_full: OnFull = "raise"
    _handle = TaskHandle
    _group = TaskGroup

    if TYPE_CHECKING:
        @overload     # type: ignore[override]
        def submit(self, fn: TakesOne[A, R], /, a: A,
                   **options: Unpack[SubmitOptions]) -> TaskHandle[R]: ...

        @overload
        def submit(self, fn: TakesTwo[A, B, R], /, a: A, b: B,
                   **options: Unpack[SubmitOptions]) -> TaskHandle[R]: ...

        @overload
        def submit(self, fn: QueueTask[..., R], /, *args: Any,
                   **options: Unpack[SubmitOptions]) -> TaskHandle[R]: ...

        @overload
        def submit(self, fn: Callable[[Unpack[Ts]], Pending[R]], /, *args: Unpack[Ts],
                   **options: Unpack[SubmitOptions]) -> TaskHandle[R]: ...

        def submit(self, *args: Any, **options: Any) -> Any: ...        # type: ignore[misc]

        @overload     # type: ignore[override]
        def group(self, tasks: Callable[[A], Pending[R]], items: Iterable[A],
                  **options: Unpack[MapOptions]) -> TaskGroup[R]: ...

        @overload
        def group(self, tasks: Callable[[Unpack[Ts]], Pending[R]], items: Tuples[Unpack[Ts]],
                  **options: Unpack[MapOptions]) -> TaskGroup[R]: ...

        @overload
        def group(self, tasks: Callable[..., Pending[R]], items: Keywords,
                  **options: Unpack[MapOptions]) -> TaskGroup[R]: ...

        @overload
        def group(self, tasks: TakesOneOrTwo[A, B, Pending[R]], items: Mixed[A, B],
                  **options: Unpack[MapOptions]) -> TaskGroup[R]: ...

        @overload
        def group(self, tasks: Iterable[tuple[Any, ...]], items: None = None,
                  **options: Unpack[MapOptions]) -> TaskGroup[Any]: ...

        def group(self, *args: Any, **options: Any) -> Any: ...

        @overload       # type: ignore[override]
        def task(self, opts: QueueTask[Q, R],
                 **options: Unpack[Options]) -> AsyncQueueTask[Q, R]: ...

        @overload
        def task(self, opts: Callable[Q, Pending[R]],
                 **options: Unpack[Options]) -> AsyncQueueTask[Q, R]: ...

        @overload
        def task(self, opts: TaskOptions | None = None,
                 **options: Unpack[Options]) -> MakesAsyncQueueTask: ...

        def task(self, *args: Any, **options: Any) -> Any: ...

    def _reset(self, started: bool = False) -> None:
        super()._reset(started)
        # Coroutines that wait for room. They are no submissions under way, for which a thread may
        # wait.
        self._room_waiters = WaitGroup()
        if not started:
            # The loop that the queue was first used in.
            self._loop: asyncio.AbstractEventLoop | None = None
            self._initialized = False
            self._initializing: WaitGroup | None = None        # the initializer is being called

    def _reset_after_fork(self) -> None:
        super()._reset_after_fork()
        self._room_waiters = WaitGroup()

    # -- submitting --------------------------------------------------------------------------------

    if TYPE_CHECKING:
        @overload     # type: ignore[override]
        def map(self, fn: Callable[[A], Pending[R]], items: Iterable[A],
                **options: Unpack[MapOptions]) -> list[TaskHandle[R]]: ...

        @overload
        def map(self, fn: Callable[[Unpack[Ts]], Pending[R]], items: Tuples[Unpack[Ts]],
                **options: Unpack[MapOptions]) -> list[TaskHandle[R]]: ...

        @overload
        def map(self, fn: Callable[..., Pending[R]], items: Keywords,
                **options: Unpack[MapOptions]) -> list[TaskHandle[R]]: ...

        @overload
        def map(self, fn: TakesOneOrTwo[A, B, Pending[R]], items: Mixed[A, B],
                **options: Unpack[MapOptions]) -> list[TaskHandle[R]]: ...

        @overload
        def map(self, fn: Callable[[A], Pending[R]], items: AsyncIterable[A],
                **options: Unpack[MapOptions]) -> Awaitable[list[TaskHandle[R]]]: ...

        @overload
        def map(self, fn: Callable[[Unpack[Ts]], Pending[R]], items: AsyncTuples[Unpack[Ts]],
                **options: Unpack[MapOptions]) -> Awaitable[list[TaskHandle[R]]]: ...

        @overload
        def map(self, fn: Callable[..., Pending[R]], items: AsyncKeywords,
                **options: Unpack[MapOptions]) -> Awaitable[list[TaskHandle[R]]]: ...

    def map(self, fn: Callable[..., Any], items: Any, **options: Any) -> Any:
        """Submit a call for each item and return the handles, in order.

        See :meth:`ThreadQueue.map`. With an async iterable, this is :meth:`amap`: ``await
        queue.map(fn, items)``.

        :param fn: a coroutine function.
        :param items: an iterable or an async iterable.
        """
        try:
            if is_async_iterable(items):
                return self.amap(fn, items, **options)
            return super().map(fn, items, **options)
        except SupervisorError as error:
            cut_frames(error)
            raise

    if TYPE_CHECKING:
        @overload
        async def asubmit(self, fn: TakesOne[A, R], /, a: A,
                          **options: Unpack[SubmitOptions]) -> TaskHandle[R]: ...

        @overload
        async def asubmit(self, fn: TakesTwo[A, B, R], /, a: A, b: B,
                          **options: Unpack[SubmitOptions]) -> TaskHandle[R]: ...

        @overload
        async def asubmit(self, fn: QueueTask[..., R], /, *args: Any,
                          **options: Unpack[SubmitOptions]) -> TaskHandle[R]: ...

        @overload
        async def asubmit(self, fn: Callable[[Unpack[Ts]], Pending[R]], /, *args: Unpack[Ts],
                          **options: Unpack[SubmitOptions]) -> TaskHandle[R]: ...

    @ends_traceback         # type: ignore[misc]
    async def asubmit(
            self, fn: Callable[..., Any], /, *args: Any, opts: TaskOptions | None = None,
            **options: Any) -> TaskHandle[Any]:
        """Submit one call, as :meth:`~atasker_like.ThreadQueue.submit` does, and return its handle.

        Wait for room if necessary.

        :param fn: a coroutine function.
        :param opts: as for :meth:`~atasker_like.ThreadQueue.submit` (default: None).

        >>> async def main():
        ...     async with AsyncQueue(workers=2, size=2) as queue:
        ...         return [await queue.asubmit(asyncio.sleep, 0, n) for n in range(9)]
        >>> import asyncio
        >>> len(asyncio.run(main()))
        9
        """
        check_names(fn, open_parameters(fn, len(args)), options, OF_A_CALL)
        return await self._asubmit_call(fn, merge(opts, options, self._option_owner()), args, None)

    async def _asubmit_call(self, function: Callable[..., Any], options: TaskOptions,
                            args: tuple[Any, ...],
                            keywords: dict[str, Any] | None) -> TaskHandle[Any]:
        submit = partial(self._submit_call, function, options, args, keywords)
        handle: TaskHandle = await self._retry_until_room(self._spec(function, options, {}), submit)
        return handle

    if TYPE_CHECKING:
        @overload
        async def amap(self, fn: Callable[[A], Pending[R]], items: Iterable[A] | AsyncIterable[A],
                       **options: Unpack[MapOptions]) -> list[TaskHandle[R]]: ...

        @overload
        async def amap(self, fn: Callable[[Unpack[Ts]], Pending[R]],
                       items: Tuples[Unpack[Ts]] | AsyncTuples[Unpack[Ts]],
                       **options: Unpack[MapOptions]) -> list[TaskHandle[R]]: ...

        @overload
        async def amap(self, fn: Callable[..., Pending[R]], items: Keywords | AsyncKeywords,
                       **options: Unpack[MapOptions]) -> list[TaskHandle[R]]: ...

        @overload
        async def amap(self, fn: TakesOneOrTwo[A, B, Pending[R]], items: Mixed[A, B],
                       **options: Unpack[MapOptions]) -> list[TaskHandle[R]]: ...

    @ends_traceback
    async def amap(self, fn: Callable[..., Any], items: Iterable[Any] | AsyncIterable[Any], *,
                   opts: TaskOptions | None = None, checkpoint: Checkpoint | None = None,
                   key: Callable[[Any], Any] | None = None, namespace: str | None = None,
                   keep_items: bool = True, **options: Any) -> list[TaskHandle[Any]]:
        """Submit a call for each item, as :meth:`map` does, and return the handles.

        Wait for room if necessary.

        :param fn: a coroutine function.
        :param items: an iterable or an async iterable.
        :param opts: as for :meth:`ThreadQueue.map` (default: None).
        :param checkpoint: as for :meth:`ThreadQueue.map` (default: None).
        :param key: as for :meth:`ThreadQueue.map` (default: None, the whole input).
        :param namespace: as for :meth:`ThreadQueue.map` (default: None, the function's name).
        :param keep_items: as for :meth:`ThreadQueue.map` (default: True).
        """
        self._check_open()
        spec = self._spec(fn, opts, options, keep_items)
        page = records_of(checkpoint, fn, key, namespace)
        keys = item_keys(key, items)
        accepted: list[Task[Any]] = []
        aborts = self._aborts

        async def submit(calls: list[Call]) -> None:
            if not self.size:
                return self._submit_together(spec, calls, page, accepted, aborts)
            for call in calls:
                await self._retry_until_room(
                    spec, partial(self._submit_together, spec, [call], page, accepted, aborts))

        try:
            if is_async_iterable(items):
                position = 0
                async for item in items:        # type: ignore[union-attr]
                    for calls in iter_calls((item,), "amap", keys, position):
                        await submit(calls)
                    position += 1
            else:
                chunks = iter_calls(items, "amap", keys,        # type: ignore[arg-type]
                                    most=self.size)
                for calls in chunks:
                    await submit(calls)
            return make_handles(accepted, self._handle)
        except BaseException:
            cancel_many(accepted)       # all or none: the caller gets no handles
            raise

    async def _retry_until_room(self, spec: TaskSpec, submit: Callable[[], T]) -> T:
        """Return ``submit()``; while that raises QueueFullError, wait for room and repeat."""
        lane, blocked, entry = self._lane, self._room_waiters, object()
        try:
            blocked.add(entry)
            while True:
                try:
                    return submit()
                except QueueFullError:
                    await self._wait_for_room(spec)
                if lane is self._lane:
                    continue
                raise ClosedError(f"this {type(self).__name__} was reset meanwhile")
        finally:
            blocked.done(entry)

    async def _wait_for_room(self, spec: TaskSpec) -> None:
        """Wait until there may be room in the lane."""
        lane, pool, waiter = spec.lane, spec.pool, _RoomWaiter()
        if lane.paused:
            lane.warn_of_wait(f"room for task {spec.name}")
        if not pool.backpressure.add_submitter(spec, lane, waiter):   # type: ignore[attr-defined]
            return
        try:
            await waiter.future
        except BaseException:           # cancelled
            pool.backpressure.remove_submitter(lane, waiter)     # type: ignore[attr-defined]
            raise

    # -- its loop ----------------------------------------------------------------------------------

    def _bind_loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop of this queue: the loop that it is first used in.

        It may be another one when all tasks have ended and the queue neither runs nor is started.
        """
        running: asyncio.AbstractEventLoop | None = running_loop()
        loop = self._loop
        if loop is not None and loop is running:
            return loop
        in_use = self._running or self._started and not self._closed
        if loop is None or running is not None and (loop.is_closed() or not in_use
                                                    and not len(self)):
            if running is None:
                raise QueueStateError("an AsyncQueue runs its tasks in the loop that it is used "
                                      "in, and no loop runs here; submit from a coroutine, for "
                                      "example inside asyncio.run()")
            self._loop = loop = running
            self._initialized = False
        elif running is not None and self._running:
            raise QueueStateError("this AsyncQueue runs in another loop; make one for each loop")
        return loop

    def _checked_initializer(self, initializer: Any) -> Any:
        return callable_or_none("initializer", initializer)     # it is awaited

    def _add_initializer(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return function         # start() has called the initializer

    def _check_kind(self, function: Any, coroutine: bool) -> None:
        if not coroutine:
            raise InvalidTypeError(f"{name_of(function)} is not a coroutine function, and would "
                                   "block the loop of an AsyncQueue; define it with 'async def', "
                                   "or use a ThreadQueue")

    def _call_hook(self, name: str, call: Callable[[], Any], loop: Any) -> None:
        # Not the loop of the queue, which may be another one, or None after a reset().
        if not mailbox_of(loop).post(lambda _: log_hook(name, call), None):
            # The loop is closed. A run may wait for the hook nevertheless.
            log_hook(name, call)

    @ends_traceback
    async def run(self, timeout: Seconds | None = None, strict: bool = False,
                  fail_policy: FailPolicy | None = None,
                  progress: ShowProgress = False) -> RunSummary:
        """Run all tasks until they have ended, and return the summary.

        That includes tasks that are submitted meanwhile. See :meth:`ThreadQueue.run`. If the
        coroutine that calls it is cancelled, so are the tasks.

        :param timeout: as for :meth:`ThreadQueue.run`, in seconds (default: None, that of the
            queue).
        :param strict: as for :meth:`ThreadQueue.run` (default: False).
        :param fail_policy: as for :meth:`ThreadQueue.run` (default: None, that of the queue).
        :param progress: as for :meth:`ThreadQueue.run` (default: False).
        """
        strict = strict and flag("strict", strict)
        deadline = deadline_of(self.timeout if timeout is None else timeout)
        began = perf_counter()
        shown = shows_progress(progress)
        self._bind_loop()
        run = object()
        try:
            self._begin_run(run, fail_policy)
            await self._initialize()
            self._update_lane()
            if shown:
                await co_show_progress(progress, [], deadline, self._further_tasks())
            summary = await co_drive(self._run_steps(deadline, began))
        except BaseException:
            if self._running is run:
                self._cancel_unfinished(self._tasks, "as the run of its queue was cancelled")
            raise
        finally:
            self._end_run(run)
        if strict:
            summary.raise_for_errors()
        return summary

    async def _initialize(self) -> None:
        """Call the initializer, unless it has been called.

        One coroutine calls it at a time. If it raises, the next one calls it again.

        :raises WaitDeadlockError: the initializer itself calls this.
        """
        from asyncio import current_task

        while self.initializer is not None and not self._initialized:
            under_way = self._initializing
            caller = current_task()
            if under_way is not None:
                if initializing.get(caller) is self._lane:
                    raise WaitDeadlockError("the initializer of an AsyncQueue waits for its own "
                                            "queue, which starts when the initializer has ended; "
                                            "call the function in the initializer")
                waiter = FutureWaiter()
                if under_way.add_waiter(waiter):
                    await waiter.future
                continue
            under_way = self._initializing = WaitGroup()
            under_way.add(1)
            try:
                initializing[caller] = self._lane
                made = self.initializer(*self.initargs)
                if isinstance(made, Awaitable):
                    await made
                if self._initializing is under_way:     # else a reset has come
                    self._initialized = True
            finally:
                initializing.pop(caller, None)
                if self._initializing is under_way:
                    self._initializing = None
                under_way.done(1)

    async def _await_task(self, task: Task[Any], deadline: float | None) -> bool:
        return await task._co_end(deadline)

    async def _await_submissions(self, deadline: float | None) -> bool:
        return (await self._room_waiters.co_wait(deadline)
                and await self._submissions.co_wait(deadline))

    async def _await_callbacks(self, deadline: float | None) -> bool:
        for call in self._callbacks.calls.copy():
            if type(call) is LoopCall and call.is_lost():
                # The loop was closed before it made the call.
                self._callbacks.done(call)
        if not await self._callbacks.co_wait(deadline):
            return False
        if self._hooks is None or self._pool is None:
            return True
        waiter = FutureWaiter()
        behind = partial(self._call_hook, "a hook", waiter, self._loop)
        if not call_after_hooks(self._pool, behind):
            # They may be posted to the loop already, which makes its calls in order.
            behind()
        return await waiter.wait(deadline)

    async def _await_end(self, deadline: float | None) -> bool:
        waiter = FutureWaiter()
        if not self._add_end_waiter(waiter):
            return True
        try:
            return await waiter.wait(deadline)
        finally:
            self._remove_end_waiter(waiter)

    async def start(self: S) -> S:
        """Run tasks as they come, until the queue is shut down; return the queue.

        :raises ClosedError: (a RuntimeError) the queue was shut down before.
        """
        self._check_open()
        self._bind_loop()
        await self._initialize()
        with self._lock:
            self._check_open()
            self._started = True
            self._update_lane()
        return self

    @ends_traceback
    async def join(self, timeout: Seconds | None = None,
                   progress: ShowProgress = False) -> None:
        """Wait until all tasks have ended, those that come meanwhile included.

        See :meth:`ThreadQueue.join`.

        :param timeout: as for :meth:`ThreadQueue.join`, in seconds (default: None, no limit).
        :param progress: as for :meth:`ThreadQueue.join` (default: False).
        """
        deadline = deadline_of(timeout)
        shown = shows_progress(progress)
        if self._needs_start():
            await self.start()
        if shown:
            await co_show_progress(progress, [], deadline, self._further_tasks())
        if await co_drive(self._finish(deadline, deadline)) is None:
            raise self._timeout_error(timeout)

    async def shutdown(self, force: bool = False) -> None:
        """Accept no more tasks, finish the accepted ones, and return when they have ended.

        :param force: cancel all tasks instead, also those that must complete (default: False).

        If the initializer is still to be called and raises, the tasks are cancelled, and the error
        is raised here.
        """
        if force:
            lane, _ = self._discard("as its queue was shut down by force")
        else:
            with self._lock:
                self._closing = True
                lane = self._lane
            try:
                # Else no task needs it.
                if self._submissions.add_waiter(lambda: None) or len(self):
                    await self._initialize()
            except BaseException:       # nothing else would run the tasks
                self.cancel()
                raise
            with self._lock:
                if not self._closed:
                    self._update_lane()
        await co_drive(self._finish(None, None))
        self._finish_closing(lane)

    async def __aenter__(self) -> AsyncQueue:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        traceback: TracebackType | None) -> None:
        try:
            await self.shutdown(force=kind is not None)
        except BaseException:           # cancelled: nothing waits for the tasks any more
            self.cancel()
            raise
