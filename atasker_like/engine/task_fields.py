"""The fields that few tasks have."""
from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable


class ExtraFields:
    """Attributes that few tasks need, made on demand. The lock of the pool guards them."""

    # Four attributes are set late. returned: the value or Failure that the task will end with, in
    # a tuple. marked: True once a supervisor's subclass knows it, see supervisor/overrides.py.
    # last_error: the text of the error of the last attempt that was to be repeated. cancel_cause:
    # when or by what the task was cancelled, if not by its own cancel().
    __slots__ = ("attempts", "progress", "task_id", "timer", "scheduled_at", "callbacks",
                 "on_start", "cancel_requested", "placement", "running", "starts_reported",
                 "returned", "marked", "last_error", "cancel_cause")

    def __init__(self) -> None:
        self.attempts = 0
        self.progress: Any = None
        self.task_id: str | None = None
        self.timer: Any = None
        self.scheduled_at: float | None = None
        self.callbacks: list[Callable[[Any], Any]] | None = None
        self.on_start: list[Callable[[], None]] | None = None
        self.cancel_requested = False
        self.placement: Any = None
        self.starts_reported = 0    # attempts whose start was reported to the hooks
        self.running = 0            # of a coroutine: the attempt that occupies a slot
        if TYPE_CHECKING:
            self.returned: tuple[Any] | None = None
            self.marked = False
            self.last_error = ""
            self.cancel_cause = ""


class Positions:
    """The positions of tasks that one step accepts: they follow each other, as the numbers do."""

    __slots__ = ("offset",)

    def __init__(self, offset: int) -> None:
        self.offset = offset    # from a position to a number, once the tasks have numbers


def index_of(task: Any) -> int | None:
    """Return the position of a task in its map, or None if it belongs to none."""
    index: int | Positions | None = getattr(task, "_index", None)
    if isinstance(index, Positions):
        return task._number - index.offset  # type: ignore[no-any-return]
    return index


def cancelled_text(task: Any) -> str:
    """Return "was cancelled", followed by the cause if it is known."""
    cause = getattr(task._extra, "cancel_cause", "")
    return f"was cancelled {cause}" if cause else "was cancelled"
