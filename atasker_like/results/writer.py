"""ResultWriter: one thread that stores the results of all pools in a backend.

::

    pool (lock held) ── on_started, on_finished ──> queue ──> waiting, by id ──> texts ──> write()
                            one append                 ^
                            find(id) ──────────────────┘ answered from here until the text is stored

The pools must not slow down. Their calls are appends; only the first one after a pause wakes the
thread, too. Encoding competes for the GIL with the threads that run tasks. So the thread waits
while many tasks end, before the first batch and between two batches, for two seconds at most.
"""
from __future__ import annotations

import threading
from collections import deque
from functools import partial
from itertools import islice
from time import monotonic

from .. import _fork
from .._atomics import RLock, release
from .._checks import in_seconds
from .._log import log
from .._threads import PackageThread
from ..engine.blocking import Latch, deadline_of, remaining
from ..engine.task import Task
from ..errors import ResultBackendError, WaitDeadlockError, WaitTimeoutError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Protocol, Sequence

    from .._checks import Seconds
    from ..pools.base import Pool
    from ..supervisor.supervisor import TaskSupervisor
    from .serializer import Call, Serializer

    class WritableBackend(Protocol):
        """The backend, as far as the writer needs it."""

        codec: Serializer
        arguments: bool
        ttl: float | None
        address: str | None

        @property
        def clock(self) -> Callable[[], float]: ...

        def write(self, entries: Sequence[tuple[str, str]]) -> None: ...
        def delete(self, task_id: str) -> bool: ...


#: Seconds of one linger, after which the writer compares the number of tasks that ended; and of one
#: when none is alive.
LINGER, LAST_LINGER = 0.02, 0.002
#: Tasks that end in that time under high load: 10 000 a second.
BUSY_COUNT = 200
#: Seconds, and tasks, after which the writer stores them under high load, too.
MAX_LINGER, MAX_QUEUED = 2.0, 200000
#: Results of one transaction: a few milliseconds, after which a burst of tasks comes first again.
BATCH = 2000
#: Results in memory while the store cannot be written. Beyond it the oldest ones are dropped.
MAX_HELD = 250000
#: Seconds until a failed write is repeated. They double each time, up to the second number.
RETRY_PAUSE, MAX_RETRY_PAUSE = 0.1, 5.0
#: Seconds that the end of a supervisor waits for a store that cannot be written, or for one write
#: that does not end.
CLOSE_TIMEOUT = 5.0
#: Seconds that the thread then gets to end, and to log what it has not stored.
LAST_GRACE = 0.5
#: Seconds between two writes if tasks only report progress.
PROGRESS_PAUSE = 0.25

#: The key of the address at which requests about the tasks of a pool arrive: this, and the prefix
#: that all ids of the pool share. Tasks that wait have no entry of their own.
ADDRESS_PREFIX = "address of "


def is_id(key: str) -> bool:
    """Return True if a key of a store is the id of a task."""
    return not key.startswith(ADDRESS_PREFIX)


class _FlushRequest:
    """A wait until all results so far are stored, or have failed."""

    __slots__ = ("done", "error")

    def __init__(self) -> None:
        self.done = Latch()
        self.error: BaseException | None = None

    def finish(self, error: BaseException | None) -> None:
        self.error = error
        self.done()


class ResultWriter:
    """Stores the results of one supervisor in one backend.

    Pools call these methods with their lock held: ``on_started`` when an attempt starts or is to be
    repeated, ``on_finished`` when a task is final, ``on_progress`` when a task reports progress.
    These append the task and return. The thread looks at the task later.
    """

    def __init__(self, supervisor: TaskSupervisor, backend: WritableBackend) -> None:
        self.supervisor_id: str = supervisor.id
        self._back = supervisor._supervisor_parts.back   # a weak reference, in effect
        self.backend = backend
        # These are shared without a lock: append and popleft are atomic, also on a free-threaded
        # build.
        self._queue: deque[Task[Any]] = deque()
        self._reports: deque[Task[Any]] = deque()
        self._flush_requests: deque[_FlushRequest] = deque()
        #: The tasks in _reports. The lock of its pool guards the entry of a task.
        self._unread_reports: set[Task[Any]] = set()
        #: The arguments of started tasks, if they are stored: a final task drops its own.
        self._arguments: dict[Task[Any], Call] = {}
        #: The finished ones of these tasks, in order.
        self._finished: deque[Task[Any]] = deque()
        #: Those of which the next write is the last one to need the arguments. For the writer's
        #: thread only.
        self._releasable: dict[Task[Any], None] = {}
        self._lock = RLock()      # guards the fields below; pools never take it
        self._waiting: dict[str, Task[Any]] = {}
        self._writing: dict[str, Task[Any] | str] = {}
        self._running = False               # the thread does not end when all is stored
        self._close_deadline = 0.0          # if it does not run: when to drop what cannot be stored
        self._last_write = 0.0              # the monotonic time of the last end of a write
        self._linger_end = 0.0      # the monotonic time; for the writer's thread only
        self._thread: threading.Thread | None = None
        self._wakeup = threading.Lock()     # held, while the thread has nothing to do
        self._wakeup.acquire()
        self.dropped: int = 0               # results that will never be stored
        #: The time of the last write of each address. For the writer's thread only.
        self._published: dict[str, float] = {}
        self.on_started: Callable[[Task[Any]], None]
        self.on_finished: Callable[[Task[Any]], None]
        self._set_callbacks(self._append_and_wake)
        _fork.register(self)

    @property
    def supervisor(self) -> TaskSupervisor | None:
        """The supervisor, or None if it has been collected."""
        supervisor: TaskSupervisor | None = self._back()
        return supervisor

    def _pools(self) -> list[Pool]:
        supervisor = self.supervisor
        if supervisor is None:
            return []
        return list(supervisor._supervisor_parts.pools.by_kind.values())

    def _set_callbacks(self, append: Callable[[Task[Any]], None]) -> None:
        self.on_finished = self.on_started = append
        if self.backend.arguments:
            self.on_started = partial(self._started_with_arguments, append)
            self.on_finished = partial(self._finished_with_arguments, append)

    def _started_with_arguments(self, append: Callable[[Task[Any]], None],
                                task: Task[Any]) -> None:
        if not task._spec.options.ignore_result:
            self._arguments[task] = task._args, task._kwargs
        append(task)

    def _finished_with_arguments(self, append: Callable[[Task[Any]], None],
                                 task: Task[Any]) -> None:
        append(task)
        self._finished.append(task)         # after the queue, see _write_all()

    def _append_and_wake(self, task: Task[Any]) -> None:
        """Handle the first task after a pause.

        The following ones are appended only.
        """
        # First: if the writer finds the task and pauses again, it resets the callbacks after this.
        self._set_callbacks(self._queue.append)
        self._queue.append(task)
        self._wake()

    def on_progress(self, task: Task[Any]) -> None:
        """Note that a task has reported progress. (lock of the pool held)"""
        if task not in self._unread_reports and not task._spec.options.ignore_result:
            self._unread_reports.add(task)
            self._reports.append(task)
            self._wake()

    def _wake(self) -> None:
        release(self._wakeup)

    # -- from any thread ---------------------------------------------------------------------------

    def _look_up(self, task_id: str) -> Task[Any] | str | None:
        with self._lock:
            collected = self._collect()
            found = self._waiting.get(task_id) or self._writing.get(task_id)
        del collected
        return found

    def find(self, task_id: str) -> str | None:
        """Return the text of a result that is not stored yet, or None."""
        found = self._look_up(task_id)
        if isinstance(found, Task):
            return self.backend.codec.encode_task(found, self._arguments.get(found))
        return found

    def ids(self) -> list[str]:
        """Return the ids of the tasks with a text that is not stored yet."""
        with self._lock:
            collected = self._collect()
            found = [*self._waiting, *self._writing]
        del collected
        return found

    def publish_address(self) -> None:
        """Store the address of this process for all pools.

        Errors as :meth:`flush`.
        """
        self._published.clear()
        self.flush()

    def find_task(self, task_id: str) -> Task[Any] | None:
        """Return the task of an id, if it is not encoded yet."""
        found = self._look_up(task_id)
        return found if isinstance(found, Task) else None

    def flush(self, timeout: Seconds | None = None) -> None:
        """Block until the results of all tasks that have ended are stored.

        :param timeout: seconds to wait at most (default: None, no limit).
        :raises ResultBackendError: the store cannot be written now; the write is repeated later.
        :raises WaitTimeoutError: the results were not stored in time.
        :raises WaitDeadlockError: the backend's own ``write()`` or ``delete()`` calls this.
        """
        deadline = deadline_of(timeout)
        with self._lock:                    # while the thread starts, it is not known yet
            is_here = self.is_here()
        if is_here and deadline is None:
            raise WaitDeadlockError("a flush() in the thread that stores the results waits for "
                                    "itself; leave it out of write() and delete() of the backend")
        request = _FlushRequest()
        self._flush_requests.append(request)
        with self._lock:
            self._start_thread()            # a supervisor that does not run has none
        self._wake()
        if not request.done.wait(deadline):
            raise WaitTimeoutError(f"results were not stored within {in_seconds(timeout)}; "
                                   "the writer goes on")
        if request.error is not None:
            raise ResultBackendError("results are held in memory, since they cannot be stored: "
                                     f"{request.error}") from request.error

    def open(self) -> None:
        """Start the thread."""
        with self._lock:
            self._running = True            # a thread that is about to end goes on
            self._start_thread()

    def _start_thread(self) -> None:
        """Start the thread if there is none. (lock held)

        If no thread can be started, results stay in memory.
        """
        if self._thread is not None:
            return
        thread = PackageThread(self._run, name=f"supervisor_{self.supervisor_id}_results")
        try:
            thread.start()
        except (RuntimeError, MemoryError) as error:
            log.error("results of supervisor %s are held in memory: no thread could be started to "
                      "store them (%s)", self.supervisor_id, error)
            self._fail_flushes(error)
            return
        self._thread = thread

    def close(self, deadline: float | None) -> int:
        """Store all results, and end the thread.

        Log those that cannot be stored in time, and return their number.
        """
        began = monotonic()
        limit = began + CLOSE_TIMEOUT
        with self._lock:
            self._close_deadline = limit if deadline is None else min(deadline, limit)
            self._running = False
            if self._has_work() or self._writing or self._has_old_addresses():
                self._start_thread()
            thread = self._thread
        self._wake()
        ended = thread is None or self._join(thread, began, deadline)
        held = self._held()
        if not ended:
            if held:
                log.error("%d result(s) of supervisor %s were not stored before its end: a write() "
                          "of the result backend has not ended; give what it calls a timeout",
                          held, self.supervisor_id)
            elif not self.is_here():
                log.warning("an address that is no more stays in the store of supervisor %s: a "
                            "delete() of the result backend has not ended; give what it calls a "
                            "timeout", self.supervisor_id)
        return held

    def _join(self, thread: threading.Thread, began: float, deadline: float | None) -> bool:
        """Wait for the end of the thread, and return True if it has ended.

        A write that does not end would delay the end of the supervisor without limit. Each write
        that ends prolongs the wait.
        """
        if self.is_here():
            return False
        while True:
            limit = max(began, self._last_write) + CLOSE_TIMEOUT
            left = remaining((limit if deadline is None else min(deadline, limit)) + LAST_GRACE)
            thread.join(left)
            if not thread.is_alive():
                return True
            if not left:
                return False

    def is_here(self) -> bool:
        """Return True in the writer's thread, where a backend's ``write()`` runs."""
        # Not current_thread(), which makes a lasting object for a thread that it does not know.
        return self._thread is not None and self._thread.ident == threading.get_ident()

    def _reset_after_fork(self) -> None:
        # The thread belongs to the parent process, which also stores all that is here.
        for container in (self._queue, self._reports, self._unread_reports, self._flush_requests,
                          self._arguments, self._finished, self._releasable, self._published):
            container.clear()
        self._lock = RLock()
        self._waiting, self._writing = {}, {}
        self._running = False
        self._thread = None
        self._wakeup = threading.Lock()
        self._wakeup.acquire()
        self._set_callbacks(self._append_and_wake)

    # -- the writer's thread -----------------------------------------------------------------------

    def _run(self) -> None:
        pause = RETRY_PAUSE
        while True:
            requests = [self._flush_requests.popleft() for _ in range(len(self._flush_requests))]
            if requests:
                self._linger_end = 0.0
            error: BaseException | None = None
            try:
                self._write_all()
                if pause > RETRY_PAUSE:
                    log.warning("results of supervisor %s are stored again", self.supervisor_id)
                pause = RETRY_PAUSE
            except BaseException as raised:
                error = raised
            for request in requests:
                request.finish(error)
            if error is None:
                if not self._running:
                    self._withdraw_addresses()
                if self._may_exit():
                    return
                if self._sleep():
                    self._linger_end = monotonic() + MAX_LINGER
                    self._await_tasks()
                    self._linger()
                continue
            if self._may_abandon(error):
                self._withdraw_addresses()
                return
            if pause == RETRY_PAUSE:
                log.error("results of supervisor %s cannot be stored, and are held in memory until "
                          "they can: %s", self.supervisor_id, error)
            left = pause
            if not self._running:
                left = max(0.0, min(pause, self._close_deadline - monotonic()))
            self._wakeup.acquire(True, left)    # a flush, or the end, repeats the write at once
            pause = min(2 * pause, MAX_RETRY_PAUSE)

    def _has_old_addresses(self) -> bool:
        """Return True if addresses are stored, though this process takes no requests any more."""
        return bool(self._published) and self.backend.address is None

    def _withdraw_addresses(self) -> None:
        """Remove the old addresses.

        In the writer's thread, since a ``delete()`` of the backend may block.
        """
        if not self._has_old_addresses():
            return
        for key in list(self._published):
            try:
                self.backend.delete(key)
            except BaseException as error:      # the entry is useless, but harmless
                log.debug("results of supervisor %s: an address that is no more stays in the "
                          "store: %s", self.supervisor_id, error)
            self._published.pop(key, None)

    def _has_work(self) -> bool:
        """Return True if anything is to be stored. (lock held)"""
        return bool(self._queue or self._waiting or self._flush_requests or self._reports)

    def _may_exit(self) -> bool:
        # Decided under the lock: a caller that comes later sees that there is no thread.
        with self._lock:
            if self._running or self._has_work():
                return False
            self._thread = None
            return True

    def _may_abandon(self, error: BaseException) -> bool:
        """Return True if the thread ends although results are not stored."""
        with self._lock:
            if self._running or self._close_deadline > monotonic():
                return False
            self._thread = None
            self._fail_flushes(error)
        log.error("%d result(s) of supervisor %s, which does not run any more, are held in memory "
                  "and were not stored: %s", self._held(), self.supervisor_id, error)
        return True

    def _sleep(self) -> bool:
        """Block until there is work.

        Return True if the thread may linger before it.
        """
        if not self._queue:
            self._set_callbacks(self._append_and_wake)
            for pool in self._pools():
                # A pool that still uses the old callback has appended its task when its lock is
                # free, so the loop below sees the task.
                with pool.lock:
                    pass
            while self._running:
                with self._lock:
                    if self._has_work():
                        break
                self._wakeup.acquire()
        return self._running and not self._flush_requests

    def _await_tasks(self) -> None:
        """If there are only reports of progress, wait for more."""
        self._wakeup.acquire(False)         # it may be free because of work that is known already
        pause = monotonic() + PROGRESS_PAUSE
        while (self._running and not self._flush_requests and not self._queue
               and monotonic() < pause):
            self._wakeup.acquire(True, max(0.0, pause - monotonic()))

    def _linger(self) -> None:
        """Wait while many tasks end."""
        before, pause = None, LINGER
        while self._running and not self._flush_requests and monotonic() < self._linger_end:
            count = len(self._queue)
            if count > MAX_QUEUED:
                self._linger_end = 0.0
                return
            if before is not None:
                if (count - before) * LINGER < BUSY_COUNT * pause:
                    return
                # Without live tasks, this is probably the end of a burst.
                pause = LINGER if self._has_live_tasks() else LAST_LINGER
            before = count
            self._wakeup.acquire(True, pause)

    def _has_live_tasks(self) -> bool:
        return any(pool.registry.live for pool in self._pools())

    def _write_all(self) -> None:
        """Store all results so far.

        Those that fail stay in ``_writing``, for the next time.
        """
        # A task enters the queue before _finished. So once the queue that is collected after this
        # line is stored, no later text of the task needs its arguments. Its final state alone does
        # not say so: the thread may see it before the task is in the queue.
        finished = [self._finished.popleft() for _ in range(len(self._finished))]
        self._releasable.update(dict.fromkeys(finished))
        self._write_collected()
        for task in self._releasable:
            self._arguments.pop(task, None)
        self._releasable.clear()

    def _write_collected(self) -> None:
        self._queue_reports()
        addresses = self._addresses()
        left = True
        while left:
            began = monotonic()
            with self._lock:
                collected = self._collect()     # noqa: F841: dropped below
                if not self._writing:
                    left = len(self._waiting) > BATCH
                    if left:
                        keys = list(islice(self._waiting, BATCH))
                        self._writing = {key: self._waiting.pop(key) for key in keys}
                    else:
                        self._writing, self._waiting = dict(self._waiting), {}
                batch = self._writing
            del collected
            if not batch and not addresses:
                return
            try:
                texts = self._encode(batch)
                self.backend.write([*texts.items(), *addresses.items()])
            except BaseException:
                self._drop_oldest()
                raise
            finally:
                self._last_write = monotonic()
            with self._lock:
                self._writing = {}
            if addresses:
                self._published.update(dict.fromkeys(addresses, self.backend.clock()))
                addresses = {}
            # The tasks that have ended meanwhile are in the queue.
            if left and len(self._queue) * LINGER >= BUSY_COUNT * (monotonic() - began):
                self._linger()

    def _queue_reports(self) -> None:
        for _ in range(len(self._reports)):
            task = self._reports.popleft()
            # Under the lock of on_progress(): the next report either queues the task again, or its
            # progress is seen when this one is encoded.
            with task._spec.pool.lock:
                self._unread_reports.discard(task)
            self._queue.append(task)

    def _addresses(self) -> dict[str, str]:
        """Return the address entries that are missing or expire soon."""
        backend = self.backend
        if backend.address is None:
            return {}
        keys = [ADDRESS_PREFIX + pool.registry.prefix for pool in self._pools()]
        oldest = 0.0 if backend.ttl is None else backend.clock() - backend.ttl / 3
        text = backend.codec.encode_address(backend.address)
        return {key: text for key in keys if self._published.get(key, -1.0) < oldest}

    def _encode(self, batch: dict[str, Task[Any] | str]) -> dict[str, str]:
        """Replace the tasks of a batch by their texts, so that a second try need not encode."""
        texts = {task_id: text for task_id, text in batch.items() if isinstance(text, str)}
        tasks: Any = batch
        if texts:
            tasks = {task_id: task for task_id, task in batch.items() if task_id not in texts}
        texts.update(self.backend.codec.encode_tasks(_storable(tasks), self._arguments,
                                                     self.backend.address))
        with self._lock:
            self._writing = dict(texts)
        return texts

    def _collect(self) -> dict[Task[Any], None]:
        """Move the tasks of the queue to where they are found by id.

        (lock held)

        The caller must hold the returned references until the lock is free: dropping the last one
        may run finalizers.
        """
        take, waiting = self._queue.popleft, self._waiting
        # Each task once: the queue holds the start and the end of a short task.
        collected = dict.fromkeys([take() for _ in range(len(self._queue))])
        last = None
        for task in collected:
            spec = task._spec
            if spec is not last:
                pool: Any = spec.pool
                last, ignored = spec, spec.options.ignore_result
                form = pool.registry.prefix.replace("%", "%%") + "%012x"
            if not ignored:
                # task.id, inlined: this runs for every task, and competes with those that run.
                extra = task._extra
                if extra is None or extra.task_id is None:
                    waiting[form % task._number] = task
                else:
                    waiting[extra.task_id] = task
        return collected

    def _held(self) -> int:
        """Return the number of tasks with a text that is not stored."""
        with self._lock:
            collected = self._collect()
            held = len(self._writing.keys() | self._waiting.keys())
        del collected
        return held

    def _drop_oldest(self) -> None:
        """Limit the results in memory while the store cannot be written."""
        with self._lock:
            collected = self._collect()
            excess = len(self._waiting) - MAX_HELD
            dropped = [self._waiting.pop(key) for key in list(self._waiting)[:max(0, excess)]]
        for task in dropped:
            if task in self._releasable:
                del self._releasable[task]
                self._arguments.pop(task, None)
        del collected, dropped
        if excess > 0:
            self.dropped += excess
            log.error("%d result(s) of supervisor %s are dropped: more than %d wait for a store "
                      "that cannot be written", excess, self.supervisor_id, MAX_HELD)

    def _fail_flushes(self, error: BaseException) -> None:
        for _ in range(len(self._flush_requests)):
            self._flush_requests.popleft().finish(error)


def _storable(tasks: dict[str, Task[Any]]) -> dict[str, Task[Any]]:
    """Leave out tasks with an id that UTF-8 cannot encode.

    Applications choose ids freely.
    """
    try:
        "".join(tasks).encode()
        return tasks
    except UnicodeEncodeError:
        pass
    storable = {}
    for task_id, task in tasks.items():
        try:
            task_id.encode()
            storable[task_id] = task
        except UnicodeEncodeError:
            log.error("the result of task %s is not stored: its id, %r, cannot be written as UTF-8",
                      task.name, task_id)
    return storable
