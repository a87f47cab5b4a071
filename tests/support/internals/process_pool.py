"""The process pool, its processes and the thread that reads their results."""
import os

from .replaced import Replaced

# -- the pool --------------------------------------------------------------------------------------


def processes_of(pool):
    """Return the processes of a pool."""
    return pool._processes


def idle_processes_of(pool):
    """Return those that run no task."""
    return pool._idle


def refill(pool, process, *count):
    """Send tasks to a process, with the lock of the pool held."""
    pool._refill(process, *count)


def refill_idle(pool):
    """Send tasks to idle processes, with the lock of the pool held."""
    pool._refill_idle()


def look_at_next_submission(pool):
    """Have the next submission look whether a process runs low."""
    pool._since_refill = 1 << 20


def is_closing(pool):
    return pool._closing


def exit_waiters_of(pool):
    """Return the calls to be made when the last process has ended."""
    return pool._exit_waiters


def is_idle_writer(writer):
    """Return True if a deferred writer has nothing to write, and does not write."""
    return not (writer.processes or writer._calls or writer._rests or writer._committing)


# -- the I/O thread --------------------------------------------------------------------------------


def io_thread_of(pool):
    """Return the thread that watches the result pipes, or None."""
    return pool._io_thread


def thread_of_io(io_thread):
    """Return the plain thread of an I/O thread."""
    return io_thread._thread


def watched_files(io_thread):
    """Return the descriptors that an I/O thread watches."""
    return io_thread._files


def end_by_error(io_thread):
    """Send an I/O thread a request that it cannot read; it ends."""
    io_thread._requests.append(())
    io_thread._wake()


def end_by_answer(io_thread, answer):
    """Have an I/O thread call something instead of its answer to requests."""
    io_thread._answer = answer
    io_thread._wake()


def end_by_closed_pipe(io_thread):
    """Close the pipe by which an I/O thread is woken up; it ends."""
    os.close(io_thread._reader)
    io_thread._wake()


# -- the start of processes ------------------------------------------------------------------------

#: Starts a process, in a starter and in ``spawn``.
LAUNCH = Replaced("_launch")

#: Asks for a thread that starts processes.
REQUEST_THREAD = Replaced("_request_thread")

#: The start methods that did not work.
FALLBACKS = Replaced("_fallbacks")

#: What is known of a fork server.
KNOWN = Replaced("_known")

#: The statuses of fork servers that have ended.
ENDED_SERVERS = Replaced("_ended")

#: Return what multiprocessing keeps of its fork server, and of its resource tracker.
FORK_SERVER = Replaced("_fork_server")
TRACKER = Replaced("_tracker")


def is_probing(starter):
    """Return True if the first process starts, and the others wait for it."""
    return starter._probing


def is_pausing(starter):
    """Return True if the starter waits after a start that failed."""
    return starter._pausing


def refuse_starts(pool):
    """Have processes of the start method of a pool refused, as for a main module without a guard.
    """
    pool.starter._unguarded.append(pool.start_method)


# -- in a pool process -----------------------------------------------------------------------------

#: Reads the ticket of the next task.
TAKE_TICKET = Replaced("_take_ticket")

#: Writes to the result pipe.
WRITE_RESULT = Replaced("_write")


def make_server(*arguments):
    """Return what serves the tasks in a pool process."""
    from atasker_like.pools.process import child

    return child._Server(*arguments)


def result_fd_of(server):
    """Return the descriptor of the result pipe."""
    return server._result_fd


def running_ticket_of(server):
    """Return the ticket of the task that runs."""
    return server._running[0]
