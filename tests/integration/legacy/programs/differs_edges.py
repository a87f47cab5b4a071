"""Differences that the documentation names: of names, waits and attributes at the edge."""
import asyncio
import logging
import threading

from atasker import TaskSupervisor, background_task, background_worker, task_supervisor
from atasker import wait_completed
from facts import fact, leave, until

logging.getLogger('atasker').setLevel(100)


def error_of(call):
    """Return the name of the builtin exception that a call raises, or None."""
    try:
        call()
    except Exception as error:
        return next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == 'builtins')


def returns(call, seconds=1):
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


@background_worker(q=True)
def queue_worker(item, **kwargs):
    handled.append(item)


@background_worker
def plain_worker(**kwargs):
    go_on.wait(20)


async def job():
    pass


handled = []
go_on = threading.Event()
task_supervisor.start()
task_supervisor.create_aloop('default', default=True)

fact('wait_completed() of a generator', wait_completed(background_task(abs)(-n) for n in range(2)))
fact('items and triggers before the first start of a worker',
     error_of(lambda: queue_worker.put_threadsafe(0)))
fact('wait_until_stop() of a worker that has not been started',
     returns(plain_worker.wait_until_stop))
queue_worker.start()
queue_worker.put_threadsafe(None)
until(queue_worker.is_stopped)
fact('None as an item of a queue worker', queue_worker.start())
fact('a loop or job scheduler that does not exist, as an argument',
     [error_of(lambda: background_task(job, loop='unknown')()),
      error_of(lambda: task_supervisor.create_async_job_scheduler('jobs', aloop='unknown')),
      error_of(lambda: task_supervisor.create_async_job('unknown', target=job, interval=1))])
fact('attributes of get_info() without a value',
     hasattr(task_supervisor.get_info(), 'mp_pool_size'))
fact('names of pool threads',
     wait_completed(background_task(lambda: threading.current_thread().name)()).split('_')[2])
single = TaskSupervisor(supervisor_id='single')
single.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0)
single.start()
worker = background_worker(lambda **kwargs: False, supervisor=single)
worker.start()
until(lambda: not worker.is_active())
fact('the slot of a plain worker whose function returned False',
     background_task(abs, supervisor=single)(-1).completed.wait(1))
own_loop = single.create_aloop('own')
own_loop.background_task(asyncio.sleep(0.3)).started.wait(5)
fact('stop_aloop() while coroutines run', returns(lambda: single.stop_aloop('own'), 3))
full = TaskSupervisor(supervisor_id='full')
full.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0)
full.start()
background_task(go_on.wait, supervisor=full)(20).started.wait(5)
plain_worker.supervisor = full
fact('start() of a plain worker', returns(plain_worker.start))
leave()
