"""No run of an async job begins after cancel_async_job() has returned."""
import time

from atasker import task_supervisor
from facts import fact, leave

task_supervisor.start()
task_supervisor.create_aloop('jobs')
task_supervisor.create_async_job_scheduler('default', aloop='jobs', default=True)
late = 0
ran = True
for _ in range(20):
    runs = [0]

    async def job():
        runs[0] += 1

    created = task_supervisor.create_async_job(target=job, interval=0.01)
    time.sleep(0.1)
    task_supervisor.cancel_async_job(job=created)
    time.sleep(0.002)           # one that had begun
    count = runs[0]
    time.sleep(0.04)
    late += runs[0] != count
    ran = ran and count > 0
fact('jobs ran', ran)
fact('runs after the cancellation', late)
fact('active', created.active)
leave(task_supervisor)
