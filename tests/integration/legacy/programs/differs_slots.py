"""Differences that the documentation names: of slots."""
import threading
import time

from atasker import (TASK_CRITICAL, TASK_HIGH, TASK_LOW, TaskSupervisor, background_task,
                     wait_completed)
from facts import fact, leave, until


def supervisor(name, **sizes):
    made = TaskSupervisor(supervisor_id=name)
    made.set_thread_pool(**dict({'pool_size': 1, 'reserve_normal': 0, 'reserve_high': 0}, **sizes))
    made.start()
    made.poll_delay = 0.01
    return made


go_on = threading.Event()
first = supervisor('first')
background_task(go_on.wait, supervisor=first, delay=0.5)(20)
fact('a task that is delayed', background_task(abs, supervisor=first)(-1).completed.wait(0.3))

second = supervisor('second')
background_task(go_on.wait, supervisor=second)(20).started.wait(5)
task = background_task(abs, supervisor=second, priority=TASK_CRITICAL)(-1)
fact('TASK_CRITICAL', task.completed.wait(2))

third = supervisor('third')


def children():
    return wait_completed([background_task(abs, supervisor=third)(-n) for n in range(2)])


fact('a task that waits for its own children',
     background_task(children, supervisor=third)().completed.wait(3))

fourth = supervisor('fourth', max_size=10)
tasks = [background_task(go_on.wait, supervisor=fourth)(20) for _ in range(3)]
until(tasks[0].is_started)
time.sleep(0.5)                 # until the second one waits at the head of the line
fourth.set_thread_pool(pool_size=3, max_size=10)
fact('a pool that is enlarged while tasks wait',
     until(lambda: all(task.is_started() for task in tasks), 2))
leave()
