"""A subclass of a worker passes up options of its own, and reads them from its arguments."""
import time

from atasker import (BackgroundIntervalWorker, BackgroundQueueWorker, BackgroundWorker,
                     background_worker, task_supervisor)
from facts import fact, leave, until


class Poller(BackgroundIntervalWorker):

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.url = kwargs.get('url')
        self.seen = []

    def run(self, **kwargs):
        self.seen.append(self.url)


class Sender(BackgroundQueueWorker):

    def __init__(self, address, **kwargs):
        super().__init__(address=address, **kwargs)
        self.address = address
        self.sent = []

    def run(self, item, **kwargs):
        self.sent.append((self.address, item))


class Once(BackgroundWorker):

    def run(self, **kwargs):
        self.result = kwargs.get('o')
        time.sleep(0.2)         # start() of atasker hangs if the worker ends before it looks
        return False


def nothing(**kwargs):
    pass


async def co_nothing(**kwargs):
    pass


for options in ({'q': 0}, {'e': 0}, {'queue': ''}, {'event': []}, {'q': 0, 'e': 1}, {'i': 0},
                {'interval': 0}, {'delay': 0}):
    fact('kinds with %s' % options,
         [type(background_worker(function, **options)).__name__
          for function in (nothing, co_nothing)])
task_supervisor.start()
poller = Poller(interval=0.1, url='http://127.0.0.1/', name='poller', retries=5)
poller.start()
fact('poller ran', until(lambda: poller.seen))
poller.stop()
fact('poller saw', poller.seen[0])
sender = Sender('here', priority=50)
sender.start()
sender.put_threadsafe('letter')
fact('sender ran', until(lambda: sender.sent))
sender.stop()
fact('sender sent', sender.sent)
fact('sender priority', sender.priority)
once = Once(o='object', colour='red')
once.start()
fact('once ran', until(once.is_stopped))
fact('once got', once.result)
leave(task_supervisor)
