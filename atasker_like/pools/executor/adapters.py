"""Adapters that give calls to the different kinds of executors.

An adapter submits each call once and reports its end once: the return value, the executor's error,
or that the executor has thrown the call out. The report comes in a thread of the executor. No lock
is held when an executor is called.
"""
from __future__ import annotations

import os
import sys

from ..._inspect import shown
from ...errors import InvalidTypeError
from ..base import Pool
from ..views import ProcessPoolView

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Optional

    #: Called once for each submitted call: the executor's error or None, the return value, and True
    #: if the executor has thrown the call out.
    OnDone = Callable[[Optional[BaseException], Any, bool], None]

__all__ = ["ExecutorAdapter", "adapt"]


_EXECUTORS = __name__.partition(".")[0] + ".executors"


class ExecutorAdapter:
    """The adapter of one executor."""

    def __init__(self, executor: Any) -> None:
        self.executor = executor
        self.name: str = type(executor).__name__
        self.in_process: bool = _is_one_of(
            executor, ("concurrent.futures.thread", "ThreadPoolExecutor"),
            ("multiprocessing.pool", "ThreadPool"))

    def size(self) -> int:
        """Return the number of calls that the executor runs at once (default: the CPU count)."""
        for attribute in ("_max_workers", "_processes", "max_workers"):
            size = getattr(self.executor, attribute, None)
            if isinstance(size, int) and not isinstance(size, bool) and size > 0:
                return size
        return os.cpu_count() or 1

    def submit(self, function: Callable[..., Any], arguments: tuple[Any, ...],
               on_done: OnDone) -> Any:
        """Submit a call; return the handle for :meth:`cancel`.

        ``on_done`` may be called before this returns.
        """
        future = self._submit(function, arguments)

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
            on_done(error, value, False)

        future.add_done_callback(done)
        return future

    def _submit(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        return self.executor.submit(function, *arguments)

    def cancel(self, handle: Any) -> bool:
        """Ask the executor to cancel a call. Return True if the call will not run."""
        return bool(handle.cancel())

    def is_shut_down(self) -> bool:
        """Return True if the executor will report no more ends."""
        return False


class _PebbleAdapter(ExecutorAdapter):
    """An executor with ``schedule``, as pebble's. Its ``cancel`` ends a call that runs."""

    # The arguments go in as one tuple, so that none is taken for an option of schedule().

    def _submit(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        return self.executor.schedule(function, args=arguments)


class _DaskOutlet(ExecutorAdapter):
    """The executor of a Dask client. A call whose future is cancelled goes on if it runs."""

    def size(self) -> int:
        """Return the number of threads that the workers of the cluster have."""
        try:
            return sum(self.executor._client.nthreads().values()) or super().size()
        except Exception:           # another version of Dask, or no connection to the cluster
            return super().size()

    def cancel(self, handle: Any) -> bool:
        """Return False. The call keeps its slot until it ends, as Dask does not tell if it runs."""
        return False


class _MultiprocessingAdapter(ExecutorAdapter):
    """A ``multiprocessing.Pool``. It has no futures and does not report the calls that it loses."""

    def submit(self, function: Callable[..., Any], arguments: tuple[Any, ...],
               on_done: OnDone) -> Any:
        return self.executor.apply_async(function, arguments,
                                         callback=lambda value: on_done(None, value, False),
                                         error_callback=lambda error: on_done(error, None, False))

    def cancel(self, handle: Any) -> bool:
        return False

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
            or _is_one_of(executor, (_EXECUTORS, "ProcessExecutor"))):
        raise InvalidTypeError("mp_pool takes an executor, and this is the own pool of another "
                               "supervisor, which runs that one's tasks only; have this supervisor "
                               "make one: create_mp_pool()")
    if _is_one_of(executor, ("distributed.cfexecutor", "ClientExecutor")):
        return _DaskOutlet(executor)
    for method, kind in (("schedule", _PebbleAdapter), ("submit", ExecutorAdapter),
                         ("apply_async", _MultiprocessingAdapter)):
        if callable(getattr(executor, method, None)) and not isinstance(executor, type):
            return kind(executor)
    raise InvalidTypeError("mp_pool takes a concurrent.futures.Executor, a multiprocessing.Pool, "
                           f"or None for the supervisor's own pool, not {shown(executor)}")
