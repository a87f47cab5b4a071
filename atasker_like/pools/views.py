"""The pools for direct use: ``task_supervisor.thread_pool`` and ``task_supervisor.mp_pool``.

The first is used like a ``concurrent.futures.ThreadPoolExecutor``, the second like a
``multiprocessing.Pool``. Both are views of the supervisor's own pools, so that their calls have the
pools' priorities and fault handling.
"""
from __future__ import annotations

from collections import deque
from contextlib import suppress
from contextvars import copy_context
from functools import lru_cache, partial
from itertools import islice
from os import getpid
from threading import Semaphore, get_ident

from .._atomics import RLock
from .._checks import cut_frames, ends_traceback, ends_tracebacks, in_seconds, not_a_function
from .._fork import register
from .._log import log
from ..constants import TaskType
from ..engine.blocking import Latch, block, deadline_of
from ..engine.current import current
from ..engine.spec import TaskSpec
from ..engine.task import Task
from ..engine.wait_graph import block_on
from ..engine.wait_group import WaitGroup
from ..engine.waits import WaitedCall
from ..errors import SupervisorError, SupervisorStoppedError, WaitTimeoutError
from ..options import TaskOptions
from .cancelling import cancel_many

TYPE_CHECKING = False
if TYPE_CHECKING:

    from concurrent.futures import Future
    from typing import Any, Callable, Iterable, Iterator, Mapping, Sequence

    from .._checks import Seconds
    from .._generics import A, Q, R, T
    from ..engine.future import FutureView
    from .base import Pool


#: The most functions whose specs are kept.
_KEPT_SPECS = 256

#: The most calls that ``imap`` submits ahead of the next result.
_AHEAD = 256

#: The threads that call a callback of ``mp_pool``. Adding and removing one is a single step.
_calling_back: set[int] = set()


@ends_tracebacks("submit", "map")
class ThreadPoolView:
    """The thread pool, used like a :class:`concurrent.futures.ThreadPoolExecutor`.

    Its calls are tasks of NORMAL priority. The first submission starts the supervisor. Any thread
    may call it.

    >>> task_supervisor.thread_pool.submit(pow, 2, 3).result()
    8
    >>> list(task_supervisor.thread_pool.map(abs, [-1, 2]))
    [1, 2]
    """

    def __init__(self, pool: Pool, supervisor: Any) -> None:
        self._pool = pool
        self._supervisor = supervisor       # it ends when it is no longer referred to
        self._is_shut_down = False
        self._cancels = False               # shutdown() was called with cancel_futures
        self._futures: set[FutureView[Any]] = set()
        self._submissions = _Submissions()

    def submit(self, function: Callable[Q, R], /, *args: Q.args, **kwargs: Q.kwargs) -> Future[R]:
        """Run ``function(*args, **kwargs)``; return a :class:`concurrent.futures.Future`.

        :param function: any callable.
        :raises InvalidTypeError: (a TypeError) the function is not callable.
        :raises SupervisorStoppedError: (a RuntimeError) after :meth:`shutdown`, or the supervisor
            has been stopped.
        """
        try:
            return self._submit("thread_pool.submit", function, args, kwargs)
        except SupervisorError as error:
            cut_frames(error)
            raise

    def _submit(self, caller: str, function: Callable[..., Any], args: tuple[Any, ...],
                kwargs: dict[str, Any]) -> FutureView[Any]:
        if not callable(function):
            raise not_a_function(caller, function)
        from ..engine.future import FutureView

        task: Task[Any] = Task(TaskSpec(self._pool, function, TaskOptions()), args, kwargs or None,
                               copy_context())
        future: FutureView[Any] = FutureView(task)
        return self._submissions.submit(self._check_open, self._submit_future, future)

    def _check_open(self) -> None:
        if self._is_shut_down:
            raise SupervisorStoppedError("thread_pool.submit was called after "
                                         "thread_pool.shutdown(); submit a background_task, or "
                                         "call set_thread_pool() to use thread_pool again")

    def _submit_future(self, future: FutureView[Any]) -> FutureView[Any]:
        self._pool.submit(future.task)
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        if self._cancels:                   # the shutdown may not have seen the future
            future.cancel()
        return future

    def map(self, function: Callable[..., R], *iterables: Iterable[Any],
            timeout: Seconds | None = None, chunksize: int = 1) -> Iterator[R]:
        """Submit a call for each item of the iterables; return an iterator over the results.

        :param function: it is called with an item of each iterable.
        :param timeout: seconds from this call within which all results must arrive (default: no
            limit).
        :param chunksize: accepted for compatibility (default: 1); threads need no chunks.
        :raises WaitTimeoutError: (a TimeoutError) from the iterator after the timeout; the calls
            that are left are cancelled.
        """
        try:
            deadline = deadline_of(timeout)
            tasks = deque(self._submit("thread_pool.map", function, items, {}).task
                          for items in zip(*iterables))
        except SupervisorError as error:
            cut_frames(error)
            raise

        def results() -> Iterator[Any]:
            try:
                while True:
                    if not tasks:
                        return
                    if not (tasks[0].done() or tasks[0]._end(deadline)):
                        raise WaitTimeoutError("thread_pool.map: a result was not there in time; "
                                               "the calls that are left are cancelled")
                    yield tasks.popleft().value()
            finally:
                for task in tasks:
                    task.cancel()

        return results()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls here; the supervisor's own tasks go on.

        :param wait: block until the calls submitted here have ended (default: True).
        :param cancel_futures: cancel the calls that have not started (default: False).
        """
        self._is_shut_down = True
        if cancel_futures:
            self._cancels = True
            for future in list(self._futures):
                future.cancel()
        if wait:
            self._submissions.wait()
            for future in list(self._futures):
                future.task._end(None)


class _Submissions(WaitGroup):
    """The submissions of a view that are under way."""

    def __init__(self) -> None:
        super().__init__()
        register(self)

    # The submissions of other threads do not go on in a forked process.
    _reset_after_fork = WaitGroup.__init__

    def submit(self, check_open: Callable[[], None], submit: Callable[..., T],
               *arguments: Any) -> T:
        """Return ``submit(*arguments)``.

        A thread that closes the view waits for this call, or ``check_open()`` finds the view
        closed.
        """
        entry = object()
        try:
            self.calls[entry] = get_ident()
            check_open()
            submitted = submit(*arguments)
            self.done(entry)
            return submitted
        except BaseException:           # refused or interrupted, perhaps in the line before
            self.done(entry)
            raise


def _acquire(ended: Semaphore, deadline: float | None) -> bool:
    """Take from a semaphore; a pool thread lends its slot meanwhile."""
    return block(lambda blocking=True, timeout=-1.0:
                 ended.acquire(blocking, None if timeout < 0 or not blocking else timeout),
                 deadline)


# -- processes -------------------------------------------------------------------------------------


class _ResultCallback(WaitedCall):
    """The callback of a :class:`PoolResult`, for the graph of waits."""

    __slots__ = ("_result",)

    def __init__(self, result: PoolResult) -> None:
        self._result = result

    def done(self) -> bool:
        return not self._result._caller

    def thread(self) -> int:
        return self._result._thread

    def label(self) -> str:
        return "a callback of mp_pool"


class PoolResult:
    """The result of ``apply_async`` or ``map_async``.

    It is like a :class:`multiprocessing.pool.AsyncResult`. The calls have ended when the callback,
    too, has returned. Inside a callback, the methods wait for calls, and for no callback.
    """

    def __init__(self, pool: Pool, tasks: list[Task[Any]], single: bool,
                 callback: Callable[[Any], Any] | None,
                 error_callback: Callable[[BaseException], Any] | None,
                 pending: set[PoolResult]) -> None:
        self._tasks = tasks
        self._single = single
        #: The process whose threads have to call the callback; 0 if it has been called.
        self._caller = 0
        self._thread = 0                    # the thread that calls it
        self._waiters: list[Latch] = []     # of threads that wait until the callback has returned
        if callback is None and error_callback is None:
            return
        self._caller = getpid()
        pending.add(self)
        left = [None] * (len(tasks) - 1)
        run_callback = partial(self._run_callback, callback, error_callback, pending)
        # Never called in the thread that submits: the callback may wait for its next submission,
        # or for the end of this one.
        submitter = get_ident()

        def ended(task: Task[Any]) -> None:
            try:
                left.pop()                  # atomic: only the last task finds the list empty
            except IndexError:
                if get_ident() == submitter:
                    pool._spawn(run_callback)
                else:
                    run_callback()

        for task in tasks:
            task.add_done_callback(ended)
        if not tasks:
            (pool.defer_to_thread if pool.is_reentrant() else pool._spawn)(run_callback)
        submitter = 0

    def _run_callback(self, callback: Callable[[Any], Any] | None,
                      error_callback: Callable[[BaseException], Any] | None,
                      pending: set[PoolResult]) -> None:
        """Call the callback, then wake the threads that wait for it."""
        self._thread = thread = get_ident()
        is_outermost = thread not in _calling_back
        _calling_back.add(thread)
        outer = current.calls
        try:
            try:
                current.calls = self, None, outer
                value = self._value()
            except BaseException as error:
                if error_callback is not None:
                    error_callback(error)
            else:
                if callback is not None:
                    callback(value)
        except BaseException:
            log.exception("a callback of mp_pool raised; the result of the call is not affected")
        finally:
            current.calls = outer
            if is_outermost:
                _calling_back.discard(thread)
            self._caller = 0
            pending.discard(self)
            while self._waiters:            # a thread that comes later sees that there is no caller
                try:
                    waiter = self._waiters.pop()
                except IndexError:          # its timeout has passed
                    break
                waiter()

    def _is_called_back(self) -> bool:
        """Return True if the callback has returned, or if this thread cannot wait for it.

        A callback waits for no callback. A forked process does not call those of its parent.
        """
        caller = self._caller
        return (not caller or get_ident() in _calling_back or caller != getpid()
                or any(task._spec.pool.is_reentrant() for task in self._tasks[:1]))

    def _wait_called_back(self, deadline: float | None) -> bool:
        """Block until the callback has returned or the deadline passes."""
        if self._is_called_back():
            return True
        latch = Latch()
        self._waiters.append(latch)
        if self._is_called_back() or block_on((_ResultCallback(self),), latch.acquire, deadline,
                                              deadline is None):
            return True
        with suppress(ValueError):          # it is being called
            self._waiters.remove(latch)
        return self._is_called_back()

    def _value(self) -> Any:
        """Return the result of calls that have ended, or raise the first error."""
        tasks = self._tasks
        try:
            values = [task.value(0) for task in tasks]
        except BaseException:
            for task in tasks:              # none of their errors is logged as unseen
                if task.state == "failed":
                    task.exception(0)
            raise
        return values[0] if self._single else values

    @ends_traceback
    def get(self, timeout: Seconds | None = None) -> Any:
        """Return the result, or the list of results; raise the first error.

        :param timeout: seconds to wait at most (default: no limit).
        :raises multiprocessing.TimeoutError: (a TimeoutError, too) a call or the callback has not
            ended in time.
        """
        if not self._wait(timeout):
            raise _timeout_error()(f"a call of mp_pool has not ended after {in_seconds(timeout)}; "
                                   "it goes on")
        return self._value()

    @ends_traceback
    def wait(self, timeout: Seconds | None = None) -> None:
        """Block until all calls have ended, or for ``timeout`` seconds (default: no limit)."""
        self._wait(timeout)

    def _wait(self, timeout: Seconds | None) -> bool:
        deadline = deadline_of(timeout)
        return (all(task.done() or task._end(deadline) for task in self._tasks)
                and self._wait_called_back(deadline))

    def ready(self) -> bool:
        """Return True if all calls have ended."""
        return all(task.done() for task in self._tasks) and self._is_called_back()

    def successful(self) -> bool:
        """Return True if no call raised.

        :raises ValueError: a call has not ended.
        """
        if not self.ready():
            raise ValueError("the call of mp_pool has not ended: wait() first")
        return all(task.state == "succeeded" for task in self._tasks)


@lru_cache(maxsize=None)
def _timeout_error() -> type[WaitTimeoutError]:
    """Return an error class that is both multiprocessing's TimeoutError and this package's."""
    from multiprocessing import TimeoutError as PoolTimeoutError

    return type("PoolTimeoutError", (WaitTimeoutError, PoolTimeoutError), {"__module__": __name__})


class _Results:
    """The iterator of ``imap`` and ``imap_unordered``. It submits at most 256 calls ahead."""

    def __init__(self, submit: Callable[[list[tuple[Any, ...]]], list[Task[Any]]],
                 items: Iterable[Any], in_order: bool) -> None:
        self._submit = submit
        self._items = iter(items)
        self._in_order = in_order
        self._ordered: deque[Task[Any]] = deque()
        self._ended: deque[Task[Any]] = deque()
        self._arrived = Semaphore(0)
        self._left = 0
        # Guards the fields but _ended and _arrived. Reentrant, as the items may come from this
        # iterator.
        self._lock = RLock()
        self._fill()

    def _fill(self) -> None:
        calls = [(item,) for item in islice(self._items, _AHEAD - self._left)]
        tasks = self._submit(calls) if calls else []
        self._left += len(tasks)
        if self._in_order:
            self._ordered.extend(tasks)
            return
        for task in tasks:
            task.add_done_callback(self._arrive)

    def _arrive(self, task: Task[Any]) -> None:
        self._ended.append(task)
        self._arrived.release()

    def __iter__(self) -> _Results:
        return self

    def __next__(self) -> Any:
        return self.next()

    @ends_traceback
    def next(self, timeout: Seconds | None = None) -> Any:
        """Return the next result, or raise the error of its call.

        :param timeout: seconds to wait at most (default: no limit).
        :raises StopIteration: there are no more results.
        :raises multiprocessing.TimeoutError: (a TimeoutError, too) no result is there in time; a
            later call may return it.
        """
        deadline = deadline_of(timeout)
        task: Task[Any] | None = None
        with self._lock:
            if self._left <= _AHEAD // 2:
                self._fill()
            if not self._left:
                raise StopIteration
            self._left -= 1
            if self._in_order:
                task = self._ordered.popleft()      # another thread gets the one after it
        there = False
        try:
            there = (_acquire(self._arrived, deadline) if task is None
                     else task.done() or task._end(deadline))
        finally:
            if not there:
                with self._lock:
                    self._left += 1
                    if task is not None:
                        self._ordered.appendleft(task)
        if not there:
            raise _timeout_error()("the next result of mp_pool was not there after "
                                   f"{in_seconds(timeout)}")
        if task is None:
            task = self._ended.popleft()
        return task.value(0)


@ends_tracebacks()
class ProcessPoolView:
    """The process pool, used like a :class:`~multiprocessing.pool.Pool`. Any thread may call it.

    Its calls are tasks of NORMAL priority. The pool itself decides how many calls it sends to a
    process at a time, so ``chunksize`` has no effect. The first submission starts the supervisor.

    >>> supervisor = TaskSupervisor()
    >>> supervisor.create_mp_pool(processes=1)
    >>> supervisor.mp_pool.map(abs, [-1, 2])
    [1, 2]
    >>> supervisor.stop().complete
    True
    """

    def __init__(self, pool: Any, supervisor: Any) -> None:
        self._pool = pool
        self._supervisor = supervisor       # see ThreadPoolView
        self._specs: dict[Any, TaskSpec] = {}
        self._live: set[Task[Any]] = set()
        #: The results whose callbacks have not returned.
        self._pending_callbacks: set[PoolResult] = set()
        self._closed = False
        self._is_terminated = False
        self._submissions = _Submissions()

    def _spec(self, function: Callable[..., Any]) -> TaskSpec:
        if not callable(function):
            raise not_a_function("mp_pool", function)
        try:
            spec = self._specs.get(function)
        except TypeError:                   # not hashable
            return TaskSpec(self._pool, function, TaskOptions(), TaskType.MP)
        if spec is None:
            if len(self._specs) >= _KEPT_SPECS:
                self._specs.clear()         # dict operations are atomic; a lost entry is made again
            spec = self._specs[function] = TaskSpec(self._pool, function, TaskOptions(),
                                                    TaskType.MP)
        return spec

    def _check_running(self) -> None:
        if self._closed:
            raise ValueError("mp_pool takes no more calls after close() or terminate(); submit a "
                             "background_task, or make another pool with create_mp_pool()")

    def _keep(self, tasks: list[Task[Any]]) -> list[Task[Any]]:
        for task in tasks:
            self._live.add(task)
            task.add_done_callback(self._live.discard)
        if self._is_terminated:             # terminate() may not have seen them
            cancel_many(tasks)
        return tasks

    def _submit(self, submit: Callable[[], T]) -> T:
        return self._submissions.submit(self._check_running, submit)

    def _start_all(self, function: Callable[..., Any],
                   calls: list[tuple[Any, ...]]) -> list[Task[Any]]:
        return self._keep(self._pool.start_many(self._spec(function), calls)) if calls else []

    def apply(self, func: Callable[..., Any], args: Sequence[Any] = (),
              kwds: Mapping[str, Any] | None = None) -> Any:
        """Run ``func(*args, **kwds)`` in a process; block for the result.

        :param func: a function that a process can import.
        :param args: its positional arguments (default: empty).
        :param kwds: its keyword arguments (default: None).
        :return: what the function returned.
        """
        return self.apply_async(func, args, kwds).get()

    def apply_async(self, func: Callable[..., Any], args: Sequence[Any] = (),
                    kwds: Mapping[str, Any] | None = None,
                    callback: Callable[[Any], Any] | None = None,
                    error_callback: Callable[[BaseException], Any] | None = None) -> PoolResult:
        """Run ``func(*args, **kwds)`` in a process, without waiting.

        Return an object like :class:`multiprocessing.pool.AsyncResult`.

        :param func: a function that a process can import.
        :param args: its positional arguments (default: empty).
        :param kwds: its keyword arguments (default: None).
        :param callback: called with the result (default: None).
        :param error_callback: called with the error (default: None).
        """
        call = tuple(args), dict(kwds) if kwds else None
        return self._submit(lambda: PoolResult(
            self._pool, self._keep([self._pool.start(self._spec(func), *call)]), True, callback,
            error_callback, self._pending_callbacks))

    def map(self, func: Callable[[A], R], iterable: Iterable[A],
            chunksize: int | None = None) -> list[R]:
        """Call a function with each item; return the results in order.

        :param func: a function that a process can import.
        :param iterable: one item for each call.
        :param chunksize: without effect (default: None).
        """
        return self.map_async(func, iterable, chunksize).get()  # type: ignore[no-any-return]

    def map_async(self, func: Callable[..., Any], iterable: Iterable[Any],
                  chunksize: int | None = None, callback: Callable[[Any], Any] | None = None,
                  error_callback: Callable[[BaseException], Any] | None = None) -> PoolResult:
        """Call a function with each item, without waiting.

        Return an object like :class:`multiprocessing.pool.AsyncResult`, with the list of results.

        :param func: a function that a process can import.
        :param iterable: one item for each call.
        :param chunksize: without effect (default: None).
        :param callback: called with the list of results (default: None).
        :param error_callback: called with the first error (default: None).
        """
        return self._map(func, [(item,) for item in iterable], callback, error_callback)

    def starmap(self, func: Callable[..., R], iterable: Iterable[Iterable[Any]],
                chunksize: int | None = None) -> list[R]:
        """Call a function with each item unpacked as its arguments; return the results in order.

        :param func: a function that a process can import.
        :param iterable: the arguments of each call.
        :param chunksize: without effect (default: None).
        """
        return self.starmap_async(func, iterable, chunksize).get()  # type: ignore[no-any-return]

    def starmap_async(self, func: Callable[..., Any], iterable: Iterable[Iterable[Any]],
                      chunksize: int | None = None, callback: Callable[[Any], Any] | None = None,
                      error_callback: Callable[[BaseException], Any] | None = None) -> PoolResult:
        """Call a function with each item unpacked as its arguments.

        Return an object like :class:`multiprocessing.pool.AsyncResult`, with the list of results.

        :param func: a function that a process can import.
        :param iterable: the arguments of each call.
        :param chunksize: without effect (default: None).
        :param callback: called with the list of results (default: None).
        :param error_callback: called with the first error (default: None).
        """
        return self._map(func, [tuple(item) for item in iterable], callback, error_callback)

    def _map(self, func: Callable[..., Any], calls: list[tuple[Any, ...]],
             callback: Callable[[Any], Any] | None,
             error_callback: Callable[[BaseException], Any] | None) -> PoolResult:
        return self._submit(lambda: PoolResult(
            self._pool, self._start_all(func, calls), False, callback, error_callback,
            self._pending_callbacks))

    def imap(self, func: Callable[..., Any], iterable: Iterable[Any],
             chunksize: int = 1) -> _Results:
        """Call a function with each item; return an iterator over the results in order.

        The iterator has a method ``next(timeout)``.

        :param func: a function that a process can import.
        :param iterable: one item for each call.
        :param chunksize: without effect (default: 1).
        """
        return self._imap(func, iterable, True)

    def imap_unordered(self, func: Callable[..., Any], iterable: Iterable[Any],
                       chunksize: int = 1) -> _Results:
        """Call a function with each item; return an iterator over the results as they arrive.

        The iterator has a method ``next(timeout)``.

        :param func: a function that a process can import.
        :param iterable: one item for each call.
        :param chunksize: without effect (default: 1).
        """
        return self._imap(func, iterable, False)

    def _imap(self, func: Callable[..., Any], iterable: Iterable[Any], in_order: bool) -> _Results:
        self._check_running()
        return _Results(lambda calls: self._submit(lambda: self._start_all(func, calls)), iterable,
                        in_order)

    def close(self) -> None:
        """Take no more calls here; the supervisor's own tasks go on."""
        self._closed = True

    def terminate(self) -> None:
        """Cancel the calls made here that have not ended, and take no more."""
        self._closed = self._is_terminated = True
        cancel_many(list(self._live))

    def join(self) -> None:
        """Block until the calls made here have ended, and their callbacks have returned.

        :raises ValueError: neither :meth:`close` nor :meth:`terminate` was called.
        """
        if not self._closed:
            raise ValueError("mp_pool.join() comes after close() or terminate()")
        self._submissions.wait()
        for task in list(self._live):
            task.wait()
        for result in list(self._pending_callbacks):
            result._wait_called_back(None)

    def pids(self) -> list[int]:
        """Return the process ids of the pool processes."""
        return self._pool.pids()  # type: ignore[no-any-return]

    def __enter__(self) -> ProcessPoolView:
        self._check_running()
        return self

    def __exit__(self, *error: Any) -> None:
        self.terminate()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._pool.name}>"
