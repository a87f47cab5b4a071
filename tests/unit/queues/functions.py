"""Functions for the tasks of the tests. Pool processes import them."""
import asyncio
import os

from atasker_like import current_task

setting = None
calls = []


def double(x):
    return 2 * x


def add(a, b=0):
    return a + b


def fail(message="no"):
    raise ValueError(message)


def fail_at(number, at):
    """Fail for one number only."""
    if number == at:
        raise ValueError(f"number {number}")
    return number


def fail_at_one(number):
    return fail_at(number, 1)


def same(x):
    return x


def succeed_at(attempt):
    """Fail until the attempt with this number."""
    now = current_task().attempts
    if now < attempt:
        raise ValueError(f"attempt {now}")
    return now


def pid():
    return os.getpid()


def configure(value):
    global setting
    setting = value
    calls.append(value)


def get_setting():
    return setting


class Scale:
    """An object that can be called, with attributes of its own."""

    def __init__(self, **attributes):
        self.__dict__.update(attributes)

    def __call__(self, x):
        return self.key[0] * x


def refuse():
    raise RuntimeError("the initializer does not like it here")


async def co_double(x):
    await asyncio.sleep(0)
    return 2 * x


async def co_add(a, b=0):
    return a + b


async def co_fail(message="no"):
    raise ValueError(message)


async def co_fail_at(number, at):
    return fail_at(number, at)


async def co_succeed_at(attempt):
    return succeed_at(attempt)


async def co_get_setting():
    return setting


async def co_same(x):
    return x


async def co_one():
    return 1


async def co_fail_at_one(number):
    return fail_at(number, 1)
