"""The supervisor that comes with the package."""
from atasker import TaskSupervisor, task_supervisor
from facts import fact, leave

fact('id', task_supervisor.id)
fact('class', type(task_supervisor) is TaskSupervisor)
fact('daemon', task_supervisor.daemon)
task_supervisor.set_thread_pool(pool_size=20, reserve_normal=5, reserve_high=5)
task_supervisor.start()
fact('tasks', task_supervisor.get_tasks())
fact('schedulers', task_supervisor.get_schedulers())
fact('aloops', task_supervisor.get_aloops())
fact('unknown task', task_supervisor.get_task('unknown'))
leave(task_supervisor)
