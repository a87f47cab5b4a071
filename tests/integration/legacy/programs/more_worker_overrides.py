"""The values that start() gets for the worker reach the function, too; a priority may change."""
import time

from atasker import TASK_HIGH, background_worker, task_supervisor
from facts import fact, leave, until

seen = []
task_supervisor.start()


@background_worker(interval=5)
def takes_any(**kwargs):
    seen.append(sorted(kwargs))


@background_worker(interval=5)
def names_some(number, _interval=None, _priority=None, **kwargs):
    seen.append((number, _interval, int(_priority)))


@background_worker(interval=0.1)
def shows_priority(**kwargs):
    seen.append({task.priority for task in task_supervisor.get_tasks().values()
                 if task.worker is shows_priority})


for name, worker, args, kwargs in (
        ('any', takes_any, (), {'_interval': 4, 'x': 1}),
        ('named', names_some, (7,), {'_interval': 3, '_priority': TASK_HIGH})):
    worker.start(*args, **kwargs)
    until(lambda: seen)
    fact(name, seen)
    worker.stop()
    del seen[:]
shows_priority.start()
until(lambda: seen)
first = seen[0]
shows_priority.priority = TASK_HIGH
time.sleep(0.3)
del seen[:]
until(lambda: seen)
fact('priorities', [int(min(found)) for found in (first, seen[0])])
leave()
