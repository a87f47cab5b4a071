"""Backends: keep results longer than their tasks, and for other processes."""
from __future__ import annotations

from .backend import Backend
from .handles import AsyncResult, SyncResult
from .memory import MemoryBackend
from .sqlite import SQLiteBackend
from .stored import StoredResult, TaskState

__all__ = ["AsyncResult", "Backend", "MemoryBackend", "SQLiteBackend", "StoredResult", "SyncResult",
           "TaskState"]
