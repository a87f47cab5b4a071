"""Settings of gunicorn for applications with tasks."""
from atasker_like import task_supervisor

# seconds until gunicorn kills a process
graceful_timeout = 30


# in each server process, at its end
def worker_exit(server, worker):
    task_supervisor.stop(wait=25)
