"""Rows 25, 28 and 33: the parent ends, forks, or is about to end."""
import os
import signal
import threading
from time import monotonic

from . import task_functions, work
from .fixtures import Program, family, within
from .oracle import command, outliving, session_of, settled

#: Seconds that a pool process may outlive its parent.
OUTLIVE = 2.0

ENDS = ("SIGKILL", "SIGTERM", "SIGHUP", "os._exit")


# -- 25 ------------------------------------------------------------------------------------------


def parent_ends(scene):
    """The parent is killed, terminated, hung up, or leaves, while its processes are idle, run
    Python, or are in C code that holds the interpreter."""
    programs = [(end, Program(scene, "parent", end)) for end in ENDS]
    try:
        for end, program in programs:
            program.read()
            pids = family(program.pid)
            scene.check(len(pids) >= 3, "%d processes were started" % len(pids))
            scene.injected()
            if end == "os._exit":
                program.process.stdin.close()
            else:
                os.kill(program.pid, getattr(signal, end))
            program.process.wait()
            _outlived(scene, end, lambda: {pid for pid in pids if _alive(pid)})
    finally:
        for _, program in programs:
            program.__exit__()


def parent_ends_while_it_starts(scene):
    """The parent is killed in the moment in which it has so many processes, helpers included, and
    starts more."""
    for turn in range(scene.count(3, 99)):
        wanted = turn % 3 + 1
        with Program(scene, "starting_parent", start_new_session=True) as program:
            program.read()
            settled(lambda: len(session_of(program.pid)) >= wanted, 5)
            os.kill(program.pid, signal.SIGKILL)
            scene.injected()
            program.process.wait()
            left = _outlived(
                scene,
                "killed when there were %d processes" % wanted,
                lambda: session_of(program.pid),
            )
            for pid in left:
                os.kill(pid, signal.SIGKILL)


def _outlived(scene, end, find):
    """Enter which processes are alive when the time is over; return their pids."""
    ended = monotonic()
    left, busy = outliving(find, OUTLIVE, scene.patience)
    scene.check(
        not left,
        "%s: %d process(es) alive %.1f s later, %.1f s of which the cores were busy: %s"
        % (end, len(left), monotonic() - ended, busy, ", ".join(map(command, sorted(left)))),
    )
    return left


def _alive(pid):
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


# -- 28 ------------------------------------------------------------------------------------------


def _use_in_child(scene, pipe):
    """In a forked child: what the parent had is not there, and everything works. The exit status
    says what does not."""
    status = 1
    try:
        stats = scene.native.stats()
        if stats.submitted or stats.waiting or stats.active:
            status = 2
        else:
            side, journal = scene.side, scene.journal + ".child"
            natives = [side.submit(kind, work.co_noted if kind == "coroutine" else work.noted,
                                   (journal, "c%d" % number, work.echo, number),
                                   {"lane": kind} if number % 2 else {})
                       for kind in side.kinds for number in range(5)]
            status = (
                3
                if [native.value(20) for native in natives] != list(range(5)) * len(side.kinds)
                else 4
            )
            scene.native.stop()
            status = 0 if status == 4 else status
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os.write(pipe, b".")
        os._exit(status)


def _fork(scene):
    """Fork, and return the pid of a child that uses the supervisor, and the end of a pipe that says
    when it is done."""
    import faulthandler

    # in the child a watchdog cannot be had: the thread of the parent's is waited for
    faulthandler.enable()
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        _use_in_child(scene, writer)
    os.close(writer)
    return pid, reader


def _forked(scene, child, which):
    """Wait for a forked child, and judge it."""
    import select

    pid, reader = child
    try:
        if not select.select([reader], [], [], scene.patience)[0]:
            os.kill(pid, signal.SIGABRT)        # it says where it hangs
            scene.check(False, "the child forked %s hangs" % which)
        status = os.waitpid(pid, 0)[1]
        scene.check(
            not status, "the child forked %s ended with status %s" % (which, status >> 8 or -status)
        )
    finally:
        os.close(reader)


def fork_with_busy_pools(scene):
    """The application forks, in its main thread and in a task, while tasks run and wait everywhere.
    """
    scene.open(size=2, threads=2)
    scene.succeeded(*scene.good(1, "coroutine"))
    gates = [scene.occupy(2)[0], scene.occupy(1, kind="thread")[0]]
    waiting = scene.good(20) + scene.good(5, "coroutine")
    scene.injected()
    _forked(scene, _fork(scene), "in the main thread")
    in_task = scene.submit(_fork, scene, kind="thread")
    scene.injected()
    scene.wait(in_task)
    if in_task.outcome is not None and scene.check(
        in_task.outcome[0] == "succeeded", "forking in a task: %s" % (in_task.outcome,)
    ):
        _forked(scene, in_task.outcome[1], "in a task")
    scene.submit(task_functions.fork_and_leave, expected=(0,))
    for gate in gates:
        gate.open()
    scene.succeeded(*waiting)


def fork_in_a_storm(scene):
    """The application forks again and again, whatever its other threads hold at that moment."""
    scene.open(size=2, threads=4)
    for kind in ("thread", "process", "coroutine"):
        scene.native.lane(kind, limit=1)
        # whatever is imported on first use is: a fork copies locks of imports
        scene.wait(*scene.good(1, kind))
    over = threading.Event()

    def submit(kind):
        while not over.is_set():
            handles = (
                scene.good(3, kind)
                + scene.good(2, kind, lane=kind)
                + [scene.submit(work.echo, kind=kind, delay=0.001, expected=(None,))]
            )
            handles[-1].native.wait(scene.patience)

    threads = [threading.Thread(target=submit, args=(kind,), daemon=True)
               for kind in ("thread", "thread", "process", "coroutine")]
    for thread in threads:
        thread.start()
    try:
        for number in range(scene.count(6, 200)):
            scene.injected()
            _forked(scene, _fork(scene), "in a storm")
    finally:
        over.set()
        for thread in threads:
            thread.join(scene.patience)
            scene.check(not thread.is_alive(), "a submitting thread hangs")


def forked_programs(scene):
    """A program forks by hand, or with multiprocessing; both sides use the supervisor and end as
    programs end."""
    for way in ("os.fork", "multiprocessing"):
        with Program(scene, "forking", way) as program:
            scene.injected()
            lines = {}
            for line in program.wait():
                lines[line.split()[0]] = line.split()[1:]
            said = program.said()[-1500:]
            scene.check(
                program.status == 0,
                "%s: the parent ended with status %s: %s" % (way, program.status, said),
            )
            scene.check(lines.get("status") == ["0"], "%s: the child ended with status %s: %s" % (
                way, lines.get("status"), said))
            scene.check(
                lines.get("fresh") == ["0", "0", "0"],
                "%s: in the child there were tasks: %s" % (way, lines.get("fresh")),
            )
            for who, count in (("forked", 45), ("parent", 22)):
                scene.check(
                    lines.get(who) == ["succeeded"] * count,
                    "%s: tasks of the %s: %s, %s" % (way, who, lines.get(who), said),
                )
            ran = program.ran()
            scene.check(set(ran.values()) <= {1}, "%s: tasks ran more than once: %s" % (
                way, [token for token in ran if ran[token] > 1]))


# -- 33 ------------------------------------------------------------------------------------------


def submitted_at_exit(scene):
    """A program submits from atexit, from finalizers and from other threads until it is gone: what
    is refused does not run, what is accepted does, and the program ends as it would have."""
    programs = [
        (used, Program(scene, "leaving", used))
        for used in ("used", "unused", "early", "stopped", "raises")
    ]
    try:
        for used, program in programs:
            lines = program.wait()
            said = program.said()
            wanted = 1 if used == "raises" else 0
            scene.check(
                program.status == wanted,
                "%s: exit status %s: %s" % (used, program.status, said[-1500:]),
            )
            scene.check(
                "Traceback" not in said and "Exception ignored" not in said and "Fatal" not in said,
                "%s: it wrote %s" % (used, said[-1500:]),
            )
            ran = program.ran()
            outcomes = dict(
                line.split(" ", 1) for line in lines if line.split(" ", 1)[0] != "begun"
            )
            for token, outcome in outcomes.items():
                scene.injected()
                if outcome == "accepted":
                    scene.check(
                        ran[token] == 1,
                        "%s: %s was accepted and ran %d times" % (used, token, ran[token]),
                    )
                else:
                    scene.check(not ran[token], "%s: %s was %s, and ran" % (used, token, outcome))
            scene.check(
                any(token.startswith("atexit") for token in outcomes),
                "%s: nothing was submitted" % used,
            )
    finally:
        for _, program in programs:
            program.__exit__()


def finalizers_of_the_collector(scene):
    """Finalizers that submit, run by the collector wherever it comes in, in whatever thread."""
    import gc

    kinds = ("thread", "process", "coroutine")
    scene.open(size=2, threads=3)
    for kind in kinds:
        scene.wait(*scene.good(1, kind))
    finalizers = _Finalizers(scene, kinds, scene.count(300, 20000))
    before = gc.get_threshold()
    try:
        while finalizers.left:
            gc.disable()
            for _ in range(20):
                finalizers.make()
            gc.set_threshold(1)
            gc.enable()
            handles = [
                handle
                for kind in kinds
                for handle in scene.good(3, kind) + scene.good(1, kind, retries=1)
            ]
            scene.native.stats()
            handles[0].native.cancel()
            handles[0].expected = None
            scene.wait(*handles)
    finally:
        gc.enable()
        gc.set_threshold(*before)
        gc.collect()
    scene.injected(finalizers.called)
    scene.check(finalizers.called > 0, "no finalizer was called")
    for text in finalizers.wrong[:3]:
        scene.check(False, text)


def finalizers_everywhere(scene):
    """The same at lines of the package drawn by lot, in all threads: the collector may come in at
    any of them."""
    import sys

    import atasker_like

    kinds = ("thread", "process", "coroutine")
    package = os.path.dirname(atasker_like.__file__) + os.sep
    finalizers = _Finalizers(scene, kinds, scene.count(300, 10000))
    inside = threading.local()
    mine = os.getpid()

    def call(frame, event, argument):
        # forked by a thread that is looked at: leave the pool process alone
        if os.getpid() != mine:
            sys.settrace(None)
            return None
        return line if frame.f_code.co_filename.startswith(package) else None

    def line(frame, event, argument):
        if event == "line" and not getattr(inside, "now", False) and os.getpid() == mine \
                and not scene.random.randrange(40):
            inside.now = True
            try:
                finalizers.make()()
            finally:
                inside.now = False
        return line

    scene.open(size=2, threads=3)       # not by a finalizer, while another one opens it
    threading.settrace(call)
    try:
        def use():
            sys.settrace(call)
            try:
                while finalizers.left:
                    for kind in kinds:
                        scene.wait(*scene.good(3, kind), *scene.good(1, kind, timeout=1000),
                                   scene.submit(work.echo, kind=kind, delay=0.001))
                    scene.native.get_info()
            finally:
                sys.settrace(None)

        if not within(scene.patience * scene.count(1, 10), use):
            scene.give_up("%d finalizers were called, then something hung" % finalizers.called)
    finally:
        threading.settrace(None)
    scene.injected(finalizers.called)
    for text in finalizers.wrong[:3]:
        scene.check(False, text)


class _Finalizers:
    """Makes objects in cycles, each of which submits a task when it is finalized; so many in all.
    """

    def __init__(self, scene, kinds, count):
        from .fixtures import enter

        self._scene, self._kinds, self._enter = scene, kinds, enter
        self._bound = None
        self.left = count
        self.called = 0
        self.wrong = []

    def make(self):
        """Make one. It is garbage from the beginning, and can be called instead."""
        if self.left <= 0:
            return lambda: None
        self.left -= 1
        finalized = _Finalized(self._submit)
        finalized.itself = finalized
        return finalized.__del__

    def _submit(self):
        from .fixtures import bind

        if self._bound is None:
            self._bound = {kind: bind(self._scene, kind) for kind in self._kinds}
        self.called += 1
        kind = self._kinds[self.called % len(self._kinds)]
        handle = self._enter(self._scene, kind, expected=(self.called,))
        value = handle.expected[0]
        try:
            handle.native = self._bound[kind](self._scene.journal, handle.token, work.echo, value)
        except BaseException as error:
            handle.refused = error
            self.wrong.append("in a finalizer: %s: %s" % (type(error).__name__, error))


class _Finalized:
    def __init__(self, call):
        self._call = call

    def __del__(self):
        call, self._call = self._call, None
        if call is not None:
            call()
