"""A task that runs longer than the stop waits for it still comes to its end."""
import time

from atasker import background_task, task_supervisor
from facts import fact, until


@background_task
def job():
    time.sleep(1)
    fact('the job', 'done')


task_supervisor.start()
task = job()
until(task.is_started)
task_supervisor.stop(wait=0.2)
