"""A collection without on_error: the error ends the run, and the program."""
import sys

from atasker import FunctionCollection, TASK_HIGH, TASK_LOW
from facts import fact

startup = FunctionCollection()
called = []


@startup(priority=TASK_HIGH)
def configure():
    called.append('configure')


@startup
def open_database():
    called.append('open_database')
    raise IOError('no database')


@startup(priority=TASK_LOW)
def serve():
    called.append('serve')


try:
    startup.run()
except OSError as error:
    fact('error', error)
fact('called', called)
try:
    startup.execute()
except OSError as error:
    fact('error of execute', error)
later = FunctionCollection()
later.append(open_database)
sys.excepthook = lambda kind, error, trace: fact('the program ends with', kind.__name__)
later.run()
fact('it goes on', 'which it must not')
