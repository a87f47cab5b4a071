"""Differences that the documentation names: of processes."""
import logging
import threading

import remote
from atasker import TT_MP, TaskSupervisor, background_task, wait_completed
from facts import fact, leave

records = []


class Keep(logging.Handler):

    def emit(self, record):
        if record.name == 'atasker' and record.levelno >= logging.WARNING:
            records.append(record)


logging.getLogger().addHandler(Keep())


def run(supervisor, function, *args):
    try:
        return wait_completed(background_task(function, tt=TT_MP, supervisor=supervisor)(*args),
                              timeout=5)
    except Exception as error:
        return type(error).__name__


if __name__ == '__main__':
    first = TaskSupervisor(supervisor_id='first')
    first.create_mp_pool(processes=1, maxtasksperchild=1)
    first.set_mp_pool(pool_size=1)
    first.start()
    run(first, remote.scaled, 1)
    remote.CONFIG['factor'] = 7
    run(first, remote.scaled, 1)
    fact('pool processes', run(first, remote.scaled, 1))
    second = TaskSupervisor(supervisor_id='second')
    second.set_mp_pool(pool_size=1)
    second.start()
    run(second, remote.scaled, 1)
    second.mp_pool.close()
    fact('mp_pool.close(), mp_pool.terminate()', run(second, remote.scaled, 1))
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    records.clear()
    third = TaskSupervisor(supervisor_id='third')
    third.set_mp_pool(pool_size=1)
    fact('the threads of a program that makes its pool late', len(records))
    leave()
