"""The backend of the documentation, with a fake of the server that it needs."""
import importlib.util
import pathlib

import pytest

from atasker_like.testing import BackendContract
from tests.support import ROOT

EXAMPLE = pathlib.Path(ROOT) / "docs" / "examples" / "redis_backend.py"


class Server:
    """The data of a Redis server: bytes by key, each with its time of expiry in milliseconds."""

    def __init__(self):
        self.kept = {}
        self.now = 0.0


class Client:
    """The commands of ``redis.Redis`` that the example uses, with the same types."""

    def __init__(self, server):
        self._server = server
        self._commands = None

    def pipeline(self, transaction):
        assert transaction is True
        made = Client(self._server)
        made._commands = []
        return made

    def set(self, key, value, px=None):
        assert isinstance(key, str) and isinstance(value, str)
        assert px is None or isinstance(px, int) and px > 0
        self._commands.append((key, value.encode(),
                               float("inf") if px is None else self._server.now + px))
        return self

    def execute(self):
        for key, value, until in self._commands:
            self._server.kept[key] = value, until

    def get(self, key):
        value, until = self._server.kept.get(key, (None, 0.0))
        return value if until > self._server.now else None

    def delete(self, key):
        found = self.get(key) is not None
        self._server.kept.pop(key, None)
        return int(found)

    def scan_iter(self, match, count):
        assert match == "result:*" and isinstance(count, int)
        return (key.encode() for key in list(self._server.kept) if key.startswith("result:")
                and self.get(key) is not None)

    def ping(self):
        return True

    def close(self):
        pass


class TestRedis(BackendContract):
    @pytest.fixture(autouse=True)
    def server(self):
        self._server = Server()

    def make_backend(self, **options):
        spec = importlib.util.spec_from_file_location("redis_backend", str(EXAMPLE))
        example = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(example)
        return example.RedisBackend(Client(self._server), **options)

    def let_pass(self, backend, seconds):
        self._server.now += 1000 * seconds


def test_it_is_some_forty_lines():
    lines = [line for line in EXAMPLE.read_text().splitlines() if line.strip()
             and not line.strip().startswith('"""')]
    assert len(lines) <= 40
