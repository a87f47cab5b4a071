"""The traceback of a refused argument ends at the call of the public function."""
import logging

import pytest

from atasker_like import (TT_MP, AsyncQueue, BackgroundIntervalWorker, BackgroundWorker,
                          InvalidArgumentError, InvalidTypeError, ProcessQueue, TaskOptions,
                          ThreadQueue, as_completed, background_task, background_worker, pmap, tmap,
                          wait_completed)


def function(x=1, name=None):
    return x


def generator():
    yield 1


CALLS = [
    lambda: background_task(retrys=2),
    lambda: background_task(function, retrys=2),
    lambda: background_task(function, priority="high"),
    lambda: background_task(function, backoff="expo"),
    lambda: background_task(function, tt="threadd"),
    lambda: background_task(function, lane=3),
    lambda: background_task(generator),
    lambda: background_task(priority=1)(generator),
    lambda: background_task(3),
    lambda: background_task(function).options(prioritty=1),
    lambda: background_task(function).options(timeout=-1),
    lambda: TaskOptions(prio=2),
    lambda: TaskOptions(priority="high"),
    lambda: TaskOptions().replace(priority="high"),
    lambda: ThreadQueue(worker=2),
    lambda: ThreadQueue(workers=0),
    lambda: ProcessQueue(fail_policy="fail_frist"),
    lambda: AsyncQueue(timeout="soon"),
    lambda: ThreadQueue().submit(function, 1, y=2),
    lambda: ThreadQueue().submit(function, 1, name="bob"),
    lambda: ThreadQueue().submit(function, 1, priority="high"),
    lambda: ThreadQueue().map(function, [1], priorty=2),
    lambda: ThreadQueue().map(function, 3),
    lambda: ThreadQueue().map(generator, [1]),
    lambda: ThreadQueue().map(function, [1], checkpoint="run.db"),
    lambda: ThreadQueue().task(retris=1),
    lambda: ThreadQueue().task(function)(1, name="bob"),
    lambda: ThreadQueue().task(function).options(retris=1),
    lambda: tmap(function, [1], worker=2),
    lambda: pmap(function, [1], retris=2),
    lambda: background_worker(intervall=1),
    lambda: background_worker(function, intervall=1),
    lambda: background_worker(function, interval=1, q=True),
    lambda: background_worker(function, interval="soon"),
    lambda: background_worker(generator),
    lambda: BackgroundIntervalWorker(intervall=1),
    lambda: BackgroundWorker(interval=1),
    lambda: wait_completed(None),
    lambda: wait_completed([], timeout="soon"),
    lambda: as_completed([3]),
]


def traceback_of(call):
    with pytest.raises((InvalidTypeError, InvalidArgumentError)) as raised:
        call()
    return [entry.path for entry in raised.traceback][1:]


@pytest.mark.parametrize("call", CALLS)
def test_refused_argument_shows_one_frame_below_the_call(call):
    frames = traceback_of(call)
    assert str(frames[0]) == __file__
    assert len(frames) == 2, frames


def test_refused_argument_after_set_debug_shows_all_frames(monkeypatch):
    logger = logging.getLogger("atasker_like")
    before = logger.level
    logger.setLevel(logging.DEBUG)
    try:
        assert len(traceback_of(lambda: TaskOptions(priority="high"))) > 2
    finally:
        logger.setLevel(before)


def test_refused_argument_shows_frames_of_the_application():
    class Own(BackgroundWorker):
        def __init__(self):
            super().__init__(priority="high")

    frames = traceback_of(Own)
    assert [str(path) for path in frames[:1]] == [__file__]
    assert len(frames) == 2


def test_signature_of_a_public_function_is_its_own():
    import inspect

    assert list(inspect.signature(ThreadQueue).parameters)[:2] == ["workers", "size"]
    assert list(inspect.signature(background_task).parameters) == ["f", "options"]
    assert background_task.__name__ == "background_task"
    assert background_task(function, tt=TT_MP).__wrapped__ is function


def test_option_of_another_kind_of_worker_names_that_kind():
    with pytest.raises(InvalidTypeError) as raised:
        BackgroundWorker(interval=1)
    assert str(raised.value) == ("BackgroundWorker has no option 'interval'; "
                                 "BackgroundIntervalWorker has it")


def test_setting_of_a_lane_that_does_not_exist_is_answered_with_the_nearest(supervisor):
    with pytest.raises(InvalidTypeError) as raised:
        supervisor.lane("db", limits=2)
    assert str(raised.value) == "lane 'db' has no option 'limits'; did you mean 'limit'?"
    assert supervisor.get_lanes() == {}
