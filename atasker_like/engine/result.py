"""What remains of a task: TaskResult, the frozen answer, and Failure, the error that someone must look at."""
from __future__ import annotations

from .._ids import short_id
from .._inspect import shown
from .._log import log
from ..errors import TaskCancelledError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping

__all__ = ["Failure", "TaskResult", "with_cause", "with_traceback"]


def with_traceback(error: BaseException, traceback: Any) -> BaseException:
    """Set an error's traceback, also where its class refuses assignments (a frozen dataclass, say)."""
    return BaseException.with_traceback(error, traceback)


def with_cause(error: BaseException, cause: BaseException) -> BaseException:
    """Set an error's cause, also where its class refuses assignments."""
    BaseException.__cause__.__set__(error, cause)       # type: ignore[union-attr]
    return error


class Failure:
    """The error of a failed task, and whether anyone has looked at it.

    An error that nobody has looked at by the time it is forgotten is logged: none is ever silent. It is an
    object beside the task, so that only tasks that fail pay for a finalizer.
    """

    __slots__ = ("error", "traceback", "name", "id", "seen")

    def __init__(self, error: BaseException, name: str, task_id: str) -> None:
        self.error = error
        self.traceback = error.__traceback__
        self.name = name
        self.id = task_id
        self.seen = False

    def reraise(self) -> None:
        """Raise the error with the traceback it had when the task ended."""
        self.seen = True
        try:
            # Without with_traceback every waiter would add its own frames for the next one to see.
            raise with_traceback(self.error, self.traceback)
        finally:
            del self   # the traceback holds this frame: no cycle through it

    def __del__(self) -> None:
        if self.seen:
            return
        try:
            log.error("task %s (%s) failed and nobody looked at its error; use task.value(), task.exception(), "
                      "retries or a callback to handle it", self.name, short_id(self.id),
                      exc_info=(type(self.error), self.error, self.traceback))
        except Exception:   # the interpreter is ending and logging with it: there is nowhere left to say it
            pass


class TaskResult:
    """How a task ended, frozen.

    ``status`` is the word: ``succeeded``, ``failed`` or ``cancelled``. ``created_at``, ``started_at``,
    ``finished_at`` and ``scheduled_for`` are :func:`time.perf_counter` readings, ``duration`` is in seconds from
    start to end (0.0 for a task that never ran).
    """

    __slots__ = ("task_id", "name", "status", "value", "exception", "attempts", "priority",
                 "must_complete", "group_id", "detached", "scheduled_for", "metadata", "created_at",
                 "started_at", "finished_at", "duration", "message")

    if TYPE_CHECKING:
        task_id: str
        name: str
        status: str
        value: Any
        exception: BaseException | None
        attempts: int
        priority: int
        must_complete: bool
        group_id: Any
        detached: bool
        scheduled_for: float | None
        metadata: Any
        created_at: float
        started_at: float | None
        finished_at: float
        duration: float
        message: str

    def __init__(self, task_id: str, name: str, status: str, value: Any = None,
                 exception: BaseException | None = None, attempts: int = 0, priority: int = 0,
                 must_complete: bool = False, group_id: Any = None, detached: bool = False,
                 scheduled_for: float | None = None, metadata: Any = None, created_at: float = 0.0,
                 started_at: float | None = None, finished_at: float = 0.0, duration: float = 0.0,
                 message: str = "") -> None:
        fields = locals()
        for field in self.__slots__:
            object.__setattr__(self, field, fields[field])

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("a TaskResult does not change")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("a TaskResult does not change")

    @property
    def short_id(self) -> str:
        """The id's form for messages and screens, such as ``t-17``."""
        return short_id(self.task_id)

    @property
    def ok(self) -> bool:
        """True when the task succeeded."""
        return self.status == "succeeded"

    def unwrap(self) -> Any:
        """Return the value, or raise the task's error, or TaskCancelledError."""
        if self.exception is not None:
            raise self.exception
        if self.status == "cancelled":
            raise TaskCancelledError(f"task {self.name} ({self.short_id}) was cancelled")
        return self.value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TaskResult):
            return NotImplemented
        # As lists, whose members are equal if they are the same: not everything can be compared.
        mine, theirs = ([getattr(one, name) for name in self.__slots__] for one in (self, other))
        return mine == theirs

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        outcome = f"value={shown(self.value)}" if self.exception is None else f"exception={shown(self.exception)}"
        return f"<TaskResult {self.name} {self.status} {outcome}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, ({name: getattr(self, name) for name in self.__slots__},))


def _rebuild(fields: Mapping[str, Any]) -> TaskResult:
    return TaskResult(**fields)
