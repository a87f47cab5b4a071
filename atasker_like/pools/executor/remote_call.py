"""The functions that an external executor runs: each makes one call of a task.

The call is pickled before the executor gets it, and its result before it returns to the executor.
So the executor, which could break, sees no object that cannot be pickled and no exception that ends
a process.
"""
from __future__ import annotations

import pickle

from ..._retry import RemoteTaskView
from ...engine.current import current_coroutine_task
from ...engine.result import with_traceback
from ..process.child import ERROR, NONE, VALUE, _describe, undecorated

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from ...engine.task import Task

__all__ = ["ExecutorTaskView", "run_local", "run_remote"]


class ExecutorTaskView(RemoteTaskView):
    """The task that ``current_task()`` returns in a process of an external executor."""

    __slots__ = ()

    def check_cancelled(self) -> None:
        """Do nothing: a cancel request does not reach the processes of an external executor."""

    def report_progress(self, done: float, total: float | None = None,
                        message: str | None = None) -> None:
        """Do nothing: a report does not leave the processes of an external executor."""


def run_remote(blob: bytes, payload: bytes | None, takes_id: bool, task_id: str, name: str,
              attempt: int, retries: int) -> tuple[int, bytes | None]:
    """Run a pickled call in a process of the executor.

    Return the kind of the result and the pickled result.
    """
    stage = "function"
    token = current_coroutine_task.set(
        ExecutorTaskView(task_id, name, attempt, retries))  # type: ignore[arg-type]
    try:
        function = undecorated(pickle.loads(blob))
        stage = "arguments"
        args, kwargs = ((), None) if payload is None else pickle.loads(payload)
        if takes_id:
            kwargs = dict(kwargs or (), _task_id=task_id)
        stage = "run"
        value = function(*args, **kwargs) if kwargs else function(*args)
        if value is None:
            return NONE, None
        stage = "result"
        return VALUE, pickle.dumps(value, 5)
    except BaseException as error:
        return ERROR, _describe(error, stage)
    finally:
        current_coroutine_task.reset(token)


def run_local(task: Task[Any], function: Callable[..., Any], args: tuple[Any, ...],
             kwargs: dict[str, Any] | None) -> tuple[int, Any]:
    """Run a call in a thread of the executor; return the kind of the result and the result."""
    token = current_coroutine_task.set(task)
    try:
        return VALUE, function(*args, **(kwargs or {}))
    except BaseException as error:
        trace = error.__traceback__
        if trace is not None and trace.tb_next is not None:
            with_traceback(error, trace.tb_next)
        return ERROR, error
    finally:
        current_coroutine_task.reset(token)
        del task, args, kwargs
