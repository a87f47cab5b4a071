"""Rows 10 to 12, and 21: a pool process does nothing any more, and does not die of it."""
import threading
from time import monotonic

from ..support.internals import manager
from . import work


class Clock:
    """The clock of a supervisor's timer, which can be put forward: no timeout is then too short for
    a busy machine, nor too long to be waited for. A process that is starting has 120 seconds to get
    ready, by this clock too."""

    def __init__(self, timer):
        self._timer = timer
        self._ahead = 0.0

    @classmethod
    def of(cls, supervisor):
        """Give a supervisor such a clock, or return the one that it has: it must never go back."""
        timer = manager(supervisor).timer
        if not isinstance(timer.clock, cls):
            timer.clock = cls(timer)
        return timer.clock

    def __call__(self):
        return monotonic() + self._ahead

    def forward(self, seconds):
        """Put the clock forward and have the timer look at it."""
        self._ahead += seconds
        self._timer.call_at(0.0, lambda: None)


def _ended_by_its_timeout(scene, function, *args):
    """The task must be ended by its timeout, with its process; tasks that do no harm run meanwhile.
    The quick form puts the clock forward, the long one lets time pass. A call of an executor has no
    timeout: it is cancelled."""
    timeout = 1.0
    if not scene.side.has_timeouts:
        _ended_by_its_caller(scene, function, *args)
        return
    if scene.strict and not scene.slow:
        from atasker_like.pools.process import process_set as processes

        processes.TERM_GRACE = 0.1
        clock = Clock.of(scene.native)
        timeout = 50.0
    scene.census()
    gate = scene.gate()
    scene.good(10)
    victim = scene.inject(function, gate, *args, timeout=timeout)
    scene.good(10)
    (pid,) = scene.arrived(gate)
    if scene.strict and not scene.slow:
        scene.until(lambda: victim.native.state == "running", "the parent to know that it runs")
        clock.forward(timeout + 1.0)
    if scene.strict:
        from atasker_like import TaskTimeoutError

        error = scene.failed(victim, TaskTimeoutError)
        if error is not None:
            for word in (victim.native.name, victim.native.short_id, "%g s" % timeout):
                scene.check(word in str(error), "the message does not say %r: %s" % (word, error))
    else:
        scene.failed(victim)
    scene.replaced(pid)


def _ended_by_its_caller(scene, function, *args):
    scene.census()
    gate = scene.gate()
    scene.good(10)
    victim = scene.inject(function, gate, *args)
    scene.good(10)
    (pid,) = scene.arrived(gate)
    scene.until(lambda: victim.task.state == "running", "the parent to know that it runs")
    scene.side.cancel(victim.native)
    scene.cancelled(victim)
    scene.replaced(pid)


def frozen(scene):
    """Somebody stops a process. TERM would wait until it is continued: only KILL ends it."""
    _ended_by_its_timeout(scene, work.arrive_and_freeze)


def termination_ignored(scene):
    """A task has made its process ignore SIGTERM, or catch it."""
    _ended_by_its_timeout(scene, work.ignore_termination)
    _ended_by_its_timeout(scene, work.survive_termination)


def interpreter_held(scene):
    """C code does not let go of the interpreter: no thread of the process runs, and no handler is
    called."""
    _ended_by_its_timeout(scene, work.hold_the_interpreter, 1000)
    _ended_by_its_timeout(scene, work.hold_the_interpreter_and_catch, 1000)


def pipe_full(scene):
    """A process reads nothing while it is sent more than any pipe holds. A submitter does not
    wait for it."""
    scene.open(size=1)
    data = bytes(1 << 20)
    for way in ("goes on", "is killed"):
        (pid,) = scene.census()
        scene.freeze(pid)
        scene.injected()
        handles = []
        submitter = threading.Thread(
            daemon=True,
            target=lambda: handles.extend(
                scene.submit(work.size_of, data, expected=(len(data),))
                for _ in range(scene.count(20, 200))
            ),
        )
        submitter.start()
        submitter.join(scene.patience)
        if submitter.is_alive():
            scene.give_up("submitting blocks")
        if way == "goes on":
            scene.thaw(pid)
        else:
            scene.kill(pid)
        scene.succeeded(*handles)
        if way == "goes on":
            scene.survived(pid)
        else:
            scene.replaced(pid)
