"""Row 40: everything at once, at random."""
import asyncio
import logging
import os
import random
import signal
import sys
import threading
from contextlib import suppress
from time import monotonic

from . import task_functions, work
from .fixtures import within
from .interrupts import Handler
from .oracle import FAILED, SUCCEEDED, shorten

#: Seconds of the quick form.
QUICK = 3.0
#: Tasks of one submitter that have not ended, at most.
OUTSTANDING = 40
#: Lanes, each in front of the pool of its name.
LANES = ("thread", "process", "coroutine")
#: Threads that submit, the main one and the loop not counted.
SUBMITTERS = 3


class Chaos:
    """Everything that can live in one process, for some seconds. Each task knows what may become of
    it."""

    def __init__(self, scene, seconds):
        self.scene = scene
        self.over = threading.Event()
        self.deadline = monotonic() + seconds
        self.killed = 0             # by the killer, from outside
        self.allowed = {}           # by handle: what says whether an outcome is possible
        self.cancelled = set()      # handles that someone has cancelled
        self.marked = set()         # handles that someone has declared done
        # handles that nothing but their timeout ends: declared done, they would go on
        self.late = set()
        self.done = []              # handles that have been looked at by their submitter

    def run(self):
        # Loaded before there are several threads and a handler that import: before Python 3.12, an
        # import that a handler interrupts by another import may raise KeyError.
        from atasker_like import SupervisorStoppedError, as_completed, wait_completed  # noqa: F401

        scene = self.scene
        scene.open(size=3, threads=4)
        for name in LANES:
            scene.native.lane(name, limit=2)
        threads = [
            threading.Thread(
                target=self._guarded, args=(act, scene.seed * 1000 + number), daemon=True
            )
            for number, act in enumerate(
                [self._submitter] * SUBMITTERS
                + [self._killer, self._freezer, self._resizer, self._loop]
            )
        ]
        handler = Handler(scene, ("thread", "coroutine"))
        before = signal.signal(signal.SIGALRM, handler)
        for thread in threads:
            thread.start()
        signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
        try:
            self._submitter(random.Random(scene.seed * 1000 + 999))
        finally:
            self.over.set()
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            for thread in threads:
                thread.join(scene.patience)
                scene.check(not thread.is_alive(), "%s hangs" % thread.name)
        scene.injected(self.killed + handler.calls)
        scene.native.set_thread_pool(pool_size=4)
        scene.native.set_mp_pool(pool_size=3)
        scene.size = 3
        self._judge()
        for name in LANES:
            lane = scene.native.lane(name)
            scene.check(
                not (lane.running or lane.waiting or lane.entries or lane.parked),
                "the lane is left as %r" % lane,
            )
        scene.replaced()

    def _guarded(self, act, seed):
        threading.current_thread().name = act.__name__
        try:
            act(random.Random(seed))
        except BaseException as error:
            import traceback

            traceback.print_exc()
            self.scene.check(False, "%s: %s: %s" % (act.__name__, type(error).__name__, error))

    def _goes_on(self):
        return not self.over.is_set() and monotonic() < self.deadline

    # -- those who submit ------------------------------------------------------------------------

    def _submitter(self, chance):
        from atasker_like import as_completed, wait_completed

        mine = []
        acts = [act for act, weight in self._weights() for _ in range(weight)]
        while self._goes_on():
            handle = chance.choice(acts)(chance)
            if handle is not None and handle.refused is None:
                mine.append(handle)
            if mine and chance.random() < 0.1:
                victim = chance.choice(mine)
                self.cancelled.add(victim)
                victim.native.cancel()
            if mine and chance.random() < 0.03:
                victim = chance.choice(mine)
                if victim not in self.late:
                    self.marked.add(victim)
                    victim.native.mark_completed()
            if chance.random() < 0.02:
                self.scene.native.stats()
                self.scene.native.get_info()
            if len(mine) >= OUTSTANDING:
                some, mine = mine[:OUTSTANDING // 2], mine[OUTSTANDING // 2:]
                tasks = [handle.native for handle in some]
                # a task that has not ended by then is judged then
                with suppress(TimeoutError):
                    if chance.random() < 0.5:
                        wait_completed(tasks, timeout=self.scene.patience)
                    else:
                        list(as_completed(tasks, timeout=self.scene.patience))

    def _weights(self):
        return [
            (self._good, 20),
            (self._large, 3),
            (self._crash, 3),
            (self._late, 4),
            (self._retried, 4),
            (self._fails, 4),
            (self._unsendable, 3),
            (self._called_back, 4),
            (self._nested, 3),
            (self._delayed, 4),
            (self._forks, 1),
        ]

    def _submit(self, allowed, function, *args, **options):
        options.setdefault("kind", "process")
        handle = self.scene.submit(function, *args, **options)
        self.allowed[handle] = allowed
        return handle

    def _inject(self, allowed, function, *args, **options):
        self.scene.injected()
        return self._submit(allowed, function, *args, **options)

    def _kind(self, chance):
        return chance.choice(("thread", "process", "process", "coroutine"))

    def _good(self, chance):
        value = chance.randrange(1000)
        kind = self._kind(chance)
        options = {"lane": kind} if chance.random() < 0.3 else {}
        return self._submit(
            gives(value),
            work.echo,
            value,
            kind=kind,
            priority=chance.choice((0, 50, 75, 100, 200)),
            **options,
        )

    def _large(self, chance):
        size = chance.randrange(1 << 21)
        return self._submit(gives(size), work.size_of, bytes(size))

    def _crash(self, chance):
        kind = chance.randrange(4)
        if kind == 0:
            return self._inject(
                dies(9),
                work.end_by_signal,
                **({"lane": "process"} if chance.random() < 0.5 else {}),
            )
        if kind == 1:
            return self._inject(dies(signal.SIGSEGV), task_functions.segfault)
        if kind == 2:
            return self._inject(dies(None, 3), work.leave, 3)
        return self._inject(dies(9), task_functions.end_in_a_while, 0.02)

    def _late(self, chance):
        from atasker_like import TaskTimeoutError

        kind = self._kind(chance)
        function = {"thread": _until_cancelled, "process": task_functions.pause,
                    "coroutine": asyncio.sleep}[kind]
        options = {"lane": kind} if chance.random() < 0.3 else {}
        handle = self._inject(
            fails(TaskTimeoutError),
            function,
            60,
            kind=kind,
            timeout=chance.choice((0.01, 0.05, 0.1)),
            **options,
        )
        self.late.add(handle)
        return handle

    def _retried(self, chance):
        kind, times = self._kind(chance), chance.randrange(1, 4)
        path = os.path.join(
            self.scene.folder, "retried-%d-%d" % (threading.get_ident(), chance.getrandbits(60))
        )
        # Each death from outside takes an attempt, and then the task may fail.
        allowed = (
            either(gives(times), fails(ConnectionError)) if kind == "process" else gives(times)
        )
        return self._inject(
            allowed,
            task_functions.fail_until,
            path,
            times,
            times,
            kind=kind,
            retries=times,
            at_most=times + 1,
            retry_delay=chance.choice((0, 0.01)),
        )

    def _fails(self, chance):
        return self._inject(fails(ValueError), work.fail, kind=self._kind(chance))

    def _unsendable(self, chance):
        from atasker_like import TaskPicklingError

        if chance.random() < 0.5:
            return self._inject(fails(TaskPicklingError), work.take, lambda: None)
        return self._inject(
            fails(TaskPicklingError), work.give_trap, chance.choice(("in", "out")), "raise"
        )

    def _called_back(self, chance):
        handle = self._inject(gives(3), work.echo, 3, kind=self._kind(chance), callback=_refuse)
        handle.native.add_done_callback(_refuse)
        handle.native.add_done_callback(lambda task: self._good(random))
        return handle

    def _nested(self, chance):
        depth = chance.randrange(1, 6)

        def nest(depth):
            handle = (
                self._submit(gives(depth), nest, depth - 1, kind="thread")
                if depth
                else self._good(random)
            )
            if handle.refused is None:
                with suppress(TimeoutError):
                    handle.native.wait(self.scene.patience)
            return depth + 1

        return self._submit(gives(depth + 1), nest, depth, kind="thread")

    def _delayed(self, chance):
        return self._submit(
            gives(4), work.echo, 4, kind=self._kind(chance), delay=chance.random() / 20
        )

    def _forks(self, chance):
        return self._submit(gives(0), task_functions.fork_and_leave)

    # -- those who disturb -----------------------------------------------------------------------

    def _pause(self, chance, seconds):
        self.over.wait(chance.uniform(0.5, 1.5) * seconds)

    def _killer(self, chance):
        while self._goes_on():
            self._pause(chance, 0.08)
            pids = self.scene.native.mp_pool.pids()
            if pids:
                with suppress(OSError):
                    os.kill(chance.choice(pids), chance.choice((9, 9, signal.SIGTERM)))
                    self.killed += 1

    def _freezer(self, chance):
        while self._goes_on():
            self._pause(chance, 0.2)
            pids = self.scene.native.mp_pool.pids()
            if pids:
                pid = chance.choice(pids)
                with suppress(OSError):
                    os.kill(pid, signal.SIGSTOP)
                    self._pause(chance, 0.02)
                    os.kill(pid, signal.SIGCONT)
                    self.scene.injected()

    def _resizer(self, chance):
        while self._goes_on():
            self._pause(chance, 0.1)
            self.scene.native.set_thread_pool(pool_size=chance.randrange(1, 9))
            self.scene.native.set_mp_pool(pool_size=chance.randrange(1, 5))
            lane = self.scene.native.lane(chance.choice(LANES))
            lane.pause()
            lane.configure(
                limit=chance.choice((1, 2, None)), rate=chance.choice((None, None, 200)), burst=3
            )
            self._pause(chance, 0.02)
            lane.resume()
            self.scene.injected()

    def _loop(self, chance):
        """Coroutines of the application: they wait for tasks, and some are cancelled."""
        async def turn():
            handles = [self._good(chance) for _ in range(5)]
            awaiters = [
                asyncio.ensure_future(_quietly(handle.native))
                for handle in handles
                if handle.refused is None
            ]
            await asyncio.wait(
                awaiters,
                timeout=chance.choice((0.001, self.scene.patience)),
                return_when=chance.choice((asyncio.FIRST_COMPLETED, asyncio.ALL_COMPLETED)),
            )
            for awaiter in awaiters:
                awaiter.cancel()
            await asyncio.gather(*awaiters, return_exceptions=True)

        async def main():
            for _ in range(20):
                if self._goes_on():
                    await turn()

        while self._goes_on():
            asyncio.run(main())

    # -- the end ---------------------------------------------------------------------------------

    def _judge(self):
        scene = self.scene
        from atasker_like import ProcessDiedError

        scene.wait(*list(self.allowed))
        ran = scene.oracle.ran()
        victims = 0
        for handle, allowed in list(self.allowed.items()):
            if handle in self.marked:       # it may have been declared done before it began
                handle.at_most = min(ran[handle.token], max(1, handle.at_most))
            if handle.refused is not None:
                scene.oracle.lose(handle, "A", "was refused: %s" % shorten(handle.refused))
            if handle.outcome is None or allowed(*handle.outcome):
                continue
            state, value = handle.outcome
            if handle in self.cancelled and (
                state == "cancelled" or type(value) is ConnectionError
            ):
                continue                    # the latter: it got no further attempt
            if handle in self.marked and (state, value) == (SUCCEEDED, None):
                continue
            if (handle.kind == "process" and state == FAILED and type(value) is ProcessDiedError
                    and value.signal in (signal.SIGKILL, signal.SIGTERM)):
                victims += 1
                continue
            scene.oracle.lose(handle, "A", "ended as it could not: %s %s" % (state, shorten(value)))
        scene.check(
            victims <= self.killed,
            "%d tasks that were not at fault died of %d kills" % (victims, self.killed),
        )


async def _quietly(native):
    with suppress(Exception):
        await native


def _refuse(*arguments):
    raise ValueError("this callback does not like it here")


def _until_cancelled(seconds):
    """In a thread: run until nobody waits any more."""
    from atasker_like import current_task

    deadline = monotonic() + seconds
    while monotonic() < deadline:
        current_task().check_cancelled()
        task_functions.pause(0.002)


# -- what may become of a task -------------------------------------------------------------------


def gives(expected):
    return lambda state, value: (state, value) == (SUCCEEDED, expected)


def fails(kind):
    return lambda state, value: state == FAILED and isinstance(value, kind)


def dies(number, exitcode=None):
    from atasker_like import ProcessDiedError

    return lambda state, value: (
        state == FAILED
        and type(value) is ProcessDiedError
        and value.signal == number
        and (exitcode is None or value.exitcode == exitcode)
    )


def either(*some):
    return lambda state, value: any(one(state, value) for one in some)


def everything_at_once(scene):
    """Crashes, kills, timeouts, cancels, retries, pickling errors, resizes, callbacks, nested
    submissions, coroutines and a handler of signals, from several threads. What the seed does not
    settle is who comes first."""
    seconds = scene.minutes * 60 if scene.slow else QUICK
    sys.stderr.write("seed %d, %g seconds\n" % (scene.seed, seconds))
    logger = logging.getLogger("atasker_like")
    logger.propagate, quiet = False, logging.NullHandler()
    logger.addHandler(quiet)
    try:
        Chaos(scene, seconds).run()
    finally:
        logger.propagate = True
        logger.removeHandler(quiet)
    scene.check(within(scene.patience, scene.native.stats), "stats() hangs")
