"""What the main thread submits to idle processes is held, and written by the last line of the
submission."""
import os
import threading

import pytest

from atasker_like.pools.process.deferred_writer import DeferredWriter


class Process:
    """A pool process, as far as holding frames needs it."""

    def __init__(self, writer):
        self.writer = writer
        self.unsent, self.retiring, self.is_killed = 0, False, False

    @property
    def process(self):
        return self

    def kill(self):
        self.is_killed = True


class Pool(DeferredWriter):
    """Only what holding frames needs."""

    def __init__(self):
        self.lock = threading.RLock()
        self._deferring_thread = 0
        self._held, self._held_fds, self._held_parts, self._committing = [], [], [], []
        self.later = []

    def _write(self, process, parts):
        try:
            os.write(process.writer, parts[0])
        except BlockingIOError:
            self.later.append((process.writer, parts[0]))
        except OSError:
            pass


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
    for position, (_, writer) in enumerate(pipes):
        pool._held.append(Process(writer))
        for part in (b"ticket%d" % position, b"frame%d" % position):
            pool._held_fds.append(writer)
            pool._held_parts.append(part)


@pytest.mark.parametrize("write", [Pool._commit, Pool._flush_held])
def test_a_dead_process_keeps_nothing_from_the_others_and_nothing_is_written_twice(pipes, write):
    pool = Pool()
    hold(pool, pipes)
    processes = list(pool._held)
    write(pool)
    assert [process.is_killed for process in processes] == [False, True, False]
    assert os.read(pipes[0][0], 100) == b"ticket0frame0"
    assert os.read(pipes[2][0], 100) == b"ticket2frame2"
    assert not (pool._held or pool._held_fds or pool._held_parts or pool._committing)
    assert not pool.lock._is_owned()


def test_what_another_thread_has_written_is_not_written_again(pipes):
    pool = Pool()
    hold(pool, pipes)
    pool._flush_held()
    pool._commit()
    assert os.read(pipes[0][0], 100) == b"ticket0frame0"
    assert not pool.lock._is_owned()


@pytest.mark.parametrize("write", [Pool._commit, Pool._flush_held])
def test_a_frame_for_which_a_pipe_has_no_room_goes_out_later(pipes, write):
    """A frozen process may be idle, with frames in its pipe whose tasks were taken back."""
    pool = Pool()
    hold(pool, pipes[::2])
    full = pipes[0][1]
    pool._held_fds[0] = pipes[2][1]             # the tickets have a pipe of their own
    os.set_blocking(full, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(full, bytes(4096))
    write(pool)
    assert pool.later == [(full, b"frame0")]
    assert os.read(pipes[2][0], 100) == b"ticket0ticket1frame1"
    assert not (pool._held or pool._held_fds or pool._held_parts or pool._committing)
    assert not pool.lock._is_owned()
