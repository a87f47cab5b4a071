"""Differences that the documentation names: signals, logs and ids in pool processes."""
import logging
import os
import signal
import time

import remote
from atasker import TT_MP, TaskSupervisor, background_task, wait_completed
from facts import fact, leave

filtered = []
terminated = []


class Keep(logging.Handler):

    def emit(self, record):
        filtered.append(record.getMessage())


log = logging.getLogger('app')
log.propagate = False
log.addHandler(Keep())


def logs():
    """In a pool process: return how many handlers there are, and how many were called."""
    handlers = len(log.handlers)
    log.warning('in the process')
    return handlers, len(filtered)


def handles(number):
    """Return whether a signal has the program's handler."""
    return signal.getsignal(number) is handler


def handler(number, frame):
    terminated.append(number)


def result(function, *args):
    task = background_task(function, tt=TT_MP, supervisor=supervisor)(*args)
    try:
        return wait_completed(task, timeout=10)
    except TimeoutError:
        return 'no result'


if __name__ == '__main__':
    if os.getpgid(0) != os.getpid():
        os.setpgid(0, 0)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1):
        signal.signal(number, handler)
    supervisor = TaskSupervisor('default')
    supervisor.set_mp_pool(pool_size=1)
    supervisor.start()
    fact('_task_id of background_task(f, tt=TT_MP)', result(remote.named, 1))
    fact('log records of pool processes', result(logs))
    fact('signal handlers in pool processes',
         [result(handles, number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT,
                                                 signal.SIGUSR1)])
    task = background_task(remote.slow, tt=TT_MP, supervisor=supervisor)(1.5)
    task.started.wait(5)
    time.sleep(0.5)
    os.killpg(0, signal.SIGTERM)
    try:
        wait_completed(task, timeout=10)
    except TimeoutError:
        pass
    fact('SIGTERM to the process group of a program that handles or ignores it', task.result)
    fact('the program has handled it', terminated == [signal.SIGTERM])
    leave()
