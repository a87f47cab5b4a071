"""Starts of pool processes that fail: which causes pass, which do not, and what becomes of the
tasks."""
import errno
import os
import pickle
import threading

import pytest

from atasker_like import TT_MP, PoolBrokenError
from atasker_like.pools.process import spawn, start_errors, starter
from tests.contract import functions as f
from tests.support import PATIENCE
from tests.support.internals.engine import spec_of
from tests.support.internals.process_pool import FALLBACKS, LAUNCH


def os_error(name):
    number = getattr(errno, name)
    return OSError(number, os.strerror(number))


# -- the lists -------------------------------------------------------------------------------------


def test_an_errno_is_on_one_list_and_has_a_reason():
    assert not set(start_errors.TRANSIENT) & set(start_errors.PERMANENT)
    for number in {**start_errors.TRANSIENT, **start_errors.PERMANENT}:
        assert start_errors.describe(OSError(number, os.strerror(number))).endswith(")")


@pytest.mark.parametrize("error, allowed", [
    *[(os_error(name), None) for name in ("EAGAIN", "EMFILE", "ENFILE", "ENOMEM", "EBADF")],
    (MemoryError(), None),
    *[(os_error(name), 1) for name in ("ENOENT", "EROFS", "ENOSPC", "EACCES", "ENAMETOOLONG")],
    (OSError("AF_UNIX path too long"), 1),
    (pickle.PicklingError("an initializer"), 1),
    (ConnectionRefusedError(errno.ECONNREFUSED, "the fork server"), start_errors.START_TRIES),
    (EOFError("the fork server"), start_errors.START_TRIES),
    (OSError(9999, "never heard of"), start_errors.START_TRIES),
], ids=repr)
def test_tries_depend_on_the_cause(error, allowed):
    assert start_errors.tries(error) == allowed
    assert start_errors.is_permanent(error) == (allowed == 1)


def test_describe_keeps_a_text_that_is_not_the_systems():
    error = FileNotFoundError(errno.ENOENT, "no folder is usable")
    assert start_errors.describe(error) == "FileNotFoundError: [Errno 2] no folder is usable"


def test_describe_names_a_working_folder_that_has_been_deleted(tmp_path, monkeypatch):
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    error = os_error("ENOENT")
    assert "a file or folder that the start needs" in start_errors.describe(error)
    folder.rmdir()
    told = start_errors.describe(error)
    assert told.endswith("has been deleted; call os.chdir() with one that exists)")
    if os.path.islink("/proc/self/cwd"):
        assert f"(the working folder {folder} has been deleted" in told
    named = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "/nowhere")
    assert "working folder" not in start_errors.describe(named)


# -- the interpreter -------------------------------------------------------------------------------


@pytest.mark.parametrize("path, kind, word", [
    ("/nowhere/python", FileNotFoundError, "/nowhere/python"),
    (os.devnull, PermissionError, os.devnull),
    ("/", PermissionError, "set_executable"),
    ("", FileNotFoundError, "set_executable"),
])
def test_a_missing_interpreter_is_named(monkeypatch, path, kind, word):
    monkeypatch.setattr("multiprocessing.spawn._python_exe", path)
    with pytest.raises(kind, match=word):
        start_errors.check_interpreter()


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_tasks_fail_at_once_without_an_interpreter(make_supervisor, monkeypatch, method):
    supervisor = make_supervisor()
    supervisor.set_mp_pool(pool_size=1, start_method=method)
    with monkeypatch.context() as patch:
        patch.setattr("multiprocessing.spawn._python_exe", "/nowhere/python")
        patch.setattr(spawn, "fork_server", lambda: None)
        error = supervisor.put_task(f.give, (1,), tt=TT_MP).exception(PATIENCE)
        assert type(error) is PoolBrokenError
        assert "task give" in str(error) and "/nowhere/python" in str(error)
        assert type(error.__cause__) is FileNotFoundError
    assert supervisor.put_task(f.give, (1,), tt=TT_MP).value(PATIENCE) == 1


# -- the fork server -------------------------------------------------------------------------------


@pytest.fixture
def launches(monkeypatch):
    """The start methods of the launches; those by the fork server raise what is set as
    ``error``."""
    class Launches(list):
        error = None

    made, launch = Launches(), LAUNCH.of(spawn)
    FALLBACKS.patch(monkeypatch, spawn, set())

    def record(method, *arguments):
        made.append(method)
        if method == "forkserver" and made.error is not None:
            raise made.error
        return launch("forkserver", *arguments)     # it is faster, and this test is of the choice

    LAUNCH.patch(monkeypatch, spawn, record)
    return made


@pytest.mark.parametrize("error", [
    FileNotFoundError(errno.ENOENT, "No usable temporary directory found"),
    OSError("AF_UNIX path too long"), os_error("EROFS"), os_error("ENOSPC"),
    os_error("EAFNOSUPPORT")], ids=str)
def test_spawn_replaces_a_fork_server_that_cannot_start(make_supervisor, launches, caplog,
                                                        error):
    launches.error = error
    supervisor = make_supervisor()
    supervisor.set_mp_pool(pool_size=1, maxtasksperchild=1)
    for number in range(2):
        assert supervisor.put_task(f.give, (number,), tt=TT_MP).value(PATIENCE) == number
    assert launches[:4] == ["forkserver", "spawn"] * 2
    said = [message for message in caplog.messages if "fork server cannot be used" in message]
    assert len(said) == 1 and str(error) in said[0] and "TMPDIR" in said[0]


def test_a_transient_failure_of_the_fork_server_is_tried_again(make_supervisor, launches):
    launches.error = os_error("EMFILE")
    supervisor = make_supervisor()
    supervisor.set_mp_pool(pool_size=1)
    task = supervisor.put_task(f.give, (1,), tt=TT_MP)
    with pytest.raises(TimeoutError):
        task.wait(0.2)
    launches.error = None
    assert task.value(PATIENCE) == 1
    assert set(launches) == {"forkserver"}


# -- what becomes of the tasks ---------------------------------------------------------------------


class Refusing:
    """Stands for launch(): raises an error, as long as there is one, and counts."""

    def __init__(self, error):
        self.error = error
        self.calls = 0
        self.called = threading.Event()
        self._launch = starter.launch

    def __call__(self, *arguments):
        self.calls += 1
        self.called.set()
        if self.error is not None:
            raise self.error
        return self._launch(*arguments)


@pytest.fixture
def refuse(monkeypatch):
    def make(error):
        refusing = Refusing(error)
        monkeypatch.setattr(starter, "launch", refusing)
        return refusing

    return make


def test_a_permanent_failure_fails_every_waiting_task_at_the_first_try(make_supervisor, refuse):
    refusing = refuse(os_error("EROFS"))
    supervisor = make_supervisor()
    tasks = supervisor.pool_for(TT_MP).start_many(
        spec_of(supervisor.put_task(f.give, (0,), tt=TT_MP)), [(1,), (2,)])
    errors = [task.exception(PATIENCE) for task in tasks]
    assert [type(error) for error in errors] == [PoolBrokenError] * 2
    assert len({id(error) for error in errors}) == 2
    assert all("the temporary folder cannot be written" in str(error) for error in errors)
    assert refusing.calls <= 2      # one for the first task, and one for those behind it
    refusing.error = None
    assert supervisor.put_task(f.give, (1,), tt=TT_MP).value(PATIENCE) == 1


def test_an_initializer_that_cannot_be_pickled_fails_what_waits_with_its_cause(make_supervisor):
    supervisor = make_supervisor()
    supervisor.create_mp_pool(1, initializer=lambda: None)
    error = supervisor.put_task(f.give, (1,), tt=TT_MP).exception(PATIENCE)
    assert type(error) is PoolBrokenError
    assert "lambda" in str(error) and "tries" not in str(error)


def test_waiting_tasks_run_in_the_processes_that_are_there(make_supervisor, refuse, tmp_path):
    supervisor = make_supervisor()
    supervisor.set_mp_pool(pool_size=2, reserve_normal=0, reserve_high=0)
    assert supervisor.put_task(f.give, (1,), tt=TT_MP).value(PATIENCE) == 1
    refusing = refuse(os_error("EROFS"))
    gate = f.Gate(tmp_path / "gate").make()
    tasks = [supervisor.put_task(f.enter, (gate, number), tt=TT_MP) for number in range(3)]
    assert refusing.called.wait(PATIENCE)
    gate.open()
    assert [task.value(PATIENCE) for task in tasks] == [0, 1, 2]
    assert refusing.calls == 1
    gate.close()
