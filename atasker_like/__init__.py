"""Running work in the background of a Python program: a thread-centric task supervisor.

>>> from atasker_like import background_task, wait_completed
>>> @background_task
... def double(x):
...     return 2 * x
>>> wait_completed([double(n) for n in range(3)])
[0, 2, 4]

A name is loaded when it is first used, so importing the package costs next to nothing.
"""
from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List

    from .constants import (TASK_CRITICAL, TASK_HIGH, TASK_LOW, TASK_NORMAL, TASK_STATUS_CANCELED,
                            TASK_STATUS_COMPLETED, TASK_STATUS_DELAYED, TASK_STATUS_QUEUED, TASK_STATUS_STARTED,
                            TT_COROUTINE, TT_MP, TT_THREAD, Priority, TaskStatus, TaskType)
    from .collections import FunctionCollection, TaskCollection
    from .engine.result import TaskResult, set_debug
    from .engine.task import Progress, Task, current_task
    from .errors import (BackendNotConfiguredError, ExecutionError, InvalidArgumentError, InvalidTypeError, PoolBrokenError, ProcessDiedError,
                         QueueFullError, RemoteError, RemoteTraceback, ResultBackendError, ResultNotStoredError, SupervisorBusyError, SupervisorError,
                         SupervisorStoppedError, TaskCancelledError, TaskNotFoundError, TaskPicklingError,
                         TaskTimeoutError, WaitTimeoutError)
    from .jobs import AsyncJob, AsyncJobScheduler
    from .locals import LocalProxy, Locker, g
    from .loops import ALoop
    from .options import TaskOptions
    from .results.backend import Backend
    from .results.handles import AsyncResult, SyncResult
    from .results.memory import MemoryBackend
    from .results.record import StoredResult, TaskState
    from .results.sqlite import SQLiteBackend
    from .snapshot import StopReport, WorkerStats
    from .supervisor import TaskSupervisor
    from .tasks import (BoundTask, as_completed, background_task, co_as_completed, co_mp_apply, co_wait_completed,
                        task_supervisor, wait_completed)
    from .workers import (BackgroundAsyncWorker, BackgroundEventWorker, BackgroundIntervalWorker,
                          BackgroundQueueWorker, BackgroundWorker, background_worker)

__version__ = "0.1.0"

_HOMES = {
    "constants": ("TASK_CRITICAL", "TASK_HIGH", "TASK_NORMAL", "TASK_LOW", "TT_COROUTINE", "TT_THREAD", "TT_MP",
                  "TASK_STATUS_QUEUED", "TASK_STATUS_DELAYED", "TASK_STATUS_STARTED", "TASK_STATUS_COMPLETED",
                  "TASK_STATUS_CANCELED", "Priority", "TaskStatus", "TaskType"),
    "errors": ("SupervisorError", "SupervisorStoppedError", "SupervisorBusyError", "InvalidArgumentError",
               "InvalidTypeError", "TaskNotFoundError", "TaskTimeoutError", "WaitTimeoutError", "TaskCancelledError", "ProcessDiedError",
               "PoolBrokenError", "RemoteError", "RemoteTraceback", "TaskPicklingError", "ExecutionError",
               "QueueFullError", "BackendNotConfiguredError", "ResultBackendError", "ResultNotStoredError"),
    "options": ("TaskOptions",),
    "collections": ("FunctionCollection", "TaskCollection"),
    "engine.result": ("TaskResult", "set_debug"),
    "engine.task": ("Progress", "Task", "current_task"),
    "locals": ("LocalProxy", "Locker", "g"),
    "loops": ("ALoop",),
    "jobs": ("AsyncJob", "AsyncJobScheduler"),
    "results": ("AsyncResult", "Backend", "MemoryBackend", "SQLiteBackend", "StoredResult", "SyncResult", "TaskState"),
    "snapshot": ("StopReport", "WorkerStats"),
    "supervisor": ("TaskSupervisor",),
    "tasks": ("BoundTask", "as_completed", "background_task", "co_as_completed", "co_mp_apply", "co_wait_completed",
              "task_supervisor", "wait_completed"),
    "workers": ("BackgroundAsyncWorker", "BackgroundEventWorker", "BackgroundIntervalWorker", "BackgroundQueueWorker",
                "BackgroundWorker", "background_worker"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "ALoop", "AsyncJob", "AsyncJobScheduler", "AsyncResult", "Backend", "BackendNotConfiguredError",
    "BackgroundAsyncWorker", "BackgroundEventWorker", "BackgroundIntervalWorker", "BackgroundQueueWorker",
    "BackgroundWorker", "BoundTask", "ExecutionError", "FunctionCollection", "InvalidArgumentError",
    "InvalidTypeError", "LocalProxy", "Locker", "MemoryBackend", "PoolBrokenError", "Priority", "ProcessDiedError",
    "Progress", "QueueFullError", "RemoteError", "RemoteTraceback", "ResultBackendError", "ResultNotStoredError",
    "SQLiteBackend", "StopReport", "StoredResult", "SupervisorBusyError", "SupervisorError",
    "SupervisorStoppedError", "SyncResult", "TASK_CRITICAL", "TASK_HIGH", "TASK_LOW", "TASK_NORMAL",
    "TASK_STATUS_CANCELED", "TASK_STATUS_COMPLETED", "TASK_STATUS_DELAYED", "TASK_STATUS_QUEUED",
    "TASK_STATUS_STARTED", "TT_COROUTINE", "TT_MP", "TT_THREAD", "Task", "TaskCancelledError", "TaskCollection",
    "TaskNotFoundError", "TaskOptions", "TaskPicklingError", "TaskResult", "TaskState", "TaskStatus",
    "TaskSupervisor", "TaskTimeoutError", "TaskType", "WaitTimeoutError", "WorkerStats", "as_completed",
    "background_task", "background_worker", "co_as_completed", "co_mp_apply", "co_wait_completed", "current_task",
    "g", "set_debug", "task_supervisor", "wait_completed",
]


def __getattr__(name: str) -> "Any":
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)
    return value


def __dir__() -> "List[str]":
    return sorted({*globals(), *__all__})
