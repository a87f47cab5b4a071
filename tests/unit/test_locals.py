"""LocalProxy, Locker and set_debug."""
import asyncio
import logging
import threading

import pytest

from atasker_like import LocalProxy, Locker, background_task, g, set_debug
from tests.support import PATIENCE
from tests.support.gates import Hold
from tests.support.threads import join, started

# -- LocalProxy ------------------------------------------------------------------------------------


@pytest.fixture
def proxy():
    return LocalProxy()


def test_attribute_is_set_and_cleared(proxy):
    proxy.a = 1
    assert (proxy.a, proxy.get("a"), proxy.has("a")) == (1, 1, True)
    proxy.set("a", 2)
    assert proxy.a == 2
    proxy.clear("a")
    assert not proxy.has("a")
    with pytest.raises(AttributeError):
        proxy.a


def test_get_of_a_missing_attribute_gives_the_default(proxy):
    assert (proxy.get("a"), proxy.get("a", 5), proxy.get("a", default=6)) == (None, 5, 6)
    proxy.a = None
    assert (proxy.get("a", 5), proxy.has("a")) == (None, True)


def test_clear_of_a_missing_attribute_returns_true(proxy):
    proxy.clear("a")


def test_namespace_differs_between_threads(proxy):
    proxy.a = "mine"

    def other():
        seen = proxy.get("a", "nothing")
        proxy.a = "theirs"
        return seen

    assert join(started(other)) == "nothing"
    assert proxy.a == "mine"


@pytest.mark.parametrize("name", ["get", "has", "set", "clear"])
def test_namespace_refuses_the_names_of_its_methods(proxy, name):
    for put in (lambda: proxy.set(name, 1), lambda: setattr(proxy, name, 1)):
        with pytest.raises(ValueError, match=name):
            put()
    assert (proxy.has(name), proxy.get(name, "none")) == (False, "none")


@pytest.mark.parametrize("bad", [5, None])
def test_attribute_name_that_is_no_string_is_refused(proxy, bad):
    with pytest.raises(TypeError):
        proxy.set(bad, 1)


def test_pool_thread_keeps_its_namespace_between_tasks(supervisor, proxy):
    supervisor.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0, min_size=1)
    supervisor.start()

    def put():
        proxy.a = threading.get_ident()

    def look():
        return proxy.get("a") == threading.get_ident() or "another thread"

    supervisor.put_task(put).wait(PATIENCE)
    assert supervisor.put_task(look).value(PATIENCE) in (True, "another thread")
    assert not proxy.has("a")


def test_coroutines_of_a_loop_share_a_namespace(proxy):
    async def put():
        proxy.a = 5

    async def main():
        await asyncio.gather(put())
        return proxy.get("a")

    assert asyncio.run(main()) == 5


def test_g_is_a_local_proxy():
    assert isinstance(g, LocalProxy)


# -- Locker ----------------------------------------------------------------------------------------


class Mine(Locker):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.calls = 0

    def critical(self):
        self.calls += 1


@pytest.fixture(params=[True, False])
def taken(request):
    """A lock that another thread holds, with a short timeout."""
    locker, hold = Mine("orders", timeout=0.01, relative=request.param), Hold()

    def take():
        with locker:
            hold()

    thread = started(take)
    hold.reached()
    yield locker
    hold.go()
    join(thread)
    with locker:
        assert locker.calls <= 1


def test_decorated_function_has_the_lock():
    locker = Locker()

    @locker
    def function(a, b=0):
        """What it does."""
        return a, b, join(started(locker.lock.acquire, False))

    assert function(1, b=2) == (1, 2, False)
    assert (function.__name__, function.__doc__) == ("function", "What it does.")


def test_context_manager_has_the_lock():
    locker = Locker()
    with locker as entered:
        assert entered is locker
        assert join(started(locker.lock.acquire, False)) is False
    assert join(started(locker.lock.acquire, False)) is True


@pytest.mark.parametrize("way", ["decorator", "with"])
def test_lock_is_released_when_the_body_raises(way):
    locker = Locker(relative=False)

    @locker
    def function():
        raise KeyError

    with pytest.raises(KeyError):
        if way == "decorator":
            function()
        else:
            with locker:
                raise KeyError
    assert locker.lock.acquire(False)


def test_decorated_function_returns_none_after_the_timeout(taken, caplog):
    called = []
    assert taken(called.append)(1) is None
    assert (called, taken.calls) == ([], 1)
    [record] = caplog.records
    assert (record.name, record.levelno) == ("atasker_like", logging.CRITICAL)
    assert "orders/append" in record.getMessage() and "0.01 s" in record.getMessage()


def test_context_manager_raises_after_the_timeout(taken, caplog):
    with pytest.raises(TimeoutError, match="orders.*0.01 s"):
        with taken:
            raise AssertionError("it has no lock")
    assert taken.calls == 1
    assert [record.levelname for record in caplog.records] == ["CRITICAL"]


def test_critical_that_raises_reaches_the_caller(taken):
    def critical():
        taken.calls = 1
        raise KeyError("critical")

    taken.critical = critical
    with pytest.raises(KeyError, match="critical"):
        taken(len)("")


def test_relative_lock_can_be_taken_twice_by_its_thread():
    locker = Locker(timeout=0)
    with locker, locker:
        pass


def test_plain_lock_cannot_be_taken_twice_by_its_thread():
    locker = Mine(timeout=0, relative=False)
    with locker, pytest.raises(TimeoutError):
        with locker:
            pass
    assert locker.calls == 1


def test_locker_timeout_none_waits_without_limit():
    locker, hold = Locker(timeout=None), Hold()

    def take():
        with locker:
            hold()

    holder = started(take)
    hold.reached()
    waiting = started(locker(lambda: "got it"))
    hold.go()
    join(holder)
    assert join(waiting) == "got it"


def test_locker_has_defaults():
    locker = Locker()
    assert (locker.mod, locker.timeout, locker.relative) == ("main", 5, True)
    assert locker.critical() is None


def test_background_task_can_be_decorated_with_a_locker(supervisor):
    locker = Locker()
    assert background_task(locker(lambda: 5), supervisor=supervisor)().value(PATIENCE) == 5


@pytest.mark.parametrize("bad, error", [("5", TypeError), (True, TypeError), (-1, ValueError),
                                        (float("nan"), ValueError)])
def test_locker_timeout_that_is_no_number_is_refused(bad, error):
    with pytest.raises(error, match="timeout"):
        Locker(timeout=bad)


def test_coroutine_function_cannot_be_locked():
    async def body():
        pass

    with pytest.raises(TypeError, match="asyncio.Lock"):
        Locker()(body)


def test_locker_refuses_objects_that_are_no_functions():
    with pytest.raises(TypeError, match="decorates functions"):
        Locker()(5)


# -- set_debug -------------------------------------------------------------------------------------


@pytest.fixture
def logger():
    logger = logging.getLogger("atasker_like")
    was = logger.level
    yield logger
    set_debug(False)
    logger.setLevel(was)


def test_set_debug_switches_the_level_of_the_logger(logger):
    logger.setLevel(logging.ERROR)
    for _ in range(2):
        set_debug()
        assert logger.level == logging.DEBUG
    for _ in range(2):
        set_debug(False)
        assert logger.level == logging.ERROR


def test_set_debug_shows_start_and_stop_of_a_supervisor(logger, supervisor, caplog):
    supervisor.start()
    assert caplog.text == ""
    supervisor.stop()
    set_debug()
    supervisor.start()
    supervisor.stop()
    assert [record.getMessage() for record in caplog.records] == [
        f"supervisor {supervisor.id} started", f"supervisor {supervisor.id} stopped"]
