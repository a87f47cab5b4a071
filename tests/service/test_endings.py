"""Servers and clients that begin or end while something else does."""
import os
import threading

import pytest

from atasker_like import ServiceConnectionError, SupervisorStoppedError, service

from .conftest import PATIENCE, wait_until
from .declared import Add, WaitAtOnce, fill

# -- a stop that has begun -------------------------------------------------------------------------------------------


class Begun:
    """A worker that tells that the supervisor has told its workers of the stop."""
    is_worker = True

    def __init__(self):
        self.told = threading.Event()

    def stop(self, wait=False):
        self.told.set()

    def end(self):
        pass


@pytest.fixture
def ending(make_supervisor, crossing):
    """A service with a client whose task runs, and a function that begins to stop the supervisor."""
    supervisor = make_supervisor()
    begun = Begun()
    supervisor.register_sync_scheduler(begun)
    lab = fill(service.Service("lab", supervisor), crossing)
    client = service.SyncClient(lab, supervisor=supervisor)
    future = client.request(WaitAtOnce(1))
    crossing.wait_begun(1)

    def begin():
        supervisor.stop(wait=False)
        assert begun.told.wait(PATIENCE)

    yield lab, begin
    crossing.open()
    assert future.result(PATIENCE).result == 1
    assert supervisor.stop(wait=PATIENCE).complete


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_client_that_connects_while_the_supervisor_stops(ending, make_supervisor, closed, elsewhere):
    lab, begin = ending
    begin()
    wait_until(lambda: lab.local_server().is_closing)
    late = service.SyncClient(lab, supervisor=make_supervisor() if elsewhere else lab.supervisor)
    with pytest.raises(ServiceConnectionError):
        late.execute(Add(1), timeout=PATIENCE)
    if closed:
        late.close()


@pytest.mark.parametrize("elsewhere", [True, False])
def test_the_first_client_of_a_service_while_the_supervisor_stops(ending, make_supervisor, elsewhere):
    lab, begin = ending
    begin()
    late = service.SyncClient(service.Service("unused", lab.supervisor),
                              supervisor=make_supervisor() if elsewhere else lab.supervisor)
    with pytest.raises(ServiceConnectionError, match="takes no requests"):
        late.execute(Add(1), timeout=PATIENCE)


def test_serving_while_the_supervisor_stops(ending, path):
    lab, begin = ending
    begin()
    with pytest.raises(SupervisorStoppedError, match="takes no requests"):
        lab.serve(path)
    assert not os.path.exists(path)


def test_a_stop_that_begins_while_a_server_does(ending, path, monkeypatch):
    lab, begin = ending
    register = lab.supervisor.register_sync_scheduler

    def register_late(scheduler):
        begin()
        return register(scheduler)

    monkeypatch.setattr(lab.supervisor, "register_sync_scheduler", register_late)
    with pytest.raises(SupervisorStoppedError, match="takes no requests"):
        lab.serve(path)
    assert not os.path.exists(path)
