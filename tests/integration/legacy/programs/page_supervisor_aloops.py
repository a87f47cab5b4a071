"""Loops in threads of their own: made, started later, found, stopped."""
import threading

from atasker import background_task, background_worker, task_supervisor, wait_completed
from facts import fact, leave, until

task_supervisor.start()
first = task_supervisor.create_aloop('first', default=True, daemon=True)
second = task_supervisor.create_aloop('second', start=False)
fact('active', (first.is_active(), second.is_active()))
fact('loop of one that is not active', second.get_loop())
fact('start_aloop', task_supervisor.start_aloop('second'))
fact('start_aloop of none', task_supervisor.start_aloop('third'))
fact('active', (first.is_active(), second.is_active()))
fact('a name that is taken', task_supervisor.create_aloop('first'))
fact('by name', task_supervisor.get_aloop('second') is second)
fact('without a name', task_supervisor.get_aloop() is first)
fact('without a default', task_supervisor.get_aloop(default=False))
fact('unknown', task_supervisor.get_aloop('third'))
fact('names', sorted(task_supervisor.get_aloops()))


async def where():
    return threading.current_thread().name


fact('in the default loop', wait_completed(background_task(where)()))
for loop in ('second', second):
    fact('in the second', wait_completed(background_task(where, loop=loop)()))
seen = []


@background_worker(loop='second')
async def worker(**kwargs):
    seen.append(threading.current_thread().name)


worker.start()
until(lambda: seen)
worker.stop()
worker.start(_loop='first')
until(lambda: seen[-1] != seen[0])
worker.stop()
fact('workers', (seen[0], seen[-1]))
task_supervisor.set_default_aloop(second)
fact('another default', wait_completed(background_task(where)()))
fact('stop_aloop', task_supervisor.stop_aloop('first'))
fact('stop_aloop of none', task_supervisor.stop_aloop('third'))
fact('active', (first.is_active(), second.is_active()))
leave(task_supervisor)
