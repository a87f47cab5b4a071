"""stop() waits for tasks, ends workers, and can be told how long to wait."""
import time

from atasker import TaskSupervisor, background_task, background_worker
from facts import fact, leave


def supervisor(name):
    made = TaskSupervisor(supervisor_id=name)
    made.start()
    return made


ended = []


def sleep(seconds):
    time.sleep(seconds)
    ended.append(seconds)


first = supervisor('first')
background_task(sleep, supervisor=first)(0.5)
first.stop(wait=True)
fact('a task has ended', ended)

second = supervisor('second')


@background_worker(interval=0.05, supervisor=second)
def worker(**kwargs):
    pass


worker.start()
second.stop(wait=True, stop_schedulers=True)
fact('the worker', (worker.is_active(), worker.is_stopped()))

third = supervisor('third')
third.stop(wait=False)
fact('active', [one.get_info(tt=False).active for one in (first, second, third)])
leave()
