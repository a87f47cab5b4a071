"""What only processes have: the crossing, and the death."""
import os
import pickle
import signal
import subprocess
import sys
import threading
from array import array

import pytest

import atasker_like
from atasker_like import (PoolBrokenError, ProcessDiedError, RemoteError, RemoteTraceback,
                          TaskPicklingError, wait_completed)
from tests.support.internals.engine import spec_of
from tests.support.internals.process_pool import (idle_processes_of, io_thread_of,
                                                  look_at_next_submission, processes_of)
from tests.support.scripts import without_late
from tests.support.threads import wait_for

from ..support.internals import manager
from . import functions as f

MEGABYTES_5 = 5 * 1024 * 1024


def test_it_is_another_process(processes):
    assert processes.bind(f.pid)().value(20) != os.getpid()


@pytest.mark.slow
def test_slots_are_filled_with_processes(processes, gate):
    processes.set_places(2)
    tasks = [processes.bind(f.enter_and_give_pid)(gate) for _ in range(2)]
    gate.wait_entered(2)
    gate.open()
    assert len({task.value(20) for task in tasks}) == 2


@pytest.mark.parametrize("target",
                         [f.Counter(5).plus, f.Counter.made, f.Counter.twice, f.Callable(), abs,
                          int],
                         ids=["method", "classmethod", "staticmethod", "object", "builtin",
                              "class"])
def test_all_that_can_be_pickled_and_called_can_be_sent(process, target):
    assert process.supervisor.put_task(target, (3,), tt=2).value(20) == target(3)


# -- the crossing ----------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [
    b"\x07" * MEGABYTES_5,
    bytearray(b"\x07") * MEGABYTES_5,
    array("d", [7.0]) * (MEGABYTES_5 // 8),
    "\u0416" * MEGABYTES_5,
    list(range(300_000)),
    b"\x07" * (1 << 16),
    b"\x07" * ((1 << 16) - 1),
], ids=["bytes", "bytearray", "array", "str", "list", "64K", "less"])
def test_large_arguments_reach_a_process_whole(process, data):
    assert process.bind(f.measure)(data).value(20) == (type(data).__name__, len(data), data[0],
                                                       data[-1])


@pytest.mark.parametrize("make, size", [
    (f.make_bytes, MEGABYTES_5), (f.make_bytearray, MEGABYTES_5), (f.make_array, MEGABYTES_5),
    *[(f.make_bytes, size)
      for size in (0, 1, (1 << 16) - 1, 1 << 16, 1 << 18, (1 << 18) + 1, 1 << 20)],
])
def test_large_results_come_back_whole(process, make, size):
    assert process.bind(make)(size).value(20) == make(size)


def test_buffers_out_of_band(process):
    data = bytearray(b"\x07") * MEGABYTES_5
    with memoryview(data) as view:
        assert process.bind(bytes)(pickle.PickleBuffer(view)).value(20) == data
    assert bytes(process.bind(f.make_buffer)(MEGABYTES_5).value(20)) == data


def test_a_result_of_out_of_band_buffers_can_be_written_to(process):
    result = process.bind(f.make_bytearray)(MEGABYTES_5).value(20)
    result[0] = 1
    assert (type(result), result[0], result[1]) == (bytearray, 1, 7)


@pytest.mark.slow
def test_large_arguments_of_many_tasks_at_once(process):
    process.set_places(2)
    tasks = [process.bind(f.give)(bytes([number]) * 400_000) for number in range(20)]
    assert [task.value(30)[0] for task in tasks] == list(range(20))


# -- what cannot cross: a failure of this one task -------------------------------------------------


@pytest.mark.parametrize("args, kwargs", [((lambda: None,), {}), ((), {"a": threading.Lock()})])
def test_arguments_that_cannot_be_pickled(process, args, kwargs):
    task = process.bind(f.nothing)(*args, **kwargs)
    error = task.exception(20)
    assert type(error) is TaskPicklingError
    assert "arguments of task nothing" in str(error)
    assert "plain data" in str(error)
    assert error.__cause__ is not None
    assert process.bind(f.add)(1).value(20) == 1


def test_an_open_file_as_an_argument(process):
    with open(os.devnull) as file:
        error = process.bind(f.nothing)(file).exception(20)
    assert type(error) is TaskPicklingError
    assert "open files" in str(error)


@pytest.mark.parametrize("submit", [
    lambda supervisor, target: supervisor.put_task(target, tt=2),
    lambda supervisor, target: f_bound(supervisor, target)(),
])
def test_a_function_that_cannot_be_pickled(process, submit):
    task = submit(process.supervisor, lambda: None)
    error = task.exception(20)
    assert type(error) is TaskPicklingError
    assert "function of task" in str(error) and "top level of a module" in str(error)


def f_bound(supervisor, target):
    from atasker_like import TT_MP, background_task

    return background_task(target, tt=TT_MP, supervisor=supervisor)


def test_map_over_something_that_cannot_be_pickled(process):
    results = process.bind(f.give).map([1, threading.Lock(), 3])
    assert next(results) == 1
    with pytest.raises(TaskPicklingError):
        next(results)


@pytest.mark.parametrize("function", [f.give_lambda, f.give_open_file])
def test_a_result_that_cannot_be_pickled(process, function):
    error = process.bind(function)().exception(20)
    assert type(error) is TaskPicklingError
    assert "its result cannot be pickled" in str(error)
    assert process.bind(f.add)(1).value(20) == 1


def test_arguments_that_cannot_be_rebuilt(process):
    error = process.bind(f.nothing)(f.Stubborn()).exception(20)
    assert type(error) is TaskPicklingError
    assert "I will not be rebuilt" in str(error)
    assert process.bind(f.add)(1).value(20) == 1


def test_a_result_that_cannot_be_rebuilt(process):
    error = process.bind(f.give_stubborn)().exception(20)
    assert type(error) is TaskPicklingError
    assert "I will not be rebuilt" in str(error)
    assert process.bind(f.add)(1).value(20) == 1


# -- errors ----------------------------------------------------------------------------------------


def test_the_traceback_of_the_child_is_the_cause(processes):
    error = processes.bind(f.fail)("over there").exception(20)
    assert type(error) is ValueError
    assert type(error.__cause__) is RemoteTraceback
    text = str(error.__cause__)
    assert "functions.py" in text and "in fail" in text and "ValueError: over there" in text
    assert "child.py" not in text


def test_a_chain_of_errors_is_in_the_traceback(process):
    error = process.bind(f.raise_chained)().exception(20)
    assert type(error) is KeyError
    assert "ValueError: the first" in str(error.__cause__)


@pytest.mark.parametrize("function, type_name, message", [
    (f.raise_unsendable, "tests.contract.functions.Unsendable", "stays there"),
    (f.raise_unbuildable, "tests.contract.functions.Unbuildable", "half of it"),
    (f.raise_local, "tests.contract.functions.raise_local.<locals>.Local", "nobody can import me"),
])
def test_errors_that_cannot_be_rebuilt(processes, function, type_name, message):
    error = processes.bind(function)().exception(20)
    assert type(error) is RemoteError
    assert (error.type_name, error.message) == (type_name, message)
    assert f"in {function.__name__}" in error.traceback
    assert (str(error)
            == f"{type_name}: {message} (this error could not be rebuilt here: {error.reason})")
    assert "define" in error.reason
    assert type(error.__cause__) is RemoteTraceback


# -- death -----------------------------------------------------------------------------------------


def test_the_death_of_a_process_fails_the_task_that_it_ran(processes):
    assert type(processes.bind(f.kill_self)().exception(20)) is ProcessDiedError
    assert processes.bind(f.add)(1).value(20) == 1


@pytest.mark.parametrize("function, args, exitcode, number, word", [
    (f.die, (3,), 3, None, "exit code 3"),
    (f.die, (0,), 0, None, "exit code 0"),
    (f.kill_self, (), -9, 9, "SIGKILL"),
    (f.kill_self, (signal.SIGTERM,), -15, 15, "SIGTERM"),
    (f.kill_self, (signal.SIGSEGV,), -11, 11, "SIGSEGV"),
])
def test_the_error_says_how_the_process_died(process, function, args, exitcode, number, word):
    task = process.bind(function)(*args)
    error = task.exception(20)
    assert type(error) is ProcessDiedError
    assert (error.exitcode, error.signal) == (exitcode, number)
    assert error.pid not in (None, os.getpid())
    for part in (word, str(error.pid), function.__name__, task.short_id):
        assert part in str(error)
    assert process.bind(f.add)(1).value(20) == 1


@pytest.fixture
def send_ahead():
    """Submit so many short tasks behind a running one that some of them are sent to its process."""
    def send(kind, gate, running, count=100):
        short = kind.bind(f.add)
        for _ in range(5):
            short(0).wait(20)
        task = running(gate)
        gate.wait_entered()
        return task, [short(number) for number in range(count)]

    return send


@pytest.mark.slow
def test_the_tasks_behind_it_run(processes, gate, send_ahead):
    victim, others = send_ahead(processes, gate, processes.bind(f.enter_and_die))
    gate.open()
    assert wait_completed(others, timeout=20) == list(range(100))
    assert {task.attempts for task in others} == {1}
    assert type(victim.exception(20)) is ProcessDiedError


@pytest.mark.slow
@pytest.mark.parametrize("end", ["cancel", "timeout", "kill"])
def test_the_tasks_behind_one_that_is_ended_run(process, gate, send_ahead, end):
    running, others = send_ahead(process, gate,
                                 process.bind(f.enter, timeout=0.05 if end == "timeout" else None))
    if end == "cancel":
        running.cancel()
    elif end == "kill":
        os.kill(process.supervisor.mp_pool.pids()[0], signal.SIGKILL)
    assert wait_completed(others, timeout=20) == list(range(100))
    assert running.wait(20).status == ("cancelled" if end == "cancel" else "failed")


def test_what_was_sent_ahead_can_be_cancelled(processes, gate, trace, send_ahead):
    running, others = send_ahead(processes, gate, processes.bind(f.enter))
    cancelled = others[::2]
    assert all(task.cancel() for task in cancelled)
    gate.open()
    assert wait_completed(others, timeout=20) == [None if n % 2 == 0 else n for n in range(100)]
    assert {task.state for task in cancelled} == {"cancelled"}
    assert processes.supervisor.stats().process.succeeded == 5 + 1 + 50


@pytest.mark.slow
def test_the_tasks_beside_it_run(processes, make_gate):
    processes.set_places(2)
    first, second = make_gate(), make_gate()
    sibling = processes.bind(f.enter)(first, "alive")
    first.wait_entered()
    victim = processes.bind(f.enter_and_die)(second)
    second.wait_entered()
    second.open()
    assert type(victim.exception(20)) is ProcessDiedError
    first.open()
    assert sibling.value(20) == "alive"
    assert sibling.attempts == 1


def test_a_death_is_retried_when_asked(processes):
    task = processes.bind(f.die, retries=1)(1)
    assert type(task.exception(20)) is ProcessDiedError
    assert task.attempts == 2


def test_an_idle_process_that_is_killed_is_replaced(processes):
    pid = processes.bind(f.pid)().value(20)
    os.kill(pid, signal.SIGKILL)
    for _ in range(3):
        task = processes.bind(f.pid)()
        try:
            assert task.value(20) != pid
        except ProcessDiedError:            # the task was sent before the death was seen
            assert task.attempts == 1


def test_failures_of_a_process_are_counted(process):
    process.bind(f.die)(1).wait(20)
    stats = process.supervisor.stats().process
    assert (stats.submitted, stats.failed, stats.succeeded, stats.active) == (1, 1, 0, 0)


# -- the configuration of the pool -----------------------------------------------------------------


@pytest.mark.slow
def test_maxtasksperchild_replaces_a_process_after_that_many_tasks(processes):
    processes.supervisor.create_mp_pool(processes=1, maxtasksperchild=2,
                                        context=processes.start_method)
    pids = [processes.bind(f.pid)().value(20) for _ in range(6)]
    assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4] == pids[5]


@pytest.mark.slow
def test_maxtasksperchild_with_many_queued(process, gate):
    process.supervisor.create_mp_pool(processes=1, maxtasksperchild=3, context=process.name)
    process.occupy(gate)
    tasks = [process.bind(f.pid)() for _ in range(11)]
    gate.open()
    pids = [task.value(30) for task in tasks]
    assert max(pids.count(pid) for pid in pids) == 3
    assert len(set(pids)) == 4


def test_many_calls_without_arguments(process):
    assert list(process.bind(f.nothing).starmap([()] * 5)) == [None] * 5


def test_initializer_runs_in_a_process_before_its_first_task(processes):
    processes.supervisor.create_mp_pool(processes=1, initializer=f.configure, initargs=("set",),
                                        context=processes.start_method)
    assert processes.bind(f.get_setting)().value(20) == "set"


def test_a_new_initializer_is_for_new_processes(process):
    assert process.bind(f.get_setting)().value(20) is None
    process.supervisor.create_mp_pool(initializer=f.configure, initargs=("set",))
    assert process.bind(f.get_setting)().value(20) == "set"


def test_what_was_sent_behind_a_task_that_takes_long_gets_a_process_too(process, make_gate, trace):
    start, stay = make_gate(), make_gate()
    process.supervisor.create_mp_pool(processes=3, initializer=f.stay_unless_first,
                                      initargs=(trace.path, start),
                                      context=process.name)
    enter = process.bind(f.enter)
    stay.open(1)
    enter(stay).value(20)
    stay.wait_entered()
    spec_of(enter).expected_runtime = 1e-6
    tasks = [enter(stay)]
    stay.wait_entered()
    pool = manager(process.supervisor).processes
    look_at_next_submission(pool)
    tasks.append(enter(stay))  # so this one is sent behind the first, a second process begins
    start.wait_entered()
    tasks.append(enter(stay))                           # and this one waits for it
    assert [len(member.inflight) for member in processes_of(pool)] == [2, 0]
    start.open()
    stay.wait_entered(2)                                # each of three runs in a process of its own
    stay.open()
    assert [task.value(20) for task in tasks] == [None] * 3


@pytest.mark.slow
def test_idle_process_gets_what_can_be_revoked_from_any_other_one(process, make_gate, monkeypatch):
    stay, leave, free = make_gate(), make_gate(), make_gate()
    free.open(8)
    process.set_places(3)
    enter = process.bind(f.enter)
    pool = manager(process.supervisor).processes
    readable, first, paused = pool.on_readable, None, threading.Event()

    def readable_but_one(member):
        if member is first:
            io_thread_of(pool).pause(member)
            paused.set()
        else:
            readable(member)

    monkeypatch.setattr(pool, "on_readable", readable_but_one)
    for _ in range(3):                  # until all three processes are there
        enter(leave)
        leave.wait_entered()
    leave.open(2)
    wait_for(lambda: len(idle_processes_of(pool)) == 2, "two processes are idle")
    spec_of(enter).expected_runtime = 1e-6
    # Two tasks for each of them. The process that is looked at first has begun both of its tasks,
    # and has nothing to revoke.
    first = min(idle_processes_of(pool), key=processes_of(pool).index)
    begun, blocked = [(free,), (stay,)], [(stay,), (free,)]
    calls = begun + blocked if idle_processes_of(pool)[-1] is first else blocked + begun
    answers = enter.starmap(calls)
    try:
        assert paused.wait(20)
        stay.wait_entered(2)
        assert [len(member.inflight) for member in processes_of(pool)].count(2) == 2
        leave.open()                    # the third process becomes idle
        wait_for(lambda: [len(member.inflight) for member in processes_of(pool)].count(2) == 1,
                 "the task behind the one that stays has been revoked")
    finally:
        unread, first = first, None
        io_thread_of(pool).add(unread)
        leave.open()
        stay.open()
    assert list(answers) == [None] * 4


@pytest.mark.slow
def test_an_initializer_that_raises_fails_what_waits(processes, trace):
    processes.supervisor.create_mp_pool(processes=1, initializer=f.refuse_to_start,
                                        initargs=(trace.path,),
                                        context=processes.start_method)
    tasks = [processes.bind(f.add)(number) for number in range(3)]
    errors = [task.exception(30) for task in tasks]
    assert [type(error) for error in errors] == [PoolBrokenError] * 3
    assert len({id(error) for error in errors}) == 3
    assert "the initializer does not like it here" in str(errors[0])
    assert "add" in str(errors[0]) and tasks[0].short_id in str(errors[0])
    assert errors[0].__cause__ is not None
    assert 1 <= len(trace.lines) <= 10


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 1000])
def test_a_fork_server_that_ends_at_every_start_fails_what_waits(process, monkeypatch, times):
    from atasker_like.pools.process import starter as processes

    launch, calls = processes.launch, []

    def reset(*arguments):
        calls.append(arguments)
        if len(calls) <= times:
            raise ConnectionResetError("the fork server is gone")
        return launch(*arguments)

    monkeypatch.setattr(processes, "launch", reset)
    task = process.bind(f.add)(1, 2)
    if times == 1:
        assert task.value(20) == 3
    else:
        assert type(task.exception(20)) is PoolBrokenError
        assert "the fork server is gone" in str(task.exception())
        assert len(calls) == 3


@pytest.mark.slow
def test_after_an_initializer_that_raised_a_better_one_helps(processes, trace):
    create = processes.supervisor.create_mp_pool
    create(processes=1, initializer=f.refuse_to_start, initargs=(trace.path,),
           context=processes.start_method)
    assert type(processes.bind(f.add)(1).exception(30)) is PoolBrokenError
    create(processes=1, initializer=f.configure, initargs=("better",))
    assert processes.bind(f.get_setting)().value(20) == "better"


@pytest.mark.slow
def test_growing_under_load(process, gate):
    process.bind(f.enter)(gate)
    gate.wait_entered()
    waiting = [process.bind(f.enter)(gate) for _ in range(2)]
    process.set_places(3)
    gate.wait_entered(2)
    gate.open()
    for task in waiting:
        task.wait(20)


@pytest.mark.slow
def test_shrinking_under_load(process, gate):
    process.set_places(3)
    tasks = [process.bind(f.enter)(gate, number) for number in range(3)]
    gate.wait_entered(3)
    process.set_places(1)
    more = [process.bind(f.add)(number) for number in range(10)]
    gate.open()
    assert wait_completed(tasks + more, timeout=20) == [0, 1, 2, *range(10)]
    for _ in range(20):
        process.bind(f.nothing)().wait(20)
    assert process.supervisor.stats().process.active == 0


def test_min_size_starts_processes_ahead(process):
    process.supervisor.set_mp_pool(pool_size=2, min_size="max")
    process.supervisor.start()
    pids = process.bind(f.pid)().value(20)
    assert pids != os.getpid()


def test_a_start_method_that_does_not_exist(supervisor):
    with pytest.raises(ValueError, match="start_method.*spawn"):
        supervisor.set_mp_pool(start_method="teleport")


def test_a_function_gets_its_task_id_when_it_takes_it(process):
    task = process.bind(f.with_task_id)(1)
    assert task.value(20) == (1, task.id)
    task = process.bind(f.with_keywords)(1, b=2)
    assert task.value(20) == (1, {"b": 2, "_task_id": task.id})
    assert process.bind(f.add)(1).value(20) == 1


def test_a_program_whose_last_line_submits_finds_its_functions_in_the_process(tmp_path):
    program = tmp_path / "program.py"
    program.write_text("from atasker_like import TT_MP, background_task\n\ndef say(word):\n    "
                       "print(word, flush=True)\n\n"
                       "if __name__ == '__main__':\n    background_task(say, tt=TT_MP)('late')\n")
    root = os.path.dirname(os.path.dirname(atasker_like.__file__))
    done = subprocess.run([sys.executable, str(program)], env=dict(os.environ, PYTHONPATH=root),
                          timeout=60,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    assert (done.returncode, done.stdout, without_late(done.stderr)) == (0, "late\n", "")


def test_process_that_takes_long_to_end_is_replaced_before(processes, make_gate):
    processes.supervisor.create_mp_pool(processes=1, maxtasksperchild=1,
                                        context=processes.start_method)
    gate = make_gate()
    processes.bind(f.leave_a_task_behind)(gate).value(10)
    gate.wait_entered()
    assert processes.bind(f.add)(1).value(10) == 1
    gate.open()


def test_processes_of_a_pool_with_min_size_start_before_the_supervisor_does(processes):
    if processes.name != "template":
        processes.supervisor.set_mp_pool(pool_size=2, min_size=2,
                                         start_method=processes.start_method)
    else:
        processes.set_places(2)
    pool = manager(processes.supervisor).processes
    wait_for(lambda: len(idle_processes_of(pool)) == 2, "two processes that are ready")
    assert not processes.supervisor.is_active
    pids = set(processes.supervisor.mp_pool.pids())
    assert processes.bind(os.getpid)().value(10) in pids
    assert processes.supervisor.stop(wait=10).complete


def test_processes_started_ahead_end_with_a_supervisor_that_was_never_started(processes):
    processes.supervisor.set_mp_pool(pool_size=1, min_size=1, start_method=processes.start_method)
    pool = manager(processes.supervisor).processes
    wait_for(lambda: idle_processes_of(pool), "a process that is ready")
    assert processes.supervisor.stop(wait=10).complete
    assert pool.process_count() == 0


def test_pool_without_min_size_starts_no_process_ahead(process):
    process.supervisor.set_mp_pool(pool_size=2)
    process.supervisor.start()
    assert manager(process.supervisor).processes.process_count() == 0


def test_pool_process_that_configures_a_pool_starts_none_ahead(process):
    assert process.bind(f.configure_ahead)().value(10) == (0, False)
