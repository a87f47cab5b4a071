"""Light periodic coroutines."""
import asyncio
import threading
import time

from atasker import task_supervisor
from facts import fact, leave, until

task_supervisor.start()
task_supervisor.create_aloop('jobs')
scheduler = task_supervisor.create_async_job_scheduler('default', aloop='jobs', default=True)
fact('a name that is taken', task_supervisor.create_async_job_scheduler('default', aloop='jobs'))
seen = []


async def job(name, extra=None):
    seen.append((name, extra, threading.current_thread().name))


def count(name):
    return len([one for one in seen if one[0] == name])


first = task_supervisor.create_async_job(target=job, args=('first',), kwargs={'extra': 1},
                                         interval=0.05)
fact('it runs again and again', until(lambda: count('first') > 3))
fact('seen', seen[0])
fact('active', first.active)
task_supervisor.cancel_async_job(job=first)
fact('active', first.active)
second = task_supervisor.create_async_job(scheduler='default', target=job, args=('second',),
                                          interval=0.02, number=3)
fact('number', until(lambda: count('second') == 3))
time.sleep(0.2)
fact('and no more', count('second'))
begun = time.perf_counter()
third = task_supervisor.create_async_job(scheduler=scheduler, target=job, args=('third',),
                                         timer=0.4, interval=10)
until(lambda: count('third'))
fact('timer', 0.35 < time.perf_counter() - begun < 2)
third.cancel()
fact('ids', len({first.id, second.id, third.id}))
fact('names', sorted(task_supervisor.async_job_schedulers))
fact('default', task_supervisor.default_async_job_scheduler is scheduler)
other = task_supervisor.create_async_job_scheduler('other', aloop='jobs')
task_supervisor.set_default_async_job_scheduler(other)
fact('another default', task_supervisor.default_async_job_scheduler is other)


async def create():
    return await other.create(job, args=('fourth',), interval=0.02)


fourth = task_supervisor.get_aloop('jobs').run(create())
fact('made in a coroutine', until(lambda: count('fourth') > 1))
other.cancel(fourth)
fact('active', fourth.active)
leave()
