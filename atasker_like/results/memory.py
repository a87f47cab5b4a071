"""MemoryBackend: keeps the latest results until the process ends."""
from __future__ import annotations

from collections import OrderedDict

from .. import _fork
from .._atomics import RLock
from .._checks import count, ends_traceback
from .backend import Backend

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Sequence

    from .._checks import Seconds


class MemoryBackend(Backend):
    """Keeps results in memory, for tests and for a single process.

    It stores the same texts as all other backends, so code that works with it works with them.

    Any thread may use it.

    :param max_results: the most results (default: 10 000). The oldest ones are removed first.
    :param ttl: as for :class:`Backend`, in seconds (default: None, no limit).
    :param serializer: as for :class:`Backend` (default: ``'json'``).
    :param arguments: as for :class:`Backend` (default: False).

    >>> backend = MemoryBackend(max_results=2)
    >>> backend.write([('a', '1'), ('b', '2'), ('c', '3')])
    >>> backend.read('a'), backend.read('c')
    (None, '3')
    """

    @ends_traceback
    def __init__(self, max_results: int = 10000, ttl: Seconds | None = None,
                 serializer: str = "json", arguments: bool = False) -> None:
        super().__init__(ttl, serializer, arguments)
        self.max_results: int = count("max_results", max_results)
        # Guards the texts. Reentrant: a finalizer may ask for a result between any two lines.
        self._lock = RLock()
        # With the time of writing, oldest first.
        self._texts: OrderedDict[str, tuple[str, float]] = OrderedDict()
        _fork.register(self)

    def write(self, entries: Sequence[tuple[str, str]]) -> None:
        """See :meth:`Backend.write`."""
        now = self.clock()
        with self._lock:
            texts = self._texts
            for task_id, text in entries:
                texts[task_id] = text, now
                texts.move_to_end(task_id)
            for _ in range(self._count_old(now)):
                texts.popitem(last=False)

    def _count_old(self, now: float) -> int:
        """Return the number of texts that are expired or too many. (lock held)"""
        count = 0
        if self.ttl is not None:
            for _, written in self._texts.values():
                if written + self.ttl > now:
                    break
                count += 1
        return max(count, len(self._texts) - self.max_results)

    def read(self, task_id: str) -> str | None:
        """See :meth:`Backend.read`."""
        with self._lock:
            found = self._texts.get(task_id)
        if found is None or self.ttl is not None and found[1] + self.ttl <= self.clock():
            return None
        return found[0]

    def keys(self) -> list[str]:
        """See :meth:`Backend.keys`."""
        now = self.clock()
        with self._lock:
            found = [(task_id, written) for task_id, (_, written) in self._texts.items()]
        return [task_id for task_id, written in found
                if self.ttl is None or written + self.ttl > now]

    def delete(self, task_id: str) -> bool:
        """See :meth:`Backend.delete`."""
        with self._lock:
            return self._texts.pop(task_id, None) is not None

    def _reset_after_fork(self) -> None:
        # A thread of the parent may have held the lock. Its write is then incomplete, but each text
        # is whole.
        self._lock = RLock()

    def __len__(self) -> int:
        return len(self._texts)

    def __repr__(self) -> str:
        return f"<MemoryBackend {len(self)} of {self.max_results}>"
