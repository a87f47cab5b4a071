"""What the main thread submits to idle processes is held, and written by the last line of the submission."""
import os
import threading

import pytest

from atasker_like.pools.composing import Composer


class Pool(Composer):
    """Only what holding frames needs."""

    def __init__(self):
        self.lock = threading.RLock()
        self._composer = 0
        self._held, self._held_fds, self._held_parts, self._committing = [], [], [], []


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
        pool._held.append(object())
        for part in (b"ticket%d" % position, b"frame%d" % position):
            pool._held_fds.append(writer)
            pool._held_parts.append(part)


@pytest.mark.parametrize("write", [Pool._commit, Pool._flush_held])
def test_a_dead_process_keeps_nothing_from_the_others_and_nothing_is_written_twice(pipes, write):
    pool = Pool()
    hold(pool, pipes)
    write(pool)
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
