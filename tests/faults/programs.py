"""Programs that scenarios run in processes of their own: ``python -m tests.faults.programs NAME
SIDE METHOD FOLDER``

What such a program submits leaves its lines in the journal in its folder. Pool processes import
this module as their main one, so it imports nothing before it is asked to run.
"""
import sys


def _scene(side, method, folder):
    """A Scene without a case around it."""
    import os
    import random

    from .implementations import SIDES
    from .oracle import Oracle
    from .scene import Scene

    scene = Scene(
        SIDES[side](method), Oracle(os.path.join(folder, "journal")), folder, method, False, 0, 20.0
    )
    scene.random = random.Random(0)
    return scene


def _say(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


# -- 25 ------------------------------------------------------------------------------------------


def parent(scene, end):
    """Three processes: one is idle, one runs Python, one is in C code that holds the interpreter.
    Then wait."""
    import os
    import signal

    from . import task_functions, work

    signal.signal(signal.SIGHUP, signal.SIG_DFL)        # nohup has programs ignore it
    scene.open(size=3)
    scene.census()
    gate = scene.gate()
    scene.submit(task_functions.stay, gate)
    scene.submit(work.hold_the_interpreter, gate, 1000)
    gate.wait(2)
    _say("ready")
    sys.stdin.readline()
    if end == "os._exit":
        os._exit(0)
    while True:
        signal.pause()


def starting_parent(scene):
    """Have three processes started, and go on."""
    import signal

    scene.open(size=3, min_size=3)
    _say("ready")
    scene.native.start()
    while True:
        signal.pause()


# -- 28 ------------------------------------------------------------------------------------------


def forking(scene, way):
    """Fork with busy pools. The child uses the supervisor, and ends as programs end; so does the
    parent."""
    import os

    scene.open(size=2, threads=2)
    scene.census()
    scene.occupy(1)
    scene.occupy(1, kind="thread")
    handles = scene.good(10) + scene.good(10, "thread") + scene.good(2, "coroutine")
    if way == "multiprocessing":
        import multiprocessing

        child = multiprocessing.get_context("fork").Process(target=_forked, args=(scene,))
        child.start()
        _say("child", child.pid)
        child.join()
        status = child.exitcode
    else:
        pid = os.fork()
        if not pid:
            _forked(scene)
            return
        _say("child", pid)
        status = os.waitpid(pid, 0)[1]
    _say("status", status)
    scene.release()
    _say("parent", *[(handle.wait(20) or ("hung",))[0] for handle in handles])


def _forked(scene):
    """In the child: the supervisor is a new one."""
    stats = scene.native.stats()
    _say("fresh", stats.submitted, stats.waiting, stats.active)
    del scene.oracle.handles[:]
    handles = scene.good(20, "thread") + scene.good(20) + scene.good(5, "coroutine")
    _say("forked", *[(handle.wait(20) or ("hung",))[0] for handle in handles])


# -- 33 ------------------------------------------------------------------------------------------


class Submitter:
    """Submits one task, and writes down what came of it: its token, and what submitting raised."""

    def __init__(self, scene, name):
        import os

        from atasker_like._atomics import FREE_THREADED

        from . import work

        # All that is needed, since late in the exit nothing can be imported, and print() cannot be
        # relied on.
        self._work, self._write = work, os.write
        # Free-threaded Python 3.13 makes functions and modules immortal. So the names of modules
        # are cleared before the last finalizers run, and code of any module raises this and that.
        self._refusals = (RuntimeError,)
        if FREE_THREADED and sys.version_info < (3, 14):
            self._refusals += (TypeError, AttributeError)
        self._scene, self._name = scene, name
        self._count = 0

    def __call__(self, *ignored):
        work = self._work
        for kind in ("thread", "process", "coroutine"):
            self._count += 1
            token = "%s-%s-%d" % (self._name, kind, self._count)
            wrapped = work.co_noted if kind == "coroutine" else work.noted
            try:
                self._scene.side.submit(
                    kind, wrapped, (self._scene.journal, token, work.echo, 7), {}
                )
                outcome = "accepted"
            except self._refusals as error:
                outcome = "refused: %s: %s" % (type(error).__name__, error)
            self._write(1, ("%s %s\n" % (token, outcome)).encode())


class Finalized:
    """Submits when it is finalized."""

    def __init__(self, submit):
        self._submit = submit

    def __del__(self):
        self._submit()


def leaving(scene, used):
    """Submit from all that runs when a program ends."""
    import atexit
    import threading
    import weakref

    global left_behind

    if used == "early":
        atexit.register(Submitter(scene, "atexit-before"))
    scene.open(size=1, threads=2)
    if used != "unused":
        for kind in ("thread", "process", "coroutine"):
            handles = scene.good(3, kind)
        _say("begun", len(handles))
    atexit.register(Submitter(scene, "atexit"))
    left_behind = [Finalized(Submitter(scene, "global"))]           # finalized with the modules
    # by the last collection, if at all
    cycle = [Finalized(Submitter(scene, "cycle"))]
    cycle.append(cycle)
    scene.finalize = weakref.finalize(Submitter, Submitter(scene, "weakref"))
    scene.cycle = cycle
    never = threading.Event()

    late = Submitter(scene, "thread")

    def last():
        threading.main_thread().join()
        late()                                  # the interpreter waits for this one before it ends

    def for_ever():
        while not never.wait(0.001):
            scene.native.stats()

    threading.Thread(target=last).start()
    threading.Thread(target=for_ever, daemon=True).start()
    sys.excepthook = Submitter(scene, "excepthook")
    if used == "stopped":
        scene.native.stop()
    if used == "raises":
        raise ValueError("a program that ends with an error")


# -- 41 ------------------------------------------------------------------------------------------


def storing(scene, path):
    """Store results of threads and of a process without end; a line has the ids and values of those
    that are stored."""
    from atasker_like import SQLiteBackend

    scene.open(size=1, threads=2)
    backend = SQLiteBackend(path)
    scene.native.set_result_backend(backend)
    while True:
        handles = scene.good(40, "thread") + scene.good(10)
        for handle in handles:
            handle.wait(20)
        backend.flush()
        _say(*[word for handle in handles for word in (handle.native.id, handle.expected[0])])


# -- 45, 48 --------------------------------------------------------------------------------------


def daemon(scene, when):
    """Close all descriptors, as daemons do, while the pool is idle, busy or about to be stopped."""
    import os

    from . import task_functions

    victims = []
    scene.open(size=2)
    if when in ("busy", "stopping"):
        gate = scene.gate()
        victims = [scene.submit(task_functions.stay, gate) for _ in range(2)]
        scene.arrived(gate, 2)
    else:
        scene.census()
    os.closerange(3, 256)
    files = []
    if when == "reopened":
        files = [open(os.path.join(scene.folder, "own%d" % number), "w+") for number in range(60)]
    if when == "stopping":
        _stop(scene)
        scene.native.start()
    _say("after", *[(handle.wait(20) or ("hung",))[0] for handle in scene.good(20)])
    _say("ran", *[type((handle.wait(20) or (0, "hung"))[1]).__name__ for handle in victims])
    if when != "stopping":
        _stop(scene)
    for number, file in enumerate(files):
        file.write(str(number))
        file.seek(0)
        if file.read() != str(number):
            _say("files", number)
            return
    _say("files", "untouched")


def _stop(scene):
    from time import monotonic

    began = monotonic()
    scene.native.stop(wait=1)
    _say("stopped", monotonic() - began)


def server(scene, stops):
    """Wait for SIGTERM, end in order, and die of it."""
    import os
    import signal

    from . import work

    # No event: the signal may come at a line where the event holds its lock, or just before the
    # wait blocks, which then does not see it. The interpreter writes to a pipe at once.
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    signal.signal(signal.SIGTERM, lambda *ignored: None)
    gate = scene.gate()
    scene.open(size=1, threads=1)
    handles = [scene.submit(work.enter, gate, kind=kind) for kind in ("process", "thread")]
    for kind in ("process", "thread"):
        handles += scene.good(20, kind)
    scene.arrived(gate, 2)
    _say(*[handle.token for handle in handles])
    os.read(reader, 1)
    gate.open()
    if stops == "stops":
        scene.native.stop()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)


# -- 46 ----------------------------------------------------------------------------------------


def patched(scene, library, when):
    """Submit tasks of each kind and with each option in a patched world; tell how each ended."""
    if when == "after":
        from tests.support.patches import patch_like

        patch_like(library)
    import multiprocessing
    import time

    from atasker_like import Task

    from . import work

    if scene.side.method not in ("template", *multiprocessing.get_all_start_methods()):
        scene.side.method = "spawn"         # with eventlet there is no forkserver
    scene.open(size=2, threads=4)
    scene.native.lane("narrow", limit=1)
    options = [
        {},
        {"priority": 0},
        {"delay": 0.01},
        {"timeout": 30},
        {"retries": 2},
        {"callback": len},
        {"lane": "narrow"},
    ]
    handles = {"thread": [scene.submit(work.echo, "v", kind="thread", **each) for each in options],
               "process": scene.good(3)}
    if any(type(handle.native) is not Task for handle in handles["thread"]):
        _say("submissions", "gave", *[type(handle.native).__name__ for handle in handles["thread"]])
    for kind in handles:
        for handle in handles[kind]:
            outcome = handle.wait(20) or ("hung", None)
            _say(kind, handle.token, outcome[0], type(outcome[1]).__name__, outcome[1])
    begin = time.monotonic()
    report = scene.native.stop(wait=20)
    _say("stop", report.complete, time.monotonic() - begin)


# -- 49 ----------------------------------------------------------------------------------------


class Last:
    """Submits a task when it is finalized, and tells on stderr how that ended."""

    def __init__(self, submit):
        import os

        self.submit, self.write = submit, os.write

    def __del__(self):
        try:
            text = "gave %s" % self.submit()
        except BaseException as error:
            text = "%s: %s" % (type(error).__name__, error)
        self.write(2, ("finalizer %s\n" % text).encode())


def ending(scene, what):
    """End with tasks in globals, with a first use in a finalizer, or with a thread that goes on."""
    import logging
    import os
    import threading

    from atasker_like import background_task, task_supervisor, tmap

    from . import work

    global left_behind

    logging.basicConfig(filename=os.path.join(scene.folder, "log"))
    if what == "globals":
        scene.open(size=1, threads=2)
        kinds = ("thread", "process", "coroutine")
        left_behind = [scene.submit(work.fail, "error of a %s" % kind, kind=kind) for kind in kinds]
        return
    if what == "finalizer":
        left_behind = Last(lambda: background_task(abs)(-1).value(2))
        return
    if what == "finalizer's queue":
        left_behind = Last(lambda: tmap(abs, [-1]))
        return
    if what == "explicit":
        task_supervisor.start()
    elif what != "unused":
        background_task(abs)(-1).value(20)

    def go_on():
        threading.main_thread().join()
        try:
            _say("thread", "gave", background_task(abs)(-2).value(20))
        except Exception as error:
            _say("thread", type(error).__name__, error)

    threading.Thread(target=go_on, daemon=what == "daemon").start()


# -- the beginning -------------------------------------------------------------------------------


def main():
    name, side, method, folder = sys.argv[1:5]
    if name == "patched" and sys.argv[6] == "before":
        from tests.support.patches import patch_like

        patch_like(sys.argv[5])
    scene = _scene(side, method, folder)
    globals()[name](scene, *sys.argv[5:])


if __name__ == "__main__":
    from tests.faults.programs import main as run

    run()
