"""Rows 29 to 32: ends that come at once, callbacks, tasks within tasks, and submissions against a
stop."""
import itertools
import sys
import threading
from time import monotonic

from ..support.internals import manager
from ..support.internals.engine import timer_thread_of
from ..support.internals.process_pool import io_thread_of, thread_of_io
from . import work
from .fixtures import Log, bind, enter, rounds, within

# -- 29 ------------------------------------------------------------------------------------------


class _Waiters:
    """All that waits for one task, each in its own way; each must be told once."""

    def __init__(self, scene, handle):
        self._scene = scene
        self._handle = handle
        self._told = []
        self._threads = []
        handle.native.add_done_callback(lambda task: self._told.append("callback"))
        for way in (self._wait, self._exception, self._arrive):
            thread = threading.Thread(target=way, daemon=True)
            thread.start()
            self._threads.append(thread)

    def _wait(self):
        self._told.append(self._handle.native.wait(self._scene.patience).status)

    def _exception(self):
        from atasker_like import TaskCancelledError

        try:
            error = self._handle.native.exception(self._scene.patience)
            self._told.append("succeeded" if error is None else "failed")
        except TaskCancelledError:
            self._told.append("cancelled")

    def _arrive(self):
        from atasker_like import as_completed

        self._told += [
            task.state for task in as_completed([self._handle.native], timeout=self._scene.patience)
        ]

    def judge(self, allowed):
        scene, handle = self._scene, self._handle
        scene.wait(handle)
        for thread in self._threads:
            thread.join(scene.patience)
        if handle.outcome is None:
            return
        state = handle.outcome[0]
        scene.check(
            state in allowed,
            "the task %s, which was not possible: %s" % (state, ", ".join(sorted(allowed))),
        )
        # The callback is called by another thread, perhaps a moment later.
        scene.until(lambda: len(self._told) >= 4, "those who wait to be told")
        scene.check(
            sorted(self._told) == sorted(["callback"] + 3 * [state]),
            "%r: it %s, and told %s" % (handle, state, self._told),
        )


def _finishers(scene, handle, gate):
    """The ends of a running task, as calls: it returns, it is cancelled, its timeout comes, it is
    declared done."""
    supervisor = scene.native
    return {"return": gate.open, "cancel": handle.native.cancel,
            "timeout": lambda: supervisor.clock.forward(manager(supervisor).timer, 2 * TIMEOUT),
            "complete": handle.native.mark_completed}


#: Seconds that a task may run, by a clock that is put forward. A process that starts meanwhile has
#: ten times as long.
TIMEOUT = 5
#: What a task that runs comes to, by the end that came first. Cancelling one of a thread is a
#: request, and no end.
AFTER = {"return": {"succeeded"}, "timeout": {"failed"}, "complete": {"succeeded"}}
ANY = {"succeeded", "failed", "cancelled"}


def _with_clock(scene, **options):
    """Open a pool whose clock can be put forward, and whose locks can hold a thread back."""
    from tests.support.internals import inject

    scene.open(**options)
    inject(scene.native)


def ends_in_every_order(scene):
    """A task of a thread returns, is cancelled, and comes to its timeout. All three are held back
    just before they take the lock, and let in in every order. The first one that can end it does.
    """
    from tests.support.threads import join, later

    _with_clock(scene, threads=1)
    lock, timer = manager(scene.native).threads.lock, manager(scene.native).timer
    function = bind(scene, timeout=TIMEOUT)
    for order in itertools.permutations(("return", "cancel", "timeout")):
        gate = scene.gate()
        handle = enter(scene, "thread", "-".join(order))
        threads, holds = {}, {}

        def run():
            gate.enter()
            threads["return"] = threading.current_thread()
            # this very thread takes it next when the function has returned
            holds["return"] = lock.hold_before()
            return 7

        handle.native = function(scene.journal, handle.token, run)
        waiters = _Waiters(scene, handle)
        scene.arrived(gate)
        threads["cancel"] = later(handle.native.cancel)
        threads["timeout"] = timer_thread_of(timer)
        for end in ("cancel", "timeout"):
            holds[end] = lock.hold_before(threads[end])
        threads["cancel"].begin()
        scene.native.clock.forward(timer, 2 * TIMEOUT)
        gate.open()
        scene.until(lambda: "return" in holds, "the function to return")
        for hold in holds.values():
            hold.reached()
        for end in order:
            passed = lock.hold_after(threads[end])
            holds[end].go()
            passed.reached()
            passed.go()
            # Both take the lock twice: they look at the task, and end it then. A cancellation of a
            # running function ends nothing.
            if end != "cancel":
                scene.until(handle.native.done, "the end of the task")
        scene.injected(3)
        first = next(end for end in order if end != "cancel")
        waiters.judge(AFTER[first])
        join(threads["cancel"])
        scene.succeeded(*scene.good(1, "thread"))       # its thread has come back


def ends_of_processes_in_every_order(scene):
    """The same with a process: its result has been read, and the thread that read it is held back
    before it enters it. Who comes first need not win, since a result that is there counts; but
    there is one end, and a process afterwards."""
    from tests.support.threads import join, later

    _with_clock(scene, size=1)
    pool, timer = manager(scene.native).processes, manager(scene.native).timer
    function = bind(scene, "process", timeout=TIMEOUT)
    for order in itertools.permutations(("return", "cancel", "timeout")):
        scene.succeeded(*scene.good(2))
        gate = scene.gate()
        handle = enter(scene, "process", "-".join(order))
        handle.native = function(scene.journal, handle.token, work.enter, gate, 7)
        waiters = _Waiters(scene, handle)
        scene.arrived(gate)
        threads = {
            "return": thread_of_io(io_thread_of(pool)),
            "cancel": later(handle.native.cancel),
            "timeout": timer_thread_of(timer),
        }
        holds = {end: pool.lock.hold_before(thread) for end, thread in threads.items()}
        threads["cancel"].begin()
        scene.native.clock.forward(timer, 2 * TIMEOUT)
        gate.open()
        for hold in holds.values():
            hold.reached()
        for end in order:
            passed = pool.lock.hold_after(threads[end])
            holds[end].go()
            passed.reached()
            passed.go()
        scene.injected(3)
        won = {"return": "succeeded", "cancel": "cancelled", "timeout": "failed"}[order[0]]
        waiters.judge({won, "succeeded"})
        join(threads["cancel"])


def _at_once(scene, kind, ends):
    """One round: make the ends of a running task come at once, from threads that a barrier lets go.
    """
    gate = scene.gate()
    handle = scene.submit(work.enter, gate, 7, kind=kind, timeout=TIMEOUT)
    waiters = _Waiters(scene, handle)
    scene.arrived(gate)
    finishers = _finishers(scene, handle, gate)
    barrier = threading.Barrier(len(ends))

    def finish(end):
        barrier.wait(scene.patience)
        finishers[end]()

    threads = [threading.Thread(target=finish, args=(end,), daemon=True) for end in ends]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(scene.patience)
    gate.open()
    scene.injected(len(ends))
    waiters.judge(ANY if "cancel" in ends or len(ends) > 1 else AFTER[ends[0]])
    gate.close()


def ends_at_once(scene):
    """Ends of tasks of threads that come at once, in every choice, many times."""
    _with_clock(scene, threads=2)
    names = ("return", "cancel", "timeout", "complete")
    choices = [ends for size in (2, 3, 4) for ends in itertools.combinations(names, size)]
    for _ in rounds(scene, scene.count(5, 300)):
        for ends in choices:
            _at_once(scene, "thread", ends)
    scene.wait(*scene.good(5, "thread"))


def ends_of_processes_at_once(scene):
    """The same with tasks of processes, which are ended and replaced."""
    _with_clock(scene, size=2)
    names = ("return", "cancel", "timeout")
    choices = [ends for size in (2, 3) for ends in itertools.combinations(names, size)]
    for _ in rounds(scene, scene.count(2, 50)):
        for ends in choices:
            _at_once(scene, "process", ends)
            scene.succeeded(*scene.good(4))


def ends_of_waiting_tasks_at_once(scene):
    """Tasks that wait are cancelled, and declared done, in the moment in which their turn comes. A
    cancelled one may not have run, unless it was too late."""
    scene.open(size=1, threads=1)
    for kind in ("thread", "process"):
        for _ in rounds(scene, scene.count(20, 1000)):
            gate, _ = scene.occupy(1, kind=kind)
            waiting = [scene.submit(work.echo, number, kind=kind) for number in range(6)]
            barrier = threading.Barrier(4)

            def finish(call):
                barrier.wait(scene.patience)
                call()

            calls = [
                gate.open,
                waiting[0].native.cancel,
                lambda: [handle.native.cancel() for handle in waiting[1:4]],
                waiting[4].native.mark_completed,
            ]
            threads = [threading.Thread(target=finish, args=(call,), daemon=True) for call in calls]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(scene.patience)
            scene.injected(5)
            scene.wait(*waiting)
            ran = scene.oracle.ran()
            for handle in waiting[:4]:
                if (
                    handle.outcome is not None
                    and handle.outcome[0] == "cancelled"
                    and kind == "thread"
                ):
                    scene.check(
                        not ran[handle.token], "%r was cancelled while it waited, and ran" % handle
                    )
            scene.succeeded(waiting[5])
            # declared done before it began, or after
            waiting[4].at_most = scene.oracle.ran()[waiting[4].token]
            gate.close()


# -- 30 ------------------------------------------------------------------------------------------

ERRORS = (ValueError("this callback does not like it here"), SystemExit(3), KeyboardInterrupt())


def _raise(error):
    def callback(argument):
        raise error
    return callback


def callbacks_that_raise(scene):
    """What a callback raises is logged, whatever it is, and nothing else happens: the other
    callbacks are called."""
    for kind in scene.side.kinds:
        with Log() as log:
            handles = []
            called = []
            for error in ERRORS:
                handles.append(
                    scene.submit(work.echo, 1, kind=kind, expected=(1,), callback=_raise(error))
                )
                handle = scene.submit(work.echo, 2, kind=kind, expected=(2,))
                handle.native.add_done_callback(_raise(error))
                handle.native.add_done_callback(lambda task: called.append(task.result))
                failing = scene.submit(work.fail, kind=kind)
                failing.native.add_done_callback(_raise(error))
                handles += [handle, failing, *scene.good(5, kind)]
                scene.injected(3)
            scene.wait(*handles)
            scene.until(lambda: len(called) >= len(ERRORS), "the callbacks behind those that raise")
            count = 3 * len(ERRORS)
            scene.until(
                lambda: len(log.said("callback")) >= count,
                "%d errors of callbacks in the log" % count,
            )
            scene.check(len(log.said("callback")) == count, "%d errors were logged, not %d: %s" % (
                len(log.said("callback")), count, log.said("callback")))
            for text in log.said("callback"):
                scene.check("noted" in text, "the log does not say which task it was: %s" % text)


def callbacks_that_block(scene):
    """Callbacks that do not come back hold nobody up: whatever waits behind their tasks is run."""
    scene.open(size=1, threads=2)
    release = threading.Event()
    blocked = threading.Semaphore(0)

    def block(argument):
        blocked.release()
        release.wait(scene.patience * 4)

    count = scene.count(10, 100)
    try:
        handles = []
        for kind in scene.side.kinds:
            # None has ended before it has its callback: that would be called here and now, and hold
            # up this thread.
            lane = scene.native.lane(kind)
            lane.pause()
            for number in range(count):
                handles.append(
                    scene.submit(work.echo, number, kind=kind, expected=(number,), lane=kind)
                )
                handles[-1].native.add_done_callback(block)
            lane.resume()
            scene.injected(count)
            for _ in range(count):
                if not blocked.acquire(timeout=scene.patience):
                    scene.give_up(
                        "not all callbacks of %s tasks are called while some block" % kind
                    )
            scene.succeeded(*scene.good(20, kind), *scene.good(5, kind, priority=200),
                            *scene.good(5, kind, delay=0.001))
        # callback= comes before the end is announced. It may hold the place of its task, and no
        # other.
        held = []
        for kind in ("thread", "process"):
            held.append(scene.submit(work.echo, 3, kind=kind, expected=(3,), callback=block))
            scene.injected()
            if not blocked.acquire(timeout=scene.patience):
                scene.give_up("callback= of a %s task is not called" % kind)
            scene.succeeded(*scene.good(20, kind))
            scene.check(
                not held[-1].native.done(),
                "a %s task ended before its callback= had come back" % kind,
            )
        release.set()
        scene.succeeded(*handles, *held)
    finally:
        release.set()


def callbacks_that_submit(scene):
    """Callbacks submit, wait for what they have submitted, and cancel: others, and their own task.
    """
    scene.open(size=1, threads=1)
    values = []
    lock = threading.Lock()     # guards values

    def submit_and_wait(argument):
        for kind in scene.side.kinds:
            handle = scene.submit(work.echo, 5, kind=kind, expected=(5,))
            value = handle.native.value(scene.patience)
            with lock:
                values.append(value)

    expected = 0
    for number in range(scene.count(3, 100)):
        for kind in scene.side.kinds:
            # Coroutines need no place, so the first one may be done already: then the callback is
            # called here and now.
            gate = scene.gate() if kind == "coroutine" else scene.occupy(1, kind=kind)[0]
            first = scene.submit(work.echo, 1, kind=kind, expected=(1,))
            victim = scene.submit(work.echo, 2, kind=kind, delay=1000)
            handles = [first]
            # in a loop, callback= would wait for what runs in the same loop
            if kind != "coroutine":
                handles.append(
                    scene.submit(work.echo, 3, kind=kind, expected=(3,), callback=submit_and_wait)
                )
            first.native.add_done_callback(submit_and_wait)
            first.native.add_done_callback(lambda task, victim=victim: victim.native.cancel())
            first.native.add_done_callback(lambda task: task.cancel())
            expected += len(handles) * len(scene.side.kinds)
            scene.injected(3)
            gate.open()
            scene.succeeded(*handles)
            scene.until(lambda: victim.native.done(), "the task that a callback cancels")
            scene.check(victim.native.cancelled(), "%r was not cancelled by the callback" % victim)
            scene.never_ran(victim)
    scene.until(lambda: len(values) >= expected, "the tasks that callbacks have submitted")
    scene.check(values == [5] * expected, "callbacks got %s" % values)


def callbacks_of_peers(scene):
    """Callbacks that raise: what all that have callbacks can express."""
    def tell():
        raise ValueError("this callback does not like it here")

    for _ in range(scene.count(3, 30)):
        handle = scene.submit(work.echo, 1, expected=(1,))
        scene.side.watch(handle.native, tell)
        scene.injected()
        scene.succeeded(*scene.good(10), handle)


# -- 31 ------------------------------------------------------------------------------------------

DEPTH = 50


def nested_submissions(scene):
    """Each task submits one that does the same and waits for it, in a pool of one, in all ways that
    there are."""
    from atasker_like import as_completed, background_task, current_task, wait_completed

    scene.open(size=1, threads=1)
    ways = {
        "wait_completed": lambda task: wait_completed(task),
        "wait_completed of many": lambda task: wait_completed([task])[0],
        "wait_completed with a timeout": lambda task: wait_completed([task], timeout=1000)[0],
        "as_completed": lambda task: next(iter(as_completed([task]))).value(),
        "task.wait": lambda task: task.wait().value,
        "task.value": lambda task: task.value(),
        "task.value with a timeout": lambda task: task.value(1000),
        "task.exception": lambda task: (task.exception(), task.result)[1],
        "task.completed": lambda task: (task.completed.wait(), task.result)[1],
    }
    runs = []

    def nest(depth):
        scene.adopt(current_task(), "thread", expected=(DEPTH - depth,))
        runs.append(depth)
        if not depth:
            return DEPTH
        return wait(bound(depth - 1)) - 1

    def nest_by_map(depth):
        scene.adopt(current_task(), "thread", expected=(DEPTH - depth,))
        runs.append(depth)
        if not depth:
            return DEPTH
        return next(bound.map([depth - 1], buffersize=buffersize)) - 1

    cases = [(name, nest, wait, None) for name, wait in ways.items()]
    cases += [("map", nest_by_map, None, None), ("map with a buffersize", nest_by_map, None, 1)]
    for _ in range(scene.count(1, 20)):
        for name, function, wait, buffersize in cases:
            del runs[:]
            bound = background_task(function, supervisor=scene.native)
            task = bound(DEPTH)
            scene.injected(DEPTH)
            values = []
            if not within(scene.patience, lambda: values.append(task.value())):
                scene.give_up("%s: stuck in depth %d" % (name, len(runs)))
            scene.check(values == [0], "%s: the outermost task gave %s" % (name, values))
            scene.check(
                sorted(runs) == list(range(DEPTH + 1)),
                "%s: these depths ran: %s" % (name, sorted(runs)),
            )


def nested_coroutines(scene):
    """The same in one loop, and by turns in threads and in the loop, with processes at the bottom.
    """
    from atasker_like import background_task, current_task

    scene.open(size=1, threads=1)

    async def co_nest(depth):
        scene.adopt(current_task(), "coroutine", expected=(DEPTH - depth,))
        if not depth:
            return DEPTH
        return await co_bound(depth - 1) - 1

    async def co_by_turns(depth):
        scene.adopt(current_task(), "coroutine", expected=(DEPTH - depth,))
        return await by_turns_bound(depth - 1) - 1

    def by_turns(depth):
        scene.adopt(current_task(), "thread", expected=(DEPTH - depth,))
        if not depth:
            return scene.submit(work.echo, DEPTH, expected=(DEPTH,)).native.value()
        return co_by_turns_bound(depth - 1).value() - 1

    co_bound = background_task(co_nest, supervisor=scene.native)
    co_by_turns_bound = background_task(co_by_turns, supervisor=scene.native)
    by_turns_bound = background_task(by_turns, supervisor=scene.native)
    for bound in (co_bound, by_turns_bound) * scene.count(1, 20):
        task = bound(DEPTH)
        scene.injected(DEPTH)
        values = []
        if not within(scene.patience, lambda: values.append(task.value())):
            scene.give_up("stuck")
        scene.check(values == [0], "the outermost task gave %s" % values)


# -- 32 ------------------------------------------------------------------------------------------


def _submit_until_refused(scene, kind, barrier, handles, most):
    barrier.wait(scene.patience)
    for number in range(most):
        handle = scene.submit(work.echo, number, kind=kind)
        handles.append(handle)
        if handle.refused is not None:
            return


def submissions_against_a_stop(scene):
    """Many threads submit while another one stops. Accepted means finished; others get an error,
    and nothing ran."""
    from atasker_like import SupervisorStoppedError

    scene.open(size=2, threads=3)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for number in rounds(scene, scene.count(6, 200)):
            scene.native.start()
            how = ({}, {}, {"cancel_tasks": True}, {"wait": False}, {"wait": scene.patience}, {})[
                number % 6
            ]
            kinds = scene.side.kinds[:2] * 2 + scene.side.kinds[2:]
            barrier = threading.Barrier(len(kinds) + 1)
            handles = []
            threads = [
                threading.Thread(
                    target=_submit_until_refused,
                    daemon=True,
                    args=(scene, kind, barrier, handles, scene.count(100, 200)),
                )
                for kind in kinds
            ]
            for thread in threads:
                thread.start()
            barrier.wait(scene.patience)
            count = scene.random.randrange(60)
            deadline = monotonic() + scene.patience
            while len(handles) < count and monotonic() < deadline:
                pass            # let the switch interval do it
            if not within(scene.patience, lambda: scene.native.stop(**how)):
                scene.give_up("stop(%s) did not return" % how)
            for thread in threads:
                thread.join(scene.patience)
                if thread.is_alive():
                    scene.give_up("a submission hangs against stop(%s)" % how)
            if how.get("wait") is False and not within(scene.patience, scene.native.stop):
                scene.give_up("stop() after stop(wait=False) did not return")
            scene.injected()
            scene.wait(*handles)
            for handle in handles:
                if handle.refused is not None:
                    scene.check(
                        type(handle.refused) is SupervisorStoppedError,
                        "refused with %r" % handle.refused,
                    )
                elif handle.outcome is not None and not how.get("cancel_tasks"):
                    scene.check(
                        handle.outcome == ("succeeded", handle.outcome[1]),
                        "stop(%s): %r was accepted, and %s: %s" % (how, handle, *handle.outcome),
                    )
    finally:
        sys.setswitchinterval(interval)


def submissions_against_a_shutdown(scene):
    """The same, once, as far as everyone's interface reaches."""
    scene.open(size=2)
    scene.census()
    handles = []
    barrier = threading.Barrier(5)
    threads = [threading.Thread(target=_submit_until_refused, daemon=True,
                                args=(scene, "process", barrier, handles, 2000)) for _ in range(4)]
    for thread in threads:
        thread.start()
    barrier.wait(scene.patience)
    begin = monotonic()
    while len(handles) < 100 and monotonic() < begin + 1:
        pass
    scene.injected()
    if not within(scene.patience, scene.side.close):
        scene.oracle.violate("A", "closing did not return")
    for thread in threads:
        thread.join(scene.patience)
        scene.check(not thread.is_alive(), "a submission hangs")
    scene.wait(*handles)
    if not scene.strict:
        scene.open(size=2)
