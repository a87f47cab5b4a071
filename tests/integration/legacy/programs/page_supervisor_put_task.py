"""Own tasks of threads: with arguments, a delay, and an id of one's own; they say when they are
completed."""
import time

from atasker import TASK_HIGH, TT_THREAD, task_supervisor
from facts import fact, leave, until

task_supervisor.start()
seen = []


def mine(a, b=0, _task_id=None):
    seen.append((a, b))
    task_supervisor.mark_task_completed(task_id=_task_id)


task = task_supervisor.put_task(target=mine, args=(1,), kwargs={'b': 2}, priority=TASK_HIGH,
                                delay=None)
fact('completed', task.completed.wait(10))
fact('seen', seen)
fact('fields', (task.tt == TT_THREAD, task.priority, task.delay, task.worker, task.status))
fact('it is forgotten', task_supervisor.get_task(task.id))
begun = time.perf_counter()
late = task_supervisor.put_task(mine, (3,), delay=0.5)
until(lambda: late.status == 2, 5)
fact('status of a delayed task', late.status)
fact('started', (late.is_started(), late.is_completed()))
late.completed.wait(10)
fact('it was delayed', time.perf_counter() - begun > 0.45)
fact('started', (late.is_started(), late.is_completed()))
chosen = task_supervisor.put_task(mine, (4,), task_id='chosen')
fact('id', chosen.id)
chosen.completed.wait(10)
fact('seen', seen)
leave(task_supervisor)
