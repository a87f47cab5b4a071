"""QueueTask: a function whose calls are tasks of a queue."""
from __future__ import annotations

from .._inspect import name_of
from ..engine.spec import Decorated
from ..errors import TaskPicklingError
from ..options import TaskOptions
from .calls import merge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Awaitable, Callable, Iterable

    from .handles import TaskHandle
    from .submission import Submitting

__all__ = ["QueueTask"]

_NAMES = frozenset(TaskOptions.__slots__)


class QueueTask(Decorated):
    """What ``@queue.task(**options)`` makes. Calling it submits the call and returns its handle. From any thread.

    Keywords of a call that are names of options override them for that call; all other keywords are the function's.
    """

    __slots__ = ("queue", "options")

    def __init__(self, queue: Submitting, function: Callable[..., Any], options: TaskOptions) -> None:
        super().__init__(function)
        self.queue = queue
        self.options = options

    if TYPE_CHECKING:
        __wrapped__: Callable[..., Any]

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        options = self._take_options(keywords)
        return self.queue._submit_call(self._function, options, args, keywords or None)

    def asubmit(self, *args: Any, **keywords: Any) -> Awaitable[TaskHandle]:
        """Submit a call of an AsyncQueue's, and wait for room if the queue is full. See :meth:`AsyncQueue.asubmit`."""
        options = self._take_options(keywords)
        submitted: Awaitable[TaskHandle] = self.queue._asubmit_call(self._function, options, args, keywords or None)
        return submitted

    def _take_options(self, keywords: dict[str, Any]) -> TaskOptions:
        """Take the options out of the keywords of a call, and return the options of the call."""
        if not keywords:
            return self.options
        changes = {name: keywords.pop(name) for name in list(keywords) if name in _NAMES}
        return merge(self.options, changes, "a task of a queue")

    def _with(self, function: Callable[..., Any]) -> QueueTask:
        return QueueTask(self.queue, function, self.options)

    def _changes_to(self, found: QueueTask) -> dict[str, Any]:
        if found.queue is not self.queue or found.options is not self.options:
            raise TaskPicklingError(f"{self!r} cannot be pickled: under its name, another process finds "
                                    f"{found!r} with other options, or of another queue")
        return {}

    def map(self, items: Iterable[Any], **options: Any) -> list[Any]:
        """Submit a call for each item and return the handles, in order. See :meth:`ThreadQueue.map`."""
        return self.queue.map(self._function, items, **{"opts": self.options, **options})

    def group(self, items: Iterable[Any], **options: Any) -> Any:
        """Submit a call for each item and return them as a group. See :meth:`ThreadQueue.group`."""
        return self.queue.group(self._function, items, **{"opts": self.options, **options})

    def __repr__(self) -> str:
        return f"<task {name_of(self._function)} of {self.queue!r}>"
