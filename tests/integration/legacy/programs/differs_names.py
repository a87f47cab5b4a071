"""Differences that the documentation names: of module variables, classes of errors and objects."""
import logging
import time

import atasker.supervisor
from atasker import (TaskSupervisor, background_task, background_worker, task_supervisor,
                     wait_completed)
from facts import fact, leave, until

logging.getLogger('atasker').setLevel(100)


class Meter:

    @background_task
    def read(self):
        return 1


@background_worker(interval=60)
def worker(**kwargs):
    pass


def raises(call):
    try:
        call()
    except Exception as error:
        return type(error).__name__


def plain():
    runs.append(1)


async def job():
    later.append(1)


runs, later = [], []
atasker.supervisor.default_poll_delay = 0.03
fact('module variables such as atasker.supervisor.default_poll_delay', TaskSupervisor().poll_delay)
fact('min_size of set_thread_pool above its slots',
     raises(lambda: TaskSupervisor().set_thread_pool(pool_size=2, min_size=99)))
task_supervisor.start()
fact('a decorated function', hasattr(Meter().read, '__self__'))
fact('callable() of a worker', callable(worker))
fact('type(error).__name__ of an error of the library',
     raises(lambda: wait_completed(background_task(time.sleep)(2), timeout=0.1)))
fact('task.args of put_task(f, args=[...])', task_supervisor.put_task(time.sleep, args=[1]).args)
task_supervisor.create_aloop('loop', default=True)
task_supervisor.create_async_job_scheduler('jobs', default=True)
task_supervisor.create_async_job(target=plain, interval=0.05)
until(lambda: runs)
time.sleep(0.1)
task_supervisor.create_async_job(target=job, interval=0.05)
fact('an async job whose target is a plain function', until(lambda: later, 1))
leave()
