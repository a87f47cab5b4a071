"""Limits for the time until a task starts, and functions that are called past them, can be set."""
from atasker import background_task, task_supervisor, wait_completed
from facts import fact, leave

fact('limits', (task_supervisor.timeout_warning, task_supervisor.timeout_critical))
fact('functions', (task_supervisor.timeout_warning_func, task_supervisor.timeout_critical_func))
fact('message', isinstance(task_supervisor.timeout_message, str))
called = []
task_supervisor.timeout_warning = 50
task_supervisor.timeout_warning_func = called.append
task_supervisor.timeout_critical = 100
task_supervisor.timeout_critical_func = called.append
task_supervisor.start()
fact('result', wait_completed(background_task(abs)(-1)))
fact('called', called)
leave(task_supervisor)
