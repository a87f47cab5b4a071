"""A decorated function and one that is decorated by hand; the result of a task in two ways."""
import threading

from atasker import TASK_HIGH, TASK_LOW, background_task, task_supervisor, wait_completed
from facts import fact, leave

task_supervisor.start()


@background_task
def mine():
    """What it does."""
    return 777, threading.current_thread() is threading.main_thread()


task = mine()
result = wait_completed(task)
fact('result', result)
fact('task.result', task.result)
fact('name and text of the function', (mine.__name__, mine.__doc__))
fact('class', type(task).__name__)


def by_hand(a, *, b=2):
    return a, b


for priority in (TASK_LOW, TASK_HIGH):
    task = background_task(by_hand, priority=priority)(1, b=3)
    fact('by hand', (wait_completed(task), task.priority, task.tt, task.status))
leave(task_supervisor)
