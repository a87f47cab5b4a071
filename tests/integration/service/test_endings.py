"""Servers and clients that begin or end while something else does."""
import asyncio
import gc
import os
import socket
import sys
import threading
import warnings

import pytest

from atasker_like import (InvalidArgumentError, ServiceConnectionError, SupervisorStoppedError,
                          WaitTimeoutError, service)
from atasker_like.supervisor.schedulers import ManagedWorker
from tests.support import PATIENCE
from tests.support.internals.service import (async_client_of, awaited_results_of, connection_of,
                                             is_closing_server, local_server_of, room_of,
                                             transport_of)
from tests.support.threads import join, started

from .conftest import wait_until
from .declared import Add, WaitAtOnce, fill


class Shout(service.Task):
    text: str


# -- a stop that has begun -------------------------------------------------------------------------


class Begun(ManagedWorker):
    """A worker that reports that the supervisor stops its workers."""

    def __init__(self):
        self.stopping = threading.Event()

    def stop(self, wait=False):
        self.stopping.set()

    def _worker_end(self):
        pass


@pytest.fixture
def ending(make_supervisor, crossing):
    """A service with a running task of a client, and a function that begins a stop."""
    supervisor = make_supervisor()
    begun = Begun()
    supervisor.register_sync_scheduler(begun)
    lab = fill(service.Service("lab", supervisor), crossing)
    client = service.SyncClient(lab, supervisor=supervisor)
    future = client.request(WaitAtOnce(1))
    crossing.wait_begun(1)

    def begin():
        supervisor.stop(wait=False)
        assert begun.stopping.wait(PATIENCE)

    yield lab, begin
    crossing.open()
    assert future.result(PATIENCE).result == 1
    assert supervisor.stop(wait=PATIENCE).complete


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_client_that_connects_while_the_supervisor_stops(ending, make_supervisor, closed,
                                                           elsewhere):
    lab, begin = ending
    begin()
    wait_until(lambda: is_closing_server(local_server_of(lab)))
    late = service.SyncClient(lab, supervisor=make_supervisor() if elsewhere else lab.supervisor)
    with pytest.raises(ServiceConnectionError):
        late.execute(Add(1), timeout=PATIENCE)
    if closed:
        late.close()


@pytest.mark.parametrize("elsewhere", [True, False])
def test_the_first_client_of_a_service_while_the_supervisor_stops(ending, make_supervisor,
                                                                  elsewhere):
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


# -- close() ---------------------------------------------------------------------------------------


def test_pool_thread_that_closes_a_server_lends_its_slot(lab, server, supervisor, crossing):
    supervisor.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0)
    crossing.open()
    begun, accepted = threading.Event(), threading.Event()

    def close():
        begun.set()
        assert accepted.wait(PATIENCE)
        return server.close(PATIENCE)

    task = supervisor.put_task(close)
    assert begun.wait(PATIENCE)
    with service.SyncClient(server.address, supervisor=supervisor) as client:
        future = client.request(WaitAtOnce(1))      # behind the task that waits for it
        accepted.set()
        assert task.value(2 * PATIENCE) is True
        assert future.result(PATIENCE).result == 1


@pytest.mark.parametrize("kind", ["thread", "coroutine", "elsewhere"])
@pytest.mark.parametrize("in_parallel", [True, False])
def test_a_handler_that_closes_its_server_does_not_wait_for_itself(make_supervisor, path, kind,
                                                                   in_parallel):
    supervisor = make_supervisor()
    lab = service.Service("lab", supervisor)

    class Shut(service.Task):
        parallel = in_parallel

    if kind != "coroutine":
        @lab.handler(Shut)
        def shut(task):
            return server.close()
    else:
        @lab.handler(Shut)
        async def co_shut(task):
            return server.close()

    if kind == "elsewhere":             # the lane is the coroutine pool's
        @lab.handler(Add)
        async def add(task):
            return task.a

    server = lab.serve(path)
    with service.SyncClient(path, supervisor=make_supervisor()) as client:
        assert client.execute(Shut(), timeout=PATIENCE).result is False
    assert server.close(PATIENCE) is True


# -- clients ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("local", [True, False])
def test_a_request_that_is_cancelled_while_it_connects_leaves_no_connection(lab, server, local):
    address, taker = (lab, local_server_of(lab)) if local else (server.address, server)

    async def leave(iterations):
        client = service.Client(address)
        request = asyncio.ensure_future(client.execute(Add(1)))
        for _ in range(iterations):
            await asyncio.sleep(0)
        request.cancel()
        await asyncio.wait([request])
        await client.close()
        assert connection_of(client) is None

    async def main():
        for iterations in range(15):
            await leave(iterations)
        async with service.Client(address) as client:
            # the others have been taken before
            assert (await client.execute(Add(1))).result == 2
            wait_until(lambda: taker.clients == 1)

    asyncio.run(main())


def test_close_fails_requests_that_wait_for_the_connection(lab, server):
    async def main():
        client = service.Client(server.address)
        waiting = [asyncio.ensure_future(client.execute(Add(number))) for number in range(3)]
        await asyncio.sleep(0)
        await client.close()
        for request in waiting:
            with pytest.raises(ServiceConnectionError, match="closed"):
                await request
        assert (await client.execute(Add(1))).result == 2       # as it does after any close
        await client.close()

    asyncio.run(main())


@pytest.fixture
def deaf(path):
    """The address of one that takes connections, and never reads."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(path)
        listening.listen(5)
        yield path


def is_waiting_to_write(client):
    """Return True if some data waits to be sent, but not enough to pause the client."""
    connection = connection_of(client)
    return transport_of(connection).get_write_buffer_size() > 0 and not connection.is_full


def test_closing_does_not_wait_for_a_service_that_does_not_read(deaf):
    async def main():
        client = service.Client(deaf)
        sent = [asyncio.ensure_future(client.execute(Add(1)))]
        while connection_of(client) is None:
            await asyncio.sleep(0)
        while not is_waiting_to_write(client):
            sent.append(asyncio.ensure_future(client.execute(Shout("x" * 20000))))
            await asyncio.sleep(0)
        await asyncio.wait_for(client.close(), PATIENCE)
        for one in sent:
            with pytest.raises(ServiceConnectionError, match="the client was closed"):
                await asyncio.wait_for(one, PATIENCE)

    asyncio.run(main())


def test_a_client_that_is_dropped_does_not_wait_for_a_service_that_does_not_read(deaf, supervisor):
    client = service.SyncClient(deaf, supervisor=supervisor)
    while connection_of(async_client_of(client)) is None:
        with pytest.raises(WaitTimeoutError):
            client.execute(Add(1), timeout=0.1)
    while not is_waiting_to_write(async_client_of(client)):
        with pytest.raises(WaitTimeoutError):
            client.execute(Shout("x" * 20000), timeout=0.01)
    connection = connection_of(async_client_of(client))
    del client

    def is_closed():
        gc.collect()        # again, as the loop's thread may refer to it for a moment
        return transport_of(connection) is None

    wait_until(is_closed)


def test_requests_that_are_cancelled_while_they_wait_for_room_leave_nothing(deaf):
    async def main():
        client = service.Client(deaf)
        first = asyncio.ensure_future(client.execute(Shout("x" * 500000)))
        while connection_of(client) is None or not connection_of(client).is_full:
            await asyncio.sleep(0)
        connection, rooms = connection_of(client), set()
        for _ in range(100):
            waiting = asyncio.ensure_future(client.execute(Add(1)))
            await asyncio.sleep(0)
            rooms.add(room_of(connection))
            assert room_of(connection)._callbacks
            waiting.cancel()
            await asyncio.wait([waiting])
        room, = rooms
        assert not room._callbacks and len(awaited_results_of(connection)) == 1
        await client.close()
        assert room.done()
        with pytest.raises(ServiceConnectionError):
            await first

    asyncio.run(main())


@pytest.mark.skipif(not sys.platform.startswith("linux"),
                    reason="elsewhere a full backlog is a refusal")
def test_a_service_that_does_not_get_round_to_taking_connections(deaf):
    async def main():
        clients = [service.Client(deaf) for _ in range(10)]
        sent = [asyncio.ensure_future(client.execute(Add(1))) for client in clients]
        await asyncio.wait(sent, return_when=asyncio.FIRST_COMPLETED)
        with pytest.raises(ServiceConnectionError,
                           match="cannot be reached: it has too many connections to take just now"):
            await next(one for one in sent if one.done())
        for client in clients:
            await client.close()
        for error in await asyncio.gather(*sent, return_exceptions=True):
            assert isinstance(error, ServiceConnectionError)

    asyncio.run(main())


def test_a_client_goes_on_in_another_loop_when_its_own_is_closed(server):
    client = service.Client(server.address)

    async def main():
        return (await client.execute(Add(1))).result

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        assert [asyncio.run(main()) for _ in range(3)] == [2] * 3
        gc.collect()
        asyncio.run(client.close())
        gc.collect()
    assert not [str(warning.message) for warning in caught if "transport" in str(warning.message)]
    wait_until(lambda: server.clients == 0)
    assert asyncio.run(main()) == 2
    asyncio.run(client.close())


def test_a_client_is_not_closed_in_another_loop(server):
    client = service.Client(server.address)
    first = asyncio.new_event_loop()
    try:
        first.run_until_complete(client.execute(Add(1)))
        with pytest.raises(InvalidArgumentError, match="another loop"):
            asyncio.run(client.close())
        assert first.run_until_complete(client.execute(Add(1))).result == 2
        first.run_until_complete(client.close())
        asyncio.run(client.close())
    finally:
        first.close()


def test_clients_that_are_dropped_leave_nothing(serve, supervisor):
    server = serve(max_clients=20)
    before = supervisor.get_schedulers()
    for _ in range(60):
        client = service.SyncClient(server.address, supervisor=supervisor)
        assert client.execute(Add(1), timeout=PATIENCE).result == 2
        del client
        gc.collect(0)
    gc.collect()
    wait_until(lambda: server.clients == 0 and supervisor.get_schedulers() == before)


def test_a_client_that_is_dropped_while_its_task_runs(lab, server, supervisor, crossing):
    before = supervisor.get_schedulers()
    future = service.SyncClient(server.address, supervisor=supervisor).request(WaitAtOnce(3),
                                                                               timeout=PATIENCE)
    gc.collect()
    crossing.wait_begun(1)
    assert server.clients == 1
    crossing.open()
    assert future.result(PATIENCE).result == 3
    wait_until(lambda: server.clients == 0 and supervisor.get_schedulers() == before)


def test_future_of_a_dropped_client_fails_at_the_end(make_supervisor, lab, server,
                                                     crossing):
    home = make_supervisor()
    future = service.SyncClient(server.address, supervisor=home).request(WaitAtOnce(3),
                                                                         timeout=PATIENCE)
    gc.collect()
    crossing.wait_begun(1)
    home.stop(wait=0)
    with pytest.raises((SupervisorStoppedError, ServiceConnectionError)):
        future.result(PATIENCE)
    assert home.get_schedulers() == {}
    crossing.open()


def test_future_of_a_client_that_is_closed_while_it_asks_fails_at_the_end(
        make_supervisor, server, crossing, monkeypatch):
    home = make_supervisor()
    client = service.SyncClient(server.address, supervisor=home)
    register = home.register_sync_scheduler

    def register_and_close(scheduler):
        monkeypatch.undo()
        answer = register(scheduler)
        join(started(client.close))
        return answer

    monkeypatch.setattr(home, "register_sync_scheduler", register_and_close)
    future = client.request(WaitAtOnce(3), timeout=PATIENCE)
    crossing.wait_begun(1)
    home.stop(wait=0)
    with pytest.raises((SupervisorStoppedError, ServiceConnectionError)):
        future.result(PATIENCE)
    assert home.get_schedulers() == {}
    crossing.open()
