"""Threads that the application has replaced, as gevent and eventlet do: greenlets stand in for them.

The functions of tasks use the locks of their world, and such a lock works in a thread of the system no more than a lock
of the system works in a greenlet. So the threads and locks of this package are those that :mod:`threading` has when
they are made.

What modules have taken from :mod:`threading` at their import is exchanged once, by :func:`follow`, when a supervisor starts
after the replacement. So the paths of tasks pay nothing for it.
"""
from __future__ import annotations

import _thread
import os
import select
import sys
import threading

try:
    from posix import close     # not os.close(), in whose place gevent puts one that may wait for its loop
except ImportError:             # another system
    from os import close

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, TypeVar

    T = TypeVar("T")

__all__ = ["close", "follow", "has_changed", "made_anew", "threads_are_replaced", "why_no_loops", "why_no_processes"]

#: Where modules take names from. What both have is the same object, and the latter counts.
_NAMES = ((_thread, ("get_ident", "start_new_thread")),
          (threading, ("Event", "Lock", "RLock", "Semaphore", "get_ident", "local")))

#: What modules of the package may have taken, by its id, with the place where its successor is found.
_taken: dict[int, tuple[Any, str, Any]] = {}
#: The objects of modules that are made anew: each with its factory.
_made: list[tuple[Any, Callable[[], Any]]] = []


def made_anew(factory: Callable[[], T]) -> T:
    """Return ``factory()``, whose place as a global of a module another one takes after threads were replaced."""
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
    """Exchange what modules of the package have taken from :mod:`threading` for what is there now."""
    _exchange({key: getattr(module, name) for key, (module, name, _) in _taken.items()})
    _take()
    # After that, since the factories use these names.
    made = [(old, factory(), factory) for old, factory in _made]
    _exchange({id(old): new for old, new, _ in made})
    _made[:] = [(new, factory) for _, new, factory in made]


def _exchange(successors: dict[int, Any]) -> None:
    """Have each global of a module of the package that is keyed here, by its id, refer to its successor."""
    package = __name__.partition(".")[0]
    for name, module in list(sys.modules.items()):
        if name != __name__ and name.partition(".")[0] == package:
            for key, value in list(vars(module).items()):
                if id(value) in successors:
                    setattr(module, key, successors[id(value)])


def threads_are_replaced() -> bool:
    """Return True if :mod:`threading` starts something else than threads of the system."""
    return _is_foreign(_thread.start_new_thread)


def why_no_processes() -> str | None:
    """Return why a thread cannot serve pool processes; None if it can."""
    patcher = _patcher()
    if not hasattr(select, "poll"):
        return (f"{patcher} has removed select.poll, without which the results of pool processes cannot be awaited; use thread "
                "tasks, or patch neither 'thread', 'select' nor 'os'")
    if _is_foreign(os.read) or _is_foreign(os.write):
        return (f"{patcher} has replaced os.read and os.write by functions that wait, and pool processes need those that do not; "
                "use thread tasks, or do not patch 'os'")
    if threads_are_replaced() and not _is_foreign(select.poll):
        return (f"{patcher} has replaced threads but not select.poll, so that the wait for results of pool processes would block "
                "all other threads; patch 'select', too, or use thread tasks")
    return None


def why_no_loops() -> str | None:
    """Return why no event loop can run in a thread of its own; None if one can."""
    if threads_are_replaced() and not _is_foreign(select.select):
        return (f"{_patcher()} has replaced threads but not select, so that an event loop would block all other threads; patch "
                "'select', too, or use thread tasks")
    return None


def _is_foreign(function: Any) -> bool:
    return type(function) is not type(len)


def _patcher() -> str:
    """Return the name of what has replaced threads, as far as it can be known."""
    for value in (_thread.start_new_thread, getattr(select, "select", None), os.read):
        if _is_foreign(value):
            return str(getattr(value, "__module__", None) or "the application").partition(".")[0]
    return "the application"
