"""Messages that a call in an executor sends while it runs."""
import logging
import sys
import threading
import types

import pytest

import atasker_like.pools.executor.remote_call as remote_call
from atasker_like import TT_MP, background_task, report_progress
from atasker_like.pools.executor import messages
from tests.support import PATIENCE
from tests.support.internals.pool import HANDLE_MESSAGE, RECORDS_OF_CALL
from tests.support.threads import wait_for

from . import functions as f
from .test_external import Manual


class Client:
    """The part of a client of Dask that the supervisor uses, and of its workers."""

    def __init__(self):
        self.topics = {}

    def nthreads(self):
        return {"tcp://one": 1}

    def subscribe_topic(self, topic, handler):
        self.topics[topic] = handler

    def log_event(self, topic, message):
        # a message arrives as a list, with the time of the scheduler
        self.topics[topic]((0.0, list(message)))


class ClientExecutor(Manual):
    def __init__(self):
        super().__init__(1)
        self._client = Client()


@pytest.fixture
def dask(supervisor, monkeypatch):
    module = types.ModuleType("distributed.cfexecutor")
    module.ClientExecutor = ClientExecutor
    monkeypatch.setitem(sys.modules, module.__name__, module)
    executor = ClientExecutor()
    package = types.ModuleType("distributed")
    package.get_worker = lambda: executor._client
    monkeypatch.setitem(sys.modules, "distributed", package)
    monkeypatch.setattr(remote_call, "ORIGIN", "the process of a worker")
    supervisor.mp_pool = executor
    return executor


@pytest.fixture
def put(supervisor):
    return lambda function, *args, **options: background_task(function, tt=TT_MP,
                                                              supervisor=supervisor,
                                                              **options)(*args)


def report_twice():
    report_progress(1, 3, "one")
    report_progress(2, 3)


class Run(threading.Thread):
    """Runs the first call of an executor."""

    def __init__(self, executor):
        super().__init__(daemon=True)
        self.executor = executor
        executor.wait()
        self.start()

    def run(self):
        self.executor.run(0)


def test_reports_arrive_while_the_call_runs(supervisor, dask, put, monkeypatch):
    client, held = dask._client, threading.Event()
    log_event = client.log_event

    def hold(topic, message):
        log_event(topic, message)
        assert held.wait(PATIENCE)

    monkeypatch.setattr(client, "log_event", hold)
    task = put(report_twice)
    runs = Run(dask)
    wait_for(lambda: task.progress, "the first report")
    assert (task.state, task.progress) == ("running", (1, 3, "one"))
    held.set()
    assert task.value(PATIENCE) is None
    runs.join(PATIENCE)
    # it came within a tenth of a second after the first one, so it came with the result
    assert task.progress == (2, 3, None) and type(task.progress.done) is int


def test_report_of_an_earlier_attempt_is_dropped(supervisor, dask, put):
    task = put(f.wait_for_file, __file__)
    dask.wait()
    (topic,) = dask._client.topics
    dask._client.log_event(topic, (task.id, "name", 0, (1, 2, None)))
    dask._client.log_event(topic, (task.id, "name", 1, (2, 2, None)))
    wait_for(lambda: task.progress, "a report")
    assert task.progress == (2, 2, None)
    dask.run(0)
    assert task.value(PATIENCE) is None


@pytest.mark.parametrize("message", [None, 7, "words", [1, 2], ["id", "name", 1, b""]])
def test_foreign_event_is_logged_and_dropped(supervisor, dask, put, caplog, message):
    (topic,) = dask._client.topics
    dask._client.topics[topic]((0.0, message))
    wait_for(lambda: "the message of a call could not be handled" in caplog.text, "a warning")
    task = put(f.add, 1)
    dask.finish(1)
    assert task.value(PATIENCE) == 1


def test_handler_that_blocks_does_not_hold_the_executor(supervisor, dask, put, monkeypatch):
    began, go_on = threading.Event(), threading.Event()

    class Blocking(logging.Handler):
        def emit(self, record):
            began.set()
            assert go_on.wait(PATIENCE)

    handler = Blocking()
    logger = logging.getLogger("far.away")
    logger.addHandler(handler)
    (topic,) = dask._client.topics
    record = RECORDS_OF_CALL(lambda packed: dask._client.log_event(
        topic, ("id", "name", 1, packed)))
    super(RECORDS_OF_CALL, record).emit(logging.LogRecord(
        "far.away", logging.ERROR, "path", 1, "a message", (), None))
    del record
    try:
        assert began.wait(PATIENCE)         # and log_event() has returned
        task = put(f.add, 1)
        dask.finish(1)
        assert task.value(PATIENCE) == 1
    finally:
        go_on.set()
        logger.removeHandler(handler)


def test_last_report_comes_with_the_result(supervisor, put, monkeypatch):
    monkeypatch.setattr(remote_call, "ORIGIN", "the process of a worker")
    executor = Manual(1)
    supervisor.mp_pool = executor
    task = put(report_twice)
    executor.finish(1)
    assert task.value(PATIENCE) is None
    assert task.progress == (2, 3, None)


class BusyPool:
    """A pool whose threads run a call when the test asks for it."""

    name = "busy"

    def __init__(self):
        self.lock, self.calls, self.refuses = threading.RLock(), [], False
        self.messages = messages.Messages(self, self.spawn)

    def spawn(self, call):
        if self.refuses:
            raise RuntimeError("no thread")
        self.calls.append(call)


def test_messages_beyond_a_limit_are_dropped_and_counted(monkeypatch, caplog):
    monkeypatch.setattr(messages, "MOST_WAITING", 3)
    handled = []
    HANDLE_MESSAGE.patch(monkeypatch, messages, lambda pool, message: handled.append(message))
    pool = BusyPool()
    for number in range(5):
        pool.messages.on_message(number)
    read, = pool.calls
    read()
    assert handled == [0, 1, 2]
    assert [record.getMessage() for record in caplog.records] == [
        "busy: 2 log records and reports of calls are dropped, as more than 3 wait to be handled"]


def test_message_without_a_thread_for_it_is_handled_with_the_next_one(monkeypatch):
    handled = []
    HANDLE_MESSAGE.patch(monkeypatch, messages, lambda pool, message: handled.append(message))
    pool = BusyPool()
    pool.refuses = True
    with pytest.raises(RuntimeError):
        pool.messages.on_message(1)
    pool.refuses = False
    pool.messages.on_message(2)
    read, = pool.calls
    read()
    assert handled == [1, 2]
