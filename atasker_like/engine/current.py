"""The context of running code: its pool thread, loop mailbox and task."""
from __future__ import annotations

import threading
# contextvars has the same class, and is one more module to load.
from _contextvars import ContextVar
from sys import modules

from .._patched import made_anew, threads_are_replaced

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .task import Task


def _make_current() -> Any:
    class Current(threading.local):
        """The pool thread of this thread, and the mailbox of the loop that it ran last."""

        #: The object has ``task``, ``lend()`` and ``reclaim()``; None outside of a pool.
        pool_thread: Any = None
        mailbox: Any = None             # a LoopMailbox, or None
        #: True in a thread of a ``concurrent.futures`` executor; None if that is not known yet.
        in_executor: bool | None = None
        #: The calls of wait groups that this thread makes: ``(group, call, outer)``, the innermost
        #: first. Each is a done callback, a hook or the like.
        calls: tuple[Any, Any, Any] | None = None

    return Current()


current: Any = made_anew(_make_current)

#: The task that the running coroutine belongs to. A thread has its task in the pool thread instead.
current_coroutine_task: ContextVar[Task[Any] | None] = ContextVar(
    "atasker_like.task", default=None)

#: The same for a loop that runs inside of a pool thread's task: that task, and the coroutine's.
task_of_inner_loop: ContextVar[tuple[Task[Any], Task[Any]] | None] = ContextVar(
    "atasker_like.inside", default=None)


def current_task() -> Task[Any] | Any | None:
    """Return the task that the calling code runs in, or None outside of a task.

    :func:`check_cancelled` and :func:`report_progress` do not need the task, and do nothing outside
    of one.

    The code may run in a thread, a coroutine or a pool process. In a pool process, the function
    returns an object with ``id``, ``name``, ``attempts``, ``remaining_retries``, ``is_last_retry``,
    ``retry()``, ``check_cancelled()`` and ``report_progress()``.

    >>> @background_task(name='who am I')
    ... def own_name():
    ...     return current_task().name
    >>> own_name().value(), current_task()
    ('who am I', None)
    """
    pool_thread = current.pool_thread
    if pool_thread is not None:
        # A thread's context may be a copy of the context of a coroutine of another task.
        inside = task_of_inner_loop.get()
        task = pool_thread.task
        return task if inside is None or inside[0] is not task else inside[1]
    task = current_coroutine_task.get()
    if task is None:
        child = modules.get(_CHILD)         # not imported: a pool process has it
        if child is not None and child.server is not None:
            return child.server.current()
    return task


def check_cancelled() -> None:
    """Raise an error if the current task should stop; do nothing outside of a task.

    So a function that runs as a task can be called directly, too.

    :raises TaskCancelledError: ``cancel()`` was called.
    :raises TaskTimeoutError: the task ran longer than its ``timeout``.

    Any thread may call it.

    >>> check_cancelled()
    """
    task = current_task()
    if task is not None:
        task.check_cancelled()


def report_progress(done: float, total: float | None = None, message: str | None = None) -> None:
    """Report the progress of the current task; do nothing outside of a task.

    ``task.progress`` has the last report.

    :param done: the amount of work that is done, in any unit.
    :param total: the whole amount of work, in the same unit (default: None, unknown).
    :param message: a text for people (default: None).

    Any thread may call it.

    >>> @background_task
    ... def count(most):
    ...     for number in range(most):
    ...         report_progress(number + 1, most)
    >>> task = count(3)
    >>> task.value()
    >>> task.progress
    Progress(done=3, total=3, message=None)
    """
    task = current_task()
    if task is not None:
        task.report_progress(done, total, message)


def running_loop() -> Any:
    """Return the event loop that runs in this thread, or None. Import no asyncio."""
    events = modules.get("asyncio.events")
    if events is None:
        return None
    try:
        loop = events._get_running_loop()
    except AttributeError:      # asyncio is being imported
        return None
    # The loop of a greenlet runs in the system thread that all greenlets share.
    if loop is not None and threads_are_replaced():
        return loop if getattr(loop, "_thread_id", None) == threading.get_ident() else None
    return loop


_CHILD = __name__.rsplit(".", 2)[0] + ".pools.process.child"
