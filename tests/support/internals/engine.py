"""Tasks, futures, run queues, lanes, the timer and wait groups."""
from atasker_like import Lane

from .replaced import Replaced

# -- tasks and their functions ---------------------------------------------------------------------


def spec_of(handle):
    """Return the spec of a task, or of a decorated function."""
    return handle._spec


def function_of(bound):
    """Return the function below a decorated one."""
    return bound._function


def start_of(bound):
    """Return what a call of a decorated function calls to submit."""
    return bound._start


def leave_own_names(function):
    """Leave attributes on a function by names that decorated functions have, too."""
    function.map = function._spec = function._function = function.queue = None


def start_many(bound, arguments):
    """Submit calls of a decorated function to its pool, in one step."""
    spec = spec_of(bound)
    return spec.pool.start_many(spec, arguments)


def number_of(task):
    """Return the number of a task in the registry of its pool."""
    return task._number


def set_number(task, number):
    task._number = number


def queued_at(task):
    """Return the time of the submission, by the clock of the engine."""
    return task._queued


def set_queued_at(task, seconds):
    task._queued = seconds


def outcome_of(task):
    """Return the value of a task that has ended, or its Failure."""
    return task._outcome


def context_of(task):
    return task._context


def extra_fields_of(task):
    """Return the fields that few tasks have, or None."""
    return task._extra


def make_extra_fields(task):
    """Return these fields; they are made if the task has none."""
    return task._extra_fields()


def advance(task, status, now):
    """Change the status of a task, as the engine does it with the lock held."""
    return task._advance(status, now)


def task_waiters_of(task):
    """Return the waiters of a task, or None if nobody has waited."""
    return task._waiters


def add_waiter(task, waiter):
    return task._add_waiter(waiter)


#: Waits until a task has ended, or a deadline.
END = Replaced("_end")

#: Called by the timer for a task whose time is over, with the deadline.
EXPIRED = Replaced("_expired")

#: From the clock of the engine to that of the wall.
WALL_OFFSET = Replaced("_wall_offset")

#: The warnings that were given already, in several modules.
WARNED = Replaced("_warned")

# -- futures of tasks ------------------------------------------------------------------------------


def future_state_of(future):
    """Return the state, in the words of ``concurrent.futures``."""
    return future._state


def future_fields_of(future):
    """Return the condition and the waiters that ``concurrent.futures`` uses."""
    return future._condition, future._waiters


def copy_outcome(future):
    """Settle the future with the outcome of its task, which has ended."""
    return future._copy_outcome()


def failures():
    """Return the failures that no code has looked at."""
    from atasker_like.engine import result

    return result._failures


# -- run queues and lanes --------------------------------------------------------------------------


def levels_of(queue):
    """Return the waiting tasks of a run queue by priority, or those of a lane by order."""
    return queue._levels


def stale_of(lane):
    """Return how many withdrawn tasks a lane still holds."""
    return lane._stale


def set_paused(lane, paused):
    """Pause or resume a lane without the start of its tasks."""
    lane._set_paused(paused)


class HesitatingLane(Lane):
    """A lane that calls a method before it is paused or resumed, with the lock held."""

    def before_change(self, paused):
        pass

    def _set_paused(self, paused):
        self.before_change(paused)
        super()._set_paused(paused)


# -- the timer -------------------------------------------------------------------------------------


def heap_of(timer):
    """Return the entries of a timer that its thread has seen."""
    return timer._heap


def incoming_of(timer):
    """Return the entries that its thread has not seen yet."""
    return timer._incoming


def sleeps_until(timer):
    return timer._until


def timer_thread_of(timer):
    return timer._thread


def wake_lock_of(timer):
    """Return the lock that the thread of a timer sleeps on."""
    return timer._wake


#: The lock of the entries of a timer.
HEAP_LOCK = Replaced("_heap_lock")

# -- wait groups -----------------------------------------------------------------------------------


def group_waiters_of(group):
    return group._waiters


def add_call_waiter(group, call, waiter):
    return group._add_call_waiter(call, waiter)


def remove_call_waiter(group, call, waiter):
    return group._remove_call_waiter(call, waiter)


# -- loops -----------------------------------------------------------------------------------------

def posts_of(mailbox):
    """Return the calls that a loop has not taken from its mailbox."""
    return mailbox._posts


def running_of(aloop):
    """Return the loop of an ``ALoop`` that runs, or None."""
    return aloop._running


def starting_of(aloop):
    """Return the start of an ``ALoop`` that is under way, or None."""
    return aloop._starting


def running_loop_class():
    """Return the class of what running_of() returns."""
    from atasker_like import loops

    return loops._RunningLoop


def completion_queue_class():
    """Return the class of the queue that tasks enter as they end."""
    from atasker_like import waiting

    return waiting._CompletionQueue


def hesitating_completion_queue(hesitating):
    """Return a subclass of it that calls a function before it touches what has ended, and what is
    waited for."""
    class Hesitating(completion_queue_class()):
        _ended = hesitating("ended")
        _waiting = hesitating("waiting")

    return Hesitating
