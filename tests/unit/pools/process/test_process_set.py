"""What keeps pool processes in good order: the time to get ready, recycling, their log records."""
import logging
import os
import pickle
import threading

import pytest

from atasker_like import (TT_MP, InvalidArgumentError, InvalidTypeError, PoolBrokenError,
                          ProcessDiedError, TaskTimeoutError, background_task)
from atasker_like.pools.process import log_forwarder, log_relay as relay, process_set as upkeep
from tests.support import PATIENCE
from tests.support.gates import Hold
from tests.support.internals.process_pool import (LAUNCH, REQUEST_THREAD, end_by_closed_pipe,
                                                  exit_waiters_of, io_thread_of, processes_of,
                                                  refuse_starts)
from tests.support.scripts import gone
from tests.support.threads import join, started, wait_for
from tests.unit import in_processes


@pytest.fixture
def pool_of_one(make_supervisor):
    def make(**options):
        supervisor = make_supervisor(pool_size=4)
        supervisor.set_mp_pool(pool_size=1, **options)
        return supervisor

    return make


def pid_of(supervisor):
    return supervisor.put_task(os.getpid, tt=TT_MP).value(PATIENCE)


# -- recycling -------------------------------------------------------------------------------------

def test_by_number_of_tasks(pool_of_one):
    supervisor = pool_of_one(maxtasksperchild=2)
    pids = [pid_of(supervisor) for _ in range(6)]
    assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4] == pids[5]
    supervisor.set_mp_pool(maxtasksperchild=0)
    assert len({pid_of(supervisor) for _ in range(6)}) == 1


def test_process_above_max_age_is_replaced(pool_of_one):
    supervisor = pool_of_one(max_age=1000)
    first = pid_of(supervisor)
    pool = supervisor.pool_for(TT_MP)
    with pool.lock:
        processes_of(pool)[0].started_at -= 2000
    pid_of(supervisor)                      # the last one that it runs
    assert pid_of(supervisor) != first
    assert supervisor.stats().process.failed == 0


def test_by_age_in_the_midst_of_a_burst(pool_of_one):
    supervisor = pool_of_one(max_age=0.001)
    call = background_task(in_processes.pid_and_value, tt=TT_MP, supervisor=supervisor)
    results = list(call.map(range(30)))
    assert [value for _, value in results] == list(range(30))
    assert len({pid for pid, _ in results}) > 1


@pytest.mark.skipif(upkeep.resident_memory(os.getpid()) is None,
                    reason="nobody tells the size of a process here")
def test_process_above_max_memory_is_replaced(pool_of_one, monkeypatch):
    monkeypatch.setattr(upkeep, "WEIGH_EVERY", 0.0)
    supervisor = pool_of_one(max_memory=500 * 1024 * 1024)
    first = pid_of(supervisor)
    assert pid_of(supervisor) == first
    assert supervisor.put_task(in_processes.keep, (600 * 1024 * 1024,),
                               tt=TT_MP).value(PATIENCE) == first
    assert pid_of(supervisor) != first


def test_after_a_memory_error(pool_of_one):
    supervisor = pool_of_one()
    first = pid_of(supervisor)
    tasks = [supervisor.put_task(in_processes.out_of_memory, tt=TT_MP)]
    tasks += [supervisor.put_task(os.getpid, tt=TT_MP) for _ in range(10)]
    assert isinstance(tasks[0].exception(PATIENCE), MemoryError)
    assert {task.value(PATIENCE) for task in tasks[1:]} != {first}
    assert pid_of(supervisor) != first


def test_the_size_of_a_process():
    assert (upkeep.resident_memory(os.getpid()) is None
            or upkeep.resident_memory(os.getpid()) > 1 << 20)
    assert upkeep.resident_memory(-5) is None


# -- getting ready ---------------------------------------------------------------------------------

def test_an_initializer_that_hangs(pool_of_one, monkeypatch):
    supervisor = pool_of_one(initializer=in_processes.hang, initializer_timeout=0.05)
    error = supervisor.put_task(os.getpid, tt=TT_MP).exception(PATIENCE)
    assert isinstance(error, PoolBrokenError) and isinstance(error.__cause__, TaskTimeoutError)
    assert "initializer_timeout" in str(error)
    supervisor.set_mp_pool(initializer=int, initializer_timeout=0)
    assert pid_of(supervisor)


def test_an_initializer_and_its_arguments(pool_of_one):
    supervisor = pool_of_one(initializer=in_processes.remember, initargs=("blue",))
    assert supervisor.put_task(in_processes.remembered, tt=TT_MP).value(PATIENCE) == "blue"
    supervisor.set_mp_pool(initializer=in_processes.remember, initargs=("red",))
    assert supervisor.put_task(in_processes.remembered, tt=TT_MP).value(PATIENCE) == "red"


@pytest.mark.parametrize("options, error", [
    ({"initializer": 5}, InvalidTypeError), ({"initializer_timeout": -1}, InvalidArgumentError),
    ({"max_age": "1"}, InvalidTypeError), ({"max_memory": -1}, InvalidArgumentError),
    ({"max_memory": 1.5}, InvalidTypeError), ({"maxtasksperchild": -1}, InvalidArgumentError)])
def test_impossible_options_of_processes_are_refused(supervisor, options, error):
    with pytest.raises(error, match=list(options)[0]):
        supervisor.set_mp_pool(**options)


# -- settings that change in the midst of it -------------------------------------------------------

class WatchedLock:
    """The lock of a pool, which another thread takes just before, each time."""

    def __init__(self, lock, before, after):
        self._lock, self._before, self._after = lock, before, after
        self._is_inside = False

    def __enter__(self):
        if not self._is_inside:
            self._is_inside = True
            join(started(self._before))
            self._is_inside = False
        self._lock.acquire()

    def __exit__(self, *error):
        if not self._is_inside:
            self._after()
        self._lock.release()


def set_initializer(supervisor, value):
    supervisor.set_mp_pool(initializer=in_processes.remember, initargs=(value,))


def remembered(supervisor):
    return supervisor.put_task(in_processes.remembered, tt=TT_MP).value(PATIENCE)


@pytest.mark.parametrize("options", [{"start_method": "spawn"}, {"serializer": pickle}],
                         ids=["start_method", "serializer"])
def test_initializer_is_kept_if_it_is_set_while_another_option_is(supervisor, options):
    supervisor.set_mp_pool(pool_size=1, start_method="fork")
    pool = supervisor.pool_for(TT_MP)
    values, kept = [], []

    def configure():
        values.append(len(values))
        pool.configure(in_processes.remember, (values[-1],), None)

    lock = pool.lock
    pool.lock = WatchedLock(lock, configure,
                            lambda: kept.append(pool.initargs == (values[-1],)))
    try:
        supervisor.set_mp_pool(**options)
    finally:
        pool.lock = lock
    assert kept and all(kept)


def test_process_that_starts_as_the_initializer_changes_runs_no_tasks(pool_of_one):
    supervisor = pool_of_one()
    set_initializer(supervisor, "old")
    starter = supervisor.pool_for(TT_MP).starter
    launch = LAUNCH.of(starter)

    def launch_and_change():
        LAUNCH.drop(starter)
        process = launch()
        set_initializer(supervisor, "new")
        return process

    LAUNCH.put(starter, launch_and_change)
    assert remembered(supervisor) == "new"


def test_process_forked_from_a_template_with_the_old_initializer_is_replaced(pool_of_one):
    supervisor = pool_of_one(start_method="fork")
    set_initializer(supervisor, "old")
    pool = supervisor.pool_for(TT_MP)
    pool.forks_from_template = True
    assert remembered(supervisor) == "old"
    starter = pool.starter
    drop, launch = starter.drop_template, LAUNCH.of(starter)
    launched, between = threading.Event(), []

    def launch_and_tell():
        process = launch()
        launched.set()
        return process

    def use_and_drop(wait):
        del starter.drop_template
        between.append(supervisor.put_task(in_processes.remembered, tt=TT_MP))
        assert launched.wait(PATIENCE)
        drop(wait)

    starter.drop_template = use_and_drop
    LAUNCH.put(starter, launch_and_tell)
    set_initializer(supervisor, "new")
    assert between[0].value(PATIENCE) in ("old", "new")
    assert remembered(supervisor) == "new"


def test_close_does_not_wait_for_a_start_that_is_refused(supervisor):
    supervisor.set_mp_pool(pool_size=1)
    pool = supervisor.pool_for(TT_MP)
    starter, closing = pool.starter, []
    refuse_starts(pool)
    request = REQUEST_THREAD.of(starter)

    def request_after_close():
        closing.append(started(pool.close, None))
        wait_for(lambda: exit_waiters_of(pool), "close() waits")
        request()

    REQUEST_THREAD.put(starter, request_after_close)
    error = supervisor.put_task(abs, (-1,), tt=TT_MP).exception(PATIENCE)
    assert isinstance(error, PoolBrokenError)
    assert not exit_waiters_of(pool)
    join(closing[0])


def test_task_fails_if_the_io_thread_ends_while_its_large_result_is_read(pool_of_one, monkeypatch):
    supervisor = pool_of_one()
    pid = pid_of(supervisor)
    pool, hold = supervisor.pool_for(TT_MP), Hold()
    monkeypatch.setattr(in_processes.Held, "on_load", hold)
    task, ended = supervisor.put_task(in_processes.large_and_held, tt=TT_MP), threading.Event()
    task.add_done_callback(lambda task: ended.set())
    hold.reached()
    end_by_closed_pipe(io_thread_of(pool))
    wait_for(lambda: gone(pid), "the process is killed")
    ended_early = ended.wait(0.1)       # nobody else may read from the pipe meanwhile
    hold.go()
    assert not ended_early
    assert isinstance(task.exception(PATIENCE), ProcessDiedError)
    assert pid_of(supervisor) != pid


# -- log records -----------------------------------------------------------------------------------

class Collector(logging.Handler):
    def __init__(self, wanted):
        super().__init__()
        self.records = []
        self._wanted = wanted
        self._there = threading.Event()

    def emit(self, record):
        self.records.append(record)
        if len(self.records) >= self._wanted:
            self._there.set()

    def wait(self):
        assert self._there.wait(PATIENCE), self.records
        return self.records


@pytest.fixture
def collector():
    logger = logging.getLogger("in_processes")
    handler = Collector(3)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_log_records_come_to_the_handlers_here(make_supervisor, collector, method):
    supervisor = make_supervisor()
    supervisor.set_mp_pool(pool_size=1, start_method=method)
    task = supervisor.put_task(in_processes.log_things, ("there",), tt=TT_MP)
    task_id = task.id
    pid = task.value(PATIENCE)
    info, bad, later = collector.wait()
    assert (info.getMessage() == "hello there 5"
            and info.levelname == "INFO" and info.colour == "blue")
    assert bad.levelno == logging.ERROR and "ZeroDivisionError" in logging.Formatter().format(bad)
    assert info.process == bad.process == pid
    assert {record.task_id for record in (info, bad)} == {task_id}
    assert {record.task_name for record in (info, bad)} == {"log_things"}
    assert info.filename == "in_processes.py" and info.funcName == "log_things"
    assert later.getMessage() == "x" * relay.LONGEST + " ... (cut)"


def test_a_handler_that_raises_is_logged_and_later_records_go_on(supervisor, collector, caplog):
    def emit(record, emit=collector.emit):
        emit(record)
        raise ValueError("no")

    collector.emit = emit
    supervisor.set_mp_pool(pool_size=1)
    supervisor.put_task(in_processes.log_things, ("there",), tt=TT_MP).value(PATIENCE)
    assert len(collector.wait()) == 3


def test_a_slow_handler_loses_the_most_recent_and_says_so(supervisor, collector, caplog,
                                                          monkeypatch):
    monkeypatch.setattr(log_forwarder, "LOGS_MOST", 5)
    hold, held = threading.Event(), threading.Event()

    def emit(record, emit=collector.emit):
        held.set()
        assert hold.wait(PATIENCE)
        emit(record)

    collector.emit = emit
    supervisor.set_mp_pool(pool_size=1)
    supervisor.put_task(in_processes.log_one, tt=TT_MP).value(PATIENCE)
    assert held.wait(PATIENCE)
    for _ in range(10):
        supervisor.put_task(in_processes.log_one, tt=TT_MP).value(PATIENCE)
    hold.set()
    supervisor.stop()
    assert len(collector.records) == 6
    assert "5 log records of processes were dropped" in caplog.text


def test_what_cannot_be_formatted_is_the_childs_to_report(supervisor, collector):
    supervisor.set_mp_pool(pool_size=1)
    supervisor.put_task(in_processes.log_badly, tt=TT_MP).value(PATIENCE)
    supervisor.put_task(in_processes.log_things, ("there",), tt=TT_MP).value(PATIENCE)
    assert len(collector.wait()) == 3


def test_a_payload_that_is_no_record():
    import marshal

    with pytest.raises(ValueError):
        relay.unpack(marshal.dumps([1]))
