"""Law 11. Explicit locks, no faith in the GIL: where a data structure is shared without a lock, a
comment says why that is safe on a free-threaded build, and a stress test runs it there."""
import ast
import asyncio
import os
import random
import re
import signal
import sys
import threading
from itertools import count as counting, takewhile
from time import monotonic

import pytest

from atasker_like import (TT_MP, SupervisorStoppedError, TaskCancelledError, as_completed,
                          background_task, current_task, wait_completed)
from atasker_like.engine.blocking import Latch
from atasker_like.engine.loop_mailbox import LoopMailbox
from atasker_like.engine.timer import Timer
from tests.support import PATIENCE
from tests.support.gates import Hold
from tests.support.internals import check_oracle, settle
from tests.support.internals.engine import completion_queue_class, hesitating_completion_queue
from tests.support.scripts import lines
from tests.support.sources import sources
from tests.support.threads import Tally, join, started, wait_for

from ..support.internals import manager
from . import functions

THREADS = 8


@pytest.fixture(autouse=True)
def switching_all_the_time():
    """Threads are switched a thousand times as often as usual, wherever that may happen."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def together(function, count=THREADS):
    """Run a function in many threads at once, with their numbers; return what they return, or raise
    their error."""
    barrier = threading.Barrier(count)

    def run(number):
        barrier.wait(PATIENCE)
        return function(number)

    threads = [started(run, number) for number in range(count)]
    outcomes = [join(thread) for thread in threads]
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return outcomes


class Effects:
    """Counts how often each thing was done; each by a thread of its own, so that the counting needs
    no lock."""

    def __init__(self):
        self.done = []

    def __call__(self, word):
        self.done.append(word)         # one atomic operation, on every build
        return word

    def check(self, tasks):
        """What succeeded was done once; what was cancelled in the queue never; nothing twice."""
        counts = {}
        for word in self.done:
            counts[word] = counts.get(word, 0) + 1
        assert not [word for word, count in counts.items() if count > 1], "done twice"
        for word, task in tasks:
            if task.result is not None:
                assert counts.get(word) == 1, "%r says that it was done" % (word,)
            elif not task.attempts:         # cancelled, or declared completed, before it began
                assert word not in counts, "%r was done, and says that it never began" % (word,)


@pytest.mark.slow
def test_submissions_of_every_kind_from_many_threads(make):
    """And cancels, early ends, waits, callbacks, resizes and looks at them, all at once."""
    supervisor = make(pool_size=3, reserve_normal=1, reserve_high=1)
    effects, tally = Effects(), Tally()
    plain = background_task(effects, supervisor=supervisor)
    kinds = [plain, plain, plain.options(priority=50), plain.options(priority=200),
             plain.options(priority=0),
             plain.options(timeout=1000), plain.options(delay=0.0001)]
    going = threading.Event()

    def submit(number):
        chance, made = random.Random(number), []
        for count in range(150):
            word = number, count
            task = tally.watch(chance.choice(kinds)(word))
            made.append((word, task))
            dice = chance.random()
            if dice < 0.1:
                chance.choice(made)[1].cancel()
            elif dice < 0.15:
                chance.choice(made)[1].mark_completed()
            elif dice < 0.25:
                chance.choice(made)[1].completed.wait(0)
            elif dice < 0.3:
                list(as_completed([task for _, task in made[-5:]], timeout=PATIENCE))
        return made

    def look():
        chance = random.Random(99)
        while not going.is_set():
            supervisor.stats()
            supervisor.get_info()
            supervisor.set_thread_pool(pool_size=chance.randint(1, 4))

    looker = started(look)
    made = [pair for some in together(submit) for pair in some]
    going.set()
    assert join(looker) is None
    tasks = [task for _, task in made]
    for task in tasks:
        task.wait(PATIENCE)
    tally.settle(tasks)
    check_oracle(supervisor, tasks)
    effects.check(made)


@pytest.mark.slow
@pytest.mark.parametrize("round", range(3))
def test_submissions_against_a_stop(make, round):
    """What was accepted has ended; where submitting raised, nothing ran; and all can begin
    again."""
    supervisor = make(pool_size=2)
    supervisor.start()
    effects = Effects()
    plain = background_task(effects, supervisor=supervisor)
    kinds = [plain, plain.options(retries=1), plain.options(delay=1000),
             plain.options(delay=0.0001)]
    begun = [threading.Event() for _ in range(THREADS)]

    def submit(number):
        chance, accepted, refused = random.Random(number), [], []
        end = monotonic() + PATIENCE
        for count in takewhile(lambda _: monotonic() < end, counting()):
            word = number, count
            try:
                accepted.append((word, chance.choice(kinds)(word)))
            except SupervisorStoppedError:
                refused.append(word)
                break
            if count == 20:
                begun[number].set()
        return accepted, refused

    def stop():
        for event in begun:
            assert event.wait(PATIENCE)
        supervisor.stop(wait=True)

    stopper = started(stop)
    outcomes = together(submit)
    assert join(stopper) is None
    accepted = [pair for some, _ in outcomes for pair in some]
    refused = {word for _, some in outcomes for word in some}
    assert len(refused) == THREADS
    assert not refused & set(effects.done)
    assert all(task.done() for _, task in accepted)
    check_oracle(supervisor, [task for _, task in accepted])
    effects.check(accepted)
    supervisor.start()
    assert plain("again").value(PATIENCE) == "again"


@pytest.mark.slow
def test_tasks_that_wait_for_tasks_from_many_threads(make):
    supervisor = make(pool_size=2)

    def tree(depth):
        if not depth:
            return 1
        children = [bound(depth - 1) for _ in range(2)]
        return sum(wait_completed(children)) if depth % 2 else sum(task.value()
                                                                   for task in as_completed(
                                                                           children))

    bound = background_task(tree, supervisor=supervisor)
    assert together(lambda number: bound(5).value(PATIENCE)) == [32] * THREADS
    settle(supervisor)
    assert manager(supervisor).threads.registry.succeeded == THREADS * 63


@pytest.mark.slow
def test_retries_from_many_threads(make):
    supervisor = make(pool_size=4)
    tries = {}

    def fail_twice(word):
        tries[word] = tries.get(word, 0) + 1        # one task runs at most once at a time
        assert current_task().attempts == tries[word]
        if tries[word] < 3:
            raise ValueError
        return word

    bound = background_task(fail_twice, supervisor=supervisor, retries=2)
    later_ = bound.options(retry_delay=0.0001)

    def submit(number):
        return [(bound if count % 2 else later_)((number, count)) for count in range(30)]

    tasks = [task for some in together(submit) for task in some]
    assert ([task.value(PATIENCE) for task in tasks]
            == [(number, count) for number in range(THREADS) for count in range(30)])
    assert set(tries.values()) == {3} and {task.attempts for task in tasks} == {3}
    check_oracle(supervisor, tasks)
    assert manager(supervisor).threads.registry.retried == 2 * len(tasks)


@pytest.mark.slow
def test_processes_from_many_threads_with_cancels_and_deaths(make, tmp_path):
    supervisor = make(processes=2, start_method="forkserver")
    path, pool = str(tmp_path / "notes"), manager(supervisor).processes
    note = background_task(functions.note, tt=TT_MP, supervisor=supervisor)
    note(path, "warm").wait(PATIENCE)
    kinds = [note, note, note, note.options(priority=50), note.options(priority=200),
             note.options(timeout=1000)]
    tally, going = Tally(), threading.Event()

    def submit(number):
        chance, made = random.Random(number), []
        for count in range(60):
            word = "%d-%d" % (number, count)
            made.append((word, tally.watch(chance.choice(kinds)(path, word))))
            if chance.random() < 0.1:
                chance.choice(made)[1].cancel()
        return made

    def kill():
        chance = random.Random(4)
        for _ in range(6):
            wait_for(lambda: going.is_set() or any(pool.pids()), "a process")
            for pid in chance.sample(pool.pids(), 1) if pool.pids() else ():
                try:
                    os.kill(pid, signal.SIGKILL)
                except OSError:
                    pass

    killer = started(kill)
    made = [pair for some in together(submit, 4) for pair in some]
    going.set()
    assert join(killer) is None
    tasks = [task for _, task in made]
    for task in tasks:
        task.wait(PATIENCE)
    tally.settle(tasks)
    noted = lines(path)
    assert len(noted) == len(set(noted)), "done twice"
    for word, task in made:
        if task.state == "succeeded":
            assert word in noted
    after = [note(path, "after-%d" % number) for number in range(100)]
    assert ([task.value(PATIENCE) for task in after]
            == ["after-%d" % number for number in range(100)])
    assert pool.drain(None)
    registry = pool.registry
    assert registry.last == len(tasks) + 101 and not registry.live
    states = [task.state for task in tasks]
    assert (registry.failed, registry.cancelled) == (states.count("failed"),
                                                     states.count("cancelled"))
    settle(supervisor)


@pytest.mark.slow
def test_coroutines_from_many_threads_with_cancels(make):
    supervisor = make()
    supervisor.create_aloop("own", default=True)
    tally = Tally()

    async def work(value):
        await asyncio.sleep(0)
        return value

    bound = background_task(work, supervisor=supervisor)

    def submit(number):
        chance, made = random.Random(number), []
        for count in range(60):
            made.append(tally.watch(bound((number, count))))
            if chance.random() < 0.3:
                chance.choice(made).cancel()
        return made

    tasks = [task for some in together(submit) for task in some]
    for task in tasks:
        try:
            assert task.value(PATIENCE) is not None
        except TaskCancelledError:
            pass
    tally.settle(tasks)
    check_oracle(supervisor, tasks)


def hesitating(name):
    """An attribute that is slow to be read, so that another thread comes before the writing."""
    def read(self):
        value = getattr(self, "hesitating_" + name)
        threading.Event().wait(0.0001)
        return value

    return property(read, lambda self, value: setattr(self, "hesitating_" + name, value))


class HesitatingLatch(Latch):
    _count = hesitating("count")


class HesitatingMailbox(LoopMailbox):
    _posts = hesitating("posts")


@pytest.mark.parametrize("kind", [Latch, HesitatingLatch])
def test_a_latch_opens_once_when_all_have_called(kind):
    for _ in range(10):
        latch = kind(THREADS)
        waiter = started(latch.wait, None)
        together(lambda number: latch())
        assert join(waiter) is True


@pytest.mark.slow
@pytest.mark.parametrize("kind, count", [(LoopMailbox, 300), (HesitatingMailbox, 20)])
def test_a_mailbox_loses_no_call_and_repeats_none(kind, count):
    loop, made, ended = asyncio.new_event_loop(), [], threading.Event()
    mailbox = kind(loop)

    def make(call):
        made.append(call)
        if len(made) == THREADS * count:
            ended.set()

    runner = started(loop.run_forever)
    posted = together(lambda number: [mailbox.post(make, (number, each)) for each in range(count)])
    whole = ended.wait(PATIENCE)
    loop.call_soon_threadsafe(loop.stop)
    join(runner)
    loop.close()
    assert all(all(some) for some in posted)
    assert whole and sorted(made) == [(number, each) for number in range(THREADS)
                                      for each in range(count)]
    for number in range(THREADS):
        assert [each for sender, each in made if sender == number] == list(range(count))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [completion_queue_class(),
                                  hesitating_completion_queue(hesitating)])
def test_tasks_arrive_once_each_while_they_end_in_many_threads(make, kind):
    """The one who takes them is told of each, however its looks and their ends are mixed."""
    supervisor = make()
    gate = Hold()
    supervisor.put_task(gate)
    gate.reached()
    tasks = [[supervisor.put_task(len, ("",)) for _ in range(10)] for _ in range(THREADS)]
    waited = [task for some in tasks for task in some]
    completed, taken = kind(waited), []

    def take():
        deadline = monotonic() + PATIENCE
        while len(taken) < len(waited) and monotonic() < deadline:
            if completed.wait(deadline):
                taken.append(completed.take())

    taker = started(take)
    together(lambda number: [task.mark_completed() for task in tasks[number]])
    join(taker)
    gate.go()
    assert len(taken) == len(waited) and set(map(id, taken)) == set(map(id, waited))


def test_a_timer_makes_each_call_once_or_not_at_all():
    timer, made = Timer(), []
    timer.start()

    def use(number):
        cancelled = []
        for count in range(100):
            entry = timer.call_later(0.0 if count % 2 else 1000.0, made.append, (number, count))
            if count % 2 == 0:
                timer.cancel(entry)
                cancelled.append(entry)
        return cancelled

    together(use)
    expected = {(number, count) for number in range(THREADS) for count in range(1, 100, 2)}
    wait_for(lambda: len(made) >= len(expected), "all calls")
    timer.stop()
    assert len(made) == len(expected) and set(made) == expected


#: A lock that is made to guard something, not to be waited at.
GUARD = re.compile(r"^(?P<above>[ \t]*#.*\n)?(?P<assignment>[ \t]*(self\.)?_?\w*lock\w* = "
                   r"(threading\.)?R?Lock\(\))"
                   r"(?P<rest>.*)$", re.MULTILINE)


def test_every_lock_says_what_it_guards():
    silent, first = [], set()
    for path, text, tree in sources():
        for match in GUARD.finditer(text):
            line = text.count("\n", 0, match.start("assignment")) + 1
            first.add(line)
            # One that is made anew is described where it is made first.
            if ("#" not in match.group("rest") and not match.group("above")
                    and not _is_made_anew(tree, line)):
                silent.append("%s:%d" % (path, line))
    assert first, "no lock was found"
    assert not silent, "not a word on what is guarded at " + ", ".join(silent)


def _is_made_anew(tree, line):
    return any(isinstance(node, ast.FunctionDef)
               and (node.name.endswith("after_fork") or node.name == "renew_locks")
               and node.lineno <= line <= max(each.lineno for each in ast.walk(node)
                                              if hasattr(each, "lineno"))
               for node in ast.walk(tree))
