"""LateStartMonitor: warnings about tasks that start late.

::

    pool: a task starts ─> waited longer than late_after? ─> notifier ─> report(): log, call
"""
from __future__ import annotations

from .._checks import seconds_or_none
from .._log import log
from .attributes import TIMEOUT_MESSAGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable

    from ..engine.task import Task
    from ..pools.base import Pool
    from .ownership import BackReference


#: Seconds from the submission of a task to its start after which it is late.
TIMEOUT_WARNING, TIMEOUT_CRITICAL = 5, 10

#: The most tasks that one report logs each; it counts the rest.
MOST_LOGGED = 10


class LateStartMonitor:
    """The limits of one supervisor, and the reports of tasks that exceed them."""

    def __init__(self, back: BackReference) -> None:
        self._back = back
        self.warning: float | None = TIMEOUT_WARNING
        self.critical: float | None = TIMEOUT_CRITICAL

    def set_limit(self, level: str, seconds: Any, pools: Iterable[Pool]) -> None:
        """Check and set the limit of a level, ``"warning"`` or ``"critical"``, for some pools."""
        setattr(self, level, seconds_or_none(f"timeout_{level}", seconds))
        self.watch(*pools)

    def watch(self, *pools: Pool) -> None:
        """Have pools report what starts later than the lower one of the limits."""
        limits = [limit for limit in (self.warning, self.critical) if limit is not None]
        for pool in pools:
            pool.notifier.on_late_starts = self.report
            # A float: Python compares it with another one much faster than an int.
            pool.lifecycle.late_after = float(min(limits)) if limits else float("inf")

    def report(self, late: list[tuple[Task[Any], float]]) -> None:
        """Report tasks and the seconds that they have waited. Called by a pool thread."""
        supervisor = self._back()
        if supervisor is None:      # it ends, since nothing refers to it any more
            return
        for number, (task, waited) in enumerate(late):
            critical = self.critical is not None and waited > self.critical
            if number < MOST_LOGGED:
                write = log.error if critical else log.warning
                write("%s", _message(supervisor, task, waited))
            call = (supervisor.timeout_critical_func if critical
                    else supervisor.timeout_warning_func)
            if call is not None:
                try:
                    call(task)
                except Exception:
                    log.exception("supervisor %s: timeout_%s_func raised for task %s (%s)",
                                  supervisor.id, "critical" if critical else "warning",
                                  task.name, task.short_id)
        if len(late) > MOST_LOGGED:
            log.warning("supervisor %s: and %d tasks more started late", supervisor.id,
                        len(late) - MOST_LOGGED)


def _message(supervisor: Any, task: Task[Any], waited: float) -> str:
    fields = {"supervisor_id": supervisor.id, "task_id": task.short_id, "name": task.name,
              "target": task._spec.function, "time_spent": waited}
    template = supervisor.timeout_message
    try:
        text: str = template.format(**fields)
        return text
    except Exception as error:      # the application has assigned the template
        log.error("supervisor %s: timeout_message %r cannot be filled in (%s: %s); it may name %s",
                  supervisor.id, template, type(error).__name__, error, ", ".join(fields))
        return TIMEOUT_MESSAGE.format(**fields)
