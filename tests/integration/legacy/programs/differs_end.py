"""Differences that the documentation names: of the end."""
import threading
import time

from atasker import TaskSupervisor, background_task, background_worker, task_supervisor
from facts import fact, leave, until


def supervisor(name):
    made = TaskSupervisor(supervisor_id=name)
    made.start()
    return made


first = supervisor('first')
task = background_task(time.sleep, supervisor=first)(2)
until(task.is_started)
begun = time.perf_counter()
first.stop(wait=False)
fact('stop(wait=False)', time.perf_counter() - begun < 1)

timed = supervisor('timed')
task = background_task(time.sleep, supervisor=timed)(2)
until(task.is_started)
begun = time.perf_counter()
timed.stop(wait=0.1)
fact('stop(wait=0.1) while a task runs', time.perf_counter() - begun < 1)

second = supervisor('second')
second.stop(wait=3)
try:
    fact('after stop()', background_task(abs, supervisor=second)(-1))
except RuntimeError:
    fact('after stop()', 'RuntimeError')

third = supervisor('third')
seen = []
background_task(seen.append, supervisor=third, delay=1)(1)
third.stop(wait=5)
fact('stop() while tasks are delayed', seen)

fourth = supervisor('fourth')
fourth.stop(wait=3)
fourth.start()
task = background_task(abs, supervisor=fourth)(-1)
fact('start() after stop()', task is not None and task.completed.wait(2))
leave()
