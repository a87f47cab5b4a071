"""Lanes, in front of every kind of pool."""
import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from time import monotonic, sleep

import pytest

from atasker_like import (TT_COROUTINE, TT_MP, TT_THREAD, InvalidArgumentError, InvalidTypeError,
                          Lane, ProcessDiedError, QueueFullError, TaskOptions, TaskTimeoutError,
                          background_task, wait_completed)

from ..support.internals import manager
from ..support.internals.engine import spec_of
from ..support.internals.pool import resync_pool
from ..support.threads import wait_for
from . import functions as f


def settled(lane):
    """Nothing of a lane is left."""
    return lane.running, lane.waiting, lane.entries, lane.parked


@pytest.fixture
def lane(kind):
    kind.set_places(4)
    return kind.supervisor.lane("tested", limit=2)


@pytest.mark.slow
def test_so_many_run_at_once(kind, lane, gate):
    enter = kind.bind(f.enter, lane=lane)
    tasks = [enter(gate) for _ in range(5)]
    gate.wait_entered(2)
    assert kind.bind(f.add)(1, 2).value(20) == 3, "others go on"
    assert (lane.running, lane.waiting) == (2, 3)
    assert kind.supervisor.stats().waiting == 3
    gate.open(1)
    gate.wait_entered(1)
    assert lane.running == 2
    assert lane.waiting == 2 or kind.in_process, "a process may have been sent a short one ahead"
    gate.open()
    wait_completed(tasks, timeout=20, strict=True)
    assert settled(lane) == (0, 0, 0, 0)


@pytest.mark.slow
def test_map_of_many_calls_passes_a_lane_in_order(kind, lane):
    assert list(kind.bind(f.give, lane=lane).map(range(700))) == list(range(700))
    assert settled(lane) == (0, 0, 0, 0)


@pytest.mark.slow
def test_the_most_urgent_first(kind, lane, gate, trace):
    lane.configure(limit=1)
    first = kind.bind(f.enter, lane="tested")(gate)
    gate.wait_entered()
    record = kind.bind(f.record, lane="tested")
    tasks = [record.options(priority=priority)(trace.path, str(priority))
             for priority in (100, 200, 75, 100, -3)]
    gate.open()
    wait_completed([first, *tasks], timeout=20, strict=True)
    assert trace.lines == ["-3", "75", "100", "100", "200"]


@pytest.mark.slow
def test_tasks_of_a_lane_start_by_rank(kind, lane, gate, trace):
    lane.configure(limit=1)
    first = kind.bind(f.enter, lane="tested")(gate)
    gate.wait_entered()
    tasks = []
    for rank in (3, 5, 0, 3, -10 ** 6):
        spec = kind.supervisor.make_spec(kind.form(f.record), kind.tt, TaskOptions(), lane=lane,
                                         rank=rank)
        tasks.append(spec.pool.start(spec, (trace.path, str(rank)), None))
    gate.open()
    wait_completed([first, *tasks], timeout=20, strict=True)
    assert trace.lines == ["-1000000", "0", "3", "3", "5"]


@pytest.mark.slow
def test_a_cancelled_task_never_runs_and_the_lane_goes_on(kind, lane, gate, trace):
    lane.configure(limit=1)
    first = kind.bind(f.enter, lane=lane)(gate)
    gate.wait_entered()
    record = kind.bind(f.record, lane=lane)
    tasks = [record(trace.path, str(number)) for number in range(4)]
    assert tasks[0].cancel() and tasks[2].cancel()
    assert tasks[3].mark_completed() is not False
    assert lane.waiting == 1
    gate.open()
    wait_completed([first, tasks[1]], timeout=20, strict=True)
    assert trace.lines == ["1"]
    assert [task.state for task in tasks] == ["cancelled", "succeeded", "cancelled", "succeeded"]
    assert settled(lane) == (0, 0, 0, 0)


@pytest.mark.slow
def test_failures_and_retries_release_their_slot(kind, lane):
    lane.configure(limit=1)
    failing = [kind.bind(f.fail, lane=lane, retries=1)("no") for _ in range(3)]
    delayed = kind.bind(f.add, lane=lane, delay=0.01)(1, 1)
    assert [type(task.exception(20)) for task in failing] == [ValueError] * 3
    assert [task.attempts for task in failing] == [2] * 3
    assert delayed.value(20) == 2
    assert settled(lane) == (0, 0, 0, 0)


@pytest.mark.slow
def test_a_timeout_releases_the_slot(kind, lane, gate):
    lane.configure(limit=1)
    stuck = kind.bind(f.enter, lane=lane, timeout=0.05)(gate)
    after = kind.bind(f.add, lane=lane)(1, 2)
    assert type(stuck.exception(20)) is TaskTimeoutError
    assert after.value(20) == 3
    gate.open()


@pytest.mark.slow
def test_a_full_lane_raises_or_drops(kind, lane, gate):
    lane.configure(limit=1, size=1, on_full="raise")
    enter = kind.bind(f.enter, lane=lane)
    tasks = [enter(gate)]
    gate.wait_entered()
    tasks.append(enter(gate))
    with pytest.raises(QueueFullError, match="1 tasks wait for lane 'tested' already.*raise size"):
        enter(gate)
    with pytest.raises(QueueFullError):
        enter.map([gate, gate])
    lane.configure(on_full="drop")
    assert enter(gate).wait(20).status == "cancelled"
    assert kind.bind(f.add)(1, 2).value(20) == 3, "others have room"
    gate.open()
    wait_completed(tasks, timeout=20, strict=True)
    assert settled(lane) == (0, 0, 0, 0)


@pytest.mark.slow
def test_a_full_lane_has_submitters_wait(kind, lane, gate):
    lane.configure(limit=1, size=1)
    enter = kind.bind(f.enter, lane=lane)
    tasks = [enter(gate)]
    gate.wait_entered()
    tasks.append(enter(gate))
    late = []
    submitter = threading.Thread(target=lambda: late.extend(enter(gate) for _ in range(3)))
    submitter.start()
    try:
        submitter.join(0.05)
        assert late == []
    finally:
        gate.open()
        submitter.join(20)
    wait_completed(tasks + late, timeout=20, strict=True)
    assert len(late) == 3 and settled(lane) == (0, 0, 0, 0)


@pytest.mark.slow
def test_a_stop_wakes_submitters_that_wait_for_room(kind, lane, gate):
    from atasker_like import SupervisorStoppedError

    lane.configure(limit=1, size=1)
    enter = kind.bind(f.enter, lane=lane)
    tasks = [enter(gate), enter(gate)]
    told = []

    def submit():
        try:
            enter(gate)
        except SupervisorStoppedError as error:
            told.append(error)

    gate.wait_entered()
    submitter = threading.Thread(target=submit)
    submitter.start()
    while not lane.blocked_submitters:
        submitter.join(0.001)
    kind.supervisor.stop(wait=False)
    submitter.join(20)
    assert len(told) == 1
    gate.open()
    wait_completed(tasks, timeout=20, strict=True)


@pytest.mark.slow
def test_so_many_start_a_second(kind, lane):
    lane.configure(limit=None, rate=50, burst=3)
    give = kind.bind(f.give, lane=lane)
    give(0).value(20)
    began = monotonic()
    assert list(give.map(range(8))) == list(range(8))
    assert monotonic() - began >= (8 - 3) / 50 - 0.01
    assert settled(lane) == (0, 0, 0, 0)


@pytest.mark.slow
def test_pause_and_resume(kind, lane):
    lane.pause()
    tasks = [kind.bind(f.give, lane=lane)(number) for number in range(5)]
    assert kind.bind(f.add)(1, 2).value(20) == 3
    assert {task.state for task in tasks} == {"pending"}
    lane.resume()
    assert wait_completed(tasks, timeout=20) == list(range(5))


@pytest.mark.slow
def test_a_stop_cancels_what_waits_in_a_paused_lane(kind, lane, caplog):
    lane.pause()
    tasks = [kind.bind(f.give, lane=lane)(number) for number in range(5)]
    report = kind.supervisor.stop(wait=20)
    assert {task.state for task in tasks} == {"cancelled"}
    assert (report.cancelled, report.complete) == (5, True)
    assert "5 delayed or paused task(s) cancelled" in caplog.text
    kind.supervisor.start()
    lane.resume()
    assert kind.bind(f.give, lane=lane)(7).value(20) == 7


@pytest.mark.slow
def test_a_stop_finishes_what_waits_in_a_lane(kind, lane):
    lane.configure(limit=1)
    tasks = [kind.bind(f.give, lane=lane)(number) for number in range(20)]
    kind.supervisor.stop(wait=20)
    assert [task.value(0) for task in tasks] == list(range(20))


@pytest.mark.slow
def test_a_stop_by_its_deadline_leaves_nothing_in_a_lane(inside, gate):
    inside.set_places(4)
    lane = inside.supervisor.lane("tested", limit=1)
    enter = inside.bind(f.enter, lane=lane)
    tasks = [enter(gate) for _ in range(5)]
    gate.wait_entered()
    inside.supervisor.stop(wait=0.05)
    assert {task.state for task in tasks} == {"cancelled"}
    assert lane.waiting == 0
    gate.open()


@pytest.mark.slow
def test_a_larger_limit_starts_more(kind, lane, gate):
    lane.configure(limit=1)
    tasks = [kind.bind(f.enter, lane=lane)(gate) for _ in range(3)]
    gate.wait_entered(1)
    kind.supervisor.lane("tested", limit=3)
    gate.wait_entered(2)
    gate.open()
    wait_completed(tasks, timeout=20, strict=True)


class Hooks:
    def __init__(self):
        self.told = []

    def started(self, task):
        self.told.append("started")

    def retried(self, task, error):
        self.told.append(("retried", str(error)))

    def ended(self, task):
        self.told.append(("ended", task.state))
        raise RuntimeError("a hook that fails")


@pytest.mark.slow
def test_hooks_are_called_in_order(kind, caplog):
    hooks = Hooks()
    spec = kind.supervisor.make_spec(kind.form(f.fail), kind.tt, TaskOptions(retries=1),
                                     hooks=hooks)
    task = spec.pool.start(spec, ("no",), None)
    assert type(task.exception(20)) is ValueError
    good = kind.supervisor.make_spec(kind.form(f.give), kind.tt, TaskOptions(), hooks=hooks)
    for number in range(3):
        good.pool.start(good, (number,), None).wait(20)
    kind.supervisor.stop(wait=20)
    first = ["started", ("retried", "no"), "started", ("ended", "failed")]
    assert hooks.told == first + ["started", ("ended", "succeeded")] * 3
    assert "a hook that fails" in caplog.text


# -- of one kind -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_death_releases_the_slot(process):
    process.set_places(2)
    lane = process.supervisor.lane("tested", limit=1)
    victim = process.bind(f.die, lane=lane)(3)
    others = [process.bind(f.give, lane=lane)(number) for number in range(10)]
    assert type(victim.exception(20)) is ProcessDiedError
    assert wait_completed(others, timeout=20) == list(range(10))
    assert settled(lane) == (0, 0, 0, 0)


def test_a_task_that_waits_for_its_own_lane(supervisor):
    lane = supervisor.lane("tested", limit=1)

    @background_task(supervisor=supervisor, lane=lane)
    def nest(depth):
        return depth if depth == 5 else nest(depth + 1).value(20)

    assert nest(0).value(20) == 5
    assert settled(lane) == (0, 0, 0, 0)


def test_a_lane_has_one_pool(supervisor):
    lane = Lane("mine")
    background_task(f.give, supervisor=supervisor, lane=lane)
    with pytest.raises(InvalidArgumentError,
                       match="lane 'mine' stands in front of .*_thread and cannot have tasks of "
                             ".*_loops"):
        background_task(f.co_nothing, supervisor=supervisor, lane=lane)


def test_lane_named_before_it_is_made_takes_tasks_once_it_is_made(supervisor):
    bound = background_task(f.give, supervisor=supervisor, lane="mail")
    assert supervisor.get_lanes() == {}
    lane = supervisor.lane("mail", limit=3, rate=100)
    assert (lane.limit, lane.rate, lane.size, bound(4).value(20)) == (3, 100, None, 4)
    assert supervisor.get_lanes() == {"mail": lane}
    assert supervisor.lane("mail") is lane
    assert bound.options(lane=None)(5).value(20) == 5


SUBMISSIONS = {
    "a call": lambda bound: bound(1),
    "a call with options": lambda bound: bound.options(retries=1)(1),
    "a delayed call": lambda bound: bound.options(delay=1000)(1),
    "map": lambda bound: bound.map([1, 2]),
    "map of delayed calls": lambda bound: bound.options(delay=1000).map([1, 2]),
    "map ahead": lambda bound: next(bound.map([1, 2], buffersize=1)),
}


@pytest.mark.parametrize("way", SUBMISSIONS)
@pytest.mark.parametrize("function, tt",
                         [(f.give, TT_THREAD), (f.give, TT_MP), (f.co_nothing, TT_COROUTINE)],
                         ids=["thread", "process", "coroutine"])
def test_submission_to_lane_that_was_never_made_is_refused(supervisor, function, tt, way):
    supervisor.lane("mail")
    bound = background_task(function, supervisor=supervisor, lane="mial", tt=tt)
    for start in (False, True):
        if start:
            supervisor.start()
        with pytest.raises(InvalidArgumentError,
                           match=r"no lane of supervisor .* is named 'mial'; did you mean 'mail'\? "
                                 r"Its lanes are: 'mail'\. Make the lane "
                                 r"before .*lane\('mial', "):
            SUBMISSIONS[way](bound)
    assert supervisor.get_tasks() == {}
    assert list(supervisor.get_lanes()) == ["mail"]
    lane = supervisor.lane("mial", size=2, on_full="raise")
    assert (lane.size, settled(lane)) == (2, (0, 0, 0, 0))


def test_error_for_unknown_lane_without_any_lane_says_so(supervisor):
    bound = background_task(f.give, supervisor=supervisor, lane="mail")
    with pytest.raises(InvalidArgumentError, match=r"is named 'mail'\. Its lanes are: none\."):
        bound(1)
    with pytest.raises(InvalidArgumentError, match="limit"):
        supervisor.lane("mail", limit=-1)       # it stays unknown
    with pytest.raises(InvalidArgumentError, match="is named 'mail'"):
        bound(1)


def test_lane_made_between_two_submissions_takes_the_second(supervisor):
    bound = background_task(f.give, supervisor=supervisor, lane="mail")
    with pytest.raises(InvalidArgumentError):
        bound(1)
    supervisor.lane("mail")
    assert bound(2).value(20) == 2


def test_lane_that_was_never_made_is_bound_to_no_pool(supervisor):
    bound = background_task(f.give, supervisor=supervisor, lane="mial")
    for other in (background_task(f.give, supervisor=supervisor, lane="mial", tt=TT_MP),
                  background_task(asyncio.sleep, supervisor=supervisor, lane="mial"), bound):
        with pytest.raises(InvalidArgumentError, match="is named 'mial'"):
            other(1)
    supervisor.lane("mial", limit=1)
    # neither the decoration nor the refused submission has bound it to the threads
    coroutine = background_task(asyncio.sleep, supervisor=supervisor, lane="mial")
    assert coroutine(0).value(20) is None
    with pytest.raises(InvalidArgumentError,
                       match="lane 'mial' stands in front of .*_loops and cannot have tasks of "
                             ".*_thread; use a lane for each"):
        bound(1)
    assert coroutine(0).value(20) is None and supervisor.get_tasks() == {}


def test_first_submission_binds_lane_that_was_named_for_two_pools(supervisor):
    threads = background_task(f.give, supervisor=supervisor, lane="mail")
    coroutines = background_task(asyncio.sleep, supervisor=supervisor, lane="mail")
    lane = supervisor.lane("mail", limit=1)
    assert lane.pool is None
    assert coroutines(0).value(20) is None
    assert lane.pool is manager(supervisor).pool_for(TT_COROUTINE)
    with pytest.raises(InvalidArgumentError, match="use a lane for each"):
        threads.map([1])


def test_functions_and_methods_that_named_a_lane_before_share_it(supervisor):
    class Box:
        @background_task(supervisor=supervisor, lane="boxes")
        def give(self, value):
            return value

    bound = background_task(f.give, supervisor=supervisor, lane="boxes")
    again = background_task(f.nothing, supervisor=supervisor, lane="boxes")
    lane = supervisor.lane("boxes", limit=1)
    assert list(bound.map([1, 2])) == [1, 2] and Box().give(3).value(20) == 3
    assert again().value(20) is None
    assert spec_of(bound).lane is spec_of(again).lane is spec_of(Box().give).lane is lane
    assert settled(lane) == (0, 0, 0, 0)


def test_lane_that_was_named_before_moves_to_the_pool_that_replaces_its_own(supervisor):
    bound = background_task(f.give, supervisor=supervisor, lane="mail", tt=TT_MP)
    with ThreadPoolExecutor(1) as executor:
        supervisor.mp_pool = executor
        with pytest.raises(InvalidArgumentError, match="is named 'mail'"):
            bound(1)
        lane = supervisor.lane("mail", limit=1)
        assert bound(2).value(20) == 2 and list(bound.map([3, 4])) == [3, 4]
        assert lane.pool is manager(supervisor).pool_for(TT_MP)
        supervisor.stop()


def test_lane_of_another_type_is_refused(supervisor):
    with pytest.raises(InvalidTypeError, match="lane takes a Lane or the name of one, not int"):
        background_task(f.give, supervisor=supervisor, lane=3)


def test_bound_methods_keep_their_lane(supervisor):
    supervisor.lane("boxes")

    class Box:
        @background_task(supervisor=supervisor, lane="boxes")
        def give(self, value):
            return value

    assert Box().give(3).value(20) == 3
    assert spec_of(Box().give).lane is supervisor.lane("boxes")


def test_a_submission_that_is_refused_stands_in_no_lane(supervisor):
    lane = supervisor.lane("tested", limit=1)
    supervisor.start()
    supervisor.stop()
    bound = background_task(f.give, supervisor=supervisor, lane=lane)
    with pytest.raises(RuntimeError):
        bound(1)
    with pytest.raises(RuntimeError):
        bound.map([1, 2])
    assert settled(lane) == (0, 0, 0, 0)


def test_a_lane_that_has_room_by_now_is_no_full_pool(supervisor, monkeypatch):
    lane = supervisor.lane("tested", limit=1, size=1)
    supervisor.set_thread_pool(on_full="raise")
    said = iter([False])
    # full at the first look only
    monkeypatch.setattr(Lane, "has_room", lambda lane: next(said, True))
    assert background_task(f.give, supervisor=supervisor, lane=lane)(7).value(20) == 7


def test_a_lane_without_references_is_gone(supervisor):
    import gc

    bound = background_task(f.give, supervisor=supervisor, lane=Lane("of nobody"))
    assert bound(1).value(20) == 1
    assert len(manager(supervisor).threads.run_queue.lanes) == 1
    del bound
    gc.collect()
    assert len(manager(supervisor).threads.run_queue.lanes) == 0


def test_waiting_in_a_lane_is_no_late_start(supervisor, caplog):
    supervisor.timeout_warning = 0.0
    lane = supervisor.lane("tested")
    lane.pause()
    task = background_task(f.give, supervisor=supervisor, lane=lane)(1)
    lane.resume()
    assert task.value(20) == 1
    supervisor.stop(wait=20)
    assert "after it was queued" not in caplog.text


@pytest.mark.parametrize("lends", [True, False])
def test_a_lane_may_keep_the_slot_of_a_task_that_waits(make_supervisor, lends):
    """That in the pool is lent all the same: it is one of one place, and the other task runs."""
    supervisor = make_supervisor(pool_size=1, reserve_normal=0, reserve_high=0)
    lane = supervisor.lane("one at a time", limit=1)
    lane.lends_slot = lends
    order, gate = [], threading.Event()

    def other():
        if not lends:
            assert gate.wait(20)
        order.append("other")

    def waits():
        behind = [background_task(order.append, supervisor=supervisor, lane=lane)("behind"),
                  background_task(other, supervisor=supervisor)()]
        gate.set()
        behind[1].value(20)
        order.append("waited")
        return behind[0]

    background_task(waits, supervisor=supervisor, lane=lane)().value(20).value(20)
    assert order == (["behind", "other", "waited"] if lends else ["other", "waited", "behind"])
    assert lane.running == lane.waiting == 0


@pytest.mark.parametrize("lends", [True, False])
def test_a_task_abandoned_while_it_waits_keeps_no_slot_of_its_lane(make_supervisor, lends):
    supervisor = make_supervisor()
    lane = supervisor.lane("one at a time", limit=1)
    lane.lends_slot = lends
    gate = threading.Event()
    waited = background_task(gate.wait, supervisor=supervisor)(20)
    stuck = background_task(lambda: waited.value(20), supervisor=supervisor, lane=lane,
                            timeout=0.05)()
    assert stuck.wait(20).status == "failed"
    assert background_task(abs, supervisor=supervisor, lane=lane)(-1).value(20) == 1
    gate.set()
    waited.value(20)
    assert lane.running == lane.waiting == 0


@pytest.mark.parametrize("lends", [True, False])
def test_the_slots_of_a_lane_are_recounted_with_those_that_it_keeps(make_supervisor, lends):
    supervisor = make_supervisor()
    lane = supervisor.lane("one at a time", limit=1)
    lane.lends_slot = lends
    gate, begun = threading.Event(), threading.Event()
    waited = background_task(lambda: (begun.set(), gate.wait(20)), supervisor=supervisor)()
    counted = []

    def resync():
        assert begun.wait(20)
        pool = manager(supervisor).threads
        wait_for(lambda: pool.run_queue.active == 2, "the slot of the task that waits is lent")
        with pool.lock:
            deferred = resync_pool(pool)        # as after an interrupt
            counted.append(lane.running)
        for chore in deferred:
            chore()
        gate.set()

    waiting = background_task(lambda: (background_task(resync, supervisor=supervisor)(),
                                       waited.value(20)), supervisor=supervisor,
                              lane=lane)()
    waiting.value(20)
    assert counted == [0 if lends else 1]
    assert settled(lane) == (0, 0, 0, 0)


@pytest.fixture
def busy_timer(kind):
    """A timer whose thread makes no further call until release()."""
    released = threading.Event()
    yield BusyTimer(manager(kind.supervisor).timer, released)
    released.set()


class BusyTimer:
    def __init__(self, timer, released):
        self._timer, self.release = timer, released.set
        self._released = released

    def hold(self):
        held = threading.Event()
        self._timer.start()
        self._timer.call_at(0.0, lambda: (held.set(), self._released.wait(60)))
        assert held.wait(20)


@pytest.mark.slow
def test_a_task_submitted_when_the_rate_allows_a_start_does_not_replace_one_that_waits(
        kind, lane, trace, busy_timer):
    lane.configure(limit=None, rate=5)
    record = kind.bind(f.record, lane=lane)
    tasks = [record(trace.path, "1"), record(trace.path, "2")]
    busy_timer.hold()
    tasks[0].wait(20)
    sleep(0.3)                          # the rate allows the second one, and the timer is late
    tasks.append(record(trace.path, "3"))
    busy_timer.release()
    wait_completed(tasks, timeout=20, strict=True)
    assert trace.lines == ["1", "2", "3"]
    assert settled(lane) == (0, 0, 0, 0)


@pytest.mark.slow
def test_a_task_submitted_after_resume_does_not_replace_one_that_waits(kind, lane, trace,
                                                                       busy_timer):
    lane.configure(limit=1)
    record = kind.bind(f.record, lane=lane)
    lane.pause()
    tasks = [record(trace.path, "1")]
    busy_timer.hold()                   # in the main thread, it starts the tasks that wait
    lane.resume()
    tasks.append(record(trace.path, "2"))
    busy_timer.release()
    wait_completed(tasks, timeout=20, strict=True)
    assert trace.lines == ["1", "2"]
    assert settled(lane) == (0, 0, 0, 0)


@pytest.mark.slow
def test_a_task_of_a_lane_submitted_to_a_larger_pool_does_not_replace_one_that_waits(
        kind, lane, trace, gate, busy_timer):
    kind.set_places(1)
    first = kind.bind(f.enter)(gate)
    gate.wait_entered()
    record = kind.bind(f.record)
    tasks = [first, record(trace.path, "1")]
    busy_timer.hold()                   # in the main thread, it starts the tasks that wait
    if kind.in_process:
        kind.supervisor.set_mp_pool(pool_size=3)
    else:
        kind.supervisor.set_thread_pool(pool_size=3)
    tasks.append(kind.bind(f.record, lane=lane)(trace.path, "2"))
    busy_timer.release()
    gate.open()
    wait_completed(tasks, timeout=20, strict=True)
    assert sorted(trace.lines) == ["1", "2"]
    assert settled(lane) == (0, 0, 0, 0)


@pytest.mark.slow
def test_a_lane_with_a_rate_goes_on_after_a_restart(kind, lane):
    lane.configure(limit=None, rate=3)
    give = kind.bind(f.give, lane=lane)
    tasks = [give(number) for number in range(3)]       # the timer is to start the second
    kind.supervisor.stop(wait=0.0)
    wait_completed(tasks, timeout=20)
    kind.supervisor.start()
    assert [give(number).value(20) for number in range(3)] == [0, 1, 2]


@pytest.mark.parametrize("end", ["cancel", "mark_completed", "an interrupt"])
def test_a_coroutine_whose_earlier_attempt_still_runs_leaves_the_lane_once(make_supervisor, end):
    supervisor = make_supervisor()
    lane = supervisor.lane("one at a time", limit=1)
    loop = supervisor.create_aloop("own")
    runs, over = [], threading.Event()

    async def resist():
        runs.append(1)
        while len(runs) == 1 and not over.is_set():
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.001)

    task = background_task(resist, supervisor=supervisor, loop=loop.name, lane=lane, timeout=0.01,
                           retries=1)()
    wait_for(lambda: lane.waiting == 1, "it waits for its second attempt")
    pool = spec_of(task).pool
    if end == "an interrupt":
        with pool.lock:
            deferred = resync_pool(pool)
        for call in deferred:
            call()
        assert lane.running == lane.waiting == 1
    else:
        assert getattr(task, end)()
        assert (lane.running, lane.waiting) == (1, 0)
    over.set()
    assert task.wait(20).status == {"cancel": "cancelled"}.get(end, "succeeded")
    after = background_task(resist, supervisor=supervisor, loop=loop.name, lane=lane)()
    assert after.value(20) is None
    assert len(runs) == (3 if end == "an interrupt" else 2)
    wait_for(lambda: settled(lane) == (0, 0, 0, 0), "nothing of the lane is left")
    assert (pool.run_queue.active, pool.run_queue.waiting) == (0, 0)
