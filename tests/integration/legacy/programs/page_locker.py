"""A lock with a time limit, as a decorator and in a with block."""
import threading
import time

from atasker import Locker
from facts import fact

critical = []
lock = Locker(mod='main', timeout=0.2)
lock.critical = lambda: critical.append(1)


@lock
def locked(x):
    """What it does."""
    with lock:
        return x * 2


fact('result', locked(4))
fact('name', (locked.__name__, locked.__doc__))
fact('attributes', (lock.mod, lock.timeout, lock.relative))
other = Locker(mod='other', timeout=0.1, relative=False)
other.critical = lambda: critical.append(2)


@other
def never():
    return 'locked twice'


with other:
    fact('decorator, when it is locked', never())
    try:
        with other:
            fact('with', 'which it must not')
    except TimeoutError:
        fact('with, when it is locked', 'TimeoutError')
fact('critical', critical)
fact('afterwards', never())
holding = threading.Event()


def hold():
    with lock:
        holding.set()
        time.sleep(1)


thread = threading.Thread(target=hold)
thread.start()
holding.wait(5)
fact('held by another thread', locked(5))
thread.join()
fact('critical', critical)
