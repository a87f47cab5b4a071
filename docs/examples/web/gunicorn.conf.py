"""Settings of gunicorn for applications with tasks."""
from atasker_like import task_supervisor

graceful_timeout = 30                   # seconds until gunicorn kills a process


def worker_exit(server, worker):        # in each server process, at its end
    task_supervisor.stop(wait=25)
