"""Rows 37 to 39: under load, processes are recycled, tasks overtake others, and pools change their
size."""
import os
import threading
from collections import Counter, deque
from time import monotonic

from . import task_functions, work

# -- 37 ------------------------------------------------------------------------------------------


def recycling(scene):
    """One process, replaced after every second task, and many tasks."""
    scene.open(size=1, maxtasksperchild=2)
    count = scene.count(40, 1000)
    handles = []
    for number in range(count):
        handles.append(
            scene.submit(work.pid, name="recycled") if scene.strict else scene.submit(work.pid)
        )
    scene.injected(count // 2)
    deadline = monotonic() + scene.patience * scene.count(1, 10)
    for handle in handles:
        if handle.refused is None and handle.wait(max(0.0, deadline - monotonic())) is None:
            break
    scene.succeeded(*handles)
    pids = Counter(handle.outcome[1] for handle in handles if handle.outcome is not None)
    most = max(pids.values(), default=0)
    scene.check(most <= 2, "a process was used for %d tasks" % most)
    if scene.strict:
        scene.check(len(pids) == (count + 1) // 2, "%d processes for %d tasks" % (len(pids), count))
    if scene.side.method in ("forkserver", "spawn"):
        # Fifty processes start, one after another, for the hundred tasks that come afterwards. That
        # takes over half a minute if all cores are busy.
        scene.patience *= 4


# -- 38 ------------------------------------------------------------------------------------------

#: Seconds after which a waiting task rises by one class.
AGING = 0.15


class _EndlessHigh:
    """Has so many HIGH tasks wait at any time: each one that ends submits the next."""

    def __init__(self, scene, kind, many=25):
        self._scene, self._kind, self._many = scene, kind, many
        self._lock = threading.Lock()       # guards what follows
        self._handles = deque()
        self._over = False
        self.ended = 0

    def __enter__(self):
        for _ in range(self._many):
            self._next()
        return self

    def __exit__(self, *error):
        with self._lock:
            self._over = True

    def _next(self, task=None):
        from atasker_like import TASK_HIGH

        with self._lock:
            self.ended += task is not None
            if self._over:
                return
        handle = self._scene.submit(
            task_functions.pause, 0.001, 1, kind=self._kind, priority=TASK_HIGH, expected=(1,)
        )
        handle.native.add_done_callback(self._next)

    def wait(self, count):
        """Wait until so many more have ended."""
        wanted = self.ended + count
        self._scene.until(lambda: self.ended >= wanted, "%d HIGH tasks to end" % count)


def endless_high(scene):
    """HIGH tasks never stop coming. With aging, a LOW one rises by one class an interval, and then
    has its turn."""
    from atasker_like import TASK_LOW, TASK_NORMAL

    scene.open(size=1, threads=1)
    for kind, change in (
        ("thread", scene.native.set_thread_pool),
        ("process", scene.native.set_mp_pool),
    ):
        scene.wait(*scene.good(1, kind))
        with _EndlessHigh(scene, kind) as high:
            starved = scene.submit(work.echo, 1, kind=kind, priority=TASK_LOW, expected=(1,))
            high.wait(scene.count(50, 1000))
            scene.check(
                not starved.native.is_started(),
                "without aging, a LOW %s task ran beside HIGH ones" % kind,
            )
            change(aging=AGING)
            for _ in range(scene.count(2, 20)):
                handles = {
                    priority: scene.submit(
                        work.echo, 1, kind=kind, priority=priority, expected=(1,)
                    )
                    for priority in (TASK_LOW, TASK_NORMAL)
                }
                scene.injected(2)
                scene.succeeded(*handles.values())
                for priority, intervals in ((TASK_NORMAL, 1), (TASK_LOW, 2)):
                    result = handles[priority].native.wait()
                    waited = result.started_at - result.created_at
                    # The HIGH tasks that are there when it has risen come first, and the machine
                    # may be busy.
                    scene.check((intervals - 1) * AGING < waited < intervals * AGING + 1.0,
                                "a %s task of priority %d waited %.3f s, with aging each %g s" % (
                                    kind, priority, waited, AGING))
                scene.check(
                    handles[TASK_NORMAL].native.wait().started_at
                    <= handles[TASK_LOW].native.wait().started_at,
                    "a LOW %s task has overtaken a NORMAL one" % kind,
                )
            scene.succeeded(starved)
            change(aging=0)
            again = scene.submit(work.echo, 1, kind=kind, priority=TASK_LOW, expected=(1,))
            high.wait(scene.count(50, 1000))
            scene.check(
                not again.native.is_started(),
                "a LOW %s task ran after aging had been switched off" % kind,
            )
        scene.succeeded(again)


# -- 39 ------------------------------------------------------------------------------------------


class _Crowd:
    """Counts how many tasks of threads run at the same time."""

    def __init__(self):
        self._lock = threading.Lock()       # guards what follows
        self._now = 0
        self.most = 0

    def enter(self):
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        task_functions.pause(0.0005)
        with self._lock:
            self._now -= 1


def resized(scene):
    """The pools get 4, 1 and 8 places, again and again, while they are full and others submit."""
    scene.open(size=4, threads=4)
    over = threading.Event()
    crowd = _Crowd()

    def submit(kind):
        while not over.is_set():
            handles = [
                (
                    scene.submit(crowd.enter, kind=kind, expected=(None,))
                    if kind == "thread"
                    else scene.submit(task_functions.pause, 0.0005, 1, expected=(1,))
                )
                for _ in range(12)
            ]
            if any(
                (handle.refused is not None) or handle.wait(scene.patience) is None
                for handle in handles
            ):
                return

    submitters = [threading.Thread(target=submit, args=(kind,), daemon=True)
                  for kind in ("thread", "process") for _ in range(2)]
    for submitter in submitters:
        submitter.start()
    try:
        for turn in range(scene.count(2, 50)):
            for size in (4, 1, 8):
                scene.native.set_thread_pool(pool_size=size)
                scene.native.set_mp_pool(pool_size=size)
                scene.injected(2)
                scene.succeeded(*scene.good(10), *scene.good(10, "thread"))
    finally:
        over.set()
        for submitter in submitters:
            submitter.join(scene.patience)
            scene.check(not submitter.is_alive(), "a submission hangs")
    scene.wait(*scene.oracle.handles)
    for size in (4, 1, 8, 2):
        scene.native.set_thread_pool(pool_size=size)
        scene.native.set_mp_pool(pool_size=size)
        for kind in ("thread", "process"):
            _has_places(scene, kind, size)
    scene.size = 2
    scene.check(crowd.most <= 8, "%d tasks ran at once in a pool of 8 threads" % crowd.most)


def _has_places(scene, kind, size):
    """So many tasks run at once, and no more."""
    gate = scene.gate()
    handles = [scene.submit(work.enter, gate, kind=kind, expected=(None,)) for _ in range(size + 2)]
    pids = scene.arrived(gate, size)
    more = [handle for handle in handles if handle.native.is_started()]
    scene.check(
        len(more) == size and not gate.wait(1, 0.02),
        "%d %s tasks run at once in %d places" % (len(more), kind, size),
    )
    if kind == "process":
        scene.check(
            len(set(pids)) == size and os.getpid() not in pids,
            "%d tasks run in %d processes" % (size, len(set(pids))),
        )
    gate.open()
    scene.succeeded(*handles)
