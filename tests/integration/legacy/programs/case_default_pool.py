"""The default pool: five threads for each CPU, and reserves of five and five."""
import os
import threading

from atasker import TASK_HIGH, TASK_LOW, background_task, task_supervisor
from facts import fact, leave, until

task_supervisor.start()
info = task_supervisor.get_info(tt=False)
fact('five for each CPU', info.thread_pool_size == 5 * os.cpu_count())
fact('reserves', (info.thread_reserve_normal, info.thread_reserve_high))
up = []
go_on = threading.Event()


@background_task
def listen(number):
    up.append(number)
    go_on.wait(30)


size = info.thread_pool_size
for number in range(size + 2):
    listen(number)
fact('more than the pool for tasks of normal priority', until(lambda: len(up) == size + 2))
go_on.set()
leave(task_supervisor)
