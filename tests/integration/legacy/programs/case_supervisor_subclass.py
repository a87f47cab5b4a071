"""What a subclass of the supervisor overrides is called for decorated functions, workers and
co_mp_apply."""
import remote
from atasker import (TASK_HIGH, TT_MP, TaskCollection, TaskSupervisor, background_task,
                     background_worker, co_mp_apply,
                     wait_completed)
from facts import fact, leave, until


class Metered(TaskSupervisor):
    started = 0
    puts = completed = 0
    kinds = []

    def put_task(self, *args, **kwargs):
        self.puts += 1
        task = super().put_task(*args, **kwargs)
        self.kinds.append((task.tt, task.priority, task.worker is not None))
        return task

    def mark_task_started(self, task):
        self.started += 1
        return super().mark_task_started(task)

    def mark_task_completed(self, task=None, task_id=None):
        self.completed += 1
        return super().mark_task_completed(task=task, task_id=task_id)

    def counts(self):
        counts = self.puts, self.started, self.completed
        self.puts = self.started = self.completed = 0
        return counts


if __name__ == '__main__':
    metered = Metered(supervisor_id='metered')
    metered.set_mp_pool(pool_size=1)
    metered.start()
    tasks = [background_task(abs, supervisor=metered, priority=TASK_HIGH)(-n) for n in range(3)]
    fact('results', wait_completed(tasks))
    fact('threads: put, started, completed', metered.counts())
    task = background_task(remote.add, supervisor=metered, tt=TT_MP)(1, b=2)
    fact('result of a process', wait_completed(task, timeout=15))
    fact('process: put, started, completed', metered.counts())
    metered.create_aloop('mine')
    fact('awaited', metered.get_aloop('mine').run(co_mp_apply(remote.later, supervisor=metered)))
    fact('co_mp_apply: put, started, completed', metered.counts())
    collection = TaskCollection(supervisor=metered)
    collection.append(dict)
    collection.append(list)
    fact('collection', sorted(collection.run().items()))
    fact('collection: put, started, completed', metered.counts())
    items = []

    @background_worker(q=True, supervisor=metered)
    def collect(item, **kwargs):
        items.append(item)

    collect.start()
    for item in 'abc':
        collect.put_threadsafe(item)
    until(lambda: len(items) == 3)
    until(lambda: metered.completed == 3)
    fact('queue worker: put, started, completed', metered.counts())
    collect.stop()
    fact('kinds', metered.kinds)
    fact('sizes', (metered.thread_pool_size > 0, metered.mp_pool_size, metered.mp_reserve_high))
    leave()
