"""Keyword arguments of workers, for type checkers. Nothing imports this module at run time."""
from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from typing_extensions import Any, Callable, Literal, Mapping, TypedDict

    from .._checks import Seconds
    from ..loops import ALoop
    from ..supervisor.supervisor import TaskSupervisor

    class WorkerOptions(TypedDict, total=False):
        """The keyword arguments of all workers."""

        name: str | None
        priority: int | None
        o: Any
        on_error: Callable[..., Any] | None
        on_error_kwargs: Mapping[str, Any] | None
        supervisor: TaskSupervisor | None
        poll_delay: float | None
        daemon: bool | None
        loop: str | ALoop | AbstractEventLoop | None
        restart: Literal["on_failure", "always", "never"] | None
        max_restarts: int | None
        within: Seconds | None

    class QueueOptions(WorkerOptions, total=False):
        """The keyword arguments of workers with a queue."""

        q: bool | type[Any] | None
        queue: bool | type[Any] | None

    class EventOptions(WorkerOptions, total=False):
        """The keyword arguments of workers with an event."""

        e: bool | None
        event: bool | None

    class IntervalOptions(WorkerOptions, total=False):
        """The keyword arguments of workers with an interval."""

        i: bool | None
        interval: Seconds | None
        delay: Seconds | None
        delay_after: Seconds | None
        delay_before: Seconds | None
        overlap: Literal["shift", "skip", "coalesce", "queue"] | None
