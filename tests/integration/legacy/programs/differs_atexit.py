"""Differences that the documentation names: of functions that are called at the exit."""
import atexit
import sys
import time

from atasker import background_task, task_supervisor
from facts import fact


@background_task
def late():
    time.sleep(0.5)
    ended.append(1)


ended = []
task_supervisor.start(daemon=True)
atexit.register(lambda: fact('functions of atexit while tasks of a daemon supervisor run', ended))
late().started.wait(10)
sys.exit()
