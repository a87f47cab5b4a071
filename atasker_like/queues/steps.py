"""One algorithm for queues whose callers are threads and for those whose callers are coroutines.

::

    def steps(self):                                drive(steps)        the wait blocks, and yields
        True ended = yield self._await_task(task, deadline)
        ...                                         co_drive(steps)     the wait yields an awaitable

A generator yields what its waits return and is sent the outcome. The waits of a
:class:`ThreadQueue` block and return the outcome itself. Those of an :class:`AsyncQueue` return
an awaitable, so that the loop goes on.
"""
from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Awaitable, Generator, TypeVar, Union

    R = TypeVar("R")
    #: What a wait returns: True if it ended before its deadline, or an awaitable of that.
    Wait = Union[bool, Awaitable[bool]]
    Steps = Generator[Wait, Any, R]


def drive(steps: Steps[R]) -> R:
    """Run steps whose waits block, and return what they return."""
    outcome: Any = None
    try:
        while True:
            outcome = steps.send(outcome)
    except StopIteration as end:
        return end.value        # type: ignore[no-any-return]


async def co_drive(steps: Steps[R]) -> R:
    """Run steps whose waits are awaitables, and return what they return."""
    outcome: Any = None
    try:
        while True:
            wait: Any = steps.send(outcome)
            outcome = await wait
    except StopIteration as end:
        return end.value        # type: ignore[no-any-return]
    finally:
        steps.close()
