"""poll_delay can be set."""
from atasker import background_worker, task_supervisor
from facts import fact, leave, until

fact('poll_delay', task_supervisor.poll_delay)
task_supervisor.poll_delay = 0.01
fact('poll_delay', task_supervisor.poll_delay)
runs = []


@background_worker(e=True, poll_delay=0.02)
def worker(**kwargs):
    runs.append(1)


fact('of a worker', worker.poll_delay)
task_supervisor.start()
worker.start()
worker.trigger_threadsafe()
fact('ran', until(lambda: runs))
worker.stop()
leave(task_supervisor)
