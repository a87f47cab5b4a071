"""Groups: handles of tasks that were submitted together, in order."""
from __future__ import annotations

from time import perf_counter

from ..engine.blocking import deadline_of, remaining
from ..pools.base import cancel_many
from ..waiting import TaskViews, as_completed
from .handles import SyncTaskHandle, TaskHandle
from .summary import RunSummary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, AsyncIterator, Generic, Iterator, TypeVar

    from .._checks import Seconds

    H = TypeVar("H", SyncTaskHandle, TaskHandle)

    class _Base(Generic[H]):
        pass
else:
    class _Base:
        def __class_getitem__(cls, item):
            return cls

    H = None

__all__ = ["SyncTaskGroup", "TaskGroup"]


class _Group(_Base[H], TaskViews):
    """Handles in the order in which their tasks were submitted; a sequence of them."""

    def __init__(self, group_id: Any, handles: list[H]) -> None:
        self.group_id = group_id
        self.handles: tuple[H, ...] = tuple(handles)
        self._began = perf_counter()

    def cancel(self) -> int:
        """Cancel what has not ended; return how many tasks."""
        return cancel_many([handle.task for handle in self.handles])

    def _summary(self) -> RunSummary:
        ends: list[float] = [handle.task._completed for handle in self.handles]
        # Until the last one ended, whenever that is looked at; what came from a checkpoint may be older than the group.
        return RunSummary((handle.task for handle in self.handles), max([self._began, *ends]) - self._began)

    def __len__(self) -> int:
        return len(self.handles)

    def __iter__(self) -> Iterator[H]:
        return iter(self.handles)

    def __getitem__(self, index: int) -> H:
        return self.handles[index]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.group_id!r} of {len(self.handles)}>"


class SyncTaskGroup(_Group["SyncTaskHandle"]):
    """What ``group()`` of a :class:`ThreadQueue` or a :class:`ProcessQueue` returns. From any thread.

    >>> with ThreadQueue() as queue:
    ...     group = queue.group(pow, [(2, 3), (2, 4)])
    ...     group.values()
    (8, 16)
    """

    def wait(self, timeout: Seconds | None = None) -> RunSummary:
        """Block until all have ended and return what became of them.

        :param timeout: seconds to wait at most; None waits for ever, 0 not at all.
        :raises WaitTimeoutError: (a TimeoutError) some are unfinished; they go on.
        """
        deadline = deadline_of(timeout)
        for handle in reversed(self.handles):
            if not handle.done():
                handle.task._wait_for_end(remaining(deadline), cancelled_raises=False)
        return self._summary()

    def values(self, timeout: Seconds | None = None) -> tuple[Any, ...]:
        """Block until all have ended and return what they returned, in order.

        :param timeout: seconds to wait at most; None waits for ever, 0 not at all.
        :raises ExecutionError: a task failed or was cancelled.
        :raises WaitTimeoutError: (a TimeoutError) some are unfinished; they go on.
        """
        self.wait(timeout).raise_for_errors(include_cancelled=True)
        return tuple(handle.value() for handle in self.handles)

    def as_completed(self, timeout: Seconds | None = None) -> Iterator[SyncTaskHandle]:
        """Yield the handles as their tasks end. See :func:`as_completed`."""
        completed: Iterator[SyncTaskHandle] = as_completed(self.handles, timeout)
        return completed


class TaskGroup(_Group["TaskHandle"]):
    """What ``group()`` of an :class:`AsyncQueue` returns.

    >>> async def main():
    ...     async with AsyncQueue() as queue:
    ...         return await queue.group(asyncio.sleep, [(0, 'a'), (0, 'b')]).values()
    >>> import asyncio
    >>> asyncio.run(main())
    ('a', 'b')
    """

    async def wait(self) -> RunSummary:
        """Wait until all have ended and return what became of them."""
        for handle in reversed(self.handles):
            if not handle.done():
                await handle.wait()
        return self._summary()

    async def values(self) -> tuple[Any, ...]:
        """Wait until all have ended and return what they returned, in order.

        :raises ExecutionError: a task failed or was cancelled.
        """
        (await self.wait()).raise_for_errors(include_cancelled=True)
        return tuple(handle.value() for handle in self.handles)

    def as_completed(self, timeout: Seconds | None = None) -> AsyncIterator[TaskHandle]:
        """Yield the handles as their tasks end, for ``async for``. See :func:`as_completed`."""
        completed: AsyncIterator[TaskHandle] = as_completed(self.handles, timeout)
        return completed
