"""A service whose main thread ends: the supervisor keeps it alive until it is stopped."""
import threading

from atasker import background_worker, task_supervisor
from facts import fact, leave, until

polls = []
ended = []


@background_worker(interval=0.1)
def poll(**kwargs):
    if not ended:
        return
    polls.append(1)
    if len(polls) == 3:
        fact('polls after the main thread has ended', len(polls))
        threading.Thread(target=stop, daemon=False).start()


def stop():
    task_supervisor.stop(wait=5)
    fact('worker is active', poll.is_active())
    leave()


task_supervisor.start()
poll.start()
fact('main thread', 'ends')
ended.append(True)
