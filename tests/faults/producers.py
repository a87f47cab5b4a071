"""Rows 1, 2, 11 and 28 for what produces tasks by itself, and for executors of an application's
own: workers whose processes die, hang, or are left behind by a fork; executors that break.

Each has a supervisor of its own, since the oracle compares the counters of the scene's with what
the scene submitted. What must hold is the same: each accepted thing comes to one end, once, and
somebody is told.
"""
import asyncio
import os
import queue
import signal
import threading
from collections import Counter
from contextlib import contextmanager

from . import task_functions, work
from .implementations import start_method


@contextmanager
def supervisor_of(scene, processes=0):
    from atasker_like import TaskSupervisor

    scene.open()
    made = TaskSupervisor(pool_size=4)
    if processes:
        made.set_mp_pool(pool_size=processes, reserve_normal=0, reserve_high=0,
                         start_method=start_method(made, scene.method))
    try:
        yield made
        report = made.stop(wait=scene.patience)
        scene.check(
            report.complete and not report.abandoned,
            "the supervisor was stopped with %s" % (report,),
        )
        for kind in ("thread", "process", "coroutine"):
            counts = getattr(made.stats(), kind)
            if counts is not None:
                counts = counts.as_dict()
                ends = counts["succeeded"] + counts["failed"] + counts["cancelled"]
                scene.check(counts["submitted"] == ends, "%s tasks: %d submitted, %d ended" % (
                    kind, counts["submitted"], ends))
    finally:
        made.stop(wait=0, cancel_tasks=True)


def notes_in(path):
    """How often each item has been begun with."""
    try:
        with open(path) as file:
            return Counter(line.split()[0] for line in file)
    except FileNotFoundError:
        return Counter()


def _errors(scene, told):
    """The errors that on_error was told, which must be deaths of processes."""
    from atasker_like import ProcessDiedError

    for error in told:
        scene.check(type(error) is ProcessDiedError, "on_error got %r" % (error,))
    return len(told)


# -- workers -------------------------------------------------------------------------------------


def worker_that_kills(scene):
    """An interval worker whose runs kill their processes, every other one, beside tasks that do no
    harm."""
    from atasker_like import TT_MP, BackgroundIntervalWorker, background_task

    class Worker(BackgroundIntervalWorker):
        run = staticmethod(task_functions.kill_every_other)

        def process_result(self, result):
            results.append(result)

    results, told = [], []
    path = os.path.join(scene.folder, "runs")
    with supervisor_of(scene, processes=2) as supervisor:
        worker = Worker(interval=0.005, supervisor=supervisor, on_error=lambda e: told.append(e))
        worker.start(path)
        beside = [
            background_task(work.echo, tt=TT_MP, supervisor=supervisor)(number)
            for number in range(20)
        ]
        deaths = scene.count(3, 50)
        scene.until(
            lambda: len(told) >= deaths and len(results) >= deaths,
            "the worker to go on after deaths",
        )
        scene.injected(len(told))
        scene.check(worker.is_active(), "the worker is not active any more")
        scene.check(
            worker.stop(wait=scene.patience) and worker.is_stopped(), "the worker cannot be stopped"
        )
        scene.check(
            [task.value(scene.patience) for task in beside] == list(range(20)),
            "tasks beside it were harmed",
        )
        stats = worker.stats()
        ends = len(results) + _errors(scene, told)
        scene.check(
            stats.runs == ends and stats.failures == len(told),
            "%s, and %d ends, %d of them bad" % (stats, ends, len(told)),
        )
        notes = notes_in(path)
        scene.check(sum(notes.values()) == stats.runs, "%s, and it ran %s" % (stats, notes))


def queue_worker_while_processes_die(scene):
    """Processes are killed, at whatever they are, while a queue worker works in them. Each item is
    run once, and gives its result, or its error to on_error."""
    from atasker_like import BackgroundQueueWorker

    class Worker(BackgroundQueueWorker):
        run = staticmethod(task_functions.note_and_give)

        def process_result(self, result):
            results.append(result)

    results, told = [], []
    path = os.path.join(scene.folder, "items")
    items, kills = scene.count(300, 5000), scene.count(8, 200)
    with supervisor_of(scene, processes=2) as supervisor:
        worker = Worker(supervisor=supervisor, on_error=lambda e: told.append(e))
        for item in range(items):
            worker.put_threadsafe(item)
        worker.start(path=path)
        for number in range(kills):
            seen = number * items // kills
            scene.until(lambda: len(results) + len(told) >= seen, "the worker to go on")
            pids = supervisor.mp_pool.pids()
            if pids:
                pid = scene.random.choice(pids)
                try:
                    scene.kill(pid)
                except ProcessLookupError:          # it has ended by itself: it is being replaced
                    pass
        scene.until(
            lambda: len(results) + len(told) >= items,
            "all items: %d results, %d errors" % (len(results), len(told)),
        )
        worker.stop()
    bad = _errors(scene, told)
    notes = notes_in(path)
    scene.check(
        len(results) + bad == items,
        "%d items, %d results and %d errors" % (items, len(results), bad),
    )
    scene.check(results == sorted(set(results)), "the results came twice, or in another order")
    twice = [item for item, times in notes.items() if times > 1]
    scene.check(not twice, "ran twice: %s" % twice)
    scene.check(worker.stats().waiting == 0, "%d items were left" % worker.stats().waiting)


def workers_that_hang(scene):
    """stop(wait=0) while runs hang: a process that ignores SIGTERM is ended, a coroutine is
    cancelled, a thread that looks learns of it; one that does not look is told of, and holds up
    nobody."""
    from atasker_like import BackgroundEventWorker, background_worker, current_task

    gate = scene.gate()
    looks, blind, slept = threading.Event(), threading.Event(), threading.Event()

    class Hung(BackgroundEventWorker):
        run = staticmethod(work.ignore_termination)

    def thread_that_looks():
        looks.set()
        released.wait(scene.patience)
        current_task().check_cancelled()

    def thread_that_does_not():
        blind.set()
        released.wait(scene.patience)

    async def coroutine():
        slept.set()
        await asyncio.get_running_loop().create_future()

    released = threading.Event()
    with supervisor_of(scene, processes=1) as supervisor:
        workers = [background_worker(function, e=True, supervisor=supervisor)
                   for function in (thread_that_looks, thread_that_does_not, coroutine)]
        workers.append(Hung(supervisor=supervisor))
        for worker in workers:
            worker.start(*((gate,) if type(worker) is Hung else ()))
            worker.trigger_threadsafe()
        for event in (looks, blind, slept):
            scene.check(event.wait(scene.patience), "a run did not begin")
        scene.arrived(gate)
        scene.injected(len(workers))
        for worker in workers:
            worker.stop(wait=0)
            scene.check(not worker.is_active(), "%r is active" % worker)
        for worker in workers[2:]:
            scene.check(worker.wait_until_stop(scene.patience), "%r does not end" % worker)
        scene.check(
            not any(worker.is_stopped() for worker in workers[:2]),
            "a thread that runs is called stopped",
        )
        released.set()
        for worker in workers[:2]:
            scene.check(worker.wait_until_stop(scene.patience), "%r does not end" % worker)


def workers_and_a_fork(scene):
    """The application forks while workers of all kinds are at work. The child has them, stopped,
    and may start them; those of the parent go on."""
    from atasker_like import background_worker

    got = queue.Queue()
    ticks = []
    with supervisor_of(scene) as supervisor:
        collector = background_worker(got.put, q=True, supervisor=supervisor)
        ticker = background_worker(lambda: ticks.append(1), interval=0.001, supervisor=supervisor)
        ceaseless = background_worker(lambda: None, supervisor=supervisor)

        async def touch():
            pass

        toucher = background_worker(touch, e=True, supervisor=supervisor)
        # Items that wait in the parent are the parent's, and so are the locks of their queue.
        released = threading.Event()
        held = background_worker(
            lambda item: released.wait(scene.patience), q=queue.Queue, supervisor=supervisor
        )
        for item in range(3):
            held.put_threadsafe(item)
        workers = [collector, ticker, ceaseless, toucher, held]
        for worker in workers:
            worker.start()
        toucher.trigger_threadsafe()
        scene.until(
            lambda: ticks and toucher.stats().runs and held.stats().waiting == 2,
            "the workers to begin",
        )
        for number in range(scene.count(3, 100)):
            scene.injected()
            pid = os.fork()
            if not pid:
                status = 1
                try:
                    # a child that hangs ends, and says so by its status
                    signal.alarm(int(scene.patience))
                    status = _use_workers_in_child(supervisor, workers, got)
                finally:
                    os._exit(status)
            status = os.waitpid(pid, 0)[1]
            scene.check(not status, "the child ended with status %s" % (status >> 8 or -status))
            before = len(ticks), ceaseless.stats().runs
            collector.put_threadsafe(number)
            scene.check(
                got.get(timeout=scene.patience) == number, "the parent's item was not its own"
            )
            scene.until(lambda: len(ticks) > before[0] and ceaseless.stats().runs > before[1],
                        "the parent's workers to go on")
        scene.check(held.stats().waiting == 2, "the parent has lost items")
        released.set()
        scene.until(lambda: held.stats().runs == 3, "the parent's items")


def _use_workers_in_child(supervisor, workers, got):
    """What is wrong, as an exit status."""
    collector, ticker, _, toucher, held = workers
    if any(worker.is_active() or worker.is_started() for worker in workers):
        return 2
    if supervisor.get_schedulers():
        return 3
    if held.stats().waiting:
        return 7
    collector.put_threadsafe("child")
    runs = ticker.stats().runs
    if not (
        collector.start() and ticker.start() and toucher.start() and toucher.trigger_threadsafe()
    ):
        return 4
    if got.get() != "child":
        return 5
    while ticker.stats().runs == runs:
        pass
    collector.stop()
    report = supervisor.stop()
    return 0 if report.complete and not any(worker.is_active() for worker in workers) else 6


# -- executors of an application's own -----------------------------------------------------------


def executor_whose_process_dies(scene):
    """A process of a ProcessPoolExecutor in the place of the pool is killed by what it runs: all
    tasks end, none of them runs twice, those that come are told, and run when another executor is
    put in place."""
    from concurrent.futures import ProcessPoolExecutor

    from atasker_like import TT_MP, PoolBrokenError, background_task

    path = os.path.join(scene.folder, "items")

    def executor():
        return ProcessPoolExecutor(2, mp_context=scene.side.context)

    with supervisor_of(scene) as supervisor:
        note = background_task(task_functions.note_and_give, tt=TT_MP, supervisor=supervisor)
        die = background_task(work.end_by_signal, tt=TT_MP, supervisor=supervisor)
        for number in range(scene.count(1, 20)):
            with executor() as broken:
                supervisor.mp_pool = broken
                names = ["%d-%d" % (number, item) for item in range(40)]
                tasks = [note(name, path) for name in names[:20]]
                scene.injected()
                victim = die()
                tasks += [note(name, path) for name in names[20:]]
                errors = [task.exception(scene.patience) for task in (*tasks, victim)]
                scene.check(
                    all(error is None or type(error) is PoolBrokenError for error in errors),
                    "the errors are %s" % (errors,),
                )
                scene.check(errors[-1] is not None, "what killed its process succeeded")
                late = note("late", path).exception(scene.patience)
                scene.check(
                    type(late) is PoolBrokenError and "mp_pool" in str(late),
                    "the next one got %r" % (late,),
                )
            with executor() as whole:
                supervisor.mp_pool = whole
                values = [note(name, path + "-after").value(scene.patience) for name in names]
                scene.check(values == names, "with another executor they gave %s" % values)
                notes = notes_in(path)
                scene.check(all(notes[name] <= 1 for name in names), "ran twice: %s" % notes)
                done = [name for name, error in zip(names, errors) if error is None]
                scene.check(
                    all(notes[name] == 1 for name in done), "succeeded, and never ran: %s" % notes
                )
                scene.check(
                    not supervisor.stats().waiting and not supervisor.stats().active,
                    "some are alive still",
                )
