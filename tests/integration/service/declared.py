"""Tasks and handlers of the service tests. Importable, so that pool processes find them."""
import asyncio
import os
import threading
from typing import Any

from atasker_like import service


class Add(service.Task):
    a: int
    b: int = 1


class AddAtOnce(Add):
    parallel = True


class AddInThread(Add):
    pass


class AddInProcess(Add):
    pass


class Give(service.Task):
    """Gives back what is in it."""
    value: Any = None


class Blow(service.Task):
    """Gives back more than it was."""
    parallel = True
    size: int


class Fail(service.Task):
    text: str = "no"


class FailInThread(Fail):
    pass


class Die(service.Task):
    pass


class Wait(service.Task):
    """Stays until the test lets it go."""
    number: int = 0


class WaitInThread(Wait):
    pass


class WaitAtOnce(Wait):
    parallel = True


class Crossing:
    """Where tasks that wait meet the test: what has begun, in order, and whether they may go on."""

    def __init__(self):
        self.begun = []
        self.ended = []
        self._changed = threading.Condition()
        self._open = 0

    def enter(self, number):
        with self._changed:
            self.begun.append(number)
            self._changed.notify_all()
            assert self._changed.wait_for(self._take, 20)
            self.ended.append(number)

    async def co_enter(self, number):
        await asyncio.get_running_loop().run_in_executor(None, self.enter, number)

    def _take(self):
        if self._open:
            self._open -= 1
            return True
        return False

    def wait_begun(self, count):
        with self._changed:
            came = self._changed.wait_for(lambda: len(self.begun) >= count, 20)
            assert came, f"{self.begun} of {count} have begun"

    def open(self, count=1000):
        with self._changed:
            self._open += count
            self._changed.notify_all()


def fill(made, crossing=None):
    """Give a service the handlers of these tasks."""

    @made.handler(Add)
    async def add(task):
        return task.a + task.b

    @made.handler(AddAtOnce)
    async def add_at_once(task):
        return task.a + task.b

    @made.handler(AddInThread)
    def add_in_thread(task):
        return task.a + task.b

    @made.handler(Give)
    async def give(task):
        return task.value

    @made.handler(Blow)
    async def blow(task):
        return "x" * task.size

    @made.handler(Fail)
    async def fail(task):
        raise ValueError(task.text)

    @made.handler(FailInThread)
    def fail_in_thread(task):
        raise ValueError(task.text)

    @made.handler(Wait)
    def wait(task):
        crossing.enter(task.number)
        return task.number

    @made.handler(WaitInThread)
    def wait_in_thread(task):
        crossing.enter(task.number)
        return task.number

    @made.handler(WaitAtOnce)
    def wait_at_once(task):
        crossing.enter(task.number)
        return task.number

    return made


def add_in_process(task):
    return task.a + task.b, os.getpid()


def die(task):
    os._exit(3)
