"""Law 7. A reference is dropped before a wait: an idle pool thread holds no task, a finished task
holds no arguments, the registry holds no finished task, an iterator nothing that it has yielded."""
import asyncio
import gc
import os
import threading
import weakref

import pytest

from atasker_like import (TT_COROUTINE, TT_MP, TT_THREAD, TaskCancelledError, TaskTimeoutError,
                          ThreadQueue, as_completed, background_task, co_as_completed, current_task,
                          iter_completed, wait_completed)
from tests.support import PATIENCE
from tests.support.gates import Hold
from tests.support.internals.engine import context_of, extra_fields_of
from tests.support.threads import FREE_THREADED, merged, wait_for

from ..support.internals import manager
from . import functions


@pytest.fixture(autouse=True)
def no_collector():
    """What is freed here is freed by its last reference: no cycle is left to the garbage
    collector."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Thing:
    """Something that can be weakly referenced. It crosses to a process as nothing."""

    def __reduce__(self):
        return str, ()


class Watched:
    """Says when the objects that were shown to it are gone."""

    def __init__(self):
        self._gone = {}

    def see(self, name, thing):
        """Watch a thing and return it."""
        self._gone[name] = threading.Event()
        weakref.finalize(thing, self._gone[name].set).atexit = False
        return thing

    def wait(self, name, seconds=PATIENCE):
        """Wait until a thing is gone; return True if it is."""
        gone = self._gone[name]
        if FREE_THREADED:
            merged(gone.is_set, seconds)
        return gone.wait(0 if FREE_THREADED else seconds)

    def all_gone(self):
        """Wait until none is left."""
        left = [name for name in self._gone
                if not self.wait(name, PATIENCE if not gc.isenabled() else 0)]
        assert not left, "still held: " + ", ".join(left)


@pytest.fixture
def watched():
    return Watched()


def take(*args, **kwargs):
    """Take anything and return nothing."""


def give(*args):
    """Return something new."""
    return Thing()


async def co_give(*args):
    return Thing()


@pytest.mark.parametrize("tt, function",
                         [(TT_THREAD, give), (TT_MP, functions.make_rebuilt),
                          (TT_COROUTINE, co_give)])
@pytest.mark.parametrize("options",
                         [{}, {"retries": 1}, {"timeout": 1000}, {"delay": 0.001},
                          {"callback": take}],
                         ids=lambda options: next(iter(options), "plain"))
def test_a_task_that_succeeded_holds_no_arguments_and_nothing_holds_the_task(make, watched, tt,
                                                                             function, options):
    supervisor = make(processes=1)
    bound = background_task(function, tt=tt, supervisor=supervisor, **options)
    task = watched.see("task", bound(watched.see("argument", Thing())))
    watched.see("result", task.value(PATIENCE))
    assert task.args == () and task.kwargs == {} and task.target is None
    with manager(supervisor).by_kind[tt].lock:          # its end is entered whole
        assert not manager(supervisor).by_kind[tt].registry.live
        extra = extra_fields_of(task)
        assert extra is None or (extra.placement, extra.timer) == (None, None)
    ended = threading.Event()
    ended.task = task
    del task
    assert watched.wait("argument"), "the finished task holds its arguments"
    assert not watched._gone["task"].is_set()
    del ended.task
    # the pool's threads, processes and loops are idle: none holds any of it
    watched.all_gone()


@pytest.mark.parametrize("ending",
                         ["raises", "cancelled", "delayed", "marked", "timeout", "retried"])
def test_however_a_thread_task_ends_nothing_is_held(make, watched, ending):
    supervisor = make()
    gate, tries = Hold(), []

    def work(argument):
        tries.append(None)
        if ending == "raises" or (ending == "retried" and len(tries) < 3):
            del argument
            raise ValueError
        if ending in ("marked", "timeout"):
            gate()

    options = {"timeout": {"timeout": 1000}, "delayed": {"delay": 1000},
               "retried": {"retries": 5}}.get(ending, {})
    blocker = None
    if ending == "cancelled":
        blocker = supervisor.put_task(gate)
        gate.reached()
    task = background_task(work, supervisor=supervisor, **options)(watched.see("argument", Thing()))
    watched.see("task", task)
    if ending in ("cancelled", "delayed"):
        assert task.cancel()
        with pytest.raises(TaskCancelledError):
            task.value(PATIENCE)
    elif ending == "marked":
        gate.reached()
        task.mark_completed()
    elif ending == "timeout":
        gate.reached()
        supervisor.clock.forward(manager(supervisor).timer)
        assert isinstance(task.exception(PATIENCE), TaskTimeoutError)
    elif ending == "raises":
        assert isinstance(task.exception(PATIENCE), ValueError)
    else:
        task.value(PATIENCE)
    gate.go()
    with manager(supervisor).threads.lock:
        assert task.args == () and task not in manager(supervisor).threads.registry.live.values()
    del task, work
    if blocker is not None:
        blocker.wait(PATIENCE)
        del blocker
        # the withdrawn entry is met, at the latest, by the next one
        again = supervisor.put_task(take)
        again.wait(PATIENCE)
        del again
    watched.all_gone()


def test_however_a_process_task_ends_nothing_is_held(make, watched, tmp_path):
    supervisor = make(processes=1)
    fifo, path = str(tmp_path / "fifo"), str(tmp_path / "notes")
    os.mkfifo(fifo)
    stay = background_task(functions.note_and_stay, tt=TT_MP, supervisor=supervisor)
    for number, ending in enumerate(["dies", "cancelled", "queued"]):
        task = stay(path + ending, watched.see("argument " + ending, Thing()))
        watched.see("task " + ending, task)
        if ending == "queued":
            assert task.cancel()
        else:
            wait_for(lambda: os.path.exists(path + ending), "the task runs")
            if ending == "dies":
                os.kill(supervisor.mp_pool.pids()[0], 9)
                assert task.exception(PATIENCE) is not None
            else:
                assert task.cancel()
        task.wait(PATIENCE)
        assert task.args == () and context_of(task) is None
        del task
    # meets the withdrawn entry, at the latest
    supervisor.put_task(functions.nothing, tt=TT_MP).wait(PATIENCE)
    watched.all_gone()


def test_an_error_is_freed_with_its_task(make, watched):
    """No cycle through the frames of the traceback, of those who raised it again, or of the
    pool."""
    supervisor = make(processes=1)

    class Boom(Exception):
        pass

    def fail():
        raise Boom

    for function, tt in ((fail, TT_THREAD), (functions.fail, TT_MP)):
        task = watched.see("task %d" % tt,
                           background_task(function, tt=tt, supervisor=supervisor)())
        for _ in range(3):
            try:
                task.value(PATIENCE)
            except Exception as error:
                if "error %d" % tt not in watched._gone:
                    watched.see("error %d" % tt, error)
        assert wait_completed([task]) == [None]
        del task
    watched.all_gone()


def test_waiting_threads_and_iterators_let_go(make, watched):
    """Somebody else still waits for a blocked task: what has ended meanwhile is not held by any
    wait."""
    supervisor = make(pool_size=2)
    gate = Hold()
    blocked = supervisor.put_task(gate)
    gate.reached()
    bound = background_task(give, supervisor=supervisor)
    results = bound.map([watched.see("item", Thing())])
    watched.see("yielded", next(results))
    done = []

    def parent():
        task = watched.see("child", bound(watched.see("child's argument", Thing())))
        task.wait(PATIENCE)
        watched.see("child's result", task.result)
        del task
        done.append(current_task() is not None)
        blocked.wait(PATIENCE)          # while it waits, nothing of the child is left

    waiting = supervisor.put_task(parent)
    wait_for(lambda: done, "the parent waits")
    watched.all_gone()
    gate.go()
    waiting.value(PATIENCE)


def test_a_loop_that_waited_for_a_task_does_not_hold_it(make, watched):
    supervisor = make()
    aloop = supervisor.create_aloop("own")

    async def wait():
        task = watched.see("task",
                           background_task(give,
                                           supervisor=supervisor)(watched.see("argument", Thing())))
        watched.see("result", await task)

    aloop.run(wait())
    watched.all_gone()


def test_the_timer_holds_no_task_whose_timeout_was_called_off(make, watched):
    """The entry stays in the heap until it is met; what it was to be called with does not."""
    supervisor = make()
    for number in range(3):
        task = background_task(give, supervisor=supervisor, timeout=10000 + number)()
        watched.see("task %d" % number, task)
        task.wait(PATIENCE)
        del task
    delayed = watched.see("delayed", background_task(give, supervisor=supervisor, delay=10000)())
    assert delayed.cancel()
    del delayed
    watched.all_gone()


def walk(iterator, value, watched):
    """Take everything from an iterator; each value and each task must be gone before the next
    step."""
    number = 0
    for thing in iterator:          # not of enumerate(), which keeps what it has returned last
        watched.see(f"value {number}", value(thing))
        if value is value_of:
            watched.see(f"task {number}", getattr(thing, "task", thing))
        del thing
        number += 1
        watched.all_gone()
    return number


def as_a_thread(iterate):
    return lambda supervisor, watched: walk(*iterate(supervisor), watched)


def as_a_coroutine(iterate):
    async def co_walk(supervisor, watched):
        iterator, value = iterate(supervisor)
        number = 0
        async for thing in iterator:
            watched.see(f"value {number}", value(thing))
            watched.see(f"task {number}", thing)
            del thing
            number += 1
            watched.all_gone()
        return number

    return lambda supervisor, watched: asyncio.run(co_walk(supervisor, watched))


def value_of(thing):
    return thing.value()


def itself(thing):
    return thing


def tasks_of(supervisor):
    """Tasks of which some have ended, some run and some wait."""
    bound = background_task(give, supervisor=supervisor)
    for number in range(12):
        task = bound()
        if number < 4:
            task.wait(PATIENCE)
        yield task
        del task


def handles_of(supervisor):
    queue = ThreadQueue(supervisor=supervisor)
    queue.start()
    handles = queue.map(give, range(12))
    queue.shutdown()
    queue.clear_results()           # a queue keeps its tasks for the summary
    return handles


def group_of(supervisor):
    queue = ThreadQueue(supervisor=supervisor)
    queue.start()
    completed = queue.group(give, range(12)).as_completed()
    queue.shutdown()
    queue.clear_results()
    return completed


def mapped(buffersize):
    return lambda supervisor: (background_task(give, supervisor=supervisor).map(range(12),
                                                                                buffersize), itself)


ITERATORS = {
    "as_completed": as_a_thread(lambda supervisor: (as_completed(tasks_of(supervisor)), value_of)),
    "as_completed of handles":
        as_a_thread(lambda supervisor: (as_completed(handles_of(supervisor)), value_of)),
    "async for of as_completed":
        as_a_coroutine(lambda supervisor: (as_completed(tasks_of(supervisor)), value_of)),
    "co_as_completed":
        as_a_coroutine(lambda supervisor: (co_as_completed(tasks_of(supervisor)), value_of)),
    "iter_completed":
        as_a_thread(lambda supervisor: (iter_completed(handles_of(supervisor)), value_of)),
    "a group": as_a_thread(lambda supervisor: (group_of(supervisor), value_of)),
    "map": as_a_thread(mapped(None)),
    "map with a buffer": as_a_thread(mapped(3)),
    "map with a large buffer": as_a_thread(mapped(100)),
    "thread_pool.map":
        as_a_thread(lambda supervisor: (supervisor.thread_pool.map(give, range(12)), itself)),
    "mp_pool.imap": as_a_thread(
        lambda supervisor: (own_pool(supervisor).imap(functions.make_rebuilt, range(12)), itself)),
    "mp_pool.imap_unordered": as_a_thread(
        lambda supervisor: (own_pool(supervisor).imap_unordered(functions.make_rebuilt, range(12)),
                            itself)),
}


def own_pool(supervisor):
    supervisor.create_mp_pool(1)
    return supervisor.mp_pool


@pytest.mark.parametrize("way", ITERATORS)
def test_iterator_holds_nothing_that_it_has_yielded(make, watched, way):
    assert ITERATORS[way](make(), watched) == 12


def test_iterator_that_is_left_early_holds_nothing(make, watched):
    supervisor = make(pool_size=1)
    gate = Hold()
    supervisor.put_task(gate)
    gate.reached()
    ended = background_task(give, supervisor=make())
    tasks = [ended(), background_task(give, supervisor=supervisor)()]
    tasks[0].wait(PATIENCE)
    iterator = as_completed(tasks)
    watched.see("ended", tasks[0])
    watched.see("unfinished", tasks[1])
    assert next(iterator) is tasks[0]
    del tasks, iterator
    gate.go()
    watched.all_gone()
