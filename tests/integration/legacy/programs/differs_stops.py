"""Differences that the documentation names: of the stop of a supervisor."""
import logging
import threading
import time

from atasker import TaskSupervisor, background_task, background_worker
from facts import fact, leave, until

logging.getLogger('atasker').setLevel(100)


def supervisor(name):
    made = TaskSupervisor(supervisor_id=name)
    made.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0)
    made.start()
    made.poll_delay = 0.01
    return made


def outcome(call):
    """Return True if a call returns, or the name of what it raises."""
    try:
        call()
    except Exception as error:
        return type(error).__name__
    return True


def in_time(call, seconds=4):
    """Make a call that may not return on atasker."""
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)


class Scheduler:

    def stop(self, wait=True):
        raise KeyError('on purpose')


fact('stop() of a supervisor before start()', outcome(TaskSupervisor('new').stop))

first = supervisor('first')
go_on = threading.Event()
held = background_task(go_on.wait, supervisor=first)(1)
until(held.is_started)
queued = [background_task(time.sleep, supervisor=first)(0.2) for _ in range(9)]
in_time(lambda: first.stop(cancel_tasks=True))
fact('queued tasks after stop(cancel_tasks=True)', all(task.completed.wait(1) for task in queued))

second = supervisor('second')


@background_worker(interval=0.1, supervisor=second)
def worker(**kwargs):
    pass


worker.start()
in_time(lambda: second.stop(wait=1, stop_schedulers=False))
fact('stop(stop_schedulers=False)', worker.is_active())

third = supervisor('third')
returned = threading.Event()


def stop():
    third.stop(wait=False)
    returned.set()


background_task(stop, supervisor=third)()
fact('stop() in a task', returned.wait(2))

fourth = supervisor('fourth')
fourth.register_sync_scheduler(Scheduler())
fact('an exception in stop() of an own scheduler', outcome(fourth.stop))
leave()
