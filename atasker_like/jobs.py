"""Async jobs: light periodic coroutines, started by the supervisor's timer in a loop.

::

    timer ── deadline ──> mailbox of the loop ──> the coroutine begins

A job is no task: nobody waits for it, nothing is kept of it, and one that takes longer than its interval is joined by
the next one. What it raises is logged.

A start takes a while: the timer's thread decides, the loop's thread is told, and makes an asyncio task whose first step
follows in a later turn. A job may be cancelled at any point of that, in any thread, and does not begin after that. So each
start has a token. The loop takes it just before it enters the coroutine; a cancellation takes it and so prevents the start.
"""
from __future__ import annotations

import sys
import threading
from collections import deque
from functools import partial

from ._atomics import FREE_THREADED, Token
from ._checks import count, seconds
from ._inspect import is_coroutine_function, name_of
from ._ids import new_id, short_id
from ._log import log
from .engine.blocking import block, deadline_of_stop
from .engine.loop_mailbox import mailbox_of
from .errors import InvalidTypeError, SupervisorStoppedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from typing import Any, Callable, Coroutine, Mapping, Sequence

    from ._checks import Seconds
    from .engine.loop_mailbox import LoopMailbox
    from .engine.timer import Timer, TimerEntry

__all__ = ["AsyncJob", "AsyncJobScheduler"]

#: Seconds from one start of a job to the next at least.
LEAST_INTERVAL = 0.001

#: Bytes of a coroutine's code between its creation and its body: from Python 3.11 on, it begins with the creation.
INSTRUCTIONS_BEFORE = 4 if sys.version_info >= (3, 11) else 0

#: Seconds that a cancellation waits at most for the step that a job is in.
STEP = 0.05


def _converted(kind: Callable[[Any], Any], name: str, what: str, value: Any) -> Any:
    try:
        return kind(() if value is None else value)
    except (TypeError, ValueError):
        raise InvalidTypeError(f"{name} of an async job takes {what}, not {type(value).__name__}") from None


class AsyncJob:
    """A coroutine that is started again and again: what ``create_async_job`` returns.

    ``id`` is its own, ``number`` how many starts are left (0: no end), ``missed`` how many there were no time for.
    """

    def __init__(self, target: Callable[..., Coroutine[Any, Any, Any]], args: Sequence[Any] = (),
                 kwargs: Mapping[str, Any] | None = None, interval: Seconds | None = 0,
                 timer: Seconds | None = 0, number: int | None = 0) -> None:
        if not callable(target) or not is_coroutine_function(target):
            raise InvalidTypeError("target of an async job takes a coroutine function, not "
                                   f"{name_of(target)}; for a plain function use "
                                   "a background_worker with an interval")
        number = count("number of an async job", 0 if number is None else number, 0)
        self.id = new_id()
        self.target = target
        self.args = _converted(tuple, "args", "a sequence", args)
        self.kwargs: dict[str, Any] = _converted(dict, "kwargs", "a mapping", kwargs)
        self.interval = max(seconds("interval of an async job", 0 if interval is None else interval), LEAST_INTERVAL)
        self.timer = seconds("timer of an async job", 0 if timer is None else timer)
        self.number = number
        self.missed = 0
        self._cancelled = False
        self._exhausted = False             # all of its number of starts have been asked for
        self._scheduler: AsyncJobScheduler | None = None
        self._deadline = 0.0
        self._entry: TimerEntry | None = None
        self._lock = threading.RLock()      # guards _start and _cancelled
        self._start: _Start | None = None   # the last one; none before it is still to begin

    @property
    def active(self) -> bool:
        """Say whether there will be another start."""
        return not (self._cancelled or self._exhausted)

    def cancel(self) -> bool:
        """Start it no more. When this returns, no run begins any more; one that has begun goes on. Any thread may call it.

        If a run executes at this moment, the call waits until it awaits something, 0.05 s at most.

        :return: False if it had ended already.
        """
        with self._lock:
            was, self._cancelled = self.active, True
            start = self._start
        prevented = start is not None and start.prevent()
        if self._scheduler is not None:
            self._scheduler._remove(self)
        return was or prevented

    def _make_start(self, mailbox: LoopMailbox) -> _Start | None:
        """Return a start that the loop is to be told of; None if the last one has not begun, or there is to be none."""
        with self._lock:
            if self._cancelled or (self._start is not None and self._start.may_begin()):
                return None
            self._start = start = _Start(self, mailbox)
            return start

    def __repr__(self) -> str:
        return f"<AsyncJob {name_of(self.target)} {short_id(self.id)}>"


class _Start:
    """One start of a job, from the timer's decision on."""

    __slots__ = ("job", "_mailbox", "_token", "_coro", "_created", "_thread", "_done")

    def __init__(self, job: AsyncJob, mailbox: LoopMailbox) -> None:
        self.job = job
        self._mailbox = mailbox
        self._token = Token()       # taken by what lets it begin, or prevents it
        self._coro: Any = None      # what begins then
        self._created = 0           # the instruction at which it was created
        self._thread = 0            # where
        self._done = False          # it has ended, or is prevented

    def may_begin(self) -> bool:
        """Return True if it has not been prevented, and has not begun."""
        return self._token.is_there()

    async def run(self) -> None:
        """In the loop: run the coroutine, unless that has been prevented."""
        if not self.may_begin():
            return                  # before the call: a target that is no 'async def' may run code in it
        job = self.job
        self._coro = coro = job.target(*job.args, **job.kwargs)
        self._created = _instruction_of(coro)
        self._thread = threading.get_ident()
        if not self._token.take():
            coro.close()
            return
        try:
            await coro
        finally:
            self._done = True

    def prevent(self) -> bool:
        """Have it never begin; if that is too late, return False when it has begun."""
        if self._token.take():
            self._done = True
            return True
        if self._done or self._thread == threading.get_ident() or (self._is_entered() and not self._is_running()):
            return False
        # The thread of the loop has the token, and may be a few instructions away from the coroutine's first one, with no
        # code of the application in between. The loop tells when the step that it is in has ended. That is not waited for
        # to the end: the step may take long, or wait for the caller of this. What is certain then is that it has begun.
        gate = threading.Lock()
        gate.acquire()
        self._mailbox.post(lambda _: gate.release(), None)
        while not gate.acquire(True, STEP) and not self._is_entered():
            pass
        return False

    def _is_running(self) -> bool:
        return bool(getattr(self._coro, "cr_running", False))

    def _is_entered(self) -> bool:
        if FREE_THREADED:       # the frame of another thread is not to be touched
            return self._done or self._is_running() or bool(getattr(self._coro, "cr_suspended", True))
        # That it runs is not enough: its thread can lose the interpreter's lock before its first instruction.
        return self._done or _instruction_of(self._coro) > self._created + INSTRUCTIONS_BEFORE


def _instruction_of(coro: Any) -> int:
    """Return the offset of the last instruction of a coroutine; beyond all of them if it has ended or shows none."""
    frame = getattr(coro, "cr_frame", None)
    return sys.maxsize if frame is None else int(frame.f_lasti)


class AsyncJobScheduler:
    """Starts jobs in one loop. May be used from any thread.

    :param name: shown in logs.
    :param timer: of the supervisor.
    :param loop: where the coroutines run.
    :param on_end: called, in any thread, when the scheduler may have become idle.
    """

    def __init__(self, name: str, timer: Timer, loop: asyncio.AbstractEventLoop,
                 on_end: Callable[[], None]) -> None:
        self.id = self.name = name
        self._timer = timer
        self._loop = loop
        self._on_end = on_end               # called when it may have become idle
        self._mailbox = mailbox_of(loop)
        self._started = False
        self._stopped = False
        # Shared without a lock: adding to a dict and taking from it are each one step, on a free-threaded build too.
        self._jobs: dict[str, AsyncJob] = {}          # those that will be started again
        self._unscheduled: dict[str, AsyncJob] = {}   # of these, those that the timer has yet to be told of
        self._last_starts: dict[str, AsyncJob] = {}          # those whose last start the loop has been told of
        self._running: set[asyncio.Task[Any]] = set()     # the loop's own
        self._idle: deque[Callable[[], None]] = deque()   # gates of those who wait for what runs

    @property
    def busy(self) -> bool:
        """True if a job runs, or will be started again."""
        return self.active and bool(self._jobs or self._last_starts or self._running)

    @property
    def active(self) -> bool:
        """Say whether it starts jobs."""
        return self._started and not self._stopped

    def start(self) -> None:
        """Start jobs from now on; those created before have their time counted from here."""
        if not self._started:
            self._timer.start()
            self._started = True
            for job in list(self._jobs.values()):
                self._schedule(job)

    def create_threadsafe(self, target: Callable[..., Coroutine[Any, Any, Any]], **options: Any) -> AsyncJob:
        """Make a job, with the arguments of ``create_async_job``, and have it started at its time."""
        if self._stopped:
            raise SupervisorStoppedError(f"async job scheduler {self.name} has been stopped and takes no jobs; make "
                                         "another one with create_async_job_scheduler()")
        try:
            job = AsyncJob(target, **options)
        except TypeError as error:
            if isinstance(error, InvalidTypeError):
                raise
            raise InvalidTypeError(f"an async job takes target, args, kwargs, interval, number and timer: {error}") from None
        job._scheduler = self
        self._jobs[job.id] = self._unscheduled[job.id] = job
        if self._started:
            self._schedule(job)
        if self._stopped:           # meanwhile: who stopped it may not have seen the job
            job.cancel()
        return job

    async def create(self, target: Callable[..., Coroutine[Any, Any, Any]], **options: Any) -> AsyncJob:
        """:meth:`create_threadsafe`, for coroutines."""
        return self.create_threadsafe(target, **options)

    def cancel(self, job: AsyncJob) -> bool:
        """Start a job no more."""
        return job.cancel()

    def jobs(self) -> list[AsyncJob]:
        """Return the jobs that will be started again."""
        return [job for job in list(self._jobs.values()) if job.active]

    def stop(self, wait: bool | Seconds = True) -> bool:
        """Start no job any more.

        :param wait: True waits until those coroutines that run have ended, a number so many seconds, False not at all.
            In the scheduler's own loop it does not wait.
        :return: False when some still run.
        """
        deadline = deadline_of_stop(wait)
        self._stopped = True
        for job in list(self._jobs.values()):
            job.cancel()
        if wait is False or not self._running:
            return not self._running
        from asyncio import _get_running_loop

        if _get_running_loop() is self._loop:
            return False
        gate = threading.Lock()
        gate.acquire()
        self._idle.append(gate.release)
        if not self._mailbox.post(lambda _: self._call_idle(), None):
            return True             # its loop is closed: nothing runs there
        return block(gate.acquire, deadline)

    def _remove(self, job: AsyncJob) -> None:
        """A job that has been cancelled: let go of it and of what it holds, however far its next start is."""
        self._jobs.pop(job.id, None)
        self._unscheduled.pop(job.id, None)
        self._timer.cancel(job._entry)
        self._on_end()

    def _schedule(self, job: AsyncJob) -> None:
        if self._unscheduled.pop(job.id, None) is not None:     # else start() and the job's maker both came to it
            job._deadline = self._timer.clock() + job.timer
            self._arm(job)

    def _arm(self, job: AsyncJob) -> None:
        job._entry = self._timer.call_at(job._deadline, self._due, job)
        if job._cancelled:          # meanwhile: who cancelled it may have seen the entry before
            self._timer.cancel(job._entry)

    def _due(self, job: AsyncJob) -> None:
        """The timer's call: tell the loop, and see to the next time."""
        if job._cancelled:
            return
        start = job._make_start(self._mailbox)
        if start is None:
            job.missed += 1         # the loop is busy, and has not come to the last one
        else:
            if job.number == 1:
                self._last_starts[job.id] = job
            if not self._mailbox.post(self._begin, start):
                log.error("async job scheduler %s is stopped: its loop is closed", self.name)
                self.stop(wait=False)
                return
            if job.number:
                job.number -= 1
                if not job.number:
                    job._exhausted = True
                    self._jobs.pop(job.id, None)
                    self._on_end()          # the loop may have run it to its end meanwhile
                    return
        job._deadline += job.interval
        late = self._timer.clock() - job._deadline
        if late >= 0:
            over = int(late / job.interval) + 1
            job.missed += over
            job._deadline += over * job.interval
        self._arm(job)

    def _begin(self, start: _Start) -> None:
        """In the loop."""
        if not self._stopped and start.may_begin():     # else stopped or cancelled meanwhile
            task = self._loop.create_task(self._run(start))
            self._running.add(task)
            task.add_done_callback(partial(self._ended, start))
        if self._last_starts.pop(start.job.id, None) is not None:
            self._on_end()

    async def _run(self, start: _Start) -> None:
        try:
            await start.run()
        except Exception:
            log.exception("async job %r raised; it goes on", start.job)

    def _ended(self, start: _Start, task: asyncio.Task[Any]) -> None:
        start.prevent()                     # it has not begun if its task was cancelled before its first step
        self._running.discard(task)
        self._call_idle()
        self._on_end()

    def _call_idle(self) -> None:
        """In the loop: when nothing runs, tell those who wait for that."""
        while not self._running and self._idle:
            self._idle.popleft()()

    def __repr__(self) -> str:
        return f"<AsyncJobScheduler {self.name} {'active' if self.active else 'stopped' if self._stopped else 'new'}>"
