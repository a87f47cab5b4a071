"""The log records of pool processes, on their way to the application's handlers."""
from __future__ import annotations

from collections import deque

from ..._log import log
from . import log_relay as relay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ...engine.deferred import Deferred
    from ..base import Pool


#: The maximal number of log records that wait for the application's handlers.
LOGS_MOST = 10000


class LogForwarder:
    """Passes the records of one pool to the handlers, in a pool thread and in order."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.records: deque[tuple[dict[str, Any], str | None, str | None]] = deque()
        self._is_relaying = False           # a pool thread passes them to the handlers
        self._lost = 0

    def reset(self) -> None:
        """Forget the records, in a forked process."""
        self.records.clear()
        self._is_relaying = False

    def add(self, number: int, fields: dict[str, Any]) -> None:
        """Queue a log record of a process for the application's handlers. (lock held)"""
        task = self._pool.registry.live.get(number)
        if len(self.records) >= LOGS_MOST:
            self._lost += 1
        elif task is None:
            self.records.append((fields, None, None))
        else:
            self.records.append((fields, task.id, task.name))

    def deferred(self) -> Deferred:
        """Return the calls that relay the records; an empty list if there are none. (lock held)"""
        if not self.records or self._is_relaying:
            return []
        self._is_relaying = True
        return [lambda: self._pool._spawn(self._relay)]

    def _relay(self) -> None:
        """Pass the queued records to the application's handlers, in order."""
        # A pool thread runs it.
        while True:
            with self._pool.lock:
                lost, self._lost = self._lost, 0
                if not self.records:
                    self._is_relaying = False
                    break
                records = list(self.records)
                self.records.clear()
            for fields, task_id, task_name in records:
                try:
                    relay.handle(fields, task_id, task_name)
                except BaseException:       # else nothing would pass the later ones
                    log.exception("a handler raised at a log record of process %s",
                                  fields.get("process"))
            if lost:
                log.warning("%s: %d log records of processes were dropped: the handlers are "
                            "too slow", self._pool.name, lost)
