"""Cancel many tasks, of one or several pools."""
from __future__ import annotations

from ..engine.deferred import run_deferred

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, List, Protocol, Sequence

    from ..engine.deferred import Deferred
    from ..engine.task import Task
    from .notifier import WholePool
    from .rollback import Rollback

    Waiters = List[Callable[[], None]]

    class CancellingPool(WholePool, Protocol):
        """A pool, as far as it cancels."""

        rollback: Rollback

        def cancel_together(self, tasks: Iterable[Task[Any]], cause: str,
                            ended: list[tuple[Task[Any], Waiters | None]],
                            deferred: Deferred) -> int: ...


def cancel_unstarted(tasks: Iterable[Task[Any]]) -> None:
    """Cancel tasks whose functions have not begun, from the last to the first."""
    for task in reversed(list(tasks)):
        pool: Any = task._spec.pool
        if pool.is_reentrant():            # called by a finalizer
            pool.defer_to_thread(pool.cancel, task, False)
        else:
            pool.cancel(task, False)


def _not_ended(tasks: Sequence[Task[Any]]) -> list[Task[Any]]:
    return [task for task in tasks if not task.done()]


def cancel_many(tasks: Sequence[Task[Any]], cause: str = "",
                then: Callable[[], None] | None = None) -> int:
    """Cancel tasks of one or several pools, from the last to the first.

    All tasks that have not started are final before the first callback is called. So a callback may
    wait for any of them.

    :param cause: follows "was cancelled" in their errors, such as "at the timeout of the run".
    :param then: called when these are final, before the first callback.
    :return: the number of tasks that had not ended.
    """
    together: dict[CancellingPool, list[Task[Any]]] = {}
    # From the last: the cancel of one task must not start one that is about to be cancelled.
    for task in reversed(tasks):
        together.setdefault(task._spec.pool, []).append(task)
    count = 0
    ended: list[tuple[Task[Any], Waiters | None]] = []
    deferred: Deferred = []
    try:
        for pool, some in together.items():
            if pool.is_reentrant():
                some = _not_ended(some)
                if some:
                    pool.defer_to_thread(cancel_many, some[::-1], cause)
                count += len(some)
            else:
                count += pool.cancel_together(some, cause, ended, deferred)
        if then is not None:
            then()
        run_deferred(deferred)
        for task, waiters in ended:
            task._spec.pool.lifecycle.notify(task, waiters)      # type: ignore[attr-defined]
    except BaseException:
        # Interrupted: end all of them and wake the waiters that have not been woken.
        for pool, some in together.items():
            pool.rollback.undo(*some, ended=some)
        raise
    return count
