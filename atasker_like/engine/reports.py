"""What tasks report while they run, progress and retries, for code that shows it."""
from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from .task import Task


#: Each is called with the task at each report of progress and at each retry, of any task. The lock
#: of the pool is held, so an observer only appends and wakes.
#:
#: Shared without a lock: append() and remove() are atomic. A pool that is going through the list as
#: one is removed may miss another one, which then learns of the next report, or of the end.
observers: list[Callable[[Task[Any]], None]] = []
