"""A task supervisor: runs the work of a Python program in threads, processes and event loops.

>>> from atasker_like import background_task, wait_completed
>>> @background_task
... def double(x):
...     return 2 * x
>>> wait_completed([double(n) for n in range(3)])
[0, 2, 4]

The first use of a name loads it, so that the import of the package costs next to nothing.
"""
from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__version__ = "0.2.0"

_HOMES = {
    "constants": ("TASK_CRITICAL", "TASK_HIGH", "TASK_NORMAL", "TASK_LOW", "TT_COROUTINE",
                  "TT_THREAD", "TT_MP", "TASK_STATUS_QUEUED", "TASK_STATUS_DELAYED",
                  "TASK_STATUS_STARTED", "TASK_STATUS_COMPLETED", "TASK_STATUS_CANCELED",
                  "Priority", "TaskStatus", "TaskType"),
    "errors": ("SupervisorError", "SupervisorStoppedError", "SupervisorBusyError",
               "InvalidArgumentError", "InvalidTypeError", "TaskNotFoundError",
               "TaskTimeoutError", "WaitTimeoutError", "WaitDeadlockError", "TaskCancelledError",
               "ProcessDiedError", "PoolBrokenError", "RemoteError", "RemoteTraceback",
               "TaskPicklingError", "ExecutionError", "QueueFullError", "InvalidFieldError",
               "TaskRefusedError", "TaskExecutionError", "ServiceConnectionError", "ClosedError",
               "QueueStateError", "TaskPendingError", "CheckpointError",
               "BackendNotConfiguredError", "ResultBackendError", "ResultNotStoredError",
               "TaskRetryError"),
    "options": ("TaskOptions",),
    "pools.process.buffers": ("shared",),
    "collections": ("FunctionCollection", "TaskCollection"),
    "engine.lanes": ("Lane",),
    "_log": ("set_debug",),
    "engine.current": ("check_cancelled", "current_task", "report_progress"),
    "engine.result": ("TaskResult",),
    "engine.task": ("Progress", "Task"),
    "executors": ("ProcessExecutor", "ThreadExecutor"),
    "locals": ("LocalProxy", "Locker", "g"),
    "loops": ("ALoop",),
    "jobs": ("AsyncJob", "AsyncJobScheduler"),
    "queues.sync_queue": ("ProcessQueue", "ThreadQueue"),
    "queues.bound": ("QueueTask",),
    "queues.checkpoint": ("Checkpoint",),
    "queues.async_queue": ("AsyncQueue",),
    "queues.groups": ("SyncTaskGroup", "TaskGroup"),
    "queues.handles": ("SyncTaskHandle", "TaskHandle"),
    "queues.maps": ("amap", "iter_completed", "pmap", "run", "tmap"),
    "queues.summary": ("RunSummary",),
    "results": ("AsyncResult", "Backend", "MemoryBackend", "SQLiteBackend", "StoredResult",
                "SyncResult", "TaskState"),
    "pools.views": ("ProcessPoolView", "ThreadPoolView"),
    "supervisor.stats": ("Info", "PoolStats", "Stats", "StopReport", "WorkerStats"),
    "supervisor": ("TaskSupervisor",),
    "tasks": ("BoundTask", "background_task", "co_mp_apply", "task_supervisor"),
    "waiting": ("as_completed", "co_as_completed", "co_wait_completed", "wait_completed"),
    "workers": ("BackgroundAsyncWorker", "BackgroundEventWorker", "BackgroundIntervalWorker",
                "BackgroundQueueWorker", "BackgroundWorker", "background_worker"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "ALoop", "AsyncJob", "AsyncJobScheduler", "AsyncQueue", "AsyncResult", "Backend",
    "BackendNotConfiguredError", "BackgroundAsyncWorker", "BackgroundEventWorker",
    "BackgroundIntervalWorker", "BackgroundQueueWorker", "BackgroundWorker", "BoundTask",
    "Checkpoint", "CheckpointError", "ClosedError", "ExecutionError", "FunctionCollection", "Info",
    "InvalidArgumentError", "InvalidFieldError", "InvalidTypeError", "Lane", "LocalProxy", "Locker",
    "MemoryBackend", "PoolBrokenError", "PoolStats", "Priority", "ProcessDiedError",
    "ProcessExecutor", "ProcessPoolView", "ProcessQueue", "Progress", "QueueFullError",
    "QueueStateError", "QueueTask", "RemoteError", "RemoteTraceback", "ResultBackendError",
    "ResultNotStoredError", "RunSummary", "SQLiteBackend", "ServiceConnectionError", "Stats",
    "StopReport", "StoredResult", "SupervisorBusyError", "SupervisorError",
    "SupervisorStoppedError", "SyncResult", "SyncTaskGroup", "SyncTaskHandle", "TASK_CRITICAL",
    "TASK_HIGH", "TASK_LOW", "TASK_NORMAL", "TASK_STATUS_CANCELED", "TASK_STATUS_COMPLETED",
    "TASK_STATUS_DELAYED", "TASK_STATUS_QUEUED", "TASK_STATUS_STARTED", "TT_COROUTINE", "TT_MP",
    "TT_THREAD", "Task", "TaskCancelledError", "TaskCollection", "TaskExecutionError", "TaskGroup",
    "TaskHandle", "TaskNotFoundError", "TaskOptions", "TaskPendingError", "TaskPicklingError",
    "TaskRefusedError", "TaskResult", "TaskRetryError", "TaskState", "TaskStatus", "TaskSupervisor",
    "TaskTimeoutError", "TaskType", "ThreadExecutor", "ThreadPoolView", "ThreadQueue",
    "WaitDeadlockError", "WaitTimeoutError", "WorkerStats", "amap", "as_completed",
    "background_task", "background_worker", "check_cancelled", "co_as_completed", "co_mp_apply",
    "co_wait_completed", "current_task", "g", "iter_completed", "pmap", "report_progress", "run",
    "set_debug", "shared", "task_supervisor", "tmap", "wait_completed",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Not importlib.import_module(), for which a package is loaded.
    module = __import__(f"{__name__}.{home}", fromlist=[name])
    value = globals()[name] = getattr(module, name)
    if type(value) in (type, type(__getattr__)):
        __import__(f"{__name__}._inspect", fromlist=["add_names"]).add_names(value)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
