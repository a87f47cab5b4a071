"""Supervisors and their parts, the states of their pools, and jobs."""
import threading
from time import monotonic

from .. import PATIENCE
from ..clock import Clock
from ..locks import LyingLock
from .replaced import Replaced


def inject(supervisor):
    """Give a supervisor that has not been started lying locks and an obedient clock; return it, for
    chaining."""
    supervisor._supervisor_parts.pools.timer.clock = supervisor.clock = Clock()
    for pool in pools(supervisor):
        pool.use_lock(LyingLock())
    return supervisor


def pools(supervisor):
    """The pools of a supervisor, the process pool if there is one."""
    return list(supervisor._supervisor_parts.pools.by_kind.values())


def check_oracle(supervisor, tasks, drained=True):
    """Every task that was accepted has one final state, the counters say so, and no place is lost.
    """
    deadline = monotonic() + PATIENCE
    for pool in pools(supervisor):
        if drained:
            assert pool.drain(deadline), "alive: %r" % list(pool.registry.live.values())[:5]
        with pool.lock:
            registry, run_queue = pool.registry, pool.run_queue
            own = [task for task in tasks if task._spec.pool is pool]
            states = {"succeeded": 0, "failed": 0, "cancelled": 0}
            for task in own:
                assert task.done(), "%r has not ended" % task
                states[task.state] += 1
            assert not registry.live and not registry.named
            assert run_queue.waiting == 0
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
                active = pool.run_queue.active
            if not active:
                break
            # a thread frees its place a moment after it has told of its task
            never.wait(0.001)
        assert active == 0, "%s: %d places are lost" % (pool.name, active)


def check_accounts(pool):
    """Look at a pool whose lock is held: each live task is in exactly one place, and the places add
    up."""
    run_queue = pool.run_queue
    standing = {}
    for level in run_queue._levels.values():
        for task in level:
            if task._status == 0:
                standing[id(task)] = standing.get(id(task), 0) + 1
    assert run_queue.waiting == sum(standing.values()), (run_queue.waiting, len(standing))
    inside = {}
    if hasattr(pool, "_threads"):
        holders = [
            member for member in pool._threads if member.task is not None and not member.abandoned
        ]
        for member in holders:
            inside[id(member.task)] = inside.get(id(member.task), 0) + 1
        occupied = sum(1 for member in holders if not member.lend_depth)
    else:
        for process in pool._processes:
            for task in process.inflight:
                inside[id(task)] = inside.get(id(task), 0) + 1
        occupied = sum(1 for process in pool._processes if process.inflight)
    assert run_queue.active == occupied, (run_queue.active, occupied)
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
    """Have a function of the process pool measured as very short, so that its tasks are sent ahead.
    """
    bound(*args).value(PATIENCE)
    bound._spec.expected_runtime = 1e-6


def parts(supervisor):
    """Return the parts of a supervisor."""
    return supervisor._supervisor_parts


def manager(supervisor):
    """Return the part that has the pools, the timer and the loops of a supervisor."""
    return supervisor._supervisor_parts.pools


def former_pools_of(supervisor):
    """Return the pools of threads and processes by the names that they had in atasker."""
    return supervisor._threads, supervisor._processes


# -- the exit of the interpreter -------------------------------------------------------------------

#: True while the supervisors are stopped at the exit.
FINISHING = Replaced("_finishing")


def application_threads():
    """Return the threads that the exit waits for."""
    from atasker_like.supervisor import interpreter_exit

    return interpreter_exit._application_threads()


# -- jobs ------------------------------------------------------------------------------------------

#: The mailbox of the loop of a job scheduler.
MAILBOX = Replaced("_mailbox")

#: Called when a job scheduler may have become idle.
ON_END = Replaced("_on_end")

#: The waiters for the end of a job scheduler.
SCHEDULER_WAITERS = Replaced("_waiters")

#: The jobs of a scheduler.
JOBS = Replaced("_jobs")


def start_of_job_class():
    """Return the class of what last_start_of() returns."""
    from atasker_like import jobs

    return jobs._Start


def loop_of_scheduler(scheduler):
    return scheduler._loop


def next_start_at(job):
    """Return the time of the next start of a job."""
    return job._deadline


def last_start_of(job):
    return job._start


def has_begun(start):
    """Return True if the coroutine of a start exists, and is not withdrawn."""
    return start._is_entered() and start._coro is not None


def is_over(start):
    return start._done
