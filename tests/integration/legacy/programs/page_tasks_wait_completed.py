"""Waiting for one task, for many, and not long enough."""
import threading
import time

from atasker import background_task, task_supervisor, wait_completed
from facts import fact, leave

task_supervisor.start()
go_on = threading.Event()


@background_task
def sleep(seconds):
    time.sleep(seconds)
    return seconds


tasks = [sleep(0.3), sleep(0.1), sleep(0.2)]
fact('a list', wait_completed(tasks))
fact('a tuple', wait_completed(tuple(tasks)))
fact('one', wait_completed(tasks[0]))
fact('none', wait_completed([]))
held = background_task(go_on.wait)(20)
for unfinished in (held, [tasks[0], held]):
    try:
        wait_completed(unfinished, timeout=0.2)
    except TimeoutError:
        fact('timeout', 'TimeoutError')
go_on.set()
fact('later', wait_completed(held, timeout=10))
fact('a nested task', wait_completed(background_task(lambda: wait_completed(sleep(0.05)))()))
leave(task_supervisor)
