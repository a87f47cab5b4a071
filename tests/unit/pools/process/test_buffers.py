"""Large buffers that cross in shared memory."""
import gc
import os
import pickle
import signal
import threading

import pytest

import atasker_like
from atasker_like import (TT_MP, ProcessDiedError, TaskPicklingError, TaskSupervisor,
                          background_task, shared, wait_completed)
from atasker_like.pools.process import buffers, kept_memory
from tests.support import PATIENCE, arrays, by_value
from tests.support.arrays import LARGE, Array, large
from tests.support.internals import manager
from tests.support.interruptions import at_line
from tests.support.threads import wait_for

pytestmark = pytest.mark.skipif(os.name != "posix", reason="descriptors cross over a socket")

START_METHODS = ["forkserver", "spawn", "fork"]


@pytest.fixture
def submit(supervisor):
    supervisor.set_mp_pool(1)

    def submit(function, *args, **options):
        return background_task(function, tt=TT_MP, supervisor=supervisor, **options)(*args)

    return submit


def mappings():
    """The number of mappings of memory that this module made, in this process."""
    with open("/proc/self/maps") as file:
        return sum("memfd:atasker_like" in line for line in file)


# -- arguments and results -------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("start_method", START_METHODS)
def test_large_buffers_cross_both_ways_and_are_writable(supervisor, start_method):
    supervisor.set_mp_pool(1, start_method=start_method)
    array = large(7)
    back = background_task(arrays.give_back, tt=TT_MP, supervisor=supervisor)(array).value(PATIENCE)
    assert arrays.look(back) == (LARGE, 42, 7)
    back.data[1] = 3
    assert bytes(back.data[:3]) == bytes([42, 3, 7]) and array.data[0] == 7


@pytest.mark.slow
def test_large_buffers_of_one_call_keep_their_order(submit):
    many = [large(1), Array(bytearray(b"\2" * 10)), shared(large(3)), large(4, LARGE + 1),
            shared(Array(bytearray(b"\5"))), Array(bytearray())]
    with pytest.raises(IndexError):
        submit(arrays.look_at_all, many).value(PATIENCE)
    assert submit(arrays.look_at_all, many[:-1]).value(PATIENCE) == [
        (LARGE, 1, 1), (10, 2, 2), (LARGE, 3, 3), (LARGE + 1, 4, 4), (1, 5, 5)]


@pytest.mark.slow
def test_array_that_changes_between_calls_never_arrives_stale(submit):
    array, table = large(0), shared(large(9))
    for value in range(1, 9):
        array.data[0] = value
        assert submit(arrays.overwrite, array, 100).value(PATIENCE) == value
        assert submit(arrays.overwrite, table, 100).value(PATIENCE) == 9


@pytest.mark.slow
def test_read_only_buffer_arrives_read_only(submit):
    for value in (bytes(LARGE), bytearray(LARGE)):
        for array in (Array(value), shared(Array(value))):
            assert submit(arrays.kind_of, array).value(PATIENCE) == isinstance(value, bytes)


@pytest.mark.slow
def test_large_buffers_cross_beside_a_large_pickle(submit):
    size, text = submit(lambda_free, large(5), "x" * 200_000).value(PATIENCE)
    assert (arrays.look(size), len(text)) == ((LARGE, 5, 5), 400_000)


def lambda_free(array, text):
    return array, 2 * text


@pytest.mark.slow
def test_large_buffers_cross_with_another_serializer(supervisor):
    supervisor.set_mp_pool(1, serializer=by_value)
    value = 6
    task = background_task(lambda array: (arrays.look(array), large(value)), tt=TT_MP,
                           supervisor=supervisor)(large(2))
    looked, back = task.value(PATIENCE)
    assert looked == (LARGE, 2, 2) and arrays.look(back) == (LARGE, 6, 6)


# -- one copy for many tasks -----------------------------------------------------------------------


@pytest.mark.slow
def test_shared_makes_one_copy_for_all_tasks(submit, monkeypatch):
    copied = []
    copy = buffers.copied
    monkeypatch.setattr(buffers, "copied", lambda raws: copied.append(len(raws)) or copy(raws))
    table = shared(large(3))
    tasks = [submit(arrays.overwrite, table, 9) for _ in range(20)]
    assert [task.value(PATIENCE) for task in tasks] == [3] * 20 and copied == [1]


@pytest.mark.slow
def test_shared_copies_the_array_at_once(submit):
    array = large(1)
    table = shared(array)
    array.data[0] = 2
    assert submit(arrays.look, table).value(PATIENCE) == (LARGE, 1, 1)


@pytest.mark.slow
def test_shared_can_be_returned_by_a_task(submit):
    assert arrays.look(submit(arrays.shared_back, 8).value(PATIENCE)) == (LARGE, 8, 8)


@pytest.mark.slow
def test_more_shared_arrays_than_a_message_can_name_cross(submit, monkeypatch):
    monkeypatch.setattr(buffers, "FDS_MOST", 2)
    many = [shared(large(value)) for value in range(5)]
    assert submit(arrays.look_at_all, many).value(PATIENCE) == [
        (LARGE, value, value) for value in range(5)]


def test_shared_is_pickled_as_its_value_elsewhere():
    for value in (large(4), Array(bytearray(b"\4")), [1, 2, 3]):
        for protocol in (2, 5):
            copy = pickle.loads(pickle.dumps(shared(value), protocol))
            assert copy == value if type(value) is list else copy.data == value.data
    assert repr(shared([1])).startswith("<shared list of ")


def test_shared_refuses_what_cannot_be_pickled():
    with pytest.raises(TaskPicklingError, match="shared takes what can be pickled, not this lock"):
        shared(threading.Lock())


def test_shared_in_a_thread_task_is_not_unpacked(supervisor):
    assert background_task(repr, supervisor=supervisor)(shared([1])).value(PATIENCE).startswith(
        "<shared list")


# -- memory that is lacking ------------------------------------------------------------------------


def limit_files(size):
    """Let the files of this process have no more bytes; it is what a full folder is like."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def make(size):
    return large(1, size)


@pytest.mark.slow
def test_result_for_which_there_is_no_memory_fails_one_task(supervisor):
    supervisor.set_mp_pool(1, initializer=limit_files, initargs=(2_000_000,))
    made = background_task(make, tt=TT_MP, supervisor=supervisor)
    error = made(LARGE).exception(PATIENCE)
    assert type(error) is TaskPicklingError
    assert str(error).startswith("task make (")
    assert "ran, but its result cannot be sent: there is no shared memory" in str(error)
    assert arrays.look(made(1_500_000).value(PATIENCE)) == (1_500_000, 1, 1)


@pytest.mark.slow
def test_arguments_for_which_there_is_no_memory_fail_one_task(submit, monkeypatch):
    def copied(raws):
        raise buffers.TransferError(28, sum(raw.nbytes for raw in raws))

    submit(len, "").value(PATIENCE)
    with monkeypatch.context() as patched:
        patched.setattr(kept_memory, "copied", copied)
        error = submit(arrays.look, large()).exception(PATIENCE)
        assert type(error) is TaskPicklingError and "No space left on device" in str(error)
    assert submit(arrays.look, large(2)).value(PATIENCE) == (LARGE, 2, 2)


def test_memory_for_which_there_is_no_room_is_an_error():
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        limit_files(2_000_000)
        with pytest.raises(OSError):
            shared(large())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.slow
def test_files_without_names_carry_buffers_where_memfd_is_absent(submit, monkeypatch, tmp_path):
    monkeypatch.delattr(os, "memfd_create", raising=False)
    assert submit(arrays.look, large(2)).value(PATIENCE) == (LARGE, 2, 2)
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert submit(arrays.look, large(3)).value(PATIENCE) == (LARGE, 3, 3)
    assert not list(tmp_path.iterdir())


# -- processes that die, tasks that are revoked ----------------------------------------------------


def die_with(array):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_death_of_a_process_with_large_arguments_costs_one_task(submit):
    tasks = [submit(die_with if number == 2 else arrays.look, large(number))
             for number in range(6)]
    ends = [task.exception(PATIENCE) for task in tasks]
    assert [type(error) for error in ends] == [
        ProcessDiedError if number == 2 else type(None) for number in range(6)]


@pytest.mark.slow
def test_process_that_dies_during_the_copy_does_not_end_the_task(supervisor, submit, monkeypatch):
    entered, go = threading.Event(), threading.Event()
    copy = buffers.copied

    def slow(raws):
        entered.set()
        assert go.wait(PATIENCE)
        return copy(raws)

    submit(len, "").value(PATIENCE)
    pool = manager(supervisor).processes
    monkeypatch.setattr(kept_memory, "copied", slow)
    task = submit(arrays.look, large(3), retries=1)
    assert entered.wait(PATIENCE)
    os.kill(pool.pids()[0], signal.SIGKILL)
    go.set()
    assert task.value(PATIENCE) == (LARGE, 3, 3)


@pytest.mark.slow
def test_revoked_tasks_leave_no_memory_behind(submit):
    submit(len, "").value(PATIENCE)
    array = large(1)
    for _ in range(10):
        submit(arrays.look, array).value(PATIENCE)      # it is short, so more are sent ahead
    for _ in range(3):
        tasks = [submit(arrays.look, array) for _ in range(20)]
        for task in tasks[::2]:
            task.cancel()
        assert {task.value(PATIENCE) for task in tasks[1::2]} == {(LARGE, 1, 1)}
        wait_completed(tasks)
    assert submit(mapped_there).value(PATIENCE) == (0, 0)
    wait_for(lambda: mappings() == 0, "the memories are dropped")


def mapped_there():
    """The mappings of a pool process, and its descriptors of such memory."""
    gc.collect()
    links = []
    for name in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink("/proc/self/fd/" + name))
        except OSError:
            pass
    return mappings(), sum("memfd:atasker_like" in link for link in links)


def interrupt():
    raise KeyboardInterrupt


def note(path, array):
    with open(path, "a") as file:
        file.write(f"{array.data[0]}\n")
    return arrays.look(array)


@pytest.mark.gate
@pytest.mark.timeout(180)
def test_interrupted_submission_of_a_large_array_leaves_the_pool_whole(supervisor, tmp_path):
    path, size = tmp_path / "notes", buffers.SHARED_FROM
    supervisor.set_mp_pool(1)
    call = background_task(note, tt=TT_MP, supervisor=supervisor)
    call(path, large(0, size)).value(PATIENCE)
    number, longer, refused = 0, True, 0
    while longer:
        number += 1
        value, tasks = number % 250 + 1, []
        path.write_text("")
        try:
            longer = at_line(number, interrupt,
                             lambda: tasks.append(call(path, large(value, size))))
        except KeyboardInterrupt:
            refused += not tasks
        if tasks:
            assert tasks[0].value(PATIENCE) == (size, value, value)
        assert call(path, large(255, size)).value(PATIENCE) == (size, 255, 255)
        assert path.read_text() == (f"{value}\n255\n" if tasks else "255\n")
    assert refused > 100


@pytest.mark.gate
@pytest.mark.timeout(180)
def test_thousands_of_transfers_leave_no_descriptor_and_no_mapping(submit):
    array = large(1, buffers.SHARED_FROM)
    submit(arrays.give_back, array).value(PATIENCE)
    kept = []
    before = len(os.listdir("/proc/self/fd"))
    for number in range(2000):
        back = submit(arrays.give_back, array).value(PATIENCE)
        if not number % 10:
            kept.append(back)
    del back
    count = len(kept)
    wait_for(lambda: mappings() == count and len(os.listdir("/proc/self/fd")) <= before,
             "the memories are dropped")
    del kept
    assert mappings() == 0 and submit(mapped_there).value(PATIENCE) == (0, 0)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_memory_is_closed_in_a_forked_process():
    table = shared(large(5))
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            copy = pickle.loads(pickle.dumps(table, 5))
            os.write(writer, repr((mapped_there()[1], arrays.look(copy))).encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    os.close(writer)
    try:
        assert os.read(reader, 1000).decode() == repr((0, (LARGE, 5, 5)))
    finally:
        os.close(reader)
    assert mapped_there()[1] == 1


def test_supervisor_that_ends_keeps_results(make_supervisor):
    supervisor = make_supervisor()
    with supervisor:
        back = background_task(arrays.give_back, tt=TT_MP, supervisor=supervisor)(large(1)).value(
            PATIENCE)
    assert isinstance(supervisor, TaskSupervisor) and atasker_like.task_supervisor is not supervisor
    assert arrays.look(back) == (LARGE, 42, 1)
