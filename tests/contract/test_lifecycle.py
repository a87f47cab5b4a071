"""Start, stop, and what becomes of the tasks meanwhile."""
import threading

import pytest

from atasker_like import SupervisorStoppedError, TaskSupervisor, background_task

from . import functions as f


def test_the_first_task_starts_the_supervisor(kind):
    assert not kind.supervisor.is_active
    assert kind.supervisor.started is None
    assert kind.bind(f.add)(1).value(10) == 1
    assert kind.supervisor.is_active
    assert kind.supervisor.started > 0


def test_stop_finishes_what_was_accepted(kind, gate, trace):
    running = kind.occupy(gate)
    queued = [kind.bind(f.record)(trace.path, number) for number in range(5)]
    stopping = threading.Thread(target=kind.supervisor.stop)
    stopping.start()
    gate.open()
    stopping.join(20)
    assert not stopping.is_alive()
    assert running.state == "succeeded"
    assert [task.state for task in queued] == ["succeeded"] * 5
    assert trace.lines == list("01234")


def test_stop_cancels_what_is_delayed_with_one_warning(kind, caplog):
    tasks = [kind.bind(f.nothing, delay=60)() for _ in range(3)]
    kind.supervisor.stop(wait=20)
    assert [task.state for task in tasks] == ["cancelled"] * 3
    assert [record.levelname for record in caplog.records
            if "delayed" in record.getMessage()] == ["WARNING"]


def test_stop_cancels_what_waits_for_a_retry(kind):
    task = kind.bind(f.fail, retries=1, retry_delay=60)()
    kind.supervisor.stop(wait=20)
    assert task.done()


def test_stop_without_waiting_returns_at_once_and_goes_on_behind(kind, gate):
    task = kind.bind(f.enter)(gate, 5)
    gate.wait_entered()
    kind.supervisor.stop(wait=False)
    assert not task.done()
    with pytest.raises(SupervisorStoppedError):
        kind.bind(f.add)(1)
    gate.open()
    assert task.value(20) == 5
    kind.supervisor.block()


def test_stop_with_a_deadline_gives_up_what_runs(kind, gate):
    running = kind.bind(f.enter)(gate)
    gate.wait_entered()
    queued = kind.bind(f.enter)(gate)
    kind.supervisor.stop(wait=0.05)
    assert (running.state, queued.state) == ("cancelled", "cancelled")
    assert not kind.supervisor.is_active


def test_stop_that_cancels_tasks(kind, gate):
    running = kind.bind(f.arrive_and_check)(gate)
    gate.wait_entered()
    queued = kind.bind(f.arrive_and_check)(gate)
    delayed = kind.bind(f.nothing, delay=60)()
    kind.supervisor.stop(cancel_tasks=True)
    assert [task.state for task in (running, queued, delayed)] == ["cancelled"] * 3


def test_supervisor_stopped_twice_is_stopped(kind):
    kind.bind(f.nothing)().wait(10)
    for _ in range(2):
        kind.supervisor.stop(wait=20)
    assert not kind.supervisor.is_active


def test_stop_by_several_threads_at_once(kind, gate):
    kind.occupy(gate)
    threads = [threading.Thread(target=kind.supervisor.stop) for _ in range(3)]
    for thread in threads:
        thread.start()
    gate.open()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


def test_stop_while_the_pool_is_just_starting(kind):
    task = kind.bind(f.add)(1)
    kind.supervisor.stop(wait=20, cancel_tasks=True)
    assert task.done()


def test_start_after_stop(kind):
    assert kind.bind(f.add)(1).value(10) == 1
    kind.supervisor.stop(wait=20)
    kind.supervisor.start()
    assert kind.supervisor.is_active
    assert kind.bind(f.add)(2).value(10) == 2


def test_a_task_after_stop_is_refused_and_never_runs(kind, trace):
    bound = kind.bind(f.record)
    kind.supervisor.start()
    kind.supervisor.stop(wait=20)
    for submit in (lambda: bound(trace.path, "x"), lambda: kind.put(f.record, (trace.path, "x")),
                   lambda: bound.starmap([(trace.path, "x")])):
        with pytest.raises(SupervisorStoppedError, match="stopped.*start"):
            submit()
    kind.supervisor.start()
    kind.bind(f.nothing)().wait(10)
    assert trace.lines == []
    assert kind.supervisor.get_tasks() == {}


def test_stop_before_the_first_task(supervisor):
    supervisor.stop()
    with pytest.raises(SupervisorStoppedError):
        supervisor.put_task(f.nothing)


def test_a_task_may_stop_its_own_supervisor(inside):
    task = inside.bind(lambda: inside.supervisor.stop())()
    assert not task.value(20).complete
    inside.supervisor.block()
    assert not inside.supervisor.is_active


def test_the_tasks_of_a_task_that_runs_during_stop_are_refused(supervisor, gate):
    def body():
        gate.enter()
        supervisor.put_task(f.nothing)

    task = supervisor.put_task(body)
    gate.wait_entered()
    supervisor.stop(wait=False)
    gate.open()
    assert type(task.exception(20)) is SupervisorStoppedError


def test_a_running_task_may_wait_for_a_queued_one_during_stop(supervisor, gate):
    supervisor.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0)

    def body():
        inner = supervisor.put_task(f.add, (1, 2))
        gate.enter()
        return inner.value(10)

    task = supervisor.put_task(body)
    gate.wait_entered()
    supervisor.stop(wait=False)
    gate.open()
    assert task.value(20) == 3


def test_retries_end_with_the_supervisor(kind, gate):
    task = kind.bind(f.enter_and_fail, retries=5)(gate)
    gate.wait_entered()
    kind.supervisor.stop(wait=False)
    gate.open()
    assert type(task.exception(20)) is ValueError
    kind.supervisor.block()


def test_with_block_waits_for_its_tasks():
    with TaskSupervisor() as supervisor:
        assert supervisor.is_active
        task = supervisor.put_task(f.add, (1, 2), delay=None)
    assert task.value(0) == 3
    assert not supervisor.is_active


def test_with_block_that_raises_cancels_its_tasks(make_gate):
    gate = make_gate()
    with pytest.raises(KeyError):
        with TaskSupervisor(pool_size=1, reserve_normal=0, reserve_high=0) as supervisor:
            supervisor.put_task(f.enter_and_check, (gate,))
            gate.wait_entered()
            queued = supervisor.put_task(f.nothing)
            queued.add_done_callback(lambda task: gate.open())
            raise KeyError
    assert queued.state == "cancelled"


def test_block_returns_after_stop(supervisor):
    supervisor.start()
    blocked = threading.Thread(target=supervisor.block)
    blocked.start()
    blocked.join(0.01)
    assert blocked.is_alive()
    supervisor.stop()
    blocked.join(10)
    assert not blocked.is_alive()


def test_supervisor_started_twice_keeps_its_time_of_start(supervisor):
    supervisor.start()
    started = supervisor.started
    supervisor.start()
    assert supervisor.started == started


def test_start_keeps_daemon(supervisor):
    supervisor.start(daemon=True)
    assert supervisor.daemon is True


def test_nothing_starts_before_it_is_needed(supervisor):
    before = threading.active_count()
    supervisor.start()
    supervisor.set_thread_pool(pool_size=5)
    supervisor.set_mp_pool(pool_size=2)
    assert threading.active_count() == before


def test_min_size_starts_threads_ahead(supervisor):
    before = threading.active_count()
    supervisor.set_thread_pool(pool_size=3, reserve_normal=0, reserve_high=0, min_size="max")
    supervisor.start()
    assert threading.active_count() == before + 3


def test_threads_are_reused(supervisor):
    idents = set()
    for _ in range(20):
        done = threading.Event()

        def body():
            idents.add(threading.get_ident())
            return 1

        task = supervisor.put_task(body)
        task.add_done_callback(lambda task: done.set())
        assert done.wait(10)
    assert len(idents) <= 3     # the one that has just ended may not be idle yet


def test_growing_a_thread_pool_under_load(supervisor, gate):
    supervisor.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0)
    tasks = [supervisor.put_task(f.enter, (gate,)) for _ in range(3)]
    gate.wait_entered()
    assert [task.status for task in tasks] == [100, 0, 0]
    supervisor.set_thread_pool(pool_size=3)
    gate.wait_entered(2)
    gate.open()


def test_shrinking_a_thread_pool_under_load(supervisor, make_gate):
    first, second = make_gate(), make_gate()
    supervisor.set_thread_pool(pool_size=3, reserve_normal=0, reserve_high=0)
    running = [supervisor.put_task(f.enter, (first,)) for _ in range(3)]
    first.wait_entered(3)
    supervisor.set_thread_pool(pool_size=1)
    waiting = [supervisor.put_task(f.enter, (second,)) for _ in range(2)]
    first.open()
    for task in running:
        task.wait(10)
    second.wait_entered()
    assert supervisor.stats().thread.active == 1
    assert sorted(task.status for task in waiting) == [0, 100]
    second.open()
    for task in waiting:
        task.wait(10)


def test_sizes_that_are_left_out_keep_their_value(supervisor):
    supervisor.set_thread_pool(pool_size=3, reserve_normal=4, reserve_high=5)
    supervisor.set_thread_pool(reserve_normal=1)
    info = supervisor.get_info()
    assert ((info.thread_pool_size, info.thread_reserve_normal, info.thread_reserve_high)
            == (3, 1, 5))


def test_sizes_in_the_constructor(make_supervisor):
    info = make_supervisor("named", pool_size=3, reserve_normal=4, reserve_high=5).get_info()
    assert (info.id, info.thread_pool_size, info.thread_reserve_normal,
            info.thread_reserve_high) == ("named", 3, 4, 5)


# -- several ---------------------------------------------------------------------------------------


def test_supervisors_side_by_side(make_supervisor, make_gate):
    gate = make_gate()
    one, two = (make_supervisor(pool_size=1, reserve_normal=0, reserve_high=0) for _ in range(2))
    assert one.id != two.id
    task = one.put_task(f.enter, (gate,))
    gate.wait_entered()
    assert two.put_task(f.add, (1,)).value(10) == 1
    assert two.get_task(task.id) is None
    two.stop()
    assert one.is_active
    gate.open()
    task.wait(10)


def test_a_task_may_wait_for_a_task_of_another_supervisor(make_supervisor):
    one, two = make_supervisor(), make_supervisor()
    task = one.put_task(lambda: two.put_task(lambda: one.put_task(f.add,
                                                                  (1, 2)).value(10)).value(10))
    assert task.value(10) == 3


def test_subclass_of_a_supervisor_sees_each_submission(make_supervisor):
    class Mine(TaskSupervisor):
        def __init__(self):
            super().__init__("mine", pool_size=1)
            self.submitted = 0

        def put_task(self, *args, **kwargs):
            self.submitted += 1
            return super().put_task(*args, **kwargs)

    mine = make_supervisor(kind=Mine)
    assert mine.put_task(f.add, (1,)).value(10) == 1
    assert background_task(f.add, supervisor=mine)(2).value(10) == 2
    assert mine.submitted == 2
    assert "Mine" in repr(mine) and "mine" in repr(mine)
