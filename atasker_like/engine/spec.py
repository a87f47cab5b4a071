"""TaskSpec: what all calls of one function have in common."""
from __future__ import annotations

from ..constants import Priority, TaskType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Protocol

    from ..options import TaskOptions
    from .task import Progress, Task

    class Owner(Protocol):
        """The pool that a task belongs to, as far as a task must know it."""

        lock: Any
        gates: Any

        def busy_here(self) -> bool: ...
        def elsewhere(self, call: Callable[..., Any], *arguments: Any) -> None: ...

        def start(self, spec: TaskSpec, args: tuple[Any, ...],
                  kwargs: dict[str, Any] | None) -> Task[Any]: ...
        def start_many(self, spec: TaskSpec, calls: list[tuple[Any, ...]]) -> list[Task[Any]]: ...
        def submit(self, task: Task[Any]) -> None: ...
        def task_id(self, task: Task[Any]) -> str: ...
        def cancel(self, task: Task[Any]) -> bool: ...
        def abandon(self, task: Task[Any]) -> None: ...
        def complete_early(self, task: Task[Any]) -> bool: ...
        def report(self, task: Task[Any], progress: Progress) -> None: ...

__all__ = ["TaskSpec"]


class TaskSpec:
    """What all calls of one function have in common, worked out once: a task holds one reference to it."""

    __slots__ = ("pool", "target", "name", "priority", "options", "tt", "callback", "loop", "worker", "takes_id",
                 "lane", "rank", "hooks", "plain", "brief", "terse", "timeout", "cost", "blob")

    def __init__(self, pool: Owner, target: Callable[..., Any], options: TaskOptions, tt: TaskType = TaskType.THREAD,
                 callback: Callable[[Any], Any] | None = None, loop: Any = None, worker: Any = None,
                 takes_id: bool = False, lane: Any = None, rank: int | None = None,
                 hooks: Any = None) -> None:
        self.pool = pool
        self.target = target
        self.options = options
        self.priority: int = int(Priority.NORMAL) if options.priority is None else options.priority
        self.name: str = options.name or getattr(target, "__qualname__", None) or type(target).__qualname__
        self.tt = tt
        self.callback = callback
        self.loop = loop
        self.worker = worker
        self.takes_id = takes_id
        self.timeout = options.timeout
        self.lane = lane
        #: The order within the lane, lower first.
        self.rank = self.priority if rank is None else rank
        #: Has started(task), retried(task, error) and ended(task), called by a pool thread, in order, one at a time.
        self.hooks = hooks
        #: True when nothing but running the function is asked for, so that the pools take their short way at its end.
        self.brief = callback is None and hooks is None and not (options.timeout or options.retries or options.delay
                                               or options.run_at is not None)
        #: True when it can take the short way of submissions, too.
        self.plain = self.brief and lane is None
        #: True when a pool process needs to be told the function and its arguments only.
        self.terse = not (takes_id or options.name is not None or options.retries)
        # Of the process pool: the expected seconds of a run (guarded by that pool's lock) and the pickled target.
        self.cost: float | None = None
        self.blob: bytes | None = None
