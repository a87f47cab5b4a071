"""The thread pool.

::

    submit ──> place free? ──yes──> an idle thread, else a new one ──> runs the task
                    │                                                      │
                    no                                                     │ ends: one critical section
                    └──> run_queue queue <── takes the next one ───────────┤ frees the place and takes
                                                                           │ the next task
                                                 none may start ──> idle ──┘

A thread that ends a task takes the next one itself. So there is no manager thread, no hand-off and no queue
object between, and a busy pool wakes nobody. An idle thread sleeps on a lock of its own and holds no task.

A thread that waits for another task lends its place; taking it back may exceed the pool's size for a while.
It cannot wait for a place instead: it may hold a lock of the application that those who run are waiting for.
"""
from __future__ import annotations

import threading
from collections import deque
from contextvars import copy_context
from operator import methodcaller
from sys import maxsize
from time import perf_counter

from .._log import log
from .._threads import PackageThread
from ..constants import TaskType
from ..engine.blocking import remaining
from ..engine.current import current
from ..engine.result import with_traceback
from ..engine.run_queue import RunQueue
from ..engine.spec import TaskSpec
from ..engine.task import CANCELED, COMPLETED, QUEUED, STARTED, Task
from ..errors import PoolBrokenError, RetryRequest, TaskCancelledError, TaskTimeoutError
from .base import Pool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Sequence

    from ..engine.timer import Timer
    from .base import Chores, Waiters

__all__ = ["PoolThread", "ThreadPool"]

#: Idle threads kept by a pool whose size is unlimited.
UNLIMITED_KEEPS = 64

#: Threads that may be abandoned, unless told.
MAX_ABANDONED = 1000

#: Seconds until a pool that could not start a thread tries again.
START_RETRY = 0.1


class PoolThread:
    """A member of the pool. Its fields are guarded by the pool's lock; ``task`` may be read without it."""

    __slots__ = ("pool", "task", "job", "wake", "lent", "abandoned", "leaving", "gone", "awake",
                 "thread")

    def __init__(self, pool: ThreadPool, task: Task[Any] | None = None,
                 job: Callable[[], None] | None = None) -> None:
        self.pool = pool
        self.task = task                    # what it runs and holds a place for
        self.job = job                      # or what it runs beside the places
        self.wake = threading.Lock()        # held while it has nothing to do
        self.wake.acquire()
        self.lent = 0                       # how many waits deep it is: above 0, its place is lent
        self.abandoned = False              # nobody waits for its task any more; its place is gone
        self.leaving = False                # it is to go when it has nothing to do any more
        self.gone = False                   # it is no longer in the pool: nobody will wake it but to let it end
        self.awake = False                  # from its rest until it has seen that it was woken
        self.thread: threading.Thread | None = None

    def lend(self) -> None:
        """The function that this thread runs is about to wait: others may use its place."""
        self.pool._lend(self)

    def reclaim(self) -> None:
        """The wait is over."""
        self.pool._reclaim(self)


class ThreadPool(Pool):
    """Runs tasks in threads, most urgent first, in the context of their submitter."""

    tt = TaskType.THREAD

    def __init__(self, name: str, timer: Timer, wake_up: Callable[[], None], pool_size: int,
                 reserve_normal: int, reserve_high: int) -> None:
        super().__init__(name, timer, wake_up, self.beside, RunQueue(pool_size, reserve_normal, reserve_high))
        self._idle: list[PoolThread] = []         # last idle, first used: its stack is warm
        self._threads: set[PoolThread] = set()
        self._abandoned: set[PoolThread] = set()
        self._number = 0
        self._look_at = 0.0                         # the earliest time of the try that was asked for last
        self.min_size = 0
        self.max_abandoned: int | None = MAX_ABANDONED
        self._keeps = self._keep(None)              # idle threads beyond these leave

    # -- acceptance ----------------------------------------------------------------------------------

    def start(self, spec: TaskSpec, args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> Task[Any]:
        """See :meth:`Pool.start`. Plain tasks take this short way: the price of a call is paid here."""
        # Task(), written out
        task: Task[Any] = _new_task(Task)
        task._spec = spec
        task._args = args
        task._kwargs = kwargs
        task._context = copy_context()
        task._status = QUEUED
        task._waiters = None
        task._extra = None
        task._queued = perf_counter()
        if not spec.direct or self.lock._is_owned():
            return task if Pool.submit(self, task) is None else task     # type: ignore[func-returns-value]
        registry = self.registry
        run_queue = self.run_queue
        parking = self.parking
        lane = spec.lane
        try:
            while True:
                member = None
                accepted = False
                with self.lock:
                    if (self.accepting and (run_queue.waiting < run_queue.fast_limit or self._has_room(spec))
                            and (lane is None or lane.has_room())):
                        if not spec.fast_submit:
                            self.timer.start()          # first: when it raises, nothing has been accepted
                        accepted = True
                        registry.last = task._number = number = registry.last + 1
                        registry.live[number] = task
                        if run_queue.acquire_or_enqueue(task) if lane is None else self._offer_through_lane(task):
                            task._advance(STARTED, task._queued)
                            member = self._give(task)
                            if self.recorder is not None:
                                self.recorder.on_started(task)
                            if not spec.fast_finish:
                                self._has_started(task)
                if parking.waiters:
                    parking.unpark_one()
                if accepted or self._turned_away(task):
                    break
            if member is None or (member.thread is None and not self._start_thread(member)):
                return task
            # One line, so that no interrupt comes between: from here on the task runs. A foreign lock returns something.
            return task if member.wake.release() is None else task     # type: ignore[func-returns-value]
        except BaseException:
            self._undo(task)
            raise

    def _offer_through_lane(self, task: Task[Any]) -> bool:
        """Give a task that has just come a slot, or let it wait in its lane; the lock is held."""
        run_queue = self.run_queue
        run_queue.push(task)
        # Nothing that waited before may start, so if anything may now, it is this one.
        return run_queue.waiting > 0 and run_queue.pop() is not None

    def start_many(self, spec: TaskSpec, calls: Sequence[tuple[Any, ...]],
                   first: int | None = None) -> list[Task[Any]]:
        """See :meth:`Pool.start_many`; the same short way for plain tasks, with one look at the pool for all."""
        if not spec.fast_finish or self.lock._is_owned() or (spec.lane is not None and spec.lane.size is not None):
            return Pool.start_many(self, spec, calls, first)
        tasks: list[Task[Any]] = []
        append = tasks.append
        context = copy_context()
        shares = spec.shares_context
        now = perf_counter()
        for args in calls:
            task: Task[Any] = _new_task(Task)
            task._spec = spec
            task._args = args
            task._kwargs = None
            task._context = context if shares else context.copy()       # see _run(): a copy is made there
            task._status = QUEUED
            task._waiters = None
            task._extra = None
            task._queued = now
            append(task)
            if first is not None:       # now: a second pass over the tasks costs six times as much
                task._index = first
                first += 1
        registry = self.registry
        try:
            while True:
                with self.lock:
                    if self.run_queue.fast_limit != maxsize:
                        members = None
                        break
                    if self.accepting:
                        if spec.lane is not None:
                            self.timer.start()      # a rate needs it; first: when it raises, nothing has been accepted
                        number = registry.last
                        live = registry.live
                        for task in tasks:
                            number += 1
                            task._number = number
                            live[number] = task
                        registry.last = number
                        self.run_queue.push_batch(spec.priority, tasks)
                        members = self._dispatch()
                        break
                self._wake_up()
            if members is None:
                return tasks if self._submit_each(tasks) is None else tasks     # type: ignore[func-returns-value]
            return tasks if self._launch(members) is None else tasks     # type: ignore[func-returns-value]
        except BaseException:
            self._undo(*tasks)
            raise

    def _ready(self, task: Task[Any]) -> Chores:
        self.run_queue.push(task)
        return self._dispatch_chores()

    def _ready_many(self, tasks: Iterable[Task[Any]]) -> Chores:
        push = self.run_queue.push
        for task in tasks:
            push(task)
        return self._dispatch_chores()

    def _dispatch_chores(self) -> Chores:
        members = self._dispatch()
        chores: Chores = [member.wake.release for member in members]
        if any(member.thread is None for member in members):
            chores.insert(0, lambda: self._make_threads(members))
        return chores       # to wake one that could not be started does no harm: nobody sleeps there

    def _dispatch(self) -> list[PoolThread]:
        """Give every task that may start to a thread; the lock is held. The threads are still to be launched."""
        members: list[PoolThread] = []
        pop = self.run_queue.pop
        while self.run_queue.waiting:
            task = pop()
            if task is None:
                break
            self._mark_started(task, perf_counter())
            members.append(self._give(task))
        self._let_in()
        return members

    def _give(self, task: Task[Any]) -> PoolThread:
        """A task that has a place gets a thread; the lock is held."""
        if self._idle:
            member = self._idle[-1]
            member.task = task      # first: an idle thread with a task can be repaired, a lost one cannot
            self._idle.pop()
        else:
            member = PoolThread(self, task)
            self._threads.add(member)
        return member

    def _begun(self, task: Task[Any]) -> bool:
        return False        # the state settles it: a thread that comes to a cancelled task finds no call to make

    def _repair(self, tasks: set[Task[Any]]) -> Chores:
        for member in list(self._threads):
            if member.task not in tasks:
                continue
            if member in self._idle:
                member.task = None
            elif member.thread is None or member.thread.ident is None:
                member.task = None
                member.gone = True
                self._threads.discard(member)
                if member.wake.locked():
                    member.wake.release()   # should its thread start after all, it ends at once
            elif not member.awake and member.wake.locked():
                member.wake.release()       # it finds nothing to do, and gives its place back by itself
        running = [(member, member.task._spec.lane) for member in self._threads
                   if member.task is not None and not member.abandoned]
        self.run_queue.resync(sum(not member.lent for member, _ in running),
                               [lane for member, lane in running if lane is not None and not (member.lent and lane.lends_slot)])
        return self._dispatch_chores()

    def _launch(self, members: Iterable[PoolThread]) -> None:
        """Wake or start threads that have been given something; no lock is held."""
        self._make_threads(members)
        # One line, and none of Python's own between two of them: all are woken or none, whatever interrupts.
        deque(map(_release, [member.wake for member in members]), 0)

    def _make_threads(self, members: Iterable[PoolThread]) -> None:
        """Start threads for those that have none; what one was given that cannot be started waits."""
        failed: list[PoolThread] = []
        error: BaseException | None = None
        for member in members:
            if member.thread is None:
                if error is None:           # once is enough to know that the system has none
                    error = self._make_thread(member)
                if error is not None:
                    failed.append(member)
        for member in reversed(failed):     # so that they wait in their old order
            self._not_started(member, error)

    def _start_thread(self, member: PoolThread) -> bool:
        """Start a thread, which sleeps at first; say whether there is one. What it was given waits if there is not."""
        error = self._make_thread(member)
        if error is None:
            return True
        self._not_started(member, error)
        return False

    def _make_thread(self, member: PoolThread) -> BaseException | None:
        """Start a thread for a member, which sleeps at first; return the system's refusal, if any."""
        self._number += 1           # a name only: two of the same would do no harm
        thread = PackageThread(self._run, (member,), f"{self.name}_{self._number}")
        member.thread = thread
        try:
            thread.start()
        except (RuntimeError, MemoryError) as error:
            return error
        return None

    def _not_started(self, member: PoolThread, error: BaseException | None) -> None:
        """The system has no thread to give. What the thread was to do waits for another one."""
        members: list[PoolThread] = []
        with self.lock:
            self._threads.discard(member)
            member.thread = None
            task, member.task = member.task, None
            if task is not None:
                if member.abandoned:
                    self._abandoned.discard(member)
                    self._set_fast_limit()
                else:
                    self.run_queue.release(task)
                    if task._advance(QUEUED, perf_counter()):
                        self._disarm(task)
                        self.run_queue.requeue((task,))
            if self._idle:
                members = self._dispatch()      # one has come to rest meanwhile
            # Those that do not wait for others come round to look at what waits here.
            alone = not any(not other.lent and not other.abandoned and other not in self._idle
                            for other in self._threads)
        if self.timer.clock() >= self._look_at:         # said once a round, however many wait
            log.warning("%s could not start a thread (%s); waiting tasks go on when one of its threads is free, and "
                        "it is tried again every %s s", self.name, error, START_RETRY)
        if task is None:
            job = member.job
            if job is not None:
                job()               # better late in this thread than never
        elif members:
            self._launch(members)
        else:
            try:
                self.timer.start()
                self._look_again()
            except (RuntimeError, MemoryError):
                if alone:           # nobody will ever look
                    self._break(task, error)

    def _break(self, task: Task[Any], error: BaseException | None) -> None:
        """There is no thread, not even for the timer: say so in the task."""
        waiters = None
        broken = self._failure(task, PoolBrokenError(
            f"{self.name} could not start a thread for task {task.name} ({task.short_id}): {error}; "
            "the system's limit on threads or memory is reached"))
        held = task._references()
        with self.lock:
            if task._status == QUEUED:
                waiters = self._conclude(task, COMPLETED, perf_counter(), broken)
                self.run_queue.discard(task)
        del held
        self._announce(task, waiters)

    def _look_again(self) -> None:
        """Have the timer try again, once for all that wait.

        Who comes before ``_look_at`` relies on the call that was asked for already: it is not due before then."""
        if self.timer.clock() >= self._look_at:
            self._look_at = self.timer.call_later(START_RETRY, self._try_again).deadline

    def _try_again(self) -> None:
        """Start threads for what waits, one after another, up to the first that the system refuses."""
        while True:
            with self.lock:
                task = self.run_queue.pop()
                if task is None:
                    self._let_in()
                    return
                self._mark_started(task, perf_counter())
                member = self._give(task)
            if member.thread is None and not self._start_thread(member):
                return
            _wake(member)

    # -- a pool thread -------------------------------------------------------------------------------

    def _run(self, member: PoolThread) -> None:
        """The life of a pool thread."""
        current.member = member
        acquire, release, parking = self.lock.acquire, self.lock.release, self.parking
        registry = self.registry
        live = registry.live
        history = registry.history
        release_and_pop, release_and_pop_lane = self.run_queue.release_and_pop, self.run_queue.release_and_pop_lane
        task: Task[Any] | None = None
        # Dynamic on purpose: all of them are set to None as soon as they have served, to keep nothing alive.
        spec: Any
        args: Any
        waiter: Any
        value: Any
        error: Any
        while True:
            if task is None:
                if member.gone:
                    return
                member.wake.acquire()       # a new one, too: what it is for must have been submitted to the end
                member.awake = True
                task = member.task
                if task is None and member.job is not None:
                    task = self._run_job(member)
                continue

            value = error = None
            spec = task._spec
            brief = spec.fast_finish
            try:
                args = task._args
                kwargs = task._kwargs
                context = task._context
                if spec.shares_context and context is not None:
                    context = context.copy()
                if context is None:
                    pass        # declared completed in the moment between
                elif kwargs:
                    value = context.run(spec.target, *args, **kwargs)
                else:
                    value = context.run(spec.target, *args)
            except BaseException as raised:
                error = raised
                with_traceback(error, _without_first(raised.__traceback__))

            if error is None:
                if not brief and not member.abandoned:
                    self._returned(task, value)
                now = perf_counter()
                if not acquire(False):
                    parking.wait(acquire)
                try:
                    extra = task._extra
                    if extra is None or (task._status == STARTED and not extra.callbacks and not member.abandoned):
                        # _conclude(), written out for the task that nobody has a call for when it has ended
                        member.task = following = release_and_pop() if spec.lane is None else release_and_pop_lane(spec.lane)
                        task._advance(COMPLETED, now, value, following)
                        if extra is None:
                            del live[task._number]
                        else:
                            registry.drop(task)
                        history.append((task._queued, task._started, now))
                        waiters = task._waiters
                        if not brief:
                            if spec.timeout is not None:
                                self.timeouts.clear(task, spec.timeout)
                            if spec.hooks is not None:
                                self._tell(spec.hooks.ended, task)
                        recorder = self.recorder
                        if recorder is not None:
                            recorder.on_finished(task)
                            if following is not None:
                                recorder.on_started(following)
                        if self._attentive:
                            waiters = (waiters or []) + self._attend()
                        if following is None:
                            self._rest(member)
                        else:
                            if now - following._queued > self.late_after:
                                self._started_late(following, now)
                            if following._extra is not None or not following._spec.fast_finish:
                                self._has_started(following)
                        ended = True
                    else:
                        ended = False
                finally:
                    release()
                    if parking.waiters:
                        parking.unpark_one()
                # These were the last references to them but the caller's: let go with no lock held.
                args = kwargs = context = None
                if ended:
                    if waiters is not None:
                        for waiter in waiters:
                            waiter()
                        waiters = waiter = None
                    spec = value = extra = None
                    task = following
                    continue
            else:
                args = kwargs = context = None
            task = self._end_run(member, task, value, error)
            spec = value = error = extra = None

    def _returned(self, task: Task[Any], value: Any) -> None:
        """A function has returned, and its task asks for more than that it has ended; the task still has its slot."""
        self.run_callback(task, value)
        before_end = self._before_end(task)
        if before_end is not None:
            before_end(task, value)

    def _end_run(self, member: PoolThread, task: Task[Any], value: Any,
                 error: BaseException | None) -> Task[Any] | None:
        """End an attempt that failed, or whose end has calls to be made; return the next task of the thread, if any."""
        pause = None
        failure = None
        if error is not None and not self._is_cancellation(task, error):
            pause = self._retry_pause(task, error)
            failure = self._failure(task, error)
            if pause is None and not member.abandoned:
                before_end = self._before_end(task)
                if before_end is not None:
                    before_end(task, failure)
        held = task._references()
        waiters: Waiters | None = None
        told: Waiters = []
        following = None
        late = takes_next = False
        chores: Chores = []
        with self.lock:
            if member.abandoned:
                # Its end was told long ago, and its slot is another's.
                member.abandoned = False
                self._abandoned.discard(member)
                self._set_fast_limit()
                self._let_in()
                member.task = None
                late = failure is not None
            elif pause is not None and self._may_retry(task):
                assert failure is not None
                failure.seen = takes_next = True
                if self._begin_retry(task, pause, failure.error):
                    self.run_queue.push(task)
                following = self._exchange(member, task)
                if self._attentive:
                    told = self._attend()
            else:
                # The callbacks may block, or submit and wait: other threads run what waits then.
                takes_next = task._extra is None or not task._extra.callbacks
                if takes_next:
                    following = self._exchange(member, task)
                else:
                    member.task = None
                    self.run_queue.release(task)
                if error is not None and failure is None:
                    waiters = self._conclude(task, CANCELED, perf_counter())
                else:
                    waiters = self._conclude(task, COMPLETED, perf_counter(), value if failure is None else failure)
                    if waiters is None and failure is not None and task._outcome is not failure:
                        failure.seen = True         # the task was declared completed before it failed
                if not takes_next:
                    chores = self._dispatch_chores()
            if following is not None:
                self._mark_started(following, perf_counter())
            elif takes_next:
                self._rest(member)
        if late and failure is not None:
            failure.seen = True
            # The first two are what it was asked to raise.
            if not isinstance(error, (TaskTimeoutError, TaskCancelledError, RetryRequest)):
                log.warning("task %s (%s) raised %s after it had been given up", task.name, task.short_id,
                            type(error).__name__)
        del held, value, failure
        for chore in [*chores, *told]:
            chore()
        self._announce(task, waiters)
        return following if takes_next else self._next(member)

    def _exchange(self, member: PoolThread, task: Task[Any]) -> Task[Any] | None:
        """Give the slot of a task back and take the next task; the lock is held."""
        lane = task._spec.lane
        member.task = following = self.run_queue.release_and_pop() if lane is None else self.run_queue.release_and_pop_lane(lane)
        return following

    def _next(self, member: PoolThread) -> Task[Any] | None:
        """Take the next task, or rest."""
        with self.lock:
            task = self.run_queue.pop()
            member.task = task
            if task is None:
                self._rest(member)
            else:
                self._mark_started(task, perf_counter())
            return task

    def _rest(self, member: PoolThread) -> None:
        """A thread has nothing to do: it goes idle, or leaves when there are enough; the lock is held."""
        if member.leaving or not self.accepting or len(self._idle) >= self._keeps:
            member.gone = True
            self._threads.discard(member)
        else:
            member.awake = False
            self._idle.append(member)
        self.registry.compact()

    def _run_job(self, member: PoolThread) -> Task[Any] | None:
        job, member.job = member.job, None
        try:
            assert job is not None
            job()
        except BaseException:
            log.exception("%s: a call beside the queues raised", self.name)
        del job
        return self._next(member)

    # -- places lent and given up --------------------------------------------------------------------

    def _lend(self, member: PoolThread) -> None:
        members: list[PoolThread] = []
        with self.lock:
            member.lent += 1
            if member.lent == 1 and member.task is not None and not member.abandoned:
                self.run_queue.lend(member.task)
                members = self._dispatch()
        self._launch(members)

    def _reclaim(self, member: PoolThread) -> None:
        with self.lock:
            member.lent -= 1
            if member.lent == 0 and member.task is not None and not member.abandoned:
                self.run_queue.reclaim(member.task)

    def wants_slot(self) -> bool:
        """Return True if a task waits that may start in the slot of the calling thread, if that were free."""
        with self.lock:
            run_queue = self.run_queue
            return run_queue.peek() is not None and run_queue.active <= run_queue.slot_limit(run_queue.head_priority())

    def _runner(self, task: Task[Any]) -> PoolThread | None:
        for member in self._threads:
            if member.task is task and not member.abandoned:
                return member
        return None

    def _risen(self) -> Chores:
        return self._dispatch_chores()

    def _barred(self) -> str | None:
        if self.max_abandoned is None or len(self._abandoned) < self.max_abandoned:
            return None
        return (f"{len(self._abandoned)} threads of {self.name} still run tasks that were given up after their timeout "
                "(max_abandoned); have their functions call current_task().check_cancelled(), or raise max_abandoned")

    def limit_abandoned(self, most: int | None) -> None:
        """Set how many threads may be abandoned before no task is taken any more; None is any number."""
        with self.lock:
            self.max_abandoned = most
            self._set_fast_limit()

    def _give_up(self, member: PoolThread) -> None:
        """Nobody waits for what this thread runs any more: its place is filled by another one."""
        member.abandoned = True
        self._abandoned.add(member)
        self._set_fast_limit()
        if member.task is not None:
            member.task._extra_fields()         # _run() looks closer at a task that has more than its fields
            if member.lent:
                self.run_queue.reclaim(member.task)
            self.run_queue.release(member.task)

    def abandon(self, task: Task[Any]) -> None:
        """See :meth:`Pool.abandon`. The thread goes on, and its place is another one's."""
        if self.busy_here():
            self.elsewhere(self.abandon, task)
            return
        waiters = None
        chores: Chores = []
        with self.lock:
            member = self._runner(task) if task._status == STARTED else None
            if member is not None:
                self._give_up(member)
                # The function may be using its arguments still: the thread holds them, so nothing is finalized here.
                waiters = self._conclude(task, CANCELED, perf_counter())
                chores = self._dispatch_chores()
        self._announce(task, waiters, inline=False)
        for chore in chores:
            chore()

    @property
    def abandoned(self) -> int:
        """How many threads still run functions that nobody waits for."""
        return len(self._abandoned)

    def _interrupt(self, task: Task[Any]) -> Chores:
        return []       # the request is noted; the function asks for it by check_cancelled()

    def _overrun(self, task: Task[Any], error: TaskTimeoutError, pause: float | None) -> Chores:
        member = self._runner(task)
        if member is not None:
            self._give_up(member)
        if pause is not None and self._may_retry(task):
            chores = self._retry(task, pause, error)
            return chores + self._dispatch_chores()
        # The function may be using its arguments still: the thread holds them, so nothing is finalized here.
        waiters = self._conclude(task, COMPLETED, perf_counter(), self._failure(task, error))
        return [lambda: self._announce(task, waiters, inline=False)] + self._dispatch_chores()

    def give_up(self) -> list[str]:
        """See :meth:`Pool.give_up`. The functions themselves go on, in threads that nobody waits for."""
        ended = []
        with self.lock:
            for member in list(self._threads):
                task = member.task
                if task is not None and not member.abandoned:
                    self._give_up(member)
                    task._extra_fields().cancel_requested = True
                    waiters = self._conclude(task, CANCELED, perf_counter())
                    if waiters is not None:
                        ended.append((task, waiters))
        for task, waiters in ended:
            self._announce(task, waiters, inline=False)
        return [task.id for task, _ in ended]

    # -- beside the queues ---------------------------------------------------------------------------

    def beside(self, job: Callable[[], None]) -> None:
        """Run a call in a pool thread at once, beside the places and the queues. It is not a task."""
        with self.lock:
            if self._idle:
                member = self._idle.pop()
                member.job = job
            else:
                member = PoolThread(self, job=job)
                self._threads.add(member)
        self._make_threads((member,))
        _wake(member)

    # -- size and end --------------------------------------------------------------------------------

    def resize(self, pool_size: int, reserve_normal: int, reserve_high: int, min_size: int,
               max_size: int | None) -> None:
        """Change the number of places; may be called while tasks run. Running ones are not touched."""
        leaving: list[PoolThread] = []
        with self.lock:
            self.run_queue.resize(pool_size, reserve_normal, reserve_high)
            self.min_size = min_size
            self._keeps = self._keep(max_size)
            more = self.accepting and self.run_queue.waiting > 0
            while len(self._idle) > max(self._keeps, min_size):
                member = self._idle.pop(0)
                member.gone = True
                self._threads.discard(member)
                leaving.append(member)
        if more:
            self._uninterrupted(self._start_more)
        for member in leaving:
            member.wake.release()
        if self.accepting:
            self.warm_up()

    def _keep(self, max_size: int | None) -> int:
        places = self.run_queue.slots
        return max_size if max_size is not None else UNLIMITED_KEEPS if places >= maxsize else places

    def warm_up(self) -> None:
        """Make ``min_size`` threads ahead of the tasks."""
        with self.lock:
            missing = self.min_size - len(self._threads)
            members = [PoolThread(self, job=_nothing) for _ in range(missing)]
            self._threads.update(members)
        self._launch(members)

    def close(self, deadline: float | None) -> None:
        self._look_at = 0.0
        with self.lock:
            members = list(self._threads)
            for member in members:
                member.leaving = True
                # Asleep with nothing to do: idle, or made by a submission that was interrupted.
                if not member.awake and member.task is None and member.job is None:
                    member.gone = True
            forgotten = [member for member in members if not member.awake and member.job is not None]
            self._idle = []
            abandoned = set(self._abandoned)
        for member in members:
            # Also one that a stop before this one, which was interrupted, has told already: it is gone then, or goes.
            if (member.gone or member in forgotten) and member.wake.locked():
                _wake(member)
        me = current.member
        for member in members:
            thread = member.thread
            if thread is not None and thread.ident is None:
                continue                # an interrupt came before its start
            if member is not me and member not in abandoned and thread is not None:
                thread.join(remaining(deadline))
        with self.lock:
            self._threads = {member for member in self._threads if not member.gone}

    def reset_after_fork(self) -> None:
        """See :meth:`Pool.reset_after_fork`."""
        super().reset_after_fork()
        self._idle, self._threads, self._abandoned = [], set(), set()
        self._look_at = 0.0
        self._set_fast_limit()

    def thread_count(self) -> int:
        """How many threads the pool has, idle and abandoned ones included."""
        return len(self._threads)


_new_task = Task.__new__
_release = methodcaller("release")


def _wake(member: PoolThread) -> None:
    try:
        member.wake.release()
    except RuntimeError:        # it has been woken: close() could not know that someone was about to
        pass


def _nothing() -> None:
    pass


def _without_first(traceback: Any) -> Any:
    """The traceback without the pool's own frame, which holds the task and would keep it alive."""
    return traceback.tb_next if traceback is not None and traceback.tb_next is not None else traceback
