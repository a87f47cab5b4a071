"""Workers are made by the decorator or by a class."""
import asyncio
import queue
import threading

import pytest

from atasker_like import (BackgroundAsyncWorker, BackgroundEventWorker, BackgroundIntervalWorker,
                          BackgroundQueueWorker, BackgroundWorker, InvalidArgumentError,
                          InvalidTypeError, background_task, background_worker)

from .tools import coroutine_function, function


@pytest.mark.parametrize("options, kind", [
    ({}, BackgroundWorker),
    ({"q": True}, BackgroundQueueWorker), ({"queue": True}, BackgroundQueueWorker),
    ({"q": queue.Queue}, BackgroundQueueWorker), ({"q": asyncio.Queue}, BackgroundQueueWorker),
    ({"e": True}, BackgroundEventWorker), ({"event": True}, BackgroundEventWorker),
    ({"interval": 1}, BackgroundIntervalWorker), ({"delay": 1}, BackgroundIntervalWorker),
    ({"delay_before": 1}, BackgroundIntervalWorker), ({"delay": 0}, BackgroundIntervalWorker),
    ({"q": False, "e": None}, BackgroundWorker),
])
@pytest.mark.parametrize("target", [function, coroutine_function])
def test_decorator_chooses_the_class(options, kind, target):
    if kind is BackgroundWorker and target is coroutine_function:
        kind = BackgroundAsyncWorker
    assert type(background_worker(**options)(target)) is kind
    assert type(background_worker(target, **options)) is kind


def test_decorator_without_parentheses_makes_a_worker():
    @background_worker
    def work():
        pass

    assert type(work) is BackgroundWorker
    assert work.name == "_background_worker_work"
    assert not work.is_active() and not work.is_started() and not work.is_stopped()


def test_decorated_function_becomes_a_worker(supervisor, runs):
    worker = background_worker(background_task(runs.__call__, supervisor=supervisor), e=True,
                               supervisor=supervisor)
    worker.start()
    worker.trigger_threadsafe()
    assert runs.next() == ()


def test_worker_classes_derive_from_one_another():
    assert issubclass(BackgroundIntervalWorker, BackgroundEventWorker)
    assert issubclass(BackgroundEventWorker, BackgroundAsyncWorker)
    assert issubclass(BackgroundQueueWorker, BackgroundAsyncWorker)
    assert issubclass(BackgroundAsyncWorker, BackgroundWorker)


def test_worker_name_has_a_prefix_and_can_be_set(supervisor):
    assert background_worker(function, name="x").name == "_background_worker_x"
    made_up = BackgroundWorker().name
    assert made_up.startswith("_background_worker_") and made_up != BackgroundWorker().name
    worker = BackgroundWorker()
    worker.set_name("later")
    assert worker.name == "_background_worker_later"


def test_daemon_is_ignored_with_a_warning(caplog):
    background_worker(function, daemon=True)
    assert "daemon" in caplog.text


def test_poll_delay_is_accepted():
    assert background_worker(function, poll_delay=7).poll_delay == 7


@pytest.mark.parametrize("make, error", [
    (lambda: background_worker(5), "background_worker takes a function, not an int"),
    (lambda: background_worker(function, intervall=1),
     "did you mean 'interval'|has no option 'intervall'"),
    (lambda: BackgroundIntervalWorker(intervall=1), "did you mean 'interval'"),
    (lambda: background_worker(function, q=5), "q takes True or a queue class.*not 5"),
    (lambda: background_worker(function, q=queue.Queue()), "q takes True or a queue class"),
    (lambda: background_worker(function, q=dict), "dict has no put"),
    (lambda: background_worker(function, q=threading.Event), "Event has no put"),
    (lambda: background_worker(function, interval="1"),
     "interval takes seconds or a timedelta, not str"),
    (lambda: background_worker(function, interval=True),
     "interval takes seconds or a timedelta, not bool"),
    (lambda: background_worker(function, on_error=5), "on_error takes a callable, not int"),
    (lambda: background_worker(function, on_error=coroutine_function),
     "on_error takes a plain function"),
    (lambda: background_worker(function, supervisor=5),
     "supervisor takes a TaskSupervisor, not int"),
    (lambda: background_worker(function, priority="high"), "priority takes an integer, not str"),
    (lambda: background_worker(function, max_restarts="1"),
     "max_restarts takes an integer, not str"),
    (lambda: background_worker(function, name=5), "name takes a string, not int"),
    (lambda: BackgroundWorker(executor_func=5), "a worker takes a function, not an int"),
])
def test_wrong_type_is_refused_where_it_is_passed(make, error):
    with pytest.raises(InvalidTypeError, match=error):
        make()


class Demanding(queue.Queue):
    def __init__(self, size):
        super().__init__(size)


@pytest.mark.parametrize("make, error", [
    (lambda: background_worker(function, interval=-1), "interval takes seconds from 0 on, not -1"),
    (lambda: background_worker(function, interval=float("nan")),
     "interval takes seconds from 0 on"),
    (lambda: background_worker(function, interval=float("inf")),
     "interval takes seconds from 0 on"),
    (lambda: background_worker(function, delay=-1), "delay takes seconds from 0 on, not -1"),
    (lambda: background_worker(function, delay_before=-1), "delay_before takes seconds from 0 on"),
    (lambda: background_worker(function, interval=1, delay=1),
     "interval and delay exclude each other"),
    (lambda: background_worker(function, interval=1, overlap="pile"),
     "overlap takes one of shift, skip, coalesce, queue"),
    (lambda: background_worker(function, restart="sometimes"),
     "restart takes one of always, on_failure, never"),
    (lambda: background_worker(function, max_restarts=-1),
     "max_restarts takes an integer 0 or more"),
    (lambda: background_worker(function, within=0), "within takes seconds above 0"),
])
def test_impossible_value_is_refused_where_it_is_passed(make, error):
    with pytest.raises(InvalidArgumentError, match=error):
        make()


def test_queue_class_that_needs_arguments_is_refused():
    with pytest.raises(InvalidTypeError, match="needs no arguments; Demanding"):
        background_worker(function, q=Demanding)


def test_worker_keeps_its_function_and_can_be_called():
    calls = []

    @background_worker(interval=60)
    def tick(*args, _worker=None):
        calls.append((args, _worker))
        return "value"

    assert tick(1) == tick.__wrapped__(2) == "value"
    assert calls == [((1,), None), ((2,), None)]
    assert not tick.is_started()


def test_worker_of_a_subclass_can_be_called():
    class Countdown(BackgroundWorker):
        def run(self, number):
            return number - 1

    assert Countdown()(3) == 2


def test_worker_of_a_worker_is_refused():
    with pytest.raises(InvalidTypeError, match="background_worker takes a function"):
        background_worker(background_worker(function))
