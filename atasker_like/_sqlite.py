"""WAL mode for a SQLite file that several processes open at the same time."""
from __future__ import annotations

from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3


def keep_log(database: sqlite3.Connection, patience: float) -> None:
    """Put a file in WAL mode, for good.

    No other connection may write at that moment. Unlike others, this statement does not wait for
    the end of a write. So another statement waits in its place.

    :param patience: seconds during which it is tried.
    :raises sqlite3.OperationalError: other connections used the file for longer than that, or than
        the timeout of the connection.
    """
    import sqlite3

    deadline = monotonic() + patience
    while True:
        try:
            database.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or monotonic() >= deadline:
                raise
        database.execute("BEGIN EXCLUSIVE")     # waits for the end of the other transactions
        database.execute("ROLLBACK")
