"""The oracle: judges, after a fault, the seven things that must hold whatever happened.

A. Every accepted task reached exactly one final state, and its waiters were told.
B. Where submitting raised, the function never ran.
C. The counters add up to what was submitted.
D. A hundred tasks submitted afterwards succeed.
E. Threads, children, open files and shared memory are back to what they were.
F. No effect happened twice.
X. What the row of the table expects of this fault in particular.

It believes only what it can see from outside: the handles that submitting returned, and the
journal, a file to which every task appends its token when it runs.
"""
import faulthandler
import gc
import os
import sys
import threading
from collections import Counter
from time import monotonic, sleep

#: How many tasks must succeed after the fault, of each kind.
AFTERWARDS = 100
#: The final states, in the words of a TaskResult.
SUCCEEDED, FAILED, CANCELLED = "succeeded", "failed", "cancelled"


class Handle:
    """One submission: what was asked, what came back, and what the scenario expects of it."""

    def __init__(self, token, name, kind, side, expected, at_most):
        self.token = token              # its word in the journal
        self.name = name
        self.kind = kind                # process, thread or coroutine
        self.native = None              # what the side's submit() returned
        self.refused = None             # what it raised instead
        self.outcome = None             # (state, value or error), as it was first seen
        self.judged = False
        self.told = 0                   # how often its callback was called
        self.watched = False            # whether it has one
        self.expected = expected        # the value it must give, in a tuple; None: any end will do
        # how often it may run; more than once for those that are retried on purpose
        self.at_most = at_most
        self._side = side

    @property
    def task(self):
        """The task of this library that the submission made."""
        return self._side.task_of(self.native)

    def wait(self, timeout):
        """Wait for the end; return (state, value or error), or None if it has not come in time."""
        if self.outcome is None and self.refused is None:
            self.outcome = self._side.outcome(self.native, timeout)
        return self.outcome

    def __repr__(self):
        return "%s task %s (%s)" % (self.kind, self.token, self.name)


class Oracle:
    """Keeps the accounts of one case, and judges them."""

    def __init__(self, journal):
        self.journal = journal
        self.handles = []
        self.injected = 0
        # tokens: not final in time, or not done though the fault was not theirs
        self.lost = set()
        self.hung = 0               # of these, those that nobody was told about
        self.leaked = []
        self.shared = set()         # paths of shared memory that was seen in use
        self.violations = []

    def violate(self, letter, text, handle=None):
        """Enter that something does not hold."""
        self.violations.append((letter, text, handle))

    def summary(self, most=8):
        """What does not hold, in lines: what is the same of many tasks is said once."""
        grouped = {}
        for letter, text, handle in self.violations:
            grouped.setdefault((letter, text), []).append(handle)
        lines = []
        for (letter, text), handles in sorted(
            grouped.items(), key=lambda item: "XABCDEF".index(item[0][0])
        ):
            who = "" if handles[0] is None else "%r " % handles[0]
            others = "" if len(handles) == 1 else " (and %d more)" % (len(handles) - 1)
            lines.append("%s: %s%s%s" % (letter, who, text, others))
        return (
            lines
            if len(lines) <= most
            else lines[:most] + ["X: ... and %d more lines" % (len(lines) - most)]
        )

    def ran(self):
        """How often each token is in the journal."""
        try:
            with open(self.journal) as file:
                return Counter(line.split()[0] for line in file)
        except FileNotFoundError:
            return Counter()

    def lose(self, handle, letter, text):
        """A task is lost: nobody was told, or it was not done though the fault was not its own."""
        if handle.token not in self.lost:
            self.lost.add(handle.token)
            self.violate(letter, text, handle)

    # -- A ---------------------------------------------------------------------------------------

    def judge_tasks(self, handles, patience, letter="A"):
        """Every accepted task has ended, and as it had to; refusals are for those that may be
        refused."""
        deadline = monotonic() + patience
        for handle in handles:
            if handle.judged:
                continue
            if handle.refused is not None:
                if handle.expected is not None:
                    self.violate(letter, "was refused: " + shorten(handle.refused), handle)
                handle.judged = True
                continue
            outcome = handle.wait(max(0.0, deadline - monotonic()))
            if outcome is None:
                if not self.hung:
                    self._show_why(handle)
                self.hung += handle.token not in self.lost
                self.lose(handle, letter, "has not ended")
            elif handle.expected is not None and outcome != (SUCCEEDED, handle.expected[0]):
                self.lose(handle, letter, "did not give what it had to, but %s: %s" % (
                    outcome[0], shorten(outcome[1])))
            handle.judged = True

    @staticmethod
    def _show_why(handle):
        """Print the tasks, the pool and the stacks of all threads: few hangs come a second time."""
        print("%r has not ended: %r; %s" % (handle, handle.native, handle._side.state()),
              file=sys.stderr)
        handle._side.show_tasks(sys.stderr)
        sys.stderr.flush()
        faulthandler.dump_traceback(all_threads=True)

    def judge_again(self):
        """What was final has not changed since, and who waited was told once."""
        for handle in self.handles:
            if handle.outcome is None:
                continue
            now = handle._side.outcome(handle.native, 0)
            if now is None or now[0] != handle.outcome[0]:
                self.violate(
                    "A", "was %s, and then %s" % (handle.outcome[0], now and now[0]), handle
                )
            # Callbacks come after the waiters, and one that a signal handler adds may be added by
            # another thread.
            if handle.watched and not settled(lambda: handle.told, 1.0) or handle.told > 1:
                self.violate("A", "had its callback called %d times" % handle.told, handle)

    # -- B, F ------------------------------------------------------------------------------------

    def judge_journal(self):
        """What was refused did not run, what succeeded did, and nothing ran more often than it may.
        """
        ran = self.ran()
        duplicated = 0
        for handle in self.handles:
            times = ran[handle.token]
            if handle.refused is not None and times:
                self.violate("B", "was refused (%s), and ran" % shorten(handle.refused), handle)
            if times > handle.at_most:
                duplicated += times - handle.at_most
                self.violate("F", "ran %d times" % times, handle)
            if (
                handle.outcome is not None
                and handle.outcome[0] == SUCCEEDED
                and not times
                and handle.at_most
            ):
                self.lose(handle, "A", "succeeded, and never ran")
        return duplicated

    # -- C ---------------------------------------------------------------------------------------

    def judge_counters(self, counters, patience):
        """``counters`` gives a mapping for each kind of task, as the side counts; compare it with
        the handles."""
        for kind in sorted({handle.kind for handle in self.handles}):
            mine = [
                handle for handle in self.handles if handle.kind == kind and handle.refused is None
            ]
            states = Counter(handle.outcome[0] for handle in mine if handle.outcome is not None)
            right = dict(
                {state: states[state] for state in (SUCCEEDED, FAILED, CANCELLED)},
                submitted=len(mine),
                waiting=0,
                active=0,
                delayed=0,
                abandoned=0,
            )

            def differences():
                found = counters(kind)
                return ["%s is %s, not %s" % (name, found[name], right[name])
                        for name in sorted(right) if found[name] != right[name]]

            if not settled(lambda: not differences(), patience):
                self.violate("C", "%s tasks: %s" % (kind, ", ".join(differences())))

    # -- E ---------------------------------------------------------------------------------------

    def judge_surroundings(self, before, patience):
        """What the process has around it is what it had before."""
        def leaked():
            self.leaked = before.compare(Surroundings())
            self.leaked += [
                "shared memory " + path for path in sorted(self.shared) if os.path.exists(path)
            ]
            return self.leaked

        if not settled(lambda: not leaked(), min(patience, 1.0)):
            gc.collect()
            settled(lambda: not leaked(), patience)
        if self.leaked:
            self.violate("E", "left behind: " + "; ".join(self.leaked))


def settled(condition, patience):
    """Look until a condition holds, for what the kernel tells nobody; return True if it does."""
    deadline = monotonic() + patience
    pause = 0.001
    while not condition():
        if monotonic() >= deadline:
            return False
        sleep(pause)
        pause = min(0.02, pause * 1.5)
    return True


def outliving(find, seconds, patience):
    """Return the processes of ``find()`` that do not end in time, and how long the cores were busy.

    Time in which a process is ready to run and all cores are busy does not count. Another process
    may wait for that one, so the longest of these times is left out. ``patience`` limits the sum.
    """
    begin = monotonic()
    before = {pid: kept_waiting(pid) for pid in find()}
    busy = dict.fromkeys(before, 0.0)
    left = set(before)

    def over():
        left.clear()
        left.update(find())
        for pid in left:
            busy[pid] = max(busy.get(pid, 0.0), kept_waiting(pid) - before.setdefault(pid, 0.0))
        return not left or monotonic() - begin - max(busy.values()) > seconds

    settled(over, patience)
    return left, max(busy.values(), default=0.0)


def kept_waiting(pid):
    """Return for how many seconds a process has been ready to run and was not run."""
    try:
        with open("/proc/%d/schedstat" % pid) as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, IndexError):       # it has just ended, or the kernel does not count it
        return 0.0


def shorten(value):
    """The repr of a value or an error, in one short line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 200 else text[:195] + "..."


# -- what a process has around it ----------------------------------------------------------------


class Surroundings:
    """Threads, children and open files, now."""

    def __init__(self):
        self.threads = {
            thread
            for thread in threading.enumerate()
            if not isinstance(thread, threading._DummyThread)
        }
        self.children = descendants()
        self.files = open_files()

    def compare(self, now):
        """Say what there is now that was not there then."""
        found = ["thread " + thread.name for thread in now.threads - self.threads]
        found += [
            "process %d (%s)" % (pid, command(pid)) for pid in sorted(now.children - self.children)
        ]
        for kind, count in sorted((now.files - self.files).items()):
            found.append("%d open file(s): %s" % (count, kind))
        return found


def helpers():
    """The processes that the standard library, or a peer, starts once and keeps."""
    import sys

    found = set()
    for module, path in (("multiprocessing.forkserver", "_forkserver._forkserver_pid"),
                         ("multiprocessing.resource_tracker", "_resource_tracker._pid"),
                         ("loky.backend.resource_tracker", "_resource_tracker._pid")):
        value = sys.modules.get(module)
        for name in path.split("."):
            value = getattr(value, name, None)
        if value is not None:
            found.add(value)
    return found


def start_helpers(method):
    """Have those that the standard library keeps, before anything is counted."""
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()
    if method in ("forkserver", "-"):
        from multiprocessing import forkserver

        forkserver.ensure_running()


def session_of(session):
    """The processes of a session that live, and the ended ones that this process has not waited
    for."""
    found = set()
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != session:
            try:
                with open("/proc/%s/stat" % name) as file:
                    state, parent, _, group = file.read().rpartition(")")[2].split()[:4]
            except OSError:         # it has just ended
                continue
            if int(group) == session and (state not in "ZX" or int(parent) == os.getpid()):
                found.add(int(name))
    return found


def descendants():
    """All processes of this case. It leads a session of its own, so that those whose parent has
    ended count too."""
    return session_of(os.getpid()) - helpers()


def command(pid):
    try:
        with open("/proc/%d/cmdline" % pid) as file:
            return file.read().replace("\0", " ").strip()[:100] or "ended, but not waited for"
    except OSError:
        return "just ended"


def open_files():
    """How many of each kind. Not which: a helper that was started anew has new ones, and as many.
    """
    found = Counter()
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink("/proc/self/fd/" + name)
        except OSError:         # the one that listed the directory
            continue
        if not target.endswith("/fd"):
            found[target.partition(":[")[0]] += 1
    return found


def shared_memory():
    """The pieces of shared memory, semaphores included, that the processes of this case use. Names
    do not say whose they are, and other programs have some too."""
    found = set()
    for pid in session_of(os.getpid()) | {os.getpid()}:
        try:
            with open("/proc/%d/maps" % pid) as file:
                found.update(
                    line.split()[-1]
                    for line in file
                    if "/dev/shm/" in line and "(deleted)" not in line
                )
        except OSError:         # it has just ended
            continue
    return found
