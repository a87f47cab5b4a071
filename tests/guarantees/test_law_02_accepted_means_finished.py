"""Law 2. Accepted means finished: accepting and enqueuing are one step. If submitting raised, the
function never runs. If it returned, the task ends, through crashes, stops and exits of the
interpreter."""
import asyncio
import os
import signal
import threading
from dataclasses import dataclass

import pytest

from atasker_like import TT_COROUTINE, TT_MP, TT_THREAD, SupervisorStoppedError, background_task
from atasker_like.pools import thread_starter
from atasker_like.pools.process import starter as processes
from tests.support import PATIENCE
from tests.support.gates import Hold
from tests.support.internals import check_oracle, warm
from tests.support.internals.engine import heap_of, incoming_of, spec_of, start_many
from tests.support.internals.process_pool import io_thread_of, is_closing, processes_of
from tests.support.scripts import lines, run_script, stop_process
from tests.support.threads import Tally, join, later, started, wait_for

from ..support.internals import manager
from . import functions


def submissions(supervisor, ran):
    """The ways into the thread pool, each as a call that returns the tasks."""
    bound = background_task(ran.append, supervisor=supervisor)
    return {
        "call": lambda: [bound(1)],
        "with options": lambda: [bound.options(retries=1)(1)],
        "delayed": lambda: [bound.options(delay=1000)(1)],
        "many": lambda: start_many(bound, [(1,), (2,)]),
        "many with options":
            lambda: start_many(bound.options(retries=1), [(1,), (2,)]),
        "put_task": lambda: [supervisor.put_task(ran.append, (1,))],
    }


WAYS = ["call", "with options", "delayed", "many", "many with options", "put_task"]


@pytest.mark.parametrize("way", WAYS)
def test_a_stop_that_comes_first_refuses_and_the_function_never_runs(make, way):
    supervisor, ran = make(), []
    supervisor.start()
    submit = later(submissions(supervisor, ran)[way])
    held = manager(supervisor).threads.lock.hold_before(submit)
    submit.begin()
    held.reached()              # it is on its way in, and the whole stop overtakes it
    supervisor.stop(wait=PATIENCE)
    held.go()
    assert isinstance(join(submit), SupervisorStoppedError)
    assert not ran
    check_oracle(supervisor, [])
    assert not heap_of(manager(supervisor).timer) and not incoming_of(manager(supervisor).timer)


@pytest.mark.parametrize("way", WAYS)
def test_a_submission_that_comes_first_is_finished_by_the_stop(make, way):
    supervisor, ran = make(), []
    supervisor.start()
    submit = later(submissions(supervisor, ran)[way])
    held = manager(supervisor).threads.lock.hold_after(submit)
    submit.begin()
    held.reached()              # accepted, and its thread not launched yet
    stop = started(supervisor.stop)
    wait_for(lambda: not manager(supervisor).threads.accepting, "the stop has begun")
    held.go()
    tasks = join(submit)
    assert join(stop).complete
    for task in tasks:
        assert task.done()
        assert task.state == ("cancelled" if way == "delayed" else "succeeded")
    assert ran == ([] if way == "delayed" else [1, 2][:len(tasks)])
    check_oracle(supervisor, tasks)


def test_a_submission_overtaken_by_a_stop_and_a_start_is_finished(make):
    """The timer that the submitter has seen is gone by the time the task is accepted."""
    supervisor, ran = make(), []
    supervisor.start()
    submit = later(submissions(supervisor, ran)["delayed"])
    held = manager(supervisor).threads.lock.hold_before(submit)
    submit.begin()
    held.reached()
    supervisor.stop(wait=PATIENCE)
    supervisor.start()
    held.go()
    (task,) = join(submit)
    supervisor.clock.forward(manager(supervisor).timer)
    task.value(PATIENCE)
    assert ran == [1]
    check_oracle(supervisor, [task])


def test_a_refused_submission_starts_no_thread(make):
    supervisor = make()
    supervisor.start()
    supervisor.stop(wait=PATIENCE)
    before = set(threading.enumerate())

    async def coroutine():
        pass

    for refused in (lambda: background_task(len, supervisor=supervisor, delay=1)(""),
                    lambda: supervisor.put_task(coroutine, tt=TT_COROUTINE)):
        with pytest.raises(SupervisorStoppedError):
            refused()
    assert set(threading.enumerate()) == before


@dataclass(frozen=True)
class Frozen(Exception):
    """An exception that refuses every assignment, of its traceback and its cause too."""


def raise_frozen():
    raise Frozen()


async def raise_frozen_in_a_loop():
    raise Frozen()


class OddText(str):
    """A str that does not become a plain one."""

    def __str__(self):
        return self


def raise_odd_text():
    raise ValueError(OddText("odd"))


@pytest.mark.parametrize("tt, function, kind", [
    (TT_THREAD, raise_frozen, Frozen), (TT_COROUTINE, raise_frozen_in_a_loop, Frozen),
    pytest.param(TT_MP, raise_frozen, Frozen, marks=pytest.mark.slow),
    pytest.param(TT_MP, raise_odd_text, ValueError, marks=pytest.mark.slow)])
def test_no_exception_is_too_odd_to_end_its_task(make, tt, function, kind):
    supervisor = make(processes=1)
    task = supervisor.put_task(function, tt=tt)
    assert isinstance(task.exception(PATIENCE), kind)
    after = supervisor.put_task(function, tt=tt)
    assert isinstance(after.exception(PATIENCE), kind)
    check_oracle(supervisor, [task, after])


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), MemoryError()])
def test_a_task_whose_thread_does_not_start_waits_for_one_that_does(make, monkeypatch, error):
    supervisor = make(pool_size=2)
    gate, ran = Hold(), []
    first = supervisor.put_task(gate)
    gate.reached()

    def refuse(thread):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        second = supervisor.put_task(ran.append, (2,))
        assert not ran
    gate.go()
    second.wait(PATIENCE)
    assert ran == [2]
    check_oracle(supervisor, [first, second])


def test_a_child_whose_thread_does_not_start_is_looked_for_again(make, monkeypatch):
    """Nobody is left to come round but the timer: the only thread waits for the task that has
    none."""
    supervisor = make()
    start, refused = threading.Thread.start, []

    def refuse_once(thread):
        if "_thread_" in thread.name and not refused:
            refused.append(thread)
            raise RuntimeError("can't start new thread")
        start(thread)

    def parent():
        monkeypatch.setattr(threading.Thread, "start", refuse_once)
        return supervisor.put_task(len, ("four",)).value(PATIENCE)

    task = supervisor.put_task(parent)
    assert task.value(PATIENCE) == 4
    assert refused


def test_threads_that_do_not_start_are_tried_once_a_round_however_many_tasks_wait(make,
                                                                                  monkeypatch):
    supervisor = make(pool_size=4)
    # who tells of late starts needs a thread, too
    supervisor.timeout_warning = supervisor.timeout_critical = None
    timer, now = manager(supervisor).timer, [1000.0]
    timer.clock = lambda: now[0]
    start, tries = threading.Thread.start, []

    def refuse(thread):
        if "_thread_" in thread.name:
            tries.append(thread)
            raise RuntimeError("can't start new thread")
        start(thread)

    def round():
        """Put the clock forward, and wait until the timer has done all that was due."""
        now[0] += thread_starter.START_RETRY
        done = threading.Event()
        timer.call_at(now[0], done.set)
        assert done.wait(PATIENCE)

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        tasks = [supervisor.put_task(functions.echo, (number,)) for number in range(20)]
        assert len(tries) == 20
        for number in range(1, 6):
            round()
            assert len(tries) == 20 + number
    round()
    assert [task.value(PATIENCE) for task in tasks] == list(range(20))
    check_oracle(supervisor, tasks)


@pytest.mark.parametrize("which", [1, 2])
def test_a_stop_waits_for_a_process_that_is_being_started(make, monkeypatch, which):
    supervisor = make(processes=2)
    pool = manager(supervisor).processes
    launch, gate, calls = processes.launch, Hold(), []

    def one_waits(*args):
        calls.append(None)
        if len(calls) == which:
            gate()
        return launch(*args)

    monkeypatch.setattr(processes, "launch", one_waits)
    tasks = [supervisor.put_task(functions.echo, (number,), tt=TT_MP) for number in range(8)]
    gate.reached()
    if which == 1:
        assert all(task.cancel() for task in tasks)
    else:
        assert [task.value(PATIENCE) for task in tasks] == list(range(8))
    stop = started(supervisor.stop)
    wait_for(lambda: is_closing(pool), "the pool is being closed")
    gate.go()
    assert join(stop).complete
    assert not pool.pids() and pool.process_count() == 0 and io_thread_of(pool) is None
    check_oracle(supervisor, tasks)


@pytest.mark.slow
def test_a_task_sent_to_a_frozen_process_runs_elsewhere(make):
    supervisor = make(processes=1)
    bound = background_task(functions.pid, tt=TT_MP, supervisor=supervisor, timeout=1000)
    first = bound()
    frozen = first.value(PATIENCE)
    stop_process(supervisor, frozen)
    second = bound()
    assert second.state == "running"
    supervisor.clock.forward(manager(supervisor).timer)     # it has not begun in all its time
    assert second.value(PATIENCE) not in (None, frozen)
    check_oracle(supervisor, [first, second])


def test_a_large_task_to_a_stopped_process_does_not_block_the_submitter(make):
    supervisor = make(processes=1)
    bound = background_task(functions.echo, tt=TT_MP, supervisor=supervisor)
    first = supervisor.put_task(functions.pid, tt=TT_MP)
    pid = first.value(PATIENCE)
    warm(bound, b"")
    stop_process(supervisor, pid)
    payload = b"x" * (4 << 20)          # more than any pipe holds
    tasks = [bound(payload) for _ in range(3)]
    assert not any(task.done() for task in tasks)
    processes_of(manager(supervisor).processes)[0].process.kill()
    assert all(task.value(PATIENCE) == payload for task in tasks)
    check_oracle(supervisor, [first, *tasks, _warmed(supervisor)])


def _warmed(supervisor):
    done = supervisor.put_task(functions.nothing, tt=TT_MP)
    done.wait(PATIENCE)
    spec_of(done).pool.registry.last -= 1       # it stands for the one that warm() has run
    return done


@pytest.mark.parametrize("size", [10, 300000])
def test_large_arguments_and_large_results_at_once_do_not_lock_up(make, size):
    supervisor = make(processes=1)
    bound = background_task(functions.echo, tt=TT_MP, supervisor=supervisor)
    bound(b"").wait(PATIENCE)
    tasks = []
    for number in range(24):
        spec_of(bound).expected_runtime = 1e-6
        tasks.append(bound(bytes([number]) * size))
    for number, task in enumerate(tasks):
        assert task.value(PATIENCE) == bytes([number]) * size


def test_a_coroutine_cancelled_before_its_first_step_has_an_end(make):
    supervisor = make()
    aloop = supervisor.create_aloop("own", default=True)
    loop, gate = aloop.get_loop(), Hold()

    async def never():
        raise AssertionError("this has not been cancelled")

    # With a factory of its own, no coroutine makes its first step at once.
    loop.set_task_factory(lambda loop, coro, **options: asyncio.Task(coro, loop=loop, **options))
    loop.call_soon_threadsafe(gate)
    gate.reached()              # what follows is all done in one turn of the loop
    task = supervisor.put_task(never, tt=TT_COROUTINE)
    loop.call_soon_threadsafe(lambda: [each.cancel() for each in asyncio.all_tasks(loop)])
    gate.go()
    assert task.wait(PATIENCE).status == "cancelled"
    check_oracle(supervisor, [task])


def test_a_coroutine_that_comes_while_its_loop_stops_has_an_end(make):
    supervisor = make()
    aloop = supervisor.create_aloop("own")
    loop = aloop.get_loop()
    release, begun = [], threading.Event()

    async def first():
        release.append(asyncio.Event())
        begun.set()
        await release[0].wait()

    async def second():
        await asyncio.sleep(1000)

    one = background_task(first, loop=loop, supervisor=supervisor)()
    assert begun.wait(PATIENCE)
    stop = started(aloop.stop)
    wait_for(lambda: aloop.thread is None, "the stop has begun")
    wait_for(lambda: len(asyncio.all_tasks(loop)) > 1, "the loop waits for its tasks")
    two = background_task(second, loop=loop, supervisor=supervisor)()
    loop.call_soon_threadsafe(release[0].set)
    join(stop)
    one.wait(PATIENCE)
    assert two.wait(PATIENCE).status in ("cancelled", "failed")
    check_oracle(supervisor, [one, two])


def test_a_coroutine_for_a_closed_loop_has_an_end(make):
    supervisor = make()
    loop = asyncio.new_event_loop()
    loop.close()

    async def never():
        raise AssertionError("this cannot run")

    task = background_task(never, loop=loop, supervisor=supervisor)()
    assert task.wait(PATIENCE).status == "failed"
    check_oracle(supervisor, [task])


def test_a_stop_past_its_deadline_leaves_nothing_without_an_end(make):
    supervisor = make(processes=1)
    gate, begun = Hold(), threading.Event()

    async def stubborn():
        begun.set()
        while True:
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                if gate._go.is_set():
                    raise

    tally = Tally()
    tasks = [supervisor.put_task(gate), supervisor.put_task(len, ("",)),
             background_task(len, supervisor=supervisor, delay=1000)(""),
             supervisor.put_task(functions.hold_the_interpreter, (1000,), tt=TT_MP)]
    gate.reached()
    for task in tasks:
        tally.watch(task)
    tasks[3].started.wait(PATIENCE)
    supervisor.stop(wait=0)
    for task in tasks:
        assert task.done(), task
    tally.settle(tasks)
    gate.go()
    check_oracle(supervisor, tasks)


EXIT = """
import sys
from atasker_like import background_task, task_supervisor, TT_MP
from tests.guarantees import functions
path, gate = sys.argv[1:]
task_supervisor.set_thread_pool(1, 0, 0)
task_supervisor.set_mp_pool(1)
note = background_task(functions.note)
for number in range(20):
    note(path, "thread")
for number in range(20):
    task_supervisor.put_task(functions.note, (path, "process"), tt=TT_MP)
note.options(delay=1000)(path, "delayed")
"""


@pytest.mark.slow
def test_what_was_accepted_is_finished_at_the_exit_of_the_interpreter(tmp_path):
    path = str(tmp_path / "notes")
    run_script(EXIT, path, "")
    noted = lines(path)
    assert (noted.count("thread"), noted.count("process"), noted.count("delayed")) == (20, 20, 0)


INTERRUPTING = """
import dis, gc, linecache, sys, threading, time
from functools import partial
from atasker_like import Lane, TaskSupervisor, background_task

gc.disable()        # an interrupt in a finalizer is ignored

def interrupted(call, line):
    # Make a call with an interrupt at its line of this number. Return where that was, if the call
    # has so many lines, and if the call raised.
    seen, blocks = [0], set()

    def trace(frame, event, argument):
        if "atasker_like" not in frame.f_code.co_filename:
            return None
        if event == "line":
            if (sys.version_info >= (3, 11)
                    and frame.f_code.co_code[frame.f_lasti] == dis.opmap["NOP"]):
                return trace        # no signal is seen there, and no block covers it
            text = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
            if text.strip().startswith("with "):
                # The line comes again when the block is left. No signal is seen there before the
                # lock is free.
                if (frame, frame.f_lineno) in blocks:
                    return trace
                blocks.add((frame, frame.f_lineno))
            seen[0] += 1
            if seen[0] == line:
                seen.append((frame.f_code.co_name, frame.f_lineno))
                raise KeyboardInterrupt
        return trace

    raised = False
    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        raised = True
    finally:
        sys.settrace(None)
    return seen[1:], raised

def look(supervisor):
    pool = supervisor._supervisor_parts.pools.threads
    for lock in (pool.lock, supervisor._supervisor_parts.pools.timer._start_lock):
        if not lock.acquire(timeout=10):
            return ["a lock is held without end"]
        lock.release()
    if not pool.drain(time.monotonic() + 10):
        return ["a task never ends"]
    supervisor.stop()
    return ["a place is lost"] if pool.run_queue.active else []

def at_any_line(attempt, *more):
    line = 0
    while True:
        line += 1
        where, problems = attempt(line, *more)
        if problems:
            print(line, where, problems, *more)
        if problems or not where:
            break
    print("looked at", line > 10)
"""

SUBMITTING = INTERRUPTING + """
def attempt(line, options):
    supervisor = TaskSupervisor(pool_size=1)
    supervisor.start()
    ran = []
    bound = background_task(lambda: ran.append(1), supervisor=supervisor, **options)
    bound().value(10) if line % 2 else None         # with an idle thread, and without
    del ran[:]
    where, raised = interrupted(bound, line)
    problems = look(supervisor)
    if raised and ran:
        problems.append("raised, and ran")
    if not raised and not ran:
        problems.append("accepted, and never ran")
    return where, problems

for options in ({}, {"retries": 1}, {"delay": 0.0001}):
    at_any_line(attempt, options)
"""

OPENING = INTERRUPTING + """
def attempt(line, resized):
    supervisor = TaskSupervisor(pool_size=2)
    supervisor.start()
    # with an idle thread, and without
    background_task(abs, supervisor=supervisor)(1).value(10) if line % 2 else None
    lane = None
    ran, gate, held = [], threading.Event(), []
    if resized:
        held = [background_task(gate.wait, supervisor=supervisor)() for _ in range(2)]
        deed = partial(supervisor.set_thread_pool, pool_size=4)
    else:
        lane = Lane(limit=2)
        lane.pause()
        deed = lane.resume
    bound = background_task(ran.append, supervisor=supervisor, lane=lane)
    tasks = [bound(number) for number in range(5)]
    where, raised = interrupted(deed, line)
    deed()
    for task in tasks:
        task.wait(10)
    gate.set()
    problems = look(supervisor)
    if sorted(ran) != list(range(5)):
        problems.append("ran: %s" % ran)
    if lane is not None and lane.running:
        problems.append("a place of the lane is lost")
    return where, problems

for resized in (False, True):
    at_any_line(attempt, resized)
"""


@pytest.mark.slow
def test_an_interrupt_at_any_line_of_a_submission_loses_nothing():
    assert run_script(SUBMITTING).splitlines() == ["looked at True"] * 3


@pytest.mark.slow
def test_an_interrupt_at_any_line_of_the_opening_of_a_lane_or_of_more_slots_loses_nothing():
    assert run_script(OPENING).splitlines() == ["looked at True"] * 2


def test_a_process_killed_at_any_moment_leaves_each_task_with_one_end(make, tmp_path):
    """One that has not begun runs elsewhere, one that has begun fails; each leaves one line at
    most."""
    supervisor = make(processes=1)
    path = str(tmp_path / "notes")
    bound = background_task(functions.note, tt=TT_MP, supervisor=supervisor)
    tasks = [supervisor.put_task(functions.pid, tt=TT_MP)]
    pid = tasks[0].value(PATIENCE)
    tasks.append(bound(path, "0"))
    tasks[1].wait(PATIENCE)
    spec_of(bound).expected_runtime = 1e-6
    stop_process(supervisor, pid)
    sent = [bound(path, str(number)) for number in range(1, 9)]
    processes_of(manager(supervisor).processes)[0].process.kill()
    for task in sent:
        task.wait(PATIENCE)
    assert [task.state for task in sent] == ["succeeded"] * 8
    assert lines(path) == [str(number) for number in range(9)]
    check_oracle(supervisor, tasks + sent)


def test_a_task_for_a_frozen_idle_process_whose_pipe_is_full_runs_when_it_goes_on(make):
    """What was sent and taken back stays in the pipe until the process reads it."""
    supervisor = make(processes=1)
    echo = background_task(functions.echo, tt=TT_MP, supervisor=supervisor)
    assert echo(1).value(PATIENCE) == 1
    process, = processes_of(manager(supervisor).processes)
    stop_process(supervisor, process.pid)
    try:
        for _ in range(4000):
            last = echo(bytes(1000))
            if process.outbox:
                break
            assert last.cancel()
        assert process.outbox
    finally:
        os.kill(process.pid, signal.SIGCONT)
    assert last.value(PATIENCE) == bytes(1000)
    assert echo(2).value(PATIENCE) == 2
