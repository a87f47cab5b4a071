"""Differences that the documentation names: of jobs, pools and arguments."""
import logging
import os
from concurrent.futures import ThreadPoolExecutor

import remote
from atasker import TT_MP, TaskSupervisor, background_task, task_supervisor, wait_completed
from facts import fact, leave, until

logging.getLogger('atasker').setLevel(100)


def outcome(call):
    """Return what a call returns, or the name of what it raises."""
    try:
        return call()
    except Exception as error:
        return next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == 'builtins')


async def job():
    runs.append(1)


if __name__ == '__main__':
    runs = []
    task_supervisor.set_mp_pool(pool_size=1)
    task_supervisor.start()
    fact('the parent of a pool process',
         wait_completed(background_task(remote.parent, tt=TT_MP)(), timeout=10) == os.getpid())
    fact('put_task(None)', outcome(lambda: task_supervisor.put_task(None)))
    fact('fields of timeout_message', outcome(lambda: bool(task_supervisor.timeout_message.format(
        supervisor_id='s', task_id='t', target=abs, time_spent=5.5))))
    task_supervisor.create_aloop('loop', default=True)
    scheduler = task_supervisor.create_async_job_scheduler('jobs', default=True)
    done = task_supervisor.create_async_job(target=job, interval=0.01, number=1)
    until(lambda: runs)
    fact('job.active after the last of number= runs', until(lambda: not done.active, 1))
    scheduler.stop()
    fact('a job on a job scheduler that is stopped',
         outcome(lambda: scheduler.create_threadsafe(target=job, interval=1) is not None))
    other = TaskSupervisor('other')
    outcome(lambda: setattr(other, 'thread_pool', ThreadPoolExecutor(1, 'mine')))
    other.start()
    fact('thread_pool = an executor',
         wait_completed(background_task(remote.thread_name, supervisor=other)(), timeout=10))
    leave()
