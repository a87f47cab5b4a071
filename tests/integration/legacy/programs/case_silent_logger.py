"""The level of the logger atasker silences the library: nothing is printed over a screen."""
import io
import logging

output = io.StringIO()
logging.basicConfig(level=logging.DEBUG, stream=output)
logging.getLogger('asyncio').setLevel(100)
logging.getLogger('atasker').setLevel(100)

from atasker import Locker, background_task, background_worker, task_supervisor  # noqa: E402
from facts import fact, leave, until  # noqa: E402

task_supervisor.start()
lock = Locker(timeout=0.05, relative=False)
lock.lock.acquire()


@lock
def locked():
    return 'locked'


fact('result of a locked function', locked())
background_task(lambda: 1 / 0)()
runs = []


@background_worker(interval=0.05, on_error=lambda: None)
def failing(**kwargs):
    runs.append(1)
    raise ValueError('on purpose')


failing.start()
until(lambda: len(runs) > 2)
failing.stop()
task_supervisor.create_aloop('twice')
fact('a second loop of one name', task_supervisor.create_aloop('twice'))
task_supervisor.stop(wait=5)
fact('logged', repr(output.getvalue()))
leave()
