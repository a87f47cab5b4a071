"""One attempt of a task in an executor."""
from __future__ import annotations

from ...engine.task import Task
from .adapters import ExecutorAdapter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Call"]


class Call:
    """One attempt of a task, until the executor reports its end. The pool's lock guards it."""

    __slots__ = ("task", "adapter", "handle", "submitted", "done", "abandoned", "cancel_requested",
                 "ahead", "revoked", "bundle", "alone")

    def __init__(self, task: Task[Any], adapter: ExecutorAdapter) -> None:
        self.task: Task[Any] = task
        self.adapter: ExecutorAdapter = adapter
        self.handle: Any = None         # the argument of the adapter's cancel()
        self.submitted: bool = False        # the giver has taken it
        self.done: bool = False         # the executor has reported its end
        self.abandoned: bool = False    # its task is final
        self.cancel_requested: bool = False     # the executor is to cancel it if possible
        self.ahead: bool = False        # it is prefetched and has no slot
        self.revoked: bool = False      # the executor is to give it back
        self.alone: bool = False        # it goes in no bundle
        self.bundle: list[Call] = []   # the calls that it has the handle in common with, if any

    def is_lost(self) -> bool:
        """Return True if the executor was shut down and will not report its end. (lock held)"""
        return self.submitted and self.adapter.is_shut_down()
