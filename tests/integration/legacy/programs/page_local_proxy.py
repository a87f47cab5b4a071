"""Attributes of a thread."""
from atasker import LocalProxy, background_task, g, task_supervisor, wait_completed
from facts import fact, leave

task_supervisor.start()
fact('has', g.has('db'))
fact('default', (g.get('db'), g.get('db', 5)))
g.set('db', 'connection')
fact('set', (g.has('db'), g.get('db'), g.db))
g.user = 'me'
fact('attribute', g.get('user'))


@background_task
def elsewhere():
    before = g.get('db', 'nothing')
    g.set('db', 'another one')
    return before, g.db


fact('another thread', wait_completed(elsewhere()))
fact('here', g.db)
fact('clear', g.clear('db'))
fact('cleared', g.has('db'))
fact('clear again', g.clear('db'))
fact('set returns', g.set('db', 1))
g.clear('db')
try:
    g.db
except AttributeError:
    fact('an attribute that is not there', 'AttributeError')
fact('own', LocalProxy().has('user'))
leave(task_supervisor)
