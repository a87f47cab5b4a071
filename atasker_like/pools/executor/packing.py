"""What crosses to an executor, and the errors for calls that do not."""
from __future__ import annotations

import pickle

from ..._inspect import described, origin_of, text_of
from ...engine.task import Progress
from ...errors import PoolBrokenError, TaskPicklingError
from ..process import child, log_relay
from ..process.protocol import decode, not_sent
from .remote_call import dumps_by_name_or_value, has_code

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ...engine.task import Task
    from .adapters import ExecutorAdapter
    from .remote_call import Result


_PACKAGE = __name__.partition(".")[0]


def pack(task: Task[Any], adapter: ExecutorAdapter) -> None:
    """Pickle a call in the submitter's thread and keep the result or the error in the task.

    (no lock)
    """
    if adapter.in_process:
        task._context = None
        return
    spec = task._spec
    what = "function"
    try:
        packed = spec.pickled_target
        if packed is None:
            packed = dumps_by_name_or_value(spec.target, not adapter.by_name, child.pickle_target)
            # A name in the main module, or code, is not for each executor that may follow.
            if (child.is_stateless(spec.target) and b"__main__" not in packed
                    and not has_code(packed)):
                spec.pickled_target = packed
        what = "arguments"
        args, kwargs = task._args, task._kwargs
        task._context = packed, (dumps_by_name_or_value((args, kwargs), not adapter.by_name)
                                 if args or kwargs else None)
    except (Exception, SystemExit) as raised:
        task._context = not_sent(what, spec.name, adapter.name, raised)


def unpack(task: Task[Any], result: Result) -> tuple[int, Any]:
    """Return the kind of a result and the value or error, and handle the reports of the call.

    :raises (TypeError, ValueError): it is no result of :func:`.remote_call.run_remote`.
    """
    kind, payload, seconds, records, report = result
    _, kind, _, outcome = decode(0, kind, 0.0, payload)
    spec = task._spec
    spec.note_runtime(seconds)      # without the lock: of two at once, one may be lost
    for record in records:
        log_relay.handle(log_relay.unpack(record), task.id, task.name)
    if report is not None:
        spec.pool.report(task, Progress(*report))
    return kind, outcome


def broken(task: Task[Any], adapter: ExecutorAdapter, cause: BaseException | None,
           what: str) -> PoolBrokenError:
    """Return the error for a call that a broken executor has refused or lost."""
    said = "" if cause is None else f" ({described(cause)})"
    error = PoolBrokenError(f"the executor {adapter.name} {what} task {task.name} "
                            f"({task.short_id}){said}; it is broken, or has been shut down: "
                            "put another one in place with task_supervisor.mp_pool = ..., and "
                            "submit the task again, or give it retries")
    error.__cause__ = cause
    return error


def lost(task: Task[Any], adapter: ExecutorAdapter, cause: BaseException) -> Exception:
    """Return the error for a call that the executor itself has failed."""
    texts: list[str] = []
    link: BaseException | None = cause
    while link is not None and len(texts) < 20:
        texts.append(text_of(link))
        link = origin_of(link)
    if f"No module named '{_PACKAGE}'" in "\n".join(texts):
        error: Exception = PoolBrokenError(
            f"the workers of the executor {adapter.name} cannot import {_PACKAGE}, which runs the "
            f"calls there, so task {task.name} ({task.short_id}) did not run: install the package "
            "for them, too, in the same version")
    elif issubclass(type(cause), pickle.PicklingError):
        error = TaskPicklingError(f"the executor {adapter.name} cannot carry task {task.name} "
                                  f"({task.short_id}) or its result ({described(cause)})")
    else:
        return broken(task, adapter, cause, "lost")
    error.__cause__ = cause
    return error
