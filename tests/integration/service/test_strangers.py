"""Clients that misbehave or are gone: they get a reason, are closed, and disturb no other."""
import asyncio
import functools
import json
import socket
import struct

import pytest

from atasker_like import InvalidArgumentError, ServiceConnectionError, TaskRefusedError, service
from atasker_like.service import connection
from atasker_like.service.wire import encode_result
from tests.support import PATIENCE
from tests.support.internals import manager
from tests.support.internals.service import CLOSE_TIMEOUT, is_closing_server, is_stuck

from .conftest import TOKEN, add, wait_until
from .declared import Add, Give, WaitAtOnce

HOSTILE = [
    b"garbage\n", b"\x00\xff\xfe\n", b"[]\n", b"GET / HTTP/1.1\r\nHost: evil\r\n\r\n", b"{}\n",
    b'{"id": 3}\n', b"\x80\x04]\x94.\n",
    b'{"id": "1", "type": "Add", "payload": ' + b"[" * 1000 + b"]" * 1000 + b"}\n",
    b'{"id": "1", "type": "Add", "metadata": 3}\n',
    b'{"id": "1", "type": ["Add"]}\n', b'{"id": "' + b"9" * 1000 + b'", "type": "Add"}\n',
]


@pytest.mark.parametrize("said", HOSTILE, ids=range(len(HOSTILE)))
def test_client_of_another_protocol_gets_a_reason_and_is_closed(server, connect, said, caplog):
    wire = connect(server)
    # what follows is not listened to, as the body of a request by HTTP would be
    wire.say(said, add(1))
    message = wire.receive()
    assert (message["status"], message["reason"]) == ("closed", "message")
    assert wire.receive() is None
    assert "closes a connection" in caplog.text
    other = connect(server)
    other.say(add(1))
    assert other.receive()["result"] == 2


@pytest.mark.parametrize("newline", [b"", b"\n"])
def test_a_message_that_is_too_long(serve, connect, newline):
    server = serve(max_message=1000)
    wire = connect(server)
    try:
        wire.say(b'{"id": "1", "type": "Give", "payload": {"value": "' + b"x" * 20000 + b'"}}'
                 + newline)
    except (BrokenPipeError, ConnectionResetError):
        pass
    message = wire.receive()
    assert message is None or "longer than 1000 bytes" in message["message"]
    assert wire.receive() is None


@pytest.mark.slow
def test_an_endless_line_costs_no_memory(server, connect):
    """A gigabyte without a newline; it is closed long before."""
    wire = connect(server)
    block = b"x" * (1 << 20)
    sent = 0
    with pytest.raises(OSError):
        for _ in range(1024):
            wire.socket.sendall(block)
            sent += len(block)
    assert sent < 64 << 20
    other = connect(server)
    other.say(add(1))
    assert other.receive()["result"] == 2


def test_half_a_line_has_its_time(serve, connect):
    server = serve(message_timeout=0.05)
    silent, half = connect(server), connect(server)
    silent.say(add(1))
    assert silent.receive()["result"] == 2
    half.say(b'{"id": "1"')
    assert "did not come within 0.05 s" in half.receive()["message"]
    assert half.receive() is None
    silent.say(add(2))                  # a client may be silent without limit
    assert silent.receive()["result"] == 3


@pytest.mark.parametrize("first", [
    {"token": "wrong"}, {"token": TOKEN + "x"}, {"token": None}, {"token": 3}, {"token": "\ud800"},
    {}, add(1), b"GET / HTTP/1.1\r\n",
    b'{"token": "' + b"x" * 20000 + b'"}\n',
])
def test_a_wrong_token(serve, connect, first, lab, caplog):
    server = serve("127.0.0.1:0", token=TOKEN)
    wire = connect(server)
    wire.say(first, add(2))
    message = wire.receive()
    assert message is None or message["status"] == "closed"
    assert wire.receive() is None
    assert "closes a connection" in caplog.text and TOKEN not in caplog.text
    wire = connect(server)
    wire.say({"token": TOKEN}, add(2))
    assert wire.receive()["result"] == 3


def test_no_token_in_time(serve, connect):
    server = serve("127.0.0.1:0", token=TOKEN, message_timeout=0.05)
    assert connect(server).receive()["status"] == "closed"


def test_client_with_a_wrong_token_gets_the_reason(serve, supervisor):
    server = serve("127.0.0.1:0", token=TOKEN)
    with service.SyncClient(server.address, "something else", supervisor=supervisor) as client:
        with pytest.raises(ServiceConnectionError, match="the token is wrong"):
            client.execute(Add(1))
    with service.SyncClient(server.address, supervisor=supervisor) as client:
        with pytest.raises(ServiceConnectionError, match="the token is wrong"):
            client.request(Add(1))


def test_token_that_is_not_required_is_ignored(server, connect, supervisor):
    with service.SyncClient(server.address, TOKEN, supervisor=supervisor) as client:
        assert client.execute(Add(1)).result == 2


def test_only_what_is_nothing_but_a_token_has_no_answer(server, connect, lab):
    wire = connect(server)
    wire.say({"token": TOKEN}, add(1, token=TOKEN))
    assert wire.receive() == {"status": "ok", "id": "1", "result": 2}
    tcp = lab.serve("127.0.0.1:0", token=TOKEN)
    try:
        wire = connect(tcp)
        wire.say(add(1, token=TOKEN), {"token": "another"}, add(2, token="another"))
        assert [wire.receive()["result"] for _ in range(2)] == [2, 3]
        wire = connect(tcp)
        wire.say(add(1, token="another"), add(2))
        assert wire.receive()["reason"] == "token" and wire.receive() is None
    finally:
        tcp.close()


def test_too_many_clients(serve, connect):
    server = serve(max_clients=2)
    wires = [connect(server) for _ in range(2)]
    for number, wire in enumerate(wires):
        wire.say(add(number))
        assert wire.receive()["result"] == number + 1
    assert "2 connections already" in connect(server).receive()["message"]
    wires[0].close()
    wait_until(lambda: server.clients < 2)
    third = connect(server)
    third.say(add(3))
    assert third.receive()["result"] == 4


def test_no_more_is_read_than_may_be_in_flight(serve, connect, crossing, lab):
    server = serve(max_in_flight=3)
    wire = connect(server)
    wire.say(*[{"id": str(number), "type": "WaitAtOnce", "payload": {"number": number}}
               for number in range(10)])
    crossing.wait_begun(3)
    other = connect(server)
    other.say(add(1))                   # it has been through the loop since
    assert other.receive()["result"] == 2
    assert (lab.alive, len(crossing.begun)) == (3, 3)
    crossing.open()
    assert sorted(int(wire.receive()["id"]) for _ in range(10)) == list(range(10))


def test_bytes_in_flight_are_bounded(serve, connect, crossing, lab):
    server = serve(max_message=2000)
    wire = connect(server)
    big = {"type": "WaitAtOnce", "payload": {"number": 1}, "metadata": {"display_name": "x" * 900}}
    wire.say(*[dict(big, id=str(number)) for number in range(10)])
    crossing.wait_begun(3)
    other = connect(server)
    other.say(add(1))
    assert other.receive()["result"] == 2
    assert lab.alive == 3               # the third one went past the bound
    crossing.open()
    assert len([wire.receive() for _ in range(10)]) == 10


def test_client_that_does_not_read_is_closed_and_delays_no_other(serve, connect):
    server = serve(max_message=100_000)
    wire = connect(server)
    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    request = {"id": "%d", "type": "Give", "payload": {"value": "x" * 50_000}}
    request = json.dumps(request).encode() + b"\n"
    wire.socket.settimeout(0.1)
    try:
        for number in range(1000):
            wire.say(request.replace(b"%d", b"%d" % number))
    except OSError:                     # no more is read of it, or it has been closed
        pass
    other = connect(server)
    other.say(add(1))
    assert other.receive()["result"] == 2


def test_answers_that_are_not_read_are_not_even_written_down(serve, connect, lab, monkeypatch):
    """Small requests for large answers, which together would fill the memory."""
    written = []
    monkeypatch.setattr(connection, "encode_result",
                        lambda *about: written.append(about[0]) or encode_result(*about))
    server = serve(max_message=100_000)
    connect(server).say(*[{"id": str(number), "type": "Blow", "payload": {"size": 90_000}}
                          for number in range(250)])
    other = connect(server)
    other.say(add(1))
    assert other.receive()["result"] == 2
    wait_until(lambda: written and lab.alive == 0)
    assert len(written) < 50


def test_a_client_that_disappears_costs_nothing_and_its_tasks_end(server, connect, crossing, lab):
    wire = connect(server)
    wire.say(*[{"id": str(number), "type": "Wait", "payload": {"number": number}}
               for number in range(3)])
    crossing.wait_begun(1)
    wait_until(lambda: lab.alive == 3)
    wire.close()
    wait_until(lambda: server.clients == 0)
    assert crossing.ended == []
    crossing.open()
    wait_until(lambda: lab.alive == 0)
    assert crossing.ended == [0, 1, 2]


@pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])
def test_half_closed_client_gets_its_answers(serve, connect, crossing, tcp):
    """As nc and socat do at the end of their input."""
    server = serve("127.0.0.1:0", token=TOKEN) if tcp else serve()
    wire = connect(server)
    if tcp:
        wire.say({"token": TOKEN})
    waits = [{"id": str(number), "type": kind, "payload": {"number": number}}
             for number, kind in enumerate(["Wait", "WaitAtOnce"])]
    wire.say(*waits, add(5))
    wire.socket.shutdown(socket.SHUT_WR)
    crossing.wait_begun(2)
    other = connect(server)
    if tcp:
        other.say({"token": TOKEN})
    other.say({"id": "n", "type": "Nothing"})
    # the loop has seen the end of the first one's by now
    assert other.receive()["status"] == "refused"
    assert server.clients == 2
    crossing.open()
    answers = {message["id"]: message["result"] for message in (wire.receive() for _ in range(3))}
    assert answers == {"0": 0, "1": 1, "5": 6}
    assert wire.receive() is None
    wait_until(lambda: server.clients == 1)


def test_half_closed_client_without_requests_is_closed(server, connect):
    wire = connect(server)
    wire.socket.shutdown(socket.SHUT_WR)
    assert wire.receive() is None
    wire = connect(server)
    wire.say(add(1))
    assert wire.receive()["result"] == 2
    wire.socket.shutdown(socket.SHUT_WR)
    assert wire.receive() is None


def test_end_in_the_middle_of_a_message_is_reported(server, connect, crossing):
    wire = connect(server)
    wire.say({"id": "w", "type": "Wait", "payload": {}},
             b'{"id": "1", "type": "Add", "payload": {"a": 1}}')
    wire.socket.shutdown(socket.SHUT_WR)
    message = wire.receive()
    assert message["status"] == "closed" and "no newline" in message["message"]
    crossing.open()
    assert wire.receive() == {"status": "ok", "id": "w", "result": 0}
    assert wire.receive() is None


def test_half_closed_clients_do_not_count_against_the_limit(serve, connect, crossing, lab):
    """They have the same limit. Most of them are gone, which TCP does not reveal."""
    server = serve("127.0.0.1:0", token=TOKEN, max_clients=2)
    leaving = []
    for number in range(4):
        leaving.append(connect(server))
        leaving[-1].say({"token": TOKEN},
                        {"id": str(number), "type": "WaitAtOnce", "payload": {"number": number}})
        crossing.wait_begun(number + 1)
        leaving[-1].socket.shutdown(socket.SHUT_WR)
        other = connect(server)
        other.say({"token": TOKEN}, add(1))
        assert other.receive()["result"] == 2
        other.close()
        wait_until(lambda: server.clients == min(number + 1, 2))        # noqa: B023
    assert [wire.receive() for wire in leaving[:2]] == [None, None]
    crossing.open()
    assert [wire.receive()["result"] for wire in leaving[2:]] == [2, 3]
    wait_until(lambda: lab.alive == server.clients == 0)


def test_a_connection_that_is_reset(server, connect, crossing, lab):
    tcp = lab.serve("127.0.0.1:0", token=TOKEN)
    try:
        wire = connect(tcp)
        wire.say({"token": TOKEN}, {"id": "1", "type": "Wait", "payload": {}})
        crossing.wait_begun(1)
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wire.close()
        wait_until(lambda: tcp.clients == 0)
        crossing.open()
        wait_until(lambda: lab.alive == 0)
    finally:
        tcp.close()


def test_the_failure_of_a_client_that_is_gone_is_in_the_log(server, connect, lab, crossing, unseen):
    class Late(service.Task):
        pass

    @lab.handler(Late)
    def late(task):
        crossing.enter(0)
        raise ValueError("no client sees it")

    wire = connect(server)
    wire.say({"id": "1", "type": "Late", "payload": {}})
    crossing.wait_begun(1)
    wire.close()
    wait_until(lambda: server.clients == 0)
    crossing.open()
    wait_until(lambda: lab.alive == 0)
    wait_until(unseen)


def test_client_that_does_not_read_does_not_delay_the_close(serve, connect, lab, monkeypatch):
    """Its waiting requests are refused like all later ones. It has a little time to read."""
    CLOSE_TIMEOUT.patch(monkeypatch, connection, 0.05)
    server = serve(max_message=100_000, max_in_flight=2)
    wire = connect(server)
    wire.say(*[{"id": str(number), "type": "Blow", "payload": {"size": 90_000}}
               for number in range(100)])
    wait_until(lambda: is_stuck(server))
    assert server.close(PATIENCE) and server.clients == lab.alive == 0


def test_requests_behind_unread_answers_are_refused_as_the_server_closes(serve, connect,
                                                                         monkeypatch):
    CLOSE_TIMEOUT.patch(monkeypatch, connection, PATIENCE)
    server = serve(max_message=100_000, max_in_flight=2)
    wire = connect(server)
    wire.say(*[{"id": str(number), "type": "Blow", "payload": {"size": 90_000}}
               for number in range(100)])
    wait_until(lambda: is_stuck(server))
    server.close(False)
    # its loop closes it: a request that is read before may be served
    wait_until(lambda: is_closing_server(server))
    answers = [wire.receive() for _ in range(100)]
    assert {message["status"] for message in answers} == {"ok", "refused"}
    refused = [message for message in answers if message["status"] == "refused"]
    assert {message["reason"] for message in refused} == {"stopped"}
    assert {int(message["id"]) for message in answers} == set(range(100))
    assert wire.receive() is None


class Harm(service.Task):
    """What runs in the loop of the application's own code raises what ends threads."""
    parallel = True
    kind: str
    where: str

    def __post_init__(self):
        if self.where == "check":
            Thing(self.kind).harm()
        if self.where == "text of the check":
            raise Unspeakable(self.kind)


class HarmInThread(Harm):
    pass


class Thing:
    def __init__(self, kind):
        self._kind = kind

    def harm(self):
        raise {"cancel": asyncio.CancelledError, "exit": SystemExit, "keyboard": KeyboardInterrupt,
               "close": GeneratorExit,
               "error": RuntimeError, "memory": MemoryError,
               "unspeakable": lambda: Unspeakable("exit")}[self._kind]()

    def __index__(self):
        self.harm()


class Unspeakable(Exception):
    def __init__(self, kind):
        super().__init__(kind)
        self._kind = kind

    def __str__(self):
        Thing(self._kind).harm()


def harm(task):
    if task.where == "text":
        raise Unspeakable(task.kind)
    return Thing(task.kind)


@pytest.mark.parametrize("name", ["Harm", "HarmInThread"])
@pytest.mark.parametrize("where", ["check", "text of the check", "value", "text"])
@pytest.mark.parametrize("kind",
                         ["cancel", "exit", "keyboard", "close", "error", "memory", "unspeakable"])
def test_error_of_the_applications_code_neither_ends_the_loop_nor_loses_an_answer(
        server, connect, lab, supervisor, name, where, kind):
    @lab.handler(Harm)
    async def co_handle(task):
        return harm(task)

    lab.handler(HarmInThread)(harm)
    wire, other = connect(server), connect(server)
    for number in "12":
        wire.say({"id": number, "type": name, "payload": {"kind": kind, "where": where}})
        message = wire.receive()
        assert message["id"] == number
        assert message["status"] == ("refused" if "check" in where else "error")
        if where == "text":
            assert message["ename"] == "Unspeakable"
        elif where == "value":
            assert "the task succeeded, but its result cannot be sent" in message["evalue"]
    other.say(add(1))
    assert other.receive()["result"] == 2
    assert lab.alive == 0 and manager(supervisor).loops.own().is_active()


def test_end_that_cannot_be_encoded_is_answered(server, connect, monkeypatch, caplog):
    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(connection, "encode_result", fail)
    wire = connect(server)
    wire.say(add(1))
    message = wire.receive()
    assert (message["status"], message["id"]) == ("error", "1")
    assert "MemoryError" in caplog.text


@pytest.mark.parametrize("what",
                         ["failure", "deep", "refusal", "deep request", "long name", "long target",
                          "priority"])
def test_what_does_not_fit_costs_no_other_request_of_the_client(serve, connect, supervisor, lab,
                                                                crossing, what):
    class Tell(service.Task):
        parallel = True
        what: str

        def __post_init__(self):
            if self.what == "refused by its check":
                raise RuntimeError("x" * 2500)

    @lab.handler(Tell)
    async def tell(task):
        if task.what == "failure":
            raise ValueError("x" * 3000)
        return functools.reduce(lambda value, _: [value], range(70), 1)

    server = serve(max_message=2000)
    with service.SyncClient(server.address, max_message=2000, supervisor=supervisor) as client:
        other = client.request(WaitAtOnce())
        if what == "failure":
            assert "xxx" in client.execute(Tell("failure"), check=False).evalue
        elif what == "deep":
            assert "levels" in client.execute(Tell("deep"), check=False).evalue
        elif what == "refusal":
            with pytest.raises(TaskRefusedError, match="RuntimeError: xxx"):
                client.send("Tell", {"what": "refused by its check"})
        else:
            with pytest.raises(InvalidArgumentError):
                if what == "deep request":
                    client.execute(Give(functools.reduce(lambda value, _: [value], range(70), 1)))
                elif what == "long name":
                    client.send("x" * 300, {})
                elif what == "long target":
                    client.execute("x" * 300, Add(1))
                else:
                    client.execute(Add(1), priority=1 << 40)
        crossing.open()
        assert other.result(PATIENCE).result == 0
