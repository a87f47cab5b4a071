"""Workers, tasks and loops of a supervisor beside the process-wide one."""
import threading

from atasker import (TaskCollection, TaskSupervisor, background_task, background_worker,
                     task_supervisor, wait_completed)
from facts import fact, leave, until

second = TaskSupervisor(supervisor_id='second')
for supervisor in (task_supervisor, second):
    supervisor.start()
    supervisor.create_aloop('mine', default=True)
seen = []


@background_worker(interval=0.05, supervisor=second)
async def worker(**kwargs):
    seen.append(threading.current_thread().name)


async def where():
    return threading.current_thread().name


worker.start()
until(lambda: seen)
fact('worker', seen[0])
fact('registered', (len(second.get_schedulers()), len(task_supervisor.get_schedulers())))
fact('coroutines', [wait_completed(background_task(where, supervisor=supervisor)())
                    for supervisor in (task_supervisor, second)])
go_on = threading.Event()
held = background_task(go_on.wait, supervisor=second)(20)
held.started.wait(10)
fact('known there', (second.get_task(held.id) is held, task_supervisor.get_task(held.id)))
go_on.set()
checks = TaskCollection(supervisor=second)
checks.append(dict)
fact('collection', checks.run())
second.stop(wait=5)
fact('one is stopped',
     (second.get_info(tt=False).active, task_supervisor.get_info(tt=False).active))
fact('worker', worker.is_active())
fact('task', wait_completed(background_task(abs)(-1)))
leave(task_supervisor)
