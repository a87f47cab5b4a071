"""What is set before the pool is made is there in its processes; no guard is needed."""
import remote
from atasker import TT_MP, background_task, task_supervisor, wait_completed
from facts import fact, leave

remote.CONFIG['factor'] = 10
task_supervisor.set_mp_pool(pool_size=2)
task_supervisor.start()
fact('result', wait_completed(background_task(remote.scaled, tt=TT_MP)(3), timeout=20))
remote.CONFIG['factor'] = 100
fact('what is set later is not seen',
     wait_completed(background_task(remote.scaled, tt=TT_MP)(3), timeout=20))
leave(task_supervisor)
