"""Rows 13 to 15: what goes wrong when something is pickled, or rebuilt.

{argument, result} x {out, in} x {raise, sys.exit, os._exit, segmentation fault}. An argument goes
out in the parent, and a result comes in there: what ends the process would end the application
itself, so it is left out.
"""
import signal

from . import work

RAISING = [("argument", "out"), ("argument", "in"), ("result", "out"), ("result", "in")]
ENDING = [("argument", "in"), ("result", "out")]

#: Bytes beside the trap: small things travel inside the frames, large ones behind them.
SMALL, LARGE = 0, 1 << 20


def _set_a_trap(scene, what, where, how, size):
    """Submit a task with a trap in its argument or its result, among others."""
    scene.good(5)
    if what == "argument":
        victim = scene.inject(work.take, work.Trap(where, how), bytes(size))
    else:
        victim = scene.inject(work.give_trap, where, how, size)
    scene.good(5)
    return victim


def _only_the_task_fails(scene, cells, how, sizes):
    """The task fails with an error that says why; its process goes on."""
    from_us = None
    if scene.strict:
        from atasker_like import TaskPicklingError as from_us
    scene.open(size=1)
    (pid,) = scene.census()
    for what, where in cells:
        for size in sizes:
            victim = _set_a_trap(scene, what, where, how, size)
            error = scene.failed(victim, from_us)
            if error is not None and scene.strict:
                scene.check(
                    "the trap has sprung" in str(error),
                    "%s %s, %s: the message does not say why: %s" % (what, where, how, error),
                )
            if what == "argument":
                scene.never_ran(victim)
    scene.survived(pid)


def pickling_raises(scene):
    _only_the_task_fails(scene, RAISING, "raise", (SMALL, LARGE))


def pickling_exits(scene):
    _only_the_task_fails(scene, RAISING, "sys.exit", (SMALL, LARGE))


def pickling_ends_the_process(scene):
    scene.open(size=scene.count(1, 2))
    for what, where in ENDING:
        for how, end in (
            ("os._exit", {"exitcode": 3}),
            ("segmentation fault", {"number": signal.SIGSEGV}),
        ):
            for size in (SMALL, LARGE):
                victim = _set_a_trap(scene, what, where, how, size)
                scene.died(victim, **end)
                if what == "argument":
                    scene.never_ran(victim)


def error_not_rebuilt(scene):
    """The function raises what cannot be pickled, or not be rebuilt, or does harm when it is."""
    from_us = None
    if scene.strict:
        from atasker_like import RemoteError as from_us
    scene.open(size=1)
    (pid,) = scene.census()
    for function, name, message in (
        (work.raise_unbuildable, "Unbuildable", "half of it"),
        (work.raise_unsendable, "Unsendable", "stays there"),
        (work.raise_local, "raise_local.<locals>.Local", "nobody can import me"),
    ):
        _described(scene, scene.inject(function), from_us, name, message)
    for where in ("out", "in"):
        for how in ("raise", "sys.exit"):
            _described(scene, scene.inject(work.raise_trapped, where, how), from_us, "Trapped",
                       "an error with a trap in it")
    scene.survived(pid)
    if scene.strict:
        scene.died(scene.inject(work.raise_trapped, "out", "os._exit"), exitcode=3)


def _described(scene, victim, kind, name, message):
    scene.good(5)
    error = scene.failed(victim, kind)
    if error is not None and scene.strict:
        said = (error.type_name, error.message)
        scene.check(
            said == ("tests.faults.work." + name, message), "%r is described as %s" % (victim, said)
        )
        scene.check(
            name.rpartition(".")[2] in error.traceback, "the traceback does not name the error"
        )
