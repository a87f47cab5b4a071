"""Tasks that submit tasks, the thread pool used directly, and threads beside the pool."""
import threading
import time

from atasker import background_task, task_supervisor, wait_completed
from facts import fact, leave, until

early = task_supervisor.thread_pool.submit(pow, 2, 5)
fact('before the start', early.result(10))
task_supervisor.set_thread_pool(pool_size=10)
task_supervisor.start()
task_supervisor.poll_delay = 0.01


@background_task
def fibonacci(n):
    if n < 2:
        return n
    return sum(wait_completed([fibonacci(n - 1), fibonacci(n - 2)]))


fact('fibonacci', wait_completed(fibonacci(4)))
futures = [task_supervisor.thread_pool.submit(pow, n, 2) for n in range(4)]
fact('futures', [future.result(10) for future in futures])
failed = task_supervisor.thread_pool.submit(int, 'five')
fact('error', type(failed.exception(10)).__name__)
spawned = []
task_supervisor.spawn_thread(spawned.append, args=(threading.current_thread().name,))
fact('spawned', until(lambda: spawned))
future = task_supervisor.spawn_thread(target=dict, kwargs={'a': 1})
fact('its result', future.result(10))


def fails():
    raise ValueError('on purpose')


task = background_task(fails)()
fact('a task that fails completes', task.completed.wait(10))
fact('its result', (task.result, task.status))
begun = time.perf_counter()
fact('many', sum(wait_completed([background_task(abs)(-n) for n in range(10)])))
leave(task_supervisor)
