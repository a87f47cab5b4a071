"""StoredResult and TaskState: the record of a task in a backend."""
from __future__ import annotations

from enum import Enum

from .._inspect import shown
from ..engine.result import see_failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple

    from ..engine.task import Progress
else:
    from collections import namedtuple


class TaskState(str, Enum):
    """The state of a task, as a backend knows it.

    ``PENDING`` is also the state of an unknown id. A cancelled task is a ``FAILURE`` with a
    :class:`TaskCancelledError`.

    Any thread may use it.

    >>> TaskState.SUCCESS.is_final, TaskState('PENDING').is_final
    (True, False)
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
    _Fields = namedtuple("_Fields", "task_id state result error traceback name time_queued "
                         "time_started time_completed attempts progress args kwargs",
                         defaults=(None,) * 11)


class StoredResult(_Fields):
    """The record of one task in a backend.

    The fields are ``task_id``, ``state``, ``result``, ``error`` and ``traceback``, and these, which
    are None if they are not known: ``name``, ``attempts``, ``progress``, and ``time_queued``,
    ``time_started`` (of the last attempt) and ``time_completed`` in epoch seconds. ``args`` and
    ``kwargs`` are stored by a backend with ``arguments=True``.

    ``error`` is the exception that :meth:`AsyncResult.get` raises: the task's own one, or in a
    SUCCESS a :class:`ResultNotStoredError` if the value could not be stored. ``traceback`` is text.

    It does not change, and any thread may use it.

    >>> StoredResult('1', TaskState.SUCCESS, 42).value()
    42
    """

    __slots__ = ()

    def value(self) -> Any:
        """Return the result, or raise the error."""
        if self.error is not None:
            see_failure(self.task_id)
            raise self.error
        return self.result

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={shown(value)}" for name, value in zip(self._fields, self))
        return f"{type(self).__name__}({fields})"
