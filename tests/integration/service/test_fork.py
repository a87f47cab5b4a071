"""A service in a process that forks: the child begins anew, and the parent notices nothing."""
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

BEGIN = """
import gc, os, signal, sys, threading
from atasker_like import SupervisorStoppedError, service, task_supervisor

class ProcessId(service.Task):
    parallel = True

class Wait(service.Task):
    parallel = True

lab = service.Service("lab", max_waiting=3)
go = threading.Event()

@lab.handler(ProcessId)
async def process_id(task):
    return os.getpid()

@lab.handler(Wait)
def wait(task):
    assert go.wait(20)
    return os.getpid()

def is_here(client):
    return client.execute(ProcessId(), timeout=20).result == os.getpid()

def child(work):
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        signal.alarm(30)
        code = 1
        try:
            work()
            code = 0
        finally:
            sys.stdout.flush()
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
"""


def run(program, *arguments):
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", BEGIN + program, *arguments],
                          stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=60)
    return done.returncode, done.stdout.decode().split()


@pytest.mark.slow
@pytest.mark.parametrize("end", ["stop", "collect", "close", "exit"])
def test_a_client_of_the_parent_stays_connected(end):
    assert run("""
client = service.SyncClient(lab)
print(is_here(client))
connection = client._client._connection

def work():
    print(is_here(client))
    if sys.argv[1] == "close":
        client.close()
    with service.SyncClient(lab) as own:
        print(is_here(own), lab._local.clients)
    if sys.argv[1] == "collect":
        gc.collect()
    if sys.argv[1] == "stop":
        print(task_supervisor.stop().complete)
    if sys.argv[1] == "exit":
        raise SystemExit

sys.stdout.flush()
if sys.argv[1] == "exit":           # the interpreter's own end
    pid = os.fork()
    if not pid:
        signal.alarm(30)
        work()
    assert os.waitpid(pid, 0)[1] == 0
else:
    child(work)
print(is_here(client), client._client._connection is connection)
client.close()
""", end) == (0, {"stop": ["True"] * 2 + ["True", "2"] + ["True"] * 3}.get(end, ["True"] * 2 + [
        "True", "1" if end == "close" else "2"] + ["True"] * 2))


@pytest.mark.slow
def test_tasks_of_the_parent_do_not_count_in_the_child():
    assert run("""
client = service.SyncClient(lab)
futures = [client.request(Wait()) for _ in range(3)]

def work():
    print(lab.alive, is_here(client))
    for future in futures:
        try:
            future.result(20)
        except SupervisorStoppedError as error:
            print("forked" in str(error))
    print(task_supervisor.stop().complete)

child(work)
go.set()
print(*[future.result(20).result == os.getpid() for future in futures], is_here(client))
client.close()
""") == (0, ["0"] + ["True"] * 9)


@pytest.mark.slow
def test_a_server_of_the_parent_and_one_of_the_child(tmp_path):
    assert run("""
server = lab.serve(sys.argv[1])
client = service.SyncClient(sys.argv[1])
print(is_here(client))

def work():
    print(server.close(20), server.clients, os.path.exists(sys.argv[1]))
    with lab.serve(sys.argv[2]), service.SyncClient(sys.argv[2]) as own:
        print(is_here(own))
    gc.collect()
    print(task_supervisor.stop().complete)

child(work)
print(is_here(client), server.clients)
with service.SyncClient(sys.argv[1]) as other:
    print(is_here(other), os.path.exists(sys.argv[1]))
client.close()
""", str(tmp_path / "a"), str(tmp_path / "b")) == (0, [
        "True", "True", "0", "True", "True", "True", "True", "1", "True", "True"])


@pytest.mark.slow
def test_a_client_of_the_parent_sees_the_end_while_the_child_lives(tmp_path):
    """The child has no copy of the connections, which would keep them open."""
    assert run("""
server = lab.serve(sys.argv[1])
client = service.SyncClient(sys.argv[1])
print(is_here(client))
up, go_on = os.pipe(), os.pipe()
pid = os.fork()
if not pid:
    signal.alarm(30)
    os.write(up[1], b".")
    os.read(go_on[0], 1)
    os._exit(0)
os.read(up[0], 1)
connection = client._client._connection
gone = threading.Event()
closed = connection._closed
connection.loop.call_soon_threadsafe(lambda: closed.add_done_callback(lambda _: gone.set()))
print(server.close(20), gone.wait(20))
os.write(go_on[1], b".")
assert os.waitpid(pid, 0)[1] == 0
client.close()
""", str(tmp_path / "a")) == (0, ["True"] * 3)
