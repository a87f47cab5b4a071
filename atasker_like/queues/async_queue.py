"""AsyncQueue: the queue whose callers are coroutines, and whose tasks run in their loop."""
from __future__ import annotations

import sys
from collections.abc import Awaitable
from functools import partial
from time import perf_counter

from .._inspect import name_of, open_parameters
from ..constants import TT_COROUTINE
from ..engine.blocking import deadline_of
from ..engine.loop_mailbox import FutureWatcher, mailbox_of
from ..errors import (ClosedError, InvalidTypeError, QueueFullError, QueueStateError,
                      WaitTimeoutError)
from ..pools.base import cancel_many
from ..waiting import _co_as_completed
from .base import TaskQueue
from .calls import check_names, is_async_iterable, iter_calls, merge
from .checkpoint import records_of
from .groups import TaskGroup
from .handles import LoopCall, TaskHandle, make_handles
from .hooks import call_after_hooks, log_hook
from .steps import co_drive
from .wait_group import WaitGroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from types import TracebackType
    from typing import Any, AsyncIterable, Callable, Iterable, TypeVar, overload

    from .._checks import Seconds
    from ..engine.spec import TaskSpec
    from ..engine.task import Task
    from ..options import TaskOptions
    from .calls import Call
    from .checkpoint import Checkpoint
    from .summary import RunSummary

    Q = TypeVar("Q", bound="AsyncQueue")
    T = TypeVar("T")
else:
    def overload(function):
        return function

__all__ = ["AsyncQueue"]


class _RoomWaiter(FutureWatcher):
    """Holds up a coroutine that submits, as a lock holds up a thread."""

    __slots__ = ()

    release = FutureWatcher.__call__


class AsyncQueue(TaskQueue):
    """Coroutines that run in the caller's loop, so many at a time, with a summary at the end.

    The parameters are those of a :class:`ThreadQueue`, with these differences: submitting to a full queue raises
    QueueFullError, and ``asubmit`` and ``amap`` wait for room; the initializer, a plain or a coroutine function, is called once, by
    ``start`` or ``run``; hooks are called in the loop. Submit from coroutines; from other threads once it has started.

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
    on_full = "raise"
    _handle = TaskHandle
    _group = TaskGroup

    if TYPE_CHECKING:
        def submit(self, fn: Callable[..., Any], /, *args: Any, opts: TaskOptions | None = None,
                   **options: Any) -> TaskHandle: ...

        def group(self, tasks: Any, items: Iterable[Any] | None = None, *, group_id: Any = None,
                  opts: TaskOptions | None = None, checkpoint: Checkpoint | None = None,
                  key: Callable[[Any], Any] | None = None, namespace: str | None = None, **options: Any) -> TaskGroup: ...

    def _reset(self, started: bool = False) -> None:
        super()._reset(started)
        # Of coroutines that wait for room. Apart from the submissions under way, for which a thread may wait.
        self._room_waiters = WaitGroup()
        if not started:
            self._loop: asyncio.AbstractEventLoop | None = None        # the loop that it was first used in
            self._initialized = False
            self._initializing: WaitGroup | None = None        # the initializer is being called

    def _reset_after_fork(self) -> None:
        super()._reset_after_fork()
        self._room_waiters = WaitGroup()

    # -- submitting --------------------------------------------------------------------------------

    @overload
    def map(self, fn: Callable[..., Any], items: Iterable[Any], *, opts: TaskOptions | None = None,
            checkpoint: Checkpoint | None = None, key: Callable[[Any], Any] | None = None,
            namespace: str | None = None, **options: Any) -> list[TaskHandle]: ...

    @overload
    def map(self, fn: Callable[..., Any], items: AsyncIterable[Any], *, opts: TaskOptions | None = None,
            checkpoint: Checkpoint | None = None, key: Callable[[Any], Any] | None = None,
            namespace: str | None = None, **options: Any) -> Awaitable[list[TaskHandle]]: ...

    def map(self, fn: Callable[..., Any], items: Any, **options: Any) -> Any:
        """Submit a call for each item and return the handles, in order. See :meth:`ThreadQueue.map`.

        Of an async iterable, which has to be awaited, this is :meth:`amap`: ``await queue.map(fn, items)``.
        """
        return self.amap(fn, items, **options) if is_async_iterable(items) else super().map(fn, items, **options)

    async def asubmit(self, fn: Callable[..., Any], /, *args: Any, opts: TaskOptions | None = None,
                      **options: Any) -> TaskHandle:
        """Submit one call, as :meth:`submit` does, and return its handle. If the queue is full, wait for room.

        >>> async def main():
        ...     async with AsyncQueue(workers=2, size=2) as queue:
        ...         return [await queue.asubmit(asyncio.sleep, 0, n) for n in range(9)]
        >>> import asyncio
        >>> len(asyncio.run(main()))
        9
        """
        check_names(fn, open_parameters(fn, len(args)), options, "give the option as opts=TaskOptions({0}=...), and the parameter with "
                                            "functools.partial(function, {0}=...)")
        return await self._asubmit_call(fn, merge(opts, options, self._option_owner()), args, None)

    async def _asubmit_call(self, function: Callable[..., Any], options: TaskOptions, args: tuple[Any, ...],
                            keywords: dict[str, Any] | None) -> TaskHandle:
        submit = partial(self._submit_call, function, options, args, keywords)
        handle: TaskHandle = await self._retry_until_room(self._spec(function, options, {}), submit)
        return handle

    async def amap(self, fn: Callable[..., Any], items: Iterable[Any] | AsyncIterable[Any], *,
                   opts: TaskOptions | None = None, checkpoint: Checkpoint | None = None,
                   key: Callable[[Any], Any] | None = None, namespace: str | None = None,
                   keep_items: bool = True, **options: Any) -> list[TaskHandle]:
        """Submit a call for each item, as :meth:`map` does, and return the handles. If the queue is full, wait for room.

        :param items: an iterable or an async iterable.
        """
        self._check_open()
        spec = self._spec(fn, opts, options, keep_items)
        page = records_of(checkpoint, fn, key, namespace)
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
                    for calls in iter_calls((item,), "amap", key, position):
                        await submit(calls)
                    position += 1
            else:
                for calls in iter_calls(items, "amap", key):       # type: ignore[arg-type]
                    await submit(calls)
            return make_handles(accepted, self._handle)
        except BaseException:
            cancel_many(accepted)       # all or none: nobody has their handles
            raise

    async def _retry_until_room(self, spec: TaskSpec, submit: Callable[[], T]) -> T:
        """Return what submit() returns; if that raises QueueFullError, wait for room and call it again."""
        lane, outside, entry = self._lane, self._room_waiters, object()
        try:
            outside.add(entry)
            while True:
                try:
                    return submit()
                except QueueFullError:
                    await self._wait_for_room(spec)
                if lane is not self._lane:
                    raise ClosedError(f"this {type(self).__name__} was reset meanwhile")
        finally:
            outside.done(entry)

    async def _wait_for_room(self, spec: TaskSpec) -> None:
        """Wait until there may be room in the lane."""
        lane, pool, gate = spec.lane, spec.pool, _RoomWaiter()
        if lane.paused:
            lane.warn_of_wait(f"room for task {spec.name}")
        if not pool.stand_outside(spec, lane, gate):        # type: ignore[attr-defined]
            return
        opened = False
        try:
            await gate.future
            opened = True
        finally:
            if not opened:
                pool.leave_outside(lane, gate)              # type: ignore[attr-defined]

    # -- its loop ------------------------------------------------------------------------------------

    def _bind_loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop of this queue: the one that it is first used in, until all its tasks have ended and nobody has it
        run more."""
        module: Any = sys.modules.get("asyncio")          # no loop runs where it was never imported
        running: asyncio.AbstractEventLoop | None = None if module is None else module._get_running_loop()
        loop = self._loop
        if loop is not None and loop is running:
            return loop
        in_use = self._running or self._started and not self._closed
        if loop is None or running is not None and (loop.is_closed() or not in_use and not len(self)):
            if running is None:
                raise QueueStateError("an AsyncQueue runs its tasks in the loop that it is used in, and no loop runs here; submit "
                                      "from a coroutine, for example inside asyncio.run()")
            self._loop = loop = running
            self._initialized = False
        elif running is not None and self._running:
            raise QueueStateError("this AsyncQueue runs in another loop; make one for each loop")
        return loop

    def _is_current(self, spec: TaskSpec) -> bool:
        return spec.loop is self._bind_loop()

    def _make_spec(self, function: Callable[..., Any], options: TaskOptions, loop: Any = None) -> TaskSpec:
        return super()._make_spec(function, options, self._bind_loop())

    def _add_initializer(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return function         # start() has called the initializer

    def _check_kind(self, function: Any, coroutine: bool) -> None:
        if not coroutine:
            raise InvalidTypeError(f"{name_of(function)} is not a coroutine function, and would block "
                                   "the loop of an AsyncQueue; define it with 'async def', or use a ThreadQueue")

    def _call_hook(self, name: str, call: Callable[[], Any], loop: Any) -> None:
        # Not the queue's own loop: that may be another one by now, or none after a reset().
        if not mailbox_of(loop).post(lambda _: log_hook(name, call), None):
            log_hook(name, call)        # the loop is closed; somebody may be waiting for the hook all the same

    async def run(self, timeout: Seconds | None = None, strict: bool = False, fail_policy: str | None = None,
                  progress: bool = False) -> RunSummary:
        """Run what was submitted, and what is submitted meanwhile, and return the summary when all of it has ended.

        See :meth:`ThreadQueue.run`. When the coroutine that runs it is cancelled, so are the tasks.
        """
        deadline = deadline_of(self.timeout if timeout is None else timeout)
        began = perf_counter()
        self._bind_loop()
        run = object()
        try:
            self._begin_run(run, fail_policy)
            await self._initialize()
            self._update_lane()
            if progress:
                await self._watch_progress(deadline)
            summary = await co_drive(self._run_steps(deadline, began))
        except BaseException:
            if self._running is run:
                self._cancel_unfinished(spare=False)
            raise
        finally:
            self._end_run(run)
        if strict:
            summary.raise_for_errors()
        return summary

    async def _initialize(self) -> None:
        """Call the initializer, unless it has been; one at a time, and again when it did not come to its end."""
        while self.initializer is not None and not self._initialized:
            initializing = self._initializing
            if initializing is not None:
                watcher = FutureWatcher()
                if initializing.add_waiter(watcher):
                    await watcher.future
                continue
            initializing = self._initializing = WaitGroup()
            initializing.add(1)
            try:
                made = self.initializer(*self.initargs)
                if isinstance(made, Awaitable):
                    await made
                self._initialized = True
            finally:
                self._initializing = None
                initializing.done(1)

    async def _await_task(self, task: Task[Any], deadline: float | None) -> bool:
        return await task._co_end(deadline)

    async def _await_submissions(self, deadline: float | None) -> bool:
        return (await self._room_waiters.co_wait(deadline)
                and await self._submissions.co_wait(deadline))

    async def _await_callbacks(self, deadline: float | None) -> bool:
        for call in self._callbacks.calls.copy():
            if type(call) is LoopCall and call.is_lost():
                self._callbacks.done(call)      # it was on its way into a loop that is closed by now
        if not await self._callbacks.co_wait(deadline):
            return False
        if self._hooks is None or self._pool is None:
            return True
        watcher = FutureWatcher()
        behind = partial(self._call_hook, "a hook", watcher, self._loop)
        if not call_after_hooks(self._pool, behind):
            behind()            # they may be on their way into the loop, which calls them in their order
        return await watcher.wait(deadline)

    async def _await_end(self, deadline: float | None) -> bool:
        watcher = FutureWatcher()
        if not self._add_end_waiter(watcher):
            return True
        try:
            return await watcher.wait(deadline)
        finally:
            self._remove_end_waiter(watcher)

    async def _watch_progress(self, deadline: float | None) -> None:
        """Draw until the tasks that are there have ended, or the deadline has come."""
        from .._progress import ProgressBar
        from ..engine.result import Failure

        tasks = self._tasks[self._reported:]
        bar = ProgressBar(len(tasks))
        done = failed = 0
        try:
            bar.update(done, failed)
            async for task in _co_as_completed(tasks, deadline, 0):
                done += 1
                failed += task.cancelled() or type(task._outcome) is Failure
                bar.update(done, failed)
        except WaitTimeoutError:
            pass                # the run says so
        finally:
            bar.finish(done, failed)

    async def start(self: Q) -> Q:
        """Run tasks as they come, from now on until the queue is shut down; return the queue.

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

    async def join(self, timeout: Seconds | None = None, progress: bool = False) -> None:
        """Wait until all tasks have ended, those too that come meanwhile. See :meth:`ThreadQueue.join`."""
        deadline = deadline_of(timeout)
        if self._needs_start():
            await self.start()
        if progress:
            await self._watch_progress(deadline)
        if await co_drive(self._finish(deadline, deadline)) is None:
            raise self._timeout_error(timeout)

    async def shutdown(self, force: bool = False) -> None:
        """Take no more tasks, finish those that were accepted, and return when they have ended.

        :param force: cancel them instead, also those that must complete.

        What the initializer raises, if that is still to be called, cancels them, too, and is raised here.
        """
        if force:
            self._discard()
        else:
            with self._lock:
                self._closing = True
            try:
                if self._submissions.add_waiter(lambda: None) or len(self):     # else there is nothing to call it for
                    await self._initialize()
            except BaseException:       # as those of a run: nobody runs them any more
                self.cancel()
                raise
            with self._lock:
                if not self._closed:
                    self._update_lane()
        await co_drive(self._finish(None, None))
        self._finish_closing()

    async def __aenter__(self) -> AsyncQueue:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        traceback: TracebackType | None) -> None:
        try:
            await self.shutdown(force=kind is not None)
        except BaseException:           # cancelled: nobody waits for them any more
            self.cancel()
            raise
