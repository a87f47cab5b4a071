"""Rows 46, 49 and 54: worlds in which the standard library or an executor is not what it seems."""
import importlib
import importlib.util
import os
import sys
import types
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial

from tests.support.patches import libraries

from . import task_functions, work
from .fixtures import Program
from .producers import notes_in, supervisor_of

#: Seconds that a stop may take on a machine whose cores are busy: one that starts a process waits
#: for it.
STOP_TIME = 10.0


# -- 46 ------------------------------------------------------------------------------------------


def library_patched(scene):
    """Thread tasks work with each option; process tasks do, or say at once that they cannot."""
    for library in libraries():
        for when in ("before", "after"):
            with Program(scene, "patched", library, when) as program:
                scene.injected()
                _judge_patched(scene, program, "%s, %s the import" % (library, when))


def _judge_patched(scene, program, title):
    lines = [line.split(" ", 4) for line in program.wait()]
    said = program.said()[-1500:]
    scene.check(program.status == 0, "%s: ended with status %s: %s" % (title, program.status, said))
    ran = program.ran()
    counts = {"thread": 0, "process": 0}
    for line in lines:
        if line[0] == "stop":
            scene.check(line[1] == "True" and float(line[2]) < STOP_TIME,
                        "%s: the stop took %s s, complete: %s" % (title, line[2], line[1]))
        elif line[0] == "submissions":
            scene.check(False, "%s: %s" % (title, " ".join(line)))
        elif line[0] in counts:
            kind, token, state, error, text = line
            counts[kind] += 1
            if state != "succeeded":
                refused = (
                    kind == "process" and error == "PoolBrokenError" and "use thread tasks" in text
                )
                scene.check(refused, "%s: a %s task ended as %s" % (title, kind, line[2:]))
            scene.check(ran[token] == (state == "succeeded"),
                        "%s: a %s task that %s ran %d times" % (title, kind, state, ran[token]))
    scene.check(counts == {"thread": 7, "process": 3}, "%s: told of %s: %s" % (title, counts, said))


# -- 49 ------------------------------------------------------------------------------------------

#: What a thread that outlives the main one is told, by what the main one has done.
OUTLIVES = {"implicit": "SupervisorStoppedError", "unused": "SupervisorStoppedError",
            "explicit": "gave 2"}


def interpreter_ends(scene):
    """Errors are logged before logging is shut down; what is refused names the true cause."""
    with Program(scene, "ending", "globals") as program:
        scene.injected(3)
        _ends(scene, program, "tasks in globals")
        log = program.text("log")
        for kind in ("thread", "process", "coroutine"):
            scene.check(log.count("ValueError: error of a %s" % kind) >= 1,
                        "the error of a %s in a global was not logged: %s" % (kind, log[-1500:]))
    for what in ("finalizer", "finalizer's queue"):
        with Program(scene, "ending", what) as program:
            scene.injected()
            _ends(scene, program, "first use in a finalizer")
            told = [line for line in program.said().splitlines() if line.startswith("finalizer")]
            refused = told[:1] and "SupervisorStoppedError" in told[0] and "finalized" in told[0]
            scene.check(refused and len(told) == 1, "the first use in a %s was told %s" % (
                what, told))
    for what, answer in OUTLIVES.items():
        with Program(scene, "ending", what) as program:
            scene.injected()
            lines = _ends(scene, program, "a thread goes on, %s" % what)
            scene.check(len(lines) == 1 and lines[0].startswith("thread " + answer),
                        "a thread after the main one, %s, was told %s" % (what, lines))
            if answer != "gave 2":
                scene.check("main thread has ended" in lines[0] and "start()" in lines[0],
                            "the cause and the advice are not in %s" % lines)
    with Program(scene, "ending", "daemon") as program:
        scene.injected()
        _ends(scene, program, "a daemon thread goes on")


def _ends(scene, program, title):
    lines = program.wait()
    said = program.said()
    scene.check(program.status == 0, "%s: ended with status %s: %s" % (
        title, program.status, said[-1500:]))
    scene.check("Exception ignored" not in said and "Fatal" not in said, "%s: it wrote %s" % (
        title, said[-1500:]))
    return lines


# -- 54 ------------------------------------------------------------------------------------------


def cancel_that_lies(scene):
    """Calls that time out or are cancelled go on in the executor: they keep their slots, so that
    no other task is given to it and times out there."""
    from atasker_like import TT_MP, TaskTimeoutError, background_task

    path = os.path.join(scene.folder, "items")
    with lying_executor(scene.side.context) as executor, supervisor_of(scene) as supervisor:
        supervisor.mp_pool = executor
        note = background_task(task_functions.note_and_give, tt=TT_MP, supervisor=supervisor,
                               timeout=20)
        for number in range(scene.count(2, 10)):
            gate = scene.gate()
            stay = background_task(work.enter, tt=TT_MP, supervisor=supervisor)
            overrun = stay.options(timeout=0.2)(gate)
            cancelled = stay(gate)
            scene.arrived(gate, 2)
            scene.injected(2)
            error = overrun.exception(scene.patience)
            scene.check(type(error) is TaskTimeoutError, "what overran ended with %r" % error)
            cancelled.cancel()
            names = ["%d-%d" % (number, item) for item in range(10)]
            tasks = [note(name, path) for name in names]
            active = supervisor.stats().process.active
            scene.check(active == 2, "%d slots are occupied by two calls that go on" % active)
            scene.check(executor.given == 2 + 12 * number, "%d calls were given to the executor" % (
                executor.given))
            gate.open()
            errors = [task.exception(scene.patience) for task in tasks]
            scene.check(not any(errors), "innocent tasks ended with %s" % errors)
            scene.check(cancelled.wait(scene.patience).status == "succeeded",
                        "the result of a call that went on does not count: %s" % cancelled.state)
        counts = notes_in(path)
        scene.check(set(counts.values()) == {1}, "these ran more than once: %s" % counts)


@contextmanager
def lying_executor(context):
    """An executor like that of Dask: its futures can be cancelled, and their calls go on."""
    module = importlib.util.find_spec("distributed") and importlib.import_module(
        "distributed.cfexecutor")
    if not module:
        module = types.ModuleType("distributed.cfexecutor")
        module.ClientExecutor = type("ClientExecutor", (Executor,), {})
        sys.modules[module.__name__] = module

    class Lying(module.ClientExecutor):
        _max_workers = 2

        def __init__(self, inner):
            self.inner, self.given = inner, 0

        def submit(self, function, *arguments):
            self.given += 1
            outer = Future()        # pending until the call has ended
            self.inner.submit(function, *arguments).add_done_callback(partial(_copy, outer))
            return outer

        def shutdown(self, wait=True, **options):
            self.inner.shutdown(wait)

    with ProcessPoolExecutor(2, mp_context=context) as inner:
        yield Lying(inner)


def _copy(outer, inner):
    if outer.set_running_or_notify_cancel():
        error = inner.exception()
        if error is not None:
            outer.set_exception(error)
        else:
            outer.set_result(inner.result())
