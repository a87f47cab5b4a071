"""Two hundred clients at once: a tenth is hostile, the others notice nothing, memory is bounded."""
import asyncio
import json
import os
import sys
import threading

import pytest

from atasker_like import service
from atasker_like.engine.loop_mailbox import mailbox_of
from tests.support.internals.engine import posts_of
from tests.support.internals.service import ACCEPT

from .conftest import wait_until
from .declared import Add, AddAtOnce

TOKEN = "correct horse"
HONEST, HOSTILE, REQUESTS = 180, 20, 5


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


async def honest(address, number):
    async with service.Client(address, TOKEN) as client:
        future = await client.request(Add(number))
        results = await asyncio.gather(*[client.execute(AddAtOnce(number, b=n))
                                         for n in range(REQUESTS)])
        assert [result.result for result in results] == [number + n for n in range(REQUESTS)]
        return (await future).result


class Hostile:
    """Does one kind of harm again and again, until the honest ones are done."""

    def __init__(self, address, over):
        self._host, self._port = address[len("tcp://"):].rsplit(":", 1)
        self._over = over
        self.times = 0

    async def run(self, kind):
        while not self._over.is_set():
            reader, writer = await asyncio.open_connection(self._host, int(self._port))
            try:
                await asyncio.wait_for(getattr(self, kind)(reader, writer), 30)
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.transport.abort()
            self.times += 1

    def trusted(self, writer):
        writer.write(json.dumps({"token": TOKEN}).encode() + b"\n")

    async def garbage(self, reader, writer):
        writer.write(os.urandom(1000) + b"\n")
        await reader.read()

    async def trusted_garbage(self, reader, writer):
        self.trusted(writer)
        writer.write(b'{"id": "1", "type": "Add", "payload": ' + b"[" * 100_000 + b"\n")
        await reader.read()

    async def half_a_line(self, reader, writer):
        self.trusted(writer)
        writer.write(b'{"id": "1", "type": "Add", "pay')
        await self._over.wait()

    async def endless_line(self, reader, writer):
        self.trusted(writer)
        block = b"x" * (1 << 18)
        for _ in range(1 << 12):            # a gigabyte, unless it is stopped
            writer.write(block)
            await writer.drain()
        raise AssertionError("a gigabyte was taken")

    async def wrong_token(self, reader, writer):
        writer.write(b'{"token": "correct house"}\n'
                     b'{"id": "1", "type": "Add", "payload": {"a": 1}}\n')
        assert b'"result"' not in await reader.read()

    async def nothing(self, reader, writer):
        await self._over.wait()

    async def never_reads(self, reader, writer):
        self.trusted(writer)
        request = {"id": "%d", "type": "Give", "payload": {"value": "x" * 50_000}}
        request = json.dumps(request).encode() + b"\n"
        for number in range(2000):
            writer.write(request.replace(b"%d", b"%d" % number))
            drained = asyncio.ensure_future(writer.drain())
            over = asyncio.ensure_future(self._over.wait())
            await asyncio.wait([drained, over], return_when=asyncio.FIRST_COMPLETED)
            drained.cancel()
            over.cancel()
            if self._over.is_set():
                return


KINDS = ["garbage", "trusted_garbage", "half_a_line", "endless_line", "wrong_token", "nothing",
         "never_reads"]


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"),
                    reason="the memory of a process is read from /proc")
def test_other_tasks_notice_nothing(lab, caplog):
    async def main(address):
        over = asyncio.Event()
        enemies = [Hostile(address, over) for _ in range(HOSTILE)]
        highest = [resident()]

        async def one(number):
            result = await honest(address, number)
            highest.append(resident())
            return result

        harm = [asyncio.ensure_future(enemy.run(KINDS[number % len(KINDS)]))
                for number, enemy in enumerate(enemies)]
        results = await asyncio.wait_for(asyncio.gather(*[one(number) for number in range(HONEST)]),
                                         100)
        over.set()
        await asyncio.gather(*harm)
        return results, max(highest), sum(enemy.times for enemy in enemies)

    before = resident()
    with lab.serve("127.0.0.1:0", token=TOKEN, max_clients=250) as server:
        results, highest, times = asyncio.run(main(server.address))
        assert results == [number + 1 for number in range(HONEST)]
        assert times >= HOSTILE
        # The hostile clients hold a limited amount here, and as much again at their own ends of the
        # connections. The rest is for the two hundred clients themselves.
        assert highest - before < 64 << 20
    wait_until(lambda: lab.alive == 0)      # tasks whose clients are gone end behind the server


def test_the_stack_is_no_deeper_for_more_connections(serve, connect, supervisor, lab, crossing,
                                                     monkeypatch):
    """Each has a request in flight and more to come. All end before the loop handles any."""
    crowd = 12
    supervisor.set_thread_pool(pool_size=crowd)
    server = serve(max_in_flight=1)
    depths = []
    accept = ACCEPT.of(lab)

    def accepted(message, call):
        frame, depth = sys._getframe(), 0
        while frame is not None:
            frame, depth = frame.f_back, depth + 1
        depths.append(depth)
        accept(message, call)

    ACCEPT.patch(monkeypatch, lab, accepted)
    wires = [connect(server) for _ in range(crowd)]
    for wire in wires:
        wire.say(*[{"id": str(number), "type": "WaitAtOnce", "payload": {"number": number}}
                   for number in range(3)])
    crossing.wait_begun(crowd)
    loop = supervisor.event_loop
    posts = posts_of(mailbox_of(loop))
    held, go_on = threading.Event(), threading.Event()
    loop.call_soon_threadsafe(lambda: held.set() or go_on.wait(20))
    try:
        assert held.wait(20)
        crossing.open()
        wait_until(lambda: len(posts) == crowd)
    finally:
        go_on.set()
    for wire in wires:
        assert [wire.receive() for _ in range(3)] == [
            {"status": "ok", "id": str(number), "result": number} for number in range(3)]
    assert len(depths) == 3 * crowd and max(depths) < min(depths) + 20
    wait_until(lambda: lab.alive == 0)


def test_a_foreign_call_that_raises_does_not_fail_the_request_with_it(server, connect,
                                                                      lab, caplog):
    class Post(service.Task):
        parallel = True

        def __post_init__(self):
            mailbox_of(asyncio.get_running_loop()).post(Post.fail, None)

        def fail(_):
            raise RecursionError("of another one")

    @lab.handler(Post)
    def post(task):
        return "it ran"

    wire = connect(server)
    wire.say({"id": "1", "type": "Post", "payload": {}})
    assert wire.receive() == {"status": "ok", "id": "1", "result": "it ran"}
    assert lab.alive == 0
    assert "RecursionError: of another one" in caplog.text
