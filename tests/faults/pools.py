"""Rows 16 and 22 to 24: processes that cannot be started, must not be used again, or fail all the
time."""
import os
import threading
from time import monotonic

from tests.support.internals import manager
from tests.support.internals.process_pool import processes_of

from . import work
from .freezing import Clock

#: How often an initializer may be tried in vain before what waits is failed; twice the pool's own
#: number of tries, since several processes may be starting at the same time.
TRIES = 6


def memory_exhausted(scene):
    """A task wants more memory than there is: it fails, and its process, of which nobody knows what
    is missing in it now, is not used again."""
    for function in (work.ask_for_too_much, work.use_all_memory):
        pids = set(scene.census())
        scene.good(5)
        victim = scene.inject(function)
        scene.good(5)
        scene.failed(victim, MemoryError)
        if scene.strict:
            now = set(scene.census())
            scene.check(
                len(now) == scene.size,
                "%d of %d processes run tasks%s" % (len(now), scene.size, scene._missed),
            )
            scene.check(
                len(now & pids) == scene.size - 1,
                "not the one process was replaced: %s were there, %s are"
                % (sorted(pids), sorted(now)),
                victim,
            )


def _initializer(scene, how, word, hurry=None, **options):
    """Tasks that wait for a process whose initializer fails, again and again, fail with its error
    after some tries. When the initializer works again, so does the pool."""
    tries, flag = os.path.join(scene.folder, "tries"), os.path.join(scene.folder, "flag")
    scene.open(size=2, initializer=work.begin, initargs=(tries, flag, how), **options)
    scene.injected()
    waiting = [scene.submit(work.echo) for _ in range(10)]
    if hurry is not None:
        hurry(tries, waiting)
    if scene.strict:
        from atasker_like import PoolBrokenError

        for handle in waiting:
            error = scene.failed(
                handle, PoolBrokenError, word, handle.task.name, handle.task.short_id
            )
            if error is not None:
                scene.check(error.__cause__ is not None and word in str(error.__cause__),
                            "the cause is not the initializer's: %r" % error.__cause__)
        # Processes that are started ahead fail before a task waits: these are tries of their own.
        most = 2 * TRIES if scene.method == "template" else TRIES
        scene.check(
            0 < _lines(tries) <= most, "the initializer was tried %d times" % _lines(tries)
        )
    else:
        scene.wait(*waiting)
    for handle in waiting:
        scene.never_ran(handle)
    open(flag, "w").close()
    if scene.strict:
        if hurry is not None:       # a process may hang that was started for the last task
            _let_time_pass(scene)
        # These have not come to their initializers: they may be ended, too, and others started.
        beginning = sum(not (process.ready or process.closed)
                        for process in list(processes_of(manager(scene.native).processes)))
        before = _lines(tries)
        scene.replaced()
        started = _lines(tries) - before
        most = scene.size + beginning
        scene.check(started <= most, "%d processes were started, of at most %d" % (started, most))


def _lines(path):
    try:
        with open(path) as file:
            return len(file.readlines())
    except FileNotFoundError:
        return 0


def initializer_raises(scene):
    _initializer(scene, "raises", "the initializer does not like it here")


def initializer_dies(scene):
    _initializer(scene, "dies", "exit code 3")


def initializer_hangs(scene):
    """Bounded in time, too."""
    if not scene.strict:
        _initializer(scene, "hangs", "initializer")
    elif scene.slow:
        _initializer(scene, "hangs", "initializer", initializer_timeout=3.0)
    else:
        def hurry(tries, waiting):
            """Let the time of a process be over as soon as it is seen to hang."""
            seen = 0
            while not _ended(waiting):
                scene.until(lambda: _lines(tries) > seen or _ended(waiting), "another try")
                seen = _lines(tries)
                _let_time_pass(scene)

        _initializer(scene, "hangs", "initializer", hurry, initializer_timeout=50.0)


def _let_time_pass(scene):
    """Let the time of all processes be over that are in their initializers."""
    pool = manager(scene.native).processes
    # A process may be quicker than the thread that arms its timer.
    scene.until(lambda: all(process.ready or process.closed or process.ready_timer
                            for process in list(processes_of(pool))), "an armed timer")
    Clock.of(scene.native).forward(51.0)


def _ended(handles):
    return all(handle.wait(0) is not None for handle in handles)


def always_crashes(scene):
    """One task after the other crashes its process, all the time; others go on beside it, however
    long that lasts."""
    scene.open(size=2)
    scene.census()
    ends = []
    calm = threading.Event()
    least = scene.count(15, 1000)

    def storm():
        while not calm.is_set() or len(ends) < least:
            victim = scene.inject(work.end_by_signal)
            if victim.refused is not None or victim.wait(scene.patience) is None:
                ends.append(victim)
                return
            ends.append(victim)

    stormer = threading.Thread(target=storm, daemon=True)
    stormer.start()
    for _ in range(scene.count(5, 100)):        # each must end while the storm goes on
        scene.succeeded(*scene.good(20))
    calm.set()
    deadline = monotonic() + scene.patience * scene.count(1, 10)
    stormer.join(max(0.0, deadline - monotonic()))
    scene.check(
        not stormer.is_alive() and len(ends) >= least,
        "only %d of %d crashes came to their end" % (len(ends), least),
    )
    dead = {scene.died(victim, number=9, replaced=False) for victim in ends}
    if scene.strict:
        scene.check(len(dead) == len(ends), "%d deaths of %d processes" % (len(ends), len(dead)))
    scene.replaced(*list(dead)[-2:])


def fork_server_killed(scene):
    """The server that starts processes is killed: when they are busy, when one of them dies, and
    when all are gone."""
    from multiprocessing import forkserver

    def kill_server():
        pid = forkserver._forkserver._forkserver_pid
        scene.kill(pid)
        return pid

    scene.open(size=3)
    scene.census()
    gate, pids = scene.occupy(2)
    scene.check(scene.gone(kill_server()), "the fork server lives on")
    scene.good(20)
    gate.open()
    scene.wait(*scene.oracle.handles)
    scene.survived(pids[0])

    victim = scene.inject(work.end_by_signal)       # nobody can know its exit code any more
    scene.good(20)
    if scene.strict:
        from atasker_like import ProcessDiedError

        error = scene.failed(victim, ProcessDiedError)
        if error is not None:
            scene.check(error.exitcode is None, "the error has an exit code: %s" % error, victim)
            for word in (
                str(error.pid),
                victim.task.name,
                victim.task.short_id,
                "the fork server",
            ):
                scene.check(word in str(error), "the message does not say %r: %s" % (word, error))
            scene.replaced(error.pid)
    else:
        scene.failed(victim)

    pids = scene.census()
    kill_server()
    for pid in pids:
        scene.kill(pid)
    scene.good(20)
    scene.replaced(*pids)
