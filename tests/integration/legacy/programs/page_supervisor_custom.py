"""Supervisors of one's own, and a class."""
from atasker import TaskSupervisor, background_task, task_supervisor, wait_completed
from facts import fact, leave


class Mine(TaskSupervisor):

    greeting = 'hello'

    def greet(self):
        return self.greeting


mine = Mine(supervisor_id='mine')
mine.set_thread_pool(pool_size=100, reserve_normal=10, reserve_high=10)
other = TaskSupervisor(supervisor_id='other')
for supervisor in (mine, other):
    supervisor.start()
fact('id', mine.id)
fact('method', mine.greet())
fact('sizes', (mine.thread_pool_size, mine.thread_reserve_normal, mine.thread_reserve_high))
fact('task', wait_completed(background_task(abs, supervisor=mine)(-3)))
fact('the process-wide one',
     (task_supervisor is not mine, task_supervisor.get_info(tt=False).active))
mine.stop(wait=5)
fact('one is stopped, the other is not',
     (mine.get_info(tt=False).active, other.get_info(tt=False).active))
fact('task', wait_completed(background_task(abs, supervisor=other)(-4)))
leave(other)
