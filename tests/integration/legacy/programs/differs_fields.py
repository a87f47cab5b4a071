"""Differences that the documentation names: of the fields of tasks, of ids and of types."""
import threading

from atasker import (TASK_HIGH, TT_MP, BackgroundWorker, TaskSupervisor, background_task, g,
                     task_supervisor, wait_completed)
from atasker.supervisor import ALoop, Task
from facts import fact, leave, until


def outcome(call):
    """Return what a call returns, or the name of the builtin exception that it raises."""
    try:
        return call()
    except Exception as error:
        return next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == 'builtins')


async def hold_loop():
    until(go_on.is_set)
    return 5


go_on = threading.Event()
task_supervisor.start()
task_supervisor.create_aloop('loop', default=True)
fact('a process task without a process pool',
     outcome(lambda: wait_completed(background_task(abs, tt=TT_MP)(-1), timeout=10)))
task = background_task(hold_loop, priority=TASK_HIGH)()
until(task.is_started)
fact('priority= and delay= of a coroutine', int(task.priority))
fact('tasks of coroutines in the registry', task.id in task_supervisor.get_tasks())
held = background_task(go_on.wait)(20)
until(held.is_started)
fact('target, args and kwargs of a task', held.args)
fact('the class of constants and numbers',
     [type(number) is int for number in (TASK_HIGH, TT_MP, task.tt, task.status)])


def by_id(task_id):
    return type(task_supervisor.put_task(go_on.wait, (20,), task_id=task_id).id).__name__


fact('task_id= of put_task', [outcome(lambda: by_id(given)) for given in ('own', 5, 'own')])
late = background_task(abs, delay=1)(-1)
until(lambda: late.status == 2)
fact('time_started of a task that is delayed', late.time_started is not None)
fact('Task() and ALoop(), called by the program',
     [type(outcome(call)).__name__ for call in (lambda: Task(1, target=abs), ALoop)])
fact('the name of a worker that was given none', len(BackgroundWorker().name))
fact('the thread of a loop', task_supervisor.get_aloop('loop').thread.daemon)
fact('the name of a method in g', outcome(lambda: g.set('get', 1)))
go_on.set()
leave()
