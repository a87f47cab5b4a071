"""Event workers: triggered from a thread and from a coroutine; several triggers at once are one."""
import time

from atasker import BackgroundEventWorker, background_worker, task_supervisor
from facts import fact, leave, until

task_supervisor.start()
task_supervisor.poll_delay = 0.01
runs = []


@background_worker(e=True)
def f(**kwargs):
    runs.append('f')


class Mine(BackgroundEventWorker):

    def run(self, *args, **kwargs):
        runs.append('mine')
        time.sleep(0.3)


f.start()
mine = Mine()
mine.start()
time.sleep(0.2)
fact('nothing runs before', runs)
f.trigger_threadsafe()
fact('triggered', until(lambda: runs == ['f']))
runs.clear()
mine.trigger_threadsafe()
until(lambda: runs)
mine.trigger_threadsafe()
time.sleep(1)
fact('a trigger while it runs does nothing', runs)
mine.trigger_threadsafe()
until(lambda: len(runs) == 2)
time.sleep(0.05)
mine.trigger_threadsafe(force=True)
fact('forced, it runs once more', until(lambda: len(runs) == 3))
aloop = task_supervisor.create_aloop('mine')
runs.clear()


@background_worker(event=True, loop='mine')
async def co(**kwargs):
    runs.append('co')


async def trigger():
    await co.trigger()


co.start()
aloop.run(trigger())
fact('from a coroutine', until(lambda: runs == ['co']))
co.get_event_obj()
for worker in (f, mine, co):
    worker.stop()
fact('stopped', [worker.is_stopped() for worker in (f, mine, co)])
leave(task_supervisor)
