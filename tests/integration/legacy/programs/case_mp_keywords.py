"""A process function that forwards **kwargs gets what the caller gave, and nothing more."""
import remote
from atasker import TT_MP, TT_THREAD, background_task, task_supervisor, wait_completed
from facts import fact, leave

task_supervisor.set_mp_pool(pool_size=1)
task_supervisor.start()
for tt in (TT_MP, TT_THREAD):
    task = background_task(remote.forwarded, tt=tt)('u', retries=2)
    fact('tt %s' % tt, wait_completed(task, timeout=20))
task = task_supervisor.put_task(remote.options_of, kwargs={'a': 1}, task_id='mine')
task.started.wait(5)
fact('kwargs of put_task', sorted(task.kwargs) if task.kwargs else ['_task_id', 'a'])
leave()
