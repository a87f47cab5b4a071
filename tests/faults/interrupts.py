"""Rows 26 and 27: the main thread is interrupted, by an exception or by a handler, at the worst
lines."""
import os
import signal
import threading
from contextlib import contextmanager
from time import monotonic

from . import work
from .fixtures import AtLine, attempt, bind, conclude, enter, within

#: Lines that are left out between two interrupts of a quick form, and one.
STRIDE = 7


# -- what is interrupted -------------------------------------------------------------------------
#
# Each operation is called with the scene of an attempt and with ``interrupted(call, standstill)``,
# which makes a call that is interrupted somewhere; it returns the exception, if one came out, and
# the value. ``standstill`` is called when the call waits for something.


def _submit(inner, interrupted, kind, **options):
    """Submit one task. If that raises, its function must not run; if not, it must succeed."""
    bound = bind(inner, kind, **options)
    handle = enter(inner, kind)
    handle.refused, handle.native = interrupted(
        lambda: bound(inner.journal, handle.token, work.echo, 7)
    )
    if handle.refused is None:
        handle.expected = (7,)


def _submission(kind="thread", idle=False, **options):
    def submit(inner, interrupted):
        inner.open(size=1, threads=1)
        if idle:
            inner.wait(*inner.good(1, kind))
        _submit(inner, interrupted, kind, **options)
    return submit


def _submission_to_a_busy_pool(kind):
    def submit(inner, interrupted):
        inner.open(size=1, threads=1)
        gate, _ = inner.occupy(1, kind=kind)
        inner.good(2, kind)
        _submit(inner, interrupted, kind)
        gate.open()
    return submit


def _submission_to_a_busy_lane(kind):
    def submit(inner, interrupted):
        inner.open(size=2, threads=2)
        lane = inner.native.lane("busy", limit=1)
        gate, _ = inner.occupy(1, kind=kind, lane="busy")
        inner.good(2, kind, lane="busy")
        _submit(inner, interrupted, kind, lane="busy")
        gate.open()
        inner.wait(*inner.good(2, kind, lane="busy"))       # it goes on
        inner.check(not lane.running and not lane.waiting, "the lane is left as %r" % lane)
    return submit


def _submission_of_many(kind, **options):
    """All or none of the calls may run."""
    def submit(inner, interrupted):
        inner.open(size=1, threads=2)
        bound = bind(inner, kind, **options)
        handles = [enter(inner, kind) for _ in range(5)]
        error, values = interrupted(
            lambda: bound.starmap(
                [(inner.journal, handle.token, work.echo, 7) for handle in handles]
            )
        )
        for handle in handles:
            if error is not None:
                handle.refused = error
            else:
                conclude(handle, "succeeded", next(values))
    return submit


def _submission_by_put_task(inner, interrupted):
    inner.open(threads=1)
    handle = enter(inner, "thread")
    handle.refused, handle.native = interrupted(lambda: inner.native.put_task(
        work.noted, (inner.journal, handle.token, work.echo), {}, task_id="mine"))
    if handle.refused is None:
        handle.expected = (None,)


SUBMISSIONS = {
    "the first submission": _submission(),
    "a submission to an idle thread": _submission(idle=True),
    "a submission to a busy pool": _submission_to_a_busy_pool("thread"),
    "a submission with retries": _submission(retries=1),
    "a submission with a timeout": _submission(idle=True, timeout=1000),
    "a submission with a delay": _submission(delay=0.001),
    "a submission by put_task": _submission_by_put_task,
    "a submission of many": _submission_of_many("thread"),
    "a submission of many to a lane": _submission_of_many("thread", lane="tested"),
    "a submission to a busy lane": _submission_to_a_busy_lane("thread"),
    "a submission of a coroutine to a lane": _submission("coroutine", idle=True, lane="tested"),
    "a submission of a coroutine": _submission("coroutine"),
    "a submission to a loop that runs": _submission("coroutine", idle=True),
}

PROCESS_SUBMISSIONS = {
    "the first submission": _submission("process"),
    "a submission to an idle process": _submission("process", idle=True),
    "a submission to a busy pool": _submission_to_a_busy_pool("process"),
    "a submission with a timeout": _submission("process", idle=True, timeout=1000),
    "a submission of many": _submission_of_many("process"),
    "a submission to a busy lane": _submission_to_a_busy_lane("process"),
}


def _waiting(wait, kind="thread"):
    """Wait for tasks that come to their end while the caller waits; the wait can be repeated."""
    def operation(inner, interrupted):
        inner.open(size=1, threads=1)
        gate, _ = inner.occupy(1, kind=kind)
        inner.good(2, kind)
        handles = list(inner.oracle.handles)
        tasks = [handle.native for handle in handles]
        error, values = interrupted(lambda: wait(tasks), gate.open)
        gate.open()
        if error is None:
            inner.check(values == [None, 0, 1], "waiting gave %r" % (values,))
        if inner.check(within(inner.patience, wait, tasks), "waiting again did not return"):
            inner.succeeded(*handles)
    return operation


def _wait_completed(tasks):
    from atasker_like import wait_completed

    return wait_completed(tasks)


def _as_completed(tasks):
    from atasker_like import as_completed

    values = {task: task.value() for task in as_completed(tasks)}
    return [values[task] for task in tasks]


def _milestones(tasks):
    for task in tasks:
        task.started.wait()
        task.completed.wait(1000)
    return [task.result for task in tasks]


WAITS = {
    "wait_completed": _waiting(_wait_completed),
    "as_completed": _waiting(_as_completed),
    "task.wait": _waiting(lambda tasks: [task.wait().value for task in tasks]),
    "task.value with a timeout": _waiting(lambda tasks: [task.value(1000) for task in tasks]),
    "task.started and task.completed": _waiting(_milestones),
}

PROCESS_WAITS = {"wait_completed": _waiting(_wait_completed, "process")}


def _stop(kind="thread", **how):
    """Stop with tasks that run, that wait and that are delayed. Whatever came in between, the next
    stop must return."""
    def operation(inner, interrupted):
        inner.open(size=1, threads=2)
        gate, _ = inner.occupy(1, kind=kind)
        for _ in range(3):
            inner.submit(work.echo, 7, kind=kind, expected=(7,))
        if how:
            for handle in inner.oracle.handles:     # what runs in a process is ended then, too
                handle.expected = None
        inner.submit(work.echo, kind="thread", delay=1000)
        if kind == "coroutine":
            inner.wait(*inner.good(1, kind))
        error, _ = interrupted(lambda: inner.native.stop(**how), gate.open)
        gate.open()
        inner.check(
            within(inner.patience, inner.native.stop),
            "the stop after the interrupted one did not return",
        )
    return operation


STOPS = {
    "stop": _stop(),
    "stop(cancel_tasks=True)": _stop(cancel_tasks=True),
    "stop(wait=5)": _stop(wait=5),
    "stop(wait=False)": _stop(wait=False),
}

PROCESS_STOPS = {
    "stop": _stop("process"),
    "stop(cancel_tasks=True)": _stop("process", cancel_tasks=True),
}


# -- 26: an exception at every line --------------------------------------------------------------


def _at_every_line(scene, operations, kinds, make_action, stride=STRIDE):
    """Repeat each operation, interrupted one line later each time, until it comes to its end
    uninterrupted.

    ``make_action(inner)`` gives the action at the line, see AtLine.
    """
    stride = scene.count(stride, 1)
    for title, operation in operations.items():
        number = 1 + scene.random.randrange(stride)
        wrong = 0
        where = title
        while where is not None and wrong < 2:
            before = len(scene.oracle.violations)
            with attempt(scene, "%s, at its line %d" % (title, number), kinds) as inner:
                lines = []

                def interrupted(call, standstill=None):
                    at = AtLine(number, make_action(inner), standstill)
                    lines.append(at)
                    value = None
                    try:
                        with at:
                            value = call()
                    except KeyboardInterrupt as error:
                        return error, None
                    return None, value

                operation(inner, interrupted)
                where = lines[0].where
                inner.title += " (%s)" % where
                inner.injected(where is not None)
            wrong += len(scene.oracle.violations) > before
            number += stride


def interrupted_submissions(scene):
    """KeyboardInterrupt at every line of submitting to threads and loops."""
    _at_every_line(scene, SUBMISSIONS, ("thread",), lambda inner: None, STRIDE + 4)


def interrupted_waits(scene):
    """KeyboardInterrupt at every line of waiting."""
    _at_every_line(scene, WAITS, ("thread",), lambda inner: None)


def interrupted_stops(scene):
    """KeyboardInterrupt at every line of stopping."""
    _at_every_line(scene, STOPS, ("thread",), lambda inner: None)


def interrupted_with_processes(scene):
    """The same with the pool of processes."""
    operations = {}
    for some in (PROCESS_SUBMISSIONS, PROCESS_WAITS, PROCESS_STOPS):
        operations.update(some)
    _at_every_line(scene, operations, ("process",), lambda inner: None, STRIDE * 3)


# -- 27: a handler -------------------------------------------------------------------------------


class Handler:
    """What a signal handler of an application may do: it submits, asks what is going on, and
    cancels.

    Where the interrupted thread cannot go on before the handler returns, it must not wait for it.
    What it submits must succeed. In the middle of a stop it may be refused, or be cancelled, and
    must not run then.
    """

    def __init__(self, scene, kinds=("thread",), victims=(), stopping=False):
        self._scene = scene
        self._stopping = stopping
        self._bound = {kind: bind(scene, kind) for kind in kinds}
        self._turn = 0
        self._inside = False
        self.victims = list(victims)        # natives that it cancels
        self.calls = 0

    def __call__(self, *signal_and_frame):
        if self._inside:            # it takes longer than the time to the next signal
            return
        self._inside = True
        try:
            self._act()
        except BaseException as error:
            self._scene.oracle.violate(
                "X", "in the handler: %s: %s" % (type(error).__name__, error)
            )
        finally:
            self._inside = False

    def _act(self):
        from atasker_like import SupervisorStoppedError

        self.calls += 1
        self._turn += 1
        kinds = sorted(self._bound)
        kind = kinds[self._turn % len(kinds)]
        handle = enter(self._scene, kind)
        try:
            handle.native = self._bound[kind](
                self._scene.journal, handle.token, work.echo, self._turn
            )
        except SupervisorStoppedError as error:
            handle.refused = error
            self._scene.check(self._stopping, "a submission of the handler was refused: %s" % error)
        else:
            handle.expected = None if self._stopping else (self._turn,)
            handle.watched = True

            def tell(task):
                handle.told += 1

            handle.native.add_done_callback(tell)
        info = self._scene.native.get_info()
        self._scene.check(
            info.thread_tasks_count == len(info.thread_tasks),
            "get_info() contradicts itself: %r" % info,
        )
        self._scene.native.stats()
        if self.victims:
            self.victims.pop().cancel()

    def finish(self):
        """Cancel the victims that are left."""
        while self.victims:
            self.victims.pop().cancel()


def _handled_at_every_line(scene, operations, **options):
    def handler(inner):
        inner.handler = Handler(
            inner, victims=[inner.submit(work.echo, kind="thread", delay=1000).native], **options
        )
        return inner.handler

    def finished(operation):
        def with_victims(inner, interrupted):
            operation(inner, interrupted)
            inner.handler.finish()      # its line may not have come
        return with_victims

    operations = {title: finished(operation) for title, operation in operations.items()}
    _at_every_line(scene, operations, ("thread",), handler, STRIDE + 4)


def handled_in_submissions(scene):
    """A handler at every line of submitting."""
    _handled_at_every_line(scene, SUBMISSIONS)


def handled_in_waits(scene):
    """A handler at every line of waiting."""
    _handled_at_every_line(scene, WAITS)


def handled_in_stops(scene):
    """A handler at every line of stopping."""
    _handled_at_every_line(scene, STOPS, stopping=True)


def timer_signal(scene):
    """A signal a thousand times a second, whose handler uses the supervisor, while the main thread
    does."""
    from atasker_like import wait_completed

    scene.open(size=2, threads=2)
    kinds = ("thread", "process", "coroutine")
    for kind in kinds:
        scene.wait(*scene.good(1, kind))
    handler = Handler(scene, kinds)
    least = scene.count(300, 20000)
    deadline = monotonic() + scene.patience * scene.count(1, 10)
    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        while handler.calls < least and monotonic() < deadline:
            for kind in kinds:
                handles = (
                    scene.good(5, kind)
                    + scene.good(2, kind, retries=1)
                    + scene.good(2, kind, timeout=1000)
                )
                handler.victims += [scene.submit(work.echo, kind=kind, delay=1000).native,
                                    scene.submit(work.echo, kind=kind).native]
                wait_completed([handle.native for handle in handles])
                _as_completed([handle.native for handle in handles])
            scene.native.get_info()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    handler.finish()
    scene.injected(handler.calls)
    scene.check(handler.calls >= least, "only %d signals were handled" % handler.calls)


# -- 27: a storm ---------------------------------------------------------------------------------


class Storm:
    """SIGINT, about two thousand times a second, sent by another thread.

    It becomes a KeyboardInterrupt, once for each call of ``expose``, when it finds the main thread
    inside the package; elsewhere it would break the harness, and say nothing of the package.
    """

    def __init__(self):
        import atasker_like

        self._package = os.path.dirname(atasker_like.__file__) + os.sep
        self._exposed = False
        self._over = threading.Event()
        self.raised = 0

    def __enter__(self):
        self._before = signal.signal(signal.SIGINT, self._handle)
        self._sender = threading.Thread(target=self._send, daemon=True)
        self._sender.start()
        return self

    def __exit__(self, *error):
        self._over.set()
        self._sender.join()
        signal.signal(signal.SIGINT, self._before)

    def _send(self):
        while not self._over.wait(0.0005):
            os.kill(os.getpid(), signal.SIGINT)

    def _handle(self, number, frame):
        if self._exposed:
            while frame is not None:
                if frame.f_code.co_filename.startswith(self._package):
                    self._exposed = False
                    self.raised += 1
                    raise KeyboardInterrupt
                frame = frame.f_back

    def expose(self, call):
        """Make a call; return the KeyboardInterrupt that came out of it, or None, and its value."""
        self._exposed = True
        try:
            return None, call()
        except KeyboardInterrupt as error:
            return error, None
        finally:
            self._exposed = False


@contextmanager
def _stormy(scene, kinds):
    with attempt(scene, "a storm", kinds, patience=20.0) as inner:
        inner.open(size=2, threads=2)
        storm = Storm()
        with storm:
            yield inner, storm
            for _ in range(50):
                error, _ = storm.expose(inner.native.stop)
                if error is None:
                    break
        inner.check(
            within(inner.patience, inner.native.stop), "the stop after the storm did not return"
        )
        inner.injected(storm.raised)
        _overtaken(inner)


def _overtaken(inner):
    """A real interrupt can come out of a submission that has been carried out, in its last
    instruction, where Python looks for signals again; for the caller, that is the same as one just
    after it. Such a task counts as submitted."""
    ran = inner.oracle.ran()
    for handle in inner.oracle.handles:
        if isinstance(handle.refused, KeyboardInterrupt) and ran[handle.token]:
            handle.refused = None
            conclude(handle, "succeeded", 7)


def storm_of_interrupts(scene):
    """Ctrl-C held down, by someone who goes on all the same."""
    from atasker_like import as_completed

    kinds = ("thread", "process", "coroutine")
    least = scene.count(100, 3000)
    with _stormy(scene, kinds[:2]) as (inner, storm):
        bound = [(kind, bind(inner, kind, **options)) for kind in kinds
                 for options in ({}, {"retries": 1}, {"delay": 0.001}, {"timeout": 1000})]
        deadline = monotonic() + inner.patience * scene.count(1, 10)
        accepted = []
        while storm.raised < least and monotonic() < deadline:
            kind, function = scene.random.choice(bound)
            for _ in range(scene.random.randrange(1, 10)):
                handle = enter(inner, kind)
                handle.refused, handle.native = storm.expose(
                    lambda: function(inner.journal, handle.token, work.echo, 7))
                if handle.refused is None:
                    accepted.append(handle)
            some = accepted[-5:]
            wait = scene.random.choice(
                [
                    _wait_completed,
                    lambda tasks: list(as_completed(tasks)),
                    _milestones,
                    lambda tasks: [task.wait(1000) for task in tasks],
                ]
            )
            storm.expose(lambda: wait([handle.native for handle in some]))
            storm.expose(inner.native.stats)
            storm.expose(inner.native.get_info)
            if some and not scene.random.randrange(5):
                storm.expose(some[-1].native.cancel)
        inner.check(storm.raised >= least, "only %d interrupts were raised" % storm.raised)
