"""Tasks of processes, with a callback."""
import os

import remote
from atasker import TASK_HIGH, TT_MP, background_task, task_supervisor, wait_completed
from facts import fact, leave

if __name__ == '__main__':
    task_supervisor.set_mp_pool(pool_size=2)
    task_supervisor.start()
    called = []
    task = background_task(remote.add, priority=TASK_HIGH, tt=TT_MP, callback=called.append)(1, b=2)
    fact('result', wait_completed(task, timeout=20))
    fact('callback', called)
    fact('fields', (task.tt, task.priority, task.status, task.result))
    fact('another process',
         wait_completed(background_task(remote.pid, tt=TT_MP)(), timeout=20) != os.getpid())
    tasks = [background_task(remote.power, tt=TT_MP)(n) for n in range(5)]
    fact('many', wait_completed(tasks, timeout=20))
    info = task_supervisor.get_info()
    fact('sizes',
         (info.mp_pool_size, info.mp_reserve_normal, info.mp_reserve_high, info.mp_tasks_count))
    fact('_task_id', wait_completed(background_task(remote.options_of, tt=TT_MP)(a=1), timeout=20))
    leave(task_supervisor)
