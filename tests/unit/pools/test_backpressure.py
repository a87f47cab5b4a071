"""What a submission meets: a full queue, too many abandoned threads; and how waiting tasks rise."""
import queue
import threading
from time import monotonic

import pytest

from atasker_like import (TASK_CRITICAL, TASK_HIGH, TASK_LOW, TASK_NORMAL, TT_MP, TT_THREAD,
                          InvalidArgumentError, InvalidTypeError, QueueFullError,
                          SupervisorStoppedError, TaskTimeoutError, background_task)
from atasker_like.engine.run_queue import RunQueue
from atasker_like.engine.spec import TaskSpec
from atasker_like.engine.task import Task
from atasker_like.options import TaskOptions
from tests.contract import functions
from tests.support import PATIENCE
from tests.support.clock import Clock
from tests.support.internals import manager
from tests.support.internals.engine import advance, heap_of, set_queued_at
from tests.support.internals.pool import aging_entry_of
from tests.support.internals.process_pool import idle_processes_of, refill_idle


class Blocker:
    """A task that occupies a place until it is let go."""

    def __init__(self, supervisor, **options):
        self._go = threading.Event()
        self._began = threading.Event()
        self.task = background_task(self._run, supervisor=supervisor, **options)()
        assert self._began.wait(PATIENCE)

    def _run(self):
        self._began.set()
        assert self._go.wait(PATIENCE)

    def go(self):
        self._go.set()


def single(make_supervisor, **limits):
    supervisor = make_supervisor(pool_size=1, reserve_normal=0, reserve_high=0)
    supervisor.set_thread_pool(**limits)
    return supervisor


def aside(call):
    """Run a call in a thread; return the thread and the list that its result or error will be
    in."""
    told = []

    def run():
        try:
            told.append(call())
        except BaseException as error:
            told.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, told


def wait_for(condition):
    never, rounds = threading.Event(), 0
    while not condition():
        never.wait(0.002)
        rounds += 1
        assert rounds < PATIENCE * 500


# -- the queue -------------------------------------------------------------------------------------

@pytest.mark.parametrize("options", [{}, {"retries": 1}], ids=["plain", "retries"])
def test_full_queue_raises_if_it_is_to(make_supervisor, options):
    supervisor = single(make_supervisor, max_queued=2, on_full="raise")
    blocker = Blocker(supervisor)
    ran = []
    call = background_task(ran.append, supervisor=supervisor, **options)
    tasks = [call(1), call(2)]
    for _ in range(3):
        with pytest.raises(queue.Full, match="max_queued") as caught:
            call(3)
        assert isinstance(caught.value, QueueFullError)
    blocker.go()
    assert [task.value(PATIENCE) for task in tasks] == [None, None]
    assert sorted(ran) == [1, 2]
    stats = supervisor.stats()
    assert (stats.submitted, stats.succeeded, stats.cancelled) == (3, 3, 0)
    call(4).value(PATIENCE)


@pytest.mark.parametrize("options", [{}, {"retries": 1}], ids=["plain", "retries"])
def test_full_queue_drops_a_task_if_it_is_to(make_supervisor, options):
    supervisor = single(make_supervisor, max_queued=1, on_full="drop")
    blocker = Blocker(supervisor)
    ran = []
    call = background_task(ran.append, supervisor=supervisor, **options)
    kept, dropped = call(1), call(2)
    assert dropped.state == "cancelled" and kept.state == "pending"
    blocker.go()
    kept.value(PATIENCE)
    supervisor.stop()
    assert ran == [1]
    stats = supervisor.stats()
    assert (stats.submitted, stats.succeeded, stats.cancelled, stats.thread.dropped) == (3, 2, 1, 1)


def test_full_queue_blocks_submitters_until_there_is_room(make_supervisor):
    supervisor = single(make_supervisor, max_queued=1)
    blocker = Blocker(supervisor)
    ran = []
    call = background_task(ran.append, supervisor=supervisor)
    first = call(0)
    submitters = [aside(lambda number=number: call(number)) for number in range(1, 6)]
    pool = supervisor.pool_for(TT_THREAD)
    wait_for(lambda: len(pool.backpressure.blocked_submitters) == 5)
    assert supervisor.stats().thread.waiting == 1
    blocker.go()
    first.value(PATIENCE)
    for thread, told in submitters:
        thread.join(PATIENCE)
        told[0].value(PATIENCE)
    assert sorted(ran) == [0, 1, 2, 3, 4, 5]
    assert not pool.backpressure.blocked_submitters and not pool.backpressure.has_observers


def test_a_task_that_fills_its_own_pools_queue_is_not_stuck(make_supervisor):
    supervisor = single(make_supervisor, max_queued=1)
    call = background_task(lambda: 1, supervisor=supervisor)
    outer = background_task(lambda: [call() for _ in range(10)], supervisor=supervisor)
    assert [task.value(PATIENCE) for task in outer().value(PATIENCE)] == [1] * 10


def test_map_through_a_short_queue(make_supervisor):
    supervisor = single(make_supervisor, max_queued=3)
    assert (list(background_task(str, supervisor=supervisor).map(range(100)))
            == [str(n) for n in range(100)])


def test_map_that_is_refused_midway_leaves_nothing_behind(make_supervisor):
    supervisor = single(make_supervisor, max_queued=3, on_full="raise")
    blocker = Blocker(supervisor)
    with pytest.raises(QueueFullError):
        list(background_task(str, supervisor=supervisor).map(range(100)))
    assert supervisor.stats().thread.waiting == 0
    blocker.go()


def test_blocked_submitters_learn_of_the_stop(make_supervisor):
    supervisor = single(make_supervisor, max_queued=1)
    blocker = Blocker(supervisor)
    call = background_task(len, supervisor=supervisor)
    inside = call("abc")
    thread, told = aside(lambda: call("abcd"))
    wait_for(lambda: supervisor.pool_for(TT_THREAD).backpressure.blocked_submitters)
    stop, _ = aside(supervisor.stop)
    thread.join(PATIENCE)
    assert isinstance(told[0], SupervisorStoppedError)
    blocker.go()
    stop.join(PATIENCE)
    assert inside.value(PATIENCE) == 3


def test_more_room_lets_them_in(make_supervisor):
    supervisor = single(make_supervisor, max_queued=1)
    blocker = Blocker(supervisor)
    call = background_task(len, supervisor=supervisor)
    call("")
    thread, told = aside(lambda: call("abcd"))
    wait_for(lambda: supervisor.pool_for(TT_THREAD).backpressure.blocked_submitters)
    supervisor.set_thread_pool(max_queued=0)
    thread.join(PATIENCE)
    blocker.go()
    assert told[0].value(PATIENCE) == 4


def test_an_urgent_task_that_need_not_wait_comes_in(make_supervisor):
    supervisor = make_supervisor(pool_size=1, reserve_normal=0, reserve_high=1)
    supervisor.set_thread_pool(max_queued=1, on_full="raise")
    blocker = Blocker(supervisor)
    call = background_task(len, supervisor=supervisor)
    waiting = call("")
    with pytest.raises(QueueFullError):
        call("")
    assert call.options(priority=TASK_HIGH)("ab").value(PATIENCE) == 2
    assert call.options(priority=TASK_CRITICAL)("abc").value(PATIENCE) == 3
    blocker.go()
    waiting.value(PATIENCE)


def test_delayed_tasks_do_not_wait_in_the_queue(make_supervisor):
    supervisor = single(make_supervisor, max_queued=1, on_full="raise")
    blocker = Blocker(supervisor)
    call = background_task(len, supervisor=supervisor)
    tasks = [call("")] + [call.options(delay=0.01)("ab") for _ in range(3)]
    wait_for(lambda: supervisor.stats().thread.waiting == 4)
    blocker.go()
    assert [task.value(PATIENCE) for task in tasks] == [0, 2, 2, 2]


@pytest.mark.parametrize("on_full", ["raise", "drop", "block"])
def test_max_queued_limits_the_process_pool(make_supervisor, tmp_path, on_full):
    supervisor = make_supervisor(pool_size=4)
    supervisor.set_mp_pool(pool_size=1, max_queued=2, on_full=on_full)
    call = background_task(functions.add, tt=TT_MP, supervisor=supervisor)
    assert call(1, 2).value(PATIENCE) == 3
    pool = supervisor.pool_for(TT_MP)
    with pool.lock:
        process = idle_processes_of(pool).pop()          # it is given nothing meanwhile
        pool.run_queue.active += 1
    tasks = [call(1, 1), call(2, 2)]
    if on_full == "raise":
        with pytest.raises(QueueFullError):
            call(3, 3)
    elif on_full == "drop":
        assert call(3, 3).state == "cancelled"
    else:
        thread, told = aside(lambda: call(3, 3))
        wait_for(lambda: pool.backpressure.blocked_submitters)
    with pool.lock:
        idle_processes_of(pool).append(process)
        pool.run_queue.active -= 1
        refill_idle(pool)
    assert [task.value(PATIENCE) for task in tasks] == [2, 4]
    if on_full == "block":
        thread.join(PATIENCE)
        assert told[0].value(PATIENCE) == 6


# -- abandoned threads -----------------------------------------------------------------------------

def test_too_many_abandoned_threads(make_supervisor):
    supervisor = make_supervisor(pool_size=4)
    supervisor.set_thread_pool(max_abandoned=2)
    timer = manager(supervisor).timer
    timer.clock = clock = Clock()
    go, begun = threading.Event(), threading.Semaphore(0)

    def hang():
        begun.release()
        go.wait(PATIENCE)

    stuck = background_task(hang, supervisor=supervisor, timeout=60)
    tasks = [stuck(), stuck()]
    for _ in tasks:             # a thread whose function has not begun is free at once
        assert begun.acquire(timeout=PATIENCE)
    clock.forward(timer)
    for task in tasks:
        assert isinstance(task.exception(PATIENCE), TaskTimeoutError)
    call = background_task(len, supervisor=supervisor)
    for submit in (lambda: call("abc"), lambda: supervisor.put_task(len, ("abc",)),
                   lambda: list(call.map(["a"]))):
        with pytest.raises(TaskTimeoutError, match="max_abandoned"):
            submit()
    go.set()
    wait_for(lambda: supervisor.stats().abandoned == 0)
    assert call("abc").value(PATIENCE) == 3


# -- aging -----------------------------------------------------------------------------------------

def waiting_task(run_queue, priority, queued):
    task = Task(TaskSpec(None, len, TaskOptions(priority=priority)), (), None, None)
    set_queued_at(task, queued)
    run_queue.push(task)
    return task


def test_a_class_per_interval():
    run_queue = RunQueue(1)
    run_queue.active = 1
    low, odd, normal, high = [waiting_task(run_queue, priority, 100.0)
                              for priority in (200, 150, 75, 20)]
    depths = run_queue.depths
    assert run_queue.promote_aged(104.0, 5.0) == pytest.approx(1.0)
    assert depths() == {20: 1, 75: 1, 150: 1, 200: 1}
    while run_queue.promote_aged(105.0, 5.0) == 0.0:
        pass
    assert depths() == {20: 1, 50: 1, 100: 2}
    assert run_queue.promote_aged(105.0, 5.0) == pytest.approx(5.0)
    while run_queue.promote_aged(111.0, 5.0) == 0.0:
        pass
    assert depths() == {20: 1, 50: 3}
    assert run_queue.promote_aged(1000.0, 5.0) is None
    assert run_queue.waiting == 4
    order = []
    for _ in range(4):
        order.append(run_queue.release_and_pop())
    assert order[0] is high and order[1] is normal and set(order[2:]) == {low, odd}


def test_several_intervals_at_once_and_withdrawn_tasks():
    run_queue = RunQueue(1)
    run_queue.active = 1
    gone = waiting_task(run_queue, TASK_LOW, 100.0)
    low = waiting_task(run_queue, TASK_LOW, 101.0)
    waiting_task(run_queue, TASK_LOW, 895.0)
    advance(gone, -1, 0.0)
    run_queue.discard(gone)
    pauses = []
    while not pauses or pauses[-1] == 0.0 or pauses[-1] is not None and pauses[-1] < 0:
        pauses.append(run_queue.promote_aged(902.0, 10.0))
    assert run_queue.depths() == {50: 1, 200: 1}
    assert run_queue.release_and_pop() is low


@pytest.mark.parametrize("priority", [TASK_LOW, TASK_NORMAL])
def test_endless_high_tasks_do_not_starve_the_rest(make_supervisor, priority):
    supervisor = single(make_supervisor, aging=0.01)
    done = threading.Event()
    end = monotonic() + PATIENCE

    def high():
        if not done.is_set() and monotonic() < end:
            again()

    again = background_task(high, supervisor=supervisor, priority=TASK_HIGH)
    blocker = Blocker(supervisor)
    again(), again()                        # two at a time: one is always there to be preferred
    task = background_task(done.set, supervisor=supervisor, priority=priority)()
    blocker.go()
    task.value(PATIENCE)
    assert monotonic() < end


def test_promoted_task_may_use_the_reserve_of_its_class(make_supervisor):
    supervisor = make_supervisor(pool_size=1, reserve_normal=1, reserve_high=0)
    supervisor.set_thread_pool(aging=0.01)
    blocker = Blocker(supervisor, priority=TASK_LOW)
    call = background_task(len, supervisor=supervisor, priority=TASK_LOW)
    assert call("abc").value(PATIENCE) == 3      # the blocker still has the only place for LOW
    blocker.go()


def test_aging_in_the_process_pool(make_supervisor):
    supervisor = make_supervisor(pool_size=2)
    supervisor.set_mp_pool(pool_size=1, aging=0.01)
    done = threading.Event()
    count = [0]

    def again(result):
        count[0] += 1
        if not done.is_set():
            high()

    def high():
        supervisor.put_task(functions.add, (1, 2), callback=again, priority=TASK_HIGH, tt=TT_MP)

    for _ in range(4):
        high()
    low = supervisor.put_task(functions.add, (2, 2), priority=TASK_LOW, tt=TT_MP)
    assert low.value(PATIENCE) == 4
    done.set()
    assert count[0]


# -- bad input -------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind", ["set_thread_pool", "set_mp_pool"])
@pytest.mark.parametrize("limits, error", [
    ({"max_queued": -1}, InvalidArgumentError), ({"max_queued": 1.5}, InvalidTypeError),
    ({"max_queued": True}, InvalidTypeError), ({"on_full": "wait"}, InvalidArgumentError),
    ({"aging": -1}, InvalidArgumentError), ({"aging": "1"}, InvalidTypeError),
    ({"aging": float("nan")}, InvalidArgumentError), ({"aging": True}, InvalidTypeError)])
def test_impossible_limits_are_refused(supervisor, kind, limits, error):
    with pytest.raises(error, match=list(limits)[0]):
        getattr(supervisor, kind)(**limits)


def test_a_submitter_whose_task_need_not_wait_is_woken_before_one_whose_task_must(make_supervisor):
    supervisor = make_supervisor(pool_size=1, reserve_normal=0, reserve_high=1)
    supervisor.set_thread_pool(max_queued=1)
    low, high = Blocker(supervisor, priority=TASK_LOW), Blocker(supervisor, priority=TASK_HIGH)
    call = background_task(len, supervisor=supervisor)
    waiting = call.options(priority=TASK_LOW)("")
    blocked = manager(supervisor).threads.backpressure.blocked_submitters
    first, told_first = aside(lambda: call.options(priority=TASK_LOW)("a"))
    wait_for(lambda: len(blocked) == 1)
    second, told_second = aside(lambda: call.options(priority=TASK_HIGH)("ab"))
    wait_for(lambda: len(blocked) == 2)
    high.go()
    second.join(PATIENCE)
    assert told_second[0].value(PATIENCE) == 2 and len(blocked) == 1 and not waiting.done()
    low.go()
    first.join(PATIENCE)
    assert told_first[0].value(PATIENCE) == 1 and waiting.value(PATIENCE) == 0


@pytest.mark.parametrize("kind", [TT_THREAD, TT_MP])
def test_aging_goes_on_after_a_restart(make_supervisor, kind):
    supervisor = make_supervisor(pool_size=1)
    pool = supervisor.pool_for(kind)
    pool.backpressure.limit(None, "block", 60.0)
    background_task(functions.give, tt=kind, supervisor=supervisor)(1).value(PATIENCE)
    first = aging_entry_of(pool)
    supervisor.stop()
    supervisor.start()
    background_task(functions.give, tt=kind, supervisor=supervisor)(1).value(PATIENCE)
    second = aging_entry_of(pool)
    assert first is not second
    wait_for(lambda: second in heap_of(manager(supervisor).timer))     # the timer knows it
