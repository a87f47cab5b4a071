"""A service that ends in order when it is sent SIGTERM."""
import os
import signal
import threading

from atasker import FunctionCollection, background_worker, task_supervisor
from facts import fact

shutdown = FunctionCollection(on_error=lambda: fact('error', 'in the shutdown'))
polls = []
letters = []


@background_worker(interval=0.05, name='poll')
def poll(**kwargs):
    polls.append(1)
    send.put_threadsafe(len(polls))
    if len(polls) == 5:
        os.kill(os.getpid(), signal.SIGTERM)


@background_worker(q=True, name='send')
def send(letter, **kwargs):
    letters.append(letter)


@shutdown
def close_files():
    fact('close_files', 'called')


def terminate(signum, frame):
    fact('signal', (signum, threading.current_thread() is threading.main_thread()))
    task_supervisor.stop(wait=5)
    shutdown.run()


signal.signal(signal.SIGTERM, terminate)
task_supervisor.start()
task_supervisor.poll_delay = 0.01
send.start()
poll.start()
task_supervisor.block()
fact('polls', len(polls) >= 5)
fact('letters in order', letters == list(range(1, len(letters) + 1)))
fact('workers', (poll.is_active(), send.is_active()))
