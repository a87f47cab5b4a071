"""Files of SQLite that several processes open at once, when there is nothing in them yet."""
import sqlite3
from contextlib import closing

import pytest

from atasker_like import Checkpoint, CheckpointError, ResultBackendError, SQLiteBackend
from atasker_like._sqlite import keep_log
from tests.support import PATIENCE
from tests.support.internals.queue import CHECK_FORMAT
from tests.support.internals.result import CONNECT


class Interrupted:
    """In front of a connection: something happens before a statement."""

    def __init__(self, connection, statement, deed):
        self._connection, self._statement, self._deed = connection, statement, deed

    def execute(self, statement, *values):
        if self._statement is not None and statement.replace(" ",
                                                             "").startswith(
                                                                 self._statement.replace(" ", "")):
            self._statement = None
            self._deed()
        return self._connection.execute(statement, *values)

    def __getattr__(self, name):
        return getattr(self._connection, name)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "shared.db")


def open_results(path, monkeypatch, statement, deed):
    with monkeypatch.context() as patch:
        connect = CONNECT.of(SQLiteBackend)

        def interrupted(self):
            return Interrupted(connect(self), statement, lambda: (patch.undo(), deed()))

        CONNECT.patch(patch, SQLiteBackend, interrupted)
        with SQLiteBackend(path) as backend:
            backend.write([("mine", "1")])


def open_checkpoint(path, monkeypatch, statement, deed):
    with monkeypatch.context() as patch:
        check = CHECK_FORMAT.of(Checkpoint)

        def interrupted(self, connection):
            return check(self, Interrupted(connection, statement, lambda: (patch.undo(), deed())))

        CHECK_FORMAT.patch(patch, Checkpoint, interrupted)
        with Checkpoint(path) as checkpoint:
            assert len(checkpoint) == 0


KINDS = pytest.mark.parametrize("open_it, make",
                                [(open_results, SQLiteBackend), (open_checkpoint, Checkpoint)])


@KINDS
@pytest.mark.parametrize("statement",
                         ["SELECT count(*)", "PRAGMA application_id", "PRAGMA user_version",
                          "BEGIN IMMEDIATE",
                          "PRAGMA journal_mode"])
def test_another_process_makes_the_file_meanwhile(path, monkeypatch, open_it, make, statement):
    happened = []

    def make_it():
        with make(path) as other:
            if make is SQLiteBackend:
                other.write([("theirs", "1")])
        happened.append(True)

    open_it(path, monkeypatch, statement, make_it)
    assert happened
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        if make is SQLiteBackend:
            assert (database.execute("SELECT task_id FROM results").fetchall()
                    == [("mine",), ("theirs",)])


@KINDS
@pytest.mark.parametrize("statement",
                         ["PRAGMA application_id", "PRAGMA user_version", "BEGIN IMMEDIATE"])
def test_something_else_becomes_of_the_file_meanwhile(path, monkeypatch, open_it, make, statement):
    def make_something_else():
        with closing(sqlite3.connect(path)) as database:
            database.execute("CREATE TABLE precious (x)")
            database.execute("PRAGMA user_version = 1")
            database.commit()

    with pytest.raises((ResultBackendError, CheckpointError),
                       match="database of something else|not a checkpoint"):
        open_it(path, monkeypatch, statement, make_something_else)
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT name FROM sqlite_master").fetchall() == [("precious",)]
        assert database.execute("PRAGMA journal_mode").fetchone() == ("delete",)


@pytest.fixture
def writer(path):
    """Someone in the middle of writing."""
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        yield writer


def test_a_writer_is_waited_for(path, writer):
    with closing(sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)) as database:
        keep_log(Interrupted(database, "BEGIN EXCLUSIVE", lambda: writer.execute("ROLLBACK")),
                 PATIENCE)
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert not database.in_transaction


@pytest.mark.parametrize("waits, patience", [(0, PATIENCE), (PATIENCE, 0)])
def test_a_writer_is_not_waited_for_without_end(path, writer, waits, patience):
    with closing(sqlite3.connect(path, timeout=waits, isolation_level=None)) as database:
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            keep_log(database, patience)
        assert not database.in_transaction
