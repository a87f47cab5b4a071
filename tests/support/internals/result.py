"""Result backends and their writers."""
from time import monotonic

from .replaced import Replaced

# -- backends --------------------------------------------------------------------------------------

#: Returns a task that is alive, by its id.
FIND_TASK = Replaced("_find_task")


def texts_of(backend):
    """Return the texts of a backend in memory with their times, by id."""
    return backend._texts


def writers_of(backend):
    """Return the writers that are attached to a backend."""
    return backend._writers


def lock_of_backend(backend):
    return backend._lock


# -- SQLite ----------------------------------------------------------------------------------------

#: Opens the connection that writes.
OPEN_WRITER = Replaced("_open_writer")

#: The lock of that connection.
WRITE_LOCK = Replaced("_write_lock")

#: Opens a connection.
CONNECT = Replaced("_connect")


def connections_of(backend):
    """Return the connections of a backend: that which reads, and that which writes."""
    return {backend._reader, backend._writer}


def transact(backend, work):
    """Call a function with the connection that writes, inside a transaction."""
    return backend._transact(work)


# -- writers ---------------------------------------------------------------------------------------

#: The lock that the thread of a writer sleeps on.
WAKEUP = Replaced("_wakeup")

#: Waits for more results of a burst.
LINGER = Replaced("_linger")

#: Changes what the pools call at the end of a task.
SET_CALLBACKS = Replaced("_set_callbacks")


def arguments_of(writer):
    """Return the arguments of tasks that a writer keeps, by id."""
    return writer._arguments


def kept_arguments_of(writer):
    """Return all that a writer keeps for the sake of arguments, without what is empty."""
    return [kept for kept in (writer._arguments, writer._releasable, writer._finished) if kept]


def releasable_of(writer):
    """Return the tasks whose arguments go with the next write."""
    return writer._releasable


def reports_of(writer):
    """Return the tasks with a report of progress that is not stored."""
    return writer._reports


def queue_of_writer(writer):
    """Return the tasks that the thread of a writer has not seen."""
    return writer._queue


def held_by(writer):
    """Return the number of results that are not stored."""
    return writer._held()


def thread_of_writer(writer):
    return writer._thread


def lock_of_writer(writer):
    return writer._lock


def wake_writer(writer):
    writer._wake()


def callback_at_rest(writer):
    """Return what the pools call while the thread of a writer sleeps."""
    return writer._append_and_wake


def linger(writer, seconds):
    """Wait for more results of a burst, as a writer that runs, for so many seconds at most."""
    writer._running, writer._linger_end = True, monotonic() + seconds
    writer._linger()


def note_write(writer):
    """Note that a write has ended now."""
    writer._last_write = monotonic()


def join_writer(writer, thread, since, deadline):
    """Wait for the thread of a writer, as a stop does."""
    return writer._join(thread, since, deadline)
