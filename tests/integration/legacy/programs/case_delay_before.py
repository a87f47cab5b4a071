"""delay_before alone, interval=0, numbers that print, and tasks in a priority queue."""
import queue
import time

from atasker import (TASK_HIGH, TASK_LOW, TASK_NORMAL, TT_MP, background_task, background_worker,
                     task_supervisor)
from atasker.supervisor import TASK_STATUS_CANCELED, TASK_STATUS_COMPLETED
from facts import fact, leave, until

task_supervisor.start()
task_supervisor.create_aloop('default', default=True)
runs = []


@background_worker(delay_before=0.2)
def delayed(**kwargs):
    runs.append(time.perf_counter())


begun = time.perf_counter()
delayed.start()
until(lambda: len(runs) >= 2)
fact('the first run comes after delay_before', 0.15 < runs[0] - begun < 0.9)
fact('the second comes after a second or more', 0.9 < runs[1] - runs[0] < 2.4)
fact('delay, delay_before', (delayed.delay, delayed.delay_before))
delayed.stop()
count = []


@background_worker(interval=0)
def ceaseless(**kwargs):
    count.append(1)
    time.sleep(0.01)


ceaseless.start()
fact('interval=0 runs again and again', until(lambda: len(count) > 4))
ceaseless.stop()
fact('numbers', '%s %s %s %d' % (TASK_HIGH, TT_MP, TASK_STATUS_COMPLETED, TASK_STATUS_CANCELED))
fact('format', '{} {:>5}'.format(TASK_LOW, TASK_NORMAL))
fact('list', [TASK_LOW, TASK_STATUS_CANCELED])
tasks = queue.PriorityQueue()
for priority in (TASK_LOW, TASK_HIGH, TASK_NORMAL):
    tasks.put(background_task(time.sleep, priority=priority)(0.01))
fact('order of tasks', [tasks.get().priority for _ in range(3)])
leave(task_supervisor)
