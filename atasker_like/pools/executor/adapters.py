"""Adapters that give calls to the different kinds of executors.

An adapter submits each call once and reports its end once: the return value, the executor's error,
or that the executor has thrown the call out. The report comes in a thread of the executor. No lock
is held when an executor is called.
"""
from __future__ import annotations

import os
import sys

from ..._ids import new_id
from ..._inspect import shown
from ..._log import log
from ...errors import InvalidTypeError
from ..base import Pool
from ..views import ProcessPoolView

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Optional

    #: Called once for each submitted call: the executor's error or None, the return value, and True
    #: if the executor has thrown the call out.
    OnDone = Callable[[Optional[BaseException], Any, bool], None]


_PACKAGE = __name__.partition(".")[0]


class ExecutorAdapter:
    """The adapter of one executor."""

    #: True if functions and classes cross by name only.
    by_name: bool = False
    #: True if several short calls may go in as one: a worker that dies breaks the executor, so that
    #: all its calls are lost anyway, or the executor repeats calls anyway.
    bundles: bool = False
    #: True if a call goes in as bytes: the executor searches other arguments for futures, and loses
    #: a worker by a function that the worker cannot import.
    as_bytes: bool = False
    #: True if the executor repeats the calls of a worker that dies.
    repeats: bool = False
    #: The topic under which calls send messages; None if the executor carries none.
    topic: str | None = None

    def __init__(self, executor: Any) -> None:
        self.executor = executor
        self.name: str = type(executor).__name__
        interpreters = _is_one_of(executor, ("concurrent.futures.interpreter",
                                             "InterpreterPoolExecutor"))
        self.in_process: bool = not interpreters and _is_one_of(
            executor, ("concurrent.futures.thread", "ThreadPoolExecutor"),
            ("multiprocessing.pool", "ThreadPool"))
        standard = _is_one_of(executor, ("concurrent.futures.process", "ProcessPoolExecutor"))
        self.by_name = self.by_name or standard or interpreters
        self.bundles = (standard or interpreters
                        or type(executor).__module__.partition("externals.")[2].startswith("loky")
                        or type(executor).__module__.startswith("loky"))
        #: A future that can be cancelled stands for a call that has not begun. True until two calls
        #: have ended whose futures were never marked as running.
        self.honest: bool = True
        self._marks: bool | None = self.by_name or self.in_process or None
        self._unmarked = 0

    @property
    def python(self) -> tuple[int, int] | None:
        """The version of Python whose code may cross by value, or None."""
        return None if self.by_name else sys.version_info[:2]

    def size(self) -> int:
        """Return the number of calls that the executor runs at once (default: the CPU count)."""
        for attribute in ("_max_workers", "_processes", "max_workers", "num_workers"):
            size = getattr(self.executor, attribute, None)
            if isinstance(size, int) and not isinstance(size, bool) and size > 0:
                return size
        return self._guess("does not tell how many calls it runs at once",
                           "set another number with set_mp_pool(pool_size=...)")

    def _guess(self, reason: str, advice: str) -> int:
        """Return the CPU count as the number of calls, and warn."""
        size = os.cpu_count() or 1
        log.warning("the executor %s %s: it gets %d at a time, one for each CPU here; %s",
                    self.name, reason, size, advice)
        return size

    def submit(self, function: Callable[..., Any], arguments: tuple[Any, ...],
               on_done: OnDone) -> Any:
        """Submit a call; return the handle for :meth:`cancel`.

        ``on_done`` may be called before this returns.
        """
        future = self._submit(function, arguments)
        watched = self._marks is None and self._watch(future)

        def done(future: Any) -> None:
            try:
                if future.cancelled():
                    on_done(None, None, True)
                    return
                error = future.exception()
                value = None if error is not None else future.result()
            except BaseException as raised:     # a faulty executor: the task must end in any case
                on_done(raised, None, False)
                return
            if watched and self._marks is None:
                self._unmarked += 1
                if self._unmarked > 1:
                    self.honest = self._marks = False
            on_done(error, value, False)

        future.add_done_callback(done)
        return future

    def _watch(self, future: Any) -> bool:
        """Note if the executor marks a future as running. Return False if that cannot be seen."""
        begin = getattr(future, "set_running_or_notify_cancel", None)
        if begin is None:
            return False

        def noted() -> bool:
            self._marks = True
            return bool(begin())

        try:
            future.set_running_or_notify_cancel = noted
        except AttributeError:
            return False
        if hasattr(future, "object_ref"):       # Ray's: its cancel() does not reach Ray
            self.honest = self._marks = False
        elif future.running():
            self._marks = True
        return not future.done()

    def _submit(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        return self.executor.submit(function, *arguments)

    def cancel(self, handle: Any) -> bool:
        """Ask the executor to cancel a call. Return True if the call will not run."""
        return self.honest and bool(handle.cancel())

    def listen(self, on_message: Callable[[Any], None]) -> None:
        """Have a function called with each message of a call, if the executor carries messages.

        A thread of the executor calls it, so it must not block.
        """

    def attempts(self, error: BaseException) -> int:
        """Return how often the executor has started a call that ended with an error."""
        return 1

    def is_shut_down(self) -> bool:
        """Return True if the executor will report no more ends."""
        return False


class _PebbleAdapter(ExecutorAdapter):
    """An executor with ``schedule``, as pebble's. Its ``cancel`` ends a call that runs."""

    by_name = True

    def size(self) -> int:
        """Return the number of processes of the pool."""
        return getattr(getattr(self.executor, "_context", None), "workers", 0) or super().size()

    # The arguments go in as one tuple, so that none is taken for an option of schedule().

    def _submit(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        return self.executor.schedule(function, args=arguments)


class _DaskAdapter(ExecutorAdapter):
    """The executor of a Dask client. A call whose future is cancelled goes on if it runs."""

    # Dask computes equal calls once. No two of ours are equal, since each has the id of a task and
    # the number of an attempt.
    repeats = as_bytes = True

    def __init__(self, executor: Any) -> None:
        super().__init__(executor)
        self.honest = self._marks = False
        self.bundles = True

    def size(self) -> int:
        """Return the number of threads that the workers of the cluster have."""
        try:
            threads = sum(self.executor._client.nthreads().values())
        except Exception:           # another version of Dask, or no connection to the cluster
            return super().size()
        return threads or self._guess("has no workers now",
                                      "call set_mp_pool(pool_size=0) when they are there")

    def listen(self, on_message: Callable[[Any], None]) -> None:
        """See :meth:`ExecutorAdapter.listen`. The messages are events of Dask."""
        topic = f"{_PACKAGE}-{new_id()}"
        try:
            self.executor._client.subscribe_topic(topic, lambda event: on_message(event[1]))
        except Exception:           # another version of Dask, or no connection to the cluster
            return
        self.topic = topic

    def attempts(self, error: BaseException) -> int:
        """See :meth:`ExecutorAdapter.attempts`. Dask repeats a call whose worker has died."""
        return 1 + (getattr(error, "allowed_failures", 0) or 0)


class _MultiprocessingAdapter(ExecutorAdapter):
    """A ``multiprocessing.Pool``. It has no futures and does not report the calls that it loses."""

    def __init__(self, executor: Any) -> None:
        super().__init__(executor)
        self.by_name = _is_one_of(executor, ("multiprocessing.pool", "Pool"))
        self.honest = False

    def submit(self, function: Callable[..., Any], arguments: tuple[Any, ...],
               on_done: OnDone) -> Any:
        return self.executor.apply_async(function, arguments,
                                         callback=lambda value: on_done(None, value, False),
                                         error_callback=lambda error: on_done(error, None, False))

    def is_shut_down(self) -> bool:
        return getattr(self.executor, "_state", None) in ("TERMINATE", 2)


def _is_one_of(executor: Any, *classes: tuple[str, str]) -> bool:
    """Return True if an executor is an instance of one of the classes."""
    # No import: if it is an instance, the module has been imported.
    for module, name in classes:
        found = getattr(sys.modules.get(module), name, None)
        if found is not None and isinstance(executor, found):
            return True
    return False


def adapt(executor: Any) -> ExecutorAdapter:
    """Return the adapter for an executor.

    :raises InvalidTypeError: the object is not an executor.
    """
    if (isinstance(executor, (Pool, ProcessPoolView))
            or _is_one_of(executor, (_PACKAGE + ".executors", "ProcessExecutor"))):
        raise InvalidTypeError("mp_pool takes an executor, and this is the own pool of another "
                               "supervisor, which runs that one's tasks only; have this supervisor "
                               "make one: create_mp_pool()")
    if _is_one_of(executor, ("distributed.cfexecutor", "ClientExecutor")):
        return _DaskAdapter(executor)
    for method, kind in (("schedule", _PebbleAdapter), ("submit", ExecutorAdapter),
                         ("apply_async", _MultiprocessingAdapter)):
        if callable(getattr(executor, method, None)) and not isinstance(executor, type):
            return kind(executor)
    raise InvalidTypeError("mp_pool takes a concurrent.futures.Executor, a multiprocessing.Pool, "
                           f"or None for the supervisor's own pool, not {shown(executor)}")
