"""What the tests of the laws force races with: locks that lie, clocks that obey, and the oracle."""
import ast
import gc
import os
import signal
import subprocess
import sys
import threading
from functools import lru_cache
from time import monotonic

import atasker_like

#: Seconds that anything is waited for at most; no wait ends by time in a run that passes.
PATIENCE = 10


#: Whether this interpreter has no lock of its own. It frees what another thread has let go when the thread that made
#: it next runs, or when the collector does: the last reference is gone before, and nothing shows it.
FREE_THREADED = not getattr(sys, "_is_gil_enabled", lambda: True)()


def merged(condition, seconds=PATIENCE):
    """On a free-threaded build: let the collector free what has no reference, until a condition holds."""
    deadline = monotonic() + seconds
    while not condition() and monotonic() < deadline:
        gc.collect()


class Hold:
    """A place where a thread stops until it is told to go on."""

    def __init__(self):
        self._reached = threading.Event()
        self._go = threading.Event()

    def __call__(self):
        self._reached.set()
        assert self._go.wait(2 * PATIENCE), "nobody let the held thread go on"

    def reached(self):
        """Wait until the thread has come here."""
        assert self._reached.wait(PATIENCE), "the thread did not come to the place where it is to be held"

    def go(self):
        """Let it go on."""
        self._go.set()


class LyingLock:
    """A lock that stops chosen threads just before they take it, or just after they have let it go.

    It knows its owner, and can have something looked at each time that it is about to be free.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._before = {}
        self._after = {}
        self.owner = None
        self.look = None

    def hold_before(self, thread=None):
        """Stop a thread, the calling one unless told, once, before it takes the lock."""
        return self._before.setdefault(_ident(thread), Hold())

    def hold_after(self, thread=None):
        """Stop a thread once after it has let the lock go."""
        return self._after.setdefault(_ident(thread), Hold())

    def acquire(self, blocking=True, timeout=-1):
        hold = self._before.pop(threading.get_ident(), None) if self._before else None
        if hold is not None:
            hold()
        taken = self._lock.acquire(blocking, timeout)
        if taken:
            self.owner = threading.get_ident()
        return taken

    def release(self):
        if self.look is not None:
            self.look()
        self.owner = None
        self._lock.release()
        hold = self._after.pop(threading.get_ident(), None) if self._after else None
        if hold is not None:
            hold()

    def locked(self):
        return self._lock.locked()

    def held_here(self):
        """Say whether the calling thread holds it."""
        return self.owner == threading.get_ident()

    _is_owned = held_here       # as an RLock says it

    def __enter__(self):
        self.acquire()
        return self

    def __exit__(self, *error):
        self.release()


def _ident(thread):
    return threading.get_ident() if thread is None else thread.ident


class Clock:
    """The monotonic clock, which can be put forward."""

    def __init__(self):
        self._ahead = 0.0

    def __call__(self):
        return monotonic() + self._ahead

    def forward(self, timer, seconds=10000.0):
        """Put the clock forward and have the timer look at it."""
        self._ahead += seconds
        timer.call_at(0.0, lambda: None)


def inject(supervisor):
    """Give a supervisor that has not been started lying locks and an obedient clock; return it, for chaining."""
    supervisor._supervisor_parts.pools.timer.clock = supervisor.clock = Clock()
    for pool in pools(supervisor):
        pool.lock = LyingLock()
    return supervisor


def pools(supervisor):
    """The pools of a supervisor, the process pool if there is one."""
    return list(supervisor._supervisor_parts.pools.by_kind.values())


def later(function, *args):
    """Run a call in a thread of its own; return the thread, whose ``outcome`` is the value or the error."""
    def run():
        begun.wait()
        try:
            thread.outcome = function(*args)
        except BaseException as error:
            thread.outcome = error

    begun = threading.Event()
    thread = threading.Thread(target=run, daemon=True)
    thread.begin = begun.set
    thread.start()
    return thread


def started(function, *args):
    """The same, begun at once."""
    thread = later(function, *args)
    thread.begin()
    return thread


def join(thread):
    """Wait for a thread and return its outcome."""
    thread.join(PATIENCE)
    assert not thread.is_alive(), "the thread did not end"
    return thread.outcome


class Tally:
    """Counts how often each task was told to have ended."""

    def __init__(self):
        self._lock = threading.Lock()   # guards told
        self.told = {}

    def watch(self, task):
        """Count the ends of a task; return the task."""
        task.add_done_callback(self._count)
        return task

    def _count(self, task):
        with self._lock:
            self.told[id(task)] = self.told.get(id(task), 0) + 1

    def settle(self, tasks):
        """Wait until every task was told of; fail when one was told of twice, or never."""
        deadline = monotonic() + PATIENCE
        never = threading.Event()
        while len(self.told) < len(tasks) and monotonic() < deadline:
            never.wait(0.001)
        counts = [self.told.get(id(task), 0) for task in tasks]
        assert set(counts) <= {1}, "told %r times" % sorted(set(counts))


def check_oracle(supervisor, tasks, drained=True):
    """Every task that was accepted has one final state, the counters say so, and no place is lost."""
    deadline = monotonic() + PATIENCE
    for pool in pools(supervisor):
        if drained:
            assert pool.drain(deadline), "alive: %r" % list(pool.registry.live.values())[:5]
        with pool.lock:
            registry, admission = pool.registry, pool.admission
            own = [task for task in tasks if task._spec.pool is pool]
            states = {"succeeded": 0, "failed": 0, "cancelled": 0}
            for task in own:
                assert task.done(), "%r has not ended" % task
                states[task.state] += 1
            assert not registry.live and not registry.named
            assert admission.waiting == 0
            assert (registry.last, registry.succeeded, registry.failed, registry.cancelled) == (
                len(own), states["succeeded"], states["failed"], states["cancelled"])
    settle(supervisor)


def settle(supervisor):
    """Wait until the places that ended tasks occupied are free; fail when one never is."""
    deadline = monotonic() + PATIENCE
    never = threading.Event()
    for pool in pools(supervisor):
        while monotonic() < deadline:
            with pool.lock:
                active = pool.admission.active
            if not active:
                break
            never.wait(0.001)       # a thread frees its place a moment after it has told of its task
        assert active == 0, "%s: %d places are lost" % (pool.name, active)


def check_accounts(pool):
    """Look at a pool whose lock is held: each live task is in exactly one place, and the places add up."""
    admission = pool.admission
    standing = {}
    for level in admission._levels.values():
        for task in level:
            if task._status == 0:
                standing[id(task)] = standing.get(id(task), 0) + 1
    assert admission.waiting == sum(standing.values()), (admission.waiting, len(standing))
    inside = {}
    if hasattr(pool, "_threads"):
        holders = [member for member in pool._threads if member.task is not None and not member.abandoned]
        for member in holders:
            inside[id(member.task)] = inside.get(id(member.task), 0) + 1
        occupied = sum(1 for member in holders if not member.lent)
    else:
        for process in pool._processes:
            for task in process.inflight:
                inside[id(task)] = inside.get(id(task), 0) + 1
        occupied = sum(1 for process in pool._processes if process.inflight)
    assert admission.active == occupied, (admission.active, occupied)
    for task in pool.registry.live.values():
        in_queue, in_pool = standing.get(id(task), 0), inside.get(id(task), 0)
        waits = task._status == 2 and task._extra.timer is not None
        assert in_queue + in_pool + waits == 1 or (
            task._status == 100 and not hasattr(pool, "_threads") and not in_queue), (
            "%r: %d in the queue, %d in the pool, timer %r" % (task, in_queue, in_pool, waits))
        if task._status == 0 and hasattr(pool, "_threads"):
            assert in_queue == 1, "%r does not stand in the queue" % task
        if task._status == 2:
            assert waits, "%r is delayed and no timer knows" % task


def pool_thread(supervisor):
    """The one thread of a pool of one, after a first task."""
    supervisor.put_task(len, ((),)).value(PATIENCE)
    (member,) = supervisor._supervisor_parts.pools.threads._threads
    return member.thread


def warm(bound, *args):
    """Have a function of the process pool measured as very short, so that its tasks are sent ahead."""
    bound(*args).value(PATIENCE)
    bound._spec.cost = 1e-6


def stop_process(supervisor, pid):
    """Freeze a pool process."""
    os.kill(pid, signal.SIGSTOP)
    with open("/proc/%d/stat" % pid) as file:       # the signal is delivered when the state says so
        deadline = monotonic() + PATIENCE
        never = threading.Event()
        while monotonic() < deadline:
            file.seek(0)
            if file.read().rsplit(")", 1)[1].split()[0] in "Tt":
                return
            never.wait(0.001)
    raise AssertionError("process %d does not stop" % pid)


def gone(pid):
    """Say whether a process has ended, waited for or not."""
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rsplit(")", 1)[1].split()[0] in "ZX"
    except OSError:
        return True


def wait_for(condition, what, patience=PATIENCE):
    """Wait until something is so that nobody tells of: the state of another process, a file."""
    deadline = monotonic() + patience
    never = threading.Event()
    while not condition():
        assert monotonic() < deadline, "not in %s s: %s" % (patience, what)
        never.wait(0.002)


def lines(path):
    """The lines of a file, none when it is not there."""
    try:
        with open(path) as file:
            return file.read().split()
    except OSError:
        return []


@lru_cache(maxsize=None)
def sources():
    """The modules of the package: path, text and syntax tree of each."""
    root = os.path.dirname(atasker_like.__file__)
    found = []
    for folder, _, names in sorted(os.walk(root)):
        for name in sorted(names):
            if name.endswith(".py"):
                with open(os.path.join(folder, name), encoding="utf-8") as file:
                    text = file.read()
                found.append((os.path.relpath(os.path.join(folder, name), root), text, ast.parse(text)))
    return found


def without_late(text):
    """What was logged or written, without warnings of tasks that started late: a busy machine has them everywhere."""
    return "".join(line for line in text.splitlines(True) if " s after it was queued; " not in line)


def run_script(text, *arguments, **options):
    """Run a script in an interpreter of its own that finds this package and these tests; return the finished process."""
    return finish(start_script(text, *arguments, **options))


def start_script(text, *arguments, **options):
    """Start such a script; its stdout is a pipe. It ends itself, with the stacks of all threads, when it hangs."""
    root = os.path.dirname(os.path.dirname(atasker_like.__file__))
    paths = [root, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(paths))
    armed = "import faulthandler; faulthandler.dump_traceback_later(%d, exit=True)\n" % (2 * PATIENCE)
    return subprocess.Popen([sys.executable, "-c", armed + text, *map(str, arguments)], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, universal_newlines=True, env=environment, **options)


def finish(process):
    """Wait for a script; return what it printed, or fail with what it said."""
    try:
        out, err = process.communicate(timeout=3 * PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    assert process.returncode == 0, (process.returncode, out[-2000:], err[-4000:])
    return out
