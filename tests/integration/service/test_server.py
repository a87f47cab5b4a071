"""The local server: where it is, what it says, how it ends."""
import asyncio
import errno
import json
import os
import socket
import stat
import sys
import threading

import pytest

from atasker_like import InvalidArgumentError, InvalidTypeError, ServiceConnectionError, service
from tests.support import PATIENCE

from .conftest import TOKEN, add, wait_until
from .declared import Add, AddAtOnce, Give, Wait

# -- where it is -----------------------------------------------------------------------------------


def test_over_a_unix_socket(server, path, supervisor):
    with service.SyncClient(path, supervisor=supervisor) as client:
        assert client.execute(Add(1)).result == 2
        assert client.execute("lab", AddAtOnce(2)).result == 3
    assert server.address == f"unix:{path}"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_over_tcp_with_a_token(serve, supervisor, host):
    try:
        server = serve(f"{host}:0", token=TOKEN)
    except OSError:
        pytest.skip(f"this machine has no {host}")
    assert server.address.startswith("tcp://") and not server.address.endswith(":0")
    with service.SyncClient(server.address, TOKEN, supervisor=supervisor) as client:
        assert client.execute(Add(1)).result == 2


@pytest.mark.parametrize("token", ["\u00e9" * 1000, "\U0001f511" * 1000],
                         ids=["two bytes", "four bytes"])
def test_the_longest_token(serve, supervisor, token):
    with service.SyncClient(serve("127.0.0.1:0", token=token).address, token,
                            supervisor=supervisor) as client:
        assert client.execute(Add(1)).result == 2


def test_the_socket_is_its_users_alone(serve, path):
    seen = []
    bind = socket.socket.bind
    mask = os.umask(0)

    class Watched(socket.socket):
        def bind(self, address):
            bind(self, address)
            seen.append(stat.S_IMODE(os.stat(address).st_mode))
            other = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            with other, pytest.raises(ConnectionRefusedError):
                # no client can connect before it listens, whatever the mode
                other.connect(address)

    original = socket.socket
    socket.socket = Watched
    try:
        serve()
    finally:
        socket.socket = original
        os.umask(mask)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    if sys.platform.startswith("linux"):
        assert seen == [0o600]


def test_the_socket_is_its_users_alone_where_its_mode_cannot_be_set_beforehand(serve, path,
                                                                               monkeypatch):
    def refuse(*_):
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "fchmod", refuse)
    serve()
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_tcp_needs_a_token_and_the_loopback(lab, supervisor):
    with pytest.raises(InvalidArgumentError, match="give a token"):
        lab.serve("127.0.0.1:0")
    with pytest.raises(InvalidArgumentError, match="other machines"):
        lab.serve("0.0.0.0:0", token=TOKEN)
    with pytest.raises(InvalidArgumentError, match="other machines"):
        lab.serve("example.invalid:0", token=TOKEN)
    with lab.serve("0.0.0.0:0", token=TOKEN, beyond_loopback=True) as server:
        port = server.address.rpartition(":")[2]
        with service.SyncClient(f"127.0.0.1:{port}", TOKEN, supervisor=supervisor) as client:
            assert client.execute(Add(1)).result == 2


@pytest.mark.parametrize("options, error, text", [
    ({"max_mesage": 3}, InvalidTypeError, "did you mean 'max_message'"),
    ({"max_message": "big"}, InvalidTypeError, "max_message"),
    ({"max_message": 3}, InvalidArgumentError, "256 or more"),
    ({"max_clients": 0}, InvalidArgumentError, "max_clients"),
    ({"token": "short"}, InvalidArgumentError, "8 to 1000"),
    ({"token": 12345678}, InvalidTypeError, "token"),
    ({"message_timeout": 0}, InvalidArgumentError, "message_timeout"),
    ({"message_timeout": "1"}, InvalidTypeError, "seconds"),
])
def test_what_a_server_cannot_be(lab, path, options, error, text):
    with pytest.raises(error, match=text):
        lab.serve(path, **options)
    assert not os.path.exists(path)


@pytest.mark.parametrize("address, shown", [
    ("/a/b.sock", "unix:/a/b.sock"), ("./b.sock", "unix:/b.sock"), ("unix:b.sock", "unix:/b.sock"),
    ("../a/b.sock", "unix:/../a/b.sock"),
    ("127.0.0.1:80", "tcp://127.0.0.1:80"), ("tcp://localhost:80", "tcp://127.0.0.1:80"),
    ("[::1]:80", "tcp://[::1]:80"),
    (("::1", 80), "tcp://[::1]:80"), (service.Address("/a/b"), "unix:/a/b"),
])
def test_address_is_shown_as_it_can_be_given(address, shown, monkeypatch):
    monkeypatch.chdir("/")
    assert str(service.Address(address)) == shown
    assert str(service.Address(shown)) == shown


@pytest.mark.parametrize("address, error", [
    ("lab", InvalidArgumentError), ("lab:http", InvalidArgumentError),
    (":80", InvalidArgumentError), ("unix:", InvalidArgumentError),
    ("a:65536", InvalidArgumentError), ("/" + "x" * 200, InvalidArgumentError),
    ("/a\0b", InvalidArgumentError),
    ("a:²", InvalidArgumentError), ("a:" + "8" * 5000, InvalidArgumentError),
    ("a..b:80", InvalidArgumentError),
    ("a" * 64 + ".b:80", InvalidArgumentError), (("a\0b", 80), InvalidArgumentError),
    (3, InvalidTypeError), (("a", "b"), InvalidTypeError), (None, InvalidTypeError),
])
def test_what_is_no_address(address, error):
    with pytest.raises(error):
        service.Address(address)


def test_relative_path_is_resolved_when_it_is_passed(lab, supervisor, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with service.SyncClient("./lab.sock", supervisor=supervisor) as client:
        server = lab.serve("unix:lab.sock")
        assert os.path.exists("lab.sock")
        monkeypatch.chdir("/")
        assert client.execute(Add(1)).result == 2
        server.close(PATIENCE)
    assert not os.listdir(tmp_path)


def test_a_path_that_is_short_only_as_a_relative_one(lab, supervisor, tmp_path, monkeypatch):
    deep = tmp_path / ("x" * 120)
    deep.mkdir()
    monkeypatch.chdir(deep)
    with lab.serve("./lab.sock") as server, service.SyncClient("unix:lab.sock",
                                                               supervisor=supervisor) as client:
        assert server.address == "unix:./lab.sock"
        assert client.execute(Add(1)).result == 2
    assert not os.listdir(deep)


def test_an_address_that_is_taken(server, lab, path, tmp_path):
    with pytest.raises(service.ServiceConnectionError, match=(
            f"service 'lab' cannot listen at unix:{path}: .*; another service listens there")):
        lab.serve(path)
    assert os.path.exists(path)         # the first one is still there
    other = tmp_path / "file"
    other.write_text("precious")
    with pytest.raises(service.ServiceConnectionError, match="what is there is no socket"):
        lab.serve(str(other))
    assert other.read_text() == "precious"


def test_an_address_where_no_socket_can_be_made(lab, tmp_path):
    missing = tmp_path / "none" / "lab.sock"
    with pytest.raises(service.ServiceConnectionError, match="is there such a folder") as raised:
        lab.serve(missing)
    assert raised.value.errno == errno.ENOENT
    assert isinstance(raised.value.__cause__, FileNotFoundError)
    with pytest.raises(service.ServiceConnectionError, match="that is a folder; add the name of"):
        lab.serve(tmp_path)


def test_a_port_that_is_taken(lab):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        with pytest.raises(service.ServiceConnectionError, match=(
                f"cannot listen at tcp://127.0.0.1:{port}: .*; another program listens there")):
            lab.serve(("127.0.0.1", port), token="12345678")


def test_a_port_of_no_address_of_this_machine(lab):
    with pytest.raises(service.ServiceConnectionError, match="use an address of this machine"):
        lab.serve("192.0.2.1:0", token="12345678", beyond_loopback=True)


def test_socket_of_a_killed_service_is_replaced(lab, path, supervisor):
    left = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    left.bind(path)
    left.listen(1)
    left.close()
    assert os.path.exists(path)
    with lab.serve(path), service.SyncClient(path, supervisor=supervisor) as client:
        assert client.execute(Add(1)).result == 2
    assert not os.path.exists(path)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="there are none")
def test_one_that_is_just_beginning_is_not_taken_for_dead(lab, path):
    from atasker_like.service.addresses import Address, bind

    first = bind(Address(path))         # bound, but not in the loop yet
    with first, pytest.raises(OSError):
        bind(Address(path))
    assert os.path.exists(path)


def test_closing_removes_its_own_socket_only(lab, path):
    first = lab.serve(path)
    os.unlink(path)
    with lab.serve(path):
        first.close()
        assert os.path.exists(path)


# -- the language ----------------------------------------------------------------------------------


def test_requests_and_answers_as_they_are_on_the_wire(server, connect):
    wire = connect(server)
    wire.say({"id": "a", "target": "lab", "type": "Add", "payload": {"a": 1},
              "metadata": {"parallel": False, "display_name": "Add: a=1, b=1", "priority": 100},
              "tell": True})
    assert wire.receive() == {"status": "accepted", "id": "a"}
    assert wire.receive() == {"status": "ok", "id": "a", "result": 2}
    wire.say(add(2), b"\n", {"id": "f", "type": "Fail", "payload": {}},
             {"id": "x", "type": "Add", "payload": {}},
             {"id": "y", "type": "Nothing"},
             {"id": "z", "type": "Add", "target": "kitchen", "payload": {"a": 1}})
    answers = {message["id"]: message for message in (wire.receive() for _ in range(5))}
    assert answers["2"] == {"status": "ok", "id": "2", "result": 3}
    assert ((answers["f"]["status"], answers["f"]["ename"], answers["f"]["evalue"])
            == ("error", "ValueError", "no"))
    assert "Traceback" in answers["f"]["traceback"]
    assert ({key: answers[key]["reason"] for key in "xyz"}
            == {"x": "invalid", "y": "unknown", "z": "unknown"})


def test_a_message_in_pieces_and_many_in_one(server, connect):
    wire = connect(server)
    text = json.dumps(add(1)).encode() + b"\n"
    for piece in (text[:5], text[5:6], text[6:]):
        wire.say(piece)
    assert wire.receive()["result"] == 2
    wire.say(b"".join(json.dumps(add(number)).encode() + b"\n" for number in range(300)) + text[:9])
    # more than may be in flight
    assert sorted(wire.receive()["result"] for _ in range(300)) == list(range(1, 301))
    wire.say(text[9:])
    assert wire.receive()["result"] == 2


def test_an_id_that_is_in_flight(server, connect, crossing):
    wire = connect(server)
    wait = {"id": "w", "type": "Wait", "payload": {}}
    wire.say(wait, wait)
    assert wire.receive()["status"] == "refused"
    crossing.open()
    assert wire.receive() == {"status": "ok", "id": "w", "result": 0}
    wire.say(wait)
    assert wire.receive()["status"] == "ok"


# -- the end, and another beginning ----------------------------------------------------------------


def test_closing_finishes_what_was_accepted(lab, path, connect, crossing):
    server = lab.serve(path)
    wire, idle = connect(server), connect(server)
    idle.say(add(1))
    assert idle.receive()["result"] == 2
    wire.say({"id": "1", "type": "Wait", "payload": {"number": 5}})
    crossing.wait_begun(1)
    assert server.close(0) is False
    assert idle.receive() is None
    assert not os.path.exists(path)
    wire.say(add(1, id="late"))
    assert (wire.receive()["reason"]) == "stopped"
    crossing.open()
    assert wire.receive() == {"status": "ok", "id": "1", "result": 5}
    assert wire.receive() is None
    assert server.close(PATIENCE) is True
    assert server.close() is True


def test_server_that_disappears_is_reported_and_found_again(lab, path, supervisor, make_supervisor):
    asked = make_supervisor()
    far = service.Service("lab", asked)

    @far.handler(Wait)
    async def wait(task):
        await asyncio.get_running_loop().create_future()

    far.serve(path)
    with service.SyncClient(path, supervisor=supervisor) as client:
        pending = [client.request(Wait(number)) for number in range(3)]
        asked.stop(wait=0, cancel_tasks=False)
        for future in pending:
            with pytest.raises((ServiceConnectionError, RuntimeError)):
                future.result(PATIENCE)
        # The connection may end only after the answers, and then takes one more request.
        with pytest.raises(ServiceConnectionError, match="cannot be reached|is lost"):
            client.execute(Add(1))
        with pytest.raises(ServiceConnectionError, match="cannot be reached"):
            client.execute(Add(1))
        with lab.serve(path):
            assert client.execute(Add(1)).result == 2


def test_a_connection_lost_in_the_middle(path, supervisor):
    """A server that is killed: what it did not answer fails, with what to make of it."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(path)
    listening.listen(5)
    with listening, service.SyncClient(path, supervisor=supervisor) as client:
        def accept_and_die():
            connection, _ = listening.accept()
            with connection:
                message = json.loads(connection.makefile().readline())
                connection.sendall(json.dumps({"status": "accepted", "id": message["id"]}).encode()
                                   + b"\n{\"stat")

        for _ in range(2):
            thread = threading.Thread(target=accept_and_die)
            thread.start()
            future = client.request(Add(1))
            thread.join(PATIENCE)
            with pytest.raises(ServiceConnectionError,
                               match="is lost.*may have run, or may still; the next request"):
                future.result(PATIENCE)


@pytest.mark.parametrize("answer", [b"garbage\n", b"[]\n", b"x" * 3000])
def test_what_is_no_service(path, supervisor, answer):
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(path)
    listening.listen(5)
    ended = threading.Event()

    def babble():
        connection, _ = listening.accept()
        with connection:
            connection.recv(10)
            connection.sendall(answer)
            ended.wait(PATIENCE)

    thread = threading.Thread(target=babble)
    thread.start()
    with listening, service.SyncClient(path, max_message=2000, supervisor=supervisor) as client:
        with pytest.raises(ServiceConnectionError, match="no answer of a service|longer than 2000"):
            client.execute(Add(1))
        ended.set()
        thread.join(PATIENCE)


def test_a_result_that_is_too_long_fails_its_task_only(serve, path, supervisor):
    serve(max_message=10_000)
    with service.SyncClient(path, supervisor=supervisor) as client:
        with pytest.raises(InvalidArgumentError, match="raise max_message"):
            small = service.SyncClient(path, max_message=1000, supervisor=supervisor)
            small.execute(Give("x" * 2000))
        assert client.execute(Give("x" * 2000)).result == "x" * 2000


def test_the_stop_of_the_supervisor_closes_the_server(make_supervisor, path, crossing, connect):
    from .declared import fill

    supervisor = make_supervisor()
    lab = fill(service.Service("lab", supervisor), crossing)
    server = lab.serve(path)
    wire, stuck = connect(server), connect(server)
    stuck.say(add(0))
    assert stuck.receive()["result"] == 1
    wire.say(*[{"id": str(number), "type": "WaitInThread", "payload": {"number": number}}
               for number in range(3)])
    crossing.wait_begun(1)
    wait_until(lambda: lab.alive == 3)
    supervisor.stop(wait=False)
    crossing.open()
    assert [wire.receive()["result"] for _ in range(3)] == [0, 1, 2]
    assert wire.receive() is None
    assert supervisor.stop(wait=PATIENCE).complete
    assert not os.path.exists(path)
    supervisor.start()
    with lab.serve(path):
        again = connect(server)
        again.say(add(1))
        assert again.receive()["result"] == 2


def test_from_its_own_loop_it_is_refused(lab, path, supervisor):
    class Begin(service.Task):
        pass

    @lab.handler(Begin)
    async def begin(task):
        lab.serve(path)

    with service.SyncClient(lab, supervisor=supervisor) as client:
        assert client.execute(Begin(), check=False).ename == "SupervisorStoppedError"
    assert not os.path.exists(path)
