"""A task by its id, as long as it is alive, and its fields."""
import threading

from atasker import TASK_HIGH, background_task, task_supervisor, wait_completed
from facts import fact, leave

task_supervisor.start()
go_on = threading.Event()


@background_task
def mine():
    go_on.wait(20)
    return 5


task = mine()
fact('id', isinstance(task.id, str))
found = task_supervisor.get_task(task.id)
fact('found', found is task)
task.started.wait(10)
fact('fields', (found.tt, found.priority, found.result, found.status, found.delay, found.worker))
fact('in the registry',
     (list(task_supervisor.get_tasks()) == [task.id],
      task_supervisor.get_info().tasks[task.id] is task))
info = task_supervisor.get_info()
fact('running', (info.thread_tasks == [task.id], info.thread_tasks_count))
fact('of one kind', (len(task_supervisor.get_tasks(tt=1)), len(task_supervisor.get_tasks(tt=2))))
go_on.set()
fact('result', wait_completed(task))
fact('found', task_supervisor.get_task(task.id))
fact('status', task.status)
fact('order', (task < background_task(go_on.wait, priority=TASK_HIGH)(1), sorted([3, 1])))
leave(task_supervisor)
