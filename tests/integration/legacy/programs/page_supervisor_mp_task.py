"""An own task of a process; its callback says when it is completed."""
import remote
from atasker import TT_MP, task_supervisor, wait_completed
from facts import fact, leave

if __name__ == '__main__':
    task_supervisor.set_mp_pool(pool_size=1)
    task_supervisor.start()
    results = []

    def callback(result):
        results.append(result)
        task_supervisor.get_task('mine').result = result
        task_supervisor.mark_task_completed(task_id='mine')

    task = task_supervisor.put_task(target=remote.named, args=(4,), callback=callback, tt=TT_MP,
                                    task_id='mine')
    fact('result', wait_completed(task, timeout=20))
    fact('callback', results)
    fact('fields', (task.id, task.tt, task.status, task.is_started()))
    leave(task_supervisor)
