"""Pools of threads and of executors, and the views of them."""
from atasker_like.pools import views
from atasker_like.pools.executor import remote_call

from .replaced import Replaced

# -- all pools -------------------------------------------------------------------------------------


def aging_entry_of(pool):
    """Return the timer entry at which waiting tasks of a pool become more urgent."""
    return pool.backpressure._aging_entry


def resync_pool(pool):
    """Count anew what occupies slots, as after an interrupt; return the calls to make then."""
    return pool._resync(set())


def delay_elapsed(pool, task):
    """Do what the timer does when the delay of a task is over."""
    pool._delay_elapsed(task)


def idle_threads_of(pool):
    """Return the idle threads of a thread pool."""
    return pool._idle


# -- pools of executors ----------------------------------------------------------------------------


#: Gives the tasks to the executor whose turn it is.
SUBMIT_ALL = Replaced("_submit_all")

#: Puts the task of a call that was withdrawn from the executor into the run queue.
REQUEUE = Replaced("_requeue")

#: How many calls for a slot a pool gives to the executor at once.
PREFETCH_LIMIT = Replaced("_limit")

#: Handles one message of a call.
HANDLE_MESSAGE = Replaced("_handle")


def is_submitting(pool):
    """Return True if a thread gives tasks to the executor."""
    return pool._submitter_running


#: The handler of log records in the process of a worker.
RECORDS_OF_CALL = remote_call._RecordsOfCall

# -- views of pools, and executors -----------------------------------------------------------------

#: The results of ``imap()``.
IMAP_RESULTS = views._Results

#: The pool that a view submits to.
VIEWED_POOL = Replaced("_pool")

#: Has a view refer to tasks until they end.
KEEP = Replaced("_keep")

#: Returns the spec of a call of an executor.
PREPARE = Replaced("_prepare")


def submission_waiters_of(view):
    """Return the waiters for the submissions of a view that are under way."""
    return view._submissions._waiters


def futures_of(view):
    """Return the futures that a view refers to."""
    return view._futures


def lane_of_executor(executor):
    return executor._lane


def threads_of_executor(executor):
    """Return the threads that the interpreter joins for an executor at its exit."""
    return executor._threads


def supervisor_of_executor(executor):
    return executor._supervisor
