"""Functions that return a coroutine, and coroutine functions where they are of little use."""
import functools

from atasker import (TT_COROUTINE, TT_MP, TT_THREAD, FunctionCollection, Locker, TaskCollection,
                     TaskSupervisor, background_task, task_supervisor, wait_completed)
from facts import fact, leave, until

task_supervisor.start()
loop = task_supervisor.create_aloop('loop', default=True)
puts, runs = [], []


async def double(x):
    return x * 2


class Client:

    def ask(self, x):
        return double(x)


class Supervisor(TaskSupervisor):

    def put_task(self, *args, **kwargs):
        puts.append(kwargs)
        return super().put_task(*args, **kwargs)


def result(function, *args, **options):
    return wait_completed(background_task(function, **options)(*args), timeout=10)


fact('a lambda', result(lambda x: double(x), 1, tt=TT_COROUTINE))
fact('a method', result(Client().ask, 2, tt=TT_COROUTINE))
fact('a partial', result(functools.partial(double, 3), tt=TT_COROUTINE))
fact('a coroutine function, of another kind',
     [result(double, 4, tt=tt) for tt in (TT_THREAD, TT_MP, TT_COROUTINE)])
own = Supervisor('own')
own.start()
own.create_aloop('own', default=True)
fact('in a subclass', (result(lambda x: double(x), 5, tt=TT_COROUTINE, supervisor=own), puts))
fact('with a Locker', loop.run(Locker()(double)(6)))
for kind in (FunctionCollection, TaskCollection):
    collection = kind()

    @collection
    async def seven():
        return 7

    fact('in a ' + kind.__name__, [loop.run(coroutine) for coroutine in collection.run().values()])
task_supervisor.create_async_job_scheduler('jobs', default=True)


async def job(number):
    runs.append(number)


task_supervisor.create_async_job(target=lambda: job(8), interval=0.05, number=3)
fact('as a job', until(lambda: runs == [8, 8, 8]))
fact('a Locker with timeout=-1', Locker(timeout=-1)(abs)(-9))
leave()
