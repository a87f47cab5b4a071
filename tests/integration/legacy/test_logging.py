"""Under ``install()`` the package logs through the logger ``atasker``, which programs configure."""
import logging
import threading

import pytest
from atasker import TT_MP, Locker, background_task, set_debug, wait_completed

from atasker_like import legacy
from atasker_like._log import log
from tests.support import PATIENCE
from tests.support.threads import merged

from . import functions


@pytest.fixture
def records(monkeypatch):
    """What reaches the handlers of the application, whatever logger it came through."""
    class Records(list):
        pass

    kept = Records()
    kept.critical = threading.Event()

    class Keep(logging.Handler):
        def emit(self, record):
            kept.append(record)
            if record.levelno == logging.CRITICAL:
                kept.critical.set()

    root = logging.getLogger()
    handler = Keep()
    root.addHandler(handler)
    monkeypatch.setattr(root, "level", logging.DEBUG)
    for name in ("atasker", "atasker_like"):
        monkeypatch.setattr(logging.getLogger(name), "level", logging.NOTSET)
    logging.getLogger("atasker").manager._clear_cache()
    yield kept
    set_debug(False)
    root.removeHandler(handler)
    logging.getLogger("atasker").manager._clear_cache()


def own(records):
    return [(record.name, record.levelname) for record in records
            if record.name.startswith("atasker")]


def break_a_lock():
    lock = Locker(timeout=0, relative=False)
    with pytest.raises(TimeoutError), lock.lock, lock:
        raise AssertionError("it is locked")


def test_message_under_install_comes_from_the_logger_atasker(records):
    break_a_lock()
    assert own(records) == [("atasker", "CRITICAL")]
    legacy.uninstall()
    break_a_lock()
    assert own(records)[1:] == [("atasker_like", "CRITICAL")]


def test_unseen_error_under_install_comes_from_the_logger_atasker(task_supervisor,
                                                                  records):
    @background_task
    def fails():
        raise ValueError("nobody looks")

    wait_completed(fails())
    merged(lambda: own(records))
    assert own(records) == [("atasker", "ERROR")]


def test_level_of_the_logger_atasker_silences_the_package(task_supervisor, records):
    logging.getLogger("atasker").setLevel(100)
    break_a_lock()
    log.error("an error")
    assert own(records) == []


def test_message_of_a_pool_process_comes_from_the_logger_atasker(task_supervisor, records):
    task_supervisor.create_mp_pool(processes=1)
    wait_completed(background_task(functions.break_a_lock, tt=TT_MP)())
    assert records.critical.wait(PATIENCE)      # it comes by itself, beside the result
    (record,) = [record for record in records if record.levelno == logging.CRITICAL]
    assert record.name == "atasker"
    assert record.task_name == "break_a_lock"


def test_level_of_the_logger_atasker_silences_pool_processes(task_supervisor, records):
    logging.getLogger("atasker").setLevel(100)
    task_supervisor.create_mp_pool(processes=1)
    assert wait_completed(background_task(functions.break_a_lock, tt=TT_MP)()) == "broken"
    assert own(records) == []


def test_debug_messages_under_install_come_between_the_two_calls_only(records):
    log.debug("before")
    set_debug()
    log.debug("between")
    set_debug(False)
    log.debug("after")
    assert [record.getMessage() for record in records if record.name == "atasker"] == ["between"]


def test_set_debug_under_install_leaves_the_level_to_the_application(records):
    logging.getLogger("atasker").setLevel(100)
    set_debug()
    assert logging.getLogger("atasker").level == 100
    set_debug(False)
    assert logging.getLogger("atasker").level == 100


def test_set_debug_before_install_is_undone_after_it(records):
    legacy.uninstall()
    logger = logging.getLogger("atasker_like")
    logger.setLevel(logging.ERROR)
    set_debug()
    assert logger.level == logging.DEBUG
    legacy.install()
    set_debug(False)
    assert logger.level == logging.ERROR
