"""A worker of a coroutine function, decorated and as a class, in the default loop and in
another."""
import asyncio
import threading

from atasker import background_worker, task_supervisor
from atasker.workers import BackgroundAsyncWorker
from facts import fact, leave, until

task_supervisor.start()
task_supervisor.create_aloop('default', default=True)
other = task_supervisor.create_aloop('other')
seen = {}


def note(name):
    seen.setdefault(name, set()).add(threading.current_thread().name)


@background_worker
async def decorated(**kwargs):
    note('decorated')
    await asyncio.sleep(0.01)


class Mine(BackgroundAsyncWorker):

    async def run(self, *args, **kwargs):
        note('class')


@background_worker(interval=0.05, loop='other')
async def interval(**kwargs):
    note('interval')


@background_worker(q=True, loop=other)
async def queue(item, **kwargs):
    note(item)
    return item != 'last'


mine = Mine()
for worker in (decorated, mine, interval, queue):
    worker.start()
queue.put_threadsafe('item')
until(lambda: len(seen) == 4)
for name in sorted(seen):
    fact(name, seen[name])
fact('aloops', (decorated.aloop.name, mine.aloop.name, interval.aloop.name, queue.aloop.name))
fact('loops', (decorated.executor_loop is task_supervisor.default_aloop.get_loop(),
               interval.executor_loop is other.get_loop()))


async def put():
    await queue.put('last')


other.run(put())
fact('False ends it', until(lambda: not queue.is_active()))
for worker in (decorated, mine, interval):
    worker.stop()
fact('stopped', [worker.is_stopped() for worker in (decorated, mine, interval)])
leave(task_supervisor)
