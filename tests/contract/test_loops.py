import asyncio
import gc
import inspect
import threading

import pytest

from atasker_like import ALoop, SupervisorStoppedError, TaskCancelledError, background_task, loops
from atasker_like._threads import PackageThread
from atasker_like.engine.loop_mailbox import mailbox_of
from tests.support import PATIENCE
from tests.support.gates import Hold
from tests.support.internals.engine import running_of, starting_of
from tests.support.threads import join, started, wait_for

from . import functions as f


async def running_thread():
    return threading.current_thread().name


async def loop_of_mine():
    return asyncio.get_running_loop()


async def never():
    await asyncio.get_running_loop().create_future()


def test_aloop_is_created_found_and_stopped(supervisor):
    aloop = supervisor.create_aloop("mine")
    assert isinstance(aloop, ALoop)
    assert aloop.name == "mine"
    assert aloop.is_active()
    assert supervisor.get_aloop("mine") is aloop
    assert supervisor.get_aloops() == {"mine": aloop}
    assert aloop.thread.name == f"supervisor_{supervisor.id}_aloop_mine"
    assert supervisor.stop_aloop("mine")
    assert not aloop.is_active()
    assert supervisor.get_aloop("mine") is aloop


def test_aloop_created_without_start_is_inactive(supervisor):
    aloop = supervisor.create_aloop("mine", start=False)
    assert not aloop.is_active()
    assert supervisor.start_aloop("mine")
    assert aloop.is_active()
    assert aloop.run(f.co_nothing()) is None


def test_aloop_starts_again_after_its_stop(supervisor):
    aloop = supervisor.create_aloop("mine")
    supervisor.stop_aloop("mine")
    aloop.start()
    aloop.start()
    assert aloop.run(running_thread()) == f"supervisor_{supervisor.id}_aloop_mine"


def test_second_loop_of_a_name_is_refused(supervisor, caplog):
    aloop = supervisor.create_aloop("mine")
    assert supervisor.create_aloop("mine") is False
    assert supervisor.get_aloop("mine") is aloop
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "mine" in caplog.text


def test_reserved_scheduler_name_is_refused(supervisor):
    with pytest.raises(ValueError, match="__supervisor__.*reserved"):
        supervisor.create_aloop("__supervisor__")


@pytest.mark.parametrize("name", [None, 5, b"mine"])
def test_aloop_name_that_is_no_string_is_refused(supervisor, name):
    with pytest.raises(TypeError, match="string"):
        supervisor.create_aloop(name)


@pytest.mark.parametrize("method", ["start_aloop", "stop_aloop"])
def test_start_and_stop_of_an_unknown_aloop_return_false(supervisor, caplog, method):
    assert getattr(supervisor, method)("unknown") is False
    assert "unknown" in caplog.text
    assert supervisor.get_aloop("unknown") is None


def test_default_loop_is_set_by_create_and_by_name(supervisor):
    assert supervisor.default_aloop is None
    assert supervisor.get_aloop() is None
    first = supervisor.create_aloop("first", default=True)
    second = supervisor.create_aloop("second")
    assert supervisor.default_aloop is first
    assert supervisor.get_aloop() is first
    assert supervisor.get_aloop(default=False) is None
    supervisor.set_default_aloop(second)
    assert supervisor.default_aloop is second
    supervisor.set_default_aloop("first")
    assert supervisor.default_aloop is first
    with pytest.raises(ValueError, match="third"):
        supervisor.set_default_aloop("third")


def test_default_loop_can_be_assigned(supervisor):
    first = supervisor.create_aloop("first")
    supervisor.default_aloop = first
    assert background_task(loop_of_mine, supervisor=supervisor)().value(10) is first.get_loop()
    supervisor.default_aloop = None
    assert supervisor.default_aloop is supervisor.get_aloop() is None
    own = supervisor.event_loop
    assert background_task(loop_of_mine, supervisor=supervisor)().value(10) is own
    supervisor.default_aloop = first.get_loop()
    assert background_task(loop_of_mine, supervisor=supervisor)().value(10) is first.get_loop()
    with pytest.raises(TypeError, match="not int"):
        supervisor.default_aloop = 5
    assert supervisor.default_aloop is first.get_loop()


def test_aloops_are_the_supervisors_own_dict(supervisor):
    first = supervisor.create_aloop("mine", daemon=True)
    assert supervisor.aloops == {"mine": first} and first.daemon
    supervisor.stop_aloop("mine")
    assert supervisor.create_aloop("mine") is False
    del supervisor.aloops["mine"]
    second = supervisor.create_aloop("mine")
    assert second is not first and supervisor.aloops["mine"] is second


def test_coroutine_task_runs_in_the_default_loop(supervisor):
    aloop = supervisor.create_aloop("mine", default=True)
    assert background_task(loop_of_mine, supervisor=supervisor)().value(10) is aloop.get_loop()


def test_default_loop_is_made_when_needed(supervisor):
    loop = background_task(loop_of_mine, supervisor=supervisor)().value(10)
    assert loop is supervisor.event_loop
    assert loop is supervisor.get_aloop("__supervisor__").get_loop()
    assert "__supervisor__" not in supervisor.get_aloops()


@pytest.mark.parametrize("by", ["name", "aloop", "asyncio loop"])
def test_coroutine_task_runs_in_the_named_loop(supervisor, by):
    supervisor.create_aloop("default", default=True)
    aloop = supervisor.create_aloop("mine")
    loop = {"name": "mine", "aloop": aloop, "asyncio loop": aloop.get_loop()}[by]
    assert background_task(loop_of_mine, loop=loop,
                           supervisor=supervisor)().value(10) is aloop.get_loop()


def test_coroutine_task_runs_in_the_applications_own_loop(supervisor):
    async def main():
        return await background_task(loop_of_mine, loop=asyncio.get_running_loop(),
                                     supervisor=supervisor)()

    assert asyncio.run(main()).is_closed()


def test_coroutine_task_in_an_unknown_loop_is_an_error(supervisor):
    with pytest.raises(ValueError, match="unknown.*create_aloop"):
        background_task(loop_of_mine, loop="unknown", supervisor=supervisor)()
    assert supervisor.get_tasks() == {}


def test_coroutine_task_in_an_inactive_loop_is_an_error(supervisor):
    supervisor.create_aloop("mine", start=False)
    with pytest.raises(RuntimeError, match="mine.*start"):
        background_task(loop_of_mine, loop="mine", supervisor=supervisor)()
    assert supervisor.get_tasks() == {}


def test_coroutine_task_in_a_closed_asyncio_loop_is_an_error(supervisor):
    loop = asyncio.new_event_loop()
    loop.close()
    with pytest.raises(RuntimeError):
        background_task(loop_of_mine, loop=loop, supervisor=supervisor)().value(10)


def test_aloop_runs_coroutines_and_tasks(supervisor):
    aloop = supervisor.create_aloop("mine")
    assert aloop.run(loop_of_mine()) is aloop.get_loop()
    assert aloop.background_task(loop_of_mine()).value(10) is aloop.get_loop()


def test_aloop_run_raises_the_exception_of_the_coroutine(supervisor):
    async def body():
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        supervisor.create_aloop("mine").run(body())


@pytest.mark.parametrize("method", ["run", "background_task"])
@pytest.mark.filterwarnings("error")
def test_inactive_loop_refuses_coroutines(supervisor, method):
    aloop = supervisor.create_aloop("mine", start=False)
    with pytest.raises(RuntimeError, match="mine.*not active"):
        getattr(aloop, method)(loop_of_mine())
    with pytest.raises(RuntimeError, match="mine.*not active"):
        aloop.get_loop()


def test_aloop_run_in_its_own_thread_is_refused(supervisor):
    aloop = supervisor.create_aloop("mine")

    async def body():
        aloop.run(loop_of_mine())

    with pytest.raises(RuntimeError, match="own loop"):
        aloop.run(body())


def test_aloop_run_lends_the_slot_of_a_pool_thread(supervisor):
    supervisor.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0)
    aloop = supervisor.create_aloop("mine")

    async def ask():
        return await supervisor.put_task(f.add, (1, 2))

    assert supervisor.put_task(lambda: aloop.run(ask())).value(10) == 3


def test_stop_waits_for_the_coroutines(supervisor, gate):
    aloop = supervisor.create_aloop("mine")
    task = aloop.background_task(f.co_enter(gate, 5))
    gate.wait_entered()
    gate.open()
    supervisor.stop_aloop("mine")
    assert task.value(0) == 5


@pytest.mark.parametrize("options", [{"cancel_tasks": True}, {"wait": 0.01}])
def test_stop_aloop_past_its_time_cancels_coroutines(supervisor, options):
    aloop = supervisor.create_aloop("mine")
    task = aloop.background_task(never())
    supervisor.stop_aloop("mine", **options)
    assert task.state == "cancelled"
    assert not aloop.is_active()


def test_stop_of_an_aloop_without_wait_ends_its_thread(supervisor):
    aloop = supervisor.create_aloop("mine")
    thread = aloop.thread
    aloop.stop(wait=False)
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.parametrize("options", [{"cancel_tasks": True}, {"wait": 0.01}, {"wait": False}])
def test_second_stop_of_an_aloop_cancels_what_the_first_one_waits_for(supervisor, options):
    aloop = supervisor.create_aloop("mine")
    task, thread = aloop.background_task(never()), aloop.thread
    first = started(aloop.stop)
    wait_for(lambda: aloop.thread is None, "the first stop has begun")
    aloop.stop(**options)
    if options.get("wait", True):
        assert not thread.is_alive()
    join(first)
    assert not thread.is_alive() and task.state == "cancelled"


def test_second_stop_of_an_aloop_waits_for_its_end(supervisor, gate):
    aloop = supervisor.create_aloop("mine")
    task = aloop.background_task(f.co_enter(gate, 5))
    gate.wait_entered()
    thread, stops, plain_join = aloop.thread, [], aloop.thread.join

    def join_thread(timeout=None):
        stops.append(timeout)
        if len(stops) == 2:
            gate.open()
        plain_join(timeout)

    thread.join = join_thread
    first = started(aloop.stop)
    wait_for(lambda: stops, "the first stop waits")
    aloop.stop()
    assert len(stops) == 2 and not thread.is_alive() and task.value(0) == 5
    join(first)


def test_two_stops_that_a_loop_sees_at_once_end(supervisor, monkeypatch):
    aloop, stops = supervisor.create_aloop("mine"), []
    blocks, go_on = threading.Event(), threading.Event()
    running, stop = running_of(aloop), running_of(aloop).stop
    monkeypatch.setattr(running, "stop", lambda *args: (stop(*args), stops.append(args)))
    aloop.get_loop().call_soon_threadsafe(lambda: (blocks.set(), go_on.wait(PATIENCE)))
    assert blocks.wait(PATIENCE)
    threads = [started(aloop.stop), started(aloop.stop)]
    wait_for(lambda: len(stops) == 2, "both stops")
    go_on.set()
    for thread in threads:
        join(thread)
    assert not aloop.is_active()


def test_stop_that_comes_after_the_last_iteration_leaves_no_pending_task(supervisor, recwarn):
    aloop = supervisor.create_aloop("mine")
    loop, hold = aloop.get_loop(), Hold()
    plain_close = loop.shutdown_asyncgens

    async def shutdown_asyncgens():
        hold()
        await plain_close()

    loop.shutdown_asyncgens = shutdown_asyncgens
    first = started(aloop.stop)
    hold.reached()
    second = started(aloop.stop)
    wait_for(lambda: loop._ready, "the second stop has posted")
    hold.go()
    join(first), join(second)
    gc.collect()
    assert not recwarn.list


def test_stop_of_a_loop_that_never_ran_returns(supervisor):
    supervisor.create_aloop("mine", start=False)
    assert supervisor.stop_aloop("mine")


class Interrupted(PackageThread):
    """A thread whose start() is interrupted, and that runs when it may."""

    gates = []

    def start(self):
        gate = threading.Event()
        self.gates.append((self, gate))
        run = self.run
        self.run = lambda: (gate.wait(PATIENCE), run())
        super().start()
        raise KeyboardInterrupt


def test_stop_withdraws_an_interrupted_start(supervisor, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(loops, "PackageThread", Interrupted)
        aloop = supervisor.create_aloop("mine", start=False)
        with pytest.raises(KeyboardInterrupt):
            aloop.start()
    thread, gate = Interrupted.gates.pop()
    stopping = started(aloop.stop)
    wait_for(lambda: starting_of(aloop) is None, "the withdrawal")
    gate.set()
    join(stopping)
    assert not thread.is_alive() and not aloop.is_active()
    aloop.start()
    assert aloop.run(running_thread()) == f"supervisor_{supervisor.id}_aloop_mine"


def test_start_after_an_interrupted_start_leaves_one_thread(supervisor, monkeypatch):
    aloop = supervisor.create_aloop("mine", start=False)
    with monkeypatch.context() as patch:
        patch.setattr(loops, "PackageThread", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            aloop.start()
    thread, gate = Interrupted.gates.pop()
    aloop.start()
    gate.set()
    thread.join(PATIENCE)
    assert not thread.is_alive() and aloop.thread is not thread
    assert aloop.run(f.co_nothing()) is None


def test_supervisor_stops_its_loops(supervisor):
    aloops = [supervisor.create_aloop(name) for name in ("first", "second")]
    assert supervisor.event_loop.is_running()
    supervisor.stop(wait=10)
    assert [aloop.is_active() for aloop in aloops] == [False, False]


def test_loops_run_after_the_supervisor_is_started_again(supervisor):
    supervisor.create_aloop("mine", default=True)
    assert background_task(running_thread, supervisor=supervisor)().value(10)
    supervisor.stop(wait=10)
    supervisor.start()
    supervisor.start_aloop("mine")
    assert background_task(running_thread, supervisor=supervisor)().value(10)


def test_stopped_supervisor_starts_no_loop(supervisor):
    aloop = supervisor.create_aloop("mine")
    supervisor.stop(wait=10)
    for start in (aloop.start, lambda: supervisor.start_aloop("mine"),
                  lambda: supervisor.create_aloop("other", default=True), supervisor.own_loop):
        with pytest.raises(SupervisorStoppedError, match="start()"):
            start()
    assert supervisor.create_aloop("later", start=False)
    assert supervisor.get_aloops().keys() == {"mine", "later"} and supervisor.default_aloop is None
    supervisor.start()
    other = supervisor.create_aloop("other", default=True)
    assert supervisor.start_aloop("later") and supervisor.default_aloop is other
    assert other.run(running_thread()) == other.thread.name


def test_loop_made_while_its_supervisor_stops_is_refused(supervisor, monkeypatch):
    hold, plain_start = Hold(), ALoop.start

    def start(aloop):
        hold()
        plain_start(aloop)

    monkeypatch.setattr(ALoop, "start", start)
    maker = started(supervisor.create_aloop, "mine")
    hold.reached()
    supervisor.stop(wait=10)
    hold.go()
    assert isinstance(join(maker), SupervisorStoppedError)
    assert supervisor.get_aloops() == {}


def test_loop_goes_on_after_a_task_that_failed(supervisor):
    async def body():
        raise ValueError

    assert background_task(body, supervisor=supervisor)().exception(10) is not None
    assert background_task(running_thread, supervisor=supervisor)().value(10)


def test_coroutine_cancelled_before_its_first_step_never_runs(supervisor):
    """Its asyncio task is there, and never gets into it."""
    steps = []

    async def step():
        steps.append("first")

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_task_factory(_in_the_next_turn)
        mailbox = mailbox_of(loop)
        mailbox.hold()
        task = background_task(step, loop=loop, supervisor=supervisor)()
        mailbox.drain()
        assert task.state == "running"
        mailbox.hold()
        task.cancel()
        mailbox.drain()
        with pytest.raises(TaskCancelledError):
            await asyncio.wait_for(_value(task), PATIENCE)
        return task

    task = asyncio.run(main())
    assert (task.state, steps) == ("cancelled", [])


def test_loop_that_makes_no_tasks_fails_them(supervisor, recwarn):
    """Its factory is the application's."""
    ran = []

    async def step():
        ran.append("step")

    def factory(loop, coro, **options):
        if coro.__name__ == "_run_coroutine":
            raise ZeroDivisionError("no tasks today")
        return asyncio.Task(coro, loop=loop, **options)

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_task_factory(factory)
        with pytest.raises(ZeroDivisionError, match="no tasks today"):
            await background_task(step, loop=loop, supervisor=supervisor)()
        loop.set_task_factory(None)
        await background_task(step, loop=loop, supervisor=supervisor)()

    asyncio.run(main())
    assert ran == ["step"] and supervisor.stats().coroutine.active == 0
    gc.collect()
    assert not [warning for warning in recwarn if "never awaited" in str(warning.message)]


def test_coroutine_cancelled_while_its_asyncio_task_is_made_ends(supervisor):
    """There is nothing to be cancelled yet."""
    steps = []

    async def step():
        steps.append("first")

    async def main():
        loop = asyncio.get_running_loop()

        def factory(loop, coro, **options):
            made = asyncio.Task(coro, loop=loop, **options)
            task.cancel()
            return made

        mailbox = mailbox_of(loop)
        mailbox.hold()
        task = background_task(step, loop=loop, supervisor=supervisor)()
        loop.set_task_factory(factory)
        mailbox.drain()
        loop.set_task_factory(None)
        with pytest.raises(TaskCancelledError):
            await asyncio.wait_for(_value(task), PATIENCE)

    asyncio.run(main())
    assert steps == []


def test_coroutines_that_end_at_once_do_not_run_inside_of_one_another(supervisor):
    """However many there are, in a lane too."""
    depths = []

    async def step():
        depths.append(len(inspect.stack(0)))

    aloop = supervisor.create_aloop("own")
    submit = background_task(step, loop=aloop, supervisor=supervisor)
    for options in ({}, {"lane": supervisor.lane("one at a time", limit=1)}):
        tasks = [submit.options(**options)() for _ in range(500)]
        for task in tasks:
            task.value(PATIENCE)
    assert len(depths) == 1000 and max(depths) - min(depths) < 10


def _in_the_next_turn(loop, coro, **options):
    """A task factory, with which no coroutine makes its first step at once."""
    return asyncio.Task(coro, loop=loop, **options)


async def _value(task):
    return await task
