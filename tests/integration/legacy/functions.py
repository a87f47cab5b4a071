"""What runs in pool processes."""
import os

from atasker import TASK_LOW

made_by_initializer = None


def initialize(value):
    global made_by_initializer
    made_by_initializer = value


def initialized():
    return made_by_initializer


def power(base, exponent=2):
    return base ** exponent


def knows_its_id(number, _task_id=None):
    return number, _task_id


def takes_all(*args, **kwargs):
    return args, kwargs


def fail(message):
    raise ValueError(message)


def low():
    return TASK_LOW


def pid():
    return os.getpid()


def break_a_lock():
    from atasker import Locker

    lock = Locker(timeout=0, relative=False)
    try:
        with lock.lock, lock:
            raise AssertionError("it is locked")
    except TimeoutError:
        return "broken"


async def later(x):
    return x
