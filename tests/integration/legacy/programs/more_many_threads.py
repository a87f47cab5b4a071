"""Many threads submit tasks and put items at the same time; nothing is lost."""
import threading

from atasker import background_task, background_worker, task_supervisor, wait_completed
from facts import fact, leave, until

task_supervisor.set_thread_pool(pool_size=0, max_size=50)
task_supervisor.start()
task_supervisor.poll_delay = 0.001
handled = []


@background_worker(q=True)
def collect(item, **kwargs):
    handled.append(item)


@background_task
def double(x):
    return x * 2


collect.start()
sums = []


def work(number):
    tasks = [double(n) for n in range(20)]
    sums.append(sum(wait_completed(tasks)))
    for n in range(20):
        collect.put_threadsafe((number, n))


threads = [threading.Thread(target=work, args=(number,)) for number in range(5)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
fact('sums', sums)
fact('all are handled', until(lambda: len(handled) == 100))
fact('in the order of each',
     all([n for who, n in handled if who == number] == list(range(20)) for number in range(5)))
collect.stop()
leave(task_supervisor)
