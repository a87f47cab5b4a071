"""The initializers of queues and executors that are being called, and their waits.

An initializer must not wait for a task of its own queue. A thread that starts the task calls the
initializer first, which would wait, too: each wait would begin one more thread. An initializer that
submits a task and fails is alike: the task calls the initializer, which submits one more task.
"""
from __future__ import annotations

from _contextvars import ContextVar
from weakref import WeakKeyDictionary

from .._core_errors import WaitDeadlockError
from .._inspect import described
from .current import current

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, MutableMapping, Sequence


#: The lanes of the queues whose initializers are being called, by the task, or the asyncio task,
#: that makes the call. Each operation is a single step, so no lock is needed.
initializing: dict[Any, Any] = {}

#: The lane of the queue whose initializer runs here, or has submitted the task that runs here.
_within: ContextVar[Any] = ContextVar("atasker_like.initializer", default=None)

#: Why initializers are called no more, by lane. Each operation is a single step.
_refused: MutableMapping[Any, str] = WeakKeyDictionary()


def call_initializer(initializer: Callable[..., Any], arguments: Sequence[Any]) -> None:
    """Call the initializer of a queue or an executor, in a task of it. (no lock)

    Meanwhile, a wait of this thread for a task of the same lane raises an error. After such an
    error, and after one in a task that the initializer itself has submitted, it is called no more.

    :raises WaitDeadlockError: the initializer is called no more.
    """
    pool_thread = current.pool_thread
    task = None if pool_thread is None else pool_thread.task
    if task is None:            # in a pool process
        initializer(*arguments)
        return
    lane = task._spec.lane
    why = _refused.get(lane)
    if why is not None:
        raise WaitDeadlockError(why)
    outer = _within.get()
    token = _within.set(lane)
    try:
        initializing[task] = lane
        initializer(*arguments)
    except WaitDeadlockError as error:
        _refused[lane] = str(error)
        raise
    except BaseException as error:
        if outer is lane:
            _refused[lane] = ("an initializer submits tasks to its own queue or executor, and "
                              "raises, so that each task would submit one more; call the function "
                              "in the initializer, or submit it to another queue. In task "
                              f"{task.name} ({task.short_id}), it raised {described(error)}")
        raise
    finally:
        initializing.pop(task, None)
        _within.reset(token)


def check_initializer(caller: Any, tasks: Sequence[Any]) -> None:
    """Refuse a wait of an initializer for tasks of its own queue.

    :param caller: the task, or the asyncio task, that waits; or None.
    :raises WaitDeadlockError: with the name of the task that is waited for.
    """
    lane = None if caller is None else initializing.get(caller)
    if lane is None:
        return
    for task in tasks:
        if task._spec.lane is lane and not task.done():
            raise WaitDeadlockError(
                f"an initializer waits for task {task.name} ({task.short_id}) of its own queue or "
                "executor, and the task cannot run before the initializer has ended; call the "
                "function in the initializer, or submit it to another queue")


def check_async_initializer(tasks: Sequence[Any]) -> None:
    """Do the same for a wait in a coroutine."""
    from asyncio import current_task

    check_initializer(current_task(), tasks)
    pool_thread = current.pool_thread
    if pool_thread is not None:         # the initializer may run a loop of its own
        check_initializer(pool_thread.task, tasks)
