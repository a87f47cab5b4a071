"""Differences that the documentation names: of the main thread, while the supervisor keeps the
program alive."""
import threading
import time

from atasker import background_worker, task_supervisor
from facts import fact, leave

runs = []


@background_worker(interval=0.1)
def worker(**kwargs):
    runs.append(1)
    if len(runs) == 8:
        fact('threading.main_thread().is_alive() when the main thread has ended',
             threading.main_thread().is_alive())
        leave()


task_supervisor.start()
worker.start()
