"""Fixtures of the service tests: services with handlers, and bare connections."""
import json
import socket
import threading
from time import monotonic

import pytest

from atasker_like import service
from tests.support import PATIENCE

from .declared import Crossing, fill

TOKEN = "correct horse"


@pytest.fixture
def crossing():
    made = Crossing()
    yield made
    made.open()


@pytest.fixture
def lab(supervisor, crossing):
    """A service with handlers; its tasks are let go before the supervisor is stopped."""
    yield fill(service.Service("lab", supervisor), crossing)
    crossing.open()


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "lab.sock")


@pytest.fixture
def serve(lab, path):
    """Serves the lab (default: at a path), and closes the servers at the end."""
    made = []

    def start(address=None, **options):
        made.append(lab.serve(path if address is None else address, **options))
        return made[-1]

    yield start
    for server in made:
        server.close(PATIENCE)


@pytest.fixture
def server(serve):
    return serve()


class Wire:
    """A client that can say anything."""

    def __init__(self, address):
        where = service.Address(address)
        if where.path is not None:
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.socket.settimeout(PATIENCE)
            self.socket.connect(where.path)
        else:
            self.socket = socket.create_connection((where.host, where.port), PATIENCE)
        self._file = self.socket.makefile("rb")

    def say(self, *messages):
        self.socket.sendall(b"".join(message
                                     if isinstance(message, bytes)
                                     else json.dumps(message).encode() + b"\n"
                                     for message in messages))

    def receive(self):
        """Return the next message, or None when the connection has been closed."""
        try:
            line = self._file.readline()
        except ConnectionResetError:
            return None
        return json.loads(line) if line else None

    def close(self):
        self._file.close()
        self.socket.close()


@pytest.fixture
def connect():
    """Makes bare connections, which are closed at the end."""
    made = []

    def connect_to(server):
        made.append(Wire(server.address))
        return made[-1]

    yield connect_to
    for wire in made:
        wire.close()


def add(number, **more):
    return {"id": str(number), "type": "Add", "payload": {"a": number}, **more}


def wait_until(condition):
    """Wait for a condition that another thread brings about without a signal."""
    deadline = monotonic() + PATIENCE
    never = threading.Event()
    while not condition():
        assert monotonic() < deadline
        never.wait(0.002)
