"""What the main thread submits to idle processes is held, and written by the last line of the
submission."""
import os
import threading
from collections import deque

import pytest

from atasker_like.pools.process.deferred_writer import DeferredWriter
from tests.support.internals.process_pool import is_idle_writer


class Process:
    """A pool process, as far as holding frames needs it."""

    def __init__(self, writer, ticket_out=None):
        self.task_fd = writer
        self.ticket_out = writer if ticket_out is None else ticket_out
        self.outbox = deque()
        self.unsent, self.retiring, self.is_killed = 0, False, False
        self.inconsistent = False

    @property
    def process(self):
        return self

    def kill(self):
        self.is_killed = True


class Pool:
    """A pool, as far as holding frames needs it."""

    def __init__(self):
        self.lock = threading.RLock()
        self.writer = DeferredWriter(self)
        self.later = []

    def write(self, process, parts):
        for part in parts:
            try:
                if process.outbox:
                    process.outbox.append(part)
                else:
                    os.write(process.task_fd, part)
            except BlockingIOError:
                process.outbox.append(part)
            except OSError:
                pass

    def flush_later(self, process):
        self.later.append(process)


@pytest.fixture
def pipes():
    """Three pipes; the second one has nobody to read it."""
    made = [os.pipe() for _ in range(3)]
    os.close(made[1][0])
    yield made
    for position, (reader, writer) in enumerate(made):
        os.close(writer)
        if position != 1:
            os.close(reader)


def hold(pool, pipes):
    processes = [Process(writer) for _, writer in pipes]
    for position, process in enumerate(processes):
        pool.writer.hold(process, b"ticket%d" % position, b"frame%d" % position, ())
    return processes


def is_clean(pool):
    return is_idle_writer(pool.writer) and not pool.lock._is_owned()


WRITES = [DeferredWriter.commit, DeferredWriter.flush]


@pytest.mark.parametrize("write", WRITES)
def test_dead_process_keeps_nothing_from_another_one_and_nothing_is_written_twice(pipes, write):
    pool = Pool()
    processes = hold(pool, pipes)
    write(pool.writer)
    assert [process.is_killed for process in processes] == [False, True, False]
    assert os.read(pipes[0][0], 100) == b"ticket0frame0"
    assert os.read(pipes[2][0], 100) == b"ticket2frame2"
    assert is_clean(pool)


def test_frame_that_another_thread_has_written_is_not_written_again(pipes):
    pool = Pool()
    hold(pool, pipes[::2])
    pool.writer.flush()
    pool.writer.commit()
    assert os.read(pipes[0][0], 100) == b"ticket0frame0"
    assert is_clean(pool)


def fill(descriptor):
    os.set_blocking(descriptor, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(descriptor, bytes(4096))


@pytest.mark.parametrize("write", WRITES)
def test_frame_for_which_a_pipe_has_no_room_is_written_later(pipes, write):
    """A frozen process may be idle, with frames in its pipe whose tasks were revoked."""
    pool = Pool()
    full, free = Process(pipes[0][1], pipes[2][1]), Process(pipes[2][1])
    pool.writer.hold(full, b"ticket0", b"frame0", ())
    pool.writer.hold(free, b"ticket1", b"frame1", ())
    fill(full.task_fd)
    write(pool.writer)
    assert list(full.outbox) == [b"frame0"]
    assert os.read(pipes[2][0], 100) == b"ticket0ticket1frame1"
    assert is_clean(pool)


LARGE = bytes(range(1, 256)) * 20


def test_last_byte_of_a_large_frame_follows_its_tickets(pipes):
    pool = Pool()
    process = Process(pipes[0][1], pipes[2][1])
    pool.writer.hold(process, b"ticket", LARGE, ())
    assert os.read(pipes[0][0], 10000) == LARGE[:-1]
    pool.writer.commit()
    assert os.read(pipes[0][0], 10000) == LARGE[-1:]
    assert os.read(pipes[2][0], 100) == b"ticket"
    assert is_clean(pool) and not process.outbox and not pool.later


@pytest.mark.parametrize("write", WRITES)
def test_buffers_of_a_frame_are_left_to_the_io_thread(pipes, write):
    pool = Pool()
    process = Process(pipes[0][1], pipes[2][1])
    pool.writer.hold(process, b"ticket", b"1234", [b"buffer", b"pickle"])
    assert os.read(pipes[0][0], 100) == b"123" and not pool.later
    write(pool.writer)
    assert b"".join(process.outbox) == b"4bufferpickle" and pool.later == [process]
    assert os.read(pipes[2][0], 100) == b"ticket" and is_clean(pool)


@pytest.mark.parametrize("write", WRITES)
def test_large_frame_for_which_a_pipe_has_no_room_is_left_to_the_io_thread(pipes, write):
    pool = Pool()
    process = Process(pipes[0][1], pipes[2][1])
    fill(process.task_fd)
    pool.writer.hold(process, b"ticket", LARGE, ())
    assert b"".join(process.outbox) == LARGE[:-1]
    write(pool.writer)
    assert b"".join(process.outbox) == LARGE and pool.later == [process]
    assert os.read(pipes[2][0], 100) == b"ticket" and is_clean(pool)


def test_frame_whose_submission_is_interrupted_is_completed_without_tickets(pipes):
    pool = Pool()
    large, small = Process(pipes[0][1], pipes[2][1]), Process(pipes[2][1])
    pool.writer.hold(large, b"ticket", b"frame", [b"buffer"])
    pool.writer.hold(small, b"ticket", b"frame", ())
    undone = []
    pool.writer.take_back(undone.append)
    assert undone == [large, small] and large.inconsistent and small.inconsistent
    assert os.read(pipes[0][0], 100) == b"framebuffer" and is_clean(pool)
    os.write(small.task_fd, b"end")
    assert os.read(pipes[2][0], 100) == b"end"


class Overtaken:
    """The lock of a pool that another thread has taken, to write the held frames, just before."""

    def __init__(self, pool):
        self._pool, self._lock, self._overtaken = pool, pool.lock, False

    def acquire(self):
        if not self._overtaken:
            self._overtaken = True
            with self._lock:
                self._pool.writer.flush()
        return self._lock.acquire()

    def release(self):
        self._lock.release()

    def _is_owned(self):
        return self._lock._is_owned()


@pytest.mark.parametrize("raws", [(), (b"raw",)])
def test_frames_that_another_thread_writes_before_the_commit_are_written_once(pipes, raws):
    pool = Pool()
    pool.lock = Overtaken(pool)
    reader, writer = pipes[0]
    process = Process(writer)
    pool.writer.hold(process, b"", b"frame", raws)
    pool.writer.commit()
    for part in process.outbox:
        os.write(writer, part)
    assert os.read(reader, 100) == b"frame" + b"".join(raws)
    assert len(pool.later) == len(raws)
    assert is_clean(pool)
