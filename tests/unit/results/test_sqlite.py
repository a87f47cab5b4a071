"""The file of a SQLiteBackend: its owner, its other users, and its faults."""
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest

from atasker_like import (MemoryBackend, ResultBackendError, ResultNotStoredError, SQLiteBackend,
                          StoredResult, SyncResult, TaskState, wait_completed)
from atasker_like.results import sqlite as module
from tests.support import PATIENCE, ROOT
from tests.support.internals.result import OPEN_WRITER, WRITE_LOCK, connections_of, transact


@pytest.fixture
def make(path, make_backend):
    """Makes backends over the one file of the test."""
    return lambda **options: make_backend(SQLiteBackend, path, **options)


def query(path, question, *values):
    with closing(sqlite3.connect(path)) as database:
        found = database.execute(question, values).fetchall()
        database.commit()
        return found


def test_what_another_process_finds_in_it(path, make, supervisor):
    """The format is what the documentation says: any tool can read it."""
    backend = make(ttl=1000)
    backend.clock = lambda: 5000.0
    supervisor.set_result_backend(backend)
    task = supervisor.put_task(divmod, (7, 2), task_id="mine")
    task.wait(PATIENCE)
    backend.flush(PATIENCE)
    (task_id, expires, data), = query(path, "SELECT * FROM results")
    assert (task_id, expires) == ("mine", 6000.0)
    found = json.loads(data)
    queued, started, completed = found.pop("times")
    assert found == {"state": "SUCCESS", "name": "divmod", "attempts": 1, "result": [3, 1]}
    assert 0 <= started <= completed and abs(queued / 1e6 - time.time()) < 60
    assert query(path, "PRAGMA journal_mode") == [("wal",)]
    assert query(path, "PRAGMA user_version") == [(1,)]
    supervisor.set_result_backend(None)


OLD = [("done", '{"state":"SUCCESS","result":{"area":12}}'), ("begun", '{"state":"STARTED"}'),
       ("again", '{"state":"RETRY"}'),
       ("shown", '{"state":"SUCCESS","repr":"{1, 2}","why":"TypeError: no set"}'),
       ("bad", '{"state":"FAILURE","error":{"module":"builtins","name":"ValueError","message":"no",'
               '"args":["no"],"more":{}},'
               '"traceback":"T"}')]


def test_file_of_the_version_before_is_read_and_written(path, make):
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE results (task_id TEXT PRIMARY KEY, expires REAL, "
                         "data TEXT NOT NULL) WITHOUT ROWID")
        database.execute("CREATE INDEX expiring ON results (expires) WHERE expires IS NOT NULL")
        database.executemany("INSERT INTO results VALUES (?, NULL, ?)", OLD)
        database.execute(f"PRAGMA application_id = {module.APPLICATION_ID}")
        database.execute("PRAGMA user_version = 1")
        database.commit()
    backend = make()
    assert sorted(backend.ids()) == ["again", "bad", "begun", "done", "shown"]
    assert backend.find("done") == StoredResult("done", TaskState.SUCCESS, {"area": 12})
    assert backend.find("begun") == StoredResult("begun", TaskState.STARTED)
    assert SyncResult("done", backend).get(0) == {"area": 12}
    assert SyncResult("done", backend).info().name is None
    with pytest.raises(ValueError, match="no"):
        SyncResult("bad", backend).get(0)
    with pytest.raises(ResultNotStoredError, match="no set"):
        SyncResult("shown", backend).get(0)
    assert SyncResult("begun", backend).progress() is None
    backend.write([("new", backend.codec.encode(StoredResult("new", TaskState.SUCCESS, 1,
                                                             name="f")))])
    assert backend.find("new").name == "f"


def test_relative_path_is_resolved_when_it_is_passed(tmp_path, monkeypatch, make_backend):
    monkeypatch.chdir(tmp_path)
    backend = make_backend(SQLiteBackend, "results.db")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    backend.write([("a", "1")])
    assert (tmp_path / "results.db").exists()


def test_one_transaction_is_all_or_nothing(path, make):
    backend = make()
    backend.write([("a", "1")])
    with pytest.raises(ResultBackendError):
        backend.write([(f"b{number}", "1") for number in range(module.ROWS_PER_STATEMENT)]
                      + [("c", None)])
    assert query(path, "SELECT task_id FROM results") == [("a",)]
    backend.write([("d", "1")])
    assert backend.read("d") == "1"


@pytest.mark.parametrize("count",
                         [0, 1, module.ROWS_PER_STATEMENT - 1, module.ROWS_PER_STATEMENT,
                          module.ROWS_PER_STATEMENT + 1, 2 * module.ROWS_PER_STATEMENT])
def test_rows_and_statements(path, make, count):
    make().write([(str(number), "1") for number in range(count)])
    assert query(path, "SELECT count(*) FROM results") == [(count,)]


def test_expired_results_leave_the_file(path, make, monkeypatch):
    backend = make(ttl=100)
    now = 1000.0
    backend.clock = lambda: now
    backend.write([("old", "1")])
    now = 1099.0
    backend.write([("young", "1")])
    now = 1100.0 + module.SWEEP_EVERY
    assert backend.read("old") is None
    backend.write([("new", "1")])
    assert {task_id for task_id, in query(path, "SELECT task_id FROM results")} == {"young", "new"}


@pytest.mark.parametrize("size", [1, 4, 30])
def test_expired_results_leave_the_file_as_fast_as_new_ones_come(path, make, monkeypatch, size):
    monkeypatch.setattr(module, "MAX_SWEPT", 5)
    backend = make(ttl=10)
    now = 1000.0
    backend.clock = lambda: now
    for number in range(60):
        backend.write([(f"{number} {index}", "1") for index in range(size)])
        now += 1
    (expired,), = query(path, "SELECT count(*) FROM results WHERE expires <= ?", now)
    assert expired <= 2 * module.SWEEP_EVERY * size
    now += 20
    for number in range(5 * size):      # then only a few come, and the rest leaves with them
        backend.write([(f"late {number}", "1")])
    assert query(path, "SELECT count(*) FROM results WHERE expires <= ?", now) == [(0,)]


def test_results_without_an_end_stay(path, make):
    make().write([("kept", "1")])
    later = make(ttl=1)
    later.clock = lambda: 1e12
    later.write([("other", "1")])
    assert later.read("kept") == "1"


# -- whose file it is ------------------------------------------------------------------------------


def test_a_database_of_something_else(path, make, supervisor):
    query(path, "CREATE TABLE precious (x)")
    with pytest.raises(ResultBackendError, match="is a database of something else"):
        supervisor.set_result_backend(make())
    with pytest.raises(ResultBackendError, match="is a database of something else"):
        make().read("a")
    assert query(path, "SELECT name FROM sqlite_master") == [("precious",)]
    assert query(path, "PRAGMA journal_mode") == [("delete",)]


def test_a_later_version(path, make):
    make().write([("a", "1")])
    query(path, "PRAGMA user_version = 2")
    with pytest.raises(ResultBackendError, match="later version.*schema 2"):
        make().open()


def test_no_database_at_all(path, make):
    with open(path, "wb") as file:
        file.write(b"this is a letter, and no database" * 100)
    with pytest.raises(ResultBackendError,
                       match="not a database.*; something else is in that file"):
        make().open()


def test_no_such_folder(tmp_path, make_backend):
    with pytest.raises(ResultBackendError, match="is there such a folder"):
        make_backend(SQLiteBackend, tmp_path / "none" / "results.db").open()


# -- faults: tasks go on, readers get errors, stored results stay ----------------------------------


@pytest.fixture
def troubled(make, supervisor):
    """A supervisor with a result that is stored, before the trouble comes."""
    backend = make(timeout=0)
    supervisor.set_result_backend(backend)
    before = supervisor.put_task(abs, (-1,))
    before.wait(PATIENCE)
    backend.flush(PATIENCE)
    yield supervisor, backend, before.id
    supervisor.set_result_backend(None)


def test_a_full_disk(troubled, path):
    supervisor, backend, before = troubled
    (pages,), = query(path, "PRAGMA page_count")
    prepared = OPEN_WRITER.of(backend)

    def prepared_on_a_full_disk():
        database = prepared()
        database.execute(f"PRAGMA max_page_count = {pages}")
        return database

    OPEN_WRITER.put(backend, prepared_on_a_full_disk)
    backend.close()
    tasks = [supervisor.put_task(str.rjust, ("x", 10000)) for _ in range(10)]
    assert [len(value) for value in wait_completed(tasks)] == [10000] * 10
    with pytest.raises(ResultBackendError, match="full.*make room on the disk"):
        backend.flush(PATIENCE)
    assert SyncResult(before, backend).get(0) == 1
    assert [len(SyncResult(task.id, backend).get(0)) for task in tasks] == [10000] * 10
    # there is room again, which the next try finds by itself
    OPEN_WRITER.put(backend, prepared)
    backend.flush(PATIENCE)
    assert query(path, "SELECT count(*) FROM results") == [(11,)]


def test_file_locked_by_another_process_delays_results(troubled, path):
    supervisor, backend, before = troubled
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        task = supervisor.put_task(abs, (-2,))
        assert task.value(PATIENCE) == 2
        with pytest.raises(ResultBackendError, match="locked.*; another process holds it"):
            backend.flush(PATIENCE)
        assert [SyncResult(task_id, backend).get(0) for task_id in (before, task.id)] == [1, 2]
        assert query(path, "SELECT count(*) FROM results") == [(1,)]
        other.execute("ROLLBACK")
    backend.flush(PATIENCE)
    assert query(path, "SELECT count(*) FROM results") == [(2,)]


def test_file_locked_by_another_process_is_opened_and_read(path, make):
    make().write([("a", "1")])
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        # a write would wait for so long, opening and reading do not
        with make(timeout=3600) as backend:
            assert backend.read("a") == "1"
        impatient = make(timeout=0)
        impatient.open()
        for call in (lambda: impatient.write([("b", "1")]), impatient.check):
            with pytest.raises(ResultBackendError, match="locked"):
                call()
        other.execute("ROLLBACK")
    impatient.write([("b", "1")])
    assert backend.read("b") == "1"


def test_a_file_that_is_spoilt(troubled, path):
    """The file is overwritten, and removed later. Held results are stored in the new one."""
    supervisor, backend, before = troubled
    query(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    backend.close()
    with open(path, "r+b") as file:
        good = file.read()
        file.seek(0)
        file.write(b"\xff" * len(good))
    task = supervisor.put_task(abs, (-2,))
    assert task.value(PATIENCE) == 2
    with pytest.raises(ResultBackendError, match="not a database"):
        backend.flush(PATIENCE)
    assert SyncResult(task.id, backend).get(0) == 2
    with pytest.raises(ResultBackendError, match=path):
        SyncResult(before, backend).get(0)
    with open(path + ".good", "wb") as file:
        file.write(good)
    os.replace(path + ".good", path)        # in one step: the writer tries again when it likes
    backend.flush(PATIENCE)
    assert SyncResult(before, backend).get(0) == 1
    assert query(path, "SELECT count(*) FROM results") == [(2,)]


def test_a_file_that_is_gone(troubled, path):
    """The file is removed. Later results are lost with it, or in a new one; the tasks go on."""
    supervisor, backend, before = troubled
    backend.close()
    for end in ("", "-wal", "-shm"):
        if os.path.exists(path + end):
            os.unlink(path + end)
    task = supervisor.put_task(abs, (-2,))
    assert task.value(PATIENCE) == 2
    backend.flush(PATIENCE)
    assert SyncResult(task.id, backend).state() is TaskState.SUCCESS
    assert SyncResult(before, backend).state() is TaskState.PENDING


def made_ahead(items, folder):
    yield "storm", storm, os.path.join(folder, "results.sqlite"), 220


def storm(path, kills):
    return subprocess.run([sys.executable, "-m", "tests.unit.results.storm", path, str(kills),
                           os.urandom(4).hex()], cwd=ROOT,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True,
                          timeout=240)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.timeout(300)
def test_what_was_reported_stored_survives_a_kill(ahead):
    """The process is killed at any point of a write. Nothing is missing, and nothing damaged."""
    program = ahead("storm")
    assert program.returncode == 0, program.stdout[-3000:]


SHARER = """
import sys
from atasker_like import SQLiteBackend
with SQLiteBackend(sys.argv[1], timeout=30) as backend:
    for number in range(100):
        backend.write([(sys.argv[2] + str(number), "1")])
"""


@pytest.mark.slow
def test_processes_write_at_once(path, make):
    """Also the first write, when each of them finds no file yet."""
    programs = [subprocess.Popen([sys.executable, "-c", SHARER, path, name], cwd=ROOT)
                for name in "abc"]
    try:
        assert [program.wait(PATIENCE) for program in programs] == [0, 0, 0]
    finally:
        for program in programs:
            program.kill()
            program.wait()
    assert query(path, "SELECT count(*) FROM results") == [(300,)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_process_opens_its_own(path, make):
    backend = make()
    backend.write([("parent", "1")])
    assert backend.read("parent") == "1"
    inherited = connections_of(backend)
    pid = os.fork()
    if not pid:
        code = 1
        try:
            backend.write([("child", "1")])
            own = connections_of(backend)
            code = 0 if backend.read("parent") == "1" and not own & inherited else 2
            backend.close()
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    backend.write([("parent", "2")])
    assert (backend.read("child"), backend.read("parent")) == ("1", "2")
    assert query(path, "PRAGMA integrity_check") == [("ok",)]


def forked(work):
    """Return a function that waits for a call in a forked process and returns its error."""
    source, report = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            try:
                work()
            except BaseException as error:
                os.write(report, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(report)

    def outcome():
        with open(source) as file:
            said = file.read()
        assert os.waitpid(pid, 0)[1] == 0
        return said or None

    return outcome


class ReportingLock:
    """Wraps a lock, and reports that a thread is about to wait for it."""

    def __init__(self, lock, report):
        self._lock, self._report = lock, report

    def acquire(self, *args, **kwargs):
        self._report()
        return self._lock.acquire(*args, **kwargs)

    def release(self):
        self._lock.release()


@pytest.fixture
def held_up(make):
    """A backend whose writer is inside a transaction, and what lets it go on."""
    backend = make(timeout=0.1)
    backend.write([("before", "1")])
    inside, go = threading.Event(), threading.Event()

    def work(database):
        database.execute("INSERT INTO results VALUES ('held up', NULL, '1')")
        inside.set()
        assert go.wait(PATIENCE)

    writer = threading.Thread(target=transact, args=(backend, work))
    writer.start()
    assert inside.wait(PATIENCE)
    yield backend, go
    go.set()
    writer.join(PATIENCE)


def forking(test):
    """That there are threads when it forks is what is tested."""
    test = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")(test)
    return pytest.mark.filterwarnings("ignore:This process")(test)


@forking
def test_a_fork_waits_for_the_end_of_a_write(path, held_up):
    backend, go = held_up
    lock = WRITE_LOCK.of(backend)
    WRITE_LOCK.put(backend, ReportingLock(lock, go.set))
    outcome = forked(lambda: backend.write([("child", "1")]))
    WRITE_LOCK.put(backend, lock)
    assert outcome() is None
    assert [backend.read(task_id) for task_id in ("before", "held up", "child")] == ["1", "1", "1"]


@forking
def test_a_fork_does_not_wait_long(path, held_up, monkeypatch):
    """Then the child cannot write, and says why; all others can."""
    backend, go = held_up
    monkeypatch.setattr(module, "FORK_TIMEOUT", 0.01)
    outcome = forked(lambda: backend.write([("child", "1")]))
    assert "was forked while its parent was in the middle of a write" in outcome()
    go.set()
    backend.write([("after", "1")])
    assert forked(lambda: backend.write([("another child", "1")]))() is None
    assert query(path, "SELECT count(*) FROM results") == [(4,)]


@forking
def test_a_child_goes_on_when_its_parent_has_closed_the_file(path, make):
    backend = make()
    backend.write([("parent", "1")])
    asked, ask = os.pipe()
    wrote, write = os.pipe()

    def work():
        backend.write([("child", "1")])
        os.write(write, b"x")
        os.read(asked, 1)
        backend.write([("later", "1")])
        assert backend.read("later") == "1"
        assert backend.read("parent") == "1"

    outcome = forked(work)
    assert os.read(wrote, 1)
    backend.close()                     # the last one to close it removes the log
    os.write(ask, b"x")
    assert outcome() is None
    for end in (asked, ask, wrote, write):
        os.close(end)
    assert [backend.read(task_id) for task_id in ("parent", "child", "later")] == ["1", "1", "1"]


@forking
def test_a_fork_in_the_middle_of_the_threads_own_use(path, make):
    """A signal handler that forks: what it came in between goes on in the parent."""
    backend = make()
    backend.write([("a", "1")])
    clock = backend.clock
    outcomes = []

    def come_in_between(*_):
        outcomes.append(forked(lambda: os.stat(path)))
        return clock()

    backend.clock = come_in_between
    assert backend.read("a") == "1"
    backend.clock = clock
    assert transact(backend, come_in_between)
    assert [outcome() for outcome in outcomes] == [None, None]
    backend.write([("b", "1")])
    assert backend.read("b") == "1"
    assert forked(lambda: backend.write([("child", "1")]))() is None


@forking
def test_threads_fork_at_once(path, tmp_path, make_backend):
    """With several backends: they are locked in one order."""
    backends = [make_backend(SQLiteBackend, tmp_path / name) for name in "abc"]
    together = threading.Barrier(3)
    found = []

    def fork(number):
        together.wait(PATIENCE)
        for round_number in range(3):
            for backend in backends:
                backend.write([(f"{number} {round_number}", "1")])
            found.append(forked(lambda: [backend.write([(f"child of {number} {round_number}", "1")])
                                         for backend in backends])())

    threads = [threading.Thread(target=fork, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert found == [None] * 9
    for name in "abc":
        assert query(str(tmp_path / name), "SELECT count(*) FROM results") == [(18,)]


def test_write_in_the_middle_of_a_write_is_refused(make):
    """A signal handler, or a finalizer, in the middle of a write of its own thread."""
    backend = make()

    def inside(database):
        with pytest.raises(ResultBackendError, match="came in between"):
            backend.write([("b", "1")])
        return backend.read("b")

    assert transact(backend, inside) is None
    backend.write([("b", "1")])
    assert backend.read("b") == "1"


def test_reading_does_not_wait_for_writing(make):
    backend = make()
    backend.write([("a", "1")])
    inside, go = threading.Event(), threading.Event()

    def work(database):
        database.execute("DELETE FROM results")
        inside.set()
        assert go.wait(PATIENCE)

    writer = threading.Thread(target=transact, args=(backend, work))
    writer.start()
    assert inside.wait(PATIENCE)
    assert backend.read("a") == "1"
    go.set()
    writer.join(PATIENCE)
    assert backend.read("a") is None


@pytest.mark.parametrize("options, error", [({"ttl": 0}, ValueError), ({"ttl": -1}, ValueError),
                                            ({"ttl": "1"}, TypeError),
                                            ({"ttl": float("nan")}, ValueError),
                                            ({"serializer": "yaml"}, ValueError)])
def test_impossible_options_of_backends_are_refused(path, options, error):
    with pytest.raises(error):
        SQLiteBackend(path, **options)
    with pytest.raises(error):
        MemoryBackend(**options)


def test_a_file_is_no_memory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="use a MemoryBackend"):
        SQLiteBackend(":memory:")
    assert not os.listdir(tmp_path)


def test_impossible_sizes_of_a_memory_backend_are_refused():
    with pytest.raises(ValueError, match="max_results takes an integer 1 or more, not 0"):
        MemoryBackend(0)
    with pytest.raises(TypeError, match="max_results takes an integer, not float"):
        MemoryBackend(1.0)


@pytest.mark.parametrize("state", ["SUCCESS", "FAILURE", "NO STATE"])
def test_states_that_cannot_be_set(state):
    import asyncio

    with pytest.raises(ValueError):
        asyncio.run(MemoryBackend().set_state("a", state))
    with pytest.raises(TypeError, match="takes a StoredResult, not int"):
        asyncio.run(MemoryBackend().store_result("a", 5))
    assert StoredResult("a", TaskState.SUCCESS).value() is None
