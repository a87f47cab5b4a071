"""What calls send while they run: log records and reports of progress.

::

    worker ──> events of the executor ──> on_message, in its thread ──> a pool thread ──> handlers

Only Dask carries such messages. With other executors, the log records and the last report come with
the result.
"""
from __future__ import annotations

from collections import deque
from weakref import ref

from ..._log import log
from ...engine.task import Progress
from ..base import Pool
from ..process import log_relay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable


#: The maximal number of messages that wait for a pool thread. Further ones are dropped.
MOST_WAITING = 10000


class Messages:
    """The messages that have arrived and wait to be handled. The pool's lock guards it."""

    def __init__(self, pool: Pool, spawn: Callable[[Callable[[], None]], None]) -> None:
        self._pool = ref(pool)      # the executor does not keep the pool
        self._lock = pool.lock
        self._spawn = spawn
        self.reset()

    def reset(self) -> None:
        """Forget all messages, in a forked process."""
        self._waiting: deque[Any] = deque()     # in the order of their arrival
        self._reader_runs = False
        self._dropped = 0

    def on_message(self, message: Any) -> None:
        """Keep a message that an executor has brought. (no lock)"""
        # A handler of the application may block, and the executor's thread must not.
        with self._lock:
            if len(self._waiting) == MOST_WAITING:
                self._dropped += 1
                return
            self._waiting.append(message)
            if self._reader_runs:
                return
            self._reader_runs = True
        try:
            self._spawn(self._read)
        except BaseException:
            self._reader_runs = False       # the next message asks again
            raise

    def _read(self) -> None:
        """Handle all messages that wait. (a pool thread)"""
        while True:
            with self._lock:
                dropped, self._dropped = self._dropped, 0
                if not self._waiting:
                    self._reader_runs = False
                    return
                message = self._waiting.popleft()
            pool = self._pool()
            if pool is None:
                return
            if dropped:
                log.warning("%s: %d log records and reports of calls are dropped, as more than %d "
                            "wait to be handled", pool.name, dropped, MOST_WAITING)
            try:
                _handle(pool, message)
            except BaseException:   # a foreign event, or an error of a handler
                log.exception("%s: the message of a call could not be handled: %.100r", pool.name,
                              message)
            del pool


def _handle(pool: Pool, message: Any) -> None:
    task_id, name, attempt, what = message
    if type(what) is bytes:
        log_relay.handle(log_relay.unpack(what), task_id, name)
        return
    with pool.lock:
        task = pool.registry.find(task_id)
    if task is not None and task.attempts == attempt:
        pool.report(task, Progress(*what))
