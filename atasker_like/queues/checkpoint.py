"""Checkpoint: a file of the calls that have succeeded, so that a killed run can be resumed.

One row is a success. It is committed when the task has ended, in the write-ahead log of SQLite. If
a process is killed in the middle of a write, earlier rows stay, and nothing of this one does.

The values are pickled. Reading a pickle may run code, so a file that another user could have
written is refused.
"""
from __future__ import annotations

import os
import pickle
from functools import partial

from .._atomics import RLock
from .._checks import a_kind, ends_tracebacks
from .._inspect import attribute_of, described, name_of as short_name_of, shown
from .._log import log
from .._sqlite import keep_log
from ..engine.result import Failure
from ..engine.spec import undecorated
from ..engine.task import COMPLETED
from ..engine.task_fields import index_of
from ..errors import CheckpointError, InvalidTypeError
from .calls import Keyed
from .item_keys import digest_of, spell

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from types import TracebackType
    from typing import Any, Callable

    from ..engine.task import Task
    from .calls import Call


#: The path of a checkpoint without a file.
_MEMORY = ":memory:"

#: Identify a file as a checkpoint ("tchk"), and its version.
_APPLICATION = 0x7463686B
_VERSION = 1

#: Seconds to wait while another process writes to the same file.
_PATIENCE = 30.0


@ends_tracebacks("page")
class Checkpoint:
    """A file of successes, by the qualified name of the function and the input. Failures run again.

    Pass it to ``map`` or ``group`` of a queue, or to ``amap``, ``tmap``, ``pmap``. Inputs that have
    succeeded before are not submitted. Their handles have ended, with the stored value and
    ``attempts`` 0. Inputs are compared by value: numbers, strings, bytes, None and containers of
    these, or any object that pickles the same way each time. Changes of the function are not
    noticed. Nor are the values in a closure, or the object of a method: pass these as arguments, or
    call :meth:`clear`.

    :param path: the file (default: none). It is made if it does not exist, for the user alone.
        Without one, or with ``':memory:'``, the checkpoint is in memory and ends with the process.
    :param store_values: if False, the checkpoint stores no values. Calls that have succeeded are
        not submitted again, and their value is then None (default: True).
    :raises CheckpointError: (an OSError) the file is no checkpoint, of another version, corrupt, or
        writable by other users.

    May be used from any thread, and by several processes at once. As a context manager it closes
    the file at the end of the block.

    >>> with Checkpoint(':memory:') as checkpoint:
    ...     tmap(abs, [-1, -2], checkpoint=checkpoint)
    ...     tmap(abs, [-1, -2, -3], checkpoint=checkpoint)      # one call only
    (1, 2)
    (1, 2, 3)
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, *,
                 store_values: bool = True) -> None:
        if path is not None and not isinstance(path, (str, os.PathLike)):
            raise InvalidTypeError(f"Checkpoint takes a path, not {a_kind(path)}")
        self.path: str = _MEMORY if path is None else os.fspath(path)
        self.store_values = store_values
        if not isinstance(self.path, str):
            raise InvalidTypeError(f"Checkpoint takes a path, not {a_kind(path)}")
        self._lock = RLock()      # guards the connection
        self._connection: sqlite3.Connection | None = self._open()
        if self.in_memory:
            log.info("a checkpoint without a file is in memory: what it knows is gone when the "
                     "process ends")

    @property
    def in_memory(self) -> bool:
        """True if the checkpoint has no file, so that it ends with the process."""
        return self.path == _MEMORY

    def _open(self) -> sqlite3.Connection:
        import sqlite3

        if not self.in_memory:
            self._check_owner()
        connection = None
        try:
            # Each statement is a transaction of its own.
            connection = sqlite3.connect(self.path, timeout=_PATIENCE, check_same_thread=False,
                                         isolation_level=None)
            self._check_format(connection)
        except BaseException as error:
            if connection is not None:
                connection.close()
            if isinstance(error, sqlite3.Error):
                raise self._unusable(error) from error
            raise
        return connection

    def _check_owner(self) -> None:
        """Make the file for this user alone, or check that no other user can write to it."""
        try:
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            return
        except FileExistsError:
            pass
        except OSError as error:
            raise CheckpointError(f"checkpoint {self.path} cannot be made: {error.strerror}; is "
                                  "there such a folder, and may this user write there?",
                                  self.path) from error
        if hasattr(os, "getuid"):
            status = os.stat(self.path)
            if status.st_uid != os.getuid() or status.st_mode & 0o022:
                raise CheckpointError(f"checkpoint {self.path} could have been written by others: "
                                      "reading its values could run their code. It must belong to "
                                      "you, and no other user may write to it (chmod go-w)",
                                      self.path)

    def _check_format(self, connection: sqlite3.Connection) -> None:
        """Refuse a file that is no checkpoint, and make a new file one."""
        if not self._is_checkpoint(connection):
            connection.execute("BEGIN IMMEDIATE")
            if not self._is_checkpoint(connection):     # else another process has made it
                connection.execute("CREATE TABLE done (function TEXT NOT NULL, input BLOB NOT "
                                   "NULL, value BLOB NOT NULL, PRIMARY KEY (function, input)) "
                                   "WITHOUT ROWID")
                connection.execute(f"PRAGMA application_id={_APPLICATION}")
                connection.execute(f"PRAGMA user_version={_VERSION}")
            connection.execute("COMMIT")
        # Files of earlier versions are without this table.
        connection.execute("CREATE TABLE IF NOT EXISTS users (namespace TEXT PRIMARY KEY, function "
                           "TEXT NOT NULL) WITHOUT ROWID")
        # With the log, nothing is lost if the process is killed. A power cut may cost the last
        # rows, never the file.
        keep_log(connection, _PATIENCE)
        connection.execute("PRAGMA synchronous=NORMAL")

    def _is_checkpoint(self, connection: sqlite3.Connection) -> bool:
        """Return True for a checkpoint, False for an empty file; refuse any other."""
        # In this order: a file is made in one transaction, so if there are tables, the application
        # id is there, too.
        tables, = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        application, = connection.execute("PRAGMA application_id").fetchone()
        version, = connection.execute("PRAGMA user_version").fetchone()
        if (application or tables) and application != _APPLICATION:
            raise CheckpointError(f"{self.path} is a database, but not a checkpoint; give another "
                                  "path", self.path)
        if application and version != _VERSION:
            raise CheckpointError(f"checkpoint {self.path} is of version {version}, and this "
                                  f"library reads version {_VERSION}; finish the run with the "
                                  "library that began it, or delete the file", self.path)
        return bool(application)

    def _unusable(self, error: BaseException) -> CheckpointError:
        return CheckpointError(f"checkpoint {self.path} cannot be used: {error}; if the file is "
                               "damaged, delete it and begin anew", self.path)

    def _execute(self, statement: str, values: tuple[Any, ...] = ()) -> Any:
        """Execute one statement and return all its rows."""
        import sqlite3

        with self._lock:
            if self._connection is None:
                raise CheckpointError(f"checkpoint {self.path} is closed", self.path)
            try:
                return self._connection.execute(statement, values).fetchall()
            except sqlite3.Error as error:
                raise self._unusable(error) from error

    def page(self, function: Callable[..., Any], namespace: str | None = None) -> FunctionRecords:
        """Return what is known of a function, or of a namespace; used by the queues."""
        if namespace is None:
            return FunctionRecords(self, name_of(function))
        if not isinstance(namespace, str) or not namespace:
            raise InvalidTypeError(f"namespace takes a string that is not empty, not {namespace!r}")
        self._note_user(namespace, function)
        return FunctionRecords(self, namespace)

    def _note_user(self, namespace: str, user: Callable[..., Any]) -> None:
        """Note the function that uses a namespace; warn if another one has used it."""
        user = undecorated(user)
        while isinstance(user, partial):
            user = user.func
        function = f"{attribute_of(user, '__module__', str)}.{short_name_of(user)}"
        with self._lock:
            # First, in one step: of two processes that begin at the same time, one finds the name
            # of the other. A transaction would stay open if an interrupt came before its end.
            self._execute("INSERT OR IGNORE INTO users VALUES (?, ?)", (namespace, function))
            for (before,) in self._execute("SELECT function FROM users WHERE namespace=? "
                                           "AND function<>?", (namespace, function)):
                log.warning("namespace %r of checkpoint %s holds successes of %s, and is now "
                            "used for %s: the inputs of the one count as those of the other. "
                            "If they are not the same work, give each a namespace, or "
                            "clear(%r)", namespace, self.path, before, function, namespace)
                self._execute("INSERT OR REPLACE INTO users VALUES (?, ?)",
                              (namespace, function))

    def clear(self, namespace: str | Callable[..., Any] | None = None) -> int:
        """Forget the successes of a namespace or a function, or all of them; return their number.

        :param namespace: a namespace or a function (default: all).
        :raises CheckpointError: (an OSError) the file cannot be used.
        """
        with self._lock:
            before = len(self)
            if namespace is None:
                self._execute("DELETE FROM done")
                self._execute("DELETE FROM users")
            else:
                self._execute("DELETE FROM done WHERE function=?", (_namespace_of(namespace),))
                self._execute("DELETE FROM users WHERE namespace=?", (_namespace_of(namespace),))
            return before - len(self)

    def count(self, namespace: str | Callable[..., Any] | None = None) -> int:
        """Return the number of successes of a namespace or a function, or of all.

        :param namespace: a namespace or a function (default: all).
        :raises CheckpointError: (an OSError) the file cannot be used.
        """
        if namespace is None:
            return len(self)
        (number,), = self._execute("SELECT count(*) FROM done WHERE function=?",
                                   (_namespace_of(namespace),))
        return int(number)

    def namespaces(self) -> tuple[str, ...]:
        """Return the namespaces that have successes, sorted.

        A function without a namespace counts by its name.

        :raises CheckpointError: (an OSError) the file cannot be used.
        """
        return tuple(name
                     for (name,) in self._execute("SELECT DISTINCT function FROM done ORDER BY "
                                                  "function"))

    def close(self) -> None:
        """Close the file, after the runs that use it. A second call does nothing."""
        import sqlite3

        with self._lock:
            connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            # close() does the same, unless another process has the file open; or, on a
            # free-threaded build, a statement of another thread is still alive. Neither is waited
            # for. Then the log stays beside the file.
            connection.execute("PRAGMA busy_timeout=0")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error:
            pass
        finally:
            connection.close()

    def __len__(self) -> int:
        (number,), = self._execute("SELECT count(*) FROM done")
        return int(number)

    def __bool__(self) -> bool:
        return True         # an empty checkpoint is one

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        where = "in memory" if self.in_memory else self.path
        return f"<Checkpoint {where}{'' if self._connection else ' closed'}>"


class FunctionRecords:
    """The successes of one function, as they were when this was made."""

    def __init__(self, checkpoint: Checkpoint, function: str) -> None:
        self._checkpoint = checkpoint
        self._function = function
        #: The calls that have succeeded before, by key, each with its pickled value.
        self.known: dict[bytes, bytes] = dict(
            checkpoint._execute("SELECT input, value FROM done WHERE function=?", (function,)))

    def key(self, call: Call) -> bytes:
        """Return the key of a call."""
        if type(call) is Keyed:
            return call.key
        try:
            return digest_of(spell(call))
        except Exception as error:
            raise InvalidTypeError(f"{self._function} with a checkpoint: an input cannot be "
                                   f"pickled, so it could not be known again: {error}") from error

    def value(self, key: bytes) -> Any:
        """Return the stored value of a call."""
        packed = self.known[key]
        if not packed:
            return None             # the checkpoint stores no values
        try:
            return pickle.loads(packed)
        except Exception as error:
            raise CheckpointError(f"checkpoint {self._checkpoint.path} has a value of "
                                  f"{self._function} that cannot be read: {described(error)}; "
                                  "clear() the function, or delete the file",
                                  self._checkpoint.path) from error

    def keep_success(self, key: bytes, task: Task[Any]) -> None:
        """Store the value of a task that has succeeded: a done callback.

        If that fails, the task is not affected, and the log has an error.
        """
        if task._status != COMPLETED or type(task._outcome) is Failure:
            return
        try:
            # Protocol 4 is known to every Python that this library supports.
            packed = b""
            if self._checkpoint.store_values:
                packed = pickle.dumps(task._outcome, protocol=4)
            self._checkpoint._execute("INSERT OR REPLACE INTO done VALUES (?, ?, ?)",
                                      (self._function, key, packed))
        except Exception as error:
            log.error("the success of task %s (%s), item %s, was not kept in checkpoint %s, so a "
                      "later run calls the function for this item again: %s", task.name,
                      task.short_id, index_of(task), self._checkpoint.path, described(error))


def records_of(checkpoint: Checkpoint | None, function: Any, key: Any,
               namespace: str | None) -> FunctionRecords | None:
    """Return the records of a function for a submission, or None without a checkpoint."""
    if checkpoint is None:
        if key is not None or namespace is not None:
            raise InvalidTypeError("key= and namespace= need a checkpoint; give checkpoint=, too")
        return None
    if not isinstance(checkpoint, Checkpoint):
        raise InvalidTypeError(f"checkpoint takes a Checkpoint, not {a_kind(checkpoint)}; open the "
                               "file with Checkpoint(path)")
    return checkpoint.page(function) if namespace is None else checkpoint.page(function, namespace)


def _namespace_of(namespace: Any) -> str:
    return namespace if isinstance(namespace, str) else name_of(namespace)


def name_of(function: Any) -> str:
    """Return the qualified name of a function.

    :raises InvalidTypeError: it is no function, or has no name of its own, as a lambda or a
        partial, so that two functions could be confused.
    """
    function = undecorated(function)
    if not callable(function):
        raise InvalidTypeError("a namespace of a checkpoint is a string or a function, not "
                               f"{a_kind(function)}")
    function = attribute_of(function, "__wrapped__", object) or function
    name = attribute_of(function, "__qualname__", str)
    if not name or "<lambda>" in name:
        # The remedy stands first: the repr of a function may be long.
        raise InvalidTypeError("a checkpoint needs namespace= for a function without a name of its "
                               f"own, and {shown(function)} is one; pass namespace='...', or use "
                               "a function that is defined with 'def'")
    return f"{attribute_of(function, '__module__', str)}.{name}"
