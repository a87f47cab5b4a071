"""The graph of waits for tasks, with errors and warnings for endless waits.

::

    task in a thread ──── value(), wait_completed() ──> Wait: the task, and its thread's loop if any
    task in a loop ────── await ─────────────────────> Wait: the task
    code that blocks in ALoop.run() ──────────────────> Wait: for a LoopRun, which needs its loop
    coroutine of a LoopRun ── await ──────────────────> Wait: the LoopRun
    code in a done callback or a hook ────────────────> Wait: the thread that makes the call
    task that awaits a call in an executor's thread ─> Wait, while that thread blocks for tasks
                                                          │
              circle? <── along the tasks waited for ─────┘ each new wait looks for one
                 ├── every wait in it is certain ──> WaitDeadlockError
                 └── otherwise ────────────────────> one warning

The graph contains only waits that block, each from its beginning to its end. The last wait of a
circle closes it. So a new wait searches the waits of the tasks that it waits for, and theirs in
turn, for one that leads back. It skips the search if no wait is for its own task: then the list of
the task's waiters is empty, since each wait is entered there first.

A wait is certain if it has no timeout and needs all of its tasks. A task with a timeout of its own,
or a task of ``put_task``, which ``mark_task_completed`` may end, makes a circle uncertain. A
blocked thread is certain at once. An awaiting coroutine is confirmed in its loop, once it is
suspended: its own asyncio task must wait for that very future, with no ``with`` block around it,
since that may be a timeout. A coroutine that awaits a call in an executor's thread is confirmed
likewise: it must wait for the future of that very call.
"""
from __future__ import annotations

from _contextvars import ContextVar
from collections import deque
from functools import partial
from sys import _getframe, modules
from threading import current_thread, get_ident
from time import monotonic

from .._atomics import RLock
from .._core_errors import WaitDeadlockError
from .._inspect import name_of
from .._log import log
from .._patched import made_anew
from ..constants import TaskStatus
from .blocking import block
from .current import current, current_coroutine_task, running_loop, task_of_inner_loop
from .initializers import check_async_initializer, check_initializer, initializing
from .loop_mailbox import mailbox_of
from .waits import ExecutorWait, RunWait, UnconfirmedWait, Wait, WaitedCall, named

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Coroutine, Sequence

    from .loop_mailbox import FutureWaiter
    from .waits import Circle, Waited

    #: Waits of a thread: the dict, the key, and the wait that the entry replaces.
    Entries = list["tuple[dict[Any, Wait], Any, Wait | None]"]

__all__ = ["LOOKED_AT", "LoopRun", "Wait", "await_begins", "await_ends", "block_for",
           "block_on", "is_plain_thread", "warn_if_stuck", "warn_of_idle_loop"]

QUEUED = int(TaskStatus.QUEUED)
#: The most tasks of one wait that a search follows.
LOOKED_AT = 64
#: The most circles that warnings are logged for, one each.
_WARNED_MOST = 1000


# A finalizer may come in between, in the same thread, and wait too. So the lock is reentrant, and
# each operation on these dicts is atomic. A thread removes its entry without the lock. A search
# that still finds the entry sees that the task of that wait has ended.
#: Guards the waits: entering one, and searching for circles.
_lock = made_anew(lambda: RLock())
_threads: dict[Waited, Wait] = {}                       # by waiting task or LoopRun
_loops: dict[Any, Wait] = {}                            # by blocked loop
_coroutines: dict[Waited | None, list[Wait]] = {}       # by waiting task or LoopRun
_callers: dict[int, Wait] = {}                          # by thread that makes calls of wait groups
_runs: dict[LoopRun, LoopRun] = {}                      # those under way
_warned: set[frozenset[str]] = set()


# -- threads ---------------------------------------------------------------------------------------


def block_on(tasks: Sequence[Waited], acquire: Callable[..., bool], deadline: float | None,
             certain: bool) -> bool:
    """Block like :func:`block`, in a thread that waits for tasks.

    :param certain: True if the wait has no timeout, and needs all of the tasks.
    :raises WaitDeadlockError: the wait cannot end.
    """
    pool_thread = current.pool_thread
    waiter = None if pool_thread is None else pool_thread.task
    if initializing:
        check_initializer(waiter, tasks)
    loop = running_loop()
    if deadline is not None and deadline <= monotonic():
        return block(acquire, deadline)
    thread = 0 if current.calls is None else get_ident()
    if waiter is None and loop is None and not thread:
        call = _call_of_thread() if _is_executor_thread() else None
        if call is None:
            return block(acquire, deadline)
        return _block_in_executor(call, tasks, acquire, deadline, certain)
    wait = Wait(waiter, tasks, certain, loop)
    wait.thread = thread
    entered: Entries = []
    try:
        try:
            with _lock:
                _enter(wait, entered)
                # A circle goes through a wait for this task, for one that needs the loop, or for
                # a call that this thread makes.
                is_waited_for = thread or waiter is not None and _may_be_waited_for(waiter)
                circle = (_circle_of(wait) if loop is not None
                          or is_waited_for and _may_lead_back(wait) else None)
            if circle is not None:
                error = _judge(circle)
                if error is not None:
                    raise error
            elif deadline is None:
                warn_if_stuck(tasks)
            return block(acquire, deadline)
        finally:
            _leave(entered)
    except BaseException:           # an interrupt may have come within the `finally` block
        _leave(entered)
        raise


def _enter(wait: Wait, entered: Entries) -> None:
    """Enter the wait of a thread. (lock held)

    :param entered: what :func:`_leave` needs: for each entry, where it is and what it replaces.
    """
    entries: Any = ((_threads, wait.waiter), (_loops, wait.loop), (_callers, wait.thread or None))
    for waits, key in entries:
        if key is not None:
            outer = waits.get(key)
            entered.append((waits, key, outer))
            wait.outer = wait.outer or outer
            waits[key] = wait


def _leave(entered: Entries) -> None:
    """Remove the wait of a thread. Interrupted callers repeat this."""
    for waits, key, outer in entered:
        if outer is None:
            waits.pop(key, None)
        else:
            waits[key] = outer


def block_for(tasks: Sequence[Any], acquire: Callable[..., bool], deadline: float | None,
              certain: bool) -> bool:
    """Block for an event that cannot come before tasks have ended, such as the run of a worker.

    Arguments and errors as :func:`block_on`.
    """
    if current.pool_thread is None and current.calls is None:
        return block(acquire, deadline)

    def entry() -> None:
        pass

    entered = [task for task in tasks if task._add_waiter(entry)]
    try:
        return block_on(entered, acquire, deadline, certain)
    finally:
        for task in entered:
            task._remove_waiter(entry)


def _may_be_waited_for(task: Waited) -> bool:
    """Return False if no wait is for a task. Waits for a worker do not tell the run's task."""
    return bool(task._waiters) or task._spec.worker is not None


def _may_lead_back(wait: Wait) -> bool:
    """Return False if none of the tasks waits. (lock held)"""
    for task in wait.tasks:
        if (task is wait.waiter or task in _threads or task in _coroutines
                or (_loops and _loop_needed_by(task) in _loops)
                or (_callers and _thread_of(task) in _callers)):
            return True
    return False


# -- executors' threads ----------------------------------------------------------------------------


def is_plain_thread() -> bool:
    """Return True if no wait of this thread belongs to a task, a loop or a call.

    The caller has checked that it is no pool thread.
    """
    if current.calls is not None:
        return False
    if "asyncio.events" not in modules:
        return True
    if running_loop() is not None:
        return False
    found = current.in_executor
    return not (_is_executor_thread() if found is None else found)


def _is_executor_thread() -> bool:
    found: bool | None = current.in_executor
    if found is None:
        body = getattr(current_thread(), "_target", None)
        worker = getattr(modules.get("concurrent.futures.thread"), "_worker", None)
        found = current.in_executor = body is not None and body is worker
    return found


def _call_of_thread() -> Any:
    """Return the executor's future of the call that runs in this thread, or None."""
    item = getattr(modules["concurrent.futures.thread"], "_WorkItem", None)
    code = None if item is None else item.run.__code__
    frame: Any = _getframe(1)
    while frame is not None and frame.f_code is not code:
        frame = frame.f_back
    return None if frame is None else getattr(frame.f_locals.get("self"), "future", None)


def _block_in_executor(call: Any, tasks: Sequence[Waited], acquire: Callable[..., bool],
                       deadline: float | None, certain: bool) -> bool:
    wait = ExecutorWait(tasks, certain, call, acquire)
    try:
        with call._condition:
            known = wait.find_waiter()
            if not known:
                # run_in_executor() has not added its callback yet.
                call.add_done_callback = partial(_call_is_awaited, call, wait)
        if known:
            _enter_executor_wait(wait)
        ended = block(acquire, deadline)
        if wait.error is not None:
            raise wait.error
        return ended
    finally:
        vars(call).pop("add_done_callback", None)
        wait.over = True
        await_ends(wait)


def _call_is_awaited(call: Any, wait: ExecutorWait, callback: Callable[..., Any]) -> None:
    # Replaces add_done_callback() of the executor's future for one call, in the loop.
    vars(call).pop("add_done_callback", None)
    call.add_done_callback(callback)
    loop = running_loop()
    if loop is not None:
        loop.call_soon(_enter_executor_wait, wait)      # when the coroutine awaits the call


def _enter_executor_wait(wait: ExecutorWait) -> None:
    with _lock:
        if wait.over or not wait.find_waiter():
            return
        circle = _enter_coroutine(wait)
    if circle is not None:
        _judge(circle)      # returns no error, as this wait is not confirmed yet


# -- ALoop.run() -----------------------------------------------------------------------------------


class LoopRun(WaitedCall):
    """A coroutine in the loop of another thread, and the unlimited wait of a thread for its end.

    It is a context manager around the start of the coroutine and the wait. A circle can go through
    it only in a task, or in a thread whose loop is blocked.
    """

    __slots__ = ("coro", "_wait", "_entered", "_loop", "_future")

    def __init__(self, coro: Coroutine[Any, Any, Any], loop: Any) -> None:
        pool_thread = current.pool_thread
        blocked = running_loop()
        outer = _run_of_coroutine() if _runs and blocked is not None else None
        waiter: Any = None
        if outer is not None:
            waiter = outer[0]
        elif pool_thread is not None:
            waiter = pool_thread.task
        self._wait: Wait | None = None      # None if no circle can go through it
        if blocked is not None or waiter is not None or current.calls is not None:
            self._wait = wait = Wait(waiter, (self,), True, blocked)
            wait.waiter = waiter or wait.coroutine
            wait.thread = 0 if current.calls is None else get_ident()
        self._entered: Entries = []
        self._loop: Any = loop
        self.coro: Coroutine[Any, Any, Any] = coro
        self._future: Any = None

    def start(self, start: Callable[[Any], Any]) -> Any:
        """Start the coroutine and return its future.

        :param start: called with the coroutine; runs it in a copy of this thread's context.
        :raises WaitDeadlockError: the wait for the coroutine cannot end.
        """
        if self._wait is None:
            return start(self.coro)
        token = _run_here.set(self)
        try:
            _runs[self] = self
            self._future = future = start(self.coro)
        finally:
            _run_here.reset(token)
        with _lock:
            _enter(self._wait, self._entered)
            circle = _circle_of(self._wait)
            awaits = list(_coroutines.get(self, ()))    # those that have begun already
        error = None if circle is None else _judge(circle)
        if error is not None:
            future.cancel()
            raise error
        for wait in awaits:
            warn_if_stuck(wait.tasks)
        return future

    def done(self) -> bool:
        return self._future is not None and bool(self._future.done())

    def loop(self) -> Any:
        return self._loop

    def label(self) -> str:
        return f"coroutine {name_of(self.coro)}"

    def __enter__(self) -> LoopRun:
        return self

    def __exit__(self, *error: object) -> None:
        _leave(self._entered)
        _runs.pop(self, None)


_run_here: ContextVar[LoopRun | None] = ContextVar("atasker_like.run", default=None)


def _run_of_coroutine() -> tuple[LoopRun, Any] | None:
    """Return the LoopRun and asyncio task of the running coroutine, or None.

    The context alone is ambiguous: the tasks that a coroutine makes have a copy of its context.
    """
    run = _run_here.get()
    if run is None:
        return None
    from asyncio import current_task

    runner = current_task()
    coro: Any = None if runner is None else runner.get_coro()
    return (run, runner) if coro is run.coro else None


# -- coroutines ------------------------------------------------------------------------------------


def await_begins(tasks: Sequence[Waited], waker: FutureWaiter,
                 certain: bool) -> UnconfirmedWait | None:
    """Enter the wait of a coroutine for tasks. Return it for :func:`await_ends`.

    Return None outside of a task.
    """
    if initializing:
        check_async_initializer(tasks)
    run = _run_of_coroutine() if _runs else None
    if run is not None:
        wait: UnconfirmedWait = RunWait(*run, tasks, certain, waker.future)
    else:
        waiter = _task_of_coroutine()
        if waiter is None:
            return None
        wait = UnconfirmedWait(waiter, tasks, certain, waker.future)
    with _lock:
        circle = _enter_coroutine(wait)
    if circle is not None:
        _judge(circle)      # returns no error, as this wait is not confirmed yet
    lane = _full_lane_of(tasks) if run is None else None
    if lane is not None:    # later, as the coroutine may await several tasks at once
        waker.future.get_loop().call_soon(_warn_of_stuck_lane, lane)
    return wait


def _enter_coroutine(wait: UnconfirmedWait) -> Circle | None:
    """Enter the wait of a coroutine. Return a circle that it closes, or None. (lock held)"""
    _coroutines.setdefault(wait.waiter, []).append(wait)
    may_close = _may_be_waited_for(wait.waiter) and _may_lead_back(wait)
    return _circle_of(wait) if may_close else None


def _task_of_coroutine() -> Waited | None:
    """Return the task to which the running coroutine belongs, or None."""
    pool_thread = current.pool_thread
    if pool_thread is None:
        return current_coroutine_task.get()
    inside = task_of_inner_loop.get()
    task: Waited | None = pool_thread.task
    return task if inside is None or inside[0] is not task else inside[1]


def warn_of_idle_loop(task: Waited, loop: Any) -> None:
    """Warn, once a loop, of a wait for a task whose loop does not run. (no lock)"""
    if _is_new(f"loop {id(loop)}"):
        log.warning("a wait for %s cannot end by itself: its event loop does not run; run the loop "
                    "in another thread", named(task))


def await_ends(wait: Wait) -> None:
    """Remove the wait of a coroutine."""
    with _lock:
        waits = _coroutines.get(wait.waiter)
        if waits is not None and wait in waits:
            waits.remove(wait)
            if not waits:
                del _coroutines[wait.waiter]


def _confirm(wait: UnconfirmedWait) -> None:
    # Runs in the loop of the waiting coroutine, after the step in which its wait began.
    wait.certain = wait.certain and wait.is_plain()
    wait.confirmed = True
    with _lock:
        goes_on = wait in _coroutines.get(wait.waiter, ())
        circle = _circle_of(wait) if goes_on else None
    if circle is not None:
        error = _judge(circle)
        if error is not None:
            wait.fail(error)


def warn_if_stuck(tasks: Sequence[Waited]) -> None:
    """Warn if one of the tasks waits in a lane that is stuck. (no lock)"""
    lane = _full_lane_of(tasks)
    if lane is not None:
        _warn_of_stuck_lane(lane)


def _warn_of_stuck_lane(lane: Any) -> None:
    """Warn if the tasks that hold all slots of a lane wait for tasks that get none. (no lock)

    Other code may raise a limit, or cancel one of the tasks. So this is no error.
    """
    from .stuck_lanes import stuck_lanes

    with _lock:
        held = (_topics_of(lane) if lane in stuck_lanes(_threads, _coroutines, LOOKED_AT) else [])
    if held and _is_new(f"lane {lane.name}", *held):
        log.warning("%d task(s) hold all slots of a queue, lane or service, and wait for tasks of "
                    "it, which get none; the first is %s. Raise workers= of the queue or limit= of "
                    "the lane, set parallel = True in the task class of the service, or wait for "
                    "these tasks elsewhere", len(held), held[0])


def _topics_of(lane: Any) -> list[str]:
    """Return the topics of the tasks of a lane that wait. (lock held)"""
    return [_topic(task) for task in {*_coroutines, *_threads}
            if task is not None and task._spec.lane is lane]


# -- circles ---------------------------------------------------------------------------------------


def _circle_of(wait: Wait) -> Circle | None:
    """Return the shortest circle that begins with a wait, or None. (lock held)"""
    origins: dict[Wait, tuple[Wait, Waited] | None] = {wait: None}
    waits = deque([wait])
    while waits:
        here = waits.popleft()
        for task in here.tasks[:LOOKED_AT]:
            if task.done():
                continue
            loop = _loop_needed_by(task)
            thread = _thread_of(task)
            if (task is wait.waiter or wait.loop is not None and wait.loop is loop
                    or thread and wait.thread == thread):
                circle: Circle = [(here, task)]
                origin = origins[here]
                while origin is not None:
                    circle.append(origin)
                    origin = origins[origin[0]]
                return circle[::-1]
            following = [*_coroutines.get(task, ()), _threads.get(task), _loops.get(loop),
                         _callers.get(thread)]
            for other in following:
                while other is not None:
                    if other not in origins:
                        origins[other] = here, task
                        waits.append(other)
                    other = other.outer
    return None


def _loop_needed_by(task: Waited) -> Any:
    """Return the event loop that a task or a call needs, or None."""
    return task.loop() if isinstance(task, WaitedCall) else task._spec.pool.loop_of(task)


def _thread_of(task: Waited) -> int:
    """Return the id of the thread that makes a WaitedCall; 0 for a task."""
    return task.thread() if isinstance(task, WaitedCall) else 0


def _is_new(*names: str) -> bool:
    """Return True at the first call with these names: no warning has named them yet."""
    key = frozenset(names)
    if key in _warned or len(_warned) >= _WARNED_MOST:
        return False
    _warned.add(key)
    return True


def _topic(task: Any) -> str:
    return named(task) if isinstance(task, WaitedCall) else str(task.name)


def _judge(circle: Circle) -> WaitDeadlockError | None:
    """Return the error for a circle whose waits are confirmed, or None. (no lock)

    If a wait is not confirmed yet, ask its loop to confirm it. If the circle is uncertain, warn.
    """
    from .wait_messages import describe

    if all(wait.certain and task._spec.timeout is None and not task._spec.ends_early
           for wait, task in circle):
        for wait, _ in circle:
            if isinstance(wait, UnconfirmedWait) and not wait.confirmed:
                mailbox_of(wait.future.get_loop()).post(_confirm, wait)
                return None
        return WaitDeadlockError(describe(circle))
    if _is_new(*(_topic(task) for _, task in circle)):
        log.warning("%s. If no timeout ends one of these waits, they never end", describe(circle))
    return None


def _full_lane_of(tasks: Sequence[Waited]) -> Any:
    """Return the full lane in which one of the tasks waits, or None."""
    for task in tasks[:LOOKED_AT]:
        if task._status == QUEUED and task._spec.lane is not None and task._spec.lane.is_full():
            return task._spec.lane
    return None
