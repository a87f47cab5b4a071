"""Tasks that wait start in order of priority; reserves are for the more urgent; critical ones start
at once."""
import threading
import time

from atasker import (TASK_CRITICAL, TASK_HIGH, TASK_LOW, TASK_NORMAL, background_task,
                     task_supervisor)
from facts import fact, leave, until

task_supervisor.set_thread_pool(pool_size=1, reserve_normal=1, reserve_high=1, max_size=10)
task_supervisor.start()
task_supervisor.poll_delay = 0.01
go_on = threading.Event()
started = []


def hold(name):
    started.append(name)
    go_on.wait(30)


def named(name):
    started.append(name)


for name, priority in (('low', TASK_LOW), ('normal', TASK_NORMAL), ('high', TASK_HIGH)):
    background_task(hold, name='hold', priority=priority)(name)
    until(lambda: name in started)
fact('one of each runs', started)
for name, priority in (('second low', TASK_LOW), ('second normal', TASK_NORMAL),
                       ('second high', TASK_HIGH)):
    background_task(hold, priority=priority)(name)
time.sleep(0.5)
fact('no more start', started)
background_task(named, priority=TASK_CRITICAL)('critical')
fact('but a critical one does', until(lambda: 'critical' in started))
info = task_supervisor.get_info()
fact('kinds of tasks', sorted(task.priority for task in info.tasks.values()))
fact('status', sorted(task.status for task in info.tasks.values()))
go_on.set()
fact('all start in the end', until(lambda: len(started) == 7))
leave(task_supervisor)
