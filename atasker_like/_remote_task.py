"""RemoteTaskView: the running task, for a function that runs in another process."""
from __future__ import annotations

from ._ids import short_id
from ._retry import Attempt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


class RemoteTaskView(Attempt):
    """The running task, in the other process in which its function runs."""

    __slots__ = ("id", "name", "attempts", "_retries")

    def __init__(self, task_id: str, name: str, attempts: int, retries: int) -> None:
        self.id: str = task_id
        self.name: str = name
        self.attempts: int = attempts
        self._retries: int = retries

    if not TYPE_CHECKING:
        def __getattr__(self, name: str) -> NoReturn:
            raise AttributeError(
                f"the task of current_task() in another process has no {name!r}: its result and "
                "its other attributes are known to the process that submitted it; see the "
                "documentation of current_task() for what it has here")

    @property
    def short_id(self) -> str:
        """The form of the id for messages and screens, such as ``p-17``."""
        return short_id(self.id)

    def _label(self) -> str:
        return f"{self.name} ({self.short_id})"

    def __repr__(self) -> str:
        return f"<Task {self._label()} running>"
