"""The same, with the functions run as tasks in threads."""
import threading
import time

from atasker import TASK_HIGH, TaskCollection, task_supervisor
from facts import fact, leave

task_supervisor.start()
handled = []
checks = TaskCollection(on_error=lambda **kwargs: handled.append(kwargs), on_error_kwargs={'a': 1})


@checks
def disk():
    time.sleep(0.3)
    return threading.current_thread() is threading.main_thread()


@checks(priority=TASK_HIGH)
def network():
    time.sleep(0.3)
    return 'up'


@checks
def broken():
    raise ValueError('on purpose')


begun = time.perf_counter()
result, all_ok = checks.execute()
fact('at the same time', time.perf_counter() - begun < 0.58)
fact('result', sorted(result.items()))
fact('all ok', all_ok)
fact('handled', handled)
fact('run', sorted(checks.run().items()))
leave(task_supervisor)
