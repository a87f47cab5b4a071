"""Async jobs: light periodic coroutines, started in a loop by the timer.

::

    timer ── deadline ──> mailbox of the loop ──> the coroutine begins

A job is not a task. It has no result, and nothing waits for it. If a run lasts longer than the
interval, the next run begins beside it. An exception of a run is logged.

A start takes several steps. The timer's thread decides and notifies the loop's thread, which makes
an asyncio task; the first step of that follows later. Any thread may cancel the job between these
steps, and no run begins after that. So each start has a token. The loop takes it just before it
enters the coroutine. A cancellation that takes it prevents the start.
"""
from __future__ import annotations

import sys
import threading
from collections import deque
from functools import partial

from . import _modes
from ._atomics import FREE_THREADED, RLock, Token
from ._checks import a_kind, count, ends_tracebacks, seconds
from ._ids import new_id, short_id
from ._inspect import described, is_coroutine_function, name_of
from ._log import log
from .engine.blocking import Latch, deadline_of_stop
from .engine.loop_mailbox import mailbox_of
from .errors import InvalidTypeError, SupervisorStoppedError
from .loops import call_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from typing import Any, Callable, Coroutine, Mapping, Sequence

    from typing_extensions import Required, TypedDict, Unpack

    from ._checks import Seconds
    from .engine.loop_mailbox import LoopMailbox
    from .engine.timer import Timer, TimerEntry

    class ScheduleOptions(TypedDict, total=False):
        """The keyword arguments of :class:`AsyncJob` beside the target."""

        args: Sequence[Any]
        kwargs: Mapping[str, Any] | None
        interval: Seconds | None
        timer: Seconds | None
        number: int | None

    class JobOptions(ScheduleOptions):
        """The keyword arguments of :class:`AsyncJob`."""

        target: Required[Callable[..., Coroutine[Any, Any, Any]]]

__all__ = ["AsyncJob", "AsyncJobScheduler"]

#: The shortest interval of a job, in seconds.
LEAST_INTERVAL = 0.001

#: Bytes of a coroutine's code from the instruction that creates it to its body. Python 3.11 has
#: introduced these.
INSTRUCTIONS_BEFORE = 4 if sys.version_info >= (3, 11) else 0

#: Seconds until a loop asks whether it still has to keep the watch of a wait for runs.
WATCH = 60.0

#: The longest wait of a cancellation for the current step of a run, in seconds.
STEP = 0.05


def _converted(kind: Callable[[Any], Any], name: str, what: str, value: Any) -> Any:
    try:
        return kind(() if value is None else value)
    except (TypeError, ValueError):
        raise InvalidTypeError(f"{name} of an async job takes {what}, "
                               f"not {type(value).__name__}") from None


@ends_tracebacks()
class AsyncJob:
    """A coroutine that is started again and again. ``create_async_job`` returns it.

    ``id`` identifies it, ``number`` is the number of starts that are left (0: no limit), and
    ``missed`` the number of starts that came too late.

    Any thread may use it.

    >>> import asyncio, threading
    >>> began = threading.Event()
    >>> async def beat():
    ...     began.set()
    >>> job = task_supervisor.create_async_job(target=beat, interval=0.01)
    >>> began.wait(10), job.cancel()
    (True, True)
    """

    def __init__(self, target: Callable[..., Coroutine[Any, Any, Any]], args: Sequence[Any] = (),
                 kwargs: Mapping[str, Any] | None = None, interval: Seconds | None = 0,
                 timer: Seconds | None = 0, number: int | None = 0) -> None:
        # In atasker, a plain function that returns a coroutine is one, too.
        if not callable(target) or not (_modes.legacy or is_coroutine_function(target)):
            raise InvalidTypeError("target of an async job takes a coroutine function, not "
                                   f"{name_of(target)}; for a plain function use "
                                   "a background_worker with an interval")
        number = count("number of an async job", 0 if number is None else number, 0)
        self.id: str = new_id()
        self.target = target
        self.args: Any = _converted(tuple, "args", "a sequence", args)
        self.kwargs: dict[str, Any] = _converted(dict, "kwargs", "a mapping", kwargs)
        self.interval: float = max(
            seconds("interval of an async job", 0 if interval is None else interval),
            LEAST_INTERVAL)
        self.timer: float = seconds("timer of an async job", 0 if timer is None else timer)
        self.number = number
        self.missed = 0
        self._cancelled = False
        self._exhausted = False             # no starts are left
        self._scheduler: AsyncJobScheduler | None = None
        self._deadline = 0.0
        self._entry: TimerEntry | None = None
        self._lock = RLock()      # guards _start and _cancelled
        # the last one; every earlier one has begun or never does
        self._start: _Start | None = None

    @property
    def active(self) -> bool:
        """Return True if another start follows."""
        return not (self._cancelled or self._exhausted)

    def cancel(self) -> bool:
        """End the job.

        When this returns, no run begins any more. A run that has begun goes on.

        If a run executes at this moment, the call waits until it awaits something, 0.05 s at most.
        Any thread may call this.

        :return: False if the job has ended.
        """
        with self._lock:
            was, self._cancelled = self.active, True
            start = self._start
        prevented = start is not None and start.prevent()
        if self._scheduler is not None:
            self._scheduler._remove(self)
        return was or prevented

    def _make_start(self, mailbox: LoopMailbox) -> _Start | None:
        """Return a start for the loop, or None.

        None means that the last one has not begun, or that the job is cancelled.
        """
        with self._lock:
            if self._cancelled or (self._start is not None and self._start.may_begin()):
                return None
            self._start = start = _Start(self, mailbox)
            return start

    def __repr__(self) -> str:
        return f"<AsyncJob {name_of(self.target)} {short_id(self.id)}>"


class _Start:
    """One start of a job, from the decision of the timer on."""

    __slots__ = ("job", "_mailbox", "_token", "_coro", "_created", "_thread", "_done")

    def __init__(self, job: AsyncJob, mailbox: LoopMailbox) -> None:
        self.job = job
        self._mailbox = mailbox
        self._token = Token()       # taken by the loop to begin, or to prevent the start
        self._coro: Any = None
        self._created = 0           # the instruction at which the coroutine was created
        self._thread = 0            # the loop's
        self._done = False          # the run has ended, or is prevented

    def may_begin(self) -> bool:
        """Return True if the run has not begun and is not prevented."""
        return self._token.is_there()

    async def run(self) -> None:
        """Run the coroutine in the loop, unless it is prevented."""
        if not self.may_begin():
            # before the call, which may run code if the target is no 'async def'
            return
        job = self.job
        self._coro = coro = job.target(*job.args, **job.kwargs)
        self._created = _instruction_of(coro)
        self._thread = threading.get_ident()
        try:
            # Not before: an interrupt in between would leave prevent() waiting.
            if not self._token.take():
                coro.close()
                return
            await coro
        finally:
            self._done = True

    def prevent(self) -> bool:
        """Prevent the run and return True; or return False after the run has begun."""
        if self._token.take():
            self._done = True
            return True
        if self._done or self._thread == threading.get_ident():
            return False
        if self._is_entered() and not self._is_running():
            return False
        # The thread of the loop has the token. A few instructions may separate it from the first
        # one of the coroutine, but no code of the application. The loop makes the posted call after
        # its current step. That step may take long, or wait for this caller. So the wait also ends
        # when the coroutine has been entered.
        answered = Latch()
        self._mailbox.post(lambda _: answered(), None)
        while not answered.acquire(True, STEP) and not self._is_entered():
            pass
        return False

    def _is_running(self) -> bool:
        return bool(getattr(self._coro, "cr_running", False))

    def _is_entered(self) -> bool:
        if FREE_THREADED:       # a thread may not read the frame of another one
            return (self._done or self._is_running()
                    or bool(getattr(self._coro, "cr_suspended", True)))
        # cr_running is not enough: the thread can lose the interpreter's lock before the first
        # instruction.
        return self._done or _instruction_of(self._coro) > self._created + INSTRUCTIONS_BEFORE


class _LoopWatch:
    """Calls a function when the loop that keeps it is closed: the loop drops its calls then.

    asyncio offers no other sign of that. The function is also called when the loop does not keep
    the watch any more.
    """

    __slots__ = ("_call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call

    def keep(self, scheduler: AsyncJobScheduler) -> None:
        """Stay in the loop while threads wait for runs. For the loop's thread."""
        scheduler._wake_waiters()
        if scheduler._waiters:
            scheduler._loop.call_later(WATCH, self.keep, scheduler)

    def __del__(self) -> None:
        self._call()


def _instruction_of(coro: Any) -> int:
    """Return the offset of the last instruction of a coroutine.

    Return ``sys.maxsize`` if it has ended or does not show its frame.
    """
    frame = getattr(coro, "cr_frame", None)
    return sys.maxsize if frame is None else int(frame.f_lasti)


@ends_tracebacks()
class AsyncJobScheduler:
    """Starts jobs in one loop. Any thread may use it.

    :param name: shown in logs.
    :param timer: of the supervisor.
    :param loop: where the coroutines run.
    :param on_end: called in any thread when the scheduler may have become idle.
    :param start_timer: starts the timer, or raises if the supervisor has been stopped.

    >>> import threading
    >>> began = threading.Event()
    >>> async def beat():
    ...     began.set()
    >>> scheduler = task_supervisor.create_async_job_scheduler('beats')
    >>> job = scheduler.create_threadsafe(target=beat, interval=0.01)
    >>> began.wait(10), scheduler.cancel(job), scheduler.stop()
    (True, True, True)
    """

    def __init__(self, name: str, timer: Timer, loop: asyncio.AbstractEventLoop,
                 on_end: Callable[[], None], start_timer: Callable[[], None]) -> None:
        self.id: str = name
        self.name: str = name
        self._timer = timer
        self._loop = loop
        self._on_end = on_end
        self._start_timer = start_timer
        self._mailbox = mailbox_of(loop)
        self._started = False
        self._stopped = False
        # Shared without a lock: adding to a dict and taking from it are each one step, on a
        # free-threaded build too.
        self._jobs: dict[str, AsyncJob] = {}            # these will be started again
        self._unscheduled: dict[str, AsyncJob] = {}     # those of them that have no timer yet
        # jobs whose last start has been posted to the loop
        self._last_starts: dict[str, AsyncJob] = {}
        self._running: set[asyncio.Task[Any]] = set()   # for the loop's thread
        self._waiters: deque[Callable[[], None]] = deque()

    @property
    def busy(self) -> bool:
        """Return True if a job runs or will be started again."""
        return self.active and bool(self._jobs or self._last_starts or self._running)

    @property
    def active(self) -> bool:
        """Return True if the scheduler starts jobs."""
        return self._started and not self._stopped and not self._loop.is_closed()

    def start(self) -> None:
        """Start jobs from now on.

        The times of jobs that were created before count from here.

        :raises SupervisorStoppedError: (a RuntimeError) the scheduler has been stopped.
        """
        self._check_open()
        if not self._started:
            self._start_timer()
            self._started = True
            for job in list(self._jobs.values()):
                self._schedule(job)

    def _check_open(self) -> None:
        if self._stopped:
            raise SupervisorStoppedError(f"async job scheduler {self.name} has been stopped and "
                                         "takes no jobs; make another one with "
                                         "create_async_job_scheduler()")

    def create_threadsafe(self, target: Callable[..., Coroutine[Any, Any, Any]],
                          **options: Unpack[ScheduleOptions]) -> AsyncJob:
        """Make a job and start it at its time.

        The arguments are those of ``create_async_job``.

        Any thread may call this.

        :param target: a coroutine function.
        :return: the job.
        :raises SupervisorStoppedError: (a RuntimeError) the scheduler has been stopped.
        :raises InvalidTypeError: (a TypeError) an argument is unknown, or has a wrong type.
        """
        self._check_open()
        try:
            job = AsyncJob(target, **options)
        except TypeError as error:
            if isinstance(error, InvalidTypeError):
                raise
            raise InvalidTypeError("an async job takes target, args, kwargs, interval, number and "
                                   f"timer: {error}") from None
        job._scheduler = self
        self._jobs[job.id] = self._unscheduled[job.id] = job
        if self._started:
            self._schedule(job)
        if self._stopped:           # meanwhile: the stop may not have seen the job
            job.cancel()
            self._check_open()
        return job

    async def create(self, target: Callable[..., Coroutine[Any, Any, Any]],
                     **options: Unpack[ScheduleOptions]) -> AsyncJob:
        """:meth:`create_threadsafe`, for coroutines.

        :param target: a coroutine function.
        :return: the job.
        """
        return self.create_threadsafe(target, **options)

    def cancel(self, job: AsyncJob) -> bool:
        """Cancel a job. See :meth:`AsyncJob.cancel`.

        :param job: a job of this scheduler.
        :return: False if the job has ended.
        :raises InvalidTypeError: (a TypeError) it is not a job.
        """
        if not isinstance(job, AsyncJob):
            raise InvalidTypeError(f"cancel takes an AsyncJob, not {a_kind(job)}")
        return job.cancel()

    def jobs(self) -> list[AsyncJob]:
        """Return the jobs that will be started again."""
        return [job for job in list(self._jobs.values()) if job.active]

    def stop(self, wait: bool | Seconds = True) -> bool:
        """Start no more jobs, and wait for the current runs. Any thread may call this.

        :param wait: seconds to wait for the runs (default: True); True waits without limit, False
            does not wait. In the scheduler's own loop the call does not wait.
        :return: False if some runs have not ended.
        """
        deadline = deadline_of_stop(wait)
        self._stopped = True
        for job in [*self._jobs.copy().values(), *self._last_starts.copy().values()]:
            job.cancel()
        self.loop_ended()
        if wait is False or not self._running:
            return not self._running
        from asyncio import _get_running_loop

        if _get_running_loop() is self._loop:
            return False
        latch = Latch()
        self._waiters.append(latch)
        if not call_in(self._loop, _LoopWatch(self.loop_ended).keep, self):
            return True             # nothing runs in a closed loop
        return latch.wait(deadline)

    def loop_ended(self) -> None:
        """If the loop of the scheduler is closed, end the waits for runs. For any thread."""
        if self._loop.is_closed():
            self._running.clear()           # they cannot go on
            self._wake_waiters()
            self._on_end()

    def _remove(self, job: AsyncJob) -> None:
        """Drop a cancelled job and its references, also if its next start is far ahead."""
        self._jobs.pop(job.id, None)
        self._unscheduled.pop(job.id, None)
        self._timer.cancel(job._entry)
        self._on_end()

    def _schedule(self, job: AsyncJob) -> None:
        if self._unscheduled.pop(job.id, None) is not None:     # else another thread has done it
            job._deadline = self._timer.clock() + job.timer
            self._arm(job)

    def _arm(self, job: AsyncJob) -> None:
        job._entry = self._timer.call_at(job._deadline, self._due, job)
        if job._cancelled:          # meanwhile: the cancellation may have seen the previous entry
            self._timer.cancel(job._entry)

    def _due(self, job: AsyncJob) -> None:
        """Post a start to the loop, and set the timer for the next one."""
        if job._cancelled:
            return
        start = job._make_start(self._mailbox)
        if start is not None and job.number == 1:
            self._last_starts[job.id] = job
        # The loop may have been closed after it was given the last start.
        if self._loop.is_closed() or (
                start is not None and not self._mailbox.post(self._begin, start)):
            log.error("async job scheduler %s is stopped: its loop is closed", self.name)
            self.stop(wait=False)
            return
        if start is None:
            job.missed += 1         # the loop is busy and has not begun the last start
        else:
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
        if not self._stopped and start.may_begin():     # else stopped or cancelled meanwhile
            task = self._loop.create_task(self._run(start))
            self._running.add(task)
            task.add_done_callback(partial(self._ended, start))
        if self._last_starts.pop(start.job.id, None) is not None:
            self._on_end()

    async def _run(self, start: _Start) -> None:
        from asyncio import CancelledError

        try:
            await start.run()
        except (CancelledError, GeneratorExit):
            raise
        except BaseException as error:      # SystemExit would end the loop
            log.exception("async job %r raised %s; it goes on", start.job, described(error))

    def _ended(self, start: _Start, task: asyncio.Task[Any]) -> None:
        # the run has not begun if its task was cancelled before its first step
        start.prevent()
        self._running.discard(task)
        self._wake_waiters()
        self._on_end()

    def _wake_waiters(self) -> None:
        """If nothing runs, wake the threads that wait for that."""
        while not self._running and self._waiters:
            try:
                self._waiters.popleft()()
            except IndexError:      # another thread has taken the last one
                return

    def __repr__(self) -> str:
        state = "active" if self.active else "stopped" if self._stopped else "new"
        return f"<AsyncJobScheduler {self.name} {state}>"
