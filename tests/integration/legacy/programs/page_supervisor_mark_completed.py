"""A task is declared completed from outside, by itself or by its id; an id that is not known is a
LookupError."""
import threading

from atasker import task_supervisor, wait_completed
from facts import fact, leave

task_supervisor.start()
go_on = threading.Event()


def hold(**kwargs):
    go_on.wait(20)


def assign(_task_id):
    task_supervisor.get_task(_task_id).result = 'assigned'
    task_supervisor.mark_task_completed(task_id=_task_id)
    go_on.wait(20)


by_object, by_id = task_supervisor.put_task(hold), task_supervisor.put_task(hold)
for task in (by_object, by_id):
    task.started.wait(10)
fact('known', task_supervisor.get_task(by_id.id) is by_id)
fact('mark by object', task_supervisor.mark_task_completed(task=by_object))
fact('mark by id', task_supervisor.mark_task_completed(task_id=by_id.id))
for task in (by_object, by_id):
    fact('task', (task.is_completed(), task.status, task.result))
task = task_supervisor.put_task(assign)
fact('a result that was assigned', wait_completed(task))
try:
    task_supervisor.mark_task_completed(task_id='unknown')
except LookupError:
    fact('unknown id', 'LookupError')
go_on.set()
leave(task_supervisor)
