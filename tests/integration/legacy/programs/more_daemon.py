"""A supervisor that is a daemon ends with the main thread."""
import time

from atasker import background_worker, task_supervisor
from facts import fact

task_supervisor.daemon = True
fact('daemon', task_supervisor.daemon)


@background_worker(interval=0.05)
async def worker(**kwargs):
    pass


task_supervisor.start()
task_supervisor.create_aloop('mine', daemon=True, default=True)
worker.start()
time.sleep(0.2)
fact('main thread', 'ends')
worker.stop()
task_supervisor.stop_aloop('mine')
