"""What a forked process resets: one hook for all objects that a fork leaves unusable.

The child has one thread. Locks that other threads of the parent held stay held in the child, and
connections and threads belong to the parent. Such objects register here.
"""
from __future__ import annotations

import os
import sys
from threading import get_ident
from weakref import WeakSet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Resettable(Protocol):
        def _reset_after_fork(self) -> None: ...


_registered: WeakSet[Resettable] = WeakSet()


def register(resettable: Resettable) -> None:
    """Call ``_reset_after_fork()`` of an object in each forked child. (no reference is kept)"""
    _registered.add(resettable)


def forget_imports_of_other_threads() -> None:
    """In a forked process: make modules importable that other threads were importing.

    CPython resets the lock of the import system, but not the locks of its modules. Those that
    another thread held stay held, and an import of their modules would block without end.
    """
    bootstrap = sys.modules.get("importlib._bootstrap") or sys.modules["_frozen_importlib"]
    locks = getattr(bootstrap, "_module_locks", {})
    for name, reference in list(locks.items()):
        lock = reference()
        if lock is not None and getattr(lock, "owner", None) != get_ident():
            locks.pop(name, None)
            spec = getattr(sys.modules.get(name), "__spec__", None)
            if getattr(spec, "_initializing", False):
                del sys.modules[name]       # only a part of its code has run


def _after_fork() -> None:
    for resettable in list(_registered):
        resettable._reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
