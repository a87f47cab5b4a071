"""cancel() by the id of a task: in its process, and from another one over a socket."""
import asyncio
import os
import socket
import subprocess
import sys
import threading

import pytest

from atasker_like import (TT_COROUTINE, TT_MP, AsyncResult, BackendNotConfiguredError,
                          InvalidArgumentError, MemoryBackend, ResultBackendError,
                          ServiceConnectionError, SQLiteBackend, StoredResult,
                          SupervisorStoppedError, SyncResult, TaskNotFoundError, TaskState,
                          WaitDeadlockError, background_task, current_task)
from atasker_like.results import writer
from atasker_like.results.writer import ADDRESS_PREFIX
from tests.support import PATIENCE, ROOT
from tests.support.threads import join, started, wait_for


def sync_cancel(task_id, backend):
    return SyncResult(task_id, backend).cancel()


def async_cancel(task_id, backend):
    return asyncio.run(AsyncResult(task_id, backend).cancel())


@pytest.fixture(params=[sync_cancel, async_cancel])
def cancel(request):
    return request.param


@pytest.fixture
def mine(supervisor, path, make_backend):
    """The backend of the process that has the tasks."""
    backend = make_backend(SQLiteBackend, path)
    supervisor.set_result_backend(backend)
    yield backend
    supervisor.stop(wait=PATIENCE, cancel_tasks=True)
    supervisor.set_result_backend(None)


@pytest.fixture
def other(path, make_backend):
    """That of another process: it has nothing but the file."""
    return make_backend(SQLiteBackend, path)


@pytest.fixture
def server(mine, tmp_path):
    with mine.serve(tmp_path / "requests.sock") as served:
        yield served


# -- in the process of the task --------------------------------------------------------------------


def test_queued_task_never_runs(stored, backend, cancel):
    ran = []
    task = stored.put_task(ran.append, (1,), delay=1000)
    assert cancel(task.id, backend) is True
    assert (task.state, ran) == ("cancelled", [])
    assert SyncResult(task.id, backend).state() is TaskState.FAILURE
    assert cancel(task.id, backend) is False


def test_task_that_has_ended_is_not_cancelled(stored, backend, cancel):
    task = stored.put_task(abs, (-1,))
    assert task.value(PATIENCE) == 1
    assert cancel(task.id, backend) is False            # from memory
    backend.flush(PATIENCE)
    del task
    assert cancel(backend.ids()[0], backend) is False   # from the store


def test_running_task_is_asked_to_stop(stored, backend, cancel):
    go = threading.Event()

    def body():
        assert go.wait(PATIENCE)
        current_task().check_cancelled()

    task = stored.put_task(body)
    task.started.wait(PATIENCE)
    assert cancel(task.id, backend) is True
    go.set()
    assert task.wait(PATIENCE).status == "cancelled"


def test_cancel_without_a_backend_is_refused():
    with pytest.raises(BackendNotConfiguredError):
        SyncResult("id").cancel()


def test_cancel_of_an_unknown_id_is_an_error(backend, cancel):
    with pytest.raises(TaskNotFoundError,
                       match=r"no process can be asked to cancel task unknown1.*call serve\(\)"):
        cancel("unknown1", backend)


# -- from another process --------------------------------------------------------------------------


def test_waiting_task_of_another_process_never_runs(supervisor, mine, other, server, cancel):
    """The store has nothing of the task itself, only where requests about its pool go."""
    ran = []
    task = supervisor.put_task(ran.append, (1,), delay=1000)
    assert other.find(task.id) == StoredResult(task.id, TaskState.PENDING)
    assert cancel(task.id, other) is True
    assert (task.wait(PATIENCE).status, ran) == ("cancelled", [])


@pytest.mark.parametrize("task_id", [None, "mine"])
def test_running_task_of_another_process_is_asked_to_stop(supervisor, mine, other, server, cancel,
                                                          task_id):
    go = threading.Event()

    def body():
        assert go.wait(PATIENCE)
        current_task().check_cancelled()

    task = supervisor.put_task(body, task_id=task_id)
    task.started.wait(PATIENCE)
    mine.flush(PATIENCE)
    assert cancel(task.id, other) is True
    go.set()
    assert task.wait(PATIENCE).status == "cancelled"
    mine.flush(PATIENCE)
    assert cancel(task.id, other) is False


@pytest.mark.parametrize("tt", [TT_MP, TT_COROUTINE])
def test_task_in_a_pool_process_or_a_loop_is_ended_from_another_process(supervisor, mine, other,
                                                                        server, tt):
    function = forever if tt == TT_MP else co_forever
    task = background_task(function, tt=tt, supervisor=supervisor)()
    task.started.wait(PATIENCE)
    mine.flush(PATIENCE)
    assert sync_cancel(task.id, other) is True
    assert task.wait(PATIENCE).status == "cancelled"


def forever():
    threading.Event().wait()


async def co_forever():
    await asyncio.get_running_loop().create_future()


def test_request_is_served_when_all_slots_are_taken(make_supervisor, path, make_backend, tmp_path):
    supervisor = make_supervisor(pool_size=1, reserve_normal=0, reserve_high=0)
    mine, other = make_backend(SQLiteBackend, path), make_backend(SQLiteBackend, path)
    supervisor.set_result_backend(mine)
    go = threading.Event()
    running = supervisor.put_task(go.wait, (PATIENCE,))
    waiting = supervisor.put_task(abs, (-1,))
    with mine.serve(tmp_path / "requests.sock"):
        assert sync_cancel(waiting.id, other) is True
    go.set()
    assert (running.wait(PATIENCE).status, waiting.wait(PATIENCE).status) == ("succeeded",
                                                                              "cancelled")
    supervisor.set_result_backend(None)


def test_requests_are_no_results(supervisor, mine, other, server):
    task = supervisor.put_task(abs, (-1,), delay=1000)
    assert sync_cancel(task.id, other)
    mine.flush(PATIENCE)
    assert mine.ids() == other.ids() == [task.id]


def test_task_that_ended_before_it_was_stored_is_not_cancelled(supervisor, mine, other, server):
    """Its process answers, although the store does not know its end."""
    mine.flush(PATIENCE)
    write, held = mine.write, threading.Event()
    mine.write = lambda entries: held.wait(PATIENCE) and write(entries)
    task = supervisor.put_task(abs, (-1,))
    task.wait(PATIENCE)
    assert sync_cancel(task.id, other) is False
    held.set()
    mine.flush(PATIENCE)


def test_task_that_its_process_does_not_know_is_an_error(mine, other, server):
    other.write([("lost", other.codec.encode_address(server.address))])
    with pytest.raises(TaskNotFoundError, match="has no task lost"):
        sync_cancel("lost", other)


# -- no process there ------------------------------------------------------------------------------


def test_process_that_does_not_serve_cannot_be_asked(supervisor, mine, other):
    go = threading.Event()
    task = supervisor.put_task(go.wait, (PATIENCE,))
    task.started.wait(PATIENCE)
    mine.flush(PATIENCE)
    with pytest.raises(TaskNotFoundError, match="no process can be asked"):
        sync_cancel(task.id, other)
    go.set()
    task.wait(PATIENCE)


def test_process_that_has_gone_cannot_be_asked(other, tmp_path):
    other.write([("id", other.codec.encode_address(f"unix:{tmp_path}/gone.sock"))])
    with pytest.raises(ServiceConnectionError, match="cannot be asked at unix:.*it may have ended"):
        sync_cancel("id", other)


def test_process_that_hangs_up_is_an_error(other, tmp_path):
    socket_path = str(tmp_path / "mute.sock")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(socket_path)
        listening.listen(1)
        other.write([("id", other.codec.encode_address("unix:" + socket_path))])

        def hang_up():
            end, _ = listening.accept()
            end.recv(1)
            end.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(ServiceConnectionError, match="without an answer|reset by peer"):
            sync_cancel("id", other)
        thread.join(PATIENCE)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "http://127.0.0.1/", ""])
def test_address_that_is_no_socket_of_this_machine_is_not_used(other, address, monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("it connected"))
    other.write([("id", other.codec.encode_address(address))])
    with pytest.raises(ResultBackendError, match="no Unix domain socket"):
        sync_cancel("id", other)


# -- the server ------------------------------------------------------------------------------------


def addresses_in(backend):
    return [key for key in backend.keys() if key.startswith(ADDRESS_PREFIX)]


def test_address_is_in_the_store_while_it_serves(supervisor, mine, other, tmp_path):
    server = mine.serve(str(tmp_path / "requests.sock"))
    assert mine.address == server.address == f"unix:{tmp_path}/requests.sock"
    assert len(addresses_in(other)) >= 1 and other.ids() == []
    assert server.close() and server.close()
    assert mine.address is None
    supervisor.stop(wait=PATIENCE)
    assert addresses_in(other) == []


def test_stop_of_the_supervisor_closes_the_server(supervisor, mine, tmp_path):
    mine.serve(tmp_path / "requests.sock")
    supervisor.stop(wait=PATIENCE)
    assert mine.address is None and not (tmp_path / "requests.sock").exists()
    with pytest.raises(SupervisorStoppedError):
        mine.serve(tmp_path / "requests.sock")
    assert mine.address is None


def test_addresses_are_renewed_before_they_expire(supervisor, path, make_backend, tmp_path):
    mine = make_backend(SQLiteBackend, path, ttl=90)
    supervisor.set_result_backend(mine)
    with mine.serve(tmp_path / "requests.sock"):
        now = mine.clock()
        mine.clock = lambda: now + 80
        supervisor.put_task(abs, (-1,)).wait(PATIENCE)
        mine.flush(PATIENCE)
        mine.clock = lambda: now + 160
        assert addresses_in(mine)
    supervisor.set_result_backend(None)


def test_serving_needs_a_supervisor(backend, tmp_path):
    with pytest.raises(BackendNotConfiguredError,
                       match=r"no supervisor keeps its results .*set_result_backend\(\)"):
        backend.serve(tmp_path / "requests.sock")


@pytest.mark.parametrize("address", ["127.0.0.1:0", "tcp://localhost:5000"])
def test_serving_over_tcp_is_refused(mine, address):
    with pytest.raises(InvalidArgumentError, match="over a Unix domain socket only"):
        mine.serve(address)
    assert mine.address is None


def test_serving_where_another_one_does_is_refused(mine, server, tmp_path):
    with pytest.raises(OSError):
        mine.serve(tmp_path / "requests.sock")
    assert mine.address == server.address


def test_serving_with_a_store_that_cannot_be_written_leaves_nothing(supervisor, tmp_path):
    class Broken(MemoryBackend):
        def write(self, entries):
            raise OSError("full")

    backend = Broken()
    supervisor.set_result_backend(backend)
    with pytest.raises(ResultBackendError, match="full"):
        backend.serve(tmp_path / "requests.sock")
    assert backend.address is None
    wait_for(lambda: not (tmp_path / "requests.sock").exists(), "the end of the server")
    supervisor.stop(wait=0)
    supervisor.set_result_backend(None)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_forked_process_takes_no_requests(mine, server):
    pid = os.fork()
    if pid == 0:
        os._exit(0 if mine.address is None else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert mine.address == server.address


PROGRAM = """
import sys
from atasker_like import SQLiteBackend, SyncResult
with SQLiteBackend(sys.argv[1]) as backend:
    result = SyncResult(sys.argv[2], backend)
    print(result.progress(), result.info().name, result.cancel())
"""


@pytest.mark.gate
def test_another_program_sees_progress_and_cancels(supervisor, mine, server, path):
    go = threading.Event()

    def body():
        current_task().report_progress(1, 3, "first")
        assert go.wait(PATIENCE)
        current_task().check_cancelled()

    task = supervisor.put_task(body)
    wait_for(lambda: task.progress is not None, "a report")
    mine.flush(PATIENCE)
    done = subprocess.run([sys.executable, "-c", PROGRAM, path, task.id], cwd=ROOT,
                          stdout=subprocess.PIPE,
                          universal_newlines=True, timeout=PATIENCE, check=True)
    go.set()
    assert done.stdout.startswith("Progress(done=1, total=3, message='first') ")
    assert done.stdout.endswith("body True\n")
    assert task.wait(PATIENCE).status == "cancelled"


KEPT = """
import sys
from atasker_like import SQLiteBackend, task_supervisor
task_supervisor.start()
backend = SQLiteBackend(sys.argv[1])
task_supervisor.set_result_backend(backend)
backend.serve(sys.argv[2])
print(task_supervisor.put_task(abs, (-1,)).value())
"""


@pytest.mark.gate
def test_server_does_not_keep_the_program_alive(path, tmp_path):
    socket_path = str(tmp_path / "requests.sock")
    done = subprocess.run([sys.executable, "-c", KEPT, path, socket_path], cwd=ROOT,
                          stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, universal_newlines=True, timeout=PATIENCE,
                          check=True)
    assert (done.stdout, done.stderr) == ("1\n", "")
    assert not os.path.exists(socket_path)


OPEN_CLIENT = """
from atasker_like import service, task_supervisor
task_supervisor.start()
class Double(service.Task):
    number: int
doubling = service.Service('doubling')
doubling.handler(Double)(lambda task: 2 * task.number)
client = service.SyncClient(doubling)
print(client.execute(Double(21)).result)
"""


@pytest.mark.gate
def test_open_client_does_not_keep_the_program_alive():
    done = subprocess.run([sys.executable, "-c", OPEN_CLIENT], cwd=ROOT, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE,
                          universal_newlines=True, timeout=PATIENCE, check=True)
    assert (done.stdout, done.stderr) == ("42\n", "")


# -- a delete() that does not end ------------------------------------------------------------------


class BlockingDelete(MemoryBackend):
    """Its delete() blocks while ``gate`` is closed."""

    def __init__(self):
        super().__init__()
        self.gate, self.reached = threading.Event(), threading.Event()

    def delete(self, task_id):
        self.reached.set()
        assert self.gate.wait(PATIENCE)
        return super().delete(task_id)


@pytest.fixture
def blocking(supervisor):
    backend = BlockingDelete()
    supervisor.set_result_backend(backend)
    yield backend
    backend.gate.set()
    backend.flush(PATIENCE)
    supervisor.set_result_backend(None)


def test_stop_ends_although_the_delete_of_an_address_blocks(supervisor, blocking, tmp_path, caplog,
                                                            monkeypatch):
    monkeypatch.setattr(writer, "CLOSE_TIMEOUT", 0.01)
    blocking.serve(tmp_path / "requests.sock")
    task = supervisor.put_task(abs, (-1,))
    blocking.flush(PATIENCE)
    stopping = started(supervisor.stop)
    assert blocking.reached.wait(PATIENCE)
    report = join(stopping)
    assert report.complete and report.results_left == 0
    assert sum("delete() of the result backend has not ended" in message
               for message in caplog.messages) == 1
    blocking.gate.set()
    wait_for(lambda: not any(key.startswith(ADDRESS_PREFIX) for key in blocking.keys()),
             "the end of the delete")
    assert blocking.find(task.id).state is TaskState.SUCCESS


def test_results_are_stored_while_a_delete_blocks(supervisor, blocking):
    first = supervisor.put_task(abs, (-1,))
    blocking.flush(PATIENCE)
    deleting = started(lambda: asyncio.run(blocking.delete_result(first.id)))
    assert blocking.reached.wait(PATIENCE)
    second = supervisor.put_task(abs, (-2,))
    second.wait(PATIENCE)
    blocking.flush(PATIENCE)
    assert second.id in blocking.keys()
    assert supervisor.stop(wait=PATIENCE).complete
    blocking.gate.set()
    assert join(deleting) is True


def test_flush_in_the_thread_that_stores_is_refused(supervisor):
    raised = []

    class Flushing(MemoryBackend):
        def write(self, entries):
            try:
                self.flush()
            except WaitDeadlockError as error:
                raised.append(str(error))
            super().write(entries)

    backend = Flushing()
    supervisor.set_result_backend(backend)
    task = supervisor.put_task(abs, (-1,))
    task.wait(PATIENCE)
    backend.flush(PATIENCE)
    assert backend.find(task.id).result == 1
    assert raised and "waits for itself" in raised[0]
    supervisor.set_result_backend(None)
