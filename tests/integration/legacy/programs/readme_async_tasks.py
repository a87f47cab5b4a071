"""A coroutine as a task of a loop, and one that is waited for."""
import asyncio
import threading

from atasker import background_task, task_supervisor, wait_completed
from facts import fact, leave

task_supervisor.start()
aloop = task_supervisor.create_aloop('mine', default=True)
steps = []


async def calculate(a):
    steps.append(a)
    await asyncio.sleep(0.2)
    steps.append(a * 2)
    return a * 3, threading.current_thread().name


task = background_task(calculate)(1)
fact('result', wait_completed(task))
fact('steps', steps)
fact('fields', (task.tt, task.status, task.priority, task.result[0]))
fact('run', aloop.run(calculate(2)))
fact('is active', aloop.is_active())
fact('name', aloop.name)
fact('default', task_supervisor.default_aloop is aloop)
leave(task_supervisor)
