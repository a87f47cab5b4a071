"""SQLiteBackend: keeps results in one file, for this process and others.

The table ``results`` has the columns ``task_id``, ``expires`` (epoch seconds or null) and ``data``
(the text, see :mod:`.serializer`). The file is in WAL mode: readers and the writer do not block
each other. A commit hands the pages to the operating system and does not wait for the disk. If a
process is killed, no stored result is lost. If the machine loses power, the last commits may be
lost. In neither case is the file damaged.

SQLite keeps tables of the locks of a process, and a fork copies them. A lock that is held at that
moment stays held in the child, and files that the child opens later are not locked for other
processes at all. So a fork must find the file closed: it waits for the running reads and writes,
and closes the file. The next use opens it again, in the parent and in the child.
"""
from __future__ import annotations

import os
import sys
from itertools import chain, count
from threading import local
from time import monotonic
from weakref import WeakValueDictionary

from .._atomics import RLock
from .._checks import a_kind, ends_traceback
from .._sqlite import keep_log
from ..errors import InvalidArgumentError, InvalidTypeError, ResultBackendError
from .backend import Backend

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from typing import Any, Callable, Sequence

    from .._checks import Seconds
    from .._generics import T


#: How the file identifies itself, in the fields that SQLite has for this.
APPLICATION_ID, SCHEMA_VERSION = 0x61746C72, 1

#: Rows of one statement. Each statement releases the GIL, and in a busy program taking it again
#: lasts longer than inserting the rows. Old versions of SQLite allow 999 variables in a statement.
ROWS_PER_STATEMENT = 499
_INSERT = "INSERT OR REPLACE INTO results (task_id, expires, data) VALUES "

#: Pages of the log (32 MB) after which a commit moves them into the file. That waits for the disk,
#: as long as 40 000 results take, and by SQLite's own number, 1000, nearly each batch would do it.
LOG_PAGES = 8000

#: Seconds between two sweeps of expired results, and the rows that one removes. If there are more,
#: the next write goes on with them. A sweep removes up to twice as many rows as the write inserts,
#: so that the file does not grow by expired ones.
SWEEP_EVERY, MAX_SWEPT = 5.0, 20000

#: Seconds that a fork waits for running reads and writes.
FORK_TIMEOUT = 3.0

#: On a free-threaded build, a cached statement may be finalized some time after its connection was
#: closed, and keeps the file open until then. So no statements are cached there.
_cache: dict[str, Any] = {"cached_statements": 0} if "t" in getattr(sys, "abiflags", "") else {}

#: Connections of the parent process that were in use at a fork. The child must not even close them.
_inherited: list[Any] = []


class SQLiteBackend(Backend):
    """Keeps results in a SQLite file, for all processes of the same machine.

    :param path: the file; it is made if it does not exist. The folder must be on a local disk.
    :param ttl: seconds until a result expires (default: None, never).
    :param serializer: ``'json'`` or ``'pickle'``, see :class:`Backend` (default: ``'json'``).
    :param timeout: seconds to wait for a lock of another process (default: 5 s).
    :param arguments: True also stores the arguments of tasks (default: False).

    The first use opens the file. After a fork, the next use opens it again, in the parent and in
    the child. Call ``close()`` at the end, or use a ``with`` block. From any thread.

    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with SQLiteBackend(os.path.join(folder, 'results.db')) as backend:
    ...         backend.write([('a', '1')])
    ...         backend.read('a'), backend.read('b')
    ('1', None)
    """

    @ends_traceback
    def __init__(self, path: str | os.PathLike[str], ttl: Seconds | None = None,
                 serializer: str = "json", timeout: float = 5.0, arguments: bool = False) -> None:
        super().__init__(ttl, serializer, arguments)
        if not isinstance(path, (str, os.PathLike)):
            raise InvalidTypeError(f"path takes a path, not {a_kind(path)}")
        if os.fspath(path) == ":memory:":
            raise InvalidArgumentError("a SQLiteBackend keeps results in a file, not in memory; "
                                       "use a MemoryBackend")
        self.path: str = os.path.abspath(os.fspath(path))
        self.timeout = timeout
        # Reentrant: a finalizer or a signal handler may ask for a result.
        self._read_lock = RLock()   # guards the reader's connection, and _reading
        self._write_lock = RLock()  # guards the writer's connection, and _busy
        self._reader: sqlite3.Connection | None = None
        self._writer: sqlite3.Connection | None = None
        self._reading = False       # the reader's connection is in use
        self._busy = False          # the writer's connection is in use
        self._in_transaction = False
        self._inherited_transaction = False     # _in_transaction at the fork that made this process
        self._sweep_at = 0.0
        _backends[next(_numbers)] = self

    # -- the contract ------------------------------------------------------------------------------

    @ends_traceback
    def open(self) -> None:
        """See :meth:`Backend.open`.

        A file that another process has locked counts as open.
        """
        self.read("")
        try:
            self._transact(lambda database: None, wait=False)
        except ResultBackendError as error:
            if "locked" not in str(error.__cause__):
                raise

    def close(self) -> None:
        """See :meth:`Backend.close`."""
        for lock, name in ((self._read_lock, "_reader"), (self._write_lock, "_writer")):
            with lock:
                self._close_connection(name)

    def write(self, entries: Sequence[tuple[str, str]]) -> None:
        """See :meth:`Backend.write`. It is one transaction."""
        now = self.clock()
        expires = None if self.ttl is None else now + self.ttl

        def insert(database: sqlite3.Connection) -> None:
            for start in range(0, len(entries), ROWS_PER_STATEMENT):
                batch = entries[start:start + ROWS_PER_STATEMENT]
                # ?1 is the expiry of all rows. A plain ? follows the greatest number before it.
                rows = "(?2,?1,?)" + ",(?,?1,?)" * (len(batch) - 1)
                database.execute(_INSERT + rows, [expires, *chain.from_iterable(batch)])
            if self.ttl is not None and now >= self._sweep_at:
                limit = max(MAX_SWEPT, 2 * len(entries))
                swept = database.execute("DELETE FROM results WHERE task_id IN "
                                         "(SELECT task_id FROM results WHERE expires <= ? LIMIT ?)",
                                         (now, limit)).rowcount
                if swept < limit:
                    self._sweep_at = now + min(SWEEP_EVERY, self.ttl)

        self._transact(insert)

    def read(self, task_id: str) -> str | None:
        """See :meth:`Backend.read`."""
        found = self._query("SELECT data FROM results "
                            "WHERE task_id = ? AND (expires IS NULL OR expires > ?)",
                            (task_id, self.clock()))
        return found[0][0] if found else None

    def keys(self) -> list[str]:
        """See :meth:`Backend.keys`."""
        found = self._query("SELECT task_id FROM results WHERE expires IS NULL OR expires > ?",
                            (self.clock(),))
        return [task_id for task_id, in found]

    def _query(self, statement: str, arguments: tuple[Any, ...]) -> list[Any]:
        """Return all rows of a query."""
        with self._read_lock:
            outer, self._reading = self._reading, True
            try:
                if self._reader is None:
                    self._reader = self._connect()
                    if not self._version_of(self._reader):
                        self.check()        # makes the table
                return self._reader.execute(statement, arguments).fetchall()
            except Exception as error:
                self._close_connection("_reader")
                if isinstance(error, ResultBackendError):
                    raise
                raise self._error("read", error) from error
            finally:
                self._reading = outer

    def delete(self, task_id: str) -> bool:
        """See :meth:`Backend.delete`."""
        def remove(database: sqlite3.Connection) -> bool:
            statement = "DELETE FROM results WHERE task_id = ?"
            return database.execute(statement, (task_id,)).rowcount > 0

        return self._transact(remove)

    def check(self) -> None:
        """See :meth:`Backend.check`. It takes the write lock for a moment."""
        self._transact(lambda database: None)

    # -- connections -------------------------------------------------------------------------------

    def _connect(self) -> sqlite3.Connection:
        import sqlite3

        # This class begins and ends transactions, and its locks keep threads apart.
        connection: sqlite3.Connection = sqlite3.connect(
            self.path, timeout=self.timeout, isolation_level=None, check_same_thread=False,
            **_cache)
        return connection

    def _transact(self, work: Callable[[sqlite3.Connection], T], wait: bool = True) -> T:
        """Return ``work(database)``, called in a transaction.

        :param wait: False raises at once if another process has locked the file.
        """
        with self._write_lock:
            if self._busy:
                raise ResultBackendError(f"{self!r} cannot be written here: this code, a signal "
                                         "handler or a finalizer, came in between two steps of a "
                                         "write in the same thread")
            self._busy = True
            try:
                if self._writer is None:
                    self._writer = self._open_writer()
                database = self._writer
                if not wait:
                    database.execute("PRAGMA busy_timeout = 0")
                database.execute("BEGIN IMMEDIATE")     # on an error the connection is closed
                if not wait:
                    database.execute(f"PRAGMA busy_timeout = {int(self.timeout * 1000)}")
                self._in_transaction = True
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
                self._close_connection("_writer")
                raise self._error("written", error) from error
            finally:
                self._in_transaction = self._busy = False

    def _version_of(self, database: sqlite3.Connection) -> int:
        """Return the schema version of the file, 0 if it is empty.

        :raises ResultBackendError: the file belongs to another application or a later version.
        """
        # In this order: the process that makes the file writes all of it in one transaction, so a
        # reader that finds tables also finds the application id.
        (tables,), (application,), (version,) = (
            database.execute(statement).fetchone() for statement in (
                "SELECT count(*) FROM sqlite_master", "PRAGMA application_id",
                "PRAGMA user_version"))
        if application != APPLICATION_ID and tables:
            raise ResultBackendError(f"{self.path} is a database of something else; give "
                                     "SQLiteBackend a file of its own")
        if version > SCHEMA_VERSION:
            raise ResultBackendError(f"{self.path} was made by a later version of this library "
                                     f"(schema {version}, this one knows {SCHEMA_VERSION}); update "
                                     "this one, or use another file")
        return int(version) if application == APPLICATION_ID else 0

    def _open_writer(self) -> sqlite3.Connection:
        """Open the file for writing, and make the table if the file is new."""
        database = self._connect()
        try:
            if not self._version_of(database):
                database.execute("BEGIN IMMEDIATE")
                if not self._version_of(database):      # another process may have made it meanwhile
                    database.execute("CREATE TABLE results (task_id TEXT PRIMARY KEY, "
                                     "expires REAL, data TEXT NOT NULL) WITHOUT ROWID")
                    database.execute("CREATE INDEX expiring ON results (expires) "
                                     "WHERE expires IS NOT NULL")
                    database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                    database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
                database.execute("COMMIT")
            keep_log(database, self.timeout)
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
        except BaseException:
            database.close()
            raise
        return database

    def _close_connection(self, name: str) -> None:
        """Close the reader's or the writer's connection.

        The next use opens another one.

        A connection that failed is closed, too: by the next use the file may be repaired.
        """
        connection, empty = getattr(self, name), None
        setattr(self, name, empty)
        if connection is not None:
            connection.close()

    def _error(self, participle: str, error: Exception) -> ResultBackendError:
        message = str(error)
        advice = next((f"; {advice}" for words, advice in _ADVICE if words in message), "")
        if self._inherited_transaction and "locked" in message:
            advice = _FORKED
        return ResultBackendError(f"the results in {self.path} cannot be {participle} "
                                  f"({type(error).__name__}: {message}){advice}")

    # -- forks of the process ----------------------------------------------------------------------

    def _before_fork(self, held: list[RLock], deadline: float) -> None:
        """Take the locks, and close the connections.

        A connection stays open if its lock is not free in time, or if this thread uses it itself,
        and a signal handler forks.
        """
        for lock, name in ((self._read_lock, "_reader"), (self._write_lock, "_writer")):
            if lock.acquire(timeout=max(0.0, deadline - monotonic())):
                held.append(lock)
                if not (self._reading if name == "_reader" else self._busy):
                    self._close_connection(name)

    def _reset_after_fork(self) -> None:
        """Leave open connections, and held locks, to the parent process."""
        self._inherited_transaction = self._in_transaction
        _inherited.extend((self._reader, self._writer))
        self._reader = self._writer = None
        self._reading = self._in_transaction = self._busy = False
        self._read_lock, self._write_lock = RLock(), RLock()

    def __repr__(self) -> str:
        return f"<SQLiteBackend {self.path}>"


_ADVICE = (
    ("locked", "another process holds it; let it end its transaction, or give a longer timeout"),
    ("full", "make room on the disk"),
    ("disk I/O error", "check that there is room on the disk, and that it is in order"),
    ("readonly", "this user may not write to it"),
    ("unable to open", "is there such a folder, and may this user write there?"),
    ("not a database", "something else is in that file; put it away"),
    ("malformed", "the file is damaged; put it away, and recover what it holds with sqlite3 "
                  ".recover"))


#: The advice for a process that was forked in the middle of a write, and can never write.
_FORKED = ("; this process was forked while its parent was in the middle of a write that took "
           "long, and can never write there: fork again, or write from one that is not forked")

#: All backends of this process by age. A fork takes their locks in this order.
_backends: WeakValueDictionary[int, SQLiteBackend] = WeakValueDictionary()
_numbers = count()


class _Forks(local):
    """The locks that each of the nested forks of this thread holds."""

    def __init__(self) -> None:
        self.held: list[list[RLock]] = []


_forks = _Forks()


def _before_fork() -> None:
    held: list[RLock] = []
    _forks.held.append(held)
    deadline = monotonic() + FORK_TIMEOUT
    for reference in _backends.valuerefs():
        backend = reference()
        if backend is not None:
            backend._before_fork(held, deadline)


def _after_fork_in_parent() -> None:
    for lock in _forks.held.pop():
        lock.release()


def _after_fork_in_child() -> None:
    del _forks.held[-1:]        # it may be empty: an embedding program may skip _before_fork()
    for reference in _backends.valuerefs():
        backend = reference()
        if backend is not None:
            backend._reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent,
                        after_in_child=_after_fork_in_child)
