"""Where results outlive their tasks: by id, later, and from other processes."""
from __future__ import annotations

from .backend import Backend
from .handles import AsyncResult, SyncResult
from .memory import MemoryBackend
from .record import StoredResult, TaskState
from .sqlite import SQLiteBackend

__all__ = ["AsyncResult", "Backend", "MemoryBackend", "SQLiteBackend", "StoredResult", "SyncResult", "TaskState"]
