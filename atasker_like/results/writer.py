"""The writer: one thread that brings what pools tell it of their tasks into a backend.

::

    pool (its lock held) ── began, ended ──> queue ──> waiting: tasks by id ──> texts ──> backend.write
                             one append                 ^
                             who asks by id ────────────┘ answered from here until it is stored

The pools must not feel it. What they call is an append; only the first after a rest is more, and wakes the thread.
Awake, it lets tasks run as long as many of them end, two seconds at most, and then writes all that has come together: a
thread that encodes takes the interpreter from those that run tasks, and fewer, larger batches take less of it.
"""
from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from functools import partial
from time import monotonic

from .._checks import in_seconds
from .._log import log
from ..engine.blocking import block, deadline_of, remaining
from ..engine.task import Task
from ..errors import ResultBackendError, WaitTimeoutError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from .._checks import Seconds
    from ..pools.base import Pool
    from ..supervisor.supervisor import TaskSupervisor
    from .backend import Backend
    from .serializer import Call

__all__ = ["ADDRESS_PREFIX", "ResultWriter", "is_id"]

#: Seconds that the writer lets pass before it looks whether as many tasks end as before.
LINGER = 0.02
#: Tasks that end in that time while much is going on: 10 000 a second.
BUSY_COUNT = 200
#: Seconds after which it writes although much is going on, and how much may have come by then.
MAX_LINGER, MAX_QUEUED = 2.0, 200000
#: Results of one transaction at most.
BATCH = 20000
#: Results that are held while the store cannot be written; beyond it the oldest are given up.
MAX_HELD = 250000
#: Seconds until a write that failed is tried again; doubled each time, up to the second number.
RETRY_PAUSE, MAX_RETRY_PAUSE = 0.1, 5.0
#: Seconds that the end of a supervisor waits for a store that cannot be written.
CLOSE_TIMEOUT = 5.0
#: Seconds between two writes, at least, when tasks report progress and nothing else happens.
PROGRESS_PAUSE = 0.25

#: In front of the first part of ids, the same for all tasks of a pool: the entry that says where requests about these tasks
#: go. The tasks that wait have no entry of their own.
ADDRESS_PREFIX = "address of "


def is_id(key: str) -> bool:
    """Return True if an entry of a store is that of a task."""
    return not key.startswith(ADDRESS_PREFIX)


class _FlushRequest:
    """Someone waits until all that has ended by now is stored."""

    __slots__ = ("done", "error")

    def __init__(self) -> None:
        self.done = threading.Lock()
        self.done.acquire()
        self.error: BaseException | None = None


class ResultWriter:
    """Brings the results of one supervisor into one backend.

    ``began`` and ``ended`` are called by pools with their lock held, when an attempt starts or is to be repeated and
    when a task is final; so is ``reported`` when a task reports progress. They append the task and return; what is to be said
    of it is looked up later.
    """

    def __init__(self, supervisor: TaskSupervisor, backend: Backend) -> None:
        self.supervisor_id = supervisor.id
        self._back = supervisor._supervisor_parts.back       # neither a backend nor a pool keeps the supervisor alive
        self.backend = backend
        # Shared without a lock: appending and taking are each one step, on a free-threaded build too.
        self._queue: deque[Task[Any]] = deque()
        self._reports: deque[Task[Any]] = deque()
        self._unread_reports: set[Task[Any]] = set()     # what is in it; of each task, guarded by the lock of its pool
        self._flush_requests: deque[_FlushRequest] = deque()
        #: The arguments of tasks that have begun, if they are to be stored: the final state lets go of them.
        self._arguments: dict[Task[Any], Call] = {}
        #: Of these tasks, those that have ended, in the order in which they did.
        self._finished: deque[Task[Any]] = deque()
        self._releasable: dict[Task[Any], None] = {}   # of the writer's thread: those of which all has been gathered
        self._lock = threading.RLock()      # guards what follows; pools never take it
        self._waiting: dict[str, Task[Any]] = {}
        self._writing: dict[str, Task[Any] | str] = {}
        self._running = False                # the supervisor runs: the thread does not end when all is stored
        self._close_deadline = 0.0                   # when a thread that is not wanted any more gives up what it cannot store
        self._thread: threading.Thread | None = None
        self._wakeup = threading.Lock()       # held; what the thread sleeps on
        self._wakeup.acquire()
        self.dropped = 0                   # results that were not stored, for good
        self._published: dict[str, float] = {}     # of the writer's thread: first parts of ids, and when they were written
        self.on_started: Callable[[Task[Any]], None]
        self.on_finished: Callable[[Task[Any]], None]
        self._set_callbacks(self._append_and_wake)
        _recorders.add(self)

    @property
    def supervisor(self) -> TaskSupervisor | None:
        """The supervisor; None if nothing referred to it any more, and it has ended."""
        supervisor: TaskSupervisor | None = self._back()
        return supervisor

    def _pools(self) -> list[Pool]:
        supervisor = self.supervisor
        return [] if supervisor is None else list(supervisor._supervisor_parts.pools.by_kind.values())

    def _set_callbacks(self, append: Callable[[Task[Any]], None]) -> None:
        self.on_finished = self.on_started = append
        if self.backend.arguments:
            self.on_started, self.on_finished = partial(self._started_with_arguments, append), partial(self._finished_with_arguments, append)

    def _started_with_arguments(self, append: Callable[[Task[Any]], None], task: Task[Any]) -> None:
        if not task._spec.options.ignore_result:
            self._arguments[task] = task._args, task._kwargs
        append(task)

    def _finished_with_arguments(self, append: Callable[[Task[Any]], None], task: Task[Any]) -> None:
        append(task)
        self._finished.append(task)      # last, see _write_all()

    def _append_and_wake(self, task: Task[Any]) -> None:
        """The first task after a rest: those after it are only appended."""
        self._queue.append(task)
        self._set_callbacks(self._queue.append)
        self._wake()

    def on_progress(self, task: Task[Any]) -> None:
        """A task has reported progress; the lock of its pool is held."""
        if task not in self._unread_reports and not task._spec.options.ignore_result:
            self._unread_reports.add(task)
            self._reports.append(task)
            self._wake()

    def _wake(self) -> None:
        try:
            self._wakeup.release()
        except RuntimeError:        # someone else has, and the thread has not been there yet
            pass

    # -- asked from any thread -----------------------------------------------------------------------

    def _look_up(self, task_id: str) -> Task[Any] | str | None:
        with self._lock:
            collected = self._collect()           # let go when the lock is free
            found: Task[Any] | str | None = self._waiting.get(task_id)
            if found is None:
                found = self._writing.get(task_id)
        del collected
        return found

    def find(self, task_id: str) -> str | None:
        """Return the text of what is not stored yet of a task; None when there is none."""
        found = self._look_up(task_id)
        return self.backend.coder.encode_task(found, self._arguments.get(found)) if isinstance(found, Task) else found

    def arguments_of(self, task: Task[Any]) -> Call | None:
        """Return the arguments of a task that has begun, if they are to be stored."""
        return self._arguments.get(task)

    def ids(self) -> list[str]:
        """Return the ids of the tasks that have something which is not stored yet."""
        with self._lock:
            collected = self._collect()
            found = [*self._waiting, *self._writing]
        del collected
        return found

    def publish_address(self) -> None:
        """Have the first parts of ids written, each with the address where requests about such tasks go.

        Errors as :meth:`flush`.
        """
        self._published.clear()
        self.flush()

    def find_task(self, task_id: str) -> Task[Any] | None:
        """Return the task of what has not even been encoded yet."""
        found = self._look_up(task_id)
        return found if isinstance(found, Task) else None

    def flush(self, timeout: Seconds | None = None) -> None:
        """Block until everything that has ended by now is stored.

        :raises ResultBackendError: it cannot be stored, for now; it will be tried again.
        :raises WaitTimeoutError: it has not been by then.
        """
        deadline = deadline_of(timeout)
        request = _FlushRequest()
        self._flush_requests.append(request)
        with self._lock:
            self._start_thread()            # of a supervisor that does not run there is none: for this once
        self._wake()
        if not block(request.done.acquire, deadline):
            raise WaitTimeoutError(f"results were not stored within {in_seconds(timeout)}; the writer goes on")
        if request.error is not None:
            raise ResultBackendError(f"results are held in memory, since they cannot be stored: {request.error}") from request.error

    def open(self) -> None:
        """Have a thread write from now on."""
        with self._lock:
            self._running = True             # one that is about to end goes on
            self._start_thread()

    def _start_thread(self) -> None:
        """Start the thread if there is none; the lock is held. Without one, results are held in memory."""
        if self._thread is not None:
            return
        thread = threading.Thread(target=self._run, name=f"supervisor_{self.supervisor_id}_results", daemon=True)
        try:
            thread.start()
        except (RuntimeError, MemoryError) as error:
            log.error("results of supervisor %s are held in memory: no thread could be started to store them (%s)",
                      self.supervisor_id, error)
            self._fail_flushes(error)
            return
        self._thread = thread

    def close(self, deadline: float | None) -> None:
        """Store what there is, and end the thread; what cannot be stored until the deadline is logged."""
        patience = monotonic() + CLOSE_TIMEOUT
        with self._lock:
            self._close_deadline = patience if deadline is None else min(deadline, patience)
            self._running = False
            if self._has_work() or self._writing:
                self._start_thread()
            thread = self._thread
        self._wake()
        if thread is not None:
            thread.join(remaining(deadline))
        self._withdraw_addresses()

    def _withdraw_addresses(self) -> None:
        """Remove the entries that say where requests go, if none are taken any more."""
        if self.backend.address is not None:
            return
        for key in list(self._published):
            try:
                self.backend.delete(key)
            except Exception as error:      # it is of no use there, and does no harm
                log.debug("results of supervisor %s: an address that is no more stays in the store: %s", self.supervisor_id,
                          error)
            self._published.pop(key, None)

    def reset_after_fork(self) -> None:
        """In a forked process: the thread is the parent's, and so is what it was about to store."""
        self._queue.clear()
        self._reports.clear()
        self._unread_reports.clear()
        self._flush_requests.clear()
        self._arguments.clear()
        self._finished.clear()
        self._releasable.clear()
        self._published.clear()
        self._lock = threading.RLock()
        self._waiting, self._writing = {}, {}
        self._running = False                # the supervisor is new, too
        self._thread = None
        self._wakeup = threading.Lock()
        self._wakeup.acquire()
        self._set_callbacks(self._append_and_wake)

    # -- the writer's thread -------------------------------------------------------------------------

    def _run(self) -> None:
        pause = RETRY_PAUSE
        while True:
            requests = [self._flush_requests.popleft() for _ in range(len(self._flush_requests))]
            error: BaseException | None = None
            try:
                self._write_all()
                if pause > RETRY_PAUSE:
                    log.warning("results of supervisor %s are stored again", self.supervisor_id)
                pause = RETRY_PAUSE
            except BaseException as raised:
                error = raised
            for request in requests:
                request.error = error
                request.done.release()
            if error is None:
                if self._may_exit():
                    return
                if self._sleep():
                    self._linger()
                continue
            if self._may_abandon(error):
                return
            if pause == RETRY_PAUSE:
                log.error("results of supervisor %s cannot be stored, and are held in memory until they can: %s",
                          self.supervisor_id, error)
            # A mark, or the end, has it try at once.
            self._wakeup.acquire(True, pause if self._running else max(0.0, min(pause, self._close_deadline - monotonic())))
            pause = min(2 * pause, MAX_RETRY_PAUSE)

    def _has_work(self) -> bool:
        """Whether something is to be done; the lock is held, or it could be on its way from the queue just now."""
        return bool(self._queue or self._waiting or self._flush_requests or self._reports)

    def _may_exit(self) -> bool:
        """Whether the thread is to end, which is settled under the lock: whoever comes later finds that there is none."""
        with self._lock:
            if self._running or self._has_work():
                return False
            self._thread = None
            return True

    def _may_abandon(self, error: BaseException) -> bool:
        """Whether the thread is to end although something is not stored; settled in the same way."""
        with self._lock:
            if self._running or self._close_deadline > monotonic():
                return False
            self._thread = None
            self._fail_flushes(error)
        log.error("%d result(s) of supervisor %s, which does not run any more, are held in memory and were not stored: %s",
                  self._held(), self.supervisor_id, error)
        return True

    def _sleep(self) -> bool:
        """Sleep until a task has begun or ended, or someone wants something; say whether it is the former."""
        if not self._queue:                 # else there is no time to rest
            self._set_callbacks(self._append_and_wake)
            for pool in self._pools():
                # Whoever had found the other call there has made it by now, so its task is seen below.
                with pool.lock:
                    pass
            while self._running:
                with self._lock:
                    if self._has_work():
                        break
                self._wakeup.acquire()
        return self._running and not self._flush_requests

    def _linger(self) -> None:
        """Let tasks run as long as many of them end; let time pass if all there is are reports of progress."""
        self._wakeup.acquire(False)           # it may have been opened for what has been seen since
        pause = monotonic() + PROGRESS_PAUSE
        while self._running and not self._flush_requests and not self._queue and monotonic() < pause:
            self._wakeup.acquire(True, max(0.0, pause - monotonic()))
        most = monotonic() + MAX_LINGER
        collected = None
        while self._running and not self._flush_requests and monotonic() < most:
            before = len(self._queue)
            if collected is not None and before - collected < BUSY_COUNT or before > MAX_QUEUED:
                return
            collected = before
            self._wakeup.acquire(True, LINGER)

    def _write_all(self) -> None:
        """Store all that has come by now. What cannot be stays in ``_writing``, and is the first next time."""
        # A task is in the queue before it is here. So when the queue has been gathered after this, and all of that is stored,
        # no other text of the task will need its arguments. Its last state alone is no sign of that: it may be seen early.
        self._releasable.update(dict.fromkeys([self._finished.popleft() for _ in range(len(self._finished))]))
        self._write_collected()
        for task in self._releasable:
            self._arguments.pop(task, None)
        self._releasable.clear()

    def _write_collected(self) -> None:
        self._queue_reports()
        addresses = self._addresses()
        left = True
        while left:
            with self._lock:
                collected = self._collect()
                if not self._writing:
                    left = len(self._waiting) > BATCH
                    if left:
                        keys = list(self._waiting)[:BATCH]
                        self._writing = {key: self._waiting.pop(key) for key in keys}
                    else:
                        self._writing, self._waiting = dict(self._waiting), {}
                batch = self._writing
            del collected                        # with the lock free, like everything that may be the last reference
            if not batch and not addresses:
                return
            try:
                texts = self._encode(batch)
                self.backend.write([*texts.items(), *addresses.items()])
            except BaseException:
                self._drop_oldest()
                raise
            with self._lock:
                self._writing = {}
            if addresses:
                self._published.update(dict.fromkeys(addresses, self.backend.clock()))
                addresses = {}

    def _queue_reports(self) -> None:
        """Enter what has been reported. A later report of these tasks is told again."""
        for _ in range(len(self._reports)):
            task = self._reports.popleft()
            # Under the lock of reports, so that the next one either finds it noted here, or is seen when this one is encoded.
            with task._spec.pool.lock:
                self._unread_reports.discard(task)
            self._queue.append(task)

    def _addresses(self) -> dict[str, str]:
        """Return the entries that say where requests go, as far as they are missing or about to expire."""
        backend = self.backend
        if backend.address is None:
            return {}
        keys = [ADDRESS_PREFIX + pool.registry.prefix for pool in self._pools()]
        until = 0.0 if backend.ttl is None else backend.clock() - backend.ttl / 3
        text = backend.coder.encode_address(backend.address)
        return {key: text for key in keys if self._published.get(key, -1.0) < until}

    def _encode(self, batch: dict[str, Task[Any] | str]) -> dict[str, str]:
        tasks = {task_id: task for task_id, task in batch.items() if not isinstance(task, str)}
        if tasks:
            texts = self.backend.coder.encode_tasks(_storable(tasks), self._arguments, self.backend.address)
            with self._lock:
                for task_id in tasks:   # so that a second try need not encode again; the tasks are let go
                    batch.pop(task_id)
                batch.update(texts)
        return batch        # type: ignore[return-value]

    def _collect(self) -> dict[Task[Any], None]:
        """Move what has come to where it can be found by id. The lock is held.

        Return references to all of it, for the caller to let go when the lock is free: that may run finalizers.
        """
        take, waiting = self._queue.popleft, self._waiting
        # Once each: of a short task the queue holds both the begin and the end.
        collected = dict.fromkeys([take() for _ in range(len(self._queue))])
        last = None
        for task in collected:
            spec = task._spec
            if spec is not last:
                pool: Any = spec.pool
                last, ignored, prefix = spec, spec.options.ignore_result, pool.registry.prefix
            if not ignored:
                # task.id, written out: this runs for every task, in competition with those that run
                extra = task._extra
                waiting[f"{prefix}{task._seq:012x}" if extra is None or extra.task_id is None else extra.task_id] = task
        return collected

    def _held(self) -> int:
        """How many tasks have something that is not stored."""
        with self._lock:
            collected = self._collect()
            held = len(self._writing.keys() | self._waiting.keys())
        del collected
        return held

    def _drop_oldest(self) -> None:
        """The store cannot be written: the memory must not fill up with what it should have taken."""
        with self._lock:
            collected = self._collect()
            over = len(self._waiting) - MAX_HELD
            dropped = [self._waiting.pop(key) for key in list(self._waiting)[:max(0, over)]]
        for task in dropped:
            if task in self._releasable:
                del self._releasable[task]
                self._arguments.pop(task, None)
        del collected, dropped
        if over > 0:
            self.dropped += over
            log.error("%d result(s) of supervisor %s are given up: more than %d wait for a store that cannot be written",
                      over, self.supervisor_id, MAX_HELD)

    def _fail_flushes(self, error: BaseException) -> None:
        for _ in range(len(self._flush_requests)):
            request = self._flush_requests.popleft()
            request.error = error
            request.done.release()


def _storable(tasks: dict[str, Task[Any]]) -> dict[str, Task[Any]]:
    """Leave out what no store can take: ids that an application chose and that are no text."""
    try:
        "".join(tasks).encode()
        return tasks
    except UnicodeEncodeError:
        pass
    good = {}
    for task_id, task in tasks.items():
        try:
            task_id.encode()
            good[task_id] = task
        except UnicodeEncodeError:
            log.error("the result of task %s is not stored: its id, %r, cannot be written as UTF-8", task.name, task_id)
    return good


_recorders: weakref.WeakSet[ResultWriter] = weakref.WeakSet()


def _after_fork() -> None:
    for recorder in list(_recorders):
        recorder.reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
