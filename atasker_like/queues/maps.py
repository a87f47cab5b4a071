"""Functions for scripts: amap, tmap and pmap, which make a queue for one call.

And iter_completed and run."""
from __future__ import annotations

from operator import length_hint

from .._checks import a_kind, ends_traceback
from .._inspect import has_method, name_of
from ..engine.blocking import deadline_of, remaining
from ..engine.current import running_loop
from ..errors import ClosedError, ExecutionError, InvalidTypeError, SupervisorBusyError
from ..options import TaskOptions
from ..waiting import _CoCompletionQueue, as_completed, shows_progress, watch_tasks
from .async_queue import AsyncQueue
from .calls import is_async_iterable, merge, unknown_keyword
from .config import ARGUMENTS
from .sync_queue import ProcessQueue, ThreadQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing_extensions import (Any, AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable,
                                   Iterator, TypeVar, Unpack, overload)

    from .._checks import Seconds
    from .._generics import A, B, R, T, Ts
    from .._habits import Handle
    from .._progress import ShowProgress
    from .._wait_arguments import TaskViews
    from .._watching import Watch
    from ..supervisor.supervisor import TaskSupervisor
    from ..tasks import BoundTask, TakesMany, TakesOne
    from ..waiting import One
    from .handles import TaskHandle
    from .signatures import (AsyncKeywords, AsyncTuples, Keywords, Mixed, Pending, ScriptOptions,
                             TakesOneOrTwo, Tuples)
    from .summary import RunSummary

    F = TypeVar("F", bound=Callable[..., Any])


_OF_MAP = ("checkpoint", "key", "namespace", "keep_items")
_KEYWORDS = (*ARGUMENTS, *TaskOptions.__slots__, "opts", "mode", *_OF_MAP)


def _take(options: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: options.pop(name) for name in names if name in options}


def _make_queue(kind: type[Any], caller: str, fn: Any,
                options: dict[str, Any]) -> tuple[Any, TaskOptions, dict[str, Any]]:
    """Return a queue, the options of its tasks, and the other arguments of its ``map()``.

    :param options: the keywords of a call; ``timeout`` is that of the queue.
    """
    for name in options:
        if name not in _KEYWORDS:
            raise unknown_keyword(name, _KEYWORDS, caller, fn)
    if "mode" in options:
        raise InvalidTypeError(f"{caller} ends with the last item, so it takes no mode=; make a "
                               "queue, and call its run()")
    queue = kind(**_take(options, ARGUMENTS))
    resumed = _take(options, _OF_MAP)
    return queue, merge(options.pop("opts", None), options, queue._option_owner()), resumed


def _values(summary: RunSummary, handles: list[Any]) -> tuple[Any, ...]:
    summary.raise_for_errors(include_cancelled=True)
    return tuple(handle.value() for handle in handles)


def _timeout_error(queue: Any) -> ExecutionError:
    return ExecutionError(f"the time of {queue.timeout:g} s was over before all calls had been "
                          "submitted; those that had been have succeeded, or are cancelled", ())


def _call_at(supervisor: TaskSupervisor, deadline: float,
             call: Callable[[], None]) -> Callable[[], None]:
    """Have a pool thread make a call at a point of the monotonic clock.

    Return a function that withdraws the call, unless it has begun.

    :raises SupervisorStoppedError: the supervisor has been stopped.
    """
    pools = supervisor._supervisor_parts.pools
    pools.start_timer()
    entry = pools.timer.call_at(deadline, pools.threads.spawn, call)
    return lambda: pools.timer.cancel(entry)


def _watched(queue: Any, progress: Any, fn: Any, items: Any, opts: Any,
             kind: Any) -> tuple[Watch, Any]:
    """Return a watch over the tasks of a queue, and items that look at it as they are taken.

    For a bounded queue: when all calls have been submitted, most of them have ended.
    """
    watch = watch_tasks(progress, [], queue._further_tasks(), kind, length_hint(items, 0),
                        opts.name or name_of(fn))

    def iterate() -> Iterator[Any]:
        for item in items:
            watch.catch_up()
            yield item

    async def co_iterate() -> AsyncIterator[Any]:
        async for item in items:
            watch.catch_up()
            yield item

    if is_async_iterable(items):
        return watch, co_iterate()
    if has_method(items, "__iter__") and not isinstance(items, (str, bytes)):
        return watch, iterate()
    return watch, items         # which map() refuses


def _map_in_queue(kind: type[Any], fn: Callable[..., Any], items: Iterable[Any], progress: Any,
                  options: dict[str, Any], caller: str) -> tuple[Any, ...]:
    shown, watch = shows_progress(progress), None
    queue, opts, resumed = _make_queue(kind, caller, fn, options)
    # For submitting, too: a bounded queue runs meanwhile.
    deadline = deadline_of(queue.timeout)
    cancel_accepted = None
    try:
        if queue.size:
            queue.start()           # there is room only if it runs
            if shown:
                watch, items = _watched(queue, progress, fn, items, opts, None)
                progress = watch
                watch.__enter__()
            if deadline is not None and not (opts.must_complete and queue.on_timeout == "complete"):
                cancel_accepted = _call_at(queue.supervisor, deadline, queue._on_timeout)
        try:
            handles = queue.map(fn, items, opts=opts, **resumed)
        except ClosedError:
            # A failure or the timeout came before all calls were submitted: raise that.
            if not queue.closed:
                queue.run(remaining(deadline)).raise_for_errors(include_cancelled=True)
                if remaining(deadline) == 0:
                    raise _timeout_error(queue) from None
            raise
        finally:
            if cancel_accepted is not None:
                cancel_accepted()
        summary = queue.run(remaining(deadline), progress=progress)
    except BaseException:
        queue.cancel()
        raise
    finally:
        if watch is not None:
            watch.close()
    return _values(summary, handles)


if TYPE_CHECKING:
    @overload
    def tmap(fn: TakesOne[A, R], items: Iterable[A],
             **options: Unpack[ScriptOptions]) -> tuple[R, ...]: ...

    @overload
    def tmap(fn: Callable[[A], R], items: Iterable[A],
             **options: Unpack[ScriptOptions]) -> tuple[R, ...]: ...

    @overload
    def tmap(fn: TakesMany[Unpack[Ts], R], items: Tuples[Unpack[Ts]],
             **options: Unpack[ScriptOptions]) -> tuple[R, ...]: ...

    @overload
    def tmap(fn: Callable[[Unpack[Ts]], R], items: Tuples[Unpack[Ts]],
             **options: Unpack[ScriptOptions]) -> tuple[R, ...]: ...

    @overload
    def tmap(fn: BoundTask[..., R], items: Keywords,
             **options: Unpack[ScriptOptions]) -> tuple[R, ...]: ...

    @overload
    def tmap(fn: Callable[..., R], items: Keywords,
             **options: Unpack[ScriptOptions]) -> tuple[R, ...]: ...

    @overload
    def tmap(fn: TakesOneOrTwo[A, B, R], items: Mixed[A, B],
             **options: Unpack[ScriptOptions]) -> tuple[R, ...]: ...


@ends_traceback
def tmap(fn: Callable[..., Any], items: Iterable[Any], *, progress: ShowProgress = False,
         **options: Any) -> tuple[Any, ...]:
    """Call a function for each item in pool threads and return the values, in order.

    All other parameters of a :class:`ThreadQueue` and of :class:`TaskOptions` are taken, too. So
    are ``checkpoint``, ``key``, ``namespace`` and ``keep_items``, see :meth:`ThreadQueue.map`. May
    be called from any thread.

    :param fn: a callable.
    :param items: a tuple is unpacked as positional arguments, a mapping as keywords; any other item
        is the one argument.
    :param progress: show the progress: True, a description, or a function that is called with
        ``(done, total, failed)`` (default: False).
    :param timeout: seconds for all calls together, submitting included. Then the rest is cancelled
        (default: None, no limit).
    :raises ExecutionError: a call failed or was cancelled; its ``results`` are those of the calls
        that did not succeed.

    >>> tmap(pow, [(2, 3), (2, 4)], workers=2)
    (8, 16)
    """
    return _map_in_queue(ThreadQueue, fn, items, progress, options, "tmap")


def _typed_as(function: F) -> Callable[[Callable[..., Any]], F]:
    """Decorate a function that has the types of another one. It is :func:`ends_traceback`, too."""
    return ends_traceback       # type: ignore[return-value]


@_typed_as(tmap)
def pmap(fn: Callable[..., Any], items: Iterable[Any], *, progress: ShowProgress = False,
         **options: Any) -> tuple[Any, ...]:
    """Call a function for each item in pool processes and return the values, in order.

    See :func:`tmap`. Any thread may call it.

    :param fn: a callable that a process can import.
    :param items: as for :func:`tmap`, and so are the options.
    :param progress: as for :func:`tmap`, and so are the options (default: False).

    >>> pmap(abs, [-1, 2])
    (1, 2)
    """
    return _map_in_queue(ProcessQueue, fn, items, progress, options, "pmap")


if TYPE_CHECKING:
    @overload
    async def amap(fn: Callable[[A], Pending[R]], items: Iterable[A] | AsyncIterable[A],
                   **options: Unpack[ScriptOptions]) -> tuple[R, ...]: ...

    @overload
    async def amap(fn: Callable[[Unpack[Ts]], Pending[R]],
                   items: Tuples[Unpack[Ts]] | AsyncTuples[Unpack[Ts]],
                   **options: Unpack[ScriptOptions]) -> tuple[R, ...]: ...

    @overload
    async def amap(fn: Callable[..., Pending[R]], items: Keywords | AsyncKeywords,
                   **options: Unpack[ScriptOptions]) -> tuple[R, ...]: ...

    @overload
    async def amap(fn: TakesOneOrTwo[A, B, Pending[R]], items: Mixed[A, B],
                   **options: Unpack[ScriptOptions]) -> tuple[R, ...]: ...


@ends_traceback
async def amap(fn: Callable[..., Any], items: Iterable[Any] | AsyncIterable[Any], *,
               progress: ShowProgress = False, **options: Any) -> tuple[Any, ...]:
    """Call a coroutine function for each item in the running loop and return the values, in order.

    See :func:`tmap`. Call it in the thread of a running loop.

    :param fn: a coroutine function.
    :param items: an iterable or an async iterable.
    :param progress: as for :func:`tmap`, and so are the options (default: False).

    >>> import asyncio
    >>> run(amap(asyncio.sleep, [(0, 'a'), (0, 'b')], workers=10))
    ('a', 'b')
    """
    shown, watch = shows_progress(progress), None
    queue, opts, resumed = _make_queue(AsyncQueue, "amap", fn, options)
    deadline = deadline_of(queue.timeout)
    shows: Any = progress
    try:
        if queue.size or is_async_iterable(items):
            if shown:
                watch, items = _watched(queue, progress, fn, items, opts, _CoCompletionQueue)
                shows = watch
                watch.__enter__()
            handles = await _submit_while_running(queue, fn, items, deadline, opts, resumed)
        else:
            handles = queue.map(fn, items, opts=opts, **resumed)
        summary = await queue.run(remaining(deadline), progress=shows)
    except BaseException:
        queue.cancel()
        raise
    finally:
        if watch is not None:
            watch.close()
    return _values(summary, handles)


async def _submit_while_running(queue: AsyncQueue, fn: Callable[..., Any], items: Any,
                                deadline: float | None, opts: TaskOptions,
                                resumed: dict[str, Any]) -> list[TaskHandle]:
    """Submit calls to a queue that runs meanwhile, as some wait for room or for the next item."""
    import asyncio

    if opts.must_complete and queue.on_timeout == "complete":
        deadline = None
    await queue.start()
    filling = asyncio.ensure_future(queue.amap(fn, items, opts=opts, **resumed))
    try:
        left = remaining(deadline)
        await asyncio.wait({filling}, timeout=left)
        if not filling.done():
            queue._on_timeout()
            raise _timeout_error(queue)
        return await filling
    except ClosedError:
        if queue.closed:
            raise
        # A failure came before all calls were submitted: raise that.
        (await queue.run(remaining(deadline))).raise_for_errors(include_cancelled=True)
        raise
    finally:
        if not filling.done():
            filling.cancel()
            await asyncio.wait({filling})


if TYPE_CHECKING:
    @overload
    def iter_completed(handles: Iterable[One], timeout: Seconds | None = None) -> Iterator[One]: ...

    @overload
    def iter_completed(handles: Iterable[TaskViews[One]],
                       timeout: Seconds | None = None) -> Iterator[One]: ...

    @overload
    def iter_completed(handles: Iterable[Handle[Any] | TaskViews[Any]],
                       timeout: Seconds | None = None) -> Iterator[Any]: ...


@ends_traceback
def iter_completed(handles: Iterable[Any], timeout: Seconds | None = None) -> Iterator[Any]:
    """Yield handles as their tasks end, and block in between: another name of :func:`as_completed`.

    Any thread may call it.

    :param handles: any iterable of handles, groups and tasks.
    :param timeout: seconds for all of them together; None waits without limit, 0 yields those that
        have ended (default: None).
    :raises WaitTimeoutError: (a TimeoutError) some are unfinished; they go on.

    >>> with ThreadQueue() as queue:
    ...     [handle.value() for handle in iter_completed(queue.map(abs, [-7]))]
    [7]
    """
    completed: Iterator[Any] = as_completed(handles, timeout)
    return completed


@ends_traceback
def run(coro: Coroutine[Any, Any, T], *, debug: bool | None = None) -> T:
    """Run a coroutine in a new event loop and return its value, as :func:`asyncio.run` does.

    asyncio need not be imported before.

    :param coro: a coroutine, such as the call of a coroutine function.
    :param debug: run the loop in debug mode; None leaves that to the interpreter (default: None).
    :raises SupervisorBusyError: (a RuntimeError) a loop runs in this thread.
    :raises InvalidTypeError: (a TypeError) it is not a coroutine.

    >>> import asyncio
    >>> run(asyncio.sleep(0, 'slept'))
    'slept'
    """
    import asyncio

    if not asyncio.iscoroutine(coro):
        advice = "wait_completed() waits for tasks"
        if callable(coro):
            advice = "call the coroutine function, and pass what it returns"
        raise InvalidTypeError(f"run takes a coroutine, not {a_kind(coro)}; {advice}")
    if running_loop() is not None:
        name = name_of(coro)
        coro.close()            # else Python warns that it was never awaited
        raise SupervisorBusyError(f"run() cannot run {name} in a thread whose event loop runs; "
                                  f"write 'await {name}(...)' instead of 'run({name}(...))'")
    return asyncio.run(coro, debug=debug)
