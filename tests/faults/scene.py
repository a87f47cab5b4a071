"""The scene: what a scenario has in its hands."""
import os
import random
import signal
from contextlib import suppress
from itertools import count

from . import work
from .oracle import AFTERWARDS, CANCELLED, FAILED, SUCCEEDED, Handle, settled, shorten


class Abandoned(Exception):
    """The scenario cannot go on. It has said why; what was submitted is judged all the same."""


class Scene:
    """One fault, about to be injected.

    ``number``, ``method``, ``slow`` and ``seed`` are those of the case; ``random`` is seeded.
    ``side`` is whose pool it is, ``native`` what that side calls it (a TaskSupervisor, of ours).
    ``folder`` is empty, and the scenario's own. Every wait takes ``patience`` seconds at most.
    """

    def __init__(self, side, oracle, folder, method, slow, seed, patience):
        self.side = side
        self.oracle = oracle
        self.folder = folder
        self.method = method
        self.slow = slow
        self.seed = seed
        self.random = random.Random(seed)
        self.patience = patience
        self._missed = ""       # how the pool was when a census did not come to its end
        # seconds that closing may take, and what is left behind to go
        self.grace = 20.0 if side.strict else 3.0
        # how long to go on, where that is a matter of taste
        self.minutes = 1.0
        self.journal = oracle.journal
        self.size = 2
        self._opened = False
        self._gates = []
        self._frozen = set()
        self._numbers = count(1)

    # -- the pool --------------------------------------------------------------------------------

    def open(self, size=2, **options):
        """Make the pool of processes, and of threads; without this call, the first submission makes
        one of two."""
        self.size = size
        self.side.open(size, **options)
        self._opened = True
        return self

    @property
    def native(self):
        """The side's own object: a TaskSupervisor, a ProcessPoolExecutor..."""
        if not self._opened:
            self.open()
        return self.side.native

    @property
    def opened(self):
        """Whether there is a pool."""
        return self._opened

    @property
    def strict(self):
        """Whether the row may assert what is ours alone: types of errors, their words, what is
        inside."""
        return self.side.strict

    def count(self, quick, slow):
        """A number for the quick form of the row, or the one for its long form."""
        return slow if self.slow else quick

    # -- submissions -----------------------------------------------------------------------------

    def submit(self, function, *args, kind="process", expected=None, at_most=1, **options):
        """Submit a call, with a line in the journal when it runs; return its Handle. What
        submitting raises is kept in ``handle.refused``.

        :param kind: ``process``, ``thread`` or ``coroutine``.
        :param expected: the value that it must give, in a tuple; without it any end will do.
        :param at_most: how often it may run; more than once when it is retried on purpose.
        """
        native = self.native                # opens the pool
        number = next(self._numbers)        # any thread may submit
        token = "t%d" % number
        handle = Handle(
            token, options.get("name", function.__name__), kind, self.side, expected, at_most
        )
        self.oracle.handles.append(handle)
        wrapped = work.co_noted if kind == "coroutine" else work.noted
        try:
            handle.native = self.side.submit(
                kind, wrapped, (self.journal, token, function, *args), options
            )
        except BaseException as error:
            handle.refused = error
            return handle
        if number % 3 == 0 and native is not None:
            def tell():
                handle.told += 1

            handle.watched = self.side.watch(handle.native, tell)
        return handle

    def inject(self, function, *args, **options):
        """Submit a call that is a fault, under its own name, and count it."""
        self.oracle.injected += 1
        if self.strict:
            options.setdefault("name", function.__name__)
        return self.submit(function, *args, **options)

    def injected(self, count=1):
        """Count faults that are not tasks."""
        self.oracle.injected += count

    def adopt(self, native, kind, expected=None):
        """Have a task judged that was submitted without :meth:`submit`; it leaves no line in the
        journal."""
        handle = Handle(
            "t%d" % next(self._numbers), getattr(native, "name", "?"), kind, self.side, expected, 0
        )
        handle.native = native
        self.oracle.handles.append(handle)
        return handle

    def good(self, count, kind="process", **options):
        """Submit tasks that do no harm and must succeed."""
        return [
            self.submit(work.echo, number, kind=kind, expected=(number,), **options)
            for number in range(count)
        ]

    def gate(self):
        """Make a gate, at which tasks wait until it is opened; it is opened at the end in any case.
        """
        self._gates.append(work.Gate(os.path.join(self.folder, "gate%d" % len(self._gates))).make())
        return self._gates[-1]

    def occupy(self, count=None, **options):
        """Fill places, all by default, with tasks that wait; return their gate, and their pids."""
        count = self.size if count is None else count
        gate = self.gate()
        for _ in range(count):
            self.submit(work.enter, gate, expected=(None,), **options)
        return gate, self.arrived(gate, count)

    def arrived(self, gate, count=1):
        """Wait until so many tasks are at a gate; return their pids."""
        pids = gate.wait(count, self.patience)
        if len(pids) < count:
            self.give_up("only %d of %d tasks began" % (len(pids), count))
        return pids

    # -- what is expected ------------------------------------------------------------------------

    def check(self, condition, text, handle=None):
        """Enter a violation of what the row expects, of a task if one is given, unless the
        condition holds."""
        if not condition:
            self.oracle.violate("X", text, handle)
        return bool(condition)

    def give_up(self, text):
        """Enter a violation, and end the scenario."""
        self.oracle.violate("X", text)
        raise Abandoned(text)

    def until(self, condition, what):
        """Look until a condition holds; give up when it does not in time."""
        if not settled(condition, self.patience):
            self.give_up("waited in vain for " + what)

    def wait(self, *handles):
        """Wait for the end of tasks; what has not ended in time is lost."""
        hung = self.oracle.hung
        self.oracle.judge_tasks(handles, self.patience)
        if self.oracle.hung > hung and not self.strict:
            # a peer that hangs is not waited for again and again
            self.patience = max(0.2, self.patience / 4)

    def failed(self, handle, kind=None, *words):
        """The task must fail, with an error of this very class that says these words; return the
        error or None."""
        self.wait(handle)
        if handle.refused is not None:
            self.check(False, "was refused: " + shorten(handle.refused), handle)
        if handle.outcome is None:
            return None
        state, error = handle.outcome
        if not self.check(state == FAILED, "did not fail: %s %s" % (state, shorten(error)), handle):
            return None
        if self.strict:
            if kind is not None and not self.check(
                type(error) is kind,
                "failed with %s, not with %s" % (shorten(error), kind.__name__),
                handle,
            ):
                return None
            for word in words:
                self.check(
                    str(word) in str(error),
                    "has a message that does not say %r: %s" % (word, error),
                    handle,
                )
        return error

    def died(self, handle, number=None, exitcode=None, replaced=True):
        """The task must fail because its process died, by a signal of this number or with this exit
        code, and the error must say so. Return the pid."""
        if not self.strict or handle.refused is not None:
            self.failed(handle)
            return None
        from atasker_like import ProcessDiedError

        if number is not None:
            exitcode = -number
        word = "exit code %s" % exitcode if number is None else signal.Signals(number).name
        error = self.failed(
            handle, ProcessDiedError, word, handle.task.name, handle.task.short_id
        )
        if error is None:
            return None
        self.check(
            str(error.pid) in str(error),
            "has a message that does not say %s: %s" % (error.pid, error),
            handle,
        )
        said = error.signal, error.exitcode
        self.check(said == (number, exitcode), "died with signal and exit code %s, not %s" % (
            said, (number, exitcode)), handle)
        if replaced:
            self.replaced(error.pid)
        return error.pid

    def cancelled(self, handle):
        """The task must end without a result."""
        self.wait(handle)
        if handle.outcome is not None:
            self.check(
                handle.outcome[0] == CANCELLED, "was not cancelled, but %s" % handle.outcome[0],
                handle
            )

    def succeeded(self, *handles):
        """These must succeed; return their values."""
        self.wait(*handles)
        for handle in handles:
            if handle.expected is None:         # otherwise it has been judged
                state, value = handle.outcome or (None, handle.refused)
                self.check(
                    state == SUCCEEDED, "did not succeed: %s %s" % (state, shorten(value)), handle
                )
        return [handle.outcome and handle.outcome[1] for handle in handles]

    def never_ran(self, handle):
        """The function of this one must not have run."""
        self.check(not self.oracle.ran()[handle.token], "ran", handle)

    def census(self):
        """The pids of all pool processes, each of which is seen to run a task: as many at once as
        there are places."""
        gate = self.gate()
        handles = [self.submit(work.enter_and_give_pid, gate) for _ in range(self.size)]
        expected = sum(1 for handle in handles if handle.refused is None)
        entered = gate.wait(expected, self.patience)
        self._missed = (
            "" if len(entered) == expected else ", of a pool that was %s" % self.side.state()
        )
        gate.open()
        self.wait(*handles)
        outcomes = [handle.outcome for handle in handles if handle.outcome is not None]
        return [value for state, value in outcomes if state == SUCCEEDED]

    def replaced(self, *dead):
        """Others must have taken the place of these processes, and all places must be taken again.
        """
        pids = self.census()
        self.check(
            len(set(pids)) == self.size,
            "%d of %d processes run tasks%s" % (len(set(pids)), self.size, self._missed),
        )
        for pid in dead:
            if pid is not None:
                self.check(pid not in pids, "process %d is still used" % pid)
                self.check(self.gone(pid), "process %d is still there" % pid)

    def survived(self, pid):
        """This process must still be used."""
        pids = self.census()
        self.check(pid in pids, "process %s is not used any more: now there are %s" % (pid, pids))

    # -- what is done to processes ---------------------------------------------------------------

    def kill(self, pid, number=signal.SIGKILL):
        """Send a signal to a process of this case, and count it as a fault."""
        self.injected()
        os.kill(pid, number)

    def freeze(self, pid):
        """Stop a process; return when it has stopped. It is continued at the end of the scenario.
        """
        self._frozen.add(pid)
        os.kill(pid, signal.SIGSTOP)
        self.until(lambda: state_of(pid) in "TtZX", "process %d to stop" % pid)

    def thaw(self, pid):
        """Let a stopped process go on."""
        self._frozen.discard(pid)
        with suppress(OSError):
            os.kill(pid, signal.SIGCONT)

    def gone(self, pid):
        """Return True if a process has ended, waiting for it."""
        return settled(lambda: state_of(pid) in "ZX", self.patience)

    # -- the end, by the harness -----------------------------------------------------------------

    def release(self):
        """Let everything go on that the scenario has stopped."""
        for gate in self._gates:
            gate.open()
        for pid in list(self._frozen):
            self.thaw(pid)

    def afterwards(self):
        """A hundred tasks submitted afterwards, in threads and in processes."""
        self.side.prepare_afterwards()
        for kind in self.side.kinds[:2]:
            self.oracle.judge_tasks(self.good(AFTERWARDS, kind), self.patience, "D")

    def close(self):
        """Remove what the scene itself has open."""
        for gate in self._gates:
            gate.close()


def state_of(pid):
    """The letter of a process's state; X when there is none any more."""
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rpartition(")")[2].split()[0]
    except OSError:
        return "X"
