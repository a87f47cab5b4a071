"""What a forked process resets: one hook for all objects that a fork leaves unusable.

The child has one thread. Locks that other threads of the parent held stay held in the child, and
connections and threads belong to the parent. Such objects register here.
"""
from __future__ import annotations

import os
from weakref import WeakSet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Resettable(Protocol):
        def _reset_after_fork(self) -> None: ...

__all__ = ["register"]

_registered: WeakSet[Resettable] = WeakSet()


def register(resettable: Resettable) -> None:
    """Call ``_reset_after_fork()`` of an object in each forked child. (no reference is kept)"""
    _registered.add(resettable)


def _after_fork() -> None:
    for resettable in list(_registered):
        resettable._reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
