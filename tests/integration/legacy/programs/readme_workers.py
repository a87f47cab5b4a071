"""One worker of each kind, and a class."""
import time

from atasker import (TASK_HIGH, BackgroundEventWorker, BackgroundIntervalWorker,
                     BackgroundQueueWorker, BackgroundWorker, background_worker, task_supervisor)
from atasker.workers import BackgroundAsyncWorker
from facts import fact, leave, until

seen = []


@background_worker
def plain(**kwargs):
    seen.append('plain')
    time.sleep(0.01)


@background_worker
async def coroutine(**kwargs):
    seen.append('coroutine')


@background_worker(interval=0.2)
def interval(**kwargs):
    seen.append('interval')


@background_worker(queue=True)
def queue(task, **kwargs):
    seen.append(task)


@background_worker(event=True, priority=TASK_HIGH)
def event(**kwargs):
    seen.append('event')


class Mine(BackgroundIntervalWorker):

    def run(self, **kwargs):
        seen.append(self.name)


task_supervisor.start()
task_supervisor.create_aloop('default', default=True)
mine = Mine(interval=0.1, name='mine')
workers = plain, coroutine, interval, queue, event, mine
classes = (BackgroundWorker, BackgroundAsyncWorker, BackgroundIntervalWorker,
           BackgroundQueueWorker, BackgroundEventWorker)
fact('classes', [type(worker) is kind for worker, kind in zip(workers, classes)])
fact('start', [worker.start() for worker in workers])
fact('start again', [worker.start() for worker in workers])
queue.put_threadsafe('an item')
event.trigger_threadsafe()
for word in ('plain', 'coroutine', 'interval', 'an item', 'event', '_background_worker_mine'):
    fact('%s runs more than once' % word if word not in ('an item', 'event') else word,
         until(lambda: seen.count(word) > (word not in ('an item', 'event'))))
fact('event ran', seen.count('event'))
fact('states',
     [(worker.is_active(), worker.is_started(), worker.is_stopped()) for worker in workers])
for worker in workers:
    worker.stop()
fact('states after stop',
     [(worker.is_active(), worker.is_started(), worker.is_stopped()) for worker in workers])
fact('names', [worker.name for worker in workers])
leave(task_supervisor)
