"""SQLiteBackend: results in one file, for this process and others.

One table, ``results``: ``task_id``, ``expires`` (epoch seconds or null), ``data`` (the text, see :mod:`.coding`). The file is
in WAL mode, so that readers and the one writer do not wait for each other. A commit hands the pages to the operating
system and does not wait for the disk: a process that is killed loses nothing that was stored, a machine that loses its
power may lose the last commits, and neither leaves anything torn.

SQLite keeps tables of the locks of a process, which a fork copies: what was locked just then stays locked in the child for
ever, and what the child opens later is not locked at all for others. So a fork finds the file closed: it waits for who reads
and writes at that moment, and the next use, on both sides, opens the file again.
"""
from __future__ import annotations

import os
import sys
from itertools import count
from threading import RLock, local
from time import monotonic
from weakref import WeakValueDictionary

from .._sqlite import keep_log
from ..errors import InvalidArgumentError, ResultBackendError
from .backend import Backend

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from typing import Any, Callable, Sequence, TypeVar

    from .._checks import Seconds

    T = TypeVar("T")

__all__ = ["SQLiteBackend"]

#: What the file says of itself, in the places that SQLite keeps for this.
APPLICATION_ID, SCHEMA_VERSION = 0x61746C72, 1

#: Rows of one statement. Each statement gives the interpreter away and has to get it back, which takes a busy program
#: longer than the rows do; a statement may have 999 variables where SQLite is old.
ROWS_PER_STATEMENT = 333
_INSERT = "INSERT OR REPLACE INTO results (task_id, expires, data) VALUES "

#: Seconds between two looks for what has expired, and how many are removed at a time. When there are more, the next write
#: goes on with them; and each removes up to twice as many as it brings, so that what expires is not more than what goes.
SWEEP_EVERY, MAX_SWEPT = 5.0, 20000

#: Seconds that a fork waits at most for those that read and write just then.
FORK_TIMEOUT = 3.0

#: In a free-threaded build a statement ends in the thread that made it, maybe some time after its connection was closed, and
#: only then is the file closed: so none is kept for its next use.
_cache: dict[str, Any] = {"cached_statements": 0} if "t" in getattr(sys, "abiflags", "") else {}

#: Connections of a parent process that a fork found in use: nothing may be done with them here, not even closing them.
_inherited: list[Any] = []


class SQLiteBackend(Backend):
    """Keeps results in a SQLite file, where other processes of the same machine can read and write them, too.

    :param path: the file; it is made if there is none. The folder must be on a local disk.
    :param ttl: seconds after which a result may be forgotten.
    :param serializer: ``'json'`` or ``'pickle'``, see :class:`Backend`.
    :param timeout: seconds to wait for another process that holds the file locked.
    :param arguments: True stores the arguments of tasks as well, see :class:`Backend`.

    The file is opened on first use, and again on the next use after a fork, in the parent and in the child. From any thread.
    ``close()`` it, or use it in a ``with`` block.

    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with SQLiteBackend(os.path.join(folder, 'results.db')) as backend:
    ...         backend.write([('a', '1')])
    ...         backend.read('a'), backend.read('b')
    ('1', None)
    """

    def __init__(self, path: str | os.PathLike[str], ttl: Seconds | None = None, serializer: str = "json",
                 timeout: float = 5.0, arguments: bool = False) -> None:
        super().__init__(ttl, serializer, arguments)
        if os.fspath(path) == ":memory:":
            raise InvalidArgumentError("a SQLiteBackend keeps results in a file, not in memory; use a MemoryBackend")
        self.path = os.path.abspath(os.fspath(path))
        self.timeout = timeout
        # They may be entered again, by a finalizer or a signal handler that asks for a result.
        self._read_lock = RLock()   # guards the reader's connection, and _reading
        self._write_lock = RLock()  # guards the writer's connection, and _busy
        self._reader: sqlite3.Connection | None = None
        self._writer: sqlite3.Connection | None = None
        self._reading = False       # the reader's connection is in use
        self._busy = False          # the writer's connection is in use
        self._in_transaction = False         # the writer is inside a transaction
        self._inherited_transaction = False       # the fork that made this process found the writer inside a transaction
        self._sweep_at = 0.0
        _backends[next(_numbers)] = self

    # -- the contract --------------------------------------------------------------------------------

    def open(self) -> None:
        """See :meth:`Backend.open`. When another process holds the file just now, it is open all the same."""
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
        """See :meth:`Backend.write`. One transaction."""
        now = self.clock()
        expires = None if self.ttl is None else now + self.ttl

        def insert(database: sqlite3.Connection) -> None:
            for start in range(0, len(entries), ROWS_PER_STATEMENT):
                some = entries[start:start + ROWS_PER_STATEMENT]
                values: list[Any] = [expires] * (3 * len(some))
                values[0::3] = [task_id for task_id, _ in some]
                values[2::3] = [text for _, text in some]
                database.execute(_INSERT + ",".join(["(?,?,?)"] * len(some)), values)
            if self.ttl is not None and now >= self._sweep_at:
                most = max(MAX_SWEPT, 2 * len(entries))
                swept = database.execute("DELETE FROM results WHERE task_id IN "
                                         "(SELECT task_id FROM results WHERE expires <= ? LIMIT ?)", (now, most)).rowcount
                if swept < most:
                    self._sweep_at = now + min(SWEEP_EVERY, self.ttl)

        self._transact(insert)

    def read(self, task_id: str) -> str | None:
        """See :meth:`Backend.read`."""
        found = self._query("SELECT data FROM results WHERE task_id = ? AND (expires IS NULL OR expires > ?)",
                          (task_id, self.clock()))
        return found[0][0] if found else None

    def keys(self) -> list[str]:
        """See :meth:`Backend.keys`."""
        return [task_id for task_id, in self._query("SELECT task_id FROM results WHERE expires IS NULL OR expires > ?",
                                                  (self.clock(),))]

    def _query(self, question: str, arguments: tuple[Any, ...]) -> list[Any]:
        """Return all rows that answer a question."""
        with self._read_lock:
            outer, self._reading = self._reading, True
            try:
                if self._reader is None:
                    self._reader = self._connect()
                    if not self._version_of(self._reader):
                        self.check()        # there is nothing in it yet
                return self._reader.execute(question, arguments).fetchall()
            except Exception as error:
                self._close_connection("_reader")
                if isinstance(error, ResultBackendError):
                    raise
                raise self._error("read", error) from error
            finally:
                self._reading = outer

    def delete(self, task_id: str) -> bool:
        """See :meth:`Backend.delete`."""
        return self._transact(lambda database: database.execute("DELETE FROM results WHERE task_id = ?", (task_id,)).rowcount > 0)

    def check(self) -> None:
        """See :meth:`Backend.check`. Takes the right to write for a moment."""
        self._transact(lambda database: None)

    # -- connections ---------------------------------------------------------------------------------

    def _connect(self) -> sqlite3.Connection:
        import sqlite3

        # Transactions are begun and ended here, and threads are kept apart by the locks.
        connection: sqlite3.Connection = sqlite3.connect(self.path, timeout=self.timeout, isolation_level=None,
                                                           check_same_thread=False, **_cache)
        return connection

    def _transact(self, work: Callable[[sqlite3.Connection], T], wait: bool = True) -> T:
        """Do something in a transaction; who is not patient does not wait for another process."""
        with self._write_lock:
            if self._busy:
                raise ResultBackendError(f"{self!r} cannot be written here: this code, a signal handler or a finalizer, came in "
                                         "between two steps of a write in the same thread")
            self._busy = True
            try:
                if self._writer is None:
                    self._writer = self._open_writer()
                database = self._writer
                if wait:
                    database.execute("BEGIN IMMEDIATE")
                else:
                    database.execute("PRAGMA busy_timeout = 0")
                    database.execute("BEGIN IMMEDIATE")         # if it fails, so does the connection
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
                raise self._error("write", error) from error
            finally:
                self._in_transaction = self._busy = False

    def _version_of(self, database: sqlite3.Connection) -> int:
        """Return the version of the file's schema, 0 if there is nothing in it; refuse what is not of this class."""
        # In this order: the one that makes the file writes it all at once, so who finds tables finds whose they are.
        (tables,), (application,), (version,) = (
            database.execute(question).fetchone() for question in (
                "SELECT count(*) FROM sqlite_master", "PRAGMA application_id", "PRAGMA user_version"))
        if application != APPLICATION_ID and tables:
            raise ResultBackendError(f"{self.path} is a database of something else; give SQLiteBackend a file of its own")
        if version > SCHEMA_VERSION:
            raise ResultBackendError(f"{self.path} was made by a later version of this library (schema {version}, this one "
                                     f"knows {SCHEMA_VERSION}); update this one, or use another file")
        return int(version) if application == APPLICATION_ID else 0

    def _open_writer(self) -> sqlite3.Connection:
        """Open the file for writing, and make the table if the file is new."""
        database = self._connect()
        try:
            if not self._version_of(database):
                database.execute("BEGIN IMMEDIATE")
                if not self._version_of(database):      # another process may have been quicker
                    database.execute("CREATE TABLE results "
                                     "(task_id TEXT PRIMARY KEY, expires REAL, data TEXT NOT NULL) WITHOUT ROWID")
                    database.execute("CREATE INDEX expiring ON results (expires) WHERE expires IS NOT NULL")
                    database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                    database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
                database.execute("COMMIT")
            keep_log(database, self.timeout)
            database.execute("PRAGMA synchronous = NORMAL")
        except BaseException:
            database.close()
            raise
        return database

    def _close_connection(self, name: str) -> None:
        """Close a connection; the next use makes another one. One that has failed, too: the file may be put in order by then."""
        connection, empty = getattr(self, name), None
        setattr(self, name, empty)
        if connection is not None:
            connection.close()

    def _error(self, what: str, error: Exception) -> ResultBackendError:
        message = str(error)
        advice = _FORKED if self._inherited_transaction and "locked" in message else _advice(message)
        return ResultBackendError(f"the results in {self.path} cannot be {'read' if what == 'read' else 'written'} "
                                  f"({type(error).__name__}: {message}){advice}")

    # -- the application forks -----------------------------------------------------------------------

    def _before_fork(self, held: list[RLock], deadline: float) -> None:
        """Take the locks, and close what nobody uses: all there is, unless a write takes too long, or this thread itself is
        in the middle of something, and a signal handler forks."""
        for lock, name in ((self._read_lock, "_reader"), (self._write_lock, "_writer")):
            if lock.acquire(timeout=max(0.0, deadline - monotonic())):
                held.append(lock)
                if not (self._reading if name == "_reader" else self._busy):
                    self._close_connection(name)

    def _reset_after_fork(self) -> None:
        """In the child: what is not closed is the parent's, and so are those who held the locks."""
        self._inherited_transaction = self._in_transaction
        _inherited.extend((self._reader, self._writer))
        self._reader = self._writer = None
        self._reading = self._in_transaction = self._busy = False
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


#: What a process is told that can never write, since it was forked in the middle of a write.
_FORKED = ("; this process was forked while its parent was in the middle of a write that took long, and cannot get over that: "
           "fork again, or have a process that is not forked write there")

#: All backends of this process by age, which is the order in which a fork takes their locks.
_backends: WeakValueDictionary[int, SQLiteBackend] = WeakValueDictionary()
_numbers = count()


class _Forks(local):
    """The forks that this thread has begun, one inside the other: the locks that each of them holds."""

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
    del _forks.held[-1:]        # an embedding program may fork without telling before
    for reference in _backends.valuerefs():
        backend = reference()
        if backend is not None:
            backend._reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
