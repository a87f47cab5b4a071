"""What comes in at a line comes in at a line of the call, and at no other one."""
import gc
import sys

import pytest

from atasker_like import TaskSupervisor

from ..support.interruptions import at_line, interrupt
from .fixtures import AtLine


class Garbage:
    """A cycle whose finalizer runs lines of the package."""

    def __init__(self, supervisor):
        self.supervisor = supervisor
        self.itself = self

    def __del__(self):
        self.supervisor.get_task("no such task")


def _by_the_table(call):
    with AtLine(1):
        call()


def _by_support(call):
    at_line(1, interrupt, call)


@pytest.mark.parametrize("interrupted", [_by_the_table, _by_support])
def test_interrupt_with_garbage_to_be_finalized_comes_out_of_the_call(interrupted, monkeypatch):
    ignored = []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: ignored.append(found.exc_type))
    supervisor = TaskSupervisor()
    thresholds = gc.get_threshold()
    gc.collect()

    def call():
        gc.set_threshold(1)
        _ = [[] for _ in range(10)]
        supervisor.get_task("no such task")

    try:
        Garbage(supervisor)
        with pytest.raises(KeyboardInterrupt):
            interrupted(call)
    finally:
        gc.set_threshold(*thresholds)
        gc.collect()
    assert gc.isenabled()
    assert ignored == []
