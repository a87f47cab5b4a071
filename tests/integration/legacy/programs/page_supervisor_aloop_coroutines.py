"""Coroutines in a loop, as tasks and waited for; what one raises reaches the caller of run()."""
import asyncio

from atasker import task_supervisor, wait_completed
from facts import fact, leave

task_supervisor.start()
aloop = task_supervisor.create_aloop('mine')


async def double(x):
    await asyncio.sleep(0.05)
    return x * 2


async def fail():
    raise ValueError('on purpose')


task = aloop.background_task(double(4))
fact('task', (wait_completed(task), task.result, task.status, task.tt, task.is_completed()))
fact('run', aloop.run(double(5)))
try:
    aloop.run(fail())
except ValueError as error:
    fact('error', error)
fact('the loop', aloop.get_loop().is_running())
task_supervisor.stop_aloop('mine')
for call in (aloop.run, aloop.background_task):
    coroutine = double(1)
    try:
        call(coroutine)
    except RuntimeError:
        fact('a loop that is stopped', 'RuntimeError')
        coroutine.close()
leave(task_supervisor)
