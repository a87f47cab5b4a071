"""Descriptors of the process pool that the application closes, and the end of the pool's I/O
thread."""
import os
import threading

import pytest

from atasker_like import TT_MP, ProcessDiedError
from atasker_like.pools.process import descriptors, fork_server, spawn
from atasker_like.pools.process.io_thread import CLOSED
from tests.contract import functions as f
from tests.support import PATIENCE
from tests.support.internals.engine import spec_of
from tests.support.internals.process_pool import (FORK_SERVER, KNOWN, LAUNCH, TRACKER,
                                                  end_by_answer, end_by_error, io_thread_of,
                                                  processes_of, refill, thread_of_io, watched_files)


@pytest.fixture
def pipe():
    """The two ends of a pipe, and their file."""
    ends = os.pipe()
    yield (*ends, descriptors.identity(ends[0]))
    for fd in ends:
        descriptors.close_own(fd, descriptors.identity(fd))


def test_a_descriptor_is_known_by_its_file(pipe):
    reader, writer, known = pipe
    assert descriptors.is_own(reader, known) and descriptors.is_own(writer, known)
    os.close(reader)
    assert not descriptors.is_own(reader, known)
    assert descriptors.identity(reader) is None
    os.dup2(writer, reader)
    assert descriptors.is_own(reader, known)


def test_a_number_that_another_file_has_is_not_closed(pipe):
    reader, writer, known = pipe
    with open(os.devnull) as other:
        os.dup2(other.fileno(), reader)
        descriptors.close_own(reader, known)
        os.fstat(reader)                    # it is open
    descriptors.close_own(writer, known)
    with pytest.raises(OSError):
        os.fstat(writer)


def test_a_descriptor_out_of_the_way_has_a_high_number_and_the_same_file(pipe):
    reader, _, known = pipe
    moved = descriptors.out_of_the_way(reader)
    assert moved >= 100 and descriptors.is_own(moved, known) and descriptors.is_own(reader, known)
    assert not os.get_inheritable(moved)
    os.close(moved)


def test_a_descriptor_stays_where_it_is_if_the_system_has_no_number_to_give(pipe, monkeypatch):
    monkeypatch.setattr("resource.getrlimit", lambda which: (1 << 40, 1 << 40))
    monkeypatch.setattr(descriptors, "HIGH", 1 << 30)
    assert descriptors.out_of_the_way(pipe[0]) == pipe[0]


def test_an_end_whose_number_another_file_has_is_not_closed():
    from multiprocessing import Pipe

    ends = Pipe(duplex=False)
    for end in ends:
        spawn.remember_pipe(end)
    number = ends[0].fileno()
    with open(os.devnull) as other:
        os.dup2(other.fileno(), number)
        assert not spawn.are_open(list(ends))
        for end in ends:
            spawn.close_pipe(end)
        assert all(end.closed for end in ends)
        os.close(number)                    # it was open


class Holder:
    """Stands for what multiprocessing knows of its fork server and of its resource tracker."""

    def __init__(self, fd, pid):
        self._forkserver_alive_fd = self._fd = fd
        self._forkserver_pid = self._pid = pid
        self._forkserver_address = "somewhere"


@pytest.fixture
def holders(monkeypatch, pipe):
    made = Holder(pipe[0], None), Holder(pipe[1], None)
    KNOWN.patch(monkeypatch, fork_server, {})
    FORK_SERVER.patch(monkeypatch, fork_server, lambda: made[0])
    TRACKER.patch(monkeypatch, fork_server, lambda: made[1])
    return made


def test_processes_of_multiprocessing_are_forgotten_when_their_descriptors_are_closed(
        holders, pipe):
    fork_server.before_start()
    fork_server.after_start()
    fork_server.before_start()
    server, tracker = holders
    assert (server._forkserver_alive_fd, tracker._fd) == pipe[:2]
    with open(os.devnull) as other:
        for fd in pipe[:2]:
            os.dup2(other.fileno(), fd)
    fork_server.before_start()
    assert (server._forkserver_alive_fd, server._forkserver_address, tracker._fd) == (None,) * 3
    for fd in pipe[:2]:
        os.close(fd)                        # both were open


# -- in the pool -----------------------------------------------------------------------------------


@pytest.fixture
def pool(make_supervisor, tmp_path):
    """A pool of two processes, of which one runs a task, and one more task waits for the other."""
    class Scene:
        supervisor = make_supervisor()
        gate = f.Gate(tmp_path / "gate").make()

        def put(self, function, *args):
            return self.supervisor.put_task(function, args, tt=TT_MP)

    scene = Scene()
    scene.supervisor.set_mp_pool(pool_size=1, reserve_normal=0, reserve_high=0)
    scene.running = scene.put(f.enter, scene.gate)
    scene.gate.wait_entered()
    scene.waiting = scene.put(f.give, 7)
    scene.pool = scene.supervisor.pool_for(TT_MP)
    yield scene
    scene.gate.close()


def close_like_a_daemon(pool, other=None, below=1 << 30):
    """Close what leads to the processes; or have another file under each of the numbers."""
    watch = io_thread_of(pool)
    pipes = [pipe.fileno() for process in processes_of(pool) for pipe in process.pipes]
    of_multiprocessing = [fd for process in processes_of(pool)
                          for fd in process.process._popen.finalizer._args]
    found = [*pipes, *of_multiprocessing, *watched_files(watch)]
    numbers = {number for number in found if number < below}
    with pool.lock:             # the I/O thread closes and opens nothing in between
        for number in sorted(numbers):
            if other is None:
                descriptors.close_own(number, descriptors.identity(number))
            else:
                os.dup2(other, number)
    return thread_of_io(watch), numbers


def test_what_ran_fails_with_the_cause_when_the_descriptors_are_closed(pool, caplog):
    thread, _ = close_like_a_daemon(pool.pool)
    error = pool.running.exception(PATIENCE)
    assert type(error) is ProcessDiedError
    assert "task enter" in str(error) and CLOSED in str(error)
    assert pool.waiting.value(PATIENCE) == 7
    assert pool.put(f.give, 8).value(PATIENCE) == 8
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert any("its I/O thread ended" in message for message in caplog.messages)


def test_process_that_starts_while_the_io_thread_ends_is_served_by_another(pool, monkeypatch):
    """The thread ends between the look for it and the start of the process."""
    process_pool = pool.pool
    launch, ended = LAUNCH.of(process_pool.starter), []

    def launch_and_end(*arguments):
        started = launch(*arguments)
        if not ended:
            watch = io_thread_of(process_pool)
            ended.append(watch)
            end_by_error(watch)
            thread_of_io(watch).join(PATIENCE)
        return started

    LAUNCH.patch(monkeypatch, process_pool.starter, launch_and_end)
    pool.supervisor.set_mp_pool(pool_size=2, reserve_normal=0, reserve_high=0)
    assert pool.waiting.value(PATIENCE) == 7
    assert pool.put(f.give, 8).value(PATIENCE) == 8
    assert type(pool.running.exception(PATIENCE)) is ProcessDiedError
    assert ended and not thread_of_io(ended[0]).is_alive()


def test_what_was_sent_ahead_runs_elsewhere_if_the_low_numbers_are_closed(pool):
    tasks = [pool.put(f.give, number) for number in range(5)]
    process = processes_of(pool.pool)[0]
    with pool.pool.lock:                        # as if they were known to be short
        spec_of(pool.waiting).expected_runtime = spec_of(tasks[0]).expected_runtime = 1e-6
        refill(pool.pool, process)
        assert len(process.inflight) > 1
    close_like_a_daemon(pool.pool, below=descriptors.HIGH)
    assert type(pool.running.exception(PATIENCE)) is ProcessDiedError
    assert [task.value(PATIENCE) for task in tasks] == list(range(5))
    assert pool.waiting.value(PATIENCE) == 7


def test_files_that_have_the_numbers_by_then_are_left_alone(pool, tmp_path):
    path = tmp_path / "of the application"
    path.write_bytes(b"unread")
    with open(path, "rb+", buffering=0) as other:
        thread, numbers = close_like_a_daemon(pool.pool, other.fileno())
        thread.join(PATIENCE)
        assert type(pool.running.exception(PATIENCE)) is ProcessDiedError
        assert pool.waiting.value(PATIENCE) == 7
        for number in numbers:
            assert os.fstat(number).st_ino == os.fstat(other.fileno()).st_ino
            os.close(number)
        assert other.read() == b"unread"


def test_an_io_thread_that_dies_is_replaced_and_what_ran_fails(pool, monkeypatch, caplog):
    watch = io_thread_of(pool.pool)
    failed = threading.Event()

    def fail():
        failed.set()
        raise ZeroDivisionError("a fault of the pool's own")

    end_by_answer(watch, fail)
    assert failed.wait(PATIENCE)
    error = pool.running.exception(PATIENCE)
    assert type(error) is ProcessDiedError and "a fault of the pool's own" in str(error)
    assert pool.waiting.value(PATIENCE) == 7
    assert io_thread_of(pool.pool) is not watch
    thread_of_io(watch).join(PATIENCE)
    assert any("ZeroDivisionError" in message for message in caplog.messages)


def test_tasks_that_could_not_be_written_run_elsewhere(make_supervisor, tmp_path):
    supervisor = make_supervisor()
    supervisor.set_mp_pool(pool_size=1, reserve_normal=0, reserve_high=0)
    supervisor.put_task(f.give, (1,), tt=TT_MP).value(PATIENCE)
    pool = supervisor.pool_for(TT_MP)
    with pool.lock:                         # the I/O thread does not get to know it before
        process = processes_of(pool)[0]
        ticket = process.ticket_out
    os.close(ticket)                        # only the one for writing
    task = supervisor.put_task(f.give, (2,), tt=TT_MP)
    other = []
    thread = threading.Thread(
        target=lambda: other.append(supervisor.put_task(f.give, (3,), tt=TT_MP)))
    thread.start()
    thread.join(PATIENCE)
    assert (task.value(PATIENCE), other[0].value(PATIENCE)) == (2, 3)
    assert process not in processes_of(pool)
