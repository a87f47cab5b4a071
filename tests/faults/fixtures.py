"""What scenarios of several themes need: attempts judged one by one, starts that are refused, the
log, programs."""
import logging
import os
import signal
import subprocess
import sys
import threading
import traceback
from contextlib import contextmanager, suppress
from itertools import count
from time import monotonic

from ..support.interruptions import collector_off, sees_no_signal
from . import work
from .implementations import SIDES
from .oracle import AFTERWARDS, Oracle
from .scene import Abandoned, Scene

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

_attempts = count(1)


# -- attempts ------------------------------------------------------------------------------------


@contextmanager
def attempt(scene, title, kinds=("thread",), patience=5.0):
    """One of many tries of the same thing: gives a Scene of its own, whose pool the caller opens,
    and judges A to D and F when the block ends. What does not hold is entered in the outer scene,
    under ``inner.title``.

    A submission that an interrupt has cut off counts as refused. The pool may have noted it all the
    same, as one that was cancelled: it must add up, nothing more.

    :param kinds: what is submitted by the hundred afterwards.
    """
    number = next(_attempts)
    folder = os.path.join(scene.folder, "attempt%d" % number)
    os.mkdir(folder)
    oracle = Oracle(os.path.join(folder, "journal"))
    inner = Scene(
        type(scene.side)(scene.method),
        oracle,
        folder,
        scene.method,
        scene.slow,
        scene.seed,
        min(patience, scene.patience),
    )
    inner.random, inner.title = scene.random, title
    try:
        try:
            yield inner
        except Abandoned:
            pass
        except Exception as error:
            traceback.print_exc()
            oracle.violate("X", "the scenario raised %s: %s" % (type(error).__name__, error))
        inner.release()
        if inner.opened:
            _judge(inner, kinds)
    finally:
        inner.close()
        oracle.judge_journal()
        outer = scene.oracle
        outer.injected += oracle.injected
        outer.hung += oracle.hung
        outer.lost.update("%d-%s" % (number, token) for token in oracle.lost)
        outer.violations += [(letter, "%s: %s" % (inner.title, text), handle)
                             for letter, text, handle in oracle.violations]
        sys.stderr.writelines("%s: %s\n" % (inner.title, line) for line in oracle.summary())


def _judge(inner, kinds):
    oracle = inner.oracle
    oracle.judge_tasks(oracle.handles, inner.patience)
    if oracle.hung:
        inner.patience = min(1.0, inner.patience)       # what follows hangs as well, most likely
    try:
        started = within(inner.patience, inner.side.prepare_afterwards)
    except Exception as error:
        oracle.violate("D", "it cannot be started anew: %s: %s" % (type(error).__name__, error))
        return
    if not started:
        oracle.violate("D", "starting anew did not return")
        return
    for kind in kinds:
        handles = []
        if not within(
            inner.patience, lambda kind=kind: handles.extend(inner.good(AFTERWARDS, kind))
        ):
            oracle.violate("D", "submitting a %s task did not return: a lock is held" % kind)
            return
        oracle.judge_tasks(handles, inner.patience, "D")
    interrupted = sum(
        1 for handle in oracle.handles if isinstance(handle.refused, KeyboardInterrupt)
    )
    oracle.judge_counters(lambda kind: _without(interrupted, inner, kind), inner.patience)
    if not within(inner.patience, inner.side.close):
        oracle.violate("A", "stopping did not return")
    oracle.judge_again()


def _without(interrupted, inner, kind):
    """The counters of one kind, without interrupted submissions that were noted as cancelled ones.
    """
    found = dict(inner.side.counters(kind))
    accepted = sum(
        1 for handle in inner.oracle.handles if handle.kind == kind and handle.refused is None
    )
    extra = min(max(0, found["submitted"] - accepted), interrupted, found["cancelled"])
    found["submitted"] -= extra
    found["cancelled"] -= extra
    return found


def within(seconds, call, *args):
    """Make a call in a thread of its own; return True if it returns in time. What it raises
    is raised here."""
    raised = []

    def run():
        try:
            call(*args)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if raised:
        raise raised[0]
    return not thread.is_alive()


def enter(scene, kind, name="echo", expected=None, at_most=1):
    """Make the handle of a submission that the scenario makes by itself; its token is for the
    journal."""
    handle = scene.adopt(None, kind, expected)
    handle.name = name
    handle.at_most = at_most
    return handle


def conclude(handle, state, value=None):
    """Enter how a task has ended that the scenario does not have, or has let go."""
    handle.native, handle.outcome, handle._side = None, (state, value), _Nobody(state)


class _Nobody:
    """Stands for a side, and knows how a task has ended."""

    def __init__(self, state):
        self._state = state

    def outcome(self, native, timeout):
        return self._state, None


def bind(scene, kind="thread", **options):
    """The function whose calls are ``(journal, token, function, *args)``, as a decorated one; of
    this library only."""
    if isinstance(options.get("lane"), str):
        scene.native.lane(options["lane"])
    from atasker_like import TT_COROUTINE, TT_MP, TT_THREAD, background_task

    types = {"thread": TT_THREAD, "process": TT_MP, "coroutine": TT_COROUTINE}
    return background_task(work.co_noted if kind == "coroutine" else work.noted, tt=types[kind],
                           supervisor=scene.native, **options)


# -- lines of the package ------------------------------------------------------------------------


class AtLine:
    """Does something at the n-th line of the package that the calling thread runs in the block: in
    ``where``, then.

    A line that leaves a ``with`` block comes again, under the number of its first line: no signal
    is seen there before the lock is free. For those that raise it does not count.

    :param action: called at the line. A KeyboardInterrupt is raised there when it is None.
    :param standstill: called by another thread, once, when the calling one seems to wait for
    something. It is for the
        lines behind a wait to be reached; what is judged does not depend on it.
    """

    def __init__(self, number, action=None, standstill=None):
        import atasker_like

        self._package = os.path.dirname(atasker_like.__file__) + os.sep
        self._number = number
        self._action = action
        self._standstill = standstill
        self._seen = 0
        self._blocks = set()
        self._moved = monotonic()
        self._left = threading.Event()
        self._collector_off = collector_off()
        self.where = None

    def __enter__(self):
        self._collector_off.__enter__()
        if self._standstill is not None:
            self._watcher = threading.Thread(target=self._watch, daemon=True)
            self._watcher.start()
        self._moved = monotonic()
        sys.settrace(self._call)
        return self

    def __exit__(self, *error):
        sys.settrace(None)
        self._collector_off.__exit__(None, None, None)
        self._left.set()
        if self._standstill is not None:
            self._watcher.join()
        self._blocks.clear()

    def _watch(self):
        while not self._left.wait(0.001):
            if monotonic() - self._moved > 0.004:
                break
        self._standstill()

    def _call(self, frame, event, argument):
        return self._line if frame.f_code.co_filename.startswith(self._package) else None

    def _line(self, frame, event, argument):
        if event != "line":
            return self._line
        self._moved = monotonic()
        if self._action is None and (sees_no_signal(frame) or self._is_left(frame)):
            return self._line
        self._seen += 1
        if self._seen == self._number:
            self.where = "%s, line %d of %s" % (
                os.path.basename(frame.f_code.co_filename),
                frame.f_lineno,
                frame.f_code.co_name,
            )
            # The last thing that a case has written is where it hangs.
            sys.stderr.write("%s\n" % self.where)
            if self._action is None:
                raise KeyboardInterrupt
            self._action()
        return self._line

    def _is_left(self, frame):
        import linecache

        if (
            not linecache.getline(frame.f_code.co_filename, frame.f_lineno)
            .strip()
            .startswith("with ")
        ):
            return False
        if (frame, frame.f_lineno) in self._blocks:
            return True
        self._blocks.add((frame, frame.f_lineno))
        return False


# -- what the system refuses ---------------------------------------------------------------------


class Refusing:
    """A method that raises as long as the block goes on, and counts how often it was called, and
    when."""

    def __init__(self, owner, name, make_error, refuses=lambda *args: True):
        self._owner, self._name, self._make_error, self._refuses = owner, name, make_error, refuses
        self._original = getattr(owner, name)
        self._tried = threading.Condition()
        self.times = []

    def __enter__(self):
        refusing = self

        def refuse(*args, **kwargs):
            if not refusing._refuses(*args):
                return refusing._original(*args, **kwargs)
            with refusing._tried:
                refusing.times.append(monotonic())
                refusing._tried.notify_all()
            raise refusing._make_error()

        setattr(self._owner, self._name, refuse)
        return self

    def __exit__(self, *error):
        setattr(self._owner, self._name, self._original)

    @property
    def tries(self):
        return len(self.times)

    def wait(self, tries, patience):
        """Wait until it was called so often; return True if it was."""
        with self._tried:
            return self._tried.wait_for(lambda: len(self.times) >= tries, patience)

    def pauses(self):
        """The seconds between the calls."""
        return [after - before for before, after in zip(self.times, self.times[1:])]


def no_threads():
    """No thread can be started in the block: the system has none to give."""
    return Refusing(threading.Thread, "start", lambda: RuntimeError("can't start new thread"))


def no_processes(refuses=lambda *args: True):
    """No process can be started in the block."""
    from errno import EAGAIN
    from multiprocessing.process import BaseProcess

    return Refusing(
        BaseProcess, "start", lambda: BlockingIOError(EAGAIN, os.strerror(EAGAIN)), refuses
    )


# -- what is said --------------------------------------------------------------------------------


class Log(logging.Handler):
    """Keeps what the package logs in the block; ``said`` are the messages at WARNING and above."""

    def __init__(self, name="atasker_like", level=logging.WARNING):
        super().__init__(level)
        self._logger = logging.getLogger(name)
        self._records = []

    def __enter__(self):
        self._logger.addHandler(self)
        return self

    def __exit__(self, *error):
        self._logger.removeHandler(self)

    def emit(self, record):
        self._records.append(record)

    def said(self, word="", level=logging.WARNING):
        return [record.getMessage() for record in list(self._records)
                if record.levelno >= level and word in record.getMessage()]


class Uncaught:
    """Keeps the errors that reach the top of a thread, or a finalizer, in the block."""

    def __enter__(self):
        self.errors = []
        self._hooks = threading.excepthook, sys.unraisablehook
        threading.excepthook = sys.unraisablehook = self._keep
        return self

    def __exit__(self, *error):
        threading.excepthook, sys.unraisablehook = self._hooks

    def _keep(self, arguments):
        self.errors.append("%s: %s" % (arguments.exc_type.__name__, arguments.exc_value))


# -- programs ------------------------------------------------------------------------------------


class Program:
    """A program of ``programs.py`` in a process of its own, that belongs to the session of the
    case."""

    def __init__(self, scene, name, *arguments, **options):
        self._scene = scene
        self._folder = os.path.join(scene.folder, "program%d" % next(_attempts))
        os.mkdir(self._folder)
        self._errors = open(os.path.join(self._folder, "stderr"), "w+")
        side = next(name for name in SIDES if SIDES[name] is type(scene.side))
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-X",
                "faulthandler",
                "-m",
                "tests.faults.programs",
                name,
                side,
                scene.method,
                self._folder,
                *map(str, arguments),
            ],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            universal_newlines=True,
            **options,
        )
        self.pid = self.process.pid
        self.status = None

    @property
    def journal(self):
        return os.path.join(self._folder, "journal")

    def ran(self):
        """How often each token is in its journal."""
        return Oracle(self.journal).ran()

    def read(self):
        """Wait for its next line; give up when it ends without one."""
        lines = []
        if (
            not within(self._scene.patience, lambda: lines.append(self.process.stdout.readline()))
            or not lines[0]
        ):
            self.end(signal.SIGABRT)
            self._scene.give_up("the program said nothing more: %s" % self.said()[-1500:])
        return lines[0].split()

    def wait(self):
        """Wait for its end; return the lines that are left. ``status`` is its exit status then."""
        left = []
        if not within(
            self._scene.patience, lambda: left.extend(self.process.communicate()[0].splitlines())
        ):
            self.end(signal.SIGABRT)        # it says where it hangs
            self._scene.give_up("the program did not end: %s" % self.said()[-1500:])
        self.status = self.process.returncode
        return left

    def said(self):
        """What it has written to stderr."""
        self._errors.seek(0)
        return self._errors.read()

    def text(self, name):
        """What is in a file of its folder."""
        with open(os.path.join(self._folder, name)) as file:
            return file.read()

    def end(self, number=signal.SIGKILL):
        """End it, and wait for that."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.end()
        for file in (self.process.stdin, self.process.stdout, self._errors):
            with suppress(OSError):
                file.close()


def family(pid):
    """The processes that descend from one, now."""
    children = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError):
                with open("/proc/%s/stat" % name) as file:
                    children.setdefault(int(file.read().rpartition(")")[2].split()[1]), []).append(
                        int(name)
                    )
    found, waiting = set(), [pid]
    while waiting:
        found.update(children.get(waiting[-1], ()))
        waiting += children.get(waiting.pop(), ())
    return found


def rounds(scene, times):
    """Count rounds, up to a number; the case is given up when something did not hold in one of
    them."""
    for number in range(times):
        yield number
        if scene.oracle.violations:
            return
