"""put_task passes the id to the **kwargs of methods, partials and callable objects, too."""
import functools

from atasker import task_supervisor
from facts import fact, leave

got = {}


def reply(name, **kwargs):
    got[name] = sorted(kwargs)
    task_supervisor.mark_task_completed(task_id=kwargs['_task_id'])


class Server:
    def handle(self, name, **kwargs):
        reply(name, **kwargs)

    def __call__(self, name, **kwargs):
        reply(name, **kwargs)


task_supervisor.start()
for name, target in (('method', Server().handle), ('callable object', Server()),
                     ('partial', functools.partial(reply))):
    ended = task_supervisor.put_task(target, (name,)).completed.wait(5)
    fact('put_task with a ' + name, (ended, got.get(name)))
leave()
