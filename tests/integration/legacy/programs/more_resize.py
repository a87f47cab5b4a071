"""The thread pool is resized while tasks run."""
import threading

from atasker import background_task, task_supervisor
from facts import fact, leave, until

task_supervisor.set_thread_pool(pool_size=2, reserve_normal=0, reserve_high=0, max_size=20)
task_supervisor.start()
task_supervisor.poll_delay = 0.01
go_on = threading.Event()
running = []


@background_task
def hold(number):
    running.append(number)
    go_on.wait(30)


tasks = [hold(number) for number in range(2)]
until(lambda: len(running) == 2)
fact('two run', task_supervisor.get_info(tt=False).thread_tasks_count)
task_supervisor.set_thread_pool(pool_size=4, max_size=20)
tasks += [hold(number) for number in range(2)]
fact('four run', until(lambda: len(running) == 4))
fact('sizes', (task_supervisor.thread_pool_size, task_supervisor.thread_reserve_normal))
task_supervisor.set_thread_pool(pool_size=2, reserve_normal=4, max_size=20)
tasks += [hold(number) for number in range(3)]
fact('six run', until(lambda: len(running) == 6))
fact('the last one waits', sorted(task.status for task in tasks))
go_on.set()
fact('all end', until(lambda: all(task.is_completed() for task in tasks)))
try:
    task_supervisor.set_thread_pool(pool_size=1, min_size=30, max_size=20)
except ValueError:
    fact('min_size above max_size', 'ValueError')
leave()
