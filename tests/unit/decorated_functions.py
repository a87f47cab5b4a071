"""Functions below several decorators, and methods; importable, so that pool processes find them."""
import functools

from atasker_like import TASK_HIGH, TT_MP, ThreadQueue, background_task
from tests.support.internals.engine import leave_own_names


def traced(function):
    """A decorator as applications have them."""
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return "traced", function(*args, **kwargs)
    return wrapper


def cached(function):
    """A decorator that leaves attributes on the function, with names of the library's own."""
    function.options = {"cache": 60}
    leave_own_names(function)
    function.note = "kept"
    return function


@background_task(tt=TT_MP)
@functools.lru_cache(maxsize=None)
def square(n):
    return n * n


@functools.lru_cache(maxsize=None)
def cube(n):
    return n ** 3


@background_task(tt=TT_MP)
@traced
def below_both(n):
    return n


@traced
@background_task(tt=TT_MP)
def between(n):
    return n


@background_task(tt=TT_MP)
@traced
@functools.lru_cache(maxsize=None)
@traced
def in_a_stack(n):
    return n


@background_task(tt=TT_MP)
@cached
def area(n):
    return n * n


queue = ThreadQueue()


@queue.task()
@cached
def queued(n):
    return n + 1


class Multiplier:
    """A callable object."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, n):
        return self.factor * n


class Account:
    def __init__(self, money):
        self.money = money

    @background_task
    def add(self, amount=1):
        return self.money, amount

    @background_task(tt=TT_MP, priority=TASK_HIGH)
    def count(self):
        return self.money

    @queue.task()
    def queued(self, amount):
        return self.money, amount

    @background_task
    @classmethod
    def owner(cls, amount):
        return cls.__name__, amount

    @background_task
    @staticmethod
    def fixed(amount):
        return amount

    def plain(self, amount):
        return self.money, amount


class Savings(Account):
    pass


def initialize():
    """Of a queue."""


def call_and_look(task, *args):
    """In a process: call what was sent there, and return what came of it, and what was asked of
    it."""
    made = task(*args)
    return made.value(30), made.name, made.priority


def call_queued(task, *args):
    """In a process: submit what was sent there to its queue there."""
    queue.start()
    return task(*args).wait(30).value
