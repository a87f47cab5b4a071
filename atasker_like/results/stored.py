"""What is kept of a task: its state as a word that other processes understand, and its stored result."""
from __future__ import annotations

from enum import Enum

from .._inspect import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple

    from ..engine.task import Progress
else:
    from collections import namedtuple

__all__ = ["StoredResult", "TaskState"]


class TaskState(str, Enum):
    """How far a task is, for whoever has only its id.

    ``PENDING`` is also the state of an id that nobody knows; a cancelled task is a ``FAILURE`` whose error is
    :class:`TaskCancelledError`.
    """

    PENDING = "PENDING"
    STARTED = "STARTED"
    RETRY = "RETRY"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"

    @property
    def is_final(self) -> bool:
        """True for SUCCESS and FAILURE."""
        return self is TaskState.SUCCESS or self is TaskState.FAILURE

    def __str__(self) -> str:
        return str(self.value)


if TYPE_CHECKING:
    class _Fields(NamedTuple):
        task_id: str
        state: TaskState
        result: Any = None
        error: BaseException | None = None
        traceback: str | None = None
        name: str | None = None
        time_queued: float | None = None
        time_started: float | None = None
        time_completed: float | None = None
        attempts: int | None = None
        progress: Progress | None = None
        args: tuple[Any, ...] | None = None
        kwargs: dict[str, Any] | None = None
else:
    _Fields = namedtuple("_Fields", "task_id state result error traceback name time_queued time_started "
                         "time_completed attempts progress args kwargs", defaults=(None,) * 11)


class StoredResult(_Fields):
    """What a backend keeps of one task: ``task_id``, ``state``, ``result``, ``error``, ``traceback``, and more.

    ``error`` is what :meth:`AsyncResult.get` raises: the task's own error, or in a SUCCESS a
    :class:`ResultNotStoredError` when the value could not be kept. ``traceback`` is text.

    The rest describes the task, and is None where it is not known: ``name``, ``attempts``, ``progress``, and
    ``time_queued``, ``time_started`` (of the last attempt) and ``time_completed`` in epoch seconds. ``args`` and
    ``kwargs`` are there if the backend was made with ``arguments=True``.

    >>> StoredResult('1', TaskState.SUCCESS, 42).value()
    42
    """

    __slots__ = ()

    def value(self) -> Any:
        """Return the result, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.result

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={shown(value)}" for name, value in zip(self._fields, self))
        return f"{type(self).__name__}({fields})"
