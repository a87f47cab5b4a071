"""Groups: handles of tasks that were submitted together, in order."""
from __future__ import annotations

from time import perf_counter

from .._checks import ends_traceback
from .._generics import T_co
from .._wait_arguments import TaskViews
from ..engine.blocking import deadline_of
from ..pools.cancelling import cancel_many
from ..waiting import as_completed
from .handles import SyncTaskHandle, TaskHandle
from .summary import RunSummary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, AsyncIterator, Iterator, TypeVar

    from .._checks import Seconds
    from .handles import _Handle

    H_co = TypeVar("H_co", bound="_Handle[Any]", covariant=True)
else:
    H_co = None


class _Group(TaskViews[H_co]):
    """A sequence of handles, in the order in which their tasks were submitted."""

    def __init__(self, group_id: Any, handles: list[H_co]) -> None:
        self.group_id = group_id
        self.handles: tuple[H_co, ...] = tuple(handles)
        self._began = perf_counter()

    def cancel(self) -> int:
        """Cancel the tasks that have not ended; return their number. From any thread."""
        return cancel_many([handle.task for handle in self.handles])

    def _summary(self) -> RunSummary:
        ends: list[float] = [handle.task._completed for handle in self.handles]
        # Up to the last end, whenever this is called. Results from a checkpoint may be older than
        # the group.
        return RunSummary((handle.task for handle in self.handles),
                          max([self._began, *ends]) - self._began)

    def __len__(self) -> int:
        return len(self.handles)

    def __iter__(self) -> Iterator[H_co]:
        return iter(self.handles)

    def __getitem__(self, index: int) -> H_co:
        return self.handles[index]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.group_id!r} of {len(self.handles)}>"


class SyncTaskGroup(_Group[SyncTaskHandle[T_co]]):
    """The group that ``group()`` of a :class:`ThreadQueue` or a :class:`ProcessQueue` returns.

    May be used from any thread.

    >>> with ThreadQueue() as queue:
    ...     group = queue.group(pow, [(2, 3), (2, 4)])
    ...     group.values()
    (8, 16)
    """

    @ends_traceback
    def wait(self, timeout: Seconds | None = None) -> RunSummary:
        """Block until all tasks have ended and return their :class:`RunSummary`.

        :param timeout: seconds, or a ``timedelta``; None waits without limit, 0 does not wait
            (default: None).
        :raises WaitTimeoutError: (a TimeoutError) some tasks are unfinished; they go on.
        """
        deadline = deadline_of(timeout)
        for handle in reversed(self.handles):
            if not handle.done():
                handle.task._wait_for_end(timeout, False, deadline)
        return self._summary()

    @ends_traceback
    def values(self, timeout: Seconds | None = None) -> tuple[T_co, ...]:
        """Block until all tasks have ended and return their values, in order.

        :param timeout: seconds, or a ``timedelta``; None waits without limit, 0 does not wait
            (default: None).
        :raises ExecutionError: a task failed or was cancelled.
        :raises WaitTimeoutError: (a TimeoutError) some tasks are unfinished; they go on.
        """
        self.wait(timeout).raise_for_errors(include_cancelled=True)
        return tuple(handle.value() for handle in self.handles)

    @ends_traceback
    def as_completed(self, timeout: Seconds | None = None) -> Iterator[SyncTaskHandle[T_co]]:
        """Yield the handles as their tasks end. See :func:`as_completed`.

        :param timeout: seconds for all of them together (default: None, no limit).
        """
        return as_completed(self.handles, timeout)


class TaskGroup(_Group[TaskHandle[T_co]]):
    """The group that ``group()`` of an :class:`AsyncQueue` returns.

    Coroutines in loops of any thread may use it.

    >>> async def main():
    ...     async with AsyncQueue() as queue:
    ...         return await queue.group(asyncio.sleep, [(0, 'a'), (0, 'b')]).values()
    >>> import asyncio
    >>> asyncio.run(main())
    ('a', 'b')
    """

    async def wait(self) -> RunSummary:
        """Wait until all tasks have ended and return their :class:`RunSummary`."""
        for handle in reversed(self.handles):
            if not handle.done():
                await handle.wait()
        return self._summary()

    async def values(self) -> tuple[T_co, ...]:
        """Wait until all tasks have ended and return their values, in order.

        :raises ExecutionError: a task failed or was cancelled.
        """
        (await self.wait()).raise_for_errors(include_cancelled=True)
        return tuple(handle.value() for handle in self.handles)

    @ends_traceback
    def as_completed(self, timeout: Seconds | None = None) -> AsyncIterator[TaskHandle[T_co]]:
        """Yield the handles as their tasks end, for ``async for``.

        :param timeout: seconds for all of them together (default: None, no limit).
        """
        return as_completed(self.handles, timeout)
