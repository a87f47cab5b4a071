"""Queue workers: decorated, with a queue class, and as a class with hooks."""
import asyncio

from atasker import BackgroundQueueWorker, background_worker, task_supervisor
from facts import fact, leave, until

task_supervisor.start()
task_supervisor.poll_delay = 0.01
seen = []


@background_worker(q=True)
def f(task, **kwargs):
    seen.append('from the queue: {}'.format(task))


@background_worker(q=asyncio.queues.PriorityQueue)
def f2(task, **kwargs):
    seen.append('from the priority queue: {}'.format(task))


class Mine(BackgroundQueueWorker):

    def run(self, task, *args, **kwargs):
        seen.append('{} for {}'.format(task, args))

    def before_queue_get(self):
        self.before = True

    def after_queue_get(self, task):
        self.last = task


mine = Mine(name='mine')
f.start()
f2.start()
mine.start('an argument')
f.put_threadsafe('task 1')
f2.put_threadsafe('task 2')
mine.put_threadsafe('task 3')
fact('all are handled', until(lambda: len(seen) == 3))
for line in sorted(seen):
    fact('seen', line)
fact('hooks', (mine.before, mine.last))
seen.clear()
for number in range(20):
    f.put_threadsafe(number)
fact('all are handled', until(lambda: len(seen) == 20))
fact('in order', seen == ['from the queue: {}'.format(number) for number in range(20)])
fact('queue', (f.get_queue_obj().qsize(), f.get_queue_obj().empty()))
for worker in (f, f2, mine):
    worker.stop()
fact('stopped', [worker.is_stopped() for worker in (f, f2, mine)])
leave(task_supervisor)
