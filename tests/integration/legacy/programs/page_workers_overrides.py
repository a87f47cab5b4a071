"""Name, priority and o of a worker can be given to start()."""
from atasker import TASK_HIGH, TASK_LOW, background_worker, task_supervisor
from facts import fact, leave, until

task_supervisor.start()
seen = []


@background_worker(e=True, name='first', priority=TASK_HIGH, o='object')
def worker(*args, **kwargs):
    seen.append((args, kwargs['_name'], kwargs['o'], kwargs['_worker'] is worker, kwargs.get('x')))


fact('before', (worker.name, worker.priority, worker.o))
worker.start('an argument', x=5)
worker.trigger_threadsafe()
until(lambda: len(seen) == 1)
fact('seen', seen[0])
worker.stop()
worker.start(_name='second', _priority=TASK_LOW, o='another')
worker.trigger_threadsafe()
until(lambda: len(seen) == 2)
fact('seen', seen[1])
fact('after', (worker.name, worker.priority, worker.o))
worker.stop()
worker.set_name('third')
fact('name', worker.name)
leave(task_supervisor)
