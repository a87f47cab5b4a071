"""The messages about waits that cannot end."""
from __future__ import annotations

from .waits import named

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Sequence

__all__ = ["describe"]


def describe(circle: Sequence[tuple[Any, Any]]) -> str:
    """Return a message about a circle of waits, with advice.

    :param circle: waits, each with the one of its tasks that the circle goes through.
    """
    first = circle[0][0]
    blocking = any(wait.loop is not None for wait, _ in circle)
    if len(circle) == 1 and not blocking:
        return f"{first.subject()} waits for itself; return, and let other code wait for it"
    text = f"{first.subject()} waits for "
    for position, (_, task) in enumerate(circle, 1):
        following = circle[position % len(circle)][0]
        text += named(task)
        if task is not following.waiter:
            text += f", which needs the event loop that {following.subject()} blocks"
            text += " while it waits for " if position < len(circle) else ""
        elif position < len(circle):
            text += ", which waits for "
    if blocking:
        return (f"a wait blocks the event loop that it needs: {text}; "
                "use 'await' in code that runs in a loop")
    return (f"tasks wait for each other in a circle: {text}; let one of them return what another "
            f"one needs, instead of waiting")
