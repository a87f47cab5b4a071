"""The calls that an executor gets, also ahead of the slots, and the bundles that they go in.

All functions are called with the pool's lock held, except ``next_bundle``.
"""
from __future__ import annotations

from collections import deque
from sys import maxsize

from ...engine.spec import TaskSpec
from ...engine.task import Task
from .adapters import ExecutorAdapter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable


#: Seconds of expected work that are prefetched for each slot.
AHEAD_SECONDS = 0.001
#: Up to this expected run time, in seconds, one task is prefetched for each slot.
AHEAD_SINGLE = 0.02
#: The maximal number of tasks that are prefetched for one slot.
AHEAD_MOST = 64


class Call:
    """One attempt of a task, until the executor reports its end. The pool's lock guards it."""

    __slots__ = ("task", "adapter", "handle", "submitted", "done", "abandoned", "cancel_requested",
                 "ahead", "revoked", "bundle", "alone")

    def __init__(self, task: Task[Any], adapter: ExecutorAdapter) -> None:
        self.task: Task[Any] = task
        self.adapter: ExecutorAdapter = adapter
        self.handle: Any = None         # the argument of the adapter's cancel()
        self.submitted: bool = False        # the giver has taken it
        self.done: bool = False         # the executor has reported its end
        self.abandoned: bool = False    # its task is final
        self.cancel_requested: bool = False     # the executor is to cancel it if possible
        self.ahead: bool = False        # it is prefetched and has no slot
        self.revoked: bool = False      # the executor is to give it back
        self.alone: bool = False        # it goes in no bundle
        self.bundle: list[Call] = []   # the calls that it has the handle in common with, if any

    def is_lost(self) -> bool:
        """Return True if the executor was shut down and will not report its end. (lock held)"""
        return self.submitted and self.adapter.is_shut_down()


class Prefetched:
    """The calls without a slot, in the order in which they get one."""

    def __init__(self) -> None:
        self.calls: deque[Call] = deque()
        #: The calls for each slot; None: calls of functions that have been short so far.
        self.each: int | None = None
        self.least_urgent: int = 0      # no call has a higher number as its priority

    def add(self, call: Call) -> None:
        """Add a call behind the others."""
        call.ahead = True
        self.least_urgent = max(call.task._spec.priority,
                                self.least_urgent if self.calls else -maxsize)
        self.calls.append(call)

    def room(self, spec: TaskSpec, slots: int, adapter: ExecutorAdapter,
             running: Iterable[Call]) -> int:
        """Return how many calls of a function may be prefetched now."""
        most = self._limit(spec, min(slots, AHEAD_MOST), adapter)
        # Many at a time: most ends of calls need no giver then.
        if not most or len(self.calls) * 2 > most:
            return 0
        if self.each is None:
            # A task must not stand behind a call of which nobody knows how long it takes.
            for call in running:
                expected = call.task._spec.expected_runtime
                if expected is None or expected > AHEAD_SINGLE:
                    return 0
        return most - len(self.calls)

    def _limit(self, spec: TaskSpec, slots: int, adapter: ExecutorAdapter) -> int:
        if self.each is not None:
            return self.each * slots
        cost = spec.expected_runtime
        if cost is None or cost > AHEAD_SINGLE:
            return 0
        each = int(AHEAD_SECONDS / max(cost, AHEAD_SECONDS / AHEAD_MOST))
        if not each and not adapter.honest:
            return 0                    # a call in the executor could not be taken back
        return max(1, each) * slots

    def next_bundle(self, taken: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """Take the calls that go to the executor as one: prefetched short ones of one function.

        :param taken: lists that begin with a call; the next one is the last.
        """
        bundle = [taken.pop()]
        first: Call = bundle[0][0]
        spec = first.task._spec
        if (first.ahead and not first.alone and first.adapter.bundles and self.each is None
                and spec.timeout is None):
            while (taken and taken[-1][0].task._spec is spec and not taken[-1][0].alone
                   and taken[-1][0].adapter is first.adapter):
                bundle.append(taken.pop())
        return bundle
