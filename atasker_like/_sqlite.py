"""A SQLite file that is to have a write-ahead log, while other processes open it at the same moment."""
from __future__ import annotations

from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3

__all__ = ["keep_log"]


def keep_log(database: sqlite3.Connection, patience: float) -> None:
    """Put a file in WAL mode, where it stays.

    Nobody else may be writing at that moment, and unlike all others this statement does not wait for the end of that: here
    another one does, in its place.

    :param patience: seconds in which it is tried again.
    :raises sqlite3.OperationalError: others were in the file for longer than that, or than the connection waits.
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
        database.execute("BEGIN EXCLUSIVE")         # waits until the others are out, or have done it
        database.execute("ROLLBACK")
