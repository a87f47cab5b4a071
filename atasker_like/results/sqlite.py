"""SQLiteBackend: results in one file, for this process and others.

One table, ``results``: ``task_id``, ``expires`` (epoch seconds or null), ``data`` (the text, see :mod:`.coding`). The file is
in WAL mode, so that readers and the one writer do not wait for each other. A commit hands the pages to the operating
system and does not wait for the disk: a process that is killed loses nothing that was stored, a machine that loses its
power may lose the last commits, and neither leaves anything torn.
"""
from __future__ import annotations

import os
from threading import RLock

from ..errors import ResultBackendError
from .backend import Backend

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from typing import Any, Callable, List, Optional, Sequence, Tuple, TypeVar, Union

    T = TypeVar("T")

__all__ = ["SQLiteBackend"]

#: What the file says of itself, in the places that SQLite keeps for this.
APPLICATION_ID, SCHEMA_VERSION = 0x61746C72, 1

#: Rows of one statement. Each statement gives the interpreter away and has to get it back, which takes a busy program
#: longer than the rows do; a statement may have 999 variables where SQLite is old.
ROWS = 333
_INSERT = "INSERT OR REPLACE INTO results (task_id, expires, data) VALUES "

#: Seconds between two looks for what has expired, at least, and how many are removed at a time.
SWEEP_EVERY, SWEEP_MOST = 5.0, 20000

#: Connections of a parent process, after a fork: closing them here would take its locks away.
_of_the_parent: "List[Any]" = []


class SQLiteBackend(Backend):
    """Keeps results in a SQLite file, where other processes of the same machine can read and write them, too.

    :param path: the file; it is made if there is none. The folder must be on a local disk.
    :param ttl: seconds after which a result may be forgotten.
    :param serializer: ``'json'`` or ``'pickle'``, see :class:`Backend`.
    :param timeout: seconds to wait for another process that holds the file locked.

    The file is opened on first use, and once more by a process that is forked. From any thread. ``close()`` it, or use it
    in a ``with`` block.

    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with SQLiteBackend(os.path.join(folder, 'results.db')) as backend:
    ...         backend.write([('a', '1')])
    ...         backend.read('a'), backend.read('b')
    ('1', None)
    """

    def __init__(self, path: "Union[str, os.PathLike[str]]", ttl: "Optional[float]" = None, serializer: str = "json",
                 timeout: float = 5.0) -> None:
        super().__init__(ttl, serializer)
        self.path = os.path.abspath(os.fspath(path))
        self.timeout = timeout
        # They may be entered again, by a finalizer or a signal handler that asks for a result.
        self._read_lock = RLock()   # guards the reader's connection
        self._write_lock = RLock()  # guards the writer's connection, and _busy
        self._reader: "Optional[sqlite3.Connection]" = None
        self._writer: "Optional[sqlite3.Connection]" = None
        self._busy = False          # a statement of the writer's is under way
        self._pid = os.getpid()
        self._sweep_at = 0.0

    # -- the contract --------------------------------------------------------------------------------

    def open(self) -> None:
        """See :meth:`Backend.open`. When another process holds the file just now, it is open all the same."""
        self.read("")
        try:
            self._writing(lambda database: None, patient=False)
        except ResultBackendError as error:
            if "locked" not in str(error.__cause__):
                raise

    def close(self) -> None:
        """See :meth:`Backend.close`."""
        self._after_fork()
        for lock, name in ((self._read_lock, "_reader"), (self._write_lock, "_writer")):
            with lock:
                connection = getattr(self, name)
                setattr(self, name, None)
                if connection is not None:
                    connection.close()

    def write(self, entries: "Sequence[Tuple[str, str]]") -> None:
        """See :meth:`Backend.write`. One transaction."""
        now = self.clock()
        expires = None if self.ttl is None else now + self.ttl

        def insert(database: "sqlite3.Connection") -> None:
            for start in range(0, len(entries), ROWS):
                some = entries[start:start + ROWS]
                values: "List[Any]" = [expires] * (3 * len(some))
                values[0::3] = [task_id for task_id, _ in some]
                values[2::3] = [text for _, text in some]
                database.execute(_INSERT + ",".join(["(?,?,?)"] * len(some)), values)
            if self.ttl is not None and now >= self._sweep_at:
                self._sweep_at = now + min(SWEEP_EVERY, self.ttl)
                database.execute("DELETE FROM results WHERE task_id IN "
                                 "(SELECT task_id FROM results WHERE expires <= ? LIMIT ?)", (now, SWEEP_MOST))

        self._writing(insert)

    def read(self, task_id: str) -> "Optional[str]":
        """See :meth:`Backend.read`."""
        self._after_fork()
        with self._read_lock:
            try:
                if self._reader is None:
                    self._reader = self._connect()
                    if not self._version_of(self._reader):
                        self.check()        # there is nothing in it yet
                found = self._reader.execute("SELECT data FROM results WHERE task_id = ? AND "
                                             "(expires IS NULL OR expires > ?)", (task_id, self.clock())).fetchone()
            except Exception as error:
                self._drop("_reader")
                if isinstance(error, ResultBackendError):
                    raise
                raise self._trouble("read", error) from error
        return None if found is None else found[0]

    def delete(self, task_id: str) -> bool:
        """See :meth:`Backend.delete`."""
        return self._writing(lambda database: database.execute("DELETE FROM results WHERE task_id = ?", (task_id,)).rowcount > 0)

    def check(self) -> None:
        """See :meth:`Backend.check`. Takes the right to write for a moment."""
        self._writing(lambda database: None)

    # -- connections ---------------------------------------------------------------------------------

    def _connect(self) -> "sqlite3.Connection":
        import sqlite3

        # Transactions are begun and ended here, and threads are kept apart by the locks.
        return sqlite3.connect(self.path, timeout=self.timeout, isolation_level=None, check_same_thread=False)

    def _writing(self, work: "Callable[[sqlite3.Connection], T]", patient: bool = True) -> "T":
        """Do something in a transaction; who is not patient does not wait for another process."""
        self._after_fork()
        with self._write_lock:
            if self._busy:
                raise ResultBackendError(f"{self!r} cannot be written here: this code, a signal handler or a finalizer, came in "
                                         "between two steps of a write in the same thread")
            self._busy = True
            try:
                if self._writer is None:
                    self._writer = self._prepared()
                database = self._writer
                if patient:
                    database.execute("BEGIN IMMEDIATE")
                else:
                    database.execute("PRAGMA busy_timeout = 0")
                    database.execute("BEGIN IMMEDIATE")         # if it fails, so does the connection
                    database.execute(f"PRAGMA busy_timeout = {int(self.timeout * 1000)}")
                try:
                    done = work(database)
                    database.execute("COMMIT")
                except BaseException:
                    if database.in_transaction:     # a full disk may have ended it already
                        database.execute("ROLLBACK")
                    raise
                return done
            except ResultBackendError:
                raise
            except Exception as error:
                self._drop("_writer")
                raise self._trouble("write", error) from error
            finally:
                self._busy = False

    def _version_of(self, database: "sqlite3.Connection") -> int:
        """Return the version of the file's schema, 0 if there is nothing in it; refuse what is not of this class."""
        (application,), (version,), (tables,) = (
            database.execute(question).fetchone() for question in (
                "PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master"))
        if application != APPLICATION_ID and tables:
            raise ResultBackendError(f"{self.path} is a database of something else; give SQLiteBackend a file of its own")
        if version > SCHEMA_VERSION:
            raise ResultBackendError(f"{self.path} was made by a later version of this library (schema {version}, this one "
                                     f"knows {SCHEMA_VERSION}); update this one, or use another file")
        return int(version)

    def _prepared(self) -> "sqlite3.Connection":
        """Open the file for writing, and make the table if the file is new."""
        database = self._connect()
        try:
            version = self._version_of(database)
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            if not version:
                database.execute("BEGIN IMMEDIATE")     # another process may be doing the same
                database.execute("CREATE TABLE IF NOT EXISTS results "
                                 "(task_id TEXT PRIMARY KEY, expires REAL, data TEXT NOT NULL) WITHOUT ROWID")
                database.execute("CREATE INDEX IF NOT EXISTS expiring ON results (expires) WHERE expires IS NOT NULL")
                database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
                database.execute("COMMIT")
        except BaseException:
            database.close()
            raise
        return database

    def _drop(self, name: str) -> None:
        """A connection has failed: the next use makes another one, since the file may have been put in order."""
        connection, empty = getattr(self, name), None
        setattr(self, name, empty)
        if connection is not None:
            connection.close()

    def _trouble(self, what: str, error: Exception) -> ResultBackendError:
        return ResultBackendError(f"the results in {self.path} cannot be {'read' if what == 'read' else 'written'} "
                                  f"({type(error).__name__}: {error}){_advice(str(error))}")

    def _after_fork(self) -> None:
        """In a process that was forked: the connections are the parent's, and so are whoever held the locks."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            _of_the_parent.extend((self._reader, self._writer))
            self._reader = self._writer = None
            self._busy = False
            self._read_lock, self._write_lock = RLock(), RLock()

    def __repr__(self) -> str:
        return f"<SQLiteBackend {self.path}>"


def _advice(message: str) -> str:
    for words, advice in (("locked", "another process holds it; let it end its transaction, or give a longer timeout"),
                          ("full", "make room on the disk"),
                          ("disk I/O error", "see whether there is room on the disk, and whether it is in order"),
                          ("readonly", "this user may not write to it"),
                          ("unable to open", "is there such a folder, and may this user write there?"),
                          ("not a database", "something else is in that file; put it away"),
                          ("malformed", "the file is damaged; put it away, and recover what it holds with sqlite3 .recover")):
        if words in message:
            return "; " + advice
    return ""
