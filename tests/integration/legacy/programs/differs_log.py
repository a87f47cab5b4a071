"""Differences that the documentation names: of the log, and of what depends on time and sizes."""
import logging
import os
import threading

from atasker import TaskSupervisor, background_task, task_supervisor, wait_completed
from facts import fact, leave, until

levels = []


class Keep(logging.Handler):

    def emit(self, record):
        levels.append(record.levelname)


logging.getLogger('asyncio').setLevel(100)
logger = logging.getLogger('atasker')
logger.addHandler(Keep())
logger.setLevel(logging.INFO)
logger.propagate = False
task_supervisor.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0)
task_supervisor.start()
fact('log messages', until(lambda: 'INFO' in levels, 1))
logger.setLevel(100)

go_on, called = threading.Event(), []
task_supervisor.timeout_warning = 0.1
task_supervisor.timeout_warning_func = called.append
held = background_task(go_on.wait)(20)
until(held.is_started)
late = background_task(abs)(-1)
threading.Timer(0.3, go_on.set).start()
wait_completed(late, timeout=10)
fact('a task that starts later than timeout_warning', until(lambda: called, 1))

go_on.clear()
sizes = {'pool_size': 10, 'reserve_normal': 0, 'reserve_high': 0}
for name, changes, held in (('max_size of set_thread_pool', {'max_size': 2}, 5),
                            ('pool_size=0', {'pool_size': 0}, 5 * os.cpu_count() + 2)):
    supervisor = TaskSupervisor(name)
    supervisor.set_thread_pool(**dict(sizes, **changes))
    supervisor.start()
    running = []
    tasks = [background_task(lambda: (running.append(1), go_on.wait(20)), supervisor=supervisor)()
             for _ in range(held)]
    fact(name, until(lambda: len(running) == held, 1))

sized = TaskSupervisor('sized')
sized.set_mp_pool(pool_size=1, reserve_normal=1)
sized.set_mp_pool(pool_size=1)
fact('set_mp_pool() again', sized.mp_reserve_normal)
leave()
