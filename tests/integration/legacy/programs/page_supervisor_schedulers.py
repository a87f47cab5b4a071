"""Schedulers of one's own: a coroutine in a loop, and one that is only stopped."""
import asyncio

from atasker import task_supervisor
from facts import fact, leave, until


class Own:

    def __init__(self, loop):
        self.worker_loop = loop
        self.extra_loops = ['second_loop']
        self.seen = []
        self.active = True

    async def loop(self):
        while self.active:
            self.seen.append('loop')
            await asyncio.sleep(0.02)

    async def second_loop(self):
        while self.active:
            self.seen.append('second')
            await asyncio.sleep(0.02)

    def stop(self, wait=True):
        self.seen.append('stop')
        self.active = False
        task_supervisor.unregister_scheduler(self)


class Sync:

    stopped = 0

    def stop(self, wait=True):
        self.stopped += 1
        task_supervisor.unregister_sync_scheduler(self)


sync = Sync()
fact('before the start', task_supervisor.register_scheduler(Own(None)))
task_supervisor.start()
own = Own(task_supervisor.create_aloop('mine').get_loop())
fact('register',
     (task_supervisor.register_scheduler(own), task_supervisor.register_sync_scheduler(sync)))
fact('both loops run', until(lambda: own.seen.count('loop') > 1 and own.seen.count('second') > 1))
fact('registered',
     (own in task_supervisor.get_schedulers(), sync in task_supervisor.get_info().schedulers))
fact('value', task_supervisor.get_schedulers()[sync])
fact('value of one with loops', task_supervisor.get_schedulers()[own][0] is own)
other = Sync()
task_supervisor.register_sync_scheduler(other)
fact('unregister',
     (task_supervisor.unregister_sync_scheduler(other),
      task_supervisor.unregister_sync_scheduler(other),
      task_supervisor.unregister_scheduler(other)))
task_supervisor.stop(wait=5)
fact('stopped', (own.seen.count('stop'), sync.stopped, other.stopped))
leave()
