"""A chain of workers: one produces, one computes in a process, one collects; errors go to a
handler."""
import remote
from atasker import (TT_MP, BackgroundQueueWorker, FunctionCollection, background_task,
                     background_worker, g,
                     task_supervisor, wait_completed)
from facts import fact, leave, until

if __name__ == '__main__':
    results = []
    errors = []

    class Collector(BackgroundQueueWorker):

        def run(self, item, **kwargs):
            if item == 9:
                raise ValueError('nine')
            results.append(item)

    collector = Collector(on_error=lambda **kwargs: errors.append(kwargs),
                          on_error_kwargs={'worker': 'collector'})

    @background_worker(q=True)
    def compute(number, **kwargs):
        task = background_task(remote.power, tt=TT_MP)(number)
        collector.put_threadsafe(wait_completed(task, timeout=20))

    produced = []

    @background_worker(interval=0.02)
    def produce(**kwargs):
        produced.append(len(produced) + 1)
        compute.put_threadsafe(produced[-1])
        return len(produced) < 6

    startup = FunctionCollection()

    @startup(priority=1)
    def pools():
        task_supervisor.set_thread_pool(pool_size=10, reserve_normal=2, reserve_high=2)
        task_supervisor.set_mp_pool(pool_size=2)
        task_supervisor.start()
        task_supervisor.poll_delay = 0.01

    @startup(priority=2)
    def workers():
        for worker in (collector, compute, produce):
            worker.start()
        return 3

    fact('startup', startup.run()['__main__.workers'])
    fact('all are collected', until(lambda: len(results) == 5 and errors))
    fact('results', results)
    fact('errors', errors)
    fact('produced', produced)
    g.set('results', len(results))
    fact('g', g.results)
    for worker in (produce, compute, collector):
        worker.stop()
    leave(task_supervisor)
