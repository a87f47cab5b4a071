"""Row 42: clients of the local server that do not belong there, or do not behave."""
import json
import os
import socket
import threading

TOKEN = "the token of this scene"

#: What is said to a server before it closes the connection; the token is shown first where it is
#: True.
SAID = [
    (True, b"garbage\n"),
    (True, b"\x80\x04\x95\x10\x00\x00\n"),
    (True, b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n"),
    (True, b"[" * 200_000 + b"\n"),
    (True, b'{"id": "1", "type": "Echo", "payload": ' + b'{"a":' * 50_000 + b"\n"),
    (True, b'{"id": %s}\n' % (b"9" * 500_000)),
    (True, b"x" * (3 << 20)),
    (True, b'{"id": 1, "type": "Echo"}\n'),
    (False, b'{"token": "a token of somewhere else"}\n'),
    (False, b'{"id": "1", "type": "Echo", "payload": {"number": 1}}\n'),
    (False, b"POST / HTTP/1.1\r\nContent-Type: text/plain\r\n\r\n"),
    (False, b"x" * 100_000),
    (False, b'{"token": "the to'),
    (True, b'{"id": "1", "type": "Ec'),
    (False, b""),
]


def at_the_local_server(scene):
    """Garbage, what is too long or too deep, half a message, another language, a wrong token or
    none: each is refused, is told so or simply closed, and is in the log. Tasks and other clients
    go on meanwhile, and no handler runs for it."""
    from atasker_like import TaskSupervisor, service

    from .fixtures import Log

    class Echo(service.Task):
        number: int

    handled = []
    scene.open(threads=2)
    # whose tasks the oracle does not count: they are not submitted by the scene
    beside = TaskSupervisor()
    answering = service.Service("answering", beside)

    @answering.handler(Echo)
    def echo(task):
        handled.append(task.number)
        return task.number

    server = answering.serve("127.0.0.1:0", token=TOKEN, message_timeout=0.5)
    host, port = server.address[len("tcp://"):].rsplit(":", 1)
    where = host, int(port)
    expected = 0
    try:
        with Log() as log, service.SyncClient(server.address, TOKEN, supervisor=beside) as client:
            for _ in range(scene.count(1, 30)):
                handles = scene.good(10, "thread") + scene.good(10, "process")
                strangers = [
                    threading.Thread(target=_come, args=(scene, where, trusted, said))
                    for trusted, said in SAID
                ]
                for stranger in strangers:
                    stranger.start()
                scene.injected(len(strangers))
                answers = [
                    client.execute(Echo(expected + number), timeout=scene.patience).result
                    for number in range(20)
                ]
                scene.check(
                    answers == list(range(expected, expected + 20)),
                    "other clients were answered %r" % answers,
                )
                expected += 20
                for stranger in strangers:
                    stranger.join()
                scene.succeeded(*handles)
            scene.check(
                handled == list(range(expected)), "handlers ran for strangers: %r" % handled[-30:]
            )
            refused = log.said("closes a connection")
            scene.check(
                len(refused) == len(SAID) * scene.count(1, 30),
                "the log has %d lines: %s" % (len(refused), refused[-20:]),
            )
            scene.check(not log.said(TOKEN), "the log has the token")
    finally:
        scene.check(server.close(scene.patience), "the server is not closed")
        scene.check(
            beside.stop(wait=scene.patience).complete,
            "the supervisor of the service is not stopped",
        )
    scene.check(answering.alive == 0, "%d tasks of the service have not ended" % answering.alive)


def _come(scene, where, trusted, said):
    with socket.create_connection(where, scene.patience) as connection:
        heard = b""
        try:
            if trusted:
                connection.sendall(json.dumps({"token": TOKEN}).encode() + b"\n")
            connection.sendall(said)
            while True:
                data = connection.recv(1 << 16)
                if not data:
                    break
                heard += data
        except socket.timeout:
            scene.check(False, "a client that says %r may stay" % said[:40])
        except OSError:
            pass                    # it was closed before all was said
        scene.check(
            b'"result"' not in heard,
            "a client says %r and is answered %r" % (said[:40], heard[:200])
        )


def clients_that_disappear(scene):
    """Clients are reset in the middle of their requests: what was accepted runs once, and nothing
    is kept of them."""
    from atasker_like import TaskSupervisor, service

    class Note(service.Task):
        number: int

    path = os.path.join(scene.folder, "noted")
    scene.open(threads=2)
    beside = TaskSupervisor()
    noting = service.Service("noting", beside)

    @noting.handler(Note)
    def note(task):
        with open(path, "a") as file:
            file.write("%d\n" % task.number)

    count = scene.count(20, 200)
    accepted = []
    with noting.serve("127.0.0.1:0", token=TOKEN) as server:
        host, port = server.address[len("tcp://"):].rsplit(":", 1)
        for number in range(count):
            scene.injected()
            with socket.create_connection((host, int(port)), scene.patience) as connection:
                for message in (
                    {"token": TOKEN},
                    {"id": "1", "type": "Note", "payload": {"number": number}, "tell": True},
                ):
                    connection.sendall(json.dumps(message).encode() + b"\n")
                if scene.random.random() < 0.5:
                    connection.recv(1)          # it has been accepted
                    accepted.append(number)
                connection.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00"
                )
        with service.SyncClient(server.address, TOKEN, supervisor=beside) as client:
            client.execute(Note(-1), timeout=scene.patience)        # it comes last in the lane
    scene.check(
        beside.stop(wait=scene.patience).complete, "the supervisor of the service is not stopped"
    )
    with open(path) as file:
        found = [int(line) for line in file]
    scene.check(len(set(found)) == len(found), "tasks ran more than once: %r" % found)
    scene.check(
        set(accepted) <= set(found),
        "accepted, and never run: %r" % sorted(set(accepted) - set(found)),
    )
    scene.check(noting.alive == 0, "%d tasks of the service have not ended" % noting.alive)
