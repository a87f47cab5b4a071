"""The messages about waits that cannot end."""
from __future__ import annotations

from sys import _getframe

from .waits import WaitedCall, named

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Sequence


def describe(circle: Sequence[tuple[Any, Any]]) -> str:
    """Return a message about a circle of waits, with advice.

    Call it in the thread in which the first wait begins, or in the loop that confirms it.

    :param circle: waits, each with the one of its tasks that the circle goes through.
    """
    first, last = circle[0][0], circle[-1][1]
    subject = named(last) if _is_made_by_thread(last) else first.subject()
    has_calls = any(_is_made_by_thread(task) for _, task in circle)
    blocking = any(wait.loop is not None for wait, _ in circle)
    advice = "use 'await' in code that runs in a loop"
    if _is_in_finalizer():
        subject = f"a finalizer in the thread of {subject}"
        advice = "do not wait in a finalizer; use add_done_callback()"
    elif len(circle) == 1 and not blocking:
        return f"{subject} waits for itself; return, and let other code wait for it"
    elif not blocking:
        advice = "let one of them return what another one needs, instead of waiting"
    text = f"{subject} waits for "
    for position, (_, task) in enumerate(circle, 1):
        following = circle[position % len(circle)][0]
        text += named(task)
        if task is not following.waiter and not _is_made_by_thread(task):
            text += f", which needs the event loop that {following.subject()} blocks"
            text += " while it waits for " if position < len(circle) else ""
        elif position < len(circle):
            text += ", which waits for "
    opening = ("a wait blocks the event loop that it needs" if blocking else
               "a task and its thread wait for each other" if len(circle) == 1 else
               "tasks and callbacks wait for each other in a circle" if has_calls else
               "tasks wait for each other in a circle")
    return f"{opening}: {text}; {advice}"


def _is_made_by_thread(task: Any) -> bool:
    return isinstance(task, WaitedCall) and task.loop() is None


def _is_in_finalizer() -> bool:
    """Return True if a ``__del__()`` has come in between the code of this thread."""
    frame: Any = _getframe(1)
    while frame is not None and frame.f_code.co_name != "__del__":
        frame = frame.f_back
    return frame is not None
