"""Workers, their sessions and their queues."""
from .replaced import Replaced

# -- sessions --------------------------------------------------------------------------------------


def session_of(worker):
    """Return the session of a worker: what one start of it has made."""
    return worker._worker_session


def runner_of(worker):
    """Return what submits the runs of a session."""
    return worker._worker_session.runner


def next_run_at(worker):
    """Return the time of the next run of an interval worker."""
    return worker._worker_session.trigger._deadline


def last_item_of(worker):
    """Return the number of the last item that a drain waits for, or None."""
    return worker._worker_session.trigger._last


def next_loop_of(worker):
    """Return the loop that was given to a start which did not take place."""
    return worker._worker_loop


#: Makes the trigger of a session.
MAKE_TRIGGER = Replaced("_worker_make_trigger")

#: Waits until a session has ended.
WAIT_ENDED = Replaced("_wait_ended")

# -- queues ----------------------------------------------------------------------------------------

#: The lock of a queue of asyncio that workers made safe for threads.
QUEUE_LOCK = Replaced("_worker_lock")

#: The queue of a worker, or None until its first start.
QUEUE = Replaced("_worker_queue")


def items_lock_of(worker):
    """Return the lock of the counts of items."""
    return worker._worker_items_lock


def putters_of(queue):
    """Return the waiters for room in a queue of asyncio."""
    return queue._worker_putters


def joiners_of(queue):
    """Return the waiters for the end of all items of a queue of asyncio."""
    return queue._worker_joiners


def returned_items_of(worker):
    """Return the items that were fetched for a run and not handled."""
    return worker._worker_returned_items


def scheduled_of(worker):
    """Return the items that were put while the worker had no queue."""
    return worker._worker_scheduled
