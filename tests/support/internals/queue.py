"""Task queues, their maps and checkpoints."""
from atasker_like.queues import calls

from .replaced import Replaced

# -- queues ----------------------------------------------------------------------------------------


def lane_of_queue(queue):
    return queue._lane


def callbacks_of(queue):
    """Return the wait group of the calls of callbacks and hooks."""
    return queue._callbacks


def submissions_of(queue):
    """Return the wait group of the submissions under way."""
    return queue._submissions


def tasks_of_queue(queue):
    """Return the tasks of a queue, in the order of their submission."""
    return queue._tasks


def pool_of_queue(queue):
    return queue._pool


def run_of(queue):
    """Return the run that is under way, or None."""
    return queue._running


def policy_of(queue):
    """Return the fail policy that is in force."""
    return queue._policy


def is_aborting(queue):
    return queue._aborting


def is_closed(queue):
    """Return True if a queue is closed for good."""
    return queue._closed


def initializer_state_of(queue):
    """Return what tells in which threads the initializer of a queue was called."""
    return queue._initializer_state


def known_initializers():
    """Return the states of initializers that a process remembers."""
    return calls._known


#: Called with each task that has ended.
TASK_DONE = Replaced("_task_done")

#: The specs of the functions that were submitted.
SPECS = Replaced("_specs")

#: Makes the spec of a function.
MAKE_SPEC = Replaced("_make_spec")

#: Enters tasks that a pool has accepted.
RECORD_ACCEPTED = Replaced("_record_accepted")

#: Waits for all tasks of a block.
WAIT_ALL = Replaced("_wait_all")

#: Closes a queue for good, or for the time of a cancel.
FINISH_CLOSING = Replaced("_finish_closing")

#: Has the first failure end a run.
WATCH_FAILURES = Replaced("_watch_failures")

#: Ends a run.
END_RUN = Replaced("_end_run")

#: Registers what is called at the end of a run.
ADD_END_WAITER = Replaced("_add_end_waiter")

#: Notes that all tasks so far have ended.
MARK_SETTLED = Replaced("_mark_settled")

#: Refuses submissions, and returns the tasks to cancel.
BEGIN_ABORT = Replaced("_begin_abort")

#: Withdraws a reason to start no task.
RESUME_LANE = Replaced("_resume_lane")

#: Accepts no more tasks, and cancels the unfinished ones.
DISCARD = Replaced("_discard")

#: Makes a call when the time of a map is over.
CALL_AT = Replaced("_call_at")

# -- checkpoints -----------------------------------------------------------------------------------

#: Executes a statement, and returns its rows.
EXECUTE = Replaced("_execute")

#: Checks and makes the tables of a file.
CHECK_FORMAT = Replaced("_check_format")
