"""What programs reach for at the edge: loggers of modules, a lock by hand, an id that is None."""
import atasker.supervisor
import atasker.threads
import atasker.workers
from atasker import Locker, task_supervisor
from facts import fact, leave

task_supervisor.start()
fact('loggers', [module.logger.name
                 for module in (atasker.supervisor, atasker.threads, atasker.workers)])
lock = Locker(timeout=1)
for round in range(2):
    lock.__enter__()
    lock.__exit__()
fact('a lock that was released by hand is free', lock.lock.acquire(False))
fact('get_task() of what is no id', [task_supervisor.get_task(value) for value in (None, 5)])
leave(task_supervisor)
