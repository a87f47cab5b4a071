"""Law 4. User code runs with no lock held: callbacks, hooks, backends and tasks may call back into
the supervisor. What they raise is logged, never fatal."""
import asyncio
import gc
import logging
import os
import threading

import pytest

from atasker_like import TT_COROUTINE, TT_MP, TaskTimeoutError, background_task, current_task
from tests.support import PATIENCE
from tests.support.gates import Hold
from tests.support.internals import check_oracle, pools
from tests.support.internals.engine import HEAP_LOCK, outcome_of
from tests.support.internals.pool import idle_threads_of
from tests.support.locks import LyingLock
from tests.support.threads import FREE_THREADED, join, merged, started, wait_for

from ..support.internals import manager
from . import functions


class Witness:
    """Called as user code: notes whether the calling thread holds a lock of the supervisor, and
    calls back into it."""

    def __init__(self, supervisor):
        self._supervisor = supervisor
        HEAP_LOCK.put(manager(supervisor).timer, LyingLock())
        self._locks = [HEAP_LOCK.of(manager(supervisor).timer),
                       *(pool.lock for pool in pools(supervisor))]
        self.seen = {}
        self.guilty = []
        self.made = []
        self._told = threading.Condition()

    def __call__(self, where, call_back=True):
        if any(lock.held_here() for lock in self._locks):
            self.guilty.append(where)
        elif call_back:
            self._supervisor.stats()
            if manager(self._supervisor).threads.accepting:
                task = self._supervisor.put_task(len, ("",))
                task.cancel()
                self.made.append(task)
        with self._told:
            self.seen[where] = self.seen.get(where, 0) + 1
            self._told.notify_all()

    def wait(self, *wheres):
        """Wait until the user code of all these places has run, and judge it."""
        with self._told:
            met = self._told.wait_for(lambda: all(where in self.seen for where in wheres), PATIENCE)
        assert met, "never called: %r" % (set(wheres) - set(self.seen))
        assert not self.guilty, "called with a lock held: %r" % self.guilty

    def argument(self, where):
        """An argument whose finalizer is user code."""
        return _Finalized(self, where)


class _Finalized:
    def __init__(self, witness, where):
        self._witness, self._where = witness, where

    def __del__(self):
        self._witness(self._where)


class _HeldWakeUp:
    """The lock that an idle pool thread sleeps on; the thread that releases it is held before."""

    def __init__(self, lock, hold):
        self.hold = hold
        self.acquire, self.locked, self._release = lock.acquire, lock.locked, lock.release

    def release(self):
        if self.hold is not None:
            self.hold()
        self._release()


@pytest.fixture
def witness(make):
    supervisor = make(processes=1)
    found = Witness(supervisor)
    found.supervisor = supervisor
    gc.disable()            # what is finalized here is finalized by its last reference
    yield found
    gc.enable()


def test_tasks_callbacks_and_hooks_of_threads(witness):
    supervisor = witness.supervisor

    def work():
        witness("task")
        current_task().report_progress(1)

    task = background_task(work, supervisor=supervisor,
                           callback=lambda value: witness("callback"))()
    task.add_done_callback(lambda done: witness("done callback"))
    task.wait(PATIENCE)
    task.add_done_callback(lambda done: witness("late done callback"))
    witness.wait("task", "callback", "done callback", "late done callback")


@pytest.mark.parametrize("ending",
                         ["returns", "raises", "cancelled", "delayed cancelled", "marked",
                          "timeout", "given up"])
def test_finalizers_of_arguments_of_threads(witness, ending):
    supervisor = witness.supervisor
    gate = Hold()

    def work(argument, hold):
        del argument
        if hold is not None:
            hold()
        if ending == "raises":
            raise ValueError

    options = ({"timeout": 1000} if ending == "timeout"
               else {"delay": 1000} if ending == "delayed cancelled" else {})
    bound = background_task(work, supervisor=supervisor, **options)
    if ending == "cancelled":
        blocker = supervisor.put_task(gate)
        gate.reached()
    task = bound(witness.argument("argument"),
                 None if ending in ("returns", "raises") or "cancelled" in ending else gate)
    if ending in ("marked", "timeout", "given up"):
        gate.reached()
    if "cancelled" in ending:
        assert task.cancel()
    elif ending == "marked":
        assert task.mark_completed()
    elif ending == "timeout":
        supervisor.clock.forward(manager(supervisor).timer)
        task.exception(PATIENCE)
    elif ending == "given up":
        supervisor.stop(wait=0)
    if ending == "raises":
        task.exception(PATIENCE)
        # its frames hold the arguments
        outcome_of(task).error.__traceback__ = outcome_of(task).traceback = None
    gate.go()
    witness.wait("argument")
    if ending == "cancelled":
        blocker.wait(PATIENCE)


def test_finalizers_when_a_task_ends_before_its_thread_has_looked_at_it(witness):
    """The thread has been given the task and has not taken its arguments: the last references are
    the engine's."""
    supervisor = witness.supervisor
    supervisor.put_task(len, ("",)).value(PATIENCE)
    wait_for(lambda: idle_threads_of(manager(supervisor).threads), "an idle thread")
    bound = background_task(lambda argument: None, supervisor=supervisor, timeout=1000)
    submit = started(lambda: None)
    join(submit)
    hold = Hold()
    (member,) = idle_threads_of(manager(supervisor).threads)
    member.wake = _HeldWakeUp(member.wake, hold)
    task = []
    submit = started(lambda: task.append(bound(witness.argument("argument"))))
    hold.reached()
    member.wake.hold = None
    supervisor.clock.forward(manager(supervisor).timer)
    wait_for(lambda: not manager(supervisor).threads.registry.live, "the timeout")
    hold.go()
    join(submit)
    witness.wait("argument")
    task[0].exception(PATIENCE)


def test_user_code_of_the_process_pool(witness):
    supervisor = witness.supervisor
    functions.Rebuilt.on_reduce = lambda: witness("pickling of the argument")
    functions.Rebuilt.on_rebuild = lambda: witness("rebuilding of the result")
    try:
        bound = background_task(functions.make_rebuilt, tt=TT_MP, supervisor=supervisor,
                                callback=lambda value: witness("callback"))
        task = bound(functions.Rebuilt())
        task.add_done_callback(lambda done: witness("done callback"))
        assert isinstance(task.value(PATIENCE), functions.Rebuilt)
        witness.wait("pickling of the argument", "rebuilding of the result", "callback",
                     "done callback")
    finally:
        functions.Rebuilt.on_reduce = functions.Rebuilt.on_rebuild = None


class Argument:
    """Crosses as nothing; here its end is user code."""

    def __init__(self, witness, where):
        self.finalized = witness.argument(where)

    def __reduce__(self):
        return str, ()


@pytest.mark.parametrize("ending",
                         ["returns", "cancelled", "marked", "timeout", "dies", "cannot be pickled"])
def test_finalizers_of_arguments_of_processes(witness, ending, tmp_path):
    supervisor = witness.supervisor
    fifo, path = str(tmp_path / "fifo"), str(tmp_path / "notes")
    os.mkfifo(fifo)
    target = {"returns": functions.echo, "dies": functions.die_with}.get(ending,
                                                                         functions.note_and_wait)
    bound = background_task(target, tt=TT_MP, supervisor=supervisor,
                            **({"timeout": 1000} if ending == "timeout" else {}))
    argument = Argument(witness, "argument")
    if ending == "cannot be pickled":
        task = bound(argument, threading.Lock(), fifo)
    elif target is functions.note_and_wait:
        task = bound(path, argument, fifo)
    else:
        task = bound(argument)
    del argument
    if target is functions.note_and_wait and ending != "cannot be pickled":
        wait_for(lambda: os.path.exists(path), "the task runs")
        if ending == "marked":
            task.mark_completed()
            open(fifo, "w").close()
        elif ending == "cancelled":
            task.cancel()
        else:
            supervisor.clock.forward(manager(supervisor).timer)
            supervisor.clock.forward(manager(supervisor).timer)
    task.wait(PATIENCE)
    if ending == "cannot be pickled":
        task.exception().__traceback__ = None
        outcome_of(task).traceback = outcome_of(task).error.__cause__ = None
    witness.wait("argument")


@pytest.mark.parametrize("ending", ["returns", "cancelled", "timeout"])
def test_user_code_of_coroutines(witness, ending):
    supervisor = witness.supervisor
    begun = threading.Event()

    async def work(argument):
        witness("coroutine")
        begun.set()
        if ending != "returns":
            await asyncio.sleep(1000)

    bound = background_task(work, tt=TT_COROUTINE, supervisor=supervisor,
                            callback=lambda value: witness("callback"),
                            timeout=1000)
    task = bound(witness.argument("argument"))
    assert begun.wait(PATIENCE)
    task.add_done_callback(lambda done: witness("done callback"))
    if ending == "cancelled":
        task.cancel()
    elif ending == "timeout":
        supervisor.clock.forward(manager(supervisor).timer)
    result = task.wait(PATIENCE)
    del result
    if ending == "timeout":
        gc.collect()        # the coroutine that was thrown out is a cycle of asyncio's
    witness.wait("coroutine", "argument", *(["callback"] if ending == "returns" else []))


def test_a_log_handler_may_call_back(witness):
    """What the engine logs, it logs with no lock held: an error of a task that was given up, one
    that nobody saw."""
    supervisor = witness.supervisor

    class Handler(logging.Handler):
        def emit(self, record):
            witness(record.msg.split("%")[0].strip() or "log", call_back=False)
            supervisor.stats()
            supervisor.get_aloops()

    logger, handler = logging.getLogger("atasker_like"), Handler()
    logger.addHandler(handler)
    try:
        gate = Hold()

        def late():
            gate()
            raise ValueError

        given_up = background_task(late, supervisor=supervisor, timeout=1000)()
        gate.reached()
        supervisor.clock.forward(manager(supervisor).timer)
        given_up.exception(PATIENCE)
        gate.go()
        wait_for(lambda: not manager(supervisor).threads.abandoned, "the thread comes back")
        supervisor.create_aloop("one")
        thread = started(supervisor.create_aloop, "one")
        assert join(thread) is False
        unseen = background_task(late, supervisor=supervisor)()
        unseen.completed.wait(PATIENCE)
        del unseen
        if FREE_THREADED:
            merged(lambda: sum(witness.seen.values()) >= 3)
        wait_for(lambda: sum(witness.seen.values()) >= 3, "three messages")
        assert not witness.guilty
    finally:
        logger.removeHandler(handler)


class Fatal(BaseException):
    """What nobody catches by accident."""


def test_what_user_code_raises_is_logged_and_never_fatal(make, caplog):
    supervisor = make(processes=1)

    def fatal(*args):
        raise Fatal

    async def fatal_in_a_loop():
        raise Fatal

    functions.Rebuilt.on_rebuild = fatal
    try:
        tasks = [background_task(len, supervisor=supervisor, callback=fatal)("four"),
                 background_task(functions.echo, tt=TT_MP, supervisor=supervisor,
                                 callback=fatal)(4),
                 background_task(fatal, supervisor=supervisor)(),
                 background_task(fatal_in_a_loop, supervisor=supervisor)(),
                 background_task(functions.make_rebuilt, tt=TT_MP, supervisor=supervisor)()]
        for task in tasks:
            task.add_done_callback(fatal)
        states = [task.wait(PATIENCE).status for task in tasks]
    finally:
        functions.Rebuilt.on_rebuild = None
    assert states == ["succeeded", "succeeded", "failed", "failed", "failed"]
    assert [task.result for task in tasks[:2]] == [4, 4]
    after = [background_task(len, supervisor=supervisor)("x" * n) for n in range(100)]
    after += [background_task(functions.echo, tt=TT_MP, supervisor=supervisor)(n)
              for n in range(100)]
    assert [task.value(PATIENCE) for task in after] == [*range(100), *range(100)]
    wait_for(lambda: caplog.text.count("callback of task") >= 7,
             "seven callbacks that raised are logged")
    check_oracle(supervisor, tasks + after)


def test_a_callback_that_blocks_holds_up_no_other_task(make):
    """Neither the timer, nor the thread that reads results, nor a place of the pool."""
    supervisor = make(processes=1)
    gates, work = [Hold() for _ in range(3)], Hold()
    tasks = [background_task(functions.echo, tt=TT_MP, supervisor=supervisor, delay=1000)(1),
             background_task(len, supervisor=supervisor, delay=1000)(""),
             background_task(work, supervisor=supervisor, timeout=1000)()]
    for task, gate in zip(tasks, gates):
        task.add_done_callback(lambda done, gate=gate: gate())
    work.reached()
    supervisor.clock.forward(manager(supervisor).timer)
    for gate in gates:
        gate.reached()
    late = background_task(len, supervisor=supervisor, delay=1000)("four")
    supervisor.clock.forward(manager(supervisor).timer)
    assert late.value(PATIENCE) == 4
    assert background_task(functions.echo, tt=TT_MP, supervisor=supervisor)(5).value(PATIENCE) == 5
    for gate in gates:
        gate.go()
    work.go()
    assert isinstance(tasks[2].exception(PATIENCE), TaskTimeoutError)
