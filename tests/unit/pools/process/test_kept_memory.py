"""Memory of large arguments that is written anew once no process uses it."""
import errno
import os
import signal
import sys

import pytest

from atasker_like import TT_MP, background_task
from atasker_like.engine.timer import Timer
from atasker_like.pools.process import kept_memory
from atasker_like.pools.process.buffers import TransferError, mapped
from atasker_like.pools.process.kept_memory import KEPT_FOR, MOST_KEPT, KeptMemories
from tests.support import PATIENCE, arrays
from tests.support.arrays import LARGE, large
from tests.support.internals import manager
from tests.support.threads import wait_for

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"),
                                reason="only Linux tells when a memory is free")

SIZE = 1 << 20


@pytest.fixture
def kept():
    """Kept memories; the pool thread that drops them is that of the timer."""
    timer = Timer()
    memories = KeptMemories(timer, lambda call: call())
    yield memories
    memories.clear()
    timer.stop()


def copy(kept, value, size=SIZE):
    return kept.copied([memoryview(bytes([value]) * size)])


def file_of(memory):
    return os.fstat(memory.fd).st_ino


def content(memory, size=SIZE):
    with open(f"/proc/self/fd/{memory.fd}", "rb") as file:
        data = file.read(size)
    assert len(set(data)) == 1
    return data[0]


def descriptors():
    """The number of descriptors and mappings of such memory in this process."""
    links = []
    for name in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink("/proc/self/fd/" + name))
        except OSError:
            pass        # that of the list itself
    with open("/proc/self/maps") as maps:
        return sum("memfd:atasker_like" in text for text in [*links, *maps])


def test_memory_without_users_is_written_anew(kept):
    files = set()
    for value in range(1, 5):
        memory = copy(kept, value)
        assert content(memory) == value
        files.add(file_of(memory))
        del memory
    assert len(files) == 1


def test_memory_with_an_open_descriptor_is_left_alone(kept):
    first, second = copy(kept, 1), copy(kept, 2)
    assert file_of(first) != file_of(second)
    assert (content(first), content(second)) == (1, 2)


def test_memory_with_a_mapping_is_left_alone(kept):
    memory = copy(kept, 1)
    mapping = mapped(memory.fd, SIZE, 0)
    del memory
    for value in range(2, 6):
        copy(kept, value)
    assert mapping[:] == b"\1" * SIZE


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_memory_that_a_forked_process_has_mapped_is_left_alone_until_its_death(kept):
    memory = copy(kept, 1)
    file, mapping = file_of(memory), mapped(memory.fd, SIZE, 0)
    pid = os.fork()
    if not pid:
        try:
            signal.pause()
        finally:
            os._exit(0)
    try:
        del memory, mapping
        assert file_of(copy(kept, 2)) != file
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert file in {file_of(copy(kept, 3)), file_of(copy(kept, 4, SIZE - 1))}


@pytest.mark.parametrize("size, same", [(SIZE, True), (SIZE - 5000, True), (SIZE // 2, True),
                                        (SIZE // 2 - 5000, False), (SIZE + 5000, False)])
def test_memory_is_used_for_buffers_of_at_least_half_its_size(kept, size, same):
    file = file_of(copy(kept, 1))
    memory = copy(kept, 2, size)
    assert (file_of(memory) == file) is same and content(memory, size) == 2


def test_several_buffers_begin_at_a_page_each(kept):
    for value in (1, 3):
        memory = kept.copied([memoryview(bytes([value]) * 5000),
                              memoryview(bytes([value + 1]) * 9)])
        with open(f"/proc/self/fd/{memory.fd}", "rb") as file:
            data = file.read()
        assert (data[:5000], data[8192:8201]) == (bytes([value]) * 5000, bytes([value + 1]) * 9)
        del memory


def test_only_some_memories_are_kept(kept):
    before = descriptors()
    lent = [copy(kept, 1) for _ in range(MOST_KEPT + 3)]
    files = set(map(file_of, lent))
    del lent
    again = [copy(kept, 2) for _ in range(MOST_KEPT + 3)]
    assert len(files & set(map(file_of, again))) == MOST_KEPT
    del again
    kept.clear()
    assert descriptors() == before


def test_memories_are_dropped_a_while_after_the_last_transfer(kept, monkeypatch):
    before = descriptors()
    monkeypatch.setattr(kept_memory, "KEPT_FOR", 0.05)
    for _ in range(3):
        copy(kept, 1)
    wait_for(lambda: descriptors() == before, "the memories are dropped")


def test_memories_that_take_the_room_are_dropped(kept, monkeypatch):
    first = copy(kept, 1)
    file, real, asked = file_of(first), kept_memory.copied, []
    del first

    def full_at_first(raws):
        asked.append(0)
        if len(asked) == 1:
            raise TransferError(errno.ENOSPC, 2 * SIZE)
        return real(raws)

    monkeypatch.setattr(kept_memory, "copied", full_at_first)
    assert content(copy(kept, 2, 3 * SIZE)) == 2 and len(asked) == 2
    assert file_of(copy(kept, 3)) != file or len(asked) == 3        # the system may use its number


@pytest.mark.parametrize("broken", ["open", "flock", "timer"])
def test_system_that_cannot_tell_when_memory_is_free_gets_new_memory(kept, monkeypatch, broken):
    def refuse(*arguments):
        raise OSError(errno.ENOENT, "no such file") if broken != "timer" else RuntimeError

    if broken == "open":
        monkeypatch.setattr(kept_memory.os, "open", refuse)
    elif broken == "flock":
        monkeypatch.setattr(kept_memory, "flock", refuse)
    else:
        monkeypatch.setattr(Timer, "start", refuse)
    memories = [copy(kept, value) for value in (1, 2)]
    monkeypatch.undo()
    assert [content(memory) for memory in memories] == [1, 2]
    del memories
    assert not descriptors()


def test_memory_whose_descriptor_the_application_has_closed_is_left_alone(kept):
    memory = copy(kept, 1)
    for number in range(3, 200):
        try:
            if number != memory.fd and os.fstat(number).st_ino == file_of(memory):
                os.close(number)
        except OSError:
            pass
    file = file_of(memory)
    del memory
    other = copy(kept, 2)
    assert file_of(other) != file or content(other) == 2


def test_array_that_a_process_keeps_stays_as_it_was(supervisor):
    supervisor.set_mp_pool(1)
    keep = background_task(arrays.keep, tt=TT_MP, supervisor=supervisor)
    look = background_task(arrays.look, tt=TT_MP, supervisor=supervisor)
    for value in range(1, 6):
        assert keep(large(value)).value(PATIENCE) == value
        assert look(large(value + 10)).value(PATIENCE) == (LARGE, value + 10, value + 10)
    kept = background_task(arrays.all_kept, tt=TT_MP, supervisor=supervisor)
    assert kept().value(PATIENCE) == [(LARGE, value, value) for value in range(1, 6)]


def test_memory_of_a_process_that_was_killed_is_used_again(supervisor):
    supervisor.set_mp_pool(1)
    keep = background_task(arrays.keep, tt=TT_MP, supervisor=supervisor)
    look = background_task(arrays.look, tt=TT_MP, supervisor=supervisor)
    pool = manager(supervisor).processes
    for value in range(1, 6):
        assert keep(large(value)).value(PATIENCE) == 1
        os.kill(pool.pids()[0], signal.SIGKILL)
        assert look(large(value)).value(PATIENCE) == (LARGE, value, value)
    assert descriptors() <= 2 * 3


def test_stop_drops_the_memories_at_once(supervisor):
    supervisor.set_mp_pool(1)
    background_task(arrays.look, tt=TT_MP, supervisor=supervisor)(large()).value(PATIENCE)
    assert descriptors() and KEPT_FOR >= 1
    supervisor.stop(wait=PATIENCE)
    assert not descriptors()
