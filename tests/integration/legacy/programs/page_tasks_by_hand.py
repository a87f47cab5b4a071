"""A function without a decorator, with a name, a priority and a delay."""
import time

from atasker import TASK_LOW, TASK_NORMAL, background_task, task_supervisor, wait_completed
from facts import fact, leave

task_supervisor.start()


def mine():
    return time.perf_counter()


fact('priorities', [background_task(mine, name='mine', priority=priority)().priority
                    for priority in (TASK_LOW, TASK_NORMAL)])
begun = time.perf_counter()
task = background_task(mine, delay=0.4)()
fact('delay', task.delay)
fact('it is delayed', wait_completed(task) - begun > 0.35)
fact('times', (task.time_queued <= task.time_started, abs(time.time() - task.time_queued) < 5))
leave(task_supervisor)
