"""Rows 46, 49 and 54: worlds in which the standard library or an executor is not what it seems."""
from tests.support.patches import libraries

from .staging import Program

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
                refused = kind == "process" and error == "PoolBrokenError" and "use thread tasks" in text
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
    with Program(scene, "ending", "finalizer") as program:
        scene.injected()
        _ends(scene, program, "first use in a finalizer")
        told = [line for line in program.said().splitlines() if line.startswith("finalizer")]
        refused = told[:1] and "SupervisorStoppedError" in told[0] and "finalized" in told[0]
        scene.check(refused and len(told) == 1, "the first use in a finalizer was told %s" % told)
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
