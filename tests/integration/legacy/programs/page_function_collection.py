"""A collection of functions: in order of priority, with an error handler."""
import sys
import traceback

from atasker import TASK_HIGH, TASK_LOW, FunctionCollection
from facts import fact

order = []
handled = []


def error(**kwargs):
    handled.append((kwargs, sys.exc_info()[0].__name__, 'on purpose' in traceback.format_exc()))


startup = FunctionCollection(on_error=error, on_error_kwargs={'where': 'startup'})


@startup
def f1():
    order.append('f1')
    return 1


@startup(priority=TASK_HIGH)
def f2():
    order.append('f2')
    return 2


@startup(priority=TASK_LOW)
def f3():
    order.append('f3')
    return 3


@startup(priority=150)
def f4():
    order.append('f4')
    raise ValueError('on purpose')


result, all_ok = startup.execute()
fact('result', sorted(result.items()))
fact('all ok', all_ok)
fact('order', order)
fact('handled', handled)
fact('run', sorted(startup.run().items()) == sorted(result.items()))
fact('call', sorted(startup().items()) == sorted(result.items()))


def f5():
    return 5


startup.append(f5, priority=1)
startup.append(f5)
order.clear()
fact('appended', startup.run()['__main__.f5'])
startup.remove(f5)
fact('removed', '__main__.f5' in startup.run())
with_errors = FunctionCollection(on_error=lambda: None, include_exceptions=True)


def f6():
    raise KeyError('on purpose')


with_errors.append(f6)
(error, text), = with_errors.run().values()
fact('an exception in the result',
     (type(error).__name__, text.startswith('Traceback'), 'f6' in text))
empty = FunctionCollection()
fact('empty', empty.execute())
