"""Fixtures of the tests of workers."""
from concurrent.futures import ThreadPoolExecutor

import pytest

from atasker_like import background_worker

from ...contract.conftest import clock  # noqa: F401
from .tools import KINDS, Runs


@pytest.fixture
def runs():
    made = Runs()
    yield made
    made.release()


@pytest.fixture
def held():
    made = Runs(held=True)
    yield made
    made.release()


@pytest.fixture(params=["thread", "loop"])
def form(request):
    """A function as it is, or as a coroutine function."""
    if request.param == "thread":
        return lambda function: function

    def wrap(function):
        async def run(*args):
            return function(*args)
        return run
    return wrap


@pytest.fixture(params=sorted(KINDS))
def any_kind(request, supervisor):
    """Makes a worker of every kind, whose function gets no more than its item."""
    def make(function, **options):
        return background_worker(function, supervisor=supervisor,
                                 **{**KINDS[request.param][1], **options})

    make.item = ("item",) if request.param == "queue" else ()
    make.name = request.param
    return make


@pytest.fixture
def small(make_supervisor):
    """A supervisor with one slot."""
    return make_supervisor(pool_size=1, reserve_normal=0, reserve_high=0)


@pytest.fixture
def outside(supervisor):
    """A supervisor whose process tasks run in threads."""
    with ThreadPoolExecutor(2) as executor:
        supervisor.mp_pool = executor
        yield supervisor
