"""What hooks, own schedulers and coroutine functions of workers get to see."""
import asyncio

from atasker import BackgroundEventWorker, TaskSupervisor, background_worker
from facts import fact, leave, until

states = []


class Worker(BackgroundEventWorker):

    def before_start(self):
        states.append(('before_start', self.is_active()))

    def after_start(self):
        states.append(('after_start', self.is_active()))

    def before_stop(self):
        states.append(('before_stop', self.is_active()))

    def after_stop(self):
        states.append(('after_stop', self.is_active()))

    def run(self, **kwargs):
        pass


class Scheduler:

    def __init__(self, loop):
        self.worker_loop = loop
        self.rounds = 0
        self.stops = []

    async def loop(self):
        while True:
            self.rounds += 1
            await asyncio.sleep(0.02)

    def stop(self, wait=True):
        self.stops.append(wait)
        supervisor.unregister_scheduler(self)


supervisor = TaskSupervisor(supervisor_id='own')
supervisor.start()
loop = supervisor.create_aloop('loop', default=True)
worker = Worker(name='worker', supervisor=supervisor)
worker.start()
worker.stop()
fact('states in hooks', states)

got = {}


@background_worker(supervisor=supervisor)
async def plain(**kwargs):
    got['plain'] = sorted(kwargs)
    await asyncio.sleep(0.2)    # start() of atasker hangs if the worker ends before it looks
    return False


@background_worker(q=True, supervisor=supervisor)
async def queue(item, **kwargs):
    got['queue'] = sorted(kwargs)
    return False


@background_worker(interval=0.1, supervisor=supervisor)
async def interval(**kwargs):
    got['interval'] = sorted(kwargs)
    await asyncio.sleep(0.2)
    return False


for each in (plain, queue, interval):
    each.start()
queue.put_threadsafe(1)
until(lambda: len(got) == 3)
# stop() of a supervisor of atasker hangs if it comes while a worker ends in its loop
until(lambda: all(each.is_stopped() for each in (plain, queue, interval)))
fact('arguments of coroutine functions', sorted(got.items()))

scheduler = Scheduler(loop.get_loop())
supervisor.register_scheduler(scheduler)
until(lambda: scheduler.rounds > 1)
supervisor.stop()
fact('arguments of the stop of a scheduler', scheduler.stops)
leave()
