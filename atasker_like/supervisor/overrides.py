"""Overrides: calls the methods that the class of a supervisor overrides.

::

    decorated function, worker, co_mp_apply ─> put_task of the subclass
        ─> put_task of TaskSupervisor ─> pool
    a task begins ─> mark_task_started of the subclass
    its function has returned ─> mark_task_completed of the subclass ─> the end is announced

If a class overrides none of them, its supervisors have no :class:`Overrides`.
"""
from __future__ import annotations

from .._ids import new_id
from .._log import log
from ..constants import TT_COROUTINE, TT_THREAD
from ..engine.current import current
from ..engine.result import Failure
from ..engine.spec import AnnouncedFunction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Protocol, Sequence, Tuple

    from ..engine.spec import TaskSpec
    from ..engine.task import Task

    class Overriding(Protocol):
        """A supervisor whose class overrides some of these methods."""

        id: str

        def put_task(self, target: Callable[..., Any], *args: Any, **kwargs: Any) -> Any: ...

    Start = Callable[[TaskSpec, Tuple[Any, ...], Optional[Dict[str, Any]]], Task[Any]]
    StartMany = Callable[[TaskSpec, List[Tuple[Any, ...]], int], List[Task[Any]]]


class Overrides:
    """Calls the methods that the class of a supervisor overrides.

    It is also the hooks of the tasks whose supervisor overrides a mark. Tasks of threads call the
    marks in their thread: the start before the function, the end before waiters are woken. For
    other tasks the notifier calls them, in order.
    """

    def __init__(self, supervisor: Overriding, names: set[str]) -> None:
        self._supervisor = supervisor
        self.puts: bool = "put_task" in names
        self._starts = "mark_task_started" in names
        self._ends = "mark_task_completed" in names
        #: The specs of calls of the subclass's put_task(), by the id of the task. Setting an entry
        #: and taking it are atomic, on a free-threaded build too.
        self._pending: dict[str, TaskSpec] = {}

    @classmethod
    def of(cls, supervisor: Overriding, base: type) -> Overrides | None:
        """Return the overrides of a supervisor; None if its class overrides no method of `base`."""
        kind = type(supervisor)
        names = {name for name in ("put_task", "mark_task_started", "mark_task_completed")
                 if getattr(kind, name) is not getattr(base, name)}
        return cls(supervisor, names) if names else None

    def watch(self, spec: TaskSpec) -> None:
        """Have the marks of a function's tasks called. No task has been made of the spec yet."""
        if not (self._starts or self._ends) or spec.tt == TT_COROUTINE or spec.hooks is not None:
            return
        spec.hooks = self
        spec.fast_finish = spec.fast_submit = False
        if spec.tt == TT_THREAD:        # for processes, the notifier calls the marks
            spec.target = AnnouncedFunction(spec.target, self.begun)

    def starter(self, spec: TaskSpec) -> Start:
        """Return what submits a call: it takes a spec, the arguments and the keyword arguments."""
        return self.put if self.puts and spec.tt != TT_COROUTINE else spec.pool.start

    def put(self, spec: TaskSpec, args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> Any:
        """Submit a call by ``put_task``; return what that returns."""
        task_id = new_id()
        self._pending[task_id] = spec
        more = {} if spec.worker is None else {"worker": spec.worker}
        try:
            return self._supervisor.put_task(
                target=spec.function, args=args, kwargs=kwargs or {}, callback=spec.callback,
                priority=spec.priority, delay=spec.options.delay, tt=spec.tt, task_id=task_id,
                **more)
        finally:
            self._pending.pop(task_id, None)

    def put_many(self, spec: TaskSpec, calls: Sequence[tuple[Any, ...]],
                 first: int = 0) -> list[Any]:
        """Submit calls one by one; if one is refused, cancel those before it.

        :param first: the position of the first one in its map, which its task does not get.
        """
        tasks: list[Any] = []
        start = self.starter(spec)
        try:
            for args in calls:
                tasks.append(start(spec, args, None))
        except BaseException:
            for task in reversed(tasks):
                if task is not None:
                    task.cancel()
            raise
        return tasks

    def take(self, task_id: str) -> TaskSpec | None:
        """Return the spec of a call that the subclass's ``put_task`` passes up, once."""
        return self._pending.pop(task_id, None)

    # -- marks ---------------------------------------------------------------------------------

    def begun(self) -> None:
        """Mark a start. Called in the thread of the task, before its function."""
        member: Any = current.pool_thread
        self._mark_started(member.task)

    def started(self, task: Task[Any]) -> None:
        """See ``TaskSpec.hooks``."""
        if task._spec.tt != TT_THREAD:
            self._mark_started(task)

    def _mark_started(self, task: Task[Any]) -> None:
        if self._starts and task is not None:
            self._call("mark_task_started", task, task)

    def retried(self, task: Task[Any], error: BaseException) -> None:
        """See ``TaskSpec.hooks``."""

    def before_end(self, task: Task[Any], outcome: Any) -> None:
        """Mark an end: the task ends with this outcome when the call returns, or before."""
        if self._ends and not task.done():
            extra = task._extra_fields()        # it exists: the start is recorded in it
            extra.returned = (outcome,)
            extra.marked = True
            if task._spec.worker is None:
                self._call("mark_task_completed", task, task_id=task.id)
            else:
                self._call("mark_task_completed", task, task=task)

    def ended(self, task: Task[Any]) -> None:
        """Mark the end of a started task that was cancelled or timed out."""
        if not self._ends or not task._has_started() or getattr(task._extra, "marked", False):
            return
        # Otherwise the application itself has declared the task completed.
        if task.cancelled() or type(task._outcome) is Failure:
            self._call("mark_task_completed", task, task=task)

    def _call(self, method: str, for_task: Task[Any], *args: Any, **kwargs: Any) -> None:
        try:
            getattr(self._supervisor, method)(*args, **kwargs)
        except BaseException:
            log.exception("supervisor %s: %s of its class %s raised for task %s (%s); the task "
                          "itself is not affected", self._supervisor.id, method,
                          type(self._supervisor).__name__, for_task.name, for_task.short_id)
