"""The waits of the graph: which code waits, for which tasks, and how to end the wait.

A wait of a thread is certain at once. A wait of a coroutine, or of an executor's thread, is checked
in its loop before it counts as certain.
"""
from __future__ import annotations

from types import SimpleNamespace

from .._atomics import release
from .current import current_coroutine_task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol, Sequence

    from ..errors import WaitDeadlockError

    class Waited(Protocol):
        """A task, or a :class:`WaitedCall`, that waits, or that a wait is for."""

        _spec: Any
        _status: int
        _waiters: Any

        def done(self) -> bool: ...

    #: Waits, each with the one of its tasks that the circle goes through.
    Circle = list["tuple[Wait, Waited]"]


class Wait:
    """One wait of a thread. Its task waits, or code of no task in a thread that runs a loop.

    It does not change, except when it is entered and when it is confirmed.
    """

    __slots__ = ("waiter", "tasks", "certain", "loop", "coroutine", "outer", "thread")

    def __init__(self, waiter: Waited | None, tasks: Sequence[Waited], certain: bool,
                 loop: Any = None) -> None:
        self.waiter: Waited | None = waiter  # the task that waits, or None
        self.tasks: Sequence[Waited] = tasks  # the tasks that it waits for
        self.certain: bool = certain  # it has no timeout, and needs all of the tasks
        self.loop: Any = loop       # the event loop that the wait blocks, or None
        self.coroutine: Waited | None = None    # the task of the code that runs in the loop
        if loop is not None:
            # The context may be a copy of one that belongs to a task of another loop.
            coroutine = current_coroutine_task.get()
            if coroutine is not None and coroutine._spec.pool.loop_of(coroutine) is loop:
                self.coroutine = coroutine
        # The wait of the same thread in the middle of which a finalizer began this one, or None.
        self.outer: Wait | None = None
        self.thread: int = 0        # the id of the thread, if it makes calls; see WaitedCall

    def subject(self) -> str:
        """Return a name of the waiting code, for messages."""
        speaker = self.coroutine or self.waiter
        return "the code" if speaker is None else named(speaker)


class WaitedCall:
    """A call for whose return code waits, such as a callback. It has no task."""

    __slots__ = ()

    #: The fields of a spec that the graph reads.
    _spec: Any = SimpleNamespace(timeout=None, lane=None, ends_early=False)
    _status = 100           # as a task that runs
    _waiters: Any = True    # a wait may be for it

    def done(self) -> bool:
        """Return True if the call has returned."""
        raise NotImplementedError

    def loop(self) -> Any:
        """Return the event loop that the call needs, or None."""
        return None

    def thread(self) -> int:
        """Return the id of the thread that makes the call now, or 0."""
        return 0

    def label(self) -> str:
        """Return a name for messages."""
        raise NotImplementedError


class UnconfirmedWait(Wait):
    """A wait of a coroutine, which is certain only after a check in its loop."""

    __slots__ = ("confirmed", "future")

    waiter: Waited

    def __init__(self, waiter: Waited, tasks: Sequence[Waited], certain: bool,
                 future: Any = None) -> None:
        Wait.__init__(self, waiter, tasks, certain)
        self.confirmed: bool = False
        self.future: Any = future       # the asyncio future that the coroutine waits for

    def runner(self) -> Any:
        """Return the asyncio task that waits, or None."""
        return self.waiter._spec.pool.asyncio_task_of(self.waiter)

    def is_plain(self) -> bool:
        """Return True if only the end of its tasks ends the wait. Call it in the loop."""
        from .suspended import waits_plainly

        return waits_plainly(self.runner(), self.future)

    def fail(self, error: WaitDeadlockError) -> None:
        """End the wait with an error. Call it in the loop."""
        if not self.future.done():
            self.future.set_exception(error)


class RunWait(UnconfirmedWait):
    """A wait of a coroutine that another thread blocks for in ALoop.run()."""

    __slots__ = ("_runner",)

    def __init__(self, run: Waited, runner: Any, tasks: Sequence[Waited], certain: bool,
                 future: Any) -> None:
        UnconfirmedWait.__init__(self, run, tasks, certain, future)
        self._runner = runner       # the coroutine's asyncio task

    def runner(self) -> Any:
        return self._runner


class ExecutorWait(UnconfirmedWait):
    """A wait of an executor's thread, in a call that a coroutine task awaits."""

    __slots__ = ("error", "over", "_call", "_acquire")

    def __init__(self, tasks: Sequence[Waited], certain: bool, call: Any, acquire: Any) -> None:
        UnconfirmedWait.__init__(self, None, tasks, certain)       # type: ignore[arg-type]
        self.error: WaitDeadlockError | None = None
        self.over = False
        self._call = call           # the executor's future
        self._acquire = acquire     # of the lock that the thread blocks on

    def find_waiter(self) -> bool:
        """Find the task that awaits the call. Return True if there is one.

        After ``run_in_executor()`` and ``to_thread()``, a callback of the executor's future refers
        to the asyncio future, and a callback of the asyncio future has the context of the task.
        """
        for callback in tuple(getattr(self._call, "_done_callbacks", ())):
            for cell in getattr(callback, "__closure__", None) or ():
                for entry in getattr(cell.cell_contents, "_callbacks", None) or ():
                    context = entry[1] if isinstance(entry, tuple) else {}
                    task = context.get(current_coroutine_task)
                    if task is not None:
                        self.future, self.waiter = cell.cell_contents, task
                        return True
        return False

    def fail(self, error: WaitDeadlockError) -> None:
        lock = self._acquire.__self__       # the lock that the thread blocks on
        for task in self.tasks:
            task._remove_waiter(lock.release)  # type: ignore[attr-defined]
        # If a task has ended, it wakes the thread instead.
        if not any(task.done() for task in self.tasks):
            self.error = error
            release(lock)


def named(task: Any) -> str:
    if isinstance(task, WaitedCall):
        return task.label()
    return f"task {task.name} ({task.short_id})"
