"""The done callbacks of a task: adding and calling them.

A finisher takes each callback from the list before it calls it. So after an interrupt the rest is
called, and none is called twice. A queue waits for the callbacks of its tasks: their lane has
``callbacks``, a WaitGroup.
"""
from __future__ import annotations

from _thread import start_new_thread

from .._log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Protocol

    from .spec import Callbacks, TaskSpec

    Callback = Callable[[Any], Any]

    class CallbackTask(Protocol):
        """The part of a task's interface that this module uses."""

        _spec: TaskSpec
        _extra: Any

        @property
        def name(self) -> str: ...

        @property
        def short_id(self) -> str: ...

        @property
        def state(self) -> str: ...

        def done(self) -> bool: ...
        def _extra_fields(self) -> Any: ...


def add_callback(task: CallbackTask, callback: Callback, first: bool = False) -> bool:
    """Add a done callback. Return False, without adding it, if the task has ended.

    :param first: call it before the callbacks that are there.
    """
    with task._spec.pool.lock:
        if task.done():
            return False
        extra = task._extra_fields()
        if extra.callbacks is None:
            extra.callbacks = []
        extra.callbacks.insert(0 if first else len(extra.callbacks), callback)
        group = _waited_by(task)
        if group is not None:
            group.add(task)
        return True


def call_callbacks(task: CallbackTask) -> None:
    """Call the done callbacks of a final task. (no lock)"""
    extra = task._extra
    if extra is not None and extra.callbacks:
        group = _waited_by(task)
        if group is None:
            _call_each(task, extra.callbacks)
        else:
            group.make(task, _call_each, task, extra.callbacks)


def call_late(task: CallbackTask, callback: Callback) -> None:
    """Call a done callback that was added after the task had ended. (no lock)"""
    group = _waited_by(task)
    if group is None:
        call_back(task, callback)
    else:
        group.make(object(), call_back, task, callback)


def call_back(task: CallbackTask, callback: Callback, has_room: bool = False) -> None:
    """Call one callback and log its error, if it raises one.

    :param has_room: True if this thread is far from the recursion limit.
    :raises RecursionError: there is no room for the callback, which has not begun.
    """
    try:
        callback(task)
    except BaseException as error:
        trace = error.__traceback__ if type(error) is RecursionError else None
        if trace is not None and trace.tb_next is None and not has_room:
            raise
        log.exception("a done callback of task %s (%s) raised; the task itself is %s",
                      task.name, task.short_id, task.state)


def _waited_by(task: CallbackTask) -> Callbacks | None:
    """Return the WaitGroup for the callbacks of a task, or None."""
    lane = task._spec.lane
    return None if lane is None else lane.callbacks


def _call_each(task: CallbackTask, callbacks: list[Callback]) -> None:
    while callbacks:
        try:
            callback = callbacks.pop(0)
        except IndexError:
            return              # after an interrupt, another thread has taken the callback
        try:
            call_back(task, callback)
        except RecursionError as error:
            trace: Any = error.__traceback__
            if trace.tb_next is not None and trace.tb_next.tb_next is not None:
                raise           # it has begun, and there was no room to log its error
            try:
                start_new_thread(call_back, (task, callback, True))
            except RecursionError:
                callbacks[:0] = [callback]      # no call: there is no room for any
                raise
