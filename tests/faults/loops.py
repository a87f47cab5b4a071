"""Rows 34 to 36: loops that are closed, coroutines that are cancelled, and clocks that jump."""
import asyncio
import sys
import threading
from time import monotonic

from . import task_functions, work
from .fixtures import Log, Uncaught, enter, within

# -- 34 ------------------------------------------------------------------------------------------


def loop_closed(scene):
    """A loop of the application is closed while its coroutines wait for tasks, in every way. The
    tasks go on and are recorded; that nobody is left to be told is no error, in no thread."""
    from atasker_like import co_as_completed, co_mp_apply, co_wait_completed

    async def wait_one(handles):
        await handles[0].native

    async def wait_all(handles):
        await co_wait_completed([handle.native for handle in handles])

    async def wait_each(handles):
        async for task in co_as_completed([handle.native for handle in handles]):
            task.value()

    async def apply(handles):
        await co_mp_apply(work.echo, (1,), supervisor=scene.native)

    scene.open(size=1, threads=1)
    # coroutines that are destroyed tell their closed loop, which is no business of the supervisor
    kept = []
    with Uncaught() as uncaught, Log() as log, Log("asyncio") as loops_log:
        for _ in range(scene.count(3, 100)):
            for kind in ("thread", "process"):
                gates = [scene.occupy(1, kind=each)[0] for each in ("thread", "process")]
                handles = scene.good(3, kind)
                loop = asyncio.new_event_loop()
                before = set(scene.native.get_tasks())
                waiting = [
                    loop.create_task(wait(handles))
                    for wait in (wait_one, wait_all, wait_each, apply)
                ]
                loop.run_until_complete(_turns(3))
                applied = [
                    task for name, task in scene.native.get_tasks().items() if name not in before
                ]
                handles += [scene.adopt(task, "process", expected=(1,)) for task in applied]
                loop.close()
                scene.injected(len(waiting))
                for gate in gates:
                    gate.open()
                scene.succeeded(*handles)
                scene.check(
                    not any(task.done() for task in waiting),
                    "a coroutine of a closed loop came to an end",
                )
                kept += waiting
        scene.succeeded(*scene.good(5, "coroutine"))
        scene.check(not uncaught.errors, "errors in threads: %s" % uncaught.errors)
        scene.check(not log.said(), "the log says: %s" % log.said())
        scene.check(not loops_log.said(), "the log of asyncio says: %s" % loops_log.said())
    _forget(kept)


def _forget(tasks):
    """Let go of tasks of a closed loop, without what asyncio says of such: the scenario itself has
    closed the loop."""
    for task in tasks:
        task._log_destroy_pending = False


async def _turns(count):
    for _ in range(count):
        await asyncio.sleep(0)


def loop_of_a_task_closed(scene):
    """The loop in which coroutine tasks run is closed under them: they are given an end, and others
    go on."""
    from atasker_like import background_task

    async def stay():
        await asyncio.get_running_loop().create_future()

    scene.open()
    with Uncaught() as uncaught:
        for _ in range(scene.count(3, 100)):
            loop = asyncio.new_event_loop()
            bound = background_task(stay, loop=loop, supervisor=scene.native)
            running = [scene.adopt(bound(), "coroutine") for _ in range(3)]
            loop.run_until_complete(_turns(3))
            for handle in running:
                scene.check(
                    handle.native.state == "running", "the coroutine is %s" % handle.native.state
                )
            unbegun = [scene.adopt(bound(), "coroutine") for _ in range(3)]
            pending = asyncio.all_tasks(loop)
            loop.close()
            _forget(pending)
            scene.injected(6)
            unbegun.append(scene.adopt(bound(), "coroutine"))       # the next caller finds out
            scene.wait(*running, *unbegun)
            for handle in running + unbegun:
                if handle.outcome is not None:
                    scene.check(
                        handle.outcome[0] in ("cancelled", "failed"),
                        "%r: %s" % (handle, handle.outcome),
                    )
        scene.succeeded(*scene.good(5, "coroutine"))
        scene.check(not uncaught.errors, "errors in threads: %s" % uncaught.errors)


def loop_ends_while_tasks_end(scene):
    """Loops end, one after the other, at the very time at which what their coroutines wait for
    ends."""
    scene.open(size=2, threads=2)

    async def wait(natives):
        waiting = [asyncio.ensure_future(_awaited(native)) for native in natives]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    with Uncaught() as uncaught, Log() as log:
        for _ in range(scene.count(20, 1000)):
            handles = [handle for kind in scene.side.kinds for handle in scene.good(4, kind)]
            if not within(scene.patience, asyncio.run, wait([handle.native for handle in handles])):
                scene.give_up("a loop hangs")
            scene.injected()
            scene.succeeded(*handles)
        scene.check(not uncaught.errors, "errors in threads: %s" % uncaught.errors)
        scene.check(not log.said(), "the log says: %s" % log.said())


async def _awaited(native):
    return await native


# -- 35 ------------------------------------------------------------------------------------------


def _apply(scene, function, *args):
    """Start ``co_mp_apply`` in the running loop; return its asyncio task, and the handle of its
    task."""
    from atasker_like import co_mp_apply

    handle = enter(scene, "process", function.__name__)
    before = set(scene.native.get_tasks())
    awaiter = asyncio.ensure_future(
        co_mp_apply(
            work.noted, (scene.journal, handle.token, function, *args), supervisor=scene.native
        )
    )
    return awaiter, handle, before


async def _applied(scene, handle, before):
    await _turns(2)
    (handle.native,) = [
        task for name, task in scene.native.get_tasks().items() if name not in before
    ]


async def _cancelled(awaiter, way):
    """Cancel a coroutine that waits, by hand or by the timeout of its caller."""
    if way == "cancel":
        awaiter.cancel()
        waiting = awaiter
    else:
        waiting = asyncio.wait_for(awaiter, 0.001)
    try:
        await waiting
    except (asyncio.CancelledError, asyncio.TimeoutError):
        return
    raise AssertionError("the cancelled coroutine came to its end")


def awaiter_cancelled(scene):
    """Cancelling what awaits ``co_mp_apply`` cancels the task: queued, it never runs; running, its
    process is ended."""
    scene.open(size=1)

    async def main():
        for turn in range(scene.count(2, 40)):
            way = ("cancel", "wait_for")[turn % 2]
            gate, pids = scene.occupy(1)
            awaiter, handle, before = _apply(scene, work.echo, 1)
            await _applied(scene, handle, before)
            await _cancelled(awaiter, way)
            scene.injected()
            gate.open()
            scene.wait(handle, *scene.good(3))
            scene.check(
                handle.outcome == ("cancelled", None),
                "queued, cancelled by %s: %s" % (way, handle.outcome),
            )
            scene.never_ran(handle)
            scene.survived(pids[0])

            gate = scene.gate()
            awaiter, handle, before = _apply(scene, task_functions.stay, gate)
            await _applied(scene, handle, before)
            (pid,) = scene.arrived(gate)
            await _cancelled(awaiter, way)
            scene.injected()
            scene.wait(handle, *scene.good(3))
            scene.check(
                handle.outcome == ("cancelled", None),
                "running, cancelled by %s: %s" % (way, handle.outcome),
            )
            scene.replaced(pid)

    asyncio.run(main())


def waiter_cancelled(scene):
    """Cancelling what awaits a task does not cancel the task: others may be waiting for it."""
    from atasker_like import co_as_completed, co_wait_completed

    async def wait_each(handles):
        async for task in co_as_completed([handle.native for handle in handles]):
            task.value()

    ways = [lambda handles: _awaited(handles[0].native),
            lambda handles: co_wait_completed([handle.native for handle in handles]), wait_each]
    scene.open(size=1, threads=1)

    async def main():
        for turn in range(scene.count(2, 40)):
            for kind in ("thread", "process"):
                gate, _ = scene.occupy(1, kind=kind)
                handles = scene.good(3, kind)
                for wait in ways:
                    awaiter = asyncio.ensure_future(wait(handles))
                    await _turns(2)
                    await _cancelled(awaiter, ("cancel", "wait_for")[turn % 2])
                    scene.injected()
                gate.open()
                scene.succeeded(*handles)

    asyncio.run(main())


# -- 36 ------------------------------------------------------------------------------------------

DAY = 86400.0
#: Seconds of the delays that are looked at.
DELAY = 0.05


class _WallClock:
    """The wall clock of the package, which can be put forward and back."""

    def __init__(self):
        import time

        self._time = time.time
        self.ahead = 0.0
        self._patched = []

    def __enter__(self):
        import time

        for name, module in list(sys.modules.items()):
            if name.split(".")[0] == "atasker_like" and getattr(module, "time", None) is self._time:
                self._patched.append(module)
        self._patched.append(time)
        for module in self._patched:
            module.time = self
        return self

    def __exit__(self, *error):
        for module in self._patched:
            module.time = self._time

    def __call__(self):
        return self._time() + self.ahead


def wall_clock_jumps(scene):
    """The wall clock jumps by a day, forward or back, while tasks wait for their time: they do not
    notice."""
    from atasker_like import TaskTimeoutError, WaitTimeoutError

    scene.open(size=2, threads=2)
    kinds = scene.side.kinds
    for kind in kinds:
        scene.wait(*scene.good(1, kind))
    with _WallClock() as clock:
        for turn in range(scene.count(2, 40)):
            jump = DAY if turn % 2 else -DAY
            begin = monotonic()
            delayed = [handle for kind in kinds for handle in scene.good(2, kind, delay=DELAY)]
            retried = []
            for kind in kinds:
                path = "%s/retried-%s-%d" % (scene.folder, kind, turn)
                retried.append(
                    scene.submit(
                        task_functions.fail_until,
                        path,
                        1,
                        4,
                        kind=kind,
                        expected=(4,),
                        at_most=2,
                        retries=1,
                        retry_delay=DELAY,
                    )
                )
            at = [
                scene.submit(work.echo, 5, kind=kind, expected=(5,), run_at=clock() + 4 * DELAY)
                for kind in kinds
            ]
            gate = scene.gate()
            late = [scene.submit(work.enter, gate, kind=kind, timeout=DELAY) for kind in kinds[:2]]
            ages = scene.submit(work.echo, 6, kind="thread", delay=1000 * DAY)
            waited = []

            def wait():
                before = monotonic()
                try:
                    ages.native.wait(DELAY)
                except WaitTimeoutError:
                    waited.append(monotonic() - before)

            waiter = threading.Thread(target=wait, daemon=True)
            waiter.start()
            clock.ahead += jump
            scene.injected()
            for handles, least in ((delayed, DELAY), (retried, DELAY), (at, 3 * DELAY)):
                scene.succeeded(*handles)
                for handle in handles:
                    if handle.outcome is not None:
                        # Measured by the steady clock, and by the task's own record.
                        lasted = handle.native.wait().finished_at - handle.native.wait().created_at
                        scene.check(
                            lasted >= least - 0.001,
                            "a jump of %g s: %r ended after %.3f s" % (jump, handle, lasted),
                        )
                        scene.check(
                            lasted < scene.patience,
                            "a jump of %g s: %r ended after %.3f s" % (jump, handle, lasted),
                        )
            for handle in late:
                scene.failed(handle, TaskTimeoutError)
            waiter.join(scene.patience)
            scene.check(
                waited and waited[0] >= DELAY - 0.001,
                "a jump of %g s: waiting %g s took %s" % (jump, DELAY, waited),
            )
            scene.check(
                not ages.native.done(),
                "a jump of %g s ended what had a thousand days to wait" % jump,
            )
            ages.native.cancel()
            gate.open()
            scene.check(
                monotonic() - begin < scene.patience, "a jump of %g s held everything up" % jump
            )
