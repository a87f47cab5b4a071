"""QueueTask: a function whose calls are tasks of a queue."""
from __future__ import annotations

from functools import update_wrapper

from ..options import TaskOptions
from .calls import merge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable

    from .submission import Submitting

__all__ = ["QueueTask"]

_NAMES = frozenset(TaskOptions.__slots__)


class QueueTask:
    """What ``@queue.task(**options)`` makes. Calling it submits the call and returns its handle. From any thread.

    Keywords of a call that are names of options override them for that call; all other keywords are the function's.
    """

    is_bound_task = True

    def __init__(self, queue: Submitting, function: Callable[..., Any], options: TaskOptions) -> None:
        update_wrapper(self, function)
        self.queue = queue          # last: the function may have attributes of these names
        self.options = options

    if TYPE_CHECKING:
        __wrapped__: Callable[..., Any]

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        options = self.options
        if keywords:
            changes = {name: keywords.pop(name) for name in list(keywords) if name in _NAMES}
            options = merge(options, changes, "a task of a queue")
        return self.queue._submit_call(self.__wrapped__, options, args, keywords or None)

    def __get__(self, instance: Any, owner: Any = None) -> QueueTask:
        """As functions do: read from an instance, it is the task of that instance's method."""
        bind = getattr(self.__wrapped__, "__get__", None)
        return self if instance is None or bind is None else QueueTask(self.queue, bind(instance, owner), self.options)

    def map(self, items: Iterable[Any], **options: Any) -> list[Any]:
        """Submit a call for each item and return the handles, in order. See :meth:`ThreadQueue.map`."""
        return self.queue.map(self.__wrapped__, items, **{"opts": self.options, **options})

    def group(self, items: Iterable[Any], **options: Any) -> Any:
        """Submit a call for each item and return them as a group. See :meth:`ThreadQueue.group`."""
        return self.queue.group(self.__wrapped__, items, **{"opts": self.options, **options})

    def __repr__(self) -> str:
        name = getattr(self.__wrapped__, "__qualname__", None) or type(self.__wrapped__).__qualname__
        return f"<task {name} of {self.queue!r}>"
