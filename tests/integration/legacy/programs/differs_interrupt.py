"""Differences that the documentation names: of Ctrl-C in a program that does not handle it."""
import os
import signal
import sys
import threading
import time

from atasker import background_worker, task_supervisor
from facts import fact, leave, until

runs = []


@background_worker(interval=0.05)
def worker(**kwargs):
    runs.append(1)


def interrupt():
    until(lambda: runs)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(1)
    del runs[:]
    fact('Ctrl-C that the program does not handle', until(lambda: runs, 1))
    leave()


sys.excepthook = lambda kind, error, trace: fact('the main thread ends with', kind.__name__)
task_supervisor.start()
worker.start()
threading.Thread(target=interrupt).start()
task_supervisor.block()
