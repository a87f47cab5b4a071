"""block() returns when the supervisor has been stopped by a task."""
import threading

from atasker import background_task, task_supervisor
from facts import fact, leave

task_supervisor.start()
seen = []


@background_task
def later():
    seen.append('task')
    threading.Timer(0.3, task_supervisor.stop).start()


later()
task_supervisor.block()
fact('seen', seen)
leave()
