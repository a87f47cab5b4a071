"""The point at which an asyncio task is suspended."""
from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def waits_plainly(running: Any, future: Any) -> bool:
    """Return True if an asyncio task waits for a future outside of any ``with`` block.

    Such a block might end the wait. The stack of a frame in one holds the method that leaves it.
    """
    if running is None or getattr(running, "_fut_waiter", None) is not future:
        return False
    from gc import get_referents
    from types import AsyncGeneratorType, CoroutineType, FunctionType, GeneratorType, MethodType

    step: Any = running.get_coro()
    while True:
        frame = getattr(step, "cr_frame", None) or getattr(step, "gi_frame", None)
        held = get_referents(step) + ([] if frame is None else get_referents(frame))
        if any(type(thing) in (FunctionType, MethodType)
               and thing.__name__ in ("__exit__", "__aexit__")
               for thing in held):
            return False
        if type(step) is CoroutineType:
            following = step.cr_await
        elif type(step) is GeneratorType:
            following = step.gi_yieldfrom
        elif type(step) is AsyncGeneratorType:
            following = step.ag_await
        else:       # an object in C that awaits a coroutine or a generator
            following = next((thing for thing in held
                              if type(thing) in (CoroutineType, GeneratorType, AsyncGeneratorType)),
                              None)
        if following is None:
            return any(thing is future for thing in held)
        step = following
