"""Which task waits for which, and what is done about waits that cannot end.

::

    task in a thread ──── value(), wait_completed() ──> Wait: the task, and the loop of its thread if there is one
    task in a loop ────── await ─────────────────────> Wait: the task
                                                          │
              circle? <── along the tasks waited for ─────┘ each new wait looks for one
                 ├── every wait in it is certain ──> WaitDeadlockError
                 └── otherwise ────────────────────> one warning

Only waits that really block are here, each from its beginning to its end. The last wait of a circle closes it,
so a new wait looks along the waits of the tasks that it waits for, for one that leads back. It need not look at
all if nothing waits for its own task: the list of the task's watchers says so, and whatever waits is entered there first.

A wait is certain if it has no timeout and needs all of its tasks. A task with a timeout of its own, or one of
``put_task``, which ``mark_task_completed`` may end, makes a circle uncertain. A blocked thread is certain at once.
An awaiting coroutine is confirmed in its loop, once it is suspended: its own asyncio task must wait for that
very future, with no ``with`` block around it, since that may be a timeout.
"""
from __future__ import annotations

from collections import deque
from threading import RLock
from time import monotonic

from .._log import log
from .._patched import made_anew
from ..constants import TaskStatus
from ..errors import WaitDeadlockError
from .blocking import block
from .current import coroutine_inside, current, current_coroutine_task, running_loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Sequence

    from .loop_mailbox import FutureWatcher
    from .task import Task

    #: Waits, each with the one of its tasks that the circle goes through.
    Circle = list["tuple[Wait, Task[Any]]"]

__all__ = ["LOOKED_AT", "Wait", "await_begins", "await_ends", "block_on", "warn_of_idle_loop"]

QUEUED = int(TaskStatus.QUEUED)

#: Of a wait for any of many tasks, so many are looked at.
LOOKED_AT = 64
#: So many circles are warned of; each is named once.
_WARNED_MOST = 1000


class Wait:
    """One wait of a task in a thread. All kinds are frozen, but for what a coroutine's confirmation changes."""

    __slots__ = ("waiter", "tasks", "certain")

    loop: Any = None                            # the event loop that it blocks, if it blocks one
    watcher: FutureWatcher | None = None        # of a coroutine: what wakes it
    confirmed = True                            # ``certain`` is final

    def __init__(self, waiter: Task[Any] | None, tasks: Sequence[Task[Any]], certain: bool) -> None:
        self.waiter = waiter        # the task that waits, if a task does
        self.tasks = tasks          # those that it waits for
        self.certain = certain      # it has no timeout, and needs all of them

    def subject(self) -> str:
        """Return a name for what waits, for messages."""
        return "the code" if self.waiter is None else _named(self.waiter)


class _LoopWait(Wait):
    """A wait of a thread in which an event loop runs; ``waiter`` is the task of a pool thread."""

    __slots__ = ("loop", "_speaker")

    def __init__(self, waiter: Task[Any] | None, tasks: Sequence[Task[Any]], certain: bool, loop: Any) -> None:
        Wait.__init__(self, waiter, tasks, certain)
        self.loop = loop
        # The context may be a copy of one that belongs to a task of another loop.
        coroutine = current_coroutine_task.get()
        here = coroutine is not None and coroutine._spec.pool.loop_of(coroutine) is loop
        self._speaker = coroutine if here else waiter

    def subject(self) -> str:
        return "the code" if self._speaker is None else _named(self._speaker)


class _CoroutineWait(Wait):
    """A wait of a coroutine."""

    __slots__ = ("watcher", "confirmed")

    watcher: FutureWatcher
    waiter: Task[Any]

    def __init__(self, waiter: Task[Any], tasks: Sequence[Task[Any]], certain: bool, watcher: FutureWatcher) -> None:
        Wait.__init__(self, waiter, tasks, certain)
        self.watcher = watcher
        self.confirmed = False


# A finalizer may come in between, in the same thread, and wait too: so the lock knows its owner, and each step on
# these dicts is whole. A thread takes its entry out without the lock. A search that
# still finds the entry sees that the task of that wait has ended.
#: Guards the waits: entering one, and looking for circles.
_lock = made_anew(lambda: RLock())
_threads: dict[Task[Any], Wait] = {}                # by the task that waits
_loops: dict[Any, _LoopWait] = {}                   # by the loop that is blocked
_coroutines: dict[Task[Any], list[Wait]] = {}       # by the task that waits
_warned: set[frozenset[str]] = set()


# -- threads -----------------------------------------------------------------------------------------------


def block_on(tasks: Sequence[Task[Any]], acquire: Callable[..., bool], deadline: float | None,
             certain: bool) -> bool:
    """Do what :func:`block` does, in a thread that waits for tasks.

    :param certain: True if the wait has no timeout, and needs all of the tasks.
    :raises WaitDeadlockError: the wait cannot end.
    """
    member = current.member
    waiter = None if member is None else member.task
    loop = running_loop()
    if (waiter is None and loop is None) or (deadline is not None and deadline <= monotonic()):
        return block(acquire, deadline)
    try:
        try:
            if loop is None:
                assert waiter is not None
                wait = Wait(waiter, tasks, certain)
                with _lock:
                    _threads[waiter] = wait
                    # A circle leads through something that waits for the task.
                    circle = _circle_of(wait) if waiter._watchers and _may_lead_back(wait) else None
            else:
                wait = in_loop = _LoopWait(waiter, tasks, certain, loop)
                with _lock:
                    _loops[loop] = in_loop
                    if waiter is not None:
                        _threads[waiter] = wait
                    circle = _circle_of(wait)
            if circle is not None:
                error = _judge(circle)
                if error is not None:
                    raise error
            return block(acquire, deadline)
        finally:
            if waiter is not None:
                _threads.pop(waiter, None)
            if loop is not None:
                _loops.pop(loop, None)
    except BaseException:           # interrupted, perhaps just then
        if waiter is not None:
            _threads.pop(waiter, None)
        _loops.pop(loop, None)
        raise


def _may_lead_back(wait: Wait) -> bool:
    """Return False if none of the tasks waits for anything. (lock held)"""
    for task in wait.tasks:
        if (task is wait.waiter or task in _threads or task in _coroutines
                or (_loops and task._spec.pool.loop_of(task) in _loops)):
            return True
    return False


# -- coroutines --------------------------------------------------------------------------------------------


def await_begins(tasks: Sequence[Task[Any]], watcher: FutureWatcher, certain: bool) -> _CoroutineWait | None:
    """A coroutine is about to wait for tasks. Return the wait, for :func:`await_ends`; None outside of a task."""
    member = current.member
    if member is None:
        waiter = current_coroutine_task.get()
    else:
        inside = coroutine_inside.get()
        waiter = member.task if inside is None or inside[0] is not member.task else inside[1]
    if waiter is None:
        return None
    wait = _CoroutineWait(waiter, tasks, certain, watcher)
    with _lock:
        _coroutines.setdefault(waiter, []).append(wait)
        circle = _circle_of(wait) if waiter._watchers and _may_lead_back(wait) else None
    if circle is not None:
        _judge(circle)      # returns no error, as this wait is not confirmed yet
    lane = waiter._spec.lane
    if lane is not None and any(task._spec.lane is lane for task in tasks):
        watcher.future.get_loop().call_soon(_look_for_places, lane)
    return wait


def warn_of_idle_loop(task: Task[Any], loop: Any) -> None:
    """A thread waits for a task whose event loop does not run. No lock is held."""
    if _is_new(f"loop {id(loop)}"):
        log.warning("a wait for %s cannot end by itself: its event loop does not run; run the loop in another thread", _named(task))


def await_ends(wait: _CoroutineWait) -> None:
    """The coroutine does not wait any more."""
    with _lock:
        waits = _coroutines.get(wait.waiter)
        if waits is not None and wait in waits:
            waits.remove(wait)
            if not waits:
                del _coroutines[wait.waiter]


def _confirm(wait: _CoroutineWait) -> None:
    """In the loop of a coroutine that waits, after the step in which it has begun to: see whether that is certain."""
    watcher = wait.watcher
    running = wait.waiter._spec.pool.asyncio_task_of(wait.waiter)
    wait.certain = wait.certain and running is not None and _waits_plainly(running, watcher.future)
    wait.confirmed = True
    with _lock:
        circle = _circle_of(wait) if wait in _coroutines.get(wait.waiter, ()) else None
    if circle is not None:
        error = _judge(circle)
        if error is not None and not watcher.future.done():
            watcher.future.set_exception(error)


def _look_for_places(lane: Any) -> None:
    """Warn if all places of a lane are held by coroutines that wait for tasks of the lane, which get none.

    Other code may raise the limit, or cancel one of them: so that is no error.
    """
    if lane.limit is None:
        return
    with _lock:
        stuck = [waiter.name for waiter, waits in _coroutines.items() if waiter._spec.lane is lane and all(
            task._spec.lane is lane and task._status == QUEUED for wait in waits for task in wait.tasks)]
    if len(stuck) >= lane.limit and _is_new(f"lane {lane.name}", *stuck):
        log.warning("%d coroutine(s) hold all places of a queue or lane, and wait for tasks of it, which get none; the first "
                    "is %s. Raise workers= of the queue or limit= of the lane, or await these tasks elsewhere", len(stuck),
                    stuck[0])


def _waits_plainly(running: Any, future: Any) -> bool:
    """Return True if an asyncio task waits for a future, and nothing that it has entered may end that wait.

    What it has entered is found on the stacks of its frames: the method that leaves a ``with`` block.
    """
    if getattr(running, "_fut_waiter", None) is not future:
        return False
    from gc import get_referents
    from types import AsyncGeneratorType, CoroutineType, FunctionType, GeneratorType, MethodType

    step: Any = running.get_coro()
    while True:
        frame = getattr(step, "cr_frame", None) or getattr(step, "gi_frame", None)
        held = get_referents(step) + ([] if frame is None else get_referents(frame))
        if any(type(thing) in (FunctionType, MethodType) and thing.__name__ in ("__exit__", "__aexit__")
               for thing in held):
            return False
        if type(step) is CoroutineType:
            following = step.cr_await
        elif type(step) is GeneratorType:
            following = step.gi_yieldfrom
        elif type(step) is AsyncGeneratorType:
            following = step.ag_await
        else:       # what awaits a coroutine, or a generator, in C
            following = next((thing for thing in held
                              if type(thing) in (CoroutineType, GeneratorType, AsyncGeneratorType)), None)
        if following is None:
            return any(thing is future for thing in held)
        step = following


# -- circles -----------------------------------------------------------------------------------------------


def _circle_of(wait: Wait) -> Circle | None:
    """Return the shortest circle that a wait belongs to, from this wait on, or None. (lock held)"""
    origins: dict[Wait, tuple[Wait, Task[Any]] | None] = {wait: None}
    waits = deque([wait])
    while waits:
        here = waits.popleft()
        for task in here.tasks[:LOOKED_AT]:
            if task.done():
                continue
            loop = task._spec.pool.loop_of(task)
            if task is wait.waiter or (loop is not None and loop is wait.loop):
                circle: Circle = [(here, task)]
                origin = origins[here]
                while origin is not None:
                    circle.append(origin)
                    origin = origins[origin[0]]
                return circle[::-1]
            following = [*_coroutines.get(task, ()), _threads.get(task), None if loop is None else _loops.get(loop)]
            for other in following:
                if other is not None and other not in origins:
                    origins[other] = here, task
                    waits.append(other)
    return None


def _is_new(*names: str) -> bool:
    """Return True the first time that something with these names is to be warned of."""
    key = frozenset(names)
    if key in _warned or len(_warned) >= _WARNED_MOST:
        return False
    _warned.add(key)
    return True


def _judge(circle: Circle) -> WaitDeadlockError | None:
    """Return the error for a circle if it is certain; have it confirmed, or warn of it, if not. No lock is held."""
    if all(wait.certain and task._spec.timeout is None and not task._spec.ends_early for wait, task in circle):
        for wait, _ in circle:
            if not wait.confirmed:
                assert wait.watcher is not None
                wait.watcher.mailbox.post(_confirm, wait)
                return None
        return WaitDeadlockError(_describe(circle))
    if _is_new(*(task.name for _, task in circle)):
        log.warning("%s. If no timeout ends one of these waits, they never end", _describe(circle))
    return None


def _named(task: Task[Any]) -> str:
    return f"task {task.name} ({task.short_id})"


def _describe(circle: Circle) -> str:
    """Return what waits for what, and what to do about it."""
    first = circle[0][0]
    blocking = any(wait.loop is not None for wait, _ in circle)
    if len(circle) == 1 and not blocking:
        return f"{first.subject()} waits for itself; return, and let other code wait for it"
    text = f"{first.subject()} waits for "
    for place, (_, task) in enumerate(circle, 1):
        following = circle[place % len(circle)][0]
        text += _named(task)
        if task is not following.waiter:
            text += f", which needs the event loop that {following.subject()} blocks"
            text += " while it waits for " if place < len(circle) else ""
        elif place < len(circle):
            text += ", which waits for "
    if blocking:
        return f"a wait blocks the event loop that it needs: {text}; use 'await' in code that runs in a loop"
    return (f"tasks wait for each other in a circle: {text}; let one of them return what another one needs, "
            "instead of waiting")
