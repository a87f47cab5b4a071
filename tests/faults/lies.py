"""Scenarios in which something does not hold, so that it can be seen that the oracle finds it. They
are in no table."""
import os
import subprocess
import sys
import threading

from . import work
from .table import NONE, Fault


class _Endless:
    """A task that nobody will ever hear of again."""

    name = "endless"

    def __init__(self, wait):
        self.wait = wait


def lost(scene):
    from atasker_like import WaitTimeoutError

    def wait(timeout):
        raise WaitTimeoutError("not yet")

    scene.open()
    scene.good(3, "thread")
    scene.adopt(_Endless(wait), "elsewhere")
    scene.side.counters = lambda kind: None


def not_done(scene):
    scene.open()
    scene.submit(work.fail, kind="thread", expected=(None,))


def told_twice(scene):
    scene.open()
    for handle in scene.good(3, "thread"):
        if handle.watched:
            handle.told += 1


def changed_its_mind(scene):
    scene.open()
    handle = scene.good(1, "thread")[0]
    scene.wait(handle)
    handle.outcome = "cancelled", None
    scene.side.counters = lambda kind: None     # that it does not add up either is another matter


def refused_and_ran(scene):
    def submit(kind, function, arguments, options):
        function(*arguments)
        raise RuntimeError("no")

    scene.open()
    scene.side.submit, submit = submit, scene.side.submit
    scene.submit(work.echo, kind="thread")
    scene.side.submit = submit


def counted_wrong(scene):
    judge = scene.oracle.judge_counters
    # they never come right
    scene.oracle.judge_counters = lambda counters, patience: judge(counters, 0.3)
    scene.open()
    scene.good(3, "thread")
    scene.native.put_task(work.echo)


def no_afterwards(scene):
    scene.open()
    scene.good(3, "thread")
    scene.native.stop()
    scene.side.prepare_afterwards = lambda: None


def thread_left(scene):
    scene.grace = 0.3
    threading.Thread(target=threading.Event().wait, daemon=True, name="left behind").start()


def child_left(scene):
    scene.grace = 0.3
    scene.child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])


def file_left(scene):
    scene.grace = 0.3
    os.open(os.devnull, os.O_RDONLY)


def memory_left(scene):
    from multiprocessing import shared_memory

    scene.grace = 0.3
    scene.memory = shared_memory.SharedMemory(create=True, size=10)


def ran_twice(scene):
    scene.open()
    handle = scene.good(1, "thread")[0]
    scene.wait(handle)
    work.note(scene.journal, handle.token)


def never_ran(scene):
    scene.open()
    scene.wait(*scene.good(1, "thread"))
    os.unlink(scene.journal)


def not_as_expected(scene):
    scene.open()
    scene.died(scene.submit(work.fail, kind="thread"), number=9)


def hangs(scene):
    threading.Event().wait()


def crashes(scene):
    os._exit(3)


#: Each with the letters that must be found.
LIES = [
    Fault(
        number, "%s: %s" % (letters, lie.__name__), lie, NONE, limit=2.0 if lie is hangs else 60.0
    )
    for number, (letters, lie) in enumerate(
        [
            ("A", lost),
            ("A", not_done),
            ("A", told_twice),
            ("A", changed_its_mind),
            ("B", refused_and_ran),
            ("C", counted_wrong),
            ("D", no_afterwards),
            ("E", thread_left),
            ("E", child_left),
            ("E", file_left),
            ("E", memory_left),
            ("F", ran_twice),
            ("A", never_ran),
            ("X", not_as_expected),
            ("A", hangs),
            ("A", crashes),
        ],
        1001,
    )
]
