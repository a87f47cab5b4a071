"""An own queue class is called when the worker starts, in the worker's loop."""
import asyncio

from atasker import background_worker, task_supervisor
from facts import fact, leave, until

settings, seen = {}, []


class Sized(asyncio.Queue):
    def __init__(self):
        super().__init__(maxsize=settings['size'])


class Looped(asyncio.Queue):
    def __init__(self):
        super().__init__()
        self.own_loop = asyncio.get_event_loop()


@background_worker(q=Sized)
def sized(item, **kwargs):
    seen.append(item)


@background_worker(q=Looped)
async def looped(item, **kwargs):
    seen.append(item)


settings['size'] = 3
task_supervisor.start()
task_supervisor.create_aloop('own', default=True)
for worker, item in ((sized, 'sized'), (looped, 'looped')):
    worker.start()
    worker.put_threadsafe(item)
    until(lambda: item in seen)
fact('items', sorted(seen))
fact('bound', sized.get_queue_obj().maxsize)
leave()
