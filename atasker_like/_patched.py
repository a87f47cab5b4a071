"""Threads that the application has replaced by greenlets, as gevent and eventlet do.

The functions of tasks use the locks of their program. A lock of greenlets does not work in threads
of the system, and a lock of the system does not work in greenlets. So this package uses the threads
and locks that :mod:`threading` has when they are made.

If threads are replaced after the import of the package, :func:`follow` exchanges the names that its
modules have taken from :mod:`threading`. A supervisor calls it when it starts, so it costs tasks
nothing.
"""
from __future__ import annotations

import _thread
import os
import sys
import threading

try:
    from posix import close  # gevent replaces os.close() by one that may wait for its loop
except ImportError:             # another system
    from os import close

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, TypeVar

    T = TypeVar("T")

__all__ = ["close", "follow", "has_changed", "made_anew", "threads_are_replaced", "why_no_loops",
           "why_no_processes"]

#: Where modules take names from. An object that both have belongs to the latter.
_NAMES = ((_thread, ("get_ident", "start_new_thread")),
          (threading, ("Event", "Lock", "RLock", "Semaphore", "get_ident", "local")))

#: The objects that modules may have taken, by id: each with the place of its successor.
_taken: dict[int, tuple[Any, str, Any]] = {}
#: The objects that are made anew, each with its factory.
_made: list[tuple[Any, Callable[[], Any]]] = []


def made_anew(factory: Callable[[], T]) -> T:
    """Return ``factory()`` for a global of a module; :func:`follow` replaces it by another one."""
    made = factory()
    _made.append((made, factory))
    return made


def _take() -> None:
    _taken.clear()
    for module, names in _NAMES:
        for name in names:
            value = getattr(module, name)
            _taken[id(value)] = module, name, value


_take()


def has_changed() -> bool:
    """Return True if threads were replaced since the last look."""
    return any(getattr(module, name) is not value for module, name, value in _taken.values())


def follow() -> None:
    """Have the modules of the package use the present names of :mod:`threading`."""
    _exchange({key: getattr(module, name) for key, (module, name, _) in _taken.items()})
    _take()
    # After that, since the factories use these names.
    made = [(old, factory(), factory) for old, factory in _made]
    _exchange({id(old): new for old, new, _ in made})
    _made[:] = [(new, factory) for _, new, factory in made]


def _exchange(successors: dict[int, Any]) -> None:
    """Replace globals of all modules of the package; the successors are keyed by id."""
    package = __name__.partition(".")[0]
    for name, module in list(sys.modules.items()):
        if name != __name__ and name.partition(".")[0] == package:
            for key, value in list(vars(module).items()):
                if id(value) in successors:
                    setattr(module, key, successors[id(value)])


def threads_are_replaced() -> bool:
    """Return True if :mod:`threading` does not start threads of the system."""
    return _is_foreign(_thread.start_new_thread)


def why_no_processes(forks: bool = False) -> str | None:
    """Return why a thread cannot start and serve pool processes; None if it can.

    :param forks: a thread of this process forks them.
    """
    import select  # here, since most programs have no use for it

    patcher = _patcher()
    if not hasattr(select, "poll"):
        return (f"{patcher} has removed select.poll, without which the results of pool processes "
                "cannot be awaited; use thread tasks, or patch neither 'thread', 'select' nor 'os'")
    if _is_foreign(os.read) or _is_foreign(os.write):
        return (f"{patcher} has replaced os.read and os.write by functions that wait, and pool "
                "processes need functions that do not; use thread tasks, or do not patch 'os'")
    if threads_are_replaced() and not _is_foreign(select.poll):
        return (f"{patcher} has replaced threads but not select.poll, so that the wait for results "
                "of pool processes would block all other threads; patch 'select', too, or use "
                "thread tasks")
    if forks and not threads_are_replaced() and _is_foreign(os.fork):
        return (f"{patcher} has replaced os.fork by a function that works in its greenlets only, "
                "and threads are none; choose another start_method than 'fork', use thread tasks, "
                "or do not patch 'os'")
    return None


def why_no_loops() -> str | None:
    """Return why no event loop can run in a thread of its own; None if one can."""
    import select

    if threads_are_replaced() and not _is_foreign(select.select):
        return (f"{_patcher()} has replaced threads but not select, so that an event loop would "
                "block all other threads; patch 'select', too, or use thread tasks")
    return None


def _is_foreign(function: Any) -> bool:
    return type(function) is not type(len)


def _patcher() -> str:
    """Return the name of the library that has replaced threads."""
    import select

    for value in (_thread.start_new_thread, select.select, os.read, getattr(os, "fork", len)):
        if _is_foreign(value):
            return str(getattr(value, "__module__", None) or "the application").partition(".")[0]
    return "the application"
