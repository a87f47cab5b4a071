"""The pool is set, the supervisor started, another thread stops it, and block() returns."""
import threading
import time

from atasker import task_supervisor
from facts import fact, leave

task_supervisor.set_thread_pool(pool_size=20, reserve_normal=5, reserve_high=5)
task_supervisor.start()
info = task_supervisor.get_info(tt=False)
fact('sizes', (info.thread_pool_size, info.thread_reserve_normal, info.thread_reserve_high))
fact('active', info.active)
fact('started', info.started)


def stop():
    time.sleep(0.5)
    task_supervisor.stop()


begun = time.perf_counter()
threading.Thread(target=stop).start()
task_supervisor.block()
fact('block() waits', time.perf_counter() - begun > 0.4)
fact('active after stop', task_supervisor.get_info(tt=False).active)
leave()
