"""A plain worker, decorated and as a class; stopped with and without waiting, or by what it
returns."""
import threading
import time

from atasker import BackgroundWorker, background_worker, task_supervisor
from facts import fact, leave, until

task_supervisor.start()
runs = []


@background_worker
def decorated(*args, **kwargs):
    runs.append(threading.current_thread() is threading.main_thread())
    time.sleep(0.01)


class Mine(BackgroundWorker):

    count = 0

    def run(self, *args, **kwargs):
        self.count += 1
        time.sleep(0.01)
        if self.count == 5:
            return False


fact('before', (decorated.is_active(), decorated.is_started(), decorated.is_stopped()))
decorated.start()
mine = Mine(name='mine')
mine.start()
fact('both run', until(lambda: len(runs) > 3 and mine.count > 3))
fact('in another thread', not any(runs))
fact('registered', decorated in task_supervisor.get_schedulers())
fact('False ends it', until(mine.is_stopped))
mine.wait_until_stop()
fact('runs', mine.count)
fact('active', mine.is_active())
decorated.stop()
fact('stopped', (decorated.is_active(), decorated.is_stopped()))
fact('registered', decorated in task_supervisor.get_schedulers())
count = len(runs)
time.sleep(0.1)
fact('no more runs', len(runs) == count)
fact('started again', decorated.start())
fact('it runs again', until(lambda: len(runs) > count))
decorated.stop(wait=False)
fact('active', decorated.is_active())
fact('it stops', until(decorated.is_stopped))
decorated.restart()
fact('restart', decorated.is_active())
decorated.stop()
fact('last_executed', 0 < decorated.last_executed <= time.perf_counter())
leave(task_supervisor)
