"""Differences that the documentation names: of tasks."""
import threading
import time

import remote
from atasker import (TASK_CRITICAL, TASK_HIGH, TASK_LOW, TT_MP, background_task, co_mp_apply,
                     task_supervisor,
                     wait_completed)
from facts import fact, leave, until


@background_task
def fails():
    raise ValueError('on purpose')


@background_task
def children():
    return wait_completed([background_task(abs)(-n) for n in range(2)])


@background_task
def itself():
    until(lambda: own)
    own[0].completed.wait(20) if not hasattr(own[0], 'value') else own[0].value()


def ends(task, seconds=2):
    return task.completed.wait(seconds)


if __name__ == '__main__':
    own = []
    go_on = threading.Event()
    task_supervisor.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0)
    task_supervisor.set_mp_pool(pool_size=2)
    task_supervisor.start()
    task = fails()
    ends(task)
    fact('an exception in a task', hasattr(task, 'exception') and repr(task.exception()))
    fact('timeouts, retries, cancelling, limits', hasattr(task, 'cancel'))
    begun = time.perf_counter()
    wait_completed([background_task(time.sleep)(0.001) for _ in range(30)])
    fact('a full pool', time.perf_counter() - begun < 1.5)
    task = background_task(time.sleep)(0.5)
    try:
        fact('wait_completed(tasks, timeout=0)', wait_completed(task, timeout=0))
    except TimeoutError:
        fact('wait_completed(tasks, timeout=0)', 'TimeoutError')
    ends(task)
    task = background_task(abs)(-1)
    ends(task)
    fact('arguments and function of a task that has ended', task.target is not None)
    fact('task.id', '-' in task.id)
    fact('task.started and task.completed', type(task.completed) is threading.Event)
    try:
        task.priority = 5
        fact('attributes of a task', 'assigned')
    except AttributeError:
        fact('attributes of a task', 'AttributeError')
    fact('methods such as worker.stop() and job.cancel()', task.mark_started())
    task = background_task(remote.power, tt=TT_MP)
    aloop = task_supervisor.create_aloop('mine')
    fact('co_mp_apply(f, args=..., kwargs=...)',
         aloop.run(co_mp_apply(remote.later_arguments, args=(1, 2), kwargs={'a': 3})))
    task = background_task(remote.die, tt=TT_MP)()
    fact('a pool process that dies', ends(task, 4))
    own.append(itself())
    fact('tasks that wait for themselves or for each other', ends(own[0]))
    leave()
