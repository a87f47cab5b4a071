"""Deferred calls: what a critical section decides and its caller does after it.

They run code of the application, start threads, or wait, so no lock may be held.
"""
from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Iterable, List

    Deferred = List[Callable[[], None]]


def run_deferred(calls: Iterable[Callable[[], None]]) -> None:
    """Make the calls, in order. (no lock)"""
    for call in calls:
        call()


def run_and_launch(deferred: Deferred) -> None:
    """Make the calls of a submission, of which the last one makes its task run. (no lock)

    Before the last call, the submission can be undone. Callers return in the same line, so that no
    interrupt can come after it.
    """
    if not deferred:
        return
    last = deferred.pop()
    for call in deferred:
        call()
    return last()
