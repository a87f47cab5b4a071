import asyncio
import threading

import pytest

from atasker_like import AsyncQueue, ProcessQueue, ThreadQueue
from tests.contract.functions import Gate
from tests.support import PATIENCE

from . import functions

#: How a queue is ended.
ENDS = {"cancel": lambda queue: queue.cancel(), "shutdown": lambda queue: queue.shutdown(),
        "force": lambda queue: queue.shutdown(force=True),
        "timeout": lambda queue: queue.run(timeout=0.05)}


class Face:
    """A queue of any kind, as seen from a thread. It waits for the coroutines of an AsyncQueue."""

    def __init__(self, kind, supervisor, loop=None):
        self.kind = kind
        self._loop = loop
        self.supervisor = supervisor

    def make(self, **arguments):
        arguments.setdefault("supervisor", self.supervisor)
        return self.kind(**arguments)

    def do(self, call, *args, **kwargs):
        """Make a call, in the loop of the queue if it has one, and await a coroutine."""
        if self._loop is None:
            return call(*args, **kwargs)

        async def inside():
            made = call(*args, **kwargs)
            return await made if asyncio.iscoroutine(made) else made

        return asyncio.run_coroutine_threadsafe(inside(), self._loop).result(PATIENCE)

    def run(self, queue, **arguments):
        return self.do(queue.run, **arguments)

    def function(self, name):
        from tests.contract import functions as shared

        name = name if self._loop is None else f"co_{name}"
        return getattr(functions, name, None) or getattr(shared, name)

    @property
    def is_async(self):
        return self._loop is not None


class Aside:
    """A call in a thread of its own, and its outcome."""

    def __init__(self, call, *args, **kwargs):
        self._call = lambda: call(*args, **kwargs)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        try:
            self.value, self.error = self._call(), None
        except BaseException as error:
            self.value, self.error = None, error

    def result(self):
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive(), "it goes on"
        if self.error is not None:
            raise self.error
        return self.value


@pytest.fixture
def loop():
    """An event loop that runs in a thread of its own."""
    made = asyncio.new_event_loop()
    thread = threading.Thread(target=made.run_forever)
    thread.start()
    yield made
    made.call_soon_threadsafe(made.stop)
    thread.join(PATIENCE)
    made.close()


def _face(request, supervisor):
    if request.param == "async":
        return Face(AsyncQueue, supervisor, request.getfixturevalue("loop"))
    return Face({"thread": ThreadQueue, "process": ProcessQueue}[request.param], supervisor)


#: Processes take their time to start.
PROCESS = pytest.param("process", marks=pytest.mark.slow)


@pytest.fixture(params=["thread", "async", PROCESS])
def face(request, supervisor):
    """Every kind of queue."""
    return _face(request, supervisor)


@pytest.fixture(params=["thread", "async"])
def inside(request, supervisor):
    """The queues whose tasks run in this process."""
    return _face(request, supervisor)


@pytest.fixture(params=["thread", PROCESS])
def blocking(request, supervisor):
    """The queues whose callers are threads."""
    return _face(request, supervisor)


@pytest.fixture
def threads(supervisor):
    return Face(ThreadQueue, supervisor)


@pytest.fixture
def coroutines(supervisor, loop):
    return Face(AsyncQueue, supervisor, loop)


@pytest.fixture
def make_gate(tmp_path, supervisor):
    """Makes gates, which are opened before the supervisor is stopped."""
    gates = []

    def make():
        gates.append(Gate(tmp_path / f"gate{len(gates)}").make())
        return gates[-1]

    yield make
    for gate in gates:
        gate.close()


@pytest.fixture
def gate(make_gate):
    return make_gate()
